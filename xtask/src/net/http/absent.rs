//! Hosts that could not be reached a moment ago. Where something else will do, they
//! are passed over for a while: without a network each attempt may take seconds.
//!
//! A file per host in `cache/unreachable/`, whose age is what counts; and hosts that have
//! failed in this run, which nobody asks again.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use super::address::host;
use crate::base::paths::Paths;
use crate::base::sha256::Sha256;
use crate::base::temporary::Temporary;

/// So long a host is passed over.
const PASSED_OVER: Duration = Duration::from_secs(10 * 60);

fn marker(paths: &Paths, url: &str) -> PathBuf {
    let name = Sha256::of(host(url).as_bytes());
    paths.cache().join("unreachable").join(&name[..16])
}

/// Whether the host of an address is to be passed over: in words, that it is.
pub fn passed_over(paths: &Paths, url: &str) -> Option<String> {
    let modified = marker(paths, url).metadata().ok()?.modified().ok()?;
    // A time in the future is no age at all.
    modified.elapsed().ok().filter(|age| *age < PASSED_OVER)?;
    let minutes = PASSED_OVER.as_secs() / 60;
    Some(format!(
        "{} could not be reached in the last {minutes} min",
        host(url)
    ))
}

static FAILED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes that a host could not be reached, until this process ends.
pub fn note_in_this_run(host: &str) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    failed.push(host.to_owned());
}

/// Whether a host could not be reached before in this run.
pub fn in_this_run(host: &str) -> bool {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    failed.iter().any(|known| known == host)
}

/// Notes that the host of an address could not be reached.
///
/// # Errors
///
/// The note cannot be written.
pub fn note(paths: &Paths, url: &str) -> Result<()> {
    Temporary::file(&marker(paths, url))?.persist()
}

/// Notes that the host of an address was reached.
pub fn forget(paths: &Paths, url: &str) {
    // Most often there is nothing to forget.
    let _ = std::fs::remove_file(marker(paths, url));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Env;

    #[test]
    fn a_host_is_passed_over_for_a_while_and_until_it_is_reached() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let url = "https://api.example.org/repos";
        assert_eq!(passed_over(&env.paths, url), None);
        forget(&env.paths, url);
        note(&env.paths, url).unwrap();
        assert_eq!(
            passed_over(&env.paths, "https://api.example.org:443/other").as_deref(),
            Some("api.example.org could not be reached in the last 10 min")
        );
        assert_eq!(passed_over(&env.paths, "https://example.org/"), None);
        let file = std::fs::File::open(marker(&env.paths, url)).unwrap();
        let old = std::time::SystemTime::now() - PASSED_OVER;
        file.set_modified(old).unwrap();
        assert_eq!(passed_over(&env.paths, url), None);
        note(&env.paths, url).unwrap();
        forget(&env.paths, url);
        assert_eq!(passed_over(&env.paths, url), None);
    }
}
