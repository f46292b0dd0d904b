//! How many tests did what: one definition of each count, for every report.
//!
//! A failure in the project's list is an expected one. (`run-finished` in the results has the
//! guest's own counts, which know nothing of that list.)

use serde::Serialize;

use super::matrix::TestVerdict;
use crate::model::{results::RunRecord, test_event::Tally};

/// The counts of one run, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TestTotals {
    /// Tests that ended, skipped ones as well: the sum of the next five.
    pub run: u64,
    pub passed: u64,
    /// Those with a failure or an error that nothing expects.
    pub failed: u64,
    pub skipped: u64,
    /// Those that failed as they themselves or the project's list say.
    pub expected_failures: u64,
    /// Those that passed although they themselves or the project's list say otherwise.
    pub unexpected_successes: u64,
    /// Tests that were found and did not end.
    pub not_run: u64,
    /// What the kernel complained of and nothing allows; for programs it stands in a list.
    #[serde(skip)]
    pub complaints: u64,
}

/// One count: its name, and how it is got.
pub type TotalsColumn = (&'static str, fn(&TestTotals) -> u64);

/// All counts, in the order of all reports.
pub const COLUMNS: [TotalsColumn; 8] = [
    ("run", |totals| totals.run),
    ("passed", |totals| totals.passed),
    ("failed", |totals| totals.failed),
    ("skipped", |totals| totals.skipped),
    ("expected failures", |totals| totals.expected_failures),
    ("unexpected successes", |totals| totals.unexpected_successes),
    ("not run", |totals| totals.not_run),
    ("complaints", |totals| totals.complaints),
];

/// So many columns are always there; of the others a column of zeros says nothing.
const ALWAYS: usize = 4;

/// What the less plain words above a table mean.
const MEANINGS: [(&str, &str); 4] = [
    (
        "expected failures",
        "failed as the test itself or [[expect]] says",
    ),
    (
        "unexpected successes",
        "passed although the test itself or [[expect]] says otherwise",
    ),
    ("not run", "found, but the run did not get to their end"),
    ("complaints", "of the kernel, without what [[allow]] lists"),
];

impl TestTotals {
    pub fn of(tally: &Tally) -> Self {
        let mut totals = Self::default();
        for test in &tally.finished_tests {
            totals.add(TestVerdict::of(test));
        }
        totals.not_run = tally.tests.unwrap_or(0).saturating_sub(totals.run);
        totals.complaints = tally.complaints.iter().filter(|c| c.is_bad()).count() as u64;
        totals
    }

    /// Adds one test that ended.
    pub fn add(&mut self, verdict: TestVerdict) {
        let count = match verdict {
            TestVerdict::Passed => &mut self.passed,
            TestVerdict::Failed => &mut self.failed,
            TestVerdict::Skipped => &mut self.skipped,
            TestVerdict::ExpectedFailure => &mut self.expected_failures,
            TestVerdict::UnexpectedSuccess => &mut self.unexpected_successes,
            // These did not end.
            TestVerdict::Unfinished | TestVerdict::Missing | TestVerdict::Unknown => return,
        };
        *count += 1;
        self.run += 1;
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        // A guest may say that it has found any number of tests.
        let sum = u64::saturating_add;
        Self {
            run: sum(self.run, other.run),
            passed: sum(self.passed, other.passed),
            failed: sum(self.failed, other.failed),
            skipped: sum(self.skipped, other.skipped),
            expected_failures: sum(self.expected_failures, other.expected_failures),
            unexpected_successes: sum(self.unexpected_successes, other.unexpected_successes),
            not_run: sum(self.not_run, other.not_run),
            complaints: sum(self.complaints, other.complaints),
        }
    }

    /// All counts that are not zero: `920 passed`, `1 expected failure`.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, String)> {
        let counts = COLUMNS.map(|(name, count)| (name, count(self)));
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        counts.map(|(name, count)| {
            let words = match (name, count) {
                ("expected failures", 1) => "expected failure",
                ("unexpected successes", 1) => "unexpected success",
                ("complaints", 1) => "complaint",
                (name, _) => name,
            };
            (name, format!("{count} {words}"))
        })
    }

    /// `922 run, 3 failed, 20 skipped`: the passed ones are the rest.
    pub fn in_words(&self) -> String {
        let others = self.counted();
        let others = others.filter(|(name, _)| !["run", "passed"].contains(name));
        let others = others.map(|(_, words)| format!(", {words}"));
        format!("{} run", self.run) + &others.collect::<String>()
    }
}

