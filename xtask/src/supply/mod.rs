//! From a kernel request to a kernel on this machine: [`choose`] decides among what
//! is there, what the release has and what can be built; [`obtain`] gets it.

pub mod list;
pub mod places;
pub mod prune;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::error::{self, Failure};
use crate::base::{env::Env, paths::Paths};
use crate::host::setup;
use crate::kernel::build::{self, BuildRequest};
use crate::kernel::{
    built_tree, distro, distro::debian, distro::debuginfo, distro::host,
    distro::package::packages_at, store,
};
use crate::model::arch::{self, Arch};
use crate::model::kernel_request::{
    self, Buildable, Candidate, KernelRequest, KernelSource, Pattern, Selector, newest_first,
};
use crate::model::{catalog::Kernels, kernel::LocalKernel, version::Release};
use crate::net::github::client::{Client, Freshness};
use crate::net::http::HttpError;
use crate::release::download::{self, Package};
use crate::supply::places::Places;

/// The architecture of this machine.
pub fn host_arch() -> Result<&'static Arch> {
    arch::host().with_context(|| format!("kernels for {} are not known", std::env::consts::ARCH))
}

/// Where kernels may come from, and who is asked for those of the release.
#[derive(Debug)]
pub struct Sources {
    /// The places.
    pub from: Places,
    /// For the release.
    pub client: Client,
    /// Whether a kernel that comes without debugging information gets it.
    pub debuginfo: bool,
}

/// Where a kernel that was asked for is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// On this machine.
    Local(LocalKernel),
    /// In a package file on this machine, or in the package files of a distribution that a
    /// directory holds.
    File(PathBuf),
    /// In the release.
    Release(Package),
    /// In Debian's archive.
    Debian(debian::Archived),
    /// Nowhere, but it can be built.
    Build(Buildable, &'static Arch),
}

/// What is picked by name.
#[derive(Clone)]
enum Named {
    Local(LocalKernel),
    Release(Package),
}

impl Candidate for Named {
    fn arch(&self) -> &'static Arch {
        match self {
            Self::Local(kernel) => kernel.arch(),
            Self::Release(package) => package.arch(),
        }
    }

    fn release(&self) -> &Release {
        match self {
            Self::Local(kernel) => kernel.release(),
            Self::Release(package) => package.release(),
        }
    }

    fn local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}

impl From<Named> for Choice {
    fn from(named: Named) -> Self {
        match named {
            Named::Local(kernel) => Self::Local(kernel),
            Named::Release(package) => Self::Release(package),
        }
    }
}

/// The kernel that is asked for; without a request, the newest on this machine,
/// else the newest of the release.
pub fn resolve(
    env: &Env,
    request: Option<&KernelRequest>,
    sources: &Sources,
) -> Result<LocalKernel> {
    let choice = choose(env, request, sources)?;
    obtain(env, request, &choice, sources)
}

