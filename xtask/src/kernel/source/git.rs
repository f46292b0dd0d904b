//! Source by tag from a git repository: `v6.1.192`, `v7.3-rc2`.

use std::path::Path;

use anyhow::{Context, Result};

use super::{FoundSource, SourceLocation, newest, whole};
use crate::base::{
    env::Env, error::Failure, process::LongCommand, process::run_logged, process::shell,
    secrets::credentials,
};
use crate::model::version::Version;

/// Finds the tag of each version, or the newest of a series, with one question.
pub fn find_all(url: &str, versions: &[Version]) -> Result<Vec<Result<FoundSource>>> {
    let shell = shell()?;
    let pattern = |version: &Version| format!("refs/tags/v{}*", version.series);
    let mut patterns = versions.iter().map(pattern).collect::<Vec<_>>();
    patterns.dedup();
    let listing = shell
        .cmd("git")
        .envs(credentials().cloned())
        // Behind `--` an address cannot be an option.
        .args(["ls-remote", "--", url])
        .args(patterns)
        // A question for a password would wait for ever.
        .env("GIT_TERMINAL_PROMPT", "0")
        .quiet()
        .read()
        .with_context(|| format!("git cannot list the tags of {url}"))?;
    let find = |version: &Version| {
        let (tagged, (name, commit)) = newest_tag(&listing, version).ok_or_else(|| {
            Failure::setup(format!("{url} has no tag for Linux {version}"))
                .hint("release tags are named like v6.1.192")
        })?;
        Ok(FoundSource {
            own_name: String::new(),
            version: whole(tagged),
            origin: format!("git {name}"),
            checksum: commit.to_owned(),
            location: SourceLocation::Git(url.to_owned(), name.to_owned()),
        })
    };
    Ok(versions.iter().map(find).collect())
}

/// From what `git ls-remote` prints: version, name and commit of the newest tag
/// that is wanted. Release candidates only if one was asked for.
fn newest_tag<'l>(listing: &'l str, wanted: &Version) -> Option<(Version, (&'l str, &'l str))> {
    let tags = listing.lines().filter_map(|line| {
        let (commit, reference) = line.split_once('\t')?;
        let name = reference.strip_prefix("refs/tags/")?;
        // An annotated tag is listed twice; `^{}` has the commit and comes second.
        let name = name.strip_suffix("^{}").unwrap_or(name);
        let version = name.strip_prefix('v')?.parse::<Version>().ok()?;
        Some((version, (name, commit)))
    });
    let tags = tags.filter(|(tagged, _)| tagged.candidate.is_none() || wanted.candidate.is_some());
    newest(tags, wanted)
}

/// Fetches the tree of a tag's commit alone, without history.
pub fn fetch(
    env: &Env,
    log: &Path,
    url: &str,
    tag: &str,
    commit: &str,
    directory: &Path,
) -> Result<()> {
    let _task = env.ui.task(format!("fetching {tag} from {url}"));
    let git = |words: &str, more: &[&str]| {
        let command = LongCommand::new("git")
            .args(words.split(' ').chain(more.iter().copied()))
            .credentials()
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir(directory);
        run_logged(command, log, || Ok(()))
    };
    git("init --quiet", &[])?;
    let tag = format!("refs/tags/{tag}:refs/tags/{tag}");
    git("fetch --quiet --depth 1 --no-tags --", &[url, &tag])?;
    let checkout = "-c advice.detachedHead=false checkout --quiet --detach";
    git(checkout, &[commit])
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
        let find =
            |wanted: &str| newest_tag(LISTING, &wanted.parse().unwrap()).map(|(_, found)| found);
        let expected = |name, commit| Some((name, commit));
        assert_eq!(find("6.1"), expected("v6.1.10", "ddd2"));
        assert_eq!(find("6.1.9"), expected("v6.1.9", "ccc2"));
        assert_eq!(find("6.1.0"), expected("v6.1", "aaa2"));
        assert_eq!(find("6.1-rc3"), expected("v6.1-rc3", "bbb2"));
        assert_eq!(find("6.1.11"), None);
        assert_eq!(find("6.2"), None);
    }
}
