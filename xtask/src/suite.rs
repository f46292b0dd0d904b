//! Runs a suite: what a VM (or a process of this host) sends goes to events, to
//! the logs of the run and to the reporter; how it ended becomes one outcome.
//!
//! A run has a folder of its own below the work directory's `log/`:
//!
//! - `results.jsonl`: every event with `kernel`, `arch` and `flavor`, and
//!   `vm-started` and `vm-finished` around them,
//! - `<kernel>.<arch>-output.log`: what the tests printed, of very much both ends,
//! - `<kernel>.<arch>-console.log`: the kernel's messages.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use crate::clock::Utc;
use crate::event::{EventParser, RunOutcome, Stage, Tally, TestEvent};
use crate::output::BoundedLog;
use crate::process::{LongCommand, tail_of_log};
use crate::report::{Event, Reporter};
use crate::results::{self, Evidence, Finish, Phases, RunName, RunRecord};
use crate::vm::{VmOutcome, VmPhase, VmRun, VmSink};

/// Lines of a log that the report of a run shows.
const TAIL_LINES: usize = 25;

/// The folder and the results file of a run.
#[derive(Debug)]
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
    results: BufWriter<File>,
}

impl RunFolder {
    /// Makes a folder of its own below `logs`, named by time so that they sort.
    pub fn create(logs: &Path) -> Result<Self> {
        let name = format!("{}-{}", Utc::now().file_name(), std::process::id());
        let path = logs.join(name);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let file = path.join("results.jsonl");
        let results =
            File::create(&file).with_context(|| format!("cannot create {}", file.display()))?;
        Ok(Self {
            path,
            results: BufWriter::new(results),
        })
    }

    /// A log file of one run in it.
    pub fn log(&self, name: &RunName, what: &str) -> PathBuf {
        // A request that gave no kernel may be a path.
        let mut file = name.kernel.replace(|c: char| !file_character(c), "_");
        if !name.arch.is_empty() {
            file = format!("{file}.{}", name.arch);
        }
        self.path.join(format!("{file}-{what}.log"))
    }

    fn write(&mut self, name: &RunName, event: &str, fields: &impl Serialize) -> io::Result<()> {
        let line = results::line(event, Some(name), None, fields).map_err(io::Error::other)?;
        self.results.write_all(line.as_bytes())?;
        self.results.write_all(b"\n")
    }

    /// The first line of a run.
    fn write_started(&mut self, name: &RunName) -> io::Result<()> {
        self.write(name, "vm-started", &json!({}))?;
        self.results.flush()
    }

    /// The last line of a run.
    fn write_finished(&mut self, record: &RunRecord) -> io::Result<()> {
        let finish = Finish {
            outcome: record.outcome.clone(),
            seconds: record.seconds,
            acceleration: record.acceleration.clone(),
            evidence: record.evidence.clone(),
        };
        self.write(&record.name, "vm-finished", &finish)?;
        self.results.flush()
    }
}

fn file_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._+~-".contains(c)
}

/// Takes what one run sends.
pub struct SuiteSink<'s, W> {
    name: RunName,
    folder: &'s mut RunFolder,
    reporter: &'s mut Reporter<W>,
    output: BoundedLog,
    output_log: PathBuf,
    parser: EventParser,
    tally: Tally,
    begin: Instant,
    boot: Option<Duration>,
    /// The first write that failed. The run goes on: what it finds may still be
    /// shown in another place.
    error: Option<anyhow::Error>,
}

impl<'s, W: Write> SuiteSink<'s, W> {
    /// A sink for one run; the reporter has been told that it started.
    pub fn new(
        name: &RunName,
        folder: &'s mut RunFolder,
        reporter: &'s mut Reporter<W>,
    ) -> Result<Self> {
        let output_log = folder.log(name, "output");
        let output = BoundedLog::create(&output_log)
            .with_context(|| format!("cannot create {}", output_log.display()))?;
        folder
            .write_started(name)
            .context("cannot write results.jsonl")?;
        Ok(Self {
            name: name.clone(),
            folder,
            reporter,
            output,
            output_log,
            parser: EventParser::default(),
            tally: Tally::default(),
            begin: Instant::now(),
            boot: None,
            error: None,
        })
    }

