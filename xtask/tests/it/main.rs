//! Tests of the built binary and of the repository itself. One binary, so that
//! the crate is linked once. No QEMU, no network, no root.

#![allow(clippy::too_many_lines, reason = "a test has a list of cases")]

mod action;
mod architectures;
mod bisect;
mod catalog;
mod cli;
mod compiler;
mod counts;
mod crash;
mod debian;
mod distribution;
mod documents;
mod fake_qemu;
mod github;
mod html;
mod inputs;
mod jobs;
mod junit;
mod kcidb;
mod kconfig;
mod leftovers;
mod local;
mod matrix;
mod publish;
mod report;
mod report_samples;
mod rooms;
mod root;
mod runner;
mod secrets;
mod session;
mod setup;
mod several_kernels;
mod shown;
mod source;
mod tidy;
mod tree;
mod unbootable;

use std::path::Path;

use support::binary::Xtask;

/// The built binary, with this directory for everything that it writes.
fn xtask(work: &Path) -> Xtask {
    Xtask::new(env!("CARGO_BIN_EXE_xtask"), work)
}
