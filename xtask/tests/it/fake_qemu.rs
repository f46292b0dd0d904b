//! `vm` against a QEMU that is played by a script: what it does to us when it
//! hangs, ends early, says garbage or gives no verdict. No kernel, no root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{GUEST_CONFIG, Run, Xtask, xtask};

/// Connects the ports like QEMU, then plays what `FAKE_QEMU` says.
const FAKE: &str = r#"#!@PYTHON@
import json, os, re, socket, sys, time
if "--version" in sys.argv:
    print("QEMU emulator version 7.2.22 (fake)")
    sys.exit(0)
part = os.environ["HOME"] + "/part"
part = open(part).read()
if part == "refuse":
    sys.stderr.write("qemu-system-x86_64: warning: it is hot\n")
    sys.stderr.write("qemu-system-x86_64: the disk is on fire\nmore\n")
    sys.exit(1)
if part == "deaf":
    time.sleep(1000)
ports = {}
mark = None
for word in sys.argv:
    found = re.match(r"socket,id=\w+,path=(.*)/(vmtest\.\w+)$", word)
    if found:
        ports[found[2]] = socket.socket(socket.AF_UNIX)
        ports[found[2]].connect(found[1] + "/" + found[2])
        init = open(found[1] + "/init").read()
        mark = re.search("vmtest_mark='(\\w+)'", init)[1].encode()
    found = re.match(r"file,id=console,path=(.*)$", word)
    if found:
        console = open(found[1], "w")
if "-S" in sys.argv:
    # Somebody could call.
    where = [re.search(r"^socket,id=gdb,path=(.*),server=on,wait=off$", w) for w in sys.argv]
    stub = socket.socket(socket.AF_UNIX)
    stub.bind([w[1] for w in where if w][0].replace(",,", ","))
console.write("[    0.0] Linux version 6.1.0\r\n")
console.flush()
def status(text):
    ports["vmtest.status"].sendall(text)
def verdict(phase, code):
    for name in "stdout", "stderr", "events":
        ports["vmtest." + name].sendall(mark)
    status(b"exit %s %d\n" % (phase, code))
def finish(code):
    verdict(b"main", code)
    time.sleep(1000)
if part == "no root":
    console.write("vmtest: cannot mount the root\n[    0.1] Kernel panic - not syncing: x\n")
    console.flush()
    time.sleep(1000)
if part == "silent":
    time.sleep(1000)
status(b"hello main 0.50 0.25\n")
if part == "init lies":
    status(b"fail a\x1b[31m\xc2\x9b\r\x00b\n")
    time.sleep(1000)
if part == "init fails":
    status(b"fail cannot mount tmpfs on /run\n")
    time.sleep(1000)
status(b"started 0.75\n")
# The test t.A.a, which changes with the kernels.
found = re.match(r"(\w+), from (\d+)\.(\d+) on (\w+)$", part)
if found:
    image = sys.argv[sys.argv.index("-kernel") + 1]
    kernel = [int(n) for n in re.search(r"kernel-(\d+)\.(\d+)", image).groups()]
    with open(os.environ["HOME"] + "/ran", "a") as ran:
        ran.write("%d.%d\n" % tuple(kernel))
    outcome = found[4 if kernel >= [int(found[2]), int(found[3])] else 1]
    if outcome == "panic":
        console.write("[    1.1] Kernel panic - not syncing: no root\n")
        console.flush()
        sys.exit(0)
    for event in (
        {"event": "run-started", "tests": 1},
        {"event": "test-started", "id": "t.A.a"},
        {"event": "test-finished", "id": "t.A.a", "outcome": outcome, "seconds": 0.1},
        {"event": "run-finished", "counts": {outcome: 1}, "seconds": 0.1},
    ):
        event["v"] = 1
        ports["vmtest.events"].sendall(json.dumps(event).encode() + b"\n")
    finish(1 if outcome == "failed" else 0)
if part == "terminal":
    # A program that says how large its terminal has become.
    ports["vmtest.terminal"].sendall(b"ready\r\n")
    for line in ports["vmtest.status"].makefile("rb"):
        ports["vmtest.terminal"].sendall(b"told " + line)
    time.sleep(1000)
ports["vmtest.stdout"].sendall(b"out\n")
ports["vmtest.stderr"].sendall(b"err\n")
if part == "good":
    finish(42)
if part == "late":
    # Until somebody says so.
    while not os.path.exists(os.environ["HOME"] + "/now"):
        time.sleep(0.02)
    finish(42)
