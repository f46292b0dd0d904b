//! The test harness of Rust, as text or JSON (library/test/src/formatters of Rust's source; JSON
//! also of cargo-nextest).
//!
//! What a failed test printed comes only at the end of its program, so that it is told then.
//! With one thread the name of a test comes before the test runs.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Instant;

use serde::Deserialize;

use super::output::{BoundedText, LineFormat, LineReader, MOST_TESTS, Told, unnumbered};
use super::{Framework, OutputReader};
use crate::model::test_event::{FinishedTest, TestOutcome};

/// The command ends with `--`, or is a test program itself.
pub struct Libtest;

impl Framework for Libtest {
    fn name(&self) -> &'static str {
        "libtest"
    }

    fn about(&self) -> &'static str {
        "What a command prints, as the text of `cargo test` or the JSON of libtest"
    }

    fn reader(&self) -> Option<Box<dyn OutputReader>> {
        Some(Box::new(LineReader::new(LibtestFormat::default())))
    }

    fn pick(&self, test: &str) -> Vec<OsString> {
        vec![unnumbered(test).into(), "--exact".into()]
    }
}

#[derive(Clone, Default)]
pub struct LibtestFormat {
    /// As the first line of either says.
    json: Option<bool>,
    /// The tests of the program that runs.
    suite: Option<TestProgram>,
}

#[derive(Clone, Default)]
struct TestProgram {
    line: u64,
    tests: u64,
    counts: LibtestCounts,
    /// A test that began in a line without its result, which is the end of the last line before
    /// another begins.
    open: Option<OpenTest>,
    /// Whether the name in this line has been read.
    headed: bool,
    /// The tests that run, in JSON.
    running: HashMap<String, Instant>,
    failed: Vec<(FinishedTest, BoundedText)>,
    /// All tests have ended; what they printed follows.
    report: bool,
    /// Which of the failed tests it is of.
    of: Option<usize>,
    /// Why a result was taken for something that a test printed.
    disagrees: Option<String>,
}

#[derive(Clone)]
struct OpenTest {
    line: u64,
    name: String,
    last: String,
}

/// As a result states them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct LibtestCounts {
    passed: u64,
    failed: u64,
    ignored: u64,
    measured: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LibtestEvent {
    #[serde(rename = "type")]
    kind: String,
    event: String,
    name: String,
    test_count: u64,
    exec_time: Option<f64>,
    stdout: String,
    message: Option<String>,
    #[serde(flatten)]
    counts: LibtestCounts,
}

struct LibtestResult {
    outcome: TestOutcome,
    measured: bool,
    seconds: Option<f64>,
    reason: Option<String>,
}

impl LineFormat for LibtestFormat {
    fn line(&mut self, line: &str, told: &mut Told) {
        let json = json(line);
        if self.json.is_none() {
            let text = tests_to_run(line).map(|_| false);
            self.json = json.map(|_| true).or(text);
        }
        match self.json {
            Some(true) => match json.map(serde_json::from_str) {
                Some(Ok(event)) => self.event(event, told),
                Some(Err(error)) => told.wrong(format!(
                    "a JSON object that is cut off or none of libtest's: {error}"
                )),
                None => {}
            },
            Some(false) => self.text(line, told),
            None => {}
        }
    }

    fn begun(&mut self, line: &[u8], told: &mut Told) {
        if let Some(suite) = &mut self.suite
            && self.json == Some(false)
            && !suite.report
            && !suite.headed
            && let Ok(line) = std::str::from_utf8(line)
            && let Some((name, _)) = heading(line)
        {
            suite.heading(name, told);
        }
    }

    fn end(&mut self, rest: &str, told: &mut Told) {
        if rest.starts_with("test result: ") || json(rest).is_some() {
            told.wrong("the output ends within this line");
        }
        if let Some(suite) = &mut self.suite {
            let line = suite.line;
            let ends = format!("the output ends before the result of the tests of line {line}");
            let ends = told.here(ends);
            told.wrong_there(suite.disagrees.take().unwrap_or(ends));
        }
        // Those that failed have come, without what they printed.
        self.close(told);
    }
}

impl LibtestFormat {
    fn begin(&mut self, tests: u64, told: &mut Told) {
        if let Some(suite) = &self.suite {
            let line = suite.line;
            let what = format!("other tests begin before the result of those of line {line}");
            return told.wrong(what);
        }
        told.plan(tests);
        self.suite = Some(TestProgram {
            line: told.line,
            tests,
            ..TestProgram::default()
        });
    }

