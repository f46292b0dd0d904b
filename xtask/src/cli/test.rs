//! `cargo xtask test`: a project's tests, on kernels and on this host.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::base::{env::Env, error::Failure, stdout::Stdout, ui::Ui};
use crate::cli::{
    kernels::KernelFlags, kernels::compiler, machine::MachineFlags, release::SourceFlags, report,
};
use crate::kernel::{build::toolchain::NamedCompiler, config::OwnFragment};
use crate::model::project::{self, Choice, parse_size};
use crate::model::run_event::{Observer, SessionEnd};
use crate::report::{files, github, terminal::Reporter};
use crate::run::framework::{self, FRAMEWORKS, Framework};
use crate::run::{schedule::Partition, schedule::RetryPolicy, session::SessionOptions};
use crate::run::{test_run::TestOptions, test_run::TestRun};
use crate::supply::Sources;
use crate::vm::preflight;
use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

/// Run a project's tests on kernels, each in a VM
///
/// The project is the directory of -C, else of $VMTEST_PROJECT, else the current directory if it is
/// a project (it has a vmtest.toml, or is a checkout of drgn), else a pinned release of drgn from
/// PyPI. Without -k, -K and -l, `test` takes the newest local kernel, else the release's newest.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask test --setup -k '6.1.*'     build what is missing, then drgn's tests on 6.1
  cargo xtask test -C ~/drgn -k 5.10,6.1  a checkout, its extension built in place, on two kernels
  cargo xtask test -K -j 4                one kernel of every supported series, four at a time
  cargo xtask test -k 6.1 -j 2 --shards 2 one kernel's tests, split over two VMs
  cargo xtask test -k 6.1 -- -f -k swap   unittest's own options: stop at the first failure, by name
  cargo xtask test -k 6.1 -- tests/linux_kernel/helpers/test_mm.py
  cargo xtask test -k aarch64:6.12        a kernel of another architecture, emulated
  cargo xtask test -k debian:5.10,debian:6.1,host  distributions' kernels
  cargo xtask test -l                     only the tests that run on this host
  cargo xtask test -k 6.1 --no-crash      without the tests that run after a crash of the kernel

Exit status: 0; 1 tests failed or the test process died; 2 usage; 3 a kernel or the project could
not be had; 4 a VM was lost, panicked or got stuck; 5 no tests ran. Of several kernels the first of
1, 4, 3, 5 that occurred.")]
pub struct TestFlags {
    #[command(flatten)]
    pub kernels: KernelFlags,
    /// Run the project's tests for the host too; without -k and -K, run only those
    #[arg(short, long)]
    pub local: bool,
    /// Run this many VMs at a time [default: what memory and processors allow]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: Option<u32>,
    /// Split each kernel's tests over this many VMs, by the time that their classes took before
    /// [default: the VMs of -j that would be idle, if the tests take long]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: Option<u32>,
    /// Leave out the tests after a crash (the project's [crash]), and the memory kept for them
    #[arg(long)]
    pub no_crash: bool,
    /// Start no further kernel after a run that did not pass
    #[arg(long)]
    pub fail_fast: bool,
    /// Start a VM again, at most this many times, if it was lost or got stuck while booting
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=16))]
    pub retries: u32,
    /// Test the K-th of N parts of the kernels, for N machines; `report merge` joins the results
    #[arg(long, value_name = "K/N")]
    pub partition: Option<Partition>,
    /// Write logs, results and reports here [default: log/<when> in the work directory]
    #[arg(long, value_name = "DIR")]
    pub report_dir: Option<PathBuf>,
    /// Fetch this many kernels of the release in advance, while others are tested
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(..=16))]
    pub prefetch: u32,
    /// Delete tested kernels of the release, the first ones first, while all unpacked kernels take
    /// more than this, such as 10G
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub disk_budget: Option<u64>,
    /// Pass the test framework's own options and names on (unittest: a name, dotted or a file,
    /// replaces discovery); with --runner of a framework that has no runner of ours, the command
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<OsString>,
    #[command(flatten)]
    pub subject: Subject,
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "a size is written like 10G or 500 MiB".to_owned())
}

pub fn run(env: &Env, flags: &TestFlags, setup: bool) -> Result<u8> {
    let options = options(env, flags, setup)?;
    let mut run = TestRun::plan(env, &options)?;
    let (plan, ui) = (run.plan.clone(), env.ui.clone());
    let look = report::look(&plan.folder, &ui);
    let mut reporter = Reporter::new(Stdout, ui.verbosity(), Some(ui), plan, look);
    let end = finish(env, &mut run, &mut reporter)?;
    reporter.finish(&end)?;
    if let Some(job) = report::job() {
        let annotations = github::annotations(&end.results, run.tree(), &job);
        let written = reporter.write(&annotations);
        written.context("cannot write the annotations")?;
        job.summarize(&end.results)?;
    }
    let folder = run.plan.folder.display();
    env.ui.info(format!("reports: {folder}"));
    run.remember(&end)?;
    Ok(end.results.exit_status())
}

