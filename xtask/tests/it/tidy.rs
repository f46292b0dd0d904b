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

/// The files of a folder as [`xtask::embedded`] must have them.
fn names(folder: &str) -> Vec<String> {
    let top = repository().join(folder);
    let mut names = files_below(&top)
        .iter()
        .map(|path| {
            path.strip_prefix(&top)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect::<Vec<_>>();
    // A project is a directory that is named with -C, never a copy in the binary.
    names.retain(|name| !name.starts_with("selftest/"));
    names.sort();
    names
}

#[test]
fn every_configuration_and_asset_is_in_the_binary() {
    for (folder, files) in [
        ("kernel-configs", xtask::embedded::CONFIGS),
        ("vmtest-assets", xtask::embedded::ASSETS),
    ] {
        let mut embedded = files
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect::<Vec<_>>();
        embedded.sort();
        assert_eq!(embedded, names(folder), "{folder}");
    }
}

/// The files below the repository that people write.
fn written_files() -> Vec<PathBuf> {
    files_below(repository())
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "Cargo.lock"))
        // Work directories, editors' files and the like are not ours.
        .filter(|path| {
            let name = relative(path);
            !name.contains('/')
                || [
                    ".cargo",
                    ".ci",
                    ".github",
                    "kernel-configs",
                    "vmtest-assets",
                    "xtask",
                ]
                .iter()
                .any(|folder| name.starts_with(&format!("{folder}/")))
        })
        .collect()
}

#[test]
fn lines_end_where_their_text_ends() {
    let mut bad = Vec::new();
    for path in written_files() {
        let Ok(text) = String::from_utf8(std::fs::read(&path).unwrap()) else {
            bad.push(format!("{}: not UTF-8", relative(&path)));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                bad.push(format!(
                    "{}:{}: blank at the end",
                    relative(&path),
                    number + 1
                ));
            }
        }
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            bad.push(format!("{}: not one newline at the end", relative(&path)));
        }
    }
    assert_eq!(bad, Vec::<String>::new());
}

#[test]
fn shells_can_read_the_shell_files() {
    let shell = xshell::Shell::new().unwrap();
    let mut seen = 0;
    for path in written_files() {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let program = if first.starts_with("#!") && first.ends_with("bash") {
            "bash"
        } else if path.extension().is_some_and(|extension| extension == "sh") {
            "sh"
        } else {
            continue;
        };
        seen += 1;
        let result = xshell::cmd!(shell, "{program} -n {path}").quiet().run();
        assert!(result.is_ok(), "{}", relative(&path));
    }
    assert!(seen >= 2, "init.sh and .ci/run");
}

#[test]
fn python_can_read_the_python_files() {
    // Leaves no byte code beside the file.
    const CODE: &str = "import sys; compile(open(sys.argv[1], 'rb').read(), sys.argv[1], 'exec')";
    let shell = xshell::Shell::new().unwrap();
    for path in written_files() {
        if path.extension().is_some_and(|extension| extension == "py") {
            let result = xshell::cmd!(shell, "python3 -I -c {CODE} {path}")
                .quiet()
                .run();
            assert!(result.is_ok(), "{}", relative(&path));
        }
    }
}

#[test]
fn the_readme_has_every_command_and_no_other() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let mut named = readme
        .split("cargo xtask ")
        .skip(1)
        .filter_map(|rest| {
            let word = rest
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .next()?;
            // Options that are given before the command, and `COMMAND` itself.
            (word.starts_with(|c: char| c.is_ascii_lowercase())).then(|| word.to_owned())
        })
        .collect::<Vec<_>>();
    named.sort();
    named.dedup();
    let mut commands = crate::cli::commands();
    commands.sort();
    assert_eq!(named, commands);
}

#[test]
fn the_ci_script_can_be_run_and_the_workflow_runs_it() {
    use std::os::unix::fs::PermissionsExt;
    let script = repository().join(".ci/run").metadata().unwrap();
    assert_eq!(script.permissions().mode() & 0o111, 0o111);
    let workflow = repository().join(".github/workflows/ci.yml");
    let workflow = std::fs::read_to_string(workflow).unwrap();
    assert!(workflow.contains("run: .ci/run\n"));
}
