//! `vm` on several kernels: lines with the kernel's name or files of its own for each, and a table.
//!
//! Standard output is the commands'. The table is our own words and goes to standard error.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Basis, GuestLines, VmFlags, conclude, copy, open_log};
use crate::base::error::{self, Failure};
use crate::base::{disk, env::Env, interrupt, parallel, table, ui::Ui, ui::Verbosity};
use crate::model::results::RunName;
use crate::model::test_event::{RunOutcome, Stage, Tally, exit_status};
use crate::model::{kernel::LocalKernel, kernel_request::KernelRequest};
use crate::run::queue::{self, Wanted};
use crate::run::{run_folder::log_file, suite, test_run};
use crate::supply;
use crate::vm::console::log;
use crate::vm::{self, VmOutcome, VmSink};
use anyhow::{Context, Error, Result};

pub(super) fn run(
    env: &Env,
    flags: &VmFlags,
    requests: &[KernelRequest],
    setup: bool,
) -> Result<u8> {
    check(flags)?;
    let basis = Basis::new(env, flags, requests, setup)?;
    let folder = flags.output.as_deref().map(empty_folder).transpose()?;
    let requests = match requests {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let wanted = queue::choose(env, &requests, &basis.sources);
    let mistakes = wanted
        .iter()
        .filter_map(|wanted| wanted.choice.as_ref().err());
    if let Some(mistake) = mistakes.clone().find(|error| error::is_final(error)) {
        return Err(error::copy(mistake));
    }
    if has_input() {
        (env.ui).info("the command's standard input is empty: several kernels cannot share ours");
    }
    let machine = &flags.machine;
    let jobs = match flags.jobs {
        Some(jobs) => usize::try_from(jobs)?,
        None => {
            let memory = machine.memory.unwrap_or(vm::MEMORY);
            test_run::default_jobs(memory, machine.cpus, machine.accel, &wanted, &env.paths)?
        }
    };
    let commands = Commands {
        env,
        basis,
        folder: folder.as_deref(),
        wanted: &wanted,
        several_arches: queue::several_arches(&wanted)?,
        obtained: Mutex::default(),
        fatal: Mutex::default(),
        telling: Mutex::default(),
    };
    let order = queue::order(&wanted, &vec![None; wanted.len()]);
    let rows = parallel::map(jobs, &order, |run| (*run, commands.run(*run)), |_| {});
    if let Some(error) = lock(&commands.fatal).take() {
        return Err(error);
    }
    interrupt::check()?;
    let mut rows = rows;
    rows.sort_by_key(|(run, _)| *run);
    let rows = rows.into_iter().filter_map(|(_, row)| row);
    let rows = rows.collect::<Vec<_>>();
    let status = exit_status(rows.iter().map(|row| &row.outcome));
    // With -q only what went wrong is said.
    if status != 0 || env.ui.verbosity() > Verbosity::Quiet {
        show(&rows, &env.ui);
    }
    Ok(status)
}

/// What one kernel alone can have.
fn check(flags: &VmFlags) -> Result<()> {
    let alone = [
        ("--tty", flags.tty),
        ("--gdb", flags.machine.gdb.is_some()),
        ("--dry-run", flags.dry_run),
        ("--lost-status", flags.lost_status.is_some()),
    ];
    if let Some((flag, _)) = alone.into_iter().find(|(_, given)| *given) {
        let failure = Failure::usage(format!("{flag} is for one kernel"));
        return Err(failure.hint("name one with -k, and no --output").into());
    }
    if flags.command.is_empty() {
        let failure = Failure::usage("a shell runs on one kernel only");
        return Err(failure
            .hint("several kernels take a command: -- COMMAND")
            .into());
    }
    Ok(())
}

/// Makes the directory, or sees that nothing is in it that could be overwritten.
fn empty_folder(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path)?;
    if path.symlink_metadata().is_ok() {
        let entries = disk::entries(&path)
            .map_err(|error| Failure::usage(format!("cannot write output: {error:#}")))?;
        if !entries.is_empty() {
            let failure = Failure::usage(format!("{} is not empty", path.display()));
            return Err(failure
                .hint("--output takes an empty or a new directory")
                .into());
        }
    }
    disk::create_directory(&path)?;
    Ok(path)
}

/// Whether somebody may expect the command to read our standard input.
fn has_input() -> bool {
    let device = |path| {
        let metadata = std::fs::metadata(path);
        metadata.map(|metadata| std::os::unix::fs::MetadataExt::rdev(&metadata))
    };
    // A closed one has no metadata.
    device("/dev/stdin")
        .is_ok_and(|device_number| device("/dev/null").is_ok_and(|null| device_number != null))
}

