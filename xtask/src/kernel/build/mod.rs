//! Builds a kernel: from a request to an unpacked package.
//!
//! [`build_kernel`] is the whole way: find the source, compute the input key, stop
//! if the kernel is there, fetch, configure, make, package, clean up. Everything
//! about make's command line is in [`make`], bad pairs of tools and kernels in
//! [`toolchain`], reading make's output in [`progress`].
//!
//! A build tree stays when a build fails or is interrupted, and the next run goes on
//! in it. A tree of other source, patches or tools is removed first: time stamps of
//! unpacked files say nothing about which is newer.

pub mod dry_run;
pub mod in_place;
pub mod make;
pub mod progress;
pub mod toolchain;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::base::disk;
use crate::base::env::Env;
use crate::base::error::Failure;
use crate::base::format::thousands;
use crate::base::input;
use crate::base::interrupt;
use crate::base::lock::{self, Lock};
use crate::base::paths::{Files, Paths};
use crate::base::process::{shell_quote, status_in_words};
use crate::base::programs::{find_program, processors};
use crate::base::temporary;
use crate::base::temporary::Temporary;
use crate::base::time;
use crate::base::ui::Ui;
use crate::kernel::config::{self, Merged, definitions};
use crate::kernel::manifest::{self, Input, Manifest, Origin};
use crate::kernel::package::{self, PackageInput, PackageOptions, Packaged};
use crate::kernel::source::{self, Found, SourceChoice, SourceRequest, SourceTree, Wanted};
use crate::kernel::store;
use crate::model::arch::Arch;
use crate::model::catalog::Kernels;
use crate::model::kernel::LocalKernel;
use crate::model::version::{Release, Version, VmtestSuffix};
use crate::net::http;

pub use make::Make;
use progress::Counter;
use toolchain::{Quirks, Toolchain};

/// A kernel to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// A version or a source tree.
    pub wanted: Wanted,
    /// The flavor.
    pub flavor: String,
    /// What it will run on.
    pub arch: &'static Arch,
    /// Where source comes from.
    pub source: SourceChoice,
    /// See [`SourceRequest::kernel_org_url`].
    pub kernel_org_url: String,
    /// The compiler's program; `None`: the usual one, through ccache if it is there.
    pub cc: Option<String>,
    /// Jobs at a time; `None`: one per processor.
    pub jobs: Option<u32>,
    /// Keep the build tree after packaging.
    pub keep_build: bool,
}

impl BuildRequest {
    /// The usual way to build a version.
    pub fn new(version: Version, flavor: impl Into<String>, arch: &'static Arch) -> Self {
        Self {
            wanted: Wanted::Version(version),
            flavor: flavor.into(),
            arch,
            source: SourceChoice::Auto,
            kernel_org_url: source::kernel_org::DEFAULT_URL.to_owned(),
            cc: None,
            jobs: None,
            keep_build: false,
        }
    }
}

/// A kernel that make has finished.
#[derive(Clone, Debug)]
pub struct BuiltTree {
    /// What it will run on.
    pub arch: &'static Arch,
    /// What `uname -r` will print.
    pub release: Release,
    /// The source tree.
    pub source: PathBuf,
    /// The build tree.
    pub build: PathBuf,
    /// How make is called in it.
    pub make: Make,
    /// Goes into the package.
    pub manifest: Manifest,
}

/// What is to be built, known before anything is fetched.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What `uname -r` will print.
    pub release: Release,
    /// The source.
    pub found: Found,
    /// See [`crate::kernel::manifest`].
    pub input_key: String,
    merged: Merged,
    fragments: String,
    patches: Vec<(String, String)>,
    revision: u32,
}

/// What [`build`] came to.
#[derive(Debug)]
pub enum Outcome {
    /// The kernel is there, made from the same input.
    Installed(LocalKernel),
    /// make has finished. While the lock is held no other run builds this kernel.
    Built(Box<BuiltTree>, PathBuf, Lock),
}

