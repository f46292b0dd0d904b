//! What failed, test by test, with tracebacks on demand. A traceback that occurs on
//! several kernels, or for several tests, is there once.

use std::collections::{BTreeSet, HashMap};

use super::markup::{Html, html, lines_within, name};
use super::{CountedHtml, LONGEST_BLOCK, LONGEST_TRACEBACKS, Room, TestMatrix, TestVerdict};
use super::{capitalised, details, mark, muted, plural, spans};
use crate::model::test_event::FinishedTest;
use crate::report::compact::{grouped, shortened};
use crate::report::matrix::MatrixRow;

/// A test that failed in a run.
type FailedTest<'r> = (usize, &'r FinishedTest);

/// The tracebacks that the page has already: their numbers in addresses.
type Blocks<'r> = HashMap<&'r str, usize>;

/// The bytes of what stands above a traceback, each.
const LONGEST_NOTE: usize = 1000;

pub(super) fn section(matrix: &TestMatrix<'_>) -> CountedHtml {
    let failures = matrix.runs.iter().enumerate().flat_map(|(number, run)| {
        let tests = run.tally.bad();
        tests.map(move |test| (test.id.as_str(), (number, test)))
    });
    let failures = grouped(failures).into_iter().collect::<HashMap<_, _>>();
    let mut blocks = Blocks::new();
    let mut room = Room {
        bytes: LONGEST_TRACEBACKS,
        sharers: failures.len(),
    };
    let rows = matrix.rows.iter().enumerate();
    let rows = rows.filter(|(_, row)| row.worst().is_bad());
    let items = rows.map(|(number, row)| {
        let unfinished = row.runs(|verdict| verdict == TestVerdict::Unfinished);
        let unfinished = unfinished.map(|run| unfinished_on(matrix, run));
        let unfinished = unfinished.collect::<Html>();
        let failures = failures.get(row.test).map_or(&[][..], Vec::as_slice);
        let ways = (!failures.is_empty())
            .then(|| room.fill(|share| ways(matrix, &mut blocks, share, failures)));
        let attributes = html!(" class=item id=t{} data-test", number);
        let inside = html!("{}{}", unfinished, ways);
        details(attributes, summary(row, failures), inside)
    });
    let items = items.collect::<Vec<_>>();
    let count = items.len();
    let items = items.into_iter().collect::<Html>();
    let head = match count {
        0 => "No test failed.".to_owned(),
        _ => plural(count, "test") + ", with tracebacks.",
    };
    let head = html!("<p class=muted>{}</p>\n", head);
    let html = html!("<div id=failed data-group>\n{}{}</div>\n", head, items);
    (count, html)
}

fn summary(row: &MatrixRow<'_>, failures: &[FailedTest<'_>]) -> Html {
    let reason = failures.first().and_then(|(_, test)| reason(test));
    let reason = reason.map(|reason| html!("<br><code>{}</code>", reason));
    let words = row.words.clone();
    let words = words.unwrap_or_else(|| format!("{} wherever it was run", row.worst().verb()));
    let (mark, name) = (mark(row.worst()), name(row.test));
    html!("{} <h3>{}</h3> {}{}", mark, name, muted(&words), reason)
}

fn unfinished_on(matrix: &TestMatrix<'_>, run: usize) -> Html {
    html!(
        "<h4>Unfinished on {}</h4>\n<p>It was running when the run ended: \
         <a href=\"#r{}\">{}</a>.</p>\n",
        matrix.labels[run],
        run,
        matrix.runs[run].outcome.name()
    )
}

/// The first line of what a failure says.
fn reason(test: &FinishedTest) -> Option<String> {
    let line = test.reason.as_deref()?.lines().next()?;
    Some(shortened(line, 300))
}

/// All ways in which a test failed, as far as there is room; the first is always there. A
/// test may fail more than once in a run: its subtests do, and so may its fixtures.
fn ways<'m>(
    matrix: &TestMatrix<'_>,
    blocks: &mut Blocks<'m>,
    room: usize,
    failures: &[FailedTest<'m>],
) -> Html {
    let mut html = html!("");
    let mut others = BTreeSet::new();
    let ways = grouped(failures.iter().map(|(run, test)| {
        let said = (&test.reason, &test.traceback, &test.expected, test.notes());
        ((test.outcome.name(), said), (*run, *test))
    }));
    for (number, (_, failures)) in ways.iter().enumerate() {
        let left = room.saturating_sub(html.len());
        let runs = failures.iter().map(|(run, _)| *run);
        if number > 0 && left == 0 {
            others.extend(runs);
        } else {
            let mut runs = runs.collect::<Vec<_>>();
            runs.dedup();
            let on = spans(matrix, &runs);
            html.push(&way(blocks, left, failures[0].1, &on, number == 0));
        }
    }
    if !others.is_empty() {
        html.push(&html!(
            "<p>In other ways on {}: there is no room for them here, but \
             <a href=\"./results.jsonl\">results.jsonl</a> has them.</p>\n",
            spans(matrix, &others.into_iter().collect::<Vec<_>>())
        ));
    }
    html
}

/// `first` is the one whose reason stands above it all.
fn way<'m>(
    blocks: &mut Blocks<'m>,
    room: usize,
    test: &'m FinishedTest,
    on: &str,
    first: bool,
) -> Html {
    let reason = reason(test);
    let said = match (&test.expected, &reason) {
        (Some(expected), _) => Some(html!(", listed to fail: {}", expected)),
        (None, Some(reason)) if !first => Some(html!(": <code>{}</code>", reason)),
        (None, _) => None,
    };
    let notes = test.notes().into_iter();
    let notes = notes.map(|note| html!("<p>{}</p>\n", shortened(&note, LONGEST_NOTE)));
    let text = test.traceback.as_deref().or(test.reason.as_deref());
    let text = text.filter(|text| Some(*text) != reason.as_deref());
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
    let outcome = capitalised(&test.outcome.name().replace('-', " "));
    let head = html!("<h4>{} on {}{}</h4>\n", outcome, on, said);
    html!("{}{}{}", head, notes.collect::<Html>(), traceback)
}
