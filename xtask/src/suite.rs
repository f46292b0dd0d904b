//! Runs a suite: what a VM (or a process of this host) sends goes to the logs of the
//! session and, as events, to its collector; how it ended becomes one outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::environment::guest_environment;
use crate::event::{EventParser, FinishedTest, RunOutcome, Stage, Tally, TestEvent};
use crate::folder;
use crate::kernel::LocalKernel;
use crate::layout::Layout;
use crate::module::{self, ModuleOptions};
use crate::output::BoundedLog;
use crate::process::{LongCommand, tail_of_log};
use crate::project::{Discovery, Project};
use crate::python::Prepared;
use crate::results::{Evidence, Phases, RunName, RunRecord};
use crate::schedule;
use crate::session::{Message, What};
use crate::ui::Ui;
use crate::vm::{
    self, AccelChoice, Disk, Limits, Stdin, VmOutcome, VmPhase, VmRequest, VmRun, VmSink,
};

/// Lines of a log that the report of a run shows.
const TAIL_LINES: usize = 25;

/// Nothing printed for this long while tests run means that they hang.
const IDLE: Duration = Duration::from_secs(600);

/// No suite may take longer.
const TOTAL: Duration = Duration::from_secs(3600);

/// The tests of a project, and what all their runs have in common.
pub struct Suite<'s> {
    /// The project.
    pub project: &'s Project,
    /// Its tree and interpreter on this host.
    pub prepared: Prepared,
    /// The guest's runner, `run_unittests.py`.
    pub runner: PathBuf,
    /// The folder of the session's logs.
    pub folder: PathBuf,
    /// The text of the guest's init, [`crate::guest::INIT`] of the assets.
    pub init: String,
    /// The user's arguments, for unittest.
    pub arguments: Vec<OsString>,
    /// The user's variables.
    pub environment: Vec<(OsString, OsString)>,
    /// The compiler for the project's kernel module.
    pub cc: Option<String>,
    /// What the user says about VMs; gets the limits that hold otherwise.
    pub machine: &'s (dyn Fn(&mut VmRequest, Limits) + Sync),
    /// Marks tests that are expected to fail.
    pub mark: &'s (dyn Fn(&RunName, &mut FinishedTest) + Sync),
    /// How long each class of tests took on a kernel, in seconds, by `module.Class`.
    pub seconds: &'s (dyn Fn(&RunName) -> BTreeMap<String, f64> + Sync),
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
}

/// What one VM (or this host) gave of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// How it ended.
    pub outcome: RunOutcome,
    /// What its tests did.
    pub tally: Tally,
    /// How long it took.
    pub seconds: Phases,
    /// How the processors ran, for people.
    pub acceleration: Option<String>,
    /// What shows how it ended.
    pub evidence: Evidence,
}

impl Part {
    /// A VM that could not be started.
    pub fn failed(error: &anyhow::Error) -> Self {
        Self {
            outcome: RunOutcome::NotStarted {
                stage: Stage::Setup,
                how: format!("{error:#}"),
            },
            tally: Tally::default(),
            seconds: Phases::default(),
            acceleration: None,
            evidence: Evidence::default(),
        }
    }
}

