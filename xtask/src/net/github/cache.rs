//! Answers of the API, kept with their validators: asking whether one still holds
//! is cheap, and it serves when nobody answers.
//!
//! A file per address in `cache/github/`. The first line is JSON, the rest is the
//! body as it came.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::{disk, input, paths::Paths, sha256::Sha256, temporary::Temporary, time};
use crate::net::http::{HeaderMap, header};

/// A kept answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The address, because the file's name is only a checksum of it.
    pub url: String,
    /// Its validator.
    pub etag: String,
    /// When it was last known to hold, in seconds since 1970.
    pub checked: u64,
    /// For so many seconds after that the server wants nobody to ask again.
    pub fresh: u64,
    /// As it came.
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl Kept {
    /// An answer to keep; `None` if it has no validator. That an older one still holds need not
    /// repeat it.
    pub fn new(
        url: &str,
        headers: &HeaderMap,
        older: Option<&Self>,
        body: &[u8],
        now: SystemTime,
    ) -> Option<Self> {
        let etag = header(headers, "etag").or(older.map(|older| older.etag.as_str()));
        Some(Self {
            url: url.to_owned(),
            etag: etag?.to_owned(),
            checked: time::unix(now),
            fresh: header(headers, "cache-control").map_or(0, max_age),
            body: body.to_vec(),
        })
    }

    /// Whether it need not be asked for again yet. A clock that was set back makes
    /// nothing fresh.
    pub fn fresh(&self, now: SystemTime) -> bool {
        let until = self.checked.saturating_add(self.fresh);
        (self.checked..until).contains(&time::unix(now))
    }
}

/// `max-age` of `Cache-Control` in seconds (RFC 9111, section 5.2.2.1), at most a
/// minute, which is what GitHub says: uploads should be seen soon.
fn max_age(value: &str) -> u64 {
    let mut directives = value.split(',').map(str::trim);
    let age = directives.find_map(|directive| directive.strip_prefix("max-age="));
    age.and_then(|age| age.parse().ok()).unwrap_or(0).min(60)
}

/// The folder of kept answers.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub fn new(paths: &Paths) -> Self {
        let folder = paths.cache().join("github");
        Self { folder }
    }

    fn path(&self, url: &str) -> PathBuf {
        self.folder.join(Sha256::of(url.as_bytes()))
    }

    /// The answer that was kept for an address. A damaged one is none.
    pub fn get(&self, url: &str) -> Option<Kept> {
        let bytes = input::bytes(&self.path(url), input::TEXT).ok()?;
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let kept = serde_json::from_slice::<Kept>(&bytes[..end]).ok()?;
        (kept.url == url).then(|| Kept {
            body: bytes[end + 1..].to_vec(),
            ..kept
        })
    }

    pub fn put(&self, kept: &Kept) -> Result<()> {
        let temporary = Temporary::file(&self.path(&kept.url))?;
        let mut bytes = serde_json::to_vec(kept).context("cannot write an answer's head")?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&kept.body);
        disk::write(temporary.path(), bytes)?;
        temporary.persist()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Env;
    use ureq::http::HeaderValue;

    #[test]
    fn answers_are_kept_and_damaged_ones_are_none() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let cache = Cache::new(&env.paths);
        assert_eq!(cache.get("u"), None);
        let now = time::from_unix(1000).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("etag", HeaderValue::from_static("W/\"a\\b\""));
        let control = HeaderValue::from_static("private, max-age=30, s-maxage=60");
        headers.insert("cache-control", control);
        let kept = Kept::new("u", &headers, None, b"{\n}\n\xff", now).unwrap();
        cache.put(&kept).unwrap();
        assert_eq!(cache.get("u"), Some(kept.clone()));
        for (seconds, fresh) in [(999, false), (1000, true), (1029, true), (1030, false)] {
            assert_eq!(kept.fresh(time::from_unix(seconds).unwrap()), fresh);
        }
        std::fs::write(cache.path("u"), "{").unwrap();
        assert_eq!(cache.get("u"), None);
        std::fs::write(cache.path("v"), std::fs::read(cache.path("u")).unwrap()).unwrap();
        assert_eq!(cache.get("v"), None);
        let none = HeaderMap::default();
        assert_eq!(Kept::new("u", &none, None, b"", now), None);
        let still = Kept::new("u", &none, Some(&kept), b"", now).unwrap();
        assert_eq!(still.etag, kept.etag);
    }

    #[test]
    fn nothing_is_fresh_for_longer_than_a_minute() {
        for (value, expected) in [
            ("max-age=5", 5),
            ("public, max-age=86400", 60),
            ("no-cache", 0),
            ("max-age=x", 0),
            ("s-maxage=60", 0),
        ] {
            assert_eq!(max_age(value), expected, "{value}");
        }
    }
}
