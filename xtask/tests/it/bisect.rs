//! `bisect` from outside, on kernels that a script plays: how many it runs, and what it
//! says.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::xtask;
use support::binary::Run;
use support::fake_kernel;
use support::fake_qemu;

/// The kernels of the list, the oldest first.
const SERIES: [&str; 5] = ["5.10", "5.15", "6.1", "6.6", "6.12"];

/// A home with a project, five kernels and a QEMU; a request for all kernels.
fn home(part: &str) -> (TempDir, String, String) {
    let home = tempfile::tempdir().unwrap();
    let path = fake_qemu::install(home.path(), part);
    let project = home.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("vmtest.toml"), "name = \"example\"\n").unwrap();
    let text = "import unittest\nclass A(unittest.TestCase):\n    def a(self): pass\n";
    fs::write(project.join("t.py"), text).unwrap();
    for series in SERIES {
        let release = format!("{series}.7-vmtest1.1default");
        let kernel = home.path().join(format!("x86_64/kernel-{release}"));
        fake_kernel::write(&kernel, &release, "00ff00ff", 0);
        fs::write(kernel.join("modules.dep"), "").unwrap();
    }
    (home, path, SERIES.join(","))
}

/// A search; what it said, and the kernels that were run, in their order.
fn bisect(home: &Path, path: &str, arguments: &str) -> (Run, String) {
    let run = xtask(home)
        .env("PATH", path)
        .args("bisect t.A.a --accel tcg --from local -C project")
        .args(arguments)
        .run();
    let ran = fs::read_to_string(home.join("ran")).unwrap_or_default();
    (run, ran.trim().replace('\n', " "))
}

#[test]
fn a_change_among_five_kernels_is_found_in_three_runs_at_most() {
    for (index, series) in SERIES.iter().enumerate().skip(1) {
        let (home, path, list) = home(&format!("passed, from {series} on failed"));
        let (run, ran) = bisect(home.path(), &path, &format!("-q -k {list}"));
        let run = run.expect_status(0);
        assert!(ran.split(' ').count() <= 3, "{ran}");
        let answer = run.stdout.lines().last().unwrap();
        let new = format!("fails from {series}.7-vmtest1.1default on");
        assert!(answer.contains(&new), "{answer}");
        if index > 1 {
            let old = format!("t.A.a passes on {}.7-vmtest1.1default", SERIES[index - 1]);
            assert!(answer.starts_with(&old), "{answer}");
        } else {
            assert!(answer.contains("5.10 is the only older kernel"), "{answer}");
        }
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn the_list_is_searched_in_the_order_of_versions_and_told_of() {
    let (home, path, _) = home("skipped, from 6.6 on passed");
    let (run, ran) = bisect(home.path(), &path, "-k 6.12,6.1 -k 5.10,5.15,6.6");
    let run = run.expect_status(0);
    assert_eq!(ran, "6.12 6.1 6.6");
    let answer = "t.A.a is skipped on 6.1.7-vmtest1.1default and \
                  passes from 6.6.7-vmtest1.1default on\n";
    assert!(run.stdout.ends_with(answer), "{}", run.stdout);
    for line in [
        "xtask: passes on 6.12.7-vmtest1.1default",
        "xtask: is skipped on 6.1.7-vmtest1.1default",
        "xtask: passes on 6.6.7-vmtest1.1default",
    ] {
        assert!(
            run.stderr.lines().any(|said| said == line),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_test_that_did_not_change_is_seen_when_it_is_verified() {
    let (home, path, list) = home("passed, from 9.9 on failed");
    let (run, ran) = bisect(home.path(), &path, &format!("-q --verify -k {list}"));
    let run = run.expect_status(1);
    assert_eq!(ran, "6.12 6.1 5.15 5.10");
    assert!(run.stdout.ends_with("t.A.a passes on every kernel\n"));
}

#[test]
fn what_cannot_be_tested_is_passed_over_and_may_hide_the_change() {
    // 6.2 is nowhere: between 6.1 and 6.6, it is not needed when the change is elsewhere.
    let (home, path, list) = home("passed, from 5.15 on failed");
    let (run, ran) = bisect(home.path(), &path, &format!("-q -k {list},6.2,6.3"));
    run.expect_status(0);
    assert_eq!(ran.split(' ').next(), Some("6.12"));
    // What was found first is only looked for.
    let (home, path, _) = self::home("passed, from 6.6 on failed");
    let (run, _) = bisect(home.path(), &path, "-k 6.1,6.2,6.6");
    let run = run.expect_status(3);
    assert!(
        run.stdout.ends_with("those between cannot be tested\n"),
        "{}",
        run.stdout
    );
    let why = "cannot be tested on 6.2: fetch failed: no kernel on this machine matches 6.2";
    assert!(run.stderr.contains(why), "{}", run.stderr);
}

#[test]
fn a_kernel_that_panics_before_the_test_cannot_be_tested() {
    let (home, path, list) = home("panic, from 6.6 on passed");
    let (run, _) = bisect(home.path(), &path, &format!("-q --verify -k {list}"));
    let run = run.expect_status(4);
    let answer =
        "t.A.a passes from 6.6.7-vmtest1.1default on, and older kernels cannot be tested\n";
    assert!(run.stdout.ends_with(answer), "{}", run.stdout);
}

#[test]
fn earlier_results_are_not_run_again() {
    let (home, path, list) = home("passed, from 6.1 on failed");
    let results = home.path().join("earlier");
    fs::create_dir(&results).unwrap();
    let line = |series: &str, outcome: &str| {
        let name = format!(
            "\"kernel\":\"{series}.7-vmtest1.1default\",\"arch\":\"x86_64\",\"flavor\":\"default\""
        );
        format!(
            "{{\"v\":1,\"event\":\"test-finished\",\"id\":\"t.A.a\",\"outcome\":\"{outcome}\",{name}}}\n\
             {{\"v\":1,\"event\":\"vm-finished\",\"outcome\":\"tests-failed\",{name}}}\n"
        )
    };
    let text = line("5.10", "passed") + &line("6.12", "failed");
    fs::write(results.join("results.jsonl"), text).unwrap();
    let (run, ran) = bisect(home.path(), &path, &format!("-k {list} --results earlier"));
    let run = run.expect_status(0);
    assert_eq!(ran, "6.1 5.15");
    assert!(
        run.stderr.contains("passes on 5.10, as recorded"),
        "{}",
        run.stderr
    );
    assert!(run.stdout.contains("fails from 6.1.7-vmtest1.1default on"));
}

#[test]
fn mistakes_are_usage_errors() {
    let (home, path, list) = home("");
    for (arguments, says) in [
        ("", "a search needs at least two kernels"),
        ("-k 6.1,6.1", "a search needs at least two kernels"),
        ("-k 6.1,6.999", "6.999"),
        ("-K -f tinny", "unknown flavor tinny"),
        (
            &format!("-k {list} --results nowhere"),
            "there is no nowhere",
        ),
        (
            &format!("-k {list} --results project/vmtest.toml"),
            "is a test result",
        ),
    ] {
        let (run, ran) = bisect(home.path(), &path, arguments);
        let run = run.expect_status(2);
        assert!(run.stderr.contains(says), "{arguments}: {}", run.stderr);
        assert_eq!(ran, "");
    }
}
