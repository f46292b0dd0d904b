//! `cargo xtask bench`: two commands timed against each other.

use anyhow::{Context, Result};
use xtask::bench::{self, Bench};
use xtask::layout::Layout;
use xtask::stdout::Stdout;
use xtask::ui::Ui;

use crate::flags;

/// Measures and prints the table.
pub fn run(flags: &flags::Bench, layout: &Layout, ui: &Ui) -> Result<u8> {
    let bench = Bench {
        ours: flags.ours.clone(),
        theirs: flags.theirs.clone(),
        runs: flags.runs,
        warm_up: flags.warm_up,
    };
    let logs = layout.logs();
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let pairs = bench::measure(&bench, &logs.join("bench.log"), ui)?;
    bench::table(&pairs, &mut Stdout).context("cannot write to standard output")?;
    Ok(0)
}
