//! Tests that take their interpreter or their kernel with them: `test` says how a
//! run ended and in which test.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Call, folder, test, unpacked_kernel};

const OOPS: &str = include_str!("files/oops.c");

const SPIN: &str = include_str!("files/spin.c");

/// A project outside /tmp whose second test of three does this.
fn project(body: &str, table: &str) -> tempfile::TempDir {
    let directory = folder("vmtest-project-");
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("vmtest.toml", &format!("name = \"example\"\n{table}"));
    write(
        "test_it.py",
        &format!(
            "import os, signal, subprocess, unittest\n\
             class A(unittest.TestCase):\n\
             \x20   def test_1(self):\n        pass\n\
             \x20   def test_2(self):\n        {body}\n\
             \x20   def test_3(self):\n        pass\n"
        ),
    );
    directory
}

/// Runs a suite whose second test does `body`.
#[track_caller]
fn check(body: &str, table: &str, status: i32, says: &[&str]) {
    let project = project(body, table);
    if table.contains("[module]") {
        write_module(project.path(), OOPS);
    }
    let ended = test(project.path(), "").output().expect(status);
    let stdout = ended.stdout();
    for words in says.iter().chain(&["while running test_it.A.test_2"]) {
        assert!(
            stdout.contains(words),
            "lacks {words:?}:\n{stdout}\n{}",
            ended.stderr()
        );
    }
}

fn write_module(directory: &Path, source: &str) {
    let module = directory.join("oops");
    fs::create_dir(&module).unwrap();
    fs::write(module.join("Makefile"), "obj-m := oops.o\n").unwrap();
    fs::write(module.join("oops.c"), source).unwrap();
}

#[test]
fn an_interpreter_that_leaves_quietly_has_not_passed() {
    check(
        "os._exit(0)",
        "",
        1,
        &["runner died: ended with status 0 before the last test was done"],
    );
}

#[test]
fn the_tests_behind_a_dead_interpreter_run_in_a_new_one() {
    let project = project("os.kill(os.getpid(), signal.SIGSEGV)", "");
    let stdout = test(project.path(), "").output().expect(1).stdout();
    let row = stdout.lines().find(|line| line.contains("  runner died  "));
    let row = row.unwrap_or_else(|| panic!("no row of the run:\n{stdout}"));
    let cells = row.split_whitespace().collect::<Vec<_>>();
    // Run, passed, failed, skipped, not run.
    assert_eq!(cells[3..8], ["2", "2", "0", "0", "1"], "{row}");
    // The kernel has nothing to do with it.
    assert!(!stdout.contains("end of the console"), "{stdout}");
}

#[test]
fn an_interpreter_that_crashes_is_a_runner_that_died() {
    check(
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "",
        1,
        &["runner died: ended by signal 11 (SIGSEGV) before the last test was done"],
    );
}

#[test]
fn a_panic_names_the_test_that_ran() {
    check(
        "open('/proc/sysrq-trigger', 'w').write('c')",
        "",
        4,
        &["panicked: Kernel panic - not syncing: sysrq triggered crash"],
    );
}

#[test]
fn an_oops_ends_the_run_and_names_the_test_that_ran() {
    check(
        "subprocess.check_call(['insmod', os.environ['OOPS']])",
        "[module]\nsource = \"oops\"\nload = false\nvariable = \"OOPS\"\n",
        4,
        &[
            "panicked: BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "oops_init",
        ],
    );
}

#[test]
fn an_oops_in_vm_is_a_lost_vm_with_the_consoles_words() {
    let directory = module(OOPS);
    let file = directory.path().join("oops/oops.ko");
    let ended = Call::vm("")
        .run_in_guest(&["insmod", file.to_str().unwrap()])
        .output()
        .expect(128);
    let stderr = ended.stderr();
    for words in [
        "the kernel panicked: BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "oops_init",
        "Kernel panic - not syncing: Fatal exception",
    ] {
        assert!(stderr.contains(words), "lacks {words:?}:\n{stderr}");
    }
    // The kernel's own code has source lines.
    let line = "do_one_initcall+0x";
    let line = stderr.lines().find(|text| text.contains(line)).unwrap();
    assert!(line.contains("(init/main.c:"), "{line}");
}

#[test]
fn a_stall_is_named_and_the_kernel_asked_where_it_is() {
    let directory = module(SPIN);
    let file = directory.path().join("oops/oops.ko");
    // The kernel waits 21 s by default. Seconds of its own: on a busy host they are longer
    // than the host's, so there is some room; a second report comes after four times as long
    // and would leave none for the tasks. A kernel that has measured its counter once more, a
    // second or more after its start, changes the clock with all processors stopped: the other
    // one would wait for the spinning one, and nothing would answer.
    let settled = "cd /sys/devices/system/clocksource/clocksource0; \
                   while grep -q early current_clocksource; do sleep 0.1; done; exec insmod \"$0\"";
    let ended = Call::vm("--kernel-cmdline rcupdate.rcu_cpu_stall_timeout=6 --timeout 22s")
        .run_in_guest(&["sh", "-c", settled, file.to_str().unwrap()])
        .output()
        .expect(128);
    let stderr = ended.stderr();
    for words in [
        "total limit of 22 s (--timeout); rcu: INFO: rcu_",
        "Show backtrace of all active CPUs",
        "Show Blocked State",
        "spin_init",
    ] {
        assert!(stderr.contains(words), "lacks {words:?}:\n{stderr}");
    }
}

/// A built kernel module with this source, in a directory of its own.
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
fn module(source: &str) -> tempfile::TempDir {
    let directory = folder("vmtest-module-");
    write_module(directory.path(), source);
    let build = Command::new("make")
        .arg("-C")
        .arg(unpacked_kernel().join("build"))
        .arg(format!("M={}", directory.path().join("oops").display()))
        .arg("modules")
        .output()
        .unwrap();
    assert!(
        build.status.success(),
        "{}",
        String::from_utf8_lossy(&build.stderr)
    );
    directory
}
