//! The release, from a server on this host that behaves well, badly or not at all.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use xtask::internals::Env;
use xtask::internals::KernelPlace;
use xtask::internals::Settings;
use xtask::internals::upload;
use xtask::internals::{Client, Location};
use xtask::internals::{Downloaded, download};
use xtask::internals::{Files, Paths};
use xtask::internals::{Freshness, is_missing};
use xtask::internals::{How, Sources, choose};
use xtask::internals::{HttpLimits, Secret};
use xtask::internals::{Ui, Verbosity};
use xtask::internals::{exit_status, host};

use crate::xtask;
use support::binary::Xtask;
use support::fake_kernel::{self, file_name, package};
use support::fake_qemu;
use support::github_server::{BY_TAG, Fault, GitHub, Host, UPLOAD};

const TOKEN: &str = "ghp_0123456789abcdef";
const RELEASE: &str = "6.1.9-vmtest1.1default";

fn client(env: &Env, location: Location, token: Option<Secret>) -> Client {
    let mut client = Client::new(env, location, token);
    client.limits = limits();
    client
}

/// Limits that a test can wait for.
fn limits() -> HttpLimits {
    HttpLimits {
        connect: Duration::from_secs(5),
        silence: Duration::from_millis(1_000),
        head: Duration::from_secs(3),
        attempts: 3,
        pause: Duration::from_millis(10),
    }
}

/// A server, a work directory, and who asks the one for the other.
struct Setting {
    server: GitHub,
    work: TempDir,
}

impl Setting {
    fn new(releases: &[&str]) -> Self {
        let server = GitHub::start();
        for release in releases {
            server.add(&file_name(release), &package(release));
        }
        Self {
            server,
            work: tempfile::tempdir().unwrap(),
        }
    }

    fn env(&self) -> Env {
        let configs = support::host::repository().join("kernel-configs");
        Env {
            paths: Paths::new(
                self.work.path(),
                Files::Directory(configs),
                Files::Embedded(&[]),
            ),
            ui: quiet(),
        }
    }

    fn client(&self, token: Option<&str>) -> Client {
        let settings = Settings {
            api_url: Some(self.server.api.clone()),
            ..Settings::default()
        };
        let location = Location::choose(&[&settings], None).unwrap();
        let token = token.map(Secret::new);
        client(&self.env(), location, token)
    }

    /// Downloads what the release has.
    fn download_as(&self, token: Option<&str>) -> anyhow::Result<Downloaded> {
        let client = self.client(token);
        let listing = client.listing(Freshness::Usual)?;
        let packages = download::packages(&listing.assets, host().unwrap());
        download::download_one(&self.env(), &client, &packages[0])
    }

    fn download(&self) -> anyhow::Result<Downloaded> {
        self.download_as(None)
    }

    fn xtask(&self, arguments: &str) -> Xtask {
        xtask(self.work.path())
            .env("GITHUB_API_URL", &self.server.api)
            .args(arguments)
    }

    fn path(&self, release: &str) -> PathBuf {
        self.work.path().join(format!("x86_64/kernel-{release}"))
    }

    /// The kernel is there, whole, and nothing else.
    fn assert_only(&self, releases: &[&str]) {
        let mut found = match fs::read_dir(self.work.path().join("x86_64")) {
            Ok(entries) => entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect(),
            Err(_) => Vec::new(),
        };
        found.sort();
        let expected = releases.iter().map(|release| format!("kernel-{release}"));
        assert_eq!(found, expected.collect::<Vec<_>>());
        for release in releases {
            self.assert_whole(release);
        }
    }

    /// All of the kernel is there.
    fn assert_whole(&self, release: &str) {
        let copy = tempfile::tempdir().unwrap();
        fake_kernel::write(copy.path(), release, "00ff00ff", 400_000);
        for name in ["vmlinuz", "build/vmlinux", "manifest.json"] {
            let read = |path: &Path| fs::read(path.join(name)).unwrap();
            assert!(read(&self.path(release)) == read(copy.path()), "{name}");
        }
    }

    fn write_package(&self, release: &str) -> PathBuf {
        let path = self.work.path().join(file_name(release));
        fs::write(&path, package(release)).unwrap();
        path
    }

    fn upload(&self, replace: bool) -> anyhow::Result<()> {
        let package = upload::inspect(&self.write_package(RELEASE), &quiet())?;
        let client = self.client(Some(TOKEN));
        upload::upload(&client, &package, replace, &quiet()).map(drop)
    }

    /// Names and states of what the release has.
    fn assets(&self) -> Vec<(String, &'static str)> {
        let named = |asset: &support::github_server::FakeAsset| (asset.name.clone(), asset.state);
        self.server
            .with(|state| state.assets.iter().map(named).collect())
    }
}

fn quiet() -> Ui {
    Ui::new(Verbosity::Quiet)
}

fn text(result: anyhow::Result<impl std::fmt::Debug>) -> String {
    let error = result.unwrap_err();
    assert_eq!(exit_status(&error), 3, "{error:#}");
    format!("{error:#}")
}

