//! A run of a project's tests, on kernels and on this host: planned, run, and concluded.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::base::error::{self, Failure, FailureKind};
use crate::base::{disk, env::Env, paths::Paths};
use crate::base::{input, interrupt, programs, time};
use crate::host::setup::{self, Tool};
use crate::kernel::build::toolchain::NamedCompiler;
use crate::model::project::{Chosen, Project};
use crate::model::results::{self, Results, RunName};
use crate::model::run_event::{Observer, RunEvent, SessionEnd, SessionPlan};
use crate::model::{
    arch::ARCHITECTURES, arch::Arch, expectation::Ledger, kernel_request::KernelRequest,
};
use crate::root::{self, RootChoice};
use crate::run::cross;
use crate::run::framework::Framework;
use crate::run::python::{self, Prepared};
use crate::run::queue::{self, Budget, Wanted};
use crate::run::schedule::{self, Capacity, Partition, VmSize};
use crate::run::session::{self, SessionOptions, SessionParts};
use crate::run::suite::{self, Suite};
use crate::run::{history::History, run_folder::RunFolder};
use crate::supply::{self, Sources};
use crate::vm::guest;
use crate::vm::{self, AccelChoice, Limits, Vm, accel, preflight};

/// Changes a VM; is given the limits that hold otherwise.
pub type ChangeVm = dyn Fn(&mut Vm, Limits) + Send + Sync;

pub struct TestOptions {
    pub project: Chosen,
    /// Nobody named the project: it is tested because there is no other here.
    pub by_default: bool,
    /// The kernels; `None` is the newest on this machine, else of the release.
    pub requests: Vec<Option<KernelRequest>>,
    pub sources: Sources,
    pub setup: bool,
    pub local: bool,
    pub crash: bool,
    pub partition: Option<Partition>,
    /// VMs at a time; without, as many as the host has room for.
    pub jobs: Option<usize>,
    /// VMs that share one kernel's tests; without, those that would be idle.
    pub shards: Option<u32>,
    /// The rest of how the session is run; its `jobs` and `shards` do not count.
    pub session: SessionOptions,
    /// How many bytes the unpacked kernels may take.
    pub disk_budget: Option<u64>,
    /// The folder of the results; without, a new one among the logs.
    pub folder: Option<PathBuf>,
    pub arguments: Vec<OsString>,
    pub framework: &'static dyn Framework,
    /// What runs the tests, if the framework has no runner of ours.
    pub program: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
    pub cc: Option<NamedCompiler>,
    /// Memory of a guest, in MiB.
    pub memory: Option<u32>,
    pub cpus: Option<u32>,
    /// The guests' userspace, if somebody chose one.
    pub root: Option<RootChoice>,
    pub accel: AccelChoice,
    /// What the user says about VMs; gets the limits that hold otherwise.
    pub machine: Box<ChangeVm>,
}

pub struct TestRun<'r> {
    pub plan: SessionPlan,
    env: &'r Env,
    suite: Suite<'r>,
    folder: RunFolder,
    asked: results::Session,
    local: bool,
    wanted: Vec<Wanted>,
    order: Vec<usize>,
    session: SessionOptions,
}

