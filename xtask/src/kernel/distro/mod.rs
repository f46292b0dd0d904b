//! Kernels as distributions package them: from their package files to a folder of the
//! work directory that can be booted.
//!
//! Such a folder is called `distribution-<release>-<key>`, because a release says less
//! than with our own kernels: Debian keeps it for several versions of a package. The key
//! is made from the package files. In the folder are `vmlinuz`, `modules/` (what becomes
//! `/lib/modules/<release>` in the guest), `config` if the packages have it, and
//! `origin.json`.

pub mod companion;
pub mod debian;
pub mod debuginfo;
pub mod folder;
pub mod headers;
pub mod host;
mod install;
pub mod package;

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::{error::Failure, input, paths::Paths};
use crate::kernel::store::{self, Survey};
use crate::model::arch::{self, Arch};
use crate::model::kernel::{self, LocalKernel};
use crate::model::version::Release;

pub use install::{arch_of, install};

/// In a folder: what the kernel is and where it came from.
pub const FILE_NAME: &str = "origin.json";
const IMAGE: &str = "vmlinuz";
const CONFIG: &str = "config";
const MODULES: &str = "modules";

/// The contents of `origin.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DistroOrigin {
    /// What `uname -r` prints.
    pub release: String,
    /// Our name of the architecture.
    pub arch: String,
    /// The packages that it was unpacked from.
    pub packages: Vec<PackageOrigin>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageOrigin {
    /// E.g. `linux-image-6.1.0-56-amd64`.
    pub name: String,
    /// Of the package, e.g. `6.1.160-1`.
    pub version: String,
    /// Of the file.
    pub sha256: String,
}

