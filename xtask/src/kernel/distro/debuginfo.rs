//! Debugging information of kernels that come without: `--debuginfo`.
//!
//! Debian has that of an image and its modules in `linux-image-<release>-dbg`, whose files
//! are those that debuggers look for below `/usr/lib/debug`: of
//! `linux-image-6.1.0-50-amd64-dbg`, `boot/vmlinux-<release>`,
//! `lib/modules/<release>/vmlinux`, `lib/modules/<release>/**.ko`, and `.build-id/**.debug`.
//! It is a download of 800 MB to 1.2 GB and takes 5 to 8 GB unpacked, so it is fetched only
//! for those who ask, and once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{companion::Companion, folder};
use crate::base::{env::Env, error::Failure};
use crate::model::kernel::{LocalKernel, Origin};
use crate::model::version::Release;

/// Where a package has what becomes the folder.
const INSIDE: &str = "usr/lib/debug";

/// The kernel with its debugging information, which is fetched if it is not here. A kernel
/// that was built here or came in a package of ours has it.
pub fn add(env: &Env, kernel: LocalKernel) -> Result<LocalKernel> {
    let folder = match kernel.origin {
        Origin::Package | Origin::Tree => return Ok(kernel),
        Origin::Host => of_host(Path::new("/"), &kernel.release)?,
        Origin::Distribution => of_package(env, &kernel)?,
    };
    let vmlinux = vmlinux(&folder, &kernel.release)?;
    Ok(LocalKernel {
        vmlinux: Some(vmlinux),
        debuginfo: Some(folder),
        ..kernel
    })
}

/// The kernel as an ELF file, where debuggers look for it below `/usr/lib/debug`.
fn vmlinux(debug: &Path, release: &Release) -> Result<PathBuf> {
    let places = [
        format!("boot/vmlinux-{release}"),
        format!("lib/modules/{release}/vmlinux"),
        format!("usr/lib/modules/{release}/vmlinux"),
        format!("vmlinux-{release}"),
    ];
    let mut paths = places.into_iter().map(|place| debug.join(place));
    paths.find(|path| path.is_file()).with_context(|| {
        format!(
            "there is no boot/vmlinux-{release} and no lib/modules/{release}/vmlinux in {}",
            debug.display()
        )
    })
}

fn of_host(root: &Path, release: &Release) -> Result<PathBuf> {
    let debug = root.join(INSIDE);
    if vmlinux(&debug, release).is_ok() {
        return Ok(debug);
    }
    let message = format!(
        "there is no debugging information of this host's kernel, {release}, in {}",
        debug.display()
    );
    let hint = format!(
        "install linux-image-{release}-dbg (Debian), linux-image-{release}-dbgsym (Ubuntu) \
        or kernel-debuginfo (Fedora)"
    );
    Err(Failure::setup(message).hint(hint).into())
}

fn of_package(env: &Env, kernel: &LocalKernel) -> Result<PathBuf> {
    let release = &kernel.release;
    let companion = Companion {
        prefix: folder::DEBUGINFO,
        // Whether its image was signed or not.
        package: format!("linux-image-{release}-dbg"),
        parts: &[],
        what: "the debugging information",
        wanted,
        finish: &|unpacked, _| vmlinux(unpacked, release).map(drop),
    };
    companion.obtain(env, kernel)
}

/// Where a file of a package goes. No debugger looks at the list of symbols: it is in the
/// ELF file too.
fn wanted(path: &Path) -> Option<PathBuf> {
    let inside = path.strip_prefix(INSIDE).ok()?;
    let name = inside.file_name()?.to_string_lossy();
    (!name.starts_with("System.map")).then(|| inside.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::error::exit_status;

    #[test]
    fn only_what_debuggers_need_is_unpacked() {
        for (path, expected) in [
            (
                "usr/lib/debug/boot/vmlinux-6.1.0",
                Some("boot/vmlinux-6.1.0"),
            ),
            (
                "usr/lib/debug/.build-id/ab/cd.debug",
                Some(".build-id/ab/cd.debug"),
            ),
            ("usr/lib/debug/boot/System.map-6.1.0", None),
            ("usr/lib/debug", None),
            ("usr/lib/debugger/x", None),
            ("usr/share/doc/x/copyright", None),
        ] {
            assert_eq!(
                wanted(Path::new(path)),
                expected.map(PathBuf::from),
                "{path}"
            );
        }
    }

    #[test]
    fn what_the_host_has_is_used_or_named() {
        let root = tempfile::tempdir().unwrap();
        let release = "6.1.0-56-amd64".parse::<Release>().unwrap();
        let error = of_host(root.path(), &release).unwrap_err();
        assert_eq!(exit_status(&error), 3);
        let shown = format!("{error:#}").replace(&root.path().display().to_string(), "");
        expect_test::expect![[r#"there is no debugging information of this host's kernel, 6.1.0-56-amd64, in /usr/lib/debug (install linux-image-6.1.0-56-amd64-dbg (Debian), linux-image-6.1.0-56-amd64-dbgsym (Ubuntu) or kernel-debuginfo (Fedora))"#]]
        .assert_eq(&shown);
        let debug = root.path().join("usr/lib/debug");
        for place in [
            "vmlinux-6.1.0-56-amd64",
            "lib/modules/6.1.0-56-amd64/vmlinux",
            "boot/vmlinux-6.1.0-56-amd64",
        ] {
            let path = debug.join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            assert_eq!(of_host(root.path(), &release).unwrap(), debug);
            assert_eq!(vmlinux(&debug, &release).unwrap(), path);
        }
    }
}
