//! Markdown for GitHub: a pull request, a comment, the summary of a step.
//!
//! All that comes from a guest is in code, so that it mentions nobody and refers to
//! nothing, and its punctuation is written as character references, which cannot make
//! structure (<https://spec.commonmark.org/0.31.2/#entity-and-numeric-character-references>).
//! What does not fit is left out by whole items, and the text says how many.

use std::fmt::Write as _;

use super::compact::{cut, first_line, grouped, plural, shortened, some_of};
use super::complaints;
use super::diff::SessionDiff;
use super::matrix::{MatrixRow, TestMatrix, console, is_odd};
use super::totals::{self, TestTotals};
use crate::base::shown;
use crate::model::results::{Results, RunName, RunRecord};
use crate::model::test_event::RunOutcome;

/// The most characters that a pull request, an issue or a comment can have, as the API says
/// beyond that (status 422); the documentation does not. We count bytes, which are no fewer.
pub const PULL_REQUEST: usize = 65_536;

/// The most that a step's summary can have, 1 MiB:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#step-isolation-and-limits>.
pub const STEP_SUMMARY: usize = 1 << 20;

/// So many tests of a group are seen without a click.
const OPEN_TESTS: usize = 10;

/// So many kernels are named in a list of them.
const NAMED_KERNELS: usize = 5;

/// The longest line of a guest, in characters: it must not fill the screen.
const LONGEST_LINE: usize = 200;

/// The bytes of what is said in place of items, at its longest.
const LONGEST_NOTE: usize = 80;

/// The report, of at most `limit` bytes. Below about 4 KiB there is little in it.
pub fn render(results: &Results, limit: usize) -> String {
    let matrix = TestMatrix::new(results);
    let head = head(&matrix, limit / 16);
    let kernels = kernels(&matrix, limit / 4);
    let differing = differing(&matrix, limit / 4);
    let complaints = complaints(&matrix, limit / 8);
    let ends = ends(&matrix, limit / 8);
    let skips = skips(&matrix, limit / 8);
    // What is not used by the others is for tracebacks.
    let others = [&head, &kernels, &differing, &complaints, &ends, &skips];
    let used = others.iter().map(|text| text.len()).sum::<usize>();
    let failures = failures(&matrix, limit.saturating_sub(used), limit / 16);
    [head, kernels, differing, failures, complaints, ends, skips].concat()
}

/// Whole items below a head, as long as they fit; nothing if not even the head does.
fn fit<T>(head: &str, items: &[T], limit: usize, render: impl Fn(&T) -> String) -> String {
    let mut text = head.to_owned();
    for (number, item) in items.iter().enumerate() {
        let item = render(item);
        if text.len() + item.len() + LONGEST_NOTE > limit {
            // Nothing comes after what was left out, or the order would mislead.
            let left_out = items.len() - number;
            let _ = write!(text, "\n_{left_out} more in report.html_\n");
            break;
        }
        text += &item;
    }
    match text.len() > limit {
        true => String::new(),
        false => text,
    }
}

fn head(matrix: &TestMatrix<'_>, limit: usize) -> String {
    let session = &matrix.results.session;
    let project = match session.project.as_str() {
        "" => String::new(),
        project => plain(project) + ": ",
    };
    let mut head = format!("## {project}{}\n", plain(&matrix.headline()));
    if session.filtered {
        head.push_str("\nOnly some of the tests were asked for.\n");
    }
    if let Some((number, of)) = session.partition {
        head += &format!("\nThis is partition {number} of {of}.\n");
    }
    if !matrix.results.finished {
        head.push_str("\n**The session was cut short.**\n");
    }
    fit(&head, &matrix.results.findings, limit, |finding| {
        format!("\n**{}**\n", plain(&one_line(finding)))
    })
}

