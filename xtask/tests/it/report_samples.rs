//! Made-up sessions for reports: like one of drgn's, large, hopeless and hostile.

use xtask::internals::{Complaint, Expectation};
use xtask::internals::{Counts, FinishedTest, RunOutcome, Stage, Tally, TestEvent, TestOutcome};
use xtask::internals::{Evidence, Phases, Results, RunName, RunRecord, Session};

fn session() -> Session {
    Session {
        project: "drgn".to_owned(),
        started: "2026-11-25T16:21:20Z".to_owned(),
        kernels: vec!["5.*".to_owned(), "6.*".to_owned(), "7.3.*".to_owned()],
        ..Session::default()
    }
}

/// A finished test.
pub fn finished(id: impl Into<String>, outcome: TestOutcome, seconds: f64) -> FinishedTest {
    FinishedTest {
        seconds,
        ..FinishedTest::new(id, outcome)
    }
}

/// A test that failed in this way.
pub fn failed(id: impl Into<String>, seconds: f64, reason: &str, at: &str) -> FinishedTest {
    let id = id.into();
    let method = id.rsplit('.').next().unwrap_or_default();
    FinishedTest {
        traceback: Some(format!(
            "Traceback (most recent call last):\n  File \"{at}\", line 123, in {method}\n    \
             self.assertEqual(actual, expected)\n    ~~~~~~~~~~~~~~~~^^^^^^^^^^^^^^^^^^\n{reason}\n"
        )),
        reason: Some(reason.to_owned()),
        ..finished(id, TestOutcome::Failed, seconds)
    }
}

/// A test that was skipped.
pub fn skipped(id: impl Into<String>, reason: &str) -> FinishedTest {
    FinishedTest {
        reason: Some(reason.to_owned()),
        ..finished(id, TestOutcome::Skipped, 0.0)
    }
}

/// A run with these tests; what `cut` says, if anything, ended it before the last.
pub fn run(
    release: &str,
    flavor: &str,
    tests: Vec<FinishedTest>,
    cut: Option<RunOutcome>,
) -> RunRecord {
    let mut tally = Tally::default();
    let unrun = if cut.is_some() { 40 } else { 0 };
    tally.push(&TestEvent::RunStarted {
        all: None,
        tests: tests.len() as u64 + unrun,
    });
    let mut counts = Counts::default();
    let mut seconds = 0.0;
    for test in tests {
        counts.add(test.outcome);
        seconds += test.seconds;
        tally.push(&TestEvent::TestFinished(test));
    }
    let outcome = cut.unwrap_or_else(|| {
        tally.push(&TestEvent::RunFinished { counts, seconds });
        match tally.bad().next() {
            Some(_) => RunOutcome::TestsFailed,
            None => RunOutcome::Passed,
        }
    });
    RunRecord {
        name: RunName {
            kernel: release.to_owned(),
            arch: "x86_64".to_owned(),
            flavor: Some(flavor.to_owned()),
            phase: None,
        },
        outcome,
        tally,
        seconds: Phases {
            prepare: Some(1.5),
            boot: Some(2.75),
            tests: Some(seconds),
            total: Some(seconds + 4.0),
            ..Phases::default()
        },
        acceleration: Some("KVM".to_owned()),
        root: None,
        retries: Vec::new(),
        evidence: Evidence::default(),
    }
}

/// The run with a complaint of its kernel.
pub fn complains(mut run: RunRecord, title: &str, test: &str, allowed: Option<&str>) -> RunRecord {
    let complaint = Complaint {
        kind: title.split(':').next().unwrap_or_default().to_owned(),
        title: title.to_owned(),
        report: format!(
            "{title}\nCall Trace:\n <TASK>\n{}",
            " f+0x1/0x2\n".repeat(50)
        ),
        test: Some(test.to_owned()),
        allowed: allowed.map(str::to_owned),
        time: None,
    };
    run.tally.push(&TestEvent::KernelComplained(complaint));
    run.outcome = run.tally.with_complaints(run.outcome);
    run
}

