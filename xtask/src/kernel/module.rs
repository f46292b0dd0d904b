//! External kernel modules, built against a package.
//!
//! The package is shared and may be read-only, and before 6.13 an external module
//! can only be built where its source is. So the source is copied, built in a
//! directory of ours and kept in the cache under a name that depends on
//! everything that went in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::base::process::{self, LongCommand};
use crate::base::{
    disk, env::Env, error::Failure, input, interrupt, lock, programs, sha256::Sha256,
    temporary::Temporary,
};
use crate::kernel::build::toolchain::{self, Pahole, Remedy};
use crate::kernel::build::{make::command as make_command, progress::first_errors};
use crate::model::arch::Arch;
use crate::model::kernel::{LocalKernel, Origin};
use crate::model::version::Release;

/// Part of the cache's key: to be raised when the way of building changes.
const RECIPE: &str = "3";

pub struct ModuleOptions<'m> {
    pub other: &'m OtherCompiler<'m>,
    /// The output of make is appended here.
    pub log: PathBuf,
}

/// The program to take where the kernel's own compiler, whose `--version` line it gets, is not on
/// this host; `None`: the host's.
pub type OtherCompiler<'m> = dyn Fn(&str) -> Result<Option<String>> + 'm;

#[derive(Debug)]
pub struct ModuleCompiler {
    /// What make gets as `CC`.
    pub program: String,
    /// The first line of `--version`.
    pub version: String,
    /// Whether it is the one that the kernel was built with.
    pub kernels_own: bool,
}

/// Builds the module whose Makefile is in `source`, or finds it in the cache.
/// The path of the `.ko` file.
pub fn build_external(
    env: &Env,
    kernel: &LocalKernel,
    source: &Path,
    options: &ModuleOptions<'_>,
) -> Result<PathBuf> {
    let source = source.canonicalize().map_err(|error| {
        Failure::usage(format!("no module source {}: {error}", source.display()))
    })?;
    let files = source_files(&source)?;
    let makefiles = ["Makefile", "Kbuild"].map(Path::new);
    if !makefiles.iter().any(|name| files.contains_key(*name)) {
        let shown = source.display();
        let why = "is not a module's source: it has neither a Makefile nor a Kbuild";
        return Err(Failure::usage(format!("{shown} {why}")).into());
    }
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let (build, release) = (kernel.require_build()?, &kernel.release);
    let compiler = find_compiler(build, kernel.arch, options.other)?;
    let key = key(kernel, &files, &compiler)?;
    let key = &key[..16];
    let cache = env.paths.cache().join("modules");
    let goal = cache.join(format!("{name}-{release}-{key}"));
    let _lock = lock::take(env, &format!("module-{key}"))?;
    if goal.is_dir() {
        let module = the_module(&goal)?;
        env.ui
            .verbose(format!("{} is already built", module.display()));
        return Ok(module);
    }
    if !compiler.kernels_own {
        let (program, version) = (&compiler.program, &compiler.version);
        let own = kernels_compiler(build)?;
        env.ui.info(format!(
            "building {name} for {release} with {program} ({version}), because this host lacks \
             the kernel's own compiler, {own}"
        ));
    }
    let temporary = Temporary::directory(&goal)?;
    let work = temporary.path().join("source");
    copy_source(&source, &files, &work)?;
    let task = env.ui.task(format!("building {name} for {release}"));
    make(kernel, &work, &name, &compiler, &options.log)?;
    drop(task);
    let built = the_module(&work)?;
    let out = temporary.path().join("out");
    disk::create_directory(&out)?;
    let module = built.file_name().context("the module has no name")?;
    disk::rename(&built, &out.join(module))?;
    temporary.persist_from(&out)?;
    Ok(goal.join(module))
}

