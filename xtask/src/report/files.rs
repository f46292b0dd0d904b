//! The reports beside a session's `results.jsonl`, and where results are.

use std::io::Write;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use super::formats::{FORMATS, ReportLook};
use super::merge::MergedResults;
use crate::base::temporary::{self, Temporary};
use crate::base::{disk, error::Failure, input};
use crate::model::results::{RESULTS, Results, there_already};

/// How deep results are looked for: a job's artifact has a folder, with the session's in it.
const DEPTH: usize = 4;

/// Writes the reports that are files into a session's folder, each complete or not at all.
pub fn write(results: &Results, folder: &Path) -> Result<()> {
    for format in &FORMATS {
        if let Some(name) = format.file {
            let text = (format.render)(results, &ReportLook::default());
            write_file(&folder.join(name), &text)?;
        }
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    let file = Temporary::file(path)?;
    file.as_file()
        .write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.persist()
}

/// Makes the folder of merged results. These come last, because with them it is finished: what
/// was killed before can be done again, and what fails leaves the folder as it was.
pub fn write_merged(
    merged: &MergedResults,
    parts: &[PathBuf],
    folder: &Path,
    new: bool,
) -> Result<()> {
    let text = merged.text()?;
    let there = folder.join(RESULTS);
    // A run that was killed after all was in place has left something, and can be repeated.
    let killed = temporary::sweep(folder).unwrap_or_default() > 0;
    if there.exists() && !(killed && read_text(&there)? == text) {
        return Err(there_already(&there).into());
    }
    let stage = match new {
        true => Temporary::directory(folder)?,
        false => Temporary::directory(&folder.join("merged"))?,
    };
    for part in parts {
        let from = part.parent().unwrap_or(Path::new("."));
        take_logs(&merged.results, from, stage.path())?;
    }
    write(&merged.results, stage.path())?;
    let results = stage.path().join(RESULTS);
    write_file(&results, &text)?;
    if new {
        return stage.persist();
    }
    move_into(stage.path(), folder, &results)?;
    disk::rename(&results, &there)
}

/// Moves all files but one into a folder, in the place of what has their names there.
fn move_into(from: &Path, to: &Path, but: &Path) -> Result<()> {
    for path in disk::entries(from)? {
        let goal = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            disk::create_directory(&goal)?;
            move_into(&path, &goal, but)?;
        } else if path != but {
            disk::rename(&path, &goal)?;
        }
    }
    Ok(())
}

/// Reads the results at a path: a session's folder, or the file itself.
pub fn read(path: &Path) -> Result<Results> {
    let file = match path.is_dir() {
        true => path.join(RESULTS),
        false => path.to_owned(),
    };
    parse(&read_text(&file)?, &file.display().to_string())
}

pub(super) fn parse(text: &str, place: &str) -> Result<Results> {
    let unreadable = |error| Failure::usage(format!("cannot read {place}: {error:#}"));
    Ok(Results::parse(text).map_err(unreadable)?)
}

