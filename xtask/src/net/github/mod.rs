//! Kernels as assets of a GitHub release.
//!
//! [`api`] knows what is asked and what is answered, [`client`] asks. Facts about
//! the API are from docs.github.com/en/rest/releases and are cited where they are
//! used.

pub mod api;
pub mod cache;
pub mod client;
pub mod location;

pub use api::{Asset, AssetState};
pub use client::Client;
pub use location::Location;
