//! From a kernel request to a kernel on this machine: [`choose`] decides among what
//! is there, what the release has and what can be built; [`obtain`] gets it.

pub mod list;
pub mod offer;
pub mod places;
pub mod prune;

use std::path::Path;

use anyhow::{Context, Error, Result};

use crate::base::error::{self, Failure};
use crate::base::{env::Env, paths::Paths};
use crate::kernel::{
    built_tree, config::OwnFragment, distro, distro::debian, distro::debuginfo, distro::host,
    distro::package::packages_at, store,
};
use crate::model::arch::{self, Arch};
use crate::model::kernel_request::{
    self, Candidate, KernelRequest, KernelSource, Pattern, Selector, newest_first,
};
use crate::model::{
    catalog::Kernels, kernel::LocalKernel, package_name::PackageName, version::Release,
};
use crate::net::github::client::{Client, Freshness};
use crate::net::http::HttpError;
use crate::release::download::{self, Package};
use offer::{How, Offer};
use places::KernelPlace;

/// The architecture of this machine.
pub fn host_arch() -> Result<&'static Arch> {
    arch::host().with_context(|| format!("kernels for {} are not known", std::env::consts::ARCH))
}

/// For which architecture the kernel of a request will be; of one that cannot be had, this
/// machine's.
pub fn arch_of(env: &Env, request: Option<&KernelRequest>) -> Result<&'static Arch> {
    let at_its_path = |request: &KernelRequest| match &request.selector {
        Selector::Path(path) => Some(at_path(env, path).ok()?.arch()),
        _ => None,
    };
    let arch = request.and_then(|request| request.arch.or_else(|| at_its_path(request)));
    arch.map_or_else(host_arch, Ok)
}

/// Where kernels may come from.
#[derive(Debug)]
pub struct Sources {
    pub from: Vec<KernelPlace>,
    /// For the release.
    pub client: Client,
    /// Fragments beyond ours that a kernel can be built with.
    pub own: Vec<OwnFragment>,
    /// Whether a kernel that comes without debugging information gets it.
    pub debuginfo: bool,
}

/// What is picked by name: what is here and what the release has.
#[derive(Clone)]
struct Named {
    name: PackageName,
    how: How,
}

impl Candidate for Named {
    fn arch(&self) -> &'static Arch {
        self.name.arch
    }

    fn release(&self) -> &Release {
        &self.name.release
    }

    fn local(&self) -> bool {
        matches!(self.how, How::Here(_))
    }
}

/// The kernel that is asked for; without a request, the newest on this machine,
/// else the newest of the release.
pub fn resolve(
    env: &Env,
    request: Option<&KernelRequest>,
    sources: &Sources,
) -> Result<LocalKernel> {
    let offer = choose(env, request, sources)?;
    obtain(env, request, &offer, sources)
}

/// Gets what was chosen, with debugging information if that is wanted.
pub fn obtain(
    env: &Env,
    request: Option<&KernelRequest>,
    offer: &Offer,
    sources: &Sources,
) -> Result<LocalKernel> {
    let kernel = offer.obtain(env, request, sources)?;
    match sources.debuginfo {
        true => debuginfo::add(env, kernel),
        false => Ok(kernel),
    }
}

/// Decides where the kernel comes from. Asks for what the release has only if that
/// can change the answer: a path and a whole release that is here do not need it.
pub fn choose(env: &Env, request: Option<&KernelRequest>, sources: &Sources) -> Result<Offer> {
    choose_how(env, request, sources).map(Offer::from)
}

