//! The folders of userspaces: `<arch>/root-<suite>-<key>` in the work directory, with the user
//! space in `tree` and what it is in `origin.json`.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::{disk, env::Env, input, lock, paths::Paths, temporary};
use crate::model::arch::Arch;

/// What was not asked for in this time goes: it is made again in a minute.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const PREFIX: &str = "root-";
const KEY_LENGTH: usize = 12;
const ORIGIN: &str = "origin.json";
pub const TREE: &str = "tree";

/// A userspace that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFolder {
    pub path: PathBuf,
    pub suite: String,
    /// When it was last asked for.
    pub used: SystemTime,
}

/// The contents of `origin.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootOrigin {
    /// Packages that were asked for, by name.
    pub wanted: BTreeSet<String>,
    /// The package files that it was made of, with their SHA-256.
    pub files: Vec<(String, String)>,
}

pub fn name(suite: &str, key: &str) -> String {
    format!("{PREFIX}{suite}-{}", &key[..KEY_LENGTH])
}

/// The suite in the name of a folder; `None` if it is called otherwise.
pub fn suite_of(path: &Path) -> Option<&str> {
    let (suite, key) = path
        .file_name()?
        .to_str()?
        .strip_prefix(PREFIX)?
        .rsplit_once('-')?;
    let digits = key.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && key.len() == KEY_LENGTH).then_some(suite)
}

/// Those of an architecture, the one that was used last at the end.
pub fn survey(paths: &Paths, arch: &Arch) -> Result<Vec<RootFolder>> {
    let mut found = Vec::new();
    for path in disk::entries(&paths.kernels(arch.name))? {
        let used = path
            .join(ORIGIN)
            .metadata()
            .and_then(|origin| origin.modified());
        if let (Some(suite), Ok(used)) = (suite_of(&path), used) {
            let suite = suite.to_owned();
            found.push(RootFolder { path, suite, used });
        }
    }
    found.sort_by_key(|folder| folder.used);
    Ok(found)
}

impl RootOrigin {
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        disk::write(folder.join(ORIGIN), text)
    }
}

impl RootFolder {
    pub fn origin(&self) -> Result<RootOrigin> {
        let path = self.path.join(ORIGIN);
        let text = input::bytes(&path, input::TEXT)?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// The userspaces that may go: those that another one of the same suite and packages has
/// replaced, and those that are not used.
pub fn old(paths: &Paths, arch: &Arch, now: SystemTime) -> Result<Vec<RootFolder>> {
    let mut newer = HashSet::new();
    let mut old = Vec::new();
    for folder in survey(paths, arch)?.into_iter().rev() {
        // Of one that is damaged nothing is known.
        let wanted = folder.origin().ok().map(|origin| origin.wanted);
        let age = now.duration_since(folder.used).unwrap_or_default();
        if wanted.is_none() || age > UNUSED || !newer.insert((folder.suite.clone(), wanted)) {
            old.push(folder);
        }
    }
    Ok(old)
}

/// Removes a userspace, which is whole or gone whenever this ends.
pub fn delete(env: &Env, folder: &RootFolder) -> Result<()> {
    // That under which it is made.
    let name = folder.path.file_name().unwrap_or_default();
    let _lock = lock::take(env, &name.to_string_lossy())?;
    temporary::discard(&folder.path)?;
    env.ui.info(format!("removed {}", folder.path.display()));
    Ok(())
}

/// Notes that a userspace is in use.
pub fn touch(folder: &Path) -> Result<()> {
    let path = folder.join(ORIGIN);
    let context = || format!("cannot write {}", path.display());
    let file = std::fs::File::options().append(true).open(&path);
    file.and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch;

    #[test]
    fn user_spaces_are_found() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let arch = arch::host().unwrap();
        let folder = env.paths.kernels(arch.name);
        let key = crate::base::sha256::Sha256::of("");
        let origin = RootOrigin {
            wanted: BTreeSet::from(["dash".to_owned()]),
            files: vec![("dash_1_all.deb".to_owned(), key.clone())],
        };
        let trixie = folder.join(name("trixie", &key));
        let sid = folder.join(name("unstable", &key));
        for path in [&trixie, &sid] {
            std::fs::create_dir_all(path.join(TREE)).unwrap();
            origin.write(path).unwrap();
        }
        // One that is being made, a kernel, and others.
        for other in [
            ".root-trixie-0123456789ab.tmp-01",
            "kernel-6.1",
            "root-x",
            "root-x-0123456789a",
        ] {
            std::fs::create_dir(folder.join(other)).unwrap();
            origin.write(&folder.join(other)).unwrap();
        }
        std::fs::create_dir(folder.join(name("bookworm", &key))).unwrap();
        touch(&sid).unwrap();
        touch(&trixie).unwrap();
        let found = survey(&env.paths, arch).unwrap();
        let suites = found.iter().map(|folder| folder.suite.as_str());
        assert_eq!(suites.collect::<Vec<_>>(), ["unstable", "trixie"]);
        assert_eq!(found[1].path, trixie);
        assert_eq!(found[1].origin().unwrap(), origin);
        disk::write(trixie.join(ORIGIN), "{").unwrap();
        assert!(found[1].origin().is_err());
        touch(&folder.join("absent")).unwrap_err();
    }

    #[test]
    fn the_user_space_of_a_suite_that_was_used_last_stays() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let arch = arch::host().unwrap();
        let now = SystemTime::now();
        let add = |suite: &str, key: &str, packages: &[&str], days: u64| {
            let path = env
                .paths
                .kernels(arch.name)
                .join(name(suite, &key.repeat(12)));
            std::fs::create_dir_all(path.join(TREE)).unwrap();
            let wanted = packages.iter().map(|package| (*package).to_owned());
            let wanted = wanted.collect();
            RootOrigin {
                wanted,
                files: vec![],
            }
            .write(&path)
            .unwrap();
            let origin = std::fs::File::options()
                .append(true)
                .open(path.join(ORIGIN));
            let used = now - Duration::from_secs(days * 24 * 60 * 60);
            origin.unwrap().set_modified(used).unwrap();
        };
        add("trixie", "a", &["dash"], 3);
        add("trixie", "b", &["dash"], 2);
        add("trixie", "c", &["dash", "python3"], 4);
        add("bookworm", "d", &["dash"], 5);
        add("bookworm", "e", &["dash", "python3"], 31);
        let names = |folders: Vec<RootFolder>| {
            let paths = folders.into_iter().map(|folder| folder.path);
            let names = paths.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        let found = old(&env.paths, arch, now).unwrap();
        for folder in &found {
            delete(&env, folder).unwrap();
        }
        assert_eq!(
            names(found),
            ["root-trixie-aaaaaaaaaaaa", "root-bookworm-eeeeeeeeeeee"]
        );
        let left = names(survey(&env.paths, arch).unwrap());
        assert_eq!(
            left,
            [
                "root-bookworm-dddddddddddd",
                "root-trixie-cccccccccccc",
                "root-trixie-bbbbbbbbbbbb"
            ]
        );
        assert!(old(&env.paths, arch, now).unwrap().is_empty());
    }
}
