//! `tar` streams in: whatever a stream holds, nothing is written outside the directory, no
//! special file is made, and sizes are bounded.

use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result, bail};
use tar::{EntryType, PaxExtensions};

use super::compression::Compression;
use super::{Interruptible, Tree, relative_path, unreadable};
use crate::base::{error::Failure, interrupt};

/// Bytes moved at once between the threads that decode and write.
const CHUNK: u64 = 256 << 10;

/// Bytes of a long name, or another extension. Names on Linux are at most 4,096.
const EXTENSION_MAX: u64 = 64 << 10;

/// What is accepted when unpacking.
#[derive(Clone, Debug)]
pub struct UnpackLimits {
    /// Bytes of the archive after decompression.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: usize,
}

impl UnpackLimits {
    /// For an archive of so many bytes. Kernels are compressed to a quarter or a tenth; what
    /// becomes a hundred times as large is none. The most is several times what the largest
    /// packages have (1 GB in 10,000 files).
    pub fn of(compressed: u64) -> Self {
        let bytes = compressed.saturating_mul(100).saturating_add(64 << 20);
        Self {
            bytes: bytes.min(4 << 30),
            entries: 100_000,
        }
    }

    /// Refuses an entry behind so many others.
    pub(super) fn allow(&self, entries: usize) -> Result<()> {
        if entries < self.entries {
            return Ok(());
        }
        Err(Failure::setup(format!("more than {} entries", self.entries)).into())
    }
}

/// Unpacks a `tar.zst` stream into an empty directory. Decompression and writing
/// run side by side. Permissions are 755 for directories and executables and
/// 644 for other files, owners are ours, times are the archive's.
///
/// Refused are paths that are absolute, have `..` or lead through a link; links that lead
/// out; names that come twice; devices, pipes and sparse files; and more than the limits.
/// After an error the directory holds a part.
pub fn unpack_into<R: Read + Send>(
    reader: R,
    directory: &Path,
    limits: &UnpackLimits,
) -> Result<()> {
    let tree = &mut Tree::new(directory);
    unpack_tar(reader, Compression::Zstd, tree, limits, None)
}

/// Says where a path of an archive is unpacked to; `None` if it is not wanted.
pub type Choose<'c> = &'c dyn Fn(&Path) -> Option<PathBuf>;

/// Unpacks from a tar stream what is chosen of it. Of the rest only the names must be
/// sound: what it is does not matter. A chosen symbolic link that leads out of the tree is
/// left out. Without a choice, everything is unpacked, and no link may lead out.
///
/// The directory of `tree` was empty at first; other archives may have been unpacked into
/// it since.
pub(super) fn unpack_tar<R: Read + Send>(
    reader: R,
    compression: Compression,
    tree: &mut Tree,
    limits: &UnpackLimits,
    choose: Option<Choose>,
) -> Result<()> {
    decompressed(reader, compression, limits.bytes, |chunks| {
        tree.next_archive();
        let mut archive = tar::Archive::new(&mut *chunks);
        let mut extensions = Extensions::default();
        let mut end = 0;
        // Raw: the crate would read a long name of any size into memory.
        for (index, entry) in archive.entries()?.raw(true).enumerate() {
            let mut entry = entry.map_err(unreadable)?;
            limits.allow(index)?;
            end = (entry.raw_file_position() + entry.size()).next_multiple_of(512);
            if extensions.take_in(&mut entry)? {
                continue;
            }
            let Extensions { path, link } = std::mem::take(&mut extensions);
            let path = path.unwrap_or_else(|| entry.path_bytes().into_owned());
            let link = link.or_else(|| Some(entry.link_name_bytes()?.into_owned()));
            unpack_entry(&mut entry, &path, link, tree, choose)
                .with_context(|| format!("entry {:?}", String::from_utf8_lossy(&path)))?;
        }
        // Zeros behind the last entry end an archive.
        if chunks.bytes <= end {
            bail!("damaged archive: it ends too early");
        }
        Ok(())
    })
}