/// Builds and packages a kernel unless it is there already.
///
/// # Errors
///
/// Says what could not be found, fetched, configured or built.
pub fn build_kernel(env: &Env, request: &BuildRequest) -> Result<LocalKernel> {
    let (built, log, _lock) = match build(env, request)? {
        Outcome::Installed(kernel) => return Ok(kernel),
        Outcome::Built(built, log, lock) => (built, log, lock),
    };
    let packaged =
        package(env, &built, &log).inspect_err(|_| say_what_was_kept(&built.build, &env.ui))?;
    if request.keep_build {
        env.ui
            .info(format!("build tree: {}", built.build.display()));
    } else {
        temporary::discard(&built.build)?;
    }
    env.ui.info(format!(
        "built {}: {} and {}",
        built.release,
        packaged.kernel.path.display(),
        packaged.archive.display()
    ));
    Ok(packaged.kernel)
}

/// After a signal: what was done is not lost.
fn say_what_was_kept(build: &Path, ui: &Ui) {
    if interrupt::pending().is_some() && build.exists() {
        ui.info(format!(
            "{} was kept, the next run goes on there",
            build.display()
        ));
    }
}

/// Packages what was built.
fn package(env: &Env, built: &BuiltTree, log: &Path) -> Result<Packaged> {
    let make = |arguments: &[&str]| built.make.command(arguments);
    let input = PackageInput {
        arch: built.arch,
        release: built.release.clone(),
        source: built.source.clone(),
        build: built.build.clone(),
        make: &make,
        objcopy: package::objcopy(built.arch),
        manifest: Some(built.manifest.to_json()?),
    };
    let options = PackageOptions {
        output: None,
        log,
        workers: processors(),
    };
    package::package(env, &input, &options).map_err(|error| {
        if http::is_full(&error) {
            source::disk_full(env.paths.work())
        } else {
            error
        }
    })
}

/// Fetches the source of a kernel and configures it, in a folder that is gone afterwards:
/// whether every option of its fragments can be set. Says how many are.
///
/// # Errors
///
/// Names the options that cannot be set and what each is missing; says what could not be
/// found or fetched.
pub fn try_configuration(env: &Env, request: &BuildRequest) -> Result<()> {
    let plan = plan(env, request)?;
    let toolchain = toolchain::probe(request.arch, request.cc.as_deref())?;
    let version = &plan.found.version;
    toolchain
        .quirks(version)
        .check(version, &toolchain.compiler)?;
    let source = source::fetch(env, &plan.found, &plan.patches)?;
    let name = format!("{}.{}", plan.release, request.arch.name);
    let build = Temporary::directory(&env.paths.builds().join(format!("try-{name}")))?;
    let path = log_file(&env.paths, &format!("configure-{name}"))?;
    let make = prepare(request, &plan, &source, &toolchain, build.path())?;
    let mut log = Log::open(&path)?;
    let (set, absent) = configure(&make, &plan.options(), request.arch, &env.ui, &mut log)?;
    env.ui.info(format!(
        "{} from {}: {set} options set, {absent} expected absent, 0 lost",
        plan.release, source.origin
    ));
    Ok(())
}

/// Builds a kernel unless it is there already; the build tree stays.
///
/// # Errors
///
/// Says what could not be found, fetched, configured or built.
pub fn build(env: &Env, request: &BuildRequest) -> Result<Outcome> {
    let plan = plan(env, request)?;
    let name = format!("{}.{}", plan.release, request.arch.name);
    let lock = lock::take(env, &format!("build-{name}"))?;
    if let Some(kernel) = installed(env, request, &plan)? {
        return Ok(Outcome::Installed(kernel));
    }
    let toolchain = toolchain::probe(request.arch, request.cc.as_deref())?;
    toolchain
        .quirks(&plan.found.version)
        .check(&plan.found.version, &toolchain.compiler)?;
    if find_program("make").is_none() {
        return Err(Failure::setup("cannot find make")
            .hint("--setup installs what is missing")
            .into());
    }
    let source = source::fetch(env, &plan.found, &plan.patches)?;
    let log = log_file(&env.paths, &format!("build-{name}"))?;
    env.ui.info(format!(
        "building {} from {} with {}; log: {}",
        plan.release,
        source.origin,
        toolchain.compiler.text,
        log.display()
    ));
    let build = env.paths.builds().join(&name);
    let built = build_in(env, request, &plan, &source, &toolchain, &build, &log)
        .inspect_err(|_| say_what_was_kept(&build, &env.ui))?;
    Ok(Outcome::Built(Box::new(built), log, lock))
}

