//! From a package file to an asset of the release.
//!
//! An upload that fails can leave an asset in the state `starter`, which holds the
//! name (docs.github.com/en/rest/releases/assets, "Upload a release asset"), and an
//! answer can be lost after all went well; so after each failure the release is
//! looked at before the next attempt.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::{error::Failure, input, interrupt, sha256::Sha256, ui::Ui};
use crate::kernel::manifest::Manifest;
use crate::model::package_name::PackageName;
use crate::net::github::api::{self, ASSET_SIZE_MAX, ASSETS_MAX, GithubRelease};
use crate::net::github::client::{Client, Freshness, Listing};
use crate::net::github::{Asset, AssetState};
use crate::net::http::{self, retry::Retry};
use crate::release::download::megabytes;

/// The name under which a replacement is complete before the old one goes.
const REPLACEMENT: &str = ".replacement";

/// A package that may be uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPackage {
    pub path: PathBuf,
    pub name: PackageName,
    /// In bytes.
    pub size: u64,
    /// Of the whole file, in hexadecimal.
    pub sha256: String,
    /// Of its manifest, if it has one.
    pub input_key: Option<String>,
}

/// Reads what must be known of a package file.
pub fn inspect(path: &Path, ui: &Ui) -> Result<LocalPackage> {
    let shown = path.display();
    let mut file = input::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::usage(format!("{shown} does not exist")),
        _ => Failure::usage(format!("cannot read {shown}: {error}")),
    })?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(name) = PackageName::parse(&file_name) else {
        return Err(Failure::usage(format!("{shown} is not a kernel package"))
            .hint("packages are named kernel-RELEASE.ARCH.tar.zst")
            .into());
    };
    // GitHub renames what has special characters ("Upload a release asset").
    let kept = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if let Some(character) = file_name.chars().find(|c| !kept(*c)) {
        let message = format!("GitHub would rename {file_name}: {character:?} is in it");
        let hint = "give the kernel another CONFIG_LOCALVERSION";
        return Err(Failure::usage(message).hint(hint).into());
    }
    let context = || format!("cannot read {shown}");
    let size = file.metadata().with_context(context)?.len();
    if size == 0 || size >= ASSET_SIZE_MAX {
        let why = if size == 0 { "empty" } else { "2 GiB or more" };
        let message = format!("{shown} is {why}, which GitHub does not take");
        return Err(Failure::usage(message).into());
    }
    let _task = ui.task(format!("reading {shown}"));
    let mut hash = Sha256::default();
    let mut buffer = vec![0; 1 << 17];
    loop {
        interrupt::check()?;
        match file.read(&mut buffer).with_context(context)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let manifest = Manifest::of_package(path)?;
    if let Some(manifest) = &manifest
        && (manifest.release != name.release.to_string() || manifest.arch != name.arch.name)
    {
        let (release, arch) = (&manifest.release, &manifest.arch);
        let message = format!("{shown} holds the kernel {release} for {arch}");
        return Err(Failure::usage(message).into());
    }
    Ok(LocalPackage {
        path: path.to_owned(),
        name,
        size,
        sha256: hash.finish(),
        input_key: manifest.map(|manifest| manifest.input_key),
    })
}

/// What must be done to have a package in the release.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UploadPlan {
    /// It is there.
    Nothing(Asset),
    /// Send it, after these are deleted.
    Send(Vec<Asset>),
    /// Send it under another name; then delete the old one and rename it.
    Replace { leftovers: Vec<Asset>, old: Asset },
}

/// Decides from what the release has.
fn plan(listing: &Listing, package: &LocalPackage, replace: bool) -> Result<UploadPlan, Failure> {
    let name = package.name.to_string();
    let refuse = |why: String| Failure::setup(format!("cannot upload {name}: {why}"));
    let old = listing.assets.iter().find(|asset| asset.name == name);
    let finished = old.filter(|asset| asset.state == AssetState::Uploaded);
    if let Some(asset) = finished
        && asset.size == package.size
        && matches!(asset.sha256(), Ok(Some(sum)) if sum.eq_ignore_ascii_case(&package.sha256))
    {
        return Ok(UploadPlan::Nothing(asset.clone()));
    }
    let tag = &listing.release.tag;
    if listing.release.immutable {
        let why = format!("the release {tag} is immutable");
        return Err(refuse(why).hint("nothing in it can ever be changed; use another --tag"));
    }
    if finished.is_some() && !replace {
        let why = format!("{tag} has another file of that name");
        let hint = "published kernels should not change under one name; --replace does it anyway";
        return Err(refuse(why).hint(hint));
    }
    let replacement = format!("{name}{REPLACEMENT}");
    // What neither is finished nor being replaced is in the way.
    let leftovers = listing
        .assets
        .iter()
        .filter(|asset| asset.name == replacement || asset.name == name)
        .filter(|asset| finished.is_none_or(|finished| finished.id != asset.id))
        .cloned()
        .collect::<Vec<_>>();
    if listing.assets.len() - leftovers.len() >= ASSETS_MAX {
        let why = format!("{tag} has {ASSETS_MAX} files, which is all that GitHub takes");
        return Err(refuse(why).hint("delete some, or use another --tag"));
    }
    Ok(match finished.cloned() {
        Some(old) => UploadPlan::Replace { leftovers, old },
        None => UploadPlan::Send(leftovers),
    })
}

