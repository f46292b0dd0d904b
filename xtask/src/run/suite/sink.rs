//! Takes what one VM sends: to the log of its output, and as events to the collector.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::vm_outcome;
use crate::base::{bounded_log::BoundedLog, process::tail_of_log};
use crate::model::complaint::{Complaint, STALL};
use crate::model::expectation::Ledger;
use crate::model::results::{Evidence, Phases, RunName, RunRecord};
use crate::model::run_event::{RunEvent, RunEventKind};
use crate::model::test_event::{EventParser, RunOutcome, Tally, TestEvent};
use crate::run::framework::OutputReader;
use crate::vm::{Accel, BootSpans, PhaseRun, VmOutcome, VmRun, VmSink};

/// Why a stall makes no run fail where the processors are emulated.
const FALSE_ALARM: &str = "a false alarm on a busy host: the processors were emulated";

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

/// What a project says of tests and complaints.
#[derive(Clone, Copy)]
pub struct Judge<'s> {
    pub ledger: &'s Ledger,
    pub filtered: bool,
    pub fail_on_stalls: bool,
}

pub struct SuiteSink<'s> {
    name: RunName,
    pub(super) outlet: Outlet<'s>,
    judge: Judge<'s>,
    output: BoundedLog,
    pub(super) output_log: PathBuf,
    parser: EventParser,
    /// Makes events of the output, in place of the parser.
    reader: Option<Box<dyn OutputReader>>,
    tally: Tally,
    /// Of each complaint so far, whether the tests had begun, and the one that ran.
    complained: Vec<(bool, Option<String>)>,
    begin: Instant,
    pub(super) boot: Option<Duration>,
    /// The run of the tests after a crash and the log of their output, until they come.
    crash: Option<(RunName, PathBuf)>,
    before: Option<Box<Self>>,
}

impl<'s> SuiteSink<'s> {
    /// A sink for one VM; the log gets what the tests print; of those after a crash it is
    /// another log.
    pub fn new(
        name: &RunName,
        outlet: Outlet<'s>,
        judge: Judge<'s>,
        output_log: PathBuf,
        crash: Option<(&RunName, PathBuf)>,
    ) -> Result<Self> {
        let output = BoundedLog::create(&output_log)
            .with_context(|| format!("cannot create {}", output_log.display()))?;
        Ok(Self {
            name: name.clone(),
            outlet,
            judge,
            output,
            output_log,
            parser: EventParser::default(),
            reader: None,
            tally: Tally::default(),
            complained: Vec::new(),
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
            let Judge {
                ledger, filtered, ..
            } = self.judge;
            ledger.mark(test, &self.name, filtered);
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
        for (complaint, ran) in self.attributed(&phase.complaints) {
            let complaint = self.judged(complaint, ran, run.accel);
            self.event(TestEvent::KernelComplained(complaint))?;
        }
        self.finish(
            |tally| {
                let outcome = died.unwrap_or_else(|| vm_outcome(tally, &phase.outcome));
                tally.with_complaints(outcome)
            },
            (boot, phase.spans, phase.total),
            acceleration,
            evidence,
        )
    }

    /// The complaints, each with the test that ran at its moment: by the kernel's time of the
    /// tests' ends, else by what was known when it came.
    fn attributed<'c>(&self, complaints: &'c [Complaint]) -> Vec<(&'c Complaint, Option<String>)> {
        let tests = &self.tally.finished_tests;
        let times = tests
            .iter()
            .filter_map(|test| Some((test.kernel_time?, test)));
        let times = times.collect::<Vec<_>>();
        // One that was still open at the end is the last one, and came last.
        let last = (self.tally.tests.is_some(), self.tally.running.clone());
        let seen = self
            .complained
            .iter()
            .cloned()
            .chain(std::iter::repeat(last));
        let ran = |(complaint, (begun, running)): (&'c Complaint, (bool, Option<String>))| {
            let by_time = complaint.time.filter(|_| begun).and_then(|time| {
                let at = times.partition_point(|(end, _)| *end < time);
                Some(times.get(at)?.1.id.clone())
            });
            (complaint, by_time.or(running))
        };
        complaints.iter().zip(seen).map(ran).collect()
    }

    fn judged(&self, complaint: &Complaint, test: Option<String>, accel: Accel) -> Complaint {
        let mut complaint = Complaint {
            test,
            ..complaint.clone()
        };
        self.judge.ledger.allow(&mut complaint, &self.name);
        let false_alarm = complaint.kind == STALL && accel == Accel::Tcg;
        if complaint.allowed.is_none() && false_alarm && !self.judge.fail_on_stalls {
            complaint.allowed = Some(FALSE_ALARM.to_owned());
        }
        complaint
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
        let (events, end) = reader.finish(status);
        self.take(events)?;
        if let Err(how) = end {
            let running = self.tally.running.clone();
            return Ok(Some(RunOutcome::RunnerDied { how, running }));
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
            root: None,
        })
    }
}

impl VmSink for SuiteSink<'_> {
    fn complained(&mut self) -> Result<()> {
        let Tally { tests, running, .. } = &self.tally;
        self.complained.push((tests.is_some(), running.clone()));
        Ok(())
    }

    fn started(&mut self) -> Result<()> {
        self.boot = Some(self.begin.elapsed());
        self.outlet.send(RunEventKind::CommandStarted)
    }

    fn crashing(&mut self) -> Result<()> {
        let Some((name, log)) = self.crash.take() else {
            return Ok(());
        };
        let outlet = self.outlet.after_crash();
        let after = Self::new(&name, outlet, self.judge, log, None)?;
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
