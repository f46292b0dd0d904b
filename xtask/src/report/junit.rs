//! JUnit XML: one suite per kernel. There is no standard; the two published schemas both
//! accept this: [windyroad's] of Ant's format, which wants the most, and [Jenkins's].
//!
//! - An expected failure is `skipped`, and its message says so: readers leave skipped tests
//!   alone. (`skipped` has no `type`: the first schema refuses it.)
//! - A test with subtests is one test case, whose text names those that did not pass.
//! - A run that ended in another way than with its tests has one more test case, an `error`
//!   with the name of the test that was running, if one was. The attributes count it; the
//!   counts of all other reports are properties.
//! - A run whose kernel complained has a test case `kernel complaints`: a `failure` with the
//!   reports, or `skipped` if the project allows all of them.
//! - What is wrong with the session is an `error` in a suite of its own.
//! - Characters that XML 1.0 cannot have (<https://www.w3.org/TR/xml/#charsets>) become U+FFFD.
//!
//! Written by hand: quick-junit puts attributes in that windyroad's schema refuses.
//!
//! [windyroad's]: https://github.com/windyroad/JUnit-Schema/blob/master/JUnit.xsd
//! [Jenkins's]: https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd

use std::collections::BTreeMap;

use super::compact::first_line;
use super::complaints;
use super::matrix::{TestMatrix, TestVerdict, console, is_odd};
use super::totals::{self, TestTotals};
use crate::model::results::{Results, RunRecord};
use crate::model::test_event::{FinishedTest, TestOutcome, class_and_name};

/// The whole document.
pub fn render(results: &Results) -> String {
    let matrix = TestMatrix::new(results);
    let mut suites = matrix.runs.iter().map(|run| suite(run)).collect::<Vec<_>>();
    if !results.findings.is_empty() {
        let mut suite = JunitSuite {
            name: "session".to_owned(),
            ..JunitSuite::default()
        };
        for finding in &results.findings {
            let name = ("session", first_line(finding));
            suite.case(name, 0.0, Some(CaseDetail::error("finding", finding)));
        }
        suites.push(suite);
    }
    let suites = suites.iter().enumerate();
    let suites = suites.map(|(number, suite)| suite.xml(number, results));
    let suites = suites.collect::<String>();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n{suites}</testsuites>\n")
}

#[derive(Default)]
struct JunitSuite {
    name: String,
    properties: String,
    cases: String,
    tests: u64,
    /// The cases that did not simply pass, by their elements.
    others: BTreeMap<&'static str, u64>,
    seconds: f64,
    output: String,
    console: String,
}

/// What stands in a test case that did not simply pass.
struct CaseDetail<'k> {
    element: &'static str,
    name: &'k str,
    message: Option<String>,
    text: String,
}

impl<'k> CaseDetail<'k> {
    fn error(name: &'k str, text: &str) -> Self {
        Self {
            element: "error",
            name,
            message: text.lines().next().map(str::to_owned),
            text: text.to_owned(),
        }
    }
}

fn suite(run: &RunRecord) -> JunitSuite {
    let mut suite = JunitSuite {
        name: run.name.to_string(),
        properties: properties(run),
        seconds: run.seconds.total.or(run.seconds.tests).unwrap_or(0.0),
        ..JunitSuite::default()
    };
    for test in &run.tally.finished_tests {
        suite.case(class_and_name(&test.id), test.seconds, kind(test));
    }
    let complaints = &run.tally.complaints;
    if let Some(worst) = complaints
        .iter()
        .min_by_key(|complaint| !complaint.is_bad())
    {
        let reports = complaints.iter().map(|complaint| {
            let allowed = complaint.allowed.iter();
            let allowed = allowed.map(|reason| format!("allowed: {reason}\n"));
            let test = complaint
                .test
                .iter()
                .map(|test| format!("running then: {test}\n"));
            let head = allowed.chain(test).collect::<String>();
            format!(
                "{}\n{head}{}",
                complaint.title,
                complaints::report(complaint)
            )
        });
        let (element, name, words) = match &worst.allowed {
            None => ("failure", worst.kind.as_str(), String::new()),
            Some(reason) => ("skipped", "allowed", format!("allowed ({reason}): ")),
        };
        let detail = CaseDetail {
            element,
            name,
            message: Some(words + &worst.title),
            text: reports.collect::<Vec<_>>().join("\n"),
        };
        suite.case(("vmtest", "kernel complaints"), 0.0, Some(detail));
    }
    if is_odd(run) {
        let (outcome, running) = (run.outcome.name(), run.outcome.running());
        let detail = run.outcome.detail();
        let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
        let error = CaseDetail {
            element: "error",
            name: outcome,
            message: Some(format!("{outcome}{detail}")),
            text: run.evidence.trouble.clone(),
        };
        // Nobody but us has a class of this name.
        suite.case(
            running.map_or(("vmtest", outcome), class_and_name),
            0.0,
            Some(error),
        );
        for test in run.tally.killers().filter(|test| Some(*test) != running) {
            let error = CaseDetail::error(outcome, "it ended the test process");
            suite.case(class_and_name(test), 0.0, Some(error));
        }
        suite.output.clone_from(&run.evidence.output_tail);
        suite.console = console(run).to_owned();
    }
    suite
}

