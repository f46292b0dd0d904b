//! The command line: usage errors, help, the work directory, silence.

use std::fs;

use crate::xtask;

/// The commands that `--help` lists.
pub fn commands() -> Vec<String> {
    let work = tempfile::tempdir().unwrap();
    let help = xtask(work.path()).args("--help").run().expect_status(0);
    let names = help
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A description that goes on is indented further.
        .filter_map(|line| {
            line.strip_prefix("  ")
                .filter(|rest| !rest.starts_with(' '))
        })
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert!(names.contains(&"doctor".to_owned()), "{names:?}");
    names
}

#[test]
fn usage_errors_are_one_line_with_status_two() {
    let work = tempfile::tempdir().unwrap();
    for arguments in [
        "no-such-command",
        "--no-such-option",
        "doctor extra",
        "upload",
        "list --format tekst",
        "doctor -q -v",
        "ci no-such-step",
    ] {
        let run = xtask(work.path()).args(arguments).run().expect_status(2);
        assert_eq!(run.stdout, "", "{arguments}");
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stderr.starts_with("xtask: error: "), "{}", run.stderr);
    }
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0);
}

#[test]
fn usage_errors_name_the_remedy() {
    let work = tempfile::tempdir().unwrap();
    for (arguments, remedy) in [
        (
            "vm uname -r",
            "(what is run in the guest goes behind --: -- uname)",
        ),
        (
            "test -k 6.1 tests.test_a",
            "goes behind --: -- tests.test_a)",
        ),
        (
            "vm -k 6.1 --memry 2G",
            "a similar argument exists: '--memory'",
        ),
        (
            "release plan -k 6.1",
            "(this command takes kernels without -k; ",
        ),
        (
            "build-kernel -k 6.1",
            "(this command takes kernels without -k; ",
        ),
        ("build-kernel --bogus", "(--help says more)"),
        (
            "vm -k dir/x.deb -- true",
            "begins with ./, / or ~/: ./dir/x.deb)",
        ),
        ("vm -k x.rpm -- true", "begins with ./, / or ~/: ./x.rpm)"),
        ("list x86_64:dir/x", "begins with ./, / or ~/: ./dir/x)"),
    ] {
        let run = xtask(work.path()).args(arguments).run().expect_status(2);
        assert!(run.stderr.contains(remedy), "{arguments}: {}", run.stderr);
        assert!(!run.stderr.contains("use '-- -k'"), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn without_a_command_there_is_help_and_status_two() {
    let work = tempfile::tempdir().unwrap();
    let run = xtask(work.path()).run().expect_status(2);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("Commands:"), "{}", run.stderr);
}

#[test]
fn help_of_every_command_has_examples() {
    let work = tempfile::tempdir().unwrap();
    for command in commands() {
        let run = xtask(work.path())
            .arg(&command)
            .arg("--help")
            .run()
            .expect_status(0);
        assert!(run.stdout.contains("Examples:"), "{command}");
        assert!(run.stdout.contains("--directory"), "{command}");
        assert_eq!(run.stderr, "", "{command}");
    }
}

#[test]
fn an_unknown_kernel_is_a_usage_error() {
    let work = tempfile::tempdir().unwrap();
    let run = xtask(work.path())
        .args("kconfig 6.99")
        .run()
        .expect_status(2);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("6.99"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn the_work_directory_is_the_option_before_the_variable() {
    let work = tempfile::tempdir().unwrap();
    let empty = work.path().join("empty");
    fs::create_dir(&empty).unwrap();
    // Without programs, doctor only looks at the directory.
    let doctor = |arguments: &str| {
        let run = xtask(work.path())
            .env("PATH", &empty)
            .env("VMTEST_DIR", work.path().join("variable"))
            .args(arguments)
            .run();
        assert_eq!(run.status, 1, "{}", run.stderr);
        run.stdout
    };
    let place = |name: &str| format!(" free in {}\n", work.path().join(name).display());
    for (arguments, name) in [
        ("doctor", "variable"),
        ("doctor -d option", "option"),
        ("--directory option doctor", "option"),
    ] {
        let text = doctor(arguments);
        assert!(text.contains(&place(name)), "{arguments}: {text}");
    }
}

#[test]
fn quiet_is_silent_but_for_errors() {
    let work = tempfile::tempdir().unwrap();
    let empty = work.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let doctor = xtask(work.path())
        .env("PATH", &empty)
        .args("-q doctor")
        .run()
        .expect_status(1);
    assert_eq!(doctor.stderr, "");
    let ci = xtask(work.path())
        .env("PATH", &empty)
        .args("-q ci")
        .run()
        .expect_status(3);
    assert_eq!(ci.stderr.lines().count(), 1, "{}", ci.stderr);
    assert!(ci.stderr.contains("this host lacks"), "{}", ci.stderr);
}

#[test]
fn what_cannot_be_written_is_an_error_and_a_closed_pipe_is_none() {
    let work = tempfile::tempdir().unwrap();
    for arguments in ["--help", "--version", "kconfig 6.1", "ci --list"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let run = xtask(work.path()).args(arguments).run_into(full);
        let run = run.expect_status(3);
        assert!(run.stderr.contains("No space left"), "{arguments}: {run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{arguments}: {run:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = xtask(work.path()).args(arguments).run_into(writer);
        // As other programs end, by the signal.
        assert_eq!((run.status, &*run.stderr), (141, ""), "{arguments}");
    }
}

#[test]
fn a_small_stack_is_enough() {
    let work = tempfile::tempdir().unwrap();
    for arguments in ["vm --help", "kconfig 6.1", "list"] {
        xtask(work.path())
            .args(arguments)
            .behind(&["sh", "-c", "ulimit -s 256 && exec \"$@\"", "sh"])
            .env("A_TOKEN", "x")
            .run()
            .expect_status(0);
    }
}
