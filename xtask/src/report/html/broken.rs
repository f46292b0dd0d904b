//! Runs that were cut short or had to be repeated: what shows how they ended.

use std::fmt::Write as _;

use super::text::{Lines, Name, Text, address, lines_within, shortened};
use super::{LONGEST_BLOCK, LONGEST_CONSOLES, Page, Room, Section, plural, put};
use crate::model::results::RunRecord;
use crate::model::test_event::RunOutcome;

/// Whether there is more to say about a run than what its tests did.
pub(super) fn is_shown(run: &RunRecord) -> bool {
    !matches!(run.outcome, RunOutcome::Passed | RunOutcome::TestsFailed)
        || !run.retries.is_empty()
        || !run.evidence.trouble.is_empty()
        || run.tally.garbage > 0
}

pub(super) fn section(page: &Page<'_>) -> Section {
    let mut html = String::new();
    let runs = page.matrix.runs.iter().enumerate();
    let runs = runs.filter(|(_, run)| is_shown(run)).collect::<Vec<_>>();
    let count = runs.len();
    let mut room = Room {
        bytes: LONGEST_CONSOLES,
        sharers: 3 * count,
    };
    for (number, run) in runs {
        record(&mut html, &mut room, number, run);
    }
    if count == 0 {
        html.push_str("<p>Every run came to its end.</p>\n");
    }
    Section {
        id: "broken",
        title: "Lost, panicked, stuck and repeated runs",
        count,
        html,
    }
}

fn record(html: &mut String, room: &mut Room, number: usize, run: &RunRecord) {
    put!(
        html,
        "<article id=r{number} aria-labelledby=\"rh{number}\">\n\
         <h3 id=rh{number}><code>{}</code>: {}</h3>\n",
        Text(&run.name.to_string()),
        run.outcome.name()
    );
    if let Some(detail) = run.outcome.detail() {
        let detail = shortened(detail.trim_end(), LONGEST_BLOCK);
        if detail.contains('\n') {
            put!(html, "<pre>\n{}</pre>\n", Lines(&detail));
        } else {
            put!(html, "<p>{}</p>\n", Text(&detail));
        }
    }
    html.push_str("<ul>\n");
    if let Some(test) = run.outcome.running() {
        put!(html, "<li>Running then: {}</li>\n", Name(test));
    } else if run.outcome.detail().is_some()
        && let Some(test) = &run.tally.last
    {
        put!(html, "<li>Finished last: {}</li>\n", Name(test));
    }
    for (number, retry) in run.retries.iter().enumerate() {
        put!(html, "<li>Try {} was {}", number + 1, retry.name());
        if let Some(detail) = retry.detail() {
            put!(html, ": {}", Text(&shortened(detail.trim_end(), 400)));
        }
        if let Some(test) = retry.running() {
            put!(html, ", while running {}", Name(test));
        }
        html.push_str("</li>\n");
    }
    if run.tally.garbage > 0 {
        let lines = usize::try_from(run.tally.garbage).unwrap_or(usize::MAX);
        put!(
            html,
            "<li>Its events had {} that {} none</li>\n",
            plural(lines, "line"),
            if lines == 1 { "was" } else { "were" }
        );
    }
    for core in &run.evidence.cores {
        put!(
            html,
            "<li>Core dump: <code>{}</code></li>\n",
            Text(&core.to_string_lossy())
        );
    }
    for (what, log) in &run.evidence.logs {
        let path = log.to_string_lossy();
        match address(log) {
            Some(address) => put!(
                html,
                "<li>Log of the {}: <a href=\"{address}\"><code>{}</code></a></li>\n",
                Text(what),
                Text(&path)
            ),
            None => put!(
                html,
                "<li>Log of the {}: <code>{}</code></li>\n",
                Text(what),
                Text(&path)
            ),
        }
    }
    html.push_str("</ul>\n");
    let evidence = &run.evidence;
    block(html, room, "What the kernel said", &evidence.trouble, true);
    let console = match run.outcome {
        // A kernel that is well has nothing to say about it.
        RunOutcome::RunnerDied { .. } => "",
        _ => &evidence.console_tail,
    };
    block(html, room, "End of the kernel's messages", console, false);
    block(
        html,
        room,
        "End of the tests' output",
        &evidence.output_tail,
        false,
    );
    html.push_str("</article>\n");
}

/// A text below its title, folded but for what matters most.
fn block(html: &mut String, room: &mut Room, title: &str, text: &str, open: bool) {
    let share = room.share();
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    let text = lines_within(text, share.min(LONGEST_BLOCK));
    put!(
        html,
        "<details{}>\n<summary><h4>{title}</h4></summary>\n<pre>\n{text}</pre>\n</details>\n",
        if open { " open" } else { "" }
    );
    room.use_up(text.len());
}
