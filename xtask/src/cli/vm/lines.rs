//! Whole lines out of bytes that come in pieces.

use crate::base::shown;

/// Makes lines of what the kernel or a guest prints, among what others print to the same place.
#[derive(Default)]
pub struct GuestLines {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// What stands in front of each line.
    prefix: String,
    /// Whether they go to a terminal: then nothing in a line may command it.
    terminal: bool,
    /// Whether the guest has the terminal, so that nobody returns its carriage for us.
    pub raw: bool,
    /// Whether a command that prints to the same place is in the middle of a line.
    middle: bool,
}

/// Longer lines are cut in two, so that a guest that prints no end of line fills no memory.
const LINE: usize = 64 << 10;

impl GuestLines {
    pub fn new(prefix: String, terminal: bool, raw: bool) -> Self {
        Self {
            prefix,
            terminal,
            raw,
            ..Self::default()
        }
    }

    /// Takes note of what the command has printed.
    pub fn seen(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.middle = *last != b'\n';
        }
    }

    /// The lines that have ended.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' => self.end(&mut out),
                _ => self.line.push(byte),
            }
            if self.line.len() >= LINE {
                self.end(&mut out);
            }
        }
        out
    }

    /// The same of a serial console, whose lines end with a carriage return, too.
    pub fn feed_console(&mut self, bytes: &[u8]) -> Vec<u8> {
        let bytes = bytes.iter().copied().filter(|byte| *byte != b'\r');
        self.feed(&bytes.collect::<Vec<_>>())
    }

    /// What was left unfinished.
    pub fn finish(&mut self) -> Vec<u8> {
        match self.line.is_empty() {
            true => Vec::new(),
            false => self.feed(b"\n"),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let end: &[u8] = if self.raw { b"\r\n" } else { b"\n" };
        // A file that is to be read by programs gets nothing that nobody wrote.
        if self.terminal && std::mem::take(&mut self.middle) {
            out.extend_from_slice(end);
        }
        out.extend_from_slice(self.prefix.as_bytes());
        let line = std::mem::take(&mut self.line);
        match self.terminal {
            true => out.extend(shown::line(&String::from_utf8_lossy(&line)).into_bytes()),
            false => out.extend_from_slice(&line),
        }
        out.extend_from_slice(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(terminal: bool, raw: bool) -> GuestLines {
        GuestLines::new(String::new(), terminal, raw)
    }

    #[test]
    fn messages_are_whole_lines() {
        let mut piped = lines(false, false);
        assert_eq!(piped.feed_console(b"[ 0.1] one\r\n[ 0.2]"), b"[ 0.1] one\n");
        piped.seen(b"prompt> ");
        assert_eq!(piped.feed_console(b" \x1b[2J\r\nrest"), b"[ 0.2] \x1b[2J\n");
        assert_eq!(piped.finish(), b"rest\n");
        assert_eq!(piped.finish(), b"");
        assert_eq!(piped.feed(&[b'x'; LINE + 1]).len(), LINE + 1);
        assert_eq!(piped.line.len(), 1);
    }

    #[test]
    fn each_line_has_its_prefix_and_keeps_its_bytes() {
        let mut piped = GuestLines::new("6.1: ".to_owned(), false, false);
        assert_eq!(piped.feed(b"10%\r20%\n\n\xff"), b"6.1: 10%\r20%\n6.1: \n");
        assert_eq!(piped.finish(), b"6.1: \xff\n");
    }

    #[test]
    fn on_a_terminal_they_command_nothing_and_begin_where_lines_do() {
        let mut terminal = lines(true, true);
        terminal.seen(b"prompt> ");
        let shown = terminal.feed(b"\x1b[2Jone\ntwo\n");
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown, "\r\n\u{fffd}[2Jone\r\ntwo\r\n");
        terminal.seen(b"whole\n");
        assert_eq!(terminal.feed(b"three\n"), b"three\r\n");
        assert_eq!(lines(true, false).feed(b"\n"), b"\n");
    }
}
