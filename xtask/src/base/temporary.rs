//! Temporary names: a thing is complete or absent, and what a killed run left is removed.
//!
//! A thing is made under a temporary name beside its goal, which its maker holds locked (flock(2)),
//! and is then renamed. A lock dies with its holder, so a temporary name that can be locked belongs
//! to nobody and [`sweep`] removes it. A mark that is written afterwards is missing when the maker
//! is killed in between, so the name itself is the mark: it ends with random digits and a checksum
//! over all that stands before it.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::base::{disk, paths::Paths, sha256::Sha256};

/// Between the name of the goal and the digits of a temporary name.
const INFIX: &str = ".tmp-";

/// Folders in the host's directory for temporary files are called `vmtest-<digits>`: the
/// sockets in them must have short names (unix(7): 108 bytes).
const SCRATCH: &str = "vmtest-";

/// So much of the goal's name is in a temporary one, which may have 255 bytes.
const LONGEST_GOAL: usize = 200;

/// Random hexadecimal digits of a name, and as many of the checksum.
const DIGITS: usize = 8;

/// A file or directory that we hold locked. Dropping it removes it.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    file: File,
}

impl Held {
    /// Makes an empty file or directory whose name begins with `prefix`, and removes those
    /// that killed runs have left there.
    fn new(parent: &Path, prefix: &OsStr, directory: bool) -> io::Result<Self> {
        // Where nothing can be listed something may still be made.
        let _ = sweep(parent);
        loop {
            let path = parent.join(signed(prefix)?);
            let made = match directory {
                true => DirBuilder::new().mode(0o700).create(&path),
                false => create_file(&path).map(drop),
            };
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            match Self::take(path.clone()) {
                // A sweep of another run, or another thread, came before the lock.
                Ok(None) => {}
                Ok(Some(held)) => return Ok(held),
                Err(error) => {
                    let _ = remove(&path);
                    return Err(error);
                }
            }
        }
    }