fn kernels(matrix: &TestMatrix<'_>, limit: usize) -> String {
    if matrix.runs.is_empty() {
        return String::new();
    }
    let columns = totals::columns(&matrix.runs);
    let names = columns.iter().map(|(name, _)| format!(" {name} |"));
    let names = names.collect::<String>();
    let lines = "--:|".repeat(columns.len() + 1);
    let table = format!("\n| kernel | outcome |{names} time |\n|---|---|{lines}\n");
    let legend = format!("\n{}\n", plain(&totals::legend(&columns)));
    let limit = limit.saturating_sub(legend.len());
    let table = fit(&table, &matrix.runs, limit, |run| {
        let totals = TestTotals::of(&run.tally);
        let count = |(_, count): &totals::TotalsColumn| format!(" {} |", count(&totals));
        let cells = match run.outcome {
            RunOutcome::NotStarted { .. } => " |".repeat(columns.len() + 1),
            _ => {
                let time = run.seconds.total.map(|seconds| format!(" {seconds:.1} s"));
                let counts = columns.iter().map(count).collect::<String>();
                counts + &time.unwrap_or_default() + " |"
            }
        };
        format!("| {} | {} |{cells}\n", code_of(&run.name), outcome(run))
    });
    match table.is_empty() {
        true => table,
        false => table + &legend,
    }
}

/// How a run ended, bold unless it passed, and what is known about it in one line.
fn outcome(run: &RunRecord) -> String {
    let name = run.outcome.name();
    if run.outcome == RunOutcome::Passed {
        return match run.retries.len() {
            0 => name.to_owned(),
            1 => format!("{name}, after a retry"),
            retries => format!("{name}, after {retries} retries"),
        };
    }
    let mut text = format!("**{name}**");
    if let Some(detail) = run.outcome.detail() {
        text += &format!(": {}", code(&one_line(&detail)));
    }
    if let Some(test) = run.outcome.running() {
        text += &format!(" in {}", code(&one_line(test)));
    }
    text
}

/// Tests that are not the same on every kernel, by where they change.
fn differing(matrix: &TestMatrix<'_>, limit: usize) -> String {
    let rows = matrix.differing();
    let groups = grouped(rows.map(|row| (row.words.as_deref().unwrap_or_default(), row)));
    let complaints = matrix.differing_complaints();
    let complaints = grouped(complaints.map(|(title, words)| (words, title)));
    if groups.is_empty() && complaints.is_empty() {
        return String::new();
    }
    let head = "\n### Not the same on every kernel\n";
    let mut text = fit(head, &groups, limit * 3 / 4, |(words, rows)| {
        let is_bad = rows.iter().any(|row| row.worst().is_bad());
        let is_open = is_bad && rows.len() <= OPEN_TESTS;
        let open = if is_open { " open" } else { "" };
        let names = rows.iter().map(|row| row.test).collect::<Vec<_>>();
        let summary = format!("{}: {}", plain(words), plural(rows.len(), "test"));
        list(&summary, open, &names, limit / 4)
    });
    if !text.is_empty() {
        text += &fit("", &complaints, limit - text.len(), |(words, titles)| {
            let summary = format!("{}: {}", plain(words), plural(titles.len(), "complaint"));
            list(&summary, "", titles, limit / 8)
        });
    }
    text
}

/// What the kernels complained of, with one report each.
fn complaints(matrix: &TestMatrix<'_>, limit: usize) -> String {
    if matrix.complaints.is_empty() {
        return String::new();
    }
    let each = limit / 4;
    fit("\n### Complaints\n", &matrix.complaints, limit, |group| {
        let (first, runs) = (group.first(), group.runs());
        let names = runs.iter().map(|run| &matrix.runs[*run].name);
        let allowed = if group.is_bad() { "" } else { "allowed: " };
        let (title, on) = (
            code(&one_line(&first.title)),
            some_kernels(&Vec::from_iter(names)),
        );
        let mut item = format!("\n<details><summary>{allowed}{title} on {on}</summary>\n");
        for reason in group.reasons() {
            item += &format!("\nAllowed: {}\n", code(&one_line(reason)));
        }
        let tests = group.tests().into_iter().map(|test| code(&one_line(test)));
        let tests = Vec::from_iter(tests);
        if !tests.is_empty() {
            item += &format!(
                "\nRunning then: {}\n",
                some_of(tests.into_iter(), NAMED_KERNELS)
            );
        }
        item + &block(&complaints::report(first), each) + "\n</details>\n"
    })
}

