//! A kernel that complains is not green, whoever looks, and words that only look like a
//! complaint are none. The module makes the tests' kernel complain; what its configuration
//! has no checker for is tested with recorded reports (`vm::console::complaint`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Call, Ended, folder, terminal, test, unpacked_kernel};

const SOURCE: &str = include_str!("files/complain.c");

const TESTS: &str = include_str!("files/complaints.py");

const SAYS: &str = "the module complains of 42";

fn write_module(directory: &Path, source: &str) {
    let module = directory.join("complain");
    fs::create_dir(&module).unwrap();
    fs::write(module.join("Makefile"), "obj-m := complain.o\n").unwrap();
    fs::write(module.join("complain.c"), source).unwrap();
}

/// The built module, for `vm`.
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
fn module() -> (TempDir, PathBuf) {
    let directory = folder("vmtest-complain-");
    write_module(directory.path(), SOURCE);
    let file = directory.path().join("complain/complain.ko");
    let build = Command::new("make")
        .arg("-C")
        .arg(unpacked_kernel().join("build"))
        .arg(format!("M={}", file.parent().unwrap().display()))
        .arg("modules")
        .output()
        .unwrap();
    assert!(build.status.success(), "{build:?}");
    (directory, file)
}

/// Runs `script` in a VM, where `$complain` makes the kernel complain.
fn vm(options: &str, script: &str) -> Ended {
    let (_directory, file) = module();
    let complain = format!("complain='insmod {} what=warning'; ", file.display());
    Call::vm(options).script(&(complain + script)).output()
}

/// Runs the project, whose project file has `table`; what ended, and the complaints in its
/// results.
fn suite(table: &str, load: bool) -> (Ended, Vec<serde_json::Value>) {
    let project = folder("vmtest-complaints-");
    let source = match load {
        true => SOURCE.replace("*what = \"\"", "*what = \"warning\""),
        false => SOURCE.to_owned(),
    };
    write_module(project.path(), &source);
    let module = format!("[module]\nsource = \"complain\"\nload = {load}\nvariable = \"COMPLAIN\"");
    let file = format!("name = \"complaints\"\n{module}\n{table}");
    fs::write(project.path().join("vmtest.toml"), file).unwrap();
    let tests = match load {
        true => "import unittest\nclass A(unittest.TestCase):\n def test_1(self): pass\n",
        false => TESTS,
    };
    fs::write(project.path().join("test_it.py"), tests).unwrap();
    let reports = project.path().join("reports");
    let ended = test(project.path(), "--report-dir")
        .with(|call| {
            call.arg(&reports);
        })
        .output();
    let results = fs::read_to_string(reports.join("results.jsonl")).unwrap();
    // Who complained is known by the kernel's time of each test's end, which comes with a test during
    // which the kernel said something.
    let timed = results.contains("\"kernel_time\":");
    assert!(timed || load, "{results}");
    let events = results
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    // A stall is the busy host's.
    let ours = |event: &serde_json::Value| {
        event["event"] == "kernel-complained" && event["kind"] != "stall"
    };
    (ended, events.filter(ours).collect())
}

#[test]
fn complaints_belong_to_their_tests_and_words_are_none() {
    let (ended, complaints) = suite("", false);
    let stdout = ended.expect(1).stdout();
    assert!(stdout.contains("complained: WARNING: "), "{stdout}");
    let found = complaints
        .iter()
        .map(|complaint| (complaint["test"].as_str(), complaint["kind"].as_str()));
    let name = |test| Some(test);
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            (name("test_it.A.test_2_warning"), Some("WARNING")),
            (name("test_it.A.test_4_refcount"), Some("WARNING")),
            (name("test_it.A.test_5_atomic"), Some("BUG")),
        ],
        "{complaints:#?}"
    );
    // Not where it was built.
    let title = complaints[0]["title"].as_str().unwrap();
    assert!(title.contains(" complain/complain.c:"), "{title}");
    for (complaint, words) in complaints.iter().zip([
        [SAYS, "complain.c:", "(init/main.c:"],
        [
            "refcount_t: addition on 0; use-after-free.",
            "(lib/refcount.c:",
            "complain_init+0x",
        ],
        [
            "BUG: scheduling while atomic: insmod/",
            "(kernel/sched/core.c:",
            "complain_init+0x",
        ],
    ]) {
        let report = complaint["report"].as_str().unwrap();
        for word in words {
            assert!(report.contains(word), "lacks {word:?}:\n{report}");
        }
    }
}

