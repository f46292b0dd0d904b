//! The kernels of Debian's archive: `-k debian:WHAT`.
//!
//! [`choose`] asks the archive's lists, which are used for a day, and looks whether the
//! very packages were unpacked before; only if they were not, [`obtain`] downloads them.

pub mod select;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::base::error::{self, Failure};
use crate::base::{disk, env::Env, interrupt, paths::Paths, temporary::Temporary};
use crate::kernel::distro::{self, DistroOrigin, PackageOrigin, folder};
use crate::kernel::source;
use crate::model::arch::{self, Arch};
use crate::model::{kernel::LocalKernel, version::Release};
use crate::net::apt::formats::{self as apt, DebianSuite, Dependency};
use crate::net::apt::suites::{DebianPackage, SuiteLists, Suites};

use select::{SuiteOffer, What};

/// A kernel of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
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
    let suites = match open_suites(env, arch, |suite| what.wants(suite)) {
        Ok(suites) => suites,
        Err(error) if error::is_final(&error) => return Err(error),
        Err(error) => {
            let here = installed(&what, arch, &env.paths)?;
            let kernel = here.ok_or_else(|| unasked(&what, &error))?;
            let release = &kernel.release;
            env.ui
                .info(format!("{error:#}; using {release}, which is here"));
            return Ok(DebianKernel::Here(kernel));
        }
    };
    let offers = offers(&suites, arch)?;
    let selected = select::select(&what, &offers, arch.debian_flavor)?;
    let packages = selected.packages.into_iter();
    let packages = packages.map(|candidate| selected.suite.package(candidate));
    let packages = packages.collect::<Vec<_>>();
    let found = distro::find(&env.paths, arch, &key(&packages))?;
    let archived = || {
        DebianKernel::Archived(Archived {
            arch,
            release: selected.release,
            packages,
        })
    };
    Ok(found.map_or_else(archived, DebianKernel::Here))
}

/// Suites of which at least one can be asked.
fn open_suites(env: &Env, arch: &Arch, wanted: impl Fn(&DebianSuite) -> bool) -> Result<Suites> {
    let suites = Suites::open(env, arch, wanted)?;
    match suites.unusable() {
        Some(failure) => Err(failure.into()),
        None => Ok(suites),
    }
}

fn key(packages: &[DebianPackage]) -> String {
    let packages = packages.iter();
    folder::key(packages.map(|package| package.candidate.sha256.as_str()))
}