# A command itself, on this host: what a guest would do with it.
def run(function, **environment):
    import subprocess, tempfile
    command = r"^vmtest_" + function + r"\(\) \{\n\t:\n(.*?)^\}$"
    command = re.search(command, init, re.S | re.M)[1]
    command = re.sub(r"'[^']*/busybox' env", "/usr/bin/env", command)
    command = re.sub(r"'[^']*/busybox' setsid", "", command)
    directory = re.search("vmtest_directory='(.*)'", init)[1]
    with tempfile.NamedTemporaryFile() as events:
        command = command.replace("/run/vmtest/events", events.name)
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        for pair in environment.items():
            command = command.replace("env -i", "env -i %s=%s" % pair)
        journal = events.name + ".journal"
        for start in range(30):
            child = subprocess.Popen(["/bin/sh", "-c", command], cwd=directory, stdout=out, stderr=err)
            ended = False
            while not ended:
                ended = child.poll() is not None
                ports["vmtest.events"].sendall(events.read())
                time.sleep(0.01)
            if not os.path.exists(journal) or os.path.getsize(journal) == 0:
                break
            with open(journal, "a") as file:
                status = child.returncode
                file.write('\n{"status":%d}\n' % (status if status >= 0 else 128 - status))
        for file, name in (out, "stdout"), (err, "stderr"):
            file.seek(0)
            ports["vmtest." + name].sendall(file.read())
    return child.returncode & 255
if part == "run":
    with open(os.environ["HOME"] + "/appended", "a") as appended:
        appended.write(sys.argv[sys.argv.index("-append") + 1] + "\n")
    verdict(b"main", run("command"))
    if "vmtest_crash_command" not in init:
        time.sleep(1000)
    assert ports["vmtest.status"].makefile().readline() == "crash\n"
    # What comes of the crash, one word for each: HOME/crash.
    with open(os.environ["HOME"] + "/crashes", "a+") as crashes:
        crashes.seek(0)
        count = len(crashes.readlines())
        crashes.write("crash\n")
    crash = open(os.environ["HOME"] + "/crash").read().split()[count]
    if crash == "refused":
        status(b"fail no memory is reserved\n")
        time.sleep(1000)
    if crash == "gone":
        sys.exit(0)
    if run("crash_select") == 5:
        status(b"nothing crash\n")
        time.sleep(1000)
    status(b"crashing\n")
    ports["vmtest.stdout"].sendall(b"after the end")
    console.write("[    9.1] Kernel panic - not syncing: sysrq triggered crash\n")
    console.flush()
    if crash == "reset":
        sys.exit(0)
    if crash == "hang":
        time.sleep(1000)
    # The capture kernel boots from the same file.
    for word in sys.argv:
        found = re.match(r"socket,id=\w+,path=(.*)/vmtest.status$", word)
        init = open(found[1] + "/init").read() if found else init
    console.write("[    0.0] Linux version 6.1.0\n")
    if crash == "panic":
        console.write("[    0.1] Kernel panic - not syncing: no root\n")
        console.flush()
        sys.exit(0)
    status(b"hello crash\nstarted\n")
    for name in "stdout", "stderr", "events":
        ports["vmtest." + name].sendall(mark)
    verdict(b"crash", run("crash_command", DUMP=1))
    time.sleep(1000)
if part == "gone":
    sys.exit(0)
if part == "killed":
    os.kill(os.getpid(), 9)
if part == "panic":
    console.write("[    1.0] BUG: kernel NULL pointer dereference, address: 0\n")
    console.write("[    1.1] Kernel panic - not syncing: Fatal exception\n")
    console.flush()
    sys.exit(0)
if part.startswith("dump"):
    # QEMU's monitor: greets, takes commands, tells that the guest has stopped.
    import json, struct
    monitor = ports["vmtest.monitor"]
    def say(value):
        monitor.sendall(json.dumps(value).encode() + b"\r\n")
    say({"QMP": {"version": {}}})
    commands = monitor.makefile()
    assert json.loads(commands.readline())["execute"] == "qmp_capabilities"
    say({"return": {}})
    if part == "dump dies":
        status(b"vmcoreinfo 0x1000 100\n")
    console.write("[    1.1] Kernel panic - not syncing: Fatal exception\n")
    console.flush()
    say({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}})
    command = json.loads(commands.readline())
    arguments = command["arguments"]
    assert command["execute"] == "dump-guest-memory" and not arguments["paging"]
    if part == "dump refused":
        say({"id": command["id"], "error": {"desc": "there is no zlib"}})
        time.sleep(1000)
    kdump = b"KDUMP   ".ljust(428, b"\0") + struct.pack("<I", 4096)
    kdump = kdump.ljust(9000, b"\0")
    with open(arguments["protocol"][len("file:"):], "wb") as out:
        out.write(b"makedumpfile\0\0\0\0" + struct.pack(">qq", 1, 1) + bytes(4096 - 32))
        for start in range(0, len(kdump), 100):
            piece = kdump[start : start + 100]
            out.write(struct.pack(">qq", start, len(piece)) + piece)
            out.flush()
        if part == "dump dies":
            sys.exit(0)
        out.write(struct.pack(">qq", -1, -1))
    say({"id": command["id"], "return": {}})
    time.sleep(1000)
