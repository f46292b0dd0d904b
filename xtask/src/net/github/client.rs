//! Asks GitHub's API: which assets a release has, their bytes, and changes.
//!
//! What may be kept is kept ([`super::cache`]): an answer that did not change costs
//! nothing of the quota for those who have a token
//! (docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api),
//! and when nobody answers, what was said before serves, with a notice.
//!
//! The token goes to the origin of the API, and to that of the `upload_url` which
//! the API itself answered. The bytes of assets come from other hosts, to which it
//! does not go.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::api::{self, Asset, GithubRelease};
use super::cache::{Cache, Kept};
use super::location::Location;
use crate::base::{env::Env, environment::TOKENS, error::Failure, time};
use crate::net::http::address::{host, is_private, origin};
use crate::net::http::{self, HttpError, HttpLimits, Method, Request, Response, Secret};

/// A release that lists fewer assets in itself lists all: the documentation does
/// not promise that it does, and no answer of this API is cut to fewer than this
/// by default.
const EMBEDDED: usize = 30;

/// Requests that it takes to list a release with so many assets.
pub fn requests_to_list(assets: usize) -> usize {
    if assets < EMBEDDED {
        return 1;
    }
    // The last page is known by not being full.
    1 + (assets / api::PAGE + 1).min(api::ASSETS_MAX / api::PAGE)
}

/// A wait that is worth a line.
const LONG_WAIT: Duration = Duration::from_secs(3);

/// A server may take so long to look at what was uploaded before it answers.
const UPLOAD_SILENCE: Duration = Duration::from_secs(120);

/// Whether what the API said a moment ago is new enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As long as the server wants nobody to ask again, at most a minute.
    Usual,
    /// It must say that it still holds.
    Checked,
}

/// All that a release has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub release: GithubRelease,
    /// All of them, whatever they are.
    pub assets: Vec<Asset>,
    /// Nobody could be asked, and this is what was said before.
    pub outdated: bool,
}

/// The text of a failure, and whether there is no such release.
type Refused = (String, bool);

/// Somebody who can be asked for one release.
#[derive(Debug)]
pub struct Client {
    pub location: Location,
    /// Time limits and the number of attempts, for what is built on this as well.
    pub limits: HttpLimits,
    token: Option<Secret>,
    cache: Cache,
    env: Env,
    /// What came of asking.
    listing: Mutex<Option<Result<Arc<Listing>, Refused>>>,
    told: AtomicBool,
}

/// The token of `GITHUB_TOKEN`, else of `GH_TOKEN`.
pub fn token_from(variable: impl Fn(&str) -> Option<String>) -> Option<Secret> {
    let mut tokens = TOKENS.into_iter().filter_map(variable);
    let token = tokens.find(|token| !token.trim().is_empty())?;
    Some(Secret::new(&token))
}

