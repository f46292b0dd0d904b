//! `cargo xtask report`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use xtask::clock::Utc;
use xtask::event::exit_status;
use xtask::failure::{Failure, FailureKind};
use xtask::layout::Layout;
use xtask::report::diff::Diff;
use xtask::report::matrix::Matrix;
use xtask::report::merge::{Part, merge};
use xtask::report::{Event, Reporter, files, github, html, json, junit, markdown};
use xtask::results::Results;
use xtask::ui::Ui;

use crate::flags::report::{self as flags, ReportCommand, ReportFormat};

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
        ReportFormat::Text => text(&results, ui)?,
        ReportFormat::Markdown => print(&markdown::render(&results, markdown::PULL_REQUEST))?,
        ReportFormat::Html => print(&html::render(&results))?,
        ReportFormat::Junit => print(&junit::render(&results))?,
        ReportFormat::Json => print(&json::render(&results)?)?,
    }
    Ok(0)
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
    let merged = merge(&parts.collect::<Result<Vec<_>>>()?)?;

    let folder = match &flags.output {
        Some(folder) => folder.clone(),
        None => {
            let name = format!("{}-{}", Utc::now().file_name(), std::process::id());
            layout.logs().join(name)
        }
    };
    let goal = folder.join(files::RESULTS);
    if goal.exists() {
        let message = format!("{} is there already", goal.display());
        let hint = "name an empty folder, or remove the results";
        return Err(Failure::usage(message).hint(hint).into());
    }
    files::write_file(&goal, &merged.text()?)?;
    for file in &found {
        let from = file.parent().unwrap_or(Path::new("."));
        files::take_logs(&merged.results, from, &folder)?;
    }
    files::write(&merged.results, &folder)?;
    let results = &merged.results;
    text(results, ui)?;
    if let Some(job) = job() {
        job.summarize(results)?;
    }
    ui.info(format!("reports: {}", folder.display()));
    Ok(match results.findings.is_empty() {
        true => exit_status(results.runs.iter().map(|run| &run.outcome)),
        false => FailureKind::Findings.exit_status(),
    })
}

fn compare(flags: &flags::Diff) -> Result<u8> {
    let (old, new) = (files::read(&flags.old)?, files::read(&flags.new)?);
    let (a, b) = (&old.session.project, &new.session.project);
    if a != b {
        let message = format!("these are results of two projects, {a} and {b}");
        return Err(Failure::usage(message).into());
    }
    let diff = Diff::new(&old, &new);
    print_lines(&diff.text())?;
    Ok(match diff.is_worse() {
        true => FailureKind::Findings.exit_status(),
        false => 0,
    })
}

/// What `test` prints at its end.
fn text(results: &Results, ui: &Ui) -> Result<()> {
    let matrix = Matrix::new(results);
    let records = matrix.runs.into_iter().cloned().collect::<Vec<_>>();
    let mut text = Vec::new();
    let mut reporter = Reporter::new(&mut text, ui.verbosity(), None);
    reporter
        .handle(Event::Finished(&records))
        .context("cannot write the results")?;
    for finding in &results.findings {
        writeln!(text, "{finding}")?;
    }
    print_lines(&String::from_utf8_lossy(&text))
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
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write the results")
}
