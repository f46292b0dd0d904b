//! Kernel trees that somebody works in: built in place, and booted as they are. make,
//! depmod and QEMU are scripts; no kernel is compiled.

use std::fs;
use std::path::{Path, PathBuf};

use crate::xtask;
use expect_test::expect;
use support::binary::Run;
use support::fake_kernel::GUEST_CONFIG;
use support::fake_qemu;

const MAKE: &str = include_str!("files/make-kernel.sh");

/// Lists what it finds, as `depmod -b ROOT RELEASE`.
const DEPMOD: &str = r#"#!/bin/sh
cd "$2/lib/modules/$3" || exit 9
echo "$3" >>"$HOME/depmod.log"
find -L kernel -name '*.ko' | sed 's/$/:/' | sort >modules.dep
"#;

const GCC: &str = include_str!("files/gcc.sh");

/// A home directory with programs, and a source tree in it.
struct Home {
    directory: tempfile::TempDir,
    path: String,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = fake_qemu::install(directory.path(), "good");
        let program = |name, text| fake_qemu::add_program(directory.path(), name, text);
        program("make", MAKE);
        program("depmod", DEPMOD);
        program("gcc", GCC);
        for name in [
            "ld", "flex", "bison", "bc", "perl", "tar", "xz", "pahole", "lz4",
        ] {
            program(name, "#!/bin/sh\n");
        }
        let home = Self { directory, path };
        home.write(
            "Makefile",
            "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 5\nEXTRAVERSION =\n",
        );
        home.write("Kconfig", "");
        home
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("src/linux")
    }

    /// Writes a file of the tree.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.tree().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, arguments: &str) -> Run {
        let run = xtask(self.directory.path());
        run.env("PATH", &self.path).args(arguments).run()
    }

    /// What a script has logged since the last time, line by line.
    fn log(&self, name: &str) -> Vec<String> {
        let path = self.directory.path().join(name);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text.lines().map(str::to_owned).collect()
    }

    fn build(&self) -> Run {
        self.run("build-kernel ~/src/linux --in-place -j 3")
    }

    #[track_caller]
    fn fails(&self, status: i32, words: &[&str]) {
        let run = self.run("vm --accel tcg --dry-run -k ~/src/linux -- true");
        let run = run.expect_status(status);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "lacks {word:?}: {}", run.stderr);
        }
    }
}

#[test]
fn a_tree_is_built_in_place_and_booted_as_it_is() {
    let home = Home::new();
    home.write(".config", "CONFIG_OF_MINE=y\n");
    let run = home.build().expect_status(0);
    let tree = home.tree().canonicalize().unwrap();
    let shown = tree.display();
    assert_eq!(
        home.log("make.log"),
        [
            format!("-C {shown} -j3 allnoconfig"),
            format!("-C {shown} -j3 bzImage modules"),
        ]
    );
    let advice = format!("built 6.12.5-mine+; to boot it: cargo xtask vm -k {shown} -- uname -r");
    assert!(run.stderr.contains(&advice), "{}", run.stderr);
    let read = |name: &str| fs::read_to_string(tree.join(name)).unwrap();
    assert_eq!(read(".config.before-vmtest"), "CONFIG_OF_MINE=y\n");
    assert!(read(".config").contains("CONFIG_9P_FS=y\n"));

    // Again: what its owner has changed since stays, and make alone decides.
    home.write(".config", read(".config") + "CONFIG_MORE=y\n");
    home.build().expect_status(0);
    assert_eq!(
        home.log("make.log"),
        [format!("-C {shown} -j3 bzImage modules")]
    );
    assert!(read(".config").ends_with("CONFIG_MORE=y\n"));
    assert_eq!(read(".config.before-vmtest"), "CONFIG_OF_MINE=y\n");

    home.log("depmod.log");
    let run = home.run("vm --accel tcg --dry-run -k=~/src/linux -- true");
    let line = run.expect_status(0).stdout;
    assert!(
        line.contains(&format!("-kernel {shown}/arch/x86/boot/bzImage ")),
        "{line}"
    );
    home.run("vm --accel tcg -k ~/src/linux -- true")
        .expect_status(42);
    home.run("vm --accel tcg -k x86_64:~/src/linux -- true")
        .expect_status(42);
    assert_eq!(home.log("depmod.log"), [""; 0], "nothing has changed");

    let trees = home.directory.path().join("trees");
    let folders = fs::read_dir(&trees).unwrap().map(|entry| entry.unwrap());
    let folders = folders.map(|entry| entry.path()).collect::<Vec<_>>();
    let [folder] = folders.as_slice() else {
        panic!("{folders:?}");
    };
    let link = |name: &str| fs::read_link(folder.join(name)).unwrap();
    assert_eq!(link("kernel/fs/b/b.ko"), tree.join("fs/b/b.ko"));
    assert_eq!(link("build"), tree);
    let list = fs::read_to_string(folder.join("modules.dep")).unwrap();
    assert_eq!(list, "kernel/fs/a.ko:\nkernel/fs/b/b.ko:\n");

    // A module that was built again.
    home.write("fs/a.ko", "a longer module");
    home.run("vm --accel tcg -k ~/src/linux -- true")
        .expect_status(42);
    assert_eq!(home.log("depmod.log"), ["6.12.5-mine+"]);
}