/// Decides where the kernel comes from. Asks for what the release has only if that
/// can change the answer: a path and a whole release that is here do not need it.
pub fn choose(env: &Env, request: Option<&KernelRequest>, sources: &Sources) -> Result<Choice> {
    let from = sources.from;
    let host = host_arch()?;
    match request.map(|request| &request.selector) {
        Some(Selector::Path(path)) => return at_path(env, path),
        Some(Selector::Source(source, argument)) => {
            let arch = request.and_then(|request| request.arch).unwrap_or(host);
            return from_source(env, *source, argument.as_deref(), arch);
        }
        Some(Selector::Pattern(_)) | None => {}
    }
    let arch = request.and_then(|request| request.arch).unwrap_or(host);
    let mut candidates = Vec::new();
    let whole = request
        .is_some_and(|request| matches!(request.selector, Selector::Pattern(Pattern::Release(_))));
    if from.local {
        let mut kernels = store::kernels(&env.paths, arch)?;
        // A pattern means kernels of ours; one of a distribution must be named in full.
        if whole {
            kernels.extend(distro::survey(&env.paths, arch)?);
        }
        candidates.extend(kernels.into_iter().map(Named::Local));
    }
    let pick = |candidates: &[Named]| match request {
        Some(request) => request.pick(candidates).cloned(),
        None => candidates
            .iter()
            .min_by(|a, b| newest_first(*a, *b))
            .cloned(),
    };
    if (whole || request.is_none())
        && let Some(choice) = pick(&candidates)
    {
        return Ok(choice.into());
    }
    let mut unasked = None;
    if from.release {
        match sources.client.listing(Freshness::Usual) {
            Ok(listing) => candidates.extend(
                download::packages(&listing.assets)
                    .into_iter()
                    .filter(|package| package.name.arch == arch)
                    .map(Named::Release),
            ),
            Err(error) if error::is_final(&error) => return Err(error),
            Err(error) => unasked = Some(error),
        }
    }
    if let Some(choice) = pick(&candidates) {
        if let Some(error) = unasked {
            let what = "using what is on this machine";
            sources.client.warn_once(format!("{error:#}; {what}"));
        }
        return Ok(choice.into());
    }
    let missing = Missing {
        candidates: &candidates,
        unasked: unasked.as_ref(),
    };
    missing.build(env, request, sources, arch)
}

fn at_path(env: &Env, path: &Path) -> Result<Choice> {
    let path = kernel_request::at_home(path, std::env::var_os("HOME"));
    let kernel = if path.is_file() {
        return Ok(Choice::File(path));
    } else if built_tree::is_tree(&path) {
        built_tree::open(env, &path)
    } else if distro::is_folder(&path) {
        distro::open(&path)
    } else if !packages_at(&path)?.is_empty() {
        return Ok(Choice::File(path));
    } else {
        store::open(&path)
    };
    kernel.map(Choice::Local)
}

/// No kernel that could be had matches.
struct Missing<'m> {
    candidates: &'m [Named],
    /// Why the release could not be asked.
    unasked: Option<&'m anyhow::Error>,
}

impl Missing<'_> {
    /// What is to be built in its place, or why nothing is.
    fn build(
        &self,
        env: &Env,
        request: Option<&KernelRequest>,
        sources: &Sources,
        arch: &'static Arch,
    ) -> Result<Choice> {
        let Some(request) = request else {
            let place = place(sources, self.unasked.is_some());
            let failure = Failure::setup(format!("there is no kernel{place}"));
            return Err(and_unasked(failure, self.unasked)
                .hint("name one to be built: --setup -k '6.1.*'")
                .into());
        };
        let releases = self.candidates.iter().map(Candidate::release);
        let place = place(sources, self.unasked.is_some());
        let nothing = request.nothing_matches(releases, place.trim_start());
        let nothing = and_unasked(nothing, self.unasked);
        let Some(wanted) = request.buildable() else {
            return Err(nothing.into());
        };
        // A series that does not exist is the user's mistake, not a missing kernel.
        let known = Kernels::load(&env.paths.configs)?;
        known.require_series(wanted.version.series, arch)?;
        known.flavor(&wanted.flavor)?;
        if !sources.from.build {
            return Err(nothing.into());
        }
        if let Some(error) = self.unasked {
            sources.client.warn_once(format!("{error:#}"));
        }
        Ok(Choice::Build(wanted, arch))
    }
}

/// Where a kernel is that no release of ours holds. `--from` says nothing about it.
fn from_source(
    env: &Env,
    source: KernelSource,
    argument: Option<&str>,
    arch: &'static Arch,
) -> Result<Choice> {
    Ok(match source {
        KernelSource::Host => {
            let release = host::running()?;
            Choice::Local(host::open(Path::new("/"), &release, arch, &env.paths)?)
        }
        KernelSource::Debian => match debian::choose(env, argument, arch)? {
            debian::DebianKernel::Here(kernel) => Choice::Local(kernel),
            debian::DebianKernel::Archived(kernel) => Choice::Debian(kernel),
        },
    })
}

