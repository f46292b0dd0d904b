//! Where things are: the work directory, the kernel configurations and the
//! guest's files. The library is given these as values; only `main` knows the
//! repository, so that the built binary works anywhere with its embedded copies.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::base::input;

/// A set of text files: a directory, or the copies in the binary.
#[derive(Clone, Debug)]
pub enum Files {
    /// Files below a directory.
    Directory(PathBuf),
    /// Copies made when the binary was built: relative path and text.
    Embedded(&'static [(&'static str, &'static str)]),
}

impl Files {
    /// The text of the file at `path`, relative and with `/`.
    pub fn read(&self, path: &str) -> Result<Cow<'static, str>> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(path);
                let text = input::text(&path, input::TEXT)?;
                Ok(Cow::Owned(text))
            }
            Self::Embedded(files) => match files.iter().find(|(name, _)| *name == path) {
                Some((_, text)) => Ok(Cow::Borrowed(text)),
                None => bail!("{path} is not among the files embedded in this binary"),
            },
        }
    }

    /// Whether there is a file at `path`.
    pub fn contains(&self, path: &str) -> bool {
        match self {
            Self::Directory(directory) => directory.join(path).is_file(),
            Self::Embedded(files) => files.iter().any(|(name, _)| *name == path),
        }
    }

    /// The files directly in the folder `folder` (relative, `""` for the top),
    /// as relative paths, sorted.
    pub fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = match self {
            Self::Directory(directory) => {
                let path = directory.join(folder);
                let mut names = Vec::new();
                for entry in std::fs::read_dir(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?
                {
                    let entry = entry?;
                    if entry.file_type()?.is_file() {
                        let name = entry.file_name();
                        names.push(join(folder, &name.to_string_lossy()));
                    }
                }
                names
            }
            Self::Embedded(files) => files
                .iter()
                .filter(|(name, _)| {
                    name.rsplit_once('/').map_or("", |(parent, _)| parent) == folder
                })
                .map(|(name, _)| (*name).to_owned())
                .collect(),
        };
        names.sort();
        Ok(names)
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// All the places that the library works with.
#[derive(Clone, Debug)]
pub struct Paths {
    work: PathBuf,
    /// `kernel-configs/`.
    pub configs: Files,
    /// `vmtest-assets/`.
    pub assets: Files,
}

impl Paths {
    /// A layout with an absolute work directory.
    pub fn new(work: impl Into<PathBuf>, configs: Files, assets: Files) -> Self {
        Self {
            work: work.into(),
            configs,
            assets,
        }
    }

    /// The work directory itself.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Unpacked kernels of an architecture: `<arch>/kernel-<release>`.
    pub fn kernels(&self, arch: &str) -> PathBuf {
        self.work.join(arch)
    }

    /// Package files.
    pub fn packages(&self) -> PathBuf {
        self.work.join("packages")
    }

    /// Kernel source: archives and unpacked trees.
    pub fn sources(&self) -> PathBuf {
        self.work.join("src")
    }

    /// Kernel build trees.
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
