//! `cargo xtask vm`: boot a kernel and run a command in it.

mod lines;
mod several;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{ffi::OsString, io::IsTerminal, os::fd::AsFd, path::Path, path::PathBuf};

use crate::base::environment::{cargo_paths, guest_environment, is_cargo_runner};
use crate::base::error::{Failure, FailureKind};
use crate::base::terminal::{self, RawTerminal};
use crate::base::{env::Env, interrupt, process::shell_quote, shown, stdout, temporary, ui::Ui};
use crate::cli::{kernels::KernelFlags, machine::MachineFlags, release::SourceFlags};
use crate::host::setup;
use crate::kernel::config::OwnFragment;
use crate::model::kernel_request::KernelRequest;
use crate::model::{complaint::STALL, kernel::LocalKernel};
use crate::supply::{self, Sources};
use crate::vm::console::log::{self, ConsoleLog};
use crate::vm::device::Device;
use crate::vm::{self, Accel, Limits, Stdin, VmOutcome, VmRun, VmSink, accel, preflight};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use lines::GuestLines;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Boot a kernel and run a command in it, with its exit status
///
/// The command, else a shell, runs as root in the current directory, on this host's files. It
/// cannot change them: what it writes is gone when it ends. It has the standard input, output and
/// error of `vm`; if `vm` runs on a terminal, it gets a terminal (Ctrl-A X ends the VM). Without -k
/// and -K, `vm` takes the newest local kernel, else the release's newest.
///
/// On several kernels, the command runs on each, with empty standard input. Each line that it prints
/// begins with the kernel's name, and a table on standard error says how each one ended.
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
  cargo xtask vm -k 5.10,6.1,debian:6.12 -j 2 -- ./prog   on three kernels, two at a time
  cargo xtask vm -K --output out -- ./prog  on one of every series, each with files of its own

Exit status: the command's, 128+N for signal N; --lost-status if the VM was lost, panicked or got
stuck; 2 or 3 if it could not be started. Of several kernels: 0 if all are 0, else the first of
1 (a command failed), 4 (a VM was lost, panicked or got stuck), 3 (a kernel could not be had or
started) that occurred.")]
pub struct VmFlags {
    #[command(flatten)]
    pub kernels: KernelFlags,
    /// Take only kernels that have the options of this fragment of a project's own; --setup builds
    /// one for -k '6.1.*+NAME'; repeatable
    #[arg(long, value_name = "FRAGMENT")]
    pub config: Vec<PathBuf>,
    /// Of several kernels, run this many VMs at a time [default: what memory and processors allow]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: Option<u32>,
    /// Write each kernel's standard output, standard error and console to files in this directory,
    /// which must be empty or absent
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
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
    /// End with this exit status if the VM was lost, panicked or got stuck [default: 128]
    #[arg(long, value_name = "N")]
    pub lost_status: Option<u8>,
    /// Run this command with these arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub sources: SourceFlags,
    #[command(flatten)]
    pub machine: MachineFlags,
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
    let requests = flags.kernels.requests(&env.paths)?;
    // What is asked for decides, not what is there to be picked.
    if requests.len() > 1 || flags.kernels.all_kernels || flags.output.is_some() {
        return several::run(env, flags, &requests, setup);
    }
    let basis = Basis::new(env, flags, &requests, setup)?;
    let kernel = supply::resolve(env, requests.first(), &basis.sources)?;
    basis.require_options(env, &kernel)?;
    let mut request = interactive(flags, basis.vm(env, kernel, log::path(&env.paths)?)?);
    if flags.dry_run {
        let line = vm::dry_run(&request, &env.paths)?;
        let words = line.iter().map(|word| shell_quote(&word.to_string_lossy()));
        stdout::print_value(&words.collect::<Vec<_>>().join(" "))?;
        let what = "vmtest-XXXXXX is where `vm` would make the guest's init and sockets";
        env.ui.info(format!("not a command to type: {what}"));
        return Ok(0);
    }
    let log = open_log(env, &mut request)?;
    let raw = request.terminal.map(|_| RawTerminal::new()).transpose()?;
    let mut sink = Passthrough {
        raw: raw.as_ref(),
        resized: Arc::default(),
        kernel: GuestLines::new(
            String::new(),
            std::io::stderr().is_terminal(),
            raw.is_some(),
        ),
    };
    if raw.is_some() {
        signal_hook::flag::register(signal_hook::consts::SIGWINCH, Arc::clone(&sink.resized))?;
    }
    let run = vm::run(env, &request, &mut sink);
    let rest = copy(&sink.kernel.finish(), std::io::stderr());
    drop(raw);
    rest?;
    let run = run?;
    let complained = conclude(&run, Some(log), "", flags.complaints, &env.ui);
    Ok(match run.main.outcome {
        VmOutcome::Exited(0) => u8::from(complained),
        VmOutcome::Exited(status) => status,
        _ => flags.lost_status.unwrap_or(128),
    })
}

fn open_log(env: &Env, vm: &mut vm::Vm) -> Result<ConsoleLog> {
    ConsoleLog::create(&vm.console_log).or_else(|error| {
        // Kernels can be booted from a work directory that cannot be written.
        env.ui.verbose(format!("{error:#}"));
        let name = vm.console_log.file_name().unwrap_or_default();
        vm.console_log = temporary::host_folder()?.join(name);
        ConsoleLog::create(&vm.console_log)
    })
}

