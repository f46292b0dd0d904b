//! The flags of `cargo xtask bisect`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::kernels::KernelFlags;
use super::machine::Machine;
use super::release::SourceFlags;

/// Find the kernel from which on a test behaves differently
///
/// The list is searched in the order of versions (as given, if a request does not begin with one):
/// the newest kernel is tested, then the middle of what is left, three of five kernels. That the
/// test changed somewhere is taken for granted; when the answer rests on that alone, it says so, and
/// --verify also tests the kernel before. A kernel that cannot be had or does not boot is passed
/// over. A test that ends its process, panics the kernel or hangs fails.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask bisect tests.linux_kernel.helpers.test_mm.TestMm.test_pfn -K
  cargo xtask bisect tests.test_a.A.test_b -C ~/project -k 5.10,5.15,6.1,6.6,6.12
  cargo xtask bisect tests.test_a.A.test_b -K --results build/vmtest/log/20261125-162120-123-0a1b2c3d

Exit status: 0 a change was found; 1 there is none; 2 usage, also a test that cannot be found; 3 or 4
kernels that could not be had or did not boot keep it from being found; 5 a kernel ran no such test.")]
pub struct Bisect {
    /// The test: its dotted name; a class, a module or a file is as bad as its worst test
    pub test: String,
    #[command(flatten)]
    pub kernels: KernelFlags,
    /// Make sure that the test changed at all, with one run more if need be
    #[arg(long)]
    pub verify: bool,
    /// Earlier results of the same tests, a run's folder: what is in them is not run again;
    /// repeatable
    #[arg(long, value_name = "DIR")]
    pub results: Vec<PathBuf>,
    /// The project
    #[arg(short = 'C', long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// What the project is, when it has no vmtest.toml and does not look like it
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Compiler for the project's kernel module [default: the one that built the kernel, else gcc]
    #[arg(long, value_name = "PROGRAM")]
    pub cc: Option<String>,
    /// Pass a variable on: NAME=VALUE, or NAME for its value here if it has one
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<OsString>,
    #[command(flatten)]
    pub sources: SourceFlags,
    #[command(flatten)]
    pub machine: Machine,
}
