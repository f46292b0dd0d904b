//! What failed, test by test, with tracebacks on demand. A traceback that occurs on
//! several kernels, or for several tests, is there once.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use super::markup::{Html, html, lines_within, name, shortened};
use super::{
    LONGEST_BLOCK, LONGEST_TRACEBACKS, PageSection, Room, TestMatrix, TestVerdict, capitalised,
    details, mark, muted, plural, spans,
};
use crate::model::test_event::FinishedTest;

/// A way in which a test failed, and the runs in which it did, in order.
type Way<'r> = (&'r FinishedTest, Vec<usize>);

/// The tracebacks that the page has already: their numbers in addresses.
type Blocks<'r> = HashMap<&'r str, usize>;

/// The bytes of what stands above a traceback, each.
const LONGEST_NOTE: usize = 1000;

pub(super) fn section(matrix: &TestMatrix<'_>) -> PageSection {
    let ways = ways(matrix);
    let mut blocks = Blocks::new();
    let mut room = Room {
        bytes: LONGEST_TRACEBACKS,
        sharers: ways.len(),
    };
    let rows = matrix.rows.iter().enumerate();
    let rows = rows
        .filter(|(_, row)| row.worst().is_bad())
        .collect::<Vec<_>>();
    let items = rows.iter().map(|(number, row)| {
        let ways = ways.get(row.test);
        let reason = ways.and_then(|ways| reason(ways.first()?.0));
        let summary = html!(
            "{} <h3>{}</h3> {}{}",
            mark(row.worst()),
            name(row.test),
            muted(&match &row.words {
                Some(words) => words.clone(),
                None => format!("{} wherever it was run", row.worst().verb()),
            }),
            reason.map(|reason| html!("<br><code>{}</code>", reason))
        );
        let runs = row.verdicts.iter().enumerate();
        let unfinished = runs.filter(|(_, verdict)| **verdict == TestVerdict::Unfinished);
        let unfinished = unfinished.map(|(run, _)| {
            html!(
                "<h4>Unfinished on {}</h4>\n<p>It was running when the run ended: \
                 <a href=\"#r{}\">{}</a>.</p>\n",
                matrix.labels[run],
                run,
                matrix.runs[run].outcome.name()
            )
        });
        let unfinished = unfinished.collect::<Html>();
        let ways = ways.map(|ways| list(matrix, &mut blocks, &mut room, ways));
        details(
            html!(" class=item id=t{} data-test", number),
            summary,
            html!("{}{}", unfinished, ways),
        )
    });
    let items = items.collect::<Html>();
    let count = rows.len();
    let head = match count {
        0 => html!("<p>No test failed.</p>\n"),
        count => html!(
            "<p class=muted>{}; each with its tracebacks.</p>\n",
            plural(count, "test")
        ),
    };
    PageSection {
        id: "failures",
        title: "Failures",
        count,
        html: html!("<div id=failed data-group>\n{}{}</div>\n", head, items),
    }
}

/// All failed tests of all runs, by name. A test may fail more than once in a run: its
/// subtests do, and so may its fixtures.
fn ways<'m>(matrix: &'m TestMatrix<'_>) -> HashMap<&'m str, Vec<Way<'m>>> {
    let mut ways = HashMap::<&str, Vec<Way<'_>>>::new();
    let mut places = HashMap::new();
    for (number, run) in matrix.runs.iter().enumerate() {
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

/// The first line of what a failure says.
fn reason(test: &FinishedTest) -> Option<Cow<'_, str>> {
    let line = test.reason.as_deref()?.lines().next()?;
    Some(shortened(line, 300))
}

/// All ways in which a test failed, as far as there is room; the first is always there.
fn list<'m>(
    matrix: &TestMatrix<'_>,
    blocks: &mut Blocks<'m>,
    room: &mut Room,
    ways: &[Way<'m>],
) -> Html {
    let share = room.share();
    let mut html = html!("");
    let mut others = BTreeSet::new();
    for (number, failed) in ways.iter().enumerate() {
        let left = share.saturating_sub(html.len());
        if number > 0 && left == 0 {
            others.extend(&failed.1);
        } else {
            html.push(&way(matrix, blocks, left, failed, number == 0));
        }
    }
    if !others.is_empty() {
        let others = others.into_iter().copied().collect::<Vec<_>>();
        html.push(&html!(
            "<p>In other ways on {}: there is no room for them here, but \
             <a href=\"./results.jsonl\">results.jsonl</a> has them.</p>\n",
            spans(matrix, &others)
        ));
    }
    room.use_up(html.len());
    html
}

/// `first` is the one whose reason stands above it all.
fn way<'m>(
    matrix: &TestMatrix<'_>,
    blocks: &mut Blocks<'m>,
    room: usize,
    (test, runs): &Way<'m>,
    first: bool,
) -> Html {
    let said = match (&test.expected, reason(test)) {
        (Some(expected), _) => Some(html!(", listed to fail: {}", expected)),
        (None, Some(reason)) if !first => Some(html!(": <code>{}</code>", reason)),
        (None, _) => None,
    };
    let notes = test.notes();
    let notes = notes
        .iter()
        .map(|note| html!("<p>{}</p>\n", shortened(note, LONGEST_NOTE)));
    let text = test.traceback.as_deref().or(test.reason.as_deref());
    let text = text.filter(|text| Some(*text) != reason(test).as_deref());
    let traceback = text.map(|text| match (blocks.get(text), blocks.len()) {
        (Some(number), _) => {
            html!(
                "<p><a href=\"#b{}\">The same traceback as above</a></p>\n",
                number
            )
        }
        (None, number) => {
            blocks.insert(text, number);
            let text = lines_within(text.trim_end(), room.min(LONGEST_BLOCK));
            // A line's end right after the tag is not part of the text (HTML, 13.2.6.4.7).
            html!("<pre id=b{}>\n{}</pre>\n", number, text)
        }
    });
    html!(
        "<h4>{} on {}{}</h4>\n{}{}",
        capitalised(&test.outcome.name().replace('-', " ")),
        spans(matrix, runs),
        said,
        notes.collect::<Html>(),
        traceback
    )
}
