//! A package file of a distribution, of whichever format: what it is, and the part of it
//! that is a kernel.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::deb::{self, Deb};
use crate::archive::rpm::{self, Rpm};
use crate::archive::{Choose, PackageInfo, Tree, UnpackLimits};
use crate::base::{disk, env::Env, error::Failure, format::thousands};
use crate::base::{input, interrupt, sha256::Sha256};
use crate::model::arch::{self, Arch};

#[derive(Debug)]
pub struct PackageFile {
    pub path: PathBuf,
    pub info: PackageInfo,
    contents: PackageContents,
}

#[derive(Debug)]
enum PackageContents {
    Deb(Deb),
    Rpm(Rpm),
}

/// Whether a file begins as packages of a distribution do, whatever it is called.
pub fn is_package(path: &Path) -> Result<bool> {
    let start = input::beginning(path, 8)?;
    Ok(start.starts_with(deb::MAGIC) || start.starts_with(rpm::MAGIC))
}

/// The package files that a path stands for, sorted: a file that is one, or all that are
/// in a directory, which is how a kernel is given that comes in several. Empty if it is
/// something else.
pub fn packages_at(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = if path.is_dir() {
        disk::entries(path)?
    } else {
        vec![path.to_owned()]
    };
    if path.is_dir() {
        // Not every file of a large directory is opened.
        files.retain(|file| {
            file.extension()
                .is_some_and(|end| end == "deb" || end == "rpm")
        });
    }
    let mut packages = Vec::new();
    for file in files {
        if file.is_file() && is_package(&file)? {
            packages.push(file);
        }
    }
    Ok(packages)
}

/// More than any package has, in bytes: those with debugging information have 1 GB.
const PACKAGE_MAX: u64 = 16 << 30;

impl PackageFile {
    /// Reads a package file up to its files.
    pub fn open(path: &Path) -> Result<Self> {
        let context = || format!("cannot read the package {}", path.display());
        let size = path.metadata().with_context(context)?.len();
        if size > PACKAGE_MAX {
            let message = format!("{} has {size} bytes, more than any package", path.display());
            return Err(Failure::usage(message).into());
        }
        let start = input::beginning(path, 8)?;
        let file = input::open(path).with_context(context)?;
        let (info, contents) = if start.starts_with(deb::MAGIC) {
            let deb = Deb::open(file).with_context(context)?;
            (deb.info.clone(), PackageContents::Deb(deb))
        } else if start.starts_with(rpm::MAGIC) {
            let rpm = Rpm::open(file).with_context(context)?;
            (rpm.info.clone(), PackageContents::Rpm(rpm))
        } else {
            let message = format!("{} is not a package of a distribution", path.display());
            return Err(Failure::usage(message)
                .hint("it begins neither as .deb nor as .rpm files do")
                .into());
        };
        Ok(Self {
            path: path.to_owned(),
            info,
            contents,
        })
    }

    /// For which architecture it is; `None` if for any.
    pub fn arch(&self) -> Result<Option<&'static Arch>> {
        let name = self.info.architecture.as_str();
        let found = match &self.contents {
            PackageContents::Deb(_) if name == "all" => return Ok(None),
            PackageContents::Rpm(_) if name == "noarch" => return Ok(None),
            PackageContents::Deb(_) => arch::ARCHITECTURES.iter().find(|arch| arch.debian == name),
            PackageContents::Rpm(_) => arch::find(name),
        };
        let unsupported = || {
            let path = self.path.display();
            Failure::usage(format!("{path} is for {name}, which is not supported"))
        };
        Ok(Some(found.ok_or_else(unsupported)?))
    }

    /// Unpacks what is chosen of it.
    pub fn unpack(
        &mut self,
        env: &Env,
        tree: &mut Tree,
        limits: &UnpackLimits,
        choose: Choose,
    ) -> Result<()> {
        let title = format!("unpacking {} {}", self.info.name, self.info.version);
        let task = RefCell::new(env.ui.task(title));
        let files = Cell::new(0);
        let counted = |path: &Path| {
            let goal = choose(path)?;
            files.set(files.get() + 1);
            let progress = format!("{} files", thousands(files.get()));
            task.borrow_mut().update(progress);
            Some(goal)
        };
        match &mut self.contents {
            PackageContents::Deb(deb) => deb.unpack(tree, limits, &counted),
            PackageContents::Rpm(rpm) => rpm.unpack(tree, limits, &counted),
        }
        .with_context(|| format!("cannot unpack {}", self.path.display()))
    }

    /// SHA-256 of the file.
    pub fn checksum(&self) -> Result<String> {
        let context = || format!("cannot read the package {}", self.path.display());
        let mut file = input::open(&self.path).with_context(context)?;
        let mut hash = Sha256::default();
        let mut buffer = vec![0; 256 << 10];
        loop {
            interrupt::check()?;
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hash.finish()),
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(context),
            }
        }
    }
}

