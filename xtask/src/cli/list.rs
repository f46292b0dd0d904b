//! `cargo xtask list`.

use crate::base::env::Env;
use crate::base::stdout;
use crate::kernel::distro;
use crate::kernel::store;
use crate::model::arch;
use crate::model::kernel_request::{Candidate, KernelRequest};
use crate::net::github::client::Freshness;
use crate::supply::list::{self, Format};
use anyhow::Result;

use super::release;
use crate::cli::flags::{List, ListFormat};

/// Prints the kernels on this machine, in the release, or in both.
pub fn run(env: &Env, flags: &List) -> Result<u8> {
    let request = flags.pattern.as_deref();
    let request = request.map(str::parse::<KernelRequest>).transpose()?;
    let mut kernels = Vec::new();
    for arch in arch::ARCHITECTURES {
        let distributions = distro::survey_all(&env.paths, arch)?;
        for survey in [store::survey(&env.paths, arch)?, distributions] {
            for (path, reason) in survey.damaged {
                env.ui
                    .warn(format!("{} is no kernel: {reason}", path.display()));
            }
            kernels.extend(survey.kernels);
        }
    }
    let local = flags.local || !flags.remote;
    let mut place = "on this machine".to_owned();
    let mut assets = Vec::new();
    if flags.remote {
        let client = release::client(env, &flags.release)?;
        assets = client.listing(Freshness::Checked)?.assets.clone();
        place = match local {
            true => format!("on this machine or in {}", client.location()),
            false => format!("in {}", client.location()),
        };
    }
    let mut listed = list::join(kernels, &assets);
    listed.retain(|listed| local || listed.asset.is_some());
    if let Some(request) = request {
        let all = listed.clone();
        listed.retain(|listed| request.matches(listed.arch(), listed.release()));
        if listed.is_empty() {
            let releases = all.iter().map(Candidate::release);
            return Err(request.nothing_matches(releases, &place).into());
        }
    }
    let rows = list::rows(&listed)?;
    let format = match flags.format {
        ListFormat::Text => Format::Text,
        ListFormat::Json => Format::Json,
    };
    if rows.is_empty() && format == Format::Text {
        env.ui.info(match flags.remote {
            true => format!("no kernels {place}"),
            false => format!(
                "no kernels in {}; cargo xtask build-kernel 6.1 builds one",
                env.paths.work().display()
            ),
        });
    }
    stdout::print(&list::render(&rows, format)?)?;
    Ok(0)
}