if part == "garbage":
    status(bytes(range(256)) * 100 + b"\nexit main 999\nexit\n" + b"\xff" * 100000)
    console.write("\0\x1b[2J" * 1000)
    ports["vmtest.stdout"].sendall(mark[:-1])
    sys.exit(0)
if part == "verdict without marks":
    status(b"exit main 0\n")
    sys.exit(0)
if part == "mark without verdict":
    for name in "stdout", "stderr", "events":
        ports["vmtest." + name].sendall(mark)
    sys.exit(0)
if part == "hang":
    time.sleep(1000)
if part == "chatter":
    while True:
        ports["vmtest.stdout"].sendall(b".")
        time.sleep(0.05)
"#;

/// The smallest file that is a static program to us. It is never run.
fn static_program() -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file
}

fn executable(path: &Path, text: &[u8]) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The interpreter itself: `python3` may be a shim that needs more of `PATH`.
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
fn python() -> String {
    let output = std::process::Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Puts a QEMU that plays this part, and a BusyBox, into a home directory; the `PATH`
/// that finds them first.
pub fn install(home: &Path, part: &str) -> String {
    let programs = home.join("programs");
    fs::create_dir_all(&programs).unwrap();
    fs::write(home.join("part"), part).unwrap();
    executable(
        &programs.join("qemu-system-x86_64"),
        FAKE.replace("@PYTHON@", &python()).as_bytes(),
    );
    executable(&programs.join("busybox"), &static_program());
    // Projects run on the interpreter that plays QEMU.
    let interpreter = python();
    let interpreter = Path::new(&interpreter).parent().unwrap().display();
    format!("{}:{interpreter}:/usr/bin:/bin", programs.display())
}

/// Puts another program, a script, into a home directory where [`install`] was.
pub fn add_program(home: &Path, name: &str, text: &str) {
    executable(&home.join("programs").join(name), text.as_bytes());
}

fn play(part: &str, arguments: &str) -> Run {
    play_on(part, arguments, "")
}

/// The same with a kernel of this configuration; none if it is empty.
fn play_on(part: &str, arguments: &str, config: &str) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let temporary = home.join("tmp");
    let run = vm(home, part, config).args(arguments).args("-- true").run();
    let left = fs::read_dir(&temporary)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    assert_eq!(
        left,
        Vec::<PathBuf>::new(),
        "temporary files left by {part:?}"
    );
    // What was killed takes a moment to go, on a busy machine.
    let end = Instant::now() + Duration::from_secs(10);
    while something_runs_in(home) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!something_runs_in(home), "{part:?} left a process");
    run
}

/// `vm` in a home directory, with a QEMU that plays this part and a kernel of this configuration.
pub fn vm(home: &Path, part: &str, config: &str) -> Xtask {
    let kernel = home.join("kernel");
    let temporary = home.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    fs::create_dir_all(kernel.join("build/include/config")).unwrap();
    fs::write(kernel.join("vmlinuz"), "").unwrap();
    fs::write(kernel.join("modules.dep"), "").unwrap();
    if !config.is_empty() {
        let config = format!("{GUEST_CONFIG}{config}");
        fs::write(kernel.join("build/.config"), config).unwrap();
    }
    // The architecture is read from this header: elf(5), machine 62 of 64 bits.
    let mut elf = [0; 20];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 62;
    fs::write(kernel.join("build/vmlinux"), elf).unwrap();
    fs::write(
        kernel.join("build/include/config/kernel.release"),
        "6.1.0-vmtest1.1default\n",
    )
    .unwrap();
    let path = install(home, part);
    xtask(home)
        .env("PATH", path)
        .env("TMPDIR", &temporary)
        .args("vm --accel tcg -k")
        .arg(&kernel)
}

/// The processes that have the directory in their command line.
pub fn processes_in(directory: &Path) -> Vec<PathBuf> {
    let needle = directory.to_string_lossy().into_owned();
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let found = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        name != own && String::from_utf8_lossy(&line).contains(&needle)
    });
    found.map(|entry| entry.path()).collect()
}

/// Whether there is such a process.
pub fn something_runs_in(directory: &Path) -> bool {
    !processes_in(directory).is_empty()
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
        "stuck while booting: boot limit of 1 s",
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
        ("--timeout 1h30", "the units are ms, s, m and h"),
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
    let path = install(work.path(), "good");
    let kernel = work.path().join("kernel");
    crate::fake_kernel::write(&kernel, "6.1.0-vmtest1.1default", "00", 0);
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
