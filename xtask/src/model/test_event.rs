//! What a test run tells: the events of the guest's runner, their tally, and how
//! a run ended.
//!
//! The legal order of events is
//!
//! ```text
//! run-started, (test-started?, test-finished | test-started?, runner-died)*, run-finished
//! ```
//!
//! A `test-finished` without `test-started` is a test whose class or module
//! could not be set up, or a fixture that failed after its tests. Every stream
//! may end after any byte, because tests crash interpreters and kernels; then the
//! last `test-started` without `test-finished` names the culprit. A line that is
//! not one of these becomes [`TestEvent::Garbage`]: it is counted and shown, and
//! decides nothing.
//!
//! The format is written by `vmtest-assets/guest/run_unittests.py`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::complaint::Complaint;

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestOutcome {
    Passed,
    Failed,
    Error,
    /// Not run; the reason says why.
    Skipped,
    ExpectedFailure,
    UnexpectedSuccess,
}

impl TestOutcome {
    pub const ALL: [Self; 6] = [
        Self::Passed,
        Self::Failed,
        Self::Error,
        Self::Skipped,
        Self::ExpectedFailure,
        Self::UnexpectedSuccess,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::ExpectedFailure => "expected-failure",
            Self::UnexpectedSuccess => "unexpected-success",
        }
    }

    /// Whether unittest takes it for a failure.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Error | Self::UnexpectedSuccess)
    }
}

impl fmt::Display for TestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A subtest (`TestCase.subTest`) that did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subtest {
    /// What unittest writes behind the test's name: `[message] (program='failing')`.
    #[serde(rename = "subtest")]
    pub name: String,
    /// How it ended: failed, error or skipped.
    pub outcome: TestOutcome,
    /// The exception, or why it was skipped, in one line.
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishedTest {
    pub id: String,
    pub outcome: TestOutcome,
    #[serde(default)]
    pub seconds: f64,
    /// The first line of its doc string, if it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Why it was skipped, or the exception in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The exception with its frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// Its subtests that did not pass, the first ones of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subtests: Vec<Subtest>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_subtests: u64,
    /// The time of the last record in the kernel's log when it ended, in the kernel's
    /// microseconds, if there was a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_time: Option<u64>,
    /// That the project's list had this test fail on this kernel until a day that is over.
    /// Set by the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<String>,
    /// Why the project's list of expectations has this test fail on this kernel. Set
    /// by the host; a guest that sends it is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl FinishedTest {
    /// A test that ended like this, and of which nothing else is known.
    pub fn new(id: impl Into<String>, outcome: TestOutcome) -> Self {
        Self {
            id: id.into(),
            outcome,
            seconds: 0.0,
            description: None,
            reason: None,
            traceback: None,
            subtests: Vec::new(),
            more_subtests: 0,
            kernel_time: None,
            expired: None,
            expected: None,
        }
    }

    /// What belongs above its traceback, a line each: what it says of itself, what the
    /// project's list said of it, and which of its subtests did not pass.
    pub fn notes(&self) -> Vec<String> {
        let subtests = self.subtests_in_words(NOTED_SUBTESTS);
        let subtests = subtests.map(|words| format!("subtests: {words}"));
        let notes = [self.description.clone(), self.expired.clone(), subtests];
        notes.into_iter().flatten().collect()
    }

    /// Its subtests that did not pass in one line, `failed (n=1), (n=3); skipped (n=4); 7
    /// more`, of which so many are named; `None` without any.
    pub fn subtests_in_words(&self, most: usize) -> Option<String> {
        if self.subtests.is_empty() {
            return None;
        }
        let mut parts = Vec::new();
        for outcome in TestOutcome::ALL {
            let shown = self.subtests.iter().take(most);
            let names = shown.filter(|subtest| subtest.outcome == outcome);
            let names = names
                .map(|subtest| subtest.name.as_str())
                .collect::<Vec<_>>();
            if !names.is_empty() {
                parts.push(format!("{outcome} {}", names.join(", ")));
            }
        }
        let left = self.subtests.len().saturating_sub(most) as u64;
        let more = left.saturating_add(self.more_subtests);
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        Some(parts.join("; "))
    }

    /// Whether it makes the run fail: a failure that nobody expects, or a pass where
    /// a failure is listed.
    pub fn is_bad(&self) -> bool {
        match self.expected {
            None => self.outcome.is_bad(),
            Some(_) => self.outcome == TestOutcome::Passed,
        }
    }
}

/// How many tests ended in which way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(BTreeMap<TestOutcome, u64>);

impl Counts {
    pub fn add(&mut self, outcome: TestOutcome) {
        *self.0.entry(outcome).or_default() += 1;
    }

