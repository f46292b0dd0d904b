//! `cargo xtask vm`: boot a kernel and run a command in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{ffi::OsString, io::IsTerminal, os::fd::AsFd, path::Path};

use crate::base::environment::{cargo_paths, guest_environment, is_cargo_runner};
use crate::base::error::{Failure, FailureKind};
use crate::base::terminal::{self, RawTerminal};
use crate::base::{env::Env, interrupt, process::shell_quote, shown, stdout, temporary, ui::Ui};
use crate::cli::{kernels, machine::Machine, release::SourceFlags};
use crate::host::setup;
use crate::model::complaint::STALL;
use crate::supply::host_arch;
use crate::vm::console::log::{self, ConsoleLog};
use crate::vm::{self, Accel, Limits, Stdin, VmOutcome, VmRun, VmSink, preflight};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Boot a kernel and run a command in it, with its exit status
///
/// The command, else a shell, runs as root in the current directory, on this host's files. It
/// cannot change them: what it writes is gone when it ends. It has the standard input, output and
/// error of `vm`; if `vm` runs on a terminal, it gets a terminal (Ctrl-A X ends the VM).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask vm -k '6.1.*' -- uname -r
  cargo xtask vm -- python3 -c 'import os; print(os.uname())'
  dmesg-of() { cargo xtask -q vm -k \"$1\" -- dmesg; }
  cargo xtask vm -k 6.1                  a shell
  cargo xtask vm -k ~/linux -- uname -a  a kernel that was just built there
  cargo xtask vm -k debian:6.12          Debian's newest 6.12
  cargo xtask vm -k debian:bookworm --debuginfo -- drgn --version
  cargo xtask vm -k ./linux-image-6.1.0-56-amd64_6.1.160-1_amd64.deb -- uname -a
  cargo xtask vm -k host                 the kernel that runs here
  cargo xtask vm --share-rw results --net -- ./measure -o results
  cargo xtask vm --gdb --kernel-log      debug a boot, reading the kernel's messages

Exit status: the command's, 128+N for signal N; --lost-status if the VM was lost, panicked or got
stuck; 2 or 3 if it could not be started.")]
pub struct VmFlags {
    /// Boot this kernel: a release, a pattern, a series, the path of an unpacked kernel, of a
    /// package or of a tree in which a kernel was built, host, debian, or debian:WHAT (a series, a
    /// version, a release or a suite) [default: the newest local kernel, else the release's newest]
    #[arg(short, long = "kernel", value_name = "REQUEST")]
    pub kernels: Vec<String>,
    /// Give the command a terminal
    #[arg(long, conflicts_with = "no_tty")]
    pub tty: bool,
    /// Give the command pipes
    #[arg(long)]
    pub no_tty: bool,
    /// Print QEMU's command line, which needs files and sockets that `vm` makes, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Print the kernel's messages to standard error as they arrive
    #[arg(long)]
    pub kernel_log: bool,
    /// What to do if the kernel complained (WARNING, KASAN, lockdep and the like): show a line,
    /// fail with its report and exit status 1, or ignore it
    #[arg(long, value_enum, default_value_t)]
    pub complaints: ComplaintMode,
    /// End with this exit status if the VM was lost, panicked or got stuck
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub lost_status: u8,
    /// Run this command with these arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub sources: SourceFlags,
    #[command(flatten)]
    pub machine: Machine,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ComplaintMode {
    #[default]
    Show,
    Fail,
    Ignore,
}

/// Lines of the kernel's words that are shown; all of them are in the console's log.
const TROUBLE: usize = 100;

pub fn run(env: &Env, flags: &VmFlags, setup: bool) -> Result<u8> {
    setup::require(env, &setup::for_vm(host_arch()?), setup)?;
    let mut request = request(env, flags, setup)?;
    if flags.dry_run {
        let line = vm::dry_run(&request, &env.paths)?;
        let words = line.iter().map(|word| shell_quote(&word.to_string_lossy()));
        stdout::print_value(&words.collect::<Vec<_>>().join(" "))?;
        let what = "vmtest-XXXXXX is where `vm` would make the guest's init and sockets";
        env.ui.info(format!("not a command to type: {what}"));
        return Ok(0);
    }
    let log = ConsoleLog::create(&request.console_log).or_else(|error| {
        // Kernels can be booted from a work directory that cannot be written.
        env.ui.verbose(format!("{error:#}"));
        let name = request.console_log.file_name().unwrap_or_default();
        request.console_log = temporary::host_folder()?.join(name);
        ConsoleLog::create(&request.console_log)
    })?;
    let raw = request.terminal.map(|_| RawTerminal::new()).transpose()?;
    let mut sink = Passthrough {
        raw: raw.as_ref(),
        resized: Arc::default(),
        kernel: KernelLines {
            terminal: std::io::stderr().is_terminal(),
            raw: raw.is_some(),
            ..KernelLines::default()
        },
    };
    if raw.is_some() {
        signal_hook::flag::register(signal_hook::consts::SIGWINCH, Arc::clone(&sink.resized))?;
    }
    let run = vm::run(env, &request, &mut sink);
    let rest = copy(&sink.kernel.finish(), std::io::stderr());
    drop(raw);
    rest?;
    Ok(conclude(&run?, log, flags, &env.ui))
}

fn request(env: &Env, flags: &VmFlags, setup: bool) -> Result<vm::Vm> {
    // Before a kernel is fetched.
    let devices = flags.machine.devices()?;
    let extra = flags.machine.environment()?;
    preflight::check(flags.machine.memory.unwrap_or(vm::MEMORY))?;
    let sources = flags.sources.sources(env, setup)?;
    let kernel = kernels::one(env, &flags.kernels, &sources)?;
    // In the background a command has pipes; a shell is of no use there and stops.
    let is_shown = || flags.command.is_empty() || terminal::in_foreground(std::io::stdin());
    let tty = flags.tty || !flags.no_tty && terminal::on_both_ends() && is_shown();
    let command = match flags.command.as_slice() {
        [] => vec![std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())],
        words => words.to_vec(),
    };
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let runner = is_cargo_runner(package.as_deref(), env!("CARGO_MANIFEST_DIR").as_ref());
    let environment = guest_environment(std::env::vars_os(), &extra, runner);
    let keep = match runner {
        true => cargo_paths(command[0].as_ref(), &environment),
        false => Vec::new(),
    };
    let mut request = vm::Vm {
        command,
        directory: preflight::current_directory()?,
        environment,
        keep,
        stdin: Stdin::Inherit,
        terminal: tty.then(|| terminal::size().unwrap_or((80, 24))),
        kernel_log: flags.kernel_log,
        ..vm::Vm::new(kernel, log::path(&env.paths)?)
    };
    (flags.machine).apply(&mut request, &devices, Limits::default());
    Ok(request)
}

/// Says how it ended, if not by the command's end; the exit status.
fn conclude(run: &VmRun, log: ConsoleLog, flags: &VmFlags, ui: &Ui) -> u8 {
    let main = &run.main;
    if let VmOutcome::Exited(status) = main.outcome {
        let (total, how) = (vm::seconds(main.total), run.accel.name());
        let boot = main.boot.map_or_else(|| "all".to_owned(), vm::seconds);
        ui.verbose(format!(
            "{total} run {how}, {boot} of them until the command started"
        ));
        if let Some(spans) = &main.spans {
            ui.verbose(format!("until the command started: {spans}"));
        }
        let bad = complain(run, flags.complaints, ui);
        if !bad {
            log.remove();
        }
        let failed = bad && flags.complaints == ComplaintMode::Fail && status == 0;
        return if failed { 1 } else { status };
    }
    let mut lines = match (main.trouble.as_str(), main.console_tail.as_str()) {
        ("", "") => Vec::new(),
        ("", tail) => vec![format!("the console's last lines:\n{tail}")],
        (trouble, _) => {
            let words = trouble.lines().take(TROUBLE).collect::<Vec<_>>();
            vec![format!("the kernel's words:\n{}", words.join("\n"))]
        }
    };
    let path = |path: &Path| shown::line(&path.display().to_string());
    // An empty one goes with us.
    if run.console_log.metadata().is_ok_and(|log| log.len() > 0) {
        lines.push(format!("console log: {}", path(&run.console_log)));
    }
    lines.extend(run.dump.iter().map(|dump| format!("dump: {}", path(dump))));
    let failure = Failure::new(FailureKind::Vm, main.outcome.to_string());
    ui.error(&failure.lines(lines.join("\n")).into());
    flags.lost_status
}

/// Shows the kernel's complaints; whether there are some that count.
fn complain(run: &VmRun, mode: ComplaintMode, ui: &Ui) -> bool {
    let mut bad = false;
    for complaint in &run.main.complaints {
        let false_alarm = complaint.kind == STALL && run.accel == Accel::Tcg;
        let title = format!("the kernel complained: {}", shown::line(&complaint.title));
        match mode {
            ComplaintMode::Ignore => continue,
            ComplaintMode::Fail if !false_alarm => {
                let failure = Failure::new(FailureKind::Findings, title);
                ui.error(&failure.lines(complaint.report.clone()).into());
            }
            ComplaintMode::Show | ComplaintMode::Fail => ui.warn(title),
        }
        bad |= !false_alarm;
    }
    bad
}

/// Copies the guest's streams to ours.
struct Passthrough<'t> {
    raw: Option<&'t RawTerminal>,
    resized: Arc<AtomicBool>,
    kernel: KernelLines,
}

