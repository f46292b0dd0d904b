//! The history: what is kept, what it estimates, and that nothing wrong in it is an error.

use super::*;
use crate::base::ui::{Ui, Verbosity};
use crate::base::{paths::Files, paths::Paths};
use crate::model::test_event::{Stage, Tally, TestEvent, TestOutcome};

struct Place {
    directory: tempfile::TempDir,
    env: Env,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(
            directory.path(),
            Files::Embedded(crate::base::embedded::CONFIGS),
            Files::Embedded(crate::base::embedded::ASSETS),
        );
        Self {
            directory,
            env: Env {
                paths,
                ui: Ui::new(Verbosity::Quiet),
            },
        }
    }

    fn history(&self) -> History {
        History::load(&self.env, "a project/..")
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join("history/a_project_..")
    }
}

fn name(kernel: &str) -> RunName {
    let release = kernel.parse::<Release>();
    RunName {
        kernel: kernel.to_owned(),
        arch: "x86_64".to_owned(),
        flavor: release.ok().and_then(|release| release.flavor()),
        phase: None,
    }
}

fn local() -> RunName {
    RunName {
        kernel: "local".to_owned(),
        arch: String::new(),
        flavor: None,
        phase: None,
    }
}

fn record(name: RunName, total: f64, tests: &[(&str, f64)]) -> RunRecord {
    let mut tally = Tally::default();
    for (id, seconds) in tests {
        tally.push(&TestEvent::TestFinished(FinishedTest {
            seconds: *seconds,
            ..FinishedTest::new(*id, TestOutcome::Passed)
        }));
    }
    RunRecord {
        name,
        outcome: RunOutcome::Passed,
        tally,
        seconds: Phases {
            total: Some(total),
            ..Phases::default()
        },
        acceleration: Some("KVM".to_owned()),
        root: None,
        retries: vec![],
        evidence: Default::default(),
    }
}

fn lost(mut record: RunRecord) -> RunRecord {
    record.outcome = RunOutcome::Lost {
        how: "killed".to_owned(),
        running: None,
    };
    record
}

const DATE: &str = "2026-11-25T16:21:20Z";

fn seconds(history: &History, kernel: &str) -> Option<u64> {
    let estimate = history.estimate(&name(kernel));
    estimate.map(|estimate| estimate.as_secs())
}

#[test]
fn what_is_kept_is_read_again() {
    let place = Place::new();
    assert_eq!(seconds(&place.history(), "6.1.1"), None);
    let mut history = place.history();
    let kernel = "6.1.192-vmtest1.1default";
    let tests = [
        ("t.A.a", 1.0),
        ("t.A.b[x.y]", 0.5),
        ("t.B.a", 2.0),
        ("setUpClass (t.C)", 9.0),
        ("t.B.b", f64::NAN),
        ("t", 9.0),
    ];
    history
        .record(&record(name(kernel), 100.0, &tests), DATE)
        .unwrap();
    history.record(&record(local(), 7.0, &[]), DATE).unwrap();
    assert!(
        place
            .folder()
            .join(format!("x86_64/{kernel}.json"))
            .is_file()
    );
    assert!(place.folder().join("local/local.json").is_file());
    for history in [history, place.history()] {
        assert_eq!(seconds(&history, kernel), Some(100));
        assert_eq!(history.estimate(&local()), Some(Duration::from_secs(7)));
        let classes = history.class_seconds(&name(kernel));
        let expected = [("t.A".to_owned(), 1.5), ("t.B".to_owned(), 2.0)];
        assert_eq!(classes, BTreeMap::from(expected));
        let kept = history.kernel(&name(kernel)).unwrap();
        assert_eq!(kept.runs.len(), 1);
        assert_eq!(kept.runs[0].outcome, "passed");
        assert_eq!(kept.runs[0].date, DATE);
    }
}

