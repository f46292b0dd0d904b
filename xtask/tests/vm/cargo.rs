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

/// What a crate's tests may rely on, each in a line of its own if it does not hold.
const TESTS: &str = r#"
use std::io::{Read, Write};

#[test]
fn it_runs_on_the_guests_kernel() {
    let version = std::fs::read_to_string("/proc/version").unwrap();
    let release = std::env::var("VMTEST_KERNEL").unwrap();
    assert!(version.starts_with(&format!("Linux version {release} ")), "{version}");
}

#[test]
fn it_is_where_cargo_says_with_what_cargo_says() {
    let here = std::env::current_dir().unwrap();
    assert_eq!(std::env::var_os("CARGO_MANIFEST_DIR").unwrap(), here);
    assert_eq!(std::env::var("CARGO_PKG_VERSION").unwrap(), "1.2.3");
    assert_eq!(std::env::var("RUST_LOG").unwrap(), "sample=debug");
    assert_eq!(std::env::var("GIVEN").unwrap(), "by name");
    assert!(std::env::var_os("LD_LIBRARY_PATH").is_some());
    assert_eq!(std::env::var_os("CARGO_REGISTRY_TOKEN"), None);
    assert_eq!(std::fs::read_to_string("fixture").unwrap(), "from the host");
}

#[test]
fn programs_of_the_package_are_there() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sample")).output().unwrap();
    assert_eq!(output.stdout, b"a program of the package\n");
}

#[test]
fn streams_are_its_own() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    assert_eq!(input, "");
    std::io::stdout().write_all(b"to standard output\n").unwrap();
    std::io::stderr().write_all(b"to standard error\n").unwrap();
}

#[test]
fn it_fails() {
    assert!(std::env::var_os("RUST_TEST_FAILS").is_none(), "as it was told to");
}
"#;

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

/// As makefiles use `$(PYTHON)` and scripts `$PYTHON`: words, not one program.
const SCRIPT: &str = r#"
cd "$1" || exit 9
echo input | $PYTHON -c '
import os, sys
print(sys.argv[1:], os.getcwd() == sys.argv[1], os.uname().release)
import beside
print(sys.stdin.read(), end="")
print("error", file=sys.stderr)
sys.exit(3)' "$1" "two words" ''
echo "status $?"
"#;

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
