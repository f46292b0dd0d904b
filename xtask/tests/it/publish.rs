//! A release planned, applied and pruned, with GitHub and kernel.org on loopback
//! and kernels of a few bytes that are built already.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::source::{Server, list};
use crate::{catalog, xtask};
use support::binary::{Run, Xtask};
use support::fake_kernel::{self, pack};
use support::github_server::{Fault, GitHub, UPLOAD};
use support::host::write;

const TOKEN: &str = "ghp_0123456789abcdef";

/// A point release that kernel.org has of each of these series.
const NEWEST: [&str; 4] = ["6.1.10", "6.2.16", "6.3.13", "6.4.16"];

/// What we would call the default flavor of a version now.
fn release_of(version: &str) -> String {
    format!("{version}-vmtest{}.1default", catalog::revision())
}

fn file_name(version: &str) -> String {
    fake_kernel::file_name(&release_of(version))
}

struct Setting {
    github: GitHub,
    kernel_org: Server,
    work: TempDir,
}

impl Setting {
    /// A release that has these versions, and a kernel.org.
    fn new(published: &[&str]) -> Self {
        let names = NEWEST.map(|version| format!("linux-{version}.tar.xz"));
        let archives = names
            .iter()
            .map(|name| (name.as_str(), name.as_bytes()))
            .collect::<Vec<_>>();
        let kernel_org = Server::start([("/v6.x/sha256sums.asc", vec![list(&archives)])]);
        let github = GitHub::start();
        for version in published {
            github.add(&file_name(version), b"whatever");
        }
        Self {
            github,
            kernel_org,
            work: tempfile::tempdir().unwrap(),
        }
    }

    /// Puts packages of the newest kernels of these series into the work directory,
    /// as if they had been built.
    fn build(&self, series: &[&str]) {
        let plan = self.plan(&series.join(" "));
        for item in plan["items"].as_array().unwrap() {
            let name = item["package"].as_str().unwrap();
            let release = name.strip_prefix("kernel-").unwrap();
            let release = release.strip_suffix(".x86_64.tar.zst").unwrap();
            let key = item["input_key"].as_str().unwrap();
            write(self.packages().join(name), pack(release, key, 0));
        }
        self.github.requests();
    }

    fn packages(&self) -> PathBuf {
        self.work.path().join("packages")
    }

    fn package(&self, version: &str) -> PathBuf {
        self.packages().join(file_name(version))
    }

    fn command(&self, arguments: &str) -> Xtask {
        xtask(self.work.path())
            .env("GITHUB_TOKEN", TOKEN)
            .args(arguments)
            .args(&format!("--api-url {}", self.github.api))
    }

    /// `release` with a series and the sources of these tests.
    fn release(&self, arguments: &str) -> Xtask {
        self.command(&format!("release {arguments}")).args(&format!(
            "--source kernel.org --kernel-org-url {}",
            self.kernel_org.url
        ))
    }

    fn plan(&self, arguments: &str) -> serde_json::Value {
        let run = self
            .release(&format!("plan {arguments} --format json"))
            .run();
        serde_json::from_str(&run.expect_status(0).stdout).unwrap()
    }

    /// Names and states of what is published, sorted.
    fn published(&self) -> Vec<String> {
        let mut assets = self.github.with(|state| {
            let line = |asset: &support::github_server::FakeAsset| {
                format!("{} {}", short(&asset.name), asset.state)
            };
            state.assets.iter().map(line).collect::<Vec<_>>()
        });
        assets.sort();
        assets
    }

    /// What was changed since this was last asked.
    fn changes(&self) -> Vec<String> {
        let requests = self.github.requests();
        let changes = requests.iter().filter(|r| !r.line.starts_with("GET "));
        changes
            .map(|request| format!("{} {}", short(&request.line), request.status))
            .collect()
    }
}

/// A name without what is the same in all of them.
fn short(name: &str) -> String {
    let line = name.replace(&format!("{}.x86_64.tar.zst", release_of("")), "");
    let line = line.replace("/repos/osandov/drgn/releases", "");
    line.split("&label=").next().unwrap_or_default().to_owned()
}

