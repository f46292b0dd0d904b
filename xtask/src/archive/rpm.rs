//! Packages of Fedora, SUSE and their like, read without rpm.
//!
//! The format is described in rpm's manual, "RPM V4 Package format" (and "RPM V6"): a
//! lead of 96 bytes, the signatures, the header, and the payload, a compressed archive of
//! cpio. Signatures and header have one structure: a magic number, how many entries and
//! how many bytes there are, an index, and the values that it points to. All numbers are
//! big-endian.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::compression::Compression;
use super::cpio;
use crate::archive::{self, Attributes, Choose, Tree, UnpackLimits, unreadable};

/// What a package begins with.
pub const MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];

/// What a header begins with, and the version of its structure.
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 1];

/// Bytes of the lead. Only its magic number means anything nowadays.
const LEAD: u64 = 96;

/// rpm's own limits for headers (`lib/header.c`).
const ENTRIES_MAX: u32 = 0xffff;
const STORE_MAX: u32 = 256 << 20;

/// A path is at most this long.
const PATH_MAX: usize = 4096;

/// The tags that are of use here (rpm's `rpmtag.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RpmTag {
    Name = 1000,
    Version = 1001,
    Release = 1002,
    Arch = 1022,
    FileSizes = 1028,
    FileModes = 1030,
    FileTimes = 1034,
    FileFlags = 1037,
    RequireName = 1049,
    FileDevices = 1095,
    FileInodes = 1096,
    DirectoryIndexes = 1116,
    BaseNames = 1117,
    DirectoryNames = 1118,
    PayloadFormat = 1124,
    PayloadCompressor = 1125,
    LongFileSizes = 5008,
}

/// In [`RpmTag::FileFlags`]: the package owns the file but does not bring it.
const GHOST: u64 = 1 << 6;

/// A package file.
#[derive(Debug)]
pub struct Rpm {
    /// Its name.
    pub name: String,
    /// Version and release of the package, e.g. `6.15.3-200.fc42`.
    pub version: String,
    /// The architecture, e.g. `x86_64`, or `noarch`.
    pub architecture: String,
    /// What must be installed with it: packages, files and other things.
    pub requires: Vec<String>,
    file: File,
    header: RpmHeader,
    compression: Compression,
    /// Where the payload begins.
    payload: u64,
}

impl Rpm {
    /// Reads what comes before the files.
    pub fn open(mut file: File) -> Result<Self> {
        file.seek(SeekFrom::Start(LEAD))?;
        let (_, signatures) = RpmHeader::read(&mut file)?;
        // The header begins at a multiple of eight bytes.
        let padding = signatures.next_multiple_of(8) - signatures;
        file.seek(SeekFrom::Start(LEAD + signatures + padding))?;
        let (header, length) = RpmHeader::read(&mut file)?;
        let payload = LEAD + signatures + padding + length;
        let text = |tag: RpmTag| header.text(tag);
        let required =
            |tag: RpmTag| text(tag).with_context(|| format!("damaged: its header has no {tag:?}"));
        let (name, version) = (required(RpmTag::Name)?, required(RpmTag::Version)?);
        let version = format!("{version}-{}", required(RpmTag::Release)?);
        let architecture = required(RpmTag::Arch)?;
        match text(RpmTag::PayloadFormat).as_deref() {
            None | Some("cpio") => {}
            Some(other) => bail!("its payload {other:?} is not supported: only cpio is"),
        }
        // What is not compressed has no such tag, and the payload says what it is.
        if let Some(other @ ("lzma" | "bzip2")) = text(RpmTag::PayloadCompressor).as_deref() {
            bail!("its payload is compressed with {other}: only gzip, xz and zstd are supported");
        }
        let mut magic = Vec::new();
        (&mut file).take(6).read_to_end(&mut magic)?;
        let requires = header.strings(RpmTag::RequireName).unwrap_or_default();
        let requires = requires.into_iter().map(lossy).collect();
        Ok(Self {
            name,
            version,
            architecture,
            requires,
            file,
            header,
            compression: Compression::of(&magic),
            payload,
        })
    }

