//! `xtask supervise` and `xtask enclose`: see [`crate::base::process`] and [`crate::vm::enclosure`].

use std::{ffi::OsString, io::Write, path::PathBuf};

use crate::base::shown;
use crate::vm::enclosure::Enclosure;
use clap::Args;

/// Run a command that dies with the process that started this one
#[derive(Args, Debug)]
pub struct SuperviseFlags {
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Execute a program that sees little of this host's /proc, /sys and /dev
#[derive(Args, Debug)]
pub struct EncloseFlags {
    #[arg(long)]
    pub staging: PathBuf,
    #[arg(long)]
    pub note: PathBuf,
    #[arg(long)]
    pub keep: Vec<PathBuf>,
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Runs the command below the supervisor; its exit status.
pub fn run(flags: &SuperviseFlags) -> u8 {
    let Some((program, arguments)) = flags.command.split_first() else {
        return 2;
    };
    crate::base::process::supervise(program, arguments).unwrap_or_else(|error| {
        let text = shown::line(&format!("{error:#}"));
        let _ = writeln!(std::io::stderr(), "xtask: error: {text}");
        126
    })
}

/// Executes the command in a mount namespace; the exit status if that fails.
pub fn enclose(flags: EncloseFlags) -> u8 {
    let enclosure = Enclosure {
        staging: flags.staging,
        note: flags.note,
        keep: flags.keep,
    };
    let error = enclosure.execute(&flags.command);
    // QEMU's own words begin with a name too.
    let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
    126
}
