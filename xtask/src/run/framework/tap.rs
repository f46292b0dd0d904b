//! The Test Anything Protocol, 13 and 14 (testanything.org), and the kernel's variant of it
//! (Documentation/dev-tools/ktap.rst) as KUnit, `kselftest.h` and the runner of the selftests
//! (tools/testing/selftests/kselftest/runner.sh) print it.
//!
//! A test's subtests come before its result, so that their names may be known only then. They
//! are indented or, by the runner of the selftests, commented out: the output of a program,
//! which may be anything. What is wrong with it is a failure of that program alone.

use std::time::Instant;

use super::output::{BoundedText, LineFormat, LineReader, MOST_TESTS, Told};
use super::{Framework, OutputReader};
use crate::model::test_event::{FinishedTest, TestEvent, TestOutcome};

/// The name of the reader; `ktap` if the kernel's variant is to be expected from the beginning.
pub struct Tap(pub &'static str);

/// More is no nesting, but a program gone wild.
const DEEPEST: usize = 16;

impl Framework for Tap {
    fn name(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        match self.0 {
            "ktap" => "What a command prints, as KTAP or as the kernel's kselftest runner does",
            _ => "What a command prints, as TAP 13 or 14",
        }
    }

    fn reader(&self) -> Option<Box<dyn OutputReader>> {
        let format = TapFormat::new(self.0 == "ktap");
        Some(Box::new(LineReader::new(format)))
    }
}

enum TapLine<'l> {
    Version { kernel: bool },
    Plan { tests: u64, comment: &'l str },
    Result { ok: bool, rest: &'l str },
    Bail(&'l str),
    Pragma(&'l str),
}

fn parse(text: &str) -> Option<TapLine<'_>> {
    let number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    for (protocol, kernel) in [("TAP version ", false), ("KTAP version ", true)] {
        if text.strip_prefix(protocol).is_some_and(number) {
            return Some(TapLine::Version { kernel });
        }
    }
    if let Some(why) = text.strip_prefix("Bail out!") {
        return Some(TapLine::Bail(why.trim()));
    }
    if let Some(pragma) = text.strip_prefix("pragma ") {
        return Some(TapLine::Pragma(pragma.trim()));
    }
    if let Some(plan) = text.strip_prefix("1..") {
        let (tests, comment) = digits(plan);
        let comment = comment.trim();
        let tests = tests.filter(|_| comment.is_empty() || comment.starts_with('#'))?;
        return Some(TapLine::Plan { tests, comment });
    }
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    let result = rest.is_empty() || rest.starts_with([' ', '\t']);
    result.then_some(TapLine::Result { ok, rest })
}

/// The number that a text begins with, and what is behind.
fn digits(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    (number.parse().ok(), rest)
}

/// What stands behind `ok`.
struct TestPoint {
    number: Option<u64>,
    name: String,
    /// In capitals; empty before words that are no directive.
    directive: &'static str,
    words: String,
}

impl TestPoint {
    fn parse(rest: &str, kernel: bool) -> Self {
        let mut name = rest.trim();
        let mut number = None;
        if let (Some(found), rest) = digits(name)
            && (rest.is_empty() || rest.starts_with(' '))
        {
            (number, name) = (Some(found), rest.trim_start());
        }
        name = match name.strip_prefix('-') {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => rest,
            _ => name,
        };
        let (mut directive, mut words) = ("", "");
        for (at, _) in name.match_indices('#') {
            let before = &name[..at];
            let found = self::directive(&name[at + 1..]);
            if before.ends_with(|c: char| !c.is_whitespace()) || (found.is_none() && !kernel) {
                continue;
            }
            words = name[at + 1..].trim();
            if let Some((word, rest)) = found {
                (directive, words) = (word, rest.trim());
            }
            name = before;
            // `ksft_test_result_skip()` prints what the test's name is elsewhere here.
            if kernel && name.trim().is_empty() && !directive.is_empty() {
                (name, words) = (words, "");
            }
            break;
        }
        Self {
            number,
            name: unescaped(name.trim()),
            directive,
            words: words.to_owned(),
        }
    }

    fn outcome(&self, ok: bool) -> TestOutcome {
        match (self.directive, ok) {
            ("SKIP", _) => TestOutcome::Skipped,
            ("TODO", false) | ("XFAIL", _) => TestOutcome::ExpectedFailure,
            ("TODO", true) | ("XPASS", _) => TestOutcome::UnexpectedSuccess,
            ("ERROR", _) => TestOutcome::Error,
            ("TIMEOUT", _) | (_, false) => TestOutcome::Failed,
            (_, true) => TestOutcome::Passed,
        }
    }
}

/// A directive at the beginning of a text, and what is behind; `SKIP` may be `Skipped:`.
fn directive(text: &str) -> Option<(&'static str, &str)> {
    let text = text.trim_start();
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    let word = word.to_ascii_uppercase();
    let directives = ["SKIP", "TODO", "XFAIL", "XPASS", "TIMEOUT", "ERROR"];
    let known = |name: &&&str| word == **name || (**name == "SKIP" && word.starts_with(**name));
    Some((directives.iter().find(known)?, rest))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let escaped = characters.next_if(|next| c == '\\' && ['\\', '#'].contains(next));
        plain.push(escaped.unwrap_or(c));
    }
    plain
}

/// The tests of one nesting depth.
#[derive(Clone)]
struct Level {
    /// The blanks and hashes in front of its lines.
    prefix: String,
    /// The id of the test that it is inside of, as soon as that is known; empty for the output.
    parent: Option<String>,
    /// The name of the next test.
    announced: Option<String>,
    plan: Option<u64>,
    plan_line: String,
    tests: u64,
    skip: Option<String>,
    /// The first thing that is wrong, with its line.
    problem: Option<String>,
    /// Lines since the last result.
    before: BoundedText,
    last: Instant,
    /// Events whose ids lack their beginning.
    waiting: Vec<TestEvent>,
}

impl Level {
    fn new(prefix: &str, parent: Option<String>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            parent,
            announced: None,
            plan: None,
            plan_line: String::new(),
            tests: 0,
            skip: None,
            problem: None,
            before: BoundedText::default(),
            last: Instant::now(),
            waiting: Vec::new(),
        }
    }

    fn fresh(&self) -> bool {
        self.plan.is_none() && self.tests == 0
    }

    /// The number of the next test.
    fn next(&self) -> u64 {
        self.tests.saturating_add(1)
    }

    /// The id of a test at this level, as far as it is known.
    fn id(&self, name: &str) -> String {
        match self.parent.as_deref() {
            None | Some("") => name.to_owned(),
            Some(parent) => format!("{parent}.{name}"),
        }
    }

    /// The tests have ended: there may be others with a plan of their own.
    fn close(&mut self) {
        let came = std::mem::take(&mut self.tests);
        if let Some(plan) = self.plan.take()
            && plan != came
        {
            let tests = if came == 1 { "test" } else { "tests" };
            let what = format!("{}{came} {tests} of {plan} came", self.plan_line);
            self.problem.get_or_insert(what);
        }
    }
}

#[derive(Clone)]
pub struct TapFormat {
    /// Hashes may be blanks, what stands behind a hash is no name, and what a test says comes
    /// before its result.
    kernel: bool,
    strict: bool,
    /// Under `prove`, whose headings name the files.
    prove: bool,
    levels: Vec<Level>,
    /// The prefix of the line before, if that was a result.
    result: Option<String>,
    /// The indentation of the diagnostic block that has begun.
    block: Option<String>,
    /// A test that did not pass, and its level: more may be said of it.
    held: Option<(usize, FinishedTest, BoundedText)>,
}

impl LineFormat for TapFormat {
    fn line(&mut self, line: &str, told: &mut Told) {
        if self.in_block(line) {
            return;
        }
        let result = self.result.take();
        if let Some(rest) = result.and_then(|prefix| line.strip_prefix(prefix.as_str()))
            && rest.trim() == "---"
            && rest.starts_with([' ', '\t'])
        {
            let indentation = line.len() - rest.trim_start().len();
            self.block = Some(line[..indentation].to_owned());
            return;
        }
        let (prefix, text) = split(line);
        if let Some(parsed) = parse(text)
            && let Some(level) = self.level(prefix, &parsed)
        {
            self.release(told);
            return self.protocol(level, parsed, told);
        }
        if let Some((words, result)) = self.glued(line) {
            self.line(&words, told);
            return self.line(&result, told);
        }
        self.other(line, told);
    }

    fn end(&mut self, rest: &str, told: &mut Told) {
        if self.block.is_some() {
            told.wrong("the output ends inside of a diagnostic block");
        } else if parse(split(rest).1).is_some() {
            told.wrong("the output ends within this line");
        }
        self.release(told);
        if let Some(inside) = self.levels.get_mut(1) {
            let test = inside.parent.as_deref().unwrap_or("a test");
            let ends = told.here(format!("the output ends inside of {test}"));
            told.wrong_there(inside.problem.take().unwrap_or(ends));
        }
        self.close_output(told);
    }
}

/// The blanks and hashes in front of what may be a line of the protocol.
fn split(line: &str) -> (&str, &str) {
    let mut text = line;
    while let Some(rest) = (text.strip_prefix("# ")).or(text.strip_prefix([' ', '\t'])) {
        text = rest;
    }
    line.split_at(line.len() - text.len())
}

impl TapFormat {
    pub fn new(kernel: bool) -> Self {
        Self {
            kernel,
            strict: false,
            prove: false,
            levels: vec![Level::new("", Some(String::new()))],
            result: None,
            block: None,
            held: None,
        }
    }

    /// Takes lines of a diagnostic block.
    fn in_block(&mut self, line: &str) -> bool {
        let Some(indentation) = &self.block else {
            return false;
        };
        let text = line.strip_prefix(indentation.as_str());
        if text == Some("...") {
            self.block = None;
        } else if let Some((_, _, said)) = &mut self.held {
            said.line(text.unwrap_or(line));
        }
        true
    }

    /// The level that a line of the protocol is at, perhaps a new one.
    fn level(&mut self, prefix: &str, line: &TapLine<'_>) -> Option<usize> {
        let found = self.levels.iter().position(|level| level.prefix == prefix);
        if found.is_some() {
            return found;
        }
        let last = self.levels.last()?;
        let begins = match prefix.strip_prefix(last.prefix.as_str())? {
            "  " | "    " | "\t" => true,
            "# " => self.kernel && matches!(line, TapLine::Version { .. } | TapLine::Plan { .. }),
            _ => false,
        };
        (begins && self.levels.len() < DEEPEST).then(|| self.open(prefix))
    }

    /// Begins a level inside of the last; what it is inside of may have been announced.
    fn open(&mut self, prefix: &str) -> usize {
        let parent = self.levels.last().and_then(|last| {
            let name = last.announced.as_deref()?;
            last.parent.is_some().then(|| last.id(name))
        });
        self.levels.push(Level::new(prefix, parent));
        self.levels.len() - 1
    }

    fn protocol(&mut self, at: usize, line: TapLine<'_>, told: &mut Told) {
        let level = &mut self.levels[at];
        match line {
            TapLine::Version { kernel } => {
                self.kernel |= kernel;
                if at == 0 {
                    self.close_output(told);
                } else {
                    level.close();
                }
            }
            TapLine::Plan { tests, comment } => {
                // A program may run others, one behind the other.
                if at > 0 && level.plan == Some(level.tests) {
                    level.close();
                }
                if level.plan.is_some() {
                    return self.problem(at, told.here("a second plan"), told);
                }
                level.plan = Some(tests);
                level.plan_line = told.here("");
                if let Some(("SKIP", why)) = comment.strip_prefix('#').and_then(directive) {
                    level.skip = Some(why.trim().to_owned());
                }
                self.tell(at, TestEvent::RunStarted { tests, all: None }, told);
            }
            TapLine::Result { ok, rest } => self.result(at, ok, rest, told),
            TapLine::Bail(why) => {
                let what = told.here(format!("Bail out! {why}").trim_end());
                self.problem(at, what, told);
            }
            TapLine::Pragma(pragma) => match pragma {
                "+strict" => self.strict = true,
                "-strict" => self.strict = false,
                _ => {}
            },
        }
    }

    fn problem(&mut self, at: usize, what: String, told: &mut Told) {
        match at {
            0 => told.wrong_there(what),
            _ => {
                self.levels[at].problem.get_or_insert(what);
            }
        }
    }

    /// Another output may follow.
    fn close_output(&mut self, told: &mut Told) {
        if self.levels.len() > 1 {
            told.wrong("subtests without the result of their test before");
            self.levels.truncate(1);
        }
        let output = &mut self.levels[0];
        if output.plan.is_none() && output.tests > 0 {
            told.wrong("the output ends without a plan");
        }
        output.close();
        if let Some(problem) = output.problem.take() {
            told.wrong_there(problem);
        }
    }

    fn result(&mut self, at: usize, ok: bool, rest: &str, told: &mut Told) {
        let point = TestPoint::parse(rest, self.kernel);
        let level = &self.levels[at];
        if self.prove && level.plan == Some(level.tests) && rest.is_empty() && ok && at == 0 {
            // What `prove` says of the whole file.
            return;
        }
        let inside = self.close_inside(at, told);
        let level = &mut self.levels[at];
        let next = level.next();
        let number = point.number.unwrap_or(next);
        level.tests = number;
        let announced = level.announced.take();
        let name = match point.name.as_str() {
            "" => announced.unwrap_or_else(|| number.to_string()),
            name => selftest(name).unwrap_or_else(|| name.to_owned()),
        };
        let mut test = FinishedTest::new(level.id(&name), point.outcome(ok));
        test.seconds = level.last.elapsed().as_secs_f64();
        level.last = Instant::now();
        let mut said = std::mem::take(&mut level.before);
        let mut reasons = vec![point.words];
        if point.directive == "TIMEOUT" {
            reasons = vec![format!("TIMEOUT {}", reasons[0])];
        }
        if number != next {
            let what = told.here(format!("test {number}, where {next} is next"));
            self.problem(at, what, told);
        }
        if let Some(inside) = inside {
            if test.outcome == TestOutcome::Passed
                && let Some(problem) = inside.problem.clone()
            {
                match inside.prefix.ends_with("# ") {
                    true => test.outcome = TestOutcome::Error,
                    false => self.problem(at, problem, told),
                }
            }
            reasons.extend(inside.problem);
            reasons.extend(inside.skip.filter(|_| test.outcome == TestOutcome::Skipped));
            said.append(inside.before);
            let parent = self.levels[at].id(&name);
            for event in inside.waiting {
                self.tell(at, named(event, &parent), told);
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        // A program may say first why it skips all. The runner speaks of each before.
        if reasons.is_empty() && test.outcome == TestOutcome::Skipped {
            let runner = |line: &String| line.starts_with("timeout set to ");
            reasons.extend(said.last().filter(|line| !runner(line)));
        }
        if test.outcome != TestOutcome::Passed && !reasons.is_empty() {
            reasons.dedup();
            test.reason = Some(reasons.join("; "));
        }
        self.result = Some(self.levels[at].prefix.clone());
        match test.outcome.is_bad() {
            true => self.held = Some((at, test, said)),
            false => self.tell(at, TestEvent::TestFinished(test), told),
        }
    }

    /// Ends the level whose test has its result now.
    fn close_inside(&mut self, at: usize, told: &mut Told) -> Option<Level> {
        let mut inside = None;
        while self.levels.len() > at + 1 {
            let mut level = self.levels.pop()?;
            level.close();
            if inside.is_some() {
                let what = told.here("subtests without the result of their test before");
                level.problem.get_or_insert(what);
            }
            inside = Some(level);
        }
        inside
    }

    /// Tells an event of a level, unless the names are not known yet.
    fn tell(&mut self, at: usize, event: TestEvent, told: &mut Told) {
        let level = &mut self.levels[at];
        match event {
            event if level.parent.is_none() => match level.waiting.len() {
                ..MOST_TESTS => level.waiting.push(event),
                _ => told.too_many(),
            },
            TestEvent::RunStarted { tests, .. } => told.plan(tests),
            TestEvent::TestStarted { id } => told.start(&id),
            TestEvent::TestFinished(test) => told.finish(test),
            _ => {}
        }
    }

    /// Nothing more is said of the last test that did not pass.
    fn release(&mut self, told: &mut Told) {
        if let Some((at, mut test, said)) = self.held.take() {
            test.traceback = said.end();
            self.tell(at, TestEvent::TestFinished(test), told);
        }
    }

    /// A result of the kernel's tests behind words that have no end of their own.
    fn glued(&self, line: &str) -> Option<(String, String)> {
        let (prefix, text) = split(line);
        let level = self.levels.iter().find(|level| level.prefix == prefix)?;
        for word in ["not ok", "ok"] {
            let result = format!("{word} {} ", level.next());
            let at = text.find(&result).unwrap_or(0);
            if self.kernel && at > 0 && !text[..at].ends_with([' ', '#']) {
                let (words, result) = text.split_at(at);
                return Some((format!("{prefix}{words}"), format!("{prefix}{result}")));
            }
        }
        None
    }

    /// A line that is none of the protocol: a comment, or not meant for anybody.
    fn other(&mut self, line: &str, told: &mut Told) {
        if self.kernel {
            self.release(told);
        }
        let mut levels = self.levels.iter();
        let at = levels.rposition(|level| line.starts_with(&level.prefix));
        let at = at.unwrap_or(0);
        let text = line.strip_prefix(self.levels[at].prefix.as_str());
        let text = text.unwrap_or(line);
        let Some(comment) = text.trim_start().strip_prefix('#') else {
            if self.strict && !text.trim().is_empty() {
                told.wrong("not TAP, and the pragma is strict");
            }
            if !(at == 0 && self.heading(text, told)) {
                self.say(at, text);
            }
            return;
        };
        let comment = comment.trim_end();
        if let Some(name) = comment.strip_prefix(" Subtest: ") {
            self.release(told);
            let (prefix, _) = split(line);
            self.subtest(at, prefix, unescaped(name.trim()), told);
        } else if let Some(name) = selftest(comment.trim_start()) {
            self.kernel = true;
            self.announce(at, name, told);
        } else {
            let run = comment.strip_prefix("  RUN ");
            if let Some(name) = run.and_then(|name| name.strip_suffix(" ...")) {
                self.start(at, name.trim_start(), told);
            }
            self.say(at, text);
        }
    }

    fn say(&mut self, at: usize, text: &str) {
        match &mut self.held {
            Some((_, _, said)) => said.line(text),
            None => self.levels[at].before.line(text),
        }
    }

    /// `# Subtest: NAME` stands before the indented lines, or is the first of them.
    fn subtest(&mut self, mut at: usize, prefix: &str, name: String, told: &mut Told) {
        let prefix = prefix.strip_suffix("# ").unwrap_or(prefix);
        if self.levels[at].prefix != prefix {
            if at + 1 != self.levels.len() || at + 1 == DEEPEST {
                return;
            }
            at = self.open(prefix);
        }
        let level = &self.levels[at];
        if !(at > 0 && level.fresh() && level.parent.is_none()) {
            return self.announce(at, name, told);
        }
        self.announce(at - 1, name.clone(), told);
        let outer = &self.levels[at - 1];
        let parent = outer.parent.is_some().then(|| outer.id(&name));
        self.levels[at].parent = parent;
    }

    fn announce(&mut self, at: usize, name: String, told: &mut Told) {
        self.start(at, &name, told);
        self.levels[at].announced = Some(name);
    }

    fn start(&mut self, at: usize, name: &str, told: &mut Told) {
        let id = self.levels[at].id(name);
        self.tell(at, TestEvent::TestStarted { id }, told);
    }

    /// `t/files.t .. `, with which `prove` begins a file.
    fn heading(&mut self, text: &str, told: &mut Told) -> bool {
        let Some((file, rest)) = text.split_once(" ..") else {
            return false;
        };
        let rest = rest.trim_start_matches('.').trim();
        let skipped = rest.strip_prefix("skipped:");
        let is_file = file.contains(['.', '/']) && !file.contains(char::is_whitespace);
        if !is_file || !(rest.is_empty() || skipped.is_some()) {
            return false;
        }
        self.release(told);
        self.close_output(told);
        self.prove = true;
        self.levels[0].parent = Some(file.to_owned());
        if let Some(why) = skipped {
            let mut test = FinishedTest::new(file, TestOutcome::Skipped);
            test.reason = Some(why.trim().to_owned());
            told.finish(test);
        }
        true
    }
}

/// The name of a program in the words of the kernel's runner: `selftests: timers: nanosleep`.
fn selftest(words: &str) -> Option<String> {
    Some(words.strip_prefix("selftests: ")?.replace(": ", "."))
}

/// The event with the rest of its id in front.
fn named(mut event: TestEvent, parent: &str) -> TestEvent {
    if let TestEvent::TestStarted { id } | TestEvent::TestFinished(FinishedTest { id, .. }) =
        &mut event
    {
        *id = format!("{parent}.{id}");
    }
    event
}

#[cfg(test)]
mod tests;
