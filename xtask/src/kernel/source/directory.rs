//! A source tree that the user has.
//!
//! What identifies it: in a git checkout the commit and, if there are changes, a
//! hash over them and over untracked files; elsewhere a hash over the path, size
//! and time of modification (in nanoseconds) of every file. So an edit is noticed
//! without reading a gigabyte; one that keeps size and time is not.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{FoundSource, SourceLocation};
use crate::base::{disk, error::Failure, input, process::shell, sha256::Sha256};
use crate::kernel::module::files_below;
use crate::model::version::Version;

pub fn find(path: &Path) -> Result<FoundSource> {
    let path = canonical(path)?;
    let (version, extra) = version(&path)?;
    let built = [".config", "include/config"].into_iter();
    let built = built.filter(|name| path.join(name).exists());
    let built = built.collect::<Vec<_>>().join(" and ");
    if !built.is_empty() {
        let place = path.display();
        let message = format!(
            "the source tree {place} was built in (it has {built}), so it cannot be built elsewhere"
        );
        let hint = format!("make -C {place} mrproper cleans it; --in-place builds there");
        return Err(Failure::setup(message).hint(hint).into());
    }
    let (checksum, description) = match git_identity(&path)? {
        Some(identity) => identity,
        None => (hash_of_files(&path)?, "files".to_owned()),
    };
    Ok(FoundSource {
        version,
        own_name: extra + &local_version_files(&path)?,
        origin: format!("directory ({description})"),
        checksum,
        location: SourceLocation::Directory(path),
    })
}

/// The one name of a directory that the user names.
pub fn canonical(path: &Path) -> Result<PathBuf> {
    let failed = |error| Failure::usage(format!("cannot find {}: {error}", path.display()));
    Ok(path.canonicalize().map_err(failed)?)
}

/// When a tree was made, in seconds since 1970: its commit, or, as archives keep the times
/// of files, its Makefile.
pub fn date(path: &Path) -> Result<u64> {
    if let Some(seconds) = git(path, &["log", "-1", "--format=%ct"]) {
        return seconds.parse().context("git log gave no time");
    }
    let makefile = path.join("Makefile");
    let metadata = makefile.metadata();
    let metadata = metadata.with_context(|| format!("cannot read {}", makefile.display()))?;
    Ok(u64::try_from(metadata.mtime()).unwrap_or(0))
}

/// What the tree's files `localversion*` add to the release (`scripts/setlocalversion` of the
/// kernel, `collect_files`).
fn local_version_files(path: &Path) -> Result<String> {
    let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    let mut names = Vec::from_iter(disk::entries(path)?.iter().filter_map(name));
    names.retain(|name| name.starts_with("localversion") && !name.ends_with('~'));
    names.sort();
    let texts = names
        .iter()
        .map(|name| input::text(&path.join(name), input::SMALL));
    let texts = texts.collect::<Result<Vec<_>>>()?.concat();
    Ok(texts.split_whitespace().collect())
}

/// The version that the tree's Makefile states, and what its EXTRAVERSION adds to it.
pub fn version(path: &Path) -> Result<(Version, String)> {
    let text = input::bytes(&path.join("Makefile"), input::SMALL)
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    let text = String::from_utf8_lossy(&text);
    parse_makefile(&text).ok_or_else(|| {
        Failure::usage(format!("{} is not a kernel source tree", path.display()))
            .hint("its Makefile does not start with a version")
            .into()
    })
}

fn parse_makefile(text: &str) -> Option<(Version, String)> {
    let field = |name: &str| {
        text.lines().take(20).find_map(|line| {
            let rest = line.strip_prefix(name)?.trim_start();
            Some(rest.strip_prefix('=')?.trim())
        })
    };
    let (major, minor) = (field("VERSION")?, field("PATCHLEVEL")?);
    let (point, extra) = (field("SUBLEVEL")?, field("EXTRAVERSION"));
    let version = format!("{major}.{minor}.{point}{}", extra.unwrap_or_default());
    let (version, extra) = Version::split(&version)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    let extra: String = extra.split_whitespace().collect();
    extra.chars().all(allowed).then_some((version, extra))
}

