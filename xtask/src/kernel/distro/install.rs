//! From package files to a folder of the work directory: see [`install`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::package::{self, PackageFile};
use super::{CONFIG, DistroOrigin, FILE_NAME, IMAGE, MODULES, PackageOrigin, find, folder, open};
use crate::archive::{self, Tree, UnpackLimits};
use crate::base::{disk, env::Env, error::Failure, input, interrupt, temporary::Temporary};
use crate::kernel::config::{FinalConfig, Value};
use crate::kernel::module;
use crate::model::arch::{Arch, IMAGE_HEAD};
use crate::model::{kernel::LocalKernel, version::Release};

/// Unpacks the kernel that `.deb` or `.rpm` files hold, one or several, into the work
/// directory, and lists its modules; unless the same files were installed before.
pub fn install(env: &Env, packages: &[PathBuf]) -> Result<LocalKernel> {
    let packages = packages.iter().map(|path| PackageFile::open(path));
    let mut packages = packages.collect::<Result<Vec<_>>>()?;
    let arch = architecture(&packages)?;
    let checksums = packages.iter().map(PackageFile::checksum);
    let checksums = checksums.collect::<Result<Vec<_>>>()?;
    let key = folder::key(&checksums);
    let lock = folder::kernel_lock(&key);
    let find = || find(&env.paths, arch, &key);
    folder::find_or_make(env, &lock, find, || {
        let kernels = env.paths.kernels(arch.name);
        // What the kernel is called is only known when it is unpacked.
        let unpacked = Temporary::directory(&kernels.join(&lock))?;
        let root = unpacked.path();
        let mut tree = Tree::new(root);
        for package in &mut packages {
            let size = package.path.metadata().map_or(0, |metadata| metadata.len());
            package.unpack(env, &mut tree, &UnpackLimits::of(size), &package::place)?;
        }
        let found = UnpackedKernel::look(root, arch, &packages)?;
        list_modules(root, &found)?;
        let goal = kernels.join(folder::name(folder::KERNEL, &found.release, &key));
        let temporary = Temporary::directory(&goal)?;
        let origins = packages.iter().zip(checksums);
        let origins = origins.map(|(package, sha256)| PackageOrigin {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256,
        });
        let origin = DistroOrigin {
            release: found.release.to_string(),
            arch: arch.name.to_owned(),
            packages: origins.collect(),
        };
        found.assemble(temporary.path(), &origin)?;
        temporary.persist()?;
        open(&goal)
    })
}

/// The architecture that packages are for, which is that of the first that has one.
fn architecture(packages: &[PackageFile]) -> Result<&'static Arch> {
    let mut found = None;
    for package in packages {
        found = found.or(package.arch()?);
    }
    // No kernel is for any architecture.
    Ok(found.ok_or_else(|| no_image(packages))?)
}

