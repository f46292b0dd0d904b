//! Takes what one VM sends: to the log of its output, and as events to the collector.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::vm_outcome;
use crate::base::{bounded_log::BoundedLog, process::tail_of_log};
use crate::model::results::{Evidence, Phases, RunName, RunRecord};
use crate::model::run_event::{RunEvent, RunEventKind};
use crate::model::test_event::{EventParser, FinishedTest, RunOutcome, Tally, TestEvent};
use crate::run::framework::OutputReader;
use crate::vm::{BootSpans, PhaseRun, VmOutcome, VmRun, VmSink};

/// Lines of a log that the report of a run shows.
const TAIL_LINES: usize = 25;

#[derive(Clone, Copy)]
pub struct Outlet<'o> {
    sender: &'o SyncSender<RunEvent>,
    run: usize,
    shard: u32,
    /// The run of the tests after a crash.
    crash: usize,
    stop: &'o AtomicBool,
}

impl<'o> Outlet<'o> {
    /// For a run and its VM (0 when its tests are not split). Once `stop` is set, all
    /// of it ends.
    pub fn new(
        sender: &'o SyncSender<RunEvent>,
        run: usize,
        shard: u32,
        stop: &'o AtomicBool,
    ) -> Self {
        Self {
            sender,
            run,
            shard,
            crash: run,
            stop,
        }
    }

    /// The tests after a crash are this run, and never split.
    pub fn with_crash(self, crash: usize) -> Self {
        Self { crash, ..self }
    }

    fn after_crash(self) -> Self {
        Self {
            run: self.crash,
            shard: 0,
            ..self
        }
    }

    pub fn send(&self, kind: RunEventKind) -> Result<()> {
        self.check()?;
        let (run, shard) = (self.run, self.shard);
        let sent = self.sender.send(RunEvent { run, shard, kind });
        sent.ok().context("the session is over")
    }

    pub(super) fn check(&self) -> Result<()> {
        anyhow::ensure!(!self.stop.load(Ordering::SeqCst), "the session is over");
        Ok(())
    }
}

pub struct SuiteSink<'s> {
    name: RunName,
    pub(super) outlet: Outlet<'s>,
    mark: &'s (dyn Fn(&RunName, &mut FinishedTest) + Sync),
    output: BoundedLog,
    pub(super) output_log: PathBuf,
    parser: EventParser,
    /// Makes events of the output, in place of the parser.
    reader: Option<Box<dyn OutputReader>>,
    tally: Tally,
    begin: Instant,
    pub(super) boot: Option<Duration>,
    /// The run of the tests after a crash and the log of their output, until they come.
    crash: Option<(RunName, PathBuf)>,
    before: Option<Box<Self>>,
}

