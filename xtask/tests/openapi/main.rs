//! The client against GitHub's own description of its API. Not part of `cargo test`
//! (`test = false`): it needs node and npm, and fetches two pinned packages. Run by
//! `cargo xtask ci`, or by hand: `cargo test --test openapi`.
//!
//! - Every request that `upload`, `list`, `download` and `prune` make in whole flows,
//!   played against the fake of the other tests, is sent once more to a server that checks it against the
//!   description (Prism, `prism mock --errors`).
//! - Every answer that the description documents for these endpoints, and answers
//!   made at random from its schemas, can be read.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use xtask::internals::{Asset, GithubRelease, Refusal, api};
use xtask::internals::{HttpError, HttpLimits, Method, Request};
use xtask::internals::{LongChild, LongCommand};

use support::binary::Xtask;
use support::fake_kernel;
use support::github_server::{Fault, GitHub, Host, Logged, UPLOAD};

/// Below these paths are the endpoints that a client of releases may use.
const RELEASES: &str = "/repos/{owner}/{repo}/releases";

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// A server that checks requests; it ends with us, however we end.
struct Prism {
    url: String,
    description: Value,
    _child: LongChild,
}

/// One for all tests of this process.
static PRISM: LazyLock<Prism> = LazyLock::new(Prism::start);

impl Prism {
    fn start() -> Self {
        let folder = install();
        let description = description(&folder);
        let file = folder.join("releases.json");
        fs::write(&file, description.to_string()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let port = port.unwrap().port();
        let log = fs::File::create(folder.join("prism.log")).unwrap();
        let child = LongCommand::below(XTASK, folder.join("node_modules/.bin/prism"))
            .args(["mock", "--errors", "--port", &port.to_string()])
            .arg(&file)
            .log(&log)
            .unwrap()
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < end,
                "prism does not listen; see {}",
                folder.display()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Self {
            url: format!("http://127.0.0.1:{port}"),
            description,
            _child: child,
        }
    }

    /// Sends a request as it is, with more headers; status and body of the answer.
    fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Option<Vec<u8>>,
    ) -> (u16, Vec<u8>) {
        let mut request = Request::new(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            let length = body.len() as u64;
            request = request.stream(std::io::Cursor::new(body), length, Default::default());
        }
        let answer = request.send(&HttpLimits::default());
        match answer {
            Ok(mut response) => (response.status, response.bytes(api::ANSWER_MAX).unwrap()),
            Err(error) => match error.downcast::<HttpError>().unwrap() {
                HttpError::Answer(answer) => (answer.status, answer.body),
                other => panic!("{other}"),
            },
        }
    }
}

/// The packages, installed once for each state of the lock file.
fn install() -> PathBuf {
    let source = support::host::repository().join("xtask/tests/openapi");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi");
    let lock = fs::read(source.join("package-lock.json")).unwrap();
    let done = folder.join("installed.json");
    if fs::read(&done).is_ok_and(|installed| installed == lock) {
        return folder;
    }
    fs::create_dir_all(&folder).unwrap();
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let log = fs::File::create(folder.join("npm.log")).unwrap();
    let status = LongCommand::below(XTASK, "npm")
        // Their scripts are not needed, so they do not run.
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder)
        .log(&log)
        .unwrap()
        .spawn()
        .unwrap()
        .wait()
        .unwrap();
    let words = fs::read_to_string(folder.join("npm.log")).unwrap_or_default();
    assert!(status.success(), "npm ci failed:\n{words}");
    fs::write(done, lock).unwrap();
    folder
}

/// GitHub's description without what is not about releases: the whole takes the
/// server minutes to read.
fn description(folder: &Path) -> Value {
    let file = folder.join("node_modules/@octokit/openapi/generated/api.github.com.json");
    let mut whole = serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap();
    let paths = whole["paths"].as_object_mut().unwrap();
    paths.retain(|path, _| path.starts_with(RELEASES));
    assert!(paths.len() >= 5, "{:?}", paths.keys().collect::<Vec<_>>());
    let mut wanted = references(&whole["paths"]);
    let mut components = Map::new();
    let mut seen = BTreeSet::new();
    while let Some(reference) = wanted.pop() {
        if !seen.insert(reference.clone()) {
            continue;
        }
        let pointer = reference.trim_start_matches('#');
        let found = whole.pointer(pointer).unwrap().clone();
        wanted.extend(references(&found));
        let mut parts = pointer.trim_start_matches("/components/").split('/');
        let (kind, name) = (parts.next().unwrap(), parts.next().unwrap());
        components
            .entry(kind)
            .or_insert_with(|| Value::Object(Map::new()))[name] = found;
    }
    whole["components"] = Value::Object(components);
    for other in ["tags", "webhooks", "x-webhooks"] {
        whole.as_object_mut().unwrap().remove(other);
    }
    without_negatives(&mut whole);
    whole
}

