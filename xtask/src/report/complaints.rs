//! What the kernels complained of, the same thing of several kernels and runs once.

use std::cmp::Reverse;

use super::compact::grouped;
use super::words::{Behavior, Columns};
use crate::model::{complaint::Complaint, results::RunRecord};

/// Complaints of one title, apart from its numbers, that make a run fail, or that do not.
#[derive(Clone, Debug, PartialEq)]
pub struct ComplaintGroup<'r> {
    /// Each with its run, by the number in [`super::matrix::TestMatrix::runs`], in order.
    pub complaints: Vec<(usize, &'r Complaint)>,
    /// Where it occurs, if that is not the same on every kernel. If it is allowed on some of
    /// them, those that do not allow it say so.
    pub words: Option<String>,
}

impl<'r> ComplaintGroup<'r> {
    /// The one that stands for all.
    pub fn first(&self) -> &'r Complaint {
        self.complaints[0].1
    }

    /// Whether it makes a run fail.
    pub fn is_bad(&self) -> bool {
        self.first().is_bad()
    }

    /// The runs that have it, in order.
    pub fn runs(&self) -> Vec<usize> {
        let runs = self.complaints.iter().map(|(run, _)| *run);
        let mut runs = runs.collect::<Vec<_>>();
        runs.dedup();
        runs
    }

    /// The tests that ran, each once.
    pub fn tests(&self) -> Vec<&'r str> {
        let tests = self.complaints.iter();
        let tests = tests.filter_map(|(_, complaint)| Some((complaint.test.as_deref()?, ())));
        grouped(tests).into_iter().map(|(test, _)| test).collect()
    }

    /// Why it is allowed, each reason once.
    pub fn reasons(&self) -> Vec<&'r str> {
        let reasons = self.complaints.iter();
        let reasons =
            reasons.filter_map(|(_, complaint)| Some((complaint.allowed.as_deref()?, ())));
        grouped(reasons)
            .into_iter()
            .map(|(reason, _)| reason)
            .collect()
    }
}

pub(super) fn of<'r>(runs: &[&'r RunRecord]) -> Vec<ComplaintGroup<'r>> {
    groups(runs, &Columns::new(runs.iter().map(|run| &run.name)))
}

pub(super) fn groups<'r>(runs: &[&'r RunRecord], columns: &Columns<'_>) -> Vec<ComplaintGroup<'r>> {
    let all = runs.iter().enumerate().flat_map(|(number, run)| {
        let complaints = run.tally.complaints.iter();
        complaints.map(move |complaint| (key(&complaint.title), (number, complaint)))
    });
    let group = |(_, complaints): (_, Vec<(usize, &'r Complaint)>)| {
        let phases = complaints.iter().map(|(run, _)| &runs[*run].name.phase);
        let phases = phases.collect::<Vec<_>>();
        let behavior = |(number, run): (usize, &&RunRecord)| {
            // One that was cut short may not have come to it, and the host's kernel is not read.
            let can_tell = run.outcome.is_complete()
                && !run.name.arch.is_empty()
                && phases.contains(&&run.name.phase);
            let mut of_run = complaints
                .iter()
                .filter(|(run, _)| *run == number)
                .peekable();
            let (rank, verb) = match of_run.peek().is_some() {
                true if of_run.any(|(_, complaint)| complaint.is_bad()) => (0, "occurs"),
                true => (1, "occurs as allowed"),
                false if can_tell => (2, "does not occur"),
                false => return None,
            };
            Some(Behavior { rank, verb })
        };
        let mut words = columns.describe(runs.iter().enumerate().map(behavior));
        let is_bad = |(_, complaint): &(usize, &Complaint)| complaint.is_bad();
        let (bad, allowed) = complaints.iter().copied().partition::<Vec<_>, _>(is_bad);
        let parts = [bad, allowed].into_iter().filter(|part| !part.is_empty());
        let parts = parts.map(|complaints| ComplaintGroup {
            complaints,
            words: words.take(),
        });
        parts.collect::<Vec<_>>()
    };
    let mut groups = grouped(all).into_iter().flat_map(group).collect::<Vec<_>>();
    groups.sort_by_key(|group| (!group.is_bad(), Reverse(group.runs().len())));
    groups
}

/// So many lines of a complaint's report are shown: its stack, mostly.
pub(super) const MOST_LINES: usize = 40;

/// The first lines of a report, and how many more there are.
pub(super) fn report(complaint: &Complaint) -> String {
    let lines = complaint.report.trim_end().lines();
    let mut text = lines
        .take(MOST_LINES)
        .fold(String::new(), |text, line| text + line + "\n");
    let more = complaint
        .report
        .trim_end()
        .lines()
        .count()
        .saturating_sub(MOST_LINES);
    if more > 0 {
        text += &format!("[… {more} more lines …]\n");
    }
    text
}

/// A title without what differs from one time to the next: numbers, addresses, times, so that
/// `WARNING: CPU: 3 PID: 81 at m.c:7 f+0x1/0x2` is `WARNING: CPU: # PID: # at m.c:# f+#/#`.
pub(super) fn key(title: &str) -> String {
    let mut key = String::with_capacity(title.len());
    let mut rest = title;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end.max(first.len_utf8()));
        key += if is_number(word) { "#" } else { word };
        rest = after;
    }
    key
}