    pub fn get(&self, outcome: TestOutcome) -> u64 {
        self.0.get(&outcome).copied().unwrap_or(0)
    }

    pub fn finished(&self) -> u64 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// The tests that make unittest's own status a failure.
    pub fn bad(&self) -> u64 {
        let bad = self.0.iter().filter(|(outcome, _)| outcome.is_bad());
        bad.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    pub fn merge(&mut self, other: &Self) {
        for (outcome, count) in &other.0 {
            let sum = self.0.entry(*outcome).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Whether both say the same; an outcome left out is none.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let agrees = |outcome| self.get(outcome) == other.get(outcome);
        TestOutcome::ALL.into_iter().all(agrees)
    }
}

/// The end of a test process that another one replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Its exit status; 128+N for signal N.
    pub status: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// One event of the guest's runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum TestEvent {
    /// All tests have been loaded.
    RunStarted {
        tests: u64,
        /// How many there were before they were shared out among several VMs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        all: Option<u64>,
    },
    TestStarted {
        id: String,
    },
    TestFinished(FinishedTest),
    /// The test process ended before its last test; another one runs those behind it.
    RunnerDied(Death),
    /// The kernel complained. The host tells it.
    KernelComplained(Complaint),
    /// The last test ended.
    RunFinished {
        /// The runner's own tally.
        counts: Counts,
        /// From the first test to the last.
        #[serde(default)]
        seconds: f64,
    },
    Garbage {
        text: String,
        bytes: u64,
    },
}

/// The longest line that is taken for an event. The runner's longest have well
/// below 256 KiB (48 KiB of traceback, each byte at most `\u0000`).
const LONGEST_LINE: usize = 1024 * 1024;

/// How much of a line that is no event is kept.
const LONGEST_GARBAGE: usize = 200;

/// How many subtests a line about a test names.
const NOTED_SUBTESTS: usize = 20;

/// How many ends of test processes an outcome tells one by one.
const NAMED_DEATHS: usize = 20;

/// How many lines that are no events are told one by one.
const MOST_GARBAGE: u64 = 100;

/// How many bytes of one run are looked at. A test that writes events without end
/// must not fill the host's memory and disk; a thousand tests that fail with the
/// longest traceback need less than half.
const LONGEST_STREAM: u64 = 128 << 20;

/// A line, with the version that the runner puts first.
#[derive(Deserialize)]
struct Line {
    v: u64,
    #[serde(flatten)]
    event: TestEvent,
}

/// Makes events of bytes that arrive in pieces of any size. Memory is bounded by
/// [`LONGEST_LINE`], and what is told by [`LONGEST_STREAM`], whatever arrives.
#[derive(Debug, Default)]
pub struct EventParser {
    line: Vec<u8>,
    /// Bytes of this line that were not kept.
    dropped: u64,
    /// Bytes that have arrived.
    arrived: u64,
    garbage: u64,
    /// Those of them, and their bytes, that have not been told.
    more: (u64, u64),
}

impl EventParser {
    /// Takes bytes, gives the events that they complete.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<TestEvent> {
        let mut events = Vec::new();
        let room = LONGEST_STREAM.saturating_sub(self.arrived);
        self.arrived = self.arrived.saturating_add(bytes.len() as u64);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if let Some((kept, left)) = bytes.split_at_checked(room) {
            bytes = kept;
            // Without its end it is no event, whatever it was.
            self.more.1 = self.more.1.saturating_add(left.len() as u64);
        }
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            events.extend(self.complete());
        }
        self.keep(bytes);
        events
    }

