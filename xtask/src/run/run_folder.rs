//! The folder of a session, `log/<when>-<digits>/` in the work directory:
//!
//! - `results.jsonl`: see [`crate::model::results`],
//! - `<kernel>.<arch>-output.log`: what the tests printed,
//! - `<kernel>.<arch>-crash-output.log`: what those after its crash did,
//! - `<kernel>.<arch>-console.log`: the kernel's messages, those after a crash too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use crate::base::{disk, input, temporary, time};
use crate::model::results::{self, RESULTS, Results, RunName, Session, there_already};
use crate::model::run_event::{RunEvent, RunEventKind};

#[derive(Debug)]
pub struct RunFolder {
    pub path: PathBuf,
    results: BufWriter<File>,
    /// Of the runs that have been started, by their place in the session.
    names: BTreeMap<usize, RunName>,
}

impl RunFolder {
    /// Makes a folder of its own below `logs`, named by time so that they sort.
    pub fn create(logs: &Path) -> Result<Self> {
        Self::at(unique(logs)?)
    }

    /// Makes this folder, or uses it if it is there and has no results. A run that was
    /// killed before its first line has left none.
    pub fn at(path: PathBuf) -> Result<Self> {
        disk::create_directory(&path)?;
        let file = path.join(RESULTS);
        let context = || format!("cannot create {}", file.display());
        // A link may lead anywhere, and a pipe waits.
        let other = |metadata: std::fs::Metadata| !metadata.is_file();
        if file.symlink_metadata().is_ok_and(other) {
            return Err(there_already(&file).into());
        }
        let results = File::options()
            .create(true)
            .append(true)
            .open(&file)
            .with_context(context)?;
        let free = results.try_lock().is_ok();
        if !free || results.metadata().with_context(context)?.len() > 0 {
            return Err(there_already(&file).into());
        }
        Ok(Self {
            path,
            results: BufWriter::new(results),
            names: BTreeMap::new(),
        })
    }

    pub fn begin(&mut self, session: &Session) -> Result<()> {
        self.write("session-started", None, 0, session)?;
        self.flush()
    }

    pub fn end(&mut self, findings: &[String]) -> Result<()> {
        for finding in findings {
            self.write("session-finding", None, 0, &json!({ "text": finding }))?;
        }
        self.write("session-finished", None, 0, &json!({}))?;
        self.flush()
    }

    /// Writes what happened to a run. Whoever looks at the file while tests hang sees
    /// which one it is, and nothing is lost when we are killed: each line is in the
    /// file when this returns.
    pub fn take(&mut self, event: &RunEvent) -> Result<()> {
        let RunEvent { run, shard, kind } = event;
        if let RunEventKind::Started(name) = kind {
            self.names.insert(*run, name.clone());
        }
        let name = self.names.get(run).cloned();
        let (name, shard) = (name.as_ref(), *shard);
        match kind {
            RunEventKind::Preparing(_) | RunEventKind::CommandStarted => return Ok(()),
            RunEventKind::Started(_) => self.write("vm-started", name, shard, &json!({}))?,
            RunEventKind::Test(event) => self.write("", name, shard, event)?,
            RunEventKind::Retried(outcome) => self.write("vm-retried", name, shard, outcome)?,
            RunEventKind::Finished(record) => self.write("vm-finished", name, shard, record)?,
        }
        self.flush()
    }

    pub fn results(&self) -> Result<Results> {
        let file = self.path.join(RESULTS);
        let context = || format!("cannot read {}", file.display());
        let text = input::text(&file, input::LARGE).with_context(context)?;
        Results::parse(&text).with_context(context)
    }

    /// Without a name of its own the event says in its fields what it is.
    fn write(
        &mut self,
        event: &str,
        name: Option<&RunName>,
        shard: u32,
        fields: &impl Serialize,
    ) -> Result<()> {
        let shard = (shard > 0).then_some(shard);
        let line = results::line(event, name, shard, fields)?;
        writeln!(self.results, "{line}").with_context(|| self.failure())
    }

    fn flush(&mut self) -> Result<()> {
        let flushed = self.results.flush();
        flushed.with_context(|| self.failure())
    }

    fn failure(&self) -> String {
        format!("cannot write {}", self.path.join(RESULTS).display())
    }
}

