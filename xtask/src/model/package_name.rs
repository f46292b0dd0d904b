//! Names of package files, `kernel-<release>.<arch>.tar.zst`: those that drgn's published
//! kernels have, so that either project's files can be told by name alone.

use std::fmt;

use crate::model::arch::{self, Arch};
use crate::model::version::Release;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageName {
    pub arch: &'static Arch,
    pub release: Release,
}

impl PackageName {
    pub fn new(arch: &'static Arch, release: &Release) -> Self {
        let release = release.clone();
        Self { arch, release }
    }

    /// `None` if it is not the name of a package for one of our architectures.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_prefix("kernel-")?.strip_suffix(".tar.zst")?;
        // A release has dots, the name of an architecture has none.
        let (release, arch) = stem.rsplit_once('.')?;
        Some(Self {
            arch: arch::find(arch)?,
            release: release.parse().ok()?,
        })
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel-{}.{}.tar.zst", self.release, self.arch.name)
    }
}

impl serde::Serialize for PackageName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub fn directory_name(release: &Release) -> String {
    format!("kernel-{release}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (name, release) in [
            (
                "kernel-6.1.192-vmtest1.1default.x86_64.tar.zst",
                "6.1.192-vmtest1.1default",
            ),
            (
                "kernel-6.1.192-vmtest1.1default+landlock.x86_64.tar.zst",
                "6.1.192-vmtest1.1default+landlock",
            ),
            ("kernel-7.3-rc2-x.x86_64.tar.zst", "7.3-rc2-x"),
        ] {
            let parsed = PackageName::parse(name).unwrap();
            assert_eq!(parsed.release.to_string(), release);
            assert_eq!(parsed.arch.name, "x86_64");
            assert_eq!(parsed.to_string(), name);
            assert_eq!(directory_name(&parsed.release), format!("kernel-{release}"));
        }
    }

    #[test]
    fn other_names_are_not_packages() {
        for name in [
            "",
            "kernel-.x86_64.tar.zst",
            "kernel-6.1.x86_64.tar.gz",
            "kernel-6.1.pdp11.tar.zst",
            "kernel-6.1.tar.zst",
            "gcc-12.2.0-x86_64-linux.tar.xz",
            ".kernel-6.1.x86_64.tar.zst.tmp-abc",
            "kernel-../../etc.x86_64.tar.zst",
        ] {
            assert_eq!(PackageName::parse(name), None, "{name:?}");
        }
    }
}
