//! What was skipped, by reason: first what was skipped on every kernel, so that nobody
//! believes that it was tested.

use std::borrow::Cow;
use std::collections::HashMap;

use super::markup::{Html, html, name, shortened};
use super::{PageSection, TestMatrix, TestVerdict, folded_tests, plural, spans, word};

/// The reasons that are listed; where tests put numbers into theirs there is no end of
/// them.
const MOST_REASONS: usize = 500;

pub(super) fn section(matrix: &TestMatrix<'_>) -> PageSection {
    // The runs that skipped each test.
    let skipped = matrix.rows.iter().map(|row| {
        let runs = row.verdicts.iter().enumerate();
        let runs = runs.filter(|(_, verdict)| **verdict == TestVerdict::Skipped);
        (row.test, runs.map(|(run, _)| run).collect::<Vec<_>>())
    });
    let skipped = skipped
        .filter(|(_, runs)| !runs.is_empty())
        .collect::<HashMap<_, _>>();
    let count = skipped.len();
    let everywhere = matrix
        .rows
        .iter()
        .filter(|row| row.skipped_everywhere())
        .count();
    let all = matrix
        .skips
        .iter()
        .map(|skips| (skips.reason, skips.everywhere.clone()));
    let all = match everywhere {
        0 => html!("<p>Every test was run on at least one kernel.</p>\n"),
        _ => html!(
            "<p>{} Nothing is known about these: no kernel ran them.</p>\n{}",
            word("warn", "▲ not tested"),
            list(all, |test| html!("<li data-test>{}</li>\n", name(test)))
        ),
    };
    let some = matrix.skips.iter().map(|skips| {
        let tests = skips.tests.iter().copied();
        let tests = tests.filter(|test| skips.everywhere.binary_search(test).is_err());
        (skips.reason, tests.collect())
    });
    let some = list(some, |test| {
        let runs = skipped.get(test);
        let runs = runs.map(|runs| html!(" <span class=muted>on {}</span>", spans(matrix, runs)));
        html!("<li data-test>{}{}</li>\n", name(test), runs)
    });
    PageSection {
        id: "skipped",
        title: "Skipped",
        count,
        html: match count {
            0 => html!("<p>No test was skipped.</p>\n"),
            _ => html!(
                "<h3>Skipped on every kernel: {}</h3>\n{}<h3>Skipped on some kernels: {}</h3>\n{}",
                plural(everywhere, "test"),
                all,
                plural(count - everywhere, "test"),
                some
            ),
        },
    }
}

/// The reasons that there are tests for.
fn list<'r>(
    reasons: impl Iterator<Item = (&'r str, Vec<&'r str>)>,
    item: impl Fn(&str) -> Html,
) -> Html {
    let reasons = reasons
        .filter(|(_, tests)| !tests.is_empty())
        .collect::<Vec<_>>();
    let shown = reasons.iter().take(MOST_REASONS).map(|(reason, tests)| {
        let reason = match reason.trim() {
            "" => Cow::Borrowed("(without a reason)"),
            _ => shortened(reason, 300),
        };
        let items = tests.iter().map(|test| item(test));
        folded_tests(&reason, tests.len(), items.collect())
    });
    let shown = shown.collect::<Html>();
    let more = reasons.len().saturating_sub(MOST_REASONS);
    let more = (more > 0).then(|| {
        let more = plural(more, "more reason");
        html!("<p class=muted>And {}: see results.jsonl.</p>\n", more)
    });
    html!("{}{}", shown, more)
}
