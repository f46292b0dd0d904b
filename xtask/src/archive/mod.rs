//! `tar.zst` streams in and out: the format of kernel packages.
//!
//! Out: the same tree gives the same bytes, wherever and by whomever it is
//! packed, and on however many processors. In: whatever the stream holds,
//! nothing is written outside the directory, no special file is made, and sizes
//! are bounded.
//!
//! # Level and window
//!
//! Measured on a 6.1 package of our own (244 MB of tar, nearly all of it DWARF) with
//! `zstd` 1.5.4, two threads on two processors that did nothing else. `LDM` stands for
//! `--zstd=wlog=26,lhlog=25,lmml=32,lblog=4,lhrlog=4,ovlog=6 --long=26`; the names are
//! those of zstd(1).
//!
//! | parameters | processor s | wall s | bytes |
//! |---|---|---|---|
//! | `-12 --long=26` | 28 | 15 | 66,550,502 |
//! | `-12 LDM` | 27 | 15 | 67,537,908 |
//! | `-13 LDM` | 56 | 30 | 67,522,623 |
//! | `-16 LDM`, `clog=23,hlog=22,slog=2,tlen=32` | 82 | 44 | 61,240,912 |
//! | `-16 LDM`, `clog=22,hlog=22,slog=3,tlen=48` | 99 | 53 | 60,554,643 |
//! | as in [`PACKAGE`]: `-18 -B32M LDM`, `clog=23,hlog=22,slog=2,tlen=64` | 115 | 64 | 59,601,332 |
//! | `-17 -B64M LDM`, `lmml=64,clog=25,hlog=24,slog=3,tlen=128` | 126 | 73 | 59,533,695 |
//! | `-16 --long=26` | 128 | 66 | 63,385,065 |
//! | `-18 -B64M LDM`, `lmml=64,clog=24,hlog=24,slog=2,tlen=96` | 129 | 71 | 59,179,038 |
//! | `-17 -B32M LDM`, `clog=24,hlog=23,slog=4,tlen=64` | 146 | 80 | 59,349,493 |
//! | `-19` | 278 | 156 | 57,586,425 |
//!
//! The costly part of the high levels is the search for short matches, not the choice
//! among them: a short search with the thorough parser of level 18 takes less time than
//! level 16 as it is, and its package is smaller. Long-distance matching makes packages
//! smaller at hardly any cost, because every object repeats the same types. The overlap
//! between jobs is kept short, because each worker indexes it again; long-distance
//! matches reach over the border anyway.

pub mod compression;
pub mod cpio;
pub mod deb;
pub mod rpm;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result, bail};
use tar::{EntryType, Header, PaxExtensions};
use zstd::zstd_safe::CParameter;

use crate::archive::compression::Compression;
use crate::base::{error::Failure, interrupt, sha256::Sha256};

mod single;
mod tree;

pub use single::{read_file, read_file_of};
pub use tree::{Attributes, Tree, link_stays_inside, relative_path};

/// The time of every file in a package, in seconds since 1970: 1 January 2000.
/// Any fixed time does; 0 makes some tools take it for a missing one.
pub const PACKAGE_TIME: u64 = 946_684_800;

/// How zstd compresses. All of it decides the output, so nothing in it may follow
/// the number of processors. The names are those of zstd's manual; the numbers
/// are binary logarithms unless they are said to be bytes.
#[derive(Clone, Debug)]
struct ZstdParameters {
    /// zstd's level, for what is not said here.
    level: i32,
    /// The window: the most that a reader must keep. `zstd -d` without options
    /// takes up to 27.
    window_log: u32,
    /// Size of the match finder's tree.
    chain_log: u32,
    /// Size of the match finder's table.
    hash_log: u32,
    /// Attempts per position.
    search_log: u32,
    /// The shortest match, in bytes.
    min_match: u32,
    /// A match of as many bytes ends the search.
    target_length: u32,
    /// Size of the table for long-distance matches.
    long_hash_log: u32,
    /// The shortest long-distance match, in bytes.
    long_min_match: u32,
    /// One position of that many goes into the table.
    long_rate_log: u32,
    /// Bytes that one worker compresses at a time. zstd's own choice follows the
    /// window and leaves most workers idle on a package.
    job_size: u32,
    /// How much of the data before a job its worker looks at: 9 is a whole
    /// window, each step less halves it.
    overlap_log: u32,
}

/// The choice for packages: see the module's table.
const PACKAGE: ZstdParameters = ZstdParameters {
    level: 18,
    window_log: 26,
    chain_log: 23,
    hash_log: 22,
    search_log: 2,
    min_match: 3,
    target_length: 64,
    long_hash_log: 25,
    long_min_match: 32,
    long_rate_log: 4,
    job_size: 32 << 20,
    overlap_log: 6,
};