    /// Locks what was made; nothing if it is gone.
    fn take(path: PathBuf) -> io::Result<Option<Self>> {
        let file = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        file.lock()?;
        Ok(same_file(&path, &file).then_some(Self { path, file }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // After a rename nothing is there, after an exchange what was replaced. What cannot be
        // removed is left to the next sweep.
        let _ = remove(&self.path);
    }
}

/// A file or directory on its way to its goal. Dropping it removes it.
#[derive(Debug)]
pub struct Temporary {
    held: Held,
    goal: PathBuf,
}

impl Temporary {
    /// An empty directory beside `goal`, whose parent is made if it is missing.
    pub fn directory(goal: &Path) -> Result<Self> {
        Self::new(goal, true)
    }

    /// An empty file beside `goal`, whose parent is made if it is missing.
    pub fn file(goal: &Path) -> Result<Self> {
        Self::new(goal, false)
    }

    fn new(goal: &Path, directory: bool) -> Result<Self> {
        let (Some(parent), Some(name)) = (goal.parent(), goal.file_name()) else {
            bail!("{} has no name to put something at", goal.display());
        };
        disk::create_directory(parent)?;
        let mut prefix = b".".to_vec();
        prefix.extend(name.as_bytes().iter().take(LONGEST_GOAL));
        prefix.extend(INFIX.bytes());
        let held = Held::new(parent, OsStr::from_bytes(&prefix), directory)
            .with_context(|| format!("cannot create a temporary name beside {}", goal.display()))?;
        Ok(Self {
            held,
            goal: goal.to_owned(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// The open file, for writing; a directory is open for reading.
    pub fn as_file(&self) -> &File {
        &self.held.file
    }

    /// Puts it at its goal, replacing what is there in one step.
    pub fn persist(self) -> Result<()> {
        let path = self.held.path.clone();
        self.persist_from(&path)
    }

    /// Puts a directory or file that was made *inside* this temporary directory
    /// at the goal, and removes the rest.
    pub fn persist_from(self, inner: &Path) -> Result<()> {
        let context = || format!("cannot put {} in place", self.goal.display());
        // Until now only its owner can read it.
        let mode = if inner.is_dir() { 0o755 } else { 0o644 };
        rustix::fs::chmod(inner, mode.into()).with_context(context)?;
        self.place(inner).with_context(context)
    }

    fn place(&self, inner: &Path) -> io::Result<()> {
        let goal = &self.goal;
        if !goal.is_dir() {
            return std::fs::rename(inner, goal);
        }
        // The old one is here then, and goes when this is dropped.
        match rustix::fs::renameat_with(CWD, inner, CWD, goal, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => self.replace(inner),
            result => Ok(result?),
        }
    }

    /// On a file system that cannot exchange: for a moment there is neither.
    fn replace(&self, inner: &Path) -> io::Result<()> {
        let parent = self.goal.parent().unwrap_or(Path::new("."));
        let old = Held::new(parent, OsStr::new(".old.tmp-"), true)?;
        let aside = old.path.join("old");
        std::fs::rename(&self.goal, &aside)?;
        std::fs::rename(inner, &self.goal).inspect_err(|_| {
            let _ = std::fs::rename(&aside, &self.goal);
        })
    }
}

/// A folder in the host's directory for temporary files. Dropping it removes it.
#[derive(Debug)]
pub struct Scratch(Held);

impl Scratch {
    pub fn new() -> Result<Self> {
        let parent = host_folder()?;
        let held = Held::new(&parent, OsStr::new(SCRATCH), true).with_context(|| {
            let parent = parent.display();
            format!("cannot create a directory in {parent} (TMPDIR names another place)")
        })?;
        Ok(Self(held))
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

/// The host's directory for temporary files: `TMPDIR`, which says nothing if it is empty.
pub fn host_folder() -> Result<PathBuf> {
    let named = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    let folder = named.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    std::path::absolute(&folder).with_context(|| format!("cannot find {}", folder.display()))
}

/// A name that begins with `prefix` and that no other run ever has.
pub fn signed(prefix: impl AsRef<OsStr>) -> io::Result<OsString> {
    let mut name = prefix.as_ref().as_bytes().to_vec();
    name.extend(random_digits(DIGITS)?.bytes());
    let checksum = checksum(&name);
    name.extend(checksum.bytes());
    Ok(OsString::from_vec(name))
}

/// What stands before the digits of a name that [`signed`] made.
pub fn signed_prefix(name: &OsStr) -> Option<&[u8]> {
    let name = name.as_bytes();
    let (head, found) = name.split_at_checked(name.len().checked_sub(DIGITS)?)?;
    let prefix = head.get(..head.len().checked_sub(DIGITS)?)?;
    (checksum(head).as_bytes() == found).then_some(prefix)
}

fn checksum(head: &[u8]) -> String {
    let mut sum = Sha256::of(head);
    sum.truncate(DIGITS);
    sum
}

pub fn random_digits(count: usize) -> io::Result<String> {
    let mut bytes = vec![0; count.div_ceil(2)];
    // So few come at once (getrandom(2): up to 256 bytes are never cut short).
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    Ok(digits.collect::<String>()[..count].to_owned())
}

fn create_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file or directory, and nothing else: a link may lead anywhere, and a pipe waits
/// for its other end.
fn open(path: &Path) -> io::Result<File> {
    let kind = path.symlink_metadata()?.file_type();
    if kind.is_symlink() || kind.is_fifo() || kind.is_socket() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = File::options();
    options.read(true).write(!kind.is_dir()).custom_flags(flags);
    options.open(path)
}

fn same_file(path: &Path, file: &File) -> bool {
    match (path.symlink_metadata(), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

/// Removes a file or directory of ours that has its final name. A directory gets a temporary
/// name first: it is whole or gone, whenever this ends.
pub fn discard(path: &Path) -> Result<()> {
    let context = || format!("cannot remove {}", path.display());
    if !path.symlink_metadata().with_context(context)?.is_dir() {
        return std::fs::remove_file(path).with_context(context);
    }
    let aside = Temporary::directory(path).with_context(context)?;
    std::fs::rename(path, aside.path().join("old")).with_context(context)
}

/// Removes the temporary names in `directory` whose makers are gone, as far as that can be
/// done; how many. A directory that is not there has none.
pub fn sweep(directory: &Path) -> io::Result<usize> {
    let entries = match directory.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let gone = is_temporary(&entry.file_name()) && remove_abandoned(&entry.path());
        removed += usize::from(gone);
    }
    Ok(removed)
}

/// Removes what killed runs have left anywhere in the work directory. Every command does it
/// first; what cannot be read or removed stays for the next one.
pub fn sweep_all<'a>(paths: &Paths, architectures: impl Iterator<Item = &'a str>) {
    let mut folders = vec![
        paths.work().to_owned(),
        paths.packages(),
        paths.sources(),
        paths.builds(),
        paths.trees(),
        paths.projects(),
    ];
    folders.extend(architectures.map(|arch| paths.kernels(arch)));
    folders.extend(with_folders_below(paths.cache(), 1));
    folders.extend(with_folders_below(paths.logs(), 2));
    folders.extend(with_folders_below(paths.history(), 2));
    for folder in folders {
        let _ = sweep(&folder);
    }
}

/// Of a folder's folders that many are swept, the last by name, which are the newest
/// sessions: thousands would cost every command a tenth of a second.
const MOST_FOLDERS: usize = 100;

/// A folder and those in it, so many levels deep.
fn with_folders_below(folder: PathBuf, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if depth > 0 {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        // A link may lead anywhere.
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut folders = folders.map(|entry| entry.path()).collect::<Vec<_>>();
        folders.sort();
        for path in folders.into_iter().rev().take(MOST_FOLDERS) {
            found.extend(with_folders_below(path, depth - 1));
        }
    }
    found.push(folder);
    found
}

fn is_temporary(name: &OsStr) -> bool {
    signed_prefix(name).is_some_and(|prefix| {
        prefix == SCRATCH.as_bytes()
            || prefix.starts_with(b".") && prefix.ends_with(INFIX.as_bytes())
    })
}

/// Removes a file or directory of ours if nobody holds it; whether it is gone. It may be
/// renamed or removed by others meanwhile, and what is another user's stays: both are no
/// error.
pub fn remove_abandoned(path: &Path) -> bool {
    let Ok(file) = open(path) else {
        return false;
    };
    let ours = file.metadata().is_ok_and(|metadata| {
        let kind = metadata.file_type();
        metadata.uid() == rustix::process::geteuid().as_raw() && (kind.is_dir() || kind.is_file())
    });
    ours && file.try_lock().is_ok() && same_file(path, &file) && remove(path).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = directory.read_dir().unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn things_are_complete_or_absent() {
        let work = tempfile::tempdir().unwrap();
        let goal = work.path().join("new/goal");
        let temporary = Temporary::directory(&goal).unwrap();
        std::fs::write(temporary.path().join("half"), "").unwrap();
        assert!(!goal.exists());
        drop(temporary);
        assert!(names(goal.parent().unwrap()).is_empty());

        // In place of nothing, of a directory, and from within.
        for content in ["first", "second"] {
            let temporary = Temporary::directory(&goal).unwrap();
            let inner = temporary.path().join("a/b");
            std::fs::create_dir_all(&inner).unwrap();
            std::fs::write(inner.join("file"), content).unwrap();
            temporary.persist_from(&inner).unwrap();
            assert_eq!(std::fs::read_to_string(goal.join("file")).unwrap(), content);
            assert_eq!(names(goal.parent().unwrap()), ["goal"]);
            let mode = goal.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
        }
        let temporary = Temporary::directory(&goal).unwrap();
        std::fs::write(temporary.path().join("third"), "").unwrap();
        temporary.persist().unwrap();
        assert_eq!(names(&goal), ["third"]);
        assert_eq!(names(goal.parent().unwrap()), ["goal"]);

        let file = work.path().join("file");
        for content in ["one", "two"] {
            let temporary = Temporary::file(&file).unwrap();
            std::fs::write(temporary.path(), content).unwrap();
            temporary.persist().unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        }
        assert_eq!(names(work.path()), ["file", "new"]);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_file_system_that_cannot_exchange_keeps_the_old_one_if_the_new_one_does_not_come() {
        let work = tempfile::tempdir().unwrap();
        let goal = work.path().join("goal");
        std::fs::create_dir(&goal).unwrap();
        std::fs::write(goal.join("old"), "").unwrap();
        let temporary = Temporary::directory(&goal).unwrap();
        let absent = temporary.path().join("absent");
        assert!(temporary.replace(&absent).is_err());
        assert_eq!(names(&goal), ["old"]);
        std::fs::create_dir(&absent).unwrap();
        temporary.replace(&absent).unwrap();
        assert_eq!(names(&goal), [""; 0]);
        drop(temporary);
        assert_eq!(names(work.path()), ["goal"]);
    }

    /// Names of goals may have all the bytes that a name can have.
    #[test]
    fn long_names_have_temporary_ones() {
        let work = tempfile::tempdir().unwrap();
        let goal = work.path().join("x".repeat(255));
        Temporary::file(&goal).unwrap().persist().unwrap();
        assert!(goal.is_file());
    }

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let work = tempfile::tempdir().unwrap();
        let here = work.path();
        assert_eq!(sweep(&here.join("absent")).unwrap(), 0);
        let held = Temporary::directory(&here.join("held")).unwrap();
        let file = Temporary::file(&here.join("file")).unwrap();
        let dead = here.join(signed(".dead.tmp-").unwrap());
        std::fs::create_dir_all(dead.join("x")).unwrap();
        std::fs::write(here.join(signed(".dead.tmp-").unwrap()), "").unwrap();
        let scratch = here.join(signed(SCRATCH).unwrap());
        std::fs::create_dir(&scratch).unwrap();
        assert_eq!(sweep(here).unwrap(), 3);
        assert!(held.path().is_dir() && file.path().is_file());
        drop((held, file));
        assert_eq!(names(here), [""; 0]);
    }

    /// Wherever a thing is made in the work directory, what a killed run left of it goes.
    #[test]
    fn the_whole_work_directory_is_swept() {
        let work = tempfile::tempdir().unwrap();
        let env = crate::base::env::Env::for_tests(work.path());
        let folders = [
            "",
            "packages",
            "src",
            "build",
            "trees",
            "projects",
            "x86_64",
            "cache",
            "cache/modules",
            "cache/github",
            "log",
            "log/20261129-144100-abc",
            "log/20261129-144100-abc/20261129-144101-def",
            "history/project/x86_64",
        ];
        let left = folders.map(|folder| {
            let folder = work.path().join(folder);
            let path = folder.join(signed(".goal.tmp-").unwrap());
            std::fs::create_dir_all(&path).unwrap();
            path
        });
        sweep_all(&env.paths, ["x86_64"].into_iter());
        assert_eq!(left.iter().filter(|path| path.exists()).count(), 0);
        assert!(
            folders
                .iter()
                .all(|folder| work.path().join(folder).is_dir())
        );
    }

    /// People's own files may look like ours in every way but one.
    #[test]
    fn what_is_not_proved_ours_stays() {
        let work = tempfile::tempdir().unwrap();
        let here = work.path();
        let elsewhere = tempfile::tempdir().unwrap();
        let kept = elsewhere.path().join("kept");
        std::fs::write(&kept, "").unwrap();
        for name in [
            "vmtest-2026-11-29",
            "vmtest-99999999-abcdef",
            "vmtest-0123456789abcdef",
            ".notes.tmp-old",
            ".kernel-6.1.tmp-0123456789abcdef",
            "kernel-6.1.tmp-x",
            ".hidden",
        ] {
            std::fs::create_dir(here.join(name)).unwrap();
            std::fs::write(here.join(name).join("mine"), "").unwrap();
        }
        // A sound name, but of something else than a run makes.
        std::fs::create_dir(here.join(signed("mine-").unwrap())).unwrap();
        symlink(elsewhere.path(), here.join(signed(SCRATCH).unwrap())).unwrap();
        symlink(&kept, here.join(signed(".x.tmp-").unwrap())).unwrap();
        rustix::fs::mknodat(
            CWD,
            here.join(signed(".pipe.tmp-").unwrap()),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let before = names(here);
        assert_eq!(sweep(here).unwrap(), 0);
        assert_eq!(names(here), before);
        assert!(kept.is_file());
    }

    #[test]
    fn what_another_user_left_stays() {
        // Only root can make something that is another user's.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let work = tempfile::tempdir().unwrap();
        let theirs = work.path().join(signed(SCRATCH).unwrap());
        std::fs::create_dir(&theirs).unwrap();
        std::os::unix::fs::chown(&theirs, Some(12_345), None).unwrap();
        assert_eq!(sweep(work.path()).unwrap(), 0);
        assert!(theirs.is_dir());
    }

    #[test]
    fn names_say_whose_they_are() {
        let name = signed("console-20261129-").unwrap();
        assert_eq!(signed_prefix(&name), Some(&b"console-20261129-"[..]));
        assert_ne!(name, signed("console-20261129-").unwrap());
        let mut other = name.into_vec();
        other[0] = b'C';
        assert_eq!(signed_prefix(OsStr::from_bytes(&other)), None);
        for name in ["", "1234567", "0123456789abcdef"] {
            assert_eq!(signed_prefix(OsStr::new(name)), None);
        }
    }

    #[test]
    fn what_has_its_final_name_is_discarded() {
        let work = tempfile::tempdir().unwrap();
        let here = work.path();
        std::fs::create_dir_all(here.join("tree/below")).unwrap();
        std::fs::write(here.join("file"), "").unwrap();
        symlink("tree", here.join("link")).unwrap();
        discard(&here.join("link")).unwrap();
        assert_eq!(names(here), ["file", "tree"]);
        discard(&here.join("tree")).unwrap();
        discard(&here.join("file")).unwrap();
        assert!(discard(&here.join("file")).is_err());
        assert_eq!(names(here), [""; 0]);
    }

    /// What one thread has made and not locked yet is abandoned to the sweep of another.
    #[test]
    fn names_are_made_while_others_sweep() {
        let work = tempfile::tempdir().unwrap();
        let goal = work.path().join("goal");
        let make = |make: fn(&Path) -> Result<Temporary>| {
            for _ in 0..400 {
                assert!(make(&goal).unwrap().path().exists());
            }
        };
        std::thread::scope(|scope| {
            let kinds = [Temporary::directory, Temporary::file, Temporary::directory];
            let makers = kinds.map(|kind| scope.spawn(move || make(kind)));
            while makers.iter().any(|maker| !maker.is_finished()) {
                sweep(work.path()).unwrap();
            }
        });
        assert_eq!(names(work.path()), [""; 0]);
    }
}
