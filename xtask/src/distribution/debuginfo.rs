//! Debugging information of kernels that come without: `--debuginfo`.
//!
//! Debian has that of an image and its modules in `linux-image-<release>-dbg`, whose files
//! are those that debuggers look for below `/usr/lib/debug`: of
//! `linux-image-6.1.0-50-amd64-dbg`, `boot/vmlinux-<release>`,
//! `lib/modules/<release>/vmlinux`, `lib/modules/<release>/**.ko`, and `.build-id/**.debug`.
//! It is a download of 800 MB to 1.2 GB and takes 5 to 8 GB unpacked, so it is fetched only
//! for those who ask, and once. It is
//! `<work>/<arch>/debuginfo-<release>-<12 hexadecimal digits>`, whose key is of the
//! package's name and version: what is here is found without asking anybody.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::deb::Deb;
use super::debian;
use crate::arch::Arch;
use crate::archive::{self, Tree};
use crate::distribution;
use crate::failure::Failure;
use crate::kbuild::progress::thousands;
use crate::kernel::{LocalKernel, Origin};
use crate::layout::Layout;
use crate::store::{self, Temporary};
use crate::ui::Ui;
use crate::version::Release;

/// What the names of the folders begin with.
const PREFIX: &str = "debuginfo-";

/// Where a package has what becomes the folder.
const INSIDE: &str = "usr/lib/debug";

/// What is accepted when unpacking: twice what the largest packages have.
const LIMITS: archive::Limits = archive::Limits {
    bytes: 16 << 30,
    entries: 100_000,
};

/// The kernel with its debugging information, which is fetched if it is not here. A kernel
/// that was built here or came in a package of ours has it.
///
/// # Errors
///
/// There is none, or nobody knows where; it cannot be had, or a signal.
pub fn add(kernel: LocalKernel, layout: &Layout, ui: &Ui) -> Result<LocalKernel> {
    let folder = match kernel.origin {
        Origin::Package | Origin::Tree => return Ok(kernel),
        Origin::Host => of_host(Path::new("/"), &kernel.release)?,
        Origin::Distribution => of_package(&kernel, layout, ui)?,
    };
    let vmlinux = require_vmlinux(&folder, &kernel.release)?;
    Ok(LocalKernel {
        vmlinux: Some(vmlinux),
        debuginfo: Some(folder),
        ..kernel
    })
}

/// The kernel as an ELF file, where debuggers look for it below `/usr/lib/debug`.
fn vmlinux(debug: &Path, release: &Release) -> Option<PathBuf> {
    let places = [
        format!("boot/vmlinux-{release}"),
        format!("lib/modules/{release}/vmlinux"),
        format!("usr/lib/modules/{release}/vmlinux"),
        format!("vmlinux-{release}"),
    ];
    let mut paths = places.into_iter().map(|place| debug.join(place));
    paths.find(|path| path.is_file())
}

fn require_vmlinux(debug: &Path, release: &Release) -> Result<PathBuf> {
    vmlinux(debug, release).with_context(|| {
        format!(
            "there is no boot/vmlinux-{release} and no lib/modules/{release}/vmlinux in {}",
            debug.display()
        )
    })
}

fn of_host(root: &Path, release: &Release) -> Result<PathBuf> {
    let debug = root.join(INSIDE);
    if vmlinux(&debug, release).is_some() {
        return Ok(debug);
    }
    let message = format!(
        "there is no debugging information of this host's kernel, {release}, in {}",
        debug.display()
    );
    let hint = format!(
        "install linux-image-{release}-dbg (Debian), linux-image-{release}-dbgsym (Ubuntu) \
        or kernel-debuginfo (Fedora)"
    );
    Err(Failure::setup(message).hint(hint).into())
}

/// Where the debugging information of a package's version is, or would be.
fn goal(layout: &Layout, arch: &Arch, release: &Release, version: &str) -> PathBuf {
    let key = distribution::key(&[format!("{} {version}", debian::debug_name(release))]);
    layout
        .kernels(arch)
        .join(format!("{PREFIX}{release}-{key}"))
}

/// The release that a folder with debugging information is of, by its name; `None` if it is
/// called otherwise.
pub fn release_of(folder: &Path) -> Option<Release> {
    let name = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let (release, key) = name.rsplit_once('-')?;
    let digits = key.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && key.len() == 12).then(|| release.parse().ok())?
}

/// What is called like such a folder, with its release, sorted.
///
/// # Errors
///
/// The work directory cannot be read.
pub fn survey(layout: &Layout, arch: &Arch) -> Result<Vec<(Release, PathBuf)>> {
    let mut found = Vec::new();
    for path in store::entries(&layout.kernels(arch))? {
        if let Some(release) = release_of(&path).filter(|_| path.is_dir()) {
            found.push((release, path));
        }
    }
    found.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(found)
}

