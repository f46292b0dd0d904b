//! Checks of a VM's request before a kernel is fetched for it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::{error::Failure, input, temporary};
use crate::vm::{guest, share};

/// Bytes of a socket's path (unix(7): 108 with the zero at its end).
const SOCKET_MAX: usize = 107;

/// The longest name of a run's directory and of a socket in it.
const NAMES: usize = "/vmtest-0123456701234567/vmtest.terminal".len();

/// Looks at what a guest of so much memory, in MiB, takes of this host.
pub fn check(memory: u32) -> Result<()> {
    let meminfo = input::text(Path::new("/proc/meminfo"), input::SMALL).unwrap_or_default();
    fits_memory(memory, &meminfo)?;
    Ok(has_short_sockets(&temporary::host_folder()?)?)
}

/// The current directory, for a command that is to run in it in a guest.
pub fn current_directory() -> Result<PathBuf> {
    let current = here()?;
    directory(&current)?;
    Ok(current)
}

pub fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| {
        Failure::usage(format!("there is no current directory: {error}"))
            .hint("cd to one that is there")
    })
}

/// Looks whether a guest can have the host's directory as its working directory.
pub fn directory(path: &Path) -> Result<(), Failure> {
    let whole = path
        .canonicalize()
        .map_err(|error| Failure::usage(format!("cannot find {}: {error}", path.display())))?;
    // Init shows what a run needs below these, which is also true of `/dev/shm`.
    let shown = |path: &Path| {
        let below = |fresh: &Path| path.starts_with(fresh) && path != fresh;
        guest::FRESH.iter().any(|fresh| below(Path::new(fresh)))
    };
    // A guest has its own below these by either name.
    let own = |path: &Path| share::is_guests_own(path) && !shown(path);
    if own(path) || own(&whole) {
        return Err(Failure::usage(format!(
            "a guest cannot work in {}: it has its own files there",
            path.display()
        ))
        .hint("use a directory elsewhere"));
    }
    Ok(())
}

fn fits_memory(memory: u32, meminfo: &str) -> Result<(), Failure> {
    let total = meminfo.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        Some(kibibytes.trim().parse::<u64>().ok()? >> 10)
    });
    match total {
        Some(total) if u64::from(memory) > total => Err(Failure::usage(format!(
            "a guest with {memory} MiB of memory does not fit in this host's {total} MiB"
        ))
        .hint("--memory takes less")),
        _ => Ok(()),
    }
}

fn has_short_sockets(directory: &Path) -> Result<(), Failure> {
    let length = directory.as_os_str().as_bytes().len();
    if length + NAMES <= SOCKET_MAX {
        return Ok(());
    }
    let most = SOCKET_MAX - NAMES;
    Err(Failure::usage(format!(
        "the directory for temporary files has a path of {length} bytes, too long for sockets in \
         it: {}",
        directory.display()
    ))
    .hint(format!("set TMPDIR to one of at most {most}, e.g. /tmp")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_no_more_memory_than_the_host() {
        let meminfo = "MemTotal:        2097152 kB\nMemFree: 1 kB\n";
        assert!(fits_memory(2048, meminfo).is_ok());
        assert!(fits_memory(2049, meminfo).is_err());
        // The host does not tell its memory.
        assert!(fits_memory(u32::MAX, "").is_ok());
    }

    #[test]
    fn a_guest_works_where_it_has_the_hosts_files() {
        let temporary = tempfile::tempdir().unwrap();
        assert!(directory(temporary.path()).is_ok());
        let gone = temporary.path().join("gone");
        for (path, says) in [
            (Path::new("/proc/self"), "its own files"),
            (Path::new("/sys"), "its own files"),
            (Path::new("/dev"), "its own files"),
            // A link whose goal is elsewhere in the guest.
            (Path::new("/proc/self/cwd"), "its own files"),
            (&gone, "cannot find"),
        ] {
            let failure = directory(path).unwrap_err();
            assert!(failure.to_string().contains(says), "{failure}");
        }
    }

    #[test]
    fn sockets_have_room_below_short_directories() {
        assert!(has_short_sockets(Path::new("/tmp")).is_ok());
        let long = format!("/{}", "a".repeat(SOCKET_MAX - NAMES));
        assert!(has_short_sockets(Path::new(&long[1..])).is_ok());
        let failure = has_short_sockets(Path::new(&long)).unwrap_err();
        assert!(failure.to_string().contains("set TMPDIR"), "{failure}");
    }
}
