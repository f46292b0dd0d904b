//! Runs the binary on a terminal and types into it.

use std::process::Command;

/// Takes a program, its arguments, and in front of them a list of pairs: what to wait for
/// and what to type then. Prints what came, the exit status as a shell has it, and whether
/// the terminal is as it was.
const DRIVER: &str = r"
import fcntl, json, os, pty, select, signal, struct, sys, termios, time
steps = [[word.encode() for word in step] for step in json.loads(sys.argv[1])]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 33, 101, 0, 0))
before = termios.tcgetattr(fd)
seen = b''
at = 0
end = time.monotonic() + 120
while time.monotonic() < end:
    if select.select([fd], [], [], 1)[0]:
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    if steps and steps[0][0] in seen[at:]:
        expected, typed = steps.pop(0)
        at = seen.index(expected, at) + len(expected)
        os.write(fd, typed)
else:
    os.kill(pid, signal.SIGKILL)
after = termios.tcgetattr(fd)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(seen)
print('\nstatus', status if status >= 0 else 128 - status)
print('restored', before == after)
print('typed', not steps)
";

/// Runs `xtask` with these arguments, typing the second words when the first ones have
/// come; what it printed, without carriage returns, and three lines: `status N`,
/// `restored True` and `typed True`.
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
pub fn run(arguments: &[&str], steps: &[(&str, &str)]) -> String {
    let output = Command::new("python3")
        .args(["-c", DRIVER, &serde_json::to_string(steps).unwrap()])
        .arg(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).replace('\r', "")
}

/// `xtask vm` on the tests' kernel with these options and this command.
pub fn vm(options: &[&str], command: &[&str], steps: &[(&str, &str)]) -> String {
    let kernel = crate::kernel();
    let arguments = [
        options,
        &["vm", "--from", "local", "-k", &kernel, "--"],
        command,
    ];
    run(&arguments.concat(), steps)
}
