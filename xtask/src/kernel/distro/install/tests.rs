//! Packages become kernels. Those here bring the list of modules, so that no depmod is
//! needed; with it they are installed in `tests/it/distribution.rs`.

use super::*;
use crate::archive::{deb, rpm};

/// The least that is a bzImage of that release.
fn bz_image(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x236] = 0x3f;
    image.extend(format!("{release} (root@build) #1 SMP\0").into_bytes());
    image
}

const RELEASE: &str = "6.1.0-56-amd64";

struct Work {
    directory: tempfile::TempDir,
    env: Env,
}

impl Work {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let work = directory.path().join("work");
        let env = Env::for_tests(work);
        Self { directory, env }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A `.deb` for amd64.
    fn deb(&self, name: &str, depends: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let control =
            format!("Package: {name}\nVersion: 6.1.160-1\nArchitecture: amd64\nDepends: {depends}");
        self.write(
            &format!("{name}.deb"),
            &deb::tests::package(&control, files),
        )
    }

    fn install(&self, packages: &[PathBuf]) -> Result<LocalKernel> {
        install(&self.env, packages)
    }

    /// The error, which leaves nothing behind.
    fn error(&self, packages: &[PathBuf]) -> String {
        let error = self.install(packages).unwrap_err();
        let kernels = self.env.paths.work().join("x86_64");
        assert!(names_in(&kernels).unwrap().is_empty());
        format!("{error:#}")
    }
}

#[test]
fn a_package_of_debian_becomes_a_kernel_once() {
    let work = Work::new();
    let image = bz_image(RELEASE);
    let files: &[(&str, &[u8])] = &[
        ("./", b""),
        ("./boot/", b""),
        ("./boot/System.map-6.1.0-56-amd64", b"map"),
        ("./boot/config-6.1.0-56-amd64", b"CONFIG_MODULES=y\n"),
        ("./boot/vmlinuz-6.1.0-56-amd64", &image),
        ("./lib/modules/6.1.0-56-amd64/kernel/fs/a.ko", b"module"),
        (
            "./lib/modules/6.1.0-56-amd64/modules.dep",
            b"kernel/fs/a.ko:\n",
        ),
        ("./lib/modules/6.1.0-56-amd64/build -> /usr/src/linux", b""),
        (
            "./lib/modules/6.1.0-56-amd64/kernel/fs/up -> ../../../../../boot/x",
            b"",
        ),
        (
            "./lib/modules/6.1.0-56-amd64/kernel/fs/same -> ../fs/a.ko",
            b"",
        ),
        ("./usr/share/doc/x -> /etc/passwd", b""),
    ];
    let package = work.deb("linux-image-6.1.0-56-amd64", "kmod", files);
    let kernel = work.install(std::slice::from_ref(&package)).unwrap();
    assert_eq!(kernel.release.to_string(), RELEASE);
    assert_eq!(kernel.arch.name, "x86_64");
    let names = names_in(&kernel.path).unwrap();
    assert_eq!(names, ["config", "modules", "origin.json", "vmlinuz"]);
    assert_eq!(
        names_in(&kernel.modules).unwrap(),
        ["kernel", "modules.dep"]
    );
    let modules = names_in(&kernel.modules.join("kernel/fs")).unwrap();
    assert_eq!(modules, ["a.ko", "same"], "no link leads out of the folder");
    assert!(std::fs::read(&kernel.image).unwrap() == image);
    let origin = DistroOrigin::read(&kernel.path).unwrap();
    assert_eq!(origin.packages[0].version, "6.1.160-1");
    let key = folder::key([origin.packages[0].sha256.as_str()]);
    assert!(
        kernel
            .path
            .ends_with(format!("distribution-{RELEASE}-{key}"))
    );
    let folders = names_in(kernel.path.parent().unwrap()).unwrap();
    assert_eq!(folders.len(), 1, "{folders:?}");

    // By any name it is the same, and is not unpacked again.
    let mark = kernel.path.join("mark");
    std::fs::write(&mark, "").unwrap();
    let other = work.write("other", &std::fs::read(&package).unwrap());
    assert_eq!(work.install(&[other]).unwrap(), kernel);
    assert!(mark.exists());
    // What is damaged is made again.
    std::fs::remove_file(&kernel.image).unwrap();
    assert_eq!(work.install(&[package]).unwrap(), kernel);
    assert!(!mark.exists());
}

#[test]
fn a_kernel_may_be_in_several_packages() {
    let work = Work::new();
    let release = "6.15.3-200.fc42.x86_64";
    let image = bz_image(release);
    let below = |name: &str| format!("./usr/lib/modules/{release}/{name}");
    let core = rpm::tests::package(
        "kernel-core",
        "x86_64",
        &[
            (&below(""), b""),
            (&below("config"), b"CONFIG_MODULES=y\n"),
            (&below("vmlinuz"), &image),
            (
                &format!("./boot/vmlinuz-{release} -> ../usr/lib/modules/{release}/vmlinuz"),
                b"",
            ),
        ],
    );
    let modules = rpm::tests::package(
        "kernel-modules-core",
        "x86_64",
        &[
            (&below(""), b""),
            (&below("kernel/a.ko.xz"), b"module"),
            (&below("modules.dep"), b"kernel/a.ko.xz:\n"),
            (&below("modules.alias"), b""),
        ],
    );
    let core = work.write("core.rpm", &core);
    let modules = work.write("modules.rpm", &modules);
    let error = work.error(std::slice::from_ref(&core));
    assert!(
        error.starts_with(
            "the image of 6.15.3-200.fc42.x86_64 in kernel-core comes without its modules ("
        ),
        "{error}"
    );
    let error = work.error(std::slice::from_ref(&modules));
    assert!(
        error.starts_with("no kernel image in kernel-modules-core ("),
        "{error}"
    );
    let kernel = work.install(&[core.clone(), modules.clone()]).unwrap();
    assert_eq!(kernel.release.to_string(), release);
    assert_eq!(
        names_in(&kernel.path).unwrap(),
        ["config", "modules", "origin.json", "vmlinuz"]
    );
    assert_eq!(
        names_in(&kernel.modules).unwrap(),
        ["kernel", "modules.alias", "modules.dep"]
    );
    assert_eq!(work.install(&[modules, core]).unwrap(), kernel);
}

