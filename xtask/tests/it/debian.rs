//! Kernels that nobody has packaged for us: `-k debian` with an archive that is played by
//! scripts, and `-k host`. No network, no root, no apt on this host.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use support::sha256;

use crate::xtask;
use support::binary::Run;
use support::fake_kernel::GUEST_CONFIG;
use support::fake_qemu;
use support::package_files;
use support::package_files::boot_image;

const APT_CONFIG: &str = include_str!("files/apt-config.sh");

const APT_GET: &str = include_str!("files/apt-get.sh");

const APT_CACHE: &str = include_str!("files/apt-cache.sh");

/// Lists what it finds, as `depmod -b ROOT RELEASE`.
const DEPMOD: &str = r#"#!/bin/sh
cd "$2/lib/modules/$3" || exit 9
find -L kernel -name '*.ko' | sed 's/$/:/' | sort >modules.dep
"#;

/// A home directory with an archive in it.
pub struct Home {
    directory: tempfile::TempDir,
    pub path: String,
}

impl Home {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = fake_qemu::install(directory.path(), "good");
        let home = Self { directory, path };
        for (name, text) in [
            ("apt-config", APT_CONFIG),
            ("apt-get", APT_GET),
            ("apt-cache", APT_CACHE),
            ("depmod", DEPMOD),
        ] {
            fake_qemu::add_program(home.path(), name, text);
        }
        let list = "Types: deb\nURIs: http://a.example/debian http://a.example/debian-security\n\
            Suites: bookworm\nComponents: main\n";
        fs::create_dir(home.path().join("apt")).unwrap();
        fs::write(home.path().join("apt/debian.sources"), list).unwrap();
        home
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a package into a suite.
    pub fn add(&self, suite: &str, package: &Package) {
        let folder = self.path().join("archive").join(suite);
        fs::create_dir_all(&folder).unwrap();
        let bytes = package.deb();
        let show = format!(
            "{}Size: {}\nSHA256: {}\n\n",
            package.control(),
            bytes.len(),
            sha256(&bytes)
        );
        fs::write(folder.join(format!("{}.deb", package.name)), bytes).unwrap();
        fs::write(folder.join(format!("{}.show", package.name)), show).unwrap();
    }

    fn run(&self, arguments: &str) -> Run {
        let run = xtask(self.path());
        run.env("PATH", &self.path).args(arguments).run()
    }

    /// The image that a dry run boots.
    #[track_caller]
    fn image(&self, request: &str) -> PathBuf {
        let run = self.run(&format!("vm --accel tcg --dry-run -k {request} -- true"));
        let run = run.expect_status(0);
        let mut words = run.stdout.split(' ');
        assert!(words.any(|word| word == "-kernel"), "{}", run.stdout);
        words.next().unwrap().into()
    }

    /// The one line of an error.
    #[track_caller]
    fn fails(&self, arguments: &str, status: i32, expected: &Expect) {
        let run = self.run(&format!("-q vm --accel tcg --dry-run {arguments} -- true"));
        let run = run.expect_status(status);
        let home = self.path().display().to_string();
        expected.assert_eq(&run.stderr.replace(&home, "HOME"));
    }

    /// What apt-get was told since the last time, but for updates of what is not there.
    pub fn log(&self) -> Vec<String> {
        let path = self.path().join("apt.log");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let known = |line: &&str| {
            let suite = line.rsplit(' ').next().unwrap_or_default();
            self.path().join("archive").join(suite).is_dir()
        };
        let mut lines = text
            .lines()
            .filter(known)
            .map(str::to_owned)
            .collect::<Vec<_>>();
        lines.sort();
        lines
    }

    /// Makes lists older than they may be.
    pub fn forget_lists(&self) {
        for entry in fs::read_dir(self.path().join("cache/apt")).unwrap() {
            let _ = fs::remove_file(entry.unwrap().path().join("stamp"));
        }
    }

    /// What is below the kernels' folder.
    pub fn kernels(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path().join("x86_64")) else {
            return Vec::new();
        };
        let mut names = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>();
        names.sort();
        names
    }
}

/// A package, of a kernel for example.
pub struct Package {
    pub name: String,
    pub version: &'static str,
    pub depends: String,
    pub files: Vec<(String, Vec<u8>)>,
}

impl Package {
    /// As it was before 6.19.
    fn whole(release: &str, version: &'static str) -> Self {
        let mut package = Self::part("image", release, version);
        package.files = vec![
            (format!("boot/vmlinuz-{release}"), boot_image(release)),
            (format!("boot/config-{release}"), GUEST_CONFIG.into()),
            (format!("lib/modules/{release}/kernel/a.ko"), module()),
        ];
        package
    }