impl DistroOrigin {
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        let text = input::bytes(&path, input::SMALL)?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// The kernel that was installed from package files with that [`folder::key`].
pub fn find(paths: &Paths, arch: &'static Arch, key: &str) -> Result<Option<LocalKernel>> {
    // One that is damaged is made again.
    let mut kernels = survey(paths, arch)?.kernels.into_iter();
    Ok(kernels.find(|kernel| folder::kernel_key(&kernel.path) == Some(key)))
}

/// Whether a directory is such a folder, whole or damaged.
pub fn is_folder(path: &Path) -> bool {
    path.join(FILE_NAME).is_file() || (path.is_dir() && folder::kernel_key(path).is_some())
}

/// Opens a folder.
pub fn open(path: &Path) -> Result<LocalKernel> {
    // VMs and make are started in other directories.
    let path =
        std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let list = format!("{MODULES}/modules.dep");
    if let Some(missing) = store::missing(&path, [FILE_NAME, IMAGE, &list]) {
        let message = format!(
            "{} is not an unpacked kernel of a distribution: {missing}",
            path.display()
        );
        return Err(Failure::usage(message)
            .hint("delete it, and give the package files again")
            .into());
    }
    let origin = DistroOrigin::read(&path)?;
    let damaged = || format!("{} is damaged", path.join(FILE_NAME).display());
    let release = origin.release.parse().with_context(damaged)?;
    let arch = arch::find(&origin.arch).with_context(damaged)?;
    let config = path.join(CONFIG);
    Ok(LocalKernel {
        arch,
        release,
        origin: kernel::Origin::Distribution,
        image: path.join(IMAGE),
        modules: path.join(MODULES),
        config: config.is_file().then_some(config),
        vmlinux: None,
        build: None,
        debuginfo: None,
        path,
    })
}

/// The kernels of distributions in the work directory, and what is called like one and is
/// none.
pub fn survey(paths: &Paths, arch: &'static Arch) -> Result<Survey> {
    let named = |path: &Path| folder::kernel_key(path).is_some() && path.is_dir();
    let name = |path: &Path, release: &Release| {
        folder::name(
            folder::KERNEL,
            release,
            folder::kernel_key(path).unwrap_or_default(),
        )
    };
    Survey::of(paths, arch, named, open, name)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::base::env::Env;

    fn folder(work: &Path, release: &str, key: &str) -> PathBuf {
        let path = work
            .join("x86_64")
            .join(format!("distribution-{release}-{key}"));
        std::fs::create_dir_all(path.join(MODULES)).unwrap();
        for name in [IMAGE, "modules/modules.dep"] {
            std::fs::write(path.join(name), "").unwrap();
        }
        let origin = DistroOrigin {
            release: release.to_owned(),
            arch: "x86_64".to_owned(),
            packages: Vec::new(),
        };
        let text = serde_json::to_string(&origin).unwrap();
        std::fs::write(path.join(FILE_NAME), text).unwrap();
        path
    }

    #[test]
    fn kernels_of_distributions_are_found_and_damaged_ones_are_not() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let arch = arch::find("x86_64").unwrap();
        assert!(survey(&env.paths, arch).unwrap().kernels.is_empty());
        let (one, two, three) = ("0123456789ab", "0123456789ac", "0123456789ad");
        let old = folder(work.path(), "6.1.0-48-amd64", one);
        folder(work.path(), "6.15.3-200.fc42.x86_64", two);
        let damaged = folder(work.path(), "6.12.118+deb13-amd64", three);
        let moved = damaged.with_file_name("distribution-6.13.0-0123456789ae");
        std::fs::rename(&old, &moved).unwrap();
        std::fs::create_dir(damaged.with_file_name("kernel-6.1.0")).unwrap();
        std::fs::remove_file(damaged.join(IMAGE)).unwrap();

        let found = survey(&env.paths, arch).unwrap();
        let releases = found
            .kernels
            .iter()
            .map(|kernel| kernel.release.to_string());
        assert_eq!(releases.collect::<Vec<_>>(), ["6.15.3-200.fc42.x86_64"]);
        let reasons = found.damaged.iter().map(|(_, reason)| reason.as_str());
        let reasons = reasons.collect::<Vec<_>>();
        assert!(
            reasons[0].contains(": no vmlinuz (delete it"),
            "{reasons:?}"
        );
        assert_eq!(reasons[1], "it holds the kernel 6.1.0-48-amd64");
        assert!(find(&env.paths, arch, two).unwrap().is_some());
        assert_eq!(find(&env.paths, arch, three).unwrap(), None);

        std::fs::rename(&moved, &old).unwrap();
        let kernel = find(&env.paths, arch, one).unwrap().unwrap();
        assert_eq!(kernel.path, old);
        assert_eq!(kernel.origin, kernel::Origin::Distribution);
        assert_eq!((&kernel.config, &kernel.vmlinux), (&None, &None));
        std::fs::write(old.join(CONFIG), "").unwrap();
        assert_eq!(open(&old).unwrap().config, Some(old.join(CONFIG)));
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_one_error() {
        let work = tempfile::tempdir().unwrap();
        let path = folder(work.path(), "6.1.0-48-amd64", "0123456789ab");
        let error = |path: &Path| format!("{:#}", open(path).unwrap_err());
        for (text, expected) in [
            ("{", "origin.json is damaged"),
            ("{}", "origin.json is damaged"),
            (
                r#"{"release":"../x","arch":"x86_64","packages":[]}"#,
                "is damaged",
            ),
            (
                r#"{"release":"6.1.0","arch":"pdp11","packages":[]}"#,
                "is damaged",
            ),
        ] {
            std::fs::write(path.join(FILE_NAME), text).unwrap();
            assert!(error(&path).contains(expected), "{}", error(&path));
        }
        assert!(is_folder(&path));
        std::fs::remove_file(path.join("modules/modules.dep")).unwrap();
        std::fs::remove_file(path.join(FILE_NAME)).unwrap();
        assert!(error(&path).contains("no origin.json, no modules/modules.dep"));
        assert!(is_folder(&path));
        assert!(!is_folder(work.path()));
    }
}
