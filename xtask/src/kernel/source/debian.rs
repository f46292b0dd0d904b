//! Debian's `linux-source-<series>`. The newest version of all suites wins.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::apt;
use super::suites::{self, Lists, Package, Suites};
use super::{Found, Location, Work, satisfies, whole};
use crate::base::env::Env;
use crate::base::error::Failure;
use crate::base::interrupt;
use crate::base::process::LongCommand;
use crate::model::version::Version;

/// Finds each version, or the newest of a series, in all suites. Each suite is
/// asked once for all of them.
pub fn find_all(env: &Env, versions: &[Version]) -> Result<Vec<Result<Found>>> {
    let suites = Suites::open(env, |_| true)?;
    let mut names = versions.iter().map(package_name).collect::<Vec<_>>();
    names.sort();
    names.dedup();
    let mut offers = Vec::new();
    for lists in suites.usable() {
        interrupt::check()?;
        offers.push((lists, lists.show(&names)?));
    }
    let find = |version: &Version| match suites.unusable() {
        Some(failure) => Err(failure.into()),
        None => choose(&offers, version),
    };
    Ok(versions.iter().map(find).collect())
}

/// The package with the source of a version.
fn package_name(version: &Version) -> String {
    format!("linux-source-{}", version.series)
}

/// The newest wanted package in what `apt-cache show` says about each suite.
fn choose(offers: &[(Lists<'_>, String)], version: &Version) -> Result<Found> {
    let name = package_name(version);
    let mut best: Option<(Version, Package)> = None;
    let mut others = Vec::new();
    for (lists, shown) in offers {
        for candidate in apt::parse_show(shown, &name) {
            let Some(upstream) = apt::upstream(&candidate.version) else {
                continue;
            };
            if !satisfies(&upstream, version) {
                others.push(candidate.version);
                continue;
            }
            let newer = best.as_ref().is_none_or(|(other, package)| {
                (upstream.cmp(other))
                    .then_with(|| apt::compare(&candidate.version, &package.candidate.version))
                    .is_gt()
            });
            if newer {
                best = Some((upstream, lists.package(candidate)));
            }
        }
    }
    if let Some((upstream, package)) = best {
        return Ok(Found {
            version: whole(upstream),
            origin: format!("debian {name} {}", package.candidate.version),
            checksum: package.candidate.sha256.clone(),
            location: Location::Debian(package),
        });
    }
    if !others.is_empty() {
        bail!("Debian has {name} only as {}", others.join(", "));
    }
    Err(Failure::setup(format!("no suite of Debian has {name}")).into())
}

/// Downloads and unpacks.
pub fn fetch(work: &Work<'_>, package: &Package, directory: &Path) -> Result<()> {
    let version = &package.candidate.version;
    // Beside the tree, which is a temporary directory and goes away with this.
    let inner = directory.join(".vmtest-deb");
    std::fs::create_dir(&inner).with_context(|| format!("cannot create {}", inner.display()))?;
    suites::download(work, std::slice::from_ref(package), &inner)?;
    let file = suites::only_file(&inner, |name| name.ends_with(".deb"))?;
    let unpacked = inner.join("unpacked");
    {
        let _task = work
            .env
            .ui
            .task(format!("unpacking {} {version}", package.name));
        let command = LongCommand::new("dpkg-deb")
            .arg("-x")
            .arg(&file)
            .arg(&unpacked);
        work.run(command, || Ok(()))?;
    }
    std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    let archive = suites::only_file(&unpacked.join("usr/src"), |name| name.ends_with(".tar.xz"))?;
    work.unpack(&archive, directory)?;
    std::fs::remove_dir_all(&inner).with_context(|| format!("cannot remove {}", inner.display()))
}