fn count(lines: &[String], part: &str) -> usize {
    lines.iter().filter(|line| line.contains(part)).count()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn a_kernel_is_published_listed_and_downloaded() {
    let setting = Setting::new(&["5.10.7-vmtest1.1default", "6.1.8-vmtest1.1default"]);
    setting.server.add("gcc-12.tar.xz", b"something else");
    let file = setting.write_package(RELEASE);
    let run = setting
        .xtask("upload")
        .arg(&file)
        .env("GH_TOKEN", TOKEN)
        .run();
    let run = run.expect_status(0);
    assert!(
        run.stdout
            .ends_with(&format!("/download/{}\n", file_name(RELEASE)))
    );
    let label = setting
        .server
        .with(|state| state.assets.last().unwrap().label.clone());
    assert_eq!(label.as_deref(), Some("vmtest-input-key=00ff00ff"));

    let run = setting.xtask("list --remote").run().expect_status(0);
    expect_test::expect![[r"
        RELEASE                  ARCH    FLAVOR   STATE   DOWNLOAD  ON DISK  PATH
        6.1.9-vmtest1.1default   x86_64  default  remote      1 MB        -  -
        6.1.8-vmtest1.1default   x86_64  default  remote      1 MB        -  -
        5.10.7-vmtest1.1default  x86_64  default  remote      1 MB        -  -
    "]]
    .assert_eq(&run.stdout);

    let run = setting.xtask("download 6.1.*").run().expect_status(0);
    assert_eq!(run.stdout, format!("{}\n", setting.path(RELEASE).display()));
    assert!(
        run.stderr.contains(
            "xtask: downloading 6.1.9-vmtest1.1default (1 MB) from osandov/drgn (vmtest-assets)\n"
        ),
        "{}",
        run.stderr
    );
    setting.assert_only(&[RELEASE]);

    setting.server.requests();
    let run = setting
        .xtask("download 6.1.9-vmtest1.1default")
        .run()
        .expect_status(0);
    assert!(run.stderr.contains("is here already"), "{}", run.stderr);
    assert_eq!(setting.server.lines(), [""; 0]);

    let run = setting
        .xtask("list --remote --format json 6.1")
        .run()
        .expect_status(0);
    let rows = serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap();
    let states = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["state"].clone());
    assert_eq!(states.collect::<Vec<_>>(), ["both", "remote"]);
    assert_eq!(rows[0]["input_key"], "00ff00ff");
}

#[test]
fn several_kernels_come_at_once_and_one_failure_is_one() {
    let releases = ["5.4.3", "5.10.7", "6.1.8"].map(|v| format!("{v}-vmtest1.1default"));
    let setting = Setting::new(&releases.each_ref().map(String::as_str));
    setting.server.always("/blob/2", Fault::Corrupt);
    let run = setting
        .xtask("download 5.4,5.10 6.1")
        .run()
        .expect_status(3);
    assert_eq!(run.stdout.lines().count(), 2, "{}", run.stdout);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("error: kernel-5.10.7-"),
        "{}",
        run.stderr
    );
    setting.assert_only(&[&releases[0], &releases[2]]);
}

#[test]
fn an_unchanged_list_is_not_sent_again_and_serves_without_the_network() {
    let setting = Setting::new(&[RELEASE]);
    let run = || setting.xtask("list --remote").run().expect_status(0);
    let first = run();
    let second = run();
    assert_eq!(first.stdout, second.stdout);
    assert_eq!((first.stderr.as_str(), second.stderr.as_str()), ("", ""));
    assert_eq!(
        setting.server.lines(),
        [format!("GET {BY_TAG} 200"), format!("GET {BY_TAG} 304")]
    );
    // The server answers no more.
    setting.server.always(BY_TAG, Fault::status(503));
    let third = run();
    assert_eq!(first.stdout, third.stdout);
    assert_eq!(
        third.stderr.matches("warning: ").count(),
        2,
        "{}",
        third.stderr
    );
    assert!(
        third.stderr.contains("using the list of 20"),
        "{}",
        third.stderr
    );

    // It is gone altogether.
    let Setting { server, work } = setting;
    let api = server.api.clone();
    drop(server);
    let run = || {
        xtask(work.path())
            .env("GITHUB_API_URL", &api)
            .args("list --remote")
            .run()
    };
    let fourth = run().expect_status(0);
    assert_eq!(first.stdout, fourth.stdout);
    fs::remove_dir_all(work.path().join("cache")).unwrap();
    let fifth = run().expect_status(3);
    assert!(
        fifth.stderr.contains("cannot be reached"),
        "{}",
        fifth.stderr
    );
    assert_eq!(fifth.stderr.lines().count(), 1, "{}", fifth.stderr);
}

#[test]
fn a_server_that_wants_not_to_be_asked_again_is_not() {
    let setting = Setting::new(&[RELEASE]);
    let header = (
        "cache-control",
        "private, max-age=60, s-maxage=60".to_owned(),
    );
    setting.server.with(|state| state.headers.push(header));
    for _ in 0..2 {
        setting.client(None).listing(Freshness::Usual).unwrap();
    }
    assert_eq!(setting.server.lines(), [format!("GET {BY_TAG} 200")]);
    setting.client(None).listing(Freshness::Checked).unwrap();
    assert_eq!(setting.server.lines(), [format!("GET {BY_TAG} 304")]);
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    for percent in [10, 50, 99] {
        let setting = Setting::new(&[RELEASE]);
        setting.server.fault("/blob/1", Fault::Cut(percent));
        setting.download().unwrap();
        setting.assert_only(&[RELEASE]);
        let size = package(RELEASE).len();
        let ranges = setting.server.requests().into_iter();
        let ranges = ranges.filter(|request| request.line.starts_with("GET /blob/1"));
        let ranges = ranges.map(|request| request.header("range").map(str::to_owned));
        let expected = format!("bytes={}-", size * percent / 100);
        assert_eq!(ranges.collect::<Vec<_>>(), [None, Some(expected)]);
    }
}

#[test]
fn signed_addresses_are_asked_for_again() {
    let setting = Setting::new(&[RELEASE]);
    setting.server.fault("/blob/1", Fault::Cut(50));
    setting.download_as(Some(TOKEN)).unwrap();
    let lines = setting.server.lines();
    assert_eq!(
        count(&lines, "GET /repos/osandov/drgn/releases/assets/1 302"),
        2
    );
    assert_eq!(count(&lines, "GET /blob/1"), 2);
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let setting = Setting::new(&[RELEASE]);
    setting.server.fault("/blob/1", Fault::Cut(60));
    setting.server.fault("/blob/1", Fault::NoRanges);
    setting.download().unwrap();
    setting.assert_only(&[RELEASE]);
    assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 2);
}

