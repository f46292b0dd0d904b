//! What the readers of output share: its lines, and the events that come of them. Whatever a
//! test prints, memory is bounded.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Instant;

use super::OutputReader;
use crate::model::test_event::{self, Counts, FinishedTest, TestEvent};

/// A longer line is cut.
const LONGEST_LINE: usize = 64 * 1024;

/// A line that begins like a JSON object may have all that a test printed.
const LONGEST_OBJECT: usize = 1024 * 1024;

/// As many bytes as of events, and as much of each text as `run_unittests.py` sends.
const LONGEST_OUTPUT: u64 = 128 << 20;
const LONGEST_TRACEBACK: usize = 48 * 1024;
const LONGEST_REASON: usize = 4 * 1024;

/// Results of three bytes each would be an event of hundreds.
pub const MOST_TESTS: usize = 1 << 18;

/// A format whose unit is the line.
pub trait LineFormat: Send {
    fn line(&mut self, line: &str, told: &mut Told);

    /// A line that has begun and not ended.
    fn begun(&mut self, _line: &[u8], _told: &mut Told) {}

    /// The output has ended, perhaps within a line.
    fn end(&mut self, rest: &str, told: &mut Told);
}

#[derive(Clone)]
pub struct LineReader<F> {
    pub(super) format: F,
    line: Vec<u8>,
    arrived: u64,
    told: Told,
}

impl<F: LineFormat> LineReader<F> {
    pub fn new(format: F) -> Self {
        Self {
            format,
            line: Vec::new(),
            arrived: 0,
            told: Told::default(),
        }
    }

    fn take_line(&mut self) -> String {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end_matches('\r').to_owned();
        self.line.clear();
        self.told.line += 1;
        line
    }
}

impl<F: LineFormat> OutputReader for LineReader<F> {
    fn push(&mut self, bytes: &[u8]) -> Vec<TestEvent> {
        let room = usize::try_from(LONGEST_OUTPUT.saturating_sub(self.arrived));
        let room = room.unwrap_or(usize::MAX).min(bytes.len());
        self.arrived = self.arrived.saturating_add(bytes.len() as u64);
        for part in bytes[..room].split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let longest = match self.line.first().or(text.first()) {
                Some(b'{') => LONGEST_OBJECT,
                _ => LONGEST_LINE,
            };
            let room = longest.saturating_sub(self.line.len()).min(text.len());
            self.line.extend_from_slice(&text[..room]);
            if text.len() < part.len() {
                let line = self.take_line();
                if !self.told.full {
                    self.format.line(&line, &mut self.told);
                }
            }
        }
        self.format.begun(&self.line, &mut self.told);
        std::mem::take(&mut self.told.events)
    }

    fn finish(&mut self, _status: u8) -> (Vec<TestEvent>, Result<(), String>) {
        if self.arrived > LONGEST_OUTPUT {
            self.told
                .wrong(format!("more than {LONGEST_OUTPUT} bytes before"));
        }
        let rest = match self.line.is_empty() {
            true => String::new(),
            false => self.take_line(),
        };
        self.format.end(&rest, &mut self.told);
        let end = self.told.end();
        (std::mem::take(&mut self.told.events), end)
    }
}

/// What has been told of an output.
#[derive(Clone)]
pub struct Told {
    /// The number of the line that is read, from 1.
    pub line: u64,
    events: Vec<TestEvent>,
    planned: Option<u64>,
    counts: Counts,
    started: usize,
    /// How often each id has come.
    ids: HashMap<String, u64>,
    bytes: u64,
    /// The first thing that is wrong.
    wrong: Option<String>,
    /// Nothing more is read.
    full: bool,
    begin: Instant,
    last: Instant,
}

impl Default for Told {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            line: 0,
            events: Vec::new(),
            planned: None,
            counts: Counts::default(),
            started: 0,
            ids: HashMap::new(),
            bytes: 0,
            wrong: None,
            full: false,
            begin: now,
            last: now,
        }
    }
}

impl Told {
    pub fn here(&self, what: impl Display) -> String {
        format!("line {}: {what}", self.line)
    }

    pub fn wrong(&mut self, what: impl Display) {
        let what = self.here(what);
        self.wrong_there(what);
    }

    /// Something of [`Told::here`] is wrong with the whole output.
    pub fn wrong_there(&mut self, what: String) {
        self.wrong.get_or_insert(bounded(&what));
    }

    pub fn too_many(&mut self) {
        self.wrong(format!("more than {MOST_TESTS} tests"));
        self.full = true;
    }

