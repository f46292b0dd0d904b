//! The signals that ask for our end as a flag. Whoever waits for something looks at it at
//! least ten times a second, unwinds with an error, and so lets every guard
//! (child processes, temporary files, the terminal) do its work.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};

use crate::failure::{Failure, FailureKind};

static PENDING: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// How long a wait may go on without looking at the flag.
pub const POLL: Duration = Duration::from_millis(50);

/// Installs the handlers. Called once, by `main`; without it nothing is ever pending.
pub fn install() -> anyhow::Result<()> {
    let flag = PENDING.get_or_init(Arc::default);
    for signal in [SIGINT, SIGQUIT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal)?;
        signal_hook::flag::register_usize(signal, Arc::clone(flag), number)?;
    }
    // Beyond `ulimit -f` a write fails then, and what was begun is cleaned up. A handler, not
    // SIG_IGN: programs that we start must not inherit it.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
}

/// The signal that has arrived, if any.
pub fn pending() -> Option<i32> {
    let number = PENDING.get()?.load(Ordering::SeqCst);
    i32::try_from(number).ok().filter(|&signal| signal != 0)
}

/// An error if a signal has arrived.
pub fn check() -> Result<(), Failure> {
    match pending() {
        None => Ok(()),
        Some(signal) => {
            let name = match signal {
                SIGINT => "SIGINT",
                SIGQUIT => "SIGQUIT",
                SIGTERM => "SIGTERM",
                _ => "SIGHUP",
            };
            Err(Failure::new(
                FailureKind::Interrupted(signal),
                format!("interrupted by {name}"),
            ))
        }
    }
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
