//! Job control: `vm` in the background of a shell, stopped and continued, and without its
//! terminal. The shell has a terminal of its own, and a script types.

use std::fs;

use crate::xtask;
use support::fake_qemu;
use support::host::no_process_is_left_in;

/// What the scripts have in common. `shell(script)` runs it with job control on a new terminal;
/// in it, "$@" is the command.
const COMMON: &str = r#"
import fcntl, os, pty, select, signal, struct, sys, termios, time
home, command = sys.argv[1], sys.argv[2:]
seen = b""
def start(words):
    global pid, fd
    pid, fd = pty.fork()
    if pid == 0:
        # Tests that nohup(1) runs ignore it, and so would their children.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execvp(words[0], words)
def shell(script):
    start(["bash", "--norc", "-m", "-c", script, "bash"] + command)
def until(text):
    # What came before it is not looked at again.
    global seen
    end = time.monotonic() + 60
    while text not in seen:
        assert time.monotonic() < end, (text, seen)
        if select.select([fd], [], [], 0.2)[0]:
            try:
                seen += os.read(fd, 4096)
            except OSError:
                assert text in seen, (text, seen)
    seen = seen[seen.index(text) + len(text):]
def type(text):
    os.write(fd, text)
def child():
    # The shell's: the command, which is not executed but forked.
    return int(open("/proc/%d/task/%d/children" % (pid, pid)).read().split()[0])
def is_raw():
    return not termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO)
def wait_for(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)
def resize(rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
def ends_with(expected):
    ended = []
    def has_ended():
        ended[:] = os.waitpid(pid, os.WNOHANG)
        return ended[0] == pid
    wait_for(has_ended)
    status = os.waitstatus_to_exitcode(ended[1])
    assert status == expected, status
"#;

/// Runs a script on `vm` with this part and these options; then nothing must be left.
fn check(part: &str, options: &str, script: &str) {
    check_command(part, &format!("{options} -- true"), script);
}

/// The same with another command, or none, behind the options.
fn check_command(part: &str, arguments: &str, script: &str) {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let vm = fake_qemu::vm(xtask(home), home, part, "").args(arguments);
    let script = format!("{COMMON}{script}");
    let home_word = home.to_str().unwrap();
    let vm = vm.behind(&["python3", "-c", &script, home_word]);
    let run = vm.env("TERM", "xterm").run();
    assert_eq!(run.status, 0, "{run:?}");
    no_process_is_left_in(home);
    let left = fs::read_dir(home.join("tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary files are left");
}

#[test]
fn in_the_background_it_runs_with_pipes_whatever_is_typed() {
    check(
        "late",
        "",
        r#"
shell('"$@" & wait $!; echo ended $?')
until(b"out")
assert not is_raw()
# For the shell, not for us.
type(b"typed\n")
time.sleep(0.3)
open(home + "/now", "w").close()
until(b"ended 42")
"#,
    );
}

#[test]
fn it_stops_when_it_must_have_the_terminal_and_goes_on_in_the_foreground() {
    // The second is to run a shell.
    for arguments in ["--tty -- true", ""] {
        check_command("terminal", arguments, IN_THE_BACKGROUND);
    }
}

const IN_THE_BACKGROUND: &str = r#"
shell('stty -echo; stty echo; "$@" & wait $!; echo stopped $?; fg; echo ended $?')
# By SIGTTOU.
until(b"stopped 150")
until(b"ready")
wait_for(is_raw)
type(b"\x01x")
until(b"ended 130")
assert not is_raw()
"#;

#[test]
fn a_terminal_is_given_back_and_taken_again_with_its_size() {
    check(
        "terminal",
        "",
        r#"
again = 'echo stopped $?; read x; fg; '
shell('"$@"; ' + again + again + 'echo ended $?')
until(b"ready")
wait_for(is_raw)
os.kill(child(), signal.SIGTSTP)
# We end up stopped by SIGSTOP, when the terminal is in order.
until(b"stopped 147")
assert not is_raw()
resize(50, 120)
type(b"\n")
until(b"told size 120 50")
wait_for(is_raw)
# That cannot be noticed before.
os.kill(child(), signal.SIGSTOP)
until(b"stopped 147")
resize(20, 60)
type(b"\n")
until(b"told size 60 20")
wait_for(is_raw)
type(b"\x01x")
until(b"ended 130")
assert not is_raw()
"#,
    );
}

#[test]
fn a_limit_does_not_count_while_it_is_stopped() {
    check(
        "late",
        "--no-tty --idle-timeout 3s",
        r#"
shell('"$@"; echo stopped $?; read x; fg; echo ended $?')
until(b"out")
os.kill(child(), signal.SIGTSTP)
until(b"stopped 148")
time.sleep(4)
open(home + "/now", "w").close()
type(b"\n")
until(b"ended 42")
"#,
    );
}

#[test]
fn without_its_terminal_it_ends_with_129() {
    for (part, options) in [("terminal", ""), ("late", "--no-tty"), ("silent", "")] {
        check(
            part,
            options,
            &format!(
                r#"
start(command)
if "{part}" != "silent":
    until(b"ready" if "{part}" == "terminal" else b"out")
else:
    wait_for(lambda: termios.tcgetattr(fd)[3] & termios.ICANON == 0)
os.close(fd)
ends_with(129)
"#
            ),
        );
    }
}

#[test]
fn nobody_has_to_send_the_signal() {
    check(
        "terminal",
        "",
        r#"
start(["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"] + command)
until(b"ready")
os.close(fd)
ends_with(129)
"#,
    );
}

#[test]
fn live_lines_are_drawn_in_the_foreground_only() {
    let work = tempfile::tempdir().unwrap();
    let project = tempfile::tempdir().unwrap();
    let slow = "name = \"x\"\nprepare = [\"sleep 1000\"]\n[local]\n";
    fs::write(project.path().join("vmtest.toml"), slow).unwrap();
    let script = r#"
shell('"$@"; echo stopped $?; bg; echo behind; read x; fg; echo ended $?')
until(b"preparing")
os.kill(child(), signal.SIGTSTP)
until(b"stopped 148")
until(b"behind")
time.sleep(1.5)
while select.select([fd], [], [], 0)[0]:
    seen += os.read(fd, 4096)
assert b"preparing" not in seen, seen
type(b"\n")
until(b"preparing")
type(b"\x03")
until(b"ended 130")
"#;
    let run = xtask(work.path())
        .args("test -l")
        .current_dir(project.path())
        .behind(&["python3", "-c", &format!("{COMMON}{script}"), "-"])
        .env("TERM", "xterm")
        .run();
    assert_eq!(run.status, 0, "{run:?}");
}

#[test]
fn nohup_is_respected() {
    check(
        "late",
        "",
        r#"
import subprocess
words = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"] + command
child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
assert child.stdout.readline() == b"out\n"
child.send_signal(signal.SIGHUP)
time.sleep(0.3)
open(home + "/now", "w").close()
assert child.wait() == 42
"#,
    );
}
