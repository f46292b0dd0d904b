//! Suites whose VMs are played.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
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

/// What a VM gives whose events come in these pieces, and what is told about it.
fn run(events: &[&str], outcome: VmOutcome) -> (RunRecord, Vec<RunEventKind>) {
    let directory = tempfile::tempdir().unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel(100);
    let stop = AtomicBool::new(false);
    let outlet = Outlet::new(&sender, 3, 1, &stop);
    let name = name();
    let mark = |name: &RunName, test: &mut FinishedTest| {
        assert_eq!(name.arch, "x86_64");
        if test.id == "t.A.known" {
            test.expected = Some("known".to_owned());
        }
    };
    let log = directory.path().join("output.log");
    let mut sink = SuiteSink::new(&name, outlet, &mark, log, None).unwrap();
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
    let mark = |name: &RunName, test: &mut FinishedTest| {
        test.reason.clone_from(&name.phase);
    };
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
        let mut sink = SuiteSink::new(&name, outlet, &mark, main.clone(), crash).unwrap();
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
