//! The reader of libtest against what programs of Rust printed.

use super::*;
use crate::model::test_event::{Tally, TestEvent};
use crate::run::framework::recorded::{bear, bear_anything, tally, told, traceback};

const TEXT: &[u8] = include_bytes!("../recorded/libtest-text.txt");
const PASSING: &[u8] = include_bytes!("../recorded/libtest-passing.txt");
const NONE: &[u8] = include_bytes!("../recorded/libtest-none.txt");
const ONE_THREAD: &[u8] = include_bytes!("../recorded/libtest-one-thread.txt");
const THREADS: &[u8] = include_bytes!("../recorded/libtest-threads.txt");
const OUTPUT: &[u8] = include_bytes!("../recorded/libtest-output.txt");
const TIMED: &[u8] = include_bytes!("../recorded/libtest-timed.txt");
const BENCH: &[u8] = include_bytes!("../recorded/libtest-bench.txt");
const DIES: &[u8] = include_bytes!("../recorded/libtest-dies.txt");
const JSON: &[u8] = include_bytes!("../recorded/libtest-json.txt");
const JSON_OUTPUT: &[u8] = include_bytes!("../recorded/libtest-json-output.txt");
const JSON_BENCH: &[u8] = include_bytes!("../recorded/libtest-bench-json.txt");
const JSON_DIES: &[u8] = include_bytes!("../recorded/libtest-dies-json.txt");

fn reader() -> LineReader<LibtestFormat> {
    LineReader::new(LibtestFormat::default())
}

/// The lines of [`told`] in the order of the alphabet: threads and formats have their own.
fn sorted(output: &[u8]) -> String {
    let text = told(reader(), output);
    let mut lines = text.lines().map(|line| format!("{line}\n"));
    let mut sorted = lines.by_ref().collect::<Vec<_>>();
    sorted.sort();
    sorted.concat()
}

const UNIT_TESTS: &str = "\
failed tests::does_not_panic: test did not panic as expected at src/lib.rs:57:8
failed tests::gives_an_error: Error: \"no such number\"
failed tests::is_wrong: assertion `left == right` failed: numbers
passed tests::adds
passed tests::overflows
skipped tests::later
skipped tests::needs_root: needs root, and a disk
";

#[test]
fn the_text_of_several_programs_and_of_doc_tests() {
    let text = told(reader(), TEXT);
    let others = "\
passed b_dies
passed a_passes
passed c_passes
passed opens
passed slow
";
    let others = others.lines().filter(|line| !line.contains("_passes"));
    for line in UNIT_TESTS.lines().chain(others) {
        assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
    }
    let documented = "\
passed src/lib.rs - add (line 13)
skipped src/lib.rs - add (line 9)
passed src/lib.rs - add (line 5)
failed src/lib.rs - add (line 21): assertion `left == right` failed
passed src/lib.rs - add (line 17)
";
    assert!(text.ends_with(documented), "{text}");
    let tally = tally(reader(), TEXT).unwrap();
    assert_eq!(tally.tests, Some(7 + 3 + 2 + 4 + 1));
    assert_eq!(tally.counts.finished(), 17);
    assert_eq!(
        traceback(reader(), TEXT, "tests::is_wrong"),
        "\
before it fails

thread 'tests::is_wrong' (9197) panicked at src/lib.rs:41:9:
assertion `left == right` failed: numbers
in two lines
  left: 3
 right: 4
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"
    );
    let panicked = traceback(reader(), TEXT, "tests::does_not_panic");
    assert!(panicked.starts_with("without an endnote: test did not panic"));
}

#[test]
fn no_tests_and_passing_ones() {
    assert_eq!(told(reader(), PASSING), "passed opens\npassed slow\n");
    assert_eq!(
        tally(reader(), PASSING).unwrap().outcome(0).exit_status(),
        0
    );
    assert_eq!(tally(reader(), NONE).unwrap().outcome(0).exit_status(), 5);
    let timed = tally(reader(), TIMED).unwrap();
    assert_eq!(timed.counts.finished(), 2);
    assert_eq!(sorted(BENCH), "passed adds\nskipped once\n");
    assert_eq!(sorted(JSON_BENCH), sorted(BENCH));
    let quiet = include_bytes!("../recorded/libtest-quiet.txt");
    assert_eq!(
        told(reader(), quiet),
        "wrong: line 4: 2 passed, 0 failed and 0 ignored tests, but the lines of 0, 0 and 0\n"
    );
}

