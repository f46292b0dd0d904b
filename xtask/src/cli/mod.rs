//! One file per command: each chains library calls and holds no logic of its own.

mod bisect;
mod build_kernel;
mod ci;
mod doctor;
mod grammar;
mod kconfig;
mod kernels;
mod list;
mod machine;
pub mod main;
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

use crate::base::paths::{Files, Paths};
use crate::base::{env::Env, error::FailureKind, temporary, ui::Ui};
use crate::model::arch::ARCHITECTURES;
use crate::vm::preflight;
use anyhow::Result;

use crate::cli::grammar::{Command, Global, Xtask};

/// Runs the command; the exit status of the process.
pub fn run(flags: Xtask, ui: &Ui) -> Result<u8> {
    let paths = paths(&flags.global)?;
    let env = &Env {
        paths,
        ui: ui.clone(),
    };
    let setup = flags.global.setup;
    temporary::sweep_all(&env.paths, ARCHITECTURES.iter().map(|arch| arch.name));
    match flags.command {
        Command::Test(flags) => test::run(env, &flags, setup),
        Command::Vm(flags) => vm::run(env, &flags, setup),
        Command::Kconfig(flags) => kconfig::run(env, &flags),
        Command::BuildKernel(flags) => build_kernel::run(env, &flags, setup),
        Command::RestoreTerminal => crate::base::terminal::restore().map(|()| 0),
        Command::Doctor(_) => doctor::run(env, setup),
        Command::Bisect(flags) => bisect::run(env, &flags, setup),
        Command::Ci(ci) => ci::run(env, &ci, workspace(), setup),
        Command::List(list) => list::run(env, &list),
        Command::Matrix(flags) => matrix::run(&flags, &env.paths),
        Command::Package(package) => package::run(env, &package),
        Command::Release(release) => publish::run(env, &release, setup),
        Command::Report(report) => report::run(env, &report),
        Command::Prune(prune) => prune::run(env, &prune),
        Command::Download(download) => release::download(env, &download),
        Command::Upload(upload) => release::upload(env, &upload),
        Command::Supervise(supervise) => Ok(supervise::run(&supervise)),
        Command::Enclose(enclose) => Ok(supervise::enclose(enclose)),
    }
}

/// The places of this run: the only code that knows the repository. When the
/// binary runs away from the workspace that it was built from, the embedded
/// copies serve.
fn paths(global: &Global) -> Result<Paths> {
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
    Ok(Paths::new(
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

/// The exit status of a command that looks for faults.
fn findings(any: bool) -> u8 {
    match any {
        true => FailureKind::Findings.exit_status(),
        false => 0,
    }
}
