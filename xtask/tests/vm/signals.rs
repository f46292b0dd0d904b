//! A signal ends everything, in every phase, however it comes.

use rustix::process::Signal;

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
    let needle = "vmtest-";
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while crate::processes()
        .iter()
        .any(|(_, line)| line.contains(ended.temporary().to_str().unwrap()))
    {
        assert!(std::time::Instant::now() < end, "QEMU outlives us");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // Nobody could remove the directory; the next run in this place does.
    let left = crate::list(ended.temporary());
    assert!(left.iter().all(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(needle)
    }));
    Call::vm("")
        .with(|call| {
            call.env("TMPDIR", ended.temporary());
        })
        .run_in_guest(&["true"])
        .output()
        .expect(0);
    assert_eq!(
        crate::list(ended.temporary()),
        Vec::<std::path::PathBuf>::new()
    );
}