#[test]
fn the_rest_of_another_file_is_not_taken() {
    let setting = Setting::new(&[RELEASE]);
    setting.server.fault("/blob/1", Fault::Cut(50));
    setting
        .server
        .fault("/blob/1", Fault::Other(vec![7; 600_000]));
    setting.download().unwrap();
    setting.assert_only(&[RELEASE]);
    assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 3);
}

#[test]
fn damage_is_fetched_once_more_and_then_refused() {
    let setting = Setting::new(&[RELEASE]);
    setting.server.fault("/blob/1", Fault::Corrupt);
    setting.download().unwrap();
    setting.assert_only(&[RELEASE]);
    assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 2);

    let setting = Setting::new(&[RELEASE]);
    setting.server.always("/blob/1", Fault::Corrupt);
    let message = text(setting.download());
    assert!(message.contains("is damaged"), "{message}");
    assert!(
        message.contains("fetched twice; nothing was kept"),
        "{message}"
    );
    setting.assert_only(&[]);
    assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 2);
}

#[test]
fn a_wrong_checksum_is_refused_although_all_can_be_unpacked() {
    let setting = Setting::new(&[RELEASE]);
    setting
        .server
        .with(|state| state.assets[0].false_digest = Some("0".repeat(64)));
    let message = text(setting.download());
    assert!(message.contains("its checksum is "), "{message}");
    assert!(
        message.contains(&format!("not {}", "0".repeat(64))),
        "{message}"
    );
    setting.assert_only(&[]);
}

#[test]
fn without_a_checksum_the_size_and_that_of_zstd_must_do() {
    let setting = Setting::new(&[RELEASE]);
    setting.server.with(|state| state.assets[0].digest = false);
    let run = setting.xtask("-v download 6.1").run().expect_status(0);
    assert!(
        run.stderr.contains("has no checksum at GitHub"),
        "{}",
        run.stderr
    );
    setting.assert_only(&[RELEASE]);

    let setting = Setting::new(&[RELEASE]);
    setting.server.with(|state| state.assets[0].digest = false);
    setting.server.always("/blob/1", Fault::Corrupt);
    text(setting.download());
    setting.assert_only(&[]);
}

#[test]
fn a_package_must_hold_what_its_name_says() {
    let setting = Setting::new(&[]);
    setting
        .server
        .add(&file_name("6.1.10-vmtest1.1default"), &package(RELEASE));
    let message = text(setting.download());
    assert!(
        message.contains("holds the kernel 6.1.9-vmtest1.1default"),
        "{message}"
    );
    setting.assert_only(&[]);
}

/// An archive whose files have those contents.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut builder = tar::Builder::new(encoder);
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *contents).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_package_of_the_release_without_a_kernel_is_no_mistake_of_the_user_s() {
    const NAME: &str = "build/include/config/kernel.release";
    let elf = |machine: u8| {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(18, 0);
        elf.extend([machine, 0]);
        elf
    };
    let (ours, foreign) = (elf(62), elf(3));
    let image = ("vmlinuz", &b"image"[..]);
    let vmlinux = ("build/vmlinux", &ours[..]);
    let release = (NAME, &b"6.1.9-vmtest1.1default\n"[..]);
    let below = [
        ("lib/modules/6.1.9/vmlinuz", image.1),
        ("lib/modules/6.1.9/build/vmlinux", vmlinux.1),
    ];
    let kinds: &[(Vec<u8>, &str)] = &[
        (archive(&[]), "no vmlinuz, no build/vmlinux"),
        (archive(&below), "no vmlinuz, no build/vmlinux"),
        (
            archive(&[vmlinux, release]),
            "it is not an unpacked kernel: no vmlinuz (",
        ),
        (archive(&[image, release]), "no build/vmlinux ("),
        (
            archive(&[image, vmlinux]),
            "no build/include/config/kernel.release (",
        ),
        (
            archive(&[image, ("build/vmlinux", &foreign), release]),
            ": build/vmlinux is for i386",
        ),
        (
            archive(&[image, ("build/vmlinux", b"text"), release]),
            "build/vmlinux",
        ),
        (
            archive(&[image, vmlinux, (NAME, b"6.1.8")]),
            "holds the kernel 6.1.8",
        ),
        (
            archive(&[image, vmlinux, (NAME, b"\x1b[31m")]),
            "kernel.release is damaged",
        ),
        (zstd::encode_all(&b"text"[..], 1).unwrap(), "is damaged: "),
        (b"text".to_vec(), "is damaged: "),
        (Vec::new(), "is damaged: "),
    ];
    for (bytes, words) in kinds {
        let setting = Setting::new(&[]);
        setting.server.add(&file_name(RELEASE), bytes);
        for command in ["download 6.1", "-q vm -k 6.1 -- true"] {
            let run = setting.xtask(command).run().expect_status(3);
            assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
            assert!(run.stderr.contains("osandov/drgn"), "{}", run.stderr);
            assert!(!run.stderr.contains(".tmp-"), "{}", run.stderr);
        }
        setting.assert_only(&[]);
        // What the release has is what it says: nothing else would come.
        let fetched = count(&setting.server.lines(), "GET /blob/1");
        assert_eq!(fetched, if bytes.is_empty() { 0 } else { 2 }, "{words}");
    }
}

