//! What the commands that touch the release have in common, and two of them.

use anyhow::Result;
use xtask::github::client::token_from;
use xtask::github::location::Settings;
use xtask::github::{Client, Location};
use xtask::layout::Layout;
use xtask::ui::Ui;

use crate::flags::release::ReleaseFlags;

/// A client for the release that flags, the work directory's file and the
/// environment name.
pub fn client(flags: &ReleaseFlags, layout: &Layout, ui: &Ui) -> Result<Client> {
    let said = Settings {
        repository: flags.repo.clone(),
        tag: flags.tag.clone(),
        api_url: flags.api_url.clone(),
    };
    let file = Settings::load(layout)?;
    let variable = |name: &str| std::env::var(name).ok();
    let location = Location::choose(&[&said, &file], variable("GITHUB_API_URL").as_deref())?;
    Ok(Client::new(location, token_from(variable), layout, ui))
}