fn plan(env: &Env, request: &BuildRequest) -> Result<Identity> {
    let kernels = Kernels::load(&env.paths.configs)?;
    if let Wanted::Version(version) = &request.wanted {
        // Before the network is asked.
        kernels.require_series(version.series, request.arch)?;
    }
    kernels.flavor(&request.flavor)?;
    let found = source::find(
        env,
        &SourceRequest {
            wanted: request.wanted.clone(),
            choice: request.source.clone(),
            kernel_org_url: request.kernel_org_url.clone(),
        },
    )?;
    let patched = matches!(request.wanted, Wanted::Version(_));
    identify(
        &env.paths,
        &kernels,
        found,
        &request.flavor,
        request.arch,
        patched,
    )
}

/// Release and input key of a kernel whose source was found. `patched`: with our
/// patches; the user's own tree is built as it is.
///
/// # Errors
///
/// The flavor is unknown, or a fragment or a patch cannot be read.
pub fn identify(
    paths: &Paths,
    kernels: &Kernels,
    found: Found,
    flavor: &str,
    arch: &'static Arch,
    patched: bool,
) -> Result<Identity> {
    kernels.flavor(flavor)?;
    let merged = config::merge(&paths.configs, arch, flavor)?;
    let patches = if patched {
        patches(&paths.configs, &found.version)?
    } else {
        Vec::new()
    };
    let suffix = VmtestSuffix {
        revision: kernels.revision,
        flavor: flavor.to_owned(),
    };
    let release = Release::ours(found.version, &suffix);
    let fragments = merged.allconfig(&found.version);
    let input_key = Input {
        arch: arch.name,
        release: &release.to_string(),
        source: &found.checksum,
        fragments: &fragments,
        patches: &patches,
        layout: package::LAYOUT,
    }
    .key();
    Ok(Identity {
        release,
        found,
        input_key,
        merged,
        fragments,
        patches,
        revision: kernels.revision,
    })
}

/// The kernel, if it is there and was made from the same input.
fn installed(env: &Env, request: &BuildRequest, plan: &Identity) -> Result<Option<LocalKernel>> {
    let Some(kernel) = store::kernels(&env.paths, request.arch)?
        .into_iter()
        .find(|kernel| kernel.release == plan.release)
    else {
        return Ok(None);
    };
    match Manifest::read(&kernel.path)? {
        Some(manifest) if manifest.input_key == plan.input_key => {
            env.ui
                .info(format!("nothing to do: {}", kernel.path.display()));
            Ok(Some(kernel))
        }
        _ => {
            env.ui.info(format!(
                "{} was made from other source or options; building it again",
                kernel.path.display()
            ));
            Ok(None)
        }
    }
}

/// Patches of ours for a version: name and text, in the order of their names.
///
/// A patch is a file `patches/*.patch` whose head says for which versions it is, in
/// lines `Vmtest-Versions: FIRST..END` (END itself not; either may be missing).
fn patches(configs: &Files, version: &Version) -> Result<Vec<(String, String)>> {
    let mut patches = Vec::new();
    // The folder is not there as long as there is no patch.
    let names = configs.list("patches").unwrap_or_default();
    for name in names.iter().filter(|name| name.ends_with(".patch")) {
        let text = configs.read(name)?;
        if applies(&text, version).with_context(|| name.clone())? {
            patches.push((name.clone(), text.into_owned()));
        }
    }
    Ok(patches)
}