#[test]
fn a_build_tree_beside_its_source_is_one_too() {
    let home = Home::new();
    home.build().expect_status(0);
    let build = home.directory.path().join("out");
    fs::rename(home.tree(), &build).unwrap();
    fs::remove_file(build.join("Kconfig")).unwrap();
    fs::write(build.join("Makefile"), "include /nowhere/Makefile\n").unwrap();
    let run = home.run("vm --accel tcg --dry-run -k ./out -- true");
    let line = run.expect_status(0).stdout;
    assert!(line.contains("/out/arch/x86/boot/bzImage "), "{line}");
}

#[test]
fn what_is_wrong_with_a_tree_is_one_error() {
    let home = Home::new();
    let in_place = ["build-kernel /", "/src/linux --in-place"];
    let unbuilt = ["was not built: no .config, no include/config/kernel.release, no vmlinux"];
    home.fails(2, &[unbuilt, [in_place[0]], [in_place[1]]].concat());
    home.write(".config", "CONFIG_MODULES=y\n");
    home.fails(
        2,
        &["was not built: no include/config/kernel.release, no vmlinux (make -C /"],
    );

    home.write(".config", "");
    home.build().expect_status(0);
    let image = home.tree().join("arch/x86/boot/bzImage");
    let text = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    home.fails(2, &["was not built: no arch/x86/boot/bzImage (make -C /"]);
    fs::write(&image, text).unwrap();

    fs::remove_file(home.tree().join("fs/b/b.ko")).unwrap();
    home.fails(
        2,
        &[
            "1 of 2 modules of the kernel tree /",
            "missing, the first is fs/b/b.ko (make -C /",
            "/src/linux modules)",
        ],
    );
    for name in ["fs/../../../evil.o", "/evil.ko"] {
        home.write("modules.order", name);
        let named = name.replace(".o", ".ko");
        home.fails(2, &[&format!("modules.order names {named:?}: a")]);
    }
    fs::remove_file(home.tree().join("modules.order")).unwrap();
    home.fails(
        2,
        &[
            "was not built: no modules.order (make -C /",
            "/src/linux modules)",
        ],
    );

    // ELF for LoongArch: machine 258.
    let own = fs::read(home.tree().join("vmlinux")).unwrap();
    let mut other = own.clone();
    other[18..20].copy_from_slice(&258_u16.to_le_bytes());
    home.write("vmlinux", other);
    home.fails(2, &["/vmlinux is for loongarch64, which is not supported"]);

    // A kernel without modules has no list of them.
    home.write("vmlinux", own);
    let config = format!("{GUEST_CONFIG}# CONFIG_MODULES is not set\n");
    home.write(".config", config);
    home.run("vm --accel tcg --dry-run -k ~/src/linux -- true")
        .expect_status(0);
}

