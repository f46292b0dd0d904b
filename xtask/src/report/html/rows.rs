//! Kernels against tests: first those that are not the same on every kernel, and at the
//! end of the page all others, by module and class.

use std::collections::{BTreeMap, BTreeSet};

use super::markup::{Html, html, parts};
use super::{CountedHtml, TestMatrix, TestVerdict, details, list, mark, markup};
use super::{muted, plural, seconds, table, tests};
use crate::report::compact::grouped;
use crate::report::matrix::MatrixRow;

/// How many of more tests with the same outcomes get a row each; the others are named below.
const SHOWN: usize = 5;

/// So many are all shown.
const FEW: usize = 8;

/// The cells that a page has at most, so that browsers stay quick: 1,000 tests on 40 kernels.
const MOST_CELLS: usize = 40_000;

/// How many of the slowest tests are listed.
const SLOWEST: usize = 10;

pub(super) fn differing(matrix: &TestMatrix<'_>) -> CountedHtml {
    let html = match matrix.differing().count() {
        _ if matrix.runs.len() < 2 => {
            html!("<p>One run alone: there is nothing to compare.</p>\n")
        }
        0 => html!("<p>Every test is the same on every kernel that ran it.</p>\n"),
        _ => differences(matrix),
    };
    (matrix.differing().count(), html)
}

/// The tests that differ, those with the same outcomes on every kernel together.
fn differences(matrix: &TestMatrix<'_>) -> Html {
    let rows = matrix.rows.iter().enumerate();
    let rows = rows.filter(|(_, row)| row.words.is_some());
    let groups = grouped(rows.map(|(number, row)| (&row.verdicts, number)));
    let runs = matrix.runs.iter().zip(&matrix.labels).map(|(run, label)| {
        let name = run.name.to_string();
        let title = html!("<th scope=col title=\"{}\">", name);
        html!("{}<span>{}</span></th>", title, label)
    });
    let head = html!("<th scope=col>Test</th>{}", runs.collect::<Html>());
    let mut cells = 0;
    let bodies = groups.iter().map(|(_, rows)| {
        let shown = match rows.len() {
            _ if cells > MOST_CELLS => 0,
            count if count <= FEW => count,
            _ => SHOWN,
        };
        cells += shown * matrix.runs.len();
        group(matrix, rows, shown)
    });
    let bodies = bodies.collect::<Html>();
    let caption = html!(
        "Kernels from old to new. Tests with the same outcomes stand together, below \
         where these change."
    );
    let table = table("matrix", caption, head, bodies);
    // The letters that occur, with their words.
    let occur = groups.iter().flat_map(|(said, _)| said.iter());
    let legend = occur.collect::<BTreeSet<_>>().into_iter().map(|verdict| {
        let cell = html!("<span class=\"cell {}\" aria-hidden=true>", verdict.class());
        html!("{}</span>{}", cell, verdict.name())
    });
    html!("{}{}", list("legend", legend), table)
}

/// Tests with the same outcomes, of which so many get a row.
fn group(matrix: &TestMatrix<'_>, rows: &[usize], shown: usize) -> Html {
    let first = &matrix.rows[rows[0]];
    let width = matrix.runs.len() + 1;
    let count = muted(&plural(rows.len(), "test"));
    // The end tags of cells may be left out (HTML, 13.1.2.4), and there are many.
    let cells = first.verdicts.iter().map(|verdict| {
        let (class, name) = (verdict.class(), verdict.name());
        html!("<td class={} title=\"{1}\">{1}", class, name)
    });
    let cells = cells.collect::<Html>();
    let (shown, named) = rows.split_at(shown);
    let lines = shown.iter().map(|row| {
        let name = name(matrix, *row);
        html!("<tr data-test><th scope=row>{}</th>{}</tr>\n", name, cells)
    });
    let more = (!named.is_empty()).then(|| {
        let more = if shown.is_empty() { "" } else { "more " };
        let count = plural(named.len(), &format!("{more}test"));
        let summary = html!("{} with these outcomes", count);
        let names = tests("names", named.iter().map(|row| name(matrix, *row)));
        let details = details(html!(" data-group"), summary, names);
        let cell = html!("<td class=more colspan={}>{}</td>", width, details);
        html!("<tr>{}</tr>\n", cell)
    });
    html!(
        "<tbody data-group>\n<tr><th scope=rowgroup colspan={}><span>{} {}</span></th></tr>\n\
         {}{}</tbody>\n",
        width,
        first.words,
        count,
        lines.collect::<Html>(),
        more
    )
}

/// A test's name, and a link to its failures if it has any.
fn name(matrix: &TestMatrix<'_>, number: usize) -> Html {
    let row = &matrix.rows[number];
    let name = markup::name(row.test);
    match row.worst().is_bad() {
        true => html!("<a href=\"#t{}\">{}</a>", number, name),
        false => name,
    }
}

/// How long a test took: on average, at most, and in which run.
#[derive(Clone, Copy)]
struct Times {
    mean: f64,
    most: f64,
    run: usize,
}

