//! From a finished build tree to a package, unpacked and as a file.
//!
//! A package is what `lib/modules/<release>` holds after an installation, with
//! the kernel's image, its debugging information and the part of the source and
//! build trees that external modules are built against:
//!
//! ```text
//! vmlinuz  manifest.json  modules.*  kernel/**/*.ko
//! build/vmlinux           without relocations
//! build/include/config/kernel.release
//! build/...               see FILES and DIRECTORIES
//! ```
//!
//! That an external module builds against it is not assumed but tried, every
//! time: a package is not put in place before a module was built against the
//! very files that go into it.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use crate::archive::{self, PACKAGE_TIME};
use crate::base::error::Failure;
use crate::base::process::{self, LongCommand};
use crate::base::{disk, env::Env, input, interrupt, lock, temporary::Temporary};
use crate::kernel::{build::make, module, store};
use crate::model::arch::{self, Arch};
use crate::model::{kernel::LocalKernel, package_name::PackageName, version::Release};

/// Part of what decides a package's bytes: to be raised when the layout, the
/// list of files or the compression changes.
pub const LAYOUT: u32 = 2;

/// Files that external modules are built with, below the source or the build
/// tree; `*` at the end stands for any end. One that a version does not have is
/// left out: that all it needs is there is for the proof to show. `ARCH` stands
/// for the directory of the architecture.
const FILES: &[&str] = &[
    ".config",
    // The exported symbols and their checksums: modpost resolves against them.
    "Module.symvers",
    "arch/ARCH/Makefile",
    // The linker script of modules: below scripts/ since 5.10 (Linux commit
    // 596b0474d3d9, "kbuild: preprocess module linker script"), before there were
    // module-common.lds and, on some architectures, their own.
    "arch/ARCH/kernel/module.lds",
    "scripts/module-common.lds",
    "scripts/module.lds",
    // Compiled into every module since 6.13.
    "scripts/module-common.c",
    "scripts/Kbuild.include",
    "scripts/Makefile*",
    "scripts/subarch.include",
    "scripts/basic/fixdep",
    "scripts/mod/modpost",
    // Symbol checksums with CONFIG_MODVERSIONS, and ftrace's call sites where
    // neither the compiler nor objtool finds them.
    "scripts/genksyms/genksyms",
    "scripts/recordmcount",
    // Called by the makefiles, by version: to learn what compiler, linker and
    // pahole can do, and to check the module.
    "scripts/check-local-export",
    "scripts/gcc-goto.sh",
    "scripts/gcc-version.sh",
    "scripts/gen-btf.sh",
    "scripts/ld-version.sh",
    "scripts/modules-check.sh",
    "scripts/pahole-flags.sh",
    "scripts/pahole-version.sh",
    // Rewrite the module's code and type information.
    "tools/objtool/objtool",
    "tools/bpf/resolve_btfids/resolve_btfids",
];

/// Directories that are copied whole from the source tree and then from the
/// build tree, apart from what [`is_header`] leaves out.
const DIRECTORIES: &[&str] = &["arch/ARCH/include", "include"];

/// Without one of these the build tree is not finished.
const REQUIRED: &[&str] = &[
    "Module.symvers",
    ".config",
    "System.map",
    "vmlinux",
    "modules.order",
    "include/config/auto.conf",
    "include/config/kernel.release",
    "include/generated/utsrelease.h",
    "scripts/basic/fixdep",
    "scripts/mod/modpost",
];

/// Programs of the build host. Their debugging information has paths of the
/// build tree, and nobody debugs them; their build identifier is a checksum over that
/// information as well.
const HOST_PROGRAMS: &[&str] = &[
    "scripts/basic/fixdep",
    "scripts/mod/modpost",
    "scripts/genksyms/genksyms",
    "scripts/recordmcount",
    "tools/objtool/objtool",
    "tools/bpf/resolve_btfids/resolve_btfids",
];