    fn text(&mut self, line: &str, told: &mut Told) {
        let tests = tests_to_run(line);
        let Some(suite) = &mut self.suite else {
            return tests.map_or((), |tests| self.begin(tests, told));
        };
        let headed = std::mem::take(&mut suite.headed);
        if suite.report {
            return self.report(line, told);
        }
        if let Some(tests) = tests {
            return self.begin(tests, told);
        }
        let glued = || {
            let mut places = line.match_indices("test ").map(|(at, _)| &line[at..]);
            places.find_map(|text| heading(text).filter(|(_, rest)| result(rest).is_some()))
        };
        let found = heading(line).or_else(|| suite.open.is_none().then(glued)?);
        if let Some((name, rest)) = found {
            if !headed {
                suite.heading(name, told);
            }
            suite.headed = false;
            match result(rest) {
                Some(result) => suite.finish(name, result, BoundedText::default(), told),
                None => {
                    suite.open = Some(OpenTest {
                        line: told.line,
                        name: name.to_owned(),
                        last: rest.to_owned(),
                    });
                }
            }
        } else if line.starts_with("test result: ")
            || (["failures:", "successes:"].contains(&line) && suite.came() == suite.tests)
        {
            suite.settle(told);
            suite.report = suite.came() == suite.tests;
            self.report(line, told);
        } else if let Some(open) = &mut suite.open
            && !line.trim().is_empty()
        {
            open.last = line.to_owned();
        }
    }

    /// Lines behind the last test.
    fn report(&mut self, line: &str, told: &mut Told) {
        let Some(suite) = &mut self.suite else { return };
        if let Some((verdict, counts)) =
            (line.strip_prefix("test result: ")).and_then(|text| text.split_once(". "))
        {
            match suite.check(verdict == "ok", &LibtestCounts::parse(counts)) {
                Ok(()) => return self.close(told),
                Err(why) if suite.report => {
                    suite.disagrees.get_or_insert(told.here(why));
                }
                Err(why) => {
                    told.wrong(why);
                    return self.close(told);
                }
            }
        }
        let section = line.strip_prefix("---- ");
        if let Some(name) = section.and_then(|name| name.strip_suffix(" stdout ----")) {
            let mut failed = suite.failed.iter();
            suite.of = failed.position(|(test, _)| test.id == name);
        } else if ["failures:", "successes:"].contains(&line) {
            suite.of = None;
        } else if let Some(of) = suite.of {
            suite.failed[of].1.line(line);
        }
    }

    fn close(&mut self, told: &mut Told) {
        let Some(suite) = self.suite.take() else {
            return;
        };
        for (mut test, text) in suite.failed {
            test.traceback = text.end();
            let text = test.traceback.as_deref().unwrap_or_default();
            test.reason = test.reason.or_else(|| reason(text));
            told.finish(test);
        }
    }

    fn event(&mut self, event: LibtestEvent, told: &mut Told) {
        let kind = (event.kind.as_str(), event.event.as_str());
        if kind == ("suite", "started") {
            return self.begin(event.test_count, told);
        }
        let Some(suite) = &mut self.suite else {
            if ["test", "bench"].contains(&kind.0) {
                told.wrong("a test, and no suite has begun");
            }
            return;
        };
        let (outcome, measured) = match kind {
            ("suite", verdict) => {
                if let Some(name) = suite.running.keys().min() {
                    told.wrong(format!("{name} has no result"));
                }
                if let Err(why) = suite.check(verdict == "ok", &event.counts) {
                    told.wrong(why);
                }
                return self.close(told);
            }
            ("test", "started") => {
                let before = suite.running.insert(event.name.clone(), Instant::now());
                if before.is_some() {
                    told.wrong(format!("{} has begun already", event.name));
                }
                return told.start(&event.name);
            }
            ("test", "ok") => (TestOutcome::Passed, false),
            ("test", "failed") => (TestOutcome::Failed, false),
            ("test", "ignored") => (TestOutcome::Skipped, false),
            ("bench", _) => (TestOutcome::Passed, true),
            // A test that runs for long, and the report.
            _ => return,
        };
        let Some(begin) = suite.running.remove(&event.name) else {
            return told.wrong(format!("{} ends and has not begun", event.name));
        };
        let mut text = BoundedText::default();
        for part in [Some(&event.stdout), event.message.as_ref()] {
            part.into_iter().for_each(|part| text.line(part.trim_end()));
        }
        let result = LibtestResult {
            outcome,
            measured,
            seconds: event.exec_time.or(Some(begin.elapsed().as_secs_f64())),
            reason: event.message,
        };
        suite.finish(&event.name, result, text, told);
    }
}

impl TestProgram {
    fn came(&self) -> u64 {
        let LibtestCounts {
            passed,
            failed,
            ignored,
            measured,
        } = &self.counts;
        passed + failed + ignored + measured + u64::from(self.open.is_some())
    }

    /// A test begins: the one before has ended.
    fn heading(&mut self, name: &str, told: &mut Told) {
        self.settle(told);
        told.start(name);
        self.headed = true;
    }

