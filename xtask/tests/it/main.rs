//! Tests of the built binary and of the repository itself. One binary, so that
//! the crate is linked once. No QEMU, no network, no root.

mod bisect;
mod cli;
mod counts;
mod crash;
mod debian;
mod distribution;
#[path = "../support/src/fake_kernel.rs"]
mod fake_kernel;
mod fake_qemu;
mod github;
#[path = "../support/src/github_server.rs"]
mod github_server;
mod html;
mod inputs;
mod jobs;
mod junit;
mod kconfig;
mod leftovers;
mod local;
mod matrix;
#[path = "../support/src/package_files.rs"]
mod package_files;
mod publish;
mod report;
mod report_samples;
mod rooms;
mod runner;
mod secrets;
mod session;
mod setup;
mod shown;
mod source;
#[path = "../support/src/binary.rs"]
mod support;
mod tidy;
mod tree;
mod unbootable;