/// How the command ended on one kernel.
struct CommandRow {
    kernel: String,
    outcome: RunOutcome,
    /// The command's own.
    status: Option<u8>,
    complaints: usize,
    /// From QEMU's start to its end.
    seconds: Option<Duration>,
}

impl CommandRow {
    fn not_started(kernel: String, stage: Stage, error: &Error) -> Self {
        let how = format!("{error:#}");
        Self {
            kernel,
            outcome: RunOutcome::NotStarted { stage, how },
            status: None,
            complaints: 0,
            seconds: None,
        }
    }

    fn cells(&self) -> [String; 5] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let end = match self.outcome {
            RunOutcome::Passed | RunOutcome::TestsFailed => "exited",
            ref other => other.name(),
        };
        let seconds = self
            .seconds
            .map(|time| format!("{:.1}", time.as_secs_f64()));
        let complaints = self.seconds.map(|_| self.complaints.to_string());
        [
            self.kernel.clone(),
            end.to_owned(),
            or_none(self.status.map(|status| status.to_string())),
            or_none(complaints),
            or_none(seconds),
        ]
    }
}

fn show(rows: &[CommandRow], ui: &Ui) {
    let head = ["kernel", "end", "status", "complaints", "seconds"].map(str::to_owned);
    let cells = std::iter::once(head).chain(rows.iter().map(CommandRow::cells));
    let text = table::columns(&cells.collect::<Vec<_>>(), &[2, 3, 4]);
    text.lines().for_each(|line| ui.request(line));
}

/// A command's runs on all kernels.
struct Commands<'c> {
    env: &'c Env,
    basis: Basis<'c>,
    /// Where output goes, if not to ours.
    folder: Option<&'c Path>,
    wanted: &'c [Wanted],
    several_arches: bool,
    /// Kernels that are here; who gets another one holds it.
    obtained: Mutex<Vec<LocalKernel>>,
    /// Why all runs end.
    fatal: Mutex<Option<Error>>,
    /// Who says how a run ended holds it, so that what belongs together stays together.
    telling: Mutex<()>,
}

