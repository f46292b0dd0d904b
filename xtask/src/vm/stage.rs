//! A guest whose root is another directory than the host's `/`: what it has of the host besides.
//!
//! Such a root has neither our init nor the kernel's modules, and nothing may be written there. So
//! the kernel's own root is the *stage*, a directory made for the run: init, the root's BusyBox, and
//! of the host what the guest gets, each at its own path. There a directory is a mount point for a
//! 9p share, and a file is linked or copied. Init mounts the root, puts an overlay over it, and
//! shows in it what the stage has (`keep` in `init.sh`). The root must have a static BusyBox and
//! `/bin/sh`.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

use crate::base::{disk, error::Failure, programs, route};
use crate::kernel::store;
use crate::vm::guest::{self, Hidden};
use crate::vm::{Vm, enclosure, plan::Boot, qemu, share};

/// Where the stage has the run's own files, and later the guest.
pub const OWN: &str = "/run/vmtest/stage";
pub const BUSYBOX: &str = "/run/vmtest/stage/busybox";

/// Mount points on the stage that init knows by name, and the root's tag.
const MOUNT_POINTS: &[&str] = &["proc", "run/vmtest/root", "run/vmtest/scratch"];
const ROOT_TAG: &str = "vmtest.root";

/// The host's directories at these paths would hide what the root's programs need.
const SYSTEM: &[&str] = &[
    "/bin",
    "/etc",
    "/lib",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/sbin",
];

/// Behind the host's `PATH`, which need not name a directory of the root.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPart {
    pub host: PathBuf,
    /// The same path without the links that the root has on the way.
    pub guest: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The root's static BusyBox, on the host.
    pub busybox: PathBuf,
    /// The root's `date`, in the guest: see [`programs::fine_date`].
    pub date: Option<PathBuf>,
    /// None is below another one.
    pub directories: Vec<HostPart>,
    pub files: Vec<HostPart>,
    /// The host's links on the way to these.
    pub links: Vec<HostPart>,
}

impl Stage {
    /// For a VM whose root is not the host's. `modules`: files that init loads.
    pub fn look<'p>(
        vm: &'p Vm,
        modules: impl IntoIterator<Item = &'p PathBuf>,
    ) -> Result<Option<Self>> {
        if vm.has_host_root() {
            return Ok(None);
        }
        let root = &vm.root;
        let place = |path: &Path| route::route_in(root, path).unwrap_or_else(|| path.to_owned());
        require_room(vm, &place(&vm.directory))?;
        let kernel = &vm.kernel;
        let crash = vm.crash.iter();
        let crash = crash.flat_map(|crash| [&crash.loader, &kernel.image]);
        let wanted = [&vm.directory, &kernel.path, &kernel.modules].into_iter();
        let wanted = wanted.chain(&kernel.debuginfo).chain(crash);
        let wanted = wanted.chain(&vm.keep).chain(&vm.modules).chain(modules);
        let (mut ends, mut links) = (Vec::new(), Vec::new());
        for route in wanted.filter_map(|path| route::route(path)) {
            ends.push(route.end);
            links.extend(route.links);
        }
        ends.retain(|end| end.exists() && has_room(&place(end)));
        let ends = enclosure::topmost(ends);
        links.retain(|link| !ends.iter().any(|end| link.starts_with(end)));
        let parts = ends.into_iter().map(|host| HostPart {
            guest: place(&host),
            host,
        });
        let (directories, files) = parts.partition(|part| part.host.is_dir());
        let links = links.into_iter().map(|host| HostPart {
            guest: place(host.parent().unwrap_or(&host)).join(host.file_name().unwrap_or_default()),
            host,
        });
        let new = |link: &HostPart| route::below(root, &link.guest).symlink_metadata().is_err();
        Ok(Some(Self {
            busybox: busybox(vm)?,
            date: date(root),
            directories,
            files,
            links: links.filter(new).collect(),
        }))
    }

    /// What init shows of it.
    pub fn shown(&self) -> Hidden {
        let parts = self.directories.iter().chain(&self.files);
        let keep = parts.map(|part| part.guest.clone());
        Hidden {
            keep: keep.chain([OWN.into()]).collect(),
            links: self.links.iter().map(|link| link.guest.clone()).collect(),
        }
    }

    /// The root's share, and one for each directory: identifiers and tags.
    pub fn qemu(&self, boot: &Boot<'_>) -> Vec<OsString> {
        let root = qemu::file_system("guest", &boot.vm.root, false, ROOT_TAG, boot);
        let hosts = self
            .tagged()
            .flat_map(|(tag, part)| qemu::file_system(&tag, &part.host, false, &tag, boot));
        root.into_iter().chain(hosts).collect()
    }

    /// Each directory with the tag of its share, which init's mount point is called by.
    pub fn tagged(&self) -> impl Iterator<Item = (String, &HostPart)> {
        let numbered = self.directories.iter().enumerate();
        numbered.map(|(index, part)| (format!("host{index}"), part))
    }

    /// Fills an empty directory.
    pub fn make(&self, goal: &Path) -> Result<()> {
        for name in MOUNT_POINTS {
            disk::create_directory(&goal.join(name))?;
        }
        for (tag, part) in self.tagged() {
            disk::create_directory(&goal.join("run/vmtest").join(tag))?;
            disk::create_directory(&route::below(goal, &part.guest))?;
        }
        let busybox = HostPart {
            host: self.busybox.clone(),
            guest: BUSYBOX.into(),
        };
        for part in self.files.iter().chain([&busybox]) {
            put(goal, part, |place| {
                // Another user's file, or one of another file system, cannot be linked.
                fs::hard_link(&part.host, place).or_else(|_| fs::copy(&part.host, place).map(drop))
            })?;
        }
        for link in &self.links {
            put(goal, link, |place| {
                symlink(fs::read_link(&link.host)?, place)
            })?;
        }
        Ok(())
    }
}

