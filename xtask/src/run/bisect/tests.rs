//! Searches: every list of up to twelve kernels, every change, every kernel that cannot
//! be tested.

use super::*;
use crate::model::arch;
use crate::model::complaint::Complaint;
use crate::model::results::RunName;
use crate::model::test_event::{FinishedTest, Stage, Tally, TestEvent};

/// Runs a search in a world; the last step and the runs in their order.
fn play(kernels: usize, verify: bool, world: impl Fn(usize) -> Verdict) -> (Step, Vec<usize>) {
    let mut bisection = Bisection::new(kernels).verify(verify);
    let mut runs = Vec::new();
    let last = search(&mut bisection, |kernel| {
        assert!(
            kernel < kernels && !runs.contains(&kernel),
            "{kernel}: {runs:?}"
        );
        runs.push(kernel);
        Ok::<_, ()>(world(kernel))
    });
    (last.unwrap(), runs)
}

/// The pairs of an old and a new behaviour.
const CHANGES: [(Verdict, Verdict); 4] = [
    (Verdict::Passed, Verdict::Bad),
    (Verdict::Bad, Verdict::Passed),
    (Verdict::Skipped, Verdict::Passed),
    (Verdict::Bad, Verdict::Skipped),
];

/// The least number that 2 must be raised to for at least so many.
fn log2(number: usize) -> usize {
    number.next_power_of_two().trailing_zeros() as usize
}

#[test]
fn five_kernels_take_three_runs() {
    for (old, new) in CHANGES {
        for change in 1..5 {
            let world = |kernel| if kernel < change { old } else { new };
            let (last, runs) = play(5, false, world);
            let found = Step::Found {
                last_old: change - 1,
                first_new: change,
            };
            assert_eq!(last, found);
            assert!(runs.len() <= 3, "{runs:?}");
        }
    }
}

#[test]
fn every_change_is_found() {
    for kernels in 2..=12 {
        for change in 1..kernels {
            for verify in [false, true] {
                for (old, new) in CHANGES {
                    let world = |kernel| if kernel < change { old } else { new };
                    let (last, runs) = play(kernels, verify, world);
                    let found = Step::Found {
                        last_old: change - 1,
                        first_new: change,
                    };
                    assert_eq!(last, found, "{kernels} kernels");
                    // Both sides of the change were run, but for the oldest kernel.
                    assert!(runs.contains(&change));
                    let sure = verify || change > 1 || kernels == 2;
                    assert_eq!(runs.contains(&(change - 1)), sure, "{runs:?}");
                    let most = 1 + log2(kernels - 1) + usize::from(verify || kernels == 2);
                    assert!(runs.len() <= most, "{kernels}, {change}: {runs:?}");
                }
            }
        }
    }
}

#[test]
fn a_test_that_never_changed_is_seen_when_it_is_verified() {
    for kernels in 0..=12 {
        for verdict in [Verdict::Passed, Verdict::Bad, Verdict::Skipped] {
            let (last, runs) = play(kernels, true, |_| verdict);
            match kernels {
                0 => assert!(matches!(last, Step::Unclear { .. })),
                _ => assert_eq!(last, Step::Same),
            }
            assert!(runs.len() <= 2 + log2(kernels.max(2) - 1), "{runs:?}");
            let (last, runs) = play(kernels, false, |_| verdict);
            if kernels > 2 {
                // Taken on trust: the oldest kernel was not run.
                let found = Step::Found {
                    last_old: 0,
                    first_new: 1,
                };
                assert_eq!(last, found);
                assert!(!runs.contains(&0));
            }
        }
    }
}

#[test]
fn kernels_that_cannot_be_tested_are_passed_over() {
    for kernels in 1..=12 {
        for change in 1..=kernels {
            for skipped in 0..kernels {
                for verify in [false, true] {
                    check_skip(kernels, change, &[skipped], verify);
                    for other in 0..skipped {
                        check_skip(kernels, change, &[other, skipped], verify);
                    }
                }
            }
        }
    }
}