    fn keep(&mut self, result: io::Result<()>, what: &str) {
        if let Err(error) = result
            && self.error.is_none()
        {
            self.error = Some(anyhow::Error::new(error).context(format!("cannot write {what}")));
        }
    }

    fn event(&mut self, event: &TestEvent) {
        self.tally.push(event);
        let line = serde_json::to_value(event).map_err(io::Error::from);
        let written = line.and_then(|line| {
            let name = line["event"].as_str().unwrap_or_default().to_owned();
            self.folder.write(&self.name, &name, &line)
        });
        self.keep(written, "results.jsonl");
        let shown = self.reporter.handle(Event::Test(event));
        self.keep(shown, "the results");
    }

    fn output(&mut self, bytes: &[u8]) {
        let result = self.output.write_all(bytes);
        self.keep(result, "the log of the tests' output");
    }

    /// Ends a run in a VM.
    pub fn finish_vm(self, run: &VmRun) -> Result<RunRecord> {
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
    pub fn finish_local(self, status: u8) -> Result<RunRecord> {
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
    ) -> Result<RunRecord> {
        if let Some(event) = self.parser.finish() {
            self.event(&event);
        }
        let finished = self.output.finish().map(drop);
        self.keep(finished, "the log of the tests' output");
        evidence.output_tail = tail_of_log(&self.output_log, 0, TAIL_LINES);
        let output = ("output".to_owned(), self.output_log.clone());
        evidence.logs.insert(0, output);
        let record = RunRecord {
            name: self.name.clone(),
            outcome: outcome(&self.tally),
            seconds: Phases {
                prepare: None,
                boot: boot.map(|boot| boot.as_secs_f64()),
                tests: self.tally.finished.is_some().then_some(self.tally.seconds),
                total: Some(total.as_secs_f64()),
            },
            evidence,
            tally: std::mem::take(&mut self.tally),
            acceleration,
            retries: Vec::new(),
        };
        let written = self.folder.write_finished(&record);
        self.keep(written, "results.jsonl");
        let shown = self.reporter.handle(Event::RunFinished(&record));
        self.keep(shown, "the results");
        match self.error {
            None => Ok(record),
            Some(error) => Err(error),
        }
    }
}

impl<W: Write> VmSink for SuiteSink<'_, W> {
    fn started(&mut self) {
        self.boot = Some(self.begin.elapsed());
        let shown = self.reporter.handle(Event::CommandStarted);
        self.keep(shown, "the results");
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        self.output(bytes);
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        self.output(bytes);
        Ok(())
    }

    fn events(&mut self, bytes: &[u8]) -> Result<()> {
        let events = self.parser.push(bytes);
        for event in &events {
            self.event(event);
        }
        if !events.is_empty() {
            // Whoever looks at the file while tests hang sees which one it is,
            // and nothing is lost when we are killed.
            let flushed = self.folder.results.flush();
            self.keep(flushed, "results.jsonl");
        }
        Ok(())
    }
}

