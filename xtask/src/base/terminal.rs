//! The user's terminal in raw mode while a guest has it, and its restoration
//! however we end.
//!
//! A process that is killed cannot restore anything. So before the terminal is changed, a small
//! child of ours (this binary as `restore-terminal`) remembers the settings; when the pipe to it is
//! closed, which is what our death does, it puts them back. It has a session of its own: a
//! background process of the terminal's would be stopped by SIGTTOU (termios(3)).

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::{getpgid, getpgrp, getppid, getsid};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, tcdrain, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGTSTP};
use signal_hook::flag::register;
use signal_hook::low_level::emulate_default_handler;

use crate::base::error::{Failure, FailureKind};

/// The hidden command that [`RawTerminal`] starts.
pub const RESTORE: &str = "restore-terminal";

/// Whether both our input and our output are the terminal.
pub fn on_both_ends() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Whether a terminal listens to us: of a shell's jobs only the one in the foreground may
/// read it and change its settings (termios(3)); another one is stopped when it tries.
pub fn in_foreground(terminal: impl AsFd) -> bool {
    // One that is not our session's knows nothing of jobs of ours.
    tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}

/// Waits, stopped as by an attempt to read, until our job is in the foreground.
pub fn wait_for_foreground() -> Result<()> {
    if in_foreground(std::io::stdin()) {
        return Ok(());
    }
    // Harmless, and in the background the kernel stops who does it (`tty_check_change`).
    tcdrain(std::io::stdin()).context("the terminal is another job's")
}

/// The end of a command whose terminal is gone, as by SIGHUP, which may come later or never.
pub fn gone() -> Failure {
    Failure::new(FailureKind::Interrupted(SIGHUP), "the terminal is gone")
}

/// Whether an error in reading or writing says that: on a file it is one of the disk.
pub fn is_gone(error: Errno, stream: impl AsFd) -> bool {
    let kind = rustix::fs::fstat(stream).map(|file| FileType::from_raw_mode(file.st_mode));
    error == Errno::IO && kind.is_ok_and(|kind| kind == FileType::CharacterDevice)
}

/// Columns and rows of the terminal at standard output, or of one at standard input.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin()));
    let size = size.ok().map(|size| (size.ws_col, size.ws_row));
    size.filter(|&(columns, rows)| columns > 0 && rows > 0)
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
    handed_over: AtomicBool,
    /// SIGTSTP and SIGCONT.
    stop: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

impl RawTerminal {
    /// Saves the settings and makes the terminal raw but for the keys that interrupt.
    #[allow(
        clippy::disallowed_methods,
        reason = "must outlive us, so it is not a supervised child"
    )]
    pub fn new() -> Result<Self> {
        // Those of a shell that edits its command line are not what is to be restored.
        wait_for_foreground()?;
        let saved = tcgetattr(std::io::stdin())
            .map_err(|error| failed(error, "cannot read the terminal's settings"))?;
        // Not by its name: cargo may have replaced the file since we started.
        let mut restorer = Command::new("/proc/self/exe")
            .arg(RESTORE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process that restores the terminal")?;
        // It says a byte when it has the settings.
        if let Some(stdout) = &mut restorer.stdout {
            let said = stdout.read_exact(&mut [0]);
            said.context("the process that restores the terminal ended")?;
        }
        let terminal = Self {
            saved,
            restorer,
            handed_over: AtomicBool::new(false),
            stop: Arc::default(),
            continued: Arc::default(),
        };
        register(SIGTSTP, Arc::clone(&terminal.stop)).context("cannot handle SIGTSTP")?;
        register(SIGCONT, Arc::clone(&terminal.continued)).context("cannot handle SIGCONT")?;
        terminal.take()?;
        Ok(terminal)
    }

    /// From now on every key is the guest's.
    pub fn hand_over(&self) -> Result<()> {
        self.handed_over.store(true, Ordering::SeqCst);
        self.take()
    }

    /// Does what job control asks for: a shell gets its terminal back before we are stopped, and
    /// we take it again when we go on, also after a SIGSTOP. Whether we have been away; the
    /// terminal may have another size then.
    pub fn follow_jobs(&self) -> Result<bool> {
        if self.stop.swap(false, Ordering::SeqCst) && can_be_continued() {
            // It may be another job's already.
            if in_foreground(std::io::stdin()) {
                set(&self.saved)?;
            }
            emulate_default_handler(SIGTSTP).context("cannot stop")?;
        }
        let away = self.continued.swap(false, Ordering::SeqCst);
        if away {
            wait_for_foreground()?;
            self.take()?;
        }
        Ok(away)
    }

    fn take(&self) -> Result<()> {
        let mut settings = self.saved.clone();
        settings.make_raw();
        if !self.handed_over.load(Ordering::SeqCst) {
            settings.local_modes |= LocalModes::ISIG;
        }
        set(&settings)
    }
}

/// Whether our parent is a shell with job control: without one, nobody continues who is stopped
/// (`is_orphaned_pgrp` of the kernel).
fn can_be_continued() -> bool {
    let Some(parent) = getppid() else {
        return false;
    };
    let same_session = getsid(Some(parent)).ok() == getsid(None).ok();
    same_session && getpgid(Some(parent)).is_ok_and(|group| group != getpgrp())
}

fn set(settings: &Termios) -> Result<()> {
    tcsetattr(std::io::stdin(), OptionalActions::Now, settings)
        .map_err(|error| failed(error, "cannot change the terminal's settings"))
}

fn failed(error: Errno, what: &'static str) -> anyhow::Error {
    match error {
        Errno::IO => gone().into(),
        error => anyhow::Error::from(error).context(what),
    }
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
    let said = stdout.write_all(b"+").and_then(|()| stdout.flush());
    said.context("nobody waits for us")?;
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
