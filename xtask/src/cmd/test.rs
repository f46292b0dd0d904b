//! `cargo xtask test`: a project's tests, on kernels and on this host.

use std::ffi::OsString;
use std::io::Stdout;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::environment::guest_environment;
use xtask::event::{Stage, exit_status};
use xtask::failure::{self, Failure, FailureKind};
use xtask::fetch::host_arch;
use xtask::guest;
use xtask::interrupt;
use xtask::kernel::LocalKernel;
use xtask::kernels::Kernels;
use xtask::layout::Layout;
use xtask::module::{self, ModuleOptions};
use xtask::project::{self, Choice, Chosen, Discovery, Project};
use xtask::python::{self, Prepared};
use xtask::queue;
use xtask::report::{Event, Reporter};
use xtask::request::KernelRequest;
use xtask::results::{RunName, RunRecord};
use xtask::setup::{self, Tool};
use xtask::suite::{self, RunFolder, RunnerCommand, SuiteSink};
use xtask::ui::Ui;
use xtask::vm::{self, AccelChoice, Disk, Limits, Stdin, VmRequest};

use super::vm::extra_environment;
use crate::flags::test::Test;

/// The guest's runner among the assets.
const RUNNER: &str = "guest/run_unittests.py";

/// Nothing printed for this long while tests run means that they hang.
const IDLE: Duration = Duration::from_secs(600);

/// No suite may take longer.
const TOTAL: Duration = Duration::from_secs(3600);

/// Runs the tests; the exit status.
pub fn run(flags: &Test, layout: &Layout, ui: &Ui, setup: bool) -> Result<u8> {
    let wanted = wanted(flags, layout)?;
    let sources = super::release::sources(&flags.sources, layout, ui, setup)?;
    let extra = extra_environment(&flags.environment)?;
    let chosen = choose(flags, layout)?;
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
    setup::require(layout, ui, &tools(&chosen, !wanted.is_empty())?, setup)?;

    let mut folder = RunFolder::create(&layout.logs())?;
    let prepared = prepare(&chosen, layout, ui, &folder.path.join("prepare.log"))?;
    let runner = folder.path.join("run_unittests.py");
    std::fs::write(&runner, layout.assets.read(RUNNER)?.as_bytes())
        .with_context(|| format!("cannot write {}", runner.display()))?;

    let mut run = Run {
        flags,
        layout,
        ui,
        project,
        prepared,
        runner,
        extra,
        folder: &mut folder,
        reporter: Reporter::new(std::io::stdout(), ui.verbosity(), Some(ui.clone())),
        records: Vec::new(),
    };
    let of = wanted.len() + usize::from(flags.local);
    if flags.local {
        run.local(of)?;
    }
    let options = queue::Options {
        ahead: usize::try_from(flags.prefetch)?,
        budget: flags.disk_budget,
    };
    queue::with(&wanted, &sources, options, layout, ui, |queue| {
        for request in &wanted {
            let Some(supplied) = queue.next() else { break };
            let supplied = match supplied {
                Ok(supplied) => supplied,
                Err((stage, error)) => {
                    run.not_started(request.as_ref(), stage, error, of)?;
                    continue;
                }
            };
            run.kernel(request.as_ref(), &supplied.kernel, of)?;
            if let Err(error) = queue.tested(supplied) {
                interrupt::check()?;
                // The results of the other kernels are worth more than the space.
                ui.warn(format!("{error:#}"));
            }
        }
        Ok(())
    })?;
    let Run {
        mut reporter,
        records,
        ..
    } = run;
    reporter
        .handle(Event::Finished(&records))
        .context("cannot write the results")?;
    ui.info(format!("log: {}", folder.path.display()));
    Ok(exit_status(records.iter().map(|record| &record.outcome)))
}

