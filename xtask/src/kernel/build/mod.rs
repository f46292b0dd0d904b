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
mod pipeline;
pub mod progress;
pub mod toolchain;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::base::lock::{self, Lock};
use crate::base::paths::{Files, Paths};
use crate::base::temporary::{self, Temporary};
use crate::base::{disk, env::Env, error::Failure, input, interrupt, programs::processors, ui::Ui};
use crate::kernel::config::{self, Merged};
use crate::kernel::manifest::{self, Input, Manifest, Origin};
use crate::kernel::package::{self, PackageInput, PackageOptions, Packaged};
use crate::kernel::source::{
    self, FoundSource, SourceChoice, SourceRequest, SourceTree, WantedSource,
};
use crate::kernel::store;
use crate::model::version::{Release, Version, VmtestSuffix};
use crate::model::{arch::Arch, catalog::Kernels, kernel::LocalKernel};
use crate::net::http;

pub use make::Make;
use pipeline::{BuildTree, Log, RUNNING, WRAPPERS, log_file, tools, write_wrappers};
use toolchain::Toolchain;

#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// A version or a source tree.
    pub wanted: WantedSource,
    pub flavor: String,
    pub arch: &'static Arch,
    pub source: SourceChoice,
    /// See [`SourceRequest::kernel_org_url`].
    pub kernel_org_url: String,
    /// The compiler's program; `None`: the usual one, through ccache if it is there.
    pub cc: Option<String>,
    /// Jobs at a time; `None`: one per processor.
    pub jobs: Option<u32>,
    pub keep_build: bool,
}

impl BuildRequest {
    /// The usual way to build a version.
    pub fn new(version: Version, flavor: impl Into<String>, arch: &'static Arch) -> Self {
        Self {
            wanted: WantedSource::Version(version),
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
    pub arch: &'static Arch,
    /// What `uname -r` will print.
    pub release: Release,
    pub source: PathBuf,
    pub build: PathBuf,
    /// How make is called in it.
    pub make: Make,
    pub manifest: Manifest,
}

/// What is to be built, known before anything is fetched.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What `uname -r` will print.
    pub release: Release,
    pub found: FoundSource,
    /// See [`crate::kernel::manifest`].
    pub input_key: String,
    merged: Merged,
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
pub fn try_configuration(env: &Env, request: &BuildRequest) -> Result<()> {
    let plan = plan(env, request)?;
    let ingredients = Ingredients::fetch(env, request, &plan)?;
    let name = format!("{}.{}", plan.release, request.arch.name);
    let build = Temporary::directory(&env.paths.builds().join(format!("try-{name}")))?;
    let log = log_file(&env.paths, &format!("configure-{name}"))?;
    let mut tree = ingredients.tree(env, build.path(), &log)?;
    let (set, absent) = tree.configure(&plan.found.version, &plan.merged)?;
    env.ui.info(format!(
        "{} from {}: {set} options set, {absent} expected absent, 0 lost",
        plan.release, ingredients.source.origin
    ));
    Ok(())
}

/// Builds a kernel unless it is there already; the build tree stays.
pub fn build(env: &Env, request: &BuildRequest) -> Result<Outcome> {
    let plan = plan(env, request)?;
    let name = format!("{}.{}", plan.release, request.arch.name);
    let lock = lock::take(env, &format!("build-{name}"))?;
    if let Some(kernel) = installed(env, request, &plan)? {
        return Ok(Outcome::Installed(kernel));
    }
    let ingredients = Ingredients::fetch(env, request, &plan)?;
    let log = log_file(&env.paths, &format!("build-{name}"))?;
    env.ui.info(format!(
        "building {} from {} with {}; log: {}",
        plan.release,
        ingredients.source.origin,
        ingredients.toolchain.compiler.text,
        log.display()
    ));
    let build = env.paths.builds().join(&name);
    let built = ingredients
        .build_in(env, &build, &log)
        .inspect_err(|_| say_what_was_kept(&build, &env.ui))?;
    Ok(Outcome::Built(Box::new(built), log, lock))
}

fn plan(env: &Env, request: &BuildRequest) -> Result<Identity> {
    let kernels = Kernels::load(&env.paths.configs)?;
    if let WantedSource::Version(version) = &request.wanted {
        // Before the network is asked.
        kernels.require_series(version.series, request.arch)?;
    }
    kernels.flavor(&request.flavor)?;
    let found = find(env, request)?;
    identify_request(&env.paths, &kernels, found, request)
}

fn find(env: &Env, request: &BuildRequest) -> Result<FoundSource> {
    let wanted = SourceRequest {
        wanted: request.wanted.clone(),
        choice: request.source.clone(),
        kernel_org_url: request.kernel_org_url.clone(),
    };
    source::find(env, &wanted)
}

fn identify_request(
    paths: &Paths,
    kernels: &Kernels,
    found: FoundSource,
    request: &BuildRequest,
) -> Result<Identity> {
    let patched = matches!(request.wanted, WantedSource::Version(_));
    identify(
        paths,
        kernels,
        found,
        &request.flavor,
        request.arch,
        patched,
    )
}

/// Release and input key of a kernel whose source was found. `patched`: with our
/// patches; the user's own tree is built as it is.
pub fn identify(
    paths: &Paths,
    kernels: &Kernels,
    found: FoundSource,
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
        patches,
        revision: kernels.revision,
    })
}

