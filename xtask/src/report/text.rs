//! Results as text for a person: a line per run, all that went wrong, a table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::compact::{first_line, grouped, plural};
use super::complaints::{self, ComplaintGroup};
use super::formats::ReportLook;
use super::matrix::{TestMatrix, console, end_details, is_odd};
use super::totals::{self, TestTotals, TotalsColumn};
use crate::base::{color::Paint, shown, table};
use crate::model::results::{Results, RunName, RunRecord};
use crate::model::test_event::{FinishedTest, RunOutcome, TestOutcome};

/// So many tests that differ are named; the others are in the reports.
const DIFFERENCES: usize = 12;

/// More runs than this do not fit a screen with all that goes with them.
const ALL_ROWS: usize = 16;

/// What `report show` prints: the end of `test` again.
pub fn render(results: &Results, look: &ReportLook) -> String {
    let runs = TestMatrix::new(results).runs;
    look.printed(session(&runs, 0, results, look))
}

/// The end of `test`: all that went wrong, then a line per run.
pub(super) fn session(
    records: &[&RunRecord],
    not_started: usize,
    results: &Results,
    look: &ReportLook,
) -> String {
    let mut text = conclusion(records, look) + &differences(results);
    if !text.is_empty() {
        text.push('\n');
    }
    text += &summary(records, look.paint);
    if not_started > 0 {
        let runs = plural(not_started, "run");
        let _ = writeln!(text, "{runs} not started (--fail-fast)");
    }
    for finding in &results.findings {
        let _ = writeln!(text, "{}", look.paint.bad(&shown::line(finding)));
    }
    text
}

/// All that went wrong in these runs, and why tests were skipped if that is wanted.
pub(super) fn conclusion(records: &[&RunRecord], look: &ReportLook) -> String {
    let mut text = String::new();
    failures(&mut text, records, look.paint);
    complaints(&mut text, records, look);
    for record in records {
        // Of many whose tests failed the logs are where all of them are.
        if record.outcome != RunOutcome::TestsFailed || records.len() == 1 {
            trouble(&mut text, record, look);
        }
    }
    if look.skips {
        for record in records {
            skips(&mut text, record);
        }
    }
    text
}

/// `6.1.192-vmtest1.1default (x86_64): failed tests.test_x.A.b: AssertionError: …`
pub(super) fn failure_line(test: &FinishedTest, name: &RunName, paint: Paint) -> String {
    let rest = shown::line(&format!("{}{}", test.id, reason(test)));
    format!("{}: {} {rest}\n", title(name), paint.bad(verdict(test)))
}

fn title(name: &RunName) -> String {
    shown::line(&name.to_string())
}

/// What is known about an outcome in one line, with a colon before it.
fn reason(test: &FinishedTest) -> String {
    let reason = test.reason.as_deref().filter(|reason| !reason.is_empty());
    let mut text = match (test.outcome, &test.expected, reason) {
        (TestOutcome::Passed, Some(expected), _) => {
            format!(": listed as failing ({})", first_line(expected))
        }
        (TestOutcome::Passed, None, _) | (_, _, None) => String::new(),
        (_, _, Some(reason)) => format!(": {}", first_line(reason)),
    };
    if let Some(expired) = &test.expired {
        let _ = write!(text, "; {expired}");
    }
    text
}

/// `    passed   0.123 s  tests.test_x.TestX.test_y`
pub(super) fn test_line(test: &FinishedTest, name: Option<String>, paint: Paint) -> String {
    let outcome = format!("{:>18}", test.outcome);
    let outcome = match test.outcome {
        _ if test.is_bad() => paint.bad(&outcome),
        TestOutcome::Passed => paint.good(&outcome),
        _ => paint.odd(&outcome),
    };
    let name = name.map_or_else(String::new, |name| name + "  ");
    let rest = shown::line(&format!("{name}{}{}", test.id, reason(test)));
    format!("{outcome} {:>9.3} s  {rest}\n", test.seconds)
}

