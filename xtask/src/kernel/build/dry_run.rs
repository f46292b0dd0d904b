//! What would be built: `build-kernel --dry-run`. Nothing is fetched but lists of versions.

use std::fmt;

use anyhow::Result;

use super::{BuildRequest, existing, identify, toolchain};
use crate::base::{env::Env, error::is_final};
use crate::kernel::config::{self, record::ConfigRecord};
use crate::kernel::source::{FoundSource, WantedSource};
use crate::model::catalog::Kernels;

/// What would be done for one request.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The version or the tree, and the flavor, as they were asked for.
    asked: String,
    /// The source, or in one line why it cannot be had.
    source: Result<PlannedSource, String>,
    /// How many options its configuration names, and how many of ours it has not.
    options: (usize, usize),
    /// What is said if the series was never configured.
    untried: Option<String>,
    /// Why compiler and kernel do not go together at all.
    refused: Option<String>,
    /// What is known to go wrong with these tools, and is worked around.
    worked_around: Vec<String>,
}

#[derive(Clone, Debug)]
struct PlannedSource {
    /// See [`BuildRequest::name`].
    name: String,
    origin: String,
    input_key: String,
    /// The patches that it would get.
    patches: Vec<String>,
    /// If the kernel is there, whether it was made from the same input.
    current: Option<bool>,
}

/// Looks at what each request would come to.
pub fn dry_run(env: &Env, requests: &[BuildRequest]) -> Result<Vec<Planned>> {
    let kernels = Kernels::load(&env.paths.configs)?;
    let record = ConfigRecord::load(&env.paths.configs)?;
    let mut planned = Vec::new();
    for flavors in requests.chunk_by(|a, b| a.wanted == b.wanted) {
        let found = match flavors[0].find_source(env) {
            Err(error) if is_final(&error) => return Err(error),
            found => found.map_err(|error| format!("{error:#}")),
        };
        for request in flavors {
            planned.push(plan(env, request, (&kernels, &record), found.clone())?);
        }
    }
    Ok(planned)
}

fn plan(
    env: &Env,
    request: &BuildRequest,
    (kernels, record): (&Kernels, &ConfigRecord),
    found: Result<FoundSource, String>,
) -> Result<Planned> {
    let (paths, arch, flavor) = (&env.paths, request.arch, &request.flavor);
    let (wanted, version) = match &request.wanted {
        WantedSource::Version(version) => (version.to_string(), Some(*version)),
        WantedSource::Directory(path) => (path.display().to_string(), None),
    };
    let version = found.as_ref().ok().map(|found| found.version).or(version);
    let source = match found {
        Err(why) => Err(why),
        Ok(found) => {
            let identity = identify(paths, kernels, found, request)?;
            let existing = existing(paths, arch, &identity)?;
            Ok(PlannedSource {
                name: request.name(&identity),
                patches: identity.patch_names(),
                origin: identity.found.origin,
                input_key: identity.input_key,
                current: existing.map(|(_, current)| current),
            })
        }
    };
    let mut planned = Planned {
        asked: format!(
            "{wanted} {} {}",
            request.suffix(kernels.revision).variant(),
            arch.name
        ),
        source,
        options: (0, 0),
        untried: None,
        refused: None,
        worked_around: Vec::new(),
    };
    if let Some(version) = version {
        planned.untried = record.untried(arch, version.series);
        let merged = config::merge(&paths.configs, arch, flavor, &request.own)?;
        let named = merged.allconfig(&version).lines().count();
        planned.options = (named, merged.options.len() - named);
        let toolchain = toolchain::probe(None, arch, request.cc.as_ref(), &version)?;
        match toolchain.refusal(&version) {
            Some(failure) => planned.refused = Some(failure.to_string()),
            None => {
                let pairs = toolchain.bad_pairs.into_iter();
                planned.worked_around = pairs.map(|pair| pair.reason).collect();
            }
        }
    }
    Ok(planned)
}

impl Planned {
    /// Whether nothing stands against building it.
    pub fn possible(&self) -> bool {
        self.source.is_ok() && self.refused.is_none()
    }
}

