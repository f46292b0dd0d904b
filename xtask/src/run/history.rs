//! How long a project's tests took on each kernel, and how they ended, kept from run to
//! run in `<work directory>/history/<project>/<architecture>/<release>.json`; that of the
//! tests after a crash in `<architecture>-crash`.
//!
//! It decides in which order kernels are tested, how tests are split over VMs, and how much
//! time is said to be left; nothing that is in a result. So it may be missing or wrong, and a
//! file that cannot be read is passed over with a notice.
//!
//! How the processors ran is kept but not asked for: a host that changes between KVM and
//! emulation changes all of its kernels, and order and shares stay as they were.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::base::{disk, env::Env, input, lock, temporary::Temporary};
use crate::model::results::{Phases, RunName, RunRecord};
use crate::model::test_event::{FinishedTest, RunOutcome, class_and_name};
use crate::model::version::{Release, Version};

/// Runs that are kept per kernel, the newest ones.
const MOST_RUNS: usize = 20;

/// Test classes that are kept per kernel, the slowest ones: the others hardly change how
/// tests are best split.
const MOST_CLASSES: usize = 4000;

/// The longest name of a class that is kept, in bytes.
const LONGEST_CLASS: usize = 300;

/// Kernels that are kept per project and architecture.
const MOST_KERNELS: usize = 250;

/// More than the limits above allow, in bytes: such a file is not ours.
const LARGEST_FILE: u64 = 4 << 20;