/// The kernels to test on; `None` is the newest on this machine, else of the release.
fn wanted(flags: &Test, layout: &Layout) -> Result<Vec<Option<KernelRequest>>> {
    let mut requests = Vec::new();
    for text in &flags.kernels {
        requests.extend(KernelRequest::parse_list(text)?);
    }
    if flags.all_kernels {
        let kernels = Kernels::load(&layout.configs)?;
        let arch = host_arch()?;
        let flavors = if flags.all_flavors {
            kernels.flavors.iter().map(|f| f.name.clone()).collect()
        } else if flags.flavors.is_empty() {
            vec![xtask::request::DEFAULT_FLAVOR.to_owned()]
        } else {
            for flavor in &flags.flavors {
                kernels.flavor(flavor)?;
            }
            flags.flavors.clone()
        };
        for series in kernels.series_of(arch) {
            for flavor in &flavors {
                requests.push(format!("{series}.*{flavor}").parse()?);
            }
        }
    }
    if requests.is_empty() && !flags.local {
        return Ok(vec![None]);
    }
    Ok(requests.into_iter().map(Some).collect())
}

fn choose(flags: &Test, layout: &Layout) -> Result<Chosen> {
    let choice = Choice {
        directory: flags.project.clone(),
        variable: std::env::var_os("VMTEST_PROJECT").map(PathBuf::from),
        current: std::env::current_dir().context("cannot find the current directory")?,
        profile: flags.profile.clone(),
    };
    project::choose(&choice, &layout.assets)
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
        tools.extend(project.prepare_programs.iter().map(Tool::program));
        let header = |name: &String| match name.as_str() {
            "Python.h" => Tool::PythonHeaders,
            name => Tool::header(name),
        };
        tools.extend(project.prepare_headers.iter().map(header));
    }
    tools.sort();
    tools.dedup();
    Ok(tools)
}

fn prepare(chosen: &Chosen, layout: &Layout, ui: &Ui, log: &Path) -> Result<Prepared> {
    match chosen {
        Chosen::Tree { project, path } => python::prepare_tree(project, path, layout, ui, log),
        Chosen::Pinned { project } => {
            let release = project
                .release
                .as_ref()
                .with_context(|| format!("the profile {} has no release", project.name))?;
            python::prepare_release(project, release, layout, ui, log)
        }
    }
}

struct Run<'r> {
    flags: &'r Test,
    layout: &'r Layout,
    ui: &'r Ui,
    project: &'r Project,
    prepared: Prepared,
    runner: PathBuf,
    extra: Vec<(OsString, OsString)>,
    folder: &'r mut RunFolder,
    reporter: Reporter<Stdout>,
    records: Vec<RunRecord>,
}

