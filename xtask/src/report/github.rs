//! What GitHub Actions reads in a job's output: groups, annotations, and the summary of
//! a step; and how text of a guest is kept from being read that way.
//!
//! Commands are lines on standard output (or error) such as `::error file=a.py::text`:
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.
//! How a line is read, and so what must be escaped, is seen best in the runner itself
//! (actions/runner, `src/Runner.Common/ActionCommand.cs`) and in its counterpart
//! (actions/toolkit, `packages/core/src/command.ts`).

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::matrix::{MatrixRow, TestMatrix, is_odd};
use super::{compact::cut, markdown};
use crate::base::shown;
use crate::model::results::Results;

/// GitHub shows so many errors of a step and drops the others (actions/toolkit,
/// `docs/problem-matchers.md`, "Limitations").
const ANNOTATIONS: usize = 10;

/// No annotation is longer, in characters: they stand between the lines of a diff.
const LONGEST_MESSAGE: usize = 1000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionsJob {
    /// Where the repository was checked out: files in annotations are relative to it.
    pub workspace: Option<PathBuf>,
    /// The file that takes the Markdown of this step's summary.
    pub summary: Option<PathBuf>,
}

impl ActionsJob {
    /// The job that this process is part of, according to its environment:
    /// <https://docs.github.com/en/actions/reference/workflows-and-actions/variables#default-environment-variables>.
    pub fn of(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<Self> {
        if variable("GITHUB_ACTIONS")? != "true" {
            return None;
        }
        let path = |name| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        Some(Self {
            workspace: path("GITHUB_WORKSPACE"),
            summary: path("GITHUB_STEP_SUMMARY"),
        })
    }

    /// Adds the report to the step's summary, if there is one and it has room.
    pub fn summarize(&self, results: &Results) -> Result<()> {
        let Some(path) = &self.summary else {
            return Ok(());
        };
        append(path, results)
            .with_context(|| format!("cannot write the step's summary, {}", path.display()))
    }
}

fn append(path: &Path, results: &Results) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    // A step whose summary is too long has none at all.
    let there = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let room = markdown::STEP_SUMMARY.saturating_sub(there.saturating_add(1));
    let mut text = markdown::render(results, room);
    if !text.is_empty() {
        text.push('\n');
    }
    file.write_all(text.as_bytes())
}

/// Lines that are folded in the log; groups do not nest.
pub fn group(title: &str, lines: &str) -> String {
    let title = data(&shown::lines(title));
    format!("::group::{title}\n{lines}\n::endgroup::\n")
}

/// Lines that annotate a pull request with what went wrong, the most useful first: the
/// session itself, tests that fail on some kernels only, tests that fail on all, what kernels
/// complained of, runs that never got to a test. An annotation is put at the last frame of the traceback that
/// lies in `tree`, the project's.
pub fn annotations(results: &Results, tree: &Path, job: &ActionsJob) -> String {
    let matrix = TestMatrix::new(results);
    let project = &results.session.project;
    let findings = results.findings.iter();
    let mut errors = Vec::from_iter(findings.map(|finding| error("", project, finding)));
    let bad = matrix.rows.iter().filter(|row| row.worst().is_bad());
    errors.extend(bad.map(|row| of_row(&matrix, row, tree, job)));
    for group in matrix.complaints.iter().filter(|group| group.is_bad()) {
        let on = group
            .runs()
            .into_iter()
            .map(|run| matrix.runs[run].name.to_string());
        let mut message = format!("on {}", on.collect::<Vec<_>>().join(", "));
        for test in group.tests() {
            message += &format!("\nrunning then: {test}");
        }
        errors.push(error("", &group.first().title, &message));
    }
    for run in &matrix.runs {
        if is_odd(run) && run.outcome.running().is_none() {
            let title = format!("{}: {}", run.name, run.outcome.name());
            errors.push(error("", &title, &run.outcome.detail().unwrap_or_default()));
        }
    }
    if errors.len() > ANNOTATIONS {
        let more = errors.len() - (ANNOTATIONS - 1);
        errors.truncate(ANNOTATIONS - 1);
        let message = format!("{more} more; the summary of the step has them");
        errors.push(error("", project, &message));
    }
    errors.concat()
}

