//! Runs a suite: what a VM (or a process of this host) sends goes to the logs of the
//! session and, as events, to its collector; how it ended becomes one outcome.

pub mod check;
mod merge;
mod sink;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub use self::merge::merge;
pub use self::sink::{Outlet, SuiteSink};
use crate::base::error::{self, FailureKind};
use crate::base::{
    disk, env::Env, environment::guest_environment, process::LongCommand, temporary::Temporary,
};
use crate::kernel::distro::headers;
use crate::kernel::module::{self, ModuleOptions};

use crate::model::project::{Discovery, Project};
use crate::model::results::{RunName, RunRecord};
use crate::model::test_event::{FinishedTest, RunOutcome, Stage, Tally};
use crate::model::{expectation::Ledger, kernel::LocalKernel, run_event::RunEventKind};
use crate::run::{history::History, python::Prepared, run_folder, schedule, test_run::TestOptions};
use crate::vm::device::Device;
use crate::vm::scratch_disk::{Disk, Purpose};
use crate::vm::{self, CrashRequest, Limits, Vm, VmOutcome, VmPhase, VmSink};

/// Nothing printed for this long while tests run means that they hang.
const IDLE: Duration = Duration::from_secs(600);

/// So often the runner is started on the host, as in a guest; it ends by itself before.
const MOST_STARTS: u32 = 30;

/// No suite may take longer.
const TOTAL: Duration = Duration::from_secs(3600);

/// The tests of a project, and what all their runs have in common.
pub struct Suite<'s> {
    pub project: &'s Project,
    pub options: &'s TestOptions,
    /// Its tree and interpreter on this host.
    pub prepared: Prepared,
    /// The guest's runner, `run_unittests.py`.
    pub runner: PathBuf,
    /// What loads a capture kernel in the guest, [`crate::vm::guest::LOADER`] of the assets,
    /// a file; `None`: the tests after a crash are left out, or there are none.
    pub loader: Option<PathBuf>,
    /// The folder of the session's logs.
    pub folder: PathBuf,
    /// Only some of the tests are run.
    pub filtered: bool,
    pub ledger: Ledger,
    pub history: History,
}

/// One VM of a suite.
#[derive(Clone, Copy)]
pub struct Guest<'g> {
    /// The run.
    pub name: &'g RunName,
    /// The kernel.
    pub kernel: &'g LocalKernel,
    /// The project's module, built for it.
    pub module: Option<&'g Path>,
    /// The file of [`Suite::durations`].
    pub durations: Option<&'g Path>,
    /// Which part of the tests: the first number of the second, from 1.
    pub split: Option<(u32, u32)>,
    /// How often it was tried before.
    pub attempt: u32,
    /// Which tests run in it.
    pub phases: Phase,
}

/// Which tests of a kernel run in a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The main ones.
    Main,
    /// The main ones, and then those after a crash.
    Both,
    /// Those after a crash.
    Crash,
}

