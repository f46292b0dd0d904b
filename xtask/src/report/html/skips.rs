//! What was skipped, by reason: first what was skipped on every kernel, so that nobody
//! believes that it was tested.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::text::{Name, Text, shortened};
use super::{Page, Section, Verdict, plural, put};

/// The reasons that are listed; where tests put numbers into theirs there is no end of
/// them.
const MOST_REASONS: usize = 500;

pub(super) fn section(page: &Page<'_>) -> Section {
    let mut html = String::new();
    let rows = &page.matrix.rows;
    let skipped = |row: &&super::Row<'_>| row.verdicts.contains(&Verdict::Skipped);
    let count = rows.iter().filter(skipped).count();
    let everywhere = rows.iter().filter(|row| row.skipped_everywhere()).count();
    if count == 0 {
        html.push_str("<p>No test was skipped.</p>\n");
    } else {
        put!(
            html,
            "<h3>Skipped on every kernel: {}</h3>\n",
            plural(everywhere, "test")
        );
        if everywhere == 0 {
            html.push_str("<p>Every test was run on at least one kernel.</p>\n");
        } else {
            html.push_str(
                "<p><span class=\"mark warn\">▲ not tested</span> Nothing is known about \
                 these: no kernel ran them.</p>\n",
            );
            let skips = page.matrix.skips.iter();
            let reasons = skips.map(|skips| (skips.reason, skips.everywhere.clone()));
            list(&mut html, page, reasons, true);
        }
        put!(
            html,
            "<h3>Skipped on some kernels: {}</h3>\n",
            plural(count - everywhere, "test")
        );
        let reasons = page.matrix.skips.iter().map(|skips| {
            let some = skips.tests.iter().copied();
            let some = some.filter(|test| skips.everywhere.binary_search(test).is_err());
            (skips.reason, some.collect())
        });
        list(&mut html, page, reasons, false);
    }
    Section {
        id: "skipped",
        title: "Skipped",
        count,
        html,
    }
}

/// The reasons that there are tests for.
fn list<'r>(
    html: &mut String,
    page: &Page<'_>,
    reasons: impl Iterator<Item = (&'r str, Vec<&'r str>)>,
    everywhere: bool,
) {
    let reasons = reasons.filter(|(_, tests)| !tests.is_empty());
    let reasons = reasons.collect::<Vec<_>>();
    for (text, tests) in reasons.iter().take(MOST_REASONS) {
        reason(html, page, text, tests, everywhere);
    }
    if let Some(more @ 1..) = reasons.len().checked_sub(MOST_REASONS) {
        put!(
            html,
            "<p class=muted>And {}: see results.jsonl.</p>\n",
            plural(more, "more reason")
        );
    }
}

fn reason(html: &mut String, page: &Page<'_>, reason: &str, tests: &[&str], everywhere: bool) {
    put!(
        html,
        "<details class=item data-group>\n<summary>{} <span class=muted>{}</span></summary>\n\
         <ul class=names>\n",
        Text(&match reason.trim() {
            "" => Cow::Borrowed("(without a reason)"),
            reason => shortened(reason, 300),
        }),
        plural(tests.len(), "test")
    );
    for test in tests {
        put!(html, "<li data-test>{}", Name(test));
        if !everywhere && let Some(number) = page.rows.get(test) {
            let verdicts = page.matrix.rows[*number].verdicts.iter().enumerate();
            let runs = verdicts
                .filter(|(_, verdict)| **verdict == Verdict::Skipped)
                .map(|(run, _)| run)
                .collect::<Vec<_>>();
            put!(
                html,
                " <span class=muted>on {}</span>",
                Text(&page.spans(&runs))
            );
        }
        html.push_str("</li>\n");
    }
    html.push_str("</ul>\n</details>\n");
}