impl<'r> TestRun<'r> {
    /// Prepares the project, chooses the kernels, and looks whether the tests can be found.
    pub fn plan(env: &'r Env, options: &'r TestOptions) -> Result<Self> {
        let project = &options.project.project;
        let framework = options.framework;
        require(env, options)?;
        let folder = match &options.folder {
            Some(path) => RunFolder::at(std::path::absolute(path)?)?,
            None => RunFolder::create(&env.paths.logs())?,
        };
        let partition = options.partition;
        // Only the first partition runs the host's own tests.
        let local = options.local && partition.is_none_or(Partition::is_first);
        let wanted = queue::choose(env, &own_requests(options), &options.sources);
        let log = folder.path.join("prepare.log");
        let guests = guests(env, options, &wanted, &log)?;
        let host = local.then(|| prepare(env, options, &log)).transpose()?;
        let asked = results::Session {
            project: project.name.clone(),
            started: time::rfc3339(time::now()),
            kernels: options.requests.iter().map(queue::request_text).collect(),
            partition: partition.map(Partition::numbers),
            filtered: framework.selects(&options.arguments),
            expectations: [&project.expectations[..], &project.allowances].concat(),
        };
        // Tests after a crash are discovered, which only a runner of ours does.
        let ours = framework.runner().is_some();
        let crashes = project.crash.is_some() && options.crash && ours && !wanted.is_empty();
        if crashes {
            tell_without_crash(env, &wanted);
        }
        let loader = || asset(env, guest::LOADER, &folder.path);
        let runner = framework.runner();
        let runner = runner.map(|name| asset(env, name, &folder.path));
        let library = framework.library();
        let library = library.map(|name| asset(env, name, &folder.path));
        let suite = Suite {
            project,
            options,
            host,
            guests,
            runner: runner.transpose()?,
            library: library.transpose()?,
            loader: crashes.then(loader).transpose()?,
            folder: folder.path.clone(),
            filtered: asked.filtered,
            ledger: Ledger::of(&asked)?,
            history: History::load(env, &project.name),
        };
        let names = wanted.iter().map(Wanted::name);
        let estimates = names
            .map(|name| Ok(estimate(&suite, &name?)))
            .collect::<Result<Vec<_>>>()?;
        let jobs = jobs(env, options, &wanted)?;
        let checked = suite.check(local);
        checked.map_err(|error| untestable(options, error))?;
        let runs = wanted.len() + usize::from(local);
        let shards = shards(options, &suite, (jobs, runs), &estimates);
        let host = local.then(|| estimate(&suite, &suite::local_name()));
        let seconds = host.into_iter().chain(estimates.iter().copied());
        Ok(Self {
            plan: SessionPlan {
                runs,
                seconds: seconds.map(|time| Some(time?.as_secs_f64())).collect(),
                jobs,
                several_arches: queue::several_arches(&wanted)?,
                folder: folder.path.clone(),
            },
            order: queue::order(&wanted, &estimates),
            session: SessionOptions {
                jobs,
                shards,
                ..options.session
            },
            env,
            suite,
            folder,
            asked,
            local,
            wanted,
        })
    }

    pub fn tree(&self) -> &Path {
        self.suite.tree()
    }

    /// Runs everything, and judges the list of expected failures.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<SessionEnd> {
        self.folder.begin(&self.asked)?;
        let options = self.suite.options;
        let parts = SessionParts {
            suite: &self.suite,
            local: self.local,
            wanted: &self.wanted,
            order: &self.order,
            sources: &options.sources,
            budget: &Budget::new(options.disk_budget),
            env: self.env,
            options: self.session,
        };
        let mut recorder = Recorder {
            folder: &mut self.folder,
            observer,
        };
        let records = session::run(parts, &mut recorder)?;
        let mut results = self.folder.results()?;
        for finding in self.suite.ledger.findings(&results) {
            if finding.is_bad() {
                results.findings.push(finding.to_string());
            } else {
                self.env.ui.warn(finding.to_string());
            }
        }
        results.finished = true;
        let started = records.iter().filter(|record| record.name.phase.is_none());
        Ok(SessionEnd {
            not_started: self.plan.runs - started.count(),
            records,
            results,
        })
    }

    /// Writes the last lines of the results: with them the folder is finished.
    pub fn close(&mut self, results: &Results) -> Result<()> {
        self.folder.end(&results.findings)
    }

    /// Remembers how long the tests took, for the next estimate.
    pub fn remember(&mut self, end: &SessionEnd) -> Result<()> {
        if self.asked.filtered {
            return Ok(());
        }
        for record in &end.records {
            let recorded = self.suite.history.record(record, &self.asked.started);
            if let Err(error) = recorded {
                interrupt::check()?;
                // The results are there; only the next estimate is worse.
                self.env.ui.warn(format!("{error:#}"));
            }
        }
        Ok(())
    }
}

struct Recorder<'r> {
    folder: &'r mut RunFolder,
    observer: &'r mut dyn Observer,
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &RunEvent) -> Result<()> {
        self.folder.take(event)?;
        self.observer.event(event)
    }
}