    /// The stream has ended: what a cut line leaves, or what was too much.
    pub fn finish(&mut self) -> Option<TestEvent> {
        let event = self.complete();
        let (lines, bytes) = std::mem::take(&mut self.more);
        if bytes == 0 {
            return event;
        }
        let text = if self.arrived > LONGEST_STREAM {
            format!("more than {LONGEST_STREAM} bytes; the rest was not looked at")
        } else {
            format!("{lines} more lines that are no events")
        };
        Some(TestEvent::Garbage { text, bytes })
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = (LONGEST_LINE + 1).saturating_sub(self.line.len());
        let (kept, dropped) = bytes.split_at(bytes.len().min(room));
        self.line.extend_from_slice(kept);
        self.dropped += dropped.len() as u64;
    }

    fn complete(&mut self) -> Option<TestEvent> {
        let blank = self.line.iter().all(u8::is_ascii_whitespace) && self.dropped == 0;
        let event = (!blank).then(|| parse(&self.line, self.dropped));
        self.line.clear();
        self.dropped = 0;
        if let Some(TestEvent::Garbage { bytes, .. }) = event {
            self.garbage += 1;
            if self.garbage > MOST_GARBAGE {
                let (lines, sum) = &mut self.more;
                *lines += 1;
                *sum = sum.saturating_add(bytes);
                return None;
            }
        }
        event
    }
}

/// Seconds that somebody else states, at most a thousand years of them: the guest's clock
/// may be set, and a larger number would print hundreds of digits.
pub fn bounded(seconds: f64) -> f64 {
    seconds.clamp(0.0, 1000.0 * 365.25 * 86_400.0)
}

fn parse(line: &[u8], dropped: u64) -> TestEvent {
    if line.len() <= LONGEST_LINE
        && let Ok(Line { v: 1, mut event }) = serde_json::from_slice(line)
        // Only the host tells that.
        && !matches!(event, TestEvent::KernelComplained(_))
    {
        match &mut event {
            // Durations are sums and differences of the guest's clock.
            TestEvent::TestFinished(test) => {
                test.seconds = bounded(test.seconds);
                (test.expected, test.expired) = (None, None);
            }
            TestEvent::RunFinished { seconds, .. } => *seconds = bounded(*seconds),
            TestEvent::RunStarted { .. }
            | TestEvent::TestStarted { .. }
            | TestEvent::RunnerDied(_)
            | TestEvent::KernelComplained(_)
            | TestEvent::Garbage { .. } => {}
        }
        return event;
    }
    let start = &line[..line.len().min(LONGEST_GARBAGE)];
    TestEvent::Garbage {
        text: String::from_utf8_lossy(start).into_owned(),
        bytes: line.len() as u64 + dropped,
    }
}

/// The tally of a run while its events arrive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Tests that were loaded; `None` before `run-started`.
    pub tests: Option<u64>,
    /// Tests that were found, in a VM that runs only some of them.
    pub all: Option<u64>,
    pub counts: Counts,
    pub running: Option<String>,
    pub last: Option<String>,
    /// The ends of test processes that were replaced, in order.
    pub deaths: Vec<Death>,
    /// The runner's own tally, once it is there.
    pub finished: Option<Counts>,
    /// From the first test to the last, as the runner took it.
    pub seconds: f64,
    pub garbage: u64,
    /// The kernel's, in order.
    pub complaints: Vec<Complaint>,
    /// The finished tests, in order.
    pub finished_tests: Vec<FinishedTest>,
}

