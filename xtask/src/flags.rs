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
    #[command(hide = true)]
    Supervise(Supervise),
}

/// Run a command that dies with the process that started this one
#[derive(Args, Debug)]
pub struct Supervise {
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}
