//! kernel.org's release archives.
//!
//! `v<major>.x/sha256sums.asc` is one clear-signed list (RFC 9580, section 7) of
//! `<hex>  <name>` lines; it gives both the newest point release and the checksum of
//! its archive. Release candidates are not in it. The list is kept for an hour.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{FoundSource, SourceLocation, SourceWork, satisfies, whole};
use crate::base::{
    disk, env::Env, error::Failure, format::thousands, input, interrupt, programs::find_program,
    sha256::Sha256, temporary::Temporary,
};

use crate::model::version::{Series, Version};
use crate::net::http::{self, HttpError, Limits, unreachable};

/// Where the archives are unless an option says otherwise.
pub const DEFAULT_URL: &str = "https://cdn.kernel.org/pub/linux/kernel";

/// The key with which kernel.org signs its lists of checksums, "Kernel.org checksum
/// autosigner" (<https://www.kernel.org/signature.html>).
const AUTOSIGNER: &str = "B8868C80BA62A1FFFAF5FDA9632D3A06589DA6B1";
const AUTOSIGNER_ADDRESS: &str = "autosigner@kernel.org";

/// How long a list of checksums is believed.
const LIST_AGE: Duration = Duration::from_secs(60 * 60);

/// The list has a line per file since 2.6; it had 1.5 MB in 2025.
const LIST_LIMIT: usize = 32 << 20;

/// An archive.
#[derive(Clone, Debug)]
pub struct SourceArchive {
    url: String,
    name: String,
    sha256: String,
}

/// How much trouble is taken with a host that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// There is another source: gives up at once on a host that was not to be
    /// reached a few minutes ago, and does not insist with one that answers badly.
    Little,
    /// There is none.
    Much,
}

/// Finds each version, or the newest of a series. The list of a major version is
/// read once for all of them.
pub fn find_all(
    env: &Env,
    base: &str,
    versions: &[Version],
    patience: Patience,
) -> Vec<Result<FoundSource>> {
    let mut lists = ChecksumLists {
        env,
        base: base.trim_end_matches('/'),
        patience,
        read: BTreeMap::new(),
    };
    versions.iter().map(|version| lists.find(version)).collect()
}

/// The lists of checksums that were read so far.
struct ChecksumLists<'a> {
    env: &'a Env,
    base: &'a str,
    patience: Patience,
    /// By folder: what is signed, or why there is none.
    read: BTreeMap<String, Result<String, String>>,
}

impl ChecksumLists<'_> {
    fn find(&mut self, version: &Version) -> Result<FoundSource> {
        if version.candidate.is_some() {
            return Err(Failure::setup(format!(
                "release candidates such as {version} have no checksum there"
            ))
            .hint("get them by tag: --source git:URL")
            .into());
        }
        let folder = format!("{}/{}", self.base, folder(version.series));
        let url = format!("{folder}/sha256sums.asc");
        let (found, name, sha256) = newest(self.list(&url)?, version)
            .ok_or_else(|| Failure::setup(format!("{url} has no archive of Linux {version}")))?;
        Ok(FoundSource {
            version: whole(found),
            origin: format!("kernel.org {name}"),
            checksum: sha256.clone(),
            location: SourceLocation::KernelOrg(SourceArchive {
                url: format!("{folder}/{name}"),
                name,
                sha256,
            }),
        })
    }

    /// The list at `url`; the second question after a failure costs nothing.
    fn list(&mut self, url: &str) -> Result<&str> {
        if !self.read.contains_key(url) {
            let list = match self.patience {
                Patience::Little => self.fetch_quickly(url),
                Patience::Much => fetch_list(self.env, url, &Limits::default()),
            };
            match list {
                Ok(list) => self.read.insert(url.to_owned(), Ok(list)),
                Err(error) => {
                    self.read.insert(url.to_owned(), Err(format!("{error:#}")));
                    return Err(error);
                }
            };
        }
        match self.read.get(url) {
            Some(Ok(list)) => Ok(list),
            Some(Err(why)) => Err(Failure::setup(why.clone()).into()),
            None => bail!("{url} was not read"),
        }
    }

    fn fetch_quickly(&self, url: &str) -> Result<String> {
        if unreachable::is_noted(self.base) {
            bail!("{} could not be reached before", http::host(self.base));
        }
        let limits = Limits {
            attempts: 2,
            silence: Duration::from_secs(10),
            ..Limits::default()
        };
        let result = fetch_list(self.env, url, &limits);
        if result.as_ref().is_err_and(http::is_unreachable) {
            unreachable::note(self.base);
        }
        result
    }
}