/// The kernel, if it is there and was made from the same input.
fn installed(env: &Env, request: &BuildRequest, plan: &Identity) -> Result<Option<LocalKernel>> {
    let Some((kernel, current)) = existing(&env.paths, request.arch, plan)? else {
        return Ok(None);
    };
    let path = kernel.path.display();
    env.ui.info(match current {
        true => format!("nothing to do: {path}"),
        false => format!("{path} was made from other source or options; building it again"),
    });
    Ok(current.then_some(kernel))
}

/// The kernel, if it is there, and whether it was made from the same input.
fn existing(
    paths: &Paths,
    arch: &'static Arch,
    plan: &Identity,
) -> Result<Option<(LocalKernel, bool)>> {
    let mut kernels = store::kernels(paths, arch)?.into_iter();
    let Some(kernel) = kernels.find(|kernel| kernel.release == plan.release) else {
        return Ok(None);
    };
    let manifest = Manifest::read(&kernel.path)?;
    let current = manifest.is_some_and(|manifest| manifest.input_key == plan.input_key);
    Ok(Some((kernel, current)))
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

/// In the build tree: what it was begun with. Another key: start afresh.
const KEY: &str = ".vmtest-key";

/// What a kernel is built from and with.
struct Ingredients<'a> {
    request: &'a BuildRequest,
    plan: &'a Identity,
    source: SourceTree,
    toolchain: Toolchain,
}

impl<'a> Ingredients<'a> {
    /// Looks for the tools, then fetches the source.
    fn fetch(env: &Env, request: &'a BuildRequest, plan: &'a Identity) -> Result<Self> {
        let toolchain = tools(request.arch, request.cc.as_deref(), &plan.found.version)?;
        let source = source::fetch(env, &plan.found, &plan.patches)?;
        Ok(Self {
            request,
            plan,
            source,
            toolchain,
        })
    }

    /// How make is called in the build tree `build`, which is there.
    fn tree(&self, env: &'a Env, build: &Path, log: &Path) -> Result<BuildTree<'a>> {
        // gcc knows the directory by its canonical name, and the prefix maps must fit.
        let build = &disk::canonicalize(build)?;
        let quirks = self.toolchain.quirks(&self.source.version);
        write_wrappers(&build.join(WRAPPERS), &self.toolchain, &quirks)?;
        let make = Make::new(
            &self.source,
            build,
            self.request.arch,
            &self.plan.release.suffix,
            &self.toolchain,
            self.request.jobs.unwrap_or_else(processors).max(1),
        )?;
        Ok(BuildTree {
            env,
            arch: self.request.arch,
            name: self.plan.release.to_string(),
            make,
            log: Log::open(log)?,
        })
    }

    fn build_in(&self, env: &Env, build: &Path, log: &Path) -> Result<BuiltTree> {
        let Self { request, plan, .. } = self;
        let quirks = self.toolchain.quirks(&self.source.version);
        for reason in quirks.reasons() {
            env.ui.verbose(format!("worked around: {reason}"));
        }
        self.prepare_tree(build)?;
        let mut tree = self.tree(env, build, log)?;
        tree.configure(&plan.found.version, &plan.merged)?;
        let release = tree.make.read("kernelrelease")?;
        if release != plan.release.to_string() {
            return Err(Failure::setup(format!(
                "the kernel calls itself {release} and not {}",
                plan.release
            ))
            .hint("a localversion file in the source tree?")
            .into());
        }
        let (arch, series) = (request.arch.name, plan.found.version.series);
        let objects = format!("objects/{arch}-{series}-{}", request.flavor);
        tree.compile(Some(&env.paths.cache().join(objects)))?;
        Ok(BuiltTree {
            arch: request.arch,
            release: plan.release.clone(),
            source: self.source.path.clone(),
            build: tree.make.build.clone(),
            make: tree.make,
            manifest: self.manifest(),
        })
    }

    fn manifest(&self) -> Manifest {
        let Self { request, plan, .. } = self;
        let compiler = self.toolchain.compiler.text.clone();
        let pahole = self.toolchain.pahole.as_ref();
        let pahole = pahole.map(|pahole| pahole.text.clone());
        Manifest {
            release: plan.release.to_string(),
            arch: request.arch.name.to_owned(),
            flavor: request.flavor.clone(),
            revision: plan.revision,
            source: Origin {
                origin: self.source.origin.clone(),
                checksum: self.source.checksum.clone(),
            },
            patches: plan.patches.iter().map(|(name, _)| name.clone()).collect(),
            input_key: plan.input_key.clone(),
            build_key: manifest::build_key(&plan.input_key, &compiler, pahole.as_deref()),
            compiler,
            pahole,
        }
    }

    /// Makes an empty build tree, or one to go on in.
    fn prepare_tree(&self, build: &Path) -> Result<()> {
        let context = || format!("cannot prepare {}", build.display());
        let key = format!(
            "{}\n{}\n{}\n{:?}\n{:?}\n",
            self.source.path.display(),
            self.source.checksum,
            self.toolchain.compiler.text,
            self.toolchain.program,
            self.plan
                .patches
                .iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>(),
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
