//! GitHub's releases API, played on loopback: three listeners that stand for the
//! API, the host for uploads, and the host that has the bytes. It does what the
//! documentation says, and what tests tell it to do instead.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::sha256;

/// Which host was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// `api.github.com`.
    Api,
    /// `uploads.github.com`.
    Uploads,
    /// `github.com` and where it redirects to.
    Files,
}

/// What happens instead of what should.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A status, more headers, and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The body ends after so many percent.
    Cut(usize),
    /// Reads the request and says nothing.
    Silence,
    /// The body in pieces of so many bytes, with a pause after each.
    Slow(usize, Duration),
    /// The head of an answer that never ends, a byte at a time with that pause.
    EndlessHead(Duration),
    /// A range is ignored.
    NoRanges,
    /// The bytes are others from the middle on.
    Corrupt,
    /// The bytes are another file's, with its validator, ranges or not.
    Other(Vec<u8>),
    /// The upload is read, but only a `starter` remains, and the answer is 502.
    Starter,
    /// The upload is taken, and the connection closed without an answer.
    Lost,
    /// The upload is taken, and its checksum is another.
    WrongDigest,
}

impl Fault {
    /// Only a status.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), String::new())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Who was asked.
    pub host: Host,
    /// Method, path and query.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What was sent behind them.
    pub body: Vec<u8>,
    /// The answer's.
    pub status: u16,
}

impl Logged {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An asset.
#[derive(Clone, Debug)]
pub struct FakeAsset {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its label.
    pub label: Option<String>,
    /// `uploaded` or `starter`.
    pub state: &'static str,
    /// Its contents.
    pub bytes: Arc<Vec<u8>>,
    /// Whether the API says a checksum.
    pub digest: bool,
    /// A checksum that is not that of the contents.
    pub false_digest: Option<String>,
}

/// What the server has, for tests to change.
#[derive(Debug, Default)]
pub struct State {
    /// No release, no assets.
    pub no_release: bool,
    /// The release says that it is immutable.
    pub immutable: bool,
    /// All assets.
    pub assets: Vec<FakeAsset>,
    /// Instead of an answer to paths (without query), the first one first.
    pub faults: HashMap<String, VecDeque<Fault>>,
    /// Instead of every answer to a path.
    pub always: HashMap<String, Fault>,
    /// Headers of all answers of the API.
    pub headers: Vec<(&'static str, String)>,
    next: u64,
}

/// The three listeners; they stop when this is dropped.
pub struct GitHub {
    /// For `--api-url`.
    pub api: String,
    uploads: String,
    files: String,
    state: Arc<Mutex<State>>,
    log: Arc<Mutex<Vec<Logged>>>,
    stop: Arc<AtomicBool>,
}

/// The release's address below the API.
pub const BY_TAG: &str = "/repos/osandov/drgn/releases/tags/vmtest-assets";

/// The address for uploads.
pub const UPLOAD: &str = "/repos/osandov/drgn/releases/17/assets";

#[derive(Clone)]
struct Shared {
    host: Host,
    urls: [String; 3],
    state: Arc<Mutex<State>>,
    log: Arc<Mutex<Vec<Logged>>>,
    stop: Arc<AtomicBool>,
}

impl GitHub {
    /// Starts with an empty release.
    pub fn start() -> Self {
        let listeners = [Host::Api, Host::Uploads, Host::Files]
            .map(|host| (host, TcpListener::bind("127.0.0.1:0").unwrap()));
        let urls = [0, 1, 2].map(|n| {
            let listener: &TcpListener = &listeners[n].1;
            format!("http://{}", listener.local_addr().unwrap())
        });
        let server = Self {
            api: urls[0].clone(),
            uploads: urls[1].clone(),
            files: urls[2].clone(),
            state: Arc::default(),
            log: Arc::default(),
            stop: Arc::default(),
        };
        for (host, listener) in listeners {
            let shared = Shared {
                host,
                urls: urls.clone(),
                state: Arc::clone(&server.state),
                log: Arc::clone(&server.log),
                stop: Arc::clone(&server.stop),
            };
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let shared = shared.clone();
                    std::thread::spawn(move || {
                        // A client that goes away is part of the tests.
                        let _ = serve(stream.unwrap(), &shared);
                    });
                }
            });
        }
        server
    }

    /// Looks at or changes what it has.
    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Adds a finished asset; its number.
    pub fn add(&self, name: &str, bytes: &[u8]) -> u64 {
        self.with(|state| {
            let asset = state.asset(name, None, bytes.to_vec());
            let id = asset.id;
            state.assets.push(asset);
            id
        })
    }

    /// Next time something else happens at a path.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.with(|state| {
            let faults = state.faults.entry(path.to_owned()).or_default();
            faults.push_back(fault);
        });
    }

    /// From now on something else happens at a path.
    pub fn always(&self, path: &str, fault: Fault) {
        self.with(|state| state.always.insert(path.to_owned(), fault));
    }

    /// The requests so far, and forgets them.
    pub fn requests(&self) -> Vec<Logged> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// The method, path and status of the requests so far, and forgets them.
    pub fn lines(&self) -> Vec<String> {
        let line = |request: Logged| format!("{} {}", request.line, request.status);
        self.requests().into_iter().map(line).collect()
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listeners up.
        for url in [&self.api, &self.uploads, &self.files] {
            let _ = TcpStream::connect(url.trim_start_matches("http://"));
        }
    }
}

