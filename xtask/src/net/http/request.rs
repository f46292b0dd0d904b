//! One request and its answer.
//!
//! A request runs on a thread of its own that sends what it gets through a
//! channel, because a blocked read would not notice Ctrl-C. When the receiver is
//! gone the thread ends at its next chunk or at its time limit.
//!
//! Redirects are followed here and not by ureq, which compares only scheme and host
//! (`can_redirect_auth_header` in ureq-proto 0.7.1): it would send a token to another port
//! of the same host. It also turns a redirected PATCH or POST into a GET.

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use ureq::http::{self, HeaderMap, HeaderValue, Method, header};
use ureq::{Agent, SendBody};

use super::address::{host, is_loopback, join, origin};
use super::{Answer, HttpError, HttpLimits, LEAST_PROGRESS};
use crate::base::interrupt;

/// So many redirects of one request are followed; browsers follow twenty.
const REDIRECTS: u32 = 10;

/// Of the body of an answer that is no success so many bytes are looked at.
const MESSAGE_LIMIT: usize = 64 << 10;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Blanks around it are not part of it: they come from files and variables.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A request to be.
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    /// Goes to the origin of this request's address alone: it is not sent along when a redirect
    /// leads to another one.
    pub authorization: Option<Secret>,
    /// A small body.
    pub json: Option<String>,
    stream: Option<Watched>,
    abandoned: Arc<AtomicBool>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            authorization: None,
            json: None,
            stream: None,
            abandoned: Arc::default(),
        }
    }

    /// Adds a header; the name in lower case.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets a body of so many bytes, which is read while it is sent; `sent` counts them.
    #[must_use]
    pub fn stream(
        mut self,
        reader: impl Read + Send + 'static,
        length: u64,
        sent: Arc<AtomicU64>,
    ) -> Self {
        self.stream = Some(Watched {
            reader: Box::new(reader),
            left: length,
            sent,
            abandoned: Arc::clone(&self.abandoned),
        });
        self
    }

    /// Sends it and waits for the head of the answer.
    pub fn send(self, limits: &HttpLimits) -> Result<Response> {
        self.send_watched(limits, || {})
    }

    /// The same, calling `watch` several times a second until there is an answer.
    pub fn send_watched(self, limits: &HttpLimits, mut watch: impl FnMut()) -> Result<Response> {
        // Few chunks in flight: a slow disk slows the network down.
        let (sender, messages) = sync_channel(16);
        let mut response = Response {
            status: 0,
            headers: HeaderMap::default(),
            length: None,
            received: 0,
            messages,
            abandoned: Arc::clone(&self.abandoned),
        };
        let limits = *limits;
        std::thread::spawn(move || {
            let last = transfer(self, &limits, &sender).map(|()| TransferMessage::End);
            // The receiver is gone after an interruption.
            let _ = sender.send(last);
        });
        loop {
            watch();
            if let Some(TransferMessage::Head(status, headers, length)) = response.next()? {
                response.status = status;
                response.headers = headers;
                response.length = length;
                break;
            }
        }
        if matches!(response.status, 200..300 | 304) {
            return Ok(response);
        }
        let mut body = Vec::new();
        // A message that breaks off still says more than none.
        while let Ok(Some(chunk)) = response.chunk() {
            body.extend_from_slice(&chunk);
            if body.len() > MESSAGE_LIMIT {
                break;
            }
        }
        interrupt::check()?;
        Err(HttpError::Answer(Box::new(Answer {
            status: response.status,
            headers: std::mem::take(&mut response.headers),
            body,
        }))
        .into())
    }
}

/// An answer whose body is still to come.
pub struct Response {
    /// 2xx, or 304.
    pub status: u16,
    pub headers: HeaderMap,
    /// Bytes of the body, if that was said.
    pub length: Option<u64>,
    received: u64,
    messages: Receiver<Result<TransferMessage, HttpError>>,
    abandoned: Arc<AtomicBool>,
}

enum TransferMessage {
    Head(u16, HeaderMap, Option<u64>),
    Chunk(Vec<u8>),
    End,
}

impl Response {
    /// The next message; `None` when it is time to look around.
    fn next(&self) -> Result<Option<TransferMessage>> {
        interrupt::check()?;
        match self.messages.recv_timeout(interrupt::POLL) {
            Ok(message) => Ok(Some(message?)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let why = "the transfer ended without a result".to_owned();
                Err(HttpError::Broken(why).into())
            }
        }
    }

