//! `cargo xtask test`: a project's tests, on kernels and on this host.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::base::env::Env;
use crate::base::error::{self, Failure, FailureKind};
use crate::base::input;
use crate::base::interrupt;
use crate::base::paths::Paths;
use crate::base::programs;
use crate::base::stdout::Stdout;
use crate::base::time;
use crate::base::ui::Ui;
use crate::host::setup::{self, Tool};
use crate::model::expectation::Ledger;
use crate::model::kernel_request::KernelRequest;
use crate::model::project::{self, Choice, Chosen, Project};
use crate::model::results::{self, RunName};
use crate::model::run_event::{Observer, RunEvent, RunEventKind, SessionEnd};
use crate::report::files;
use crate::report::github::{self, ActionsJob};
use crate::report::terminal::{Outlook, Reporter};
use crate::run::history::History;
use crate::run::python::{self, Prepared};
use crate::run::queue::{self, Budget};
use crate::run::run_folder::RunFolder;
use crate::run::schedule::{self, Capacity, Partition, RetryPolicy, VmSize};
use crate::run::session::{self, Options, Session};
use crate::run::suite::{self, Suite};
use crate::supply::host_arch;
use crate::vm;
use crate::vm::guest;
use crate::vm::preflight;
use anyhow::{Context, Result};

use super::kernels;
use super::vm::extra_environment;
use crate::cli::flags::machine::Given;
use crate::cli::flags::test::Test;

/// The guest's runner among the assets.
const RUNNER: &str = "guest/run_unittests.py";

/// Runs the tests; the exit status.
pub fn run(env: &Env, flags: &Test, setup: bool) -> Result<u8> {
    run_to(env, Stdout, flags, setup)
}