impl State {
    fn asset(&mut self, name: &str, label: Option<String>, bytes: Vec<u8>) -> FakeAsset {
        self.next += 1;
        FakeAsset {
            id: self.next,
            name: name.to_owned(),
            label,
            state: "uploaded",
            bytes: Arc::new(bytes),
            digest: true,
            false_digest: None,
        }
    }

    fn fault(&mut self, path: &str) -> Option<Fault> {
        let next = self.faults.get_mut(path).and_then(VecDeque::pop_front);
        next.or_else(|| self.always.get(path).cloned())
    }
}

fn describe(asset: &FakeAsset, urls: &[String; 3]) -> Value {
    let (id, name) = (asset.id, &asset.name);
    let sum = || sha256(&*asset.bytes);
    let sum = asset.false_digest.clone().unwrap_or_else(sum);
    json!({
        "id": id,
        "node_id": format!("RA_{id}"),
        "name": name,
        "label": asset.label.as_deref().unwrap_or(""),
        "state": asset.state,
        "content_type": "application/zstd",
        "size": asset.bytes.len(),
        "digest": asset.digest.then(|| format!("sha256:{sum}")),
        "download_count": 3,
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "uploader": null,
        "url": format!("{}/repos/osandov/drgn/releases/assets/{id}", urls[0]),
        "browser_download_url": format!("{}/download/{name}", urls[2]),
    })
}

struct Question {
    method: String,
    path: String,
    query: HashMap<String, String>,
    headers: Vec<(String, String)>,
    line: String,
}

