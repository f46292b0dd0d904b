//! `cargo xtask vm`: boot a kernel and run a command in it.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use xtask::environment::guest_environment;
use xtask::failure::{Failure, FailureKind};
use xtask::fetch;
use xtask::guest;
use xtask::interrupt;
use xtask::layout::Layout;
use xtask::process::shell_quote;
use xtask::setup;
use xtask::terminal::{self, RawTerminal};
use xtask::ui::Ui;
use xtask::vm::{self, AccelChoice, Limits, Stdin, VmOutcome, VmRequest, VmRun, VmSink};

use crate::flags::Vm;

/// Lines of the kernel's words that are shown; all of them are in the console's log.
const TROUBLE: usize = 100;

/// Runs the command; its exit status.
pub fn run(flags: &Vm, layout: &Layout, ui: &Ui, setup: bool) -> Result<u8> {
    setup::require(layout, ui, &setup::for_vm(fetch::host_arch()?), setup)?;
    let request = request(flags, layout, ui, setup)?;
    if flags.dry_run {
        let line = vm::dry_run(&request, layout)?;
        let words = line
            .iter()
            .map(|word| shell_quote(&word.to_string_lossy()))
            .collect::<Vec<_>>();
        writeln!(std::io::stdout(), "{}", words.join(" "))
            .context("cannot write to standard output")?;
        return Ok(0);
    }
    let raw = request
        .terminal
        .is_some()
        .then(RawTerminal::new)
        .transpose()?;
    let mut sink = Passthrough {
        resized: Arc::default(),
    };
    if raw.is_some() {
        signal_hook::flag::register(signal_hook::consts::SIGWINCH, Arc::clone(&sink.resized))?;
    }
    let run = vm::run(&request, layout, ui, &mut sink);
    drop(raw);
    Ok(conclude(&run?, flags.lost_status, ui))
}

fn request(flags: &Vm, layout: &Layout, ui: &Ui, setup: bool) -> Result<VmRequest> {
    let sources = super::release::sources(&flags.sources, layout, ui, setup)?;
    let kernel = super::kernel::one(&flags.kernels, &sources, layout, ui)?;
    let tty = match (flags.tty, flags.no_tty) {
        (true, _) => true,
        (_, true) => false,
        _ => terminal::on_both_ends(),
    };
    let command = match flags.command.as_slice() {
        [] => vec![std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())],
        words => words.to_vec(),
    };
    let extra = extra_environment(&flags.environment)?;
    let log = layout.logs().join("vm");
    let mut request = VmRequest {
        console_log: log.join(format!("console-{}.log", std::process::id())),
        dump: None,
        kernel,
        root: "/".into(),
        command,
        directory: std::env::current_dir().context("cannot find the current directory")?,
        environment: guest_environment(std::env::vars_os(), &extra),
        modules: Vec::new(),
        crash: None,
        keep: Vec::new(),
        disk: None,
        stdin: Stdin::Inherit,
        terminal: tty.then(|| terminal::size().unwrap_or((80, 24))),
        init_text: layout.assets.read(guest::INIT)?.into_owned(),
        memory: vm::MEMORY,
        cpus: None,
        kernel_arguments: Vec::new(),
        qemu_arguments: Vec::new(),
        cache: true,
        accel: AccelChoice::Auto,
        limits: Limits::default(),
    };
    flags.machine.apply(&mut request, Limits::default());
    Ok(request)
}

/// `--env NAME=VALUE`, or `--env NAME` for the value that it has here.
pub fn extra_environment(words: &[OsString]) -> Result<Vec<(OsString, OsString)>> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut pairs = Vec::new();
    for word in words {
        let bytes = word.as_bytes();
        let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
            Some(at) => (
                bytes[..at].to_vec(),
                Some(OsString::from_vec(bytes[at + 1..].to_vec())),
            ),
            None => (bytes.to_vec(), std::env::var_os(word)),
        };
        let name = OsString::from_vec(name);
        if name.is_empty() {
            return Err(Failure::usage("--env needs a name").into());
        }
        match value {
            Some(value) => pairs.push((name, value)),
            None => {
                let message = format!("--env {}: there is no such variable here", name.display());
                return Err(Failure::usage(message)
                    .hint("give it a value: NAME=VALUE")
                    .into());
            }
        }
    }
    Ok(pairs)
}

/// Says how it ended, if not by the command's end; the exit status.
fn conclude(run: &VmRun, lost_status: u8, ui: &Ui) -> u8 {
    if let VmOutcome::Exited(status) = run.outcome {
        ui.verbose(format!(
            "{} run {}, {} of them until the command started",
            vm::seconds(run.total),
            run.accel.name(),
            run.boot.map_or_else(|| "all".to_owned(), vm::seconds),
        ));
        // Nobody looks at the kernel's words when all went well.
        let _ = std::fs::remove_file(&run.console_log);
        return status;
    }
    let mut text = run.outcome.to_string();
    if !run.trouble.is_empty() {
        let lines = run.trouble.lines().take(TROUBLE).collect::<Vec<_>>();
        text = format!("{text}\nthe kernel's words:\n{}", lines.join("\n"));
    } else if !run.console_tail.is_empty() {
        text = format!("{text}\nthe console's last lines:\n{}", run.console_tail);
    }
    text = format!("{text}\nconsole log: {}", run.console_log.display());
    if let Some(dump) = &run.dump {
        text = format!("{text}\ndump: {}", dump.display());
    }
    ui.error(&Failure::new(FailureKind::Vm, text).into());
    lost_status
}

/// Copies the guest's streams to ours.
struct Passthrough {
    resized: Arc<AtomicBool>,
}

impl VmSink for Passthrough {
    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        copy(bytes, std::io::stdout().as_fd())
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        copy(bytes, std::io::stderr().as_fd())
    }

    fn events(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn tick(&mut self) -> Result<Option<(u16, u16)>> {
        let resized = self.resized.swap(false, Ordering::SeqCst);
        Ok(resized.then(terminal::size).flatten())
    }
}

/// Writes without being stuck in a full pipe when a signal arrives: poll(2)
/// says that a pipe takes `PIPE_BUF` bytes at once (pipe(7)).
fn copy(bytes: &[u8], to: impl AsFd) -> Result<()> {
    for mut chunk in bytes.chunks(4096) {
        while !chunk.is_empty() {
            interrupt::check()?;
            let mut ready = [PollFd::new(&to, PollFlags::OUT)];
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            match poll(&mut ready, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error).context("cannot wait for our output"),
            }
            match rustix::io::write(&to, chunk) {
                Ok(written) => chunk = &chunk[written..],
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                // What the command itself would have got: SIGPIPE.
                Err(rustix::io::Errno::PIPE) => {
                    return Err(Failure::new(
                        FailureKind::Interrupted(signal_hook::consts::SIGPIPE),
                        "nobody reads our output any more",
                    )
                    .into());
                }
                Err(error) => return Err(error).context("cannot write the guest's output"),
            }
        }
    }
    Ok(())
}
