//! `cargo xtask bench`: two commands timed against each other.

pub mod pairs;

use crate::base::env::Env;
use crate::base::stdout::Stdout;
use crate::cli::bench::pairs::Bench;
use anyhow::{Context, Result};

use crate::cli::flags;

/// Measures and prints the table.
pub fn run(env: &Env, flags: &flags::Bench) -> Result<u8> {
    let bench = Bench {
        ours: flags.ours.clone(),
        theirs: flags.theirs.clone(),
        runs: flags.runs,
        warm_up: flags.warm_up,
    };
    let logs = env.paths.logs();
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let pairs = pairs::measure(&bench, &logs.join("bench.log"), &env.ui)?;
    pairs::table(&pairs, &mut Stdout).context("cannot write to standard output")?;
    Ok(0)
}
