//! Source from a server on this host that behaves well, badly or not at all.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::sha256;
use xtask::internals::Env;
use xtask::internals::exit_status;
use xtask::internals::{Files, Paths};
use xtask::internals::{HttpError, HttpLimits, http};
use xtask::internals::{SourceChoice, WantedSource, source};
use xtask::internals::{Ui, Verbosity};

/// What the server does with a request for a path; the last one repeats.
#[derive(Clone)]
pub enum Answer {
    /// Status 200 and the body; or 206 and its rest, if a range is asked for.
    Whole(Vec<u8>),
    /// As `Whole`, but asking for a range changes nothing.
    NoRanges(Vec<u8>),
    /// The right length, and then only so many bytes.
    Cut(Vec<u8>, usize),
    /// Only a status.
    Status(u16),
    /// Reads the request and says nothing.
    Silence,
    /// Half of the body, and then says nothing more.
    Stall(Vec<u8>),
}

/// A server that stops when it is dropped.
pub struct Server {
    /// Its address.
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts it.
    pub fn start(answers: impl IntoIterator<Item = (&'static str, Vec<Answer>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = answers
            .into_iter()
            .map(|(path, answers)| (path.to_owned(), answers))
            .collect::<HashMap<_, _>>();
        let answers = Arc::new(Mutex::new(answers));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        {
            let (requests, stop) = (Arc::clone(&requests), Arc::clone(&stop));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (answers, requests, stop) = (
                        Arc::clone(&answers),
                        Arc::clone(&requests),
                        Arc::clone(&stop),
                    );
                    std::thread::spawn(move || {
                        // A client that goes away is part of the tests.
                        let _ = serve(stream.unwrap(), &answers, &requests, &stop);
                    });
                }
            });
        }
        Self {
            url,
            requests,
            stop,
        }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn serve(
    mut stream: TcpStream,
    answers: &Mutex<HashMap<String, Vec<Answer>>>,
    requests: &Mutex<Vec<String>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut path, mut start) = (String::new(), None);
    for line in (&mut reader).lines() {
        let line = line?;
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or("").to_owned();
        }
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse::<usize>().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    let what = start.map_or(path.clone(), |start| format!("{path} from {start}"));
    requests.lock().unwrap().push(what);
    let answer = match answers.lock().unwrap().get_mut(&path) {
        Some(answers) if answers.len() > 1 => answers.remove(0),
        Some(answers) => answers[0].clone(),
        None => Answer::Status(404),
    };
    let wait = |stop: &AtomicBool| {
        while !stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let head = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n")
    };
    let (body, end, ranges) = match answer {
        Answer::Whole(body) => (body.clone(), body.len(), true),
        Answer::NoRanges(body) => (body.clone(), body.len(), false),
        Answer::Cut(body, length) => (body, length, true),
        Answer::Status(status) => {
            let status = format!("{status} Something");
            return stream.write_all(head(&status, 0, "").as_bytes());
        }
        Answer::Silence => {
            wait(stop);
            return Ok(());
        }
        Answer::Stall(body) => {
            stream.write_all(head("200 OK", body.len(), "").as_bytes())?;
            stream.write_all(&body[..body.len() / 2])?;
            wait(stop);
            return Ok(());
        }
    };
    match start.filter(|_| ranges) {
        Some(start) if start >= body.len() => {
            stream.write_all(head("416 Range Not Satisfiable", 0, "").as_bytes())
        }
        Some(start) => {
            let range = format!(
                "Content-Range: bytes {start}-{}/{}\r\n",
                body.len() - 1,
                body.len()
            );
            let head = head("206 Partial Content", body.len() - start, &range);
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body[start..end.max(start)])
        }
        None => {
            stream.write_all(head("200 OK", body.len(), "").as_bytes())?;
            stream.write_all(&body[..end])
        }
    }
}

fn body() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

fn sum(bytes: &[u8]) -> String {
    sha256(bytes)
}

/// Limits that a test can wait for.
fn limits() -> HttpLimits {
    HttpLimits {
        connect: Duration::from_secs(5),
        silence: Duration::from_millis(1_500),
        head: Duration::from_secs(5),
        attempts: 3,
        pause: Duration::from_millis(10),
    }
}

fn download(server: &Server, directory: &Path, sha256: &str) -> anyhow::Result<()> {
    let url = format!("{}/file", server.url);
    http::download(&url, &directory.join("file"), sha256, &limits(), |_, _| {})
}