/// The packages by name, for errors.
fn names(packages: &[PackageFile]) -> String {
    let names = packages.iter().map(|package| package.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// The names of packages that those depend on and that are called `like` that.
fn dependencies(packages: &[PackageFile], like: impl Fn(&str) -> bool) -> String {
    let given = |name: &str| packages.iter().any(|package| package.name == name);
    let names = packages.iter().flat_map(PackageFile::dependencies);
    let names = names.filter(|name| like(name) && !given(name));
    let names = names.collect::<BTreeSet<_>>();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn hold(packages: &[PackageFile]) -> &'static str {
    match packages {
        [_] => "holds",
        _ => "hold",
    }
}

/// The error for packages without an image. A package such as `linux-image-amd64` is
/// empty and depends on the newest kernel.
fn no_image(packages: &[PackageFile]) -> Failure {
    let (names, hold) = (names(packages), hold(packages));
    let failure = Failure::usage(format!("{names} {hold} no kernel image"));
    let kernel = |name: &str| {
        let starts = [
            "linux-image-",
            "linux-signed-image-",
            "kernel-core",
            "kernel-default",
        ];
        starts.iter().any(|start| name.starts_with(start))
    };
    match dependencies(packages, kernel) {
        needed if needed.is_empty() => failure.hint(
            "the packages with an image are called linux-image-RELEASE, kernel-core or the like",
        ),
        needed => failure.hint(format!(
            "it only depends on the kernel, which is in {needed}"
        )),
    }
}

/// The parts of a kernel among what was unpacked.
struct UnpackedKernel {
    release: Release,
    image: PathBuf,
    config: Option<PathBuf>,
    /// Below `lib/modules`.
    modules: PathBuf,
    /// How modules are compressed.
    compressions: Vec<&'static str>,
}

impl UnpackedKernel {
    fn look(root: &Path, arch: &Arch, packages: &[PackageFile]) -> Result<Self> {
        let modules_of = root.join("lib/modules");
        let (image, called) = image(root, &modules_of, packages)?;
        if !(arch.is_image)(&input::beginning(&image, IMAGE_HEAD)?) {
            let (names, name) = (names(packages), arch.name);
            let message = format!("the image {called} of {names} is not one for {name}");
            return Err(Failure::usage(message).into());
        }
        // Every package calls the image, or the folder that it is in, after the release.
        let release = called.parse::<Release>().with_context(|| {
            let names = names(packages);
            format!("cannot say which kernel the image of {names} is")
        })?;
        let modules = modules_of.join(release.to_string());
        let config = [
            root.join(format!("boot/config-{release}")),
            modules.join("config"),
        ];
        let config = config.into_iter().find(|path| path.is_file());
        let config = config.as_deref().map(real).transpose()?;
        let mut compressions = BTreeSet::new();
        if modules.is_dir() {
            endings(&modules, &mut compressions)?;
            remove_links_out(&modules, Path::new(""))?;
        }
        if compressions.is_empty() && needs_modules(config.as_deref())? {
            return Err(no_modules(&release, &modules_of, packages)?.into());
        }
        disk::create_directory(&modules)?;
        Ok(Self {
            release,
            image,
            config,
            modules,
            compressions: compressions.into_iter().collect(),
        })
    }

    /// Moves the parts into the folder that will be the kernel.
    fn assemble(&self, folder: &Path, origin: &DistroOrigin) -> Result<()> {
        let put = |from: &Path, name: &str| {
            let goal = folder.join(name);
            std::fs::rename(from, &goal)
                .with_context(|| format!("cannot create {}", goal.display()))
        };
        // The image may be among the modules: it goes first.
        put(&self.image, IMAGE)?;
        if let Some(config) = &self.config {
            put(config, CONFIG)?;
        }
        put(&self.modules, MODULES)?;
        let path = folder.join(FILE_NAME);
        let text = serde_json::to_string_pretty(origin)? + "\n";
        disk::write(&path, text)
    }
}

/// The file that is the image, and the release that it is called after.
fn image(root: &Path, modules: &Path, packages: &[PackageFile]) -> Result<(PathBuf, String)> {
    let mut found = Vec::new();
    for name in entries(&root.join("boot"))? {
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            found.push((root.join("boot").join(&name), release.to_owned()));
        }
    }
    for release in entries(modules)? {
        found.push((modules.join(&release).join("vmlinuz"), release));
    }
    // In some packages the one is a link to the other, and in some the link's goal is in
    // another package.
    found.retain(|(path, _)| path.is_file());
    let releases = found.iter().map(|(_, release)| release.as_str());
    let releases = releases.collect::<BTreeSet<_>>();
    if releases.len() > 1 {
        let releases = releases.into_iter().collect::<Vec<_>>().join(", ");
        let (names, hold) = (names(packages), hold(packages));
        let message = format!("{names} {hold} several kernels: {releases}");
        return Err(Failure::usage(message)
            .hint("give the packages of one of them")
            .into());
    }
    let (path, release) = found.into_iter().next().ok_or_else(|| no_image(packages))?;
    Ok((real(&path)?, release))
}

/// The file that a path leads to: a link would lead elsewhere when it is moved.
fn real(path: &Path) -> Result<PathBuf> {
    disk::canonicalize(path)
}

/// Removes the links among the modules that lead to another part of the package: from
/// where the modules will be they would lead out of the kernel's folder.
fn remove_links_out(modules: &Path, below: &Path) -> Result<()> {
    let directory = modules.join(below);
    let context = || format!("cannot read {}", directory.display());
    for entry in directory.read_dir().with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type().with_context(context)?;
        if kind.is_dir() {
            remove_links_out(modules, &name)?;
        } else if kind.is_symlink() {
            let path = entry.path();
            let inside = path
                .read_link()
                .is_ok_and(|target| archive::link_stays_inside(&name, &target));
            if !inside {
                disk::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

/// The names in a directory that may be missing, sorted. Those that are no text are none
/// of ours.
fn entries(directory: &Path) -> Result<Vec<String>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let context = || format!("cannot read {}", directory.display());
    let mut names = Vec::new();
    for entry in directory.read_dir().with_context(context)? {
        names.extend(entry.with_context(context)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The endings of modules: not compressed, or with gzip, xz or zstd.
const ENDINGS: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];

/// The endings that modules below a directory have.
fn endings(directory: &Path, found: &mut BTreeSet<&'static str>) -> Result<()> {
    interrupt::check()?;
    for name in entries(directory)? {
        let path = directory.join(&name);
        // Links would lead in circles.
        if path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_dir())
        {
            endings(&path, found)?;
        } else {
            found.extend(ENDINGS.iter().find(|ending| name.ends_with(**ending)));
        }
    }
    Ok(())
}

/// Whether a kernel can have modules. Of one whose configuration is not known that is
/// supposed.
fn needs_modules(config: Option<&Path>) -> Result<bool> {
    let Some(path) = config else {
        return Ok(true);
    };
    let text = input::bytes(path, input::TEXT)?;
    let config = FinalConfig::parse(&String::from_utf8_lossy(&text));
    Ok(*config.get("CONFIG_MODULES") == Value::Yes)
}

/// The error for an image without its modules.
fn no_modules(release: &Release, directory: &Path, packages: &[PackageFile]) -> Result<Failure> {
    let (names, hold) = (names(packages), hold(packages));
    let mut others = Vec::new();
    for other in entries(directory)? {
        let mut found = BTreeSet::new();
        endings(&directory.join(&other), &mut found)?;
        if !found.is_empty() {
            others.push(other);
        }
    }
    if !others.is_empty() {
        let message = format!(
            "{names} {hold} the image of {release}, but the modules of {}",
            others.join(", ")
        );
        return Ok(Failure::usage(message));
    }
    let message = format!("{names} {hold} the image of {release}, but not its modules");
    let needed = dependencies(packages, |name| name.contains("modules"));
    let needed = match needed.as_str() {
        "" => String::new(),
        needed => format!(", {needed},"),
    };
    let hint = format!(
        "put the package with them{needed} into one directory with this one, and give its path"
    );
    Ok(Failure::usage(message).hint(hint))
}

/// Makes the lists that modprobe reads, unless they came with the packages: Debian's make
/// them when they are installed.
fn list_modules(root: &Path, found: &UnpackedKernel) -> Result<()> {
    if found.modules.join("modules.dep").is_file() {
        return Ok(());
    }
    let release = &found.release;
    module::list_modules(root, release)?;
    let list = found.modules.join("modules.dep");
    let text = input::text(&list, input::TEXT)
        .with_context(|| format!("depmod has not made {}", list.display()))?;
    match unlisted(&text, &found.compressions) {
        None => Ok(()),
        Some(ending) => {
            let message = format!(
                "depmod of this host cannot read the modules of {release}, which are {ending} files"
            );
            Err(Failure::setup(message)
                .hint("install a version of kmod that can: kmod --version says what it knows")
                .into())
        }
    }
}

/// The first ending that no module in a list has: kmod passes over modules that it was
/// not built to decompress.
fn unlisted<'e>(list: &str, endings: &[&'e str]) -> Option<&'e str> {
    let listed = |ending: &str| {
        let mut modules = list.lines().filter_map(|line| line.split_once(':'));
        modules.any(|(module, _)| module.ends_with(ending))
    };
    endings.iter().copied().find(|ending| !listed(ending))
}

#[cfg(test)]
mod tests;
