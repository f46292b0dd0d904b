//! The compressions of packages and of kernel modules: gzip, xz and zstd, told apart by their
//! first bytes and read in this process, so that no program of the host is needed. Memory is
//! bounded, whatever a stream asks for.

use std::io::{self, Read};

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

/// The largest window of zstd that is accepted, as a binary logarithm: that of `zstd -d`.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The most memory that a decoder of xz may take, in KiB. Level 9 of xz(1), the highest,
/// needs 65 MiB.
const XZ_MEMORY: u32 = 80 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// What the first bytes of a stream say: the magic numbers of RFC 1952 (2.3.1), of
    /// "The .xz File Format" (2.1.1.1) and of RFC 8878 (3.1.1).
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// A reader of what is compressed in `reader`, which keeps no limit of what comes out.
    pub fn reader<'r>(self, reader: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::None => Box::new(reader),
            Self::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Self::Xz => Box::new(XzReader::new_mem_limit(reader, true, XZ_MEMORY)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// What is in a file that may be compressed, such as a kernel module.
pub fn decompress(bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
    let compression = Compression::of(bytes);
    let mut out = Vec::new();
    compression
        .reader(bytes)
        // One more, to see that there is more.
        .and_then(|reader| reader.take(limit.saturating_add(1)).read_to_end(&mut out))
        .with_context(|| format!("damaged: cannot decompress it as {compression:?}"))?;
    if out.len() as u64 > limit {
        bail!("more than {limit} bytes after decompression");
    }
    Ok(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"\x7fELF, which kernel modules begin with";

    /// [`TEXT`] as xz(1) writes it with `--check=crc32`, as `make modules_install` does.
    const XZ: &[u8] = &[
        253, 55, 122, 88, 90, 0, 0, 1, 105, 34, 222, 54, 2, 0, 33, 1, 16, 0, 0, 0, 168, 112, 142,
        134, 1, 0, 36, 127, 69, 76, 70, 44, 32, 119, 104, 105, 99, 104, 32, 107, 101, 114, 110,
        101, 108, 32, 109, 111, 100, 117, 108, 101, 115, 32, 98, 101, 103, 105, 110, 32, 119, 105,
        116, 104, 0, 0, 0, 0, 4, 202, 208, 225, 0, 1, 57, 37, 214, 236, 6, 101, 144, 66, 153, 13,
        1, 0, 0, 0, 0, 1, 89, 90,
    ];

    /// A stream of gzip.
    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A stream of xz with one block, whose chunks are not compressed ("The .xz File
    /// Format"; the chunks of LZMA2 are those of the kernel's lib/xz/xz_dec_lzma2.c).
    pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
        fn number(mut number: usize) -> Vec<u8> {
            let mut bytes = Vec::new();
            while number >= 0x80 {
                bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            bytes.push(number as u8);
            bytes
        }
        let padded = |mut bytes: Vec<u8>| {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let checked = |bytes: &[u8]| [bytes, &crc32(bytes)].concat();
        let mut block = checked(&[2, 0, 0x21, 1, 16, 0, 0, 0]);
        for (index, chunk) in bytes.chunks(0x1_0000).enumerate() {
            // The first one resets the dictionary.
            block.push(if index == 0 { 1 } else { 2 });
            block.extend((chunk.len() as u16).wrapping_sub(1).to_be_bytes());
            block.extend(chunk);
        }
        block.push(0);
        let unpadded = number(block.len() + 4);
        let index = [&[0, 1], &unpadded[..], &number(bytes.len())].concat();
        let index = checked(&padded(index));
        let flags = [0, 1];
        let size = (index.len() as u32 / 4 - 1).to_le_bytes();
        let footer = [&size[..], &flags].concat();
        [
            b"\xfd7zXZ\0",
            &checked(&flags)[..],
            &padded(block),
            &crc32(bytes),
            &index,
            &crc32(&footer),
            &footer,
            b"YZ",
        ]
        .concat()
    }

    fn crc32(bytes: &[u8]) -> [u8; 4] {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    }

    #[test]
    fn modules_are_read_however_they_are_compressed() {
        let zstd = zstd::encode_all(TEXT, 1).unwrap();
        for (bytes, compression) in [
            (TEXT, Compression::None),
            (&gzip(TEXT), Compression::Gzip),
            (XZ, Compression::Xz),
            (&xz(TEXT), Compression::Xz),
            (&zstd, Compression::Zstd),
        ] {
            assert_eq!(Compression::of(bytes), compression);
            let found = decompress(bytes, TEXT.len() as u64).unwrap();
            assert!(found == TEXT, "{compression:?}");
            // In two pieces, as parallel compressors write them.
            let twice = decompress(&[bytes, bytes].concat(), 1000).unwrap();
            assert!(twice == [TEXT, TEXT].concat(), "{compression:?}");
            let error = decompress(bytes, TEXT.len() as u64 - 1).unwrap_err();
            assert!(
                format!("{error:#}").contains("more than 36 bytes"),
                "{error:#}"
            );
        }
        assert_eq!(decompress(b"", 0).unwrap(), b"");
    }

    #[test]
    fn no_damage_gets_through_and_none_panics() {
        for good in [gzip(TEXT), XZ.to_vec(), checked_zstd()] {
            for at in 0..good.len() {
                // Before that it is not recognised.
                if at >= 6 {
                    assert!(decompress(&good[..at], 1000).is_err(), "cut at {at}");
                }
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    if let Ok(found) = decompress(&bad, 1000) {
                        // A few bits say nothing about the contents, such as gzip's time;
                        // and without its magic number it is not compressed.
                        assert!(found == TEXT || found == bad, "bit {bit} of byte {at}");
                    }
                }
            }
        }
    }

    fn checked_zstd() -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(TEXT).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bombs_are_not_unpacked() {
        let zeros = vec![0; 8 << 20];
        assert_eq!(decompress(&xz(&zeros), 8 << 20).unwrap(), zeros);
        for bomb in [gzip(&zeros), zstd::encode_all(&zeros[..], 1).unwrap()] {
            assert!(bomb.len() < 100_000);
            let error = decompress(&bomb, 1 << 20).unwrap_err();
            assert!(format!("{error:#}").contains("more than 1048576 bytes"));
        }
    }

    /// The header of a block says which filters come and how large the dictionary is; its
    /// checksum is right, as whoever means harm would have it.
    #[test]
    fn hostile_headers_of_xz_are_errors() {
        let header = |fields: &[u8]| {
            let mut header = fields.to_vec();
            header.resize((usize::from(fields[0]) + 1) * 4 - 4, 0);
            header.extend(crc32(&header));
            let length = (usize::from(XZ[12]) + 1) * 4;
            [&XZ[..12], &header, &XZ[12 + length..]].concat()
        };
        // As it is: LZMA2 alone, with the smallest dictionary that it can have.
        assert_eq!(
            decompress(&header(&[2, 0, 0x21, 1, 0]), 1000).unwrap(),
            TEXT
        );
        for fields in [
            // Filters that the header has no room for.
            &[1, 0xc3, 1, 1][..],
            &[1, 3, 3, 1],
            &[1, 3, 4, 0],
            &[2, 3, 3, 1, 0, 3, 1, 0],
            // No filter known by that number, and none that ends the chain.
            &[2, 0, 0x7f, 1, 0],
            &[2, 0, 3, 1, 0],
            // Dictionaries of 3 GiB, of 4 GiB less a byte, and of what there is no size for.
            &[2, 0, 0x21, 1, 39],
            &[2, 0, 0x21, 1, 40],
            &[2, 0, 0x21, 1, 63],
        ] {
            assert!(decompress(&header(fields), 1000).is_err(), "{fields:?}");
        }
    }
}
