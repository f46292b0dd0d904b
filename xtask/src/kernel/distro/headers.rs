//! What modules are built against for a kernel of Debian: `linux-headers-<release>`, whose
//! Makefile includes that of a package for all flavors of the kernel, and the programs of
//! the build in `linux-kbuild-<version>`. Together they are a download of some 13 MB and
//! take 80 MB unpacked. The programs are those for this
//! host, whatever the kernel is for, and may need a newer libc than it has, so that their libraries
//! come along.

use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{companion::Companion, folder};
use crate::base::{disk, env::Env, error::Failure, input};
use crate::host::loader;
use crate::model::arch;
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
        parts: &[
            "linux-headers-",
            "linux-kbuild-",
            "libc6",
            "libelf1",
            "libzstd1",
            "zlib1g",
        ],
        wanted,
        finish: &|unpacked, goal| {
            let file = unpacked.join(&tree).join("Makefile");
            let text = input::text(&file, input::TEXT)?;
            disk::write(&file, moved(&text, goal))?;
            wrap_programs(unpacked)
        },
    };
    Ok(companion.obtain(env, kernel)?.join(&tree))
}

fn wanted(path: &Path) -> Option<PathBuf> {
    let libraries = arch::host().map(loader::libraries).unwrap_or_default();
    let path = match path.starts_with("lib") {
        true => Path::new("usr").join(path),
        false => path.to_owned(),
    };
    let programs = path.as_os_str().as_bytes().starts_with(PROGRAMS);
    let is_library = || path.parent() == Some(Path::new(&libraries));
    (programs || path.starts_with(SOURCES) || is_library()).then_some(path)
}

/// Puts scripts in the place of programs that this host lacks libraries for.
fn wrap_programs(unpacked: &Path) -> Result<()> {
    let Some(host) = arch::host() else {
        return Ok(());
    };
    for path in disk::tree(&unpacked.join("usr/lib"))? {
        let name = path.strip_prefix(unpacked)?;
        let is_program = name.as_os_str().as_bytes().starts_with(PROGRAMS)
            && path.is_file()
            && !path.is_symlink()
            && path.metadata()?.permissions().mode() & 0o100 != 0;
        if is_program && loader::lacks_libraries(host, &path)? {
            let moved = format!("{}.program", name.display());
            disk::rename(&path, &unpacked.join(&moved))?;
            let depth = name.iter().count() - 1;
            disk::write(&path, loader::script(host, depth, &moved, ""))?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
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
        let libraries = loader::libraries(arch::host().unwrap());
        let (library, other) = (
            format!("{}/libc.so.6", libraries.strip_prefix("usr/").unwrap()),
            format!("{libraries}/gconv/IBM1047.so"),
        );
        for (path, expected) in [
            (&*library, true),
            (&*other, false),
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
    fn programs_that_need_other_libraries_get_a_script() {
        let folder = tempfile::tempdir().unwrap();
        let scripts = folder.path().join("usr/lib/linux-kbuild-6.1/scripts");
        let lacking = loader::tests::without_libc();
        std::fs::create_dir_all(&scripts).unwrap();
        for (name, bytes, mode) in [
            ("lacking", &lacking, 0o755),
            ("runs", &std::fs::read("/bin/sh").unwrap(), 0o755),
            ("data", &lacking, 0o644),
        ] {
            std::fs::write(scripts.join(name), bytes).unwrap();
            std::fs::set_permissions(scripts.join(name), Permissions::from_mode(mode)).unwrap();
        }
        wrap_programs(folder.path()).unwrap();
        let script = std::fs::read_to_string(scripts.join("lacking")).unwrap();
        let program = "\"$root/usr/lib/linux-kbuild-6.1/scripts/lacking.program\" \"$@\"\n";
        assert!(script.contains("root=${0%/*}/../../../..\n"), "{script}");
        assert!(script.ends_with(program), "{script}");
        assert_eq!(
            std::fs::read(scripts.join("lacking.program")).unwrap(),
            lacking
        );
        assert_eq!(std::fs::read_dir(&scripts).unwrap().count(), 4);
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
