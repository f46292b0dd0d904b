//! Each way in which a VM can end has its own outcome and message.

use crate::{Call, unpacked_kernel};

#[test]
fn a_panic_is_a_panic_with_the_consoles_words() {
    let ended = Call::vm("")
        .script("echo before; echo c > /proc/sysrq-trigger")
        .output()
        .expect(128);
    assert_eq!(ended.stdout(), "before\n");
    let stderr = ended.stderr();
    assert!(
        stderr.contains("the kernel panicked: Kernel panic - not syncing: sysrq triggered crash"),
        "{stderr}"
    );
    assert!(stderr.contains("sysrq_handle_crash"), "{stderr}");
}

#[test]
fn qemu_that_is_killed_is_lost() {
    let mut running = Call::vm("").script("echo up; sleep 1000").spawn();
    let mut id = None;
    running.wait_until("QEMU runs", |running| {
        id = running.qemu();
        id.is_some()
    });
    let id = rustix::process::Pid::from_raw(id.unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    let ended = running.wait().expect(128);
    assert!(
        ended
            .stderr()
            .contains("the VM was lost: QEMU ended with signal 9 (SIGKILL)"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn a_command_that_never_returns_meets_its_limit() {
    let ended = Call::vm("--timeout 20s")
        .run_in_guest(&["sleep", "1000"])
        .output()
        .expect(128);
    assert!(
        ended.stderr().contains("total limit of 20 s"),
        "{}",
        ended.stderr()
    );
    // The console's last words are collected within the grace of 5 s.
    assert!(
        ended.stderr().contains("Show Blocked State"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn silence_meets_its_limit() {
    let ended = Call::vm("--idle-timeout 10s")
        .script("echo up; sleep 1000")
        .output()
        .expect(128);
    assert_eq!(ended.stdout(), "up\n");
    assert!(
        ended.stderr().contains("no output for 10 s"),
        "{}",
        ended.stderr()
    );
}

/// The console's log, which the words about the VM's end name.
fn console(stderr: &str) -> String {
    let path = stderr
        .lines()
        .find_map(|line| line.strip_prefix("xtask: console log: "));
    std::fs::read_to_string(path.expect(stderr)).unwrap()
}

/// Init gets a signal for each orphan that ends, also while it looks whether its own processes
/// are there.
#[test]
fn orphans_that_end_put_off_no_limit() {
    let ended = Call::vm("--idle-timeout 20s --timeout 120s")
        .script("for i in $(seq 300); do (true &) done; echo up; sleep 1000")
        .output()
        .expect(128);
    let stderr = ended.stderr();
    assert!(stderr.contains("no output for 20 s"), "{stderr}");
    assert!(!console(&stderr).contains("resource busy"), "{stderr}");
}

#[test]
fn ports_that_somebody_else_holds_put_off_no_limit() {
    let ended = Call::vm("--idle-timeout 20s --timeout 120s")
        .script(include_str!("files/hold_port.sh"))
        .output()
        .expect(128);
    let stderr = ended.stderr();
    assert_eq!(ended.stdout(), "up\n", "{stderr}");
    assert!(stderr.contains("no output for 20 s"), "{stderr}");
    assert_eq!(
        console(&stderr).matches("resource busy").count(),
        1,
        "{stderr}"
    );
}

#[test]
fn a_command_line_that_qemu_refuses_is_no_lost_vm() {
    for arguments in [
        "--qemu-argument -nonsense",
        "--qemu-argument -device --qemu-argument nonsense",
        "--cpus 9999",
    ] {
        let ended = Call::vm(arguments)
            .run_in_guest(&["true"])
            .output()
            .expect(3);
        let stderr = ended.stderr();
        let refusals = stderr.matches("error: QEMU refused its command line: ");
        assert_eq!(refusals.count(), 1, "{stderr}");
        assert!(!stderr.contains("console log"), "{stderr}");
    }
}

#[test]
fn a_cache_that_cannot_be_written_ends_nothing() {
    let work = tempfile::tempdir().unwrap();
    // Not even root can make folders of these. Where there is KVM, what is known of it would
    // go to the first.
    for folder in ["cache", "log", "locks"] {
        std::fs::write(work.path().join(folder), "").unwrap();
    }
    let call = Call::new("-q vm -k").with(|call| {
        call.arg(unpacked_kernel()).env("VMTEST_DIR", work.path());
    });
    let ended = call.run_in_guest(&["uname", "-s"]).output().expect(0);
    assert_eq!(ended.stdout(), "Linux\n");
    assert_eq!(ended.stderr(), "");
}

#[test]
fn an_init_that_is_not_there_is_the_kernels_panic() {
    let ended = Call::vm("--kernel-cmdline init=/nonexistent")
        .run_in_guest(&["true"])
        .output()
        .expect(128);
    assert!(
        ended
            .stderr()
            .contains("Requested init /nonexistent failed"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn a_working_directory_that_the_guest_lacks_is_inits_failure() {
    // The guest has a fresh /dev/shm; a directory on the host's own is hidden only
    // if it is the mount's own directory, so this one is kept and this must work.
    let directory = tempfile::Builder::new()
        .prefix("vmtest-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let call = Call::vm("").with(|call| {
        call.current_dir(directory.path());
    });
    let ended = call.run_in_guest(&["pwd"]).output().expect(0);
    assert_eq!(
        ended.stdout().trim_end(),
        directory.path().to_str().unwrap()
    );
}
