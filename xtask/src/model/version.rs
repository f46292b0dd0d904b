//! Kernel versions and releases: parse and order them.
//!
//! The order is upstream's: `6.1-rc3` before `6.1`, `6.9` before `6.10`. Releases
//! of one version: one with a local suffix before one without; of ours the
//! `default` flavor first (newest), then the vmtest number.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::base::error::Failure;

/// A series such as `6.1`: what a stable branch of the kernel is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Series {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text.parse::<Version>() {
            Ok(version) if version.is_series() => Ok(version.series),
            _ => Err(Failure::usage(format!("{text:?} is not a kernel series"))
                .hint("a series is written like 6.1")),
        }
    }
}

/// An upstream version: `6.1`, `6.1.192`, `7.3-rc2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    pub series: Series,
    /// The point release; `None` and `0` are the same version.
    pub point: Option<u32>,
    pub candidate: Option<u32>,
}

impl From<Series> for Version {
    fn from(series: Series) -> Self {
        Self {
            series,
            point: None,
            candidate: None,
        }
    }
}

impl Version {
    /// Whether it is a series alone, like `6.1`.
    pub fn is_series(&self) -> bool {
        self.point.is_none() && self.candidate.is_none()
    }

    /// Splits a version off the start of `text`; the rest is what `uname -r` adds.
    pub fn split(text: &str) -> Option<(Self, &str)> {
        let (major, rest) = number(text)?;
        let (minor, mut rest) = number(rest.strip_prefix('.')?)?;
        let mut version = Self::from(Series { major, minor });
        if let Some((number, after)) = rest.strip_prefix('.').and_then(number) {
            (version.point, rest) = (Some(number), after);
        }
        if let Some((number, after)) = rest.strip_prefix("-rc").and_then(number) {
            (version.candidate, rest) = (Some(number), after);
        }
        Some((version, rest))
    }

    /// Where it is in upstream's order; 6.1 and 6.1.0 are at one place.
    pub fn position(&self) -> Position {
        Position {
            series: self.series,
            point: self.point.unwrap_or(0),
            candidate: self.candidate.unwrap_or(u32::MAX),
        }
    }
}

/// A place in upstream's order of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    series: Series,
    point: u32,
    /// That of a release is behind all of its candidates.
    candidate: u32,
}

impl Position {
    /// Before every version.
    pub const FIRST: Self = Self::start_of(Series { major: 0, minor: 0 });

    /// Before every release candidate of a series.
    pub const fn start_of(series: Series) -> Self {
        Self {
            series,
            point: 0,
            candidate: 0,
        }
    }

    /// The next place; the last one of a series has none.
    #[must_use]
    pub fn next(self) -> Self {
        match self.candidate.checked_add(1) {
            Some(candidate) => Self { candidate, ..self },
            None => Self {
                point: self.point.saturating_add(1),
                candidate: 0,
                ..self
            },
        }
    }
}

fn number(text: &str) -> Option<(u32, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    Some((text[..text.len() - rest.len()].parse().ok()?, rest))
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |version: &Self| (version.position(), version.point);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series.fmt(f)?;
        if let Some(point) = self.point {
            write!(f, ".{point}")?;
        }
        if let Some(candidate) = self.candidate {
            write!(f, "-rc{candidate}")?;
        }
        Ok(())
    }
}

impl FromStr for Version {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match Self::split(text) {
            Some((version, "")) => Ok(version),
            _ => Err(Failure::usage(format!("{text:?} is not a kernel version"))
                .hint("a version is written like 6.1, 6.1.192 or 7.3-rc2")),
        }
    }
}

/// What a release has behind the version when it is one of ours:
/// `-vmtest<revision>.<1 for default, else 0><flavor>[+<options>]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VmtestSuffix {
    /// Raised in `kernels.toml` when packages change.
    pub revision: u32,
    pub flavor: String,
    /// The names of fragments beyond ours, with `+` between.
    pub options: Option<String>,
}

