//! `cargo xtask test -l`: projects, suites, outcomes and reports from outside,
//! without a VM.

use std::path::Path;

use expect_test::{Expect, expect};
use tempfile::TempDir;

use crate::support::{Run, xtask};

/// A project with one test file, whose class `A` has this body.
fn project(body: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).unwrap();
    };
    write("vmtest.toml", "name = \"example\"\n[local]\n");
    let body = body.replace('\n', "\n    ");
    write(
        "test_it.py",
        &format!("import os, signal, unittest\nclass A(unittest.TestCase):\n    {body}\n"),
    );
    directory
}

fn test(project: &Path, arguments: &str) -> (Run, TempDir) {
    let work = tempfile::tempdir().unwrap();
    let run = xtask(work.path())
        .args("test -l")
        .args(arguments)
        .current_dir(project)
        .run();
    (run, work)
}

/// Standard output without what differs from run to run: paths, durations, and
/// the marks that newer Pythons put below a line of a traceback.
fn redact(run: &Run, work: &TempDir, project: &TempDir) -> String {
    let logs = std::fs::read_dir(work.path().join("log")).unwrap();
    let folder = logs.map(|entry| entry.unwrap().file_name()).next().unwrap();
    let text = run
        .stdout
        .replace(&work.path().display().to_string(), "WORK")
        .replace(&project.path().display().to_string(), "PROJECT")
        .replace(&*folder.to_string_lossy(), "RUN");
    let mut result = String::new();
    for line in text.lines() {
        if line.contains('^') {
            continue;
        }
        let mut words = line.split(' ').collect::<Vec<_>>();
        for at in 1..words.len() {
            let unit = words[at].trim_matches([';', ')', ',']);
            if unit == "s" && words[at - 1].trim_start_matches('(').parse::<f64>().is_ok() {
                words[at - 1] = "TIME";
            }
        }
        let line = words.join(" ");
        // Columns are as wide as the durations in them.
        let mut blanks = 0;
        for c in line.chars() {
            blanks = if c == ' ' { blanks + 1 } else { 0 };
            if blanks < 3 {
                result.push(c);
            }
        }
        result.push('\n');
    }
    result
}

fn check(body: &str, arguments: &str, status: i32, expect: Expect) {
    let project = project(body);
    let (run, work) = test(project.path(), arguments);
    let run = run.expect_status(status);
    expect.assert_eq(&redact(&run, &work, &project));
}

