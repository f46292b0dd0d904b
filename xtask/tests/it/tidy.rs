//! Hygiene of the repository as a test.

use std::path::{Path, PathBuf};

use crate::support::repository;

/// The files below a folder, without what is not ours: build products.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let name = entry.file_name();
            if kind.is_dir() {
                if !["target", "build", ".git", "__pycache__"]
                    .iter()
                    .any(|other| name == *other)
                {
                    folders.push(entry.path());
                }
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(repository()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_module_has_a_module_doc() {
    let bare = files_below(&repository().join("xtask"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//! "))
        .map(|path| relative(&path))
        .collect::<Vec<_>>();
    assert_eq!(bare, Vec::<String>::new());
}