/// The name of the lock under which a folder is made.
pub fn lock_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn of_package(kernel: &LocalKernel, layout: &Layout, ui: &Ui) -> Result<PathBuf> {
    let release = &kernel.release;
    let packages = distribution::Origin::read(&kernel.path)?.packages;
    let of_debian = packages
        .iter()
        .find(|package| debian::select::is_image(&package.name));
    let Some(image) = of_debian else {
        let names = packages.iter().map(|package| package.name.as_str());
        let message = format!(
            "nobody knows where the debugging information of {release} is: it is not Debian's \
            but came in {}",
            names.collect::<Vec<_>>().join(", ")
        );
        let hint = "--debuginfo fetches Debian's linux-image-…-dbg alone, and cannot take a \
            package with it by its path";
        return Err(Failure::setup(message).hint(hint).into());
    };
    let goal = goal(layout, kernel.arch, release, &image.version);
    if goal.is_dir() {
        return Ok(goal);
    }
    let _lock = store::lock(layout, ui, &lock_name(&goal))?;
    if goal.is_dir() {
        return Ok(goal);
    }
    store::sweep(&layout.kernels(kernel.arch))?;
    let package = debian::debug_package(release, &image.version, layout, ui)?;
    let temporary = Temporary::directory(&goal)?;
    let files = debian::download(std::slice::from_ref(&package), &temporary, layout, ui)
        .with_context(|| format!("cannot get {} from Debian", package.name))?;
    let unpacked = temporary.path().join("unpacked");
    store::create_directory(&unpacked)?;
    for file in &files {
        unpack(file, &unpacked, &package.name, ui)
            .with_context(|| format!("cannot unpack {}", package.name))?;
        std::fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    require_vmlinux(&unpacked, release).with_context(|| format!("{} is damaged", package.name))?;
    temporary.persist_from(&unpacked)?;
    Ok(goal)
}

fn unpack(file: &Path, directory: &Path, name: &str, ui: &Ui) -> Result<()> {
    let task = RefCell::new(ui.task(format!("unpacking {name}")));
    let files = Cell::new(0);
    let choose = |path: &Path| {
        let wanted = wanted(path)?;
        files.set(files.get() + 1);
        let progress = format!("{} files", thousands(files.get()));
        task.borrow_mut().update(progress);
        Some(wanted)
    };
    let package = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut package = Deb::open(package)?;
    package.unpack(&mut Tree::new(directory), &LIMITS, &choose)
}

/// Where a file of a package goes. No debugger looks at the list of symbols: it is in the
/// ELF file too.
fn wanted(path: &Path) -> Option<PathBuf> {
    let inside = path.strip_prefix(INSIDE).ok()?;
    let name = inside.file_name()?.to_string_lossy();
    (!name.starts_with("System.map")).then(|| inside.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::failure::exit_status;

    #[test]
    fn only_what_debuggers_need_is_unpacked() {
        for (path, expected) in [
            (
                "usr/lib/debug/boot/vmlinux-6.1.0",
                Some("boot/vmlinux-6.1.0"),
            ),
            (
                "usr/lib/debug/.build-id/ab/cd.debug",
                Some(".build-id/ab/cd.debug"),
            ),
            ("usr/lib/debug/boot/System.map-6.1.0", None),
            ("usr/lib/debug", None),
            ("usr/lib/debugger/x", None),
            ("usr/share/doc/x/copyright", None),
        ] {
            assert_eq!(
                wanted(Path::new(path)),
                expected.map(PathBuf::from),
                "{path}"
            );
        }
    }

    #[test]
    fn folders_say_of_which_kernel_they_are() {
        let files = crate::layout::Files::Embedded(&[]);
        let layout = Layout::new("/w", files.clone(), files);
        let arch = crate::arch::find("x86_64").unwrap();
        let release = "6.12.118+deb13-amd64".parse::<Release>().unwrap();
        let one = goal(&layout, arch, &release, "6.12.118-1");
        assert_eq!(release_of(&one), Some(release.clone()));
        assert_ne!(one, goal(&layout, arch, &release, "6.12.118-2"));
        for name in [
            "distribution-6.1.0-56-amd64-0123456789ab",
            "debuginfo-6.1.0-56-amd64",
            "debuginfo-x-0123456789ab",
            ".debuginfo-6.1.0-0123456789ab.tmp-01234567",
        ] {
            assert_eq!(release_of(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn what_the_host_has_is_used_or_named() {
        let root = tempfile::tempdir().unwrap();
        let release = "6.1.0-56-amd64".parse::<Release>().unwrap();
        let error = of_host(root.path(), &release).unwrap_err();
        assert_eq!(exit_status(&error), 3);
        let shown = format!("{error:#}").replace(&root.path().display().to_string(), "");
        expect_test::expect![[r#"there is no debugging information of this host's kernel, 6.1.0-56-amd64, in /usr/lib/debug (install linux-image-6.1.0-56-amd64-dbg (Debian), linux-image-6.1.0-56-amd64-dbgsym (Ubuntu) or kernel-debuginfo (Fedora))"#]]
        .assert_eq(&shown);
        let debug = root.path().join("usr/lib/debug");
        for place in [
            "vmlinux-6.1.0-56-amd64",
            "lib/modules/6.1.0-56-amd64/vmlinux",
            "boot/vmlinux-6.1.0-56-amd64",
        ] {
            let path = debug.join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            assert_eq!(of_host(root.path(), &release).unwrap(), debug);
            assert_eq!(vmlinux(&debug, &release).unwrap(), path);
        }
    }
}
