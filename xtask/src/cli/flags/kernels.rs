//! Which kernels, as every command that takes several has it.

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
