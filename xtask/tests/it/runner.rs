//! The Python tests of the guest's runner, on this host.

use std::process::{Command, Stdio};

use support::host::repository;

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a test program whose end is waited for"
)]
fn the_guests_runner_passes_its_own_tests() {
    let output = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "-s"])
        .arg(repository().join("xtask/tests/python"))
        .stdin(Stdio::null())
        .output()
        .expect("python3 is needed to run tests at all");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    // Nothing was left out.
    assert!(text.contains("\nOK\n"), "{text}");
    assert!(!text.contains("Ran 0 tests"), "{text}");
}
