//! cpio archives of the format "newc": what the kernel unpacks as its first root, and
//! what is in an `.rpm`.
//!
//! The format is described in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`: each entry is a header
//! of 110 characters, the name with a NUL, and the contents; name and contents are padded
//! to four bytes, counted from the start of the archive. The numbers of a header are
//! eight hexadecimal digits each. An entry named [`TRAILER`] is the last one.
//!
//! rpm has a form of its own for packages with files of 4 GiB and more: the header is
//! `07070X` and the number of a file (14 characters, padded to 16), and everything else is
//! in the package's header (`lib/cpio.c` of rpm, "stripped").

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::archive::unreadable;

/// The name of the entry that ends an archive.
pub(super) const TRAILER: &str = "TRAILER!!!";

/// The kernel passes over a name, and a link's target, that is longer with its NUL.
pub(super) const PATH_MAX: usize = 4096;

/// The bits of `st_mode` that are a file's type (inode(7)), and their values.
pub const TYPE: u32 = 0o170_000;
pub const DIRECTORY: u32 = 0o040_000;
pub const REGULAR: u32 = 0o100_000;
pub const LINK: u32 = 0o120_000;
pub const CHARACTER: u32 = 0o020_000;
pub const BLOCK: u32 = 0o060_000;
pub const FIFO: u32 = 0o010_000;

/// The permissions and set-user-ID bits of `st_mode`.
const PERMISSIONS: u32 = 0o7777;

/// Writes an archive. The same calls give the same bytes: everything is owned by root,
/// of group root unless [`CpioWriter::group`] says otherwise, and dated 1970, and inodes are
/// counted.
///
/// The kernel makes entries in their order and no directory that is not named: a
/// directory comes before what is in it.
#[derive(Debug)]
pub struct CpioWriter<W> {
    out: W,
    inode: u32,
    group: u32,
}

impl<W: Write> CpioWriter<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            inode: 0,
            group: 0,
        }
    }

    /// The group of the entries that follow.
    pub fn group(&mut self, group: u32) -> &mut Self {
        self.group = group;
        self
    }

    /// Paths are relative to the root; `mode` is the permissions.
    pub fn directory(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.entry(path.as_ref(), DIRECTORY | mode & PERMISSIONS, b"", [0, 0])
    }

    pub fn file(&mut self, path: impl AsRef<Path>, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entry(path.as_ref(), REGULAR | mode & PERMISSIONS, bytes, [0, 0])
    }

    /// A symbolic link, whose target can be anything.
    pub fn symlink(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<()> {
        let (path, target) = (path.as_ref(), target.as_ref());
        let bytes = target.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.len() >= PATH_MAX || bytes.contains(&0) {
            bail!("{} cannot be a link to {target:?}", path.display());
        }
        self.entry(path, LINK | 0o777, bytes, [0, 0])
    }

    /// A device or a FIFO; `mode` is [`CHARACTER`], [`BLOCK`] or [`FIFO`] and its permissions.
    pub fn device(
        &mut self,
        path: impl AsRef<Path>,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        let mode = mode & (CHARACTER | BLOCK | FIFO | PERMISSIONS);
        self.entry(path.as_ref(), mode, b"", [major, minor])
    }

    pub fn finish(mut self) -> Result<W> {
        self.inode = 0;
        self.write(TRAILER.as_bytes(), 0, b"", [0, 0])
            .context("cannot end a cpio archive")?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &Path, mode: u32, contents: &[u8], device: [u32; 2]) -> Result<()> {
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
        self.inode += 1;
        self.write(bytes, mode, contents, device)
            .with_context(|| format!("cannot put {} into a cpio archive", path.display()))
    }

    fn write(&mut self, path: &[u8], mode: u32, contents: &[u8], device: [u32; 2]) -> Result<()> {
        let size = u32::try_from(contents.len()).context("it has 4 GiB or more")?;
        let name = u32::try_from(path.len() + 1)?;
        let (inode, group, [major, minor]) = (self.inode, self.group, device);
        // With more links than one the kernel looks for other names of a file.
        let links = 1;
        let mut header = b"070701".to_vec();
        for number in [
            inode, mode, 0, group, links, 0, size, 0, 0, major, minor, name, 0,
        ] {
            write!(header, "{number:08x}")?;
        }
        header.extend_from_slice(path);
        header.push(0);
        for bytes in [&header, contents] {
            let padding = bytes.len().next_multiple_of(4) - bytes.len();
            self.out.write_all(bytes)?;
            self.out.write_all(&[0; 4][..padding])?;
        }
        Ok(())
    }
}

