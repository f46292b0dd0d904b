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
            busybox: busybox(root)?,
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

fn busybox(root: &Path) -> Result<PathBuf, Failure> {
    let mut places = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"].into_iter();
    let found = places.find_map(|place| file(root, place).filter(|file| programs::is_static(file)));
    found.ok_or_else(|| {
        let message = format!("the root {} has no static /bin/busybox", root.display());
        Failure::setup(message).hint("install its package busybox-static there")
    })
}

fn date(root: &Path) -> Option<PathBuf> {
    let places = ["/bin/date", "/usr/bin/date"];
    let own = |place: &&str| {
        let file = file(root, place);
        file.is_some_and(|file| file.file_name().is_some_and(|name| name != "busybox"))
    };
    places.iter().find(|place| own(place)).map(PathBuf::from)
}