/// What the list of checksums at `url` signs, from the cache or from there.
fn fetch_list(env: &Env, url: &str, limits: &Limits) -> Result<String> {
    let file = env.paths.cache().join("kernel.org").join(key(url));
    if age(&file).is_some_and(|age| age < LIST_AGE) {
        let list = input::text(&file, input::TEXT)?;
        return Ok(signed_text(&list)?.to_owned());
    }
    let list = http::text(url, LIST_LIMIT, limits)?;
    let text = signed_text(&list).with_context(|| url.to_owned())?;
    let temporary = Temporary::file(&file)?;
    temporary
        .as_file()
        .write_all(list.as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))?;
    // Before it is in its place, where nobody checks it any more.
    match check_signature(temporary.path()).with_context(|| url.to_owned())? {
        Signature::Good => env.ui.verbose(format!("{url} has a good signature")),
        Signature::Unchecked(why) => {
            env.ui
                .info(format!("the signature of {url} was not checked: {why}"));
        }
    }
    temporary.persist()?;
    Ok(text.to_owned())
}

/// The folder of a series.
fn folder(series: Series) -> String {
    format!("v{}.x", series.major)
}

/// Downloads, checks and unpacks.
pub fn fetch(work: &SourceWork<'_>, archive: &SourceArchive, directory: &Path) -> Result<()> {
    let file = work.env.paths.sources().join(&archive.name);
    {
        let mut task = work.env.ui.task(format!("downloading {}", archive.url));
        let mut last = 0;
        http::download(
            &archive.url,
            &file,
            &archive.sha256,
            &Limits::default(),
            |received, total| {
                // A step that a person can see.
                if received - last >= 1 << 20 {
                    last = received;
                    let mib = |bytes: u64| thousands(bytes >> 20);
                    task.update(match total {
                        Some(total) => format!("{} of {} MiB", mib(received), mib(total)),
                        None => format!("{} MiB", mib(received)),
                    });
                }
            },
        )
        .inspect_err(|_| {
            if interrupt::pending().is_some() {
                let kept = "what came so far was kept, the next run goes on from there";
                work.env.ui.info(format!("{}: {kept}", archive.name));
            }
        })
        .map_err(|error| match http::is_full(&error) {
            true => super::disk_full(&work.env.paths.sources()),
            false => error,
        })?;
    }
    let result = work.unpack(&file, directory);
    if result.is_ok() || interrupt::pending().is_none() {
        // Unpacked, or it cannot be and the next run starts from the network.
        disk::remove_file(&file)?;
    }
    result
}

/// The text that a clear-signed message signs.
fn signed_text(message: &str) -> Result<&str> {
    const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";
    const SIGNATURE: &str = "\n-----BEGIN PGP SIGNATURE-----\n";
    const END: &str = "\n-----END PGP SIGNATURE-----";
    let parse = || {
        let rest = message.strip_prefix(BEGIN)?;
        let (mut headers, mut text) = (rest, None);
        while let Some((line, after)) = headers.split_once('\n') {
            if line.is_empty() {
                text = Some(after);
                break;
            }
            // The only header that may stand here.
            if !line.starts_with("Hash: ") {
                return None;
            }
            headers = after;
        }
        let (text, signature) = text?.split_once(SIGNATURE)?;
        let (signature, rest) = signature.split_once(END)?;
        let single = !signature.contains("-----") && rest.trim().is_empty();
        // Within the text a line that starts with a dash is escaped with `- `.
        let escaped = text
            .lines()
            .all(|line| !line.starts_with('-') || line.starts_with("- "));
        (single && escaped).then_some(text)
    };
    parse().ok_or_else(|| {
        HttpError::Invalid("the answer is not a clear-signed list of checksums".to_owned()).into()
    })
}

/// The newest archive in a list that is wanted: version, name, checksum.
fn newest(list: &str, wanted: &Version) -> Option<(Version, String, String)> {
    list.lines()
        .filter_map(|line| {
            let (sum, name) = line.split_once("  ")?;
            let version = name.strip_prefix("linux-")?.strip_suffix(".tar.xz")?;
            let version = version.parse::<Version>().ok()?;
            let valid = sum.len() == 64
                && sum
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            (valid && version.candidate.is_none() && satisfies(&version, wanted))
                .then(|| (version, name.to_owned(), sum.to_owned()))
        })
        .max_by_key(|(version, ..)| *version)
}

enum Signature {
    Good,
    Unchecked(String),
}

fn check_signature(file: &Path) -> Result<Signature> {
    if find_program("gpg").is_none() {
        return Ok(Signature::Unchecked("there is no gpg".to_owned()));
    }
    let shell = crate::base::process::shell()?;
    let status = shell
        .cmd("gpg")
        .args([
            "--batch",
            "--no-tty",
            "--no-auto-key-retrieve",
            "--status-fd",
            "1",
        ])
        .arg("--verify")
        .arg(file)
        .quiet()
        .ignore_stderr()
        .ignore_status()
        .read()
        .context("cannot run gpg")?;
    read_status(&status)
}

