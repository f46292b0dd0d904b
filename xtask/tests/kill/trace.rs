//! The binary under strace, which records its calls or has one of them go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::binary::Run;

use crate::scenarios::Scenario;

/// The calls that change files, and the one that marks them as used.
const CALLS: &str = "?open,openat,?creat,write,pwrite64,writev,?rename,?renameat,renameat2,?link,\
    linkat,?symlink,symlinkat,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,mknodat,?chmod,fchmod,fchmodat,\
    utimensat,ftruncate,fallocate,fsync,fdatasync,copy_file_range,sendfile,flock";

/// A call to go wrong: the first process or thread that comes to its so many-th call of that
/// name has the fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The system call.
    pub name: String,
    /// Counted from 1, within a thread.
    pub number: usize,
    /// It is one of the binary's main thread.
    pub main: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.number)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// The disk is full.
    Full,
    /// The disk fails.
    Broken,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Full, Self::Broken];

    fn injection(self) -> &'static str {
        match self {
            Self::Kill => "signal=KILL",
            Self::Full => "error=ENOSPC",
            Self::Broken => "error=EIO",
        }
    }

    /// Whether an error says it.
    pub fn is_said(self, error: &str) -> bool {
        let words: &[_] = match self {
            Self::Kill => &[""],
            Self::Full => &["No space left on device", "the disk is full"],
            Self::Broken => &["Input/output error"],
        };
        words.iter().any(|words| error.contains(words))
    }

    /// Whether there is such a fault of that call: locks need no disk.
    pub fn suits(self, call: &Call) -> bool {
        self != Self::Full || call.name != "flock"
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "these tests look at the finished binary from outside"
)]
fn run(scenario: &Scenario, root: &Path, program: &str, words: &[&str]) -> Run {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}:/usr/sbin:/sbin", root.join("programs").display());
    // One that waits for ever has a status of its own.
    let output = Command::new("timeout")
        .args(["300", program])
        .args(words)
        .args(scenario.arguments.split_whitespace())
        .env_clear()
        .env("PATH", path)
        .env("HOME", root.join("work"))
        .env("VMTEST_DIR", root.join("work"))
        .env("TMPDIR", root.join("tmp"))
        .env("GITHUB_API_URL", &scenario.api)
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    Run::of(&output)
}

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// Runs the command without a fault.
pub fn again(scenario: &Scenario, root: &Path) -> Run {
    run(scenario, root, XTASK, &[])
}

/// Runs the command with a fault.
pub fn inject(scenario: &Scenario, root: &Path, call: &Call, fault: Fault) -> Run {
    let trace = format!("trace={}", call.name);
    let (name, number) = (&call.name, call.number);
    let inject = format!("inject={name}:{}:when={number}", fault.injection());
    // Not with --seccomp-bpf, where a call stops in a way that takes no signal (ptrace(2)).
    let words = ["-f", "-qqq", "-o", "/dev/null"];
    let words = [&words[..], &["-e", &trace, "-e", &inject, "--", XTASK]].concat();
    run(scenario, root, "strace", &words)
}

/// Runs the command, and says which of its calls change files below `root`.
pub fn record(scenario: &Scenario, root: &Path) -> (Run, Vec<Call>) {
    let log = root.with_file_name("strace.log");
    let trace = format!("trace={CALLS}");
    let words = ["-f", "--seccomp-bpf", "-qqq", "-y", "-s", "4096", "-o"];
    let log_name = log.to_str().unwrap();
    let words = [&words[..], &[log_name, "-e", &trace, "--", XTASK]].concat();
    let ended = run(scenario, root, "strace", &words);
    let calls = calls(&fs::read_to_string(&log).unwrap(), root);
    (ended, calls)
}

/// The calls of a log that change files: `1234  openat(AT_FDCWD</…>, "…", O_CREAT…) = 3`.
fn calls(log: &str, root: &Path) -> Vec<Call> {
    let root = root.to_str().unwrap();
    let main = log.split_whitespace().next().unwrap_or_default();
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    let mut found = BTreeMap::<(&str, usize), bool>::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        // The second half of a call during which another thread was heard is none.
        let Some((name, arguments)) = call.trim_start().split_once('(') else {
            continue;
        };
        if name.contains(|c: char| c != '_' && !c.is_ascii_alphanumeric()) {
            continue;
        }
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        if changes(name, arguments, root) {
            *found.entry((name, *count)).or_default() |= thread == main;
        }
    }
    let calls = found.into_iter().map(|((name, number), main)| Call {
        name: name.to_owned(),
        number,
        main,
    });
    calls.collect::<BTreeSet<_>>().into_iter().collect()
}

fn changes(name: &str, arguments: &str, root: &str) -> bool {
    let first = arguments.split(", ").next().unwrap_or_default();
    match name {
        "open" | "openat" => {
            let making = arguments.contains("O_CREAT") || arguments.contains("O_TRUNC");
            making && !arguments.contains("\"/dev/")
        }
        // To files, not to streams and sockets.
        "write" | "pwrite64" | "writev" => first.contains(root),
        _ => true,
    }
}

/// Puts a copy of a folder in the place of another.
pub fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    let shell = xshell::Shell::new().unwrap();
    xshell::cmd!(shell, "cp -a {from} {to}")
        .quiet()
        .run()
        .unwrap();
}

#[test]
fn calls_that_change_files_are_found() {
    let log = "\
7 openat(AT_FDCWD</r>, \"/lib/libc.so\", O_RDONLY|O_CLOEXEC) = 3</lib/libc.so>
7 openat(AT_FDCWD</r>, \"/r/a\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</r/a>
7 write(3</r/a>, \"x\", 1 <unfinished ...>
8 write(1<pipe:[5]>, \"x\", 1) = 1
7 <... write resumed>) = 1
8 write(4</r/b>, \"y\", 1) = 1
8 mkdir(\"c\", 0777) = 0
8 +++ exited with 0 +++
";
    let found = calls(log, Path::new("/r"));
    let texts = found.iter().map(|call| format!("{call} {}", call.main));
    assert_eq!(
        texts.collect::<Vec<_>>(),
        [
            "mkdir 1 false",
            "openat 2 true",
            "write 1 true",
            "write 2 false"
        ]
    );
}
