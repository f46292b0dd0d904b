//! Tests that misbehave in the guest: each run has the right outcome and names the
//! right test, and what a test does to others' results is seen. Those that end their
//! interpreter or their kernel at once are in [`crate::suites`].

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use xtask::internals::{FinishedTest, RunOutcome, TestOutcome};
use xtask::internals::{Results, RunRecord};

use crate::{Ended, folder, test};

/// A project outside /tmp with these test modules.
fn project(modules: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = folder("vmtest-project-");
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("vmtest.toml", "name = \"hostile\"\n");
    for (name, text) in modules {
        write(&format!("{name}.py"), text);
    }
    directory
}

/// A module whose second test of three does this.
fn second_of_three(body: &str) -> String {
    let mut text = "import glob, os, signal, sys, time, unittest\n\n\n\
        class A(unittest.TestCase):\n    def test_1(self):\n        pass\n\n    def test_2(self):\n"
        .to_owned();
    for line in body.lines() {
        let _ = writeln!(text, "        {line}");
    }
    text + "\n    def test_3(self):\n        pass\n"
}

/// What a run left behind.
struct Left {
    ended: Ended,
    record: RunRecord,
    folder: PathBuf,
    /// The whole `results.jsonl`.
    results: String,
}

impl Left {
    #[track_caller]
    fn of(ended: Ended) -> Self {
        let stderr = ended.stderr();
        let folder = stderr
            .lines()
            .find_map(|line| line.strip_prefix("xtask: reports: "))
            .unwrap_or_else(|| panic!("no folder of a run:\n{stderr}"));
        let folder = PathBuf::from(folder);
        let results = fs::read_to_string(folder.join("results.jsonl")).unwrap();
        let record = Results::parse(&results).unwrap().runs.remove(0);
        Self {
            ended,
            record,
            folder,
            results,
        }
    }

    fn test(&self, id: &str) -> &FinishedTest {
        let tests = &self.record.tally.finished_tests;
        let mut named = tests.iter().filter(|test| test.id == id);
        let found = named.next().unwrap_or_else(|| panic!("no test {id}"));
        assert_eq!(named.next(), None, "told twice");
        found
    }

    #[track_caller]
    fn expect(&self, id: &str, outcome: TestOutcome) -> &FinishedTest {
        let test = self.test(id);
        assert_eq!(test.outcome, outcome, "{test:?}");
        test
    }

    /// The log of this kind.
    fn log(&self, what: &str) -> PathBuf {
        let logs = &self.record.evidence.logs;
        let (_, log) = logs.iter().find(|(name, _)| name == what).unwrap();
        self.folder.join(log)
    }
}

/// Runs a module whose second test of three does this; the status of `test`.
#[track_caller]
fn run(body: &str, arguments: &str, status: i32) -> Left {
    let project = project(&[("test_it", &second_of_three(body))]);
    Left::of(test(project.path(), arguments).output().expect(status))
}

#[track_caller]
fn running(left: &Left) {
    let outcome = &left.record.outcome;
    assert_eq!(
        outcome.running(),
        Some("test_it.A.test_2"),
        "{outcome:?}\n{}",
        left.ended.stdout()
    );
}

const NAMES: &str = include_str!("files/hostile/names.py");

const OUTCOMES: &str = include_str!("files/hostile/outcomes.py");

const MODULE: &str = include_str!("files/hostile/module.py");

const CLOCK: &str = include_str!("files/hostile/clock.py");

const EVENTS: &str = include_str!("files/hostile/events.py");

const KILLS: &str = include_str!("files/hostile/kills.py");

const MANY: &str = include_str!("files/hostile/many.py");

const DESCRIPTORS: &str = include_str!("files/hostile/descriptors.py");

/// The tests of which the others can take note, on one boot.
fn together() -> &'static Left {
    static LEFT: OnceLock<Left> = OnceLock::new();
    LEFT.get_or_init(|| {
        let project = project(&[
            ("test_a_names", NAMES),
            ("test_b_outcomes", OUTCOMES),
            ("test_c_module", MODULE),
            ("test_d_clock", CLOCK),
            ("test_e_events", EVENTS),
            ("test_f_kills", KILLS),
            ("test_g_many", MANY),
            ("test_h_descriptors", DESCRIPTORS),
        ]);
        Left::of(test(project.path(), "").output().expect(1))
    })
}

