//! Kernel source: from a version to an unpacked tree.
//!
//! First it is *found* ([`find`]): which point release, from where, with which
//! checksum. That is enough to know whether there is anything to build. Then it is
//! *fetched* ([`fetch`]): downloaded, checked, unpacked and patched into
//! `src/linux-<version>-<key>`, where it stays for the next flavor. Archives are
//! removed once they are unpacked: the tree is what everything else works with.

pub mod debian;
pub mod directory;
pub mod git;
pub mod kernel_org;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::base::error::{Failure, lines};
use crate::base::process::{LongCommand, run_logged};
use crate::base::{
    disk, env::Env, format::thousands, input, interrupt, lock, sha256::Sha256, temporary::Temporary,
};
use crate::kernel::build::progress::disk_was_full;
use crate::model::version::Version;
use crate::net::apt::suites::DebianPackage;

use kernel_org::Patience;

/// What `--source` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// kernel.org, then Debian.
    #[default]
    Auto,
    /// Release archives.
    KernelOrg,
    /// The package `linux-source-<series>`.
    Debian,
    /// A git repository with the tags `v<version>`.
    Git(String),
}

impl FromStr for SourceChoice {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel.org" => Ok(Self::KernelOrg),
            "debian" => Ok(Self::Debian),
            _ => match text.strip_prefix("git:") {
                Some(url) if !url.is_empty() => Ok(Self::Git(url.to_owned())),
                _ => Err(Failure::usage(format!("{text:?} is not a kernel source"))
                    .hint("one of auto, kernel.org, debian, git:URL")),
            },
        }
    }
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedSource {
    /// A version; without point release and candidate the newest of the series.
    Version(Version),
    /// An existing source tree.
    Directory(PathBuf),
}

/// A wanted source and where it may come from.
#[derive(Clone, Debug)]
pub struct SourceRequest {
    /// What is wanted.
    pub wanted: WantedSource,
    /// Where from; means nothing for a directory.
    pub choice: SourceChoice,
    /// The address below which kernel.org's archives are.
    pub kernel_org_url: String,
}

/// A source that was found but perhaps not fetched yet.
#[derive(Clone, Debug)]
pub struct FoundSource {
    /// Whole, as the tree's own Makefile has it: `6.1.0` and not `6.1`.
    pub version: Version,
    /// For people and the manifest; see [`crate::kernel::manifest::Origin`].
    pub origin: String,
    /// What identifies it.
    pub checksum: String,
    location: SourceLocation,
}

#[derive(Clone, Debug)]
enum SourceLocation {
    KernelOrg(kernel_org::SourceArchive),
    Debian(DebianPackage),
    Git(git::GitTag),
    Directory(PathBuf),
}

/// An unpacked source tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTree {
    /// The tree: absolute, canonical.
    pub path: PathBuf,
    /// As its Makefile has it.
    pub version: Version,
    /// For people and the manifest, e.g. `debian linux-source-6.1 6.1.192-2`.
    pub origin: String,
    /// What identifies it.
    pub checksum: String,
    /// When the source was made, in seconds since 1970; becomes the kernel's date.
    pub date: u64,
}

/// What is known about a tree, in a file in it.
#[derive(Serialize, Deserialize)]
struct Record {
    origin: String,
    checksum: String,
    date: u64,
}

const RECORD: &str = ".vmtest-source.json";

/// A version as the Makefile of its source has it.
pub fn whole(version: Version) -> Version {
    Version {
        point: Some(version.point.unwrap_or(0)),
        ..version
    }
}

/// Whether `version` is what a user who asked for `wanted` wants.
pub fn satisfies(version: &Version, wanted: &Version) -> bool {
    if wanted.point.is_none() && wanted.candidate.is_none() {
        version.series == wanted.series
    } else {
        whole(*version) == whole(*wanted)
    }
}

/// Finds out what there is. Needs the network unless it was asked recently.
pub fn find(env: &Env, request: &SourceRequest) -> Result<FoundSource> {
    let version = match &request.wanted {
        WantedSource::Directory(path) => return directory::find(path),
        WantedSource::Version(version) => *version,
    };
    let (choice, url) = (&request.choice, &request.kernel_org_url);
    find_all(env, &[version], choice, url)?
        .pop()
        .context("no source was asked")?
}

