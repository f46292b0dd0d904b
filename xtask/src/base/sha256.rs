//! SHA-256, as hexadecimal digits: checksums of sources and packages, and keys.
//!
//! The implementation is `ring`'s, which is compiled for TLS anyway (FIPS 180-4).

use ring::digest::{Context, Digest, SHA256, digest};

#[derive(Clone)]
pub struct Sha256(Context);

impl Sha256 {
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// Takes in a part behind its length: without that, bytes that move from one part to the
    /// next would leave the checksum as it was.
    pub fn part(&mut self, bytes: impl AsRef<[u8]>) {
        self.update((bytes.as_ref().len() as u64).to_le_bytes());
        self.update(bytes);
    }

    /// 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn finish(self) -> String {
        hexadecimal(&self.0.finish())
    }

    /// The checksum of `bytes`: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> String {
        hexadecimal(&digest(&SHA256, bytes.as_ref()))
    }

    /// The checksum of `bytes`, as 32 bytes.
    #[must_use]
    pub fn bytes_of(bytes: impl AsRef<[u8]>) -> [u8; 32] {
        let mut found = [0; 32];
        found.copy_from_slice(digest(&SHA256, bytes.as_ref()).as_ref());
        found
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

fn hexadecimal(digest: &Digest) -> String {
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_s_example_in_one_piece_and_in_several() {
        // FIPS 180-4's example for SHA-256 ("abc"), as NIST publishes it.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of("abc"), expected);
        let mut parts = Sha256::default();
        parts.update("a");
        let early = parts.clone();
        parts.update(b"bc");
        assert_eq!(parts.finish(), expected);
        assert_ne!(early.finish(), expected);
        assert_eq!(Sha256::bytes_of("abc")[..2], [0xba, 0x78]);
    }
}
