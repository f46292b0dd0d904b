//! Suites whose VMs are played.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::time::parse_date;
use crate::model::complaint::{Complaint, STALL};
use crate::model::expectation::Expectation;
use crate::model::{run_event::RunEventKind, test_event::TestEvent};
use crate::vm::{Accel, VmSink};
use crate::vm::{PhaseRun, VmRun};

const EVENTS: &str = r#"{"v":1,"event":"run-started","tests":2}
{"v":1,"event":"test-started","id":"t.A.one"}
{"v":1,"event":"test-finished","id":"t.A.one","outcome":"passed","seconds":0.5}
{"v":1,"event":"test-started","id":"t.A.two"}
"#;
const END: &str = r#"{"v":1,"event":"test-finished","id":"t.A.two","outcome":"skipped","seconds":0.5,"reason":"why"}
{"v":1,"event":"run-finished","counts":{"passed":1,"skipped":1},"seconds":1}
"#;

fn phase(outcome: VmOutcome, boot: u64, total: u64, console_tail: &str) -> PhaseRun {
    PhaseRun {
        complaints: Vec::new(),
        outcome,
        boot: Some(Duration::from_secs(boot)),
        spans: None,
        total: Duration::from_secs(total),
        console_tail: console_tail.to_owned(),
        trouble: String::new(),
    }
}

fn name() -> RunName {
    RunName {
        kernel: "6.1.192-vmtest1.1default".to_owned(),
        arch: "x86_64".to_owned(),
        flavor: Some("default".to_owned()),
        phase: None,
    }
}

fn ledger() -> Ledger {
    let entry = |test: &str, complaint, reason: &str| Expectation {
        test: test.to_owned(),
        complaint,
        kernels: None,
        flavor: None,
        arch: None,
        reason: reason.to_owned(),
        until: None,
    };
    let entries = [
        entry("t.A.known", false, "known"),
        entry("*: allowed", true, "it is known"),
    ];
    Ledger::new(&entries, parse_date("2026-11-29").unwrap()).unwrap()
}

fn judge(ledger: &Ledger) -> Judge<'_> {
    Judge {
        ledger,
        filtered: false,
        fail_on_stalls: false,
    }
}

/// What a VM gives whose events come in these pieces, and what is told about it.
fn run(events: &[&str], outcome: VmOutcome) -> (RunRecord, Vec<RunEventKind>) {
    let directory = tempfile::tempdir().unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel(100);
    let stop = AtomicBool::new(false);
    let outlet = Outlet::new(&sender, 3, 1, &stop);
    let name = name();
    let ledger = ledger();
    let judge = judge(&ledger);
    let log = directory.path().join("output.log");
    let mut sink = SuiteSink::new(&name, outlet, judge, log, None).unwrap();
    sink.started().unwrap();
    sink.stdout(b"out\n").unwrap();
    for piece in events {
        sink.events(piece.as_bytes()).unwrap();
    }
    sink.stderr(b"err\n").unwrap();
    let part = sink
        .finish_vm(&VmRun {
            main: phase(outcome, 2, 9, ""),
            accel: Accel::Tcg,
            dump: None,
            cores: Vec::new(),
            console_log: "/log/console.log".into(),
            crash: None,
        })
        .unwrap()
        .0;
    assert_eq!(part.evidence.output_tail, "out\nerr");
    drop(sender);
    let told = receiver.iter().map(|message| {
        assert_eq!((message.run, message.shard), (3, 1));
        message.kind
    });
    (part, told.collect())
}

#[test]
fn a_good_run() {
    let (part, told) = run(&[EVENTS, END], VmOutcome::Exited(0));
    assert_eq!(part.outcome, RunOutcome::Passed);
    assert_eq!(part.acceleration.as_deref(), Some("emulation (TCG)"));
    assert_eq!(part.seconds.boot, Some(2.0));
    assert_eq!(part.seconds.tests, Some(1.0));
    assert_eq!(part.seconds.total, Some(9.0));
    assert_eq!(
        part.evidence.logs,
        [("output", "output.log"), ("console", "console.log")]
            .map(|(what, path)| (what.to_owned(), PathBuf::from(path)))
    );
    assert!(matches!(told[0], RunEventKind::CommandStarted));
    assert_eq!(told.len(), 7);
}

#[test]
fn an_expected_failure_does_not_fail_the_run_and_a_pass_in_its_place_does() {
    for (outcome, status, expected) in [("failed", 1, "passed"), ("passed", 0, "tests failed")] {
        let events = format!(
            r#"{{"v":1,"event":"run-started","tests":1}}
{{"v":1,"event":"test-finished","id":"t.A.known","outcome":"{outcome}","seconds":0}}
{{"v":1,"event":"run-finished","counts":{{"{outcome}":1}},"seconds":0}}
"#
        );
        let (part, told) = run(&[&events], VmOutcome::Exited(status));
        assert_eq!(part.outcome.name(), expected);
        assert!(matches!(
            &told[2],
            RunEventKind::Test(TestEvent::TestFinished(test)) if test.expected.is_some()
        ));
    }
}

