//! `report.html`: all that is known about a session as one page, for people.
//!
//! The page is complete in itself: its style and script are in it, it fetches nothing,
//! and its content security policy forbids that it ever does. It says everything
//! without the script, which only filters and unfolds. What is not the same on every
//! kernel comes first; what is long (tracebacks, consoles) is folded.
//!
//! Outcomes are told by a letter, a word and a colour, never by colour alone. Text from
//! a guest goes through `text`, so that it stays text.
//!
//! The same results give the same bytes: nothing is asked of clocks or the machine.

mod broken;
mod expected;
mod failures;
mod kernels;
mod rows;
mod skips;
mod text;

use std::collections::HashMap;
use std::fmt::Write as _;

use self::text::{Text, base64};
use super::matrix::{Matrix, Row, Verdict};
use super::totals::{Totals, plural};
use crate::base::embedded::{REPORT_SCRIPT, REPORT_STYLE};
use crate::base::sha256::Sha256;
use crate::model::results::Results;

/// Writes formatted text to a page; that cannot fail.
macro_rules! put {
    ($page:expr, $($text:tt)*) => {{
        let _ = write!($page, $($text)*);
    }};
}
use put;

/// The bytes of failures and tracebacks that a page has at most. With
/// [`LONGEST_CONSOLES`] it keeps the page of a session in which everything failed small
/// enough for a browser. The results file has them all.
const LONGEST_TRACEBACKS: usize = 1_000_000;

/// The bytes of excerpts and tails that a page has at most.
const LONGEST_CONSOLES: usize = 500_000;

/// The bytes of one traceback, excerpt or tail.
const LONGEST_BLOCK: usize = 16 * 1024;

/// The room that a page has for texts that may be long. Those that follow share what
/// is left, so that the last has its part as well.
struct Room {
    bytes: usize,
    sharers: usize,
}

impl Room {
    /// What the next one may use.
    fn share(&mut self) -> usize {
        let share = self.bytes / self.sharers.max(1);
        self.sharers = self.sharers.saturating_sub(1);
        share
    }

