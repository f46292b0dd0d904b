//! Kernel source: from a version to an unpacked tree.
//!
//! First it is *found* ([`find`]): which point release, from where, with which checksum, so
//! whether there is anything to build. Then it is *fetched* ([`fetch`]): downloaded, checked,
//! unpacked and patched into `src/linux-<version>-<key>`, where it stays for the next flavor.

pub mod debian;
pub mod directory;
pub mod git;
pub mod kernel_org;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use serde::{Deserialize, Serialize};

use crate::base::error::{self, Failure};
use crate::base::process::{LongCommand, run_logged};
use crate::base::{
    disk, env::Env, format::thousands, input, interrupt, lock, sha256::Sha256, temporary::Temporary,
};
use crate::kernel::build::progress::disk_was_full;
use crate::model::version::Version;
use crate::net::apt::suites::DebianPackage;

/// What `--source` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// kernel.org, then Debian.
    #[default]
    Auto,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedSource {
    /// A version; without point release and candidate the newest of the series.
    Version(Version),
    Directory(PathBuf),
}

/// A source that was found but perhaps not fetched yet.
#[derive(Clone, Debug)]
pub struct FoundSource {
    /// Whole, as the tree's own Makefile has it: `6.1.0` and not `6.1`.
    pub version: Version,
    /// What a tree of the user's adds to the version in its release: `-modified`.
    pub own_name: String,
    /// For people and the manifest; see [`crate::kernel::manifest::SourceOrigin`].
    pub origin: String,
    /// What identifies it.
    pub checksum: String,
    location: SourceLocation,
}

impl FoundSource {
    pub fn is_directory(&self) -> bool {
        matches!(self.location, SourceLocation::Directory(_))
    }
}

#[derive(Clone, Debug)]
enum SourceLocation {
    /// The archive's address.
    KernelOrg(String),
    Debian(DebianPackage),
    /// The repository's address, and the tag.
    Git(String, String),
    Directory(PathBuf),
}

#[derive(Debug)]
pub struct SourceTree {
    /// Absolute, canonical.
    pub path: PathBuf,
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
        version.position() == wanted.position()
    }
}

/// The newest version of what there is that is wanted; of one version the last.
fn newest<T>(there: impl Iterator<Item = (Version, T)>, wanted: &Version) -> Option<(Version, T)> {
    let wanted = there.filter(|(version, _)| satisfies(version, wanted));
    wanted.max_by_key(|(version, _)| version.position())
}

/// [`find_all`] for one version, or a look at a directory.
pub fn find(
    env: &Env,
    wanted: &WantedSource,
    choice: &SourceChoice,
    kernel_org_url: &str,
) -> Result<FoundSource> {
    let version = match wanted {
        WantedSource::Directory(path) => return directory::find(path),
        WantedSource::Version(version) => *version,
    };
    let mut found = find_all(env, &[version], choice, kernel_org_url)?;
    found.pop().context("no source was asked")?
}

/// Finds out what there is: an answer for each version, in their order. Every list of a
/// source is asked for once, unless that was done recently, and one that cannot be had is one
/// line. kernel.org's archives are below the address `kernel_org_url`.
pub fn find_all(
    env: &Env,
    versions: &[Version],
    choice: &SourceChoice,
    kernel_org_url: &str,
) -> Result<Vec<Result<FoundSource>>> {
    let kernel_org = |alternative| kernel_org::find_all(env, kernel_org_url, versions, alternative);
    let (source, answers) = match choice {
        SourceChoice::KernelOrg => ("kernel.org", kernel_org(false)),
        SourceChoice::Debian => ("Debian", each(versions, debian::find_all(env, versions))),
        SourceChoice::Git(url) => ("git", each(versions, git::find_all(url, versions))),
        SourceChoice::Auto => {
            let answers = kernel_org(true);
            interrupt::check()?;
            ("kernel.org or Debian", then_debian(env, versions, answers))
        }
    };
    interrupt::check()?;
    let named = versions.iter().zip(answers).map(|(version, answer)| {
        answer.with_context(|| format!("cannot get Linux {version} from {source}"))
    });
    Ok(named.collect())
}

