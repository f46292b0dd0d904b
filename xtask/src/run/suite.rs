//! Runs a suite: what a VM (or a process of this host) sends goes to the logs of the
//! session and, as events, to its collector; how it ended becomes one outcome.

mod local;
mod merge;
mod sink;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use self::merge::merge;
use self::sink::Judge;
pub use self::sink::{Outlet, SuiteSink};
use crate::base::error::{self, Failure, FailureKind};
use crate::base::{disk, env::Env, environment::guest_environment};
use crate::kernel::config::OwnFragment;
use crate::kernel::distro::headers;
use crate::kernel::module::{self, ModuleOptions};
use crate::model::project::{Discovery, Project};
use crate::model::results::{RunName, RunRecord};
use crate::model::test_event::{RunOutcome, Stage, Tally};
use crate::model::{expectation::Ledger, kernel::LocalKernel};
use crate::root::{self, compiler};
use crate::run::framework::TestCommand;
use crate::run::{history::History, python::Prepared, run_folder, schedule, test_run::TestOptions};
use crate::vm::device::Device;
use crate::vm::scratch_disk::{Disk, Purpose};
use crate::vm::{self, CrashRequest, Limits, Vm, VmOutcome, VmPhase};

/// Nothing printed for this long while tests run means that they hang.
const IDLE: Duration = Duration::from_secs(600);

/// No suite may take longer.
const TOTAL: Duration = Duration::from_secs(3600);

pub struct Suite<'s> {
    pub project: &'s Project,
    pub options: &'s TestOptions,
    /// The project on this host, if anything of it runs here.
    pub host: Option<Prepared>,
    /// The project for guests, by architecture; an error makes a setup failure of their runs.
    pub guests: BTreeMap<&'static str, Result<Prepared>>,
    pub runner: Option<PathBuf>,
    pub library: Option<PathBuf>,
    /// What loads a capture kernel in the guest, [`crate::vm::guest::LOADER`] of the assets,
    /// a file; `None`: the tests after a crash are left out, or there are none.
    pub loader: Option<PathBuf>,
    pub folder: PathBuf,
    pub filtered: bool,
    pub ledger: Ledger,
    pub history: History,
}

#[derive(Clone, Copy)]
pub struct Guest<'g> {
    pub name: &'g RunName,
    pub kernel: &'g LocalKernel,
    pub module: Option<&'g Path>,
    pub durations: Option<&'g Path>,
    /// Which part of the tests: the first number of the second, from 1.
    pub split: Option<(u32, u32)>,
    pub attempt: u32,
    pub phases: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Main,
    Both,
    Crash,
}

