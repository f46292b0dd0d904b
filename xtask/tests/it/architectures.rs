//! Kernels of two architectures and of one name. QEMU is played by a program that runs the
//! guest's command on this host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use xtask::internals::{Results, html, junit};

use crate::xtask;
use support::binary::Run;
use support::{fake_kernel, fake_qemu};

const RELEASE: &str = "6.1.1-vmtest1.1default";

/// A work directory with both kernels, and a project.
struct Setting {
    work: tempfile::TempDir,
    path: String,
}

impl Setting {
    fn new() -> Self {
        let work = tempfile::tempdir().unwrap();
        let home = work.path();
        let kernel = |arch: &str| home.join(format!("{arch}/kernel-{RELEASE}"));
        fake_kernel::write(&kernel("x86_64"), RELEASE, "00ff00ff", 0);
        fake_kernel::write_s390x(&kernel("s390x"), RELEASE);
        let project = home.join("project");
        fs::create_dir(&project).unwrap();
        fs::write(project.join("vmtest.toml"), "name = \"example\"\n").unwrap();
        let text = include_str!("files/session/passes.py");
        fs::write(project.join("test_it.py"), text).unwrap();
        let path = fake_qemu::install(home, "run");
        Self { work, path }
    }

    fn run(&self, arguments: &str) -> Run {
        xtask(self.work.path())
            .args(arguments)
            .env("PATH", &self.path)
            .env("TMPDIR", self.work.path())
            .current_dir(self.work.path().join("project"))
            .run()
    }
}

fn read(folder: &Path) -> Results {
    Results::parse(&fs::read_to_string(folder.join("results.jsonl")).unwrap()).unwrap()
}

/// What stands between two texts, each time.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    let parts = text.split(start).skip(1);
    parts.map(|part| part.split(end).next().unwrap()).collect()
}

/// The part of the other architecture is made from the first one's, so that no foreign userspace
/// is needed.
#[test]
fn two_kernels_of_one_release_share_nothing_in_a_session() {
    let setting = Setting::new();
    let test = "test --accel tcg --from local -k x86_64:6.1,s390x:6.1 --partition 1/2";
    let run = setting.run(&format!("{test} --report-dir one"));
    run.expect_status(0);
    let project = setting.work.path().join("project");
    let [one, two] = ["one", "two"].map(|name| project.join(name));
    fs::create_dir(&two).unwrap();
    let text = fs::read_to_string(one.join("results.jsonl")).unwrap();
    let (session, rest) = text.split_once('\n').unwrap();
    assert!(session.contains("[1,2]"), "{session}");
    let session = session.replace("[1,2]", "[2,2]");
    let rest = rest.replace("x86_64", "s390x");
    fs::write(two.join("results.jsonl"), format!("{session}\n{rest}")).unwrap();
    let merge = setting.run("report merge one two -o merged");
    let merge = merge.expect_status(0);
    for arch in ["x86_64", "s390x"] {
        let name = format!("{RELEASE} ({arch})");
        assert!(merge.stdout.contains(&name), "{}", merge.stdout);
    }
    let results = read(&project.join("merged"));
    let names = results.runs.iter().map(|run| run.name.clone());
    assert_eq!(names.collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(results.findings, [""; 0]);
    let page = html::render(&results);
    let ids = between(&page, " id=", ">");
    let ids = ids.iter().map(|id| id.split(' ').next().unwrap());
    let ids = ids.collect::<Vec<_>>();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let xml = junit::render(&results);
    let suites = between(&xml, "<testsuite name=\"", "\"");
    assert_eq!(suites.iter().collect::<BTreeSet<_>>().len(), 2, "{xml}");
    let diff = setting.run("report diff merged two").expect_status(0);
    let gone = format!("{RELEASE} (x86_64): no longer run");
    assert!(diff.stdout.contains(&gone), "{}", diff.stdout);
    assert!(!diff.stdout.contains("s390x"), "{}", diff.stdout);
}

#[test]
fn lists_and_pruning_take_architectures() {
    let setting = Setting::new();
    let arches = |arguments: &str| {
        let run = setting.run(&format!("list --format json {arguments}"));
        let rows = serde_json::from_str::<serde_json::Value>(&run.expect_status(0).stdout).unwrap();
        let rows = rows.as_array().unwrap().iter();
        let arches = rows.map(|row| row["arch"].as_str().unwrap().to_owned());
        arches.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(arches(""), "s390x x86_64");
    assert_eq!(arches("-a all 6.1"), "s390x x86_64");
    assert_eq!(arches("-a s390x"), "s390x");
    assert_eq!(arches("s390x:6.1"), "s390x");
    assert_eq!(arches("-a arm,aarch64"), "");
    let older = setting
        .work
        .path()
        .join("s390x/kernel-6.1.0-vmtest1.1default");
    fake_kernel::write_s390x(&older, "6.1.0-vmtest1.1default");
    let pruned = setting
        .run("prune --keep 1 --yes -a x86_64")
        .expect_status(0);
    assert!(
        pruned.stderr.contains("nothing to delete"),
        "{}",
        pruned.stderr
    );
    setting
        .run("prune --keep 1 --yes -a s390x")
        .expect_status(0);
    assert!(!older.exists());
    assert_eq!(arches(""), "s390x x86_64");
}

#[test]
fn requests_for_an_architecture_are_met_by_no_other() {
    let setting = Setting::new();
    let path = setting
        .work
        .path()
        .join("s390x")
        .join(format!("kernel-{RELEASE}"));
    let path = path.display();
    for (arguments, status, says) in [
        (
            format!("vm -k x86_64:{path} -- true"),
            2,
            format!("{path} is for s390x, not for x86_64 (a path needs no architecture)"),
        ),
        (
            "vm --from local -k s390x:5.* -- true".to_owned(),
            3,
            "no kernel on this machine matches s390x:5.* (".to_owned(),
        ),
        (
            "vm -K -a s390 -- true".to_owned(),
            2,
            "unknown architecture \"s390\" (did you mean s390x? there is ".to_owned(),
        ),
        (
            "vm -k s390:6.1 -- true".to_owned(),
            2,
            "did you mean s390x? architectures: ".to_owned(),
        ),
        (
            "bisect test_it.A.test_a -k 6.1,6.6 -a s390x,x86_64".to_owned(),
            2,
            "a search is along one architecture, not s390x, x86_64".to_owned(),
        ),
        ("vm -a s390x -- true".to_owned(), 2, "--kernel".to_owned()),
    ] {
        let run = setting.run(&arguments).expect_status(status);
        assert!(run.stderr.contains(&says), "{arguments}: {}", run.stderr);
    }
}

#[test]
fn what_cannot_run_a_foreign_guest_is_refused_before_a_userspace_is_made() {
    let setting = Setting::new();
    for (flag, expected) in [
        (
            "--root /",
            "programs of this computer do not run on s390x (--root debian)",
        ),
        (
            "--root host",
            "programs of this computer do not run on s390x (--root debian)",
        ),
        (
            "--accel kvm",
            "KVM on this x86_64 host cannot run a guest for s390x (without --accel kvm it is emulated)",
        ),
    ] {
        for command in [
            format!("vm {flag} -k s390x:6.1 --from local -- true"),
            format!("test {flag} -k s390x:6.1 --from local"),
        ] {
            let run = setting.run(&command);
            let expected = (2, format!("xtask: error: {expected}\n"));
            assert_eq!((run.status, run.stderr), expected, "{command}");
        }
    }
}
