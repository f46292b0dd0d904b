//! Python's unittest, run by `run_unittests.py`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Framework, TestCommand};
use crate::base::process::{LongCommand, shell_status};
use crate::base::{error::Failure, input, temporary::Temporary};

pub struct Unittest;

/// A module that takes longer to import is left to the guest.
const LONGEST_CHECK: Duration = Duration::from_secs(60);

/// What the runner says of its arguments is one line.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Options that change what is printed, and not which tests run.
const ALL_THE_SAME: [&str; 9] = [
    "-v",
    "--verbose",
    "-q",
    "--quiet",
    "-b",
    "--buffer",
    "-c",
    "--catch",
    "--locals",
];

impl Framework for Unittest {
    fn name(&self) -> &'static str {
        "unittest"
    }

    fn about(&self) -> &'static str {
        "Python's unittest: vmtest discovers the tests and runs them"
    }

    fn runner(&self) -> Option<&'static str> {
        Some("guest/run_unittests.py")
    }

    fn run(&self, command: &TestCommand) -> Vec<OsString> {
        words(command, &[])
    }

    fn count(&self, command: &TestCommand) -> Option<Vec<OsString>> {
        Some(words(command, &["--count"]))
    }

    fn pick(&self, test: &str) -> Vec<OsString> {
        vec![test.into()]
    }

    fn splits(&self) -> bool {
        true
    }

    fn selects(&self, arguments: &[OsString]) -> bool {
        let mut arguments = arguments.iter();
        !arguments.all(|word| {
            word.to_str()
                .is_some_and(|word| ALL_THE_SAME.contains(&word))
        })
    }

    fn check(&self, command: &TestCommand, tree: &Path, folder: &Path) -> Result<()> {
        check(&words(command, &["--check"]), tree, folder)
    }
}

/// Has the runner look at its arguments on this host.
pub fn check(words: &[OsString], tree: &Path, folder: &Path) -> Result<()> {
    let answer = Temporary::file(&folder.join("check.log"))?;
    let mut child = LongCommand::new(&words[0])
        .args(words[1..].iter().cloned())
        .current_dir(tree)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .log(answer.as_file())?
        .spawn()?;
    let end = Instant::now() + LONGEST_CHECK;
    let mut late = false;
    let waited = child.wait_with(|| {
        late = Instant::now() > end;
        anyhow::ensure!(!late, "it took too long");
        Ok(())
    });
    // Whatever else it ends with, the guest may do better.
    if late || shell_status(waited?) != 2 {
        return Ok(());
    }
    let text = input::text(answer.path(), LONGEST_ANSWER)?;
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    let line = line.unwrap_or("its arguments mean nothing");
    let words = line.strip_prefix("run_unittests.py: error: ");
    Err(Failure::usage(words.unwrap_or(line)).into())
}

/// The runner's words, with `last` before those of the user.
pub fn words(command: &TestCommand, last: &[&str]) -> Vec<OsString> {
    let TestCommand { discovery, .. } = command;
    // -B: a guest must not spend time on writing what is gone after the run.
    let mut words = [
        command.python.as_os_str(),
        OsStr::new("-B"),
        command.runner.as_os_str(),
        OsStr::new("--start"),
        discovery.start.as_os_str(),
        OsStr::new("--top"),
        discovery.top.as_os_str(),
        OsStr::new("--pattern"),
        OsStr::new(&discovery.pattern),
    ]
    .map(OsStr::to_owned)
    .to_vec();
    for glob in &command.exclude {
        words.extend(["--exclude".into(), glob.into()]);
    }
    if let Some((number, of)) = command.split {
        words.extend(["--shard".into(), format!("{number}/{of}").into()]);
    }
    if let Some(file) = &command.durations {
        words.extend(["--class-durations".into(), file.into()]);
    }
    if command.within {
        words.push("--within".into());
    }
    words.extend(last.iter().map(OsString::from));
    words.extend(command.arguments.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::project::Discovery;

    #[test]
    fn the_command_line_of_the_runner() {
        let command = TestCommand {
            python: "/v/bin/python".into(),
            runner: "/run/r.py".into(),
            program: vec![],
            discovery: Discovery {
                start: "tests".into(),
                top: ".".into(),
                pattern: "test*.py".to_owned(),
            },
            exclude: vec!["tests/x/*".to_owned()],
            emulated: None,
            split: Some((2, 3)),
            durations: Some("/run/d.json".into()),
            within: false,
            arguments: vec!["-k".into(), "a b".into(), "tests.test_x".into()],
        };
        let text = |words: Vec<OsString>| words.join(OsStr::new(" ")).into_string().unwrap();
        expect_test::expect!["/v/bin/python -B /run/r.py --start tests --top . --pattern test*.py --exclude tests/x/* --shard 2/3 --class-durations /run/d.json -k a b tests.test_x"]
            .assert_eq(&text(Unittest.run(&command)));
        let command = TestCommand {
            exclude: vec![],
            split: None,
            durations: None,
            within: true,
            arguments: vec!["t.A".into()],
            ..command
        };
        let last = |words: Vec<OsString>| text(words.get(9..).unwrap().to_vec());
        assert_eq!(last(Unittest.run(&command)), "--within t.A");
        assert_eq!(
            last(Unittest.count(&command).unwrap()),
            "--within --count t.A"
        );
    }

    #[test]
    fn some_arguments_leave_tests_out() {
        let selects = |words: &[&str]| {
            Unittest.selects(&words.iter().map(OsString::from).collect::<Vec<_>>())
        };
        for all in [&[][..], &["-v"], &["-q", "-b", "--locals"]] {
            assert!(!selects(all), "{all:?}");
        }
        for some in [
            &["t.A"][..],
            &["-v", "t.A"],
            &["-k", "x"],
            &["-f"],
            &["-vf"],
        ] {
            assert!(selects(some), "{some:?}");
        }
    }
}
