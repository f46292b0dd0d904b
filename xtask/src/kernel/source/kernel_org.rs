//! kernel.org's release archives.
//!
//! `v<major>.x/sha256sums.asc` is one clear-signed list (RFC 9580, section 7) of
//! `<hex>  <name>` lines; it gives both the newest point release and the checksum of
//! its archive. Release candidates are not in it. The list is kept for an hour.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{FoundSource, SourceLocation, newest, say_kept, unpack, whole};
use crate::base::{
    disk, env::Env, error, error::Failure, format::thousands, input, interrupt, process::shell,
    programs::find_program, sha256::Sha256, temporary::Temporary,
};
use crate::model::version::Version;
use crate::net::http::{self, HttpError, HttpLimits, unreachable};

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

/// Finds each version, or the newest of a series. The list of a major version is
/// read once for all of them. Not much trouble is taken if there is an alternative.
pub fn find_all(
    env: &Env,
    base: &str,
    versions: &[Version],
    alternative: bool,
) -> Vec<Result<FoundSource>> {
    let base = base.trim_end_matches('/');
    let mut lists = BTreeMap::new();
    let find = |version: &Version| {
        if version.candidate.is_some() {
            let message = format!("release candidates such as {version} have no checksum there");
            let hint = "get them by tag: --source git:URL";
            return Err(Failure::setup(message).hint(hint).into());
        }
        let folder = format!("{base}/v{}.x", version.series.major);
        let url = format!("{folder}/sha256sums.asc");
        let list = lists
            .entry(folder.clone())
            .or_insert_with(|| match alternative {
                true => fetch_quickly(env, base, &url),
                false => fetch_list(env, &url, &HttpLimits::default()),
            });
        let list = list.as_ref().map_err(error::copy)?;
        let (found, (name, sha256)) = newest_archive(list, version)
            .ok_or_else(|| Failure::setup(format!("{url} has no archive of Linux {version}")))?;
        Ok(FoundSource {
            own_name: String::new(),
            version: whole(found),
            origin: format!("kernel.org {name}"),
            checksum: sha256.to_owned(),
            location: SourceLocation::KernelOrg(format!("{folder}/{name}")),
        })
    };
    versions.iter().map(find).collect()
}

/// Gives up at once on a host that was not to be reached a few minutes ago, and does not
/// insist with one that answers badly.
fn fetch_quickly(env: &Env, base: &str, url: &str) -> Result<String> {
    if unreachable::is_noted(base) {
        bail!("{} could not be reached before", http::host(base));
    }
    let limits = HttpLimits {
        attempts: 2,
        silence: Duration::from_secs(10),
        ..HttpLimits::default()
    };
    let result = fetch_list(env, url, &limits);
    if result.as_ref().is_err_and(http::is_unreachable) {
        unreachable::note(base);
    }
    result
}

/// What the list of checksums at `url` signs, from the cache or from there.
fn fetch_list(env: &Env, url: &str, limits: &HttpLimits) -> Result<String> {
    let file = env
        .paths
        .cache()
        .join("kernel.org")
        .join(&Sha256::of(url)[..16]);
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    // A time in the future is no age at all.
    let age = modified.ok().and_then(|time| time.elapsed().ok());
    if age.is_some_and(|age| age < LIST_AGE) {
        return Ok(signed_text(&input::text(&file, input::TEXT)?)?.to_owned());
    }
    let list = http::text(url, LIST_LIMIT, limits)?;
    let text = signed_text(&list).with_context(|| url.to_owned())?;
    let temporary = Temporary::file(&file)?;
    disk::write(temporary.path(), &list)?;
    // Before it is in its place, where nobody checks it any more.
    match check_signature(temporary.path()).with_context(|| url.to_owned())? {
        None => env.ui.verbose(format!("{url} has a good signature")),
        Some(why) => {
            let unchecked = format!("the signature of {url} was not checked");
            env.ui.info(format!("{unchecked}: {why}"));
        }
    }
    temporary.persist()?;
    Ok(text.to_owned())
}

