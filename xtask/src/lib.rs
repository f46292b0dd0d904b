//! Tests on many Linux kernels, on the host's own userspace.
//!
//! ```text
//! KernelRequest -resolve-> ResolvedKernel -fetch|build-> LocalKernel
//!   -plan(Host)-> Plan -run-> VmRun -parse-> TestEvent* -fold-> Report
//! ```

pub mod archive;
pub mod base;
pub mod cli;
pub mod host;
pub mod kernel;
pub mod model;
pub mod net;
pub mod release;
pub mod report;
pub mod run;
pub mod supply;
pub mod vm;
