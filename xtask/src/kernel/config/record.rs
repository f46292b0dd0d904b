//! On which real source the configuration was tried, and in which of it each option was there.
//!
//! `kernel-configs/audited.toml` has it, so that a wrong range or name in a fragment is found
//! without a source tree. `kernel-configs/README.md` describes the format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::base::paths::Files;
use crate::model::version::{Series, Version};
use crate::model::{arch::Arch, catalog::Kernels};

/// The file below `kernel-configs/`.
pub const RECORD_FILE: &str = "audited.toml";

const HEAD: &str = "\
# On which releases each architecture was configured, and which of them have each option.
# `cargo xtask kconfig --record DIR…` writes this file; README.md describes it.

";

/// The scope of what holds wherever no other scope of the option says something else.
const EVERYWHERE: &str = "all";

/// In which releases an option is there, and in which it is not.
type Presence = BTreeMap<Version, bool>;

#[derive(Debug)]
pub struct ConfigRecord {
    /// By architecture.
    audited: BTreeMap<String, BTreeSet<Version>>,
    /// By release: what was built of it and ran.
    pub built: BTreeMap<String, String>,
    /// By name, without `CONFIG_`, then by architecture and flavor.
    options: BTreeMap<String, BTreeMap<(String, String), Presence>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    audited: BTreeMap<String, String>,
    built: BTreeMap<String, String>,
    /// By scope (`all`, an architecture, or an architecture and a flavor) and name.
    options: BTreeMap<String, BTreeMap<String, String>>,
}

impl ConfigRecord {
    pub fn load(files: &Files) -> Result<Self> {
        let kernels = Kernels::load(files)?;
        let text = files.read(RECORD_FILE)?;
        Self::parse(&text, &kernels).with_context(|| format!("cannot read {RECORD_FILE}"))
    }

    pub fn parse(text: &str, kernels: &Kernels) -> Result<Self> {
        let raw: RawRecord = toml::from_str(text)?;
        let mut record = Self {
            audited: BTreeMap::new(),
            built: raw.built,
            options: BTreeMap::new(),
        };
        for (arch, releases) in raw.audited {
            let releases = releases.split_whitespace().map(str::parse);
            let releases = releases.collect::<Result<_, _>>()?;
            record.audited.insert(arch, releases);
        }
        let all = record.audited.values().flatten().copied();
        let all = all.collect::<BTreeSet<_>>();
        for (arch, _) in &kernels.architectures {
            let audited = record.audited.get(arch.name).cloned().unwrap_or_default();
            for flavor in &kernels.flavors {
                let both = format!("{}-{}", arch.name, flavor.name);
                // Later ones are more exact.
                for scope in [EVERYWHERE, arch.name, &both] {
                    for (name, text) in raw.options.get(scope).into_iter().flatten() {
                        let mut presence = presence(text, &all)
                            .with_context(|| format!("{name} of {scope}: {text:?}"))?;
                        presence.retain(|release, _| audited.contains(release));
                        let pair = (arch.name.to_owned(), flavor.name.clone());
                        let pairs = record.options.entry(name.clone()).or_default();
                        pairs.insert(pair, presence);
                    }
                }
            }
        }
        Ok(record)
    }

    /// Takes in a release that was configured for an architecture, and by name and flavor whether
    /// it has an option.
    pub fn add(&mut self, arch: &Arch, release: Version, found: &BTreeMap<(String, String), bool>) {
        let audited = self.audited.entry(arch.name.to_owned()).or_default();
        audited.insert(release);
        for ((name, flavor), is_there) in found {
            let pairs = self.options.entry(name.clone()).or_default();
            let pair = (arch.name.to_owned(), flavor.clone());
            pairs.entry(pair).or_default().insert(release, *is_there);
        }
    }

    /// The releases that an architecture was configured on, oldest first.
    pub fn releases(&self, arch: &Arch) -> impl Iterator<Item = Version> {
        self.audited.get(arch.name).into_iter().flatten().copied()
    }

