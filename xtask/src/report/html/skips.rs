//! What was skipped, by reason: first what was skipped on every kernel, so that nobody
//! believes that it was tested.

use std::fmt::Write as _;

use super::text::{Name, Text};
use super::{Page, Section, Verdict, plural, put};

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
            for skips in &page.matrix.skips {
                reason(&mut html, page, skips.reason, &skips.everywhere, true);
            }
        }
        put!(
            html,
            "<h3>Skipped on some kernels: {}</h3>\n",
            plural(count - everywhere, "test")
        );
        for skips in &page.matrix.skips {
            let some = skips.tests.iter().copied();
            let some = some.filter(|test| skips.everywhere.binary_search(test).is_err());
            let some = some.collect::<Vec<_>>();
            reason(&mut html, page, skips.reason, &some, false);
        }
    }
    Section {
        id: "skipped",
        title: "Skipped",
        count,
        html,
    }
}

fn reason(html: &mut String, page: &Page<'_>, reason: &str, tests: &[&str], everywhere: bool) {
    if tests.is_empty() {
        return;
    }
    put!(
        html,
        "<details class=item data-group>\n<summary>{} <span class=muted>{}</span></summary>\n\
         <ul class=names>\n",
        Text(match reason.trim() {
            "" => "(without a reason)",
            reason => reason,
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
