//! The reader of Go's events against what two versions printed.

use super::*;
use crate::model::test_event::Tally;
use crate::run::framework::recorded::{bear, bear_anything, tally, told, traceback};

const GO: &[u8] = include_bytes!("../recorded/go-1.27.json");
const GO_1_19: &[u8] = include_bytes!("../recorded/go-1.19.json");
const BROKEN: &[u8] = include_bytes!("../recorded/go-1.27-broken.json");
const BROKEN_1_19: &[u8] = include_bytes!("../recorded/go-1.19-broken.json");
const PANIC: &[u8] = include_bytes!("../recorded/go-1.27-panic.json");
const EXIT: &[u8] = include_bytes!("../recorded/go-1.27-exit.json");
const PASSING: &[u8] = include_bytes!("../recorded/go-1.27-passing.json");
const EMPTY: &[u8] = include_bytes!("../recorded/go-1.27-empty.json");
const BENCH: &[u8] = include_bytes!("../recorded/go-1.27-bench.json");
const BENCH_1_19: &[u8] = include_bytes!("../recorded/go-1.19-bench.json");
const TEST2JSON: &[u8] = include_bytes!("../recorded/go-1.27-test2json.json");

fn reader() -> LineReader<GoFormat> {
    LineReader::new(GoFormat::default())
}

/// [`told`] without what all ids begin with.
fn short(output: &[u8]) -> String {
    told(reader(), output).replace("example.com/small/", "")
}

#[test]
fn what_go_test_prints() {
    let expected = "\
passed sums.TestTable/n=1
failed sums.TestTable/n=2: 2 is even
skipped sums.TestTable/n=1#01: seen before
failed sums.TestTable
skipped sums.TestNeedsRoot: uid 1000 is not 0
passed sums.TestParallel/a
passed sums.TestParallel/b
passed sums.TestParallel
passed sums.TestPrints
failed sums.ExampleAdd
passed files.TestOpen
";
    assert_eq!(short(GO), expected);
    // Its order is another where a test has ended within a line.
    let sorted = |text: &str| {
        let mut lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&short(GO_1_19)), sorted(expected));
    let of = |id| traceback(reader(), GO, &format!("example.com/small/{id}"));
    assert_eq!(of("sums.ExampleAdd"), "got:\n2\nwant:\n3");
    assert_eq!(of("sums.TestTable/n=2"), "    sums_test.go:13: 2 is even");
    assert_eq!(of("sums.TestTable"), "");
    assert_eq!(tally(reader(), GO).unwrap().tests, Some(11));
}

#[test]
fn a_package_that_does_not_build_is_a_failed_test() {
    let expected = "error broken: [build failed]\npassed files.TestOpen\n";
    assert_eq!(short(BROKEN), expected);
    assert_eq!(short(BROKEN_1_19), expected);
    assert_eq!(
        traceback(reader(), BROKEN, "example.com/small/broken"),
        "\
# example.com/small/broken [example.com/small/broken.test]
broken/broken_test.go:5:33: undefined: undefined
FAIL\texample.com/small/broken [build failed]"
    );
}

#[test]
fn a_panic_is_a_failure_and_an_exit_is_none() {
    let expected = "\
passed dies.TestBefore
failed dies.TestPanics/inner
failed dies.TestPanics: panic: assignment to entry in nil map [recovered, repanicked]
";
    assert_eq!(short(PANIC), expected);
    let text = traceback(reader(), PANIC, "example.com/small/dies.TestPanics");
    assert!(
        text.contains("\n\t/home/me/go/dies/dies_test.go:16 +0x"),
        "{text}"
    );
    let expected = "wrong: line 11: dies ended inside of TestPanics and TestPanics/inner\n";
    assert_eq!(short(EXIT), expected);
}

