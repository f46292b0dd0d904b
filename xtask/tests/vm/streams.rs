//! Nothing is lost, nothing is mixed up, nothing hangs.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use crate::{Call, noise};

#[test]
fn the_commands_streams_and_status_are_its_own() {
    let ended = Call::vm("")
        .script("echo o; echo e >&2; exit 42")
        .output()
        .expect(42);
    assert_eq!(ended.stdout(), "o\n");
    assert_eq!(ended.guest_stderr(), "e\n");
    let quiet = Call::vm("-q")
        .script("echo o; echo e >&2; exit 42")
        .output()
        .expect(42);
    assert_eq!(quiet.stderr(), "e\n");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a short command of a test")]
fn programs_are_the_hosts() {
    let ended = Call::vm("")
        .run_in_guest(&["ls", "--version"])
        .output()
        .expect(0);
    let host = std::process::Command::new("ls")
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(ended.stdout(), String::from_utf8_lossy(&host.stdout));
}

#[test]
fn a_signal_is_128_and_its_number() {
    Call::vm("").script("kill -TERM $$").output().expect(143);
    Call::vm("")
        .run_in_guest(&["no-such-program"])
        .output()
        .expect(127);
}

#[test]
fn words_and_environment_arrive_as_they_are() {
    let words = [
        "it's",
        "",
        "two\nlines",
        "$(id) `id` \\ \" ; &",
        "-n",
        "\u{1b}[31m\u{e9}",
    ];
    let mut command = vec!["printf", "%s\\0"];
    command.extend(words);
    let ended = Call::vm("--env ODD").with(|call| {
        call.env("ODD", "a'b\nc$HOME");
    });
    let ended = ended.run_in_guest(&command).output().expect(0);
    assert_eq!(
        ended.stdout(),
        words.map(|word| format!("{word}\0")).concat()
    );

    let call = Call::vm("--env ODD --env GIVEN=x=y").with(|call| {
        call.env("ODD", "a'b\nc$HOME")
            .env("MY_TOKEN", "secret")
            .env("UNKNOWN", "x");
    });
    let ended = call.run_in_guest(&["env", "-0"]).output().expect(0);
    let stdout = ended.stdout();
    let variables = stdout.split('\0').collect::<Vec<_>>();
    assert!(variables.contains(&"ODD=a'b\nc$HOME"), "{variables:?}");
    assert!(variables.contains(&"GIVEN=x=y"), "{variables:?}");
    assert!(
        !stdout.contains("secret") && !stdout.contains("UNKNOWN"),
        "{variables:?}"
    );
}

#[test]
fn sixty_four_mebibytes_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("noise");
    let bytes = noise(64 << 20);
    std::fs::write(&file, &bytes).unwrap();
    let ended = Call::vm("")
        .run_in_guest(&["cat", file.to_str().unwrap()])
        .output()
        .expect(0);
    assert!(
        ended.output.stdout == bytes,
        "{} of {} bytes",
        ended.output.stdout.len(),
        bytes.len()
    );
}

#[test]
fn a_slow_reader_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("noise");
    let bytes = noise(8 << 20);
    std::fs::write(&file, &bytes).unwrap();
    let mut running = Call::vm("")
        .run_in_guest(&["cat", file.to_str().unwrap()])
        .spawn();
    let mut stdout = running.child.stdout.take().unwrap();
    let mut found = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = stdout.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        found.extend_from_slice(&buffer[..n]);
        std::thread::sleep(Duration::from_millis(50));
    }
    running.wait().expect(0);
    assert!(found == bytes, "{} of {} bytes", found.len(), bytes.len());
}

#[test]
fn standard_error_can_be_opened_again_and_a_background_child_keeps_nobody_waiting() {
    let script = "echo x > /dev/stderr; echo y > /dev/stdout; (sleep 1000; echo late) & echo end";
    let ended = Call::vm("").script(script).output().expect(0);
    assert_eq!(ended.stdout(), "y\nend\n");
    assert_eq!(ended.guest_stderr(), "x\n");
}

#[test]
fn standard_input_arrives_with_its_end() {
    let bytes = noise(3_000_000);
    let call = Call::vm("").with(|call| {
        call.stdin(Stdio::piped());
    });
    let mut running = call.run_in_guest(&["cat"]).spawn();
    let mut stdin = running.child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let ended = running.wait().expect(0);
    writer.join().unwrap();
    assert!(
        ended.output.stdout == bytes,
        "{} of {} bytes",
        ended.output.stdout.len(),
        bytes.len()
    );
}

#[test]
fn empty_input_and_input_that_nobody_reads() {
    Call::vm("").run_in_guest(&["cat"]).output().expect(0);
    let call = Call::vm("").with(|call| {
        call.stdin(Stdio::piped());
    });
    let mut running = call.run_in_guest(&["true"]).spawn();
    // Stays open until the end.
    let stdin = running.child.stdin.take();
    running.wait().expect(0);
    drop(stdin);
}

/// A process of root's takes init's own descriptor of the status port and leaves a line
/// open there: the verdict is not part of it.
#[test]
fn a_line_left_open_in_the_status_port_takes_no_verdict_with_it() {
    let python = include_str!("files/leave_line.py");
    let script = "python3 -c \"$0\"; exit 42";
    let command = ["sh", "-c", script, python];
    let ended = Call::vm("").run_in_guest(&command).output().expect(42);
    let stderr = ended.stderr();
    assert!(
        stderr.contains("warning: a process of the guest wrote to its status port"),
        "{stderr}"
    );
    assert!(
        stderr.contains("the first: odd") && !stderr.contains('\x1b'),
        "{stderr}"
    );
}
