//! The signals that ask for our end as a flag. Whoever waits for something looks at it at
//! least ten times a second, unwinds with an error, and so lets every guard
//! (child processes, temporary files, the terminal) do its work.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};

use crate::base::error::{Failure, FailureKind};
use crate::base::input;

static PENDING: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// How long a wait may go on without looking at the flag.
pub const POLL: Duration = Duration::from_millis(50);

/// Waits, at most for [`POLL`], until poll(2) has something to say of a descriptor; nothing if
/// the time or a signal came first.
pub fn wait_for(descriptor: impl AsFd, wanted: PollFlags) -> rustix::io::Result<PollFlags> {
    let mut ready = [PollFd::new(&descriptor, wanted)];
    let limit = Timespec::try_from(POLL).ok();
    match poll(&mut ready, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(ready[0].revents()),
        Err(error) => Err(error),
    }
}

/// Installs the handlers. Called once, by `main`; without it nothing is ever pending.
pub fn install() -> anyhow::Result<()> {
    let flag = PENDING.get_or_init(Arc::default);
    for signal in [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGXCPU] {
        // As nohup(1) has it.
        if signal == SIGHUP && is_ignored(signal) {
            continue;
        }
        let number = usize::try_from(signal)?;
        signal_hook::flag::register_usize(signal, Arc::clone(flag), number)?;
    }
    // Beyond `ulimit -f` a write fails then, and what was begun is cleaned up. A handler, not
    // SIG_IGN: programs that we start must not inherit it.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
}

/// Whether we were started with a signal ignored (proc_pid_status(5)).
fn is_ignored(signal: i32) -> bool {
    let text = input::text(Path::new("/proc/self/status"), input::SMALL).unwrap_or_default();
    ignores(&text, signal)
}

fn ignores(status: &str, signal: i32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

pub fn pending() -> Option<i32> {
    let number = PENDING.get()?.load(Ordering::SeqCst);
    i32::try_from(number).ok().filter(|&signal| signal != 0)
}

pub fn check() -> Result<(), Failure> {
    let Some(signal) = pending() else {
        return Ok(());
    };
    let name = match signal {
        SIGINT => "SIGINT",
        SIGQUIT => "SIGQUIT",
        SIGTERM => "SIGTERM",
        SIGXCPU => "SIGXCPU (ulimit -t)",
        _ => "SIGHUP",
    };
    let kind = FailureKind::Interrupted(signal);
    Err(Failure::new(kind, format!("interrupted by {name}")))
}

/// Sleeps, but not past a signal.
pub fn sleep(duration: Duration) -> Result<(), Failure> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(POLL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_found_in_the_mask() {
        let status = "Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, SIGHUP));
        assert!(!ignores(status, SIGINT));
        assert!(!ignores("", SIGHUP));
    }
}