/// Whether the head of a patch names the version.
fn applies(patch: &str, version: &Version) -> Result<bool> {
    let mut ranges = patch
        .lines()
        .take_while(|line| !line.starts_with("diff ") && !line.starts_with("--- "))
        .filter_map(|line| line.strip_prefix("Vmtest-Versions:"))
        .peekable();
    if ranges.peek().is_none() {
        return Err(
            Failure::usage("the patch does not say for which versions it is")
                .hint("a line like Vmtest-Versions: 5.11..5.12.10 before the changes")
                .into(),
        );
    }
    let version = source::whole(*version);
    for range in ranges {
        let Some((first, end)) = range.trim().split_once("..") else {
            return Err(Failure::usage(format!("{range:?} is not a range of versions")).into());
        };
        let bound = |text: &str| -> Result<Option<Version>> {
            match text.trim() {
                "" => Ok(None),
                text => Ok(Some(source::whole(text.parse::<Version>()?))),
            }
        };
        let after_first = bound(first)?.is_none_or(|first| first <= version);
        let before_end = bound(end)?.is_none_or(|end| version < end);
        if after_first && before_end {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A new log file in a folder of its own.
fn log_file(paths: &Paths, name: &str) -> Result<PathBuf> {
    let folder = paths
        .logs()
        .join(format!("{}-{name}", time::file_name(time::now())));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join("make.log"))
}

/// In the build tree: what it was begun with. Another key: start afresh.
const KEY: &str = ".vmtest-key";
/// In the build tree while make runs.
const RUNNING: &str = ".vmtest-running";
/// In the build tree: our wrappers of tools.
const WRAPPERS: &str = ".vmtest-tools";
/// In the build tree: the fragment that make is given.
const FRAGMENT: &str = ".vmtest-config";

#[allow(
    clippy::too_many_arguments,
    reason = "the stages' values, each used once"
)]
fn build_in(
    env: &Env,
    request: &BuildRequest,
    plan: &Identity,
    source: &SourceTree,
    toolchain: &Toolchain,
    build: &Path,
    log: &Path,
) -> Result<BuiltTree> {
    for reason in toolchain.quirks(&source.version).reasons() {
        env.ui.verbose(format!("worked around: {reason}"));
    }
    prepare_tree(build, source, toolchain, &plan.patches)?;
    let make = prepare(request, plan, source, toolchain, build)?;
    let mut log = Log::open(log)?;

    configure(&make, &plan.options(), request.arch, &env.ui, &mut log)?;
    let release = make.read("kernelrelease")?;
    if release != plan.release.to_string() {
        return Err(Failure::setup(format!(
            "the kernel calls itself {release} and not {}",
            plan.release
        ))
        .hint("a localversion file in the source tree?")
        .into());
    }
    compile(env, request, &make, plan, &mut log)?;
    let compiler = toolchain.compiler.text.clone();
    let pahole = toolchain.pahole.as_ref().map(|pahole| pahole.text.clone());
    Ok(BuiltTree {
        arch: request.arch,
        release: plan.release.clone(),
        source: source.path.clone(),
        build: make.build.clone(),
        make,
        manifest: Manifest {
            release: plan.release.to_string(),
            arch: request.arch.name.to_owned(),
            flavor: request.flavor.clone(),
            revision: plan.revision,
            source: Origin {
                origin: source.origin.clone(),
                checksum: source.checksum.clone(),
            },
            patches: plan.patches.iter().map(|(name, _)| name.clone()).collect(),
            input_key: plan.input_key.clone(),
            build_key: manifest::build_key(&plan.input_key, &compiler, pahole.as_deref()),
            compiler,
            pahole,
        },
    })
}

/// How make is called in a build tree, with the wrappers that it finds there.
fn prepare(
    request: &BuildRequest,
    plan: &Identity,
    source: &SourceTree,
    toolchain: &Toolchain,
    build: &Path,
) -> Result<Make> {
    // Canonical: gcc knows the directory by that name, and the prefix maps must fit.
    let build = &build
        .canonicalize()
        .with_context(|| format!("cannot find {}", build.display()))?;
    let wrappers = build.join(WRAPPERS);
    write_wrappers(&wrappers, toolchain, &toolchain.quirks(&source.version))?;
    let jobs = request.jobs.unwrap_or_else(processors).max(1);
    Make::new(
        source,
        build,
        &wrappers,
        request.arch,
        &plan.release.suffix,
        toolchain,
        jobs,
    )
}

/// Makes an empty build tree, or one to go on in.
fn prepare_tree(
    build: &Path,
    source: &SourceTree,
    toolchain: &Toolchain,
    patches: &[(String, String)],
) -> Result<()> {
    let context = || format!("cannot prepare {}", build.display());
    let key = format!(
        "{}\n{}\n{}\n{:?}\n{:?}\n",
        source.path.display(),
        source.checksum,
        toolchain.compiler.text,
        toolchain.program,
        patches.iter().map(|(name, _)| name).collect::<Vec<_>>(),
    );
    let file = build.join(KEY);
    match input::text(&file, input::SMALL) {
        Ok(old) if old == key => return remove_unfinished(build).with_context(context),
        Ok(_) => temporary::discard(build)?,
        Err(_) if disk::entries(build)?.is_empty() => {}
        // Whatever that is, it was not made here.
        Err(_) => {
            let message = format!("{} is there and is no build tree of ours", build.display());
            return Err(Failure::setup(message).hint("move it away").into());
        }
    }
    std::fs::create_dir_all(build).with_context(context)?;
    std::fs::write(&file, key).with_context(context)
}

