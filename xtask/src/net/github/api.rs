//! Requests and answers of GitHub's REST API for releases, as values: nothing
//! here touches the network.
//!
//! Endpoints: docs.github.com/en/rest/releases/releases and
//! docs.github.com/en/rest/releases/assets, version 2022-11-28.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::base::{error::Failure, secrets};
use crate::model::package_name::PackageName;
use crate::net::http::Answer;
use crate::net::http::address::encode;

/// What an answer is to be written in: GitHub's own kind of JSON, as its guide
/// recommends (docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api),
/// or what its description of the API calls the same thing.
pub const ACCEPT: &str = "application/vnd.github+json, application/json;q=0.9";

/// Asks for the bytes of an asset instead of its description.
pub const ACCEPT_BYTES: &str = "application/octet-stream";

/// The version of the API that this is about.
pub const VERSION: &str = "2022-11-28";

/// Assets in one answer, the most there can be.
pub const PAGE: usize = 100;

/// A release holds so many assets
/// (docs.github.com/en/repositories/releasing-projects-on-github/about-releases).
pub const ASSETS_MAX: usize = 1000;

/// An asset is smaller than this, in bytes (same page).
pub const ASSET_SIZE_MAX: u64 = 2 << 30;

/// No answer is longer, in bytes: a hundred assets take about 200,000.
pub const ANSWER_MAX: usize = 16 << 20;

/// The label of an asset says which input key its package has: after this.
pub const LABEL_PREFIX: &str = "vmtest-input-key=";

/// `OWNER/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository(String);

impl FromStr for Repository {
    type Err = Failure;