const ALLOW: &str = "\
[[allow]]\npattern = \"WARNING: * at complain/complain.c:*: the module complains of *\"\nreason = \"a test\"\n\
[[allow]]\npattern = \"*refcount_t: addition on 0*\"\nreason = \"a test\"\n\
[[allow]]\npattern = \"BUG: scheduling while atomic: *\"\nkernels = \">=3.0\"\nreason = \"a test\"\n";

#[test]
fn complaints_that_are_allowed_make_no_run_fail() {
    let (ended, complaints) = suite(ALLOW, false);
    ended.expect(0);
    assert_eq!(complaints.len(), 3);
    assert!(
        complaints
            .iter()
            .all(|complaint| complaint["allowed"] == "a test")
    );
}

#[test]
fn a_pattern_that_never_matches_makes_a_run_fail() {
    let never = "[[allow]]\npattern = \"WARNING: never\"\nreason = \"a test\"\n";
    let (ended, complaints) = suite(&format!("{ALLOW}{never}"), false);
    let stdout = ended.expect(1).stdout();
    assert!(stdout.contains("WARNING: never"), "{stdout}");
    assert!(
        complaints
            .iter()
            .all(|complaint| complaint["allowed"] == "a test")
    );
}

#[test]
fn a_complaint_before_the_tests_belongs_to_none() {
    let (ended, complaints) = suite("", true);
    let stdout = ended.expect(1).stdout();
    assert!(stdout.contains("complained: WARNING: "), "{stdout}");
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    assert_eq!(complaints[0]["test"], serde_json::Value::Null);
    assert!(complaints[0]["title"].as_str().unwrap().contains(SAYS));
}

#[test]
fn vm_shows_fails_or_ignores() {
    for (options, script, status, title, report) in [
        ("", "$complain", 0, true, false),
        ("--complaints fail", "$complain", 1, true, true),
        ("--complaints fail", "$complain; exit 3", 3, true, true),
        ("--complaints fail", "true", 0, false, false),
        ("--complaints ignore", "$complain", 0, false, false),
    ] {
        let stderr = vm(options, script).expect(status).stderr();
        let said = stderr.contains("the kernel complained: WARNING: ") && stderr.contains(SAYS);
        assert_eq!(said, title, "{options} {script}:\n{stderr}");
        assert_eq!(
            stderr.contains("complain_init+0x"),
            report || title,
            "{stderr}"
        );
        assert_eq!(stderr.contains("do_one_initcall+0x"), report, "{stderr}");
    }
}

/// What these do to the log takes neither the verdict nor the end from a run.
#[test]
fn a_log_that_is_flooded_taken_or_closed_delays_no_end() {
    let flood = "i=0; while [ $i -lt 10000 ]; do echo \"<7>flood $i\" >/dev/kmsg; i=$((i+1)); done";
    for script in [
        format!("{flood}; exit 5"),
        "cat /proc/kmsg >/dev/null & sleep 1; exit 5".to_owned(),
        "dmesg -C; echo off >/proc/sys/kernel/printk_devkmsg; exit 5".to_owned(),
    ] {
        let ended = vm("--timeout 300s", &script).expect(5);
        assert_eq!(ended.guest_stderr(), "", "{script}");
    }
    let stderr = vm("--complaints fail", &format!("{flood}; $complain")).expect(1);
    assert!(stderr.stderr().contains(SAYS));
}

#[test]
fn a_kernel_is_heard_after_all_processes_were_killed() {
    let ended = vm("--complaints fail", "kill -9 -1; sleep 2; $complain").expect(1);
    assert!(ended.stderr().contains(SAYS), "{}", ended.stderr());
}

#[test]
fn a_kernel_is_heard_beside_a_terminal() {
    let (_directory, file) = module();
    let file = file.to_str().unwrap();
    let options = ["vm", "--complaints", "fail", "--from", "local", "-k"];
    let kernel = crate::kernel();
    let command = [kernel.as_str(), "--", "insmod", file, "what=warning"];
    let shown = terminal::run(&[&options[..], &command].concat(), &[]);
    assert!(
        shown.contains("the kernel complained: WARNING: "),
        "{shown}"
    );
    assert!(shown.contains("\nstatus 1\n"), "{shown}");
}
