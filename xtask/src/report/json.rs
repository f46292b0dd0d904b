//! The report for programs: one JSON object. `results.jsonl` has more; this has what
//! was compared.
//!
//! ```text
//! {"project":…,"headline":…,"findings":[…],
//!  "runs":[{"kernel":…,"arch":…,"flavor":…,"outcome":…,"detail":…,"running":…,
//!           "run":922,"passed":900,"failed":0,"skipped":22,"expected_failures":0,
//!           "unexpected_successes":0,"not_run":0,"seconds":{"boot":2.1,…},"acceleration":…}],
//!  "tests":[{"test":…,"differs":true,"words":"passes up to 6.9, fails from 6.10",
//!            "verdicts":["passed","failed"],
//!            "failures":[{"run":1,"reason":…,"expired":…,
//!                         "subtests":[{"subtest":"(n=1)","outcome":"failed","reason":…}],
//!                         "more_subtests":0}]}],
//!  "skips":[{"reason":…,"tests":[…],"everywhere":[…]}]}
//! ```
//!
//! `verdicts` are in the order of `runs`; `null` where a run says nothing. `run` of a
//! failure is a place in `runs`. What the counts mean: [`super::totals`].

use anyhow::{Context, Result};
use serde::Serialize;

use super::diff::SessionDiff;
use super::matrix::{MatrixRow, Skips, TestMatrix, TestVerdict};
use super::totals::TestTotals;
use crate::model::results::{Phases, Results, RunName, RunRecord};
use crate::model::test_event::Subtest;

#[derive(Serialize)]
struct JsonReport<'r> {
    project: &'r str,
    headline: String,
    findings: &'r [String],
    runs: Vec<JsonRun<'r>>,
    tests: Vec<JsonTest<'r>>,
    skips: &'r [Skips<'r>],
}

#[derive(Serialize)]
struct JsonRun<'r> {
    #[serde(flatten)]
    name: &'r RunName,
    outcome: &'static str,
    detail: Option<String>,
    running: Option<&'r str>,
    #[serde(flatten)]
    totals: TestTotals,
    seconds: Phases,
    acceleration: Option<&'r str>,
}

#[derive(Serialize)]
struct JsonTest<'r> {
    test: &'r str,
    differs: bool,
    words: Option<&'r str>,
    verdicts: Vec<Option<&'static str>>,
    failures: Vec<JsonFailure<'r>>,
}

/// What a run says about a test that made it fail.
#[derive(Serialize)]
struct JsonFailure<'r> {
    run: usize,
    reason: Option<&'r str>,
    expired: Option<&'r str>,
    subtests: &'r [Subtest],
    more_subtests: u64,
}

/// The object, in one line.
pub fn render(results: &Results) -> Result<String> {
    let matrix = TestMatrix::new(results);
    let verdict = |verdict: &TestVerdict| match verdict {
        TestVerdict::Unknown => None,
        verdict => Some(verdict.name()),
    };
    let report = JsonReport {
        project: &results.session.project,
        headline: matrix.headline(),
        findings: &results.findings,
        runs: matrix
            .runs
            .iter()
            .map(|run| JsonRun {
                name: &run.name,
                outcome: run.outcome.name(),
                detail: run.outcome.detail(),
                running: run.outcome.running(),
                totals: TestTotals::of(&run.tally),
                seconds: run.seconds,
                acceleration: run.acceleration.as_deref(),
            })
            .collect(),
        tests: matrix
            .rows
            .iter()
            .map(|row| JsonTest {
                test: row.test,
                differs: row.differs,
                words: row.words.as_deref(),
                verdicts: row.verdicts.iter().map(verdict).collect(),
                failures: row.bad().filter_map(|run| failure(row, run)).collect(),
            })
            .collect(),
        skips: &matrix.skips,
    };
    let json = serde_json::to_string(&report).context("cannot write the report as JSON")?;
    Ok(json + "\n")
}

fn failure<'r>(row: &MatrixRow<'r>, run: usize) -> Option<JsonFailure<'r>> {
    let test = row.cells[run]?;
    Some(JsonFailure {
        run,
        reason: test.reason.as_deref(),
        expired: test.expired.as_deref(),
        subtests: &test.subtests,
        more_subtests: test.more_subtests,
    })
}

#[derive(Serialize)]
struct Difference<'r> {
    worse: bool,
    filtered: bool,
    runs: Vec<ComparedRun<'r>>,
    changes: Vec<ComparedTest<'r>>,
    not_reached: Vec<NotReached<'r>>,
}

/// A run of one session or both.
#[derive(Serialize)]
struct ComparedRun<'r> {
    old: Option<Ended<'r>>,
    new: Option<Ended<'r>>,
}

