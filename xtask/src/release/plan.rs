//! Wanted against published kernels: what there is to do for a release.
//!
//! A plan is made of values only, so that it can be printed, compared and tested;
//! [`crate::release`] carries it out. Nothing is ever changed under a name that is
//! published: a kernel that would be made from other input than the published one
//! of its name is *stale* and stays so until `revision` in `kernels.toml` is raised,
//! which gives it another name.

use std::num::NonZeroUsize;

use serde::Serialize;

use crate::base::{format::thousands, shown, table};
use crate::model::{arch::Arch, package_name::PackageName, retention, version::Series};
use crate::net::github::api::{ASSET_SIZE_MAX, ASSETS_MAX};
use crate::net::github::client::requests_to_list;
use crate::release::download::megabytes;

/// Taken for the bytes of a package when no published one says better: about what
/// a 6.1 with all its debugging information has.
const TYPICAL_BYTES: u64 = 75_000_000;

/// A kernel that the release should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedKernel {
    pub series: Series,
    pub flavor: String,
    pub arch: &'static Arch,
    /// The newest one, or in one line why its source cannot be had.
    pub newest: Result<Newest, String>,
}

impl WantedKernel {
    fn group(&self) -> retention::Group {
        retention::group_of(self.arch, self.series, &self.flavor)
    }
}

/// The newest kernel of a series, as it would be built now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    pub name: PackageName,
    /// See [`crate::kernel::manifest`].
    pub input_key: String,
}

/// A package in a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub name: PackageName,
    /// Its number in the release's interface.
    pub id: u64,
    /// Bytes.
    pub size: u64,
    /// Whether it was uploaded as a whole (state `uploaded`, not `starter`).
    pub finished: bool,
    /// The input key, if it was published with one; drgn's are not.
    pub input_key: Option<String>,
    /// When its upload began, as the interface writes it.
    pub created: String,
}

/// What a release has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub packages: Vec<Published>,
    /// The number of other files.
    pub others: usize,
    /// Their bytes.
    pub other_bytes: u64,
}

/// A package file on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub name: PackageName,
    /// What its manifest says.
    pub input_key: String,
    /// Bytes.
    pub size: u64,
}

/// How a plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many kernels of each wanted series, flavor and architecture stay; `None`:
    /// nothing is deleted.
    pub keep: Option<NonZeroUsize>,
    /// Seconds since 1970.
    pub now: u64,
}

/// What is to be done about a wanted kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is not there: build it and upload it.
    Build,
    /// It is not there, but its package is on this machine: upload it.
    Upload,
    /// An upload of it was begun and not finished: replace that.
    Finish,
    /// Nothing: it is there.
    UpToDate,
    /// Nothing now: one of the same name is there, made from other input.
    Stale,
    /// Nothing: its source cannot be had.
    Unavailable,
}

