//! Kernels against tests: which tests are not the same on every kernel, and since
//! which version. All reports are made from it, so that they agree.
//!
//! It depends on what happened and not on the order in which runs ended: the same results
//! split over several machines and merged give the same matrix.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::compact::{first_line, grouped};
use super::complaints::{self, ComplaintGroup};
use super::words::{self, Behavior};
use crate::model::results::{Results, RunName, RunRecord};
use crate::model::test_event::{FinishedTest, RunOutcome, TestOutcome};
use crate::model::version::Release;

/// What a test did on a kernel, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TestVerdict {
    /// It was running when the run ended: the kernel panicked, the process died.
    Unfinished,
    Failed,
    /// It passed where a failure is expected.
    UnexpectedSuccess,
    /// The kernel ran all of its tests, and this one, which others have, is none of them.
    Missing,
    /// It failed as it or the project's list of expectations says.
    ExpectedFailure,
    Skipped,
    Passed,
    /// The run did not get to it, or is of another suite; says nothing.
    Unknown,
}

impl TestVerdict {
    /// What a finished test did.
    pub fn of(test: &FinishedTest) -> Self {
        match (test.outcome, &test.expected) {
            (TestOutcome::Skipped, _) => Self::Skipped,
            (TestOutcome::Passed, None) => Self::Passed,
            (TestOutcome::Passed, Some(_)) => Self::UnexpectedSuccess,
            (TestOutcome::ExpectedFailure, _) | (_, Some(_)) => Self::ExpectedFailure,
            (TestOutcome::Failed | TestOutcome::Error, None) => Self::Failed,
            (TestOutcome::UnexpectedSuccess, None) => Self::UnexpectedSuccess,
        }
    }

    /// Whether it makes a run fail.
    pub fn is_bad(self) -> bool {
        self <= Self::UnexpectedSuccess
    }

    /// For a cell, and for programs.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// What the test does, after its name.
    pub fn verb(self) -> &'static str {
        self.words().1
    }

    fn behavior(self) -> Option<Behavior> {
        (self != Self::Unknown).then(|| Behavior {
            rank: self as u8,
            verb: self.verb(),
        })
    }

    /// Its class in the style of `report.html`, which has its letter and colour.
    pub(super) fn class(self) -> &'static str {
        self.words().2
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Unfinished => ("unfinished", "does not finish", "u"),
            Self::Failed => ("failed", "fails", "f"),
            Self::UnexpectedSuccess => ("unexpected success", "passes unexpectedly", "w"),
            Self::Missing => ("missing", "is missing", "m"),
            Self::ExpectedFailure => ("expected failure", "fails as expected", "x"),
            Self::Skipped => ("skipped", "is skipped", "s"),
            Self::Passed => ("passed", "passes", "p"),
            Self::Unknown => ("not run", "is not run", "n"),
        }
    }
}

/// One test on all kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixRow<'r> {
    pub test: &'r str,
    /// What each run has of it, in the order of [`TestMatrix::runs`]. Of several that
    /// finished under one name the worst.
    pub cells: Vec<Option<&'r FinishedTest>>,
    /// What each run says about it, in the same order.
    pub verdicts: Vec<TestVerdict>,
    /// Where it changes, if it does: "passes up to 6.9, fails from 6.10".
    pub words: Option<String>,
}

impl MatrixRow<'_> {
    pub fn worst(&self) -> TestVerdict {
        let worst = self.verdicts.iter().min();
        worst.copied().unwrap_or(TestVerdict::Unknown)
    }

    /// The runs that say so, by their number in [`TestMatrix::runs`].
    pub(super) fn runs(&self, says: fn(TestVerdict) -> bool) -> impl Iterator<Item = usize> {
        let verdicts = self.verdicts.iter().enumerate();
        verdicts.filter(move |(_, v)| says(**v)).map(|(run, _)| run)
    }

    /// The runs that it makes fail.
    pub fn bad(&self) -> impl Iterator<Item = usize> {
        self.runs(TestVerdict::is_bad)
    }

    /// It was skipped wherever it was reached, so that nothing is known about it.
    pub fn skipped_everywhere(&self) -> bool {
        let said = |v: &&TestVerdict| !matches!(v, TestVerdict::Unknown | TestVerdict::Missing);
        let mut said = self.verdicts.iter().filter(said).peekable();
        said.peek().is_some() && said.all(|verdict| *verdict == TestVerdict::Skipped)
    }
}

