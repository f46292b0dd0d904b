//! `vm` on several kernels. QEMU is played by a program that runs the guest's command on this
//! host, so the commands are real and their kernels are not.

use std::fs;
use std::path::Path;

use crate::xtask;
use support::binary::{Run, Xtask};
use support::fake_kernel;
use support::fake_qemu;
use support::host::{no_process_is_left_in, processes_in, wait_until};

/// A work directory with kernels of these versions, and a QEMU that plays a part.
struct Setting {
    work: tempfile::TempDir,
    path: String,
}

impl Setting {
    fn new(part: &str, versions: &[&str]) -> Self {
        let work = tempfile::tempdir().unwrap();
        for version in versions {
            let release = format!("{version}-vmtest1.1default");
            let kernel = work.path().join(format!("x86_64/kernel-{release}"));
            fs::create_dir_all(&kernel).unwrap();
            fake_kernel::write(&kernel, &release, "00ff00ff", 0);
        }
        let path = fake_qemu::install(work.path(), part);
        Self { work, path }
    }

    fn home(&self) -> &Path {
        self.work.path()
    }

    fn command(&self, arguments: &str, script: &str) -> Xtask {
        xtask(self.home())
            .args("vm --accel tcg --from local")
            .args(arguments)
            .env("PATH", &self.path)
            .env("TMPDIR", self.home())
            .args("-- /bin/sh -c")
            .arg(script)
    }

    fn vm(&self, arguments: &str, script: &str) -> Run {
        let run = self.command(arguments, script).run();
        no_process_is_left_in(self.home());
        run
    }
}

/// The cells of the table's rows.
fn table(run: &Run) -> Vec<Vec<String>> {
    let lines = run.stderr.lines();
    let mut lines = lines.skip_while(|line| !line.starts_with("xtask: kernel  "));
    let head = lines.next().unwrap_or_else(|| panic!("{}", run.stderr));
    let words = |line: &str| {
        let cells = line.strip_prefix("xtask: ").unwrap().split("  ");
        let cells = cells.map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        words(head),
        ["kernel", "end", "status", "complaints", "seconds"]
    );
    lines.map(words).collect()
}

/// The same without times, as one text per row.
fn rows(run: &Run) -> Vec<String> {
    let cells = table(run).into_iter().map(|row| row[..4].join(" "));
    cells.collect()
}

const A: &str = "6.1.1-vmtest1.1default";
const B: &str = "6.2.1-vmtest1.1default";
const C: &str = "6.3.1-vmtest1.1default";

