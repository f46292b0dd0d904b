//! The grammar of the command line. Flags become plain request and option values
//! at once; the library never sees a flag.

use std::{ffi::OsString, path::PathBuf};

use crate::base::{color::ColorChoice, error::Failure, ui::Verbosity};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

/// Tests on many Linux kernels, on this host's own userspace.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
pub struct Xtask {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Keep kernels, packages, sources and logs in this directory [default: $VMTEST_DIR, else
    /// build/vmtest of the workspace]
    #[arg(short, long, global = true, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Print more, such as every command that is run
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print results in colour; `auto`: on a terminal, unless $NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Install missing host tools first, after printing the command, and build kernels that cannot
    /// be fetched
    #[arg(long, global = true)]
    pub setup: bool,
}

/// What clap says about a wrong command line, in one line of ours: its first
/// paragraph, and its tips as the remedy.
pub fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = text.split("\n\n").next().unwrap_or_default();
    let message = words(first.strip_prefix("error: ").unwrap_or(first));
    Failure::usage(message).hint(remedy(error, &text))
}

/// The remedy of a wrong command line: what clap suggests, or what it does not know.
fn remedy(error: &clap::Error, text: &str) -> String {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => word,
        _ => "",
    };
    // Of `vm` and `test`, which pass on what is behind it.
    let passes_on = text.contains("[-- <");
    if !unknown.is_empty() && !unknown.starts_with('-') && passes_on {
        return format!("what is run in the guest goes behind --: -- {unknown}");
    }
    if matches!(unknown, "-k" | "--kernel") {
        return "this command takes kernels without -k; --help shows how".to_owned();
    }
    let tips = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        .filter(|tip| passes_on || !tip.contains("use '-- "))
        .collect::<Vec<_>>();
    match tips.as_slice() {
        [] => "--help says more".to_owned(),
        tips => tips.join("; "),
    }
}

impl Global {
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Test(Box<super::test::TestFlags>),
    #[command(subcommand)]
    Report(super::report::ReportCommand),
    Vm(Box<super::vm::VmFlags>),
    Kconfig(super::kconfig::KconfigFlags),
    BuildKernel(super::build_kernel::BuildKernelFlags),
    #[command(hide = true)]
    RestoreTerminal,
    Doctor(super::doctor::DoctorFlags),
    Ci(super::ci::CiFlags),
    Bisect(Box<super::bisect::BisectFlags>),
    List(super::list::ListFlags),
    Matrix(super::matrix::MatrixFlags),
    Package(super::package::PackageFlags),
    #[command(subcommand)]
    Release(super::publish::ReleaseCommand),
    Prune(super::prune::PruneFlags),
    Download(super::release::DownloadFlags),
    Upload(super::release::UploadFlags),
    #[command(hide = true)]
    Supervise(super::supervise::SuperviseFlags),
    #[command(hide = true)]
    Enclose(super::supervise::EncloseFlags),
}

/// The process's arguments, with `-Xqemu ARGUMENT`, as QEMU's users know it from
/// other tools, in a form that clap can read.
pub fn arguments(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut plain = false;
    let translate = |word: OsString| {
        plain |= word == "--";
        match !plain && word == "-Xqemu" {
            true => "--qemu-argument".into(),
            false => word,
        }
    };
    words.into_iter().map(translate).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_examples_and_every_option_help() {
        use clap::CommandFactory;
        let xtask = Xtask::command();
        xtask.clone().debug_assert();
        let mut bare = Vec::new();
        let mut commands = xtask.get_subcommands().collect::<Vec<_>>();
        commands.extend(
            xtask
                .get_subcommands()
                .flat_map(clap::Command::get_subcommands),
        );
        for command in commands.into_iter().filter(|c| !c.is_hide_set()) {
            let name = command.get_name();
            let examples = command.get_after_help().map(ToString::to_string);
            if !examples.is_some_and(|text| text.contains("Examples:\n  ")) {
                bare.push(format!("{name}: examples"));
            }
            if command.get_about().is_none() {
                bare.push(format!("{name}: about"));
            }
            for argument in command.get_arguments() {
                if argument.get_help().is_none() {
                    bare.push(format!("{name}: {}", argument.get_id()));
                }
            }
        }
        assert_eq!(bare, Vec::<String>::new());
    }

    #[test]
    fn a_wrong_command_line_is_one_line() {
        let wrong = |line: &str| {
            let error = Xtask::try_parse_from(line.split(' ')).unwrap_err();
            usage_failure(&error).to_string() + "\n"
        };
        expect_test::expect![[r#"
            unrecognized subcommand 'docter' (a similar subcommand exists: 'doctor')
            unexpected argument '--no-such-option' found (to pass '--no-such-option' as a value, use '-- --no-such-option')
            the following required arguments were not provided: <FILE>... (--help says more)
            invalid value 'tekst' for '--format <FORMAT>' [possible values: text, json] (a similar value exists: 'text')
            the argument '--quiet' cannot be used with '--verbose' (--help says more)
        "#]].assert_eq(
            &[
                "xtask docter",
                "xtask vm --no-such-option",
                "xtask upload",
                "xtask list --format tekst",
                "xtask ci -q -v",
            ]
            .map(wrong)
            .concat(),
        );
    }

    #[test]
    fn the_grammar_is_consistent() {
        Xtask::command().debug_assert();
    }

    #[test]
    fn qemu_arguments_keep_their_order_and_stop_at_two_dashes() {
        let words = ["xtask", "vm", "-Xqemu", "-s", "--", "-Xqemu"].map(OsString::from);
        assert_eq!(
            arguments(words),
            ["xtask", "vm", "--qemu-argument", "-s", "--", "-Xqemu"].map(OsString::from)
        );
    }
}
