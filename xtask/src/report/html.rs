//! `report.html`: all that is known about a session as one page, for people.
//!
//! The page fetches nothing, and its content security policy forbids it to. It says everything
//! without the script, which only filters and unfolds. Outcomes are told by a letter, a word
//! and a colour, never by colour alone. The same results give the same bytes.

mod broken;
mod complaints;
mod expected;
mod failures;
mod kernels;
mod markup;
mod rows;
mod skips;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use self::markup::{Html, html};
use super::compact::{grouped, plural};
use super::matrix::{TestMatrix, TestVerdict};
use super::totals::TestTotals;
use crate::base::embedded::{REPORT_SCRIPT, REPORT_STYLE};
use crate::base::sha256::Sha256;
use crate::model::results::{Results, RunRecord};
use crate::model::test_event::RunOutcome;

/// The bytes of failures and tracebacks that a page has at most, so that a browser can show
/// the page of a session in which everything failed. The results file has them all.
const LONGEST_TRACEBACKS: usize = 1_000_000;

/// The bytes of excerpts and tails that a page has at most.
const LONGEST_CONSOLES: usize = 500_000;

/// The bytes of one traceback, excerpt or tail.
const LONGEST_BLOCK: usize = 16 * 1024;

/// The bytes that are left for long texts, and how many texts share them.
struct Room {
    bytes: usize,
    sharers: usize,
}

impl Room {
    /// Makes the next text, which is told how many bytes it may have.
    fn fill(&mut self, make: impl FnOnce(usize) -> Html) -> Html {
        let html = make(self.bytes / self.sharers.max(1));
        self.sharers = self.sharers.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(html.len());
        html
    }
}

/// A part of the page, and how many things it has.
type CountedHtml = (usize, Html);

/// The page. It belongs into the folder of the results, because it links to the logs there.
pub fn render(results: &Results) -> String {
    let matrix = &TestMatrix::new(results);
    let (differing, broken) = (rows::differing(matrix), broken::section(matrix));
    // Their names in addresses, and their titles.
    let sections = [
        ("kernels", "Kernels", kernels::section(matrix)),
        ("differences", "Not the same on every kernel", differing),
        ("failures", "Failures", failures::section(matrix)),
        ("complaints", "Complaints", complaints::section(matrix)),
        ("skipped", "Skipped", skips::section(matrix)),
        ("broken", "Lost, panicked, stuck and repeated runs", broken),
        ("expected", "Expected failures", expected::section(matrix)),
        ("same", "The same on every kernel", rows::all(matrix)),
    ];
    let contents = sections.iter().map(|(id, title, (count, _))| {
        let count = muted(&count.to_string());
        html!("<li><a href=\"#{}\">{}</a> {}</li>\n", id, title, count)
    });
    let contents = contents.collect::<Html>();
    let sections = sections.iter().map(|(id, title, (_, html))| {
        let title = html!("<h2 id=\"{}\">{}</h2>", id, title);
        let start = html!("<section aria-labelledby=\"{}\">\n{}", id, title);
        html!("{}\n{}</section>\n", start, html)
    });
    let sections = sections.collect::<Html>();
    let digest = |text: &str| BASE64_STANDARD.encode(Sha256::bytes_of(text));
    let project = project(matrix);
    html!(
        include_str!("../../../vmtest-assets/report/report.html"),
        digest(REPORT_STYLE),
        digest(REPORT_SCRIPT),
        project,
        matrix.headline(),
        Html::ours(REPORT_STYLE),
        head(matrix),
        contents,
        sections,
        Html::ours(REPORT_SCRIPT)
    )
    .into_string()
}

fn project<'r>(matrix: &TestMatrix<'r>) -> &'r str {
    match matrix.results.session.project.as_str() {
        "" => "Tests",
        project => project,
    }
}

/// What is said of the session as a whole.
fn head(matrix: &TestMatrix<'_>) -> Html {
    let results = matrix.results;
    let session = &results.session;
    // The tests after a kernel's crash are a run of their own.
    let names = matrix.runs.iter().map(|run| &run.name);
    let kernels = names.filter(|name| !name.arch.is_empty() && name.phase.is_none());
    let on = match (kernels.count(), matrix.runs.len()) {
        (0, 1..) => "this host".to_owned(),
        (kernels, _) => plural(kernels, "kernel"),
    };
    let findings = results.findings.iter();
    let findings = findings.map(|text| html!("{} {}", word("bad", "✗ wrong"), text));
    let findings = (!results.findings.is_empty()).then(|| list("plain", findings));
    let mut about = Vec::new();
    if !session.started.is_empty() {
        let started = session.started.replace('T', " ").replace('Z', " UTC");
        about.push(html!("Started {}", started));
    }
    if !session.kernels.is_empty() {
        let requests = session.kernels.iter().enumerate().map(|(number, request)| {
            let comma = if number == 0 { "" } else { ", " };
            html!("{}<code>{}</code>", comma, request)
        });
        about.push(html!("Asked for {}", requests.collect::<Html>()));
    }
    if let Some((part, of)) = session.partition {
        let partition = format!("{part} of {of}");
        about.push(html!("Only partition {} of these", partition));
    }
    if session.filtered {
        about.push(html!("Only some of the tests were asked for"));
    }
    if !results.finished {
        let text = "The session ended before everything was done: this is not the whole.";
        about.push(html!("{} {}", word("warn", "▲ unfinished"), text));
    }
    html!(
        "<h1>{} on {}</h1>\n<p>{} {}</p>\n{}<p>{}</p>\n{}",
        project(matrix),
        on,
        verdict(results),
        matrix.headline(),
        findings,
        counts(matrix),
        list("plain", about.into_iter())
    )
}

