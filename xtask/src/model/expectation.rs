//! Expectations: failures that a project's `vmtest.toml` lists.
//!
//! A listed test that fails on a listed kernel makes no run fail. So that the list stays
//! true, a listed test that passes fails the run, and so does an entry that matches no
//! test ([`Ledger::findings`]); both only where the tests were not filtered, because of
//! some of the tests nothing can be said about the others.
//!
//! The list is about kernels: for the tests of the host (`local`) there is unittest's
//! own `expectedFailure`.

use std::fmt;

use glob::Pattern;
use serde::{Deserialize, Serialize};

use crate::base::error::Failure;
use crate::base::time::{Date, parse_date};
use crate::model::complaint::Complaint;
use crate::model::results::{Results, RunName, RunRecord, Session};
use crate::model::test_event::{FinishedTest, TestOutcome};
use crate::model::{arch, version::Release, version_range::KernelRange};

/// One entry `[[expect]]`: on these kernels, these tests fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The dotted name of tests, with shell wildcards; or the same for complaints' titles.
    pub test: String,
    /// An entry `[[allow]]`: complaints of the kernel that make no run fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complaint: bool,
    /// The kernels, a [`KernelRange`] such as `>=5.11, <5.19`; all of them without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// The flavor; any without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// The architecture; any without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    pub reason: String,
    /// The last day on which it counts, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Which key of an entry is wrong, and why.
#[derive(Debug)]
pub struct Mistake {
    pub key: &'static str,
    /// What is wrong with its value, and the remedy if there is one.
    pub failure: Failure,
}

impl Expectation {
    /// Whether all values have the right form.
    pub fn check(&self) -> Result<(), Mistake> {
        Entry::new(self, None).map(|_| ())
    }
}

/// The list, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    expectation: Expectation,
    test: Pattern,
    kernels: Option<KernelRange>,
    /// Its last day is over.
    expired: bool,
}

impl Entry {
    fn new(expectation: &Expectation, today: Option<Date>) -> Result<Self, Mistake> {
        let at = |key| move |failure| Mistake { key, failure };
        let name = &expectation.test;
        let odd = |why| format!("{name:?} is no name with shell wildcards: {why}");
        let test = Pattern::new(name).map_err(|error| Failure::usage(odd(error.msg)));
        let test = test.map_err(at("test"))?;
        let kernels = expectation.kernels.as_deref().map(str::parse);
        let kernels = kernels.transpose().map_err(at("kernels"))?;
        let until = expectation.until.as_deref().map(parse_date);
        let until = until.transpose().map_err(at("until"))?;
        let arch = expectation.arch.as_deref();
        let arch = arch.map(|name| arch::named(name, &[])).transpose();
        arch.map_err(at("arch"))?;
        Ok(Self {
            expectation: expectation.clone(),
            test,
            kernels,
            expired: today.zip(until).is_some_and(|(today, until)| today > until),
        })
    }

    fn applies(&self, kernel: &NamedKernel<'_>) -> bool {
        !self.expired && self.is_about(kernel)
    }

    /// Whether it is about a kernel, on whatever day.
    fn is_about(&self, kernel: &NamedKernel<'_>) -> bool {
        let asked =
            |asked: &Option<String>, is: Option<&str>| asked.is_none() || asked.as_deref() == is;
        asked(&self.expectation.arch, Some(&kernel.name.arch))
            && asked(&self.expectation.flavor, kernel.name.flavor.as_deref())
            && self
                .kernels
                .as_ref()
                .is_none_or(|range| range.contains(&kernel.release.version))
    }

    fn lists(&self, id: &str) -> bool {
        !self.expectation.complaint && self.matches(id)
    }

    fn allows(&self, complaint: &Complaint) -> bool {
        self.expectation.complaint
            && (self.matches(&complaint.title) || self.matches(&complaint.kind))
    }

    fn matches(&self, id: &str) -> bool {
        // Names have brackets where they are made of parameters.
        self.expectation.test == id || self.test.matches(id)
    }
}

/// A name that is one of a kernel: neither `local` nor a request that gave none.
struct NamedKernel<'n> {
    name: &'n RunName,
    release: Release,
}

impl<'n> NamedKernel<'n> {
    fn of(name: &'n RunName) -> Option<Self> {
        let release = name.kernel.parse().ok()?;
        Some(Self { name, release })
    }
}

/// The entries for one kernel.
#[derive(Clone, Debug, Default)]
pub struct Applicable<'l> {
    entries: Vec<&'l Entry>,
    /// Those whose last day is over.
    expired: Vec<&'l Entry>,
}