/// What an entry is, as its header says.
#[derive(Debug, PartialEq, Eq)]
pub enum CpioHeader {
    Named(CpioEntry),
    /// The number of a file that is described elsewhere, and its size with it.
    Numbered(u32),
}

#[derive(Debug, PartialEq, Eq)]
pub struct CpioEntry {
    /// Without its NUL.
    pub path: Vec<u8>,
    /// Type and permissions: `st_mode`.
    pub mode: u32,
    /// Seconds since 1970.
    pub time: u64,
    /// Bytes of contents that follow.
    pub size: u64,
    /// Of a file with several names: a number that they have in common, and whether the
    /// contents come with this one.
    pub shared: Option<(u64, bool)>,
}

/// Reads an archive, one entry after the other: as a [`Read`], the contents of the entry
/// whose header came last.
#[derive(Debug)]
pub struct CpioReader<R> {
    inner: R,
    /// Bytes of contents that have not been read.
    left: u64,
    /// Zeros behind them.
    padding: u64,
}

impl<R: Read> CpioReader<R> {
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry; `None` at the end of the archive. After a [`CpioHeader::Numbered`],
    /// [`Self::expect`] must say how long its contents are.
    pub fn advance(&mut self) -> Result<Option<CpioHeader>> {
        io::copy(self, &mut io::sink()).map_err(unreadable)?;
        self.skip_padding(self.padding)?;
        match &self.bytes(6)?[..] {
            b"070701" | b"070702" => self.named(),
            b"07070X" => {
                let [number] = self.numbers()?;
                self.skip_padding(2)?;
                Ok(Some(CpioHeader::Numbered(number)))
            }
            _ => bail!("damaged archive: no header of cpio"),
        }
    }

    /// How many bytes of contents the last entry has.
    pub fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % 4;
    }

    fn named(&mut self) -> Result<Option<CpioHeader>> {
        let [inode, mode, _, _, links, time, size, .., name_size, _] = self.numbers::<13>()?;
        let length = name_size as usize;
        if length == 0 || length > PATH_MAX {
            bail!("damaged archive: a name of {length} bytes");
        }
        let mut path = self.bytes(length)?;
        if path.pop() != Some(0) || path.contains(&0) {
            bail!("damaged archive: a name does not end where it should");
        }
        self.skip_padding(u64::from(110 + name_size).wrapping_neg() % 4)?;
        if path == TRAILER.as_bytes() {
            return Ok(None);
        }
        let size = u64::from(size);
        self.expect(size);
        Ok(Some(CpioHeader::Named(CpioEntry {
            path,
            mode,
            time: u64::from(time),
            size,
            shared: (links > 1).then_some((u64::from(inode), size > 0)),
        })))
    }

    /// As many fields of eight hexadecimal digits.
    fn numbers<const N: usize>(&mut self) -> Result<[u32; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            for byte in self.bytes(8)? {
                let digit = char::from(byte).to_digit(16);
                *number = *number << 4 | digit.context("damaged archive: a number is none")?;
            }
        }
        Ok(numbers)
    }

    fn skip_padding(&mut self, padding: u64) -> Result<()> {
        self.bytes(padding as usize).map(drop)
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self.inner.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                bail!("damaged archive: it ends too early")
            }
            read => read.map_err(unreadable).map(|()| bytes),
        }
    }
}

