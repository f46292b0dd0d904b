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
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::compression::Compression;
use super::cpio::{self, CpioEntry, CpioHeader, CpioReader, PATH_MAX};
use super::unpack::decompressed;
use super::{Choose, PackageInfo, Tree, UnpackLimits, relative_path};

/// What a package begins with.
pub const MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];

/// What a header begins with, and the version of its structure.
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 1];

/// Bytes of the lead. Only its magic number means anything nowadays.
const LEAD: u64 = 96;

/// rpm's own limits for headers (`lib/header.c`).
const ENTRIES_MAX: u32 = 0xffff;
const STORE_MAX: u32 = 256 << 20;

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
    pub info: PackageInfo,
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
        // The signatures.
        RpmHeader::read(&mut file)?;
        // The header begins at a multiple of eight bytes.
        let at = file.stream_position()?.next_multiple_of(8);
        file.seek(SeekFrom::Start(at))?;
        let header = RpmHeader::read(&mut file)?;
        let payload = file.stream_position()?;
        let text = |tag: RpmTag| header.text(tag);
        let required =
            |tag: RpmTag| text(tag).with_context(|| format!("damaged: its header has no {tag:?}"));
        if let Some(other) = text(RpmTag::PayloadFormat).filter(|format| format != "cpio") {
            bail!("its payload {other:?} is not supported: only cpio is");
        }
        // What is not compressed has no such tag, and the payload says what it is.
        if let Some(other @ ("lzma" | "bzip2")) = text(RpmTag::PayloadCompressor).as_deref() {
            bail!("its payload is compressed with {other}: only gzip, xz and zstd are supported");
        }
        let mut magic = Vec::new();
        (&file).take(6).read_to_end(&mut magic)?;
        let (version, release) = (required(RpmTag::Version)?, required(RpmTag::Release)?);
        let requires = header.strings(RpmTag::RequireName).unwrap_or_default();
        // Files and capabilities are required too.
        let packages = requires.into_iter().map(lossy);
        let packages = packages.filter(|name| !name.contains(['/', '(']));
        Ok(Self {
            info: PackageInfo {
                name: required(RpmTag::Name)?,
                version: format!("{version}-{release}"),
                architecture: required(RpmTag::Arch)?,
                dependencies: packages.collect(),
            },
            file,
            header,
            compression: Compression::of(&magic),
            payload,
        })
    }

    /// Unpacks what is chosen of its files.
    pub fn unpack(&mut self, tree: &mut Tree, limits: &UnpackLimits, choose: Choose) -> Result<()> {
        self.file.seek(SeekFrom::Start(self.payload))?;
        tree.next_archive();
        decompressed(&self.file, self.compression, limits.bytes, |chunks| {
            let unpacker = CpioUnpacker {
                reader: CpioReader::new(chunks),
                tree,
                choose,
                waiting: HashMap::new(),
            };
            unpacker.run(&self.header, limits)
        })
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An index and the values.
#[derive(Debug)]
struct RpmHeader {
    /// Tag, type, offset in the store and count.
    entries: Vec<[u32; 4]>,
    store: Vec<u8>,
}

impl RpmHeader {
    fn read(file: &mut File) -> Result<Self> {
        // Grows with what is there, not with what is promised.
        let mut read = |length: u64| -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != length {
                bail!("damaged: it ends too early");
            }
            Ok(bytes)
        };
        let start = read(16)?;
        let [magic, _, entries, bytes] = four_numbers(&start);
        if magic != u32::from_be_bytes(HEADER_MAGIC) {
            bail!("damaged: no header where one should be");
        }
        if entries > ENTRIES_MAX || bytes > STORE_MAX {
            bail!("damaged: a header with {entries} entries and {bytes} bytes");
        }
        let index = read(u64::from(entries) * 16)?;
        Ok(Self {
            entries: index.chunks(16).map(four_numbers).collect(),
            store: read(u64::from(bytes))?,
        })
    }

    /// Type and count of a tag's values, and the store from the first of them on.
    fn find(&self, tag: RpmTag) -> Option<(u32, usize, &[u8])> {
        let found = self.entries.iter().find(|entry| entry[0] == tag as u32)?;
        let [_, kind, offset, count] = *found;
        Some((kind, count as usize, self.store.get(offset as usize..)?))
    }

    /// The strings of a tag: types 6 (one), 8 (several) and 9 (in several languages).
    /// `None` if there are none, or fewer than promised.
    fn strings(&self, tag: RpmTag) -> Option<Vec<&[u8]>> {
        let (kind, count, bytes) = self.find(tag)?;
        let count = match kind {
            6 => 1,
            8 | 9 => count,
            _ => return None,
        };
        // The last NUL ends the last string.
        let bytes = &bytes[..=bytes.iter().rposition(|byte| *byte == 0)?];
        let strings = bytes.split_inclusive(|byte| *byte == 0).take(count);
        let strings = strings.map(|string| &string[..string.len() - 1]);
        let strings = strings.collect::<Vec<_>>();
        (strings.len() == count).then_some(strings)
    }

    fn text(&self, tag: RpmTag) -> Option<String> {
        let strings = self.strings(tag)?;
        let first = strings.first().filter(|first| !first.is_empty())?;
        Some(lossy(first))
    }

    /// The numbers of a tag: types 3, 4 and 5 have two, four and eight bytes.
    fn numbers(&self, tag: RpmTag) -> Option<Vec<u64>> {
        let (kind, count, bytes) = self.find(tag)?;
        let width = match kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => return None,
        };
        let number = |bytes: &[u8]| {
            let digits = bytes.iter();
            digits.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let bytes = bytes.get(..count.checked_mul(width)?)?;
        Some(bytes.chunks(width).map(number).collect())
    }
}

