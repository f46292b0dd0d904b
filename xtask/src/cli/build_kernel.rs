//! `xtask build-kernel`: source, configuration, make, package.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::base::error::{self, Failure, FailureKind};
use crate::base::{env::Env, stdout};
use crate::cli::kernels::{BuildFlags, CompilerFlags};
use crate::host::setup;
use crate::kernel::build::{self, BuildRequest, dry_run::dry_run, in_place};
use crate::kernel::config::OwnFragment;
use crate::kernel::source::WantedSource;
use crate::model::catalog::Kernels;
use crate::model::kernel_request::{at_home, is_path};
use anyhow::Result;
use clap::Args;

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
  cargo xtask build-kernel -a aarch64,s390x 6.12  for two architectures
  cargo xtask build-kernel -K -F --dry-run        what there would be to build
  cargo xtask build-kernel 6.12 --configure-only  whether every option can be set
  cargo xtask build-kernel 7.3-rc2 --source git:https://example.org/linux.git
  cargo xtask build-kernel 6.1 --config landlock.config  with options of a project's own
  cargo xtask build-kernel 6.1 --cc debian:gcc-11")]
pub struct BuildKernelFlags {
    /// Build a series, a version, or the directory of a source tree (which begins with `/` or `.`)
    #[arg(value_name = "VERSION|DIR", group = "which")]
    pub kernels: Vec<OsString>,
    #[command(flatten)]
    pub build: BuildFlags,
    /// Set the options of this fragment of a project's own too, and name the kernel after it
    /// (`…default+NAME`); repeatable
    #[arg(long, value_name = "FRAGMENT")]
    pub config: Vec<PathBuf>,
    #[command(flatten)]
    pub compiler: CompilerFlags,
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
    #[arg(long, conflicts_with_all = ["keep_build", "source", "all_kernels", "dry_run", "configure_only"])]
    pub in_place: bool,
}

/// Builds every kernel that was asked for; stops at the first that fails.
pub fn run(env: &Env, flags: &BuildKernelFlags, install: bool) -> Result<u8> {
    let kernels = Kernels::load(&env.paths.configs)?;
    // What is wrong with them is said before anything is installed.
    let requests = requests(flags, &kernels)?;
    let arches = flags.build.architectures()?;
    setup::require_for_build(env, &flags.compiler.tools(&arches), install)?;
    if flags.dry_run {
        return print_plan(env, &requests);
    }
    if flags.configure_only {
        return try_configurations(env, &requests);
    }
    for request in &requests {
        match flags.in_place {
            true => in_place::build(env, request)?,
            false => build::build_kernel(env, request)?,
        };
    }
    Ok(0)
}

/// Status 3 if one of them could not be built.
fn print_plan(env: &Env, requests: &[BuildRequest]) -> Result<u8> {
    let mut status = 0;
    for planned in dry_run(env, requests)? {
        stdout::print(&format!("{planned}\n"))?;
        if !planned.possible() {
            status = FailureKind::Setup.exit_status();
        }
    }
    Ok(status)
}

/// All of them, so that one command names everything that is wrong with a change.
fn try_configurations(env: &Env, requests: &[BuildRequest]) -> Result<u8> {
    let mut status = 0;
    for request in requests {
        if let Err(error) = build::try_configuration(env, request) {
            if error::is_final(&error) {
                return Err(error);
            }
            env.ui.error(&error);
            status = error::exit_status(&error);
        }
    }
    Ok(status)
}

fn requests(flags: &BuildKernelFlags, kernels: &Kernels) -> Result<Vec<BuildRequest>> {
    let arches = flags.build.architectures()?;
    let own = OwnFragment::read_all(&flags.config)?;
    let flavors = flags.build.flavors(kernels)?;
    if flags.in_place && (flavors.len(), arches.len()) != (1, 1) {
        let message = "a tree can be built in place for one flavor and one architecture";
        return Err(Failure::usage(message).into());
    }
    let mut all = Vec::new();
    if flags.build.all_kernels {
        for arch in &arches {
            for series in kernels.series_of(arch) {
                let wanted = WantedSource::Version(series.to_string().parse()?);
                all.push((wanted, *arch));
            }
        }
    }
    for kernel in &flags.kernels {
        let wanted = wanted(kernel)?;
        let arches = match &wanted {
            WantedSource::Version(version) if flags.in_place => {
                let message = format!("{version} cannot be built in place: it is no directory");
                let hint = "the directory of a source tree starts with . or /";
                return Err(Failure::usage(message).hint(hint).into());
            }
            WantedSource::Version(version) => kernels.with_series(version.series, &arches)?,
            WantedSource::Directory(_) => arches.clone(),
        };
        all.extend(arches.into_iter().map(|arch| (wanted.clone(), arch)));
    }
    let mut requests = Vec::new();
    for (wanted, arch) in all {
        requests.extend(flavors.iter().map(|flavor| BuildRequest {
            wanted: wanted.clone(),
            flavor: flavor.clone(),
            own: own.clone(),
            arch,
            source: flags.build.source.clone(),
            kernel_org_url: flags.build.kernel_org_url.clone(),
            cc: flags.compiler.cc.clone(),
            jobs: flags.compiler.jobs,
            keep_build: flags.keep_build,
        }));
    }
    Ok(requests)
}

/// A word that starts with `.`, `/` or `~/` is a directory, any other a version.
fn wanted(word: &OsStr) -> Result<WantedSource, Failure> {
    let text = word.to_string_lossy();
    if is_path(&text) {
        let path = at_home(Path::new(word), std::env::var_os("HOME"));
        return Ok(WantedSource::Directory(path));
    }
    let hint = "a version is written like 6.1, 6.1.192 or 7.3-rc2; a directory starts with . or /";
    let version = text
        .parse()
        .map_err(|failure: Failure| failure.hint(hint))?;
    Ok(WantedSource::Version(version))
}
