//! HTTP: limits per phase, retries, a temporary name and then a rename.
//!
//! [`Request`] is one request and its answer, [`retry`] says what is worth another
//! attempt. On top of them are [`text`] and [`download`] for what anybody may
//! have, and [`crate::net::github`] for an API. There is no limit on the whole of a
//! transfer, only on finding a host, on connecting, on the head of an answer, on
//! silence, and on how slow a body may be. Proxies come from the environment as usual (`https_proxy`, `no_proxy`), and loopback never
//! goes through one.

pub mod address;
mod request;
pub mod retry;
pub mod unreachable;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::base::{error::Failure, interrupt, sha256::Sha256, time};

pub use address::host;
pub use request::{Body, Method, Request, Response, Secret, Stream};
use retry::{Class, Decision, Retry};

/// Time limits and the number of attempts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For finding the host's address and for the connection, each.
    pub connect: Duration,
    /// Without a byte, once connected; and in so long a body makes at least
    /// [`LEAST_PROGRESS`].
    pub silence: Duration,
    /// From the request to the end of the answer's head, however its bytes come.
    pub head: Duration,
    /// The first one included.
    pub attempts: u32,
    /// The first wait; it doubles. With four attempts and half a second a request
    /// gives up after at most 3.5 seconds of waiting, which outlasts a restart of a
    /// server and does not try a person's patience.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            head: Duration::from_secs(60),
            attempts: 4,
            pause: Duration::from_millis(500),
        }
    }
}

/// Bytes of a body in each [`Limits::silence`]. The slowest modems are a hundred times as
/// fast; a byte now and then would keep a command waiting for ever.
pub const LEAST_PROGRESS: u64 = 4096;

/// The headers of an answer, by name in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// Headers from pairs of names, in lower case, and values.
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self::new(pairs.iter().map(owned))
    }

    /// The first header of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An answer, all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body; of one that is no success perhaps only the beginning.
    pub body: Vec<u8>,
}

/// Why a request failed, as far as callers branch on it.
#[derive(Debug)]
pub enum HttpError {
    /// No connection: refused, no route, unknown host, no answer in time. Names the host.
    Unreachable(String),
    /// An answer with a status other than success.
    Answer(Box<Answer>),
    /// The server wants to be left alone longer than we wait; until when.
    Limited(String),
    /// The connection broke, or the server fell silent.
    Broken(String),
    /// The address is wrong, or the answer makes no sense.
    Invalid(String),
}

impl HttpError {
    /// The status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) => Some(answer.status),
            _ => None,
        }
    }
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer(answer) if answer.status == 404 => {
                f.write_str("not found (HTTP status 404)")
            }
            Self::Answer(answer) => write!(f, "HTTP status {}", answer.status),
            Self::Limited(until) => write!(f, "asks to be left alone until {until}"),
            Self::Broken(why) => write!(f, "the transfer broke off: {why}"),
            Self::Unreachable(why) | Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for HttpError {}

/// Gets a small text.
pub fn text(url: &str, limit: usize, limits: &Limits) -> Result<String> {
    let bytes = retrying(url, limits, &|_| {}, || {
        Request::new(Method::Get, url).send(limits)?.bytes(limit)
    })?;
    String::from_utf8(bytes)
        .map_err(|_| HttpError::Invalid("the answer is not UTF-8".to_owned()))
        .with_context(|| url.to_owned())
}

/// More than any archive of source has, in bytes: a server must not fill the disk.
const FILE_MAX: u64 = 4 << 30;