fn of_row(matrix: &TestMatrix<'_>, row: &MatrixRow<'_>, tree: &Path, job: &ActionsJob) -> String {
    let bad = row.bad().collect::<Vec<_>>();
    let places = bad.iter().filter_map(|run| {
        let (file, line) = place(row.cells[*run]?.traceback.as_deref()?, tree)?;
        let workspace = job.workspace.as_deref().unwrap_or(tree);
        let file = file.strip_prefix(workspace).unwrap_or(file);
        let file = property(&file.to_string_lossy());
        Some(format!("file={file},line={line},"))
    });
    let place = places.take(1).collect::<String>();
    let verb = row.worst().verb();
    let mut message = match (&row.words, bad.as_slice()) {
        (Some(words), _) => words.clone(),
        (None, [run]) => format!("{verb} on {}", matrix.runs[*run].name),
        (None, bad) => format!("{verb} on all {} that ran it", bad.len()),
    };
    let reason = bad.iter().find_map(|run| {
        let (run, test) = (matrix.runs[*run], row.cells[*run]);
        let reason = match test {
            Some(test) => test.expected.clone().or_else(|| test.reason.clone()),
            None => run.outcome.detail(),
        };
        Some((&run.name, reason?, test))
    });
    if let Some((name, reason, test)) = reason {
        message += &format!("\n{name}: {reason}");
        for note in test.iter().flat_map(|test| test.notes()) {
            message += &format!("\n{note}");
        }
    }
    error(&place, row.test, &message)
}

/// A command that annotates; `place` are properties with a comma behind each.
fn error(place: &str, title: &str, message: &str) -> String {
    let message = cut(&shown::lines(message.trim()), LONGEST_MESSAGE);
    let title = property(&shown::lines(title));
    format!("::error {place}title={title}::{}\n", data(&message))
}

/// The last frame of a traceback in the project's tree, but not in libraries there.
fn place<'t>(traceback: &'t str, tree: &Path) -> Option<(&'t Path, u32)> {
    let frame = |line: &'t str| {
        let frame = line.trim_start().strip_prefix("File \"")?;
        let (file, rest) = frame.split_once("\", line ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        let (file, line) = (Path::new(file), digits.parse().ok()?);
        let mut inside = file.strip_prefix(tree).ok()?.iter();
        let is_library = inside.any(|name| name == "site-packages" || name == "dist-packages");
        (!is_library).then_some((file, line))
    };
    traceback.lines().rev().find_map(frame)
}