/// Asks Debian for what kernel.org did not have.
fn then_debian(
    env: &Env,
    versions: &[Version],
    mut answers: Vec<Result<FoundSource>>,
) -> Vec<Result<FoundSource>> {
    let mut left = Vec::new();
    let mut reasons = BTreeMap::<String, Vec<String>>::new();
    for (index, version) in versions.iter().enumerate() {
        if let Err(error) = &answers[index] {
            let versions = reasons.entry(format!("{error:#}")).or_default();
            versions.push(version.to_string());
            left.push(index);
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
    let wanted = left.iter().map(|&index| versions[index]);
    let wanted = wanted.collect::<Vec<_>>();
    let second = each(&wanted, debian::find_all(env, &wanted));
    for (index, second) in left.into_iter().zip(second) {
        answers[index] = match (&answers[index], second) {
            (Err(first), Err(second)) => {
                let message = format!("kernel.org: {first:#}; Debian: {second:#}");
                let hint = "give a source tree, or a repository with --source git:URL";
                Err(Failure::setup(message).hint(hint).into())
            }
            (_, second) => second,
        };
    }
    answers
}

/// A failure to ask at all is the answer for each version.
fn each(
    versions: &[Version],
    answers: Result<Vec<Result<FoundSource>>>,
) -> Vec<Result<FoundSource>> {
    answers.unwrap_or_else(|error| versions.iter().map(|_| Err(error::copy(&error))).collect())
}

/// The unpacked tree of what was found, with patches (name and text) applied.
/// A directory that the user named is taken as it is: it is not ours to change.
pub fn fetch(env: &Env, found: &FoundSource, patches: &[(String, String)]) -> Result<SourceTree> {
    if let SourceLocation::Directory(path) = &found.location {
        return Ok(SourceTree {
            path: path.clone(),
            date: directory::date(path)?,
        });
    }
    let name = tree_name(found, patches);
    let goal = env.paths.sources().join(&name);
    let _lock = lock::take(env, &format!("source-{name}"))?;
    if !goal.join(RECORD).is_file() {
        disk::create_directory(&env.paths.sources())?;
        disk::create_directory(&env.paths.logs())?;
        let log = &env.paths.logs().join(format!("source-{name}.log"));
        let temporary = Temporary::directory(&goal)?;
        let directory = temporary.path();
        let (sum, origin) = (&found.checksum, &found.origin);
        match &found.location {
            SourceLocation::KernelOrg(url) => kernel_org::fetch(env, log, url, sum, directory),
            SourceLocation::Debian(package) => debian::fetch(env, log, package, directory),
            SourceLocation::Git(url, tag) => git::fetch(env, log, url, tag, sum, directory),
            SourceLocation::Directory(_) => Ok(()),
        }
        .map_err(|error| name_full_disk(error, &env.paths.sources()))
        .with_context(|| format!("cannot get {origin}"))?;
        finish(env, log, found, patches, directory)?;
        temporary.persist()?;
    }
    let context = || format!("cannot read the source tree {}", goal.display());
    let record = input::text(&goal.join(RECORD), input::SMALL)?;
    let record = serde_json::from_str::<Record>(&record).with_context(context)?;
    Ok(SourceTree {
        path: disk::canonicalize(&goal)?,
        date: record.date,
    })
}

/// Unpacks an archive with one folder in it into `directory`.
fn unpack(env: &Env, log: &Path, archive: &Path, directory: &Path) -> Result<()> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let _task = env.ui.task(format!("unpacking {name}"));
    let command = LongCommand::new("tar")
        // As root tar would give the files to whoever packed them.
        .args(["-x", "--no-same-owner", "--strip-components", "1", "-C"])
        .arg(directory)
        .arg("-f")
        .arg(archive);
    run_logged(command, log, || Ok(()))
}

/// Of a download that a signal has ended.
fn say_kept(env: &Env, name: &str) {
    if interrupt::pending().is_some() {
        let kept = "what came so far was kept, the next run goes on from there";
        env.ui.info(format!("{name}: {kept}"));
    }
}

/// The error of a full disk.
pub fn disk_full(directory: &Path) -> Error {
    let free = disk::free(directory);
    let free = free.map(|bytes| format!(", {} MiB free", thousands(bytes >> 20)));
    let free = free.unwrap_or_default();
    Failure::setup(format!("the disk is full: {}{free}", directory.display()))
        .hint("a kernel needs about 2 GiB for its source and 4 GiB for a build; free some space or use another --directory")
        .into()
}

/// The error, or if it or the end of its log is that of a full disk, one that says so.
pub fn name_full_disk(error: Error, directory: &Path) -> Error {
    match disk::is_full(&error) || disk_was_full(error::lines(&error)) {
        true => disk_full(directory),
        false => error,
    }
}

fn tree_name(found: &FoundSource, patches: &[(String, String)]) -> String {
    let mut hash = Sha256::default();
    hash.update(&found.checksum);
    for part in patches.iter().flat_map(|(name, text)| [name, text]) {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    format!("linux-{}-{}", found.version, &hash.finish()[..12])
}

/// Checks, patches and marks a tree that was unpacked into `directory`.
fn finish(
    env: &Env,
    log: &Path,
    found: &FoundSource,
    patches: &[(String, String)],
    directory: &Path,
) -> Result<()> {
    let (origin, (version, _)) = (&found.origin, directory::version(directory)?);
    if version != found.version {
        bail!("{origin} has Linux {version} in it, not {}", found.version);
    }
    // Before a patch changes the Makefile.
    let date = directory::date(directory)?;
    let git = directory.join(".git");
    if git.exists() {
        // A kernel that finds it adds to its release.
        disk::remove_directory(&git)?;
    }
    for (name, text) in patches {
        env.ui.verbose(format!("applying {name}"));
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
        run_logged(command, log, || Ok(()))
            .with_context(|| format!("cannot apply the patch {name} to {origin}"))?;
        disk::remove_file(&file)?;
    }
    let record = Record {
        origin: origin.clone(),
        checksum: found.checksum.clone(),
        date,
    };
    disk::write(directory.join(RECORD), serde_json::to_string(&record)?)
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
