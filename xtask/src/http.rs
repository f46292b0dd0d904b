//! HTTP downloads: limits per phase, retries, a temporary name and then a rename.
//!
//! A request runs on a thread of its own that sends what it gets through a
//! channel, because a blocked read would not notice Ctrl-C. When the receiver is
//! gone the thread ends at its next chunk or at its time limit.
//!
//! What is retried: connections that break, servers that fall silent, and the
//! statuses that say "later" (408, 429, 500, 502, 503, 504). What is not: a host
//! that cannot be reached or found (asking again in a second finds the same),
//! and any other status. Waits double from half a second; with four attempts a
//! download gives up after 3.5 seconds of waiting, which outlasts a restart of a
//! server and does not try a person's patience.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::interrupt;
use crate::manifest::hex;

/// Time limits and the number of attempts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For finding the host's address and for the connection, each.
    pub connect: Duration,
    /// Without a byte, once connected.
    pub silence: Duration,
    /// The first one included.
    pub attempts: u32,
    /// The first wait; it doubles.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            attempts: 4,
            pause: Duration::from_millis(500),
        }
    }
}

/// Why a request failed, as far as callers branch on it.
#[derive(Debug)]
pub enum HttpError {
    /// No connection: refused, no route, unknown host, no answer in time.
    Unreachable(String),
    /// An answer with a status other than success.
    Status(u16),
    /// The connection broke, or the server fell silent.
    Broken(String),
    /// The address is wrong, or the answer makes no sense.
    Invalid(String),
}

impl HttpError {
    /// Whether another attempt may do better.
    pub fn transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Invalid(_) => false,
            Self::Status(status) => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Broken(_) => true,
        }
    }
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::Status(404) => f.write_str("not found (HTTP status 404)"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Broken(why) => write!(f, "the transfer broke off: {why}"),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for HttpError {}

/// How long to wait before attempt number `attempt` (1 is the second one);
/// `None` when there is none.
fn pause_before(attempt: u32, limits: &Limits) -> Option<Duration> {
    (attempt < limits.attempts)
        .then(|| limits.pause * 2u32.saturating_pow(attempt.saturating_sub(1)))
}

/// Gets a small text.
///
/// # Errors
///
/// An [`HttpError`] with the address as context; more than `limit` bytes and
/// text that is not UTF-8 are [`HttpError::Invalid`].
pub fn text(url: &str, limit: usize, limits: &Limits) -> Result<String> {
    let bytes = retrying(url, limits, || {
        let mut bytes = Vec::new();
        let request = Request::start(url, 0, limits);
        request.each(|chunk| {
            if bytes.len() + chunk.len() > limit {
                let why = format!("the answer is longer than {limit} bytes");
                return Err(HttpError::Invalid(why).into());
            }
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    })?;
    String::from_utf8(bytes)
        .map_err(|_| HttpError::Invalid("the answer is not UTF-8".to_owned()))
        .with_context(|| url.to_owned())
}

/// Downloads a file whose SHA-256 (hexadecimal) is known. `goal` appears complete
/// or not at all; until then the bytes are in `<goal>.partial`, where an
/// interrupted download goes on. `progress` gets bytes received and in all.
///
/// # Errors
///
/// An [`HttpError`] with the address as context, a [`Failure`] when the checksum
/// is wrong (then nothing is left behind), or the file cannot be written.
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
        let result = retrying(url, limits, || fetch(url, &mut file, limits, &mut progress));
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
    let request = Request::start(url, received, limits);
    let head = match request.head() {
        // The file has no more bytes than we have: the checksum will tell.
        Err(error) if received > 0 && status_of(&error) == Some(416) => {
            return Ok(hex(&hash.finalize()));
        }
        head => head?,
    };
    if received > 0 && !head.partial {
        // The server sends the whole again.
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        hash = Sha256::new();
        received = 0;
    }
    let total = head.length.map(|length| length + received);
    request.each(|chunk| {
        file.write_all(chunk)?;
        hash.update(chunk);
        received += chunk.len() as u64;
        progress(received, total);
        Ok(())
    })?;
    if let Some(total) = total.filter(|&total| total != received) {
        let why = format!("{received} of {total} bytes came");
        return Err(HttpError::Broken(why).into());
    }
    Ok(hex(&hash.finalize()))
}

fn status_of(error: &anyhow::Error) -> Option<u16> {
    match error.downcast_ref() {
        Some(HttpError::Status(status)) => Some(*status),
        _ => None,
    }
}

/// Runs attempts until one succeeds, fails for good, or there are no more.
fn retrying<T>(url: &str, limits: &Limits, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for number in 1.. {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let transient = error.downcast_ref().is_some_and(HttpError::transient);
        match pause_before(number, limits).filter(|_| transient) {
            Some(pause) => interrupt::sleep(pause)?,
            None => return Err(error.context(url.to_owned())),
        }
    }
    unreachable!("the last attempt returns")
}

enum Message {
    Head(Head),
    Chunk(Vec<u8>),
    End,
    Failed(HttpError),
}

#[derive(Clone, Copy)]
struct Head {
    /// Status 206: the body starts where we asked it to.
    partial: bool,
    length: Option<u64>,
}

/// A request on its own thread.
struct Request {
    messages: Receiver<Message>,
}

impl Request {
    fn start(url: &str, offset: u64, limits: &Limits) -> Self {
        // Few chunks in flight: a slow disk slows the network down.
        let (sender, messages) = sync_channel(16);
        let (url, limits) = (url.to_owned(), *limits);
        std::thread::spawn(move || {
            let last = match transfer(&url, offset, &limits, &sender) {
                Ok(()) => Message::End,
                Err(error) => Message::Failed(error),
            };
            // Nobody listens any more after an interruption.
            let _ = sender.send(last);
        });
        Self { messages }
    }

    fn next(&self) -> Result<Message> {
        loop {
            interrupt::check()?;
            match self.messages.recv_timeout(interrupt::POLL) {
                Ok(Message::Failed(error)) => return Err(error.into()),
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let why = "the transfer ended without a word".to_owned();
                    return Err(HttpError::Broken(why).into());
                }
            }
        }
    }

    fn head(&self) -> Result<Head> {
        loop {
            if let Message::Head(head) = self.next()? {
                return Ok(head);
            }
        }
    }

    fn each(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            match self.next()? {
                Message::Chunk(chunk) => take(&chunk)?,
                Message::End => return Ok(()),
                Message::Head(_) | Message::Failed(_) => {}
            }
        }
    }
}