#[test]
fn a_run_that_did_not_end_leaves_the_durations_as_they_are() {
    let place = Place::new();
    let mut history = place.history();
    let kernel = "6.1.192-vmtest1.1default";
    history
        .record(&record(name(kernel), 100.0, &[("t.A.a", 1.0)]), DATE)
        .unwrap();
    history
        .record(&lost(record(name(kernel), 3600.0, &[("t.A.a", 9.0)])), DATE)
        .unwrap();
    assert_eq!(seconds(&history, kernel), Some(100));
    assert_eq!(history.class_seconds(&name(kernel))["t.A"], 1.0);
    let runs = &place.history().kernel(&name(kernel)).unwrap().runs.clone();
    let outcomes = runs
        .iter()
        .map(|run| run.outcome.as_str())
        .collect::<Vec<_>>();
    assert_eq!(outcomes, ["passed", "lost"]);
}

#[test]
fn what_has_no_kernel_is_not_kept() {
    let place = Place::new();
    let mut history = place.history();
    let mut missing = record(name("6.1.*"), 1.0, &[]);
    history.record(&missing, DATE).unwrap();
    missing.name = name("6.1.192-vmtest1.1default");
    missing.outcome = RunOutcome::NotStarted {
        stage: Stage::Setup,
        how: "no compiler".to_owned(),
    };
    history.record(&missing, DATE).unwrap();
    assert!(!place.folder().exists());
}

#[test]
fn the_nearest_version_stands_in() {
    let place = Place::new();
    let mut history = place.history();
    for (kernel, total) in [
        ("5.10.223-vmtest1.1default", 510.0),
        ("5.19.17-vmtest1.1default", 519.0),
        ("6.1.50-vmtest1.1default", 6150.0),
        ("6.1.192-vmtest1.1default", 61192.0),
        ("6.1.192-vmtest1.0tiny", 61.0),
        ("6.12.107-vmtest1.1default", 612.0),
        ("7.3-rc2-vmtest1.1default", 703.0),
    ] {
        let tests = [("t.A.a", total)];
        history
            .record(&record(name(kernel), total, &tests), DATE)
            .unwrap();
    }
    // A kernel whose only run did not end says nothing.
    history
        .record(&lost(record(name("5.11.1"), 1.0, &[])), DATE)
        .unwrap();
    let arm = RunName {
        arch: "aarch64".to_owned(),
        ..name("6.1.192-vmtest1.1default")
    };
    for (kernel, expected) in [
        ("6.1.192-vmtest1.1default", 61192),
        ("6.1.192-vmtest1.0tiny", 61),
        ("6.1.193-vmtest1.1default", 61192),
        ("6.1.51-vmtest1.1default", 6150),
        ("6.1.50-vmtest1.0tiny", 61),
        // As requests name them.
        ("6.1.*", 61192),
        ("5.10.*default", 510),
        ("newest", 703),
        // The first numbers differ, and they are neighbours.
        ("6.0.1", 61192),
        ("5.18.1", 519),
        ("5.11.1", 510),
        ("6.9.1", 612),
        ("4.9.1", 510),
        ("9.9", 703),
    ] {
        assert_eq!(seconds(&history, kernel), Some(expected), "{kernel}");
        let classes = history.class_seconds(&name(kernel));
        assert_eq!(classes["t.A"], expected as f64, "{kernel}");
    }
    assert_eq!(history.estimate(&arm), None);
    assert_eq!(history.class_seconds(&arm), BTreeMap::new());
    assert_eq!(history.estimate(&local()), None);
}