/// One run in one line.
pub fn run_line(record: &RunRecord, paint: Paint) -> String {
    let outcome = &record.outcome;
    let mut line = end_details(outcome);
    if !matches!(outcome, RunOutcome::NotStarted { .. }) {
        let _ = write!(line, "; {}", TestTotals::of(&record.tally).in_words());
        if let Some(total) = record.seconds.total {
            let _ = write!(line, "; {total:.1} s");
        }
        if let Some(boot) = record.seconds.boot {
            let _ = write!(line, " (boot {boot:.1} s)");
        }
        if let Some(acceleration) = &record.acceleration {
            let _ = write!(line, ", {acceleration}");
        }
        if let Some(root) = &record.root {
            let _ = write!(line, ", root {root}");
        }
    }
    let (title, name) = (title(&record.name), painted(outcome, paint));
    format!("{title}: {name}{}", shown::line(&line))
}

fn painted(outcome: &RunOutcome, paint: Paint) -> String {
    match outcome {
        RunOutcome::Passed => paint.good(outcome.name()),
        RunOutcome::NoTests | RunOutcome::NotStarted { .. } => paint.odd(outcome.name()),
        _ => paint.bad(outcome.name()),
    }
}

/// Tests that failed, each once with its traceback, on whatever kernels it did.
fn failures(text: &mut String, records: &[&RunRecord], paint: Paint) {
    let bad = records.iter().flat_map(|record| {
        let tests = record.tally.bad();
        tests.map(|test| ((&test.id, test.outcome.name()), (&record.name, test)))
    });
    for (_, on) in grouped(bad) {
        let (name, test) = on[0];
        let head = format!("{} {}", paint.bad(verdict(test)), shown::line(&test.id));
        if on.len() == 1 {
            let (title, seconds) = (title(name), test.seconds);
            let _ = writeln!(text, "\n=== {title}: {head} ({seconds:.3} s)");
        } else {
            let _ = writeln!(text, "\n=== on {} kernels: {head}", on.len());
            for (name, other) in &on {
                let _ = writeln!(text, "{}{}", title(name), shown::line(&reason(other)));
            }
            text.push_str("--- on the first of them:\n");
        }
        for note in test.notes() {
            block(text, &note);
        }
        match (&test.expected, &test.traceback, &test.reason) {
            (Some(expected), _, _) => block(text, &format!("listed as failing: {expected}")),
            (None, Some(why), _) | (None, None, Some(why)) => block(text, why),
            (None, None, None) => {}
        }
    }
}

/// What kernels complained of, each thing once with its report; those that are allowed in a
/// line, unless all are wanted.
fn complaints(text: &mut String, records: &[&RunRecord], look: &ReportLook) {
    let mut allowed = Vec::new();
    for group in complaints::of(records) {
        match group.is_bad() || look.skips {
            true => complaint(text, records, &group, look.paint),
            false => allowed.push(group),
        }
    }
    let count = allowed.iter().map(|group| group.complaints.len()).sum();
    if count > 0 {
        let reasons = allowed.iter().flat_map(ComplaintGroup::reasons);
        let reasons = Vec::from_iter(reasons.collect::<BTreeSet<_>>()).join("; ");
        let count = plural(count, "complaint");
        let _ = writeln!(
            text,
            "\n=== allowed: {count} of the kernel: {}",
            shown::line(&reasons)
        );
    }
}

fn complaint(text: &mut String, records: &[&RunRecord], group: &ComplaintGroup<'_>, paint: Paint) {
    let (first, runs) = (group.first(), group.runs());
    let what = match group.is_bad() {
        true => paint.bad("complained"),
        false => paint.odd("complained, as allowed"),
    };
    let on = match &runs[..] {
        [run] => title(&records[*run].name),
        runs => format!("on {} kernels", runs.len()),
    };
    let _ = writeln!(text, "\n=== {on}: {what}: {}", shown::line(&first.title));
    for run in runs.iter().filter(|_| runs.len() > 1) {
        let _ = writeln!(text, "{}", title(&records[*run].name));
    }
    if let times @ 2.. = group.complaints.len() {
        let _ = writeln!(text, "{times} times");
    }
    for test in group.tests() {
        let _ = writeln!(text, "running then: {}", shown::line(test));
    }
    for reason in group.reasons() {
        let _ = writeln!(text, "allowed: {}", shown::line(reason));
    }
    block(text, &complaints::report(first));
}