/// Numbers of things and their sizes are never negative, which the description does
/// not say; answers made from it at random would be.
fn without_negatives(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(without_negatives),
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "integer") {
                fields.entry("minimum").or_insert(0.into());
            }
            fields.values_mut().for_each(without_negatives);
        }
        _ => {}
    }
}

/// All `$ref` in a part of the description.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(references).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(text) if name == "$ref" => vec![text.to_owned()],
                _ => references(value),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Makes the requests of all commands, in every way in which they differ.
fn requests_of_all_flows() -> Vec<Logged> {
    const RELEASE: &str = "6.1.9-vmtest1.1default";
    let work = tempfile::tempdir().unwrap();
    let github = GitHub::start();
    let run = |arguments: &str, token: &str| {
        Xtask::new(env!("CARGO_BIN_EXE_xtask"), work.path())
            .env("GITHUB_API_URL", &github.api)
            .env("GITHUB_TOKEN", token)
            .args(arguments)
            .run()
    };
    let package = fake_kernel::package(RELEASE);
    let name = fake_kernel::file_name(RELEASE);
    let file = work.path().join(&name);
    fs::write(&file, &package).unwrap();
    let file = file.display();

    // An upload breaks and is done again; then another file takes its place.
    github.fault(UPLOAD, Fault::Starter);
    run(&format!("upload {file}"), "token").expect_status(0);
    github.with(|state| state.assets[0].bytes = Default::default());
    run(&format!("upload --replace {file}"), "token").expect_status(0);
    // Several pages, asked for again with validators.
    for number in 0..150 {
        github.add(&format!("other-{number}"), b"");
    }
    run("list --remote", "").expect_status(0);
    fs::remove_dir_all(work.path().join("cache")).unwrap();
    run("list --remote", "token").expect_status(0);
    run("list --remote", "token").expect_status(0);
    // The bytes, from the API.
    let id = github.with(|state| {
        let found = state.assets.iter().find(|asset| asset.name == name);
        found.unwrap().id
    });
    github.fault(&format!("/blob/{id}"), Fault::Cut(50));
    run(&format!("download {RELEASE}"), "token").expect_status(0);
    // Older kernels are deleted.
    for point in 1..4 {
        let release = format!("6.1.{point}-vmtest1.1default");
        let name = fake_kernel::file_name(&release);
        github.add(&name, &fake_kernel::package(&release));
    }
    run("prune --remote --keep 1 --yes", "token").expect_status(0);
    github.requests()
}