/// Bytes moved at once between the threads that decode and write.
const CHUNK: usize = 256 << 10;

/// A long name, or another extension, is at most this many bytes. Names on Linux
/// are at most 4,096.
const EXTENSION_MAX: u64 = 64 << 10;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Size of the compressed archive.
    pub bytes: u64,
    /// SHA-256 of the compressed archive, hexadecimal.
    pub sha256: String,
}

/// Writes the contents of a directory as `tar.zst`. Entries are sorted by path,
/// owned by root, and dated [`PACKAGE_TIME`]; of the permissions only whether
/// the owner may execute is kept. Hard links become files of their own.
///
/// `workers` threads compress (0 counts as 1); the bytes do not depend on it.
pub fn create(directory: &Path, out: impl Write, workers: u32) -> Result<Created> {
    create_with(&PACKAGE, directory, out, workers)
}

fn create_with(
    compression: &ZstdParameters,
    directory: &Path,
    out: impl Write,
    workers: u32,
) -> Result<Created> {
    let context = || format!("cannot pack {}", directory.display());
    let hashing = HashingWriter {
        inner: out,
        bytes: 0,
        digest: Sha256::new(),
    };
    let mut encoder = zstd::Encoder::new(hashing, compression.level).with_context(context)?;
    configure(&mut encoder, compression, workers).with_context(context)?;
    let mut builder = tar::Builder::new(encoder);
    for path in sorted_tree(directory)? {
        append(&mut builder, directory, &path)
            .with_context(|| format!("cannot pack {}", directory.join(&path).display()))?;
    }
    let encoder = builder.into_inner().with_context(context)?;
    let mut hashing = encoder.finish().with_context(context)?;
    hashing.flush().with_context(context)?;
    Ok(Created {
        bytes: hashing.bytes,
        sha256: hashing.digest.finish(),
    })
}

fn configure<W: Write>(
    encoder: &mut zstd::Encoder<'_, W>,
    compression: &ZstdParameters,
    workers: u32,
) -> io::Result<()> {
    encoder.include_checksum(true)?;
    encoder.window_log(compression.window_log)?;
    encoder.long_distance_matching(true)?;
    // Without workers zstd compresses in one piece, which gives other bytes.
    encoder.multithread(workers.max(1))?;
    for parameter in [
        CParameter::ChainLog(compression.chain_log),
        CParameter::HashLog(compression.hash_log),
        CParameter::SearchLog(compression.search_log),
        CParameter::MinMatch(compression.min_match),
        CParameter::TargetLength(compression.target_length),
        CParameter::LdmHashLog(compression.long_hash_log),
        CParameter::LdmMinMatch(compression.long_min_match),
        CParameter::LdmHashRateLog(compression.long_rate_log),
        CParameter::LdmBucketSizeLog(4),
        CParameter::JobSize(compression.job_size),
        CParameter::OverlapSizeLog(compression.overlap_log),
    ] {
        encoder.set_parameter(parameter)?;
    }
    Ok(())
}

/// All paths below a directory, relative to it, sorted by their bytes with `/`
/// before everything else, so that a directory stands before what is in it.
fn sorted_tree(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = directory.join(&folder);
        let context = || format!("cannot read {}", path.display());
        for entry in path.read_dir().with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = folder.join(entry.file_name());
            if entry.file_type().with_context(context)?.is_dir() {
                folders.push(name.clone());
            }
            paths.push(name);
        }
    }
    // The order of `Path` compares component by component.
    paths.sort();
    Ok(paths)
}

fn append<W: Write>(builder: &mut tar::Builder<W>, root: &Path, path: &Path) -> Result<()> {
    interrupt::check()?;
    let full = root.join(path);
    let metadata = full.symlink_metadata()?;
    let mut header = Header::new_gnu();
    header.set_mtime(PACKAGE_TIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    let executable = metadata.permissions().mode() & 0o100 != 0;
    header.set_mode(if metadata.is_dir() || executable {
        0o755
    } else {
        0o644
    });
    header.set_size(0);
    if metadata.is_dir() {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, path, io::empty())?;
    } else if metadata.is_symlink() {
        let target = full.read_link()?;
        if !link_stays_inside(path, &target) {
            bail!("it is a link out of the tree, to {}", target.display());
        }
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        builder.append_link(&mut header, path, &target)?;
    } else if metadata.is_file() {
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        let mut reader = Interruptible {
            inner: File::open(&full)?.take(metadata.len()),
            bytes: 0,
        };
        builder.append_data(&mut header, path, &mut reader)?;
        if reader.bytes != metadata.len() {
            bail!("it changed while it was read");
        }
    } else {
        bail!("it is neither a file, a directory nor a link");
    }
    Ok(())
}

