//! HTTP: limits per phase, retries, a temporary name and then a rename.
//!
//! [`Request`] is one request and its answer, [`retry`] says what is worth another attempt. There
//! is no limit on the whole of a transfer, only on its phases ([`HttpLimits`]). Proxies come from the
//! environment as usual (`https_proxy`, `no_proxy`), and loopback never goes through one.

pub mod address;
mod request;
pub mod retry;
pub mod unreachable;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::base::{disk, error::Failure, interrupt, sha256::Sha256, time};

pub use address::host;
pub use request::{Request, Response, Secret};
use retry::{Class, Decision, Retry};
pub use ureq::http::{HeaderMap, Method};

/// Time limits and the number of attempts.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
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

impl Default for HttpLimits {
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

/// Bytes of a body in each [`HttpLimits::silence`]. The slowest modems are a hundred times as
/// fast; a byte now and then would keep a command waiting for ever.
pub const LEAST_PROGRESS: u64 = 4096;

/// The first header of that name.
pub fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// An answer, all of it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Of one that is no success perhaps only the beginning.
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
pub fn text(url: &str, limit: usize, limits: &HttpLimits) -> Result<String> {
    let bytes = retrying(url, limits, &|_| {}, || {
        Request::new(Method::GET, url).send(limits)?.bytes(limit)
    })?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| HttpError::Invalid("the answer is not UTF-8".to_owned()));
    text.with_context(|| url.to_owned())
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
    limits: &HttpLimits,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let partial = &goal.with_added_extension("partial");
    let writing = || format!("cannot write {}", partial.display());
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    let mut file = options.open(partial).with_context(writing)?;
    let found = loop {
        let kept = length(&file);
        let result = retrying(url, limits, &|_| {}, || {
            fetch(url, &mut file, limits, &mut progress)
        });
        match result {
            Ok(found) if found == sha256 || kept == 0 => break found,
            // What an earlier run left may be of another file; once more without it.
            Ok(_) => file.set_len(0).with_context(writing)?,
            Err(error) => {
                // Kept to go on from, unless there is nothing in it; and on a full
                // disk it helps nobody.
                let full = disk::is_full(&error);
                if full || length(&file) == 0 {
                    let _ = std::fs::remove_file(partial);
                }
                return Err(match full {
                    true => error.context(writing()),
                    false => error,
                });
            }
        }
    };
    if found != sha256 {
        disk::remove_file(partial)?;
        let message = format!("{url} has the wrong checksum: expected {sha256}, found {found}");
        let hint =
            "the mirror may be broken, or something changes downloads on the way; nothing was kept";
        return Err(Failure::setup(message).hint(hint).into());
    }
    file.sync_all().with_context(writing)?;
    disk::rename(partial, goal)
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// One attempt at the rest of `file`; the SHA-256 of the whole.
fn fetch(
    url: &str,
    file: &mut File,
    limits: &HttpLimits,
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<String> {
    let mut hash = Sha256::default();
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0u64;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        received += count as u64;
    }
    let mut request = Request::new(Method::GET, url);
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
        hash = Sha256::default();
        received = 0;
    }
    if offset != received {
        let why = format!("asked for bytes from {received}, the answer has those from {offset}");
        return Err(HttpError::Invalid(why).into());
    }
    let total = response.length;
    let total = total.map(|length| length.saturating_add(received));
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
    match error.downcast_ref()? {
        HttpError::Answer(answer) => Some(answer.status),
        _ => None,
    }
}

/// Runs attempts until one succeeds, fails for good, or there are no more; with
/// the address as context. `notice` is told before each wait.
pub fn retrying<T>(
    url: &str,
    limits: &HttpLimits,
    notice: &dyn Fn(Duration),
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut retry = Retry::new(limits);
    loop {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match decide(&mut retry, error) {
            Ok(wait) => {
                notice(wait);
                interrupt::sleep(wait)?;
            }
            // The host alone says where.
            Err(error) if is_unreachable(&error) => return Err(error),
            Err(error) => return Err(error.context(url.to_owned())),
        }
    }
}

/// How long to wait after an error before the next attempt; the error to end with if there is
/// to be none.
pub fn decide(retry: &mut Retry, error: anyhow::Error) -> Result<Duration> {
    let now = SystemTime::now();
    let class = error.downcast_ref::<HttpError>();
    let class = class.map_or(Class::Final, |error| retry::classify(error, now));
    match retry.after(class, now) {
        Decision::Wait(wait) => Ok(wait),
        Decision::GiveUp => Err(error),
        Decision::TooLong(until) => Err(HttpError::Limited(time::local(time::unix(until))).into()),
    }
}
