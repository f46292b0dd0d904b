//! Unpacked kernels and package files in the work directory.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::archive;
use crate::base::lock::{self, Lock};
use crate::base::{disk, env::Env, error::Failure, input, paths::Paths, temporary::Temporary};
use crate::model::arch::{self, Arch};
use crate::model::package_name::{self, PackageName};
use crate::model::{kernel::LocalKernel, kernel_request::newest_first, version::Release};

/// Where a kernel is, or would be, unpacked.
pub fn kernel_path(paths: &Paths, arch: &Arch, release: &Release) -> PathBuf {
    paths
        .kernels(arch.name)
        .join(package_name::directory_name(release))
}

/// Where a kernel's package file is, or would be.
pub fn package_path(paths: &Paths, arch: &'static Arch, release: &Release) -> PathBuf {
    let name = PackageName::new(arch, release).to_string();
    paths.packages().join(name)
}

/// What is below the kernels' directory of an architecture.
#[derive(Debug, Default)]
pub struct Survey {
    /// Kernels, the newest first.
    pub kernels: Vec<LocalKernel>,
    /// Directories that are named like kernels but are none, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
}

impl Survey {
    /// Opens what is `named` like a kernel. It must be called after what is in it.
    pub(super) fn of(
        paths: &Paths,
        arch: &'static Arch,
        named: impl Fn(&Path) -> bool,
        open: impl Fn(&Path) -> Result<LocalKernel>,
        name: impl Fn(&Path, &Release) -> String,
    ) -> Result<Self> {
        let mut survey = Self::default();
        for path in disk::entries(&paths.kernels(arch.name))? {
            if !named(&path) {
                continue;
            }
            let kernel = open(&path).and_then(|kernel| {
                if kernel.arch != arch {
                    bail!("it is for {}, not {}", kernel.arch.name, arch.name);
                }
                if !path.ends_with(name(&path, &kernel.release)) {
                    bail!("it holds the kernel {}", kernel.release);
                }
                Ok(kernel)
            });
            match kernel {
                Ok(kernel) => survey.kernels.push(kernel),
                Err(error) => survey.damaged.push((path, format!("{error:#}"))),
            }
        }
        survey.kernels.sort_by(newest_first);
        Ok(survey)
    }
}

/// Looks at all kernels of an architecture.
pub fn survey(paths: &Paths, arch: &'static Arch) -> Result<Survey> {
    let start = paths.kernels(arch.name).join("kernel-");
    let start = start.as_os_str().as_bytes();
    let named = |path: &Path| path.as_os_str().as_bytes().starts_with(start);
    let name = |_: &Path, release: &Release| package_name::directory_name(release);
    Survey::of(paths, arch, named, open, name)
}

/// The files that a directory lacks of those, for an error: `no a, no b`.
pub(super) fn missing<'n>(
    directory: &Path,
    files: impl IntoIterator<Item = &'n str>,
) -> Option<String> {
    let missing = files.into_iter();
    let missing = missing.filter(|name| !directory.join(name).is_file());
    let missing = missing.map(|name| format!("no {name}")).collect::<Vec<_>>();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// The kernels of an architecture on this machine, the newest first.
pub fn kernels(paths: &Paths, arch: &'static Arch) -> Result<Vec<LocalKernel>> {
    Ok(survey(paths, arch)?.kernels)
}

/// Opens an unpacked package, ours or drgn's, wherever it is. The release is
/// read from `build/include/config/kernel.release`, the architecture from the
/// ELF header of `build/vmlinux`.
pub fn open(path: &Path) -> Result<LocalKernel> {
    let wrong = |why: String| {
        Failure::usage(format!("{} {why}", path.display())).hint(
            "an unpacked kernel package has vmlinuz, build/vmlinux and \
             build/include/config/kernel.release",
        )
    };
    let exists = path.try_exists();
    if !exists.with_context(|| format!("cannot look at {}", path.display()))? {
        return Err(Failure::usage(format!("{} does not exist", path.display())).into());
    }
    if !path.is_dir() {
        return Err(wrong("is not a directory".to_owned()).into());
    }
    let release_path = "build/include/config/kernel.release";
    if let Some(missing) = missing(path, ["vmlinuz", "build/vmlinux", release_path]) {
        return Err(wrong(format!("is not an unpacked kernel: {missing}")).into());
    }
    let text = input::text(&path.join(release_path), input::SMALL)?;
    let release = text.trim().parse();
    let release =
        release.with_context(|| format!("{} is damaged", path.join(release_path).display()))?;
    let arch = elf_architecture(&path.join("build/vmlinux"))?;
    // VMs and make are started in other directories.
    let path =
        std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    Ok(LocalKernel::package(arch, release, &path))
}

/// The architecture that an ELF file is for.
pub(crate) fn elf_architecture(path: &Path) -> Result<&'static Arch> {
    let mut header = [0; 20];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut header))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let wrong = |why| Failure::usage(format!("{} {why}", path.display()));
    arch::of_elf(&header).map_err(|why| wrong(why).into())
}

