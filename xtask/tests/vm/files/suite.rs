//! The sample suite of frameworks.rs for Rust's test harness.

#[test]
fn passes() {}

// Part of the sample: frameworks.rs wants it reported as skipped on every kernel.
#[test]
#[ignore = "not here"]
fn skips() {}

#[test]
fn changes() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split('.')
        .map(|number| number.parse::<u32>().unwrap());
    assert!((numbers.next(), numbers.next()) < (Some(6), Some(6)));
}

#[test]
fn waits() {
    std::thread::sleep(std::time::Duration::from_secs(1));
}

mod nests {
    #[test]
    fn one() {}

    #[test]
    fn two() {}
}
