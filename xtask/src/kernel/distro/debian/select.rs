//! Which packages of Debian's archive make the kernel that `debian:WHAT` asks for: pure.
//!
//! What is known of the packages of kernels (the source packages `linux` and
//! `linux-signed-amd64`, and the archive's lists of November 2026):
//!
//! - `linux-image-<release>` has the image and the modules. Where an image is signed, what
//!   was built is `linux-image-<release>-unsigned`, and a second source package makes the
//!   signed one of it. Either may be missing for a while.
//! - Since 6.19 that is an empty package which depends on the parts, all of its own version:
//!   `linux-binary-<release>` (the image), `linux-modules-<release>` and
//!   `linux-base-<release>` (the configuration and lists of modules).
//! - Old signed packages stay in a suite after the modules of that version have left it:
//!   an image alone is no kernel.
//! - A release ends with its flavour: `-amd64`, `-rt-amd64`, `-cloud-amd64`. The last has no
//!   9p file system.
//! - `linux-image-amd64` and `linux-image-6.12-amd64` are metapackages: they depend on
//!   another `linux-image-`. The first is what people have installed.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use crate::base::{error::Failure, suggest::nearest};
use crate::kernel::source::satisfies;
use crate::model::version::{Release, Version};
use crate::net::apt::formats::{self as apt, DebianArchive, DebianCandidate, DebianSuite};
use crate::net::apt::formats::{Dependency, SUITES};

/// What the names of images begin with.
const IMAGE: &str = "linux-image-";

/// What the names of all packages of kernels begin with; [`names`] leaves out the rest.
pub const PREFIX: &str = "linux-";

/// What suites are called for as long as it is true.
const ROLES: &[&str] = &["oldoldstable", "oldstable", "stable", "testing"];

/// How many versions an error lists.
const LISTED: usize = 12;

/// What `debian:WHAT` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing: the newest version that is no release candidate.
    Newest,
    /// `6.1`, `6.12.118`: the newest package of it.
    Version(Version),
    /// `6.1.0-56-amd64`, of any flavour; without one the plain one is meant.
    Release(String),
    /// `bookworm`, `trixie-backports`: the kernel that its metapackage asks for.
    Suite(&'static str),
}

