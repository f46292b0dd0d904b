//! Flags of the commands that touch the release, and those commands.

use clap::Args;

/// Which release.
#[derive(Args, Debug)]
pub struct ReleaseFlags {
    /// Repository whose release has the kernels [default: osandov/drgn]
    #[arg(long, value_name = "OWNER/NAME", help_heading = "Release")]
    pub repo: Option<String>,
    /// Tag of that release [default: vmtest-assets]
    #[arg(long, value_name = "TAG", help_heading = "Release")]
    pub tag: Option<String>,
    /// Address of GitHub's API [default: $GITHUB_API_URL, else https://api.github.com]
    #[arg(long, value_name = "URL", help_heading = "Release")]
    pub api_url: Option<String>,
}
