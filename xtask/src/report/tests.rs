//! Results as tests of reports want them: made as the text of a results file, and read
//! back, so that no test has what no file can say.

use serde_json::{Value, json};

use crate::model::results::{Evidence, Phases, Results, RunName, RunRecord, Session, line};
use crate::model::test_event::{RunOutcome, Stage};

/// A run in the making.
pub struct Sample {
    name: RunName,
    events: Vec<(&'static str, Value)>,
    finished: Vec<String>,
    outcome: Option<RunOutcome>,
    evidence: Evidence,
}

impl Sample {
    /// Of `[ARCH:]KERNEL`, or `local`.
    pub fn kernel(text: &str) -> Self {
        let (arch, kernel) = text.split_once(':').unwrap_or(("x86_64", text));
        let release = kernel.parse::<crate::model::version::Release>();
        Self {
            name: RunName {
                kernel: kernel.to_owned(),
                arch: if kernel == "local" { "" } else { arch }.to_owned(),
                flavor: release.ok().and_then(|release| release.flavor()),
                phase: None,
            },
            events: Vec::new(),
            finished: Vec::new(),
            outcome: None,
            evidence: Evidence::default(),
        }
    }

    /// The tests after the kernel's crash.
    pub fn crash(self) -> Self {
        Self {
            name: self.name.crash(),
            ..self
        }
    }

    /// A finished test, a quarter of a second long.
    pub fn test(self, id: &str, outcome: &str) -> Self {
        let mut fields = json!({"id": id, "outcome": outcome, "seconds": 0.25});
        match outcome {
            "failed" | "error" => {
                fields["reason"] = "AssertionError: 1 != 2".into();
                fields["traceback"] = TRACEBACK.into();
            }
            "skipped" => fields["reason"] = "not here".into(),
            _ => {}
        }
        self.finished(fields)
    }

    /// A finished test with all its fields.
    pub fn finished(mut self, fields: Value) -> Self {
        let id = fields["id"].clone();
        self.finished
            .push(fields["outcome"].as_str().unwrap().to_owned());
        self.events.push(("test-started", json!({ "id": id })));
        self.events.push(("test-finished", fields));
        self
    }

    /// The kernel complained while a test, if any, ran.
    pub fn complains(mut self, title: &str, test: Option<&str>, allowed: Option<&str>) -> Self {
        let kind = title.split(':').next().unwrap_or_default();
        let report = format!("{title}\nCall Trace:\n f+0x1/0x2 (m.c:1)\n");
        let mut complaint = json!({"kind": kind, "title": title, "report": report, "test": test});
        if let Some(reason) = allowed {
            complaint["allowed"] = reason.into();
        }
        self.events.push(("kernel-complained", complaint));
        self
    }

    /// The kernel panicked while a test, if any, was running.
    pub fn panicked(mut self, running: Option<&str>) -> Self {
        if let Some(id) = running {
            self.events.push(("test-started", json!({ "id": id })));
        }
        self.evidence = Evidence {
            trouble: "Oops: 0002 [#1] SMP\nRIP: 0010:do_wrong+0x1/0x2\n".to_owned(),
            output_tail: "test_a ... ok\n".to_owned(),
            console_tail: "Kernel panic - not syncing: Fatal exception\n".to_owned(),
            logs: vec![("console".to_owned(), "console.log".into())],
            cores: Vec::new(),
        };
        let how = "Kernel panic - not syncing: Fatal exception".to_owned();
        let running = running.map(str::to_owned);
        self.outcome(RunOutcome::Panicked { how, running })
    }

    /// Its kernel could not be had.
    pub fn not_started(self) -> Self {
        self.outcome(RunOutcome::NotStarted {
            stage: Stage::Fetch,
            how: "no kernel matches".to_owned(),
        })
    }

    /// It ended in this way.
    pub fn outcome(mut self, outcome: RunOutcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    fn lines(mut self) -> Vec<String> {
        let name = self.name.clone();
        let line = |event, fields: &Value| line(event, Some(&name), None, fields).unwrap();
        let mut lines = vec![line("vm-started", &json!({}))];
        if !matches!(self.outcome, Some(RunOutcome::NotStarted { .. })) {
            let running = self.outcome.as_ref().and_then(RunOutcome::running);
            let tests = self.finished.len() + usize::from(running.is_some());
            lines.push(line("run-started", &json!({ "tests": tests })));
        }
        lines.extend(
            self.events
                .iter()
                .map(|(event, fields)| line(event, fields)),
        );
        if self.outcome.is_none() {
            let mut counts = json!({});
            for outcome in &self.finished {
                let count = counts[outcome].as_u64().unwrap_or(0);
                counts[outcome] = (count + 1).into();
            }
            let fields = json!({"counts": counts, "seconds": 1.0});
            lines.push(line("run-finished", &fields));
        }
        let bad = |events: &[(&str, Value)]| {
            events.iter().any(|(event, fields)| {
                *event == "test-finished"
                    && serde_json::from_value::<crate::model::test_event::FinishedTest>(
                        fields.clone(),
                    )
                    .unwrap()
                    .is_bad()
            })
        };
        let complained = self
            .events
            .iter()
            .find(|(event, fields)| *event == "kernel-complained" && fields["allowed"].is_null());
        let complained = complained.map(|(_, fields)| fields["title"].as_str().unwrap().to_owned());
        let outcome = self
            .outcome
            .take()
            .unwrap_or(match (bad(&self.events), complained) {
                (true, _) => RunOutcome::TestsFailed,
                (false, Some(how)) => RunOutcome::Complained { how },
                (false, None) => RunOutcome::Passed,
            });
        let started = !matches!(outcome, RunOutcome::NotStarted { .. });
        let finish = RunRecord {
            seconds: Phases {
                prepare: started.then_some(0.5),
                boot: started.then_some(2.0),
                tests: started.then_some(1.0),
                total: started.then_some(3.5),
                ..Phases::default()
            },
            acceleration: (started && !name.arch.is_empty()).then(|| "KVM".to_owned()),
            root: None,
            evidence: self.evidence,
            ..RunRecord::new(RunName::default(), outcome)
        };
        lines.push(line("vm-finished", &serde_json::to_value(&finish).unwrap()));
        lines
    }
}

const TRACEBACK: &str = "Traceback (most recent call last):
  File \"/home/me/project/tests/test_a.py\", line 12, in test_bad
    self.assertEqual(1, 2)
AssertionError: 1 != 2
";

/// The session of the samples.
pub fn session() -> Session {
    Session {
        project: "example".to_owned(),
        started: "2026-11-25T16:21:20Z".to_owned(),
        kernels: vec!["5.4.*".to_owned(), "6.1.*".to_owned()],
        ..Session::default()
    }
}

/// The text of a results file.
pub fn text(session: &Session, samples: impl IntoIterator<Item = Sample>) -> String {
    let mut lines = vec![line("session-started", None, None, session).unwrap()];
    lines.extend(samples.into_iter().flat_map(Sample::lines));
    lines.push(line("session-finished", None, None, &json!({})).unwrap());
    lines.join("\n") + "\n"
}

/// The results of runs.
pub fn results(samples: impl IntoIterator<Item = Sample>) -> Results {
    Results::parse(&text(&session(), samples)).unwrap()
}
