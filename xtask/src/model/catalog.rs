//! `kernel-configs/kernels.toml`: which series, flavors and architectures there
//! are, and the revision of our builds.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::base::{error::Failure, paths::Files, suggest::nearest};
use crate::model::arch::{self, Arch};
use crate::model::kernel_request::{DEFAULT_FLAVOR, KernelRequest};
use crate::model::version::Series;

/// The file below `kernel-configs/`.
const FILE: &str = "kernels.toml";

/// What `kernels.toml` says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// The first number of `-vmtest<revision>.…` in the releases that we build.
    pub revision: u32,
    /// The supported series, oldest first.
    pub series: Vec<Series>,
    /// The fragments of every kernel, in the order of merging.
    pub fragments: Vec<String>,
    /// The flavors, the most usual one first.
    pub flavors: Vec<Flavor>,
    /// The oldest series of each architecture.
    pub architectures: Vec<(&'static Arch, Series)>,
}

/// A set of options that exercises other code of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flavor {
    /// The last part of a release, e.g. `default`.
    pub name: String,
    /// What is special about it, in a few words.
    pub description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    revision: u32,
    series: Vec<String>,
    fragments: Vec<String>,
    flavor: Vec<Flavor>,
    architecture: Vec<RawArchitecture>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArchitecture {
    name: String,
    oldest: String,
}

impl Kernels {
    /// Reads and checks `kernels.toml`.
    pub fn load(files: &Files) -> Result<Self> {
        let text = files.read(FILE)?;
        let kernels = Self::parse(&text).with_context(|| format!("cannot read {FILE}"))?;
        for flavor in &kernels.flavors {
            let path = format!("flavors/{}", flavor.name);
            ensure!(
                files.contains(&path),
                "{FILE} has a flavor {}, but there is no {path}",
                flavor.name
            );
        }
        for (arch, _) in &kernels.architectures {
            let path = format!("arch/{}", arch.name);
            ensure!(
                files.contains(&path),
                "{FILE} has an architecture {}, but there is no {path}",
                arch.name
            );
        }
        Ok(kernels)
    }

    /// Parses the text of `kernels.toml`.
    pub fn parse(text: &str) -> Result<Self> {
        let raw: Raw = toml::from_str(text)?;
        let mut series = Vec::new();
        for entry in &raw.series {
            let (from, minors) = range(entry)?;
            series.extend(minors.map(|minor| Series {
                major: from.major,
                minor,
            }));
        }
        ensure!(
            series.is_sorted_by(|a, b| a < b),
            "the series are not in order, oldest first, each once"
        );
        let mut seen = Vec::new();
        for flavor in &raw.flavor {
            ensure!(
                !seen.contains(&&flavor.name),
                "flavor {} stands there twice",
                flavor.name
            );
            ensure!(
                !flavor.name.is_empty() && flavor.name.chars().all(|c| c.is_ascii_lowercase()),
                "flavor {:?} is not made of small letters alone: it becomes a part of releases",
                flavor.name
            );
            seen.push(&flavor.name);
        }
        let mut architectures = Vec::new();
        for architecture in &raw.architecture {
            let Some(arch) = arch::find(&architecture.name) else {
                bail!("unknown architecture {}", architecture.name);
            };
            architectures.push((arch, architecture.oldest.parse::<Series>()?));
        }
        Ok(Self {
            revision: raw.revision,
            series,
            fragments: raw.fragments,
            flavors: raw.flavor,
            architectures,
        })
    }

    /// The series of an architecture, oldest first; none if it is not one of ours.
    pub fn series_of(&self, arch: &Arch) -> impl Iterator<Item = Series> {
        let oldest = self
            .architectures
            .iter()
            .find(|(known, _)| known.name == arch.name)
            .map(|(_, oldest)| *oldest);
        self.series
            .iter()
            .copied()
            .filter(move |series| oldest.is_some_and(|oldest| *series >= oldest))
    }