/// What stands behind the second `::` of a command.
fn data(text: &str) -> String {
    let text = text.replace('%', "%25");
    text.replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text that issues no commands: all that comes from a guest must pass through here before it
/// is printed in a job.
///
/// The runner takes a line for a command if it begins with `::` after blanks, or has `##[`
/// anywhere. Both are broken up by a backslash: `\::error`, `##\[error]`. (Commands that
/// were stopped by `::stop-commands::TOKEN` would stay so when we are killed.) The runner
/// passes over characters that have no width; so all but printable ASCII is passed over here.
pub fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut at_start = true;
    // The last two characters that count.
    let mut before = [' '; 2];
    for c in text.chars() {
        if c == '\n' || c == '\r' {
            at_start = true;
            before = [' '; 2];
        } else if c.is_ascii_graphic() {
            if (at_start && c == ':') || (before == ['#', '#'] && c == '[') {
                safe.push('\\');
            }
            at_start = false;
            before = [before[1], c];
        } else if c == ' ' {
            before = [before[1], c];
        }
        safe.push(c);
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::report::tests::{Sample, results};

    #[test]
    fn a_job_is_known_by_its_environment() {
        let job = |variables: &[(&str, &str)]| {
            ActionsJob::of(|name| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| OsString::from(value))
            })
        };
        assert_eq!(job(&[]), None);
        assert_eq!(job(&[("GITHUB_ACTIONS", "false")]), None);
        assert_eq!(
            job(&[("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", "")]),
            Some(ActionsJob::default())
        );
        assert_eq!(
            job(&[("GITHUB_ACTIONS", "true"), ("GITHUB_WORKSPACE", "/w")]),
            Some(ActionsJob {
                workspace: Some("/w".into()),
                summary: None
            })
        );
    }

    #[test]
    fn failures_are_annotated_where_they_are() {
        let results = results([
            Sample::kernel("5.4.*").not_started(),
            Sample::kernel("6.1")
                .test("t.A.bad", "passed")
                .test("t.A.b", "failed"),
            Sample::kernel("6.9")
                .test("t.A.bad", "failed")
                .test("t.A.b", "failed")
                .finished(json!({
                    "id": "t.A.odd, with: all", "outcome": "error",
                    "reason": "E: 100%\r\n::set-output name=a::b",
                }))
                .panicked(Some("t.A.crash")),
        ]);
        let job = ActionsJob {
            workspace: Some("/work".into()),
            summary: None,
        };
        let text = annotations(&results, Path::new("/home/me/project"), &job);
        expect![[r#"
            ::error title=t.A.crash::is missing up to 6.1, does not finish from 6.9%0A6.9 (x86_64): Kernel panic - not syncing: Fatal exception
            ::error file=/home/me/project/tests/test_a.py,line=12,title=t.A.bad::passes up to 6.1, fails from 6.9%0A6.9 (x86_64): AssertionError: 1 != 2
            ::error title=t.A.odd%2C with%3A all::is missing up to 6.1, fails from 6.9%0A6.9 (x86_64): E: 100%25�%0A::set-output name=a::b
            ::error file=/home/me/project/tests/test_a.py,line=12,title=t.A.b::fails on all 2 that ran it%0A6.1 (x86_64): AssertionError: 1 != 2
            ::error title=5.4.* (x86_64)%3A fetch failed::no kernel matches
        "#]].assert_eq(&text);
        assert!(!annotations(&results, Path::new("/other"), &job).contains("file="));
    }

    #[test]
    fn there_are_ten_at_most_and_the_last_counts_the_rest() {
        for (tests, lines, last) in [(10, 10, "t.9"), (11, 10, "2 more;"), (40, 10, "31 more;")] {
            let mut sample = Sample::kernel("6.1");
            for number in 0..tests {
                sample = sample.test(&format!("t.{number}"), "failed");
            }
            let text = annotations(&results([sample]), Path::new("/"), &ActionsJob::default());
            assert_eq!(text.lines().count(), lines);
            assert!(text.lines().last().unwrap().contains(last), "{text}");
        }
    }

    #[test]
    fn the_place_is_the_last_frame_in_the_tree() {
        let traceback = "Traceback (most recent call last):
  File \"/p/tests/a.py\", line 1, in test
  File \"/p/tests/b.py\", line 22, in helper
    x()
  File \"/p/venv/lib/python3/site-packages/c.py\", line 3, in x
  File \"/usr/lib/python3/d.py\", line 4, in y
ValueError: File \"/p/no.py\", line x
";
        let place = |tree| place(traceback, Path::new(tree));
        assert_eq!(place("/p"), Some((Path::new("/p/tests/b.py"), 22)));
        assert_eq!(
            place("/p/tests/a.py"),
            Some((Path::new("/p/tests/a.py"), 1))
        );
        assert_eq!(place("/q"), None);
    }

    #[test]
    fn guests_issue_no_commands() {
        for (text, expect) in [
            ("::error::x", expect![[r#""\\::error::x""#]]),
            (
                "a\n \t::set-output name=a::b\r::warning::c",
                expect![[r#""a\n \t\\::set-output name=a::b\r\\::warning::c""#]],
            ),
            (
                "\u{feff}\u{a0}:\u{ad}:error::x",
                expect![[r#""\u{feff}\u{a0}\\:\u{ad}:error::x""#]],
            ),
            (
                "a ##[error]b #\u{200b}#[group] ###[x",
                expect![[r#""a ##\\[error]b #\u{200b}#\\[group] ###\\[x""#]],
            ),
            (
                "a::b # #[c] ## [d] [##]",
                expect![[r#""a::b # #[c] ## [d] [##]""#]],
            ),
            ("", expect![[r#""""#]]),
        ] {
            expect.assert_eq(&format!("{:?}", harmless(text)));
        }
    }

    #[test]
    fn groups() {
        let text = "::group::6.1: 100%25%0A::x\na\nb\n::endgroup::\n";
        assert_eq!(group("6.1: 100%\n::x", "a\nb"), text);
    }

    #[test]
    fn the_summary_grows_within_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("summary");
        let job = ActionsJob {
            workspace: None,
            summary: Some(path.clone()),
        };
        let results = results([Sample::kernel("6.1").test("t", "failed")]);
        std::fs::write(&path, "before\n").unwrap();
        job.summarize(&results).unwrap();
        let once = std::fs::read_to_string(&path).unwrap();
        assert!(once.starts_with("before\n## example"), "{once}");
        std::fs::write(&path, vec![b'x'; markdown::STEP_SUMMARY - 10]).unwrap();
        job.summarize(&results).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().len(),
            markdown::STEP_SUMMARY as u64 - 10
        );
        ActionsJob::default().summarize(&results).unwrap();
    }
}
