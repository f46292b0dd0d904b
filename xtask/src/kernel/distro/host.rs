//! The kernel that this host runs: `-k host`.
//!
//! Where distributions have the files of a kernel: Debian, Ubuntu and SUSE the image in
//! `/boot/vmlinuz-<release>`; Fedora there and in `/lib/modules/<release>/vmlinuz`, which
//! is all that systemd's kernel-install(8) asks for; Gentoo's installkernel(8) in
//! `/boot/kernel-<release>`. Nothing is copied: the guest gets the host's files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::compression;
use crate::base::{disk, error::Failure, input, paths::Paths, temporary::Temporary};
use crate::model::kernel::{LocalKernel, Origin};
use crate::model::{arch::Arch, version::Release};

/// Bytes of a kernel's configuration, at most: those of distributions have 300,000.
const CONFIG_MAX: u64 = 16 << 20;

/// Folders of modules; where /usr is merged they are one.
const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// The release of the running kernel.
pub fn running() -> Result<Release> {
    let name = rustix::system::uname();
    let text = name.release().to_string_lossy();
    let context = || format!("cannot read the release of the running kernel, {text:?}");
    text.parse::<Release>().with_context(context)
}

/// The kernel of a release among the files of a host, which are below `root`.
pub fn open(
    root: &Path,
    release: &Release,
    arch: &'static Arch,
    paths: &Paths,
) -> Result<LocalKernel> {
    let image = image(root, release)?;
    let modules = modules(root, release)?;
    // Of the package with headers, if that is installed.
    let build = modules.join("build");
    Ok(LocalKernel {
        arch,
        release: release.clone(),
        origin: Origin::Host,
        path: modules.clone(),
        image,
        modules,
        config: config(root, release, paths)?,
        vmlinux: None,
        build: build.join("Makefile").is_file().then_some(build),
        debuginfo: None,
    })
}

fn modules(root: &Path, release: &Release) -> Result<PathBuf> {
    let places = MODULES.map(|folder| root.join(folder).join(release.to_string()));
    let modules = places.iter().find(|path| path.is_dir());
    let modules = modules.ok_or_else(|| missing("no folder of modules", release, &places))?;
    let list = modules.join("modules.dep");
    if !list.is_file() {
        let message = format!("there is no {}", list.display());
        let hint = format!("depmod {release}, as root, makes it");
        return Err(Failure::setup(message).hint(hint).into());
    }
    Ok(modules.clone())
}

fn image(root: &Path, release: &Release) -> Result<PathBuf> {
    let places = [
        format!("boot/vmlinuz-{release}"),
        format!("lib/modules/{release}/vmlinuz"),
        format!("usr/lib/modules/{release}/vmlinuz"),
        format!("boot/kernel-{release}"),
        format!("boot/vmlinux-{release}"),
        format!("boot/bzImage-{release}"),
    ];
    let places = places.map(|place| root.join(place));
    let mut unreadable = None;
    for path in &places {
        match File::open(path) {
            Ok(_) if path.is_file() => return Ok(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unreadable = unreadable.or(Some(path.display()));
            }
            _ => {}
        }
    }
    // Ubuntu's are for root alone.
    let failure = unreadable.map(|path| {
        let why = "the kernel that this host runs, cannot be read by this user";
        Failure::setup(format!("{path}, {why}")).hint(format!(
            "sudo chmod a+r {path}, or use a kernel from elsewhere: -k debian"
        ))
    });
    Err(failure
        .unwrap_or_else(|| missing("no image", release, &places))
        .into())
}

/// The error for what is in no place, as in containers and in VMs whose kernel their host
/// has.
fn missing(what: &str, release: &Release, places: &[PathBuf]) -> Failure {
    let places = places.iter().map(|path| path.display().to_string());
    let places = places.collect::<Vec<_>>().join(", ");
    Failure::setup(format!(
        "this host runs the kernel {release}, of which {what} is here: looked for {places}"
    ))
    .hint(
        "a container has no kernel of its own: use -k debian there; elsewhere install the \
        kernel's package, or boot the one that replaced it",
    )
}

