//! From package files to a folder of the work directory: see [`install`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::package::{self, PackageFile};
use super::{CONFIG, DistroOrigin, FILE_NAME, IMAGE, MODULES, PackageOrigin, find, folder, open};
use crate::archive::{self, Tree, UnpackLimits};
use crate::base::{disk, env::Env, error::Failure, input, temporary::Temporary};
use crate::kernel::config::{FinalConfig, Value};
use crate::kernel::module;
use crate::model::arch::{Arch, IMAGE_HEAD};
use crate::model::{kernel::LocalKernel, version::Release};

/// Unpacks the kernel that `.deb` or `.rpm` files hold, one or several, into the work
/// directory, and lists its modules; unless the same files were installed before.
pub fn install(env: &Env, packages: &[PathBuf]) -> Result<LocalKernel> {
    let (mut packages, arch) = open_files(packages)?;
    let checksums = packages.iter().map(PackageFile::checksum);
    let checksums = checksums.collect::<Result<Vec<_>>>()?;
    let key = folder::key(checksums.iter().map(String::as_str));
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
            name: package.info.name.clone(),
            version: package.info.version.clone(),
            sha256,
        });
        let origin = DistroOrigin {
            release: found.release.to_string(),
            arch: arch.name.to_owned(),
            packages: origins.collect(),
        };
        let folder = temporary.path();
        // The image may be among the modules: it goes first.
        disk::rename(&found.image, &folder.join(IMAGE))?;
        if let Some(config) = &found.config {
            disk::rename(config, &folder.join(CONFIG))?;
        }
        disk::rename(&found.modules, &folder.join(MODULES))?;
        let text = serde_json::to_string_pretty(&origin)? + "\n";
        disk::write(folder.join(FILE_NAME), text)?;
        temporary.persist()?;
        open(&goal)
    })
}

/// For which architecture the kernel is that package files hold.
pub fn arch_of(packages: &[PathBuf]) -> Result<&'static Arch> {
    open_files(packages).map(|(_, arch)| arch)
}

fn open_files(paths: &[PathBuf]) -> Result<(Vec<PackageFile>, &'static Arch)> {
    let packages = paths.iter().map(|path| PackageFile::open(path));
    let packages = packages.collect::<Result<Vec<_>>>()?;
    let archs = packages.iter().map(PackageFile::arch);
    let archs = archs.collect::<Result<Vec<_>>>()?;
    // No kernel is for any architecture.
    let arch = archs.into_iter().flatten().next();
    let arch = arch.ok_or_else(|| no_image(&packages))?;
    Ok((packages, arch))
}