#[test]
fn a_checksum_that_is_none_is_refused() {
    let setting = Setting::new(&[RELEASE]);
    setting
        .server
        .with(|state| state.assets[0].false_digest = Some("nonsense".to_owned()));
    let message = text(setting.download());
    assert!(message.contains("which is no SHA-256"), "{message}");
    setting.assert_only(&[]);
    assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 0);
}

#[test]
fn an_archive_over_the_limit_is_fetched_once_and_does_not_fill_the_disk() {
    let bomb = archive(&[("vmlinuz", &vec![0; 100 << 20])]);
    for digest in [true, false] {
        let setting = Setting::new(&[]);
        setting.server.add(&file_name(RELEASE), &bomb);
        setting.server.with(|state| state.assets[0].digest = digest);
        let message = text(setting.download());
        assert!(message.contains("is damaged: "), "{message}");
        assert!(message.contains("bytes after decompression"), "{message}");
        setting.assert_only(&[]);
        assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 1);
    }
}

#[test]
fn bytes_that_come_too_slowly_keep_nobody_waiting() {
    let setting = Setting::new(&[RELEASE]);
    let pause = Duration::from_millis(100);
    setting.server.always(BY_TAG, Fault::EndlessHead(pause));
    let message = text(setting.download());
    assert!(message.contains("broke off"), "{message}");
    assert_eq!(setting.server.lines().len(), 3);

    // Each attempt brings a little, which is no progress.
    let setting = Setting::new(&[RELEASE]);
    setting.server.always("/blob/1", Fault::Slow(20, pause));
    let message = text(setting.download());
    assert!(message.contains("bytes came in 1 s"), "{message}");
    setting.assert_only(&[]);
    assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 3);
}

#[test]
fn what_may_pass_is_tried_again() {
    for status in [500, 502, 503, 429] {
        let setting = Setting::new(&[RELEASE]);
        setting.server.fault(BY_TAG, Fault::status(status));
        setting.server.fault(
            "/download/kernel-6.1.9-vmtest1.1default.x86_64.tar.zst",
            Fault::status(502),
        );
        setting.server.fault("/blob/1", Fault::status(500));
        setting.download().unwrap();
        setting.assert_only(&[RELEASE]);
        assert_eq!(count(&setting.server.lines(), BY_TAG), 2, "{status}");
    }
    let setting = Setting::new(&[RELEASE]);
    setting.server.always(BY_TAG, Fault::status(502));
    let message = text(setting.download());
    assert!(message.contains("HTTP status 502"), "{message}");
    assert_eq!(setting.server.lines().len(), 3);
}

fn limited(status: u16, headers: &[(&'static str, u64)]) -> Fault {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, value.to_string()));
    let text = r#"{"message": "API rate limit exceeded for 127.0.0.1"}"#.to_owned();
    Fault::Status(status, headers.collect(), text)
}

#[test]
fn a_server_that_says_when_is_believed() {
    for fault in [
        limited(429, &[("retry-after", 1)]),
        limited(403, &[("retry-after", 1)]),
        limited(
            403,
            &[
                ("x-ratelimit-remaining", 0),
                ("x-ratelimit-reset", now() + 1),
            ],
        ),
    ] {
        let setting = Setting::new(&[RELEASE]);
        setting.server.fault(BY_TAG, fault);
        setting.download().unwrap();
        assert_eq!(count(&setting.server.lines(), BY_TAG), 2);
    }
}

#[test]
fn too_long_a_wait_is_explained_instead() {
    let setting = Setting::new(&[RELEASE]);
    let reset = now() + 3000;
    let fault = limited(
        403,
        &[("x-ratelimit-remaining", 0), ("x-ratelimit-reset", reset)],
    );
    setting.server.always(BY_TAG, fault);
    let run = setting.xtask("list --remote").env("TZ", "UTC-2").run();
    let run = run.expect_status(3);
    let expected = jiff::Timestamp::from_second((reset + 7200) as i64).unwrap();
    let expected = expected.strftime("%Y-%m-%d %H:%M:%S");
    assert!(
        run.stderr
            .contains(&format!("answers no more until {expected}")),
        "{} {expected}",
        run.stderr
    );
    assert!(
        run.stderr.contains("with a token in GITHUB_TOKEN"),
        "{}",
        run.stderr
    );
    assert_eq!(setting.server.lines().len(), 1);
}

#[test]
fn with_the_quota_used_up_the_public_address_serves() {
    let setting = Setting::new(&[RELEASE]);
    let fault = limited(
        403,
        &[
            ("x-ratelimit-remaining", 0),
            ("x-ratelimit-reset", now() + 3000),
        ],
    );
    setting
        .server
        .always("/repos/osandov/drgn/releases/assets/1", fault);
    setting.download_as(Some(TOKEN)).unwrap();
    setting.assert_only(&[RELEASE]);
    assert_eq!(count(&setting.server.lines(), "GET /download/"), 1);
}

#[test]
fn without_a_token_the_api_is_not_asked_for_bytes() {
    let setting = Setting::new(&[RELEASE]);
    setting.download().unwrap();
    assert_eq!(count(&setting.server.lines(), "releases/assets/"), 0);
}

#[test]
fn the_token_goes_to_the_api_and_the_host_for_uploads_only() {
    let setting = Setting::new(&[]);
    setting.upload(false).unwrap();
    setting.download_as(Some(TOKEN)).unwrap();
    let bearer = format!("Bearer {TOKEN}");
    let requests = setting.server.requests();
    for host in [Host::Api, Host::Uploads, Host::Files] {
        let asked = requests.iter().filter(|request| request.host == host);
        let asked = asked.collect::<Vec<_>>();
        assert!(!asked.is_empty(), "{host:?}");
        for request in asked {
            let expected = (host != Host::Files).then_some(bearer.as_str());
            assert_eq!(request.header("authorization"), expected, "{request:?}");
        }
    }
}

#[test]
fn the_token_is_in_no_output_and_no_file() {
    let setting = Setting::new(&["6.1.8-vmtest1.1default"]);
    let file = setting.write_package(RELEASE);
    let with_token = |arguments: &str| {
        let xtask = setting
            .xtask("-v")
            .args(arguments)
            .env("GITHUB_TOKEN", TOKEN);
        let run = xtask.run();
        assert!(!format!("{run:?}").contains(TOKEN), "{run:?}");
        run
    };
    let upload = format!("upload {}", file.display());
    with_token(&upload).expect_status(0);
    with_token("list --remote").expect_status(0);
    with_token("download 6.1").expect_status(0);
    // Far enough in the message to be cut in two.
    let echo = format!("{{\"message\": \"{}{TOKEN}\"}}", "x".repeat(295));
    for echo in [
        echo,
        format!("{{\"message\": \"Bad credentials: {TOKEN}\"}}"),
    ] {
        let fault = Fault::Status(401, Vec::new(), echo);
        setting.server.always(BY_TAG, fault);
        let run = with_token("list --remote").expect_status(3);
        assert!(!run.stderr.contains(&TOKEN[..4]), "{}", run.stderr);
    }
    setting.server.always(BY_TAG, Fault::status(401));
    let run = with_token("list --remote").expect_status(3);
    assert!(
        run.stderr.contains("is wrong or has expired"),
        "{}",
        run.stderr
    );
    setting.server.always(BY_TAG, Fault::status(403));
    with_token(&upload).expect_status(3);
    let mut folders = vec![setting.work.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                assert!(!text.contains(TOKEN), "{}", path.display());
            }
        }
    }
}