/// Has a package in the release.
pub fn upload(client: &Client, package: &LocalPackage, replace: bool, ui: &Ui) -> Result<Asset> {
    let name = package.name.to_string();
    let action = format!("upload {name} to {}", client.location);
    client.require_token(&action)?;
    let mut retry = Retry::new(&client.limits);
    loop {
        let listing = client.listing(Freshness::Checked)?;
        if listing.outdated {
            let message = format!("cannot upload {name}: nobody knows what the release has now");
            return Err(Failure::setup(message).hint("try again later").into());
        }
        let release = &listing.release;
        let result = match plan(&listing, package, replace)? {
            UploadPlan::Nothing(asset) => {
                ui.info(format!("{name} is in {} already", client.location));
                return Ok(asset);
            }
            UploadPlan::Send(leftovers) => send(client, release, &leftovers, package, &name, ui),
            UploadPlan::Replace { leftovers, old } => {
                let other = format!("{name}{REPLACEMENT}");
                send(client, release, &leftovers, package, &other, ui).and_then(|new| {
                    client.delete_asset(old.id, &old.name)?;
                    client.rename_asset(&new, &name)
                })
            }
        };
        let error = match result {
            Ok(asset) => return Ok(asset),
            Err(error) => error,
        };
        let why = format!("{error:#}");
        let wait = http::decide(&mut retry, error);
        let wait = wait.map_err(|error| client.explain(&action, error))?;
        ui.warn(format!("the upload of {name} failed, trying again: {why}"));
        interrupt::sleep(wait)?;
    }
}

/// Sends a package under a name, after what is in the way was deleted.
fn send(
    client: &Client,
    release: &GithubRelease,
    leftovers: &[Asset],
    package: &LocalPackage,
    name: &str,
    ui: &Ui,
) -> Result<Asset> {
    for asset in leftovers {
        let left = &asset.name;
        ui.info(format!("deleting {left}, which an upload left unfinished"));
        client.delete_asset(asset.id, left)?;
    }
    let path = &package.path;
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let label = package.input_key.as_deref().map(api::label);
    let (size, location) = (megabytes(package.size), &client.location);
    let mut task = ui.task(format!("uploading {name} ({size}) to {location}"));
    client.upload(
        release,
        (name, label.as_deref()),
        file,
        (package.size, &package.sha256),
        |sent| task.update(format!("{} of {size}", megabytes(sent))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "kernel-6.1.9-vmtest1.1default.x86_64.tar.zst";

    fn asset(id: u64, name: &str, state: AssetState, sum: char) -> Asset {
        Asset {
            id,
            name: name.to_owned(),
            label: None,
            state,
            size: 5,
            digest: Some(format!("sha256:{}", sum.to_string().repeat(64))),
            created_at: None,
            updated_at: None,
            url: String::new(),
            browser_download_url: String::new(),
        }
    }

    fn decide(assets: Vec<Asset>, immutable: bool, replace: bool) -> String {
        let listing = Listing {
            release: GithubRelease {
                id: 1,
                tag: "t".into(),
                draft: false,
                immutable,
                upload_url: String::new(),
                assets: Vec::new(),
            },
            assets,
            outdated: false,
        };
        let package = LocalPackage {
            path: "p".into(),
            name: PackageName::parse(NAME).unwrap(),
            size: 5,
            sha256: "a".repeat(64),
            input_key: None,
        };
        let ids = |assets: &[Asset]| assets.iter().map(|asset| asset.id).collect::<Vec<_>>();
        match plan(&listing, &package, replace) {
            Ok(UploadPlan::Nothing(asset)) => format!("nothing, it is {}", asset.id),
            Ok(UploadPlan::Send(leftovers)) => format!("send, without {:?}", ids(&leftovers)),
            Ok(UploadPlan::Replace { leftovers, old }) => {
                format!("replace {}, without {:?}", old.id, ids(&leftovers))
            }
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn what_the_release_has_decides() {
        use AssetState::{Starter, Uploaded};
        let same = asset(1, NAME, Uploaded, 'a');
        let other = asset(2, NAME, Uploaded, 'b');
        let half = asset(3, NAME, Starter, 'a');
        let left = asset(4, &format!("{NAME}{REPLACEMENT}"), Uploaded, 'a');
        let full = |more: Asset| {
            let mut assets = (0..999)
                .map(|id| asset(100 + id, &format!("x{id}"), Uploaded, 'c'))
                .collect::<Vec<_>>();
            assets.push(more);
            assets
        };
        let lines = [
            decide(vec![], false, false),
            decide(vec![same.clone()], false, false),
            decide(vec![same], true, true),
            decide(vec![], true, false),
            decide(vec![other.clone()], false, false),
            decide(vec![other.clone()], false, true),
            decide(vec![other, left], false, true),
            decide(vec![half.clone()], false, false),
            decide(full(half), false, false),
            decide(full(asset(5, "y", Uploaded, 'c')), false, true),
        ];
        expect_test::expect![[r#"
            send, without []
            nothing, it is 1
            nothing, it is 1
            cannot upload kernel-6.1.9-vmtest1.1default.x86_64.tar.zst: the release t is immutable
            cannot upload kernel-6.1.9-vmtest1.1default.x86_64.tar.zst: t has another file of that name
            replace 2, without []
            replace 2, without [4]
            send, without [3]
            send, without [3]
            cannot upload kernel-6.1.9-vmtest1.1default.x86_64.tar.zst: t has 1000 files, which is all that GitHub takes
        "#]]
        .assert_eq(&(lines.join("\n") + "\n"));
    }
}
