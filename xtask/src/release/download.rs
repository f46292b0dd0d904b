//! From assets of a release to unpacked kernels: the bytes go from the network
//! through the checksum, zstd and tar into a temporary directory, which is then
//! renamed. Nothing of the package itself is kept.
//!
//! A connection that breaks is followed by another that asks for the rest, at the
//! address where the asset is to be had *now*: signed addresses expire. What came
//! damaged is fetched once more from the start and then refused.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Error, Result, bail};

use crate::archive;
use crate::base::error::{self, Failure};
use crate::base::{env::Env, interrupt, sha256::Sha256};
use crate::kernel::store::{self, Place, Vacancy};
use crate::model::{
    arch::Arch, kernel::LocalKernel, kernel_request::Candidate, package_name::PackageName,
    version::Release,
};
use crate::net::github::client::{Client, Rest};
use crate::net::github::{Asset, AssetState};
use crate::net::http::retry::Retry;
use crate::net::http::{self, HttpError, Response};

/// So often is one asset begun from the start: because it came damaged, or because
/// it was another one after a connection broke.
const ROUNDS: u32 = 2;

/// So many bytes between two breaches of a connection are progress.
const PROGRESS: u64 = 64 << 10;

/// A kernel of the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What its name says.
    pub name: PackageName,
    /// Where it is.
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
    /// The kernel.
    pub kernel: LocalKernel,
    /// It was not there before.
    pub fetched: bool,
}

