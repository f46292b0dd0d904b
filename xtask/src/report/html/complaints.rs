//! What the kernels complained of: one report of each, folded. What is allowed stands last and
//! is not marked as wrong.

use super::markup::{Html, html, lines_within, name};
use super::{CountedHtml, LONGEST_BLOCK, LONGEST_CONSOLES, Room, TestMatrix};
use super::{details, list, muted, plural, spans, word};
use crate::report::compact::shortened;
use crate::report::complaints::{ComplaintGroup, report};

/// So many are listed.
const MOST: usize = 500;

/// So many tests are named for each.
const NAMED_TESTS: usize = 50;

pub(super) fn section(matrix: &TestMatrix<'_>) -> CountedHtml {
    let count = matrix.complaints.len();
    if count == 0 {
        return (0, html!("<p>No kernel complained.</p>\n"));
    }
    let mut room = Room {
        bytes: LONGEST_CONSOLES,
        sharers: count.min(MOST),
    };
    let items = matrix.complaints.iter().take(MOST).enumerate();
    let items = items.map(|(number, group)| item(matrix, &mut room, number, group));
    let more = count.saturating_sub(MOST);
    let more =
        (more > 0).then(|| html!("<p class=muted>And {} more: see results.jsonl.</p>\n", more));
    (count, items.chain(more).collect())
}

fn item(
    matrix: &TestMatrix<'_>,
    room: &mut Room,
    number: usize,
    group: &ComplaintGroup<'_>,
) -> Html {
    let first = group.first();
    let mark = match group.is_bad() {
        true => word("bad", "✗ complained"),
        false => word("good", "✓ allowed"),
    };
    let on = spans(matrix, &group.runs());
    let words = match &group.words {
        Some(words) => format!("{words}: on {on}"),
        None => format!("on {on}"),
    };
    let title = html!("<h3><code>{}</code></h3>", shortened(&first.title, 300));
    let summary = html!("{} {} {}", mark, title, muted(&words));
    let times = plural(group.complaints.len(), "time");
    let mut facts = vec![html!("{}, {}", first.kind, times)];
    let reasons = group.reasons().into_iter();
    facts.extend(reasons.map(|reason| html!("Allowed: {}", reason)));
    let tests = group.tests();
    let named = tests.iter().take(NAMED_TESTS);
    facts.extend(named.map(|test| html!("Running then: {}", name(test))));
    let more = tests.len().saturating_sub(NAMED_TESTS);
    facts.extend((more > 0).then(|| html!("And {}", plural(more, "more test"))));
    let facts = list("plain", facts.into_iter());
    let lines = room.fill(|share| lines_within(&report(first), share.min(LONGEST_BLOCK)));
    let inside = html!("{}<pre>\n{}</pre>\n", facts, lines);
    details(html!(" class=item id=c{}", number), summary, inside)
}
