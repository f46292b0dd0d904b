//! One session in every format: a count has one meaning and one value everywhere.

use std::collections::BTreeMap;

use serde_json::Value;
use xtask::internals::Paint;
use xtask::internals::{FinishedTest, RunOutcome, TestOutcome};
use xtask::internals::{Results, RunRecord};
use xtask::internals::{html, json, junit, markdown, text};

use crate::report_samples::{failed, finished, run, skipped};

/// The counts of a run by name, as a report has them; without those that are zero.
type Counts = BTreeMap<String, u64>;

const NAMES: [&str; 7] = [
    "run",
    "passed",
    "failed",
    "skipped",
    "expected failures",
    "unexpected successes",
    "not run",
];

fn session() -> Results {
    let mut tests = Vec::new();
    for number in 0..9 {
        tests.push(finished(format!("t.A.p{number}"), TestOutcome::Passed, 0.1));
    }
    tests.push(finished("t.A.own", TestOutcome::ExpectedFailure, 0.1));
    tests.push(FinishedTest {
        expected: Some("known".to_owned()),
        ..failed("t.A.listed", 0.1, "E", "/x")
    });
    let good = run("6.1.9", "default", tests.clone(), None);
    tests.push(failed("t.A.failed", 0.1, "E", "/x"));
    tests.push(FinishedTest {
        outcome: TestOutcome::Error,
        ..failed("t.A.error", 0.1, "E", "/x")
    });
    tests.push(skipped("t.A.skipped", "why"));
    tests.push(finished("t.A.odd", TestOutcome::UnexpectedSuccess, 0.1));
    tests.push(FinishedTest {
        expected: Some("known".to_owned()),
        ..finished("t.A.mended", TestOutcome::Passed, 0.1)
    });
    let bad = run("6.6.9", "default", tests.clone(), None);
    let how = "ended by signal 11 (SIGSEGV)".to_owned();
    let running = Some("t.A.crash".to_owned());
    let died = RunOutcome::RunnerDied { how, running };
    let died = run("6.9.9", "default", tests, Some(died));
    Results {
        runs: vec![good, bad, died],
        finished: true,
        ..Results::default()
    }
}

fn expected() -> [Counts; 3] {
    let counts = |numbers: [u64; 7]| counts(NAMES.into_iter().zip(numbers));
    [
        counts([11, 9, 0, 0, 2, 0, 0]),
        counts([16, 9, 2, 1, 2, 2, 0]),
        counts([16, 9, 2, 1, 2, 2, 40]),
    ]
}

fn counts<'n>(pairs: impl Iterator<Item = (&'n str, u64)>) -> Counts {
    let pairs = pairs.filter(|(name, count)| NAMES.contains(name) && *count > 0);
    pairs
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

/// The numbers of a table's row below the names above it.
fn row(head: &[String], cells: &[String]) -> Counts {
    assert_eq!(head.len(), cells.len(), "{head:?} {cells:?}");
    let pairs = head.iter().zip(cells);
    let pairs = pairs.filter_map(|(name, cell)| Some((name.as_str(), cell.parse().ok()?)));
    counts(pairs)
}

/// The cells of a line of columns that two blanks part.
fn cells(line: &str) -> Vec<String> {
    let cells = line.split("  ").map(str::trim);
    let cells = cells.filter(|cell| !cell.is_empty());
    cells.map(str::to_owned).collect()
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("{start}: {text}"));
    rest.split_once(end)
        .unwrap_or_else(|| panic!("{end}: {text}"))
        .0
}

fn in_words(line: &str) -> Counts {
    let parts = line.split([',', ';']).map(str::trim);
    let pairs = parts.filter_map(|part| {
        let (number, name) = part.split_once(' ')?;
        let name = match name {
            "expected failure" => "expected failures",
            "unexpected success" => "unexpected successes",
            name => name,
        };
        Some((name, number.parse().ok()?))
    });
    counts(pairs)
}

