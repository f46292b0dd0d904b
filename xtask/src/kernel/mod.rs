//! Makes and keeps kernels: configuration, source, build, distributions' kernels, packages.

pub mod build;
pub mod built_tree;
pub mod config;
pub mod distro;
pub mod manifest;
pub mod module;
pub mod package;
pub mod source;
pub mod store;
