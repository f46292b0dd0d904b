//! `results.jsonl`: all that is known about a session, one JSON object per line.
//! Every report is made from it, so that a report can be made again later, and on
//! another machine.
//!
//! ```text
//! {"v":1,"event":"session-started","project":"drgn","kernels":["6.1.*"],"filtered":false,…}
//! {"v":1,"event":"vm-started","kernel":"6.1.192-vmtest1.1default","arch":"x86_64","flavor":"default"}
//! {"v":1,"event":"run-started","tests":922,"kernel":…}          and the guest's other events
//! {"v":1,"event":"vm-retried","outcome":"lost","how":…,"kernel":…}
//! {"v":1,"event":"vm-finished","outcome":"passed","seconds":{"boot":2.1,…},"kernel":…}
//! {"v":1,"event":"session-finding","text":"partition 2 of 3 is missing"}
//! {"v":1,"event":"session-finished"}
//! ```
//!
//! The tests after a kernel's crash are a run of their own: all of its lines have
//! `"suite":"crash"`, and it has its own `vm-started`, which is the crash, and
//! `vm-finished`. It is there if the main tests came to a verdict (and, when only some
//! tests were asked for, there are some of these among them).
//!
//! Lines of several kernels are mixed as they come; those of one kernel are in
//! order. A kernel whose tests are split over several VMs has `shard` (1 and up) in
//! all lines but `vm-started` and `vm-finished`, which there is one of per kernel.
//! A finding is what is wrong with the session and with no single run. After
//! `vm-retried` the events of that kernel (of that shard) begin anew. A file
//! that was cut short has kernels without `vm-finished`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::error::{Failure, FailureKind, in_full};
use crate::base::shown;
use crate::model::expectation::Expectation;
use crate::model::test_event::{self, FinishedTest, RunOutcome, Stage, Tally, TestEvent, bounded};

/// The file in a session's folder that all reports are made from.
pub const RESULTS: &str = "results.jsonl";

/// The usage error for a folder that has results: they are never overwritten.
pub fn there_already(results: &Path) -> Failure {
    Failure::usage(format!("{} is there already", results.display()))
        .hint("name an empty folder, or remove the results")
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunName {
    /// The kernel's release, the request that gave no kernel, or `local`.
    pub kernel: String,
    /// The architecture's name; empty for `local`.
    pub arch: String,
    pub flavor: Option<String>,
    /// [`CRASH`] for the tests after the kernel's crash. In a line it is called `suite`,
    /// because outcomes have a phase of their own.
    #[serde(rename = "suite", default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
}

/// The phase of tests that run after a kernel's crash.
pub const CRASH: &str = "crash";

impl RunName {
    pub fn crash(&self) -> Self {
        Self {
            phase: Some(CRASH.to_owned()),
            ..self.clone()
        }
    }

    /// The kernel and the phase: `6.1.192-vmtest1.1default crash`.
    pub fn title(&self) -> String {
        match &self.phase {
            None => self.kernel.clone(),
            Some(phase) => format!("{} {phase}", self.kernel),
        }
    }

    /// The title, with the architecture where several are told apart.
    pub fn among(&self, several_arches: bool) -> String {
        match several_arches {
            true => self.to_string(),
            false => self.title(),
        }
    }

    /// Whether both are of one kernel, whatever the phase.
    pub fn is_same_kernel(&self, other: &Self) -> bool {
        self.kernel == other.kernel && self.arch == other.arch && self.flavor == other.flavor
    }
}

impl fmt::Display for RunName {
    /// `6.1.192-vmtest1.1default (x86_64)`, with the phase behind the kernel if there is
    /// one, or `local`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title())?;
        match self.arch.as_str() {
            "" => Ok(()),
            arch => write!(f, " ({arch})"),
        }
    }
}

/// One call of `test`: what it was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub project: String,
    /// When it began, `2026-11-25T16:21:20Z`.
    pub started: String,
    /// The kernel requests, all of them, whatever the partition.
    pub kernels: Vec<String>,
    /// Which part of them: the first number of the second, both from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<(u32, u32)>,
    /// Only some of the tests were asked for.
    #[serde(default)]
    pub filtered: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<Expectation>,
}