fn transfer(
    url: &str,
    offset: u64,
    limits: &Limits,
    sender: &SyncSender<Message>,
) -> Result<(), HttpError> {
    let mut config = ureq::Agent::config_builder()
        .timeout_resolve(Some(limits.connect))
        .timeout_connect(Some(limits.connect))
        .timeout_per_read(Some(limits.silence))
        .timeout_per_write(Some(limits.silence))
        // Otherwise the length and the offset would be those of a compressed stream.
        .accept_encoding("identity")
        .user_agent(concat!("vmtest-xtask/", env!("CARGO_PKG_VERSION")));
    if is_loopback(url) {
        config = config.proxy(None);
    }
    let agent = config.build().new_agent();
    let mut request = agent.get(url);
    if offset > 0 {
        request = request.header("Range", format!("bytes={offset}-"));
    }
    let response = request.call().map_err(|error| classify(&error))?;
    let partial = response.status() == 206;
    if partial {
        let range = response
            .headers()
            .get("content-range")
            .and_then(|value| value.to_str().ok());
        if !range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-"))) {
            let why = format!("asked for bytes from {offset}, the answer is {range:?}");
            return Err(HttpError::Invalid(why));
        }
    }
    let length = response.body().content_length();
    let head = Message::Head(Head { partial, length });
    if sender.send(head).is_err() {
        return Ok(());
    }
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                if sender.send(Message::Chunk(buffer[..n].to_vec())).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HttpError::Broken(error.to_string())),
        }
    }
}

/// A proxy cannot reach what listens on this host only.
fn is_loopback(url: &str) -> bool {
    let host = host(url);
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}

/// The host of an address, without port and user.
pub fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or("");
    match host.rfind(':') {
        // A colon within brackets belongs to the address.
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

fn classify(error: &ureq::Error) -> HttpError {
    use std::io::ErrorKind;
    use ureq::{Error, Timeout};
    let text = error.to_string();
    match error {
        Error::StatusCode(status) => HttpError::Status(*status),
        Error::HostNotFound => HttpError::Unreachable("its address cannot be found".to_owned()),
        Error::ConnectionFailed | Error::ConnectProxyFailed(_) => HttpError::Unreachable(text),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => HttpError::Unreachable(text),
        Error::Timeout(_) | Error::BodyStalled | Error::Protocol(_) => HttpError::Broken(text),
        Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::PermissionDenied => HttpError::Unreachable(text),
            // The resolver's failures have no kind of their own.
            _ if text.contains("lookup address") => HttpError::Unreachable(text),
            _ => HttpError::Broken(text),
        },
        _ => HttpError::Invalid(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_addresses() {
        for (url, expected) in [
            ("https://cdn.kernel.org/pub/linux", "cdn.kernel.org"),
            ("http://127.0.0.1:8080/x", "127.0.0.1"),
            ("http://user:word@example.org:80?x", "example.org"),
            ("http://[::1]:80/", "[::1]"),
            ("http://[::1]/", "[::1]"),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
        assert!(is_loopback("http://localhost/"));
        assert!(is_loopback("http://[::1]:1/"));
        assert!(!is_loopback("http://127.example.org@example.org/"));
    }

    #[test]
    fn waits_double_and_end() {
        let limits = Limits::default();
        let waits = (1..6).map(|n| pause_before(n, &limits)).collect::<Vec<_>>();
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(waits, [millis(500), millis(1000), millis(2000), None, None]);
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        assert!(HttpError::Status(503).transient());
        assert!(HttpError::Status(429).transient());
        assert!(HttpError::Broken(String::new()).transient());
        assert!(!HttpError::Status(404).transient());
        assert!(!HttpError::Unreachable(String::new()).transient());
    }
}
