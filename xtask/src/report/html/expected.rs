//! Failures that are expected: by the project's list, and by the tests themselves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::text::{Name, Text};
use super::{Page, Section, Verdict, close_table, open_table, plural, put};

/// Runs by test.
type Tests<'r> = BTreeMap<&'r str, Vec<usize>>;

pub(super) fn section(page: &Page<'_>) -> Section {
    let mut html = String::new();
    // By reason; without one, the tests themselves say so.
    let mut reasons = BTreeMap::<Option<&str>, Tests<'_>>::new();
    let mut count = 0;
    for row in &page.matrix.rows {
        let mut any = false;
        for (run, verdict) in row.verdicts.iter().enumerate() {
            if *verdict != Verdict::ExpectedFailure {
                continue;
            }
            any = true;
            let reason = row.cells[run].and_then(|test| test.expected.as_deref());
            let tests = reasons.entry(reason).or_default();
            tests.entry(row.test).or_default().push(run);
        }
        count += usize::from(any);
    }
    if count == 0 {
        html.push_str("<p>No test failed as expected.</p>\n");
    }
    for (reason, tests) in reasons.iter().rev() {
        put!(
            html,
            "<details class=item data-group>\n<summary>{} <span class=muted>{}</span></summary>\n\
             <ul class=names>\n",
            Text(reason.unwrap_or("Marked as expected failures in the tests")),
            plural(tests.len(), "test")
        );
        for (test, runs) in tests {
            put!(
                html,
                "<li data-test>{} <span class=muted>on {}</span></li>\n",
                Name(test),
                Text(&page.spans(runs))
            );
        }
        html.push_str("</ul>\n</details>\n");
    }
    ledger(&mut html, page);
    Section {
        id: "expected",
        title: "Expected failures",
        count,
        html,
    }
}

/// The project's list as it was when the tests ran.
fn ledger(html: &mut String, page: &Page<'_>) {
    let entries = &page.matrix.results.session.expectations;
    if entries.is_empty() {
        return;
    }
    html.push_str("<h3>What the project lists</h3>\n");
    open_table(
        html,
        "ledger",
        "Table of listed failures",
        "The entries <code>[[expect]]</code> of the project's <code>vmtest.toml</code>.",
    );
    html.push_str(
        "<thead>\n<tr><th scope=col>Tests</th><th scope=col>Kernels</th>\
         <th scope=col>Until</th><th scope=col>Reason</th></tr>\n</thead>\n<tbody>\n",
    );
    for entry in entries {
        let mut kernels = vec![entry.kernels.as_deref().unwrap_or("all")];
        kernels.extend(entry.flavor.as_deref());
        kernels.extend(entry.arch.as_deref());
        put!(
            html,
            "<tr><th scope=row><code>{}</code></th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            Text(&entry.test),
            Text(&kernels.join(", ")),
            Text(entry.until.as_deref().unwrap_or("")),
            Text(&entry.reason)
        );
    }
    html.push_str("</tbody>\n");
    close_table(html);
}
