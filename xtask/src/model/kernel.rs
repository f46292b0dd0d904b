//! A kernel on this machine that can be booted.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use crate::base::error::Failure;
use crate::model::{arch::Arch, version::Release};

/// Who made a kernel, and with that what comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A package of ours or of drgn's, unpacked.
    Package,
    Distribution,
    Host,
    /// A kernel's source that somebody has built, used where it is.
    Tree,
}

/// A kernel that can be booted: an image and a folder of modules. Everything else
/// may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalKernel {
    pub arch: &'static Arch,
    pub release: Release,
    pub origin: Origin,
    /// The folder that is the kernel: what is listed and measured.
    pub path: PathBuf,
    pub image: PathBuf,
    /// The folder that becomes `/lib/modules/<release>` in the guest.
    pub modules: PathBuf,
    pub config: Option<PathBuf>,
    /// The kernel as an ELF file with debugging information.
    pub vmlinux: Option<PathBuf>,
    /// The tree that external modules are built against.
    pub build: Option<PathBuf>,
    /// Debugging information that came apart from it: what the guest has at
    /// `/usr/lib/debug`, where debuggers look for it.
    pub debuginfo: Option<PathBuf>,
}

impl LocalKernel {
    /// A package, ours or drgn's, unpacked at `path` (DESIGN: `vmlinuz`, `kernel/`,
    /// `modules.*`, `build/`).
    pub fn package(arch: &'static Arch, release: Release, path: &Path) -> Self {
        let build = path.join("build");
        Self {
            arch,
            release,
            origin: Origin::Package,
            path: path.to_owned(),
            image: path.join("vmlinuz"),
            modules: path.to_owned(),
            config: Some(build.join(".config")),
            vmlinux: Some(build.join("vmlinux")),
            build: Some(build),
            debuginfo: None,
        }
    }

    /// The tree that external modules are built against.
    pub fn require_build(&self) -> Result<&Path> {
        let release = &self.release;
        let message = || format!("there is nothing to build modules against for {release}");
        let tree = self.build.as_deref();
        Ok(tree.ok_or_else(|| Failure::setup(message()))?)
    }
}
