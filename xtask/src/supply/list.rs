//! The list of kernels, for people and for programs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::base::{disk, table};
use crate::kernel::manifest::Manifest;
use crate::model::kernel::{LocalKernel, Origin};
use crate::model::kernel_request::{Candidate, newest_first};
use crate::model::{arch::Arch, package_name::PackageName, version::Release};
use crate::net::github::{Asset, AssetState};
use crate::release::download::megabytes;

/// A kernel that is here, in the release, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: PackageName,
    pub local: Option<LocalKernel>,
    pub asset: Option<Asset>,
}

impl Candidate for Listed {
    fn arch(&self) -> &'static Arch {
        self.name.arch
    }

    fn release(&self) -> &Release {
        &self.name.release
    }

    fn local(&self) -> bool {
        self.local.is_some()
    }
}

/// Joins kernels on this machine and assets of the release; the newest first of
/// each architecture. Assets that are no packages are left out.
pub fn join(kernels: Vec<LocalKernel>, assets: &[Asset]) -> Vec<Listed> {
    let here = |kernel: LocalKernel| Listed {
        name: PackageName::new(kernel.arch, &kernel.release),
        local: Some(kernel),
        asset: None,
    };
    let mut listed = kernels.into_iter().map(here).collect::<Vec<_>>();
    for asset in assets {
        let Some(name) = asset.package() else {
            continue;
        };
        let asset = Some(asset.clone());
        match listed.iter_mut().find(|listed| listed.name == name) {
            Some(listed) => listed.asset = asset,
            None => listed.push(Listed {
                name,
                local: None,
                asset,
            }),
        }
    }
    listed.sort_by(|a, b| {
        let arch = a.name.arch.name.cmp(b.name.arch.name);
        arch.then_with(|| newest_first(a, b))
    });
    listed
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelRow {
    /// What `uname -r` prints.
    pub release: String,
    pub arch: &'static str,
    /// The flavor, with options beyond it, if it is a vmtest kernel.
    pub flavor: Option<String>,
    /// Who made it, if it is here.
    pub origin: Option<Origin>,
    /// Where it is.
    pub state: &'static str,
    /// Bytes that it takes on disk, if it is here.
    pub size: Option<u64>,
    /// The unpacked package, if it is here.
    pub path: Option<PathBuf>,
    /// Bytes of the package in the release.
    pub download_size: Option<u64>,
    /// What that package was made from, if its label says so.
    pub input_key: Option<String>,
}

/// The state of what is on this machine, as far as anybody was asked.
const LOCAL: &str = "local";

/// The line of a kernel.
pub fn row(listed: &Listed) -> Result<KernelRow> {
    let release = &listed.name.release;
    let local = listed.local.as_ref();
    let asset = listed.asset.as_ref();
    let key = asset.and_then(Asset::input_key);
    let state = match (local, asset) {
        (_, Some(asset)) if asset.state != AssetState::Uploaded => "starter",
        (None, _) => "remote",
        (Some(_), None) => LOCAL,
        // If the input keys differ, one of them was made before the other.
        (Some(kernel), Some(_)) => match (Manifest::read(&kernel.path)?, key) {
            (Some(manifest), Some(key)) if manifest.input_key != key => "stale",
            _ => "both",
        },
    };
    Ok(KernelRow {
        release: release.to_string(),
        arch: listed.name.arch.name,
        flavor: release.vmtest().map(|suffix| suffix.variant()),
        origin: local.map(|kernel| kernel.origin),
        state,
        size: local.map(|kernel| disk_usage(&kernel.path)).transpose()?,
        path: local.map(|kernel| kernel.path.clone()),
        download_size: asset.map(|asset| asset.size),
        input_key: key.map(str::to_owned),
    })
}

/// Bytes that a directory takes, as `du` counts them: `st_blocks` is in units of
/// 512 (stat(2)).
pub fn disk_usage(path: &Path) -> Result<u64> {
    let metadata = path.symlink_metadata();
    let metadata = metadata.with_context(|| format!("cannot look at {}", path.display()))?;
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in disk::entries(path)? {
            bytes += disk_usage(&entry)?;
        }
    }
    Ok(bytes)
}

