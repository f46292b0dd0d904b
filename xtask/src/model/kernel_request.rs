//! What `-k` says: which kernel is wanted, as a pure value.
//!
//! ```text
//! request = [ARCH ":"] (PATH | SOURCE [":" ARGUMENT] | PATTERN)
//! ```
//!
//! - PATH starts with `.`, `/` or `~/`: an unpacked package, a package file (ours, `.deb` or
//!   `.rpm`), a directory with the `.deb` or `.rpm` files of one kernel, or a tree in which
//!   a kernel was built.
//! - SOURCE is one whose kernels no release of ours holds:
//!   - `host`, the kernel that this host runs;
//!   - `debian`, one of Debian's own: the newest of all suites, or what ARGUMENT says, a
//!     series, a version, a release or a suite.
//! - PATTERN is one of
//!   - a bare series, `6.1`: its kernels and those of its point releases and
//!     release candidates, with any suffix; never `6.12`;
//!   - a version, `6.1.55` or `7.3-rc2`: kernels of just that version;
//!   - a whole release, `6.1.55-vmtest1.1default`;
//!   - shell wildcards (`*`, `?`, `[...]`), matched against whole releases.
//!
//! A pattern without `+` picks no kernel that was built with options beyond ours
//! (`…default+landlock`).
//!
//! A pattern picks one kernel, the newest: upstream's order of versions, then
//! kernels on this machine before those of a release, then the order of
//! [`Release`].

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::base::{error::Failure, suggest::nearest};
use crate::model::arch::{self, Arch};
use crate::model::kernel::LocalKernel;
use crate::model::version::{Release, Series, Version, is_options_name, split_options};

/// The flavor that is built when a request names none.
pub const DEFAULT_FLAVOR: &str = "default";

const GRAMMAR: &str = "a kernel is [ARCH:](PATH | SOURCE | PATTERN), e.g. 6.1, '6.1.*tiny', \
    ./kernel-6.1.0, ./x.deb, debian:6.12, host";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRequest {
    pub arch: Option<&'static Arch>,
    pub selector: Selector,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// An unpacked package, package files or a built tree, as typed: see [`at_home`].
    Path(PathBuf),
    Source(KernelSource, Option<String>),
    Pattern(Pattern),
}

/// Where kernels come from that nobody has packaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelSource {
    Host,
    Debian,
}

const SOURCES: &[(&str, KernelSource)] = &[
    ("host", KernelSource::Host),
    ("debian", KernelSource::Debian),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `6.1`.
    Series(Series),
    /// `6.1.55`, `7.3-rc2`.
    Version(Version),
    /// `6.1.55-vmtest1.1default`.
    Release(Release),
    Wildcards(glob::Pattern),
}

/// What must be built to get a kernel that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buildable {
    /// Of a series its newest point release is meant.
    pub version: Version,
    /// Whether there is one of that name is for the builder to say.
    pub flavor: String,
    /// The names of fragments beyond ours, with `+` between.
    pub options: Option<String>,
}

/// Something that a request can pick.
pub trait Candidate {
    fn arch(&self) -> &'static Arch;
    fn release(&self) -> &Release;
    /// Whether it is on this machine: at the same version it goes before one that is not.
    fn local(&self) -> bool;
}

impl Candidate for LocalKernel {
    fn arch(&self) -> &'static Arch {
        self.arch
    }

    fn release(&self) -> &Release {
        &self.release
    }

    fn local(&self) -> bool {
        true
    }
}

/// The order of kernels, the newest first.
pub fn newest_first<C: Candidate>(a: &C, b: &C) -> Ordering {
    let key = |candidate: &C| (candidate.release().version, candidate.local());
    key(b)
        .cmp(&key(a))
        .then_with(|| b.release().cmp(a.release()))
        .then_with(|| a.arch().name.cmp(b.arch().name))
}

impl KernelRequest {
    pub fn series(series: Series) -> Self {
        Self {
            arch: None,
            selector: Selector::Pattern(Pattern::Series(series)),
        }
    }

    #[must_use]
    pub fn on(self, arch: &'static Arch) -> Self {
        let arch = Some(arch);
        Self { arch, ..self }
    }

