//! This computer: what must be installed.

pub mod setup;
