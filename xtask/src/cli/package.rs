//! `cargo xtask package`.

use crate::base::env::Env;
use crate::base::programs;
use crate::kernel::package::{self, FoundBuild, PackageInput, PackageOptions};
use anyhow::{Context, Result};

use crate::cli::flags::Package;

/// Packages a finished build tree.
pub fn run(env: &Env, flags: &Package) -> Result<u8> {
    let found = FoundBuild::at(&flags.build_dir)?;
    let logs = env.paths.logs();
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let log = logs.join(format!("package-{}.log", found.release));
    env.ui.info(format!(
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
    let packaged = package::package(env, &input, &options)?;
    env.ui
        .info(format!("unpacked: {}", packaged.kernel.path.display()));
    Ok(0)
}
