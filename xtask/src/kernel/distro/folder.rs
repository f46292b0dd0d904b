//! Folders that are made of package files, once: `<prefix><release>-<key>` beside the other
//! kernels of an architecture.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::base::{env::Env, lock, sha256::Sha256};
use crate::model::version::Release;

pub const KERNEL: &str = "distribution-";
pub const DEBUGINFO: &str = "debuginfo-";
pub const HEADERS: &str = "headers-";

/// Part of the key: to be raised when what is in a folder changes.
const RECIPE: &str = "1";

/// Digits of a key.
const KEY_LENGTH: usize = 12;

/// Tells folders of one release apart. The order of `parts` does not matter: for a kernel
/// the checksums of its package files, for a companion its package's name and version.
pub fn key<'p>(parts: impl IntoIterator<Item = &'p str>) -> String {
    let parts = parts.into_iter().collect::<BTreeSet<_>>();
    let parts = parts.into_iter().collect::<Vec<_>>().join("\n");
    let mut key = Sha256::of(format!("{RECIPE}\n{parts}\n"));
    key.truncate(KEY_LENGTH);
    key
}

pub fn name(prefix: &str, release: &Release, key: &str) -> String {
    format!("{prefix}{release}-{key}")
}

/// Prefix, release and key in the name of a folder; `None` if it is called otherwise.
fn split(folder: &Path) -> Option<(&'static str, &str, &str)> {
    let name = folder.file_name()?.to_str()?;
    let (prefix, rest) = [KERNEL, DEBUGINFO, HEADERS]
        .into_iter()
        .find_map(|prefix| Some((prefix, name.strip_prefix(prefix)?)))?;
    let (release, key) = rest.rsplit_once('-')?;
    let digits = key.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && key.len() == KEY_LENGTH).then_some((prefix, release, key))
}

/// The key of a kernel's folder; `None` if it is called otherwise.
pub fn kernel_key(folder: &Path) -> Option<&str> {
    let (prefix, _, key) = split(folder)?;
    (prefix == KERNEL).then_some(key)
}

/// The release that a companion's folder is of; `None` if it is called otherwise.
pub fn companion_release(folder: &Path) -> Option<Release> {
    let (prefix, release, _) = split(folder)?;
    (prefix != KERNEL).then(|| release.parse().ok())?
}

/// The lock under which a folder is made and removed. That of a kernel is known before its
/// release is.
pub fn lock_name(folder: &Path) -> Option<String> {
    let (prefix, release, key) = split(folder)?;
    let name = format!("{prefix}{release}-{key}");
    Some(if prefix == KERNEL {
        kernel_lock(key)
    } else {
        name
    })
}

pub fn kernel_lock(key: &str) -> String {
    format!("{KERNEL}{key}")
}

/// What is here already, or else what `make` makes while no other run does.
pub fn find_or_make<T>(
    env: &Env,
    lock: &str,
    find: impl Fn() -> Result<Option<T>>,
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if let Some(found) = find()? {
        return Ok(found);
    }
    let _lock = lock::take(env, lock)?;
    match find()? {
        Some(found) => Ok(found),
        None => make(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_depend_on_the_order_of_packages() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let sums = [a.as_str(), b.as_str()];
        assert_eq!(key(sums), key([sums[1], sums[0]]));
        assert_ne!(key(sums), key([sums[0]]));
        assert_eq!(key(sums).len(), KEY_LENGTH);
        let found = |name: &str| kernel_key(Path::new(name)).map(str::to_owned);
        assert_eq!(
            found("/w/distribution-6.1.0-56-amd64-0123456789ab").as_deref(),
            Some("0123456789ab")
        );
        for name in [
            "kernel-6.1.0-0123456789ab",
            "debuginfo-6.1.0-0123456789ab",
            "distribution-6.1.0-56-amd64",
            "distribution-6.1.0-0123456789ag",
            "distribution-6.1.0-0123456789abc",
            ".distribution-6.1.0-0123456789ab.tmp-x",
        ] {
            assert_eq!(found(name), None, "{name}");
        }
    }

    #[test]
    fn folders_say_of_which_kernel_they_are() {
        let release = "6.12.118+deb13-amd64".parse::<Release>().unwrap();
        let key = key(["package 6.12.118-1"]);
        for prefix in [DEBUGINFO, HEADERS] {
            let folder = Path::new("/w/x86_64").join(name(prefix, &release, &key));
            assert_eq!(companion_release(&folder), Some(release.clone()));
            let lock = lock_name(&folder).unwrap();
            assert_eq!(lock, folder.file_name().unwrap().to_str().unwrap());
        }
        let kernel = name(KERNEL, &release, &key);
        let lock = lock_name(Path::new(&kernel)).unwrap();
        assert_eq!(lock, format!("distribution-{key}"));
        for name in [
            "distribution-6.1.0-56-amd64-0123456789ab",
            "debuginfo-6.1.0-56-amd64",
            "headers-x-0123456789ab",
            ".debuginfo-6.1.0-0123456789ab.tmp-01234567",
        ] {
            assert_eq!(companion_release(Path::new(name)), None, "{name}");
        }
    }
}
