//! Kernels on this machine, and how things get into the work directory.
//!
//! A thing in the work directory is complete or absent ([`Temporary`]). Two runs that want
//! to make the same thing wait for each other with [`lock`].

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::archive;
use crate::base::disk;
use crate::base::env::Env;
use crate::base::error::Failure;
use crate::base::input;
use crate::base::interrupt;
use crate::base::paths::Paths;
use crate::base::temporary;
pub use crate::base::temporary::Temporary;
use crate::kernel::build::progress::thousands;
use crate::model::arch::{self, Arch};
use crate::model::kernel::LocalKernel;
use crate::model::kernel_request::newest_first;
use crate::model::package_name::{self, PackageName};
use crate::model::version::Release;

/// A lock that other runs wait for. It ends when dropped, or with this process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of that name (letters, digits, `.`, `-`, `_`), waiting for
/// another run that holds it. Says so once; a signal ends the wait.
///
/// The file stays: removing it would let a third run lock a new file of the
/// same name while the second still waits on the old one.
pub fn lock(env: &Env, name: &str) -> Result<Lock> {
    let directory = env.paths.locks();
    create_directory(&directory)?;
    let path = directory.join(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open the lock {}", path.display()))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        if !said {
            said = true;
            env.ui.info(format!(
                "waiting for another run, which holds {}",
                path.display()
            ));
        }
        interrupt::sleep(interrupt::POLL)?;
    }
}

/// Removes what killed runs have left anywhere in the work directory. Every command does it
/// first; what cannot be read or removed stays for the next one.
pub fn sweep_all(paths: &Paths) {
    let mut folders = vec![
        paths.work().to_owned(),
        paths.packages(),
        paths.sources(),
        paths.builds(),
        paths.trees(),
        paths.projects(),
    ];
    folders.extend(arch::ARCHITECTURES.iter().map(|arch| paths.kernels(arch)));
    folders.extend(with_folders_below(paths.cache(), 1));
    folders.extend(with_folders_below(paths.logs(), 2));
    folders.extend(with_folders_below(paths.history(), 2));
    for folder in folders {
        let _ = temporary::sweep(&folder);
    }
}

/// Of a folder's folders that many are swept, the last by name, which are the newest
/// sessions: thousands would cost every command a tenth of a second.
const MOST_FOLDERS: usize = 100;

/// A folder and those in it, so many levels deep.
fn with_folders_below(folder: PathBuf, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if depth > 0 {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        // A link may lead anywhere.
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut folders = folders.map(|entry| entry.path()).collect::<Vec<_>>();
        folders.sort();
        for path in folders.into_iter().rev().take(MOST_FOLDERS) {
            found.extend(with_folders_below(path, depth - 1));
        }
    }
    found.push(folder);
    found
}

pub(crate) fn create_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Says before the work that there is no room for its result. A file system that does not
/// tell how much is free has enough.
///
/// # Errors
///
/// Less than `bytes` are free where `path` is.
pub fn require_space(path: &Path, bytes: u64) -> Result<()> {
    let Some(free) = disk::free(path) else {
        return Ok(());
    };
    if free >= bytes {
        return Ok(());
    }
    let mib = |bytes: u64| thousands(bytes.div_ceil(1 << 20));
    let message = format!(
        "no room in {}: {} MiB are free, {} MiB are needed",
        path.parent().unwrap_or(path).display(),
        mib(free),
        mib(bytes)
    );
    Err(Failure::setup(message)
        .hint("cargo xtask prune, or another --directory")
        .into())
}

/// What is in a directory, sorted; nothing if it is not there.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", directory.display());
    let entries = match directory.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let paths = entries.map(|entry| Ok(entry.with_context(context)?.path()));
    let mut paths = paths.collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Where a kernel is, or would be, unpacked.
pub fn kernel_path(paths: &Paths, arch: &Arch, release: &Release) -> PathBuf {
    paths
        .kernels(arch)
        .join(package_name::directory_name(release))
}

/// Where a kernel's package file is, or would be.
pub fn package_path(paths: &Paths, arch: &'static Arch, release: &Release) -> PathBuf {
    let name = PackageName {
        arch,
        release: release.clone(),
    };
    paths.packages().join(name.to_string())
}

/// What is below the kernels' directory of an architecture.
#[derive(Debug, Default)]
pub struct Survey {
    /// Kernels, the newest first.
    pub kernels: Vec<LocalKernel>,
    /// Directories that are named like kernels but are none, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
}