#[test]
fn every_test_is_told_once_whatever_the_others_do() {
    let left = together();
    let record = &left.record;
    assert_eq!(record.outcome, RunOutcome::TestsFailed);
    assert_eq!(record.tally.tests, Some(3 + 3 + 2 + 3 + 3 + 2 + 10_000 + 2));
    assert_eq!(record.tally.counts.finished(), record.tally.tests.unwrap());
    let bad = record.tally.bad().map(|test| &*test.id).collect::<Vec<_>>();
    assert_eq!(
        bad,
        [
            "test_a_names.A.test_\u{1b}]0;title\u{7}",
            "test_b_outcomes.A.test_subtests",
            "test_b_outcomes.A.test_unexpected",
            "test_c_module.A.test_1",
            "test_c_module.A.test_2",
        ]
    );
}

#[test]
fn names_and_output_may_have_any_bytes() {
    let left = together();
    left.expect(
        "test_a_names.A.test_\u{1b}[31m\r\n\0\\udcff",
        TestOutcome::Passed,
    );
    let failed = left.expect(
        "test_a_names.A.test_\u{1b}]0;title\u{7}",
        TestOutcome::Failed,
    );
    let reason = failed.reason.as_deref();
    assert_eq!(
        reason,
        Some("AssertionError: \u{1b}[2J \\udcff \0 \u{202e}")
    );
    // A terminal is told nothing that it would obey.
    for text in [left.ended.stdout(), left.ended.stderr()] {
        let odd = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(odd, None, "{text}");
    }
    // Nobody has changed what the tests printed.
    let output = fs::read(left.log("output")).unwrap();
    let line = (0..=255_u8).chain(*b"\xf0\x9f\n").collect::<Vec<_>>();
    let lines = output.windows(line.len()).filter(|w| *w == line).count();
    assert_eq!(lines, 2);
    assert!(left.results.lines().all(|line| {
        let value = serde_json::from_str::<serde_json::Value>(line);
        value.is_ok() && !line.contains('\u{1b}')
    }));
}

#[test]
fn all_of_unittests_outcomes_are_told() {
    let left = together();
    left.expect(
        "test_b_outcomes.A.test_expected",
        TestOutcome::ExpectedFailure,
    );
    left.expect(
        "test_b_outcomes.A.test_unexpected",
        TestOutcome::UnexpectedSuccess,
    );
    let subtests = left.expect("test_b_outcomes.A.test_subtests", TestOutcome::Failed);
    assert!(subtests.traceback.as_deref().unwrap().contains("2 == 2"));
    let names = subtests.subtests.iter().map(|subtest| &*subtest.name);
    assert_eq!(names.collect::<Vec<_>>(), ["(n=2)"]);
    for id in ["test_c_module.A.test_1", "test_c_module.A.test_2"] {
        let test = left.expect(id, TestOutcome::Error);
        assert_eq!(
            test.reason.as_deref(),
            Some("setUpModule (test_c_module): OSError: no such thing")
        );
    }
}

#[test]
fn durations_do_not_follow_the_clock() {
    let left = together();
    for year in ["1970", "2100"] {
        let test = left.expect(&format!("test_d_clock.A.test_{year}"), TestOutcome::Passed);
        assert!((0.1..60.0).contains(&test.seconds), "{test:?}");
    }
    left.expect("test_d_clock.A.test_after", TestOutcome::Passed);
    let seconds = left.record.seconds;
    assert!(
        (0.2..3600.0).contains(&seconds.tests.unwrap()),
        "{seconds:?}"
    );
}

#[test]
fn garbage_among_the_events_costs_only_itself() {
    let left = together();
    assert_eq!(left.record.tally.garbage, 4);
    for test in ["test_1_port", "test_2_pipe", "test_3_after"] {
        left.expect(&format!("test_e_events.A.{test}"), TestOutcome::Passed);
    }
}

#[test]
fn init_starts_again_what_was_killed() {
    let left = together();
    left.expect("test_f_kills.A.test_1_kills", TestOutcome::Passed);
    left.expect("test_f_kills.A.test_2_after", TestOutcome::Passed);
    let output = String::from_utf8_lossy(&fs::read(left.log("output")).unwrap()).into_owned();
    for line in ["printed to nobody", "printed after all"] {
        assert!(output.contains(line), "lacks {line:?}");
    }
}

#[test]
fn ten_thousand_tests_of_one_class() {
    let left = together();
    let tests = &left.record.tally.finished_tests;
    let of_class = tests.iter().filter(|t| t.id.starts_with("test_g_many.A."));
    assert_eq!(of_class.count(), 10_000);
}

#[test]
fn a_run_outlives_its_descriptors() {
    let left = together();
    left.expect("test_h_descriptors.A.test_1_closes", TestOutcome::Passed);
    left.expect("test_h_descriptors.A.test_2_after", TestOutcome::Passed);
}

