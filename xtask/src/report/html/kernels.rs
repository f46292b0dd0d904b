//! The table of kernels: how each run ended, what its tests did, how long it took.

use std::fmt::Write as _;

use super::text::Text;
use super::{Page, Section, capitalised, close_table, open_table, put, seconds};
use crate::model::results::{Phases, RunRecord};
use crate::model::test_event::RunOutcome;
use crate::report::totals::{self, Column, Totals};

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
    let other = seconds.total.map(|total| (total - known).max(0.0));
    [
        ("prepare", "Prepare", seconds.prepare),
        ("boot", "Boot", seconds.boot),
        ("tests", "Tests", seconds.tests),
        ("other", "Other", other),
    ]
}

/// All phases together, preparing included.
fn whole(seconds: &Phases) -> Option<f64> {
    let phases = phases(seconds).into_iter();
    phases
        .filter_map(|(_, _, seconds)| seconds)
        .reduce(|a, b| a + b)
}

/// What all rows of the table have in common.
struct Table {
    /// The counts that have a column.
    counts: Vec<Column>,
    /// The seconds of the longest run.
    longest: f64,
}

fn table(html: &mut String, page: &Page<'_>) {
    let runs = &page.matrix.runs;
    let table = Table {
        counts: totals::columns(runs),
        longest: runs
            .iter()
            .filter_map(|run| whole(&run.seconds))
            .fold(0.0, f64::max),
    };
    open_table(
        html,
        "kernels",
        "Table of kernels",
        "How each run ended and how long it took.",
    );
    html.push_str("<thead>\n<tr><th scope=col>Kernel</th><th scope=col>Outcome</th>");
    for (title, _) in &table.counts {
        put!(
            html,
            "<th scope=col class=number>{}</th>",
            capitalised(title)
        );
    }
    for (class, title, _) in phases(&Phases::default()) {
        put!(
            html,
            "<th scope=col class=number><svg class=\"key {class}\" aria-hidden=true>\
             <rect width=\"100%\" height=\"100%\"/></svg>{title}</th>"
        );
    }
    html.push_str(
        "<th scope=col class=number>Whole</th><th scope=col>Time</th></tr>\n</thead>\n<tbody>\n",
    );
    for (number, run) in runs.iter().enumerate() {
        row(html, page, number, run, &table);
    }
    html.push_str("</tbody>\n");
    close_table(html);
    put!(
        html,
        "<p class=muted>{}</p>\n",
        Text(&totals::legend(&table.counts))
    );
}

fn row(html: &mut String, page: &Page<'_>, number: usize, run: &RunRecord, table: &Table) {
    let mut about = Vec::new();
    if !run.name.arch.is_empty() {
        about.push(run.name.arch.clone());
    }
    about.extend(run.name.flavor.clone());
    about.extend(run.acceleration.clone());
    put!(
        html,
        "<tr><th scope=row><code>{}</code> <span class=muted>{}</span></th><td>",
        Text(&run.name.title()),
        Text(&about.join(", "))
    );
    outcome(html, page, number, run);
    html.push_str("</td>");

    if matches!(run.outcome, RunOutcome::NotStarted { .. }) && run.tally.finished_tests.is_empty() {
        put!(
            html,
            "<td colspan={}>no test was run</td>",
            table.counts.len()
        );
    } else {
        let totals = Totals::of(&run.tally);
        for (_, count) in &table.counts {
            put!(html, "<td class=number>{}</td>", count(&totals));
        }
    }
    let phases = phases(&run.seconds).map(|(_, _, phase)| phase);
    for phase in phases.into_iter().chain([whole(&run.seconds)]) {
        match phase {
            Some(phase) => put!(html, "<td class=number>{}</td>", seconds(phase)),
            None => html.push_str("<td class=number><span class=hidden>not reached</span></td>"),
        }
    }
    html.push_str("<td>");
    bar(html, &run.seconds, table.longest);
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
