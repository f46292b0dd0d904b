//! `cargo xtask report`.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::base::env::Env;
use crate::base::error::{Failure, FailureKind};
use crate::base::stdout::{self, Stdout};
use crate::base::ui::{Ui, Verbosity};
use crate::cli::flags::report::{self as flags, ReportCommand};
use crate::model::expectation::Ledger;
use crate::report::diff::SessionDiff;
use crate::report::formats::Look;
use crate::report::merge::{SessionPart, merge};
use crate::report::{files, github, text};
use crate::run::run_folder;

/// Runs the command; the exit status.
pub fn run(env: &Env, report: &flags::Report) -> Result<u8> {
    match &report.command {
        ReportCommand::Show(flags) => show(env, flags),
        ReportCommand::Merge(flags) => join(env, flags),
        ReportCommand::Diff(flags) => compare(flags, &env.ui),
    }
}

fn show(env: &Env, flags: &flags::Show) -> Result<u8> {
    let path = match &flags.dir {
        Some(path) => path.clone(),
        None => files::newest(&env.paths.logs())?,
    };
    let results = files::read(&path)?;
    let folder = match path.is_dir() {
        true => &path,
        false => path.parent().unwrap_or(Path::new(".")),
    };
    let text = (flags.format.render)(&results, &look(folder, &env.ui))?;
    match flags.format.colored {
        true => print(&text)?,
        false => stdout::print(&text)?,
    }
    Ok(results.exit_status())
}

fn join(env: &Env, flags: &flags::Merge) -> Result<u8> {
    let mut found = Vec::new();
    for path in &flags.dirs {
        found.extend(files::find(path)?);
    }
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

fn compare(flags: &flags::Diff, ui: &Ui) -> Result<u8> {
    let (old, new) = (files::read(&flags.old)?, files::read(&flags.new)?);
    let (a, b) = (&old.session.project, &new.session.project);
    if a != b {
        let message = format!("these are results of two projects, {a} and {b}");
        return Err(Failure::usage(message).into());
    }
    let diff = SessionDiff::new(&old, &new);
    print(&(flags.format.render)(&diff, &look(Path::new("."), ui))?)?;
    Ok(match diff.is_worse() {
        true => FailureKind::Findings.exit_status(),
        false => 0,
    })
}

fn look(folder: &Path, ui: &Ui) -> Look {
    Look {
        folder: folder.to_owned(),
        paint: ui.paint(),
        skips: ui.verbosity() >= Verbosity::Verbose,
        in_job: job().is_some(),
    }
}

fn job() -> Option<github::ActionsJob> {
    github::ActionsJob::of(|name| std::env::var_os(name))
}

fn print(text: &str) -> Result<()> {
    Stdout
        .write_all(text.as_bytes())
        .context("cannot write the results")
}
