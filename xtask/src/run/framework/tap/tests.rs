//! The readers of TAP and KTAP against what Perl, Node.js and the kernel's selftests printed.

use super::*;
use crate::run::framework::recorded::{bear, bear_anything, tally, told, traceback};

const PERL: &[u8] = include_bytes!("../recorded/tap-perl.txt");
const PERL_FILES: &[u8] = include_bytes!("../recorded/tap-perl-files.txt");
const PROVE: &[u8] = include_bytes!("../recorded/tap-prove.txt");
const NODE: &[u8] = include_bytes!("../recorded/tap-node.txt");
const KSELFTEST: &[u8] = include_bytes!("../recorded/kselftest-6.12.txt");
const KSELFTEST_7_3: &[u8] = include_bytes!("../recorded/kselftest-7.3.txt");
const TIMERS: &[u8] = include_bytes!("../recorded/kselftest-timers.txt");
const HARNESS: &[u8] = include_bytes!("../recorded/kselftest-harness.txt");

fn tap() -> LineReader<TapFormat> {
    LineReader::new(TapFormat::new(false))
}

fn ktap() -> LineReader<TapFormat> {
    LineReader::new(TapFormat::new(true))
}

#[test]
fn what_perl_prints() {
    let expected = "\
passed adds
failed is wrong
passed 3
skipped 4: no disk
skipped 5: no disk
expected-failure later: not written yet
unexpected-success is there already: not written yet
passed bounds #1.lower
passed bounds #1.inner.one
failed bounds #1.inner.two
failed bounds #1.inner
failed bounds #1
";
    assert_eq!(told(tap(), PERL), expected);
    assert_eq!(tally(tap(), PERL).unwrap().tests, Some(12));
    assert_eq!(
        traceback(tap(), PERL, "is wrong"),
        "#   Failed test 'is wrong'\n#   at t/numbers.t line 4.\n#          got: '2'\n#     expected: '3'"
    );
    assert_eq!(
        traceback(tap(), PERL, "bounds #1.inner.two"),
        "#   Failed test 'two'\n#   at t/numbers.t line 11."
    );
    let expected = "passed root\npassed root (2)\nskipped needs a disk: no disk\n";
    assert_eq!(told(tap(), PERL_FILES), expected);
    let nothing = include_bytes!("../recorded/tap-perl-nothing.txt");
    assert_eq!(tally(tap(), nothing).unwrap().outcome(0).exit_status(), 5);
    let bails = include_bytes!("../recorded/tap-perl-bails.txt");
    assert_eq!(told(tap(), bails), "wrong: line 3: Bail out! no database\n");
    let dies = include_bytes!("../recorded/tap-perl-dies.txt");
    assert_eq!(told(tap(), dies), "wrong: line 1: 1 test of 3 came\n");
}

#[test]
fn what_prove_prints() {
    let passing = include_bytes!("../recorded/tap-prove-passing.txt");
    let expected = "\
passed t/files.t.root
passed t/files.t.root (2)
skipped t/files.t.needs a disk: no disk
skipped t/nothing.t: not on this system
";
    assert_eq!(told(tap(), passing), expected);
    let all = told(tap(), PROVE);
    assert!(all.ends_with(expected), "{all}");
    assert!(all.starts_with("passed t/numbers.t.adds\nfailed t/numbers.t.is wrong\n"));
    assert_eq!(all.lines().count(), 12 + 4);
}

#[test]
fn what_node_prints() {
    let expected = "\
passed adds
passed table.n=1
failed table.n=2 # two
failed table
skipped needs root: no root
expected-failure later
";
    assert_eq!(told(tap(), NODE), expected);
    let text = traceback(tap(), NODE, "table.n=2 # two");
    assert!(text.starts_with("duration_ms: 1."), "{text}");
    assert!(text.contains("\nerror: |-\n  Expected values to be strictly equal:\n"));
    assert!(text.ends_with("Test.processPendingSubtests (node:internal/test_runner/test:526:7)"));
}

