//! What a person sees.

use expect_test::{Expect, expect};

use super::*;
use crate::base::color::Paint;
use crate::model::results::{Evidence, Phases, Results, RunRecord};
use crate::model::test_event::{Counts, Stage};
use crate::model::{test_event::FinishedTest, test_event::Tally, test_event::TestOutcome};
use crate::report::text::{conclusion, summary};

fn name(kernel: &str) -> RunName {
    RunName {
        kernel: kernel.to_owned(),
        arch: "x86_64".to_owned(),
        flavor: Some("default".to_owned()),
        phase: None,
    }
}

fn finished(id: &str, outcome: TestOutcome, reason: Option<&str>) -> TestEvent {
    TestEvent::TestFinished(FinishedTest {
        seconds: 0.25,
        reason: reason.map(ToOwned::to_owned),
        traceback: outcome.is_bad().then(|| {
            "Traceback (most recent call last):\n  File \"x.py\"\nE: \x1b[31mred\n".to_owned()
        }),
        ..FinishedTest::new(id, outcome)
    })
}

fn events() -> Vec<TestEvent> {
    vec![
        TestEvent::RunStarted {
            tests: 5,
            all: None,
        },
        TestEvent::TestStarted {
            id: "t.A.good".to_owned(),
        },
        finished("t.A.good", TestOutcome::Passed, None),
        TestEvent::TestStarted {
            id: "t.A.bad".to_owned(),
        },
        finished(
            "t.A.bad",
            TestOutcome::Failed,
            Some("AssertionError: 1 != 2\nmore"),
        ),
        finished(
            "t.B.left",
            TestOutcome::Skipped,
            Some("not running in kdump"),
        ),
        finished(
            "t.B.out",
            TestOutcome::Skipped,
            Some("not running in kdump"),
        ),
        TestEvent::TestStarted {
            id: "t.C.odd".to_owned(),
        },
    ]
}

fn record(kernel: &str, events: &[TestEvent], outcome: RunOutcome) -> RunRecord {
    let mut tally = Tally::default();
    for event in events {
        tally.push(event);
    }
    RunRecord {
        name: name(kernel),
        outcome,
        tally,
        seconds: Phases {
            boot: Some(1.94),
            total: Some(98.76),
            ..Phases::default()
        },
        acceleration: Some("KVM".to_owned()),
        root: None,
        retries: Vec::new(),
        evidence: Evidence {
            output_tail: "last words\n".to_owned(),
            console_tail: "[ 1.0] Kernel panic - not syncing\n".to_owned(),
            logs: vec![
                ("output".to_owned(), "output.log".into()),
                ("console".to_owned(), "console.log".into()),
            ],
            ..Evidence::default()
        },
    }
}

fn check(verbosity: Verbosity, runs: &[(RunRecord, Vec<TestEvent>)], expect: Expect) {
    let mut out = Vec::new();
    let plan = SessionPlan {
        runs: runs.len(),
        ..SessionPlan::default()
    };
    let look = ReportLook {
        folder: "log/run".into(),
        skips: verbosity >= Verbosity::Verbose,
        ..ReportLook::default()
    };
    let mut reporter = Reporter::new(&mut out, verbosity, None, plan, look);
    for (run, (record, events)) in runs.iter().enumerate() {
        let mut tell = |kind| {
            let shard = 0;
            reporter.event(&RunEvent { run, shard, kind }).unwrap();
        };
        tell(RunEventKind::Started(record.name.clone()));
        tell(RunEventKind::CommandStarted);
        for event in events {
            tell(RunEventKind::Test(event.clone()));
        }
        tell(RunEventKind::Finished(Box::new(record.clone())));
    }
    let records = runs.iter().map(|(r, _)| r.clone()).collect::<Vec<_>>();
    let end = SessionEnd {
        records,
        not_started: 0,
        results: Results::default(),
    };
    reporter.finish(&end).unwrap();
    expect.assert_eq(&String::from_utf8(out).unwrap());
}

