//! One file per command: each chains library calls and holds no logic of its own.

mod bench;
mod bisect;
mod build_kernel;
mod ci;
mod completions;
mod doctor;
pub mod flags;
mod kconfig;
mod kernel;
mod kernels;
mod list;
mod matrix;
mod package;
mod prune;
mod publish;
mod release;
mod report;
pub mod supervise;
mod test;
mod vm;

use std::path::{Path, PathBuf};

use crate::base::paths::{Files, Layout};
use crate::base::ui::Ui;
use crate::kernel::store;
use crate::vm::preflight;
use anyhow::Result;

use crate::cli::flags::{Command, Global, Xtask};

/// Runs the command; the exit status of the process.
pub fn run(flags: Xtask, ui: &Ui) -> Result<u8> {
    let layout = layout(&flags.global)?;
    let setup = flags.global.setup;
    store::sweep_all(&layout);
    match flags.command {
        Command::Test(flags) => test::run(&flags, &layout, ui, setup),
        Command::Vm(flags) => vm::run(&flags, &layout, ui, setup),
        Command::Kconfig(flags) => kconfig::run(&flags, &layout, ui),
        Command::BuildKernel(flags) => build_kernel::run(&flags, &layout, ui, setup),
        Command::RestoreTerminal => crate::base::terminal::restore().map(|()| 0),
        Command::Doctor(_) => doctor::run(&layout, ui, setup),
        Command::Bisect(flags) => bisect::run(&flags, &layout, ui, setup),
        Command::Bench(flags) => bench::run(&flags, &layout, ui),
        Command::Ci(ci) => ci::run(&ci, workspace(), &layout, ui, setup),
        Command::Completions(completions) => completions::run(&completions),
        Command::List(list) => list::run(&list, &layout, ui),
        Command::Matrix(flags) => matrix::run(&flags, &layout),
        Command::Package(package) => package::run(&package, &layout, ui),
        Command::Release(release) => publish::run(&release, &layout, ui, setup),
        Command::Report(report) => report::run(&report, &layout, ui),
        Command::Prune(prune) => prune::run(&prune, &layout, ui),
        Command::Download(download) => release::download(&download, &layout, ui),
        Command::Upload(upload) => release::upload(&upload, &layout, ui),
        Command::Supervise(supervise) => Ok(supervise::run(&supervise)),
        Command::Enclose(enclose) => Ok(supervise::enclose(enclose)),
    }
}

/// The places of this run: the only code that knows the repository. When the
/// binary runs away from the workspace that it was built from, the embedded
/// copies serve.
fn layout(global: &Global) -> Result<Layout> {
    let workspace = workspace();
    let current = preflight::here()?;
    let work = match (&global.directory, std::env::var_os("VMTEST_DIR"), workspace) {
        (Some(directory), _, _) => directory.clone(),
        (None, Some(directory), _) if !directory.is_empty() => PathBuf::from(directory),
        (None, _, Some(workspace)) => workspace.join("build/vmtest"),
        (None, _, None) => PathBuf::from("build/vmtest"),
    };
    let files = |name, embedded| match workspace {
        Some(workspace) => Files::Directory(workspace.join(name)),
        None => Files::Embedded(embedded),
    };
    Ok(Layout::new(
        current.join(work),
        files("kernel-configs", crate::base::embedded::CONFIGS),
        files("vmtest-assets", crate::base::embedded::ASSETS),
    ))
}

/// The workspace that this binary was built from, if it is still there.
fn workspace() -> Option<&'static Path> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace.filter(|path| path.join("xtask/Cargo.toml").is_file())
}
