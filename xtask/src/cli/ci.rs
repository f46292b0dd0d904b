//! `cargo xtask ci`: everything that continuous integration checks. The steps are data, in
//! `.ci/steps.toml`. A failure hides no later one: only what stands on a failed step (a kernel that
//! was not built) is left out, and said to be.

use std::time::{Duration, Instant};
use std::{io::Write, path::Path, process::Stdio};

use crate::base::process::{LongCommand, status_in_words};
use crate::base::{env::Env, error::Failure, stdout::Stdout, table};
use crate::cli::report::job;
use crate::host::setup;
use crate::supply::host_arch;
use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

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

const STEPS: &str = include_str!("../../../.ci/steps.toml");

#[derive(Debug, Deserialize)]
struct Steps {
    step: Vec<CiStep>,
}

/// One check; `.ci/steps.toml` says what each field is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CiStep {
    name: String,
    about: String,
    command: Vec<String>,
    #[serde(default)]
    files: Vec<String>,
    after: Option<String>,
}

pub fn run(env: &Env, flags: &CiFlags, workspace: Option<&Path>, setup: bool) -> Result<u8> {
    let workspace = workspace.ok_or_else(|| {
        Failure::usage("the workspace that this binary was built from is not there")
            .hint("ci checks that workspace; run it with `cargo xtask ci` in a clone")
    })?;
    let steps = select(steps(workspace, setup)?, &flags.steps)?;
    if flags.list {
        for step in &steps {
            writeln!(Stdout, "{:18}{}", step.name, step.about)?;
        }
        return Ok(0);
    }
    // A project's own come with its profile.
    let arch = host_arch()?;
    let (build, vm) = (setup::for_build(arch), setup::for_vm(arch));
    let tools = [setup::for_ci(), build, vm, setup::for_python()];
    setup::require(env, &tools.concat(), setup)?;
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    // Before a step builds another one in its place.
    let xtask = std::env::current_exe().context("cannot find our own executable")?;
    for step in &steps {
        let start = Instant::now();
        let outcome = match step.after.as_ref().filter(|after| failed.contains(after)) {
            Some(after) => StepOutcome::LeftOut(after.clone()),
            None => carry_out(env, step, workspace, &xtask)?,
        };
        if outcome != StepOutcome::Passed {
            failed.push(&step.name);
        }
        outcomes.push((outcome, start.elapsed()));
    }
    write!(Stdout, "{}", summary(&steps, &outcomes))?;
    Ok(super::findings(!failed.is_empty()))
}

/// The steps for a workspace, in order.
fn steps(workspace: &Path, setup: bool) -> Result<Vec<CiStep>> {
    let top = glob::Pattern::escape(&workspace.to_string_lossy());
    let mut steps = Vec::new();
    for mut step in toml::from_str::<Steps>(STEPS)?.step {
        let mut files = Vec::new();
        for pattern in &step.files {
            for file in glob::glob(&format!("{top}/{pattern}"))? {
                let file = file?.strip_prefix(workspace)?.to_owned();
                files.push(file.to_string_lossy().into_owned());
            }
        }
        if files.is_empty() && !step.files.is_empty() {
            continue;
        }
        step.command.extend(files);
        if setup && step.command[0] == "xtask" {
            step.command.push("--setup".to_owned());
        }
        steps.push(step);
    }
    Ok(steps)
}

/// Those of `steps` whose names are given; all if none is.
fn select(mut steps: Vec<CiStep>, names: &[String]) -> Result<Vec<CiStep>, Failure> {
    for name in names {
        if !steps.iter().any(|step| step.name == *name) {
            let known = steps.iter().map(|step| step.name.as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!("there is no step {name:?}")).hint(known));
        }
    }
    steps.retain(|step| names.is_empty() || names.contains(&step.name));
    Ok(steps)
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StepOutcome {
    Passed,
    /// With another exit status than 0; in words.
    Failed(String),
    /// It was not run, because this step had failed.
    LeftOut(String),
}

fn carry_out(env: &Env, step: &CiStep, workspace: &Path, xtask: &Path) -> Result<StepOutcome> {
    let program = match step.command[0].as_str() {
        "cargo" => std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        "xtask" => xtask.into(),
        program => program.into(),
    };
    let command = LongCommand::new(program)
        .args(&step.command[1..])
        .credentials()
        .current_dir(workspace)
        .env("VMTEST_DIR", env.paths.work())
        // The suites are named; a project of the caller's must not take their place.
        .env_remove("VMTEST_PROJECT")
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    let in_job = job().is_some();
    if in_job {
        writeln!(Stdout, "::group::{}: {}", step.name, step.about)?;
    }
    env.ui.info(format!("{}: {}", step.name, step.about));
    env.ui.info(format!("$ {}", command.display()));
    let mut child = command.spawn()?;
    let ended = child.wait();
    // A step that is stopped says itself what it kept.
    let status = ended.or_else(|error| child.terminate().and(Err(error)))?;
    if in_job {
        writeln!(Stdout, "::endgroup::")?;
    }
    Ok(match status.success() {
        true => StepOutcome::Passed,
        false => StepOutcome::Failed(status_in_words(status)),
    })
}

