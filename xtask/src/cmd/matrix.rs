//! `cargo xtask matrix`: the jobs of a CI's matrix.

use std::io::Write;

use anyhow::{Context, Result};
use xtask::fetch::host_arch;
use xtask::layout::Layout;
use xtask::matrix::{self, Format};

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
    std::io::stdout()
        .write_all(matrix::render(&jobs, format)?.as_bytes())
        .context("cannot write to standard output")?;
    Ok(0)
}
