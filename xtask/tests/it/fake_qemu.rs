//! `vm` against a QEMU that is played by a script: what it does to us when it
//! hangs, ends early, says garbage or gives no verdict. No kernel, no root.

use std::fs;
use std::path::PathBuf;

use crate::xtask;
use support::binary::Run;
use support::fake_kernel::GUEST_CONFIG;
use support::fake_qemu;
use support::host::no_process_is_left_in;

fn play(part: &str, arguments: &str) -> Run {
    play_on(part, arguments, "")
}

/// The same with a kernel of this configuration; none if it is empty.
fn play_on(part: &str, arguments: &str, config: &str) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let temporary = home.join("tmp");
    let run = fake_qemu::vm(xtask(home), home, part, config)
        .args(arguments)
        .args("-- true")
        .run();
    let left = fs::read_dir(&temporary)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    assert_eq!(
        left,
        Vec::<PathBuf>::new(),
        "temporary files left by {part:?}"
    );
    no_process_is_left_in(home);
    run
}

#[track_caller]
fn check(part: &str, arguments: &str, status: i32, stdout: &str, says: &str) {
    let run = play(part, arguments).expect_status(status);
    assert_eq!(run.stdout, stdout, "{part}");
    assert!(
        run.stderr.contains(says),
        "{part}: {:?} lacks {says:?}",
        run.stderr
    );
    for line in run.stderr.lines().filter(|line| *line != "err") {
        assert!(
            line.starts_with("xtask:"),
            "{part}: not one of our lines: {line:?}"
        );
    }
}

#[test]
fn a_verdict_with_all_output_is_the_commands_status() {
    check("good", "", 42, "out\n", "err\n");
}

#[test]
fn qemu_that_refuses_its_command_line_loses_no_vm() {
    let run = play("refuse", "").expect_status(3);
    let line = "xtask: error: QEMU refused its command line: the disk is on fire\n";
    assert_eq!(run.stderr, line);
}

#[test]
fn qemu_that_ends_early_is_lost_with_its_own_words() {
    check(
        "gone",
        "",
        128,
        "out\n",
        "the VM was lost: QEMU ended with exit status 0",
    );
    check(
        "killed",
        "",
        128,
        "out\n",
        "the VM was lost: QEMU ended with signal 9 (SIGKILL)",
    );
}

#[test]
fn no_verdict_is_never_success() {
    // What looked like a mark and was none belongs to the output.
    let garbage = play("garbage", "");
    let garbage = garbage.expect_status(128);
    assert!(garbage.stdout.starts_with("out\n") && garbage.stdout.len() == 4 + 31);
    assert!(
        garbage.stderr.contains("the VM was lost"),
        "{}",
        garbage.stderr
    );
    check("mark without verdict", "", 128, "out\n", "the VM was lost");
    check("verdict without marks", "", 128, "out\n", "the VM was lost");
}

#[test]
fn a_panic_is_named_by_its_first_cause() {
    check(
        "panic",
        "",
        128,
        "out\n",
        "the kernel panicked: BUG: kernel NULL pointer dereference",
    );
}

#[test]
fn a_dump_is_written_before_the_end() {
    // The guest has not told where its description is; the dump is as good as it gets.
    let run = play("dump", "--dump").expect_status(128);
    for words in [
        "the kernel panicked: Kernel panic",
        "the dump has no VMCOREINFO",
        "xtask: dump: ",
    ] {
        assert!(run.stderr.contains(words), "{words:?}: {}", run.stderr);
    }
}

#[test]
fn no_dump_changes_no_outcome() {
    for (part, why) in [
        (
            "dump refused",
            "no dump: QEMU cannot do dump-guest-memory: there is no zlib",
        ),
        (
            "dump dies",
            "no dump: QEMU ended while it was to do dump-guest-memory",
        ),
    ] {
        let run = play(part, "--dump").expect_status(128);
        for words in ["the kernel panicked: Kernel panic", why] {
            assert!(run.stderr.contains(words), "{words:?}: {}", run.stderr);
        }
        assert!(!run.stderr.contains("xtask: dump: "), "{}", run.stderr);
    }
}