/// `26`, `26s`, `0x1f`, `1f`, `ffff88810463a000`: not `ext4` or `i386`.
fn is_number(word: &str) -> bool {
    let is_hex = |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
    match word.as_bytes() {
        [b'0'..=b'9', ..] => {
            is_hex(word) || word.strip_prefix("0x").is_some_and(is_hex) || unit.len() <= 2
        }
        word_of_letters => word_of_letters.len() >= 8 && is_hex(word),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect;

    use super::*;
    use crate::model::results::Results;
    use crate::report::formats::ReportLook;
    use crate::report::{github, html, json, junit, markdown, text};
    use crate::report::{matrix::TestMatrix, tests::Sample, tests::results};

    #[test]
    fn numbers_do_not_tell_titles_apart() {
        for (title, expect) in [
            (
                "WARNING: CPU: 3 PID: 81 at fs/ext4/super.c:712 ext4_x+0x1f/0x2 [i915]",
                "WARNING: CPU: # PID: # at fs/ext4/super.c:# ext4_x+#/# [i915]",
            ),
            (
                "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [python3:812]",
                "watchdog: BUG: soft lockup - CPU## stuck for #! [python3:#]",
            ),
            ("ffff88810463a000 at 0000:00:1f.2, é", "# at #:#:#.#, é"),
            (
                "deadlock added facade_1 sha256_x 3rd",
                "deadlock added facade_1 sha256_x #",
            ),
            ("", ""),
        ] {
            assert_eq!(key(title), expect);
        }
    }

    fn warning(number: u32) -> String {
        format!("WARNING: at m.c:{number}")
    }

    fn sample() -> Results {
        results([
            Sample::kernel("5.10").complains(&warning(1), None, Some("known")),
            Sample::kernel("6.1").test("t.a", "passed"),
            Sample::kernel("6.6").panicked(None),
            Sample::kernel("6.9")
                .test("t.a", "passed")
                .complains("BUG: <x>", Some("t.a"), None)
                .complains(&warning(2), None, None),
            Sample::kernel("6.12").complains(&warning(3), Some("t.b"), None),
            Sample::kernel("6.18").complains("UBSAN: y", None, Some("issue 7")),
        ])
    }

    #[test]
    fn it_is_said_on_which_kernels_one_occurs() {
        let results = sample();
        let matrix = TestMatrix::new(&results);
        let shown = matrix.complaints.iter().map(|group| {
            let (title, words) = (&group.first().title, group.words.as_deref());
            let (runs, tests, reasons) = (group.runs(), group.tests(), group.reasons());
            format!("{title}: {words:?} {runs:?} {tests:?} {reasons:?}\n")
        });
        expect![[r#"
            WARNING: at m.c:2: Some("occurs on 6.9 to 6.12, occurs as allowed on 5.10, does not occur on the others") [3, 4] ["t.b"] []
            BUG: <x>: Some("occurs on 6.9, does not occur on the others") [3] ["t.a"] []
            WARNING: at m.c:1: None [0] [] ["known"]
            UBSAN: y: Some("does not occur up to 6.12, occurs as allowed from 6.18") [5] [] ["issue 7"]
        "#]].assert_eq(&shown.collect::<String>());
    }

    #[test]
    fn text_has_the_reports_and_only_counts_what_is_allowed() {
        let results = sample();
        let mut look = ReportLook::default();
        let text = text::render(&results, &look);
        let (complaints, _) = text.split_once("\n=== 6.6").unwrap();
        expect![[r#"

            === on 2 kernels: complained: WARNING: at m.c:2
            6.9 (x86_64)
            6.12 (x86_64)
            2 times
            running then: t.b
            WARNING: at m.c:2
            Call Trace:
             f+0x1/0x2 (m.c:1)

            === 6.9 (x86_64): complained: BUG: <x>
            running then: t.a
            BUG: <x>
            Call Trace:
             f+0x1/0x2 (m.c:1)

            === allowed: 2 complaints of the kernel: issue 7; known
        "#]]
        .assert_eq(complaints);
        let (_, rest) = text.split_once("not the same").unwrap();
        expect![[r#"
             on every kernel:
              t.a: passes on 6.1 to 6.9, is missing on the others
              WARNING: at m.c:2: occurs on 6.9 to 6.12, occurs as allowed on 5.10, does not occur on the others
              BUG: <x>: occurs on 6.9, does not occur on the others
              UBSAN: y: does not occur up to 6.12, occurs as allowed from 6.18

            kernel  outcome     run  passed  failed  skipped  complaints   time
            5.10    passed        0       0       0        0           0  3.5 s
            6.1     passed        1       1       0        0           0  3.5 s
            6.6     panicked      0       0       0        0           0  3.5 s
            6.9     complained    1       1       0        0           2  3.5 s
            6.12    complained    0       0       0        0           1  3.5 s
            6.18    passed        0       0       0        0           0  3.5 s
            x86_64, KVM
            run = passed + failed + skipped; failed: a failure or an error that nothing expects; complaints: of the kernel, without what [[allow]] lists
        "#]].assert_eq(rest);
        look.skips = true;
        let text = text::render(&results, &look);
        let (_, listed) = text.split_once("as allowed").unwrap();
        expect![[r#"
            : WARNING: at m.c:1
            allowed: known
            WARNING: at m.c:1
            Call Trace:
             f+0x1/0x2 (m.c:1)
        "#]]
        .assert_eq(listed.split_once("\n===").unwrap().0);
    }

    #[test]
    fn the_other_reports_have_them_too() {
        let results = sample();
        let markdown = markdown::render(&results, markdown::PULL_REQUEST);
        let (_, markdown) = markdown.split_once("### Not").unwrap();
        expect![[r#"
             the same on every kernel

            <details><summary>passes on 6.1 to 6.9, is missing on the others: 1 test</summary>

            - <code>t.a</code>

            </details>

            <details><summary>occurs on 6.9 to 6.12, occurs as allowed on 5.10, does not occur on the others: 1 complaint</summary>

            - <code>WARNING: at m.c:2</code>

            </details>

            <details><summary>occurs on 6.9, does not occur on the others: 1 complaint</summary>

            - <code>BUG: &#60;x&#62;</code>

            </details>

            <details><summary>does not occur up to 6.12, occurs as allowed from 6.18: 1 complaint</summary>

            - <code>UBSAN: y</code>

            </details>

            ### Complaints

            <details><summary><code>WARNING: at m.c:2</code> on <code>6.9 (x86_64)</code>, <code>6.12 (x86_64)</code></summary>

            Running then: <code>t.b</code>

            ```text
            WARNING: at m.c:2
            Call Trace:
             f+0x1/0x2 (m.c:1)
            ```

            </details>

            <details><summary><code>BUG: &#60;x&#62;</code> on <code>6.9 (x86_64)</code></summary>

            Running then: <code>t.a</code>

            ```text
            BUG: <x>
            Call Trace:
             f+0x1/0x2 (m.c:1)
            ```

            </details>

            <details><summary>allowed: <code>WARNING: at m.c:1</code> on <code>5.10 (x86_64)</code></summary>

            Allowed: <code>known</code>

            ```text
            WARNING: at m.c:1
            Call Trace:
             f+0x1/0x2 (m.c:1)
            ```

            </details>

            <details><summary>allowed: <code>UBSAN: y</code> on <code>6.18 (x86_64)</code></summary>

            Allowed: <code>issue 7</code>

            ```text
            UBSAN: y
            Call Trace:
             f+0x1/0x2 (m.c:1)
            ```

            </details>

        "#]].assert_eq(markdown.split_once("### Runs").unwrap().0);
        let junit = junit::render(&results);
        let suite = junit.split("<testsuite ").nth(4).unwrap();
        let (_, cases) = suite.split_once("</properties>").unwrap();
        expect![[r#"

                <testcase classname="t" name="a" time="0.250"/>
                <testcase classname="vmtest" name="kernel complaints" time="0.000">
                  <failure type="BUG" message="BUG: &lt;x&gt;">BUG: &lt;x&gt;
            running then: t.a
            BUG: &lt;x&gt;
            Call Trace:
             f+0x1/0x2 (m.c:1)

            WARNING: at m.c:2
            WARNING: at m.c:2
            Call Trace:
             f+0x1/0x2 (m.c:1)
            </failure>
                </testcase>
                <system-out></system-out>
                <system-err></system-err>
              </testsuite>
        "#]]
        .assert_eq(&(cases.trim_end().to_owned() + "\n"));
        let allowed = junit.split("<testsuite ").nth(6).unwrap();
        assert!(
            allowed.contains("failures=\"0\" errors=\"0\" skipped=\"1\""),
            "{allowed}"
        );
        let job = github::ActionsJob::default();
        expect![[r#"
            ::error title=WARNING%3A at m.c%3A2::on 6.9 (x86_64), 6.12 (x86_64)%0Arunning then: t.b
            ::error title=BUG%3A <x>::on 6.9 (x86_64)%0Arunning then: t.a
            ::error title=6.6 (x86_64)%3A panicked::Kernel panic - not syncing: Fatal exception
        "#]]
        .assert_eq(&github::annotations(&results, Path::new("/"), &job));
        let json = serde_json::from_str::<serde_json::Value>(&json::render(&results)).unwrap();
        expect![[r#"
            [
              {
                "bad": true,
                "runs": [
                  3,
                  4
                ],
                "title": "WARNING: at m.c:2",
                "words": "occurs on 6.9 to 6.12, occurs as allowed on 5.10, does not occur on the others"
              },
              {
                "bad": true,
                "runs": [
                  3
                ],
                "title": "BUG: <x>",
                "words": "occurs on 6.9, does not occur on the others"
              },
              {
                "bad": false,
                "runs": [
                  0
                ],
                "title": "WARNING: at m.c:1",
                "words": null
              },
              {
                "bad": false,
                "runs": [
                  5
                ],
                "title": "UBSAN: y",
                "words": "does not occur up to 6.12, occurs as allowed from 6.18"
              }
            ]"#]]
        .assert_eq(&format!("{:#}", json["complaints"]));
        assert_eq!(json["runs"][3]["complaints"][0]["test"], "t.a");
        assert_eq!(json["runs"][5]["complaints"][0]["allowed"], "issue 7");
        let html = html::render(&results);
        let (_, html) = html.split_once("id=\"complaints\"").unwrap();
        expect![[r#"
            >Complaints</h2>
            <details class=item id=c0>
            <summary><span class="mark bad">✗ complained</span> <h3><code>WARNING: at m.c:2</code></h3> <span class=muted>occurs on 6.9 to 6.12, occurs as allowed on 5.10, does not occur on the others: on 6.9, 6.12</span></summary>
            <ul class=plain>
            <li>WARNING, 2 times</li>
            <li>Running then: <code>t.<wbr>b</code></li>
            </ul>
            <pre>
            WARNING: at m.c:2
            Call Trace:
             f+0x1/0x2 (m.c:1)
            </pre>
            </details>
            <details class=item id=c1>
            <summary><span class="mark bad">✗ complained</span> <h3><code>BUG: &lt;x&gt;</code></h3> <span class=muted>occurs on 6.9, does not occur on the others: on 6.9</span></summary>
            <ul class=plain>
            <li>BUG, 1 time</li>
            <li>Running then: <code>t.<wbr>a</code></li>
            </ul>
            <pre>
            BUG: &lt;x&gt;
            Call Trace:
             f+0x1/0x2 (m.c:1)
            </pre>
            </details>
            <details class=item id=c2>
            <summary><span class="mark good">✓ allowed</span> <h3><code>WARNING: at m.c:1</code></h3> <span class=muted>on 5.10</span></summary>
            <ul class=plain>
            <li>WARNING, 1 time</li>
            <li>Allowed: known</li>
            </ul>
            <pre>
            WARNING: at m.c:1
            Call Trace:
             f+0x1/0x2 (m.c:1)
            </pre>
            </details>
            <details class=item id=c3>
            <summary><span class="mark good">✓ allowed</span> <h3><code>UBSAN: y</code></h3> <span class=muted>does not occur up to 6.12, occurs as allowed from 6.18: on 6.18</span></summary>
            <ul class=plain>
            <li>UBSAN, 1 time</li>
            <li>Allowed: issue 7</li>
            </ul>
            <pre>
            UBSAN: y
            Call Trace:
             f+0x1/0x2 (m.c:1)
            </pre>
            </details>
        "#]].assert_eq(html.split_once("</section>").unwrap().0);
    }

    #[test]
    fn long_reports_are_cut() {
        for (lines, more) in [
            (MOST_LINES, None),
            (MOST_LINES + 2, Some("[… 2 more lines …]")),
        ] {
            let results = results([Sample::kernel("6.1").complains("BUG: x", None, None)]);
            let mut complaint = results.runs[0].tally.complaints[0].clone();
            complaint.report = "line\n".repeat(lines);
            let text = report(&complaint);
            assert_eq!(text.matches("line\n").count(), MOST_LINES);
            assert_eq!(text.lines().nth(MOST_LINES), more);
        }
    }
}
