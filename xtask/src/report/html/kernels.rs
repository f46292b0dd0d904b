//! The table of kernels: how each run ended, what its tests did, how long it took.

use std::fmt::Write as _;

use super::text::Text;
use super::{Page, Section, Verdict, close_table, open_table, put, seconds};
use crate::event::RunOutcome;
use crate::results::{Phases, RunRecord};

pub(super) fn section(page: &Page<'_>) -> Section {
    let mut html = String::new();
    let runs = &page.matrix.runs;
    if runs.is_empty() {
        html.push_str("<p>Nothing was run.</p>\n");
    } else {
        table(&mut html, page);
    }
    Section {
        id: "kernels",
        title: "Kernels",
        count: runs.len(),
        html,
    }
}

/// The phases of a run: class, title, seconds.
fn phases(seconds: &Phases) -> [(&'static str, &'static str, Option<f64>); 4] {
    let known = seconds.boot.unwrap_or(0.0) + seconds.tests.unwrap_or(0.0);
    // Starting the interpreter, loading the tests, shutting down.
    let rest = seconds.total.map(|total| (total - known).max(0.0));
    [
        ("prepare", "Prepare", seconds.prepare),
        ("boot", "Boot", seconds.boot),
        ("tests", "Tests", seconds.tests),
        ("rest", "Rest", rest),
    ]
}

fn whole(seconds: &Phases) -> f64 {
    let phases = phases(seconds);
    phases.iter().filter_map(|(_, _, seconds)| *seconds).sum()
}

fn table(html: &mut String, page: &Page<'_>) {
    let runs = &page.matrix.runs;
    let longest = runs.iter().map(|run| whole(&run.seconds));
    let longest = longest.fold(0.0, f64::max);
    open_table(
        html,
        "kernels",
        "Table of kernels",
        "How each run ended and how long it took. Expected failures are counted by themselves.",
    );
    html.push_str("<thead>\n<tr><th scope=col>Kernel</th><th scope=col>Outcome</th>");
    for title in ["Run", "Passed", "Failed", "Skipped", "Expected", "Not run"] {
        put!(html, "<th scope=col class=number>{title}</th>");
    }
    for (class, title, _) in phases(&Phases::default()) {
        put!(
            html,
            "<th scope=col class=number><svg class=\"key {class}\" aria-hidden=true>\
             <rect width=\"100%\" height=\"100%\"/></svg>{title}</th>"
        );
    }
    html.push_str("<th scope=col>Time by phase</th></tr>\n</thead>\n<tbody>\n");
    for (number, run) in runs.iter().enumerate() {
        row(html, page, number, run, longest);
    }
    html.push_str("</tbody>\n");
    close_table(html);
}

fn row(html: &mut String, page: &Page<'_>, number: usize, run: &RunRecord, longest: f64) {
    let mut about = Vec::new();
    if !run.name.arch.is_empty() {
        about.push(run.name.arch.clone());
    }
    about.extend(run.name.flavor.clone());
    about.extend(run.acceleration.clone());
    put!(
        html,
        "<tr><th scope=row><code>{}</code> <span class=muted>{}</span></th><td>",
        Text(&run.name.kernel),
        Text(&about.join(", "))
    );
    outcome(html, page, number, run);
    html.push_str("</td>");

    if matches!(run.outcome, RunOutcome::NotStarted { .. }) && run.tally.finished_tests.is_empty() {
        html.push_str("<td colspan=6 class=muted>no test was run</td>");
    } else {
        let mut counts = [0_usize; Verdict::ALL.len()];
        for test in &run.tally.finished_tests {
            counts[Verdict::of(test) as usize] += 1;
        }
        let count = |verdict: Verdict| counts[verdict as usize] as u64;
        let finished = run.tally.counts.finished();
        for count in [
            finished,
            count(Verdict::Passed),
            run.tally.bad().count() as u64,
            count(Verdict::Skipped),
            count(Verdict::ExpectedFailure),
            run.tally.tests.unwrap_or(0).saturating_sub(finished),
        ] {
            put!(html, "<td class=number>{count}</td>");
        }
    }
    for (_, _, phase) in phases(&run.seconds) {
        match phase {
            Some(phase) => put!(html, "<td class=number>{}</td>", seconds(phase)),
            None => html.push_str("<td class=number><span class=hidden>not reached</span></td>"),
        }
    }
    html.push_str("<td>");
    bar(html, &run.seconds, longest);
    html.push_str("</td></tr>\n");
}

fn outcome(html: &mut String, page: &Page<'_>, number: usize, run: &RunRecord) {
    let (class, symbol) = match &run.outcome {
        RunOutcome::Passed => ("good", '✓'),
        RunOutcome::NoTests => ("warn", '▲'),
        _ => ("bad", '✗'),
    };
    let mark = format!(
        "<span class=\"mark {class}\">{symbol} {}</span>",
        run.outcome.name()
    );
    let first = page.matrix.rows.iter().position(|row| {
        let verdict = row.verdicts.get(number);
        verdict.is_some_and(|verdict| verdict.is_bad())
    });
    match first {
        _ if page.has_evidence(number) => put!(html, "<a href=\"#r{number}\">{mark}</a>"),
        Some(row) => put!(
            html,
            "<a href=\"#t{row}\" title=\"first failure: {}\">{mark}</a>",
            Text(page.matrix.rows[row].test)
        ),
        None => html.push_str(&mark),
    }
    if !run.retries.is_empty() {
        put!(
            html,
            " <span class=muted>retried {}×</span>",
            run.retries.len()
        );
    }
}

/// The phases one after the other. The columns before it say the same in figures.
fn bar(html: &mut String, of: &Phases, longest: f64) {
    if !(longest > 0.0 && longest.is_finite()) {
        return;
    }
    html.push_str("<svg class=bar aria-hidden=true>");
    let mut start = 0.0;
    for (class, title, phase) in phases(of) {
        let Some(phase) = phase.filter(|phase| *phase > 0.0) else {
            continue;
        };
        let width = phase / longest * 100.0;
        put!(
            html,
            "<rect class={class} x=\"{start:.2}%\" width=\"{width:.2}%\" height=\"100%\">\
             <title>{title} {}</title></rect>",
            seconds(phase)
        );
        start += width;
    }
    html.push_str("</svg>");
}