impl VmtestSuffix {
    /// As a request names it: `default`, `default+landlock`.
    pub fn variant(&self) -> String {
        let names = self.options.iter().map(String::as_str);
        let parts = std::iter::once(&*self.flavor).chain(names);
        parts.collect::<Vec<_>>().join("+")
    }
}

impl fmt::Display for VmtestSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = u32::from(self.flavor == "default");
        write!(f, "-vmtest{}.{rank}{}", self.revision, self.variant())
    }
}

/// Flavor and options of `default+landlock`.
pub fn split_options(variant: &str) -> (&str, Option<&str>) {
    match variant.split_once('+') {
        Some((flavor, options)) => (flavor, Some(options)),
        None => (variant, None),
    }
}

/// Whether it can be the name of a fragment in a release.
pub fn is_options_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    !name.is_empty() && name.chars().all(allowed)
}

/// Bytes of a release (`__NEW_UTS_LEN` of the kernel's `uapi/linux/utsname.h`).
pub const RELEASE_MAX: usize = 64;

/// What `uname -r` prints, e.g. `6.1.192-vmtest1.1default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    pub version: Version,
    /// The rest, with its first `-`.
    pub suffix: String,
}

impl Release {
    /// Our own suffix, if it has one. drgn's published kernels have it as well.
    pub fn vmtest(&self) -> Option<VmtestSuffix> {
        // Before it may stand the own name of the tree that it was built from.
        let (_, ours) = self.suffix.split_once("-vmtest")?;
        let (revision, rest) = number(ours)?;
        let (_, mut flavor) = number(rest.strip_prefix('.')?)?;
        // drgn's may have a patch level: `-vmtest42.1.1default`.
        if let Some((_, after)) = flavor.strip_prefix('.').and_then(number) {
            flavor = after;
        }
        let (flavor, options) = split_options(flavor);
        Some(VmtestSuffix {
            revision,
            flavor: flavor.to_owned(),
            options: options.map(str::to_owned),
        })
    }

    /// The options beyond ours that it was built with.
    pub fn options(&self) -> Option<String> {
        self.vmtest()?.options
    }

    /// The flavor; `None` if it is not a vmtest kernel.
    pub fn flavor(&self) -> Option<String> {
        self.vmtest().map(|suffix| suffix.flavor)
    }
}

impl Ord for Release {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |release: &Self| {
            let ours = release.vmtest();
            let rank = |ours: VmtestSuffix| {
                (
                    ours.flavor == "default",
                    ours.options.is_none(),
                    ours.revision,
                )
            };
            let ours = ours.map(rank);
            (release.version, release.suffix.is_empty(), ours)
        };
        let distributions = || numbers_as_numbers(&self.suffix, &other.suffix);
        (key(self).cmp(&key(other)))
            .then_with(distributions)
            .then_with(|| self.suffix.cmp(&other.suffix))
    }
}

/// Compares texts in which numbers count as such, as distributions count their kernels:
/// `-9-amd64` comes before `-10-amd64`.
fn numbers_as_numbers(a: &str, b: &str) -> Ordering {
    // Numbers of any length: without zeros in front the longer one is the larger.
    let parts = |text: &str| {
        let same_kind = |a: &u8, b: &u8| a.is_ascii_digit() == b.is_ascii_digit();
        let chunks = text.as_bytes().chunk_by(same_kind);
        let part = |chunk: &[u8]| {
            let zeros = chunk.iter().take_while(|byte| **byte == b'0').count();
            match chunk.first().is_some_and(u8::is_ascii_digit) {
                true => (chunk.len() - zeros, chunk[zeros..].to_vec()),
                false => (0, chunk.to_vec()),
            }
        };
        chunks.map(part).collect::<Vec<_>>()
    };
    parts(a).cmp(&parts(b))
}

impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.version, self.suffix)
    }
}

