//! Debian's archive, through apt but not through the host's state.
//!
//! apt works with lists, cache and source list of its own below `cache/apt/<suite>`,
//! needs no root and installs nothing. Mirror, proxy, keys and passwords are the
//! host's. Each suite is updated alone, so that one which is broken costs only
//! itself, and its lists are used for a day.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::formats::{
    self as apt, DebianArchive, DebianCandidate, DebianSuite, SUITES, SourceEntry, UpdateFailure,
};
use crate::base::lock::{self, Lock};
use crate::base::{
    env::Env, error::Failure, input, interrupt, process::LongCommand, programs::find_program,
    ui::Ui,
};
use crate::model::arch;
use crate::net::http::{host, unreachable};

/// How long the lists of a suite are used.
const LIST_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Suites updated at a time: enough to hide the network's waits.
const PARALLEL: usize = 4;

/// A package file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianPackage {
    /// Which version, and what the lists say about its file.
    pub candidate: DebianCandidate,
    /// The private apt directory that knows it.
    apt: PathBuf,
}

/// Suites whose lists are as new as they can be had.
#[derive(Debug)]
pub struct Suites {
    asked: Vec<Asked>,
    /// No other run may renew the lists while they are read.
    _lock: Lock,
}

/// A suite, and what came of the last attempt to renew its lists.
#[derive(Debug)]
struct Asked {
    directory: PathBuf,
    state: SuiteState,
}

/// A suite that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct SuiteLists<'a> {
    directory: &'a Path,
}

impl Suites {
    /// Renews the lists of the wanted suites if they are too old.
    pub fn open(env: &Env, wanted: impl Fn(&DebianSuite) -> bool) -> Result<Self> {
        let entries = host_entries()?;
        let architecture = arch::host()
            .with_context(|| format!("packages for {} are not known", std::env::consts::ARCH))?;
        let architecture = architecture.debian;
        let root = env.paths.cache().join("apt");
        let lock = lock::take(env, "apt")?;
        let known = SUITES
            .iter()
            .filter_map(|suite| Some((suite, apt::find_archive(&entries, suite.archive)?)))
            .collect::<Vec<_>>();
        if !known
            .iter()
            .any(|(suite, _)| suite.archive == DebianArchive::Main)
        {
            return Err(Failure::setup("apt on this host knows no archive of Debian").into());
        }
        let prepared = known
            .into_iter()
            .filter(|(suite, _)| wanted(suite))
            .map(|(suite, entry)| PreparedSuite {
                suite,
                directory: root.join(suite.file_name()),
                sources: suite.sources(entry, architecture),
                host: entry.uris.first().map_or("", |uri| host(uri)).to_owned(),
            })
            .collect::<Vec<_>>();
        let states = update(&env.ui, &prepared)?;
        let asked = prepared.into_iter().zip(states);
        let asked = asked.map(|(prepared, state)| Asked {
            directory: prepared.directory,
            state,
        });
        Ok(Self {
            asked: asked.collect(),
            _lock: lock,
        })
    }

    /// Those that can be asked, the oldest first.
    pub fn usable(&self) -> impl Iterator<Item = SuiteLists<'_>> {
        let usable = self.asked.iter();
        let usable = usable.filter(|asked| asked.state == SuiteState::Usable);
        usable.map(|asked| SuiteLists {
            directory: &asked.directory,
        })
    }

    /// Why none can be asked; `None` if there is one that can.
    pub fn unusable(&self) -> Option<Failure> {
        unusable(self.asked.iter().map(|asked| asked.state))
    }
}

fn unusable(states: impl Iterator<Item = SuiteState>) -> Option<Failure> {
    let states = states.collect::<Vec<_>>();
    let failed = |failure| states.contains(&SuiteState::Failed(failure));
    if states.contains(&SuiteState::Usable) {
        None
    } else if failed(UpdateFailure::Unreachable) {
        Some(Failure::setup("Debian's archive cannot be reached"))
    } else if failed(UpdateFailure::Untrusted) {
        Some(
            Failure::setup("this host does not have the keys of Debian's archive")
                .hint("install debian-archive-keyring"),
        )
    } else if !states.is_empty()
        && states
            .iter()
            .all(|state| *state == SuiteState::Failed(UpdateFailure::Absent))
    {
        Some(Failure::setup(
            "Debian's archive, as apt on this host knows it, does not have that suite",
        ))
    } else {
        Some(Failure::setup("apt could not update any suite of Debian").hint("-v says why"))
    }
}