/// A world with one change (none if `change` is `kernels`) and kernels that cannot be
/// tested, against what can be known at best.
fn check_skip(kernels: usize, change: usize, skipped: &[usize], verify: bool) {
    let world = |kernel: usize| match (skipped.contains(&kernel), kernel < change) {
        (true, _) => Verdict::Untestable,
        (_, true) => Verdict::Passed,
        (_, false) => Verdict::Bad,
    };
    let (last, runs) = play(kernels, verify, world);
    let context = format!("{kernels}, {change}, {skipped:?}, {verify}: {runs:?}");
    let testable = (0..kernels).filter(|kernel| !skipped.contains(kernel));
    let testable = testable.collect::<Vec<_>>();
    let Some(newest) = testable.last() else {
        let nothing = Step::Unclear {
            last_old: None,
            first_new: None,
        };
        assert_eq!(last, nothing, "{context}");
        return;
    };
    let new = world(*newest);
    let old = testable
        .iter()
        .copied()
        .rfind(|kernel| world(*kernel) != new);
    let lowest_new = testable
        .iter()
        .copied()
        .find(|kernel| old.is_none_or(|old| *kernel > old));
    let first_new = lowest_new.unwrap();
    let expected = match old {
        Some(old) if old + 1 == first_new => Step::Found {
            last_old: old,
            first_new,
        },
        old if old.is_some() || skipped.iter().any(|kernel| *kernel < first_new) => Step::Unclear {
            last_old: old,
            first_new: Some(first_new),
        },
        _ => Step::Same,
    };
    // Without verifying, the oldest kernel not run may stand for the old one.
    let assumed = (0..kernels).find(|kernel| !runs.contains(kernel));
    let trusted = assumed.is_some_and(|assumed| {
        let between = assumed + 1..first_new;
        !verify
            && (old.is_none_or(|old| old <= assumed))
            && between.clone().all(|kernel| skipped.contains(&kernel))
            && match last {
                Step::Found {
                    last_old,
                    first_new: found,
                } => last_old == assumed && found == assumed + 1,
                Step::Unclear {
                    last_old,
                    first_new: found,
                } => last_old == Some(assumed) && found.is_some_and(|found| found > assumed + 1),
                Step::Same | Step::Run(_) => false,
            }
    });
    assert!(
        last == expected || trusted,
        "{context}: {last:?} is not {expected:?}"
    );
    let most = 2 + log2(kernels) + skipped.len();
    assert!(runs.len() <= most, "{context}");
}

#[test]
fn what_is_known_is_not_run_again() {
    for kernels in 2..=12 {
        for change in 1..kernels {
            let world = |kernel| {
                if kernel < change {
                    Verdict::Passed
                } else {
                    Verdict::Bad
                }
            };
            let mut bisection = Bisection::new(kernels);
            bisection.answer(0, world(0));
            bisection.answer(kernels - 1, world(kernels - 1));
            // Answers for kernels that are not there are of no consequence.
            bisection.answer(kernels, Verdict::Skipped);
            let mut runs = 0;
            let last = search(&mut bisection, |kernel| {
                assert!((1..kernels - 1).contains(&kernel));
                runs += 1;
                Ok::<_, ()>(world(kernel))
            });
            let found = Step::Found {
                last_old: change - 1,
                first_new: change,
            };
            assert_eq!(last, Ok(found));
            assert!(!bisection.is_assumed(change - 1));
            assert!(runs <= log2(kernels - 1), "{kernels}: {runs}");
        }
    }
}

