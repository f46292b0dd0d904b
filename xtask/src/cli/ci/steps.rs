//! Everything that continuous integration checks, as a list of commands.
//!
//! The list is data ([`plan`]), so that it can be tested and printed; [`run`]
//! carries it out. A failure does not hide later ones: only what stands on a
//! failed step (a kernel that was not built) is left out, and said to be.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::base::process::{LongCommand, status_in_words};
use crate::base::{error::Failure, table, ui::Ui};
use crate::host::setup::{self, Tool};
use crate::model::arch::Arch;

/// The series whose kernel the VM tests and suites run on.
pub const SERIES: &str = "6.1";

/// The request that picks it.
const REQUEST: &str = "6.1.*";

/// Where tested kernels come from: what is published is not what is to be checked.
const BUILT: &str = "local,build";

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, for the command line and the summary.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Program and arguments, run at the repository's top.
    pub command: Vec<OsString>,
    /// The step without whose success this one cannot be run.
    pub after: Option<&'static str>,
}

/// What the commands of the list contain.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The `cargo` to call.
    pub cargo: OsString,
    /// This binary.
    pub xtask: PathBuf,
    /// Shell files, relative to the repository's top: the guest's, which have no `#!` line,
    /// and the tests'.
    pub shell_files: Vec<String>,
    /// Python files, relative to the repository's top.
    pub python_files: Vec<String>,
    /// Whether the steps may install host tools.
    pub setup: bool,
}

/// Compiles without writing byte code beside the file.
const PYTHON_SYNTAX: &str =
    "import sys\nfor f in sys.argv[1:]: compile(open(f, 'rb').read(), f, 'exec')";

/// What a step runs.
#[derive(Clone, Copy)]
enum Runs {
    Cargo(&'static [&'static str]),
    Xtask(&'static [&'static str]),
    Host(&'static [&'static str]),
    /// On all shell files; nothing if there are none.
    OnShellFiles(&'static [&'static str]),
    /// On all Python files; nothing if there are none.
    OnPythonFiles(&'static [&'static str]),
}

