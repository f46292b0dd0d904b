//! Which release is meant: flags, else the work directory's `config.toml`, else
//! the release that drgn's project publishes.
//!
//! ```toml
//! [release]
//! repo = "osandov/drgn"
//! tag = "vmtest-assets"
//! api-url = "https://api.github.com"
//! ```

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use super::api::Repository;
use crate::base::{error::Failure, input, paths::Paths};
use crate::net::http::address;

/// The file in the work directory.
const FILE_NAME: &str = "config.toml";

/// The repository whose kernels are used, the tag of its release, and GitHub's API for everybody.
const DEFAULT: [&str; 3] = ["osandov/drgn", "vmtest-assets", "https://api.github.com"];

/// A release of a repository, and who is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub repository: Repository,
    pub tag: String,
    /// The address of the API, without a slash at its end.
    pub api_url: String,
}

/// What was said of it in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct Settings {
    /// `OWNER/NAME`.
    #[serde(rename = "repo")]
    pub repository: Option<String>,
    pub tag: Option<String>,
    pub api_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    release: Settings,
}

impl Settings {
    /// The settings in the work directory's `config.toml`; none if there is no file.
    pub fn load(paths: &Paths) -> Result<Self> {
        let path = paths.work().join(FILE_NAME);
        let text = input::text_if_any(&path, input::SMALL)
            .map_err(|error| Failure::usage(format!("{error:#}")))?;
        Ok(Self::parse(&path, &text.unwrap_or_default())?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let file = toml::from_str::<File>(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            let why = error.message().lines().next().unwrap_or_default();
            Failure::usage(format!("{}: line {line}: {why}", path.display()))
        })?;
        Ok(file.release)
    }
}

impl Location {
    /// What was said first counts: each field of the first settings that have it,
    /// else the default. `environment` is `GITHUB_API_URL`, which GitHub Actions
    /// sets.
    pub fn choose(said: &[&Settings], environment: Option<&str>) -> Result<Self, Failure> {
        let first = |field: fn(&Settings) -> &Option<String>, default: &str| {
            let found = said.iter().find_map(|settings| field(settings).clone());
            found.unwrap_or_else(|| default.to_owned())
        };
        let environment = environment.filter(|url| !url.is_empty());
        let [repository, tag, url] = DEFAULT;
        let url = first(|s| &s.api_url, environment.unwrap_or(url));
        let tag = first(|s| &s.tag, tag);
        // What git-check-ref-format(1) forbids anyway, as far as it matters here.
        if tag.is_empty() || tag.contains(|c: char| c.is_control() || c == ' ') {
            return Err(Failure::usage(format!("{tag:?} is not a tag")));
        }
        Ok(Self {
            repository: first(|s| &s.repository, repository).parse()?,
            tag,
            api_url: checked_url(&url)?,
        })
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.repository, self.tag)
    }
}

/// An address that a token may be sent to.
fn checked_url(url: &str) -> Result<String, Failure> {
    let hint = "e.g. https://api.github.com, or https://HOST/api/v3 of an enterprise server";
    let why = if address::origin(url).is_none() {
        "is not one of HTTP"
    } else if url.contains(['?', '#', '@', ' ']) {
        "has more than a host and a path"
    } else if !address::is_private(url) {
        "is not encrypted, and not on this machine"
    } else {
        return Ok(url.trim_end_matches('/').to_owned());
    };
    Err(Failure::usage(format!("the API's address {url:?} {why}")).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("config.toml"), text).map_err(|failure| failure.to_string())
    }

    fn settings(repository: &str, tag: &str, url: &str) -> Settings {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Settings {
            repository: some(repository),
            tag: some(tag),
            api_url: some(url),
        }
    }

    #[test]
    fn files_are_read_and_mistakes_are_named() {
        assert_eq!(parse(""), Ok(Settings::default()));
        let text = "[release]\nrepo = \"a/b\"\ntag = \"t\"\napi-url = \"https://x\"\n";
        assert_eq!(parse(text), Ok(settings("a/b", "t", "https://x")));
        let wrong = [
            "[relaese]\n",
            "[release]\nrepro = \"a/b\"\n",
            "[release]\ncolour = 1\n",
            "[release]\ntag = 1\n",
            "release = 1\n",
            "\n[release\n",
        ];
        expect_test::expect![[r#"
            config.toml: line 1: unknown field `relaese`, expected `release`
            config.toml: line 2: unknown field `repro`, expected one of `repo`, `tag`, `api-url`
            config.toml: line 2: unknown field `colour`, expected one of `repo`, `tag`, `api-url`
            config.toml: line 2: invalid type: integer `1`, expected a string
            config.toml: line 1: invalid type: integer `1`, expected a table
            config.toml: line 2: unclosed table, expected `]`
        "#]]
        .assert_eq(&wrong.map(|text| parse(text).unwrap_err() + "\n").concat());
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_the_default() {
        let flags = settings("f/f", "", "");
        let file = settings("c/c", "c", "");
        let chosen = Location::choose(&[&flags, &file], Some("https://e/api/v3/")).unwrap();
        assert_eq!(chosen.to_string(), "f/f (c)");
        assert_eq!(chosen.api_url, "https://e/api/v3");
        let chosen = Location::choose(&[], Some("")).unwrap();
        assert_eq!(chosen.to_string(), "osandov/drgn (vmtest-assets)");
        assert_eq!(chosen.api_url, DEFAULT[2]);
    }

    #[test]
    fn addresses_that_a_token_must_not_go_to_are_refused() {
        for url in ["http://127.0.0.1:80", "https://ghe.example.org/api/v3"] {
            let file = settings("", "", url);
            assert_eq!(Location::choose(&[&file], None).unwrap().api_url, url);
        }
        for url in [
            "http://api.github.com",
            "ftp://api.github.com",
            "api.github.com",
            "https://",
            "https://user:word@api.github.com",
            "https://api.github.com/?x",
        ] {
            let file = settings("", "", url);
            let failure = Location::choose(&[&file], None).unwrap_err();
            assert!(
                failure.message.starts_with("the API's address"),
                "{failure}"
            );
        }
    }
}
