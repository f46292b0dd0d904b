//! The kernels on this machine that [`crate::model::retention`] chooses among, and their removal.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::{disk, env::Env, lock, paths::Paths, temporary, time};
use crate::kernel::{distro, distro::companion, distro::folder, store};
use crate::model::retention::RetainedKernel;
use crate::model::{arch, package_name::PackageName};
use crate::supply::list::disk_usage;

/// An unpacked kernel, or a package file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneEntry {
    /// As [`crate::model::retention`] looks at it; always finished, because what is not has another
    /// name in the work directory.
    pub kernel: RetainedKernel,
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The unpacked kernels, those of distributions as well and their debugging information,
/// and the package files in the work directory. Directories that are named like kernels but
/// are none are left out, so that nothing is deleted that nobody understands.
pub fn entries(paths: &Paths) -> Result<Vec<PruneEntry>> {
    let mut found = Vec::new();
    for arch in arch::ARCHITECTURES {
        let mut kernels = store::kernels(paths, arch)?;
        kernels.extend(distro::survey(paths, arch)?.kernels);
        let named = |release, path| (PackageName { arch, release }, path);
        found.extend(
            kernels
                .into_iter()
                .map(|kernel| named(kernel.release, kernel.path)),
        );
        let companions = companion::survey(paths, arch)?.into_iter();
        found.extend(companions.map(|(release, path)| named(release, path)));
    }
    for path in disk::entries(&paths.packages())? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_file = path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file());
        if let Some(name) = PackageName::parse(&name).filter(|_| is_file) {
            found.push((name, path));
        }
    }
    let mut entries = Vec::<PruneEntry>::new();
    for (name, path) in found {
        let companion = folder::companion_release(&path).is_some();
        // Goes with its kernel, and by itself once that is gone.
        let orphaned = companion && entries.iter().all(|entry| entry.kernel.name != name);
        entries.push(PruneEntry {
            kernel: RetainedKernel {
                name,
                finished: !orphaned,
                distribution: companion || folder::kernel_key(&path).is_some(),
                created: match orphaned {
                    true => time::rfc3339(0),
                    false => String::new(),
                },
            },
            bytes: disk_usage(&path)?,
            path,
        });
    }
    Ok(entries)
}

/// Removes a kernel or a package file, which is whole or gone whenever this ends.
pub fn delete(env: &Env, name: &PackageName, path: &Path) -> Result<()> {
    let lock = folder::lock_name(path);
    let lock = lock.unwrap_or_else(|| store::lock_name(name.arch, &name.release));
    let _lock = lock::take(env, &lock)?;
    temporary::discard(path)?;
    env.ui.info(format!("removed {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::retention;

    fn unpacked(paths: &Paths, release: &str) -> PathBuf {
        let arch = arch::find("x86_64").unwrap();
        let path = store::kernel_path(paths, arch, &release.parse().unwrap());
        std::fs::create_dir_all(path.join("build/include/config")).unwrap();
        std::fs::write(path.join("vmlinuz"), "image").unwrap();
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(18, 0);
        elf.extend_from_slice(&62_u16.to_le_bytes());
        std::fs::write(path.join("build/vmlinux"), elf).unwrap();
        let name = path.join("build/include/config/kernel.release");
        std::fs::write(name, format!("{release}\n")).unwrap();
        path
    }

    #[test]
    fn kernels_and_packages_are_found_and_removed_and_the_rest_stays() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        assert!(entries(&env.paths).unwrap().is_empty());
        let kernel = unpacked(&env.paths, "6.1.9-vmtest1.1default");
        std::fs::create_dir(kernel.with_file_name("kernel-6.1.8-vmtest1.1default")).unwrap();
        let packages = env.paths.packages();
        std::fs::create_dir(&packages).unwrap();
        let package = packages.join("kernel-6.1.9-vmtest1.1default.x86_64.tar.zst");
        for name in ["notes.txt", "kernel-6.1.9.tar.zst"] {
            std::fs::write(packages.join(name), "").unwrap();
        }
        std::fs::write(&package, "x").unwrap();

        let found = entries(&env.paths).unwrap();
        let paths = found.iter().map(|entry| &entry.path).collect::<Vec<_>>();
        assert_eq!(paths, [&kernel, &package]);
        assert!(found.iter().all(|entry| entry.bytes > 0));
        for entry in &found {
            delete(&env, &entry.kernel.name, &entry.path).unwrap();
        }
        assert!(entries(&env.paths).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(&packages).unwrap().count(), 2);
        let left = std::fs::read_dir(kernel.parent().unwrap()).unwrap();
        let names = left
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>();
        assert_eq!(names, ["kernel-6.1.8-vmtest1.1default"]);
        assert!(delete(&env, &found[1].kernel.name, &found[1].path).is_err());
    }

    #[test]
    fn debugging_information_goes_with_its_kernel() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let folder = |name: &str| work.path().join("x86_64").join(name);
        for release in ["6.1.0-54-amd64", "6.1.0-56-amd64"] {
            let kernel = folder(&format!("distribution-{release}-0123456789ab"));
            std::fs::create_dir_all(kernel.join("modules")).unwrap();
            for name in ["vmlinuz", "modules/modules.dep"] {
                std::fs::write(kernel.join(name), "").unwrap();
            }
            let origin = format!(r#"{{"release":"{release}","arch":"x86_64","packages":[]}}"#);
            std::fs::write(kernel.join("origin.json"), origin).unwrap();
        }
        for release in ["6.1.0-54-amd64", "6.1.0-56-amd64", "6.1.0-58-amd64"] {
            let path = folder(&format!("debuginfo-{release}-0123456789ab"));
            std::fs::create_dir(path).unwrap();
        }
        let old = || {
            let entries = entries(&env.paths).unwrap();
            let kernels = entries.iter().map(|entry| entry.kernel.clone());
            let kernels = kernels.collect::<Vec<_>>();
            let keep = std::num::NonZeroUsize::MIN;
            let now = 1_800_000_000;
            let indices = retention::select(&kernels, keep, now).into_iter();
            let old = indices.map(|deletion| entries[deletion.index].clone());
            old.collect::<Vec<_>>()
        };
        // Whatever is not the newest kernel or its; what is newer still has no kernel.
        let found = old();
        let names = found.iter().map(|entry| entry.path.file_name().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        assert_eq!(
            names,
            [
                "debuginfo-6.1.0-54-amd64-0123456789ab",
                "debuginfo-6.1.0-58-amd64-0123456789ab",
                "distribution-6.1.0-54-amd64-0123456789ab",
            ]
        );
        for entry in &found {
            delete(&env, &entry.kernel.name, &entry.path).unwrap();
        }
        assert_eq!(old(), []);
        assert!(folder("debuginfo-6.1.0-56-amd64-0123456789ab").is_dir());
    }
}