impl Tally {
    pub fn push(&mut self, event: &TestEvent) {
        match event {
            TestEvent::RunStarted { tests, all } => {
                self.tests = Some(self.tests.unwrap_or(0).saturating_add(*tests));
                self.all = *all;
            }
            TestEvent::TestStarted { id } => self.running = Some(id.clone()),
            TestEvent::TestFinished(test) => {
                if self.running.as_ref() == Some(&test.id) {
                    self.running = None;
                }
                self.last = Some(test.id.clone());
                self.counts.add(test.outcome);
                self.finished_tests.push(test.clone());
            }
            TestEvent::RunnerDied(death) => {
                self.running = None;
                self.deaths.push(death.clone());
            }
            TestEvent::RunFinished { counts, seconds } => {
                self.finished = Some(counts.clone());
                self.seconds = bounded(*seconds);
            }
            TestEvent::KernelComplained(complaint) => self.complaints.push(complaint.clone()),
            TestEvent::Garbage { .. } => self.garbage += 1,
        }
    }

    /// The tally of a run whose tests were split over several VMs. It is finished when
    /// all of them are.
    pub fn merge(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else {
            return Self::default();
        };
        for part in parts {
            all.tests = match (all.tests, part.tests) {
                (Some(some), Some(more)) => Some(some.saturating_add(more)),
                (some, more) => some.or(more),
            };
            all.all = all.all.or(part.all);
            all.counts.merge(&part.counts);
            all.running = all.running.or(part.running);
            all.last = part.last.or(all.last);
            all.deaths.extend(part.deaths);
            all.finished = match (all.finished, part.finished) {
                (Some(mut some), Some(more)) => {
                    some.merge(&more);
                    Some(some)
                }
                _ => None,
            };
            // They ran at the same time.
            all.seconds = all.seconds.max(part.seconds);
            all.complaints.extend(part.complaints);
            all.garbage = all.garbage.saturating_add(part.garbage);
            all.finished_tests.extend(part.finished_tests);
        }
        all
    }

    /// The outcome of a run whose tests passed.
    pub fn with_complaints(&self, outcome: RunOutcome) -> RunOutcome {
        let bad = self
            .complaints
            .iter()
            .filter(|complaint| complaint.is_bad());
        let bad = bad
            .map(|complaint| complaint.title.as_str())
            .collect::<Vec<_>>();
        match (outcome, &bad[..]) {
            (RunOutcome::Passed, [first, more @ ..]) => RunOutcome::Complained {
                how: match more.len() {
                    0 => (*first).to_owned(),
                    more => format!("{first} (and {more} more)"),
                },
            },
            (outcome, _) => outcome,
        }
    }

    /// The tests that make the run fail, in order.
    pub fn bad(&self) -> impl Iterator<Item = &FinishedTest> {
        self.finished_tests.iter().filter(|test| test.is_bad())
    }

    /// The names of skipped tests by reason.
    pub fn skipped(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut skipped = BTreeMap::<_, Vec<_>>::new();
        for test in &self.finished_tests {
            if test.outcome == TestOutcome::Skipped {
                let reason = test.reason.as_deref().unwrap_or_default();
                skipped.entry(reason).or_default().push(test.id.as_str());
            }
        }
        skipped
    }

    /// The tests that ended a process, besides the one that the outcome names.
    pub fn killers(&self) -> impl Iterator<Item = &str> {
        self.deaths.iter().filter_map(|death| death.id.as_deref())
    }