#[test]
fn all_reports_of_a_session_count_alike() {
    let results = session();
    let expected = expected();

    let runs = results.runs.iter().collect::<Vec<_>>();
    let summary = text::summary(&runs, Paint::default());
    let lines = summary.lines().collect::<Vec<_>>();
    let head = cells(lines[0]);
    for (line, expected) in lines[1..].iter().zip(&expected) {
        assert_eq!(row(&head, &cells(line)), *expected, "{summary}");
    }

    // The line of a run leaves out what passed.
    let line = |run: &RunRecord| text::run_line(run, Paint::default());
    for (run, expected) in results.runs.iter().zip(&expected) {
        let mut expected = expected.clone();
        expected.remove("passed");
        assert_eq!(in_words(&line(run)), expected, "{}", line(run));
    }

    let markdown = markdown::render(&results, markdown::PULL_REQUEST);
    let table = markdown.lines().filter(|line| line.starts_with('|'));
    let table = table.map(|line| {
        let cells = line.trim_matches('|').split('|').map(str::trim);
        cells.map(str::to_owned).collect::<Vec<_>>()
    });
    let table = table.collect::<Vec<_>>();
    for (line, expected) in table[2..].iter().zip(&expected) {
        assert_eq!(row(&table[0], line), *expected, "{markdown}");
    }

    let json = serde_json::from_str::<Value>(&json::render(&results)).unwrap();
    for (run, expected) in json["runs"].as_array().unwrap().iter().zip(&expected) {
        let pairs = NAMES.map(|name| (name, run[name.replace(' ', "_")].as_u64().unwrap()));
        assert_eq!(counts(pairs.into_iter()), *expected);
    }

    let junit = junit::render(&results);
    let suites = junit.split("<testsuite ").skip(1);
    for ((suite, expected), run) in suites.zip(&expected).zip(&results.runs) {
        let pairs = NAMES.map(|name| {
            let start = format!("<property name=\"{name}\" value=\"");
            let value = suite
                .split_once(&start)
                .map(|(_, rest)| rest.split('"').next());
            (
                name,
                value.map_or(0, |value| value.unwrap().parse().unwrap()),
            )
        });
        assert_eq!(counts(pairs.into_iter()), *expected);
        // The attributes count the test that did not end, too.
        let of =
            |name: &str| -> u64 { between(suite, &format!("{name}=\""), "\"").parse().unwrap() };
        let count = |name: &str| expected.get(name).copied().unwrap_or(0);
        let cut = u64::from(run.outcome.running().is_some());
        assert_eq!(of("tests"), count("run") + cut);
        assert_eq!(
            of("failures") + of("errors"),
            count("failed") + count("unexpected successes") + cut
        );
        assert_eq!(of("skipped"), count("skipped") + count("expected failures"));
    }

    let html = html::render(&results);
    let table = between(&html, "<table class=\"kernels\">", "</table>");
    let strip = |cell: &str| {
        let text = cell
            .split('<')
            .map(|part| part.rsplit('>').next().unwrap_or_default());
        text.collect::<String>().trim().to_lowercase()
    };
    let rows = table.split("<tr>").skip(1).map(|row| {
        let cells = row
            .split("</t")
            .map(|cell| strip(cell.rsplit_once("<t").map_or("", |c| c.1)));
        cells.collect::<Vec<_>>()
    });
    let rows = rows.collect::<Vec<_>>();
    for (line, expected) in rows[1..].iter().zip(&expected) {
        let pairs = rows[0].iter().zip(line);
        let pairs = pairs.filter_map(|(name, cell)| Some((name.as_str(), cell.parse().ok()?)));
        assert_eq!(counts(pairs), *expected, "{table}");
    }
    let mut sum = Counts::new();
    for (name, count) in expected.iter().flatten() {
        *sum.entry(name.clone()).or_default() += count;
    }
    let all = between(&html, "on all kernels together: ", "</p>");
    assert_eq!(in_words(all), sum);

    // What the words mean stands below each table.
    for text in [&summary, &markdown, &html] {
        assert!(text.contains("run = passed + failed + skipped + expected failures"));
    }
}
