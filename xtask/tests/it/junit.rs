//! `junit.xml` of all kinds of sessions against the schemas that xtask/docs/reports.md names.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use xtask::internals::junit::render;
use xtask::internals::{Death, FinishedTest, RunOutcome, Stage, TestEvent, TestOutcome};
use xtask::internals::{Results, RunRecord};

use crate::report_samples::{
    complains, failed, finished, hostile, large, realistic, run, skipped, worst,
};
use support::host::repository;

/// Fails unless both schemas take the document.
#[allow(
    clippy::disallowed_methods,
    reason = "a test program whose end is waited for"
)]
fn check(name: &str, results: &Results) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("junit");
    std::fs::create_dir_all(&folder).unwrap();
    let document = folder.join(format!("{name}.xml"));
    std::fs::write(&document, render(results)).unwrap();
    for schema in ["JUnit.xsd", "junit-10.xsd"] {
        let output = Command::new("xmllint")
            .args(["--noout", "--huge", "--schema"])
            .arg(repository().join("xtask/tests/it/schemas").join(schema))
            .arg(&document)
            .stdin(Stdio::null())
            .output()
            .expect("xmllint is needed: `cargo xtask ci --setup` installs it");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} against {schema}:\n{text}");
    }
}

fn of(runs: Vec<RunRecord>) -> Results {
    Results {
        runs,
        finished: true,
        ..Results::default()
    }
}

/// A test of each kind, those with subtests too.
fn all_kinds() -> Vec<FinishedTest> {
    let mut tests = TestOutcome::ALL
        .map(|outcome| finished(format!("t.A.{outcome}"), outcome, 0.1))
        .to_vec();
    tests.push(skipped("t.A.why", "not here\nnor there \u{0}\u{1b}[0m"));
    tests.push(skipped("t.A.without", ""));
    tests.push(failed(
        "t.A.fails",
        1e-9,
        "E: <&\"'>]]>\r\n\t\u{fffe}",
        "/x",
    ));
    tests.push(FinishedTest {
        expected: Some("known".to_owned()),
        ..failed("t.A.listed", f64::MAX, "E", "/x")
    });
    tests.push(FinishedTest {
        expired: Some("until then".to_owned()),
        ..failed("t.A.expired", f64::INFINITY, "E", "/x")
    });
    for id in ["", " ", "setUpClass (t.A)", "t.A.b (n='\u{7}')"] {
        tests.push(finished(id, TestOutcome::Error, -1.0));
    }
    for outcome in ["failed", "skipped", "error"] {
        let test = json!({
            "id": format!("t.A.subtests_{outcome}"), "outcome": outcome, "reason": "(n=1): E: x",
            "description": "What it shows.", "more_subtests": 3,
            "subtests": [
                {"subtest": "(n=1)", "outcome": outcome, "reason": "E: x"},
                {"subtest": "[\u{0}] (n='<&>')", "outcome": "skipped", "reason": "y"},
            ],
        });
        tests.push(serde_json::from_value(test).unwrap());
    }
    tests
}

#[test]
fn both_schemas_take_every_kind_of_document() {
    check("nothing", &Results::default());
    let complained = run("6.1", "default", all_kinds(), None);
    let complained = complains(complained, "BUG: <\0>", "t.a", None);
    let allowed = run("6.1", "tiny", vec![], None);
    let allowed = complains(allowed, "BUG: \u{7}", "t.a", Some("\u{1b} & known"));
    check("complaints", &of(vec![complained, allowed]));
    check(
        "findings",
        &Results {
            findings: vec![String::new(), "partition 2 of 3 is missing".to_owned()],
            ..Results::default()
        },
    );
    check("no-tests", &of(vec![run("6.1", "default", vec![], None)]));
    check("kinds", &of(vec![run("6.1", "default", all_kinds(), None)]));
    let outcomes = [
        RunOutcome::NoTests,
        RunOutcome::RunnerDied {
            how: "signal".to_owned(),
            running: Some("t.A.b".to_owned()),
        },
        RunOutcome::Lost {
            how: String::new(),
            running: None,
        },
        RunOutcome::Panicked {
            how: "\u{0}".to_owned(),
            running: None,
        },
        RunOutcome::Stuck {
            phase: "boot".to_owned(),
            how: "limit".to_owned(),
            running: None,
        },
        RunOutcome::NotStarted {
            stage: Stage::Fetch,
            how: "no\nkernel".to_owned(),
        },
    ];
    let ends = outcomes.map(|outcome| run("6.1", "", all_kinds(), Some(outcome)));
    check("ends", &of(ends.to_vec()));
    let mut died = ends[1].clone();
    for id in [None, Some("t.A.c".to_owned())] {
        died.tally
            .push(&TestEvent::RunnerDied(Death { status: 139, id }));
    }
    check("deaths", &of(vec![died]));
    let mut nameless = run("", "", all_kinds(), None);
    nameless.name.arch.clear();
    check("nameless", &of(vec![nameless]));
    for (name, results) in [
        ("realistic", realistic()),
        ("large", large()),
        ("worst", worst()),
        ("hostile", hostile()),
    ] {
        check(name, &results);
    }
}
