//! Userspaces for guests, what a guest has as its `/`, and compilers made in the same way.

pub mod compiler;
mod debian;
pub mod folder;
mod recipe;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Result;

use crate::base::{disk, env::Env, error::Failure, suggest};
use crate::model::arch::{self, Arch};
use crate::net::apt::formats::{DebianArchive, SUITES};

/// What a guest has as its `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestRoot {
    pub arch: &'static Arch,
    pub path: PathBuf,
}

/// Which userspace a guest is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootChoice {
    /// This computer's.
    Host,
    /// One made of Debian's packages, of a suite or the newest stable one.
    Debian(Option<String>),
    Directory(PathBuf),
}

impl RootChoice {
    /// Of a guest for which nothing was chosen.
    pub fn default_for(arch: &Arch) -> Self {
        if arch::host() == Some(arch) {
            Self::Host
        } else {
            Self::Debian(None)
        }
    }
}

impl FromStr for RootChoice {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text {
            "host" => return Ok(Self::Host),
            "debian" => return Ok(Self::Debian(None)),
            path if path.starts_with(['/', '.']) => return Ok(Self::Directory(path.into())),
            _ => {}
        }
        let Some(suite) = text.strip_prefix("debian:") else {
            return Err(Failure::usage(format!("{text:?} is no userspace")).hint(
                "one of host, debian, debian:SUITE, and a directory that begins with . or /",
            ));
        };
        let known = suites();
        if known.contains(&suite) {
            return Ok(Self::Debian(Some(suite.to_owned())));
        }
        let message = format!("{suite:?} is no suite of Debian to make a userspace of");
        Err(Failure::usage(message).hint(suggest::hint(suite, &known)))
    }
}

/// The suites that are whole, the oldest first.
fn suites() -> Vec<&'static str> {
    let names = SUITES.iter().filter(|suite| {
        let whole = suite.name.bytes().all(|byte| byte.is_ascii_lowercase());
        suite.archive == DebianArchive::Main && whole && suite.name != "experimental"
    });
    names.map(|suite| suite.name).collect()
}

/// The userspace, which is made if it is not here. It has `packages` besides those that all
/// have; what the host or a directory has is not looked at.
pub fn obtain(
    env: &Env,
    choice: &RootChoice,
    arch: &'static Arch,
    packages: &[String],
) -> Result<GuestRoot> {
    let path = match choice {
        RootChoice::Debian(suite) => debian::obtain(env, suite.as_deref(), arch, packages)?,
        RootChoice::Directory(path) => {
            let path = disk::canonicalize(path)?;
            if !path.is_dir() {
                let message = format!("{} is not a directory", path.display());
                return Err(Failure::usage(message).into());
            }
            path
        }
        RootChoice::Host => PathBuf::from("/"),
    };
    if path == Path::new("/") && arch::host() != Some(arch) {
        let message = format!("programs of this computer do not run on {}", arch.name);
        return Err(Failure::usage(message).hint("--root debian").into());
    }
    Ok(GuestRoot { arch, path })
}

/// A userspace's directory for people.
pub fn describe(path: &Path) -> String {
    let suite = path.parent().and_then(folder::suite_of);
    let shown = path.display();
    suite.map_or_else(|| shown.to_string(), |suite| format!("Debian {suite}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        let debian = |suite: Option<&str>| RootChoice::Debian(suite.map(str::to_owned));
        for (text, expected) in [
            ("host", RootChoice::Host),
            ("debian", debian(None)),
            ("debian:trixie", debian(Some("trixie"))),
            ("debian:unstable", debian(Some("unstable"))),
            ("/srv/root", RootChoice::Directory("/srv/root".into())),
            ("./debian", RootChoice::Directory("./debian".into())),
        ] {
            assert_eq!(text.parse::<RootChoice>().unwrap(), expected);
        }
        for (text, hint) in [
            ("", "one of host, debian, debian:SUITE"),
            ("srv/root", "a directory that begins with . or /"),
            ("debian:trixi", "did you mean trixie?"),
            ("debian:trixie-backports", "there is stretch, buster"),
            ("debian:experimental", "there is stretch, buster"),
        ] {
            let failure = text.parse::<RootChoice>().unwrap_err();
            let found = failure.hint.unwrap();
            assert!(found.contains(hint), "{text}: {found}");
        }
    }

    #[test]
    fn only_a_guest_like_the_host_has_its_user_space() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let host = arch::host().unwrap();
        let root = obtain(&env, &RootChoice::Host, host, &[]).unwrap();
        assert_eq!(root.path, PathBuf::from("/"));
        for other in arch::ARCHITECTURES.iter().filter(|arch| *arch != host) {
            assert_eq!(RootChoice::default_for(other), RootChoice::Debian(None));
            obtain(&env, &RootChoice::Host, other, &[]).unwrap_err();
        }
        let directory = RootChoice::Directory(work.path().to_owned());
        assert_eq!(
            obtain(&env, &directory, host, &[]).unwrap().path,
            work.path()
        );
        let absent = RootChoice::Directory(work.path().join("absent"));
        obtain(&env, &absent, host, &[]).unwrap_err();
    }
}