/// The columns of a table of these runs.
pub fn columns(runs: &[&RunRecord]) -> Vec<TotalsColumn> {
    let rows = runs.iter().map(|run| TestTotals::of(&run.tally));
    let rows = rows.collect::<Vec<_>>();
    let is_shown = |(number, (_, count)): &(usize, TotalsColumn)| {
        *number < ALWAYS || rows.iter().any(|totals| count(totals) > 0)
    };
    let columns = COLUMNS.into_iter().enumerate().filter(is_shown);
    columns.map(|(_, column)| column).collect()
}

/// What the words above a table mean, for the line below it.
pub fn legend(columns: &[TotalsColumn]) -> String {
    let shown = |(name, _): &&(&str, &str)| columns.iter().any(|(other, _)| other == name);
    let mut text = "run = passed + failed + skipped".to_owned();
    for (name, _) in MEANINGS[..2].iter().filter(shown) {
        text += &format!(" + {name}");
    }
    text += "; failed: a failure or an error that nothing expects";
    for (name, meaning) in MEANINGS.iter().filter(shown) {
        text += &format!("; {name}: {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{Sample, results};

    #[test]
    fn every_test_that_ended_is_counted_once() {
        let results = results([Sample::kernel("6.1")
            .test("t.a", "passed")
            .test("t.b", "failed")
            .test("t.c", "error")
            .test("t.d", "skipped")
            .test("t.e", "expected-failure")
            .test("t.f", "unexpected-success")
            .finished(serde_json::json!({
                "id": "t.g", "outcome": "failed", "expected": "known",
            }))
            .finished(serde_json::json!({
                "id": "t.h", "outcome": "passed", "expected": "known",
            }))
            .complains("WARNING: a", None, None)
            .complains("WARNING: b", None, Some("known"))
            .panicked(Some("t.i"))]);
        let totals = TestTotals::of(&results.runs[0].tally);
        assert_eq!(
            totals,
            TestTotals {
                run: 8,
                passed: 1,
                failed: 2,
                skipped: 1,
                expected_failures: 2,
                unexpected_successes: 2,
                not_run: 1,
                complaints: 1,
            }
        );
        assert_eq!(
            totals.in_words(),
            "8 run, 2 failed, 1 skipped, 2 expected failures, 2 unexpected successes, 1 not run, 1 complaint"
        );
        let sum = totals.plus(totals);
        assert_eq!((sum.run, sum.failed, sum.not_run), (16, 4, 2));
    }

    #[test]
    fn columns_of_zeros_are_left_out_and_the_words_explained() {
        let names = |samples: [Sample; 2]| {
            let results = results(samples);
            let columns = columns(&results.runs.iter().collect::<Vec<_>>());
            let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>();
            (names, legend(&columns))
        };
        let few = |kernel| {
            Sample::kernel(kernel)
                .test("t.a", "passed")
                .test("t.b", "passed")
        };
        expect_test::expect![[r#"
            (
                [
                    "run",
                    "passed",
                    "failed",
                    "skipped",
                ],
                "run = passed + failed + skipped; failed: a failure or an error that nothing expects",
            )
        "#]]
        .assert_debug_eq(&names([few("6.1"), few("6.9")]));
        let all = few("6.9")
            .test("t.c", "expected-failure")
            .test("t.d", "unexpected-success");
        let all = all.complains("WARNING: a", None, None);
        let (names, legend) = names([few("6.1"), all.panicked(Some("t.e"))]);
        assert_eq!(names.len(), COLUMNS.len());
        for (name, _) in COLUMNS {
            assert!(legend.contains(name), "{name}");
        }
    }
}