/// In make's output these mean that something was not there, although make may
/// go on and even succeed: some scripts limp along without a file.
const SIGNS_OF_MISSING_FILES: &[&str] = &[
    "No such file or directory",
    "No rule to make target",
    "not found",
    "is missing",
    "cannot open",
    "can't open",
    "unavailability",
    "Permission denied",
];

/// The module of the proof.
const PROOF_SOURCE: &str = "\
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/slab.h>

static void *proof_memory;

static int __init proof_init(void)
{
	proof_memory = kmalloc(64, GFP_KERNEL);
	return proof_memory ? 0 : -ENOMEM;
}

static void __exit proof_exit(void)
{
	kfree(proof_memory);
}

module_init(proof_init);
module_exit(proof_exit);

MODULE_DESCRIPTION(\"Shows that modules can be built against this package\");
MODULE_LICENSE(\"GPL\");
";

/// A finished build tree.
pub struct PackageInput<'a> {
    pub arch: &'static Arch,
    /// `make kernelrelease`.
    pub release: Release,
    pub source: PathBuf,
    /// The build tree; may be the source tree.
    pub build: PathBuf,
    /// `make` in the build tree with these further arguments (variables, targets).
    pub make: &'a dyn Fn(&[&str]) -> LongCommand,
    /// binutils' objcopy for this architecture.
    pub objcopy: OsString,
    /// The text of `manifest.json`, if the tree was built by us.
    pub manifest: Option<String>,
}

pub struct PackageOptions<'a> {
    /// The directory for the package file; the work directory's if `None`.
    pub output: Option<&'a Path>,
    /// Output of make and objcopy is appended here.
    pub log: &'a Path,
    /// Threads that compress; the package does not depend on it.
    pub workers: u32,
}

#[derive(Debug)]
pub struct Packaged {
    /// The unpacked kernel in the work directory.
    pub kernel: LocalKernel,
    pub archive: PathBuf,
}

/// Stages a package, proves it, and puts it in place: unpacked in the work
/// directory, and as a file. Both are replaced if they are there.
///
/// Takes the lock [`store::lock_name`] of the kernel; the caller must not hold it.
pub fn package(
    env: &Env,
    input: &PackageInput<'_>,
    options: &PackageOptions<'_>,
) -> Result<Packaged> {
    let (arch, release) = (input.arch, &input.release);
    check_finished(input)?;
    let goal = store::kernel_path(&env.paths, arch, release);
    let name = PackageName::new(arch, release);
    let archive = match options.output {
        Some(directory) => directory.join(name.to_string()),
        None => store::package_path(&env.paths, arch, release),
    };
    let _lock = lock::take(env, &store::lock_name(arch, release))?;
    let temporary = Temporary::directory(&goal)?;
    let stage = temporary
        .path()
        .join("lib/modules")
        .join(release.to_string());

    let mut task = env.ui.task(format!("packaging {release}"));
    task.update("installing modules");
    install_modules(input, temporary.path(), &stage, options.log)?;
    task.update("copying what external modules need");
    stage_files(input, &stage, options.log)?;
    normalise(&stage)?;
    let kernel = store::open(&stage)?;
    task.update("building a module against it");
    prove(&kernel, &temporary.path().join("proof"), options.log)?;
    task.update("compressing");
    let file = Temporary::file(&archive)?;
    let sha256 = archive::create(&stage, file.as_file(), options.workers)?;
    drop(task);
    file.persist()?;
    temporary.persist_from(&stage)?;
    let size = archive.metadata()?.len();
    let shown = archive.display();
    env.ui
        .info(format!("{shown} ({size} bytes, sha256 {sha256})"));
    Ok(Packaged {
        kernel: store::open(&goal)?,
        archive,
    })
}

/// The name of objcopy for an architecture: the host's own, or a cross one.
pub fn objcopy(arch: &Arch) -> OsString {
    if arch::host() == Some(arch) {
        "objcopy".into()
    } else {
        format!("{}-objcopy", arch.triplet).into()
    }
}