/// The packages by name, for errors.
fn names(packages: &[PackageFile]) -> String {
    let names = packages.iter().map(|package| package.info.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// The names of packages that those depend on and that are called `like` that.
fn dependencies(packages: &[PackageFile], like: impl Fn(&str) -> bool) -> String {
    let given = |name: &str| packages.iter().any(|package| package.info.name == name);
    let names = packages
        .iter()
        .flat_map(|package| &package.info.dependencies);
    let names = names.map(String::as_str);
    let names = names.filter(|name| like(name) && !given(name));
    let names = names.collect::<BTreeSet<_>>();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// What the packages of images are called.
const IMAGES: [&str; 4] = [
    "linux-image-",
    "linux-signed-image-",
    "kernel-core",
    "kernel-default",
];

/// The error for packages without an image. A package such as `linux-image-amd64` is
/// empty and depends on the newest kernel.
fn no_image(packages: &[PackageFile]) -> Failure {
    let failure = Failure::usage(format!("no kernel image in {}", names(packages)));
    let is_image = |name: &str| IMAGES.iter().any(|start| name.starts_with(start));
    match dependencies(packages, is_image).as_str() {
        "" => failure.hint(
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
    compressions: BTreeSet<&'static str>,
}

impl UnpackedKernel {
    fn look(root: &Path, arch: &Arch, packages: &[PackageFile]) -> Result<Self> {
        let modules_of = root.join("lib/modules");
        let (image, called) = image(root, &modules_of, packages)?;
        let named = format!("the image {called} of {}", names(packages));
        if !(arch.is_image)(&input::beginning(&image, IMAGE_HEAD)?) {
            let message = format!("{named} is not one for {}", arch.name);
            return Err(Failure::usage(message).into());
        }
        // Every package calls the image, or the folder that it is in, after the release.
        let release = called
            .parse::<Release>()
            .with_context(|| format!("cannot say which kernel {named} is"))?;
        let modules = modules_of.join(release.to_string());
        let config = [
            root.join(format!("boot/config-{release}")),
            modules.join("config"),
        ];
        let config = config.iter().find(|path| path.is_file());
        let config = config.map(disk::canonicalize).transpose()?;
        let compressions = endings(&modules)?;
        remove_links_out(&modules)?;
        if compressions.is_empty() && needs_modules(config.as_deref())? {
            return Err(no_modules(&release, &modules_of, packages)?.into());
        }
        disk::create_directory(&modules)?;
        Ok(Self {
            release,
            image,
            config,
            modules,
            compressions,
        })
    }
}

/// The file that is the image, and the release that it is called after.
fn image(root: &Path, modules: &Path, packages: &[PackageFile]) -> Result<(PathBuf, String)> {
    let mut found = Vec::new();
    for start in package::IMAGES {
        // Some have the kernel as an ELF file beside the image.
        let names = if found.is_empty() {
            names_in(&root.join("boot"))?
        } else {
            Vec::new()
        };
        for name in names {
            if let Some(release) = name.strip_prefix(start) {
                found.push((root.join("boot").join(&name), release.to_owned()));
            }
        }
    }
    for release in names_in(modules)? {
        found.push((modules.join(&release).join("vmlinuz"), release));
    }
    // In some packages the one is a link to the other, and in some the link's goal is in
    // another package.
    found.retain(|(path, _)| path.is_file());
    let releases = found.iter().map(|(_, release)| release.as_str());
    let releases = releases.collect::<BTreeSet<_>>();
    if releases.len() > 1 {
        let releases = releases.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("several kernels in {}: {releases}", names(packages));
        return Err(Failure::usage(message)
            .hint("give the packages of one of them")
            .into());
    }
    let (path, release) = found.into_iter().next().ok_or_else(|| no_image(packages))?;
    // A link would lead elsewhere when it is moved.
    Ok((disk::canonicalize(path)?, release))
}

/// Removes the links among the modules that lead to another part of the package: from
/// where the modules will be they would lead out of the kernel's folder.
fn remove_links_out(modules: &Path) -> Result<()> {
    for path in disk::tree(modules)? {
        let name = path.strip_prefix(modules)?;
        let leads_out = |target: PathBuf| !archive::link_stays_inside(name, &target);
        if path.read_link().is_ok_and(leads_out) {
            disk::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The names in a directory that may be missing, sorted. Those that are no text are none
/// of ours.
fn names_in(directory: &Path) -> Result<Vec<String>> {
    let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    let paths = disk::entries(directory)?;
    Ok(paths.into_iter().filter_map(name).collect())
}

/// The endings of modules: not compressed, or with gzip, xz or zstd.
const ENDINGS: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];

/// The endings that modules below a directory have.
fn endings(directory: &Path) -> Result<BTreeSet<&'static str>> {
    let files = disk::tree(directory)?;
    let ending = |file: &PathBuf| {
        let name = file.file_name()?.to_str()?;
        ENDINGS.into_iter().find(|ending| name.ends_with(ending))
    };
    Ok(files.iter().filter_map(ending).collect())
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
    let names = names(packages);
    let mut others = names_in(directory)?;
    others.retain(|other| endings(&directory.join(other)).is_ok_and(|found| !found.is_empty()));
    if !others.is_empty() {
        let others = others.join(", ");
        let message = format!("the image of {release} in {names} comes with modules of {others}");
        return Ok(Failure::usage(message));
    }
    let message = format!("the image of {release} in {names} comes without its modules");
    let needed = match dependencies(packages, |name| name.contains("modules")).as_str() {
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
    let Some(ending) = unlisted(&text, &found.compressions) else {
        return Ok(());
    };
    let message = format!(
        "depmod of this host cannot read the modules of {release}, which are {ending} files"
    );
    Err(Failure::setup(message)
        .hint("install a version of kmod that can: kmod --version says what it knows")
        .into())
}

/// The first ending that no module in a list has: kmod passes over modules that it was
/// not built to decompress.
fn unlisted(list: &str, endings: &BTreeSet<&'static str>) -> Option<&'static str> {
    let listed = |ending: &str| {
        let mut modules = list.lines().filter_map(|line| line.split_once(':'));
        modules.any(|(module, _)| module.ends_with(ending))
    };
    endings.iter().copied().find(|ending| !listed(ending))
}

#[cfg(test)]
mod tests;