fn times(row: &MatrixRow<'_>) -> Option<Times> {
    let cells = row.cells.iter().enumerate();
    let seconds = cells.filter_map(|(run, test)| Some((run, (*test)?.seconds)));
    let seconds = seconds.collect::<Vec<_>>();
    // Of equals the last one, which is the oldest kernel.
    let longest = seconds.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
    let (run, most) = *longest?;
    let sum = seconds.iter().map(|(_, seconds)| seconds).sum::<f64>();
    let mean = sum / seconds.len() as f64;
    Some(Times { mean, most, run })
}

pub(super) fn all(matrix: &TestMatrix<'_>) -> CountedHtml {
    let times = matrix.rows.iter().map(times).collect::<Vec<_>>();
    let mut modules = BTreeMap::<&str, BTreeMap<&str, Vec<usize>>>::new();
    let mut count = 0;
    for (number, row) in matrix.rows.iter().enumerate() {
        if row.words.is_none() {
            let (module, class, _) = parts(row.test);
            let classes = modules.entry(module).or_default();
            classes.entry(class).or_default().push(number);
            count += 1;
        }
    }
    let nothing = (count == 0).then(|| html!("<p>There are none.</p>\n"));
    let modules = modules.iter().map(|(module, classes)| {
        let summary = summary(matrix, &times, module, classes.values().flatten());
        let classes = classes.iter().map(|(class, rows)| {
            let summary = self::summary(matrix, &times, class, rows.iter());
            details(html!(" data-group"), summary, by_name(matrix, &times, rows))
        });
        details(html!(" class=item data-group"), summary, classes.collect())
    });
    let html = html!(
        "{}<h3>By module and class</h3>\n<p class=muted>With what they do wherever they were \
         run, and the mean of their times.</p>\n{}{}",
        slowest(matrix, &times),
        nothing,
        modules.collect::<Html>()
    );
    (count, html)
}

/// `920 passed, 22 skipped; 12.3 s`, behind a name.
fn summary<'n>(
    matrix: &TestMatrix<'_>,
    times: &[Option<Times>],
    name: &str,
    rows: impl Iterator<Item = &'n usize>,
) -> Html {
    let mut counts = BTreeMap::<TestVerdict, usize>::new();
    let mut whole = 0.0;
    for row in rows {
        *counts.entry(matrix.rows[*row].worst()).or_default() += 1;
        whole += times[*row].map_or(0.0, |times| times.mean);
    }
    let counts = counts.iter().rev().map(|(verdict, count)| {
        let words = match verdict {
            TestVerdict::UnexpectedSuccess if *count > 1 => "unexpected successes",
            TestVerdict::ExpectedFailure if *count > 1 => "expected failures",
            verdict => verdict.name(),
        };
        format!("{count} {words}")
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    let name = if name.is_empty() { "(none)" } else { name };
    let text = format!("{counts}; {}", seconds(whole));
    html!("<code>{}</code> {}", name, muted(&text))
}

/// Tests by name, with their time if it is worth telling.
fn by_name(matrix: &TestMatrix<'_>, times: &[Option<Times>], rows: &[usize]) -> Html {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|number| matrix.rows[*number].test);
    let items = rows.into_iter().map(|number| {
        let time = times[number].filter(|times| times.mean >= 0.05);
        let time = time.map(|times| html!(" {}", muted(&seconds(times.mean))));
        let mark = mark(matrix.rows[number].worst());
        html!("{} {}{}", mark, name(matrix, number), time)
    });
    tests("plain", items)
}

fn slowest(matrix: &TestMatrix<'_>, times: &[Option<Times>]) -> Option<Html> {
    let slowest = times.iter().enumerate();
    let slowest = slowest.filter_map(|(row, times)| Some((row, (*times)?)));
    let mut slowest = slowest.collect::<Vec<_>>();
    slowest.sort_by(|(row, a), (other, b)| {
        let by_name = || matrix.rows[*row].test.cmp(matrix.rows[*other].test);
        b.most.total_cmp(&a.most).then_with(by_name)
    });
    let rows = slowest.iter().take(SLOWEST).map(|(row, times)| {
        html!(
            "<tr data-test><th scope=row>{}</th><td class=number>{}</td><td>{}</td>\
             <td class=number>{}</td></tr>\n",
            name(matrix, *row),
            seconds(times.most),
            matrix.labels[times.run],
            seconds(times.mean)
        )
    });
    let rows = html!("<tbody>\n{}</tbody>\n", rows.collect::<Html>());
    let head = html!(
        "<th scope=col>Test</th><th scope=col class=number>Longest</th>\
         <th scope=col>On</th><th scope=col class=number>Mean</th>"
    );
    let caption = html!("Of all tests, by their longest time.");
    let table = table("slowest", caption, head, rows);
    (!slowest.is_empty()).then(|| html!("<h3>Slowest tests</h3>\n{}", table))
}
