//! `xtask doctor`: see [`xtask::doctor`].

use anyhow::Result;
use xtask::doctor;
use xtask::failure::{Failure, FailureKind};
use xtask::layout::Layout;
use xtask::setup;
use xtask::stdout;
use xtask::store;
use xtask::ui::Ui;

/// Checks this host; the exit status.
pub fn run(layout: &Layout, ui: &Ui, setup: bool) -> Result<u8> {
    let arch = xtask::arch::host().ok_or_else(|| {
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
    let checks = doctor::examine(layout, ui, arch, kernel)?;
    stdout::print(&doctor::table(&checks))?;
    Ok(if doctor::any_finding(&checks) {
        FailureKind::Findings.exit_status()
    } else {
        0
    })
}