impl<R: Read> Read for CpioReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.by_ref().take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it ends too early"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_bytes_of_its_description() {
        let mut writer = CpioWriter::new(Vec::new());
        writer.directory("d", 0o755).unwrap();
        writer.file("d/file", 0o100_644, b"hello").unwrap();
        writer.symlink("link", "/d/file").unwrap();
        writer.device("null", CHARACTER | 0o666, 1, 3).unwrap();
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
            let mut writer = CpioWriter::new(Vec::new());
            writer.file("a", 0o600, b"1").unwrap();
            writer.file("b", 0o600, b"2").unwrap();
            writer.finish().unwrap()
        };
        assert_eq!(make(), make());
    }

    #[test]
    fn what_the_kernel_would_not_unpack_is_refused() {
        let mut writer = CpioWriter::new(Vec::new());
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

    /// Name, mode and contents of all entries.
    fn read(bytes: &[u8]) -> Result<Vec<(String, u32, Vec<u8>)>> {
        let mut reader = CpioReader::new(bytes);
        let mut found = Vec::new();
        while let Some(header) = reader.advance()? {
            let CpioHeader::Named(CpioEntry { path, mode, .. }) = header else {
                bail!("a number");
            };
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents)?;
            found.push((String::from_utf8_lossy(&path).into_owned(), mode, contents));
        }
        Ok(found)
    }

    fn sample() -> Vec<u8> {
        let mut writer = CpioWriter::new(Vec::new());
        writer.directory("d", 0o755).unwrap();
        for size in 0..5 {
            let name = format!("d/{}", "x".repeat(size + 1));
            writer.file(name, 0o644, &vec![b'c'; size]).unwrap();
        }
        writer.symlink("l", "d").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read_again() {
        let bytes = sample();
        let found = read(&bytes).unwrap();
        assert_eq!(found.len(), 7);
        assert_eq!(found[0], ("d".to_owned(), DIRECTORY | 0o755, vec![]));
        assert_eq!(found[4].2, b"ccc");
        assert_eq!(found[6], ("l".to_owned(), LINK | 0o777, b"d".to_vec()));
        // Contents that nobody reads are skipped.
        let mut rest = &bytes[..];
        let mut reader = CpioReader::new(&mut rest);
        let mut entries = 0;
        while reader.advance().unwrap().is_some() {
            entries += 1;
        }
        assert_eq!(entries, 7);
        assert!(rest.is_empty());
    }

    #[test]
    fn files_can_have_numbers_instead_of_names() {
        let mut bytes = b"07070X0000000a\0\0hello\0\0\0".to_vec();
        bytes.extend(b"07070X00000001\0\0");
        bytes.extend(CpioWriter::new(Vec::new()).finish().unwrap());
        let mut reader = CpioReader::new(&bytes[..]);
        assert_eq!(reader.advance().unwrap(), Some(CpioHeader::Numbered(10)));
        reader.expect(5);
        let mut contents = String::new();
        reader.read_to_string(&mut contents).unwrap();
        assert_eq!(contents, "hello");
        assert_eq!(reader.advance().unwrap(), Some(CpioHeader::Numbered(1)));
        reader.expect(0);
        assert_eq!(reader.advance().unwrap(), None);
        // A size from elsewhere is not trusted either.
        let mut reader = CpioReader::new(&bytes[..]);
        reader.advance().unwrap();
        reader.expect(u64::MAX);
        assert!(reader.advance().is_err());
    }

    #[test]
    fn no_cut_gets_through_and_no_flipped_bit_panics() {
        let good = sample();
        for at in 0..good.len() {
            // Behind the trailer's name there is only padding.
            if at < good.len() - 3 {
                assert!(read(&good[..at]).is_err(), "cut at {at}");
            }
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(found) = read(&bad) {
                    assert!(found.len() <= 8, "bit {bit} of byte {at}");
                }
            }
        }
    }

    #[test]
    fn numbers_and_names_are_not_trusted() {
        let good = sample();
        // The size of the file and that of the name: the 7th and the 12th number.
        for (at, text) in [
            (6 + 6 * 8, "ffffffff"),
            (6 + 6 * 8, "+0000001"),
            (6 + 6 * 8, "0000000g"),
            (6 + 11 * 8, "00000000"),
            (6 + 11 * 8, "00001001"),
            (6 + 11 * 8, "ffffffff"),
            (6 + 11 * 8, "00000001"),
            (6 + 11 * 8, "00000003"),
        ] {
            let mut bad = good.clone();
            bad[at..at + 8].copy_from_slice(text.as_bytes());
            assert!(read(&bad).is_err(), "{text} at {at}");
        }
        // Other forms of cpio.
        for magic in [b"070707", b"\xc7\x71\0\0\0\0"] {
            assert!(read(&[magic, &good[6..]].concat()).is_err());
        }
    }
}
