//! Tests on many Linux kernels, on the host's own userspace.
//!
//! ```text
//! KernelRequest -resolve-> ResolvedKernel -fetch|build-> LocalKernel
//!   -plan(Host)-> VmSpec -run-> VmRun -parse-> TestEvent* -fold-> Report
//! ```

pub mod arch;
pub mod archive;
pub mod asset;
pub mod embedded;
pub mod failure;
pub mod host;
pub mod interrupt;
pub mod kernel;
pub mod layout;
pub mod list;
pub mod module;
pub mod package;
pub mod process;
pub mod request;
pub mod store;
pub mod ui;
pub mod version;
pub mod vm;
