//! Where live lines are drawn: standard error, as long as our job is in the foreground. In the
//! background they would go over what is typed for another one.

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;
use rustix::termios::tcgetwinsize;

use crate::base::terminal::in_foreground;

/// Collects what is drawn until it is to be seen, or not.
#[derive(Debug, Default)]
pub struct LiveTerminal {
    drawn: Mutex<String>,
}

impl LiveTerminal {
    fn drawn(&self) -> MutexGuard<'_, String> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A control sequence (ECMA-48, 8.3), if there is anything to move.
    fn cursor(&self, by: usize, direction: char) -> io::Result<()> {
        match by {
            0 => Ok(()),
            _ => self.write_str(&format!("\x1b[{by}{direction}")),
        }
    }
}

impl TermLike for LiveTerminal {
    fn width(&self) -> u16 {
        let size = tcgetwinsize(io::stderr()).map(|size| size.ws_col);
        size.ok().filter(|&columns| columns > 0).unwrap_or(80)
    }

    fn height(&self) -> u16 {
        let size = tcgetwinsize(io::stderr()).map(|size| size.ws_row);
        size.ok().filter(|&rows| rows > 0).unwrap_or(24)
    }

    fn move_cursor_up(&self, by: usize) -> io::Result<()> {
        self.cursor(by, 'A')
    }

    fn move_cursor_down(&self, by: usize) -> io::Result<()> {
        self.cursor(by, 'B')
    }

    fn move_cursor_right(&self, by: usize) -> io::Result<()> {
        self.cursor(by, 'C')
    }

    fn move_cursor_left(&self, by: usize) -> io::Result<()> {
        self.cursor(by, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.write_str("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.drawn().push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.drawn());
        if drawn.is_empty() || !in_foreground(io::stderr()) {
            return Ok(());
        }
        io::stderr().write_all(drawn.as_bytes())
    }
}
