//! What this host is and has, probed once and returned as plain values.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::base::input;

/// The file that a program's name stands for: looked up in `PATH`, or the name
/// itself if it has a `/`. Directories for administrators are searched as well,
/// because `PATH` of an ordinary user lacks them (`modprobe`, `mkfs.btrfs`).
pub fn find_program(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    find_program_in(name, &program_directories())
}

pub fn program_directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .collect()
}

pub fn find_program_in(name: impl AsRef<OsStr>, directories: &[PathBuf]) -> Option<PathBuf> {
    let name = Path::new(name.as_ref());
    if name.components().count() > 1 {
        return executable(name).then(|| name.to_owned());
    }
    let mut files = directories.iter().map(|directory| directory.join(name));
    files.find(|file| executable(file))
}

fn executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// A `date` that can change the clock by fractions of a second, as those of GNU and of
/// uutils can and BusyBox's cannot.
pub fn fine_date() -> anyhow::Result<Option<PathBuf>> {
    let Some(date) = find_program("date") else {
        return Ok(None);
    };
    let shell = crate::base::process::shell()?;
    let sum = xshell::cmd!(shell, "{date} -u -d '1970-01-01 UTC +1.25 seconds' +%s.%N")
        .env("LC_ALL", "C")
        .quiet()
        .ignore_stderr()
        .ignore_status()
        .read();
    Ok(sum.is_ok_and(|sum| sum == "1.250000000").then_some(date))
}

/// Processors that this process may use.
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

/// A BusyBox that runs without the dynamic linker, and so starts in a
/// millisecond in an emulated guest.
pub fn static_busybox() -> Option<PathBuf> {
    static_busybox_in(&program_directories())
}

/// [`static_busybox`] in given directories. openSUSE and Alpine have it beside a
/// dynamic one.
pub fn static_busybox_in(directories: &[PathBuf]) -> Option<PathBuf> {
    let names = ["busybox", "busybox.static", "busybox-static"];
    let mut files = (directories.iter()).flat_map(|folder| names.map(|name| folder.join(name)));
    files.find(|path| is_static(path))
}

/// Whether a file is a program that runs without the dynamic linker.
pub fn is_static(path: &Path) -> bool {
    // Program headers come right behind the ELF header wherever a linker wrote it.
    let start = input::beginning(path, 4096);
    executable(path) && start.is_ok_and(|start| names_interpreter(&start) == Some(false))
}

/// Whether an ELF file has a `PT_INTERP` program header (elf(5)); `None` if these
/// bytes are not the start of an ELF file.
fn names_interpreter(bytes: &[u8]) -> Option<bool> {
    const PT_INTERP: u64 = 3;
    let [0x7f, b'E', b'L', b'F', class, order, ..] = *bytes else {
        return None;
    };
    let number = |at: usize, size: usize| {
        let field = bytes.get(at..at.checked_add(size)?)?;
        let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(match order {
            1 => field.iter().rev().fold(0, add),
            _ => field.iter().fold(0, add),
        })
    };
    let (offset, size, count) = match class {
        1 => (number(28, 4)?, number(42, 2)?, number(44, 2)?),
        2 => (number(32, 8)?, number(54, 2)?, number(56, 2)?),
        _ => return None,
    };
    for index in 0..count {
        let at = usize::try_from(offset.checked_add(index * size)?).ok()?;
        if number(at, 4)? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file's start: its header and program headers of these types.
    fn elf(wide: bool, little: bool, types: &[u8]) -> Vec<u8> {
        let (header, entry) = if wide { (64, 56) } else { (52, 32) };
        let mut bytes = vec![0; header + entry * types.len()];
        bytes[..6].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            if wide { 2 } else { 1 },
            if little { 1 } else { 2 },
        ]);
        let mut set = |at: usize, size: usize, value: usize| {
            let byte = if little { at } else { at + size - 1 };
            bytes[byte] = u8::try_from(value).unwrap();
        };
        let (offset, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        set(offset, if wide { 8 } else { 4 }, header);
        set(size, 2, entry);
        set(count, 2, types.len());
        for (index, kind) in types.iter().enumerate() {
            set(header + index * entry, 4, usize::from(*kind));
        }
        bytes
    }

    #[test]
    fn a_static_program_names_no_interpreter() {
        for wide in [false, true] {
            for little in [false, true] {
                // PT_PHDR, PT_INTERP, PT_LOAD; PT_LOAD, PT_DYNAMIC (static-pie).
                let dynamic = elf(wide, little, &[6, 3, 1]);
                assert_eq!(names_interpreter(&dynamic), Some(true));
                let fixed = elf(wide, little, &[1, 2]);
                assert_eq!(names_interpreter(&fixed), Some(false));
                // Cut off, it is no ELF file that could be judged.
                let header = if wide { 64 } else { 52 };
                assert_eq!(names_interpreter(&dynamic[..header + 2]), None);
            }
        }
        assert_eq!(names_interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(names_interpreter(b""), None);
        // Sizes that overflow must not be followed.
        let mut hostile = elf(true, true, &[1]);
        hostile[32..40].fill(0xff);
        assert_eq!(names_interpreter(&hostile), None);
    }
}
