//! The only printer of test results. What it is told are events; what it writes
//! is text for a person.
//!
//! Results go to a [`Write`] (standard output), so that they can be piped.
//! The live view is not a result: it is lines of the [`Ui`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::base::ui::{Task, Ui, Verbosity};
use crate::base::{color::Paint, shown};
use crate::model::results::RunName;
use crate::model::run_event::{Observer, RunEvent, RunEventKind, SessionEnd, SessionPlan};
use crate::model::test_event::{RunOutcome, TestEvent};
use crate::report::text::{self, failure_line, run_line, test_line};
use crate::report::{formats::Look, github, matrix::TestVerdict, totals::TestTotals};

/// What is to be shown of a session, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    pub plan: SessionPlan,
    /// The colours of results.
    pub paint: Paint,
    /// Standard output is the log of a job of GitHub Actions.
    pub github: bool,
}

/// Writes results for a person.
pub struct Reporter<W> {
    out: W,
    verbosity: Verbosity,
    ui: Option<Ui>,
    outlook: Outlook,
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
            TestEvent::RunFinished { .. } | TestEvent::Garbage { .. } => {}
        }
    }
}

impl<W: Write> Reporter<W> {
    /// Results go to `out`; the live view goes to `ui`.
    pub fn new(out: W, verbosity: Verbosity, ui: Option<Ui>, outlook: Outlook) -> Self {
        let total = (ui.as_ref())
            .filter(|ui| ui.terminal() && outlook.plan.runs > 1)
            .map(|ui| ui.task(""));
        let ended = vec![false; outlook.plan.runs];
        let mut reporter = Self {
            out,
            verbosity,
            ui,
            outlook,
            begin: Instant::now(),
            rows: BTreeMap::new(),
            total,
            done: 0,
            bad: 0,
            ended,
        };
        reporter.update_total();
        reporter
    }

