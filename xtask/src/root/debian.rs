//! User spaces made of Debian's packages.
//!
//! apt says which packages and fetches them; they are unpacked by our own reader. No root, no
//! user namespace, and nothing of what is in them is run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::folder::{self, RootOrigin, TREE};
use super::recipe;
use crate::archive::{Tree, UnpackLimits, deb::Deb};
use crate::base::process::run_logged;
use crate::base::{disk, env::Env, error, error::Failure, format::thousands};
use crate::base::{embedded::DEBIAN_ROOT, input, interrupt, sha256::Sha256, temporary::Temporary};
use crate::model::arch::Arch;
use crate::net::apt::formats::ArchiveFile;
use crate::net::apt::suites::{SuiteLists, Suites};

/// Stable releases, the newest first: the first that has an architecture is taken.
const STABLE: [&str; 3] = ["trixie", "bookworm", "bullseye"];

/// Part of the key: to be raised when what is made of the packages changes.
const LAYOUT: &str = "1";

/// A package that every suite has for every architecture.
const PROBE: &str = "base-files";

/// The folder that is a guest's `/`.
pub fn obtain(
    env: &Env,
    suite: Option<&str>,
    arch: &'static Arch,
    packages: &[String],
) -> Result<PathBuf> {
    let mut wanted = recipe::packages()
        .map(str::to_owned)
        .collect::<BTreeSet<_>>();
    wanted.extend(packages.iter().cloned());
    let suites = suite.as_ref().map_or(&STABLE[..], std::slice::from_ref);
    let path = match ask(env, suites, arch, &wanted) {
        Ok(path) => path,
        Err(error) if error::is_final(&error) => return Err(error),
        Err(error) => {
            let here = here(env, suites, arch, &wanted)?;
            let Some(here) = here else { return Err(error) };
            env.ui.info(format!(
                "{error:#}; using {}, which is here",
                here.display()
            ));
            here
        }
    };
    folder::touch(&path)?;
    Ok(path.join(TREE))
}

/// Asks the archive; what is needed is fetched and unpacked unless it is here.
fn ask(env: &Env, suites: &[&str], arch: &Arch, wanted: &BTreeSet<String>) -> Result<PathBuf> {
    let wanted = Vec::from_iter(wanted.iter().cloned());
    let mut failure = None;
    for suite in suites {
        let opened = Suites::open(env, arch, |other| other.name == *suite)?;
        if let Some(reason) = opened.unusable() {
            failure.get_or_insert(reason);
            continue;
        }
        let Some(lists) = opened.usable().next() else {
            continue;
        };
        match lists.closure(&wanted) {
            Ok(files) => {
                let plan = RootPlan {
                    env,
                    arch,
                    suite,
                    lists,
                    wanted,
                    files,
                };
                return plan.find_or_make();
            }
            Err(error) if has_packages(lists)? => return Err(error),
            // It does not have the architecture.
            Err(_) => {}
        }
    }
    let failure = failure.map_or_else(|| no_architecture(env, suites, arch), Ok)?;
    Err(failure.into())
}

fn has_packages(lists: SuiteLists<'_>) -> Result<bool> {
    Ok(lists.names(PROBE)?.iter().any(|name| name == PROBE))
}

/// The error for suites that do not have an architecture.
fn no_architecture(env: &Env, suites: &[&str], arch: &Arch) -> Result<Failure> {
    let whole = super::suites();
    let opened = Suites::open(env, arch, |suite| whole.contains(&suite.name))?;
    let mut having = Vec::new();
    for lists in opened.usable() {
        if has_packages(lists)? {
            having.push(lists.suite());
        }
    }
    let message = format!(
        "Debian's {} has no packages for {}",
        suites.join(", "),
        arch.debian
    );
    let failure = Failure::usage(message);
    Ok(match having.as_slice() {
        [] => failure,
        having => failure.hint(format!("{} has: --root debian:SUITE", having.join(", "))),
    })
}

/// What was unpacked before and has all that is wanted.
fn here(
    env: &Env,
    suites: &[&str],
    arch: &Arch,
    wanted: &BTreeSet<String>,
) -> Result<Option<PathBuf>> {
    for folder in folder::survey(&env.paths, arch)?.into_iter().rev() {
        if suites.contains(&folder.suite.as_str()) && folder.origin()?.wanted.is_superset(wanted) {
            return Ok(Some(folder.path));
        }
    }
    Ok(None)
}

