//! `xtask completions`: shell completions on standard output.

use crate::base::stdout::Stdout;
use std::io::Write;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::flags::{Completions, Xtask};

/// Writes the completion script.
pub fn run(flags: &Completions) -> Result<u8> {
    let mut script = Vec::new();
    // The name of the built binary: what a shell completes is a word that it knows
    // as a command, which `cargo xtask` is not.
    clap_complete::generate(flags.shell, &mut Xtask::command(), "xtask", &mut script);
    let mut stdout = Stdout;
    stdout
        .write_all(&script)
        .context("cannot write the completions")?;
    Ok(0)
}
