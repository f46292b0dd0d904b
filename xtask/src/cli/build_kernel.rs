//! `xtask build-kernel`: source, configuration, make, package.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::base::env::Env;
use crate::base::error::{self, Failure, FailureKind};
use crate::base::paths::Paths;
use crate::base::stdout;
use crate::host::setup;
use crate::kernel::build::in_place::{self, InPlace};
use crate::kernel::build::{self, BuildRequest, dry_run::dry_run};
use crate::kernel::source::Wanted;
use crate::model::arch::{self, Arch};
use crate::model::catalog::Kernels;
use crate::model::kernel_request::{at_home, is_path};
use anyhow::Result;

use crate::cli::flags::BuildKernel;

/// Builds every kernel that was asked for; stops at the first that fails.
pub fn run(env: &Env, flags: &BuildKernel, install: bool) -> Result<u8> {
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

/// The trees of `--in-place`.
fn in_place(flags: &BuildKernel, paths: &Paths) -> Result<Vec<InPlace>> {
    let kernels = Kernels::load(&paths.configs)?;
    let arch = architecture(flags.arch.as_deref())?;
    let mut flavors = flavors(&flags.flavors, flags.all_flavors, &kernels)?;
    let flavor = match (flavors.pop(), flavors.is_empty()) {
        (Some(flavor), true) => flavor,
        _ => return Err(Failure::usage("a tree can be built in place for one flavor").into()),
    };
    let tree = |word: &OsString| match wanted(word)? {
        Wanted::Directory(directory) => Ok(InPlace {
            directory,
            flavor: flavor.clone(),
            arch,
            cc: flags.cc.clone(),
            jobs: flags.jobs,
        }),
        Wanted::Version(version) => {
            let message = format!("{version} cannot be built in place: it is no directory");
            let hint = "the directory of a source tree starts with . or /";
            Err(anyhow::Error::from(Failure::usage(message).hint(hint)))
        }
    };
    flags.kernels.iter().map(tree).collect()
}

fn requests(flags: &BuildKernel, paths: &Paths) -> Result<Vec<BuildRequest>> {
    let kernels = Kernels::load(&paths.configs)?;
    let arch = architecture(flags.arch.as_deref())?;
    let flavors = flavors(&flags.flavors, flags.all_flavors, &kernels)?;
    let mut all = Vec::new();
    if flags.all_series {
        for series in kernels.series_of(arch) {
            all.push(Wanted::Version(series.to_string().parse()?));
        }
    }
    for kernel in &flags.kernels {
        let wanted = wanted(kernel)?;
        if let Wanted::Version(version) = &wanted {
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
///
/// # Errors
///
/// A usage error for one that is not known.
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
fn wanted(word: &OsStr) -> Result<Wanted> {
    let text = word.to_string_lossy();
    if is_path(&text) {
        let path = at_home(Path::new(word), std::env::var_os("HOME"));
        return Ok(Wanted::Directory(path));
    }
    let version = text.parse().map_err(|failure: Failure| {
        failure.hint(
            "a version is written like 6.1, 6.1.192 or 7.3-rc2; a directory starts with . or /",
        )
    })?;
    Ok(Wanted::Version(version))
}

/// The architecture of that name, or this host's.
///
/// # Errors
///
/// A usage error that names those that are known.
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
