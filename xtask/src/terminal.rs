//! The user's terminal in raw mode while a guest has it, and its restoration
//! however we end.
//!
//! A process that is killed cannot restore anything. So before the terminal is
//! changed, a small child of ours (this binary as `restore-terminal`) in a session
//! of its own remembers the settings; when the pipe to it is closed, which is what
//! our death does, it puts them back. In its own session it may: a background
//! process of the terminal's session would be stopped by SIGTTOU (termios(3)).

use std::io::{IsTerminal, Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The hidden command that [`RawTerminal`] starts.
pub const RESTORE: &str = "restore-terminal";

/// Whether both our input and our output are the terminal.
pub fn on_both_ends() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Columns and rows of the terminal at standard output, or of one at standard input.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin()));
    size.ok()
        .map(|size| (size.ws_col, size.ws_row))
        .filter(|&(columns, rows)| columns > 0 && rows > 0)
}

/// Finds Ctrl-A X in what is typed, as QEMU's own console has it: the way out of a
/// guest that does not answer. Ctrl-A Ctrl-A types one Ctrl-A.
#[derive(Debug, Default)]
pub struct Escape {
    armed: bool,
}

impl Escape {
    /// What goes on to the guest, and whether the end is wanted.
    pub fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        const CONTROL_A: u8 = 1;
        let mut out = Vec::with_capacity(typed.len());
        for &byte in typed {
            match (std::mem::take(&mut self.armed), byte) {
                (false, CONTROL_A) => self.armed = true,
                (true, b'x' | b'X') => return (out, true),
                (true, CONTROL_A) | (false, _) => out.push(byte),
                (true, _) => out.extend([CONTROL_A, byte]),
            }
        }
        (out, false)
    }
}

/// The terminal at standard input, in our hands until this is dropped. Until
/// [`RawTerminal::hand_over`] its keys for SIGINT and SIGQUIT reach us: nobody in a guest
/// that boots would hear them.
#[derive(Debug)]
pub struct RawTerminal {
    saved: Termios,
    restorer: Child,
}

impl RawTerminal {
    /// Saves the settings and makes the terminal raw but for the keys that interrupt.
    #[allow(
        clippy::disallowed_methods,
        reason = "must outlive us, so it is not a supervised child"
    )]
    pub fn new() -> Result<Self> {
        let saved = tcgetattr(std::io::stdin()).context("cannot read the terminal's settings")?;
        let own = std::env::current_exe().context("cannot find our own executable")?;
        let mut restorer = Command::new(own)
            .arg(RESTORE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process that restores the terminal")?;
        // It says a byte when it has the settings.
        if let Some(stdout) = &mut restorer.stdout {
            stdout
                .read_exact(&mut [0])
                .context("the process that restores the terminal ended")?;
        }
        let mut booting = saved.clone();
        booting.make_raw();
        booting.local_modes |= LocalModes::ISIG;
        set(&booting)?;
        Ok(Self { saved, restorer })
    }

    /// From now on every key is the guest's.
    pub fn hand_over(&self) -> Result<()> {
        let mut raw = self.saved.clone();
        raw.make_raw();
        set(&raw)
    }
}

fn set(settings: &Termios) -> Result<()> {
    tcsetattr(std::io::stdin(), OptionalActions::Now, settings)
        .context("cannot change the terminal's settings")
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.saved);
        drop(self.restorer.stdin.take());
        let _ = self.restorer.wait();
    }
}

/// `xtask restore-terminal`: standard error is the terminal, standard input the
/// pipe whose end says that it is time.
pub fn restore() -> Result<()> {
    rustix::process::setsid().context("cannot start a session")?;
    let saved = tcgetattr(std::io::stderr()).context("standard error is not the terminal")?;
    let mut stdout = std::io::stdout();
    stdout
        .write_all(b"+")
        .and_then(|()| stdout.flush())
        .context("nobody waits for us")?;
    while matches!(std::io::stdin().read(&mut [0; 16]), Ok(1..)) {}
    tcsetattr(std::io::stderr(), OptionalActions::Now, &saved)
        .context("cannot restore the terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_is_found_across_cuts_and_nothing_else_is_lost() {
        let feed = |parts: &[&[u8]]| {
            let mut escape = Escape::default();
            let mut all = Vec::new();
            for part in parts {
                let (out, end) = escape.feed(part);
                all.extend(out);
                if end {
                    return (all, true);
                }
            }
            (all, false)
        };
        assert_eq!(feed(&[b"ls\r"]), (b"ls\r".to_vec(), false));
        assert_eq!(feed(&[b"a\x01xb"]), (b"a".to_vec(), true));
        assert_eq!(feed(&[b"a\x01", b"X"]), (b"a".to_vec(), true));
        assert_eq!(feed(&[b"\x01\x01x"]), (b"\x01x".to_vec(), false));
        assert_eq!(feed(&[b"\x01b"]), (b"\x01b".to_vec(), false));
        assert_eq!(feed(&[b"xX"]), (b"xX".to_vec(), false));
    }
}
