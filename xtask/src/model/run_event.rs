//! What a session tells while it runs: the one interface between the runner and whoever
//! shows or records its events.

use std::path::PathBuf;

use anyhow::Result;

use crate::model::results::{Results, RunName, RunRecord};
use crate::model::test_event::{RunOutcome, TestEvent};

/// Something that happened to one run of a session.
#[derive(Debug)]
pub struct RunEvent {
    /// The run's place in the session. First come the runs that were asked for, then in the
    /// same order the tests after the crash of their kernels.
    pub run: usize,
    /// The number of the run's VM, from 1; 0 when its tests are not split.
    pub shard: u32,
    pub kind: RunEventKind,
}

#[derive(Debug)]
pub enum RunEventKind {
    Preparing(RunName),
    /// The first VM is being started; from now on the name is the kernel's own.
    Started(RunName),
    /// A guest is up and has started the tests.
    CommandStarted,
    Test(TestEvent),
    /// A VM ended like this, and another one is started in its place.
    Retried(RunOutcome),
    Finished(Box<RunRecord>),
}

/// What is to be done in a session, as far as it is known before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionPlan {
    /// How many runs there are, without those after a crash.
    pub runs: usize,
    /// How long each will take, in seconds, if that is known.
    pub seconds: Vec<Option<f64>>,
    pub jobs: usize,
    /// Whether the kernels are of more than one architecture.
    pub several_arches: bool,
    pub folder: PathBuf,
}

/// Everything about a session whose runs have ended.
#[derive(Debug)]
pub struct SessionEnd {
    /// In the order of the requests.
    pub records: Vec<RunRecord>,
    /// How many runs were not started because another one had failed.
    pub not_started: usize,
    pub results: Results,
}

/// Is told what happens in a session, in order. An error ends the session.
pub trait Observer {
    fn event(&mut self, event: &RunEvent) -> Result<()>;
}