/// What is wrong with a bad test.
fn verdict(test: &FinishedTest) -> &'static str {
    match test.outcome {
        TestOutcome::Passed => "unexpectedly passed",
        outcome => outcome.name(),
    }
}

/// The last words of a run that was cut short, and where the logs are.
fn trouble(text: &mut String, record: &RunRecord, look: &ReportLook) {
    let (outcome, evidence) = (&record.outcome, &record.evidence);
    if is_odd(record) {
        let name = painted(outcome, look.paint);
        let detail = outcome.detail();
        let detail = detail.map(|detail| format!(": {}", shown::lines(&detail)));
        let (title, detail) = (title(&record.name), detail.unwrap_or_default());
        let _ = writeln!(text, "\n=== {title}: {name}{detail}");
        if let Some(test) = outcome.running() {
            let _ = writeln!(text, "running then: {}", shown::line(test));
        } else if let Some(test) = &record.tally.last {
            let _ = writeln!(text, "last test finished: {}", shown::line(test));
        }
        if let lines @ 1.. = record.tally.garbage {
            let _ = writeln!(text, "lines on the events port that are no events: {lines}");
        }
        for (what, lines) in [
            ("end of the tests' output", evidence.output_tail.as_str()),
            ("what the kernel said", &evidence.trouble),
            ("end of the console", console(record)),
        ] {
            if !lines.trim().is_empty() {
                let _ = writeln!(text, "--- {what}:");
                block(text, lines);
                text.push_str("---\n");
            }
        }
    }
    if *outcome != RunOutcome::Passed {
        for (what, log) in &evidence.logs {
            let _ = writeln!(text, "{what}: {}", look.folder.join(log).display());
        }
    }
    for core in &evidence.cores {
        let _ = writeln!(text, "core dump: {}", core.display());
    }
}

fn block(text: &mut String, lines: &str) {
    for line in lines.trim_end().lines() {
        text.push_str(&shown::lines(line));
        text.push('\n');
    }
}

/// Why tests were skipped.
fn skips(text: &mut String, record: &RunRecord) {
    let mut reasons = record.tally.skipped().into_iter().collect::<Vec<_>>();
    reasons.sort_by_key(|(reason, tests)| (usize::MAX - tests.len(), *reason));
    if !reasons.is_empty() {
        let _ = writeln!(text, "\n=== {}: skipped", title(&record.name));
    }
    for (reason, tests) in reasons {
        let reason = reason.lines().next().unwrap_or("without a reason");
        let _ = writeln!(text, "{:>5}  {}", tests.len(), shown::line(reason));
    }
}

/// Which tests are not the same on every kernel, and since when; empty for one kernel.
fn differences(results: &Results) -> String {
    let matrix = TestMatrix::new(results);
    let differing = matrix.differing();
    let differing = differing.filter_map(|row| Some((row.test, row.words.as_deref()?)));
    let complaints = matrix.differing_complaints();
    let differing = Vec::from_iter(differing.chain(complaints));
    if matrix.runs.len() < 2 || differing.is_empty() {
        return String::new();
    }
    let mut text = "\nnot the same on every kernel:\n".to_owned();
    for (what, words) in differing.iter().take(DIFFERENCES) {
        let _ = writeln!(text, "  {}: {}", shown::line(what), shown::line(words));
    }
    if let Some(more @ 1..) = differing.len().checked_sub(DIFFERENCES) {
        let _ = writeln!(text, "  and {more} more: see the reports");
    }
    text
}

