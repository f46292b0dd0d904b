//! Debian's archive, asked through the host's apt.

pub mod formats;
pub mod suites;
