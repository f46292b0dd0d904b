//! Job control: `vm` in the background of a shell, stopped and continued, and without its
//! terminal. The shell has a terminal of its own, and a script types.

use std::path::Path;

use support::binary::{Run, Xtask};
use support::fake_qemu;
use support::host::{names, no_process_is_left_in, repository, write};

use crate::xtask;

/// A script of `files/jobs`, which is given a home directory and the command.
fn script(command: Xtask, name: &str, home: &Path) -> Run {
    let script = repository().join(format!("xtask/tests/it/files/jobs/{name}.py"));
    let words = [
        "python3",
        "-B",
        script.to_str().unwrap(),
        home.to_str().unwrap(),
    ];
    let run = command.behind(&words).env("TERM", "xterm").run();
    run.expect_status(0)
}

/// Runs a script on `vm` with this part and these words; then nothing must be left.
fn check(part: &str, arguments: &str, name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let vm = fake_qemu::vm(xtask(home), home, part, "").args(arguments);
    script(vm, name, home);
    no_process_is_left_in(home);
    assert_eq!(names(home.join("tmp")), [""; 0], "temporary files are left");
}

#[test]
fn in_the_background_it_runs_with_pipes_whatever_is_typed() {
    check("late", "-- true", "background");
}

#[test]
fn it_stops_when_it_must_have_the_terminal_and_goes_on_in_the_foreground() {
    // The second is to run a shell.
    for arguments in ["--tty -- true", ""] {
        check("terminal", arguments, "stops");
    }
}

#[test]
fn a_terminal_is_given_back_and_taken_again_with_its_size() {
    check("terminal", "-- true", "size");
}

#[test]
fn a_limit_does_not_count_while_it_is_stopped() {
    check("late", "--no-tty --idle-timeout 3s -- true", "limit");
}

#[test]
fn without_its_terminal_it_ends_with_129() {
    for (part, options) in [("terminal", ""), ("late", "--no-tty"), ("silent", "")] {
        check(part, &format!("{options} -- true"), "hang_up");
    }
}

#[test]
fn nobody_has_to_send_the_signal() {
    check("terminal", "-- true", "no_signal");
}

#[test]
fn live_lines_are_drawn_in_the_foreground_only() {
    let work = tempfile::tempdir().unwrap();
    let project = tempfile::tempdir().unwrap();
    let slow = "name = \"x\"\nprepare = [\"sleep 1000\"]\n[local]\n";
    write(project.path().join("vmtest.toml"), slow);
    let test = xtask(work.path())
        .args("test -l")
        .current_dir(project.path());
    script(test, "live", work.path());
}

#[test]
fn nohup_is_respected() {
    check("late", "-- true", "nohup");
}
