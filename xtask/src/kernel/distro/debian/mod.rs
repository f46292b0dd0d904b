//! The kernels of Debian's archive: `-k debian:WHAT`.
//!
//! [`choose`] asks the archive's lists, which are used for a day, and looks whether the
//! very packages were unpacked before; only if they were not, [`obtain`] downloads them.

pub mod select;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::base::error::{self, Failure, FailureKind};
use crate::base::{disk, env::Env, interrupt, paths::Paths, temporary::Temporary};
use crate::kernel::distro;
use crate::kernel::distro::{DistroOrigin, PackageOrigin, folder};
use crate::kernel::source;
use crate::model::version::{Release, Version};
use crate::model::{arch::Arch, kernel::LocalKernel};
use crate::net::apt::formats::{self as apt, DebianCandidate};
use crate::net::apt::suites::{DebianPackage, SuiteLists, Suites};

use select::{Selected, SuiteOffer, What};

/// A kernel of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// What it runs on.
    pub arch: &'static Arch,
    /// What `uname -r` will print.
    pub release: Release,
    /// What must be downloaded.
    packages: Vec<DebianPackage>,
}

/// Where a kernel of Debian is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DebianKernel {
    /// On this machine, unpacked.
    Here(LocalKernel),
    /// In the archive.
    Archived(Archived),
}

/// The newest kernel that `debian:WHAT` asks for. If the archive cannot be asked, the
/// newest that was unpacked before and is asked for.
pub fn choose(env: &Env, argument: Option<&str>, arch: &'static Arch) -> Result<DebianKernel> {
    let what = What::parse(argument)?;
    let suites = Suites::open(env, |suite| what.wants(suite));
    let suites = suites.and_then(|suites| match suites.unusable() {
        Some(failure) => Err(failure.into()),
        None => Ok(suites),
    });
    let suites = match suites {
        Ok(suites) => suites,
        Err(error) if is_final(&error) => return Err(error),
        Err(error) => {
            let here = installed(&what, arch, &env.paths)?;
            let kernel = here.ok_or_else(|| unasked(&what, &error))?;
            env.ui.info(format!(
                "{error:#}; using {}, which is here",
                kernel.release
            ));
            return Ok(DebianKernel::Here(kernel));
        }
    };
    let offers = offers(&suites, arch)?;
    let selected = select::select(&what, &offers, arch.debian_flavor)?;
    let found = distro::find(&env.paths, arch, &key(&selected))?;
    Ok(match found {
        Some(kernel) => DebianKernel::Here(kernel),
        None => {
            let package = |candidate: DebianCandidate| selected.suite.package(candidate);
            DebianKernel::Archived(Archived {
                arch,
                release: selected.release,
                packages: selected.packages.into_iter().map(package).collect(),
            })
        }
    })
}

fn key(selected: &Selected<SuiteLists<'_>>) -> String {
    let packages = selected.packages.iter();
    folder::key(
        &packages
            .map(|package| package.sha256.clone())
            .collect::<Vec<_>>(),
    )
}

/// A signal is not a thing to go on after.
fn is_final(error: &anyhow::Error) -> bool {
    matches!(error::kind(error), Some(FailureKind::Interrupted(_)))
}

/// The error if the archive cannot be asked and nothing is here.
fn unasked(what: &What, error: &anyhow::Error) -> Failure {
    let hint = "or give a package that you have: -k ./linux-image-….deb";
    let text = format!("cannot ask Debian for {what}: {error:#}");
    // One pair of brackets for both remedies.
    match text.strip_suffix(')') {
        Some(text) => Failure::setup(format!("{text}; {hint})")),
        None => Failure::setup(text).hint(hint.trim_start_matches("or ")),
    }
}

/// The kernels' packages in each suite.
fn offers<'s>(suites: &'s Suites, arch: &Arch) -> Result<Vec<SuiteOffer<SuiteLists<'s>>>> {
    let mut offers = Vec::new();
    for lists in suites.usable() {
        interrupt::check()?;
        let names = select::names(lists.names(select::PREFIX)?, arch.debian_flavor);
        offers.push(SuiteOffer {
            suite: lists,
            candidates: apt::parse_all(&lists.show(&names)?),
        });
    }
    Ok(offers)
}

/// Downloads and unpacks, unless another run has done that meanwhile.
pub fn obtain(env: &Env, kernel: &Archived) -> Result<LocalKernel> {
    let sums = kernel.packages.iter();
    let sums = sums.map(|package| package.candidate.sha256.clone());
    let key = folder::key(&sums.collect::<Vec<_>>());
    let find = || distro::find(&env.paths, kernel.arch, &key);
    folder::find_or_make(env, &format!("debian-{key}"), find, || {
        let kernels = env.paths.kernels(kernel.arch.name);
        // The files go when they are unpacked, or after an error.
        let temporary =
            Temporary::directory(&kernels.join(format!("packages-{}", kernel.release)))?;
        let files = download(env, &kernel.packages, &temporary)
            .with_context(|| format!("cannot get the kernel {} from Debian", kernel.release))?;
        distro::install(env, &files).map_err(error::not_the_users)
    })
}

