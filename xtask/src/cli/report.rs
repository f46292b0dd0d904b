//! `cargo xtask report`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::base::error::{Failure, FailureKind};
use crate::base::paths::Layout;
use crate::base::stdout::{self, Stdout};
use crate::base::ui::{Ui, Verbosity};
use crate::model::expectation::Ledger;
use crate::model::results::Results;
use crate::report::diff::Diff;
use crate::report::matrix::Matrix;
use crate::report::merge::{Part, merge};
use crate::report::text::{conclusion, differences, one_line, summary};
use crate::report::{files, github, html, json, junit, markdown};
use anyhow::{Context, Result};

use crate::cli::flags::report::{self as flags, DiffFormat, ReportCommand, ReportFormat};

/// Runs the command; the exit status.
pub fn run(report: &flags::Report, layout: &Layout, ui: &Ui) -> Result<u8> {
    match &report.command {
        ReportCommand::Show(flags) => show(flags, layout, ui),
        ReportCommand::Merge(flags) => join(flags, layout, ui),
        ReportCommand::Diff(flags) => compare(flags),
    }
}

fn show(flags: &flags::Show, layout: &Layout, ui: &Ui) -> Result<u8> {
    let path = match &flags.dir {
        Some(path) => path.clone(),
        None => files::newest(&layout.logs())?,
    };
    let results = files::read(&path)?;
    match flags.format {
        ReportFormat::Text => text(&results, &folder_of(&path), ui)?,
        ReportFormat::Markdown => {
            stdout::print(&markdown::render(&results, markdown::PULL_REQUEST))?
        }
        ReportFormat::Html => stdout::print(&html::render(&results))?,
        ReportFormat::Junit => stdout::print(&junit::render(&results))?,
        ReportFormat::Json => stdout::print(&json::render(&results)?)?,
    }
    Ok(results.exit_status())
}

fn join(flags: &flags::Merge, layout: &Layout, ui: &Ui) -> Result<u8> {
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
        Ok(Part { place, text })
    });
    let mut merged = merge(&parts.collect::<Result<Vec<_>>>()?)?;

    if merged.complete {
        // No part knows whether another one has the test of an entry.
        for finding in Ledger::of(&merged.results.session)?.findings(&merged.results) {
            match finding.is_bad() {
                true => merged.results.findings.push(finding.to_string()),
                false => ui.warn(finding.to_string()),
            }
        }
    }

    let folder = files::write_merged(&merged, &found, flags.output.as_deref(), &layout.logs())?;
    let results = &merged.results;
    text(results, &folder, ui)?;
    if let Some(job) = job() {
        job.summarize(results)?;
    }
    ui.info(format!("reports: {}", folder.display()));
    Ok(results.exit_status())
}

/// The folder of a file of results, or the folder itself.
fn folder_of(path: &Path) -> PathBuf {
    let folder = match path.is_dir() {
        true => Some(path),
        false => path.parent(),
    };
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn compare(flags: &flags::Diff) -> Result<u8> {
    let (old, new) = (files::read(&flags.old)?, files::read(&flags.new)?);
    let (a, b) = (&old.session.project, &new.session.project);
    if a != b {
        let message = format!("these are results of two projects, {a} and {b}");
        return Err(Failure::usage(message).into());
    }
    let diff = Diff::new(&old, &new);
    match flags.format {
        DiffFormat::Text => print_lines(&diff.text())?,
        DiffFormat::Markdown => print(&markdown::difference(&diff, markdown::PULL_REQUEST))?,
        DiffFormat::Json => print(&json::difference(&diff)?)?,
    }
    Ok(match diff.is_worse() {
        true => FailureKind::Findings.exit_status(),
        false => 0,
    })
}

/// What `test` prints at its end.
fn text(results: &Results, folder: &Path, ui: &Ui) -> Result<()> {
    let matrix = Matrix::new(results);
    let records = matrix.runs.into_iter().cloned().collect::<Vec<_>>();
    let paint = ui.paint();
    let with_skips = ui.verbosity() >= Verbosity::Verbose;
    let mut text = conclusion(&records, folder, paint, with_skips);
    text.push_str(&differences(results));
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&summary(&records, paint));
    for finding in &results.findings {
        writeln!(text, "{}", paint.bad(&one_line(finding))).context("cannot format a finding")?;
    }
    print_lines(&text)
}

/// Prints for a person: in the log of a job, guests must issue no commands.
fn print_lines(text: &str) -> Result<()> {
    match job() {
        Some(_) => print(&github::harmless(text)),
        None => print(text),
    }
}

fn job() -> Option<github::Job> {
    github::Job::of(|name| std::env::var_os(name))
}

fn print(text: &str) -> Result<()> {
    Stdout
        .write_all(text.as_bytes())
        .context("cannot write the results")
}