#[test]
fn of_several_changes_one_is_found() {
    // Every world of seven kernels with three behaviours.
    let behaviours = [Verdict::Passed, Verdict::Bad, Verdict::Skipped];
    for number in 0..3_usize.pow(7) {
        let world = |kernel: usize| behaviours[number / 3_usize.pow(kernel as u32) % 3];
        match play(7, true, world).0 {
            Step::Found {
                last_old,
                first_new,
            } => {
                assert_eq!(last_old + 1, first_new);
                assert_ne!(world(last_old), world(first_new), "{number}");
                assert_eq!(world(first_new), world(6), "{number}");
            }
            // Behaviours that come and go may be missed between two that are alike.
            Step::Same => assert_eq!(world(0), world(6), "{number}"),
            step => panic!("{number}: {step:?}"),
        }
    }
}

#[test]
fn an_error_of_a_run_ends_the_search() {
    let mut bisection = Bisection::new(5);
    let result = search(&mut bisection, |kernel| match kernel {
        4 => Ok(Verdict::Bad),
        kernel => Err(kernel),
    });
    assert_eq!(result, Err(2));
}

fn record(outcome: RunOutcome, tests: &[(&str, TestOutcome)]) -> RunRecord {
    let mut tally = Tally::default();
    for (id, outcome) in tests {
        tally.push(&TestEvent::TestFinished(FinishedTest::new(*id, *outcome)));
    }
    RunRecord {
        name: RunName {
            kernel: "6.1.192-vmtest1.1default".to_owned(),
            arch: "x86_64".to_owned(),
            flavor: Some("default".to_owned()),
            phase: None,
        },
        outcome,
        tally,
        seconds: Default::default(),
        acceleration: None,
        root: None,
        retries: vec![],
        evidence: Default::default(),
    }
}

#[test]
fn verdicts_of_runs() {
    use TestOutcome::{Error, ExpectedFailure, Failed, Passed, Skipped, UnexpectedSuccess};
    let of = |outcomes: &[TestOutcome]| {
        let tests = outcomes.iter().map(|outcome| ("t.A.a", *outcome));
        Verdict::of(&record(RunOutcome::TestsFailed, &tests.collect::<Vec<_>>()))
    };
    assert_eq!(of(&[Passed]), Verdict::Passed);
    assert_eq!(of(&[ExpectedFailure]), Verdict::Passed);
    assert_eq!(of(&[Skipped]), Verdict::Skipped);
    assert_eq!(of(&[Skipped, Passed, Skipped]), Verdict::Passed);
    for bad in [Failed, Error, UnexpectedSuccess] {
        assert_eq!(of(&[Passed, bad, Skipped]), Verdict::Bad);
    }
    assert_eq!(of(&[]), Verdict::Untestable);

    let how = String::new;
    let running = || Some("t.A.a".to_owned());
    let stuck = |phase: &str, running| RunOutcome::Stuck {
        phase: phase.to_owned(),
        how: how(),
        running,
    };
    for (outcome, expected) in [
        (RunOutcome::NoTests, Verdict::Untestable),
        (
            RunOutcome::Lost {
                how: how(),
                running: running(),
            },
            Verdict::Untestable,
        ),
        (
            RunOutcome::RunnerDied {
                how: how(),
                running: None,
            },
            Verdict::Bad,
        ),
        (
            RunOutcome::Panicked {
                how: how(),
                running: running(),
            },
            Verdict::Bad,
        ),
        (
            RunOutcome::Panicked {
                how: how(),
                running: None,
            },
            Verdict::Untestable,
        ),
        (stuck("command", running()), Verdict::Bad),
        (stuck("boot", None), Verdict::Untestable),
        (
            RunOutcome::NotStarted {
                stage: Stage::Fetch,
                how: how(),
            },
            Verdict::Untestable,
        ),
    ] {
        let record = record(outcome, &[("t.A.b", Passed)]);
        assert_eq!(Verdict::of(&record), expected, "{:?}", record.outcome);
    }
}

