//! Runs that were cut short or had to be repeated: what shows how they ended.

use super::markup::{Html, Lines, address, html, lines_within, name};
use super::{CountedHtml, LONGEST_BLOCK, LONGEST_CONSOLES, Room, TestMatrix, details};
use crate::model::results::RunRecord;
use crate::report::compact::shortened;
use crate::report::matrix::{console, is_odd};

/// Whether there is more to say about a run than what its tests did: at `#r` and its number.
pub(super) fn is_shown(run: &RunRecord) -> bool {
    is_odd(run)
        || !run.retries.is_empty()
        || !run.evidence.trouble.is_empty()
        || run.tally.garbage > 0
}

pub(super) fn section(matrix: &TestMatrix<'_>) -> CountedHtml {
    let runs = matrix.runs.iter().enumerate();
    let runs = runs.filter(|(_, run)| is_shown(run)).collect::<Vec<_>>();
    if runs.is_empty() {
        return (0, html!("<p>Every run came to its end.</p>\n"));
    }
    let mut room = Room {
        bytes: LONGEST_CONSOLES,
        sharers: 3 * runs.len(),
    };
    let records = runs.iter();
    let records = records.map(|(number, run)| record(&mut room, *number, run));
    (runs.len(), records.collect())
}

fn record(room: &mut Room, number: usize, run: &RunRecord) -> Html {
    let evidence = &run.evidence;
    let detail = run.outcome.detail().map(|detail| {
        let detail = shortened(detail.trim_end(), LONGEST_BLOCK);
        match detail.contains('\n') {
            true => html!("<pre>\n{}</pre>\n", Lines(&detail)),
            false => html!("<p>{}</p>\n", detail),
        }
    });
    let mut block = |title: &str, text: &str, open: Html| {
        let lines = room.fill(|share| lines_within(text.trim_end(), share.min(LONGEST_BLOCK)));
        let title = html!("<h4>{}</h4>", title);
        (lines.len() > 0).then(|| details(open, title, html!("<pre>\n{}</pre>\n", lines)))
    };
    let facts = facts(run).into_iter();
    let facts = facts.map(|fact| html!("<li>{}</li>\n", fact));
    html!(
        "<article id=r{0} aria-labelledby=\"rh{0}\">\n\
         <h3 id=rh{0}><code>{1}</code>: {2}</h3>\n{3}<ul>\n{4}</ul>\n{5}{6}{7}</article>\n",
        number,
        run.name.to_string(),
        run.outcome.name(),
        detail,
        facts.collect::<Html>(),
        block("What the kernel said", &evidence.trouble, html!(" open")),
        block("End of the kernel's messages", console(run), html!("")),
        block("End of the tests' output", &evidence.output_tail, html!(""))
    )
}

fn facts(run: &RunRecord) -> Vec<Html> {
    let mut facts = Vec::new();
    if let Some(test) = run.outcome.running() {
        facts.push(html!("Running then: {}", name(test)));
    } else if run.outcome.detail().is_some() {
        let last = run.tally.last.as_deref();
        facts.extend(last.map(|test| html!("Finished last: {}", name(test))));
    }
    for (number, retry) in run.retries.iter().enumerate() {
        let detail = retry.detail();
        let detail = detail.map(|detail| html!(": {}", shortened(detail.trim_end(), 400)));
        let running = retry.running();
        let running = running.map(|test| html!(", while running {}", name(test)));
        let how = html!("{}{}{}", retry.name(), detail, running);
        facts.push(html!("Try {} was {}", number + 1, how));
    }
    if let lines @ 1.. = run.tally.garbage {
        let lines = lines.to_string();
        facts.push(html!(
            "Lines on the events port that are no events: {}",
            lines
        ));
    }
    for core in &run.evidence.cores {
        facts.push(html!(
            "Core dump: <code>{}</code>",
            core.to_string_lossy().as_ref()
        ));
    }
    for (what, log) in &run.evidence.logs {
        let path = html!("<code>{}</code>", log.to_string_lossy().as_ref());
        let link = match address(log) {
            Some(address) => html!("<a href=\"{}\">{}</a>", address, path),
            None => path,
        };
        facts.push(html!("Log of the {}: {}", what, link));
    }
    facts
}
