//! `cargo xtask report`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::base::stdout::{self, Stdout};
use crate::base::ui::{Ui, Verbosity};
use crate::base::{env::Env, error::Failure};
use crate::model::expectation::Ledger;
use crate::report::formats::{FORMATS, ReportFormat, ReportLook};
use crate::report::merge::{SessionPart, merge};
use crate::report::{diff::SessionDiff, files, github::ActionsJob, text};
use crate::run::run_folder;
use anyhow::{Context, Result};
use clap::{Args, Subcommand, builder::PossibleValue};

/// Show, join and compare results of `test`
#[derive(Debug, Subcommand)]
#[command(long_about = long_about(), after_help = "\
Examples:
  cargo xtask report show
  cargo xtask report merge results-*/ -o results
  cargo xtask report diff results-of-main results")]
pub enum ReportCommand {
    Show(ShowFlags),
    Merge(MergeFlags),
    Diff(DiffFlags),
}

/// Print a report of a session
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask report show                      what the newest session printed at its end
  cargo xtask report show -v                   why tests were skipped, too
  cargo xtask report show DIR --format junit > junit.xml
  cargo xtask report show --format json | jq -r '.tests[] | select(.differs) | .test, .words'

Exit status: that of `test` in this session; 4 if it was cut short.")]
pub struct ShowFlags {
    /// Show the session in this folder [default: the newest one in the work directory]
    pub dir: Option<PathBuf>,
    /// Print in this format
    #[arg(long, value_name = "FORMAT", default_value = "text",
          value_parser = formats(|format| Some(format.help)))]
    pub format: String,
}

/// Join the partitions of one session, tested on several machines
///
/// The joined reports are those that one machine would have given. Each DIR has the results of a
/// partition, or folders with them, such as all artifacts of a CI run. Reports a missing partition,
/// and joins the others.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask test -K --partition 1/2 --report-dir p1   on one machine, and 2/2 on another
  cargo xtask report merge p1 p2 -o all
  cargo xtask report merge artifacts

Exit status: that of `test`, with 1 also for a partition that is missing or was cut short; 2 if they
are not of one session.")]
pub struct MergeFlags {
    /// Join the results of partitions in these folders
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Write the joined results and reports here [default: a new folder in the work directory's log]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Compare two sessions
///
/// Compares kernels of the same release, else those of the same series, flavor and architecture.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask report diff before after
  cargo xtask report diff main/results.jsonl build/vmtest/log/20261125-162120-123-0a1b2c3d
  cargo xtask report diff before after --format markdown >> \"$GITHUB_STEP_SUMMARY\"

Exit status: 1 if a test fails or is skipped in NEW but not in OLD, or a run ended worse.")]
pub struct DiffFlags {
    /// Compare with these results
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// ReportLook for what is worse in these results
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Print in this format
    #[arg(long, value_name = "FORMAT", default_value = "text",
          value_parser = formats(|format| Some(format.comparison.as_ref()?.help)))]
    pub format: String,
}

fn long_about() -> String {
    let files = FORMATS.iter().filter_map(|format| format.file);
    format!(
        "Show, join and compare results of `test`\n\n`test` leaves a folder with results.jsonl, \
         which has all results, and with the reports made from it: {}. A DIR is the folder of a \
         session, or its results.jsonl.",
        files.collect::<Vec<_>>().join(", ")
    )
}

/// The names of the formats that have this help.
fn formats(help: fn(&ReportFormat) -> Option<&'static str>) -> Vec<PossibleValue> {
    let value =
        |format: &'static ReportFormat| Some(PossibleValue::new(format.name).help(help(format)?));
    FORMATS.iter().filter_map(value).collect()
}

fn find(name: &str) -> Result<&'static ReportFormat> {
    let found = FORMATS.iter().find(|format| format.name == name);
    found.context("there is no such format")
}

pub fn run(env: &Env, command: &ReportCommand) -> Result<u8> {
    match command {
        ReportCommand::Show(flags) => show(env, flags),
        ReportCommand::Merge(flags) => join(env, flags),
        ReportCommand::Diff(flags) => compare(flags, &env.ui),
    }
}

fn show(env: &Env, flags: &ShowFlags) -> Result<u8> {
    let path = match &flags.dir {
        Some(path) => path.clone(),
        None => files::newest(&env.paths.logs())?,
    };
    let results = files::read(&path)?;
    let folder = match path.is_dir() {
        true => &path,
        false => path.parent().unwrap_or(Path::new(".")),
    };
    let format = find(&flags.format)?;
    let text = (format.render)(&results, &look(folder, &env.ui));
    match format.colored {
        true => print(&text)?,
        false => stdout::print(&text)?,
    }
    Ok(results.exit_status())
}

fn join(env: &Env, flags: &MergeFlags) -> Result<u8> {
    let found = flags.dirs.iter().map(|path| files::find(path));
    let mut found = found.collect::<Result<Vec<_>>>()?.concat();
    // The same folder may be named twice, and lie below another one that is named.
    found.sort();
    found.dedup();
    let parts = found.iter().map(|file| {
        let text = files::read_text(file)?;
        let place = file.display().to_string();
        Ok(SessionPart { place, text })
    });
    let mut merged = merge(&parts.collect::<Result<Vec<_>>>()?)?;
    if merged.complete {
        // No part knows whether another one has the test of an entry.
        for finding in Ledger::of(&merged.results.session)?.findings(&merged.results) {
            match finding.is_bad() {
                true => merged.results.findings.push(finding.to_string()),
                false => env.ui.warn(finding.to_string()),
            }
        }
    }
    let folder = match &flags.output {
        Some(folder) => folder.clone(),
        None => run_folder::unique(&env.paths.logs())?,
    };
    files::write_merged(&merged, &found, &folder, flags.output.is_none())?;
    let results = &merged.results;
    print(&text::render(results, &look(&folder, &env.ui)))?;
    if let Some(job) = job() {
        job.summarize(results)?;
    }
    env.ui.info(format!("reports: {}", folder.display()));
    Ok(results.exit_status())
}

fn compare(flags: &DiffFlags, ui: &Ui) -> Result<u8> {
    let (old, new) = (files::read(&flags.old)?, files::read(&flags.new)?);
    let (a, b) = (&old.session.project, &new.session.project);
    if a != b {
        let message = format!("these are results of two projects, {a} and {b}");
        return Err(Failure::usage(message).into());
    }
    let diff = SessionDiff::new(&old, &new);
    let format = find(&flags.format)?.comparison.as_ref();
    let format = format.context("this format has no comparisons")?;
    print(&(format.render)(&diff, &look(Path::new("."), ui)))?;
    Ok(super::findings(diff.is_worse()))
}

pub(super) fn look(folder: &Path, ui: &Ui) -> ReportLook {
    ReportLook {
        folder: folder.to_owned(),
        paint: ui.paint(),
        skips: ui.verbosity() >= Verbosity::Verbose,
        in_job: job().is_some(),
    }
}

/// The job of GitHub Actions that this is.
pub fn job() -> Option<ActionsJob> {
    ActionsJob::of(|name| std::env::var_os(name))
}

fn print(text: &str) -> Result<()> {
    (Stdout.write_all(text.as_bytes())).context("cannot write the results")
}