impl Applicable<'_> {
    /// Sets [`FinishedTest::expected`] to the reason of the first entry that lists the
    /// test: of a bad one always, of one that passed only if the run was not `filtered`.
    /// Of a bad one that no entry lists any more, sets [`FinishedTest::expired`].
    pub fn mark(&self, test: &mut FinishedTest, filtered: bool) {
        (test.expected, test.expired) = (None, None);
        if test.outcome.is_bad() || (test.outcome == TestOutcome::Passed && !filtered) {
            let entry = self.entries.iter().find(|entry| entry.lists(&test.id));
            test.expected = entry.map(|entry| entry.expectation.reason.clone());
        }
        if test.expected.is_none() && test.outcome.is_bad() {
            let entry = self.expired.iter().find(|entry| entry.lists(&test.id));
            test.expired = entry.map(|entry| {
                let until = entry.expectation.until.as_deref().unwrap_or_default();
                let reason = &entry.expectation.reason;
                format!("listed as failing until {until}, which is over ({reason})")
            });
        }
    }
}

impl Ledger {
    /// The list on a day.
    pub fn new(expectations: &[Expectation], today: Date) -> Result<Self, Failure> {
        let entry = |expectation: &Expectation| {
            Entry::new(expectation, Some(today)).map_err(|Mistake { key, failure }| Failure {
                message: format!(
                    "the expectation of {}: {key}: {}",
                    expectation.test, failure.message
                ),
                ..failure
            })
        };
        let entries = expectations.iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// The list of a session, on the day when it began: whenever a report is made
    /// of it, it says the same.
    pub fn of(session: &Session) -> Result<Self, Failure> {
        if session.expectations.is_empty() {
            return Ok(Self::default());
        }
        let day = session.started.split('T').next().unwrap_or_default();
        Self::new(&session.expectations, parse_date(day)?)
    }

    /// The entries for a kernel; none for `local`.
    pub fn applies(&self, name: &RunName) -> Applicable<'_> {
        let Some(kernel) = NamedKernel::of(name) else {
            return Applicable::default();
        };
        let entries = self.entries.iter().filter(|entry| entry.is_about(&kernel));
        let (expired, entries) = entries.partition(|entry| entry.expired);
        Applicable { entries, expired }
    }

    /// [`Applicable::mark`] for one test.
    pub fn mark(&self, test: &mut FinishedTest, name: &RunName, filtered: bool) {
        self.applies(name).mark(test, filtered);
    }

    /// Sets [`Complaint::allowed`] to the reason of the first entry that lists it.
    pub fn allow(&self, complaint: &mut Complaint, name: &RunName) {
        let applicable = self.applies(name);
        let entry = applicable
            .entries
            .iter()
            .find(|entry| entry.allows(complaint));
        complaint.allowed = entry.map(|entry| entry.expectation.reason.clone());
    }

    /// What is wrong with the list: all of its entries that have expired, and those
    /// that matched no test.
    pub fn findings(&self, results: &Results) -> Vec<Finding> {
        let expired = self.entries.iter().filter(|entry| entry.expired);
        let expired = expired.map(|entry| Finding {
            kind: FindingKind::Expired,
            expectation: entry.expectation.clone(),
        });
        expired.chain(self.unmatched(results)).collect()
    }

    /// The entries that matched no test. An entry is judged by the kernels that it is
    /// about and whose tests ran to the end; not at all if only some of the tests were
    /// asked for, and not by one of several partitions, because another may have
    /// run the kernel where the test is.
    pub fn unmatched(&self, results: &Results) -> Vec<Finding> {
        if results.session.filtered || results.session.partition.is_some() {
            return Vec::new();
        }
        let runs = results.runs.iter();
        let runs = runs.filter_map(|run| Some((NamedKernel::of(&run.name)?, run)));
        let runs = runs.collect::<Vec<_>>();
        let unmatched = |entry: &&Entry| {
            let runs = runs.iter().filter(|(kernel, _)| entry.applies(kernel));
            let (mut judged, mut matched) = (false, false);
            for (_, run) in runs {
                judged |= complete(run);
                let (tests, complaints) = (&run.tally.finished_tests, &run.tally.complaints);
                matched = matched
                    || tests.iter().any(|test| entry.lists(&test.id))
                    || complaints.iter().any(|complaint| entry.allows(complaint));
            }
            judged && !matched
        };
        let entries = self.entries.iter().filter(unmatched);
        let finding = |entry: &Entry| Finding {
            kind: FindingKind::Unmatched,
            expectation: entry.expectation.clone(),
        };
        entries.map(finding).collect()
    }
}