/// What a package file of ours is called.
pub fn package_name(package: &Path) -> Result<PackageName, Failure> {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    PackageName::parse(&name).ok_or_else(|| {
        let message = format!("{} is not a kernel package", package.display());
        let hint = "packages are named kernel-RELEASE.ARCH.tar.zst, and those of distributions \
            begin as .deb and .rpm files do";
        Failure::usage(message).hint(hint)
    })
}

/// Unpacks a package file into the work directory, unless the kernel is there:
/// packages never change under one name. The name says what it is, and what is
/// in it must agree.
pub fn install(env: &Env, package: &Path) -> Result<LocalKernel> {
    let parsed = package_name(package)?;
    let vacancy = match vacancy(env, &parsed)? {
        StorePlace::Taken(kernel) => {
            env.ui
                .verbose(format!("{} is already unpacked", parsed.release));
            return Ok(kernel);
        }
        StorePlace::Vacant(vacancy) => vacancy,
    };
    let context = || format!("cannot open {}", package.display());
    let file = input::open(package).with_context(context)?;
    let limits = archive::UnpackLimits::of(file.metadata().with_context(context)?.len());
    let temporary = vacancy.temporary()?;
    let task = env.ui.task(format!("unpacking {}", package.display()));
    archive::unpack_into(file, temporary.path(), &limits)
        .with_context(|| format!("cannot unpack {}", package.display()))?;
    drop(task);
    vacancy.fill(temporary, &package.display().to_string())
}

/// Whether a kernel is in the work directory.
#[derive(Debug)]
pub enum StorePlace {
    Taken(LocalKernel),
    /// It is not there, and until this is dropped no other run will put it there.
    Vacant(Vacancy),
}

/// The place of a kernel that is not there yet, locked.
#[derive(Debug)]
pub struct Vacancy {
    name: PackageName,
    goal: PathBuf,
    _lock: Lock,
}

/// Looks whether a kernel is there, after waiting for another run that may be
/// about to put it there.
pub fn vacancy(env: &Env, name: &PackageName) -> Result<StorePlace> {
    let goal = kernel_path(&env.paths, name.arch, &name.release);
    let lock = lock::take(env, &lock_name(name.arch, &name.release))?;
    Ok(match open(&goal) {
        Ok(kernel) => StorePlace::Taken(kernel),
        Err(_) => StorePlace::Vacant(Vacancy {
            name: name.clone(),
            goal,
            _lock: lock,
        }),
    })
}

impl Vacancy {
    /// Where the package can be unpacked to.
    pub fn temporary(&self) -> Result<Temporary> {
        Temporary::directory(&self.goal)
    }

    /// Puts an unpacked package in its place. What is in it must be what its name
    /// says; `from` says in errors where it came from.
    pub fn fill(&self, temporary: Temporary, from: &str) -> Result<LocalKernel> {
        let kernel = open(temporary.path()).map_err(|error| {
            // The temporary name is gone when this is read.
            let place = temporary.path().display().to_string();
            let why = format!("{error:#}").replace(&format!("{place}/"), "");
            let why = why.replace(&place, "it");
            Failure::usage(format!("{from} is not a kernel package: {why}"))
        })?;
        if (kernel.arch, &kernel.release) != (self.name.arch, &self.name.release) {
            let (release, arch) = (&kernel.release, kernel.arch.name);
            let message = format!("{from} holds the kernel {release} for {arch}");
            return Err(Failure::usage(message).into());
        }
        temporary.persist()?;
        open(&self.goal)
    }
}

