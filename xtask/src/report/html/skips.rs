//! What was skipped, by reason: first what was skipped on every kernel, so that nobody
//! believes that it was tested.

use std::collections::HashMap;

use super::markup::{Html, html, name};
use super::{CountedHtml, TestMatrix, TestVerdict, folded_tests, muted, plural, spans, word};
use crate::report::compact::shortened;

/// The reasons that are listed: some tests put numbers into theirs.
const MOST_REASONS: usize = 500;

pub(super) fn section(matrix: &TestMatrix<'_>) -> CountedHtml {
    // The runs that skipped each test.
    let skipped = matrix.rows.iter().map(|row| {
        let runs = row.runs(|verdict| verdict == TestVerdict::Skipped);
        (row.test, runs.collect::<Vec<_>>())
    });
    let skipped = skipped.filter(|(_, runs)| !runs.is_empty());
    let skipped = skipped.collect::<HashMap<_, _>>();
    let count = skipped.len();
    if count == 0 {
        return (0, html!("<p>No test was skipped.</p>\n"));
    }
    let everywhere = matrix.rows.iter().filter(|row| row.skipped_everywhere());
    let everywhere = everywhere.count();
    let all = matrix.skips.iter();
    let all = all.map(|skips| (skips.reason, skips.everywhere.clone()));
    let all = match everywhere {
        0 => html!("<p>Every test was run on at least one kernel.</p>\n"),
        _ => html!(
            "<p>{} Nothing is known about these: no kernel ran them.</p>\n{}",
            word("warn", "▲ not tested"),
            by_reason(all, name)
        ),
    };
    let some = matrix.skips.iter().map(|skips| {
        let tests = skips.tests.iter().copied();
        let tests = tests.filter(|test| skips.everywhere.binary_search(test).is_err());
        (skips.reason, tests.collect())
    });
    let some = by_reason(some, |test| {
        let runs = skipped.get(test);
        let runs = runs.map(|runs| muted(&format!("on {}", spans(matrix, runs))));
        html!("{}{}", name(test), runs.map(|runs| html!(" {}", runs)))
    });
    let html = html!(
        "<h3>Skipped on every kernel: {}</h3>\n{}<h3>Skipped on some kernels: {}</h3>\n{}",
        plural(everywhere, "test"),
        all,
        plural(count - everywhere, "test"),
        some
    );
    (count, html)
}

/// The reasons that there are tests for.
fn by_reason<'r>(
    reasons: impl Iterator<Item = (&'r str, Vec<&'r str>)>,
    item: impl Fn(&str) -> Html,
) -> Html {
    let reasons = reasons.filter(|(_, tests)| !tests.is_empty());
    let reasons = reasons.collect::<Vec<_>>();
    let shown = reasons.iter().take(MOST_REASONS).map(|(reason, tests)| {
        let reason = match reason.trim() {
            "" => "(without a reason)",
            _ => reason,
        };
        folded_tests(&shortened(reason, 300), tests.iter().map(|test| item(test)))
    });
    let shown = shown.collect::<Html>();
    let more = reasons.len().saturating_sub(MOST_REASONS);
    let more = (more > 0).then(|| plural(more, "more reason"));
    let more = more.map(|more| html!("<p class=muted>And {}: see results.jsonl.</p>\n", more));
    html!("{}{}", shown, more)
}