/// The first 16 bytes.
fn four_numbers(bytes: &[u8]) -> [u32; 4] {
    let words = bytes.as_chunks::<4>().0;
    std::array::from_fn(|index| u32::from_be_bytes(words[index]))
}

/// The files as the header describes them, for payloads that only number them.
struct RpmFiles<'h> {
    directories: Vec<&'h [u8]>,
    names: Vec<&'h [u8]>,
    directory_of: Vec<u64>,
    sizes: Vec<u64>,
    modes: Vec<u64>,
    times: Vec<u64>,
    /// Device and inode.
    files: Vec<(u64, u64)>,
    /// The last name of a file in the payload: the contents come there.
    last: HashMap<(u64, u64), usize>,
}

impl<'h> RpmFiles<'h> {
    fn of(header: &'h RpmHeader) -> Option<Self> {
        let names = header.strings(RpmTag::BaseNames)?;
        let numbers = |tag: RpmTag| header.numbers(tag).filter(|list| list.len() == names.len());
        let flags = numbers(RpmTag::FileFlags)?;
        let (devices, inodes) = (numbers(RpmTag::FileDevices)?, numbers(RpmTag::FileInodes)?);
        let files = devices.into_iter().zip(inodes).collect::<Vec<_>>();
        let brought = (0..names.len()).filter(|index| flags[*index] & GHOST == 0);
        let last = brought.map(|index| (files[index], index)).collect();
        Some(Self {
            directories: header.strings(RpmTag::DirectoryNames)?,
            directory_of: numbers(RpmTag::DirectoryIndexes)?,
            sizes: numbers(RpmTag::FileSizes).or_else(|| numbers(RpmTag::LongFileSizes))?,
            modes: numbers(RpmTag::FileModes)?,
            times: numbers(RpmTag::FileTimes)?,
            last,
            files,
            names,
        })
    }

    fn get(&self, number: u32) -> Option<CpioEntry> {
        let index = number as usize;
        let name = *self.names.get(index)?;
        let directory = usize::try_from(self.directory_of[index]).ok()?;
        let directory = *self.directories.get(directory)?;
        if directory.len() + name.len() > PATH_MAX {
            return None;
        }
        let mode = u32::try_from(self.modes[index]).ok()?;
        let last = *self.last.get(&self.files[index])?;
        let has_contents = match mode & cpio::TYPE {
            cpio::REGULAR => last == index,
            kind => kind == cpio::LINK,
        };
        let path = [directory, name].concat();
        Some(CpioEntry {
            // They are absolute here.
            path: path.strip_prefix(b"/").unwrap_or(&path).to_vec(),
            mode,
            time: self.times[index],
            size: if has_contents { self.sizes[index] } else { 0 },
            shared: Some((last as u64, has_contents)),
        })
    }
}

struct CpioUnpacker<'a, R> {
    reader: CpioReader<R>,
    tree: &'a mut Tree,
    choose: Choose<'a>,
    /// Names of files whose contents come later.
    waiting: HashMap<u64, Vec<PathBuf>>,
}

impl<R: Read> CpioUnpacker<'_, R> {
    fn run(mut self, header: &RpmHeader, limits: &UnpackLimits) -> Result<()> {
        let mut files = None;
        let mut entries = 0;
        while let Some(found) = self.reader.advance()? {
            limits.allow(entries)?;
            entries += 1;
            let found = match found {
                CpioHeader::Named(entry) => entry,
                CpioHeader::Numbered(number) => {
                    if files.is_none() {
                        let described = RpmFiles::of(header);
                        files = Some(described.context("damaged: its header lists no files")?);
                    }
                    let entry = files.as_ref().and_then(|files| files.get(number));
                    entry.with_context(|| format!("damaged: no file {number} in its header"))?
                }
            };
            self.reader.expect(found.size);
            self.entry(&found)
                .with_context(|| format!("entry {:?}", lossy(&found.path)))?;
        }
        if let Some(path) = self.waiting.values().flatten().next() {
            bail!("damaged archive: no contents for {path:?}");
        }
        Ok(())
    }

    fn entry(&mut self, found: &CpioEntry) -> Result<()> {
        let Some(path) = (self.choose)(&relative_path(&found.path)?) else {
            return Ok(());
        };
        match found.mode & cpio::TYPE {
            cpio::DIRECTORY => self.tree.directory(&path),
            cpio::LINK => {
                let mut target = Vec::new();
                let mut reader = (&mut self.reader).take(PATH_MAX as u64);
                reader.read_to_end(&mut target)?;
                // One that leads elsewhere is left out, as in other packages.
                let target = Path::new(OsStr::from_bytes(&target));
                self.tree.symlink(&path, target).map(drop)
            }
            cpio::REGULAR => self.file(path, found),
            _ => bail!("a device or a pipe"),
        }
    }

    fn file(&mut self, path: PathBuf, found: &CpioEntry) -> Result<()> {
        if let Some((key, false)) = found.shared {
            self.waiting.entry(key).or_default().push(path);
            return Ok(());
        }
        let (mode, time, size) = (found.mode, found.time, found.size);
        self.tree.file(&path, mode, time, size, &mut self.reader)?;
        let waiting = found.shared.and_then(|(key, _)| self.waiting.remove(&key));
        for other in waiting.unwrap_or_default() {
            self.tree.hard_link(&other, &path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
