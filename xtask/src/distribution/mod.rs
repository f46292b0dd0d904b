//! Kernels as distributions package them: from their package files to a folder of the
//! work directory that can be booted.

pub mod compression;
pub mod cpio;
pub mod deb;
pub mod debian;
pub mod host;
pub mod image;
