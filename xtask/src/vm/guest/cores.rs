//! Core dumps of a guest's programs: init has the kernel give them to a script
//! (core(5), "Piping core dumps to a program"), which writes them into a directory that is
//! shared with the host.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::vm::guest::Script;

/// Where the guest has the directory that keeps them.
pub const PLACE: &str = "/run/vmtest/cores";

const ENDING: &str = ".core";

/// The script, which the kernel gives a process, a signal, and the name of a program, which
/// may have blanks. A dump is called `RELEASE-PROGRAM-PROCESS-SIGNAL.core`.
pub fn handler(busybox: &Path, release: &str) -> Vec<u8> {
    let mut script = Script::default();
    script.raw(b"#!");
    script.raw(busybox.as_os_str().as_bytes());
    script.raw(b" sh\n");
    script.set("busybox", busybox.as_os_str());
    script.set("release", release);
    script.set("place", PLACE);
    script.set("ending", ENDING);
    script.raw(
        br#"# A dump holds what the program had in memory: it is its owner's alone.
umask 077
process=$1 signal=$(kill -l "$2")
shift 2
name=$place/$release-$*-$process-SIG$signal
number=
while [ -e "$name$number$ending" ]; do number=$((number - 1)); done
exec "$busybox" cat >"$name$number$ending"
"#,
    );
    script.0
}

/// The dumps of a kernel's programs in a directory of the host's.
pub fn listed(directory: &Path, release: &str) -> BTreeSet<PathBuf> {
    let prefix = format!("{release}-");
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.as_bytes();
        name.starts_with(prefix.as_bytes()) && name.ends_with(ENDING.as_bytes())
    });
    ours.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// The host's shell runs the script, as the kernel would call it.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a short command of a test")]
    fn each_dump_has_a_file_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("cores");
        std::fs::create_dir(&place).unwrap();
        let env = Path::new("/usr/bin/env");
        let script = handler(env, "6.1.0");
        let script = String::from_utf8(script).unwrap();
        let script = script.replace(PLACE, place.to_str().unwrap());
        for (words, dump) in [
            (["7", "11", "a b"], "one"),
            (["7", "11", "a b"], "two"),
            (["8", "6", "c"], "three"),
        ] {
            let mut child = Command::new("sh")
                .args(["-c", &script, "core"])
                .args(words)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(dump.as_bytes()).unwrap();
            drop(stdin);
            assert!(child.wait().unwrap().success());
        }
        std::fs::write(place.join("6.1.10-x-1-SIGSEGV.core"), "").unwrap();
        std::fs::write(place.join("6.1.0-notes"), "").unwrap();
        let found = listed(&place, "6.1.0").into_iter().map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        });
        let found = found.collect::<Vec<_>>();
        let found = found
            .iter()
            .map(|(name, dump)| (name.as_str(), dump.as_str()));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                ("6.1.0-a b-7-SIGSEGV-1.core", "two"),
                ("6.1.0-a b-7-SIGSEGV.core", "one"),
                ("6.1.0-c-8-SIGABRT.core", "three"),
            ]
        );
    }

    #[test]
    fn no_directory_has_no_dumps() {
        assert!(listed(Path::new("/nowhere/at/all"), "6.1.0").is_empty());
    }
}