/// Tests that were skipped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skips<'r> {
    /// Possibly of several lines; empty if none was given.
    pub reason: &'r str,
    /// How often: a test that is skipped on two kernels counts twice.
    #[serde(skip)]
    pub count: usize,
    /// On how many kernels.
    #[serde(skip)]
    pub runs: usize,
    /// Sorted.
    pub tests: Vec<&'r str>,
    /// Those that were skipped wherever they were reached, for any reason, sorted.
    pub everywhere: Vec<&'r str>,
}

/// Kernels against tests.
#[derive(Clone, Debug, PartialEq)]
pub struct TestMatrix<'r> {
    pub results: &'r Results,
    /// The host's own tests, then kernels from old to new, then requests that gave none.
    pub runs: Vec<&'r RunRecord>,
    /// Short names of the runs, in the same order, as in [`MatrixRow::words`].
    pub labels: Vec<String>,
    /// All tests: those that differ between kernels first, then the bad ones; by name.
    pub rows: Vec<MatrixRow<'r>>,
    /// Why tests were skipped, the most frequent reason first.
    pub skips: Vec<Skips<'r>>,
    /// What the kernels complained of, first what nothing allows.
    pub complaints: Vec<ComplaintGroup<'r>>,
}

impl<'r> TestMatrix<'r> {
    pub fn new(results: &'r Results) -> Self {
        let mut runs = results.runs.iter().collect::<Vec<_>>();
        runs.sort_by(|a, b| order(&a.name, &b.name));
        let columns = words::Columns::new(runs.iter().map(|run| &run.name));
        let mut rows = rows(&runs);
        for row in &mut rows {
            row.words = columns.describe(row.verdicts.iter().map(|verdict| verdict.behavior()));
        }
        rows.sort_by(|a, b| {
            let bad = |row: &MatrixRow<'_>| Reverse(row.bad().count());
            let key = |row: &MatrixRow<'_>| (row.words.is_none(), row.worst(), bad(row));
            key(a).cmp(&key(b)).then_with(|| a.test.cmp(b.test))
        });
        let skips = skips(&rows, &runs);
        let complaints = complaints::groups(&runs, &columns);
        Self {
            results,
            runs,
            labels: columns.labels(),
            rows,
            skips,
            complaints,
        }
    }

    /// The tests that are not the same on every kernel.
    pub fn differing(&self) -> impl Iterator<Item = &MatrixRow<'r>> {
        self.rows.iter().filter(|row| row.words.is_some())
    }

    /// The complaints that are not the same on every kernel, and the words for it.
    pub fn differing_complaints(&self) -> impl Iterator<Item = (&'r str, &str)> {
        let groups = self.complaints.iter();
        groups.filter_map(|group| Some((group.first().title.as_str(), group.words.as_deref()?)))
    }

    /// `4 runs: passed 3, tests failed 1; 2 of 922 tests differ between kernels`
    pub fn headline(&self) -> String {
        let outcomes = grouped(self.runs.iter().map(|run| (run.outcome.name(), run)));
        let runs = self.runs.len();
        let mut text = match (&self.runs[..], &outcomes[..]) {
            ([], _) => return "nothing was run".to_owned(),
            ([run], _) => format!("{}: {}", run.name, run.outcome.name()),
            (_, [(name, _)]) => format!("{runs} runs: all {name}"),
            (_, outcomes) => {
                let counts = outcomes.iter();
                let counts = counts.map(|(name, runs)| format!("{name} {}", runs.len()));
                format!("{runs} runs: {}", counts.collect::<Vec<_>>().join(", "))
            }
        };
        let (differing, tests) = (self.differing().count(), self.rows.len());
        if differing > 0 {
            let verb = if differing == 1 { "differs" } else { "differ" };
            text += &format!("; {differing} of {tests} tests {verb} between kernels");
        }
        text
    }
}

/// The order of runs: from old to new.
pub fn order(a: &RunName, b: &RunName) -> Ordering {
    let places = RunPlace::of(a).cmp(&RunPlace::of(b));
    places.then_with(|| a.cmp(b))
}

