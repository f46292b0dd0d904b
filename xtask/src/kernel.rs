//! An unpacked kernel on this machine.

use std::path::PathBuf;

use crate::arch::Arch;
use crate::version::Release;

/// A kernel whose package has been unpacked: the contents of
/// `lib/modules/<release>` (DESIGN: `vmlinuz`, `kernel/`, `modules.*`, `build/`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalKernel {
    /// What it runs on.
    pub arch: &'static Arch,
    /// What `uname -r` will print.
    pub release: Release,
    /// The unpacked package.
    pub path: PathBuf,
}

impl LocalKernel {
    /// The image that the boot loader gets.
    pub fn image(&self) -> PathBuf {
        self.path.join("vmlinuz")
    }

    /// The tree that external modules are built against.
    pub fn build(&self) -> PathBuf {
        self.path.join("build")
    }

    /// The kernel as an ELF file with debugging information.
    pub fn vmlinux(&self) -> PathBuf {
        self.build().join("vmlinux")
    }

    /// The final configuration.
    pub fn config(&self) -> PathBuf {
        self.build().join(".config")
    }
}
