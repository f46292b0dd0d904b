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
//! build/...               see vmtest-assets/package/files.txt, and DIRECTORIES
//! ```
//!
//! A package is not put in place before a module was built against the very files
//! that go into it.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use crate::archive::{self, PACKAGE_TIME};
use crate::base::embedded::{MODULE_FILES, PROOF_SOURCE};
use crate::base::error::Failure;
use crate::base::process::{self, LongCommand};
use crate::base::{disk, env::Env, input, lock, programs, temporary::Temporary};
use crate::kernel::{build::make, module, store};
use crate::model::arch::Arch;
use crate::model::{kernel::LocalKernel, package_name::PackageName, version::Release};

/// Part of what decides a package's bytes: to be raised when the layout, the
/// list of files, the compression or the compiler's flags change.
pub const LAYOUT: u32 = 3;

/// Directories that are copied whole from the source tree and then from the
/// build tree, apart from what [`is_header`] leaves out.
const DIRECTORIES: &[&str] = &["arch/ARCH/include", "include"];

/// Without one of these, and the image, the build tree is not finished.
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

/// In make's output these mean that something was not there, although make may
/// go on and even succeed: some scripts limp along without a file.
const SIGNS: &[&str] = &[
    "No such file or directory",
    "No rule to make target",
    "not found",
    "is missing",
    "cannot open",
    "can't open",
    "unavailability",
    "Permission denied",
];

/// A finished build tree.
#[derive(Debug, PartialEq, Eq)]
pub struct FinishedBuild {
    pub arch: &'static Arch,
    /// `make kernelrelease`.
    pub release: Release,
    pub source: PathBuf,
    /// Absolute; may be the source tree.
    pub build: PathBuf,
    /// The compiler that was named for it, to be used where the kernel's own is not found.
    pub cc: Option<String>,
    /// The text of `manifest.json`, if the tree was built by us.
    pub manifest: Option<String>,
}

#[derive(Debug)]
pub struct Packaged {
    /// The unpacked kernel in the work directory.
    pub kernel: LocalKernel,
    pub archive: PathBuf,
}

/// Stages a package, proves it, and puts it in place: unpacked in the work
/// directory, and as a file in `output` or the work directory. Both are replaced if they are
/// there. `make` calls make in the build tree; its output is appended to `log`.
///
/// Takes the lock [`store::lock_name`] of the kernel; the caller must not hold it.
pub fn package(
    env: &Env,
    built: &FinishedBuild,
    make: &dyn Fn(&[&str]) -> LongCommand,
    output: Option<&Path>,
    log: &Path,
) -> Result<Packaged> {
    let (arch, release) = (built.arch, &built.release);
    let required = REQUIRED.iter().copied().chain([arch.image]);
    if let Some(missing) = store::missing(&built.build, required) {
        let build = built.build.display();
        let message = format!("{build} is not a finished kernel build: {missing}");
        return Err(Failure::usage(message).into());
    }
    let goal = store::kernel_path(&env.paths, arch, release);
    let archive = match output {
        Some(directory) => directory.join(PackageName::new(arch, release).to_string()),
        None => store::package_path(&env.paths, arch, release),
    };
    let _lock = lock::take(env, &store::lock_name(arch, release))?;
    let temporary = Temporary::directory(&goal)?;
    let root = temporary.path();
    let stage = root.join(format!("lib/modules/{release}"));

    let mut task = env.ui.task(format!("packaging {release}"));
    task.update("installing modules");
    install_modules(make, root, &stage, log)
        .with_context(|| format!("cannot install the modules of {release}"))?;
    task.update("copying what external modules need");
    stage_files(built, &stage, log)?;
    normalise(&stage)?;
    let kernel = store::open(&stage)?;
    task.update("building a module against it");
    prove(&kernel, built.cc.as_deref(), &root.join("proof"), log)?;
    task.update("compressing");
    let file = Temporary::file(&archive)?;
    let sha256 = archive::create(&stage, file.as_file(), programs::processors())?;
    drop(task);
    file.persist()?;
    temporary.persist_from(&stage)?;
    let (shown, size) = (archive.display(), archive.metadata()?.len());
    env.ui
        .info(format!("{shown} ({size} bytes, sha256 {sha256})"));
    Ok(Packaged {
        kernel: store::open(&goal)?,
        archive,
    })
}

