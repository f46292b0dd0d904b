//! `report`: what is shown, joined and compared, and with which exit status.

use std::path::Path;

use serde_json::{Value, json};

use crate::xtask;

/// The lines of one kernel, on which tests did `outcomes`.
fn kernel(release: &str, outcomes: &[(&str, &str)], end: &Value) -> Vec<Value> {
    let mut lines = vec![
        json!({"event": "vm-started"}),
        json!({"event": "run-started", "tests": outcomes.len()}),
    ];
    let mut counts = json!({});
    for (id, outcome) in outcomes {
        let count = counts[outcome].as_u64().unwrap_or(0);
        counts[outcome] = (count + 1).into();
        lines.push(json!({"event": "test-started", "id": id}));
        let mut finished = json!({
            "event": "test-finished", "id": id, "outcome": outcome, "seconds": 0.5,
        });
        match *outcome {
            "failed" => {
                finished["reason"] = "AssertionError: <1> & \u{1b}[31m\"2\"".into();
                finished["traceback"] = "Traceback\n  ::error:: ]]> \u{7}\u{fffe} é".into();
            }
            "skipped" => finished["reason"] = "not here".into(),
            _ => {}
        }
        lines.push(finished);
    }
    if end["outcome"] != "panicked" {
        lines.push(json!({"event": "run-finished", "counts": counts, "seconds": 1.0}));
    }
    let mut end = end.clone();
    end["event"] = "vm-finished".into();
    end["seconds"] = json!({"boot": 2.0, "total": 9.0});
    end["evidence"] = json!({"logs": [["console", format!("{release}-console.log")]]});
    lines.push(end);
    for line in &mut lines {
        line["kernel"] = release.into();
        line["arch"] = "x86_64".into();
        line["flavor"] = Value::Null;
    }
    lines
}

#[test]
fn a_clock_that_says_anything_prints_few_digits() {
    let work = tempfile::tempdir().unwrap();
    let mut lines = kernel(
        "6.1.9",
        &[("t.a", "failed")],
        &json!({"outcome": "tests-failed"}),
    );
    for line in &mut lines {
        match &mut line["seconds"] {
            Value::Object(phases) => phases.values_mut().for_each(|v| *v = json!(1e308)),
            Value::Null => {}
            seconds => *seconds = json!(1e308),
        }
    }
    session(&work.path().join("r"), None, &[lines]);
    for format in ["text", "markdown", "html", "junit", "json"] {
        let run = xtask(work.path())
            .args("report show -v r --format")
            .arg(format);
        let run = run.run().expect_status(1);
        assert!(!run.stdout.contains(&"0".repeat(20)), "{}", run.stdout);
    }
}

/// Writes a session's results into a folder.
fn session(folder: &Path, partition: Option<(u32, u32)>, kernels: &[Vec<Value>]) {
    let mut start = json!({
        "event": "session-started", "project": "example", "started": "2026-11-25T16:21:20Z",
        "kernels": ["5.4", "6.1"], "filtered": false,
    });
    if let Some((number, of)) = partition {
        start["partition"] = json!([number, of]);
    }
    let mut lines = vec![start];
    lines.extend(kernels.iter().flatten().cloned());
    lines.push(json!({"event": "session-finished"}));
    let mut text = String::new();
    for mut line in lines {
        line["v"] = 1.into();
        text += &format!("{line}\n");
    }
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("results.jsonl"), text).unwrap();
}

fn old() -> Vec<Value> {
    let outcomes = [
        ("t.A.a", "passed"),
        ("t.A.b", "passed"),
        ("t.A.c", "skipped"),
    ];
    kernel("5.4.1", &outcomes, &json!({"outcome": "passed"}))
}

fn new() -> Vec<Value> {
    let outcomes = [
        ("t.A.a", "failed"),
        ("t.A.b", "passed"),
        ("t.A.c", "skipped"),
    ];
    kernel("6.1.9", &outcomes, &json!({"outcome": "tests-failed"}))
}