/// Runs make for the module in `directory`, which becomes its place of work.
///
/// Paths in the debugging information come out as if the module had been built
/// in the kernel's own tree, below a directory `name`: headers have the same
/// names as in the kernel's, and nothing depends on where we are.
pub(crate) fn make(
    kernel: &LocalKernel,
    directory: &Path,
    name: &str,
    compiler: &ModuleCompiler,
    log: &Path,
) -> Result<()> {
    let build = kernel.require_build()?;
    let (real_build, real_directory) = (disk::canonicalize(build)?, disk::canonicalize(directory)?);
    for path in [&real_build, &real_directory] {
        if path.to_string_lossy().contains([' ', ':', '%']) {
            let path = path.display();
            return Err(Failure::usage(format!(
                "the kernel's makefiles cannot work in {path}: it has a space, a colon or a \
                 percent sign"
            ))
            .hint("choose another work directory with -d")
            .into());
        }
    }
    let mut maps = vec![
        format!("-fdebug-prefix-map={}=./{name}", real_directory.display()),
        format!("-fdebug-prefix-map={}=.", real_build.display()),
        // A WARN() of the module has this path in its words, which `[[allow]]` names.
        format!("-fmacro-prefix-map={}={name}", real_directory.display()),
    ];
    // gcc names the directory that it was called in by $PWD where that is right.
    if build != real_build {
        maps.push(format!("-fdebug-prefix-map={}=.", build.display()));
    }
    let beside = Path::new(&compiler.program).with_file_name("pahole");
    // That of the suite, if the compiler was unpacked.
    let pahole = match beside.is_absolute() && beside.is_file() {
        true => Some(beside),
        false => programs::find_program("pahole"),
    };
    let toolchain = toolchain::for_module(
        &compiler.program,
        &compiler.version,
        pahole.and_then(Pahole::at),
        &kernel.release.version,
    )?;
    toolchain.write_wrappers(&real_directory)?;
    let maps = maps.join(" ");
    let remedies = toolchain.remedies(Remedy::CompilerFlag);
    let command = make_command()
        .arg("-C")
        .arg(real_build.clone())
        .arg(format!("M={}", real_directory.display()))
        .arg(format!("ARCH={}", kernel.arch.kernel))
        .arg(format!(
            "CROSS_COMPILE={}",
            kernel.arch.cross_compile().unwrap_or_default()
        ))
        .arg(format!("CC={}", toolchain.cc()))
        .arg(format!(
            "KCFLAGS={}",
            [&[&*maps], &*remedies].concat().join(" ")
        ))
        .arg(format!("KAFLAGS={maps}"))
        .args(toolchain.pahole_variable(&real_directory))
        .arg(format!("-j{}", programs::processors()))
        .arg("modules")
        .credentials();
    let start = log.metadata().map_or(0, |metadata| metadata.len());
    process::run_logged(command, log, || Ok(())).map_err(|error| {
        if interrupt::pending().is_some() {
            return error;
        }
        let output = process::tail_of_log(log, start, usize::MAX);
        let lines = first_errors(&output);
        if lines.is_empty() {
            return error;
        }
        let (release, log) = (&kernel.release, log.display());
        Failure::setup(format!(
            "cannot build the module {name} for {release}; log: {log}"
        ))
        .lines(lines.join("\n"))
        .into()
    })
}

/// The program that lists a kernel's modules. For ordinary users `PATH` lacks /sbin, where it is.
pub(crate) fn depmod() -> Result<PathBuf> {
    let found = programs::find_program("depmod");
    Ok(found.ok_or_else(|| {
        Failure::setup("cannot list the kernel's modules: depmod is missing")
            .hint("install kmod, or let --setup install what is missing")
    })?)
}

/// Makes the lists that modprobe reads in `root/lib/modules/<release>`.
pub(crate) fn list_modules(root: &Path, release: &Release) -> Result<()> {
    let depmod = depmod()?;
    // Where depmod looks depends on how it was built: some distributions have moved the
    // folder below /usr.
    let usr = root.join("usr");
    disk::create_directory(&usr)?;
    let link = usr.join("lib");
    symlink("../lib", &link).with_context(|| format!("cannot create {}", link.display()))?;
    let command = LongCommand::new(depmod)
        .arg("-b")
        .arg(root)
        .arg(release.to_string());
    process::run_logged(command, &root.join("depmod.log"), || Ok(()))
        .with_context(|| format!("cannot list the modules of {release}"))
}