    /// Unpacks what is wanted of its files.
    pub fn unpack(&mut self, tree: &mut Tree, limits: &UnpackLimits, choose: Choose) -> Result<()> {
        self.file.seek(SeekFrom::Start(self.payload))?;
        tree.next_archive();
        let header = &self.header;
        archive::decompressed(&mut self.file, self.compression, limits.bytes, |chunks| {
            let mut reader = cpio::CpioReader::new(chunks);
            CpioUnpacker {
                header,
                files: None,
                tree,
                choose,
                waiting: HashMap::new(),
            }
            .run(&mut reader, limits)?;
            // To the very end, where the checksum of the compression stands.
            io::copy(&mut reader.into_inner(), &mut io::sink()).map_err(unreadable)?;
            Ok(())
        })
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An index and the values.
#[derive(Debug)]
struct RpmHeader {
    entries: Vec<IndexEntry>,
    store: Vec<u8>,
}

/// An entry of the index, as it is in the file.
#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    tag: u32,
    kind: u32,
    offset: u32,
    count: u32,
}

impl RpmHeader {
    /// Reads a header, and how many bytes it had.
    fn read(file: &mut File) -> Result<(Self, u64)> {
        let mut start = [0; 16];
        file.read_exact(&mut start)
            .context("damaged: it ends too early")?;
        let [magic, _, entries, bytes] = four_numbers(&start);
        if magic != u32::from_be_bytes(HEADER_MAGIC) {
            bail!("damaged: no header where one should be");
        }
        if entries > ENTRIES_MAX || bytes > STORE_MAX {
            bail!("damaged: a header with {entries} entries and {bytes} bytes");
        }
        // Grows with what is there, not with what is promised.
        let mut read = |length: u64| -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != length {
                bail!("damaged: it ends too early");
            }
            Ok(bytes)
        };
        let index = read(u64::from(entries) * 16)?;
        let store = read(u64::from(bytes))?;
        let entries = index.as_chunks::<16>().0.iter().map(|entry| {
            let [tag, kind, offset, count] = four_numbers(entry);
            IndexEntry {
                tag,
                kind,
                offset,
                count,
            }
        });
        let entries = entries.collect();
        let length = (16 + index.len() + store.len()) as u64;
        Ok((Self { entries, store }, length))
    }

    /// The entry of a tag, and the values from there to the end.
    fn find(&self, tag: RpmTag) -> Option<(IndexEntry, &[u8])> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag as u32)?;
        let offset = usize::try_from(entry.offset).ok()?;
        Some((*entry, self.store.get(offset..)?))
    }

    /// The strings of a tag: types 6 (one), 8 (several) and 9 (in several languages).
    /// `None` if there are none, or fewer than promised.
    fn strings(&self, tag: RpmTag) -> Option<Vec<&[u8]>> {
        let (entry, mut bytes) = self.find(tag)?;
        if !matches!(entry.kind, 6 | 8 | 9) {
            return None;
        }
        let count = if entry.kind == 6 { 1 } else { entry.count };
        let mut strings = Vec::new();
        for _ in 0..count {
            let end = bytes.iter().position(|byte| *byte == 0)?;
            strings.push(&bytes[..end]);
            bytes = &bytes[end + 1..];
        }
        Some(strings)
    }

    fn text(&self, tag: RpmTag) -> Option<String> {
        let strings = self.strings(tag)?;
        let first = strings.first().filter(|first| !first.is_empty())?;
        Some(lossy(first))
    }

    /// The numbers of a tag: types 3, 4 and 5 have two, four and eight bytes.
    fn numbers(&self, tag: RpmTag) -> Option<Vec<u64>> {
        let (entry, bytes) = self.find(tag)?;
        let width = match entry.kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => return None,
        };
        let length = usize::try_from(entry.count).ok()?.checked_mul(width)?;
        let number = |bytes: &[u8]| {
            let digits = bytes.iter();
            digits.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        Some(bytes.get(..length)?.chunks(width).map(number).collect())
    }
}

fn four_numbers(bytes: &[u8; 16]) -> [u32; 4] {
    let mut numbers = [0; 4];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *number = u32::from_be_bytes(*bytes);
    }
    numbers
}

/// The files as the header describes them, for payloads that only number them.
struct RpmFiles<'h> {
    directories: Vec<&'h [u8]>,
    names: Vec<&'h [u8]>,
    directory_of: Vec<u64>,
    sizes: Vec<u64>,
    modes: Vec<u64>,
    times: Vec<u64>,
    /// Of files with several names: by which number the one is known whose entry has the
    /// contents. It is the last.
    contents_at: HashMap<usize, usize>,
}

impl<'h> RpmFiles<'h> {
    fn of(header: &'h RpmHeader) -> Option<Self> {
        let names = header.strings(RpmTag::BaseNames)?;
        let numbers = |tag: RpmTag| header.numbers(tag).filter(|list| list.len() == names.len());
        let modes = numbers(RpmTag::FileModes)?;
        let flags = numbers(RpmTag::FileFlags)?;
        let (devices, inodes) = (numbers(RpmTag::FileDevices)?, numbers(RpmTag::FileInodes)?);
        let mut same = HashMap::<(u64, u64), Vec<usize>>::new();
        for index in 0..names.len() {
            let regular = modes[index] & u64::from(cpio::TYPE) == u64::from(cpio::REGULAR);
            if regular && flags[index] & GHOST == 0 {
                let file = (devices[index], inodes[index]);
                same.entry(file).or_default().push(index);
            }
        }
        let mut contents_at = HashMap::new();
        for indexes in same.into_values().filter(|indexes| indexes.len() > 1) {
            let last = indexes.last().copied()?;
            contents_at.extend(indexes.into_iter().map(|index| (index, last)));
        }
        Some(Self {
            directories: header.strings(RpmTag::DirectoryNames)?,
            directory_of: numbers(RpmTag::DirectoryIndexes)?,
            sizes: numbers(RpmTag::FileSizes).or_else(|| numbers(RpmTag::LongFileSizes))?,
            times: numbers(RpmTag::FileTimes)?,
            modes,
            contents_at,
            names,
        })
    }

