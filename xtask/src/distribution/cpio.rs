//! cpio archives of the format "newc": what the kernel unpacks as its first root, and
//! what is in an `.rpm`.
//!
//! The format is described in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`: each entry is a header
//! of 110 characters, the name with a NUL, and the contents; name and contents are padded
//! to four bytes, counted from the start of the archive. The numbers of a header are
//! eight hexadecimal digits each. An entry named [`TRAILER`] is the last one.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The name of the entry that ends an archive.
pub const TRAILER: &str = "TRAILER!!!";

/// The six characters that a header starts with, without checksums.
const MAGIC: &str = "070701";

/// The kernel passes over a name, and a link's target, that is longer with its NUL
/// (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// The bits of `st_mode` that are a file's type (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// The permissions and set-user-ID bits of `st_mode`.
const PERMISSIONS: u32 = 0o7777;

/// Writes an archive. The same calls give the same bytes: everything is owned by root
/// and dated 1970, and inodes are counted.
///
/// The kernel makes entries in their order and no directory that is not named: a
/// directory comes before what is in it.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    inode: u32,
}

/// What differs between entries.
struct Entry<'a> {
    path: &'a [u8],
    mode: u32,
    contents: &'a [u8],
    /// Major and minor number of a device.
    device: (u32, u32),
}

impl<W: Write> Writer<W> {
    /// An archive with nothing in it yet.
    pub fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// A directory. Paths are relative to the root; `mode` is its permissions.
    ///
    /// # Errors
    ///
    /// As for all entries, besides I/O: a path that is absolute, empty, has `.` or `..`,
    /// or is longer than the kernel takes.
    pub fn directory(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.entry(path.as_ref(), DIRECTORY | mode & PERMISSIONS, b"", (0, 0))
    }

    /// A file.
    ///
    /// # Errors
    ///
    /// As [`Self::directory`], and if the file has 4 GiB or more.
    pub fn file(&mut self, path: impl AsRef<Path>, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entry(path.as_ref(), REGULAR | mode & PERMISSIONS, bytes, (0, 0))
    }

    /// A symbolic link, whose target can be anything.
    ///
    /// # Errors
    ///
    /// As [`Self::directory`], and if the target is empty or longer than the kernel takes.
    pub fn symlink(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<()> {
        let (path, target) = (path.as_ref(), target.as_ref());
        let bytes = target.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.len() >= PATH_MAX || bytes.contains(&0) {
            bail!("{} cannot be a link to {target:?}", path.display());
        }
        self.entry(path, LINK | 0o777, bytes, (0, 0))
    }

    /// A character device.
    ///
    /// # Errors
    ///
    /// As [`Self::directory`].
    pub fn device(
        &mut self,
        path: impl AsRef<Path>,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        let mode = CHARACTER | mode & PERMISSIONS;
        self.entry(path.as_ref(), mode, b"", (major, minor))
    }

    /// Ends the archive.
    ///
    /// # Errors
    ///
    /// I/O.
    pub fn finish(mut self) -> Result<W> {
        let trailer = Entry {
            path: TRAILER.as_bytes(),
            mode: 0,
            contents: b"",
            device: (0, 0),
        };
        self.write(0, &trailer)
            .context("cannot end a cpio archive")?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &Path, mode: u32, contents: &[u8], device: (u32, u32)) -> Result<()> {
        let bytes = path.as_os_str().as_bytes();
        let plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
        if !bytes.split(|byte| *byte == b'/').all(plain)
            || bytes.len() >= PATH_MAX
            || bytes.contains(&0)
            // It would end the archive.
            || bytes == TRAILER.as_bytes()
        {
            bail!("{path:?} cannot be a name in a cpio archive");
        }
        self.inode = self
            .inode
            .checked_add(1)
            .context("too many files for a cpio archive")?;
        let entry = Entry {
            path: bytes,
            mode,
            contents,
            device,
        };
        self.write(self.inode, &entry)
            .with_context(|| format!("cannot put {} into a cpio archive", path.display()))
    }

    fn write(&mut self, inode: u32, entry: &Entry) -> Result<()> {
        let size = u32::try_from(entry.contents.len()).context("it has 4 GiB or more")?;
        let name = u32::try_from(entry.path.len() + 1).context("its name is too long")?;
        // With more links than one the kernel looks for other names of a file.
        let links = 1;
        let (major, minor) = entry.device;
        let mut header = MAGIC.to_owned();
        for number in [
            inode, entry.mode, 0, 0, links, 0, size, 0, 0, major, minor, name, 0,
        ] {
            header.push_str(&format!("{number:08x}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(entry.path)?;
        self.out.write_all(b"\0")?;
        self.pad(header.len() + entry.path.len() + 1)?;
        self.out.write_all(entry.contents)?;
        self.pad(entry.contents.len())
    }

    /// Zeros after as many bytes, up to a multiple of four. Entries begin at one.
    fn pad(&mut self, written: usize) -> Result<()> {
        let padding = written.next_multiple_of(4) - written;
        Ok(self.out.write_all(&[0; 4][..padding])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_bytes_of_its_description() {
        let mut writer = Writer::new(Vec::new());
        writer.directory("d", 0o755).unwrap();
        writer.file("d/file", 0o100_644, b"hello").unwrap();
        writer.symlink("link", "/d/file").unwrap();
        writer.device("null", 0o666, 1, 3).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap().replace('\0', ".");
        // A line for each header.
        let text = text.replace("070701", "\n070701 ");
        expect_test::expect![[r#"

            070701 00000001000041ed0000000000000000000000010000000000000000000000000000000000000000000000000000000200000000d.
            070701 00000002000081a40000000000000000000000010000000000000005000000000000000000000000000000000000000700000000d/file....hello...
            070701 000000030000a1ff0000000000000000000000010000000000000007000000000000000000000000000000000000000500000000link../d/file.
            070701 00000004000021b60000000000000000000000010000000000000000000000000000000000000001000000030000000500000000null..
            070701 00000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000b00000000TRAILER!!!....
        "#]]
        .assert_eq(&(text + "\n"));
    }

    #[test]
    fn the_same_calls_give_the_same_bytes() {
        let make = || {
            let mut writer = Writer::new(Vec::new());
            writer.file("a", 0o600, b"1").unwrap();
            writer.file("b", 0o600, b"2").unwrap();
            writer.finish().unwrap()
        };
        assert_eq!(make(), make());
    }

    #[test]
    fn what_the_kernel_would_not_unpack_is_refused() {
        let mut writer = Writer::new(Vec::new());
        let long = "x".repeat(4096);
        for path in [
            "", "/", "/etc", "a/", "a//b", ".", "./a", "a/../b", "a\0b", TRAILER, &long,
        ] {
            assert!(writer.directory(path, 0o755).is_err(), "{path:?}");
            assert!(writer.file(path, 0o644, b"").is_err(), "{path:?}");
            assert!(writer.symlink(path, "x").is_err(), "{path:?}");
        }
        for target in ["", "a\0b", &long] {
            assert!(writer.symlink("l", target).is_err(), "{target:?}");
        }
        writer.directory(&long[1..], 0o755).unwrap();
    }
}
