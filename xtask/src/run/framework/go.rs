//! Go's tests, as `go test -json` and `go tool test2json` print them (the events are those of
//! `go doc test2json`).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::time::Instant;

use serde::Deserialize;

use super::output::{BoundedText, LineFormat, LineReader, MOST_TESTS, Told, unnumbered};
use super::{Framework, OutputReader};
use crate::model::test_event::{FinishedTest, TestOutcome};

pub struct Go;

impl Framework for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn about(&self) -> &'static str {
        "What a command prints, as `go test -json`"
    }

    fn reader(&self) -> Option<Box<dyn OutputReader>> {
        Some(Box::new(LineReader::new(GoFormat::default())))
    }

    /// A flag that both `go test` and a test program know.
    fn pick(&self, test: &str) -> Vec<OsString> {
        let kinds = ["Test", "Example", "Fuzz", "Benchmark"];
        let begins = |text: &&str| kinds.iter().any(|kind| text.starts_with(kind));
        let test = unnumbered(test);
        let dots = test.match_indices('.').map(|(at, _)| &test[at + 1..]);
        let Some(name) = std::iter::once(test).chain(dots).find(begins) else {
            return Vec::new();
        };
        let parts = name.split('/').map(|part| {
            let escape = |c: char| match r".+*?()|[]{}^$\".contains(c) {
                true => format!(r"\{c}"),
                false => c.to_string(),
            };
            format!("^{}$", part.chars().map(escape).collect::<String>())
        });
        let pattern = parts.collect::<Vec<_>>().join("/");
        vec![format!("-test.run={pattern}").into()]
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct GoEvent {
    action: String,
    package: String,
    test: String,
    elapsed: Option<f64>,
    output: String,
    import_path: String,
    failed_build: String,
}

#[derive(Clone, Default)]
pub struct GoFormat {
    packages: BTreeMap<String, GoPackage>,
    /// What the compiler said of packages.
    builds: HashMap<String, BoundedText>,
}

#[derive(Clone, Default)]
struct GoPackage {
    running: BTreeMap<String, GoTest>,
    failed: bool,
    /// The program came to its end.
    ended: bool,
    output: BoundedText,
}

#[derive(Clone)]
struct GoTest {
    begin: Instant,
    output: BoundedText,
}

impl LineFormat for GoFormat {
    fn line(&mut self, line: &str, told: &mut Told) {
        match json(line).map(serde_json::from_str) {
            Some(Ok(event)) => self.event(event, told),
            Some(Err(error)) => told.wrong(format!(
                "a JSON object that is cut off or none of go's: {error}"
            )),
            // Before Go 1.24 a package that cannot be built has no events.
            None => {
                let package = line
                    .strip_prefix("FAIL\t")
                    .and_then(|rest| rest.split_once(" ["));
                if let Some((package, why)) = package {
                    let mut test = FinishedTest::new(package, TestOutcome::Error);
                    test.reason = Some(format!("[{why}"));
                    told.finish(test);
                }
            }
        }
    }

    fn end(&mut self, rest: &str, told: &mut Told) {
        if json(rest).is_some() {
            told.wrong("the output ends within this line");
        }
        for (name, package) in &self.packages {
            match package.running.keys().last() {
                Some(test) => {
                    told.wrong(format!("the output ends inside of {}", id(name, test)));
                }
                None => told.wrong(format!("the output ends before the end of {name}")),
            }
        }
    }
}

impl GoFormat {
    fn event(&mut self, event: GoEvent, told: &mut Told) {
        let GoEvent {
            action,
            package: name,
            test,
            output,
            ..
        } = &event;
        let outcome = match action.as_str() {
            "build-output" => {
                let build = self.builds.entry(event.import_path.clone()).or_default();
                return build.push(output);
            }
            "start" if self.packages.contains_key(name) => {
                return told.wrong(format!("{name} has begun already"));
            }
            "pass" => Some(TestOutcome::Passed),
            "fail" => Some(TestOutcome::Failed),
            "skip" => Some(TestOutcome::Skipped),
            "start" | "run" | "cont" | "output" => None,
            _ => return,
        };
        if self.packages.len() + self.builds.len() > MOST_TESTS {
            return told.too_many();
        }
        let package = self.packages.entry(name.clone()).or_default();
        match (action.as_str(), outcome) {
            (_, Some(outcome)) if test.is_empty() => self.close(&event, outcome, told),
            (_, Some(outcome)) => {
                package.finish((name, test), outcome, event.elapsed, told);
            }
            ("run", _) => {
                let begun = GoTest {
                    begin: Instant::now(),
                    output: BoundedText::default(),
                };
                told.start(&id(name, test));
                if package.running.insert(test.clone(), begun).is_some() {
                    told.wrong(format!("{} has begun already", id(name, test)));
                }
            }
            ("cont", _) => told.start(&id(name, test)),
            ("output", _) => package.output((name, test), output, told),
            _ => {}
        }
    }

