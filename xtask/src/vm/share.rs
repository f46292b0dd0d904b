//! Directories of the host that a guest gets besides its root: `--share` and
//! `--share-rw`. What a guest writes goes to its own memory, except in the latter.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::Access;

use crate::base::{error::Failure, route};

/// A share as it was typed: `DIR[:GUEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareArgument {
    pub host: PathBuf,
    /// Where the guest sees it, an absolute path; `None`: where the host has it.
    pub guest: Option<PathBuf>,
}

impl ShareArgument {
    /// Splits at the last colon that an absolute path follows, so that other colons
    /// may be in the directory's name.
    pub fn parse(word: &OsStr) -> Self {
        let bytes = word.as_bytes();
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        match bytes.windows(2).rposition(|pair| pair == b":/") {
            Some(colon) if colon > 0 => Self {
                host: path(&bytes[..colon]),
                guest: Some(path(&bytes[colon + 1..])),
            },
            _ => Self {
                host: path(bytes),
                guest: None,
            },
        }
    }

    /// Looks for the directory on this host.
    pub fn resolve(&self, writable: bool) -> Result<Share, Failure> {
        let failure = |why: String| {
            Failure::usage(format!("cannot share {}: {why}", self.host.display()))
                .hint("a share is DIR or DIR:GUEST, and GUEST begins with /")
        };
        // QEMU and the guest know it by its one name: a path by way of a symbolic link
        // leads there in both.
        let host = (self.host.canonicalize()).map_err(|error| failure(error.to_string()))?;
        if !host.is_dir() {
            return Err(failure("it is not a directory".to_owned()));
        }
        // QEMU would refuse it after everything else was made.
        rustix::fs::access(&host, Access::READ_OK | Access::EXEC_OK)
            .map_err(|error| failure(std::io::Error::from(error).to_string()))?;
        let guest = self.guest.as_ref().unwrap_or(&host);
        let guest = place(guest).map_err(|why| {
            let guest = guest.display();
            Failure::usage(format!("cannot share a directory at {guest}: {why}"))
                .hint(ANOTHER_PLACE)
        })?;
        Ok(Share {
            host,
            guest,
            writable,
        })
    }
}

const ANOTHER_PLACE: &str = "name another place in the guest: DIR:GUEST";

/// Below these the guest has what the host has nothing to do with, and init mounts
/// and writes there.
const OWN: &[&str] = &["/dev", "/proc", "/sys", "/run/vmtest"];

/// Whether a guest has something of its own there, and not what the host has.
pub fn is_guests_own(path: &Path) -> bool {
    OWN.iter().any(|own| path.starts_with(own))
}

pub(super) fn has_parent(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

/// Where something can be mounted for that path: the guest has the host's links, and makes the
/// directory where they lead. An error says why nothing can be mounted there.
pub(super) fn place(guest: &Path) -> Result<PathBuf, &'static str> {
    if has_parent(guest) {
        return Err("a path with .. means something else there");
    }
    let place = route::route(guest).map_or_else(|| guest.to_owned(), |route| route.end);
    if place == Path::new("/") {
        return Err("that is its whole file system");
    }
    // The guest's streams go through FIFOs in /run.
    if place == Path::new("/run") || is_guests_own(&place) {
        return Err("the guest has its own there");
    }
    Ok(place)
}

/// A directory of the host that the guest gets besides its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub host: PathBuf,
    /// Where the guest has it, absolute.
    pub guest: PathBuf,
    /// Whether what the guest writes reaches the host.
    pub writable: bool,
}

/// The shares in the order in which they are mounted: what contains another one comes
/// first and hides nothing.
pub fn arrange(mut shares: Vec<Share>) -> Result<Vec<Share>, Failure> {
    // By components, so that an ancestor comes before what is below it.
    shares.sort_by(|a, b| a.guest.cmp(&b.guest));
    for pair in shares.windows(2) {
        let (one, two) = (&pair[0], &pair[1]);
        if one.guest == two.guest {
            let (one, two, guest) = (one.host.display(), two.host.display(), two.guest.display());
            let message = format!("both {one} and {two} are to be shared at {guest}");
            return Err(Failure::usage(message).hint(ANOTHER_PLACE));
        }
    }
    for share in &shares {
        let mut around = shares.iter().rev().filter_map(|other| {
            let inside = share.guest.strip_prefix(&other.guest).ok()?;
            (other != share).then_some((other, inside))
        });
        has_place(share, around.next())?;
    }
    Ok(shares)
}

/// Whether a share has a place in the guest, in the share around it: init makes directories, but
/// not in what is shared read-only, and not in place of a file.
fn has_place(share: &Share, around: Option<(&Share, &Path)>) -> Result<(), Failure> {
    let failure = |why: String| {
        let (host, guest) = (share.host.display(), share.guest.display());
        Failure::usage(format!("cannot share {host} at {guest}: {why}"))
    };
    // The guest's root is the host's.
    let root = || share.guest.clone();
    let place = around.map_or_else(root, |(around, inside)| around.host.join(inside));
    if let Some((around, _)) = around
        && !around.writable
        && !place.is_dir()
    {
        let around = around.host.display();
        let why = format!("{around}, which is shared around it, has no such directory");
        let hint = format!("make {}, or share it elsewhere", place.display());
        return Err(failure(why).hint(hint));
    }
    match place.ancestors().find(|path| path.exists()) {
        Some(there) if !there.is_dir() => {
            let why = format!("{} is not a directory", there.display());
            Err(failure(why).hint(ANOTHER_PLACE))
        }
        _ => Ok(()),
    }
}