/// Sizes for people, in millions of bytes.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// Fetches kernels that are not there, at most `jobs` at a time; the results are
/// in the order of `packages`. One that fails does not keep others from coming.
pub fn download(
    env: &Env,
    client: &Client,
    packages: &[Package],
    jobs: usize,
) -> Vec<Result<Downloaded>> {
    let mut results = packages
        .iter()
        .map(|package| already_there(env, package))
        .collect::<Vec<_>>();
    let missing = (0..packages.len())
        .filter(|&index| results[index].is_none())
        .collect::<VecDeque<_>>();
    let total = missing
        .iter()
        .map(|&index| packages[index].asset.size)
        .sum::<u64>();
    let message = match missing.iter().collect::<Vec<_>>().as_slice() {
        [] => return results.into_iter().flatten().map(Ok).collect(),
        [one] => format!("downloading {}", packages[**one].name.release),
        more => format!("downloading {} kernels", more.len()),
    };
    let from = client.location();
    let mut task = env
        .ui
        .task(format!("{message} ({}) from {from}", megabytes(total)));
    let received = AtomicU64::new(0);
    let jobs = jobs.clamp(1, missing.len());
    let queue = Mutex::new(missing);
    let mut fetched = std::iter::repeat_with(|| None)
        .take(packages.len())
        .collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let (sender, finished) = channel();
        for _ in 0..jobs {
            let (sender, queue, received) = (sender.clone(), &queue, &received);
            scope.spawn(move || {
                let next = || {
                    queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front()
                };
                while let Some(index) = next() {
                    let result = fetch(env, client, &packages[index], received);
                    if sender.send((index, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match finished.recv_timeout(interrupt::POLL) {
                Ok((index, result)) => fetched[index] = Some(result),
                Err(RecvTimeoutError::Timeout) => {
                    let received = received.load(Ordering::Relaxed).min(total);
                    task.update(format!("{} of {}", megabytes(received), megabytes(total)));
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    results
        .iter_mut()
        .zip(fetched)
        .map(|(there, fetched)| match (there.take(), fetched) {
            (Some(there), _) => Ok(there),
            (None, Some(fetched)) => fetched,
            (None, None) => bail!("a download ended without a result"),
        })
        .collect()
}

fn already_there(env: &Env, package: &Package) -> Option<Downloaded> {
    let PackageName { arch, release } = &package.name;
    let kernel = store::open(&store::kernel_path(&env.paths, arch, release)).ok()?;
    env.ui.info(format!("{release} is here already"));
    Some(Downloaded {
        kernel,
        fetched: false,
    })
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
    let vacancy = match store::vacancy(env, &package.name)? {
        Place::Taken(kernel) => {
            env.ui
                .info(format!("{} was fetched by another run", asset.name));
            received.fetch_add(asset.size, Ordering::Relaxed);
            return Ok(Downloaded {
                kernel,
                fetched: false,
            });
        }
        Place::Vacant(vacancy) => vacancy,
    };
    let sha256 = asset.sha256()?;
    if sha256.is_none() {
        env.ui.verbose(format!(
            "{} has no checksum at GitHub; its size and zstd's checksum must do",
            asset.name
        ));
    }
    if asset.size == 0 {
        return Err(damaged(client, asset, &anyhow::anyhow!("it is empty")).into());
    }
    for round in 1.. {
        let why = match attempt(client, asset, sha256, &vacancy, received) {
            Ok(kernel) => {
                return Ok(Downloaded {
                    kernel,
                    fetched: true,
                });
            }
            Err(Trouble::Lasting(error)) => return Err(error),
            Err(Trouble::Damaged(why)) => why,
        };
        if round == ROUNDS {
            return Err(damaged(client, asset, &why)
                .hint("it was fetched twice; nothing was kept")
                .into());
        }
        env.ui.warn(format!(
            "{} came damaged, fetching it once more: {why:#}",
            asset.name
        ));
    }
    unreachable!("the last round returns")
}

fn damaged(client: &Client, asset: &Asset, why: &Error) -> Failure {
    let from = client.location();
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
    let counted = body.counted;
    let result = match (body.trouble.take(), unpacked) {
        (Some(trouble), _) => Err(trouble),
        (None, Err(error)) if http::is_full(&error) => {
            let place = temporary.path().parent().unwrap_or(temporary.path());
            let message = format!(
                "cannot unpack {}: the disk is full: {}",
                asset.name,
                place.display()
            );
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
            (_, Ok(true)) => Trouble::Lasting(damaged(client, asset, &error).into()),
            _ if error::kind(&error).is_some() => {
                Trouble::Lasting(damaged(client, asset, &error).into())
            }
            _ => Trouble::Damaged(error),
        }),
        (None, Ok(())) => body.verify(sha256).map(drop),
    };
    match result {
        // The name and what is in it must agree; that no other attempt mends.
        Ok(()) => vacancy
            .fill(
                temporary,
                &format!("{} of {}", asset.name, client.location()),
            )
            .map_err(|error| Trouble::Lasting(error::not_the_users(error))),
        Err(trouble) => {
            received.fetch_sub(counted, Ordering::Relaxed);
            Err(trouble)
        }
    }
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
    chunk: Vec<u8>,
    at: usize,
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
            chunk: Vec::new(),
            at: 0,
            position: 0,
            counts_from: 0,
            skip: 0,
            hash: Sha256::new(),
            retry: Retry::new(client.limits_of_transfers()),
            received,
            counted: 0,
            trouble: None,
        }
    }

    /// Whether the bytes so far are known to be the right ones.
    fn verify(&self, sha256: Option<&str>) -> Result<bool, Trouble> {
        let found = self.hash.clone().finish();
        match sha256 {
            Some(expected) if !expected.eq_ignore_ascii_case(&found) => Err(Trouble::Damaged(
                anyhow::anyhow!("its checksum is {found}, not {expected}"),
            )),
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
                let rest = self.validator.clone().map(|validator| Rest {
                    offset: self.position,
                    validator,
                });
                let rest = rest.filter(|rest| rest.offset > 0);
                match self.client.open(self.asset, rest.as_ref()) {
                    Ok(response) => self.begin(response)?,
                    Err(error) => {
                        self.pause(error)?;
                        continue;
                    }
                }
            }
            let next = match &mut self.response {
                Some(response) => response.chunk(),
                None => continue,
            };
            match next {
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
        let offset = response
            .offset()
            .map_err(|error| Trouble::Lasting(error.into()))?;
        let etag = response.headers.get("etag");
        let validator = etag
            .filter(|etag| !etag.starts_with("W/"))
            .map(str::to_owned);
        if self.position == 0 {
            self.validator = validator;
        } else {
            // A part need not repeat the validator that it was asked for with.
            let same = match (&validator, &self.validator) {
                (Some(new), Some(old)) => new == old,
                (None, Some(_)) => offset > 0,
                (_, None) => false,
            };
            if !same || offset > self.position {
                return Err(Trouble::Damaged(anyhow::anyhow!(
                    "the connection broke after {} bytes, and the rest may be that of another file",
                    self.position
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
        if self.position > self.asset.size {
            return Err(Trouble::Damaged(anyhow::anyhow!(
                "more than its {} bytes came",
                self.asset.size
            )));
        }
        self.hash.update(&chunk);
        self.counted += chunk.len() as u64;
        self.received
            .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        (self.chunk, self.at) = (chunk, 0);
        Ok(true)
    }

    /// Waits before the next attempt, if there is to be one.
    fn pause(&mut self, error: Error) -> Result<(), Trouble> {
        let lasting = |error| {
            let action = format!("fetch {}", self.asset.name);
            Trouble::Lasting(self.client.explain(&action, error))
        };
        match http::decide(&mut self.retry, &error) {
            Ok(wait) => interrupt::sleep(wait).map_err(|signal| Trouble::Lasting(signal.into())),
            Err(None) if interrupt::pending().is_some() => Err(Trouble::Lasting(error)),
            Err(None) => Err(lasting(error)),
            Err(Some(limited)) => Err(lasting(limited.into())),
        }
    }
}

impl Read for Resuming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.trouble.is_some() {
            return Err(io::Error::other("it failed before"));
        }
        if self.at == self.chunk.len() {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(trouble) => {
                    self.trouble = Some(trouble);
                    return Err(io::Error::other("the download failed"));
                }
            }
        }
        let rest = &self.chunk[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

/// Fetches one kernel that is not there.
pub fn download_one(env: &Env, client: &Client, package: &Package) -> Result<Downloaded> {
    download(env, client, std::slice::from_ref(package), 1)
        .pop()
        .context("a download ended without a result")?
}
