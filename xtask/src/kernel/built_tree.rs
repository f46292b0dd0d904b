//! A kernel's build tree that somebody works in, booted as it is: `-k ~/src/linux`.
//!
//! Nothing is installed or copied. What the guest has below `/lib/modules/<release>` is a
//! folder in the work directory, `trees/<name>-<key>`, whose modules are symbolic links
//! into the tree: the guest has the host's files, so that they lead there. With it come
//! the lists of modprobe, which are made again when a module of the tree has changed.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive;
use crate::base::{
    disk, env::Env, error::Failure, input, paths::Paths, sha256::Sha256, temporary::Temporary,
};
use crate::kernel::config::{FinalConfig, Value};
use crate::kernel::distro::folder::find_or_make;
use crate::kernel::{module, store};
use crate::model::kernel::{LocalKernel, Origin};
use crate::model::version::Release;

/// Lists of the build that tell depmod about modules, if the version has them.
const LISTS: &[&str] = &[
    "modules.order",
    "modules.builtin",
    "modules.builtin.modinfo",
];

/// Part of the folder's key: to be raised when what is in it changes.
const RECIPE: &str = "1";

/// In the folder: what it was made from.
const KEY: &str = "vmtest-key";

/// Whether a directory is a kernel's source or build tree, built or not, and no unpacked
/// package: both have a Makefile at their top, and a configuration, the source, or a link
/// to it.
pub fn is_tree(path: &Path) -> bool {
    let has = |name: &str| path.join(name).exists();
    has("Makefile") && (has("Kconfig") || has(".config") || has("source")) && !has("vmlinuz")
}

const CONFIG: &str = ".config";
const VMLINUX: &str = "vmlinux";
const RELEASE: &str = "include/config/kernel.release";
const ORDER: &str = "modules.order";

/// The kernel in a tree, which is the one that it was built in: the source tree, or that
/// of `O=`.
pub fn open(env: &Env, path: &Path) -> Result<LocalKernel> {
    // Of several names of one tree this is the same.
    let path = &disk::canonicalize(path)?;
    require(path, &[CONFIG, RELEASE, VMLINUX], "")?;
    // Where the image is depends on it.
    let arch = store::elf_architecture(&path.join(VMLINUX))?;
    require(path, &[arch.image], "")?;
    let release = path.join(RELEASE);
    let release = input::text(&release, input::SMALL)?
        .trim()
        .parse::<Release>()
        .with_context(|| format!("{} is damaged", release.display()))?;
    let modules = stage(env, path, &release, &modules(path)?)?;
    Ok(LocalKernel {
        arch,
        release,
        origin: Origin::Tree,
        path: path.clone(),
        image: path.join(arch.image),
        modules,
        config: Some(path.join(CONFIG)),
        vmlinux: Some(path.join(VMLINUX)),
        build: Some(path.clone()),
        debuginfo: None,
    })
}

/// The error if one of these files is missing.
fn require(path: &Path, names: &[&str], target: &str) -> Result<()> {
    let Some(missing) = store::missing(path, names.iter().copied()) else {
        return Ok(());
    };
    let configured = path.join(CONFIG).is_file();
    let path = path.display();
    let message = format!("{path} is a kernel tree that was not built: {missing}");
    let hint = match configured {
        true => format!("make -C {path}{target}"),
        false => format!("cargo xtask build-kernel {path} --in-place configures and builds it"),
    };
    Err(Failure::usage(message).hint(hint).into())
}

/// The modules of a tree, relative to it.
fn modules(path: &Path) -> Result<Vec<String>> {
    let config = FinalConfig::parse(&input::text(&path.join(CONFIG), input::TEXT)?);
    if *config.get("CONFIG_MODULES") != Value::Yes {
        return Ok(Vec::new());
    }
    require(path, &[ORDER], " modules")?;
    let order = path.join(ORDER);
    let exists = |name: &str| path.join(name).is_file();
    let modules = module_files(&input::text(&order, input::TEXT)?, exists);
    for name in &modules {
        // They become names of links.
        archive::relative_path(name.as_bytes())
            .map_err(|why| Failure::usage(format!("{} names {name:?}: {why}", order.display())))?;
    }
    let lost = modules.iter().filter(|name| !exists(name));
    let lost = lost.collect::<Vec<_>>();
    let Some(first) = lost.first() else {
        return Ok(modules);
    };
    let (lost, all, path) = (lost.len(), modules.len(), path.display());
    let message = format!(
        "{lost} of {all} modules of the kernel tree {path} are missing, the first is {first}"
    );
    let hint = format!("make -C {path} modules");
    Err(Failure::usage(message).hint(hint).into())
}

