//! Which kernels the flags name.

use crate::base::paths::Paths;
use crate::model::{catalog::Kernels, kernel_request::KernelRequest};
use crate::supply::host_arch;
use anyhow::Result;
use clap::Args;

/// Which kernels.
#[derive(Args, Debug, Default)]
pub struct KernelFlags {
    /// Take this kernel: a release, a pattern, a series, the path of an unpacked kernel, of a
    /// package or of a tree in which a kernel was built, host, debian, or debian:WHAT (a series, a
    /// version, a release or a suite); comma-separated, repeatable
    #[arg(short, long = "kernel", value_name = "REQUEST")]
    pub kernels: Vec<String>,
    /// Take one kernel of every supported series
    #[arg(short = 'K', long)]
    pub all_kernels: bool,
    /// With -K, take this flavor; repeatable [default: default]
    #[arg(
        short,
        long = "flavor",
        value_name = "FLAVOR",
        requires = "all_kernels"
    )]
    pub flavors: Vec<String>,
    /// With -K, take every flavor
    #[arg(
        short = 'F',
        long,
        requires = "all_kernels",
        conflicts_with = "flavors"
    )]
    pub all_flavors: bool,
}

/// The requests of the flags, in their order; may be none.
pub fn requests(flags: &KernelFlags, paths: &Paths) -> Result<Vec<KernelRequest>> {
    let mut requests = Vec::new();
    for text in &flags.kernels {
        requests.extend(KernelRequest::parse_list(text)?);
    }
    if flags.all_kernels {
        let kernels = Kernels::load(&paths.configs)?;
        let all = || kernels.flavors.iter().map(|flavor| flavor.name.clone());
        let flavors = match flags.all_flavors {
            true => all().collect(),
            false => flags.flavors.clone(),
        };
        requests.extend(kernels.every_series(host_arch()?, &flavors)?);
    }
    Ok(requests)
}