impl Suite<'_> {
    /// Whether there are tests after a crash to run on a kernel, with or without the
    /// project's module.
    pub fn crashes(&self, kernel: &LocalKernel, module: bool) -> bool {
        let crash = self.project.crash.as_ref();
        crash.is_some_and(|crash| module || !crash.module)
            && self.loader.is_some()
            && kernel.arch.can_crash(kernel.release.version.series)
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            ledger: &self.ledger,
            filtered: self.filtered,
            fail_on_stalls: self.project.tests.fail_on_stalls,
        }
    }

    /// The project as it is for guests of an architecture.
    pub fn prepared(&self, arch: &str) -> Result<&Prepared> {
        match self.guests.get(arch) {
            Some(prepared) => prepared.as_ref().map_err(error::copy),
            None => bail!("the project is not prepared for {arch}"),
        }
    }

    /// The project's tree; empty if nothing of it could be prepared.
    pub fn tree(&self) -> &Path {
        let guests = self.guests.values().flatten();
        let tree = self.host.iter().chain(guests).next();
        tree.map_or(Path::new(""), |prepared| &prepared.tree)
    }

    fn command(
        &self,
        python: &Option<PathBuf>,
        discovery: &Discovery,
        exclude: &[String],
    ) -> TestCommand {
        TestCommand {
            python: python.clone().unwrap_or_default(),
            runner: self.runner.clone().unwrap_or_default(),
            program: self.options.program.clone(),
            discovery: discovery.clone(),
            exclude: exclude.to_vec(),
            emulated: self.project.tests.emulated.clone(),
            split: None,
            durations: None,
            within: false,
            arguments: self.options.arguments.clone(),
        }
    }

    fn crash_command(&self, python: &Option<PathBuf>, discovery: &Discovery) -> TestCommand {
        TestCommand {
            within: true,
            ..self.command(python, discovery, &[])
        }
    }

    /// Looks whether what is to be run can be found, as far as it can be said before: the
    /// tests in VMs and those of the host.
    pub fn check(&self, local: bool) -> Result<()> {
        let check = |prepared: &Prepared, command| {
            let framework = self.options.framework;
            framework.check(&command, &prepared.tree, &self.folder)
        };
        // What cannot be found for one architecture is found for none.
        if let Some(guest) = self.guests.values().flatten().next() {
            let python = &guest.host_python;
            check_module(self.project, &guest.tree)?;
            check(
                guest,
                self.command(python, &self.project.tests.discovery(), &[]),
            )?;
            if let (true, Some(crash)) = (self.loader.is_some(), &self.project.crash) {
                check(guest, self.crash_command(python, &crash.tests()))
                    .context("tests after a crash")?;
            }
        }
        if let (true, Some(local), Some(host)) = (local, &self.project.local, &self.host) {
            check(
                host,
                self.command(&host.python, &local.tests(), &local.exclude),
            )
            .context("tests of the host")?;
        }
        Ok(())
    }

    fn crash(&self, prepared: &Prepared) -> Option<CrashRequest> {
        let (crash, loader) = (self.project.crash.as_ref()?, self.loader.as_ref()?);
        let command = self.crash_command(&prepared.python, &crash.tests());
        // Whether the user's arguments leave any of them is known by looking.
        let selects = self.options.framework.selects(&command.arguments);
        Some(CrashRequest {
            command: self.options.framework.run(&command),
            select: self.options.framework.count(&command).filter(|_| selects),
            python: command.python,
            loader: loader.clone(),
            trigger: crash.trigger.clone(),
        })
    }

    /// Refuses a kernel that lacks options that the project asks for.
    pub fn require_options(&self, env: &Env, kernel: &LocalKernel) -> Result<()> {
        OwnFragment::require(&self.options.sources.own, env, kernel, &self.project.name)
    }

    pub fn module(&self, env: &Env, kernel: &LocalKernel) -> Result<Option<PathBuf>> {
        let Some(module) = &self.project.module else {
            return Ok(None);
        };
        let source = self.prepared(kernel.arch.name)?.tree.join(&module.source);
        let other = |line: &str| match &self.options.cc {
            Some(cc) => cc.program(env, kernel.arch).map(Some),
            None => compiler::like(env, kernel.arch, line),
        };
        let options = ModuleOptions {
            other: &other,
            log: self.folder.join("module.log"),
        };
        let build = |kernel: &LocalKernel| module::build_external(env, kernel, &source, &options);
        if kernel.build.is_some() {
            return build(kernel).map(Some);
        }
        // A distribution's kernel comes without what it was built in, and where that can be
        // had, its programs may not run here. Most tests do not need the module, and those
        // that do say so.
        let with_headers = || {
            build(&LocalKernel {
                build: Some(headers::obtain(env, kernel)?),
                ..kernel.clone()
            })
        };
        let error = match with_headers() {
            Ok(module) => return Ok(Some(module)),
            Err(error) => error,
        };
        if let Some(FailureKind::Interrupted(_)) = error::kind(&error) {
            return Err(error);
        }
        let crash = match self.crashes(kernel, true) && !self.crashes(kernel, false) {
            true => ", and those after a crash,",
            false => "",
        };
        env.ui.warn(format!(
            "{}: no test module, and tests that need it{crash} cannot run: {error:#}",
            kernel.release
        ));
        Ok(None)
    }

    /// How long the tests after a crash took, if there are to be some.
    pub fn crash_estimate(&self, name: &RunName) -> Option<Duration> {
        let crash = self.loader.as_ref();
        crash.and_then(|_| self.history.estimate(&name.crash()))
    }

    /// Writes down how long each class took on a kernel like this one, for VMs that
    /// share its tests: all of them must share them out alike.
    pub fn durations(&self, name: &RunName) -> Result<PathBuf> {
        let path = run_folder::log_file(&self.folder, name, "durations.json");
        let text =
            schedule::shards_file(&self.history.class_seconds(name), self.crash_estimate(name));
        disk::write(&path, text)?;
        Ok(path)
    }

    /// Runs one VM to its end. The second value is what came after the crash, if there was
    /// to be one and the main tests came to a verdict (and some are selected that run
    /// after it).
    pub fn run_vm(
        &self,
        env: &Env,
        guest: Guest<'_>,
        outlet: Outlet<'_>,
    ) -> Result<(RunRecord, Option<RunRecord>)> {
        let mut what = String::new();
        if let Some((shard, _)) = guest.split {
            what = format!("{shard}-");
        }
        if guest.attempt > 0 {
            what = format!("{what}retry{}-", guest.attempt);
        }
        let log = |name, kind| run_folder::log_file(&self.folder, name, &format!("{what}{kind}"));
        let after = guest.name.crash();
        let name = match guest.phases {
            Phase::Main | Phase::Both => guest.name,
            // A VM of its own, in which nothing runs before the crash.
            Phase::Crash => &after,
        };
        let request = self.request(guest, log(name, "console.log"))?;
        let crash = match guest.phases {
            Phase::Main => None,
            Phase::Both | Phase::Crash => Some((&after, log(&after, "output.log"))),
        };
        let sink = SuiteSink::new(name, outlet, self.judge(), log(name, "output.log"), crash)?;
        let mut sink = sink.read_with(self.options.framework.reader());
        let run = vm::run(env, &request, &mut sink)?;
        let (mut main, mut crash) = sink.finish_vm(&run)?;
        for record in [&mut main].into_iter().chain(&mut crash) {
            record.root = (!request.has_host_root()).then(|| root::describe(&request.root));
        }
        Ok((main, crash))
    }

    fn request(&self, guest: Guest<'_>, console_log: PathBuf) -> Result<Vm> {
        let prepared = self.prepared(guest.kernel.arch.name)?;
        let command = match guest.phases {
            Phase::Main | Phase::Both => self.options.framework.run(&TestCommand {
                split: guest.split,
                durations: guest.durations.map(Path::to_owned),
                ..self.command(&prepared.python, &self.project.tests.discovery(), &[])
            }),
            Phase::Crash => vec!["true".into()],
        };
        let crash = match guest.phases {
            Phase::Main => None,
            Phase::Both => self.crash(prepared),
            // Its tests were selected once.
            Phase::Crash => self.crash(prepared).map(|crash| CrashRequest {
                select: None,
                ..crash
            }),
        };
        let mut environment = python_variable(prepared);
        // What is written is gone with the guest, and writing it takes time. But in a root that was
        // only unpacked nothing is compiled, and each Python would compile its modules anew.
        if prepared.root == Path::new("/") {
            environment.push(("PYTHONDONTWRITEBYTECODE".into(), "1".into()));
        }
        environment.extend(pairs(&self.project.environment));
        let mut modules = Vec::new();
        let mut keep = Vec::from_iter(prepared.keep().map(Path::to_owned));
        keep.extend(self.runner.iter().chain(&self.library).cloned());
        keep.extend(guest.durations.map(Path::to_owned));
        if let (Some(file), Some(module)) = (guest.module, &self.project.module) {
            if let Some(variable) = &module.variable {
                environment.push((variable.into(), file.into()));
            }
            if module.load {
                modules.push(file.to_owned());
            } else {
                keep.push(file.to_owned());
            }
        }
        environment.extend(self.options.environment.iter().cloned());
        if let Some(packages) = &prepared.packages {
            let name = "PYTHONPATH";
            let own = environment.iter().rfind(|(own, _)| own == name);
            let mut path = own.map_or_else(OsString::new, |(_, own)| own.clone());
            if !path.is_empty() {
                path.push(":");
            }
            path.push(packages);
            environment.push((name.into(), path));
        }
        let disks = self.project.disk.iter().map(|disk| {
            Device::Disk(Disk {
                size: disk.size,
                purpose: Purpose::Device(disk.variable.clone()),
            })
        });
        let mut request = Vm {
            command,
            root: prepared.root.clone(),
            directory: prepared.tree.clone(),
            environment: guest_environment(std::env::vars_os(), &environment, false),
            modules,
            crash,
            keep,
            devices: disks.collect(),
            memory: self.project.memory.unwrap_or(vm::MEMORY),
            ..Vm::new(guest.kernel.clone(), console_log)
        };
        let limits = Limits {
            boot: None,
            idle: Some(IDLE * guest.kernel.arch.limit_factor()),
            total: Some(TOTAL * guest.kernel.arch.limit_factor()),
        };
        (self.options.machine)(&mut request, limits);
        Ok(request)
    }
}

