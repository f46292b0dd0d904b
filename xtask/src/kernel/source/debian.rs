//! Debian's `linux-source-<series>`. The newest version of all suites wins.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{FoundSource, SourceLocation, name_full_disk, newest, say_kept, whole};
use crate::archive::{Tree, UnpackLimits};
use crate::base::{
    disk, env::Env, error::Failure, format::thousands, interrupt, process::run_logged,
};
use crate::kernel::distro::package::PackageFile;
use crate::model::{arch, version::Version};
use crate::net::apt::formats as apt;
use crate::net::apt::suites::{DebianPackage, SuiteLists, Suites};

/// Finds each version, or the newest of a series, in all suites. Each suite is
/// asked once for all of them.
pub fn find_all(env: &Env, versions: &[Version]) -> Result<Vec<Result<FoundSource>>> {
    // Their packages are for all architectures.
    let arch = arch::host()
        .with_context(|| format!("packages for {} are not known", std::env::consts::ARCH))?;
    let suites = Suites::open(env, arch, |_| true)?;
    if let Some(failure) = suites.unusable() {
        return Err(failure.into());
    }
    let mut names = versions.iter().map(package_name).collect::<Vec<_>>();
    names.sort();
    names.dedup();
    let mut offers = Vec::new();
    for lists in suites.usable() {
        interrupt::check()?;
        offers.push((lists, lists.show(&names)?));
    }
    let find = |version| choose(&offers, version);
    Ok(versions.iter().map(find).collect())
}

/// The package with the source of a version.
fn package_name(version: &Version) -> String {
    format!("linux-source-{}", version.series)
}

/// The newest wanted package in what `apt-cache show` says about each suite.
fn choose(offers: &[(SuiteLists<'_>, String)], version: &Version) -> Result<FoundSource> {
    let name = package_name(version);
    let mut packages = Vec::new();
    // Of what several suites have, the first one's comes last and is taken.
    for (lists, shown) in offers.iter().rev() {
        for candidate in apt::parse_show(shown, &name) {
            if let Some(upstream) = apt::upstream(&candidate.version) {
                packages.push((upstream, lists.package(candidate)));
            }
        }
    }
    packages.sort_by(|(_, a), (_, b)| apt::compare(&a.candidate.version, &b.candidate.version));
    let versions = packages
        .iter()
        .map(|(_, package)| package.candidate.version.clone());
    let versions = versions.collect::<Vec<_>>();
    if let Some((upstream, package)) = newest(packages.into_iter(), version) {
        return Ok(FoundSource {
            own_name: String::new(),
            version: whole(upstream),
            origin: format!("debian {name} {}", package.candidate.version),
            checksum: package.candidate.sha256.clone(),
            location: SourceLocation::Debian(package),
        });
    }
    if !versions.is_empty() {
        bail!("Debian has {name} only as {}", versions.join(", "));
    }
    Err(Failure::setup(format!("no suite of Debian has {name}")).into())
}

/// Downloads package files of one suite into a directory; where each is. apt checks
/// them against its signed lists. What came before a signal is kept for the next run.
pub fn download(
    env: &Env,
    log: &Path,
    packages: &[DebianPackage],
    directory: &Path,
) -> Result<Vec<PathBuf>> {
    let Some(first) = packages.first() else {
        return Ok(Vec::new());
    };
    let (name, version) = (&first.candidate.package, &first.candidate.version);
    let mut task = env
        .ui
        .task(format!("downloading {name} {version} from Debian"));
    let all = packages.iter().map(|package| &package.candidate);
    let total = all.clone().map(|candidate| candidate.size);
    let total = thousands(total.fold(0, u64::saturating_add) >> 20);
    let partial = first.partial();
    let command = first
        .download_command()
        .args(all.map(|candidate| format!("{}={}", candidate.package, candidate.version)))
        .current_dir(directory);
    run_logged(command, log, || {
        let received = (received(directory, packages) + received(&partial, packages)) >> 20;
        if received > 0 {
            task.update(format!("{} of {total} MiB", thousands(received)));
        }
        Ok(())
    })
    .inspect_err(|_| say_kept(env, name))
    .map_err(|error| name_full_disk(error, directory))?;
    let find = |package| only_file(directory, |file| is_file_of(package, file));
    packages.iter().map(find).collect()
}

/// apt names a file `<package>_<version>_<architecture>.deb`, and quotes what is odd in the
/// version.
fn is_file_of(package: &DebianPackage, file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let rest = name.strip_prefix(&package.candidate.package);
    name.ends_with(".deb") && rest.is_some_and(|rest| rest.starts_with('_'))
}

/// The bytes of packages that are in a directory.
fn received(directory: &Path, packages: &[DebianPackage]) -> u64 {
    let files = disk::entries(directory).unwrap_or_default().into_iter();
    let ours = files.filter(|file| packages.iter().any(|package| is_file_of(package, file)));
    ours.map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .fold(0, u64::saturating_add)
}

/// The file in a directory that is wanted.
fn only_file(directory: &Path, wanted: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    let found = disk::entries(directory)?
        .into_iter()
        .find(|file| wanted(file));
    found.with_context(|| format!("what should have come is not in {}", directory.display()))
}

fn is_archive(file: &Path) -> bool {
    file.to_string_lossy().ends_with(".tar.xz")
}

/// Downloads and unpacks.
pub fn fetch(env: &Env, log: &Path, package: &DebianPackage, directory: &Path) -> Result<()> {
    // Beside the tree, which is a temporary directory and goes away with this.
    let inner = directory.join(".vmtest-deb");
    disk::create_directory(&inner)?;
    for file in download(env, log, std::slice::from_ref(package), &inner)? {
        unpack(env, &file, &inner)?;
        disk::remove_file(&file)?;
    }
    super::unpack(env, log, &only_file(&inner, is_archive)?, directory)?;
    disk::remove_directory(&inner)
}

/// Unpacks the archive of a source package into a directory, which has no folders yet.
fn unpack(env: &Env, package: &Path, directory: &Path) -> Result<()> {
    let wanted = |path: &Path| {
        let name = path.strip_prefix("usr/src").ok()?;
        is_archive(name).then(|| name.to_owned())
    };
    let limits = UnpackLimits::of(package.metadata()?.len());
    PackageFile::open(package)?.unpack(env, &mut Tree::new(directory), &limits, &wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::deb;

    #[test]
    fn only_the_source_is_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let control = "Package: linux-source-6.1\nVersion: 6.1.192-2\nArchitecture: all";
        let files: [(&str, &[u8]); 3] = [
            ("./usr/share/doc/linux-source-6.1/copyright", b"x"),
            ("./usr/src/linux-patch-6.1-rt.patch.xz", b"x"),
            ("./usr/src/linux-source-6.1.tar.xz", b"source"),
        ];
        let package = directory.path().join("x.deb");
        std::fs::write(&package, deb::tests::package(control, &files)).unwrap();
        unpack(
            &Env::for_tests(directory.path()),
            &package,
            directory.path(),
        )
        .unwrap();
        let archive = only_file(directory.path(), is_archive).unwrap();
        assert_eq!(std::fs::read(archive).unwrap(), b"source");
        assert_eq!(directory.path().read_dir().unwrap().count(), 2);
    }
}