/// The list as text; empty for an empty table. What is in the release takes columns only if that
/// was asked for.
pub fn columns(rows: &[KernelRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let remote = rows.iter().any(|row| row.state != LOCAL);
    let (more, numbers): (&[_], &[_]) = match remote {
        true => (&["STATE", "DOWNLOAD", "ON DISK"], &[4, 5]),
        false => (&["SIZE"], &[3]),
    };
    let head = [&["RELEASE", "ARCH", "FLAVOR"], more, &["PATH"]].concat();
    let mut lines = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        // The release of a distribution's kernel says its flavor.
        let distribution = row.origin == Some(Origin::Distribution);
        let flavor = row.flavor.clone();
        let flavor = flavor.or(distribution.then(|| "distribution".to_owned()));
        let mut cells = vec![row.release.clone(), row.arch.to_owned(), or_dash(flavor)];
        if remote {
            cells.extend([
                row.state.to_owned(),
                or_dash(row.download_size.map(megabytes)),
            ]);
        }
        let path = row.path.as_ref().map(|path| path.display().to_string());
        cells.extend([or_dash(row.size.map(megabytes)), or_dash(path)]);
        lines.push(cells);
    }
    table::columns(&lines, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(release: &str, flavor: Option<&str>, size: u64) -> KernelRow {
        KernelRow {
            release: release.to_owned(),
            arch: "x86_64",
            flavor: flavor.map(str::to_owned),
            origin: Some(Origin::Package),
            state: LOCAL,
            size: Some(size),
            path: Some(PathBuf::from(format!("/w/x86_64/kernel-{release}"))),
            download_size: None,
            input_key: None,
        }
    }

    #[test]
    fn kernels_are_listed_for_people_and_for_programs() {
        let mut rows = vec![
            row("6.1.192-vmtest1.1default", Some("default"), 312_345_678),
            row("6.1.0", None, 4096),
        ];
        expect_test::expect![[r"
            RELEASE                   ARCH    FLAVOR     SIZE  PATH
            6.1.192-vmtest1.1default  x86_64  default  313 MB  /w/x86_64/kernel-6.1.192-vmtest1.1default
            6.1.0                     x86_64  -          1 MB  /w/x86_64/kernel-6.1.0
        "]]
        .assert_eq(&columns(&rows));
        let parsed = serde_json::to_value(&rows).unwrap();
        assert_eq!(parsed[0]["flavor"], "default");
        assert_eq!(parsed[0]["size"], 312_345_678);
        assert_eq!(parsed[0]["state"], "local");
        assert!(parsed[1]["flavor"].is_null());
        assert_eq!(columns(&[]), "");

        rows[0].state = "stale";
        rows[0].download_size = Some(78_000_000);
        rows.push(KernelRow {
            origin: None,
            state: "remote",
            size: None,
            path: None,
            download_size: Some(1),
            ..row("5.10.1-vmtest1.0tiny", Some("tiny"), 0)
        });
        expect_test::expect![[r"
            RELEASE                   ARCH    FLAVOR   STATE   DOWNLOAD  ON DISK  PATH
            6.1.192-vmtest1.1default  x86_64  default  stale      78 MB   313 MB  /w/x86_64/kernel-6.1.192-vmtest1.1default
            6.1.0                     x86_64  -        local          -     1 MB  /w/x86_64/kernel-6.1.0
            5.10.1-vmtest1.0tiny      x86_64  tiny     remote      1 MB        -  -
        "]]
        .assert_eq(&columns(&rows));
    }

    #[test]
    fn kernels_of_distributions_are_listed_as_such() {
        let row = KernelRow {
            origin: Some(Origin::Distribution),
            path: Some(PathBuf::from("/w/x86_64/distribution-6.1.0-56-amd64-0")),
            ..row("6.1.0-56-amd64", None, 1)
        };
        expect_test::expect![[r"
            RELEASE         ARCH    FLAVOR        SIZE  PATH
            6.1.0-56-amd64  x86_64  distribution  1 MB  /w/x86_64/distribution-6.1.0-56-amd64-0
        "]]
        .assert_eq(&columns(std::slice::from_ref(&row)));
        let json = serde_json::to_string(&row).unwrap();
        assert!(json.contains("\"origin\":\"distribution\""), "{json}");
    }

    #[test]
    fn sizes_are_what_du_says() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        std::fs::write(directory.path().join("d/f"), vec![1; 100_000]).unwrap();
        let size = disk_usage(directory.path()).unwrap();
        assert!((100_000..400_000).contains(&size), "{size}");
    }
}