fn properties(run: &RunRecord) -> String {
    let (name, seconds) = (&run.name, &run.seconds);
    let arch = Some(name.arch.clone()).filter(|arch| !arch.is_empty());
    let mut properties = vec![
        ("kernel", Some(name.kernel.clone())),
        ("outcome", Some(run.outcome.name().to_owned())),
        ("arch", arch),
        ("flavor", name.flavor.clone()),
        ("phase", name.phase.clone()),
        ("acceleration", run.acceleration.clone()),
        ("root", run.root.clone()),
    ];
    let totals = TestTotals::of(&run.tally);
    for (name, count) in totals::columns(&[run]) {
        properties.push((name, Some(count(&totals).to_string())));
    }
    for outcome in &run.retries {
        let detail = outcome.detail().unwrap_or_default();
        let text = format!("{}: {detail}", outcome.name());
        properties.push(("tried again after", Some(text)));
    }
    properties.extend([
        ("seconds to prepare", seconds.prepare.map(decimal)),
        ("seconds to boot", seconds.boot.map(decimal)),
        ("seconds of tests", seconds.tests.map(decimal)),
    ]);
    let known = properties.into_iter().filter_map(|(name, value)| {
        let value = attribute(&value?);
        Some(format!(
            "      <property name=\"{name}\" value=\"{value}\"/>\n"
        ))
    });
    known.collect()
}

/// What a test did that did not simply pass.
fn kind(test: &FinishedTest) -> Option<CaseDetail<'_>> {
    let (reason, expected) = (test.reason.as_deref(), test.expected.as_deref());
    let (element, name) = match TestVerdict::of(test) {
        TestVerdict::Failed if test.outcome == TestOutcome::Error => ("error", exception(test)),
        TestVerdict::Failed => ("failure", exception(test)),
        TestVerdict::UnexpectedSuccess => ("failure", "unexpected-success"),
        TestVerdict::ExpectedFailure => ("skipped", "expected-failure"),
        TestVerdict::Skipped => ("skipped", "skipped"),
        _ => return None,
    };
    let message = match (name, test.outcome) {
        ("unexpected-success", TestOutcome::Passed) => {
            let listed = expected.unwrap_or_default();
            Some(format!("it passed, but is listed as failing: {listed}"))
        }
        ("unexpected-success", _) => Some("it passed, but must fail".to_owned()),
        ("expected-failure", _) => {
            let words = [Some("expected failure"), expected, reason];
            Some(words.into_iter().flatten().collect::<Vec<_>>().join(": "))
        }
        _ => reason.map(str::to_owned),
    };
    let mut text = test.notes();
    text.extend(test.traceback.clone());
    Some(CaseDetail {
        element,
        name,
        message,
        text: text.join("\n"),
    })
}

/// The exception's class: `AssertionError` of `AssertionError: 1 != 2`.
fn exception(test: &FinishedTest) -> &str {
    let mut subtests = test.subtests.iter();
    let subtest = subtests.find(|subtest| subtest.outcome.is_bad());
    let reason = subtest.map(|subtest| &subtest.reason);
    let reason = reason.or(test.reason.as_ref());
    let class = reason.and_then(|reason| reason.split([':', '\n']).next());
    let is_class = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let class = class.filter(|class| !class.is_empty() && class.chars().all(is_class));
    class.unwrap_or(test.outcome.name())
}