    /// The three packages since 6.19.
    fn split(release: &str, version: &'static str) -> [Self; 3] {
        let part = |name| Self::part(name, release, version);
        let (mut meta, mut binary, mut modules) = (part("image"), part("binary"), part("modules"));
        let needed = ["binary", "modules"];
        let needed = needed.map(|name| format!("linux-{name}-{release} (= {version})"));
        meta.depends = format!("dracut | initramfs-tools, {}", needed.join(", "));
        let folder = format!("usr/lib/modules/{release}");
        binary.files = vec![(format!("{folder}/vmlinuz"), boot_image(release))];
        modules.files = vec![(format!("{folder}/kernel/a.ko"), module())];
        [meta, binary, modules]
    }

    fn debuginfo(release: &str, version: &'static str) -> Self {
        let mut package = Self::part("image", &format!("{release}-dbg"), version);
        package.files = [
            format!("boot/vmlinux-{release}"),
            format!("boot/System.map-{release}"),
            format!("lib/modules/{release}/kernel/a.ko"),
            ".build-id/ab/cd.debug".to_owned(),
        ]
        .map(|name| (format!("usr/lib/debug/{name}"), b"\x7fELF".to_vec()))
        .into();
        package
            .files
            .push(("usr/share/doc/a".to_owned(), b"x".to_vec()));
        package
    }

    /// What modules are built against: for this flavor, for all of them, and programs.
    fn headers(release: &str, version: &'static str) -> [Self; 3] {
        let [mut own, mut common] =
            [release, "6.1.0-1-common"].map(|name| Self::part("headers", name, version));
        let mut programs = Self::part("kbuild", "6.1", version);
        own.depends = format!("{} (= {version}), linux-kbuild-6.1, gcc-12", common.name);
        let below = |package: &Self, name: &str| format!("usr/src/{}/{name}", package.name);
        let include = format!("include /{}\n", below(&common, "Makefile"));
        own.files = vec![
            (below(&own, "Makefile"), include.into()),
            (
                below(&own, ".config"),
                b"CONFIG_CC_VERSION_TEXT=\"gcc\"\n".to_vec(),
            ),
            (below(&own, "scripts/fixdep"), b"".to_vec()),
        ];
        common.files = vec![(below(&common, "Makefile"), b"all:\n".to_vec())];
        programs.files = vec![(
            "usr/lib/linux-kbuild-6.1/scripts/x".to_owned(),
            b"".to_vec(),
        )];
        [own, common, programs]
    }

    fn part(name: &str, release: &str, version: &'static str) -> Self {
        Self {
            name: format!("linux-{name}-{release}"),
            version,
            depends: "kmod, linux-base (>= 4.3~)".to_owned(),
            files: Vec::new(),
        }
    }

    fn control(&self) -> String {
        format!(
            "Package: {}\nVersion: {}\nArchitecture: amd64\nDepends: {}\nInstalled-Size: 1\n\
            Description: a kernel\n",
            self.name, self.version, self.depends
        )
    }

    fn deb(&self) -> Vec<u8> {
        let paths = self.files.iter();
        let paths = paths.map(|(name, contents)| (format!("./{name}"), contents));
        let paths = paths.collect::<Vec<_>>();
        let files = paths
            .iter()
            .map(|(path, contents)| (path.as_str(), contents.as_slice()));
        package_files::deb(self.control().trim_end(), &files.collect::<Vec<_>>())
    }
}

fn module() -> Vec<u8> {
    b"\x7fELF\x02\x01\x01".to_vec()
}

#[test]
fn a_kernel_of_debian_is_downloaded_once() {
    let home = Home::new();
    home.add("bookworm", &Package::whole("6.1.0-1-amd64", "6.1.10-1"));
    home.add("bookworm", &Package::whole("6.1.0-1-rt-amd64", "6.1.10-1"));
    home.add(
        "bookworm-security",
        &Package::whole("6.1.0-2-amd64", "6.1.20-1"),
    );
    for package in Package::split("7.0.3+deb14-amd64", "7.0.3-1") {
        home.add("unstable", &package);
    }

    let image = home.image("debian:6.1");
    let folder = image.parent().unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("distribution-6.1.0-2-amd64-"), "{name}");
    assert!(folder.join("modules/kernel/a.ko").is_file());
    let updates = ["bookworm", "bookworm-security", "unstable"];
    let mut expected = vec!["download bookworm-security".to_owned()];
    expected.extend(updates.map(|suite| format!("update {suite}")));
    assert_eq!(home.log(), expected);

    // The lists are new enough, and the package is here.
    for request in [
        "debian:6.1",
        "debian:6.1.20",
        "debian:6.1.0-2-amd64",
        "debian:bookworm",
    ] {
        assert_eq!(home.image(request), image, "{request}");
    }
    assert_eq!(home.log(), [""; 0]);

    let newest = home.image("debian");
    let shown = newest.display().to_string();
    assert!(
        shown.contains("/distribution-7.0.3+deb14-amd64-"),
        "{shown}"
    );
    assert_eq!(home.log(), ["download unstable"]);
    let older = home.image("debian:6.1.0-1");
    let shown = older.display().to_string();
    assert!(shown.contains("/distribution-6.1.0-1-amd64-"), "{shown}");
    assert_eq!(home.kernels().len(), 3, "{:?}", home.kernels());
}

