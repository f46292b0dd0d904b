//! What can be said of a project's tests before a VM is started for them: the guest's
//! runner looks at its own arguments on this host.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{RunnerCommand, Select, shell_status};
use crate::base::{error::Failure, input, process::LongCommand, temporary::Temporary};
use crate::model::project::Project;

/// A module that takes longer to import is left to the guest.
const LONGEST_CHECK: Duration = Duration::from_secs(60);

/// What the runner says of its arguments is one line.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Looks whether a command of the runner can find a test.
///
/// # Errors
///
/// A usage error with the runner's own words: an option that it does not know, a name
/// that nothing has, a directory that is not there. What it says goes by way of `folder`.
pub fn runner(command: &RunnerCommand, tree: &Path, folder: &Path) -> Result<()> {
    let mut command = command.clone();
    command.split = None;
    command.durations = None;
    let within = command.select.is_some();
    command.select = Some(if within {
        Select::CheckWithin
    } else {
        Select::Check
    });
    let words = command.words();
    let answer = Temporary::file(&folder.join("check.log"))?;
    let mut child = LongCommand::new(&words[0])
        .args(words[1..].iter().cloned())
        .current_dir(tree)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .log(answer.as_file())?
        .spawn()?;
    let end = Instant::now() + LONGEST_CHECK;
    let mut late = false;
    let waited = child.wait_with(|| {
        late = Instant::now() > end;
        anyhow::ensure!(!late, "it took too long");
        Ok(())
    });
    if late {
        return Ok(());
    }
    // Whatever else it ends with, the guest may do better.
    if shell_status(waited?) != 2 {
        return Ok(());
    }
    let text = input::text(answer.path(), LONGEST_ANSWER)?;
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    let line = line.unwrap_or("its arguments mean nothing");
    let line = line
        .strip_prefix("run_unittests.py: error: ")
        .unwrap_or(line);
    Err(Failure::usage(line.to_owned()).into())
}

/// Looks for what the project file says is in the tree.
pub fn tree(project: &Project, tree: &Path) -> Result<(), Failure> {
    let Some(module) = &project.module else {
        return Ok(());
    };
    let source = tree.join(&module.source);
    let failure = |why: &str| {
        Err(Failure::usage(format!(
            "the kernel module of the project {} cannot be built: {} {why}",
            project.name,
            source.display()
        ))
        .hint("[module] source in vmtest.toml names the directory of its Makefile"))
    };
    if !source.is_dir() {
        return failure("is no directory");
    }
    if !["Makefile", "Kbuild", "GNUmakefile", "makefile"]
        .iter()
        .any(|name| source.join(name).exists())
    {
        return failure("has no Makefile");
    }
    Ok(())
}
