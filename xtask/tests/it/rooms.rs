//! The direction of the rooms in `xtask/src`: who may import whom.

use std::collections::BTreeSet;
use std::path::Path;

use support::host::repository;

/// Each room with the rooms that it may import; see `xtask/ARCHITECTURE.md`.
const ROOMS: [(&str, &[&str]); 13] = [
    (
        "cli",
        &[
            "archive", "base", "host", "kernel", "model", "net", "release", "report", "root",
            "run", "supply", "vm",
        ],
    ),
    (
        "run",
        &[
            "archive", "base", "host", "kernel", "model", "net", "release", "root", "supply", "vm",
        ],
    ),
    ("report", &["base", "model"]),
    (
        "supply",
        &[
            "archive", "base", "host", "kernel", "model", "net", "release", "root",
        ],
    ),
    (
        "release",
        &["archive", "base", "host", "kernel", "model", "net"],
    ),
    (
        "vm",
        &["archive", "base", "host", "kernel", "model", "net", "root"],
    ),
    ("kernel", &["archive", "base", "host", "model", "net"]),
    ("root", &["archive", "base", "host", "model", "net"]),
    ("host", &["archive", "base", "model", "net"]),
    ("net", &["base", "model"]),
    ("archive", &["base", "model"]),
    ("model", &["base"]),
    ("base", &[]),
];

/// The rooms that a file imports, without its tests and its comments.
fn imports(code: &str) -> BTreeSet<&str> {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}

/// What is wrong with the file at `path`, which is relative to `xtask/src`.
fn faults(path: &str, code: &str) -> Vec<String> {
    let Some((room, _)) = path.split_once('/') else {
        let known = ["lib.rs", "main.rs"].contains(&path);
        return if known {
            Vec::new()
        } else {
            vec![format!("{path}: stands in no room")]
        };
    };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{path}: {room} is no room")];
    };
    if path.ends_with("/tests.rs") {
        return Vec::new();
    }
    imports(code)
        .into_iter()
        .filter(|import| *import != room && !allowed.contains(import))
        .map(|import| format!("{path}: {room} must not import {import}"))
        .collect()
}

/// Every source file, relative to `xtask/src`, with its text.
fn sources() -> Vec<(String, String)> {
    let top = repository().join("xtask/src");
    let files = crate::tidy::files_below(&top).into_iter();
    let relative = |path: &Path| {
        path.strip_prefix(&top)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (relative(&path), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let faults = sources()
        .iter()
        .flat_map(|(path, code)| faults(path, code))
        .collect::<Vec<_>>();
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn an_import_upwards_is_found() {
    let planted = "//! Runs.\nuse crate::report::text;\nuse crate::vm::Vm;\n";
    assert_eq!(
        faults("run/session.rs", planted),
        ["run/session.rs: run must not import report"]
    );
    let inline = "fn f() {\n    crate::cli::main();\n}\n";
    assert_eq!(
        faults("base/disk.rs", inline),
        ["base/disk.rs: base must not import cli"]
    );
}

#[test]
fn a_module_outside_the_rooms_is_found() {
    assert_eq!(faults("helpers.rs", ""), ["helpers.rs: stands in no room"]);
    assert_eq!(
        faults("tools/mod.rs", ""),
        ["tools/mod.rs: tools is no room"]
    );
}

#[test]
fn imports_of_tests_and_comments_do_not_count() {
    let code =
        "// crate::cli\nuse crate::base::ui;\n#[cfg(test)]\nmod tests {\n    use crate::vm;\n}\n";
    assert_eq!(imports(code), BTreeSet::from(["base"]));
}