/// The only `.ko` file below a directory.
fn the_module(directory: &Path) -> Result<PathBuf> {
    let mut modules = disk::tree(directory)?;
    modules.retain(|path| path.extension() == Some(OsStr::new("ko")));
    let shown = directory.display();
    let (count, module) = (modules.len(), modules.pop());
    let module = module.with_context(|| format!("no module was built in {shown}"))?;
    ensure!(
        count == 1,
        "{count} modules were built in {shown}, where one is wanted"
    );
    Ok(module)
}

/// Regular files below a directory, relative to it, sorted. Links to directories
/// are not followed.
pub(super) fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let paths = disk::tree(directory)?.into_iter();
    let files = paths.filter(|path| path.is_file());
    let names = files.map(|path| Ok(path.strip_prefix(directory)?.to_owned()));
    names.collect()
}

/// The module's source: relative path and contents, without what a build in that
/// directory left. Taken along, an old object would pass for an up-to-date one.
fn source_files(source: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for path in files_below(source)? {
        if is_source(&path) {
            let bytes = input::bytes(&source.join(&path), input::LARGE)?;
            files.insert(path, bytes);
        }
    }
    Ok(files)
}

/// What the names of files end with that a build makes.
const PRODUCTS: &[&str] = &[
    ".o", ".ko", ".mod", ".mod.c", ".a", ".order", ".symvers", "~",
];

