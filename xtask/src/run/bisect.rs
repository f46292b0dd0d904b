//! Between which two kernels of a list a test changed, with as few runs as possible.
//!
//! What the test does on the newest kernel is the *new* behaviour; everything else is the
//! old one, so that with several changes the answer is one of them. The search runs
//! the newest kernel, and then the middle of what is left: a kernel that behaves
//! otherwise is the new lower end, one that behaves alike the new upper end. That is a run
//! for the newest and log2 of the others, three runs for five kernels.
//!
//! The oldest kernel is not run before the others, although nothing is known without it:
//! one behaviour alone does not say on which side of the change it is. But who asks where a
//! test changed has seen that it did. So the oldest is *taken* to be old, as `git bisect`
//! takes the word of whoever calls a commit good. Mostly the search finds a kernel that is
//! old, and nothing remains of the assumption. Only when all kernels that were run behave
//! alike does the answer rest on it; it says so, and verifying takes one run more.
//!
//! A kernel that cannot be tested is passed over, like `git bisect skip`. If it lies
//! between the two that remain, no kernel can be named, only the two.

use std::fmt;

use crate::model::arch::Arch;
use crate::model::kernel_request::{KernelRequest, Pattern, Selector};
use crate::model::results::{Results, RunName, RunRecord};
use crate::model::test_event::{RunOutcome, TestOutcome};
use crate::model::version::{Release, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed, or failed as its own decorator expects.
    Passed,
    /// It failed, or took its process or the kernel with it.
    Bad,
    Skipped,
    /// The kernel could not be had or did not boot, or there is no such test.
    Untestable,
    /// Of a complaint.
    Occurs,
    Absent,
}

/// What may have changed from one kernel to the next.
pub enum Question {
    /// A test, which runs alone or, if its framework cannot pick it, with all others.
    Test { name: String, alone: bool },
    /// A complaint whose title or kind matches, allowed or not.
    Complaint(glob::Pattern),
}

impl Question {
    /// What a run says about it that was made for it.
    pub fn verdict(&self, record: &RunRecord) -> Verdict {
        match self {
            Self::Test { alone: true, .. } => Verdict::of(record),
            _ => self.recorded(record).unwrap_or(Verdict::Untestable),
        }
    }

    /// What a run of more tests says about it; `None` if it does not tell.
    pub fn recorded(&self, record: &RunRecord) -> Option<Verdict> {
        match self {
            Self::Test { name, .. } => Verdict::within(record, name),
            Self::Complaint(pattern) => {
                let mut complaints = record.tally.complaints.iter();
                let occurs = complaints
                    .any(|known| pattern.matches(&known.title) || pattern.matches(&known.kind));
                let absent = record.outcome.is_complete().then_some(Verdict::Absent);
                if occurs {
                    Some(Verdict::Occurs)
                } else {
                    absent
                }
            }
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test { name, .. } => f.write_str(name),
            Self::Complaint(pattern) => write!(f, "the complaint {pattern}"),
        }
    }
}

impl Verdict {
    /// The verdict of a run of just the test, which may be several if it is a class, a
    /// module or a file: bad if one of them is, skipped if all of them are.
    ///
    /// A panic or a time limit while a test runs is the test's doing, and so is the end of
    /// its process at any time. That QEMU died may have nothing to do with it.
    pub fn of(record: &RunRecord) -> Self {
        match &record.outcome {
            RunOutcome::Passed | RunOutcome::Complained { .. } | RunOutcome::TestsFailed => {
                let tests = record.tally.finished_tests.iter();
                Self::all(tests.map(|test| test.outcome)).unwrap_or(Self::Untestable)
            }
            RunOutcome::RunnerDied { .. } => Self::Bad,
            outcome @ (RunOutcome::Panicked { .. } | RunOutcome::Stuck { .. }) => {
                match outcome.running() {
                    Some(_) => Self::Bad,
                    None => Self::Untestable,
                }
            }
            RunOutcome::NoTests | RunOutcome::Lost { .. } | RunOutcome::NotStarted { .. } => {
                Self::Untestable
            }
        }
    }

