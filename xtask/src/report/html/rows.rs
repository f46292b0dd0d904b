//! Kernels against tests: first those that are not the same on every kernel, and at the
//! end of the page all others, by module and class.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::text::{Name, Text, parts};
use super::{
    Page, Row, Section, Verdict, class, close_table, counted, mark, open_table, plural, put,
    seconds,
};

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

/// Tests with the same outcomes on every kernel, by the number of their rows.
struct Group<'r> {
    words: &'r str,
    verdicts: &'r [Verdict],
    rows: Vec<usize>,
}

pub(super) fn differing(page: &Page<'_>) -> Section {
    let mut html = String::new();
    let count = page.matrix.differing().count();
    if page.matrix.runs.len() < 2 {
        html.push_str("<p>One run alone: there is nothing to compare.</p>\n");
    } else if count == 0 {
        html.push_str("<p>Every test is the same on every kernel that ran it.</p>\n");
    } else {
        matrix(&mut html, page);
    }
    Section {
        id: "differences",
        title: "Not the same on every kernel",
        count,
        html,
    }
}

fn groups<'p>(page: &'p Page<'_>) -> Vec<Group<'p>> {
    let mut groups = Vec::<Group<'p>>::new();
    let mut numbers = HashMap::<&[Verdict], usize>::new();
    for (number, row) in page.matrix.rows.iter().enumerate() {
        let Some(words) = row.words.as_deref().filter(|_| row.differs) else {
            continue;
        };
        let group = *numbers.entry(&row.verdicts).or_insert_with(|| {
            groups.push(Group {
                words,
                verdicts: &row.verdicts,
                rows: Vec::new(),
            });
            groups.len() - 1
        });
        groups[group].rows.push(number);
    }
    groups
}

fn matrix(html: &mut String, page: &Page<'_>) {
    let runs = &page.matrix.runs;
    let groups = groups(page);
    legend(html, &groups);
    open_table(
        html,
        "matrix",
        "Matrix of tests and kernels",
        "Kernels from old to new. Tests with the same outcomes stand together, below \
         where these change.",
    );
    html.push_str("<thead>\n<tr><th scope=col>Test</th>");
    for (number, run) in runs.iter().enumerate() {
        put!(
            html,
            "<th scope=col title=\"{}\"><span>{}</span></th>",
            Text(&run.name.to_string()),
            Text(&page.matrix.labels[number])
        );
    }
    html.push_str("</tr>\n</thead>\n");
    let mut cells = 0;
    for group in &groups {
        put!(
            html,
            "<tbody data-group>\n<tr><th scope=rowgroup colspan={}><span>{}{}</span></th></tr>\n",
            runs.len() + 1,
            Text(group.words),
            match group.rows.len() {
                1 => String::new(),
                count => format!(" <span class=muted>{count} tests</span>"),
            }
        );
        let shown = match group.rows.len() {
            _ if cells > MOST_CELLS => 0,
            count if count <= FEW => count,
            _ => SHOWN,
        };
        let (shown, named) = group.rows.split_at(shown);
        let row_cells = row_cells(group.verdicts);
        for number in shown {
            put!(html, "<tr data-test><th scope=row>");
            name(html, page, *number);
            put!(html, "</th>{row_cells}</tr>\n");
            cells += runs.len();
        }
        if !named.is_empty() {
            put!(
                html,
                "<tr><td class=more colspan={}><details data-group>\n<summary>{} {}</summary>\n\
                 <ul class=names>\n",
                runs.len() + 1,
                plural(
                    named.len(),
                    if shown.is_empty() {
                        "test"
                    } else {
                        "more test"
                    }
                ),
                "with these outcomes"
            );
            for number in named {
                html.push_str("<li data-test>");
                name(html, page, *number);
                html.push_str("</li>\n");
            }
            html.push_str("</ul>\n</details></td></tr>\n");
        }
        html.push_str("</tbody>\n");
    }
    close_table(html);
}

