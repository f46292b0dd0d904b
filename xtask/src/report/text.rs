//! Results as text for a person: a line per run, all that went wrong, a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::base::color::Paint;
use crate::base::shown;
use crate::model::results::{Results, RunName, RunRecord};
use crate::model::test_event::{FinishedTest, RunOutcome, TestOutcome};
use crate::report::matrix::Matrix;
use crate::report::totals::{self, Column, Totals};

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

/// `6.1.192-vmtest1.1default (x86_64): failed tests.test_x.A.b: AssertionError: …`
pub fn failure_line(test: &FinishedTest, name: &RunName, paint: Paint) -> String {
    let rest = format!("{}{}", one_line(&test.id), first_reason(test));
    let title = one_line(&name.to_string());
    format!(
        "{title}: {} {}\n",
        paint.bad(verdict(test)),
        one_line(&rest)
    )
}

/// What is known about an outcome in one line, with a colon before it.
fn first_reason(test: &FinishedTest) -> String {
    let expired = test.expired.as_ref();
    let expired = expired.map_or(String::new(), |expired| format!("; {}", one_line(expired)));
    reason_alone(test) + &expired
}

fn reason_alone(test: &FinishedTest) -> String {
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
pub fn test_line(test: &FinishedTest, name: Option<&RunName>, paint: Paint) -> String {
    let mut line = format!(" {:>9.3} s  ", test.seconds);
    if let Some(name) = name {
        let _ = write!(line, "{}  ", name.title());
    }
    line.push_str(&one_line(&test.id));
    line.push_str(&first_reason(test));
    let outcome = format!("{:>18}", test.outcome);
    let outcome = match (test.is_bad(), test.outcome) {
        (true, _) => paint.bad(&outcome),
        (false, TestOutcome::Passed) => paint.good(&outcome),
        (false, _) => paint.odd(&outcome),
    };
    format!("{outcome}{}\n", one_line(&line))
}

/// One run in one line.
pub fn run_line(record: &RunRecord, paint: Paint) -> String {
    let outcome = paint.outcome(&record.outcome, record.outcome.name());
    let title = one_line(&record.name.to_string());
    format!("{title}: {outcome}{}", one_line(&run_details(record)))
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
        let _ = write!(line, ", while running {}", one_line(test));
    }
    let _ = write!(line, "; {}", Totals::of(&record.tally).in_words());
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
        let head = format!("{} {}", paint.bad(verdict(test)), one_line(&test.id));
        match &on[..] {
            [(record, test)] => {
                let title = one_line(&record.name.to_string());
                let _ = writeln!(text, "\n=== {title}: {head} ({:.3} s)", test.seconds);
            }
            _ => {
                let _ = writeln!(text, "\n=== on {} kernels: {head}", on.len());
                for (record, other) in &on {
                    let reason = first_reason(other);
                    let _ = writeln!(
                        text,
                        "{}{}",
                        one_line(&record.name.to_string()),
                        one_line(&reason)
                    );
                }
                let _ = writeln!(text, "--- on the first of them:");
            }
        }
        for note in test.notes() {
            block(text, &note);
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
    let title = one_line(&record.name.to_string());
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
                let _ = writeln!(text, "running then: {}", one_line(test));
            } else if let Some(test) = &record.tally.last {
                let _ = writeln!(text, "last test finished: {}", one_line(test));
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
            // Of a runner that died the console says nothing; what the kernel had to
            // do with it (out of memory) stands above.
            if !matches!(outcome, RunOutcome::RunnerDied { .. }) {
                tail(text, "end of the console", &record.evidence.console_tail);
            }
        }
    }
    if record.outcome != RunOutcome::Passed {
        for (what, log) in &record.evidence.logs {
            let _ = writeln!(text, "{what}: {}", folder.join(log).display());
        }
    }
    for core in &record.evidence.cores {
        let _ = writeln!(text, "core dump: {}", core.display());
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
    let _ = write!(
        text,
        "\n=== {}: skipped\n",
        one_line(&record.name.to_string())
    );
    let mut reasons = skipped.iter().collect::<Vec<_>>();
    reasons.sort_by_key(|(reason, tests)| (usize::MAX - tests.len(), *reason));
    for (reason, tests) in reasons {
        let reason = if reason.is_empty() {
            "without a reason"
        } else {
            reason.lines().next().unwrap_or_default()
        };
        let _ = writeln!(text, "{:>5}  {}", tests.len(), one_line(reason));
    }
}

