//! What the commands that touch the release have in common, and two of them.

use crate::base::env::Env;
use crate::base::secrets;
use crate::base::stdout;
use crate::model::kernel::LocalKernel;
use crate::model::kernel_request::KernelRequest;
use crate::net::github::client::token_from;
use crate::net::github::location::Settings;
use crate::net::github::{Client, Location};
use crate::release::download;
use crate::release::upload;
use crate::supply::places::From;
use crate::supply::{self, Sources};
use anyhow::Result;

use crate::cli::flags::Machine;
use crate::cli::flags::release::{Download, ReleaseFlags, SourceFlags, Upload};

/// A client for the release that flags, the work directory's file and the
/// environment name.
pub fn client(env: &Env, flags: &ReleaseFlags) -> Result<Client> {
    let said = Settings {
        repository: flags.repo.clone(),
        tag: flags.tag.clone(),
        api_url: flags.api_url.clone(),
    };
    let file = Settings::load(&env.paths)?;
    let variable = |name: &str| secrets::variable(name)?.into_string().ok();
    let location = Location::choose(&[&said, &file], variable("GITHUB_API_URL").as_deref())?;
    Ok(Client::new(env, location, token_from(variable)))
}

/// Where kernels may come from.
pub fn sources(env: &Env, flags: &SourceFlags, machine: &Machine, setup: bool) -> Result<Sources> {
    Ok(Sources {
        from: flags.from.unwrap_or_else(|| From::usual(setup)),
        client: client(env, &flags.release)?,
        debuginfo: machine.debuginfo,
    })
}

/// Downloads kernels and prints where they are.
pub fn download(env: &Env, flags: &Download) -> Result<u8> {
    let mut requests = Vec::new();
    for word in &flags.kernels {
        requests.extend(KernelRequest::parse_list(word)?);
    }
    let client = client(env, &flags.release)?;
    let (packages, here) = supply::pick_packages(&requests, &client, &env.paths)?;
    for kernel in here {
        env.ui.info(format!("{} is here already", kernel.release));
        print(&kernel)?;
    }
    let jobs = usize::try_from(flags.jobs)?;
    let mut failed = Vec::new();
    for result in download::download(env, &client, &packages, jobs) {
        match result {
            Ok(downloaded) => print(&downloaded.kernel)?,
            Err(error) => failed.push(error),
        }
    }
    // All but the last are said here, the last by main.
    let last = failed.pop();
    for error in &failed {
        env.ui.error(error);
    }
    last.map_or(Ok(0), Err)
}

fn print(kernel: &LocalKernel) -> Result<()> {
    stdout::print_value(&kernel.path.display().to_string())
}

/// Uploads packages and prints where they can be had.
pub fn upload(env: &Env, flags: &Upload) -> Result<u8> {
    let client = client(env, &flags.release)?;
    // All are looked at before the first is sent.
    let packages = flags
        .files
        .iter()
        .map(|path| upload::inspect(path, &env.ui))
        .collect::<Result<Vec<_>>>()?;
    for package in &packages {
        let asset = upload::upload(&client, package, flags.replace, &env.ui)?;
        stdout::print_value(&asset.browser_download_url)?;
    }
    Ok(0)
}