#[test]
fn verdicts_within_longer_runs() {
    use TestOutcome::{Failed, Passed, Skipped};
    let tests = [
        ("t.A.a", Passed),
        ("t.A.ab", Failed),
        ("t.B.a", Skipped),
        ("t.C.a", Passed),
    ];
    let ended = record(RunOutcome::TestsFailed, &tests);
    let panicked = |running: &str| RunOutcome::Panicked {
        how: String::new(),
        running: Some(running.to_owned()),
    };
    let died = record(panicked("t.C.b"), &tests);
    for (test, in_ended, in_died) in [
        ("t.A.a", Some(Verdict::Passed), Some(Verdict::Passed)),
        ("t.A", Some(Verdict::Bad), Some(Verdict::Bad)),
        ("t", Some(Verdict::Bad), Some(Verdict::Bad)),
        ("t.B", Some(Verdict::Skipped), None),
        ("t.B.a", Some(Verdict::Skipped), Some(Verdict::Skipped)),
        ("t.C", Some(Verdict::Passed), Some(Verdict::Bad)),
        ("t.C.b", None, Some(Verdict::Bad)),
        ("t.D", None, None),
    ] {
        assert_eq!(Verdict::within(&ended, test), in_ended, "{test}");
        assert_eq!(Verdict::within(&died, test), in_died, "{test}");
    }
    let results = Results {
        runs: vec![ended],
        ..Results::default()
    };
    let requests = ["6.1.*", "x86_64:6.1", "6.12", "./kernel"].map(|text| text.parse().unwrap());
    let [arch, other] = ["x86_64", "s390x"].map(|name| arch::find(name).unwrap());
    let nothing = known(&requests, other, &[], &test("t.A.a"), &results);
    assert_eq!(nothing, [None; 4], "results of another architecture");
    let expected = [Some(Verdict::Passed), Some(Verdict::Passed), None, None];
    assert_eq!(
        known(&requests, arch, &[], &test("t.A.a"), &results),
        expected
    );
    // What is skipped before the crash may run after it.
    let mut after = record(RunOutcome::TestsFailed, &[("t.B.a", Failed)]);
    after.name = after.name.crash();
    let mut both = results;
    both.runs.push(after);
    let expected = [Some(Verdict::Bad), Some(Verdict::Bad), None, None];
    assert_eq!(known(&requests, arch, &[], &test("t.B.a"), &both), expected);
    let expected = [Some(Verdict::Passed), Some(Verdict::Passed), None, None];
    assert_eq!(known(&requests, arch, &[], &test("t.A.a"), &both), expected);
}

#[test]
fn the_list_is_in_the_order_of_versions() {
    let order = |texts: &[&str]| {
        let requests = texts.iter().map(|text| text.parse().unwrap());
        let list = ordered(requests.collect());
        let list = list.iter().map(ToString::to_string);
        list.collect::<Vec<_>>().join(" ")
    };
    for (given, expected) in [
        (
            &["6.12", "6.1.*", "5.10.*default"][..],
            "5.10.*default 6.1.* 6.12",
        ),
        (&["6.1", "6.1", "5.4"], "5.4 6.1"),
        (
            &["./k/kernel-6.1.2", "6.1-rc3", "6.1.1"],
            "6.1-rc3 6.1.1 ./k/kernel-6.1.2",
        ),
        (
            &["debian:6.12", "5.10", "debian:6.1.0-56-amd64"],
            "5.10 debian:6.1.0-56-amd64 debian:6.12",
        ),
        // One that names no version: as given.
        (
            &["6.12", "debian:bookworm", "5.4"],
            "6.12 debian:bookworm 5.4",
        ),
        (&["6.12", "host", "5.4"], "6.12 host 5.4"),
        (&["6.12", "*tiny", "5.4"], "6.12 *tiny 5.4"),
        (&["6.12", "./mine", "5.4"], "6.12 ./mine 5.4"),
    ] {
        assert_eq!(order(given), expected);
    }
}

