//! Scratch disks: a project's `[disk]`, and `--disk`. Each is a sparse file on the host that is
//! gone after the run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::base::{disk, error::Failure, process, programs};
use crate::model::project::parse_size;
use crate::vm::qemu::{virtio, with_path};
use crate::vm::{plan::Boot, share};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub size: u64,
    pub purpose: Purpose,
}

impl Disk {
    pub(super) fn is_mounted(&self) -> bool {
        matches!(self.purpose, Purpose::Mounted(_))
    }
}

/// How the guest gets a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A device that this environment variable names.
    Device(String),
    /// An empty file system, mounted there.
    Mounted(PathBuf),
}

/// A disk as it was typed: `SIZE[:PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArgument {
    size: u64,
    place: Option<PathBuf>,
}

/// Makes the file system, on the host, because an emulated guest takes longer. The kernel's ext4
/// can be an upper layer of overlayfs, which our root cannot.
pub const MKFS: &str = "mkfs.ext4";

/// A smaller ext4 has no room for files; QEMU knows blocks of 512 bytes.
const SMALLEST: u64 = 1 << 20;

/// Disks of a guest: a machine has some thirty places for devices.
const MOST: usize = 16;

/// The first `--disk` without a path is named by this variable, the next by this one and a 2.
const VARIABLE: &str = "VMTEST_DISK";

impl DiskArgument {
    /// Reads `SIZE` or `SIZE:PATH`.
    pub fn parse(word: &OsStr) -> Result<Self, String> {
        let bytes = word.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b':');
        let size = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]);
        let size = parse_size(&size)
            .filter(|size| *size <= i64::MAX as u64)
            .ok_or_else(|| format!("{size:?} is not a size like 512M or 4G"))?;
        if size < SMALLEST || !size.is_multiple_of(512) {
            return Err("a disk has 1M or more, in blocks of 512 bytes".to_owned());
        }
        let place = end.map(|end| PathBuf::from(OsString::from_vec(bytes[end + 1..].to_vec())));
        match &place {
            Some(place) if !place.is_absolute() => {
                Err("what stands behind the colon is an absolute path".to_owned())
            }
            Some(place) if share::has_parent(place) => {
                Err("a path with .. means something else in the guest".to_owned())
            }
            _ => Ok(Self { size, place }),
        }
    }
}

/// The disks of a command line, whose images are to be files in `directory`.
pub fn resolve(arguments: &[DiskArgument], directory: &Path) -> Result<Vec<Disk>, Failure> {
    let mut disks: Vec<Disk> = Vec::new();
    let mut names = std::iter::once(VARIABLE.to_owned())
        .chain((2..).map(|number| format!("{VARIABLE}{number}")));
    for &DiskArgument { size, ref place } in arguments {
        let purpose = match place {
            None => Purpose::Device(names.next().unwrap_or_default()),
            Some(place) => {
                let place = share::place(place).map_err(|why| {
                    let place = place.display();
                    Failure::usage(format!("no disk can be at {place}: {why}"))
                        .hint("name another path: --disk SIZE:PATH")
                })?;
                Purpose::Mounted(place)
            }
        };
        if let Purpose::Mounted(place) = &purpose
            && disks.iter().any(|disk| disk.purpose == purpose)
        {
            let place = place.display();
            return Err(Failure::usage(format!("two disks are to be at {place}")));
        }
        disks.push(Disk { size, purpose });
    }
    if disks.len() > MOST {
        return Err(Failure::usage(format!("a guest has at most {MOST} disks")));
    }
    if disks.iter().any(Disk::is_mounted) && programs::find_program(MKFS).is_none() {
        let message = format!("--disk SIZE:PATH needs {MKFS}, which is not installed");
        return Err(Failure::setup(message)
            .hint("install e2fsprogs, or leave out PATH for a disk without a file system"));
    }
    let sizes = disks.iter().map(|disk| disk.size);
    let hint = "take a smaller --disk, or set TMPDIR to a directory with room";
    disk::require_space(directory, "disks", sizes.fold(0, u64::saturating_add), hint)?;
    Ok(disks)
}

