//! Test frameworks, one file each: how tests are started, here and in a guest, and what the
//! user's arguments mean to them.

mod unittest;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::model::project::Discovery;

/// What starts tests, of which only some may be wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCommand {
    /// The interpreter, absolute.
    pub python: PathBuf,
    /// The file of [`Framework::runner`], absolute.
    pub runner: PathBuf,
    pub discovery: Discovery,
    /// Files that are left out, relative to the top.
    pub exclude: Vec<String>,
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
    /// The file of the assets that runs the tests and sends their events.
    fn runner(&self) -> &'static str;

    /// Program and arguments that run the tests.
    fn run(&self, command: &TestCommand) -> Vec<OsString>;

    /// Program and arguments that only count them: the status is 5 if there are none.
    fn count(&self, command: &TestCommand) -> Vec<OsString>;

    /// Whether the user's arguments may leave tests out.
    fn selects(&self, arguments: &[OsString]) -> bool;

    /// Looks on this host whether a test can be found. A usage error has the framework's own
    /// words: an option that it does not know, a name that nothing has, a directory that is
    /// not there. They go by way of a file in `folder`.
    fn check(&self, command: &TestCommand, tree: &Path, folder: &Path) -> Result<()>;
}

/// The only one so far.
pub const UNITTEST: &dyn Framework = &unittest::Unittest;
