//! From assets of a release to unpacked kernels: the bytes go from the network
//! through the checksum, zstd and tar into a temporary directory, which is then
//! renamed. Nothing of the package itself is kept.
//!
//! A connection that breaks is followed by another that asks for the rest, at the
//! address where the asset is to be had *now*: signed addresses expire. What came
//! damaged is fetched once more from the start and then refused.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Error, Result, anyhow};

use crate::archive;
use crate::base::error::{self, Failure};
use crate::base::{disk, env::Env, format::thousands, interrupt, parallel, sha256::Sha256};
use crate::kernel::store::{self, StorePlace, Vacancy};
use crate::model::{
    arch::Arch, kernel::LocalKernel, kernel_request::Candidate, package_name::PackageName,
    version::Release,
};
use crate::net::github::{Asset, AssetState, Client};
use crate::net::http::retry::Retry;
use crate::net::http::{self, HttpError, Response, header};

/// So often is one asset begun from the start: because it came damaged, or because
/// it was another one after a connection broke.
const ROUNDS: u32 = 2;

/// So many bytes between two breaches of a connection are progress.
const PROGRESS: u64 = 64 << 10;

/// A kernel of the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What the asset's name says.
    pub name: PackageName,
    pub asset: Asset,
}

impl Candidate for Package {
    fn arch(&self) -> &'static Arch {
        self.name.arch
    }

    fn release(&self) -> &Release {
        &self.name.release
    }

    fn local(&self) -> bool {
        false
    }
}

/// The finished packages of kernels for an architecture among assets.
pub fn packages(assets: &[Asset], arch: &Arch) -> Vec<Package> {
    let finished = assets
        .iter()
        .filter(|asset| asset.state == AssetState::Uploaded);
    let package = finished.filter_map(|asset| {
        let name = asset.package().filter(|name| name.arch == arch)?;
        let asset = asset.clone();
        Some(Package { name, asset })
    });
    package.collect()
}

/// A kernel that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    pub kernel: LocalKernel,
    /// It was not there before.
    pub fetched: bool,
}

/// Sizes for people, in millions of bytes.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", thousands(bytes.div_ceil(1_000_000)))
}

/// Fetches kernels that are not there, at most `jobs` at a time; the results are
/// in the order of `packages`. One that fails does not keep others from coming.
pub fn download(
    env: &Env,
    client: &Client,
    packages: &[Package],
    jobs: usize,
) -> Vec<Result<Downloaded>> {
    let mut results = Vec::new();
    let mut missing = Vec::new();
    for package in packages {
        let PackageName { arch, release } = &package.name;
        let here = store::open(&store::kernel_path(&env.paths, arch, release)).ok();
        match here {
            Some(_) => env.ui.info(format!("{release} is here already")),
            None => missing.push(package),
        }
        let fetched = false;
        results.push(here.map(|kernel| Ok(Downloaded { kernel, fetched })));
    }
    let message = match missing.as_slice() {
        [] => return results.into_iter().flatten().collect(),
        [one] => format!("downloading {}", one.name.release),
        more => format!("downloading {} kernels", more.len()),
    };
    let total = missing.iter().map(|package| package.asset.size).sum();
    let (size, from) = (megabytes(total), &client.location);
    let mut task = env.ui.task(format!("{message} ({size}) from {from}"));
    let received = AtomicU64::new(0);
    let fetch = |package: &&Package| fetch(env, client, package, &received);
    let fetched = parallel::map(jobs, &missing, fetch, |_| {
        let received = received.load(Ordering::Relaxed).min(total);
        task.update(format!("{} of {size}", megabytes(received)));
    });
    let mut fetched = fetched.into_iter();
    let or_fetched = |result: Option<_>| result.or_else(|| fetched.next());
    results.into_iter().filter_map(or_fetched).collect()
}

/// Fetches one kernel.
fn fetch(
    env: &Env,
    client: &Client,
    package: &Package,
    received: &AtomicU64,
) -> Result<Downloaded> {
    interrupt::check()?;
    let asset = &package.asset;
    let name = &asset.name;
    let vacancy = match store::vacancy(env, &package.name)? {
        StorePlace::Taken(kernel) => {
            env.ui.info(format!("{name} was fetched by another run"));
            received.fetch_add(asset.size, Ordering::Relaxed);
            let fetched = false;
            return Ok(Downloaded { kernel, fetched });
        }
        StorePlace::Vacant(vacancy) => vacancy,
    };
    let sha256 = asset.sha256()?;
    if sha256.is_none() {
        let instead = "its size and zstd's checksum must do";
        env.ui
            .verbose(format!("{name} has no checksum at GitHub; {instead}"));
    }
    if asset.size == 0 {
        return Err(damaged(client, asset, &anyhow!("it is empty")).into());
    }
    let mut round = 1;
    loop {
        let why = match attempt(client, asset, sha256, &vacancy, received) {
            Ok(kernel) => {
                let fetched = true;
                return Ok(Downloaded { kernel, fetched });
            }
            Err(Trouble::Lasting(error)) => return Err(error),
            Err(Trouble::Damaged(why)) => why,
        };
        if round == ROUNDS {
            let hint = "it was fetched twice; nothing was kept";
            return Err(damaged(client, asset, &why).hint(hint).into());
        }
        round += 1;
        let message = format!("{name} came damaged, fetching it once more: {why:#}");
        env.ui.warn(message);
    }
}

