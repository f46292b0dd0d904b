//! Two sessions compared: which tests fail now that did not, and the other way round.
//!
//! Kernels are matched by release; what is left by series, flavor and architecture, so
//! that a newer point release is compared with the one before.

use std::collections::BTreeMap;

use super::compact::{grouped, plural, some_of};
use super::complaints;
use super::matrix::{MatrixRow, TestMatrix, TestVerdict, end_details, is_complete};
use crate::base::shown;
use crate::model::results::{Results, RunName, RunRecord};
use crate::model::test_event::RunOutcome;
use crate::model::version::{Release, Series};

/// So many kernels are named in a line.
const NAMED_KERNELS: usize = 4;

/// The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It fails and did not, or was not there.
    NewlyFailing,
    NewlySkipped,
    NoLongerThere,
    FailsOtherwise,
    /// It is expected to fail, or not any more.
    OtherwiseExpected,
    Fixed,
    NoLongerSkipped,
    /// It was not there.
    New,
}

impl ChangeKind {
    /// That a run did not get to a test is no change of the test.
    fn of(old: TestVerdict, new: TestVerdict) -> Option<Self> {
        use TestVerdict::{ExpectedFailure, Missing, Passed, Skipped, Unknown};
        Some(match (old, new) {
            (old, new) if old == new => return None,
            (_, Unknown) => return None,
            (old, new) if new.is_bad() && !old.is_bad() => Self::NewlyFailing,
            (_, new) if new.is_bad() => Self::FailsOtherwise,
            (Unknown, _) => return None,
            (_, Missing) => Self::NoLongerThere,
            (Missing, _) => Self::New,
            (_, Skipped) => Self::NewlySkipped,
            (Skipped, _) => Self::NoLongerSkipped,
            (Passed | ExpectedFailure, _) => Self::OtherwiseExpected,
            (_, _) => Self::Fixed,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::NewlyFailing => "newly failing",
            Self::NewlySkipped => "newly skipped",
            Self::NoLongerThere => "no longer there",
            Self::FailsOtherwise => "failing otherwise",
            Self::OtherwiseExpected => "otherwise expected",
            Self::Fixed => "fixed",
            Self::NoLongerSkipped => "no longer skipped",
            Self::New => "new",
        }
    }
}

/// A test that changed in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'r> {
    pub kind: ChangeKind,
    pub test: &'r str,
    pub old: TestVerdict,
    pub new: TestVerdict,
    /// Why, in the words of the first kernel.
    pub reason: Option<&'r str>,
    /// The kernels on which it changed.
    pub runs: Vec<&'r RunName>,
}

impl Change<'_> {
    /// Whether it fails and did not, or was well and nothing is known of it any more.
    pub fn is_worse(&self) -> bool {
        match self.kind {
            ChangeKind::NewlyFailing => true,
            ChangeKind::NewlySkipped => !self.old.is_bad(),
            _ => false,
        }
    }
}

/// A complaint that one session has and the other has not, or that is allowed in one only.
#[derive(Clone, Debug, PartialEq)]
pub struct ComplaintChange<'r> {
    pub title: &'r str,
    /// Whether it makes a run fail, before and now; `None` where it does not occur.
    pub bad: [Option<bool>; 2],
    pub runs: Vec<&'r RunName>,
}

