//! Kernels in packages of distributions: given by path, listed and pruned. depmod and QEMU
//! are scripts, and the packages are made here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::xtask;
use support::binary::Run;
use support::fake_kernel::GUEST_CONFIG;
use support::fake_qemu;
use support::package_files::{boot_image, deb, rpm};

/// Lists what it finds, as `depmod -b ROOT RELEASE`; not what zstd has compressed, which
/// kmod passes over if it was built without it.
const DEPMOD: &str = r#"#!/bin/sh
cd "$2/lib/modules/$3" || exit 9
echo "$3" >>"$HOME/depmod.log"
[ ! -e "$HOME/depmod-fails" ] || { echo "depmod: ERROR: no luck" >&2; exit 1; }
find kernel -name '*.ko' -o -name '*.ko.xz' | sed 's/$/:/' | sort >modules.dep
"#;

const RELEASE: &str = "6.1.0-56-amd64";

/// A `.deb` for amd64.
fn image_deb(name: &str, depends: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let control =
        format!("Package: {name}\nVersion: 6.1.160-1\nArchitecture: amd64\nDepends: {depends}");
    deb(&control, files)
}

/// A kernel of Debian with one module.
fn kernel_deb(release: &str) -> Vec<u8> {
    let image = boot_image(release);
    // As the stock kernels of distributions are.
    let config = format!("{GUEST_CONFIG}CONFIG_SMP=y\nCONFIG_JUMP_LABEL=y\n");
    image_deb(
        &format!("linux-image-{release}"),
        "kmod",
        &[
            (&format!("./boot/vmlinuz-{release}"), &image),
            (&format!("./boot/config-{release}"), config.as_bytes()),
            (
                &format!("./lib/modules/{release}/kernel/fs/a.ko"),
                b"module",
            ),
        ],
    )
}

/// A home directory with programs, which is the work directory as well.
struct Home {
    directory: tempfile::TempDir,
    path: String,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = fake_qemu::install(directory.path(), "good");
        fake_qemu::add_program(directory.path(), "depmod", DEPMOD);
        Self { directory, path }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Writes what a run leaves that is killed while it unpacks.
    fn leave_half(&self) {
        let name = support::host::left_behind(".distribution-0.tmp-");
        self.write(&format!("x86_64/{}/half", name), "");
    }

    fn run(&self, arguments: &str) -> Run {
        let run = xtask(self.directory.path());
        run.env("PATH", &self.path).args(arguments).run()
    }

    /// Says how a kernel would be booted.
    fn dry_run(&self, kernel: &str) -> Run {
        self.run(&format!("-q vm --accel tcg --dry-run -k {kernel} -- true"))
    }

    /// What is in the work directory where kernels are, without temporary names' ends.
    fn kernels(&self) -> Vec<String> {
        let directory = self.directory.path().join("x86_64");
        let entries = fs::read_dir(directory).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names
    }

    /// How often depmod was called.
    fn depmod_calls(&self) -> usize {
        let log = fs::read_to_string(self.directory.path().join("depmod.log"));
        log.unwrap_or_default().lines().count()
    }

    /// A request fails with one line, and leaves nothing behind.
    #[track_caller]
    fn fails(&self, kernel: &str, status: i32, words: &str) {
        let run = self.dry_run(kernel).expect_status(status);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(
            run.stderr.contains(words),
            "lacks {words:?}: {}",
            run.stderr
        );
        assert_eq!(self.kernels(), [""; 0]);
    }
}

/// The folder that a command line of QEMU boots from.
fn folder(run: &Run) -> PathBuf {
    let (_, rest) = run.stdout.split_once(" -kernel ").unwrap();
    let image = Path::new(rest.split(' ').next().unwrap());
    assert_eq!(image.file_name().unwrap(), "vmlinuz");
    image.parent().unwrap().to_owned()
}

