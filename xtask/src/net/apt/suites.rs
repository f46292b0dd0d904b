//! Debian's archive, through apt but not through the host's state.
//!
//! apt works with lists, cache and source list of its own below `cache/apt/<suite>`,
//! needs no root and installs nothing. Mirror, proxy, keys and passwords are the
//! host's. Each suite is updated alone, so that one which is broken costs only
//! itself, and its lists are used for a day.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::formats::{
    self as apt, ArchiveFile, DebianArchive, DebianCandidate, DebianSuite, SUITES, SourceEntry,
    UpdateFailure,
};
use crate::base::lock::{self, Lock};
use crate::base::{
    disk, env::Env, error::Failure, input, interrupt, parallel, process, process::LongCommand,
    programs::find_program, sha256::Sha256, temporary::Temporary, ui::Ui,
};
use crate::model::arch::{self, Arch};
use crate::net::http::{host, unreachable};

/// How long the lists of a suite are used.
const LIST_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Suites updated at a time: enough to hide the network's waits.
const PARALLEL: usize = 4;

/// Below a suite's directory: which files were found to be needed for which packages.
const CLOSURES: &str = "closures";

/// Chooses packages, and no more than they need.
const INSTALL: [&str; 3] = ["-o", "APT::Install-Recommends=false", "install"];

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
    /// The directory of each, and what came of the last attempt to renew its lists.
    asked: Vec<(PathBuf, Result<(), UpdateFailure>)>,
    /// No other run may renew the lists while they are read.
    _lock: Lock,
}

/// A suite that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct SuiteLists<'a> {
    directory: &'a Path,
}

impl Suites {
    /// Renews an architecture's lists of the wanted suites if they are too old.
    pub fn open(env: &Env, arch: &Arch, wanted: impl Fn(&DebianSuite) -> bool) -> Result<Self> {
        let entries = host_entries()?;
        let mut root = env.paths.cache().join("apt");
        if arch::host() != Some(arch) {
            root.push(arch.debian);
        }
        let lock = lock::take(env, &format!("apt-{}", arch.debian))?;
        if apt::find_archive(&entries, DebianArchive::Main).is_none() {
            return Err(Failure::setup("apt on this host knows no archive of Debian").into());
        }
        let mut prepared = Vec::new();
        for suite in SUITES.iter().filter(|suite| wanted(suite)) {
            if let Some(entry) = apt::find_archive(&entries, suite.archive) {
                prepared.push(PreparedSuite {
                    suite,
                    directory: root.join(suite.file_name()),
                    sources: suite.sources(entry, arch.debian),
                    architecture: arch.debian,
                    host: entry.uris.first().map(|uri| host(uri)).unwrap_or_default(),
                });
            }
        }
        let states = update(&env.ui, &prepared)?;
        let directories = prepared.into_iter().map(|prepared| prepared.directory);
        Ok(Self {
            asked: directories.zip(states).collect(),
            _lock: lock,
        })
    }

    /// Those that can be asked, the oldest first.
    pub fn usable(&self) -> impl Iterator<Item = SuiteLists<'_>> {
        let usable = self.asked.iter().filter(|(_, state)| state.is_ok());
        usable.map(|(directory, _)| SuiteLists { directory })
    }

    /// Why none can be asked; `None` if there is one that can.
    pub fn unusable(&self) -> Option<Failure> {
        let states = self.asked.iter().map(|(_, state)| *state);
        let states = states.collect::<Vec<_>>();
        let failed = |failure| states.contains(&Err(failure));
        let absent = Err(UpdateFailure::Absent);
        Some(if states.contains(&Ok(())) {
            return None;
        } else if failed(UpdateFailure::Unreachable) {
            Failure::setup("Debian's archive cannot be reached")
        } else if failed(UpdateFailure::Untrusted) {
            Failure::setup("this host does not have the keys of Debian's archive")
                .hint("install debian-archive-keyring")
        } else if !states.is_empty() && states.iter().all(|state| *state == absent) {
            Failure::setup(
                "Debian's archive, as apt on this host knows it, does not have that suite",
            )
        } else {
            Failure::setup("apt could not update any suite of Debian").hint("-v says why")
        })
    }
}

impl DebianPackage {
    /// The command that downloads packages of this one's suite into the current directory.
    pub fn download_command(&self) -> LongCommand {
        apt_command("apt-get", &self.apt).arg("download")
    }

    /// Whether another one is in the same suite.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.apt == other.apt
    }

    /// Where apt keeps what it has not downloaded to the end.
    pub fn partial(&self) -> PathBuf {
        self.apt.join("archives/partial")
    }
}

