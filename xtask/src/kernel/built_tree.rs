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
    disk, env::Env, error::Failure, input, lock, paths::Paths, sha256::Sha256, temporary::Temporary,
};
use crate::kernel::config::{FinalConfig, Value};
use crate::kernel::{module, store};
use crate::model::kernel::{LocalKernel, Origin};
use crate::model::{arch::Arch, version::Release};

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

/// The kernel in a tree, which is the one that it was built in: the source tree, or that
/// of `O=`.
pub fn open(env: &Env, path: &Path) -> Result<LocalKernel> {
    // Of several names of one tree this is the same.
    let path = &disk::canonicalize(path)?;
    let built = Built::look(path)?;
    let modules = stage(env, path, &built)?;
    Ok(LocalKernel {
        arch: built.arch,
        release: built.release,
        origin: Origin::Tree,
        path: path.clone(),
        image: path.join(built.arch.image),
        modules,
        config: Some(path.join(CONFIG)),
        vmlinux: Some(path.join(VMLINUX)),
        build: Some(path.clone()),
        debuginfo: None,
    })
}

const CONFIG: &str = ".config";
const VMLINUX: &str = "vmlinux";
const RELEASE: &str = "include/config/kernel.release";

/// What make has left in a tree.
struct Built {
    arch: &'static Arch,
    release: Release,
    /// Modules, relative to the tree, without the ending.
    modules: Vec<String>,
}

impl Built {
    fn look(path: &Path) -> Result<Self> {
        let missing = |names: &[&'static str]| {
            let names = names.iter().filter(|name| !path.join(name).is_file());
            names.copied().collect::<Vec<_>>()
        };
        require(path, &missing(&[CONFIG, RELEASE, VMLINUX]), "")?;
        // Where the image is depends on it.
        let arch = store::elf_architecture(&path.join(VMLINUX))?;
        require(path, &missing(&[arch.image]), "")?;
        let read = |name: &str| {
            let path = path.join(name);
            input::text(&path, input::TEXT)
        };
        let release = read(RELEASE)?
            .trim()
            .parse::<Release>()
            .with_context(|| format!("{} is damaged", path.join(RELEASE).display()))?;
        let config = FinalConfig::parse(&read(CONFIG)?);
        let mut modules = Vec::new();
        if *config.get("CONFIG_MODULES") == Value::Yes {
            require(path, &missing(&["modules.order"]), " modules")?;
            let exists = |name: &str| path.join(format!("{name}.ko")).is_file();
            modules = module_names(&read("modules.order")?, exists);
            for name in &modules {
                // They become names of links.
                archive::relative_path(name.as_bytes()).map_err(|why| {
                    let list = path.join("modules.order");
                    Failure::usage(format!("{} names {name:?}: {why}", list.display()))
                })?;
            }
            let files = modules.iter().map(|name| format!("{name}.ko"));
            let lost = files
                .filter(|file| !path.join(file).is_file())
                .collect::<Vec<_>>();
            if let Some(first) = lost.first() {
                let message = format!(
                    "{} of {} modules of the kernel tree {} are missing, the first is {first}",
                    lost.len(),
                    modules.len(),
                    path.display()
                );
                return Err(Failure::usage(message)
                    .hint(format!("make -C {} modules", path.display()))
                    .into());
            }
        }
        Ok(Self {
            arch,
            release,
            modules,
        })
    }
}

/// The error if there are `missing` files.
fn require(path: &Path, missing: &[&str], target: &str) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let path = path.display();
    let message = format!(
        "{path} is a kernel tree that was not built: no {}",
        missing.join(", no ")
    );
    let configured = !missing.contains(&CONFIG);
    let hint = match configured {
        true => format!("make -C {path}{target}"),
        false => format!("cargo xtask build-kernel {path} --in-place configures and builds it"),
    };
    Err(Failure::usage(message).hint(hint).into())
}