/// Looks at all kernels of an architecture.
pub fn survey(paths: &Paths, arch: &'static Arch) -> Result<Survey> {
    let mut survey = Survey::default();
    for path in entries(&paths.kernels(arch))? {
        let name = path.file_name().and_then(OsStr::to_str);
        let Some(release) = name.and_then(|name| name.strip_prefix("kernel-")) else {
            continue;
        };
        let kernel = open(&path).and_then(|kernel| {
            if kernel.arch != arch {
                bail!("it is for {}, not {}", kernel.arch.name, arch.name);
            }
            if kernel.release.to_string() != release {
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
    survey.damaged.sort();
    Ok(survey)
}

/// The kernels of an architecture on this machine, the newest first.
pub fn kernels(paths: &Paths, arch: &'static Arch) -> Result<Vec<LocalKernel>> {
    Ok(survey(paths, arch)?.kernels)
}

/// Opens an unpacked package, ours or drgn's, wherever it is. The release is
/// read from `build/include/config/kernel.release`, the architecture from the
/// ELF header of `build/vmlinux`.
///
/// # Errors
///
/// Usage errors that name what is missing.
pub fn open(path: &Path) -> Result<LocalKernel> {
    let wrong = |why: String| {
        Failure::usage(format!("{} {why}", path.display())).hint(
            "an unpacked kernel package has vmlinuz, build/vmlinux and \
             build/include/config/kernel.release",
        )
    };
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(wrong("is not a directory".to_owned()).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::usage(format!("{} does not exist", path.display())).into());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {}", path.display()));
        }
    }
    let release_path = "build/include/config/kernel.release";
    let missing = ["vmlinuz", "build/vmlinux", release_path]
        .into_iter()
        .filter(|name| !path.join(name).is_file())
        .collect::<Vec<_>>();
    if !missing.is_empty() {
        let why = format!("is not an unpacked kernel: no {}", missing.join(", no "));
        return Err(wrong(why).into());
    }
    let text = input::text(&path.join(release_path), input::SMALL)
        .with_context(|| format!("cannot read {}", path.join(release_path).display()))?;
    let release = text
        .trim()
        .parse::<Release>()
        .with_context(|| format!("{} is damaged", path.join(release_path).display()))?;
    let arch = elf_architecture(&path.join("build/vmlinux"))?;
    // VMs and make are started in other directories.
    let path =
        std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    Ok(LocalKernel::package(arch, release, &path))
}

/// The architecture that an ELF file is for, from its header: byte 4 is the
/// class (1: 32 bits, 2: 64), byte 5 the byte order (1: little, 2: big), bytes 18
/// and 19 the machine (elf(5), `<elf.h>` `EM_*`).
pub(crate) fn elf_architecture(path: &Path) -> Result<&'static Arch> {
    let mut header = [0; 20];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut header))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let machine = match header[5] {
        2 => u16::from_be_bytes([header[18], header[19]]),
        _ => u16::from_le_bytes([header[18], header[19]]),
    };
    let name = match (&header[..4], machine, header[4]) {
        (b"\x7fELF", 62, 2) => "x86_64",
        (b"\x7fELF", 183, 2) => "aarch64",
        (b"\x7fELF", 40, 1) => "arm",
        (b"\x7fELF", 21, 2) => "ppc64",
        (b"\x7fELF", 22, 2) => "s390x",
        (b"\x7fELF", 243, 2) => "riscv64",
        (b"\x7fELF", ..) => bail!("{} is for ELF machine {machine}", path.display()),
        _ => bail!("{} is not an ELF file", path.display()),
    };
    match arch::find(name) {
        Some(arch) => Ok(arch),
        None => Err(Failure::usage(format!(
            "{} is for {name}, which is not supported",
            path.display()
        ))
        .into()),
    }
}