impl SuiteLists<'_> {
    /// The suite, as files are called after it.
    pub fn suite(&self) -> String {
        let name = self.directory.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Whether it is a part of another suite, like `trixie-security` of `trixie`.
    pub fn updates(&self, other: &Self) -> bool {
        let own = self.suite();
        let rest = own.strip_prefix(&other.suite());
        rest.is_some_and(|rest| rest.starts_with('-'))
    }

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
        let mut words = vec!["show"];
        words.extend(packages.iter().map(String::as_str));
        apt_cache(self.directory, &words)
    }

    /// The package files of which a machine with nothing but these packages is made, in apt's
    /// order. A package whose name ends in `?` is left out if the suite lacks it. What was found
    /// is kept until the lists are renewed.
    pub fn closure(&self, packages: &[String]) -> Result<Vec<ArchiveFile>> {
        let memo = self.memo(packages);
        if let Some(text) = input::text_if_any(&memo, input::TEXT)? {
            return Ok(apt::parse_files(&text));
        }
        let (spare, mut chosen) = packages
            .iter()
            .map(|name| name.trim_end_matches('?').to_owned())
            .partition::<Vec<_>, _>(|name| !packages.contains(name));
        let spare = apt::parse_all(&self.show(&spare)?).into_iter();
        chosen.extend(spare.map(|candidate| candidate.package));
        // What is in apt's folder already would not be printed.
        let elsewhere = self.directory.join("absent");
        let elsewhere = format!("Dir::Cache::archives={}", elsewhere.display());
        let output = process::shell()?
            .cmd("apt-get")
            .arg("-c")
            .arg(self.directory.join("apt.conf"))
            .args(["-qq", "--print-uris", "-o", &elsewhere])
            .args(["-o", "Acquire::ForceHash=SHA256"])
            .args(INSTALL)
            .args(chosen)
            .env("LC_ALL", "C")
            .quiet()
            .ignore_status()
            .output()
            .context("cannot run apt-get")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let reasons = said.lines().filter_map(|line| line.strip_prefix("E: "));
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            let message = format!("apt cannot choose packages of {}: {reasons}", self.suite());
            return Err(Failure::setup(message).lines(said).into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        write_whole(&memo, &text)?;
        Ok(apt::parse_files(&text))
    }

    /// Below the suite's directory, for what was found out about packages.
    fn memo(&self, packages: &[String]) -> PathBuf {
        let name = Sha256::of(packages.join(" "));
        self.directory.join(CLOSURES).join(name)
    }

    /// Why the files of packages could not be had, as [`Self::note_absent`] was told since the
    /// lists were renewed.
    pub fn absent(&self, packages: &[String]) -> Result<Option<String>> {
        input::text_if_any(&self.memo(packages).with_extension("absent"), input::SMALL)
    }

    /// Notes that the archive lacks files that its lists name: mirrors that are being renewed do.
    pub fn note_absent(&self, packages: &[String], reason: &str) -> Result<()> {
        write_whole(&self.memo(packages).with_extension("absent"), reason)
    }

    /// The command that fetches files of [`Self::closure`] into [`Self::archives`]. apt checks
    /// them against its signed lists. What is there already it does not fetch again.
    pub fn fetch_command(&self, files: &[ArchiveFile]) -> LongCommand {
        apt_command("apt-get", self.directory)
            .args(["-y", "-q", "--download-only"])
            .args(INSTALL)
            .args(files.iter().filter_map(ArchiveFile::package))
    }

    pub fn archives(&self) -> PathBuf {
        self.directory.join("archives")
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
    let shell = process::shell()?;
    let files = shell.cmd("apt-config").arg("shell");
    let files = files.args(["MAIN", "Dir::Etc::sourcelist/f"]);
    let files = files.args(["PARTS", "Dir::Etc::sourceparts/d"]);
    let files = files.quiet().read().context("apt-config failed")?;
    let mut paths = Vec::new();
    for line in files.lines() {
        if let Some((name, path)) = line.split_once('=') {
            let path = PathBuf::from(path.trim_matches('\''));
            match name {
                "MAIN" => paths.push(path),
                _ => paths.extend(disk::entries(&path).unwrap_or_default()),
            }
        }
    }
    let mut entries = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let parse = match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => apt::parse_one_line,
            Some("sources") => apt::parse_deb822,
            _ => continue,
        };
        entries.extend(parse(&input::text(path, input::TEXT)?));
    }
    Ok(entries)
}