/// The text of a results file. What is not UTF-8 is replaced: it is in a line that was cut off.
pub fn read_text(file: &Path) -> Result<String> {
    let failure = match input::bytes(file, input::LARGE) {
        Ok(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if input::is_missing(&error) => {
            Failure::usage(format!("there is no {}", file.display()))
                .hint("name the folder of a session, as `test` prints it at its end")
        }
        Err(error) => Failure::usage(format!("{error:#}")),
    };
    Err(failure.into())
}

/// The newest session's results below `logs`: folders are named by time.
pub fn newest(logs: &Path) -> Result<PathBuf> {
    results_below(logs, 2)?.pop().ok_or_else(|| {
        Failure::usage(format!("there are no results in {}", logs.display()))
            .hint("cargo xtask test leaves some, or name their folder")
            .into()
    })
}

/// The results files at and below a path, sorted; a usage error if there are none.
pub fn find(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let files = results_below(path, DEPTH)?;
    if files.is_empty() {
        let message = format!("there is no {RESULTS} in {}", path.display());
        return Err(Failure::usage(message).into());
    }
    Ok(files)
}

fn results_below(folder: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let file = folder.join(RESULTS);
    if file.is_file() {
        return Ok(vec![file]);
    }
    let mut files = Vec::new();
    if depth > 1 && folder.is_dir() {
        for path in disk::entries(folder)? {
            // A link may lead back up.
            if path.is_dir() && !path.is_symlink() {
                files.extend(results_below(&path, depth - 1)?);
            }
        }
    }
    Ok(files)
}

/// Puts the logs that the results name beside the merged ones, under the names that they
/// have there. Large ones (memory dumps) are linked where that can be done.
fn take_logs(results: &Results, from: &Path, to: &Path) -> Result<()> {
    for (_, log) in results.runs.iter().flat_map(|run| &run.evidence.logs) {
        let (source, goal) = (from.join(log), to.join(log));
        if goal.exists() || !is_plain_file(from, log) {
            continue;
        }
        disk::create_directory(goal.parent().unwrap_or(to))?;
        std::fs::hard_link(&source, &goal)
            .or_else(|_| std::fs::copy(&source, &goal).map(drop))
            .with_context(|| format!("cannot copy {} to {}", source.display(), goal.display()))?;
    }
    Ok(())
}

/// Whether a path is that of a regular file below a folder, and no link leads to it. Results
/// come from other machines: a link in them would take along a file of this one. A log with
/// a place of its own stays there.
fn is_plain_file(folder: &Path, path: &Path) -> bool {
    let mut place = folder.to_owned();
    let is_step = |part: Component<'_>| {
        place.push(part);
        matches!(part, Component::Normal(_)) && !place.is_symlink()
    };
    path.components().all(is_step) && place.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{self as samples, Sample, results};

    #[test]
    fn all_reports_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let results = results([Sample::kernel("6.1").test("t", "passed")]);
        std::fs::write(directory.path().join("junit.xml"), "old").unwrap();
        write(&results, directory.path()).unwrap();
        let files =
            ["junit.xml", "report.html", "report.md"].map(|name| directory.path().join(name));
        assert_eq!(disk::entries(directory.path()).unwrap(), files);
        let junit = std::fs::read_to_string(&files[0]).unwrap();
        assert_eq!(junit, crate::report::junit::render(&results));
    }

    #[test]
    fn results_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path();
        let status = |error| crate::base::error::exit_status(&error);
        assert_eq!(status(newest(&logs.join("none")).unwrap_err()), 2);
        assert_eq!(status(find(logs).unwrap_err()), 2);
        let text = samples::text(&samples::session(), [Sample::kernel("6.1")]);
        for folder in [
            "20260101-000000-9",
            "20261125-101010-1",
            "20261125-101009-3",
            "a/b/c",
        ] {
            std::fs::create_dir_all(logs.join(folder)).unwrap();
            if folder != "20261125-101010-1" {
                std::fs::write(logs.join(folder).join(RESULTS), &text).unwrap();
            }
        }
        let third = logs.join("20261125-101009-3").join(RESULTS);
        assert_eq!(newest(logs).unwrap(), third);
        assert_eq!(
            read(third.parent().unwrap()).unwrap(),
            read(&third).unwrap()
        );
        assert_eq!(find(&third).unwrap(), std::slice::from_ref(&third));
        assert_eq!(
            find(logs).unwrap(),
            [
                logs.join("20260101-000000-9").join(RESULTS),
                third,
                logs.join("a/b/c").join(RESULTS),
            ]
        );
        let empty = logs.join("20261125-101010-1");
        assert_eq!(status(read(&empty).unwrap_err()), 2);
        std::fs::write(empty.join(RESULTS), "\u{0}\n").unwrap();
        assert_eq!(status(read(&empty).unwrap_err()), 2);
    }

    #[test]
    fn logs_come_along() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(directory.path().join("secret"), "s").unwrap();
        std::fs::write(from.join("console.log"), "c").unwrap();
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, from.join(name)).unwrap();
        };
        link(&directory.path().join("secret"), "output.log");
        link(directory.path(), "folder");
        let mut results = results([Sample::kernel("6.1").panicked(None)]);
        let logs = &mut results.runs[0].evidence.logs;
        logs.push(("output".to_owned(), "../secret".into()));
        logs.push(("dump".to_owned(), "gone".into()));
        logs.push(("output".to_owned(), "output.log".into()));
        logs.push(("output".to_owned(), "folder/secret".into()));
        take_logs(&results, &from, &to).unwrap();
        assert_eq!(
            std::fs::read_to_string(to.join("console.log")).unwrap(),
            "c"
        );
        assert_eq!(to.read_dir().unwrap().count(), 1);
        take_logs(&results, &from, &to).unwrap();
    }
}
