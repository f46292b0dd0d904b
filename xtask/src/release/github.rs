//! A GitHub release as the store of published kernels.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::ReleaseStore;
use crate::base::{error::Failure, ui::Ui};
use crate::net::github::client::{Client, Freshness, Listing, is_missing};
use crate::net::github::{Asset, AssetState};
use crate::release::plan::{Contents, Published};
use crate::release::upload;

/// A release, asked through a client.
#[derive(Debug)]
pub struct Github {
    client: Client,
    ui: Ui,
    /// What was listed last. The assets in it are what is deleted, so that no
    /// deletion needs a list of its own.
    listing: Mutex<Option<Arc<Listing>>>,
}

impl Github {
    /// The release that the client asks for.
    pub fn new(client: Client, ui: &Ui) -> Self {
        Self {
            client,
            ui: ui.clone(),
            listing: Mutex::default(),
        }
    }

    /// That changes are not bound to fail for want of a token. Known before hours
    /// of building.
    pub fn require_token(&self, action: &str) -> Result<()> {
        self.client.require_token(action)
    }

    fn known(&self) -> Option<Arc<Listing>> {
        let listing = self.listing.lock();
        listing.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a list of assets says about kernels.
pub fn contents(assets: &[Asset]) -> Contents {
    let mut contents = Contents::default();
    for asset in assets {
        match asset.package() {
            Some(name) => contents.packages.push(Published {
                name,
                id: asset.id,
                size: asset.size,
                finished: asset.state == AssetState::Uploaded,
                input_key: asset.input_key().map(str::to_owned),
                created: asset.created_at.clone().unwrap_or_default(),
            }),
            None => {
                contents.others += 1;
                contents.other_bytes += asset.size;
            }
        }
    }
    contents
}

impl ReleaseStore for Github {
    fn contents(&self) -> Result<Contents> {
        let location = self.client.location();
        let listing = match self.client.listing(Freshness::Checked) {
            Ok(listing) => listing,
            Err(error) if is_missing(&error) => {
                return Err(error.context(
                    Failure::setup(format!("there is no release {location}"))
                        .hint("check --repo and --tag; gh release create makes a new one"),
                ));
            }
            Err(error) => return Err(error),
        };
        if listing.outdated {
            return Err(Failure::setup(format!(
                "cannot find out what {location} has now, and an old list is not good enough"
            ))
            .hint("try again later")
            .into());
        }
        let contents = contents(&listing.assets);
        *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = Some(listing);
        Ok(contents)
    }

    fn upload(&self, file: &Path) -> Result<()> {
        let package = upload::inspect(file, &self.ui)?;
        upload::upload(&self.client, &package, false, &self.ui).map(drop)
    }

    fn delete(&self, package: &Published) -> Result<()> {
        let listing = self.known().context("the release was not listed")?;
        let asset = listing.assets.iter().find(|asset| asset.id == package.id);
        let asset = asset.with_context(|| format!("{} was not listed", package.name))?;
        match self.client.delete_asset(asset) {
            Err(error) if is_missing(&error) => Ok(()),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::github::api::label;

    #[test]
    fn packages_are_told_from_other_files() {
        let asset = |name: &str, label: Option<&str>, state: &str| {
            serde_json::from_value::<Asset>(serde_json::json!({
                "id": 7, "name": name, "label": label, "state": state, "size": 5,
                "created_at": "2026-01-31T23:59:59Z",
                "url": "https://a/7", "browser_download_url": "https://b/7",
            }))
            .unwrap()
        };
        let package = "kernel-6.1.10-vmtest1.1default.x86_64.tar.zst";
        let all = [
            asset(package, Some(&label("abc")), "uploaded"),
            asset(
                "kernel-6.1.9-vmtest42.1default.x86_64.tar.zst",
                None,
                "uploaded",
            ),
            asset(
                "kernel-6.1.8-vmtest42.1default.x86_64.tar.zst",
                Some(""),
                "starter",
            ),
            asset("gcc-12.2.0.tar.xz", None, "uploaded"),
            asset(
                "kernel-6.1.8-vmtest42.1default.pdp11.tar.zst",
                None,
                "uploaded",
            ),
        ];
        let contents = contents(&all);
        assert_eq!((contents.others, contents.other_bytes), (2, 10));
        let packages = contents.packages.iter().map(|package| {
            let key = package.input_key.as_deref();
            (package.name.release.version.point, package.finished, key)
        });
        assert_eq!(
            packages.collect::<Vec<_>>(),
            [
                (Some(10), true, Some("abc")),
                (Some(9), true, None),
                (Some(8), false, None)
            ]
        );
        assert_eq!(contents.packages[0].created, "2026-01-31T23:59:59Z");
    }
}