/// All tests of a run were told of.
fn complete(run: &RunRecord) -> bool {
    run.outcome.is_complete() && run.tally.finished.is_some()
}

/// Something wrong with the list itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    pub expectation: Expectation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// Its last day is over: it no longer counts, and should go. A warning.
    Expired,
    /// It matched no test. The run fails.
    Unmatched,
}

impl Finding {
    /// Whether it makes the run fail, with exit status 1.
    pub fn is_bad(&self) -> bool {
        self.kind == FindingKind::Unmatched
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expectation {
            test,
            complaint,
            kernels,
            flavor,
            arch,
            reason,
            until,
        } = &self.expectation;
        let (entry, what) = match complaint {
            false => ("expectation of", "test"),
            true => ("allowance of the complaint", "complaint"),
        };
        write!(f, "the {entry} {test}")?;
        let kernels = kernels.as_ref().map(|kernels| format!("kernels {kernels}"));
        let flavor = flavor.as_ref().map(|flavor| format!("flavor {flavor}"));
        let parts = [kernels, flavor, arch.clone()];
        let parts = parts.into_iter().flatten().collect::<Vec<_>>();
        if !parts.is_empty() {
            write!(f, " on {}", parts.join(", "))?;
        }
        match self.kind {
            FindingKind::Expired => {
                let until = until.as_deref().unwrap_or_default();
                write!(f, " ended with {until} and no longer counts")?;
            }
            FindingKind::Unmatched => write!(f, " matched no {what}")?,
        }
        write!(f, " ({reason})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_event::{Counts, RunOutcome, Tally, TestEvent};

    fn expectation(test: &str, kernels: Option<&str>) -> Expectation {
        Expectation {
            test: test.to_owned(),
            complaint: false,
            kernels: kernels.map(str::to_owned),
            flavor: None,
            arch: None,
            reason: format!("reason of {test}"),
            until: None,
        }
    }

    fn day(text: &str) -> Date {
        parse_date(text).unwrap()
    }

    fn ledger(expectations: &[Expectation]) -> Ledger {
        Ledger::new(expectations, day("2026-11-25")).unwrap()
    }

    fn name(kernel: &str) -> RunName {
        RunName {
            kernel: kernel.to_owned(),
            arch: "x86_64".to_owned(),
            flavor: kernel
                .parse::<Release>()
                .ok()
                .and_then(|release| release.flavor()),
            phase: None,
        }
    }

    fn finished(id: &str, outcome: TestOutcome) -> FinishedTest {
        FinishedTest::new(id, outcome)
    }

    fn run(kernel: &str, ids: &[&str]) -> RunRecord {
        let mut tally = Tally::default();
        let mut counts = Counts::default();
        for id in ids {
            counts.add(TestOutcome::Skipped);
            tally.push(&TestEvent::TestFinished(finished(id, TestOutcome::Skipped)));
        }
        tally.push(&TestEvent::RunFinished {
            counts,
            seconds: 0.0,
        });
        RunRecord {
            name: name(kernel),
            outcome: RunOutcome::Passed,
            tally,
            seconds: Default::default(),
            acceleration: None,
            root: None,
            retries: vec![],
            evidence: Default::default(),
        }
    }

    fn results(runs: Vec<RunRecord>) -> Results {
        Results {
            runs,
            ..Results::default()
        }
    }

    #[test]
    fn an_entry_applies_where_all_of_it_holds() {
        let entry = |change: fn(&mut Expectation)| {
            let mut expectation = expectation("*", None);
            change(&mut expectation);
            ledger(&[expectation])
        };
        let any = entry(|_| {});
        let range = entry(|e| e.kernels = Some(">=5.11, <5.19".to_owned()));
        let tiny = entry(|e| e.flavor = Some("tiny".to_owned()));
        let arch = entry(|e| e.arch = Some("x86_64".to_owned()));
        let tiny_range = entry(|e| {
            e.flavor = Some("tiny".to_owned());
            e.kernels = Some("5.12".to_owned());
        });
        for (kernel, expected) in [
            (
                "5.10.223-vmtest1.1default",
                [true, false, false, true, false],
            ),
            ("5.11.0-vmtest1.1default", [true, true, false, true, false]),
            ("5.12.19-vmtest1.0tiny", [true, true, true, true, true]),
            ("5.19-rc8-vmtest1.0tiny", [true, true, true, true, false]),
            ("5.19.0-vmtest1.0tiny", [true, false, true, true, false]),
            ("6.1.0-10-amd64", [true, false, false, true, false]),
            // No kernel.
            ("6.1.*", [false; 5]),
            ("local", [false; 5]),
        ] {
            let name = name(kernel);
            let applies = [&any, &range, &tiny, &arch, &tiny_range]
                .map(|ledger| !ledger.applies(&name).entries.is_empty());
            assert_eq!(applies, expected, "{kernel}");
        }
        let mut other = name("6.1.0");
        other.arch = "aarch64".to_owned();
        assert!(arch.applies(&other).entries.is_empty());
        assert!(!any.applies(&other).entries.is_empty());
    }

    #[test]
    fn bad_tests_are_marked_and_passed_ones_where_nothing_was_filtered() {
        let ledger = ledger(&[
            expectation("t.A.one", None),
            expectation("t.A.*", Some("6.1")),
            expectation("t.P.test[1]", None),
        ]);
        let mark = |id: &str, outcome, kernel: &str, filtered| {
            let mut test = finished(id, outcome);
            // What stood there before does not matter.
            test.expected = Some("other".to_owned());
            ledger.mark(&mut test, &name(kernel), filtered);
            (test.expected.clone().unwrap_or_default(), test.is_bad())
        };
        let (old, new) = ("5.10.1", "6.1.1");
        for outcome in TestOutcome::ALL {
            for filtered in [false, true] {
                let bad = outcome.is_bad();
                let passed = outcome == TestOutcome::Passed && !filtered;
                let listed = |reason: &str| match bad || passed {
                    true => (format!("reason of {reason}"), passed),
                    false => (String::new(), false),
                };
                let context = format!("{outcome} {filtered}");
                assert_eq!(
                    mark("t.A.one", outcome, old, filtered),
                    listed("t.A.one"),
                    "{context}"
                );
                assert_eq!(
                    mark("t.A.one", outcome, new, filtered),
                    listed("t.A.one"),
                    "{context}"
                );
                assert_eq!(
                    mark("t.A.two", outcome, new, filtered),
                    listed("t.A.*"),
                    "{context}"
                );
                let test = "t.P.test[1]";
                assert_eq!(
                    mark(test, outcome, new, filtered),
                    listed(test),
                    "{context}"
                );
                let unlisted = (String::new(), bad);
                assert_eq!(
                    mark("t.A.two", outcome, old, filtered),
                    unlisted,
                    "{context}"
                );
                assert_eq!(
                    mark("t.A.one", outcome, "local", filtered),
                    unlisted,
                    "{context}"
                );
            }
        }
    }

    #[test]
    fn an_entry_ends_after_its_last_day() {
        let mut last = expectation("t.A.one", None);
        last.until = Some("2026-11-25".to_owned());
        for (today, counts) in [
            ("2026-11-24", true),
            ("2026-11-25", true),
            ("2026-11-26", false),
        ] {
            let ledger = Ledger::new(std::slice::from_ref(&last), day(today)).unwrap();
            let mut test = finished("t.A.one", TestOutcome::Failed);
            ledger.mark(&mut test, &name("6.1.1"), false);
            assert_eq!(test.is_bad(), !counts, "{today}");
            let said = "listed as failing until 2026-11-25, which is over (reason of t.A.one)";
            assert_eq!(
                test.expired.as_deref(),
                (!counts).then_some(said),
                "{today}"
            );
            let mut other = finished("t.A.two", TestOutcome::Failed);
            ledger.mark(&mut other, &name("6.1.1"), false);
            assert_eq!(other.expired, None);
            // Nothing matched, which an expired entry is not blamed for.
            let findings = ledger.findings(&results(vec![run("6.1.1", &[])]));
            let [finding] = &findings[..] else {
                panic!("{findings:?}")
            };
            assert_eq!(finding.is_bad(), counts);
            let text = finding.to_string();
            assert_eq!(text.contains("ended with 2026-11-25"), !counts, "{text}");
        }
    }

    #[test]
    fn an_entry_that_matches_nothing_is_judged_by_its_own_complete_kernels() {
        let ledger = ledger(&[
            expectation("t.A.one", Some(">=5.11, <5.19")),
            expectation("t.B.*", None),
        ]);
        let unmatched = |results: &Results| {
            let findings = ledger.findings(results);
            let tests = findings.iter().map(|finding| {
                assert!(finding.is_bad());
                finding.expectation.test.as_str()
            });
            tests.collect::<Vec<_>>().join(" ")
        };
        let both = ["t.A.one", "t.B.b"];
        let stuck = |mut run: RunRecord| {
            run.outcome = RunOutcome::Stuck {
                phase: "command".to_owned(),
                how: String::new(),
                running: None,
            };
            run
        };
        for (runs, expected) in [
            (vec![], ""),
            (vec![run("local", &[]), run("5.12.*", &[])], ""),
            (vec![run("6.1.1", &["t.B.b"])], ""),
            (vec![run("6.1.1", &["t.A.one"])], "t.B.*"),
            (vec![run("5.12.1", &both)], ""),
            (vec![run("5.12.1", &["t.A.two"])], "t.A.one t.B.*"),
            (
                vec![run("5.12.1", &["t.B.b"]), run("6.1.1", &both)],
                "t.A.one",
            ),
            // One that has the test is enough.
            (vec![run("5.12.1", &[]), run("5.13.1", &both)], ""),
            (vec![run("5.12.1", &[]), stuck(run("5.13.1", &both))], ""),
            // What did not end cannot say what is missing.
            (vec![stuck(run("5.12.1", &[]))], ""),
            (vec![stuck(run("5.12.1", &[])), run("6.1.1", &[])], "t.B.*"),
        ] {
            let mut results = results(runs);
            assert_eq!(unmatched(&results), expected, "{results:?}");
            results.session.filtered = true;
            assert_eq!(unmatched(&results), "");
            results.session.filtered = false;
            results.session.partition = Some((1, 2));
            assert_eq!(unmatched(&results), "");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let check = |change: fn(&mut Expectation)| {
            let mut expectation = expectation("t.*", None);
            change(&mut expectation);
            let mistake = expectation.check().unwrap_err();
            let failure = Ledger::new(&[expectation], day("2026-11-25")).unwrap_err();
            assert_eq!(failure.kind, crate::base::error::FailureKind::Usage);
            assert!(failure.message.contains(mistake.key), "{failure}");
            failure.to_string() + "\n"
        };
        expect_test::expect![[r#"
            the expectation of t.[a: test: "t.[a" is no name with shell wildcards: invalid range pattern
            the expectation of t.*: kernels: "=>" is no operator in a range of kernels (a range of kernels is written like 6.1, '>=5.11' or '>=5.11, <5.19')
            the expectation of t.*: until: "2026-02-30" is no date (a date is written like 2026-11-25)
            the expectation of t.*: arch: unknown architecture "x86-64" (did you mean x86_64? there is x86_64, aarch64, arm, ppc64, s390x, riscv64)
            the expectation of t.*: arch: unknown architecture "vax" (there is x86_64, aarch64, arm, ppc64, s390x, riscv64)
        "#]]
        .assert_eq(
            &[
                check(|e| e.test = "t.[a".to_owned()),
                check(|e| e.kernels = Some("=>6.1".to_owned())),
                check(|e| e.until = Some("2026-02-30".to_owned())),
                check(|e| e.arch = Some("x86-64".to_owned())),
                check(|e| e.arch = Some("vax".to_owned())),
            ]
            .concat(),
        );
        assert!(expectation("t.*", Some("6.1")).check().is_ok());
    }

    #[test]
    fn findings_are_one_line() {
        let mut all = expectation("t.*", Some(">=5.11"));
        all.flavor = Some("tiny".to_owned());
        all.arch = Some("x86_64".to_owned());
        all.until = Some("2026-01-01".to_owned());
        let text = |kind, expectation: &Expectation| {
            let expectation = expectation.clone();
            Finding { kind, expectation }.to_string() + "\n"
        };
        expect_test::expect![[r#"
            the expectation of t.* on kernels >=5.11, flavor tiny, x86_64 ended with 2026-01-01 and no longer counts (reason of t.*)
            the expectation of t.* on kernels >=5.11, flavor tiny, x86_64 matched no test (reason of t.*)
            the expectation of t.A.one matched no test (reason of t.A.one)
        "#]]
        .assert_eq(
            &[
                text(FindingKind::Expired, &all),
                text(FindingKind::Unmatched, &all),
                text(FindingKind::Unmatched, &expectation("t.A.one", None)),
            ]
            .concat(),
        );
    }

    #[test]
    fn the_day_of_a_session_decides() {
        let mut session = Session {
            started: "2026-11-25T23:59:59Z".to_owned(),
            expectations: vec![expectation("t.*", None)],
            ..Session::default()
        };
        session.expectations[0].until = Some("2026-11-24".to_owned());
        assert!(Ledger::of(&session).unwrap().entries[0].expired);
        session.expectations[0].until = Some("2026-11-25".to_owned());
        assert!(!Ledger::of(&session).unwrap().entries[0].expired);
        session.started.clear();
        assert!(Ledger::of(&session).is_err());
        assert!(Ledger::of(&Session::default()).unwrap().entries.is_empty());
    }
}
