//! Parses the bytes of a guest's ports: the status port's lines and the mark that ends a
//! stream. Pure; nothing a guest sends is an error here.

use std::time::Duration;

use memchr::memmem;

/// The ports, by the name that the guest finds below `/sys/class/virtio-ports`.
/// `vmtest-assets/guest/init.sh` knows the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Lines in both directions.
    Status,
    Stdout,
    Stderr,
    /// The test runner's reports.
    Events,
    /// The kernel's log, as `/proc/kmsg` has it.
    Kernel,
    Stdin,
    /// The terminal of an interactive command: not a port but `hvc0`.
    Terminal,
    /// QEMU's own control connection, of which the guest knows nothing.
    Monitor,
}

impl Port {
    /// The name in the guest and of the socket on the host.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "vmtest.status",
            Self::Stdout => "vmtest.stdout",
            Self::Stderr => "vmtest.stderr",
            Self::Events => "vmtest.events",
            Self::Kernel => "vmtest.kernel",
            Self::Stdin => "vmtest.stdin",
            Self::Terminal => "vmtest.terminal",
            Self::Monitor => "vmtest.monitor",
        }
    }
}

/// A line of the status port.
///
/// ```text
/// hello PHASE T [B] init runs since T, and the initramfs before it since B
/// clock TIME       by the guest's clock it was then, in seconds since 1970; init waits for
///                  the answer `clock DIFFERENCE`
/// vmcoreinfo A N   where the kernel's description for dumps is: /sys/kernel/vmcoreinfo
/// started T        the command runs since T
/// tainted N        the bits of /proc/sys/kernel/tainted when the command had ended
/// fail TEXT        init could not start it
/// exit PHASE N     the command ended with status N
/// crashing         a capture kernel is loaded: the crash that comes now is planned
/// nothing PHASE    no test was selected for the phase: the kernel will not be crashed
/// ```
///
/// Times are the guest's own, in seconds since its kernel began to count (proc(5),
/// `/proc/uptime`); they may be missing.
///
/// The phases are `main` and, on the kernel that a planned crash starts, `crash`. The
/// other way go `sysrq KEY`, `size COLUMNS ROWS`, `clock DIFFERENCE [SOURCE]` (seconds to add
/// to the guest's clock; the clock source to change to before asking again), `reset`, and
/// `crash`: it tells that the host has the verdict of the main phase and all output of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Hello(String, Option<Duration>, Option<Duration>),
    Clock(Duration),
    /// The address is a physical one.
    Vmcoreinfo(u64, u64),
    Started(Option<Duration>),
    Tainted(u64),
    Fail(String),
    Exit(String, u8),
    Crashing,
    Nothing(String),
    /// Anything else, shortened; a guest can write what it likes here.
    Odd(String),
}

/// Longer lines of the status port are cut: ours are short, and a guest that
/// writes garbage must not fill the host's memory.
const LONGEST_STATUS: usize = 1024;

/// Splits the status port's bytes into lines.
#[derive(Debug, Default)]
pub struct StatusReader {
    line: Vec<u8>,
}

impl StatusReader {
    /// Takes bytes as they come; gives the lines that are complete now, but for empty ones:
    /// init puts one in front of each of its own, because a process may have left a line open.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Status> {
        let mut found = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < LONGEST_STATUS {
                    self.line.push(byte);
                }
            } else if !self.line.is_empty() {
                let line = String::from_utf8_lossy(&self.line).into_owned();
                self.line.clear();
                found.push(parse_status(&line).unwrap_or(Status::Odd(line)));
            }
        }
        found
    }
}

fn parse_status(line: &str) -> Option<Status> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let text = || Some(rest.to_owned()).filter(|text| !text.is_empty());
    Some(match word {
        "hello" => {
            let mut words = rest.split(' ');
            let phase = words.next().filter(|phase| !phase.is_empty())?;
            let mut time = || words.next().and_then(uptime);
            Status::Hello(phase.to_owned(), time(), time())
        }
        "vmcoreinfo" => {
            // `0x00000000012e6000 1024`: both are hexadecimal (`kernel/ksysfs.c`,
            // `vmcoreinfo_show`).
            let (address, size) = rest.strip_prefix("0x")?.split_once(' ')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            Status::Vmcoreinfo(number(address)?, number(size)?)
        }
        "clock" => Status::Clock(uptime(rest)?),
        "started" => Status::Started(uptime(rest)),
        "tainted" => Status::Tainted(rest.parse().ok()?),
        "fail" => Status::Fail(text()?),
        "crashing" if rest.is_empty() => Status::Crashing,
        "nothing" => Status::Nothing(text()?),
        "exit" => {
            let (phase, status) = rest
                .split_once(' ')
                .filter(|(phase, _)| !phase.is_empty())?;
            Status::Exit(phase.to_owned(), status.parse().ok()?)
        }
        _ => return None,
    })
}

