//! The flags of the commands that keep a release and the work directory current.

use std::num::NonZeroUsize;

use crate::kernel::source::SourceChoice;
use crate::kernel::source::kernel_org::DEFAULT_URL;
use crate::model::version::Series;
use clap::{Args, Subcommand, ValueEnum};

use super::release::ReleaseFlags;

/// Keep the kernels of a release current: plan, then apply
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask release plan -K --keep 2               what the release lacks and what is old
  cargo xtask release apply 6.1 6.12 --repo me/drgn  build and upload what is missing of two series")]
pub struct Release {
    #[command(subcommand)]
    pub command: ReleaseCommand,
}

#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    Plan(Plan),
    Apply(Apply),
}

/// Compare the newest kernels with those of the release
///
/// Asks for the newest point release of each series and for the kernels of the release. A kernel is
/// to be built if the release lacks it. It is stale if it was published under the same name from
/// other source, options or patches: published kernels never change, so it is built again only when
/// `revision` in kernels.toml is raised. Builds, uploads and deletes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask release plan 6.1                            one series
  cargo xtask release plan -K -F                          every series and flavor
  cargo xtask release plan -K --source debian --keep 2    with what would be deleted
  cargo xtask release plan -K --format json | jq .totals

Exit status: 0, whatever there is to do.")]
pub struct Plan {
    #[command(flatten)]
    pub selection: Selection,
    /// Print in this format
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: PlanFormat,
}

/// Build and upload what the release lacks
///
/// Does what `release plan` shows, one kernel at a time: builds, packages, uploads. After an
/// interruption, the same command continues; it does not build again a package that is in the work
/// directory. A kernel that cannot be built does not stop the others. With --keep, deletes old
/// kernels from the release at the end, but never the last finished one of a series and flavor.
/// Shows the plan and asks; without a terminal it changes the release only with --yes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask release apply 6.1 --repo me/drgn        what is missing of one series
  cargo xtask release apply -K --keep 2 --yes         what a weekly job runs

Exit status: 3 if a kernel could not be had; the others are uploaded all the same.")]
pub struct Apply {
    #[command(flatten)]
    pub selection: Selection,
    /// Compile with this C compiler [default: gcc, through ccache if there is one]
    #[arg(long, value_name = "PROGRAM")]
    pub cc: Option<String>,
    /// Run this many jobs of make at a time [default: one per processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Upload without a question, and with --keep delete without one
    #[arg(short, long)]
    pub yes: bool,
}

/// Which kernels a release should have.
#[derive(Args, Debug)]
pub struct Selection {
    /// Take these series, such as 6.1
    #[arg(
        value_name = "SERIES",
        required_unless_present = "all_kernels",
        conflicts_with = "all_kernels"
    )]
    pub series: Vec<Series>,
    /// Take every supported series
    #[arg(short = 'K', long)]
    pub all_kernels: bool,
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
    /// Take this architecture; repeatable [default: this host's]
    #[arg(short, long = "arch", value_name = "ARCH")]
    pub architectures: Vec<String>,
    /// Take source from auto (kernel.org, then Debian), kernel.org, debian, or git:URL
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub source: SourceChoice,
    /// Fetch kernel.org's archives from this address, which may be a mirror
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    pub kernel_org_url: String,
    /// Let the plan delete all but the N newest of each of these series, flavors and architectures
    #[arg(long, value_name = "N")]
    pub keep: Option<NonZeroUsize>,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PlanFormat {
    /// A table and sums
    Table,
    /// An object: items, deletions, totals, problems
    Json,
}

/// Delete old kernels from this machine, or from the release
///
/// Keeps the N newest kernels of each series, flavor and architecture. On this machine it deletes
/// unpacked kernels (it counts those of distributions apart from vmtest's) and package files; in
/// the release, finished packages, and uploads that were begun over a day ago and never finished.
/// Leaves files with other names alone. Shows what it would delete and asks; without a terminal it
/// deletes only with --yes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask prune --keep 1                      on this machine
  cargo xtask prune --keep 1 --dry-run            only shows what would go
  cargo xtask prune --remote --keep 2 --repo me/drgn
  cargo xtask prune --keep 1 --yes                without a question, for scripts")]
pub struct Prune {
    /// Keep this many of each series, flavor and architecture, at least 1
    #[arg(long, value_name = "N")]
    pub keep: NonZeroUsize,
    /// Delete kernels on this machine [default]
    #[arg(long, conflicts_with = "remote")]
    pub local: bool,
    /// Delete kernels of the release
    #[arg(long)]
    pub remote: bool,
    /// Show what would be deleted, and delete nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Delete without a question
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub release: ReleaseFlags,
}
