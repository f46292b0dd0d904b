//! What the tests of the readers share: what real tools printed, in the folder of this name,
//! and what may happen to it on its way.
//!
//! Recorded on x86-64: Rust 1.95, Go 1.27.3 and Debian's 1.19.8, Perl 5.36 with Test::More 1.302,
//! Node.js 20, the runner and the harness of the selftests of Linux 6.12 and 7.3 with small
//! programs of their own, `posix_timers` and `mqueue-lat`, and `test_progs` of 6.12 on Debian's 6.1.
//! Only paths were shortened.

use super::OutputReader;
use crate::model::test_event::{Tally, TestEvent};

/// The events of an output that comes in pieces of this size, as if all took no time.
fn events(
    mut reader: impl OutputReader,
    output: &[u8],
    piece: usize,
) -> Result<Vec<TestEvent>, String> {
    let pieces = output.chunks(piece);
    let mut events = pieces
        .flat_map(|piece| reader.push(piece))
        .collect::<Vec<_>>();
    let (left, end) = reader.finish(0);
    events.extend(left);
    end?;
    for event in &mut events {
        match event {
            TestEvent::TestFinished(test) => test.seconds = 0.0,
            TestEvent::RunFinished { seconds, .. } => *seconds = 0.0,
            _ => {}
        }
    }
    Ok(events)
}

/// The tally of an output, which must be finished and agree with the events.
pub fn tally(reader: impl OutputReader, output: &[u8]) -> Result<Tally, String> {
    let events = events(reader, output, usize::MAX)?;
    let Some((TestEvent::RunFinished { counts, .. }, others)) = events.split_last() else {
        panic!("{events:?}")
    };
    let mut tally = Tally::default();
    for event in others {
        assert!(!matches!(event, TestEvent::RunFinished { .. }));
        tally.push(event);
    }
    assert!(counts.agrees_with(&tally.counts), "{counts:?}");
    tally.push(&events[others.len()]);
    Ok(tally)
}

/// The tests of an output, a line each: how it ended, its id and the reason; or what is wrong.
pub fn told(reader: impl OutputReader, output: &[u8]) -> String {
    let tally = match tally(reader, output) {
        Ok(tally) => tally,
        Err(wrong) => return format!("wrong: {wrong}\n"),
    };
    let lines = tally.finished_tests.iter().map(|test| {
        let reason = test.reason.iter().map(|reason| format!(": {reason}"));
        let reason = reason.collect::<String>();
        format!("{} {}{reason}\n", test.outcome, test.id)
    });
    lines.collect()
}

/// The traceback of a test.
pub fn traceback(reader: impl OutputReader, output: &[u8], id: &str) -> String {
    let tally = tally(reader, output).unwrap();
    let test = tally.finished_tests.iter().find(|test| test.id == id);
    let test = test.unwrap_or_else(|| panic!("no test {id}"));
    test.traceback.clone().unwrap_or_default()
}

fn succeeds(reader: impl OutputReader, output: &[u8]) -> bool {
    tally(reader, output).is_ok_and(|tally| tally.outcome(0).exit_status() == 0)
}

/// Lines of two outputs in turn.
fn interleaved(one: &[u8], other: &[u8]) -> Vec<u8> {
    let mut lines = [one, other].map(|output| output.split_inclusive(|byte| *byte == b'\n'));
    let mut both = Vec::new();
    loop {
        let pair = lines.each_mut().map(Iterator::next);
        if pair == [None, None] {
            return both;
        }
        both.extend(pair.into_iter().flatten().flatten());
    }
}

/// What may happen to a recording, and must not make a success of it, nor something else than
/// it is.
pub fn bear<R: OutputReader + Clone>(reader: &R, recording: &[u8]) {
    let whole = events(reader.clone(), recording, usize::MAX);
    for piece in [1, 7, 64] {
        let pieces = events(reader.clone(), recording, piece);
        assert_eq!(pieces, whole, "in pieces of {piece}");
    }
    let text = std::str::from_utf8(recording).unwrap();
    let returns = text.replace('\n', "\r\n");
    assert_eq!(events(reader.clone(), returns.as_bytes(), 64), whole);

    let needed = text.trim_end().len() + usize::from(text.ends_with('\n'));
    let mut prefix = reader.clone();
    let mut begun = Vec::new();
    for (length, byte) in recording[..needed].iter().enumerate() {
        let mut tally = Tally::default();
        let (left, end) = prefix.clone().finish(0);
        begun
            .iter()
            .chain(&left)
            .for_each(|event| tally.push(event));
        assert!(
            end.is_err() || tally.outcome(0).exit_status() != 0,
            "{:?}",
            &text[..length]
        );
        begun.extend(prefix.push(&[*byte]));
    }
    assert!(!succeeds(
        reader.clone(),
        &interleaved(recording, recording)
    ));
}

/// What no tool prints.
pub fn bear_anything<R: OutputReader + Clone>(reader: &R) {
    let blob = (0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]);
    let blob = blob.collect::<Vec<_>>();
    for output in [&b""[..], b"\n", b"\0", b"no tests here\n", &blob] {
        let wrong = tally(reader.clone(), output).unwrap_err();
        assert!(wrong.starts_with("line "), "{wrong}");
        assert!(wrong.len() < 1000, "{wrong}");
    }
    let mut endless = reader.clone();
    for _ in 0..200 {
        assert_eq!(endless.push(&vec![b'x'; 1 << 20]), []);
    }
    let wrong = endless.finish(0).1.unwrap_err();
    assert!(wrong.contains("more than 134217728 bytes"), "{wrong}");
}
