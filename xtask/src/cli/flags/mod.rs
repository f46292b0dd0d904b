//! The grammar of the command line. Flags become plain request and option values
//! at once; the library never sees a flag.

pub mod bisect;
pub mod kernels;
pub mod machine;
pub mod matrix;
pub mod publish;
pub mod release;
pub mod report;
pub mod test;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::base::color::ColorChoice;
use crate::base::error::Failure;
use crate::base::ui::Verbosity;
use crate::kernel::source::SourceChoice;
use crate::kernel::source::kernel_org::DEFAULT_URL;
use crate::model::version::Version;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use machine::Machine;
use release::{ReleaseFlags, SourceFlags};

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
    /// Keep kernels, packages, sources and logs in this directory [default: $VMTEST_DIR, else
    /// build/vmtest of the workspace]
    #[arg(
        short,
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub directory: Option<PathBuf>,
    /// Print more, such as every command that is run
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// Print only errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub quiet: bool,
    /// Print results in colour; `auto`: on a terminal, unless $NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub color: Color,
    /// Install missing host tools first, after printing the command, and build kernels that cannot
    /// be fetched
    #[arg(long, global = true, help_heading = "Global options")]
    pub setup: bool,
}

/// When results have colours
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What clap says about a wrong command line, in one line of ours: its first
/// paragraph, and its tips as the remedy.
pub fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = text.split("\n\n").next().unwrap_or_default();
    let message = words(first.strip_prefix("error: ").unwrap_or(first));
    Failure::usage(message).hint(remedy(error, &text))
}

/// The remedy of a wrong command line: what clap suggests, or what it does not know.
fn remedy(error: &clap::Error, text: &str) -> String {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => word,
        _ => "",
    };
    // Of `vm` and `test`, which pass on what is behind it.
    let passes_on = text.contains("[-- <");
    if !unknown.is_empty() && !unknown.starts_with('-') && passes_on {
        return format!("what is run in the guest goes behind --: -- {unknown}");
    }
    if matches!(unknown, "-k" | "--kernel") {
        return "this command takes kernels without -k; --help shows how".to_owned();
    }
    let tips = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        .filter(|tip| passes_on || !tip.contains("use '-- "))
        .collect::<Vec<_>>();
    match tips.as_slice() {
        [] => "--help says more".to_owned(),
        tips => tips.join("; "),
    }
}

impl Global {
    /// When results have colours.
    pub fn color(&self) -> ColorChoice {
        match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }

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
    Report(report::Report),
    Vm(Vm),
    Kconfig(Kconfig),
    BuildKernel(BuildKernel),
    #[command(hide = true)]
    RestoreTerminal,
    Doctor(Doctor),
    Ci(Ci),
    Bisect(Box<bisect::Bisect>),
    List(List),
    Matrix(matrix::Matrix),
    Package(Package),
    Release(publish::Release),
    Prune(publish::Prune),
    Download(release::Download),
    Upload(release::Upload),
    #[command(hide = true)]
    Supervise(Supervise),
    #[command(hide = true)]
    Enclose(Enclose),
}

/// List kernels, the newest first of each architecture
///
/// Lists the kernels on this machine, or with --remote those of the release. With --remote, the
/// state of a kernel is one of: local, remote, both, stale (the kernel on this machine was made
/// from something else than the release's kernel of that name), starter (an upload that was not
/// finished).
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask list
  cargo xtask list '6.1.*'
  cargo xtask list --remote              what the release has
  cargo xtask list --local --remote 6.1  both
  cargo xtask list --format json | jq -r '.[].release'")]
pub struct List {
    /// List only kernels that match a series (6.1), a release, or shell wildcards
    pub pattern: Option<String>,
    /// List the kernels on this machine [default]
    #[arg(long)]
    pub local: bool,
    /// List the kernels of the release
    #[arg(long)]
    pub remote: bool,
    /// Print in this format
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: ListFormat,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

/// How kernels are listed.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum ListFormat {
    /// A table
    Text,
    /// An array of objects: release, arch, flavor, state, size (bytes on disk), path, download_size
    /// (bytes of the package), input_key (of the release's)
    Json,
}

/// Package a finished kernel build tree
///
/// Installs the tree's modules into a staging directory, adds the kernel's image and the files that
/// external modules need, and builds a module against the result as a proof. Leaves the unpacked
/// kernel in the work directory, and the package kernel-RELEASE.ARCH.tar.zst. Does not change the
/// build tree.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask package build/vmtest/build/6.1.192-vmtest1.1default.x86_64
  cargo xtask package ~/linux -o /tmp/packages")]