/// What the names of images begin with below `boot`; an architecture whose image is not compressed
/// has the second.
pub const IMAGES: [&str; 2] = ["vmlinuz-", "vmlinux-"];

/// Where a file of a package is unpacked to: `boot/vmlinuz-*`, `boot/config-*`, and
/// `lib/modules/<release>/**`, which many distributions have moved below `usr`. Nothing
/// else is.
pub fn place(path: &Path) -> Option<PathBuf> {
    let path = path.strip_prefix("usr").unwrap_or(path);
    let mut parts = path.components().map(Component::as_os_str);
    let (first, second) = (parts.next()?, parts.next()?);
    let more = parts.next().is_some();
    let wanted = match (first.to_str()?, second.to_str()?) {
        ("boot", name) => {
            let mut starts = IMAGES.iter().chain(&["config-"]);
            !more && starts.any(|start| name.starts_with(start))
        }
        ("lib", "modules") => more,
        _ => false,
    };
    wanted.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{deb, rpm};

    #[test]
    fn only_kernels_are_unpacked() {
        for (path, expected) in [
            (
                "boot/vmlinuz-6.1.0-56-amd64",
                Some("boot/vmlinuz-6.1.0-56-amd64"),
            ),
            ("boot/config-6.1.0", Some("boot/config-6.1.0")),
            ("boot/vmlinux-6.1.0", Some("boot/vmlinux-6.1.0")),
            ("boot/System.map-6.1.0", None),
            ("boot/vmlinuz-6.1.0/x", None),
            ("boot", None),
            ("", None),
            ("lib/modules", None),
            ("lib/modules/6.1.0", Some("lib/modules/6.1.0")),
            (
                "usr/lib/modules/6.1.0/vmlinuz",
                Some("lib/modules/6.1.0/vmlinuz"),
            ),
            ("usr/lib/debug/boot/vmlinux-6.1.0", None),
            ("usr/usr/lib/modules/6.1.0", None),
            ("usr/share/doc/linux/copyright", None),
            ("etc/passwd", None),
        ] {
            let found = place(Path::new(path));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{path}");
        }
    }

    #[test]
    fn packages_are_known_by_their_contents() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let control = "Package: linux-image-amd64\nVersion: 1\nArchitecture: i386\n\
                       Depends: linux-image-6 (= 1), kmod";
        let deb = write("b.rpm", &deb::tests::package(control, &[]));
        let rpm = write("a.deb", &rpm::tests::package("kernel", "noarch", &[]));
        let file = write("a.txt", &deb::tests::package(control, &[]));
        write("c.deb", b"");
        assert_eq!(
            packages_at(directory.path()).unwrap(),
            [rpm.clone(), deb.clone()]
        );
        assert_eq!(packages_at(&file).unwrap(), std::slice::from_ref(&file));
        assert!(
            packages_at(&directory.path().join("none"))
                .unwrap()
                .is_empty()
        );
        assert!(
            packages_at(&directory.path().join("c.deb"))
                .unwrap()
                .is_empty()
        );

        let found = PackageFile::open(&deb).unwrap();
        assert_eq!(
            (found.info.name.as_str(), found.info.version.as_str()),
            ("linux-image-amd64", "1")
        );
        assert_eq!(found.info.dependencies, ["linux-image-6", "kmod"]);
        assert_eq!(
            found.checksum().unwrap(),
            Sha256::of(std::fs::read(&deb).unwrap())
        );
        let error = format!("{:#}", found.arch().unwrap_err());
        assert!(
            error.ends_with("b.rpm is for i386, which is not supported"),
            "{error}"
        );
        let found = PackageFile::open(&rpm).unwrap();
        assert_eq!(found.arch().unwrap(), None);
        assert_eq!(found.info.dependencies, ["kernel-core-uname-r"]);

        let error = PackageFile::open(&write("x", b"!<arch>")).unwrap_err();
        assert_eq!(crate::base::error::exit_status(&error), 2);
        let error = PackageFile::open(&write("y", deb::MAGIC)).unwrap_err();
        assert!(
            format!("{error:#}").contains("damaged: it ends too early"),
            "{error:#}"
        );
        let error = PackageFile::open(&write("z", rpm::MAGIC)).unwrap_err();
        assert!(
            format!("{error:#}").contains("damaged: it ends too early"),
            "{error:#}"
        );
    }
}
