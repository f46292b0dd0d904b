//! The only printer of test results. What it is told are events; what it writes
//! is text for a person.
//!
//! Results go to a [`Write`] (standard output), so that they can be piped.
//! The live count is not a result: it is a line of the [`Ui`].

pub mod diff;
pub mod files;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod matrix;
pub mod merge;
#[cfg(test)]
mod samples;
mod words;

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::event::{FinishedTest, RunOutcome, Tally, TestEvent, TestOutcome};
use crate::results::{RunName, RunRecord};
use crate::ui::{Task, Ui, Verbosity};

/// What the reporter is told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// A run begins: the first of `of` has `number` 1.
    RunStarted {
        /// What is tested on.
        name: &'e RunName,
        /// Which one it is.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// The guest is up and has started the tests.
    CommandStarted,
    /// The tests said something.
    Test(&'e TestEvent),
    /// The run has ended.
    RunFinished(&'e RunRecord),
    /// All runs have ended.
    Finished(&'e [RunRecord]),
}

/// Writes results for a person.
pub struct Reporter<W> {
    out: W,
    verbosity: Verbosity,
    ui: Option<Ui>,
    live: Option<Task>,
    tally: Tally,
}

impl<W: Write> Reporter<W> {
    /// Results go to `out`; the live count goes to `ui`.
    pub fn new(out: W, verbosity: Verbosity, ui: Option<Ui>) -> Self {
        Self {
            out,
            verbosity,
            ui,
            live: None,
            tally: Tally::default(),
        }
    }

    /// Tells it what happened.
    ///
    /// # Errors
    ///
    /// If the results cannot be written.
    pub fn handle(&mut self, event: Event<'_>) -> io::Result<()> {
        let mut text = String::new();
        match event {
            Event::RunStarted { name, number, of } => {
                self.tally = Tally::default();
                let count = if of > 1 {
                    format!(" ({number} of {of})")
                } else {
                    String::new()
                };
                let message = if name.arch.is_empty() {
                    format!("running the {} tests{count}", name.kernel)
                } else {
                    format!("testing on Linux {} ({}){count}", name.kernel, name.arch)
                };
                self.live = self.ui.as_ref().map(|ui| ui.task(message));
            }
            Event::CommandStarted => self.update("looking for tests"),
            Event::Test(event) => {
                self.tally.push(event);
                if let TestEvent::TestFinished(test) = event
                    && self.verbosity >= Verbosity::Verbose
                {
                    text = test_line(test);
                }
                let progress = progress(&self.tally);
                self.update(&progress);
            }
            Event::RunFinished(record) => {
                self.live = None;
                if self.verbosity >= Verbosity::Normal || record.outcome != RunOutcome::Passed {
                    text = run_line(record);
                    text.push('\n');
                }
            }
            Event::Finished(records) => text = self.conclusion(records),
        }
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

    fn update(&mut self, progress: &str) {
        if let Some(live) = &mut self.live {
            live.update(progress);
        }
    }

    /// All that went wrong, then one line per run.
    fn conclusion(&self, records: &[RunRecord]) -> String {
        let mut text = String::new();
        for record in records {
            trouble(&mut text, record);
        }
        if self.verbosity >= Verbosity::Verbose {
            for record in records {
                skips(&mut text, record);
            }
        }
        let bad = records.iter().any(|r| r.outcome != RunOutcome::Passed);
        if self.verbosity >= Verbosity::Normal || bad {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&summary(records));
        }
        text
    }
}

/// `    passed   0.123 s  tests.test_x.TestX.test_y`
fn test_line(test: &FinishedTest) -> String {
    let mut line = format!("{:>18} {:>9.3} s  {}", test.outcome, test.seconds, test.id);
    if test.outcome != TestOutcome::Passed
        && let Some(reason) = test.reason.as_ref().and_then(|text| text.lines().next())
    {
        let _ = write!(line, ": {reason}");
    }
    line.push('\n');
    printable(&line)
}

/// `123 of 922, 1 failed, 4 skipped`, and what is running.
fn progress(tally: &Tally) -> String {
    let mut text = tally.counts.finished().to_string();
    if let Some(tests) = tally.tests {
        let _ = write!(text, " of {tests}");
    }
    let (bad, skipped) = (tally.counts.bad(), tally.counts.get(TestOutcome::Skipped));
    if bad > 0 {
        let _ = write!(text, ", {bad} failed");
    }
    if skipped > 0 {
        let _ = write!(text, ", {skipped} skipped");
    }
    if let Some(running) = &tally.running {
        // The end of a dotted name tells most; the line must fit a terminal.
        let parts = running.rsplit('.').take(2).collect::<Vec<_>>();
        let short = parts.into_iter().rev().collect::<Vec<_>>().join(".");
        let _ = write!(text, ": {}", printable(&short));
    }
    text
}

/// One run in one line.
fn run_line(record: &RunRecord) -> String {
    let mut line = format!("{}: {}", title(&record.name), record.outcome.name());
    if let Some(detail) = record.outcome.detail() {
        let first = detail.lines().next().unwrap_or_default();
        let _ = write!(line, ": {first}");
    }
    if matches!(record.outcome, RunOutcome::NotStarted { .. }) {
        return printable(&line);
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
    printable(&line)
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

/// Failures with their tracebacks, and the last words of runs that were cut short.
fn trouble(text: &mut String, record: &RunRecord) {
    let title = title(&record.name);
    for test in record.tally.bad() {
        let _ = write!(
            text,
            "\n=== {title}: {} {} ({:.3} s)\n",
            test.outcome, test.id, test.seconds
        );
        match (&test.traceback, &test.reason) {
            (Some(traceback), _) => block(text, traceback),
            (None, Some(reason)) => block(text, reason),
            (None, None) => {}
        }
    }
    match &record.outcome {
        RunOutcome::Passed | RunOutcome::TestsFailed => {}
        outcome => {
            let _ = write!(text, "\n=== {title}: {}", outcome.name());
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
            tail(text, "the tests' output", &record.evidence.output_tail);
            // A runner that died is no matter of the kernel, unless it was the
            // kernel that killed it: out of memory.
            tail(text, "the console", &record.evidence.console_tail);
        }
    }
    if record.outcome != RunOutcome::Passed {
        for (what, log) in &record.evidence.logs {
            let _ = writeln!(text, "{what}: {}", log.display());
        }
    }
}

fn tail(text: &mut String, what: &str, lines: &str) {
    if !lines.trim().is_empty() {
        let _ = writeln!(text, "--- end of {what}:");
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

/// A table with a line per run. Expected failures are among the passed,
/// unexpected successes among the failed.
fn summary(records: &[RunRecord]) -> String {
    let mut rows = vec![
        [
            "kernel", "outcome", "run", "passed", "failed", "errors", "skipped", "time",
        ]
        .map(ToOwned::to_owned)
        .to_vec(),
    ];
    rows[0].push("acceleration".to_owned());
    for record in records {
        let counts = &record.tally.counts;
        let count = |outcomes: &[TestOutcome]| {
            let sum: u64 = outcomes.iter().map(|outcome| counts.get(*outcome)).sum();
            sum.to_string()
        };
        let not_started = matches!(record.outcome, RunOutcome::NotStarted { .. });
        let mut row = vec![
            printable(&title(&record.name)),
            record.outcome.name().to_owned(),
        ];
        if !not_started {
            row.extend([
                counts.finished().to_string(),
                count(&[TestOutcome::Passed, TestOutcome::ExpectedFailure]),
                count(&[TestOutcome::Failed, TestOutcome::UnexpectedSuccess]),
                count(&[TestOutcome::Error]),
                count(&[TestOutcome::Skipped]),
                record
                    .seconds
                    .total
                    .map_or_else(String::new, |total| format!("{total:.1} s")),
                record.acceleration.clone().unwrap_or_default(),
            ]);
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
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Words to the left, numbers to the right.
            let _ = match column {
                0 | 1 | 8 => write!(line, "{cell:<width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
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
                    ("output".to_owned(), "log/run/output.log".into()),
                    ("console".to_owned(), "log/run/console.log".into()),
                ],
                ..Evidence::default()
            },
        }
    }

    fn check(verbosity: Verbosity, runs: &[(RunRecord, Vec<TestEvent>)], expect: Expect) {
        let mut out = Vec::new();
        let mut reporter = Reporter::new(&mut out, verbosity, None);
        for (number, (record, events)) in runs.iter().enumerate() {
            let name = &record.name;
            let of = runs.len();
            let number = number + 1;
            reporter
                .handle(Event::RunStarted { name, number, of })
                .unwrap();
            reporter.handle(Event::CommandStarted).unwrap();
            for event in events {
                reporter.handle(Event::Test(event)).unwrap();
            }
            reporter.handle(Event::RunFinished(record)).unwrap();
        }
        let records = runs.iter().map(|(r, _)| r.clone()).collect::<Vec<_>>();
        reporter.handle(Event::Finished(&records)).unwrap();
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

                kernel                             outcome       run  passed  failed  errors  skipped    time  acceleration
                6.1.192-vmtest1.1default (x86_64)  runner died     4       1       1       0        2  98.8 s  KVM
                5.4.* (x86_64)                     build failed
                6.12.9-vmtest1.1default (x86_64)   passed          1       1       0       0        0  98.8 s  KVM
            "#]],
        );
    }

    #[test]
    fn verbose_output() {
        check(
            Verbosity::Verbose,
            &mixed(),
            expect![[r#"
                            passed     0.250 s  t.A.good
                            failed     0.250 s  t.A.bad: AssertionError: 1 != 2
                           skipped     0.250 s  t.B.left: not running in kdump
                           skipped     0.250 s  t.B.out: not running in kdump
                6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done, while running t.C.odd; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM
                5.4.* (x86_64): build failed: no compiler
                            passed     0.250 s  t.A.good
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

                kernel                             outcome       run  passed  failed  errors  skipped    time  acceleration
                6.1.192-vmtest1.1default (x86_64)  runner died     4       1       1       0        2  98.8 s  KVM
                5.4.* (x86_64)                     build failed
                6.12.9-vmtest1.1default (x86_64)   passed          1       1       0       0        0  98.8 s  KVM
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

            kernel            outcome       run  passed  failed  errors  skipped    time  acceleration
            6.1.192 (x86_64)  tests failed    4       1       1       0        2  98.8 s  KVM
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

            kernel            outcome   run  passed  failed  errors  skipped    time  acceleration
            6.1.192 (x86_64)  panicked    4       1       1       0        2  98.8 s  KVM
        "#]],
        );
    }

    #[test]
    fn the_live_line_is_short() {
        let mut tally = Tally::default();
        for event in events() {
            tally.push(&event);
        }
        assert_eq!(progress(&tally), "4 of 5, 1 failed, 2 skipped: C.odd");
        assert_eq!(progress(&Tally::default()), "0");
    }
}
