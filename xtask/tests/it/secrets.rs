//! Variables with secrets: who has them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::xtask;
use support::binary::Xtask;
use support::fake_kernel;
use support::fake_qemu;
use support::host::{processes_in, wait_for};

const SECRETS: [(&str, &str); 4] = [
    ("GITHUB_TOKEN", "hidden-1"),
    ("GH_TOKEN", "hidden-2"),
    ("AWS_SECRET_ACCESS_KEY", "hidden-3"),
    ("my_password", "hidden-4"),
];

fn with_secrets(mut xtask: Xtask) -> Xtask {
    for (name, value) in SECRETS {
        xtask = xtask.env(name, value);
    }
    xtask
}

/// The environment that a process was started with.
fn environment(process: &Path) -> String {
    let bytes = fs::read(process.join("environ")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_process_of_a_vm_can_be_asked_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let command = fake_qemu::vm(xtask(home), home, "hang", "").args("-- true");
    let mut child = with_secrets(command).env("HARMLESS", "shown").start();
    // What plays QEMU.
    let runs = |(id, line): &(u32, String)| {
        let exe = fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default();
        exe.to_string_lossy().contains("python") && line.contains("-append")
    };
    let processes = wait_for("QEMU runs", || {
        let processes = processes_in(home);
        processes.iter().any(runs).then_some(processes)
    });
    assert!(processes.iter().any(|(id, _)| *id == child.id()));
    // Us, the supervisor, QEMU.
    assert!(processes.len() >= 3, "{processes:?}");
    for (id, _) in &processes {
        let process = PathBuf::from(format!("/proc/{id}"));
        let environment = environment(&process);
        assert!(environment.contains("HARMLESS=shown"), "{environment}");
        assert!(!environment.contains("hidden"), "{environment}");
        for entry in fs::read_dir(process.join("fd")).unwrap().flatten() {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            if link.to_string_lossy().contains("memfd") {
                assert_eq!(*id, child.id());
                assert_eq!(fs::read(entry.path()).unwrap(), b"");
            }
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_guest_gets_those_that_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let command = fake_qemu::vm(xtask(directory.path()), directory.path(), "run", "")
        .args("--env my_password --env GITHUB_TOKEN -- /usr/bin/env");
    let run = with_secrets(command).run().expect_status(0);
    for line in ["my_password=hidden-4\n", "GITHUB_TOKEN=hidden-1\n"] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
    assert!(!run.stdout.contains("hidden-2"), "{}", run.stdout);
    assert!(!run.stdout.contains("hidden-3"), "{}", run.stdout);
}

#[test]
fn a_projects_own_steps_get_all_but_the_tokens_for_github() {
    let work = tempfile::tempdir().unwrap();
    let release = "6.1.1-vmtest1.1default";
    let kernel = work.path().join(format!("x86_64/kernel-{release}"));
    fs::create_dir_all(&kernel).unwrap();
    fake_kernel::write(&kernel, release, "00ff00ff", 0);
    let project = work.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(
        project.join("vmtest.toml"),
        "name = \"example\"\nprepare = [\"env > prepared\"]\n",
    )
    .unwrap();
    let test = include_str!("files/hides.py");
    fs::write(project.join("test_it.py"), test).unwrap();
    let command = xtask(work.path())
        .args("test --accel tcg --from local -k 6.1")
        .env("PATH", fake_qemu::install(work.path(), "run"))
        .env("TMPDIR", work.path())
        .current_dir(&project);
    with_secrets(command).run().expect_status(0);
    let prepared = fs::read_to_string(project.join("prepared")).unwrap();
    for (name, value) in SECRETS {
        let expected = !name.ends_with("_TOKEN");
        assert_eq!(prepared.contains(value), expected, "{name}");
    }
}

#[test]
fn what_is_executed_again_is_the_same() {
    let work = tempfile::tempdir().unwrap();
    let run = |xtask: Xtask| xtask.args("--directory none list --local").run();
    let plain = run(xtask(work.path())).expect_status(0);
    let again = run(with_secrets(xtask(work.path()))).expect_status(0);
    assert_eq!((plain.stdout, plain.stderr), (again.stdout, again.stderr));
    // More than a pipe holds.
    let long = "x".repeat(100_000);
    run(xtask(work.path())
        .env("A_TOKEN", &long)
        .env("B_TOKEN", long))
    .expect_status(0);
}
