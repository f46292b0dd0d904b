//! Packages of Debian and its like, read without dpkg.
//!
//! deb(5): an archive of ar(5) with the members `debian-binary` (the version of the
//! format, `2.0`), `control.tar` (what the package is) and `data.tar` (its files), in
//! that order. The latter two may be compressed, which the ends of their names say. Others
//! may stand between them, if their names begin with `_`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail, ensure};

use super::compression::Compression;
use super::unpack::unpack_tar;
use super::{Choose, PackageInfo, Tree, UnpackLimits, read_file};

/// What a package begins with.
pub const MAGIC: &[u8] = b"!<arch>\n";

/// Members that may come before the files.
const MEMBERS_MAX: usize = 16;

/// The most bytes that `control.tar` may have, compressed and not, and the file
/// `control` in it.
const CONTROL_TAR_MAX: u64 = 64 << 20;
const CONTROL_MAX: u64 = 1 << 20;

/// A package file.
#[derive(Debug)]
pub struct Deb {
    pub info: PackageInfo,
    file: File,
    compression: Compression,
    /// Where `data.tar` begins, and its bytes.
    start: u64,
    size: u64,
}

impl Deb {
    /// Reads what comes before the files.
    pub fn open(mut file: File) -> Result<Self> {
        let length = file.metadata()?.len();
        let mut at = MAGIC.len() as u64;
        let mut info = None;
        for index in 0..MEMBERS_MAX {
            file.seek(SeekFrom::Start(at))?;
            let (name, size) = read_header(&mut file)?;
            let start = file.stream_position()?;
            ensure!(size <= length - start, "damaged: it ends too early");
            if index == 0 {
                let is_first = name == "debian-binary";
                ensure!(is_first, "it does not begin with debian-binary");
                let mut version = String::new();
                (&file).take(size.min(16)).read_to_string(&mut version)?;
                let supported = version.starts_with("2.");
                ensure!(supported, "its format {:?} is not 2.0", version.trim());
            } else if name.starts_with("control.tar") {
                let found = read_control(&file, &name, size);
                info = Some(found.with_context(|| format!("cannot read its {name}"))?);
            } else if name.starts_with("data.tar") {
                return Ok(Self {
                    info: info.context("damaged: it has no control.tar")?,
                    compression: compression(&name)?,
                    file,
                    start,
                    size,
                });
            }
            // Headers stand at even bytes.
            at = (start + size).next_multiple_of(2);
        }
        bail!("damaged: too many members before data.tar")
    }

    /// Unpacks what is chosen of its files.
    pub fn unpack(&mut self, tree: &mut Tree, limits: &UnpackLimits, choose: Choose) -> Result<()> {
        self.file.seek(SeekFrom::Start(self.start))?;
        let reader = (&self.file).take(self.size);
        unpack_tar(reader, self.compression, tree, limits, Some(choose))
    }
}

/// Name and size of the next member. Its header has 60 bytes: name (16), time (12), owner
/// and group (6 each), mode (8), size (10, decimal) and a mark (2).
fn read_header(file: &mut File) -> Result<(String, u64)> {
    let mut header = [0; 60];
    file.read_exact(&mut header)
        .context("damaged: it ends too early")?;
    let text = std::str::from_utf8(&header).ok();
    let fields = text.and_then(|text| Some((text.get(..16)?, text.get(48..)?)));
    let size = |text: &str| {
        let size = text.strip_suffix("`\n")?.trim_end_matches(' ');
        // `parse` would take a sign.
        let digits = size.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| size.parse().ok())?
    };
    // Some programs of ar write a slash behind the name.
    fields
        .and_then(|(name, rest)| Some((name.trim_end_matches([' ', '/']).to_owned(), size(rest)?)))
        .context("damaged: no header of a member")
}

/// What the end of a member's name says.
fn compression(name: &str) -> Result<Compression> {
    Ok(match name.rsplit_once('.') {
        Some((_, "tar")) => Compression::None,
        Some((_, "gz")) => Compression::Gzip,
        Some((_, "xz")) => Compression::Xz,
        Some((_, "zst")) => Compression::Zstd,
        _ => bail!("its {name} is compressed in an unsupported way: only gzip, xz and zstd are"),
    })
}

fn read_control(file: &File, name: &str, size: u64) -> Result<PackageInfo> {
    ensure!(
        size <= CONTROL_TAR_MAX,
        "it is larger than {CONTROL_TAR_MAX} bytes"
    );
    let reader = compression(name)?.reader(file.take(size))?;
    // Limited after decompression as well: what comes before `control` is read.
    let reader = reader.take(CONTROL_TAR_MAX);
    let bytes = read_file(Compression::None, reader, "control", CONTROL_MAX)?;
    let bytes = bytes.context("it holds no control")?;
    parse_control(&String::from_utf8_lossy(&bytes))
        .context("its control names no package, version or architecture")
}

/// Reads deb-control(5). `None` if there is no name, version or architecture, which every
/// package has.
fn parse_control(text: &str) -> Option<PackageInfo> {
    // A field goes on in lines that begin with a blank.
    let text = text.replace("\n ", " ").replace("\n\t", " ");
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let depends = field("Depends").unwrap_or_default();
    // Of alternatives the first.
    let names = depends.split(',').filter_map(|group| {
        let name = group.trim().split([' ', '(', ':', '[', '|']).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    });
    Some(PackageInfo {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
        dependencies: names.collect(),
    })
}

#[cfg(test)]
pub(crate) mod tests;
