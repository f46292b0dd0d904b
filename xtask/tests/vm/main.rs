//! Tests in real VMs. Not part of `cargo test` (`test = false`): they need QEMU, a
//! static BusyBox and a kernel, by default the newest local 6.1 of the work
//! directory (`VMTEST_DIR`). Run by `cargo xtask ci`, or by hand:
//!
//! ```text
//! cargo xtask build-kernel 6.1 && cargo test --test vm
//! ```
//!
//! `VMTEST_TEST_KERNEL` names another kernel request.

mod cargo;
mod complaints;
mod crash;
mod debugger;
mod distribution;
mod dump;
mod endings;
mod files;
mod frameworks;
mod hostile;
mod machine;
mod outcomes;
mod processes;
mod release;
mod root;
mod secrets;
mod several_kernels;
mod shares;
mod signals;
mod streams;
mod suites;
mod terminal;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::binary::Run;
use support::host::{self, entries, no_process_is_left_in, processes_in};

/// The kernel that the tests run on.
pub fn kernel() -> String {
    std::env::var("VMTEST_TEST_KERNEL").unwrap_or_else(|_| "6.1".to_owned())
}

/// Releases and folders of the kernels on this machine that come from there and that a
/// pattern names, the newest first.
pub fn listed(pattern: Option<&str>, origin: &str) -> Vec<(String, PathBuf)> {
    let call = Call::new("-q list --format json").with(|call| {
        call.args(pattern);
    });
    let text = call.output().expect(0).stdout();
    let kernels: serde_json::Value = serde_json::from_str(&text).unwrap();
    let kernels = kernels.as_array().unwrap().iter();
    kernels
        .filter(|kernel| kernel["origin"] == origin)
        .map(|kernel| {
            let text = |name: &str| kernel[name].as_str().unwrap().to_owned();
            (text("release"), text("path").into())
        })
        .collect()
}

/// The folder of the tests' kernel.
pub fn unpacked_kernel() -> PathBuf {
    let request = kernel();
    if request.starts_with(['.', '/']) {
        return PathBuf::from(request);
    }
    let found = listed(Some(&request), "package").into_iter().next();
    found
        .unwrap_or_else(|| panic!("there is no local {request}"))
        .1
}

/// One call of the built binary, with a temporary directory of its own, so that
/// what it leaves behind is seen.
pub struct Call {
    temporary: tempfile::TempDir,
    command: Command,
}

impl Call {
    /// `xtask` with these arguments, split at blanks, in an empty directory.
    pub fn new(arguments: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(arguments.split_whitespace())
            .env("TMPDIR", temporary.path())
            // What is printed does not depend on where these tests run.
            .env_remove("GITHUB_ACTIONS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { temporary, command }
    }

    /// `xtask vm` on the tests' kernel.
    pub fn vm(arguments: &str) -> Self {
        // Nobody on the network is asked for kernels.
        let mut call = Self::new("vm --from local -k");
        call.command
            .arg(kernel())
            .args(arguments.split_whitespace());
        call
    }

    /// The guest's command: behind `--`, as it is.
    pub fn run_in_guest(mut self, words: &[&str]) -> Self {
        self.command.arg("--").args(words);
        self
    }

    /// A script for the guest's `sh`.
    pub fn script(self, script: &str) -> Self {
        self.run_in_guest(&["sh", "-c", script])
    }

    /// Changes the command before it is started.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// The call's temporary directory.
    pub fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Starts it; the caller ends it.
    #[allow(
        clippy::disallowed_methods,
        reason = "the tests look at the binary from outside"
    )]
    pub fn spawn(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        Running {
            child,
            temporary: self.temporary,
        }
    }

    /// Runs it to its end, once more if that was the emulator's doing: in one of some hundred
    /// boots QEMU 7.2 gives one of two processors no timer interrupts any more, and the other one's
    /// kernel says so.
    #[allow(
        clippy::disallowed_methods,
        reason = "the tests look at the binary from outside"
    )]
    pub fn output(mut self) -> Ended {
        let mut output = self.command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let lost = [
            "got stuck while booting",
            "Possible timer handling issue on cpu=",
        ];
        if lost.iter().all(|words| text.contains(words)) {
            eprintln!("QEMU has lost a processor's timer; once more:\n{text}");
            output = self.command.output().unwrap();
        }
        let temporary = self.temporary;
        Ended { output, temporary }
    }
}

/// A call that runs.
pub struct Running {
    /// The process.
    pub child: Child,
    temporary: tempfile::TempDir,
}

impl Running {
    /// The identifier of its QEMU, once that runs.
    pub fn qemu(&self) -> Option<i32> {
        let mut processes = processes_in(self.temporary.path()).into_iter();
        processes
            .find(|(_, line)| line.contains(" -append ") && !line.contains(" supervise "))
            .map(|(id, _)| id.cast_signed())
    }

    /// Waits until `condition` holds, which it must before long.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        host::wait_until(what, || {
            let done = condition(self);
            let ended = !done && self.child.try_wait().unwrap().is_some();
            assert!(!ended, "it ended before {what}");
            done
        });
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(self) -> Ended {
        let Self { child, temporary } = self;
        let output = child.wait_with_output().unwrap();
        Ended { output, temporary }
    }
}

/// A call that has ended.
pub struct Ended {
    /// What it printed, and its status.
    pub output: Output,
    temporary: tempfile::TempDir,
}

impl Ended {
    /// Standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Standard error without our own lines.
    pub fn guest_stderr(&self) -> String {
        let lines = self.stderr();
        lines
            .lines()
            .filter(|line| !line.starts_with("xtask:"))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// Asserts the exit status (128+N for signal N), and that nothing is left: no
    /// process, and no temporary file.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        Run::of(&self.output).expect_status(status);
        self.expect_nothing_left();
        self
    }

    /// The call's temporary directory.
    pub fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Asserts that no process and no temporary file is left.
    #[track_caller]
    pub fn expect_nothing_left(&self) {
        let directory = self.temporary.path();
        no_process_is_left_in(directory);
        assert_eq!(
            entries(directory),
            Vec::<PathBuf>::new(),
            "temporary files left"
        );
    }
}

/// `xtask test` of a project on the tests' kernel.
pub fn test(project: &Path, arguments: &str) -> Call {
    Call::new("test --from local -k").with(|call| {
        call.arg(kernel()).arg("-C").arg(project);
        call.args(arguments.split_whitespace());
    })
}

/// A folder outside /tmp, which guests have their own of.
pub fn folder(prefix: &str) -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    let folder = builder
        .prefix(prefix)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    folder.unwrap()
}

/// Bytes that no compression and no accident makes, the same every time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