struct HashingWriter<W> {
    inner: W,
    bytes: u64,
    digest: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.digest.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// An error while reading an archive: it is damaged, unless a signal or a limit of ours
/// was the reason.
pub(crate) fn unreadable(error: io::Error) -> anyhow::Error {
    let ours = error.get_ref().is_some_and(|inner| inner.is::<Failure>());
    let error = anyhow::Error::new(error);
    match ours {
        true => error,
        false => error.context("damaged archive"),
    }
}

/// A reader that counts and that fails after a signal.
struct Interruptible<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::check().map_err(io::Error::other)?;
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// What is accepted when unpacking.
#[derive(Clone, Debug)]
pub struct UnpackLimits {
    /// Bytes of the archive after decompression.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

impl Default for UnpackLimits {
    /// Several times what the largest kernel packages have (about 1 GB in
    /// 10,000 files with all debugging information).
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            entries: 100_000,
        }
    }
}

impl UnpackLimits {
    /// For an archive of so many bytes. Kernels are compressed to a quarter or a tenth;
    /// what becomes a hundred times as large is no kernel, and would fill the disk.
    pub fn of(compressed: u64) -> Self {
        let limits = Self::default();
        let bytes = compressed.saturating_mul(100).saturating_add(64 << 20);
        Self {
            bytes: limits.bytes.min(bytes),
            ..limits
        }
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
    let mut tree = Tree::new(directory);
    decompressed(reader, Compression::Zstd, limits.bytes, |chunks| {
        TarUnpacker {
            tree: &mut tree,
            limits,
            choose: None,
        }
        .run(chunks)
    })
}

/// Says where a path of an archive is unpacked to; `None` if it is not wanted.
pub type Choose<'c> = &'c dyn Fn(&Path) -> Option<PathBuf>;

/// Unpacks from a tar stream what is wanted of it. Of the rest only the names must be
/// sound: what it is does not matter. A wanted symbolic link that leads out of the tree is
/// left out.
///
/// The directory of `tree` was empty at first; other archives may have been unpacked into
/// it since.
pub fn unpack_chosen<R: Read + Send>(
    reader: R,
    format: Compression,
    tree: &mut Tree,
    limits: &UnpackLimits,
    choose: Choose,
) -> Result<()> {
    tree.next_archive();
    decompressed(reader, format, limits.bytes, |chunks| {
        TarUnpacker {
            tree,
            limits,
            choose: Some(choose),
        }
        .run(chunks)
    })
}

/// Decompresses a stream in a thread of its own, while `consume` reads what comes out.
pub fn decompressed<R: Read + Send, T>(
    reader: R,
    format: Compression,
    limit: u64,
    consume: impl FnOnce(Chunks) -> Result<T>,
) -> Result<T> {
    std::thread::scope(|scope| {
        let (full_sender, full_receiver) = sync_channel(4);
        let (empty_sender, empty_receiver) = sync_channel(8);
        scope.spawn(move || decode(reader, format, &full_sender, &empty_receiver));
        // The receivers go when this returns, which ends the other thread.
        consume(Chunks {
            receiver: full_receiver,
            recycle: empty_sender,
            chunk: Vec::new(),
            at: 0,
            bytes: 0,
            limit,
            last: Vec::new(),
        })
    })
}

/// The thread that decompresses. It ends when nobody listens any more.
fn decode<R: Read>(
    reader: R,
    format: Compression,
    full: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) {
    let mut decoder = match format.reader(reader) {
        Ok(decoder) => decoder,
        Err(error) => {
            let _ = full.send(Err(error));
            return;
        }
    };
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let mut filled = 0;
        while filled < CHUNK {
            match decoder.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let _ = full.send(Err(error));
                    return;
                }
            }
        }
        chunk.truncate(filled);
        if filled == 0 || full.send(Ok(chunk)).is_err() {
            return;
        }
    }
}

/// What the decompressing thread sends, as a reader that keeps the limit.
#[derive(Debug)]
pub struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    recycle: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    bytes: u64,
    limit: u64,
    /// The last bytes that were read, at most a tar block.
    last: Vec<u8>,
}

impl Chunks {
    fn next(&mut self) -> io::Result<bool> {
        interrupt::check().map_err(io::Error::other)?;
        let Ok(chunk) = self.receiver.recv() else {
            return Ok(false);
        };
        let spent = std::mem::replace(&mut self.chunk, chunk?);
        // With its channel full it is simply freed.
        let _ = self.recycle.try_send(spent);
        self.at = 0;
        self.bytes += self.chunk.len() as u64;
        if self.bytes > self.limit {
            let limit = self.limit;
            let failure = Failure::setup(format!("more than {limit} bytes after decompression"));
            return Err(io::Error::other(failure));
        }
        Ok(true)
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.next()? {
            return Ok(0);
        }
        let rest = &self.chunk[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        let tail = &buffer[count.saturating_sub(512)..count];
        self.last.extend_from_slice(tail);
        let excess = self.last.len().saturating_sub(512);
        self.last.drain(..excess);
        Ok(count)
    }
}

struct TarUnpacker<'a> {
    tree: &'a mut Tree,
    limits: &'a UnpackLimits,
    /// What is wanted; without it everything is, and as our packages have it.
    choose: Option<Choose<'a>>,
}