fn check_finished(input: &PackageInput<'_>) -> Result<()> {
    let missing = REQUIRED
        .iter()
        .copied()
        .chain([input.arch.image])
        .filter(|name| !input.build.join(name).exists())
        .collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} is not a finished kernel build: no {}",
        input.build.display(),
        missing.join(", no ")
    ))
    .into())
}

fn install_modules(input: &PackageInput<'_>, root: &Path, stage: &Path, log: &Path) -> Result<()> {
    let depmod = module::depmod()?;
    let install = format!("INSTALL_MOD_PATH={}", root.display());
    // The kernel looks for depmod in PATH, which lacks /sbin for ordinary users,
    // and goes on without it.
    let depmod = format!("DEPMOD={}", depmod.display());
    let command = (input.make)(&[&install, &depmod, "INSTALL_MOD_STRIP=", "modules_install"]);
    process::run_logged(command, log, || Ok(()))
        .with_context(|| format!("cannot install the modules of {}", input.release))?;
    for name in ["modules.dep", "modules.devname", "modules.builtin"] {
        if !stage.join(name).is_file() {
            bail!(
                "installing the modules of {} gave no {name}; log: {}",
                input.release,
                log.display()
            );
        }
    }
    // Links to the absolute paths of both trees; `source` until 6.6 (Linux commit
    // d8131c2965d5, "kbuild: remove $(MODLIB)/source symlink").
    for name in ["build", "source"] {
        let path = stage.join(name);
        if path.is_symlink() {
            disk::remove_file(&path)?;
        }
    }
    Ok(())
}

fn stage_files(input: &PackageInput<'_>, stage: &Path, log: &Path) -> Result<()> {
    let build = stage.join("build");
    disk::create_directory(&build)?;
    let mut trees = vec![input.source.as_path()];
    if input.source != input.build {
        // Behind the source: what is in both was generated for this build.
        trees.push(&input.build);
    }
    // The build tree's own is a stub with the absolute path of the source.
    copy(&input.source.join("Makefile"), &build.join("Makefile"))?;
    for tree in trees {
        for pattern in FILES {
            for path in expand(tree, &pattern.replace("ARCH", input.arch.source))? {
                copy(&tree.join(&path), &build.join(&path))?;
            }
        }
        for directory in DIRECTORIES {
            let directory = directory.replace("ARCH", input.arch.source);
            if tree.join(&directory).is_dir() {
                copy_headers(tree, Path::new(&directory), &build)?;
            }
        }
    }
    strip_host_programs(&build)?;
    copy(&input.build.join(input.arch.image), &stage.join("vmlinuz"))?;
    if let Some(manifest) = &input.manifest {
        disk::write(stage.join("manifest.json"), manifest.as_bytes())?;
    }
    // Relocations are only there for the kernel's own build (KASLR) and make up
    // half of the file.
    let command = LongCommand::new(input.objcopy.clone())
        .arg("--remove-relocations=*")
        .arg(input.build.join("vmlinux"))
        .arg(build.join("vmlinux"));
    process::run_logged(command, log, || Ok(()))
        .with_context(|| format!("cannot copy the vmlinux of {}", input.release))
}

/// The files in a tree that a pattern of [`FILES`] stands for.
fn expand(tree: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let Some(start) = pattern.strip_suffix('*') else {
        let found = tree.join(pattern).is_file();
        return Ok(found.then(|| PathBuf::from(pattern)).into_iter().collect());
    };
    let (folder, start) = start.rsplit_once('/').unwrap_or(("", start));
    let directory = tree.join(folder);
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let context = || format!("cannot read {}", directory.display());
    let mut found = Vec::new();
    for entry in directory.read_dir().with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(start) && entry.path().is_file() {
            found.push(Path::new(folder).join(name));
        }
    }
    Ok(found)
}

