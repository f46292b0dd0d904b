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

/// A BusyBox that runs without the dynamic linker, and so starts in a
/// millisecond in an emulated guest. Alpine calls it `busybox.static`.
pub fn static_busybox() -> Option<PathBuf> {
    ["busybox", "busybox.static", "busybox-static"]
        .into_iter()
        .filter_map(find_program)
        .find(|path| statically_linked(path))
}

fn statically_linked(path: &Path) -> bool {
    let mut header = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        std::io::Read::read_to_end(&mut std::io::Read::take(file, 4096), &mut header)
    });
    read.is_ok() && needs_interpreter(&header) == Some(false)
}

/// Whether an ELF program names an interpreter (elf(5), `PT_INTERP`); `None` if
/// these are not the first bytes of a 64-bit little-endian ELF file.
fn needs_interpreter(header: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, size: usize| {
        let bytes = header.get(at..at + size)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0usize, |sum, &byte| sum << 8 | usize::from(byte)),
        )
    };
    let (offset, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        if number(offset + index * size, 4)? == usize::try_from(PT_INTERP).ok()? {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_seen() {
        let mut header = vec![0; 64 + 2 * 56];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[32] = 64;
        header[54] = 56;
        header[56] = 2;
        header[64] = 1;
        assert_eq!(needs_interpreter(&header), Some(false));
        header[64 + 56] = 3;
        assert_eq!(needs_interpreter(&header), Some(true));
        header[56] = 3;
        assert_eq!(needs_interpreter(&header[..64 + 56]), None, "cut short");
        assert_eq!(needs_interpreter(b"#!/bin/sh\n"), None);
    }
}