fn install_modules(
    make: &dyn Fn(&[&str]) -> LongCommand,
    root: &Path,
    stage: &Path,
    log: &Path,
) -> Result<()> {
    let install = format!("INSTALL_MOD_PATH={}", root.display());
    // The kernel looks for depmod in PATH, which lacks /sbin for ordinary users,
    // and goes on without it.
    let depmod = format!("DEPMOD={}", module::depmod()?.display());
    let command = make(&[&install, &depmod, "INSTALL_MOD_STRIP=", "modules_install"]);
    process::run_logged(command, log, || Ok(()))?;
    let lists = ["modules.dep", "modules.devname", "modules.builtin"];
    if let Some(missing) = store::missing(stage, lists) {
        bail!("that gave {missing}; log: {}", log.display());
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

fn stage_files(built: &FinishedBuild, stage: &Path, log: &Path) -> Result<()> {
    let build = stage.join("build");
    disk::create_directory(&build)?;
    // The build tree's own is a stub with the absolute path of the source.
    copy(&built.source.join("Makefile"), &build.join("Makefile"))?;
    // The build tree behind the source: what is in both was generated for this build.
    for tree in [&built.source, &built.build] {
        for (pattern, _) in module_files() {
            for path in expand(tree, &pattern.replace("ARCH", built.arch.source))? {
                copy(&path, &build.join(path.strip_prefix(tree)?))?;
            }
        }
        for directory in DIRECTORIES {
            for path in disk::tree(&tree.join(directory.replace("ARCH", built.arch.source)))? {
                let name = path.strip_prefix(tree)?;
                if is_header(name) && path.is_file() {
                    copy(&path, &build.join(name))?;
                }
            }
        }
        if built.source == built.build {
            break;
        }
    }
    strip_host_programs(&build)?;
    if let Some(manifest) = &built.manifest {
        disk::write(stage.join("manifest.json"), manifest)?;
    }
    let vmlinux = built.build.join("vmlinux");
    let copy_without = |what: &str, to: &Path| {
        let command = LongCommand::new(built.arch.program("objcopy"));
        let command = command.arg(what).arg(&vmlinux).arg(to);
        process::run_logged(command, log, || Ok(()))
            .with_context(|| format!("cannot copy the vmlinux of {}", built.release))
    };
    // Relocations are only there for the kernel's own build (KASLR) and make up
    // half of the file. dwz would make the package smaller by a fifth, but the binutils'
    // addr2line then takes 3 GB of memory and finds no inlined functions, and drgn reads
    // the file three times as long.
    copy_without("--remove-relocations=*", &build.join("vmlinux"))?;
    let (image, vmlinuz) = (built.build.join(built.arch.image), stage.join("vmlinuz"));
    match image == vmlinux {
        // The debugging information would be most of it.
        true => copy_without("--strip-all", &vmlinuz),
        false => copy(&image, &vmlinuz),
    }
}

/// The patterns of [`MODULE_FILES`], and whether each is a program of the build host.
fn module_files() -> impl Iterator<Item = (&'static str, bool)> {
    let lines = MODULE_FILES.lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| match line.strip_suffix(" program") {
        Some(path) => (path, true),
        None => (line, false),
    })
}

/// The files in a tree that a pattern of [`MODULE_FILES`] stands for.
fn expand(tree: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let path = tree.join(pattern);
    let (Some(folder), Some(start)) = (path.parent(), pattern.strip_suffix('*')) else {
        return Ok(if path.is_file() { vec![path] } else { vec![] });
    };
    let start = tree.join(start);
    let start = start.as_os_str().as_bytes();
    let mut found = disk::entries(folder)?;
    found.retain(|path| path.as_os_str().as_bytes().starts_with(start) && path.is_file());
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
    let programs = module_files().filter(|(_, is_program)| *is_program);
    let programs = programs.map(|(name, _)| build.join(name));
    let programs = programs.filter(|path| path.is_file()).collect::<Vec<_>>();
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
    let shown = directory.display();
    let context = || format!("cannot set permissions and times in {shown}");
    let mut paths = disk::tree(directory)?;
    paths.push(directory.to_owned());
    paths.retain(|path| !path.is_symlink());
    for path in &paths {
        let metadata = path.metadata().with_context(context)?;
        let executable = metadata.is_dir() || metadata.permissions().mode() & 0o100 != 0;
        let mode = if executable { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, Permissions::from_mode(mode)).with_context(context)?;
        if metadata.is_file() {
            let file = File::options().append(true).open(path);
            file.and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(PACKAGE_TIME)))
                .with_context(context)?;
        }
    }
    Ok(())
}