/// What VMs of a call have in common, whatever their kernels.
struct Basis<'f> {
    flags: &'f VmFlags,
    sources: Sources,
    devices: Vec<Device>,
    /// The variables of `--env`.
    variables: Vec<(OsString, OsString)>,
}

impl<'f> Basis<'f> {
    /// Finds what is wrong before a kernel is fetched.
    fn new(env: &Env, flags: &'f VmFlags, requests: &[KernelRequest], setup: bool) -> Result<Self> {
        let mut tools = Vec::new();
        for request in requests
            .iter()
            .map(Some)
            .chain(requests.is_empty().then_some(None))
        {
            let arch = supply::arch_of(env, request)?;
            accel::require_possible(flags.machine.accel, arch)?;
            tools.extend(setup::for_vm(arch));
        }
        setup::require(env, &tools, setup)?;
        let devices = flags.machine.devices()?;
        let variables = flags.machine.environment()?;
        preflight::check(flags.machine.memory.unwrap_or(vm::MEMORY))?;
        Ok(Self {
            flags,
            sources: Sources {
                own: OwnFragment::read_all(&flags.config)?,
                ..flags.sources.sources(env, setup)?
            },
            devices,
            variables,
        })
    }

    fn require_options(&self, env: &Env, kernel: &LocalKernel) -> Result<()> {
        OwnFragment::require(&self.sources.own, env, kernel, "--config")
    }

    fn vm(&self, env: &Env, kernel: LocalKernel, console_log: PathBuf) -> Result<vm::Vm> {
        let flags = self.flags;
        let root = flags.machine.root(env, kernel.arch)?;
        let command = match flags.command.as_slice() {
            [] => {
                // Another root need not have the user's shell.
                let shell = std::env::var_os("SHELL").filter(|_| root == Path::new("/"));
                vec![shell.unwrap_or_else(|| "/bin/sh".into())]
            }
            words => words.to_vec(),
        };
        let package = std::env::var_os("CARGO_MANIFEST_DIR");
        let runner = is_cargo_runner(package.as_deref(), env!("CARGO_MANIFEST_DIR").as_ref());
        let environment = guest_environment(std::env::vars_os(), &self.variables, runner);
        let keep = match runner {
            true => cargo_paths(command[0].as_ref(), &environment),
            false => Vec::new(),
        };
        let mut vm = vm::Vm {
            root,
            command,
            directory: preflight::current_directory()?,
            environment,
            keep,
            kernel_log: flags.kernel_log,
            ..vm::Vm::new(kernel, console_log)
        };
        (flags.machine).apply(&mut vm, &self.devices, Limits::default());
        Ok(vm)
    }
}

/// The same with our standard input, and our terminal if we have one.
fn interactive(flags: &VmFlags, vm: vm::Vm) -> vm::Vm {
    // In the background a command has pipes; a shell is of no use there and stops.
    let is_shown = || flags.command.is_empty() || terminal::in_foreground(std::io::stdin());
    let tty = flags.tty || !flags.no_tty && terminal::on_both_ends() && is_shown();
    vm::Vm {
        stdin: Stdin::Inherit,
        terminal: tty.then(|| terminal::size().unwrap_or((80, 24))),
        ..vm
    }
}

/// Says how it ended, if not by the command's end, with `about` in front; whether it is to count
/// as failed because the kernel complained.
fn conclude(
    run: &VmRun,
    log: Option<ConsoleLog>,
    about: &str,
    mode: ComplaintMode,
    ui: &Ui,
) -> bool {
    let main = &run.main;
    if let VmOutcome::Exited(_) = main.outcome {
        let (total, how) = (vm::seconds(main.total), run.accel.name());
        let boot = main.boot.map_or_else(|| "all".to_owned(), vm::seconds);
        ui.verbose(format!(
            "{about}{total} run {how}, {boot} of them until the command started"
        ));
        if let Some(spans) = &main.spans {
            ui.verbose(format!("{about}until the command started: {spans}"));
        }
        let bad = complain(run, mode, about, ui);
        if let Some(log) = log.filter(|_| !bad) {
            log.remove();
        }
        return bad && mode == ComplaintMode::Fail;
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
    let failure = Failure::new(FailureKind::Vm, format!("{about}{}", main.outcome));
    ui.error(&failure.lines(lines.join("\n")).into());
    false
}

/// Shows the kernel's complaints; whether there are some that count.
fn complain(run: &VmRun, mode: ComplaintMode, about: &str, ui: &Ui) -> bool {
    let mut bad = false;
    for complaint in &run.main.complaints {
        let false_alarm = complaint.kind == STALL && run.accel == Accel::Tcg;
        let title = shown::line(&complaint.title);
        let title = format!("{about}the kernel complained: {title}");
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
    kernel: GuestLines,
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
        copy(&self.kernel.feed_console(bytes), std::io::stderr())
    }

    fn tick(&mut self) -> Result<Option<(u16, u16)>> {
        let back = self.raw.map_or(Ok(false), RawTerminal::follow_jobs)?;
        let resized = self.resized.swap(false, Ordering::SeqCst) || back;
        Ok(resized.then(terminal::size).flatten())
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