impl Suite<'_> {
    fn command(&self, discovery: &Discovery, exclude: &[String]) -> RunnerCommand {
        RunnerCommand {
            python: self.prepared.python.clone(),
            runner: self.runner.clone(),
            discovery: discovery.clone(),
            exclude: exclude.to_vec(),
            split: None,
            durations: None,
            arguments: self.arguments.clone(),
        }
    }

    /// The project's kernel module, built for a kernel.
    ///
    /// # Errors
    ///
    /// It cannot be built.
    pub fn module(
        &self,
        kernel: &LocalKernel,
        layout: &Layout,
        ui: &Ui,
    ) -> Result<Option<PathBuf>> {
        let Some(module) = &self.project.module else {
            return Ok(None);
        };
        let options = ModuleOptions {
            cc: self.cc.clone(),
            log: self.folder.join("module.log"),
        };
        let source = self.prepared.tree.join(&module.source);
        module::build_external(kernel, &source, layout, ui, &options).map(Some)
    }

    /// Writes down how long each class took on a kernel like this one, for VMs that
    /// share its tests: all of them must share them out alike.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn durations(&self, name: &RunName) -> Result<PathBuf> {
        let path = folder::log_file(&self.folder, name, "durations.json");
        let text = schedule::shards_file(&(self.seconds)(name));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Runs one VM to its end.
    ///
    /// # Errors
    ///
    /// It cannot be started; a signal; the session is over.
    pub fn run_vm(
        &self,
        guest: Guest<'_>,
        outlet: Outlet<'_>,
        layout: &Layout,
        ui: &Ui,
    ) -> Result<Part> {
        let mut what = String::new();
        if let Some((shard, _)) = guest.split {
            what = format!("{shard}-");
        }
        if guest.attempt > 0 {
            what = format!("{what}retry{}-", guest.attempt);
        }
        let log = |kind: &str| folder::log_file(&self.folder, guest.name, &format!("{what}{kind}"));
        let request = self.request(guest, log("console.log"));
        let mut sink = SuiteSink::new(guest.name, outlet, self.mark, log("output.log"))?;
        let run = vm::run(&request, layout, ui, &mut sink)?;
        sink.finish_vm(&run)
    }

    fn request(&self, guest: Guest<'_>, console_log: PathBuf) -> VmRequest {
        let command = RunnerCommand {
            split: guest.split,
            durations: guest.durations.map(Path::to_owned),
            ..self.command(&self.project.tests, &[])
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
        environment.extend(self.environment.iter().cloned());
        let mut request = VmRequest {
            kernel: guest.kernel.clone(),
            root: "/".into(),
            command: command.words(),
            directory: self.prepared.tree.clone(),
            environment: guest_environment(std::env::vars_os(), &environment),
            modules,
            keep,
            disk: self.project.disk.as_ref().map(|disk| Disk {
                size: disk.size,
                variable: disk.variable.clone(),
            }),
            stdin: Stdin::Null,
            terminal: None,
            console_log,
            dump: None,
            init_text: self.init.clone(),
            memory: self.project.memory.unwrap_or(vm::MEMORY),
            cpus: None,
            kernel_arguments: Vec::new(),
            qemu_arguments: Vec::new(),
            cache: true,
            accel: AccelChoice::Auto,
            limits: Limits::default(),
        };
        let limits = Limits {
            boot: None,
            idle: Some(IDLE),
            total: Some(TOTAL),
        };
        (self.machine)(&mut request, limits);
        request
    }

    /// Runs the host's own tests, with the runner of the guest.
    ///
    /// # Errors
    ///
    /// They cannot be started; a signal; the session is over.
    pub fn run_local(&self, outlet: Outlet<'_>) -> Result<RunRecord> {
        let name = local_name();
        outlet.send(What::Started(name.clone()))?;
        let local = (self.project.local.as_ref()).context("the project has no local tests")?;
        let command = self.command(&local.tests, &local.exclude);
        let mut environment = pairs(&local.environment);
        environment.push(("PYTHON".into(), self.prepared.python.clone().into()));
        environment.extend(self.environment.iter().cloned());
        let log = folder::log_file(&self.folder, &name, "output.log");
        let sink = SuiteSink::new(&name, outlet, self.mark, log)?;
        let part = run_local(&command, &self.prepared.tree, &environment, sink)?;
        Ok(merge(name, 0.0, vec![(1, part)]))
    }
}

/// What the run of the host's own tests is called.
pub fn local_name() -> RunName {
    RunName {
        kernel: "local".to_owned(),
        arch: String::new(),
        flavor: None,
    }
}

