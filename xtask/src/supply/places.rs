//! Where kernels may come from: `--from local,release,build`.

use std::fmt;
use std::str::FromStr;

use crate::base::{error::Failure, suggest::nearest};

const NAMES: [&str; 3] = ["local", "release", "build"];

/// The places where a kernel is looked for, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// On this machine.
    pub local: bool,
    /// Among the assets of the release.
    pub release: bool,
    /// Nowhere: it is built, and what that needs is installed.
    pub build: bool,
}

impl Places {
    /// What is used if nothing was said. `setup` is `--setup`.
    pub fn usual(setup: bool) -> Self {
        Self {
            local: true,
            release: true,
            build: setup,
        }
    }
}

impl FromStr for Places {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut from = Self {
            local: false,
            release: false,
            build: false,
        };
        for name in text.split(',') {
            match name.trim() {
                "local" => from.local = true,
                "release" => from.release = true,
                "build" => from.build = true,
                name => {
                    let failure =
                        Failure::usage(format!("{name:?} is no place where kernels come from"));
                    return Err(match nearest(name, NAMES) {
                        Some(near) => failure.hint(format!("did you mean {near}?")),
                        None => failure.hint(format!("there is {}", NAMES.join(", "))),
                    });
                }
            }
        }
        Ok(from)
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = [self.local, self.release, self.build];
        let names = NAMES.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        let names = names.map(|(name, _)| *name).collect::<Vec<_>>();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_mistakes_are_named() {
        for (text, expected) in [
            ("local", "local"),
            ("build,local", "local,build"),
            ("release, local", "local,release"),
            ("release,release", "release"),
        ] {
            assert_eq!(text.parse::<Places>().unwrap().to_string(), expected);
        }
        assert_eq!(Places::usual(false).to_string(), "local,release");
        assert_eq!(Places::usual(true).to_string(), "local,release,build");
        for (text, expected) in [
            (
                "lokal",
                "\"lokal\" is no place where kernels come from (did you mean local?)",
            ),
            (
                "local,",
                "\"\" is no place where kernels come from (there is local, release, build)",
            ),
        ] {
            assert_eq!(text.parse::<Places>().unwrap_err().to_string(), expected);
        }
    }
}
