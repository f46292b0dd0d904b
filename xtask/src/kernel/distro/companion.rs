//! What is fetched for a distribution's kernel besides the kernel itself, on request: its
//! debugging information, and what modules are built against. Each is a folder
//! `<what>-<release>-<12 hexadecimal digits>` beside the kernel's, whose key is of the
//! package's name and version, so that what is here is found without asking anybody.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::debian::{self, image_package};
use crate::archive::deb::Deb;
use crate::archive::{self, Tree};
use crate::base::disk;
use crate::base::env::Env;
use crate::base::format::thousands;
use crate::base::lock;
use crate::base::paths::Paths;
use crate::base::temporary::Temporary;
use crate::base::ui::Ui;
use crate::kernel::distro;
use crate::model::arch::Arch;
use crate::model::kernel::LocalKernel;
use crate::model::version::Release;
use crate::net::apt::suites::DebianPackage;

/// What the names of the folders begin with.
const PREFIXES: [&str; 2] = [DEBUGINFO, HEADERS];

/// Of debugging information.
pub const DEBUGINFO: &str = "debuginfo-";

/// Of what modules are built against.
pub const HEADERS: &str = "headers-";

/// What is accepted when unpacking: twice what the largest packages have.
const LIMITS: archive::Limits = archive::Limits {
    bytes: 16 << 30,
    entries: 100_000,
};

/// Something that is fetched for a kernel.
pub struct Extra<'e> {
    /// What the folder's name begins with.
    pub prefix: &'static str,
    /// The package that has it.
    pub package: String,
    /// For people, without the kernel: `debugging information`.
    pub what: &'static str,
    /// Finds the packages: that one, of the kernel's version, and what it needs.
    pub find: &'e dyn Fn(&str) -> Result<Vec<DebianPackage>>,
    /// Where a file of a package goes; `None` for one that is not wanted.
    pub wanted: &'e dyn Fn(&Path) -> Option<PathBuf>,
    /// Looks at what was unpacked (the first path), and adapts it to where it will be (the
    /// second).
    pub finish: &'e dyn Fn(&Path, &Path) -> Result<()>,
}

impl Extra<'_> {
    /// The folder, which is made if it is not here.
    pub fn obtain(&self, env: &Env, kernel: &LocalKernel) -> Result<PathBuf> {
        let image = image_package(kernel, self.what)?;
        let goal = self.goal(&env.paths, kernel.arch, &kernel.release, &image.version);
        if goal.is_dir() {
            return Ok(goal);
        }
        let _lock = lock::take(env, &lock_name(&goal))?;
        if goal.is_dir() {
            return Ok(goal);
        }
        let packages = (self.find)(&image.version)?;
        let temporary = Temporary::directory(&goal)?;
        let files = debian::download(env, &packages, &temporary)
            .with_context(|| format!("cannot get {} from Debian", self.package))?;
        let unpacked = temporary.path().join("unpacked");
        disk::create_directory(&unpacked)?;
        let mut tree = Tree::new(&unpacked);
        for file in &files {
            self.unpack(file, &mut tree, &env.ui)
                .with_context(|| format!("cannot unpack {}", self.package))?;
            std::fs::remove_file(file)
                .with_context(|| format!("cannot remove {}", file.display()))?;
        }
        (self.finish)(&unpacked, &goal).with_context(|| format!("{} is damaged", self.package))?;
        temporary.persist_from(&unpacked)?;
        Ok(goal)
    }

    /// Where it is, or would be.
    fn goal(&self, paths: &Paths, arch: &Arch, release: &Release, version: &str) -> PathBuf {
        let key = distro::key(&[format!("{} {version}", self.package)]);
        let name = format!("{}{release}-{key}", self.prefix);
        paths.kernels(arch.name).join(name)
    }

    fn unpack(&self, file: &Path, tree: &mut Tree, ui: &Ui) -> Result<()> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('_').next().unwrap_or_default();
        let task = RefCell::new(ui.task(format!("unpacking {name}")));
        let files = Cell::new(0);
        let choose = |path: &Path| {
            let wanted = (self.wanted)(path)?;
            files.set(files.get() + 1);
            let progress = format!("{} files", thousands(files.get()));
            task.borrow_mut().update(progress);
            Some(wanted)
        };
        let package =
            File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        Deb::open(package)?.unpack(tree, &LIMITS, &choose)
    }
}

/// The release that such a folder is of, by its name; `None` if it is called otherwise.
pub fn release_of(folder: &Path) -> Option<Release> {
    let name = folder.file_name()?.to_str()?;
    let name = PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    let (release, key) = name.rsplit_once('-')?;
    let digits = key.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && key.len() == 12).then(|| release.parse().ok())?
}

/// What is called like such a folder, with its release, sorted.
pub fn survey(paths: &Paths, arch: &Arch) -> Result<Vec<(Release, PathBuf)>> {
    let mut found = Vec::new();
    for path in disk::entries(&paths.kernels(arch.name))? {
        if let Some(release) = release_of(&path).filter(|_| path.is_dir()) {
            found.push((release, path));
        }
    }
    found.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(found)
}

/// The name of the lock under which a folder is made.
pub fn lock_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_say_of_which_kernel_they_are() {
        let files = crate::base::paths::Files::Embedded(&[]);
        let paths = Paths::new("/w", files.clone(), files);
        let arch = crate::model::arch::find("x86_64").unwrap();
        let release = "6.12.118+deb13-amd64".parse::<Release>().unwrap();
        let goal = |prefix, version: &str| {
            let extra = Extra {
                prefix,
                package: "package".to_owned(),
                what: "",
                find: &|_| Ok(Vec::new()),
                wanted: &|_| None,
                finish: &|_, _| Ok(()),
            };
            extra.goal(&paths, arch, &release, version)
        };
        let one = goal(DEBUGINFO, "6.12.118-1");
        assert_eq!(release_of(&one), Some(release.clone()));
        assert_ne!(one, goal(DEBUGINFO, "6.12.118-2"));
        let other = goal(HEADERS, "6.12.118-1");
        assert_eq!(release_of(&other), Some(release.clone()));
        assert_ne!(one, other);
        for name in [
            "distribution-6.1.0-56-amd64-0123456789ab",
            "debuginfo-6.1.0-56-amd64",
            "headers-x-0123456789ab",
            ".debuginfo-6.1.0-0123456789ab.tmp-01234567",
        ] {
            assert_eq!(release_of(Path::new(name)), None, "{name}");
        }
    }
}
