//! The same small suite under each test framework, on three kernels: the same verdicts, and
//! `bisect` finds the kernel from which on its test `changes` fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use support::host::entries;

use crate::distribution::kernel_of_debian;
use crate::{Call, Ended, folder, kernel, listed, test};

/// From here on `changes` fails.
const CHANGES: (u32, u32) = (6, 6);

/// Release and folder of an old kernel, the tests' own, and a new one.
fn kernels() -> &'static [(String, PathBuf); 3] {
    static KERNELS: LazyLock<[(String, PathBuf); 3]> = LazyLock::new(|| {
        let own = listed(Some(&kernel()), "package").into_iter().next();
        let own = own.unwrap_or_else(|| panic!("there is no local {}", kernel()));
        [kernel_of_debian("5.10"), own, kernel_of_debian("6.12")]
    });
    &KERNELS
}

fn is_changed(release: &str) -> bool {
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= CHANGES
}

/// A project whose tests are these files.
fn project(table: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let project = folder("vmtest-suite-");
    let table = format!("name = \"suite\"\n{table}");
    for (name, text) in [&[("vmtest.toml", table.as_str())], files].concat() {
        let path = project.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    project
}

/// `xtask` with these arguments, of the project and the kernels.
fn run(project: &Path, arguments: &str) -> Ended {
    let kernels = kernels()
        .each_ref()
        .map(|(_, folder)| folder.display().to_string());
    let call = Call::new(arguments).with(|call| {
        call.args(["--from", "local", "-k", &kernels.join(",")]);
        call.arg("-C").arg(project);
    });
    call.output()
}

/// What became of each test on each kernel, by the last part of its name.
fn verdicts(reports: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut verdicts = BTreeMap::<_, BTreeMap<_, _>>::new();
    let results = fs::read_to_string(reports.join("results.jsonl")).unwrap();
    for line in results.lines() {
        let event = serde_json::from_str::<serde_json::Value>(line).unwrap();
        if event["event"] == "test-finished" {
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            let name = text("id").rsplit(['.', ':']).next().unwrap().to_lowercase();
            let name = name.trim_start_matches("test").trim_start_matches('_');
            let kernel = verdicts.entry(text("kernel")).or_default();
            let before = kernel.insert(name.to_owned(), text("outcome"));
            assert_eq!(before, None, "{line}");
        }
    }
    verdicts
}

/// Runs the suite on all kernels, with these subtests as tests of their own; then searches with
/// its test `changes`, whose name is this one.
#[track_caller]
fn check(project: &Path, subtests: &[&str], changes: &str) {
    let reports = project.join("reports");
    let ended = run(
        project,
        &format!("test -j 2 --report-dir {}", reports.display()),
    );
    let stdout = ended.expect(1).stdout();
    let verdicts = verdicts(&reports);
    for (release, _) in kernels() {
        let changed = if is_changed(release) {
            "failed"
        } else {
            "passed"
        };
        let mut wanted = BTreeMap::from([
            ("passes", "passed"),
            ("skips", "skipped"),
            ("changes", changed),
            ("waits", "passed"),
        ]);
        wanted.extend(subtests.iter().map(|name| (*name, "passed")));
        let found = verdicts[release].iter();
        let found = found.map(|(name, outcome)| (name.as_str(), outcome.as_str()));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), wanted, "{stdout}");
    }

    let stdout = run(project, &format!("bisect {changes}"))
        .expect(0)
        .stdout();
    let releases = kernels().each_ref().map(|(release, _)| release);
    let first = releases.iter().position(|release| is_changed(release));
    let (before, first) = (releases[first.unwrap() - 1], releases[first.unwrap()]);
    let answer = format!("{changes} passes on {before} and fails from {first} on\n");
    assert_eq!(stdout, answer);
}

#[test]
fn unittest() {
    let files = [("test_suite.py", include_str!("files/suite_unittest.py"))];
    let project = project("", &files);
    check(project.path(), &["nests"], "test_suite.Sample.test_changes");
}

const PYTEST: &str = r#"
tests = { runner = "pytest", emulated = "not slow" }
needs = { pytest = ["pytest==9.0.0"] }
"#;

#[test]
fn pytest() {
    let files = [("test_suite.py", include_str!("files/suite_pytest.py"))];
    let project = project(&PYTEST.replace(", emulated = \"not slow\"", ""), &files);
    check(project.path(), &["nests"], "test_suite.test_changes");
}