    /// The program of a package has ended.
    fn close(&mut self, event: &GoEvent, outcome: TestOutcome, told: &mut Told) {
        let name = &event.package;
        let Some(mut package) = self.packages.remove(name) else {
            return;
        };
        let passed = outcome != TestOutcome::Failed;
        // Benchmarks have no result of their own.
        let benchmark = |test: &String| test.starts_with("Benchmark");
        let left = package.running.keys().cloned().collect::<Vec<_>>();
        let (done, cut) = left
            .into_iter()
            .partition::<Vec<_>, _>(|test| benchmark(test) && (passed || package.ended));
        for test in done {
            package.finish((name, &test), TestOutcome::Passed, None, told);
        }
        if !cut.is_empty() {
            return told.wrong(format!("{name} ended inside of {}", cut.join(" and ")));
        }
        if passed && told.nothing() {
            // Perhaps there are no tests.
            told.plan(0);
        }
        if passed || package.failed {
            return;
        }
        let mut text = self.builds.remove(&event.failed_build).unwrap_or_default();
        text.append(package.output);
        let mut test = FinishedTest::new(id(name, ""), TestOutcome::Error);
        test.seconds = event.elapsed.unwrap_or_default();
        test.traceback = text.end();
        let text = test.traceback.as_deref().unwrap_or_default();
        let last = text.lines().last().unwrap_or_default();
        let build = last.find(" [").map(|at| last[at + 1..].to_owned());
        test.reason = build.or_else(|| reason(text));
        told.finish(test);
    }
}

impl GoPackage {
    fn output(&mut self, (name, test): (&str, &str), text: &str, told: &mut Told) {
        let Some(running) = self.running.get_mut(test) else {
            self.ended |= test.is_empty() && text == "FAIL\n";
            return self.output.push(text);
        };
        let words = text.trim_start();
        let frames = ["=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME ", "--- "];
        if frames.iter().any(|frame| words.starts_with(frame)) {
            return;
        }
        running.output.push(text);
        // Before Go 1.20 this is no event behind output without an end of the line.
        for (word, outcome) in [
            ("PASS", TestOutcome::Passed),
            ("FAIL", TestOutcome::Failed),
            ("SKIP", TestOutcome::Skipped),
        ] {
            if text.contains(&format!("--- {word}: {test} (")) {
                return self.finish((name, test), outcome, None, told);
            }
        }
    }

    fn finish(
        &mut self,
        (name, test): (&str, &str),
        outcome: TestOutcome,
        elapsed: Option<f64>,
        told: &mut Told,
    ) {
        let id = id(name, test);
        let Some(GoTest { begin, output }) = self.running.remove(test).or_else(|| {
            // Before Go 1.20 benchmarks do not begin, but they may fail.
            (outcome == TestOutcome::Failed).then(|| GoTest {
                begin: Instant::now(),
                output: BoundedText::default(),
            })
        }) else {
            return told.wrong(format!("{id} ends and has not begun"));
        };
        self.failed |= outcome == TestOutcome::Failed;
        let mut finished = FinishedTest::new(id, outcome);
        finished.seconds = elapsed.unwrap_or_else(|| begin.elapsed().as_secs_f64());
        if outcome != TestOutcome::Passed {
            finished.reason = reason(output.as_str());
        }
        if outcome == TestOutcome::Failed {
            finished.traceback = output.end();
        }
        told.finish(finished);
    }
}

fn id(package: &str, test: &str) -> String {
    match (package, test) {
        ("", "") => "go test".to_owned(),
        ("", name) | (name, "") => name.to_owned(),
        _ => format!("{package}.{test}"),
    }
}

/// The object in a line, perhaps behind what something else printed.
fn json(line: &str) -> Option<&str> {
    let begins = [r#"{"Time":""#, r#"{"Action":""#, r#"{"ImportPath":""#];
    let at = begins.iter().filter_map(|begin| line.find(begin)).min()?;
    Some(&line[at..])
}

/// The first line of a panic, or the last message: `    file_test.go:12: words`, of which more
/// lines may follow that are indented deeper.
fn reason(text: &str) -> Option<String> {
    if let Some(panic) = text.lines().find(|line| line.starts_with("panic: ")) {
        return Some(panic.to_owned());
    }
    let message = |line: &str| {
        let (file, rest) = line.trim_start().split_once(".go:")?;
        let (number, words) = rest.split_once(": ")?;
        let is_place = number.parse::<u64>().is_ok() && !file.contains(' ');
        is_place.then(|| words.to_owned())
    };
    let mut reason: Option<String> = None;
    for line in text.lines() {
        match (message(line), &mut reason) {
            (Some(words), _) => reason = Some(words),
            (None, Some(reason)) if line.starts_with("        ") => {
                reason.push(' ');
                reason.push_str(line.trim());
            }
            _ => {}
        }
    }
    reason
}

#[cfg(test)]
mod tests;
