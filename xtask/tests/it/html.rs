//! `report.html` of made-up sessions: hostile ones, large ones, and one like drgn's. The
//! pages are left in the target folder (`tmp/report-html`) to be looked at.

use std::collections::BTreeSet;
use std::path::Path;

use xtask::internals::Results;
use xtask::internals::html::render;
use xtask::internals::{REPORT_SCRIPT, REPORT_STYLE};
use xtask::internals::{RunOutcome, TestOutcome};

use crate::report_samples::{failed, finished, hostile, large, realistic, run, skipped, worst};

/// The bar for forty kernels and a thousand tests.
const LARGEST_PAGE: usize = 5_000_000;

/// A page, left for people.
fn page(name: &str, results: &Results) -> String {
    let html = render(results);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-html");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.html")), &html).unwrap();
    html
}

/// The tags of a page without its style and script: name, attributes, end or start.
fn tags(html: &str) -> Vec<(&str, &str, bool)> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        assert!(!tag.contains('<'), "{tag:?}");
        let (tag, end) = match tag.strip_prefix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        tags.push((name, attributes, end));
        rest = match name {
            "style" | "script" if !end => &after[after.find("</").unwrap()..],
            _ => after,
        };
    }
    tags
}

/// The values of an attribute.
fn values<'h>(tags: &[(&str, &'h str, bool)], attribute: &str) -> Vec<&'h str> {
    let start = format!("{attribute}=");
    let value = |attributes: &&'h str| {
        // Values with blanks are in double quotes, which are in no value.
        let mut rest: &'h str = attributes;
        loop {
            if let Some(value) = rest.strip_prefix(start.as_str()) {
                return Some(match value.strip_prefix('"') {
                    Some(value) => value.split('"').next().unwrap(),
                    None => value.split(' ').next().unwrap(),
                });
            }
            let end = rest.find([' ', '"'])?;
            let quoted = rest[end..].starts_with('"');
            rest = &rest[end + 1..];
            if quoted {
                rest = rest.split_once('"').unwrap().1;
            }
        }
    };
    let attributes = tags.iter().map(|(_, attributes, _)| *attributes);
    attributes
        .filter_map(|attributes| value(&attributes))
        .collect()
}

/// The text of all that is code, as people see it.
fn names(html: &str) -> BTreeSet<String> {
    let pieces = html.split("<code>").skip(1);
    let pieces = pieces.map(|piece| piece.split("</code>").next().unwrap());
    let text = |piece: &str| {
        let mut text = piece.replace("<wbr>", "").replace("</span>", "");
        text = text.replace("<span class=muted>", "");
        text
    };
    pieces.map(text).collect()
}

/// Checks what must be true of every page.
#[track_caller]
fn check(html: &str) {
    let tags = tags(html);
    let mut open = Vec::new();
    for (name, attributes, end) in &tags {
        let known = [
            "!DOCTYPE", "a", "article", "body", "button", "caption", "code", "details", "div",
            "footer", "h1", "h2", "h3", "h4", "head", "header", "html", "i", "input", "kbd",
            "label", "li", "main", "meta", "nav", "p", "pre", "rect", "script", "section", "span",
            "style", "summary", "svg", "table", "tbody", "td", "th", "thead", "title", "br", "wbr",
            "tr", "ul",
        ];
        assert!(known.contains(name), "{name:?}");
        if *end {
            // The end of a cell may be left out.
            if open.last() == Some(&"td") && *name == "tr" {
                open.pop();
            }
            assert_eq!(open.pop(), Some(*name));
        } else {
            if open.last() == Some(&"td") && *name == "td" {
                open.pop();
            }
            if !["!DOCTYPE", "meta", "input", "br", "wbr"].contains(name)
                && !attributes.ends_with('/')
            {
                open.push(*name);
            }
        }
    }
    assert_eq!(open, Vec::<&str>::new());

    let ids = values(&tags, "id");
    let distinct = ids.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(ids.len(), distinct.len(), "an id is there twice");
    for goal in values(&tags, "href") {
        match goal.strip_prefix('#') {
            Some(id) => assert!(distinct.contains(id), "{goal}"),
            None => assert!(goal.starts_with("./") && !goal.contains(':'), "{goal}"),
        }
    }
    for label in values(&tags, "aria-labelledby") {
        assert!(distinct.contains(label), "{label}");
    }
    for attribute in [
        "src",
        "srcset",
        "style",
        "action",
        "background",
        "onerror",
        "data",
    ] {
        assert_eq!(values(&tags, attribute), Vec::<&str>::new(), "{attribute}");
    }
    assert_eq!(html.matches("<script").count(), 1);
    assert!(!html.contains("http://") && !html.contains("https://"));
    let unseen = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert_eq!(html.find(unseen), None);
    // Headings leave out no level.
    let mut level = 0;
    for (name, _, end) in &tags {
        if let Some(number) = name.strip_prefix('h').and_then(|n| n.parse::<u32>().ok())
            && !end
        {
            assert!(number <= level + 1, "{name} after h{level}");
            level = number;
        }
    }
    for (name, attributes, end) in &tags {
        if *name == "th" && !end {
            assert!(attributes.contains("scope="), "{attributes}");
        }
    }
}

