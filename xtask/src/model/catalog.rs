//! `kernel-configs/kernels.toml`: which series, flavors and architectures there
//! are, and the revision of our builds.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::base::suggest::{self, nearest};
use crate::base::{error::Failure, paths::Files};
use crate::model::arch::{self, Arch};
use crate::model::kernel_request::{DEFAULT_FLAVOR, KernelRequest};
use crate::model::version::{Series, split_options};

/// The file below `kernel-configs/`.
const FILE: &str = "kernels.toml";

/// What `kernels.toml` says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// The first number of `-vmtest<revision>.…` in the releases that we build.
    pub revision: u32,
    /// Oldest first.
    pub series: Vec<Series>,
    /// The fragments of every kernel, in the order of merging.
    pub fragments: Vec<String>,
    /// The most usual one first.
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
    pub description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKernels {
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
    pub fn load(files: &Files) -> Result<Self> {
        let text = files.read(FILE)?;
        let kernels = Self::parse(&text).with_context(|| format!("cannot read {FILE}"))?;
        let flavors = kernels.flavors.iter();
        let flavors = flavors.map(|flavor| format!("flavors/{}", flavor.name));
        let arches = kernels.architectures.iter();
        let arches = arches.map(|(arch, _)| format!("arch/{}", arch.name));
        for path in flavors.chain(arches) {
            ensure!(
                files.contains(&path),
                "{FILE} needs {path}, which is not there"
            );
        }
        Ok(kernels)
    }

    pub fn parse(text: &str) -> Result<Self> {
        let raw: RawKernels = toml::from_str(text)?;
        let mut series = Vec::new();
        for entry in &raw.series {
            let (major, minors) = range(entry)?;
            series.extend(minors.map(|minor| Series { major, minor }));
        }
        ensure!(
            series.is_sorted_by(|a, b| a < b),
            "the series are not in order, oldest first, each once"
        );
        let mut seen = Vec::new();
        for Flavor { name, .. } in &raw.flavor {
            ensure!(!seen.contains(&name), "flavor {name} stands there twice");
            ensure!(
                !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()),
                "flavor {name:?} is not made of small letters alone: it becomes a part of releases"
            );
            seen.push(name);
        }
        let mut architectures = Vec::new();
        for RawArchitecture { name, oldest } in &raw.architecture {
            let arch = arch::named(name, &[])?;
            architectures.push((arch, oldest.parse::<Series>()?));
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
        let mut arches = self.architectures.iter();
        let oldest = arches.find(|(known, _)| *known == arch);
        let known = move |series: &Series| oldest.is_some_and(|(_, oldest)| series >= oldest);
        self.series.iter().copied().filter(known)
    }

    /// `-K`: a request for each series of an architecture and each of these flavors, which may
    /// have options behind a `+` (the default one if there are none), oldest first.
    pub fn every_series(
        &self,
        arch: &Arch,
        flavors: &[String],
    ) -> Result<Vec<KernelRequest>, Failure> {
        for variant in flavors {
            self.flavor(split_options(variant).0)?;
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
        if requests.is_empty() {
            let message = format!("{FILE} has no series for {}", arch.name);
            return Err(Failure::usage(message));
        }
        Ok(requests)
    }

    pub fn require_series(&self, series: Series, arch: &Arch) -> Result<(), Failure> {
        if self.series_of(arch).any(|known| known == series) {
            return Ok(());
        }
        let known = self.series_of(arch).collect::<Vec<_>>();
        let failure = Failure::usage(format!("series {series} is not supported on {}", arch.name));
        let (Some(oldest), Some(newest)) = (known.first(), known.last()) else {
            return Err(failure);
        };
        // The newest of several that are equally near: 6.111 is more likely a slip
        // for 6.11 than for 6.1. And the major number is seldom what is misspelt.
        let same_major = |known: &Series| known.major == series.major;
        let any = known.iter().any(same_major);
        let candidates = known.iter().rev().filter(|known| same_major(known) || !any);
        let names = candidates.map(Series::to_string).collect::<Vec<_>>();
        let near = nearest(&series.to_string(), names.iter().map(String::as_str));
        let near = near.map(|name| format!("did you mean {name}?"));
        let range = format!("from {oldest} to {newest} there are {}", known.len());
        let range = (near.is_none() || !(oldest..=newest).contains(&&series)).then_some(range);
        let hints = near.into_iter().chain(range).collect::<Vec<_>>();
        Err(failure.hint(hints.join(" ")))
    }

    /// Those of the architectures that have a series; an error if none has.
    pub fn with_series(
        &self,
        series: Series,
        arches: &[&'static Arch],
    ) -> Result<Vec<&'static Arch>, Failure> {
        let (mut having, mut lacking) = (Vec::new(), Ok(()));
        for arch in arches {
            match self.require_series(series, arch) {
                Ok(()) => having.push(*arch),
                Err(failure) => lacking = Err(failure),
            }
        }
        match having.is_empty() {
            true => lacking.map(|()| having),
            false => Ok(having),
        }
    }

    pub fn flavor(&self, name: &str) -> Result<&Flavor, Failure> {
        let found = self.flavors.iter().find(|flavor| flavor.name == name);
        found.ok_or_else(|| {
            let names = self.flavors.iter().map(|flavor| &flavor.name);
            let hint = suggest::hint(name, &names.collect::<Vec<_>>());
            Failure::usage(format!("unknown flavor {name}")).hint(hint)
        })
    }
}

/// `6.1`, or `6.0 to 6.19` (inclusive, of one major version).
fn range(text: &str) -> Result<(u32, RangeInclusive<u32>)> {
    let (from, to) = text.split_once(" to ").unwrap_or((text, text));
    let (from, to) = (from.parse::<Series>()?, to.parse::<Series>()?);
    ensure!(
        from.major == to.major && from.minor <= to.minor,
        "{text:?} is not a range of series of one major version"
    );
    Ok((from.major, from.minor..=to.minor))
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
        let own = "4.9.*default+landlock 4.14.*default+landlock";
        assert_eq!(every(&["default+landlock"]).unwrap(), own);
        assert!(every(&["tinny"]).is_err());
        assert!(every(&["tinny+landlock"]).is_err());
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
                "unknown architecture \"vax\"",
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
            let error = Kernels::parse(&text).unwrap_err().to_string();
            // What is known of architectures stands behind it.
            assert_eq!(error.split(" (there is").next(), Some(expected));
        }
        assert!(Kernels::parse(&good.replace("revision", "revison")).is_err());
    }
}
