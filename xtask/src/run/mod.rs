//! Runs tests on many kernels: the session, its suites, schedule, history and logs.

pub mod bisect;
pub mod ci_matrix;
pub mod cross;
pub mod framework;
pub mod history;
pub mod python;
pub mod queue;
pub mod run_folder;
pub mod schedule;
pub mod session;
pub mod suite;
pub mod test_run;