impl VmSink for Passthrough<'_> {
    fn started(&mut self) -> Result<()> {
        self.raw.map_or(Ok(()), RawTerminal::hand_over)
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        if self.kernel.raw {
            self.kernel.seen(bytes);
        }
        copy(bytes, std::io::stdout())
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        self.kernel.seen(bytes);
        copy(bytes, std::io::stderr())
    }

    fn console(&mut self, bytes: &[u8]) -> Result<()> {
        copy(&self.kernel.feed(bytes), std::io::stderr())
    }

    fn tick(&mut self) -> Result<Option<(u16, u16)>> {
        let back = self.raw.map_or(Ok(false), RawTerminal::follow_jobs)?;
        let resized = self.resized.swap(false, Ordering::SeqCst) || back;
        Ok(resized.then(terminal::size).flatten())
    }
}

/// Makes lines of their own of the kernel's messages, among what the command prints to
/// the same place.
#[derive(Default)]
struct KernelLines {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Whether standard error is a terminal: then nothing in a message may command it.
    terminal: bool,
    /// Whether the guest has the terminal, so that nobody returns its carriage for us.
    raw: bool,
    /// Whether the command is in the middle of a line.
    middle: bool,
}

/// Longer lines are cut in two, so that a kernel that prints no end of line fills no memory.
const LINE: usize = 64 << 10;