/// The correction of a guest's clock, in seconds with a sign. The message took some time on its
/// way, so the guest will be ahead by that: a file that the host has dated must not be of the
/// future in the guest.
pub fn clock_difference(host: Duration, guest: Duration) -> String {
    let sign = if host >= guest { '+' } else { '-' };
    let difference = host.abs_diff(guest);
    let (seconds, fraction) = (difference.as_secs(), difference.subsec_micros());
    format!("{sign}{seconds}.{fraction:06}")
}

/// `12.34`; a guest that says nonsense has no time.
fn uptime(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// Finds the mark that ends a stream. What may be the beginning of the mark is
/// held back until it is certain; everything else passes at once.
#[derive(Debug)]
pub struct MarkScanner {
    mark: Vec<u8>,
    held: Vec<u8>,
    /// Bytes before the first mark are discarded.
    begun: bool,
    ended: bool,
}

impl MarkScanner {
    /// A scanner for this mark, which must not be empty.
    pub fn new(mark: &str) -> Self {
        Self {
            mark: mark.into(),
            held: Vec::new(),
            begun: true,
            ended: mark.is_empty(),
        }
    }

    /// A scanner for what stands between two marks.
    pub fn between(mark: &str) -> Self {
        Self {
            begun: false,
            ..Self::new(mark)
        }
    }

    /// Whether the mark has come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Takes bytes as they come; gives those that are certainly before the mark.
    /// Bytes after the mark are discarded.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.ended {
            return Vec::new();
        }
        self.held.extend_from_slice(bytes);
        let mut before = self.before_mark();
        if !self.begun {
            self.begun = before.is_some();
            before = before.and_then(|_| self.before_mark());
            if !self.begun {
                self.before_beginning();
                return Vec::new();
            }
        }
        self.ended = before.is_some();
        before.unwrap_or_else(|| self.before_beginning())
    }

    /// Takes what stands before the mark, and the mark.
    fn before_mark(&mut self) -> Option<Vec<u8>> {
        let at = memmem::find(&self.held, &self.mark)?;
        let rest = self.held.split_off(at + self.mark.len());
        let mut before = std::mem::replace(&mut self.held, rest);
        before.truncate(at);
        Some(before)
    }

    /// Takes what stands before a possible beginning of the mark.
    fn before_beginning(&mut self) -> Vec<u8> {
        let most = self.mark.len().min(self.held.len() + 1);
        let mut lengths = (1..most).rev();
        let begins = |&length: &usize| self.held.ends_with(&self.mark[..length]);
        let beginning = lengths.find(begins).unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - beginning);
        std::mem::replace(&mut self.held, rest)
    }

    /// The bytes held back, when the stream ended without a mark.
    pub fn finish(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        if self.begun && !self.ended {
            held
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_guests_time_is_what_it_lacks() {
        let difference = |host: &str, guest: &str| {
            clock_difference(uptime(host).unwrap(), uptime(guest).unwrap())
        };
        assert_eq!(difference("1795963189.25", "1795963187"), "+2.250000");
        assert_eq!(difference("1795963189", "1795963189.5"), "-0.500000");
        assert_eq!(difference("1795963189", "0.000001"), "+1795963188.999999");
        assert_eq!(difference("5", "5"), "+0.000000");
        let mut reader = StatusReader::default();
        let lines = reader.feed(b"clock 1795963189.250000\nclock\nclock -1\nclock x\n");
        assert_eq!(
            lines[0],
            Status::Clock(Duration::from_millis(1_795_963_189_250))
        );
        let odd = |line: &Status| matches!(line, Status::Odd(_));
        assert!(lines[1..].iter().all(odd), "{lines:?}");
    }

    #[test]
    fn a_guest_may_say_nonsense_about_its_time() {
        for text in ["", "now", "-1", "inf", "NaN", "1e300", "1.2 3"] {
            assert_eq!(uptime(text), None, "{text}");
        }
    }

    #[test]
    fn status_lines_survive_any_cut() {
        let text = b"hello main 1.25 0.5\nvmcoreinfo 0x12e6000 1024\nstarted 2\n\
            exit main 42\ncrashing\nhello crash\nnothing crash\n";
        let expected = vec![
            Status::Hello(
                "main".into(),
                Some(Duration::from_millis(1250)),
                Some(Duration::from_millis(500)),
            ),
            Status::Vmcoreinfo(0x12e_6000, 0x1024),
            Status::Started(Some(Duration::from_secs(2))),
            Status::Exit("main".into(), 42),
            Status::Crashing,
            Status::Hello("crash".into(), None, None),
            Status::Nothing("crash".into()),
        ];
        for cut in 0..=text.len() {
            let mut reader = StatusReader::default();
            let mut found = reader.feed(&text[..cut]);
            found.extend(reader.feed(&text[cut..]));
            assert_eq!(found, expected, "cut at {cut}");
        }
    }

    #[test]
    fn odd_lines_are_odd_and_never_a_verdict() {
        for line in [
            "exit",
            "exit main",
            "exit main x",
            "exit main 256",
            "exit main -1",
            "exit  0",
            "hello",
            "crashing now",
            "nothing",
            "vmcoreinfo",
            "vmcoreinfo 0x1",
            "vmcoreinfo 1 1024",
            "vmcoreinfo 0x1 x",
            "vmcoreinfo 0x10000000000000000 1",
            "\u{fffd}",
            "EXIT main 0",
        ] {
            let found = StatusReader::default().feed(format!("{line}\n").as_bytes());
            assert_eq!(found, [Status::Odd(line.into())]);
        }
        assert_eq!(StatusReader::default().feed(b"exit main 0"), []);
    }

    #[test]
    fn a_line_that_somebody_left_open_takes_no_verdict_with_it() {
        let found = StatusReader::default().feed(b"\nstarted\nex\nexit main 3\n");
        let expected = [
            Status::Started(None),
            Status::Odd("ex".into()),
            Status::Exit("main".into(), 3),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut reader = StatusReader::default();
        for _ in 0..1000 {
            assert_eq!(reader.feed(&[b'x'; 4096]), []);
        }
        assert_eq!(reader.line.len(), LONGEST_STATUS);
        assert_eq!(
            reader.feed(b"\nstarted\n").last(),
            Some(&Status::Started(None))
        );
    }

    #[test]
    fn the_mark_is_found_at_any_cut() {
        let mark = "abcabd";
        let stream = b"some abcab text abcabcabdrest".to_vec();
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut scanner = MarkScanner::new(mark);
                let mut out = scanner.feed(&stream[..first]);
                out.extend(scanner.feed(&stream[first..second]));
                out.extend(scanner.feed(&stream[second..]));
                assert_eq!(out, b"some abcab text abc", "cut at {first} and {second}");
                assert!(scanner.ended());
                assert_eq!(scanner.feed(b"later"), b"");
            }
        }
    }

    #[test]
    fn what_stands_between_two_marks_is_found_at_any_cut() {
        let stream = b"before abcab abcabdsome abcab textabcabdrest";
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut scanner = MarkScanner::between("abcabd");
                let mut out = scanner.feed(&stream[..first]);
                out.extend(scanner.feed(&stream[first..second]));
                out.extend(scanner.feed(&stream[second..]));
                assert_eq!(out, b"some abcab text", "cut at {first} and {second}");
                assert!(scanner.ended());
            }
        }
        let mut scanner = MarkScanner::between("abcabd");
        assert_eq!(scanner.feed(b"abcab"), b"");
        assert_eq!(scanner.finish(), b"", "it has not begun");
    }

    #[test]
    fn a_stream_without_mark_is_complete_after_finish() {
        let mut scanner = MarkScanner::new("abcabd");
        let mut out = scanner.feed(b"xyz abcab");
        assert_eq!(out, b"xyz ");
        assert!(!scanner.ended());
        out.extend(scanner.finish());
        assert_eq!(out, b"xyz abcab");
    }
}
