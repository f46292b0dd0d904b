//! The reader of `test_progs` against what that of 6.12 printed.

use super::*;
use crate::run::framework::recorded::{bear, bear_anything, tally, told, traceback};

const RECORDED: &[u8] = include_bytes!("../recorded/test_progs-6.12.txt");

fn reader() -> LineReader<ProgsFormat> {
    LineReader::new(ProgsFormat::default())
}

#[test]
fn what_the_tests_of_bpf_print() {
    let expected = "\
passed arg_parsing/test_parse_test_list
passed arg_parsing/test_parse_test_list_file
passed arg_parsing
passed atomic_bounds
passed bpf_loop/check_stack
passed bpf_loop
skipped get_stackid_cannot_attach
passed global_data
passed lookup_key
passed send_signal/send_signal_tracepoint
passed send_signal/send_signal_perf
skipped send_signal/send_signal_nmi
passed send_signal/send_signal_tracepoint_thread
passed send_signal/send_signal_perf_thread
skipped send_signal/send_signal_nmi_thread
passed send_signal
failed skeleton
";
    assert_eq!(told(reader(), RECORDED), expected);
    let said = traceback(reader(), RECORDED, "skeleton");
    assert!(said.starts_with("test_skeleton:PASS:skel_open"), "{said}");
    assert!(said.ends_with("failed to load skeleton: -22"), "{said}");
    assert_eq!(said.matches("FAIL").count(), 1);
    bear(&reader(), RECORDED);
    let text = std::str::from_utf8(RECORDED).unwrap();
    let passing = text.split_inclusive('\n').take(17).collect::<String>();
    let passing = passing + "Summary: 7/7 PASSED, 3 SKIPPED, 0 FAILED\n";
    assert_eq!(
        tally(reader(), passing.as_bytes())
            .unwrap()
            .outcome(0)
            .exit_status(),
        0
    );
    bear(&reader(), passing.as_bytes());
    bear_anything(&reader());
}

#[test]
fn a_test_has_what_it_and_its_subtests_printed() {
    let output = "of b\n#1/1 b/one:OK\n#1/2 b/#2: a, b:SKIP\nof b/3\n#1/3 b/3:FAIL\n#1 b:FAIL\n\
        of c\n#2/1 c/1:OK\n#2 c:FAIL\nSummary: 0/2 PASSED, 1 SKIPPED, 2 FAILED\n";
    let expected = "passed b/one\nskipped b/#2: a, b\nfailed b/3\nfailed b\npassed c/1\nfailed c\n";
    assert_eq!(told(reader(), output.as_bytes()), expected);
    let said = |id| traceback(reader(), output.as_bytes(), id);
    assert_eq!(said("b/3"), "of b\nof b/3");
    assert_eq!((said("b"), said("c")), (String::new(), "of c".to_owned()));
    let picked = TestProgs.pick("b/#2: a, b (2)");
    assert_eq!(picked, ["-a", "b/#2: a* b"]);
}

#[test]
fn a_program_that_dies_or_miscounts_is_no_success() {
    let summary = "Summary: 1/0 PASSED, 0 SKIPPED, 0 FAILED\n";
    let wrong = |output: &str| told(reader(), output.as_bytes());
    for (output, what) in [
        (
            "#1 a:OK\nCaught signal #11!\n".to_owned(),
            "line 2: the output ends without a summary",
        ),
        (
            format!("#1 a:OK\n{summary}#2 b:OK\n"),
            "line 3: a result behind the summary",
        ),
        (
            format!("#1 a:OK\n{summary}{summary}"),
            "line 3: a second summary",
        ),
        (
            format!("#1 a:OK\n#2 b:OK\n{summary}"),
            "line 3: the summary is \"1/0 PASSED, 0 SKIPPED, 0 FAILED\", but 2 tests passed and 0 failed",
        ),
    ] {
        assert_eq!(wrong(&output), format!("wrong: {what}\n"));
    }
}
