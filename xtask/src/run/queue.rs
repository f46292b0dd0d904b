//! The kernels of a session: what each request picks, in which order they are
//! prepared, and which of them are deleted again if the disk is to be spared.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Error, Result};

use crate::base::env::Env;
use crate::kernel::store;
use crate::model::{
    arch::ARCHITECTURES, arch::Arch, kernel::LocalKernel, kernel_request::KernelRequest,
    package_name::PackageName, results::RunName, test_event::Stage, version::Release,
};
use crate::run::schedule;
use crate::supply::{self, Sources, list::disk_usage, offer::Offer, prune};

#[derive(Debug)]
pub struct Wanted {
    pub request: Option<KernelRequest>,
    pub choice: Result<Offer>,
}

impl Wanted {
    /// What is known of its name before it is here.
    pub fn name(&self) -> Result<RunName> {
        let known = self.choice.as_ref().ok();
        if let Some(known) = known.and_then(|offer| offer.name.as_ref()) {
            return Ok(run_name(known.arch, &known.release));
        }
        Ok(RunName {
            kernel: request_text(&self.request),
            arch: self.arch()?.name.to_owned(),
            flavor: None,
            phase: None,
        })
    }

    /// The kernel's, or the one that was asked for if there is none.
    pub fn arch(&self) -> Result<&'static Arch> {
        let asked = self.request.as_ref().and_then(|request| request.arch);
        let known = self.choice.as_ref().ok();
        let arch = known.map(|offer| offer.how.arch()).or(asked);
        arch.map_or_else(supply::host_arch, Ok)
    }

    pub fn stage(&self) -> Stage {
        self.choice
            .as_ref()
            .map_or(Stage::Fetch, |offer| offer.stage)
    }

    fn effort(&self) -> u8 {
        self.choice.as_ref().map_or(0, |offer| offer.effort)
    }
}

pub fn several_arches(wanted: &[Wanted]) -> Result<bool> {
    let arches = wanted.iter().map(Wanted::arch);
    let arches = arches.collect::<Result<Vec<_>>>()?;
    Ok(arches.iter().any(|arch| *arch != arches[0]))
}

pub fn request_text(request: &Option<KernelRequest>) -> String {
    let text = request.as_ref().map(ToString::to_string);
    text.unwrap_or_else(|| "newest".to_owned())
}

pub fn name(kernel: &LocalKernel) -> RunName {
    run_name(kernel.arch, &kernel.release)
}

fn run_name(arch: &Arch, release: &Release) -> RunName {
    RunName {
        kernel: release.to_string(),
        arch: arch.name.to_owned(),
        flavor: release.flavor(),
        phase: None,
    }
}

/// Decides for each request, in their order; what several ask for is there once.
pub fn choose(env: &Env, requests: &[Option<KernelRequest>], sources: &Sources) -> Vec<Wanted> {
    let mut wanted = Vec::<Wanted>::new();
    for request in requests {
        let choice = supply::choose(env, request.as_ref(), sources);
        let twice = wanted.iter().any(|other| match (&other.choice, &choice) {
            (Ok(other), Ok(choice)) => other == choice,
            _ => false,
        });
        if twice {
            let request = request_text(request);
            env.ui.verbose(format!(
                "{request} picks a kernel that another request picks"
            ));
            continue;
        }
        wanted.push(Wanted {
            request: request.clone(),
            choice,
        });
    }
    wanted
}

/// The order in which kernels are prepared, as indices: by what it takes to get
/// them, and among equals by how long their tests will take.
pub fn order(wanted: &[Wanted], estimates: &[Option<Duration>]) -> Vec<usize> {
    let mut order = schedule::slowest_first(estimates);
    order.sort_by_key(|index| wanted.get(*index).map_or(0, Wanted::effort));
    order
}

/// Deletes kernels of the release that have been tested, the first ones first, while
/// all unpacked kernels take more bytes than the budget.
#[derive(Debug)]
pub struct Budget {
    bytes: Option<u64>,
    tested: Mutex<Vec<LocalKernel>>,
}

impl Budget {
    pub fn new(bytes: Option<u64>) -> Self {
        Self {
            bytes,
            tested: Mutex::default(),
        }
    }

    pub fn tested(&self, env: &Env, kernel: LocalKernel) -> Result<()> {
        let Some(budget) = self.bytes else {
            return Ok(());
        };
        let mut all = self
            .tested
            .lock()
            .map_err(|_| Error::msg("another thread has failed"))?;
        all.push(kernel);
        let mut taken = 0;
        for arch in ARCHITECTURES {
            for kernel in store::kernels(&env.paths, arch)? {
                taken += disk_usage(&kernel.path)?;
            }
        }
        let sizes = all
            .iter()
            .map(|kernel| Ok((kernel.path.clone(), disk_usage(&kernel.path)?)))
            .collect::<Result<Vec<_>>>()?;
        let spare = to_delete(&sizes, taken, budget);
        let (gone, kept) = std::mem::take(&mut *all)
            .into_iter()
            .partition(|kernel| spare.contains(&kernel.path));
        *all = kept;
        drop(all);
        for kernel in gone {
            let name = PackageName::new(kernel.arch, &kernel.release);
            prune::delete(env, &name, &kernel.path)?;
        }
        Ok(())
    }
}

/// Of kernels with their bytes, those that must go until what is taken is within the
/// budget, the first ones first.
fn to_delete(tested: &[(PathBuf, u64)], mut taken: u64, budget: u64) -> Vec<PathBuf> {
    let mut spare = Vec::new();
    for (path, bytes) in tested {
        if taken <= budget {
            break;
        }
        taken -= (*bytes).min(taken);
        spare.push(path.clone());
    }
    spare
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supply::offer::How;

    #[test]
    fn no_more_is_deleted_than_the_budget_asks_for() {
        let tested =
            [("a", 30), ("b", 20), ("c", 10)].map(|(path, bytes)| (PathBuf::from(path), bytes));
        let delete = |taken, budget| {
            to_delete(&tested, taken, budget)
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (taken, budget, expected) in [
            (100, 100, ""),
            (100, 99, "a"),
            (100, 70, "a"),
            (100, 69, "a b"),
            (100, 40, "a b c"),
            (100, 0, "a b c"),
            (10, 0, "a"),
        ] {
            assert_eq!(delete(taken, budget), expected, "{taken} {budget}");
        }
    }

    #[test]
    fn the_slowest_comes_first_among_what_is_as_near() {
        let wanted = |request: &str, build: bool| {
            let request = request.parse::<KernelRequest>().unwrap();
            let choice = match build {
                true => Ok(Offer::from(How::Build(
                    request.buildable().unwrap(),
                    crate::model::arch::host().unwrap(),
                ))),
                false => Err(Error::msg("none")),
            };
            Wanted {
                request: Some(request),
                choice,
            }
        };
        let all = [
            wanted("6.1", true),
            wanted("6.2", false),
            wanted("6.3", false),
            wanted("6.4", false),
            wanted("6.5", false),
        ];
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let estimates = [None, seconds(1), seconds(7), None, seconds(7)];
        assert_eq!(order(&all, &estimates), [3, 2, 4, 1, 0]);
    }
}