/// After a build that was killed: a file that was being written then looks finished
/// to make. Such files are among the newest of the tree; making a few more again
/// costs seconds.
fn remove_unfinished(build: &Path) -> Result<()> {
    /// Longer than a tool holds back what it has to write.
    const DOUBTFUL: Duration = Duration::from_secs(5);
    if !build.join(RUNNING).exists() {
        return Ok(());
    }
    let mut files = Vec::new();
    let mut folders = vec![build.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && !entry.file_name().to_string_lossy().starts_with(".vmtest")
            {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
    }
    let Some(newest) = files.iter().map(|(time, _)| *time).max() else {
        return Ok(());
    };
    for (time, path) in files {
        if time + DOUBTFUL >= newest {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The wrapper of pahole. The kernel's scripts give it a bare `-j` (pahole 1.22 and
/// newer), with which the order of types in BTF is that in which threads get ready:
/// another one in every build. Versions that can keep the order do so only when asked
/// in ways that differ, so threads are switched off for all.
fn pahole_wrapper(pahole: &Path, flags: &[&str]) -> String {
    let flags = flags
        .iter()
        .map(|flag| format!(" {flag}"))
        .collect::<String>();
    format!(
        r#"#!/bin/sh
encode=
for argument do
	shift
	case $argument in
	-j | -j[0-9]* | --jobs | --jobs=*) continue ;;
	-J | --btf_encode | --btf_encode_detached | --btf_encode_detached=*) encode=1 ;;
	esac
	set -- "$@" "$argument"
done
exec {pahole} ${{encode:+{flags}}} "$@"
"#,
        pahole = shell_quote(&pahole.to_string_lossy()),
        flags = flags.trim_start(),
    )
}

fn write_wrappers(directory: &Path, toolchain: &Toolchain, quirks: &Quirks) -> Result<()> {
    let context = || format!("cannot write {}", directory.display());
    std::fs::create_dir_all(directory).with_context(context)?;
    if let Some(pahole) = &toolchain.pahole {
        let text = pahole_wrapper(&pahole.path, &quirks.pahole_flags());
        let path = directory.join("pahole");
        // Written only if it differs: objects may depend on it.
        if input::text(&path, input::SMALL).is_ok_and(|old| old == text) {
            return Ok(());
        }
        std::fs::write(&path, text).with_context(context)?;
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).with_context(context)?;
    }
    Ok(())
}

/// What a kernel is configured with.
struct Options<'o> {
    /// What the kernel is called in messages.
    name: String,
    version: Version,
    merged: &'o Merged,
    /// What make is given of them.
    fragments: &'o str,
}

impl Identity {
    fn options(&self) -> Options<'_> {
        Options {
            name: self.release.to_string(),
            version: self.found.version,
            merged: &self.merged,
            fragments: &self.fragments,
        }
    }
}

/// Writes `.config` and compares it with what was wanted: how many options are set, and
/// how many are not in this version.
fn configure(
    make: &Make,
    plan: &Options,
    arch: &Arch,
    ui: &Ui,
    log: &mut Log,
) -> Result<(usize, usize)> {
    let fragment = make.build.join(FRAGMENT);
    std::fs::write(&fragment, plan.fragments)
        .with_context(|| format!("cannot write {}", fragment.display()))?;
    {
        let _task = ui.task("configuring");
        let command = make
            .command(&["allnoconfig"])
            .env("KCONFIG_ALLCONFIG", &fragment);
        log.run(command, "configuring", &make.build, |_| Ok(()))?;
    }
    let path = make.build.join(".config");
    let config = input::text(&path, input::TEXT)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let audit = config::audit(plan.merged, &plan.version, &config);
    let (set, absent, lost) = audit.counts();
    ui.verbose(format!(
        "options: {set} set, {absent} expected absent, {lost} lost"
    ));
    if lost == 0 {
        return Ok((set, absent));
    }
    let lines = definitions::explain(audit.lost(), &make.source, arch)?;
    Err(Failure::setup(format!(
        "{lost} of the options wanted for {} cannot be set; {} has the rest",
        plan.name,
        path.display()
    ))
    .lines(lines.join("\n"))
    .into())
}

