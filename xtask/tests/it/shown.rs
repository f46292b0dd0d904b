//! Text of others (names, arguments, guests, servers) in lines of ours: it commands no terminal
//! and makes no line.

use std::fs;

use crate::xtask;
use support::binary::Run;
use support::fake_kernel;
use support::fake_qemu;
use support::package_files::deb;

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
    let run = fake_qemu::vm(xtask(directory.path()), directory.path(), "init lies", "")
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

/// Results of somebody else's machine.
fn hostile_results(folder: &std::path::Path) {
    let name = serde_json::json!({ "kernel": HOSTILE, "arch": HOSTILE, "flavor": HOSTILE });
    let line = |event: &str, more: serde_json::Value| {
        let mut line = serde_json::json!({ "v": 1, "event": event });
        for object in [&name, &more] {
            let object = object.as_object().unwrap().clone();
            line.as_object_mut().unwrap().extend(object);
        }
        format!("{line}\n")
    };
    let test = serde_json::json!({
        "id": HOSTILE, "outcome": "failed", "seconds": 0.5,
        "reason": HOSTILE, "traceback": HOSTILE,
    });
    let finish = serde_json::json!({
        "outcome": "tests-failed", "status": 1, "acceleration": HOSTILE, "root": HOSTILE,
    });
    let session = serde_json::json!({
        "project": HOSTILE, "started": HOSTILE, "kernels": [HOSTILE],
    });
    let text = [
        line("session-started", session),
        line("vm-started", serde_json::json!({})),
        line("test-finished", test),
        line("vm-finished", finish),
        line("session-finding", serde_json::json!({ "text": HOSTILE })),
        line("session-finished", serde_json::json!({})),
    ];
    fs::write(folder.join("results.jsonl"), text.concat()).unwrap();
}

#[test]
fn reports_of_anybodys_results_command_nothing() {
    let work = tempfile::tempdir().unwrap();
    hostile_results(work.path());
    for format in ["text", "markdown", "html", "junit"] {
        let run = xtask(work.path())
            .args("report show . --format")
            .arg(format)
            .run();
        // The results are bad, which is a status of its own.
        let run = run.expect_status(1);
        let bad = |c: char| c.is_control() && c != '\n';
        // A page and an XML file are read by programs that know the rest.
        let strict = ["text", "markdown"].contains(&format);
        let found = run
            .stdout
            .chars()
            .find(|c| bad(*c) || (strict && *c == '\u{202e}'));
        let allowed = format == "junit" && found.is_some_and(|c| ('\u{7f}'..'\u{a0}').contains(&c));
        assert!(
            found.is_none() || allowed,
            "{format}: {found:?} in {}",
            run.stdout
        );
    }
    let text = |color: &str| {
        let run = xtask(work.path()).args("report show .").arg(color).run();
        run.stdout
    };
    // A traceback has lines of its own, like any text that tests print.
    let lines = text("--color=never");
    let lies = lines
        .lines()
        .filter(|line| line.starts_with("xtask: "))
        .count();
    assert_eq!(lies, 1, "{lines}");
    // Our own colours are whole.
    let colored = text("--color=always");
    assert!(!colored.contains("\u{fffd}[1;31mfailed"), "{colored}");
}
