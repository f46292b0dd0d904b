//! What is fetched for a distribution's kernel besides the kernel itself, on request: its
//! debugging information, and what modules are built against. The key of its folder is of
//! the package's name and version, so that what is here is found without asking anybody.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{debian, folder, package::PackageFile};
use crate::archive::{Tree, UnpackLimits};
use crate::base::{disk, env::Env, paths::Paths, temporary::Temporary};
use crate::model::{arch::Arch, kernel::LocalKernel, version::Release};

/// Twice what the largest packages have.
const LIMITS: UnpackLimits = UnpackLimits {
    bytes: 16 << 30,
    entries: 100_000,
};

pub struct Companion<'c> {
    /// What the folder's name begins with.
    pub prefix: &'static str,
    pub package: String,
    /// What the names of those packages begin with that it needs; part of the key.
    pub parts: &'static [&'static str],
    /// For people, without the kernel: `debugging information`.
    pub what: &'static str,
    /// Where a file of a package goes; `None` for one that is not wanted.
    pub wanted: fn(&Path) -> Option<PathBuf>,
    /// Looks at what was unpacked (the first path), and adapts it to where it will be (the
    /// second).
    pub finish: &'c dyn Fn(&Path, &Path) -> Result<()>,
}

impl Companion<'_> {
    /// The folder, which is made if it is not here.
    pub fn obtain(&self, env: &Env, kernel: &LocalKernel) -> Result<PathBuf> {
        let package = &self.package;
        let version = debian::image_package(kernel, self.what)?.version;
        let parts = self.parts.iter().copied();
        let key = folder::key(parts.chain([format!("{package} {version}").as_str()]));
        let name = folder::name(self.prefix, &kernel.release, &key);
        let goal = env.paths.kernels(kernel.arch.name).join(&name);
        let find = || Ok(goal.is_dir().then(|| goal.clone()));
        folder::find_or_make(env, &name, find, || {
            let what = format!("{} for {}", self.what, kernel.release);
            let packages =
                debian::packages(env, kernel.arch, package, &version, &what, self.parts)?;
            let temporary = Temporary::directory(&goal)?;
            let files = debian::download(env, &packages, &temporary)
                .with_context(|| format!("cannot get {package} from Debian"))?;
            let unpacked = temporary.path().join("unpacked");
            disk::create_directory(&unpacked)?;
            let mut tree = Tree::new(&unpacked);
            for file in &files {
                PackageFile::open(file)?.unpack(env, &mut tree, &LIMITS, &self.wanted)?;
                disk::remove_file(file)?;
            }
            (self.finish)(&unpacked, &goal).with_context(|| format!("{package} is damaged"))?;
            temporary.persist_from(&unpacked)?;
            Ok(goal.clone())
        })
    }
}

/// The folders of companions, with the release that each is of, sorted.
pub fn survey(paths: &Paths, arch: &Arch) -> Result<Vec<(Release, PathBuf)>> {
    let release = |path: PathBuf| Some((folder::companion_release(&path)?, path));
    let mut folders = disk::entries(&paths.kernels(arch.name))?;
    folders.retain(|path| path.is_dir());
    Ok(folders.into_iter().filter_map(release).collect())
}
