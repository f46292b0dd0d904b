//! Nothing is lost: a command is killed at each system call that changes a file, and each of
//! these calls fails with a full disk and with an error of the disk. After that nothing that
//! was there is lost or damaged, the same command succeeds, and no temporary name is left.
//!
//! Not part of `cargo test` (`test = false`): it needs strace. Run by `cargo xtask ci`, which
//! tries some of the calls, or by hand, all of them:
//!
//! ```text
//! VMTEST_KILL=all cargo test --test kill -- --nocapture
//! ```

mod scenarios;
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::binary::Run;
use support::fake_kernel;
use support::host::entries;
use support::sha256;

use scenarios::{RELEASE, Scenario};
use trace::{Call, Fault};

/// So many cases of a command are tried, if not all are.
const SOME: usize = 12;

/// What is in a folder: each thing in it that a user sees, with all that is below it.
type Contents = BTreeMap<String, BTreeMap<PathBuf, String>>;

/// The folders whose contents a command may change, one thing at a time.
const FOLDERS: [&str; 3] = ["work/x86_64", "work/packages", "out"];

fn contents(root: &Path) -> Contents {
    let mut found = Contents::new();
    for folder in FOLDERS {
        for path in entries(root.join(folder)) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // Hidden names are on their way.
            if !name.starts_with('.') {
                found.insert(format!("{folder}/{name}"), below(&path));
            }
        }
    }
    found
}

/// Everything at and below a path: its mode, and what it holds.
fn below(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(next) = waiting.pop() {
        let metadata = next.symlink_metadata().unwrap();
        let mut text = format!("{:o}", metadata.permissions().mode());
        if metadata.is_symlink() {
            text += &fs::read_link(&next).unwrap().to_string_lossy();
        } else if metadata.is_dir() {
            waiting.extend(entries(&next));
        } else if metadata.is_file() {
            text += &sha256(fs::read(&next).unwrap());
        }
        found.insert(next.strip_prefix(path).unwrap().to_owned(), text);
    }
    found
}

/// The names that are only there while something is made.
fn temporary(root: &Path) -> Vec<PathBuf> {
    let mut found = entries(root.join("tmp"));
    let all = below(root).into_keys();
    found.extend(all.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains(".tmp") || name.ends_with(".partial")
    }));
    found
}

/// What is wrong after a fault: something is neither as it was nor as it will be.
fn damaged(before: &Contents, now: &Contents, after: &Contents) -> Vec<String> {
    let names = before.keys().chain(after.keys()).chain(now.keys());
    let mut wrong = names
        .filter(|name| {
            let (old, is, new) = (before.get(*name), now.get(*name), after.get(*name));
            is != old && is != new
        })
        .map(|name| format!("{name} is neither old nor new"))
        .collect::<Vec<_>>();
    // With its results a folder is finished.
    if now.contains_key("out/results.jsonl") && now != after {
        wrong.push("out has results and lacks something else".to_owned());
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// A command, what it begins with and what it ends with.
struct Trial<'s> {
    scenario: &'s Scenario,
    template: PathBuf,
    root: PathBuf,
    before: Contents,
    after: Contents,
    calls: Vec<Call>,
}

impl<'s> Trial<'s> {
    fn new(scenario: &'s Scenario, folder: &Path) -> Self {
        let (template, root) = (folder.join("template"), folder.join("root"));
        for below in ["work", "tmp"] {
            fs::create_dir_all(template.join(below)).unwrap();
        }
        (scenario.prepare)(&template);
        trace::copy(&template, &root);
        let before = contents(&root);
        let (ended, calls) = trace::record(scenario, &root);
        assert_eq!(ended.status, scenario.status, "{}", ended.stderr);
        let after = contents(&root);
        assert_eq!(temporary(&root), Vec::<PathBuf>::new());
        assert!(!calls.is_empty());
        Self {
            scenario,
            template,
            root,
            before,
            after,
            calls,
        }
    }

    /// One fault at one call; what is wrong, and how the command ended.
    fn run(&self, call: &Call, fault: Fault) -> (Vec<String>, Run) {
        trace::copy(&self.template, &self.root);
        let ended = trace::inject(self.scenario, &self.root, call, fault);
        let mut wrong = damaged(&self.before, &contents(&self.root), &self.after);
        // What fails in a program that it starts, that one says.
        let own = call.main && !self.scenario.programs;
        if own && ended.status == 3 && !fault.is_said(&ended.stderr) {
            wrong.push(format!("the cause is lost: {}", ended.stderr));
        }
        let done = ended.status == self.scenario.status && temporary(&self.root).is_empty();
        if !(self.scenario.once && done) {
            let again = trace::again(self.scenario, &self.root);
            if again.status != self.scenario.status {
                wrong.push(format!("again: {} {}", again.status, again.stderr));
            }
        }
        if contents(&self.root) != self.after {
            wrong.push("the second time something else came of it".to_owned());
        }
        for path in temporary(&self.root) {
            wrong.push(format!("{} is left", path.display()));
        }
        (wrong, ended)
    }
}

/// Every step-th of the cases, so that there are about [`SOME`], or all.
fn chosen(calls: &[Call]) -> Vec<(&Call, Fault)> {
    let all = calls
        .iter()
        .flat_map(|call| Fault::ALL.map(|fault| (call, fault)));
    let all = all.filter(|(call, fault)| fault.suits(call));
    let all = all.collect::<Vec<_>>();
    let step = match std::env::var_os("VMTEST_KILL") {
        Some(_) => 1,
        // Never the same fault each time.
        None => (all.len() / SOME).max(1).next_multiple_of(3) + 1,
    };
    all.into_iter().step_by(step).collect()
}

fn try_all(scenario: &Scenario) {
    let folder = tempfile::tempdir().unwrap();
    let trial = Trial::new(scenario, folder.path());
    let cases = chosen(&trial.calls);
    let (mut wrong, mut ends) = (Vec::new(), BTreeMap::<_, usize>::new());
    for (call, fault) in &cases {
        let (found, ended) = trial.run(call, *fault);
        *ends.entry(ended.status).or_default() += 1;
        wrong.extend(
            found
                .iter()
                .map(|text| format!("{fault:?} at {call}: {text}")),
        );
    }
    let summary = format!(
        "{}: {} calls, {} cases, {} faults found; ended with {ends:?}\n",
        scenario.name,
        trial.calls.len(),
        cases.len(),
        wrong.len(),
    );
    std::io::stdout().write_all(summary.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{summary}{}", wrong.join("\n"));
}

#[test]
fn a_download_survives() {
    let server = support::github_server::GitHub::start();
    let name = fake_kernel::file_name(RELEASE);
    server.add(&name, &fake_kernel::package(RELEASE));
    try_all(&scenarios::download(&server.api));
}

#[test]
fn a_list_of_the_release_survives() {
    let server = support::github_server::GitHub::start();
    let name = fake_kernel::file_name(RELEASE);
    server.add(&name, &fake_kernel::package(RELEASE));
    try_all(&scenarios::list(&server.api));
}

#[test]
fn the_unpacking_of_a_distributions_package_survives() {
    try_all(&scenarios::distribution());
}

#[test]
fn a_vm_survives() {
    try_all(&scenarios::vm());
}

#[test]
fn packaging_survives() {
    try_all(&scenarios::package());
}

#[test]
fn pruning_survives() {
    try_all(&scenarios::prune());
}

#[test]
fn merging_survives() {
    try_all(&scenarios::merge("out"));
}

#[test]
fn merging_into_a_new_folder_survives() {
    try_all(&scenarios::merge(""));
}
