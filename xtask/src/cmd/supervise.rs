//! `xtask supervise`: see [`xtask::process`].

use std::io::Write;

use crate::flags::Supervise;

/// Runs the command below the supervisor; its exit status.
pub fn run(flags: &Supervise) -> u8 {
    let Some((program, arguments)) = flags.command.split_first() else {
        return 2;
    };
    xtask::process::supervise(program, arguments).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "xtask: error: {error:#}");
        126
    })
}