fn pairs(environment: &[(String, String)]) -> Vec<(OsString, OsString)> {
    environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// A record of the parts of a run, by their numbers.
pub fn merge(name: RunName, prepare: f64, mut parts: Vec<(u32, Part)>) -> RunRecord {
    parts.sort_by_key(|(shard, _)| *shard);
    let split = parts.len() > 1;
    let worst = parts
        .iter()
        .enumerate()
        .max_by_key(|(index, (_, part))| (severity(&part.outcome), usize::MAX - index))
        .map_or(0, |(index, _)| index);
    let longest = |of: fn(&Phases) -> Option<f64>| {
        let all = parts.iter().filter_map(|(_, part)| of(&part.seconds));
        all.max_by(f64::total_cmp)
    };
    let seconds = Phases {
        prepare: (prepare > 0.0).then_some(prepare),
        boot: longest(|seconds| seconds.boot),
        tests: longest(|seconds| seconds.tests),
        total: longest(|seconds| seconds.total),
    };
    let acceleration = parts.iter().find_map(|(_, part)| part.acceleration.clone());
    let (mut outcome, mut evidence) = (RunOutcome::NoTests, Evidence::default());
    if let Some((_, part)) = parts.get(worst) {
        outcome = part.outcome.clone();
        evidence = part.evidence.clone();
    }
    if let (true, Some(how)) = (severity(&outcome) <= 2, disagreement(&parts)) {
        outcome = RunOutcome::RunnerDied { how, running: None };
    }
    if split {
        // The last words are those of the worst part; the logs are all there.
        evidence.logs = parts
            .iter()
            .flat_map(|(shard, part)| {
                let logs = part.evidence.logs.iter();
                logs.map(move |(what, path)| (format!("{what} {shard}"), path.clone()))
            })
            .collect();
    }
    RunRecord {
        name,
        outcome,
        tally: Tally::merge(parts.into_iter().map(|(_, part)| part.tally)),
        seconds,
        acceleration,
        retries: Vec::new(),
        evidence,
    }
}

/// What VMs that shared the tests of a suite do not agree about. A module that one of
/// them could not import would have its tests in none.
fn disagreement(parts: &[(u32, Part)]) -> Option<String> {
    let found = parts.iter().map(|(_, part)| part.tally.all);
    let found = found.collect::<BTreeSet<_>>();
    let shared = parts.iter().filter_map(|(_, part)| part.tally.tests);
    let shared = shared.fold(0_u64, u64::saturating_add);
    match found.iter().collect::<Vec<_>>()[..] {
        _ if parts.len() < 2 => None,
        [Some(all)] if *all == shared => None,
        [Some(all)] => Some(format!("the VMs shared out {shared} of {all} tests")),
        _ => Some("the VMs did not find the same number of tests".to_owned()),
    }
}

/// Which outcome of a part is that of the whole: the greatest. A VM without tests is
/// no matter beside one that has some.
fn severity(outcome: &RunOutcome) -> u8 {
    match outcome {
        RunOutcome::NoTests => 0,
        RunOutcome::Passed => 1,
        RunOutcome::TestsFailed => 2,
        RunOutcome::RunnerDied { .. } => 3,
        RunOutcome::NotStarted { .. } => 4,
        RunOutcome::Stuck { .. } => 5,
        RunOutcome::Lost { .. } => 6,
        RunOutcome::Panicked { .. } => 7,
    }
}

/// Where the events of one VM go.
#[derive(Clone, Copy)]
pub struct Outlet<'o> {
    sender: &'o SyncSender<Message>,
    run: usize,
    shard: u32,
    stop: &'o AtomicBool,
}

impl<'o> Outlet<'o> {
    /// For a run and its VM (0 when its tests are not split). Once `stop` is set, all
    /// of it ends.
    pub fn new(
        sender: &'o SyncSender<Message>,
        run: usize,
        shard: u32,
        stop: &'o AtomicBool,
    ) -> Self {
        Self {
            sender,
            run,
            shard,
            stop,
        }
    }

    /// Tells what happened.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub fn send(&self, what: What) -> Result<()> {
        self.check()?;
        let (run, shard) = (self.run, self.shard);
        let sent = self.sender.send(Message { run, shard, what });
        sent.ok().context("the session is over")
    }

    fn check(&self) -> Result<()> {
        anyhow::ensure!(!self.stop.load(Ordering::SeqCst), "the session is over");
        Ok(())
    }
}

/// Takes what one VM sends.
pub struct SuiteSink<'s> {
    name: RunName,
    outlet: Outlet<'s>,
    mark: &'s (dyn Fn(&RunName, &mut FinishedTest) + Sync),
    output: BoundedLog,
    output_log: PathBuf,
    parser: EventParser,
    tally: Tally,
    begin: Instant,
    boot: Option<Duration>,
}

impl<'s> SuiteSink<'s> {
    /// A sink for one VM; `mark` marks tests that are expected to fail, and the log
    /// gets what the tests print.
    pub fn new(
        name: &RunName,
        outlet: Outlet<'s>,
        mark: &'s (dyn Fn(&RunName, &mut FinishedTest) + Sync),
        output_log: PathBuf,
    ) -> Result<Self> {
        let output = BoundedLog::create(&output_log)
            .with_context(|| format!("cannot create {}", output_log.display()))?;
        Ok(Self {
            name: name.clone(),
            outlet,
            mark,
            output,
            output_log,
            parser: EventParser::default(),
            tally: Tally::default(),
            begin: Instant::now(),
            boot: None,
        })
    }

