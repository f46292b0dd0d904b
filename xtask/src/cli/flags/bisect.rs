//! The flags of `cargo xtask bisect`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::machine::Machine;
use crate::cli::kernels::KernelFlags;
use crate::cli::release::SourceFlags;

/// Find the kernel from which on a test behaves differently
///
/// Searches the list in the order of versions (in the given order, if a request does not begin with
/// a version). Tests the newest kernel, then the middle of the rest, and so on: three of five
/// kernels. Assumes that the test changed somewhere; if the answer rests on this assumption alone,
/// it says so, and --verify also tests the kernel before. Skips kernels that cannot be had or do
/// not boot. A test that ends its process, panics the kernel or hangs fails.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask bisect tests.linux_kernel.helpers.test_mm.TestMm.test_pfn -K
  cargo xtask bisect tests.test_a.A.test_b -C ~/project -k 5.10,5.15,6.1,6.6,6.12
  cargo xtask bisect tests.test_a.A.test_b -K --results build/vmtest/log/20261125-162120-123-0a1b2c3d

Exit status: 0 a change was found; 1 there is none; 2 usage, also a test that cannot be found; 3 or 4
kernels that could not be had or did not boot keep it from being found; 5 a kernel ran no such test.")]
pub struct Bisect {
    /// Search with this test, given by its dotted name; a class, a module or a file counts as its
    /// worst test
    pub test: String,
    #[command(flatten)]
    pub kernels: KernelFlags,
    /// Make sure that the test changed at all, with one more run if necessary
    #[arg(long)]
    pub verify: bool,
    /// Use the earlier results of the same tests in this folder of a session, and do not run again
    /// what they have; repeatable
    #[arg(long, value_name = "DIR")]
    pub results: Vec<PathBuf>,
    /// Test the project in this directory
    #[arg(short = 'C', long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Treat a directory that has no vmtest.toml, and that is not recognised, as this kind of
    /// project
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Compile the project's kernel module with this compiler [default: the one that built the
    /// kernel, else gcc]
    #[arg(long, value_name = "PROGRAM")]
    pub cc: Option<String>,
    /// Set a variable in the guest: NAME=VALUE, or NAME for its value on this host if it has one
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<OsString>,
    #[command(flatten)]
    pub sources: SourceFlags,
    #[command(flatten)]
    pub machine: Machine,
}