/// The bytes of a package depend on every word of this.
#[test]
fn make_is_called_with_all_that_a_package_depends_on() {
    let home = Home::new();
    let run = xtask(home.directory.path())
        .env("PATH", &home.path)
        .env("ARCH", "arm")
        .env("KCFLAGS", "-O0")
        .env("MAKEFLAGS", "-k")
        .args("build-kernel ~/src/linux -j 3")
        .run()
        .expect_status(2);
    assert!(
        run.stderr
            .contains("is not a finished kernel build: no Module.symvers"),
        "{}",
        run.stderr
    );
    let work = home.directory.path().canonicalize().unwrap();
    let shown = |text: String| {
        let text = text.replace(work.to_str().unwrap(), "W");
        // Only some hosts have it.
        let text = text.replace("CC=ccache ", "CC=");
        let (start, rest) = text.split_once("TIMESTAMP=").unwrap_or((&text, ""));
        let (_, end) = rest.split_once(" LOCALVERSION").unwrap_or(("", rest));
        format!("{start}|{end}").replace(' ', "\n ")
    };
    let calls = home.log("make.log").into_iter().map(shown);
    let calls = calls.collect::<Vec<_>>();
    let variables = calls[0].strip_suffix("\n allnoconfig").unwrap();
    let targets = calls.iter().map(|call| call.strip_prefix(variables));
    assert_eq!(
        targets.map(Option::unwrap).collect::<Vec<_>>(),
        [
            "\n allnoconfig",
            "\n -s\n kernelrelease",
            "\n bzImage\n modules"
        ]
    );
    expect![[r#"
        -C
         W/src/linux
         -j3
         ARCH=x86_64
         O=W/build/6.12.5-vmtest2.1default.x86_64
         KBUILD_ABS_SRCTREE=1
         KBUILD_BUILD_USER=vmtest
         KBUILD_BUILD_HOST=vmtest
         KBUILD_BUILD_VERSION=1
         KBUILD_BUILD_|=-vmtest2.1default
         CROSS_COMPILE=
         CC=gcc
         HOSTCC=gcc
         KCFLAGS=-fdebug-prefix-map=W/build/6.12.5-vmtest2.1default.x86_64=.
         -fdebug-prefix-map=W/src/linux/=./
         -fmacro-prefix-map=W/src/linux/=
         -fmacro-prefix-map=W/build/6.12.5-vmtest2.1default.x86_64/=
         -gno-variable-location-views
         -gstatement-frontiers
         -ginline-points
         KAFLAGS=-fdebug-prefix-map=W/build/6.12.5-vmtest2.1default.x86_64=.
         -fdebug-prefix-map=W/src/linux/=./
         -fmacro-prefix-map=W/src/linux/=
         -fmacro-prefix-map=W/build/6.12.5-vmtest2.1default.x86_64/=
         HOSTCFLAGS=-fdebug-prefix-map=W/build/6.12.5-vmtest2.1default.x86_64=.
         -fdebug-prefix-map=W/src/linux/=./
         -fmacro-prefix-map=W/src/linux/=
         -fmacro-prefix-map=W/build/6.12.5-vmtest2.1default.x86_64/="#]]
    .assert_eq(variables);
    assert_eq!(home.log("make.env"), ["LC_ALL=C", "TZ=UTC"]);

    // Without building.
    let run = home.run("build-kernel ~/src/linux -j 3 --configure-only");
    let run = run.expect_status(0);
    assert!(
        run.stderr.contains(" expected absent, 0 lost"),
        "{}",
        run.stderr
    );
    let calls = home.log("make.log");
    assert_eq!(calls.len(), 1);
    assert!(calls[0].ends_with(" allnoconfig"), "{}", calls[0]);
}

#[test]
fn what_cannot_be_built_in_place_is_said() {
    let home = Home::new();
    let says = |arguments: &str, status: i32, words: &str| {
        let run = home.run(arguments).expect_status(status);
        assert!(run.stderr.contains(words), "{arguments}: {}", run.stderr);
    };
    says(
        "build-kernel 6.12 --in-place",
        2,
        "6.12 cannot be built in place",
    );
    says("build-kernel ./none --in-place", 2, "cannot find ./none");
    says("build-kernel ./programs --in-place", 2, "cannot read");
    says("build-kernel ~/src/linux --in-place -f none", 2, "none");
    says(
        "build-kernel ~/src/linux --in-place --keep-build",
        2,
        "cannot be used with",
    );
    fs::write(home.directory.path().join("make-fails"), "").unwrap();
    says(
        "build-kernel ~/src/linux --in-place",
        3,
        "error: it does not compile",
    );
    assert_eq!(home.log("make.log").len(), 1);
    // What failed is not taken for done.
    fs::remove_file(home.directory.path().join("make-fails")).unwrap();
    home.build().expect_status(0);
    assert_eq!(home.log("make.log").len(), 2);
    // No file of ours that only a builder of ours would clean up.
    assert!(!Path::new(&home.tree().join(".vmtest-running")).exists());
}