/// Records a run that never started, because its kernel could not be had.
pub fn not_started<W: Write>(
    name: &RunName,
    stage: Stage,
    error: &anyhow::Error,
    folder: &mut RunFolder,
    reporter: &mut Reporter<W>,
) -> Result<RunRecord> {
    let record = RunRecord {
        name: name.clone(),
        outcome: RunOutcome::NotStarted {
            stage,
            how: format!("{error:#}"),
        },
        tally: Tally::default(),
        seconds: Phases::default(),
        acceleration: None,
        retries: Vec::new(),
        evidence: Evidence::default(),
    };
    folder
        .write_finished(&record)
        .context("cannot write results.jsonl")?;
    reporter
        .handle(Event::RunFinished(&record))
        .context("cannot write the results")?;
    Ok(record)
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
    pub discovery: crate::project::Discovery,
    /// Files that are left out, relative to the top.
    pub exclude: Vec<String>,
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
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// Runs tests on this host, with the runner of the guest.
pub fn run_local<W: Write>(
    command: &RunnerCommand,
    directory: &Path,
    environment: &[(OsString, OsString)],
    mut sink: SuiteSink<'_, W>,
) -> Result<RunRecord> {
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
    let mut drain = |sink: &mut SuiteSink<'_, W>| -> Result<()> {
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
    let status = child.wait_with(|| drain(&mut sink))?;
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
    use serde_json::Value;

    use super::*;
    use crate::ui::Verbosity;
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

    fn run(events: &[&str], outcome: VmOutcome) -> (RunRecord, String) {
        let directory = tempfile::tempdir().unwrap();
        let mut folder = RunFolder::create(directory.path()).unwrap();
        let mut reporter = Reporter::new(Vec::new(), Verbosity::Quiet, None);
        let mut sink = SuiteSink::new(&name(), &mut folder, &mut reporter).unwrap();
        sink.started();
        sink.stdout(b"out\n").unwrap();
        for piece in events {
            sink.events(piece.as_bytes()).unwrap();
        }
        sink.stderr(b"err\n").unwrap();
        let record = sink
            .finish_vm(&VmRun {
                outcome,
                accel: Accel::Tcg,
                boot: Some(Duration::from_secs(2)),
                total: Duration::from_secs(9),
                console_tail: String::new(),
                trouble: String::new(),
                dump: None,
                console_log: "console.log".into(),
            })
            .unwrap();
        assert_eq!(record.evidence.output_tail, "out\nerr");
        let results = std::fs::read_to_string(folder.path.join("results.jsonl")).unwrap();
        (record, results)
    }

    #[test]
    fn a_good_run() {
        let (record, results) = run(&[EVENTS, END], VmOutcome::Exited(0));
        assert_eq!(record.outcome, RunOutcome::Passed);
        assert_eq!(record.acceleration.as_deref(), Some("emulation (TCG)"));
        let lines = results
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect::<Vec<_>>();
        let names = lines
            .iter()
            .map(|line| line["event"].as_str().unwrap())
            .collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                "vm-started",
                "run-started",
                "test-started",
                "test-finished",
                "test-started",
                "test-finished",
                "run-finished",
                "vm-finished"
            ]
        );
        for line in &lines {
            assert_eq!(line["v"], 1);
            assert_eq!(line["kernel"], "6.1.192-vmtest1.1default");
            assert_eq!(line["arch"], "x86_64");
            assert_eq!(line["flavor"], "default");
        }
        assert_eq!(lines[5]["reason"], "why");
        assert_eq!(lines[7]["outcome"], "passed");
        assert_eq!(lines[7]["seconds"]["total"], 9.0);
        assert_eq!(lines[7]["seconds"]["boot"], 2.0);
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
            let (record, results) = run(&[EVENTS], outcome);
            assert_eq!(record.outcome.exit_status(), status);
            assert_eq!(record.outcome.name(), said);
            assert_eq!(record.outcome.running(), Some("t.A.two"));
            assert!(results.contains(r#""running":"t.A.two""#), "{results}");
        }
    }

    #[test]
    fn a_lost_vm_is_never_a_passed_run() {
        let (record, _) = run(&[EVENTS, END], VmOutcome::Lost("x".to_owned()));
        assert_eq!(record.outcome.exit_status(), 4);
    }

    #[test]
    fn a_cut_line_is_counted() {
        let (record, _) = run(&[EVENTS, &END[..30]], VmOutcome::Exited(0));
        assert_eq!(record.tally.garbage, 1);
        assert_eq!(record.outcome.name(), "runner died");
    }

    #[test]
    fn a_request_that_is_a_path_gives_a_file_name() {
        let directory = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(directory.path()).unwrap();
        let name = RunName {
            kernel: "../6.1.*".to_owned(),
            ..name()
        };
        assert_eq!(
            folder.log(&name, "output").file_name().unwrap(),
            ".._6.1._.x86_64-output.log"
        );
    }

    #[test]
    fn the_command_line_of_the_runner() {
        let command = RunnerCommand {
            python: "/v/bin/python".into(),
            runner: "/run/r.py".into(),
            discovery: crate::project::Discovery {
                start: "tests".into(),
                top: ".".into(),
                pattern: "test*.py".to_owned(),
            },
            exclude: vec!["tests/x/*".to_owned()],
            arguments: vec!["-k".into(), "a b".into(), "tests.test_x".into()],
        };
        expect_test::expect!["/v/bin/python -B /run/r.py --start tests --top . --pattern test*.py --exclude tests/x/* -k a b tests.test_x"]
            .assert_eq(&command.words().join(std::ffi::OsStr::new(" ")).to_string_lossy());
    }
}