#[test]
fn answers_are_in_words() {
    let kernels = ["5.10", "5.15", "6.1", "6.6", "6.12"].map(str::to_owned);
    let describe = |verdicts: &[(usize, Verdict)], verify| {
        let mut bisection = Bisection::new(5).verify(verify);
        for (kernel, verdict) in verdicts {
            bisection.answer(*kernel, *verdict);
        }
        bisection.describe("t.A.a", &kernels) + "\n"
    };
    use Verdict::{Bad, Passed, Skipped, Untestable};
    let all = |verdict| (0..5).map(|kernel| (kernel, verdict)).collect::<Vec<_>>();
    expect_test::expect![[r#"
        t.A.a passes on 5.15 and fails from 6.1 on
        t.A.a passes from 5.15 on; 5.10 is the only older kernel left and was not tested: if the test changed, it was there (--verify makes sure)
        t.A.a is skipped on 6.6 and passes from 6.12 on
        t.A.a fails on 6.1 and passes from 6.12 on; those between cannot be tested

        t.A.a passes from 6.6 on; the kernels between 5.10 and that cannot be tested
        t.A.a passes from 5.15 on, and older kernels cannot be tested
        t.A.a is skipped on every kernel
        t.A.a could be tested on no kernel

    "#]]
    .assert_eq(
        &[
            describe(&[(4, Bad), (2, Bad), (1, Passed)], false),
            describe(&[(4, Passed), (2, Passed), (1, Passed)], false),
            describe(&[(4, Passed), (3, Skipped)], false),
            describe(&[(4, Passed), (3, Untestable), (2, Bad)], false),
            describe(
                &[
                    (4, Passed),
                    (3, Untestable),
                    (2, Untestable),
                    (1, Untestable),
                ],
                false,
            ),
            describe(
                &[(4, Passed), (3, Passed), (2, Untestable), (1, Untestable)],
                false,
            ),
            describe(
                &[
                    (4, Passed),
                    (3, Untestable),
                    (2, Passed),
                    (1, Passed),
                    (0, Untestable),
                ],
                true,
            ),
            describe(&all(Skipped), false),
            describe(&all(Untestable), false),
            describe(&[(4, Bad)], false),
        ]
        .concat(),
    );
    assert_eq!(
        Bisection::new(0).describe("t", &[]),
        "t could be tested on no kernel"
    );
}

fn test(name: &str) -> Question {
    Question::Test {
        name: name.to_owned(),
        alone: true,
    }
}

#[test]
fn a_complaint_occurs_if_any_phase_has_it() {
    let question = Question::Complaint(glob::Pattern::new("*at mm/*").unwrap());
    let record = |titles: &[&str], outcome| {
        let mut record = RunRecord::new(RunName::default(), outcome);
        let complaint = |title: &&str| Complaint {
            kind: "WARNING".to_owned(),
            title: (*title).to_owned(),
            report: String::new(),
            test: None,
            allowed: Some("known".to_owned()),
            time: None,
        };
        record.tally.complaints = titles.iter().map(complaint).collect();
        question.verdict(&record)
    };
    let lost = || RunOutcome::Lost {
        how: "x".to_owned(),
        running: None,
    };
    assert_eq!(
        record(&["WARNING: at mm/slab.c:1"], lost()),
        Verdict::Occurs
    );
    assert_eq!(
        record(&["WARNING: at fs/x.c:1"], RunOutcome::Passed),
        Verdict::Absent
    );
    // Who knows what would have come.
    assert_eq!(record(&[], lost()), Verdict::Untestable);
    assert_eq!(
        telling([Verdict::Absent, Verdict::Occurs]),
        Some(Verdict::Occurs)
    );
    assert_eq!(
        telling([Verdict::Skipped, Verdict::Bad]),
        Some(Verdict::Bad)
    );
    let mut bisection = Bisection::new(2);
    bisection.answer(0, Verdict::Absent);
    bisection.answer(1, Verdict::Occurs);
    assert_eq!(
        bisection.describe(
            &question.to_string(),
            &["5.10".to_owned(), "6.1".to_owned()]
        ),
        "the complaint *at mm/* does not occur on 5.10 and occurs from 6.1 on"
    );
}
