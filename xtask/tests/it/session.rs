//! `test` on several kernels at once. QEMU is played by a program that runs the
//! guest's command on this host, so the suites are real and their kernels are not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xtask::internals::{Phases, Results, RunRecord};
use xtask::internals::{html, junit, markdown};

use crate::xtask;
use support::binary::Run;
use support::fake_kernel;
use support::fake_qemu;
use support::host::processes_in;

/// A work directory with kernels, and a project.
struct Setting {
    work: tempfile::TempDir,
    path: String,
}

impl Setting {
    /// Kernels of these versions, and a project whose test file has this text.
    fn new(versions: &[&str], text: &str) -> Self {
        let work = tempfile::tempdir().unwrap();
        for version in versions {
            let release = format!("{version}-vmtest1.1default");
            let kernel = work.path().join(format!("x86_64/kernel-{release}"));
            fs::create_dir_all(&kernel).unwrap();
            fake_kernel::write(&kernel, &release, "00ff00ff", 0);
        }
        let project = work.path().join("project");
        fs::create_dir(&project).unwrap();
        fs::write(project.join("vmtest.toml"), "name = \"example\"\n").unwrap();
        fs::write(project.join("test_it.py"), text).unwrap();
        let path = fake_qemu::install(work.path(), "run");
        Self { work, path }
    }

    fn project(&self) -> PathBuf {
        self.work.path().join("project")
    }

    fn command(&self, arguments: &str) -> support::binary::Xtask {
        xtask(self.work.path())
            .args("test --accel tcg --from local")
            .args(arguments)
            .env("PATH", &self.path)
            .env("TMPDIR", self.work.path())
            .current_dir(self.project())
    }

    fn test(&self, arguments: &str) -> Run {
        self.command(arguments).run()
    }

    fn results(&self) -> Results {
        read(&self.newest())
    }

    /// How many VMs shared the tests of the newest run.
    fn shards(&self) -> usize {
        let files = fs::read_dir(self.newest()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with("console.log")).count()
    }

    /// The folder of the newest results.
    fn newest(&self) -> PathBuf {
        let mut folders = fs::read_dir(self.work.path().join("log"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("results.jsonl").exists())
            .collect::<Vec<_>>();
        folders.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        folders.pop().unwrap()
    }
}

fn read(folder: &Path) -> Results {
    let text = fs::read_to_string(folder.join("results.jsonl")).unwrap();
    Results::parse(&text).unwrap()
}

fn outcomes(results: &Results) -> Vec<(String, &'static str)> {
    let outcome = |run: &RunRecord| {
        let version = run.name.kernel.split('-').next().unwrap_or_default();
        (version.to_owned(), run.outcome.name())
    };
    let mut outcomes = results.runs.iter().map(outcome).collect::<Vec<_>>();
    outcomes.sort();
    outcomes
}

/// Waits in each test until all of `n` tests do, so that it ends only if all run at
/// the same time.
const MEETING: &str = include_str!("files/session/meet.py");

#[test]
fn kernels_are_tested_at_the_same_time() {
    let setting = Setting::new(&["6.1.1", "6.2.1", "6.3.1"], MEETING);
    let run = setting.test("-j 3 -k 6.1,6.2,6.3").expect_status(0);
    let results = setting.results();
    assert!(results.finished);
    assert_eq!(
        outcomes(&results),
        ["6.1.1", "6.2.1", "6.3.1"].map(|version| (version.to_owned(), "passed"))
    );
    // The rows are in the order in which they were asked for.
    let rows = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("6.") && line.contains("  passed  "));
    let rows = rows.map(|row| row.split('-').next().unwrap());
    assert_eq!(rows.collect::<Vec<_>>(), ["6.1.1", "6.2.1", "6.3.1"]);
}

#[test]
fn one_job_tests_one_kernel_at_a_time() {
    let text = include_str!("files/session/alone.py");
    let setting = Setting::new(&["6.1.1", "6.2.1", "6.3.1"], text);
    setting.test("-j1 -k 6.1,6.2,6.3").expect_status(0);
}

