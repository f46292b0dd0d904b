//! `--cc debian:gcc-10` with an archive that is played by scripts: no network, and nothing is
//! compiled.

use std::fs;

use crate::debian::{Home, Package};
use crate::xtask;
use support::binary::Run;
use support::fake_qemu;
use support::host::names;

/// As `ld.so --inhibit-cache --library-path FOLDER PROGRAM`.
const LOADER: &str = "#!/bin/sh\n[ -e \"$3/libc.so.6\" ] && shift 3 && exec \"$@\"\n";

/// gcc is called with two options of the script's.
const GCC: &str = "#!/bin/sh\n[ \"$3\" = --version ] && echo 'gcc-10 (Debian 10.2.1-6) 10.2.1'\n";

/// A home directory with an archive that has GCC 10 in bullseye, and a kernel's source.
fn home() -> Home {
    let home = Home::new();
    for (name, text) in [
        ("make", include_str!("files/make-kernel.sh")),
        ("gcc", include_str!("files/gcc.sh")),
    ] {
        fake_qemu::add_program(home.path(), name, text);
    }
    for name in "ld flex bison bc perl tar xz pahole lz4".split(' ') {
        fake_qemu::add_program(home.path(), name, "#!/bin/sh\n");
    }
    let own = "lib/gcc/x86_64-linux-gnu/10";
    let files = [
        ("bin/gcc-10", GCC),
        ("bin/as", ""),
        ("bin/ld", ""),
        (&format!("{own}/cc1"), ""),
        (&format!("{own}/collect2"), ""),
        ("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", LOADER),
        ("lib/x86_64-linux-gnu/libc.so.6", ""),
    ];
    let files = files.map(|(name, text)| (format!("usr/{name}"), text.into()));
    let package = Package {
        name: "gcc-10".to_owned(),
        version: "10.2.1-6",
        depends: String::new(),
        files: files.into(),
    };
    home.add("bullseye", &package);
    fs::create_dir(home.path().join("archive/trixie")).unwrap();
    let tree = home.path().join("src/linux");
    fs::create_dir_all(&tree).unwrap();
    let makefile = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 5\nEXTRAVERSION =\n";
    fs::write(tree.join("Makefile"), makefile).unwrap();
    fs::write(tree.join("Kconfig"), "").unwrap();
    home
}

fn build(home: &Home, flags: &str) -> Run {
    let run = xtask(home.path()).env("PATH", &home.path);
    run.args(&format!("build-kernel ~/src/linux {flags}")).run()
}

#[test]
fn a_compiler_of_another_suite_builds_the_kernel_and_not_the_hosts_programs() {
    let home = home();
    let flags = "--in-place --cc debian:gcc-10";
    let run = build(&home, flags).expect_status(0);
    let expected = " with gcc-10 (Debian 10.2.1-6) 10.2.1; log: ";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    let root = names(home.path().join("x86_64"));
    let [root] = &root[..] else {
        panic!("{root:?}")
    };
    assert!(root.starts_with("root-bullseye-"), "{root}");
    let called = fs::read_to_string(home.path().join("make.log")).unwrap();
    let program = format!("/x86_64/{root}/tree/usr/lib/vmtest/gcc-10 ");
    assert!(called.contains(&program), "{called}");
    assert!(
        called.contains(" CC=/") && !called.contains("HOSTCC="),
        "{called}"
    );

    // It is unpacked once, and serves without the archive.
    home.log();
    build(&home, flags).expect_status(0);
    assert_eq!(home.log(), [""; 0]);
    home.forget_lists();
    fs::write(home.path().join("away"), "  Could not connect to a:80\n").unwrap();
    let run = build(&home, flags).expect_status(0);
    let expected = "xtask: Debian's archive cannot be reached; using ";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

#[test]
fn a_compiler_that_cannot_be_had_is_one_error() {
    let home = home();
    let fails = |cc: &str, status: i32, expected: &str| {
        let run = build(&home, &format!("--in-place {cc}")).expect_status(status);
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        assert!(!home.path().join("x86_64").exists());
    };
    let expected = "no suite of Debian that this host can reach has gcc-8 (there is debian:gcc-10)";
    fails("--cc debian:gcc-8", 3, expected);
    let expected = "no suite of Debian that this host can reach has gcc-10-aarch64-linux-gnu";
    fake_qemu::add_program(home.path(), "aarch64-linux-gnu-ld", "#!/bin/sh\n");
    fails("--cc debian:gcc-10 -a aarch64", 3, expected);
    let expected = "\"clang-16\" is no compiler that can be had from Debian (debian:gcc-N";
    fails("--cc debian:clang-16", 2, expected);
    home.forget_lists();
    fs::write(home.path().join("away"), "  Could not connect to a:80\n").unwrap();
    let expected = "error: Debian's archive cannot be reached";
    fails("--cc debian:gcc-10", 3, expected);
}

#[test]
fn a_dry_run_fetches_no_compiler() {
    let home = home();
    let run = build(&home, "--dry-run --cc debian:gcc-7").expect_status(0);
    assert!(run.stdout.contains(": would be built, "), "{}", run.stdout);
    assert!(!home.path().join("x86_64").exists());
}