    /// It used this much.
    fn use_up(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What the sections of the page are made of.
struct Page<'r> {
    matrix: Matrix<'r>,
    /// The rows by the test's name.
    rows: HashMap<&'r str, usize>,
}

/// The page. It names logs by their addresses beside it, so it belongs into the folder
/// of the results.
pub fn render(results: &Results) -> String {
    let matrix = Matrix::new(results);
    let rows = matrix.rows.iter().enumerate();
    let rows = rows.map(|(number, row)| (row.test, number)).collect();
    let page = Page { matrix, rows };

    // A section is its name in addresses, its title, how many things it has, its text.
    let sections = [
        kernels::section(&page),
        rows::differing(&page),
        failures::section(&page),
        skips::section(&page),
        broken::section(&page),
        expected::section(&page),
        rows::all(&page),
    ];
    let mut html = String::with_capacity(
        sections
            .iter()
            .map(|section| section.html.len())
            .sum::<usize>()
            + REPORT_STYLE.len()
            + REPORT_SCRIPT.len()
            + 8 * 1024,
    );
    head(&mut html, &page);
    put!(html, "<nav aria-label=\"Sections\">\n<ul>\n");
    for section in &sections {
        put!(
            html,
            "<li><a href=\"#{}\">{}</a> <span class=muted>{}</span></li>\n",
            section.id,
            section.title,
            section.count
        );
    }
    html.push_str("</ul>\n</nav>\n");
    html.push_str(CONTROLS);
    html.push_str("</header>\n<main id=main tabindex=\"-1\">\n");
    for section in sections {
        put!(
            html,
            "<section aria-labelledby=\"{0}\">\n<h2 id=\"{0}\">{1}</h2>\n{2}</section>\n",
            section.id,
            section.title,
            section.html
        );
    }
    put!(
        html,
        "</main>\n<footer>\n<p>Made by vmtest from <a href=\"./results.jsonl\">results.jsonl</a>, \
         which has everything that is shortened here.</p>\n</footer>\n\
         <script>{REPORT_SCRIPT}</script>\n</body>\n</html>\n"
    );
    html
}

/// A part of the page.
struct Section {
    /// Its name in addresses.
    id: &'static str,
    title: &'static str,
    /// How many things it has, for the list of sections.
    count: usize,
    html: String,
}

/// What the script works with. Without it this stays hidden.
const CONTROLS: &str = r#"<div class=controls id=controls role=search hidden>
<label>Filter tests <input type=search id=filter autocomplete=off spellcheck=false></label>
<span id=found role=status></span>
<button type=button id=open>Unfold all</button>
<button type=button id=close>Fold all</button>
<label><input type=checkbox id=keys checked> Keys: <span><kbd>/</kbd> filter, <kbd>n</kbd> and <kbd>p</kbd> next and previous failure</span></label>
</div>
"#;

/// Everything before the list of sections.
fn head(html: &mut String, page: &Page<'_>) {
    let digest = |text: &str| base64(&Sha256::bytes_of(text));
    let session = &page.matrix.results.session;
    let project = match session.project.as_str() {
        "" => "Tests",
        project => project,
    };
    let headline = page.matrix.headline();
    put!(
        html,
        "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <meta name=color-scheme content=\"light dark\">\n\
         <meta name=referrer content=no-referrer>\n\
         <title>{}: {}</title>\n<style>{REPORT_STYLE}</style>\n</head>\n<body>\n\
         <a class=skip href=\"#main\">Skip to the results</a>\n<header>\n",
        digest(REPORT_STYLE),
        digest(REPORT_SCRIPT),
        Text(project),
        Text(&headline),
    );
    let runs = &page.matrix.runs;
    // The tests after a kernel's crash are a run of their own.
    let names = runs.iter().map(|run| &run.name);
    let names = names.filter(|name| !name.arch.is_empty() && name.phase.is_none());
    let kernels = names.count();
    put!(
        html,
        "<h1>{} on {}</h1>\n<p>{} {}</p>\n",
        Text(project),
        match (kernels, runs.len()) {
            (0, 1..) => "this host".to_owned(),
            _ => plural(kernels, "kernel"),
        },
        verdict(page),
        Text(&headline),
    );
    if !page.matrix.results.findings.is_empty() {
        html.push_str("<ul class=plain>\n");
        for finding in &page.matrix.results.findings {
            put!(
                html,
                "<li><span class=\"mark bad\">✗ wrong</span> {}</li>\n",
                Text(finding)
            );
        }
        html.push_str("</ul>\n");
    }
    counts(html, page);
    html.push_str("<ul class=plain>\n");
    if !session.started.is_empty() {
        let started = session.started.replace('T', " ").replace('Z', " UTC");
        put!(html, "<li>Started {}</li>\n", Text(&started));
    }
    if !session.kernels.is_empty() {
        let requests = session.kernels.iter();
        let requests = requests.map(|request| format!("<code>{}</code>", Text(request)));
        put!(
            html,
            "<li>Asked for {}</li>\n",
            requests.collect::<Vec<_>>().join(", ")
        );
    }
    if let Some((part, of)) = session.partition {
        put!(html, "<li>Only partition {part} of {of} of these</li>\n");
    }
    if session.filtered {
        html.push_str("<li>Only some of the tests were asked for</li>\n");
    }
    if !page.matrix.results.finished {
        html.push_str(
            "<li><span class=\"mark warn\">▲ unfinished</span> The session ended before \
             everything was done: this is not the whole.</li>\n",
        );
    }
    html.push_str("</ul>\n");
}

/// How the session ended: what a run's end says comes before what was found besides.
fn verdict(page: &Page<'_>) -> String {
    let results = page.matrix.results;
    let (class, text) = match results.runs_status() {
        _ if results.runs.is_empty() => ("warn", "▲ nothing was run"),
        _ if !results.finished => ("warn", "▲ cut short"),
        0 if !results.findings.is_empty() => ("bad", "✗ not as it should be"),
        0 => ("good", "✓ passed"),
        1 => ("bad", "✗ tests failed"),
        3 => ("bad", "✗ not everything could be set up"),
        4 => ("bad", "✗ a kernel did not last"),
        _ => ("warn", "▲ no tests ran"),
    };
    format!("<span class=\"mark {class}\">{text}</span>")
}

/// What the tests did, on all kernels together.
fn counts(html: &mut String, page: &Page<'_>) {
    let runs = page.matrix.runs.iter().map(|run| Totals::of(&run.tally));
    let sum = runs.fold(Totals::default(), Totals::plus);
    let tests = plural(page.matrix.rows.len(), "test");
    put!(html, "<p>{tests}; on all kernels together: ");
    let counts = sum.counted().map(|(_, words)| words).collect::<Vec<_>>();
    html.push_str(&match counts.is_empty() {
        true => "nothing".to_owned(),
        false => counts.join(", "),
    });
    html.push_str("</p>\n");
}

impl Page<'_> {
    /// Runs by their labels, neighbours as a range: `5.10, 6.1 to 6.12 (4 kernels)`.
    /// The numbers are in order.
    fn spans(&self, runs: &[usize]) -> String {
        let labels = &self.matrix.labels;
        let mut texts = Vec::new();
        for neighbours in runs.chunk_by(|a, b| a + 1 == *b) {
            match neighbours {
                [first, _, .., last] => {
                    texts.push(format!("{} to {}", labels[*first], labels[*last]))
                }
                few => texts.extend(few.iter().map(|run| labels[*run].clone())),
            }
        }
        let mut text = texts.join(", ");
        if runs.len() > texts.len() {
            put!(text, " ({} kernels)", runs.len());
        }
        text
    }

