//! Any command: its exit status is all that it tells.

use std::time::Instant;

use super::{Framework, OutputReader};
use crate::model::test_event::{Counts, FinishedTest, TestEvent, TestOutcome};

pub struct AnyCommand;

impl Framework for AnyCommand {
    fn name(&self) -> &'static str {
        "command"
    }

    fn about(&self) -> &'static str {
        "A command's exit status alone: one test, called `command`"
    }

    fn reader(&self) -> Option<Box<dyn OutputReader>> {
        Some(Box::new(ExitReader {
            begin: Instant::now(),
        }))
    }
}

struct ExitReader {
    begin: Instant,
}

impl OutputReader for ExitReader {
    fn push(&mut self, _bytes: &[u8]) -> Vec<TestEvent> {
        Vec::new()
    }

    fn finish(&mut self, status: u8) -> (Vec<TestEvent>, Result<(), String>) {
        let outcome = match status {
            0 => TestOutcome::Passed,
            _ => TestOutcome::Failed,
        };
        let mut test = FinishedTest::new("command", outcome);
        let seconds = self.begin.elapsed().as_secs_f64();
        test.seconds = seconds;
        test.reason = (status != 0).then(|| format!("ended with status {status}"));
        let mut counts = Counts::default();
        counts.add(outcome);
        let started = TestEvent::RunStarted {
            tests: 1,
            all: None,
        };
        let finished = TestEvent::RunFinished { counts, seconds };
        (
            vec![started, TestEvent::TestFinished(test), finished],
            Ok(()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_event::{RunOutcome, Tally};

    #[test]
    fn the_status_is_the_result() {
        for (status, expected, reason) in [
            (0, RunOutcome::Passed, None),
            (1, RunOutcome::TestsFailed, Some("ended with status 1")),
            (77, RunOutcome::TestsFailed, Some("ended with status 77")),
            (139, RunOutcome::TestsFailed, Some("ended with status 139")),
        ] {
            let mut reader = AnyCommand.reader().unwrap();
            assert_eq!(reader.push(b"not ok 1\n\xff"), []);
            let mut tally = Tally::default();
            let (events, _) = reader.finish(status);
            events.iter().for_each(|event| tally.push(event));
            assert_eq!(tally.outcome(status), expected);
            let [test] = &tally.finished_tests[..] else {
                panic!("{events:?}")
            };
            assert_eq!(
                (test.id.as_str(), test.reason.as_deref()),
                ("command", reason)
            );
        }
    }
}