impl fmt::Display for Planned {
    /// One line for the kernel, then indented ones for what is special about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (named, absent) = self.options;
        let options = match absent {
            0 => format!("{named} options"),
            absent => format!("{named} options, {absent} not in this version"),
        };
        match &self.source {
            Err(why) => write!(f, "{}: no source: {why}; {options}", self.asked)?,
            Ok(source) => {
                let state = match (source.current, &self.refused) {
                    (Some(true), _) => "is there",
                    (_, Some(_)) => "cannot be built",
                    (None, _) => "would be built",
                    (Some(false), _) => "is there from other input and would be built again",
                };
                let (name, origin) = (&source.name, &source.origin);
                let input = source.input_key.get(..12).unwrap_or(&source.input_key);
                write!(
                    f,
                    "{name}: {state}, from {origin}; {options}; input {input}"
                )?;
                for patch in &source.patches {
                    write!(f, "\n  with {patch}")?;
                }
            }
        }
        for why in self.untried.iter().chain(&self.refused) {
            write!(f, "\n  {why}")?;
        }
        for reason in &self.worked_around {
            write!(f, "\n  worked around: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::base::embedded::CONFIGS;
    use crate::base::paths::{Files, Paths};
    use crate::kernel::config::OwnFragment;
    use crate::model::arch;

    #[test]
    fn a_plan_says_what_is_special() {
        let planned = Planned {
            asked: "6.1 tiny x86_64".to_owned(),
            source: Ok(PlannedSource {
                name: "6.1.192-vmtest1.0tiny.x86_64".to_owned(),
                origin: "debian linux-source-6.1 6.1.192-2".to_owned(),
                input_key: "0123456789abcdef".to_owned(),
                patches: vec!["patches/a.patch".to_owned()],
                current: None,
            }),
            options: (166, 4),
            untried: Some("untried: nobody".to_owned()),
            refused: None,
            worked_around: vec!["something goes wrong".to_owned()],
        };
        let refused = Planned {
            source: Ok(PlannedSource {
                patches: Vec::new(),
                current: Some(false),
                ..planned.source.clone().unwrap()
            }),
            options: (166, 0),
            untried: None,
            refused: Some("cannot build it with GCC 3".to_owned()),
            worked_around: Vec::new(),
            ..planned.clone()
        };
        let there = Planned {
            source: Ok(PlannedSource {
                current: Some(true),
                ..refused.source.clone().unwrap()
            }),
            refused: None,
            ..refused.clone()
        };
        let unavailable = Planned {
            source: Err("nobody has it".to_owned()),
            ..there.clone()
        };
        let all = [&planned, &refused, &there, &unavailable];
        assert_eq!(all.map(|plan| plan.possible()), [true, false, true, false]);
        expect![[r#"
            6.1.192-vmtest1.0tiny.x86_64: would be built, from debian linux-source-6.1 6.1.192-2; 166 options, 4 not in this version; input 0123456789ab
              with patches/a.patch
              untried: nobody
              worked around: something goes wrong
            6.1.192-vmtest1.0tiny.x86_64: cannot be built, from debian linux-source-6.1 6.1.192-2; 166 options; input 0123456789ab
              cannot build it with GCC 3
            6.1.192-vmtest1.0tiny.x86_64: is there, from debian linux-source-6.1 6.1.192-2; 166 options; input 0123456789ab
            6.1 tiny x86_64: no source: nobody has it; 166 options
        "#]]
        .assert_eq(&all.map(|plan| format!("{plan}\n")).concat());
    }

    #[test]
    fn a_fragment_beyond_ours_is_in_the_name_and_in_the_key() {
        let work = tempfile::tempdir().unwrap();
        let tree = work.path().join("linux");
        std::fs::create_dir(&tree).unwrap();
        let version = "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 5\nEXTRAVERSION =\n";
        std::fs::write(tree.join("Makefile"), version).unwrap();
        std::fs::write(tree.join("Kconfig"), "").unwrap();
        let files = Files::Embedded(CONFIGS);
        let paths = Paths::new(work.path(), Files::Embedded(CONFIGS), Files::Embedded(&[]));
        let env = Env::for_tests(work.path());
        let kernels = Kernels::load(&files).unwrap();
        let plain = BuildRequest {
            wanted: WantedSource::Directory(tree),
            ..BuildRequest::new(
                "6.1".parse().unwrap(),
                "default",
                arch::find("x86_64").unwrap(),
            )
        };
        let identity = |name: &str, text: &str| {
            let path = work.path().join(name);
            std::fs::write(&path, text).unwrap();
            let request = BuildRequest {
                own: vec![OwnFragment::read(&path).unwrap()],
                ..plain.clone()
            };
            let found = request.find_source(&env).unwrap();
            identify(&paths, &kernels, found, &request)
        };
        let found = plain.find_source(&env).unwrap();
        let without = identify(&paths, &kernels, found, &plain).unwrap();
        let yes = identity("fuse.config", "# Why.\nCONFIG_FUSE_FS=y\n").unwrap();
        let module = identity("fuse.config", "# Why.\nCONFIG_FUSE_FS=m\n").unwrap();
        let comment = identity("fuse.config", "# Reason.\nCONFIG_FUSE_FS=m\n").unwrap();
        assert_eq!(yes.release.to_string(), format!("{}+fuse", without.release));
        assert_eq!(yes.release, module.release);
        assert_ne!(yes.input_key, module.input_key);
        assert_ne!(yes.input_key, without.input_key);
        assert_eq!(module.input_key, comment.input_key);

        let name = format!("{}.config", "a".repeat(41));
        let error = identity(&name, "# Why.\nCONFIG_FUSE_FS=y\n").err().unwrap();
        let words = format!("{error:#}");
        assert!(words.contains("has 64 characters"), "{words}");
    }
}
