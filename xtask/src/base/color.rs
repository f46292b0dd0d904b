//! Colours of results on a terminal. They only repeat what words say.

/// What `--color` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    // And if it is not dumb, and `NO_COLOR` is not set (<https://no-color.org>).
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Decides. `no_color` and `term` are the values of the variables of these names.
    pub fn new(
        choice: ColorChoice,
        terminal: bool,
        no_color: Option<&str>,
        term: Option<&str>,
    ) -> Self {
        let able = terminal && !matches!(term, None | Some("" | "dumb"));
        let on = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            // Set to nothing is the same as not set, says the convention.
            ColorChoice::Auto => able && no_color.is_none_or(str::is_empty),
        };
        Self { on }
    }

    /// Green.
    pub fn good(self, words: &str) -> String {
        self.with("32", words)
    }

    /// Yellow.
    pub fn odd(self, words: &str) -> String {
        self.with("33", words)
    }

    /// Bold red.
    pub fn bad(self, words: &str) -> String {
        self.with("1;31", words)
    }

    /// A colour that tells the `number`th of several things from its neighbours and says nothing
    /// about them.
    pub fn nth(self, number: usize, words: &str) -> String {
        let codes = ["36", "35", "34", "96", "95", "94"];
        self.with(codes[number % codes.len()], words)
    }

    /// Select Graphic Rendition (ECMA-48, 8.3.117).
    fn with(self, code: &str, words: &str) -> String {
        match self.on {
            true => format!("\x1b[{code}m{words}\x1b[0m"),
            false => words.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let on = |choice, terminal, no_color, term| Paint::new(choice, terminal, no_color, term).on;
        use ColorChoice::{Always, Auto, Never};
        for (choice, terminal, no_color, term, expected) in [
            (Auto, true, None, Some("xterm"), true),
            (Auto, true, Some(""), Some("xterm"), true),
            (Auto, true, Some("1"), Some("xterm"), false),
            (Auto, true, None, Some("dumb"), false),
            (Auto, true, None, None, false),
            (Auto, false, None, Some("xterm"), false),
            (Always, false, Some("1"), None, true),
            (Never, true, None, Some("xterm"), false),
        ] {
            assert_eq!(
                on(choice, terminal, no_color, term),
                expected,
                "{choice:?} {terminal} {no_color:?} {term:?}"
            );
        }
    }

    #[test]
    fn words_stay_what_they_are() {
        let paint = Paint::new(ColorChoice::Always, false, None, None);
        assert_eq!(paint.good("passed"), "\x1b[32mpassed\x1b[0m");
        assert_eq!(Paint::default().bad("failed"), "failed");
        assert_ne!(paint.nth(0, "6.1"), paint.nth(1, "6.1"));
        assert_eq!(paint.nth(5, "6.1"), "\x1b[94m6.1\x1b[0m");
    }
}
