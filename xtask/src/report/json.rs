//! The report for programs: one JSON object. `results.jsonl` has more; this has what
//! was compared.
//!
//! ```text
//! {"project":…,"headline":…,"findings":[…],
//!  "runs":[{"kernel":…,"arch":…,"flavor":…,"outcome":…,"detail":…,"running":…,
//!           "run":922,"passed":900,"failed":0,"skipped":22,"expected_failures":0,
//!           "unexpected_successes":0,"not_run":0,"seconds":{"boot":2.1,…},"acceleration":…,
//!           "root":…,"complaints":[{"kind":"WARNING","title":…,"report":…,"test":…,"allowed":…}]}],
//!  "tests":[{"test":…,"differs":true,"words":"passes up to 6.9, fails from 6.10",
//!            "verdicts":["passed","failed"],
//!            "failures":[{"run":1,"reason":…,"expired":…,
//!                         "subtests":[{"subtest":"(n=1)","outcome":"failed","reason":…}],
//!                         "more_subtests":0}]}],
//!  "skips":[{"reason":…,"tests":[…],"everywhere":[…]}],
//!  "complaints":[{"title":…,"bad":true,"words":"occurs from 6.10, …","runs":[1]}]}
//! ```
//!
//! `verdicts` are in the order of `runs`; `null` where a run says nothing. `run` of a
//! failure is a place in `runs`. What the counts mean: [`super::totals`].

use serde_json::{Value, json};

use super::diff::SessionDiff;
use super::matrix::{MatrixRow, TestMatrix, TestVerdict};
use super::totals::TestTotals;
use crate::model::results::{Results, RunRecord};

/// The object, in one line.
pub fn render(results: &Results) -> String {
    let matrix = TestMatrix::new(results);
    let report = json!({
        "project": results.session.project,
        "headline": matrix.headline(),
        "findings": results.findings,
        "runs": matrix.runs.iter().map(|run| object(run)).collect::<Vec<_>>(),
        "tests": matrix.rows.iter().map(test).collect::<Vec<_>>(),
        "skips": matrix.skips,
        "complaints": matrix.complaints.iter().map(|group| json!({
            "title": group.first().title,
            "bad": group.is_bad(),
            "words": group.words,
            "runs": group.runs(),
        })).collect::<Vec<_>>(),
    });
    format!("{report}\n")
}

fn object(run: &RunRecord) -> Value {
    let fields = json!({
        "running": run.outcome.running(),
        "seconds": run.seconds,
        "acceleration": run.acceleration,
        "root": run.root,
        "complaints": run.tally.complaints,
    });
    joined([ended(run), json!(TestTotals::of(&run.tally)), fields])
}

/// Which run it is, and how it ended.
fn ended(run: &RunRecord) -> Value {
    let end = json!({"outcome": run.outcome.name(), "detail": run.outcome.detail()});
    joined([json!(run.name), end])
}

/// The fields of all these objects in one.
fn joined<const N: usize>(objects: [Value; N]) -> Value {
    let fields = objects.iter().filter_map(Value::as_object).flatten();
    let fields = fields.map(|(name, value)| (name.clone(), value.clone()));
    fields.collect()
}

fn test(row: &MatrixRow<'_>) -> Value {
    let said = |verdict: &TestVerdict| (*verdict != TestVerdict::Unknown).then(|| verdict.name());
    let failure = |run: usize| {
        let test = row.cells[run]?;
        Some(json!({
            "run": run,
            "reason": test.reason,
            "expired": test.expired,
            "subtests": test.subtests,
            "more_subtests": test.more_subtests,
        }))
    };
    json!({
        "test": row.test,
        "differs": row.words.is_some(),
        "words": row.words,
        "verdicts": row.verdicts.iter().map(said).collect::<Vec<_>>(),
        "failures": row.bad().filter_map(failure).collect::<Vec<_>>(),
    })
}

/// Two sessions compared, as an object in one line.
pub fn difference(diff: &SessionDiff<'_>) -> String {
    let pair = |old: Option<&RunRecord>, new: Option<&RunRecord>| json!({"old": old.map(ended), "new": new.map(ended)});
    let pairs = diff.pairs.iter();
    let pairs = pairs.map(|(old, new)| pair(Some(old), Some(new)));
    let removed = diff.removed.iter().map(|old| pair(Some(old), None));
    let added = diff.added.iter().map(|new| pair(None, Some(new)));
    let changes = diff.changes.iter().map(|change| {
        json!({
            "kind": change.kind.name(),
            "worse": change.is_worse(),
            "test": change.test,
            "old": change.old.name(),
            "new": change.new.name(),
            "reason": change.reason,
            "runs": change.runs,
        })
    });
    let not_reached = diff.not_reached.iter();
    let not_reached =
        not_reached.map(|(name, tests)| joined([json!(name), json!({"tests": tests})]));
    let report = json!({
        "worse": diff.is_worse(),
        "filtered": diff.filtered,
        "runs": pairs.chain(removed).chain(added).collect::<Vec<_>>(),
        "changes": changes.collect::<Vec<_>>(),
        "not_reached": not_reached.collect::<Vec<_>>(),
        "complaints": diff.complaints.iter().map(|change| json!({
            "change": change.kind(),
            "worse": change.is_worse(),
            "title": change.title,
            "runs": change.runs,
        })).collect::<Vec<_>>(),
    });
    format!("{report}\n")
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
        let json = render(&results);
        let json = serde_json::from_str::<Value>(&json).unwrap();
        expect_test::expect![[r#"
            {
              "complaints": [],
              "findings": [],
              "headline": "2 runs: passed 1, panicked 1; 2 of 3 tests differ between kernels",
              "project": "example",
              "runs": [
                {
                  "acceleration": "KVM",
                  "arch": "x86_64",
                  "complaints": [],
                  "detail": null,
                  "expected_failures": 0,
                  "failed": 0,
                  "flavor": null,
                  "kernel": "6.1",
                  "not_run": 0,
                  "outcome": "passed",
                  "passed": 1,
                  "root": null,
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
                  "complaints": [],
                  "detail": "Kernel panic - not syncing: Fatal exception",
                  "expected_failures": 0,
                  "failed": 1,
                  "flavor": null,
                  "kernel": "6.9",
                  "not_run": 1,
                  "outcome": "panicked",
                  "passed": 0,
                  "root": null,
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
