//! The action for GitHub: what its script calls, and that its parts fit together.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use support::host::{repository, write_program};

use crate::tidy::workflows;

const XTASK: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 4\n";

/// Runs a part of the script, with programs that only say how they were called.
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
fn script(part: &str, folder: &Path, inputs: &[(&str, &str)]) -> Output {
    write_program(folder.join("target/debug/xtask"), XTASK);
    write_program(folder.join("bin/cargo"), "#!/bin/sh\n");
    write_program(
        folder.join("bin/rustc"),
        "#!/bin/sh\necho ${RUSTC_SAYS-1}\n",
    );
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(repository().join(".github/actions/vmtest/run"));
    command
        .arg(part)
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .envs([
            ("KERNELS", "6.1"),
            ("PROJECT", "."),
            ("REPORTS", "/reports"),
        ])
        .envs(["COMMAND", "RUNNER", "FLAVOR", "ARGUMENTS"].map(|name| (name, "")))
        .envs([("RUNNER_OS", "Linux"), ("RUNNER_ARCH", "X64")])
        .env("RUNNER_TEMP", folder)
        .env_remove("VMTEST_DIR")
        .env("GITHUB_OUTPUT", folder.join("output"))
        .env("GITHUB_STEP_SUMMARY", folder.join("summary"))
        .envs(inputs.iter().copied());
    command.output().unwrap()
}

#[test]
fn the_inputs_become_the_command_line() {
    for (inputs, call) in [
        (&[][..], "test -k 6.1 --report-dir /reports"),
        (
            &[("ARGUMENTS", "--from=local\n\n--env\nA=b c\n")][..],
            "test -k 6.1 --from=local --env A=b c --report-dir /reports",
        ),
        (
            &[("KERNELS", "all"), ("FLAVOR", "tiny")][..],
            "test -K -f tiny --report-dir /reports",
        ),
        (
            &[("RUNNER", "tap"), ("COMMAND", "./run.sh -v")][..],
            "test -k 6.1 --report-dir /reports --runner tap -- sh -c ./run.sh -v",
        ),
        (
            &[("COMMAND", "make check")][..],
            "vm -k 6.1 -- sh -c make check",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = script("run", folder.path(), inputs);
        let words = String::from_utf8(output.stdout).unwrap();
        assert_eq!(words.replace('\n', " ").trim(), format!("--setup {call}"));
        // That of the call.
        assert_eq!(output.status.code(), Some(4), "{inputs:?}");
        let outputs = std::fs::read_to_string(folder.path().join("output")).unwrap();
        assert_eq!(outputs, "status=4\n");
        // `test` writes its own.
        let summary = std::fs::read_to_string(folder.path().join("summary")).unwrap_or_default();
        assert_eq!(
            summary.contains("ended with status 4"),
            call.starts_with("vm"),
            "{summary}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let output = script("run", folder.path(), &[("FLAVOR", "tiny")]);
    assert_eq!((output.status.code(), output.stdout), (Some(2), Vec::new()));
}

/// The names and values that `keys` gives to the other steps.
fn keys(inputs: &[(&str, &str)]) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let output = script("keys", folder.path(), inputs);
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(folder.path().join("output")).unwrap();
    let pairs = text.lines().map(|line| line.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_caches_key_changes_with_what_is_in_it() {
    let key = |name: &str, inputs: &[(&str, &str)]| {
        let found = keys(inputs).into_iter().find(|(other, _)| other == name);
        found.unwrap().1
    };
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("mine.config"), "CONFIG_FUSE_FS=y\n").unwrap();
    let project = project.path().to_str().unwrap();
    for (name, same, other) in [
        ("packages", ("PROJECT", "/nowhere"), ("PROJECT", project)),
        ("cargo", ("KERNELS", "5.10"), ("RUSTC_SAYS", "2")),
        ("packages", ("RUSTC_SAYS", "2"), ("KERNELS", "5.10")),
        (
            "packages",
            ("COMMAND", "true"),
            ("ARGUMENTS", "--debuginfo"),
        ),
        ("packages", ("RUNNER", "tap"), ("RUNNER_ARCH", "ARM64")),
    ] {
        assert_eq!(key(name, &[same]), key(name, &[]), "{name} {same:?}");
        assert_ne!(key(name, &[other]), key(name, &[]), "{name} {other:?}");
    }
}

#[test]
fn the_parts_of_the_action_fit_together() {
    let texts = workflows();
    let (_, action) = texts
        .iter()
        .find(|(name, _)| name.ends_with("/action.yml"))
        .unwrap();
    let behind = |text: &str, before: &str| {
        let words = text.split(before).skip(1).map(|text| {
            let end = text.find(|c: char| !c.is_ascii_lowercase());
            text[..end.unwrap()].to_owned()
        });
        words.collect::<BTreeSet<_>>()
    };
    let (head, steps) = action.split_once("\noutputs:\n").unwrap();
    let (_, head) = head.split_once("inputs:\n").unwrap();
    let names = head.lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.strip_suffix(':')?;
        (!name.starts_with(' ')).then(|| name.to_owned())
    });
    let inputs = names.collect::<BTreeSet<_>>();
    assert_eq!(behind(steps, "inputs."), inputs);
    let given = keys(&[]).into_iter().map(|(name, _)| name);
    assert_eq!(behind(steps, "steps.keys.outputs."), given.collect());
    let pinned = texts
        .iter()
        .filter(|(name, _)| name.contains("/workflows/"))
        .flat_map(|(_, text)| text.lines().filter_map(|line| line.split_once("uses: ")))
        .map(|(_, used)| used)
        .collect::<BTreeSet<_>>();
    for (_, used) in action.lines().filter_map(|line| line.split_once("uses: ")) {
        assert!(pinned.contains(used), "{used} is another one elsewhere");
    }
    assert!(pinned.contains("./.github/actions/vmtest"));
    let mut seen = 0;
    for (name, text) in &texts {
        for call in text.split("uses: ./.github/actions/vmtest\n").skip(1) {
            seen += 1;
            let call = call.split("\n      - ").next().unwrap();
            let lines = call
                .lines()
                .filter_map(|line| line.strip_prefix("          "));
            let given = lines.filter_map(|line| Some(line.split_once(": ")?.0));
            for input in given.filter(|line| !line.starts_with([' ', '#'])) {
                assert!(inputs.contains(input), "{name}: {input}");
            }
        }
    }
    assert_eq!(seen, 2);
}
