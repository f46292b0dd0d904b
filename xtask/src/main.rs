//! `cargo xtask`: parse, dispatch, print the error, set the exit status.

mod cmd;
mod flags;

use std::process::ExitCode;

use clap::Parser;
use xtask::ui::Ui;

fn main() -> ExitCode {
    let flags = flags::Xtask::parse_from(flags::arguments(std::env::args_os()));
    // The supervisor must not touch signals or the terminal before its child runs.
    if let flags::Command::Supervise(supervise) = &flags.command {
        return ExitCode::from(cmd::supervise::run(supervise));
    }
    let ui = Ui::new(flags.global.verbosity());
    let result = xtask::interrupt::install().and_then(|()| cmd::run(flags, &ui));
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            ui.error(&error);
            ExitCode::from(xtask::failure::exit_status(&error))
        }
    }
}
