//! The table of kernels: how each run ended, what its tests did, how long it took.

use super::markup::{Html, html};
use super::{CountedHtml, TestMatrix, broken, capitalised, muted, seconds, table, word};
use crate::model::results::Phases;
use crate::model::test_event::RunOutcome;
use crate::report::totals::{self, TestTotals, TotalsColumn};

pub(super) fn section(matrix: &TestMatrix<'_>) -> CountedHtml {
    match matrix.runs.len() {
        0 => (0, html!("<p>Nothing was run.</p>\n")),
        count => (count, kernels(matrix)),
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

/// Preparing included.
fn whole(seconds: &Phases) -> Option<f64> {
    let known = phases(seconds).into_iter().filter_map(|phase| phase.2);
    known.reduce(|a, b| a + b)
}

fn kernels(matrix: &TestMatrix<'_>) -> Html {
    let counts = totals::columns(&matrix.runs);
    let times = matrix.runs.iter().filter_map(|run| whole(&run.seconds));
    let longest = times.fold(0.0, f64::max);
    let names = counts.iter().map(|(title, _)| capitalised(title));
    let names = names.map(|title| html!("<th scope=col class=number>{}</th>", title));
    let phases = phases(&Phases::default()).into_iter();
    let key = html!("<rect width=\"100%\" height=\"100%\"/>");
    let phases = phases.map(|(class, title, _)| {
        let key = html!(
            "<svg class=\"key {}\" aria-hidden=true>{}</svg>",
            class,
            key
        );
        html!("<th scope=col class=number>{}{}</th>", key, title)
    });
    let head = html!(
        "<th scope=col>Kernel</th><th scope=col>Outcome</th>{}\
         <th scope=col class=number>Whole</th><th scope=col>Time</th>",
        names.chain(phases).collect::<Html>()
    );
    let rows = (0..matrix.runs.len()).map(|run| row(matrix, run, &counts, longest));
    let rows = html!("<tbody>\n{}</tbody>\n", rows.collect::<Html>());
    let caption = html!("How each run ended and how long it took.");
    let table = table("kernels", caption, head, rows);
    html!("{}<p class=muted>{}</p>\n", table, totals::legend(&counts))
}

fn row(matrix: &TestMatrix<'_>, number: usize, counts: &[TotalsColumn], longest: f64) -> Html {
    let run = matrix.runs[number];
    let arch = Some(run.name.arch.as_str()).filter(|arch| !arch.is_empty());
    let (flavor, acceleration) = (run.name.flavor.as_deref(), run.acceleration.as_deref());
    let root = run.root.as_deref();
    let about = [arch, flavor, acceleration, root].into_iter().flatten();
    let about = about.collect::<Vec<_>>().join(", ");
    let unstarted = matches!(run.outcome, RunOutcome::NotStarted { .. });
    let totals = TestTotals::of(&run.tally);
    let figures = counts.iter().map(|(_, count)| count(&totals));
    let cell = |text: String| html!("<td class=number>{}</td>", text);
    let counted = match unstarted && run.tally.finished_tests.is_empty() {
        true => html!("<td colspan={}>no test was run</td>", counts.len()),
        false => figures.map(|figure| cell(figure.to_string())).collect(),
    };
    let phases = phases(&run.seconds).map(|(_, _, phase)| phase);
    let times = phases.into_iter().chain([whole(&run.seconds)]);
    let times = times.map(|phase| match phase {
        Some(phase) => cell(seconds(phase)),
        None => html!("<td class=number><span class=hidden>not reached</span></td>"),
    });
    html!(
        "<tr><th scope=row><code>{}</code> {}</th><td>{}</td>{}{}<td>{}</td></tr>\n",
        run.name.title(),
        muted(&about),
        outcome(matrix, number),
        counted,
        times.collect::<Html>(),
        bar(&run.seconds, longest)
    )
}

/// How a run ended, with a link to what shows it, or to its first failure.
fn outcome(matrix: &TestMatrix<'_>, number: usize) -> Html {
    let run = matrix.runs[number];
    let (class, symbol) = match &run.outcome {
        RunOutcome::Passed => ("good", '✓'),
        RunOutcome::NoTests => ("warn", '▲'),
        _ => ("bad", '✗'),
    };
    let mark = word(class, &format!("{symbol} {}", run.outcome.name()));
    let mut rows = matrix.rows.iter();
    let first = rows.position(|row| row.verdicts[number].is_bad());
    let link = match first {
        _ if broken::is_shown(run) => html!("<a href=\"#r{}\">{}</a>", number, mark),
        Some(row) => {
            let title = html!("first failure: {}", matrix.rows[row].test);
            html!("<a href=\"#t{}\" title=\"{}\">{}</a>", row, title, mark)
        }
        None => match matrix.complaints.iter().position(|group| {
            group
                .complaints
                .iter()
                .any(|(run, complaint)| *run == number && complaint.is_bad())
        }) {
            Some(group) => html!("<a href=\"#c{}\">{}</a>", group, mark),
            None => mark,
        },
    };
    let retries = run.retries.len();
    let retried = (retries > 0).then(|| html!(" {}", muted(&format!("retried {retries}×"))));
    html!("{}{}", link, retried)
}

/// The phases one after the other. The columns before it say the same in figures.
fn bar(of: &Phases, longest: f64) -> Option<Html> {
    if !(longest > 0.0 && longest.is_finite()) {
        return None;
    }
    let mut start = 0.0;
    let mut rectangles = html!("");
    for (class, title, phase) in phases(of) {
        if let Some(phase) = phase.filter(|phase| *phase > 0.0) {
            let width = phase / longest * 100.0;
            rectangles.push(&html!(
                "<rect class={} x=\"{}%\" width=\"{}%\" height=\"100%\"><title>{}</title></rect>",
                class,
                format!("{start:.2}"),
                format!("{width:.2}"),
                format!("{title} {}", seconds(phase))
            ));
            start += width;
        }
    }
    Some(html!(
        "<svg class=bar aria-hidden=true>{}</svg>",
        rectangles
    ))
}
