//! `cargo xtask test`: a project's tests, on kernels and on this host.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::vm::extra_environment;
use super::{kernels, release};
use crate::base::env::Env;
use crate::base::stdout::Stdout;
use crate::base::ui::Ui;
use crate::cli::flags::machine::{Given, Machine};
use crate::cli::flags::test::Test;
use crate::cli::release::SourceFlags;
use crate::model::project::{self, Choice, Chosen};
use crate::model::run_event::{Observer, SessionEnd};
use crate::report::files;
use crate::report::github::{self, ActionsJob};
use crate::report::terminal::{Outlook, Reporter};
use crate::run::schedule::RetryPolicy;
use crate::run::session::SessionOptions;
use crate::run::test_run::{TestOptions, TestRun};
use crate::vm::preflight;

/// Runs the tests; the exit status.
pub fn run(env: &Env, flags: &Test, setup: bool) -> Result<u8> {
    let options = options(env, flags, setup)?;
    let mut run = TestRun::plan(env, &options)?;
    let job = ActionsJob::of(|name| std::env::var_os(name));
    let outlook = Outlook {
        plan: run.plan.clone(),
        paint: env.ui.paint(),
        github: job.is_some(),
    };
    let mut reporter = Reporter::new(Stdout, env.ui.verbosity(), Some(env.ui.clone()), outlook);
    let end = finish(env, &mut run, &mut reporter)?;
    reporter.finish(&end)?;
    if let Some(job) = &job {
        let annotations = github::annotations(&end.results, run.tree(), job);
        reporter
            .write(&annotations)
            .context("cannot write the annotations")?;
        job.summarize(&end.results)?;
    }
    env.ui
        .info(format!("reports: {}", run.plan.folder.display()));
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

fn options(env: &Env, flags: &Test, setup: bool) -> Result<TestOptions> {
    let requests = kernels::requests(&flags.kernels, &env.paths)?;
    let requests = match requests.is_empty() && !flags.local {
        true => vec![None],
        false => requests.into_iter().map(Some).collect(),
    };
    let subject = Subject {
        project: flags.project.as_ref(),
        profile: flags.profile.as_ref(),
        environment: &flags.environment,
        sources: &flags.sources,
        machine: &flags.machine,
    };
    Ok(TestOptions {
        requests,
        local: flags.local,
        crash: !flags.no_crash,
        partition: flags.partition,
        jobs: flags.jobs.map(usize::try_from).transpose()?,
        session: SessionOptions {
            jobs: 1,
            prefetch: usize::try_from(flags.prefetch)?,
            shards: flags.shards,
            retry: RetryPolicy {
                retries: flags.retries,
            },
            fail_fast: flags.fail_fast,
        },
        disk_budget: flags.disk_budget,
        folder: flags.report_dir.clone(),
        arguments: flags.arguments.clone(),
        cc: flags.cc.clone(),
        ..subject.options(env, setup)?
    })
}

/// The flags that `test` and `bisect` have in common and that need more than a copy.
pub struct Subject<'f> {
    pub project: Option<&'f PathBuf>,
    pub profile: Option<&'f String>,
    pub environment: &'f [OsString],
    pub sources: &'f SourceFlags,
    pub machine: &'f Machine,
}

impl Subject<'_> {
    /// Options without any kernel, as they are when no other flag is given.
    pub fn options(&self, env: &Env, setup: bool) -> Result<TestOptions> {
        let sources = release::sources(env, self.sources, self.machine, setup)?;
        let environment = extra_environment(self.environment)?;
        let shares = self.machine.shares()?;
        let cores = self.machine.cores()?;
        let disks = self.machine.disks()?;
        let choice = Choice {
            directory: self.project.cloned(),
            variable: std::env::var_os("VMTEST_PROJECT").map(PathBuf::from),
            current: preflight::here()?,
            profile: self.profile.cloned(),
        };
        let project = project::choose(&choice, &env.paths.assets)?;
        let machine = self.machine.clone();
        Ok(TestOptions {
            by_default: matches!(project, Chosen::Pinned { .. }) && self.profile.is_none(),
            project,
            requests: Vec::new(),
            sources,
            setup,
            local: false,
            crash: true,
            partition: None,
            jobs: None,
            session: SessionOptions::default(),
            disk_budget: None,
            folder: None,
            arguments: Vec::new(),
            environment,
            cc: None,
            memory: machine.memory,
            cpus: machine.cpus,
            accel: machine.accel(),
            machine: Box::new(move |request, limits| {
                let given = Given {
                    shares: &shares,
                    disks: &disks,
                    cores: cores.as_deref(),
                };
                machine.apply(request, given, limits);
            }),
        })
    }
}
