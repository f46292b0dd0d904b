//! A source tree that the user has.
//!
//! What identifies it: in a git checkout the commit and, if there are changes, a
//! hash over them and over untracked files; elsewhere a hash over the path, size
//! and time of modification (in nanoseconds) of every file. So an edit is noticed
//! without reading a gigabyte; one that keeps size and time is not.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{FoundSource, SourceLocation, SourceTree};
use crate::base::{error::Failure, input, sha256::Sha256};
use crate::model::version::Version;

/// Looks at the tree.
pub fn find(path: &Path) -> Result<FoundSource> {
    let path = path
        .canonicalize()
        .map_err(|error| Failure::usage(format!("cannot find {}: {error}", path.display())))?;
    let version = version(&path)?;
    if path.join(".config").exists() || path.join("include/config").exists() {
        return Err(Failure::setup(format!(
            "the source tree {} was built in, so it cannot be built elsewhere",
            path.display()
        ))
        .hint(format!("make -C {} mrproper", path.display()))
        .into());
    }
    let (checksum, description) = match git_identity(&path)? {
        Some(identity) => identity,
        None => (hash_of_files(&path)?, "files".to_owned()),
    };
    Ok(FoundSource {
        version,
        origin: format!("directory ({description})"),
        checksum,
        location: SourceLocation::Directory(path),
    })
}

/// The tree as it is.
pub fn tree(path: &Path, found: &FoundSource) -> Result<SourceTree> {
    let date = match git(path, &["log", "-1", "--format=%ct"]) {
        Some(seconds) => seconds.parse().context("git log gave no time")?,
        None => modified(&path.join("Makefile"))?,
    };
    Ok(SourceTree {
        path: path.to_owned(),
        version: found.version,
        origin: found.origin.clone(),
        checksum: found.checksum.clone(),
        date,
    })
}

/// The version that the tree's Makefile states.
pub fn version(path: &Path) -> Result<Version> {
    let makefile = path.join("Makefile");
    let text = input::bytes(&makefile, input::SMALL)
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    parse_makefile(&String::from_utf8_lossy(&text)).ok_or_else(|| {
        Failure::usage(format!("{} is not a kernel source tree", path.display()))
            .hint("its Makefile does not start with a version")
            .into()
    })
}

/// Reads the first lines of the kernel's Makefile.
fn parse_makefile(text: &str) -> Option<Version> {
    let field = |name: &str| {
        text.lines().take(20).find_map(|line| {
            let rest = line.strip_prefix(name)?.trim_start();
            Some(rest.strip_prefix('=')?.trim())
        })
    };
    let extra = field("EXTRAVERSION").unwrap_or("");
    format!(
        "{}.{}.{}{extra}",
        field("VERSION")?,
        field("PATCHLEVEL")?,
        field("SUBLEVEL")?
    )
    .parse()
    .ok()
}

/// A file's time of modification in seconds since 1970.
pub fn modified(path: &Path) -> Result<u64> {
    let metadata =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(u64::try_from(metadata.mtime()).unwrap_or(0))
}

fn git(path: &Path, arguments: &[&str]) -> Option<String> {
    // A tree below somebody else's checkout is not of that checkout.
    if !path.join(".git").exists() {
        return None;
    }
    let shell = crate::base::process::shell().ok()?;
    shell
        .cmd("git")
        .arg("-C")
        .arg(path)
        .args(arguments)
        .quiet()
        .ignore_stderr()
        .read()
        .ok()
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
    if changes.is_empty() && untracked.is_empty() {
        let name = format!("git {}", &commit[..12.min(commit.len())]);
        return Ok(Some((commit, name)));
    }
    let name = format!("git {} with changes", &commit[..12.min(commit.len())]);
    let mut hash = Sha256::new();
    hash.update(commit);
    hash.update(changes);
    for file in untracked.split('\0').filter(|file| !file.is_empty()) {
        let bytes = input::bytes(&path.join(file), input::LARGE)?;
        hash.update(file.len().to_le_bytes());
        hash.update(file);
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    Ok(Some((hash.finish(), name)))
}

fn hash_of_files(path: &Path) -> Result<String> {
    let mut files = Vec::new();
    walk(path, Path::new(""), &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let metadata = std::fs::symlink_metadata(path.join(&file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        hash.update(format!(
            "{}\0{}\0{}.{}\0",
            file.display(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec()
        ));
    }
    Ok(hash.finish())
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let directory = root.join(folder);
    let context = || format!("cannot read {}", directory.display());
    for entry in std::fs::read_dir(&directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = folder.join(entry.file_name());
        if entry.file_type().with_context(context)?.is_dir() {
            walk(root, &name, files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
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
        let parse = |text: &str| parse_makefile(text).map(|version| version.to_string());
        assert_eq!(parse(&makefile("6", "")).as_deref(), Some("6.1.192"));
        assert_eq!(
            parse(&makefile("6", " -rc3")).as_deref(),
            Some("6.1.192-rc3")
        );
        assert_eq!(parse(&makefile("$(X)", "")), None);
        assert_eq!(parse(&makefile("6", " -mine")), None);
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
        std::fs::write(path.join(".config"), "").unwrap();
        let error = find(path).unwrap_err().to_string();
        assert!(error.contains("mrproper"), "{error}");
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