fn damaged(client: &Client, asset: &Asset, why: &Error) -> Failure {
    let from = &client.location;
    Failure::setup(format!("{} of {from} is damaged: {why:#}", asset.name))
}

/// Why an attempt failed.
enum Trouble {
    /// The bytes are wrong: others may come.
    Damaged(Error),
    /// Another attempt finds the same.
    Lasting(Error),
}

fn attempt(
    client: &Client,
    asset: &Asset,
    sha256: Option<&str>,
    vacancy: &Vacancy,
    received: &AtomicU64,
) -> Result<LocalKernel, Trouble> {
    let temporary = vacancy.temporary().map_err(Trouble::Lasting)?;
    let mut body = Resuming::new(client, asset, received);
    let limits = archive::UnpackLimits::of(asset.size);
    let mut unpacked = archive::unpack_into(&mut body, temporary.path(), &limits);
    // A limit, the disk or a signal: more bytes change nothing.
    let enough = |error: &Error| error::kind(error).is_some() || is_of_the_system(error);
    if body.trouble.is_none() && !unpacked.as_ref().is_err_and(enough) {
        // To the very end, or the checksum would be one of a part.
        let rest = io::copy(&mut body, &mut io::sink()).map(drop);
        unpacked = unpacked.and_then(|()| Ok(rest?));
    }
    let result = match (body.trouble.take(), unpacked) {
        (Some(trouble), _) => Err(trouble),
        (None, Ok(())) => body.verify(sha256).map(drop),
        (None, Err(error)) if disk::is_full(&error) => {
            let place = temporary.path().parent().unwrap_or(temporary.path());
            let (name, place) = (&asset.name, place.display());
            let message = format!("cannot unpack {name}: the disk is full: {place}");
            let hint = "a kernel takes about 400 MB; free some space or use another --directory";
            Err(Trouble::Lasting(Failure::setup(message).hint(hint).into()))
        }
        (None, Err(error)) if is_of_the_system(&error) => {
            let error = error.context(format!("cannot unpack {}", asset.name));
            Err(Trouble::Lasting(error))
        }
        (None, Err(error)) => Err(match (interrupt::check(), body.verify(sha256)) {
            (Err(interrupted), _) => Trouble::Lasting(interrupted.into()),
            // Fetched again it would be the same.
            (_, verified) if error::kind(&error).is_some() || matches!(verified, Ok(true)) => {
                Trouble::Lasting(damaged(client, asset, &error).into())
            }
            _ => Trouble::Damaged(error),
        }),
    };
    if let Err(trouble) = result {
        received.fetch_sub(body.counted, Ordering::Relaxed);
        return Err(trouble);
    }
    // The name and what is in it must agree; that no other attempt mends.
    let from = format!("{} of {}", asset.name, client.location);
    let kernel = vacancy.fill(temporary, &from);
    kernel.map_err(|error| Trouble::Lasting(error::not_the_users(error)))
}

/// Whether a system call failed; that bytes came damaged is found without one.
fn is_of_the_system(error: &Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|error: &io::Error| error.raw_os_error().is_some())
}

/// The bytes of an asset, whatever happens to connections.
struct Resuming<'a> {
    client: &'a Client,
    asset: &'a Asset,
    response: Option<Response>,
    /// The strong validator of what came so far (RFC 9110, section 8.8.3); only
    /// such a one can be used to ask for a part.
    validator: Option<String>,
    /// What came last, as far as it was not read.
    chunk: io::Cursor<Vec<u8>>,
    /// Bytes that came, all in all.
    position: u64,
    /// Where `retry` began to count.
    counts_from: u64,
    /// Bytes that come again and are not wanted.
    skip: u64,
    hash: Sha256,
    retry: Retry,
    received: &'a AtomicU64,
    /// What of `received` is ours.
    counted: u64,
    /// Why reading failed.
    trouble: Option<Trouble>,
}

impl<'a> Resuming<'a> {
    fn new(client: &'a Client, asset: &'a Asset, received: &'a AtomicU64) -> Self {
        Self {
            client,
            asset,
            response: None,
            validator: None,
            chunk: io::Cursor::default(),
            position: 0,
            counts_from: 0,
            skip: 0,
            hash: Sha256::default(),
            retry: Retry::new(&client.limits),
            received,
            counted: 0,
            trouble: None,
        }
    }

