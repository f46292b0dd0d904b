//! What would be built: `build-kernel --dry-run`. Nothing is fetched but lists of versions.

use std::fmt;

use anyhow::Result;

use super::{BuildRequest, existing, identify_request, toolchain};
use crate::base::error::{self, FailureKind};
use crate::base::{env::Env, paths::Paths};
use crate::kernel::source::{self, WantedSource};
use crate::model::{catalog::Kernels, version::Version};

/// What there is of a kernel already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: it would be built.
    Absent,
    /// It is there, made from the same input.
    Installed,
    /// It is there, made from other input: it would be built again.
    Stale,
}

/// What would be done for one request.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The version or the tree, as it was asked for.
    pub wanted: String,
    pub flavor: String,
    /// The source, or in one line why it cannot be had.
    pub source: Result<Source, String>,
    /// How many options its configuration names, and how many of ours it has not.
    pub options: (usize, usize),
    /// Why compiler and kernel do not go together at all.
    pub refused: Option<String>,
    /// What is known to go wrong with these tools, and is worked around.
    pub worked_around: Vec<&'static str>,
}

/// A source that was found.
#[derive(Clone, Debug)]
pub struct Source {
    /// What `uname -r` would print.
    pub release: String,
    /// Where it comes from.
    pub origin: String,
    /// See [`crate::kernel::manifest`].
    pub input_key: String,
    /// The patches that it would get.
    pub patches: Vec<String>,
    pub state: State,
}

/// Looks at what each request would come to.
pub fn dry_run(env: &Env, requests: &[BuildRequest]) -> Result<Vec<Planned>> {
    let kernels = Kernels::load(&env.paths.configs)?;
    let mut planned = Vec::new();
    let mut last: Option<(WantedSource, Result<source::FoundSource, String>)> = None;
    for request in requests {
        // The flavors of one version follow each other.
        let found = match &last {
            Some((wanted, found)) if *wanted == request.wanted => found.clone(),
            _ => find(env, request)?,
        };
        last = Some((request.wanted.clone(), found.clone()));
        planned.push(plan(request, found, &kernels, &env.paths)?);
    }
    Ok(planned)
}

fn find(env: &Env, request: &BuildRequest) -> Result<Result<source::FoundSource, String>> {
    match super::find(env, request) {
        Ok(found) => Ok(Ok(found)),
        Err(error) => match error::kind(&error) {
            Some(FailureKind::Usage | FailureKind::Interrupted(_)) => Err(error),
            _ => Ok(Err(format!("{error:#}"))),
        },
    }
}

fn plan(
    request: &BuildRequest,
    found: Result<source::FoundSource, String>,
    kernels: &Kernels,
    paths: &Paths,
) -> Result<Planned> {
    let (wanted, mut version) = match &request.wanted {
        WantedSource::Version(version) => (version.to_string(), Some(*version)),
        WantedSource::Directory(path) => (path.display().to_string(), None),
    };
    let source = match found {
        Err(why) => Err(why),
        Ok(found) => {
            version = Some(found.version);
            let identity = identify_request(paths, kernels, found, request)?;
            let state = match existing(paths, request.arch, &identity)? {
                None => State::Absent,
                Some((_, true)) => State::Installed,
                Some((_, false)) => State::Stale,
            };
            Ok(Source {
                state,
                release: identity.release.to_string(),
                origin: identity.found.origin,
                input_key: identity.input_key,
                patches: identity.patches.into_iter().map(|(name, _)| name).collect(),
            })
        }
    };
    let merged = crate::kernel::config::merge(&paths.configs, request.arch, &request.flavor)?;
    let (mut options, mut refused, mut worked_around) = ((0, 0), None, Vec::new());
    if let Some(version) = version {
        let named = merged.allconfig(&version).lines().count();
        options = (named, merged.options.len() - named);
        let toolchain = toolchain::probe(request.arch, request.cc.as_deref())?;
        (refused, worked_around) = tools(&toolchain, &version);
    }
    Ok(Planned {
        wanted,
        flavor: request.flavor.clone(),
        source,
        options,
        refused,
        worked_around,
    })
}

fn tools(
    toolchain: &toolchain::Toolchain,
    version: &Version,
) -> (Option<String>, Vec<&'static str>) {
    let quirks = toolchain.quirks(version);
    match quirks.check(version, &toolchain.compiler) {
        Err(error) => (Some(format!("{error:#}")), Vec::new()),
        Ok(()) => (None, quirks.reasons().collect()),
    }
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
        let Self { wanted, flavor, .. } = self;
        let (named, absent) = self.options;
        let options = match absent {
            0 => format!("{named} options"),
            absent => format!("{named} options, {absent} not in this version"),
        };
        match &self.source {
            Err(why) => write!(f, "{wanted} {flavor}: no source: {why}; {options}")?,
            Ok(source) => {
                let state = match (source.state, &self.refused) {
                    (State::Installed, _) => "is there",
                    (_, Some(_)) => "cannot be built",
                    (State::Absent, _) => "would be built",
                    (State::Stale, _) => "is there from other input and would be built again",
                };
                write!(
                    f,
                    "{}: {state}, from {}; {options}; input {}",
                    source.release,
                    source.origin,
                    source.input_key.get(..12).unwrap_or(&source.input_key)
                )?;
                for patch in &source.patches {
                    write!(f, "\n  with {patch}")?;
                }
            }
        }
        if let Some(why) = &self.refused {
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

    #[test]
    fn a_plan_says_what_is_special() {
        let planned = Planned {
            wanted: "6.1".to_owned(),
            flavor: "tiny".to_owned(),
            source: Ok(Source {
                release: "6.1.192-vmtest1.0tiny".to_owned(),
                origin: "debian linux-source-6.1 6.1.192-2".to_owned(),
                input_key: "0123456789abcdef".to_owned(),
                patches: vec!["patches/a.patch".to_owned()],
                state: State::Absent,
            }),
            options: (166, 4),
            refused: None,
            worked_around: vec!["something goes wrong"],
        };
        let refused = Planned {
            source: Ok(Source {
                patches: Vec::new(),
                state: State::Stale,
                ..planned.source.clone().unwrap()
            }),
            options: (166, 0),
            refused: Some("cannot build it with GCC 3".to_owned()),
            worked_around: Vec::new(),
            ..planned.clone()
        };
        let there = Planned {
            source: Ok(Source {
                state: State::Installed,
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
            6.1.192-vmtest1.0tiny: would be built, from debian linux-source-6.1 6.1.192-2; 166 options, 4 not in this version; input 0123456789ab
              with patches/a.patch
              worked around: something goes wrong
            6.1.192-vmtest1.0tiny: cannot be built, from debian linux-source-6.1 6.1.192-2; 166 options; input 0123456789ab
              cannot build it with GCC 3
            6.1.192-vmtest1.0tiny: is there, from debian linux-source-6.1 6.1.192-2; 166 options; input 0123456789ab
            6.1 tiny: no source: nobody has it; 166 options
        "#]]
        .assert_eq(&all.map(|plan| format!("{plan}\n")).concat());
    }
}