/// Tests that start Python find the one that runs them.
fn python_variable(prepared: &Prepared) -> Vec<(OsString, OsString)> {
    let python = prepared.python.iter();
    python
        .map(|python| ("PYTHON".into(), python.into()))
        .collect()
}

fn check_module(project: &Project, tree: &Path) -> Result<(), Failure> {
    let Some(module) = &project.module else {
        return Ok(());
    };
    let source = tree.join(&module.source);
    let makefiles = ["Makefile", "Kbuild", "GNUmakefile", "makefile"];
    let why = match source.is_dir() {
        false => "is no directory",
        true if makefiles.iter().any(|name| source.join(name).exists()) => return Ok(()),
        true => "has no Makefile",
    };
    Err(Failure::usage(format!(
        "the kernel module of the project {} cannot be built: {} {why}",
        project.name,
        source.display()
    ))
    .hint("[module] source in vmtest.toml names the directory of its Makefile"))
}

/// What the run of the host's own tests is called.
pub fn local_name() -> RunName {
    RunName {
        kernel: "local".to_owned(),
        arch: String::new(),
        flavor: None,
        phase: None,
    }
}

fn pairs(environment: &[(String, String)]) -> Vec<(OsString, OsString)> {
    environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

pub fn vm_outcome(tally: &Tally, outcome: &VmOutcome) -> RunOutcome {
    let running = tally.running.clone();
    match outcome {
        VmOutcome::Exited(status) => tally.outcome(*status),
        VmOutcome::InitFailed(words) => RunOutcome::Lost {
            how: format!("the guest could not start the tests: {words}"),
            running,
        },
        VmOutcome::Lost(how) => RunOutcome::Lost {
            how: how.clone(),
            running,
        },
        VmOutcome::Panicked(how) => RunOutcome::Panicked {
            how: how.clone(),
            running,
        },
        VmOutcome::Stuck(phase, how) => RunOutcome::Stuck {
            phase: match phase {
                VmPhase::Boot => "boot",
                VmPhase::Command => "command",
                VmPhase::Shutdown => "shutdown",
                VmPhase::Capture => "capture boot",
            }
            .to_owned(),
            how: how.clone(),
            running,
        },
        // Nothing was wrong with the VM: the tests need what it does not have.
        VmOutcome::NotCrashed(words) => RunOutcome::NotStarted {
            stage: Stage::Setup,
            how: format!("the kernel was not crashed: {words}"),
        },
    }
}

#[cfg(test)]
mod tests;
