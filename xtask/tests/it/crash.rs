//! The tests after a crash. QEMU is played by a program that runs the guest's commands on
//! this host and says what a crash would have come to.

use std::fs;
use std::path::Path;

use xtask::internals::Results;
use xtask::internals::TestMatrix;

use crate::xtask;
use support::binary::Run;
use support::fake_kernel;
use support::fake_qemu;
use support::package_files;

/// A project whose tests after a crash are those of `after/`.
struct Setting {
    work: tempfile::TempDir,
    path: String,
}

impl Setting {
    /// With crashes that come to this, one word for each.
    fn new(crashes: &str) -> Self {
        let work = tempfile::tempdir().unwrap();
        let release = "6.1.1-vmtest1.1default";
        let kernel = work.path().join(format!("x86_64/kernel-{release}"));
        fs::create_dir_all(&kernel).unwrap();
        fake_kernel::write(&kernel, release, "00ff00ff", 0);
        fs::write(work.path().join("crash"), crashes).unwrap();
        let write = |file: &str, text: &str| {
            let file = work.path().join("project").join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write(
            "vmtest.toml",
            "name = \"example\"\n[tests]\nstart = \"tests\"\n[crash]\nstart = \"tests/after\"\n",
        );
        write("tests/__init__.py", "");
        write("tests/after/__init__.py", "");
        write(
            "tests/test_main.py",
            include_str!("files/crash/test_main.py"),
        );
        write(
            "tests/after/test_dump.py",
            include_str!("files/crash/test_dump.py"),
        );
        let path = fake_qemu::install(work.path(), "run");
        Self { work, path }
    }

    fn test(&self, arguments: &str) -> Run {
        self.test_on("6.1", arguments)
    }

    fn test_on(&self, kernel: &str, arguments: &str) -> Run {
        xtask(self.work.path())
            .args("test --accel tcg --from local -k")
            .arg(kernel)
            .args(arguments)
            .env("PATH", &self.path)
            .env("TMPDIR", self.work.path())
            .current_dir(self.work.path().join("project"))
            .run()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.work.path().join(file)).unwrap_or_default()
    }

    /// The results of the only session.
    fn results(&self) -> Results {
        let folders = fs::read_dir(self.work.path().join("log")).unwrap();
        let folder = folders.map(|entry| entry.unwrap().path()).find(|path| {
            let is_file = |file: &str| Path::new(path).join(file).is_file();
            is_file("results.jsonl")
        });
        let text = fs::read_to_string(folder.unwrap().join("results.jsonl")).unwrap();
        Results::parse(&text).unwrap()
    }
}

/// Phase, outcome and what is known about it, and the finished tests, for each run.
fn runs(results: &Results) -> Vec<(String, String, u64)> {
    let run = |run: &xtask::internals::RunRecord| {
        let outcome = match run.outcome.detail() {
            None => run.outcome.name().to_owned(),
            Some(detail) => format!("{}: {detail}", run.outcome.name()),
        };
        let phase = run.name.phase.clone().unwrap_or_default();
        (phase, outcome, run.tally.counts.finished())
    };
    results.runs.iter().map(run).collect()
}

/// A session whose only crash comes to `crash`, and what is said about the run after it.
#[track_caller]
fn check(crash: &str, arguments: &str, status: i32, outcome: &str) {
    let setting = Setting::new(crash);
    let run = setting.test(arguments).expect_status(status);
    let runs = runs(&setting.results());
    let main = (String::new(), "passed".to_owned(), 3);
    assert_eq!(runs[0], main, "{crash}");
    assert_eq!(runs.len(), 2, "{crash}: {runs:?}");
    assert_eq!((runs[1].0.as_str(), &*runs[1].1), ("crash", outcome));
    let line = format!("6.1.1-vmtest1.1default crash (x86_64): {outcome}");
    assert!(run.stdout.contains(&line), "{crash}: {}", run.stdout);
}

#[test]
fn each_phase_has_its_verdict() {
    let setting = Setting::new("good");
    let run = setting.test("").expect_status(0);
    assert_eq!(setting.read("project/ran"), "a\nd\n");
    let results = setting.results();
    let run_of = |phase: &str, tests| (phase.to_owned(), "passed".to_owned(), tests);
    assert_eq!(runs(&results), [run_of("", 3), run_of("crash", 1)]);
    assert!(
        run.stdout
            .contains("\n6.1.1-vmtest1.1default crash  passed"),
        "{}",
        run.stdout
    );
    // What was said between the phases belongs to none of them.
    let logs = setting.work.path().join("log");
    let folder = fs::read_dir(logs).unwrap().next().unwrap().unwrap().path();
    for log in ["output", "crash-output"] {
        let log = folder.join(format!("6.1.1-vmtest1.1default.x86_64-{log}.log"));
        let text = fs::read_to_string(log).unwrap();
        assert!(text.contains("OK") && !text.contains("after"), "{text}");
    }
    // That it is skipped before the crash is no news.
    let matrix = TestMatrix::new(&results);
    assert_eq!(matrix.differing().count(), 0);
    assert_eq!(matrix.skips, []);
    assert!(setting.read("appended").contains(" crashkernel=256M "));
}

