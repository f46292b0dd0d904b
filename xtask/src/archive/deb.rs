//! Packages of Debian and its like, read without dpkg.
//!
//! deb(5): an archive of ar(5) with the members `debian-binary` (the version of the
//! format, `2.0`), `control.tar` (what the package is) and `data.tar` (its files), in
//! that order. The latter two may be compressed, which the ends of their names say. Others
//! may stand between them, if their names begin with `_`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::compression::Compression;
use crate::archive::{self, Choose, Tree, UnpackLimits};

/// What a package begins with.
pub const MAGIC: &[u8] = b"!<arch>\n";

/// Bytes of a member's header: name (16), time (12), owner and group (6 each), mode (8),
/// size (10, decimal) and a mark (2).
const HEADER: usize = 60;

/// Members that may come before the files.
const MEMBERS_MAX: usize = 16;

/// The most bytes that `control.tar` may have, compressed and not, and the file
/// `control` in it.
const CONTROL_TAR_MAX: u64 = 64 << 20;
const CONTROL_MAX: u64 = 1 << 20;

/// What a package says about itself: the fields of `control` that are of use here
/// (deb-control(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Its name.
    pub package: String,
    /// The version of the package, not of the kernel.
    pub version: String,
    /// Debian's name of the architecture, or `all`.
    pub architecture: String,
    /// What must be installed with it.
    pub depends: String,
}

impl Control {
    /// Reads the fields. `None` if there is no name, version or architecture, which every
    /// package has.
    pub fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = text.lines().skip_while(|line| {
                let found = line.split_once(':').map(|(found, _)| found);
                !found.is_some_and(|found| found.eq_ignore_ascii_case(name))
            });
            let first = lines.next()?.split_once(':')?.1.trim();
            // A field goes on in lines that begin with a blank.
            let rest = lines.take_while(|line| line.starts_with([' ', '\t']));
            let all = std::iter::once(first).chain(rest.map(str::trim));
            Some(all.collect::<Vec<_>>().join(" "))
        };
        let required = |name: &str| field(name).filter(|text| !text.is_empty());
        Some(Self {
            package: required("Package")?,
            version: required("Version")?,
            architecture: required("Architecture")?,
            depends: field("Depends").unwrap_or_default(),
        })
    }

    /// The names of the packages that it depends on; of alternatives the first.
    pub fn dependencies(&self) -> impl Iterator<Item = &str> {
        let names = self.depends.split(',').map(|group| {
            let first = group.split('|').next().unwrap_or_default().trim();
            first.split([' ', '(', ':', '[']).next().unwrap_or_default()
        });
        names.filter(|name| !name.is_empty())
    }
}

/// A package file.
#[derive(Debug)]
pub struct Deb {
    /// What it says about itself.
    pub control: Control,
    file: File,
    data: DebMember,
}

/// A member of the archive.
#[derive(Clone, Debug)]
struct DebMember {
    name: String,
    /// Where its contents are.
    at: u64,
    size: u64,
}

impl Deb {
    /// Reads what comes before the files.
    pub fn open(mut file: File) -> Result<Self> {
        let length = file.metadata()?.len();
        let members = members(&mut file, length)?;
        let format = members
            .first()
            .filter(|first| first.name == "debian-binary");
        let format = format.context("it does not begin with debian-binary")?;
        let mut version = Vec::new();
        read_member(&mut file, format)?
            .take(16)
            .read_to_end(&mut version)?;
        if !version.starts_with(b"2.") {
            let version = String::from_utf8_lossy(&version);
            bail!("its format {:?} is not 2.0", version.trim());
        }
        let find = |stem: &str| {
            let member = members.iter().find(|member| member.name.starts_with(stem));
            member.with_context(|| format!("damaged: it has no {stem}"))
        };
        let (control, data) = (find("control.tar")?, find("data.tar")?.clone());
        let control = read_control(&mut file, control)?;
        compression(&data)?;
        Ok(Self {
            control,
            file,
            data,
        })
    }

    /// Unpacks what is wanted of its files.
    pub fn unpack(&mut self, tree: &mut Tree, limits: &UnpackLimits, choose: Choose) -> Result<()> {
        let format = compression(&self.data)?;
        let reader = read_member(&mut self.file, &self.data)?;
        archive::unpack_chosen(reader, format, tree, limits, choose)
    }
}

/// The members up to `data.tar`, which is the last one of interest.
fn members(file: &mut File, length: u64) -> Result<Vec<DebMember>> {
    let mut at = MAGIC.len() as u64;
    let mut members = Vec::new();
    let damaged = "damaged: it ends too early";
    while members.len() < MEMBERS_MAX {
        let mut header = [0; HEADER];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header).context(damaged)?;
        at += HEADER as u64;
        let (name, size) = parse_header(&header).context("damaged: no header of a member")?;
        let end = at.checked_add(size).filter(|end| *end <= length);
        let end = end.context(damaged)?;
        let last = name.starts_with("data.tar");
        members.push(DebMember { name, at, size });
        if last {
            return Ok(members);
        }
        // Headers stand at even bytes.
        at = end.next_multiple_of(2);
    }
    bail!("damaged: too many members before data.tar")
}

fn parse_header(header: &[u8; HEADER]) -> Option<(String, u64)> {
    if &header[58..] != b"`\n" {
        return None;
    }
    let text = |range: std::ops::Range<usize>| {
        let text = std::str::from_utf8(&header[range]).ok()?;
        Some(text.trim_end_matches(' '))
    };
    // Some programs of ar write a slash behind the name.
    let name = text(0..16)?.trim_end_matches('/');
    let size = text(48..58)?;
    // `parse` would take a sign.
    let digits = size.bytes().all(|byte| byte.is_ascii_digit());
    let size = digits.then(|| size.parse().ok()).flatten()?;
    Some((name.to_owned(), size))
}

fn read_member<'f>(file: &'f mut File, member: &DebMember) -> Result<std::io::Take<&'f mut File>> {
    file.seek(SeekFrom::Start(member.at))?;
    Ok(file.take(member.size))
}

/// What the end of a member's name says.
fn compression(member: &DebMember) -> Result<Compression> {
    Ok(match Path::new(&member.name).extension() {
        Some(end) if end == "tar" => Compression::None,
        Some(end) if end == "gz" => Compression::Gzip,
        Some(end) if end == "xz" => Compression::Xz,
        Some(end) if end == "zst" => Compression::Zstd,
        _ => bail!(
            "its {} is compressed in a way that is not supported: only gzip, xz and zstd are",
            member.name
        ),
    })
}

fn read_control(file: &mut File, member: &DebMember) -> Result<Control> {
    let format = compression(member)?;
    if member.size > CONTROL_TAR_MAX {
        bail!("its {} is larger than {CONTROL_TAR_MAX} bytes", member.name);
    }
    let reader = format.reader(read_member(file, member)?)?;
    // Limited after decompression as well: what comes before `control` is read.
    let reader = reader.take(CONTROL_TAR_MAX);
    let bytes = archive::read_file_of(Compression::None, reader, "control", CONTROL_MAX)
        .with_context(|| format!("cannot read its {}", member.name))?
        .with_context(|| format!("its {} holds no control", member.name))?;
    let text = String::from_utf8_lossy(&bytes);
    Control::parse(&text).context("its control names no package, version or architecture")
}

#[cfg(test)]
pub(crate) mod tests;