/// Unpacks a package file into the work directory, unless the kernel is there:
/// packages never change under one name. The name says what it is, and what is
/// in it must agree.
pub fn install(env: &Env, package: &Path) -> Result<LocalKernel> {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let Some(parsed) = PackageName::parse(&name) else {
        return Err(
            Failure::usage(format!("{} is not a kernel package", package.display()))
                .hint(
                    "packages are named kernel-RELEASE.ARCH.tar.zst, and those of distributions \
                     begin as .deb and .rpm files do",
                )
                .into(),
        );
    };
    let vacancy = match vacancy(env, &parsed)? {
        Place::Taken(kernel) => {
            env.ui
                .verbose(format!("{} is already unpacked", parsed.release));
            return Ok(kernel);
        }
        Place::Vacant(vacancy) => vacancy,
    };
    let context = || format!("cannot open {}", package.display());
    let file = input::open(package).with_context(context)?;
    let limits = archive::Limits::of(file.metadata().with_context(context)?.len());
    let temporary = vacancy.temporary()?;
    let task = env.ui.task(format!("unpacking {}", package.display()));
    archive::unpack_into(file, temporary.path(), &limits)
        .with_context(|| format!("cannot unpack {}", package.display()))?;
    drop(task);
    vacancy.fill(temporary, &package.display().to_string())
}

/// Whether a kernel is in the work directory.
#[derive(Debug)]
pub enum Place {
    /// It is.
    Taken(LocalKernel),
    /// It is not, and until this is dropped no other run will put it there.
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
pub fn vacancy(env: &Env, name: &PackageName) -> Result<Place> {
    let goal = kernel_path(&env.paths, name.arch, &name.release);
    let lock = lock(env, &lock_name(name.arch, &name.release))?;
    Ok(match open(&goal) {
        Ok(kernel) => Place::Taken(kernel),
        Err(_) => Place::Vacant(Vacancy {
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
    ///
    /// # Errors
    ///
    /// Usage errors for a package of something else.
    pub fn fill(&self, temporary: Temporary, from: &str) -> Result<LocalKernel> {
        let kernel = open(temporary.path()).map_err(|error| {
            // The temporary name is gone when this is read.
            let place = temporary.path().display().to_string();
            let why = format!("{error:#}").replace(&format!("{place}/"), "");
            let why = why.replace(&place, "it");
            Failure::usage(format!("{from} is not a kernel package: {why}"))
        })?;
        if (kernel.arch, &kernel.release) != (self.name.arch, &self.name.release) {
            return Err(Failure::usage(format!(
                "{from} holds the kernel {} for {}",
                kernel.release, kernel.arch.name
            ))
            .into());
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
    use std::time::{Duration, Instant};

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
        fake_kernel(&path, "6.1.0", 22);
        assert!(message(&path).ends_with("build/vmlinux is for s390x, which is not supported"));
    }

    #[test]
    fn kernels_are_listed_newest_first_and_damaged_ones_apart() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let x86_64 = arch::find("x86_64").unwrap();
        assert!(kernels(&env.paths, x86_64).unwrap().is_empty());
        let directory = env.paths.kernels(x86_64);
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

    /// Wherever a thing is made in the work directory, what a killed run left of it goes.
    #[test]
    fn the_whole_work_directory_is_swept() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let folders = [
            "",
            "packages",
            "src",
            "build",
            "trees",
            "projects",
            "x86_64",
            "cache",
            "cache/modules",
            "cache/github",
            "log",
            "log/20261129-144100-abc",
            "log/20261129-144100-abc/20261129-144101-def",
            "history/project/x86_64",
        ];
        let left = folders.map(|folder| {
            let folder = work.path().join(folder);
            let path = folder.join(temporary::signed(".goal.tmp-").unwrap());
            std::fs::create_dir_all(&path).unwrap();
            path
        });
        sweep_all(&env.paths);
        assert_eq!(left.iter().filter(|path| path.exists()).count(), 0);
        assert!(
            folders
                .iter()
                .all(|folder| work.path().join(folder).is_dir())
        );
    }

    #[test]
    fn room_is_asked_for_before_the_work() {
        let work = tempfile::tempdir().unwrap();
        require_space(work.path(), 0).unwrap();
        let error = require_space(work.path(), u64::MAX).unwrap_err();
        assert_eq!(crate::base::error::exit_status(&error), 3);
        let text = format!("{error:#}");
        assert!(text.contains("17,592,186,044,416 MiB are needed"), "{text}");
        require_space(&work.path().join("absent"), u64::MAX).unwrap();
    }

    #[test]
    fn a_lock_is_waited_for() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let first = lock(&env, "x").unwrap();
        let _other = lock(&env, "y").unwrap();
        let start = Instant::now();
        let pause = Duration::from_millis(200);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(pause);
                drop(first);
            });
            let _second = lock(&env, "x").unwrap();
        });
        assert!(start.elapsed() >= pause);
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
            names(&env.paths.kernels(x86_64)),
            ["kernel-6.1.2-vmtest1.1default"]
        );
    }
}
