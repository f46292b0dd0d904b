//! Flags of the commands that touch the release, and those commands.

use std::path::PathBuf;

use crate::supply::places::From;
use clap::Args;

/// Which release.
#[derive(Args, Clone, Debug)]
pub struct ReleaseFlags {
    /// Use the release of this repository [default: osandov/drgn]
    #[arg(long, value_name = "OWNER/NAME", help_heading = "Release")]
    pub repo: Option<String>,
    /// Use the release with this tag [default: vmtest-assets]
    #[arg(long, value_name = "TAG", help_heading = "Release")]
    pub tag: Option<String>,
    /// Ask GitHub's API at this address [default: $GITHUB_API_URL, else https://api.github.com]
    #[arg(long, value_name = "URL", help_heading = "Release")]
    pub api_url: Option<String>,
}

/// Where kernels may come from.
#[derive(Args, Clone, Debug)]
pub struct SourceFlags {
    /// Take kernels only from these places, comma-separated: local, release, build [default:
    /// local,release; with --setup also build]
    #[arg(long, value_name = "PLACES")]
    pub from: Option<From>,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

/// Download kernels from the release
///
/// Each request picks one kernel, the newest that matches. Unpacks it while it arrives; its
/// checksum must be the one that GitHub knows. Does not fetch again what is on this machine
/// already. Prints the directories of the kernels.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask download '6.1.*'
  cargo xtask download 5.10,6.1 '6.12.*tiny'     three kernels, two at a time
  cargo xtask download 6.1 --repo someone/kernels --tag v1

Only private repositories need a token in GITHUB_TOKEN or GH_TOKEN. A token also helps when the
quota of this address is used up.")]
pub struct Download {
    /// Download these kernels: a series (6.1), a release, or shell wildcards; comma-separated,
    /// repeatable
    #[arg(required = true, value_name = "REQUEST")]
    pub kernels: Vec<String>,
    /// Run this many downloads at a time
    #[arg(short, long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=16))]
    pub jobs: u32,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

/// Upload kernel packages to the release
///
/// Needs an existing release, and a token that may change it. Deletes an unfinished file that an
/// earlier upload left. Leaves a finished file of the same name as it is, unless --replace is
/// given.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  GITHUB_TOKEN=$(gh auth token) cargo xtask upload --repo me/kernels \\
      build/vmtest/packages/kernel-6.1.192-vmtest1.1default.x86_64.tar.zst
  cargo xtask upload --replace FILE

GitHub takes 1,000 files per release, each smaller than 2 GiB.")]
pub struct Upload {
    /// Upload these package files, as `package` and `build-kernel` leave them
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Replace finished files of the same names; the old ones stay until the new ones are complete
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub release: ReleaseFlags,
}
