//! The grammar of the command line. Flags become plain request and option values
//! at once; the library never sees a flag.

pub mod machine;
pub mod test;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use xtask::ui::Verbosity;
use xtask::version::Version;

pub use machine::Machine;

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
    Test(Box<test::Test>),
    Vm(Vm),
    Kconfig(Kconfig),
    #[command(hide = true)]
    RestoreTerminal,
    Doctor(Doctor),
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

/// Boot a kernel and run a command in it, with its exit status
///
/// The command runs as root in this directory, on this host's own files, which it cannot change:
/// what it writes is gone when it ends. Standard input, output and error are its own; on a terminal
/// it gets one (Ctrl-A X ends the VM). Without a command, a shell.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask vm -k '6.1.*' -- uname -r
  cargo xtask vm -- python3 -c 'import os; print(os.uname())'
  dmesg-of() { cargo xtask -q vm -k \"$1\" -- dmesg; }
  cargo xtask vm -k 6.1                  a shell

Exit status: the command's, 128+N for signal N; --lost-status if the VM was lost, panicked or got
stuck; 2 or 3 if it could not be started.")]
pub struct Vm {
    /// Kernel: a release, a pattern, a series, or the path of an unpacked kernel [default: the
    /// newest local kernel]
    #[arg(short, long = "kernel", value_name = "REQUEST")]
    pub kernels: Vec<String>,
    #[command(flatten)]
    pub machine: Machine,
    /// Pass a variable on: NAME=VALUE, or NAME for its value here
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<OsString>,
    /// Give the command a terminal
    #[arg(long, conflicts_with = "no_tty")]
    pub tty: bool,
    /// Give the command pipes
    #[arg(long)]
    pub no_tty: bool,
    /// Print QEMU's command line instead of running it
    #[arg(long)]
    pub dry_run: bool,
    /// Exit status if the VM was lost, panicked or got stuck
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub lost_status: u8,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Print the configuration of a kernel, or audit a finished one
///
/// The fragments of kernel-configs/ are merged for a flavor and an architecture and printed with the
/// reason of every option; with --check, a finished .config is compared with them instead.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask kconfig 6.1                what a 6.1 is configured with
  cargo xtask kconfig                    all versions, with the ranges of the options
  cargo xtask kconfig --check build/.config
  cargo xtask kconfig 6.1 --check build/.config --source linux-6.1

Exit status: 1 if --check found an option that is not as wanted.")]
pub struct Kconfig {
    /// Version or series, such as 6.1 [default: all, or with --check that of the file]
    pub version: Option<Version>,
    /// Flavor of the kernel
    #[arg(short, long, value_name = "FLAVOR", default_value = "default")]
    pub flavor: String,
    /// Architecture [default: this machine's]
    #[arg(short, long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Audit this .config
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// Source tree of the audited kernel: names the dependency that each lost option is missing
    #[arg(long, value_name = "DIR", requires = "check")]
    pub source: Option<PathBuf>,
}
/// Check this host by doing the real thing
///
/// Looks for host tools, compiles and links a small program, proves KVM, and boots a
/// VM if there is a kernel. Each finding says how it can be mended; exit status 1 if
/// there are any.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask doctor           What works and what does not
  cargo xtask doctor --setup   Install missing host tools first")]
pub struct Doctor {}

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

/// The process's arguments, with `-Xqemu ARGUMENT`, as QEMU's users know it from
/// other tools, in a form that clap can read.
pub fn arguments(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut plain = false;
    let translate = |word: OsString| {
        plain |= word == "--";
        if !plain && word == "-Xqemu" {
            "--qemu-argument".into()
        } else {
            word
        }
    };
    words.into_iter().map(translate).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Xtask::command().debug_assert();
    }

    #[test]
    fn qemu_arguments_keep_their_order_and_stop_at_two_dashes() {
        let words = ["xtask", "vm", "-Xqemu", "-s", "--", "-Xqemu"].map(OsString::from);
        assert_eq!(
            arguments(words),
            ["xtask", "vm", "--qemu-argument", "-s", "--", "-Xqemu"].map(OsString::from)
        );
    }
}