impl JunitSuite {
    fn case(&mut self, (class, name): (&str, &str), seconds: f64, detail: Option<CaseDetail<'_>>) {
        let (class, name, time) = (attribute(class), attribute(name), decimal(seconds));
        self.tests += 1;
        self.cases +=
            &format!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"{time}\"");
        let Some(detail) = detail else {
            self.cases += "/>\n";
            return;
        };
        let element = detail.element;
        *self.others.entry(element).or_default() += 1;
        self.cases += &format!(">\n      <{element}");
        if element != "skipped" {
            self.cases += &format!(" type=\"{}\"", attribute(detail.name));
        }
        if let Some(message) = detail.message {
            self.cases += &format!(" message=\"{}\"", attribute(&message));
        }
        self.cases += &match detail.text.as_str() {
            "" => "/>\n    </testcase>\n".to_owned(),
            text => format!(">{}</{element}>\n    </testcase>\n", content(text)),
        };
    }

    /// The elements must be there, if only empty.
    fn xml(&self, number: usize, results: &Results) -> String {
        let count = |element: &str| self.others.get(element).copied().unwrap_or(0);
        let (tests, failures, errors) = (self.tests, count("failure"), count("error"));
        let skipped = count("skipped");
        format!(
            "  <testsuite name=\"{}\" package=\"{}\" id=\"{number}\" timestamp=\"{}\" \
             hostname=\"localhost\" tests=\"{tests}\" failures=\"{failures}\" \
             errors=\"{errors}\" skipped=\"{skipped}\" time=\"{}\">\n    <properties>\n{}    </properties>\n{}    \
             <system-out>{}</system-out>\n    <system-err>{}</system-err>\n  </testsuite>\n",
            attribute(filled(&self.name)),
            attribute(&results.session.project),
            timestamp(&results.session.started),
            decimal(self.seconds),
            self.properties,
            self.cases,
            content(&self.output),
            content(&self.console)
        )
    }
}

/// A name that is not empty: what `xs:token` takes for blanks at its ends does not count.
fn filled(name: &str) -> &str {
    match name.trim_matches([' ', '\t', '\n', '\r']) {
        "" => "nameless",
        _ => name,
    }
}

/// Seconds as `xs:decimal`, which has neither exponents nor infinity.
fn decimal(seconds: f64) -> String {
    // A guest may say anything; readers take some 18 digits.
    let seconds = if seconds.is_finite() { seconds } else { 0.0 };
    format!("{:.3}", seconds.clamp(0.0, 1e9))
}

/// The session's begin without its zone, which the schema refuses; an old file has none.
fn timestamp(started: &str) -> &str {
    const SHAPE: &str = "0000-00-00T00:00:00";
    let started = started.strip_suffix('Z').unwrap_or(started);
    let is_digit = |c: char| c.is_ascii_digit();
    match started.replace(is_digit, "0") == SHAPE {
        true => started,
        false => "1970-01-01T00:00:00",
    }
}

/// Text between tags.
fn content(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            // `]]>` must not be in text.
            '>' => escaped.push_str("&gt;"),
            // A reader makes a line feed of it where it is not escaped.
            '\r' => escaped.push_str("&#13;"),
            // What XML 1.0 can have. Surrogates are no characters here.
            '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => escaped.push(c),
            _ => escaped.push(char::REPLACEMENT_CHARACTER),
        }
    }
    escaped
}