    /// How a run ended whose command ended with `status` (128+N for signal N).
    pub fn outcome(&self, status: u8) -> RunOutcome {
        let died = |how: String| RunOutcome::RunnerDied {
            how,
            running: self.running.clone(),
        };
        let Some(finished) = &self.finished else {
            // 5 is also what the runner says, but without its last event the
            // test process may as well have called os._exit(5).
            let how = format!("{} before the last test was done", words(status));
            return died(how + &other_deaths(&self.deaths));
        };
        if !finished.agrees_with(&self.counts) {
            let (counted, told) = (finished.finished(), self.counts.finished());
            return died(format!("it counted {counted} tests but told of {told}"));
        }
        if let Some((first, others)) = self.deaths.split_first() {
            let (first_words, others) = (words(first.status), other_deaths(others));
            let behind = format!("the tests behind it ran in a new process{others}");
            return RunOutcome::RunnerDied {
                how: format!("{first_words} before the last test was done\n{behind}"),
                running: first.id.clone(),
            };
        }
        if self.bad().next().is_some() {
            return RunOutcome::TestsFailed;
        }
        match (status, self.counts.bad(), self.counts.finished()) {
            // The runner does not know which failures are expected.
            (0 | 1, 1.., _) => RunOutcome::Passed,
            (_, 1.., _) => died(format!("{} after the last test", words(status))),
            (0 | 5, 0, 0) => RunOutcome::NoTests,
            (0, 0, _) => RunOutcome::Passed,
            (_, 0, _) => died(format!(
                "{} after the last test, none of which failed",
                words(status)
            )),
        }
    }
}

/// Ends of processes besides the one that the outcome is about, a line each.
fn other_deaths(deaths: &[Death]) -> String {
    let named = deaths.iter().take(NAMED_DEATHS).map(|death| {
        let running = death.id.iter().map(|id| format!(", while running {id}"));
        let running = running.collect::<String>();
        format!("\nanother process {}{running}", words(death.status))
    });
    let more = deaths.len().saturating_sub(NAMED_DEATHS);
    let more = (more > 0).then(|| format!("\nand {more} more"));
    named.chain(more).collect()
}

/// The status of a command in a shell's way, in words.
fn words(status: u8) -> String {
    let number = i32::from(status) - 128;
    match signal_hook::low_level::signal_name(number) {
        Some(name) => format!("ended by signal {number} ({name})"),
        None => format!("ended with status {status}"),
    }
}

/// How one run ended: one kernel, or the host's own tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Status 0 and a `run-finished` whose counts agree with the finished tests.
    Passed,
    /// All tests passed, and the kernel complained of something that nothing allows.
    Complained {
        /// The first complaint, and how many more there are.
        how: String,
    },
    /// At least one test failed.
    TestsFailed,
    /// The test process ended without `run-finished`, or against it.
    RunnerDied {
        how: String,
        running: Option<String>,
    },
    NoTests,
    /// QEMU died, or the guest could not start the tests.
    Lost {
        how: String,
        running: Option<String>,
    },
    Panicked {
        /// The first line that says so.
        how: String,
        running: Option<String>,
    },
    Stuck {
        /// `boot`, `command`, `shutdown` or `capture boot`.
        phase: String,
        how: String,
        running: Option<String>,
    },
    /// Something before the VM failed: set-up, fetching or building.
    NotStarted {
        stage: Stage,
        how: String,
    },
}

/// What was done for a run when it failed before its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// What the tests need was made, e.g. their kernel module.
    Setup,
    Fetch,
    Build,
}

impl RunOutcome {
    /// Whether all tests came to their end, so that what did not happen in them is known.
    pub fn is_complete(&self) -> bool {
        matches!(
            self,
            Self::Passed | Self::Complained { .. } | Self::TestsFailed
        )
    }

