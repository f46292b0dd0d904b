//! Tests of the built binary and of the repository itself. One binary, so that
//! the crate is linked once. No QEMU, no network, no root.

mod cli;
mod fake_kernel;
mod fake_qemu;
mod github;
mod github_server;
mod html;
mod kconfig;
mod local;
mod publish;
mod report;
mod report_samples;
mod runner;
mod setup;
mod source;
mod support;
mod tidy;