impl Action {
    /// Whether something is uploaded.
    pub fn uploads(self) -> bool {
        matches!(self, Self::Build | Self::Upload | Self::Finish)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Upload => "upload",
            Self::Finish => "finish",
            Self::UpToDate => "up to date",
            Self::Stale => "stale",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A wanted kernel and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    pub action: Action,
    pub series: String,
    pub flavor: String,
    pub arch: &'static str,
    /// `None` if it is unavailable.
    pub package: Option<PackageName>,
    /// The input key as it would be built now.
    pub input_key: Option<String>,
    /// Bytes of its package.
    pub bytes: Option<u64>,
    /// Whether `bytes` is an estimate, taken from packages like it.
    pub estimated: bool,
    /// Whether its package file is on this machine.
    pub ready: bool,
    /// What a person should know.
    pub note: Option<String>,
}

impl Item {
    /// What it is called: its release, or series and flavor.
    pub fn title(&self) -> String {
        match &self.package {
            Some(name) => name.release.to_string(),
            None => format!("{} {}", self.series, self.flavor),
        }
    }
}

/// A published package that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedDeletion {
    pub package: PackageName,
    /// See [`Published::id`].
    pub id: u64,
    pub bytes: u64,
    pub reason: retention::Reason,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Packages to upload.
    pub uploads: usize,
    pub upload_bytes: u64,
    /// Whether `upload_bytes`, and so `bytes_after`, has estimates in it.
    pub estimated: bool,
    /// Packages to delete.
    pub deletions: usize,
    pub deleted_bytes: u64,
    /// Files in the release now, of whatever kind.
    pub assets_before: usize,
    /// The most that there are on the way: deleting comes last.
    pub assets_peak: usize,
    pub assets_after: usize,
    pub bytes_after: u64,
    /// Requests to the interface that carrying it out takes when none has to be
    /// repeated.
    pub api_calls: usize,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleasePlan {
    /// In the order in which they were wanted.
    pub items: Vec<Item>,
    /// What is deleted at the end, by architecture, series, flavor, newest first.
    pub deletions: Vec<PlannedDeletion>,
    pub totals: Totals,
    /// Why it cannot be carried out; empty if it can.
    pub problems: Vec<String>,
}

/// Compares what is wanted with what there is.
pub fn plan(
    wanted: &[WantedKernel],
    contents: &Contents,
    ready: &[Ready],
    options: &Options,
) -> ReleasePlan {
    let items = wanted.iter().map(|wanted| item(wanted, contents, ready));
    let mut items = items.collect::<Vec<_>>();
    let (mut deletions, futile) = select(wanted, &items, contents, options);
    if !futile.is_empty() {
        for item in &mut items {
            let package = item.package.as_ref();
            if package.is_some_and(|name| futile.contains(name)) {
                item.action = Action::UpToDate;
                (item.bytes, item.estimated) = (None, false);
                item.note = Some("the release has newer ones, it would be deleted again".into());
            }
        }
        (deletions, _) = select(wanted, &items, contents, options);
    }
    let totals = totals(&items, &deletions, contents, options);
    let problems = problems(&items, &totals);
    ReleasePlan {
        items,
        deletions,
        totals,
        problems,
    }
}

fn item(wanted: &WantedKernel, contents: &Contents, ready: &[Ready]) -> Item {
    let mut item = Item {
        action: Action::Unavailable,
        series: wanted.series.to_string(),
        flavor: wanted.flavor.clone(),
        arch: wanted.arch.name,
        package: None,
        input_key: None,
        bytes: None,
        estimated: false,
        ready: false,
        note: None,
    };
    let Newest { name, input_key } = match &wanted.newest {
        Ok(newest) => newest,
        Err(reason) => {
            item.note = Some(reason.clone());
            return item;
        }
    };
    item.input_key = Some(input_key.clone());
    item.package = Some(name.clone());
    let published = contents.packages.iter().find(|other| other.name == *name);
    if let Some(published) = published.filter(|published| published.finished) {
        item.bytes = Some(published.size);
        // One without a key was not made by us: its name is all there is to
        // compare, and it will not change under it.
        item.action = Action::UpToDate;
        if let Some(key) = published.input_key.as_ref().filter(|key| *key != input_key) {
            // The first characters of a key are enough to tell two apart.
            item.note = Some(format!(
                "published with input {key:.12}, now {input_key:.12}; raise revision in kernels.toml"
            ));
            item.action = Action::Stale;
        }
        return item;
    }
    let mut ready = ready.iter();
    let file = ready.find(|ready| ready.name == *name && ready.input_key == *input_key);
    item.ready = file.is_some();
    item.estimated = file.is_none();
    item.bytes = Some(file.map_or_else(|| estimate(wanted, contents), |file| file.size));
    item.action = match published {
        Some(Published { created, .. }) => {
            let what = if item.ready { "uploaded" } else { "built" };
            let note = format!("an upload of {created} was not finished; {what} again");
            item.note = Some(note);
            Action::Finish
        }
        None if item.ready => Action::Upload,
        None => Action::Build,
    };
    item
}

/// Bytes of a package that is not built yet: those of the newest one of its series
/// and flavor, else the mean of its flavor.
fn estimate(wanted: &WantedKernel, contents: &Contents) -> u64 {
    let finished = contents.packages.iter().filter(|other| other.finished);
    let alike = finished
        .filter_map(|other| Some((retention::group(&other.name)?, other)))
        .filter(|((_, _, flavor), _)| *flavor == wanted.flavor)
        .collect::<Vec<_>>();
    let same = alike.iter().filter(|(other, _)| *other == wanted.group());
    if let Some((_, newest)) = same.max_by_key(|(_, other)| &other.name.release) {
        return newest.size;
    }
    let number = alike.len() as u64;
    let sum = alike.iter().map(|(_, other)| other.size).sum::<u64>();
    sum.checked_div(number).unwrap_or(TYPICAL_BYTES)
}

/// What is too much once the uploads are there, and which of the uploads are. Only
/// kernels of what is wanted: a plan for 6.1 deletes no 5.10.
fn select(
    wanted: &[WantedKernel],
    items: &[Item],
    contents: &Contents,
    options: &Options,
) -> (Vec<PlannedDeletion>, Vec<PackageName>) {
    let Some(keep) = options.keep else {
        return (Vec::new(), Vec::new());
    };
    let uploads = items.iter().filter(|item| item.action.uploads());
    let uploaded = uploads.filter_map(|item| item.package.as_ref());
    let uploaded = uploaded.collect::<Vec<_>>();
    let published = contents.packages.iter();
    let published = published
        .filter(|package| is_of(wanted, &package.name))
        // Replaced by what is uploaded under its name.
        .filter(|package| !uploaded.contains(&&package.name))
        .collect::<Vec<_>>();
    let kernels = published.iter().map(|package| package.kernel());
    let mut kernels = kernels.collect::<Vec<_>>();
    kernels.extend(uploaded.iter().map(|name| retention::RetainedKernel {
        name: (*name).clone(),
        finished: true,
        distribution: false,
        created: crate::base::time::rfc3339(options.now),
    }));
    let (mut deletions, mut futile) = (Vec::new(), Vec::new());
    for selected in retention::select(&kernels, keep, options.now) {
        match published.get(selected.index) {
            Some(package) => deletions.push(PlannedDeletion {
                package: package.name.clone(),
                id: package.id,
                bytes: package.size,
                reason: selected.reason,
            }),
            None => futile.push(kernels[selected.index].name.clone()),
        }
    }
    (deletions, futile)
}

impl Published {
    /// As [`retention`] looks at it.
    pub fn kernel(&self) -> retention::RetainedKernel {
        retention::RetainedKernel {
            name: self.name.clone(),
            finished: self.finished,
            distribution: false,
            created: self.created.clone(),
        }
    }
}

/// Whether a package is of a wanted series, flavor and architecture.
pub fn is_of(wanted: &[WantedKernel], name: &PackageName) -> bool {
    let group = retention::group(name);
    let mut groups = wanted.iter().map(WantedKernel::group);
    groups.any(|wanted| Some(wanted) == group)
}

fn totals(
    items: &[Item],
    deletions: &[PlannedDeletion],
    contents: &Contents,
    options: &Options,
) -> Totals {
    let uploads = items.iter().filter(|item| item.action.uploads());
    let uploads = uploads.collect::<Vec<_>>();
    let upload_bytes = uploads.iter().filter_map(|item| item.bytes).sum::<u64>();
    let deleted_bytes = deletions.iter().map(|deletion| deletion.bytes).sum::<u64>();
    let assets_before = contents.packages.len() + contents.others;
    let published = contents.packages.iter().filter(|package| package.finished);
    let published = published.map(|package| package.size).sum::<u64>();
    // Each upload looks first at what there is.
    let mut api_calls = requests_to_list(assets_before);
    let mut assets_peak = assets_before;
    for item in &uploads {
        let replaces = usize::from(item.action == Action::Finish);
        api_calls += requests_to_list(assets_peak) + replaces + 1;
        assets_peak += 1 - replaces;
    }
    if options.keep.is_some() {
        api_calls += requests_to_list(assets_peak) + deletions.len();
    }
    let superseded = |deletion: &&PlannedDeletion| deletion.reason == retention::Reason::Superseded;
    let finished = deletions.iter().filter(superseded);
    let deleted_finished = finished.map(|deletion| deletion.bytes).sum();
    let bytes = contents.other_bytes + published + upload_bytes;
    Totals {
        uploads: uploads.len(),
        upload_bytes,
        estimated: uploads.iter().any(|item| item.estimated),
        deletions: deletions.len(),
        deleted_bytes,
        assets_before,
        assets_peak,
        assets_after: assets_peak - deletions.len(),
        bytes_after: bytes.saturating_sub(deleted_finished),
        api_calls,
    }
}

fn problems(items: &[Item], totals: &Totals) -> Vec<String> {
    let mut problems = Vec::new();
    if totals.assets_peak > ASSETS_MAX && totals.uploads > 0 {
        let [files, most] = [totals.assets_peak, ASSETS_MAX].map(|files| thousands(files as u64));
        problems.push(format!(
            "the release would have {files} files, and GitHub allows {most}: delete some first \
             (cargo xtask prune --remote --keep N), or use another --tag"
        ));
    }
    for item in items
        .iter()
        .filter(|item| item.action.uploads() && !item.estimated)
    {
        if let Some(bytes) = item.bytes.filter(|bytes| *bytes >= ASSET_SIZE_MAX) {
            let (title, most) = (item.title(), thousands(ASSET_SIZE_MAX));
            let bytes = thousands(bytes);
            problems.push(format!(
                "the package of {title} has {bytes} bytes, and GitHub takes less than {most}"
            ));
        }
    }
    problems
}

/// The plan as JSON.
pub fn json(plan: &ReleasePlan) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(plan)? + "\n")
}