#[test]
fn seconds_are_those_of_the_tool_if_it_tells_them() {
    let output = "running 1 test\ntest a ... ok <1.250s>\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    let mut reader = reader();
    let mut events = reader.push(output.as_bytes());
    events.extend(reader.finish(0).0);
    let seconds = events.iter().find_map(|event| match event {
        TestEvent::TestFinished(test) => Some(test.seconds),
        _ => None,
    });
    assert_eq!(seconds, Some(1.25));
}

#[test]
fn output_between_the_lines_and_within() {
    // What the tests print goes past the report, so that only one has words in it.
    let bare = UNIT_TESTS.lines().map(|line| match line.split_once(": ") {
        Some((test, _)) if line.starts_with("failed") && !line.contains("panic") => {
            format!("{test}\n")
        }
        _ => format!("{line}\n"),
    });
    let bare = bare.collect::<String>();
    assert_eq!(sorted(THREADS), bare);
    assert_eq!(sorted(ONE_THREAD), bare);
    assert_eq!(sorted(JSON_OUTPUT), bare);
    let expected = "\
failed tests::is_wrong: assertion `left == right` failed: numbers
passed tests::adds
";
    assert_eq!(sorted(OUTPUT), expected);

    let lines = |lines: &str, passed: u32, failed: u32| {
        let tests = passed + failed;
        let verdict = if failed > 0 { "FAILED" } else { "ok" };
        let output = format!(
            "running {tests} tests\n{lines}\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
        );
        told(reader(), output.as_bytes())
    };
    assert_eq!(lines("test a ... is ok\nreally\nok\n", 1, 0), "passed a\n");
    assert_eq!(
        lines("test a ... ok\ntest b ... FAILED\n", 1, 1),
        "passed a\nfailed b\n"
    );
    assert_eq!(
        lines("test a ... not okFAILED\ntest b ... ok\n", 1, 1),
        "passed b\nfailed a\n"
    );
    assert_eq!(
        lines("test a ... words\ntest b ... ok\n", 2, 0),
        "wrong: line 2: a has no result\n"
    );
    assert_eq!(
        lines("test a ... words\n", 1, 0),
        "wrong: line 2: a has no result\n"
    );
}

#[test]
fn json_tells_the_same_as_text() {
    let text = sorted(JSON);
    assert_eq!(
        text,
        format!(
            "{}passed opens\npassed slow\n{}",
            &UNIT_TESTS[..UNIT_TESTS.find("passed").unwrap()],
            &UNIT_TESTS[UNIT_TESTS.find("passed").unwrap()..]
        )
    );
    assert_eq!(
        traceback(reader(), JSON, "tests::does_not_panic"),
        "without an end\ntest did not panic as expected at src/lib.rs:57:8"
    );
}

#[test]
fn json_behind_the_words_of_a_test() {
    let output = r#"words
{ "type": "suite", "event": "started", "test_count": 1 }
{ "type": "test", "event": "started", "name": "a" }
{"an": "object of the test"}
without an end{ "type": "test", "name": "a", "event": "ok", "exec_time": 2.5 }
{ "type": "suite", "event": "ok", "passed": 1, "failed": 0, "ignored": 0, "measured": 0, "filtered_out": 0, "exec_time": 2.5 }
"#;
    assert_eq!(told(reader(), output.as_bytes()), "passed a\n");
    let slow = output.replace(
        "{\"an\"",
        "{ \"type\": \"test\", \"event\": \"timeout\", \"name\": \"a\" }\n{\"an\"",
    );
    assert_eq!(told(reader(), slow.as_bytes()), "passed a\n");
    bear(&reader(), output.as_bytes());
}

#[test]
fn the_running_test_is_known() {
    for (output, running) in [(DIES, "b_dies"), (JSON_DIES, "b_dies")] {
        let mut reader = reader();
        let mut tally = Tally::default();
        for event in reader.push(output) {
            tally.push(&event);
        }
        assert_eq!(tally.running.as_deref(), Some(running));
        assert_eq!(tally.counts.finished(), 1);
        let wrong = reader.finish(101).1.unwrap_err();
        assert!(wrong.starts_with("line 4: the output ends"), "{wrong}");
    }
}

