//! What every way of building a kernel has in common: tools, configuration, make and its log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Make;
use super::progress::{self, Counter};
use super::toolchain::{self, Quirks, Toolchain};
use crate::base::process::{LongCommand, shell_quote, status_in_words};
use crate::base::{
    disk, env::Env, error::Failure, format::thousands, input, paths::Paths, programs::find_program,
    time,
};
use crate::kernel::config::{self, Merged, definitions};
use crate::kernel::source;
use crate::model::{arch::Arch, version::Version};

/// In the build tree while make runs.
pub(super) const RUNNING: &str = ".vmtest-running";
/// In the build tree: our wrappers of tools.
pub(super) const WRAPPERS: &str = ".vmtest-tools";
/// In the build tree: the fragment that make is given.
pub(super) const FRAGMENT: &str = ".vmtest-config";

/// The tools of this host, if they can build the version.
pub(super) fn tools(arch: &Arch, cc: Option<&str>, version: &Version) -> Result<Toolchain> {
    let toolchain = toolchain::probe(arch, cc)?;
    toolchain
        .quirks(version)
        .check(version, &toolchain.compiler)?;
    if find_program("make").is_none() {
        return Err(Failure::setup("cannot find make")
            .hint("--setup installs what is missing")
            .into());
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
    pub log: Log,
}

impl BuildTree<'_> {
    /// Writes `.config` and compares it with what was wanted: how many options are set, and
    /// how many are not in this version.
    pub fn configure(&mut self, version: &Version, merged: &Merged) -> Result<(usize, usize)> {
        let (ui, build) = (&self.env.ui, &self.make.build);
        let fragment = build.join(FRAGMENT);
        disk::write(&fragment, merged.allconfig(version))?;
        let task = ui.task("configuring");
        let command = self.make.command(&["allnoconfig"]);
        let command = command.env("KCONFIG_ALLCONFIG", &fragment);
        self.log.run(command, "configuring", build, |_| Ok(()))?;
        drop(task);
        let path = build.join(".config");
        let config = input::text(&path, input::TEXT)?;
        let audit = config::audit(merged, version, &config);
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
            path.display()
        );
        Err(Failure::setup(message).lines(lines.join("\n")).into())
    }

    /// Makes the image and the modules. The file `estimate` remembers how many objects a build
    /// of all has; without it, only make knows how many will have to be made again.
    pub fn compile(&mut self, estimate: Option<&Path>) -> Result<()> {
        let (ui, build) = (&self.env.ui, &self.make.build);
        let image = self.arch.image.rsplit('/').next();
        let targets = [image.unwrap_or(self.arch.image), "modules"];
        let total = estimate.map(|file| {
            let text = input::text(file, input::SMALL).unwrap_or_default();
            text.trim().parse().unwrap_or(progress::TYPICAL_OBJECTS)
        });
        let fresh = !build.join("vmlinux").exists() && !build.join("init/main.o").exists();
        let mut counter = Counter::default();
        let mut task = ui.task(format!("building {}", self.name));
        let started = Instant::now();
        let command = self.make.command(&targets);
        self.log.run(command, "building", build, |output| {
            counter.feed(output);
            let text = progress::progress(counter.objects(), total.unwrap_or(0));
            task.update(if ui.terminal() {
                text
            } else {
                let seconds = started.elapsed().as_secs();
                format!("{text}, {}:{:02}", seconds / 60, seconds % 60)
            });
            Ok(())
        })?;
        drop(task);
        ui.verbose(format!(
            "{} objects in {:.0} s with -j{}",
            thousands(counter.objects()),
            started.elapsed().as_secs_f64(),
            self.make.jobs
        ));
        if fresh && let Some(file) = estimate {
            // Only an estimate: without it the next one is worse.
            let _ = disk::create_directory(file.parent().unwrap_or(file));
            let _ = std::fs::write(file, counter.objects().to_string());
        }
        Ok(())
    }
}