#[derive(Serialize)]
struct Ended<'r> {
    #[serde(flatten)]
    name: &'r RunName,
    outcome: &'static str,
    detail: Option<String>,
}

#[derive(Serialize)]
struct ComparedTest<'r> {
    kind: String,
    worse: bool,
    test: &'r str,
    old: &'static str,
    new: &'static str,
    reason: Option<&'r str>,
    runs: &'r [&'r RunName],
}

#[derive(Serialize)]
struct NotReached<'r> {
    #[serde(flatten)]
    name: &'r RunName,
    tests: usize,
}

fn ended(run: &RunRecord) -> Ended<'_> {
    Ended {
        name: &run.name,
        outcome: run.outcome.name(),
        detail: run.outcome.detail(),
    }
}

/// Two sessions compared, as an object in one line.
pub fn difference(diff: &SessionDiff<'_>) -> Result<String> {
    let pairs = diff.pairs.iter().map(|(old, new)| (Some(*old), Some(*new)));
    let removed = diff.removed.iter().map(|old| (Some(*old), None));
    let added = diff.added.iter().map(|new| (None, Some(*new)));
    let runs = pairs.chain(removed).chain(added);
    let report = Difference {
        worse: diff.is_worse(),
        filtered: diff.filtered,
        runs: runs
            .map(|(old, new)| ComparedRun {
                old: old.map(ended),
                new: new.map(ended),
            })
            .collect(),
        changes: diff
            .changes
            .iter()
            .map(|change| ComparedTest {
                kind: change.kind.to_string(),
                worse: change.is_worse(),
                test: change.test,
                old: change.old.name(),
                new: change.new.name(),
                reason: change.reason,
                runs: &change.runs,
            })
            .collect(),
        not_reached: diff
            .not_reached
            .iter()
            .map(|(name, tests)| NotReached {
                name,
                tests: *tests,
            })
            .collect(),
    };
    let json = serde_json::to_string(&report).context("cannot write the comparison as JSON")?;
    Ok(json + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{Sample, results};

    #[test]
    fn programs_get_what_people_get() {
        let results = results([
            Sample::kernel("6.1")
                .test("t.a", "passed")
                .test("t.b", "skipped"),
            Sample::kernel("6.9")
                .test("t.a", "failed")
                .panicked(Some("t.c")),
        ]);
        let json = render(&results).unwrap();
        let json = serde_json::from_str::<serde_json::Value>(&json).unwrap();
        expect_test::expect![[r#"
            {
              "findings": [],
              "headline": "2 runs: passed 1, panicked 1; 2 of 3 tests differ between kernels",
              "project": "example",
              "runs": [
                {
                  "acceleration": "KVM",
                  "arch": "x86_64",
                  "detail": null,
                  "expected_failures": 0,
                  "failed": 0,
                  "flavor": null,
                  "kernel": "6.1",
                  "not_run": 0,
                  "outcome": "passed",
                  "passed": 1,
                  "run": 2,
                  "running": null,
                  "seconds": {
                    "boot": 2.0,
                    "prepare": 0.5,
                    "tests": 1.0,
                    "total": 3.5
                  },
                  "skipped": 1,
                  "unexpected_successes": 0
                },
                {
                  "acceleration": "KVM",
                  "arch": "x86_64",
                  "detail": "Kernel panic - not syncing: Fatal exception",
                  "expected_failures": 0,
                  "failed": 1,
                  "flavor": null,
                  "kernel": "6.9",
                  "not_run": 1,
                  "outcome": "panicked",
                  "passed": 0,
                  "run": 1,
                  "running": "t.c",
                  "seconds": {
                    "boot": 2.0,
                    "prepare": 0.5,
                    "tests": 1.0,
                    "total": 3.5
                  },
                  "skipped": 0,
                  "unexpected_successes": 0
                }
              ],
              "skips": [
                {
                  "everywhere": [
                    "t.b"
                  ],
                  "reason": "not here",
                  "tests": [
                    "t.b"
                  ]
                }
              ],
              "tests": [
                {
                  "differs": true,
                  "failures": [],
                  "test": "t.c",
                  "verdicts": [
                    "missing",
                    "unfinished"
                  ],
                  "words": "is missing up to 6.1, does not finish from 6.9"
                },
                {
                  "differs": true,
                  "failures": [
                    {
                      "expired": null,
                      "more_subtests": 0,
                      "reason": "AssertionError: 1 != 2",
                      "run": 1,
                      "subtests": []
                    }
                  ],
                  "test": "t.a",
                  "verdicts": [
                    "passed",
                    "failed"
                  ],
                  "words": "passes up to 6.1, fails from 6.9"
                },
                {
                  "differs": false,
                  "failures": [],
                  "test": "t.b",
                  "verdicts": [
                    "skipped",
                    null
                  ],
                  "words": null
                }
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&json).unwrap());
    }
}