#[test]
fn vms_share_the_tests_of_pytest_and_leave_slow_ones_out() {
    let files = [
        ("test_functions.py", include_str!("files/suite_pytest.py")),
        ("test_class.py", include_str!("files/suite_unittest.py")),
    ];
    let project = project(PYTEST, &files);
    let reports = project.path().join("reports");
    let arguments = format!(
        "--accel tcg --shards 2 -j 2 --report-dir {}",
        reports.display()
    );
    test(project.path(), &arguments).output().expect(0);
    let results = fs::read_to_string(reports.join("results.jsonl")).unwrap();
    let events = results
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let events = events.collect::<Vec<_>>();
    let tests = events
        .iter()
        .filter(|event| event["event"] == "test-finished");
    let shards = tests.clone().filter_map(|test| test["shard"].as_u64());
    assert_eq!(shards.collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
    let skipped = tests.clone().filter(|test| test["outcome"] == "skipped");
    let skipped = skipped.map(|test| (test["id"].as_str(), test["reason"].as_str()));
    let left_out = Some("left out where processors are emulated: not slow");
    let wanted = BTreeSet::from([
        (Some("test_class.Sample.test_skips"), Some("not here")),
        (Some("test_functions.test_skips"), Some("not here")),
        (Some("test_functions.test_waits"), left_out),
    ]);
    assert_eq!(skipped.collect::<BTreeSet<_>>(), wanted);
    assert_eq!(tests.count(), 10);
}

#[test]
fn tap() {
    let table = r#"tests = { runner = "tap", command = ["sh", "suite.sh"] }"#;
    let files = [("suite.sh", include_str!("files/suite_tap.sh"))];
    let project = project(table, &files);
    check(project.path(), &["nests", "one", "two"], "changes");
}

/// Compilers run here: in an emulated guest they take long.
#[test]
fn libtest() {
    let table = r#"
prepare = ["cargo test --offline --no-run"]
tests = { runner = "libtest", command = ["cargo", "test", "--offline", "--"] }
"#;
    let manifest = "[package]\nname = \"suite\"\nedition = \"2021\"\n[workspace]\n";
    let files = [
        ("Cargo.toml", manifest),
        ("src/lib.rs", include_str!("files/suite.rs")),
    ];
    let project = project(table, &files);
    check(project.path(), &["one", "two"], "changes");
}

#[test]
fn go() {
    let table = r#"
prepare = ["go test -c -o suite.test suite_test.go"]
needs = { prepare = ["go"] }
[tests]
runner = "go"
command = ["go", "tool", "test2json", "-t", "-p", "suite", "./suite.test", "-test.v=true"]
"#;
    let files = [("suite_test.go", include_str!("files/suite_test.go"))];
    let project = project(table, &files);
    let subtests = ["nests", "nests/one", "nests/two"];
    check(project.path(), &subtests, "suite.TestChanges");
}

/// Under the runner of the kernel's selftests, from the source of a kernel that was built here.
#[test]
#[allow(clippy::print_stdout, reason = "says why it is left out")]
fn kselftest() {
    let work = listed(Some(&kernel()), "package").remove(0).1;
    let sources = entries(&work.ancestors().nth(2).unwrap().join("src"));
    let runners = sources
        .iter()
        .map(|source| source.join("tools/testing/selftests/kselftest"));
    let Some(runner) = runners.into_iter().find(|path| path.is_dir()) else {
        println!("skipped: no source of a kernel is here; `build-kernel` fetches one");
        return;
    };
    let names = ["passes", "skips", "changes", "waits", "nests"];
    let script = format!(
        "BASE_DIR=$PWD; . kselftest/runner.sh; cd suite; run_many {}",
        names.join(" ")
    );
    let table = format!("[tests]\nrunner = \"ktap\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    let files = names.map(|name| {
        (
            format!("suite/{name}"),
            include_str!("files/suite_program.sh"),
        )
    });
    let files = files.iter().map(|(name, text)| (name.as_str(), *text));
    let project = project(&table, &files.collect::<Vec<_>>());
    symlink(runner, project.path().join("kselftest")).unwrap();
    check(project.path(), &["nests", "one", "two"], "suite.changes");
}
