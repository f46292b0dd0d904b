//! Configures source trees in every way there is, and records which options they have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;

use super::{BuildRequest, Ingredients, log_file, plan};
use crate::base::{env::Env, error, temporary::Temporary};
use crate::kernel::config::definitions::Definitions;
use crate::kernel::config::record::ConfigRecord;
use crate::kernel::config::{FinalConfig, Value, merge};
use crate::kernel::source::{WantedSource, directory};
use crate::model::{arch::Arch, catalog::Kernels};

/// The names, without `CONFIG_`, of all options that some fragment of ours has.
pub fn names(env: &Env, kernels: &Kernels) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (arch, _) in &kernels.architectures {
        for flavor in &kernels.flavors {
            let merged = merge(&env.paths.configs, arch, &flavor.name, &[])?;
            let all = merged.options.iter().flat_map(|wanted| wanted.all_names());
            names.extend(all.map(|name| name.trim_start_matches("CONFIG_").to_owned()));
        }
    }
    Ok(names)
}

/// Takes in source trees. One on which an option is lost is left out and said; the status is then
/// not 0.
pub fn record_trees(
    env: &Env,
    kernels: &Kernels,
    trees: &[PathBuf],
    only: Option<&Arch>,
    record: &mut ConfigRecord,
) -> Result<u8> {
    let names = names(env, kernels)?;
    let mut status = 0;
    for tree in trees {
        let (version, _) = directory::version(tree)?;
        let arches = kernels.architectures.iter().filter(|(arch, oldest)| {
            version.series >= *oldest && only.is_none_or(|only| only == *arch)
        });
        for (arch, _) in arches {
            let wanted = WantedSource::Directory(tree.clone());
            let request = BuildRequest {
                wanted,
                ..BuildRequest::new(version, "", arch)
            };
            match look(env, kernels, &request, &names) {
                Ok(found) => {
                    record.add(arch, version, &found);
                    env.ui.info(format!("{version} on {}: recorded", arch.name));
                }
                Err(error) if error::is_final(&error) => return Err(error),
                Err(error) => {
                    env.ui.error(&error);
                    status = error::exit_status(&error);
                }
            }
        }
    }
    Ok(status)
}

/// By name and flavor, whether a tree has an option: its Kconfig defines it, and it can be set as
/// it is wanted.
fn look(
    env: &Env,
    kernels: &Kernels,
    request: &BuildRequest,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<(String, String), bool>> {
    let mut found = BTreeMap::new();
    let mut definitions = None;
    // One tree for all flavors, so that Kconfig is compiled once.
    let build = Temporary::directory(&env.paths.builds().join("record"))?;
    let log = log_file(&env.paths, &format!("record-{}", request.arch.name))?;
    for flavor in &kernels.flavors {
        let request = BuildRequest {
            flavor: flavor.name.clone(),
            ..request.clone()
        };
        let plan = plan(env, &request)?;
        let tree = Ingredients::fetch(env, &request, &plan)?.tree(build.path(), &log)?;
        tree.configure(&plan.found.version, &plan.merged)?;
        let config = FinalConfig::parse(&tree.allnoconfig(&plan.merged.without_ranges())?);
        let source = &tree.make.source;
        let definitions = match &definitions {
            Some(definitions) => definitions,
            None => definitions.insert(Definitions::of_source(source, request.arch)?),
        };
        for name in names {
            let option = format!("CONFIG_{name}");
            let wanted = plan.merged.named(&option);
            let wanted = wanted.filter(|wanted| wanted.value != Value::No);
            let is_set = wanted.is_none_or(|wanted| config.get(&option).fulfils(&wanted.value));
            let is_there = definitions.has(name) && is_set;
            found.insert((name.clone(), flavor.name.clone()), is_there);
        }
    }
    Ok(found)
}
