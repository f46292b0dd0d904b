//! `xtask release plan` and `release apply`: see [`crate::release::plan`], [`crate::release`].

use std::{num::NonZeroUsize, time::SystemTime};

use crate::base::{env::Env, lock, paths::Paths, stdout, time};
use crate::cli::kernels::{BuildFlags, CompilerFlags};
use crate::cli::release::ReleaseFlags;
use crate::host::setup;
use crate::kernel::build::{self, BuildRequest};
use crate::model::{catalog::Kernels, version::Series};
use crate::release::github::Github;
use crate::release::plan::{self, Options, ReleasePlan, WantedKernel};
use crate::release::{self, ReleaseStore, Selection};
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};

/// Keep the kernels of a release current: plan, then apply
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cargo xtask release plan -K --keep 2               what the release lacks and what is old
  cargo xtask release apply 6.1 6.12 --repo me/drgn  build and upload what is missing of two series")]
pub enum ReleaseCommand {
    Plan(PlanFlags),
    Apply(ApplyFlags),
}

/// Compare the newest kernels with those of the release
///
/// Takes the newest point release of each series. A kernel is to be built if the release lacks it,
/// and stale if it was published under the same name from other source, options or patches:
/// published kernels never change, so only a higher `revision` in kernels.toml builds it again.
/// Builds, uploads and deletes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask release plan 6.1                            one series
  cargo xtask release plan -K -F -a all                   every series, flavor and architecture
  cargo xtask release plan -K --source debian --keep 2    with what would be deleted
  cargo xtask release plan -K --format json | jq .totals

Exit status: 0, whatever there is to do.")]
pub struct PlanFlags {
    /// Print in this format
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: PlanFormat,
    #[command(flatten)]
    pub selection: SelectionFlags,
}

/// Build and upload what the release lacks
///
/// Does what `release plan` shows, kernel by kernel: builds, packages, uploads. After an
/// interruption the same command continues, with the packages in the work directory. A kernel that
/// cannot be built does not stop the others. With --keep, deletes old kernels from the release at
/// the end, but never the last finished one of a series and flavor. Shows the plan and asks;
/// without a terminal it needs --yes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask release apply 6.1 --repo me/drgn        what is missing of one series
  cargo xtask release apply -K --keep 2 --yes         what a weekly job runs

Exit status: 3 if a kernel could not be had; the others are uploaded all the same.")]
pub struct ApplyFlags {
    #[command(flatten)]
    pub compiler: CompilerFlags,
    /// Upload without a question, and with --keep delete without one
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub selection: SelectionFlags,
}

/// Which kernels a release should have.
#[derive(Args, Debug)]
pub struct SelectionFlags {
    /// Take these series, such as 6.1
    #[arg(value_name = "SERIES", group = "which")]
    pub series: Vec<Series>,
    #[command(flatten)]
    pub build: BuildFlags,
    /// Let the plan delete all but the N newest of each of these series, flavors and architectures
    #[arg(long, value_name = "N")]
    pub keep: Option<NonZeroUsize>,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PlanFormat {
    /// A table and sums
    Table,
    /// An object: items, deletions, totals, problems
    Json,
}

pub fn run(env: &Env, command: &ReleaseCommand, install: bool) -> Result<u8> {
    match command {
        ReleaseCommand::Plan(flags) => print_plan(env, flags),
        ReleaseCommand::Apply(flags) => apply(env, flags, install),
    }
}

fn print_plan(env: &Env, flags: &PlanFlags) -> Result<u8> {
    let selection = selection(&flags.selection, &env.paths)?;
    let store = Github::new(flags.selection.release.client(env)?, &env.ui);
    let (plan, _) = make_plan(env, &selection, &options(&flags.selection), &store)?;
    stdout::print(&match flags.format {
        PlanFormat::Table => plan::table(&plan),
        PlanFormat::Json => plan::json(&plan).context("cannot write the plan")?,
    })?;
    Ok(0)
}

fn apply(env: &Env, flags: &ApplyFlags, install: bool) -> Result<u8> {
    let selection = selection(&flags.selection, &env.paths)?;
    let store = Github::new(flags.selection.release.client(env)?, &env.ui);
    store.client.require_token("change the release")?;
    // Another run plans what this one is just doing.
    let _lock = lock::take(env, "release-apply")?;
    let options = options(&flags.selection);
    let (plan, wanted) = make_plan(env, &selection, &options, &store)?;
    stdout::print(&plan::table(&plan))?;
    // A plan with problems is refused below, whatever the answer.
    let (uploads, deletions) = (plan.totals.uploads, plan.totals.deletions);
    let question = format!("upload {uploads} and delete {deletions}?");
    if plan.problems.is_empty()
        && uploads + deletions > 0
        && !super::prune::confirm(&question, flags.yes, &env.ui)?
    {
        env.ui.info("nothing was changed");
        return Ok(0);
    }
    let mut items = plan.items.iter();
    if items.any(|item| item.action.uploads() && !item.ready) {
        setup::require(
            env,
            &flags.compiler.tools(&selection.architectures),
            install,
        )?;
    }
    let mut build = |item: &plan::Item| {
        let name = item.package.as_ref();
        let name = name.context("a kernel without a release")?;
        let request = BuildRequest {
            source: selection.source.clone(),
            kernel_org_url: selection.kernel_org_url.clone(),
            cc: flags.compiler.cc.clone(),
            jobs: flags.compiler.jobs,
            ..BuildRequest::new(name.release.version, &item.flavor, name.arch)
        };
        build::build_kernel(env, &request)
    };
    let applied = release::apply(env, &plan, &wanted, &options, &store, &mut build)?;
    let (uploaded, deleted) = (applied.uploaded.len(), applied.deleted.len());
    let ui = &env.ui;
    ui.info(format!("uploaded {uploaded}, deleted {deleted}"));
    let failure = applied.failure();
    failure.map_or(Ok(0), |failure| Err(failure.into()))
}

fn make_plan(
    env: &Env,
    selection: &Selection,
    options: &Options,
    store: &dyn ReleaseStore,
) -> Result<(ReleasePlan, Vec<WantedKernel>)> {
    let contents = store.contents()?;
    let wanted = release::wanted(env, selection)?;
    let ready = release::ready(env, &wanted, &contents)?;
    Ok((plan::plan(&wanted, &contents, &ready, options), wanted))
}

fn options(flags: &SelectionFlags) -> Options {
    Options {
        keep: flags.keep,
        now: time::unix(SystemTime::now()),
    }
}

fn selection(flags: &SelectionFlags, paths: &Paths) -> Result<Selection> {
    let kernels = Kernels::load(&paths.configs)?;
    let architectures = flags.build.architectures()?;
    for series in &flags.series {
        // One that only some of the architectures have is left out for the others.
        kernels.with_series(*series, &architectures)?;
    }
    Ok(Selection {
        series: match flags.build.all_kernels {
            true => kernels.series.clone(),
            false => flags.series.clone(),
        },
        flavors: flags.build.flavors(&kernels)?,
        architectures,
        source: flags.build.source.clone(),
        kernel_org_url: flags.build.kernel_org_url.clone(),
    })
}
