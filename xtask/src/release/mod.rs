//! Carries out a release plan: builds what is missing and uploads it, one kernel at
//! a time, so that an interruption loses one at most; then deletes what is old.
//!
//! What holds the published kernels is a [`ReleaseStore`], so that the order of
//! things, and what happens after a failure, is tested without a network.

pub mod download;
pub mod github;
pub mod plan;
pub mod upload;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};

use crate::archive;
use crate::base::error::{self, Failure};
use crate::base::{env::Env, interrupt, lock, programs, shown, temporary::Temporary, ui::Ui};
use crate::kernel::source::{self, SourceChoice};
use crate::kernel::{build, build::BuildRequest, manifest::Manifest, store};
use crate::model::version::{Series, Version};
use crate::model::{
    arch::Arch, catalog::Kernels, kernel::LocalKernel, package_name::PackageName, retention,
};
use plan::{Action, Contents, Item, Newest, Options, Published, Ready, ReleasePlan, WantedKernel};

/// Where kernels are published.
pub trait ReleaseStore {
    /// What there is now, not what there was a moment ago.
    fn contents(&self) -> Result<Contents>;

    /// Publishes a package file under its own name and with the input key that its
    /// manifest has, in place of a half-finished upload of that name.
    fn upload(&self, file: &Path) -> Result<()>;

    /// Deletes a package. One that is not there any more is no error: another run
    /// may have deleted it just now.
    fn delete(&self, package: &Published) -> Result<()>;
}

/// Which kernels a release should have.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The series. Those that an architecture does not have are left out for it.
    pub series: Vec<Series>,
    pub flavors: Vec<String>,
    pub architectures: Vec<&'static Arch>,
    pub source: SourceChoice,
    /// See [`source::find_all`].
    pub kernel_org_url: String,
}

/// The newest kernel of each selected series, flavor and architecture: by
/// architecture, then series from the oldest, then flavor as selected. Nothing is
/// fetched but lists.
pub fn wanted(env: &Env, selection: &Selection) -> Result<Vec<WantedKernel>> {
    let kernels = Kernels::load(&env.paths.configs)?;
    let mut series = selection.series.clone();
    series.sort();
    series.dedup();
    let version = |series: &Series| Version {
        series: *series,
        point: None,
        candidate: None,
    };
    let versions = series.iter().map(version).collect::<Vec<_>>();
    let found = source::find_all(env, &versions, &selection.source, &selection.kernel_org_url)?;
    let found = series.into_iter().zip(found).collect::<BTreeMap<_, _>>();
    let mut wanted = Vec::new();
    for arch in &selection.architectures {
        let known = kernels.series_of(arch).collect::<Vec<_>>();
        for (series, found) in found.iter().filter(|(series, _)| known.contains(series)) {
            for flavor in &selection.flavors {
                let newest = match found {
                    Ok(found) => {
                        let (paths, found) = (&env.paths, found.clone());
                        let request = BuildRequest::new(found.version, flavor, arch);
                        let identity = build::identify(paths, &kernels, found, &request)?;
                        Ok(Newest {
                            name: PackageName::new(arch, &identity.release),
                            input_key: identity.input_key,
                        })
                    }
                    Err(error) => {
                        let text = format!("{error:#}");
                        Err(text.lines().map(str::trim).collect::<Vec<_>>().join("; "))
                    }
                };
                wanted.push(WantedKernel {
                    series: *series,
                    flavor: flavor.clone(),
                    arch,
                    newest,
                });
            }
        }
    }
    Ok(wanted)
}

/// Package files in the work directory of wanted kernels that are not published. A
/// file that cannot be read is no package: it is built again.
pub fn ready(env: &Env, wanted: &[WantedKernel], contents: &Contents) -> Result<Vec<Ready>> {
    let mut ready = Vec::new();
    for wanted in wanted {
        interrupt::check()?;
        let Ok(newest) = &wanted.newest else {
            continue;
        };
        let name = newest.name.clone();
        let path = store::package_path(&env.paths, name.arch, &name.release);
        let Ok(metadata) = path.metadata() else {
            continue;
        };
        let mut packages = contents.packages.iter();
        if packages.any(|package| package.finished && package.name == name) {
            continue;
        }
        match Manifest::of_package(&path) {
            Ok(Some(manifest)) => ready.push(Ready {
                name,
                input_key: manifest.input_key,
                size: metadata.len(),
            }),
            Ok(None) => env
                .ui
                .verbose(format!("{} has no manifest", path.display())),
            Err(error) => {
                interrupt::check()?;
                env.ui.warn(format!("{error:#}; it is made again"));
            }
        }
    }
    Ok(ready)
}

/// What [`apply`] has done.
#[derive(Debug, Default)]
pub struct Applied {
    /// Packages that were uploaded.
    pub uploaded: Vec<PackageName>,
    /// Kernels that could not be built, or whose source could not be had, and why; the error
    /// names the log.
    failed: Vec<(String, Error)>,
    /// Packages that were deleted.
    pub deleted: Vec<PackageName>,
}

