//! What modules are built against for a kernel of Debian: `linux-headers-<release>`, whose
//! Makefile includes that of a package for all flavors of the kernel, and the programs of
//! the build in `linux-kbuild-<version>`. Together they are a download of some 13 MB and
//! take 80 MB unpacked.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{companion::Companion, folder};
use crate::base::{disk, env::Env, error::Failure, input};
use crate::model::kernel::{LocalKernel, Origin};

/// Where the packages have what is wanted, as they would be installed.
const SOURCES: &str = "usr/src";
const PROGRAMS: &[u8] = b"usr/lib/linux-kbuild-";

/// The tree that modules are built against for a kernel that was unpacked from a package.
pub fn obtain(env: &Env, kernel: &LocalKernel) -> Result<PathBuf> {
    let name = format!("linux-headers-{}", kernel.release);
    if kernel.origin != Origin::Distribution {
        let release = &kernel.release;
        let message = format!("there is nothing to build modules against for {release}");
        return Err(Failure::setup(message)
            .hint(format!("install {name}"))
            .into());
    }
    let tree = Path::new(SOURCES).join(&name);
    let companion = Companion {
        prefix: folder::HEADERS,
        package: name.clone(),
        what: "what modules are built against",
        parts: &["linux-headers-", "linux-kbuild-"],
        wanted,
        finish: &|unpacked, goal| {
            let file = unpacked.join(&tree).join("Makefile");
            let text = input::text(&file, input::TEXT)?;
            disk::write(&file, moved(&text, goal))
        },
    };
    Ok(companion.obtain(env, kernel)?.join(&tree))
}

fn wanted(path: &Path) -> Option<PathBuf> {
    let programs = path.as_os_str().as_bytes().starts_with(PROGRAMS);
    (programs || path.starts_with(SOURCES)).then(|| path.to_owned())
}

/// A Makefile whose absolute paths lead below a folder.
fn moved(text: &str, folder: &Path) -> String {
    let (from, to) = (format!("/{SOURCES}/"), folder.join(SOURCES));
    text.replace(&from, &format!("{}/", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_build_needs_is_unpacked() {
        for (path, expected) in [
            ("usr/src/linux-headers-6.1.0-56-amd64/.config", true),
            ("usr/src/linux-kbuild-6.1", true),
            ("usr/lib/linux-kbuild-6.1/scripts/basic/fixdep", true),
            ("usr/lib/modules/6.1.0-56-amd64/build", false),
            ("lib/modules/6.1.0-56-amd64/build", false),
            ("usr/share/doc/x/copyright", false),
        ] {
            assert_eq!(wanted(Path::new(path)).is_some(), expected, "{path}");
        }
    }

    #[test]
    fn a_makefile_includes_what_is_beside_it() {
        let text = "include /usr/src/linux-headers-6.1.0-56-common/Makefile\n";
        assert_eq!(
            moved(text, Path::new("/w/x86_64/headers-x")),
            "include /w/x86_64/headers-x/usr/src/linux-headers-6.1.0-56-common/Makefile\n"
        );
    }
}