fn is_source(path: &Path) -> bool {
    let mut parts = path.iter().map(OsStrExt::as_bytes);
    let hidden = parts.any(|part| part.starts_with(b"."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !hidden && !PRODUCTS.iter().any(|end| name.ends_with(end))
}

fn copy_source(source: &Path, files: &BTreeMap<PathBuf, Vec<u8>>, goal: &Path) -> Result<()> {
    for (path, bytes) in files {
        let copy = goal.join(path);
        if let Some(parent) = copy.parent() {
            disk::create_directory(parent)?;
        }
        disk::write(&copy, bytes)?;
        // Scripts that the Makefile calls must stay executable.
        if let Ok(metadata) = source.join(path).metadata() {
            std::fs::set_permissions(&copy, metadata.permissions())
                .with_context(|| format!("cannot write {}", copy.display()))?;
        }
    }
    Ok(())
}

fn key(
    kernel: &LocalKernel,
    files: &BTreeMap<PathBuf, Vec<u8>>,
    compiler: &ModuleCompiler,
) -> Result<String> {
    let mut digest = Sha256::default();
    for text in [
        RECIPE,
        &kernel.release.to_string(),
        kernel.arch.name,
        &compiler.program,
        &compiler.version,
    ] {
        digest.part(text);
    }
    // What tells one kernel of that name from another.
    let build = kernel.require_build()?;
    for path in [
        build.join(".config"),
        build.join("Module.symvers"),
        kernel.path.join("manifest.json"),
    ] {
        match input::bytes(&path, input::TEXT) {
            // drgn's packages have no manifest.
            Err(error) if input::is_missing(&error) => digest.part(""),
            bytes => digest.part(bytes?),
        }
    }
    if kernel.origin == Origin::Tree {
        // It changes under its name, and a module that was built before must not be
        // loaded into what it has become.
        let image = kernel.image.metadata().ok();
        digest.part(format!(
            "{:?}",
            image.and_then(|image| image.modified().ok())
        ));
    }
    for (path, bytes) in files {
        digest.part(path.as_os_str().as_bytes());
        digest.part(bytes);
    }
    Ok(digest.finish())
}

/// The compiler that a kernel was built with: the first line of its `--version`.
/// It is in the configuration since Linux 4.18 (`CC_VERSION_TEXT`, Linux commit
/// a4353898980c, "kconfig: add CC_IS_GCC and CC_VERSION_TEXT"); before, only in
/// `generated/compile.h`.
fn kernels_compiler(build: &Path) -> Result<String> {
    let read = |name: &str| input::text(&build.join(name), input::TEXT);
    let config = read(".config")?;
    if let Some(version) = quoted(&config, "CONFIG_CC_VERSION_TEXT=") {
        return Ok(version);
    }
    let compile = read("include/generated/compile.h").unwrap_or_default();
    let version = quoted(&compile, "#define LINUX_COMPILER ");
    Ok(version.map_or_else(|| "unknown".to_owned(), |text| version_line(&text)))
}

/// What `--version` prints for what `gcc -v` calls `gcc version 12.2.0 (Debian 12.2.0-14)`.
fn version_line(text: &str) -> String {
    let text = text.trim();
    let parts = text.strip_prefix("gcc version ");
    match parts.and_then(|parts| parts.split_once(' ')) {
        Some((number, package)) => format!("gcc {package} {number}"),
        None => text.to_owned(),
    }
}

/// The quoted value behind `name` at the start of a line.
fn quoted(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    Some(value.to_owned())
}

/// The compiler for modules: the kernel's own if this host has it, else the other one, else the
/// host's.
pub(crate) fn find_compiler(
    build: &Path,
    arch: &'static Arch,
    other: &OtherCompiler<'_>,
) -> Result<ModuleCompiler> {
    let kernels = kernels_compiler(build)?;
    for program in candidates(&kernels, arch) {
        if let Some(version) = version_of(&program)?
            && same_compiler(&version, &kernels)
        {
            return Ok(ModuleCompiler {
                program,
                version,
                kernels_own: true,
            });
        }
    }
    let fallback = other(&kernels)?.unwrap_or_else(|| arch.program("gcc"));
    let Some(version) = version_of(&fallback)? else {
        let name = arch.name;
        let message =
            format!("no compiler for modules of {name}: neither {kernels}, nor {fallback}");
        return Err(Failure::setup(message)
            .hint("let --setup install what is missing, or name a compiler with --cc")
            .into());
    };
    Ok(ModuleCompiler {
        program: fallback,
        kernels_own: same_compiler(&version, &kernels),
        version,
    })
}

/// Programs that may be the compiler with that `--version` line.
fn candidates(version: &str, arch: &Arch) -> Vec<String> {
    let mut words = version.split_whitespace();
    let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let major = words.clone().rfind(number);
    let major = major.and_then(|number| number.split('.').next());
    let kind = match version.contains("clang") {
        true => "clang",
        false => "gcc",
    };
    let mut names = vec![words.next().unwrap_or_default().to_owned()];
    for name in major
        .map(|major| format!("{kind}-{major}"))
        .into_iter()
        .chain([kind.to_owned()])
    {
        names.push(name.clone());
        names.push(format!("{}-{name}", arch.triplet));
    }
    // A distribution's compilers have one version, whatever they compile for.
    let is_foreign = arch.cross_compile().is_some();
    names.retain(|name| !(is_foreign && name.starts_with("gcc")));
    let mut programs = Vec::new();
    for name in names {
        if name.contains(kind) && !name.contains('/') && !programs.contains(&name) {
            programs.push(name);
        }
    }
    programs
}

/// Whether two `--version` lines are of one compiler. The first word is the name
/// under which it was called.
fn same_compiler(a: &str, b: &str) -> bool {
    let rest = |text: &str| {
        let words = text.split_whitespace();
        let skip = usize::from(!text.contains("clang"));
        words.skip(skip).map(str::to_owned).collect::<Vec<_>>()
    };
    !rest(a).is_empty() && rest(a) == rest(b)
}

/// The first line of a compiler's `--version`; `None` if there is no such program.
pub(super) fn version_of(program: &str) -> Result<Option<String>> {
    // `ccache gcc` is a compiler, too.
    let mut words = program.split_whitespace();
    let Some(first) = words.next() else {
        return Ok(None);
    };
    if programs::find_program(first).is_none() {
        return Ok(None);
    }
    let shell = process::shell()?;
    let output = cmd!(shell, "{first} {words...} --version")
        .env("LC_ALL", "C")
        .quiet()
        .ignore_stderr()
        .read()
        .with_context(|| format!("cannot run {program} --version"))?;
    Ok(output.lines().next().map(str::to_owned))
}

/// A listing by which one can tell that nothing below a directory was changed: names, sizes
/// and times of its files.
pub(crate) fn listing(directory: &Path) -> Result<BTreeSet<(PathBuf, u64, SystemTime)>> {
    let mut listing = BTreeSet::new();
    for name in files_below(directory)? {
        let metadata = directory.join(&name).symlink_metadata();
        let metadata = metadata.with_context(|| format!("cannot look at {}", name.display()))?;
        listing.insert((name, metadata.len(), metadata.modified()?));
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch;

    const DEBIAN: &str = "gcc (Debian 12.2.0-14+deb12u1) 12.2.0";

    #[test]
    fn the_kernels_compiler_is_looked_for_under_its_names() {
        let x86_64 = arch::find("x86_64").unwrap();
        let foreign = if arch::host() == Some(x86_64) {
            "aarch64"
        } else {
            "x86_64"
        };
        let foreign = arch::find(foreign).unwrap();
        let names = candidates("gcc (GCC) 12.2.0", foreign).join(" ");
        let gcc = foreign.program("gcc");
        assert_eq!(names, format!("{gcc}-12 {gcc}"), "the host's would match");
        for (version, expected) in [
            (
                DEBIAN,
                "gcc gcc-12 x86_64-linux-gnu-gcc-12 x86_64-linux-gnu-gcc",
            ),
            (
                "x86_64-linux-gcc (GCC) 12.2.0",
                "x86_64-linux-gcc gcc-12 x86_64-linux-gnu-gcc-12 gcc x86_64-linux-gnu-gcc",
            ),
            (
                "Debian clang version 16.0.6 (15~deb12u1)",
                "clang-16 x86_64-linux-gnu-clang-16 clang x86_64-linux-gnu-clang",
            ),
            ("unknown", "gcc x86_64-linux-gnu-gcc"),
            ("", "gcc x86_64-linux-gnu-gcc"),
        ] {
            assert_eq!(candidates(version, x86_64).join(" "), expected, "{version}");
        }
    }

    #[test]
    fn compilers_are_compared_without_their_names() {
        for (a, b, same) in [
            (DEBIAN, DEBIAN, true),
            (DEBIAN, "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", true),
            (DEBIAN, "gcc (Debian 12.2.0-14) 12.2.0", false),
            (DEBIAN, "x86_64-linux-gcc (GCC) 12.2.0", false),
            ("x86_64-linux-gcc (GCC) 12.2.0", "gcc (GCC) 12.2.0", true),
            ("clang version 16.0.6", "clang version 17.0.1", false),
            ("unknown", "unknown", false),
        ] {
            assert_eq!(same_compiler(a, b), same, "{a} and {b}");
            assert_eq!(same_compiler(b, a), same, "{b} and {a}");
        }
    }

    #[test]
    fn the_kernels_compiler_is_read_from_the_configuration_or_the_header() {
        let directory = tempfile::tempdir().unwrap();
        let generated = directory.path().join("include/generated");
        std::fs::create_dir_all(&generated).unwrap();
        let config = directory.path().join(".config");
        std::fs::write(&config, "CONFIG_64BIT=y\n").unwrap();
        for (text, version) in [
            ("gcc version 9.4.0 (GCC) ", "gcc (GCC) 9.4.0"),
            (
                "gcc version 12.2.0 (Debian 12.2.0-14+deb12u1) ",
                "gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
            ),
            ("clang version 9.0.0", "clang version 9.0.0"),
        ] {
            let header = format!("#define UTS_MACHINE \"x\"\n#define LINUX_COMPILER \"{text}\"\n");
            std::fs::write(generated.join("compile.h"), header).unwrap();
            assert_eq!(kernels_compiler(directory.path()).unwrap(), version);
        }
        std::fs::write(&config, format!("CONFIG_CC_VERSION_TEXT=\"{DEBIAN}\"\n")).unwrap();
        assert_eq!(kernels_compiler(directory.path()).unwrap(), DEBIAN);
    }

    #[test]
    fn build_products_are_no_source() {
        for (path, expected) in [
            ("drgn_test.c", true),
            ("Makefile", true),
            ("sub/x.h", true),
            ("drgn_test.o", false),
            ("drgn_test.ko", false),
            ("drgn_test.mod", false),
            ("drgn_test.mod.c", false),
            (".drgn_test.o.cmd", false),
            (".git/config", false),
            ("Module.symvers", false),
            ("modules.order", false),
        ] {
            assert_eq!(is_source(Path::new(path)), expected, "{path}");
        }
    }
}