/// The letters that occur, with their words.
fn legend(html: &mut String, groups: &[Group<'_>]) {
    html.push_str("<ul class=legend>\n");
    for verdict in Verdict::ALL {
        if groups.iter().any(|group| group.verdicts.contains(&verdict)) {
            put!(
                html,
                "<li><span class=\"cell {}\" aria-hidden=true></span>{}</li>\n",
                class(verdict),
                verdict.name()
            );
        }
    }
    html.push_str("</ul>\n");
}

/// A row's cells. Their end tags may be left out (HTML, 13.1.2.4), and there are many.
fn row_cells(verdicts: &[Verdict]) -> String {
    let mut cells = String::new();
    for verdict in verdicts {
        let word = verdict.name();
        put!(
            cells,
            "<td class={} title=\"{word}\">{word}",
            class(*verdict)
        );
    }
    cells
}

/// A test's name, and a link to its failures if it has any.
pub(super) fn name(html: &mut String, page: &Page<'_>, number: usize) {
    let row = &page.matrix.rows[number];
    if row.worst().is_bad() {
        put!(html, "<a href=\"#t{number}\">{}</a>", Name(row.test));
    } else {
        put!(html, "{}", Name(row.test));
    }
}

/// How long a test took: on average, at most, and in which run.
struct Times {
    mean: f64,
    most: f64,
    run: usize,
}

fn times(row: &Row<'_>) -> Option<Times> {
    let seconds = |(run, cell): (usize, &Option<&crate::model::test_event::FinishedTest>)| {
        cell.map(|test| (run, test.seconds))
    };
    let seconds = row.cells.iter().enumerate().filter_map(seconds);
    let seconds = seconds.collect::<Vec<_>>();
    // Of equals the last one, which is the oldest kernel.
    let longest = seconds.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
    let (run, most) = *longest?;
    let sum = seconds.iter().map(|(_, seconds)| seconds).sum::<f64>();
    Some(Times {
        mean: sum / seconds.len() as f64,
        most,
        run,
    })
}

/// What is folded into one line.
#[derive(Default)]
struct Fold {
    rows: Vec<usize>,
    counts: BTreeMap<Verdict, usize>,
    seconds: f64,
}

impl Fold {
    fn push(&mut self, row: &Row<'_>, number: usize, seconds: f64) {
        self.rows.push(number);
        *self.counts.entry(row.worst()).or_default() += 1;
        self.seconds += seconds;
    }

    /// `920 passed, 22 skipped; 12.3 s`
    fn text(&self) -> String {
        let counts = self.counts.iter().rev();
        let counts = counts.map(|(verdict, count)| counted(*verdict, *count));
        let counts = counts.collect::<Vec<_>>().join(", ");
        format!("{counts}; {}", seconds(self.seconds))
    }
}

pub(super) fn all(page: &Page<'_>) -> Section {
    let mut html = String::new();
    let times = page.matrix.rows.iter().map(times).collect::<Vec<_>>();
    let mut modules = BTreeMap::<&str, (Fold, BTreeMap<&str, Fold>)>::new();
    let mut count = 0;
    for (number, row) in page.matrix.rows.iter().enumerate() {
        if row.differs {
            continue;
        }
        count += 1;
        let (module, class, _) = parts(row.test);
        let seconds = times[number].as_ref().map_or(0.0, |times| times.mean);
        let (fold, classes) = modules.entry(module).or_default();
        fold.push(row, number, seconds);
        let class = classes.entry(class).or_default();
        class.push(row, number, seconds);
    }
    slowest(&mut html, page, &times);
    html.push_str(
        "<h3>By module and class</h3>\n<p class=muted>With what they do wherever they were \
         run, and the mean of their times.</p>\n",
    );
    if modules.is_empty() {
        html.push_str("<p>There are none.</p>\n");
    }
    for (module, (fold, classes)) in &modules {
        put!(
            html,
            "<details class=item data-group>\n<summary><code>{}</code> <span class=muted>{}</span></summary>\n",
            Text(or_none(module)),
            fold.text()
        );
        for (class, fold) in classes {
            put!(
                html,
                "<details data-group>\n<summary><code>{}</code> <span class=muted>{}</span></summary>\n\
                 <ul class=plain>\n",
                Text(or_none(class)),
                fold.text()
            );
            let mut rows = fold.rows.clone();
            rows.sort_by_key(|number| page.matrix.rows[*number].test);
            for number in rows {
                put!(
                    html,
                    "<li data-test>{} ",
                    mark(page.matrix.rows[number].worst())
                );
                name(&mut html, page, number);
                if let Some(times) = &times[number]
                    && times.mean >= 0.05
                {
                    put!(html, " <span class=muted>{}</span>", seconds(times.mean));
                }
                html.push_str("</li>\n");
            }
            html.push_str("</ul>\n</details>\n");
        }
        html.push_str("</details>\n");
    }
    Section {
        id: "same",
        title: "The same on every kernel",
        count,
        html,
    }
}

fn or_none(name: &str) -> &str {
    match name {
        "" => "(none)",
        name => name,
    }
}

fn slowest(html: &mut String, page: &Page<'_>, times: &[Option<Times>]) {
    let times = times.iter().enumerate();
    let mut slowest = times
        .filter_map(|(row, times)| Some((row, times.as_ref()?)))
        .collect::<Vec<_>>();
    slowest.sort_by(|(row, a), (other, b)| {
        let test = |row: usize| page.matrix.rows[row].test;
        b.most
            .total_cmp(&a.most)
            .then_with(|| test(*row).cmp(test(*other)))
    });
    slowest.truncate(SLOWEST);
    if slowest.is_empty() {
        return;
    }
    html.push_str("<h3>Slowest tests</h3>\n");
    open_table(
        html,
        "slowest",
        "Table of the slowest tests",
        "Of all tests, by their longest time.",
    );
    html.push_str(
        "<thead>\n<tr><th scope=col>Test</th><th scope=col class=number>Longest</th>\
         <th scope=col>On</th><th scope=col class=number>Mean</th></tr>\n</thead>\n<tbody>\n",
    );
    for (row, times) in slowest {
        html.push_str("<tr data-test><th scope=row>");
        name(html, page, row);
        put!(
            html,
            "</th><td class=number>{}</td><td>{}</td><td class=number>{}</td></tr>\n",
            seconds(times.most),
            Text(&page.matrix.labels[times.run]),
            seconds(times.mean)
        );
    }
    html.push_str("</tbody>\n");
    close_table(html);
}