/// Text in an attribute, where a reader makes blanks of what separates lines.
fn attribute(text: &str) -> String {
    let text = content(text).replace('"', "&quot;");
    text.replace('\n', "&#10;").replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::model::test_event::RunOutcome;
    use crate::report::tests::{Sample, results};

    #[test]
    fn every_kind_of_test() {
        let mut results = results([
            Sample::kernel("6.1.192-vmtest1.1default")
                .test("t.A.good", "passed")
                .test("t.A.bad", "failed")
                .test("t.A.out", "skipped")
                .test("t.A.known", "expected-failure")
                .test("t.A.odd", "unexpected-success")
                .finished(json!({
                    "id": "setUpModule (t.b)", "outcome": "error", "seconds": 1e-7,
                    "reason": "os.error\u{7}: <&\"]]>\r\n", "traceback": "\u{1b}[31m<&\"]]>\r\n\u{fffe}",
                }))
                .finished(json!({
                    "id": "t.A.listed", "outcome": "failed", "seconds": 2,
                    "reason": "E: x", "traceback": "T", "expected": "slow\nhost",
                }))
                .finished(json!({
                    "id": "t.A.mended", "outcome": "passed", "expected": "slow host",
                })),
        ]);
        results.findings.push("odd".to_owned());
        expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <testsuites>
              <testsuite name="6.1.192-vmtest1.1default (x86_64)" package="example" id="0" timestamp="2026-11-25T16:21:20" hostname="localhost" tests="8" failures="3" errors="1" skipped="3" time="3.500">
                <properties>
                  <property name="kernel" value="6.1.192-vmtest1.1default"/>
                  <property name="outcome" value="tests failed"/>
                  <property name="arch" value="x86_64"/>
                  <property name="flavor" value="default"/>
                  <property name="acceleration" value="KVM"/>
                  <property name="run" value="8"/>
                  <property name="passed" value="1"/>
                  <property name="failed" value="2"/>
                  <property name="skipped" value="1"/>
                  <property name="expected failures" value="2"/>
                  <property name="unexpected successes" value="2"/>
                  <property name="seconds to prepare" value="0.500"/>
                  <property name="seconds to boot" value="2.000"/>
                  <property name="seconds of tests" value="1.000"/>
                </properties>
                <testcase classname="t.A" name="good" time="0.250"/>
                <testcase classname="t.A" name="bad" time="0.250">
                  <failure type="AssertionError" message="AssertionError: 1 != 2">Traceback (most recent call last):
              File "/home/me/project/tests/test_a.py", line 12, in test_bad
                self.assertEqual(1, 2)
            AssertionError: 1 != 2
            </failure>
                </testcase>
                <testcase classname="t.A" name="out" time="0.250">
                  <skipped message="not here"/>
                </testcase>
                <testcase classname="t.A" name="known" time="0.250">
                  <skipped message="expected failure"/>
                </testcase>
                <testcase classname="t.A" name="odd" time="0.250">
                  <failure type="unexpected-success" message="it passed, but must fail"/>
                </testcase>
                <testcase classname="" name="setUpModule (t.b)" time="0.000">
                  <error type="error" message="os.error�: &lt;&amp;&quot;]]&gt;&#13;&#10;">�[31m&lt;&amp;"]]&gt;&#13;
            �</error>
                </testcase>
                <testcase classname="t.A" name="listed" time="2.000">
                  <skipped message="expected failure: slow&#10;host: E: x">T</skipped>
                </testcase>
                <testcase classname="t.A" name="mended" time="0.000">
                  <failure type="unexpected-success" message="it passed, but is listed as failing: slow host"/>
                </testcase>
                <system-out></system-out>
                <system-err></system-err>
              </testsuite>
              <testsuite name="session" package="example" id="1" timestamp="2026-11-25T16:21:20" hostname="localhost" tests="1" failures="0" errors="1" skipped="0" time="0.000">
                <properties>
                </properties>
                <testcase classname="session" name="odd" time="0.000">
                  <error type="finding" message="odd">odd</error>
                </testcase>
                <system-out></system-out>
                <system-err></system-err>
              </testsuite>
            </testsuites>
        "#]].assert_eq(&render(&results));
    }

    #[test]
    fn every_end_of_a_run() {
        let died = RunOutcome::RunnerDied {
            how: "ended by signal 9 (SIGKILL)".to_owned(),
            running: None,
        };
        let results = results([
            Sample::kernel("5.4.*").not_started(),
            Sample::kernel("6.1.9")
                .test("t.A.a", "passed")
                .panicked(Some("t.A.b")),
            Sample::kernel("6.1.10").outcome(died),
            Sample::kernel("6.1.11").outcome(RunOutcome::NoTests),
            Sample::kernel("local"),
        ]);
        expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <testsuites>
              <testsuite name="local" package="example" id="0" timestamp="2026-11-25T16:21:20" hostname="localhost" tests="0" failures="0" errors="0" skipped="0" time="3.500">
                <properties>
                  <property name="kernel" value="local"/>
                  <property name="outcome" value="passed"/>
                  <property name="run" value="0"/>
                  <property name="passed" value="0"/>
                  <property name="failed" value="0"/>
                  <property name="skipped" value="0"/>
                  <property name="seconds to prepare" value="0.500"/>
                  <property name="seconds to boot" value="2.000"/>
                  <property name="seconds of tests" value="1.000"/>
                </properties>
                <system-out></system-out>
                <system-err></system-err>
              </testsuite>
              <testsuite name="6.1.9 (x86_64)" package="example" id="1" timestamp="2026-11-25T16:21:20" hostname="localhost" tests="2" failures="0" errors="1" skipped="0" time="3.500">
                <properties>
                  <property name="kernel" value="6.1.9"/>
                  <property name="outcome" value="panicked"/>
                  <property name="arch" value="x86_64"/>
                  <property name="acceleration" value="KVM"/>
                  <property name="run" value="1"/>
                  <property name="passed" value="1"/>
                  <property name="failed" value="0"/>
                  <property name="skipped" value="0"/>
                  <property name="not run" value="1"/>
                  <property name="seconds to prepare" value="0.500"/>
                  <property name="seconds to boot" value="2.000"/>
                  <property name="seconds of tests" value="1.000"/>
                </properties>
                <testcase classname="t.A" name="a" time="0.250"/>
                <testcase classname="t.A" name="b" time="0.000">
                  <error type="panicked" message="panicked: Kernel panic - not syncing: Fatal exception">Oops: 0002 [#1] SMP
            RIP: 0010:do_wrong+0x1/0x2
            </error>
                </testcase>
                <system-out>test_a ... ok
            </system-out>
                <system-err>Kernel panic - not syncing: Fatal exception
            </system-err>
              </testsuite>
              <testsuite name="6.1.10 (x86_64)" package="example" id="2" timestamp="2026-11-25T16:21:20" hostname="localhost" tests="1" failures="0" errors="1" skipped="0" time="3.500">
                <properties>
                  <property name="kernel" value="6.1.10"/>
                  <property name="outcome" value="runner died"/>
                  <property name="arch" value="x86_64"/>
                  <property name="acceleration" value="KVM"/>
                  <property name="run" value="0"/>
                  <property name="passed" value="0"/>
                  <property name="failed" value="0"/>
                  <property name="skipped" value="0"/>
                  <property name="seconds to prepare" value="0.500"/>
                  <property name="seconds to boot" value="2.000"/>
                  <property name="seconds of tests" value="1.000"/>
                </properties>
                <testcase classname="vmtest" name="runner died" time="0.000">
                  <error type="runner died" message="runner died: ended by signal 9 (SIGKILL)"/>
                </testcase>
                <system-out></system-out>
                <system-err></system-err>
              </testsuite>
              <testsuite name="6.1.11 (x86_64)" package="example" id="3" timestamp="2026-11-25T16:21:20" hostname="localhost" tests="1" failures="0" errors="1" skipped="0" time="3.500">
                <properties>
                  <property name="kernel" value="6.1.11"/>
                  <property name="outcome" value="no tests ran"/>
                  <property name="arch" value="x86_64"/>
                  <property name="acceleration" value="KVM"/>
                  <property name="run" value="0"/>
                  <property name="passed" value="0"/>
                  <property name="failed" value="0"/>
                  <property name="skipped" value="0"/>
                  <property name="seconds to prepare" value="0.500"/>
                  <property name="seconds to boot" value="2.000"/>
                  <property name="seconds of tests" value="1.000"/>
                </properties>
                <testcase classname="vmtest" name="no tests ran" time="0.000">
                  <error type="no tests ran" message="no tests ran"/>
                </testcase>
                <system-out></system-out>
                <system-err></system-err>
              </testsuite>
              <testsuite name="5.4.* (x86_64)" package="example" id="4" timestamp="2026-11-25T16:21:20" hostname="localhost" tests="1" failures="0" errors="1" skipped="0" time="0.000">
                <properties>
                  <property name="kernel" value="5.4.*"/>
                  <property name="outcome" value="fetch failed"/>
                  <property name="arch" value="x86_64"/>
                  <property name="run" value="0"/>
                  <property name="passed" value="0"/>
                  <property name="failed" value="0"/>
                  <property name="skipped" value="0"/>
                </properties>
                <testcase classname="vmtest" name="fetch failed" time="0.000">
                  <error type="fetch failed" message="fetch failed: no kernel matches"/>
                </testcase>
                <system-out></system-out>
                <system-err></system-err>
              </testsuite>
            </testsuites>
        "#]].assert_eq(&render(&results));
    }

    #[test]
    fn a_name_is_class_and_name() {
        for (id, class, name) in [
            ("tests.a.TestA.test_b", "tests.a.TestA", "test_b"),
            (
                "tests.a.TestA.test_b (x='1.2')",
                "tests.a.TestA",
                "test_b (x='1.2')",
            ),
            (
                "setUpClass (tests.a.TestA)",
                "",
                "setUpClass (tests.a.TestA)",
            ),
            ("alone", "", "alone"),
            ("", "", ""),
            ("dot.", "dot", ""),
        ] {
            assert_eq!(class_and_name(id), (class, name), "{id}");
        }
    }

    #[test]
    fn only_times_of_the_shape_are_taken() {
        assert_eq!(timestamp("2026-11-25T16:21:20Z"), "2026-11-25T16:21:20");
        for other in [
            "",
            "2026",
            "2026-11-25 16:21:20",
            "2026-11-25T16:21:20+01:00",
        ] {
            assert_eq!(timestamp(other), "1970-01-01T00:00:00", "{other}");
        }
    }

    #[test]
    fn numbers_are_decimals() {
        for (seconds, text) in [(1e-9, "0.000"), (1e20, "1000000000.000"), (-1.0, "0.000")] {
            assert_eq!(decimal(seconds), text);
        }
        assert_eq!(decimal(f64::INFINITY), "0.000");
    }
}
