//! What becomes of results: text on a terminal, and files.
//!
//! Every report but the terminal's is made from a whole [`crate::model::results::Results`].

mod compact;
mod complaints;
pub(crate) mod diff;
pub(crate) mod files;
pub(crate) mod formats;
pub(crate) mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod kcidb;
pub mod markdown;
pub mod matrix;
pub(crate) mod merge;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;
pub mod text;
pub(crate) mod totals;
mod words;