impl KernelLines {
    /// Takes note of what the command has printed.
    fn seen(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.middle = *last != b'\n';
        }
    }

    /// The lines that have ended.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' => self.end(&mut out),
                // The serial console's.
                b'\r' => {}
                _ => self.line.push(byte),
            }
            if self.line.len() >= LINE {
                self.end(&mut out);
            }
        }
        out
    }

    /// What was left unfinished.
    fn finish(&mut self) -> Vec<u8> {
        match self.line.is_empty() {
            true => Vec::new(),
            false => self.feed(b"\n"),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let end: &[u8] = if self.raw { b"\r\n" } else { b"\n" };
        // A file that is to be read by programs gets nothing that nobody wrote.
        if self.terminal && std::mem::take(&mut self.middle) {
            out.extend_from_slice(end);
        }
        let line = std::mem::take(&mut self.line);
        match self.terminal {
            true => out.extend(shown::line(&String::from_utf8_lossy(&line)).into_bytes()),
            false => out.extend_from_slice(&line),
        }
        out.extend_from_slice(end);
    }
}

/// Writes without being stuck in a full pipe when a signal arrives: poll(2)
/// says that a pipe takes `PIPE_BUF` bytes at once (pipe(7)).
fn copy(bytes: &[u8], to: impl AsFd) -> Result<()> {
    let wait = Timespec::try_from(interrupt::POLL)?;
    for mut chunk in bytes.chunks(4096) {
        while !chunk.is_empty() {
            interrupt::check()?;
            let ready = poll(&mut [PollFd::new(&to, PollFlags::OUT)], Some(&wait));
            let written = ready.and_then(|ready| match ready {
                0 => Err(Errno::AGAIN),
                _ => rustix::io::write(&to, chunk),
            });
            match written {
                Ok(written) => chunk = &chunk[written..],
                Err(Errno::AGAIN | Errno::INTR) => {}
                // What the command itself would have got: SIGPIPE.
                Err(Errno::PIPE) => return Err(stdout::nobody_reads().into()),
                Err(error) if terminal::is_gone(error, &to) => return Err(terminal::gone().into()),
                Err(error) => return Err(error).context("cannot write the guest's output"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(terminal: bool, raw: bool) -> KernelLines {
        KernelLines {
            terminal,
            raw,
            ..KernelLines::default()
        }
    }

    #[test]
    fn messages_are_whole_lines() {
        let mut piped = lines(false, false);
        assert_eq!(piped.feed(b"[ 0.1] one\r\n[ 0.2]"), b"[ 0.1] one\n");
        piped.seen(b"prompt> ");
        assert_eq!(piped.feed(b" \x1b[2J\r\nrest"), b"[ 0.2] \x1b[2J\n");
        assert_eq!(piped.finish(), b"rest\n");
        assert_eq!(piped.finish(), b"");
        assert_eq!(piped.feed(&[b'x'; LINE + 1]).len(), LINE + 1);
        assert_eq!(piped.line.len(), 1);
    }

    #[test]
    fn on_a_terminal_they_command_nothing_and_begin_where_lines_do() {
        let mut terminal = lines(true, true);
        terminal.seen(b"prompt> ");
        let shown = terminal.feed(b"\x1b[2Jone\ntwo\n");
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown, "\r\n\u{fffd}[2Jone\r\ntwo\r\n");
        terminal.seen(b"whole\n");
        assert_eq!(terminal.feed(b"three\n"), b"three\r\n");
        assert_eq!(lines(true, false).feed(b"\n"), b"\n");
    }
}
