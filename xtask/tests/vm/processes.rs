//! What the guest's command starts with: what sshd gives to a command on Debian (12, with
//! OpenSSH 9.2, systemd 252 and PAM 1.5), as far as a kernel can tell.

use std::collections::BTreeMap;

use crate::{Call, terminal};

/// One file behind the other, of the command itself.
const COMMAND: &[&str] = &[
    "cat",
    "/proc/self/stat",
    "/proc/self/oom_score_adj",
    "/proc/self/status",
    "/proc/self/limits",
    "/proc/meminfo",
    "/proc/sys/fs/nr_open",
    "/proc/sys/kernel/threads-max",
];

/// Lines of proc(5)'s `status`.
const STATUS: &[(&str, &str)] = &[
    // login.defs(5), which pam_umask reads; it widens only an ordinary user's.
    ("Umask", "0022"),
    // Nothing is on its way, and sshd blocks nothing.
    ("SigPnd", "0000000000000000"),
    ("ShdPnd", "0000000000000000"),
    ("SigBlk", "0000000000000000"),
    // OpenSSH's session.c, do_child, has the default of SIGPIPE back; it ignores no other.
    ("SigIgn", "0000000000000000"),
    // Handlers are gone when a program starts (execve(2)).
    ("SigCgt", "0000000000000000"),
];

/// Lines of proc(5)'s `limits`, soft and hard: the kernel's own of its first process
/// (include/asm-generic/resource.h, INIT_RLIMITS), which systemd hands on.
const LIMITS: &[(&str, &str, &str)] = &[
    ("cpu time", "unlimited", "unlimited"),
    ("file size", "unlimited", "unlimited"),
    ("data size", "unlimited", "unlimited"),
    ("stack size", "8388608", "unlimited"),
    // systemd would have no limit; Debian's is patched not to (bug 815020).
    ("core file size", "0", "unlimited"),
    ("resident set", "unlimited", "unlimited"),
    ("address space", "unlimited", "unlimited"),
    ("file locks", "unlimited", "unlimited"),
    ("msgqueue size", "819200", "819200"),
    ("nice priority", "0", "0"),
    ("realtime priority", "0", "0"),
    ("realtime timeout", "unlimited", "unlimited"),
];