/// Looks for all that the host must have, so that nothing is found missing half-way.
fn require(env: &Env, options: &TestOptions) -> Result<()> {
    let project = &options.project.project;
    if options.local && project.local.is_none() {
        return Err(
            Failure::usage(format!("the project {} has no local tests", project.name))
                .hint("its vmtest.toml needs a table [local]")
                .into(),
        );
    }
    let (framework, ours) = (
        options.framework.name(),
        options.framework.runner().is_some(),
    );
    if options.local && !ours {
        let message = format!("the tests of the host need a runner of ours, not {framework}");
        return Err(Failure::usage(message).hint("--runner unittest").into());
    }
    if project.tests.emulated.is_some() && !options.framework.has_markers() {
        let message = format!("tests.emulated picks by markers, which {framework} has not");
        return Err(Failure::usage(message).hint("--runner pytest").into());
    }
    if options.shards.is_some_and(|shards| shards > 1) && !options.framework.splits() {
        let message = format!("VMs cannot share the tests of {framework}");
        return Err(Failure::usage(message).hint("without --shards").into());
    }
    let in_vms = !options.requests.is_empty();
    if in_vms {
        preflight::check(memory(options))?;
        if let Some(path) = &options.project.tree {
            preflight::directory(path)?;
        }
    }
    setup::require(env, &tools(env, options, in_vms)?, options.setup)
}

/// The kernels that this machine tests.
fn own_requests(options: &TestOptions) -> Vec<Option<KernelRequest>> {
    match options.partition {
        None => options.requests.clone(),
        Some(partition) => partition.select(&options.requests, |request| {
            request.as_ref().and_then(|request| request.arch)
        }),
    }
}

fn memory(options: &TestOptions) -> u32 {
    let memory = options.memory.or(options.project.project.memory);
    memory.unwrap_or(vm::MEMORY)
}

fn needs_python(options: &TestOptions) -> bool {
    options.framework.runner().is_some() || !options.project.project.needs.python.is_empty()
}

fn tools(env: &Env, options: &TestOptions, in_vm: bool) -> Result<Vec<Tool>> {
    let Chosen { project, tree } = &options.project;
    let mut tools = Vec::new();
    let mut on_host = options.local;
    if in_vm {
        for request in &options.requests {
            let arch = supply::arch_of(env, request.as_ref())?;
            accel::require_possible(options.accel, arch)?;
            tools.extend(setup::for_vm(arch));
            match root_choice(options, arch) {
                RootChoice::Host => on_host = true,
                _ => tools.extend(cross::tools(project, arch)),
            }
            if project.module.is_some() {
                tools.extend(setup::for_external_module(arch));
            }
        }
    }
    if !project.needs.python.is_empty() || tree.is_none() {
        tools.extend(setup::for_python());
    } else if project.python == "python3" && needs_python(options) {
        tools.push(Tool::program("python3"));
    }
    if on_host {
        tools.extend(project.needs.programs.iter().map(Tool::program));
    }
    if on_host && tree.is_some() {
        tools.extend(setup::for_prepare(project));
    }
    tools.sort();
    tools.dedup();
    Ok(tools)
}

/// Makes the project ready for the kernels' architectures. An error is that of the runs, if
/// others may run.
fn guests(
    env: &Env,
    options: &TestOptions,
    wanted: &[Wanted],
    log: &Path,
) -> Result<BTreeMap<&'static str, Result<Prepared>>> {
    let mut guests = BTreeMap::new();
    for wanted in wanted {
        let arch = wanted.arch()?;
        if guests.contains_key(arch.name) {
            continue;
        }
        let prepared = guest(env, options, arch, log);
        if prepared.as_ref().is_err_and(error::is_final) {
            prepared?;
        } else {
            guests.insert(arch.name, prepared);
        }
    }
    let alone = !options.local && guests.values().all(Result::is_err);
    if alone && let Some((_, Err(error))) = guests.pop_first() {
        return Err(error);
    }
    Ok(guests)
}

/// Says of which kernels no dump can be tested.
fn tell_without_crash(env: &Env, wanted: &[Wanted]) {
    let names = wanted
        .iter()
        .filter_map(|wanted| wanted.choice.as_ref().ok());
    let names = names.filter_map(|offer| offer.name.as_ref());
    for arch in ARCHITECTURES {
        let without = names.clone().filter(|name| {
            let series = name.release.version.series;
            name.arch == arch && !arch.can_crash(series)
        });
        let without = without.map(|name| name.release.to_string());
        let without = without.collect::<Vec<_>>().join(", ");
        if without.is_empty() {
            continue;
        }
        let name = arch.name;
        let why = match arch.crash_from {
            Some(oldest) => format!("kernels of {name} leave a dump from {oldest} on"),
            None => format!("kernels of {name} leave no dump"),
        };
        let what = "no tests after a crash";
        env.ui
            .info(format!("{without} ({name}): {what}, because {why}"));
    }
}