/// Whether a file of an `include` directory goes into the package. Not make's
/// notes (`.*.cmd`, which have absolute paths), and of `include/config`, which
/// has an empty file for every option that only the kernel's own build looks at,
/// only what is read.
fn is_header(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with('.') || name.ends_with(".cmd") {
        return false;
    }
    !path.starts_with("include/config")
        || path == Path::new("include/config/auto.conf")
        || path == Path::new("include/config/kernel.release")
        // Read by makefiles until 5.x.
        || path == Path::new("include/config/tristate.conf")
}

fn copy_headers(tree: &Path, directory: &Path, goal: &Path) -> Result<()> {
    interrupt::check()?;
    let from = tree.join(directory);
    let context = || format!("cannot read {}", from.display());
    for entry in from.read_dir().with_context(context)? {
        let entry = entry.with_context(context)?;
        let path = directory.join(entry.file_name());
        // A link to a directory is one file for `is_dir` of the entry's type, so
        // that a link in a circle does no harm.
        if entry.file_type().with_context(context)?.is_dir() {
            copy_headers(tree, &path, goal)?;
        } else if is_header(&path) && entry.path().is_file() {
            copy(&tree.join(&path), &goal.join(&path))?;
        }
    }
    Ok(())
}

/// Copies a file (what a link points to, not the link), replacing what is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        disk::create_directory(parent)?;
    }
    std::fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn strip_host_programs(build: &Path) -> Result<()> {
    let programs = HOST_PROGRAMS
        .iter()
        .map(|name| build.join(name))
        .filter(|path| path.is_file())
        .collect::<Vec<_>>();
    let shell = process::shell()?;
    let sections = [
        "--remove-section=.comment",
        "--remove-section=.note.gnu.build-id",
    ];
    cmd!(shell, "strip --strip-unneeded {sections...} {programs...}")
        .quiet()
        .run()
        .context("cannot strip the programs that modules are built with")
}

/// The permissions and times that the files have after unpacking, so that a
/// kernel is the same whether it was built here or fetched.
fn normalise(directory: &Path) -> Result<()> {
    interrupt::check()?;
    let context = || {
        format!(
            "cannot set permissions and times in {}",
            directory.display()
        )
    };
    for entry in directory.read_dir().with_context(context)? {
        let entry = entry.with_context(context)?;
        let kind = entry.file_type().with_context(context)?;
        if kind.is_dir() {
            normalise(&entry.path())?;
        } else if kind.is_file() {
            let metadata = entry.metadata().with_context(context)?;
            let executable = metadata.permissions().mode() & 0o100 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            let path = entry.path();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).with_context(context)?;
            File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(PACKAGE_TIME)))
                .with_context(context)?;
        }
    }
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).with_context(context)
}

/// Builds a module against a package, in `directory`, and looks closely at how
/// that went.
pub fn prove(kernel: &LocalKernel, directory: &Path, log: &Path) -> Result<()> {
    disk::create_directory(directory)?;
    disk::write(directory.join("proof.c"), PROOF_SOURCE.as_bytes())?;
    disk::write(directory.join("Makefile"), b"obj-m := proof.o\n")?;
    let compiler = module::find_compiler(kernel.require_build()?, kernel.arch, None)?;
    let before = module::listing(&kernel.path)?;
    let start = log.metadata().map_or(0, |metadata| metadata.len());
    module::make(kernel, directory, "proof", &compiler, log)
        .context("external modules cannot be built against the package")?;
    let output = process::tail_of_log(log, start, usize::MAX);
    let missed = missing_files(&output);
    if !missed.is_empty() {
        let message = format!(
            "the package lacks files that external modules need; log: {}",
            log.display()
        );
        let lines = missed.join("\n");
        return Err(Failure::setup(message).lines(lines).into());
    }
    let after = module::listing(&kernel.path)?;
    let changed = after
        .iter()
        .filter(|(path, state)| before.get(*path) != Some(state))
        .chain(before.iter().filter(|(path, _)| !after.contains_key(*path)))
        .map(|(path, _)| path.display().to_string())
        .collect::<Vec<_>>();
    if !changed.is_empty() {
        bail!(
            "building an external module changes the package, which other runs share: {}",
            changed.join(", ")
        );
    }
    let built = directory.join("proof.ko");
    let bytes = input::bytes(&built, input::LARGE)?;
    let magic = format!("vermagic={} ", kernel.release);
    if !bytes
        .windows(magic.len())
        .any(|window| window == magic.as_bytes())
    {
        bail!(
            "an external module built against the package is not for {}: it lacks {magic:?}",
            kernel.release
        );
    }
    Ok(())
}

