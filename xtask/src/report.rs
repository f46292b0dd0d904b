//! The only printer of test results. What it is told are events; what it writes
//! is text for a person.
//!
//! Results go to a [`Write`] (standard output), so that they can be piped.
//! The live count is not a result: it is a line of the [`Ui`].

pub mod github;
pub mod junit;
pub mod markdown;
pub mod matrix;
pub mod merge;
#[cfg(test)]
mod samples;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::{FinishedTest, RunOutcome, Tally, TestEvent, TestOutcome};
use crate::paint::Paint;
use crate::results::{RunName, RunRecord};
use crate::session::{Message, What};
use crate::ui::{Task, Ui, Verbosity};

/// What the reporter is told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// Something happened to a run.
    Run(&'e Message),
    /// All runs have ended; so many were not started because one had failed.
    Finished {
        /// The runs.
        records: &'e [RunRecord],
        /// The others.
        not_started: usize,
        /// What is wrong with the session as a whole.
        findings: &'e [String],
    },
}

/// What is to be done in a session, as far as it is known before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// How many runs there are.
    pub runs: usize,
    /// How long each will take, in seconds, if that is known.
    pub seconds: Vec<Option<f64>>,
    /// VMs at a time.
    pub jobs: usize,
    /// The folder with the logs.
    pub folder: PathBuf,
    /// The colours of results.
    pub paint: Paint,
}

/// Writes results for a person.
pub struct Reporter<W> {
    out: W,
    verbosity: Verbosity,
    ui: Option<Ui>,
    outlook: Outlook,
    begin: Instant,
    /// The runs that are going on, by their place in the session.
    rows: BTreeMap<usize, Row>,
    total: Option<Task>,
    done: usize,
    bad: usize,
    ended: Vec<bool>,
}

/// A run that is going on.
struct Row {
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
    finished: u64,
    bad: u64,
    skipped: u64,
    running: Option<String>,
}

impl Progress {
    fn push(&mut self, event: &TestEvent) {
        match event {
            TestEvent::RunStarted { tests } => {
                self.tests = Some(self.tests.unwrap_or(0).saturating_add(*tests));
            }
            TestEvent::TestStarted { id } => self.running = Some(id.clone()),
            TestEvent::TestFinished(test) => {
                self.running = None;
                self.finished += 1;
                self.bad += u64::from(test.is_bad());
                self.skipped += u64::from(test.outcome == TestOutcome::Skipped);
            }
            TestEvent::RunFinished { .. } | TestEvent::Garbage { .. } => {}
        }
    }
}