#[test]
fn a_kernel_without_modules_needs_none() {
    let work = Work::new();
    let image = bz_image(RELEASE);
    let boot: &[(&str, &[u8])] = &[
        ("./boot/vmlinuz-6.1.0-56-amd64", &image),
        (
            "./boot/config-6.1.0-56-amd64",
            b"# CONFIG_MODULES is not set\n",
        ),
        ("./lib/modules/6.1.0-56-amd64/modules.dep", b""),
    ];
    let kernel = work.install(&[work.deb("linux-image", "", boot)]).unwrap();
    assert_eq!(names_in(&kernel.modules).unwrap(), ["modules.dep"]);
}

#[test]
fn what_is_no_kernel_is_one_error() {
    let work = Work::new();
    let image = bz_image(RELEASE);
    let mut arm = vec![0; 64];
    arm[56..60].copy_from_slice(b"ARM\x64");
    let named = "./boot/vmlinuz-6.1.0-56-amd64";
    let module = |release: &str| format!("./lib/modules/{release}/kernel/a.ko");
    for (depends, files, expected) in [
        (
            "linux-image-6.1.0-56-amd64 (= 6.1.160-1)",
            &[][..],
            "no kernel image in x (it only depends on the kernel, which is in \
             linux-image-6.1.0-56-amd64)",
        ),
        (
            "kmod",
            &[],
            "no kernel image in x (the packages with an image are called",
        ),
        (
            "",
            &[(named, &image[..]), (&module("6.1.0-48-amd64"), b"")],
            "the image of 6.1.0-56-amd64 in x comes with modules of 6.1.0-48-amd64",
        ),
        (
            "linux-modules-6.1.0-56-amd64, kmod",
            &[(named, &image)],
            "the image of 6.1.0-56-amd64 in x comes without its modules (put the package with \
             them, linux-modules-6.1.0-56-amd64, into one directory with this one, and give \
             its path)",
        ),
        (
            "",
            &[(named, &image), ("./boot/vmlinuz-6.1.0-48-amd64", &image)],
            "several kernels in x: 6.1.0-48-amd64, 6.1.0-56-amd64 (give",
        ),
        (
            "",
            &[(named, &arm)],
            "the image 6.1.0-56-amd64 of x is not one for x86_64",
        ),
        (
            "",
            &[(named, b"odd")],
            "the image 6.1.0-56-amd64 of x is not one for x86_64",
        ),
        (
            "",
            &[("./boot/vmlinuz-odd", &bz_image("odd"))],
            "\"odd\" is not a kernel release",
        ),
        (
            "",
            &[(named, &image), ("./lib/modules/../../x", b"")],
            "path with ..",
        ),
    ] {
        let package = work.deb("x", depends, files);
        let error = work.error(&[package]);
        assert!(error.contains(expected), "{expected}\n{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let other = |architecture: &str| {
        let control = format!("Package: x\nVersion: 1\nArchitecture: {architecture}");
        work.write("x.deb", &deb::tests::package(&control, &[]))
    };
    assert!(
        work.error(&[other("i386")])
            .ends_with("x.deb is for i386, which is not supported")
    );
    assert!(
        work.error(&[other("all")])
            .starts_with("no kernel image in x")
    );
    let text = work.write("text", b"text");
    assert!(
        work.error(&[text])
            .contains("text is not a package of a distribution")
    );
}

#[test]
fn cut_packages_leave_nothing_behind() {
    let work = Work::new();
    let image = bz_image(RELEASE);
    let package = work.deb(
        "x",
        "",
        &[
            ("./boot/vmlinuz-6.1.0-56-amd64", &image),
            ("./lib/modules/6.1.0-56-amd64/a.ko", b""),
            ("./lib/modules/6.1.0-56-amd64/modules.dep", b"a.ko:\n"),
        ],
    );
    let good = std::fs::read(&package).unwrap();
    for at in (8..good.len() - 1).step_by(good.len() / 50) {
        let cut = work.write("cut.deb", &good[..at]);
        work.error(&[cut]);
    }
    work.install(&[package]).unwrap();
}

#[test]
fn modules_that_kmod_cannot_read_are_noticed() {
    let list = "kernel/a.ko: kernel/b.ko\nkernel/c.ko.xz:\n";
    assert_eq!(unlisted(list, &BTreeSet::from([".ko", ".ko.xz"])), None);
    assert_eq!(
        unlisted(list, &BTreeSet::from([".ko", ".ko.zst"])),
        Some(".ko.zst")
    );
    assert_eq!(unlisted("", &BTreeSet::from([".ko.gz"])), Some(".ko.gz"));
    assert_eq!(unlisted("", &BTreeSet::from([])), None);
}
