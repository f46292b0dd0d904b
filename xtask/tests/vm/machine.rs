//! What `vm`'s options do to the machine.

use crate::Call;

#[test]
fn memory_processors_and_parameters() {
    let script = "nproc; grep MemTotal /proc/meminfo; cat /proc/cmdline";
    let ended = Call::vm("--memory 512M --cpus 1 --kernel-cmdline vmtest.x=1")
        .script(script)
        .output()
        .expect(0);
    let stdout = ended.stdout();
    let lines = stdout.lines().collect::<Vec<_>>();
    assert_eq!(lines[0], "1");
    let total = lines[1]
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u32>()
        .unwrap();
    assert!((400_000..512 * 1024).contains(&total), "{total} kB");
    assert!(lines[2].contains("vmtest.x=1"), "{}", lines[2]);
}

/// A file that is shared is dated by the host, while the guest looks at its own clock
/// before and after. How long that takes does not matter.
#[test]
fn the_guests_clock_is_the_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let script = "date +%s.%N; echo >/mnt/shared/file; date +%s.%N";
    let share = format!("-q --share-rw {}:/mnt/shared", directory.path().display());
    let ended = Call::vm(&share).script(script).output().expect(0);
    let file = directory.path().join("file").metadata().unwrap();
    let dated = file.modified().unwrap();
    let dated = dated.duration_since(std::time::UNIX_EPOCH).unwrap();
    let stdout = ended.stdout();
    let guest = stdout.lines().map(|line| line.parse::<f64>().unwrap());
    let guest = guest.collect::<Vec<_>>();
    let dated = dated.as_secs_f64();
    assert!(
        guest[0] - 0.5 < dated && dated < guest[1] + 0.5,
        "{dated} by the host, {guest:?} by the guest"
    );
}

/// Whatever limit, user and root directory a program has.
#[test]
fn core_dumps_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let cores = directory.path().join("new/cores");
    let script = "end() { ulimit -c 0; \"$@\" & kill -SEGV $!; wait $!; echo $?; }
                  end sleep 100
                  end setpriv --reuid=65534 sleep 200
                  (cp \"$(command -v busybox)\" /dev/shm/busybox; end chroot /dev/shm /busybox sleep 300)";
    let ended = Call::vm(&format!("--keep-cores {}", cores.display()))
        .script(script)
        .output()
        .expect(0);
    assert_eq!(ended.stdout(), "139\n".repeat(3), "{}", ended.stderr());
    let mut found = std::fs::read_dir(&cores)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    found.sort();
    let told = ended.stderr();
    let told = told
        .lines()
        .filter_map(|line| line.strip_prefix("xtask: core dump: "));
    let told = told.map(std::path::PathBuf::from).collect::<Vec<_>>();
    assert_eq!(told, found);
    assert_eq!(found.len(), 3, "{found:?}");
    for core in &found {
        let name = core.file_name().unwrap().to_string_lossy();
        assert!(name.ends_with("-SIGSEGV.core"), "{name}");
        let bytes = std::fs::read(core).unwrap();
        assert!(bytes.starts_with(b"\x7fELF"), "{name}");
        assert!(bytes.len() > 4096, "{name}: {}", bytes.len());
    }
}

#[test]
fn make_finds_no_file_of_the_future_on_a_share() {
    let directory = tempfile::tempdir().unwrap();
    let makefile = "b: a\n\tcp a b\n";
    std::fs::write(directory.path().join("Makefile"), makefile).unwrap();
    let share = format!("-q --share-rw {}:/mnt/shared", directory.path().display());
    let script = "cd /mnt/shared; for n in 1 2 3; do echo >a; make 2>&1; done";
    let ended = Call::vm(&share).script(script).output().expect(0);
    let stdout = ended.stdout();
    assert!(stdout.contains("cp a b"), "{stdout}");
    assert!(!stdout.contains("skew"), "{stdout}");
}

#[test]
fn a_dry_run_prints_the_command_and_runs_nothing() {
    let ended = Call::vm("--dry-run -Xqemu -s")
        .run_in_guest(&["true"])
        .output()
        .expect(0);
    let stdout = ended.stdout();
    assert!(
        stdout.contains("qemu-system-x86_64 ") && stdout.trim_end().ends_with(" -s"),
        "{stdout}"
    );
    // And says what that is, because it does not run.
    let stderr = ended.stderr();
    assert!(stderr.contains("not a command to type"), "{stderr}");
    assert!(stdout.contains("/vmtest-XXXXXX/init"), "{stdout}");
}

#[test]
fn emulation_is_found_to_be_needed_once() {
    // Whatever this host is like: the second run must not try again what failed.
    let first = Call::vm("").run_in_guest(&["true"]).output().expect(0);
    let second = Call::vm("").run_in_guest(&["true"]).output().expect(0);
    for ended in [&first, &second] {
        assert!(ended.stderr().lines().count() <= 1, "{}", ended.stderr());
    }
}

#[test]
fn the_kernels_messages_can_be_followed() {
    let call = Call::vm("-q --kernel-log");
    let script = "echo from user space > /dev/kmsg; echo out; sleep 1; echo err >&2";
    let ended = call.script(script).output().expect(0);
    assert_eq!(ended.stdout(), "out\n");
    let stderr = ended.stderr();
    let at = |words: &str| {
        let found = stderr.lines().position(|line| line.ends_with(words));
        found.unwrap_or_else(|| panic!("lacks {words:?}:\n{stderr}"))
    };
    assert!(stderr.contains("] Linux version "), "{stderr}");
    // While the command ran, not behind it.
    assert!(at("] from user space") < at("err"), "{stderr}");
    assert!(!stderr.contains('\r'), "{stderr}");
    let without = Call::vm("-q").script(script).output().expect(0);
    assert_eq!(without.stderr(), "err\n");
}

#[test]
fn on_a_terminal_the_command_has_one() {
    let typed = "stty size; tty; echo typed-$((40 + 2))\nexit 7\n";
    let command = ["sh", "-c", "echo ready; exec sh -i"];
    let stdout = crate::terminal::vm(&["-q"], &command, &[("ready", typed)]);
    for expected in [
        "33 101\n",
        "/dev/hvc0\n",
        "typed-42\n",
        "status 7\n",
        "restored True\n",
    ] {
        assert!(stdout.contains(expected), "lacks {expected:?}:\n{stdout}");
    }
}