impl FromStr for Release {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
        let fits = |suffix: &str| text.len() <= RELEASE_MAX && suffix.chars().all(allowed);
        match Version::split(text) {
            Some((version, suffix)) if fits(suffix) => Ok(Self {
                version,
                suffix: suffix.to_owned(),
            }),
            _ => {
                // A file that should have a release may have anything.
                let shown = text.chars().take(RELEASE_MAX + 1).collect::<String>();
                Err(Failure::usage(format!("{shown:?} is not a kernel release"))
                    .hint("a release is what uname -r prints, e.g. 6.1.192-vmtest1.1default"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_over_all_pairs() {
        let ordered = [
            "4.9.337-vmtest1.1default",
            "5.4-rc8",
            "5.4",
            "5.4.0",
            "5.4.1",
            "5.10.223-vmtest1.1default",
            "6.1-rc1-vmtest1.1default",
            "6.1-rc10-vmtest1.1default",
            "6.1.9",
            "6.1.192-09-amd64",
            "6.1.192-9-amd64",
            "6.1.192-10-amd64",
            "6.1.192-10-rt-amd64",
            "6.1.192-99999999999999999999999-amd64",
            "6.1.192-vmtest1.0alternative",
            "6.1.192-vmtest1.0tiny",
            "6.1.192-vmtest2.0tiny",
            "6.1.192-vmtest2.1default+landlock",
            "6.1.192-vmtest1.1default",
            "6.1.192-vmtest2.1default",
            "6.1.192-vmtest10.1default",
            "6.1.192",
            "6.9",
            "6.10",
            "7.3.0-rc4",
            "7.3.0",
        ]
        .map(|text| text.parse::<Release>().unwrap());
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a} against {b}");
            }
        }
    }

    #[test]
    fn releases_print_as_they_were_read() {
        for text in [
            "6.1.192-vmtest1.1default",
            "7.3-rc2",
            "6.12.107+deb13-amd64",
            "5.10.0",
        ] {
            assert_eq!(text.parse::<Release>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn flavors_are_found() {
        let flavor = |text: &str| text.parse::<Release>().unwrap().flavor();
        assert_eq!(
            flavor("6.1.192-vmtest1.1default").as_deref(),
            Some("default")
        );
        assert_eq!(flavor("6.1.192-vmtest42.0tiny").as_deref(), Some("tiny"));
        assert_eq!(
            flavor("6.1.192-vmtest42.1.1default").as_deref(),
            Some("default")
        );
        assert_eq!(flavor("6.1.0-10-amd64"), None);
        assert_eq!(flavor("6.1.192"), None);
    }

    #[test]
    fn options_of_a_project_are_behind_the_flavor() {
        for (text, flavor, options) in [
            (
                "6.1.192-vmtest1.1default+landlock",
                "default",
                Some("landlock"),
            ),
            ("6.1.192-vmtest1.0tiny+a_1-b+c", "tiny", Some("a_1-b+c")),
            ("6.1.192-vmtest1.0tiny", "tiny", None),
        ] {
            let release = text.parse::<Release>().unwrap();
            let suffix = release.vmtest().unwrap();
            assert_eq!(
                (&*suffix.flavor, suffix.options.as_deref()),
                (flavor, options)
            );
            assert_eq!(format!("{}{suffix}", release.version), text);
        }
        let own_name = "6.1.192-modified-vmtest1.0tiny".parse::<Release>().unwrap();
        assert_eq!(own_name.flavor().as_deref(), Some("tiny"));
        let debian = "6.12.107+deb13-amd64".parse::<Release>().unwrap();
        assert_eq!(debian.options(), None);
        for (name, valid) in [
            ("landlock", true),
            ("a_1-b", true),
            ("", false),
            ("A", false),
            ("a+b", false),
            ("a.b", false),
        ] {
            assert_eq!(is_options_name(name), valid, "{name}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "6",
            "6.",
            "6.x",
            "v6.1",
            "6.1.",
            "6.1-rc",
            "6.1 ",
            "99999999999.1",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        for text in ["", "linux", "6.1/../..", "6.1 x", "6.1\n"] {
            assert!(text.parse::<Release>().is_err(), "{text:?}");
        }
        assert!("6.1.3".parse::<Series>().is_err());
        assert!("6.1-rc1".parse::<Series>().is_err());
    }
}