#[test]
fn a_package_of_debian_is_booted_and_unpacked_once() {
    let home = Home::new();
    home.write("image.deb", kernel_deb(RELEASE));
    // What a run left that was killed.
    home.leave_half();
    let run = home.dry_run("./image.deb").expect_status(0);
    let one_thread = "-accel tcg,thread=single -cpu max,la57=off -smp 1,";
    assert!(run.stdout.contains(one_thread), "{}", run.stdout);
    let folder = folder(&run);
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("distribution-6.1.0-56-amd64-"), "{name}");
    assert_eq!(home.kernels(), [name.as_str()]);
    let list = fs::read_to_string(folder.join("modules/modules.dep")).unwrap();
    assert_eq!(list, "kernel/fs/a.ko:\n");

    // The same file by another name, and the folder itself, wherever it is.
    home.write("packages/other", kernel_deb(RELEASE));
    home.run("vm --accel tcg -k ./packages/other -- true")
        .expect_status(42);
    // By its whole release, as it is listed, but not by a part of it.
    let run = home.dry_run(RELEASE).expect_status(0);
    assert!(run.stdout.contains(&name), "{}", run.stdout);
    home.dry_run("6.1.0").expect_status(3);
    assert_eq!(home.depmod_calls(), 1);
    fs::rename(&folder, home.directory.path().join("moved")).unwrap();
    let run = home.dry_run("./moved").expect_status(0);
    assert!(run.stdout.contains("/moved/vmlinuz "), "{}", run.stdout);
    fs::remove_file(home.directory.path().join("moved/modules/modules.dep")).unwrap();
    home.fails(
        "./moved",
        2,
        "/moved is not an unpacked kernel of a distribution: no modules/modules.dep (",
    );
}

#[test]
fn packages_of_one_kernel_are_given_by_their_directory() {
    let home = Home::new();
    let release = "6.15.3-200.fc42.x86_64";
    let below = |name: &str| format!("usr/lib/modules/{release}/{name}");
    let image = boot_image(release);
    let core: &[(&str, &[u8])] = &[(&below("vmlinuz"), &image)];
    home.write("fedora/core.rpm", rpm("kernel-core", "x86_64", core));
    let alone = "the image of 6.15.3-200.fc42.x86_64 in kernel-core comes without its modules (";
    home.fails("./fedora/core.rpm", 2, alone);
    home.fails("./fedora", 2, alone);
    let modules: &[(&str, &[u8])] = &[(&below("kernel/fs/a.ko.xz"), b"module")];
    home.write(
        "fedora/modules.rpm",
        rpm("kernel-modules", "x86_64", modules),
    );
    home.write("fedora/notes.txt", "");
    let folder = folder(&home.dry_run("./fedora").expect_status(0));
    let list = fs::read_to_string(folder.join("modules/modules.dep")).unwrap();
    assert_eq!(list, "kernel/fs/a.ko.xz:\n");
    let origin = fs::read_to_string(folder.join("origin.json")).unwrap();
    let origin = serde_json::from_str::<serde_json::Value>(&origin).unwrap();
    assert_eq!(origin["packages"][0]["version"], "6.15.3-200.fc42");
    assert_eq!(origin["packages"][1]["name"], "kernel-modules");
}

#[test]
fn kernels_of_distributions_are_listed_and_pruned() {
    let home = Home::new();
    for release in ["6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-9-rt-amd64"] {
        home.write("image.deb", kernel_deb(release));
        home.dry_run("./image.deb").expect_status(0);
    }
    home.write("x86_64/distribution-6.1.0-0123456789ab/vmlinuz", "");
    let run = home.run("list --local").expect_status(0);
    let rows = run.stdout.lines().skip(1).map(|line| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        format!("{} {}", words[0], words[2])
    });
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [
            "6.1.0-10-amd64 distribution",
            "6.1.0-9-rt-amd64 distribution",
            "6.1.0-9-amd64 distribution",
        ]
    );
    let damaged = "distribution-6.1.0-0123456789ab is no kernel: ";
    assert!(run.stderr.contains(damaged), "{}", run.stderr);
    home.run("list 6.1.0-9-rt-amd64").expect_status(0);

    home.leave_half();
    home.run("prune --keep 1 --yes").expect_status(0);
    let left = home.kernels();
    let left = left.iter().map(|name| name.rsplit_once('-').unwrap().0);
    assert_eq!(
        left.collect::<Vec<_>>(),
        [
            // Nobody understands it.
            "distribution-6.1.0",
            "distribution-6.1.0-10-amd64",
            "distribution-6.1.0-9-rt-amd64",
        ]
    );
}