/// The package with the debugging information of a release, of just that version.
pub fn debug_package(env: &Env, release: &Release, version: &str) -> Result<DebianPackage> {
    let what = format!("the debugging information of {release}");
    let take = |lists: SuiteLists<'_>, candidate| Ok(lists.package(candidate));
    of_version(env, &debug_name(release), version, &what, take)
}

/// The packages with what modules are built against for a release, of just that version.
pub fn header_packages(env: &Env, release: &Release, version: &str) -> Result<Vec<DebianPackage>> {
    let what = format!("what modules are built against for {release}");
    let take = |lists: SuiteLists<'_>, first: DebianCandidate| {
        let mut found = vec![first];
        let mut next = 0;
        while let Some(candidate) = found.get(next) {
            next += 1;
            for needed in candidate.depends.clone() {
                let ours = ["linux-headers-", "linux-kbuild-"];
                let known = found.iter().any(|other| other.package == needed.package);
                if known || !ours.iter().any(|start| needed.package.starts_with(start)) {
                    continue;
                }
                let shown = lists.show(std::slice::from_ref(&needed.package))?;
                let wanted = needed.version.as_deref();
                let candidates = apt::parse_show(&shown, &needed.package).into_iter();
                let newest = candidates
                    .filter(|candidate| wanted.is_none_or(|wanted| candidate.version == wanted))
                    .max_by(|a, b| apt::compare(&a.version, &b.version));
                found.push(newest.with_context(|| {
                    format!(
                        "the suite that has {} lacks {}",
                        found[0].package, needed.package
                    )
                })?);
            }
        }
        Ok(found
            .into_iter()
            .map(|candidate| lists.package(candidate))
            .collect())
    };
    of_version(env, &headers_name(release), version, &what, take)
}

/// What `take` makes of a package of just that version, in the first suite that has it.
fn of_version<T>(
    env: &Env,
    name: &str,
    version: &str,
    what: &str,
    take: impl FnOnce(SuiteLists<'_>, DebianCandidate) -> Result<T>,
) -> Result<T> {
    let context = || format!("cannot get {name} {version} from Debian");
    let suites = Suites::open(env, |_| true).with_context(context)?;
    if let Some(failure) = suites.unusable() {
        return Err(failure).with_context(context);
    }
    let mut others = Vec::new();
    for lists in suites.usable() {
        interrupt::check()?;
        let shown = lists.show(&[name.to_owned()])?;
        for candidate in apt::parse_show(&shown, name) {
            if candidate.version == version {
                return take(lists, candidate);
            }
            others.push(candidate.version);
        }
    }
    let message = match others.as_slice() {
        [] => format!("no suite of Debian has {name}, {what}"),
        others => format!(
            "Debian has {name} only as {}, not as {version}",
            others.join(", ")
        ),
    };
    let hint = "Debian keeps it for its newest kernels, and that of a new one may come later";
    Err(Failure::setup(message).hint(hint).into())
}

/// The package that a kernel's image was unpacked from, if it is one of Debian's. `what` is
/// to be had for it.
pub fn image_package(kernel: &LocalKernel, what: &str) -> Result<PackageOrigin> {
    let packages = DistroOrigin::read(&kernel.path)?.packages;
    let names = packages.iter().map(|package| package.name.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    let image = packages
        .into_iter()
        .find(|package| select::is_image(&package.name));
    Ok(image.ok_or_else(|| {
        let release = &kernel.release;
        Failure::setup(format!(
            "nobody knows where {what} of {release} is: it is not Debian's but came in {names}"
        ))
        .hint("it is fetched from Debian's archive alone, and cannot be given by a path")
    })?)
}

/// The name of the package with what modules are built against for a release.
pub fn headers_name(release: &Release) -> String {
    format!("linux-headers-{release}")
}

/// The name of the package with the debugging information of a release, whether its image
/// was signed or not.
pub fn debug_name(release: &Release) -> String {
    format!("linux-image-{release}-dbg")
}

/// Downloads packages into a temporary directory, in which the log is too.
pub fn download(
    env: &Env,
    packages: &[DebianPackage],
    temporary: &Temporary,
) -> Result<Vec<PathBuf>> {
    let bytes = packages.iter().map(|package| {
        let DebianCandidate {
            size, installed, ..
        } = package.candidate;
        size.saturating_add(installed)
    });
    let bytes = bytes.fold(0, u64::saturating_add);
    disk::require_space(temporary.path(), bytes)?;
    let log = temporary.path().join("apt.log");
    source::debian::download(env, &log, packages, temporary.path())
}

/// The newest kernel on this machine that is asked for and was unpacked from packages.
/// Nothing here says of which suite it was.
fn installed(what: &What, arch: &'static Arch, paths: &Paths) -> Result<Option<LocalKernel>> {
    let mut best: Option<(Version, LocalKernel)> = None;
    for kernel in distro::survey(paths, arch)? {
        let packages = DistroOrigin::read(&kernel.path)?.packages;
        let image = packages
            .iter()
            .find(|package| select::is_image(&package.name));
        let Some(upstream) = image.and_then(|image| apt::upstream(&image.version)) else {
            continue;
        };
        let asked = what.is(&kernel.release.to_string(), &upstream, arch.debian_flavor);
        if asked && best.as_ref().is_none_or(|(newest, _)| upstream > *newest) {
            best = Some((upstream, kernel));
        }
    }
    Ok(best.map(|(_, kernel)| kernel))
}
