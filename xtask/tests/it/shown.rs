//! Text of others (names, arguments, guests, servers) in lines of ours: it commands no terminal
//! and makes no line.

use std::fs;

use crate::package_files::deb;
use crate::support::{Run, xtask};
use crate::{fake_kernel, fake_qemu};

/// What would turn a terminal red, end the line, and lie in the next one.
const HOSTILE: &str = "a\u{1b}[31m\u{9b}1m\u{202e}\u{7f}\nxtask: all is well";

#[track_caller]
fn clean(run: &Run, lines: usize) {
    let text = &run.stderr;
    assert_eq!(text.lines().count(), lines, "{text:?}");
    for line in text.lines() {
        assert!(line.starts_with("xtask: "), "{text:?}");
    }
    let hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(hidden), "{text:?}");
}

#[test]
fn arguments_are_shown_in_one_line() {
    let work = tempfile::tempdir().unwrap();
    let path = format!("./{HOSTILE}");
    for words in [
        &["vm", "-k", &path][..],
        &["vm", "-k", HOSTILE],
        &["report", "show", &path],
        &["list", "--remote", "--api-url", HOSTILE],
        &["list", "--remote", "--repo", HOSTILE],
        &["kconfig", "--check", &path],
        &["test", "-C", &path],
        &["upload", &path],
        &["build-kernel", &path],
        &[HOSTILE],
    ] {
        let run = words
            .iter()
            .fold(xtask(work.path()), |xtask, word| xtask.arg(word))
            .run();
        assert!([2, 3].contains(&run.status), "{words:?}: {run:?}");
        clean(&run, 1);
    }
}

#[test]
fn settings_and_packages_are_shown_in_one_line() {
    let work = tempfile::tempdir().unwrap();
    let url = "api-url = \"http://a\\nxtask: b\\u001b[31m\"\n";
    fs::write(work.path().join("config.toml"), url).unwrap();
    let run = xtask(work.path()).args("list --remote").run();
    clean(&run.expect_status(2), 1);
    fs::remove_file(work.path().join("config.toml")).unwrap();

    let control = "Package: a\u{1b}[31m\u{9b}b\nVersion: 1\nArchitecture: amd64";
    fs::write(work.path().join("p.deb"), deb(control, &[])).unwrap();
    let run = xtask(work.path())
        .env("PATH", fake_qemu::install(work.path(), "good"))
        .args("-q vm --dry-run -k ./p.deb -- true")
        .run();
    clean(&run.expect_status(2), 1);
}

#[test]
fn what_a_guest_says_is_shown_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let run = fake_qemu::vm(directory.path(), "init lies", "")
        .args("-- true")
        .run();
    assert!(run.stderr.contains("the guest's init failed: a"), "{run:?}");
    // The console's one line, and where the rest is, have lines of their own.
    clean(&run.expect_status(128), 4);
}

#[test]
fn a_list_has_a_line_for_each_kernel() {
    let outer = tempfile::tempdir().unwrap();
    let work = outer.path().join(HOSTILE.replace('/', "-"));
    let kernel = work.join("x86_64/kernel-6.1.1-vmtest1.1default");
    fs::create_dir_all(&kernel).unwrap();
    fake_kernel::write(&kernel, "6.1.1-vmtest1.1default", "00ff00ff", 0);
    let run = xtask(&work).args("list").run().expect_status(0);
    assert_eq!(run.stdout.lines().count(), 2, "{:?}", run.stdout);
    assert!(!run.stdout.contains('\u{1b}'), "{:?}", run.stdout);
    // A program gets what there is.
    let run = xtask(&work).args("list --format json").run();
    assert!(run.stdout.contains("\\u001b[31m"), "{:?}", run.stdout);
}