/// Name, purpose, command, and the step without whose success it cannot be run; in order, the
/// quick ones first.
type Row = (&'static str, &'static str, Runs, Option<&'static str>);

const STEPS: &[Row] = &[
    (
        "format",
        "the code is formatted",
        Runs::Cargo(&["fmt", "--all", "--check"]),
        None,
    ),
    (
        "clippy",
        "no lint fires",
        Runs::Cargo(&[
            "clippy",
            "--locked",
            "--all-targets",
            // Which `test = false` leaves out of all.
            "--test",
            "vm",
            "--test",
            "kill",
            "--test",
            "openapi",
            "--",
            "-D",
            "warnings",
        ]),
        None,
    ),
    (
        "shellcheck",
        "shellcheck finds nothing in the CI script",
        Runs::Host(&["shellcheck", ".ci/run"]),
        None,
    ),
    (
        "guest-shellcheck",
        "shellcheck finds nothing in the guest's init and the tests' scripts",
        // BusyBox' shell is an ash; dash is the nearest that every version knows.
        Runs::OnShellFiles(&["shellcheck", "--shell=dash"]),
        None,
    ),
    (
        "python",
        "the Python files can be compiled",
        Runs::OnPythonFiles(&["python3", "-I", "-c", PYTHON_SYNTAX]),
        None,
    ),
    (
        "tests",
        "unit tests and tests of the binary, without QEMU",
        Runs::Cargo(&["test", "--locked"]),
        None,
    ),
    (
        "openapi",
        "the client does what GitHub's description of its API says",
        Runs::Cargo(&["test", "--locked", "--test", "openapi"]),
        None,
    ),
    (
        "kill",
        "commands that are killed, or whose disk fails, lose nothing and leave nothing",
        Runs::Cargo(&["test", "--locked", "--test", "kill"]),
        None,
    ),
    (
        "kernel",
        "a kernel is built from source, unless it is there",
        Runs::Xtask(&["build-kernel", SERIES]),
        None,
    ),
    (
        "vm-tests",
        "tests in real VMs on that kernel",
        Runs::Cargo(&["test", "--locked", "--test", "vm"]),
        Some("kernel"),
    ),
    (
        "selftest",
        "the guest is what projects may rely on",
        Runs::Xtask(&[
            "test",
            "-C",
            "vmtest-assets/selftest",
            "-k",
            REQUEST,
            "--from",
            BUILT,
        ]),
        Some("kernel"),
    ),
    (
        "drgn",
        "drgn's kernel tests",
        // No project is named, none is at the repository's top: drgn itself.
        Runs::Xtask(&["test", "-k", REQUEST, "--from", BUILT]),
        Some("kernel"),
    ),
];

/// The steps, in order.
pub fn plan(surroundings: &Surroundings) -> Vec<Step> {
    let steps = STEPS.iter().filter_map(|&(name, about, runs, after)| {
        Some(Step {
            name,
            about,
            command: command(runs, surroundings)?,
            after,
        })
    });
    steps.collect()
}

fn command(runs: Runs, surroundings: &Surroundings) -> Option<Vec<OsString>> {
    let (program, words, files) = match runs {
        Runs::Cargo(words) => (Some(surroundings.cargo.clone()), words, None),
        Runs::Xtask(words) => (Some(surroundings.xtask.clone().into()), words, None),
        Runs::Host(words) => (None, words, None),
        Runs::OnShellFiles(words) => (None, words, Some(&surroundings.shell_files)),
        Runs::OnPythonFiles(words) => (None, words, Some(&surroundings.python_files)),
    };
    if files.is_some_and(Vec::is_empty) {
        return None;
    }
    let words = words.iter().map(OsString::from);
    let mut command = program.into_iter().chain(words).collect::<Vec<_>>();
    command.extend(files.into_iter().flatten().map(OsString::from));
    if matches!(runs, Runs::Xtask(_)) && surroundings.setup {
        command.push("--setup".into());
    }
    Some(command)
}

/// The host tools of all steps; a project's own come with its profile.
pub fn tools(arch: &Arch) -> Vec<Tool> {
    let mut tools = setup::for_ci();
    tools.extend(setup::for_build());
    tools.extend(setup::for_vm(arch));
    tools.extend(setup::for_python());
    tools
}

/// Those of `steps` whose names are given; all if none is.
pub fn select(steps: Vec<Step>, names: &[String]) -> Result<Vec<Step>, Failure> {
    if names.is_empty() {
        return Ok(steps);
    }
    for name in names {
        if !steps.iter().any(|step| step.name == name) {
            let known = steps.iter().map(|step| step.name).collect::<Vec<_>>();
            return Err(Failure::usage(format!("there is no step {name:?}")).hint(known.join(", ")));
        }
    }
    Ok(steps
        .into_iter()
        .filter(|step| names.iter().any(|name| step.name == name))
        .collect())
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// With exit status 0.
    Passed,
    /// With another; in words.
    Failed(String),
    /// It was not run, because this step had failed.
    LeftOut(&'static str),
}

/// Runs `steps` in `directory`; their outcomes and how long each took. `output`
/// (our standard output, as the steps inherit it) gets the log groups of GitHub
/// when `groups` is set.
pub fn run(
    steps: &[Step],
    directory: &Path,
    work: &Path,
    ui: &Ui,
    output: &mut dyn Write,
    groups: bool,
) -> Result<Vec<(StepOutcome, Duration)>> {
    let mut outcomes = Vec::<(StepOutcome, Duration)>::new();
    for step in steps {
        let failed = step.after.filter(|after| {
            steps.iter().zip(&outcomes).any(|(other, (outcome, _))| {
                other.name == *after && *outcome != StepOutcome::Passed
            })
        });
        if let Some(after) = failed {
            outcomes.push((StepOutcome::LeftOut(after), Duration::ZERO));
            continue;
        }
        let (program, arguments) = step
            .command
            .split_first()
            .context("a step has no command")?;
        let command = LongCommand::new(program)
            .args(arguments)
            .credentials()
            .current_dir(directory)
            .env("VMTEST_DIR", work)
            // The suites are named; a project of the caller's must not take their place.
            .env_remove("VMTEST_PROJECT")
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit());
        if groups {
            writeln!(output, "::group::{}: {}", step.name, step.about)?;
            output.flush()?;
        }
        ui.info(format!("{}: {}", step.name, step.about));
        ui.info(format!("$ {}", command.display()));
        let start = Instant::now();
        let mut child = command.spawn()?;
        let status = match child.wait() {
            Ok(status) => status,
            Err(error) => {
                // A step that is stopped says itself what it kept.
                child.terminate()?;
                return Err(error);
            }
        };
        let outcome = if status.success() {
            StepOutcome::Passed
        } else {
            StepOutcome::Failed(status_in_words(status))
        };
        outcomes.push((outcome, start.elapsed()));
        if groups {
            writeln!(output, "::endgroup::")?;
            output.flush()?;
        }
    }
    Ok(outcomes)
}

/// The summary: a line per step, and a last one that counts.
pub fn summary(steps: &[Step], outcomes: &[(StepOutcome, Duration)]) -> String {
    let mut rows = Vec::new();
    let mut passed = 0;
    for (step, (outcome, duration)) in steps.iter().zip(outcomes) {
        let (word, rest) = match outcome {
            StepOutcome::Passed => ("passed", String::new()),
            StepOutcome::Failed(how) => ("FAILED", how.clone()),
            StepOutcome::LeftOut(after) => ("left out", format!("{after} had failed")),
        };
        passed += usize::from(*outcome == StepOutcome::Passed);
        let seconds = duration.as_secs_f64();
        let outcome = format!("{word:8} {seconds:6.0} s");
        rows.push([step.name.to_string(), outcome, rest]);
    }
    let all = outcomes.len();
    table::columns(&rows, &[]) + &format!("{passed} of {all} steps passed\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::base::process::shell_quote;

    fn surroundings(setup: bool) -> Surroundings {
        Surroundings {
            cargo: "cargo".into(),
            xtask: "target/debug/xtask".into(),
            shell_files: vec!["vmtest-assets/guest/init.sh".to_owned()],
            python_files: vec!["vmtest-assets/guest/run_unittests.py".to_owned()],
            setup,
        }
    }

    #[test]
    fn the_list_of_commands() {
        let steps = plan(&surroundings(true));
        let text = steps
            .iter()
            .map(|step| {
                let words = step.command.iter().map(|word| word.to_str().unwrap());
                let command = words.map(shell_quote).collect::<Vec<_>>().join(" ");
                let after = step
                    .after
                    .map_or_else(String::new, |after| format!(" (after {after})"));
                format!("{}{after}: {command}\n", step.name)
            })
            .collect::<String>();
        expect![[r#"
            format: cargo fmt --all --check
            clippy: cargo clippy --locked --all-targets --test vm --test kill --test openapi -- -D warnings
            shellcheck: shellcheck .ci/run
            guest-shellcheck: shellcheck --shell=dash vmtest-assets/guest/init.sh
            python: python3 -I -c 'import sys
            for f in sys.argv[1:]: compile(open(f, '\''rb'\'').read(), f, '\''exec'\'')' vmtest-assets/guest/run_unittests.py
            tests: cargo test --locked
            openapi: cargo test --locked --test openapi
            kill: cargo test --locked --test kill
            kernel: target/debug/xtask build-kernel 6.1 --setup
            vm-tests (after kernel): cargo test --locked --test vm
            selftest (after kernel): target/debug/xtask test -C vmtest-assets/selftest -k '6.1.*' --from local,build --setup
            drgn (after kernel): target/debug/xtask test -k '6.1.*' --from local,build --setup
        "#]].assert_eq(&text);
    }

    #[test]
    fn only_setup_installs() {
        let installs = |setup| {
            plan(&surroundings(setup))
                .iter()
                .filter(|step| step.command.iter().any(|word| word == "--setup"))
                .count()
        };
        assert_eq!((installs(false), installs(true)), (0, 3));
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let chosen = select(
            plan(&surroundings(false)),
            &["vm-tests".to_owned(), "format".to_owned()],
        );
        let names = chosen
            .unwrap()
            .iter()
            .map(|step| step.name)
            .collect::<Vec<_>>();
        assert_eq!(names, ["format", "vm-tests"]);
        let error = select(plan(&surroundings(false)), &["tets".to_owned()]).unwrap_err();
        expect![[r#"there is no step "tets" (format, clippy, shellcheck, guest-shellcheck, python, tests, openapi, kill, kernel, vm-tests, selftest, drgn)"#]].assert_eq(&error.to_string());
    }

    #[test]
    fn the_summary_counts_what_did_not_pass() {
        let steps = select(
            plan(&surroundings(false)),
            &["format", "kernel", "drgn"].map(str::to_owned),
        )
        .unwrap();
        let outcomes = [
            (StepOutcome::Passed, Duration::from_millis(700)),
            (
                StepOutcome::Failed("exit status 3".to_owned()),
                Duration::from_secs(431),
            ),
            (StepOutcome::LeftOut("kernel"), Duration::ZERO),
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