    fn settle(&mut self, told: &mut Told) {
        let Some(open) = self.open.take() else { return };
        let ends = |word: &&&str| open.last.ends_with(**word);
        match ["ok", "FAILED"]
            .iter()
            .find(ends)
            .and_then(|word| result(word))
        {
            Some(result) => self.finish(&open.name, result, BoundedText::default(), told),
            None => {
                let what = format!("line {}: {} has no result", open.line, open.name);
                told.wrong_there(what);
            }
        }
    }

    fn finish(&mut self, name: &str, result: LibtestResult, text: BoundedText, told: &mut Told) {
        let count = match (result.outcome, result.measured) {
            (_, true) => &mut self.counts.measured,
            (TestOutcome::Skipped, _) => &mut self.counts.ignored,
            (TestOutcome::Failed, _) => &mut self.counts.failed,
            _ => &mut self.counts.passed,
        };
        *count += 1;
        let mut test = FinishedTest::new(name, result.outcome);
        test.seconds = result.seconds.unwrap_or_else(|| told.seconds());
        test.reason = result.reason;
        match test.outcome {
            TestOutcome::Failed if self.failed.len() < MOST_TESTS => self.failed.push((test, text)),
            _ => told.finish(test),
        }
    }

    /// Whether a result agrees with what has been read.
    fn check(&self, ok: bool, stated: &LibtestCounts) -> Result<(), String> {
        let LibtestCounts {
            passed,
            failed,
            ignored,
            ..
        } = stated;
        let read = &self.counts;
        if stated != read {
            let (a, b, c) = (read.passed, read.failed, read.ignored);
            return Err(format!(
                "{passed} passed, {failed} failed and {ignored} ignored tests, but the lines of {a}, {b} and {c}"
            ));
        }
        if self.came() != self.tests {
            let (tests, came) = (self.tests, self.came());
            return Err(format!("{tests} tests were to run, and {came} did"));
        }
        match (ok, *failed) {
            (true, 1..) => Err(format!("ok, and {failed} of the tests failed")),
            (false, 0) => Err("not ok, and no test failed".to_owned()),
            _ => Ok(()),
        }
    }
}

impl LibtestCounts {
    /// `1 passed; 2 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s`.
    fn parse(text: &str) -> Self {
        let of = |what: &str| {
            let counts = text.split("; ").filter_map(|count| count.split_once(' '));
            let count = counts.filter(|(_, word)| *word == what);
            count.filter_map(|(number, _)| number.parse().ok()).next()
        };
        Self {
            passed: of("passed").unwrap_or_default(),
            failed: of("failed").unwrap_or_default(),
            ignored: of("ignored").unwrap_or_default(),
            measured: of("measured").unwrap_or_default(),
        }
    }
}

/// `running 7 tests`.
fn tests_to_run(line: &str) -> Option<u64> {
    let (number, what) = line.strip_prefix("running ")?.split_once(' ')?;
    let tests = ["test", "tests"].contains(&what);
    number.parse().ok().filter(|_| tests)
}

/// The object in a line, perhaps behind what a test printed.
fn json(line: &str) -> Option<&str> {
    let begins = [r#"{ "type": ""#, r#"{"type":""#];
    let at = begins.iter().filter_map(|begin| line.find(begin)).min()?;
    Some(&line[at..])
}

/// The name in `test NAME - should panic ... `, and what is behind.
fn heading(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let modes = [" - should panic", " - compile fail", " - compile"];
    let plain = modes.iter().find_map(|mode| name.strip_suffix(mode));
    Some((plain.unwrap_or(name), rest))
}

fn result(text: &str) -> Option<LibtestResult> {
    let timed = text
        .strip_suffix("s>")
        .and_then(|text| text.rsplit_once(" <"));
    let timed = timed.and_then(|(text, seconds)| Some((text, seconds.parse().ok()?)));
    let (text, seconds) = timed.map_or((text, None), |(text, seconds)| (text, Some(seconds)));
    let ignored = text.strip_prefix("ignored, ");
    let outcome = match text {
        "ok" => TestOutcome::Passed,
        "FAILED" | "FAILED (time limit exceeded)" => TestOutcome::Failed,
        "ignored" => TestOutcome::Skipped,
        _ if ignored.is_some() => TestOutcome::Skipped,
        _ if text.starts_with("bench: ") => TestOutcome::Passed,
        _ => return None,
    };
    Some(LibtestResult {
        outcome,
        measured: text.starts_with("bench: "),
        seconds,
        reason: ignored.map(str::to_owned),
    })
}

/// The message of a panic, or what a test said last.
fn reason(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let panicked =
        lines.find(|line| line.starts_with("thread '") && line.contains(" panicked at "));
    let last = text
        .lines()
        .last()
        .and_then(|line| line.rsplit("note: ").next());
    panicked
        .and_then(|_| lines.next())
        .or(last)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
