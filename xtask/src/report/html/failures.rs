//! What failed, test by test, with tracebacks on demand. A traceback that occurs on
//! several kernels, or for several tests, is there once.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::text::{Lines, Name, Text, shortened};
use super::{
    LONGEST_BLOCK, LONGEST_TRACEBACKS, Page, Section, Verdict, behaviour, mark, plural, put,
};
use crate::event::FinishedTest;

/// The ways in which one test failed, with the runs of each, in order.
type Ways<'r> = Vec<(&'r FinishedTest, Vec<usize>)>;

pub(super) fn section(page: &Page<'_>) -> Section {
    let mut html = String::new();
    let ways = ways(page);
    let mut blocks = Blocks {
        numbers: HashMap::new(),
        left: LONGEST_TRACEBACKS,
    };
    let mut count = 0;
    for (number, row) in page.matrix.rows.iter().enumerate() {
        if !row.worst().is_bad() {
            continue;
        }
        count += 1;
        put!(
            html,
            "<details class=item id=t{number} data-test>\n<summary>{} <h3>{}</h3> \
             <span class=muted>{}</span></summary>\n",
            mark(row.worst()),
            Name(row.test),
            Text(&behaviour(row))
        );
        let unfinished = (0..row.verdicts.len())
            .filter(|run| row.verdicts[*run] == Verdict::Unfinished)
            .collect::<Vec<_>>();
        for run in unfinished {
            put!(
                html,
                "<h4>Unfinished on {}</h4>\n<p>It was running when the run ended: \
                 <a href=\"#r{run}\">{}</a>.</p>\n",
                Text(&page.matrix.labels[run]),
                page.matrix.runs[run].outcome.name()
            );
        }
        for (test, runs) in ways.get(row.test).into_iter().flatten() {
            way(&mut html, page, &mut blocks, test, runs);
        }
        html.push_str("</details>\n");
    }
    if count == 0 {
        html.push_str("<p>No test failed.</p>\n");
    } else {
        html.insert_str(
            0,
            &format!(
                "<p class=muted>{}; each with its tracebacks.</p>\n",
                plural(count, "test")
            ),
        );
    }
    Section {
        id: "failures",
        title: "Failures",
        count,
        html: format!("<div id=failed data-group>\n{html}</div>\n"),
    }
}

/// All failed tests of all runs, by name. A test may fail more than once in a run: its
/// subtests do, and so may its fixtures.
fn ways<'p>(page: &'p Page<'_>) -> HashMap<&'p str, Ways<'p>> {
    let mut ways = HashMap::<&str, Ways<'p>>::new();
    for (number, run) in page.matrix.runs.iter().enumerate() {
        for test in run.tally.bad() {
            let ways = ways.entry(&test.id).or_default();
            let same = |(other, _): &&mut (&FinishedTest, Vec<usize>)| {
                other.outcome == test.outcome
                    && other.expected == test.expected
                    && other.reason == test.reason
                    && other.traceback == test.traceback
            };
            match ways.iter_mut().find(same) {
                Some((_, runs)) if runs.last() == Some(&number) => {}
                Some((_, runs)) => runs.push(number),
                None => ways.push((test, vec![number])),
            }
        }
    }
    ways
}

/// The tracebacks that the page has already: their numbers in addresses.
struct Blocks<'r> {
    numbers: HashMap<&'r str, usize>,
    /// The bytes that there is room for.
    left: usize,
}

fn way<'p>(
    html: &mut String,
    page: &Page<'_>,
    blocks: &mut Blocks<'p>,
    test: &'p FinishedTest,
    runs: &[usize],
) {
    let mut outcome = test.outcome.name().replace('-', " ");
    if let Some(first) = outcome.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    put!(html, "<h4>{outcome} on {}", Text(&page.spans(runs)));
    let reason = test.reason.as_deref().and_then(|text| text.lines().next());
    match (&test.expected, reason) {
        (Some(expected), _) => put!(html, ", listed to fail: {}", Text(expected)),
        (None, Some(reason)) => {
            put!(html, ": <code>{}</code>", Text(&shortened(reason, 400)));
        }
        (None, None) => {}
    }
    html.push_str("</h4>\n");
    let Some(text) = test.traceback.as_deref().or(test.reason.as_deref()) else {
        return;
    };
    if Some(text) == reason {
        return;
    }
    if let Some(number) = blocks.numbers.get(text) {
        put!(
            html,
            "<p><a href=\"#b{number}\">The same traceback as above</a></p>\n"
        );
        return;
    }
    if blocks.left == 0 {
        html.push_str(
            "<p class=muted>Left out here, as the page has many: see results.jsonl.</p>\n",
        );
        return;
    }
    let number = blocks.numbers.len();
    blocks.numbers.insert(text, number);
    let start = html.len();
    // A line's end right after the tag is not part of the text (HTML, 13.2.6.4.7).
    put!(
        html,
        "<pre id=b{number}>\n{}</pre>\n",
        Lines(&shortened(text.trim_end(), LONGEST_BLOCK))
    );
    blocks.left = blocks.left.saturating_sub(html.len() - start);
}
