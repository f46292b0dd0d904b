//! Builds a kernel: from a request to an unpacked package.
//!
//! A build tree stays when a build fails or is interrupted, and the next run goes on
//! in it. A tree of other source, patches or tools is removed first: time stamps of
//! unpacked files say nothing about which is newer.

pub mod dry_run;
pub mod in_place;
pub mod make;
mod pipeline;
pub mod progress;
pub mod record;
pub mod toolchain;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::base::paths::{Files, Paths};
use crate::base::temporary::{self, Temporary};
use crate::base::{disk, env::Env, error::Failure, input, interrupt, lock, programs::processors};
use crate::kernel::config::{self, Merged, OwnFragment};
use crate::kernel::manifest::{self, KeyInput, Manifest, OptionsRecord, SourceOrigin};
use crate::kernel::package::{self, FinishedBuild, Packaged};
use crate::kernel::source::{self, FoundSource, SourceChoice, SourceTree, WantedSource};
use crate::kernel::{module, store};
use crate::model::version::{Position, RELEASE_MAX, Release, Series, Version, VmtestSuffix};
use crate::model::{arch::Arch, catalog::Kernels, kernel::LocalKernel};

use make::Make;
use pipeline::{BuildTree, RUNNING, log_file, tools};
use toolchain::{NamedCompiler, Toolchain};

#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// A version or a source tree.
    pub wanted: WantedSource,
    pub flavor: String,
    /// Fragments beyond ours, merged last.
    pub own: Vec<OwnFragment>,
    pub arch: &'static Arch,
    pub source: SourceChoice,
    /// See [`source::find_all`].
    pub kernel_org_url: String,
    /// `None`: the usual compiler, through ccache if it is there.
    pub cc: Option<NamedCompiler>,
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
            own: Vec::new(),
            arch,
            source: SourceChoice::Auto,
            kernel_org_url: source::kernel_org::DEFAULT_URL.to_owned(),
            cc: None,
            jobs: None,
            keep_build: false,
        }
    }

    fn suffix(&self, revision: u32) -> VmtestSuffix {
        VmtestSuffix {
            revision,
            flavor: self.flavor.clone(),
            options: OwnFragment::names(&self.own),
        }
    }

    /// What the kernel is called in messages, and beside those of other architectures.
    fn name(&self, plan: &Identity) -> String {
        format!("{}.{}", plan.release, self.arch.name)
    }

    fn find_source(&self, env: &Env) -> Result<FoundSource> {
        source::find(env, &self.wanted, &self.source, &self.kernel_org_url)
    }
}

/// What is to be built, known before anything is fetched.
pub struct Identity {
    /// What `uname -r` will print.
    pub release: Release,
    found: FoundSource,
    /// See [`crate::kernel::manifest`].
    pub input_key: String,
    merged: Merged,
    /// Name and text.
    patches: Vec<(String, String)>,
    revision: u32,
}

/// Builds and packages a kernel unless it is there already.
pub fn build_kernel(env: &Env, request: &BuildRequest) -> Result<LocalKernel> {
    let plan = plan(env, request)?;
    let name = request.name(&plan);
    let _lock = lock::take(env, &format!("build-{name}"))?;
    if let Some((kernel, current)) = existing(&env.paths, request.arch, &plan)? {
        let path = kernel.path.display();
        if current {
            env.ui.info(format!("nothing to do: {path}"));
            return Ok(kernel);
        }
        let why = "was made from other source or options";
        env.ui.info(format!("{path} {why}; building it again"));
    }
    let ingredients = Ingredients::fetch(env, request, &plan)?;
    let log = log_file(&env.paths, &format!("build-{name}"))?;
    let through = match ingredients.toolchain.ccache {
        true => "ccache and ",
        false => "",
    };
    env.ui.info(format!(
        "building {name} from {} with {through}{}; log: {}",
        plan.found.origin,
        ingredients.toolchain.compiler.text,
        log.display()
    ));
    let build = env.paths.builds().join(&name);
    let packaged = ingredients.build_in(&build, &log).inspect_err(|_| {
        if interrupt::pending().is_some() && build.exists() {
            let kept = "was kept, the next run goes on there";
            env.ui.info(format!("{} {kept}", build.display()));
        }
    })?;
    match request.keep_build {
        true => env.ui.info(format!("build tree: {}", build.display())),
        false => temporary::discard(&build)?,
    }
    env.ui.info(format!(
        "built {name}: {} and {}",
        packaged.kernel.path.display(),
        packaged.archive.display()
    ));
    Ok(packaged.kernel)
}