impl Applied {
    /// The error that a run with failures ends with.
    pub fn failure(&self) -> Option<Failure> {
        let (failed, all) = (self.failed.len(), self.failed.len() + self.uploaded.len());
        let mut reasons = Vec::new();
        for (title, error) in &self.failed {
            reasons.push(shown::line(&format!("{title}: {error:#}")));
            reasons.extend(error::lines(error).lines().map(str::to_owned));
        }
        let message = format!("{failed} of {all} kernels could not be had:");
        (failed > 0).then(|| Failure::setup(message).lines(reasons.join("\n")))
    }
}

/// Does what the plan says, in its order. `build` leaves the unpacked kernel and,
/// as far as it packages, the package file in the work directory.
///
/// A kernel that cannot be built does not stop the others. One that cannot be
/// uploaded does: the next would fare no better, and hours of building would be in
/// vain. Its package stays, so that the next run only uploads it.
///
/// Old kernels of what was wanted are deleted at the end, as the release then is and
/// not as it was planned.
pub fn apply(
    env: &Env,
    plan: &ReleasePlan,
    wanted: &[WantedKernel],
    options: &Options,
    store: &dyn ReleaseStore,
    build: &mut dyn FnMut(&Item) -> Result<LocalKernel>,
) -> Result<Applied> {
    if let Some(problem) = plan.problems.first() {
        return Err(Failure::setup(problem.clone()).into());
    }
    let mut applied = Applied::default();
    let mut number = 0;
    for item in &plan.items {
        let title = item.title();
        if item.action == Action::Unavailable {
            let why = item.note.clone().unwrap_or_default();
            applied.failed.push((title, Error::msg(why)));
            continue;
        }
        let Some(name) = item.package.as_ref().filter(|_| item.action.uploads()) else {
            continue;
        };
        number += 1;
        let count = plan.totals.uploads;
        env.ui.info(format!("{number} of {count}: {title}"));
        interrupt::check()?;
        let package = match item.ready {
            true => Ok(store::package_path(&env.paths, name.arch, &name.release)),
            false => build(item).and_then(|kernel| packaged(env, &kernel, name)),
        };
        let package = match package {
            Ok(package) => package,
            Err(error) => {
                interrupt::check()?;
                env.ui.warn(format!("{title}: {error:#}"));
                applied.failed.push((title, error));
                continue;
            }
        };
        store.upload(&package).with_context(|| {
            let package = package.display();
            format!("{package} was kept, the next run only uploads it")
        })?;
        applied.uploaded.push(name.clone());
    }
    if let Some(keep) = options.keep {
        interrupt::check()?;
        let mut packages = store.contents()?.packages;
        packages.retain(|package| plan::is_of(wanted, &package.name));
        let old = old_packages(&packages, keep, options.now);
        applied.deleted = delete(&old, store, &env.ui)?;
    }
    Ok(applied)
}

/// The package file of a kernel that was built, made from the unpacked kernel if
/// it was removed: the same bytes.
fn packaged(env: &Env, kernel: &LocalKernel, name: &PackageName) -> Result<PathBuf> {
    if (kernel.arch, &kernel.release) != (name.arch, &name.release) {
        return Err(Failure::setup(format!(
            "built {}, which is not what was planned; its source changed meanwhile",
            kernel.release
        ))
        .hint("the same command again plans anew")
        .into());
    }
    let path = store::package_path(&env.paths, name.arch, &name.release);
    let same = |package: &Path| -> Result<bool> {
        let unpacked = Manifest::read(&kernel.path)?;
        Ok(unpacked.is_some() && Manifest::of_package(package)? == unpacked)
    };
    if path.is_file() && same(&path)? {
        return Ok(path);
    }
    let _lock = lock::take(env, &store::lock_name(kernel.arch, &kernel.release))?;
    let _task = env.ui.task(format!("packaging {}", kernel.release));
    let temporary = Temporary::file(&path)?;
    archive::create(&kernel.path, temporary.as_file(), programs::processors())
        .with_context(|| format!("cannot package {}", kernel.path.display()))?;
    temporary.persist()?;
    Ok(path)
}

/// The packages that may go, with the reason.
pub fn old_packages(
    packages: &[Published],
    keep: NonZeroUsize,
    now: u64,
) -> Vec<(&Published, retention::Reason)> {
    let kernels = packages.iter().map(Published::kernel).collect::<Vec<_>>();
    retention::select(&kernels, keep, now)
        .into_iter()
        .map(|deletion| (&packages[deletion.index], deletion.reason))
        .collect()
}

/// Deletes packages, in this order.
pub fn delete(
    packages: &[(&Published, retention::Reason)],
    store: &dyn ReleaseStore,
    ui: &Ui,
) -> Result<Vec<PackageName>> {
    let mut deleted = Vec::new();
    for (package, reason) in packages {
        interrupt::check()?;
        store
            .delete(package)
            .with_context(|| format!("cannot delete {}", package.name))?;
        ui.info(format!("deleted {}: {}", package.name, reason.words()));
        deleted.push(package.name.clone());
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests;