    /// Parses a comma-separated list. A comma between brackets belongs to the
    /// wildcard; a path cannot have one.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Failure> {
        let mut requests = Vec::new();
        let (mut start, mut bracket) = (0, false);
        for (index, character) in text.char_indices() {
            match character {
                '[' => bracket = true,
                ']' => bracket = false,
                ',' if !bracket => {
                    requests.push(text[start..index].trim().parse()?);
                    start = index + 1;
                }
                _ => {}
            }
        }
        requests.push(text[start..].trim().parse()?);
        Ok(requests)
    }

    /// Whether a release on an architecture is asked for. Always false for a
    /// path or a source, which are not looked up by name.
    pub fn matches(&self, arch: &Arch, release: &Release) -> bool {
        let named = match &self.selector {
            Selector::Pattern(Pattern::Release(_)) => true,
            Selector::Pattern(Pattern::Wildcards(wildcards)) => wildcards.as_str().contains('+'),
            _ => false,
        };
        (named || release.options().is_none()) && self.names(arch, release)
    }

    /// The same, whether or not it was built with options beyond ours.
    pub fn names(&self, arch: &Arch, release: &Release) -> bool {
        let Selector::Pattern(pattern) = &self.selector else {
            return false;
        };
        let matches = match pattern {
            Pattern::Series(series) => release.version.series == *series,
            Pattern::Version(version) => version.position() == release.version.position(),
            Pattern::Release(wanted) => release == wanted,
            Pattern::Wildcards(wildcards) => wildcards.matches(&release.to_string()),
        };
        matches && self.arch.is_none_or(|wanted| wanted == arch)
    }

    pub fn pick<'c, C: Candidate>(&self, candidates: &'c [C]) -> Option<&'c C> {
        let matches = |candidate: &&C| self.matches(candidate.arch(), candidate.release());
        let candidates = candidates.iter().filter(matches);
        candidates.min_by(|a, b| newest_first(*a, *b))
    }

    /// What can be built for this request. `None` unless it starts with a
    /// literal series: `6.1`, `6.1.*tiny`, `6.1.55-*`, but not `6.*` or `6.1*`,
    /// which is 6.12 as well. Where the version goes on before the first
    /// wildcard it must be complete, or 6.1.1 would be built for `6.1.1*`.
    ///
    /// What was built may still not match (`6.1.*-mine`, a whole release of
    /// another revision): ask [`KernelRequest::matches`] before starting.
    pub fn buildable(&self) -> Option<Buildable> {
        let Selector::Pattern(pattern) = &self.selector else {
            return None;
        };
        let usual = (DEFAULT_FLAVOR.to_owned(), None);
        let (version, (flavor, options)) = match pattern {
            Pattern::Series(series) => (Version::from(*series), usual),
            Pattern::Version(version) => (*version, usual),
            Pattern::Release(release) => {
                let suffix = release.vmtest()?;
                (release.version, (suffix.flavor, suffix.options))
            }
            Pattern::Wildcards(wildcards) => {
                let text = wildcards.as_str();
                let literal = &text[..text.find(is_wildcard)?];
                let (version, rest) = Version::split(literal)?;
                let complete = match rest {
                    "." => version.is_series(),
                    "-" => true,
                    // An unfinished `-rc` is not.
                    _ => rest.starts_with('-') && !"-rc".starts_with(rest),
                };
                (complete.then_some(version)?, variant_of_tail(text)?)
            }
        };
        Some(Buildable {
            version,
            flavor,
            options,
        })
    }

    /// The error when none of the candidates matches, with the nearest names.
    /// `place` says where was looked, e.g. `on this machine`.
    pub fn nothing_matches<'r>(
        &self,
        releases: impl IntoIterator<Item = &'r Release>,
        place: &str,
    ) -> Failure {
        let releases = releases.into_iter().collect::<Vec<_>>();
        let failure = Failure::setup(format!("no kernel {place} matches {self}"));
        let near = nearest_releases(&self.to_string(), &releases);
        let near = match near.is_empty() {
            true if releases.is_empty() => match self.arch {
                Some(arch) => format!("there is none for {}", arch.name),
                None => "there is none at all".to_owned(),
            },
            true => "cargo xtask list shows what there is".to_owned(),
            false => format!("nearest: {}", near.join(", ")),
        };
        let build = match self.buildable() {
            Some(Buildable {
                version,
                flavor,
                options,
            }) => {
                let flavor = match flavor.as_str() {
                    DEFAULT_FLAVOR => String::new(),
                    flavor => format!(" -f {flavor}"),
                };
                let options = options.iter().flat_map(|names| names.split('+'));
                let options = options.map(|name| format!(" --config {name}.config"));
                let options = options.collect::<String>();
                let foreign = self.arch.filter(|arch| arch::host() != Some(arch));
                let arch = foreign.map_or(String::new(), |arch| format!(" -a {}", arch.name));
                format!("to build it: cargo xtask build-kernel{arch} {version}{flavor}{options}")
            }
            None => "only a request that starts with a whole series, like '6.1.*', can be built"
                .to_owned(),
        };
        failure.hint(format!("{near}; {build}"))
    }
}

