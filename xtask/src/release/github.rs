//! A GitHub release as the store of published kernels.

use std::path::Path;

use anyhow::Result;

use super::ReleaseStore;
use crate::base::{error::Failure, ui::Ui};
use crate::net::github::client::{Client, Freshness, is_missing};
use crate::net::github::{Asset, AssetState};
use crate::release::plan::{Contents, Published};
use crate::release::upload;

/// The release that a client asks for.
#[derive(Debug)]
pub struct Github {
    pub client: Client,
    ui: Ui,
}

impl Github {
    pub fn new(client: Client, ui: &Ui) -> Self {
        let ui = ui.clone();
        Self { client, ui }
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
        let location = &self.client.location;
        let listing = self.client.listing(Freshness::Checked);
        let listing = listing.map_err(|error| match is_missing(&error) {
            true => error.context(
                Failure::setup(format!("there is no release {location}"))
                    .hint("check --repo and --tag; gh release create makes a new one"),
            ),
            false => error,
        })?;
        if listing.outdated {
            let message = format!(
                "cannot find out what {location} has now, and an old list is not good enough"
            );
            return Err(Failure::setup(message).hint("try again later").into());
        }
        Ok(contents(&listing.assets))
    }

    fn upload(&self, file: &Path) -> Result<()> {
        let package = upload::inspect(file, &self.ui)?;
        upload::upload(&self.client, &package, false, &self.ui).map(drop)
    }

    fn delete(&self, package: &Published) -> Result<()> {
        match self
            .client
            .delete_asset(package.id, &package.name.to_string())
        {
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
