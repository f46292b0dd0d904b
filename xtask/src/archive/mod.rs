//! Formats of packages and file systems: `tar.zst` out and in, cpio, deb, rpm.

pub mod compression;
pub mod cpio;
pub mod deb;
mod pack;
pub mod rpm;
mod tree;
mod unpack;

pub use pack::{PACKAGE_TIME, create};
pub use tree::{Tree, link_stays_inside, relative_path};
pub use unpack::{Choose, UnpackLimits, read_file, unpack_into};

use std::io::{self, Read};

use crate::base::{error::Failure, interrupt};

/// What a package of a distribution says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageInfo {
    pub name: String,
    /// The version of the package, not of the kernel: `6.15.3-200.fc42`.
    pub version: String,
    /// As the distribution calls it.
    pub architecture: String,
    /// The names of packages that must be installed with it.
    pub dependencies: Vec<String>,
}

/// An error while reading an archive: it is damaged, unless a signal or a limit of ours
/// was the reason.
fn unreadable(error: io::Error) -> anyhow::Error {
    let ours = error.get_ref().is_some_and(|inner| inner.is::<Failure>());
    let error = anyhow::Error::new(error);
    if ours {
        return error;
    }
    error.context("damaged archive")
}

/// A reader that fails after a signal.
struct Interruptible<R>(R);

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::check().map_err(io::Error::other)?;
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests;