    /// The name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Complained { .. } => "complained",
            Self::TestsFailed => "tests failed",
            Self::RunnerDied { .. } => "runner died",
            Self::NoTests => "no tests ran",
            Self::Lost { .. } => "lost",
            Self::Panicked { .. } => "panicked",
            Self::Stuck { .. } => "stuck",
            Self::NotStarted { stage, .. } => match stage {
                Stage::Setup => "setup failed",
                Stage::Fetch => "fetch failed",
                Stage::Build => "build failed",
            },
        }
    }

    /// What happened, where the name does not say all.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Passed | Self::TestsFailed | Self::NoTests => None,
            Self::RunnerDied { how, .. }
            | Self::Complained { how }
            | Self::Lost { how, .. }
            | Self::Panicked { how, .. } => Some(how.clone()),
            Self::Stuck { phase, how, .. } => Some(format!("{phase}: {how}")),
            Self::NotStarted { how, .. } => Some(how.clone()),
        }
    }

    pub fn running(&self) -> Option<&str> {
        match self {
            Self::RunnerDied { running, .. }
            | Self::Lost { running, .. }
            | Self::Panicked { running, .. }
            | Self::Stuck { running, .. } => running.as_deref(),
            Self::Passed
            | Self::Complained { .. }
            | Self::TestsFailed
            | Self::NoTests
            | Self::NotStarted { .. } => None,
        }
    }

    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Complained { .. } | Self::TestsFailed | Self::RunnerDied { .. } => 1,
            Self::NotStarted { .. } => 3,
            Self::Lost { .. } | Self::Panicked { .. } | Self::Stuck { .. } => 4,
            Self::NoTests => 5,
        }
    }
}

/// The exit status of several runs: the first of 1, 4, 3, 5 that occurred.
pub fn exit_status<'a>(outcomes: impl IntoIterator<Item = &'a RunOutcome>) -> u8 {
    let statuses = outcomes.into_iter().map(RunOutcome::exit_status);
    let statuses = statuses.collect::<Vec<_>>();
    let mut worst = [1, 4, 3, 5].into_iter();
    worst.find(|status| statuses.contains(status)).unwrap_or(0)
}

