//! The one door for long-lived children: QEMU, make, apt, git, prepare steps.
//!
//! A child must die with us however we die, and so must its children: a `make` that is killed
//! leaves its compilers running. A parent-death signal reaches only the child itself and follows
//! the spawning *thread* (prctl(2), `PR_SET_PDEATHSIG`), so instead each command runs below a small
//! supervisor, this same binary started as `supervise` in a process group of its own. Its standard
//! input is a pipe whose other end only we hold (it is close-on-exec). When that reads end-of-file,
//! because the guard was dropped or because we were killed, it kills the whole group, itself
//! included.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

use crate::base::{
    disk, environment::TOKENS, error::Failure, error::FailureKind, input, interrupt, secrets,
};

/// The hidden command under which this binary is its own supervisor.
pub const SUPERVISE: &str = "supervise";

/// How long a child has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// A shell for short commands, which inherit our environment: no secrets.
pub fn shell() -> xshell::Result<xshell::Shell> {
    let shell = xshell::Shell::new()?;
    for name in TOKENS {
        if std::env::var_os(name).is_some() {
            // It knows no way to take one away.
            shell.set_var(name, "");
        }
    }
    Ok(shell)
}

/// A command that will run for a while: our own binary, which supervises it.
#[derive(Debug)]
pub struct LongCommand(Command);

impl LongCommand {
    /// A command that reads nothing and whose output is thrown away. It inherits our
    /// environment: no secrets but for [`Self::credentials`].
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        // Not by its name: cargo may have replaced the file since we started.
        Self::below("/proc/self/exe", program)
    }

    /// The same below another supervisor: a test's own binary is none.
    pub fn below(supervisor: impl AsRef<OsStr>, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(supervisor);
        command.args([SUPERVISE, "--"]).arg(program);
        command.stdin(Stdio::piped()).process_group(0);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        TOKENS.iter().fold(Self(command), Self::env_remove)
    }

    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.0.args(arguments);
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.0.env_remove(name);
        self
    }

    /// Gives it the secrets of our environment, but for the tokens for GitHub: for programs
    /// that act for the user elsewhere, or run what is the user's.
    #[must_use]
    pub fn credentials(mut self) -> Self {
        self.0.envs(secrets::credentials().cloned());
        self
    }

    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.0.current_dir(directory);
        self
    }

    /// Both output streams go to `log`.
    pub fn log(mut self, log: &File) -> Result<Self> {
        let copy = || log.try_clone().context("cannot share the log file");
        self.0.stdout(copy()?).stderr(copy()?);
        Ok(self)
    }

    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.0.stdout(stdout);
        self
    }

    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.0.stderr(stderr);
        self
    }

    /// The command in the form a person would type it, for logs and errors.
    pub fn display(&self) -> String {
        as_typed(self.0.get_args().skip(2))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn spawn(mut self) -> Result<LongChild> {
        interrupt::check()?;
        let mut child = self.0.spawn().context("cannot start this program again")?;
        Ok(LongChild {
            lifeline: child.stdin.take(),
            child,
            display: self.display(),
            status: None,
        })
    }
}

/// A command's words as a person would type them.
pub fn as_typed<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> String {
    let words = words.into_iter();
    let quoted = words.map(|word| shell_quote(&word.as_ref().to_string_lossy()));
    quoted.collect::<Vec<_>>().join(" ")
}

/// A running child. Dropping it kills the child's whole process group and reaps it.
#[derive(Debug)]
pub struct LongChild {
    child: Child,
    lifeline: Option<ChildStdin>,
    display: String,
    status: Option<ExitStatus>,
}

