//! Tests on many Linux kernels, on the host's own userspace.
//!
//! ```text
//! KernelRequest -resolve-> ResolvedKernel -fetch|build-> LocalKernel
//!   -plan(Host)-> VmSpec -run-> VmRun -parse-> TestEvent* -fold-> Report
//! ```

pub mod accel;
pub mod arch;
pub mod archive;
pub mod asset;
pub mod bench;
pub mod bisect;
pub mod ci;
pub mod clock;
pub mod console;
pub mod debugger;
pub mod doctor;
pub mod download;
pub mod dump;
pub mod embedded;
pub mod environment;
pub mod event;
pub mod expect;
pub mod failure;
pub mod fetch;
pub mod folder;
pub mod from;
pub mod github;
pub mod guest;
pub mod history;
pub mod host;
pub mod http;
pub mod interrupt;
pub mod kbuild;
pub mod kconfig;
pub mod kdump;
pub mod kernel;
pub mod kernels;
pub mod layout;
pub mod list;
pub mod manifest;
pub mod matrix;
pub mod module;
pub mod nearest;
pub mod network;
pub mod output;
pub mod package;
pub mod paint;
pub mod plan;
pub mod process;
pub mod project;
pub mod protocol;
pub mod prune;
pub mod python;
pub mod qemu;
pub mod qmp;
pub mod queue;
pub mod range;
pub mod release;
pub mod report;
pub mod request;
pub mod results;
pub mod schedule;
pub mod session;
pub mod setup;
pub mod sha256;
pub mod share;
pub mod source;
pub mod store;
pub mod suite;
pub mod symbolize;
pub mod terminal;
pub mod trouble;
pub mod ui;
pub mod upload;
pub mod version;
pub mod vm;
