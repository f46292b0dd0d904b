//! Files and directories, with errors that name them, and room on the disk that a path is on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::error::Failure;
use super::{format::thousands, interrupt};

/// With less than that a disk is full: what a program wanted to write may have been more.
const NOTHING: u64 = 64 << 10;

/// The bytes that are free; nothing if the file system does not tell.
pub fn free(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// In words, that the disk is full, if it is. A program that writes its last words to a log
/// on it, as QEMU does those of a kernel, cannot say so.
pub fn full(path: &Path) -> Option<String> {
    let full = free(path).is_some_and(|bytes| bytes < NOTHING);
    full.then(|| format!("the disk is full: {}", path.display()))
}

/// Whether an error is that of a full disk or an exhausted quota.
pub fn is_full(error: &anyhow::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|error: &io::Error| matches!(error.kind(), StorageFull | QuotaExceeded))
}

pub fn create_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

pub fn create_file(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// The error names the goal only: the source is usually a temporary file.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("cannot create {}", to.display()))
}

pub fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

pub fn remove_directory(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    std::fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}

pub fn canonicalize(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    path.canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))
}

/// Says before the work that a directory has no room for its result. A file system that does
/// not tell how much is free has enough.
pub fn require_space(directory: &Path, what: &str, bytes: u64, hint: &str) -> Result<(), Failure> {
    let mib = |bytes: u64| thousands(bytes.div_ceil(1 << 20));
    let Some(free) = free(directory).filter(|free| *free < bytes) else {
        return Ok(());
    };
    let (free, bytes, directory) = (mib(free), mib(bytes), directory.display());
    Err(Failure::setup(format!(
        "no room for {what} in {directory}: {free} MiB are free, {bytes} MiB are needed"
    ))
    .hint(hint))
}

/// What is in a directory, sorted; nothing if it is not there.
pub fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", directory.display());
    let entries = match directory.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let paths = entries.map(|entry| Ok(entry.with_context(context)?.path()));
    let mut paths = paths.collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// All that is below a directory, sorted, each directory before what is in it. Links are
/// not followed.
pub fn tree(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        interrupt::check()?;
        for path in entries(&folder)? {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path.clone());
            }
            paths.push(path);
        }
    }
    // Component by component, so that `b/x` stands before `b.c`.
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_asked_for_before_the_work() {
        let work = tempfile::tempdir().unwrap();
        require_space(work.path(), "it", 0, "").unwrap();
        let failure = require_space(work.path(), "it", u64::MAX, "").unwrap_err();
        assert_eq!(failure.kind.exit_status(), 3);
        let text = failure.to_string();
        assert!(text.contains("17,592,186,044,416 MiB are needed"), "{text}");
        require_space(&work.path().join("absent"), "it", u64::MAX, "").unwrap();
    }
}