#[test]
fn what_the_kernels_runner_prints() {
    let text = told(ktap(), KSELFTEST);
    let small = "\
passed small.bails.opened
failed small.bails: exit=1; line 8: Bail out! no memory
passed small.crashes.first
failed small.crashes: exit=139; line 15: 1 test of 2 came
failed small.hangs.sh: TIMEOUT 1 seconds
skipped small.harness.global.needs_device: no /dev/rtc0
failed small.harness.global.dies
passed small.harness.file.read.opens
passed small.harness.file.read.is_read
expected-failure small.harness.file.read.later: unknown
passed small.harness.file.write.opens
failed small.harness.file.write.is_read
expected-failure small.harness.file.write.later: unknown
failed small.harness: exit=1
failed small.missing
failed small.plain.sh: exit=1
skipped small.skips: needs a second processor
passed timers.mqueue-lat
failed timers.posix_timers.ITIMER_VIRTUAL
failed timers.posix_timers.ITIMER_PROF
passed timers.posix_timers.ITIMER_REAL
failed timers.posix_timers.timer_create() per CLOCK_THREAD_CPUTIME_ID
";
    assert!(text.starts_with(small), "{text}");
    assert!(text.ends_with("failed timers.posix_timers: exit=1\n"));
    assert_eq!(text.lines().count(), 17 + 1 + 19);
    // Whatever the name of the runner: the lines tell whose they are.
    assert_eq!(told(tap(), KSELFTEST), text);

    let of = |id| traceback(ktap(), KSELFTEST, id);
    assert_eq!(
        of("small.harness.file.write.is_read"),
        "\
#  RUN           file.write.is_read ...
# harness.c:11:is_read:Expected 0 (0) == self->fd (1)
# is_read: Test failed
#          FAIL  file.write.is_read"
    );
    let expected = "# timeout set to 1\n# TEST: ping                  [ OK ]\n# TEST: ping6                 [FAIL]";
    assert_eq!(of("small.plain.sh"), expected);
    assert!(of("small.crashes").ends_with("\nSegmentation fault"));
    assert_eq!(
        of("timers.posix_timers.ITIMER_PROF"),
        "Diff too high: 7771383.."
    );

    let newer = told(ktap(), KSELFTEST_7_3);
    let harness = |text: &str| {
        let lines = text.lines().filter(|line| line.contains(" small.harness"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(harness(&newer), harness(&text));
    assert_eq!(newer.lines().count(), 16 + 1);
}

#[test]
fn tests_that_the_kernels_programs_skip_keep_their_names() {
    let text = told(ktap(), TIMERS);
    let skipped = text.lines().filter(|line| line.starts_with("skipped "));
    let expected = [
        "skipped timers.posix_timers.check signal distribution (old kernel)",
        "skipped timers.nsleep-lat.CLOCK_MONOTONIC_RAW",
        "skipped timers.nsleep-lat.CLOCK_REALTIME_COARSE",
        "skipped timers.nsleep-lat.CLOCK_MONOTONIC_COARSE",
        "skipped timers.nsleep-lat.CLOCK_REALTIME_ALARM",
        "skipped timers.nsleep-lat.CLOCK_BOOTTIME_ALARM",
        "skipped timers.rtcpie: Default RTC /dev/rtc0 does not exist. Test Skipped!",
    ];
    assert_eq!(skipped.collect::<Vec<_>>(), expected);
    assert_eq!(text.lines().count(), 18 + 9 + 3);
    let silent =
        "1..1\n# timeout set to 45\n# selftests: net: a.sh\nok 1 selftests: net: a.sh # SKIP\n";
    assert_eq!(told(ktap(), silent.as_bytes()), "skipped net.a.sh\n");
}

#[test]
fn a_program_of_the_kernel_by_itself() {
    let whole = told(ktap(), KSELFTEST);
    let expected = whole.lines().filter_map(|line| {
        let (outcome, test) = line.split_once(" small.harness.")?;
        Some(format!("{outcome} {test}\n"))
    });
    assert_eq!(told(ktap(), HARNESS), expected.collect::<String>());
    let mut reader = ktap();
    let begin = HARNESS.split_inclusive(|byte| *byte == b'\n').take(4);
    let events = begin.flat_map(|line| reader.push(line)).collect::<Vec<_>>();
    let id = "global.needs_device".to_owned();
    assert_eq!(events.last(), Some(&TestEvent::TestStarted { id }));
}

#[test]
fn recordings_bear_what_may_happen() {
    for recording in [PERL, PERL_FILES, PROVE, NODE] {
        bear(&tap(), recording);
    }
    for recording in [KSELFTEST, KSELFTEST_7_3, TIMERS, HARNESS] {
        bear(&ktap(), recording);
    }
    bear_anything(&tap());
    bear_anything(&ktap());
}

/// The example of Documentation/dev-tools/ktap.rst.
const NESTED: &str = "\
KTAP version 1
1..1
  KTAP version 1
  1..3
    KTAP version 1
    1..1
    # test_1: initializing test_1
    ok 1 test_1
  ok 1 example_test_1
    KTAP version 1
    1..2
    ok 1 test_1 # SKIP test_1 skipped
    ok 2 test_2
  ok 2 example_test_2
    KTAP version 1
    1..3
    ok 1 test_1
    # test_2: FAIL
    not ok 2 test_2
    ok 3 test_3 # SKIP test_3 skipped
  not ok 3 example_test_3
not ok 1 main_test
";

#[test]
fn tests_in_tests_have_names_only_when_their_parent_has() {
    let expected = "\
passed main_test.example_test_1.test_1
passed main_test.example_test_1
skipped main_test.example_test_2.test_1: test_1 skipped
passed main_test.example_test_2.test_2
passed main_test.example_test_2
passed main_test.example_test_3.test_1
failed main_test.example_test_3.test_2
skipped main_test.example_test_3.test_3: test_3 skipped
failed main_test.example_test_3
failed main_test
";
    bear(&tap(), NESTED.as_bytes());
    assert_eq!(told(tap(), NESTED.as_bytes()), expected);
    assert_eq!(
        traceback(tap(), NESTED.as_bytes(), "main_test.example_test_3.test_2"),
        "# test_2: FAIL"
    );
    // With a name in advance they are told at once.
    let mut reader = tap();
    let begin = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: suite\n    1..1\n";
    let mut events = reader.push(begin.as_bytes());
    events.extend(reader.push(b"    ok 1 case\n"));
    let ids = events.iter().filter_map(|event| match event {
        TestEvent::TestStarted { id } => Some(format!("{id} started")),
        TestEvent::TestFinished(test) => Some(test.id.clone()),
        _ => None,
    });
    assert_eq!(ids.collect::<Vec<_>>(), ["suite started", "suite.case"]);
}

#[test]
fn kunit_of_old_kernels() {
    let output = "\
TAP version 14
1..2
\t# Subtest: outer
\t1..2
\tok 1 - one
\t\t# Subtest: inner
\t\t1..1
\t\tok 1 - deep
\tkunit inner: all tests passed
\tok 2 - inner
kunit outer: all tests passed
ok 1 - outer
\t# Subtest: last
\t1..1
\tnot ok 1 - wrong # TODO later
not ok 2 - last # TODO
";
    let expected = "\
passed outer.one
passed outer.inner.deep
passed outer.inner
passed outer
expected-failure last.wrong: later
expected-failure last
";
    assert_eq!(told(tap(), output.as_bytes()), expected);
}

#[test]
fn directives_and_names() {
    for (line, expected) in [
        ("ok", "passed 1"),
        ("ok 1", "passed 1"),
        ("ok 1 - a", "passed a"),
        ("ok 1 -", "passed 1"),
        ("ok a b", "passed a b"),
        ("ok 1 - 2 is even", "passed 2 is even"),
        ("not ok 1 a", "failed a"),
        ("ok 1 - a # SKIP", "skipped a"),
        ("ok 1 - a # Skipped: no b", "skipped a: no b"),
        ("not ok 1 - a # skip no b", "skipped a: no b"),
        ("ok 1 # SKIP no b", "skipped 1: no b"),
        ("not ok 1 a # TODO b", "expected-failure a: b"),
        ("ok 1 a # todo", "unexpected-success a"),
        ("ok 1 a # XFAIL b", "expected-failure a: b"),
        ("not ok 1 a # XFAIL b", "expected-failure a: b"),
        ("ok 1 a # XPASS b", "unexpected-success a: b"),
        ("not ok 1 # error b", "error 1: b"),
        ("ok 1 a # ERROR b", "error a: b"),
        (
            "not ok 1 a # TIMEOUT 30 seconds",
            "failed a: TIMEOUT 30 seconds",
        ),
        (
            "ok 1 a # TIMEOUT 30 seconds",
            "failed a: TIMEOUT 30 seconds",
        ),
        (r"ok 1 - a \# SKIP b", "passed a # SKIP b"),
        (r"ok 1 - a \\# SKIP b", r"passed a \# SKIP b"),
        (r"ok 1 - a \\ # SKIP b", r"skipped a \: b"),
        ("ok 1 - a#SKIP b", "passed a#SKIP b"),
        ("ok 1 - a # todos are many", "passed a # todos are many"),
        ("ok 1 - issue #7 # b", "passed issue #7 # b"),
    ] {
        let output = format!("1..1\n{line}\n");
        assert_eq!(
            told(tap(), output.as_bytes()),
            format!("{expected}\n"),
            "{line}"
        );
    }
    // To the kernel, what stands behind # is no part of the name.
    let output = "1..2\nok 1 a # rcode=0\nnot ok 2 b #  no c\n";
    assert_eq!(
        told(ktap(), output.as_bytes()),
        "passed a\nfailed b: no c\n"
    );
}

#[test]
fn diagnostic_blocks_belong_to_the_test_before() {
    let output = "\
TAP version 14
1..2
not ok 1 - a
  ---
  message: one
    ok 7
  ok 1 - no result
  ...
ok 2 - b
  ---
  not ok 3
  ...
";
    assert_eq!(told(tap(), output.as_bytes()), "failed a\npassed b\n");
    assert_eq!(
        traceback(tap(), output.as_bytes(), "a"),
        "message: one\n  ok 7\nok 1 - no result"
    );
}

#[test]
fn what_is_wrong_is_told_with_the_line() {
    for (output, expected) in [
        ("1..2\nok 1\n", "line 1: 1 test of 2 came"),
        ("1..1\nok 1\nok 2\n", "line 1: 2 tests of 1 came"),
        ("ok 1\nok 2\n1..3\n", "line 3: 2 tests of 3 came"),
        ("1..0 # SKIP x\nok 1\n", "line 1: 1 test of 0 came"),
        ("1..2\nok 1\nok 1\n", "line 3: test 1, where 2 is next"),
        ("1..2\nok 2\nok 1\n", "line 2: test 2, where 1 is next"),
        ("1..1\n1..1\nok 1\n", "line 2: a second plan"),
        ("1..1\nok 1\n1..1\n", "line 3: a second plan"),
        ("ok 1\nok 2\n", "line 2: the output ends without a plan"),
        ("1..1\nok 1", "line 2: the output ends within this line"),
        ("1..1\nok 1\nBail out!\n", "line 3: Bail out!"),
        (
            "TAP version 13\n1..2\nok 1\nTAP version 13\n1..1\nok 1\n",
            "line 2: 1 test of 2 came",
        ),
        (
            "1..1\n    1..1\n    ok 1 - b\n",
            "line 3: the output ends inside of a test",
        ),
        (
            "1..1\n# Subtest: a\n    1..2\n    ok 1 - b\nok 1 - a\n",
            "line 3: 1 test of 2 came",
        ),
        (
            "1..1\n    # Subtest: a\n    Bail out! x\n",
            "line 3: Bail out! x",
        ),
        (
            "1..1\nnot ok 1\n  ---\n  a: 1\n",
            "line 4: the output ends inside of a diagnostic block",
        ),
        (
            "pragma +strict\n1..1\nhello\nok 1\n",
            "line 3: not TAP, and the pragma is strict",
        ),
        ("hello\n", "line 1: the output ends without a test result"),
    ] {
        let wrong = told(tap(), output.as_bytes());
        assert_eq!(wrong, format!("wrong: {expected}\n"), "{output}");
    }
    assert_eq!(
        told(tap(), b"pragma -strict\n1..1\nhello\nok 1\n"),
        "passed 1\n"
    );
    for none in ["1..0\n", "TAP version 14\n1..0 # SKIP no disk\n"] {
        let tally = tally(tap(), none.as_bytes()).unwrap();
        assert_eq!(tally.outcome(0).exit_status(), 5);
    }
}

#[test]
fn a_program_that_prints_less_than_it_plans_does_not_pass() {
    let run = |result: &str| {
        let output = format!(
            "TAP version 13\n1..1\n# selftests: a: b\n# TAP version 13\n# 1..3\n# ok 1 c\n{result}\n"
        );
        told(ktap(), output.as_bytes())
    };
    assert_eq!(
        run("ok 1 selftests: a: b"),
        "passed a.b.c\nerror a.b: line 5: 1 test of 3 came\n"
    );
    assert_eq!(
        run("ok 1 selftests: a: b # SKIP"),
        "passed a.b.c\nskipped a.b: line 5: 1 test of 3 came\n"
    );
}

#[test]
fn one_program_may_run_others() {
    // As `change_skew` of the timers does, and the run.sh of futex.
    let output = "\
TAP version 13
1..1
# selftests: a: b
# TAP version 13
# 1..1
# ok 1 c
# TAP version 13
# 1..1
# ok 1 c
# # more
ok 1 selftests: a: b
";
    let expected = "passed a.b.c\npassed a.b.c (2)\npassed a.b\n";
    assert_eq!(told(ktap(), output.as_bytes()), expected);
}

#[test]
fn what_looks_like_a_result_in_a_diagnostic_is_none() {
    let output = "1..1\n# ok 1 - quoted\n# TAP version 13\n# 1..9\nok 1 - real\n";
    assert_eq!(told(tap(), output.as_bytes()), "passed real\n");
}

#[test]
fn a_failure_before_a_broken_end_is_told() {
    let mut reader = tap();
    let cut = reader.push(b"1..3\nok 1 - a\nnot ok 2 - b\n# said\n");
    assert_eq!(cut.len(), 2, "{cut:?}");
    let (left, end) = reader.finish(1);
    assert!(end.unwrap_err().ends_with("2 tests of 3 came"));
    assert!(matches!(&left[..], [TestEvent::TestFinished(test)] if test.id == "b"));
}

#[test]
fn memory_is_bounded() {
    // Tests whose parent never comes.
    let mut reader = tap();
    for _ in 0..40 {
        reader.push(&b"    ok\n".repeat(10_000));
    }
    assert!(
        reader
            .finish(0)
            .1
            .unwrap_err()
            .contains("more than 262144 tests")
    );
    let mut reader = tap();
    for _ in 0..40 {
        reader.push(&b"ok\n".repeat(10_000));
    }
    assert!(
        reader
            .finish(0)
            .1
            .unwrap_err()
            .contains("more than 262144 tests")
    );
    // Deeper and deeper.
    let mut reader = tap();
    for depth in 0..1000 {
        reader.push(format!("{}1..1\n", "  ".repeat(depth)).as_bytes());
        assert!(reader.format.levels.len() <= DEEPEST);
    }
    let long = format!(
        "1..1\n{}\nnot ok 1 - {}\n",
        "#x\n".repeat(100_000),
        "y".repeat(1 << 20)
    );
    let tally = tally(ktap(), long.as_bytes()).unwrap();
    let [test] = &tally.finished_tests[..] else {
        panic!()
    };
    assert!(test.id.len() < 5000);
    let text = test.traceback.as_ref().unwrap();
    assert!(text.len() < 50_000);
    assert!(text.contains("bytes left out"));
}