/// The first number of the line that begins so.
fn number(text: &str, start: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    let line = line.unwrap_or_else(|| panic!("no line {start}:\n{text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Soft and hard limits by name.
fn limits(text: &str) -> BTreeMap<String, (String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("Max "));
    let lines = lines.map(|line| {
        // The name is 25 characters wide, and each limit 20 and a blank.
        let word = |from: usize, to: usize| line[from..to].trim().to_owned();
        (word(0, 22), (word(22, 43), word(43, 64)))
    });
    lines.collect()
}

/// Checks what [`COMMAND`] has printed, from its first line on.
fn check(text: &str, terminal: bool) {
    let mut lines = text.lines();
    let stat = lines.next().unwrap();
    let (id, rest) = stat.split_once(" (cat) ").unwrap();
    let fields = rest.split_whitespace().collect::<Vec<_>>();
    // proc(5) counts from 1, and `rest` begins with the third.
    let field = |n: usize| fields[n - 3];
    // OpenSSH's do_exec_no_pty and pty_make_controlling_tty: setsid(2), and the second
    // gives it the terminal, in whose foreground the leader is.
    assert_eq!((field(5), field(6)), (id, id), "group and session: {stat}");
    assert_eq!(field(7) != "0", terminal, "controlling terminal: {stat}");
    let foreground = if terminal { id } else { "-1" };
    assert_eq!(field(8), foreground, "foreground group: {stat}");
    assert_eq!(field(19), "0", "nice: {stat}");
    assert_eq!((field(40), field(41)), ("0", "0"), "policy: {stat}");
    // OpenSSH's oom_adjust_restore: only the listener is spared.
    assert_eq!(lines.next(), Some("0"), "oom_score_adj");

    for (name, value) in STATUS {
        let is = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        assert_eq!(is, Some(*value), "{name}");
    }
    let mut expected = LIMITS
        .iter()
        .map(|(name, soft, hard)| ((*name).to_owned(), ((*soft).to_owned(), (*hard).to_owned())))
        .collect::<BTreeMap<_, _>>();
    let mut alike = |name: &str, value: u64| {
        expected.insert(name.to_owned(), (value.to_string(), value.to_string()));
    };
    let mut last = text.lines().rev().filter(|line| !line.is_empty());
    let mut last = || last.next().unwrap().parse::<u64>().unwrap();
    // Half of the threads that there is memory for (kernel/fork.c, fork_init).
    let processes = last() / 2;
    alike("processes", processes);
    alike("pending signals", processes);
    // systemd's bump_rlimit_memlock; pam_limits gives a login what PID 1 has.
    alike(
        "locked memory",
        (number(text, "MemTotal:") / 8).max(65536) << 10,
    );
    // systemd's bump_rlimit_nofile; the soft one is pam_limits'.
    let most = last().to_string();
    expected.insert("open files".to_owned(), ("1024".to_owned(), most));
    assert_eq!(limits(text), expected);
}

#[test]
fn with_pipes_the_command_starts_as_sshds_does() {
    let ended = Call::vm("-q").run_in_guest(COMMAND).output().expect(0);
    check(&ended.stdout(), false);
}

#[test]
fn on_a_terminal_the_command_starts_as_sshds_does() {
    let text = terminal::vm(&["-q"], COMMAND, &[]);
    let (text, end) = text.split_once("\nstatus 0\n").expect(&text);
    assert!(end.contains("restored True"), "{end}");
    check(text, true);
}

/// The descriptors that `ls -l /proc/self/fd` has shown, but for the listing's own: what
/// they allow, their number, and what they are.
fn descriptors(text: &str) -> Vec<String> {
    let links = text.lines().filter_map(|line| {
        let (left, target) = line.split_once(" -> ")?;
        let number = left.rsplit(' ').next()?;
        let own = target.starts_with("/proc/");
        (!own).then(|| format!("{} {number} {target}", &left[1..3]))
    });
    links.collect()
}

const LIST: &[&str] = &["ls", "-l", "/proc/self/fd"];

#[test]
fn with_pipes_nothing_but_the_three_streams_is_open() {
    let ended = Call::vm("-q").run_in_guest(LIST).output().expect(0);
    let expected = [
        "r- 0 /run/vmtest/stdin",
        "-w 1 /run/vmtest/stdout",
        "-w 2 /run/vmtest/stderr",
    ];
    assert_eq!(descriptors(&ended.stdout()), expected);
}

#[test]
fn on_a_terminal_nothing_but_it_is_open() {
    let text = terminal::vm(&["-q"], LIST, &[]);
    // Each can be read and written: more(1) reads its keys from standard error.
    let expected = [0, 1, 2].map(|n| format!("rw {n} /dev/hvc0"));
    assert_eq!(descriptors(&text), expected, "{text}");
}

/// What a terminal sends to interrupt has its effect on what the command has started,
/// which it had not when signals were ignored.
#[test]
fn keys_interrupt_what_runs_on_the_terminal() {
    let script = "trap : INT QUIT
        sh -c 'echo ready; exec sleep 1000'; echo first-$?
        sh -c 'echo again; exec sleep 1000'; echo second-$?; exit 7";
    let steps = [("ready\r\n", "\x03"), ("again\r\n", "\x1c")];
    let text = terminal::vm(&["-q"], &["sh", "-c", script], &steps);
    for expected in ["first-130\n", "second-131\n", "status 7\nrestored True"] {
        assert!(text.contains(expected), "lacks {expected:?}:\n{text}");
    }
}

/// A command that ends while the terminal's output is stopped has its verdict all the same.
#[test]
fn a_stopped_terminal_keeps_no_verdict() {
    let script = "echo ready; read -r line; exit 5";
    let steps = [("ready\r\n", "\x13\r")];
    let text = terminal::vm(&["-q"], &["sh", "-c", script], &steps);
    assert!(text.contains("status 5\nrestored True"), "{text}");
}

/// Nobody in a guest that boots hears the keys.
#[test]
fn keys_end_a_vm_that_boots() {
    for (key, status) in [("\x03", 130), ("\x1c", 131)] {
        let steps = [(" -append ", key)];
        let text = terminal::vm(&["-v"], &["sleep", "1000"], &steps);
        let expected = format!("\nstatus {status}\nrestored True\ntyped True\n");
        assert!(text.ends_with(&expected), "lacks {expected:?}:\n{text}");
    }
}

/// Without a terminal a signal to the command itself does what it does on the host.
#[test]
fn with_pipes_signals_do_what_they_do_by_default() {
    let script = "for s in INT QUIT HUP PIPE USR1; do sh -c \"kill -$s \\$\\$\"; echo $?; done";
    let ended = Call::vm("-q").script(script).output().expect(0);
    assert_eq!(ended.stdout(), "130\n131\n129\n141\n138\n");
}