#[test]
fn a_page_is_sound_whatever_the_guest_says() {
    let html = page("hostile", &hostile());
    check(&html);
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(html.contains("␀␛[31m"));
    assert!(html.contains("⟨U+202E⟩gnp.exe⟨U+2066⟩"));
    check(&page("empty", &Results::default()));
}

#[test]
fn a_page_tells_what_there_is_to_know() {
    let html = page("realistic", &realistic());
    check(&html);
    for text in [
        // The boundary, the tests at it, what they say there.
        "fails from 6.12",
        "AttributeError: 'struct bpf_prog' has no member 'aux_old'",
        "Skipped on every kernel: 14 tests",
        "✗ panicked",
        "bpf_iter_task_next+0x4d/0x90",
        "✗ setup failed",
        "QEMU ended with signal 9 (SIGKILL)",
        "prints the raw pointer until drgn 0.3.1",
        "fails wherever it was run",
        "[[expect]] &quot;tests.gone.*&quot; matches no test",
        "href=\"./6.9.12-vmtest1.1default/console.log\"",
        "Started 2026-11-25 16:21:20 UTC",
    ] {
        assert!(html.contains(text), "{text}");
    }
    // In this order, which is that of their importance.
    let sections = [
        "kernels",
        "differences",
        "failures",
        "skipped",
        "broken",
        "expected",
        "same",
    ];
    let places = sections.map(|section| html.find(&format!("<h2 id=\"{section}\">")).unwrap());
    assert!(places.is_sorted());
    // One traceback on three kernels is there once.
    let traceback = "AttributeError: 'struct bpf_prog' has no member 'aux_old'</pre>";
    assert_eq!(html.matches(traceback).count(), 3);
}

#[test]
fn the_verdict_is_that_of_the_exit_status() {
    let passed = || vec![finished("t.T.a", TestOutcome::Passed, 0.1)];
    let mut results = Results {
        runs: vec![run("6.1.1", "default", passed(), None)],
        finished: true,
        ..Results::default()
    };
    let verdict = |results: &Results| {
        let html = render(results);
        let (_, rest) = html.split_once("<p><span class=\"mark ").unwrap();
        let (verdict, _) = rest.split_once("</span>").unwrap();
        verdict.to_owned()
    };
    assert_eq!(verdict(&results), "good\">✓ passed");
    results
        .findings
        .push("partition 2 of 3 is missing".to_owned());
    assert_eq!(verdict(&results), "bad\">✗ not as it should be");
    results.runs[0].outcome = RunOutcome::Lost {
        how: "killed".to_owned(),
        running: None,
    };
    assert_eq!(verdict(&results), "bad\">✗ a kernel did not last");
    let failed = vec![failed("t.T.b", 0.1, "AssertionError", "x.py")];
    results.runs.push(run("6.6.1", "default", failed, None));
    assert_eq!(verdict(&results), "bad\">✗ tests failed");
    results.runs.clear();
    assert_eq!(verdict(&results), "warn\">▲ nothing was run");
}

