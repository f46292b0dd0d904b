//! Kernels against tests: first those that are not the same on every kernel, and at the
//! end of the page all others, by module and class.

use std::collections::{BTreeMap, HashMap};

use super::markup::{Html, html, parts};
use super::{
    PageSection, TestMatrix, TestVerdict, class, details, item, mark, markup, muted, plural,
    seconds, table,
};
use crate::report::matrix::MatrixRow;

/// How many tests with the same outcomes get a row each, if there are more than
/// [`FEW`]; the others are named below them.
const SHOWN: usize = 5;

/// So many are all shown.
const FEW: usize = 8;

/// The cells that a page has at most, so that browsers stay quick. A thousand tests on
/// forty kernels, each with outcomes of its own, are just shown.
const MOST_CELLS: usize = 40_000;

/// How many of the slowest tests are listed.
const SLOWEST: usize = 10;

pub(super) fn differing(matrix: &TestMatrix<'_>) -> PageSection {
    let count = matrix.differing().count();
    PageSection {
        id: "differences",
        title: "Not the same on every kernel",
        count,
        html: match count {
            _ if matrix.runs.len() < 2 => {
                html!("<p>One run alone: there is nothing to compare.</p>\n")
            }
            0 => html!("<p>Every test is the same on every kernel that ran it.</p>\n"),
            _ => differences(matrix),
        },
    }
}

/// The tests that differ, those with the same outcomes on every kernel together, by the
/// numbers of their rows.
fn groups(matrix: &TestMatrix<'_>) -> Vec<Vec<usize>> {
    let mut groups = Vec::<Vec<usize>>::new();
    let mut numbers = HashMap::<&[TestVerdict], usize>::new();
    for (number, row) in matrix
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.words.is_some())
    {
        let group = *numbers.entry(&row.verdicts).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(number);
    }
    groups
}

fn differences(matrix: &TestMatrix<'_>) -> Html {
    let groups = groups(matrix);
    let runs = matrix.runs.iter().zip(&matrix.labels).map(|(run, label)| {
        let name = run.name.to_string();
        html!(
            "<th scope=col title=\"{}\"><span>{}</span></th>",
            name,
            label
        )
    });
    let head = html!("<th scope=col>Test</th>{}", runs.collect::<Html>());
    let mut cells = 0;
    let mut bodies = html!("");
    for rows in &groups {
        let shown = match rows.len() {
            _ if cells > MOST_CELLS => 0,
            count if count <= FEW => count,
            _ => SHOWN,
        };
        cells += shown * matrix.runs.len();
        bodies.push(&group(matrix, rows, shown));
    }
    let table = table(
        "matrix",
        "Matrix of tests and kernels",
        html!(
            "Kernels from old to new. Tests with the same outcomes stand together, below \
             where these change."
        ),
        head,
        bodies,
    );
    // The letters that occur, with their words.
    let occurs = |verdict: &TestVerdict| {
        groups
            .iter()
            .any(|rows| matrix.rows[rows[0]].verdicts.contains(verdict))
    };
    let legend = TestVerdict::ALL.into_iter().filter(occurs).map(|verdict| {
        item(html!(
            "<span class=\"cell {}\" aria-hidden=true></span>{}",
            class(verdict),
            verdict.name()
        ))
    });
    html!(
        "<ul class=legend>\n{}</ul>\n{}",
        legend.collect::<Html>(),
        table
    )
}

