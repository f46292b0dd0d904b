//! The list of kernels, for people and for programs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::base::table;
use crate::kernel::manifest::Manifest;
use crate::model::kernel::{LocalKernel, Origin};
use crate::model::kernel_request::{Candidate, newest_first};
use crate::model::{arch::Arch, package_name::PackageName, version::Release};
use crate::net::github::{Asset, AssetState};
use crate::release::download::megabytes;

/// How the list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table.
    Text,
    /// A JSON array of [`Row`]s.
    Json,
}

/// Where a kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On this machine, as far as anybody was asked.
    Local,
    /// In the release.
    Remote,
    /// In both, made from the same or nobody can tell.
    Both,
    /// In both, and the input keys differ: one of them was made before the other.
    Stale,
    /// In the release, but its upload was not finished.
    Starter,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Both => "both",
            Self::Stale => "stale",
            Self::Starter => "starter",
        }
    }
}

/// A kernel that is here, in the release, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub name: PackageName,
    /// It is here.
    pub local: Option<LocalKernel>,
    /// It is in the release.
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
    let mut listed = kernels
        .into_iter()
        .map(|kernel| Listed {
            name: PackageName {
                arch: kernel.arch,
                release: kernel.release.clone(),
            },
            local: Some(kernel),
            asset: None,
        })
        .collect::<Vec<_>>();
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
pub struct Row {
    /// What `uname -r` prints.
    pub release: String,
    /// What it runs on.
    pub arch: &'static str,
    /// The flavor, if it is a vmtest kernel.
    pub flavor: Option<String>,
    /// Who made it, if it is here.
    pub origin: Option<Origin>,
    /// Where it is.
    pub state: State,
    /// Bytes that it takes on disk, if it is here.
    pub size: Option<u64>,
    /// The unpacked package, if it is here.
    pub path: Option<PathBuf>,
    /// Bytes of the package in the release.
    pub download_size: Option<u64>,
    /// What that package was made from, if its label says so.
    pub input_key: Option<String>,
}

/// The rows of kernels, in their order.
pub fn rows(listed: &[Listed]) -> Result<Vec<Row>> {
    listed.iter().map(row).collect()
}

fn row(listed: &Listed) -> Result<Row> {
    let release = &listed.name.release;
    let asset = listed.asset.as_ref();
    let key = asset.and_then(Asset::input_key);
    let state = match (&listed.local, asset) {
        (_, Some(asset)) if asset.state != AssetState::Uploaded => State::Starter,
        (None, _) => State::Remote,
        (Some(_), None) => State::Local,
        (Some(kernel), Some(_)) => {
            let manifest = Manifest::read(&kernel.path)?;
            match (manifest, key) {
                (Some(manifest), Some(key)) if manifest.input_key != key => State::Stale,
                _ => State::Both,
            }
        }
    };
    let local = listed.local.as_ref();
    Ok(Row {
        release: release.to_string(),
        arch: listed.name.arch.name,
        flavor: release.flavor(),
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
    let context = || format!("cannot look at {}", path.display());
    let metadata = path.symlink_metadata().with_context(context)?;
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in path.read_dir().with_context(context)? {
            bytes += disk_usage(&entry.with_context(context)?.path())?;
        }
    }
    Ok(bytes)
}

/// The list as text; empty for an empty table.
pub fn render(rows: &[Row], format: Format) -> Result<String> {
    match format {
        Format::Json => Ok(serde_json::to_string_pretty(rows)? + "\n"),
        Format::Text => Ok(columns(rows)),
    }
}

/// What is in the release takes columns only if that was asked for.
fn columns(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let remote = rows.iter().any(|row| row.state != State::Local);
    let mut head = vec!["RELEASE", "ARCH", "FLAVOR"];
    head.extend(if remote {
        ["STATE", "DOWNLOAD", "ON DISK"].as_slice()
    } else {
        &["SIZE"]
    });
    head.push("PATH");
    let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), megabytes);
    let cells = |row: &Row| -> Vec<String> {
        let mut cells = vec![
            row.release.clone(),
            row.arch.to_owned(),
            match (&row.flavor, row.origin) {
                (Some(flavor), _) => flavor.clone(),
                // Its release says which one.
                (None, Some(Origin::Distribution)) => "distribution".to_owned(),
                (None, _) => "-".to_owned(),
            },
        ];
        if remote {
            cells.push(row.state.name().to_owned());
            cells.push(size(row.download_size));
        }
        cells.push(size(row.size));
        let path = row.path.as_ref();
        cells.push(path.map_or_else(|| "-".to_owned(), |path| path.display().to_string()));
        cells
    };
    let right = |(column, name): (usize, &&str)| {
        ["SIZE", "DOWNLOAD", "ON DISK"]
            .contains(name)
            .then_some(column)
    };
    let right = head
        .iter()
        .enumerate()
        .filter_map(right)
        .collect::<Vec<_>>();
    let lines = std::iter::once(head.iter().map(|name| (*name).to_owned()).collect())
        .chain(rows.iter().map(cells))
        .collect::<Vec<_>>();
    table::columns(&lines, &right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(release: &str, flavor: Option<&str>, size: u64) -> Row {
        Row {
            release: release.to_owned(),
            arch: "x86_64",
            flavor: flavor.map(str::to_owned),
            origin: Some(Origin::Package),
            state: State::Local,
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
        .assert_eq(&render(&rows, Format::Text).unwrap());
        let json = render(&rows, Format::Json).unwrap();
        let parsed = serde_json::from_str::<serde_json::Value>(&json).unwrap();
        assert_eq!(parsed[0]["flavor"], "default");
        assert_eq!(parsed[0]["size"], 312_345_678);
        assert_eq!(parsed[0]["state"], "local");
        assert!(parsed[1]["flavor"].is_null());
        assert_eq!(render(&[], Format::Text).unwrap(), "");
        assert_eq!(render(&[], Format::Json).unwrap(), "[]\n");

        rows[0].state = State::Stale;
        rows[0].download_size = Some(78_000_000);
        rows.push(Row {
            origin: None,
            state: State::Remote,
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
        .assert_eq(&render(&rows, Format::Text).unwrap());
    }

    #[test]
    fn kernels_of_distributions_are_listed_as_such() {
        let row = Row {
            origin: Some(Origin::Distribution),
            path: Some(PathBuf::from("/w/x86_64/distribution-6.1.0-56-amd64-0")),
            ..row("6.1.0-56-amd64", None, 1)
        };
        expect_test::expect![[r"
            RELEASE         ARCH    FLAVOR        SIZE  PATH
            6.1.0-56-amd64  x86_64  distribution  1 MB  /w/x86_64/distribution-6.1.0-56-amd64-0
        "]]
        .assert_eq(&render(std::slice::from_ref(&row), Format::Text).unwrap());
        let json = render(&[row], Format::Json).unwrap();
        assert!(json.contains("\"origin\": \"distribution\""), "{json}");
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