/// Fetches the source of a kernel and configures it, in a folder that is gone afterwards:
/// whether every option of its fragments can be set. Says how many are.
pub fn try_configuration(env: &Env, request: &BuildRequest) -> Result<()> {
    let plan = plan(env, request)?;
    let ingredients = Ingredients::fetch(env, request, &plan)?;
    let name = request.name(&plan);
    let build = Temporary::directory(&env.paths.builds().join(format!("try-{name}")))?;
    let log = log_file(&env.paths, &format!("configure-{name}"))?;
    let tree = ingredients.tree(build.path(), &log)?;
    let (set, absent) = tree.configure(&plan.found.version, &plan.merged)?;
    env.ui.info(format!(
        "{name} from {}: {set} options set, {absent} expected absent, 0 lost",
        plan.found.origin
    ));
    Ok(())
}

fn plan(env: &Env, request: &BuildRequest) -> Result<Identity> {
    let kernels = Kernels::load(&env.paths.configs)?;
    // Before the network is asked.
    if let WantedSource::Version(version) = &request.wanted {
        kernels.require_series(version.series, request.arch)?;
    }
    kernels.flavor(&request.flavor)?;
    let found = request.find_source(env)?;
    identify(&env.paths, &kernels, found, request)
}

/// Release and input key of a kernel whose source was found. The user's own tree is built
/// without our patches.
pub fn identify(
    paths: &Paths,
    kernels: &Kernels,
    found: FoundSource,
    request: &BuildRequest,
) -> Result<Identity> {
    let (arch, own) = (request.arch, &request.own);
    let merged = config::merge(&paths.configs, arch, &request.flavor, own)?;
    let patches = match found.is_directory() {
        true => Vec::new(),
        false => patches(&paths.configs, &found.version, arch)?,
    };
    let suffix = request.suffix(kernels.revision);
    let release = Release {
        version: found.version,
        suffix: format!("{}{suffix}", found.own_name),
    };
    let length = release.to_string().len();
    if length >= RELEASE_MAX {
        let message = format!("{release} has {length} characters, and a release at most 63");
        return Err(Failure::usage(message)
            .hint("give the fragments shorter names")
            .into());
    }
    let input_key = KeyInput {
        arch: arch.name,
        release: &release.to_string(),
        source: &found.checksum,
        fragments: &merged.allconfig(&found.version),
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
/// lines `Vmtest-Versions: FIRST..END` (END itself not; either may be missing), and in
/// a line `Vmtest-Architectures: NAME…` for which architectures, if not for all.
fn patches(configs: &Files, version: &Version, arch: &Arch) -> Result<Vec<(String, String)>> {
    let names = configs.list("patches")?;
    let mut patches = Vec::new();
    for name in names.into_iter().filter(|name| name.ends_with(".patch")) {
        let text = configs.read(&name)?.into_owned();
        if applies(&text, version, arch).with_context(|| name.clone())? {
            patches.push((name, text));
        }
    }
    Ok(patches)
}

/// Whether the head of a patch names the version, and the architecture if any.
fn applies(patch: &str, version: &Version, arch: &Arch) -> Result<bool> {
    let head = patch.lines();
    let head = head.take_while(|line| !line.starts_with("diff ") && !line.starts_with("--- "));
    let mut arches = head.clone();
    let arches = arches.find_map(|line| line.strip_prefix("Vmtest-Architectures:"));
    if arches.is_some_and(|arches| !arches.split_whitespace().any(|name| name == arch.name)) {
        return Ok(false);
    }
    let ranges = head.filter_map(|line| line.strip_prefix("Vmtest-Versions:"));
    let last = Position::start_of(Series {
        major: u32::MAX,
        minor: 0,
    });
    let mut stated = false;
    for range in ranges {
        stated = true;
        let Some((first, end)) = range.trim().split_once("..") else {
            return Err(Failure::usage(format!("{range:?} is not a range of versions")).into());
        };
        let bound = |text: &str, missing| match text.trim() {
            "" => Ok(missing),
            text => text.parse().map(|bound: Version| bound.position()),
        };
        let (first, end) = (bound(first, Position::FIRST)?, bound(end, last)?);
        if (first..end).contains(&version.position()) {
            return Ok(true);
        }
    }
    match stated {
        true => Ok(false),
        false => Err(
            Failure::usage("the patch does not say for which versions it is")
                .hint("a line like Vmtest-Versions: 5.11..5.12.10 before the changes")
                .into(),
        ),
    }
}

/// In the build tree: what it was begun with. Another key: start afresh.
const KEY: &str = ".vmtest-key";

/// What a kernel is built from and with.
struct Ingredients<'a> {
    env: &'a Env,
    request: &'a BuildRequest,
    plan: &'a Identity,
    source: SourceTree,
    toolchain: Toolchain,
}

impl<'a> Ingredients<'a> {
    /// Looks for the tools, then fetches the source.
    fn fetch(env: &'a Env, request: &'a BuildRequest, plan: &'a Identity) -> Result<Self> {
        let toolchain = tools(env, request, &plan.found.version)?;
        let source = source::fetch(env, &plan.found, &plan.patches)?;
        Ok(Self {
            env,
            request,
            plan,
            source,
            toolchain,
        })
    }

    /// How make is called in the build tree `build`, which is there.
    fn tree(&self, build: &Path, log: &Path) -> Result<BuildTree<'a>> {
        // gcc knows the directory by its canonical name, and the prefix maps must fit.
        let build = &disk::canonicalize(build)?;
        self.toolchain.write_wrappers(build)?;
        let mut make = Make::new(
            &self.source,
            build,
            self.request.arch,
            &self.request.suffix(self.plan.revision).to_string(),
            &self.toolchain,
            self.request.jobs.unwrap_or_else(processors).max(1),
        )?;
        let cache = self.env.paths.cache().join("ccache");
        make.cache = self.toolchain.ccache.then_some(cache);
        Ok(BuildTree {
            env: self.env,
            arch: self.request.arch,
            name: self.request.name(self.plan),
            make,
            log: log.to_owned(),
        })
    }

    /// Builds and packages.
    fn build_in(&self, build: &Path, log: &Path) -> Result<Packaged> {
        let (env, plan, arch) = (self.env, self.plan, self.request.arch);
        for pair in &self.toolchain.bad_pairs {
            env.ui.verbose(format!("worked around: {}", pair.reason));
        }
        self.prepare_tree(build)?;
        let tree = self.tree(build, log)?;
        tree.configure(&plan.found.version, &plan.merged)?;
        let release = tree.make.release()?;
        if release != plan.release.to_string() {
            let message = format!("the kernel calls itself {release} and not {}", plan.release);
            return Err(Failure::setup(message).into());
        }
        let (series, flavor) = (plan.found.version.series, &self.request.flavor);
        let objects = format!("objects/{}-{series}-{flavor}", arch.name);
        tree.compile(Some(&env.paths.cache().join(objects)))?;
        let built = FinishedBuild {
            arch,
            release: plan.release.clone(),
            source: self.source.path.clone(),
            build: tree.make.build.clone(),
            cc: self
                .request
                .cc
                .as_ref()
                .map(|_| self.toolchain.program.clone()),
            manifest: Some(self.manifest().to_json()?),
        };
        let make = |arguments: &[&str]| tree.make.command(arguments);
        package::package(env, &built, &make, None, log)
            .map_err(|error| source::name_full_disk(error, env.paths.work()))
    }

    fn manifest(&self) -> Manifest {
        let plan = self.plan;
        let compiler = self.toolchain.compiler.text.clone();
        let pahole = self.toolchain.pahole.as_ref();
        let pahole = pahole.map(|pahole| pahole.text.clone());
        Manifest {
            release: plan.release.to_string(),
            arch: self.request.arch.name.to_owned(),
            flavor: self.request.flavor.clone(),
            revision: plan.revision,
            source: SourceOrigin {
                origin: plan.found.origin.clone(),
                checksum: plan.found.checksum.clone(),
            },
            patches: plan.patch_names(),
            options: (self.request.own.iter())
                .map(|own| OptionsRecord {
                    name: own.name.clone(),
                    checksum: own.checksum(&plan.found.version),
                })
                .collect(),
            input_key: plan.input_key.clone(),
            build_key: manifest::build_key(&plan.input_key, &compiler, pahole.as_deref()),
            compiler,
            pahole,
        }
    }

    /// Makes an empty build tree, or one to go on in.
    fn prepare_tree(&self, build: &Path) -> Result<()> {
        let key = format!(
            "{}\n{}\n{}\n{:?}\n{:?}\n",
            self.source.path.display(),
            self.plan.found.checksum,
            self.toolchain.compiler.text,
            self.toolchain.program,
            self.plan.patch_names(),
        );
        let file = build.join(KEY);
        match input::text(&file, input::SMALL) {
            Ok(old) if old == key => return remove_unfinished(build),
            Ok(_) => temporary::discard(build)?,
            Err(_) if disk::entries(build)?.is_empty() => {}
            // Whatever that is, it was not made here.
            Err(_) => {
                let message = format!("{} is there and is no build tree of ours", build.display());
                return Err(Failure::setup(message).hint("move it away").into());
            }
        }
        disk::create_directory(build)?;
        disk::write(&file, key)
    }
}