#[test]
fn a_silent_server_is_given_up() {
    let setting = Setting::new(&[RELEASE]);
    setting.server.always(BY_TAG, Fault::Silence);
    let message = text(setting.download());
    assert!(message.contains("broke off"), "{message}");
    assert_eq!(setting.server.lines().len(), 3);

    let setting = Setting::new(&[RELEASE]);
    setting.server.fault("/blob/1", Fault::Silence);
    setting.download().unwrap();
    setting.assert_only(&[RELEASE]);
}

#[test]
fn a_slow_server_is_waited_for() {
    let setting = Setting::new(&[RELEASE]);
    // In all longer than the limit for silence.
    let size = package(RELEASE).len() / 10;
    let slow = Fault::Slow(size, Duration::from_millis(150));
    setting.server.fault("/blob/1", slow);
    setting.download().unwrap();
    setting.assert_only(&[RELEASE]);
    assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 1);
}

#[test]
fn refused_uploads_name_their_remedy() {
    let exists = r#"{"message": "Validation Failed", "errors": [{"code": "already_exists"}]}"#;
    let immutable = r#"{"message": "Cannot upload assets to an immutable release."}"#;
    for (body, remedy) in [(exists, "--replace"), (immutable, "use another --tag")] {
        let setting = Setting::new(&[]);
        let fault = Fault::Status(422, Vec::new(), body.to_owned());
        setting.server.fault(UPLOAD, fault);
        let message = text(setting.upload(false));
        assert!(message.contains(remedy), "{message}");
        assert_eq!(count(&setting.server.lines(), "POST "), 1);
    }
    let setting = Setting::new(&[]);
    setting.server.with(|state| state.immutable = true);
    let message = text(setting.upload(true));
    assert!(message.contains("is immutable"), "{message}");
    assert_eq!(count(&setting.server.lines(), "POST "), 0);
}

#[test]
fn what_a_failed_upload_leaves_is_removed() {
    let setting = Setting::new(&[]);
    setting.server.fault(UPLOAD, Fault::Starter);
    setting.upload(false).unwrap();
    assert_eq!(setting.assets(), [(file_name(RELEASE), "uploaded")]);
    let lines = setting.server.lines();
    assert_eq!((count(&lines, "POST "), count(&lines, "DELETE ")), (2, 1));
}

#[test]
fn an_upload_whose_answer_was_lost_is_not_repeated() {
    let setting = Setting::new(&[]);
    setting.server.fault(UPLOAD, Fault::Lost);
    setting.upload(false).unwrap();
    assert_eq!(setting.assets(), [(file_name(RELEASE), "uploaded")]);
    assert_eq!(count(&setting.server.lines(), "POST "), 1);
}

#[test]
fn other_bytes_than_were_sent_do_not_stay() {
    let setting = Setting::new(&[]);
    setting.server.always(UPLOAD, Fault::WrongDigest);
    let message = text(setting.upload(false));
    assert!(message.contains("it was deleted; try again"), "{message}");
    assert_eq!(setting.assets(), []);
}

#[test]
fn a_finished_file_is_replaced_only_on_request() {
    let setting = Setting::new(&[]);
    setting.server.add(&file_name(RELEASE), b"another");
    let message = text(setting.upload(false));
    assert!(message.contains("--replace does it anyway"), "{message}");
    setting.upload(true).unwrap();
    assert_eq!(setting.assets(), [(file_name(RELEASE), "uploaded")]);
    let bytes = setting.server.with(|state| state.assets[0].bytes.clone());
    assert!(*bytes == package(RELEASE));
    // Nothing is sent that is there.
    setting.server.requests();
    setting.upload(false).unwrap();
    assert_eq!(count(&setting.server.lines(), "POST "), 0);
}