    /// Whether there was neither a test nor word that there are none.
    pub fn nothing(&self) -> bool {
        self.planned.is_none() && self.counts.finished() == 0
    }

    pub fn plan(&mut self, tests: u64) {
        self.planned = Some(self.planned.unwrap_or(0).saturating_add(tests));
        self.events.push(TestEvent::RunStarted { tests, all: None });
    }

    pub fn start(&mut self, id: &str) {
        self.started += 1;
        if self.started > MOST_TESTS {
            return self.too_many();
        }
        let id = bounded(id);
        let times = self.ids.get(&id).copied().unwrap_or(0);
        let id = numbered(id, times + 1);
        self.events.push(TestEvent::TestStarted { id });
    }

    pub fn finish(&mut self, mut test: FinishedTest) {
        test.id = bounded(&test.id);
        test.seconds = test_event::bounded(test.seconds.max(0.0));
        test.reason = test.reason.filter(|reason| !reason.trim().is_empty());
        test.reason = test.reason.map(|reason| bounded(&reason));
        self.bytes += test.id.len() as u64;
        if self.counts.finished() >= MOST_TESTS as u64 || self.bytes > LONGEST_OUTPUT {
            return self.too_many();
        }
        let times = self.ids.entry(test.id.clone()).or_default();
        *times += 1;
        test.id = numbered(test.id, *times);
        self.counts.add(test.outcome);
        self.last = Instant::now();
        self.events.push(TestEvent::TestFinished(test));
    }

    /// Seconds since the last result.
    pub fn seconds(&self) -> f64 {
        self.last.elapsed().as_secs_f64()
    }

    fn end(&mut self) -> Result<(), String> {
        if self.nothing() {
            self.wrong("the output ends without a test result");
        }
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        let counts = self.counts.clone();
        let more = (counts.finished()).saturating_sub(self.planned.unwrap_or(0));
        if more > 0 {
            self.plan(more);
        }
        let seconds = self.begin.elapsed().as_secs_f64();
        self.events.push(TestEvent::RunFinished { counts, seconds });
        Ok(())
    }
}

/// The name of a test that has come more than once.
fn numbered(id: String, times: u64) -> String {
    match times {
        ..=1 => id,
        _ => format!("{id} ({times})"),
    }
}

/// An id as the tool knows it.
pub fn unnumbered(id: &str) -> &str {
    let number = |(_, number): &(&str, &str)| number.parse::<u64>().is_ok();
    let parts = id.strip_suffix(')').and_then(|id| id.rsplit_once(" ("));
    parts.filter(number).map_or(id, |(name, _)| name)
}

fn bounded(text: &str) -> String {
    match text.len() {
        ..=LONGEST_REASON => text.to_owned(),
        _ => format!("{}…", &text[..text.floor_char_boundary(LONGEST_REASON)]),
    }
}

/// The beginning and the end of a text of any length.
#[derive(Clone, Default)]
pub struct BoundedText {
    text: String,
    left_out: usize,
}

impl BoundedText {
    pub fn line(&mut self, line: &str) {
        self.push(line);
        self.push("\n");
    }

    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        if self.text.len() > 2 * LONGEST_TRACEBACK {
            self.cut();
        }
    }

    pub fn append(&mut self, other: Self) {
        if let Some(text) = other.end() {
            self.line(&text);
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The last line with any words, without the hashes of a comment.
    pub fn last(&self) -> Option<String> {
        let mut lines = self
            .text
            .lines()
            .map(|line| line.trim_matches(['#', ' ', '\t']));
        Some(lines.rfind(|line| !line.is_empty())?.to_owned())
    }

    /// Where the end begins once something is left out.
    fn seam(&self) -> usize {
        self.text.floor_char_boundary(LONGEST_TRACEBACK / 2)
    }

    fn cut(&mut self) {
        let end = self.text.len() - LONGEST_TRACEBACK / 2;
        let left_out = self.seam()..self.text.ceil_char_boundary(end);
        self.left_out += left_out.len();
        self.text.replace_range(left_out, "");
    }

    /// The text, if there is any.
    pub fn end(mut self) -> Option<String> {
        if self.text.len() > LONGEST_TRACEBACK {
            self.cut();
        }
        if self.left_out > 0 {
            let note = format!("\n[... {} bytes left out ...]\n", self.left_out);
            self.text.insert_str(self.seam(), &note);
        }
        let text = self.text.trim_end().trim_start_matches('\n');
        (!text.is_empty()).then(|| text.to_owned())
    }
}