impl DebianPackage {
    /// The command that downloads packages of this one's suite into the current directory.
    pub fn download_command(&self) -> LongCommand {
        apt_command("apt-get", &self.apt).arg("download")
    }

    /// Where apt keeps what it has not downloaded to the end.
    pub fn partial(&self) -> PathBuf {
        self.apt.join("archives/partial")
    }
}

impl SuiteLists<'_> {
    /// The names of packages that begin so.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = apt_cache(self.directory, &["pkgnames", prefix])?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// What apt knows about packages; those that it does not know are passed over.
    pub fn show(&self, packages: &[String]) -> Result<String> {
        if packages.is_empty() {
            return Ok(String::new());
        }
        let words = ["show"].into_iter();
        let words = words.chain(packages.iter().map(String::as_str));
        apt_cache(self.directory, &words.collect::<Vec<_>>())
    }

    /// A version of a package as something that can be downloaded.
    pub fn package(&self, candidate: DebianCandidate) -> DebianPackage {
        DebianPackage {
            candidate,
            apt: self.directory.to_owned(),
        }
    }
}

/// Every entry of the host's source lists.
fn host_entries() -> Result<Vec<SourceEntry>> {
    if find_program("apt-get").is_none() {
        return Err(Failure::setup("this host has no apt to ask Debian's archive with").into());
    }
    let shell = crate::base::process::shell()?;
    let files = shell
        .cmd("apt-config")
        .args([
            "shell",
            "MAIN",
            "Dir::Etc::sourcelist/f",
            "PARTS",
            "Dir::Etc::sourceparts/d",
        ])
        .quiet()
        .read()
        .context("apt-config failed")?;
    let mut entries = Vec::new();
    for line in files.lines() {
        let Some((name, path)) = line.split_once('=') else {
            continue;
        };
        let path = Path::new(path.trim_matches('\''));
        if name == "MAIN" {
            entries.extend(read_entries(path)?);
            continue;
        }
        let Ok(parts) = std::fs::read_dir(path) else {
            continue;
        };
        let mut parts = parts
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect::<Vec<_>>();
        parts.sort();
        for part in parts {
            entries.extend(read_entries(&part)?);
        }
    }
    Ok(entries)
}

fn read_entries(path: &Path) -> Result<Vec<SourceEntry>> {
    let parse = match path.extension().and_then(|extension| extension.to_str()) {
        Some("list") => apt::parse_one_line,
        Some("sources") => apt::parse_deb822,
        _ => return Ok(Vec::new()),
    };
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = input::text(path, input::TEXT)?;
    Ok(parse(&text))
}

struct PreparedSuite {
    suite: &'static DebianSuite,
    directory: PathBuf,
    sources: String,
    /// Who is asked.
    host: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SuiteState {
    Usable,
    Failed(UpdateFailure),
}

/// Updates the suites whose lists are too old; the state of each.
fn update(ui: &Ui, suites: &[PreparedSuite]) -> Result<Vec<SuiteState>> {
    let mut states = Vec::new();
    let mut stale = Vec::new();
    for (index, prepared) in suites.iter().enumerate() {
        let known = prepared.known_state();
        if known.is_none() {
            stale.push(index);
        }
        states.push(known.unwrap_or(SuiteState::Failed(UpdateFailure::Other)));
    }
    if stale.is_empty() {
        return Ok(states);
    }
    let mut hosts = stale
        .iter()
        .map(|&index| suites[index].host.as_str())
        .collect::<Vec<_>>();
    hosts.sort_unstable();
    hosts.dedup();
    // Without a network it takes a minute until apt gives up.
    let mut task = ui.task(format!(
        "reading Debian's package lists from {}",
        hosts.join(", ")
    ));
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(stale.len()) {
            scope.spawn(|| {
                while let Some(&index) = stale.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let prepared = &suites[index];
                    // A host that is not there for one suite is not for the next.
                    let result = if unreachable::is_noted(&prepared.host) {
                        Ok(SuiteState::Failed(UpdateFailure::Unreachable))
                    } else {
                        prepared.update(ui)
                    };
                    if matches!(result, Ok(SuiteState::Failed(UpdateFailure::Unreachable))) {
                        unreachable::note(&prepared.host);
                    }
                    let stop = result.is_err();
                    if let Ok(mut results) = results.lock() {
                        results.push((index, result));
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                    if stop {
                        break;
                    }
                }
            });
        }
        while done.load(Ordering::SeqCst) < stale.len() && interrupt::pending().is_none() {
            let done = done.load(Ordering::SeqCst);
            task.update(format!("{done} of {} suites", stale.len()));
            std::thread::sleep(interrupt::POLL);
            if results
                .lock()
                .is_ok_and(|results| results.iter().any(|(_, result)| result.is_err()))
            {
                break;
            }
        }
    });
    interrupt::check()?;
    for (index, result) in results.into_inner().unwrap_or_default() {
        states[index] = result?;
    }
    Ok(states)
}

