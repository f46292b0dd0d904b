//! The host's `/proc`, `/sys` and `/dev`, hidden from a QEMU that root runs.
//!
//! A guest reads what its QEMU can read, and root can read the environment and the memory of
//! every process (`/proc/PID/environ`, `/proc/kcore`) and every disk. So QEMU gets a mount
//! namespace of its own (`mount_namespaces(7)`) in which these directories have no more than
//! what it needs itself. The process that arranges that is this binary, as `enclose`, because
//! the namespace must be made where QEMU is executed then.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    unmount,
};

use crate::base::input;

/// The hidden command.
pub const ENCLOSE: &str = "enclose";

/// Hidden from QEMU; these are mount points on every host.
const HIDDEN: &[&str] = &["/proc", "/sys", "/dev"];

/// File systems that show the kernel, its processes and its devices, not files.
const OF_THE_KERNEL: &str = "proc sysfs devtmpfs devpts debugfs tracefs securityfs configfs \
                             efivarfs bpf pstore";

/// Devices that QEMU opens, and that a guest's init writes to before it has mounted its own.
const DEVICES: &str = "/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/kvm \
                       /dev/net/tun /dev/vhost-net /dev/vhost-vsock";

/// Nodes for the guest, which opens its own devices of these numbers: its kernel's words when
/// nothing is mounted yet. The host's may be another one (a container's is a terminal).
const NODES: &[(&str, u32, u32)] = &[("console", 5, 1), ("tty", 5, 0)];

/// Words in QEMU's arguments that need more of the host than paths that are named.
const NEEDS: &[(&str, &[&str])] = &[
    ("vfio", &["/sys", "/dev/vfio"]),
    ("usb-host", &["/sys", "/dev/bus/usb"]),
    ("pty", &["/dev/ptmx", "/dev/pts"]),
];

/// The work of `enclose` before it executes QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclosure {
    /// An empty directory to work in.
    pub staging: PathBuf,
    /// A file that says why it could not be done, if it could not.
    pub note: PathBuf,
    /// Paths in the hidden directories that stay visible.
    pub keep: Vec<PathBuf>,
}

impl Enclosure {
    /// For a QEMU that root runs, in the run's directory; an ordinary user's can read no more
    /// than that user.
    pub fn wanted(directory: &Path, keep: impl IntoIterator<Item = PathBuf>) -> Option<Self> {
        rustix::process::geteuid().is_root().then(|| Self {
            staging: directory.join("enclosure"),
            note: directory.join("not-enclosed"),
            keep: hidden(keep),
        })
    }

