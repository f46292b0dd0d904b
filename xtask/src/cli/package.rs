//! `cargo xtask package`.

use crate::base::{disk, env::Env};
use crate::kernel::package::{self, FinishedBuild};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Package a finished kernel build tree
///
/// Packs the tree's modules, the kernel's image and what external modules need, and builds a module
/// against the result as a proof. Leaves the unpacked kernel in the work directory, and the package
/// kernel-RELEASE.ARCH.tar.zst. Does not change the build tree.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask package build/vmtest/build/6.1.192-vmtest1.1default.x86_64
  cargo xtask package ~/linux -o /tmp/packages")]
pub struct PackageFlags {
    /// Package the kernel that was built in this directory: O= of its make, or its source tree
    #[arg(value_name = "BUILD_DIR")]
    pub build_dir: PathBuf,
    /// Write the package file to this directory [default: packages in the work directory]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

pub fn run(env: &Env, flags: &PackageFlags) -> Result<u8> {
    let found = FinishedBuild::at(&flags.build_dir)?;
    let logs = env.paths.logs();
    disk::create_directory(&logs)?;
    let log = logs.join(format!("package-{}.log", found.release));
    env.ui.info(format!(
        "packaging {} from {}; log: {}",
        found.release,
        found.build.display(),
        log.display()
    ));
    let make = |arguments: &[&str]| found.make(arguments);
    let packaged = package::package(env, &found, &make, flags.output.as_deref(), &log)?;
    let unpacked = packaged.kernel.path.display();
    env.ui.info(format!("unpacked: {unpacked}"));
    Ok(0)
}