/// make's output, in a file.
struct Log {
    path: PathBuf,
    file: File,
    /// Whether a build that was killed is to be seen in its tree.
    marks: bool,
}

impl Log {
    fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write the log {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            marks: true,
        })
    }

    /// For a tree that is not ours: nobody cleans up there.
    fn without_marks(self) -> Self {
        Self {
            marks: false,
            ..self
        }
    }

    /// Runs a command of make's. `tick` gets the output as it comes.
    fn run(
        &mut self,
        command: crate::base::process::LongCommand,
        doing: &str,
        build: &Path,
        mut tick: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let running = build.join(RUNNING);
        if self.marks {
            File::create(&running)
                .with_context(|| format!("cannot write {}", running.display()))?;
        }
        writeln!(self.file, "$ {}", command.display())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        let start = self.file.metadata().map_or(0, |metadata| metadata.len());
        let mut reader = File::open(&self.path)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        std::io::Seek::seek(&mut reader, std::io::SeekFrom::Start(start))?;
        let mut buffer = vec![0; 1 << 16];
        let mut child = command.log(&self.file)?.spawn()?;
        let result = child.wait_with(|| {
            loop {
                match reader.read(&mut buffer)? {
                    0 => return Ok(()),
                    n => tick(&buffer[..n])?,
                }
            }
        });
        let status = match result {
            Ok(status) => status,
            Err(error) => {
                // make removes what it has half made when it is asked to end.
                child.terminate()?;
                return Err(error);
            }
        };
        if status.success() {
            let _ = std::fs::remove_file(&running);
            return Ok(());
        }
        if status.code().is_some() {
            // It ended by itself, so nothing was cut off.
            let _ = std::fs::remove_file(&running);
        }
        let bytes = input::end(&self.path, start, input::TEXT).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        if progress::disk_was_full(&text) || disk::full(&self.path).is_some() {
            return Err(source::disk_full(build));
        }
        let lines = progress::first_errors(&text).join("\n");
        Err(Failure::setup(format!(
            "{doing} failed: make ended with {}; log: {}",
            status_in_words(status),
            self.path.display()
        ))
        .lines(lines)
        .into())
    }
}

/// What is made: the image and the modules.
fn targets(arch: &Arch) -> [&'static str; 2] {
    let image = arch.image.rsplit('/').next().unwrap_or(arch.image);
    [image, "modules"]
}

/// Where the number of objects of the last such build is remembered.
fn estimate_file(paths: &Paths, request: &BuildRequest, version: &Version) -> PathBuf {
    let name = format!(
        "{}-{}-{}",
        request.arch.name, version.series, request.flavor
    );
    paths.cache().join("objects").join(name)
}

fn compile(
    env: &Env,
    request: &BuildRequest,
    make: &Make,
    plan: &Identity,
    log: &mut Log,
) -> Result<()> {
    let file = estimate_file(&env.paths, request, &plan.found.version);
    let estimate = input::text(&file, input::SMALL)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let fresh = !make.build.join("vmlinux").exists() && !make.build.join("init/main.o").exists();
    let mut counter = Counter::default();
    let mut task = env.ui.task(format!("building {}", plan.release));
    let started = std::time::Instant::now();
    log.run(
        make.command(&targets(request.arch)),
        "building",
        &make.build,
        |output| {
            counter.feed(output);
            let text = progress::progress(
                counter.objects(),
                estimate.unwrap_or(progress::TYPICAL_OBJECTS),
            );
            task.update(if env.ui.terminal() {
                text
            } else {
                let seconds = started.elapsed().as_secs();
                format!("{text}, {}:{:02}", seconds / 60, seconds % 60)
            });
            Ok(())
        },
    )?;
    drop(task);
    let seconds = started.elapsed().as_secs_f64();
    env.ui.verbose(format!(
        "{} objects in {seconds:.0} s with -j{}",
        thousands(counter.objects()),
        make.jobs
    ));
    if fresh && let Some(parent) = file.parent() {
        // Only an estimate: without it the next one is worse.
        let _ = std::fs::create_dir_all(parent);
        let _ = std::fs::write(&file, counter.objects().to_string());
    }
    Ok(())
}