    /// `-K`: a request for each series of an architecture and each of these flavors (the
    /// default one if there are none), oldest first.
    pub fn every_series(
        &self,
        arch: &Arch,
        flavors: &[String],
    ) -> Result<Vec<KernelRequest>, Failure> {
        for flavor in flavors {
            self.flavor(flavor)?;
        }
        let default = [DEFAULT_FLAVOR.to_owned()];
        let flavors = if flavors.is_empty() {
            &default
        } else {
            flavors
        };
        let mut requests = Vec::new();
        for series in self.series_of(arch) {
            for flavor in flavors {
                requests.push(format!("{series}.*{flavor}").parse()?);
            }
        }
        Ok(requests)
    }

    /// That the series is supported on this architecture.
    pub fn require_series(&self, series: Series, arch: &Arch) -> Result<(), Failure> {
        if self.series_of(arch).any(|known| known == series) {
            return Ok(());
        }
        let known = self.series_of(arch).collect::<Vec<_>>();
        let failure = Failure::usage(format!("series {series} is not supported on {}", arch.name));
        let Some((oldest, newest)) = known.first().zip(known.last()) else {
            return Err(failure);
        };
        // The newest of several that are equally near: 6.111 is more likely a slip
        // for 6.11 than for 6.1. And the major number is seldom what is misspelt.
        let names = |major: Option<u32>| {
            known
                .iter()
                .rev()
                .filter(move |known| major.is_none_or(|major| known.major == major))
                .map(Series::to_string)
                .collect::<Vec<_>>()
        };
        let (same_major, all) = (names(Some(series.major)), names(None));
        let candidates = if same_major.is_empty() {
            all
        } else {
            same_major
        };
        let number = known.len();
        let hint = match nearest(&series.to_string(), candidates.iter().map(String::as_str)) {
            Some(name) if series <= *newest && series >= *oldest => format!("did you mean {name}?"),
            Some(name) => {
                format!("did you mean {name}? from {oldest} to {newest} there are {number}")
            }
            None => format!("from {oldest} to {newest} there are {number}"),
        };
        Err(failure.hint(hint))
    }

    /// The flavor of that name.
    pub fn flavor(&self, name: &str) -> Result<&Flavor, Failure> {
        let found = self.flavors.iter().find(|flavor| flavor.name == name);
        found.ok_or_else(|| {
            let names = || self.flavors.iter().map(|flavor| flavor.name.as_str());
            let hint = match nearest(name, names()) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("there is {}", names().collect::<Vec<_>>().join(", ")),
            };
            Failure::usage(format!("unknown flavor {name}")).hint(hint)
        })
    }
}