    /// The verdict of a run of more tests, of which `test` names one or, being a class or
    /// a module, several. `None` if the run does not tell.
    pub fn within(record: &RunRecord, test: &str) -> Option<Self> {
        let named = |id: &str| {
            let rest = id.strip_prefix(test);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':', '/', '[']))
        };
        let lost = matches!(record.outcome, RunOutcome::Lost { .. });
        if !lost && record.outcome.running().is_some_and(named) {
            return Some(Self::Bad);
        }
        let tests = record.tally.finished_tests.iter();
        let tests = tests.filter(|finished| named(&finished.id));
        let tests = tests.collect::<Vec<_>>();
        let verdict = Self::all(tests.iter().map(|finished| finished.outcome))?;
        // Of a class, those that did not come to their turn say nothing.
        let complete =
            record.outcome.is_complete() || tests.iter().any(|finished| finished.id == test);
        (complete || verdict == Self::Bad).then_some(verdict)
    }

    pub fn tells(self) -> bool {
        matches!(self, Self::Passed | Self::Bad | Self::Occurs | Self::Absent)
    }

    /// The verdict of several tests; `None` without any.
    fn all(outcomes: impl Iterator<Item = TestOutcome>) -> Option<Self> {
        let verdict = |outcome: TestOutcome| match outcome {
            TestOutcome::Skipped => Self::Skipped,
            outcome if outcome.is_bad() => Self::Bad,
            _ => Self::Passed,
        };
        let worst = |one, other| match (one, other) {
            (Self::Bad, _) | (_, Self::Bad) => Self::Bad,
            (Self::Passed, _) | (_, Self::Passed) => Self::Passed,
            (one, _) => one,
        };
        outcomes.map(verdict).reduce(worst)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passes",
            Self::Bad => "fails",
            Self::Skipped => "is skipped",
            Self::Untestable => "cannot be tested",
            Self::Occurs => "occurs",
            Self::Absent => "does not occur",
        })
    }
}

/// What is to be done next, or the answer. Kernels are numbers in the list, whose
/// first is the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Run(usize),
    /// It changed from one kernel to the next.
    Found {
        /// The last one with the old behaviour.
        last_old: usize,
        /// The first one with the new one.
        first_new: usize,
    },
    Same,
    /// The kernels between cannot be tested.
    Unclear {
        /// The newest that is known to be old; `None` if there is no such kernel.
        last_old: Option<usize>,
        /// The oldest that is known to be new; `None` if none can be tested.
        first_new: Option<usize>,
    },
}

#[derive(Clone, Debug)]
pub struct Bisection {
    verdicts: Vec<Option<Verdict>>,
    verify: bool,
}

impl Bisection {
    pub fn new(kernels: usize) -> Self {
        Self {
            verdicts: vec![None; kernels],
            verify: false,
        }
    }

    /// Whether an answer that rests on nothing but the assumption that the oldest kernel
    /// is old is verified, with one run more.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// What the test does on a kernel, whether it was asked for or is known from before.
    pub fn answer(&mut self, kernel: usize, verdict: Verdict) {
        if let Some(slot) = self.verdicts.get_mut(kernel) {
            *slot = Some(verdict);
        }
    }

    /// Whether the kernel is only taken to be old.
    pub fn is_assumed(&self, kernel: usize) -> bool {
        self.verdicts.get(kernel).is_some_and(Option::is_none)
    }

    /// The next step. Depends on nothing but the verdicts, in whatever order they came.
    pub fn next(&self) -> Step {
        let untestable = |kernel: &usize| self.verdicts[*kernel] == Some(Verdict::Untestable);
        let unknown = |kernel: &usize| self.verdicts[*kernel].is_none();
        let Some(newest) = (0..self.verdicts.len()).rfind(|kernel| !untestable(kernel)) else {
            return Step::Unclear {
                last_old: None,
                first_new: None,
            };
        };
        if unknown(&newest) {
            return Step::Run(newest);
        }
        let new = self.verdicts[newest];
        let is_new = |kernel: &usize| self.verdicts[*kernel] == new;
        // The newest kernel that is known to be old, and the oldest new one above it.
        let old = (0..newest).rfind(|k| !unknown(k) && !untestable(k) && !is_new(k));
        let above = old.map_or(0, |old| old + 1);
        let first_new = (above..=newest).find(is_new).unwrap_or(newest);
        let mut open = (above..first_new).filter(unknown).collect::<Vec<_>>();
        let found = |last_old: usize| match last_old + 1 == first_new {
            true => Step::Found {
                last_old,
                first_new,
            },
            false => Step::Unclear {
                last_old: Some(last_old),
                first_new: Some(first_new),
            },
        };
        if let Some(old) = old {
            return match open.get(open.len() / 2) {
                Some(middle) => Step::Run(*middle),
                None => found(old),
            };
        }
        if open.is_empty() {
            return match (0..first_new).any(|kernel| untestable(&kernel)) {
                true => Step::Unclear {
                    last_old: None,
                    first_new: Some(first_new),
                },
                false => Step::Same,
            };
        }
        let assumed = open.remove(0);
        if let Some(middle) = open.get(open.len() / 2) {
            return Step::Run(*middle);
        }
        // Of a single run nothing could be said at all.
        let tested = (0..=newest)
            .filter(|k| !unknown(k) && !untestable(k))
            .count();
        if self.verify || tested < 2 {
            return Step::Run(assumed);
        }
        found(assumed)
    }

