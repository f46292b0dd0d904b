//! What this host is and has, probed once and returned as plain values.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The file that a program's name stands for: looked up in `PATH`, or the name
/// itself if it has a `/`. Directories for administrators are searched as well,
/// because `PATH` of an ordinary user lacks them (`modprobe`, `mkfs.btrfs`).
pub fn find_program(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    find_program_in(name, &program_directories())
}

/// The directories in which [`find_program`] searches.
pub fn program_directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .collect()
}

/// [`find_program`] in given directories.
pub fn find_program_in(name: impl AsRef<OsStr>, directories: &[PathBuf]) -> Option<PathBuf> {
    let name = Path::new(name.as_ref());
    if name.components().count() > 1 {
        return executable(name).then(|| name.to_owned());
    }
    directories
        .iter()
        .map(|directory| directory.join(name))
        .find(|candidate| executable(candidate))
}

fn executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Processors that this process may use.
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}