/// [`find`] for many versions: an answer for each, in their order. Every list of a
/// source is asked for once, and one that cannot be had is one line.
pub fn find_all(
    env: &Env,
    versions: &[Version],
    choice: &SourceChoice,
    kernel_org_url: &str,
) -> Result<Vec<Result<FoundSource>>> {
    let from = |source: &str, answers: Vec<Result<FoundSource>>| {
        let named = versions.iter().zip(answers).map(|(version, answer)| {
            answer.with_context(|| format!("cannot get Linux {version} from {source}"))
        });
        named.collect()
    };
    let kernel_org = |patience| kernel_org::find_all(env, kernel_org_url, versions, patience);
    let answers = match choice {
        SourceChoice::KernelOrg => from("kernel.org", kernel_org(Patience::Much)),
        SourceChoice::Debian => {
            let answers = debian::find_all(env, versions);
            from("Debian", one_for_each(answers, versions.len()))
        }
        SourceChoice::Git(url) => {
            let answers = git::find_all(url, versions);
            from("git", one_for_each(answers, versions.len()))
        }
        SourceChoice::Auto => {
            let answers = kernel_org(Patience::Little);
            interrupt::check()?;
            then_debian(env, versions, answers)
        }
    };
    interrupt::check()?;
    Ok(answers)
}

/// Asks Debian for what kernel.org did not have.
fn then_debian(
    env: &Env,
    versions: &[Version],
    mut answers: Vec<Result<FoundSource>>,
) -> Vec<Result<FoundSource>> {
    let mut left = Vec::new();
    let mut reasons = Vec::<(String, Vec<String>)>::new();
    for (index, answer) in answers.iter().enumerate() {
        let Err(error) = answer else {
            continue;
        };
        let (reason, version) = (format!("{error:#}"), versions[index].to_string());
        left.push((index, reason.clone()));
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, versions)) => versions.push(version),
            None => reasons.push((reason, vec![version])),
        }
    }
    if left.is_empty() {
        return answers;
    }
    for (reason, of) in reasons {
        let of = match versions.len() {
            1 => String::new(),
            _ => format!(" for {}", of.join(", ")),
        };
        env.ui
            .info(format!("kernel.org: {reason}; trying Debian{of}"));
    }
    let wanted = left
        .iter()
        .map(|(index, _)| versions[*index])
        .collect::<Vec<_>>();
    let second = debian::find_all(env, &wanted);
    let second = one_for_each(second, wanted.len());
    for ((index, first), second) in left.into_iter().zip(second) {
        answers[index] = second.map_err(|second| {
            Failure::setup(format!(
                "no source for Linux {}: kernel.org: {first}; Debian: {second:#}",
                versions[index]
            ))
            .hint("give a source tree, or a repository with --source git:URL")
            .into()
        });
    }
    answers
}

/// A failure to ask at all as the answer to each of `count` questions.
fn one_for_each(
    answers: Result<Vec<Result<FoundSource>>>,
    count: usize,
) -> Vec<Result<FoundSource>> {
    let error = match answers {
        Ok(answers) => return answers,
        Err(error) => error,
    };
    let text = format!("{error:#}");
    let lines = lines(&error).to_owned();
    let copy = || Failure::setup(text.clone()).lines(lines.clone());
    let copies = (1..count).map(|_| Err(copy().into()));
    copies.chain([Err(error)]).collect()
}

/// Finds and fetches, without patches.
pub fn obtain(env: &Env, request: &SourceRequest) -> Result<SourceTree> {
    let found = find(env, request)?;
    fetch(env, &found, &[])
}

/// The unpacked tree of what was found, with patches (name and text) applied.
/// A directory that the user named is taken as it is: it is not ours to change.
pub fn fetch(env: &Env, found: &FoundSource, patches: &[(String, String)]) -> Result<SourceTree> {
    if let SourceLocation::Directory(path) = &found.location {
        return directory::tree(path, found);
    }
    let name = tree_name(found, patches);
    let goal = env.paths.sources().join(&name);
    let _lock = lock::take(env, &format!("source-{name}"))?;
    if !goal.join(RECORD).is_file() {
        disk::create_directory(&env.paths.sources())?;
        disk::create_directory(&env.paths.logs())?;
        let log = env.paths.logs().join(format!("source-{name}.log"));
        let temporary = Temporary::directory(&goal)?;
        let work = SourceWork::new(env, &log);
        match &found.location {
            SourceLocation::KernelOrg(archive) => {
                kernel_org::fetch(&work, archive, temporary.path())
            }
            SourceLocation::Debian(package) => debian::fetch(&work, package, temporary.path()),
            SourceLocation::Git(tag) => git::fetch(&work, tag, temporary.path()),
            SourceLocation::Directory(_) => Ok(()),
        }
        .with_context(|| format!("cannot get {}", found.origin))?;
        finish(&work, found, patches, temporary.path())?;
        temporary.persist()?;
    }
    read_tree(&goal)
}

/// What the fetching of one source works with.
pub struct SourceWork<'a> {
    env: &'a Env,
    log: &'a Path,
}

impl<'a> SourceWork<'a> {
    /// The output of commands goes to `log`, whose folder must be there.
    pub fn new(env: &'a Env, log: &'a Path) -> Self {
        Self { env, log }
    }

