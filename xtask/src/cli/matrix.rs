//! `cargo xtask matrix`: the jobs of a CI's matrix.

use crate::base::{paths::Paths, stdout};
use crate::cli::kernels::KernelFlags;
use crate::run::ci_matrix::{self, MatrixFormat};
use crate::supply::host_arch;
use anyhow::Result;
use clap::Args;

/// Print the jobs of a CI's matrix
///
/// Each job tests its part of the kernels: it runs `test` with the same -k, -K, -f, -F and -a, and with
/// the job's --partition. Only the list of requests decides in which part a kernel is. `report
/// merge` joins the results.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask matrix -K --partitions 8 --format github  eight jobs for all supported series
  cargo xtask matrix -k 5.10,6.1 --format json             one job for each kernel
  cargo xtask matrix -K -a all --partitions 20 --format github  each job for one architecture
  echo \"matrix=$(cargo xtask matrix -K --format github)\" >>\"$GITHUB_OUTPUT\"

Each job has `kernel` (its kernels, as -k takes them), `arch` and `partition`; with kernels of
another architecture than this host's also `cost`, about how long it takes beside one kernel of this
host's on KVM. In the workflow:

  strategy:
    matrix: ${{ fromJSON(needs.matrix.outputs.matrix) }}")]
pub struct MatrixFlags {
    #[command(flatten)]
    pub kernels: KernelFlags,
    /// Print this many jobs, at most 256 [default: one for each kernel, up to 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub partitions: Option<u32>,
    /// Print in this format
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: MatrixFormat,
}

pub fn run(flags: &MatrixFlags, paths: &Paths) -> Result<u8> {
    let requests = flags.kernels.requests(paths)?;
    let jobs = ci_matrix::jobs(&requests, flags.partitions, host_arch()?)?;
    stdout::print(&ci_matrix::render(&jobs, flags.format)?)?;
    Ok(0)
}
