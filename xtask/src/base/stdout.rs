//! Standard output, where results go.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use rustix::io::Errno;
use signal_hook::consts::SIGPIPE;

use crate::base::error::{self, Failure, FailureKind};
use crate::base::{secrets, shown, terminal};

/// Standard output. What is written has arrived when the call returns, or is an error, which
/// Rust's own drops at the end of the process; that nobody reads it is one that says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write(bytes).map_err(closed)?;
        stdout.flush().map_err(closed)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(closed)
    }
}

/// Prints results that have no colours. What would command a terminal is replaced if it is one;
/// a program that reads them gets what there is.
pub fn print(text: &str) -> Result<()> {
    let text = secrets::redacted(text);
    let shown = io::stdout().is_terminal().then(|| shown::lines(&text));
    let text = shown.as_deref().unwrap_or(&text);
    Stdout
        .write_all(text.as_bytes())
        .context("cannot write to standard output")
}

pub fn print_value(value: &str) -> Result<()> {
    match io::stdout().is_terminal() {
        true => print(&(shown::line(value) + "\n")),
        false => print(&format!("{value}\n")),
    }
}

/// Ends the command like the signal that other programs get.
pub fn nobody_reads() -> Failure {
    let kind = FailureKind::Interrupted(SIGPIPE);
    Failure::new(kind, "standard output was closed")
}

/// Whether an error is that. Who closed it knows, so nothing is said.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error::kind(error) == Some(FailureKind::Interrupted(SIGPIPE))
}

fn closed(error: io::Error) -> io::Error {
    let errno = Errno::from_io_error(&error);
    match errno {
        Some(Errno::PIPE) => io::Error::other(nobody_reads()),
        Some(errno) if terminal::is_gone(errno, io::stdout()) => io::Error::other(terminal::gone()),
        _ => error,
    }
}