/// A line per step, and a last one that counts.
fn summary(steps: &[CiStep], outcomes: &[(StepOutcome, Duration)]) -> String {
    let mut rows = Vec::new();
    let mut passed = 0;
    for (step, (outcome, duration)) in steps.iter().zip(outcomes) {
        let (word, rest) = match outcome {
            StepOutcome::Passed => ("passed", String::new()),
            StepOutcome::Failed(how) => ("FAILED", how.clone()),
            StepOutcome::LeftOut(after) => ("left out", format!("{after} had failed")),
        };
        passed += usize::from(*outcome == StepOutcome::Passed);
        let outcome = format!("{word:8} {:6.0} s", duration.as_secs_f64());
        rows.push([step.name.clone(), outcome, rest]);
    }
    let all = outcomes.len();
    table::columns(&rows, &[]) + &format!("{passed} of {all} steps passed\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::base::process::shell_quote;

    fn planned(setup: bool) -> Vec<CiStep> {
        let workspace = tempfile::tempdir().unwrap();
        for file in [
            "vmtest-assets/guest/init.sh",
            "vmtest-assets/guest/run_unittests.py",
        ] {
            let file = workspace.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        steps(workspace.path(), setup).unwrap()
    }

    #[test]
    fn the_list_of_commands() {
        let text = planned(true).into_iter().map(|step| {
            let words = step.command.iter().map(|word| shell_quote(word));
            let command = words.collect::<Vec<_>>().join(" ");
            let after = step.after.map(|after| format!(" (after {after})"));
            format!("{}{}: {command}\n", step.name, after.unwrap_or_default())
        });
        let text = text.collect::<String>();
        expect![[r#"
            format: cargo fmt --all --check
            clippy: cargo clippy --locked --all-targets --test vm --test kill --test openapi -- -D warnings
            shellcheck: shellcheck .ci/run .github/actions/vmtest/run
            guest-shellcheck: shellcheck --shell=dash vmtest-assets/guest/init.sh
            python: python3 -I -c 'import sys
            for f in sys.argv[1:]: compile(open(f, '\''rb'\'').read(), f, '\''exec'\'')' vmtest-assets/guest/run_unittests.py
            tests: cargo test --locked
            openapi: cargo test --locked --test openapi
            kill: cargo test --locked --test kill
            kernel: xtask build-kernel 6.1 --setup
            vm-tests (after kernel): cargo test --locked --test vm
            selftest (after kernel): xtask test -C vmtest-assets/selftest -k '6.1.*' --from local,build --setup
            drgn (after kernel): xtask test -k '6.1.*' --from local,build --setup
            foreign: xtask test -C vmtest-assets/selftest -k aarch64:debian:6.12 --setup
        "#]].assert_eq(&text);
    }

    #[test]
    fn only_setup_installs() {
        let installs = |setup| {
            planned(setup)
                .iter()
                .filter(|step| step.command.iter().any(|word| word == "--setup"))
                .count()
        };
        assert_eq!((installs(false), installs(true)), (0, 4));
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let chosen = select(
            planned(false),
            &["vm-tests".to_owned(), "format".to_owned()],
        );
        let names = chosen
            .unwrap()
            .iter()
            .map(|step| step.name.clone())
            .collect::<Vec<_>>();
        assert_eq!(names, ["format", "vm-tests"]);
        let error = select(planned(false), &["tets".to_owned()]).unwrap_err();
        expect![[r#"there is no step "tets" (format, clippy, shellcheck, guest-shellcheck, python, tests, openapi, kill, kernel, vm-tests, selftest, drgn, foreign)"#]].assert_eq(&error.to_string());
    }

    #[test]
    fn the_summary_counts_what_did_not_pass() {
        let steps = select(
            planned(false),
            &["format", "kernel", "drgn"].map(str::to_owned),
        )
        .unwrap();
        let outcomes = [
            (StepOutcome::Passed, Duration::from_millis(700)),
            (
                StepOutcome::Failed("exit status 3".to_owned()),
                Duration::from_secs(431),
            ),
            (StepOutcome::LeftOut("kernel".to_owned()), Duration::ZERO),
        ];
        expect![[r#"
            format  passed        1 s
            kernel  FAILED      431 s  exit status 3
            drgn    left out      0 s  kernel had failed
            1 of 3 steps passed
        "#]]
        .assert_eq(&summary(&steps, &outcomes));
    }
}
