//! What runs leave behind, and what they remove: only what is proved to be theirs.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::xtask;
use support::binary::{Run, Xtask};
use support::fake_kernel;
use support::fake_qemu;
use support::host::{entries, left_behind, wait_for};

/// A work directory with a kernel, and a QEMU that does what it is told.
struct Home {
    directory: tempfile::TempDir,
    path: String,
}

impl Home {
    fn new(part: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let release = "6.1.0-vmtest1.1default";
        let kernel = directory.path().join(format!("x86_64/kernel-{release}"));
        fake_kernel::write(&kernel, release, "k", 0);
        let path = fake_qemu::install(directory.path(), part);
        fs::create_dir(directory.path().join("tmp")).unwrap();
        Self { directory, path }
    }

    fn temporary(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    fn prepared(&self, command: Xtask) -> Xtask {
        command
            .env("PATH", &self.path)
            .env("TMPDIR", self.temporary())
    }

    fn vm(&self) -> Xtask {
        let command = xtask(self.directory.path());
        self.prepared(command.args("vm --accel tcg --from local -k 6.1 -- true"))
    }

    /// The VM of `vm` in a PID namespace of its own, as in another container. Where nobody
    /// may make one, in this.
    fn vm_elsewhere(&self) -> Xtask {
        let words = "--pid --fork --kill-child --mount-proc";
        match self.unshare(words) {
            None => self.vm(),
            Some(command) => {
                let command = command.arg(env!("CARGO_BIN_EXE_xtask"));
                self.prepared(command.args("vm --accel tcg --from local -k 6.1 -- true"))
            }
        }
    }

    /// What starts a program in namespaces of its own, if that may be done here.
    fn unshare(&self, words: &str) -> Option<Xtask> {
        let user = match rustix::process::geteuid().is_root() {
            true => "",
            false => "--user --map-root-user",
        };
        let unshare = || {
            let command = Xtask::new("unshare", self.directory.path());
            command.args(user).args(words)
        };
        let probe = unshare().arg("true").run();
        if probe.status != 0 {
            let why = format!("no namespace can be made here: {}", probe.stderr);
            std::io::stderr().write_all(why.as_bytes()).unwrap();
            return None;
        }
        Some(unshare())
    }

    fn run_vm(&self) -> Run {
        self.vm().run()
    }

    /// What a VM uses while it runs, once it does.
    fn running(&self) -> Vec<PathBuf> {
        let logs = self.directory.path().join("log/vm");
        wait_for("what a VM uses", || {
            let found = [entries(self.temporary()), entries(&logs)].concat();
            (found.len() == 2 && found[1].metadata().is_ok_and(|log| log.len() > 0))
                .then_some(found)
        })
    }
}

#[test]
fn folders_of_other_people_stay_whatever_their_names() {
    let home = Home::new("good");
    let work = home.directory.path();
    let mine = [
        "tmp/vmtest-2026-11-29",
        "tmp/vmtest-4000000-abcdef",
        "tmp/vmtest-0123456789abcdef",
        "packages/.notes.tmp-old",
        "x86_64/.kernel-6.1.tmp-01234567",
        "log/vm/console-1.log",
        "build/6.1.9-vmtest1.1default.x86_64",
        "cache/.tmpAbCdEf",
        ".doctor-abcdef",
    ];
    for folder in mine {
        fs::create_dir_all(work.join(folder)).unwrap();
        fs::write(work.join(folder).join("mine"), "text").unwrap();
    }
    home.run_vm().expect_status(42);
    for command in ["list", "prune --yes", "doctor"] {
        home.prepared(xtask(work).args(command)).run();
    }
    for folder in mine {
        let text = fs::read_to_string(work.join(folder).join("mine"));
        assert_eq!(text.ok().as_deref(), Some("text"), "{folder}");
    }
}

#[test]
fn a_vm_in_another_pid_namespace_keeps_its_files() {
    let home = Home::new("silent");
    let mut first = home.vm().start();
    let used = home.running();
    // There the first one has another number, or none.
    let mut second = home.vm_elsewhere().start();
    let both = wait_for("what a VM uses", || {
        let found = entries(home.temporary());
        (found.len() == 2).then_some(found)
    });
    assert!(both.contains(&used[0]));
    let logs = wait_for("what a VM uses", || {
        let found = entries(home.directory.path().join("log/vm"));
        (found.len() == 2).then_some(found)
    });
    assert!(logs.contains(&used[1]));
    for child in [&mut first, &mut second] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // They belong to nobody now. The lock ends with the last process that has it.
    let other = Home::new("good");
    wait_for("what a VM uses", || {
        let run = other.vm().env("TMPDIR", home.temporary()).run();
        run.expect_status(42);
        entries(home.temporary()).is_empty().then_some(())
    });
}

#[test]
fn what_a_killed_run_left_goes_with_the_next_command() {
    let home = Home::new("silent");
    let work = home.directory.path();
    let mut child = home.vm().start();
    home.running();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(entries(home.temporary()).len(), 1);
    for folder in ["x86_64", "packages", "cache/modules", "src", "log/a"] {
        let path = work.join(folder).join(left_behind(".x.tmp-"));
        fs::create_dir_all(path.join("half")).unwrap();
    }
    // Any command does it in the work directory, one that boots a VM in TMPDIR.
    home.prepared(xtask(work).args("list"))
        .run()
        .expect_status(0);
    for folder in ["packages", "cache/modules", "src", "log/a"] {
        assert_eq!(entries(work.join(folder)), [""; 0].map(PathBuf::from));
    }
    assert_eq!(entries(work.join("x86_64")).len(), 1);
    fs::write(work.join("part"), "good").unwrap();
    home.run_vm().expect_status(42);
    assert!(entries(home.temporary()).is_empty());
}

/// The console's log is there no more, and with it what the kernel said.
#[test]
fn a_full_disk_is_the_cause() {
    let home = Home::new("gone");
    fs::create_dir(home.directory.path().join("log")).unwrap();
    let Some(command) = home.unshare("--mount") else {
        return;
    };
    // Full as soon as there is something on it.
    let script = "mount -t tmpfs -o size=32k none log && exec \"$@\"";
    let command = command.args("sh -c").arg(script).arg("sh");
    let command = command.arg(env!("CARGO_BIN_EXE_xtask"));
    let run = home.prepared(command.args("vm --accel tcg --from local -k 6.1 -- true"));
    let run = run.run().expect_status(128);
    let full = format!("; the disk is full: {}", home.directory.path().display());
    assert!(run.stderr.contains(&full), "{}", run.stderr);
}

#[test]
fn an_empty_tmpdir_is_none() {
    let home = Home::new("good");
    home.vm().env("TMPDIR", "").run().expect_status(42);
    let run = home.vm().env("TMPDIR", "no/such/place").run();
    let run = run.expect_status(3);
    for words in ["no/such/place", "TMPDIR", "No such file or directory"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
}

#[test]
fn a_file_size_limit_is_an_error_and_leaves_nothing() {
    let home = Home::new("good");
    // Blocks of 512 bytes: less than init's text, more than what is written before.
    let script = "ulimit -f 4 && exec \"$@\"";
    let command = Xtask::new("sh", home.directory.path());
    let command = command.arg("-c").arg(script).arg("sh");
    let command = command.arg(env!("CARGO_BIN_EXE_xtask"));
    let command = command.args("vm --accel tcg --from local -k 6.1 -- true");
    let run = home.prepared(command).run().expect_status(3);
    assert!(run.stderr.contains("File too large"), "{}", run.stderr);
    assert!(entries(home.temporary()).is_empty());
    assert!(entries(home.directory.path().join("log/vm")).is_empty());
}