/// Where a run stands in the order of runs.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RunPlace {
    /// The host's own tests: first, because they are another suite.
    Local,
    Kernel(Release),
    /// What is no release: a request that gave no kernel.
    Other,
}

impl RunPlace {
    pub(super) fn of(name: &RunName) -> Self {
        match name.arch.is_empty() {
            true => Self::Local,
            false => name.kernel.parse().map_or(Self::Other, Self::Kernel),
        }
    }
}

/// Whether it ran every test that it loaded, so that what it does not have is not there.
pub(super) fn is_complete(run: &RunRecord) -> bool {
    let tally = &run.tally;
    tally.finished.is_some() && tally.counts.finished() >= tally.tests.unwrap_or(u64::MAX)
}

/// Whether a run ended in another way than with its tests.
pub(super) fn is_odd(run: &RunRecord) -> bool {
    !run.outcome.is_complete()
}

/// What is known of how a run ended, behind the outcome's name and in its line.
pub(super) fn end_details(outcome: &RunOutcome) -> String {
    let detail = outcome.detail();
    let mut text = detail.map_or_else(String::new, |detail| format!(": {}", first_line(&detail)));
    if let Some(test) = outcome.running() {
        text += &format!(", while running {test}");
    }
    text
}

/// The end of the console, if it may show how the run ended. A kernel that is well has
/// nothing to say about a runner that died; what it had to do with it (out of memory) is
/// in [`crate::model::results::Evidence::trouble`].
pub(super) fn console(run: &RunRecord) -> &str {
    match run.outcome {
        RunOutcome::RunnerDied { .. } => "",
        _ => &run.evidence.console_tail,
    }
}

fn rows<'r>(runs: &[&'r RunRecord]) -> Vec<MatrixRow<'r>> {
    let mut rows = HashMap::<&str, MatrixRow<'r>>::new();
    let row = |test| MatrixRow {
        test,
        cells: vec![None; runs.len()],
        verdicts: vec![TestVerdict::Unknown; runs.len()],
        words: None,
    };
    for (column, run) in runs.iter().enumerate() {
        for test in &run.tally.finished_tests {
            let row = rows.entry(&test.id).or_insert_with(|| row(&test.id));
            let verdict = TestVerdict::of(test);
            if verdict < row.verdicts[column] {
                row.cells[column] = Some(test);
                row.verdicts[column] = verdict;
            }
        }
        for test in run.outcome.running().into_iter().chain(run.tally.killers()) {
            let row = rows.entry(test).or_insert_with(|| row(test));
            row.verdicts[column] = TestVerdict::Unfinished;
        }
    }
    // The host's own tests are none that a kernel could miss.
    let in_vms = runs.iter().enumerate();
    let in_vms = in_vms.filter(|(_, run)| !run.name.arch.is_empty());
    let suites = grouped(in_vms.map(|(column, run)| (&run.name.phase, column)));
    let crashes = crashes(runs);
    for row in rows.values_mut() {
        for (_, suite) in &suites {
            let unknown = |column: &usize| row.verdicts[*column] == TestVerdict::Unknown;
            // A test that no run has is of the host, or of another phase.
            if !suite.iter().all(unknown) {
                for column in suite {
                    if row.verdicts[*column] == TestVerdict::Unknown && is_complete(runs[*column]) {
                        row.verdicts[*column] = TestVerdict::Missing;
                    }
                }
            }
        }
        for (column, after) in &crashes {
            // If it has its place after the crash, it is no news that it is skipped before.
            let after = row.verdicts[*after];
            if row.verdicts[*column] == TestVerdict::Skipped
                && !matches!(after, TestVerdict::Unknown | TestVerdict::Missing)
            {
                row.verdicts[*column] = TestVerdict::Unknown;
                row.cells[*column] = None;
            }
        }
    }
    rows.into_values().collect()
}

/// The runs with tests after a crash, each behind the main run of its kernel.
fn crashes(runs: &[&RunRecord]) -> Vec<(usize, usize)> {
    let runs = || runs.iter().map(|run| &run.name).enumerate();
    let crashes = runs().filter(|(_, name)| name.phase.is_some());
    let pairs = crashes.filter_map(|(number, crash)| {
        let mut main = runs().filter(|(_, name)| name.phase.is_none());
        let (main, _) = main.find(|(_, name)| name.is_same_kernel(crash))?;
        Some((main, number))
    });
    pairs.collect()
}

