//! What becomes of results: text on a terminal, and files.
//!
//! Every report but the terminal's is made from a whole [`crate::model::results::Results`].

pub mod diff;
pub mod files;
pub mod formats;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod matrix;
pub mod merge;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod text;
pub mod totals;
mod words;
