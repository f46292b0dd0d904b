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
    Ci(Ci),
    Completions(Completions),
    #[command(hide = true)]
    Supervise(Supervise),
}

/// Run a command that dies with the process that started this one
#[derive(Args, Debug)]
pub struct Supervise {
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Check everything that continuous integration checks
///
/// Formatting, lints, shell and Python syntax, unit tests, then a kernel built from
/// source, tests in real VMs on it, the guest's self-test and drgn's kernel tests.
/// A failing step does not hide the later ones.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask ci --setup         Everything, installing what this host lacks
  cargo xtask ci format clippy   Two steps
  cargo xtask ci --list          The steps")]
pub struct Ci {
    /// Only these steps [default: all]
    #[arg(value_name = "STEP")]
    pub steps: Vec<String>,
    /// Print the steps and do nothing
    #[arg(long)]
    pub list: bool,
}

/// Print shell completions
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask completions bash > ~/.local/share/bash-completion/completions/xtask
  cargo xtask completions fish > ~/.config/fish/completions/xtask.fish

They complete the built binary, target/debug/xtask, under the name xtask.")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
