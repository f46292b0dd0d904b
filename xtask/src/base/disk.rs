//! Room on the disk that a path is on.

use std::path::Path;

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
