//! `tar.zst` streams out: the same tree gives the same bytes, wherever and by whomever it
//! is packed, and on however many processors.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tar::{EntryType, Header};
use zstd::zstd_safe::CParameter;

use super::{Interruptible, link_stays_inside};
use crate::base::{disk, interrupt, sha256::Sha256};

/// The time of every file in a package, in seconds since 1970: 1 January 2000.
/// Any fixed time does; 0 makes some tools take it for a missing one.
pub const PACKAGE_TIME: u64 = 946_684_800;

const LEVEL: i32 = 18;

/// The window, as a binary logarithm: the most that a reader must keep. `zstd -d` without
/// options takes up to 27.
pub(super) const WINDOW_LOG: u32 = 26;

/// How zstd compresses packages. All of it decides the output, so nothing in it may follow
/// the number of processors. The names are those of zstd's manual; logarithms are binary.
///
/// Measured on a 6.1 package of our own (244 MB of tar, nearly all of it DWARF) with
/// `zstd` 1.5.4, two threads on two processors that did nothing else. `LDM` stands for
/// `--zstd=wlog=26,lhlog=25,lmml=32,lblog=4,lhrlog=4,ovlog=6 --long=26`:
///
/// | parameters | processor s | wall s | bytes |
/// |---|---|---|---|
/// | `-12 LDM` | 27 | 15 | 67,537,908 |
/// | these: `-18 -B32M LDM`, `clog=23,hlog=22,slog=2,tlen=64` | 115 | 64 | 59,601,332 |
/// | `-16 --long=26` | 128 | 66 | 63,385,065 |
/// | `-17 -B32M LDM`, `clog=24,hlog=23,slog=4,tlen=64` | 146 | 80 | 59,349,493 |
/// | `-19` | 278 | 156 | 57,586,425 |
///
/// The costly part of the high levels is the search for short matches, not the choice
/// among them: a short search with the thorough parser of level 18 takes less time than
/// level 16 as it is, and its package is smaller. Long-distance matching makes packages
/// smaller at hardly any cost, because every object repeats the same types.
pub(super) const PARAMETERS: &[CParameter] = &[
    CParameter::ChecksumFlag(true),
    CParameter::WindowLog(WINDOW_LOG),
    CParameter::ChainLog(23),
    CParameter::HashLog(22),
    CParameter::SearchLog(2),
    CParameter::MinMatch(3),
    CParameter::TargetLength(64),
    CParameter::EnableLongDistanceMatching(true),
    CParameter::LdmHashLog(25),
    CParameter::LdmMinMatch(32),
    CParameter::LdmHashRateLog(4),
    CParameter::LdmBucketSizeLog(4),
    // Bytes that one worker compresses at a time. zstd's own choice follows the window and
    // leaves most workers idle on a package.
    CParameter::JobSize(32 << 20),
    // How much of the data before a job its worker indexes again: 9 is a whole window, each
    // step less halves it. Long-distance matches reach over the border anyway.
    CParameter::OverlapSizeLog(6),
];

/// Writes the contents of a directory as `tar.zst`, and returns its SHA-256. Entries are
/// sorted by path, owned by root, and dated [`PACKAGE_TIME`]; of the permissions only
/// whether the owner may execute is kept. Hard links become files of their own.
///
/// `workers` threads compress (0 counts as 1); the bytes do not depend on it.
pub fn create(directory: &Path, out: impl Write, workers: u32) -> Result<String> {
    create_with(PARAMETERS, directory, out, workers)
        .with_context(|| format!("cannot pack {}", directory.display()))
}

pub(super) fn create_with(
    parameters: &[CParameter],
    directory: &Path,
    out: impl Write,
    workers: u32,
) -> Result<String> {
    let out = HashingWriter {
        inner: out,
        digest: Sha256::default(),
    };
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    for parameter in parameters {
        encoder.set_parameter(*parameter)?;
    }
    // Without workers zstd compresses in one piece, which gives other bytes.
    encoder.multithread(workers.max(1))?;
    let mut builder = tar::Builder::new(encoder);
    for path in disk::tree(directory)? {
        append(&mut builder, directory, &path).with_context(|| path.display().to_string())?;
    }
    let mut out = builder.into_inner()?.finish()?;
    out.flush()?;
    Ok(out.digest.finish())
}

fn append<W: Write>(builder: &mut tar::Builder<W>, root: &Path, full: &Path) -> Result<()> {
    interrupt::check()?;
    let path = full.strip_prefix(root)?;
    let metadata = full.symlink_metadata()?;
    let mut header = Header::new_gnu();
    header.set_mtime(PACKAGE_TIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_size(0);
    header.set_mode(0o755);
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
        if metadata.permissions().mode() & 0o100 == 0 {
            header.set_mode(0o644);
        }
        header.set_size(metadata.len());
        let mut reader = io::Read::take(Interruptible(File::open(full)?), metadata.len());
        builder.append_data(&mut header, path, &mut reader)?;
        if reader.limit() > 0 {
            bail!("it changed while it was read");
        }
    } else {
        bail!("it is neither a file, a directory nor a link");
    }
    Ok(())
}

struct HashingWriter<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
