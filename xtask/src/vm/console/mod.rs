//! The guest's serial console: the log that QEMU writes, followed while the VM
//! runs, for its last lines and for the words with which a kernel dies.

pub mod complaint;
pub mod kernel_report;
pub mod log;
pub mod symbolize;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

use crate::base::shown;
use crate::model::arch::ARCHITECTURES;
use crate::vm::console::kernel_report::{Excerpt, Kind, sign, stamp};
use crate::vm::ending::{self, Ending};

/// Lines that are remembered.
const LINES: usize = 200;

/// Bytes of a line that are; the rest is in the log.
const LINE: usize = 1024;

pub struct Console {
    file: File,
    pub bytes: u64,
    pub words: ConsoleWords,
    /// Bytes for the next [`Console::take`]; `None`: nobody wants them.
    fresh: Option<Vec<u8>>,
}

impl Console {
    /// Opens the log, which must be there; `keep`: its bytes are for [`Console::take`].
    pub fn open(path: &Path, keep: bool) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            file,
            bytes: 0,
            words: ConsoleWords::default(),
            fresh: keep.then(Vec::new),
        })
    }

    /// The bytes since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        self.fresh.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Reads what has come; whether anything has.
    pub fn follow(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let before = self.bytes;
        while let Ok(n @ 1..) = self.file.read(&mut buffer) {
            self.bytes += n as u64;
            self.words.feed(&buffer[..n]);
            if let Some(fresh) = &mut self.fresh {
                fresh.extend_from_slice(&buffer[..n]);
            }
        }
        self.bytes > before
    }
}

/// The console's text, line by line.
#[derive(Debug, Default)]
pub struct ConsoleWords {
    line: Vec<u8>,
    lines: VecDeque<String>,
    oops: Option<String>,
    panic: Option<String>,
    /// The first lockup, stall or hung task.
    pub stall: Option<String>,
    /// The failure that the initramfs or init told before there was a status port.
    pub init: Option<String>,
    ending: Option<(Ending, String)>,
    /// All that the kernel said about trouble, bounded.
    pub excerpt: Excerpt,
    /// The clock source for a kernel whose clock runs at a wrong speed.
    pub other_clock: Option<&'static str>,
    /// A crash is to come, and the first sign of it if it has.
    planned: Option<Option<String>>,
}

/// Before what the guest's scripts write to the console.
const INIT: &str = "vmtest: ";

/// The first words of every kernel (`init/main.c`, `linux_banner`).
const BANNER: &str = "Linux version ";