struct PreparedSuite {
    suite: &'static DebianSuite,
    directory: PathBuf,
    sources: String,
    architecture: &'static str,
    /// Who is asked.
    host: String,
}

/// Updates the suites whose lists are too old; what came of each.
fn update(ui: &Ui, suites: &[PreparedSuite]) -> Result<Vec<Result<(), UpdateFailure>>> {
    let known = suites.iter().map(PreparedSuite::known_state);
    let known = known.collect::<Vec<_>>();
    let stale = suites.iter().zip(&known);
    let stale = stale.filter_map(|(suite, known)| known.is_none().then_some(suite));
    let stale = stale.collect::<Vec<_>>();
    if stale.is_empty() {
        return Ok(known.into_iter().flatten().collect());
    }
    let hosts = stale.iter().map(|suite| suite.host.as_str());
    let hosts = hosts.collect::<BTreeSet<_>>().into_iter();
    let hosts = hosts.collect::<Vec<_>>().join(", ");
    // Without a network it takes a minute until apt gives up.
    let mut task = ui.task(format!("reading Debian's package lists from {hosts}"));
    let renew = |suite: &&PreparedSuite| {
        // A host that is not there for one suite is not for the next.
        if unreachable::is_noted(&suite.host) {
            return Ok(Err(UpdateFailure::Unreachable));
        }
        let state = suite.update(ui)?;
        if state == Err(UpdateFailure::Unreachable) {
            unreachable::note(&suite.host);
        }
        Ok(state)
    };
    let states = parallel::map(PARALLEL, &stale, renew, |done| {
        task.update(format!("{done} of {} suites", stale.len()));
    });
    interrupt::check()?;
    let mut states = states.into_iter();
    let or_renewed = |known: Option<_>| known.map(Ok).or_else(|| states.next());
    known.into_iter().filter_map(or_renewed).collect()
}

impl PreparedSuite {
    /// Where it stands what came of the last update; its age is that of the lists.
    fn stamp(&self) -> PathBuf {
        self.directory.join("stamp")
    }

    /// What is in the stamp: another source list makes the lists useless.
    fn stamp_text(&self, state: Result<(), UpdateFailure>) -> String {
        format!("{state:?}\n{}", self.sources)
    }

    fn known_state(&self) -> Option<Result<(), UpdateFailure>> {
        let stamp = self.stamp();
        let age = stamp.metadata().ok()?.modified().ok()?.elapsed().ok()?;
        let text = input::text(&stamp, input::SMALL).ok()?;
        // Only what will be the same in an hour is believed.
        let lasting = [Ok(()), Err(UpdateFailure::Absent)];
        let mut lasting = lasting.into_iter().filter(|_| age < LIST_AGE);
        lasting.find(|state| text == self.stamp_text(*state))
    }

    fn update(&self, ui: &Ui) -> Result<Result<(), UpdateFailure>> {
        let directory = &self.directory;
        for folder in ["state", "lists/partial", "cache", "archives/partial"] {
            disk::create_directory(&directory.join(folder))?;
        }
        let path = directory
            .to_str()
            .filter(|path| !path.contains(['"', '\n', '\\']))
            .ok_or_else(|| Failure::setup(format!("apt cannot work in {}", directory.display())))?;
        if directory.join(CLOSURES).exists() {
            disk::remove_directory(directory.join(CLOSURES))?;
        }
        disk::write(directory.join("status"), "")?;
        disk::write(directory.join("vmtest.sources"), &self.sources)?;
        disk::write(
            directory.join("apt.conf"),
            apt::configuration(path, self.architecture),
        )?;
        let log = directory.join("update.log");
        let file = disk::create_file(&log)?;
        let command = apt_command("apt-get", directory).args(["-q", "update"]);
        let status = command.log(&file)?.spawn()?.wait()?;
        let output = input::bytes(&log, input::TEXT)?;
        let output = String::from_utf8_lossy(&output);
        let state = if status.success() {
            Ok(())
        } else {
            let line = output.lines().find(|line| line.starts_with("E: "));
            let line = line.unwrap_or("no reason given");
            ui.verbose(format!("Debian's {}: {line}", self.suite.name));
            Err(apt::update_failure(&output))
        };
        disk::write(self.stamp(), self.stamp_text(state))?;
        Ok(state)
    }
}

fn write_whole(path: &Path, text: &str) -> Result<()> {
    let file = Temporary::file(path)?;
    disk::write(file.path(), text)?;
    file.persist()
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
    process::shell()?
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