#[test]
fn broken_files_are_passed_over() {
    let place = Place::new();
    let mut history = place.history();
    let good = "6.1.192-vmtest1.1default";
    history
        .record(&record(name(good), 100.0, &[("t.A.a", 1.0)]), DATE)
        .unwrap();
    let folder = place.folder().join("x86_64");
    let text = std::fs::read_to_string(folder.join(format!("{good}.json"))).unwrap();
    for (kernel, text) in [
        ("6.2.1", ""),
        ("6.3.1", "{}"),
        ("6.4.1", &text[..text.len() / 2]),
        ("6.5.1", &text.replace("\"v\": 1", "\"v\": 2")),
        ("6.6.1", &text.replace("100.0", "\"long\"")),
    ] {
        std::fs::write(folder.join(format!("{kernel}.json")), text).unwrap();
    }
    std::fs::write(folder.join("6.7.1.json"), b"\xff\xfe").unwrap();
    std::fs::create_dir(folder.join("6.8.1.json")).unwrap();
    std::fs::write(folder.join("notes.txt"), "x").unwrap();
    std::fs::write(place.folder().join("file"), "x").unwrap();
    let mut history = place.history();
    assert_eq!(history.kernels.len(), 1);
    assert_eq!(seconds(&history, "6.5.1"), Some(100));
    // Written anew, it is whole again.
    history
        .record(&record(name("6.4.1"), 64.0, &[]), DATE)
        .unwrap();
    assert_eq!(seconds(&place.history(), "6.4.1"), Some(64));
    // Times that are none give no estimate.
    for wrong in ["-1.0", "1e300"] {
        let text = text.replace("100.0", wrong);
        std::fs::write(folder.join(format!("{good}.json")), text).unwrap();
        assert_eq!(place.history().kernel(&name(good)).unwrap().total(), None);
    }
}

#[test]
fn it_does_not_grow_without_end() {
    let mut kernel = KernelHistory::default();
    let names = (0..MOST_CLASSES + 10).map(|n| (format!("t.C{n}.test"), n as f64));
    let names = names.collect::<Vec<_>>();
    let long = format!("t.{}.test", "C".repeat(LONGEST_CLASS));
    let mut tests = names
        .iter()
        .map(|(id, s)| (id.as_str(), *s))
        .collect::<Vec<_>>();
    tests.push((&long, 1e6));
    for n in 0..MOST_RUNS + 5 {
        kernel.add(&record(name("6.1.1"), n as f64, &tests), DATE);
    }
    assert_eq!(kernel.runs.len(), MOST_RUNS);
    assert_eq!(kernel.runs[0].seconds.total, Some(5.0));
    assert_eq!(kernel.classes.len(), MOST_CLASSES);
    assert!(!kernel.classes.contains_key("t.C9") && kernel.classes.contains_key("t.C10"));
    assert!((kernel.to_json().unwrap().len() as u64) < LARGEST_FILE);
    let longest = (LONGEST_CLASS * 2 + 40) * MOST_CLASSES;
    assert!((longest as u64) < LARGEST_FILE);

    let place = Place::new();
    let mut history = place.history();
    let folder = place.folder().join("x86_64");
    std::fs::create_dir_all(&folder).unwrap();
    for n in 0..MOST_KERNELS {
        let mut kernel = KernelHistory::default();
        // The one with the largest number is the oldest.
        let date = format!(
            "2026-11-25T00:{:02}:{:02}Z",
            (MOST_KERNELS - n) / 60,
            (MOST_KERNELS - n) % 60
        );
        kernel.add(&record(name("6.1.1"), 1.0, &[]), &date);
        history
            .kernels
            .insert(("x86_64".to_owned(), format!("6.1.{n}")), kernel.clone());
        let text = kernel.to_json().unwrap();
        std::fs::write(folder.join(format!("6.1.{n}.json")), text).unwrap();
    }
    history
        .record(&record(name("6.2.1"), 1.0, &[]), DATE)
        .unwrap();
    let gone = format!("6.1.{}.json", MOST_KERNELS - 1);
    assert!(!folder.join(gone).exists());
    assert_eq!(folder.read_dir().unwrap().count(), MOST_KERNELS);
    assert_eq!(history.kernels.len(), MOST_KERNELS);
}
