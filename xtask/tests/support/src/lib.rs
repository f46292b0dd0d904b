//! What the tests share: those who play QEMU, GitHub and the packages' hosts, and the
//! runner of the binary. It knows nothing of `xtask`'s library, so that it is compiled
//! beside it, and a test that reads what it wrote shows the format.

pub mod binary;
pub mod fake_kernel;
pub mod fake_qemu;
pub mod github_server;
pub mod host;
pub mod package_files;

/// The SHA-256 of these bytes: 64 lower-case hexadecimal digits.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes.as_ref());
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}
