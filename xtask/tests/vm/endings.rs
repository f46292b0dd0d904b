//! Each way in which a guest can end itself or stand still ends the run, with its words: the
//! table of `xtask::internals::ending`. Limits, for those that nothing shows, are in [`crate::outcomes`].

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Call, Running};

/// Runs a script in a guest; what was said when it ended without a verdict.
#[track_caller]
fn lost(options: &str, script: &str) -> String {
    // What has not left the guest when that ends is lost with it: it waits until we have it.
    let script = format!("echo before; read -r line; {script}; sleep 1000");
    let call = Call::vm(options).with(|call| {
        call.stdin(Stdio::piped());
    });
    let mut running = call.script(&script).spawn();
    let mut stdout = running.child.stdout.take().unwrap();
    let mut before = [0; 7];
    stdout.read_exact(&mut before).unwrap();
    assert_eq!(&before, b"before\n");
    let mut stdin = running.child.stdin.take().unwrap();
    writeln!(stdin).unwrap();
    let ended = running.wait().expect(128);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    ended.stderr()
}

#[track_caller]
fn assert_says(stderr: &str, words: &str) {
    assert!(stderr.contains(words), "lacks {words:?}:\n{stderr}");
}

/// reboot(2) with this command and an argument.
fn reboot(command: &str) -> String {
    format!(
        "python3 -c 'import ctypes; \
         print(ctypes.CDLL(None).syscall(169, 0xfee1dead, 672274793, {command}, b\"words\"))'"
    )
}

#[test]
fn restart() {
    let stderr = lost("", &reboot("0x1234567"));
    assert_says(
        &stderr,
        "the VM was lost: the guest restarted itself: reboot: Restarting system",
    );
}

#[test]
fn restart_with_words() {
    let stderr = lost("", &reboot("0xa1b2c3d4"));
    let words = "the guest restarted itself: reboot: Restarting system with command 'words'";
    assert_says(&stderr, words);
}

#[test]
fn restart_by_a_triple_fault() {
    let stderr = lost("--kernel-cmdline reboot=triple", &reboot("0x1234567"));
    assert_says(&stderr, "the guest restarted itself: reboot: Restarting");
}

#[test]
fn halt() {
    let stderr = lost("", &reboot("0xcdef0123"));
    assert_says(
        &stderr,
        "the VM was lost: the guest halted itself: reboot: System halted",
    );
}

/// Without ACPI a kernel cannot turn the machine off.
#[test]
fn power_off() {
    let stderr = lost("", &reboot("0x4321fedc"));
    assert_says(&stderr, "the VM was lost: the guest halted itself: reboot:");
}

/// Another kernel is loaded and started: `kexec -s -l` and `-e`.
#[test]
fn kexec() {
    let load = r#"python3 -c '
import ctypes, os
image = os.open("/lib/modules/" + os.uname().release + "/vmlinuz", os.O_RDONLY)
print(ctypes.CDLL(None).syscall(320, image, -1, 14, b"console=ttyS0", 4))' >&2"#;
    let script = format!("{load}; {}", reboot("0x45584543"));
    let stderr = lost("", &script);
    assert_says(&stderr, "the VM was lost: the guest started another kernel");
}

/// What a kernel refuses, and what only says how Ctrl-Alt-Del works, ends nothing.
#[test]
fn what_does_not_end_a_guest() {
    let commands = ["0x45584543", "0xd000fce2", "0", "0x89abcdef"];
    let script = commands.map(reboot).join("; ") + "; exit 7";
    let ended = Call::vm("").script(&script).output().expect(7);
    assert_eq!(ended.stdout(), "-1\n-1\n0\n0\n");
}

#[test]
fn sysrq_resets_or_turns_off() {
    let stderr = lost("", "echo b > /proc/sysrq-trigger");
    assert_says(
        &stderr,
        "the VM was lost: the guest restarted itself: sysrq",
    );
    let stderr = lost("", "echo o > /proc/sysrq-trigger");
    assert_says(&stderr, "the guest turned itself off: reboot: Power down");
}