    /// The next part of the body; `None` at its end.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            match self.next()? {
                Some(TransferMessage::Chunk(chunk)) => {
                    self.received += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Some(TransferMessage::End) => {
                    return match self.length.filter(|&length| length != self.received) {
                        Some(length) => {
                            let why = format!("{} of {length} bytes came", self.received);
                            Err(HttpError::Broken(why).into())
                        }
                        None => Ok(None),
                    };
                }
                Some(TransferMessage::Head(..)) | None => {}
            }
        }
    }

    /// The whole body.
    pub fn bytes(&mut self, limit: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk()? {
            if bytes.len() + chunk.len() > limit {
                let why = format!("the answer is longer than {limit} bytes");
                return Err(HttpError::Invalid(why).into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Where in the whole thing the body starts: not at 0 if a range was asked for
    /// and given.
    pub fn offset(&self) -> Result<u64, HttpError> {
        if self.status != 206 {
            return Ok(0);
        }
        // `bytes 500-999/1000` (RFC 9110, section 14.4).
        let range = super::header(&self.headers, "content-range");
        range
            .and_then(|range| range.strip_prefix("bytes ")?.split_once('-'))
            .and_then(|(start, _)| start.parse().ok())
            .ok_or_else(|| {
                HttpError::Invalid(format!("a part of something, and not which: {range:?}"))
            })
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

/// A reader that counts, stops when the request was abandoned, and
/// fails where the stream is shorter than was promised.
struct Watched {
    reader: Box<dyn Read + Send>,
    left: u64,
    sent: Arc<AtomicU64>,
    abandoned: Arc<AtomicBool>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(io::Error::other("the request was abandoned"));
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 {
            // The library would wait for the rest for ever.
            return Err(io::Error::other(SHORTER));
        }
        self.left -= count as u64;
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

const SHORTER: &str = "the file became shorter while it was sent";

/// The thread's work: the request, its redirects, and the body of the answer.
fn transfer(
    mut request: Request,
    limits: &HttpLimits,
    sender: &SyncSender<Result<TransferMessage, HttpError>>,
) -> Result<(), HttpError> {
    // A stream is read by then.
    let repeatable = request.stream.is_none();
    let mut redirects = 0;
    let response = loop {
        let response = exchange(&mut request, limits)?;
        let location = super::header(response.headers(), "location");
        let status = response.status().as_u16();
        let hop = location.and_then(|location| next_hop(&request, repeatable, status, location));
        let Some(url) = hop else {
            break response;
        };
        redirects += 1;
        if redirects > REDIRECTS {
            let why = format!("more than {REDIRECTS} redirects");
            return Err(HttpError::Invalid(why));
        }
        if origin(&url) != origin(&request.url) {
            request.authorization = None;
        }
        request.url = url;
    };
    let (head, body) = response.into_parts();
    let length = body.content_length();
    let head = TransferMessage::Head(head.status.as_u16(), head.headers, length);
    if sender.send(Ok(head)).is_err() {
        return Ok(());
    }
    let mut body = body.into_reader();
    let mut buffer = vec![0; 1 << 17];
    let mut pace = Pace::default();
    loop {
        let start = Instant::now();
        match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                pace.add(start.elapsed(), n as u64, limits.silence)?;
                let chunk = TransferMessage::Chunk(buffer[..n].to_vec());
                if sender.send(Ok(chunk)).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HttpError::Broken(error.to_string())),
        }
    }
}

/// How fast a body comes, by the time that was spent waiting for it: what the disk takes
/// is not the server's fault.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn add(&mut self, waited: Duration, bytes: u64, window: Duration) -> Result<(), HttpError> {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < window {
            return Ok(());
        }
        let Self { waited, bytes } = std::mem::take(self);
        if bytes < LEAST_PROGRESS {
            let seconds = waited.as_secs();
            let why = format!("only {bytes} bytes came in {seconds} s");
            return Err(HttpError::Broken(why));
        }
        Ok(())
    }
}

/// Where a redirect leads, if it is to be followed. What changes something is
/// repeated elsewhere only if the status says so (307 and 308: RFC 9110, section
/// 15.4), and nowhere but at its own origin.
fn next_hop(request: &Request, repeatable: bool, status: u16, location: &str) -> Option<String> {
    let url = join(&request.url, location)?;
    let follow = match status {
        301 | 302 | 303 | 307 | 308 if request.method == Method::GET => true,
        307 | 308 => repeatable && origin(&url) == origin(&request.url),
        _ => false,
    };
    follow.then_some(url)
}

/// One for all, so that connections are used again.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        Agent::config_builder()
            // Otherwise the length and the offset would be those of a compressed stream.
            .accept_encoding("identity")
            .user_agent(concat!("vmtest-xtask/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .new_agent()
    })
}

