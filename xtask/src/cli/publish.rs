//! `xtask release plan` and `release apply`: see [`crate::release::plan`], [`crate::release`].

use std::time::SystemTime;

use crate::base::{env::Env, error::Failure, lock, paths::Paths, stdout, time};
use crate::host::setup;
use crate::kernel::build::{self, BuildRequest};
use crate::kernel::source::WantedSource;
use crate::model::catalog::Kernels;
use crate::release::github::Github;
use crate::release::plan::{self, Options, ReleasePlan, Wanted};
use crate::release::{self, ReleaseStore, Selection};
use anyhow::{Context, Result};

use super::build_kernel::{architecture, flavors};
use super::release::client;
use crate::cli::release::ReleaseFlags;
use crate::kernel::{source::SourceChoice, source::kernel_org::DEFAULT_URL};
use crate::model::version::Series;
use clap::{Args, Subcommand, ValueEnum};
use std::num::NonZeroUsize;

/// Keep the kernels of a release current: plan, then apply
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask release plan -K --keep 2               what the release lacks and what is old
  cargo xtask release apply 6.1 6.12 --repo me/drgn  build and upload what is missing of two series")]
pub struct PublishFlags {
    #[command(subcommand)]
    pub command: ReleaseCommand,
}

#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    Plan(PlanFlags),
    Apply(ApplyFlags),
}

/// Compare the newest kernels with those of the release
///
/// Asks for the newest point release of each series and for the kernels of the release. A kernel is
/// to be built if the release lacks it. It is stale if it was published under the same name from
/// other source, options or patches: published kernels never change, so it is built again only when
/// `revision` in kernels.toml is raised. Builds, uploads and deletes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask release plan 6.1                            one series
  cargo xtask release plan -K -F                          every series and flavor
  cargo xtask release plan -K --source debian --keep 2    with what would be deleted
  cargo xtask release plan -K --format json | jq .totals

Exit status: 0, whatever there is to do.")]
pub struct PlanFlags {
    #[command(flatten)]
    pub selection: SelectionFlags,
    /// Print in this format
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: PlanFormat,
}

/// Build and upload what the release lacks
///
/// Does what `release plan` shows, one kernel at a time: builds, packages, uploads. After an
/// interruption, the same command continues; it does not build again a package that is in the work
/// directory. A kernel that cannot be built does not stop the others. With --keep, deletes old
/// kernels from the release at the end, but never the last finished one of a series and flavor.
/// Shows the plan and asks; without a terminal it changes the release only with --yes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask release apply 6.1 --repo me/drgn        what is missing of one series
  cargo xtask release apply -K --keep 2 --yes         what a weekly job runs

Exit status: 3 if a kernel could not be had; the others are uploaded all the same.")]
pub struct ApplyFlags {
    #[command(flatten)]
    pub selection: SelectionFlags,
    /// Compile with this C compiler [default: gcc, through ccache if there is one]
    #[arg(long, value_name = "PROGRAM")]
    pub cc: Option<String>,
    /// Run this many jobs of make at a time [default: one per processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Upload without a question, and with --keep delete without one
    #[arg(short, long)]
    pub yes: bool,
}

/// Which kernels a release should have.
#[derive(Args, Debug)]
pub struct SelectionFlags {
    /// Take these series, such as 6.1
    #[arg(
        value_name = "SERIES",
        required_unless_present = "all_kernels",
        conflicts_with = "all_kernels"
    )]
    pub series: Vec<Series>,
    /// Take every supported series
    #[arg(short = 'K', long)]
    pub all_kernels: bool,
    /// Take this flavor; repeatable [default: the first one of kernels.toml]
    #[arg(
        short,
        long = "flavor",
        value_name = "FLAVOR",
        conflicts_with = "all_flavors"
    )]
    pub flavors: Vec<String>,
    /// Take every flavor
    #[arg(short = 'F', long)]
    pub all_flavors: bool,
    /// Take this architecture; repeatable [default: this host's]
    #[arg(short, long = "arch", value_name = "ARCH")]
    pub architectures: Vec<String>,
    /// Take source from auto (kernel.org, then Debian), kernel.org, debian, or git:URL
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub source: SourceChoice,
    /// Fetch kernel.org's archives from this address, which may be a mirror
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    pub kernel_org_url: String,
    /// Let the plan delete all but the N newest of each of these series, flavors and architectures
    #[arg(long, value_name = "N")]
    pub keep: Option<NonZeroUsize>,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PlanFormat {
    /// A table and sums
    Table,
    /// An object: items, deletions, totals, problems
    Json,
}

/// Plans, or plans and applies; the exit status.
pub fn run(env: &Env, flags: &PublishFlags, install: bool) -> Result<u8> {
    match &flags.command {
        ReleaseCommand::Plan(flags) => print_plan(env, flags),
        ReleaseCommand::Apply(flags) => apply(env, flags, install),
    }
}

fn print_plan(env: &Env, flags: &PlanFlags) -> Result<u8> {
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

fn apply(env: &Env, flags: &ApplyFlags, install: bool) -> Result<u8> {
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
fn tools(flags: &ApplyFlags) -> Vec<setup::Tool> {
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

fn options(flags: &SelectionFlags) -> Options {
    Options {
        keep: flags.keep,
        now: time::unix(SystemTime::now()),
    }
}

fn selection(flags: &SelectionFlags, paths: &Paths) -> Result<Selection> {
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