/// A path below `logs` that no other run has, not in another PID namespace either. By their
/// names folders are in the order of time.
pub fn unique(logs: &Path) -> Result<PathBuf> {
    let now = SystemTime::now();
    let second = time::file_name(time::unix(now));
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    // One process may make several within a second.
    let thousandth = since.subsec_millis();
    let digits = temporary::random_digits(8).context("there are no random bytes")?;
    Ok(logs.join(format!("{second}-{thousandth:03}-{digits}")))
}

/// A file of one run in a session's folder.
pub fn log_file(folder: &Path, name: &RunName, what: &str) -> PathBuf {
    // A request that gave no kernel may be a path.
    let mut file = name.kernel.replace(|c: char| !file_character(c), "_");
    if !name.arch.is_empty() {
        file = format!("{file}.{}", name.arch);
    }
    if let Some(phase) = &name.phase {
        file = format!("{file}-{phase}");
    }
    folder.join(format!("{file}-{what}"))
}

fn file_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._+~-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::results::RunRecord;
    use crate::model::test_event::{RunOutcome, TestEvent};

    fn name(kernel: &str) -> RunName {
        RunName {
            kernel: kernel.to_owned(),
            arch: "x86_64".to_owned(),
            flavor: None,
            phase: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut folder = RunFolder::create(directory.path()).unwrap();
        let session = Session {
            project: "p".to_owned(),
            ..Session::default()
        };
        folder.begin(&session).unwrap();
        let mut take = |run, shard, kind| {
            folder.take(&RunEvent { run, shard, kind }).unwrap();
        };
        let two = name("6.2.2");
        take(0, 0, RunEventKind::Started(name("6.1.1")));
        take(1, 0, RunEventKind::Started(two.clone()));
        for (run, shard) in [(0, 1), (1, 0), (0, 2)] {
            let event = TestEvent::RunStarted {
                tests: 3,
                all: None,
            };
            take(run, shard, RunEventKind::Test(event));
        }
        let lost = RunOutcome::Lost {
            how: "x".to_owned(),
            running: None,
        };
        take(1, 0, RunEventKind::Retried(lost));
        let record = RunRecord::not_started(
            two,
            crate::model::test_event::Stage::Build,
            &anyhow::anyhow!("y"),
        );
        take(1, 0, RunEventKind::Finished(Box::new(record)));
        folder.end(&["odd".to_owned()]).unwrap();
        let text = std::fs::read_to_string(folder.path.join(RESULTS)).unwrap();
        let results = Results::parse(&text).unwrap();
        assert_eq!(results.session, session);
        assert!(results.finished);
        assert_eq!(results.findings, ["odd"]);
        assert_eq!(results.runs[0].tally.tests, Some(6));
        assert_eq!(results.runs[0].outcome.name(), "lost");
        assert_eq!(results.runs[1].outcome.name(), "build failed");
        assert_eq!(results.runs[1].tally.tests, None);
        assert_eq!(results.runs[1].retries.len(), 1);
    }

    #[test]
    fn results_are_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let status = || crate::base::error::exit_status(&RunFolder::at(path.clone()).unwrap_err());
        // A run that is there but has written nothing yet.
        let mut folder = RunFolder::at(path.clone()).unwrap();
        assert_eq!(status(), 2);
        folder.end(&[]).unwrap();
        assert_eq!(status(), 2);
        drop(folder);
        assert_eq!(status(), 2);
        // One that was killed then.
        File::create(path.join(RESULTS)).unwrap();
        RunFolder::at(path.clone()).unwrap();
    }

    #[test]
    fn folders_are_in_the_order_of_time_and_do_not_meet() {
        let logs = Path::new("/l");
        let one = unique(logs).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let two = unique(logs).unwrap();
        assert!(one < two, "{} {}", one.display(), two.display());
        let name = one.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), "20261129-144100-123-01234567".len());
    }

    #[test]
    fn a_request_that_is_a_path_gives_a_file_name() {
        assert_eq!(
            log_file(Path::new("/l"), &name("../6.1.*"), "output.log"),
            Path::new("/l/.._6.1._.x86_64-output.log")
        );
        assert_eq!(
            log_file(Path::new("/l"), &name("6.1").crash(), "output.log"),
            Path::new("/l/6.1.x86_64-crash-output.log")
        );
    }
}