pub struct Package {
    /// Package the kernel that was built in this directory: O= of its make, or its source tree
    #[arg(value_name = "BUILD_DIR")]
    pub build_dir: PathBuf,
    /// Write the package file to this directory [default: packages in the work directory]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Run a command that dies with the process that started this one
#[derive(Args, Debug)]
pub struct Supervise {
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Execute a program that sees little of this host's /proc, /sys and /dev
#[derive(Args, Debug)]
pub struct Enclose {
    #[arg(long)]
    pub staging: PathBuf,
    #[arg(long)]
    pub note: PathBuf,
    #[arg(long)]
    pub keep: Vec<PathBuf>,
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Boot a kernel and run a command in it, with its exit status
///
/// The command runs as root in the current directory, on this host's files. It cannot change them:
/// what it writes is gone when it ends. It has the standard input, output and error of `vm`; if
/// `vm` runs on a terminal, the command gets a terminal (Ctrl-A X ends the VM). Without a command,
/// `vm` runs a shell.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask vm -k '6.1.*' -- uname -r
  cargo xtask vm -- python3 -c 'import os; print(os.uname())'
  dmesg-of() { cargo xtask -q vm -k \"$1\" -- dmesg; }
  cargo xtask vm -k 6.1                  a shell
  cargo xtask vm -k ~/linux -- uname -a  a kernel that was just built there
  cargo xtask vm -k debian:6.12          Debian's newest 6.12
  cargo xtask vm -k debian:bookworm --debuginfo -- drgn --version
  cargo xtask vm -k ./linux-image-6.1.0-56-amd64_6.1.160-1_amd64.deb -- uname -a
  cargo xtask vm -k host                 the kernel that runs here
  cargo xtask vm --share-rw results --net -- ./measure -o results
  cargo xtask vm --gdb --kernel-log      debug a boot, reading the kernel's messages

Exit status: the command's, 128+N for signal N; --lost-status if the VM was lost, panicked or got
stuck; 2 or 3 if it could not be started.")]
pub struct Vm {
    /// Boot this kernel: a release, a pattern, a series, the path of an unpacked kernel, of a
    /// package or of a tree in which a kernel was built, host, debian, or debian:WHAT (a series, a
    /// version, a release or a suite) [default: the newest local kernel, else the release's newest]
    #[arg(short, long = "kernel", value_name = "REQUEST")]
    pub kernels: Vec<String>,
    #[command(flatten)]
    pub sources: SourceFlags,
    #[command(flatten)]
    pub machine: Machine,
    /// Set a variable in the guest: NAME=VALUE, or NAME for its value on this host if it has one
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<OsString>,
    /// Give the command a terminal
    #[arg(long, conflicts_with = "no_tty")]
    pub tty: bool,
    /// Give the command pipes
    #[arg(long)]
    pub no_tty: bool,
    /// Print the command line that QEMU would get; it does not run by itself, without the files and
    /// sockets that `vm` makes for it
    #[arg(long)]
    pub dry_run: bool,
    /// Print the kernel's messages to standard error as they arrive
    #[arg(long)]
    pub kernel_log: bool,
    /// End with this exit status if the VM was lost, panicked or got stuck
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub lost_status: u8,
    /// Run this command with these arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Print the configuration of a kernel, or audit a finished one
///
/// Merges the fragments of kernel-configs/ for a flavor and an architecture, and prints them with
/// the reason for every option. With --check, compares a finished .config with them instead.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask kconfig 6.1                what a 6.1 is configured with
  cargo xtask kconfig                    all versions, with the ranges of the options
  cargo xtask kconfig --check build/.config
  cargo xtask kconfig 6.1 --check build/.config --source linux-6.1

Exit status: 1 if --check found an option that is not as wanted.")]
pub struct Kconfig {
    /// Print the configuration of this version or series, such as 6.1 [default: all, or with
    /// --check that of the file]
    pub version: Option<Version>,
    /// Print the configuration of this flavor
    #[arg(short, long, value_name = "FLAVOR", default_value = "default")]
    pub flavor: String,
    /// Print the configuration for this architecture [default: this machine's]
    #[arg(short, long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Audit this .config instead
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// Show where this source tree of the audited kernel defines each lost option, and what it
    /// depends on
    #[arg(long, value_name = "DIR", requires = "check")]
    pub source: Option<PathBuf>,
}
/// Check this host by doing the real thing
///
/// Looks for host tools, compiles and links a small program, tries KVM, and boots a VM if there is
/// a kernel. Each finding says how to mend it. The exit status is 1 if there are any.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask doctor           What works and what does not
  cargo xtask doctor --setup   Install missing host tools first")]
pub struct Doctor {}

/// Build kernels from source and package them
///
/// Fetches the source, configures, builds and packages. Leaves an unpacked kernel, which `vm` and
/// `test` find, and its package file. Does not build again what is there already from the same
/// source, options and patches.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask build-kernel 6.1                    the newest point release of 6.1
  cargo xtask build-kernel 6.1.150 5.10           two kernels
  cargo xtask build-kernel ~/linux                a source tree, as it is
  cargo xtask build-kernel ~/linux --in-place     the same, built in it, for `vm -k ~/linux`
  cargo xtask build-kernel 6.1 -F                 every flavor
  cargo xtask build-kernel -K -F --dry-run        what there would be to build
  cargo xtask build-kernel 6.12 --configure-only  whether every option can be set
  cargo xtask build-kernel 7.3-rc2 --source git:https://example.org/linux.git
  cargo xtask build-kernel 6.1 --cc gcc-11")]
pub struct BuildKernel {
    /// Build a series, a version, or the directory of a source tree (which begins with `/` or `.`)
    #[arg(
        required_unless_present = "all_series",
        conflicts_with = "all_series",
        value_name = "VERSION|DIR"
    )]
    pub kernels: Vec<OsString>,
    /// Take every supported series
    #[arg(short = 'K', long)]
    pub all_series: bool,
    /// Take this flavor; repeatable [default: the first one of kernels.toml]
    #[arg(
        short,
        long = "flavor",
        value_name = "FLAVOR",
        conflicts_with = "all_flavors"
    )]
    pub flavors: Vec<String>,
    /// Take every flavor
    #[arg(short = 'F', long)]
    pub all_flavors: bool,
    /// Build for this architecture [default: this host's]
    #[arg(short, long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Take source from auto (kernel.org, then Debian), kernel.org, debian, or git:URL
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub source: SourceChoice,
    /// Fetch kernel.org's archives from this address, which may be a mirror
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    pub kernel_org_url: String,
    /// Compile with this C compiler [default: gcc, through ccache if there is one]
    #[arg(long, value_name = "PROGRAM")]
    pub cc: Option<String>,
    /// Run this many jobs at a time [default: one per processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Keep the build tree afterwards
    #[arg(long)]
    pub keep_build: bool,
    /// Print what would be built, from which source and with which workarounds, and stop
    #[arg(long, conflicts_with = "configure_only")]
    pub dry_run: bool,
    /// Fetch the source, configure it, check that every option is as wanted, and stop
    #[arg(long)]
    pub configure_only: bool,
    /// Configure and build in the source tree itself, compile only what has changed, and package
    /// nothing; an existing configuration is kept beside the new one
    #[arg(long, conflicts_with_all = ["keep_build", "source", "all_series", "dry_run", "configure_only"])]
    pub in_place: bool,
}

/// Check everything that continuous integration checks
///
/// Checks formatting, lints, shell and Python syntax, and runs unit tests. Then builds a kernel
/// from source and runs tests in real VMs on it: vmtest's own, the guest's self-test and drgn's
/// kernel tests. A failing step does not hide the later ones.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask ci --setup         Everything, installing what this host lacks
  cargo xtask ci format clippy   Two steps
  cargo xtask ci --list          The steps")]
pub struct Ci {
    /// Run only these steps [default: all]
    #[arg(value_name = "STEP")]
    pub steps: Vec<String>,
    /// Print the steps, and run none
    #[arg(long)]
    pub list: bool,
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
    fn every_command_has_examples_and_every_option_help() {
        use clap::CommandFactory;
        let xtask = Xtask::command();
        xtask.clone().debug_assert();
        let mut bare = Vec::new();
        let mut commands = xtask.get_subcommands().collect::<Vec<_>>();
        commands.extend(
            xtask
                .get_subcommands()
                .flat_map(clap::Command::get_subcommands),
        );
        for command in commands.into_iter().filter(|c| !c.is_hide_set()) {
            let name = command.get_name();
            let examples = command.get_after_help().map(ToString::to_string);
            if !examples.is_some_and(|text| text.contains("Examples:\n  ")) {
                bare.push(format!("{name}: examples"));
            }
            if command.get_about().is_none() {
                bare.push(format!("{name}: about"));
            }
            for argument in command.get_arguments() {
                if argument.get_help().is_none() {
                    bare.push(format!("{name}: {}", argument.get_id()));
                }
            }
        }
        assert_eq!(bare, Vec::<String>::new());
    }

    #[test]
    fn a_wrong_command_line_is_one_line() {
        let wrong = |line: &str| {
            let error = Xtask::try_parse_from(line.split(' ')).unwrap_err();
            usage_failure(&error).to_string() + "\n"
        };
        expect_test::expect![[r#"
            unrecognized subcommand 'docter' (a similar subcommand exists: 'doctor')
            unexpected argument '--no-such-option' found (to pass '--no-such-option' as a value, use '-- --no-such-option')
            the following required arguments were not provided: <FILE>... (--help says more)
            invalid value 'tekst' for '--format <FORMAT>' [possible values: text, json] (a similar value exists: 'text')
            the argument '--quiet' cannot be used with '--verbose' (--help says more)
        "#]].assert_eq(
            &[
                "xtask docter",
                "xtask vm --no-such-option",
                "xtask upload",
                "xtask list --format tekst",
                "xtask ci -q -v",
            ]
            .map(wrong)
            .concat(),
        );
    }

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
