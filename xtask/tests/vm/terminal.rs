//! Runs the binary on a terminal and types into it.

use std::process::Command;

const DRIVER: &str = include_str!("files/type.py");

/// Runs `xtask` with these arguments, typing the second words when the first ones have
/// come; what it printed, without carriage returns, and three lines: `status N`,
/// `restored True` and `typed True`.
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
pub fn run(arguments: &[&str], steps: &[(&str, &str)]) -> String {
    let output = Command::new("python3")
        .args(["-c", DRIVER, &serde_json::to_string(steps).unwrap()])
        .arg(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).replace('\r', "")
}

/// `xtask vm` on the tests' kernel with these options and this command.
pub fn vm(options: &[&str], command: &[&str], steps: &[(&str, &str)]) -> String {
    let kernel = crate::kernel();
    let arguments = [
        options,
        &["vm", "--from", "local", "-k", &kernel, "--"],
        command,
    ];
    run(&arguments.concat(), steps)
}
