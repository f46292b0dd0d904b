//! `xtask ci`: see [`crate::cli::ci::steps`].

pub mod steps;

use std::io::Write;
use std::path::Path;

use crate::base::error::{Failure, FailureKind};
use crate::base::{env::Env, paths::Files, stdout::Stdout};
use crate::cli::ci::steps::{StepOutcome, Surroundings};
use crate::host::setup;
use anyhow::{Context, Result};
use clap::Args;

/// Check everything that continuous integration checks
///
/// Checks formatting, lints, shell and Python syntax, and runs unit tests. Then builds a kernel
/// from source and runs tests in real VMs on it: vmtest's own, the guest's self-test and drgn's
/// kernel tests. A failing step does not hide the later ones.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask ci --setup         Everything, installing what this host lacks
  cargo xtask ci format clippy   Two steps
  cargo xtask ci --list          The steps")]
pub struct CiFlags {
    /// Run only these steps [default: all]
    #[arg(value_name = "STEP")]
    pub steps: Vec<String>,
    /// Print the steps, and run none
    #[arg(long)]
    pub list: bool,
}

/// Runs the chosen steps; the exit status.
pub fn run(env: &Env, flags: &CiFlags, workspace: Option<&Path>, setup: bool) -> Result<u8> {
    let workspace = workspace.ok_or_else(|| {
        Failure::usage("the workspace that this binary was built from is not there")
            .hint("ci checks that workspace; run it with `cargo xtask ci` in a clone")
    })?;
    let names = |folder: &str, suffix: &str| -> Result<Vec<String>> {
        let files = Files::Directory(workspace.to_owned());
        let mut names = files.list(folder)?;
        names.retain(|name| name.ends_with(suffix));
        Ok(names)
    };
    let mut python_files = names("vmtest-assets/guest", ".py")?;
    python_files.extend(names("vmtest-assets/selftest/tests", ".py")?);
    let mut shell_files = names("vmtest-assets/guest", ".sh")?;
    for tests in ["it", "kill", "vm"] {
        shell_files.extend(names(&format!("xtask/tests/{tests}/files"), ".sh")?);
    }
    let steps = steps::plan(&Surroundings {
        cargo: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        xtask: std::env::current_exe().context("cannot find our own executable")?,
        shell_files,
        python_files,
        setup,
    });
    let steps = steps::select(steps, &flags.steps)?;
    let mut stdout = Stdout;
    if flags.list {
        for step in &steps {
            writeln!(stdout, "{:18}{}", step.name, step.about)?;
        }
        return Ok(0);
    }
    let arch = crate::model::arch::host().ok_or_else(|| {
        Failure::setup(format!(
            "kernels for {} cannot be built yet",
            std::env::consts::ARCH
        ))
    })?;
    setup::require(env, &steps::tools(arch), setup)?;
    let groups = std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    let outcomes = steps::run(
        &steps,
        workspace,
        env.paths.work(),
        &env.ui,
        &mut stdout,
        groups,
    )?;
    write!(stdout, "{}", steps::summary(&steps, &outcomes))?;
    let passed = outcomes
        .iter()
        .all(|(outcome, _)| *outcome == StepOutcome::Passed);
    Ok(if passed {
        0
    } else {
        FailureKind::Findings.exit_status()
    })
}