/// Seconds by phase; absent where it was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Getting the kernel and building the test module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare: Option<f64>,
    /// From QEMU's start, or that of the crash, to the tests' start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<f64>,
    /// Of that, the kernel from its first moment to its first program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<f64>,
    /// Of that, the initramfs, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<f64>,
    /// Of that, init from its first line to the tests' start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<f64>,
    /// From the first test to the last, as the guest took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<f64>,
    /// From QEMU's start to its end, or that of the crash; of a crash, from there to
    /// QEMU's end; of the process for `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
}

impl Phases {
    fn bounded(mut self) -> Self {
        let boot = [
            &mut self.boot,
            &mut self.kernel,
            &mut self.initramfs,
            &mut self.init,
        ];
        let others = [&mut self.prepare, &mut self.tests, &mut self.total];
        for seconds in boot.into_iter().chain(others).flatten() {
            *seconds = bounded(*seconds);
        }
        self
    }
}

/// What shows how a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What the kernel said about its end, cut out of its messages.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trouble: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_tail: String,
    /// The last lines of the kernel's messages.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub console_tail: String,
    /// The logs: what they hold (`output`, `console`, `dump`), and where they are, in
    /// the folder of the results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<(String, PathBuf)>,
    /// Core dumps of programs, where `--keep-cores` has put them on the host that ran it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<PathBuf>,
}

/// How a run ended: on one kernel, in one VM that has a part of its tests, or on this host.
/// As JSON it is what the line `vm-finished` adds; the rest is in other lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    #[serde(skip)]
    pub name: RunName,
    #[serde(flatten)]
    pub outcome: RunOutcome,
    #[serde(skip)]
    pub tally: Tally,
    #[serde(default)]
    pub seconds: Phases,
    /// How the processors ran, for people; `None` for `local`.
    #[serde(default)]
    pub acceleration: Option<String>,
    /// The guest's root, for people, if it is not the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// How VMs ended that were started again.
    #[serde(skip)]
    pub retries: Vec<RunOutcome>,
    #[serde(default)]
    pub evidence: Evidence,
}

impl RunRecord {
    pub fn new(name: RunName, outcome: RunOutcome) -> Self {
        Self {
            name,
            outcome,
            tally: Tally::default(),
            seconds: Phases::default(),
            acceleration: None,
            root: None,
            retries: Vec::new(),
            evidence: Evidence::default(),
        }
    }

    /// A run that ended before it had a VM.
    pub fn not_started(name: RunName, stage: Stage, error: &anyhow::Error) -> Self {
        let how = in_full(error);
        Self::new(name, RunOutcome::NotStarted { stage, how })
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// What was asked for; that of an old file is empty.
    pub session: Session,
    /// The runs, in the order of their first lines. One without `vm-finished` is
    /// [`RunOutcome::Lost`].
    pub runs: Vec<RunRecord>,
    /// What is wrong with the session as a whole, for people: it makes it fail.
    pub findings: Vec<String>,
    pub finished: bool,
}

/// A line of the file, as JSON; `name` is left out of the session's own lines. The
/// event is in the fields already if it is empty here.
pub fn line(
    event: &str,
    name: Option<&RunName>,
    shard: Option<u32>,
    fields: &impl Serialize,
) -> Result<String> {
    let mut line = serde_json::Map::new();
    line.insert("v".to_owned(), 1.into());
    if !event.is_empty() {
        line.insert("event".to_owned(), event.into());
    }
    for value in [serde_json::to_value(fields), serde_json::to_value(name)] {
        let value = value.context("cannot write a result as JSON")?;
        for (name, value) in value.as_object().into_iter().flatten() {
            line.entry(name).or_insert_with(|| value.clone());
        }
    }
    line.extend(shard.map(|shard| ("shard".to_owned(), shard.into())));
    Ok(Value::Object(line).to_string())
}

pub fn finding(text: &str) -> Result<String> {
    let fields = serde_json::json!({ "text": text });
    line("session-finding", None, None, &fields)
}

/// What a run's lines have given so far.
#[derive(Default)]
struct OpenRun {
    name: RunName,
    shards: BTreeMap<u32, Tally>,
    retries: Vec<RunOutcome>,
    end: Option<RunRecord>,
}

/// What tells lines apart. Each is read twice, as this and as what it is: that is faster
/// than once as a value of any kind.
#[derive(Deserialize)]
struct LineHead<'l> {
    v: u64,
    #[serde(borrow)]
    event: Cow<'l, str>,
    #[serde(borrow)]
    kernel: Option<Cow<'l, str>>,
    #[serde(borrow)]
    arch: Option<Cow<'l, str>>,
    flavor: Option<String>,
    suite: Option<String>,
    #[serde(default)]
    shard: u32,
}