fn choose_how(env: &Env, request: Option<&KernelRequest>, sources: &Sources) -> Result<How> {
    let asked = request.and_then(|request| request.arch);
    let arch = asked.map_or_else(host_arch, Ok)?;
    let whole = match request.map(|request| &request.selector) {
        Some(Selector::Path(path)) => {
            return at_path(env, path).and_then(|how| require_arch(how, asked, path));
        }
        Some(Selector::Source(source, argument)) => {
            return from_source(env, *source, argument.as_deref(), arch);
        }
        Some(Selector::Pattern(pattern)) => matches!(pattern, Pattern::Release(_)),
        None => false,
    };
    let mut candidates = match sources.from.contains(&KernelPlace::Local) {
        true => here(env, request, sources, arch)?,
        false => Vec::new(),
    };
    let pick = |candidates: &[Named]| {
        let picked = match request {
            Some(request) => request.pick(candidates),
            None => {
                let usual = |named: &&Named| named.release().options().is_none();
                let usual = candidates.iter().filter(usual);
                usual.min_by(|a, b| newest_first(*a, *b))
            }
        };
        picked.map(|named| named.how.clone())
    };
    if (whole || request.is_none())
        && let Some(how) = pick(&candidates)
    {
        return Ok(how);
    }
    let mut unasked = None;
    if sources.from.contains(&KernelPlace::Release) {
        match sources.client.listing(Freshness::Usual) {
            Ok(listing) => {
                let packages = download::packages(&listing.assets, arch).into_iter();
                candidates.extend(packages.map(|package| Named {
                    name: package.name.clone(),
                    how: How::Download(package),
                }));
            }
            Err(error) if error::is_final(&error) => return Err(error),
            Err(error) => unasked = Some(error),
        }
    }
    if let Some(how) = pick(&candidates) {
        if let Some(error) = unasked {
            let what = "using what is on this machine";
            sources.client.warn_once(format!("{error:#}; {what}"));
        }
        return Ok(how);
    }
    // A series that does not exist is the user's mistake, not a missing kernel.
    let nothing = nothing(request, &candidates, sources, unasked.as_ref());
    let Some(wanted) = request.and_then(KernelRequest::buildable) else {
        return Err(nothing.into());
    };
    let known = Kernels::load(&env.paths.configs)?;
    known.require_series(wanted.version.series, arch)?;
    known.flavor(&wanted.flavor)?;
    let own = OwnFragment::names(&sources.own);
    let builds = sources.from.contains(&KernelPlace::Build);
    // What nobody has given us a fragment for cannot be built.
    if !builds || (wanted.options.is_some() && wanted.options != own) {
        return Err(nothing.into());
    }
    if let Some(error) = unasked {
        sources.client.warn_once(format!("{error:#}"));
    }
    Ok(How::Build(wanted, arch))
}

/// The kernels on this machine that a pattern may pick.
fn here(
    env: &Env,
    request: Option<&KernelRequest>,
    sources: &Sources,
    arch: &'static Arch,
) -> Result<Vec<Named>> {
    let mut kernels = store::kernels(&env.paths, arch)?;
    // With another fragment of the same name a kernel is built again.
    let builds = sources.from.contains(&KernelPlace::Build);
    if builds && request.and_then(KernelRequest::buildable).is_some() {
        kernels.retain(|kernel| !sources.own.iter().any(|own| own.outdates(kernel)));
    }
    // A pattern means kernels of ours; one of a distribution must be named in full.
    let selector = request.map(|request| &request.selector);
    if matches!(selector, Some(Selector::Pattern(Pattern::Release(_)))) {
        kernels.extend(distro::survey(&env.paths, arch)?.kernels);
    }
    let named = kernels.into_iter().map(|kernel| Named {
        name: PackageName::new(kernel.arch, &kernel.release),
        how: How::Here(kernel),
    });
    Ok(named.collect())
}

fn at_path(env: &Env, path: &Path) -> Result<How> {
    let path = kernel_request::at_home(path, std::env::var_os("HOME"));
    let packages = || packages_at(&path);
    let kernel = if path.is_file() {
        let arch = match packages()?.as_slice() {
            [] => store::package_name(&path)?.arch,
            packages => distro::arch_of(packages)?,
        };
        return Ok(How::Unpack(path, arch));
    } else if built_tree::is_tree(&path) {
        built_tree::open(env, &path)
    } else if distro::is_folder(&path) {
        distro::open(&path)
    } else {
        match packages()?.as_slice() {
            [] => store::open(&path),
            packages => return Ok(How::Unpack(path.clone(), distro::arch_of(packages)?)),
        }
    };
    kernel.map(How::Here)
}

fn require_arch(how: How, asked: Option<&Arch>, path: &Path) -> Result<How> {
    let found = how.arch();
    match asked.filter(|asked| *asked != found) {
        None => Ok(how),
        Some(asked) => {
            let (path, found) = (path.display(), found.name);
            let message = format!("{path} is for {found}, not for {}", asked.name);
            Err(Failure::usage(message)
                .hint("a path needs no architecture")
                .into())
        }
    }
}

/// Where a kernel is that no release of ours holds. `--from` says nothing about it.
fn from_source(
    env: &Env,
    source: KernelSource,
    argument: Option<&str>,
    arch: &'static Arch,
) -> Result<How> {
    Ok(match source {
        KernelSource::Host => {
            if arch::host() != Some(arch) {
                let (host, name) = (std::env::consts::ARCH, arch.name);
                let message = format!("the kernel of this host is for {host}, not {name}");
                let hint = format!("{name}:debian is a kernel of Debian for it");
                return Err(Failure::usage(message).hint(hint).into());
            }
            let release = host::running()?;
            How::Here(host::open(Path::new("/"), &release, arch, &env.paths)?)
        }
        KernelSource::Debian => match debian::choose(env, argument, arch)? {
            debian::DebianKernel::Here(kernel) => How::Here(kernel),
            debian::DebianKernel::Archived(kernel) => How::Debian(kernel),
        },
    })
}

