//! Prints results as they arrive, for a person. They go to a [`Write`] (standard output), so
//! that they can be piped; the live view is lines of the [`Ui`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::base::shown;
use crate::base::ui::{Task, Ui, Verbosity};
use crate::model::results::RunName;
use crate::model::run_event::{Observer, RunEvent, RunEventKind, SessionEnd, SessionPlan};
use crate::model::test_event::{RunOutcome, TestEvent};
use crate::report::matrix::{TestVerdict, end_details};
use crate::report::text::{self, failure_line, run_line, test_line};
use crate::report::{formats::ReportLook, github, totals::TestTotals};

/// Writes results for a person.
pub struct Reporter<W> {
    out: W,
    verbosity: Verbosity,
    ui: Option<Ui>,
    plan: SessionPlan,
    look: ReportLook,
    begin: Instant,
    /// The runs that are going on, by their place in the session.
    rows: BTreeMap<usize, LiveRow>,
    total: Option<Task>,
    done: usize,
    bad: usize,
    ended: Vec<bool>,
}

/// A run that is going on.
struct LiveRow {
    name: RunName,
    phase: &'static str,
    /// Of each of its VMs.
    counts: BTreeMap<u32, Progress>,
    live: Option<Task>,
}

impl LiveRow {
    fn update(&mut self) {
        if let Some(live) = &mut self.live {
            live.update(match self.counts.is_empty() {
                true => self.phase.to_owned(),
                false => progress(self.counts.values()),
            });
        }
    }
}

/// How far a VM is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    tests: Option<u64>,
    totals: TestTotals,
    running: Option<String>,
}

impl Progress {
    fn push(&mut self, event: &TestEvent) {
        match event {
            TestEvent::RunStarted { tests, .. } => {
                self.tests = Some(self.tests.unwrap_or(0).saturating_add(*tests));
            }
            TestEvent::TestStarted { id } => self.running = Some(id.clone()),
            TestEvent::TestFinished(test) => {
                self.running = None;
                self.totals.add(TestVerdict::of(test));
            }
            TestEvent::RunnerDied(_) => self.running = None,
            TestEvent::RunFinished { .. }
            | TestEvent::KernelComplained(_)
            | TestEvent::Garbage { .. } => {}
        }
    }
}

impl<W: Write> Reporter<W> {
    /// Results go to `out`; the live view goes to `ui`.
    pub fn new(
        out: W,
        verbosity: Verbosity,
        ui: Option<Ui>,
        plan: SessionPlan,
        look: ReportLook,
    ) -> Self {
        let runs = plan.runs;
        let terminal = ui.as_ref().filter(|ui| ui.terminal() && runs > 1);
        let mut reporter = Self {
            total: terminal.map(|ui| ui.task("")),
            ended: vec![false; runs],
            out,
            verbosity,
            ui,
            plan,
            look,
            begin: Instant::now(),
            rows: BTreeMap::new(),
            done: 0,
            bad: 0,
        };
        reporter.update_total();
        reporter
    }

    /// Writes what is to be said when all runs have ended.
    pub fn finish(&mut self, end: &SessionEnd) -> Result<()> {
        self.total = None;
        let records = end.records.iter().collect::<Vec<_>>();
        let mut text = text::session(&records, end.not_started, &end.results, &self.look);
        if self.look.in_job {
            text = grouped(&github::harmless(&text));
        }
        self.write(&text).context("cannot write the results")
    }