/// Downloads, checks and unpacks.
pub fn fetch(env: &Env, log: &Path, url: &str, sha256: &str, directory: &Path) -> Result<()> {
    let name = url.rsplit('/').next().unwrap_or(url);
    let file = env.paths.sources().join(name);
    let mut task = env.ui.task(format!("downloading {url}"));
    let mut last = 0;
    let progress = |received: u64, total: Option<u64>| {
        // A step that a person can see.
        if received - last >= 1 << 20 {
            last = received;
            let total = total.map(|total| format!(" of {}", thousands(total >> 20)));
            let total = total.unwrap_or_default();
            task.update(format!("{}{total} MiB", thousands(received >> 20)));
        }
    };
    http::download(url, &file, sha256, &HttpLimits::default(), progress)
        .inspect_err(|_| say_kept(env, name))?;
    drop(task);
    let result = unpack(env, log, &file, directory);
    if result.is_ok() || interrupt::pending().is_none() {
        // Unpacked, or it cannot be and the next run starts from the network.
        disk::remove_file(&file)?;
    }
    result
}

/// The text that a clear-signed message signs.
fn signed_text(message: &str) -> Result<&str> {
    const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
    const SIGNATURE: &str = "\n-----BEGIN PGP SIGNATURE-----\n";
    const END: &str = "\n-----END PGP SIGNATURE-----";
    let parse = || {
        let (headers, text) = message.strip_prefix(BEGIN)?.split_once("\n\n")?;
        let mut headers = headers.split('\n');
        // The only header that may stand here.
        let known = headers.next() == Some("") && headers.all(|line| line.starts_with("Hash: "));
        let (text, signature) = text.split_once(SIGNATURE)?;
        let (signature, rest) = signature.split_once(END)?;
        let single = !signature.contains("-----") && rest.trim().is_empty();
        // Within the text a line that starts with a dash is escaped with `- `.
        let mut lines = text.lines();
        let escaped = lines.all(|line| !line.starts_with('-') || line.starts_with("- "));
        (known && single && escaped).then_some(text)
    };
    parse().ok_or_else(|| {
        HttpError::Invalid("the answer is not a clear-signed list of checksums".to_owned()).into()
    })
}

/// The newest archive in a list that is wanted: version, name and checksum.
fn newest_archive<'l>(list: &'l str, wanted: &Version) -> Option<(Version, (&'l str, &'l str))> {
    let archives = list.lines().filter_map(|line| {
        let (sum, name) = line.split_once("  ")?;
        let version = name.strip_prefix("linux-")?.strip_suffix(".tar.xz")?;
        let version = version.parse::<Version>().ok()?;
        let digits = sum.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let valid = digits && sum.len() == 64 && version.candidate.is_none();
        valid.then_some((version, (name, sum)))
    });
    newest(archives, wanted)
}

/// Checks the signature of a list; why it cannot be checked.
fn check_signature(file: &Path) -> Result<Option<String>> {
    if find_program("gpg").is_none() {
        return Ok(Some("there is no gpg".to_owned()));
    }
    let shell = shell()?;
    let status = shell
        .cmd("gpg")
        .args(["--batch", "--no-tty", "--no-auto-key-retrieve"])
        .args(["--status-fd", "1", "--verify"])
        .arg(file)
        .quiet()
        .ignore_stderr()
        .ignore_status()
        .read()
        .context("cannot run gpg")?;
    read_status(&status)
}

/// What gpg's status lines say (doc/DETAILS in GnuPG's source).
fn read_status(status: &str) -> Result<Option<String>> {
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
    let address = AUTOSIGNER_ADDRESS;
    match valid {
        Some(AUTOSIGNER) => Ok(None),
        Some(key) => bail!("it is signed with the key {key} and not with that of {address}"),
        None => Ok(Some(format!(
            "gpg does not have the key of {address} (gpg --locate-keys {address})"
        ))),
    }
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
            let (version, (name, sum)) = newest_archive(list, &wanted.parse().unwrap())?;
            Some((version.to_string(), name.to_owned(), sum[..1].to_owned()))
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
        assert_eq!(read_status(&valid(AUTOSIGNER)).unwrap(), None);
        let other = "0123456789ABCDEF0123456789ABCDEF01234567";
        assert!(read_status(&valid(other)).is_err());
        assert!(read_status("[GNUPG:] BADSIG X y\n").is_err());
        let missing = "[GNUPG:] ERRSIG X 1 8 01 1 9\n[GNUPG:] NO_PUBKEY X\n";
        assert!(read_status(missing).unwrap().is_some());
        assert!(read_status("").unwrap().is_some());
    }
}