#[test]
fn the_exit_status_is_the_first_of_1_4_3_5_that_occurred() {
    let text = include_str!("files/session/statuses.py");
    let setting = Setting::new(&["6.1.1", "6.2.1", "6.3.1", "6.4.1", "6.5.1"], text);
    for (kernels, status, outcomes_of) in [
        ("6.5", 0, &["passed"][..]),
        ("6.5,6.4", 5, &["no tests ran", "passed"]),
        ("6.4,6.6", 3, &["no tests ran", "fetch failed"]),
        ("6.6,6.2,6.4", 4, &["lost", "no tests ran", "fetch failed"]),
        ("6.6,6.2,6.3", 1, &["lost", "runner died", "fetch failed"]),
        (
            "6.2,6.1,6.4,6.5,6.6",
            1,
            &[
                "tests failed",
                "lost",
                "no tests ran",
                "passed",
                "fetch failed",
            ],
        ),
    ] {
        setting
            .test(&format!("-j2 -k {kernels}"))
            .expect_status(status);
        let results = setting.results();
        let names = outcomes(&results).into_iter().map(|(_, name)| name);
        assert_eq!(names.collect::<Vec<_>>(), outcomes_of, "{kernels}");
    }
}

#[test]
fn a_kernel_without_the_projects_options_is_refused_and_the_others_go_on() {
    let text = include_str!("files/session/passes.py");
    let setting = Setting::new(&["6.1.1", "6.2.1", "6.3.1"], text);
    let own = "6.4.1-vmtest1.1default+fuse";
    let folder = setting.work.path().join(format!("x86_64/kernel-{own}"));
    fs::create_dir_all(&folder).unwrap();
    fake_kernel::write(&folder, own, "00ff00ff", 0);
    for (release, options) in [
        ("6.1.1-vmtest1.1default", ""),
        ("6.2.1-vmtest1.1default", "CONFIG_FUSE_FS=m\n"),
        (own, "CONFIG_FUSE_FS=y\n"),
    ] {
        let config = format!("x86_64/kernel-{release}/build/.config");
        let text = format!("{}{options}", fake_kernel::GUEST_CONFIG);
        fs::write(setting.work.path().join(config), text).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(setting.project().join(name), text).unwrap();
    write(
        "vmtest.toml",
        "name = \"example\"\n[kernel]\noptions = \"fuse.config\"\n",
    );
    write("fuse.config", "# File systems.\nCONFIG_FUSE_FS=y\n");
    let run = setting.test("-j1 -k 6.1,6.2,6.3,6.4.*default+fuse");
    let run = run.expect_status(3);
    let results = setting.results();
    let mut expected = ["6.1.1", "6.2.1", "6.3.1", "6.4.1"].map(|name| (name.to_owned(), "passed"));
    expected[0].1 = "setup failed";
    assert_eq!(outcomes(&results), expected);
    let refused = results
        .runs
        .iter()
        .find(|run| run.outcome.name() == "setup failed");
    let outcome = format!("{:?}", refused.unwrap().outcome);
    assert!(
        outcome.contains("CONFIG_FUSE_FS=y (it is not set)"),
        "{outcome}"
    );
    let note = "6.3.1-vmtest1.1default: its configuration is unknown";
    assert!(run.stderr.contains(note), "{}", run.stderr);
    assert_eq!(run.stderr.matches("is unknown").count(), 1);
    let run = setting.test("-k 6.4").expect_status(3);
    assert!(run.stdout.contains("6.4"), "{}", run.stdout);
}

#[test]
fn options_of_a_projects_own_are_those_that_a_kernel_was_built_from() {
    let setting = Setting::new(&["6.2.1"], include_str!("files/session/passes.py"));
    let release = "6.2.1-vmtest1.1mine+fuse";
    let kernel = setting.work.path().join(format!("x86_64/kernel-{release}"));
    fake_kernel::write(&kernel, release, "00ff00ff", 0);
    let config = format!("{}CONFIG_FUSE_FS=y\n", fake_kernel::GUEST_CONFIG);
    fs::write(kernel.join("build/.config"), &config).unwrap();
    let fragment = setting.project().join("fuse.config");
    fs::write(&fragment, "# File systems.\nCONFIG_FUSE_FS=y\n").unwrap();
    let vm = |arguments: &str| {
        let call = xtask(setting.work.path()).args("vm --accel tcg --config");
        let call = call.arg(&fragment).args(arguments).args("-- true");
        let call = call.env("PATH", &setting.path);
        call.env("TMPDIR", setting.work.path()).run()
    };
    vm("--from local -k 6.2.*+fuse").expect_status(0);
    // As the fragment was when the kernel was built from it.
    let manifest = fs::read_to_string(kernel.join("manifest.json")).unwrap();
    let options = r#"{"options": [{"name": "fuse", "checksum": "00"}], "#;
    let manifest = manifest.replacen('{', options, 1);
    fs::write(kernel.join("manifest.json"), manifest).unwrap();
    let stale = vm("--from local -k 6.2.*+fuse").expect_status(3);
    let words = format!("{release} was built from other options called fuse");
    assert!(stale.stderr.contains(&words), "{}", stale.stderr);
    let hint = "--setup -k '6.2.*mine+fuse' builds";
    assert!(stale.stderr.contains(hint), "{}", stale.stderr);
    let several = vm("--from local -k 6.2.*mine+fuse,6.2.1").expect_status(3);
    assert!(several.stderr.contains(&words), "{}", several.stderr);
    // It would be built again; no kernel of this flavor can be.
    let built = vm("--from local,build -k 6.2.*mine+fuse").expect_status(2);
    assert!(built.stderr.contains("flavor"), "{}", built.stderr);
    assert!(!built.stderr.contains(&words), "{}", built.stderr);
    let listed = xtask(setting.work.path()).args("-q list 6.2").run();
    let listed = listed.expect_status(0).stdout;
    assert!(listed.contains(release), "{listed}");
}

#[test]
fn markers_are_pytests_alone() {
    let setting = Setting::new(&["6.1.1"], include_str!("files/session/passes.py"));
    let file = "name = \"example\"\n[tests]\nemulated = \"not slow\"\n";
    fs::write(setting.project().join("vmtest.toml"), file).unwrap();
    let run = setting.test("-k 6.1").expect_status(2);
    let words = "tests.emulated picks by markers, which unittest has not (--runner pytest)";
    assert!(run.stderr.contains(words), "{}", run.stderr);
}

#[test]
fn what_several_requests_pick_is_tested_once() {
    let setting = Setting::new(&["6.1.1"], include_str!("files/session/passes.py"));
    setting.test("-k 6.1 -k 6.1.1*,6.*").expect_status(0);
    assert_eq!(setting.results().runs.len(), 1);
}

#[test]
fn a_lost_vm_is_started_again_and_a_failed_test_is_not() {
    let text = include_str!("files/session/tried.py");
    let setting = Setting::new(&["6.1.1", "6.2.1"], text);
    let run = setting.test("--retries 2 -k 6.1").expect_status(0);
    // Whether QEMU still told which test ran depends on who was faster.
    let again = |line: &&str| {
        line.starts_with("6.1.1-vmtest1.1default (x86_64): lost: QEMU ended with signal 9")
            && line.ends_with("; trying again")
    };
    assert_eq!(
        run.stdout.lines().filter(again).count(),
        2,
        "{}",
        run.stdout
    );
    let results = setting.results();
    assert_eq!(results.runs[0].retries.len(), 2);
    assert_eq!(results.runs[0].tally.counts.finished(), 1);
    setting.test("--retries 5 -k 6.2").expect_status(1);
    let tried = fs::read_to_string(setting.project().join("tried-6.2.1")).unwrap();
    assert_eq!(tried, "x");
    // Without being asked to, nothing is tried again.
    fs::remove_file(setting.project().join("tried-6.1.1")).unwrap();
    setting.test("-k 6.1").expect_status(4);
}

#[test]
fn fail_fast_starts_no_further_kernel_and_says_how_many() {
    let text = include_str!("files/session/first_fails.py");
    let setting = Setting::new(&["6.1.1", "6.2.1", "6.3.1"], text);
    let run = setting.test("-j1 --fail-fast -k 6.1,6.2,6.3");
    let run = run.expect_status(1);
    assert_eq!(outcomes(&setting.results()).len(), 1);
    assert!(
        run.stdout.ends_with("2 runs not started (--fail-fast)\n"),
        "{}",
        run.stdout
    );
    setting.test("-j1 -k 6.1,6.2,6.3").expect_status(1);
    assert_eq!(outcomes(&setting.results()).len(), 3);
}

#[test]
fn results_go_where_they_are_asked_to_and_are_never_overwritten() {
    let text = include_str!("files/session/passes.py");
    let setting = Setting::new(&["6.1.1"], text);
    let folder = setting.work.path().join("some/where");
    let arguments = format!("-k 6.1 --report-dir {}", folder.display());
    setting.test(&arguments).expect_status(0);
    assert_eq!(read(&folder).runs.len(), 1);
    let before = fs::read_to_string(folder.join("results.jsonl")).unwrap();
    let run = setting.test(&arguments).expect_status(2);
    assert!(run.stderr.contains("is there already"), "{}", run.stderr);
    let after = fs::read_to_string(folder.join("results.jsonl")).unwrap();
    assert_eq!(before, after);
}

#[test]
fn a_signal_ends_all_vms_and_keeps_what_is_known() {
    let text = include_str!("files/session/sleeps.py");
    let setting = Setting::new(&["6.1.1", "6.2.1", "6.3.1"], text);
    let mut child = setting.command("-j2 -k 6.1,6.2,6.3").start();
    let end = Instant::now() + Duration::from_secs(60);
    let here = |version: &str| setting.project().join(format!("here-{version}")).exists();
    while !(here("6.1.1") && here("6.2.1")) {
        assert!(Instant::now() < end, "the tests do not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(143));
    assert!(!here("6.3.1"));
    assert_eq!(processes_in(setting.work.path()), []);
    let results = setting.results();
    assert!(!results.finished);
    assert_eq!(
        outcomes(&results),
        ["6.1.1", "6.2.1"].map(|version| (version.to_owned(), "lost"))
    );
    // Reports are made of what was run, and say that it is not all.
    let log = setting.work.path().join("log");
    let folder = fs::read_dir(log).unwrap().next().unwrap().unwrap().path();
    let report = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(report("report.html"), html::render(&results));
    assert_eq!(report("junit.xml"), junit::render(&results));
    assert!(report("report.md").contains("**The session was cut short.**"));
    let show = xtask(setting.work.path()).args("report show").run();
    show.expect_status(4);
}

#[test]
fn listed_failures_are_expected_and_nothing_else_is() {
    let text = include_str!("files/session/listed.py");
    let setting = Setting::new(&["6.1.1", "6.2.1", "6.3.1"], text);
    let expect = |entries: &str| {
        let text = format!("name = \"example\"\n{entries}");
        fs::write(setting.project().join("vmtest.toml"), text).unwrap();
    };
    let known =
        "[[expect]]\ntest = \"test_it.A.test_a\"\nkernels = \">=6.2\"\nreason = \"new layout\"\n";
    expect(known);
    setting.test("-j3 -k 6.1,6.2,6.3").expect_status(0);
    let results = setting.results();
    let test = &results
        .runs
        .iter()
        .find(|run| run.name.kernel.starts_with("6.2"))
        .unwrap()
        .tally;
    assert_eq!(
        test.finished_tests[0].expected.as_deref(),
        Some("new layout")
    );

    // It passes where it is listed: fixed, or listed for too many kernels.
    expect(&known.replace(">=6.2", ">=6.1"));
    let run = setting.test("-j3 -k 6.1,6.2").expect_status(1);
    let said = "6.1.1-vmtest1.1default (x86_64): unexpectedly passed test_it.A.test_a: listed as failing (new layout)";
    assert!(run.stdout.contains(said), "{}", run.stdout);
    // Only some of the tests were asked for: nothing is said about the list.
    setting.test("-k 6.1 -- test_it.A.test_a").expect_status(0);

    // An entry that is about no test.
    let nobody = "[[expect]]\ntest = \"test_it.B.*\"\nreason = \"gone\"\n";
    expect(&format!("{known}{nobody}"));
    let run = setting.test("-j3 -k 6.1,6.2").expect_status(1);
    assert!(
        run.stdout.contains("the expectation of test_it.B.*"),
        "{}",
        run.stdout
    );
    assert_eq!(setting.results().findings.len(), 1);
}

#[test]
fn partitions_are_disjoint_and_together_all() {
    let text = include_str!("files/session/passes.py");
    let setting = Setting::new(&["6.1.1", "6.2.1", "6.3.1"], text);
    let mut all = Vec::new();
    for part in ["1/2", "2/2"] {
        setting
            .test(&format!("-k 6.1,6.2,6.3 --partition {part}"))
            .expect_status(0);
        let results = setting.results();
        assert_eq!(results.session.kernels, ["6.1", "6.2", "6.3"]);
        all.extend(outcomes(&results));
    }
    all.sort();
    let versions = all.iter().map(|(version, _)| version.as_str());
    assert_eq!(versions.collect::<Vec<_>>(), ["6.1.1", "6.2.1", "6.3.1"]);
    setting.test("-k 6.1 --partition 3/2").expect_status(2);
}

/// Changes how long the runs of a kernel are said to have taken, which was measured.
fn set_duration(setting: &Setting, version: &str, seconds: f64) {
    let file = format!("history/example/x86_64/{version}-vmtest1.1default.json");
    let file = setting.work.path().join(file);
    let text = fs::read_to_string(&file).unwrap();
    let mut history = serde_json::from_str::<serde_json::Value>(&text).unwrap();
    for run in history["runs"].as_array_mut().unwrap() {
        assert!(run["seconds"]["total"].as_f64().unwrap() > 0.0, "{text}");
        run["seconds"]["total"] = seconds.into();
    }
    fs::write(file, history.to_string()).unwrap();
}

#[test]
fn durations_are_remembered_and_decide_the_order() {
    let text = include_str!("files/session/order.py");
    let setting = Setting::new(&["6.1.1", "6.2.1"], text);
    let order = || {
        let file = setting.project().join("order");
        fs::remove_file(&file).unwrap_or_default();
        setting.test("-j1 -k 6.1,6.2").expect_status(0);
        fs::read_to_string(file).unwrap()
    };
    // At first nothing is known, and they come as they were asked for.
    assert_eq!(order(), "6.1.1 6.2.1 ");
    // What a busy machine has measured must not decide this test.
    let set = |first, second| {
        set_duration(&setting, "6.1.1", first);
        set_duration(&setting, "6.2.1", second);
    };
    set(1000.0, 2000.0);
    assert_eq!(order(), "6.2.1 6.1.1 ");
    set(2000.0, 1000.0);
    assert_eq!(order(), "6.1.1 6.2.1 ");
    set(1000.0, 2000.0);
    // Some of the tests say nothing about how long all of them take.
    setting.test("-j1 -k 6.2 -- -k nothing").expect_status(5);
    assert_eq!(order(), "6.2.1 6.1.1 ");
}

/// What is known of each test, however the tests were shared out.
fn verdicts(results: &Results) -> Vec<String> {
    let tests = &results.runs[0].tally.finished_tests;
    let verdict = |test: &xtask::internals::FinishedTest| format!("{} {}", test.id, test.outcome);
    let mut verdicts = tests.iter().map(verdict).collect::<Vec<_>>();
    verdicts.sort();
    verdicts
}

#[test]
fn a_suite_that_is_split_has_the_results_of_one_that_is_not() {
    let text = include_str!("files/session/kinds.py");
    let setting = Setting::new(&["6.1.1"], text);
    fs::write(
        setting.project().join("test_broken.py"),
        "import nothing_of_this_name\n",
    )
    .unwrap();
    let long = "name = \"example\"\n[tests]\nlong = true\n";
    fs::write(setting.project().join("vmtest.toml"), long).unwrap();
    setting.test("-k 6.1 -j3").expect_status(1);
    assert_eq!(setting.shards(), 3, "nobody knows yet how long they take");
    let split = verdicts(&setting.results());
    setting.test("-k 6.1 -j3").expect_status(1);
    assert_eq!(setting.shards(), 1, "they were short the last time");
    let whole = verdicts(&setting.results());
    assert_eq!(whole.len(), 7);
    assert_eq!(split, whole);
    // More parts than there are classes are empty, which is no finding.
    for shards in [2, 3, 9] {
        let run = setting.test(&format!("-k 6.1 -j3 --shards {shards}"));
        run.expect_status(1);
        let results = setting.results();
        assert_eq!(verdicts(&results), whole, "{shards}");
        assert_eq!(results.runs[0].outcome.name(), "tests failed");
        assert_eq!(results.runs[0].tally.tests, Some(7));
    }
}

/// The reports of a folder's results, as they are without times.
fn timeless(folder: &Path) -> [String; 3] {
    let mut results = read(folder);
    results.session.started = String::new();
    for run in &mut results.runs {
        run.seconds = Phases::default();
        run.tally.seconds = 0.0;
        for test in &mut run.tally.finished_tests {
            test.seconds = 0.0;
        }
        // The end of the output says how long it took.
        run.evidence.output_tail = String::new();
    }
    [
        junit::render(&results),
        markdown::render(&results, markdown::PULL_REQUEST),
        html::render(&results),
    ]
}

#[test]
fn partitions_merged_are_the_report_of_one_session() {
    let text = include_str!("files/session/partitions.py");
    let versions = ["6.1.1", "6.2.1", "6.3.1", "6.4.1", "6.5.1"];
    let setting = Setting::new(&versions, text);
    let known = "name = \"example\"\n[[expect]]\ntest = \"*.test_a\"\nkernels = \">=6.5\"\nreason = \"known\"\n";
    fs::write(setting.project().join("vmtest.toml"), known).unwrap();
    let folder = |name: &str| setting.work.path().join("reports").join(name);
    let kernels = "-j2 -k 6.1,6.2,6.3,6.4,6.5";
    let whole = format!("{kernels} --report-dir {}", folder("whole").display());
    setting.test(&whole).expect_status(1);
    for part in 1..=2 {
        let arguments = format!(
            "{kernels} --partition {part}/2 --report-dir {}",
            folder(&format!("part{part}")).display()
        );
        setting.test(&arguments);
    }
    let merge = || {
        xtask(setting.work.path())
            .args("report merge")
            .arg(folder("part2"))
            .arg(folder("part1"))
            .arg("-o")
    };
    let run = merge().arg(folder("merged")).run().expect_status(1);
    assert!(
        run.stdout
            .contains("test_it.A.test_a: passes up to 6.2, fails from 6.3"),
        "{}",
        run.stdout
    );
    let (whole, merged) = (timeless(&folder("whole")), timeless(&folder("merged")));
    for (whole, merged) in whole.iter().zip(&merged) {
        assert_eq!(whole, merged);
        assert!(merged.contains("test_b"));
    }
    for name in ["report.md", "report.html", "junit.xml"] {
        assert!(folder("merged").join(name).is_file());
    }

    // An entry that no part can judge is judged when all of them are there.
    let nobody = known.replace("*.test_a", "*.test_z");
    fs::write(setting.project().join("vmtest.toml"), nobody).unwrap();
    for part in 3..=4 {
        let arguments = format!(
            "-j2 -k 6.1,6.5 --partition {}/2 --report-dir {}",
            part - 2,
            folder(&format!("part{part}")).display()
        );
        let run = setting.test(&arguments);
        assert!(!run.stdout.contains("expectation"), "{}", run.stdout);
    }
    let run = xtask(setting.work.path()).args("report merge");
    let run = run.arg(folder("part3")).arg(folder("part4")).arg("-o");
    let run = run.arg(folder("judged")).run().expect_status(1);
    assert!(
        run.stdout.contains("the expectation of *.test_z"),
        "{}",
        run.stdout
    );
}
