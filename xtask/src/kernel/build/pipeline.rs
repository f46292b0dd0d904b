//! What every way of building a kernel has in common: tools, configuration, make and its log.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::progress::{self, Counter};
use super::toolchain::{self, Toolchain};
use super::{BuildRequest, Make};
use crate::base::process::{LongCommand, status_in_words};
use crate::base::{
    disk, env::Env, error::Failure, format::thousands, input, paths::Paths, programs::find_program,
    time,
};
use crate::kernel::config::{self, Merged, definitions};
use crate::kernel::source;
use crate::model::{arch::Arch, version::Version};

/// In the build tree while make runs.
pub(super) const RUNNING: &str = ".vmtest-running";
/// In the build tree: the fragment that make is given.
pub(super) const FRAGMENT: &str = ".vmtest-config";

/// The tools of this host, if they can build the version.
pub(super) fn tools(env: &Env, request: &BuildRequest, version: &Version) -> Result<Toolchain> {
    let toolchain = toolchain::probe(Some(env), request.arch, request.cc.as_ref(), version)?;
    if let Some(failure) = toolchain.refusal(version) {
        return Err(failure.into());
    }
    if find_program("make").is_none() {
        let failure = Failure::setup("cannot find make");
        return Err(failure.hint("--setup installs what is missing").into());
    }
    Ok(toolchain)
}

/// A build tree and how make is called in it.
pub(super) struct BuildTree<'a> {
    pub env: &'a Env,
    pub arch: &'static Arch,
    /// What the kernel is called in messages.
    pub name: String,
    pub make: Make,
    /// make's output is appended here.
    pub log: PathBuf,
}

impl BuildTree<'_> {
    /// Writes `.config` and compares it with what was wanted: how many options are set, and
    /// how many are not in this version.
    pub fn configure(&self, version: &Version, merged: &Merged) -> Result<(usize, usize)> {
        let ui = &self.env.ui;
        let config = self.allnoconfig(&merged.allconfig(version))?;
        let audit = config::audit(merged, version, &config, None);
        let (set, absent, lost) = audit.counts();
        ui.verbose(format!(
            "options: {set} set, {absent} expected absent, {lost} lost"
        ));
        if lost == 0 {
            return Ok((set, absent));
        }
        let lines = definitions::explain(audit.lost(), &self.make.source, self.arch)?;
        let message = format!(
            "{lost} of the options wanted for {} cannot be set; {} has the rest",
            self.name,
            self.make.build.join(".config").display()
        );
        Err(Failure::setup(message).lines(lines.join("\n")).into())
    }

    /// The text of the `.config` that Kconfig makes of a fragment.
    pub fn allnoconfig(&self, text: &str) -> Result<String> {
        let build = &self.make.build;
        let fragment = build.join(FRAGMENT);
        disk::write(&fragment, text)?;
        let _task = self.env.ui.task("configuring");
        let command = self.make.command(&["allnoconfig"]);
        self.run(
            command.env("KCONFIG_ALLCONFIG", &fragment),
            "configuring",
            |_| (),
        )?;
        input::text(&build.join(".config"), input::TEXT)
    }

    /// Makes the image and the modules. The file `estimate` remembers how many objects a build
    /// of all has; without it, only make knows how many will have to be made again.
    pub fn compile(&self, estimate: Option<&Path>) -> Result<()> {
        let (ui, build) = (&self.env.ui, &self.make.build);
        let image = self.arch.image.rsplit('/').next();
        let targets = [image.unwrap_or(self.arch.image), "modules"];
        let total = estimate.map_or(0, |file| {
            let text = input::text(file, input::SMALL).unwrap_or_default();
            text.trim().parse().unwrap_or(progress::TYPICAL_OBJECTS)
        });
        let fresh = !build.join("vmlinux").exists() && !build.join("init/main.o").exists();
        let mut counter = Counter::default();
        let mut task = ui.task(format!("building {}", self.name));
        let started = Instant::now();
        self.run(self.make.command(&targets), "building", |output| {
            counter.feed(output);
            let mut text = progress::progress(counter.objects, total);
            if !ui.terminal() {
                let seconds = started.elapsed().as_secs();
                text += &format!(", {}:{:02}", seconds / 60, seconds % 60);
            }
            task.update(text);
        })?;
        drop(task);
        ui.verbose(format!(
            "{} objects in {:.0} s with -j{}",
            thousands(counter.objects),
            started.elapsed().as_secs_f64(),
            self.make.jobs
        ));
        if fresh && let Some(file) = estimate {
            // Only an estimate: without it the next one is worse.
            let _ = disk::create_directory(file.parent().unwrap_or(file));
            let _ = disk::write(file, counter.objects.to_string());
        }
        Ok(())
    }

    /// Runs a command of make's. `tick` gets the output as it comes.
    fn run(&self, command: LongCommand, doing: &str, mut tick: impl FnMut(&[u8])) -> Result<()> {
        let (build, log) = (&self.make.build, &self.log);
        let running = build.join(RUNNING);
        // Nobody would clean up in a tree that is not ours.
        if *build != self.make.source {
            disk::create_file(&running)?;
        }
        let context = || format!("cannot write the log {}", log.display());
        let file = File::options().create(true).append(true).open(log);
        let mut file = file.with_context(context)?;
        writeln!(file, "$ {}", command.display()).with_context(context)?;
        let start = file.metadata().with_context(context)?.len();
        let mut read = start;
        let mut child = command.log(&file)?.spawn()?;
        let result = child.wait_with(|| {
            let output = input::end(log, read, input::TEXT).unwrap_or_default();
            read += output.len() as u64;
            tick(&output);
            Ok(())
        });
        let status = match result {
            Ok(status) => status,
            Err(error) => {
                // make removes what it has half made when it is asked to end.
                child.terminate()?;
                return Err(error);
            }
        };
        if status.code().is_some() {
            // It ended by itself, so nothing was cut off.
            let _ = std::fs::remove_file(&running);
        }
        if status.success() {
            return Ok(());
        }
        let text = input::end(log, start, input::TEXT).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if progress::disk_was_full(&text) || disk::full(log).is_some() {
            return Err(source::disk_full(build));
        }
        let message = format!(
            "{doing} failed: make ended with {}; log: {}",
            status_in_words(status),
            log.display()
        );
        let errors = progress::first_errors(&text);
        let failure = Failure::setup(message).lines(errors.join("\n"));
        Err(match progress::remedy(&errors) {
            Some(remedy) => failure.hint(remedy).into(),
            None => failure.into(),
        })
    }
}

/// A new log file in a folder of its own.
pub(super) fn log_file(paths: &Paths, name: &str) -> Result<PathBuf> {
    let folder = format!("{}-{name}", time::file_name(time::now()));
    let folder = paths.logs().join(folder);
    disk::create_directory(&folder)?;
    Ok(folder.join("make.log"))
}