    fn event(&mut self, mut event: TestEvent) -> Result<()> {
        if let TestEvent::TestFinished(test) = &mut event {
            (self.mark)(&self.name, test);
        }
        self.tally.push(&event);
        self.outlet.send(What::Test(event))
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.output.write_all(bytes);
        written.with_context(|| format!("cannot write {}", self.output_log.display()))
    }

    /// Ends a run in a VM.
    pub fn finish_vm(self, run: &VmRun) -> Result<Part> {
        let boot = run.boot.or(self.boot);
        let acceleration = Some(run.accel.name().to_owned());
        let mut logs = vec![("console".to_owned(), run.console_log.clone())];
        logs.extend(run.dump.clone().map(|dump| ("dump".to_owned(), dump)));
        let evidence = Evidence {
            trouble: run.trouble.clone(),
            console_tail: run.console_tail.clone(),
            logs,
            ..Evidence::default()
        };
        self.finish(
            |tally| vm_outcome(tally, &run.outcome),
            (boot, run.total),
            acceleration,
            evidence,
        )
    }

    /// Ends a run on this host, whose process ended with `status` (128+N for signal N).
    pub fn finish_local(self, status: u8) -> Result<Part> {
        let total = self.begin.elapsed();
        self.finish(
            |tally| tally.outcome(status),
            (None, total),
            None,
            Evidence::default(),
        )
    }

    fn finish(
        mut self,
        outcome: impl FnOnce(&Tally) -> RunOutcome,
        (boot, total): (Option<Duration>, Duration),
        acceleration: Option<String>,
        mut evidence: Evidence,
    ) -> Result<Part> {
        if let Some(event) = self.parser.finish() {
            self.event(event)?;
        }
        let finished = self.output.finish();
        finished.with_context(|| format!("cannot write {}", self.output_log.display()))?;
        evidence.output_tail = tail_of_log(&self.output_log, 0, TAIL_LINES);
        let output = ("output".to_owned(), self.output_log.clone());
        evidence.logs.insert(0, output);
        // Beside the results they are found wherever the folder is moved to.
        for (_, log) in &mut evidence.logs {
            *log = log.file_name().map_or_else(|| log.clone(), PathBuf::from);
        }
        Ok(Part {
            outcome: outcome(&self.tally),
            seconds: Phases {
                prepare: None,
                boot: boot.map(|boot| boot.as_secs_f64()),
                tests: self.tally.finished.is_some().then_some(self.tally.seconds),
                total: Some(total.as_secs_f64()),
            },
            evidence,
            tally: self.tally,
            acceleration,
        })
    }
}

impl VmSink for SuiteSink<'_> {
    fn started(&mut self) {
        self.boot = Some(self.begin.elapsed());
        // That nobody listens any more is noticed by `tick`.
        let _ = self.outlet.send(What::CommandStarted);
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        self.output(bytes)
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        self.output(bytes)
    }

    fn events(&mut self, bytes: &[u8]) -> Result<()> {
        for event in self.parser.push(bytes) {
            self.event(event)?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<Option<(u16, u16)>> {
        self.outlet.check()?;
        Ok(None)
    }
}

/// Records a run that never started, because its kernel could not be had.
pub fn not_started(name: RunName, stage: Stage, error: &anyhow::Error) -> RunRecord {
    RunRecord {
        name,
        outcome: RunOutcome::NotStarted {
            stage,
            how: format!("{error:#}"),
        },
        tally: Tally::default(),
        seconds: Phases::default(),
        acceleration: None,
        retries: Vec::new(),
        evidence: Evidence::default(),
    }
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
            }
            .to_owned(),
            how: how.clone(),
            running,
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
    /// The user's arguments, for unittest.
    pub arguments: Vec<OsString>,
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
            words.extend([OsStr::new("--durations"), file.as_os_str()].map(OsStr::to_owned));
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
) -> Result<Part> {
    // A file that is read while it grows: the runner writes whole lines, and
    // nobody has to keep a pipe open for it.
    let events = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    let mut reader = events.reopen().context("cannot read the test events")?;
    let log = File::options()
        .append(true)
        .open(&sink.output_log)
        .with_context(|| format!("cannot write {}", sink.output_log.display()))?;
    let words = command.words();
    let mut child = LongCommand::new(&words[0])
        .args(words[1..].iter().cloned())
        .current_dir(directory)
        .log(&log)?
        .env("VMTEST_EVENTS", events.path());
    for (name, value) in environment {
        child = child.env(name, value);
    }
    let mut child = child.spawn()?;
    sink.started();
    sink.boot = None;
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
        drain(&mut sink)
    })?;
    drain(&mut sink)?;
    sink.finish_local(shell_status(status))
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
mod tests {
    use super::*;
    use crate::vm::Accel;

