//! The formats of reports: a new one is a row here and a file that makes its text. The flags of
//! `report`, their help and the files beside `results.jsonl` are read from the table.

use std::path::PathBuf;

use super::diff::SessionDiff;
use super::{html, json, junit, kcidb, markdown, text};
use crate::base::color::Paint;
use crate::model::results::Results;

pub static FORMATS: [ReportFormat; 6] = [
    ReportFormat {
        name: "text",
        help: "Failures, and a table of the kernels",
        file: None,
        colored: true,
        render: text::render,
        comparison: Some(Comparison {
            help: "What changed, a line each",
            render: |diff, look| look.printed(diff.text()),
        }),
    },
    ReportFormat {
        name: "markdown",
        help: "For a pull request on GitHub, of at most 65,536 characters",
        file: Some("report.md"),
        colored: false,
        render: |results, _| markdown::render(results, markdown::PULL_REQUEST),
        comparison: Some(Comparison {
            help: "For a pull request on GitHub, of at most 65,536 characters",
            render: |diff, _| markdown::difference(diff, markdown::PULL_REQUEST),
        }),
    },
    ReportFormat {
        name: "html",
        help: "A page that needs nothing but itself",
        file: Some("report.html"),
        colored: false,
        render: |results, _| html::render(results),
        comparison: None,
    },
    ReportFormat {
        name: "junit",
        help: "JUnit XML: one suite per kernel",
        file: Some("junit.xml"),
        colored: false,
        render: |results, _| junit::render(results),
        comparison: None,
    },
    ReportFormat {
        name: "json",
        help: "An object: project, headline, findings, runs, tests (with what each run says), skips",
        file: None,
        colored: false,
        render: |results, _| json::render(results),
        comparison: Some(Comparison {
            help: "An object: worse, filtered, runs, changes, not_reached",
            render: |diff, _| json::difference(diff),
        }),
    },
    ReportFormat {
        name: "kcidb",
        help: "JSON of KCIDB's schema 5.3: checkouts, builds, tests",
        file: None,
        colored: false,
        render: |results, _| kcidb::render(results),
        comparison: None,
    },
];

#[derive(Debug)]
pub struct ReportFormat {
    /// What `report show --format` takes.
    pub name: &'static str,
    pub help: &'static str,
    /// Its file in a session's folder; without one it is only printed.
    pub file: Option<&'static str>,
    /// It may have colours, which a terminal is to get as they are.
    pub colored: bool,
    pub render: fn(&Results, &ReportLook) -> String,
    /// Its form of `report diff`.
    pub comparison: Option<Comparison>,
}

#[derive(Debug)]
pub struct Comparison {
    pub help: &'static str,
    pub render: fn(&SessionDiff<'_>, &ReportLook) -> String,
}

/// What text for a person depends on besides the results.
#[derive(Clone, Debug, Default)]
pub struct ReportLook {
    /// The folder that the logs are in.
    pub folder: PathBuf,
    pub paint: Paint,
    /// Why tests were skipped is told as well.
    pub skips: bool,
    /// It is printed in a job of GitHub Actions.
    pub in_job: bool,
}

impl ReportLook {
    /// Text as it may be printed: in the log of a job, guests must issue no commands.
    pub(super) fn printed(&self, text: String) -> String {
        match self.in_job {
            true => super::github::harmless(&text),
            false => text,
        }
    }
}