#[test]
fn init_says_why_it_cannot_go_on() {
    check(
        "init fails",
        "",
        128,
        "",
        "the guest's init failed: cannot mount tmpfs on /run",
    );
}

#[test]
fn limits_are_kept_in_every_phase() {
    check(
        "silent",
        "--boot-timeout 1s",
        128,
        "",
        "stuck while booting: boot limit of 1 s (--boot-timeout)\n",
    );
    check(
        "no console",
        "--boot-timeout 1s",
        128,
        "",
        "boot limit of 1 s (--boot-timeout), and the kernel printed nothing; with",
    );
    check(
        "hang",
        "--idle-timeout 1s",
        128,
        "out\n",
        "stuck while the command ran: no output for 1 s",
    );
    // Counted from the start, which a busy machine may need a while for.
    check("hang", "--timeout 4s", 128, "out\n", "total limit of 4 s");
}

#[test]
fn a_debugger_is_invited_and_limits_that_were_given_hold() {
    let run = play("good", "-q --gdb").expect_status(42);
    let line = run.stderr.lines().next().unwrap_or_default();
    assert!(
        line.starts_with("xtask: the guest waits for a debugger: gdb -ex 'target remote /")
            && line.ends_with("/kernel/build/vmlinux"),
        "{}",
        run.stderr
    );
    let run = play("silent", "--gdb --boot-timeout 2s").expect_status(128);
    assert!(run.stderr.contains("boot limit of 2 s"), "{}", run.stderr);
    for port in ["0", "x", "70000"] {
        let run = play("good", &format!("--gdb={port}")).expect_status(2);
        assert!(run.stderr.contains("a port is a number"), "{}", run.stderr);
    }
}

#[test]
fn the_kernels_messages_are_lines_of_their_own() {
    let run = play("good", "-q --kernel-log").expect_status(42);
    // The console and the command's streams come by different ways, in no order.
    let mut lines = run.stderr.lines().collect::<Vec<_>>();
    lines.sort_unstable();
    assert_eq!(lines, ["[    0.0] Linux version 6.1.0", "err"]);
    let run = play("garbage", "--kernel-log").expect_status(128);
    // What is no terminal gets what there is.
    assert!(
        run.stderr.contains("\0\u{1b}[2J\0\u{1b}[2J"),
        "{:?}",
        run.stderr
    );
    let run = play("panic", "--kernel-log").expect_status(128);
    let line = "\n[    1.1] Kernel panic - not syncing: Fatal exception\n";
    assert!(run.stderr.contains(line), "{}", run.stderr);
}