/// Runs everything, and writes the reports that are files.
pub fn finish(env: &Env, run: &mut TestRun<'_>, observer: &mut dyn Observer) -> Result<SessionEnd> {
    let ran = run.run(observer);
    let folder = &run.plan.folder;
    let end = ran.inspect_err(|_| keep(folder, &env.ui))?;
    files::write(&end.results, folder)?;
    run.close(&end.results)?;
    Ok(end)
}

/// Makes the reports of a session that was interrupted, from what was run.
fn keep(folder: &Path, ui: &Ui) {
    let written = files::read(folder).and_then(|results| files::write(&results, folder));
    match written {
        Ok(()) => ui.info(format!("reports so far: {}", folder.display())),
        // The session's own error is the one to end with.
        Err(error) => ui.warn(format!("{error:#}")),
    }
}

fn options(env: &Env, flags: &TestFlags, setup: bool) -> Result<TestOptions> {
    let requests = flags.kernels.requests(&env.paths)?;
    let requests = match requests.is_empty() && !flags.local {
        true => vec![None],
        false => requests.into_iter().map(Some).collect(),
    };
    let options = flags.subject.options(env, &flags.arguments, setup)?;
    Ok(TestOptions {
        requests,
        local: flags.local,
        crash: !flags.no_crash,
        partition: flags.partition,
        jobs: flags.jobs.map(usize::try_from).transpose()?,
        session: SessionOptions {
            prefetch: usize::try_from(flags.prefetch)?,
            retry: RetryPolicy {
                retries: flags.retries,
            },
            fail_fast: flags.fail_fast,
            ..SessionOptions::default()
        },
        shards: flags.shards,
        disk_budget: flags.disk_budget,
        folder: flags.report_dir.clone(),
        ..options
    })
}

fn runners() -> PossibleValuesParser {
    let value = |framework: &&'static dyn Framework| {
        PossibleValue::new(framework.name()).help(framework.about())
    };
    FRAMEWORKS.iter().map(value).into()
}

/// The flags that `test` and `bisect` have in common.
#[derive(Args, Debug)]
pub struct Subject {
    /// Test the project in this directory
    #[arg(short = 'C', long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Treat a directory that has no vmtest.toml, and that is not recognised, as this kind of
    /// project; without -C, test the release of this project
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Run the tests, or read what they print, as this framework does [default: `runner` of the
    /// project's vmtest.toml, else unittest]
    #[arg(long, value_name = "NAME", value_parser = runners())]
    pub runner: Option<String>,
    /// Compile the project's kernel module with this compiler, or with debian:gcc-N of any suite
    /// of Debian, where this host lacks the kernel's own [default: the kernel's from Debian's
    /// packages, else gcc]
    #[arg(long, value_name = "PROGRAM", value_parser = compiler)]
    pub cc: Option<NamedCompiler>,
    #[command(flatten)]
    pub sources: SourceFlags,
    #[command(flatten)]
    pub machine: MachineFlags,
}

impl Subject {
    /// Options without any kernel, as they are when no other flag is given. `words` are for the
    /// framework, or the command if the one that --runner names has no runner of ours.
    pub fn options(&self, env: &Env, words: &[OsString], setup: bool) -> Result<TestOptions> {
        let given = self.runner.as_deref().and_then(framework::named);
        let foreign = given.filter(|framework| framework.runner().is_none());
        if let (Some(framework), []) = (foreign, words) {
            let message = format!("--runner {} needs a command", framework.name());
            return Err(Failure::usage(message).hint("-- ./run.sh").into());
        }
        let environment = self.machine.environment()?;
        let devices = self.machine.devices()?;
        let choice = Choice {
            directory: self.project.clone(),
            variable: std::env::var_os("VMTEST_PROJECT").map(PathBuf::from),
            current: preflight::here()?,
            profile: self.profile.clone(),
            anonymous: foreign.is_some(),
        };
        let mut project = project::choose(&choice, &env.paths.assets)?;
        let own = Vec::from_iter(project.kernel_options());
        let sources = Sources {
            own: OwnFragment::read_all(&own)?,
            ..self.sources.sources(env, setup)?
        };
        let tests = &project.project.tests;
        let own = framework::named(&tests.runner).context("an unknown runner")?;
        let (program, arguments) = match (given, foreign) {
            (_, Some(_)) => (words.to_vec(), Vec::new()),
            (Some(_), None) => (Vec::new(), words.to_vec()),
            (None, None) => {
                let program = tests.command.iter().map(OsString::from);
                (program.collect(), words.to_vec())
            }
        };
        let framework = given.unwrap_or(own);
        let needs = &mut project.project.needs;
        needs.python.extend_from_slice(&framework.packages(needs));
        let machine = self.machine.clone();
        Ok(TestOptions {
            by_default: project.tree.is_none() && self.profile.is_none(),
            project,
            requests: Vec::new(),
            sources,
            setup,
            local: false,
            crash: true,
            partition: None,
            jobs: None,
            shards: Some(1),
            session: SessionOptions::default(),
            disk_budget: None,
            folder: None,
            arguments,
            framework,
            program,
            environment,
            cc: self.cc.clone(),
            memory: machine.memory,
            cpus: machine.cpus,
            root: machine.root.clone(),
            accel: machine.accel,
            machine: Box::new(move |request, limits| machine.apply(request, &devices, limits)),
        })
    }
}