#[test]
fn what_is_no_kernel_is_one_error() {
    let home = Home::new();
    let image = boot_image(RELEASE);
    let boot = "./boot/vmlinuz-6.1.0-56-amd64";
    let mut arm = vec![0; 64];
    arm[56..60].copy_from_slice(b"ARM\x64");
    type Files<'f> = &'f [(&'f str, &'f [u8])];
    let cases: &[(&str, Files, &str)] = &[
        (
            "linux-image-6.1.0-56-amd64 (= 6.1.160-1)",
            &[("./usr/share/doc/x", b"")],
            "no kernel image in x (it only depends on the kernel, which is in \
             linux-image-6.1.0-56-amd64)",
        ),
        (
            "",
            &[
                (boot, &image),
                ("./lib/modules/6.1.0-48-amd64/kernel/a.ko", b""),
            ],
            "the image of 6.1.0-56-amd64 in x comes with modules of 6.1.0-48-amd64",
        ),
        (
            "linux-modules-6.1.0-56-amd64",
            &[(boot, &image)],
            "comes without its modules (put the package with them, linux-modules-6.1.0-56-amd64,",
        ),
        (
            "",
            &[(boot, &arm)],
            "the image 6.1.0-56-amd64 of x is not one for x86_64",
        ),
        (
            "",
            &[(boot, b"")],
            "the image 6.1.0-56-amd64 of x is not one for x86_64",
        ),
    ];
    for (depends, files, words) in cases {
        home.write("x.deb", image_deb("x", depends, files));
        home.fails("./x.deb", 2, words);
    }
    home.write(
        "x.deb",
        deb("Package: x\nVersion: 1\nArchitecture: i386", &[]),
    );
    home.fails("./x.deb", 2, "./x.deb is for i386, which is not supported");
    home.write("x.rpm", rpm("kernel-core", "i686", &[]));
    home.fails("./x.rpm", 2, "./x.rpm is for i686, which is not supported");
    home.write("x.rpm", rpm("kernel", "noarch", &[]));
    home.fails("./x.rpm", 2, "no kernel image in kernel (");
    home.write("x.deb", "text");
    home.fails("./x.deb", 2, "./x.deb is not a kernel package (");
    home.fails("./none.deb", 2, "none.deb does not exist");

    let whole = kernel_deb(RELEASE);
    home.write("x.deb", &whole[..whole.len() - 20]);
    home.fails(
        "./x.deb",
        3,
        "cannot read the package ./x.deb: damaged: it ends too early",
    );
    home.write("x.deb", b"!<arch>\n");
    home.fails(
        "./x.deb",
        3,
        "cannot read the package ./x.deb: damaged: it ends too early",
    );
    let mut flipped = whole.clone();
    flipped[whole.len() - 60] ^= 0xff;
    home.write("x.deb", flipped);
    home.fails("./x.deb", 3, "cannot unpack ./x.deb: ");
}

#[test]
fn what_depmod_cannot_do_is_said() {
    let home = Home::new();
    let image = boot_image(RELEASE);
    let module = format!("./lib/modules/{RELEASE}/kernel/a.ko.zst");
    let boot = format!("./boot/vmlinuz-{RELEASE}");
    let package = image_deb("x", "", &[(&boot, &image), (&module, b"")]);
    home.write("x.deb", package);
    home.fails(
        "./x.deb",
        3,
        "depmod of this host cannot read the modules of 6.1.0-56-amd64, which are .ko.zst files (",
    );
    home.write("depmod-fails", "");
    home.write("x.deb", kernel_deb(RELEASE));
    let run = home.dry_run("./x.deb").expect_status(3);
    for words in [
        "cannot list the modules of 6.1.0-56-amd64",
        "ERROR: no luck",
    ] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    assert_eq!(home.kernels(), [""; 0]);
}

#[test]
fn an_emulated_stock_kernel_says_why_it_has_one_processor() {
    let home = Home::new();
    home.write("kernel.deb", kernel_deb(RELEASE));
    let path = home.directory.path().join("kernel.deb");
    for (options, said) in [("", true), ("--cpus 2", false)] {
        let arguments = format!("vm --accel tcg {options} -k {} -- true", path.display());
        let run = home.run(&arguments).expect_status(42);
        // This host may have one processor.
        let said = said && std::thread::available_parallelism().unwrap().get() > 1;
        let line = format!("xtask: {RELEASE}: one processor, because");
        assert_eq!(run.stderr.contains(&line), said, "{}", run.stderr);
    }
    let arguments = format!("-q vm --accel tcg -k {} -- true", path.display());
    let run = home.run(&arguments).expect_status(42);
    assert_eq!(run.stderr, "err\n");
}