impl PreparedSuite {
    /// Where it stands what came of the last update; its age is that of the lists.
    fn stamp(&self) -> PathBuf {
        self.directory.join("stamp")
    }

    /// What is in the stamp: another source list makes the lists useless.
    fn stamp_text(&self, state: SuiteState) -> String {
        format!("{state:?}\n{}", self.sources)
    }

    fn known_state(&self) -> Option<SuiteState> {
        let stamp = self.stamp();
        let age = stamp.metadata().ok()?.modified().ok()?.elapsed().ok()?;
        let text = input::text(&stamp, input::SMALL).ok()?;
        // Only what will be the same in an hour is believed.
        [
            SuiteState::Usable,
            SuiteState::Failed(UpdateFailure::Absent),
        ]
        .into_iter()
        .find(|state| age < LIST_AGE && text == self.stamp_text(*state))
    }

    fn update(&self, ui: &Ui) -> Result<SuiteState> {
        let directory = &self.directory;
        let context = || format!("cannot write {}", directory.display());
        for folder in ["state", "lists/partial", "cache", "archives/partial"] {
            std::fs::create_dir_all(directory.join(folder)).with_context(context)?;
        }
        let path = directory
            .to_str()
            .filter(|path| !path.contains(['"', '\n', '\\']))
            .ok_or_else(|| Failure::setup(format!("apt cannot work in {}", directory.display())))?;
        std::fs::write(directory.join("status"), "").with_context(context)?;
        std::fs::write(directory.join("vmtest.sources"), &self.sources).with_context(context)?;
        std::fs::write(directory.join("apt.conf"), apt::configuration(path))
            .with_context(context)?;
        let log = directory.join("update.log");
        let file = std::fs::File::create(&log).with_context(context)?;
        let status = apt_command("apt-get", directory)
            .args(["-q", "update"])
            .log(&file)?
            .spawn()?
            .wait()?;
        let output =
            String::from_utf8_lossy(&input::bytes(&log, input::TEXT).with_context(context)?)
                .into_owned();
        let state = if status.success() {
            SuiteState::Usable
        } else {
            let failure = apt::update_failure(&output);
            let line = output
                .lines()
                .find(|line| line.starts_with("E: "))
                .unwrap_or("no reason given");
            ui.verbose(format!("Debian's {}: {line}", self.suite.name));
            SuiteState::Failed(failure)
        };
        std::fs::write(self.stamp(), self.stamp_text(state)).with_context(context)?;
        Ok(state)
    }
}

/// A command of apt that works in a private directory.
fn apt_command(program: &str, directory: &Path) -> LongCommand {
    LongCommand::new(program)
        .credentials()
        .arg("-c")
        .arg(directory.join("apt.conf"))
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
}

/// Asks apt what it knows; in the C locale.
fn apt_cache(directory: &Path, words: &[&str]) -> Result<String> {
    let shell = crate::base::process::shell()?;
    shell
        .cmd("apt-cache")
        .arg("-c")
        .arg(directory.join("apt.conf"))
        .args(words)
        .env("LC_ALL", "C")
        .quiet()
        .ignore_stderr()
        // It fails when there is no such package.
        .ignore_status()
        .read()
        .context("cannot run apt-cache")
}
