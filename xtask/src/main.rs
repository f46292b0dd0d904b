//! `cargo xtask`: parse, dispatch, print the error, set the exit status.

mod cmd;
mod flags;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use flags::usage_failure;
use xtask::ui::{Ui, Verbosity};

fn main() -> ExitCode {
    let words = flags::arguments(std::env::args_os());
    let flags = match flags::Xtask::try_parse_from(words) {
        Ok(flags) => flags,
        Err(error) if is_help(&error) => {
            // Nobody is left to tell when the stream is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
        Err(error) => return fail(&Ui::new(Verbosity::Quiet), &usage_failure(&error).into()),
    };
    // The supervisor must not touch signals or the terminal before its child runs, which may
    // have been given secrets.
    match flags.command {
        flags::Command::Supervise(supervise) => {
            return ExitCode::from(cmd::supervise::run(&supervise));
        }
        flags::Command::Enclose(enclose) => {
            return ExitCode::from(cmd::supervise::enclose(enclose));
        }
        _ => {}
    }
    let ui = Ui::new(flags.global.verbosity()).color(flags.global.color());
    // Before there is a second thread.
    if let Err(error) = xtask::secrets::hide() {
        ui.warn(format!(
            "guests may be able to read the secrets in the environment: {error:#}"
        ));
    }
    let result = xtask::interrupt::install().and_then(|()| cmd::run(flags, &ui));
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => fail(&ui, &error),
    }
}

fn fail(ui: &Ui, error: &anyhow::Error) -> ExitCode {
    ui.error(error);
    ExitCode::from(xtask::failure::exit_status(error))
}

/// Whether clap wants to print help or the version, asked for or not.
fn is_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}
