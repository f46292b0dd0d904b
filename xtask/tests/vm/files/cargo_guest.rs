//! What a crate's tests may rely on, each in a line of its own if it does not hold.

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