/// The same, with the results going to `out`.
pub fn run_to(env: &Env, out: impl Write, flags: &Test, setup: bool) -> Result<u8> {
    let requests = wanted(flags, &env.paths)?;
    let sources = super::release::sources(env, &flags.sources, &flags.machine, setup)?;
    let environment = extra_environment(&flags.environment)?;
    let shares = flags.machine.shares()?;
    let cores = flags.machine.cores()?;
    let disks = flags.machine.disks()?;
    let chosen = choose(flags, &env.paths)?;
    let project = match &chosen {
        Chosen::Tree { project, .. } | Chosen::Pinned { project } => project,
    };
    if flags.local && project.local.is_none() {
        return Err(
            Failure::usage(format!("the project {} has no local tests", project.name))
                .hint("its vmtest.toml needs a table [local]")
                .into(),
        );
    }
    if !requests.is_empty() {
        let memory = flags.machine.memory.or(project.memory);
        preflight::check(memory.unwrap_or(vm::MEMORY))?;
        if let Chosen::Tree { path, .. } = &chosen {
            preflight::directory(path)?;
        }
    }
    setup::require(env, &tools(&chosen, !requests.is_empty())?, setup)?;

    let filtered = suite::selects(&flags.arguments);
    let mut folder = match &flags.report_dir {
        Some(path) => RunFolder::at(std::path::absolute(path)?)?,
        None => RunFolder::create(&env.paths.logs())?,
    };
    let path = folder.path.clone();
    let prepared = prepare(env, &chosen, &path.join("prepare.log"))?;
    let runner = path.join("run_unittests.py");
    std::fs::write(&runner, env.paths.assets.read(RUNNER)?.as_bytes())
        .with_context(|| format!("cannot write {}", runner.display()))?;

    let mine = match flags.partition {
        None => requests.clone(),
        Some(partition) => partition.select(requests.iter().cloned()),
    };
    // One machine is enough for what is no kernel's.
    let local = flags.local && flags.partition.is_none_or(|part| part.contains(0));
    let wanted = queue::choose(env, &mine, &sources);
    let crashes = project.crash.is_some() && !flags.no_crash && !wanted.is_empty();
    let loader = path.join("load_capture_kernel.py");
    if crashes {
        std::fs::write(&loader, env.paths.assets.read(guest::LOADER)?.as_bytes())
            .with_context(|| format!("cannot write {}", loader.display()))?;
    }
    let mut history = History::load(env, &project.name);
    let estimate = |name: &RunName| match filtered {
        // Nothing is known about some of the tests.
        true => None,
        false => {
            let main = history.estimate(name)?;
            let crash = crashes.then(|| history.estimate(&name.crash())).flatten();
            Some(main + crash.unwrap_or_default())
        }
    };
    let names = wanted.iter().map(queue::Wanted::name);
    let estimates = names
        .map(|name| Ok(estimate(&name?)))
        .collect::<Result<Vec<_>>>()?;
    let order = queue::order(&wanted, &estimates);
    let jobs = match flags.jobs {
        Some(jobs) => usize::try_from(jobs)?,
        None => default_jobs(flags, project, &env.paths)?,
    };
    let options = Options {
        jobs,
        prefetch: usize::try_from(flags.prefetch)?,
        shards: flags.shards,
        retry: RetryPolicy {
            retries: flags.retries,
        },
        fail_fast: flags.fail_fast,
    };
    let asked = results::Session {
        project: project.name.clone(),
        started: time::rfc3339(time::now()),
        kernels: requests.iter().map(request_text).collect(),
        partition: flags.partition.map(Partition::numbers),
        filtered,
        expectations: project.expectations.clone(),
    };
    let ledger = Ledger::of(&asked)?;
    let suite = Suite {
        project,
        prepared,
        runner,
        loader: crashes.then_some(loader),
        folder: path.clone(),
        arguments: flags.arguments.clone(),
        environment,
        cc: flags.cc.clone(),
        machine: &|request, limits| {
            let given = Given {
                shares: &shares,
                disks: &disks,
                cores: cores.as_deref(),
            };
            flags.machine.apply(request, given, limits)
        },
        mark: &|name, test| ledger.mark(test, name, filtered),
        seconds: &|name| history.class_seconds(name),
    };
    let checked = suite.check(!wanted.is_empty(), local);
    checked.map_err(|error| untestable(&chosen, flags, error))?;
    folder.begin(&asked)?;
    let job = ActionsJob::of(|name| std::env::var_os(name));
    let runs = wanted.len() + usize::from(local);
    let host = local.then(|| estimate(&suite::local_name()));
    let seconds = host.into_iter().chain(estimates.iter().copied());
    let outlook = Outlook {
        runs,
        seconds: seconds.map(|time| Some(time?.as_secs_f64())).collect(),
        jobs: options.jobs,
        folder: path.clone(),
        paint: env.ui.paint(),
        github: job.is_some(),
    };
    let mut collector = Collected {
        // The second half is of tests after a crash.
        names: vec![None; 2 * runs],
        folder: &mut folder,
        reporter: Reporter::new(out, env.ui.verbosity(), Some(env.ui.clone()), outlook),
    };
    let session = Session {
        suite: &suite,
        local,
        wanted: &wanted,
        order: &order,
        sources: &sources,
        budget: &Budget::new(flags.disk_budget),
        env,
        options,
    };
    let records = session::run(session, &mut collector).inspect_err(|_| keep(&path, &env.ui))?;
    let Collected { mut reporter, .. } = collector;
    let results = close(folder, &ledger, &env.ui)?;
    let started = records.iter().filter(|record| record.name.phase.is_none());
    let end = SessionEnd {
        not_started: runs - started.count(),
        records,
        results,
    };
    reporter.finish(&end)?;
    let SessionEnd {
        records, results, ..
    } = end;
    if let Some(job) = &job {
        let annotations = github::annotations(&results, &suite.prepared.tree, job);
        reporter
            .write(&annotations)
            .context("cannot write the annotations")?;
        job.summarize(&results)?;
    }
    env.ui.info(format!("reports: {}", path.display()));
    if !filtered {
        for record in &records {
            if let Err(error) = history.record(record, &asked.started) {
                interrupt::check()?;
                // The results are there; the next estimate is worse for it.
                env.ui.warn(format!("{error:#}"));
            }
        }
    }
    Ok(results.exit_status())
}

/// Says of which project the tests cannot be found, and why it is that one.
fn untestable(chosen: &Chosen, flags: &Test, error: anyhow::Error) -> anyhow::Error {
    if error::kind(&error) != Some(FailureKind::Usage) {
        return error;
    }
    let (Chosen::Tree { project, .. } | Chosen::Pinned { project }) = chosen;
    let failure = Failure::usage(format!("cannot test {}: {error:#}", project.name));
    match chosen {
        Chosen::Pinned { .. } if flags.profile.is_none() => failure.hint(format!(
            "{} is tested because there is no vmtest.toml here; -C names a project, and `vm` runs \
             any program",
            project.name
        )),
        _ => failure,
    }
    .into()
}

/// Makes the reports of a session that was interrupted, from what was run.
fn keep(folder: &Path, ui: &Ui) {
    let written = files::read(folder).and_then(|results| files::write(&results, folder));
    match written {
        Ok(_) => ui.info(format!("reports so far: {}", folder.display())),
        // The session's own error is the one to end with.
        Err(error) => ui.warn(format!("{error:#}")),
    }
}

