//! Userspaces made of Debian's packages.
//!
//! apt says which packages and fetches them; they are unpacked by our own reader. No root, no
//! user namespace, and nothing of what is in them is run, but compilers ([`super::compiler`]).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::folder::{self, RootOrigin, TREE};
use super::recipe;
use crate::archive::{Tree, UnpackLimits, deb::Deb};
use crate::base::process::run_logged;
use crate::base::{disk, env::Env, error, error::Failure, format::thousands};
use crate::base::{
    embedded::DEBIAN_ROOT, input, interrupt, lock, sha256::Sha256, temporary::Temporary,
};
use crate::model::arch::Arch;
use crate::net::apt::formats::ArchiveFile;
use crate::net::apt::suites::{SuiteLists, Suites};

/// Stable releases, the newest first: the first that has an architecture is taken.
const STABLE: [&str; 3] = ["trixie", "bookworm", "bullseye"];

/// A package that every suite has for every architecture.
const PROBE: &str = "base-files";

/// What is made of packages.
pub struct Contents<'c> {
    pub wanted: &'c [String],
    /// Before the suite in messages: `gcc-10 of `.
    pub what: &'c str,
    /// Part of the key: to be raised when `finish` makes something else.
    pub layout: &'c str,
    /// Makes what no package has. Gets the canonical path that the tree will have, too.
    pub finish: &'c dyn Fn(&mut Tree, &Path) -> Result<()>,
}

/// The folder that is a guest's `/`.
pub fn obtain(
    env: &Env,
    suite: Option<&str>,
    arch: &'static Arch,
    packages: &[String],
) -> Result<PathBuf> {
    let mut wanted = recipe::packages().map(str::to_owned).collect::<Vec<_>>();
    wanted.extend(packages.iter().cloned());
    wanted.sort();
    wanted.dedup();
    let contents = Contents {
        wanted: &wanted,
        what: "",
        layout: "1",
        finish: &|tree, _| recipe::finish(tree),
    };
    let suites = suite.as_ref().map_or(&STABLE[..], std::slice::from_ref);
    let mut failure = None;
    for suite in suites {
        let asked = ask(env, suite, arch, &contents, suites.len() > 1);
        let error = match asked {
            Err(error) if !error::is_final(&error) => error,
            asked => return used(asked?),
        };
        if let Some(here) = here(env, suite, arch, &wanted)? {
            let name = here.display();
            env.ui
                .info(format!("{error:#}; using {name}, which is here"));
            return used(here);
        }
        if failure.is_none() && suites.len() > 1 {
            env.ui.info(format!("{error:#}; trying an older suite"));
        }
        failure.get_or_insert(error);
    }
    Err(failure.context("no suite")?)
}

pub(super) fn used(folder: PathBuf) -> Result<PathBuf> {
    folder::touch(&folder)?;
    Ok(folder.join(TREE))
}

/// Asks the archive; what is needed is fetched and unpacked unless it is here. What the archive
/// did not have is asked for again only if there are no `others` that will do.
pub(super) fn ask(
    env: &Env,
    suite: &str,
    arch: &Arch,
    contents: &Contents<'_>,
    others: bool,
) -> Result<PathBuf> {
    let wanted = contents.wanted;
    let opened = Suites::open(env, arch, |other| other.name == suite)?;
    if let Some(failure) = opened.unusable() {
        return Err(failure.into());
    }
    let lists = opened.usable().next().context("no suite")?;
    let files = match lists.closure(wanted) {
        Ok(files) => files,
        Err(_) if !has_packages(lists)? => {
            // Whoever holds the lists cannot open others.
            drop(opened);
            return Err(no_architecture(env, suite, arch)?.into());
        }
        Err(error) => return Err(error),
    };
    let absent = lists.absent(wanted)?.filter(|_| others);
    // Whoever unpacks, or waits for that, keeps nobody from the lists.
    drop(opened);
    let plan = RootPlan {
        env,
        arch,
        suite,
        contents,
        files,
    };
    let context = || format!("cannot make {}", plan.title());
    match absent {
        Some(reason) => Err(unfetched(reason)),
        None => plan.find_or_make(),
    }
    .with_context(context)
}

fn has_packages(lists: SuiteLists<'_>) -> Result<bool> {
    Ok(lists.names(PROBE)?.iter().any(|name| name == PROBE))
}

/// The error for a suite that does not have an architecture.
fn no_architecture(env: &Env, suite: &str, arch: &Arch) -> Result<Failure> {
    let whole = super::suites();
    let opened = Suites::open(env, arch, |other| whole.contains(&other.name))?;
    let mut having = Vec::new();
    for lists in opened.usable() {
        if has_packages(lists)? {
            having.push(lists.suite());
        }
    }
    let message = format!("Debian's {suite} has no packages for {}", arch.debian);
    let having = having.join(", ");
    let hint = format!("--root debian:SUITE with one that has: {having}");
    let failure = Failure::setup(message);
    Ok(if having.is_empty() {
        failure
    } else {
        failure.hint(hint)
    })
}

