//! The reports beside a session's `results.jsonl`, and where results are.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::merge::Merged;
use super::{html, junit, markdown};
use crate::base::error::Failure;
use crate::base::input;
use crate::base::temporary;
use crate::kernel::store::{self, Temporary};
use crate::model::results::Results;
use crate::run::run_folder::{self, RESULTS};

/// So deep below a directory results are looked for: an artifact of a job has a folder
/// of its own, and may have the session's folder in it.
const DEPTH: usize = 4;

/// Writes all reports into a session's folder, each of them complete or not at all; the
/// files.
///
/// # Errors
///
/// One cannot be written.
pub fn write(results: &Results, folder: &Path) -> Result<Vec<PathBuf>> {
    let reports = [
        ("junit.xml", junit::render(results)),
        (
            "report.md",
            markdown::render(results, markdown::PULL_REQUEST),
        ),
        ("report.html", html::render(results)),
    ];
    let mut files = Vec::new();
    for (name, text) in reports {
        let path = folder.join(name);
        write_file(&path, &text)?;
        files.push(path);
    }
    Ok(files)
}

/// Makes the folder of merged results: that which is named, or a new one below `logs`. All
/// that is in it comes before the results, because with them it is finished; what was killed
/// before that can be done again.
///
/// # Errors
///
/// Something cannot be written; it is as if nothing had been then. The folder has results,
/// which are not overwritten: a usage error.
pub fn write_merged(
    merged: &Merged,
    parts: &[PathBuf],
    output: Option<&Path>,
    logs: &Path,
) -> Result<PathBuf> {
    let folder = match output {
        Some(folder) => folder.to_owned(),
        None => run_folder::unique(logs)?,
    };
    let text = merged.text()?;
    let there = folder.join(RESULTS);
    // A run that was killed after all was in place has left something, and can be repeated.
    let killed = temporary::sweep(&folder).unwrap_or_default() > 0;
    if there.exists() && !(killed && read_text(&there)? == text) {
        return Err(run_folder::there_already(&there).into());
    }
    let stage = match output {
        Some(_) => Temporary::directory(&folder.join("merged"))?,
        None => Temporary::directory(&folder)?,
    };
    for part in parts {
        let from = part.parent().unwrap_or(Path::new("."));
        take_logs(&merged.results, from, stage.path())?;
    }
    write(&merged.results, stage.path())?;
    let results = stage.path().join(RESULTS);
    write_file(&results, &text)?;
    match output {
        None => stage.persist()?,
        Some(_) => move_into(stage.path(), &folder, &results)?,
    }
    Ok(folder)
}

/// Moves all files into a folder, in the place of what has their names there, one of them
/// last.
fn move_into(from: &Path, to: &Path, last: &Path) -> Result<()> {
    let moved = |from: &Path, to: &Path| {
        let context = || format!("cannot create {}", to.display());
        std::fs::rename(from, to).with_context(context)
    };
    let entries = store::entries(from)?.into_iter();
    for path in entries.filter(|path| path != last) {
        let goal = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            store::create_directory(&goal)?;
            move_into(&path, &goal, last)?;
        } else {
            moved(&path, &goal)?;
        }
    }
    match last.strip_prefix(from) {
        Ok(name) => moved(last, &to.join(name)),
        Err(_) => Ok(()),
    }
}

/// Writes a file, complete or not at all.
///
/// # Errors
///
/// It cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    let file = Temporary::file(path)?;
    file.as_file()
        .write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.persist()
}

/// Reads the results at a path: a session's folder, or the file itself.
///
/// # Errors
///
/// There are none, or it has no line of ours: usage errors. It cannot be read.
pub fn read(path: &Path) -> Result<Results> {
    let file = if path.is_dir() {
        path.join(RESULTS)
    } else {
        path.to_owned()
    };
    let text = read_text(&file)?;
    let results = Results::parse(&text)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error:#}", file.display())))?;
    Ok(results)
}

/// The text of a results file. What is not UTF-8 is replaced: a line of it is cut off.
///
/// # Errors
///
/// It is not there: a usage error. It cannot be read.
pub fn read_text(file: &Path) -> Result<String> {
    match input::bytes(file, input::LARGE) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("there is no {}", file.display());
            let hint = "name the folder of a session, as `test` prints it at its end";
            Err(Failure::usage(message).hint(hint).into())
        }
        Err(error) => {
            Err(Failure::usage(format!("cannot read {}: {error}", file.display())).into())
        }
    }
}

/// The newest session's folder below `logs`: they are named by time. Folders without
/// results are of commands that have none.
///
/// # Errors
///
/// There is none: a usage error.
pub fn newest(logs: &Path) -> Result<PathBuf> {
    let mut folders = results_below(logs, 2)?;
    match folders.pop() {
        Some(file) => Ok(file),
        None => {
            let message = format!("there are no results in {}", logs.display());
            let hint = "cargo xtask test leaves some, or name their folder";
            Err(Failure::usage(message).hint(hint).into())
        }
    }
}

/// The results files at and below a path, sorted.
///
/// # Errors
///
/// There are none: a usage error. A directory cannot be read.
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
        let context = || format!("cannot read {}", folder.display());
        for entry in folder.read_dir().with_context(context)? {
            let entry = entry.with_context(context)?;
            // A link may lead back up.
            if entry.file_type().with_context(context)?.is_dir() {
                files.extend(results_below(&entry.path(), depth - 1)?);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Puts the logs that the results name beside the merged ones, under the names that they
/// have there. Large ones (memory dumps) are linked where that can be done.
///
/// # Errors
///
/// One cannot be copied.
pub fn take_logs(results: &Results, from: &Path, to: &Path) -> Result<()> {
    let logs = results.runs.iter().flat_map(|run| &run.evidence.logs);
    for (_, log) in logs {
        // One with a place of its own stays there; nothing may lead out of the folder.
        let is_inside = log
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        let (source, goal) = (from.join(log), to.join(log));
        if !is_inside || goal.exists() || !is_plain_file(from, log) {
            continue;
        }
        if let Some(parent) = goal.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        if std::fs::hard_link(&source, &goal).is_err() {
            std::fs::copy(&source, &goal).with_context(|| {
                format!("cannot copy {} to {}", source.display(), goal.display())
            })?;
        }
    }
    Ok(())
}

/// Whether a path below a folder is a regular file that no link leads to. Results come from
/// other machines: a link in them would take along a file of this one.
fn is_plain_file(folder: &Path, path: &Path) -> bool {
    let mut place = folder.to_owned();
    for part in path.components() {
        place.push(part);
        if place.is_symlink() {
            return false;
        }
    }
    place.is_file()
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
        let mut files = write(&results, directory.path()).unwrap();
        files.sort();
        let mut there = directory
            .path()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>();
        there.sort();
        assert_eq!(files, there);
        let junit = std::fs::read_to_string(&files[0]).unwrap();
        assert_eq!(junit, junit::render(&results));
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