#[test]
fn every_request_is_as_documented() {
    let requests = requests_of_all_flows();
    let mut checked = BTreeSet::new();
    for request in requests
        .iter()
        .filter(|request| request.host != Host::Files)
    {
        let (method, path) = request.line.split_once(' ').unwrap();
        let mut headers = Vec::new();
        for name in [
            "accept",
            "authorization",
            "content-type",
            "x-github-api-version",
            "if-none-match",
            "range",
            "if-range",
        ] {
            if let Some(value) = request.header(name) {
                headers.push((name, value.to_owned()));
            }
        }
        assert!(request.header("user-agent").is_some(), "{request:?}");
        let bytes = request.header("accept") == Some(api::ACCEPT_BYTES);
        if bytes {
            // The bytes are documented in words ("Get a release asset"), in the
            // description only the redirection to them.
            headers.push(("prefer", "code=302".to_owned()));
        }
        let body = request
            .header("content-length")
            .map(|_| request.body.clone());
        let method = match method {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            other => panic!("{other}"),
        };
        let (status, answer) = PRISM.ask(method, path, &headers, body);
        let expected = if bytes { 302..303 } else { 200..300 };
        assert!(
            expected.contains(&status),
            "{} was refused with {status}: {}",
            request.line,
            String::from_utf8_lossy(&answer)
        );
        let path = path.split('?').next().unwrap_or(path);
        let plain = path
            .split('/')
            .map(|part| match part.parse::<u64>() {
                Ok(_) => "N",
                Err(_) => part,
            })
            .collect::<Vec<_>>()
            .join("/");
        checked.insert(format!(
            "{} {plain}",
            request.line.split(' ').next().unwrap()
        ));
    }
    // Nothing was left out without being noticed.
    expect_test::expect![[r#"
        DELETE /repos/osandov/drgn/releases/assets/N
        GET /repos/osandov/drgn/releases/N/assets
        GET /repos/osandov/drgn/releases/assets/N
        GET /repos/osandov/drgn/releases/tags/vmtest-assets
        PATCH /repos/osandov/drgn/releases/assets/N
        POST /repos/osandov/drgn/releases/N/assets
    "#]]
    .assert_eq(
        &checked
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    );
}

#[test]
fn the_server_does_refuse() {
    let json = ("content-type", "application/json".to_owned());
    let accept = ("accept", api::ACCEPT.to_owned());
    let body = br#"{"make_latest": "perhaps", "tag_name": 3}"#.to_vec();
    let headers = [json, accept];
    let path = "/repos/osandov/drgn/releases";
    let (status, _) = PRISM.ask(Method::POST, path, &headers, Some(body));
    assert_eq!(status, 422);
    let (status, _) = PRISM.ask(Method::GET, "/repos/osandov/drgn/kernels", &headers, None);
    assert_eq!(status, 404);
}

/// What an answer to an endpoint must be read as.
fn read(endpoint: &str, status: u16, body: &[u8]) -> Result<(), String> {
    let success = (200..300).contains(&status);
    let path = &endpoint[endpoint.find('/').unwrap()..];
    let words = |error: serde_json::Error| error.to_string();
    match path.strip_prefix(RELEASES).unwrap() {
        _ if !success => {
            let refusal = Refusal::parse(body);
            match refusal.message.is_empty() {
                true => Err(format!("no message: {refusal:?}")),
                false => Ok(()),
            }
        }
        "/assets/{asset_id}" => serde_json::from_slice::<Asset>(body)
            .map(drop)
            .map_err(words),
        "/{release_id}/assets" if endpoint.starts_with("post") => {
            serde_json::from_slice::<Asset>(body)
                .map(drop)
                .map_err(words)
        }
        "/{release_id}/assets" => serde_json::from_slice::<Vec<Asset>>(body)
            .map(drop)
            .map_err(words),
        "/tags/{tag}" => serde_json::from_slice::<GithubRelease>(body)
            .map(drop)
            .map_err(words),
        other => panic!("{other}"),
    }
}

/// The endpoints that are used.
const ENDPOINTS: [(Method, &str); 6] = [
    (Method::GET, "/tags/{tag}"),
    (Method::GET, "/{release_id}/assets"),
    (Method::POST, "/{release_id}/assets"),
    (Method::GET, "/assets/{asset_id}"),
    (Method::PATCH, "/assets/{asset_id}"),
    (Method::DELETE, "/assets/{asset_id}"),
];

fn follow<'d>(description: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => description.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

#[test]
fn every_documented_answer_can_be_read() {
    let description = &PRISM.description;
    let mut examples = 0;
    let mut answers = 0;
    for (method, path) in ENDPOINTS {
        let name = format!("{method:?}").to_lowercase();
        let endpoint = format!("{name} {RELEASES}{path}");
        let operation = &description["paths"][format!("{RELEASES}{path}")][&name];
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses {
            answers += 1;
            let status = status.parse::<u16>().unwrap();
            let content = &follow(description, response)["content"]["application/json"];
            for example in content["examples"].as_object().into_iter().flatten() {
                let example = &follow(description, example.1)["value"];
                examples += 1;
                if let Err(why) = read(&endpoint, status, example.to_string().as_bytes()) {
                    panic!("{endpoint} {status}: {why}: {example}");
                }
            }
            if content.is_null() {
                continue;
            }
            // What the schema allows beyond the example: absent, null, of any length.
            for _ in 0..20 {
                let url = path
                    .replace("{tag}", "t")
                    .replace("{release_id}", "1")
                    .replace("{asset_id}", "1");
                let mut url = format!("/repos/o/r/releases{url}");
                let headers = [
                    ("accept", api::ACCEPT.to_owned()),
                    ("prefer", format!("dynamic=true, code={status}")),
                ];
                let mut headers = headers.to_vec();
                let body = match (method.as_str(), path) {
                    ("POST", _) => {
                        url.push_str("?name=n");
                        Some("bytes")
                    }
                    ("PATCH", _) => Some("{}"),
                    _ => None,
                };
                if body.is_some() {
                    let kind = match url.contains('?') {
                        true => "application/octet-stream",
                        false => "application/json",
                    };
                    headers.push(("content-type", kind.to_owned()));
                }
                let body = body.map(|text| text.as_bytes().to_vec());
                let (found, answer) = PRISM.ask(method.clone(), &url, &headers, body);
                assert_eq!(found, status, "{}", String::from_utf8_lossy(&answer));
                if let Err(why) = read(&endpoint, status, &answer) {
                    let answer = String::from_utf8_lossy(&answer);
                    panic!("{endpoint} {status}: {why}: {answer}");
                }
            }
        }
    }
    assert!(examples >= 5 && answers >= 11, "{examples} of {answers}");
}
