//! Tests after a crash: a kernel that loads another one and panics, for real.

use std::fs;

use crate::{folder, test};

/// A project outside /tmp whose test after the crash does this, or whose module this is.
fn project(body: &str, table: &str) -> tempfile::TempDir {
    let directory = folder("vmtest-project-");
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let toml = format!(
        "name = \"example\"\nmemory = \"1 GiB\"\n[tests]\nstart = \"main\"\n\
         [crash]\nstart = \"after\"\n{table}"
    );
    write("vmtest.toml", toml);
    for phase in ["main", "after"] {
        write(&format!("{phase}/__init__.py"), String::new());
    }
    let test = |body: &str| {
        if body.contains("class A") {
            return body.to_owned();
        }
        let mut text = "import os, struct, unittest\n\
             class A(unittest.TestCase):\n    def test_it(self):\n"
            .to_owned();
        for line in body.lines() {
            text += &format!("        {line}\n");
        }
        text
    };
    write(
        "main/test_main.py",
        test("self.assertFalse(os.path.exists('/proc/vmcore'))"),
    );
    write("after/test_dump.py", test(body));
    directory
}

/// Runs a project whose test after the crash does `body`.
#[track_caller]
fn check(body: &str, table: &str, arguments: &str, status: i32, says: &[&str]) {
    let project = project(body, table);
    let ended = test(project.path(), arguments).output().expect(status);
    let stdout = ended.stdout();
    for words in says.iter().chain(&["(x86_64): passed; 1 run"]) {
        assert!(
            stdout.contains(words),
            "lacks {words:?}:\n{stdout}\n{}",
            ended.stderr()
        );
    }
}

#[test]
fn a_dump_is_read_after_the_crash() {
    check(
        include_str!("files/test_vmcore.py"),
        "",
        "",
        0,
        &["crash (x86_64): passed; 1 run"],
    );
}

#[test]
fn a_test_that_fails_after_the_crash_is_named() {
    check(
        "self.fail('the dump is torn')",
        // Another way to crash.
        "trigger = \"echo 1 >/proc/sys/kernel/panic_on_oops; echo c >/proc/sysrq-trigger\"\n",
        "",
        1,
        &[
            "crash (x86_64): failed after.test_dump.A.test_it: AssertionError: the dump is torn",
            "crash (x86_64): tests failed; 1 run, 1 failed",
        ],
    );
}

#[test]
fn a_kernel_that_refuses_is_an_outcome_that_says_so() {
    check(
        "pass",
        "",
        "--kernel-cmdline crashkernel=0",
        3,
        &["crash (x86_64): setup failed: the kernel was not crashed: no memory is reserved"],
    );
}

#[test]
fn a_crash_that_does_not_come_is_an_outcome_that_says_so() {
    check(
        "pass",
        "trigger = \"exit 3\"\n",
        "",
        3,
        &["what was to crash the kernel ended with status 3, and the kernel goes on"],
    );
}

#[test]
fn a_panic_of_the_capture_kernel_is_one() {
    check(
        "open('/proc/sysrq-trigger', 'w').write('c')",
        "",
        "",
        4,
        &[
            "crash (x86_64): panicked: Kernel panic - not syncing: sysrq triggered crash",
            "while running after.test_dump.A.test_it",
        ],
    );
}
