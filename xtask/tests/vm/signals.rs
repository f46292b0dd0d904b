//! A signal ends everything, in every phase, however it comes.

use rustix::process::Signal;

use support::host::{names, no_process_is_left_in};

use crate::{Call, Running};

fn booting() -> Running {
    let mut running = Call::vm("").run_in_guest(&["sleep", "1000"]).spawn();
    running.wait_until("QEMU runs", |running| running.qemu().is_some());
    running
}

fn in_the_command() -> Running {
    use std::io::Read;
    let mut running = Call::vm("").script("echo up; sleep 1000").spawn();
    let mut stdout = running.child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 3]).unwrap();
    running
}

#[test]
fn interrupt_and_terminate_while_booting() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let running = booting();
        running.signal(signal);
        let ended = running.wait().expect(status);
        assert!(
            ended.stderr().contains("interrupted by SIG"),
            "{}",
            ended.stderr()
        );
    }
}

#[test]
fn interrupt_and_terminate_while_the_command_runs() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let running = in_the_command();
        running.signal(signal);
        running.wait().expect(status);
    }
}

#[test]
fn kill_leaves_no_process() {
    let running = in_the_command();
    running.signal(Signal::KILL);
    // The files of init and the ports are gone since init runs.
    running.wait().expect(137);

    let running = booting();
    running.signal(Signal::KILL);
    let ended = running.wait();
    no_process_is_left_in(ended.temporary());
    // Nobody could remove the directory; the next run in this place does.
    let left = names(ended.temporary());
    assert!(left.iter().all(|name| name.starts_with("vmtest-")));
    Call::vm("")
        .with(|call| {
            call.env("TMPDIR", ended.temporary());
        })
        .run_in_guest(&["true"])
        .output()
        .expect(0);
    assert_eq!(names(ended.temporary()), [""; 0]);
}