impl Commands<'_> {
    /// One kernel's run. `None`: all runs end, or another request has the same kernel.
    fn run(&self, run: usize) -> Option<CommandRow> {
        let wanted = &self.wanted[run];
        let name = match wanted.name() {
            Ok(name) => name,
            Err(error) => return self.unstarted("newest".to_owned(), Stage::Setup, error),
        };
        let (kernel, number) = match self.obtain(wanted) {
            Ok(obtained) => obtained?,
            Err(error) => return self.unstarted(name.kernel, wanted.stage(), error),
        };
        let name = queue::name(&kernel);
        if let Err(error) = self.basis.require_options(self.env, &kernel) {
            return self.unstarted(name.kernel, Stage::Setup, error);
        }
        let title = match number {
            1 => name.among(self.several_arches),
            number => format!("{} ({number})", name.among(self.several_arches)),
        };
        match self.boot(run, kernel, &name, number, &title) {
            Ok(row) => Some(row),
            Err(error) => self.unstarted(title, Stage::Setup, error),
        }
    }

    fn unstarted(&self, title: String, stage: Stage, error: Error) -> Option<CommandRow> {
        let mut fatal = lock(&self.fatal);
        if fatal.is_some() {
            return None;
        }
        if error::is_final(&error) {
            *fatal = Some(error);
            return None;
        }
        drop(fatal);
        let row = CommandRow::not_started(title, stage, &error);
        let _telling = lock(&self.telling);
        self.env.ui.error(&error.context(row.kernel.clone()));
        Some(row)
    }

    /// Gets a kernel, one at a time, and counts those of its release. `None` if it is there already.
    fn obtain(&self, wanted: &Wanted) -> Result<Option<(LocalKernel, usize)>> {
        let mut obtained = lock(&self.obtained);
        self.go_on()?;
        let choice = wanted.choice.as_ref().map_err(error::copy)?;
        let request = wanted.request.as_ref();
        let kernel = supply::obtain(self.env, request, choice, &self.basis.sources)?;
        if obtained.contains(&kernel) {
            return Ok(None);
        }
        let alike = |other: &&LocalKernel| queue::name(other) == queue::name(&kernel);
        let number = obtained.iter().filter(alike).count() + 1;
        obtained.push(kernel.clone());
        Ok(Some((kernel, number)))
    }

    fn go_on(&self) -> Result<()> {
        interrupt::check()?;
        anyhow::ensure!(
            lock(&self.fatal).is_none(),
            "another kernel's run has ended all"
        );
        Ok(())
    }

    fn boot(
        &self,
        run: usize,
        kernel: LocalKernel,
        name: &RunName,
        number: usize,
        title: &str,
    ) -> Result<CommandRow> {
        let ui = &self.env.ui;
        let file = |folder, what: &str| match number {
            1 => log_file(folder, name, what),
            number => log_file(folder, name, &format!("{number}-{what}")),
        };
        let console = match self.folder {
            Some(folder) => file(folder, "console.log"),
            None => log::path(&self.env.paths)?,
        };
        let mut vm = self.basis.vm(self.env, kernel, console)?;
        let log = match self.folder {
            Some(_) => None,
            None => Some(open_log(self.env, &mut vm)?),
        };
        let output = |what| -> Result<Option<File>> {
            let path = self.folder.map(|folder| file(folder, what));
            let created = path.map(|path| {
                let file = File::create_new(&path);
                file.with_context(|| format!("cannot write {}", path.display()))
            });
            created.transpose()
        };
        let lines = |terminal| {
            let prefix = ui.paint_on(terminal).nth(run, &format!("{title}:")) + " ";
            GuestLines::new(prefix, terminal, false)
        };
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let mut sink = NamedLines {
            commands: self,
            files: (output("stdout")?, output("stderr")?),
            stdout: lines(out.is_terminal()),
            stderr: lines(err.is_terminal()),
            console: lines(err.is_terminal()),
        };
        let task = ui.task(format!("running on {title}"));
        let ended = vm::run(self.env, &vm, &mut sink);
        drop(task);
        sink.finish()?;
        let ended = ended?;
        let _telling = lock(&self.telling);
        let mode = self.basis.flags.complaints;
        let complained = conclude(&ended, log, &format!("{title}: "), mode, ui);
        let complaints = &ended.main.complaints;
        let (outcome, status) = match &ended.main.outcome {
            VmOutcome::Exited(0) if complained => {
                let first = complaints.first().map(|first| first.title.clone());
                let how = first.unwrap_or_default();
                (RunOutcome::Complained { how }, Some(0))
            }
            VmOutcome::Exited(0) => (RunOutcome::Passed, Some(0)),
            VmOutcome::Exited(status) => (RunOutcome::TestsFailed, Some(*status)),
            other => (suite::vm_outcome(&Tally::default(), other), None),
        };
        Ok(CommandRow {
            kernel: title.to_owned(),
            outcome,
            status,
            complaints: complaints.len(),
            seconds: Some(ended.main.total),
        })
    }
}

/// Where one guest's output goes: to files, or as lines to our own streams.
struct NamedLines<'c> {
    commands: &'c Commands<'c>,
    files: (Option<File>, Option<File>),
    stdout: GuestLines,
    stderr: GuestLines,
    console: GuestLines,
}

impl NamedLines<'_> {
    /// Writes lines; those of other guests and our own wait.
    fn print(&self, lines: &[u8], to: impl std::os::fd::AsFd) -> Result<()> {
        self.commands.go_on()?;
        let mut result = Ok(());
        if !lines.is_empty() {
            let ui = &self.commands.env.ui;
            ui.passthrough(|| result = copy(lines, to));
        }
        result
    }

    fn finish(&mut self) -> Result<()> {
        let (out, err) = (self.stdout.finish(), self.stderr.finish());
        let console = self.console.finish();
        self.print(&out, std::io::stdout())?;
        self.print(&[err, console].concat(), std::io::stderr())
    }
}

impl VmSink for NamedLines<'_> {
    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(file) = &mut self.files.0 {
            return file
                .write_all(bytes)
                .context("cannot write the guest's output");
        }
        let lines = self.stdout.feed(bytes);
        self.print(&lines, std::io::stdout())
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(file) = &mut self.files.1 {
            return file
                .write_all(bytes)
                .context("cannot write the guest's output");
        }
        let lines = self.stderr.feed(bytes);
        self.print(&lines, std::io::stderr())
    }

    fn console(&mut self, bytes: &[u8]) -> Result<()> {
        let lines = self.console.feed_console(bytes);
        self.print(&lines, std::io::stderr())
    }

    fn tick(&mut self) -> Result<Option<(u16, u16)>> {
        self.commands.go_on()?;
        Ok(None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
