//! `cargo xtask list`.

use std::collections::BTreeSet;

use crate::base::{env::Env, stdout};
use crate::cli::kernels::all_or;
use crate::cli::release::ReleaseFlags;
use crate::kernel::{config::record::ConfigRecord, distro, store};
use crate::model::kernel_request::{Candidate, KernelRequest};
use crate::net::github::client::Freshness;
use crate::supply::list;
use anyhow::Result;
use clap::Args;

/// List kernels, the newest first of each architecture
///
/// Lists the kernels on this machine, or with --remote those of the release, with their state:
/// local, remote, both, stale (this machine's was made from something else than the release's of
/// that name), starter (an unfinished upload).
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask list
  cargo xtask list '6.1.*'
  cargo xtask list -a foreign            those for other architectures than this host's
  cargo xtask list --remote              what the release has
  cargo xtask list --local --remote 6.1  both
  cargo xtask list --format json | jq -r '.[].release'")]
pub struct ListFlags {
    /// List only kernels that match a series (6.1), a release, or shell wildcards
    pub pattern: Option<String>,
    /// List only kernels of this architecture, of foreign (all but this host's), or of all;
    /// comma-separated, repeatable [default: all]
    #[arg(short, long, value_name = "ARCH", value_delimiter = ',')]
    pub arch: Vec<String>,
    /// List the kernels on this machine [default]
    #[arg(long)]
    pub local: bool,
    /// List the kernels of the release
    #[arg(long)]
    pub remote: bool,
    /// Print in this format
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: ListFormat,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum ListFormat {
    /// A table
    Text,
    /// An array of objects: release, arch, flavor, state, size (bytes on disk), path, download_size
    /// (bytes of the package), input_key (of the release's)
    Json,
}

pub fn run(env: &Env, flags: &ListFlags) -> Result<u8> {
    let request = flags.pattern.as_deref();
    let request = request.map(str::parse::<KernelRequest>).transpose()?;
    let mut kernels = Vec::new();
    let arches = all_or(&flags.arch)?;
    for arch in &arches {
        let distributions = distro::survey(&env.paths, arch)?;
        for survey in [store::survey(&env.paths, arch)?, distributions] {
            for (path, reason) in survey.damaged {
                let path = path.display();
                env.ui.warn(format!("{path} is no kernel: {reason}"));
            }
            kernels.extend(survey.kernels);
        }
    }
    let local = flags.local || !flags.remote;
    let mut place = "on this machine".to_owned();
    let mut assets = Vec::new();
    if flags.remote {
        let client = flags.release.client(env)?;
        assets = client.listing(Freshness::Checked)?.assets.clone();
        place = match local {
            true => format!("on this machine or in {}", client.location),
            false => format!("in {}", client.location),
        };
    }
    let mut listed = list::join(kernels, &assets);
    listed.retain(|listed| arches.contains(&listed.arch()));
    listed.retain(|listed| local || listed.asset.is_some());
    if let Some(request) = request {
        let all = listed.clone();
        listed.retain(|listed| request.names(listed.arch(), listed.release()));
        if listed.is_empty() {
            let releases = all.iter().map(Candidate::release);
            return Err(request.nothing_matches(releases, &place).into());
        }
    }
    let rows = listed.iter().map(list::row).collect::<Result<Vec<_>>>()?;
    if let ListFormat::Json = flags.format {
        stdout::print(&(serde_json::to_string_pretty(&rows)? + "\n"))?;
        return Ok(0);
    }
    if rows.is_empty() {
        let work = env.paths.work().display();
        env.ui.info(match flags.remote {
            true => format!("no kernels {place}"),
            false => format!("no kernels in {work}; cargo xtask build-kernel 6.1 builds one"),
        });
    }
    stdout::print(&list::columns(&rows))?;
    let record = ConfigRecord::load(&env.paths.configs)?;
    let ours = listed
        .iter()
        .filter(|listed| listed.release().vmtest().is_some());
    let untried = ours.filter_map(|listed| {
        let series = listed.release().version.series;
        record.untried(listed.arch(), series)
    });
    for untried in untried.collect::<BTreeSet<_>>() {
        env.ui.info(untried);
    }
    Ok(0)
}
