//! From what `-k` says to kernels on this machine.

use anyhow::{Result, bail};
use xtask::kernel::LocalKernel;
use xtask::layout::Layout;
use xtask::ui::Ui;

/// The one kernel of a command that runs one.
pub fn one(requests: &[String], _layout: &Layout, _ui: &Ui, _setup: bool) -> Result<LocalKernel> {
    let Some(arch) = xtask::arch::host() else {
        bail!("unknown host")
    };
    let path = std::fs::canonicalize(requests.first().map_or(".", String::as_str))?;
    let release = std::fs::read_to_string(path.join("build/include/config/kernel.release"))?;
    Ok(LocalKernel {
        arch,
        release: release.trim().parse()?,
        path,
    })
}
