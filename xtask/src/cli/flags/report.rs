//! The flags of `cargo xtask report`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::report::formats::{Comparison, FORMATS, ReportFormat};

/// Show, join and compare results of `test`
#[derive(Args, Debug)]
#[command(long_about = long_about(), after_help = "\
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
    /// Show the session in this folder [default: the newest one in the work directory]
    pub dir: Option<PathBuf>,
    /// Print in this format
    #[arg(long, value_parser = show_formats(), default_value = "text", value_name = "FORMAT")]
    pub format: &'static ReportFormat,
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
pub struct Merge {
    /// Join the results of partitions in these folders
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Write the joined results and reports to this folder [default: a new one in the work
    /// directory's log]
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

Exit status: 1 if NEW is worse: a test fails or is skipped in NEW but not in OLD, or a run ended worse.")]
pub struct Diff {
    /// Compare with these results
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// Look for what is worse in these results
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Print in this format
    #[arg(long, value_parser = diff_formats(), default_value = "text", value_name = "FORMAT")]
    pub format: &'static Comparison,
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

fn show_formats() -> impl TypedValueParser<Value = &'static ReportFormat> {
    formats(|format| Some((format.help, format)))
}

fn diff_formats() -> impl TypedValueParser<Value = &'static Comparison> {
    formats(|format| {
        let comparison = format.comparison.as_ref()?;
        Some((comparison.help, comparison))
    })
}

/// Takes the names of the formats that `of` gives something for: its help and its value.
fn formats<V: Clone + Send + Sync + 'static>(
    of: fn(&'static ReportFormat) -> Option<(&'static str, V)>,
) -> impl TypedValueParser<Value = V> {
    let values = FORMATS.iter().filter_map(move |format| {
        let (help, _) = of(format)?;
        Some(PossibleValue::new(format.name).help(help))
    });
    PossibleValuesParser::new(values).try_map(move |name| {
        let format = FORMATS.iter().find(|format| format.name == name);
        let (_, value) = format.and_then(of).ok_or("there is no such format")?;
        Ok::<_, &'static str>(value)
    })
}