/// The name by which the guest asks for a share, by its place in the list. At most 31
/// bytes (QEMU, `hw/9pfs/9p.h`, `MAX_TAG_LEN`).
pub fn tag(index: usize) -> String {
    format!("vmtest.share{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str) -> (String, Option<String>) {
        let ShareArgument { host, guest } = ShareArgument::parse(OsStr::new(text));
        let text = |path: PathBuf| path.display().to_string();
        (text(host), guest.map(text))
    }

    #[test]
    fn the_guests_path_is_behind_the_last_colon_that_can_be_one() {
        let pair = |host: &str, guest: &str| (host.to_owned(), Some(guest.to_owned()));
        let alone = |host: &str| (host.to_owned(), None);
        assert_eq!(argument("/a"), alone("/a"));
        assert_eq!(argument("."), alone("."));
        assert_eq!(argument("/a:/b"), pair("/a", "/b"));
        assert_eq!(argument("a b,c:/d e"), pair("a b,c", "/d e"));
        assert_eq!(argument("/a:b"), alone("/a:b"));
        assert_eq!(argument("/a:b:/c"), pair("/a:b", "/c"));
        assert_eq!(argument("/a:/b:/c"), pair("/a:/b", "/c"));
        assert_eq!(argument("/a:"), alone("/a:"));
        assert_eq!(argument(":/a"), alone(":/a"));
        assert_eq!(argument(""), alone(""));
    }

    #[test]
    fn what_cannot_be_shared_is_the_users_mistake() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        std::fs::write(path.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&path, path.join("link")).unwrap();
        let resolve = |host: &Path, guest: Option<&str>| {
            let argument = ShareArgument {
                host: host.to_owned(),
                guest: guest.map(PathBuf::from),
            };
            argument.resolve(true).map_err(|failure| {
                assert_eq!(failure.kind, crate::base::error::FailureKind::Usage);
                failure.message
            })
        };
        let found = resolve(&path.join("link"), None).unwrap();
        assert_eq!((&found.host, &found.guest), (&path, &path));
        for (host, guest, words) in [
            (path.join("none"), None, "No such file"),
            (path.join("file"), None, "not a directory"),
            (PathBuf::new(), None, "cannot share"),
            (PathBuf::from("/"), None, "whole file system"),
            (path.clone(), Some("/"), "whole file system"),
            (path.clone(), Some("//"), "whole file system"),
            (path.clone(), Some("/run"), "its own"),
            (path.clone(), Some("/run/vmtest/x"), "its own"),
            (path.clone(), Some("/dev/shm"), "its own"),
            (path.clone(), Some("/tmp/../dev"), ".."),
        ] {
            let error = resolve(&host, guest).unwrap_err();
            assert!(error.contains(words), "{host:?} {guest:?}: {error}");
        }
        for guest in ["/tmp", "/run/user", "/devices", "/mnt/new/one"] {
            assert!(resolve(&path, Some(guest)).is_ok(), "{guest}");
        }
    }

    #[test]
    fn what_contains_another_comes_first() {
        let share = |guest: &str| Share {
            host: "/h".into(),
            guest: guest.into(),
            writable: true,
        };
        let order = arrange(["/a/b/c", "/a-b", "/a", "/a/b"].map(share).to_vec()).unwrap();
        let order = order.iter().map(|share| share.guest.to_str().unwrap());
        assert_eq!(order.collect::<Vec<_>>(), ["/a", "/a/b", "/a/b/c", "/a-b"]);
        let failure = arrange(["/a", "/b", "/a/"].map(share).to_vec()).unwrap_err();
        assert!(failure.message.contains("shared at /a"), "{failure}");
    }

    #[test]
    fn what_is_shared_read_only_must_have_the_place_of_another() {
        let home = tempfile::tempdir().unwrap();
        let host = home.path().canonicalize().unwrap();
        std::fs::create_dir(host.join("there")).unwrap();
        std::fs::write(host.join("file"), "").unwrap();
        let arranged = |guest: &str, writable| {
            let outer = Share {
                host: host.clone(),
                guest: "/mnt/a".into(),
                writable,
            };
            let inner = Share {
                host: host.clone(),
                guest: guest.into(),
                writable: true,
            };
            arrange(vec![inner, outer])
        };
        for (guest, writable, good) in [
            ("/mnt/a/there", false, true),
            ("/mnt/a/none", false, false),
            ("/mnt/a/none", true, true),
            ("/mnt/a/file", false, false),
            ("/mnt/a/file/below", true, false),
            ("/mnt/b", false, true),
            ("/etc/passwd", false, false),
        ] {
            assert_eq!(
                arranged(guest, writable).is_ok(),
                good,
                "{guest} {writable}"
            );
        }
    }
}