fn skips<'r>(rows: &[MatrixRow<'r>], runs: &[&'r RunRecord]) -> Vec<Skips<'r>> {
    let everywhere = rows.iter().filter(|row| row.skipped_everywhere());
    let everywhere = everywhere.map(|row| row.test).collect::<BTreeSet<_>>();
    // By reason: the run and the test, each time.
    let mut reasons = BTreeMap::<&str, Vec<(usize, &str)>>::new();
    let crashes = crashes(runs).into_iter().collect::<HashMap<_, _>>();
    for (number, run) in runs.iter().enumerate() {
        let after = crashes.get(&number).map(|after| &runs[*after].tally);
        let after = after.into_iter().flat_map(|tally| &tally.finished_tests);
        let after = after.map(|test| &test.id).collect::<BTreeSet<_>>();
        for test in &run.tally.finished_tests {
            if test.outcome == TestOutcome::Skipped && !after.contains(&test.id) {
                let reason = test.reason.as_deref().unwrap_or_default();
                reasons.entry(reason).or_default().push((number, &test.id));
            }
        }
    }
    let skips = reasons.into_iter().map(|(reason, times)| {
        let tests = times.iter().map(|(_, test)| *test).collect::<BTreeSet<_>>();
        let runs = times.iter().map(|(run, _)| run).collect::<BTreeSet<_>>();
        Skips {
            reason,
            count: times.len(),
            runs: runs.len(),
            everywhere: tests.intersection(&everywhere).copied().collect(),
            tests: tests.into_iter().collect(),
        }
    });
    let mut skips = skips.collect::<Vec<_>>();
    skips.sort_by_key(|skips| Reverse(skips.count));
    skips
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use std::fmt::Write as _;

    use super::*;
    use crate::report::tests::{Sample, results};

    /// The words of a test `t` that did `outcomes` on kernels, written
    /// `KERNEL=OUTCOME`.
    fn check(runs: &str, expect: &Expect) {
        let mut samples = Vec::new();
        for word in runs.split_whitespace() {
            let (kernel, outcome) = word.split_once('=').unwrap();
            let sample = Sample::kernel(kernel).test("always", "passed");
            samples.push(match outcome {
                "missing" => sample,
                "panicked" => sample.panicked(Some("t")),
                "cut" => sample.panicked(None),
                outcome => sample.test("t", outcome),
            });
        }
        let results = results(samples);
        let matrix = TestMatrix::new(&results);
        let row = matrix.rows.iter().find(|row| row.test == "t").unwrap();
        expect.assert_eq(row.words.as_deref().unwrap_or("same"));
    }

    #[test]
    fn what_runs_after_a_crash_is_not_skipped_before() {
        let main = |kernel: &str| {
            Sample::kernel(kernel)
                .test("main", "passed")
                .test("dump", "skipped")
        };
        let results = results([
            main("6.1.1"),
            Sample::kernel("6.1.1").crash().test("dump", "passed"),
            main("6.9.1"),
            Sample::kernel("6.9.1")
                .crash()
                .test("dump", "failed")
                .test("odd", "passed"),
            main("6.10.1"),
        ]);
        let matrix = TestMatrix::new(&results);
        assert_eq!(
            matrix.labels.join(", "),
            "6.1, 6.1 crash, 6.9, 6.9 crash, 6.10"
        );
        let words = |test: &str| {
            let row = matrix.rows.iter().find(|row| row.test == test).unwrap();
            row.words.clone().unwrap_or_default()
        };
        assert_eq!(words("main"), "");
        assert_eq!(
            words("dump"),
            "passes up to 6.1, fails on 6.9, is skipped from 6.10"
        );
        assert_eq!(words("odd"), "is missing up to 6.1, passes from 6.9");
        let skips = matrix.skips.iter().map(|skips| skips.count);
        assert_eq!(skips.collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn labels_are_short_and_tell_kernels_apart() {
        for (kernels, labels) in [
            (
                "6.1.192-vmtest1.1default 6.9.12-vmtest1.1default",
                "6.1, 6.9",
            ),
            ("6.1.1 6.1.2 7.3-rc2", "6.1.1, 6.1.2, 7.3-rc2"),
            (
                "6.1.1-vmtest1.1default 6.1.1-vmtest1.0tiny",
                "6.1 tiny, 6.1",
            ),
            ("x86_64:6.1.1 aarch64:6.1.1", "6.1 aarch64, 6.1 x86_64"),
            ("6.1.1-a 6.1.1-b local", "local, 6.1.1-a, 6.1.1-b"),
            ("6.1.1-vmtest1.0tiny", "6.1"),
        ] {
            let results = results(kernels.split(' ').map(Sample::kernel));
            assert_eq!(TestMatrix::new(&results).labels.join(", "), labels);
        }
    }

    #[test]
    fn one_boundary() {
        for (runs, expect) in [
            (
                "6.9=passed 6.10.3=failed",
                expect!["passes up to 6.9, fails from 6.10"],
            ),
            (
                "6.10=failed 6.9=passed 6.1=passed 7.3=error",
                expect!["passes up to 6.9, fails from 6.10"],
            ),
            (
                "5.4=skipped 5.10=passed",
                expect!["is skipped up to 5.4, passes from 5.10"],
            ),
            (
                "5.4=missing 5.10=passed",
                expect!["is missing up to 5.4, passes from 5.10"],
            ),
            (
                "5.4=passed 5.10=panicked",
                expect!["passes up to 5.4, does not finish from 5.10"],
            ),
            // What was not reached says nothing.
            ("5.4=passed 5.10=cut 6.1=passed", expect!["same"]),
            (
                "5.4=passed 5.10=cut 6.1=failed",
                expect!["passes up to 5.4, fails from 6.1"],
            ),
            (
                "5.4=expected-failure 5.10=unexpected-success",
                expect!["fails as expected up to 5.4, passes unexpectedly from 5.10"],
            ),
            // A series that is there twice, and a candidate of one, are versions.
            (
                "6.1.9=passed 6.1.12=failed",
                expect!["passes up to 6.1.9, fails from 6.1.12"],
            ),
            (
                "6.9=passed 6.10-rc2=failed",
                expect!["passes up to 6.9, fails from 6.10-rc2"],
            ),
            ("6.9=failed 6.10=error", expect!["same"]),
        ] {
            check(runs, &expect);
        }
    }

    #[test]
    fn more_boundaries() {
        for (runs, expect) in [
            (
                "4.9=skipped 5.4=passed 5.10=failed",
                expect!["is skipped up to 4.9, passes on 5.4, fails from 5.10"],
            ),
            (
                "4.9=skipped 5.4=passed 5.10=passed 6.1=failed",
                expect!["is skipped up to 4.9, passes from 5.4 to 5.10, fails from 6.1"],
            ),
            (
                "4.9=passed 5.10=failed 5.15=passed 6.1=failed 6.12=failed 6.18=passed 7.3=passed",
                expect!["fails on 5.10 and 6.1 to 6.12, passes on the others"],
            ),
            (
                "4.9=failed 5.4=passed 5.10=failed 5.15=skipped 6.1=failed 6.12=failed",
                expect!["is skipped on 5.15, passes on 5.4, fails on the others"],
            ),
        ] {
            check(runs, &expect);
        }
    }

    #[test]
    fn flavors_and_architectures_of_one_version() {
        for (runs, expect) in [
            (
                "6.1-vmtest1.1default=passed 6.1-vmtest1.0tiny=failed",
                expect!["default: passes; tiny: fails"],
            ),
            (
                "6.1-vmtest1.1default=passed 6.1-vmtest1.0tiny=passed \
                 6.9-vmtest1.1default=failed 6.9-vmtest1.0tiny=failed",
                expect!["passes up to 6.1, fails from 6.9"],
            ),
            (
                "6.1-vmtest1.1default=passed 6.1-vmtest1.0tiny=passed 6.1-vmtest1.0alternative=passed \
                 6.9-vmtest1.1default=passed 6.9-vmtest1.0tiny=failed 6.9-vmtest1.0alternative=passed",
                expect!["alternative, default: passes; tiny: passes up to 6.1, fails from 6.9"],
            ),
            // Other flavors of other versions: no version changed anything.
            (
                "5.10-vmtest1.1default=passed 6.1-vmtest1.0tiny=failed 6.9-vmtest1.1default=passed",
                expect!["default: passes; tiny: fails"],
            ),
            (
                "6.1-vmtest1.1default=passed aarch64:6.1-vmtest1.1default=failed",
                expect!["fails on aarch64 only, passes on the others"],
            ),
            (
                "6.1-vmtest1.1default=passed aarch64:6.1-vmtest1.1default=passed \
                 6.1-vmtest1.0tiny=passed aarch64:6.1-vmtest1.0tiny=failed",
                expect!["fails on tiny aarch64 only, passes on the others"],
            ),
            // Two packages of one kernel.
            (
                "6.1-vmtest1.1default=passed 6.1-vmtest2.1default=failed",
                expect!["passes up to 6.1-vmtest1.1default, fails from 6.1-vmtest2.1default"],
            ),
        ] {
            check(runs, &expect);
        }
    }

    #[test]
    fn architectures_and_versions() {
        for (runs, expect) in [
            // On every architecture that has both.
            (
                "6.1=passed 6.9=failed aarch64:6.1=passed aarch64:6.9=failed riscv64:6.9=failed",
                expect!["passes up to 6.1, fails from 6.9"],
            ),
            (
                "6.1=passed 6.9=passed s390x:6.1=failed s390x:6.9=failed arm:6.9=passed",
                expect!["fails on s390x only, passes on the others"],
            ),
            (
                "6.1=passed 6.9=passed s390x:6.1=passed s390x:6.9=failed",
                expect!["fails on s390x from 6.9, passes on the others"],
            ),
            (
                "6.1=passed 6.9=failed aarch64:6.1=failed aarch64:6.9=failed arm:6.1=passed \
                 arm:6.9=passed",
                expect!["aarch64: fails; arm: passes; x86_64: passes up to 6.1, fails from 6.9"],
            ),
            (
                "6.1=passed 6.9=failed aarch64:6.1=failed aarch64:6.9=failed arm:6.9=passed \
                 ppc64:6.9=passed riscv64:6.9=passed",
                expect![
                    "fails on every kernel of aarch64 and x86_64 from 6.9, passes on the others"
                ],
            ),
            (
                "6.1=passed 6.9=passed s390x:6.1=failed arm:6.1=skipped",
                expect!["fails on s390x, is skipped on arm, passes on the others"],
            ),
            // The version may be the reason as well.
            (
                "6.1=passed 6.6=passed s390x:6.9=failed",
                expect!["fails on s390x 6.9 only, passes on the others"],
            ),
            (
                "6.1=passed 6.6=passed arm:6.9=failed arm:6.10=failed",
                expect!["fails on arm 6.9 to 6.10 only, passes on the others"],
            ),
            (
                "6.1-vmtest1.1default=passed arm:6.1-vmtest1.0tiny=failed",
                expect!["fails on tiny arm only, passes on the others"],
            ),
            (
                "local=passed 6.1=passed s390x:6.1=failed",
                expect!["fails on s390x only, passes on the others, passes locally"],
            ),
        ] {
            check(runs, &expect);
        }
        let results = results(["6.1.1", "6.9.1", "arm:6.9.1"].map(Sample::kernel));
        let labels = TestMatrix::new(&results).labels.join(", ");
        assert_eq!(labels, "6.1 x86_64, 6.9 arm, 6.9 x86_64");
    }

    /// If words could mean two things, one of them would be wrong.
    #[test]
    fn whatever_happened_on_architectures_has_words_of_its_own() {
        let kernels = [
            "6.1",
            "6.6",
            "6.9",
            "arm:6.1",
            "arm:6.9",
            "s390x:6.9-vmtest1.0tiny",
        ];
        let outcomes = ["passed", "failed", "skipped"];
        let mut seen = HashMap::new();
        for number in 0..outcomes.len().pow(kernels.len() as u32) {
            let mut rest = number;
            let samples = kernels.map(|kernel| {
                let outcome = outcomes[rest % outcomes.len()];
                rest /= outcomes.len();
                Sample::kernel(kernel).test("t", outcome)
            });
            let results = results(samples);
            let matrix = TestMatrix::new(&results);
            if let Some(words) = matrix.rows[0].words.clone() {
                let twin = seen.insert(words.clone(), number);
                assert_eq!(twin, None, "{number}: {words}");
            }
        }
        assert_eq!(seen.len(), 726);
    }

    #[test]
    fn what_is_no_kernel() {
        for (runs, expect) in [
            (
                "local=failed 6.1=passed 6.9=passed",
                expect!["passes in VMs, fails locally"],
            ),
            (
                "local=failed 6.1=passed 6.9=skipped",
                expect!["passes up to 6.1, is skipped from 6.9, fails locally"],
            ),
            // Other suites have other tests.
            ("local=passed 6.1=missing", expect!["same"]),
            ("local=missing 6.1=passed", expect!["same"]),
            (
                "odd=failed 6.1=passed",
                expect!["passes in VMs, fails on odd"],
            ),
        ] {
            check(runs, &expect);
        }
    }

    #[test]
    fn everything_has_its_place() {
        let tests = |kernel: &str, outcomes: [&str; 6]| {
            let mut sample = Sample::kernel(kernel);
            for (name, outcome) in ["a", "b", "c", "d", "e", "f"].into_iter().zip(outcomes) {
                sample = sample.test(name, outcome);
            }
            sample
        };
        let results = results([
            tests(
                "6.10",
                ["passed", "failed", "passed", "skipped", "skipped", "error"],
            ),
            Sample::kernel("5.4.*").not_started(),
            Sample::kernel("local").test("l", "passed"),
            tests(
                "6.9",
                ["passed", "passed", "failed", "passed", "skipped", "failed"],
            ),
            tests(
                "6.9-vmtest1.1default",
                ["passed", "passed", "failed", "passed", "skipped", "failed"],
            ),
        ]);
        let matrix = TestMatrix::new(&results);
        let mut text = matrix.headline() + "\n";
        for run in &matrix.runs {
            let _ = writeln!(text, "{}", run.name);
        }
        for row in &matrix.rows {
            let verdicts = row.verdicts.iter().map(|v| v.name()).collect::<Vec<_>>();
            let words = row.words.as_deref().unwrap_or("same");
            let _ = writeln!(text, "{}: {}; {words}", row.test, verdicts.join(", "));
        }
        for skips in &matrix.skips {
            let _ = writeln!(text, "{skips:?}");
        }
        expect![[r#"
            5 runs: passed 1, tests failed 3, fetch failed 1; 3 of 7 tests differ between kernels
            local
            6.9-vmtest1.1default (x86_64)
            6.9 (x86_64)
            6.10 (x86_64)
            5.4.* (x86_64)
            c: not run, failed, failed, passed, not run; fails up to 6.9, passes from 6.10
            b: not run, passed, passed, failed, not run; passes up to 6.9, fails from 6.10
            d: not run, passed, passed, skipped, not run; passes up to 6.9, is skipped from 6.10
            f: not run, failed, failed, failed, not run; same
            e: not run, skipped, skipped, skipped, not run; same
            a: not run, passed, passed, passed, not run; same
            l: passed, not run, not run, not run, not run; same
            Skips { reason: "not here", count: 4, runs: 3, tests: ["d", "e"], everywhere: ["e"] }
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn the_order_of_runs_changes_nothing() {
        let samples = || {
            ["6.1", "6.9", "local", "odd", "5.10", "aarch64:6.9"].map(|kernel| {
                Sample::kernel(kernel)
                    .test("t", "passed")
                    .test("u", "failed")
            })
        };
        let forward = results(samples());
        let backward = results(samples().into_iter().rev());
        let (a, b) = (TestMatrix::new(&forward), TestMatrix::new(&backward));
        assert_eq!((a.runs, a.rows, a.skips), (b.runs, b.rows, b.skips));
    }

    #[test]
    fn of_two_results_under_one_name_the_worse_counts() {
        for outcomes in [["passed", "failed"], ["failed", "passed"]] {
            let [first, second] = outcomes;
            let results = results([Sample::kernel("6.1").test("t", first).test("t", second)]);
            let matrix = TestMatrix::new(&results);
            assert_eq!(matrix.rows.len(), 1);
            assert_eq!(matrix.rows[0].worst(), TestVerdict::Failed);
        }
    }
}