    /// Writes text as it is, above the live view.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        let out = &mut self.out;
        let mut result = Ok(());
        let mut write = || result = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        match &self.ui {
            Some(ui) => ui.passthrough(write),
            None => write(),
        }
        result
    }

    /// The text for an event, if there is any.
    fn text(&mut self, event: &RunEvent) -> Option<String> {
        let RunEvent { run, shard, kind } = event;
        let (paint, verbosity) = (self.look.paint, self.verbosity);
        match kind {
            RunEventKind::Preparing(name) => self.row(*run, name, "preparing"),
            RunEventKind::Started(name) => self.row(*run, name, "booting"),
            RunEventKind::CommandStarted => {
                let row = self.rows.get_mut(run)?;
                row.phase = "looking for tests";
                row.update();
            }
            RunEventKind::Test(event) => {
                let row = self.rows.get_mut(run)?;
                row.phase = "testing";
                row.counts.entry(*shard).or_default().push(event);
                row.update();
                if let TestEvent::TestFinished(test) = event {
                    if verbosity >= Verbosity::Verbose {
                        let several = self.plan.several_arches;
                        let name = (self.plan.runs > 1).then(|| row.name.among(several));
                        return Some(test_line(test, name, paint));
                    }
                    // The details come at the end; here it is seen that there are some.
                    if verbosity >= Verbosity::Normal && test.is_bad() {
                        return Some(failure_line(test, &row.name, paint));
                    }
                }
            }
            RunEventKind::Retried(outcome) => {
                let row = self.rows.get_mut(run)?;
                row.phase = "booting again";
                row.counts.remove(shard);
                row.update();
                if verbosity >= Verbosity::Normal {
                    let end = outcome.name().to_owned() + &end_details(outcome);
                    let line = shown::line(&format!("{}: {end}", row.name));
                    return Some(line + "; trying again\n");
                }
            }
            RunEventKind::Finished(record) => {
                let is_bad = record.outcome != RunOutcome::Passed;
                self.rows.remove(run);
                // What comes after a crash is a part of its kernel's run.
                self.done += usize::from(record.name.phase.is_none());
                self.bad += usize::from(is_bad);
                if let Some(ended) = self.ended.get_mut(*run) {
                    *ended = true;
                }
                self.update_total();
                if verbosity >= Verbosity::Normal || is_bad {
                    return Some(run_line(record, paint) + "\n");
                }
            }
        }
        None
    }

    /// Shows a run, or under which name and in which phase it goes on.
    fn row(&mut self, run: usize, name: &RunName, phase: &'static str) {
        // Several are told apart by their kernels; one may say what is being done.
        let message = match &name.phase {
            _ if name.arch.is_empty() => format!("running the {} tests", name.kernel),
            _ if self.plan.runs > 1 => name.among(self.plan.several_arches),
            None => format!("testing on Linux {} ({})", name.kernel, name.arch),
            Some(_) => format!("testing after the crash of Linux {}", name.kernel),
        };
        // Fetching and building have lines of their own.
        let ui = self.ui.as_ref().filter(|_| phase != "preparing");
        let mut row = LiveRow {
            name: name.clone(),
            phase,
            counts: BTreeMap::new(),
            live: ui.map(|ui| ui.task_above(self.total.as_ref(), message)),
        };
        row.update();
        // A row that was there goes only now, so that the others do not jump.
        self.rows.insert(run, row);
        self.update_total();
    }

    /// `3 of 40 runs done, 1 not passed, about 12 min left`
    fn update_total(&mut self) {
        let mut text = format!("{} of {} runs done", self.done, self.plan.runs);
        if self.bad > 0 {
            let _ = write!(text, ", {} not passed", self.bad);
        }
        if let Some(left) = self.left() {
            let _ = write!(text, ", about {} left", minutes(left));
        }
        if let Some(total) = &mut self.total {
            total.rename(text);
        }
    }

    /// The seconds that are left, if they are known of all runs that have not ended.
    fn left(&self) -> Option<f64> {
        let plan = &self.plan;
        let left = plan.seconds.iter().zip(&self.ended);
        let left = left.filter(|(_, ended)| !**ended);
        let left = left.map(|(seconds, _)| *seconds);
        let left = left.collect::<Option<Vec<_>>>()?;
        let sum: f64 = left.iter().sum();
        if sum == 0.0 {
            return None;
        }
        let longest = left.into_iter().fold(0.0, f64::max);
        let all: f64 = plan.seconds.iter().flatten().sum();
        let jobs = plan.jobs.max(1) as f64;
        // Of those that run, a part is done; the clock knows which.
        let spent = self.begin.elapsed().as_secs_f64();
        let by_clock = (all / jobs).max(longest) - spent;
        Some(by_clock.clamp(0.0, (sum / jobs).max(longest)))
    }
}

impl<W: Write> Observer for Reporter<W> {
    fn event(&mut self, event: &RunEvent) -> Result<()> {
        let Some(text) = self.text(event) else {
            return Ok(());
        };
        let text = self.look.printed(text);
        self.write(&text).context("cannot write the results")
    }
}

/// Folds each block that begins with `===` and ends with an empty line before the next
/// one, or before the table.
fn grouped(text: &str) -> String {
    let table = text.rfind("\nkernel ").map_or(text.len(), |at| at + 1);
    let (blocks, table) = text.split_at(table);
    let mut parts = blocks.split("\n=== ");
    let mut all = parts.next().unwrap_or_default().trim().to_owned();
    for part in parts {
        let (title, rest) = part.split_once('\n').unwrap_or((part, ""));
        all += &github::group(title, rest.trim_end());
    }
    all + table
}

/// `123 of 922, 1 failed, 4 skipped`, and what is running.
fn progress<'p>(parts: impl Iterator<Item = &'p Progress>) -> String {
    let mut tests = None::<u64>;
    let mut totals = TestTotals::default();
    let mut running = Vec::new();
    for part in parts {
        if let Some(more) = part.tests {
            tests = Some(tests.unwrap_or(0).saturating_add(more));
        }
        totals = totals.plus(part.totals);
        running.extend(&part.running);
    }
    let mut text = totals.run.to_string();
    if let Some(tests) = tests {
        let _ = write!(text, " of {tests}");
    }
    // What is expected is no news while it goes on.
    for name in ["failed", "unexpected successes", "skipped"] {
        if let Some((_, words)) = totals.counted().find(|(other, _)| *other == name) {
            let _ = write!(text, ", {words}");
        }
    }
    // The end of a dotted name tells most; the line must fit a terminal.
    let short = running.iter().map(|name| {
        let dots = name.rmatch_indices('.');
        let start = dots.map(|(dot, _)| dot + 1).nth(1).unwrap_or(0);
        shown::line(&name[start..])
    });
    match short.collect::<Vec<_>>().join(", ") {
        short if short.is_empty() => text,
        short => format!("{text}: {short}"),
    }
}

/// Seconds as people say them: `40 s`, `12 min`, `3 h 5 min`.
fn minutes(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds @ 100..6_000 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests;
