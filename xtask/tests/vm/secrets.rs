//! What a guest can read of the host's processes: its root is the host's file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::{Call, unpacked_kernel};

const READ: &str = include_str!("files/read-below.sh");

fn with_secrets(call: &mut Command) {
    call.env("GITHUB_TOKEN", "hidden-1");
    call.env("MY_PASSWORD", "hidden-2");
}

#[test]
fn a_guest_of_roots_sees_no_process_of_the_host() {
    assert!(rustix::process::geteuid().is_root(), "run as root");
    let ended = Call::vm("-q")
        .with(with_secrets)
        .script(READ)
        .output()
        .expect(0);
    assert_eq!(ended.stdout(), "processes 0\nsystem 0\ndisks 0\nend\n");
    assert_eq!(ended.stderr(), "");
}

#[test]
fn what_is_shared_of_it_is_there_and_attributes_are() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(memory.path().join("f"), "x").unwrap();
    let share = format!("{}:/mnt/a", memory.path().display());
    let script = "cat /mnt/a/f /mnt/version/version && chmod 741 /mnt/a/f";
    let ended = Call::vm("-q --share /proc:/mnt/version --share-rw")
        .with(|call| {
            call.arg(&share);
        })
        .script(script)
        .output()
        .expect(0);
    let stdout = ended.stdout();
    assert!(stdout.starts_with('x'), "{stdout}");
    let mode = fs::metadata(memory.path().join("f")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o741);
}

#[test]
fn a_run_can_live_in_memory() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let ended = Call::vm("-q")
        .with(|call| {
            call.env("TMPDIR", memory.path()).current_dir(memory.path());
        })
        .script("pwd")
        .output()
        .expect(0);
    assert_eq!(ended.stdout().trim(), memory.path().to_str().unwrap());
    assert_eq!(
        support::host::entries(memory.path()),
        Vec::<std::path::PathBuf>::new()
    );
}

#[test]
fn where_nothing_can_be_hidden_it_is_said_and_tokens_are_safe() {
    let script = format!("{READ}ls proc/version");
    let ended = Call::vm("")
        .with(with_secrets)
        .with(|call| {
            // What a container without the right to mount is like.
            let own = call.get_program().to_owned();
            let words = call.get_args().map(ToOwned::to_owned).collect::<Vec<_>>();
            let mut other = Command::new("setpriv");
            other.args(["--bounding-set", "-sys_admin"]).arg(own);
            other.args(words).envs(
                call.get_envs()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))),
            );
            other
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped());
            *call = other;
        })
        .script(&script)
        .output()
        .expect(0);
    let stdout = ended.stdout();
    assert!(stdout.ends_with("end\nproc/version\n"), "{stdout}");
    assert!(!stdout.contains("hidden-"), "{stdout}");
    let warning = "guests can read the host's /proc, /sys and /dev, which cannot be hidden";
    assert!(ended.stderr().contains(warning), "{}", ended.stderr());
}

/// A copy of what a boot reads, which everybody may.
fn copied_kernel(goal: &Path) {
    let kernel = unpacked_kernel();
    let script = "cd \"$0\" && mkdir -p \"$1/build\" && \
        tar c --exclude=./build/vmlinux --exclude=./build/source . | tar x -C \"$1\" && \
        head -c 4096 build/vmlinux >\"$1/build/vmlinux\"";
    let mut shell = Command::new("sh");
    #[allow(clippy::disallowed_methods, reason = "a short command of a test")]
    let status = shell.args(["-c", script]).arg(&kernel).arg(goal).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_guest_of_an_ordinary_users_finds_no_secret_in_our_processes() {
    assert!(rustix::process::geteuid().is_root(), "run as root");
    let place = tempfile::tempdir().unwrap();
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(place.path(), everybody.clone()).unwrap();
    let copy = place.path().join("xtask");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &copy).unwrap();
    let unpacked = place.path().join("kernel");
    copied_kernel(&unpacked);
    let ended = Call::new("")
        .with(|call| {
            let temporary = call.get_envs().find(|(name, _)| *name == "TMPDIR");
            let temporary = temporary.unwrap().1.unwrap().to_owned();
            fs::set_permissions(&temporary, everybody).unwrap();
            let mut other = Command::new("setpriv");
            other.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
            other
                .arg(&copy)
                .args(["-q", "vm", "-k"])
                .arg(&unpacked)
                .env("TMPDIR", &temporary)
                .env("HOME", place.path())
                .env("VMTEST_DIR", place.path().join("work"))
                .current_dir(place.path())
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped());
            with_secrets(&mut other);
            *call = other;
        })
        .script(READ)
        .output()
        .expect(0);
    let stdout = ended.stdout();
    // The host's processes are there, and say nothing.
    assert!(!stdout.starts_with("processes 0\n"), "{stdout}");
    assert!(!stdout.contains("hidden-"), "{stdout}");
}