#[derive(Deserialize)]
struct FindingLine {
    text: String,
}

#[derive(Deserialize)]
struct StartedLine {
    id: String,
}

fn read<'l, T: Deserialize<'l>>(line: &'l str) -> Option<T> {
    serde_json::from_str(line).ok()
}

impl Results {
    /// Reads a file's text. Lines that are not ours are left out, as is one that was
    /// cut off at the end.
    pub fn parse(text: &str) -> Result<Self> {
        let mut results = Self::default();
        let mut open = Vec::<OpenRun>::new();
        let mut any = text.is_empty();
        for line in text.lines() {
            any |= results.take(line, &mut open).is_some();
        }
        results.runs = open.into_iter().map(close).collect();
        present(&mut results.session.project);
        anyhow::ensure!(any, "no line of it is a test result");
        Ok(results)
    }

    /// The exit status of a command that shows them: that of `test` in this session. One
    /// that was cut short has not passed.
    pub fn exit_status(&self) -> u8 {
        if !self.findings.is_empty() {
            return FailureKind::Findings.exit_status();
        }
        match self.runs_status() {
            0 if !self.finished => FailureKind::Vm.exit_status(),
            status => status,
        }
    }

    /// The same of the runs alone.
    pub fn runs_status(&self) -> u8 {
        let counted = self.runs.iter().filter(|run| {
            // With a filter, every selected test may belong to the kernel's other phase.
            let other = |other: &RunRecord| {
                other.name != run.name
                    && other.name.is_same_kernel(&run.name)
                    && other.tally.counts.finished() > 0
            };
            let nothing = self.session.filtered && run.outcome == RunOutcome::NoTests;
            !(nothing && self.runs.iter().any(other))
        });
        test_event::exit_status(counted.map(|run| &run.outcome))
    }

    fn take(&mut self, line: &str, open: &mut Vec<OpenRun>) -> Option<()> {
        let head = read::<LineHead<'_>>(line).filter(|head| head.v == 1)?;
        match &*head.event {
            "session-started" => self.session = read(line)?,
            "session-finding" => self.findings.push(read::<FindingLine>(line)?.text),
            "session-finished" => self.finished = true,
            event => {
                let name = RunName {
                    kernel: head.kernel?.into_owned(),
                    arch: head.arch?.into_owned(),
                    flavor: head.flavor,
                    phase: head.suite,
                };
                let found = open.iter().rposition(|run| run.name == name);
                let index = found.unwrap_or_else(|| {
                    open.push(OpenRun {
                        name,
                        ..OpenRun::default()
                    });
                    open.len() - 1
                });
                open.get_mut(index)?.take(event, head.shard, line)?;
            }
        }
        Some(())
    }
}

impl OpenRun {
    fn take(&mut self, event: &str, shard: u32, line: &str) -> Option<()> {
        let tally = self.shards.entry(shard).or_default();
        match event {
            "vm-started" => {}
            "vm-retried" => {
                *tally = Tally::default();
                self.retries.push(read(line)?);
            }
            "vm-finished" => self.end = Some(read(line)?),
            "test-started" => {
                let StartedLine { id } = read(line)?;
                tally.push(&TestEvent::TestStarted { id });
            }
            "test-finished" => {
                let mut test = read::<FinishedTest>(line)?;
                test.seconds = bounded(test.seconds);
                tally.push(&TestEvent::TestFinished(test));
            }
            _ => tally.push(&read(line)?),
        }
        Some(())
    }
}

/// Names go into lines, tables and file names of every report; the file may come from anywhere.
fn present(text: &mut String) {
    *text = shown::line(text);
}

