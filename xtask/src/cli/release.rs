//! What the commands that touch the release have in common, and two of them.

use std::path::PathBuf;

use crate::base::{env::Env, secrets, stdout};
use crate::cli::kernels::parse;
use crate::model::kernel::LocalKernel;
use crate::net::github::{Client, Location, client::token_from, location::Settings};
use crate::release::{download, upload};
use crate::supply::{self, Sources, places::KernelPlace};
use anyhow::Result;
use clap::Args;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Release")]
pub struct ReleaseFlags {
    /// Use the release of this repository [default: osandov/drgn]
    #[arg(long, value_name = "OWNER/NAME")]
    pub repo: Option<String>,
    /// Use the release with this tag [default: vmtest-assets]
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// Ask GitHub's API at this address [default: $GITHUB_API_URL, else https://api.github.com]
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct SourceFlags {
    /// Take kernels only from these places, comma-separated: local, release, build [default:
    /// local,release; with --setup also build]
    #[arg(long, value_name = "PLACES", value_delimiter = ',')]
    pub from: Vec<KernelPlace>,
    /// Fetch debugging information for a kernel of Debian, once: about 1 GB to download, 5 to 8 GB
    /// on disk; with `-k host`, use what is installed
    #[arg(long)]
    pub debuginfo: bool,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

/// Download kernels from the release
///
/// Each request picks the newest kernel that matches. Checks what arrives with GitHub's checksum,
/// fetches nothing that is on this machine, and prints the kernels' directories.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask download '6.1.*'
  cargo xtask download 5.10,6.1 '6.12.*tiny'     three kernels, two at a time
  cargo xtask download 6.1 --repo someone/kernels --tag v1

Only private repositories need a token in GITHUB_TOKEN or GH_TOKEN. A token also helps when the
quota of this address is used up.")]
pub struct DownloadFlags {
    /// Download a series (6.1), a release, or shell wildcards; comma-separated, repeatable
    #[arg(required = true, value_name = "REQUEST")]
    pub kernels: Vec<String>,
    /// Run this many downloads at a time
    #[arg(short, long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=16))]
    pub jobs: u32,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

/// Upload kernel packages to the release
///
/// Needs an existing release, and a token that may change it. Deletes an unfinished file of an
/// earlier upload, and leaves a finished one as it is, unless --replace is given.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  GITHUB_TOKEN=$(gh auth token) cargo xtask upload --repo me/kernels \\
      build/vmtest/packages/kernel-6.1.192-vmtest1.1default.x86_64.tar.zst
  cargo xtask upload --replace FILE

GitHub takes 1,000 files per release, each smaller than 2 GiB.")]
pub struct UploadFlags {
    /// Upload these package files, as `package` and `build-kernel` leave them
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Replace finished files of the same names; the old ones stay until the new ones are complete
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub release: ReleaseFlags,
}

impl ReleaseFlags {
    /// A client for the release that flags, the work directory's file and the environment name.
    pub fn client(&self, env: &Env) -> Result<Client> {
        let said = Settings {
            repository: self.repo.clone(),
            tag: self.tag.clone(),
            api_url: self.api_url.clone(),
        };
        let file = Settings::load(&env.paths)?;
        let variable = |name: &str| secrets::variable(name)?.into_string().ok();
        let location = Location::choose(&[&said, &file], variable("GITHUB_API_URL").as_deref())?;
        Ok(Client::new(env, location, token_from(variable)))
    }
}

impl SourceFlags {
    pub fn sources(&self, env: &Env, setup: bool) -> Result<Sources> {
        let mut from = self.from.clone();
        if from.is_empty() {
            from.extend([KernelPlace::Local, KernelPlace::Release]);
            from.extend(setup.then_some(KernelPlace::Build));
        }
        Ok(Sources {
            from,
            client: self.release.client(env)?,
            own: Vec::new(),
            debuginfo: self.debuginfo,
        })
    }
}

pub fn download(env: &Env, flags: &DownloadFlags) -> Result<u8> {
    let requests = parse(&flags.kernels)?;
    let client = flags.release.client(env)?;
    let (packages, here) = supply::pick_packages(&requests, &client, &env.paths)?;
    for kernel in here {
        env.ui.info(format!("{} is here already", kernel.release));
        print(&kernel)?;
    }
    let jobs = usize::try_from(flags.jobs)?;
    let mut failed = None;
    for result in download::download(env, &client, &packages, jobs) {
        match result {
            Ok(downloaded) => print(&downloaded.kernel)?,
            // The last is said by main.
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    env.ui.error(&earlier);
                }
            }
        }
    }
    failed.map_or(Ok(0), Err)
}

fn print(kernel: &LocalKernel) -> Result<()> {
    stdout::print_value(&kernel.path.display().to_string())
}

pub fn upload(env: &Env, flags: &UploadFlags) -> Result<u8> {
    let client = flags.release.client(env)?;
    // All are looked at before the first is sent.
    let files = flags.files.iter();
    let packages = files.map(|path| upload::inspect(path, &env.ui));
    for package in packages.collect::<Result<Vec<_>>>()? {
        let asset = upload::upload(&client, &package, flags.replace, &env.ui)?;
        stdout::print_value(&asset.browser_download_url)?;
    }
    Ok(0)
}