#[test]
fn no_tests_one_program_and_benchmarks() {
    assert_eq!(tally(reader(), EMPTY).unwrap().outcome(0).exit_status(), 5);
    assert_eq!(short(PASSING), "passed files.TestOpen\n");
    assert_eq!(short(TEST2JSON), "passed TestOpen\n");
    let expected = "\
passed bench.TestOne
failed bench.BenchmarkFails: no disk
passed bench.BenchmarkAdd
passed bench.BenchmarkGroup
passed bench.BenchmarkGroup/inner
";
    assert_eq!(short(BENCH), expected);
    // Only failed benchmarks are events there.
    let expected = "passed bench.TestOne\nfailed bench.BenchmarkFails\n";
    assert_eq!(short(BENCH_1_19), expected);
    // What a benchmark logs is an event that only some of them have.
    let bench = r#"{"Action":"run","Test":"BenchmarkA"}
{"Action":"output","Test":"BenchmarkA","Output":"    a_test.go:1: words\n"}
{"Action":"bench","Test":"BenchmarkA"}
{"Action":"output","Output":"PASS\n"}
{"Action":"pass"}
"#;
    assert_eq!(short(bench.as_bytes()), "passed BenchmarkA\n");
}

#[test]
fn a_package_may_fail_when_no_test_did() {
    let output = r#"{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestB"}
{"Action":"pass","Package":"a","Test":"TestB","Elapsed":1.5}
{"Action":"output","Package":"a","Output":"panic: in main\n"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.1s\n"}
{"Action":"fail","Package":"a","Elapsed":1.6}
"#;
    assert_eq!(
        short(output.as_bytes()),
        "passed a.TestB\nerror a: panic: in main\n"
    );
    bear(&reader(), output.as_bytes());
}

#[test]
fn the_running_test_is_known() {
    let mut reader = reader();
    let mut tally = Tally::default();
    let lines = GO.split_inclusive(|byte| *byte == b'\n');
    let until = lines.take_while(|line| !line.windows(6).any(|word| word == b"in a\\n"));
    for event in until.flat_map(|line| reader.push(line)) {
        tally.push(&event);
    }
    let running = "example.com/small/sums.TestParallel/a";
    assert_eq!(tally.running.as_deref(), Some(running));
}

#[test]
fn recordings_bear_what_may_happen() {
    for recording in [
        GO,
        GO_1_19,
        BROKEN,
        BROKEN_1_19,
        PANIC,
        EXIT,
        PASSING,
        EMPTY,
        BENCH,
        BENCH_1_19,
        TEST2JSON,
    ] {
        bear(&reader(), recording);
    }
    bear_anything(&reader());
}

#[test]
fn what_is_wrong_is_told_with_the_line() {
    let run = r#"{"Action":"run","Package":"a","Test":"TestB"}"#;
    let pass = r#"{"Action":"pass","Package":"a","Test":"TestB"}"#;
    let end = r#"{"Action":"pass","Package":"a"}"#;
    for (lines, expected) in [
        (
            &[run, pass][..],
            "line 2: the output ends before the end of a",
        ),
        (&[run], "line 1: the output ends inside of a.TestB"),
        (&[run, end], "line 2: a ended inside of TestB"),
        (&[run, run], "line 2: a.TestB has begun already"),
        (
            &[run, pass, pass, end],
            "line 3: a.TestB ends and has not begun",
        ),
        (
            &[run, &pass[..30], end],
            "line 2: a JSON object that is cut off or none of go's: ",
        ),
        (
            &["words", "more"],
            "line 2: the output ends without a test result",
        ),
    ] {
        let wrong = told(reader(), (lines.join("\n") + "\n").as_bytes());
        assert!(wrong.starts_with(&format!("wrong: {expected}")), "{wrong}");
    }
    let cut = [run, pass, end].join("\n");
    let wrong = told(reader(), cut.as_bytes());
    assert_eq!(wrong, "wrong: line 3: the output ends within this line\n");
    let words = [
        "words",
        run,
        "{\"an\":\"object\"}",
        pass,
        "FAIL: no",
        end,
        "",
    ]
    .join("\n");
    assert_eq!(told(reader(), words.as_bytes()), "passed a.TestB\n");
}

#[test]
fn one_test_is_picked_by_its_name_without_the_package() {
    let pick = |test: &str| Go.pick(test).pop().unwrap().into_string().unwrap();
    assert_eq!(
        pick("example.com/a.b/c.TestTable/n=1#01"),
        "-test.run=^TestTable$/^n=1#01$"
    );
    assert_eq!(pick("TestA/x.y(z)"), r"-test.run=^TestA$/^x\.y\(z\)$");
    assert_eq!(pick("a.FuzzB"), "-test.run=^FuzzB$");
    assert_eq!(Go.pick("example.com/a.b"), Vec::<OsString>::new());
}
