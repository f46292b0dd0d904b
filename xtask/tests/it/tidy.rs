//! Hygiene of the repository as a test.

use std::path::{Path, PathBuf};

use support::host::repository;

/// The files below a folder, without what is not ours: build products.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
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

pub fn relative(path: &Path) -> String {
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

/// The files below the repository that people write.
pub fn written_files() -> Vec<PathBuf> {
    files_below(repository())
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "Cargo.lock"))
        // What other programs printed is kept as it came.
        .filter(|path| !relative(path).contains("/recorded/"))
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
            // An empty line of the patched file is a blank in a patch.
            let in_patch = line == " " && path.extension().is_some_and(|end| end == "patch");
            if line.ends_with([' ', '\t', '\r']) && !in_patch {
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
fn the_ci_script_can_be_run_and_the_workflow_runs_it() {
    use std::os::unix::fs::PermissionsExt;
    let script = repository().join(".ci/run").metadata().unwrap();
    assert_eq!(script.permissions().mode() & 0o111, 0o111);
    let workflow = repository().join(".github/workflows/ci.yml");
    let workflow = std::fs::read_to_string(workflow).unwrap();
    assert!(workflow.contains("run: .ci/run\n"));
}

/// The workflows and actions: file name and text.
pub fn workflows() -> Vec<(String, String)> {
    let mut files = files_below(&repository().join(".github"));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    assert!(files.len() >= 4, "{files:?}");
    files
        .iter()
        .map(|path| (relative(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The shell text of every step of a workflow: what stands behind `run:`, or is
/// indented below it.
fn scripts(workflow: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut scripts = Vec::new();
    let mut lines = workflow.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((before, text)) = line.split_once("run: ") else {
            continue;
        };
        if !before.trim_matches([' ', '-']).is_empty() {
            continue;
        }
        if text != "|" {
            scripts.push(text.to_owned());
            continue;
        }
        let mut script = String::new();
        while let Some(next) = lines.next_if(|next| next.is_empty() || indent(next) > before.len())
        {
            script += next.trim_start();
            script.push('\n');
        }
        scripts.push(script);
    }
    scripts
}

#[test]
fn scripts_of_workflows_are_found() {
    let text =
        "steps:\n  - run: one\n  - name: x\n    run: |\n      two \\\n        three\n  - uses: y\n";
    assert_eq!(scripts(text), ["one", "two \\\nthree\n"]);
}

#[test]
fn shells_can_read_the_scripts_of_workflows_and_nothing_is_pasted_into_them() {
    let shell = xshell::Shell::new().unwrap();
    for (name, text) in workflows() {
        for script in scripts(&text) {
            // An expression would be replaced before the shell reads it: whoever can
            // choose its value could run commands. Variables are for that.
            assert!(!script.contains("${{"), "{name}: {script}");
            let read = xshell::cmd!(shell, "bash -n").stdin(&script).quiet().run();
            assert!(read.is_ok(), "{name}: {script}");
        }
    }
}

#[test]
fn workflows_call_commands_that_there_are_with_options_that_they_have() {
    let work = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (name, text) in workflows() {
        for script in scripts(&text) {
            let script = script.replace("\\\n", " ");
            for line in script.lines() {
                let Some((_, call)) = line.split_once("cargo xtask ") else {
                    continue;
                };
                seen += 1;
                let words = call.split_whitespace().collect::<Vec<_>>();
                let is_name = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase());
                let command = words.iter().take_while(is_name).copied();
                let mut help = crate::xtask(work.path());
                for word in command {
                    help = help.arg(word);
                }
                let help = help.arg("--help").run().expect_status(0).stdout;
                for option in words.iter().filter(|word| word.starts_with("--")) {
                    let known = help.split_whitespace().any(|word| word == *option);
                    assert!(known, "{name}: {option} in {line}");
                }
            }
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn the_jobs_of_the_matrix_are_called_with_its_kernels() {
    let (_, text) = workflows()
        .into_iter()
        .find(|(name, _)| name.ends_with("/test.yml"))
        .unwrap();
    let calls = scripts(&text).join("\n");
    // A partition is a part of the list: with another one, kernels would be left out.
    assert!(calls.contains("cargo xtask matrix -k \"$KERNELS\" --format github"));
    assert!(text.contains(
        "kernels: ${{ env.KERNELS }}\n          arguments: |\n            \
         --partition=${{ matrix.partition }}\n"
    ));
    assert!(text.contains("matrix: ${{ fromJSON(needs.matrix.outputs.matrix) }}"));
}

#[test]
fn only_the_job_that_publishes_kernels_may_write() {
    for (name, text) in workflows() {
        // An action has the permissions of the job that calls it.
        if name.contains("/actions/") {
            continue;
        }
        assert!(
            text.contains("\npermissions:\n  contents: read\n"),
            "{name}"
        );
        let writes = text.matches(": write").count();
        let expected = if name.ends_with("/kernels.yml") { 2 } else { 0 };
        assert_eq!(writes, expected, "{name}");
    }
}

#[test]
fn every_series_flavor_and_architecture_is_built_once_a_week_on_the_oldest_image() {
    let (_, text) = workflows()
        .into_iter()
        .find(|(name, _)| name.ends_with("/kernels.yml"))
        .unwrap();
    let lines = || text.lines().map(str::trim);
    let groups = lines().filter_map(|line| line.strip_prefix("- \"")?.strip_suffix('"'));
    let groups = groups.collect::<Vec<_>>();
    let all = crate::catalog::series();
    let architectures = crate::catalog::architectures();
    let names = architectures.iter().map(|(name, _)| name.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    assert!(lines().any(|line| line == format!("arch: [{names}]")));
    for (name, oldest) in &architectures {
        let built = groups.iter().filter(|group| {
            let excluded = format!("- {{ arch: {name}, series: \"{group}\" }}");
            !lines().any(|line| line == excluded)
        });
        let built = built.flat_map(|group| group.split(' '));
        let expected = all.iter().skip_while(|series| *series != oldest);
        let expected = expected.map(String::as_str).collect::<Vec<_>>();
        assert_eq!(built.collect::<Vec<_>>(), expected, "{name}");
    }
    let flavors = crate::catalog::flavors().join(", ");
    assert!(lines().any(|line| line == format!("flavor: [{flavors}]")));
    assert!(lines().any(|line| line.starts_with("- cron: ")));
    assert!(
        lines()
            .filter(|line| line.starts_with("runs-on: "))
            .all(|line| line == "runs-on: ubuntu-22.04")
    );
}

#[test]
fn files_are_read_in_one_place_which_knows_limits() {
    let sources = files_below(&repository().join("xtask/src"));
    let mut found = Vec::new();
    for path in sources.iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let unlimited = ["fs::read(", "fs::read_to_string("];
        if unlimited.iter().any(|call| code.contains(call)) {
            found.push(relative(path));
        }
    }
    assert_eq!(found, Vec::<String>::new(), "base::input reads files");
}