/// Class and name. Dots behind the first blank (`setUpClass (tests.test_x.TestX)`, parameters
/// of subtests) separate nothing.
pub fn class_and_name(id: &str) -> (&str, &str) {
    let end = id.find([' ', '(', '[']).unwrap_or(id.len());
    match id[..end].rfind('.') {
        Some(dot) => (&id[..dot], &id[dot + 1..]),
        None => ("", id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<TestEvent> {
        let mut parser = EventParser::default();
        let mut events = parser.push(text.as_bytes());
        events.extend(parser.finish());
        events
    }

    fn tally(events: &[TestEvent]) -> Tally {
        let mut tally = Tally::default();
        for event in events {
            tally.push(event);
        }
        tally
    }

    const RUN: &str = r#"{"v":1,"event":"run-started","tests":3}
{"v":1,"event":"test-started","id":"a.A.ok"}
{"v":1,"event":"test-finished","id":"a.A.ok","outcome":"passed","seconds":0.5}
{"v":1,"event":"test-started","id":"a.A.bad"}
{"v":1,"event":"test-finished","id":"a.A.bad","outcome":"failed","seconds":0.25,"reason":"AssertionError: 1 != 2","traceback":"Traceback…"}
{"v":1,"event":"test-finished","id":"a.B.left","outcome":"skipped","seconds":0,"reason":"no disk"}
{"v":1,"event":"run-finished","counts":{"passed":1,"failed":1,"error":0,"skipped":1,"expected-failure":0,"unexpected-success":0},"seconds":1.5}
"#;

    #[test]
    fn a_whole_run_is_tallied() {
        let events = events(RUN);
        assert_eq!(events.len(), 7);
        let tally = tally(&events);
        assert_eq!(tally.tests, Some(3));
        assert_eq!(tally.counts.finished(), 3);
        assert_eq!(tally.garbage, 0);
        assert_eq!(tally.running, None);
        assert_eq!(
            tally.bad().next().unwrap().reason.as_deref(),
            Some("AssertionError: 1 != 2")
        );
        assert_eq!(tally.skipped()["no disk"], ["a.B.left"]);
        assert_eq!(tally.outcome(1), RunOutcome::TestsFailed);
        // The process may have been made to end well; the tests failed all the same.
        assert_eq!(tally.outcome(0), RunOutcome::TestsFailed);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_events() {
        let whole = events(RUN);
        for size in [1, 2, 7, 64, 1000] {
            let mut parser = EventParser::default();
            let mut pieces = Vec::new();
            for piece in RUN.as_bytes().chunks(size) {
                pieces.extend(parser.push(piece));
            }
            assert_eq!(parser.finish(), None);
            assert_eq!(pieces, whole, "pieces of {size} bytes");
        }
    }

    #[test]
    fn every_cut_of_a_run_is_a_runner_that_died() {
        for end in 0..RUN.trim_end().len() {
            if !RUN.is_char_boundary(end) {
                continue;
            }
            let tally = tally(&events(&RUN[..end]));
            for status in [0, 1, 5, 139] {
                let outcome = tally.outcome(status);
                assert!(
                    matches!(outcome, RunOutcome::RunnerDied { .. }),
                    "{end}: {outcome:?}"
                );
            }
        }
    }

    #[test]
    fn the_running_test_is_named() {
        let cut = RUN.split_inclusive('\n').take(4).collect::<String>();
        assert_eq!(
            tally(&events(&cut)).outcome(139),
            RunOutcome::RunnerDied {
                how: "ended by signal 11 (SIGSEGV) before the last test was done".to_owned(),
                running: Some("a.A.bad".to_owned()),
            }
        );
        assert_eq!(
            tally(&events(&cut)).outcome(0),
            RunOutcome::RunnerDied {
                how: "ended with status 0 before the last test was done".to_owned(),
                running: Some("a.A.bad".to_owned()),
            }
        );
    }

    #[test]
    fn odd_lines_are_garbage_and_nothing_else() {
        for line in [
            "x",
            "{}",
            "[]",
            "null",
            "{\"v\":1}",
            "{\"v\":2,\"event\":\"run-started\",\"tests\":1}",
            "{\"event\":\"run-started\",\"tests\":1}",
            "{\"v\":1,\"event\":\"run-started\",\"tests\":-1}",
            "{\"v\":1,\"event\":\"run-started\",\"tests\":1e400}",
            "{\"v\":1,\"event\":\"run-started\"",
            "{\"v\":1,\"event\":\"test-finished\",\"id\":\"a\",\"outcome\":\"great\"}",
            "{\"v\":1,\"event\":\"test-finished\",\"id\":7,\"outcome\":\"passed\"}",
            "{\"v\":1,\"event\":\"something-new\"}",
            "{\"v\":1,\"event\":\"test-started\",\"id\":\"\\udcff\"}",
        ] {
            let events = events(&format!("{line}\n"));
            assert!(
                matches!(&events[..], [TestEvent::Garbage { bytes, .. }] if *bytes == line.len() as u64),
                "{line}: {events:?}"
            );
        }
        assert_eq!(events("\n \r\n\n"), []);
        let mut parser = EventParser::default();
        assert_eq!(
            parser.push(b"\xff\xfe\0\n"),
            [TestEvent::Garbage {
                text: "\u{fffd}\u{fffd}\0".to_owned(),
                bytes: 3
            }]
        );
    }

    #[test]
    fn garbage_between_events_costs_only_itself() {
        let noisy = RUN.replace('\n', "\nnoise\n");
        let tally = tally(&events(&noisy));
        assert_eq!(tally.garbage, 7);
        assert_eq!(tally.outcome(1), RunOutcome::TestsFailed);
    }

    #[test]
    fn a_huge_line_takes_bounded_memory() {
        let mut parser = EventParser::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            assert_eq!(parser.push(&piece), []);
            assert!(parser.line.capacity() <= 4 * LONGEST_LINE);
        }
        let events = parser.push(b"\n{\"v\":1,\"event\":\"run-started\",\"tests\":1}\n");
        let [
            TestEvent::Garbage { text, bytes },
            TestEvent::RunStarted { tests: 1, .. },
        ] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((text.len(), *bytes), (LONGEST_GARBAGE, 64 << 20));
    }

    #[test]
    fn endless_garbage_is_told_in_few_words() {
        let mut parser = EventParser::default();
        let mut told = 0;
        for _ in 0..1000 {
            told += parser.push(&b"xy\n".repeat(100)).len();
        }
        // What is no garbage comes through.
        assert_eq!(parser.push(RUN.as_bytes()).len(), 7);
        assert_eq!(told, 100);
        assert_eq!(
            parser.finish(),
            Some(TestEvent::Garbage {
                text: "99900 more lines that are no events".to_owned(),
                bytes: 199_800,
            })
        );
    }

    #[test]
    fn endless_events_come_to_an_end() {
        // A forged event and the run that it is in: no `run-finished` comes through.
        let event = r#"{"v":1,"event":"test-finished","id":"x","outcome":"passed"}"#;
        let line = format!("{event}{}\n", " ".repeat(LONGEST_LINE - event.len() - 1));
        let mut parser = EventParser::default();
        let mut told = 0;
        for _ in 0..200 {
            told += parser.push(line.as_bytes()).len();
        }
        assert_eq!(told, 128);
        assert_eq!(parser.push(RUN.as_bytes()), []);
        let Some(TestEvent::Garbage { text, bytes }) = parser.finish() else {
            panic!("the end was not told")
        };
        assert_eq!(
            text,
            "more than 134217728 bytes; the rest was not looked at"
        );
        assert_eq!(bytes, (72 << 20) + RUN.len() as u64);
    }

    #[test]
    fn the_longest_line_of_the_runner_is_taken() {
        let traceback = "\\u0000".repeat(50 * 1024);
        let line = format!(
            r#"{{"v":1,"event":"test-finished","id":"a","outcome":"error","traceback":"{traceback}"}}"#
        );
        assert!(matches!(&events(&line)[..], [TestEvent::TestFinished(_)]));
    }

    #[test]
    fn a_run_passes_only_when_all_agree() {
        let run = |finished: u64, told: u64| {
            let mut tally = Tally::default();
            for n in 0..told {
                let test = FinishedTest::new(n.to_string(), TestOutcome::Passed);
                tally.push(&TestEvent::TestFinished(test));
            }
            let mut counts = Counts::default();
            (0..finished).for_each(|_| counts.add(TestOutcome::Passed));
            tally.push(&TestEvent::RunFinished {
                counts,
                seconds: 0.0,
            });
            tally
        };
        assert_eq!(run(2, 2).outcome(0), RunOutcome::Passed);
        assert_eq!(run(0, 0).outcome(0), RunOutcome::NoTests);
        assert_eq!(run(0, 0).outcome(5), RunOutcome::NoTests);
        for (finished, told, status) in [(2, 1, 0), (1, 2, 0), (2, 2, 1), (2, 2, 134), (0, 0, 1)] {
            let outcome = run(finished, told).outcome(status);
            assert_eq!(outcome.exit_status(), 1, "{outcome:?}");
            assert!(matches!(outcome, RunOutcome::RunnerDied { .. }));
        }
    }

    #[test]
    fn the_exit_status_is_the_first_of_1_4_3_5() {
        let passed = RunOutcome::Passed;
        let failed = RunOutcome::TestsFailed;
        let none = RunOutcome::NoTests;
        let lost = RunOutcome::Lost {
            how: String::new(),
            running: None,
        };
        let unbuilt = RunOutcome::NotStarted {
            stage: Stage::Build,
            how: String::new(),
        };
        for (outcomes, status) in [
            (vec![], 0),
            (vec![&passed, &passed], 0),
            (vec![&passed, &none], 5),
            (vec![&none, &unbuilt], 3),
            (vec![&unbuilt, &none, &lost], 4),
            (vec![&unbuilt, &lost, &failed, &none], 1),
        ] {
            assert_eq!(exit_status(outcomes), status);
        }
    }
}
