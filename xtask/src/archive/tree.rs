//! Where an archive is unpacked to: whatever its names and links say, nothing is written
//! outside the directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, bail};

use super::unreadable;
use crate::base::input;

#[derive(Debug, PartialEq)]
enum MadeKind {
    File,
    /// Made for what is in it; the archive may still name it.
    ImpliedDirectory,
    Directory,
    Link,
}

/// A directory that was empty, and what one or more archives have made in it.
///
/// Paths are those that [`relative_path`] has accepted. Permissions are 755 for
/// directories and executables and 644 for other files, owners are ours.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// Whether it becomes the `/` of a guest, for which links may be absolute.
    user_space: bool,
    /// All that was made. The directory was empty, so this is all there is.
    made: HashMap<PathBuf, MadeKind>,
    buffer: Vec<u8>,
}

impl Tree {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            user_space: false,
            made: HashMap::new(),
            buffer: vec![0; 256 << 10],
        }
    }

    /// One that becomes the `/` of a guest. Links that would lead out of it are made such
    /// that they lead, on the host as well, to what a guest finds there.
    pub fn user_space(root: &Path) -> Self {
        Self {
            user_space: true,
            ..Self::new(root)
        }
    }

    /// Whether there is anything at a path.
    pub fn has(&self, path: &Path) -> bool {
        self.made.contains_key(path)
    }

    /// What a file of the tree holds; `None` if there is no such file.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let found = self.made.get(path) == Some(&MadeKind::File);
        let read = || input::bytes(&self.root.join(path), limit);
        found.then(read).transpose()
    }

    /// Another archive comes: it may name the directories that are there already, but
    /// nothing else.
    pub(super) fn next_archive(&mut self) {
        for kind in self.made.values_mut() {
            if *kind == MadeKind::Directory {
                *kind = MadeKind::ImpliedDirectory;
            }
        }
    }

    pub fn directory(&mut self, path: &Path) -> Result<()> {
        // `./`, the root itself.
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let again = match self.made.get(path) {
            // Packages have files below `lib` and below `usr/lib`, which are the same there.
            Some(MadeKind::Directory) => self.user_space,
            kind => kind == Some(&MadeKind::ImpliedDirectory),
        };
        if again {
            self.made.insert(path.to_owned(), MadeKind::Directory);
            return Ok(());
        }
        self.claim(path, MadeKind::Directory)?;
        self.make_directory(path)
    }

    /// Makes a file of the next bytes of a reader.
    pub fn file(
        &mut self,
        path: &Path,
        mode: u32,
        time: u64,
        size: u64,
        reader: &mut dyn Read,
    ) -> Result<()> {
        self.claim(path, MadeKind::File)?;
        let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(self.root.join(path))?;
        let mut reader = reader.take(size);
        loop {
            let count = reader.read(&mut self.buffer).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            file.write_all(&self.buffer[..count])?;
        }
        if reader.limit() > 0 {
            bail!("damaged archive: it ends too early");
        }
        // The mode of the options is cut by the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
        // At most what every file system can keep (34 bits in ext4).
        let time = Duration::from_secs(time.min((1 << 33) - 1));
        file.set_modified(UNIX_EPOCH + time)?;
        Ok(())
    }

    /// Makes a symbolic link; false if it would lead out of the tree, and was not made.
    pub fn symlink(&mut self, path: &Path, target: &Path) -> Result<bool> {
        let mut target = target.to_owned();
        if !link_stays_inside(path, &target) {
            if !self.user_space {
                return Ok(false);
            }
            let goal = goal(path, &target);
            // From `/bin/x` to `/usr/bin/x`, where both are the same.
            if goal == path {
                return Ok(true);
            }
            let above = path.components().skip(1).map(|_| "..");
            target = above.collect::<PathBuf>().join(goal);
            if target.as_os_str().is_empty() {
                target.push(".");
            }
        }
        self.claim(path, MadeKind::Link)?;
        std::os::unix::fs::symlink(target, self.root.join(path))?;
        Ok(true)
    }

    /// Gives a file another name.
    pub(super) fn hard_link(&mut self, path: &Path, target: &Path) -> Result<()> {
        if self.made.get(target) != Some(&MadeKind::File) {
            bail!("a hard link to {target:?}, which is no file of the archive");
        }
        self.claim(path, MadeKind::File)?;
        std::fs::hard_link(self.root.join(target), self.root.join(path))?;
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> Result<()> {
        let path = self.root.join(path);
        DirBuilder::new().mode(0o755).create(&path)?;
        // The mode of the builder is cut by the umask.
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Notes that something is made at `path`, and makes the directories above.
    fn claim(&mut self, path: &Path, kind: MadeKind) -> Result<()> {
        if path.as_os_str().is_empty() {
            bail!("no name");
        }
        let mut parent = PathBuf::new();
        for name in path.parent().into_iter().flatten() {
            parent.push(name);
            match self.made.get(&parent) {
                Some(MadeKind::Directory | MadeKind::ImpliedDirectory) => {}
                Some(_) => bail!("{parent:?} above it is not a directory"),
                None => {
                    self.make_directory(&parent)?;
                    self.made.insert(parent.clone(), MadeKind::ImpliedDirectory);
                }
            }
        }
        if self.made.insert(path.to_owned(), kind).is_some() {
            bail!("it is there twice");
        }
        Ok(())
    }
}

/// The path of an entry, relative and without `.`; empty for the root itself.
pub fn relative_path(bytes: &[u8]) -> Result<PathBuf> {
    if bytes.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
        bail!("control characters in a name");
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(bytes)).components() {
        match component {
            Component::Normal(name) if name.len() > 255 => bail!("a name of {} bytes", name.len()),
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => bail!("a path with .."),
            Component::RootDir | Component::Prefix(_) => bail!("an absolute path"),
        }
    }
    Ok(path)
}

/// What a link at `path` leads to for whom the tree is `/`.
fn goal(path: &Path, target: &Path) -> PathBuf {
    let mut goal = PathBuf::new();
    if !target.has_root() {
        goal.extend(path.parent());
    }
    for component in target.components() {
        match component {
            Component::Normal(name) => goal.push(name),
            Component::ParentDir => drop(goal.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    goal
}

/// Whether a symbolic link at `path` (relative to the root) leads nowhere but
/// into the tree. `..` is only accepted at the start of the target: there it
/// climbs real directories, because nothing is made below a link. After a name,
/// which may itself be a link, it would climb from wherever that one leads.
pub fn link_stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    let mut named = false;
    for component in target.components() {
        match component {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if !named && depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !target.as_os_str().is_empty()
}
