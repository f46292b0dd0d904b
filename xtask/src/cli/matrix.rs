//! `cargo xtask matrix`: the jobs of a CI's matrix.

use crate::base::paths::Paths;
use crate::base::stdout;
use crate::run::ci_matrix::{self, Format};
use crate::supply::host_arch;
use anyhow::Result;

use super::kernels;
use crate::cli::flags::matrix::{Matrix, MatrixFormat};

/// Prints the jobs.
pub fn run(flags: &Matrix, paths: &Paths) -> Result<u8> {
    let requests = kernels::requests(&flags.kernels, paths)?;
    let jobs = ci_matrix::jobs(&requests, flags.partitions, host_arch()?)?;
    let format = match flags.format {
        MatrixFormat::Github => Format::Github,
        MatrixFormat::Json => Format::Json,
    };
    stdout::print(&ci_matrix::render(&jobs, format)?)?;
    Ok(0)
}