#[test]
fn outcomes_of_the_vm_name_the_running_test() {
    for (outcome, status, said) in [
        (VmOutcome::Exited(0), 1, "runner died"),
        (VmOutcome::Exited(139), 1, "runner died"),
        (VmOutcome::InitFailed("no python".to_owned()), 4, "lost"),
        (VmOutcome::Lost("QEMU: killed".to_owned()), 4, "lost"),
        (VmOutcome::Panicked("BUG".to_owned()), 4, "panicked"),
        (
            VmOutcome::Stuck(VmPhase::Command, "idle".to_owned()),
            4,
            "stuck",
        ),
    ] {
        let (part, _) = run(&[EVENTS], outcome);
        assert_eq!(part.outcome.exit_status(), status);
        assert_eq!(part.outcome.name(), said);
        assert_eq!(part.outcome.running(), Some("t.A.two"));
    }
}

#[test]
fn a_lost_vm_is_never_a_passed_run() {
    let (part, _) = run(&[EVENTS, END], VmOutcome::Lost("x".to_owned()));
    assert_eq!(part.outcome.exit_status(), 4);
}

#[test]
fn a_cut_line_is_counted() {
    let (part, _) = run(&[EVENTS, &END[..30]], VmOutcome::Exited(0));
    assert_eq!(part.tally.garbage, 1);
    assert_eq!(part.outcome.name(), "runner died");
}

#[test]
fn a_session_that_is_over_takes_nothing() {
    let (sender, _receiver) = std::sync::mpsc::sync_channel(1);
    let stop = AtomicBool::new(true);
    let outlet = Outlet::new(&sender, 0, 0, &stop);
    assert!(outlet.send(RunEventKind::CommandStarted).is_err());
    drop(_receiver);
    stop.store(false, Ordering::SeqCst);
    assert!(outlet.send(RunEventKind::CommandStarted).is_err());
}

#[test]
fn the_worst_part_decides_and_all_tests_count() {
    let (passed, _) = run(&[EVENTS, END], VmOutcome::Exited(0));
    let (died, _) = run(&[EVENTS], VmOutcome::Exited(139));
    let (panicked, _) = run(&[EVENTS], VmOutcome::Panicked("BUG".to_owned()));
    let none = RunRecord::new(name(), RunOutcome::NoTests);
    let outcome = |parts: &[&RunRecord]| {
        let parts = (1..).zip(parts.iter().map(|part| (*part).clone()));
        merge(1.5, parts.collect()).unwrap()
    };
    let of = |all, tests, part: &RunRecord| {
        let mut part = part.clone();
        (part.tally.all, part.tally.tests) = (Some(all), Some(tests));
        part
    };
    let (half, none) = (of(4, 2, &passed), of(4, 0, &none));
    let record = outcome(&[&half, &none, &half]);
    assert_eq!(record.outcome, RunOutcome::Passed);
    assert_eq!(record.tally.tests, Some(4));
    assert_eq!(record.tally.counts.finished(), 4);
    assert_eq!(record.seconds.prepare, Some(1.5));
    let logs = record.evidence.logs.iter().map(|(what, _)| what.as_str());
    assert_eq!(
        logs.collect::<Vec<_>>(),
        ["output 1", "console 1", "output 3", "console 3"]
    );
    let record = outcome(&[&passed, &died, &panicked]);
    assert_eq!(record.outcome.name(), "panicked");
    assert_eq!(record.tally.finished, None);
    let empty = of(0, 0, &none);
    assert_eq!(outcome(&[&empty, &empty]).outcome, RunOutcome::NoTests);
    for (parts, says) in [
        ([&half, &none], "the VMs shared out 2 of 4 tests"),
        ([&half, &of(5, 2, &passed)], "did not find the same number"),
        ([&half, &passed], "did not find the same number"),
    ] {
        let record = outcome(&parts);
        assert_eq!(record.outcome.name(), "runner died");
        assert!(record.outcome.detail().unwrap().contains(says));
    }
}