/// Judges the list of expected failures, ends the results, and makes all reports of them.
fn close(mut folder: RunFolder, ledger: &Ledger, ui: &Ui) -> Result<results::Results> {
    let mut results = files::read(&folder.path)?;
    for finding in ledger.findings(&results) {
        match finding.is_bad() {
            true => results.findings.push(finding.to_string()),
            false => ui.warn(finding.to_string()),
        }
    }
    results.finished = true;
    files::write(&results, &folder.path)?;
    // Last: with this line the folder is finished.
    folder.end(&results.findings)?;
    Ok(results)
}

/// VMs at a time, if nobody says.
fn default_jobs(flags: &Test, project: &Project, paths: &Paths) -> Result<usize> {
    let arch = host_arch()?;
    let processors = programs::processors();
    let meminfo = input::text(Path::new("/proc/meminfo"), input::SMALL).unwrap_or_default();
    let Some(capacity) = Capacity::parse(&meminfo, processors) else {
        return Ok(1);
    };
    let memory = flags.machine.memory.or(project.memory);
    let size = VmSize {
        memory: memory.unwrap_or(vm::MEMORY),
        cpus: flags.machine.cpus.unwrap_or(processors.min(2)),
        emulated: vm::emulates(arch, flags.machine.accel(), paths),
    };
    Ok(schedule::default_jobs(capacity, size))
}

fn request_text(request: &Option<KernelRequest>) -> String {
    let text = request.as_ref().map(ToString::to_string);
    text.unwrap_or_else(|| "newest".to_owned())
}

/// Writes down what happens, and has it shown.
struct Collected<'r, W> {
    /// Of the runs that have been started.
    names: Vec<Option<RunName>>,
    folder: &'r mut RunFolder,
    reporter: Reporter<W>,
}

impl<W: Write> Observer for Collected<'_, W> {
    fn event(&mut self, event: &RunEvent) -> Result<()> {
        let slot = self.names.get_mut(event.run);
        if let (Some(slot), RunEventKind::Started(name)) = (slot, &event.kind) {
            *slot = Some(name.clone());
        }
        if let Some(Some(name)) = self.names.get(event.run) {
            self.folder.take(name, event.shard, &event.kind)?;
        }
        self.reporter.event(event)
    }
}

/// The kernels to test on; `None` is the newest on this machine, else of the release.
fn wanted(flags: &Test, paths: &Paths) -> Result<Vec<Option<KernelRequest>>> {
    let requests = kernels::requests(&flags.kernels, paths)?;
    if requests.is_empty() && !flags.local {
        return Ok(vec![None]);
    }
    Ok(requests.into_iter().map(Some).collect())
}

fn choose(flags: &Test, paths: &Paths) -> Result<Chosen> {
    let choice = Choice {
        directory: flags.project.clone(),
        variable: std::env::var_os("VMTEST_PROJECT").map(PathBuf::from),
        current: preflight::here()?,
        profile: flags.profile.clone(),
    };
    project::choose(&choice, &paths.assets)
}

/// What this host must have, so that nothing is found missing half-way.
fn tools(chosen: &Chosen, in_vm: bool) -> Result<Vec<Tool>> {
    let (project, tree) = match chosen {
        Chosen::Tree { project, .. } => (project, true),
        Chosen::Pinned { project } => (project, false),
    };
    let mut tools = Vec::new();
    if in_vm {
        tools.extend(setup::for_vm(host_arch()?));
        if project.module.is_some() {
            tools.extend(setup::for_external_module());
        }
    }
    if project.requirements.is_empty() && tree {
        if project.python == "python3" {
            tools.push(Tool::program("python3"));
        }
    } else {
        tools.extend(setup::for_python());
    }
    tools.extend(project.programs.iter().map(Tool::program));
    if tree {
        tools.extend(setup::for_prepare(project));
    }
    tools.sort();
    tools.dedup();
    Ok(tools)
}

fn prepare(env: &Env, chosen: &Chosen, log: &Path) -> Result<Prepared> {
    match chosen {
        Chosen::Tree { project, path } => python::prepare_tree(env, project, path, log),
        Chosen::Pinned { project } => {
            let release = project
                .release
                .as_ref()
                .with_context(|| format!("the profile {} has no release", project.name))?;
            python::prepare_release(env, project, release, log)
        }
    }
}