#[test]
fn recordings_bear_what_may_happen() {
    for recording in [
        TEXT,
        PASSING,
        ONE_THREAD,
        THREADS,
        OUTPUT,
        TIMED,
        BENCH,
        JSON,
        JSON_OUTPUT,
        JSON_BENCH,
    ] {
        bear(&reader(), recording);
    }
    bear_anything(&reader());
}

#[test]
fn what_failed_before_the_end_is_told() {
    let mut reader = reader();
    let output = b"running 3 tests\ntest a ... FAILED\ntest b ... ok\n";
    let mut events = reader.push(output);
    let (left, end) = reader.finish(101);
    assert!(end.is_err());
    events.extend(left);
    let mut tally = Tally::default();
    events.iter().for_each(|event| tally.push(event));
    let tests = tally.finished_tests.iter();
    let tests = tests.map(|test| format!("{} {}", test.outcome, test.id));
    assert_eq!(tests.collect::<Vec<_>>(), ["passed b", "failed a"]);
}

#[test]
fn what_is_wrong_is_told_with_the_line() {
    let result = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
    for (output, expected) in [
        (
            "running 1 test\ntest a ... ok\n".to_owned(),
            "line 2: the output ends before the result of the tests of line 1",
        ),
        (
            "running 3 tests\ntest a ... FAILED\ntest b ... FAILED\n".to_owned(),
            "line 3: the output ends before the result of the tests of line 1",
        ),
        (
            format!("running 1 test\ntest a ... ok\n\n{result}"),
            "line 4: the output ends within this line",
        ),
        (
            format!("running 2 tests\ntest a ... ok\n\n{result}\n"),
            "line 4: 2 tests were to run, and 1 did",
        ),
        (
            format!("running 1 test\ntest a ... FAILED\n\n{result}\n"),
            "line 4: 1 passed, 0 failed and 0 ignored tests, but the lines of 0, 1 and 0",
        ),
        (
            format!("running 1 test\nrunning 1 test\ntest a ... ok\n\n{result}\n"),
            "line 2: other tests begin before the result of those of line 1",
        ),
        (
            format!(
                "running 1 test\ntest a ... FAILED\n\n{}\n",
                result.replace("ok. 1 passed; 0 f", "ok. 0 passed; 1 f")
            ),
            "line 4: ok, and 1 of the tests failed",
        ),
    ] {
        let wrong = told(reader(), output.as_bytes());
        assert_eq!(wrong, format!("wrong: {expected}\n"), "{output}");
    }
    let suite = r#"{ "type": "suite", "event": "started", "test_count": 1 }"#;
    let start = r#"{ "type": "test", "event": "started", "name": "a" }"#;
    let ok = r#"{ "type": "test", "name": "a", "event": "ok" }"#;
    let end = r#"{ "type": "suite", "event": "ok", "passed": 1, "failed": 0, "ignored": 0, "measured": 0 }"#;
    for (lines, expected) in [
        (
            &[suite, start, ok][..],
            "line 3: the output ends before the result of the tests of line 1",
        ),
        (
            &[suite, suite],
            "line 2: other tests begin before the result of those of line 1",
        ),
        (&[suite, start, start], "line 3: a has begun already"),
        (&[suite, ok], "line 2: a ends and has not begun"),
        (&[suite, start, end], "line 3: a has no result"),
        (
            &[suite, end],
            "line 2: 1 passed, 0 failed and 0 ignored tests, but the lines of 0, 0 and 0",
        ),
        (
            &[suite, start, &ok[..40]],
            "line 3: a JSON object that is cut off or none of libtest's: ",
        ),
        (
            &[suite, start, ok, end, ok],
            "line 5: a test, and no suite has begun",
        ),
    ] {
        let wrong = told(reader(), (lines.join("\n") + "\n").as_bytes());
        assert!(wrong.starts_with(&format!("wrong: {expected}")), "{wrong}");
    }
}

#[test]
fn a_failed_test_may_quote_another_run() {
    let output = "\
running 1 test
test a ... FAILED

failures:

---- a stdout ----

running 2 tests
test b ... ok
test c ... FAILED

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out

thread 'a' panicked at src/lib.rs:1:1:
no

failures:
    a

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
";
    assert_eq!(told(reader(), output.as_bytes()), "failed a: no\n");
    bear(&reader(), output.as_bytes());
}

#[test]
fn one_test_is_picked_by_its_whole_name() {
    assert_eq!(Libtest.pick("a::b"), ["a::b", "--exact"]);
    assert_eq!(Libtest.pick("a::b (2)"), ["a::b", "--exact"]);
}