/// The name of the lock under which a kernel is put in place.
pub fn lock_name(arch: &Arch, release: &Release) -> String {
    format!("kernel-{release}.{}", arch.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that is a kernel.
    fn fake_kernel(path: &Path, release: &str, machine: u16) {
        std::fs::create_dir_all(path.join("build/include/config")).unwrap();
        std::fs::write(path.join("vmlinuz"), "image").unwrap();
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(18, 0);
        elf.extend_from_slice(&machine.to_le_bytes());
        std::fs::write(path.join("build/vmlinux"), elf).unwrap();
        let name = path.join("build/include/config/kernel.release");
        std::fs::write(name, format!("{release}\n")).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names = directory
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn kernels_are_opened_wherever_they_are() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("anything");
        fake_kernel(&path, "6.1.192-vmtest42.1default", 62);
        let kernel = open(&path).unwrap();
        assert_eq!(kernel.release.to_string(), "6.1.192-vmtest42.1default");
        assert_eq!(kernel.arch.name, "x86_64");
        assert_eq!(kernel.image, path.join("vmlinuz"));
    }

    #[test]
    fn what_is_no_kernel_is_a_usage_error_that_names_what_is_missing() {
        let work = tempfile::tempdir().unwrap();
        let message = |path: &Path| {
            let error = open(path).unwrap_err();
            assert_eq!(crate::base::error::exit_status(&error), 2, "{error:#}");
            format!("{error:#}").replace(&work.path().display().to_string(), "W")
        };
        let path = work.path().join("kernel");
        assert_eq!(message(&path), "W/kernel does not exist");
        std::fs::write(&path, "").unwrap();
        assert!(message(&path).starts_with("W/kernel is not a directory"));
        std::fs::remove_file(&path).unwrap();
        fake_kernel(&path, "6.1.0", 62);
        std::fs::remove_file(path.join("vmlinuz")).unwrap();
        std::fs::remove_file(path.join("build/vmlinux")).unwrap();
        assert!(
            message(&path)
                .starts_with("W/kernel is not an unpacked kernel: no vmlinuz, no build/vmlinux (")
        );
        fake_kernel(&path, "not a release", 62);
        assert!(message(&path).contains("kernel.release is damaged"));
        fake_kernel(&path, "6.1.0", 3);
        assert!(message(&path).ends_with("build/vmlinux is for i386, which is not supported"));
    }

    #[test]
    fn kernels_are_listed_newest_first_and_damaged_ones_apart() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let x86_64 = arch::find("x86_64").unwrap();
        assert!(kernels(&env.paths, x86_64).unwrap().is_empty());
        let directory = env.paths.kernels(x86_64.name);
        for release in [
            "6.9.1-vmtest1.1default",
            "6.10.2-vmtest1.0tiny",
            "6.10.2-vmtest1.1default",
            "5.4.1",
        ] {
            fake_kernel(&directory.join(format!("kernel-{release}")), release, 62);
        }
        fake_kernel(&directory.join("kernel-6.1.1"), "6.1.2", 62);
        std::fs::create_dir(directory.join("kernel-6.2.0")).unwrap();
        fake_kernel(&directory.join(".kernel-7.0.tmp-abc"), "7.0", 62);
        let survey = survey(&env.paths, x86_64).unwrap();
        let releases = survey
            .kernels
            .iter()
            .map(|kernel| kernel.release.to_string());
        assert_eq!(
            releases.collect::<Vec<_>>(),
            [
                "6.10.2-vmtest1.1default",
                "6.10.2-vmtest1.0tiny",
                "6.9.1-vmtest1.1default",
                "5.4.1"
            ]
        );
        assert_eq!(survey.damaged.len(), 2);
        assert_eq!(survey.damaged[0].1, "it holds the kernel 6.1.2");
        assert!(survey.damaged[1].1.contains("no vmlinuz"));
    }

    #[test]
    fn packages_are_installed_once_and_must_be_what_their_name_says() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let tree = work.path().join("tree");
        fake_kernel(&tree, "6.1.2-vmtest1.1default", 62);
        let pack = |name: &str| {
            let path = work.path().join(name);
            let file = File::create(&path).unwrap();
            archive::create(&tree, file, 1).unwrap();
            path
        };
        let package = pack("kernel-6.1.2-vmtest1.1default.x86_64.tar.zst");
        let kernel = install(&env, &package).unwrap();
        let x86_64 = arch::find("x86_64").unwrap();
        assert_eq!(
            kernel.path,
            kernel_path(&env.paths, x86_64, &kernel.release)
        );
        assert_eq!(
            kernels(&env.paths, x86_64).unwrap(),
            std::slice::from_ref(&kernel)
        );
        // The second time it is not even read.
        std::fs::write(&package, "not a package any more").unwrap();
        assert_eq!(install(&env, &package).unwrap(), kernel);

        for (name, expected) in [
            (
                "kernel-6.1.3.x86_64.tar.zst",
                "holds the kernel 6.1.2-vmtest1.1default",
            ),
            ("kernel.tar.zst", "is not a kernel package"),
        ] {
            let error = install(&env, &pack(name)).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        let damaged = work.path().join("kernel-6.1.4.x86_64.tar.zst");
        std::fs::write(&damaged, "damaged").unwrap();
        assert!(install(&env, &damaged).is_err());
        assert_eq!(
            names(&env.paths.kernels(x86_64.name)),
            ["kernel-6.1.2-vmtest1.1default"]
        );
    }
}