#[test]
fn all_is_well() {
    check(
        "def test_a(self): pass\ndef test_b(self): self.skipTest('why')",
        "-v",
        0,
        expect![[r#"
              passed  TIME s  test_it.A.test_a
              skipped  TIME s  test_it.A.test_b: why
            local: passed; 2 run, 1 skipped; TIME s

            === local: skipped
              1  why

            kernel  outcome  run  passed  failed  errors  skipped  time
            local  passed  2  1  0  0  1  TIME s
        "#]],
    );
}

#[test]
fn a_test_fails() {
    check(
        "def test_a(self): self.assertEqual(1, 2)\ndef test_b(self): pass",
        "",
        1,
        expect![[r#"
            local: failed test_it.A.test_a: AssertionError: 1 != 2
            local: tests failed; 2 run, 1 failed; TIME s

            === local: failed test_it.A.test_a TIME s)
            Traceback (most recent call last):
              File "PROJECT/test_it.py", line 3, in test_a
              def test_a(self): self.assertEqual(1, 2)
            AssertionError: 1 != 2
            output: WORK/log/RUN/local-output.log

            kernel  outcome  run  passed  failed  errors  skipped  time
            local  tests failed  2  1  1  0  0  TIME s
        "#]],
    );
}

#[test]
fn the_interpreter_ends_without_a_word() {
    check(
        "def test_a(self): pass\ndef test_b(self): os._exit(0)",
        "",
        1,
        expect![[r#"
            local: runner died: ended with status 0 before the last test was done, while running test_it.A.test_b; 1 run, 1 not run; TIME s

            === local: runner died: ended with status 0 before the last test was done
            running then: test_it.A.test_b
            --- end of the tests' output:
            .
            ---
            output: WORK/log/RUN/local-output.log

            kernel  outcome  run  passed  failed  errors  skipped  time
            local  runner died  1  1  0  0  0  TIME s
        "#]],
    );
}

#[test]
fn the_interpreter_crashes() {
    check(
        "def test_b(self):\n    print('last words')\n    os.kill(os.getpid(), signal.SIGSEGV)",
        "",
        1,
        expect![[r#"
            local: runner died: ended by signal 11 (SIGSEGV) before the last test was done, while running test_it.A.test_b; 0 run, 1 not run; TIME s

            === local: runner died: ended by signal 11 (SIGSEGV) before the last test was done
            running then: test_it.A.test_b
            --- end of the tests' output:
            last words
            ---
            output: WORK/log/RUN/local-output.log

            kernel  outcome  run  passed  failed  errors  skipped  time
            local  runner died  0  0  0  0  0  TIME s
        "#]],
    );
}

#[test]
fn there_is_no_test() {
    let project = project("pass");
    let (run, _work) = test(project.path(), "");
    let run = run.expect_status(5);
    assert!(run.stdout.contains("local: no tests ran; 0 run"));
}

#[test]
fn arguments_go_to_unittest() {
    let body = "def test_a(self): pass\ndef test_b(self): self.fail()";
    let project = project(body);
    let (run, _work) = test(project.path(), "-q -- -k test_a");
    let run = run.expect_status(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let (run, _work) = test(project.path(), "-- test_it.A.test_b");
    run.expect_status(1);
    let (run, _work) = test(project.path(), "-- test_it.py");
    assert!(
        run.expect_status(1)
            .stdout
            .contains("failed test_it.A.test_b")
    );
}

#[test]
fn results_are_lines_of_json() {
    let project = project("def test_a(self): pass");
    let (run, work) = test(project.path(), "");
    run.expect_status(0);
    let folder = std::fs::read_dir(work.path().join("log")).unwrap().next();
    let file = folder.unwrap().unwrap().path().join("results.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| format!("{} on {}", line["event"], line["kernel"]).replace('"', ""))
        .collect::<Vec<_>>();
    assert_eq!(
        events,
        [
            "session-started on null",
            "vm-started on local",
            "run-started on local",
            "test-started on local",
            "test-finished on local",
            "run-finished on local",
            "vm-finished on local",
            "session-finished on null",
        ]
    );
}

#[test]
fn mistakes_in_a_project_are_usage_errors() {
    let project = project("pass");
    let file = project.path().join("vmtest.toml");
    std::fs::write(&file, "name = \"x\"\n[lokal]\n").unwrap();
    let (run, _work) = test(project.path(), "");
    let run = run.expect_status(2);
    assert!(
        run.stderr
            .contains("vmtest.toml:2: lokal: unknown key (did you mean \"local\"?)"),
        "{}",
        run.stderr
    );

    std::fs::write(&file, "name = \"x\"\n").unwrap();
    let (run, _work) = test(project.path(), "");
    let run = run.expect_status(2);
    assert!(run.stderr.contains("has no local tests"), "{}", run.stderr);
}

#[test]
fn a_prepare_step_that_fails_says_where_to_look() {
    let project = project("pass");
    std::fs::write(
        project.path().join("vmtest.toml"),
        "name = \"x\"\nprepare = [\"echo it broke >&2; exit 3\"]\n[local]\n",
    )
    .unwrap();
    let (run, _work) = test(project.path(), "");
    let run = run.expect_status(3);
    assert!(run.stderr.contains("cannot prepare x"), "{}", run.stderr);
    assert!(run.stderr.contains("xtask: it broke"), "{}", run.stderr);
    assert!(run.stderr.contains("prepare.log"), "{}", run.stderr);
}