fn names(directory: &Path) -> Vec<String> {
    let mut names = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn a_file_arrives_whole() {
    let server = Server::start([("/file", vec![Answer::Whole(body())])]);
    let directory = tempfile::tempdir().unwrap();
    download(&server, directory.path(), &sum(&body())).unwrap();
    assert_eq!(names(directory.path()), ["file"]);
    assert_eq!(
        std::fs::read(directory.path().join("file")).unwrap(),
        body()
    );
}

#[test]
fn a_wrong_checksum_leaves_nothing() {
    let server = Server::start([("/file", vec![Answer::Whole(body())])]);
    let directory = tempfile::tempdir().unwrap();
    let error = download(&server, directory.path(), &sum(b"other")).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("wrong checksum"), "{text}");
    assert!(
        text.contains(&sum(&body())) && text.contains(&sum(b"other")),
        "{text}"
    );
    assert_eq!(exit_status(&error), 3);
    assert_eq!(names(directory.path()), [""; 0]);
    assert_eq!(server.requests(), ["/file"]);
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let (body, cut) = (body(), Answer::Cut(body(), 70_000));
    let server = Server::start([("/file", vec![cut, Answer::Whole(body.clone())])]);
    let directory = tempfile::tempdir().unwrap();
    download(&server, directory.path(), &sum(&body)).unwrap();
    assert_eq!(server.requests(), ["/file", "/file from 70000"]);
    assert_eq!(std::fs::read(directory.path().join("file")).unwrap(), body);
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let (body, cut) = (body(), Answer::Cut(body(), 70_000));
    let server = Server::start([("/file", vec![cut, Answer::NoRanges(body.clone())])]);
    let directory = tempfile::tempdir().unwrap();
    download(&server, directory.path(), &sum(&body)).unwrap();
    assert_eq!(std::fs::read(directory.path().join("file")).unwrap(), body);
}

#[test]
fn what_an_earlier_run_left_is_used_or_thrown_away() {
    for (left, expected) in [
        (body()[..1000].to_vec(), vec!["/file from 1000"]),
        (vec![7; 1000], vec!["/file from 1000", "/file"]),
        (body(), vec!["/file from 1200000"]),
    ] {
        let server = Server::start([("/file", vec![Answer::Whole(body())])]);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file.partial"), left).unwrap();
        download(&server, directory.path(), &sum(&body())).unwrap();
        assert_eq!(server.requests(), expected);
        assert_eq!(names(directory.path()), ["file"]);
        assert_eq!(
            std::fs::read(directory.path().join("file")).unwrap(),
            body()
        );
    }
}

#[test]
fn what_cannot_be_had_is_said_and_attempts_are_limited() {
    let invalid = |error: &anyhow::Error| match error.downcast_ref::<HttpError>() {
        Some(error) => error.to_string(),
        None => panic!("{error:#}"),
    };
    for (answer, attempts, text) in [
        (Answer::Status(404), 1, "not found (HTTP status 404)"),
        (Answer::Status(503), 3, "HTTP status 503"),
        (Answer::Silence, 3, "timeout"),
        (Answer::Cut(body(), 0), 3, "broke off"),
    ] {
        let server = Server::start([("/file", vec![answer])]);
        let directory = tempfile::tempdir().unwrap();
        let error = download(&server, directory.path(), &sum(&body())).unwrap_err();
        let message = invalid(&error);
        assert!(message.contains(text), "{message}");
        assert!(format!("{error:#}").contains(&server.url));
        assert_eq!(server.requests().len(), attempts, "{message}");
        assert_eq!(names(directory.path()), [""; 0], "{message}");
    }
}

#[test]
fn a_stalled_transfer_is_given_up_and_its_bytes_are_kept() {
    let server = Server::start([("/file", vec![Answer::Stall(body()), Answer::Silence])]);
    let directory = tempfile::tempdir().unwrap();
    download(&server, directory.path(), &sum(&body())).unwrap_err();
    assert_eq!(names(directory.path()), ["file.partial"]);
    let kept = std::fs::read(directory.path().join("file.partial")).unwrap();
    assert_eq!(kept, body()[..kept.len()]);
    assert_eq!(kept.len(), body().len() / 2);
}

/// A port on which nothing listens.
fn dead_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn nobody_there_cannot_be_reached() {
    let error = http::text(&dead_url(), 10, &HttpLimits::default()).unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(HttpError::Unreachable(_))),
        "{error:#}"
    );
}

#[test]
fn too_long_an_answer_is_refused() {
    let server = Server::start([("/file", vec![Answer::Whole(body())])]);
    let error = http::text(&format!("{}/file", server.url), 1000, &limits()).unwrap_err();
    assert!(format!("{error:#}").contains("longer than 1000 bytes"));
}

/// A signed list of checksums as kernel.org has it.
pub fn list(lines: &[(&str, &[u8])]) -> Answer {
    let lines = lines
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", sum(bytes)))
        .collect::<String>();
    Answer::Whole(
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{lines}\
            -----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n"
        )
        .into_bytes(),
    )
}

fn find(work: &Path, url: &str, version: &str) -> anyhow::Result<source::FoundSource> {
    let env = Env {
        paths: Paths::new(work, Files::Embedded(&[]), Files::Embedded(&[])),
        ui: Ui::new(Verbosity::Quiet),
    };
    let wanted = WantedSource::Version(version.parse().unwrap());
    source::find(&env, &wanted, &SourceChoice::KernelOrg, url)
}