    /// Writes what is to be said when all runs have ended.
    pub fn finish(&mut self, end: &SessionEnd) -> Result<()> {
        self.total = None;
        let look = Look {
            folder: self.outlook.plan.folder.clone(),
            paint: self.outlook.paint,
            skips: self.verbosity >= Verbosity::Verbose,
            in_job: self.outlook.github,
        };
        let records = end.records.iter().collect::<Vec<_>>();
        let mut text = text::session(&records, end.not_started, &end.results, &look);
        if self.outlook.github {
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

    /// The text for an event, often none.
    fn text(&mut self, event: &RunEvent) -> String {
        let RunEvent { run, shard, kind } = event;
        match kind {
            RunEventKind::Preparing(name) => self.row(*run, name, "preparing"),
            RunEventKind::Started(name) => self.row(*run, name, "booting"),
            RunEventKind::CommandStarted => {
                if let Some(row) = self.rows.get_mut(run) {
                    row.phase = "looking for tests";
                    row.update();
                }
            }
            RunEventKind::Test(event) => {
                let many = self.outlook.plan.runs > 1;
                let Some(row) = self.rows.get_mut(run) else {
                    return String::new();
                };
                row.phase = "testing";
                row.counts.entry(*shard).or_default().push(event);
                row.update();
                if let TestEvent::TestFinished(test) = event {
                    return match self.verbosity {
                        Verbosity::Verbose => {
                            test_line(test, many.then_some(&row.name), self.outlook.paint)
                        }
                        // The details come at the end; here it is seen that there are some.
                        Verbosity::Normal if test.is_bad() => {
                            failure_line(test, &row.name, self.outlook.paint)
                        }
                        _ => String::new(),
                    };
                }
            }
            RunEventKind::Retried(outcome) => {
                let Some(row) = self.rows.get_mut(run) else {
                    return String::new();
                };
                row.phase = "booting again";
                row.counts.remove(shard);
                row.update();
                if self.verbosity >= Verbosity::Normal {
                    let mut line = format!("{}: {}", row.name, outcome.name());
                    if let Some(detail) = outcome.detail() {
                        let _ = write!(line, ": {}", detail.lines().next().unwrap_or_default());
                    }
                    return shown::line(&line) + "; trying again\n";
                }
            }
            RunEventKind::Finished(record) => {
                self.rows.remove(run);
                // What comes after a crash is a part of its kernel's run.
                self.done += usize::from(record.name.phase.is_none());
                self.bad += usize::from(record.outcome != RunOutcome::Passed);
                if let Some(ended) = self.ended.get_mut(*run) {
                    *ended = true;
                }
                self.update_total();
                if self.verbosity >= Verbosity::Normal || record.outcome != RunOutcome::Passed {
                    return run_line(record, self.outlook.paint) + "\n";
                }
            }
        }
        String::new()
    }

    /// Shows a run, or under which name and in which phase it goes on.
    fn row(&mut self, run: usize, name: &RunName, phase: &'static str) {
        let of = self.outlook.plan.runs;
        let many = of > 1;
        // Several are told apart by their kernels; one may say what is being done.
        let message = match (name.arch.is_empty(), phase) {
            (true, _) => format!("running the {} tests", name.kernel),
            (false, _) if many => name.title(),
            (false, _) => match name.phase {
                None => format!("testing on Linux {} ({})", name.kernel, name.arch),
                Some(_) => format!("testing after the crash of Linux {}", name.kernel),
            },
        };
        // What is local already is prepared in no time; fetching and building have
        // lines of their own.
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

    fn update_total(&mut self) {
        let text = self.total_text();
        if let Some(total) = &mut self.total {
            total.rename(text);
        }
    }

    /// `3 of 40 kernels done, 1 not passed, about 12 min left`
    fn total_text(&self) -> String {
        let mut text = format!("{} of {} runs done", self.done, self.outlook.plan.runs);
        if self.bad > 0 {
            let _ = write!(text, ", {} not passed", self.bad);
        }
        if let Some(left) = self.left() {
            let _ = write!(text, ", about {} left", minutes(left));
        }
        text
    }

    /// How long it will still take, in seconds, if that can be said: what is known of
    /// all runs that have not ended, shared among the VMs.
    fn left(&self) -> Option<f64> {
        let mut sum = 0.0;
        let mut longest = 0.0_f64;
        for (seconds, ended) in self.outlook.plan.seconds.iter().zip(&self.ended) {
            if !ended {
                let seconds = (*seconds)?;
                sum += seconds;
                longest = longest.max(seconds);
            }
        }
        if self.outlook.plan.seconds.is_empty() || sum == 0.0 {
            return None;
        }
        let all: f64 = self.outlook.plan.seconds.iter().flatten().sum();
        let jobs = self.outlook.plan.jobs.max(1) as f64;
        // Of those that run, a part is done; the clock knows which.
        let spent = self.begin.elapsed().as_secs_f64();
        let by_clock = (all / jobs).max(longest) - spent;
        Some(by_clock.clamp(0.0, (sum / jobs).max(longest)))
    }
}

impl<W: Write> Observer for Reporter<W> {
    fn event(&mut self, event: &RunEvent) -> Result<()> {
        let mut text = self.text(event);
        if text.is_empty() {
            return Ok(());
        }
        if self.outlook.github {
            text = github::harmless(&text);
        }
        self.write(&text).context("cannot write the results")
    }
}

/// Folds each block that begins with `===` and ends with an empty line before the next
/// one, or before the table.
fn grouped(text: &str) -> String {
    let (blocks, table) = match text.rfind("\nkernel ") {
        Some(at) => text.split_at(at + 1),
        None => (text, ""),
    };
    let mut parts = blocks.split("\n=== ");
    let mut all = parts.next().unwrap_or_default().trim().to_owned();
    for part in parts {
        let (title, rest) = part.split_once('\n').unwrap_or((part, ""));
        all.push_str(&github::group(title));
        all.push_str(rest.trim_end());
        all.push('\n');
        all.push_str(github::END_GROUP);
    }
    all + table
}

impl LiveRow {
    fn update(&mut self) {
        if let Some(live) = &mut self.live {
            let text = match self.counts.is_empty() {
                true => self.phase.to_owned(),
                false => progress(self.counts.values()),
            };
            live.update(text);
        }
    }
}

/// `123 of 922, 1 failed, 4 skipped`, and what is running.
fn progress<'p>(parts: impl Iterator<Item = &'p Progress>) -> String {
    let mut all = Progress::default();
    let mut running = Vec::new();
    for part in parts {
        all.tests = match (all.tests, part.tests) {
            (Some(some), Some(more)) => Some(some.saturating_add(more)),
            (some, more) => some.or(more),
        };
        all.totals = all.totals.plus(part.totals);
        running.extend(&part.running);
    }
    let mut text = all.totals.run.to_string();
    if let Some(tests) = all.tests {
        let _ = write!(text, " of {tests}");
    }
    // What is expected is no news while it goes on.
    for name in ["failed", "unexpected successes", "skipped"] {
        if let Some((_, words)) = all.totals.counted().find(|(other, _)| *other == name) {
            let _ = write!(text, ", {words}");
        }
    }
    for (number, running) in running.iter().enumerate() {
        // The end of a dotted name tells most; the line must fit a terminal.
        let parts = running.rsplit('.').take(2).collect::<Vec<_>>();
        let short = parts.into_iter().rev().collect::<Vec<_>>().join(".");
        let before = if number == 0 { ": " } else { ", " };
        let _ = write!(text, "{before}{}", shown::line(&short));
    }
    text
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
