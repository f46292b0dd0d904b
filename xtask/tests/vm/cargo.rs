//! `vm` in front of other people's programs: as cargo's runner, and as an interpreter.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Call, kernel};

const MANIFEST: &str = "\
[package]
name = \"sample\"
version = \"1.2.3\"
edition = \"2021\"

[workspace]
";

const TESTS: &str = include_str!("files/cargo_guest.rs");

/// A small package without dependencies; its target directory is inside.
fn package() -> tempfile::TempDir {
    let package = tempfile::Builder::new()
        .prefix("vmtest-package-")
        .tempdir_in("/tmp")
        .unwrap();
    let write = |name: &str, text: &str| fs::write(package.path().join(name), text).unwrap();
    for folder in ["src", "tests"] {
        fs::create_dir(package.path().join(folder)).unwrap();
    }
    write("Cargo.toml", MANIFEST);
    write("fixture", "from the host");
    write(
        "src/main.rs",
        "fn main() { println!(\"a program of the package\"); }\n",
    );
    write("tests/guest.rs", TESTS);
    package
}

/// `cargo test` in the package, with the runner that xtask/docs/vm.md names.
#[allow(
    clippy::disallowed_methods,
    reason = "the tests look at the binary from outside"
)]
fn cargo_test(package: &Path, change: impl FnOnce(&mut Command)) -> (i32, String, String) {
    let runner = format!(
        "{} -q vm --from local --env GIVEN -k {} --",
        env!("CARGO_BIN_EXE_xtask"),
        kernel()
    );
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["test", "--offline", "--test", "guest", "--", "--nocapture"])
        .current_dir(package)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner)
        .env("CARGO_REGISTRY_TOKEN", "secret")
        .env("RUST_LOG", "sample=debug")
        .env("GIVEN", "by name")
        // Of the cargo that runs this test, and of this package.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_MANIFEST_DIR")
        .stdin(std::process::Stdio::null());
    change(&mut cargo);
    let output = cargo.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let status = output.status.code().unwrap();
    (status, text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_packages_tests_run_in_a_guest() {
    let package = package();
    let (status, stdout, stderr) = cargo_test(package.path(), |_| {});
    assert_eq!(status, 0, "{stdout}\n{stderr}");
    assert!(stdout.contains("test result: ok. 5 passed"), "{stdout}");
    assert!(stdout.contains("to standard output\n"), "{stdout}");
    assert!(stderr.contains("to standard error\n"), "{stderr}");

    let (status, stdout, stderr) = cargo_test(package.path(), |cargo| {
        cargo.env("RUST_TEST_FAILS", "1");
    });
    // What a test program ends with, and cargo after it.
    assert_eq!(status, 101, "{stdout}\n{stderr}");
    assert!(stdout.contains("4 passed; 1 failed"), "{stdout}");
    assert!(stderr.contains("as it was told to"), "{stderr}");
}

const SCRIPT: &str = include_str!("files/python-variable.sh");

#[test]
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
fn an_interpreter_may_be_in_a_guest() {
    let directory = tempfile::Builder::new()
        .prefix("vmtest-python-")
        .tempdir_in("/tmp")
        .unwrap();
    let path = directory.path().to_str().unwrap();
    fs::create_dir(directory.path().join("library")).unwrap();
    fs::write(
        directory.path().join("library/beside.py"),
        "print('imported')\n",
    )
    .unwrap();
    let xtask = env!("CARGO_BIN_EXE_xtask");
    let python = format!(
        "{xtask} -q vm --from local --env PYTHONPATH -k {} -- python3",
        kernel()
    );
    let output = Command::new("sh")
        .args(["-c", SCRIPT, "sh", path])
        .env("PYTHON", python)
        .env("PYTHONPATH", "library")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let release = Call::vm("-q")
        .run_in_guest(&["uname", "-r"])
        .output()
        .expect(0)
        .stdout();
    assert_eq!(
        stdout,
        format!("['{path}', 'two words', ''] True {release}imported\ninput\nstatus 3\n"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error\n");
}
