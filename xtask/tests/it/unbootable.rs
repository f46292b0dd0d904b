//! What is wrong with a call of `test`, `bisect` or `vm` is said in one line, with status
//! 2, and no VM is started to find it out.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::xtask;
use support::binary::{Run, Xtask};
use support::fake_kernel;
use support::fake_qemu;

/// A home with a project, two kernels, and a QEMU that must not be called.
struct Home {
    home: TempDir,
    path: String,
}

impl Home {
    fn new(project_file: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        // It leaves a trace, `ran`, when it is started.
        let path = fake_qemu::install(home.path(), "passed, from 9.9 on failed");
        for series in ["6.1", "6.6"] {
            let release = format!("{series}.7-vmtest1.1default");
            let kernel = home.path().join(format!("x86_64/kernel-{release}"));
            fake_kernel::write(&kernel, &release, "00ff00ff", 0);
            fs::write(kernel.join("modules.dep"), "").unwrap();
        }
        let write = |name: &str, text: &str| {
            let file = home.path().join("project").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write(
            "vmtest.toml",
            &format!("name = \"example\"\n{project_file}"),
        );
        write("tests/__init__.py", "");
        write(
            "tests/test_it.py",
            "import os, unittest\nopen(os.path.expanduser('~/imported'), 'w').close()\n\
             class A(unittest.TestCase):\n    def test_one(self): pass\n\
             if os.path.exists('/no/such/kernel'):\n    class Later(unittest.TestCase): pass\n",
        );
        write("tests/test_broken.py", "import no_such_module\n");
        write("plain/test_it.py", "");
        Self { home, path }
    }

    fn command(&self, arguments: &str) -> Xtask {
        xtask(self.home.path())
            .env("PATH", &self.path)
            .args(arguments)
    }

    fn has(&self, trace: &str) -> bool {
        self.home.path().join(trace).exists()
    }

    /// Fails unless the call is refused with these words.
    #[track_caller]
    fn refused(&self, run: Run, says: &str) {
        assert_ne!(run.status, 0, "it should say {says:?}: {}", run.stdout);
        let run = run.expect_status(2);
        let lines = run.stderr.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 1, "{}", run.stderr);
        assert!(lines[0].contains(says), "lacks {says:?}: {}", run.stderr);
        assert!(!self.has("ran"), "a VM was started");
    }
}

const TEST: &str = "test --accel tcg --from local -k 6.1 -C project";

#[test]
fn names_and_options_that_mean_nothing() {
    let home = Home::new("[tests]\nstart = \"tests\"\n");
    for (arguments, says) in [
        (
            "--nope",
            "cannot test example: unrecognized arguments: --nope",
        ),
        ("-k", "argument -k: expected one argument"),
        ("./e2e -v", "./e2e is no file, and no dotted name of a test"),
        (
            "/etc/passwd",
            "/etc/passwd is no file that is below the top",
        ),
        ("tests/test_none.py", "tests/test_none.py is no file"),
        (
            "tests.test_itt.A",
            "tests has no test_itt (did you mean test_it?)",
        ),
        ("tests.test_it.B", "tests.test_it has no B"),
        (
            "tests.test_it.A.test_on",
            "there is no test tests.test_it.A.test_on: tests.test_it has no test_on (did you \
             mean test_one?)",
        ),
        ("test.test_it", "did you mean"),
        (
            "tests..test_it",
            "tests..test_it is no dotted name of a test",
        ),
        ("tests.test_it.A tests.test_it.B", "has no B"),
    ] {
        let run = home.command(TEST).arg("--");
        let run = arguments.split(' ').fold(run, |run, word| run.arg(word));
        home.refused(run.run(), says);
    }
    let list = "--accel tcg --from local -k 6.1,6.6 -C project";
    let bisect = home.command(&format!("-q bisect tests.test_it.A.test_two {list}"));
    home.refused(bisect.run(), "there is no test tests.test_it.A.test_two");
}

#[test]
fn what_only_a_guest_can_tell_is_left_to_it() {
    let home = Home::new("[tests]\nstart = \"tests\"\n");
    for name in [
        "tests.test_it",
        "tests.test_it.A.test_one",
        "tests/test_it.py",
        "tests",
        // A class that is there on some kernels, and a module that is not to be had here.
        "tests.test_it.Later.test_x",
        "tests.test_broken.B.test_x",
    ] {
        let run = home.command(TEST).arg("--").arg(name).run();
        assert!(home.has("ran"), "{name}: {}", run.stderr);
        fs::remove_file(home.home.path().join("ran")).unwrap();
    }
}

#[test]
fn nothing_of_a_project_is_imported_that_nobody_names() {
    let home = Home::new("[tests]\nstart = \"tests\"\n");
    home.command(TEST).run();
    assert!(home.has("ran"));
    assert!(!home.has("imported"));
}

