//! The flags of `cargo xtask test`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::model::project::parse_size;
use crate::run::schedule::Partition;
use clap::Args;

use super::machine::Machine;
use crate::cli::kernels::KernelFlags;
use crate::cli::release::SourceFlags;

/// Run a project's tests on kernels, each in a VM
///
/// The project is the directory of -C, else of $VMTEST_PROJECT, else the current directory if it is
/// a project (it has a vmtest.toml, or is a checkout of drgn), else a pinned release of drgn from
/// PyPI. Without -k, -K and -l, `test` takes the newest local kernel, else the release's newest.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask test --setup -k '6.1.*'     build what is missing, then drgn's tests on 6.1
  cargo xtask test -C ~/drgn -k 5.10,6.1  a checkout, its extension built in place, on two kernels
  cargo xtask test -K -j 4                one kernel of every supported series, four at a time
  cargo xtask test -k 6.1 -j 2 --shards 2 one kernel's tests, split over two VMs
  cargo xtask test -k 6.1 -- -f -k swap   unittest's own options: stop at the first failure, by name
  cargo xtask test -k 6.1 -- tests/linux_kernel/helpers/test_mm.py
  cargo xtask test -k debian:5.10,debian:6.1,host  distributions' kernels
  cargo xtask test -l                     only the tests that run on this host
  cargo xtask test -k 6.1 --no-crash      without the tests that run after a crash of the kernel

Exit status: 0; 1 tests failed or the test process died; 2 usage; 3 a kernel or the project could
not be had; 4 a VM was lost, panicked or got stuck; 5 no tests ran. Of several kernels the first of
1, 4, 3, 5 that occurred.")]
pub struct Test {
    #[command(flatten)]
    pub kernels: KernelFlags,
    /// Run the project's tests for the host too; without -k and -K, run only those
    #[arg(short, long)]
    pub local: bool,
    /// Test the project in this directory
    #[arg(short = 'C', long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Treat a directory that has no vmtest.toml, and that is not recognised, as this kind of
    /// project; without -C, test the release of this project
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
    /// Run this many VMs at a time [default: what memory and processors allow]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: Option<u32>,
    /// Split each kernel's tests over this many VMs, by the time that their classes took before
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: u32,
    /// Leave out the tests after a crash of the kernel ([crash] in the project's vmtest.toml), and
    /// reserve no memory for them
    #[arg(long)]
    pub no_crash: bool,
    /// Start no further kernel after a run that did not pass
    #[arg(long)]
    pub fail_fast: bool,
    /// Start a VM again, at most this many times, if it was lost or got stuck while booting
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=16))]
    pub retries: u32,
    /// Test only the K-th of N parts of the kernels, for N machines; `report merge` joins their
    /// results
    #[arg(long, value_name = "K/N")]
    pub partition: Option<Partition>,
    /// Write logs, results and reports to this directory [default: log/<when> in the work
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub report_dir: Option<PathBuf>,
    /// Fetch this many kernels of the release in advance, while others are tested
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(..=16))]
    pub prefetch: u32,
    /// Delete tested kernels of the release, the first ones first, while all unpacked kernels take
    /// more than this, such as 10G
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub disk_budget: Option<u64>,
    #[command(flatten)]
    pub machine: Machine,
    /// Pass unittest's own options and names on; a name (dotted, or a file) replaces discovery
    #[arg(last = true, value_name = "UNITTEST ARGUMENTS")]
    pub arguments: Vec<OsString>,
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "a size is written like 10G or 500 MiB".to_owned())
}