/// Builds a module against a package, in `directory`, and looks closely at how
/// that went.
pub fn prove(kernel: &LocalKernel, cc: Option<&str>, directory: &Path, log: &Path) -> Result<()> {
    disk::create_directory(directory)?;
    disk::write(directory.join("proof.c"), PROOF_SOURCE)?;
    disk::write(directory.join("Makefile"), b"obj-m := proof.o\n")?;
    let compiler = module::find_compiler(kernel.require_build()?, kernel.arch, &|_| {
        Ok(cc.map(str::to_owned))
    })?;
    let before = module::listing(&kernel.path)?;
    let start = log.metadata().map_or(0, |metadata| metadata.len());
    module::make(kernel, directory, "proof", &compiler, log)
        .context("external modules cannot be built against the package")?;
    let output = process::tail_of_log(log, start, usize::MAX);
    let missed = missing_files(&output);
    if !missed.is_empty() {
        let log = log.display();
        let message = format!("the package lacks files that external modules need; log: {log}");
        let lines = missed.join("\n");
        return Err(Failure::setup(message).lines(lines).into());
    }
    let after = module::listing(&kernel.path)?;
    let changed = after.symmetric_difference(&before);
    let changed = changed.map(|(path, ..)| path.display().to_string());
    let changed = changed.collect::<BTreeSet<_>>();
    if !changed.is_empty() {
        bail!(
            "building an external module changes the package, which other runs share: {}",
            changed.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    let built = directory.join("proof.ko");
    let bytes = input::bytes(&built, input::LARGE)?;
    let magic = format!("vermagic={} ", kernel.release);
    let mut windows = bytes.windows(magic.len());
    if !windows.any(|window| window == magic.as_bytes()) {
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
    let mut lines = output.lines().collect::<Vec<_>>();
    lines.retain(|line| !line.starts_with("$ ") && SIGNS.iter().any(|sign| line.contains(sign)));
    lines
}

impl FinishedBuild {
    /// A build tree that somebody else made, as found in a directory.
    pub fn at(directory: &Path) -> Result<Self> {
        let wrong = |why: String| {
            Failure::usage(format!("{} {why}", directory.display()))
                .hint("BUILD_DIR is where the kernel was built: O= of its make, or its source tree")
        };
        let build = directory
            .canonicalize()
            .map_err(|error| wrong(format!("cannot be opened: {error}")))?;
        let read = |name: &str| input::text(&build.join(name), input::TEXT);
        let release = "include/config/kernel.release";
        if let Some(missing) = store::missing(&build, [release, "vmlinux"]) {
            let why = format!("is not a finished kernel build: {missing}");
            return Err(wrong(why).into());
        }
        let source = if build.join("Kconfig").is_file() {
            Some(build.clone())
        } else if let Ok(source) = build.join("source").canonicalize() {
            Some(source)
        } else {
            source_of_stub(&read("Makefile").unwrap_or_default())
        };
        let source = source.ok_or_else(|| wrong("does not say where its source is".to_owned()))?;
        if !source.join("Kconfig").is_file() {
            let why = format!("was built from {}, which is gone", source.display());
            return Err(wrong(why).into());
        }
        Ok(Self {
            arch: store::elf_architecture(&build.join("vmlinux"))?,
            release: read(release)?.trim().parse()?,
            source,
            cc: None,
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
            let path = directory.path().join("scripts/mod/modpost");
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
            let found = expand(tree.path(), pattern).unwrap().into_iter();
            let found = found.map(|path| path.strip_prefix(tree.path()).unwrap().to_owned());
            found.collect::<Vec<_>>()
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
            let error = FinishedBuild::at(directory.path()).unwrap_err();
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