impl What {
    /// Reads what is behind `debian:`.
    pub fn parse(argument: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = argument else {
            return Ok(Self::Newest);
        };
        let name = match text {
            "sid" => "unstable",
            name => name,
        };
        if let Some(suite) = SUITES.iter().find(|suite| suite.name == name) {
            return Ok(Self::Suite(suite.name));
        }
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        if is_cloud(text) {
            return Err(Failure::setup(format!(
                "the kernel {text} cannot be a guest here: Debian's cloud kernels have no 9p file \
                 system"
            ))
            .hint("the one without -cloud has it"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || ".+-~".contains(c);
        if text.parse::<Release>().is_ok() && text.chars().all(plain) {
            return Ok(Self::Release(text.to_owned()));
        }
        let failure = Failure::usage(format!("{text:?} is no kernel of Debian"));
        if ROLES.contains(&name) {
            return Err(failure.hint("a suite goes by its own name: debian:trixie"));
        }
        let near = nearest(name, SUITES.iter().map(|suite| suite.name));
        let near = near.map(|near| format!("did you mean debian:{near}?"));
        Err(failure.hint(near.unwrap_or_else(|| {
            "a series, a version, a release or a suite: debian:6.12, debian:6.12.118, \
            debian:6.1.0-56-amd64, debian:bookworm"
                .to_owned()
        })))
    }

    /// Whether a release is asked for, as far as that does not hang on its suite.
    pub fn is(&self, release: &str, upstream: &Version, architecture: &str) -> bool {
        let plain = is_plain(release, architecture);
        match self {
            Self::Newest => upstream.candidate.is_none() && plain,
            Self::Version(version) => satisfies(upstream, version) && plain,
            Self::Release(wanted) => {
                release == wanted || release == format!("{wanted}-{architecture}")
            }
            Self::Suite(_) => plain,
        }
    }

    /// Whether a suite must be asked. A release of Debian is what a host has that follows
    /// it: with what was updated since.
    pub fn wants(&self, suite: &DebianSuite) -> bool {
        let Self::Suite(name) = self else {
            return true;
        };
        match suite.name.strip_prefix(name) {
            Some("") => true,
            // Those are suites of their own, in which nobody wants what is not in them.
            Some("-updates") => suite.archive == DebianArchive::Main,
            Some("-security" | "/updates") => suite.archive == DebianArchive::Security,
            _ => false,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("any kernel"),
            Self::Version(version) => write!(f, "Linux {version}"),
            Self::Release(release) => write!(f, "the kernel {release}"),
            Self::Suite(name) => write!(f, "a kernel in {name}"),
        }
    }
}

/// Whether a release, or the name of a package, is of the flavour for virtual machines of
/// cloud providers: `CONFIG_NET_9P` is not set in it (`debian/config/config.cloud` of the
/// source package), so that it finds no root here.
fn is_cloud(name: &str) -> bool {
    name.split('-').any(|part| part == "cloud")
}

/// Of names that begin with [`PREFIX`], those of kernels for an architecture that can be
/// guests.
pub fn names(mut all: Vec<String>, architecture: &str) -> Vec<String> {
    all.retain(|name| {
        let plain = name.strip_suffix("-unsigned").unwrap_or(name);
        let plain = plain.strip_suffix("-dbg").unwrap_or(plain);
        let flavor = plain.strip_suffix(architecture);
        let ours = flavor.is_some_and(|rest| rest.ends_with('-'));
        ours && !is_cloud(name) && !name.starts_with("linux-headers-")
    });
    all
}

/// The packages of one suite, as far as they are a kernel's.
#[derive(Clone, Debug)]
pub struct SuiteOffer<S> {
    pub suite: S,
    pub candidates: Vec<DebianCandidate>,
}

/// A kernel whose packages all are in one suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected<S> {
    pub suite: S,
    /// What `uname -r` will print.
    pub release: Release,
    /// All that must be unpacked.
    pub packages: Vec<DebianCandidate>,
}

/// An image whose parts all are in its suite, with what is compared.
struct ImagePackage<'o, S> {
    suite: S,
    release: &'o str,
    upstream: Version,
    version: &'o str,
    signed: bool,
    packages: Vec<DebianCandidate>,
}

impl<'o, S: Copy> ImagePackage<'o, S> {
    fn read(
        candidate: &'o DebianCandidate,
        offer: &'o SuiteOffer<S>,
        architecture: &str,
    ) -> Option<Self> {
        let name = candidate.package.strip_prefix(IMAGE)?;
        let mut depends = candidate.depends.iter();
        let meta = depends.any(|other| other.package.starts_with(IMAGE));
        let release = name.strip_suffix("-unsigned").unwrap_or(name);
        let ours = release.strip_suffix(architecture)?.ends_with('-');
        if meta || !ours || release.parse::<Release>().is_err() {
            return None;
        }
        let version = &candidate.version;
        let packages = with_parts(candidate.clone(), |other| {
            if other.version.as_ref() != Some(version) {
                return Ok(None);
            }
            let mut all = offer.candidates.iter();
            let part = all.find(|part| part.package == other.package && part.version == *version);
            part.cloned().map(Some).ok_or(())
        });
        Some(Self {
            suite: offer.suite,
            release,
            upstream: apt::upstream(version)?,
            version,
            signed: release == name,
            packages: packages.ok()?,
        })
    }