    /// Whether the bytes so far are known to be the right ones.
    fn verify(&self, sha256: Option<&str>) -> Result<bool, Trouble> {
        let found = self.hash.clone().finish();
        match sha256 {
            Some(expected) if !expected.eq_ignore_ascii_case(&found) => {
                let why = anyhow!("its checksum is {found}, not {expected}");
                Err(Trouble::Damaged(why))
            }
            expected => Ok(expected.is_some()),
        }
    }

    /// The next bytes into `chunk`; false at the end.
    fn fill(&mut self) -> Result<bool, Trouble> {
        loop {
            if self.response.is_none() {
                if self.position == self.asset.size && self.position > 0 {
                    return Ok(false);
                }
                let rest = self.validator.as_deref().filter(|_| self.position > 0);
                let rest = rest.map(|validator| (self.position, validator));
                match self.client.open(self.asset, rest) {
                    Ok(response) => self.begin(response)?,
                    Err(error) => {
                        self.pause(error)?;
                        continue;
                    }
                }
            }
            let Some(response) = &mut self.response else {
                continue;
            };
            match response.chunk() {
                Ok(Some(chunk)) => {
                    if self.take(chunk)? {
                        return Ok(true);
                    }
                }
                Ok(None) => {
                    self.response = None;
                    if self.position != self.asset.size {
                        let (came, size) = (self.position, self.asset.size);
                        let why = format!("{came} of {size} bytes came");
                        self.pause(HttpError::Broken(why).into())?;
                    } else if self.position == 0 {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    self.response = None;
                    self.pause(error)?;
                }
            }
        }
    }

    /// Takes in a new answer.
    fn begin(&mut self, response: Response) -> Result<(), Trouble> {
        let offset = response.offset();
        let offset = offset.map_err(|error| Trouble::Lasting(error.into()))?;
        let etag = header(&response.headers, "etag").filter(|etag| !etag.starts_with("W/"));
        let validator = etag.map(str::to_owned);
        if self.position == 0 {
            self.validator = validator;
        } else {
            // A part need not repeat the validator that it was asked for with.
            let same = match (&validator, &self.validator) {
                (Some(new), Some(old)) => new == old,
                (None, Some(_)) => offset > 0,
                (_, None) => false,
            };
            let at = self.position;
            if !same || offset > at {
                return Err(Trouble::Damaged(anyhow!(
                    "the connection broke after {at} bytes, and the rest may be that of another file"
                )));
            }
        }
        self.skip = self.position - offset.min(self.position);
        self.response = Some(response);
        Ok(())
    }

    /// Takes in bytes; false if all of them had come before.
    fn take(&mut self, mut chunk: Vec<u8>) -> Result<bool, Trouble> {
        let known = self.skip.min(chunk.len() as u64);
        self.skip -= known;
        chunk.drain(..usize::try_from(known).unwrap_or(chunk.len()));
        if chunk.is_empty() {
            return Ok(false);
        }
        self.position += chunk.len() as u64;
        // It goes on: what was counted against earlier breaches is forgiven, but not for a
        // few bytes, or a server that sends no more at a time would be asked for ever.
        if self.position - self.counts_from >= PROGRESS {
            self.counts_from = self.position;
            self.retry.reset();
        }
        let (size, count) = (self.asset.size, chunk.len() as u64);
        if self.position > size {
            return Err(Trouble::Damaged(anyhow!("more than its {size} bytes came")));
        }
        self.hash.update(&chunk);
        self.counted += count;
        self.received.fetch_add(count, Ordering::Relaxed);
        self.chunk = io::Cursor::new(chunk);
        Ok(true)
    }

    /// Waits before the next attempt, if there is to be one.
    fn pause(&mut self, error: Error) -> Result<(), Trouble> {
        match http::decide(&mut self.retry, error) {
            Ok(wait) => interrupt::sleep(wait).map_err(|signal| Trouble::Lasting(signal.into())),
            Err(error) if interrupt::pending().is_some() => Err(Trouble::Lasting(error)),
            Err(error) => {
                let action = format!("fetch {}", self.asset.name);
                Err(Trouble::Lasting(self.client.explain(&action, error)))
            }
        }
    }
}

impl Read for Resuming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.trouble.is_some() {
            return Err(io::Error::other("it failed before"));
        }
        let count = self.chunk.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.fill() {
            Ok(true) => self.chunk.read(buffer),
            Ok(false) => Ok(0),
            Err(trouble) => {
                self.trouble = Some(trouble);
                Err(io::Error::other("the download failed"))
            }
        }
    }
}

/// Fetches one kernel that is not there.
pub fn download_one(env: &Env, client: &Client, package: &Package) -> Result<Downloaded> {
    download(env, client, std::slice::from_ref(package), 1)
        .pop()
        .context("a download ended without a result")?
}