/// Makes what a part is on the stage.
fn put(goal: &Path, part: &HostPart, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let place = route::below(goal, &part.guest);
    disk::create_directory(place.parent().unwrap_or(goal))?;
    make(&place).with_context(|| format!("cannot give {} to the guest", part.host.display()))
}

/// Whether a directory of the host can be at that place in the guest.
fn has_room(place: &Path) -> bool {
    let fresh = guest::FRESH.iter();
    let mut around = SYSTEM.iter().chain(fresh.clone());
    let own =
        share::is_guests_own(place) && !fresh.into_iter().any(|fresh| place.starts_with(fresh));
    !own && !around.any(|path| Path::new(path).starts_with(place))
}

/// Refuses a working directory that would hide what the root's programs need. In `/`, in `/tmp` and
/// the like the guest works in its own.
fn require_room(vm: &Vm, place: &Path) -> Result<(), Failure> {
    if has_room(place)
        || place == Path::new("/")
        || guest::FRESH.iter().any(|fresh| place == Path::new(fresh))
    {
        return Ok(());
    }
    let (directory, root) = (vm.directory.display(), vm.root.display());
    let message = format!(
        "a guest with the root {root} cannot work in {directory}: the host's directory would hide the \
         root's"
    );
    Err(Failure::usage(message).hint("use a directory elsewhere"))
}

/// The file of the host for a path in the root, whatever its links are.
fn file(root: &Path, path: &str) -> Option<PathBuf> {
    let end = route::route_in(root, Path::new(path))?;
    Some(route::below(root, &end)).filter(|file| file.is_file())
}

fn busybox(vm: &Vm) -> Result<PathBuf> {
    let (root, arch) = (&vm.root, vm.kernel.arch);
    let mut places = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"].into_iter();
    let found = places.find_map(|place| file(root, place).filter(|file| programs::is_static(file)));
    let shown = root.display();
    let busybox = found.ok_or_else(|| {
        Failure::setup(format!("the root {shown} has no static /bin/busybox"))
            .hint("install its package busybox-static there")
    })?;
    let release = &vm.kernel.release;
    match store::elf_architecture(&busybox) {
        Ok(other) if other != arch => Err(Failure::setup(format!(
            "the kernel {release} is for {}, and the root {shown} for {}",
            arch.name, other.name
        ))
        .hint("--root debian makes one that fits")
        .into()),
        // Of one that we do not know, the kernel may run programs.
        _ => Ok(busybox),
    }
}

