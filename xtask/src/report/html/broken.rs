//! Runs that were cut short or had to be repeated: what shows how they ended.

use super::markup::{Html, Lines, address, html, lines_within, name, shortened};
use super::{
    LONGEST_BLOCK, LONGEST_CONSOLES, PageSection, Room, TestMatrix, details, item, plural,
};
use crate::model::{results::RunRecord, test_event::RunOutcome};

/// Whether there is more to say about a run than what its tests did: at `#r` and its number.
pub(super) fn is_shown(run: &RunRecord) -> bool {
    !matches!(run.outcome, RunOutcome::Passed | RunOutcome::TestsFailed)
        || !run.retries.is_empty()
        || !run.evidence.trouble.is_empty()
        || run.tally.garbage > 0
}

pub(super) fn section(matrix: &TestMatrix<'_>) -> PageSection {
    let runs = matrix.runs.iter().enumerate();
    let runs = runs.filter(|(_, run)| is_shown(run)).collect::<Vec<_>>();
    let mut room = Room {
        bytes: LONGEST_CONSOLES,
        sharers: 3 * runs.len(),
    };
    let records = runs
        .iter()
        .map(|(number, run)| record(&mut room, *number, run));
    let records = records.collect::<Html>();
    let nothing = runs
        .is_empty()
        .then(|| html!("<p>Every run came to its end.</p>\n"));
    PageSection {
        id: "broken",
        title: "Lost, panicked, stuck and repeated runs",
        count: runs.len(),
        html: html!("{}{}", records, nothing),
    }
}

fn record(room: &mut Room, number: usize, run: &RunRecord) -> Html {
    let evidence = &run.evidence;
    let detail = run.outcome.detail().map(|detail| {
        let detail = shortened(detail.trim_end(), LONGEST_BLOCK).into_owned();
        match detail.contains('\n') {
            true => html!("<pre>\n{}</pre>\n", Lines(&detail)),
            false => html!("<p>{}</p>\n", detail),
        }
    });
    let console = match run.outcome {
        // A kernel that is well has nothing to say about it.
        RunOutcome::RunnerDied { .. } => "",
        _ => &evidence.console_tail,
    };
    html!(
        "<article id=r{0} aria-labelledby=\"rh{0}\">\n\
         <h3 id=rh{0}><code>{1}</code>: {2}</h3>\n{3}<ul>\n{4}</ul>\n{5}{6}{7}</article>\n",
        number,
        run.name.to_string(),
        run.outcome.name(),
        detail,
        facts(run).into_iter().map(item).collect::<Html>(),
        block(
            room,
            "What the kernel said",
            &evidence.trouble,
            html!(" open")
        ),
        block(room, "End of the kernel's messages", console, html!("")),
        block(
            room,
            "End of the tests' output",
            &evidence.output_tail,
            html!("")
        )
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
        let running = retry
            .running()
            .map(|test| html!(", while running {}", name(test)));
        let how = retry.name();
        facts.push(html!("Try {} was {}{}{}", number + 1, how, detail, running));
    }
    if run.tally.garbage > 0 {
        let lines = usize::try_from(run.tally.garbage).unwrap_or(usize::MAX);
        let were = if lines == 1 { "was" } else { "were" };
        facts.push(html!(
            "Its events had {} that {} none",
            plural(lines, "line"),
            were
        ));
    }
    for core in &run.evidence.cores {
        facts.push(html!("Core dump: <code>{}</code>", core.to_string_lossy()));
    }
    for (what, log) in &run.evidence.logs {
        let path = html!("<code>{}</code>", log.to_string_lossy());
        let link = match address(log) {
            Some(address) => html!("<a href=\"{}\">{}</a>", address, path),
            None => path,
        };
        facts.push(html!("Log of the {}: {}", what, link));
    }
    facts
}

/// A text below its title, folded but for what matters most.
fn block(room: &mut Room, title: &str, text: &str, open: Html) -> Option<Html> {
    let share = room.share();
    let text = text.trim_end();
    if text.is_empty() {
        return None;
    }
    let text = lines_within(text, share.min(LONGEST_BLOCK));
    room.use_up(text.len());
    let title = html!("<h4>{}</h4>", title);
    Some(details(open, title, html!("<pre>\n{}</pre>\n", text)))
}
