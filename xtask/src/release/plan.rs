//! Wanted against published kernels: what there is to do for a release.
//!
//! A plan is made of values only, so that it can be printed, compared and tested;
//! [`crate::release`] carries it out. Nothing is ever changed under a name that is
//! published: a kernel that would be made from other input than the published one
//! of its name is *stale* and stays so until `revision` in `kernels.toml` is raised,
//! which gives it another name.

use std::fmt::Display;
use std::num::NonZeroUsize;

use serde::{Serialize, Serializer};

use crate::base::{format::thousands, shown, table};
use crate::model::version::{Release, Series};
use crate::model::{arch::Arch, package_name::PackageName, retention};
use crate::net::github::api::{ASSET_SIZE_MAX, ASSETS_MAX};
use crate::net::github::client::requests_to_list;

/// Taken for the bytes of a package when no published one says better: about what
/// a 6.1 with all its debugging information has.
const TYPICAL_BYTES: u64 = 75_000_000;

/// A kernel that the release should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The series.
    pub series: Series,
    /// The flavor.
    pub flavor: String,
    /// What it will run on.
    pub arch: &'static Arch,
    /// The newest one, or in one line why its source cannot be had.
    pub newest: Result<Newest, String>,
}

/// The newest kernel of a series, as it would be built now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// What `uname -r` will print.
    pub release: Release,
    /// See [`crate::kernel::manifest`].
    pub input_key: String,
}

/// A package in a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its name.
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
    /// Kernel packages.
    pub packages: Vec<Published>,
    /// The number of other files.
    pub others: usize,
    /// Their bytes.
    pub other_bytes: u64,
}

/// A package file on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its name.
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
    /// What is to be done.
    pub action: Action,
    /// The series.
    #[serde(serialize_with = "text")]
    pub series: Series,
    /// The flavor.
    pub flavor: String,
    /// The name of its architecture.
    pub arch: &'static str,
    /// The name of its package; `None` if it is unavailable.
    #[serde(serialize_with = "optional_text")]
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
pub struct Deletion {
    /// The package.
    #[serde(serialize_with = "text")]
    pub package: PackageName,
    /// See [`Published::id`].
    pub id: u64,
    /// Bytes.
    pub bytes: u64,
    /// Why.
    pub reason: retention::Reason,
}

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Packages to upload.
    pub uploads: usize,
    /// Their bytes.
    pub upload_bytes: u64,
    /// Whether `upload_bytes`, and so `bytes_after`, has estimates in it.
    pub estimated: bool,
    /// Packages to delete.
    pub deletions: usize,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Files in the release now, of whatever kind.
    pub assets_before: usize,
    /// The most that there are on the way: deleting comes last.
    pub assets_peak: usize,
    /// Files in the release afterwards.
    pub assets_after: usize,
    /// Bytes in the release afterwards.
    pub bytes_after: u64,
    /// Requests to the interface that carrying it out takes when none has to be
    /// repeated.
    pub api_calls: usize,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleasePlan {
    /// The wanted kernels, in the order in which they were wanted.
    pub items: Vec<Item>,
    /// What is deleted at the end, by architecture, series, flavor, newest first.
    pub deletions: Vec<Deletion>,
    /// Sums.
    pub totals: Totals,
    /// Why it cannot be carried out; empty if it can.
    pub problems: Vec<String>,
}