impl ConsoleWords {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = printable(&std::mem::take(&mut self.line));
                    // Processes write to the console too, and need not end their lines:
                    // the kernel's next one is one of its own all the same.
                    let (before, line) = line.split_at(joined(&line));
                    if !before.is_empty() {
                        self.end_line(before);
                    }
                    self.end_line(line);
                }
                b'\r' => {}
                _ if self.line.len() < LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, line: &str) {
        self.lines.push_back(line.to_owned());
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
        let text = stamp(line).1;
        let note = |first: &mut Option<String>| {
            first.get_or_insert_with(|| text.to_owned());
        };
        if text.starts_with(BANNER) {
            self.planned = None;
            self.other_clock = None;
            // A kernel that panicked has started another one, which it had loaded itself.
            let over = (Ending::PanicOver, text.to_owned());
            self.ending = self.panic.is_some().then_some(over);
        }
        let dying = self.panic.is_some() || matches!(self.planned, Some(Some(_)));
        match ending::of_line(text) {
            Some(Ending::Awake) => self.ending = None,
            Some(ending) if dying || ending != Ending::PanicOver => {
                self.ending.get_or_insert_with(|| (ending, text.to_owned()));
            }
            _ => {}
        }
        let mut clocks = ARCHITECTURES.iter().flat_map(|arch| &arch.wrong_clock);
        if let Some(clock) = clocks.find(|clock| text.contains(clock.words)) {
            self.other_clock = Some(clock.source);
        }
        if let Some(first) = &mut self.planned {
            if let Some(Kind::Panic | Kind::Oops) = sign(text) {
                note(first);
            }
            return;
        }
        if let Some(text) = line.strip_prefix(INIT) {
            self.init.get_or_insert_with(|| text.to_owned());
        }
        match self.excerpt.line(line) {
            Some(Kind::Panic) => note(&mut self.panic),
            Some(Kind::Oops) => note(&mut self.oops),
            Some(Kind::Stall) => note(&mut self.stall),
            Some(Kind::OutOfMemory) | None => {}
        }
    }

    /// The first report of trouble, once the kernel has panicked.
    pub fn panicked(&self) -> Option<String> {
        let panic = self.panic.as_ref()?;
        Some(self.oops.as_ref().unwrap_or(panic).clone())
    }

    /// The same after QEMU's end, when an oops alone says enough.
    pub fn died(&self) -> Option<String> {
        self.oops.as_ref().or(self.panic.as_ref()).cloned()
    }

    /// How the guest ends itself, if it does, and the line that says so.
    pub fn ending(&self) -> Option<(Ending, &str)> {
        let (ending, line) = self.ending.as_ref()?;
        Some((*ending, line))
    }

    /// From now on the kernel's end is planned, until another one says its first words
    /// or [`ConsoleWords::back`] is called. What was remembered of trouble is forgotten.
    pub fn plan_crash(&mut self) {
        *self = Self {
            planned: Some(None),
            lines: std::mem::take(&mut self.lines),
            line: std::mem::take(&mut self.line),
            ..Self::default()
        };
    }

    /// The next kernel is there.
    pub fn back(&mut self) {
        self.planned = None;
    }

    /// The first sign of trouble since a crash was planned, which may be that crash.
    pub fn planned(&self) -> Option<String> {
        self.planned.clone().flatten()
    }

    pub fn tail(&self, lines: usize) -> String {
        let rest = printable(&self.line);
        let rest = (!rest.is_empty()).then_some(rest);
        let all = self.lines.iter().cloned().chain(rest).collect::<Vec<_>>();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Where the kernel's words begin in a line that a process began and did not end: at the
/// first stamp. 0: everywhere else.
fn joined(line: &str) -> usize {
    let mut stamps = line.match_indices('[').map(|(at, _)| at);
    let first = stamps.find(|&at| stamp(&line[at..]).0.is_some());
    first.filter(|_| !line.starts_with('[')).unwrap_or(0)
}

/// A line that can be shown: a guest's console may hold anything.
fn printable(line: &[u8]) -> String {
    shown::line(&String::from_utf8_lossy(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> ConsoleWords {
        let mut words = ConsoleWords::default();
        words.feed(text.as_bytes());
        words
    }

    #[test]
    fn a_clock_that_runs_at_a_wrong_speed_is_noticed() {
        let mut words = ConsoleWords::default();
        for (timer, measured) in [("PMTIMER", "921403 2593595"), ("HPET", "144950 2595835")] {
            words.feed(format!("tsc: PIT calibration matches {timer}. 1 loops\n").as_bytes());
            assert_eq!(words.other_clock, None);
            let deviates = format!("tsc: PIT calibration deviates from {timer}: {measured}.\n");
            words.feed(deviates.as_bytes());
            assert_eq!(words.other_clock, Some("acpi_pm"));
            // The next kernel measures by itself.
            words.feed(b"[    0.000000] Linux version 6.1.0\n");
            assert_eq!(words.other_clock, None);
        }
    }

    #[test]
    fn the_first_words_of_init_are_found() {
        let text = "[    1.0] vmtest: x\r\nvmtest: cannot mount\r\nvmtest: more\n";
        assert_eq!(words(text).init.as_deref(), Some("cannot mount"));
    }

    #[test]
    fn a_panic_is_named_by_what_led_to_it() {
        let oops = "[    1.0] BUG: unable to handle page fault for address: 0\r\n";
        let panic = "[    1.1] Kernel panic - not syncing: Fatal exception\r\n";
        assert_eq!(
            words(oops).panicked(),
            None,
            "an oops alone may be survived"
        );
        assert_eq!(
            words(oops).oops.as_deref(),
            Some("BUG: unable to handle page fault for address: 0")
        );
        assert_eq!(
            words(panic).panicked().as_deref(),
            Some("Kernel panic - not syncing: Fatal exception")
        );
        let both = words(&format!("{oops}{panic}{panic}"));
        assert_eq!(both.panicked(), both.oops);
        // What merely mentions the words, in the middle of a line, is not the kernel's.
        assert_eq!(words("test: Kernel panic - not syncing\n").panicked(), None);
        assert_eq!(
            words("Kernel panic - not sync").panicked(),
            None,
            "not a whole line yet"
        );
    }

    #[test]
    fn a_line_that_a_process_left_open_hides_no_panic() {
        let text = "abc [x[    1.1] Kernel panic - not syncing: x\n";
        assert_eq!(
            words(text).panicked().as_deref(),
            Some("Kernel panic - not syncing: x")
        );
        assert_eq!(words(text).tail(2).lines().next(), Some("abc [x"));
        for line in ["plain [text]", "[    1.1] a [    2.0] b", ""] {
            assert_eq!(joined(line), 0, "{line}");
        }
    }

    #[test]
    fn the_end_of_a_guest_is_seen_in_its_words() {
        let ending = |text: &str| words(text).ending.map(|(ending, _)| ending);
        let panic = "[    1.1] Kernel panic - not syncing: x\n";
        assert_eq!(ending(panic), None);
        assert_eq!(ending("Rebooting in 1 seconds..\n"), None);
        for last in ["Rebooting in 30 seconds..", "---[ end Kernel panic", BANNER] {
            let text = format!("{panic}[    1.2] {last}\n");
            assert_eq!(ending(&text), Some(Ending::PanicOver), "{last}");
        }
        assert_eq!(ending("[    0.0] Linux version 6.1\n"), None);
        let asleep = "[    1.1] PM: suspend entry (s2idle)\n";
        assert_eq!(ending(asleep), Some(Ending::Asleep));
        let awake = format!("{asleep}[    1.2] PM: suspend exit\n");
        assert_eq!(ending(&awake), None);
        // Not the first kernel's end, but that of its planned crash.
        let mut planned = ConsoleWords {
            planned: Some(None),
            ..ConsoleWords::default()
        };
        planned.feed(format!("{panic}[    1.2] Rebooting in 1 seconds..\n").as_bytes());
        assert_eq!(planned.ending.map(|e| e.0), Some(Ending::PanicOver));
    }

    #[test]
    fn a_planned_crash_is_none_and_the_next_ones_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "").unwrap();
        let mut console = Console::open(&path, false).unwrap();
        let stall = "[   31.0] rcu: INFO: rcu_sched self-detected stall on CPU\n";
        console.words.feed(stall.as_bytes());
        console.words.plan_crash();
        assert_eq!(console.words.stall, None);
        let crash = "[   32.0] sysrq: Trigger a crash\n\
            [   32.0] Kernel panic - not syncing: sysrq triggered crash\n";
        console.words.feed(crash.as_bytes());
        assert_eq!(
            (console.words.died(), console.words.excerpt.text()),
            (None, "")
        );
        assert_eq!(
            console.words.planned().as_deref(),
            Some("Kernel panic - not syncing: sysrq triggered crash")
        );
        assert!(console.words.tail(1).ends_with("sysrq triggered crash"));
        let next = "[    0.0] Linux version 6.1.192 (vmtest)\n\
            [    1.0] Kernel panic - not syncing: no init\n";
        console.words.feed(next.as_bytes());
        assert_eq!(console.words.planned(), None);
        assert_eq!(
            console.words.panicked().as_deref(),
            Some("Kernel panic - not syncing: no init")
        );
        // A kernel that says little is back when its init is.
        console.words.plan_crash();
        console.words.back();
        console.words.feed(crash.as_bytes());
        assert!(console.words.panicked().is_some());
    }

    #[test]
    fn what_does_not_go_on_is_remembered() {
        let words = words(
            "[   31.0] rcu: INFO: rcu_sched self-detected stall on CPU\n\
             [   60.0] INFO: task python3:81 blocked for more than 120 seconds.\n",
        );
        let stall = words.stall.as_deref();
        assert_eq!(
            stall,
            Some("rcu: INFO: rcu_sched self-detected stall on CPU")
        );
        assert_eq!(words.panicked(), None);
        assert_eq!(words.excerpt.text().lines().count(), 3);
    }

    #[test]
    fn the_tail_is_printable_and_bounded() {
        let mut words = ConsoleWords::default();
        for number in 0..10_000 {
            words.feed(format!("line {number}\n").as_bytes());
        }
        words.feed(&[b'x'; 100_000]);
        assert_eq!(words.lines.len(), LINES);
        assert_eq!(words.line.len(), LINE);
        words.feed(b"\n\x1b[2J\xff\0end");
        assert_eq!(words.tail(1), "\u{fffd}[2J\u{fffd}\u{fffd}end");
        assert!(words.tail(3).starts_with("line 9999\nxxx"));
    }
}