#[test]
fn the_same_results_give_the_same_page_in_whatever_order_they_came() {
    let mut results = realistic();
    let html = render(&results);
    assert_eq!(render(&results), html);
    results.runs.reverse();
    assert_eq!(render(&results), html);
}

#[test]
fn forty_kernels_with_a_thousand_tests_fit() {
    for (name, results) in [("large", large()), ("worst", worst())] {
        let html = page(name, &results);
        check(&html);
        assert!(html.len() < LARGEST_PAGE, "{name}: {}", html.len());
        let names = names(&html);
        for test in &results.runs[0].tally.finished_tests {
            assert!(names.contains(&test.id), "{name}: {}", test.id);
        }
    }
}

#[test]
fn tests_without_number_do_not_make_a_page_without_end() {
    // More cells than a browser likes: what is left are names.
    let runs = (0..40_u32).map(|column| {
        let test = |number: u32| {
            let outcome = match number >> (column % 14) & 1 {
                1 => TestOutcome::Failed,
                _ => TestOutcome::Passed,
            };
            finished(format!("t.T.test_{number}"), outcome, 0.0)
        };
        run(
            &format!("6.{column}"),
            "x",
            (0..2000).map(test).collect(),
            None,
        )
    });
    let html = render(&Results {
        runs: runs.collect(),
        ..Results::default()
    });
    check(&html);
    let cells = html.matches("<td class=").count();
    assert!(cells < 45_000, "{cells}");
    assert!(names(&html).contains("t.T.test_1999"));
}

#[test]
fn reasons_without_number_do_not_either() {
    let runs = (0..10_u32).map(|column| {
        let test = |number| skipped(format!("t.T.test_{number}"), &format!("{column} {number}"));
        let tests = (0..1000).map(test).collect();
        run(&format!("6.{column}"), "x", tests, None)
    });
    let html = render(&Results {
        runs: runs.collect(),
        ..Results::default()
    });
    check(&html);
    assert!(html.contains("Skipped on every kernel: 1000 tests"));
    assert!(html.contains("And 9500 more reasons: see results.jsonl."));
    assert!(html.len() < 1_000_000, "{}", html.len());
}

#[test]
fn style_and_script_end_where_the_page_says() {
    for text in [REPORT_STYLE, REPORT_SCRIPT] {
        assert!(!text.contains("</") && !text.contains("<!"));
    }
}

/// The contrast of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio").
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| {
        let channel = |at: usize| {
            let value = u8::from_str_radix(&colour[at..at + 2], 16).unwrap();
            let value = f64::from(value) / 255.0;
            match value <= 0.04045 {
                true => value / 12.92,
                false => ((value + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

#[test]
fn colours_can_be_told_apart_in_light_and_dark() {
    let blocks = REPORT_STYLE.split(":root {").skip(1);
    let blocks = blocks.map(|block| block.split('}').next().unwrap());
    let blocks = blocks.collect::<Vec<_>>();
    assert_eq!(blocks.len(), 3, "light, dark, print");
    for (number, block) in blocks.iter().enumerate() {
        let colour = |name: &str| {
            let start = format!("--{name}: ");
            let line = |block: &'static str| {
                let mut lines = block.lines();
                lines.find_map(|line| line.trim().strip_prefix(start.as_str())?.strip_suffix(';'))
            };
            line(block).or_else(|| line(blocks[0])).unwrap()
        };
        let text = [
            ("text", "back"),
            ("text", "panel"),
            ("muted", "back"),
            ("muted", "panel"),
            ("link", "back"),
            ("link", "panel"),
            ("good-text", "good-back"),
            ("bad-text", "bad-back"),
            ("warn-text", "warn-back"),
            ("dim-text", "dim-back"),
        ];
        for (one, other) in text {
            let ratio = contrast(colour(one), colour(other));
            assert!(ratio >= 4.5, "{number}: {one} on {other}: {ratio:.2}");
        }
        // What is no text (WCAG 2.2, 1.4.11).
        for one in ["focus", "prepare", "boot", "tests", "other"] {
            let ratio = contrast(colour(one), colour("back"));
            assert!(ratio >= 3.0, "{number}: {one}: {ratio:.2}");
        }
    }
}
