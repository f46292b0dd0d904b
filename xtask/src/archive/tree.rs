//! Where an archive is unpacked to: whatever its names and links say, nothing is written
//! outside the directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use super::{CHUNK, unreadable};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MadeKind {
    File,
    /// Made for what is in it; the archive may still name it.
    ImpliedDirectory,
    Directory,
    Link,
}

/// What an archive says about a file besides its contents.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// Bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Seconds since 1970.
    pub time: u64,
}

/// A directory that was empty, and what one or more archives have made in it.
///
/// Paths are those that [`relative_path`] has accepted. Permissions are 755 for
/// directories and executables and 644 for other files, owners are ours.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// All that was made. The directory was empty, so this is all there is.
    made: HashMap<PathBuf, MadeKind>,
    buffer: Vec<u8>,
}

impl Tree {
    /// An empty directory.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            made: HashMap::new(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Another archive comes: it may name the directories that are there already, but
    /// nothing else.
    pub fn next_archive(&mut self) {
        for kind in self.made.values_mut() {
            if *kind == MadeKind::Directory {
                *kind = MadeKind::ImpliedDirectory;
            }
        }
    }

    /// Makes a directory.
    pub fn directory(&mut self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() {
            // `./`, the root itself.
            return Ok(());
        }
        if self.made.get(path) == Some(&MadeKind::ImpliedDirectory) {
            self.made.insert(path.to_owned(), MadeKind::Directory);
            return Ok(());
        }
        self.claim(path, MadeKind::Directory)?;
        self.make_directory(path)
    }

    /// Makes a file of what a reader gives.
    pub fn file(
        &mut self,
        path: &Path,
        attributes: Attributes,
        reader: &mut dyn Read,
    ) -> Result<()> {
        self.claim(path, MadeKind::File)?;
        let mode = if attributes.executable { 0o755 } else { 0o644 };
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(self.root.join(path))?;
        let mut left = attributes.size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let count = reader.read(&mut self.buffer[..most]).map_err(unreadable)?;
            if count == 0 {
                bail!("damaged archive: it ends too early");
            }
            file.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        // The mode of the options is cut by the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.set_modified(system_time(attributes.time))?;
        Ok(())
    }

    /// Makes a symbolic link, which must have passed [`link_stays_inside`].
    pub fn symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        self.claim(path, MadeKind::Link)?;
        std::os::unix::fs::symlink(target, self.root.join(path))?;
        Ok(())
    }

    /// Gives a file another name.
    pub fn hard_link(&mut self, path: &Path, target: &Path) -> Result<()> {
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
        let parents = path
            .ancestors()
            .skip(1)
            .filter(|parent| *parent != Path::new(""));
        for parent in parents.collect::<Vec<_>>().into_iter().rev() {
            match self.made.get(parent) {
                Some(MadeKind::Directory | MadeKind::ImpliedDirectory) => {}
                Some(_) => bail!("{parent:?} above it is not a directory"),
                None => {
                    self.make_directory(parent)?;
                    self.made
                        .insert(parent.to_owned(), MadeKind::ImpliedDirectory);
                }
            }
        }
        if self.made.insert(path.to_owned(), kind).is_some() {
            bail!("it is there twice");
        }
        Ok(())
    }
}

/// Seconds since 1970, at most what every file system can keep (34 bits in ext4).
fn system_time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min((1 << 33) - 1))
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