impl Identity {
    fn patch_names(&self) -> Vec<String> {
        self.patches.iter().map(|(name, _)| name.clone()).collect()
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
    for name in module::files_below(build)? {
        let path = build.join(&name);
        let metadata = path.symlink_metadata();
        let metadata = metadata.with_context(|| format!("cannot read {}", path.display()))?;
        if metadata.is_file() && !name.to_string_lossy().starts_with(".vmtest") {
            files.push((metadata.modified()?, path));
        }
    }
    let newest = files.iter().map(|(time, _)| *time).max();
    for (time, path) in files {
        if newest.is_some_and(|newest| time + DOUBTFUL >= newest) {
            disk::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::embedded::CONFIGS;
    use crate::model::arch;

    #[test]
    fn patches_are_for_the_versions_and_architectures_that_they_name() {
        let names = |arch: &str, version: &str| {
            let (version, arch) = (version.parse().unwrap(), arch::find(arch).unwrap());
            let patches = patches(&Files::Embedded(CONFIGS), &version, arch).unwrap();
            let names = patches.into_iter().map(|(name, _)| name);
            names.collect::<Vec<_>>().join(" ")
        };
        for (arch, version, expected) in [
            ("x86_64", "5.15.1", ""),
            ("aarch64", "5.10.200", ""),
            ("aarch64", "6.1.192", "patches/aarch64-head-6.8.patch"),
            ("aarch64", "6.12.53", "patches/aarch64-head-6.17.patch"),
            ("aarch64", "6.12.54", ""),
            ("aarch64", "6.17.3", "patches/aarch64-head-6.17.patch"),
            ("aarch64", "6.18-rc1", ""),
            ("arm", "4.19.300", "patches/arm-kcore.patch"),
            ("arm", "7.3-rc1", "patches/arm-kcore.patch"),
            ("riscv64", "6.12.118", "patches/riscv64-kcore.patch"),
        ] {
            assert_eq!(names(arch, version), expected, "{arch} {version}");
        }
    }

    #[test]
    fn a_patch_without_a_range_of_versions_is_an_error() {
        let (version, arch) = ("6.1".parse().unwrap(), arch::find("arm").unwrap());
        for head in [
            "Why.\n",
            "Vmtest-Versions: 6.1\n",
            "--- a\nVmtest-Versions: ..\n",
        ] {
            applies(head, &version, arch).unwrap_err();
        }
    }
}