/// Whether a word is the path of a kernel or of a source tree.
pub fn is_path(word: &str) -> bool {
    word.starts_with(['.', '/']) || word.starts_with("~/")
}

/// A path as typed, with the home directory for a `~/` that the shell has left alone, as
/// it does behind `-k=` and `x86_64:`.
pub fn at_home(path: &Path, home: Option<OsString>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) if !home.is_empty() => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '?' | '[')
}

/// The flavor, and options beyond ours, that the literal end of a pattern names: the flavor
/// is `default` if it names none. `None` if it cannot be the end of one of our releases.
fn variant_of_tail(pattern: &str) -> Option<(String, Option<String>)> {
    let tail = pattern.rsplit(|c| is_wildcard(c) || c == ']').next()?;
    let (flavor, options) = split_options(tail);
    // A wildcard may stand for a part of them.
    if options.is_none() && pattern.contains('+') {
        return None;
    }
    if !options.is_none_or(|names| names.split('+').all(is_options_name)) {
        return None;
    }
    Some((flavor_of_tail(flavor)?, options.map(str::to_owned)))
}

fn flavor_of_tail(tail: &str) -> Option<String> {
    let flavor = tail.rsplit(|c: char| !c.is_ascii_lowercase()).next()?;
    match (tail, flavor) {
        ("", _) => Some(DEFAULT_FLAVOR.to_owned()),
        (_, "") => None,
        (_, flavor) => Some(flavor.to_owned()),
    }
}

/// At most three releases whose names are nearest to what was typed: the newest
/// of the three nearest series, the nearest first.
fn nearest_releases(typed: &str, releases: &[&Release]) -> Vec<String> {
    let literal = typed.rsplit(':').next().unwrap_or(typed);
    let literal = literal.trim_end_matches(['*', '.', '?']);
    let ranked = releases.iter().map(|release| {
        let (version, series) = (release.version, release.version.series);
        let names = [series.to_string(), version.to_string(), release.to_string()];
        let distances = names.map(|name| strsim::levenshtein(literal, &name));
        (distances.into_iter().min().unwrap_or(usize::MAX), release)
    });
    let near = literal.len().div_ceil(3).max(1);
    let mut ranked = ranked
        .filter(|(distance, _)| *distance <= near)
        .collect::<Vec<_>>();
    ranked.sort_by(|(a, left), (b, right)| right.cmp(left).then(a.cmp(b)));
    ranked.dedup_by_key(|(_, release)| release.version.series);
    ranked.sort_by_key(|(distance, _)| *distance);
    let nearest = ranked.iter().take(3);
    nearest.map(|(_, release)| release.to_string()).collect()
}

impl FromStr for KernelRequest {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Err(Failure::usage("empty kernel request").hint(GRAMMAR));
        }
        let split = text.split_once(':');
        let named = split.and_then(|(name, rest)| Some((Some(arch::find(name)?), rest)));
        let (arch, rest) = named.unwrap_or((None, text));
        if rest.is_empty() {
            let message = format!("{text:?} names an architecture but no kernel");
            return Err(Failure::usage(message).hint(format!("{text}'*' is its newest kernel")));
        }
        let selector = if is_path(rest) {
            Selector::Path(PathBuf::from(rest))
        } else if let Some(source) = source(rest)? {
            source
        } else {
            Selector::Pattern(rest.parse()?)
        };
        Ok(Self { arch, selector })
    }
}

