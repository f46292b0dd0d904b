//! The KCIDB report of all kinds of sessions against what schema 5.3 asks of the fields that it
//! has. The schema itself is under the GPL and not in this repository; the file that this leaves
//! can be read by its validator, `kcidb-validate` of PyPI's kcidb-io.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use xtask::internals::kcidb::render;
use xtask::internals::{Results, RunOutcome, Stage, TestOutcome};

use crate::report_samples::{complains, finished, hostile, realistic, run};

const STATUSES: [&str; 6] = ["FAIL", "ERROR", "MISS", "PASS", "DONE", "SKIP"];

fn is_path(path: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_segment = |segment: &str| !segment.is_empty() && segment.chars().all(allowed);
    path.is_empty() || path.split('.').all(is_segment)
}

fn check_object(object: &Value, known: &[&str]) {
    for (field, value) in object.as_object().unwrap() {
        assert!(known.contains(&field.as_str()), "{field}");
        match field.as_str() {
            "misc" | "environment" => assert!(value.is_object()),
            "duration" => assert!(value.is_number(), "{value}"),
            _ => {
                let text = value.as_str().unwrap();
                assert!(!text.contains('\0'), "{text}");
                assert!(field != "status" || STATUSES.contains(&text));
                assert!(field != "path" || is_path(text), "{text}");
                assert!(field != "log_excerpt" || text.chars().count() <= 16_384);
                assert!(!field.ends_with("id") || text.starts_with("vmtest:"));
            }
        }
    }
    assert_eq!(object["origin"], "vmtest");
}

/// The report, checked; what no other object refers to is no part of it.
fn check(name: &str, results: &Results) -> Value {
    let text = render(results);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kcidb");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.json")), &text).unwrap();
    let report = serde_json::from_str::<Value>(&text).unwrap();
    assert_eq!(
        report["version"],
        serde_json::json!({"major": 5, "minor": 3})
    );
    let ids = |kind: &str| {
        let objects = report[kind].as_array().unwrap();
        let ids = objects.iter().map(|object| object["id"].to_string());
        let ids = ids.collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), objects.len(), "ids of {kind} are unique");
        ids
    };
    let (checkouts, builds) = (ids("checkouts"), ids("builds"));
    ids("tests");
    let shared = ["id", "origin", "comment", "misc", "status"];
    for object in report["checkouts"].as_array().unwrap() {
        check_object(object, &shared);
    }
    for object in report["builds"].as_array().unwrap() {
        assert!(checkouts.contains(&object["checkout_id"].to_string()));
        check_object(
            object,
            &[&shared[..], &["checkout_id", "architecture"]].concat(),
        );
    }
    let fields = ["build_id", "path", "duration", "log_excerpt", "environment"];
    for object in report["tests"].as_array().unwrap() {
        assert!(builds.contains(&object["build_id"].to_string()));
        check_object(object, &[&shared[..], &fields].concat());
    }
    report
}

#[test]
fn every_outcome_has_its_status() {
    let (how, running) = (|| "how\0".to_owned(), || Some("t.A.b (n=1)".to_owned()));
    let outcomes = [
        RunOutcome::NoTests,
        RunOutcome::RunnerDied {
            how: how(),
            running: running(),
        },
        RunOutcome::Lost {
            how: how(),
            running: None,
        },
        RunOutcome::Panicked {
            how: how(),
            running: running(),
        },
        RunOutcome::Stuck {
            phase: "boot".to_owned(),
            how: how(),
            running: None,
        },
        RunOutcome::NotStarted {
            stage: Stage::Fetch,
            how: how(),
        },
        RunOutcome::NotStarted {
            stage: Stage::Build,
            how: how(),
        },
    ];
    let cut = outcomes.into_iter().enumerate();
    let cut = cut.map(|(number, outcome)| run(&format!("5.{number}"), "", vec![], Some(outcome)));
    let tests = TestOutcome::ALL.map(|outcome| finished(format!("t.{outcome}"), outcome, 0.5));
    let good = || {
        run(
            "6.1",
            "",
            vec![finished("", TestOutcome::Passed, f64::INFINITY)],
            None,
        )
    };
    let mut tiny = complains(good(), "UBSAN: y", "", Some("known"));
    tiny.name.kernel = "6.9".to_owned();
    let last = [
        run("6.12", "", tests.to_vec(), None),
        complains(good(), "BUG: x", "t", None),
        tiny,
    ];
    let report = check(
        "outcomes",
        &Results {
            runs: cut.chain(last).collect(),
            ..Results::default()
        },
    );
    let tests = report["tests"].as_array().unwrap().iter();
    let shown = tests.map(|test| {
        let [status, path, outcome] = [&test["status"], &test["path"], &test["misc"]["outcome"]];
        format!(
            "{} {} {outcome}\n",
            status.as_str().unwrap(),
            path.as_str().unwrap()
        )
    });
    expect_test::expect![[r#"
        SKIP vmtest.outcome "no tests ran"
        ERROR vmtest.outcome "runner died"
        ERROR t.A.b__n_1_ "unfinished"
        MISS vmtest.outcome "lost"
        FAIL vmtest.outcome "panicked"
        ERROR t.A.b__n_1_ "unfinished"
        FAIL vmtest.outcome "stuck"
        MISS vmtest.outcome "fetch failed"
        MISS vmtest.outcome "build failed"
        FAIL vmtest.outcome "complained"
        PASS _ "passed"
        FAIL vmtest.complaints.BUG null
        PASS vmtest.outcome "passed"
        PASS _ "passed"
        PASS vmtest.complaints.UBSAN null
        FAIL vmtest.outcome "tests failed"
        PASS t.passed "passed"
        FAIL t.failed "failed"
        ERROR t.error "failed"
        SKIP t.skipped "skipped"
        PASS t.expected-failure "expected failure"
        FAIL t.unexpected-success "unexpected success"
    "#]]
    .assert_eq(&shown.collect::<String>());
}

#[test]
fn any_session_is_accepted() {
    check("nothing", &Results::default());
    check("realistic", &realistic());
    check("hostile", &hostile());
}
