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
use ureq::http::{self, HeaderValue, header};
use ureq::{Agent, SendBody};

use super::address::{host, is_loopback, join, origin};
use super::{Answer, Headers, HttpError, LEAST_PROGRESS, Limits};
use crate::base::interrupt;

/// So many redirects of one request are followed; browsers follow twenty.
const REDIRECTS: u32 = 10;

/// Of the body of an answer that is no success so many bytes are looked at.
const MESSAGE_LIMIT: usize = 64 << 10;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Get something.
    Get,
    /// Make something.
    Post,
    /// Change something.
    Patch,
    /// Delete something.
    Delete,
}

impl Method {
    fn name(self) -> http::Method {
        match self {
            Self::Get => http::Method::GET,
            Self::Post => http::Method::POST,
            Self::Patch => http::Method::PATCH,
            Self::Delete => http::Method::DELETE,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().as_str())
    }
}

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

/// What goes with a request.
pub enum Body {
    /// Nothing.
    Empty,
    /// A small JSON text.
    Json(Vec<u8>),
    /// A stream whose length is known.
    Stream(Stream),
}

/// A body that is read while it is sent.
pub struct Stream {
    /// Read to `length` and not further.
    pub reader: Box<dyn Read + Send>,
    /// In bytes.
    pub length: u64,
    /// Bytes that were read, for progress.
    pub sent: Arc<AtomicU64>,
}

/// A request to be.
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    authorization: Option<Secret>,
    body: Body,
}

