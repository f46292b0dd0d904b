//! Tests on many Linux kernels, on the host's own userspace.
//!
//! ```text
//! -k 6.1 -supply-> kernel -vm-> bytes of a guest -run-> events, results.jsonl -report-> text
//! ```
//!
//! `xtask/ARCHITECTURE.md` is the map of the rooms.

#![cfg_attr(
    test,
    allow(clippy::too_many_lines, reason = "a test has a list of cases")
)]

mod archive;
mod base;
mod cli;
mod host;
mod kernel;
mod model;
mod net;
mod release;
mod report;
mod root;
mod run;
mod supply;
mod vm;

pub use cli::main;

/// What the tests in `tests/` read, and nobody else should.
#[doc(hidden)]
pub mod internals {
    pub use crate::base::color::Paint;
    pub use crate::base::embedded::{REPORT_SCRIPT, REPORT_STYLE};
    pub use crate::base::env::Env;
    pub use crate::base::error::{FailureKind, exit_status, kind};
    pub use crate::base::input;
    pub use crate::base::paths::{Files, Paths};
    pub use crate::base::process::{LongChild, LongCommand};
    pub use crate::base::ui::{Ui, Verbosity};
    pub use crate::host::setup::{Distribution, Family, HostMachine, Tool, require_on};
    pub use crate::kernel::source::{self, SourceChoice, WantedSource};
    pub use crate::model::arch::host;
    pub use crate::model::complaint::Complaint;
    pub use crate::model::expectation::Expectation;
    pub use crate::model::results::{Evidence, Phases, Results, RunName, RunRecord, Session};
    pub use crate::model::test_event::{
        Counts, Death, FinishedTest, RunOutcome, Stage, Tally, TestEvent, TestOutcome,
    };
    pub use crate::net::github::api::{self, Asset, GithubRelease, Refusal};
    pub use crate::net::github::client::{Freshness, is_missing};
    pub use crate::net::github::location::Settings;
    pub use crate::net::github::{Client, Location};
    pub use crate::net::http::{self, HttpError, HttpLimits, Method, Request, Secret};
    pub use crate::release::download::{self, Downloaded};
    pub use crate::release::upload;
    pub use crate::report::matrix::TestMatrix;
    pub use crate::report::{html, json, junit, kcidb, markdown, text};
    pub use crate::root::{GuestRoot, RootChoice, obtain};
    pub use crate::supply::offer::How;
    pub use crate::supply::places::KernelPlace;
    pub use crate::supply::{Sources, choose};
    pub use crate::vm::ending;
}