/// How the session ended: what a run's end says comes before what was found besides.
fn verdict(results: &Results) -> Html {
    let complained = |run: &RunRecord| matches!(run.outcome, RunOutcome::Complained { .. });
    let (class, text) = match results.runs_status() {
        _ if results.runs.is_empty() => ("warn", "▲ nothing was run"),
        _ if !results.finished => ("warn", "▲ cut short"),
        0 if !results.findings.is_empty() => ("bad", "✗ not as it should be"),
        0 => ("good", "✓ passed"),
        1 if results
            .runs
            .iter()
            .all(|run| run.outcome.exit_status() != 1 || complained(run)) =>
        {
            ("bad", "✗ a kernel complained")
        }
        1 => ("bad", "✗ tests failed"),
        3 => ("bad", "✗ not everything could be set up"),
        4 => ("bad", "✗ a kernel did not last"),
        _ => ("warn", "▲ no tests ran"),
    };
    word(class, text)
}

/// What the tests did, on all kernels together.
fn counts(matrix: &TestMatrix<'_>) -> String {
    let runs = matrix.runs.iter().map(|run| TestTotals::of(&run.tally));
    let sum = runs.fold(TestTotals::default(), TestTotals::plus);
    let counts = sum.counted().map(|(_, words)| words).collect::<Vec<_>>();
    let counts = Some(counts.join(", ")).filter(|counts| !counts.is_empty());
    let counts = counts.as_deref().unwrap_or("nothing");
    let tests = plural(matrix.rows.len(), "test");
    format!("{tests}; on all kernels together: {counts}")
}

/// Runs, in order, by their labels: `5.10, 6.1 to 6.12 (4 kernels)`. Kernels of several
/// architectures stand between each other in the order of versions, so each has spans of its own.
fn spans(matrix: &TestMatrix<'_>, runs: &[usize]) -> String {
    let label = |run: &usize| matrix.labels[*run].clone();
    let mut texts = Vec::new();
    let arch = |run: &usize| matrix.runs[*run].name.arch.as_str();
    for (own, runs) in grouped(runs.iter().map(|run| (arch(run), *run))) {
        let all = (0..matrix.runs.len()).filter(|run| arch(run) == own);
        let all = all.collect::<Vec<_>>();
        let place = |run: &usize| all.iter().position(|other| other == run);
        for neighbours in runs.chunk_by(|a, b| place(a).map(|place| place + 1) == place(b)) {
            match neighbours {
                [first, _, .., last] => texts.push(format!("{} to {}", label(first), label(last))),
                few => texts.extend(few.iter().map(label)),
            }
        }
    }
    let text = texts.join(", ");
    match runs.len() > texts.len() {
        true => format!("{text} ({} kernels)", runs.len()),
        false => text,
    }
}

/// A verdict outside of a table's cell: its letter, and its word for those who hear it.
fn mark(verdict: TestVerdict) -> Html {
    let (class, name) = (verdict.class(), verdict.name());
    let name = html!(" title=\"{0}\"><i class=hidden>{0}</i>", name);
    html!("<span class=\"cell {}\"{}</span>", class, name)
}

/// A symbol and its word, in a colour.
fn word(class: &str, text: &str) -> Html {
    html!("<span class=\"mark {}\">{}</span>", class, text)
}

fn muted(text: &str) -> Html {
    html!("<span class=muted>{}</span>", text)
}

fn list(class: &str, items: impl Iterator<Item = Html>) -> Html {
    let items = items.map(|item| html!("<li>{}</li>\n", item));
    html!("<ul class={}>\n{}</ul>\n", class, items.collect::<Html>())
}

/// A list of tests, which the script filters.
fn tests(class: &str, items: impl Iterator<Item = Html>) -> Html {
    let items = items.map(|item| html!("<li data-test>{}</li>\n", item));
    html!("<ul class={}>\n{}</ul>\n", class, items.collect::<Html>())
}

/// Something that is folded; `attributes` have a blank before them.
fn details(attributes: Html, summary: Html, inside: Html) -> Html {
    let start = html!("<details{}>\n<summary>{}", attributes, summary);
    html!("{}</summary>\n{}</details>\n", start, inside)
}

/// A folded list of tests.
fn folded_tests(title: &str, items: impl ExactSizeIterator<Item = Html>) -> Html {
    let title = html!("{} {}", title, muted(&plural(items.len(), "test")));
    details(
        html!(" class=item data-group"),
        title,
        tests("names", items),
    )
}

/// A table in a region of its own that can be scrolled with the keyboard.
fn table(class: &str, caption: Html, head: Html, bodies: Html) -> Html {
    let caption = html!(
        "<caption id=\"{}-caption\"><span>{}</span></caption>",
        class,
        caption
    );
    html!(
        "<div class=scroll role=region tabindex=0 aria-labelledby=\"{0}-caption\">\n\
         <table class=\"{0}\">\n{1}\n<thead>\n<tr>{2}</tr>\n</thead>\n{3}</table>\n</div>\n",
        class,
        caption,
        head,
        bodies
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

/// A guest whose clock is set may say what it likes.
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
        let digest = |text: &str| BASE64_STANDARD.encode(Sha256::bytes_of(text));
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
        let matrix = TestMatrix::new(&results);
        for (runs, text) in [
            (&[][..], ""),
            (&[0], "5.4"),
            (&[0, 1], "5.4, 5.10"),
            (&[0, 1, 2], "5.4 to 5.15 (3 kernels)"),
            (&[0, 2, 3, 4, 5], "5.4, 5.15 to 6.12 (5 kernels)"),
            (&[0, 2, 4], "5.4, 5.15, 6.6"),
        ] {
            assert_eq!(spans(&matrix, runs), text);
        }
    }
}