    const EVENTS: &str = r#"{"v":1,"event":"run-started","tests":2}
{"v":1,"event":"test-started","id":"t.A.one"}
{"v":1,"event":"test-finished","id":"t.A.one","outcome":"passed","seconds":0.5}
{"v":1,"event":"test-started","id":"t.A.two"}
"#;
    const END: &str = r#"{"v":1,"event":"test-finished","id":"t.A.two","outcome":"skipped","seconds":0.5,"reason":"why"}
{"v":1,"event":"run-finished","counts":{"passed":1,"skipped":1},"seconds":1}
"#;

    fn name() -> RunName {
        RunName {
            kernel: "6.1.192-vmtest1.1default".to_owned(),
            arch: "x86_64".to_owned(),
            flavor: Some("default".to_owned()),
        }
    }

    /// What a VM gives whose events come in these pieces, and what is told about it.
    fn run(events: &[&str], outcome: VmOutcome) -> (Part, Vec<What>) {
        let directory = tempfile::tempdir().unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel(100);
        let stop = AtomicBool::new(false);
        let outlet = Outlet::new(&sender, 3, 1, &stop);
        let name = name();
        let mark = |name: &RunName, test: &mut FinishedTest| {
            assert_eq!(name.arch, "x86_64");
            if test.id == "t.A.known" {
                test.expected = Some("known".to_owned());
            }
        };
        let log = directory.path().join("output.log");
        let mut sink = SuiteSink::new(&name, outlet, &mark, log).unwrap();
        sink.started();
        sink.stdout(b"out\n").unwrap();
        for piece in events {
            sink.events(piece.as_bytes()).unwrap();
        }
        sink.stderr(b"err\n").unwrap();
        let part = sink
            .finish_vm(&VmRun {
                outcome,
                accel: Accel::Tcg,
                boot: Some(Duration::from_secs(2)),
                total: Duration::from_secs(9),
                console_tail: String::new(),
                trouble: String::new(),
                dump: None,
                console_log: "/log/console.log".into(),
            })
            .unwrap();
        assert_eq!(part.evidence.output_tail, "out\nerr");
        drop(sender);
        let told = receiver.iter().map(|message| {
            assert_eq!((message.run, message.shard), (3, 1));
            message.what
        });
        (part, told.collect())
    }

    #[test]
    fn a_good_run() {
        let (part, told) = run(&[EVENTS, END], VmOutcome::Exited(0));
        assert_eq!(part.outcome, RunOutcome::Passed);
        assert_eq!(part.acceleration.as_deref(), Some("emulation (TCG)"));
        assert_eq!(part.seconds.boot, Some(2.0));
        assert_eq!(part.seconds.tests, Some(1.0));
        assert_eq!(part.seconds.total, Some(9.0));
        assert_eq!(
            part.evidence.logs,
            [("output", "output.log"), ("console", "console.log")]
                .map(|(what, path)| (what.to_owned(), PathBuf::from(path)))
        );
        assert!(matches!(told[0], What::CommandStarted));
        assert_eq!(told.len(), 7);
    }

    #[test]
    fn an_expected_failure_does_not_fail_the_run_and_a_pass_in_its_place_does() {
        for (outcome, status, expected) in [("failed", 1, "passed"), ("passed", 0, "tests failed")]
        {
            let events = format!(
                r#"{{"v":1,"event":"run-started","tests":1}}
{{"v":1,"event":"test-finished","id":"t.A.known","outcome":"{outcome}","seconds":0}}
{{"v":1,"event":"run-finished","counts":{{"{outcome}":1}},"seconds":0}}
"#
            );
            let (part, told) = run(&[&events], VmOutcome::Exited(status));
            assert_eq!(part.outcome.name(), expected);
            assert!(matches!(
                &told[2],
                What::Test(TestEvent::TestFinished(test)) if test.expected.is_some()
            ));
        }
    }