/// The file of a disk, by its place in the list, in the run's directory.
pub fn image(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("disk{index}"))
}

/// The device of a disk in the guest, by its place in the list.
pub fn device(index: usize) -> String {
    format!("/dev/vd{}", ('a'..='z').nth(index).unwrap_or('z'))
}

/// QEMU's arguments for a disk. Nothing on it is worth waiting for the host's disk. When that is
/// full, the guest's program is told; by default QEMU would stop the guest (qemu(1), `-drive`).
pub fn qemu(boot: &Boot<'_>, index: usize) -> Vec<OsString> {
    let drive = format!("if=none,id=disk{index},format=raw,cache=unsafe,werror=report,file=");
    let drive = with_path(&drive, &image(boot.directory, index), "");
    let device = format!("{},drive=disk{index}", virtio("blk", boot.vm.kernel.arch));
    vec!["-drive".into(), drive, "-device".into(), device.into()]
}

pub fn make<'d>(disks: impl Iterator<Item = &'d Disk>, directory: &Path) -> Result<()> {
    for (index, disk) in disks.enumerate() {
        let path = image(directory, index);
        let sized = disk::create_file(&path)?.set_len(disk.size);
        sized.with_context(|| format!("cannot create {}", path.display()))?;
        if disk.is_mounted() {
            let shell = process::shell()?;
            let mkfs = programs::find_program(MKFS).context("mkfs.ext4 is not installed")?;
            // Without a journal, which is for disks that outlive their machine, and with
            // nothing for root alone, which is everybody there.
            let features = ["-q", "-F", "-m", "0", "-O", "^has_journal"];
            let more = "root_owner=0:0,lazy_itable_init=1,nodiscard";
            cmd!(shell, "{mkfs} {features...} -E {more} {path}")
                .quiet()
                .ignore_stdout()
                .run()
                .with_context(|| format!("cannot make a file system in {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str) -> Result<DiskArgument, String> {
        DiskArgument::parse(OsStr::new(text))
    }

    #[test]
    fn a_disk_is_a_size_and_perhaps_a_path() {
        let parsed = |size, place: Option<&str>| {
            Ok(DiskArgument {
                size,
                place: place.map(PathBuf::from),
            })
        };
        assert_eq!(argument("64M"), parsed(64 << 20, None));
        assert_eq!(
            argument("1 GiB:/var/lib"),
            parsed(1 << 30, Some("/var/lib"))
        );
        assert_eq!(argument("4G:/a:b"), parsed(4 << 30, Some("/a:b")));
        for bad in [
            "",
            ":",
            "x",
            "-1G",
            "0",
            "512",
            "1000001",
            "4G:",
            "4G:var",
            "4G:/a/../b",
            "99999999T",
        ] {
            assert!(argument(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn disks_have_names_or_places_and_there_must_be_room() {
        let here = Path::new("/");
        let all = |words: &[&str]| {
            let arguments = words.iter().map(|word| argument(word).unwrap());
            resolve(&arguments.collect::<Vec<_>>(), here)
        };
        let disks = all(&["1M", "2M"]).unwrap();
        let names = disks.iter().map(|disk| format!("{:?}", disk.purpose));
        assert_eq!(
            names.collect::<Vec<_>>().join(" "),
            "Device(\"VMTEST_DISK\") Device(\"VMTEST_DISK2\")"
        );
        for (words, expected) in [
            (vec!["1M:/proc/x"], "the guest has its own there"),
            (vec!["1M:/"], "whole file system"),
            (vec!["1M:/a", "1M:/a/"], "two disks are to be at /a"),
            (vec!["1M"; MOST + 1], "at most 16 disks"),
            (vec!["1000000T"], "no room for disks in"),
        ] {
            let failure = all(&words).unwrap_err().to_string();
            assert!(failure.contains(expected), "{words:?}: {failure}");
        }
        assert_eq!(
            (device(0).as_str(), device(15).as_str()),
            ("/dev/vda", "/dev/vdp")
        );
    }
}