/// A folded list of tests.
fn list(summary: &str, open: &str, names: &[&str], limit: usize) -> String {
    let head = format!("\n<details{open}><summary>{summary}</summary>\n\n");
    match fit(&head, names, limit, |name| format!("- {}\n", code(name))) {
        text if text.is_empty() => format!("\n{summary}\n"),
        text => text + "\n</details>\n",
    }
}

fn failures(matrix: &TestMatrix<'_>, limit: usize, longest: usize) -> String {
    let rows = matrix.rows.iter();
    let rows = rows.filter(|row| row.bad().any(|run| row.cells[run].is_some()));
    let rows = rows.collect::<Vec<_>>();
    if rows.is_empty() {
        return String::new();
    }
    let render = |row: &&MatrixRow<'_>| failure(matrix, row, longest);
    fit("\n### Failures\n", &rows, limit, render)
}

/// A test that failed, on all its kernels; what is said on several only once.
fn failure(matrix: &TestMatrix<'_>, row: &MatrixRow<'_>, longest: usize) -> String {
    let failed = row.bad();
    let failed = failed.filter_map(|run| Some((&matrix.runs[run].name, row.cells[run]?)));
    let failed = failed.collect::<Vec<_>>();
    let kernels = failed.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let texts = grouped(failed.iter().map(|(name, test)| {
        let text = match (&test.expected, &test.traceback) {
            (Some(expected), _) => format!("It passed, but is listed as failing: {expected}"),
            (None, Some(traceback)) => traceback.clone(),
            (None, None) => test.reason.clone().unwrap_or_default(),
        };
        ((text, test.notes()), *name)
    }));
    let reason = failed.first().and_then(|(_, test)| test.reason.as_deref());
    let reason = reason.filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| format!(": {}", code(&one_line(reason))));
    let (test, verb, on) = (code(row.test), row.worst().verb(), some_kernels(&kernels));
    let reason = reason.unwrap_or_default();
    let mut item = format!("\n<details><summary>{test} {verb} on {on}{reason}</summary>\n");
    let each = longest / texts.len().max(1);
    for ((text, notes), kernels) in &texts {
        if texts.len() > 1 {
            let _ = write!(item, "\n{}:\n", some_kernels(kernels));
        }
        for note in notes {
            let _ = write!(item, "\n{}\n", code(&shortened(note, each)));
        }
        item.push_str(&block(text, each));
    }
    item + "\n</details>\n"
}

/// What shows how runs ended that did not end with their tests.
fn ends(matrix: &TestMatrix<'_>, limit: usize) -> String {
    let ends = matrix.runs.iter();
    let ends = ends.filter(|run| is_odd(run) && run.outcome != RunOutcome::NoTests);
    let ends = ends.collect::<Vec<_>>();
    if ends.is_empty() {
        return String::new();
    }
    let each = limit / (3 * ends.len());
    fit("\n### Runs that were cut short\n", &ends, limit, |run| {
        let (name, outcome) = (code_of(&run.name), outcome(run).replace("**", ""));
        let mut item = format!("\n<details><summary>{name}: {outcome}</summary>\n");
        let detail = run.outcome.detail().unwrap_or_default();
        let output = run.evidence.output_tail.as_str();
        for (what, text) in [
            ("", detail.as_str()),
            ("\nThe kernel's end:\n", &run.evidence.trouble),
            ("\nThe end of the tests' output:\n", output),
            ("\nThe end of the console:\n", console(run)),
        ] {
            if !text.trim().is_empty() {
                item += &format!("{what}{}", block(text, each));
            }
        }
        item + "\n</details>\n"
    })
}

