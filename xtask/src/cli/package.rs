//! `cargo xtask package`.

use crate::base::paths::Layout;
use crate::base::programs;
use crate::base::ui::Ui;
use crate::kernel::package::{self, FoundBuild, PackageInput, PackageOptions};
use anyhow::{Context, Result};

use crate::cli::flags::Package;

/// Packages a finished build tree.
pub fn run(flags: &Package, layout: &Layout, ui: &Ui) -> Result<u8> {
    let found = FoundBuild::at(&flags.build_dir)?;
    let logs = layout.logs();
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let log = logs.join(format!("package-{}.log", found.release));
    ui.info(format!(
        "packaging {} from {}; log: {}",
        found.release,
        found.build.display(),
        log.display()
    ));
    let make = |arguments: &[&str]| found.make(arguments);
    let input = PackageInput {
        arch: found.arch,
        release: found.release.clone(),
        source: found.source.clone(),
        build: found.build.clone(),
        make: &make,
        objcopy: package::objcopy(found.arch),
        manifest: found.manifest.clone(),
    };
    let options = PackageOptions {
        output: flags.output.as_deref(),
        log: &log,
        workers: programs::processors(),
    };
    let packaged = package::package(&input, layout, ui, &options)?;
    ui.info(format!("unpacked: {}", packaged.kernel.path.display()));
    Ok(0)
}
