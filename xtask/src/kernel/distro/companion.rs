//! What is fetched for a distribution's kernel besides the kernel itself, on request: its
//! debugging information, and what modules are built against. The key of its folder is of
//! the package's name and version, so that what is here is found without asking anybody.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::debian::{self, image_package};
use super::folder;
use super::package::PackageFile;
use crate::archive::{Tree, UnpackLimits};
use crate::base::{disk, env::Env, paths::Paths, temporary::Temporary};
use crate::model::{arch::Arch, kernel::LocalKernel, version::Release};
use crate::net::apt::suites::DebianPackage;

/// Twice what the largest packages have.
const LIMITS: UnpackLimits = UnpackLimits {
    bytes: 16 << 30,
    entries: 100_000,
};

pub struct Companion<'c> {
    /// What the folder's name begins with.
    pub prefix: &'static str,
    /// The package that has it.
    pub package: String,
    /// For people, without the kernel: `debugging information`.
    pub what: &'static str,
    /// Finds the packages: that one, of the kernel's version, and what it needs.
    pub find: &'c dyn Fn(&str) -> Result<Vec<DebianPackage>>,
    /// Where a file of a package goes; `None` for one that is not wanted.
    pub wanted: &'c dyn Fn(&Path) -> Option<PathBuf>,
    /// Looks at what was unpacked (the first path), and adapts it to where it will be (the
    /// second).
    pub finish: &'c dyn Fn(&Path, &Path) -> Result<()>,
}

impl Companion<'_> {
    /// The folder, which is made if it is not here.
    pub fn obtain(&self, env: &Env, kernel: &LocalKernel) -> Result<PathBuf> {
        let version = image_package(kernel, self.what)?.version;
        let key = folder::key(&[format!("{} {version}", self.package)]);
        let name = folder::name(self.prefix, &kernel.release, &key);
        let goal = env.paths.kernels(kernel.arch.name).join(&name);
        let find = || Ok(goal.is_dir().then(|| goal.clone()));
        folder::find_or_make(env, &name, find, || {
            self.make(env, &version, &goal)?;
            Ok(goal.clone())
        })
    }

    fn make(&self, env: &Env, version: &str, goal: &Path) -> Result<()> {
        let packages = (self.find)(version)?;
        let temporary = Temporary::directory(goal)?;
        let files = debian::download(env, &packages, &temporary)
            .with_context(|| format!("cannot get {} from Debian", self.package))?;
        let unpacked = temporary.path().join("unpacked");
        disk::create_directory(&unpacked)?;
        let mut tree = Tree::new(&unpacked);
        for file in &files {
            PackageFile::open(file)?.unpack(env, &mut tree, &LIMITS, self.wanted)?;
            disk::remove_file(file)?;
        }
        (self.finish)(&unpacked, goal).with_context(|| format!("{} is damaged", self.package))?;
        temporary.persist_from(&unpacked)
    }
}

/// The folders of companions, with the release that each is of, sorted.
pub fn survey(paths: &Paths, arch: &Arch) -> Result<Vec<(Release, PathBuf)>> {
    let mut found = Vec::new();
    for path in disk::entries(&paths.kernels(arch.name))? {
        if let Some(release) = folder::companion_release(&path).filter(|_| path.is_dir()) {
            found.push((release, path));
        }
    }
    Ok(found)
}