/// The directory of the tests of this host, which have no architecture.
const LOCAL: &str = "local";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastRun {
    /// When its session began, `2026-11-25T16:21:20Z`.
    pub date: String,
    pub outcome: String,
    #[serde(default)]
    pub seconds: Phases,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceleration: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelHistory {
    v: u32,
    pub runs: Vec<PastRun>,
    /// Seconds by `module.Class`, of the last run that came to its end.
    pub classes: BTreeMap<String, f64>,
}

const FORMAT: u32 = 1;

impl KernelHistory {
    pub fn parse(text: &str) -> Result<Self> {
        let mut history = serde_json::from_str::<Self>(text)?;
        ensure!(history.v == FORMAT, "it has the format {}", history.v);
        history
            .classes
            .retain(|_, seconds| seconds.is_finite() && *seconds >= 0.0);
        Ok(history)
    }

    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Adds a run whose session began at `date`.
    pub fn add(&mut self, record: &RunRecord, date: &str) {
        self.v = FORMAT;
        self.runs.push(PastRun {
            date: date.to_owned(),
            outcome: record.outcome.name().to_owned(),
            seconds: record.seconds,
            acceleration: record.acceleration.clone(),
        });
        let surplus = self.runs.len().saturating_sub(MOST_RUNS);
        self.runs.drain(..surplus);
        if record.outcome.is_complete() {
            self.classes = class_seconds(&record.tally.finished_tests);
        }
    }

    /// How long the last run that came to its end took, from QEMU's start to its end.
    fn total(&self) -> Option<Duration> {
        let ended = ["passed", "complained", "tests failed"];
        let mut runs = self.runs.iter().rev();
        runs.find_map(|run| {
            let total = run
                .seconds
                .total
                .filter(|_| ended.contains(&&*run.outcome))?;
            Duration::try_from_secs_f64(total).ok()
        })
    }
}

/// Seconds by class: `module.Class` of the dotted name `module.Class.method`.
fn class_seconds(tests: &[FinishedTest]) -> BTreeMap<String, f64> {
    let mut classes = BTreeMap::<&str, f64>::new();
    for test in tests {
        // `setUpClass (module.Class)` is no test.
        let (class, _) = class_and_name(&test.id);
        if (1..=LONGEST_CLASS).contains(&class.len()) && test.seconds.is_finite() {
            *classes.entry(class).or_default() += test.seconds.max(0.0);
        }
    }
    let mut classes = Vec::from_iter(classes);
    classes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let slowest = classes.into_iter().take(MOST_CLASSES);
    slowest
        .map(|(class, seconds)| (class.to_owned(), seconds))
        .collect()
}

#[derive(Debug)]
pub struct History {
    folder: PathBuf,
    env: Env,
    /// By architecture ([`LOCAL`] for the host's own tests) and by the kernel's release.
    kernels: BTreeMap<(String, String), KernelHistory>,
}

impl History {
    /// Reads what there is. What cannot be read is left out, with a notice.
    pub fn load(env: &Env, project: &str) -> Self {
        let mut history = Self {
            folder: env.paths.history().join(file_name(project)),
            env: env.clone(),
            kernels: BTreeMap::new(),
        };
        for (arch, folder) in history.entries(&history.folder) {
            for (file, path) in history.entries(&folder) {
                let Some(kernel) = file.strip_suffix(".json") else {
                    continue;
                };
                // Temporary names of a run that writes now.
                if kernel.starts_with('.') {
                    continue;
                }
                match read(&path) {
                    Ok(found) => {
                        let key = (arch.clone(), kernel.to_owned());
                        history.kernels.insert(key, found);
                    }
                    Err(error) => history.pass_over(&path, &error),
                }
            }
        }
        history
    }

    /// The names and paths in a directory, in order; none if it is not there.
    fn entries(&self, folder: &Path) -> Vec<(String, PathBuf)> {
        let paths = disk::entries(folder).unwrap_or_else(|error| {
            self.pass_over(folder, &error);
            Vec::new()
        });
        let named = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), path));
        paths.into_iter().filter_map(named).collect()
    }

    fn pass_over(&self, path: &Path, error: &anyhow::Error) {
        self.env.ui.warn(format!(
            "passing over the history {}: {error:#}",
            path.display()
        ));
    }

    /// Keeps a run whose session began at `date` (`2026-11-25T16:21:20Z`). Not for one
    /// of only some of the tests, whose durations say nothing about all of them. A run
    /// that found no kernel, and so has none that it could be kept for, is left out.
    pub fn record(&mut self, record: &RunRecord, date: &str) -> Result<()> {
        let name = &record.name;
        if matches!(record.outcome, RunOutcome::NotStarted { .. }) || !is_known(name) {
            return Ok(());
        }
        let arch = arch_of(name);
        let folder = self.folder.join(file_name(&arch));
        let path = folder.join(format!("{}.json", file_name(&name.kernel)));
        let _lock = lock::take(&self.env, "history")?;
        // Another run may have written since this one read it. What is broken is replaced.
        let mut history = read(&path).unwrap_or_default();
        history.add(record, date);
        let temporary = Temporary::file(&path)?;
        disk::write(temporary.path(), history.to_json()?)?;
        temporary.persist()?;
        let key = (arch.to_string(), name.kernel.clone());
        self.kernels.insert(key, history);
        self.forget(&arch)
    }

    /// Removes the kernels of an architecture that were not tested for the longest time
    /// while there are too many.
    fn forget(&mut self, arch: &str) -> Result<()> {
        let kernels = self.kernels.iter().filter(|((of, _), _)| of == arch);
        let last = |history: &KernelHistory| history.runs.last().map(|run| run.date.clone());
        let mut kernels = kernels
            .map(|((_, kernel), history)| (last(history), kernel.clone()))
            .collect::<Vec<_>>();
        kernels.sort();
        let surplus = kernels.len().saturating_sub(MOST_KERNELS);
        for (_, kernel) in kernels.into_iter().take(surplus) {
            let path = self.folder.join(file_name(arch));
            let path = path.join(format!("{}.json", file_name(&kernel)));
            if path.exists() {
                disk::remove_file(&path)?;
            }
            self.kernels.remove(&(arch.to_owned(), kernel));
        }
        Ok(())
    }

    pub fn kernel(&self, name: &RunName) -> Option<&KernelHistory> {
        let key = (arch_of(name).into_owned(), name.kernel.clone());
        self.kernels.get(&key)
    }

    /// How long the whole suite will take on a kernel: as long as the last time that it
    /// came to its end, there or else on the kernel of the nearest version. The name may
    /// be that of a request, when the kernel is not known yet.
    pub fn estimate(&self, name: &RunName) -> Option<Duration> {
        self.nearest_first(name).find_map(KernelHistory::total)
    }

    /// Seconds by `module.Class` on a kernel, or else on the kernel of the nearest
    /// version; empty if nothing is known.
    pub fn class_seconds(&self, name: &RunName) -> BTreeMap<String, f64> {
        self.nearest_first(name)
            .find(|history| !history.classes.is_empty())
            .map(|history| history.classes.clone())
            .unwrap_or_default()
    }

    /// The kernel's own history, then those of the others of its architecture.
    fn nearest_first(&self, name: &RunName) -> impl Iterator<Item = &KernelHistory> {
        let arch = arch_of(name);
        // `6.1.*tiny` has a version as well; without one the newest kernel is meant.
        let wanted = Version::split(&name.kernel).map(|(version, _)| version);
        let mut others = Vec::new();
        for ((of, kernel), history) in &self.kernels {
            if *of == arch
                && *kernel != name.kernel
                && let Ok(release) = kernel.parse::<Release>()
            {
                let far = wanted.map_or(0, |wanted| distance(&wanted, &release.version));
                // In the wanted series the nearest point release; the newest if none is
                // named, and in the other series.
                let points = match wanted {
                    Some(wanted) if far == 0 => {
                        let point = wanted.point.unwrap_or(u32::MAX);
                        point.abs_diff(release.version.point.unwrap_or(0))
                    }
                    _ => 0,
                };
                let flavor = name.flavor.is_some() && release.flavor() != name.flavor;
                let newest = std::cmp::Reverse(release);
                others.push(((far, flavor, points, newest), history));
            }
        }
        others.sort_by(|(a, _), (b, _)| a.cmp(b));
        let others = others.into_iter().map(|(_, history)| history);
        self.kernel(name).into_iter().chain(others)
    }
}

/// How far apart two versions are, in series. After about 20 of them the first number
/// is raised (4.20 was followed by 5.0, 5.19 by 6.0, 6.19 by 7.0).
fn distance(a: &Version, b: &Version) -> u32 {
    let place = |version: &Version| {
        let series = version.series;
        series.major.saturating_mul(20).saturating_add(series.minor)
    };
    place(a).abs_diff(place(b))
}

/// Whether a name is one of a kernel, or of the host's own tests.
fn is_known(name: &RunName) -> bool {
    name.arch.is_empty() || name.kernel.parse::<Release>().is_ok()
}

fn arch_of(name: &RunName) -> Cow<'_, str> {
    match (&name.phase, name.arch.as_str()) {
        (_, "") => LOCAL.into(),
        (None, arch) => arch.into(),
        (Some(phase), arch) => format!("{arch}-{phase}").into(),
    }
}

/// A name that is one part of a path: of a project it may be any text.
fn file_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    let text = name.replace(|c| !plain(c), "_");
    match text.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => text,
    }
}

fn read(path: &Path) -> Result<KernelHistory> {
    KernelHistory::parse(&input::text(path, LARGEST_FILE)?)
}

#[cfg(test)]
mod tests;
