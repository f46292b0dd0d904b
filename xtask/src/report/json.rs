//! The report for programs: one JSON object. `results.jsonl` has more; this has what
//! was compared.
//!
//! ```text
//! {"project":…,"headline":…,"findings":[…],
//!  "runs":[{"kernel":…,"arch":…,"flavor":…,"outcome":…,"detail":…,"running":…,
//!           "run":922,"failed":0,"skipped":22,"seconds":{"boot":2.1,…},"acceleration":…}],
//!  "tests":[{"test":…,"differs":true,"words":"passes up to 6.9, fails from 6.10",
//!            "verdicts":["passed","failed"]}],
//!  "skips":[{"reason":…,"tests":[…],"everywhere":[…]}]}
//! ```
//!
//! `verdicts` are in the order of `runs`; `null` where a run says nothing.

use anyhow::{Context, Result};
use serde::Serialize;

use super::matrix::{Matrix, Verdict};
use crate::event::TestOutcome;
use crate::results::{Phases, Results, RunName};

#[derive(Serialize)]
struct Report<'r> {
    project: &'r str,
    headline: String,
    findings: &'r [String],
    runs: Vec<Run<'r>>,
    tests: Vec<Test<'r>>,
    skips: Vec<Skips<'r>>,
}

#[derive(Serialize)]
struct Run<'r> {
    #[serde(flatten)]
    name: &'r RunName,
    outcome: &'static str,
    detail: Option<String>,
    running: Option<&'r str>,
    run: u64,
    failed: usize,
    skipped: u64,
    seconds: Phases,
    acceleration: Option<&'r str>,
}

#[derive(Serialize)]
struct Test<'r> {
    test: &'r str,
    differs: bool,
    words: Option<&'r str>,
    verdicts: Vec<Option<&'static str>>,
}

#[derive(Serialize)]
struct Skips<'r> {
    reason: &'r str,
    tests: &'r [&'r str],
    everywhere: &'r [&'r str],
}

/// The object, in one line.
///
/// # Errors
///
/// None is known: nothing in it is without a form in JSON.
pub fn render(results: &Results) -> Result<String> {
    let matrix = Matrix::new(results);
    let verdict = |verdict: &Verdict| match verdict {
        Verdict::Unknown => None,
        verdict => Some(verdict.name()),
    };
    let report = Report {
        project: &results.session.project,
        headline: matrix.headline(),
        findings: &results.findings,
        runs: matrix
            .runs
            .iter()
            .map(|run| Run {
                name: &run.name,
                outcome: run.outcome.name(),
                detail: run.outcome.detail(),
                running: run.outcome.running(),
                run: run.tally.counts.finished(),
                failed: run.tally.bad().count(),
                skipped: run.tally.counts.get(TestOutcome::Skipped),
                seconds: run.seconds,
                acceleration: run.acceleration.as_deref(),
            })
            .collect(),
        tests: matrix
            .rows
            .iter()
            .map(|row| Test {
                test: row.test,
                differs: row.differs,
                words: row.words.as_deref(),
                verdicts: row.verdicts.iter().map(verdict).collect(),
            })
            .collect(),
        skips: matrix
            .skips
            .iter()
            .map(|skips| Skips {
                reason: skips.reason,
                tests: &skips.tests,
                everywhere: &skips.everywhere,
            })
            .collect(),
    };
    let json = serde_json::to_string(&report).context("cannot write the report as JSON")?;
    Ok(json + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{Sample, results};

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
                  "failed": 0,
                  "flavor": null,
                  "kernel": "6.1",
                  "outcome": "passed",
                  "run": 2,
                  "running": null,
                  "seconds": {
                    "boot": 2.0,
                    "prepare": 0.5,
                    "tests": 1.0,
                    "total": 3.5
                  },
                  "skipped": 1
                },
                {
                  "acceleration": "KVM",
                  "arch": "x86_64",
                  "detail": "Kernel panic - not syncing: Fatal exception",
                  "failed": 1,
                  "flavor": null,
                  "kernel": "6.9",
                  "outcome": "panicked",
                  "run": 1,
                  "running": "t.c",
                  "seconds": {
                    "boot": 2.0,
                    "prepare": 0.5,
                    "tests": 1.0,
                    "total": 3.5
                  },
                  "skipped": 0
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
                  "test": "t.c",
                  "verdicts": [
                    "missing",
                    "unfinished"
                  ],
                  "words": "is missing up to 6.1, does not finish from 6.9"
                },
                {
                  "differs": true,
                  "test": "t.a",
                  "verdicts": [
                    "passed",
                    "failed"
                  ],
                  "words": "passes up to 6.1, fails from 6.9"
                },
                {
                  "differs": false,
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
