//! What failed, test by test, with tracebacks on demand. A traceback that occurs on
//! several kernels, or for several tests, is there once.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use super::text::{Name, Text, lines_within, shortened};
use super::{
    LONGEST_BLOCK, LONGEST_TRACEBACKS, Page, Room, Section, Verdict, behaviour, capitalised, mark,
    plural, put,
};
use crate::model::test_event::FinishedTest;

/// The ways in which one test failed, with the runs of each, in order.
type Ways<'r> = Vec<(&'r FinishedTest, Vec<usize>)>;

pub(super) fn section(page: &Page<'_>) -> Section {
    let mut html = String::new();
    let ways = ways(page);
    let mut blocks = Blocks::new();
    let rows = page.matrix.rows.iter().enumerate();
    let rows = rows.filter(|(_, row)| row.worst().is_bad());
    let rows = rows.collect::<Vec<_>>();
    let count = rows.len();
    let mut room = Room {
        bytes: LONGEST_TRACEBACKS,
        sharers: ways.len(),
    };
    for (number, row) in rows {
        let ways = ways.get(row.test);
        put!(
            html,
            "<details class=item id=t{number} data-test>\n<summary>{} <h3>{}</h3> \
             <span class=muted>{}</span>",
            mark(row.worst()),
            Name(row.test),
            Text(&behaviour(row))
        );
        if let Some(reason) = ways.and_then(|ways| reason(ways.first()?.0)) {
            put!(html, "<br><code>{}</code>", Text(&reason));
        }
        html.push_str("</summary>\n");
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
        if let Some(ways) = ways {
            let start = html.len();
            list(&mut html, page, &mut blocks, room.share(), ways);
            room.use_up(html.len() - start);
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
    let mut places = HashMap::new();
    for (number, run) in page.matrix.runs.iter().enumerate() {
        for test in run.tally.bad() {
            let ways = ways.entry(&test.id).or_default();
            let text = (&test.reason, &test.traceback, &test.expected, test.notes());
            let way = (&test.id, test.outcome.name(), text);
            let place = *places.entry(way).or_insert_with(|| {
                ways.push((test, Vec::new()));
                ways.len() - 1
            });
            let (_, runs) = &mut ways[place];
            if runs.last() != Some(&number) {
                runs.push(number);
            }
        }
    }
    ways
}

/// The tracebacks that the page has already: their numbers in addresses.
type Blocks<'r> = HashMap<&'r str, usize>;

/// The bytes of what stands above a traceback, each.
const LONGEST_NOTE: usize = 1000;

/// The first line of what a failure says.
fn reason(test: &FinishedTest) -> Option<Cow<'_, str>> {
    let line = test.reason.as_deref()?.lines().next()?;
    Some(shortened(line, 300))
}

/// All ways in which a test failed, as far as there is room; the first is always there.
fn list<'p>(
    html: &mut String,
    page: &Page<'_>,
    blocks: &mut Blocks<'p>,
    room: usize,
    ways: &Ways<'p>,
) {
    let start = html.len();
    let mut others = BTreeSet::new();
    for (number, (test, runs)) in ways.iter().enumerate() {
        let used = html.len() - start;
        if number > 0 && used >= room {
            others.extend(runs);
        } else {
            let room = room.saturating_sub(used);
            way(html, page, blocks, room, test, runs, number == 0);
        }
    }
    if !others.is_empty() {
        let others = others.into_iter().copied().collect::<Vec<_>>();
        put!(
            html,
            "<p>In other ways on {}: there is no room for them here, but \
             <a href=\"./results.jsonl\">results.jsonl</a> has them.</p>\n",
            Text(&page.spans(&others))
        );
    }
}

/// `first` is the one whose reason stands above it all.
fn way<'p>(
    html: &mut String,
    page: &Page<'_>,
    blocks: &mut Blocks<'p>,
    room: usize,
    test: &'p FinishedTest,
    runs: &[usize],
    first: bool,
) {
    let outcome = capitalised(&test.outcome.name().replace('-', " "));
    put!(html, "<h4>{outcome} on {}", Text(&page.spans(runs)));
    match (&test.expected, reason(test)) {
        (Some(expected), _) => put!(html, ", listed to fail: {}", Text(expected)),
        (None, Some(reason)) if !first => put!(html, ": <code>{}</code>", Text(&reason)),
        (None, _) => {}
    }
    html.push_str("</h4>\n");
    for note in test.notes() {
        put!(html, "<p>{}</p>\n", Text(&shortened(&note, LONGEST_NOTE)));
    }
    let text = test.traceback.as_deref().or(test.reason.as_deref());
    let Some(text) = text.filter(|text| Some(*text) != reason(test).as_deref()) else {
        return;
    };
    if let Some(number) = blocks.get(text) {
        put!(
            html,
            "<p><a href=\"#b{number}\">The same traceback as above</a></p>\n"
        );
        return;
    }
    let number = blocks.len();
    blocks.insert(text, number);
    // A line's end right after the tag is not part of the text (HTML, 13.2.6.4.7).
    put!(
        html,
        "<pre id=b{number}>\n{}</pre>\n",
        lines_within(text.trim_end(), room.min(LONGEST_BLOCK))
    );
}