fn panicked() -> Vec<Value> {
    let end = json!({"outcome": "panicked", "how": "Oops", "running": "t.A.b"});
    kernel("6.1.9", &[("t.A.a", "passed")], &end)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_newest_session_is_shown() {
    let work = tempfile::tempdir().unwrap();
    let logs = work.path().join("log");
    let run = xtask(work.path())
        .args("report show")
        .run()
        .expect_status(2);
    assert!(
        run.stderr.contains("there are no results in"),
        "{}",
        run.stderr
    );
    session(&logs.join("20261124-000000-2"), None, &[new()]);
    session(&logs.join("20261125-000000-1"), None, &[old()]);
    // A command that left no results.
    std::fs::create_dir(logs.join("20261126-000000-1")).unwrap();
    let run = xtask(work.path())
        .args("report show")
        .run()
        .expect_status(0);
    assert!(run.stdout.contains("5.4.1"), "{}", run.stdout);
    assert!(!run.stdout.contains("6.1.9"), "{}", run.stdout);

    let other = xtask(work.path())
        .args("report show log/20261124-000000-2")
        .run()
        .expect_status(1);
    assert!(other.stdout.contains("failed t.A.a"), "{}", other.stdout);
    assert!(other.stdout.contains("\n  ::error::"), "{}", other.stdout);
    // In a job of GitHub Actions that would be a command.
    let job = xtask(work.path()).env("GITHUB_ACTIONS", "true");
    let job = job.args("report show log/20261124-000000-2").run();
    assert!(job.stdout.contains("\n  \\::error::"), "{}", job.stdout);
    for place in ["log/none", "log/20261126-000000-1"] {
        let run = xtask(work.path()).args("report show").arg(place).run();
        let run = run.expect_status(2);
        assert!(run.stderr.contains("there is no "), "{}", run.stderr);
    }
}

#[test]
fn a_session_has_every_format() {
    let work = tempfile::tempdir().unwrap();
    session(&work.path().join("s"), None, &[new(), old()]);
    let show = |format: &str| {
        let run = xtask(work.path()).args("report show s/results.jsonl --format");
        // As that of `test`: a test failed.
        run.arg(format).run().expect_status(1).stdout
    };
    let words = "passes up to 5.4, fails from 6.1";
    assert!(show("markdown").contains(words));
    let json = serde_json::from_str::<Value>(&show("json")).unwrap();
    assert_eq!(json["tests"][0]["test"], "t.A.a");
    assert_eq!(json["tests"][0]["words"], words);
    assert_eq!(json["runs"][0]["kernel"], "5.4.1");
    assert_eq!(json["skips"][0]["everywhere"][0], "t.A.c");
    let junit = show("junit");
    assert_eq!(junit.matches("<testsuite ").count(), 2);
    assert!(show("text").contains("6.1.9 (x86_64)"));
}

const READER: &str = include_str!("files/read_junit.py");

#[test]
fn junit_loses_nothing() {
    let work = tempfile::tempdir().unwrap();
    let unbuilt = json!({
        "v": 1, "event": "vm-finished", "outcome": "not-started", "stage": "build",
        "how": "no compiler", "kernel": "7.3", "arch": "x86_64", "flavor": "tiny",
    });
    let failed = json!({"outcome": "tests-failed"});
    let failed = kernel("6.9.1", &[("t.A.a", "failed")], &failed);
    session(
        &work.path().join("s"),
        None,
        &[panicked(), failed, old(), vec![unbuilt]],
    );
    let run = xtask(work.path())
        .args("report show s --format junit")
        .run();
    let junit = run.expect_status(1).stdout;
    let shell = xshell::Shell::new().unwrap();
    let read = xshell::cmd!(shell, "python3 -I -c {READER}");
    let text = read.stdin(junit).quiet().read().unwrap();
    expect_test::expect![[r#"
        5.4.1 (x86_64) 3 0 0 1
          t.A a 0.500
          t.A b 0.500
          t.A c 0.500
            skipped None 'not here' None
        6.1.9 (x86_64) 2 0 1 0
          t.A a 0.500
          t.A b 0.000
            error 'panicked' 'panicked: Oops' None
        6.9.1 (x86_64) 1 1 0 0
          t.A a 0.500
            failure 'AssertionError' 'AssertionError: <1> & \ufffd[31m"2"' 'Traceback\n  ::error:: ]]> \ufffd\ufffd \xe9'
        7.3 (x86_64) 1 0 1 0
          vmtest build failed 0.000
            error 'build failed' 'build failed: no compiler' None"#]]
    .assert_eq(&text);
}

#[test]
fn partitions_become_one_session() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    session(&path("whole"), None, &[old(), new()]);
    session(&path("parts/one/log"), Some((1, 2)), &[new()]);
    session(&path("parts/two"), Some((2, 2)), &[old()]);
    std::fs::write(path("parts/two/5.4.1-console.log"), "kernel\n").unwrap();
    let run = xtask(work.path())
        .args("report merge parts -o all")
        .run()
        .expect_status(1);
    assert!(run.stderr.contains("reports: all"), "{}", run.stderr);
    assert_eq!(read(&path("all/5.4.1-console.log")), "kernel\n");
    for format in ["text", "markdown", "html", "junit", "json"] {
        let show = |folder: &str| {
            let show = xtask(work.path()).args("report show").arg(folder);
            show.args("--format")
                .arg(format)
                .run()
                .expect_status(1)
                .stdout
        };
        assert_eq!(show("all"), show("whole"), "{format}");
    }
    let junit = xtask(work.path())
        .args("report show all --format junit")
        .run();
    assert_eq!(read(&path("all/junit.xml")), junit.stdout);
    let markdown = xtask(work.path())
        .args("report show all --format markdown")
        .run();
    assert_eq!(read(&path("all/report.md")), markdown.stdout);
    let html = xtask(work.path())
        .args("report show all --format html")
        .run();
    assert_eq!(read(&path("all/report.html")), html.stdout);

    // What is there is not overwritten, and without -o it goes to the log.
    let again = xtask(work.path()).args("report merge parts -o all").run();
    assert!(again.expect_status(2).stderr.contains("is there already"));
    // Unless they came from a run that was killed: before the results, or at its very end.
    let all = read(&path("all/results.jsonl"));
    for results in [false, true] {
        std::fs::write(path("all/report.md"), "old").unwrap();
        if !results {
            std::fs::remove_file(path("all/results.jsonl")).unwrap();
        }
        let left = support::host::left_behind(".merged.tmp-");
        let left = path("all").join(left);
        std::fs::create_dir(&left).unwrap();
        let again = xtask(work.path()).args("report merge parts -o all").run();
        again.expect_status(1);
        assert_eq!(read(&path("all/results.jsonl")), all);
        assert_eq!(read(&path("all/report.md")), markdown.stdout);
        assert!(!left.exists());
    }
    let summary = path("summary");
    let passed = xtask(work.path())
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .args("report merge parts/two/results.jsonl parts/one parts")
        .run();
    passed.expect_status(1);
    assert_eq!(read(&summary), read(&path("all/report.md")) + "\n");
    let shown = xtask(work.path()).args("report show --format json").run();
    assert!(shown.expect_status(1).stdout.contains("6.1.9"));
}

#[test]
fn the_exit_status_of_merged_results_is_that_of_the_session() {
    let work = tempfile::tempdir().unwrap();
    let one = work.path().join("one");
    for (kernels, status) in [
        (vec![old()], 0),
        (vec![new()], 1),
        (vec![panicked()], 4),
        (vec![], 0),
    ] {
        session(&one, Some((1, 1)), &kernels);
        let run = xtask(work.path()).args("-q report merge one").run();
        run.expect_status(status);
        std::fs::remove_dir_all(work.path().join("log")).unwrap();
    }
    // A partition is missing: what is there is joined all the same.
    session(&one, Some((2, 3)), &[panicked()]);
    let run = xtask(work.path()).args("report merge one -o all").run();
    let run = run.expect_status(1);
    let words = "partition 1 of 3 is missing\npartition 3 of 3 is missing\n";
    assert!(run.stdout.ends_with(words), "{}", run.stdout);
    let markdown = read(&work.path().join("all/report.md"));
    assert!(markdown.contains("**partition 1 of 3 is missing**"));
    assert!(read(&work.path().join("all/junit.xml")).contains("partition 3 of 3 is missing"));
    // Of other sessions, or there twice.
    session(&work.path().join("two"), Some((2, 3)), &[old()]);
    let run = xtask(work.path())
        .args("report merge one two -o both")
        .run();
    assert!(run.expect_status(2).stderr.contains("is there twice"));
    assert!(!work.path().join("both").exists());
    let run = xtask(work.path()).args("report merge none").run();
    run.expect_status(2);
}

#[test]
fn what_is_worse_has_a_status() {
    let work = tempfile::tempdir().unwrap();
    session(&work.path().join("old"), None, &[old(), panicked()]);
    session(&work.path().join("new"), None, &[old(), new()]);
    let diff = |arguments: &str, status| {
        let run = xtask(work.path()).args("report diff").args(arguments).run();
        run.expect_status(status).stdout
    };
    expect_test::expect![[r#"
        6.1.9 (x86_64): tests failed, was panicked

        newly failing: 1
          t.A.a on 6.1.9 (x86_64): failed, was passed: AssertionError: <1> & �[31m"2"

        fixed: 1
          t.A.b on 6.1.9 (x86_64): passed, was unfinished
    "#]]
    .assert_eq(&diff("old new", 1));
    expect_test::expect![[r#"
        6.1.9 (x86_64): panicked, was tests failed: Oops, while running t.A.b
        6.1.9 (x86_64): 1 test not reached any more

        newly failing: 1
          t.A.b on 6.1.9 (x86_64): unfinished, was passed

        fixed: 1
          t.A.a on 6.1.9 (x86_64): passed, was failed
    "#]]
    .assert_eq(&diff("new old", 1));
    expect_test::expect![[r#"
        nothing changed on 2 kernels
    "#]]
    .assert_eq(&diff("new new/results.jsonl", 0));
    expect_test::expect![[r###"
        ## Compared: something is worse

        - 6.1.9 (x86_64): tests failed, was panicked

        ### newly failing: 1

        - <code>t.A.a</code> on <code>6.1.9 (x86_64)</code>: failed, was passed: <code>AssertionError: &#60;1&#62; &#38; �&#91;31m"2"</code>

        ### fixed: 1

        - <code>t.A.b</code> on <code>6.1.9 (x86_64)</code>: passed, was unfinished
    "###]].assert_eq(&diff("old new --format markdown", 1));
    expect_test::expect![[r#"
        ## Compared: nothing is worse
    "#]]
    .assert_eq(&diff("new new --format markdown", 0));
    let json = serde_json::from_str::<Value>(&diff("old new --format json", 1)).unwrap();
    assert_eq!(json["worse"], true);
    assert_eq!(json["changes"][0]["kind"], "newly failing");
    assert_eq!(json["changes"][0]["runs"][0]["kernel"], "6.1.9");
    assert_eq!(json["runs"][1]["old"]["outcome"], "panicked");
    let text = read(&work.path().join("new/results.jsonl"));
    let text = text.replace("\"example\"", "\"other\"");
    std::fs::write(work.path().join("new/results.jsonl"), text).unwrap();
    diff("old new", 2);
}