    #[test]
    fn outcomes_of_the_vm_name_the_running_test() {
        for (outcome, status, said) in [
            (VmOutcome::Exited(0), 1, "runner died"),
            (VmOutcome::Exited(139), 1, "runner died"),
            (VmOutcome::InitFailed("no python".to_owned()), 4, "lost"),
            (VmOutcome::Lost("QEMU: killed".to_owned()), 4, "lost"),
            (VmOutcome::Panicked("BUG".to_owned()), 4, "panicked"),
            (
                VmOutcome::Stuck(VmPhase::Command, "idle".to_owned()),
                4,
                "stuck",
            ),
        ] {
            let (part, _) = run(&[EVENTS], outcome);
            assert_eq!(part.outcome.exit_status(), status);
            assert_eq!(part.outcome.name(), said);
            assert_eq!(part.outcome.running(), Some("t.A.two"));
        }
    }

    #[test]
    fn a_lost_vm_is_never_a_passed_run() {
        let (part, _) = run(&[EVENTS, END], VmOutcome::Lost("x".to_owned()));
        assert_eq!(part.outcome.exit_status(), 4);
    }

    #[test]
    fn a_cut_line_is_counted() {
        let (part, _) = run(&[EVENTS, &END[..30]], VmOutcome::Exited(0));
        assert_eq!(part.tally.garbage, 1);
        assert_eq!(part.outcome.name(), "runner died");
    }

    #[test]
    fn a_session_that_is_over_takes_nothing() {
        let (sender, _receiver) = std::sync::mpsc::sync_channel(1);
        let stop = AtomicBool::new(true);
        let outlet = Outlet::new(&sender, 0, 0, &stop);
        assert!(outlet.send(What::CommandStarted).is_err());
        drop(_receiver);
        stop.store(false, Ordering::SeqCst);
        assert!(outlet.send(What::CommandStarted).is_err());
    }

    #[test]
    fn the_worst_part_decides_and_all_tests_count() {
        let (passed, _) = run(&[EVENTS, END], VmOutcome::Exited(0));
        let (died, _) = run(&[EVENTS], VmOutcome::Exited(139));
        let (panicked, _) = run(&[EVENTS], VmOutcome::Panicked("BUG".to_owned()));
        let none = Part {
            outcome: RunOutcome::NoTests,
            ..Part::failed(&anyhow::anyhow!("x"))
        };
        let outcome = |parts: &[&Part]| {
            let parts = (1..).zip(parts.iter().map(|part| (*part).clone()));
            merge(name(), 1.5, parts.collect())
        };
        let of = |all, tests, part: &Part| {
            let mut part = part.clone();
            (part.tally.all, part.tally.tests) = (Some(all), Some(tests));
            part
        };
        let (half, none) = (of(4, 2, &passed), of(4, 0, &none));
        let record = outcome(&[&half, &none, &half]);
        assert_eq!(record.outcome, RunOutcome::Passed);
        assert_eq!(record.tally.tests, Some(4));
        assert_eq!(record.tally.counts.finished(), 4);
        assert_eq!(record.seconds.prepare, Some(1.5));
        let logs = record.evidence.logs.iter().map(|(what, _)| what.as_str());
        assert_eq!(
            logs.collect::<Vec<_>>(),
            ["output 1", "console 1", "output 3", "console 3"]
        );
        let record = outcome(&[&passed, &died, &panicked]);
        assert_eq!(record.outcome.name(), "panicked");
        assert_eq!(record.tally.finished, None);
        let empty = of(0, 0, &none);
        assert_eq!(outcome(&[&empty, &empty]).outcome, RunOutcome::NoTests);
        for (parts, says) in [
            ([&half, &none], "the VMs shared out 2 of 4 tests"),
            ([&half, &of(5, 2, &passed)], "did not find the same number"),
            ([&half, &passed], "did not find the same number"),
        ] {
            let record = outcome(&parts);
            assert_eq!(record.outcome.name(), "runner died");
            assert!(record.outcome.detail().unwrap().contains(says));
        }
    }

    #[test]
    fn the_command_line_of_the_runner() {
        let command = RunnerCommand {
            python: "/v/bin/python".into(),
            runner: "/run/r.py".into(),
            discovery: Discovery {
                start: "tests".into(),
                top: ".".into(),
                pattern: "test*.py".to_owned(),
            },
            exclude: vec!["tests/x/*".to_owned()],
            split: Some((2, 3)),
            durations: Some("/run/d.json".into()),
            arguments: vec!["-k".into(), "a b".into(), "tests.test_x".into()],
        };
        expect_test::expect!["/v/bin/python -B /run/r.py --start tests --top . --pattern test*.py --exclude tests/x/* --shard 2/3 --durations /run/d.json -k a b tests.test_x"]
            .assert_eq(&command.words().join(OsStr::new(" ")).to_string_lossy());
    }
}