#[test]
fn a_test_that_fails_after_the_crash_fails_the_run() {
    let setting = Setting::new("good");
    fs::write(setting.work.path().join("project/fail"), "").unwrap();
    let run = setting.test("").expect_status(1);
    for words in [
        "default crash (x86_64): failed tests.after.test_dump.D.test_d: AssertionError: True is not false : the dump is torn",
        "default (x86_64): passed; 3 run",
        "default crash (x86_64): tests failed; 1 run, 1 failed",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
}

#[test]
fn a_crash_can_come_to_other_things() {
    check(
        "hang",
        "--boot-timeout 8s",
        4,
        "stuck: capture boot: boot limit of 8 s (--boot-timeout)",
    );
    check("gone", "", 4, "lost: QEMU ended with exit status 0");
    check(
        "reset",
        "",
        4,
        "lost: the kernel did not come back from its crash: QEMU ended with exit status 0",
    );
    check(
        "panic",
        "",
        4,
        "panicked: Kernel panic - not syncing: no root",
    );
    check(
        "refused",
        "",
        3,
        "setup failed: the kernel was not crashed: no memory is reserved",
    );
}

#[test]
fn the_tests_that_were_asked_for_are_in_one_phase_or_the_other() {
    for (names, expected) in [
        ("tests.test_main.A", &[("", "passed", 1)][..]),
        ("tests/test_main.py", &[("", "passed", 2)]),
        ("-k test_b", &[("", "passed", 1)]),
        // Before the crash it is skipped, by its own decorator.
        (
            "tests.after.test_dump.D.test_d",
            &[("", "passed", 1), ("crash", "passed", 1)],
        ),
        (
            "tests/after/test_dump.py",
            &[("", "passed", 1), ("crash", "passed", 1)],
        ),
        ("-v", &[("", "passed", 3), ("crash", "passed", 1)]),
    ] {
        let setting = Setting::new("good");
        setting.test(&format!("-- {names}")).expect_status(0);
        let runs = runs(&setting.results());
        let runs = runs
            .iter()
            .map(|(phase, outcome, tests)| (phase.as_str(), outcome.as_str(), *tests));
        assert_eq!(runs.collect::<Vec<_>>(), expected, "{names}");
    }
}

#[test]
fn one_of_several_vms_crashes() {
    let setting = Setting::new("good");
    setting.test("-j 2 --shards 2").expect_status(0);
    assert_eq!(setting.read("crashes"), "crash\n");
    let appended = setting.read("appended");
    assert_eq!(appended.lines().count(), 2);
    assert_eq!(appended.matches("crashkernel").count(), 1, "{appended}");
    let mut tests = runs(&setting.results())
        .into_iter()
        .map(|(phase, _, tests)| (phase, tests))
        .collect::<Vec<_>>();
    tests.sort();
    assert_eq!(tests, [(String::new(), 3), ("crash".to_owned(), 1)]);
}

#[test]
fn a_lost_crash_is_tried_again_without_the_main_tests() {
    let setting = Setting::new("reset gone good");
    let run = setting.test("--retries 2").expect_status(0);
    assert_eq!(setting.read("project/ran"), "a\nd\n");
    let again = "default crash (x86_64): lost: ";
    assert_eq!(run.stdout.matches(again).count(), 2, "{}", run.stdout);
    let results = setting.results();
    assert_eq!(results.runs[0].retries.len(), 0);
    assert_eq!(results.runs[1].retries.len(), 2);
    check(
        "refused",
        "--retries 2",
        3,
        "setup failed: the kernel was not crashed: no memory is reserved",
    );
}

#[test]
fn there_is_no_crash_without_a_verdict_or_when_it_is_left_out() {
    let setting = Setting::new("good");
    setting.test("--no-crash").expect_status(0);
    assert_eq!(setting.read("crashes"), "");
    assert!(!setting.read("appended").contains("crashkernel"));
    let results = setting.results();
    assert_eq!(results.runs.len(), 1);
    // Now it is news.
    assert_eq!(TestMatrix::new(&results).skips.len(), 1);

    let setting = Setting::new("good");
    fs::write(setting.work.path().join("project/kill"), "").unwrap();
    setting.test("").expect_status(4);
    assert_eq!(setting.read("crashes"), "");
    assert_eq!(setting.results().runs.len(), 1);
}

/// A distribution's kernel comes without what it was built in.
#[test]
fn crash_tests_that_need_the_module_are_not_run_without_it() {
    for (needed, crashes) in [(true, ""), (false, "crash\n")] {
        let setting = Setting::new("good");
        let project = setting.work.path().join("project");
        let file = project.join("vmtest.toml");
        let mut text = fs::read_to_string(&file).unwrap();
        text += &format!("module = {needed}\n[module]\nsource = \"kmod\"\n");
        fs::write(&file, text).unwrap();
        fs::create_dir(project.join("kmod")).unwrap();
        fs::write(project.join("kmod/Makefile"), "obj-m := kmod.o\n").unwrap();
        let release = "6.1.0-56-amd64";
        let modules = format!("./lib/modules/{release}");
        let package = package_files::deb(
            "Package: mine\nVersion: 1\nArchitecture: amd64",
            &[
                (
                    &format!("./boot/vmlinuz-{release}"),
                    &package_files::boot_image(release),
                ),
                (&format!("{modules}/kernel/a.ko"), b"module"),
                (&format!("{modules}/modules.dep"), b"kernel/a.ko:\n"),
            ],
        );
        fs::write(project.join("mine.deb"), package).unwrap();
        let run = setting.test_on("./mine.deb", "").expect_status(0);
        assert_eq!(setting.read("crashes"), crashes);
        let after = if needed {
            ", and those after a crash,"
        } else {
            ""
        };
        let words = format!("tests that need it{after} cannot run");
        assert!(run.stderr.contains(&words), "{}", run.stderr);
    }
}
