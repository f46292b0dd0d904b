//! Our own words on standard error, and progress.
//!
//! Lines begin with `xtask:`, so that they can be told from what a guest prints.
//! On a terminal each running task is one line that is redrawn; elsewhere it is a
//! line when it starts and one now and then. With `-q` only errors are printed.
//! Results (test outcomes, lists) are not printed here but by [`crate::report`]
//! and the commands.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::PollFlags;

use crate::base::color::{ColorChoice, Paint};
use crate::base::{error, interrupt, live_terminal::LiveTerminal, secrets, shown, terminal};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: errors only.
    Quiet,
    #[default]
    Normal,
    /// `-v`: every command that is run, every decision.
    Verbose,
}

/// How often a task that is not on a terminal says where it is.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// The one door to standard error. Cloning is cheap; all clones share the live lines.
#[derive(Clone, Debug)]
pub struct Ui {
    verbosity: Verbosity,
    terminal: bool,
    live: MultiProgress,
    color: ColorChoice,
    /// What [`Ui::warn_once`] and [`Ui::info_once`] have said.
    said: Arc<Mutex<HashSet<String>>>,
}

impl Ui {
    pub fn new(verbosity: Verbosity) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !dumb;
        // Lines of plain text are of more use to a job that begins in the background.
        let terminal = terminal && terminal::in_foreground(std::io::stderr());
        let target = match terminal {
            true => ProgressDrawTarget::term_like_with_hz(Box::<LiveTerminal>::default(), 10),
            false => ProgressDrawTarget::hidden(),
        };
        Self {
            verbosity,
            terminal,
            live: MultiProgress::with_draw_target(target),
            color: ColorChoice::default(),
            said: Arc::default(),
        }
    }

    #[must_use]
    pub fn color(mut self, choice: ColorChoice) -> Self {
        self.color = choice;
        self
    }

    /// The colours of results on standard output.
    pub fn paint(&self) -> Paint {
        self.paint_on(std::io::stdout().is_terminal())
    }

    /// The colours of what is a terminal or not.
    pub fn paint_on(&self, terminal: bool) -> Paint {
        let variable = |name| std::env::var(name).ok();
        let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
        Paint::new(self.color, terminal, no_color.as_deref(), term.as_deref())
    }

    /// The same that says only errors, for what runs on behalf of something that says the rest.
    #[must_use]
    pub fn quiet(&self) -> Self {
        Self {
            verbosity: Verbosity::Quiet,
            ..self.clone()
        }
    }

    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether standard error is a terminal that can redraw a line.
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    pub fn info(&self, message: impl AsRef<str>) {
        if self.verbosity >= Verbosity::Normal {
            self.line(message.as_ref());
        }
    }

    /// Something that somebody must do now, or nothing goes on; said even with `-q`.
    pub fn request(&self, message: impl AsRef<str>) {
        self.line(message.as_ref());
    }

    pub fn verbose(&self, message: impl AsRef<str>) {
        if self.verbosity >= Verbosity::Verbose {
            self.line(message.as_ref());
        }
    }

    /// Something the user should know although it goes on.
    pub fn warn(&self, message: impl AsRef<str>) {
        if self.verbosity >= Verbosity::Normal {
            self.line(&format!("warning: {}", message.as_ref()));
        }
    }

    /// The same, unless this very warning was given before.
    pub fn warn_once(&self, message: impl AsRef<str>) {
        if self.first(message.as_ref()) {
            self.warn(message);
        }
    }

    /// [`Ui::info`], unless this very line was printed before.
    pub fn info_once(&self, message: impl AsRef<str>) {
        if self.first(message.as_ref()) {
            self.info(message);
        }
    }

    fn first(&self, message: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(message.to_owned())
    }

    /// The error that ends the command. The chain is one line; the lines of a log that belong
    /// to it come below, each with the prefix.
    pub fn error(&self, error: &anyhow::Error) {
        self.line(&format!("error: {error:#}"));
        error::lines(error).lines().for_each(|line| self.line(line));
    }

    /// Shows what a person waits for, until the returned value is dropped.
    pub fn task(&self, message: impl Into<String>) -> Task {
        self.task_above(None, message)
    }

    /// The same above the line of another task.
    pub fn task_above(&self, below: Option<&Task>, message: impl Into<String>) -> Task {
        let message = message.into();
        let live = self.terminal && self.verbosity >= Verbosity::Normal;
        let bar = live.then(|| {
            let bar = ProgressBar::no_length();
            let bar = match below.and_then(|task| task.bar.as_ref()) {
                Some(below) => self.live.insert_before(below, bar),
                None => self.live.add(bar),
            };
            // Cut to the terminal's width: a line that wraps is not redrawn.
            let style = ProgressStyle::with_template("xtask: {wide_msg} [{elapsed}]");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_message(line(&message));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        if bar.is_none() {
            self.info(&message);
        }
        Task {
            ui: self.clone(),
            message,
            bar,
            last_plain: Instant::now(),
        }
    }

    /// Asks a question that is answered with `y` or not, also with `-q`; see [`Ui::can_ask`].
    pub fn ask(&self, question: &str) -> Result<bool> {
        if std::io::stdin().is_terminal() {
            terminal::wait_for_foreground()?;
        }
        self.passthrough(|| {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "xtask: {} [y/N] ", line(question));
            let _ = stderr.flush();
        });
        let stdin = std::io::stdin();
        // Reading at once would sleep through signals.
        while interrupt::wait_for(&stdin, PollFlags::IN)
            .context("cannot wait for an answer")?
            .is_empty()
        {
            interrupt::check()?;
        }
        let mut answer = String::new();
        let read = stdin.read_line(&mut answer);
        read.context("cannot read the answer")?;
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }

    /// Whether there is somebody who can be asked: a terminal on both sides.
    pub fn can_ask() -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Writes whole lines of somebody else (a guest, a log) above the live line.
    pub fn passthrough(&self, write: impl FnOnce()) {
        self.live.suspend(write);
    }

    /// Text of ours and values in it: one line, whatever is in them.
    fn line(&self, text: &str) {
        let text = line(text);
        self.passthrough(|| {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr().lock(), "xtask: {text}");
        });
    }
}

/// What is shown of a text of ours with values in it.
fn line(text: &str) -> String {
    shown::line(&secrets::redacted(text))
}

pub struct Task {
    ui: Ui,
    message: String,
    bar: Option<ProgressBar>,
    last_plain: Instant,
}

impl Task {
    pub fn rename(&mut self, message: impl Into<String>) {
        self.message = message.into();
        if let Some(bar) = &self.bar {
            bar.set_message(line(&self.message));
        }
    }

    /// Says how far it is, e.g. `1,234 of about 2,100 objects`.
    pub fn update(&mut self, progress: impl AsRef<str>) {
        let text = format!("{}: {}", self.message, progress.as_ref());
        match &self.bar {
            Some(bar) => bar.set_message(line(&text)),
            None if self.last_plain.elapsed() >= PLAIN_INTERVAL => {
                self.last_plain = Instant::now();
                self.ui.info(text);
            }
            None => {}
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.ui.live.remove(bar);
        }
    }
}