#[test]
fn lines_have_the_kernels_name_and_go_where_the_command_sent_them() {
    let setting = Setting::new("run", &["6.1.1", "6.2.1"]);
    let script = "echo one $VMTEST_KERNEL; echo; printf unfinished; echo bad >&2";
    let run = setting.vm("-j2 -k 6.2 -k 6.1", script).expect_status(0);
    let of = |name: &str| {
        let lines = run.stdout.lines().filter(|line| line.starts_with(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for name in [A, B] {
        // The first line is the played QEMU's own.
        let lines = ["out", &format!("one {name}"), "", "unfinished"];
        assert_eq!(of(name), lines.map(|text| format!("{name}: {text}")));
        let errors = run.stderr.lines();
        let errors = errors.filter(|line| line.starts_with(name));
        let lines = ["err", "bad"].map(|text| format!("{name}: {text}"));
        assert_eq!(errors.collect::<Vec<_>>(), lines);
    }
    assert_eq!(run.stdout.lines().count(), 8);
    // The rows are in the order in which they were asked for.
    assert_eq!(rows(&run), [B, A].map(|name| format!("{name} exited 0 0")));
    assert!(!run.stderr.contains("standard input"), "{}", run.stderr);
}

#[test]
fn lines_of_several_kernels_are_never_torn() {
    // Each prints half a line, and the other half when the others have printed theirs.
    let setting = Setting::new("halves 3", &["6.1.1", "6.2.1", "6.3.1"]);
    let run = setting.vm("-q -j3 -k 6.1,6.2,6.3", "true").expect_status(0);
    let sorted = |text: &str| {
        let mut lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        lines.sort();
        lines
    };
    let lines = |first: &str| {
        let of = |name| {
            [
                format!("{name}: {first}"),
                format!("{name}: first half, second half"),
            ]
        };
        sorted(&[A, B, C].map(of).concat().join("\n"))
    };
    assert_eq!(sorted(&run.stdout), lines("out"));
    // With -q nothing is added when all went well.
    assert_eq!(sorted(&run.stderr), lines("err"));
}

#[test]
fn the_exit_status_is_the_first_of_1_4_3_that_occurred() {
    let setting = Setting::new("run", &["6.1.1", "6.2.1", "6.3.1"]);
    let script = "case $VMTEST_KERNEL in
        6.1.*) exit 7;;
        6.2.*) kill -9 $PPID; sleep 60;;
    esac";
    for (kernels, status, expected) in [
        ("6.3,6.3.1*", 0, &[format!("{C} exited 0 0")][..]),
        (
            "6.3,6.9",
            3,
            &[format!("{C} exited 0 0"), "6.9 fetch failed - -".to_owned()],
        ),
        (
            "6.9,6.2,6.3",
            4,
            &[
                "6.9 fetch failed - -".to_owned(),
                format!("{B} lost - 0"),
                format!("{C} exited 0 0"),
            ],
        ),
        (
            "6.9,6.2,6.1",
            1,
            &[
                "6.9 fetch failed - -".to_owned(),
                format!("{B} lost - 0"),
                format!("{A} exited 7 0"),
            ],
        ),
    ] {
        let run = setting.vm(&format!("-j2 -k {kernels}"), script);
        let run = run.expect_status(status);
        assert_eq!(rows(&run), expected, "{kernels}: {}", run.stderr);
        let lost = format!("xtask: error: {B}: the VM was lost: QEMU ended with signal 9");
        assert_eq!(run.stderr.contains(&lost), kernels.contains("6.2"));
        let missing = "xtask: error: 6.9: no kernel on this machine matches 6.9";
        assert_eq!(run.stderr.contains(missing), kernels.contains("6.9"));
    }
}

#[test]
fn each_kernel_has_files_of_its_own_and_none_is_overwritten() {
    let setting = Setting::new("run", &["6.1.1", "6.2.1"]);
    // Another kernel of the same release.
    let twin = setting.home().join("twin");
    fs::create_dir(&twin).unwrap();
    fake_kernel::write(&twin, A, "00ff00ff", 0);
    let arguments = "-j2 -k 6.1,6.2,./twin --output out/new";
    let script = "printf '%s' out $VMTEST_KERNEL; printf 'err\\r\\n' >&2";
    let run = setting.vm(arguments, script).expect_status(0);
    assert_eq!(run.stdout, "");
    let out = setting.home().join("out/new");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    for (file, name) in [
        (format!("{A}.x86_64"), A),
        (format!("{B}.x86_64"), B),
        (format!("{A}.x86_64-2"), A),
    ] {
        assert_eq!(read(&format!("{file}-stdout")), format!("out\nout{name}"));
        assert_eq!(read(&format!("{file}-stderr")), "err\nerr\r\n");
        assert!(read(&format!("{file}-console.log")).contains("Linux version"));
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 9);
    let names = table(&run).into_iter().map(|row| row[0].clone());
    let mut names = names.collect::<Vec<_>>();
    // Which of the two is the second depends on who was faster.
    names.sort();
    assert_eq!(names, [A.to_owned(), format!("{A} (2)"), B.to_owned()]);
    let again = setting.vm(arguments, "echo other").expect_status(2);
    assert!(
        again.stderr.contains("out/new is not empty"),
        "{}",
        again.stderr
    );
    assert_eq!(read(&format!("{B}.x86_64-stdout")), format!("out\nout{B}"));
    let file = setting.vm("-k 6.1 --output part", "true").expect_status(2);
    assert!(file.stderr.contains("Not a directory"), "{}", file.stderr);
}

#[test]
fn so_many_run_at_a_time_as_are_asked_for() {
    let setting = Setting::new("run", &["6.1.1", "6.2.1", "6.3.1"]);
    // Ends only if all run at the same time.
    let meet = "touch here-$VMTEST_KERNEL; until [ $(ls here-* | wc -l) = 3 ]; do sleep 0.02; done";
    setting.vm("-j3 -k 6.1,6.2,6.3", meet).expect_status(0);
    // Fails if two do.
    let alone = "mkdir lock && sleep 0.3 && rmdir lock";
    setting.vm("-j1 -k 6.1,6.2,6.3", alone).expect_status(0);
}

#[test]
fn a_complaint_is_counted_and_fails_on_request() {
    let setting = Setting::new("complains", &["6.1.1", "6.2.1"]);
    for (mode, status, end) in [("show", 0, "exited"), ("fail", 1, "complained")] {
        let run = setting.vm(&format!("-k 6.1,6.2 --complaints {mode}"), "true");
        let run = run.expect_status(status);
        assert_eq!(rows(&run), [A, B].map(|name| format!("{name} {end} 0 1")));
        let title = format!("{A}: the kernel complained: WARNING: ");
        assert!(run.stderr.contains(&title), "{}", run.stderr);
    }
}

#[test]
fn what_is_for_one_kernel_is_refused_for_several() {
    let setting = Setting::new("run", &["6.1.1", "6.2.1"]);
    for flag in ["--tty", "--gdb", "--dry-run", "--lost-status=9"] {
        let run = setting.vm(&format!("-k 6.1,6.2 {flag}"), "true");
        let run = run.expect_status(2);
        let flag = flag.split('=').next().unwrap();
        let says = format!("xtask: error: {flag} is for one kernel (");
        assert!(run.stderr.starts_with(&says), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
    let shell = xtask(setting.home()).env("PATH", &setting.path);
    let shell = shell.args("vm -k 6.1,6.2").run().expect_status(2);
    assert!(shell.stderr.contains("-- COMMAND"), "{}", shell.stderr);
    // A mistake in one request is one before any kernel boots.
    let run = setting.vm("-k 6.1,6.99", "touch ran").expect_status(2);
    assert!(!setting.home().join("ran").exists(), "{}", run.stderr);
}

#[test]
fn a_limit_holds_for_each_kernel() {
    let setting = Setting::new("hang", &["6.1.1", "6.2.1"]);
    let run = setting.vm("-j2 -k 6.1,6.2 --idle-timeout 1s", "true");
    let run = run.expect_status(4);
    assert_eq!(rows(&run), [A, B].map(|name| format!("{name} stuck - 0")));
}

#[test]
fn a_signal_ends_all_vms() {
    let setting = Setting::new("run", &["6.1.1", "6.2.1", "6.3.1"]);
    let script = "touch here-$VMTEST_KERNEL; exec sleep 600";
    let mut child = setting.command("-j2 -k 6.1,6.2,6.3", script).start();
    let here = |name: &str| setting.home().join(format!("here-{name}")).exists();
    wait_until("both commands run", || here(A) && here(B));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!here(C));
    assert_eq!(processes_in(setting.home()), []);
}
