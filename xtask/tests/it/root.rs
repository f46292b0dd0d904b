//! `--root debian:SUITE` with an archive that is played by scripts: no network, no root.

use std::fs;
use std::path::PathBuf;

use crate::debian::{Home, Package};
use crate::xtask;
use support::binary::{Run, Xtask};
use support::fake_kernel;
use support::host::{names, wait_for};

const RECIPE: &str = include_str!("../../../vmtest-assets/roots/debian.txt");

/// The packages of the recipe.
fn packages() -> impl Iterator<Item = Package> {
    let rows = RECIPE
        .lines()
        .filter_map(|line| Some(line.split_once(" | ")?.0.trim_end()));
    let names = rows.filter(|name| !name.starts_with('#') && !name.ends_with('?'));
    names.map(|name| {
        // A program for x86-64 without an interpreter.
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[18] = 62;
        let files = match name {
            "busybox-static" => vec![("bin/busybox".to_owned(), program)],
            "dash" => vec![("usr/bin/dash".to_owned(), program)],
            _ => vec![(format!("usr/share/{name}/x"), name.into())],
        };
        let (name, depends) = (name.to_owned(), String::new());
        Package {
            name,
            version: "1",
            depends,
            files,
        }
    })
}

/// A home directory with an archive of trixie and a kernel.
fn home() -> Home {
    let home = Home::new();
    for package in packages() {
        home.add("trixie", &package);
    }
    let release = "6.1.0-vmtest1.1default";
    fake_kernel::write(&home.path().join("kernel"), release, "k", 0);
    home
}

fn vm(home: &Home, root: &str) -> Xtask {
    let run = xtask(home.path()).env("PATH", &home.path);
    run.args(&format!("vm --accel tcg --dry-run --root {root} -k"))
        .arg(home.path().join("kernel"))
        .args("-- true")
}

/// The folders of userspaces, also those that are being made.
fn roots(home: &Home) -> Vec<String> {
    let mut names = names(home.path().join("x86_64"));
    names.retain(|name| name.contains("root-"));
    names
}

#[track_caller]
fn made(home: &Home, run: &Run) -> PathBuf {
    let [root] = &roots(home)[..] else {
        panic!("{:?}", roots(home));
    };
    let root = home.path().join("x86_64").join(root);
    let tree = root.join("tree");
    assert!(
        run.stdout.contains(tree.to_str().unwrap()),
        "{}",
        run.stdout
    );
    for file in [
        "bin/busybox",
        "usr/bin/sh",
        "usr/share/python3/x",
        "etc/hosts",
    ] {
        assert!(tree.join(file).is_file(), "{file}");
    }
    tree
}

#[test]
fn a_root_is_made_once() {
    let home = home();
    let run = vm(&home, "debian:trixie").run().expect_status(0);
    let tree = made(&home, &run);
    let count = packages().count();
    let log = home.log();
    assert_eq!(
        log.iter().filter(|line| line.starts_with("fetch ")).count(),
        count + 1
    );
    let archives = home.path().join("cache/apt/trixie/archives");
    assert_eq!(names(&archives), ["partial"]);
    // Nobody is asked as long as the lists are new.
    let again = vm(&home, "debian").run().expect_status(0);
    assert_eq!(made(&home, &again), tree);
    assert_eq!(home.log(), [""; 0]);
    home.forget_lists();
    let again = vm(&home, "debian").run().expect_status(0);
    assert_eq!(made(&home, &again), tree);
    assert_eq!(home.log(), ["choose trixie", "update trixie"]);

    // Without the archive, what is here serves.
    home.forget_lists();
    fs::write(home.path().join("away"), "  Could not connect to a:80\n").unwrap();
    let away = vm(&home, "debian:trixie").run().expect_status(0);
    assert_eq!(made(&home, &away), tree);
    let expected = "xtask: Debian's archive cannot be reached; using ";
    assert!(away.stderr.contains(expected), "{}", away.stderr);
    vm(&home, "debian:bookworm").run().expect_status(3);
    fs::remove_file(home.path().join("away")).unwrap();

    // Newer packages are another userspace, and prune removes the old one.
    let mut newer = packages().next().unwrap();
    newer.version = "2";
    home.add("trixie", &newer);
    home.forget_lists();
    vm(&home, "debian:trixie").run().expect_status(0);
    assert_eq!(roots(&home).len(), 2);
    let prune = xtask(home.path()).args("prune --keep 1 --yes");
    let prune = prune.run().expect_status(0);
    assert!(prune.stdout.contains("root trixie"), "{}", prune.stdout);
    let [left] = &roots(&home)[..] else { panic!() };
    assert!(!tree.starts_with(home.path().join("x86_64").join(left)));
}

#[test]
fn a_root_that_is_cut_off_is_not_there_and_is_taken_up_again() {
    let home = home();
    fs::write(home.path().join("stop"), "grep").unwrap();
    let mut child = vm(&home, "debian:trixie").start();
    wait_for("the download", || {
        home.path().join("stopped").exists().then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let left = roots(&home);
    assert!(left.iter().all(|name| name.starts_with('.')), "{left:?}");
    let before = home.log();
    assert!(
        before.contains(&"fetch coreutils trixie".to_owned()),
        "{before:?}"
    );

    // The next one goes on; a file that was damaged meanwhile comes again.
    fs::remove_file(home.path().join("stop")).unwrap();
    let archives = home.path().join("cache/apt/trixie/archives");
    fs::write(archives.join("bash_1_amd64.deb"), "x").unwrap();
    let run = vm(&home, "debian:trixie").run().expect_status(0);
    made(&home, &run);
    let log = home.log();
    assert!(
        !log.contains(&"fetch coreutils trixie".to_owned()),
        "{log:?}"
    );
    for name in ["bash", "grep"] {
        assert!(log.contains(&format!("fetch {name} trixie")), "{log:?}");
    }
}

#[test]
fn what_cannot_be_made_is_one_error_and_leaves_nothing() {
    let home = home();
    let mut damaged = packages().next().unwrap();
    damaged.files = vec![("../x".to_owned(), b"x".to_vec())];
    let fails = |root: &str, expected: &str| {
        let run = vm(&home, root).run().expect_status(3);
        let errors = run.stderr.lines().filter(|line| line.contains("error: "));
        assert_eq!(errors.count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        assert_eq!(roots(&home), [""; 0]);
    };
    // A suite that has nothing of this architecture.
    fs::create_dir(home.path().join("archive/bookworm")).unwrap();
    fails(
        "debian:bookworm",
        "Debian's bookworm has no packages for amd64 (--root debian:SUITE with one that has: trixie)",
    );
    fails("debian:bullseye", "does not have that suite");
    fs::remove_file(home.path().join("archive/trixie/tar.deb")).unwrap();
    home.forget_lists();
    fails("debian:trixie", "Unable to locate package tar");
}