    /// Owners are letters, digits and `-`; names may have `.` and `_` as well, but
    /// are neither `.` nor `..`, which would lead elsewhere in an address.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let fits = |text: &str, more: &str| {
            let mut characters = text.chars();
            (1..=100).contains(&text.len())
                && characters.all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        match text.split_once('/') {
            // Users of enterprises have `_` in theirs.
            Some((owner, name))
                if fits(owner, "-_") && fits(name, "-_.") && !matches!(name, "." | "..") =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(Failure::usage(format!("{text:?} is not a repository"))
                .hint("a repository is OWNER/NAME, e.g. osandov/drgn")),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GithubRelease {
    /// What other requests name it by.
    pub id: u64,
    #[serde(rename = "tag_name")]
    pub tag: String,
    /// Not published; cannot be found by its tag.
    #[serde(default)]
    pub draft: bool,
    /// Neither it nor its assets can be changed; missing in older answers.
    #[serde(default)]
    pub immutable: bool,
    /// Template of the address that takes new assets.
    pub upload_url: String,
    /// As far as the release itself lists them; their order means nothing.
    #[serde(default)]
    pub assets: Vec<Asset>,
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Asset {
    /// What other requests name it by.
    pub id: u64,
    pub name: String,
    /// Free text, shown instead of the name.
    pub label: Option<String>,
    pub state: AssetState,
    /// In bytes.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// `sha256:` and the hexadecimal checksum; assets uploaded before June 2025
    /// have none.
    pub digest: Option<String>,
    /// When it was begun, as in RFC 3339.
    pub created_at: Option<String>,
    /// When it was last changed, as in RFC 3339.
    pub updated_at: Option<String>,
    /// The address of the API for it.
    pub url: String,
    /// The address where anybody can have it, if the repository is public.
    pub browser_download_url: String,
}

/// A size of which a thousand can be added up; what is larger than [`ASSET_SIZE_MAX`] is no
/// asset that GitHub has.
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(u64::deserialize(deserializer)?.min(1 << 40))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AssetState {
    /// Finished.
    Uploaded,
    /// An upload was begun, and failed or goes on. It can be deleted.
    Starter,
    /// Something that this program does not know.
    #[serde(other)]
    Other,
}

impl Asset {
    /// Its SHA-256 in hexadecimal, if the API says it.
    pub fn sha256(&self) -> Result<Option<&str>, Failure> {
        let Some(digest) = &self.digest else {
            return Ok(None);
        };
        let sum = digest.strip_prefix("sha256:");
        let good = |sum: &&str| sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
        sum.filter(good).map(Some).ok_or_else(|| {
            let (name, sum) = (&self.name, clean(digest));
            let message = format!("the checksum of {name} is {sum:?}, which is no SHA-256");
            Failure::setup(message).hint("it must be uploaded again")
        })
    }

    /// The input key of the package, if the label has one.
    pub fn input_key(&self) -> Option<&str> {
        let key = self.label.as_deref()?.strip_prefix(LABEL_PREFIX)?;
        let good = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then_some(key)
    }

    /// The kernel whose package it is named as; `None` if it is something else.
    pub fn package(&self) -> Option<PackageName> {
        PackageName::parse(&self.name)
    }
}

/// The label of a package's asset.
pub fn label(input_key: &str) -> String {
    format!("{LABEL_PREFIX}{input_key}")
}

/// The path of the published release of a tag ("Get a release by tag name").
pub fn release_by_tag(repository: &Repository, tag: &str) -> String {
    format!("/repos/{repository}/releases/tags/{}", encode(tag))
}

/// The path of one page of the assets of a release, the first being 1 ("List release assets").
pub fn assets(repository: &Repository, release: u64, page: usize) -> String {
    format!("/repos/{repository}/releases/{release}/assets?per_page={PAGE}&page={page}")
}

/// The path of an asset ("Update a release asset", "Delete a release asset").
pub fn asset(repository: &Repository, id: u64) -> String {
    format!("/repos/{repository}/releases/assets/{id}")
}

/// The address for a new asset, from a release's `upload_url`, which is a template
/// that ends with `{?name,label}` (RFC 6570, section 3.2.8).
pub fn upload_url(template: &str, name: &str, label: Option<&str>) -> String {
    let base = template.split('{').next().unwrap_or_default();
    let label = label.map(|label| format!("&label={}", encode(label)));
    format!("{base}?name={}{}", encode(name), label.unwrap_or_default())
}

/// What the API says when it refuses: `message`, and `errors` of 422
/// (docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// For people; empty if the answer was no JSON.
    pub message: String,
    /// `code` of the errors, e.g. `already_exists`.
    pub codes: Vec<String>,
    /// `message` of the errors.
    pub details: Vec<String>,
}

impl Refusal {
    /// Reads the body of an answer; whatever it is, there is a result, because
    /// gateways in between answer with pages of their own.
    pub fn parse(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
            return Self::default();
        };
        let errors = value["errors"].as_array().cloned().unwrap_or_default();
        let texts = |key: &str| {
            let text = |error: &serde_json::Value| error[key].as_str().map(clean);
            errors.iter().filter_map(text).collect::<Vec<_>>()
        };
        let mut details = texts("message");
        details.extend(errors.iter().filter_map(|error| error.as_str().map(clean)));
        Self {
            message: value["message"].as_str().map(clean).unwrap_or_default(),
            codes: texts("code"),
            details,
        }
    }
}

/// A text of the server in one line of ours.
fn clean(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    // Before it is cut, perhaps in the middle of a token.
    let text = secrets::redacted(text);
    text.chars().map(visible).take(300).collect()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = [self.details.as_slice(), &self.codes].concat();
        match more.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.message, more.join(", ")),
        }
    }
}

/// The failure that an answer stands for. `action` is what was tried, e.g. `upload
/// a.tar.zst to osandov/drgn`; `token` whether one was sent.
pub fn failure(action: &str, answer: &Answer, token: bool) -> Failure {
    let refusal = Refusal::parse(&answer.body);
    let mut message = format!("cannot {action}: HTTP status {}", answer.status);
    if refusal != Refusal::default() {
        message = format!("{message}, {refusal}");
    }
    let says = |text: &str| refusal.to_string().to_lowercase().contains(text);
    let hint = match answer.status {
        401 => "the token in GITHUB_TOKEN or GH_TOKEN is wrong or has expired",
        403 | 404 if !token => {
            "check --repo and --tag; a private repository, and every change, needs a token in \
             GITHUB_TOKEN"
        }
        403 => {
            "the token must have \"Contents: write\" for this repository; in GitHub Actions: \
             permissions: contents: write"
        }
        404 => "check --repo and --tag, and that the token may see this repository",
        422 if says("already_exists") => "an asset of that name is there already; --replace",
        422 if says("immutable") => {
            "this release is immutable, nothing in it can ever be changed; use another --tag"
        }
        301 | 302 | 307 | 308 => "the repository may have another name now: --repo",
        _ => return Failure::setup(message),
    };
    Failure::setup(message).hint(hint)
}

#[cfg(test)]
mod tests;