#[test]
fn uploads_need_a_token_and_a_release() {
    let setting = Setting::new(&[]);
    let file = setting.write_package(RELEASE);
    let run = setting.xtask("upload").arg(&file).run().expect_status(3);
    assert!(run.stderr.contains("there is no token"), "{}", run.stderr);
    setting.server.with(|state| state.no_release = true);
    let message = text(setting.upload(false));
    assert!(message.contains("check --repo and --tag"), "{message}");
    let client = setting.client(Some(TOKEN));
    for freshness in [Freshness::Checked, Freshness::Usual] {
        let error = client.listing(freshness).unwrap_err();
        assert!(is_missing(&error), "{error:#}");
        assert!(format!("{error:#}").ends_with(')'), "{error:#}");
    }
    setting.server.with(|state| state.no_release = false);
    setting.upload(false).unwrap();
}

#[test]
fn what_github_would_not_take_is_not_sent() {
    let setting = Setting::new(&[]);
    let path = setting.work.path().join(file_name(RELEASE));
    File::create(&path).unwrap().set_len(2 << 30).unwrap();
    let run = setting
        .xtask("upload")
        .arg(&path)
        .env("GH_TOKEN", TOKEN)
        .run();
    assert!(run.expect_status(2).stderr.contains("2 GiB or more"));
    let renamed = setting.work.path().join(file_name("6.1.9+"));
    fs::write(&renamed, package(RELEASE)).unwrap();
    let run = setting
        .xtask("upload")
        .arg(&renamed)
        .env("GH_TOKEN", TOKEN)
        .run();
    assert!(run.expect_status(2).stderr.contains("GitHub would rename"));
    fs::write(&path, package("6.1.8-vmtest1.1default")).unwrap();
    let run = setting
        .xtask("upload")
        .arg(&path)
        .env("GH_TOKEN", TOKEN)
        .run();
    assert!(
        run.expect_status(2)
            .stderr
            .contains("holds the kernel 6.1.8-")
    );
    assert_eq!(setting.server.lines(), [""; 0]);
}

#[test]
fn a_thousand_assets_are_all_seen_and_are_the_most() {
    let setting = Setting::new(&[]);
    for number in 0..999 {
        setting
            .server
            .add(&file_name(&format!("5.4.{number}-vmtest1.1default")), b"x");
    }
    setting
        .server
        .add(&file_name("6.1.8-vmtest1.1default"), b"x");
    let listing = setting.client(None).listing(Freshness::Usual).unwrap();
    assert_eq!(listing.assets.len(), 1000);
    assert_eq!(count(&setting.server.lines(), "per_page=100"), 10);
    let message = text(setting.upload(false));
    assert!(message.contains("1000 files"), "{message}");
    assert_eq!(count(&setting.server.lines(), "POST "), 0);
}

#[test]
fn nonsense_is_not_kept() {
    for body in ["{", "[]", "<html>sign in</html>", r#"{"id": "17"}"#] {
        let setting = Setting::new(&[RELEASE]);
        let nonsense = Fault::Status(200, vec![("etag", "\"x\"".into())], body.to_owned());
        setting.server.fault(BY_TAG, nonsense.clone());
        let message = text(setting.download());
        assert!(message.contains("is not that of GitHub's API"), "{message}");
        setting.download().unwrap();
        // What is known is not forgotten for it.
        setting.server.fault(BY_TAG, nonsense);
        let listing = setting.client(None).listing(Freshness::Usual).unwrap();
        assert!(listing.outdated && listing.assets.len() == 1);
    }
}

