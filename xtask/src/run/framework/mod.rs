//! Test frameworks, one file each: how tests are started, here and in a guest, what the
//! user's arguments mean to them, and how what they print becomes events.

mod command;
mod go;
mod libtest;
mod output;
mod pytest;
#[cfg(test)]
mod recorded;
mod tap;
mod test_progs;
mod unittest;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::model::project::{Discovery, Needs};
use crate::model::test_event::TestEvent;

/// What starts tests, of which only some may be wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCommand {
    /// The interpreter, absolute.
    pub python: PathBuf,
    /// The file of [`Framework::runner`], absolute; empty without one.
    pub runner: PathBuf,
    /// The project's own command, for frameworks without a runner of ours.
    pub program: Vec<OsString>,
    pub discovery: Discovery,
    /// Files that are left out, relative to the top.
    pub exclude: Vec<String>,
    /// An expression of markers: only such tests run where the processors are emulated.
    pub emulated: Option<String>,
    /// Which part of the tests: the first number of the second, from 1.
    pub split: Option<(u32, u32)>,
    /// How long classes took, for sharing them out.
    pub durations: Option<PathBuf>,
    /// Whether names among the arguments pick some of the discovered tests; otherwise they
    /// replace discovery.
    pub within: bool,
    /// The user's own.
    pub arguments: Vec<OsString>,
}

pub trait Framework: Sync {
    /// What `runner` in a project file and `--runner` call it.
    fn name(&self) -> &'static str;

    /// What it is, in a line of `--help`.
    fn about(&self) -> &'static str;

    /// The file of the assets that runs the tests and sends their events. Without one the
    /// project's command runs them, and [`Framework::reader`] makes events of its output.
    fn runner(&self) -> Option<&'static str> {
        None
    }

    /// A file of the assets that the runner imports, and that lies beside it.
    fn library(&self) -> Option<&'static str> {
        None
    }

    fn reader(&self) -> Option<Box<dyn OutputReader>> {
        None
    }

    /// The Python packages that a project needs for this framework alone.
    fn packages(&self, _needs: &Needs) -> Vec<String> {
        Vec::new()
    }

    /// Program and arguments that run the tests.
    fn run(&self, command: &TestCommand) -> Vec<OsString> {
        [&command.program[..], &command.arguments].concat()
    }

    /// Program and arguments that only count them: the status is 5 if there are none.
    fn count(&self, _command: &TestCommand) -> Option<Vec<OsString>> {
        None
    }

    /// Whether the user's arguments may leave tests out.
    fn selects(&self, arguments: &[OsString]) -> bool {
        !arguments.is_empty()
    }

    /// Arguments that pick one test; none if all tests have to run.
    fn pick(&self, _test: &str) -> Vec<OsString> {
        Vec::new()
    }

    /// Whether tests have markers, which `emulated` picks by.
    fn has_markers(&self) -> bool {
        false
    }

    /// Whether VMs can share the tests of one run.
    fn splits(&self) -> bool {
        false
    }

    /// Looks on this host whether a test can be found. A usage error has the framework's own
    /// words: an option that it does not know, a name that nothing has, a directory that is
    /// not there. They go by way of a file in `folder`.
    fn check(&self, _command: &TestCommand, _tree: &Path, _folder: &Path) -> Result<()> {
        Ok(())
    }
}

/// Makes events of what the tests print to standard output. Bytes come in pieces of any size;
/// memory is bounded, whatever comes.
pub trait OutputReader: Send {
    fn push(&mut self, bytes: &[u8]) -> Vec<TestEvent>;

    /// The output has ended, and the command with `status` (128+N for signal N). The events
    /// that are left, the last of them [`TestEvent::RunFinished`] unless something is wrong with
    /// the output, which is the second value, with the line: then the runner died.
    fn finish(&mut self, status: u8) -> (Vec<TestEvent>, Result<(), String>);
}

pub fn named(name: &str) -> Option<&'static dyn Framework> {
    let mut all = FRAMEWORKS.iter().copied();
    all.find(|framework| framework.name() == name)
}

/// All of them, as [`crate::model::project::RUNNERS`] has them.
pub const FRAMEWORKS: &[&dyn Framework] = &[
    &unittest::Unittest,
    &pytest::Pytest,
    &tap::Tap("tap"),
    &tap::Tap("ktap"),
    &libtest::Libtest,
    &go::Go,
    &test_progs::TestProgs,
    &command::AnyCommand,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::project::RUNNERS;

    #[test]
    fn project_files_know_all_frameworks() {
        let all = FRAMEWORKS
            .iter()
            .map(|one| (one.name(), one.runner().is_some()));
        assert_eq!(all.collect::<Vec<_>>(), RUNNERS);
        for framework in FRAMEWORKS {
            let reads = framework.reader().is_some();
            assert_ne!(reads, framework.runner().is_some(), "{}", framework.name());
        }
    }
}