/// A new log file in a folder of its own.
pub(super) fn log_file(paths: &Paths, name: &str) -> Result<PathBuf> {
    let folder = paths
        .logs()
        .join(format!("{}-{name}", time::file_name(time::now())));
    disk::create_directory(&folder)?;
    Ok(folder.join("make.log"))
}

/// make's output, in a file.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// Whether a build that was killed is to be seen in its tree.
    marks: bool,
}

impl Log {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write the log {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            marks: true,
        })
    }

    /// For a tree that is not ours: nobody cleans up there.
    pub fn without_marks(self) -> Self {
        Self {
            marks: false,
            ..self
        }
    }

    /// Runs a command of make's. `tick` gets the output as it comes.
    fn run(
        &mut self,
        command: LongCommand,
        doing: &str,
        build: &Path,
        mut tick: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let running = build.join(RUNNING);
        if self.marks {
            disk::create_file(&running)?;
        }
        writeln!(self.file, "$ {}", command.display())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        let start = self.file.metadata().map_or(0, |metadata| metadata.len());
        let mut reader = File::open(&self.path)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        reader.seek(SeekFrom::Start(start))?;
        let mut buffer = vec![0; 1 << 16];
        let mut child = command.log(&self.file)?.spawn()?;
        let result = child.wait_with(|| {
            loop {
                match reader.read(&mut buffer)? {
                    0 => return Ok(()),
                    n => tick(&buffer[..n])?,
                }
            }
        });
        let status = match result {
            Ok(status) => status,
            Err(error) => {
                // make removes what it has half made when it is asked to end.
                child.terminate()?;
                return Err(error);
            }
        };
        if status.success() {
            let _ = std::fs::remove_file(&running);
            return Ok(());
        }
        if status.code().is_some() {
            // It ended by itself, so nothing was cut off.
            let _ = std::fs::remove_file(&running);
        }
        let bytes = input::end(&self.path, start, input::TEXT).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        if progress::disk_was_full(&text) || disk::full(&self.path).is_some() {
            return Err(source::disk_full(build));
        }
        let lines = progress::first_errors(&text).join("\n");
        Err(Failure::setup(format!(
            "{doing} failed: make ended with {}; log: {}",
            status_in_words(status),
            self.path.display()
        ))
        .lines(lines)
        .into())
    }
}

/// The wrapper of pahole. The kernel's scripts give it a bare `-j` (pahole 1.22 and
/// newer), with which the order of types in BTF is that in which threads get ready:
/// another one in every build. Versions that can keep the order do so only when asked
/// in ways that differ, so threads are switched off for all.
fn pahole_wrapper(pahole: &Path, flags: &[&str]) -> String {
    let flags = flags
        .iter()
        .map(|flag| format!(" {flag}"))
        .collect::<String>();
    format!(
        r#"#!/bin/sh
encode=
for argument do
	shift
	case $argument in
	-j | -j[0-9]* | --jobs | --jobs=*) continue ;;
	-J | --btf_encode | --btf_encode_detached | --btf_encode_detached=*) encode=1 ;;
	esac
	set -- "$@" "$argument"
done
exec {pahole} ${{encode:+{flags}}} "$@"
"#,
        pahole = shell_quote(&pahole.to_string_lossy()),
        flags = flags.trim_start(),
    )
}

pub(super) fn write_wrappers(
    directory: &Path,
    toolchain: &Toolchain,
    quirks: &Quirks,
) -> Result<()> {
    let context = || format!("cannot write {}", directory.display());
    std::fs::create_dir_all(directory).with_context(context)?;
    if let Some(pahole) = &toolchain.pahole {
        let text = pahole_wrapper(&pahole.path, &quirks.pahole_flags());
        let path = directory.join("pahole");
        // Written only if it differs: objects may depend on it.
        if input::text(&path, input::SMALL).is_ok_and(|old| old == text) {
            return Ok(());
        }
        std::fs::write(&path, text).with_context(context)?;
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).with_context(context)?;
    }
    Ok(())
}