/// What was unpacked before and has all that is wanted.
fn here(env: &Env, suite: &str, arch: &Arch, wanted: &[String]) -> Result<Option<PathBuf>> {
    for folder in folder::survey(&env.paths, arch)?.into_iter().rev() {
        if folder.suite == suite {
            let has = folder.origin()?.wanted;
            if wanted.iter().all(|package| has.contains(package)) {
                return Ok(Some(folder.path));
            }
        }
    }
    Ok(None)
}

/// A userspace as the archive has it now.
struct RootPlan<'p> {
    env: &'p Env,
    arch: &'p Arch,
    suite: &'p str,
    contents: &'p Contents<'p>,
    files: Vec<ArchiveFile>,
}

impl RootPlan<'_> {
    fn title(&self) -> String {
        let (what, suite) = (self.contents.what, self.suite);
        format!("{what}Debian's {suite} for {}", self.arch.name)
    }

    fn key(&self) -> String {
        let mut hash = Sha256::default();
        hash.part(self.contents.layout);
        hash.part(DEBIAN_ROOT);
        for file in &self.files {
            hash.part(&file.sha256);
        }
        hash.finish()
    }

    fn find_or_make(&self) -> Result<PathBuf> {
        let name = folder::name(self.suite, &self.key());
        let goal = self.env.paths.kernels(self.arch.name).join(&name);
        if !goal.is_dir() {
            let _lock = lock::take(self.env, &name)?;
            if !goal.is_dir() {
                self.make(&goal)?;
            }
        }
        Ok(goal)
    }

    fn make(&self, goal: &Path) -> Result<()> {
        let temporary = Temporary::directory(goal)?;
        let folder = temporary.path();
        let size = self.files.iter().map(|file| file.size).sum::<u64>();
        let hint = "cargo xtask prune, or another --directory";
        disk::require_space(folder, "the userspace", size.saturating_mul(6), hint)?;
        let packages = folder.join("packages");
        disk::create_directory(&packages)?;
        self.fetch(&packages, size)?;
        let mut tree = self.unpack(&packages, &folder.join(TREE))?;
        let real = disk::canonicalize(folder)?;
        let real = real.with_file_name(goal.file_name().unwrap_or_default());
        (self.contents.finish)(&mut tree, &real.join(TREE))?;
        disk::remove_directory(packages)?;
        let files = self.files.iter();
        let files = files.map(|file| (file.name.clone(), file.sha256.clone()));
        let origin = RootOrigin {
            wanted: self.contents.wanted.iter().cloned().collect(),
            files: files.collect(),
        };
        origin.write(folder)?;
        temporary.persist()
    }

    /// Fetches the package files into a folder. What came before a signal is used by the next run.
    fn fetch(&self, folder: &Path, size: u64) -> Result<()> {
        let opened = Suites::open(self.env, self.arch, |other| other.name == self.suite)?;
        let lists = opened.usable().next().context("no suite")?;
        let archives = lists.archives();
        for file in &self.files {
            // apt looks only at the size of what is there.
            let path = archives.join(&file.name);
            if path.exists() && !is_whole(&path, file)? {
                disk::remove_file(path)?;
            }
        }
        let title = format!("downloading {}", self.title());
        let mut task = self.env.ui.task(title);
        let total = thousands(size >> 20);
        let log = folder.join("apt.log");
        let fetched = run_logged(lists.fetch_command(&self.files), &log, || {
            let received = thousands(received(&archives) >> 20);
            task.update(format!("{received} of {total} MiB"));
            Ok(())
        });
        if let Err(error) = fetched {
            let mut lines = error::lines(&error).lines();
            let Some(reason) = lines.find_map(|line| line.strip_prefix("E: ")) else {
                return Err(error);
            };
            if reason.contains("404 ") {
                lists.note_absent(self.contents.wanted, reason)?;
            }
            return Err(unfetched(reason.to_owned()));
        }
        for file in &self.files {
            let path = archives.join(&file.name);
            if !is_whole(&path, file)? {
                let message = format!("apt fetched another {} than its lists name", file.name);
                return Err(Failure::setup(message).into());
            }
            disk::rename(&path, &folder.join(&file.name))?;
        }
        Ok(())
    }

    fn unpack(&self, packages: &Path, root: &Path) -> Result<Tree> {
        disk::create_directory(root)?;
        let title = format!("unpacking {}", self.title());
        let mut task = self.env.ui.task(title);
        let mut tree = Tree::user_space(root);
        for (index, file) in self.files.iter().enumerate() {
            interrupt::check()?;
            task.update(format!("{index} of {} packages", self.files.len()));
            let path = packages.join(&file.name);
            let mut unpack = || {
                let limits = UnpackLimits::of(file.size);
                Deb::open(input::open(&path)?)?.unpack(&mut tree, &limits, &recipe::place)
            };
            unpack().with_context(|| format!("cannot unpack {}", file.name))?;
        }
        Ok(tree)
    }
}

/// Whether a file is here and is the archive's.
fn is_whole(path: &Path, file: &ArchiveFile) -> Result<bool> {
    Ok(path.is_file() && Sha256::of(input::bytes(path, input::LARGE)?) == file.sha256)
}

fn unfetched(reason: String) -> anyhow::Error {
    Failure::setup(reason).into()
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
