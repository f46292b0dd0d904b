//! `cargo xtask`: parse, dispatch, print the error, set the exit status. Each command is a file.

mod bisect;
mod build_kernel;
mod ci;
mod doctor;
mod grammar;
mod kconfig;
mod kernels;
mod list;
mod machine;
mod matrix;
mod package;
mod prune;
mod publish;
mod release;
mod report;
pub mod supervise;
mod test;
mod vm;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::base::error::{self, FailureKind};
use crate::base::paths::{Files, Paths};
use crate::base::ui::{Ui, Verbosity};
use crate::base::{embedded, env::Env, interrupt, secrets, stdout, temporary, terminal};
use crate::cli::grammar::{Command, Global, Xtask, usage_failure};
use crate::model::arch::ARCHITECTURES;
use crate::vm::preflight;
use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;

/// As much as the main thread has elsewhere.
const STACK: usize = 8 << 20;

/// The status of a Rust program whose main thread has panicked.
const PANICKED: u8 = 101;

pub fn main() -> ExitCode {
    // Where the stack is limited to less (`ulimit -s`), the command line alone needs more. With
    // such a limit there may be no way to raise it for the main thread.
    let thread = std::thread::Builder::new().name("main".to_owned());
    match thread.stack_size(STACK).spawn(process) {
        Ok(thread) => ExitCode::from(thread.join().unwrap_or(PANICKED)),
        Err(_) => ExitCode::from(process()),
    }
}

/// The whole program; its exit status.
fn process() -> u8 {
    let flags = match Xtask::try_parse_from(grammar::arguments(std::env::args_os())) {
        Ok(flags) => flags,
        Err(error) => return no_command(&error),
    };
    // The supervisor must not touch signals or the terminal before its child runs, which may
    // have been given secrets.
    match flags.command {
        Command::Supervise(supervise) => return supervise::run(&supervise),
        Command::Enclose(enclose) => return supervise::enclose(enclose),
        _ => {}
    }
    let ui = Ui::new(flags.global.verbosity()).color(flags.global.color);
    // Before anything else is started.
    if let Err(error) = secrets::hide() {
        ui.warn(format!(
            "guests may see the environment's secrets: {error:#}"
        ));
    }
    let result = interrupt::install().and_then(|()| run(flags, &ui));
    result.unwrap_or_else(|error| fail(&ui, &error))
}

/// Prints help or the version, or what is wrong with the command line.
fn no_command(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    let printed = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => stdout::print(&text).map(|()| 0),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Nobody is left to tell when the stream is closed.
            let _ = std::io::stderr().write_all(text.as_bytes());
            Ok(2)
        }
        _ => Err(usage_failure(error).into()),
    };
    printed.unwrap_or_else(|error| fail(&Ui::new(Verbosity::Quiet), &error))
}

fn fail(ui: &Ui, error: &anyhow::Error) -> u8 {
    if !stdout::is_closed(error) {
        ui.error(error);
    }
    error::exit_status(error)
}

fn run(flags: Xtask, ui: &Ui) -> Result<u8> {
    let (paths, ui) = (paths(&flags.global)?, ui.clone());
    let env = &Env { paths, ui };
    let setup = flags.global.setup;
    temporary::sweep_all(&env.paths, ARCHITECTURES.iter().map(|arch| arch.name));
    match flags.command {
        Command::Test(flags) => test::run(env, &flags, setup),
        Command::Vm(flags) => vm::run(env, &flags, setup),
        Command::Kconfig(flags) => kconfig::run(env, &flags),
        Command::BuildKernel(flags) => build_kernel::run(env, &flags, setup),
        Command::RestoreTerminal => terminal::restore().map(|()| 0),
        Command::Doctor(flags) => doctor::run(env, &flags, setup),
        Command::Bisect(flags) => bisect::run(env, &flags, setup),
        Command::Ci(flags) => ci::run(env, &flags, workspace(), setup),
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

/// The places of this run: the only code that knows the repository. Away from the workspace that
/// the binary was built from, the embedded copies serve.
fn paths(global: &Global) -> Result<Paths> {
    let workspace = workspace();
    let current = preflight::here()?;
    let variable = std::env::var_os("VMTEST_DIR").filter(|directory| !directory.is_empty());
    let given = global.directory.clone().or(variable.map(PathBuf::from));
    let usual = || workspace.unwrap_or(Path::new("")).join("build/vmtest");
    let work = given.unwrap_or_else(usual);
    let files = |name, embedded| match workspace {
        Some(workspace) => Files::Directory(workspace.join(name)),
        None => Files::Embedded(embedded),
    };
    Ok(Paths::new(
        current.join(work),
        files("kernel-configs", embedded::CONFIGS),
        files("vmtest-assets", embedded::ASSETS),
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