impl Suite<'_> {
    /// Whether there are tests after a crash to run on a kernel, with or without the
    /// project's module.
    pub fn crashes(&self, module: bool) -> bool {
        let crash = self.project.crash.as_ref();
        crash.is_some_and(|crash| module || !crash.module) && self.loader.is_some()
    }

    /// Marks a test that is expected to fail.
    fn mark(&self, name: &RunName, test: &mut FinishedTest) {
        self.ledger.mark(test, name, self.filtered);
    }

    fn command(&self, discovery: &Discovery, exclude: &[String]) -> RunnerCommand {
        RunnerCommand {
            python: self.prepared.python.clone(),
            runner: self.runner.clone(),
            discovery: discovery.clone(),
            exclude: exclude.to_vec(),
            split: None,
            durations: None,
            select: None,
            arguments: self.options.arguments.clone(),
        }
    }

    /// Looks whether what is to be run can be found, as far as it can be said before: the
    /// tests in VMs and those of the host.
    pub fn check(&self, in_vms: bool, local: bool) -> Result<()> {
        let tree = &self.prepared.tree;
        if in_vms {
            check::tree(self.project, tree)?;
            check::runner(&self.command(&self.project.tests, &[]), tree, &self.folder)?;
        }
        if let (true, Some(crash)) = (in_vms && self.loader.is_some(), &self.project.crash) {
            let command = RunnerCommand {
                select: Some(Select::Run),
                ..self.command(&crash.tests, &[])
            };
            check::runner(&command, tree, &self.folder).context("tests after a crash")?;
        }
        if let (true, Some(local)) = (local, &self.project.local) {
            let command = self.command(&local.tests, &local.exclude);
            check::runner(&command, tree, &self.folder).context("tests of the host")?;
        }
        Ok(())
    }

    /// What is done after the main tests.
    fn crash(&self) -> Option<CrashRequest> {
        let (crash, loader) = (self.project.crash.as_ref()?, self.loader.as_ref()?);
        let command = |select| RunnerCommand {
            select: Some(select),
            ..self.command(&crash.tests, &[])
        };
        // Whether the user's arguments leave any of them is known by looking.
        let select = selects(&self.options.arguments).then(|| command(Select::Count).words());
        Some(CrashRequest {
            command: command(Select::Run).words(),
            select,
            python: self.prepared.python.clone(),
            loader: loader.clone(),
            trigger: crash.trigger.clone(),
        })
    }

    /// The project's kernel module, built for a kernel.
    pub fn module(&self, env: &Env, kernel: &LocalKernel) -> Result<Option<PathBuf>> {
        let Some(module) = &self.project.module else {
            return Ok(None);
        };
        let source = self.prepared.tree.join(&module.source);
        let options = ModuleOptions {
            cc: self.options.cc.clone(),
            log: self.folder.join("module.log"),
        };
        let build = |kernel: &LocalKernel| module::build_external(env, kernel, &source, &options);
        if kernel.build.is_some() {
            return build(kernel).map(Some);
        }
        // A distribution's kernel comes without what it was built in, and where that can be
        // had, its programs may not run here. Most tests do not need the module, and those
        // that do say so.
        let with_headers = || {
            build(&LocalKernel {
                build: Some(headers::obtain(env, kernel)?),
                ..kernel.clone()
            })
        };
        let error = match with_headers() {
            Ok(module) => return Ok(Some(module)),
            Err(error) => error,
        };
        if let Some(FailureKind::Interrupted(_)) = error::kind(&error) {
            return Err(error);
        }
        let crash = match self.crashes(true) && !self.crashes(false) {
            true => ", and those after a crash,",
            false => "",
        };
        env.ui.warn(format!(
            "{}: no test module, and tests that need it{crash} cannot run: {error:#}",
            kernel.release
        ));
        Ok(None)
    }

    /// Writes down how long each class took on a kernel like this one, for VMs that
    /// share its tests: all of them must share them out alike.
    pub fn durations(&self, name: &RunName) -> Result<PathBuf> {
        let path = run_folder::log_file(&self.folder, name, "durations.json");
        let text = schedule::shards_file(&self.history.class_seconds(name));
        disk::write(&path, text)?;
        Ok(path)
    }

    /// Runs one VM to its end. The second value is what came after the crash, if there was
    /// to be one and the main tests came to a verdict (and some are selected that run
    /// after it).
    pub fn run_vm(
        &self,
        env: &Env,
        guest: Guest<'_>,
        outlet: Outlet<'_>,
    ) -> Result<(RunRecord, Option<RunRecord>)> {
        let mut what = String::new();
        if let Some((shard, _)) = guest.split {
            what = format!("{shard}-");
        }
        if guest.attempt > 0 {
            what = format!("{what}retry{}-", guest.attempt);
        }
        let log = |name, kind| run_folder::log_file(&self.folder, name, &format!("{what}{kind}"));
        let after = guest.name.crash();
        let name = match guest.phases {
            Phase::Main | Phase::Both => guest.name,
            // A VM of its own, in which nothing runs before the crash.
            Phase::Crash => &after,
        };
        let request = self.request(guest, log(name, "console.log"));
        let crash = match guest.phases {
            Phase::Main => None,
            Phase::Both | Phase::Crash => Some((&after, log(&after, "output.log"))),
        };
        let mark = |name: &RunName, test: &mut FinishedTest| self.mark(name, test);
        let mut sink = SuiteSink::new(name, outlet, &mark, log(name, "output.log"), crash)?;
        let run = vm::run(env, &request, &mut sink)?;
        sink.finish_vm(&run)
    }

    fn request(&self, guest: Guest<'_>, console_log: PathBuf) -> Vm {
        let command = match guest.phases {
            Phase::Main | Phase::Both => RunnerCommand {
                split: guest.split,
                durations: guest.durations.map(Path::to_owned),
                ..self.command(&self.project.tests, &[])
            }
            .words(),
            Phase::Crash => vec!["true".into()],
        };
        let crash = match guest.phases {
            Phase::Main => None,
            Phase::Both => self.crash(),
            // Its tests were selected once.
            Phase::Crash => self.crash().map(|crash| CrashRequest {
                select: None,
                ..crash
            }),
        };
        let mut environment = vec![
            // Tests that start Python find the one that runs them.
            ("PYTHON".into(), self.prepared.python.clone().into()),
            // What is written is gone with the guest, and writing it takes time.
            ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
        ];
        environment.extend(pairs(&self.project.environment));
        let mut modules = Vec::new();
        let mut keep = vec![self.prepared.tree.clone(), self.runner.clone()];
        // The environment that the interpreter is in: `<it>/bin/python3`.
        keep.extend(self.prepared.python.ancestors().nth(2).map(Path::to_owned));
        if let (Some(file), Some(module)) = (guest.module, &self.project.module) {
            if let Some(variable) = &module.variable {
                environment.push((variable.into(), file.into()));
            }
            if module.load {
                modules.push(file.to_owned());
            } else {
                keep.push(file.to_owned());
            }
        }
        environment.extend(self.options.environment.iter().cloned());
        let disks = self.project.disk.iter().map(|disk| {
            Device::Disk(Disk {
                size: disk.size,
                purpose: Purpose::Device(disk.variable.clone()),
            })
        });
        let mut request = Vm {
            command,
            directory: self.prepared.tree.clone(),
            environment: guest_environment(std::env::vars_os(), &environment),
            modules,
            crash,
            keep,
            devices: disks.collect(),
            memory: self.project.memory.unwrap_or(vm::MEMORY),
            ..Vm::new(guest.kernel.clone(), console_log)
        };
        let limits = Limits {
            boot: None,
            idle: Some(IDLE),
            total: Some(TOTAL),
        };
        (self.options.machine)(&mut request, limits);
        request
    }

    /// Runs the host's own tests, with the runner of the guest.
    pub fn run_local(&self, outlet: Outlet<'_>) -> Result<RunRecord> {
        let name = local_name();
        outlet.send(RunEventKind::Started(name.clone()))?;
        let local = (self.project.local.as_ref()).context("the project has no local tests")?;
        let command = self.command(&local.tests, &local.exclude);
        let mut environment = pairs(&local.environment);
        environment.push(("PYTHON".into(), self.prepared.python.clone().into()));
        environment.extend(self.options.environment.iter().cloned());
        let log = run_folder::log_file(&self.folder, &name, "output.log");
        let mark = |name: &RunName, test: &mut FinishedTest| self.mark(name, test);
        let sink = SuiteSink::new(&name, outlet, &mark, log, None)?;
        run_local(&command, &self.prepared.tree, &environment, sink)
    }
}

