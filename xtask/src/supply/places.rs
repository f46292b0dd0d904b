//! Where kernels may come from: `--from local,release,build`.

use std::str::FromStr;

use crate::base::{error::Failure, suggest::nearest};

const NAMES: [&str; 3] = ["local", "release", "build"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelPlace {
    /// This machine.
    Local,
    /// The assets of the release.
    Release,
    /// It is built, and what that needs is installed.
    Build,
}

impl FromStr for KernelPlace {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        Ok(match text {
            "local" => Self::Local,
            "release" => Self::Release,
            "build" => Self::Build,
            _ => {
                let message = format!("{text:?} is no place where kernels come from");
                return Err(Failure::usage(message).hint(match nearest(text, NAMES) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("there is {}", NAMES.join(", ")),
                }));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_mistakes_are_named() {
        assert_eq!(" build".parse::<KernelPlace>().unwrap(), KernelPlace::Build);
        for (text, expected) in [
            (
                "lokal",
                "\"lokal\" is no place where kernels come from (did you mean local?)",
            ),
            (
                "",
                "\"\" is no place where kernels come from (there is local, release, build)",
            ),
        ] {
            assert_eq!(
                text.parse::<KernelPlace>().unwrap_err().to_string(),
                expected
            );
        }
    }
}