    /// Runs a command that writes into `directory`; a full disk is said as such.
    fn run(&self, command: LongCommand, tick: impl FnMut() -> Result<()>) -> Result<()> {
        let start = std::fs::metadata(self.log).map_or(0, |metadata| metadata.len());
        run_logged(command, self.log, tick).map_err(|error| {
            let log = input::end(self.log, start, input::TEXT).unwrap_or_default();
            if disk_was_full(&String::from_utf8_lossy(&log)) {
                disk_full(&self.env.paths.sources())
            } else {
                error
            }
        })
    }

    /// Unpacks an archive with one folder in it into `directory`.
    fn unpack(&self, archive: &Path, directory: &Path) -> Result<()> {
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let _task = self.env.ui.task(format!("unpacking {name}"));
        let command = LongCommand::new("tar")
            .arg("-x")
            // As root tar would give the files to whoever packed them.
            .arg("--no-same-owner")
            .args(["--strip-components", "1", "-C"])
            .arg(directory)
            .arg("-f")
            .arg(archive);
        self.run(command, || Ok(()))
    }
}

/// The error of a full disk.
pub fn disk_full(directory: &Path) -> anyhow::Error {
    let free = disk::free(directory);
    let free = free.map(|bytes| format!(", {} MiB free", thousands(bytes >> 20)));
    let free = free.unwrap_or_default();
    Failure::setup(format!("the disk is full: {}{free}", directory.display()))
        .hint("a kernel needs about 2 GiB for its source and 4 GiB for a build; free some space or use another --directory")
        .into()
}

fn tree_name(found: &FoundSource, patches: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    hash.update(found.checksum.as_bytes());
    for (name, text) in patches {
        for part in [name, text] {
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    let key = hash.finish();
    format!("linux-{}-{}", found.version, &key[..12])
}

/// Checks and marks a tree that was unpacked into `directory`.
fn finish(
    work: &SourceWork<'_>,
    found: &FoundSource,
    patches: &[(String, String)],
    directory: &Path,
) -> Result<()> {
    let version = directory::version(directory)?;
    if version != found.version {
        bail!(
            "{} has Linux {version} in it, not {}",
            found.origin,
            found.version
        );
    }
    let date = match &found.location {
        SourceLocation::Git(tag) => tag.date(directory)?,
        // Archives keep the time of their making here.
        _ => directory::modified(&directory.join("Makefile"))?,
    };
    for (name, text) in patches {
        work.env.ui.verbose(format!("applying {name}"));
        let file = directory.join(".vmtest-patch");
        disk::write(&file, text)?;
        let command = LongCommand::new("patch")
            .args([
                "-p1",
                "--batch",
                "--forward",
                "--no-backup-if-mismatch",
                "-i",
            ])
            .arg(&file)
            .arg("-d")
            .arg(directory);
        work.run(command, || Ok(()))
            .with_context(|| format!("cannot apply the patch {name} to {}", found.origin))?;
        disk::remove_file(&file)?;
    }
    let record = Record {
        origin: found.origin.clone(),
        checksum: found.checksum.clone(),
        date,
    };
    let path = directory.join(RECORD);
    disk::write(&path, serde_json::to_string(&record)?)
}

fn read_tree(path: &Path) -> Result<SourceTree> {
    let context = || format!("cannot read the source tree {}", path.display());
    let text = input::text(&path.join(RECORD), input::SMALL).with_context(context)?;
    let record = serde_json::from_str::<Record>(&text).with_context(context)?;
    Ok(SourceTree {
        path: path.canonicalize().with_context(context)?,
        version: directory::version(path)?,
        origin: record.origin,
        checksum: record.checksum,
        date: record.date,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        let parse = str::parse::<SourceChoice>;
        assert_eq!(parse("auto").unwrap(), SourceChoice::Auto);
        assert_eq!(parse("kernel.org").unwrap(), SourceChoice::KernelOrg);
        assert_eq!(parse("debian").unwrap(), SourceChoice::Debian);
        let url = "https://example.org/linux.git";
        assert_eq!(
            parse(&format!("git:{url}")).unwrap(),
            SourceChoice::Git(url.into())
        );
        for text in ["", "git:", "ubuntu", "Debian"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_series_is_any_of_its_releases() {
        let check = |version: &str, wanted: &str| {
            satisfies(&version.parse().unwrap(), &wanted.parse().unwrap())
        };
        assert!(check("6.1.192", "6.1"));
        assert!(check("6.1.0", "6.1"));
        assert!(!check("6.12.1", "6.1"));
        assert!(check("6.1.192", "6.1.192"));
        assert!(!check("6.1.193", "6.1.192"));
        assert!(check("6.1", "6.1.0"));
        assert!(check("7.3.0-rc2", "7.3-rc2"));
        assert!(!check("7.3.0", "7.3-rc2"));
    }
}
