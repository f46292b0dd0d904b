//! JSON of version 5.3 of KCIDB's schema, in which kernel CIs report to a common database
//! (<https://github.com/kernelci/kcidb-io>, `kcidb_io/schema/v05_03.py`).
//!
//! A kernel's release is a checkout, and that on an architecture a build: what source it has is
//! not known from results. How a run ended is the test `vmtest.outcome`, and each complaint one
//! below `vmtest.complaints`. Names of tests are paths there, so other characters become `_`; the
//! name is in `misc`, as is all that has no field. An expected failure is a PASS.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compact::cut;
use super::complaints::report;
use super::matrix::{TestMatrix, TestVerdict};
use super::totals::TestTotals;
use crate::model::complaint::Complaint;
use crate::model::results::{Results, RunRecord};
use crate::model::test_event::{FinishedTest, RunOutcome, Stage, TestOutcome};

/// The CI system that reports.
const ORIGIN: &str = "vmtest";

/// `maxLength` of `log_excerpt`, in characters, less the sign that something was cut off.
const LONGEST_EXCERPT: usize = 16_384 - 1;

/// The object, in one line.
pub fn render(results: &Results) -> String {
    let matrix = TestMatrix::new(results);
    let (mut checkouts, mut builds) = (BTreeMap::new(), BTreeMap::new());
    let mut tests = Vec::new();
    for (number, run) in matrix.runs.iter().enumerate() {
        let (kernel, arch) = (text(&run.name.kernel), text(&run.name.arch));
        let checkout = format!("{ORIGIN}:{}:{kernel}", text(&results.session.started));
        let build = format!("{checkout}:{arch}");
        checkouts
            .entry(checkout.clone())
            .or_insert_with(|| json!({"id": checkout, "origin": ORIGIN, "comment": kernel}));
        let of_build = builds.entry(build.clone()).or_insert_with(|| {
            let mut object = json!({
                "id": build, "checkout_id": checkout, "origin": ORIGIN, "comment": kernel,
                "status": build_status(&run.outcome),
                "misc": {"arch": arch, "flavor": run.name.flavor},
            });
            if arch
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            {
                object["architecture"] = arch.clone().into();
            }
            object
        });
        let id = of_build["id"].clone();
        for (index, mut test) in of_run(results, run).into_iter().enumerate() {
            let phase = run.name.phase.as_deref().unwrap_or_default();
            test["id"] = format!("{build}:{}:{number}:{index}", text(phase)).into();
            test["build_id"] = id.clone();
            test["origin"] = ORIGIN.into();
            test["environment"] = json!({"misc": {"acceleration": run.acceleration}});
            tests.push(test);
        }
    }
    let report = json!({
        "version": {"major": 5, "minor": 3},
        "checkouts": checkouts.into_values().collect::<Vec<_>>(),
        "builds": builds.into_values().collect::<Vec<_>>(),
        "tests": tests,
    });
    format!("{report}\n")
}

/// The outcome, the tests, and the complaints.
fn of_run(results: &Results, run: &RunRecord) -> Vec<Value> {
    let outcome = &run.outcome;
    let detail = outcome.detail().unwrap_or_default();
    let mut all = vec![json!({
        "path": "vmtest.outcome",
        "status": outcome_status(outcome),
        "comment": text(&format!("{}: {detail}", outcome.name())),
        "log_excerpt": excerpt(&run.evidence.trouble),
        "misc": {
            "outcome": outcome.name(),
            "running": outcome.running(),
            "counts": TestTotals::of(&run.tally),
            "seconds": run.seconds,
            "findings": results.findings,
        },
    })];
    all.extend(run.tally.finished_tests.iter().map(of_test));
    let killers = run
        .tally
        .killers()
        .filter(|test| Some(*test) != outcome.running());
    for test in outcome.running().into_iter().chain(killers) {
        all.push(
            json!({"path": path(test), "status": "ERROR", "misc": {"id": test,
            "outcome": "unfinished"}}),
        );
    }
    all.extend(run.tally.complaints.iter().map(of_complaint));
    all
}

fn of_test(test: &FinishedTest) -> Value {
    let verdict = TestVerdict::of(test);
    let status = match verdict {
        TestVerdict::Failed if test.outcome == TestOutcome::Error => "ERROR",
        TestVerdict::Failed | TestVerdict::UnexpectedSuccess => "FAIL",
        TestVerdict::Skipped => "SKIP",
        _ => "PASS",
    };
    let why = test.traceback.as_deref().or(test.reason.as_deref());
    json!({
        "path": path(&test.id),
        "status": status,
        // A guest may say anything, and JSON has no infinity.
        "duration": if test.seconds.is_finite() { test.seconds.clamp(0.0, 1e9) } else { 0.0 },
        "comment": text(test.reason.as_deref().unwrap_or_default()),
        "log_excerpt": excerpt(why.unwrap_or_default()),
        "misc": {"id": test.id, "outcome": verdict.name(), "expected": test.expected},
    })
}

fn of_complaint(complaint: &Complaint) -> Value {
    json!({
        "path": format!("vmtest.complaints.{}", segment(&complaint.kind)),
        "status": if complaint.is_bad() { "FAIL" } else { "PASS" },
        "comment": text(&complaint.title),
        "log_excerpt": excerpt(&report(complaint)),
        "misc": {"test": complaint.test, "allowed": complaint.allowed},
    })
}

fn build_status(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::NotStarted { stage, .. } => match stage {
            Stage::Build => "FAIL",
            Stage::Fetch => "MISS",
            Stage::Setup => "PASS",
        },
        _ => "PASS",
    }
}

fn outcome_status(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Passed => "PASS",
        RunOutcome::Complained { .. }
        | RunOutcome::TestsFailed
        | RunOutcome::Panicked { .. }
        | RunOutcome::Stuck { .. } => "FAIL",
        RunOutcome::RunnerDied { .. } => "ERROR",
        RunOutcome::Lost { .. } | RunOutcome::NotStarted { .. } => "MISS",
        RunOutcome::NoTests => "SKIP",
    }
}

/// Dots separate segments of `[a-zA-Z0-9_-]+`.
fn path(id: &str) -> String {
    id.split('.').map(segment).collect::<Vec<_>>().join(".")
}

fn segment(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = name.replace(|c| !allowed(c), "_");
    if name.is_empty() {
        "_".to_owned()
    } else {
        name
    }
}

/// No text may have U+0000.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn excerpt(lines: &str) -> String {
    text(&cut(lines, LONGEST_EXCERPT))
}