impl Request {
    /// A request without a body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            authorization: None,
            body: Body::Empty,
        }
    }

    /// Adds a header; the name in lower case.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a token. It goes to the origin of this request's address alone: it is
    /// not sent along when a redirect leads to another one.
    #[must_use]
    pub fn authorization(mut self, token: Option<Secret>) -> Self {
        self.authorization = token;
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Sends it and waits for the head of the answer.
    pub fn send(self, limits: &Limits) -> Result<Response> {
        self.send_watched(limits, || {})
    }

    /// The same, calling `watch` several times a second until there is an answer.
    pub fn send_watched(mut self, limits: &Limits, mut watch: impl FnMut()) -> Result<Response> {
        let abandoned = Arc::new(AtomicBool::new(false));
        if let Body::Stream(stream) = &mut self.body {
            let reader = std::mem::replace(&mut stream.reader, Box::new(io::empty()));
            stream.reader = Box::new(Watched {
                reader,
                left: stream.length,
                sent: Arc::clone(&stream.sent),
                abandoned: Arc::clone(&abandoned),
            });
        }
        // Few chunks in flight: a slow disk slows the network down.
        let (sender, messages) = sync_channel(16);
        let limits = *limits;
        std::thread::spawn(move || {
            let last = match transfer(self, &limits, &sender) {
                Ok(()) => Message::End,
                Err(error) => Message::Failed(error),
            };
            // The receiver is gone after an interruption.
            let _ = sender.send(last);
        });
        let mut response = Response {
            status: 0,
            headers: Headers::default(),
            length: None,
            received: 0,
            messages,
            abandoned,
        };
        loop {
            watch();
            if let Some(Message::Head(status, headers, length)) = response.next()? {
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
    /// The status: 2xx, or 304.
    pub status: u16,
    /// All headers.
    pub headers: Headers,
    /// Bytes of the body, if that was said.
    pub length: Option<u64>,
    received: u64,
    messages: Receiver<Message>,
    abandoned: Arc<AtomicBool>,
}

enum Message {
    Head(u16, Headers, Option<u64>),
    Chunk(Vec<u8>),
    End,
    Failed(HttpError),
}

impl Response {
    /// The next message; `None` when it is time to look around.
    fn next(&self) -> Result<Option<Message>> {
        interrupt::check()?;
        match self.messages.recv_timeout(interrupt::POLL) {
            Ok(Message::Failed(error)) => Err(error.into()),
            Ok(message) => Ok(Some(message)),
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
                Some(Message::Chunk(chunk)) => {
                    self.received += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Some(Message::End) => {
                    return match self.length.filter(|&length| length != self.received) {
                        Some(length) => {
                            let why = format!("{} of {length} bytes came", self.received);
                            Err(HttpError::Broken(why).into())
                        }
                        None => Ok(None),
                    };
                }
                Some(Message::Head(..) | Message::Failed(_)) | None => {}
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
        let range = self.headers.get("content-range");
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
    limits: &Limits,
    sender: &SyncSender<Message>,
) -> Result<(), HttpError> {
    let mut redirects = 0;
    let response = loop {
        let body = std::mem::replace(&mut request.body, Body::Empty);
        let again = match &body {
            Body::Empty => Some(Body::Empty),
            Body::Json(json) => Some(Body::Json(json.clone())),
            // It is read already.
            Body::Stream(_) => None,
        };
        let response = exchange(&request, body, limits)?;
        let location = response.headers().get(header::LOCATION);
        let hop = location
            .and_then(|value| value.to_str().ok())
            .and_then(|location| {
                next_hop(
                    &request,
                    again.is_some(),
                    response.status().as_u16(),
                    location,
                )
            });
        let Some(url) = hop else {
            break response;
        };
        redirects += 1;
        if redirects > REDIRECTS {
            return Err(HttpError::Invalid(format!(
                "more than {REDIRECTS} redirects"
            )));
        }
        if origin(&url) != origin(&request.url) {
            request.authorization = None;
        }
        request.url = url;
        request.body = again.unwrap_or(Body::Empty);
    };
    let length = response.body().content_length();
    let headers = Headers::new(response.headers().iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    }));
    let head = Message::Head(response.status().as_u16(), headers, length);
    if sender.send(head).is_err() {
        return Ok(());
    }
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 17];
    let mut pace = Pace::default();
    loop {
        let start = Instant::now();
        match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                pace.add(start.elapsed(), n as u64, limits.silence)?;
                if sender.send(Message::Chunk(buffer[..n].to_vec())).is_err() {
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
    let follow = match (request.method, status) {
        (Method::Get, 301 | 302 | 303 | 307 | 308) => true,
        (_, 307 | 308) => repeatable && origin(&url) == origin(&request.url),
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
    request: &Request,
    body: Body,
    limits: &Limits,
) -> Result<http::Response<ureq::Body>, HttpError> {
    let mut builder = http::Request::builder()
        .method(request.method.name())
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
    let wrong = |error: http::Error| HttpError::Invalid(error.to_string());
    match body {
        Body::Empty => run(request, builder.body(()).map_err(wrong)?, limits),
        Body::Json(json) => {
            let builder = builder.header(header::CONTENT_TYPE, "application/json");
            run(request, builder.body(json).map_err(wrong)?, limits)
        }
        Body::Stream(stream) => {
            let builder = builder
                .header(header::CONTENT_LENGTH, stream.length)
                // A server that will not have it can say so before it is sent.
                .header(header::EXPECT, "100-continue");
            let body = SendBody::from_owned_reader(stream.reader);
            run(request, builder.body(body).map_err(wrong)?, limits)
        }
    }
}

fn run<S: ureq::AsSendBody>(
    request: &Request,
    built: http::Request<S>,
    limits: &Limits,
) -> Result<http::Response<ureq::Body>, HttpError> {
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
    agent()
        .run(config.build())
        .map_err(|error| match classify(&error) {
            HttpError::Unreachable(why) => {
                // What the library and the resolver put in front of the reason.
                let why = why.strip_prefix("io: ").unwrap_or(&why);
                let why = why
                    .strip_prefix("failed to lookup address information: ")
                    .unwrap_or(why);
                HttpError::Unreachable(format!("{} cannot be reached: {why}", host(&request.url)))
            }
            error => error,
        })
}

fn classify(error: &ureq::Error) -> HttpError {
    use std::io::ErrorKind;
    use ureq::{Error, Timeout};
    let text = error.to_string();
    match error {
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
            _ if text.contains(SHORTER) => HttpError::Invalid(text),
            _ => HttpError::Broken(text),
        },
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
            (Method::Get, true, 302, elsewhere, Some(elsewhere)),
            (Method::Get, true, 301, "/b", Some(there)),
            (Method::Get, true, 304, "/b", None),
            (Method::Get, true, 200, "/b", None),
            (Method::Delete, true, 307, "/b", Some(there)),
            (Method::Delete, true, 302, "/b", None),
            (Method::Patch, true, 308, elsewhere, None),
            (Method::Post, false, 307, "/b", None),
        ] {
            let request = Request::new(method, "https://api.example.org/a");
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