#[test]
fn an_endless_loop_meets_its_limit() {
    let left = run("while True:\n    pass", "--idle-timeout 30s", 4);
    running(&left);
    let RunOutcome::Stuck { phase, how, .. } = &left.record.outcome else {
        panic!("{:?}", left.record.outcome)
    };
    assert_eq!(phase, "command");
    assert!(how.contains("no output for 30 s"), "{how}");
}

#[test]
fn endless_talk_meets_its_limit() {
    let body = "while True:\n    print('still here')\n    time.sleep(0.1)";
    let left = run(body, "--idle-timeout 30s --timeout 60s", 4);
    running(&left);
    let how = left.record.outcome.detail().unwrap();
    assert!(how.contains("total limit of 60 s"), "{how}");
}

#[test]
fn a_gigabyte_of_output_fills_neither_disk_nor_memory() {
    let body = "\
        os.write(1, b'the beginning\\n')\n\
        line = b'x' * 1023 + b'\\n'\n\
        for _ in range(1024):\n    \
            data = line * 1024\n    \
            while data:\n        \
                data = data[os.write(1, data):]\n\
        os.write(1, b'the end\\n')";
    let project = project(&[("test_it", &second_of_three(body))]);
    let mut running = test(project.path(), "").spawn();
    let mut most = 0;
    while running.child.try_wait().unwrap().is_none() {
        most = most.max(peak(running.child.id()));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let left = Left::of(running.wait().expect(0));
    assert_eq!(left.record.outcome, RunOutcome::Passed);
    assert!((1..200 << 10).contains(&most), "{most} KiB");
    let log = left.log("output");
    let size = log.metadata().unwrap().size();
    assert!((32 << 20..33 << 20).contains(&size), "{size} bytes");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with(".the beginning\n"), "{:?}", &text[..100]);
    assert!(text.contains("\nthe end\n") && text.contains("\nRan 3 tests "));
    let gap = text
        .lines()
        .find(|line| line.starts_with("[xtask: "))
        .unwrap();
    let left_out = gap.split_whitespace().nth(1).unwrap();
    let left_out = left_out.parse::<u64>().unwrap();
    assert!(left_out > (1 << 30) - (32 << 20), "{gap}");
    fs::remove_file(&log).unwrap();
}

/// The most memory that a process has had, in KiB.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}

#[test]
fn memory_exhaustion_is_a_runner_that_died() {
    let body = "data = []\nwhile True:\n    data.append(b'x' * (1 << 24))";
    let left = run(body, "--memory 512M", 1);
    running(&left);
    let RunOutcome::RunnerDied { how, .. } = &left.record.outcome else {
        panic!("{:?}", left.record.outcome)
    };
    assert!(how.contains("signal 9 (SIGKILL)"), "{how}");
    let console = fs::read_to_string(left.log("console")).unwrap();
    assert!(
        console.contains("Out of memory: Killed process"),
        "{console}"
    );
}

#[test]
fn a_fork_bomb_ends_within_the_limits() {
    let body = "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass";
    let project = project(&[("test_it", &second_of_three(body))]);
    let arguments = "--memory 512M --idle-timeout 60s --timeout 180s";
    let left = Left::of(test(project.path(), arguments).output());
    left.ended.expect_nothing_left();
    running(&left);
    assert!(
        matches!(
            left.record.outcome,
            RunOutcome::RunnerDied { .. } | RunOutcome::Stuck { .. }
        ),
        "{:?}",
        left.record.outcome
    );
}

/// A test fails and says before that it passed.
#[test]
fn forged_events_do_not_make_a_failed_run_pass() {
    let body = r#"
with open("/run/vmtest/events", "wb", buffering=0) as events:
    events.write(b'{"v":1,"event":"test-finished","id":"test_it.A.test_2","outcome":"passed"}\n')
self.fail()"#;
    let left = run(body.trim_start(), "", 1);
    let how = left.record.outcome.detail();
    assert_eq!(
        how.as_deref(),
        Some("it counted 3 tests but told of 4"),
        "{:?}",
        left.record.outcome
    );
    assert_eq!(left.record.outcome.name(), "runner died");
}

/// A test ends the run before its time and says that this was its end.
#[test]
fn a_forged_end_does_not_make_a_cut_run_pass() {
    let body = r#"
with open("/run/vmtest/events", "wb", buffering=0) as events:
    events.write(b'{"v":1,"event":"run-finished","counts":{"passed":3}}\n')
os._exit(0)"#;
    let left = run(body.trim_start(), "", 1);
    running(&left);
    assert_eq!(left.record.outcome.name(), "runner died");
}
