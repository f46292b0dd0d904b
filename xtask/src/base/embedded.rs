//! Copies of `kernel-configs` and `vmtest-assets` in the binary, for when it
//! runs away from the workspace.

// `CONFIGS` and `ASSETS`: relative paths and texts of all files, in order.
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Tools that do not go with some kernels: see [`crate::kernel::build::toolchain`].
pub const BAD_PAIRS: &str = include_str!("../../../kernel-configs/toolchain.toml");

/// The style of `report.html`: see [`crate::report::html`].
pub const REPORT_STYLE: &str = include_str!("../../../vmtest-assets/report/report.css");

pub const REPORT_SCRIPT: &str = include_str!("../../../vmtest-assets/report/report.js");

/// The files that external modules are built with: see [`crate::kernel::package`].
pub const MODULE_FILES: &str = include_str!("../../../vmtest-assets/package/files.txt");

/// The module that is built against every package of a kernel: see [`crate::kernel::package`].
pub const PROOF_SOURCE: &str = include_str!("../../../vmtest-assets/package/proof.c");

/// The packages that have the host's tools: see [`crate::host::setup`].
pub const HOST_PACKAGES: &str = include_str!("../../../vmtest-assets/host/packages.txt");

/// What userspaces are made of: see [`crate::root::recipe`].
pub const DEBIAN_ROOT: &str = include_str!("../../../vmtest-assets/roots/debian.txt");

/// apt's configuration for Debian's archive: see [`crate::net::apt::formats`].
pub const APT_CONFIGURATION: &str = include_str!("../../../vmtest-assets/host/apt.conf");

/// The wrapper of pahole, without what it is told: see [`crate::kernel::build`].
pub const PAHOLE_WRAPPER: &str = include_str!("../../../vmtest-assets/package/pahole.sh");
