//! The Python tests of the guest's runners, on this host.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::host::repository;

#[allow(
    clippy::disallowed_methods,
    reason = "a test program whose end is waited for"
)]
fn run(program: &Path, words: &[&str]) -> Output {
    Command::new(program)
        .args(words)
        .current_dir(repository())
        .stdin(Stdio::null())
        .output()
        .expect("python3 is needed to run tests at all")
}

fn passes(python: &Path, folder: &str) {
    let output = run(python, &["-B", "-m", "unittest", "discover", "-s", folder]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    // Nothing was left out.
    assert!(text.contains("\nOK\n"), "{text}");
    assert!(!text.contains("Ran 0 tests"), "{text}");
}

#[test]
fn the_guests_runner_passes_its_own_tests() {
    passes(Path::new("python3"), "xtask/tests/python");
}

/// With the host's pytest, else with one from PyPI.
#[test]
#[allow(clippy::print_stdout, reason = "says why it is left out")]
fn the_guests_runner_of_pytest_passes_its_own_tests() {
    let mut python = Path::new("python3").to_owned();
    let folder = tempfile::tempdir().unwrap();
    if !run(&python, &["-c", "import pytest"]).status.success() {
        let venv = folder.path().to_str().unwrap();
        let made = run(&python, &["-m", "venv", venv]);
        python = folder.path().join("bin/python3");
        let pip = ["-m", "pip", "install", "--quiet", "pytest==8.3.5"];
        let installed = made.status.success().then(|| run(&python, &pip));
        if !installed.as_ref().is_some_and(|pip| pip.status.success()) {
            println!("skipped: no pytest here, and none from PyPI: {made:?} {installed:?}");
            return;
        }
    }
    passes(&python, "xtask/tests/python/with_pytest");
}