fn skips(matrix: &TestMatrix<'_>, limit: usize) -> String {
    if matrix.skips.is_empty() {
        return String::new();
    }
    let table = "\n### Skipped\n\n| tests | kernels | on every kernel | reason |\n\
                 |--:|--:|--:|---|\n";
    let mut text = fit(table, &matrix.skips, limit / 2, |skips| {
        let reason = match skips.reason.trim() {
            "" => "none was given".to_owned(),
            reason => code(&one_line(reason)),
        };
        let (tests, everywhere) = (skips.tests.len(), skips.everywhere.len());
        format!("| {tests} | {} | {everywhere} | {reason} |\n", skips.runs)
    });
    let rows = matrix.rows.iter().filter(|row| row.skipped_everywhere());
    let names = rows.map(|row| row.test).collect::<Vec<_>>();
    if !names.is_empty() {
        let summary = format!("Skipped on every kernel: {}", plural(names.len(), "test"));
        text += &list(&summary, "", &names, limit / 2);
    }
    text
}

/// Two sessions compared, of at most `limit` bytes.
pub fn difference(diff: &SessionDiff<'_>, limit: usize) -> String {
    let worse = match diff.is_worse() {
        true => "something is worse",
        false => "nothing is worse",
    };
    let ends = diff.ends().into_iter();
    let ends = ends.map(|line| format!("- {}\n", plain(&line)));
    let mut items = ends.collect::<Vec<_>>();
    if let Some(first) = items.first_mut() {
        first.insert(0, '\n');
    }
    for group in diff.changes.chunk_by(|a, b| a.kind == b.kind) {
        let mut head = format!("\n### {}: {}\n\n", group[0].kind.name(), group.len());
        for change in group {
            let reason = change.reason.filter(|reason| !reason.trim().is_empty());
            let reason = reason.map(|reason| format!(": {}", code(&one_line(reason))));
            let (test, on) = (code(change.test), some_kernels(&change.runs));
            let (new, old) = (change.new.name(), change.old.name());
            let reason = reason.unwrap_or_default();
            items.push(format!(
                "{head}- {test} on {on}: {new}, was {old}{reason}\n"
            ));
            head.clear();
        }
    }
    let mut head = "\n### Complaints\n\n";
    for change in &diff.complaints {
        let (kind, title) = (change.kind(), code(&one_line(change.title)));
        let on = some_kernels(&change.runs);
        items.push(format!("{head}- {kind}: {title} on {on}\n"));
        head = "";
    }
    if diff.filtered {
        items.push("\nOnly some of the tests were asked for.\n".to_owned());
    }
    let head = format!("## Compared: {worse}\n");
    fit(&head, &items, limit, String::clone).replace("more in report.html", "more are left out")
}

fn some_kernels(names: &[&RunName]) -> String {
    some_of(names.iter().map(|name| code_of(name)), NAMED_KERNELS)
}

fn one_line(text: &str) -> String {
    cut(first_line(text.trim()), LONGEST_LINE)
}

/// Text that makes no structure.
fn plain(text: &str) -> String {
    let text = shown::lines(text);
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let inside =
            before.is_ascii_alphanumeric() && rest.peek().is_some_and(char::is_ascii_alphanumeric);
        match c {
            // A blank line ends a block of HTML.
            '\n' | '\t' => escaped.push(' '),
            // But for addresses, which become links.
            ':' if rest.peek() != Some(&'/') => escaped.push(c),
            // Within a word it means nothing, and names are full of it.
            '_' if inside => escaped.push(c),
            c if c.is_ascii_punctuation() && !".,;()-+=/'%?!\"".contains(c) => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
        before = c;
    }
    escaped
}

/// Text of a guest within a line.
fn code(text: &str) -> String {
    format!("<code>{}</code>", plain(text))
}

fn code_of(name: &RunName) -> String {
    code(&name.to_string())
}