impl ComplaintChange<'_> {
    pub fn is_worse(&self) -> bool {
        self.bad[1] == Some(true)
    }

    pub fn kind(&self) -> &'static str {
        match self.bad {
            [None, Some(true)] => "new",
            [None, _] => "new, allowed",
            [Some(_), None] => "gone",
            [_, Some(true)] => "no longer allowed",
            [_, Some(false)] => "now allowed",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct SessionDiff<'r> {
    /// Kernels of both sessions, from old to new.
    pub pairs: Vec<(&'r RunRecord, &'r RunRecord)>,
    /// Kernels of the old session only.
    pub removed: Vec<&'r RunRecord>,
    pub added: Vec<&'r RunRecord>,
    /// Tests that changed, the worst first, by name.
    pub changes: Vec<Change<'r>>,
    /// What the kernels of both sessions complain of otherwise than before.
    pub complaints: Vec<ComplaintChange<'r>>,
    /// Runs that did not get to tests which had a result before, and to how many.
    pub not_reached: Vec<(&'r RunName, usize)>,
    /// Only some of the tests were asked for, in one of the sessions or both.
    pub filtered: bool,
}

impl<'r> SessionDiff<'r> {
    pub fn new(old: &'r Results, new: &'r Results) -> Self {
        let (before, after) = (TestMatrix::new(old), TestMatrix::new(new));
        let pairs = pairs(&before.runs, &after.runs);
        let mut tests = BTreeMap::<&str, [Option<&MatrixRow<'r>>; 2]>::new();
        for (session, matrix) in [&before, &after].into_iter().enumerate() {
            for row in &matrix.rows {
                tests.entry(row.test).or_default()[session] = Some(row);
            }
        }
        let mut changes = BTreeMap::<_, (Option<&str>, Vec<_>)>::new();
        let mut not_reached = vec![0; after.runs.len()];
        for (test, [old_row, new_row]) in tests {
            for &(one, other) in &pairs {
                let run = after.runs[other];
                let old = verdict(old_row, one, before.runs[one]);
                let new = verdict(new_row, other, run);
                let said = !matches!(old, TestVerdict::Unknown | TestVerdict::Missing);
                // One that ran all of its tests has it elsewhere: after the crash.
                let all = is_complete(run) && !run.name.arch.is_empty();
                if said && new == TestVerdict::Unknown && !all {
                    not_reached[other] += 1;
                }
                let Some(kind) = ChangeKind::of(old, new) else {
                    continue;
                };
                let change = changes.entry((kind, test, old, new)).or_insert_with(|| {
                    let cell = new_row.filter(|_| new != TestVerdict::Passed);
                    let cell = cell.and_then(|row| row.cells[other]);
                    (cell.and_then(|test| test.reason.as_deref()), Vec::new())
                });
                change.1.push(&run.name);
            }
        }
        let changes = changes.into_iter();
        let changes = changes.map(|((kind, test, old, new), (reason, runs))| Change {
            kind,
            test,
            old,
            new,
            reason,
            runs,
        });
        let names = after.runs.iter().map(|run| &run.name);
        let not_reached = names.zip(not_reached).filter(|(_, count)| *count > 0);
        let pair = |(one, other): &(usize, usize)| (before.runs[*one], after.runs[*other]);
        let pairs = pairs.iter().map(pair).collect::<Vec<_>>();
        let (mut removed, mut added) = (before.runs.clone(), after.runs.clone());
        removed.retain(|run| pairs.iter().all(|(old, _)| old.name != run.name));
        added.retain(|run| pairs.iter().all(|(_, new)| new.name != run.name));
        Self {
            removed,
            added,
            changes: changes.collect(),
            complaints: changed_complaints(&pairs),
            not_reached: not_reached.collect(),
            filtered: old.session.filtered || new.session.filtered,
            pairs,
        }
    }

    /// Whether a test is worse than it was, or a run ended worse.
    pub fn is_worse(&self) -> bool {
        let mut pairs = self.pairs.iter();
        self.changes.iter().any(Change::is_worse)
            || self.complaints.iter().any(ComplaintChange::is_worse)
            || pairs.any(|(old, new)| rank(&old.outcome) < rank(&new.outcome))
    }

    /// The differences for a person; one line says so if there are none.
    pub fn text(&self) -> String {
        let ends = self.ends().into_iter().map(|line| line + "\n");
        let mut text = ends.collect::<String>();
        for group in self.changes.chunk_by(|a, b| a.kind == b.kind) {
            let space = if text.is_empty() { "" } else { "\n" };
            text += &format!("{space}{}: {}\n", group[0].kind.name(), group.len());
            for change in group {
                let reason = change.reason.and_then(|reason| reason.lines().next());
                let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                let (old, new) = (change.old.name(), change.new.name());
                let runs = &change.runs;
                let kernels = match runs.len() {
                    count @ 2.. if count == self.pairs.len() => format!("all {count} kernels"),
                    _ => some_of(runs.iter().map(ToString::to_string), NAMED_KERNELS),
                };
                text += &format!("  {} on {kernels}: {new}, was {old}{reason}\n", change.test);
            }
        }
        let mut space = if text.is_empty() { "" } else { "\n" };
        for change in &self.complaints {
            let kernels = some_of(change.runs.iter().map(ToString::to_string), NAMED_KERNELS);
            let (kind, title) = (change.kind(), shown::line(change.title));
            text += &format!("{space}complaint {kind}: {title} on {kernels}\n");
            space = "";
        }
        if text.is_empty() {
            let kernels = plural(self.pairs.len(), "kernel");
            text = format!("nothing changed on {kernels}\n");
        }
        if self.filtered {
            text += "\nonly some of the tests were asked for\n";
        }
        shown::lines(&text)
    }

    /// How runs ended otherwise, or are only in one session, a line each.
    pub fn ends(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (runs, what) in [(&self.removed, "no longer run"), (&self.added, "new")] {
            let ended = |run: &&RunRecord| format!("{}: {what}, {}", run.name, run.outcome.name());
            lines.extend(runs.iter().map(ended));
        }
        for (old, new) in &self.pairs {
            let (a, b) = (&old.outcome, &new.outcome);
            if rank(a) == rank(b) && a.name() == b.name() {
                continue;
            }
            let mut line = format!("{}: {}, was {}", new.name, b.name(), a.name());
            if old.name != new.name {
                line += &format!(" on {}", old.name);
            }
            lines.push(line + &end_details(b));
        }
        for (run, count) in &self.not_reached {
            let tests = plural(*count, "test");
            lines.push(format!("{run}: {tests} not reached any more"));
        }
        lines
    }
}

/// Those of each pair, by their titles apart from numbers. That a run which was cut short does
/// not have one says nothing.
fn changed_complaints<'r>(pairs: &[(&'r RunRecord, &'r RunRecord)]) -> Vec<ComplaintChange<'r>> {
    let mut changes = Vec::new();
    for (old, new) in pairs {
        let mut found = BTreeMap::<_, (&str, [Option<bool>; 2])>::new();
        for (session, run) in [old, new].into_iter().enumerate() {
            for complaint in &run.tally.complaints {
                let title = complaint.title.as_str();
                let (_, bad) = found
                    .entry(complaints::key(title))
                    .or_insert((title, [None; 2]));
                bad[session] = Some(complaint.is_bad() || bad[session] == Some(true));
            }
        }
        let changed = found.into_iter().filter(|(_, (_, [before, now]))| {
            before != now && (now.is_some() || new.outcome.is_complete())
        });
        changes.extend(changed.map(|(key, (title, bad))| ((key, bad), (title, &new.name))));
    }
    let change = |((_, bad), on): ((_, _), Vec<(&'r str, &'r RunName)>)| ComplaintChange {
        title: on[0].0,
        bad,
        runs: on.into_iter().map(|(_, run)| run).collect(),
    };
    let mut changes = grouped(changes).into_iter().map(change).collect::<Vec<_>>();
    changes.sort_by_key(|change| (!change.is_worse(), change.kind()));
    changes
}

/// What a run says about a test that its session may not have at all.
fn verdict(row: Option<&MatrixRow<'_>>, number: usize, run: &RunRecord) -> TestVerdict {
    match row {
        Some(row) => row.verdicts[number],
        None if is_complete(run) => TestVerdict::Missing,
        None => TestVerdict::Unknown,
    }
}

/// How bad the end of a run is.
fn rank(outcome: &RunOutcome) -> u8 {
    match outcome {
        RunOutcome::Passed => 0,
        RunOutcome::Complained { .. } | RunOutcome::TestsFailed => 1,
        // Less is known about the kernel than from tests that failed.
        RunOutcome::NoTests | RunOutcome::NotStarted { .. } => 2,
        _ => 3,
    }
}

/// Runs that are to be compared, by their places, in the order of the new ones.
fn pairs(old: &[&RunRecord], new: &[&RunRecord]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (number, run) in new.iter().enumerate() {
        let same = old.iter().position(|other| other.name == run.name);
        pairs.extend(same.map(|other| (other, number)));
    }
    // Of several of one series the newest, which comes last.
    for (number, run) in new.iter().enumerate().rev() {
        let class = class(&run.name);
        if class.is_none() || pairs.iter().any(|(_, other)| *other == number) {
            continue;
        }
        let similar = old.iter().enumerate().rfind(|(other, old)| {
            self::class(&old.name) == class && pairs.iter().all(|(old, _)| old != other)
        });
        pairs.extend(similar.map(|(other, _)| (other, number)));
    }
    pairs.sort_by_key(|(_, new)| *new);
    pairs
}

/// What kernels have in common that are compared although they are not the same.
fn class(name: &RunName) -> Option<(Series, [Option<&str>; 2], &str)> {
    let release = name.kernel.parse::<Release>().ok()?;
    let kind = [&name.flavor, &name.phase].map(Option::as_deref);
    Some((release.version.series, kind, &name.arch))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::report::tests::{Sample, results};

    fn check(
        old: impl IntoIterator<Item = Sample>,
        new: impl IntoIterator<Item = Sample>,
        is_worse: bool,
        expect: &Expect,
    ) {
        let (old, new) = (results(old), results(new));
        let diff = SessionDiff::new(&old, &new);
        expect.assert_eq(&diff.text());
        assert_eq!(diff.is_worse(), is_worse);
    }

    const OUTCOMES: [&str; 6] = [
        "passed",
        "failed",
        "skipped",
        "expected-failure",
        "unexpected-success",
        "missing",
    ];

    #[test]
    fn every_change_of_a_test() {
        let sample = |which: usize| {
            let mut sample = Sample::kernel("6.1");
            for old in OUTCOMES {
                for new in OUTCOMES {
                    let outcome = [old, new][which];
                    if outcome != "missing" {
                        sample = sample.test(&format!("{old} to {new}"), outcome);
                    }
                }
            }
            sample
        };
        check(
            [sample(0)],
            [sample(1)],
            true,
            &expect![[r#"
            newly failing: 8
              expected-failure to failed on 6.1 (x86_64): failed, was expected failure: AssertionError: 1 != 2
              expected-failure to unexpected-success on 6.1 (x86_64): unexpected success, was expected failure
              missing to failed on 6.1 (x86_64): failed, was missing: AssertionError: 1 != 2
              missing to unexpected-success on 6.1 (x86_64): unexpected success, was missing
              passed to failed on 6.1 (x86_64): failed, was passed: AssertionError: 1 != 2
              passed to unexpected-success on 6.1 (x86_64): unexpected success, was passed
              skipped to failed on 6.1 (x86_64): failed, was skipped: AssertionError: 1 != 2
              skipped to unexpected-success on 6.1 (x86_64): unexpected success, was skipped

            newly skipped: 4
              expected-failure to skipped on 6.1 (x86_64): skipped, was expected failure: not here
              failed to skipped on 6.1 (x86_64): skipped, was failed: not here
              passed to skipped on 6.1 (x86_64): skipped, was passed: not here
              unexpected-success to skipped on 6.1 (x86_64): skipped, was unexpected success: not here

            no longer there: 5
              expected-failure to missing on 6.1 (x86_64): missing, was expected failure
              failed to missing on 6.1 (x86_64): missing, was failed
              passed to missing on 6.1 (x86_64): missing, was passed
              skipped to missing on 6.1 (x86_64): missing, was skipped
              unexpected-success to missing on 6.1 (x86_64): missing, was unexpected success

            failing otherwise: 2
              failed to unexpected-success on 6.1 (x86_64): unexpected success, was failed
              unexpected-success to failed on 6.1 (x86_64): failed, was unexpected success: AssertionError: 1 != 2

            otherwise expected: 2
              expected-failure to passed on 6.1 (x86_64): passed, was expected failure
              passed to expected-failure on 6.1 (x86_64): expected failure, was passed

            fixed: 4
              failed to expected-failure on 6.1 (x86_64): expected failure, was failed
              failed to passed on 6.1 (x86_64): passed, was failed
              unexpected-success to expected-failure on 6.1 (x86_64): expected failure, was unexpected success
              unexpected-success to passed on 6.1 (x86_64): passed, was unexpected success

            no longer skipped: 2
              skipped to expected-failure on 6.1 (x86_64): expected failure, was skipped
              skipped to passed on 6.1 (x86_64): passed, was skipped

            new: 3
              missing to expected-failure on 6.1 (x86_64): expected failure, was missing
              missing to passed on 6.1 (x86_64): passed, was missing
              missing to skipped on 6.1 (x86_64): skipped, was missing: not here
        "#]],
        );
        check(
            [sample(1)],
            [sample(1)],
            false,
            &expect![[r#"
            nothing changed on 1 kernel
        "#]],
        );
    }

    #[test]
    fn what_is_worse() {
        for (old, new, is_worse) in [
            ("passed", "failed", true),
            ("passed", "skipped", true),
            ("skipped", "failed", true),
            ("missing", "failed", true),
            ("missing", "passed", false),
            ("passed", "missing", false),
            ("failed", "passed", false),
            ("failed", "error", false),
            ("failed", "skipped", false),
            ("skipped", "passed", false),
            ("passed", "expected-failure", false),
        ] {
            let sample = |outcome| {
                let sample = Sample::kernel("6.1").test("always", "failed");
                [match outcome {
                    "missing" => sample,
                    outcome => sample.test("t", outcome),
                }]
            };
            let (a, b) = (results(sample(old)), results(sample(new)));
            assert_eq!(
                SessionDiff::new(&a, &b).is_worse(),
                is_worse,
                "{old} to {new}"
            );
        }
    }

    #[test]
    fn kernels_are_matched_by_release_and_then_by_series_and_flavor() {
        let sample = |kernel: &str| Sample::kernel(kernel).test("t", "passed");
        let old = [
            "local",
            "5.4.1-vmtest1.1default",
            "6.1.8-vmtest1.1default",
            "6.1.9-vmtest1.1default",
            "6.1.9-vmtest1.0tiny",
            "6.9.1",
            "aarch64:6.12.1",
        ];
        let new = [
            "local",
            "6.1.9-vmtest1.1default",
            "6.1.10-vmtest1.1default",
            "6.1.10-vmtest1.0tiny",
            "6.9.2-vmtest1.1default",
            "6.12.1",
        ];
        let (old, new) = (results(old.map(sample)), results(new.map(sample)));
        let diff = SessionDiff::new(&old, &new);
        let pairs = diff.pairs.iter();
        let pairs = pairs.map(|(old, new)| format!("{} {}\n", old.name, new.name));
        expect![[r#"
            local local
            6.1.9-vmtest1.1default (x86_64) 6.1.9-vmtest1.1default (x86_64)
            6.1.9-vmtest1.0tiny (x86_64) 6.1.10-vmtest1.0tiny (x86_64)
            6.1.8-vmtest1.1default (x86_64) 6.1.10-vmtest1.1default (x86_64)
        "#]]
        .assert_eq(&pairs.collect::<String>());
        expect![[r#"
            5.4.1-vmtest1.1default (x86_64): no longer run, passed
            6.9.1 (x86_64): no longer run, passed
            6.12.1 (aarch64): no longer run, passed
            6.9.2-vmtest1.1default (x86_64): new, passed
            6.12.1 (x86_64): new, passed
        "#]]
        .assert_eq(&diff.text());
        assert!(!diff.is_worse());
    }

    #[test]
    fn a_run_that_ends_worse() {
        let sample = |kernel: &str| {
            let tests = ["a", "b", "c"].into_iter();
            tests.fold(Sample::kernel(kernel), |sample, t| sample.test(t, "passed"))
        };
        check(
            [sample("6.1"), sample("6.9.1"), sample("6.12")],
            [
                sample("6.1"),
                Sample::kernel("6.9.2")
                    .test("a", "passed")
                    .panicked(Some("b")),
                Sample::kernel("6.12").not_started(),
            ],
            true,
            &expect![[r#"
                6.9.2 (x86_64): panicked, was passed on 6.9.1 (x86_64): Kernel panic - not syncing: Fatal exception, while running b
                6.12 (x86_64): fetch failed, was passed: no kernel matches
                6.9.2 (x86_64): 1 test not reached any more
                6.12 (x86_64): 3 tests not reached any more

                newly failing: 1
                  b on 6.9.2 (x86_64): unfinished, was passed
            "#]],
        );
        check(
            [Sample::kernel("6.1").test("a", "passed").panicked(None)],
            [sample("6.1")],
            false,
            &expect![[r#"
                6.1 (x86_64): passed, was panicked
            "#]],
        );
    }

    #[test]
    fn kernels_of_one_change_are_in_one_line() {
        let all = ["5.4", "5.10", "5.15", "6.1", "6.9", "6.12"];
        let sample = |kernel: &str, few, many| {
            Sample::kernel(kernel)
                .test("few", few)
                .test("many", many)
                .test("all", many)
        };
        check(
            all.map(|kernel| sample(kernel, "passed", "passed")),
            all.map(|kernel| {
                let failed = |yes| if yes { "failed" } else { "passed" };
                sample(kernel, failed(kernel == "6.1"), "failed")
                    .test("most", failed(kernel != "6.1"))
            }),
            true,
            &expect![[r#"
                5.4 (x86_64): tests failed, was passed
                5.10 (x86_64): tests failed, was passed
                5.15 (x86_64): tests failed, was passed
                6.1 (x86_64): tests failed, was passed
                6.9 (x86_64): tests failed, was passed
                6.12 (x86_64): tests failed, was passed

                newly failing: 4
                  all on all 6 kernels: failed, was passed: AssertionError: 1 != 2
                  few on 6.1 (x86_64): failed, was passed: AssertionError: 1 != 2
                  many on all 6 kernels: failed, was passed: AssertionError: 1 != 2
                  most on 5.4 (x86_64), 5.10 (x86_64), 5.15 (x86_64), 6.9 (x86_64) and 1 more: failed, was missing: AssertionError: 1 != 2

                new: 1
                  most on 6.1 (x86_64): passed, was missing
            "#]],
        );
    }

    #[test]
    fn complaints_are_new_gone_or_otherwise_allowed() {
        let allowed = Some("known");
        let sample = |kernel| Sample::kernel(kernel).test("a", "passed");
        let old = || {
            [
                sample("6.1")
                    .complains("WARNING: at m.c:1", None, None)
                    .complains("BUG: gone", None, None)
                    .complains("BUG: listed", None, None)
                    .complains("BUG: unlisted", None, allowed),
                sample("6.9").complains("BUG: not seen", None, None),
            ]
        };
        let new = [
            sample("6.1")
                .complains("WARNING: at m.c:2", None, None)
                .complains("BUG: listed", None, allowed)
                .complains("BUG: unlisted", None, None)
                .complains("BUG: new, known", None, allowed)
                .complains("BUG: new", None, None),
            sample("6.9")
                .complains("BUG: new", None, None)
                .panicked(None),
        ];
        check(
            old(),
            new,
            true,
            &expect![[r#"
            6.9 (x86_64): panicked, was complained: Kernel panic - not syncing: Fatal exception

            complaint new: BUG: new on 6.1 (x86_64), 6.9 (x86_64)
            complaint no longer allowed: BUG: unlisted on 6.1 (x86_64)
            complaint gone: BUG: gone on 6.1 (x86_64)
            complaint new, allowed: BUG: new, known on 6.1 (x86_64)
            complaint now allowed: BUG: listed on 6.1 (x86_64)
        "#]],
        );
        let allowed = old().map(|sample| sample.complains("BUG: new, known", None, allowed));
        check(
            old(),
            allowed,
            false,
            &expect![[r#"
            complaint new, allowed: BUG: new, known on 6.1 (x86_64), 6.9 (x86_64)
        "#]],
        );
    }
}