/// Options of unittest that change what is printed, and not which tests run.
const ALL_THE_SAME: [&str; 9] = [
    "-v",
    "--verbose",
    "-q",
    "--quiet",
    "-b",
    "--buffer",
    "-c",
    "--catch",
    "--locals",
];

/// Whether the user's arguments for unittest may leave tests out.
pub fn selects(arguments: &[OsString]) -> bool {
    let same = |argument: &OsString| argument.to_str().is_some_and(|a| ALL_THE_SAME.contains(&a));
    !arguments.iter().all(same)
}

/// What the run of the host's own tests is called.
pub fn local_name() -> RunName {
    RunName {
        kernel: "local".to_owned(),
        arch: String::new(),
        flavor: None,
        phase: None,
    }
}

fn pairs(environment: &[(String, String)]) -> Vec<(OsString, OsString)> {
    environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// The outcome of a run in a VM.
pub fn vm_outcome(tally: &Tally, outcome: &VmOutcome) -> RunOutcome {
    let running = tally.running.clone();
    match outcome {
        VmOutcome::Exited(status) => tally.outcome(*status),
        VmOutcome::InitFailed(words) => RunOutcome::Lost {
            how: format!("the guest could not start the tests: {words}"),
            running,
        },
        VmOutcome::Lost(how) => RunOutcome::Lost {
            how: how.clone(),
            running,
        },
        VmOutcome::Panicked(how) => RunOutcome::Panicked {
            how: how.clone(),
            running,
        },
        VmOutcome::Stuck(phase, how) => RunOutcome::Stuck {
            phase: match phase {
                VmPhase::Boot => "boot",
                VmPhase::Command => "command",
                VmPhase::Shutdown => "shutdown",
                VmPhase::Capture => "capture boot",
            }
            .to_owned(),
            how: how.clone(),
            running,
        },
        // Nothing was wrong with the VM: the tests need what it does not have.
        VmOutcome::NotCrashed(words) => RunOutcome::NotStarted {
            stage: Stage::Setup,
            how: format!("the kernel was not crashed: {words}"),
        },
    }
}

/// The guest's runner and its arguments, as a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerCommand {
    /// The interpreter, absolute.
    pub python: PathBuf,
    /// `run_unittests.py`, absolute.
    pub runner: PathBuf,
    /// What is discovered.
    pub discovery: Discovery,
    /// Files that are left out, relative to the top.
    pub exclude: Vec<String>,
    /// Which part of the tests: the first number of the second, from 1.
    pub split: Option<(u32, u32)>,
    /// How long classes took, for sharing them out.
    pub durations: Option<PathBuf>,
    /// What the names among the arguments mean; `None`: they replace discovery.
    pub select: Option<Select>,
    /// The user's arguments, for unittest.
    pub arguments: Vec<OsString>,
}