#[test]
fn projects_that_have_not_what_they_say() {
    for (file, says) in [
        (
            "[tests]\nstart = \"test\"\n",
            "cannot test example: tests are looked for in test, which is no directory",
        ),
        (
            "[tests]\nstart = \"tests\"\ntop = \"plain\"\n",
            "which is not below the top, plain",
        ),
        ("[tests]\nstart = \"plain\"\n", "plain is no package"),
        (
            "[tests]\nstart = \"tests\"\npattern = \"check*.py\"\n",
            "no file in tests matches check*.py",
        ),
        (
            "[tests]\nstart = \"tests\"\n[crash]\nstart = \"tests/after\"\n",
            "tests after a crash: tests are looked for in tests/after",
        ),
        (
            "[tests]\nstart = \"tests\"\n[module]\nsource = \"kmod\"\n",
            "project/kmod is no directory",
        ),
        (
            "[tests]\nstart = \"tests\"\n[module]\nsource = \"plain\"\n",
            "project/plain has no Makefile",
        ),
        (
            "python = \"venv/bin/python3\"\n",
            "there is no Python interpreter",
        ),
        (
            "[disk]\nsize = \"0\"\nvariable = \"DISK\"\n",
            "\"0\" is not the size of a disk",
        ),
    ] {
        let home = Home::new(file);
        home.refused(home.command(TEST).run(), says);
    }
    // The same for the tests of the host.
    let home = Home::new("[local]\nstart = \"none\"\n");
    let run = home.command("test -l -C project").run();
    home.refused(run, "tests of the host: tests are looked for in none");
}

#[test]
fn directories_that_a_guest_cannot_have() {
    let home = Home::new("");
    let vm = "vm --accel tcg --from local -k 6.1 -- true";
    for directory in ["/proc", "/sys/kernel", "/dev"] {
        let run = home.command(vm).current_dir(directory).run();
        home.refused(run, &format!("a guest cannot work in {directory}"));
    }
    let run = home
        .command("test --accel tcg --from local -k 6.1 --profile drgn -C /proc")
        .run();
    home.refused(run, "a guest cannot work in /proc");
    // The shell goes away from where it stands.
    let gone = home.home.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let run = xtask(home.home.path())
        .in_deleted(&gone, vm)
        .env("PATH", &home.path)
        .run();
    home.refused(run, "there is no current directory");
}

#[test]
fn shares_without_a_place() {
    let home = Home::new("");
    let top = home.home.path().canonicalize().unwrap();
    for name in ["outer", "inner", "outer/there"] {
        fs::create_dir_all(top.join(name)).unwrap();
    }
    fs::write(top.join("file"), "").unwrap();
    let vm = |shares: &[(&str, &str)]| {
        let run = home.command("vm --accel tcg --from local -k 6.1");
        let share = |run: Xtask, (flag, share): &(&str, &str)| run.arg(flag).arg(share);
        shares.iter().fold(run, share).args("-- true").run()
    };
    let run = vm(&[
        ("--share", "outer:/mnt/a"),
        ("--share-rw", "inner:/mnt/a/none"),
    ]);
    home.refused(run, "which is shared around it, has no such directory");
    let at = format!("inner:{}/below", top.join("file").display());
    home.refused(vm(&[("--share", &at)]), "file is not a directory");
    for good in [
        &[
            ("--share", "outer:/mnt/a"),
            ("--share-rw", "inner:/mnt/a/there"),
        ],
        &[
            ("--share-rw", "outer:/mnt/a"),
            ("--share", "inner:/mnt/a/new"),
        ],
    ] {
        let run = vm(good);
        assert!(home.has("ran"), "{}", run.stderr);
        fs::remove_file(home.home.path().join("ran")).unwrap();
    }
}

/// The results of a session on a kernel that was asked for by its path.
fn results(home: &Path, kernel: &str, outcome: &str) {
    let folder = home.join("earlier");
    fs::create_dir_all(&folder).unwrap();
    let name = format!("\"kernel\":\"{kernel}\",\"arch\":\"x86_64\",\"flavor\":\"default\"");
    let id = "tests.test_it.A.test_one";
    let lines = format!(
        "{{\"v\":1,\"event\":\"test-finished\",\"id\":\"{id}\",\"outcome\":\"{outcome}\",{name}}}\n\
         {{\"v\":1,\"event\":\"vm-finished\",\"outcome\":\"tests-failed\",{name}}}\n"
    );
    let file = folder.join("results.jsonl");
    let before = fs::read_to_string(&file).unwrap_or_default();
    fs::write(file, before + &lines).unwrap();
}

#[test]
fn earlier_results_count_for_kernels_that_are_named_by_path() {
    let home = Home::new("[tests]\nstart = \"tests\"\n");
    results(home.home.path(), "6.1.7-vmtest1.1default", "passed");
    results(home.home.path(), "6.6.7-vmtest1.1default", "failed");
    let paths = ["6.1", "6.6"].map(|series| format!("./x86_64/kernel-{series}.7-vmtest1.1default"));
    let run = home
        .command("bisect tests.test_it.A.test_one --accel tcg --from local -C project")
        .args(&format!("-k {} --results earlier", paths.join(",")))
        .run()
        .expect_status(0);
    assert!(!home.has("ran"), "a VM was started");
    assert!(run.stdout.contains("passes on "), "{}", run.stdout);
    assert!(run.stdout.contains("fails from "), "{}", run.stdout);
}
