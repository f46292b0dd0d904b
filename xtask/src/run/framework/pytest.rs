//! pytest, run by `run_pytest.py`, which takes the arguments of `run_unittests.py` and, behind
//! `--`, those of pytest.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use super::unittest::{check, words};
use super::{Framework, TestCommand};
use crate::model::project::Needs;

pub struct Pytest;

/// Options that change what is printed, and not which tests run.
const ALL_THE_SAME: [&str; 8] = [
    "-v",
    "-vv",
    "--verbose",
    "-q",
    "--quiet",
    "-s",
    "-l",
    "--showlocals",
];

impl Framework for Pytest {
    fn name(&self) -> &'static str {
        "pytest"
    }

    fn about(&self) -> &'static str {
        "pytest, with a plugin of vmtest's"
    }

    fn runner(&self) -> Option<&'static str> {
        Some("guest/run_pytest.py")
    }

    fn library(&self) -> Option<&'static str> {
        Some("guest/run_unittests.py")
    }

    fn packages(&self, needs: &Needs) -> Vec<String> {
        needs.pytest.clone()
    }

    fn run(&self, command: &TestCommand) -> Vec<OsString> {
        let emulated = command.emulated.iter();
        let emulated = emulated.flat_map(|markers| ["--emulated", markers]);
        words(command, &emulated.chain(["--"]).collect::<Vec<_>>())
    }

    fn count(&self, command: &TestCommand) -> Option<Vec<OsString>> {
        Some(words(command, &["--count", "--"]))
    }

    /// The runner knows node ids by the names of unittest.
    fn pick(&self, test: &str) -> Vec<OsString> {
        vec![test.into()]
    }

    fn has_markers(&self) -> bool {
        true
    }

    fn splits(&self) -> bool {
        true
    }

    fn selects(&self, arguments: &[OsString]) -> bool {
        let same = |word: &str| {
            ALL_THE_SAME.contains(&word) || word.starts_with("--tb=") || word.starts_with("-r")
        };
        !arguments.iter().all(|word| word.to_str().is_some_and(same))
    }

    fn check(&self, command: &TestCommand, tree: &Path, folder: &Path) -> Result<()> {
        check(&words(command, &["--check", "--"]), tree, folder)
    }
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
            exclude: vec![],
            emulated: Some("not slow".to_owned()),
            split: Some((2, 3)),
            durations: None,
            within: false,
            arguments: vec!["-m".into(), "not net".into()],
        };
        let text = |words: Vec<OsString>| words.join("|".as_ref()).into_string().unwrap();
        expect_test::expect!["/v/bin/python|-B|/run/r.py|--start|tests|--top|.|--pattern|test*.py|--shard|2/3|--emulated|not slow|--|-m|not net"]
            .assert_eq(&text(Pytest.run(&command)));
        let count = text(Pytest.count(&command).unwrap());
        assert!(count.ends_with("|--count|--|-m|not net"), "{count}");
    }

    #[test]
    fn some_arguments_leave_tests_out() {
        let selects =
            |words: &[&str]| Pytest.selects(&words.iter().map(OsString::from).collect::<Vec<_>>());
        for all in [&[][..], &["-v"], &["-q", "--tb=short", "-rA"]] {
            assert!(!selects(all), "{all:?}");
        }
        for some in [&["t.A"][..], &["-v", "t.A"], &["-m", "x"], &["-x"]] {
            assert!(selects(some), "{some:?}");
        }
    }
}