/// Where was looked, for an error; empty if nowhere.
fn place(sources: &Sources, unasked: bool) -> String {
    let Places { local, release, .. } = sources.from;
    let location = sources.client.location();
    match (local, release && !unasked) {
        (true, true) => format!(" on this machine or in {location}"),
        (true, false) => " on this machine".to_owned(),
        (false, true) => format!(" in {location}"),
        (false, false) => " to be had".to_owned(),
    }
}

/// The failure, with why the release could not be asked.
fn and_unasked(mut failure: Failure, unasked: Option<&anyhow::Error>) -> Failure {
    if let Some(error) = unasked {
        // That the list cannot be had goes without saying where a host is away.
        let why = match error.downcast_ref() {
            Some(away @ HttpError::Unreachable(_)) => away.to_string(),
            _ => format!("{error:#}"),
        };
        failure.message = format!("{}, and {why}", failure.message);
    }
    failure
}

/// Gets what was chosen, with debugging information if that is wanted: fetches it, or
/// builds it.
pub fn obtain(
    env: &Env,
    request: Option<&KernelRequest>,
    choice: &Choice,
    sources: &Sources,
) -> Result<LocalKernel> {
    let kernel = obtain_kernel(env, request, choice, &sources.client)?;
    match sources.debuginfo {
        true => debuginfo::add(env, kernel),
        false => Ok(kernel),
    }
}

fn obtain_kernel(
    env: &Env,
    request: Option<&KernelRequest>,
    choice: &Choice,
    client: &Client,
) -> Result<LocalKernel> {
    match choice {
        Choice::Local(kernel) => {
            env.ui
                .verbose(format!("{} is on this machine", kernel.release));
            Ok(kernel.clone())
        }
        Choice::File(path) => match packages_at(path)? {
            packages if packages.is_empty() => store::install(env, path),
            packages => distro::install(env, &packages),
        },
        Choice::Release(package) => Ok(download::download_one(env, client, package)?.kernel),
        Choice::Debian(kernel) => debian::obtain(env, kernel),
        Choice::Build(wanted, arch) => {
            setup::require(env, &setup::for_build(), true)?;
            let kernel = build::build_kernel(
                env,
                &BuildRequest::new(wanted.version, &wanted.flavor, arch),
            )?;
            match request {
                Some(request) if !request.matches(kernel.arch, &kernel.release) => {
                    let built = &kernel.release;
                    let message = format!("built {built}, which is not what {request} asks for");
                    Err(Failure::setup(message).into())
                }
                _ => Ok(kernel),
            }
        }
    }
}

/// The packages of the release that requests pick, in their order, each once. What
/// a whole release names and is here already is among the second.
pub fn pick_packages(
    requests: &[KernelRequest],
    client: &Client,
    paths: &Paths,
) -> Result<(Vec<Package>, Vec<LocalKernel>)> {
    let host = host_arch()?;
    let (mut packages, mut kernels) = (Vec::<Package>::new(), Vec::new());
    for request in requests {
        let arch = request.arch.unwrap_or(host);
        let pattern = match &request.selector {
            Selector::Pattern(pattern) => pattern,
            Selector::Path(_) | Selector::Source(..) => {
                let message = format!("{request} is not a kernel of a release");
                return Err(Failure::usage(message).hint("e.g. '6.1.*'").into());
            }
        };
        if let Pattern::Release(release) = pattern
            && let Ok(kernel) = store::open(&store::kernel_path(paths, arch, release))
        {
            kernels.push(kernel);
            continue;
        }
        let listing = client.listing(Freshness::Usual)?;
        let candidates = download::packages(&listing.assets)
            .into_iter()
            .filter(|package| package.name.arch == arch)
            .collect::<Vec<_>>();
        match request.pick(&candidates) {
            Some(package) if !packages.contains(package) => {
                packages.push(package.clone());
            }
            Some(_) => {}
            None => {
                let releases = candidates.iter().map(Candidate::release);
                let place = format!("in {}", client.location());
                return Err(request.nothing_matches(releases, &place).into());
            }
        }
    }
    Ok((packages, kernels))
}
