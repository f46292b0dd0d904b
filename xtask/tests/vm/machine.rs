//! What `vm`'s options do to the machine.

use crate::Call;

#[test]
fn memory_processors_and_parameters() {
    let script = "nproc; grep MemTotal /proc/meminfo; cat /proc/cmdline";
    let ended = Call::vm("--memory 512M --cpus 1 --kernel-cmdline vmtest.x=1")
        .script(script)
        .output()
        .expect(0);
    let stdout = ended.stdout();
    let lines = stdout.lines().collect::<Vec<_>>();
    assert_eq!(lines[0], "1");
    let total = lines[1]
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u32>()
        .unwrap();
    assert!((400_000..512 * 1024).contains(&total), "{total} kB");
    assert!(lines[2].contains("vmtest.x=1"), "{}", lines[2]);
}

#[test]
fn a_dry_run_prints_the_command_and_runs_nothing() {
    let ended = Call::vm("--dry-run -Xqemu -s")
        .run_in_guest(&["true"])
        .output()
        .expect(0);
    let stdout = ended.stdout();
    assert!(
        stdout.contains("qemu-system-x86_64 ") && stdout.trim_end().ends_with(" -s"),
        "{stdout}"
    );
}

#[test]
fn emulation_is_found_to_be_needed_once() {
    // Whatever this host is like: the second run must not try again what failed.
    let first = Call::vm("").run_in_guest(&["true"]).output().expect(0);
    let second = Call::vm("").run_in_guest(&["true"]).output().expect(0);
    for ended in [&first, &second] {
        assert!(ended.stderr().lines().count() <= 1, "{}", ended.stderr());
    }
}

#[test]
fn the_kernels_messages_can_be_followed() {
    let call = Call::vm("-q --kernel-log");
    let script = "echo from user space > /dev/kmsg; echo out; sleep 1; echo err >&2";
    let ended = call.script(script).output().expect(0);
    assert_eq!(ended.stdout(), "out\n");
    let stderr = ended.stderr();
    let at = |words: &str| {
        let found = stderr.lines().position(|line| line.ends_with(words));
        found.unwrap_or_else(|| panic!("lacks {words:?}:\n{stderr}"))
    };
    assert!(stderr.contains("] Linux version "), "{stderr}");
    // While the command ran, not behind it.
    assert!(at("] from user space") < at("err"), "{stderr}");
    assert!(!stderr.contains('\r'), "{stderr}");
    let without = Call::vm("-q").script(script).output().expect(0);
    assert_eq!(without.stderr(), "err\n");
}

#[test]
fn on_a_terminal_the_command_has_one() {
    let typed = "stty size; tty; echo typed-$((40 + 2))\nexit 7\n";
    let command = ["sh", "-c", "echo ready; exec sh -i"];
    let stdout = crate::terminal::vm(&["-q"], &command, &[("ready", typed)]);
    for expected in [
        "33 101\n",
        "/dev/hvc0\n",
        "typed-42\n",
        "status 7\n",
        "restored True\n",
    ] {
        assert!(stdout.contains(expected), "lacks {expected:?}:\n{stdout}");
    }
}