/// Compares what is wanted with what there is.
pub fn plan(
    wanted: &[Wanted],
    contents: &Contents,
    ready: &[Ready],
    options: &Options,
) -> ReleasePlan {
    let mut items = wanted
        .iter()
        .map(|wanted| item(wanted, contents, ready))
        .collect::<Vec<_>>();
    let (mut deletions, futile) = select(wanted, &items, contents, options);
    if !futile.is_empty() {
        for item in &mut items {
            if item
                .package
                .as_ref()
                .is_some_and(|name| futile.contains(name))
            {
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

fn item(wanted: &Wanted, contents: &Contents, ready: &[Ready]) -> Item {
    let mut item = Item {
        action: Action::Unavailable,
        series: wanted.series,
        flavor: wanted.flavor.clone(),
        arch: wanted.arch.name,
        package: None,
        input_key: None,
        bytes: None,
        estimated: false,
        ready: false,
        note: None,
    };
    let newest = match &wanted.newest {
        Ok(newest) => newest,
        Err(reason) => {
            item.note = Some(reason.clone());
            return item;
        }
    };
    let name = PackageName {
        arch: wanted.arch,
        release: newest.release.clone(),
    };
    let published = contents.packages.iter().find(|other| other.name == name);
    item.input_key = Some(newest.input_key.clone());
    item.package = Some(name.clone());
    if let Some(published) = published.filter(|published| published.finished) {
        item.bytes = Some(published.size);
        item.action = match &published.input_key {
            Some(key) if *key != newest.input_key => {
                item.note = Some(format!(
                    "published with input {}, now {}; raise revision in kernels.toml",
                    short(key),
                    short(&newest.input_key)
                ));
                Action::Stale
            }
            // One without a key was not made by us: its name is all there is to
            // compare, and it will not change under it.
            _ => Action::UpToDate,
        };
        return item;
    }
    let file = ready
        .iter()
        .find(|ready| ready.name == name && ready.input_key == newest.input_key);
    item.ready = file.is_some();
    (item.bytes, item.estimated) = match file {
        Some(file) => (Some(file.size), false),
        None => (Some(estimate(wanted, contents)), true),
    };
    item.action = match (published, file) {
        (Some(published), _) => {
            let what = if item.ready { "uploaded" } else { "built" };
            item.note = Some(format!(
                "an upload of {} was not finished; {what} again",
                published.created
            ));
            Action::Finish
        }
        (None, Some(_)) => Action::Upload,
        (None, None) => Action::Build,
    };
    item
}

/// The first characters of a key, enough to tell two apart.
fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

/// Bytes of a package that is not built yet: those of the newest one of its series
/// and flavor, else the mean of its flavor.
fn estimate(wanted: &Wanted, contents: &Contents) -> u64 {
    let alike = contents
        .packages
        .iter()
        .filter(|other| other.finished)
        .filter_map(|other| Some((retention::group(&other.name)?, other)))
        .filter(|((_, _, flavor), _)| *flavor == wanted.flavor)
        .collect::<Vec<_>>();
    let group = retention::group_of(wanted.arch, wanted.series, &wanted.flavor);
    let same = alike.iter().filter(|(other, _)| *other == group);
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
    wanted: &[Wanted],
    items: &[Item],
    contents: &Contents,
    options: &Options,
) -> (Vec<Deletion>, Vec<PackageName>) {
    let Some(keep) = options.keep else {
        return (Vec::new(), Vec::new());
    };
    let uploaded = items
        .iter()
        .filter(|item| item.action.uploads())
        .filter_map(|item| item.package.as_ref())
        .collect::<Vec<_>>();
    let published = contents
        .packages
        .iter()
        .filter(|package| is_of(wanted, &package.name))
        // Replaced by what is uploaded under its name.
        .filter(|package| !uploaded.contains(&&package.name))
        .collect::<Vec<_>>();
    let mut kernels = published
        .iter()
        .map(|package| package.kernel())
        .collect::<Vec<_>>();
    kernels.extend(uploaded.iter().map(|name| retention::Kernel {
        name: (*name).clone(),
        finished: true,
        distribution: false,
        created: retention::timestamp(options.now),
    }));
    let (mut deletions, mut futile) = (Vec::new(), Vec::new());
    for selected in retention::select(&kernels, keep, options.now) {
        match published.get(selected.index) {
            Some(package) => deletions.push(Deletion {
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
    pub fn kernel(&self) -> retention::Kernel {
        retention::Kernel {
            name: self.name.clone(),
            finished: self.finished,
            distribution: false,
            created: self.created.clone(),
        }
    }
}

/// Whether a package is of a wanted series, flavor and architecture.
pub fn is_of(wanted: &[Wanted], name: &PackageName) -> bool {
    retention::group(name).is_some_and(|group| {
        wanted
            .iter()
            .any(|wanted| group == retention::group_of(wanted.arch, wanted.series, &wanted.flavor))
    })
}

fn totals(
    items: &[Item],
    deletions: &[Deletion],
    contents: &Contents,
    options: &Options,
) -> Totals {
    let uploads = items.iter().filter(|item| item.action.uploads());
    let uploads = uploads.collect::<Vec<_>>();
    let finished = items.iter().filter(|item| item.action == Action::Finish);
    let replaced = finished.count();
    let upload_bytes = uploads.iter().filter_map(|item| item.bytes).sum::<u64>();
    let deleted_bytes = deletions.iter().map(|deletion| deletion.bytes).sum::<u64>();
    let assets_before = contents.packages.len() + contents.others;
    let assets_peak = assets_before + uploads.len() - replaced;
    let published_bytes = contents.other_bytes
        + contents
            .packages
            .iter()
            .filter(|package| package.finished)
            .map(|package| package.size)
            .sum::<u64>();
    // Each upload looks first at what there is.
    let mut api_calls = requests_to_list(assets_before);
    let mut assets = assets_before;
    for item in &uploads {
        let replaces = usize::from(item.action == Action::Finish);
        api_calls += requests_to_list(assets) + replaces + 1;
        assets += 1 - replaces;
    }
    if options.keep.is_some() {
        api_calls += requests_to_list(assets_peak) + deletions.len();
    }
    let deleted_finished = deletions
        .iter()
        .filter(|deletion| deletion.reason == retention::Reason::Superseded)
        .map(|deletion| deletion.bytes)
        .sum::<u64>();
    Totals {
        uploads: uploads.len(),
        upload_bytes,
        estimated: uploads.iter().any(|item| item.estimated),
        deletions: deletions.len(),
        deleted_bytes,
        assets_before,
        assets_peak,
        assets_after: assets_peak - deletions.len(),
        bytes_after: (published_bytes + upload_bytes).saturating_sub(deleted_finished),
        api_calls,
    }
}

fn problems(items: &[Item], totals: &Totals) -> Vec<String> {
    let mut problems = Vec::new();
    if totals.assets_peak > ASSETS_MAX && totals.uploads > 0 {
        problems.push(format!(
            "the release would have {} files, and GitHub allows {}: delete some first \
             (cargo xtask prune --remote --keep N), or use another --tag",
            thousands(totals.assets_peak as u64),
            thousands(ASSETS_MAX as u64)
        ));
    }
    for item in items {
        if let (true, false, Some(bytes)) = (item.action.uploads(), item.estimated, item.bytes)
            && bytes >= ASSET_SIZE_MAX
        {
            problems.push(format!(
                "the package of {} has {} bytes, and GitHub takes less than {}",
                item.title(),
                thousands(bytes),
                thousands(ASSET_SIZE_MAX)
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
        [
            item.action.word().to_owned(),
            item.title(),
            item.arch.to_owned(),
            item.bytes
                .map_or_else(String::new, |bytes| megabytes(bytes, item.estimated)),
            item.note.clone().unwrap_or_default(),
        ]
    }));
    lines.extend(plan.deletions.iter().map(|deletion| {
        [
            "delete".to_owned(),
            deletion.package.release.to_string(),
            deletion.package.arch.name.to_owned(),
            megabytes(deletion.bytes, false),
            deletion.reason.words().to_owned(),
        ]
    }));
    let mut text = table::columns(&lines, &[3]);
    let totals = &plan.totals;
    text += &format!(
        "to upload: {}, {}; to delete: {}, {}\n",
        totals.uploads,
        megabytes(totals.upload_bytes, totals.estimated),
        totals.deletions,
        megabytes(totals.deleted_bytes, false)
    );
    text += &format!(
        "the release: {} files now, {} afterwards with {}; API calls: {}\n",
        thousands(totals.assets_before as u64),
        thousands(totals.assets_after as u64),
        megabytes(totals.bytes_after, totals.estimated),
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
pub fn megabytes(bytes: u64, estimated: bool) -> String {
    let about = if estimated { "~" } else { "" };
    format!("{about}{} MB", thousands(bytes.div_ceil(1_000_000)))
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn optional_text<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
