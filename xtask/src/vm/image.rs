//! Boot images that QEMU may not be able to start as they are: compressed as a whole, which old
//! ones take for some architectures only, or EFI applications that decompress themselves, for
//! which there would have to be firmware. They are unwrapped into the run's directory.
//! kexec_file_load(2) takes neither.

use std::path::Path;

use anyhow::{Context, Result};

use crate::archive::compression::{self, Compression};
use crate::base::{disk, error::Failure, input};

/// Bytes of an image that say whether it is wrapped.
const HEAD: u64 = 32;

/// More than any kernel has in memory, in bytes.
const LIMIT: u64 = 512 << 20;

/// Whether an image has to be unwrapped.
pub fn is_wrapped(image: &Path) -> Result<bool> {
    let head = input::beginning(image, HEAD)?;
    Ok(Compression::of(&head) == Compression::Gzip || zboot(&head).is_some())
}

/// Where the kernel is in an EFI application that decompresses itself, and how it is compressed,
/// in words (the kernel's `drivers/firmware/efi/libstub/zboot-header.S`).
fn zboot(head: &[u8]) -> Option<(usize, usize, String)> {
    let number = |at: usize| {
        let bytes = head.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if head.get(..2)? != b"MZ" || head.get(4..8)? != b"zimg" {
        return None;
    }
    let name = head.get(24..32)?.split(|byte| *byte == 0).next()?;
    Some((
        number(8)?,
        number(12)?,
        String::from_utf8_lossy(name).into_owned(),
    ))
}

/// Writes what is in a wrapped image to `goal`.
pub fn unwrap(image: &Path, goal: &Path) -> Result<()> {
    let bytes = input::bytes(image, input::LARGE)?;
    let damaged = || format!("the boot image {} is damaged", image.display());
    let packed = match zboot(&bytes) {
        Some((at, size, method)) => {
            let packed = at.checked_add(size).and_then(|end| bytes.get(at..end));
            let packed = packed.with_context(damaged)?;
            if Compression::of(packed) == Compression::None {
                let message = format!(
                    "the kernel in the boot image {} is compressed with {method}, which cannot be \
                     decompressed here",
                    image.display()
                );
                return Err(Failure::setup(message).into());
            }
            packed
        }
        None => &bytes,
    };
    disk::write(
        goal,
        compression::decompress(packed, LIMIT).with_context(damaged)?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::compression::tests::gzip;

    #[test]
    fn what_qemu_cannot_start_is_unwrapped() {
        let work = tempfile::tempdir().unwrap();
        let [image, goal] = ["image", "goal"].map(|name| work.path().join(name));
        let unwrapped = |bytes: &[u8]| {
            std::fs::write(&image, bytes).unwrap();
            let wrapped = is_wrapped(&image).unwrap();
            wrapped.then(|| {
                unwrap(&image, &goal).map_err(|error| format!("{error:#}"))?;
                Ok::<_, String>(std::fs::read(&goal).unwrap())
            })
        };
        let zboot = |packed: &[u8], method: &[u8]| {
            let mut bytes = [b"MZ\0\0zimg", &64_u32.to_le_bytes()[..]].concat();
            bytes.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
            bytes.resize(24, 0);
            bytes.extend(method);
            bytes.resize(64, 0);
            // Its length stands behind what is compressed otherwise than with gzip.
            [&bytes, packed, &[1, 2, 3, 4]].concat()
        };
        assert_eq!(unwrapped(&gzip(b"kernel")), Some(Ok(b"kernel".to_vec())));
        let packed = zstd::encode_all(&b"kernel"[..], 1).unwrap();
        for image in [zboot(&gzip(b"kernel"), b"gzip"), zboot(&packed, b"zstd")] {
            assert_eq!(unwrapped(&image), Some(Ok(b"kernel".to_vec())));
            let cut = unwrapped(&image[..image.len() - 8]).unwrap();
            assert!(cut.unwrap_err().ends_with("image is damaged"));
        }
        let other = unwrapped(&zboot(b"LZ4", b"lz4")).unwrap().unwrap_err();
        assert!(other.contains(" is compressed with lz4, which "), "{other}");
        assert_eq!(
            unwrapped(&gzip(b"x")[..9]).unwrap().map_err(|_| ()),
            Err(())
        );
        for plain in [&b"MZ\0\0 plain Image"[..], b"", b"\x7fELF"] {
            assert_eq!(unwrapped(plain), None);
        }
    }
}
