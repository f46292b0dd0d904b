//! `--dump`: the memory of a guest in trouble is opened by drgn's release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Call, Ended};
use support::host::repository;

const SCRIPT: &str = include_str!("files/read_dump.py");

/// drgn's tree and an interpreter that runs it: what `test` made for drgn's own tests.
fn drgn() -> &'static (PathBuf, PathBuf) {
    static DRGN: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    DRGN.get_or_init(|| {
        let call = Call::new("test -l --from local -- -k no_such_test").with(|call| {
            // Not in a project of somebody's.
            call.current_dir("/").env_remove("VMTEST_PROJECT");
        });
        call.output().expect(5);
        let work = std::env::var_os("VMTEST_DIR")
            .map_or_else(|| repository().join("build/vmtest"), PathBuf::from);
        let newest = |prefix: &str| {
            let entries = fs::read_dir(work.join("projects")).unwrap();
            let named = entries
                .map(|entry| entry.unwrap())
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
            let newest = named.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap());
            newest.unwrap().path()
        };
        (newest("drgn-"), newest("python-").join("bin/python3"))
    })
}

/// What drgn says about the dump that a call has written; it is removed.
#[track_caller]
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
fn examine(ended: &Ended) -> String {
    let stderr = ended.stderr();
    let dump = stderr
        .lines()
        .find_map(|line| line.strip_prefix("xtask: dump: "))
        .unwrap_or_else(|| panic!("no dump:\n{stderr}"));
    assert!(!stderr.contains("VMCOREINFO"), "{stderr}");
    let (tree, python) = drgn();
    let vmlinux = crate::unpacked_kernel().join("build/vmlinux");
    let output = Command::new(python)
        .args(["-c", SCRIPT, dump])
        .arg(&vmlinux)
        .env("PYTHONPATH", tree)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{words}");
    let release = fs::read_to_string(vmlinux.with_file_name("include/config/kernel.release"));
    assert!(text.starts_with(&release.unwrap()), "{text}");
    let dump = Path::new(dump);
    fs::remove_file(dump).unwrap();
    // Nothing is left under a temporary name.
    let name = dump.file_name().unwrap().to_string_lossy();
    for left in support::host::entries(dump.parent().unwrap()) {
        assert!(!left.to_string_lossy().contains(&*name), "{left:?}");
    }
    text
}

#[test]
fn a_panic_shows_its_thread() {
    let ended = Call::vm("--dump --memory 512M")
        .script("exec 2>/dev/null; echo before; echo c > /proc/sysrq-trigger")
        .output()
        .expect(128);
    assert_eq!(ended.stdout(), "before\n");
    let stderr = ended.stderr();
    let words = "the kernel panicked: Kernel panic - not syncing: sysrq triggered crash";
    assert!(stderr.contains(words), "{stderr}");
    let text = examine(&ended);
    assert!(text.contains("sysrq_handle_crash"), "{text}");
    assert!(text.lines().any(|line| line == "kthreadd"), "{text}");
}

#[test]
fn a_stuck_guest_shows_its_tasks() {
    let ended = Call::vm("--dump --memory 512M --idle-timeout 10s")
        .run_in_guest(&["sleep", "1000"])
        .output()
        .expect(128);
    let text = examine(&ended);
    assert!(text.lines().any(|line| line == "sleep"), "{text}");
}

#[test]
fn a_guest_that_resets_itself_is_lost_and_dumped() {
    let ended = Call::vm("--dump --memory 512M")
        .script("echo b > /proc/sysrq-trigger")
        .output()
        .expect(128);
    let stderr = ended.stderr();
    let words = "the VM was lost: the guest restarted itself: sysrq: Resetting";
    assert!(stderr.contains(words), "{stderr}");
    let text = examine(&ended);
    assert!(text.lines().any(|line| line == "sh"), "{text}");
}

#[test]
fn without_trouble_there_is_no_dump() {
    let ended = Call::vm("--dump --memory 512M")
        .run_in_guest(&["sh", "-c", "exit 3"])
        .output()
        .expect(3);
    assert!(!ended.stderr().contains("dump"), "{}", ended.stderr());
}
