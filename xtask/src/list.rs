//! The list of kernels, for people and for programs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::kernel::LocalKernel;

/// How the list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table.
    Text,
    /// A JSON array of [`Row`]s.
    Json,
}

/// One kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What `uname -r` prints.
    pub release: String,
    /// What it runs on.
    pub arch: &'static str,
    /// The flavor, if it is a vmtest kernel.
    pub flavor: Option<String>,
    /// Bytes that it takes on disk.
    pub size: u64,
    /// The unpacked package.
    pub path: PathBuf,
}

/// The rows of kernels, in their order.
pub fn rows(kernels: &[LocalKernel]) -> Result<Vec<Row>> {
    let row = |kernel: &LocalKernel| {
        Ok(Row {
            release: kernel.release.to_string(),
            arch: kernel.arch.name,
            flavor: kernel.release.flavor(),
            size: disk_usage(&kernel.path)?,
            path: kernel.path.clone(),
        })
    };
    kernels.iter().map(row).collect()
}

/// Bytes that a directory takes, as `du` counts them: `st_blocks` is in units of
/// 512 (stat(2)).
///
/// # Errors
///
/// Something in it cannot be looked at.
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
        Format::Text => Ok(table(rows)),
    }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head = ["RELEASE", "ARCH", "FLAVOR", "SIZE", "PATH"].map(str::to_owned);
    let cells = |row: &Row| {
        [
            row.release.clone(),
            row.arch.to_owned(),
            row.flavor.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{} MB", row.size.div_ceil(1_000_000)),
            row.path.display().to_string(),
        ]
    };
    let lines = std::iter::once(head)
        .chain(rows.iter().map(cells))
        .collect::<Vec<_>>();
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].len())
            .max()
            .unwrap_or(0)
    };
    let (release, arch, flavor, size) = (width(0), width(1), width(2), width(3));
    lines
        .iter()
        .map(|line| {
            format!(
                "{:release$}  {:arch$}  {:flavor$}  {:>size$}  {}\n",
                line[0], line[1], line[2], line[3], line[4]
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(release: &str, flavor: Option<&str>, size: u64) -> Row {
        Row {
            release: release.to_owned(),
            arch: "x86_64",
            flavor: flavor.map(str::to_owned),
            size,
            path: PathBuf::from(format!("/w/x86_64/kernel-{release}")),
        }
    }

    #[test]
    fn kernels_are_listed_for_people_and_for_programs() {
        let rows = [
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
        assert!(parsed[1]["flavor"].is_null());
        assert_eq!(render(&[], Format::Text).unwrap(), "");
        assert_eq!(render(&[], Format::Json).unwrap(), "[]\n");
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
