//! This machine: the repository, its files and processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The repository's top.
pub fn repository() -> &'static Path {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3);
    top.expect("the crate is in a folder of the repository")
}

/// Writes a file, and the folders that it is in.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// Writes a program.
pub fn write_program(path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
    write(&path, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What is in a folder, sorted; nothing if there is none.
pub fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths = entries.map(|e| e.unwrap().path()).collect::<Vec<_>>();
    paths.sort();
    paths
}

/// The names of what is in a folder, sorted; none if there is none.
pub fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries(folder).into_iter().map(name).collect()
}

/// A name that a killed run leaves: behind this prefix stand digits, and a checksum of all.
pub fn left_behind(prefix: &str) -> String {
    let name = format!("{prefix}0123abcd");
    format!("{name}{}", &crate::sha256(&name)[..8])
}

/// Identifiers and command lines of all processes.
pub fn processes() -> Vec<(u32, String)> {
    let numbers = names("/proc").into_iter().filter_map(|n| n.parse().ok());
    let lines = numbers.filter_map(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        Some((id, String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    lines.collect()
}

/// The processes that have the directory in their command line, but for this one.
pub fn processes_in(directory: &Path) -> Vec<(u32, String)> {
    let needle = directory.to_string_lossy();
    let mut found = processes();
    found.retain(|(id, line)| *id != std::process::id() && line.contains(&*needle));
    found
}

/// Waits until all of them are gone: one that was killed is seen for a moment.
#[track_caller]
pub fn no_process_is_left_in(directory: &Path) {
    wait_until("no process is left", || processes_in(directory).is_empty());
}

/// Waits for something that must come, however busy the machine is.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for what must become true.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}
