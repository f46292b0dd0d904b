//! Locks between runs: two that want to make the same thing wait for each other.

use std::fs::{File, TryLockError};

use anyhow::{Context, Result};

use super::disk;
use super::env::Env;
use super::interrupt;

/// A lock that other runs wait for. It ends when dropped, or with this process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of that name (letters, digits, `.`, `-`, `_`), waiting for
/// another run that holds it. Says so once; a signal ends the wait.
///
/// The file stays: removing it would let a third run lock a new file of the
/// same name while the second still waits on the old one.
pub fn take(env: &Env, name: &str) -> Result<Lock> {
    let directory = env.paths.locks();
    disk::create_directory(&directory)?;
    let path = directory.join(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open the lock {}", path.display()))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        if !said {
            said = true;
            env.ui.info(format!(
                "waiting for another run, which holds {}",
                path.display()
            ));
        }
        interrupt::sleep(interrupt::POLL)?;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lock_is_waited_for() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let first = take(&env, "x").unwrap();
        let _other = take(&env, "y").unwrap();
        let dropped = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                dropped.store(true, Ordering::SeqCst);
                drop(first);
            });
            let _second = take(&env, "x").unwrap();
            assert!(dropped.load(Ordering::SeqCst));
        });
    }
}
