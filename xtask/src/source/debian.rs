//! Debian's `linux-source-<series>`, through apt but not through the host's state.
//!
//! apt works with lists, cache and source list of its own below `cache/apt/<suite>`,
//! needs no root and installs nothing. Mirror, proxy, keys and passwords are the
//! host's. Each suite is updated alone, so that one which is broken costs only
//! itself, and its lists are used for a day. The newest version of all suites wins.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::apt::{self, Archive, Candidate, Entry, SUITES, Suite, UpdateFailure};
use super::{Found, Location, Work, satisfies, whole};
use crate::failure::Failure;
use crate::host::find_program;
use crate::interrupt;
use crate::kbuild::progress::thousands;
use crate::layout::Layout;
use crate::process::LongCommand;
use crate::store;
use crate::ui::Ui;
use crate::version::Version;

/// How long the lists of a suite are used.
const LIST_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Suites updated at a time: enough to hide the network's waits.
const PARALLEL: usize = 4;

/// A package file in an archive.
#[derive(Clone, Debug)]
pub struct Package {
    name: String,
    candidate: Candidate,
    /// The private apt directory that knows it.
    apt: PathBuf,
}

/// Finds each version, or the newest of a series, in all suites. Each suite is
/// asked once for all of them.
///
/// # Errors
///
/// If Debian's archive cannot be asked on this host at all, or by a signal.
pub fn find_all(layout: &Layout, ui: &Ui, versions: &[Version]) -> Result<Vec<Result<Found>>> {
    let entries = host_entries()?;
    let architecture = architecture()?;
    let root = layout.cache().join("apt");
    let _lock = store::lock(layout, ui, "apt")?;
    let suites = SUITES
        .iter()
        .filter_map(|suite| {
            let entry = apt::find_archive(&entries, suite.archive)?;
            let directory = root.join(suite.file_name());
            let sources = suite.sources(entry, &architecture);
            Some(Prepared {
                suite,
                directory,
                sources,
            })
        })
        .collect::<Vec<_>>();
    if !suites
        .iter()
        .any(|prepared| prepared.suite.archive == Archive::Main)
    {
        return Err(Failure::setup("apt on this host knows no archive of Debian").into());
    }
    let states = update(ui, &suites)?;
    let mut names = versions.iter().map(package_name).collect::<Vec<_>>();
    names.sort();
    names.dedup();
    let mut offers = Vec::new();
    for (prepared, state) in suites.iter().zip(&states) {
        if *state != State::Usable {
            continue;
        }
        interrupt::check()?;
        let shown = show(&prepared.directory, &names)?;
        offers.push((prepared.directory.as_path(), shown));
    }
    let find = |version: &Version| choose(&offers, &states, version);
    Ok(versions.iter().map(find).collect())
}

/// The package with the source of a version.
fn package_name(version: &Version) -> String {
    format!("linux-source-{}", version.series)
}

/// The newest wanted package in what `apt-cache show` says about each suite.
fn choose(offers: &[(&Path, String)], states: &[State], version: &Version) -> Result<Found> {
    let name = package_name(version);
    let mut best: Option<(Version, Package)> = None;
    let mut others = Vec::new();
    for (apt, shown) in offers {
        for candidate in apt::parse_show(shown, &name) {
            let Some(upstream) = apt::upstream(&candidate.version) else {
                continue;
            };
            if !satisfies(&upstream, version) {
                others.push(candidate.version);
                continue;
            }
            let newer = best.as_ref().is_none_or(|(other, package)| {
                (upstream.cmp(other))
                    .then_with(|| apt::compare(&candidate.version, &package.candidate.version))
                    .is_gt()
            });
            if newer {
                let package = Package {
                    name: name.clone(),
                    candidate,
                    apt: apt.to_path_buf(),
                };
                best = Some((upstream, package));
            }
        }
    }
    if let Some((upstream, package)) = best {
        return Ok(Found {
            version: whole(upstream),
            origin: format!("debian {name} {}", package.candidate.version),
            checksum: package.candidate.sha256.clone(),
            location: Location::Debian(package),
        });
    }
    if !others.is_empty() {
        bail!("Debian has {name} only as {}", others.join(", "));
    }
    Err(missing(&name, states).into())
}

/// Why there is no package at all.
fn missing(name: &str, states: &[State]) -> Failure {
    let count = |failure| {
        states
            .iter()
            .filter(|state| **state == State::Failed(failure))
            .count()
    };
    if states.contains(&State::Usable) {
        Failure::setup(format!("no suite of Debian has {name}"))
    } else if count(UpdateFailure::Unreachable) > 0 {
        Failure::setup("Debian's archive cannot be reached")
    } else if count(UpdateFailure::Untrusted) > 0 {
        Failure::setup("this host does not have the keys of Debian's archive")
            .hint("install debian-archive-keyring")
    } else {
        Failure::setup("apt could not update any suite of Debian").hint("-v says why")
    }
}