    fn get(&self, number: u32) -> Option<PayloadEntry> {
        let index = usize::try_from(number).ok()?;
        let directory = usize::try_from(*self.directory_of.get(index)?).ok()?;
        let directory = *self.directories.get(directory)?;
        let name = *self.names.get(index)?;
        if directory.len() + name.len() > PATH_MAX {
            return None;
        }
        let mode = u32::try_from(*self.modes.get(index)?).ok()?;
        let contents_at = self.contents_at.get(&index).copied();
        let has_contents = match mode & cpio::TYPE {
            cpio::REGULAR => contents_at.is_none_or(|last| last == index),
            kind => kind == cpio::LINK,
        };
        let path = [directory, name].concat();
        Some(PayloadEntry {
            // They are absolute here.
            path: path.strip_prefix(b"/").unwrap_or(&path).to_vec(),
            mode,
            time: *self.times.get(index)?,
            size: if has_contents {
                *self.sizes.get(index)?
            } else {
                0
            },
            shared: contents_at.map(|last| (last as u64, has_contents)),
        })
    }
}

/// An entry of the payload.
struct PayloadEntry {
    path: Vec<u8>,
    mode: u32,
    time: u64,
    /// Of the contents in the payload.
    size: u64,
    /// Of a file with several names: what they have in common, and whether the contents
    /// come here.
    shared: Option<(u64, bool)>,
}

struct CpioUnpacker<'a> {
    header: &'a RpmHeader,
    /// Read from the header when they are needed.
    files: Option<RpmFiles<'a>>,
    tree: &'a mut Tree,
    choose: Choose<'a>,
    /// Names of files whose contents come later.
    waiting: HashMap<u64, Vec<PathBuf>>,
}

impl CpioUnpacker<'_> {
    fn run(
        mut self,
        reader: &mut cpio::CpioReader<impl Read>,
        limits: &UnpackLimits,
    ) -> Result<()> {
        let mut entries = 0;
        while let Some(header) = reader.advance()? {
            entries += 1;
            if entries > limits.entries {
                bail!("more than {} entries", limits.entries);
            }
            let found = self.find(header)?;
            reader.expect(found.size);
            self.entry(&found, reader)
                .with_context(|| format!("entry {:?}", String::from_utf8_lossy(&found.path)))?;
        }
        match self.waiting.values().flatten().next() {
            Some(path) => bail!("damaged archive: no contents for {path:?}"),
            None => Ok(()),
        }
    }

    fn find(&mut self, header: cpio::CpioHeader) -> Result<PayloadEntry> {
        match header {
            cpio::CpioHeader::Named {
                name,
                inode,
                mode,
                links,
                time,
                size,
            } => Ok(PayloadEntry {
                path: name,
                mode,
                time: u64::from(time),
                size,
                shared: (links > 1).then_some((u64::from(inode), size > 0)),
            }),
            cpio::CpioHeader::Numbered(number) => {
                if self.files.is_none() {
                    let files = RpmFiles::of(self.header);
                    self.files = Some(files.context("damaged: its header lists no files")?);
                }
                let found = self.files.as_ref().and_then(|files| files.get(number));
                found.with_context(|| format!("damaged: no file {number} in its header"))
            }
        }
    }

    fn entry(
        &mut self,
        found: &PayloadEntry,
        reader: &mut cpio::CpioReader<impl Read>,
    ) -> Result<()> {
        let Some(path) = (self.choose)(&archive::relative_path(&found.path)?) else {
            return Ok(());
        };
        match found.mode & cpio::TYPE {
            cpio::DIRECTORY => self.tree.directory(&path),
            cpio::LINK => {
                let mut target = Vec::new();
                reader.take(PATH_MAX as u64).read_to_end(&mut target)?;
                let target = Path::new(OsStr::from_bytes(&target));
                // One that leads elsewhere is left out, as in other packages.
                match archive::link_stays_inside(&path, target) {
                    true => self.tree.symlink(&path, target),
                    false => Ok(()),
                }
            }
            cpio::REGULAR => self.file(path, found, reader),
            _ => bail!("a device or a pipe"),
        }
    }

    fn file(
        &mut self,
        path: PathBuf,
        found: &PayloadEntry,
        reader: &mut cpio::CpioReader<impl Read>,
    ) -> Result<()> {
        if let Some((key, false)) = found.shared {
            self.waiting.entry(key).or_default().push(path);
            return Ok(());
        }
        let attributes = Attributes {
            size: found.size,
            executable: found.mode & 0o100 != 0,
            time: found.time,
        };
        self.tree.file(&path, attributes, reader)?;
        let waiting = found.shared.and_then(|(key, _)| self.waiting.remove(&key));
        for other in waiting.unwrap_or_default() {
            self.tree.hard_link(&other, &path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