impl Client {
    /// A client; it asks nobody yet.
    pub fn new(env: &Env, location: Location, token: Option<Secret>) -> Self {
        Self {
            location,
            token,
            cache: Cache::new(&env.paths),
            limits: HttpLimits::default(),
            env: env.clone(),
            listing: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// The release and its assets. Asked for once in the life of a client, with or
    /// without success, unless it must be checked: a test run that looks for forty
    /// kernels must not wait forty times for a host that is not there.
    pub fn listing(&self, freshness: Freshness) -> Result<Arc<Listing>> {
        let mut known = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        match (known.as_ref(), freshness) {
            (Some(Ok(listing)), Freshness::Usual) => return Ok(Arc::clone(listing)),
            (Some(Err((why, missing))), Freshness::Usual) => {
                return Err(refusal(Failure::setup(why), *missing));
            }
            _ => {}
        }
        let listing = self.fetch_listing(freshness).map(Arc::new);
        *known = Some(listing.as_ref().map(Arc::clone).map_err(|error| {
            // The whole was said once.
            let why = match http::is_unreachable(error) {
                true => format!("{} cannot be reached", host(&self.location.api_url)),
                false => format!("{error:#}"),
            };
            (why, is_missing(error))
        }));
        listing
    }

    /// A warning about this release, which is said once in the life of a client.
    pub fn warn_once(&self, message: impl AsRef<str>) {
        if !self.told.swap(true, Ordering::Relaxed) {
            self.env.ui.warn(message);
        }
    }

    fn fetch_listing(&self, freshness: Freshness) -> Result<Listing> {
        let path = api::release_by_tag(&self.location.repository, &self.location.tag);
        let (mut release, mut outdated) = self.get::<GithubRelease>(&path, freshness)?;
        let mut assets = std::mem::take(&mut release.assets);
        if assets.len() >= EMBEDDED {
            assets.clear();
            for page in 1..=api::ASSETS_MAX / api::PAGE {
                let path = api::assets(&self.location.repository, release.id, page);
                let (more, old) = self.get::<Vec<Asset>>(&path, freshness)?;
                outdated |= old;
                let last = more.len() < api::PAGE;
                assets.extend(more);
                if last {
                    break;
                }
            }
            // Between two pages an asset can move from one to the other.
            assets.sort_by_key(|asset| asset.id);
            assets.dedup_by_key(|asset| asset.id);
        }
        if outdated {
            let kept = self.cache.get(&self.url(&path));
            let when = kept.map(|kept| format!(" of {}", time::local(kept.checked)));
            let (when, location) = (when.unwrap_or_default(), &self.location);
            let message = format!("using the list{when} of what {location} has");
            self.env.ui.warn(message);
        }
        Ok(Listing {
            release,
            assets,
            outdated,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.location.api_url)
    }

    /// A request to the API for an answer of that kind.
    fn request(&self, method: Method, url: &str, accept: &str) -> Request {
        let mut request = Request::new(method, url)
            .header("accept", accept)
            .header("x-github-api-version", api::VERSION);
        request.authorization = self.token_for(url);
        request
    }

    /// The token, if the API itself answers at this address.
    fn token_for(&self, url: &str) -> Option<Secret> {
        let same = origin(url).is_some() && origin(url) == origin(&self.location.api_url);
        self.token.clone().filter(|_| same)
    }

    fn notice(&self, wait: Duration) {
        if wait >= LONG_WAIT {
            let (host, seconds) = (host(&self.location.api_url), wait.as_secs());
            let message = format!("rate limited by {host}, retrying in {seconds} s");
            self.env.ui.info(message);
        }
    }

    /// Gets something, and whether that is only what was said before.
    fn get<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        freshness: Freshness,
    ) -> Result<(T, bool)> {
        let url = self.url(path);
        let kept = self.cache.get(&url);
        let parse_kept = |kept: &Kept| serde_json::from_slice::<T>(&kept.body).ok();
        if let (Some(kept), Freshness::Usual) = (&kept, freshness)
            && kept.fresh(SystemTime::now())
            && let Some(value) = parse_kept(kept)
        {
            return Ok((value, false));
        }
        let asked = http::retrying(&url, &self.limits, &|wait| self.notice(wait), || {
            let mut request = self.request(Method::GET, &url, api::ACCEPT);
            if let Some(kept) = &kept {
                request = request.header("if-none-match", &kept.etag);
            }
            let mut response = request.send(&self.limits)?;
            let mut body = response.bytes(api::ANSWER_MAX)?;
            let older = kept.as_ref().filter(|_| response.status == 304);
            if let Some(older) = older {
                body.clone_from(&older.body);
            }
            let value = serde_json::from_slice::<T>(&body).map_err(|error| {
                HttpError::Invalid(format!("the answer is not that of GitHub's API: {error}"))
            })?;
            let answer = Kept::new(&url, &response.headers, older, &body, SystemTime::now());
            // It only saves the next run something.
            if let Some(Err(error)) = answer.map(|answer| self.cache.put(&answer)) {
                self.env.ui.verbose(format!("{error:#}"));
            }
            Ok(value)
        });
        let error = match asked {
            Ok(value) => return Ok((value, false)),
            Err(error) => error,
        };
        // Serves when the trouble is not of what was asked.
        let passing = match error.downcast_ref::<HttpError>() {
            Some(HttpError::Answer(answer)) => answer.status >= 500 || answer.status == 429,
            Some(_) => true,
            None => false,
        };
        if passing && let Some(value) = kept.as_ref().and_then(parse_kept) {
            self.env.ui.warn(format!("{error:#}"));
            return Ok((value, true));
        }
        let action = format!("list what {} has", self.location);
        Err(self.explain(&action, error))
    }

    /// An error with what was tried (e.g. `delete a from b`) and, if there is one, the
    /// remedy. The [`HttpError`] stays in the chain unless it was an answer that says
    /// no.
    pub fn explain(&self, action: &str, error: anyhow::Error) -> anyhow::Error {
        match error.downcast_ref::<HttpError>() {
            Some(HttpError::Answer(answer)) if answer.status < 500 => {
                let failure = api::failure(action, answer, self.token.is_some());
                refusal(failure, answer.status == 404)
            }
            Some(HttpError::Limited(until)) => {
                let host = host(&self.location.api_url);
                let message = format!("cannot {action}: {host} answers no more until {until}");
                let failure = Failure::setup(message);
                let hint = "with a token in GITHUB_TOKEN the quota is larger";
                match self.token {
                    Some(_) => failure.into(),
                    None => failure.hint(hint).into(),
                }
            }
            Some(_) => error.context(format!("cannot {action}")),
            // Ours, and it says what was tried.
            None => error,
        }
    }

    /// The bytes of an asset, or those from an offset on if it is still the one with that
    /// validator. One attempt at each address where they can be.
    ///
    /// Without a token the public address is asked first, because requests to the
    /// API count against a small quota; with one the API, which also knows private
    /// repositories, and the public address if the API refuses or its quota is used
    /// up ("Get a release asset").
    pub fn open(&self, asset: &Asset, rest: Option<(u64, &str)>) -> Result<Response> {
        let public = (asset.browser_download_url.as_str(), false);
        let from_api = (asset.url.as_str(), true);
        let addresses = match self.token_for(&asset.url) {
            Some(_) => [from_api, public],
            None => [public, from_api],
        };
        let mut last = None;
        for (url, api) in addresses {
            let mut request = match api {
                true => self.request(Method::GET, url, api::ACCEPT_BYTES),
                false => Request::new(Method::GET, url),
            };
            if let Some((offset, validator)) = rest {
                request = request
                    .header("range", format!("bytes={offset}-"))
                    .header("if-range", validator);
            }
            let error = match request.send(&self.limits) {
                Ok(response) => return Ok(response),
                Err(error) if http::is_unreachable(&error) => return Err(error),
                Err(error) => error.context(url.to_owned()),
            };
            if !matches!(http::status_of(&error), Some(401 | 403 | 404 | 410 | 429)) {
                return Err(error);
            }
            // What the first one said is about the address that should work.
            last = last.or(Some(error));
        }
        Err(last.context("an asset without an address")?)
    }

    /// That there is a token.
    pub fn require_token(&self, action: &str) -> Result<()> {
        if self.token.is_some() {
            return Ok(());
        }
        let failure = Failure::setup(format!("cannot {action}: there is no token"));
        let hint = "GITHUB_TOKEN or GH_TOKEN must have one with \"Contents: write\"";
        Err(failure.hint(hint).into())
    }

    /// Changes an asset; the body of the answer.
    fn change(
        &self,
        method: &Method,
        id: u64,
        json: Option<String>,
        action: &str,
    ) -> Result<Vec<u8>> {
        self.require_token(action)?;
        let url = self.url(&api::asset(&self.location.repository, id));
        let mut attempts = 0;
        let changed = http::retrying(&url, &self.limits, &|wait| self.notice(wait), || {
            attempts += 1;
            let mut request = self.request(method.clone(), &url, api::ACCEPT);
            request.json.clone_from(&json);
            request.send(&self.limits)?.bytes(api::ANSWER_MAX)
        });
        self.forget();
        changed.or_else(|error| {
            let gone = http::status_of(&error) == Some(404);
            match gone && attempts > 1 && method == Method::DELETE {
                // An earlier attempt did it, and its answer was lost.
                true => Ok(Vec::new()),
                false => Err(self.explain(action, error)),
            }
        })
    }

    /// What was known is known no more.
    fn forget(&self) {
        *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Gives an asset another name.
    pub fn rename_asset(&self, asset: &Asset, name: &str) -> Result<Asset> {
        let action = format!("rename {} in {} to {name}", asset.name, self.location);
        let json = serde_json::json!({ "name": name }).to_string();
        let body = self.change(&Method::PATCH, asset.id, Some(json), &action)?;
        serde_json::from_slice(&body).with_context(|| format!("cannot {action}"))
    }

    pub fn delete_asset(&self, id: u64, name: &str) -> Result<()> {
        let action = format!("delete {name} from {}", self.location);
        self.change(&Method::DELETE, id, None, &action).map(drop)
    }

    /// Sends a file as a new asset. One attempt: what a failed one leaves behind must be looked at
    /// first. `progress` gets bytes sent. An asset that has other bytes than these is deleted. An
    /// [`HttpError`] is for [`Client::explain`], if another attempt cannot do better.
    pub fn upload(
        &self,
        release: &GithubRelease,
        (name, label): (&str, Option<&str>),
        file: File,
        (length, sha256): (u64, &str),
        mut progress: impl FnMut(u64),
    ) -> Result<Asset> {
        let action = format!("upload {name} to {}", self.location);
        self.require_token(&action)?;
        let url = api::upload_url(&release.upload_url, name, label);
        if !is_private(&url) {
            let message = format!("cannot {action}: its address {url} is not encrypted");
            return Err(Failure::setup(message).into());
        }
        let limits = HttpLimits {
            silence: self.limits.silence.max(UPLOAD_SILENCE),
            head: self.limits.head.max(UPLOAD_SILENCE),
            ..self.limits
        };
        let sent = Arc::new(AtomicU64::new(0));
        let mut request = self
            .request(Method::POST, &url, api::ACCEPT)
            // The only type that the description of the API knows for an asset.
            .header("content-type", "application/octet-stream")
            .stream(file, length, Arc::clone(&sent));
        // The API answered this address.
        request.authorization.clone_from(&self.token);
        let answer = request
            .send_watched(&limits, || progress(sent.load(Ordering::Relaxed)))
            .and_then(|mut response| response.bytes(api::ANSWER_MAX));
        self.forget();
        let asset = serde_json::from_slice::<Asset>(&answer?);
        let asset = asset.with_context(|| format!("cannot {action}"))?;
        let found = asset.digest.as_deref();
        let same = |found: &str| found.eq_ignore_ascii_case(&format!("sha256:{sha256}"));
        if found.is_none_or(same) && asset.size == length {
            return Ok(asset);
        }
        self.delete_asset(asset.id, name)?;
        let found = found.map_or_else(|| format!("{} bytes", asset.size), str::to_owned);
        let failure = Failure::setup(format!(
            "cannot {action}: the file has {length} bytes with the checksum {sha256}, what \
             arrived has {found}"
        ));
        Err(failure.hint("it was deleted; try again").into())
    }
}

/// The failure when what was asked for is not there.
#[derive(Debug)]
struct Missing(Failure);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Missing {}

fn refusal(failure: Failure, missing: bool) -> anyhow::Error {
    match missing {
        true => Missing(failure).into(),
        false => failure.into(),
    }
}

/// Whether an error says that there is no such release, or asset.
pub fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Missing>())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::net::github::location::Settings;

    #[test]
    fn the_first_token_counts_and_an_empty_one_is_none() {
        let token = |github: &str, gh: &str| {
            let (github, gh) = (github.to_owned(), gh.to_owned());
            token_from(move |name| match name {
                "GITHUB_TOKEN" => Some(github.clone()),
                "GH_TOKEN" => Some(gh.clone()),
                _ => None,
            })
        };
        assert_eq!(token("a", "b"), Some(Secret::new("a")));
        assert_eq!(token(" \n", "b"), Some(Secret::new("b")));
        assert_eq!(token("", ""), None);
        assert_eq!(token_from(|_| None), None);
    }

    #[test]
    fn the_token_goes_to_the_api_and_is_not_shown() {
        let work = tempfile::tempdir().unwrap();
        let env = Env::for_tests(work.path());
        let settings = Settings {
            api_url: Some("https://ghe.example.org/api/v3".into()),
            ..Settings::default()
        };
        let location = Location::choose(&[&settings], None).unwrap();
        let token = Some(Secret::new("ghp_secret"));
        let client = Client::new(&env, location, token);
        for (url, goes) in [
            ("https://ghe.example.org/api/v3/repos", true),
            ("https://ghe.example.org:443/", true),
            ("http://ghe.example.org/", false),
            ("https://ghe.example.org:8443/", false),
            ("https://ghe.example.org.evil.org/", false),
            ("nonsense", false),
        ] {
            assert_eq!(client.token_for(url).is_some(), goes, "{url}");
        }
        assert!(!format!("{client:?}").contains("ghp_secret"));
    }
}