fn close(run: OpenRun) -> RunRecord {
    let tally = Tally::merge(run.shards.into_values());
    let end = run.end.unwrap_or_else(|| {
        let how = "the session ended before this run did".to_owned();
        let running = tally.running.clone();
        RunRecord::new(RunName::default(), RunOutcome::Lost { how, running })
    });
    let mut record = RunRecord {
        name: run.name,
        tally,
        retries: run.retries,
        seconds: end.seconds.bounded(),
        ..end
    };
    let name = &mut record.name;
    let texts = [&mut name.kernel, &mut name.arch].into_iter();
    let about = [&mut record.acceleration, &mut record.root];
    let more = [&mut name.flavor, &mut name.phase].into_iter().chain(about);
    texts.chain(more.flatten()).for_each(present);
    record
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name() -> RunName {
        RunName {
            kernel: "6.1.192-vmtest1.1default".to_owned(),
            arch: "x86_64".to_owned(),
            flavor: Some("default".to_owned()),
            phase: None,
        }
    }

    fn text(lines: &[(&str, Option<u32>, Value)]) -> String {
        let line = |(event, shard, fields): &(&str, Option<u32>, Value)| {
            let name = name();
            let session = event.starts_with("session");
            line(event, (!session).then_some(&name), *shard, fields).unwrap() + "\n"
        };
        lines.iter().map(line).collect()
    }

    fn finished(id: &str) -> Value {
        serde_json::json!({"id": id, "outcome": "passed", "seconds": 0.5})
    }

    fn counts(passed: u64) -> Value {
        serde_json::json!({"counts": {"passed": passed}, "seconds": 1.0})
    }

    #[test]
    fn what_is_written_is_read() {
        let session = Session {
            project: "drgn".to_owned(),
            started: "2026-11-25T16:21:20Z".to_owned(),
            kernels: vec!["6.1.*".to_owned()],
            partition: Some((1, 2)),
            filtered: true,
            expectations: vec![Expectation {
                test: "t.*".to_owned(),
                complaint: false,
                kernels: Some(">=5.11".to_owned()),
                flavor: None,
                arch: None,
                reason: "why".to_owned(),
                until: None,
            }],
        };
        let panicked = RunOutcome::Panicked {
            how: "Kernel panic".to_owned(),
            running: Some("t.A.b".to_owned()),
        };
        let finish = RunRecord {
            seconds: Phases {
                boot: Some(2.0),
                total: Some(9.0),
                ..Phases::default()
            },
            acceleration: Some("KVM".to_owned()),
            root: Some("Debian trixie".to_owned()),
            evidence: Evidence {
                trouble: "Kernel panic\nCall Trace:".to_owned(),
                logs: vec![("console".to_owned(), "console.log".into())],
                ..Evidence::default()
            },
            ..RunRecord::new(RunName::default(), panicked)
        };
        let text = text(&[
            (
                "session-started",
                None,
                serde_json::to_value(&session).unwrap(),
            ),
            ("vm-started", None, serde_json::json!({})),
            ("run-started", None, serde_json::json!({"tests": 2})),
            ("test-finished", None, finished("t.A.a")),
            ("test-started", None, serde_json::json!({"id": "t.A.b"})),
            ("vm-finished", None, serde_json::to_value(&finish).unwrap()),
            ("session-finding", None, serde_json::json!({"text": "odd"})),
            ("session-finished", None, serde_json::json!({})),
        ]);
        let results = Results::parse(&text).unwrap();
        assert_eq!(results.session, session);
        assert!(results.finished);
        assert_eq!(results.findings, ["odd"]);
        let [run] = &results.runs[..] else {
            panic!("{results:?}")
        };
        assert_eq!(run.name, name());
        assert_eq!(run.outcome, finish.outcome);
        assert_eq!(run.seconds, finish.seconds);
        assert_eq!(run.evidence, finish.evidence);
        assert_eq!(run.tally.finished_tests[0].id, "t.A.a");
        assert_eq!(run.tally.running.as_deref(), Some("t.A.b"));
    }

    #[test]
    fn shards_are_one_run_and_a_retry_begins_anew() {
        let results = Results::parse(&text(&[
            ("vm-started", None, serde_json::json!({})),
            ("run-started", Some(1), serde_json::json!({"tests": 2})),
            ("run-started", Some(2), serde_json::json!({"tests": 1})),
            ("test-finished", Some(1), finished("t.A.a")),
            ("test-finished", Some(2), finished("t.B.a")),
            (
                "vm-retried",
                Some(1),
                serde_json::json!({"outcome": "lost", "how": "killed", "running": null}),
            ),
            ("run-finished", Some(2), counts(1)),
            ("run-started", Some(1), serde_json::json!({"tests": 2})),
            ("test-finished", Some(1), finished("t.A.a")),
            ("test-finished", Some(1), finished("t.A.b")),
            ("run-finished", Some(1), counts(2)),
            (
                "vm-finished",
                None,
                serde_json::json!({"outcome": "passed"}),
            ),
        ]))
        .unwrap();
        let run = &results.runs[0];
        assert_eq!(run.outcome, RunOutcome::Passed);
        assert_eq!(run.tally.tests, Some(3));
        assert_eq!(run.tally.counts.finished(), 3);
        assert_eq!(run.retries.len(), 1);
    }

    #[test]
    fn tests_after_a_crash_are_a_run_of_their_own() {
        let crash = name().crash();
        assert_eq!(crash.to_string(), "6.1.192-vmtest1.1default crash (x86_64)");
        let of = |name: &RunName, event, fields: &Value| {
            line(event, Some(name), None, fields).unwrap() + "\n"
        };
        let mut text = String::new();
        for (run, outcome) in [(&name(), "passed"), (&crash, "tests-failed")] {
            text += &of(run, "vm-started", &json!({}));
            text += &of(run, "test-finished", &finished("t.A.a"));
            text += &of(
                run,
                "vm-retried",
                &json!({"outcome": "stuck", "phase": "boot", "how": "", "running": null}),
            );
            text += &of(run, "test-finished", &finished("t.A.a"));
            text += &of(run, "vm-finished", &json!({ "outcome": outcome }));
        }
        assert_eq!(text.matches(r#""suite":"crash""#).count(), 5);
        let results = Results::parse(&text).unwrap();
        let [main, after] = &results.runs[..] else {
            panic!("{results:?}")
        };
        assert_eq!((&main.name, &after.name), (&name(), &crash));
        assert_eq!(main.outcome, RunOutcome::Passed);
        assert_eq!(after.outcome, RunOutcome::TestsFailed);
        assert_eq!(after.tally.counts.finished(), 1);
        assert!(main.name.is_same_kernel(&crash));
    }

    #[test]
    fn lines_about_tests_are_read_as_all_others() {
        let texts = json!({
            "reason": "\"\\u{7}é", "traceback": "a\n", "expected": "e", "shard": 3, "more": [1],
        });
        let tests = [
            json!({"event": "test-started", "id": "a\tb", "outcome": "odd"}),
            json!({"event": "test-started", "id": "a", "outcome": "passed", "kernel": "\u{1}"}),
            json!({"event": "test-finished", "id": "a", "outcome": "error"}),
            json!({"event": "test-finished", "id": "a"}),
            json!({"event": "test-finished", "id": 1, "outcome": "error"}),
            json!({"event": "test-finished", "id": "b", "outcome": "passed", "seconds": -1, "v": 2}),
        ];
        let mut text = String::new();
        for test in tests {
            for extra in [&json!({}), &texts] {
                let mut line = json!({"v": 1, "kernel": "6.1", "arch": "x", "flavor": null});
                let map = line.as_object_mut().unwrap();
                for fields in [extra, &test] {
                    map.extend(fields.as_object().unwrap().clone());
                }
                text += &format!("{line}\n");
            }
        }
        // A name with an escape in it is not read directly.
        let slow = text.replace("\"test-", "\"\\u0074est-");
        assert_ne!(slow, text);
        let results = Results::parse(&text).unwrap();
        assert_eq!(results.runs.len(), 2);
        assert_eq!(results.runs[0].tally.counts.finished(), 2);
        assert_eq!(results, Results::parse(&slow).unwrap());
    }

    #[test]
    fn a_cut_file_has_lost_runs() {
        let text = text(&[
            ("vm-started", None, serde_json::json!({})),
            ("test-started", None, serde_json::json!({"id": "t.A.b"})),
            ("test-finished", None, finished("t.A.b")),
        ]);
        for end in text.find('\n').unwrap() + 1..text.len() {
            let results = Results::parse(&text[..end]).unwrap();
            assert!(!results.finished);
            assert_eq!(results.runs[0].outcome.name(), "lost");
        }
        assert!(Results::parse("nothing\n{}\n[]").is_err());
    }
}