/// The source that a request names; an error if it has a colon and names none.
fn source(text: &str) -> Result<Option<Selector>, Failure> {
    let (name, argument) = match text.split_once(':') {
        Some((name, argument)) => (name, Some(argument.to_owned())),
        None => (text, None),
    };
    if let Some((_, source)) = SOURCES.iter().find(|(known, _)| *known == name) {
        if *source == KernelSource::Host && argument.is_some() {
            let message = format!("{text:?} asks this host for another kernel than it runs");
            return Err(Failure::usage(message).hint("host alone is the one that it runs"));
        }
        return Ok(Some(Selector::Source(*source, argument)));
    }
    if argument.is_none() {
        return Ok(None);
    }
    let arches = arch::ARCHITECTURES.iter().map(|arch| arch.name);
    let arches = arches.collect::<Vec<_>>();
    let sources = SOURCES.iter().map(|(name, _)| *name);
    let near = nearest(name, arches.iter().copied().chain(sources));
    let near = near.map_or(String::new(), |near| format!("did you mean {near}? "));
    let failure = Failure::usage(format!(
        "{name:?} in the kernel request {text:?} is no architecture and no source"
    ));
    let arches = arches.join(", ");
    Err(failure.hint(format!(
        "{near}architectures: {arches}; sources: host, debian"
    )))
}

impl FromStr for Pattern {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let not_one = || Failure::usage(format!("{text:?} is not a kernel request"));
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-*?[]!,".contains(c);
        let endings = [".deb", ".rpm", ".tar.zst"];
        if text.contains('/') || endings.iter().any(|end| text.ends_with(end)) {
            return Err(not_one().hint(format!("a path begins with ./, / or ~/: ./{text}")));
        }
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            let message = format!("{character:?} cannot be in the kernel request {text:?}");
            return Err(Failure::usage(message).hint(GRAMMAR));
        }
        if text.contains(is_wildcard) {
            return glob::Pattern::new(text)
                .map(Self::Wildcards)
                .map_err(|error| {
                    let message = format!("cannot read the pattern {text:?}: {}", error.msg);
                    Failure::usage(message).hint(GRAMMAR)
                });
        }
        if let Ok(series) = text.parse() {
            return Ok(Self::Series(series));
        }
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        if let Ok(release) = text.parse() {
            return Ok(Self::Release(release));
        }
        Err(match text.strip_prefix('v').map(str::parse::<Release>) {
            Some(Ok(release)) => not_one().hint(format!("without the v: {release}")),
            _ => not_one().hint(GRAMMAR),
        })
    }
}

impl fmt::Display for KernelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SOURCES.iter().find(|(_, source)| source == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series(series) => series.fmt(f),
            Self::Version(version) => version.fmt(f),
            Self::Release(release) => release.fmt(f),
            Self::Wildcards(wildcards) => f.write_str(wildcards.as_str()),
        }
    }
}

