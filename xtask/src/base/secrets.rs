//! Keeps variables with secrets out of `/proc/PID/environ`, which the same user and root can read as
//! long as a program runs: the host's file system is a guest's root. A variable that is removed
//! stays there (proc(5)), so xtask executes itself again without them, once. Their values come along
//! in a memory file, which is emptied when they have been read.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use rustix::fs::MemfdFlags;
use rustix::process::DumpableBehavior;

use crate::base::environment::{TOKENS, is_secret};

type Pair = (OsString, OsString);

static SECRETS: OnceLock<Vec<Pair>> = OnceLock::new();

/// The memory file's name, by which the second start knows it.
const NAME: &str = "vmtest-secrets";

const OWN: &str = "/proc/self/exe";

/// Takes the secrets out of the environment. Called before anything else is started: it does
/// not return if it executes this program again.
pub fn hide() -> Result<()> {
    if let Some(secrets) = inherited().context("cannot read the secrets from the first start")? {
        // Also what is in memory must not be read by others of this user. Root can.
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let _ = SECRETS.set(secrets);
        return Ok(());
    }
    let (secrets, others) = std::env::vars_os().partition::<Vec<_>, _>(|(name, _)| is_secret(name));
    // Without /proc nobody can read them there, and we could not find ourselves.
    if secrets.is_empty() || !Path::new(OWN).exists() {
        return Ok(());
    }
    execute_again(&secrets, others)
}

/// The value of a variable, also if it is a secret.
pub fn variable(name: impl AsRef<OsStr>) -> Option<OsString> {
    let name = name.as_ref();
    let mut hidden = SECRETS.get().into_iter().flatten();
    let hidden = hidden.find(|(other, _)| other == name);
    hidden.map_or_else(|| std::env::var_os(name), |(_, value)| Some(value.clone()))
}

/// The secrets that programs of the user's may need, such as git, pip and a project's own steps:
/// all but the tokens for GitHub, which are ours alone.
pub fn credentials() -> impl Iterator<Item = &'static Pair> {
    let hidden = SECRETS.get().into_iter().flatten();
    hidden.filter(|(name, _)| !TOKENS.iter().any(|token| name == token))
}

/// The text without the tokens for GitHub: a server may repeat in its answer what it was sent.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for token in TOKENS.iter().filter_map(variable) {
        // As it is sent, and not so short that it is in other words.
        let token = token.to_string_lossy().trim().to_owned();
        if token.len() >= 8 && text.contains(&token) {
            text = Cow::Owned(text.replace(&token, "[token]"));
        }
    }
    text
}

fn execute_again(secrets: &[Pair], others: Vec<Pair>) -> Result<()> {
    // This process can be read until it is another program.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let file = written(secrets).context("cannot keep the secrets in memory")?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())
        .context("cannot hand the secrets over")?;
    let mut words = std::env::args_os();
    let error = Command::new(own_path())
        .arg0(words.next().unwrap_or_else(|| "xtask".into()))
        .args(words)
        .env_clear()
        .envs(others)
        .exec();
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
    Err(error).context("cannot execute this program again")
}

/// This program's path, so that its name in lists of processes stays what it is; its link in
/// `/proc` if another file is there by now.
fn own_path() -> PathBuf {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    match std::env::current_exe() {
        Ok(path) if identity(&path) == identity(Path::new(OWN)) => path,
        _ => OWN.into(),
    }
}

/// A memory file with `NAME=VALUE` strings, each with a NUL behind it.
fn written(secrets: &[Pair]) -> Result<File> {
    let usual = MemfdFlags::CLOEXEC;
    // A kernel before 6.3 does not know the flag; a newer one may insist on it
    // (Documentation/admin-guide/sysctl/vm.rst, `memfd_noexec`).
    let file = rustix::fs::memfd_create(NAME, usual | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(NAME, usual))?;
    let mut file = File::from(file);
    let mut bytes = Vec::new();
    for (name, value) in secrets {
        bytes.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
    }
    file.write_all(&bytes)?;
    Ok(file)
}

/// The secrets of the first start, if this is the second one.
fn inherited() -> Result<Option<Vec<Pair>>> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return Ok(None);
    };
    let numbers = entries.flatten().map(|entry| entry.file_name());
    let numbers = numbers.filter_map(|name| name.to_str()?.parse::<i32>().ok());
    let mut descriptors = numbers.collect::<Vec<_>>();
    let link = PathBuf::from(format!("/memfd:{NAME} (deleted)"));
    let path = |number: i32| format!("/proc/self/fd/{number}");
    let is_ours = |number: &i32| std::fs::read_link(path(*number)).is_ok_and(|to| to == link);
    let Some(ours) = descriptors.iter().copied().find(is_ours) else {
        return Ok(None);
    };
    // Otherwise every child would have it.
    descriptors.retain(|other| *other != ours);
    close_fds::set_fds_cloexec(ours, &descriptors);
    take(File::options().read(true).write(true).open(path(ours))?).map(Some)
}

/// Reads the secrets, which nobody can do again.
fn take(mut file: File) -> Result<Vec<Pair>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    file.set_len(0)?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Vec<Pair> {
    let strings = bytes.split(|&byte| byte == 0);
    let pairs = strings.filter_map(|string| {
        let mut words = string.splitn(2, |&byte| byte == b'=');
        let mut word = || Some(OsString::from_vec(words.next()?.to_owned()));
        Some((word()?, word()?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_what_they_were_and_can_be_had_once() {
        let pair = |name: &str, value: &[u8]| (name.into(), OsString::from_vec(value.to_owned()));
        let secrets = [
            pair("GITHUB_TOKEN", b"a=b\nc\xff"),
            pair("MY_SECRET", b""),
            pair("A_PASSWORD", &[b'x'; 300_000]),
        ];
        let file = written(&secrets).unwrap();
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let open = || File::options().read(true).write(true).open(&name).unwrap();
        assert_eq!(take(open()).unwrap(), secrets);
        assert_eq!(take(open()).unwrap(), []);
        assert_eq!(parse(b""), []);
        assert_eq!(parse(b"none\0A=1\0"), [pair("A", b"1")]);
    }
}