impl<W: Write> Reporter<W> {
    /// Results go to `out`; the live view goes to `ui`.
    pub fn new(out: W, verbosity: Verbosity, ui: Option<Ui>, outlook: Outlook) -> Self {
        let total = (ui.as_ref())
            .filter(|ui| ui.terminal() && outlook.runs > 1)
            .map(|ui| ui.task(""));
        let ended = vec![false; outlook.runs];
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

    /// Tells it what happened.
    ///
    /// # Errors
    ///
    /// If the results cannot be written.
    pub fn handle(&mut self, event: Event<'_>) -> io::Result<()> {
        let text = match event {
            Event::Run(message) => self.message(message),
            Event::Finished {
                records,
                not_started,
                findings,
            } => {
                self.total = None;
                self.conclusion(records, not_started, findings)
            }
        };
        if text.is_empty() {
            return Ok(());
        }
        let out = &mut self.out;
        let mut result = Ok(());
        let mut write = || result = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        match &self.ui {
            Some(ui) => ui.passthrough(write),
            None => write(),
        }
        result
    }

    fn message(&mut self, message: &Message) -> String {
        let Message { run, shard, what } = message;
        match what {
            What::Preparing(name) => self.row(*run, name, "preparing"),
            What::Started(name) => self.row(*run, name, "booting"),
            What::CommandStarted => {
                if let Some(row) = self.rows.get_mut(run) {
                    row.phase = "looking for tests";
                    row.update();
                }
            }
            What::Test(event) => {
                let many = self.outlook.runs > 1;
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
            What::Retried(outcome) => {
                let Some(row) = self.rows.get_mut(run) else {
                    return String::new();
                };
                row.phase = "booting again";
                row.counts.remove(shard);
                row.update();
                if self.verbosity >= Verbosity::Normal {
                    let mut line = format!("{}: {}", title(&row.name), outcome.name());
                    if let Some(detail) = outcome.detail() {
                        let _ = write!(line, ": {}", detail.lines().next().unwrap_or_default());
                    }
                    return printable(&line) + "; trying again\n";
                }
            }
            What::Finished(record) => {
                self.rows.remove(run);
                self.done += 1;
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
        let of = self.outlook.runs;
        let many = of > 1;
        // Several are told apart by their kernels; one may say what is being done.
        let message = match (name.arch.is_empty(), phase) {
            (true, _) => format!("running the {} tests", name.kernel),
            (false, _) if many => name.kernel.clone(),
            (false, _) => format!("testing on Linux {} ({})", name.kernel, name.arch),
        };
        // What is local already is prepared in no time; fetching and building have
        // lines of their own.
        let ui = self.ui.as_ref().filter(|_| phase != "preparing");
        let mut row = Row {
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
        let mut text = format!("{} of {} runs done", self.done, self.outlook.runs);
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
        for (seconds, ended) in self.outlook.seconds.iter().zip(&self.ended) {
            if !ended {
                let seconds = (*seconds)?;
                sum += seconds;
                longest = longest.max(seconds);
            }
        }
        if self.outlook.seconds.is_empty() || sum == 0.0 {
            return None;
        }
        let all: f64 = self.outlook.seconds.iter().flatten().sum();
        let jobs = self.outlook.jobs.max(1) as f64;
        // Of those that run, a part is done; the clock knows which.
        let spent = self.begin.elapsed().as_secs_f64();
        let by_clock = (all / jobs).max(longest) - spent;
        Some(by_clock.clamp(0.0, (sum / jobs).max(longest)))
    }

    /// All that went wrong, then one line per run.
    fn conclusion(&self, records: &[RunRecord], not_started: usize, findings: &[String]) -> String {
        let bad = records.iter().any(|r| r.outcome != RunOutcome::Passed)
            || not_started > 0
            || !findings.is_empty();
        let paint = self.outlook.paint;
        let mut text = conclusion(
            records,
            &self.outlook.folder,
            paint,
            self.verbosity >= Verbosity::Verbose,
        );
        if self.verbosity >= Verbosity::Normal || bad {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&summary(records, paint));
            if not_started > 0 {
                let runs = if not_started == 1 { "run" } else { "runs" };
                let _ = writeln!(text, "{not_started} {runs} not started (--fail-fast)");
            }
            for finding in findings {
                let _ = writeln!(text, "{}", paint.bad(&printable(finding)));
            }
        }
        text
    }
}

impl Row {
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

/// All that went wrong in these runs, whose logs are in `folder`; the skipped tests as
/// well, if wanted.
pub fn conclusion(records: &[RunRecord], folder: &Path, paint: Paint, with_skips: bool) -> String {
    let mut text = String::new();
    failures(&mut text, records, paint);
    for record in records {
        // Of many whose tests failed the logs are where all of them are.
        if record.outcome == RunOutcome::TestsFailed && records.len() > 1 {
            continue;
        }
        trouble(&mut text, record, folder, paint);
    }
    if with_skips {
        for record in records {
            skips(&mut text, record);
        }
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

/// `6.1.192-vmtest1.1default (x86_64): failed tests.test_x.A.b: AssertionError: …`
fn failure_line(test: &FinishedTest, name: &RunName, paint: Paint) -> String {
    let rest = format!("{}{}", test.id, first_reason(test));
    let title = printable(&title(name));
    format!(
        "{title}: {} {}\n",
        paint.bad(verdict(test)),
        printable(&rest)
    )
}

/// What is known about an outcome in one line, with a colon before it.
fn first_reason(test: &FinishedTest) -> String {
    match (test.outcome, &test.expected, &test.reason) {
        (TestOutcome::Passed, Some(expected), _) => {
            format!(
                ": listed as failing ({})",
                expected.lines().next().unwrap_or_default()
            )
        }
        (TestOutcome::Passed, None, _) | (_, _, None) => String::new(),
        (_, _, Some(reason)) => match reason.lines().next() {
            Some(line) => format!(": {line}"),
            None => String::new(),
        },
    }
}

/// `    passed   0.123 s  tests.test_x.TestX.test_y`
fn test_line(test: &FinishedTest, name: Option<&RunName>, paint: Paint) -> String {
    let mut line = format!(" {:>9.3} s  ", test.seconds);
    if let Some(name) = name {
        let _ = write!(line, "{}  ", name.kernel);
    }
    line.push_str(&test.id);
    line.push_str(&first_reason(test));
    let outcome = format!("{:>18}", test.outcome);
    let outcome = match (test.is_bad(), test.outcome) {
        (true, _) => paint.bad(&outcome),
        (false, TestOutcome::Passed) => paint.good(&outcome),
        (false, _) => paint.odd(&outcome),
    };
    format!("{outcome}{}\n", printable(&line))
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
        all.finished += part.finished;
        all.bad += part.bad;
        all.skipped += part.skipped;
        running.extend(&part.running);
    }
    let mut text = all.finished.to_string();
    if let Some(tests) = all.tests {
        let _ = write!(text, " of {tests}");
    }
    if all.bad > 0 {
        let _ = write!(text, ", {} failed", all.bad);
    }
    if all.skipped > 0 {
        let _ = write!(text, ", {} skipped", all.skipped);
    }
    for (number, running) in running.iter().enumerate() {
        // The end of a dotted name tells most; the line must fit a terminal.
        let parts = running.rsplit('.').take(2).collect::<Vec<_>>();
        let short = parts.into_iter().rev().collect::<Vec<_>>().join(".");
        let before = if number == 0 { ": " } else { ", " };
        let _ = write!(text, "{before}{}", printable(&short));
    }
    text
}

/// One run in one line.
fn run_line(record: &RunRecord, paint: Paint) -> String {
    let outcome = paint.outcome(&record.outcome, record.outcome.name());
    let title = printable(&title(&record.name));
    format!("{title}: {outcome}{}", printable(&run_details(record)))
}

fn run_details(record: &RunRecord) -> String {
    let mut line = String::new();
    if let Some(detail) = record.outcome.detail() {
        let first = detail.lines().next().unwrap_or_default();
        let _ = write!(line, ": {first}");
    }
    if matches!(record.outcome, RunOutcome::NotStarted { .. }) {
        return line;
    }
    if let Some(test) = record.outcome.running() {
        let _ = write!(line, ", while running {test}");
    }
    let counts = &record.tally.counts;
    let _ = write!(line, "; {} run", counts.finished());
    for outcome in TestOutcome::ALL {
        if outcome != TestOutcome::Passed && counts.get(outcome) > 0 {
            let _ = write!(line, ", {} {}", counts.get(outcome), plural(outcome));
        }
    }
    let unrun = not_run(&record.tally);
    if unrun > 0 {
        let _ = write!(line, ", {unrun} not run");
    }
    if let Some(total) = record.seconds.total {
        let _ = write!(line, "; {total:.1} s");
    }
    if let Some(boot) = record.seconds.boot {
        let _ = write!(line, " (boot {boot:.1} s)");
    }
    if let Some(acceleration) = &record.acceleration {
        let _ = write!(line, ", {acceleration}");
    }
    line
}

fn plural(outcome: TestOutcome) -> &'static str {
    match outcome {
        TestOutcome::Passed => "passed",
        TestOutcome::Failed => "failed",
        TestOutcome::Error => "errors",
        TestOutcome::Skipped => "skipped",
        TestOutcome::ExpectedFailure => "expected failures",
        TestOutcome::UnexpectedSuccess => "unexpected successes",
    }
}

fn title(name: &RunName) -> String {
    if name.arch.is_empty() {
        name.kernel.clone()
    } else {
        format!("{} ({})", name.kernel, name.arch)
    }
}

/// Tests that were loaded and never finished (`-f`, or a run cut short).
fn not_run(tally: &Tally) -> u64 {
    let tests = tally.tests.unwrap_or(0);
    tests.saturating_sub(tally.counts.finished())
}

/// Tests that failed, each once with its traceback, on whatever kernels it did.
fn failures(text: &mut String, records: &[RunRecord], paint: Paint) {
    let mut tests = Vec::<(&FinishedTest, Vec<(&RunRecord, &FinishedTest)>)>::new();
    let mut index = BTreeMap::<(&str, TestOutcome), usize>::new();
    for record in records {
        for test in record.tally.bad() {
            let at = *index.entry((&test.id, test.outcome)).or_insert_with(|| {
                tests.push((test, Vec::new()));
                tests.len() - 1
            });
            tests[at].1.push((record, test));
        }
    }
    for (test, on) in tests {
        let head = format!("{} {}", paint.bad(verdict(test)), printable(&test.id));
        match &on[..] {
            [(record, test)] => {
                let title = title(&record.name);
                let _ = writeln!(
                    text,
                    "\n=== {title}: {} ({:.3} s)",
                    printable(&head),
                    test.seconds
                );
            }
            _ => {
                let _ = writeln!(text, "\n=== on {} kernels: {head}", on.len());
                for (record, other) in &on {
                    let reason = first_reason(other);
                    let _ = writeln!(text, "{}{}", title(&record.name), printable(&reason));
                }
                let _ = writeln!(text, "--- on the first of them:");
            }
        }
        match (&test.expected, &test.traceback, &test.reason) {
            (Some(expected), _, _) => block(text, &format!("listed as failing: {expected}")),
            (None, Some(traceback), _) => block(text, traceback),
            (None, None, Some(reason)) => block(text, reason),
            (None, None, None) => {}
        }
    }
}

/// What is wrong with a bad test.
fn verdict(test: &FinishedTest) -> &'static str {
    match test.outcome {
        TestOutcome::Passed => "unexpectedly passed",
        outcome => outcome.name(),
    }
}

/// The last words of a run that was cut short, and where the logs are.
fn trouble(text: &mut String, record: &RunRecord, folder: &Path, paint: Paint) {
    let title = title(&record.name);
    match &record.outcome {
        RunOutcome::Passed | RunOutcome::TestsFailed => {}
        outcome => {
            let name = paint.outcome(outcome, outcome.name());
            let _ = write!(text, "\n=== {title}: {name}");
            if let Some(detail) = outcome.detail() {
                let _ = write!(text, ": {detail}");
            }
            text.push('\n');
            if let Some(test) = outcome.running() {
                let _ = writeln!(text, "running then: {test}");
            } else if let Some(test) = &record.tally.last {
                let _ = writeln!(text, "last test finished: {test}");
            }
            if record.tally.garbage > 0 {
                let _ = writeln!(
                    text,
                    "lines on the events port that are no events: {}",
                    record.tally.garbage
                );
            }
            tail(
                text,
                "end of the tests' output",
                &record.evidence.output_tail,
            );
            tail(text, "what the kernel said", &record.evidence.trouble);
            // A runner that died is no matter of the kernel, unless it was the
            // kernel that killed it: out of memory.
            tail(text, "end of the console", &record.evidence.console_tail);
        }
    }
    if record.outcome != RunOutcome::Passed {
        for (what, log) in &record.evidence.logs {
            let _ = writeln!(text, "{what}: {}", folder.join(log).display());
        }
    }
}

fn tail(text: &mut String, what: &str, lines: &str) {
    if !lines.trim().is_empty() {
        let _ = writeln!(text, "--- {what}:");
        block(text, lines);
        let _ = writeln!(text, "---");
    }
}

fn block(text: &mut String, lines: &str) {
    for line in lines.trim_end().lines() {
        text.push_str(&printable(line));
        text.push('\n');
    }
}

/// Why tests were skipped.
fn skips(text: &mut String, record: &RunRecord) {
    let skipped = record.tally.skipped();
    if skipped.is_empty() {
        return;
    }
    let _ = write!(text, "\n=== {}: skipped\n", title(&record.name));
    let mut reasons = skipped.iter().collect::<Vec<_>>();
    reasons.sort_by_key(|(reason, tests)| (usize::MAX - tests.len(), *reason));
    for (reason, tests) in reasons {
        let reason = if reason.is_empty() {
            "without a reason"
        } else {
            reason.lines().next().unwrap_or_default()
        };
        let _ = writeln!(text, "{:>5}  {}", tests.len(), printable(reason));
    }
}

/// More runs than this do not fit a screen with all that goes with them.
const ALL_ROWS: usize = 16;

/// A table with a line per run; of many, those that passed alike are one line.
/// Expected failures are among the passed, unexpected successes among the failed.
pub fn summary(records: &[RunRecord], paint: Paint) -> String {
    let mut rows = vec![
        [
            "kernel", "outcome", "run", "passed", "failed", "errors", "skipped", "time",
        ]
        .map(ToOwned::to_owned)
        .to_vec(),
    ];
    // What all of them have in common needs no column.
    let accelerations = records
        .iter()
        .filter_map(|record| record.acceleration.as_ref());
    let accelerations = accelerations.collect::<BTreeSet<_>>();
    if accelerations.len() > 1 {
        rows[0].push("acceleration".to_owned());
    }
    let architectures = records.iter().map(|record| record.name.arch.as_str());
    let one_arch = architectures.collect::<BTreeSet<_>>().len() == 1;
    let summary_row = |record| summary_row(record, one_arch);
    let fold = records.len() > ALL_ROWS;
    let folded = |record: &&RunRecord| fold && record.outcome == RunOutcome::Passed;
    for record in records.iter().filter(|record| !folded(record)) {
        rows.push(summary_row(record));
    }
    let mut alike = Vec::<(Vec<String>, Vec<&RunRecord>)>::new();
    for record in records.iter().filter(folded) {
        let row = summary_row(record);
        let key = [&row[1..7], &row[8..]].concat();
        match alike.iter_mut().find(|(other, _)| *other == key) {
            Some((_, all)) => all.push(record),
            None => alike.push((key, vec![record])),
        }
    }
    for (_, all) in alike {
        let (Some(first), Some(last)) = (all.first(), all.last()) else {
            continue;
        };
        let mut row = summary_row(first);
        if all.len() > 1 {
            let (first, last) = (short(&first.name), short(&last.name));
            row[0] = format!("{} kernels, {first} to {last}", all.len());
            let total: f64 = all.iter().filter_map(|record| record.seconds.total).sum();
            row[7] = format!("{total:.1} s");
        }
        rows.push(row);
    }
    let columns = rows[0].len();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Words to the left, numbers to the right.
            let cell = match column {
                0 | 1 | 8 => format!("{cell:<width$}  "),
                _ => format!("{cell:>width$}  "),
            };
            line.push_str(&match (number, column, row[1].as_str()) {
                (1.., 1, "passed") => paint.good(&cell),
                (1.., 1, "no tests ran") => paint.odd(&cell),
                (1.., 1, _) => paint.bad(&cell),
                _ => cell,
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if let [one] = accelerations.into_iter().collect::<Vec<_>>()[..] {
        let mut all = records.iter().map(|record| record.name.arch.as_str());
        let arch = all.find(|arch| one_arch && !arch.is_empty());
        let arch = arch.map_or_else(String::new, |arch| format!("{arch}, "));
        let _ = writeln!(text, "{arch}{one}");
    }
    text
}

fn summary_row(record: &RunRecord, one_arch: bool) -> Vec<String> {
    let tally = &record.tally;
    let title = match one_arch {
        true => record.name.kernel.clone(),
        false => title(&record.name),
    };
    let mut row = vec![printable(&title), record.outcome.name().to_owned()];
    if matches!(record.outcome, RunOutcome::NotStarted { .. }) {
        return row;
    }
    let (mut passed, mut failed, mut errors) = (0, 0, 0);
    for test in &tally.finished_tests {
        match (test.is_bad(), test.outcome) {
            (_, TestOutcome::Skipped) => {}
            (true, TestOutcome::Error) => errors += 1,
            (true, _) => failed += 1,
            (false, _) => passed += 1,
        }
    }
    row.extend([
        tally.counts.finished().to_string(),
        passed.to_string(),
        failed.to_string(),
        errors.to_string(),
        tally.counts.get(TestOutcome::Skipped).to_string(),
        (record.seconds.total).map_or_else(String::new, |total| format!("{total:.1} s")),
        record.acceleration.clone().unwrap_or_default(),
    ]);
    row
}

/// A kernel's name without what all of ours have.
fn short(name: &RunName) -> &str {
    let kernel = &name.kernel;
    kernel
        .split_once("-vmtest")
        .map_or(kernel, |(version, _)| version)
}

/// Text of a guest without what would move the cursor or change the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::event::{Counts, Stage};
    use crate::results::{Evidence, Phases};

    fn name(kernel: &str) -> RunName {
        RunName {
            kernel: kernel.to_owned(),
            arch: "x86_64".to_owned(),
            flavor: Some("default".to_owned()),
        }
    }

    fn finished(id: &str, outcome: TestOutcome, reason: Option<&str>) -> TestEvent {
        TestEvent::TestFinished(FinishedTest {
            id: id.to_owned(),
            outcome,
            seconds: 0.25,
            reason: reason.map(ToOwned::to_owned),
            traceback: outcome.is_bad().then(|| {
                "Traceback (most recent call last):\n  File \"x.py\"\nE: \x1b[31mred\n".to_owned()
            }),
            expected: None,
        })
    }

    fn events() -> Vec<TestEvent> {
        vec![
            TestEvent::RunStarted { tests: 5 },
            TestEvent::TestStarted {
                id: "t.A.good".to_owned(),
            },
            finished("t.A.good", TestOutcome::Passed, None),
            TestEvent::TestStarted {
                id: "t.A.bad".to_owned(),
            },
            finished(
                "t.A.bad",
                TestOutcome::Failed,
                Some("AssertionError: 1 != 2\nmore"),
            ),
            finished(
                "t.B.left",
                TestOutcome::Skipped,
                Some("not running in kdump"),
            ),
            finished(
                "t.B.out",
                TestOutcome::Skipped,
                Some("not running in kdump"),
            ),
            TestEvent::TestStarted {
                id: "t.C.odd".to_owned(),
            },
        ]
    }

    fn record(kernel: &str, events: &[TestEvent], outcome: RunOutcome) -> RunRecord {
        let mut tally = Tally::default();
        for event in events {
            tally.push(event);
        }
        RunRecord {
            name: name(kernel),
            outcome,
            tally,
            seconds: Phases {
                boot: Some(1.94),
                total: Some(98.76),
                ..Phases::default()
            },
            acceleration: Some("KVM".to_owned()),
            retries: Vec::new(),
            evidence: Evidence {
                output_tail: "last words\n".to_owned(),
                console_tail: "[ 1.0] Kernel panic - not syncing\n".to_owned(),
                logs: vec![
                    ("output".to_owned(), "output.log".into()),
                    ("console".to_owned(), "console.log".into()),
                ],
                ..Evidence::default()
            },
        }
    }

    fn check(verbosity: Verbosity, runs: &[(RunRecord, Vec<TestEvent>)], expect: Expect) {
        let mut out = Vec::new();
        let outlook = Outlook {
            runs: runs.len(),
            folder: "log/run".into(),
            ..Outlook::default()
        };
        let mut reporter = Reporter::new(&mut out, verbosity, None, outlook);
        for (run, (record, events)) in runs.iter().enumerate() {
            let mut tell = |what| {
                let message = Message {
                    run,
                    shard: 0,
                    what,
                };
                reporter.handle(Event::Run(&message)).unwrap();
            };
            tell(What::Started(record.name.clone()));
            tell(What::CommandStarted);
            for event in events {
                tell(What::Test(event.clone()));
            }
            tell(What::Finished(Box::new(record.clone())));
        }
        let records = runs.iter().map(|(r, _)| r.clone()).collect::<Vec<_>>();
        let finished = Event::Finished {
            records: &records,
            not_started: 0,
            findings: &[],
        };
        reporter.handle(finished).unwrap();
        expect.assert_eq(&String::from_utf8(out).unwrap());
    }

    fn mixed() -> Vec<(RunRecord, Vec<TestEvent>)> {
        let died = RunOutcome::RunnerDied {
            how: "ended by signal 11 (SIGSEGV) before the last test was done".to_owned(),
            running: Some("t.C.odd".to_owned()),
        };
        let unbuilt = RunRecord {
            outcome: RunOutcome::NotStarted {
                stage: Stage::Build,
                how: "no compiler".to_owned(),
            },
            tally: Tally::default(),
            seconds: Phases::default(),
            acceleration: None,
            evidence: Evidence::default(),
            ..record("5.4.*", &[], RunOutcome::NoTests)
        };
        let good = events()[..3].to_vec();
        vec![
            (
                record("6.1.192-vmtest1.1default", &events(), died),
                events(),
            ),
            (unbuilt, vec![]),
            (
                record("6.12.9-vmtest1.1default", &good, RunOutcome::Passed),
                good,
            ),
        ]
    }

    #[test]
    fn normal_output() {
        check(
            Verbosity::Normal,
            &mixed(),
            expect![[r#"
                6.1.192-vmtest1.1default (x86_64): failed t.A.bad: AssertionError: 1 != 2
                6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done, while running t.C.odd; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM
                5.4.* (x86_64): build failed: no compiler
                6.12.9-vmtest1.1default (x86_64): passed; 1 run, 4 not run; 98.8 s (boot 1.9 s), KVM

                === 6.1.192-vmtest1.1default (x86_64): failed t.A.bad (0.250 s)
                Traceback (most recent call last):
                  File "x.py"
                E: �[31mred

                === 6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done
                running then: t.C.odd
                --- end of the tests' output:
                last words
                ---
                --- end of the console:
                [ 1.0] Kernel panic - not syncing
                ---
                output: log/run/output.log
                console: log/run/console.log

                === 5.4.* (x86_64): build failed: no compiler

                kernel                    outcome       run  passed  failed  errors  skipped    time
                6.1.192-vmtest1.1default  runner died     4       1       1       0        2  98.8 s
                5.4.*                     build failed
                6.12.9-vmtest1.1default   passed          1       1       0       0        0  98.8 s
                x86_64, KVM
            "#]],
        );
    }

    #[test]
    fn verbose_output() {
        check(
            Verbosity::Verbose,
            &mixed(),
            expect![[r#"
                            passed     0.250 s  6.1.192-vmtest1.1default  t.A.good
                            failed     0.250 s  6.1.192-vmtest1.1default  t.A.bad: AssertionError: 1 != 2
                           skipped     0.250 s  6.1.192-vmtest1.1default  t.B.left: not running in kdump
                           skipped     0.250 s  6.1.192-vmtest1.1default  t.B.out: not running in kdump
                6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done, while running t.C.odd; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM
                5.4.* (x86_64): build failed: no compiler
                            passed     0.250 s  6.12.9-vmtest1.1default  t.A.good
                6.12.9-vmtest1.1default (x86_64): passed; 1 run, 4 not run; 98.8 s (boot 1.9 s), KVM

                === 6.1.192-vmtest1.1default (x86_64): failed t.A.bad (0.250 s)
                Traceback (most recent call last):
                  File "x.py"
                E: �[31mred

                === 6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done
                running then: t.C.odd
                --- end of the tests' output:
                last words
                ---
                --- end of the console:
                [ 1.0] Kernel panic - not syncing
                ---
                output: log/run/output.log
                console: log/run/console.log

                === 5.4.* (x86_64): build failed: no compiler

                === 6.1.192-vmtest1.1default (x86_64): skipped
                    2  not running in kdump

                kernel                    outcome       run  passed  failed  errors  skipped    time
                6.1.192-vmtest1.1default  runner died     4       1       1       0        2  98.8 s
                5.4.*                     build failed
                6.12.9-vmtest1.1default   passed          1       1       0       0        0  98.8 s
                x86_64, KVM
            "#]],
        );
    }

    #[test]
    fn quiet_says_nothing_when_all_is_well() {
        let passed = mixed().pop().unwrap();
        check(Verbosity::Quiet, &[passed], expect![""]);
    }

    #[test]
    fn quiet_shows_what_went_wrong() {
        let mut events = events();
        events.pop();
        events.push(TestEvent::RunFinished {
            counts: Counts::default(),
            seconds: 1.0,
        });
        let failed = record("6.1.192", &events, RunOutcome::TestsFailed);
        check(
            Verbosity::Quiet,
            &[(failed, events)],
            expect![[r#"
                6.1.192 (x86_64): tests failed; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM

                === 6.1.192 (x86_64): failed t.A.bad (0.250 s)
                Traceback (most recent call last):
                  File "x.py"
                E: �[31mred
                output: log/run/output.log
                console: log/run/console.log

                kernel   outcome       run  passed  failed  errors  skipped    time
                6.1.192  tests failed    4       1       1       0        2  98.8 s
                x86_64, KVM
            "#]],
        );
    }

    #[test]
    fn a_kernel_that_panicked() {
        let outcome = RunOutcome::Panicked {
            how: "Kernel panic - not syncing: Fatal exception".to_owned(),
            running: Some("t.C.odd".to_owned()),
        };
        let panicked = record("6.1.192", &events(), outcome);
        check(
            Verbosity::Normal,
            &[(panicked, events())],
            expect![[r#"
                6.1.192 (x86_64): failed t.A.bad: AssertionError: 1 != 2
                6.1.192 (x86_64): panicked: Kernel panic - not syncing: Fatal exception, while running t.C.odd; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM

                === 6.1.192 (x86_64): failed t.A.bad (0.250 s)
                Traceback (most recent call last):
                  File "x.py"
                E: �[31mred

                === 6.1.192 (x86_64): panicked: Kernel panic - not syncing: Fatal exception
                running then: t.C.odd
                --- end of the tests' output:
                last words
                ---
                --- end of the console:
                [ 1.0] Kernel panic - not syncing
                ---
                output: log/run/output.log
                console: log/run/console.log

                kernel   outcome   run  passed  failed  errors  skipped    time
                6.1.192  panicked    4       1       1       0        2  98.8 s
                x86_64, KVM
            "#]],
        );
    }

    #[test]
    fn the_live_line_is_short() {
        let mut part = Progress::default();
        for event in events() {
            part.push(&event);
        }
        let text = |parts: &[&Progress]| progress(parts.iter().copied());
        assert_eq!(text(&[&part]), "4 of 5, 1 failed, 2 skipped: C.odd");
        assert_eq!(
            text(&[&part, &part]),
            "8 of 10, 2 failed, 4 skipped: C.odd, C.odd"
        );
        assert_eq!(text(&[&Progress::default()]), "0");
    }

    #[test]
    fn a_failure_on_several_kernels_has_one_traceback() {
        let failed = |kernel| record(kernel, &events()[..5], RunOutcome::TestsFailed);
        let records = [failed("6.1.192"), failed("6.12.9")];
        expect![[r#"

            === on 2 kernels: failed t.A.bad
            6.1.192 (x86_64): AssertionError: 1 != 2
            6.12.9 (x86_64): AssertionError: 1 != 2
            --- on the first of them:
            Traceback (most recent call last):
              File "x.py"
            E: �[31mred
        "#]]
        .assert_eq(&conclusion(
            &records,
            Path::new("log/run"),
            Paint::default(),
            false,
        ));
    }

    #[test]
    fn forty_kernels_fit_a_screen() {
        let kernel = |n: u32, outcome| {
            let events = if n > 35 {
                events()
            } else {
                events()[..3].to_vec()
            };
            record(&format!("6.{n}.1-vmtest1.1default"), &events, outcome)
        };
        let records = (0..40)
            .map(|n| match n {
                7 => kernel(n, RunOutcome::NoTests),
                _ => kernel(n, RunOutcome::Passed),
            })
            .collect::<Vec<_>>();
        expect![[r#"
            kernel                       outcome       run  passed  failed  errors  skipped      time
            6.7.1-vmtest1.1default       no tests ran    1       1       0       0        0    98.8 s
            35 kernels, 6.0.1 to 6.35.1  passed          1       1       0       0        0  3456.6 s
            4 kernels, 6.36.1 to 6.39.1  passed          4       1       1       0        2   395.0 s
            x86_64, KVM
        "#]].assert_eq(&summary(&records, Paint::default()));
    }

    #[test]
    fn a_vm_that_is_started_again_is_told() {
        let mut out = Vec::new();
        let outlook = Outlook {
            runs: 2,
            ..Outlook::default()
        };
        let mut reporter = Reporter::new(&mut out, Verbosity::Normal, None, outlook);
        for what in [
            What::Started(name("6.1.192")),
            What::Retried(RunOutcome::Lost {
                how: "QEMU ended\nmore".to_owned(),
                running: None,
            }),
        ] {
            let message = Message {
                run: 0,
                shard: 0,
                what,
            };
            reporter.handle(Event::Run(&message)).unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "6.1.192 (x86_64): lost: QEMU ended; trying again\n"
        );
    }

    #[test]
    fn what_is_left_is_estimated() {
        let outlook = Outlook {
            runs: 3,
            seconds: vec![Some(100.0), Some(50.0), Some(50.0)],
            jobs: 2,
            ..Outlook::default()
        };
        let mut reporter = Reporter::new(Vec::new(), Verbosity::Normal, None, outlook);
        let near = |left: Option<f64>, seconds: f64| (left.unwrap() - seconds).abs() < 5.0;
        assert!(near(reporter.left(), 100.0));
        reporter.ended = vec![true, true, false];
        assert!(near(reporter.left(), 50.0));
        reporter.ended = vec![true; 3];
        assert_eq!(reporter.left(), None);
        reporter.ended = vec![false; 3];
        reporter.outlook.seconds[1] = None;
        assert_eq!(reporter.left(), None);
        for (seconds, text) in [(3.0, "3 s"), (130.0, "2 min"), (11_000.0, "3 h 3 min")] {
            assert_eq!(minutes(seconds), text);
        }
    }
}
