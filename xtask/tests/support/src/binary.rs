//! Runs the built binary and says what it did.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// What a run of the binary left behind.
#[derive(Debug)]
pub struct Run {
    /// The exit status; 128+N for signal N.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// What this run left.
    pub fn of(output: &Output) -> Self {
        let status = output.status;
        Run {
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit status, showing everything if it is another one.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

/// A run of the binary to be. Its environment is empty but for what is set here,
/// so that a variable of the machine cannot decide a test.
#[derive(Debug)]
pub struct Xtask {
    command: Command,
}

impl Xtask {
    /// The built binary (`env!("CARGO_BIN_EXE_xtask")`, which only tests have), or a program
    /// that starts it, with an empty temporary directory for everything it writes.
    pub fn new(program: impl AsRef<OsStr>, work: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", work)
            .env("VMTEST_DIR", work)
            // No test asks GitHub: nothing listens on the discard port.
            .env("GITHUB_API_URL", "http://127.0.0.1:9")
            .current_dir(work);
        Self { command }
    }

    /// Adds arguments, split at blanks.
    pub fn args(mut self, arguments: &str) -> Self {
        self.command.args(arguments.split_whitespace());
        self
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Puts other words in front of the program, which execute it.
    pub fn behind(mut self, words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .env_clear()
            .envs(
                self.command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        self.command = command;
        self
    }

    /// In front of it, a shell that stands in a directory and removes it.
    pub fn in_deleted(mut self, directory: &Path, arguments: &str) -> Self {
        let program = self.command.get_program().to_owned();
        let variables = self.command.get_envs();
        let variables = variables
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect::<Vec<_>>();
        self.command = Command::new("/bin/sh");
        self.command
            .env_clear()
            .envs(variables)
            .arg("-c")
            .arg(format!("rmdir \"$PWD\" && exec \"$0\" {arguments}"))
            .arg(program)
            .current_dir(directory);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.command.current_dir(directory.into());
        self
    }

    /// Starts it, in silence.
    #[allow(
        clippy::disallowed_methods,
        reason = "these tests look at the finished binary from outside"
    )]
    pub fn start(mut self) -> Child {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts")
    }

    /// Runs it to its end, reading nothing.
    #[allow(
        clippy::disallowed_methods,
        reason = "these tests look at the finished binary from outside"
    )]
    pub fn run(mut self) -> Run {
        let output = self.command.stdin(Stdio::null()).output();
        Run::of(&output.expect("the binary starts"))
    }

    /// The same with another standard output.
    #[allow(
        clippy::disallowed_methods,
        reason = "these tests look at the finished binary from outside"
    )]
    pub fn run_into(mut self, stdout: impl Into<Stdio>) -> Run {
        let command = self.command.stdin(Stdio::null()).stdout(stdout.into());
        let child = command.stderr(Stdio::piped()).spawn();
        let output = child.and_then(Child::wait_with_output);
        Run::of(&output.expect("the binary starts"))
    }
}