impl<'s> SuiteSink<'s> {
    /// A sink for one VM; `mark` marks tests that are expected to fail, and the log
    /// gets what the tests print; of those after a crash it is another log.
    pub fn new(
        name: &RunName,
        outlet: Outlet<'s>,
        mark: &'s (dyn Fn(&RunName, &mut FinishedTest) + Sync),
        output_log: PathBuf,
        crash: Option<(&RunName, PathBuf)>,
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
            reader: None,
            tally: Tally::default(),
            begin: Instant::now(),
            boot: None,
            crash: crash.map(|(name, log)| (name.clone(), log)),
            before: None,
        })
    }

    pub fn read_with(mut self, reader: Option<Box<dyn OutputReader>>) -> Self {
        self.reader = reader;
        self
    }

    fn event(&mut self, mut event: TestEvent) -> Result<()> {
        if let TestEvent::TestFinished(test) = &mut event {
            (self.mark)(&self.name, test);
        }
        self.tally.push(&event);
        self.outlet.send(RunEventKind::Test(event))
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.output.write_all(bytes);
        written.with_context(|| format!("cannot write {}", self.output_log.display()))
    }

    /// Ends a run in a VM; the second value is that of the tests after a crash.
    pub fn finish_vm(mut self, run: &VmRun) -> Result<(RunRecord, Option<RunRecord>)> {
        let Some(crash) = &run.crash else {
            return Ok((self.finish_phase(run, &run.main, run.dump.as_ref())?, None));
        };
        if self.before.is_none() {
            // It did not come to the crash.
            self.crashing()?;
        }
        let before = self.before.take().context("there is no crash to come")?;
        let main = before.finish_phase(run, &run.main, None)?;
        let crash = self.finish_phase(run, crash, run.dump.as_ref())?;
        Ok((main, Some(crash)))
    }

    fn finish_phase(
        mut self,
        run: &VmRun,
        phase: &PhaseRun,
        dump: Option<&PathBuf>,
    ) -> Result<RunRecord> {
        let boot = phase.boot.or(self.boot);
        let acceleration = Some(run.accel.name().to_owned());
        let mut logs = vec![("console".to_owned(), run.console_log.clone())];
        logs.extend(dump.map(|dump| ("dump".to_owned(), dump.clone())));
        let evidence = Evidence {
            trouble: phase.trouble.clone(),
            console_tail: phase.console_tail.clone(),
            logs,
            cores: run.cores.clone(),
            ..Evidence::default()
        };
        let died = match phase.outcome {
            VmOutcome::Exited(status) => self.finish_output(status)?,
            _ => None,
        };
        self.finish(
            |tally| died.unwrap_or_else(|| vm_outcome(tally, &phase.outcome)),
            (boot, phase.spans, phase.total),
            acceleration,
            evidence,
        )
    }

    /// Ends a run on this host, whose process ended with `status` (128+N for signal N).
    pub fn finish_local(self, status: u8) -> Result<RunRecord> {
        let total = self.begin.elapsed();
        self.finish(
            |tally| tally.outcome(status),
            (None, None, total),
            None,
            Evidence::default(),
        )
    }

    /// Ends the output of a command that ended with `status`; an outcome if that is decided
    /// without the status.
    fn finish_output(&mut self, status: u8) -> Result<Option<RunOutcome>> {
        let Some(mut reader) = self.reader.take() else {
            return Ok(None);
        };
        match reader.finish(status) {
            Err(how) => {
                let running = self.tally.running.clone();
                return Ok(Some(RunOutcome::RunnerDied { how, running }));
            }
            Ok(events) => self.take(events)?,
        }
        // Frameworks say in their own ways that tests failed; a signal is not one of them.
        let failed = self.tally.counts.bad() > 0 && (1..128).contains(&status);
        Ok(failed.then(|| self.tally.outcome(1)))
    }

    fn take(&mut self, events: Vec<TestEvent>) -> Result<()> {
        events.into_iter().try_for_each(|event| self.event(event))
    }

    fn finish(
        mut self,
        outcome: impl FnOnce(&Tally) -> RunOutcome,
        (boot, spans, total): (Option<Duration>, Option<BootSpans>, Duration),
        acceleration: Option<String>,
        mut evidence: Evidence,
    ) -> Result<RunRecord> {
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
        Ok(RunRecord {
            name: self.name,
            retries: Vec::new(),
            outcome: outcome(&self.tally),
            seconds: Phases {
                prepare: None,
                boot: boot.map(|boot| boot.as_secs_f64()),
                kernel: spans.map(|spans| spans.kernel.as_secs_f64()),
                initramfs: spans.and_then(|spans| Some(spans.initramfs?.as_secs_f64())),
                init: spans.map(|spans| spans.init.as_secs_f64()),
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
    fn started(&mut self) -> Result<()> {
        self.boot = Some(self.begin.elapsed());
        self.outlet.send(RunEventKind::CommandStarted)
    }

    fn crashing(&mut self) -> Result<()> {
        let Some((name, log)) = self.crash.take() else {
            return Ok(());
        };
        let outlet = self.outlet.after_crash();
        let after = Self::new(&name, outlet, self.mark, log, None)?;
        let before = std::mem::replace(self, after);
        self.before = Some(Box::new(before));
        self.outlet.send(RunEventKind::Started(name))
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        self.output(bytes)?;
        let events = self.reader.as_mut().map(|reader| reader.push(bytes));
        self.take(events.unwrap_or_default())
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        self.output(bytes)
    }

    fn events(&mut self, bytes: &[u8]) -> Result<()> {
        // Of two tellers one is enough.
        match self.reader {
            None => {
                let events = self.parser.push(bytes);
                self.take(events)
            }
            Some(_) => Ok(()),
        }
    }

    fn tick(&mut self) -> Result<Option<(u16, u16)>> {
        self.outlet.check()?;
        Ok(None)
    }
}
