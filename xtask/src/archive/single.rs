//! One file of an archive, without unpacking the rest.

use std::io::Read;

use anyhow::{Context, Result, bail};
use tar::EntryType;

use super::{Interruptible, unreadable};
use crate::archive::compression::Compression;

/// The contents of one file of an archive, read without unpacking anything; `None`
/// if it is not there. Reads no further than that file.
pub fn read_file(reader: impl Read, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    read_file_of(Compression::Zstd, reader, path, limit)
}

/// [`read_file`] of an archive that is compressed in another way.
pub fn read_file_of(
    compression: Compression,
    reader: impl Read,
    path: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>> {
    let reader = Interruptible {
        inner: compression.reader(reader).context("damaged archive")?,
        bytes: 0,
    };
    let mut archive = tar::Archive::new(reader);
    // Raw: the crate would read a long name of any size into memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path_bytes();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        if entry.header().entry_type() != EntryType::Regular || name != path.as_bytes() {
            continue;
        }
        if entry.size() > limit {
            bail!("{path} in it is larger than {limit} bytes");
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        return Ok(Some(bytes));
    }
    Ok(None)
}
