//! This computer: what must be installed, and how to run what is not.

pub mod loader;
pub mod setup;
