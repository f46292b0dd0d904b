//! `xtask doctor`: see [`crate::cli::doctor::checks`].

pub mod checks;

use crate::base::env::Env;
use crate::base::error::{Failure, FailureKind};
use crate::base::stdout;
use crate::host::setup;
use crate::kernel::store;
use anyhow::Result;

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
