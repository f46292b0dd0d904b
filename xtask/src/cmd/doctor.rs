//! `xtask doctor`: see [`xtask::doctor`].

use std::io::Write;

use anyhow::{Context, Result};
use xtask::doctor;
use xtask::failure::{Failure, FailureKind};
use xtask::layout::Layout;
use xtask::setup;
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
    write!(std::io::stdout(), "{}", doctor::table(&checks))
        .context("cannot write to standard output")?;
    Ok(if doctor::any_finding(&checks) {
        FailureKind::Findings.exit_status()
    } else {
        0
    })
}