impl Question {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next().unwrap(), rest.next().unwrap()];
            let hex = std::str::from_utf8(&hex).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Question> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let first = lines.first().cloned().unwrap_or_default();
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |line: &String| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    };
    Ok(Question {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect(),
        headers: lines.iter().skip(1).filter_map(header).collect(),
        line: format!("{method} {target}"),
    })
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn json(status: u16, value: &Value) -> Self {
        Self::new(status, value.to_string())
    }

    fn refusal(status: u16, message: &str, code: Option<&str>) -> Self {
        let errors = code.map(|code| json!([{"resource": "ReleaseAsset", "code": code}]));
        Self::json(status, &json!({"message": message, "errors": errors}))
    }

    fn redirect(to: String) -> Self {
        let mut reply = Self::new(302, "");
        reply.headers.push(("location", to));
        reply
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let question = read(&mut reader)?;
    if question.method.is_empty() {
        return Ok(());
    }
    let fault = shared.state.lock().unwrap().fault(&question.path);
    let mut body = Vec::new();
    let refused = matches!(fault, Some(Fault::Status(..)));
    if let Some(length) = question.header("content-length") {
        let waits = question.header("expect").is_some();
        if waits && !refused {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if !(waits && refused) {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body)?;
        }
    }
    let (mut cut, mut pieces, mut lost) = (100, None, false);
    let reply = match &fault {
        Some(Fault::Silence) => {
            log(shared, &question, &body, 0);
            while !shared.stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            return Ok(());
        }
        Some(Fault::EndlessHead(pause)) => {
            log(shared, &question, &body, 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-endless: ")?;
            loop {
                stream.write_all(b"a")?;
                std::thread::sleep(*pause);
            }
        }
        Some(Fault::Status(status, headers, text)) => Reply {
            headers: headers.clone(),
            ..Reply::new(*status, text.as_bytes())
        },
        Some(Fault::Cut(percent)) => {
            cut = *percent;
            answer(&question, &body, None, shared)
        }
        Some(Fault::Slow(size, pause)) => {
            pieces = Some((*size, *pause));
            answer(&question, &body, None, shared)
        }
        Some(Fault::Lost) => {
            lost = true;
            answer(&question, &body, None, shared)
        }
        fault => answer(&question, &body, fault.as_ref(), shared),
    };
    log(shared, &question, &body, reply.status);
    if lost {
        return Ok(());
    }
    let mut head = format!(
        "HTTP/1.1 {} Status\r\nConnection: close\r\nContent-Length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let end = reply.body.len() * cut / 100;
    match pieces {
        None => stream.write_all(&reply.body[..end]),
        Some((size, pause)) => reply.body[..end].chunks(size).try_for_each(|piece| {
            stream.write_all(piece)?;
            std::thread::sleep(pause);
            Ok(())
        }),
    }
}

fn log(shared: &Shared, question: &Question, body: &[u8], status: u16) {
    shared.log.lock().unwrap().push(Logged {
        host: shared.host,
        line: question.line.clone(),
        headers: question.headers.clone(),
        body: body.to_vec(),
        status,
    });
}

fn answer(question: &Question, body: &[u8], fault: Option<&Fault>, shared: &Shared) -> Reply {
    let mut state = shared.state.lock().unwrap();
    match shared.host {
        Host::Api => api(question, body, &mut state, &shared.urls),
        Host::Uploads => upload(question, body, fault, &mut state, &shared.urls),
        Host::Files => file(question, fault, &state),
    }
}

fn api(question: &Question, body: &[u8], state: &mut State, urls: &[String; 3]) -> Reply {
    let changes = question.method != "GET";
    if changes && question.header("authorization").is_none() {
        return Reply::refusal(401, "Requires authentication", None);
    }
    let below = question.path.strip_prefix("/repos/osandov/drgn/releases");
    let parts = below.unwrap_or("/unknown").split('/').collect::<Vec<_>>();
    let missing = || Reply::refusal(404, "Not Found", None);
    let release = |state: &State| {
        let assets = state.assets.iter().map(|asset| describe(asset, urls));
        json!({
            "id": 17,
            "tag_name": "vmtest-assets",
            "draft": false,
            "prerelease": false,
            "immutable": state.immutable,
            "upload_url": format!("{}{UPLOAD}{{?name,label}}", urls[1]),
            "assets": assets.collect::<Vec<_>>(),
        })
    };
    let mut reply = match (question.method.as_str(), parts.as_slice()) {
        ("GET", ["", "tags", "vmtest-assets"]) if !state.no_release => {
            Reply::json(200, &release(state))
        }
        ("GET", ["", "17", "assets"]) => {
            let number = |name: &str| question.query[name].parse::<usize>().unwrap();
            let (size, page) = (number("per_page"), number("page"));
            let assets = state.assets.iter().skip(size * (page - 1)).take(size);
            let assets = assets.map(|asset| describe(asset, urls));
            Reply::json(200, &json!(assets.collect::<Vec<_>>()))
        }
        (method, ["", "assets", id]) => {
            let found = state
                .assets
                .iter()
                .position(|asset| asset.id.to_string() == *id);
            match (method, found) {
                ("GET", Some(_))
                    if question.header("accept") == Some("application/octet-stream") =>
                {
                    Reply::redirect(format!("{}/blob/{id}?signature=abc", urls[2]))
                }
                ("GET", Some(at)) => Reply::json(200, &describe(&state.assets[at], urls)),
                ("DELETE", Some(at)) => {
                    state.assets.remove(at);
                    Reply::new(204, "")
                }
                ("PATCH", Some(at)) => {
                    let fields = serde_json::from_slice::<Value>(body).unwrap();
                    if let Some(name) = fields["name"].as_str() {
                        state.assets[at].name = name.to_owned();
                    }
                    if let Some(label) = fields["label"].as_str() {
                        state.assets[at].label = Some(label.to_owned());
                    }
                    Reply::json(200, &describe(&state.assets[at], urls))
                }
                _ => missing(),
            }
        }
        _ => missing(),
    };
    reply.headers.extend(state.headers.iter().cloned());
    if reply.status == 200 {
        let etag = format!("W/\"{}\"", sha256(&reply.body));
        if question.header("if-none-match") == Some(&etag) {
            reply = Reply::new(304, "");
        }
        reply.headers.push(("etag", etag));
    }
    reply
}

fn upload(
    question: &Question,
    body: &[u8],
    fault: Option<&Fault>,
    state: &mut State,
    urls: &[String; 3],
) -> Reply {
    if question.header("authorization").is_none() {
        return Reply::refusal(401, "Requires authentication", None);
    }
    let name = &question.query["name"];
    if state.assets.iter().any(|asset| asset.name == *name) {
        return Reply::refusal(422, "Validation Failed", Some("already_exists"));
    }
    let label = question.query.get("label").cloned();
    let mut asset = state.asset(name, label, body.to_vec());
    let status = match fault {
        Some(Fault::Starter) => {
            asset.state = "starter";
            502
        }
        Some(Fault::WrongDigest) => {
            asset.false_digest = Some("0".repeat(64));
            201
        }
        _ => 201,
    };
    let description = describe(&asset, urls);
    state.assets.push(asset);
    Reply::json(status, &description)
}

fn file(question: &Question, fault: Option<&Fault>, state: &State) -> Reply {
    let parts = question.path.split('/').collect::<Vec<_>>();
    let find = |fits: &dyn Fn(&FakeAsset) -> bool| {
        let found = state.assets.iter().find(|asset| fits(asset));
        found.filter(|asset| asset.state == "uploaded")
    };
    match parts.as_slice() {
        ["", "download", name] => match find(&|asset| asset.name == *name) {
            Some(asset) => Reply::redirect(format!("/blob/{}?signature=xyz", asset.id)),
            None => Reply::new(404, "no such file"),
        },
        ["", "blob", id] => match find(&|asset| asset.id.to_string() == *id) {
            Some(asset) => blob(question, fault, &asset.bytes),
            None => Reply::new(404, "no such file"),
        },
        _ => Reply::new(404, "no such file"),
    }
}

fn blob(question: &Question, fault: Option<&Fault>, bytes: &[u8]) -> Reply {
    let mut bytes = match fault {
        Some(Fault::Other(bytes)) => bytes.clone(),
        _ => bytes.to_vec(),
    };
    let etag = format!("\"{}\"", sha256(&bytes));
    if let Some(Fault::Corrupt) = fault {
        let middle = bytes.len() / 2;
        bytes[middle..].iter_mut().for_each(|byte| *byte ^= 0x55);
    }
    let start = question
        .header("range")
        .filter(|_| !matches!(fault, Some(Fault::NoRanges)))
        .filter(|_| question.header("if-range").is_none_or(|it| it == etag))
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
    let mut reply = match start {
        Some(start) => {
            let (end, all) = (bytes.len() - 1, bytes.len());
            let mut reply = Reply::new(206, &bytes[start..]);
            let range = format!("bytes {start}-{end}/{all}");
            reply.headers.push(("content-range", range));
            reply
        }
        None => Reply::new(200, bytes),
    };
    reply.headers.push(("etag", etag));
    reply
}