#[test]
fn a_missing_release_is_named_with_a_remedy() {
    let setting = Setting::new(&[]);
    let run = setting
        .xtask("list --remote --tag other")
        .run()
        .expect_status(3);
    assert!(
        run.stderr.contains("osandov/drgn (other)"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("check --repo and --tag"),
        "{}",
        run.stderr
    );
    let file = setting.work.path().join("config.toml");
    fs::write(&file, "[release]\nrepo = \"a/b\"\n").unwrap();
    let run = setting.xtask("list --remote").run().expect_status(3);
    assert!(run.stderr.contains("a/b (vmtest-assets)"), "{}", run.stderr);
    fs::write(&file, "[release]\nrepro = \"a/b\"\n").unwrap();
    let run = setting.xtask("list --remote").run().expect_status(2);
    assert!(
        run.stderr
            .contains("unknown field `repro`, expected one of `repo`"),
        "{}",
        run.stderr
    );
}

/// Where a request would be served from.
fn chosen(setting: &Setting, request: &str, from: &str) -> anyhow::Result<String> {
    let sources = Sources {
        own: Vec::new(),
        from: from.split(',').map(str::parse).collect::<Result<_, _>>()?,
        client: setting.client(None),
        debuginfo: false,
    };
    let request = match request {
        "" => None,
        text => Some(text.parse()?),
    };
    let offer = choose(&setting.env(), request.as_ref(), &sources)?;
    Ok(match offer.how {
        How::Here(kernel) => format!("local {}", kernel.release),
        How::Download(package) => format!("release {}", package.name.release),
        How::Build(wanted, _) => format!("build {}", wanted.version),
        How::Unpack(path, _) => format!("file {}", path.display()),
        How::Debian(kernel) => format!("debian {}", kernel.release),
    })
}

#[test]
fn requests_see_this_machine_and_the_release_as_one_list() {
    let setting = Setting::new(&[
        "6.1.9-vmtest1.1default",
        "6.1.9-vmtest1.0tiny",
        "5.10.7-vmtest1.1default",
        "6.12.1-vmtest1.1default",
    ]);
    for release in ["6.1.8-vmtest1.1default", "5.10.7-vmtest1.0tiny"] {
        fake_kernel::write(&setting.path(release), release, "00ff00ff", 0);
    }
    let usual = "local,release";
    for (request, from, expected) in [
        ("6.1", usual, "release 6.1.9-vmtest1.1default"),
        ("6.1", "local", "local 6.1.8-vmtest1.1default"),
        ("6.1.*tiny", usual, "release 6.1.9-vmtest1.0tiny"),
        ("5.10", usual, "local 5.10.7-vmtest1.0tiny"),
        ("5.10", "release", "release 5.10.7-vmtest1.1default"),
        ("", usual, "local 6.1.8-vmtest1.1default"),
        ("", "release", "release 6.12.1-vmtest1.1default"),
        ("6.9", "local,release,build", "build 6.9"),
    ] {
        assert_eq!(
            chosen(&setting, request, from).unwrap(),
            expected,
            "{request}"
        );
    }
    setting.server.requests();
    let exact = "6.1.8-vmtest1.1default";
    assert_eq!(
        chosen(&setting, exact, usual).unwrap(),
        format!("local {exact}")
    );
    assert_eq!(setting.server.lines(), [""; 0]);

    let message = text(chosen(&setting, "6.1.99", usual));
    assert!(
        message.starts_with("no kernel on this machine or in osandov/drgn (vmtest-assets) matches 6.1.99 (nearest: 6.1.9-"),
        "{message}"
    );
}

#[test]
fn without_the_network_what_is_here_is_used() {
    let setting = Setting::new(&[]);
    fake_kernel::write(&setting.path(RELEASE), RELEASE, "00ff00ff", 0);
    setting.server.always(BY_TAG, Fault::status(404));
    let usual = "local,release";
    assert_eq!(
        chosen(&setting, "6.1", usual).unwrap(),
        format!("local {RELEASE}")
    );
    let message = text(chosen(&setting, "6.2", usual));
    assert!(
        message.contains("nearest: 6.1.9-vmtest1.1default"),
        "{message}"
    );
    assert!(message.contains("HTTP status 404"), "{message}");
    let message = text(chosen(&setting, "6.1", "release"));
    assert!(message.contains("HTTP status 404"), "{message}");
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn a_host_that_could_not_be_reached_is_not_asked_again_in_this_run() {
    let setting = Setting::new(&[]);
    fake_kernel::write(&setting.path(RELEASE), RELEASE, "00ff00ff", 0);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let settings = Settings {
        api_url: Some(format!("http://{address}")),
        ..Settings::default()
    };
    let location = Location::choose(&[&settings], None).unwrap();
    let sources = Sources {
        own: Vec::new(),
        from: vec![KernelPlace::Local, KernelPlace::Release],
        client: client(&setting.env(), location, None),
        debuginfo: false,
    };
    let request = "6.1".parse().unwrap();
    let is_local = || {
        let offer = choose(&setting.env(), Some(&request), &sources).unwrap();
        matches!(offer.how, How::Here(kernel) if kernel.release.to_string() == RELEASE)
    };
    assert!(is_local());
    // Now somebody listens, and nobody connects.
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert!(is_local());
    let error = listener.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn kernels_of_the_release_are_tested_in_turn_and_a_missing_one_is_a_row() {
    let releases = ["6.1.9", "6.2.1", "6.3.1"].map(|v| format!("{v}-vmtest1.1default"));
    let setting = Setting::new(&releases.each_ref().map(String::as_str));
    let missing = setting.server.with(|state| state.assets[1].id);
    for path in [
        format!("/download/{}", file_name(&releases[1])),
        format!("/repos/osandov/drgn/releases/assets/{missing}"),
    ] {
        setting.server.always(&path, Fault::status(404));
    }
    let project = setting.work.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("vmtest.toml"), "name = \"example\"\n").unwrap();
    fs::write(project.join("test_a.py"), "").unwrap();
    let path = fake_qemu::install(setting.work.path(), "good");
    let test = |more: &str| {
        let run = setting.xtask("test --accel tcg -k 6.1,6.2,6.3").args(more);
        let run = run.env("PATH", &path).current_dir(&project);
        // Its tests end without a word, which is the first of what went wrong.
        let run = run.run().expect_status(1);
        let rows = run.stdout.lines().filter(|line| line.starts_with("6."));
        let rows = rows.map(|line| line.split("  ").take(2).collect::<Vec<_>>().join(":"));
        rows.collect::<Vec<_>>()
    };
    for prefetch in ["--prefetch 0", "--prefetch 1", "--prefetch 5"] {
        // A byte is too much: each is deleted when it has been tested.
        let rows = test(&format!("{prefetch} --disk-budget 1"));
        let rows = rows.join("\n");
        for (release, outcome) in [
            (releases[0].as_str(), "runner died"),
            (releases[1].as_str(), "fetch failed"),
            (releases[2].as_str(), "runner died"),
        ] {
            let row = rows.lines().find(|row| row.starts_with(release));
            assert!(row.is_some_and(|row| row.contains(outcome)), "{rows}");
        }
        setting.assert_only(&[]);
    }
    test("");
    setting.assert_only(&[&releases[0], &releases[2]]);
}

#[test]
fn a_host_that_is_not_there_is_one_sentence_and_its_cause_is_said_once() {
    let work = tempfile::tempdir().unwrap();
    let path = fake_qemu::install(work.path(), "good");
    fs::write(work.path().join("vmtest.toml"), "name = \"example\"\n").unwrap();
    fs::write(work.path().join("test_a.py"), "").unwrap();
    let run = |arguments: &str| {
        // Nothing listens on the discard port.
        let run = xtask(work.path()).env("PATH", &path).args(arguments).run();
        run.expect_status(3)
    };
    let away = "127.0.0.1 cannot be reached: ";
    for (command, before) in [
        (
            "list --remote",
            "cannot list what osandov/drgn (vmtest-assets) has: ",
        ),
        (
            "vm -k 6.1 -- true",
            "no kernel on this machine matches 6.1, and ",
        ),
        ("vm -- true", "there is no kernel on this machine, and "),
        (
            "vm --from release -k 6.1 -- true",
            "no kernel to be had matches 6.1, and ",
        ),
    ] {
        let run = run(command);
        let line = format!("xtask: error: {before}{away}Connection refused (os error 111)");
        assert!(run.stderr.starts_with(&line), "{command}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
    let run = run("test --accel tcg -C . -k 5.4,6.1,6.12");
    let all = run.stdout + &run.stderr;
    let kernels = all.lines().filter(|line| line.contains(away));
    assert!(kernels.clone().count() >= 1, "{all}");
    for line in kernels {
        assert!(line.contains("5.4"), "{line}");
        assert_eq!(line.matches("127.0.0.1").count(), 1, "{line}");
    }
    assert!(
        all.contains("matches 6.12, and 127.0.0.1 cannot be reached ("),
        "{all}"
    );
    assert!(!all.contains("http://"), "{all}");
}

#[test]
fn nobody_is_asked_again_and_again() {
    let setting = Setting::new(&[]);
    setting.server.always(BY_TAG, Fault::status(404));
    let client = setting.client(None);
    for _ in 0..3 {
        client.listing(Freshness::Usual).unwrap_err();
    }
    assert_eq!(setting.server.lines(), [format!("GET {BY_TAG} 404")]);
}

#[test]
fn programs_that_are_started_do_not_get_the_token() {
    let project = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(project.path().join(name), text).unwrap();
    write(
        "vmtest.toml",
        "name = \"x\"\nprepare = [\"env > prepared\"]\n[local]\n",
    );
    write(
        "test_it.py",
        "import os, unittest\nclass A(unittest.TestCase):\n    def test_a(self):\n        \
         open('tested', 'w').write(repr(dict(os.environ)))\n",
    );
    let work = tempfile::tempdir().unwrap();
    let run = xtask(work.path())
        .args("test -l")
        .current_dir(project.path())
        .env("GITHUB_TOKEN", TOKEN)
        .env("GH_TOKEN", TOKEN)
        .run();
    run.expect_status(0);
    for name in ["prepared", "tested"] {
        let text = fs::read_to_string(project.path().join(name)).unwrap();
        assert!(text.contains("PATH") && !text.contains(TOKEN), "{text}");
    }
}

#[test]
fn two_runs_at_once_fetch_once() {
    let setting = Setting::new(&[RELEASE]);
    let size = package(RELEASE).len() / 20;
    let slow = Fault::Slow(size, Duration::from_millis(100));
    setting.server.always("/blob/1", slow);
    let runs = std::thread::scope(|scope| {
        let run = || scope.spawn(|| setting.xtask("download 6.1").run());
        [run(), run()].map(|thread| thread.join().unwrap())
    });
    let stderr = runs.map(|run| run.expect_status(0).stderr).concat();
    assert!(stderr.contains("waiting for another run"), "{stderr}");
    assert!(stderr.contains("was fetched by another run"), "{stderr}");
    assert_eq!(count(&setting.server.lines(), "GET /blob/1"), 1);
    setting.assert_only(&[RELEASE]);
}

#[test]
fn a_run_that_was_killed_leaves_nothing_in_the_way() {
    let setting = Setting::new(&[RELEASE]);
    let size = package(RELEASE).len() / 50;
    setting
        .server
        .fault("/blob/1", Fault::Slow(size, Duration::from_millis(100)));
    let mut child = setting.xtask("download 6.1").start();
    let unfinished = || {
        let names = fs::read_dir(setting.work.path().join("x86_64")).ok()?;
        names.map(|entry| entry.unwrap().file_name()).next()
    };
    while unfinished().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(unfinished().is_some());
    setting.xtask("download 6.1").run().expect_status(0);
    setting.assert_only(&[RELEASE]);
}

/// Wherever a run is killed, what is in place is whole, and is not fetched again.
#[test]
fn twenty_kills_break_nothing_and_cost_nothing_that_was_whole() {
    let releases = ["6.1.9", "6.2.1", "6.3.1"].map(|v| format!("{v}-vmtest1.1default"));
    let releases = releases.each_ref().map(String::as_str);
    let setting = Setting::new(&releases);
    for (id, release) in (1..).zip(releases) {
        let slow = Fault::Slow(package(release).len() / 10, Duration::from_millis(15));
        setting.server.always(&format!("/blob/{id}"), slow);
    }
    let here = || {
        let here = releases.iter().zip(1..);
        here.filter(|(release, _)| setting.path(release).exists())
            .map(|(release, id)| (*release, id))
            .collect::<Vec<(&str, u32)>>()
    };
    let mut random = 12_345u64;
    for _ in 0..20 {
        if here().len() == releases.len() {
            fs::remove_dir_all(setting.work.path().join("x86_64")).unwrap();
        }
        let before = here();
        setting.server.requests();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mut child = setting.xtask("download -j 2 6.1,6.2,6.3").start();
        std::thread::sleep(Duration::from_millis(random >> 33 & 511));
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = setting.server.lines();
        for (release, id) in before {
            let again = count(&lines, &format!("GET /blob/{id}"));
            assert_eq!(again, 0, "{release} was whole: {lines:?}");
        }
        for (release, _) in here() {
            setting.assert_whole(release);
        }
    }
    setting.xtask("download 6.1,6.2,6.3").run().expect_status(0);
    setting.assert_only(&releases);
}