/// Tests with the same outcomes, of which so many get a row.
fn group(matrix: &TestMatrix<'_>, rows: &[usize], shown: usize) -> Html {
    let first = &matrix.rows[rows[0]];
    let width = matrix.runs.len() + 1;
    let count = match rows.len() {
        1 => None,
        count => Some(html!(" {}", muted(&format!("{count} tests")))),
    };
    // The end tags of cells may be left out (HTML, 13.1.2.4), and there are many.
    let cells = first.verdicts.iter().map(|verdict| {
        html!(
            "<td class={} title=\"{1}\">{1}",
            class(*verdict),
            verdict.name()
        )
    });
    let cells = cells.collect::<Html>();
    let (shown, named) = rows.split_at(shown);
    let tests = shown.iter().map(|row| {
        html!(
            "<tr data-test><th scope=row>{}</th>{}</tr>\n",
            name(matrix, *row),
            cells
        )
    });
    let more = (!named.is_empty()).then(|| {
        let what = if shown.is_empty() {
            "test"
        } else {
            "more test"
        };
        let summary = format!("{} with these outcomes", plural(named.len(), what));
        let names = named
            .iter()
            .map(|row| html!("<li data-test>{}</li>\n", name(matrix, *row)));
        let names = html!("<ul class=names>\n{}</ul>\n", names.collect::<Html>());
        let details = details(html!(" data-group"), html!("{}", summary), names);
        html!(
            "<tr><td class=more colspan={}>{}</td></tr>\n",
            width,
            details
        )
    });
    html!(
        "<tbody data-group>\n<tr><th scope=rowgroup colspan={}><span>{}{}</span></th></tr>\n\
         {}{}</tbody>\n",
        width,
        first.words,
        count,
        tests.collect::<Html>(),
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

/// What is folded into one line.
#[derive(Default)]
struct Fold {
    rows: Vec<usize>,
    counts: BTreeMap<TestVerdict, usize>,
    seconds: f64,
}

impl Fold {
    fn push(&mut self, row: &MatrixRow<'_>, number: usize, seconds: f64) {
        self.rows.push(number);
        *self.counts.entry(row.worst()).or_default() += 1;
        self.seconds += seconds;
    }

    /// `920 passed, 22 skipped; 12.3 s`, behind a name.
    fn summary(&self, name: &str) -> Html {
        let counts = self.counts.iter().rev().map(|(verdict, count)| {
            let words = match verdict {
                TestVerdict::UnexpectedSuccess if *count > 1 => "unexpected successes",
                TestVerdict::ExpectedFailure if *count > 1 => "expected failures",
                verdict => verdict.name(),
            };
            format!("{count} {words}")
        });
        let counts = counts.collect::<Vec<_>>().join(", ");
        let name = if name.is_empty() { "(none)" } else { name };
        let text = format!("{counts}; {}", seconds(self.seconds));
        html!("<code>{}</code> {}", name, muted(&text))
    }
}

pub(super) fn all(matrix: &TestMatrix<'_>) -> PageSection {
    let times = matrix.rows.iter().map(times).collect::<Vec<_>>();
    let mut modules = BTreeMap::<&str, (Fold, BTreeMap<&str, Fold>)>::new();
    let rows = matrix
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.words.is_none());
    let rows = rows.collect::<Vec<_>>();
    for (number, row) in &rows {
        let (module, class, _) = parts(row.test);
        let seconds = times[*number].as_ref().map_or(0.0, |times| times.mean);
        let (fold, classes) = modules.entry(module).or_default();
        fold.push(row, *number, seconds);
        classes
            .entry(class)
            .or_default()
            .push(row, *number, seconds);
    }
    let nothing = modules
        .is_empty()
        .then(|| html!("<p>There are none.</p>\n"));
    let modules = modules.iter().map(|(module, (fold, classes))| {
        let classes = classes.iter().map(|(class, fold)| {
            let tests = tests(matrix, &fold.rows, &times);
            details(html!(" data-group"), fold.summary(class), tests)
        });
        let summary = fold.summary(module);
        details(html!(" class=item data-group"), summary, classes.collect())
    });
    PageSection {
        id: "same",
        title: "The same on every kernel",
        count: rows.len(),
        html: html!(
            "{}<h3>By module and class</h3>\n<p class=muted>With what they do wherever they were \
             run, and the mean of their times.</p>\n{}{}",
            slowest(matrix, &times),
            nothing,
            modules.collect::<Html>()
        ),
    }
}

/// Tests by name, with their time if it is worth telling.
fn tests(matrix: &TestMatrix<'_>, rows: &[usize], times: &[Option<Times>]) -> Html {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|number| matrix.rows[*number].test);
    let items = rows.into_iter().map(|number| {
        let time = times[number].as_ref().filter(|times| times.mean >= 0.05);
        html!(
            "<li data-test>{} {}{}</li>\n",
            mark(matrix.rows[number].worst()),
            name(matrix, number),
            time.map(|times| html!(" {}", muted(&seconds(times.mean))))
        )
    });
    html!("<ul class=plain>\n{}</ul>\n", items.collect::<Html>())
}

fn slowest(matrix: &TestMatrix<'_>, times: &[Option<Times>]) -> Option<Html> {
    let times = times.iter().enumerate();
    let mut slowest = times
        .filter_map(|(row, times)| Some((row, times.as_ref()?)))
        .collect::<Vec<_>>();
    slowest.sort_by(|(row, a), (other, b)| {
        let by_name = || matrix.rows[*row].test.cmp(matrix.rows[*other].test);
        b.most.total_cmp(&a.most).then_with(by_name)
    });
    slowest.truncate(SLOWEST);
    if slowest.is_empty() {
        return None;
    }
    let rows = slowest.into_iter().map(|(row, times)| {
        html!(
            "<tr data-test><th scope=row>{}</th><td class=number>{}</td><td>{}</td>\
             <td class=number>{}</td></tr>\n",
            name(matrix, row),
            seconds(times.most),
            matrix.labels[times.run],
            seconds(times.mean)
        )
    });
    let table = table(
        "slowest",
        "Table of the slowest tests",
        html!("Of all tests, by their longest time."),
        html!(
            "<th scope=col>Test</th><th scope=col class=number>Longest</th>\
             <th scope=col>On</th><th scope=col class=number>Mean</th>"
        ),
        html!("<tbody>\n{}</tbody>\n", rows.collect::<Html>()),
    );
    Some(html!("<h3>Slowest tests</h3>\n{}", table))
}
