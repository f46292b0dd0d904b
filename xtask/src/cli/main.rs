//! `cargo xtask`: parse, dispatch, print the error, set the exit status.

use std::io::Write;
use std::process::ExitCode;

use crate::base::ui::{Ui, Verbosity};
use crate::cli;
use crate::cli::grammar::{self, usage_failure};
use clap::Parser;
use clap::error::ErrorKind;

/// As much as the main thread has elsewhere.
const STACK: usize = 8 << 20;

pub fn main() -> ExitCode {
    // Where the stack is limited to less (`ulimit -s`), the command line alone needs more. With
    // such a limit there may be no way to raise it for the main thread.
    let thread = std::thread::Builder::new().name("main".to_owned());
    match thread.stack_size(STACK).spawn(run) {
        Ok(thread) => ExitCode::from(thread.join().unwrap_or(PANICKED)),
        Err(_) => ExitCode::from(run()),
    }
}

/// The status of a Rust program whose main thread has panicked.
const PANICKED: u8 = 101;

/// The whole program; its exit status.
fn run() -> u8 {
    let words = grammar::arguments(std::env::args_os());
    let flags = match grammar::Xtask::try_parse_from(words) {
        Ok(flags) => flags,
        Err(error) if is_help(&error) => return help(&error),
        Err(error) => return fail(&Ui::new(Verbosity::Quiet), &usage_failure(&error).into()),
    };
    // The supervisor must not touch signals or the terminal before its child runs, which may
    // have been given secrets.
    match flags.command {
        grammar::Command::Supervise(supervise) => {
            return cli::supervise::run(&supervise);
        }
        grammar::Command::Enclose(enclose) => {
            return cli::supervise::enclose(enclose);
        }
        _ => {}
    }
    let ui = Ui::new(flags.global.verbosity()).color(flags.global.color);
    // Before anything else is started.
    if let Err(error) = crate::base::secrets::hide() {
        ui.warn(format!(
            "guests may be able to read the secrets in the environment: {error:#}"
        ));
    }
    let result = crate::base::interrupt::install().and_then(|()| cli::run(flags, &ui));
    match result {
        Ok(status) => status,
        Err(error) => fail(&ui, &error),
    }
}

/// Prints help or the version, or why it could not be.
fn help(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    if error.use_stderr() {
        // Nobody is left to tell when the stream is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
    } else if let Err(error) = crate::base::stdout::print(&text) {
        return fail(&Ui::new(Verbosity::Quiet), &error);
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

fn fail(ui: &Ui, error: &anyhow::Error) -> u8 {
    if !crate::base::stdout::is_closed(error) {
        ui.error(error);
    }
    crate::base::error::exit_status(error)
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
