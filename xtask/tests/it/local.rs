//! `cargo xtask test -l`: projects, suites, outcomes and reports from outside,
//! without a VM.

use std::path::Path;

use expect_test::{Expect, expect};
use tempfile::TempDir;

use crate::xtask;
use support::binary::Run;

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

            kernel  outcome  run  passed  failed  skipped  time
            local  passed  2  1  0  1  TIME s
            run = passed + failed + skipped; failed: a failure or an error that nothing expects
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

            kernel  outcome  run  passed  failed  skipped  time
            local  tests failed  2  1  1  0  TIME s
            run = passed + failed + skipped; failed: a failure or an error that nothing expects
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
            the tests behind it ran in a new process
            running then: test_it.A.test_b
            --- end of the tests' output:
            .the test process ended with status 0 in test_it.A.test_b; this new one runs the others
            ---
            output: WORK/log/RUN/local-output.log

            kernel  outcome  run  passed  failed  skipped  not run  time
            local  runner died  1  1  0  0  1  TIME s
            run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
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
            the tests behind it ran in a new process
            running then: test_it.A.test_b
            --- end of the tests' output:
            last words
            the test process ended by signal 11 in test_it.A.test_b; this new one runs the others
            ---
            output: WORK/log/RUN/local-output.log

            kernel  outcome  run  passed  failed  skipped  not run  time
            local  runner died  0  0  0  0  1  TIME s
            run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
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
    // The results, and nothing else.
    assert!(run.stdout.starts_with("kernel  outcome"), "{}", run.stdout);
    assert_eq!(run.stderr, "");
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
            .contains("vmtest.toml:2: lokal: unknown key (did you mean local?)"),
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

/// What every report of a session says, by its name: the files, and what `report show`
/// and a job of GitHub Actions print.
fn all_reports(project: &Path) -> Vec<(&'static str, String)> {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("reports");
    let summary = work.path().join("summary");
    let run = xtask(work.path())
        .args("test -l --report-dir")
        .arg(&folder)
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .current_dir(project)
        .run();
    let (before, annotations) = run.stdout.split_once("::error ").unwrap();
    let mut reports = vec![
        ("terminal", before.to_owned()),
        ("annotations", annotations.to_owned()),
        ("summary", std::fs::read_to_string(&summary).unwrap()),
    ];
    for name in ["report.html", "report.md", "junit.xml", "results.jsonl"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        reports.push((name, text));
    }
    for format in ["text", "markdown", "html", "junit", "json"] {
        let run = xtask(work.path())
            .args("report show --format")
            .arg(format)
            .arg(&folder)
            .run();
        reports.push((format, run.stdout));
    }
    // As a reader sees it.
    for (_, text) in &mut reports {
        for (escaped, plain) in [
            ("&#39;", "'"),
            ("&#x27;", "'"),
            ("&#61;", "="),
            ("&#95;", "_"),
        ] {
            *text = text.replace(escaped, plain);
        }
    }
    reports
}

#[test]
fn every_report_says_which_subtests_failed() {
    let project = project(
        "def test_all(self):
    'What programs do.'
    for name, status in (('quick', 0), ('failing', 3), ('endless', None)):
        with self.subTest(program=name):
            if status is None: raise TimeoutError('after 5 s')
            self.assertEqual(status, 0)",
    );
    for (name, text) in all_reports(project.path()) {
        for program in ["failing", "endless"] {
            let subtest = format!("(program='{program}')");
            assert!(text.contains(&subtest), "{name} lacks {subtest}:\n{text}");
        }
        if name != "json" {
            assert!(text.contains("What programs do."), "{name}:\n{text}");
            assert!(
                text.contains("failed (program='failing')"),
                "{name}:\n{text}"
            );
        }
        assert!(!text.contains("(program='quick')"), "{name}:\n{text}");
    }
}

#[test]
fn what_is_behind_a_dead_process_runs_and_every_killer_is_named() {
    let project = project(
        "def test_1(self): os._exit(0)
def test_2(self): self.fail('after')
def test_3(self): os.kill(os.getpid(), signal.SIGSEGV)
def test_4(self): pass",
    );
    for (name, text) in all_reports(project.path()) {
        let words = match name {
            "results.jsonl" => "\"outcome\":\"runner-died\"",
            _ => "runner died",
        };
        assert!(
            text.contains(words) || name == "annotations",
            "{name}:\n{text}"
        );
        for test in ["test_1", "test_2", "test_3"] {
            assert!(text.contains(test), "{name} lacks {test}:\n{text}");
        }
        assert!(!text.contains("console"), "{name}:\n{text}");
    }
    let (run, _work) = test(project.path(), "");
    let run = run.expect_status(1);
    let row = run
        .stdout
        .lines()
        .find(|line| line.starts_with("local  "))
        .unwrap();
    let cells = row.split_whitespace().collect::<Vec<_>>();
    // test_2 and test_4 ended.
    assert_eq!(
        cells[..8],
        ["local", "runner", "died", "2", "1", "1", "0", "2"],
        "{row}"
    );
}
