//! Source by tag from a git repository: `v6.1.192`, `v7.3-rc2`.

use std::path::Path;

use anyhow::{Context, Result};

use super::{FoundSource, SourceLocation, SourceWork, satisfies, whole};
use crate::base::{disk, error::Failure, input, process::LongCommand, secrets};
use crate::model::version::Version;

/// A tag of a repository.
#[derive(Clone, Debug)]
pub struct GitTag {
    url: String,
    name: String,
    commit: String,
}

/// Finds the tag of each version, or the newest of a series, with one question.
pub fn find_all(url: &str, versions: &[Version]) -> Result<Vec<Result<FoundSource>>> {
    let shell = crate::base::process::shell()?;
    let mut patterns = versions
        .iter()
        .map(|version| format!("refs/tags/v{}*", version.series))
        .collect::<Vec<_>>();
    patterns.dedup();
    let listing = shell
        .cmd("git")
        .envs(secrets::credentials().cloned())
        // Behind `--` an address cannot be an option.
        .args(["ls-remote", "--", url])
        .args(patterns)
        // A question for a password would wait for ever.
        .env("GIT_TERMINAL_PROMPT", "0")
        .quiet()
        .read()
        .with_context(|| format!("git cannot list the tags of {url}"))?;
    let find = |version: &Version| {
        let (name, tagged, commit) = newest(&listing, version).ok_or_else(|| {
            Failure::setup(format!("{url} has no tag for Linux {version}"))
                .hint("release tags are named like v6.1.192")
        })?;
        Ok(FoundSource {
            version: whole(tagged),
            origin: format!("git {name}"),
            checksum: commit.clone(),
            location: SourceLocation::Git(GitTag {
                url: url.to_owned(),
                name,
                commit,
            }),
        })
    };
    Ok(versions.iter().map(find).collect())
}

/// From what `git ls-remote` prints: name, version and commit of the newest tag
/// that is wanted. Release candidates only if one was asked for.
fn newest(listing: &str, wanted: &Version) -> Option<(String, Version, String)> {
    let mut best: Option<(String, Version, String)> = None;
    for line in listing.lines() {
        let Some((commit, reference)) = line.split_once('\t') else {
            continue;
        };
        // An annotated tag is listed twice; `^{}` has the commit and comes second.
        let Some(name) = reference.strip_prefix("refs/tags/") else {
            continue;
        };
        let name = name.strip_suffix("^{}").unwrap_or(name);
        let Some(Ok(version)) = name.strip_prefix('v').map(str::parse::<Version>) else {
            continue;
        };
        let candidate_unwanted = version.candidate.is_some() && wanted.candidate.is_none();
        if candidate_unwanted || !satisfies(&version, wanted) {
            continue;
        }
        if best.as_ref().is_none_or(|(_, other, _)| *other <= version) {
            best = Some((name.to_owned(), version, commit.to_owned()));
        }
    }
    best
}

/// Fetches the tag's tree alone, without history, and removes git's own folder:
/// a kernel that finds it adds to its release.
pub fn fetch(work: &SourceWork<'_>, tag: &GitTag, directory: &Path) -> Result<()> {
    let _task = work
        .env
        .ui
        .task(format!("fetching {} from {}", tag.name, tag.url));
    let git = || {
        LongCommand::new("git")
            .credentials()
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir(directory)
    };
    work.run(git().args(["init", "--quiet"]), || Ok(()))?;
    let reference = format!("refs/tags/{0}:refs/tags/{0}", tag.name);
    let fetch = git().args(["fetch", "--quiet", "--depth", "1", "--no-tags", "--"]);
    work.run(fetch.arg(&tag.url).arg(reference), || Ok(()))?;
    let checkout = [
        "-c",
        "advice.detachedHead=false",
        "checkout",
        "--quiet",
        "--detach",
    ];
    work.run(git().args(checkout).arg(&tag.commit), || Ok(()))?;
    let shell = crate::base::process::shell()?;
    let date = shell
        .cmd("git")
        .arg("-C")
        .arg(directory)
        .args(["log", "-1", "--format=%ct"])
        .quiet()
        .read()
        .context("git cannot tell the date of a commit")?;
    std::fs::remove_dir_all(directory.join(".git")).context("cannot remove git's own folder")?;
    std::fs::write(directory.join(DATE), date).context("cannot write the date of a commit")
}

/// Where the commit's date is between fetching and marking the tree.
const DATE: &str = ".vmtest-date";

impl GitTag {
    /// The commit's date, in seconds since 1970; files of a checkout have that of
    /// the checkout.
    pub fn date(&self, directory: &Path) -> Result<u64> {
        let path = directory.join(DATE);
        let text = input::text(&path, input::SMALL)?;
        disk::remove_file(&path)?;
        text.trim()
            .parse()
            .with_context(|| format!("{text:?} is not a time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "aaa1\trefs/tags/v6.1\n\
        aaa2\trefs/tags/v6.1^{}\n\
        bbb1\trefs/tags/v6.1-rc3\n\
        bbb2\trefs/tags/v6.1-rc3^{}\n\
        ccc1\trefs/tags/v6.1.9\n\
        ccc2\trefs/tags/v6.1.9^{}\n\
        ddd1\trefs/tags/v6.1.10\n\
        ddd2\trefs/tags/v6.1.10^{}\n\
        eee1\trefs/tags/v6.12\n\
        fff1\trefs/tags/v6.1.11-rt3\n\
        garbage\n";

    #[test]
    fn the_newest_tag_of_a_series_is_no_candidate() {
        let find = |wanted: &str| {
            newest(LISTING, &wanted.parse().unwrap()).map(|(name, _, commit)| (name, commit))
        };
        let expected = |name: &str, commit: &str| Some((name.to_owned(), commit.to_owned()));
        assert_eq!(find("6.1"), expected("v6.1.10", "ddd2"));
        assert_eq!(find("6.1.9"), expected("v6.1.9", "ccc2"));
        assert_eq!(find("6.1.0"), expected("v6.1", "aaa2"));
        assert_eq!(find("6.1-rc3"), expected("v6.1-rc3", "bbb2"));
        assert_eq!(find("6.1.11"), None);
        assert_eq!(find("6.2"), None);
    }
}