/// The modules that a list `modules.order` names, as files of the tree. Its lines end in
/// `.ko` or, in newer versions, in `.o` (f65a486821cf, "kbuild: change module.order to list
/// *.o instead of *.ko"). In older ones they begin with `kernel/`, where the module will be
/// installed, which is also a directory of the source: what is there decides.
fn module_files(order: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = order.lines().filter(|line| !line.is_empty());
    let files = lines.map(|line| {
        let name = line.strip_suffix(".ko").or_else(|| line.strip_suffix(".o"));
        let file = format!("{}.ko", name.unwrap_or(line));
        match file.strip_prefix("kernel/") {
            Some(below) if exists(below) && !exists(&file) => below.to_owned(),
            _ => file,
        }
    });
    files.collect()
}

/// What the folder of a tree is made from: names, sizes and times say whether a module
/// was built again without reading it.
fn key(path: &Path, release: &Release, modules: &[String]) -> String {
    let mut hash = Sha256::default();
    hash.update(format!("{RECIPE}\n{release}\n"));
    let modules = modules.iter().map(String::as_str);
    for name in modules.chain(LISTS.iter().copied()) {
        // A version may lack one of the lists.
        if let Ok(metadata) = path.join(name).metadata() {
            let (size, seconds) = (metadata.size(), metadata.mtime());
            let nanoseconds = metadata.mtime_nsec();
            hash.update(format!("{name}\n{size} {seconds} {nanoseconds}\n"));
        }
    }
    hash.finish()
}

/// The folder of a tree.
pub fn folder(path: &Path, paths: &Paths) -> PathBuf {
    let mut hash = Sha256::default();
    hash.update(path.as_os_str().as_bytes());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let name = name.replace(|c| !plain(c), "_");
    paths
        .trees()
        .join(format!("{name}-{}", &hash.finish()[..16]))
}

/// Makes the folder that becomes `/lib/modules/<release>`, unless it is there.
fn stage(env: &Env, path: &Path, release: &Release, modules: &[String]) -> Result<PathBuf> {
    let goal = folder(path, &env.paths);
    let key = key(path, release, modules);
    let find = || {
        let current = input::text(&goal.join(KEY), input::TEXT).is_ok_and(|old| old == key);
        Ok(current.then(|| goal.clone()))
    };
    let name = goal.file_name().unwrap_or_default().to_string_lossy();
    find_or_make(env, &format!("tree-{name}"), find, || {
        let temporary = Temporary::directory(&goal)?;
        let folder = temporary.path().join(format!("lib/modules/{release}"));
        disk::create_directory(&folder)?;
        disk::write(folder.join(KEY), &key)?;
        for name in LISTS.iter().filter(|name| path.join(name).is_file()) {
            std::fs::copy(path.join(name), folder.join(name))
                .with_context(|| format!("cannot copy {}", path.join(name).display()))?;
        }
        // As `make modules_install` lists them.
        let order = modules.iter().map(|name| format!("kernel/{name}\n"));
        disk::write(folder.join(ORDER), order.collect::<String>())?;
        for name in modules {
            link(&path.join(name), &folder.join("kernel").join(name))?;
        }
        link(path, &folder.join("build"))?;
        module::list_modules(temporary.path(), release)?;
        temporary.persist_from(&folder)?;
        Ok(goal.clone())
    })
}

fn link(target: &Path, name: &Path) -> Result<()> {
    if let Some(parent) = name.parent() {
        disk::create_directory(parent)?;
    }
    symlink(target, name).with_context(|| format!("cannot create {}", name.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_listed_in_three_ways() {
        let built = ["fs/btrfs/btrfs.ko", "kernel/torture.ko", "lib/a.b.ko"];
        let names = |order: &str| module_files(order, |name| built.contains(&name));
        for order in [
            "kernel/fs/btrfs/btrfs.ko\nkernel/kernel/torture.ko\nkernel/lib/a.b.ko\n",
            "fs/btrfs/btrfs.ko\nkernel/torture.ko\nlib/a.b.ko\n",
            "fs/btrfs/btrfs.o\nkernel/torture.o\nlib/a.b.o\n\n",
        ] {
            assert_eq!(names(order), built, "{order}");
        }
        // One that is missing is called what the list calls it.
        assert_eq!(names("lib/missing.o\n"), ["lib/missing.ko"]);
    }

    #[test]
    fn folders_of_trees_do_not_collide() {
        let files = crate::base::paths::Files::Embedded(&[]);
        let paths = Paths::new("/w", files.clone(), files);
        let name = |path: &str| folder(Path::new(path), &paths);
        assert!(name("/src/linux").starts_with("/w/trees"));
        assert_ne!(name("/src/linux"), name("/other/linux"));
        let odd = name("/src/a b\n");
        let odd = odd.file_name().unwrap().to_str().unwrap();
        assert!(odd.starts_with("a_b_-"), "{odd}");
    }
}