/// The configuration, if it is anywhere. What the kernel itself tells is compressed, and
/// becomes a file of the work directory.
fn config(root: &Path, release: &Release, paths: &Paths) -> Result<Option<PathBuf>> {
    let places = [
        format!("boot/config-{release}"),
        format!("lib/modules/{release}/config"),
        format!("usr/lib/modules/{release}/config"),
    ];
    let mut places = places.into_iter().map(|place| root.join(place));
    // One that only root can read is as good as none: the kernel boots without.
    if let Some(path) = places.find(|path| path.is_file() && File::open(path).is_ok()) {
        return Ok(Some(path));
    }
    let source = root.join("proc/config.gz");
    let Ok(bytes) = input::bytes(&source, input::TEXT) else {
        return Ok(None);
    };
    let text = compression::decompress(&bytes, CONFIG_MAX)
        .with_context(|| format!("cannot read {}", source.display()))?;
    let goal = paths.cache().join(format!("host/config-{release}"));
    // Always anew: another kernel may have had the same release.
    let kept = Temporary::file(&goal).and_then(|temporary| {
        disk::write(temporary.path(), text)?;
        temporary.persist()
    });
    // One that cannot be kept is as good as none, too.
    Ok(kept.is_ok().then_some(goal))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::{error::exit_status, paths::Files};

    struct Host {
        directory: tempfile::TempDir,
        release: Release,
    }

    impl Host {
        fn new(files: &[&str]) -> Self {
            let host = Self {
                directory: tempfile::tempdir().unwrap(),
                release: "6.1.0-56-amd64".parse().unwrap(),
            };
            for name in files {
                host.write(name, b"x");
            }
            host
        }

        fn root(&self) -> PathBuf {
            self.directory.path().join("host")
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            let path = self.root().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        fn open(&self) -> Result<LocalKernel> {
            let none = Files::Embedded(&[]);
            let work = self.directory.path().join("kept");
            let paths = Paths::new(work, none.clone(), none);
            let arch = crate::model::arch::find("x86_64").unwrap();
            open(&self.root(), &self.release, arch, &paths)
        }

        fn text(&self, path: &Path) -> String {
            let path = path.display().to_string();
            path.replace(&self.directory.path().display().to_string(), "")
        }

        /// Image, modules and configuration, or the error.
        fn found(&self) -> String {
            match self.open() {
                Ok(kernel) => {
                    let config = kernel.config.as_deref().map(|path| self.text(path));
                    format!(
                        "{} {} {}",
                        self.text(&kernel.image),
                        self.text(&kernel.modules),
                        config.unwrap_or_else(|| "-".to_owned())
                    )
                }
                Err(error) => {
                    assert_eq!(exit_status(&error), 3);
                    self.text(Path::new(&format!("{error:#}")))
                }
            }
        }
    }

    const R: &str = "6.1.0-56-amd64";

    #[test]
    fn the_files_of_a_kernel_are_found_where_distributions_have_them() {
        let lib = format!("lib/modules/{R}");
        let list = format!("{lib}/modules.dep");
        let usr = format!("usr/lib/modules/{R}/modules.dep");
        let of = |files: &[&str]| Host::new(files).found() + "\n";
        let lines = [
            of(&[
                &list,
                &format!("boot/vmlinuz-{R}"),
                &format!("boot/config-{R}"),
            ]),
            of(&[&list, &format!("{lib}/vmlinuz"), &format!("{lib}/config")]),
            of(&[&usr, &format!("boot/kernel-{R}")]),
            of(&[
                &usr,
                &format!("usr/lib/modules/{R}/vmlinuz"),
                &format!("boot/vmlinuz-{R}"),
            ]),
            of(&[]),
            of(&[&format!("boot/vmlinuz-{R}")]),
            of(&[&format!("{lib}/kernel/a.ko"), &format!("boot/vmlinuz-{R}")]),
            of(&[&list, "boot/vmlinuz-6.1.0-55-amd64"]),
        ];
        expect_test::expect![[r#"
            /host/boot/vmlinuz-6.1.0-56-amd64 /host/lib/modules/6.1.0-56-amd64 /host/boot/config-6.1.0-56-amd64
            /host/lib/modules/6.1.0-56-amd64/vmlinuz /host/lib/modules/6.1.0-56-amd64 /host/lib/modules/6.1.0-56-amd64/config
            /host/boot/kernel-6.1.0-56-amd64 /host/usr/lib/modules/6.1.0-56-amd64 -
            /host/boot/vmlinuz-6.1.0-56-amd64 /host/usr/lib/modules/6.1.0-56-amd64 -
            this host runs the kernel 6.1.0-56-amd64, of which no image is here: looked for /host/boot/vmlinuz-6.1.0-56-amd64, /host/lib/modules/6.1.0-56-amd64/vmlinuz, /host/usr/lib/modules/6.1.0-56-amd64/vmlinuz, /host/boot/kernel-6.1.0-56-amd64, /host/boot/vmlinux-6.1.0-56-amd64, /host/boot/bzImage-6.1.0-56-amd64 (a container has no kernel of its own: use -k debian there; elsewhere install the kernel's package, or boot the one that replaced it)
            this host runs the kernel 6.1.0-56-amd64, of which no folder of modules is here: looked for /host/lib/modules/6.1.0-56-amd64, /host/usr/lib/modules/6.1.0-56-amd64 (a container has no kernel of its own: use -k debian there; elsewhere install the kernel's package, or boot the one that replaced it)
            there is no /host/lib/modules/6.1.0-56-amd64/modules.dep (depmod 6.1.0-56-amd64, as root, makes it)
            this host runs the kernel 6.1.0-56-amd64, of which no image is here: looked for /host/boot/vmlinuz-6.1.0-56-amd64, /host/lib/modules/6.1.0-56-amd64/vmlinuz, /host/usr/lib/modules/6.1.0-56-amd64/vmlinuz, /host/boot/kernel-6.1.0-56-amd64, /host/boot/vmlinux-6.1.0-56-amd64, /host/boot/bzImage-6.1.0-56-amd64 (a container has no kernel of its own: use -k debian there; elsewhere install the kernel's package, or boot the one that replaced it)
        "#]].assert_eq(&lines.concat());
    }

    #[test]
    fn the_configuration_that_the_kernel_tells_is_written_into_the_work_directory() {
        let list = format!("lib/modules/{R}/modules.dep");
        let host = Host::new(&[&list, &format!("boot/vmlinuz-{R}")]);
        let mut gzip = Vec::new();
        let text = b"CONFIG_A=y\n";
        let mut encoder = flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap();
        host.write("proc/config.gz", &gzip);
        for _ in 0..2 {
            let path = host.open().unwrap().config.unwrap();
            assert_eq!(host.text(&path), format!("/kept/cache/host/config-{R}"));
            assert_eq!(fs::read(&path).unwrap(), text);
        }
        host.write("proc/config.gz", &gzip[..gzip.len() / 2]);
        let error = format!("{:#}", host.open().unwrap_err());
        assert!(error.contains("/host/proc/config.gz"), "{error}");
    }

    #[test]
    fn an_image_for_root_alone_is_an_error_with_a_remedy() {
        let list = format!("lib/modules/{R}/modules.dep");
        let image = format!("boot/vmlinuz-{R}");
        let host = Host::new(&[&list, &image]);
        let path = host.root().join(&image);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
        let found = host.found();
        if rustix::process::geteuid().is_root() {
            // Nothing is hidden from root.
            assert!(found.starts_with(&format!("/host/{image} ")), "{found}");
        } else {
            let shown = format!("/host/{image}, the kernel that this host runs, cannot be read");
            assert!(found.starts_with(&shown), "{found}");
            assert!(found.contains("sudo chmod a+r "), "{found}");
        }
    }

    #[test]
    fn the_running_kernel_has_a_release() {
        let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(running().unwrap().to_string(), text.trim());
    }
}