    /// Whether more is said about a run than what its tests did: at `#r` and its number.
    fn has_evidence(&self, run: usize) -> bool {
        broken::is_shown(self.matrix.runs[run])
    }
}

/// The class of a verdict in the style, which has its letter and colour.
fn class(verdict: Verdict) -> char {
    match verdict {
        Verdict::Unfinished => 'u',
        Verdict::Failed => 'f',
        Verdict::UnexpectedSuccess => 'w',
        Verdict::Missing => 'm',
        Verdict::ExpectedFailure => 'x',
        Verdict::Skipped => 's',
        Verdict::Passed => 'p',
        Verdict::Unknown => 'n',
    }
}

/// A verdict outside of a table's cell: its letter, and its word for those who hear it.
fn mark(verdict: Verdict) -> String {
    format!(
        "<span class=\"cell {}\" title=\"{1}\"><i class=hidden>{1}</i></span>",
        class(verdict),
        verdict.name()
    )
}

/// With a capital letter at its beginning.
fn capitalised(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// `2 failed`, `2 expected failures`.
fn counted(verdict: Verdict, count: usize) -> String {
    match verdict {
        Verdict::UnexpectedSuccess if count > 1 => format!("{count} unexpected successes"),
        Verdict::ExpectedFailure if count > 1 => format!("{count} expected failures"),
        verdict => format!("{count} {}", verdict.name()),
    }
}

/// Where a test differs, or what it does everywhere.
fn behaviour(row: &Row<'_>) -> String {
    match &row.words {
        Some(words) => words.clone(),
        None => format!("{} wherever it was run", row.worst().verb()),
    }
}

/// A table in a region of its own that can be scrolled with the keyboard.
fn open_table(html: &mut String, class: &str, label: &str, caption: &str) {
    put!(
        html,
        "<div class=scroll role=region tabindex=0 aria-label=\"{label}\">\n\
         <table class=\"{class}\">\n<caption><span>{caption}</span></caption>\n"
    );
}

fn close_table(html: &mut String) {
    html.push_str("</table>\n</div>\n");
}

/// Seconds for people: whole ones from 100 on. A guest whose clock is set may say what
/// it likes.
fn seconds(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{seconds:.1} s"),
        100.0..1e7 => format!("{seconds:.0} s"),
        _ => format!("{seconds:.0e} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
        let (_, rest) = text.split_once(start).unwrap();
        rest.split_once(end).unwrap().0
    }

    #[test]
    fn the_policy_allows_this_style_and_this_script_and_nothing_else() {
        let html = render(&Results::default());
        let digest = |text: &str| base64(&Sha256::bytes_of(text));
        let style = between(&html, "<style>", "</style>");
        let script = between(&html, "<script>", "</script>");
        assert_eq!(
            between(&html, "\"Content-Security-Policy\" content=\"", "\""),
            format!(
                "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
                 base-uri 'none'; form-action 'none'",
                digest(style),
                digest(script)
            )
        );
        // These would need more than the policy gives.
        assert!(!html.contains(" style="));
        for word in ["eval(", "innerHTML", "fetch(", "import("] {
            assert!(!script.contains(word), "{word}");
        }
        for word in ["url(", "@import", "image-set("] {
            assert!(!style.contains(word), "{word}");
        }
    }

    #[test]
    fn neighbours_are_named_as_ranges() {
        let kernels = ["5.4", "5.10", "5.15", "6.1", "6.6", "6.12"];
        let samples = kernels.map(|kernel| {
            super::super::tests::Sample::kernel(&format!("{kernel}.1-vmtest1.1default"))
        });
        let results = super::super::tests::results(samples);
        let page = Page {
            matrix: Matrix::new(&results),
            rows: HashMap::new(),
        };
        for (runs, text) in [
            (&[][..], ""),
            (&[0], "5.4"),
            (&[0, 1], "5.4, 5.10"),
            (&[0, 1, 2], "5.4 to 5.15 (3 kernels)"),
            (&[0, 2, 3, 4, 5], "5.4, 5.15 to 6.12 (5 kernels)"),
            (&[0, 2, 4], "5.4, 5.15, 6.6"),
        ] {
            assert_eq!(page.spans(runs), text);
        }
    }
}