#[test]
fn what_debian_does_not_have_is_one_line() {
    let home = Home::new();
    home.add("bookworm", &Package::whole("6.1.0-1-amd64", "6.1.10-1"));
    home.fails(
        "-k debian:6.6",
        3,
        &expect![[r#"
        xtask: error: no suite of Debian has Linux 6.6 (there is 6.1.10)
    "#]],
    );
    home.fails(
        "-k debian:6.1.11",
        3,
        &expect![[r#"
        xtask: error: no suite of Debian has Linux 6.1.11 (there is 6.1.10)
    "#]],
    );
    home.fails(
        "-k debian:6.1.0-2-amd64",
        3,
        &expect![[r#"
        xtask: error: no suite of Debian has the kernel 6.1.0-2-amd64 (nearest: 6.1.0-1-amd64)
    "#]],
    );
    home.fails("-k debian:unstable", 3, &expect![[r#"
        xtask: error: cannot ask Debian for a kernel in unstable: Debian's archive, as apt on this host knows it, does not have that suite (a package that you have can be given instead: -k ./linux-image-….deb)
    "#]]);
    home.fails("-k debian:buster", 3, &expect![[r#"
        xtask: error: cannot ask Debian for a kernel in buster: Debian's archive, as apt on this host knows it, does not have that suite (a package that you have can be given instead: -k ./linux-image-….deb)
    "#]]);
    home.fails("-k debian:nonsense", 2, &expect![[r#"
        xtask: error: "nonsense" is no kernel of Debian (a series, a version, a release or a suite: debian:6.12, debian:6.12.118, debian:6.1.0-56-amd64, debian:bookworm)
    "#]]);
    home.fails("-k host:6.1", 2, &expect![[r#"
        xtask: error: "host:6.1" asks this host for another kernel than it runs (host alone is the one that it runs)
    "#]]);
    assert_eq!(home.kernels(), [""; 0]);
}

#[test]
fn without_the_archive_what_is_here_is_used() {
    let home = Home::new();
    home.add("bookworm", &Package::whole("6.1.0-1-amd64", "6.1.10-1"));
    home.add("bookworm", &Package::whole("6.1.0-2-amd64", "6.1.20-1"));
    for request in ["debian:6.1.0-1", "debian:6.1.0-2"] {
        home.image(request);
    }
    let image = home.image("debian");
    home.forget_lists();
    fs::write(
        home.path().join("away"),
        "E: Could not connect to a.example:80",
    )
    .unwrap();
    for request in [
        "debian",
        "debian:6.1",
        "debian:6.1.20",
        "debian:6.1.0-2-amd64",
    ] {
        assert_eq!(home.image(request), image, "{request}");
    }
    let run = home.run("vm --accel tcg --dry-run -k debian:6.1 -- true");
    let line = "Debian's archive cannot be reached; using 6.1.0-2-amd64, which is here";
    assert!(run.stderr.contains(line), "{}", run.stderr);
    // Before the minute that it may take.
    let line = "xtask: reading Debian's package lists from a.example\n";
    assert!(run.stderr.starts_with(line), "{}", run.stderr);
    home.fails("-k debian:6.6", 3, &expect![[r#"
        xtask: error: cannot ask Debian for Linux 6.6: Debian's archive cannot be reached (a package that you have can be given instead: -k ./linux-image-….deb)
    "#]]);

    fs::write(home.path().join("away"), "E: NO_PUBKEY 0123").unwrap();
    home.fails("-k debian:6.6", 3, &expect![[r#"
        xtask: error: cannot ask Debian for Linux 6.6: this host does not have the keys of Debian's archive (install debian-archive-keyring) (a package that you have can be given instead: -k ./linux-image-….deb)
    "#]]);
    // As on a host of another distribution.
    fs::remove_file(home.path().join("apt/debian.sources")).unwrap();
    home.fails("-k debian:6.6", 3, &expect![[r#"
        xtask: error: cannot ask Debian for Linux 6.6: apt on this host knows no archive of Debian (a package that you have can be given instead: -k ./linux-image-….deb)
    "#]]);
    let file = home.path().join("programs/apt-config");
    fs::write(file, "#!/bin/sh\nexit 1\n").unwrap();
    let run = home.run("vm --accel tcg --dry-run -k debian:6.1 -- true");
    assert_eq!(run.expect_status(0).stdout.lines().count(), 1);
}

#[test]
fn debugging_information_is_fetched_once_and_only_what_debuggers_need() {
    let home = Home::new();
    let release = "6.1.0-1-amd64";
    home.add("bookworm", &Package::whole(release, "6.1.10-1"));
    home.add("bookworm", &Package::debuginfo(release, "6.1.10-1"));
    home.add("bookworm", &Package::whole("6.1.0-2-amd64", "6.1.20-1"));
    home.add("bookworm", &Package::debuginfo("6.1.0-2-amd64", "6.1.19-1"));
    let debuginfo = "--debuginfo -k debian:6.1.0-1";
    let run = home.run(&format!("vm --accel tcg --dry-run {debuginfo} -- true"));
    run.expect_status(0);
    assert!(home.log().contains(&"download bookworm".to_owned()));
    let kernels = home.kernels();
    let prefix = format!("debuginfo-{release}-");
    let folder = kernels.iter().find(|name| name.starts_with(&prefix));
    let folder = home.path().join("x86_64").join(folder.unwrap());
    let mut files = Vec::new();
    walk(&folder, &folder, &mut files);
    assert_eq!(
        files,
        [
            ".build-id/ab/cd.debug",
            "boot/vmlinux-6.1.0-1-amd64",
            "lib/modules/6.1.0-1-amd64/kernel/a.ko"
        ]
    );
    assert_eq!(kernels.len(), 2, "{kernels:?}");

    // Also of a package that somebody has: it says what it is.
    let package = home
        .path()
        .join("archive/bookworm")
        .join(format!("linux-image-{release}.deb"));
    let copy = home.path().join("copy.deb");
    fs::copy(package, copy).unwrap();
    let run = home.run("vm --accel tcg --dry-run --debuginfo -k ./copy.deb -- true");
    run.expect_status(0);
    assert_eq!(home.log(), [""; 0]);

    home.fails("--debuginfo -k debian:6.1", 3, &expect![[r#"
        xtask: error: Debian has linux-image-6.1.0-2-amd64-dbg only as 6.1.19-1, not as 6.1.20-1 (Debian keeps it for its newest kernels, and that of a new one may come later)
    "#]]);
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(root, &path, files),
            false => files.push(path.strip_prefix(root).unwrap().display().to_string()),
        }
    }
    files.sort();
}

#[test]
fn a_kernel_that_cannot_be_had_is_a_row_of_the_table() {
    let home = Home::new();
    home.add("bookworm", &Package::whole("6.1.0-1-amd64", "6.1.10-1"));
    let project = home.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("vmtest.toml"), "name = \"example\"\n").unwrap();
    fs::write(project.join("test_it.py"), "").unwrap();
    let run = home.run("test --accel tcg -C project -k debian:6.6");
    let run = run.expect_status(3);
    let out = &run.stdout;
    assert!(out.contains("fetch failed"), "{out}");
    assert!(out.contains("no suite of Debian has Linux 6.6"), "{out}");
}

const MAKE: &str = include_str!("files/make-module.sh");

#[test]
fn a_test_module_is_built_against_the_headers_of_the_very_version() {
    let home = Home::new();
    let project = home.path().join("project");
    fs::create_dir_all(project.join("kmod")).unwrap();
    let toml = "name = \"example\"\n[module]\nsource = \"kmod\"\n";
    fs::write(project.join("vmtest.toml"), toml).unwrap();
    fs::write(project.join("test_it.py"), "").unwrap();
    fs::write(project.join("kmod/Makefile"), "obj-m += mine.o\n").unwrap();
    fake_qemu::add_program(home.path(), "make", MAKE);
    let release = "6.1.0-1-amd64";
    home.add("bookworm", &Package::whole(release, "6.1.10-1"));
    // The fake guest runs no tests.
    let test = || home.run("test --accel tcg -C project -k debian:6.1");
    let run = test().expect_status(1);
    let words = format!(
        "{release}: no test module, and tests that need it cannot run: no suite of Debian has \
         linux-headers-{release}, what modules are built against for {release}"
    );
    assert!(run.stderr.contains(&words), "{}", run.stderr);

    for package in Package::headers(release, "6.1.10-1") {
        home.add("bookworm", &package);
    }
    home.log();
    for downloads in [1, 0] {
        let run = test().expect_status(1);
        assert!(!run.stderr.contains("no test module"), "{}", run.stderr);
        assert_eq!(home.log().len(), downloads);
    }
    let log = fs::read_to_string(home.path().join("make.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "built twice: {log}");
    let tree = format!("/usr/src/linux-headers-{release}\n");
    assert!(log.ends_with(&tree), "{log}");
}