/// The kernel prints nothing, as when a device resets the machine without it.
#[test]
fn a_reset_without_a_word() {
    let script = format!("echo 0 > /proc/sys/kernel/printk; {}", reboot("0x1234567"));
    let stderr = lost("", &script);
    assert_says(&stderr, "the VM was lost: the guest reset its machine");
}

const CRASH: &str = "echo c > /proc/sysrq-trigger";

const PANICKED: &str = "the kernel panicked: Kernel panic - not syncing: sysrq triggered crash";

/// A panic is one whatever the kernel does then, and its words are complete.
#[test]
fn panics_are_not_waited_out() {
    for (options, script, last) in [
        ("--kernel-cmdline panic=0", "", "---[ end Kernel panic"),
        ("--kernel-cmdline panic=100000", "", "Rebooting in 100000 "),
        (
            "",
            "echo 200000 > /proc/sys/kernel/panic; ",
            "Rebooting in 200000 ",
        ),
    ] {
        let stderr = lost(options, &format!("{script}{CRASH}"));
        assert_says(&stderr, PANICKED);
        assert_says(&stderr, "sysrq_handle_crash");
        assert_says(&stderr, last);
    }
}

#[test]
fn a_panic_that_is_not_waited_out_is_dumped() {
    let stderr = lost("--kernel-cmdline panic=100000 --dump", CRASH);
    assert_says(&stderr, PANICKED);
    let mut lines = stderr.lines();
    let dump = lines.find_map(|line| line.strip_prefix("xtask: dump: "));
    let dump = dump.unwrap_or_else(|| panic!("no dump:\n{stderr}"));
    assert!(std::fs::metadata(dump).unwrap().len() > 1 << 20);
    std::fs::remove_file(dump).unwrap();
}

/// Its instructions are overwritten by HLT, which only the kernel may execute.
#[test]
fn the_end_of_the_first_process() {
    let script = r#"python3 -c '
maps = [line.split() for line in open("/proc/1/maps")]
begin, end = next(line[0].split("-") for line in maps if line[1] == "r-xp")
with open("/proc/1/mem", "r+b", buffering=0) as memory:
    memory.seek(int(begin, 16))
    memory.write(b"\xf4" * (int(end, 16) - int(begin, 16)))'; kill -CHLD 1"#;
    let stderr = lost("", script);
    let words = "the kernel panicked: Kernel panic - not syncing: Attempted to kill init!";
    assert_says(&stderr, words);
}

/// A guest whose command runs.
fn running(options: &str) -> Running {
    let mut running = Call::vm(options).script("echo up; sleep 1000").spawn();
    let mut stdout = running.child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 3]).unwrap();
    running
}

#[test]
fn qemu_is_stopped_or_told_to_end() {
    for (signal, words) in [
        (
            Signal::STOP,
            "the VM was lost: QEMU was stopped by a signal and did not go on within 5 s",
        ),
        (
            Signal::TERM,
            "the VM was lost: QEMU ended with exit status 0: terminating on signal 15",
        ),
        (
            Signal::SEGV,
            "the VM was lost: QEMU ended with signal 11 (SIGSEGV)",
        ),
    ] {
        let running = running("");
        let qemu = Pid::from_raw(running.qemu().unwrap()).unwrap();
        kill_process(qemu, signal).unwrap();
        assert_says(&running.wait().expect(128).stderr(), words);
    }
}

#[test]
fn qemu_is_paused() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("qmp");
    let options = format!(
        "-Xqemu -qmp -Xqemu unix:{},server=on,wait=off",
        socket.display()
    );
    let running = running(&options);
    let mut monitor = UnixStream::connect(&socket).unwrap();
    monitor
        .write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"stop\"}\n")
        .unwrap();
    let words = "the VM was lost: QEMU was paused and did not go on within 5 s";
    assert_says(&running.wait().expect(128).stderr(), words);
}
