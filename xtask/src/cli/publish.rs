//! `xtask release plan` and `release apply`: see [`crate::release::plan`], [`crate::release`].

use std::time::SystemTime;

use crate::base::env::Env;
use crate::base::error::Failure;
use crate::base::lock;
use crate::base::paths::Paths;
use crate::base::stdout;
use crate::base::time;
use crate::host::setup;
use crate::kernel::build::{self, BuildRequest};
use crate::kernel::source::Wanted as WantedSource;
use crate::model::catalog::Kernels;
use crate::release::github::Github;
use crate::release::plan::{self, Options, ReleasePlan, Wanted};
use crate::release::{self, ReleaseStore, Selection};
use anyhow::{Context, Result};

use super::build_kernel::{architecture, flavors};
use super::release::client;
use crate::cli::flags;
use crate::cli::flags::publish::{Apply, Plan, PlanFormat, Release, ReleaseCommand};

/// Plans, or plans and applies; the exit status.
pub fn run(env: &Env, flags: &Release, install: bool) -> Result<u8> {
    match &flags.command {
        ReleaseCommand::Plan(flags) => print_plan(env, flags),
        ReleaseCommand::Apply(flags) => apply(env, flags, install),
    }
}

fn print_plan(env: &Env, flags: &Plan) -> Result<u8> {
    let selection = selection(&flags.selection, &env.paths)?;
    let store = Github::new(client(env, &flags.selection.release)?, &env.ui);
    let options = options(&flags.selection);
    let (plan, _) = make_plan(env, &selection, &options, &store)?;
    let text = match flags.format {
        PlanFormat::Table => plan::table(&plan),
        PlanFormat::Json => plan::json(&plan).context("cannot write the plan")?,
    };
    stdout::print(&text)?;
    Ok(0)
}

fn apply(env: &Env, flags: &Apply, install: bool) -> Result<u8> {
    let selection = selection(&flags.selection, &env.paths)?;
    let store = Github::new(client(env, &flags.selection.release)?, &env.ui);
    let keep = flags.selection.keep;
    store.require_token("change the release")?;
    // Another run plans what this one is just doing.
    let _lock = lock::take(env, "release-apply")?;
    let options = options(&flags.selection);
    let (plan, wanted) = make_plan(env, &selection, &options, &store)?;
    stdout::print(&plan::table(&plan))?;
    // A plan with problems is refused below, whatever the answer.
    let totals = &plan.totals;
    if plan.problems.is_empty() && totals.uploads + totals.deletions > 0 {
        let (uploads, deletions) = (totals.uploads, totals.deletions);
        let question = format!("upload {uploads} and delete {deletions}?");
        if !super::prune::confirm(&question, flags.yes, &env.ui)? {
            env.ui.info("nothing was changed");
            return Ok(0);
        }
    }
    if plan
        .items
        .iter()
        .any(|item| item.action.uploads() && !item.ready)
    {
        setup::require(env, &tools(flags), install)?;
    }
    let mut build = |item: &plan::Item| {
        let name = item
            .package
            .as_ref()
            .context("a kernel without a release")?;
        let request = BuildRequest {
            wanted: WantedSource::Version(name.release.version),
            source: selection.source.clone(),
            kernel_org_url: selection.kernel_org_url.clone(),
            cc: flags.cc.clone(),
            jobs: flags.jobs,
            ..BuildRequest::new(name.release.version, &item.flavor, name.arch)
        };
        build::build_kernel(env, &request)
    };
    let applied = release::apply(env, &plan, &wanted, keep, options.now, &store, &mut build)?;
    env.ui.info(format!(
        "uploaded {}, deleted {}",
        applied.uploaded.len(),
        applied.deleted.len()
    ));
    match applied.failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(0),
    }
}

/// What building takes; whether a compiler of the user's choice is there is said
/// where it is looked at.
fn tools(flags: &Apply) -> Vec<setup::Tool> {
    let mut tools = setup::for_build();
    if flags.cc.is_some() {
        tools.retain(|tool| *tool != setup::Tool::program("gcc"));
    }
    tools
}

fn make_plan(
    env: &Env,
    selection: &Selection,
    options: &Options,
    store: &dyn ReleaseStore,
) -> Result<(ReleasePlan, Vec<Wanted>)> {
    let contents = store.contents()?;
    let wanted = release::wanted(env, selection)?;
    let ready = release::ready(env, &wanted, &contents)?;
    Ok((plan::plan(&wanted, &contents, &ready, options), wanted))
}

fn options(flags: &flags::publish::Selection) -> Options {
    Options {
        keep: flags.keep,
        now: time::unix(SystemTime::now()),
    }
}

fn selection(flags: &flags::publish::Selection, paths: &Paths) -> Result<Selection> {
    let kernels = Kernels::load(&paths.configs)?;
    let architectures = match flags.architectures.as_slice() {
        [] => vec![architecture(None)?],
        names => {
            let mut found = Vec::new();
            for name in names {
                let arch = architecture(Some(name))?;
                if !found.contains(&arch) {
                    found.push(arch);
                }
            }
            found
        }
    };
    for series in &flags.series {
        // One that only some of the architectures have is left out for the others.
        let refused = architectures
            .iter()
            .map(|arch| kernels.require_series(*series, arch))
            .collect::<Vec<Result<(), Failure>>>();
        if refused.iter().all(Result::is_err)
            && let Some(Err(failure)) = refused.into_iter().next()
        {
            return Err(failure.into());
        }
    }
    Ok(Selection {
        series: if flags.all_kernels {
            kernels.series.clone()
        } else {
            flags.series.clone()
        },
        flavors: flavors(&flags.flavors, flags.all_flavors, &kernels)?,
        architectures,
        source: flags.source.clone(),
        kernel_org_url: flags.kernel_org_url.clone(),
    })
}