    /// The greater one is to be preferred. A signed one is what runs on people's machines,
    /// but not an older one.
    fn compare(&self, other: &Self) -> Ordering {
        (self.upstream.cmp(&other.upstream))
            .then_with(|| apt::compare(self.version, other.version))
            .then(self.signed.cmp(&other.signed))
    }
}

/// Whether a release is of no other flavour than the architecture's plain one.
fn is_plain(release: &str, architecture: &str) -> bool {
    let rest = release.strip_suffix(architecture).unwrap_or("");
    let last = rest.trim_end_matches('-').rsplit('-').next().unwrap_or("");
    // `6.12-rc6-amd64` is the plain one of a candidate.
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let candidate = last.strip_prefix("rc").is_some_and(is_number);
    candidate || !last.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether a package has an image in it, by its name.
pub fn is_image(package: &str) -> bool {
    package.starts_with(IMAGE) || package.starts_with("linux-binary-")
}

/// The newest kernel of all offers that is asked for.
pub fn select<S: Copy>(
    what: &What,
    offers: &[SuiteOffer<S>],
    architecture: &str,
) -> Result<Selected<S>, Failure> {
    let images = offers.iter().flat_map(|offer| {
        let all = offer.candidates.iter();
        all.filter_map(move |candidate| ImagePackage::read(candidate, offer, architecture))
    });
    let images = images.collect::<Vec<_>>();
    let asked = images
        .iter()
        .filter(|image| what.is(image.release, &image.upstream, architecture));
    let current = match what {
        What::Suite(_) => current(offers, architecture),
        _ => None,
    };
    let best = asked
        .clone()
        .filter(|image| current == Some(image.release))
        .rev()
        .max_by(|a, b| a.compare(b))
        // The metapackage's kernel may be one that is not whole.
        .or_else(|| asked.rev().max_by(|a, b| a.compare(b)))
        .ok_or_else(|| nothing(what, &images, architecture))?;
    Ok(Selected {
        suite: best.suite,
        release: best.release.parse()?,
        packages: best.packages.clone(),
    })
}

/// The release that the newest metapackage of the suites asks for.
fn current<'o, S>(offers: &'o [SuiteOffer<S>], architecture: &str) -> Option<&'o str> {
    let meta = format!("{IMAGE}{architecture}");
    let all = offers.iter().flat_map(|offer| &offer.candidates);
    let newest = all
        .filter(|candidate| candidate.package == meta)
        .max_by(|a, b| apt::compare(&a.version, &b.version))?;
    let mut names = newest.depends.iter().map(|other| other.package.as_str());
    names.find_map(|name| name.strip_prefix(IMAGE))
}

/// A package, and all that it needs directly and by way of others: what `part` finds for a
/// dependency; `None` for one that does not matter.
pub fn with_parts<E>(
    package: DebianCandidate,
    mut part: impl FnMut(&Dependency) -> Result<Option<DebianCandidate>, E>,
) -> Result<Vec<DebianCandidate>, E> {
    let mut found = vec![package];
    let mut next = 0;
    while next < found.len() {
        for other in found[next].depends.clone() {
            if !found.iter().any(|known| known.package == other.package) {
                found.extend(part(&other)?);
            }
        }
        next += 1;
    }
    Ok(found)
}

