//! `xtask doctor`: see [`crate::cli::doctor::checks`].

pub mod checks;

use crate::base::error::{Failure, FailureKind};
use crate::base::{env::Env, stdout};
use crate::host::setup;
use crate::kernel::store;
use anyhow::Result;
use clap::Args;

/// Check this host by doing the real thing
///
/// Looks for host tools, compiles and links a small program, tries KVM, and boots a VM if there is
/// a kernel. Each finding says how to mend it. The exit status is 1 if there are any.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask doctor           What works and what does not
  cargo xtask doctor --setup   Install missing host tools first")]
pub struct DoctorFlags {}

/// Checks this host; the exit status.
pub fn run(env: &Env, setup: bool) -> Result<u8> {
    let arch = crate::model::arch::host().ok_or_else(|| {
        Failure::setup(format!(
            "there are no VMs for {} yet",
            std::env::consts::ARCH
        ))
    })?;
    if setup {
        let mut tools = setup::for_vm(arch);
        tools.extend(setup::for_build());
        tools.extend(setup::for_python());
        setup::require(env, &tools, true)?;
    }
    let kernel = store::kernels(&env.paths, arch)?.into_iter().next();
    let checks = checks::examine(env, arch, kernel)?;
    stdout::print(&checks::table(&checks))?;
    Ok(if checks::any_finding(&checks) {
        FailureKind::Findings.exit_status()
    } else {
        0
    })
}
