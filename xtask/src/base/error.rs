//! Errors are [`anyhow::Error`] everywhere. Where the exit status is not the general one, a
//! [`Failure`] stands somewhere in the chain; [`exit_status`] finds it.

use std::{fmt, io};

/// The kinds of failure that have an exit status of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Tests failed, the test runner died, or a check found something.
    Findings,
    /// The command line, a project file or another input of the user is wrong.
    Usage,
    Setup,
    /// A program that we ran failed. Callers may have something else to try.
    Program,
    /// A VM was lost, panicked or got stuck.
    Vm,
    NoTests,
    /// SIGINT, SIGTERM or their like arrived; the signal's number.
    Interrupted(i32),
}

impl FailureKind {
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Findings => 1,
            Self::Usage => 2,
            Self::Setup | Self::Program => 3,
            Self::Vm => 4,
            Self::NoTests => 5,
            Self::Interrupted(signal) => 128 + u8::try_from(signal).unwrap_or(2),
        }
    }
}

/// An error message with its kind and, where there is one, the remedy.
#[derive(Debug)]
pub struct Failure {
    pub kind: FailureKind,
    /// One line, lowercase, no full stop: what was tried, on what.
    pub message: String,
    pub hint: Option<String>,
    /// Lines of a log that belong to it, which are shown below the message.
    pub lines: String,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            lines: String::new(),
        }
    }

    /// Wrong input of the user: exit status 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// Could not be set up, fetched or built: exit status 3.
    pub fn setup(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Setup, message)
    }

    #[must_use]
    pub fn lines(mut self, lines: impl Into<String>) -> Self {
        self.lines = lines.into();
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// The exit status that an error stands for. An error without a [`Failure`] in
/// its chain is a set-up failure: everything the user can get wrong, and
/// everything that happens in a VM, is marked where it is found.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    kind(error).unwrap_or(FailureKind::Setup).exit_status()
}

/// The kind of failure in an error's chain, the outermost one first.
pub fn kind(error: &anyhow::Error) -> Option<FailureKind> {
    Some(error.chain().find_map(failure_in)?.kind)
}

/// An error as a new one: [`anyhow::Error`] cannot be cloned.
pub fn copy(error: &anyhow::Error) -> anyhow::Error {
    with_kind(error, kind(error).unwrap_or(FailureKind::Setup))
}

fn with_kind(error: &anyhow::Error, kind: FailureKind) -> anyhow::Error {
    let copy = Failure::new(kind, format!("{error:#}"));
    copy.lines(lines(error)).into()
}

/// Whether nothing else is to be tried after an error: it is a signal, or a mistake of the
/// user that would be made again.
pub fn is_final(error: &anyhow::Error) -> bool {
    matches!(
        kind(error),
        Some(FailureKind::Interrupted(_) | FailureKind::Usage)
    )
}

/// An error about something that the user did not name, a downloaded package for example:
/// what would be a usage error there is a set-up failure.
pub fn not_the_users(error: anyhow::Error) -> anyhow::Error {
    match kind(&error) {
        Some(FailureKind::Usage) => with_kind(&error, FailureKind::Setup),
        _ => error,
    }
}

/// The lines of a log that belong to an error; none: an empty string.
pub fn lines(error: &anyhow::Error) -> &str {
    let failures = error.chain().filter_map(failure_in);
    let lines = failures.map(|failure| failure.lines.as_str());
    lines.filter(|lines| !lines.is_empty()).last().unwrap_or("")
}

/// An error's message, and its lines below, for a report.
pub fn in_full(error: &anyhow::Error) -> String {
    match lines(error) {
        "" => format!("{error:#}"),
        lines => format!("{error:#}\n{lines}"),
    }
}

fn failure_in<'e>(cause: &'e (dyn std::error::Error + 'static)) -> Option<&'e Failure> {
    // What a reader or writer of ours fails with is inside such an error, and its
    // `source` is that of what is inside.
    let reader = cause.downcast_ref::<io::Error>();
    let inside = reader.and_then(io::Error::get_ref);
    let inside = inside.and_then(|inside| inside.downcast_ref());
    cause.downcast_ref().or(inside)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_kind_is_found_below_context() {
        let result: anyhow::Result<()> = Err(Failure::usage("unknown series 6.99")
            .hint("did you mean 6.9?")
            .into());
        let error = result.context("cannot build").unwrap_err();
        assert_eq!(exit_status(&error), 2);
        assert_eq!(
            format!("{error:#}"),
            "cannot build: unknown series 6.99 (did you mean 6.9?)"
        );
    }

    #[test]
    fn the_kind_is_found_in_an_error_of_a_stream() {
        let interrupted = Failure::new(FailureKind::Interrupted(2), "interrupted by SIGINT");
        let result: io::Result<()> = Err(io::Error::other(interrupted));
        let error = result.context("cannot pack vmlinux").unwrap_err();
        assert_eq!(exit_status(&error), 130);
    }

    #[test]
    fn exit_statuses_are_the_documented_ones() {
        assert_eq!(exit_status(&anyhow::anyhow!("x")), 3);
        for (kind, status) in [
            (FailureKind::Findings, 1),
            (FailureKind::Usage, 2),
            (FailureKind::Setup, 3),
            (FailureKind::Vm, 4),
            (FailureKind::NoTests, 5),
            (FailureKind::Interrupted(2), 130),
            (FailureKind::Interrupted(15), 143),
        ] {
            assert_eq!(kind.exit_status(), status);
        }
    }
}