/// The error for what no suite has.
fn nothing<S>(what: &What, images: &[ImagePackage<S>], architecture: &str) -> Failure {
    let plain = images
        .iter()
        .filter(|image| is_plain(image.release, architecture));
    let versions = plain.map(|image| image.upstream).collect::<BTreeSet<_>>();
    let versions = versions.into_iter().collect::<Vec<_>>();
    let failure = Failure::setup(format!("no suite of Debian has {what}"));
    match what {
        What::Release(release) => {
            match nearest(release, images.iter().map(|image| image.release)) {
                Some(near) => failure.hint(format!("nearest: {near}")),
                None => failure.hint("debian:SERIES is the newest of a series"),
            }
        }
        What::Version(version) => {
            let mut same = versions.clone();
            same.retain(|other| other.series == version.series);
            if same.is_empty() {
                // The newest of each series; they are in order.
                let newest = versions.chunk_by(|a, b| a.series == b.series);
                same = newest.filter_map(<[Version]>::last).copied().collect();
            }
            let newest = same.iter().rev().take(LISTED);
            let newest = newest.map(ToString::to_string).collect::<Vec<_>>();
            failure.hint(match newest.is_empty() {
                true => "there is none at all".to_owned(),
                false => format!("there is {}", newest.join(", ")),
            })
        }
        What::Newest => failure,
        What::Suite(name) => Failure::setup(format!(
            "Debian's suite {name} has no kernel for {architecture}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// A paragraph of `apt-cache show`.
    fn record(package: &str, version: &str, depends: &str) -> String {
        format!(
            "Package: {package}\nSource: linux\nVersion: {version}\nInstalled-Size: 400652\n\
            Architecture: amd64\nDepends: {depends}\nDescription: Linux for 64-bit PCs\n \
            The Linux kernel.\nSize: 70550672\nSHA256: {package}-{version}\n"
        )
    }

    /// As it was before 6.19.
    fn whole(release: &str, version: &str) -> String {
        let depends = "kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool";
        record(&format!("linux-image-{release}"), version, depends)
    }

    /// As it is since.
    fn split(release: &str, version: &str, modules: bool) -> String {
        let part = |part: &str| format!("linux-{part}-{release} (= {version})");
        let (base, binary, list) = (part("base"), part("binary"), part("modules"));
        let all = format!("dracut | initramfs-tools, {base}, {binary}, {list}");
        let mut records = vec![
            record(&format!("linux-image-{release}"), version, &all),
            record(&format!("linux-binary-{release}"), version, &base),
        ];
        if modules {
            let depends = format!("kmod, {base}");
            records.push(record(
                &format!("linux-modules-{release}"),
                version,
                &depends,
            ));
            records.push(record(&format!("linux-base-{release}"), version, ""));
        }
        records.join("\n")
    }

    fn offer(suite: &'static str, records: &[String]) -> SuiteOffer<&'static str> {
        SuiteOffer {
            suite,
            candidates: apt::parse_all(&records.join("\n")),
        }
    }

    fn offers() -> Vec<SuiteOffer<&'static str>> {
        let meta = |name: &str, release: &str, version: &str| {
            let depends = format!("linux-image-{release} (= {version})");
            record(&format!("linux-image-{name}"), version, &depends)
        };
        vec![
            offer(
                "bookworm",
                &[
                    whole("6.1.0-47-amd64", "6.1.170-3"),
                    whole("6.1.0-50-amd64", "6.1.176-1"),
                    whole("6.1.0-50-amd64-unsigned", "6.1.176-1"),
                    whole("6.1.0-50-rt-amd64", "6.1.176-1"),
                    whole("6.1.0-50-amd64-dbg", "6.1.176-1"),
                    meta("amd64", "6.1.0-50-amd64", "6.1.176-1"),
                ],
            ),
            offer(
                "bookworm-security",
                &[
                    whole("6.1.0-56-amd64", "6.1.192-2"),
                    whole("6.1.0-57-amd64-unsigned", "6.1.193-1"),
                    whole("6.12.117+deb12-amd64", "6.12.117-1~deb12u1"),
                    meta("6.12-amd64", "6.12.117+deb12-amd64", "6.12.117-1~deb12u1"),
                    meta("amd64", "6.1.0-56-amd64", "6.1.192-2"),
                ],
            ),
            offer(
                "trixie-backports",
                &[
                    split("7.0.13+deb13-amd64", "7.0.13-1~bpo13+1", false),
                    split("7.0.12+deb13-amd64", "7.0.12-1~bpo13+1", true),
                    split("7.0.12+deb13-rt-amd64", "7.0.12-1~bpo13+1", true),
                ],
            ),
            offer(
                "experimental",
                &[
                    split("7.3-amd64", "7.3~rc7-1~exp1", true),
                    split("7.2-rc3-amd64", "7.2~rc3-1~exp1", true),
                    split("7.2-rc3-cloud-amd64", "7.2~rc3-1~exp2", true),
                ],
            ),
        ]
    }

    fn chosen(text: &str) -> String {
        let what = match text {
            "" => What::parse(None),
            text => What::parse(Some(text)),
        };
        let answer = what.and_then(|what| {
            let known = |offer: &SuiteOffer<&str>| {
                let suite = SUITES.iter().find(|suite| suite.name == offer.suite);
                what.wants(suite.unwrap())
            };
            let offers = offers().into_iter().filter(known).collect::<Vec<_>>();
            select(&what, &offers, "amd64")
        });
        match answer {
            Ok(found) => {
                let packages = found.packages.iter();
                let packages = packages.map(|package| package.package.as_str());
                format!(
                    "{} {} in {}: {}",
                    found.release,
                    found.packages[0].version,
                    found.suite,
                    packages.collect::<Vec<_>>().join(" ")
                )
            }
            Err(failure) => format!("{}: {failure}", failure.kind.exit_status()),
        }
    }

    #[test]
    fn the_newest_kernel_that_is_asked_for_is_chosen_with_its_parts() {
        let all = [
            "",
            "6.1",
            "6.1.192",
            "6.1.176",
            "6.12",
            "7.0",
            "7.3",
            "7.2",
            "7.3-rc7",
            "6.1.0-47-amd64",
            "6.1.0-47",
            "6.1.0-50-rt-amd64",
            "6.12.117+deb12-amd64",
            "7.0.12+deb13-rt-amd64",
            "bookworm",
            "bookworm-security",
            "trixie-backports",
        ];
        let lines = all.map(|text| format!("{text:?} {}\n", chosen(text)));
        expect![[r#"
            "" 7.0.12+deb13-amd64 7.0.12-1~bpo13+1 in trixie-backports: linux-image-7.0.12+deb13-amd64 linux-base-7.0.12+deb13-amd64 linux-binary-7.0.12+deb13-amd64 linux-modules-7.0.12+deb13-amd64
            "6.1" 6.1.0-57-amd64 6.1.193-1 in bookworm-security: linux-image-6.1.0-57-amd64-unsigned
            "6.1.192" 6.1.0-56-amd64 6.1.192-2 in bookworm-security: linux-image-6.1.0-56-amd64
            "6.1.176" 6.1.0-50-amd64 6.1.176-1 in bookworm: linux-image-6.1.0-50-amd64
            "6.12" 6.12.117+deb12-amd64 6.12.117-1~deb12u1 in bookworm-security: linux-image-6.12.117+deb12-amd64
            "7.0" 7.0.12+deb13-amd64 7.0.12-1~bpo13+1 in trixie-backports: linux-image-7.0.12+deb13-amd64 linux-base-7.0.12+deb13-amd64 linux-binary-7.0.12+deb13-amd64 linux-modules-7.0.12+deb13-amd64
            "7.3" 7.3-amd64 7.3~rc7-1~exp1 in experimental: linux-image-7.3-amd64 linux-base-7.3-amd64 linux-binary-7.3-amd64 linux-modules-7.3-amd64
            "7.2" 7.2-rc3-amd64 7.2~rc3-1~exp1 in experimental: linux-image-7.2-rc3-amd64 linux-base-7.2-rc3-amd64 linux-binary-7.2-rc3-amd64 linux-modules-7.2-rc3-amd64
            "7.3-rc7" 7.3-amd64 7.3~rc7-1~exp1 in experimental: linux-image-7.3-amd64 linux-base-7.3-amd64 linux-binary-7.3-amd64 linux-modules-7.3-amd64
            "6.1.0-47-amd64" 6.1.0-47-amd64 6.1.170-3 in bookworm: linux-image-6.1.0-47-amd64
            "6.1.0-47" 6.1.0-47-amd64 6.1.170-3 in bookworm: linux-image-6.1.0-47-amd64
            "6.1.0-50-rt-amd64" 6.1.0-50-rt-amd64 6.1.176-1 in bookworm: linux-image-6.1.0-50-rt-amd64
            "6.12.117+deb12-amd64" 6.12.117+deb12-amd64 6.12.117-1~deb12u1 in bookworm-security: linux-image-6.12.117+deb12-amd64
            "7.0.12+deb13-rt-amd64" 7.0.12+deb13-rt-amd64 7.0.12-1~bpo13+1 in trixie-backports: linux-image-7.0.12+deb13-rt-amd64 linux-base-7.0.12+deb13-rt-amd64 linux-binary-7.0.12+deb13-rt-amd64 linux-modules-7.0.12+deb13-rt-amd64
            "bookworm" 6.1.0-56-amd64 6.1.192-2 in bookworm-security: linux-image-6.1.0-56-amd64
            "bookworm-security" 6.1.0-56-amd64 6.1.192-2 in bookworm-security: linux-image-6.1.0-56-amd64
            "trixie-backports" 7.0.12+deb13-amd64 7.0.12-1~bpo13+1 in trixie-backports: linux-image-7.0.12+deb13-amd64 linux-base-7.0.12+deb13-amd64 linux-binary-7.0.12+deb13-amd64 linux-modules-7.0.12+deb13-amd64
        "#]]
        .assert_eq(&lines.concat());
    }

    #[test]
    fn what_there_is_not_is_one_line_that_says_what_there_is() {
        let all = [
            "6.1.0-56-cloud-amd64",
            "6.1.0-56-cloud",
            "6.6",
            "6.1.1",
            "6.1.0-46-amd64",
            "9.9.9-1-amd64",
            "unstable",
            "sid",
            "bookwrm",
            "stable",
            "",
        ];
        let mut lines = all[..10]
            .iter()
            .map(|text| chosen(text) + "\n")
            .collect::<String>();
        let none = select::<()>(&What::Newest, &[], "amd64").unwrap_err();
        lines += &format!("{none}\n");
        expect![[r#"
            3: the kernel 6.1.0-56-cloud-amd64 cannot be a guest here: Debian's cloud kernels have no 9p file system (the one without -cloud has it)
            3: the kernel 6.1.0-56-cloud cannot be a guest here: Debian's cloud kernels have no 9p file system (the one without -cloud has it)
            3: no suite of Debian has Linux 6.6 (there is 7.3-rc7, 7.2-rc3, 7.0.12, 6.12.117, 6.1.193)
            3: no suite of Debian has Linux 6.1.1 (there is 6.1.193, 6.1.192, 6.1.176, 6.1.170)
            3: no suite of Debian has the kernel 6.1.0-46-amd64 (nearest: 6.1.0-47-amd64)
            3: no suite of Debian has the kernel 9.9.9-1-amd64 (nearest: 6.1.0-47-amd64)
            3: Debian's suite unstable has no kernel for amd64
            3: Debian's suite unstable has no kernel for amd64
            2: "bookwrm" is no kernel of Debian (did you mean debian:bookworm?)
            2: "stable" is no kernel of Debian (a suite goes by its own name: debian:trixie)
            no suite of Debian has any kernel
        "#]].assert_eq(&lines);
    }

    #[test]
    fn hostile_lists_are_read_to_their_end() {
        let a = record("linux-image-6.1.0-1-amd64", "1", "linux-a-amd64 (= 1)");
        let b = record(
            "linux-a-amd64",
            "1",
            "linux-image-b (= 1), linux-a-amd64 (= 1)",
        );
        let circle = record("linux-image-b", "1", "linux-a-amd64 (= 1)");
        for records in [
            vec![a.clone(), b.clone(), circle.clone()],
            vec![whole("-amd64", "6.1-1"), whole("amd64", "6.1-1")],
            vec![
                whole("6.1.0-1-amd64", "none"),
                whole("\u{e9}-amd64", "6.1-1"),
            ],
        ] {
            let what = What::parse(Some("6.1")).unwrap();
            let offers = [offer("bookworm", &records)];
            assert!(select(&what, &offers, "amd64").is_err(), "{records:?}");
        }
        // A circle of parts ends too.
        let version = "6.1.1-1";
        let parts =
            |name: &str, other: &str| record(name, version, &format!("{other} (= {version})"));
        let image = "linux-image-6.1.0-1-amd64";
        let offers = [offer(
            "bookworm",
            &[
                parts(image, "linux-a-amd64"),
                parts("linux-a-amd64", "linux-b-amd64"),
                parts("linux-b-amd64", "linux-a-amd64"),
            ],
        )];
        let what = What::parse(Some("6.1")).unwrap();
        assert_eq!(select(&what, &offers, "amd64").unwrap().packages.len(), 3);
    }

    #[test]
    fn names_of_kernels_are_told_from_others() {
        let all = [
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-56-amd64-unsigned",
            "linux-image-6.1.0-56-amd64-dbg",
            "linux-image-amd64",
            "linux-modules-7.2.13+deb14-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-headers-6.1.0-56-amd64",
            "linux-image-amd64-signed-template",
            "linux-source-6.1",
            "linux-xamd64",
        ];
        let kept = names(all.map(str::to_owned).into(), "amd64");
        assert_eq!(kept, all[..5]);
    }
}
