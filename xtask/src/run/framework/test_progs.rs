//! The kernel's tests of BPF, tools/testing/selftests/bpf/test_progs.c.
//!
//! What a test printed stands before its result, if it failed. After all tests comes the same
//! of the failed ones once more, and a summary, which only a program that came to its end prints.

use std::ffi::OsString;
use std::time::Instant;

use super::output::{BoundedText, LineFormat, LineReader, Told, unnumbered};
use super::{Framework, OutputReader};
use crate::model::test_event::{FinishedTest, TestOutcome};

pub struct TestProgs;

impl Framework for TestProgs {
    fn name(&self) -> &'static str {
        "test_progs"
    }

    fn about(&self) -> &'static str {
        "What the kernel's test_progs of BPF prints"
    }

    fn reader(&self) -> Option<Box<dyn OutputReader>> {
        Some(Box::new(LineReader::new(ProgsFormat::default())))
    }

    /// A comma would begin another name.
    fn pick(&self, test: &str) -> Vec<OsString> {
        vec!["-a".into(), unnumbered(test).replace(',', "*").into()]
    }
}

#[derive(Clone)]
pub struct ProgsFormat {
    before: BoundedText,
    last: Instant,
    /// Tests that are no subtests: those that failed, and the others.
    failed: u64,
    passed: u64,
    again: bool,
    summary: bool,
}

impl Default for ProgsFormat {
    fn default() -> Self {
        Self {
            before: BoundedText::default(),
            last: Instant::now(),
            failed: 0,
            passed: 0,
            again: false,
            summary: false,
        }
    }
}

impl LineFormat for ProgsFormat {
    fn line(&mut self, line: &str, told: &mut Told) {
        if let Some(summary) = line.strip_prefix("Summary: ") {
            self.again = false;
            self.summary(summary, told);
        } else if line == "All error logs:" {
            self.again = true;
        } else if let (Some(result), false) = (result(line), self.again) {
            self.result(result, told);
        } else {
            self.before.line(line);
        }
    }

    fn end(&mut self, rest: &str, told: &mut Told) {
        if !(self.summary && rest.is_empty()) {
            told.wrong("the output ends without a summary");
        }
    }
}

impl ProgsFormat {
    fn result(&mut self, (subtest, name, outcome): (bool, &str, TestOutcome), told: &mut Told) {
        if self.summary {
            told.wrong("a result behind the summary");
        }
        match outcome {
            _ if subtest => {}
            TestOutcome::Failed => self.failed += 1,
            _ => self.passed += 1,
        }
        let mut test = FinishedTest::new(name, outcome);
        test.seconds = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        // Nothing is printed of a subtest that passed: this is the test's own.
        if outcome.is_bad() || !subtest {
            let said = std::mem::take(&mut self.before);
            test.traceback = said.end().filter(|_| outcome.is_bad());
        }
        told.finish(test);
    }

    /// `9/100 PASSED, 0 SKIPPED, 2 FAILED`: tests that did not fail, their subtests; failed tests.
    fn summary(&mut self, summary: &str, told: &mut Told) {
        let words = summary.split(['/', ' ']);
        let numbers = words.filter_map(|word| word.parse().ok());
        let numbers = numbers.collect::<Vec<u64>>();
        let (passed, failed) = (self.passed, self.failed);
        if std::mem::replace(&mut self.summary, true) {
            told.wrong("a second summary");
        } else if !matches!(numbers[..], [p, _, _, f] if (p, f) == (passed, failed)) {
            told.wrong(format!(
                "the summary is {summary:?}, but {passed} tests passed and {failed} failed"
            ));
        }
    }
}

/// Whether it is a subtest, the name and the outcome, of a line such as `#5/1     a/b:OK`.
fn result(line: &str) -> Option<(bool, &str, TestOutcome)> {
    let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
    let digit = |c: char| c.is_ascii_digit() || c == '/';
    if !(number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(digit)) {
        return None;
    }
    let (name, end) = rest.rsplit_once(':')?;
    let (name, outcome) = match end {
        "OK" => (name, TestOutcome::Passed),
        "FAIL" => (name, TestOutcome::Failed),
        "SKIP" => (name, TestOutcome::Skipped),
        // Some of its subtests were skipped.
        _ => (rest.split_once(":OK (SKIP: ")?.0, TestOutcome::Passed),
    };
    Some((number.contains('/'), name.trim_start(), outcome))
}

#[cfg(test)]
mod tests;