/// What is done with the discovered tests that the arguments name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// They are run.
    Run,
    /// They are counted: the status is 5 if there are none.
    Count,
    /// Whether they can be found at all: see [`check`].
    Check,
    /// The same where names do not replace discovery.
    CheckWithin,
}

impl RunnerCommand {
    /// Program and arguments.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![
            self.python.clone().into(),
            // The guest must not spend time on writing what is gone after the run.
            "-B".into(),
            self.runner.clone().into(),
            "--start".into(),
            self.discovery.start.clone().into(),
            "--top".into(),
            self.discovery.top.clone().into(),
            "--pattern".into(),
            self.discovery.pattern.clone().into(),
        ];
        for glob in &self.exclude {
            words.extend(["--exclude".into(), glob.into()]);
        }
        if let Some((number, of)) = self.split {
            words.extend(["--shard".into(), format!("{number}/{of}").into()]);
        }
        if let Some(file) = &self.durations {
            words.extend([OsStr::new("--class-durations"), file.as_os_str()].map(OsStr::to_owned));
        }
        match self.select {
            None => {}
            Some(Select::Run) => words.push("--within".into()),
            Some(Select::Count) => words.extend(["--within".into(), "--count".into()]),
            Some(Select::Check) => words.push("--check".into()),
            Some(Select::CheckWithin) => words.extend(["--within".into(), "--check".into()]),
        }
        words.extend(self.arguments.iter().cloned());
        words
    }
}

fn run_local(
    command: &RunnerCommand,
    directory: &Path,
    environment: &[(OsString, OsString)],
    mut sink: SuiteSink<'_>,
) -> Result<RunRecord> {
    // In a folder of its own: the runner writes a file beside it.
    let folder = Temporary::directory(&sink.output_log.with_file_name("local-events"))?;
    let events = folder.path().join("events");
    let journal = folder.path().join("events.journal");
    // A file that is read while it grows: the runner writes whole lines, and
    // nobody has to keep a pipe open for it.
    File::create(&events).context("cannot create a file for the test events")?;
    let mut reader = File::open(&events).context("cannot read the test events")?;
    sink.started()?;
    sink.boot = None;
    let mut environment = environment.to_vec();
    environment.insert(0, ("VMTEST_EVENTS".into(), events.into()));
    for start in 1.. {
        let status = run_once(command, directory, &environment, &mut reader, &mut sink)?;
        // As the guest's init does: what a process has left, another one runs.
        let left = journal.metadata().is_ok_and(|journal| journal.len() > 0);
        if !left || start >= MOST_STARTS {
            return sink.finish_local(status);
        }
        let file = File::options().append(true).open(&journal);
        file.and_then(|mut file| writeln!(file, "\n{{\"status\":{status}}}"))
            .with_context(|| format!("cannot write {}", journal.display()))?;
    }
    anyhow::bail!("the test process was started too often")
}

/// One process of the runner, to its end; its status, 128+N for signal N.
fn run_once(
    command: &RunnerCommand,
    directory: &Path,
    environment: &[(OsString, OsString)],
    reader: &mut File,
    sink: &mut SuiteSink<'_>,
) -> Result<u8> {
    let log = File::options()
        .append(true)
        .open(&sink.output_log)
        .with_context(|| format!("cannot write {}", sink.output_log.display()))?;
    let words = command.words();
    let mut child = LongCommand::new(&words[0])
        .args(words[1..].iter().cloned())
        .credentials()
        .current_dir(directory)
        .log(&log)?;
    for (name, value) in environment {
        child = child.env(name, value);
    }
    let mut child = child.spawn()?;
    let mut buffer = vec![0; 64 * 1024];
    let mut drain = |sink: &mut SuiteSink<'_>| -> Result<()> {
        loop {
            match reader
                .read(&mut buffer)
                .context("cannot read the test events")?
            {
                0 => return Ok(()),
                n => sink.events(&buffer[..n])?,
            }
        }
    };
    let status = child.wait_with(|| {
        sink.outlet.check()?;
        drain(sink)
    })?;
    drain(sink)?;
    Ok(shell_status(status))
}

/// 128+N for signal N, as a shell has it.
fn shell_status(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let number = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    u8::try_from(number).unwrap_or(255)
}

#[cfg(test)]
mod tests;
