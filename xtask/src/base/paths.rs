//! Where things are: the work directory, the kernel configurations and the
//! guest's files. The library is given these as values; only `main` knows the
//! repository, so that the built binary works anywhere with its embedded copies.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::{disk, input};

/// A set of text files: a directory, or the copies in the binary.
#[derive(Clone, Debug)]
pub enum Files {
    Directory(PathBuf),
    /// Copies made when the binary was built: relative path and text.
    Embedded(&'static [(&'static str, &'static str)]),
}

impl Files {
    /// The text of the file at `path`, relative and with `/`.
    pub fn read(&self, path: &str) -> Result<Cow<'static, str>> {
        match self {
            Self::Directory(directory) => {
                Ok(Cow::Owned(input::text(&directory.join(path), input::TEXT)?))
            }
            Self::Embedded(files) => {
                let found = files.iter().find(|(name, _)| *name == path);
                let missing = || format!("{path} is not among the files embedded in this binary");
                Ok(Cow::Borrowed(found.with_context(missing)?.1))
            }
        }
    }

    pub fn contains(&self, path: &str) -> bool {
        match self {
            Self::Directory(directory) => directory.join(path).is_file(),
            Self::Embedded(files) => files.iter().any(|(name, _)| *name == path),
        }
    }

    /// The files directly in a folder, sorted, as relative paths.
    pub fn list(&self, folder: &str) -> Result<Vec<String>> {
        match self {
            Self::Directory(directory) => {
                let files = disk::entries(&directory.join(folder))?.into_iter();
                let files = files.filter(|path| path.is_file());
                let names = files.filter_map(|path| Some(path.file_name()?.to_owned()));
                let paths = names.map(|name| format!("{folder}/{}", name.to_string_lossy()));
                Ok(paths.collect())
            }
            Self::Embedded(files) => {
                let names = files.iter().map(|(name, _)| (*name).to_owned());
                let parent = |name: &String| Path::new(name).parent() == Some(Path::new(folder));
                Ok(names.filter(parent).collect())
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Paths {
    work: PathBuf,
    pub configs: Files,
    pub assets: Files,
}

impl Paths {
    /// The work directory is absolute.
    pub fn new(work: impl Into<PathBuf>, configs: Files, assets: Files) -> Self {
        Self {
            work: work.into(),
            configs,
            assets,
        }
    }

    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Unpacked kernels of an architecture: `<arch>/kernel-<release>`.
    pub fn kernels(&self, arch: &str) -> PathBuf {
        self.work.join(arch)
    }

    pub fn packages(&self) -> PathBuf {
        self.work.join("packages")
    }

    /// Kernel source: archives and unpacked trees.
    pub fn sources(&self) -> PathBuf {
        self.work.join("src")
    }

    pub fn builds(&self) -> PathBuf {
        self.work.join("build")
    }

    /// What guests need beside the modules of trees that are booted as they are: see
    /// [`crate::kernel::built_tree`].
    pub fn trees(&self) -> PathBuf {
        self.work.join("trees")
    }

    /// Projects that were fetched, with their virtual environments.
    pub fn projects(&self) -> PathBuf {
        self.work.join("projects")
    }

    /// What can be thrown away at any time.
    pub fn cache(&self) -> PathBuf {
        self.work.join("cache")
    }

    /// Logs, a folder per run.
    pub fn logs(&self) -> PathBuf {
        self.work.join("log")
    }

    /// Durations and outcomes of past runs, a folder per project.
    pub fn history(&self) -> PathBuf {
        self.work.join("history")
    }

    /// Locks: see [`super::lock::take`].
    pub fn locks(&self) -> PathBuf {
        self.work.join("locks")
    }
}