impl LongChild {
    pub fn display(&self) -> &str {
        &self.display
    }

    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("cannot wait for a child")?;
        }
        Ok(self.status)
    }

    /// Whether what it runs was stopped by a signal (proc(5), `stat` and `children`).
    pub fn stopped(&self) -> bool {
        let read = |path: &Path| input::text(path, input::SMALL).unwrap_or_default();
        let stopped = |child: &str| {
            let stat = read(&Path::new("/proc").join(child).join("stat"));
            // The state stands behind the name, which may have anything in it.
            let rest = stat.rsplit_once(") ").map(|(_, rest)| rest);
            rest.is_some_and(|rest| rest.starts_with('T'))
        };
        // Each thread of the supervisor has its own.
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut threads = threads.into_iter().flatten().filter_map(Result::ok);
        threads.any(|thread| {
            let children = read(&thread.path().join("children"));
            children.split_whitespace().any(stopped)
        })
    }

    /// Waits, calling `tick` about every [`interrupt::POLL`]; stops with an error
    /// (and the child with it, when dropped) on a signal or when `tick` fails.
    pub fn wait_with(&mut self, mut tick: impl FnMut() -> Result<()>) -> Result<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            interrupt::check()?;
            tick()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(interrupt::POLL);
        }
    }

    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_with(|| Ok(()))
    }

    /// Ends it: SIGTERM to the group, SIGKILL after [`GRACE`].
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill()
    }

    /// Kills the group at once and reaps the child.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::KILL);
        self.lifeline = None;
        let status = self.child.wait().context("cannot wait for a child")?;
        self.status = Some(status);
        Ok(status)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already; that is what was wanted.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

impl Drop for LongChild {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A status as a shell has it: 128+N for signal N.
pub fn shell_status(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    let number = status.code().or(signal).map(u8::try_from);
    number.and_then(Result::ok).unwrap_or(255)
}

/// How a process ended, in words: `exit status 2`, `signal 11 (SIGSEGV)`.
pub fn status_in_words(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("exit status {}", status.code().unwrap_or_default());
    };
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => format!("signal {signal} ({name})"),
        None => format!("signal {signal}"),
    }
}

/// Runs a command to its end with both streams in a log file, which is appended
/// to. `tick` is called while it runs.
pub fn run_logged(
    command: LongCommand,
    log: &Path,
    tick: impl FnMut() -> Result<()>,
) -> Result<()> {
    let context = || format!("cannot write the log {}", log.display());
    let file = File::options().create(true).append(true).open(log);
    let mut file = file.with_context(context)?;
    let display = command.display();
    writeln!(file, "$ {display}").with_context(context)?;
    let start = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
    let status = command.log(&file)?.spawn()?.wait_with(tick)?;
    if !status.success() {
        let full = disk::full(log).map(|words| format!(" ({words})"));
        let message = format!(
            "{display} ended with {}{}; log: {}",
            status_in_words(status),
            full.unwrap_or_default(),
            log.display()
        );
        let lines = tail_of_log(log, start, 20);
        return Err(Failure::new(FailureKind::Program, message)
            .lines(lines)
            .into());
    }
    Ok(())
}

/// The last `lines` lines that a log got after `start` (a byte offset).
pub fn tail_of_log(log: &Path, start: u64, lines: usize) -> String {
    let bytes = input::end(log, start, input::SMALL).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all = text.lines().collect::<Vec<_>>();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A word as a POSIX shell reads it back.
pub fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The supervisor: runs `program`, ends as it ends, and kills the group when
/// standard input (the lifeline) is closed. Never returns in that last case.
#[allow(
    clippy::disallowed_methods,
    reason = "the supervisor's only job is this one child"
)]
pub fn supervise(program: &OsStr, arguments: &[OsString]) -> Result<u8> {
    // SIGTERM to the group is for the command; the supervisor reports how it ended.
    let ignored = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, std::sync::Arc::clone(&ignored))?;
    }
    std::thread::spawn(|| {
        let mut byte = [0];
        // Only an end or an error can come out of the lifeline.
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        let _ = rustix::process::kill_process_group(rustix::process::getpid(), Signal::KILL);
    });
    let mut command = Command::new(program);
    let mut child = match command.args(arguments).stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            let text = format!("cannot start {}: {error}\n", program.to_string_lossy());
            let _ = std::io::stderr().write_all(text.as_bytes());
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(if is_missing { 127 } else { 126 });
        }
    };
    let status = child.wait().context("cannot wait for the command")?;
    // What the command left running in its group ends with it; we ignore SIGTERM.
    let _ = rustix::process::kill_process_group(rustix::process::getpid(), Signal::TERM);
    if let Some(signal) = status.signal() {
        // End the same way, so that whoever waits for us sees the signal, but
        // leave no second core file.
        let none = rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        if signal == signal_hook::consts::SIGKILL {
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
        }
        signal_hook::low_level::emulate_default_handler(signal)?;
    }
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (word, quoted) in [
            ("a-b_c.d/e=f", "a-b_c.d/e=f"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)", "'$(reboot)'"),
        ] {
            assert_eq!(shell_quote(word), quoted);
        }
    }
}