/// Downloads a file whose SHA-256 (hexadecimal) is known. `goal` appears complete
/// or not at all; until then the bytes are in `<goal>.partial`, where an
/// interrupted download goes on. `progress` gets bytes received and in all.
pub fn download(
    url: &str,
    goal: &Path,
    sha256: &str,
    limits: &Limits,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let mut name = goal.as_os_str().to_owned();
    name.push(".partial");
    let partial = Path::new(&name);
    let writing = || format!("cannot write {}", partial.display());
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(partial)
        .with_context(writing)?;
    loop {
        let kept = file.metadata().with_context(writing)?.len();
        let result = retrying(url, limits, &|_| {}, || {
            fetch(url, &mut file, limits, &mut progress)
        });
        let found = match result {
            Ok(found) => found,
            Err(error) => {
                // Kept to go on from, unless there is nothing in it; and on a full
                // disk it helps nobody.
                let full = is_full(&error);
                if full || file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
                    let _ = std::fs::remove_file(partial);
                }
                return Err(if full {
                    error.context(writing())
                } else {
                    error
                });
            }
        };
        if found == sha256 {
            break;
        }
        if kept > 0 {
            // What an earlier run left may be of another file; once more without it.
            file.set_len(0).with_context(writing)?;
            continue;
        }
        std::fs::remove_file(partial).with_context(writing)?;
        return Err(Failure::setup(format!(
            "{url} has the wrong checksum: expected {sha256}, found {found}"
        ))
        .hint(
            "the mirror may be broken, or something changes downloads on the way; nothing was kept",
        )
        .into());
    }
    file.sync_all().with_context(writing)?;
    std::fs::rename(partial, goal)
        .with_context(|| format!("cannot rename {} to {}", partial.display(), goal.display()))
}

/// Whether an error is that of a full disk or an exhausted quota.
pub fn is_full(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| matches!(error.kind(), StorageFull | QuotaExceeded))
}

/// One attempt at the rest of `file`; the SHA-256 of the whole.
fn fetch(
    url: &str,
    file: &mut File,
    limits: &Limits,
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<String> {
    let mut hash = Sha256::new();
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0u64;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                hash.update(&buffer[..n]);
                received += n as u64;
            }
        }
    }
    let mut request = Request::new(Method::Get, url);
    if received > 0 {
        request = request.header("range", format!("bytes={received}-"));
    }
    let mut response = match request.send(limits) {
        // The file has no more bytes than we have: the checksum will tell.
        Err(error) if received > 0 && status_of(&error) == Some(416) => {
            return Ok(hash.finish());
        }
        response => response?,
    };
    let offset = response.offset()?;
    if offset == 0 && received > 0 {
        // The server sends the whole again.
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        hash = Sha256::new();
        received = 0;
    }
    if offset != received {
        let why = format!("asked for bytes from {received}, the answer has those from {offset}");
        return Err(HttpError::Invalid(why).into());
    }
    let total = response
        .length
        .map(|length| length.saturating_add(received));
    while let Some(chunk) = response.chunk()? {
        if received > FILE_MAX {
            let why = format!("more than {FILE_MAX} bytes come");
            return Err(HttpError::Invalid(why).into());
        }
        file.write_all(&chunk)?;
        hash.update(&chunk);
        received += chunk.len() as u64;
        progress(received, total);
    }
    Ok(hash.finish())
}

/// Whether an error says that a host could not be reached.
pub fn is_unreachable(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(HttpError::Unreachable(_)))
}

/// The status in an error's chain, if a server answered.
pub fn status_of(error: &anyhow::Error) -> Option<u16> {
    error.downcast_ref().and_then(HttpError::status)
}

/// Runs attempts until one succeeds, fails for good, or there are no more; with
/// the address as context. `notice` is told before each wait.
pub fn retrying<T>(
    url: &str,
    limits: &Limits,
    notice: &dyn Fn(Duration),
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut retry = Retry::new(limits);
    loop {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match decide(&mut retry, &error) {
            Ok(wait) => {
                notice(wait);
                interrupt::sleep(wait)?;
            }
            // The host alone says where.
            Err(None) if is_unreachable(&error) => return Err(error),
            Err(None) => return Err(error.context(url.to_owned())),
            Err(Some(limited)) => return Err(limited).with_context(|| url.to_owned()),
        }
    }
}

/// How long to wait after an error before the next attempt; else that there is
/// none, and what to say if not the error itself.
pub fn decide(retry: &mut Retry, error: &anyhow::Error) -> Result<Duration, Option<HttpError>> {
    let now = SystemTime::now();
    let class = match error.downcast_ref::<HttpError>() {
        Some(HttpError::Answer(answer)) => {
            retry::classify(answer.status, &answer.headers, &answer.body, now)
        }
        Some(error) => retry::classify_error(error),
        None => Class::Final,
    };
    match retry.after(class, now) {
        Decision::Wait(wait) => Ok(wait),
        Decision::GiveUp => Err(None),
        Decision::TooLong(until) => Err(Some(HttpError::Limited(time::local(time::unix(until))))),
    }
}
