//! The grammar of the command line. Flags become plain request and option values
//! at once; the library never sees a flag.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use xtask::ui::Verbosity;

/// Tests on many Linux kernels, on this host's own userspace.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
pub struct Xtask {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
pub struct Global {
    /// Work directory: kernels, packages, sources, logs [default: $VMTEST_DIR, else build/vmtest
    /// of the workspace]
    #[arg(
        short,
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub directory: Option<PathBuf>,
    /// Say more: every command that is run
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// Say nothing but errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub quiet: bool,
    /// Install missing host tools first (prints the command), and build what cannot be fetched
    #[arg(long, global = true, help_heading = "Global options")]
    pub setup: bool,
}

impl Global {
    /// How much is said.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    List(List),
    Package(Package),
    #[command(hide = true)]
    Supervise(Supervise),
}

/// List the kernels on this machine, the newest first of each architecture
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask list
  cargo xtask list '6.1.*'
  cargo xtask list --format json | jq -r '.[].release'")]
pub struct List {
    /// Only kernels that match: a series (6.1), a release, or shell wildcards
    pub pattern: Option<String>,
    /// How to print them
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: ListFormat,
}

/// How kernels are listed.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum ListFormat {
    /// A table
    Text,
    /// An array of objects: release, arch, flavor, size (bytes on disk), path
    Json,
}

/// Package a finished kernel build tree
///
/// Installs its modules into a staging directory, adds the kernel's image and what external
/// modules need, builds a module against the result as a proof, and leaves the unpacked kernel in
/// the work directory and kernel-RELEASE.ARCH.tar.zst. The build tree is not changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask package build/vmtest/build/6.1.192-vmtest1.1default.x86_64
  cargo xtask package ~/linux -o /tmp/packages")]
pub struct Package {
    /// Where the kernel was built: O= of its make, or its source tree
    #[arg(value_name = "BUILD_DIR")]
    pub build_dir: PathBuf,
    /// Directory for the package file [default: packages in the work directory]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Run a command that dies with the process that started this one
#[derive(Args, Debug)]
pub struct Supervise {
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}
