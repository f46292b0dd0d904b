//! Failures that are expected: by the project's list, and by the tests themselves.

use std::collections::BTreeMap;

use super::markup::{Html, html, name};
use super::{CountedHtml, TestMatrix, TestVerdict, folded_tests, muted, spans, table};

pub(super) fn section(matrix: &TestMatrix<'_>) -> CountedHtml {
    // The runs of each test by reason; without one, the tests themselves say so.
    let mut reasons = BTreeMap::<Option<&str>, BTreeMap<&str, Vec<usize>>>::new();
    let mut count = 0;
    for row in &matrix.rows {
        count += usize::from(row.verdicts.contains(&TestVerdict::ExpectedFailure));
        for run in row.runs(|verdict| verdict == TestVerdict::ExpectedFailure) {
            let reason = row.cells[run].and_then(|test| test.expected.as_deref());
            let tests = reasons.entry(reason).or_default();
            tests.entry(row.test).or_default().push(run);
        }
    }
    let nothing = (count == 0).then(|| html!("<p>No test failed as expected.</p>\n"));
    let reasons = reasons.iter().rev().map(|(reason, tests)| {
        let reason = reason.unwrap_or("Marked as expected failures in the tests");
        let items = tests.iter().map(|(test, runs)| {
            let on = format!("on {}", spans(matrix, runs));
            html!("{} {}", name(test), muted(&on))
        });
        folded_tests(reason, items)
    });
    let reasons = reasons.collect::<Html>();
    (count, html!("{}{}{}", nothing, reasons, ledger(matrix)))
}

/// The project's list as it was when the tests ran.
fn ledger(matrix: &TestMatrix<'_>) -> Option<Html> {
    let entries = &matrix.results.session.expectations;
    let rows = entries.iter().map(|entry| {
        let mut kernels = vec![entry.kernels.as_deref().unwrap_or("all")];
        kernels.extend(entry.flavor.as_deref());
        kernels.extend(entry.arch.as_deref());
        html!(
            "<tr><th scope=row><code>{}</code></th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            entry.test,
            kernels.join(", "),
            entry.until,
            entry.reason
        )
    });
    let table = table(
        "ledger",
        html!("The entries <code>[[expect]]</code> of the project's <code>vmtest.toml</code>."),
        html!(
            "<th scope=col>Tests</th><th scope=col>Kernels</th>\
             <th scope=col>Until</th><th scope=col>Reason</th>"
        ),
        html!("<tbody>\n{}</tbody>\n", rows.collect::<Html>()),
    );
    (!entries.is_empty()).then(|| html!("<h3>What the project lists</h3>\n{}", table))
}