#[test]
fn kernel_org_tells_the_newest_point_release_once_an_hour() {
    let archives: &[(&str, &[u8])] = &[
        ("linux-6.1.9.tar.xz", b"nine"),
        ("linux-6.1.10.tar.xz", b"ten"),
        ("linux-6.12.1.tar.xz", b"other"),
    ];
    let server = Server::start([("/v6.x/sha256sums.asc", vec![list(archives)])]);
    let work = tempfile::tempdir().unwrap();
    for (wanted, version, bytes) in [
        ("6.1", "6.1.10", b"ten".as_slice()),
        ("6.1.9", "6.1.9", b"nine"),
        ("6.12", "6.12.1", b"other"),
    ] {
        let found = find(work.path(), &server.url, wanted).unwrap();
        assert_eq!(found.version.to_string(), version);
        assert_eq!(found.checksum, sum(bytes));
        assert_eq!(found.origin, format!("kernel.org linux-{version}.tar.xz"));
    }
    assert_eq!(server.requests(), ["/v6.x/sha256sums.asc"]);
    let error = find(work.path(), &server.url, "6.1.11").unwrap_err();
    assert!(
        format!("{error:#}").contains("no archive of Linux 6.1.11"),
        "{error:#}"
    );
    let error = find(work.path(), &server.url, "6.2-rc1").unwrap_err();
    assert!(
        format!("{error:#}").contains("--source git:URL"),
        "{error:#}"
    );
    assert_eq!(exit_status(&error), 3);
}

#[test]
fn many_series_cost_one_request_for_each_list_even_if_it_fails() {
    let archives: &[(&str, &[u8])] = &[
        ("linux-6.1.10.tar.xz", b"ten"),
        ("linux-6.12.1.tar.xz", b"other"),
    ];
    let server = Server::start([
        ("/v6.x/sha256sums.asc", vec![list(archives)]),
        ("/v5.x/sha256sums.asc", vec![Answer::Status(404)]),
    ]);
    let work = tempfile::tempdir().unwrap();
    let env = Env {
        paths: Paths::new(work.path(), Files::Embedded(&[]), Files::Embedded(&[])),
        ui: Ui::new(Verbosity::Quiet),
    };
    let versions = ["5.4", "5.10", "6.1", "6.2", "6.12"].map(|text| text.parse().unwrap());
    let found = source::find_all(&env, &versions, &SourceChoice::KernelOrg, &server.url).unwrap();
    let lines = found.iter().map(|found| match found {
        Ok(found) => found.version.to_string(),
        Err(error) => format!("{error:#}").replace(&server.url, "URL"),
    });
    expect_test::expect![[r#"
        cannot get Linux 5.4 from kernel.org: URL/v5.x/sha256sums.asc: not found (HTTP status 404)
        cannot get Linux 5.10 from kernel.org: URL/v5.x/sha256sums.asc: not found (HTTP status 404)
        6.1.10
        cannot get Linux 6.2 from kernel.org: URL/v6.x/sha256sums.asc has no archive of Linux 6.2
        6.12.1
    "#]]
    .assert_eq(&(lines.collect::<Vec<_>>().join("\n") + "\n"));
    assert_eq!(
        server.requests(),
        ["/v5.x/sha256sums.asc", "/v6.x/sha256sums.asc"]
    );
}

#[test]
fn a_page_instead_of_a_list_is_not_kept() {
    let page = Answer::Whole(b"<html>sign in</html>".to_vec());
    let good = list(&[("linux-6.1.9.tar.xz", b"nine")]);
    let server = Server::start([("/v6.x/sha256sums.asc", vec![page, good])]);
    let work = tempfile::tempdir().unwrap();
    let error = find(work.path(), &server.url, "6.1").unwrap_err();
    assert!(
        format!("{error:#}").contains("not a clear-signed list"),
        "{error:#}"
    );
    find(work.path(), &server.url, "6.1").unwrap();
}

#[test]
fn an_archive_with_a_wrong_checksum_leaves_nothing() {
    let name = "linux-6.1.9.tar.xz";
    let server = Server::start([
        (
            "/v6.x/sha256sums.asc",
            vec![list(&[(name, b"what was signed")])],
        ),
        (
            "/v6.x/linux-6.1.9.tar.xz",
            vec![Answer::Whole(b"what came".to_vec())],
        ),
    ]);
    let work = tempfile::tempdir().unwrap();
    let found = find(work.path(), &server.url, "6.1").unwrap();
    let env = Env {
        paths: Paths::new(work.path(), Files::Embedded(&[]), Files::Embedded(&[])),
        ui: Ui::new(Verbosity::Quiet),
    };
    let error = source::fetch(&env, &found, &[]).unwrap_err();
    assert!(format!("{error:#}").contains("wrong checksum"), "{error:#}");
    assert_eq!(exit_status(&error), 3);
    assert_eq!(names(&work.path().join("src")), [""; 0]);
}