fn mixed() -> Vec<(RunRecord, Vec<TestEvent>)> {
    let died = RunOutcome::RunnerDied {
        how: "ended by signal 11 (SIGSEGV) before the last test was done".to_owned(),
        running: Some("t.C.odd".to_owned()),
    };
    let unbuilt = RunRecord {
        outcome: RunOutcome::NotStarted {
            stage: Stage::Build,
            how: "no compiler".to_owned(),
        },
        tally: Tally::default(),
        seconds: Phases::default(),
        acceleration: None,
        root: None,
        evidence: Evidence::default(),
        ..record("5.4.*", &[], RunOutcome::NoTests)
    };
    let good = events()[..3].to_vec();
    vec![
        (
            record("6.1.192-vmtest1.1default", &events(), died),
            events(),
        ),
        (unbuilt, vec![]),
        (
            record("6.12.9-vmtest1.1default", &good, RunOutcome::Passed),
            good,
        ),
    ]
}

#[test]
fn normal_output() {
    check(
        Verbosity::Normal,
        &mixed(),
        expect![[r#"
            6.1.192-vmtest1.1default (x86_64): failed t.A.bad: AssertionError: 1 != 2
            6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done, while running t.C.odd; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM
            5.4.* (x86_64): build failed: no compiler
            6.12.9-vmtest1.1default (x86_64): passed; 1 run, 4 not run; 98.8 s (boot 1.9 s), KVM

            === 6.1.192-vmtest1.1default (x86_64): failed t.A.bad (0.250 s)
            Traceback (most recent call last):
              File "x.py"
            E: �[31mred

            === 6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done
            running then: t.C.odd
            --- end of the tests' output:
            last words
            ---
            output: log/run/output.log
            console: log/run/console.log

            === 5.4.* (x86_64): build failed: no compiler

            kernel                    outcome       run  passed  failed  skipped  not run    time
            6.1.192-vmtest1.1default  runner died     4       1       1        2        1  98.8 s
            5.4.*                     build failed
            6.12.9-vmtest1.1default   passed          1       1       0        0        4  98.8 s
            x86_64, KVM
            run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
        "#]],
    );
}

#[test]
fn verbose_output() {
    check(
        Verbosity::Verbose,
        &mixed(),
        expect![[r#"
                        passed     0.250 s  6.1.192-vmtest1.1default  t.A.good
                        failed     0.250 s  6.1.192-vmtest1.1default  t.A.bad: AssertionError: 1 != 2
                       skipped     0.250 s  6.1.192-vmtest1.1default  t.B.left: not running in kdump
                       skipped     0.250 s  6.1.192-vmtest1.1default  t.B.out: not running in kdump
            6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done, while running t.C.odd; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM
            5.4.* (x86_64): build failed: no compiler
                        passed     0.250 s  6.12.9-vmtest1.1default  t.A.good
            6.12.9-vmtest1.1default (x86_64): passed; 1 run, 4 not run; 98.8 s (boot 1.9 s), KVM

            === 6.1.192-vmtest1.1default (x86_64): failed t.A.bad (0.250 s)
            Traceback (most recent call last):
              File "x.py"
            E: �[31mred

            === 6.1.192-vmtest1.1default (x86_64): runner died: ended by signal 11 (SIGSEGV) before the last test was done
            running then: t.C.odd
            --- end of the tests' output:
            last words
            ---
            output: log/run/output.log
            console: log/run/console.log

            === 5.4.* (x86_64): build failed: no compiler

            === 6.1.192-vmtest1.1default (x86_64): skipped
                2  not running in kdump

            kernel                    outcome       run  passed  failed  skipped  not run    time
            6.1.192-vmtest1.1default  runner died     4       1       1        2        1  98.8 s
            5.4.*                     build failed
            6.12.9-vmtest1.1default   passed          1       1       0        0        4  98.8 s
            x86_64, KVM
            run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
        "#]],
    );
}

#[test]
fn quiet_prints_the_table_alone_when_all_is_well() {
    let passed = mixed().pop().unwrap();
    check(
        Verbosity::Quiet,
        &[passed],
        expect![[r#"
        kernel                   outcome  run  passed  failed  skipped  not run    time
        6.12.9-vmtest1.1default  passed     1       1       0        0        4  98.8 s
        x86_64, KVM
        run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
    "#]],
    );
}

#[test]
fn quiet_shows_what_went_wrong() {
    let mut events = events();
    events.pop();
    events.push(TestEvent::RunFinished {
        counts: Counts::default(),
        seconds: 1.0,
    });
    let failed = record("6.1.192", &events, RunOutcome::TestsFailed);
    check(
        Verbosity::Quiet,
        &[(failed, events)],
        expect![[r#"
            6.1.192 (x86_64): tests failed; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM

            === 6.1.192 (x86_64): failed t.A.bad (0.250 s)
            Traceback (most recent call last):
              File "x.py"
            E: �[31mred
            output: log/run/output.log
            console: log/run/console.log

            kernel   outcome       run  passed  failed  skipped  not run    time
            6.1.192  tests failed    4       1       1        2        1  98.8 s
            x86_64, KVM
            run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
        "#]],
    );
}

#[test]
fn a_kernel_that_panicked() {
    let outcome = RunOutcome::Panicked {
        how: "Kernel panic - not syncing: Fatal exception".to_owned(),
        running: Some("t.C.odd".to_owned()),
    };
    let panicked = record("6.1.192", &events(), outcome);
    check(
        Verbosity::Normal,
        &[(panicked, events())],
        expect![[r#"
            6.1.192 (x86_64): failed t.A.bad: AssertionError: 1 != 2
            6.1.192 (x86_64): panicked: Kernel panic - not syncing: Fatal exception, while running t.C.odd; 4 run, 1 failed, 2 skipped, 1 not run; 98.8 s (boot 1.9 s), KVM

            === 6.1.192 (x86_64): failed t.A.bad (0.250 s)
            Traceback (most recent call last):
              File "x.py"
            E: �[31mred

            === 6.1.192 (x86_64): panicked: Kernel panic - not syncing: Fatal exception
            running then: t.C.odd
            --- end of the tests' output:
            last words
            ---
            --- end of the console:
            [ 1.0] Kernel panic - not syncing
            ---
            output: log/run/output.log
            console: log/run/console.log

            kernel   outcome   run  passed  failed  skipped  not run    time
            6.1.192  panicked    4       1       1        2        1  98.8 s
            x86_64, KVM
            run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
        "#]],
    );
}

#[test]
fn the_live_line_is_short() {
    let mut part = Progress::default();
    for event in events() {
        part.push(&event);
    }
    let text = |parts: &[&Progress]| progress(parts.iter().copied());
    assert_eq!(text(&[&part]), "4 of 5, 1 failed, 2 skipped: C.odd");
    assert_eq!(
        text(&[&part, &part]),
        "8 of 10, 2 failed, 4 skipped: C.odd, C.odd"
    );
    assert_eq!(text(&[&Progress::default()]), "0");
}

#[test]
fn a_failure_on_several_kernels_has_one_traceback() {
    let failed = |kernel| record(kernel, &events()[..5], RunOutcome::TestsFailed);
    let records = [failed("6.1.192"), failed("6.12.9")];
    expect![[r#"

        === on 2 kernels: failed t.A.bad
        6.1.192 (x86_64): AssertionError: 1 != 2
        6.12.9 (x86_64): AssertionError: 1 != 2
        --- on the first of them:
        Traceback (most recent call last):
          File "x.py"
        E: �[31mred
    "#]]
    .assert_eq(&conclusion(
        &records.each_ref(),
        &ReportLook {
            folder: "log/run".into(),
            ..ReportLook::default()
        },
    ));
}

#[test]
fn forty_kernels_fit_a_screen() {
    let kernel = |n: u32, outcome| {
        let events = if n > 35 {
            events()
        } else {
            events()[..3].to_vec()
        };
        record(&format!("6.{n}.1-vmtest1.1default"), &events, outcome)
    };
    let records = (0..40)
        .map(|n| match n {
            7 => kernel(n, RunOutcome::NoTests),
            _ => kernel(n, RunOutcome::Passed),
        })
        .collect::<Vec<_>>();
    expect![[r#"
        kernel                       outcome       run  passed  failed  skipped  not run      time
        6.7.1-vmtest1.1default       no tests ran    1       1       0        0        4    98.8 s
        35 kernels, 6.0.1 to 6.35.1  passed          1       1       0        0        4  3456.6 s
        4 kernels, 6.36.1 to 6.39.1  passed          4       1       1        2        1   395.0 s
        x86_64, KVM
        run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
    "#]]
    .assert_eq(&summary(&records.iter().collect::<Vec<_>>(), Paint::default()));
}

#[test]
fn a_vm_that_is_started_again_is_told() {
    let mut out = Vec::new();
    let plan = SessionPlan {
        runs: 2,
        ..SessionPlan::default()
    };
    let mut reporter = Reporter::new(
        &mut out,
        Verbosity::Normal,
        None,
        plan,
        ReportLook::default(),
    );
    for kind in [
        RunEventKind::Started(name("6.1.192")),
        RunEventKind::Retried(RunOutcome::Lost {
            how: "QEMU ended\nmore".to_owned(),
            running: None,
        }),
    ] {
        let (run, shard) = (0, 0);
        reporter.event(&RunEvent { run, shard, kind }).unwrap();
    }
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "6.1.192 (x86_64): lost: QEMU ended; trying again\n"
    );
}

#[test]
fn what_is_left_is_estimated() {
    let plan = SessionPlan {
        runs: 3,
        seconds: vec![Some(100.0), Some(50.0), Some(50.0)],
        jobs: 2,
        ..SessionPlan::default()
    };
    let mut reporter = Reporter::new(
        Vec::new(),
        Verbosity::Normal,
        None,
        plan,
        ReportLook::default(),
    );
    let near = |left: Option<f64>, seconds: f64| (left.unwrap() - seconds).abs() < 5.0;
    assert!(near(reporter.left(), 100.0));
    reporter.ended = vec![true, true, false];
    assert!(near(reporter.left(), 50.0));
    reporter.ended = vec![true; 3];
    assert_eq!(reporter.left(), None);
    reporter.ended = vec![false; 3];
    reporter.plan.seconds[1] = None;
    assert_eq!(reporter.left(), None);
    for (seconds, text) in [(3.0, "3 s"), (130.0, "2 min"), (11_000.0, "3 h 3 min")] {
        assert_eq!(minutes(seconds), text);
    }
}

#[test]
fn in_a_job_of_github_details_are_folded_and_guests_give_no_commands() {
    let mut out = Vec::new();
    let plan = SessionPlan {
        runs: 1,
        ..SessionPlan::default()
    };
    let look = ReportLook {
        in_job: true,
        ..ReportLook::default()
    };
    let mut reporter = Reporter::new(&mut out, Verbosity::Normal, None, plan, look);
    let outcome = RunOutcome::RunnerDied {
        how: "x".to_owned(),
        running: None,
    };
    let mut hostile = record("6.1.192", &events()[..5], outcome);
    hostile.evidence.output_tail = "::error::mine".to_owned();
    let end = SessionEnd {
        records: vec![hostile],
        not_started: 0,
        results: Results::default(),
    };
    reporter.finish(&end).unwrap();
    let text = String::from_utf8(out).unwrap();
    expect![[r#"
        ::group::6.1.192 (x86_64): failed t.A.bad (0.250 s)
        Traceback (most recent call last):
          File "x.py"
        E: �[31mred
        ::endgroup::
        ::group::6.1.192 (x86_64): runner died: x
        last test finished: t.A.bad
        --- end of the tests' output:
        \::error::mine
        ---
        output: output.log
        console: console.log
        ::endgroup::
        kernel   outcome      run  passed  failed  skipped  not run    time
        6.1.192  runner died    2       1       1        0        3  98.8 s
        x86_64, KVM
        run = passed + failed + skipped; failed: a failure or an error that nothing expects; not run: found, but the run did not get to their end
    "#]]
    .assert_eq(&text);
}