/// Lines of make's output that mean a missing file. Our own command line, which
/// the log begins with, is none.
fn missing_files(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter(|line| !line.starts_with("$ "))
        .filter(|line| {
            SIGNS_OF_MISSING_FILES
                .iter()
                .any(|sign| line.contains(sign))
        })
        .collect()
}

/// A build tree that somebody else made, as found in a directory.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundBuild {
    /// From the ELF header of `vmlinux`.
    pub arch: &'static Arch,
    /// From `include/config/kernel.release`.
    pub release: Release,
    /// From the `source` link or the stub of a Makefile.
    pub source: PathBuf,
    /// The directory itself, absolute.
    pub build: PathBuf,
    /// The text of its `manifest.json`, if there is one.
    pub manifest: Option<String>,
}

impl FoundBuild {
    /// Looks at a build tree.
    pub fn at(directory: &Path) -> Result<Self> {
        let wrong = |why: String| {
            Failure::usage(format!("{} {why}", directory.display()))
                .hint("BUILD_DIR is where the kernel was built: O= of its make, or its source tree")
        };
        let build = directory
            .canonicalize()
            .map_err(|error| wrong(format!("cannot be opened: {error}")))?;
        let read = |name: &str| input::text(&build.join(name), input::TEXT);
        let Ok(release) = read("include/config/kernel.release") else {
            let why = "is not a finished kernel build: no include/config/kernel.release";
            return Err(wrong(why.to_owned()).into());
        };
        let vmlinux = build.join("vmlinux");
        if !vmlinux.is_file() {
            return Err(wrong("is not a finished kernel build: no vmlinux".to_owned()).into());
        }
        let makefile = read("Makefile").unwrap_or_default();
        let source = if build.join("Kconfig").is_file() {
            build.clone()
        } else if let Ok(source) = build.join("source").canonicalize() {
            source
        } else if let Some(source) = source_of_stub(&makefile) {
            source
        } else {
            return Err(wrong("does not say where its source is".to_owned()).into());
        };
        if !source.join("Kconfig").is_file() {
            let why = format!("was built from {}, which is gone", source.display());
            return Err(wrong(why).into());
        }
        Ok(Self {
            arch: store::elf_architecture(&vmlinux)?,
            release: release.trim().parse()?,
            source,
            manifest: read("manifest.json").ok(),
            build,
        })
    }

    pub fn make(&self, arguments: &[&str]) -> LongCommand {
        make::command()
            .arg("-C")
            .arg(self.build.clone())
            .arg(format!("ARCH={}", self.arch.kernel))
            .args(arguments.iter().copied())
    }
}