/// Lines of a guest, of about `longest` bytes at most.
fn block(text: &str, longest: usize) -> String {
    let text = shown::lines(&shortened(text.trim_end(), longest));
    let mut fence = String::from("```");
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("\n{fence}text\n{text}\n{fence}\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::report::tests::{Sample, results};

    #[test]
    fn a_report() {
        let mut results = results([
            Sample::kernel("5.4.*").not_started(),
            Sample::kernel("6.1.192-vmtest1.1default")
                .test("t.A.good", "passed")
                .test("t.A.bad", "passed")
                .test("t.A.out", "skipped")
                .test("t.A.never", "skipped")
                .test("t.A.crash", "passed"),
            Sample::kernel("6.9.1-vmtest1.1default")
                .test("t.A.good", "passed")
                .test("t.A.bad", "failed")
                .test("t.A.out", "passed")
                .test("t.A.never", "skipped")
                .finished(json!({
                    "id": "t.A.mended", "outcome": "passed", "expected": "slow host",
                }))
                .panicked(Some("t.A.crash")),
        ]);
        results
            .findings
            .push("partition 2 of 3 is missing".to_owned());
        expect![[r###"
            ## example: 3 runs: passed 1, panicked 1, fetch failed 1; 4 of 6 tests differ between kernels

            **partition 2 of 3 is missing**

            | kernel | outcome | run | passed | failed | skipped | unexpected successes | not run | time |
            |---|---|--:|--:|--:|--:|--:|--:|--:|
            | <code>6.1.192-vmtest1.1default (x86_64)</code> | passed | 5 | 3 | 0 | 2 | 0 | 0 | 3.5 s |
            | <code>6.9.1-vmtest1.1default (x86_64)</code> | **panicked**: <code>Kernel panic - not syncing: Fatal exception</code> in <code>t.A.crash</code> | 5 | 2 | 1 | 1 | 1 | 1 | 3.5 s |
            | <code>5.4.&#42; (x86_64)</code> | **fetch failed**: <code>no kernel matches</code> | | | | | | | |

            run = passed + failed + skipped + unexpected successes; failed: a failure or an error that nothing expects; unexpected successes: passed although the test itself or &#91;&#91;expect&#93;&#93; says otherwise; not run: found, but the run did not get to their end

            ### Not the same on every kernel

            <details open><summary>passes up to 6.1, does not finish from 6.9: 1 test</summary>

            - <code>t.A.crash</code>

            </details>

            <details open><summary>passes up to 6.1, fails from 6.9: 1 test</summary>

            - <code>t.A.bad</code>

            </details>

            <details open><summary>is missing up to 6.1, passes unexpectedly from 6.9: 1 test</summary>

            - <code>t.A.mended</code>

            </details>

            <details><summary>is skipped up to 6.1, passes from 6.9: 1 test</summary>

            - <code>t.A.out</code>

            </details>

            ### Failures

            <details><summary><code>t.A.bad</code> fails on <code>6.9.1-vmtest1.1default (x86_64)</code>: <code>AssertionError: 1 != 2</code></summary>

            ```text
            Traceback (most recent call last):
              File "/home/me/project/tests/test_a.py", line 12, in test_bad
                self.assertEqual(1, 2)
            AssertionError: 1 != 2
            ```

            </details>

            <details><summary><code>t.A.mended</code> passes unexpectedly on <code>6.9.1-vmtest1.1default (x86_64)</code></summary>

            ```text
            It passed, but is listed as failing: slow host
            ```

            </details>

            ### Runs that were cut short

            <details><summary><code>6.9.1-vmtest1.1default (x86_64)</code>: panicked: <code>Kernel panic - not syncing: Fatal exception</code> in <code>t.A.crash</code></summary>

            ```text
            Kernel panic - not syncing: Fatal exception
            ```

            The kernel's end:

            ```text
            Oops: 0002 [#1] SMP
            RIP: 0010:do_wrong+0x1/0x2
            ```

            The end of the tests' output:

            ```text
            test_a ... ok
            ```

            The end of the console:

            ```text
            Kernel panic - not syncing: Fatal exception
            ```

            </details>

            <details><summary><code>5.4.&#42; (x86_64)</code>: fetch failed: <code>no kernel matches</code></summary>

            ```text
            no kernel matches
            ```

            </details>

            ### Skipped

            | tests | kernels | on every kernel | reason |
            |--:|--:|--:|---|
            | 2 | 2 | 1 | <code>not here</code> |

            <details><summary>Skipped on every kernel: 1 test</summary>

            - <code>t.A.never</code>

            </details>
        "###]].assert_eq(&render(&results, PULL_REQUEST));
    }

    #[test]
    fn all_is_well() {
        let results = results([
            Sample::kernel("6.1").test("t.A.good", "passed"),
            Sample::kernel("6.9").test("t.A.good", "passed"),
        ]);
        expect![[r#"
            ## example: 2 runs: all passed

            | kernel | outcome | run | passed | failed | skipped | time |
            |---|---|--:|--:|--:|--:|--:|
            | <code>6.1 (x86_64)</code> | passed | 1 | 1 | 0 | 0 | 3.5 s |
            | <code>6.9 (x86_64)</code> | passed | 1 | 1 | 0 | 0 | 3.5 s |

            run = passed + failed + skipped; failed: a failure or an error that nothing expects
        "#]]
        .assert_eq(&render(&results, PULL_REQUEST));
    }

    #[test]
    fn names_make_no_structure() {
        for (text, expect) in [
            (
                "tests.linux_kernel.test_a.TestA.test_b",
                expect!["tests.linux_kernel.test_a.TestA.test_b"],
            ),
            (
                "__init__ *a* `b` |c| <d> @e #1 [f](g)",
                expect![
                    "&#95;&#95;init&#95;&#95; &#42;a&#42; &#96;b&#96; &#124;c&#124; &#60;d&#62; &#64;e &#35;1 &#91;f&#93;(g)"
                ],
            ),
            ("a\n\n# b\r\u{1b}[31m", expect!["a  &#35; b��&#91;31m"]),
            (
                "http://x \\| ~~y~~ &amp; !",
                expect!["http&#58;//x &#92;&#124; &#126;&#126;y&#126;&#126; &#38;amp; !"],
            ),
        ] {
            expect.assert_eq(&plain(text));
        }
    }

    #[test]
    fn text_of_a_guest_stays_in_its_block() {
        expect![[r#"

            `````text
            a
            ```
            </details>
            ````
            �b
            `````
        "#]]
        .assert_eq(&block("a\n```\n</details>\n````\n\u{1b}b\n\n", 1000));
        expect![[r#"

            ```text
            first
            [… 30 bytes left out …]
            last
            last
            last
            last
            ```
        "#]]
        .assert_eq(&block(
            &"first\n"
                .repeat(5)
                .chars()
                .chain("last\n".repeat(5).chars())
                .collect::<String>(),
            30,
        ));
    }

    #[test]
    fn it_is_as_long_as_allowed() {
        let long = "é\n".repeat(4_000);
        let run = |kernel: &str, cut: bool| {
            let mut sample = Sample::kernel(kernel);
            for number in 0..100 {
                let id = format!("tests.test_long_name.TestLongName.test_{number}");
                sample = sample.finished(json!({
                    "id": id, "outcome": if cut { "failed" } else { "skipped" },
                    "reason": format!("{number} {}", &long[..300]),
                    "traceback": cut.then_some(&long),
                }));
            }
            if cut {
                sample.panicked(Some("x"))
            } else {
                sample
            }
        };
        let runs = ["5.4", "5.10", "6.1", "6.9"];
        let runs = runs.into_iter().enumerate();
        let mut results = results(runs.map(|(n, kernel)| run(kernel, n % 2 == 0)));
        results.findings = vec![long; 9];
        for limit in [0, 100, 1000, 10_000, PULL_REQUEST, STEP_SUMMARY] {
            let text = render(&results, limit);
            assert!(text.len() <= limit, "{} of {limit}", text.len());
            if limit >= PULL_REQUEST {
                assert!(text.len() > limit / 2, "{} of {limit}", text.len());
                for head in [
                    "## example",
                    "| kernel |",
                    "### Not",
                    "### Fail",
                    "### Skip",
                ] {
                    assert!(text.contains(head), "{head} of {limit}");
                }
                let open = text.matches("<details").count();
                assert_eq!(open, text.matches("</details>").count());
            }
        }
    }
}