    /// Says it if no release of a series was configured.
    pub fn untried(&self, arch: &Arch, series: Series) -> Option<String> {
        let known = self.releases(arch).any(|release| release.series == series);
        (!known).then(|| {
            let name = arch.name;
            format!("untried: nobody has configured any {series} for {name} with these options")
        })
    }

    /// The text of the file. Options that are not among `names` are left out.
    pub fn text(&self, names: &BTreeSet<String>) -> String {
        let mut text = HEAD.to_owned() + "[audited]\n";
        for (arch, releases) in &self.audited {
            let releases = releases.iter().map(ToString::to_string);
            let releases = releases.collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "{arch} = \"{releases}\"");
        }
        text += "\n# What of them was built, booted and passed drgn's suite; a person writes it.\n[built]\n";
        for (release, what) in &self.built {
            let _ = writeln!(text, "\"{release}\" = \"{what}\"");
        }
        for (scope, options) in self.scopes(names) {
            let _ = writeln!(text, "\n[options.{scope}]");
            for (name, ranges) in options {
                let _ = writeln!(text, "{name} = \"{ranges}\"");
            }
        }
        text
    }

    /// By scope and name the ranges, with as few scopes as possible.
    fn scopes(&self, names: &BTreeSet<String>) -> BTreeMap<String, BTreeMap<&str, String>> {
        let all = self.audited.values().flatten().copied();
        let all = all.collect::<BTreeSet<_>>();
        let mut scopes = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (name, pairs) in self
            .options
            .iter()
            .filter(|(name, _)| names.contains(*name))
        {
            let agrees = |a: &Presence, b: &Presence| {
                b.iter()
                    .all(|(release, there)| a.get(release) == Some(there))
            };
            let agreeing = |usual: &&Presence| pairs.values().filter(|b| agrees(usual, b)).count();
            let Some(usual) = pairs.values().max_by_key(agreeing) else {
                continue;
            };
            let mut put = |scope: String, presence, among: &BTreeSet<Version>| {
                let options = scopes.entry(scope).or_default();
                options.insert(name.as_str(), ranges(presence, among));
            };
            put(EVERYWHERE.to_owned(), usual, &all);
            for ((arch, flavor), presence) in pairs {
                let flavors = pairs.iter().filter(|((other, _), _)| other == arch);
                let is_same = flavors.clone().all(|(_, other)| other == presence);
                let scope = match is_same {
                    true => arch.clone(),
                    false => format!("{arch}-{flavor}"),
                };
                if !agrees(usual, presence) {
                    put(scope, presence, &self.audited[arch]);
                }
            }
        }
        scopes
    }
}

/// `4.9.0 to 6.1.192, 6.4.6 not 6.5.0 to 7.3.4`.
fn ranges(presence: &Presence, among: &BTreeSet<Version>) -> String {
    let states = among.iter().map(|release| (release, presence.get(release)));
    let states = states.collect::<Vec<_>>();
    let of = |state: bool| {
        let runs = states.chunk_by(|(_, a), (_, b)| a == b);
        let runs = runs.filter(|run| run[0].1 == Some(&state));
        let texts = runs.map(|run| match run {
            [(only, _)] => only.to_string(),
            [(first, _), .., (last, _)] => format!("{first} to {last}"),
            [] => String::new(),
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    let absent = of(false);
    match absent.is_empty() {
        true => of(true),
        false => format!("{} not {absent}", of(true)).trim_start().to_owned(),
    }
}

/// The opposite of [`ranges`].
fn presence(text: &str, among: &BTreeSet<Version>) -> Result<Presence> {
    let (there, absent) = match text.strip_prefix("not ") {
        Some(absent) => ("", absent),
        None => text.split_once(" not ").unwrap_or((text, "")),
    };
    let mut presence = Presence::new();
    for (part, state) in [(there, true), (absent, false)] {
        for range in part.split(", ").filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once(" to ").unwrap_or((range, range));
            let (first, last) = (first.parse::<Version>()?, last.parse::<Version>()?);
            ensure!(first <= last, "{range:?} is empty");
            for release in among.range(first..=last) {
                presence.insert(*release, state);
            }
        }
    }
    Ok(presence)
}

#[cfg(test)]
mod tests;