#[test]
fn what_comes_after_a_crash_is_another_part() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel(100);
    let stop = AtomicBool::new(false);
    let outlet = Outlet::new(&sender, 3, 1, &stop).with_crash(7);
    let name = name();
    let (main, after) = (
        directory.path().join("main"),
        directory.path().join("after"),
    );
    let crash = name.crash();
    let ledger = ledger();
    let judge = judge(&ledger);
    let run = |crash| VmRun {
        main: phase(VmOutcome::Exited(0), 2, 9, ""),
        accel: Accel::Tcg,
        dump: Some("/log/memory.dump".into()),
        cores: Vec::new(),
        console_log: "/log/console.log".into(),
        crash: Some(phase(crash, 4, 5, "tail")),
    };
    let sink = || {
        let crash = Some((&crash, after.clone()));
        let mut sink = SuiteSink::new(&name, outlet, judge, main.clone(), crash).unwrap();
        sink.events(EVENTS.as_bytes()).unwrap();
        sink.events(END.as_bytes()).unwrap();
        sink
    };
    let mut both = sink();
    both.crashing().unwrap();
    both.stdout(b"after").unwrap();
    both.events(EVENTS.as_bytes()).unwrap();
    let (before, then) = both
        .finish_vm(&run(VmOutcome::Lost("x".to_owned())))
        .unwrap();
    let then = then.unwrap();
    assert_eq!(before.outcome, RunOutcome::Passed);
    assert_eq!(before.seconds.boot, Some(2.0));
    assert_eq!(then.outcome.running(), Some("t.A.two"));
    assert_eq!(then.seconds.total, Some(5.0));
    assert_eq!(then.evidence.output_tail, "after");
    let logs = |part: &RunRecord| {
        part.evidence
            .logs
            .iter()
            .map(|(what, _)| what.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(logs(&before), ["output", "console"]);
    assert_eq!(logs(&then), ["output", "console", "dump"]);
    let told = receiver.try_iter().collect::<Vec<_>>();
    let begin = told.iter().position(|message| message.run == 7).unwrap();
    assert!(matches!(&told[begin].kind, RunEventKind::Started(name) if *name == crash));
    assert!(
        told[begin..]
            .iter()
            .all(|message| (message.run, message.shard) == (7, 0))
    );
    assert!(
        told[..begin]
            .iter()
            .all(|message| (message.run, message.shard) == (3, 1))
    );

    // A kernel that refuses does not come to the crash.
    let refused = run(VmOutcome::NotCrashed("no memory is reserved".to_owned()));
    let (before, then) = sink().finish_vm(&refused).unwrap();
    assert_eq!(before.outcome, RunOutcome::Passed);
    assert_eq!(then.unwrap().outcome.exit_status(), 3);
}

#[test]
fn complaints_belong_to_tests_and_fail_a_run_unless_they_are_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel(100);
    let stop = AtomicBool::new(false);
    let (ledger, name) = (ledger(), name());
    let complaint = |kind: &str, title: &str, time| Complaint {
        kind: kind.to_owned(),
        title: title.to_owned(),
        report: String::new(),
        test: None,
        allowed: None,
        time,
    };
    let run = |complaints: Vec<Complaint>, early: usize| {
        let outlet = Outlet::new(&sender, 3, 1, &stop);
        let log = directory.path().join("output.log");
        let mut sink = SuiteSink::new(&name, outlet, judge(&ledger), log, None).unwrap();
        for _ in 0..early {
            sink.complained().unwrap();
        }
        let timed = EVENTS.replace("\"seconds\":0.5}", "\"seconds\":0.5,\"kernel_time\":500}");
        sink.events(timed.as_bytes()).unwrap();
        for _ in early..complaints.len() {
            sink.complained().unwrap();
        }
        sink.events(END.as_bytes()).unwrap();
        let main = PhaseRun {
            complaints,
            ..phase(VmOutcome::Exited(0), 2, 9, "")
        };
        let run = VmRun {
            main,
            crash: None,
            accel: Accel::Tcg,
            console_log: "/log/console.log".into(),
            dump: None,
            cores: Vec::new(),
        };
        let record = sink.finish_vm(&run).unwrap().0;
        receiver.try_iter().count();
        record
    };
    let warning = complaint("WARNING", "WARNING: at m.c:1", Some(400));
    let record = run(
        vec![
            warning.clone(),
            warning.clone(),
            complaint("BUG", "BUG: x", Some(600)),
        ],
        1,
    );
    let tests = record.tally.complaints.iter().map(|c| c.test.as_deref());
    // Before all tests; by its time; by the test that ran.
    assert_eq!(
        tests.collect::<Vec<_>>(),
        [None, Some("t.A.one"), Some("t.A.two")]
    );
    assert_eq!(record.outcome.name(), "complained");
    assert_eq!(record.outcome.exit_status(), 1);
    let how = record.outcome.detail().unwrap();
    assert_eq!(how, "WARNING: at m.c:1 (and 2 more)");
    let allowed = complaint("WARNING", "WARNING: allowed", None);
    let stall = complaint(STALL, "rcu: INFO: stall", None);
    let record = run(vec![allowed, stall], 0);
    assert_eq!(record.outcome, RunOutcome::Passed);
    let why = record
        .tally
        .complaints
        .iter()
        .map(|c| c.allowed.clone().unwrap());
    let why = why.collect::<Vec<_>>();
    assert_eq!(why[0], "it is known");
    assert!(why[1].contains("emulated"), "{why:?}");
}