impl Run<'_> {
    fn command(&self, discovery: &Discovery, exclude: &[String]) -> RunnerCommand {
        RunnerCommand {
            python: self.prepared.python.clone(),
            runner: self.runner.clone(),
            discovery: discovery.clone(),
            exclude: exclude.to_vec(),
            arguments: self.flags.arguments.clone(),
        }
    }

    fn start(&mut self, name: &RunName, of: usize) -> Result<()> {
        let number = self.records.len() + 1;
        self.reporter
            .handle(Event::RunStarted { name, number, of })
            .context("cannot write the results")
    }

    /// The tests of this host.
    fn local(&mut self, of: usize) -> Result<()> {
        let Some(local) = &self.project.local else {
            return Ok(());
        };
        let name = RunName {
            kernel: "local".to_owned(),
            arch: String::new(),
            flavor: None,
        };
        self.start(&name, of)?;
        let command = self.command(&local.tests, &local.exclude);
        let mut environment = pairs(&local.environment);
        environment.push(("PYTHON".into(), self.prepared.python.clone().into()));
        environment.extend(self.extra.iter().cloned());
        let sink = SuiteSink::new(&name, self.folder, &mut self.reporter)?;
        let record = suite::run_local(&command, &self.prepared.tree, &environment, sink)?;
        self.records.push(record);
        Ok(())
    }

    /// The tests on one kernel. That they cannot be prepared is a result like others.
    fn kernel(
        &mut self,
        asked: Option<&KernelRequest>,
        kernel: &LocalKernel,
        of: usize,
    ) -> Result<()> {
        let name = RunName {
            kernel: kernel.release.to_string(),
            arch: kernel.arch.name.to_owned(),
            flavor: kernel.release.flavor(),
        };
        let module = match self.module(kernel) {
            Ok(module) => module,
            Err(error) => {
                let error = error.context("cannot build the test module");
                return self.not_started(asked, Stage::Setup, error, of);
            }
        };
        let request = self.request(kernel.clone(), &name, module)?;
        self.start(&name, of)?;
        let mut sink = SuiteSink::new(&name, self.folder, &mut self.reporter)?;
        let run = vm::run(&request, self.layout, self.ui, &mut sink)?;
        let record = sink.finish_vm(&run)?;
        self.records.push(record);
        Ok(())
    }

    fn not_started(
        &mut self,
        asked: Option<&KernelRequest>,
        stage: Stage,
        error: anyhow::Error,
        of: usize,
    ) -> Result<()> {
        // What the user got wrong, and a signal, end the command.
        if let Some(FailureKind::Interrupted(_) | FailureKind::Usage) = failure::kind(&error) {
            return Err(error);
        }
        let arch = match asked.and_then(|request| request.arch) {
            Some(arch) => arch,
            None => host_arch()?,
        };
        let name = RunName {
            kernel: asked.map_or_else(|| "newest".to_owned(), ToString::to_string),
            arch: arch.name.to_owned(),
            flavor: None,
        };
        self.start(&name, of)?;
        let record = suite::not_started(&name, stage, &error, self.folder, &mut self.reporter)?;
        self.records.push(record);
        Ok(())
    }

    /// The project's kernel module, built for a kernel.
    fn module(&self, kernel: &LocalKernel) -> Result<Option<PathBuf>> {
        let Some(module) = &self.project.module else {
            return Ok(None);
        };
        let options = ModuleOptions {
            cc: self.flags.cc.clone(),
            log: self.folder.path.join("module.log"),
        };
        let source = self.prepared.tree.join(&module.source);
        module::build_external(kernel, &source, self.layout, self.ui, &options).map(Some)
    }

    fn request(
        &self,
        kernel: LocalKernel,
        name: &RunName,
        module: Option<PathBuf>,
    ) -> Result<VmRequest> {
        let command = self.command(&self.project.tests, &[]);
        let mut environment = vec![
            // Tests that start Python find the one that runs them.
            ("PYTHON".into(), self.prepared.python.clone().into()),
            // What is written is gone with the guest, and writing it takes time.
            ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
        ];
        environment.extend(pairs(&self.project.environment));
        let mut modules = Vec::new();
        let mut keep = vec![self.prepared.tree.clone(), self.runner.clone()];
        // The environment that the interpreter is in: `<it>/bin/python3`.
        keep.extend(self.prepared.python.ancestors().nth(2).map(Path::to_owned));
        if let (Some(file), Some(module)) = (module, &self.project.module) {
            if let Some(variable) = &module.variable {
                environment.push((variable.into(), file.clone().into()));
            }
            if module.load {
                modules.push(file);
            } else {
                keep.push(file);
            }
        }
        environment.extend(self.extra.iter().cloned());
        let mut request = VmRequest {
            kernel,
            root: "/".into(),
            command: command.words(),
            directory: self.prepared.tree.clone(),
            environment: guest_environment(std::env::vars_os(), &environment),
            modules,
            keep,
            disk: self.project.disk.as_ref().map(|disk| Disk {
                size: disk.size,
                variable: disk.variable.clone(),
            }),
            stdin: Stdin::Null,
            terminal: None,
            console_log: self.folder.log(name, "console"),
            dump: None,
            init_text: self.layout.assets.read(guest::INIT)?.into_owned(),
            memory: self.project.memory.unwrap_or(vm::MEMORY),
            cpus: None,
            kernel_arguments: Vec::new(),
            qemu_arguments: Vec::new(),
            cache: true,
            accel: AccelChoice::Auto,
            limits: Limits::default(),
        };
        let defaults = Limits {
            boot: None,
            idle: Some(IDLE),
            total: Some(TOTAL),
        };
        self.flags.machine.apply(&mut request, defaults);
        Ok(request)
    }
}

fn pairs(environment: &[(String, String)]) -> Vec<(OsString, OsString)> {
    environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}
