//! The command line: usage errors, help, the work directory.

use crate::support::xtask;

#[test]
fn usage_errors_have_status_two_and_say_nothing_on_stdout() {
    let work = tempfile::tempdir().unwrap();
    for arguments in ["", "no-such-command", "--no-such-option"] {
        let run = xtask(work.path()).args(arguments).run().expect_status(2);
        assert_eq!(run.stdout, "", "{arguments:?}");
        assert_ne!(run.stderr, "", "{arguments:?}");
    }
}