fn root_choice(options: &TestOptions, arch: &Arch) -> RootChoice {
    let chosen = options.root.clone();
    chosen.unwrap_or_else(|| RootChoice::default_for(arch))
}

fn guest(env: &Env, options: &TestOptions, arch: &'static Arch, log: &Path) -> Result<Prepared> {
    let packages = cross::packages(&options.project.project);
    let userspace = root::obtain(env, &root_choice(options, arch), arch, &packages)?;
    if userspace.path == Path::new("/") {
        return prepare(env, options, log);
    }
    let needs_python = needs_python(options);
    cross::prepare(env, &options.project, &userspace, log, needs_python)
}

fn prepare(env: &Env, options: &TestOptions, log: &Path) -> Result<Prepared> {
    let Chosen { project, tree } = &options.project;
    match tree {
        Some(path) => python::prepare_tree(env, project, path, log, needs_python(options)),
        None => {
            let release = (project.release.as_ref())
                .with_context(|| format!("the profile {} has no release", project.name))?;
            python::prepare_release(env, project, release, log)
        }
    }
}

/// Writes an asset into the session's folder, which the guest sees.
fn asset(env: &Env, name: &str, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(Path::new(name).file_name().unwrap_or_default());
    disk::write(&path, env.paths.assets.read(name)?.as_bytes())?;
    Ok(path)
}

fn estimate(suite: &Suite<'_>, name: &RunName) -> Option<Duration> {
    if suite.filtered {
        return None;
    }
    let main = suite.history.estimate(name)?;
    Some(main + suite.crash_estimate(name).unwrap_or_default())
}

fn shards(
    options: &TestOptions,
    suite: &Suite<'_>,
    (jobs, runs): (usize, usize),
    estimates: &[Option<Duration>],
) -> u32 {
    options.shards.unwrap_or_else(|| {
        // How long some of the tests take is not known, nor whether there are several.
        match suite.filtered || !options.framework.splits() {
            true => 1,
            false => schedule::default_shards(jobs, runs, estimates, suite.project.tests.long),
        }
    })
}

fn jobs(env: &Env, options: &TestOptions, wanted: &[Wanted]) -> Result<usize> {
    let (memory, cpus) = (memory(options), options.cpus);
    let usual = || default_jobs(memory, cpus, options.accel, wanted, &env.paths);
    options.jobs.map_or_else(usual, Ok)
}

/// VMs at a time of this much memory (MiB) and these processors, if nobody says how many. If some
/// kernels are emulated, VMs are counted as if all were.
pub fn default_jobs(
    memory: u32,
    cpus: Option<u32>,
    accel: AccelChoice,
    wanted: &[Wanted],
    paths: &Paths,
) -> Result<usize> {
    let processors = programs::processors();
    let meminfo = input::text(Path::new("/proc/meminfo"), input::SMALL).unwrap_or_default();
    let Some(capacity) = Capacity::parse(&meminfo, processors) else {
        return Ok(1);
    };
    let arches = wanted.iter().map(Wanted::arch);
    let arches = arches.collect::<Result<Vec<_>>>()?;
    let size = VmSize {
        memory,
        cpus: cpus.unwrap_or(processors.min(2)),
        emulated: arches.iter().any(|arch| vm::emulates(arch, accel, paths)),
    };
    Ok(schedule::default_jobs(capacity, size))
}

/// Says of which project the tests cannot be found, and why it is that one.
fn untestable(options: &TestOptions, error: anyhow::Error) -> anyhow::Error {
    if error::kind(&error) != Some(FailureKind::Usage) {
        return error;
    }
    let Project { name, .. } = &options.project.project;
    let failure = Failure::usage(format!("cannot test {name}: {error:#}"));
    if !options.by_default {
        return failure.into();
    }
    let hint = format!(
        "{name} is tested because there is no vmtest.toml here; -C names a project, and `vm` runs \
         any program"
    );
    failure.hint(hint).into()
}