/// Downloads and unpacks.
pub fn fetch(work: &Work<'_>, package: &Package, directory: &Path) -> Result<()> {
    let version = &package.candidate.version;
    // Beside the tree, which is a temporary directory and goes away with this.
    let inner = directory.join(".vmtest-deb");
    std::fs::create_dir(&inner).with_context(|| format!("cannot create {}", inner.display()))?;
    {
        let title = format!("downloading {} {version} from Debian", package.name);
        let mut task = work.ui.task(title);
        let partial = package.apt.join("archives/partial");
        let total = package.candidate.size >> 20;
        let command = apt_command("apt-get", &package.apt)
            .arg("download")
            .arg(format!("{}={version}", package.name))
            .current_dir(&inner);
        work.run(command, || {
            let received = largest_file(&partial) >> 20;
            if received > 0 {
                task.update(format!(
                    "{} of {} MiB",
                    thousands(received),
                    thousands(total)
                ));
            }
            Ok(())
        })
        .inspect_err(|_| {
            if interrupt::pending().is_some() {
                let kept = "what came so far was kept, the next run goes on from there";
                work.ui.info(format!("{}: {kept}", package.name));
            }
        })?;
    }
    let file = only_file(&inner, ".deb")?;
    let unpacked = inner.join("unpacked");
    {
        let _task = work
            .ui
            .task(format!("unpacking {} {version}", package.name));
        let command = LongCommand::new("dpkg-deb")
            .arg("-x")
            .arg(&file)
            .arg(&unpacked);
        work.run(command, || Ok(()))?;
    }
    std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    let archive = only_file(&unpacked.join("usr/src"), ".tar.xz")?;
    work.unpack(&archive, directory)?;
    std::fs::remove_dir_all(&inner).with_context(|| format!("cannot remove {}", inner.display()))
}

fn only_file(directory: &Path, suffix: &str) -> Result<PathBuf> {
    let context = || format!("cannot read {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.to_string_lossy().ends_with(suffix) {
            return Ok(path);
        }
    }
    bail!("there is no {suffix} file in {}", directory.display())
}

fn largest_file(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .max()
        .unwrap_or(0)
}

/// Every entry of the host's source lists.
fn host_entries() -> Result<Vec<Entry>> {
    if find_program("apt-get").is_none() || find_program("dpkg-deb").is_none() {
        return Err(Failure::setup("this host has no apt").into());
    }
    let shell = crate::process::shell()?;
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

fn read_entries(path: &Path) -> Result<Vec<Entry>> {
    let parse = match path.extension().and_then(|extension| extension.to_str()) {
        Some("list") => apt::parse_one_line,
        Some("sources") => apt::parse_deb822,
        _ => return Ok(Vec::new()),
    };
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(parse(&text))
}

fn architecture() -> Result<String> {
    let shell = crate::process::shell()?;
    let command = shell.cmd("dpkg").arg("--print-architecture").quiet();
    command
        .read()
        .context("dpkg does not know this host's architecture")
}

struct Prepared<'a> {
    suite: &'a Suite,
    directory: PathBuf,
    sources: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Usable,
    Failed(UpdateFailure),
}

/// Updates the suites whose lists are too old; the state of each.
fn update(ui: &Ui, suites: &[Prepared<'_>]) -> Result<Vec<State>> {
    let mut states = Vec::new();
    let mut stale = Vec::new();
    for (index, prepared) in suites.iter().enumerate() {
        let known = prepared.known_state();
        if known.is_none() {
            stale.push(index);
        }
        states.push(known.unwrap_or(State::Failed(UpdateFailure::Other)));
    }
    if stale.is_empty() {
        return Ok(states);
    }
    let mut task = ui.task("reading Debian's package lists");
    let unreachable = [AtomicBool::new(false), AtomicBool::new(false)];
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(stale.len()) {
            scope.spawn(|| {
                while let Some(&index) = stale.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let prepared = &suites[index];
                    // A host that is not there for one suite is not for the next.
                    let host = &unreachable[usize::from(prepared.suite.archive == Archive::Main)];
                    let result = if host.load(Ordering::SeqCst) {
                        Ok(State::Failed(UpdateFailure::Unreachable))
                    } else {
                        prepared.update(ui)
                    };
                    if matches!(result, Ok(State::Failed(UpdateFailure::Unreachable))) {
                        host.store(true, Ordering::SeqCst);
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

impl Prepared<'_> {
    /// Where it stands what came of the last update; its age is that of the lists.
    fn stamp(&self) -> PathBuf {
        self.directory.join("stamp")
    }

    /// What is in the stamp: another source list makes the lists useless.
    fn stamp_text(&self, state: State) -> String {
        format!("{state:?}\n{}", self.sources)
    }

    fn known_state(&self) -> Option<State> {
        let stamp = self.stamp();
        let age = stamp.metadata().ok()?.modified().ok()?.elapsed().ok()?;
        let text = std::fs::read_to_string(stamp).ok()?;
        // Only what will be the same in an hour is believed.
        [State::Usable, State::Failed(UpdateFailure::Absent)]
            .into_iter()
            .find(|state| age < LIST_AGE && text == self.stamp_text(*state))
    }

    fn update(&self, ui: &Ui) -> Result<State> {
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
            String::from_utf8_lossy(&std::fs::read(&log).with_context(context)?).into_owned();
        let state = if status.success() {
            State::Usable
        } else {
            let failure = apt::update_failure(&output);
            let line = output
                .lines()
                .find(|line| line.starts_with("E: "))
                .unwrap_or("no reason given");
            ui.verbose(format!("Debian's {}: {line}", self.suite.name));
            State::Failed(failure)
        };
        std::fs::write(self.stamp(), self.stamp_text(state)).with_context(context)?;
        Ok(state)
    }
}

/// A command of apt that works in a private directory.
fn apt_command(program: &str, directory: &Path) -> LongCommand {
    LongCommand::new(program)
        .arg("-c")
        .arg(directory.join("apt.conf"))
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
}

/// What apt knows about packages; those that it does not know are passed over.
fn show(directory: &Path, packages: &[String]) -> Result<String> {
    let shell = crate::process::shell()?;
    shell
        .cmd("apt-cache")
        .arg("-c")
        .arg(directory.join("apt.conf"))
        .arg("show")
        .args(packages)
        .env("LC_ALL", "C")
        .quiet()
        .ignore_stderr()
        // It fails when there is no such package.
        .ignore_status()
        .read()
        .context("cannot run apt-cache")
}