fn unpack_entry<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    path: &[u8],
    link: Option<Vec<u8>>,
    tree: &mut Tree,
    choose: Option<Choose>,
) -> Result<()> {
    let place = |path: PathBuf| choose.map_or_else(|| Some(path.clone()), |choose| choose(&path));
    let Some(path) = place(relative_path(path)?) else {
        return Ok(());
    };
    let link = link.context("a link without a target");
    match entry.header().entry_type() {
        EntryType::Directory => tree.directory(&path)?,
        EntryType::Regular => {
            let header = entry.header();
            let mode = header.mode().context("damaged archive")?;
            let time = header.mtime().context("damaged archive")?;
            tree.file(&path, mode, time, entry.size(), entry)?;
        }
        EntryType::Symlink => {
            let target = link?;
            let target = Path::new(OsStr::from_bytes(&target));
            if !tree.symlink(&path, target)? && choose.is_none() {
                bail!("a link out of the tree, to {target:?}");
            }
        }
        EntryType::Link => {
            let target = place(relative_path(&link?)?);
            let target = target.context("a hard link to what is not unpacked")?;
            tree.hard_link(&path, &target)?;
        }
        EntryType::Char | EntryType::Block => bail!("a device"),
        EntryType::Fifo => bail!("a named pipe"),
        EntryType::GNUSparse => bail!("a sparse file"),
        other => bail!("unknown type {:?}", char::from(other.as_byte())),
    }
    Ok(())
}

/// What extension entries say about the entry behind them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    /// Takes in an entry that only describes the next one; false if it is another.
    fn take_in<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<bool> {
        let kind = entry.header().entry_type();
        let long = kind.is_gnu_longname() || kind.is_gnu_longlink();
        if !long && !kind.is_pax_local_extensions() && !kind.is_pax_global_extensions() {
            return Ok(false);
        }
        if entry.size() > EXTENSION_MAX {
            bail!("a name of {} bytes", entry.size());
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        if long {
            bytes.pop_if(|last| *last == 0);
        }
        if kind.is_gnu_longname() {
            self.path = Some(bytes);
        } else if kind.is_gnu_longlink() {
            self.link = Some(bytes);
        } else if kind.is_pax_local_extensions() {
            for record in PaxExtensions::new(&bytes) {
                let record = record.context("damaged archive")?;
                match record.key_bytes() {
                    b"path" => self.path = Some(record.value_bytes().to_vec()),
                    b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                    // Ignored, the rest of the archive would be read wrongly.
                    b"size" => bail!("a file of 8 GiB or more"),
                    key if key.starts_with(b"GNU.sparse.") => bail!("a sparse file"),
                    _ => {}
                }
            }
        }
        Ok(true)
    }
}

/// Decompresses a stream in a thread of its own, while `consume` reads what comes out; and
/// then reads to the very end, where checksums stand and a cut stream shows.
pub(super) fn decompressed<R: Read + Send>(
    reader: R,
    compression: Compression,
    limit: u64,
    consume: impl FnOnce(&mut Chunks) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(4);
        scope.spawn(move || decode(reader, compression, &sender));
        // It goes when this returns, which ends the other thread.
        let mut chunks = Chunks {
            receiver,
            chunk: Cursor::default(),
            bytes: 0,
            limit,
        };
        consume(&mut chunks)?;
        io::copy(&mut chunks, &mut io::sink()).map_err(unreadable)?;
        Ok(())
    })
}

/// The thread that decompresses. It ends when nobody listens any more.
fn decode(reader: impl Read, compression: Compression, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut decoder = match compression.reader(reader) {
        Ok(decoder) => decoder,
        Err(error) => return drop(sender.send(Err(error))),
    };
    loop {
        let mut chunk = Vec::with_capacity(CHUNK as usize);
        match decoder.by_ref().take(CHUNK).read_to_end(&mut chunk) {
            Ok(0) => return,
            Ok(_) if sender.send(Ok(chunk)).is_ok() => {}
            Ok(_) => return,
            Err(error) => return drop(sender.send(Err(error))),
        }
    }
}

/// What the decompressing thread sends, as a reader that keeps the limit.
#[derive(Debug)]
pub(super) struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Cursor<Vec<u8>>,
    /// That were read.
    bytes: u64,
    limit: u64,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.position() == self.chunk.get_ref().len() as u64 {
            interrupt::check().map_err(io::Error::other)?;
            let Ok(chunk) = self.receiver.recv() else {
                return Ok(0);
            };
            self.chunk = Cursor::new(chunk?);
        }
        let count = self.chunk.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes > self.limit {
            let message = format!("more than {} bytes after decompression", self.limit);
            return Err(io::Error::other(Failure::setup(message)));
        }
        Ok(count)
    }
}

/// The contents of one file of an archive, read without unpacking anything; `None`
/// if it is not there. Reads no further than that file.
pub fn read_file(
    compression: Compression,
    reader: impl Read,
    path: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>> {
    let reader = compression.reader(reader).context("damaged archive")?;
    let mut archive = tar::Archive::new(Interruptible(reader));
    // Raw: the crate would read a long name of any size into memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path_bytes();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        if entry.header().entry_type() != EntryType::Regular || name != path.as_bytes() {
            continue;
        }
        if entry.size() > limit {
            bail!("{path} in it is larger than {limit} bytes");
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        return Ok(Some(bytes));
    }
    Ok(None)
}
