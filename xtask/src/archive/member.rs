//! One small file out of a package, without unpacking the rest.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::WINDOW_LOG_MAX;
use crate::interrupt;

/// The bytes of the file `name` in a package file; `None` if it has none. Everything
/// before it is decompressed and thrown away, so this takes up to a second.
///
/// # Errors
///
/// The package cannot be read, or the file has more than `limit` bytes.
pub fn member(package: &Path, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let context = || format!("cannot read {}", package.display());
    let file = File::open(package).with_context(context)?;
    let mut decoder = zstd::Decoder::new(file).with_context(context)?;
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .with_context(context)?;
    let mut archive = tar::Archive::new(decoder);
    for entry in archive.entries().with_context(context)? {
        interrupt::check()?;
        let mut entry = entry.with_context(context)?;
        let path = entry.path().with_context(context)?;
        if path.strip_prefix(".").unwrap_or(&path) != Path::new(name) {
            continue;
        }
        if entry.size() > limit {
            bail!(
                "{name} in {} has more than {limit} bytes",
                package.display()
            );
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).with_context(context)?;
        return Ok(Some(bytes));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_read_and_no_other() {
        let work = tempfile::tempdir().unwrap();
        let tree = work.path().join("tree");
        std::fs::create_dir_all(tree.join("build")).unwrap();
        std::fs::write(tree.join("build/manifest.json"), "another").unwrap();
        std::fs::write(tree.join("manifest.json"), "this").unwrap();
        let package = work.path().join("package");
        crate::archive::create(&tree, File::create(&package).unwrap(), 1).unwrap();
        let read = |name, limit| {
            member(&package, name, limit)
                .map(|bytes| bytes.map(|bytes| String::from_utf8(bytes).unwrap()))
        };
        assert_eq!(read("manifest.json", 4).unwrap().as_deref(), Some("this"));
        assert_eq!(read("manifest", 4).unwrap(), None);
        let error = read("manifest.json", 3).unwrap_err();
        assert!(error.to_string().contains("more than 3 bytes"), "{error:#}");

        let bytes = std::fs::read(&package).unwrap();
        std::fs::write(&package, &bytes[..bytes.len() / 2]).unwrap();
        let error = read("manifest.json", 4).unwrap_err();
        assert!(error.to_string().starts_with("cannot read "), "{error:#}");
    }
}