fn without_token(run: Run) -> Run {
    assert!(!run.stdout.contains(TOKEN) && !run.stderr.contains(TOKEN));
    run
}

#[test]
fn what_is_planned_is_done_and_then_there_is_nothing_to_do() {
    let setting = Setting::new(&["6.1.9", "6.1.8", "5.10.1", "5.10.0"]);
    setting.github.add("gcc.tar.xz", b"another file");
    setting.build(&["6.1", "6.2"]);
    let plan = setting.plan("6.1 6.2 --keep 1");
    let actions = |plan: &serde_json::Value| {
        let items = plan["items"].as_array().unwrap().iter();
        items
            .map(|item| item["action"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(actions(&plan), ["upload", "upload"]);
    assert_eq!(plan["totals"]["deletions"], 2);
    assert_eq!(setting.changes(), [""; 0]);

    let run = setting.release("apply 6.1 6.2 --keep 1 --yes").run();
    let run = without_token(run.expect_status(0));
    assert!(
        run.stdout
            .contains(&format!("upload  {}", release_of("6.1.10"))),
        "{}",
        run.stdout
    );
    let requests = setting.github.requests();
    // The plan knows what it costs.
    assert_eq!(plan["totals"]["api_calls"], requests.len());
    let changes = requests.iter().filter(|r| !r.line.starts_with("GET "));
    assert_eq!(
        changes
            .map(|request| short(&request.line))
            .collect::<Vec<_>>(),
        [
            "POST /17/assets?name=kernel-6.1.10",
            "POST /17/assets?name=kernel-6.2.16",
            "DELETE /assets/1",
            "DELETE /assets/2",
        ]
    );
    let keys = setting.github.with(|state| {
        let uploaded = state.assets.iter().filter(|asset| asset.label.is_some());
        uploaded
            .map(|asset| {
                let path = setting.packages().join(&asset.name);
                assert_eq!(*asset.bytes, fs::read(&path).unwrap());
                let items = plan["items"].as_array().unwrap();
                let item = items.iter().find(|item| item["package"] == *asset.name);
                let key = item.unwrap()["input_key"].as_str().unwrap();
                (asset.label.clone().unwrap(), key)
            })
            .collect::<Vec<_>>()
    });
    assert_eq!(keys.len(), 2);
    for (label, key) in keys {
        assert_eq!(label, format!("vmtest-input-key={key}"));
    }
    assert_eq!(
        setting.published(),
        [
            "gcc.tar.xz uploaded",
            "kernel-5.10.0 uploaded",
            "kernel-5.10.1 uploaded",
            "kernel-6.1.10 uploaded",
            "kernel-6.2.16 uploaded",
        ]
    );

    assert_eq!(
        actions(&setting.plan("6.1 6.2")),
        ["up-to-date", "up-to-date"]
    );
    let run = setting.release("apply 6.1 6.2 --keep 1 --yes").run();
    run.expect_status(0);
    assert_eq!(setting.changes(), [""; 0]);

    // From other options it would be another kernel of the same name.
    setting.github.with(|state| {
        for asset in &mut state.assets {
            asset.label = Some("vmtest-input-key=00ff".to_owned());
        }
    });
    let run = setting.release("plan 6.1").run().expect_status(0);
    assert!(run.stdout.contains("stale "), "{}", run.stdout);
    assert!(run.stdout.contains("raise revision"), "{}", run.stdout);
    setting.release("apply --yes 6.1").run().expect_status(0);
    assert_eq!(setting.changes(), [""; 0]);
}

#[test]
fn a_half_finished_upload_is_replaced() {
    let setting = Setting::new(&["6.1.10"]);
    setting
        .github
        .with(|state| state.assets[0].state = "starter");
    setting.build(&["6.1"]);
    let run = setting.release("plan 6.1").run().expect_status(0);
    assert!(run.stdout.contains("finish "), "{}", run.stdout);
    setting.release("apply --yes 6.1").run().expect_status(0);
    assert_eq!(
        setting.changes(),
        [
            "DELETE /assets/1 204",
            "POST /17/assets?name=kernel-6.1.10 201"
        ]
    );
    assert_eq!(setting.published(), ["kernel-6.1.10 uploaded"]);
}

#[test]
fn a_kernel_that_cannot_be_had_is_named_at_the_end_and_the_others_are_uploaded() {
    let setting = Setting::new(&[]);
    setting.build(&["6.2"]);
    let run = setting
        .release("apply --yes 6.2 6.5")
        .run()
        .expect_status(3);
    assert!(
        run.stderr.contains("1 of 2 kernels could not be had"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("no archive of Linux 6.5"),
        "{}",
        run.stderr
    );
    assert_eq!(setting.published(), ["kernel-6.2.16 uploaded"]);
}

#[test]
fn what_could_not_be_done_is_known_before_anything_is() {
    let setting = Setting::new(&["6.1.9", "6.1.8"]);
    setting.build(&["6.1"]);
    let fails = |run: Xtask, status: i32, text: &str| {
        let run = run.run().expect_status(status);
        assert!(run.stderr.contains(text), "{}", run.stderr);
        assert_eq!(setting.changes(), [""; 0]);
    };
    let no_token = setting.release("apply 6.1").env("GITHUB_TOKEN", "");
    fails(no_token, 3, "there is no token");
    for (command, question) in [
        (
            setting.release("apply 6.1 --keep 1"),
            "upload 1 and delete 2?",
        ),
        (setting.release("apply 6.1"), "upload 1 and delete 0?"),
        (setting.command("prune --remote --keep 1"), "delete 1 with "),
    ] {
        let run = command.run().expect_status(2);
        assert!(
            run.stdout.contains("kernel-6.1") || run.stdout.contains("ACTION"),
            "{run:?}"
        );
        assert!(run.stderr.contains(question), "{}", run.stderr);
        assert!(
            run.stderr.contains("no terminal to ask on (--yes"),
            "{}",
            run.stderr
        );
        assert_eq!(setting.changes(), [""; 0]);
    }
    let dry = setting.command("prune --remote --keep 1 --dry-run");
    let run = dry.env("GITHUB_TOKEN", "").run().expect_status(0);
    assert_eq!(run.stdout.matches("delete ").count(), 1, "{}", run.stdout);
    assert_eq!(setting.changes(), [""; 0]);
    fails(setting.release("plan 6.99"), 2, "did you mean");
    fails(setting.release("plan 6.1 -K"), 2, "cannot be used with");
    setting.github.with(|state| {
        while state.assets.len() < 1000 {
            let mut asset = state.assets[0].clone();
            asset.id = 1000 + state.assets.len() as u64;
            asset.name = format!("file-{}", asset.id);
            state.assets.push(asset);
        }
    });
    fails(setting.release("apply 6.1"), 3, "GitHub allows 1,000");
    setting.github.with(|state| state.no_release = true);
    fails(setting.release("plan 6.1"), 3, "there is no release");
}

#[test]
fn a_refused_upload_ends_the_run() {
    let setting = Setting::new(&[]);
    setting.build(&["6.1", "6.2"]);
    setting.github.fault(UPLOAD, Fault::status(403));
    let run = setting
        .release("apply --yes 6.1 6.2")
        .run()
        .expect_status(3);
    assert!(run.stderr.contains("Contents: write"), "{}", run.stderr);
    assert!(
        run.stderr
            .contains("was kept, the next run only uploads it"),
        "{}",
        run.stderr
    );
    without_token(run);
    assert_eq!(setting.published(), [""; 0]);
    setting
        .release("apply --yes 6.1 6.2")
        .run()
        .expect_status(0);
    assert_eq!(
        setting.published(),
        ["kernel-6.1.10 uploaded", "kernel-6.2.16 uploaded"]
    );
}

#[test]
fn a_run_that_is_killed_goes_on() {
    let series = ["6.1", "6.2", "6.3", "6.4"];
    let setting = Setting::new(&["6.1.9"]);
    setting.build(&series);
    let apply = || setting.release(&format!("apply {} --keep 1 --yes", series.join(" ")));
    for moment in (0..20).map(|n| 10 + n * n * 2) {
        let mut child = apply().start();
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    apply().run().expect_status(0);
    assert_eq!(
        setting.published(),
        NEWEST.map(|version| format!("kernel-{version} uploaded"))
    );
    let changes = setting.changes();
    for version in NEWEST {
        let done = format!("POST /17/assets?name=kernel-{version} 201");
        let times = changes.iter().filter(|line| **line == done).count();
        assert_eq!(times, 1, "{changes:?}");
        let sent = setting.github.with(|state| {
            let name = file_name(version);
            let asset = state.assets.iter().find(|asset| asset.name == name);
            asset.unwrap().bytes.clone()
        });
        assert_eq!(*sent, fs::read(setting.package(version)).unwrap());
    }
}

#[test]
fn old_kernels_of_a_release_are_pruned() {
    let setting = Setting::new(&["6.1.10", "6.1.9", "6.1.8", "5.10.1"]);
    setting.github.add("notes.txt", b"x");
    setting
        .github
        .add("kernel-6.1.0-10-amd64.x86_64.tar.zst", b"x");
    setting.github.add(&file_name("6.1.11"), b"");
    setting.github.with(|state| {
        let last = state.assets.last_mut().unwrap();
        // Long ago.
        last.state = "starter";
    });
    // Another run has just deleted it: that is no error.
    let path = "/repos/osandov/drgn/releases/assets/3";
    setting.github.fault(path, Fault::status(404));
    let run = setting.command("prune --remote --keep 2 --yes").run();
    without_token(run.expect_status(0));
    assert_eq!(
        setting.changes(),
        ["DELETE /assets/7 204", "DELETE /assets/3 404"]
    );
    let run = setting.command("prune --remote --keep 2 --yes").run();
    let run = without_token(run.expect_status(0));
    assert!(run.stdout.contains(&release_of("6.1.8")), "{}", run.stdout);
    assert_eq!(
        setting.published(),
        [
            "kernel-5.10.1 uploaded",
            "kernel-6.1.0-10-amd64.x86_64.tar.zst uploaded",
            "kernel-6.1.10 uploaded",
            "kernel-6.1.9 uploaded",
            "notes.txt uploaded",
        ]
    );
    setting.changes();
    let run = setting.command("prune --remote --keep 2 --yes").run();
    assert_eq!(run.expect_status(0).stdout, "");
    assert_eq!(setting.changes(), [""; 0]);
}

#[test]
fn old_kernels_of_this_machine_are_pruned() {
    let work = tempfile::tempdir().unwrap();
    let kernels = work.path().join("x86_64");
    for version in ["6.1.10", "6.1.9", "5.10.1"] {
        let release = release_of(version);
        fake_kernel::write(&kernels.join(format!("kernel-{release}")), &release, "k", 0);
    }
    fake_kernel::write(&kernels.join("kernel-6.1.0"), "6.1.0", "k", 0);
    let packages = work.path().join("packages");
    fs::create_dir(&packages).unwrap();
    for version in ["6.1.9", "6.1.8", "5.10.1"] {
        fs::write(packages.join(file_name(version)), "x").unwrap();
    }
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap();
        let mut names = entries
            .map(|entry| short(entry.unwrap().file_name().to_str().unwrap()))
            .collect::<Vec<_>>();
        names.sort();
        names
    };
    let all = (names(&kernels), names(&packages));
    for (flag, status) in [("", 2), ("--dry-run", 0)] {
        let run = xtask(work.path()).args("prune --keep 1").args(flag).run();
        let run = run.expect_status(status);
        assert_eq!(run.stdout.matches("delete ").count(), 3, "{}", run.stdout);
        assert_eq!((names(&kernels), names(&packages)), all);
    }
    let run = xtask(work.path()).args("prune --keep 1 --yes").run();
    let run = run.expect_status(0);
    assert_eq!(run.stdout.matches("delete ").count(), 3, "{}", run.stdout);
    assert_eq!(
        names(&kernels),
        [
            format!("kernel-{}", release_of("5.10.1")),
            "kernel-6.1.0".to_owned(),
            format!("kernel-{}", release_of("6.1.10")),
        ]
    );
    assert_eq!(names(&packages), ["kernel-5.10.1"]);
    let run = xtask(work.path()).args("prune --keep 1").run();
    let run = run.expect_status(0);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("nothing to delete"), "{}", run.stderr);
}