impl fmt::Display for KernelRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(arch) = self.arch {
            write!(f, "{}:", arch.name)?;
        }
        match &self.selector {
            Selector::Path(path) => write!(f, "{}", path.display()),
            Selector::Source(source, None) => source.fmt(f),
            Selector::Source(source, Some(argument)) => write!(f, "{source}:{argument}"),
            Selector::Pattern(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kernel(Release, bool);

    impl Candidate for Kernel {
        fn arch(&self) -> &'static Arch {
            arch::find("x86_64").unwrap()
        }

        fn release(&self) -> &Release {
            &self.0
        }

        fn local(&self) -> bool {
            self.1
        }
    }

    fn kernels() -> Vec<Kernel> {
        [
            "5.10.223-vmtest1.1default",
            "6.1.0-vmtest1.1default",
            "6.1.55-vmtest1.1default",
            "6.1.192-vmtest1.0tiny",
            "6.1.192-vmtest1.1default",
            "6.1.192-vmtest2.0alternative",
            "6.12.107-vmtest1.1default",
            "6.9.12-vmtest1.1default",
            "6.10.14-vmtest1.1default",
            "7.3-rc2-vmtest1.1default",
            "6.1-rc8-vmtest1.1default",
            "4.9.337-vmtest1.1default",
            "4.9.337-vmtest10.0tiny",
            "7.3-rc3-vmtest1.1default+landlock",
            "6.1.193-vmtest1.1default+landlock",
            "6.1.193-vmtest1.1default+a-1+landlock",
            "6.1.192-vmtest1.0tiny+landlock",
        ]
        .map(|text| Kernel(text.parse().unwrap(), true))
        .into()
    }

    fn request(text: &str) -> KernelRequest {
        text.parse().unwrap()
    }

    fn picked(text: &str) -> String {
        let kernels = kernels();
        let picked = request(text).pick(&kernels);
        picked.map_or("-".to_owned(), |kernel| kernel.0.to_string())
    }

    #[test]
    fn a_request_picks_the_newest_match() {
        for (text, expected) in [
            ("6.1", "6.1.192-vmtest1.1default"),
            ("6.1.*", "6.1.192-vmtest1.1default"),
            ("6.1.*tiny", "6.1.192-vmtest1.0tiny"),
            ("6.1.*alternative", "6.1.192-vmtest2.0alternative"),
            ("*tiny", "6.1.192-vmtest1.0tiny"),
            ("4.9.*", "4.9.337-vmtest1.1default"),
            ("4.9.*tiny", "4.9.337-vmtest10.0tiny"),
            ("6.1.55", "6.1.55-vmtest1.1default"),
            ("6.1.0", "6.1.0-vmtest1.1default"),
            ("6.1-rc8", "6.1-rc8-vmtest1.1default"),
            ("6.1-rc*", "6.1-rc8-vmtest1.1default"),
            ("6.12", "6.12.107-vmtest1.1default"),
            ("6.1?.*", "6.12.107-vmtest1.1default"),
            ("6.*", "6.12.107-vmtest1.1default"),
            ("6.[1-9].*", "6.9.12-vmtest1.1default"),
            ("6.1.192-vmtest1.0tiny", "6.1.192-vmtest1.0tiny"),
            ("x86_64:5.10", "5.10.223-vmtest1.1default"),
            ("x86_64:*", "7.3-rc2-vmtest1.1default"),
            ("*", "7.3-rc2-vmtest1.1default"),
            ("7.3", "7.3-rc2-vmtest1.1default"),
            ("6.1.*default+landlock", "6.1.193-vmtest1.1default+landlock"),
            ("6.1.*tiny+landlock", "6.1.192-vmtest1.0tiny+landlock"),
            (
                "6.1.*+a-1+landlock",
                "6.1.193-vmtest1.1default+a-1+landlock",
            ),
            (
                "6.1.193-vmtest1.1default+landlock",
                "6.1.193-vmtest1.1default+landlock",
            ),
            ("6.1.*landlock", "-"),
            ("6.1.193", "-"),
            ("6.1.*+fuse", "-"),
            ("6.1.5", "-"),
            ("6.1.192-vmtest1", "-"),
            ("6.1.192-vmtest1.1default*x", "-"),
            ("6.11", "-"),
            ("vmtest", "?"),
        ] {
            if expected == "?" {
                assert!(text.parse::<KernelRequest>().is_err(), "{text}");
            } else {
                assert_eq!(picked(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn at_one_version_a_local_kernel_goes_first_but_a_newer_version_before_it() {
        let of = |list: &[(&str, bool)]| {
            list.iter()
                .map(|(release, local)| Kernel(release.parse().unwrap(), *local))
                .collect::<Vec<_>>()
        };
        let pick = |list: &[(&str, bool)]| {
            let kernels = of(list);
            let picked = request("6.1").pick(&kernels).unwrap();
            (picked.0.to_string(), picked.1)
        };
        let tiny = "6.1.192-vmtest1.0tiny";
        let default = "6.1.192-vmtest2.1default";
        assert_eq!(
            pick(&[(default, false), (tiny, true)]),
            (tiny.to_owned(), true)
        );
        assert_eq!(
            pick(&[(tiny, true), (default, true)]),
            (default.to_owned(), true)
        );
        assert_eq!(
            pick(&[(default, true), (default, false)]),
            (default.to_owned(), true)
        );
        let newer = "6.1.193-vmtest1.0tiny";
        assert_eq!(
            pick(&[(default, true), (newer, false)]),
            (newer.to_owned(), false)
        );
    }

    #[test]
    fn what_can_be_built() {
        for (text, expected) in [
            ("6.1", Some("6.1 default")),
            ("6.1.*", Some("6.1 default")),
            ("6.1.*tiny", Some("6.1 tiny")),
            ("6.1.*-vmtest*alternative", Some("6.1 alternative")),
            ("6.1.*.[01]tiny", Some("6.1 tiny")),
            ("6.1.55", Some("6.1.55 default")),
            ("6.1.55-*", Some("6.1.55 default")),
            ("6.1.55-*tiny", Some("6.1.55 tiny")),
            ("6.1.55-vmtest*", Some("6.1.55 default")),
            ("6.1.55-vmtest1.0tiny", Some("6.1.55 tiny")),
            ("x86_64:6.1.*", Some("6.1 default")),
            ("7.3-rc2", Some("7.3-rc2 default")),
            ("7.3-rc2-*", Some("7.3-rc2 default")),
            ("6.1.*default+landlock", Some("6.1 default+landlock")),
            ("6.1.*+a_1-b+c", Some("6.1 default+a_1-b+c")),
            ("6.1.55-*tiny+landlock", Some("6.1.55 tiny+landlock")),
            (
                "6.1.55-vmtest1.0tiny+landlock",
                Some("6.1.55 tiny+landlock"),
            ),
            ("6.1.*+*", None),
            ("6.1.*+land*", None),
            ("6.1.*default+", None),
            ("6.1.*default+Landlock", None),
            ("7.3-rc2*", None),
            ("7.3-rc*", None),
            ("7.3-r*", None),
            ("6.1*", None),
            ("6.1.1*", None),
            ("6.1.55.*", None),
            ("6.*", None),
            ("6.?.*", None),
            ("6.[12].*", None),
            ("*tiny", None),
            ("*", None),
            ("6.1.*-amd64", None),
            ("6.1.0-10-amd64", None),
            ("./kernel-6.1", None),
            ("host", None),
        ] {
            let buildable = request(text).buildable().map(|buildable| {
                let options = buildable.options.map(|names| format!("+{names}"));
                let options = options.unwrap_or_default();
                format!("{} {}{options}", buildable.version, buildable.flavor)
            });
            assert_eq!(buildable.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_home_directory_may_be_left_to_us() {
        for (typed, found) in [
            ("~/src/linux", "/home/me/src/linux"),
            ("~", "/home/me/"),
            ("~other/linux", "~other/linux"),
            ("/a/~/b", "/a/~/b"),
            ("./~/b", "./~/b"),
        ] {
            let path = at_home(Path::new(typed), Some("/home/me".into()));
            assert_eq!(path.as_os_str(), found, "{typed}");
        }
        for home in [None, Some(OsString::new())] {
            assert_eq!(at_home(Path::new("~/a"), home), Path::new("~/a"));
        }
        assert!(is_path("~/a") && is_path("./a") && is_path("/a"));
        assert!(!is_path("~") && !is_path("6.1"));
    }

    #[test]
    fn requests_are_told_apart() {
        let selector = |text| request(text).selector;
        assert_eq!(selector("./x"), Selector::Path("./x".into()));
        assert_eq!(selector("/a:b"), Selector::Path("/a:b".into()));
        assert_eq!(selector("../x"), Selector::Path("../x".into()));
        assert_eq!(selector("x86_64:./x"), Selector::Path("./x".into()));
        assert_eq!(request("x86_64:./x").arch.unwrap().name, "x86_64");
        assert_eq!(selector("host"), Selector::Source(KernelSource::Host, None));
        assert_eq!(
            selector("x86_64:debian:bookworm"),
            Selector::Source(KernelSource::Debian, Some("bookworm".to_owned()))
        );
        assert!(matches!(
            selector("6.1"),
            Selector::Pattern(Pattern::Series(_))
        ));
        assert!(matches!(
            selector("6.1.0"),
            Selector::Pattern(Pattern::Version(_))
        ));
        assert!(matches!(
            selector("6.1.0-1"),
            Selector::Pattern(Pattern::Release(_))
        ));
        assert!(matches!(
            selector("6.1.?"),
            Selector::Pattern(Pattern::Wildcards(_))
        ));
    }

    #[test]
    fn requests_print_as_they_were_typed() {
        for text in [
            "6.1",
            "6.1.*tiny",
            "x86_64:6.1.55",
            "./a b",
            "x86_64:/k",
            "debian:trixie",
            "host",
            "6.1.192-vmtest1.1default",
        ] {
            assert_eq!(request(text).to_string(), text);
        }
    }

    #[test]
    fn lists_are_split_at_commas_outside_brackets() {
        let list = |text| {
            KernelRequest::parse_list(text)
                .map(|requests| requests.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(list("6.1").unwrap(), ["6.1"]);
        assert_eq!(
            list("6.1,x86_64:5.4, ./k").unwrap(),
            ["6.1", "x86_64:5.4", "./k"]
        );
        assert_eq!(list("6.[1,2].*,5.4").unwrap(), ["6.[1,2].*", "5.4"]);
        for text in ["", ",", "6.1,", ",6.1", "6.1,,5.4"] {
            assert!(list(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn wrong_requests_are_usage_errors_that_say_what_is_wrong() {
        let message = |text: &str| {
            let failure = text.parse::<KernelRequest>().unwrap_err();
            assert_eq!(failure.kind, crate::base::error::FailureKind::Usage);
            failure.to_string()
        };
        expect_test::expect![[r#"
            "x86-64" in the kernel request "x86-64:6.1" is no architecture and no source (did you mean x86_64? architectures: x86_64, aarch64, arm, ppc64, s390x, riscv64; sources: host, debian)
            "debain" in the kernel request "debain:trixie" is no architecture and no source (did you mean debian? architectures: x86_64, aarch64, arm, ppc64, s390x, riscv64; sources: host, debian)
            "x86_64:" names an architecture but no kernel (x86_64:'*' is its newest kernel)
            "v6.1" is not a kernel request (without the v: 6.1)
            cannot read the pattern "6.[1": invalid range pattern (a kernel is [ARCH:](PATH | SOURCE | PATTERN), e.g. 6.1, '6.1.*tiny', ./kernel-6.1.0, ./x.deb, debian:6.12, host)
            ' ' cannot be in the kernel request "6.1 5.4" (a kernel is [ARCH:](PATH | SOURCE | PATTERN), e.g. 6.1, '6.1.*tiny', ./kernel-6.1.0, ./x.deb, debian:6.12, host)
            "latest" is not a kernel request (a kernel is [ARCH:](PATH | SOURCE | PATTERN), e.g. 6.1, '6.1.*tiny', ./kernel-6.1.0, ./x.deb, debian:6.12, host)
            "6.1/../x" is not a kernel request (a path begins with ./, / or ~/: ./6.1/../x)
            "host:6.1" asks this host for another kernel than it runs (host alone is the one that it runs)
        "#]]
        .assert_eq(
            &[
                "x86-64:6.1",
                "debain:trixie",
                "x86_64:",
                "v6.1",
                "6.[1",
                "6.1 5.4",
                "latest",
                "6.1/../x",
                "host:6.1",
            ]
            .map(|text| message(text) + "\n")
            .concat(),
        );
    }

    #[test]
    fn no_match_names_the_nearest_and_the_way_out() {
        let releases = kernels().into_iter().map(|kernel| kernel.0);
        let releases = releases.collect::<Vec<_>>();
        let message = |text: &str| {
            request(text)
                .nothing_matches(&releases, "on this machine")
                .to_string()
        };
        expect_test::expect![[r#"
            no kernel on this machine matches 6.11 (nearest: 6.12.107-vmtest1.1default, 6.10.14-vmtest1.1default, 6.1.193-vmtest1.1default+landlock; to build it: cargo xtask build-kernel 6.11)
            no kernel on this machine matches 3.2.*tiny (cargo xtask list shows what there is; to build it: cargo xtask build-kernel 3.2 -f tiny)
            no kernel on this machine matches *-amd64 (cargo xtask list shows what there is; only a request that starts with a whole series, like '6.1.*', can be built)
            no kernel on this machine matches 3.2.*default+landlock (cargo xtask list shows what there is; to build it: cargo xtask build-kernel 3.2 --config landlock.config)
        "#]]
        .assert_eq(
            &["6.11", "3.2.*tiny", "*-amd64", "3.2.*default+landlock"]
                .map(|text| message(text) + "\n")
                .concat(),
        );
        assert_eq!(
            request("6.1")
                .nothing_matches([], "on this machine")
                .to_string(),
            "no kernel on this machine matches 6.1 (there is none at all; \
             to build it: cargo xtask build-kernel 6.1)"
        );
        let mut arches = arch::ARCHITECTURES.iter();
        let foreign = arches.find(|arch| arch::host() != Some(arch)).unwrap();
        let wanted = request("6.1").on(foreign);
        let name = foreign.name;
        assert_eq!(
            wanted.nothing_matches([], "on this machine").to_string(),
            format!(
                "no kernel on this machine matches {name}:6.1 (there is none for {name}; to build \
                 it: cargo xtask build-kernel -a {name} 6.1)"
            )
        );
    }
}