fn date(root: &Path) -> Option<PathBuf> {
    let places = ["/bin/date", "/usr/bin/date"];
    let own = |place: &&str| {
        let file = file(root, place);
        file.is_some_and(|file| file.file_name().is_some_and(|name| name != "busybox"))
    };
    places.iter().find(|place| own(place)).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::plan::tests;

    /// A root whose BusyBox is this.
    fn root(busybox: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        symlink("usr/bin", root.path().join("bin")).unwrap();
        let file = root.path().join("usr/bin/busybox");
        fs::write(&file, busybox).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(file, executable).unwrap();
        root
    }

    /// The start of a static program for the machine of this number.
    fn program(machine: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = machine;
        bytes
    }

    #[test]
    fn a_guest_has_each_part_of_the_host_once_where_the_root_has_room_for_it() {
        let root = root(&program(62));
        let host = tempfile::tempdir().unwrap();
        let host = host.path().canonicalize().unwrap();
        for directory in ["project/build", "kernel"] {
            fs::create_dir_all(host.join(directory)).unwrap();
        }
        fs::write(host.join("module.ko"), "module").unwrap();
        symlink(host.join("project"), host.join("link")).unwrap();
        let mut vm = Vm {
            root: root.path().to_owned(),
            directory: host.join("link/build"),
            keep: [host.join("project"), "/usr".into(), "/nowhere".into()].to_vec(),
            modules: vec![host.join("module.ko")],
            ..tests::vm()
        };
        vm.kernel.path = host.join("kernel");
        vm.kernel.modules = host.join("kernel");
        let stage = Stage::look(&vm, []).unwrap().unwrap();
        let shown = stage.shown();
        let paths = ["kernel", "project", "module.ko"].map(|name| host.join(name));
        assert_eq!(shown.keep, [&paths[..], &[OWN.into()]].concat());
        assert_eq!(shown.links, [host.join("link")]);
        assert_eq!(stage.date, None);

        let made = tempfile::tempdir().unwrap();
        stage.make(made.path()).unwrap();
        let here = |path: &Path| route::below(made.path(), path);
        assert!(here(&host.join("project")).is_dir());
        assert!(!here(&host.join("project/build")).exists());
        assert!(here(Path::new("/run/vmtest/host1")).is_dir());
        assert_eq!(fs::read(here(&host.join("module.ko"))).unwrap(), b"module");
        let link = fs::read_link(here(&host.join("link"))).unwrap();
        assert_eq!(link, host.join("project"));
        assert_eq!(fs::read(here(Path::new(BUSYBOX))).unwrap(), program(62));
    }

    #[test]
    fn a_root_that_no_guest_can_have_is_refused() {
        let refused = |busybox: &[u8], directory: &str| {
            let root = root(busybox);
            let vm = Vm {
                root: root.path().to_owned(),
                directory: directory.into(),
                ..tests::vm()
            };
            Stage::look(&vm, []).unwrap_err().to_string()
        };
        let good = program(62);
        assert!(refused(b"#!/bin/sh", "/tmp").contains("has no static /bin/busybox"));
        assert!(refused(&program(183), "/tmp").contains("is for x86_64, and the root"));
        // The working directory would hide programs.
        assert!(refused(&good, "/usr").contains("cannot work in /usr"));
        assert!(refused(&good, "/proc/self").contains("cannot work in /proc"));
    }

    #[test]
    fn links_of_the_root_lead_to_its_own_files() {
        let root = root(&program(62));
        symlink("/usr/bin/date", root.path().join("usr/bin/gnudate")).unwrap();
        assert_eq!(file(root.path(), "/bin/gnudate"), None);
        fs::write(root.path().join("usr/bin/date"), "").unwrap();
        let date = root.path().join("usr/bin/date");
        assert_eq!(file(root.path(), "/bin/gnudate"), Some(date));
        assert_eq!(super::date(root.path()), Some("/bin/date".into()));
        fs::remove_file(root.path().join("usr/bin/date")).unwrap();
        symlink("busybox", root.path().join("usr/bin/date")).unwrap();
        assert_eq!(super::date(root.path()), None);
        // A host's absolute path is below the root.
        symlink("/etc", root.path().join("etc")).unwrap();
        assert_eq!(file(root.path(), "/etc/passwd"), None);
    }
}