/// The error if the archive cannot be asked and nothing is here.
fn unasked(what: &What, error: &anyhow::Error) -> Failure {
    Failure::setup(format!("cannot ask Debian for {what}: {error:#}"))
        .hint("a package that you have can be given instead: -k ./linux-image-….deb")
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
    let key = key(&kernel.packages);
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

/// A package of just that version, in the first suite that has it, with those that it needs
/// and whose names begin like one of `parts`: from that suite, or from the one that it updates.
/// Parts that begin like another one than the package are for this host, not for `arch`. `what` is
/// for people: what it is.
pub fn packages(
    env: &Env,
    arch: &Arch,
    name: &str,
    version: &str,
    what: &str,
    parts: &[&str],
) -> Result<Vec<DebianPackage>> {
    let suites = open_suites(env, arch, |_| true)
        .with_context(|| format!("cannot get {name} {version} from Debian"))?;
    let mut others = Vec::new();
    for lists in suites.usable() {
        interrupt::check()?;
        let shown = lists.show(&[name.to_owned()])?;
        for candidate in apt::parse_show(&shown, name) {
            if candidate.version == version {
                let host = arch::host().filter(|host| !parts.is_empty() && *host != arch);
                let host = host.map(|host| open_suites(env, host, |_| true));
                let host = host.transpose()?;
                let own = near(&suites, lists);
                let programs = near(host.as_ref().unwrap_or(&suites), lists);
                let start = parts.iter().find(|start| name.starts_with(**start));
                let start = start.copied().unwrap_or(name);
                let mut packages = vec![lists.package(candidate.clone())];
                select::with_parts(candidate, |needed| -> Result<_> {
                    let is_program = !needed.package.starts_with(start);
                    let from = if is_program { programs } else { own };
                    let found = part(from, needed, parts)?;
                    packages.extend(found.clone());
                    Ok(found.map(|package| package.candidate))
                })
                .with_context(|| format!("the suite that has {name} lacks what it needs"))?;
                return Ok(packages);
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

/// The suite of that name, and the one that it updates.
fn near<'s>(suites: &'s Suites, wanted: SuiteLists<'_>) -> [Option<SuiteLists<'s>>; 2] {
    let own = |other: &SuiteLists<'_>| other.suite() == wanted.suite();
    let updated = |other: &SuiteLists<'_>| wanted.updates(other);
    [suites.usable().find(own), suites.usable().find(updated)]
}

/// The newest package in a suite, else in the next, that does for a dependency; `None` if it is
/// none of `parts`.
fn part(
    suites: [Option<SuiteLists<'_>>; 2],
    needed: &Dependency,
    parts: &[&str],
) -> Result<Option<DebianPackage>> {
    let name = &needed.package;
    if !parts.iter().any(|start| name.starts_with(start)) {
        return Ok(None);
    }
    for lists in suites.into_iter().flatten() {
        let mut candidates = apt::parse_show(&lists.show(std::slice::from_ref(name))?, name);
        if let Some(wanted) = &needed.version {
            candidates.retain(|candidate| candidate.version == *wanted);
        }
        let newest = candidates.into_iter();
        let newest = newest.max_by(|a, b| apt::compare(&a.version, &b.version));
        if let Some(newest) = newest {
            return Ok(Some(lists.package(newest)));
        }
    }
    bail!("no {name}")
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

/// Downloads packages into a temporary directory, in which the log is too.
pub fn download(
    env: &Env,
    packages: &[DebianPackage],
    temporary: &Temporary,
) -> Result<Vec<PathBuf>> {
    let sizes = packages.iter().map(|package| &package.candidate);
    let sizes = sizes.flat_map(|candidate| [candidate.size, candidate.installed]);
    let (folder, size) = (temporary.path(), sizes.fold(0, u64::saturating_add));
    let hint = "cargo xtask prune, or another --directory";
    disk::require_space(folder, "the packages", size, hint)?;
    let log = temporary.path().join("apt.log");
    let mut files = Vec::new();
    for (index, package) in packages.iter().enumerate() {
        // All of a suite at once.
        if !packages[..index]
            .iter()
            .any(|other| other.is_beside(package))
        {
            let of_suite = packages.iter().filter(|other| other.is_beside(package));
            let of_suite = of_suite.cloned().collect::<Vec<_>>();
            files.extend(source::debian::download(env, &log, &of_suite, folder)?);
        }
    }
    Ok(files)
}

/// The newest kernel on this machine that is asked for and was unpacked from packages.
/// Nothing here says of which suite it was.
fn installed(what: &What, arch: &'static Arch, paths: &Paths) -> Result<Option<LocalKernel>> {
    let mut asked = Vec::new();
    for kernel in distro::survey(paths, arch)?.kernels {
        let packages = DistroOrigin::read(&kernel.path)?.packages;
        let mut packages = packages.iter();
        let image = packages.find(|package| select::is_image(&package.name));
        if let Some(upstream) = image.and_then(|image| apt::upstream(&image.version))
            && what.is(&kernel.release.to_string(), &upstream, arch.debian_flavor)
        {
            asked.push((upstream, kernel));
        }
    }
    // Of several of one version, the first.
    let newest = asked
        .into_iter()
        .rev()
        .max_by_key(|(upstream, _)| *upstream);
    Ok(newest.map(|(_, kernel)| kernel))
}