/// What extension entries say about the entry behind them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl TarUnpacker<'_> {
    fn run(mut self, chunks: Chunks) -> Result<()> {
        let mut archive = tar::Archive::new(chunks);
        let mut extensions = Extensions::default();
        let mut entries = 0;
        // Raw: the crate would read a long name of any size into memory.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry.map_err(unreadable)?;
            entries += 1;
            if entries > self.limits.entries {
                let limit = self.limits.entries;
                return Err(Failure::setup(format!("more than {limit} entries")).into());
            }
            if !self.extension(&mut entry, &mut extensions)? {
                let extensions = std::mem::take(&mut extensions);
                let path = match &extensions.path {
                    Some(path) => path.clone(),
                    None => entry.path_bytes().into_owned(),
                };
                self.entry(&mut entry, &path, extensions.link)
                    .with_context(|| format!("entry {:?}", String::from_utf8_lossy(&path)))?;
            }
        }
        let mut chunks = archive.into_inner();
        // To the very end: zstd's checksum stands there, and a cut stream shows.
        io::copy(&mut chunks, &mut io::sink()).map_err(unreadable)?;
        if chunks.last.len() < 512 || chunks.last.iter().any(|byte| *byte != 0) {
            bail!("damaged archive: it ends too early");
        }
        Ok(())
    }

    /// Takes in an entry that only describes the next one; false if it is another.
    fn extension<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        extensions: &mut Extensions,
    ) -> Result<bool> {
        let kind = entry.header().entry_type();
        let known = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if !known {
            return Ok(false);
        }
        if entry.size() > EXTENSION_MAX {
            bail!("a name of {} bytes", entry.size());
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        if kind.is_gnu_longname() || kind.is_gnu_longlink() {
            if bytes.last() == Some(&0) {
                bytes.pop();
            }
            let field = if kind.is_gnu_longname() {
                &mut extensions.path
            } else {
                &mut extensions.link
            };
            *field = Some(bytes);
        } else if kind.is_pax_local_extensions() {
            for record in PaxExtensions::new(&bytes) {
                let record = record.context("damaged archive")?;
                match record.key_bytes() {
                    b"path" => extensions.path = Some(record.value_bytes().to_vec()),
                    b"linkpath" => extensions.link = Some(record.value_bytes().to_vec()),
                    // Ignored, the rest of the archive would be read wrongly.
                    b"size" => bail!("a file of 8 GiB or more"),
                    key if key.starts_with(b"GNU.sparse.") => bail!("a sparse file"),
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    fn entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &[u8],
        link: Option<Vec<u8>>,
    ) -> Result<()> {
        let Some(path) = self.place(relative_path(path)?) else {
            return Ok(());
        };
        let link = |entry: &tar::Entry<'_, R>| {
            let bytes = link.or_else(|| entry.link_name_bytes().map(|name| name.into_owned()));
            bytes.context("a link without a target")
        };
        match entry.header().entry_type() {
            EntryType::Directory => self.tree.directory(&path),
            EntryType::Regular => {
                let header = entry.header();
                let attributes = Attributes {
                    size: entry.size(),
                    executable: header.mode().context("damaged archive")? & 0o100 != 0,
                    time: header.mtime().context("damaged archive")?,
                };
                self.tree.file(&path, attributes, entry)
            }
            EntryType::Symlink => {
                let target = link(entry)?;
                let target = Path::new(OsStr::from_bytes(&target));
                if link_stays_inside(&path, target) {
                    return self.tree.symlink(&path, target);
                }
                if self.choose.is_none() {
                    bail!("a link out of the tree, to {:?}", target);
                }
                Ok(())
            }
            EntryType::Link => {
                let target = relative_path(&link(entry)?)?;
                let target = self
                    .place(target)
                    .context("a hard link to what is not unpacked")?;
                self.tree.hard_link(&path, &target)
            }
            EntryType::Char | EntryType::Block => bail!("a device"),
            EntryType::Fifo => bail!("a named pipe"),
            EntryType::GNUSparse => bail!("a sparse file"),
            other => bail!("unknown type {:?}", char::from(other.as_byte())),
        }
    }

    /// Where a path is unpacked to, if it is wanted.
    fn place(&self, path: PathBuf) -> Option<PathBuf> {
        match self.choose {
            Some(choose) => choose(&path),
            None => Some(path),
        }
    }
}

#[cfg(test)]
mod tests;
