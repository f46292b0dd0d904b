//! The flags of `cargo xtask report`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Show, join and compare results of `test`
///
/// `test` leaves a folder with results.jsonl, which has everything, and reports made from it:
/// report.html, report.md and junit.xml. The folder of a session is named wherever DIR is asked for; the
/// results.jsonl itself will do.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask report show
  cargo xtask report merge results-*/ -o results
  cargo xtask report diff results-of-main results")]
pub struct Report {
    #[command(subcommand)]
    pub command: ReportCommand,
}

#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    Show(Show),
    Merge(Merge),
    Diff(Diff),
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
pub struct Show {
    /// The session's folder [default: the newest one in the work directory]
    pub dir: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: ReportFormat,
}

/// How a report is printed.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum ReportFormat {
    /// Failures, and a table of the kernels
    Text,
    /// For a pull request on GitHub, of at most 65,536 characters
    Markdown,
    /// A page that needs nothing but itself
    Html,
    /// JUnit XML: one suite per kernel
    Junit,
    /// An object: project, headline, findings, runs, tests (with what each run says), skips
    Json,
}

/// Join the partitions of one session, tested on several machines
///
/// Their reports are then those that one machine would have given. Each DIR has the results of a
/// partition, or folders with them: all artifacts of a CI run, for instance. A partition that is
/// missing is reported, and what is there is joined all the same.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask test -K --partition 1/2 --report-dir p1   on one machine, and 2/2 on another
  cargo xtask report merge p1 p2 -o all
  cargo xtask report merge artifacts

Exit status: that of `test`, with 1 also for a partition that is missing or was cut short; 2 if they
are not of one session.")]
pub struct Merge {
    /// Folders with the results of partitions
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Folder for the results and reports of the whole [default: a new one in the work directory's
    /// log]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Compare two sessions
///
/// Kernels are compared that have the same release; else those of the same series, flavor and
/// architecture.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask report diff before after
  cargo xtask report diff main/results.jsonl build/vmtest/log/20261125-162120-123-0a1b2c3d
  cargo xtask report diff before after --format markdown >> \"$GITHUB_STEP_SUMMARY\"

Exit status: 1 if something is worse: a test fails or is skipped that was not, or a run ended
worse.")]
pub struct Diff {
    /// The results to compare with
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The results that may be worse
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: DiffFormat,
}

/// How a comparison is printed.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum DiffFormat {
    /// What changed, a line each
    Text,
    /// For a pull request on GitHub, of at most 65,536 characters
    Markdown,
    /// An object: worse, filtered, runs, changes, not_reached
    Json,
}