/// A table with a line per run; of many, those that passed alike are one line.
/// What the counts mean stands below it.
pub fn summary(records: &[&RunRecord], paint: Paint) -> String {
    let counts = totals::columns(records);
    let accelerations = records.iter().filter_map(|run| run.acceleration.as_deref());
    let accelerations = Vec::from_iter(accelerations.collect::<BTreeSet<_>>());
    let arches = records.iter().map(|run| run.name.arch.as_str());
    let arches = Vec::from_iter(arches.collect::<BTreeSet<_>>());
    let mut head = vec!["kernel", "outcome"];
    head.extend(counts.iter().map(|(name, _)| *name));
    head.push("time");
    let time = head.len() - 1;
    if accelerations.len() > 1 {
        head.push("acceleration");
    }
    let mut rows = vec![head.iter().map(ToString::to_string).collect::<Vec<_>>()];
    // Runs that are one line, by all that this says of them but the kernel and the time.
    let mut alike = Vec::new();
    for record in records {
        let row = summary_row(record, arches.len() > 1, &counts);
        if records.len() > ALL_ROWS && record.outcome == RunOutcome::Passed {
            let mut key = row.clone();
            let phase = record.name.phase.as_deref().unwrap_or_default();
            key[0] = format!("{phase} {}", record.name.arch);
            key[time].clear();
            alike.push((key, (record, row)));
        } else {
            rows.push(row);
        }
    }
    for (_, all) in grouped(alike) {
        let (first, mut row) = all[0].clone();
        if let [_, .., (last, _)] = &all[..] {
            let [from, to] = [first, last].map(|run| short(&run.name));
            let arch = (arches.len() > 1).then_some(&first.name.arch);
            let about = first.name.phase.iter().chain(arch);
            let about = about.map(|about| format!(", {about}")).collect::<String>();
            row[0] = format!("{} kernels, {from} to {to}{about}", all.len());
            let total: f64 = all.iter().filter_map(|(run, _)| run.seconds.total).sum();
            row[time] = format!("{total:.1} s");
        }
        rows.push(row);
    }
    for row in &mut rows {
        row.truncate(head.len());
    }
    // Words to the left, numbers to the right.
    let numbers = (2..=time).collect::<Vec<_>>();
    let mut text = table::painted(&rows, &numbers, |row, column, cell| {
        match (row, column, rows[row][1].as_str()) {
            (1.., 1, "passed") => paint.good(&cell),
            (1.., 1, "no tests ran") => paint.odd(&cell),
            (1.., 1, _) => paint.bad(&cell),
            _ => cell,
        }
    });
    // What all have in common needs no column.
    match (&accelerations[..], &arches[..]) {
        ([one], [arch]) if !arch.is_empty() => text += &format!("{arch}, {one}\n"),
        ([one], _) => text += &format!("{one}\n"),
        _ => {}
    }
    let roots = records.iter().map(|run| run.root.as_deref());
    if let [Some(root)] = Vec::from_iter(roots.collect::<BTreeSet<_>>())[..] {
        text += &format!("root: {root}\n");
    }
    text + &totals::legend(&counts) + "\n"
}

fn summary_row(record: &RunRecord, several_arches: bool, counts: &[TotalsColumn]) -> Vec<String> {
    let title = record.name.among(several_arches);
    let mut row = vec![title, record.outcome.name().to_owned()];
    if !matches!(record.outcome, RunOutcome::NotStarted { .. }) {
        let totals = TestTotals::of(&record.tally);
        row.extend(counts.iter().map(|(_, count)| count(&totals).to_string()));
        let total = record.seconds.total;
        row.push(total.map_or_else(String::new, |total| format!("{total:.1} s")));
        row.push(record.acceleration.clone().unwrap_or_default());
    }
    row
}

/// A kernel's name without what all of ours have.
fn short(name: &RunName) -> &str {
    let version = name.kernel.split_once("-vmtest");
    version.map_or(&name.kernel, |(version, _)| version)
}