#[test]
fn shares_must_be_there_and_have_a_place() {
    let run = play(
        "good",
        "--share . --share-rw /usr:/mnt/a --share /usr:/mnt/b",
    );
    run.expect_status(42);
    for (arguments, words) in [
        ("--share ./none", "cannot share ./none: No such file"),
        (
            "--share-rw kernel/vmlinuz",
            "kernel/vmlinuz: it is not a directory",
        ),
        (
            "--share /",
            "cannot share a directory at /: that is its whole file system",
        ),
        ("--share /usr:/run", "at /run: the guest has its own there"),
        ("--share /usr:mnt", "cannot share /usr:mnt: No such file"),
        (
            "--keep-cores kernel/vmlinuz",
            "cannot keep core dumps in kernel/vmlinuz: ",
        ),
        (
            "--share /usr:/a --share-rw /etc:/a",
            "are to be shared at /a",
        ),
    ] {
        let run = play("good", arguments).expect_status(2);
        assert!(run.stderr.contains(words), "{arguments}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn what_this_host_cannot_give_is_said_before_a_boot() {
    for (arguments, words) in [
        (
            "--memory 999G",
            "a guest with 1022976 MiB of memory does not fit",
        ),
        (
            "--env A-B=1",
            "--env: \"A-B\" is not the name of a variable (letters",
        ),
        (
            "--env =1",
            "--env: \"\" is not the name of a variable (letters",
        ),
        ("--timeout 1h30", "a time is written like 20s, 5m or 1h30m"),
    ] {
        let run = play("good", arguments).expect_status(2);
        assert!(run.stderr.contains(words), "{arguments}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
    // One that is not set is not passed on.
    play("good", "--env NOT_SET --timeout 1h30m").expect_status(42);
}

#[test]
fn a_path_too_long_for_sockets_is_found_before_the_start() {
    let work = tempfile::tempdir().unwrap();
    let long = work.path().join("a".repeat(100));
    fs::create_dir(&long).unwrap();
    let run = xtask(work.path()).env("TMPDIR", &long);
    // There is no such kernel: nobody looks for it.
    let run = run.args("vm -k ./none -- true").run().expect_status(2);
    assert!(run.stderr.contains("(set TMPDIR to "), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn modules_outside_of_the_kernel_are_not_followed() {
    let work = tempfile::tempdir().unwrap();
    let path = fake_qemu::install(work.path(), "good");
    let kernel = work.path().join("kernel");
    support::fake_kernel::write(&kernel, "6.1.0-vmtest1.1default", "00", 0);
    let config = format!("{GUEST_CONFIG}CONFIG_VIRTIO_NET=m\n");
    fs::write(kernel.join("build/.config"), config).unwrap();
    for name in ["../../../etc/virtio_net.ko", "/etc/virtio_net.ko"] {
        fs::write(kernel.join("modules.dep"), format!("{name}:\n")).unwrap();
        let run = xtask(work.path()).env("PATH", &path);
        let run = run
            .args("-q vm --accel tcg --net -k ./kernel -- true")
            .run();
        let run = run.expect_status(3);
        let words = format!("modules.dep names {name:?}: ");
        assert!(run.stderr.contains(&words), "{}", run.stderr);
    }
}

#[test]
fn a_network_needs_a_driver() {
    // Nothing is known about this kernel.
    play("good", "--net").expect_status(42);
    let run = play_on("good", "--net", "# CONFIG_VIRTIO_NET is not set\n").expect_status(3);
    let words =
        "the kernel 6.1.0-vmtest1.1default has no network: its CONFIG_VIRTIO_NET is not set";
    assert!(run.stderr.contains(words), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    play_on("good", "--net", "CONFIG_VIRTIO_NET=y\n").expect_status(42);
    play_on("good", "", "# CONFIG_VIRTIO_NET is not set\n").expect_status(42);
}

#[test]
fn what_the_kernel_cannot_do_is_said_before_it_is_booted() {
    let run = play_on("good", "", "# CONFIG_9P_FS is not set\n").expect_status(3);
    let words = "the kernel 6.1.0-vmtest1.1default cannot be a guest here: no 9p file system: \
                 its CONFIG_9P_FS is not set";
    assert!(run.stderr.contains(words), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn a_kernel_for_one_processor_gets_one() {
    for (config, expected) in [
        ("# CONFIG_SMP is not set\n", true),
        ("CONFIG_SMP=y\n", false),
    ] {
        let run = play_on("good", "--dry-run", config).expect_status(0);
        let one = run.stdout.contains("-smp 1,");
        // This host may have one processor.
        assert!(one == expected || std::thread::available_parallelism().unwrap().get() == 1);
    }
}

#[test]
fn what_init_says_before_there_is_a_port_counts() {
    let words = "the guest's init failed: cannot mount the root";
    check("no root", "", 128, "", words);
}

#[test]
fn output_keeps_an_idle_limit_away_but_not_the_total_one() {
    let run = play("chatter", "--idle-timeout 2s --timeout 4s");
    let run = run.expect_status(128);
    assert!(run.stderr.contains("total limit of 4 s"), "{}", run.stderr);
    assert!(run.stdout.starts_with("out\n...."), "{:?}", run.stdout);
}

#[test]
fn the_status_for_a_lost_vm_can_be_chosen() {
    check("gone", "--lost-status 77", 77, "out\n", "the VM was lost");
}