const OOPS: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000008
#PF: supervisor read access in kernel mode
Oops: 0000 [#1] SMP NOPTI
CPU: 1 PID: 812 Comm: python3 Not tainted 6.9.12-vmtest1.1default #1
RIP: 0010:bpf_iter_task_next+0x4d/0x90
Call Trace:
 <TASK>
 bpf_seq_read+0x10e/0x490
 vfs_read+0xa2/0x330
 ksys_read+0x5f/0xe0
 </TASK>
";

/// A session like one of drgn's, with everything in it that a report tells.
pub fn realistic() -> Results {
    const MODULES: [(&str, &str); 8] = [
        ("tests.test_language_c", "TestPrettyPrintObject"),
        ("tests.test_dwarf", "TestTypes"),
        ("tests.test_symbol", "TestElfSymbol"),
        ("tests.linux_kernel.helpers.test_bpf", "TestBpf"),
        ("tests.linux_kernel.helpers.test_mm", "TestMm"),
        ("tests.linux_kernel.helpers.test_slab", "TestSlab"),
        ("tests.linux_kernel.test_stack_trace", "TestStackTrace"),
        ("tests.linux_kernel.bpf.test_iter", "TestBpfIterators"),
    ];
    let kernels = [
        ("4.9.337", "default"),
        ("4.19.325", "default"),
        ("5.4.302", "default"),
        ("5.10.248", "default"),
        ("5.15.198", "default"),
        ("6.1.192", "tiny"),
        ("6.1.192", "alternative"),
        ("6.1.192", "default"),
        ("6.6.121", "default"),
        ("6.9.12", "default"),
        ("6.12.107", "default"),
        ("6.18.9", "default"),
        ("7.3.4", "default"),
    ];
    let expected = "prints the raw pointer until drgn 0.3.1, see its issue 412";
    let mut runs = Vec::new();
    for (column, (version, flavor)) in kernels.into_iter().enumerate() {
        let mut tests = Vec::new();
        for (number, (module, class)) in MODULES.into_iter().enumerate() {
            for index in 0..40 {
                let id = format!("{module}.{class}.test_{:02}", index);
                let seconds = f64::from(index % 7) * 0.05 + 0.01;
                tests.push(match (number, index) {
                    (3, 0..=2) if column >= 10 => failed(
                        id,
                        seconds,
                        "AttributeError: 'struct bpf_prog' has no member 'aux_old'",
                        "/src/drgn/drgn/helpers/linux/bpf.py",
                    ),
                    (4, 3) if flavor == "tiny" => failed(
                        id,
                        seconds,
                        "AssertionError: 4096 != 16384",
                        "/src/drgn/tests/linux_kernel/helpers/test_mm.py",
                    ),
                    (5, 4..=20) if column < 4 => skipped(id, "kernel does not have SLUB"),
                    (6, 5) => FinishedTest {
                        seconds: 3.2 + f64::from(index),
                        ..finished(id, TestOutcome::Passed, 0.0)
                    },
                    (6, 6) if matches!(column, 3 | 8) => failed(
                        id,
                        1.25,
                        "AssertionError: 'schedule' not found in ['__switch_to']",
                        "/src/drgn/tests/linux_kernel/test_stack_trace.py",
                    ),
                    (6, 8..=21) => skipped(id, "not running in kdump"),
                    (7, 0) if column < 6 => FinishedTest {
                        expected: Some(expected.to_owned()),
                        ..failed(id, 0.1, "AssertionError: 1 != 2", "/src/drgn/tests/x.py")
                    },
                    (2, 9) => finished(id, TestOutcome::ExpectedFailure, 0.02),
                    (0, 7) => failed(
                        id,
                        0.02,
                        "AssertionError: '(char)97' != \"(char)'a'\"",
                        "/src/drgn/tests/test_language_c.py",
                    ),
                    _ => finished(id, TestOutcome::Passed, seconds),
                });
            }
        }
        let release = format!(
            "{version}-vmtest1.{}{flavor}",
            u8::from(flavor == "default")
        );
        runs.push(match column {
            9 => {
                tests.truncate(301);
                let mut run = run(
                    &release,
                    flavor,
                    tests,
                    Some(RunOutcome::Panicked {
                        how: "BUG: kernel NULL pointer dereference, address: 0000000000000008"
                            .to_owned(),
                        running: Some(
                            "tests.linux_kernel.bpf.test_iter.TestBpfIterators.test_21".to_owned(),
                        ),
                    }),
                );
                run.evidence = Evidence {
                    trouble: OOPS.to_owned(),
                    output_tail: "test_19 (tests.linux_kernel.bpf.test_iter) ... ok\n".repeat(12),
                    console_tail: format!("{OOPS}Kernel panic - not syncing: Fatal exception\n"),
                    logs: vec![(
                        "console".to_owned(),
                        format!("{release}/console.log").into(),
                    )],
                    cores: Vec::new(),
                };
                run
            }
            11 => RunRecord {
                seconds: Phases {
                    prepare: Some(40.0),
                    ..Phases::default()
                },
                ..run(
                    &release,
                    flavor,
                    Vec::new(),
                    Some(RunOutcome::NotStarted {
                        stage: Stage::Setup,
                        how: "cannot build the test module: make ended with status 2".to_owned(),
                    }),
                )
            },
            4 => RunRecord {
                retries: vec![RunOutcome::Lost {
                    how: "QEMU ended with signal 9 (SIGKILL)".to_owned(),
                    running: None,
                }],
                ..run(&release, flavor, tests, None)
            },
            10 | 12 => {
                let title = format!("WARNING: CPU: {column} PID: 81{column} at net/core/dev.c:12");
                let run = run(&release, flavor, tests, None);
                let run = complains(run, &title, "tests.test_dwarf.TestTypes.test_03", None);
                complains(
                    run,
                    "UBSAN: shift-out-of-bounds in a.c:1:2",
                    "",
                    Some("harmless"),
                )
            }
            _ => run(&release, flavor, tests, None),
        });
    }
    runs[11].tally = Tally::default();
    Results {
        session: Session {
            expectations: vec![Expectation {
                test: "tests.linux_kernel.bpf.*.test_00".to_owned(),
                complaint: false,
                kernels: Some("<6.6".to_owned()),
                flavor: None,
                arch: None,
                reason: expected.to_owned(),
                until: Some("2027-03-01".to_owned()),
            }],
            ..session()
        },
        runs,
        findings: vec!["[[expect]] \"tests.gone.*\" matches no test".to_owned()],
        finished: true,
    }
}

/// Forty kernels and a thousand tests, of which 300 are not the same everywhere.
pub fn large() -> Results {
    let runs = (0..40_u32).map(|column| {
        let test = |number: u32| {
            let id = format!(
                "tests.linux_kernel.helpers.test_{:02}.TestHelpers{}.test_number_{number}",
                number % 23,
                number % 5
            );
            let seconds = f64::from(number % 11) * 0.01;
            let boundary = number % 38 + 1;
            match number {
                0..100 if column >= boundary => {
                    let reason = format!("AssertionError: {number} != {}", number + column / 10);
                    failed(id, seconds, &reason, "/src/drgn/tests/test_large.py")
                }
                100..200 if column < boundary => skipped(id, "needs a newer kernel"),
                200..250 if (column * 7 + number).is_multiple_of(5) => failed(
                    id,
                    seconds,
                    "AssertionError: now and then",
                    "/src/drgn/tests/x.py",
                ),
                250..300 if column < 20 => finished(id, TestOutcome::ExpectedFailure, seconds),
                300..314 => skipped(id, "not running in kdump"),
                _ => finished(id, TestOutcome::Passed, seconds),
            }
        };
        let tests = (0..1000).map(test).collect();
        let release = format!(
            "{}.{}.{}-vmtest1.1default",
            5 + column / 20,
            column % 20,
            column
        );
        run(&release, "default", tests, None)
    });
    Results {
        session: session(),
        runs: runs.collect(),
        findings: Vec::new(),
        finished: true,
    }
}

/// As many tests on as many kernels, all of which fail, each in a way of its own.
pub fn worst() -> Results {
    let runs = (0..40_u32).map(|column| {
        let test = |number: u32| {
            let id = format!("tests.test_{}.TestAll.test_{number}", number % 31);
            if (number + column).is_multiple_of(13) || number >> (column % 10) & 1 == 1 {
                return skipped(id, &format!("reason {} of many", number % 50));
            }
            let reason = format!(
                "AssertionError: <{number}> & <{column}>\n{}",
                "<\0>\n".repeat(200)
            );
            failed(id, 0.5, &reason, "/src/tests/test_all.py")
        };
        let tests = (0..1000).map(test).collect();
        let mut run = run(&format!("6.{column}.1"), "default", tests, None);
        let lines = "[    1.000000] <a & b>\x1b[0m\n".repeat(2000);
        run.evidence = Evidence {
            trouble: format!("{column}\n{lines}"),
            output_tail: lines.clone(),
            console_tail: lines,
            logs: Vec::new(),
            cores: Vec::new(),
        };
        (0..100).fold(run, |run, number| {
            let title = format!("BUG: <{}>", "x".repeat(10 * number));
            complains(run, &title, "a.b", None)
        })
    });
    Results {
        session: session(),
        runs: runs.collect(),
        findings: Vec::new(),
        finished: true,
    }
}

const HOSTILE: &str = "</code></pre></title></style><script>alert(1)</script><img src=x onerror=\"alert(1)\"> \
     &lt; ' \" \0\x1b[31m\r\n\u{202e}gnp.exe\u{2066}\u{200b}\u{85}\u{feff} --> ]]> {{x}} ${x}";

/// A guest that wants to get out of the page, by every string that it can choose.
pub fn hostile() -> Results {
    let text = || HOSTILE.to_owned();
    let runs = [
        TestOutcome::Failed,
        TestOutcome::Skipped,
        TestOutcome::Passed,
    ]
    .map(|outcome| {
        let test = |id: &str, expected: bool| FinishedTest {
            reason: Some(text()),
            traceback: Some(text()),
            expected: expected.then(text),
            ..finished(format!("{id}.{HOSTILE}"), outcome, 0.5)
        };
        let release = format!("6.{}.1-{HOSTILE}", outcome as u32);
        let tests = vec![
            test("a.B", false),
            test("a.B.c", true),
            finished(HOSTILE, TestOutcome::Passed, f64::MAX),
            skipped("a.b.C.always", HOSTILE),
        ];
        let mut run = run(
            &release,
            HOSTILE,
            tests,
            Some(RunOutcome::Stuck {
                phase: text(),
                how: text(),
                running: Some(format!("running.{HOSTILE}")),
            }),
        );
        run.name.arch = text();
        run.acceleration = Some(text());
        run.tally.garbage = 7;
        run.tally.last = Some(text());
        run.retries = vec![run.outcome.clone()];
        run.evidence = Evidence {
            trouble: text(),
            output_tail: text(),
            console_tail: text(),
            logs: vec![
                (text(), HOSTILE.into()),
                (text(), "javascript:alert(1)".into()),
                (text(), "/etc/passwd".into()),
            ],
            cores: vec![HOSTILE.into()],
        };
        let run = complains(run, HOSTILE, HOSTILE, None);
        complains(run, HOSTILE, HOSTILE, Some(HOSTILE))
    });
    Results {
        session: Session {
            project: text(),
            started: text(),
            kernels: vec![text()],
            partition: Some((1, 2)),
            filtered: true,
            expectations: vec![Expectation {
                test: text(),
                complaint: false,
                kernels: Some(text()),
                flavor: Some(text()),
                arch: Some(text()),
                reason: text(),
                until: Some(text()),
            }],
        },
        runs: runs.to_vec(),
        findings: vec![text()],
        finished: false,
    }
}
