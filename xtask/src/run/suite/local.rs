//! The host's own tests: the framework's runner as a process of this host.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::{Outlet, Suite, SuiteSink, local_name, pairs, python_variable};
use crate::base::process::{LongCommand, shell_status};
use crate::base::{disk, temporary::Temporary};
use crate::model::results::RunRecord;
use crate::model::run_event::RunEventKind;
use crate::run::run_folder;
use crate::vm::VmSink;

/// So often the runner is started, as in a guest; it ends by itself before.
const MOST_STARTS: u32 = 30;

impl Suite<'_> {
    pub fn run_local(&self, outlet: Outlet<'_>) -> Result<RunRecord> {
        let name = local_name();
        outlet.send(RunEventKind::Started(name.clone()))?;
        let local = (self.project.local.as_ref()).context("the project has no local tests")?;
        let host = (self.host.as_ref()).context("the project is not prepared for the host")?;
        let command = self.command(&host.python, &local.tests(), &local.exclude);
        let words = self.options.framework.run(&command);
        let log = run_folder::log_file(&self.folder, &name, "output.log");
        let mut sink = SuiteSink::new(&name, outlet, self.judge(), log, None)?;
        // In a folder of its own: the runner writes a file beside it.
        let folder = Temporary::directory(&self.folder.join("local-events"))?;
        let events = folder.path().join("events");
        let journal = folder.path().join("events.journal");
        // A file that is read while it grows: the runner writes whole lines, and nobody has
        // to keep a pipe open for it.
        disk::create_file(&events)?;
        let mut reader = File::open(&events).context("cannot read the test events")?;
        let mut environment = vec![("VMTEST_EVENTS".into(), events.into())];
        environment.extend(pairs(&local.environment));
        environment.extend(python_variable(host));
        environment.extend(self.options.environment.iter().cloned());
        sink.started()?;
        sink.boot = None;
        let mut starts = 0;
        loop {
            starts += 1;
            let status = self.run_once(&words, &host.tree, &environment, &mut reader, &mut sink)?;
            // As the guest's init does: what a process has left, another one runs.
            let left = journal.metadata().is_ok_and(|journal| journal.len() > 0);
            if !left || starts >= MOST_STARTS {
                return sink.finish_local(status);
            }
            let file = File::options().append(true).open(&journal);
            file.and_then(|mut file| writeln!(file, "\n{{\"status\":{status}}}"))
                .with_context(|| format!("cannot write {}", journal.display()))?;
        }
    }

    /// One process of the runner, to its end; its status, 128+N for signal N.
    fn run_once(
        &self,
        words: &[OsString],
        tree: &Path,
        environment: &[(OsString, OsString)],
        reader: &mut File,
        sink: &mut SuiteSink<'_>,
    ) -> Result<u8> {
        let log = File::options().append(true).open(&sink.output_log);
        let log = log.with_context(|| format!("cannot write {}", sink.output_log.display()))?;
        let mut child = LongCommand::new(&words[0])
            .args(words[1..].iter().cloned())
            .credentials()
            .current_dir(tree)
            .log(&log)?;
        for (name, value) in environment {
            child = child.env(name, value);
        }
        let mut buffer = vec![0; 64 * 1024];
        let mut drain = |sink: &mut SuiteSink<'_>| loop {
            match reader
                .read(&mut buffer)
                .context("cannot read the test events")?
            {
                0 => return Ok(()),
                n => sink.events(&buffer[..n])?,
            }
        };
        let status = child.spawn()?.wait_with(|| {
            sink.outlet.check()?;
            drain(sink)
        })?;
        drain(sink)?;
        Ok(shell_status(status))
    }
}