    /// The answer in words; empty before the last step.
    pub fn describe(&self, test: &str, kernels: &[String]) -> String {
        let name = |kernel: usize| kernels.get(kernel).map_or("", String::as_str);
        let does = |kernel: usize| self.verdicts.get(kernel).copied().flatten();
        let says = |kernel: usize| does(kernel).map_or(String::new(), |v| v.to_string());
        match self.next() {
            Step::Run(_) => String::new(),
            Step::Found {
                last_old,
                first_new,
            } => match self.is_assumed(last_old) {
                false => format!(
                    "{test} {} on {} and {} from {} on",
                    says(last_old),
                    name(last_old),
                    says(first_new),
                    name(first_new)
                ),
                true => format!(
                    "{test} {} from {} on; {} is the only older kernel left and was not tested: \
                     if the test changed, it was there (--verify makes sure)",
                    says(first_new),
                    name(first_new),
                    name(last_old)
                ),
            },
            Step::Same => match self.verdicts.len() {
                0 => "there is no kernel".to_owned(),
                last => format!("{test} {} on every kernel", says(last - 1)),
            },
            Step::Unclear {
                last_old,
                first_new,
            } => match (last_old, first_new) {
                (_, None) => format!("{test} could be tested on no kernel"),
                (None, Some(new)) => format!(
                    "{test} {} from {} on, and older kernels cannot be tested",
                    says(new),
                    name(new)
                ),
                (Some(old), Some(new)) if self.is_assumed(old) => format!(
                    "{test} {} from {} on; the kernels between {} and that cannot be tested",
                    says(new),
                    name(new),
                    name(old)
                ),
                (Some(old), Some(new)) => format!(
                    "{test} {} on {} and {} from {} on; those between cannot be tested",
                    says(old),
                    name(old),
                    says(new),
                    name(new)
                ),
            },
        }
    }
}

/// Takes all steps; gives the last one. `run` tells what the test does on a kernel.
pub fn search<E>(
    bisection: &mut Bisection,
    mut run: impl FnMut(usize) -> Result<Verdict, E>,
) -> Result<Step, E> {
    loop {
        match bisection.next() {
            Step::Run(kernel) => bisection.answer(kernel, run(kernel)?),
            last => return Ok(last),
        }
    }
}

/// The requests as a list for a search: each once, in the order of their versions, or as
/// they were given if one of them does not begin with a version.
pub fn ordered(requests: Vec<KernelRequest>) -> Vec<KernelRequest> {
    let mut list = Vec::<KernelRequest>::new();
    for request in requests {
        if !list.contains(&request) {
            list.push(request);
        }
    }
    if list.iter().all(|request| version(request).is_some()) {
        list.sort_by_key(version);
    }
    list
}

/// The version that a request begins with.
fn version(request: &KernelRequest) -> Option<Version> {
    let split = |text: &str| Version::split(text).map(|(version, _)| version);
    match &request.selector {
        Selector::Pattern(Pattern::Series(series)) => split(&series.to_string()),
        Selector::Pattern(Pattern::Version(version)) => Some(*version),
        Selector::Pattern(Pattern::Release(release)) => Some(release.version),
        Selector::Pattern(Pattern::Wildcards(wildcards)) => split(wildcards.as_str()),
        Selector::Path(path) => split(path.file_name()?.to_str()?.strip_prefix("kernel-")?),
        Selector::Source(_, argument) => split(argument.as_deref()?),
    }
}

/// Of what the phases of one kernel's run say, the first that tells something: before the
/// crash, the tests after it are skipped. A complaint occurs if it does in any phase.
pub fn telling(verdicts: impl IntoIterator<Item = Verdict>) -> Option<Verdict> {
    let all = verdicts.into_iter().collect::<Vec<_>>();
    let occurs = all.iter().find(|verdict| **verdict == Verdict::Occurs);
    let tells = || all.iter().find(|verdict| verdict.tells());
    occurs.or_else(tells).or(all.first()).copied()
}

/// What earlier results say about the test on each kernel of the list: the newest that a
/// request matches, or the one that is at the place which it names. A request without an
/// architecture is for `arch`.
pub fn known(
    requests: &[KernelRequest],
    arch: &Arch,
    places: &[Option<RunName>],
    question: &Question,
    results: &Results,
) -> Vec<Option<Verdict>> {
    let verdict = |(number, request): (usize, &KernelRequest)| {
        if let Some(Some(place)) = places.get(number) {
            let runs = results.runs.iter();
            let runs = runs.filter(|run| run.name.is_same_kernel(place));
            return telling(runs.filter_map(|run| question.recorded(run)));
        }
        let runs = results.runs.iter().filter_map(|run| {
            let release = run.name.kernel.parse::<Release>().ok()?;
            let matches = run.name.arch == arch.name && request.matches(arch, &release);
            matches.then_some((release, run))
        });
        let runs = runs.collect::<Vec<_>>();
        let newest = runs.iter().map(|(release, _)| release).max();
        let runs = runs.iter().filter(|(release, _)| Some(release) == newest);
        telling(runs.filter_map(|(_, run)| question.recorded(run)))
    };
    requests.iter().enumerate().map(verdict).collect()
}

#[cfg(test)]
mod tests;
