//! `matrix` from outside.

use expect_test::expect;
use serde_json::Value;

use crate::{catalog, xtask};
use support::binary::Run;

fn matrix(arguments: &str) -> Run {
    let work = tempfile::tempdir().unwrap();
    let run = xtask(work.path()).args("matrix").args(arguments).run();
    let left = std::fs::read_dir(work.path()).unwrap().count();
    assert_eq!(left, 0, "it leaves nothing behind");
    run
}

#[test]
fn the_matrix_of_github_is_one_line() {
    let run = matrix("-k 5.10.*default,6.1 -k 6.12 --partitions 2 --format github");
    let run = run.expect_status(0);
    assert_eq!(run.stderr, "");
    expect![[r#"
        {"include":[{"kernel":"5.10.*default,6.12","arch":"x86_64","partition":"1/2"},{"kernel":"6.1","arch":"x86_64","partition":"2/2"}]}
    "#]]
    .assert_eq(&run.stdout);
}

#[test]
fn every_series_is_in_one_of_the_jobs() {
    let run = matrix("-K --format json").expect_status(0);
    let jobs = serde_json::from_str::<Vec<Value>>(&run.stdout).unwrap();
    let series = catalog::series();
    let number = series.len();
    assert_eq!(jobs.len(), number);
    for (index, (job, series)) in jobs.iter().zip(&series).enumerate() {
        assert_eq!(job["kernel"], format!("{series}.*default"));
        assert_eq!(job["partition"], format!("{}/{number}", index + 1));
        assert_eq!(job["arch"], "x86_64");
    }
    let run = matrix("-K -F --partitions 8 --format github").expect_status(0);
    let matrix = serde_json::from_str::<Value>(&run.stdout).unwrap();
    assert_eq!(matrix["include"].as_array().unwrap().len(), 8);
    assert_eq!(run.stdout.lines().count(), 1);
}

#[test]
fn mistakes_are_usage_errors() {
    for (arguments, says) in [
        ("--format github", "a matrix without kernels"),
        ("-k 6.1", "--format"),
        ("-k 6.1 --format yaml", "'yaml'"),
        ("-k 6.1 --format json --partitions 0", "'0'"),
        ("-k 6.1 --format json --partitions 257", "at most 256 jobs"),
        ("-k v6.1 --format json", "without the v: 6.1"),
        ("-K -f tinny --format json", "unknown flavor tinny"),
    ] {
        let run = matrix(arguments).expect_status(2);
        assert_eq!(run.stdout, "", "{arguments}");
        assert!(run.stderr.contains(says), "{arguments}: {}", run.stderr);
    }
}
