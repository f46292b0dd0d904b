//! `cargo xtask matrix`: the jobs of a CI's matrix.

use anyhow::Result;
use xtask::fetch::host_arch;
use xtask::layout::Layout;
use xtask::matrix::{self, Format};
use xtask::stdout;

use super::kernels;
use crate::flags::matrix::{Matrix, MatrixFormat};

/// Prints the jobs.
pub fn run(flags: &Matrix, layout: &Layout) -> Result<u8> {
    let requests = kernels::requests(&flags.kernels, layout)?;
    let jobs = matrix::jobs(&requests, flags.partitions, host_arch()?)?;
    let format = match flags.format {
        MatrixFormat::Github => Format::Github,
        MatrixFormat::Json => Format::Json,
    };
    stdout::print(&matrix::render(&jobs, format)?)?;
    Ok(0)
}