/// A user space as the archive has it now.
struct RootPlan<'p> {
    env: &'p Env,
    arch: &'p Arch,
    suite: &'p str,
    lists: SuiteLists<'p>,
    /// Packages by name.
    wanted: Vec<String>,
    files: Vec<ArchiveFile>,
}

impl RootPlan<'_> {
    fn key(&self) -> String {
        let mut hash = Sha256::default();
        hash.part(LAYOUT);
        hash.part(DEBIAN_ROOT);
        for file in &self.files {
            hash.part(&file.sha256);
        }
        hash.finish()
    }

    fn find_or_make(&self) -> Result<PathBuf> {
        let name = folder::name(self.suite, &self.key());
        let goal = self.env.paths.kernels(self.arch.name).join(&name);
        // The lock of the lists, which is held, keeps other runs from making it.
        if !goal.is_dir() {
            let context = || format!("cannot make Debian's {} for {}", self.suite, self.arch.name);
            self.make(&goal).with_context(context)?;
        }
        Ok(goal)
    }

    fn make(&self, goal: &Path) -> Result<()> {
        let temporary = Temporary::directory(goal)?;
        let folder = temporary.path();
        let size = self.files.iter().map(|file| file.size).sum::<u64>();
        let hint = "cargo xtask prune, or another --directory";
        disk::require_space(folder, "the user space", size.saturating_mul(6), hint)?;
        self.fetch(folder, size)?;
        self.unpack(&folder.join(TREE))?;
        let files = self.files.iter();
        let files = files.map(|file| (file.name.clone(), file.sha256.clone()));
        let origin = RootOrigin {
            wanted: self.wanted.iter().cloned().collect(),
            files: files.collect(),
        };
        origin.write(folder)?;
        temporary.persist()?;
        for file in &self.files {
            disk::remove_file(self.lists.archives().join(&file.name))?;
        }
        Ok(())
    }

    /// Whether the archive's file is here.
    fn has(&self, file: &ArchiveFile) -> Result<bool> {
        let path = self.lists.archives().join(&file.name);
        if !path.is_file() {
            return Ok(false);
        }
        Ok(Sha256::of(input::bytes(&path, input::LARGE)?) == file.sha256)
    }

    /// Fetches the package files. What was fetched before a signal is used by the next run.
    fn fetch(&self, folder: &Path, size: u64) -> Result<()> {
        let archives = self.lists.archives();
        for file in &self.files {
            // apt looks only at the size of what is there.
            let path = archives.join(&file.name);
            if path.exists() && !self.has(file)? {
                disk::remove_file(path)?;
            }
        }
        let title = format!("downloading Debian's {} for {}", self.suite, self.arch.name);
        let mut task = self.env.ui.task(title);
        let total = thousands(size >> 20);
        let log = folder.join("apt.log");
        run_logged(self.lists.fetch_command(&self.wanted), &log, || {
            task.update(format!(
                "{} of {total} MiB",
                thousands(received(&archives) >> 20)
            ));
            Ok(())
        })?;
        disk::remove_file(log)
    }

    fn unpack(&self, root: &Path) -> Result<()> {
        disk::create_directory(root)?;
        let title = format!("unpacking Debian's {} for {}", self.suite, self.arch.name);
        let mut task = self.env.ui.task(title);
        let mut tree = Tree::user_space(root);
        for (index, file) in self.files.iter().enumerate() {
            interrupt::check()?;
            task.update(format!("{index} of {} packages", self.files.len()));
            if !self.has(file)? {
                let message = format!("apt fetched another {} than its lists name", file.name);
                return Err(Failure::setup(message).into());
            }
            let path = self.lists.archives().join(&file.name);
            let mut unpack = || {
                let limits = UnpackLimits::of(file.size);
                Deb::open(input::open(&path)?)?.unpack(&mut tree, &limits, &recipe::place)
            };
            unpack().with_context(|| format!("cannot unpack {}", file.name))?;
        }
        recipe::finish(&mut tree)
    }
}

/// The bytes in apt's folder, whole files and others.
fn received(archives: &Path) -> u64 {
    let folders = [archives.to_owned(), archives.join("partial")];
    let files = folders
        .iter()
        .flat_map(|folder| disk::entries(folder).unwrap_or_default());
    let sizes = files.filter_map(|file| file.metadata().ok());
    sizes
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}