/// That no kernel matches, where was looked, and why the release could not be asked.
fn nothing(
    request: Option<&KernelRequest>,
    candidates: &[Named],
    sources: &Sources,
    unasked: Option<&Error>,
) -> Failure {
    let location = &sources.client.location;
    let local = sources.from.contains(&KernelPlace::Local);
    let release = sources.from.contains(&KernelPlace::Release) && unasked.is_none();
    let place = match (local, release) {
        (true, true) => format!("on this machine or in {location}"),
        (true, false) => "on this machine".to_owned(),
        (false, true) => format!("in {location}"),
        (false, false) => "to be had".to_owned(),
    };
    let mut failure = match request {
        Some(request) => request.nothing_matches(candidates.iter().map(Named::release), &place),
        None => Failure::setup(format!("there is no kernel {place}"))
            .hint("name one to be built: --setup -k '6.1.*'"),
    };
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
        let Selector::Pattern(pattern) = &request.selector else {
            let message = format!("{request} is not a kernel of a release");
            return Err(Failure::usage(message).hint("e.g. '6.1.*'").into());
        };
        if let Pattern::Release(release) = pattern
            && let Ok(kernel) = store::open(&store::kernel_path(paths, arch, release))
        {
            kernels.push(kernel);
            continue;
        }
        let listing = client.listing(Freshness::Usual)?;
        let candidates = download::packages(&listing.assets, arch);
        match request.pick(&candidates) {
            Some(package) if packages.contains(package) => {}
            Some(package) => packages.push(package.clone()),
            None => {
                let releases = candidates.iter().map(Candidate::release);
                let place = format!("in {}", client.location);
                return Err(request.nothing_matches(releases, &place).into());
            }
        }
    }
    Ok((packages, kernels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{embedded::CONFIGS, paths::Files};
    use crate::net::github::location::{Location, Settings};

    const RELEASE: &str = "6.1.192-vmtest1.1default+fuse";

    #[test]
    fn a_kernel_of_another_fragment_is_built_again() {
        let work = tempfile::tempdir().unwrap();
        let mut env = Env::for_tests(work.path());
        env.paths.configs = Files::Embedded(CONFIGS);
        let location = Location::choose(&[&Settings::default()], None).unwrap();
        let arch = arch::find("x86_64").unwrap();
        let kernel = env
            .paths
            .kernels(arch.name)
            .join(format!("kernel-{RELEASE}"));
        let write = |path: &Path, bytes: &[u8]| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write(&kernel.join("vmlinuz"), b"");
        let (class, data, machine) = arch.elf;
        let mut elf = [b"\x7fELF", &[class, data, 1][..]].concat();
        elf.resize(18, 0);
        elf.extend(machine.to_le_bytes());
        write(&kernel.join("build/vmlinux"), &elf);
        write(
            &kernel.join("build/include/config/kernel.release"),
            RELEASE.as_bytes(),
        );
        let fragment = work.path().join("fuse.config");
        write(&fragment, b"# File systems.\nCONFIG_FUSE_FS=y\n");
        let own = OwnFragment::read(&fragment).unwrap();
        let same = own.checksum(&"6.1.192".parse().unwrap());
        let request = "x86_64:6.1.*default+fuse".parse().unwrap();
        let all = [KernelPlace::Local, KernelPlace::Build];
        for (checksum, from, builds) in [
            (&*same, &all[..], false),
            ("", &all, true),
            ("", &all[..1], false),
        ] {
            let manifest = serde_json::json!({
                "release": RELEASE, "arch": arch.name, "flavor": "default", "revision": 1,
                "source": { "origin": "", "checksum": "" }, "patches": [], "input_key": "",
                "options": [{ "name": "fuse", "checksum": checksum }],
                "build_key": "", "compiler": "", "pahole": null,
            });
            write(
                &kernel.join("manifest.json"),
                manifest.to_string().as_bytes(),
            );
            let sources = Sources {
                from: from.to_vec(),
                client: Client::new(&env, location.clone(), None),
                own: vec![own.clone()],
                debuginfo: false,
            };
            let how = choose_how(&env, Some(&request), &sources).unwrap();
            assert_eq!(matches!(how, How::Build(..)), builds, "{checksum} {from:?}");
        }
    }
}