/// `6.1`, or `6.0 to 6.19` (inclusive, of one major version).
fn range(text: &str) -> Result<(Series, RangeInclusive<u32>)> {
    let Some((from, to)) = text.split_once(" to ") else {
        let series = text.parse::<Series>()?;
        return Ok((series, series.minor..=series.minor));
    };
    let (from, to) = (from.parse::<Series>()?, to.parse::<Series>()?);
    ensure!(
        from.major == to.major && from.minor <= to.minor,
        "{text:?} is not a range of series of one major version"
    );
    Ok((from, from.minor..=to.minor))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::base::embedded::CONFIGS;

    fn kernels() -> Kernels {
        Kernels::load(&Files::Embedded(CONFIGS)).unwrap()
    }

    fn series(text: &str) -> Series {
        text.parse().unwrap()
    }

    #[test]
    fn the_series_are_those_that_drgn_supports_and_7_3() {
        let kernels = kernels();
        let text = kernels
            .series
            .iter()
            .map(Series::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        expect!["4.9 4.14 4.19 5.4 5.10 5.11 5.12 5.13 5.14 5.15 5.16 5.17 5.18 5.19 6.0 6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 6.9 6.10 6.11 6.12 6.13 6.14 6.15 6.16 6.17 6.18 6.19 7.0 7.1 7.2 7.3"].assert_eq(&text);
        assert!(kernels.series.contains(&series("6.1")));
        assert!(!kernels.series.contains(&series("5.9")));
    }

    #[test]
    fn a_misspelt_series_is_answered_with_the_nearest() {
        let arch = arch::find("x86_64").unwrap();
        let kernels = kernels();
        let check = |text: &str, expected: Expect| {
            let error = kernels.require_series(series(text), arch).unwrap_err();
            expected.assert_eq(&error.to_string());
        };
        kernels.require_series(series("7.3"), arch).unwrap();
        check(
            "6.111",
            expect!["series 6.111 is not supported on x86_64 (did you mean 6.11?)"],
        );
        check(
            "6.99",
            expect!["series 6.99 is not supported on x86_64 (did you mean 6.19?)"],
        );
        check(
            "5.9",
            expect!["series 5.9 is not supported on x86_64 (did you mean 5.19?)"],
        );
        check(
            "9.1",
            expect![
                "series 9.1 is not supported on x86_64 (did you mean 7.1? from 4.9 to 7.3 there are 38)"
            ],
        );
    }

    #[test]
    fn flavors() {
        let kernels = kernels();
        assert_eq!(kernels.flavor("default").unwrap().name, "default");
        expect!["unknown flavor defualt (did you mean default?)"]
            .assert_eq(&kernels.flavor("defualt").unwrap_err().to_string());
        expect!["unknown flavor x (there is default, alternative, tiny)"]
            .assert_eq(&kernels.flavor("x").unwrap_err().to_string());
    }

    #[test]
    fn every_series_is_requested_in_order() {
        let mut kernels = kernels();
        kernels.series.truncate(2);
        kernels.flavors.push(Flavor {
            name: "tiny".to_owned(),
            description: String::new(),
        });
        let arch = arch::find("x86_64").unwrap();
        let every = |flavors: &[&str]| {
            let flavors = flavors.iter().map(|flavor| (*flavor).to_owned());
            let requests = kernels.every_series(arch, &flavors.collect::<Vec<_>>());
            requests.map(|requests| {
                let texts = requests.iter().map(ToString::to_string);
                texts.collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(every(&[]).unwrap(), "4.9.*default 4.14.*default");
        let both = "4.9.*tiny 4.9.*default 4.14.*tiny 4.14.*default";
        assert_eq!(every(&["tiny", "default"]).unwrap(), both);
        assert!(every(&["tinny"]).is_err());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = "revision = 1\nseries = [\"4.9\", \"5.10 to 5.12\"]\nfragments = []\nflavor = []\narchitecture = []\n";
        Kernels::parse(good).unwrap();
        for (from, to, expected) in [
            (
                "\"4.9\"",
                "\"5.12\"",
                "the series are not in order, oldest first, each once",
            ),
            (
                "5.10 to 5.12",
                "5.12 to 5.10",
                "\"5.12 to 5.10\" is not a range of series of one major version",
            ),
            (
                "5.10 to 5.12",
                "5.10 to 6.1",
                "\"5.10 to 6.1\" is not a range of series of one major version",
            ),
            (
                "\"4.9\"",
                "\"4.x\"",
                "\"4.x\" is not a kernel series (a series is written like 6.1)",
            ),
            (
                "architecture = []",
                "[[architecture]]\nname = \"vax\"\noldest = \"4.9\"",
                "unknown architecture vax",
            ),
            (
                "flavor = []",
                "flavor = [{name = \"a\", description = \"\"}, {name = \"a\", description = \"\"}]",
                "flavor a stands there twice",
            ),
            (
                "flavor = []",
                "flavor = [{name = \"a/b\", description = \"\"}]",
                "flavor \"a/b\" is not made of small letters alone: it becomes a part of releases",
            ),
        ] {
            let text = good.replace(from, to);
            assert_ne!(text, good);
            assert_eq!(Kernels::parse(&text).unwrap_err().to_string(), expected);
        }
        assert!(Kernels::parse(&good.replace("revision", "revison")).is_err());
    }
}