/// The source tree that the Makefile of a build tree leads to: `include
/// <source>/Makefile` since 5.4, before `MAKEARGS := -C <source>`.
fn source_of_stub(makefile: &str) -> Option<PathBuf> {
    let path = makefile.lines().find_map(|line| {
        let included = line
            .strip_prefix("include ")
            .and_then(|path| path.trim().strip_suffix("/Makefile"));
        included.or_else(|| line.strip_prefix("MAKEARGS := -C ").map(str::trim))
    })?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_build_host_do_not_say_where_they_were_built() {
        let shell = xshell::Shell::new().unwrap();
        let program = || {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(HOST_PROGRAMS[1]);
            disk::create_directory(path.parent().unwrap()).unwrap();
            let source = directory.path().join("program.c");
            std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
            cmd!(shell, "cc -g -Wl,--build-id -o {path} {source}")
                .quiet()
                .run()
                .unwrap();
            let built = std::fs::read(&path).unwrap();
            strip_host_programs(directory.path()).unwrap();
            (built, std::fs::read(&path).unwrap())
        };
        let (first, second) = (program(), program());
        assert!(first.0 != second.0, "they should say it before");
        assert!(first.1 == second.1);
    }

    #[test]
    fn headers_are_told_from_notes_of_make() {
        for (path, expected) in [
            ("include/linux/list.h", true),
            ("include/generated/autoconf.h", true),
            ("include/generated/.bounds.h.cmd", false),
            ("include/config/auto.conf", true),
            ("include/config/auto.conf.cmd", false),
            ("include/config/kernel.release", true),
            ("include/config/SMP", false),
            ("include/config/64bit.h", false),
            ("include/config/net/ns.h", false),
            ("arch/x86/include/generated/asm/.syscalls_64.h.cmd", false),
            ("arch/x86/include/asm/asm-offsets.h", true),
        ] {
            assert_eq!(is_header(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn missing_files_are_seen_in_the_output() {
        let output = "$ make KCFLAGS='not found'\n  CC [M]  /m/proof.o\n\
            /bin/sh: 1: ./scripts/pahole-flags.sh: not found\n\
            Skipping BTF generation for /m/proof.ko due to unavailability of vmlinux\n\
            cat: include/config/kernel.release: No such file or directory\n\
            WARNING: Symbol version dump \"Module.symvers\" is missing.\n  LD [M]  /m/proof.ko\n";
        assert_eq!(missing_files(output).len(), 4);
        assert!(missing_files("  CC [M]  /m/proof.o\n  LD [M]  /m/proof.ko\n").is_empty());
    }

    #[test]
    fn the_source_of_a_build_tree_is_found() {
        for (makefile, expected) in [
            (
                "# Automatically generated by /src/linux/Makefile: don't edit\n\
                 include /src/linux/Makefile\n",
                Some("/src/linux"),
            ),
            ("MAKEARGS := -C /src/linux\n", Some("/src/linux")),
            ("include ../linux/Makefile\n", None),
            ("", None),
        ] {
            assert_eq!(source_of_stub(makefile), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn patterns_of_files_are_expanded() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("scripts/mod")).unwrap();
        for name in ["Makefile", "Makefile.lib", "Kbuild.include", "mod/modpost"] {
            std::fs::write(tree.path().join("scripts").join(name), "").unwrap();
        }
        let expand = |pattern| {
            let mut found = expand(tree.path(), pattern).unwrap();
            found.sort();
            found
        };
        assert_eq!(
            expand("scripts/Makefile*"),
            ["scripts/Makefile", "scripts/Makefile.lib"].map(PathBuf::from)
        );
        assert_eq!(
            expand("scripts/mod/modpost"),
            ["scripts/mod/modpost"].map(PathBuf::from)
        );
        assert!(expand("scripts/mod").is_empty());
        assert!(expand("tools/Makefile*").is_empty());
    }

    #[test]
    fn what_is_no_build_tree_is_a_usage_error() {
        let directory = tempfile::tempdir().unwrap();
        let message = || {
            let error = FoundBuild::at(directory.path()).unwrap_err();
            assert_eq!(crate::base::error::exit_status(&error), 2);
            error.to_string()
        };
        assert!(message().contains("no include/config/kernel.release"));
        std::fs::create_dir_all(directory.path().join("include/config")).unwrap();
        std::fs::write(
            directory.path().join("include/config/kernel.release"),
            "6.1.0\n",
        )
        .unwrap();
        assert!(message().contains("no vmlinux"));
        std::fs::write(directory.path().join("vmlinux"), "").unwrap();
        assert!(message().contains("where its source is"));
        std::fs::write(
            directory.path().join("Makefile"),
            "include /nonexistent/linux/Makefile\n",
        )
        .unwrap();
        assert!(message().contains("/nonexistent/linux, which is gone"));
    }
}
