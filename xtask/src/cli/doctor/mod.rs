//! `xtask doctor`: see [`crate::cli::doctor::checks`].

pub mod checks;

use crate::base::error::{Failure, FailureKind};
use crate::base::paths::Layout;
use crate::base::stdout;
use crate::base::ui::Ui;
use crate::host::setup;
use crate::kernel::store;
use anyhow::Result;

/// Checks this host; the exit status.
pub fn run(layout: &Layout, ui: &Ui, setup: bool) -> Result<u8> {
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
        setup::require(layout, ui, &tools, true)?;
    }
    let kernel = store::kernels(layout, arch)?.into_iter().next();
    let checks = checks::examine(layout, ui, arch, kernel)?;
    stdout::print(&checks::table(&checks))?;
    Ok(if checks::any_finding(&checks) {
        FailureKind::Findings.exit_status()
    } else {
        0
    })
}