/// So many tests that differ are named; the others are in the reports.
const DIFFERENCES: usize = 12;

/// Which tests are not the same on every kernel, and since when; empty for one kernel.
pub fn differences(results: &Results) -> String {
    let matrix = Matrix::new(results);
    if matrix.runs.len() < 2 {
        return String::new();
    }
    let differing = matrix.differing().collect::<Vec<_>>();
    let mut text = String::new();
    for row in differing.iter().take(DIFFERENCES) {
        if text.is_empty() {
            text.push_str("\nnot the same on every kernel:\n");
        }
        let words = row.words.as_deref().unwrap_or("differs");
        let _ = writeln!(text, "  {}: {}", one_line(row.test), one_line(words));
    }
    if let Some(more @ 1..) = differing.len().checked_sub(DIFFERENCES) {
        let _ = writeln!(text, "  and {more} more: see the reports");
    }
    text
}

/// More runs than this do not fit a screen with all that goes with them.
const ALL_ROWS: usize = 16;

/// A table with a line per run; of many, those that passed alike are one line.
/// What the counts mean stands below it.
pub fn summary(records: &[RunRecord], paint: Paint) -> String {
    let all = records.iter().map(|record| Totals::of(&record.tally));
    let counts = totals::columns(&all.collect::<Vec<_>>());
    let mut head = vec!["kernel", "outcome"];
    head.extend(counts.iter().map(|(name, _)| *name));
    let time = head.len();
    head.push("time");
    let mut rows = vec![head.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()];
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
    let summary_row = |record| summary_row(record, one_arch, &counts);
    let fold = records.len() > ALL_ROWS;
    let folded = |record: &&RunRecord| fold && record.outcome == RunOutcome::Passed;
    for record in records.iter().filter(|record| !folded(record)) {
        rows.push(summary_row(record));
    }
    let mut alike = Vec::<((Option<&str>, Vec<String>), Vec<&RunRecord>)>::new();
    for record in records.iter().filter(folded) {
        let row = summary_row(record);
        let phase = record.name.phase.as_deref();
        let key = (phase, [&row[1..time], &row[time + 1..]].concat());
        match alike.iter_mut().find(|(other, _)| *other == key) {
            Some((_, all)) => all.push(record),
            None => alike.push((key, vec![record])),
        }
    }
    for ((phase, _), all) in alike {
        let (Some(first), Some(last)) = (all.first(), all.last()) else {
            continue;
        };
        let mut row = summary_row(first);
        if all.len() > 1 {
            let (first, last) = (short(&first.name), short(&last.name));
            row[0] = format!("{} kernels, {first} to {last}", all.len());
            row[0].extend(phase.map(|phase| format!(", {phase}")));
            let total: f64 = all.iter().filter_map(|record| record.seconds.total).sum();
            row[time] = format!("{total:.1} s");
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
                column if column < 2 || column > time => format!("{cell:<width$}  "),
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
    let _ = writeln!(text, "{}", totals::legend(&counts));
    text
}

fn summary_row(record: &RunRecord, one_arch: bool, counts: &[Column]) -> Vec<String> {
    let title = match one_arch {
        true => record.name.title(),
        false => record.name.to_string(),
    };
    let mut row = vec![one_line(&title), record.outcome.name().to_owned()];
    if matches!(record.outcome, RunOutcome::NotStarted { .. }) {
        return row;
    }
    let totals = Totals::of(&record.tally);
    row.extend(counts.iter().map(|(_, count)| count(&totals).to_string()));
    row.extend([
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

/// A name for a line of its own: that of a test may be any text.
pub fn one_line(text: &str) -> String {
    shown::line(text)
}

/// Text of a guest without what would move the cursor or change the terminal.
pub fn printable(text: &str) -> String {
    shown::lines(text)
}