/// The modules that a list `modules.order` names, as files of the tree without their
/// ending. Its lines end in `.ko` or, in newer versions, in `.o` (f65a486821cf, "kbuild:
/// change module.order to list *.o instead of *.ko"). In older ones they begin with
/// `kernel/`, where the module will be installed, which is also a directory of the source:
/// what is there decides.
fn module_names(order: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let names = order.lines().map(|line| {
        let name = line.strip_suffix(".ko").or_else(|| line.strip_suffix(".o"));
        let name = name.unwrap_or(line);
        match name.strip_prefix("kernel/") {
            Some(below) if exists(below) && !exists(name) => below.to_owned(),
            _ => name.to_owned(),
        }
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// What the folder of a tree is made from: names, sizes and times say whether a module
/// was built again without reading it.
fn key(path: &Path, built: &Built) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{RECIPE}\n{}\n", built.release).as_bytes());
    let modules = built.modules.iter().map(|name| format!("{name}.ko"));
    for name in modules.chain(LISTS.iter().map(|&name| name.to_owned())) {
        let Ok(metadata) = path.join(&name).metadata() else {
            // One of the lists that the version does not have.
            continue;
        };
        let (size, seconds, nanoseconds) =
            (metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        hash.update(format!("{name}\n{size} {seconds} {nanoseconds}\n").as_bytes());
    }
    Ok(hash.finish())
}

/// The folder of a tree.
pub fn folder(path: &Path, paths: &Paths) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(path.as_os_str().as_bytes());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let name = name.replace(|c| !plain(c), "_");
    paths
        .trees()
        .join(format!("{name}-{}", &hash.finish()[..16]))
}

/// Makes the folder that becomes `/lib/modules/<release>`, unless it is there.
fn stage(env: &Env, path: &Path, built: &Built) -> Result<PathBuf> {
    let goal = folder(path, &env.paths);
    let key = key(path, built)?;
    let current = || input::text(&goal.join(KEY), input::TEXT).is_ok_and(|old| old == key);
    if current() {
        return Ok(goal);
    }
    let name = goal.file_name().unwrap_or_default().to_string_lossy();
    let _lock = lock::take(env, &format!("tree-{name}"))?;
    if current() {
        return Ok(goal);
    }
    let temporary = Temporary::directory(&goal)?;
    let release = built.release.to_string();
    let modules = temporary.path().join("lib/modules").join(&release);
    disk::create_directory(&modules)?;
    let write = |name: &str, text: &str| {
        let file = modules.join(name);
        disk::write(&file, text)
    };
    write(KEY, &key)?;
    for name in LISTS.iter().filter(|name| path.join(name).is_file()) {
        std::fs::copy(path.join(name), modules.join(name))
            .with_context(|| format!("cannot copy {}", path.join(name).display()))?;
    }
    // As `make modules_install` lists them.
    let order = built
        .modules
        .iter()
        .map(|name| format!("kernel/{name}.ko\n"));
    write("modules.order", &order.collect::<String>())?;
    for name in &built.modules {
        let link = modules.join(format!("kernel/{name}.ko"));
        if let Some(parent) = link.parent() {
            disk::create_directory(parent)?;
        }
        link_to(&path.join(format!("{name}.ko")), &link)?;
    }
    link_to(path, &modules.join("build"))?;
    module::list_modules(temporary.path(), &built.release)?;
    temporary.persist_from(&modules)?;
    Ok(goal)
}

fn link_to(target: &Path, link: &Path) -> Result<()> {
    symlink(target, link).with_context(|| format!("cannot create {}", link.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_listed_in_three_ways() {
        let built = ["fs/btrfs/btrfs", "kernel/torture", "lib/a.b"];
        let names = |order: &str| module_names(order, |name| built.contains(&name));
        for order in [
            "kernel/fs/btrfs/btrfs.ko\nkernel/kernel/torture.ko\nkernel/lib/a.b.ko\n",
            "fs/btrfs/btrfs.ko\nkernel/torture.ko\nlib/a.b.ko\n",
            "fs/btrfs/btrfs.o\nkernel/torture.o\nlib/a.b.o\n\n",
        ] {
            assert_eq!(names(order), built, "{order}");
        }
        // One that is missing is called what the list calls it.
        assert_eq!(names("lib/missing.o\n"), ["lib/missing"]);
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
