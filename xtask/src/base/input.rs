//! Reads whole files that somebody else may have made: packages, projects, results, caches.
//!
//! `std::fs::read` waits for ever at a named pipe and fills the memory from `/dev/zero` or
//! from a sparse file. Here only regular files are read, and the pipes that a shell makes
//! for `<(command)`; both up to a limit that the caller names.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use rustix::event::PollFlags;
use rustix::fs::OFlags;

use crate::base::interrupt;

/// Bytes of a file with a line or a few fields: a release, a key, a manifest.
pub const SMALL: u64 = 1 << 20;

/// Bytes of a text that a person or a kernel build wrote: a configuration, `modules.dep`, a
/// project file. The largest seen is 1.5 MB.
pub const TEXT: u64 = 64 << 20;

/// Bytes of what grows with use: results, logs, programs, modules.
pub const LARGE: u64 = 1 << 30;

/// `statfs` of a pipe without a name (`PIPEFS_MAGIC` of the kernel's `magic.h`).
const PIPE_FILES: u64 = 0x5049_5045;

/// Opens a regular file, or a pipe without a name, without waiting for anybody.
pub fn open(path: &Path) -> io::Result<File> {
    // Without it, opening a named pipe waits for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    let system = rustix::fs::fstatfs(&file)?.f_type;
    let what = match kind {
        _ if kind.is_file() => return Ok(file),
        _ if kind.is_fifo() && u64::try_from(system) == Ok(PIPE_FILES) => return Ok(file),
        _ if kind.is_dir() => "it is a directory",
        _ if kind.is_fifo() => "it is a named pipe",
        _ => "it is a device",
    };
    Err(io::Error::other(format!("{what}, not a file")))
}

/// All bytes of a file. The error names it, as those of all functions here do.
pub fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read(path, limit).with_context(|| cannot_read(path))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let too_long = || io::Error::other(format!("it has more than {limit} bytes"));
    if file.metadata()?.len() > limit {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    Patient(file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_long());
    }
    Ok(bytes)
}

/// All of a file that is UTF-8.
pub fn text(path: &Path, limit: u64) -> Result<String> {
    match String::from_utf8(bytes(path, limit)?) {
        Ok(text) => Ok(text),
        Err(_) => Err(anyhow!("it is not UTF-8").context(cannot_read(path))),
    }
}

/// Whether an error of this module says that the file is not there.
pub fn is_missing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// [`text`], or `None` if there is no such file.
pub fn text_if_any(path: &Path, limit: u64) -> Result<Option<String>> {
    match text(path, limit) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first `limit` bytes of a file.
pub fn beginning(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open(path).and_then(|file| Patient(file).take(limit).read_to_end(&mut bytes));
    read.with_context(|| cannot_read(path)).map(|_| bytes)
}

/// The bytes of a file behind the first `start`, of which only the last `limit`.
pub fn end(path: &Path, start: u64, limit: u64) -> Result<Vec<u8>> {
    read_end(path, start, limit).with_context(|| cannot_read(path))
}

fn read_end(path: &Path, start: u64, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(limit))))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a descriptor that does not block, and ends at a signal.
struct Patient(File);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            interrupt::check().map_err(io::Error::other)?;
            interrupt::wait_for(&self.0, PollFlags::IN)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn files_are_read_up_to_their_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        assert_eq!(text_if_any(&path, 9).unwrap(), None);
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(bytes(&path, 10).unwrap(), b"0123456789");
        let cannot = |why: &str| format!("cannot read {}: {why}", path.display());
        assert_eq!(
            format!("{:#}", bytes(&path, 9).unwrap_err()),
            cannot("it has more than 9 bytes")
        );
        assert_eq!(beginning(&path, 3).unwrap(), b"012");
        assert_eq!(end(&path, 2, 3).unwrap(), b"789");
        assert_eq!(end(&path, 8, 3).unwrap(), b"89");
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(
            format!("{:#}", text(&path, 9).unwrap_err()),
            cannot("it is not UTF-8")
        );
        // Refused by its size, before anything is read.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(bytes(&path, LARGE).is_err());
        // Files of the kernel have no size.
        assert!(
            !text(Path::new("/proc/self/status"), TEXT)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_no_file_is_refused_and_nobody_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        for (path, why) in [
            (directory.path(), "it is a directory, not a file"),
            (&pipe, "it is a named pipe, not a file"),
            (Path::new("/dev/zero"), "it is a device, not a file"),
        ] {
            assert_eq!(
                bytes(path, SMALL).unwrap_err().root_cause().to_string(),
                why
            );
        }
    }

    #[test]
    fn the_pipe_of_a_shell_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            writer.write_all(b"late").unwrap();
        });
        assert_eq!(text(Path::new(&path), SMALL).unwrap(), "late");
        late.join().unwrap();
    }
}