    /// The words in front of QEMU's.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["/proc/self/exe".into(), ENCLOSE.into()];
        words.extend(["--staging".into(), self.staging.clone().into()]);
        words.extend(["--note".into(), self.note.clone().into()]);
        for path in &self.keep {
            words.extend(["--keep".into(), path.clone().into()]);
        }
        words.push("--".into());
        words
    }

    /// Why it could not be done, once QEMU runs.
    pub fn failure(&self) -> Option<String> {
        input::text(&self.note, input::SMALL).ok()
    }

    /// Hides them from this process and executes the command, which happens also if they cannot be
    /// hidden. Returns only if that fails.
    pub fn execute(&self, command: &[OsString]) -> anyhow::Error {
        if let Err(error) = self.hide() {
            // Without the note nobody learns of it; then there is no directory to boot from.
            let _ = fs::write(&self.note, format!("{error:#}"));
        }
        let Some((program, arguments)) = command.split_first() else {
            return anyhow::anyhow!("there is no command");
        };
        let error = Command::new(program).args(arguments).exec();
        anyhow::anyhow!("cannot start {}: {error}", program.display())
    }

    fn hide(&self) -> Result<()> {
        let mounts = input::bytes(Path::new("/proc/self/mountinfo"), input::TEXT)
            .context("cannot read the mounts")?;
        let more = elsewhere(&mounts, &self.keep);
        #[allow(
            deprecated,
            reason = "unsafe only with flags that part the threads of a process"
        )]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS)
            .context("cannot make a mount namespace")?;
        // Our mounts must not appear on the host; the host's unmounts may take effect here.
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", slave).context("cannot part its mounts from the host's")?;
        fs::create_dir(&self.staging).context("cannot make a directory")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", &self.staging, "tmpfs", flags, c"size=1m,mode=755")
            .context("cannot mount a tmpfs")?;
        self.fill()?;
        for name in HIDDEN.iter().filter(|name| Path::new(name).is_dir()) {
            if !self.keep.iter().any(|path| path == Path::new(name)) {
                mount_bind_recursive(self.staged(Path::new(name)), *name)
                    .with_context(|| format!("cannot cover {name}"))?;
            }
        }
        for path in more {
            let empty = if path.is_dir() { "none" } else { "nothing" };
            mount_bind_recursive(self.staging.join(empty), &path)
                .with_context(|| format!("cannot cover {}", path.display()))?;
        }
        unmount(&self.staging, UnmountFlags::DETACH).context("cannot tidy up")
    }

    /// Makes what is to be seen.
    fn fill(&self) -> Result<()> {
        fs::create_dir(self.staging.join("none"))?;
        File::create(self.staging.join("nothing"))?;
        for name in HIDDEN {
            fs::create_dir(self.staged(Path::new(name)))?;
        }
        // By this QEMU comes to attributes and modes of what it has opened (`9p-util.h`,
        // `fgetxattrat_nofollow`). The program that we execute keeps our number.
        let descriptors = format!("/proc/{}/fd", std::process::id());
        self.show(Path::new(&descriptors), Path::new("/proc/self/fd"))?;
        for (name, major, minor) in NODES {
            let path = self.staged(Path::new("/dev")).join(name);
            let (kind, mode) = (FileType::CharacterDevice, Mode::from_bits_truncate(0o666));
            // In a container whose root is none: then init's first words are lost.
            let _ = mknodat(CWD, path, kind, mode, makedev(*major, *minor));
        }
        let devices = DEVICES.split(' ').map(Path::new);
        for path in devices.chain(self.keep.iter().map(PathBuf::as_path)) {
            if path.exists() && !HIDDEN.iter().any(|name| path == Path::new(name)) {
                self.show(path, path)?;
            }
        }
        Ok(())
    }

    /// Shows something of the host at a place in what is to be seen.
    fn show(&self, path: &Path, place: &Path) -> Result<()> {
        let goal = self.staged(place);
        let show = || {
            if path.is_dir() {
                fs::create_dir_all(&goal)?;
            } else {
                fs::create_dir_all(goal.parent().unwrap_or(&self.staging))?;
                File::create(&goal)?;
            }
            Ok::<_, std::io::Error>(mount_bind_recursive(path, &goal)?)
        };
        show().with_context(|| format!("cannot show {}", path.display()))
    }

    fn staged(&self, path: &Path) -> PathBuf {
        self.staging.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Paths of the host that user-given arguments of QEMU name.
pub fn named(arguments: &[OsString]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for argument in arguments {
        let bytes = argument.as_bytes();
        let parts = bytes.split(|byte| b",=:".contains(byte));
        let absolute = parts.filter(|part| part.starts_with(b"/"));
        paths.extend(absolute.map(|part| PathBuf::from(OsStr::from_bytes(part))));
        let words = bytes.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-');
        let words = words.map(String::from_utf8_lossy).collect::<Vec<_>>();
        for (word, more) in NEEDS {
            let mut rests = words.iter().filter_map(|other| other.strip_prefix(word));
            if rests.any(|rest| rest.is_empty() || rest.starts_with('-')) {
                paths.extend(more.iter().map(PathBuf::from));
            }
        }
    }
    paths
}

/// The paths that lie in hidden directories, by way of links too; none below another.
fn hidden(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let real = paths.into_iter().flat_map(|path| path.canonicalize());
    topmost(real.filter(|path| HIDDEN.iter().any(|name| path.starts_with(name))))
}

/// Those that lie below no other one, sorted.
pub(super) fn topmost(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    // Sorted by components, an ancestor comes before what is below it.
    for path in paths.into_iter().collect::<BTreeSet<_>>() {
        if !kept.iter().any(|ancestor| path.starts_with(ancestor)) {
            kept.push(path);
        }
    }
    kept
}

/// Where else such file systems are mounted (a change root's, a container's), from
/// `/proc/self/mountinfo` (proc_pid_mountinfo(5)), without what is to be kept.
fn elsewhere(mountinfo: &[u8], keep: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for line in mountinfo.split(|&byte| byte == b'\n') {
        let words = line.split(|&byte| byte == b' ').collect::<Vec<_>>();
        let dash = words.iter().position(|word| *word == b"-");
        let (Some(place), Some(kind)) = (words.get(4), dash.and_then(|at| words.get(at + 1)))
        else {
            continue;
        };
        let place = PathBuf::from(OsString::from_vec(unescaped(place)));
        let covered = HIDDEN.iter().any(|name| place.starts_with(name))
            || found.iter().any(|ancestor| place.starts_with(ancestor));
        let wanted = keep.iter().any(|path| path.starts_with(&place));
        let mut kinds = OF_THE_KERNEL.split(' ');
        if kinds.any(|name| name.as_bytes() == *kind) && !covered && !wanted {
            found.push(place);
        }
    }
    found
}

/// Blanks, newlines and backslashes in a path are written as `\` and three octal digits.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = str::from_utf8(after.get(..3).unwrap_or_default()).unwrap_or_default();
        let value = u8::from_str_radix(digits, 8).ok();
        let value = value.filter(|_| byte == b'\\');
        out.push(value.unwrap_or(byte));
        rest = value.map_or(after, |_| &after[3..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_is_told_to_open_stays() {
        let named = |word: &str| named(&[word.into()]);
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(named("file=/dev/sdb,if=virtio"), paths(&["/dev/sdb"]));
        assert_eq!(named("/dev/sdc"), paths(&["/dev/sdc"]));
        assert_eq!(
            named("vfio-pci,host=01:00.0"),
            paths(&["/sys", "/dev/vfio"])
        );
        assert_eq!(named("pty"), paths(&["/dev/ptmx", "/dev/pts"]));
        assert_eq!(named("pty,id=c"), paths(&["/dev/ptmx", "/dev/pts"]));
        assert_eq!(named("isa-debug-exit,iobase=0xf4"), paths(&[]));
        assert_eq!(named("id=empty"), paths(&[]));
    }

    #[test]
    fn only_what_would_be_hidden_is_kept() {
        let paths = [
            "/proc/self/../self/root",
            "/dev/shm",
            "/usr",
            "/dev/null",
            "/none",
        ];
        assert_eq!(
            hidden(paths.map(PathBuf::from)),
            ["/dev/null", "/dev/shm"].map(PathBuf::from)
        );
    }

    #[test]
    fn the_kernels_file_systems_are_found_wherever_they_are() {
        let mountinfo = b"\
22 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw
23 28 0:22 / /proc rw - proc proc rw
28 1 254:1 / / rw - ext4 /dev/vda1 rw
40 28 0:22 / /srv/a\\040b\\134/proc rw shared:1 master:2 - proc proc rw
41 40 0:22 /sys /srv/a\\040b\\134/proc/sys ro - proc proc rw
42 28 0:5 / /srv/kept rw - devtmpfs udev rw
43 28 0:44 / /srv/files rw - tmpfs proc rw
broken
";
        assert_eq!(
            elsewhere(mountinfo, &["/srv/kept/shm".into()]),
            [PathBuf::from("/srv/a b\\/proc")]
        );
        assert_eq!(unescaped(b"\\0a\\04"), b"\\0a\\04");
    }
}