/// The plan for people: a table, then sums and problems.
pub fn table(plan: &ReleasePlan) -> String {
    let mut lines = vec![["ACTION", "KERNEL", "ARCH", "SIZE", "NOTE"].map(str::to_owned)];
    lines.extend(plan.items.iter().map(|item| {
        let bytes = item.bytes.map(|bytes| about(bytes, item.estimated));
        [
            item.action.word().to_owned(),
            item.title(),
            item.arch.to_owned(),
            bytes.unwrap_or_default(),
            item.note.clone().unwrap_or_default(),
        ]
    }));
    lines.extend(plan.deletions.iter().map(|deletion| {
        [
            "delete".to_owned(),
            deletion.package.release.to_string(),
            deletion.package.arch.name.to_owned(),
            megabytes(deletion.bytes),
            deletion.reason.words().to_owned(),
        ]
    }));
    let mut text = table::columns(&lines, &[3]);
    let totals = &plan.totals;
    let Totals {
        uploads, deletions, ..
    } = totals;
    let uploaded = about(totals.upload_bytes, totals.estimated);
    let deleted = megabytes(totals.deleted_bytes);
    text += &format!("to upload: {uploads}, {uploaded}; to delete: {deletions}, {deleted}\n");
    text += &format!(
        "the release: {} files now, {} afterwards with {}; API calls: {}\n",
        thousands(totals.assets_before as u64),
        thousands(totals.assets_after as u64),
        about(totals.bytes_after, totals.estimated),
        thousands(totals.api_calls as u64)
    );
    if totals.estimated {
        text += "sizes with ~ are estimates, taken from packages of the same flavor\n";
    }
    for problem in &plan.problems {
        text += &format!("problem: {}\n", shown::line(&problem.to_string()));
    }
    text
}

/// Bytes for people; `~` before an estimate.
fn about(bytes: u64, estimated: bool) -> String {
    let about = if estimated { "~" } else { "" };
    format!("{about}{}", megabytes(bytes))
}

#[cfg(test)]
mod tests;
