//! The console's log of a VM that belongs to no session:
//! `log/vm/console-<time>-<digits>.log` in the work directory.
//!
//! The log of a VM that ended well is removed. Of the others the newest stay, because a log
//! may have 64 MiB and nobody else removes them.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::temporary::{remove_abandoned, signed, signed_prefix};
use crate::base::{disk, paths::Paths, time};

/// Logs that are kept besides those of running VMs.
const KEPT: usize = 20;

const PREFIX: &str = "console-";
const SUFFIX: &str = ".log";

/// A log that no other run removes while this is there.
#[derive(Debug)]
pub struct ConsoleLog {
    path: PathBuf,
    file: File,
}

impl ConsoleLog {
    /// Makes an empty log at a path that [`path`] gave, and removes the oldest others.
    pub fn create(path: &Path) -> Result<Self> {
        let context = || format!("cannot write {}", path.display());
        let folder = path.parent().unwrap_or(Path::new("."));
        disk::create_directory(folder)?;
        forget_oldest(folder);
        let file = File::create_new(path).with_context(context)?;
        file.lock().with_context(context)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Removes it: nobody looks at the kernel's words when all went well.
    pub fn remove(self) {
        // One that cannot be removed is among the oldest some day.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for ConsoleLog {
    fn drop(&mut self) {
        // The VM was not started.
        if self.file.metadata().is_ok_and(|log| log.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A path that no other run has, not in another PID namespace either.
pub fn path(paths: &Paths) -> Result<PathBuf> {
    let prefix = format!("{PREFIX}{}-", time::file_name(time::now()));
    let mut name = signed(prefix).context("there are no random bytes")?;
    name.push(SUFFIX);
    Ok(paths.logs().join("vm").join(name))
}

/// Removes the oldest of the logs that nobody holds, by the times in their names.
fn forget_oldest(folder: &Path) {
    let mut logs = disk::entries(folder).unwrap_or_default();
    logs.retain(|path| is_log(path.file_name().unwrap_or_default()));
    let surplus = logs.len().saturating_sub(KEPT - 1);
    for path in &logs[..surplus] {
        remove_abandoned(path);
    }
}

fn is_log(name: &OsStr) -> bool {
    let stem = name.as_bytes().strip_suffix(SUFFIX.as_bytes());
    let prefix = stem.and_then(|stem| signed_prefix(OsStr::from_bytes(stem)));
    prefix.is_some_and(|prefix| prefix.starts_with(PREFIX.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Env;

    #[test]
    fn the_newest_logs_and_those_in_use_and_other_peoples_files_stay() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let folder = env.paths.logs().join("vm");
        let old = |second: usize| {
            let mut name = signed(format!("{PREFIX}20260101-0000{second:02}-")).unwrap();
            name.push(SUFFIX);
            folder.join(name)
        };
        let used = old(0);
        let held = ConsoleLog::create(&used).unwrap();
        std::fs::write(&used, "words").unwrap();
        let mine = folder.join("console-20250101-000000-mine.log");
        std::fs::write(&mine, "").unwrap();
        let logs = (1..=KEPT + 5).map(old).collect::<Vec<_>>();
        for path in &logs {
            drop(ConsoleLog::create(path).unwrap());
            assert!(!path.exists(), "it is empty");
        }
        for path in &logs {
            std::fs::write(path, "words").unwrap();
        }
        let new = ConsoleLog::create(&path(&env.paths).unwrap()).unwrap();
        assert!(used.is_file() && mine.is_file());
        let kept = logs.iter().filter(|path| path.exists()).count();
        assert_eq!(kept, KEPT - 1);
        assert!(logs[logs.len() - kept].is_file());
        new.remove();
        drop(held);
        assert!(used.is_file());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), KEPT + 1);
    }
}