fn git(path: &Path, arguments: &[&str]) -> Option<String> {
    // A tree below somebody else's checkout is not of that checkout.
    if !path.join(".git").exists() {
        return None;
    }
    let shell = shell().ok()?;
    let command = shell.cmd("git").arg("-C").arg(path).args(arguments);
    command.quiet().ignore_stderr().read().ok()
}

/// What identifies a git checkout, and its name for people.
fn git_identity(path: &Path) -> Result<Option<(String, String)>> {
    let (Some(commit), Some(changes), Some(untracked)) = (
        git(path, &["rev-parse", "HEAD"]),
        git(path, &["diff", "--binary", "HEAD"]),
        git(path, &["ls-files", "-z", "--others", "--exclude-standard"]),
    ) else {
        return Ok(None);
    };
    let name = format!("git {}", &commit[..12.min(commit.len())]);
    if changes.is_empty() && untracked.is_empty() {
        return Ok(Some((commit, name)));
    }
    let mut hash = Sha256::default();
    hash.update(commit);
    hash.update(changes);
    for file in untracked.split('\0').filter(|file| !file.is_empty()) {
        let bytes = input::bytes(&path.join(file), input::LARGE)?;
        hash.update(file.len().to_le_bytes());
        hash.update(file);
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    Ok(Some((hash.finish(), format!("{name} with changes"))))
}

fn hash_of_files(path: &Path) -> Result<String> {
    let mut hash = Sha256::default();
    for file in files_below(path)? {
        let name = file.display();
        let metadata = path.join(&file).symlink_metadata();
        let metadata = metadata.with_context(|| format!("cannot read {name}"))?;
        let (size, seconds) = (metadata.len(), metadata.mtime());
        let nanoseconds = metadata.mtime_nsec();
        hash.update(format!("{name}\0{size}\0{seconds}.{nanoseconds}\0"));
    }
    Ok(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        let makefile = |version: &str, extra: &str| {
            format!(
                "# SPDX\nVERSION = {version}\nPATCHLEVEL = 1\nSUBLEVEL = 192\nEXTRAVERSION ={extra}\nNAME = x\n"
            )
        };
        let parse = |text: &str| {
            let (version, extra) = parse_makefile(text)?;
            Some(format!("{version}{extra}"))
        };
        assert_eq!(parse(&makefile("6", "")).as_deref(), Some("6.1.192"));
        assert_eq!(
            parse(&makefile("6", " -rc3")).as_deref(),
            Some("6.1.192-rc3")
        );
        assert_eq!(parse(&makefile("$(X)", "")), None);
        assert_eq!(
            parse(&makefile("6", " -modified")).as_deref(),
            Some("6.1.192-modified")
        );
        assert_eq!(
            parse_makefile(&makefile("6", " -rc3-next-20260101")),
            Some(("6.1.192-rc3".parse().unwrap(), "-next-20260101".to_owned()))
        );
        assert_eq!(parse(&makefile("6", " -a$(B)")), None);
        assert_eq!(parse("all:\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn edits_change_the_checksum() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let text = "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 2\nEXTRAVERSION =\n";
        std::fs::write(path.join("Makefile"), text).unwrap();
        std::fs::create_dir(path.join("mm")).unwrap();
        std::fs::write(path.join("mm/a.c"), "a").unwrap();
        let first = find(path).unwrap();
        assert_eq!(first.version.to_string(), "6.1.2");
        assert_eq!(find(path).unwrap().checksum, first.checksum);
        std::fs::write(path.join("mm/a.c"), "ab").unwrap();
        let second = find(path).unwrap();
        assert_ne!(second.checksum, first.checksum);
        for (name, text) in [
            ("localversion2", " -two\n"),
            ("localversion1", "-one\n"),
            ("localversion~", "-no"),
        ] {
            std::fs::write(path.join(name), text).unwrap();
        }
        assert_eq!(find(path).unwrap().own_name, "-one-two");
        std::fs::write(path.join(".config"), "").unwrap();
        let error = find(path).unwrap_err().to_string();
        assert!(error.contains("it has .config)"), "{error}");
    }

    #[test]
    fn what_is_no_source_is_a_usage_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = find(directory.path()).unwrap_err();
        assert_eq!(crate::base::error::exit_status(&error), 2);
        let error = find(&directory.path().join("nothing")).unwrap_err();
        assert_eq!(crate::base::error::exit_status(&error), 2);
    }
}