/// What gpg's status lines say (doc/DETAILS in GnuPG's source).
fn read_status(status: &str) -> Result<Signature> {
    let mut valid = None;
    for line in status.lines() {
        let mut words = line.strip_prefix("[GNUPG:] ").unwrap_or("").split(' ');
        match words.next() {
            Some("BADSIG") => bail!("its signature is bad"),
            // The last field is the primary key's fingerprint.
            Some("VALIDSIG") => valid = words.next_back(),
            _ => {}
        }
    }
    match valid {
        Some(AUTOSIGNER) => Ok(Signature::Good),
        Some(key) => {
            bail!("it is signed with the key {key} and not with that of {AUTOSIGNER_ADDRESS}")
        }
        None => Ok(Signature::Unchecked(format!(
            "gpg does not have the key of {AUTOSIGNER_ADDRESS} (gpg --locate-keys {AUTOSIGNER_ADDRESS})"
        ))),
    }
}

fn key(text: &str) -> String {
    Sha256::of(text.as_bytes())[..16].to_owned()
}

/// The age of a file that is there.
fn age(path: &Path) -> Option<Duration> {
    let modified = path.metadata().ok()?.modified().ok()?;
    // A time in the future is no age at all.
    modified.elapsed().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}\n\
            -----BEGIN PGP SIGNATURE-----\n\niQIz\n=abcd\n-----END PGP SIGNATURE-----\n"
        )
    }

    #[test]
    fn the_newest_point_release_is_found() {
        let sum = |digit: &str| digit.repeat(64);
        let list = format!(
            "{}  linux-6.1.tar.xz\n{}  linux-6.1.9.tar.xz\n{}  linux-6.1.10.tar.xz\n\
            {}  linux-6.1.10.tar.gz\n{}  linux-6.12.1.tar.xz\n{}  patch-6.1.99.xz\n\
            short  linux-6.1.98.tar.xz\n{}  linux-6.1.97.tar.xz\n{} linux-6.1.96.tar.xz\n\
            {}  linux-6.1.95-rc1.tar.xz\n{}  linux-../6.1.94.tar.xz\n",
            sum("a"),
            sum("b"),
            sum("c"),
            sum("d"),
            sum("e"),
            sum("f"),
            sum("G"),
            sum("1"),
            sum("2"),
            sum("3"),
        );
        let message = message(&list);
        let list = signed_text(&message).unwrap();
        let find = |wanted: &str| {
            newest(list, &wanted.parse().unwrap())
                .map(|(version, name, sum)| (version.to_string(), name, sum[..1].to_owned()))
        };
        let expected = |version: &str, sum: &str| {
            let name = format!("linux-{version}.tar.xz");
            Some((version.to_owned(), name, sum.to_owned()))
        };
        assert_eq!(find("6.1"), expected("6.1.10", "c"));
        assert_eq!(find("6.1.9"), expected("6.1.9", "b"));
        assert_eq!(find("6.1.0"), expected("6.1", "a"));
        assert_eq!(find("6.12"), expected("6.12.1", "e"));
        assert_eq!(find("6.1.97"), None);
        assert_eq!(find("6.2"), None);
    }

    #[test]
    fn only_one_whole_message_is_read() {
        let good = message("text");
        assert_eq!(signed_text(&good).unwrap(), "text");
        assert_eq!(signed_text(&message("- -----x\ny")).unwrap(), "- -----x\ny");
        for bad in [
            String::new(),
            "text".to_owned(),
            format!("before\n{good}"),
            format!("{good}after"),
            format!("{good}{good}"),
            good.replace("Hash: SHA256", "Comment: x"),
            good.replace("\n\ntext", "\ntext"),
            good.replace("-----END PGP SIGNATURE-----", ""),
            message("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx"),
            "<html>-----BEGIN PGP SIGNED MESSAGE-----".to_owned(),
        ] {
            assert!(signed_text(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_status_of_gpg_is_read() {
        let valid = |key: &str| {
            format!(
                "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG X y\n[GNUPG:] VALIDSIG SUB 2025-01-01 1 0 4 0 1 8 01 {key}\n"
            )
        };
        assert!(matches!(
            read_status(&valid(AUTOSIGNER)),
            Ok(Signature::Good)
        ));
        let other = "0123456789ABCDEF0123456789ABCDEF01234567";
        assert!(read_status(&valid(other)).is_err());
        assert!(read_status("[GNUPG:] BADSIG X y\n").is_err());
        let missing = "[GNUPG:] ERRSIG X 1 8 01 1 9\n[GNUPG:] NO_PUBKEY X\n";
        assert!(matches!(read_status(missing), Ok(Signature::Unchecked(_))));
        assert!(matches!(read_status(""), Ok(Signature::Unchecked(_))));
    }
}