fn exchange(
    request: &mut Request,
    limits: &HttpLimits,
) -> Result<http::Response<ureq::Body>, HttpError> {
    let mut builder = http::Request::builder()
        .method(&request.method)
        .uri(&request.url);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value);
    }
    if let Some(Secret(token)) = &request.authorization {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| {
            HttpError::Invalid("the token has a character that no header can have".to_owned())
        })?;
        value.set_sensitive(true);
        builder = builder.header(header::AUTHORIZATION, value);
    }
    let body = if let Some(stream) = request.stream.take() {
        builder = builder
            .header(header::CONTENT_LENGTH, stream.left)
            // A server that will not have it can say so before it is sent.
            .header(header::EXPECT, "100-continue");
        SendBody::from_owned_reader(stream)
    } else if let Some(json) = request.json.clone() {
        builder = builder
            .header(header::CONTENT_LENGTH, json.len())
            .header(header::CONTENT_TYPE, "application/json");
        SendBody::from_owned_reader(io::Cursor::new(json))
    } else {
        SendBody::none()
    };
    let built = builder.body(body);
    let built = built.map_err(|error| HttpError::Invalid(error.to_string()))?;
    let mut config = agent()
        .configure_request(built)
        .timeout_resolve(Some(limits.connect))
        .timeout_connect(Some(limits.connect))
        .timeout_recv_response(Some(limits.head))
        .timeout_per_read(Some(limits.silence))
        .timeout_per_write(Some(limits.silence));
    if is_loopback(&request.url) {
        config = config.proxy(None);
    }
    let answer = agent().run(config.build());
    answer.map_err(|error| classify(&error, &request.url))
}

fn classify(error: &ureq::Error, url: &str) -> HttpError {
    use std::io::ErrorKind;
    use ureq::{Error, Timeout};
    let text = error.to_string();
    let unreachable = |why: &str| {
        // What the library and the resolver put in front of the reason.
        let why = why.trim_start_matches("io: ");
        let why = why.trim_start_matches("failed to lookup address information: ");
        HttpError::Unreachable(format!("{} cannot be reached: {why}", host(url)))
    };
    match error {
        Error::HostNotFound => unreachable("its address cannot be found"),
        Error::ConnectionFailed
        | Error::ConnectProxyFailed(_)
        | Error::Timeout(Timeout::Resolve | Timeout::Connect) => unreachable(&text),
        Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::PermissionDenied => unreachable(&text),
            // The resolver's failures have no kind of their own.
            _ if text.contains("lookup address") => unreachable(&text),
            _ if text.contains(SHORTER) => HttpError::Invalid(text),
            _ => HttpError::Broken(text),
        },
        Error::Timeout(_) | Error::BodyStalled | Error::Protocol(_) => HttpError::Broken(text),
        _ => HttpError::Invalid(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new(" ghp_abc\n");
        assert_eq!(secret, Secret("ghp_abc".to_owned()));
        assert_eq!(
            format!("{secret:?} {:?}", Some(&secret)),
            "(secret) Some((secret))"
        );
    }

    #[test]
    fn only_what_may_be_repeated_follows_a_redirect() {
        let there = "https://api.example.org/b";
        let elsewhere = "https://other.example.org/b";
        for (method, repeatable, status, location, expected) in [
            (Method::GET, true, 302, elsewhere, Some(elsewhere)),
            (Method::GET, true, 301, "/b", Some(there)),
            (Method::GET, true, 304, "/b", None),
            (Method::GET, true, 200, "/b", None),
            (Method::DELETE, true, 307, "/b", Some(there)),
            (Method::DELETE, true, 302, "/b", None),
            (Method::PATCH, true, 308, elsewhere, None),
            (Method::POST, false, 307, "/b", None),
        ] {
            let request = Request::new(method.clone(), "https://api.example.org/a");
            let hop = next_hop(&request, repeatable, status, location);
            assert_eq!(hop.as_deref(), expected, "{method} {status} {location}");
        }
    }

    #[test]
    fn a_body_must_not_be_too_slow() {
        let window = Duration::from_secs(30);
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.add(second, LEAST_PROGRESS / 30 + 1, window).unwrap();
        }
        // However fast it was before.
        pace.add(Duration::ZERO, 1 << 30, window).unwrap();
        let results = (0..50).map(|_| pace.add(second, 1, window));
        assert!(matches!(
            results.last(),
            Some(Err(HttpError::Broken(why))) if why == "only 30 bytes came in 30 s"
        ));
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        let mut watched = Watched {
            reader: Box::new(&b"abc"[..]),
            left: 5,
            sent: Arc::default(),
            abandoned: Arc::default(),
        };
        let error = io::copy(&mut watched, &mut io::sink()).unwrap_err();
        assert_eq!(error.to_string(), SHORTER);
        assert_eq!(watched.sent.load(Ordering::Relaxed), 3);
        watched.abandoned.store(true, Ordering::Relaxed);
        assert!(watched.read(&mut [0; 5]).is_err());
    }
}
