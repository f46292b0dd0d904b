//! `xtask build-kernel`: source, configuration, make, package.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::base::error::{self, Failure, FailureKind};
use crate::base::{env::Env, paths::Paths, stdout};
use crate::host::setup;
use crate::kernel::build::in_place::{self, InPlace};
use crate::kernel::build::{self, BuildRequest, dry_run::dry_run};
use crate::kernel::{source::SourceChoice, source::WantedSource, source::kernel_org::DEFAULT_URL};
use crate::model::arch::{self, Arch};
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
  cargo xtask build-kernel -K -F --dry-run        what there would be to build
  cargo xtask build-kernel 6.12 --configure-only  whether every option can be set
  cargo xtask build-kernel 7.3-rc2 --source git:https://example.org/linux.git
  cargo xtask build-kernel 6.1 --cc gcc-11")]
pub struct BuildKernelFlags {
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

/// Builds every kernel that was asked for; stops at the first that fails.
pub fn run(env: &Env, flags: &BuildKernelFlags, install: bool) -> Result<u8> {
    // What is wrong with them is said before anything is installed.
    let in_place = flags
        .in_place
        .then(|| in_place(flags, &env.paths))
        .transpose()?;
    let requests = match in_place {
        Some(_) => Vec::new(),
        None => requests(flags, &env.paths)?,
    };
    let mut tools = setup::for_build();
    if flags.cc.is_some() {
        // Whether that one is there is said where it is looked at.
        tools.retain(|tool| *tool != setup::Tool::program("gcc"));
    }
    setup::require(env, &tools, install)?;
    if flags.dry_run {
        return print_plan(env, &requests);
    }
    if flags.configure_only {
        return try_configurations(env, &requests);
    }
    for request in in_place.iter().flatten() {
        in_place::build(env, request)?;
    }
    for request in &requests {
        build::build_kernel(env, request)?;
    }
    Ok(0)
}

/// Status 3 if one of them could not be built.
fn print_plan(env: &Env, requests: &[BuildRequest]) -> Result<u8> {
    let planned = dry_run(env, requests)?;
    for planned in &planned {
        stdout::print(&format!("{planned}\n"))?;
    }
    Ok(match planned.iter().all(|planned| planned.possible()) {
        true => 0,
        false => FailureKind::Setup.exit_status(),
    })
}

/// All of them, so that one command names everything that is wrong with a change.
fn try_configurations(env: &Env, requests: &[BuildRequest]) -> Result<u8> {
    let mut status = 0;
    for request in requests {
        if let Err(error) = build::try_configuration(env, request) {
            if let Some(FailureKind::Usage | FailureKind::Interrupted(_)) = error::kind(&error) {
                return Err(error);
            }
            env.ui.error(&error);
            status = error::exit_status(&error);
        }
    }
    Ok(status)
}

fn in_place(flags: &BuildKernelFlags, paths: &Paths) -> Result<Vec<InPlace>> {
    let kernels = Kernels::load(&paths.configs)?;
    let arch = architecture(flags.arch.as_deref())?;
    let mut flavors = flavors(&flags.flavors, flags.all_flavors, &kernels)?;
    let flavor = match (flavors.pop(), flavors.is_empty()) {
        (Some(flavor), true) => flavor,
        _ => return Err(Failure::usage("a tree can be built in place for one flavor").into()),
    };
    let tree = |word: &OsString| match wanted(word)? {
        WantedSource::Directory(directory) => Ok(InPlace {
            directory,
            flavor: flavor.clone(),
            arch,
            cc: flags.cc.clone(),
            jobs: flags.jobs,
        }),
        WantedSource::Version(version) => {
            let message = format!("{version} cannot be built in place: it is no directory");
            let hint = "the directory of a source tree starts with . or /";
            Err(anyhow::Error::from(Failure::usage(message).hint(hint)))
        }
    };
    flags.kernels.iter().map(tree).collect()
}

fn requests(flags: &BuildKernelFlags, paths: &Paths) -> Result<Vec<BuildRequest>> {
    let kernels = Kernels::load(&paths.configs)?;
    let arch = architecture(flags.arch.as_deref())?;
    let flavors = flavors(&flags.flavors, flags.all_flavors, &kernels)?;
    let mut all = Vec::new();
    if flags.all_series {
        for series in kernels.series_of(arch) {
            all.push(WantedSource::Version(series.to_string().parse()?));
        }
    }
    for kernel in &flags.kernels {
        let wanted = wanted(kernel)?;
        if let WantedSource::Version(version) = &wanted {
            kernels.require_series(version.series, arch)?;
        }
        all.push(wanted);
    }
    let mut requests = Vec::new();
    for wanted in all {
        requests.extend(flavors.iter().map(|flavor| BuildRequest {
            wanted: wanted.clone(),
            flavor: flavor.clone(),
            arch,
            source: flags.source.clone(),
            kernel_org_url: flags.kernel_org_url.clone(),
            cc: flags.cc.clone(),
            jobs: flags.jobs,
            keep_build: flags.keep_build,
        }));
    }
    Ok(requests)
}

/// The flavors that `-f` and `-F` choose; without them, the most usual one.
pub fn flavors(chosen: &[String], all: bool, kernels: &Kernels) -> Result<Vec<String>> {
    let names = kernels.flavors.iter().map(|flavor| flavor.name.clone());
    if all {
        return Ok(names.collect());
    }
    if chosen.is_empty() {
        return Ok(names.take(1).collect());
    }
    for flavor in chosen {
        kernels.flavor(flavor)?;
    }
    let mut flavors = Vec::<String>::new();
    for flavor in chosen {
        if !flavors.contains(flavor) {
            flavors.push(flavor.clone());
        }
    }
    Ok(flavors)
}

/// A word that starts with `.`, `/` or `~/` is a directory, any other a version.
fn wanted(word: &OsStr) -> Result<WantedSource> {
    let text = word.to_string_lossy();
    if is_path(&text) {
        let path = at_home(Path::new(word), std::env::var_os("HOME"));
        return Ok(WantedSource::Directory(path));
    }
    let version = text.parse().map_err(|failure: Failure| {
        failure.hint(
            "a version is written like 6.1, 6.1.192 or 7.3-rc2; a directory starts with . or /",
        )
    })?;
    Ok(WantedSource::Version(version))
}

/// The architecture of that name, or this host's.
pub fn architecture(name: Option<&str>) -> Result<&'static Arch> {
    let known = || {
        arch::ARCHITECTURES
            .iter()
            .map(|arch| arch.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (found, name) = match name {
        Some(name) => (arch::find(name), name),
        None => (arch::host(), std::env::consts::ARCH),
    };
    found.ok_or_else(|| {
        Failure::usage(format!("unknown architecture {name}"))
            .hint(format!("there is {}", known()))
            .into()
    })
}
