//! What the host's apt configuration says about Debian's archives, and what we
//! make of it: pure.
//!
//! Formats: sources.list(5) (both the one-line and the deb822 style), apt.conf(5),
//! deb-version(7).

use std::cmp::Ordering;

use crate::base::embedded::APT_CONFIGURATION;
use crate::model::version::Version;

/// An entry of the host's source lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceEntry {
    /// Addresses of one archive.
    pub uris: Vec<String>,
    /// What it offers there.
    pub suites: Vec<String>,
    /// Parts of a suite.
    pub components: Vec<String>,
    /// How to trust and reach it: fields of a deb822 entry, e.g. `Signed-By`. A
    /// value may have several lines.
    pub fields: Vec<(String, String)>,
}

/// Fields, and options of one line, that say what is fetched, not from whom; we have our own.
const REPLACED: &str = "types uris suites components architectures arch languages lang targets \
    target enabled check-valid-until";

/// Reads a `.list` file: one entry a line.
pub fn parse_one_line(text: &str) -> Vec<SourceEntry> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<SourceEntry> {
    let line = line.split('#').next()?.trim();
    let (kind, rest) = line.split_once([' ', '\t'])?;
    let mut rest = rest.trim_start();
    let mut fields = vec![("Types".to_owned(), kind.to_owned())];
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        rest = after;
        for option in options.split_whitespace() {
            // `+=` and `-=` change a default; taking them for `=` would be wrong.
            let (name, value) = option.split_once('=')?;
            if !name.ends_with(['+', '-']) {
                fields.push((title_case(name), value.replace(',', " ")));
            }
        }
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    fields.push(("URIs".to_owned(), words.next()?));
    fields.push(("Suites".to_owned(), words.next()?));
    let components = words.collect::<Vec<_>>().join(" ");
    fields.push(("Components".to_owned(), components));
    entry(&fields)
}

/// `signed-by` as `Signed-By`.
fn title_case(name: &str) -> String {
    let mut title = String::new();
    for letter in name.chars() {
        title.push(match title.is_empty() || title.ends_with('-') {
            true => letter.to_ascii_uppercase(),
            false => letter,
        });
    }
    title
}

/// Reads a `.sources` file: paragraphs of fields.
pub fn parse_deb822(text: &str) -> Vec<SourceEntry> {
    let mut entries = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            entries.extend(entry(&std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim_end());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    entries
}

fn entry(fields: &[(String, String)]) -> Option<SourceEntry> {
    let words = |name: &str| {
        let mut fields = fields.iter();
        let field = fields.find(|(other, _)| other.eq_ignore_ascii_case(name));
        let words = field.map_or("", |(_, value)| value).split_whitespace();
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let disabled = words("enabled").first().is_some_and(|word| {
        ["no", "false", "0", "off", "without", "disable"].contains(&word.as_str())
    });
    if disabled || !words("types").contains(&"deb".to_owned()) {
        return None;
    }
    let mut kept = fields.to_vec();
    kept.retain(|(name, _)| {
        let name = name.to_ascii_lowercase();
        !name.starts_with("x-") && REPLACED.split(' ').all(|other| other != name)
    });
    Some(SourceEntry {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        fields: kept,
    })
}

/// Which of Debian's archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DebianArchive {
    /// Releases, backports, experimental.
    Main,
    /// Security updates.
    Security,
}

impl DebianArchive {
    /// The name of the folder in which every mirror has it.
    fn folder(self) -> &'static str {
        match self {
            Self::Main => "debian",
            Self::Security => "debian-security",
        }
    }
}

/// The host's entry for one of Debian's archives. Others offer packages for Debian
/// below a folder of the same name, so an entry that is signed with the archive's own
/// key goes first, then one at the top of its host.
pub fn find_archive(entries: &[SourceEntry], archive: DebianArchive) -> Option<&SourceEntry> {
    let rank = |entry: &SourceEntry| {
        let mut components = entry.components.iter();
        components.find(|component| *component == "main")?;
        let depth = entry
            .uris
            .iter()
            .filter_map(|uri| depth(uri, archive))
            .min()?;
        let signed = entry.fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("signed-by") && value.contains("debian-archive")
        });
        Some((!signed, depth))
    };
    entries
        .iter()
        .filter_map(|entry| Some((rank(entry)?, entry)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry)
}

/// How deep in an address the archive's folder is; `None` if it is not its end. A
/// snapshot has a time behind it, a list of mirrors (apt-transport-mirror(1)) a suffix.
fn depth(uri: &str, archive: DebianArchive) -> Option<usize> {
    let path = uri.split_once(':').map_or(uri, |(_, path)| path);
    let parts = path.split('/').filter(|part| !part.is_empty());
    let mut parts = parts.collect::<Vec<_>>();
    let is_time = |part: &str| part.starts_with("20") && part.ends_with('Z') && part.contains('T');
    if parts.last().is_some_and(|part| is_time(part)) {
        parts.pop();
    }
    let last = parts.last()?;
    let last = last.strip_suffix(".list").unwrap_or(last);
    (last == archive.folder()).then_some(parts.len())
}

/// A suite that may have kernel source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebianSuite {
    pub name: &'static str,
    pub archive: DebianArchive,
    /// Whether its lists are no longer renewed, so that their time limits are over.
    pub archived: bool,
}

/// The suites, oldest first (<https://wiki.debian.org/DebianReleases>). Those that a
/// mirror does not have (any more) cost one request. In brackets: the kernel of
/// the release.
pub const SUITES: &[DebianSuite] = &[
    // 9 [4.9]
    old("stretch", DebianArchive::Main),
    old("stretch/updates", DebianArchive::Security),
    // 10 [4.19]
    old("buster", DebianArchive::Main),
    old("buster/updates", DebianArchive::Security),
    // 11 [5.10]; its backports have 6.1
    old("bullseye", DebianArchive::Main),
    old("bullseye-security", DebianArchive::Security),
    old("bullseye-backports", DebianArchive::Main),
    // 12 [6.1]; its backports have 6.12
    live("bookworm", DebianArchive::Main),
    live("bookworm-updates", DebianArchive::Main),
    live("bookworm-security", DebianArchive::Security),
    live("bookworm-backports", DebianArchive::Main),
    // 13 [6.12]
    live("trixie", DebianArchive::Main),
    live("trixie-updates", DebianArchive::Main),
    live("trixie-security", DebianArchive::Security),
    live("trixie-backports", DebianArchive::Main),
    // 14
    live("forky", DebianArchive::Main),
    live("forky-security", DebianArchive::Security),
    live("forky-backports", DebianArchive::Main),
    // By name, whatever they are called by then.
    live("unstable", DebianArchive::Main),
    live("experimental", DebianArchive::Main),
];

const fn old(name: &'static str, archive: DebianArchive) -> DebianSuite {
    let archived = true;
    DebianSuite {
        name,
        archive,
        archived,
    }
}

const fn live(name: &'static str, archive: DebianArchive) -> DebianSuite {
    let archived = false;
    DebianSuite {
        name,
        archive,
        archived,
    }
}

impl DebianSuite {
    /// A name for files.
    pub fn file_name(&self) -> String {
        self.name.replace('/', "-")
    }

    /// The source list (deb822) that has this suite alone.
    pub fn sources(&self, entry: &SourceEntry, architecture: &str) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\nArchitectures: {architecture}\n\
            Targets: Packages\nLanguages: none\n",
            entry.uris.join(" "),
            self.name
        );
        if self.archived {
            text += "Check-Valid-Until: no\n";
        }
        for (name, value) in &entry.fields {
            text += &format!("{name}: {value}\n");
        }
        text
    }
}

/// An apt configuration that has everything of its own in `directory`, and of the
/// host's only what says how to reach and trust an archive. It is read behind the
/// host's (`apt-get -c`), so that it can clear what is there.
pub fn configuration(directory: &str, architecture: &str) -> String {
    let text = APT_CONFIGURATION.replace("@DIRECTORY@", directory);
    text.replace("@ARCHITECTURE@", architecture)
}

/// A version of a package, as `apt-cache show` prints it (deb-control(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianCandidate {
    pub package: String,
    pub version: String,
    /// Bytes of the package file.
    pub size: u64,
    /// Of the package file.
    pub sha256: String,
    /// Bytes that it takes when it is unpacked, as whoever built it found; 0 if that is
    /// not said.
    pub installed: u64,
    pub depends: Vec<Dependency>,
}

/// One package that is needed, perhaps one of several that will do: only the first of
/// them is of interest here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub package: String,
    /// The only version that will do, if there is just one.
    pub version: Option<String>,
}

/// Reads what `apt-cache show` prints.
pub fn parse_all(text: &str) -> Vec<DebianCandidate> {
    text.split("\n\n").filter_map(candidate).collect()
}

/// Reads what `apt-cache show` prints about `package`.
pub fn parse_show(text: &str, package: &str) -> Vec<DebianCandidate> {
    let mut candidates = parse_all(text);
    candidates.retain(|candidate| candidate.package == package);
    candidates
}

fn candidate(paragraph: &str) -> Option<DebianCandidate> {
    let field = |name: &str| {
        let mut lines = paragraph.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.map(str::trim)
    };
    let kibibytes = field("Installed-Size").and_then(|size| size.parse::<u64>().ok());
    Some(DebianCandidate {
        package: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        size: field("Size")?.parse().ok()?,
        sha256: field("SHA256")?.to_owned(),
        installed: kibibytes.unwrap_or(0).saturating_mul(1024),
        depends: field("Depends").map(dependencies).unwrap_or_default(),
    })
}

/// Reads a list of dependencies: `a, b (= 1) | c, d:any (>= 2)` (deb-control(5)).
fn dependencies(text: &str) -> Vec<Dependency> {
    let dependency = |text: &str| {
        let first = text.split('|').next()?.trim();
        let (name, rest) = first.split_once(' ').unwrap_or((first, ""));
        let name = name.split(':').next()?;
        let version = rest.trim().strip_prefix("(=");
        let version = version.and_then(|version| version.split(')').next());
        (!name.is_empty()).then(|| Dependency {
            package: name.to_owned(),
            version: version.map(|version| version.trim().to_owned()),
        })
    };
    text.split(',').filter_map(dependency).collect()
}

/// A package file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFile {
    /// What apt calls it in its folder: `<package>_<version>_<architecture>.deb`.
    pub name: String,
    pub size: u64,
    pub sha256: String,
}

impl ArchiveFile {
    /// The package, as apt-get's arguments name it: `NAME=VERSION`.
    pub fn package(&self) -> Option<String> {
        let mut words = self.name.split('_');
        let (name, version) = (words.next()?, words.next()?);
        // The one character of a version that apt quotes is that of an epoch.
        Some(format!("{name}={}", version.replace("%3a", ":")))
    }
}

/// Reads what `apt-get --print-uris` prints: `'ADDRESS' NAME SIZE SHA256:DIGITS`.
pub fn parse_files(text: &str) -> Vec<ArchiveFile> {
    let file = |line: &str| {
        let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split(' ');
        Some(ArchiveFile {
            name: words.next()?.to_owned(),
            size: words.next()?.parse().ok()?,
            sha256: words.next()?.strip_prefix("SHA256:")?.to_owned(),
        })
    };
    text.lines().filter_map(file).collect()
}

/// The upstream version in a Debian version: `6.1.192-2`, `6.12~rc3-1~exp1`.
pub fn upstream(version: &str) -> Option<Version> {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let upstream = version
        .rsplit_once('-')
        .map_or(version, |(upstream, _)| upstream);
    // Their tilde is upstream's dash; anything else behind the numbers (`+ds`) is theirs.
    let text = upstream.replace('~', "-");
    Version::split(&text).map(|(version, _)| version)
}

/// The order of Debian versions (deb-version(7)).
pub fn compare(a: &str, b: &str) -> Ordering {
    fn split(version: &str) -> (u64, &str, &str) {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.parse().unwrap_or(0), upstream, revision)
    }
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0)
        .then_with(|| compare_part(a.1, b.1))
        .then_with(|| compare_part(a.2, b.2))
}

fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    // A tilde sorts before everything, even the end; letters before the rest.
    let weight = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => c as i32,
        Some(c) => c as i32 + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (x, y) = (a.chars().next(), b.chars().next());
            let digit = |c: Option<char>| c.is_none_or(|c| c.is_ascii_digit());
            if digit(x) && digit(y) {
                break;
            }
            match weight(x).cmp(&weight(y)) {
                Ordering::Equal => {}
                order => return order,
            }
            a = a.get(x.map_or(0, char::len_utf8)..).unwrap_or("");
            b = b.get(y.map_or(0, char::len_utf8)..).unwrap_or("");
        }
        let (x, rest_a) = number(a);
        let (y, rest_b) = number(b);
        match x.len().cmp(&y.len()).then_with(|| x.cmp(y)) {
            Ordering::Equal => {}
            order => return order,
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// The digits at the start without leading zeros, and the rest.
fn number(text: &str) -> (&str, &str) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (digits, rest) = text.split_at(text.len() - rest.len());
    (digits.trim_start_matches('0'), rest)
}

/// Why apt could not update a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateFailure {
    /// The archive does not have it.
    Absent,
    /// The archive could not be reached.
    Unreachable,
    /// It is not signed with a key that the host has.
    Untrusted,
    Other,
}

/// What `apt-get update` prints (in the C locale) of each; the first that fits counts.
const FAILURES: [(UpdateFailure, &str); 4] = [
    (UpdateFailure::Unreachable, "Could not connect"),
    (
        UpdateFailure::Absent,
        "404  Not Found|does not have a Release file|File not found|403  Forbidden",
    ),
    (
        UpdateFailure::Unreachable,
        "Could not resolve|Temporary failure resolving|Unable to connect|Connection timed out|\
         Connection refused|Network is unreachable|Cannot initiate the connection",
    ),
    (
        UpdateFailure::Untrusted,
        "NO_PUBKEY|EXPKEYSIG|KEYEXPIRED|is not signed|keyring|BADSIG",
    ),
];

/// Why apt failed, from what it printed.
pub fn update_failure(output: &str) -> UpdateFailure {
    let is_said = |texts: &str| texts.split('|').any(|text| output.contains(text));
    let found = FAILURES.iter().find(|(_, texts)| is_said(texts));
    found.map_or(UpdateFailure::Other, |(failure, _)| *failure)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn one_line_entries_are_read() {
        let text = "# deb http://a.example/debian sid main\n\
            deb http://a.example/debian/ bookworm main contrib # comment\n\
            deb-src http://a.example/debian bookworm main\n\
            deb [ arch=amd64,arm64 signed-by=/k.gpg by-hash=force lang+=de ] https://b.example/debian-security bookworm-security main\n\
            deb [arch=amd64 http://broken.example/debian sid main\n\
            deb http://short.example\n\
            debug\n";
        expect![[r#"
            [
                SourceEntry {
                    uris: [
                        "http://a.example/debian/",
                    ],
                    suites: [
                        "bookworm",
                    ],
                    components: [
                        "main",
                        "contrib",
                    ],
                    fields: [],
                },
                SourceEntry {
                    uris: [
                        "https://b.example/debian-security",
                    ],
                    suites: [
                        "bookworm-security",
                    ],
                    components: [
                        "main",
                    ],
                    fields: [
                        (
                            "Signed-By",
                            "/k.gpg",
                        ),
                        (
                            "By-Hash",
                            "force",
                        ),
                    ],
                },
            ]
        "#]]
        .assert_debug_eq(&parse_one_line(text));
    }

    #[test]
    fn deb822_entries_are_read() {
        let text = "# comment\nTypes: deb deb-src\nURIs: http://a.example/debian\n http://b.example/debian\n\
            Suites: bookworm\n# comment within\n bookworm-updates\nComponents: main\nX-Repolib-Name: x\n\
            signed-by:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abcd\n\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: sid\nComponents: main\n\n\
            Types: deb-src\nURIs: http://source.example/debian\nSuites: sid\nComponents: main\n";
        expect![[r#"
            [
                SourceEntry {
                    uris: [
                        "http://a.example/debian",
                        "http://b.example/debian",
                    ],
                    suites: [
                        "bookworm",
                        "bookworm-updates",
                    ],
                    components: [
                        "main",
                    ],
                    fields: [
                        (
                            "signed-by",
                            "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abcd",
                        ),
                    ],
                },
            ]
        "#]]
        .assert_debug_eq(&parse_deb822(text));
    }

    fn entry(uri: &str, component: &str, signed: bool) -> SourceEntry {
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let fields = signed.then(|| ("Signed-By".to_owned(), key.to_owned()));
        SourceEntry {
            uris: vec![uri.to_owned()],
            suites: vec!["bookworm".to_owned()],
            components: vec![component.to_owned()],
            fields: fields.into_iter().collect(),
        }
    }

    #[test]
    fn archives_are_found() {
        let entries = [
            entry("https://download.example/linux/debian", "stable", false),
            entry("https://tools.example/linux/debian", "main", false),
            entry("http://ports.example/debian-ports", "main", false),
            entry("http://mirror.example/debian", "main", false),
            entry("http://signed.example/pub/debian/", "main", true),
            entry("http://mirror.example/debian-security", "main", false),
            entry("http://archive.example/ubuntu", "main", false),
        ];
        let find = |entries: &[SourceEntry], archive| {
            find_archive(entries, archive).map(|entry| entry.uris[0].clone())
        };
        let main = find(&entries, DebianArchive::Main);
        assert_eq!(main.as_deref(), Some("http://signed.example/pub/debian/"));
        let main = find(&entries[..4], DebianArchive::Main);
        assert_eq!(main.as_deref(), Some("http://mirror.example/debian"));
        let security = find(&entries, DebianArchive::Security);
        assert_eq!(
            security.as_deref(),
            Some("http://mirror.example/debian-security")
        );
        assert_eq!(find(&entries[6..], DebianArchive::Main), None);
        for uri in [
            "mirror+file:///etc/apt/mirrors/debian.list",
            "http://snapshot.example/archive/debian/20250520T000000Z/",
            "tor+http://a.example/debian",
            "file:/srv/debian",
        ] {
            assert!(
                find(&[entry(uri, "main", false)], DebianArchive::Main).is_some(),
                "{uri}"
            );
        }
    }

    #[test]
    fn suites_are_listed_once_and_backports_follow_their_release() {
        for (i, suite) in SUITES.iter().enumerate() {
            assert!(SUITES[i + 1..].iter().all(|other| other.name != suite.name));
            if let Some((release, _)) = suite.name.split_once('-') {
                assert!(
                    SUITES[..i].iter().any(|other| other.name == release),
                    "{release}"
                );
            }
        }
        assert_eq!(SUITES.last().unwrap().name, "experimental");
    }

    #[test]
    fn a_source_list_keeps_how_to_trust() {
        let mut entry = entry("http://a.example/debian", "main", true);
        entry.fields.push(("Allow-Insecure".into(), "no".into()));
        let bullseye = SUITES
            .iter()
            .find(|suite| suite.name == "bullseye")
            .unwrap();
        expect![[r#"
            Types: deb
            URIs: http://a.example/debian
            Suites: bullseye
            Components: main
            Architectures: amd64
            Targets: Packages
            Languages: none
            Check-Valid-Until: no
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
            Allow-Insecure: no
        "#]]
        .assert_eq(&bullseye.sources(&entry, "amd64"));
    }

    #[test]
    fn versions_are_ordered_as_dpkg_does() {
        let ordered = [
            "6.1~rc3-1~exp1",
            "6.1.9-1",
            "6.1.106-1~deb12u1",
            "6.1.106-1",
            "6.1.106-3",
            "6.1.128-1~bpo11+1",
            "6.1.128-1",
            "6.1.192-2",
            "6.1.192-10",
            "6.10-1",
            "1:4.9-1",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} against {b}");
            }
        }
        assert_eq!(compare("6.01-1", "6.1-1"), Ordering::Equal);
    }

    #[test]
    fn upstream_versions_are_found() {
        for (version, expected) in [
            ("6.1.192-2", "6.1.192"),
            ("6.12~rc3-1~exp1", "6.12-rc3"),
            ("6.12.57-1~bpo12+1", "6.12.57"),
            ("1:6.1.5-1", "6.1.5"),
            ("6.1.5+ds-1", "6.1.5"),
        ] {
            assert_eq!(upstream(version).unwrap().to_string(), expected);
        }
        assert_eq!(upstream("x"), None);
    }

    #[test]
    fn candidates_are_read() {
        let record = |package: &str, version: &str| {
            format!(
                "Package: {package}\nVersion: {version}\nSize: 12\nDescription: x\n Package: y\nSHA256: ab\n"
            )
        };
        let text = [
            record("linux-source-6.1", "6.1.192-2"),
            record("linux-source-6.12", "6.12.1-1"),
            "Package: linux-source-6.1\nVersion: 1\n".to_owned(),
        ]
        .join("\n");
        let candidates = parse_show(&text, "linux-source-6.1");
        assert_eq!(
            candidates,
            [DebianCandidate {
                package: "linux-source-6.1".into(),
                version: "6.1.192-2".into(),
                size: 12,
                sha256: "ab".into(),
                installed: 0,
                depends: vec![],
            }]
        );
        assert_eq!(parse_show("", "linux-source-6.1"), []);
    }

    #[test]
    fn files_to_fetch_are_read() {
        let text = "W: x\n'http://a/pool/libcap2_2.75-10%2bb3_arm64.deb' \
            libcap2_1%3a2.75-10+b3_arm64.deb 28568 SHA256:ab\n\
            'http://a/x_1_all.deb' x_1_all.deb 1 MD5Sum:cd\n";
        let expected = ArchiveFile {
            name: "libcap2_1%3a2.75-10+b3_arm64.deb".into(),
            size: 28568,
            sha256: "ab".into(),
        };
        let package = expected.package();
        assert_eq!(package.as_deref(), Some("libcap2=1:2.75-10+b3"));
        assert_eq!(parse_files(text), [expected]);
    }

    #[test]
    fn dependencies_are_read() {
        let dependencies = dependencies(
            "kmod, linux-base (>= 4.3~), a | b (= 1), linux-modules-6.1 (= 6.1.1-1) | c, d:any (= 2 ),,",
        );
        let words = dependencies.iter().map(|dependency| {
            let version = dependency.version.as_deref();
            format!("{} {}", dependency.package, version.unwrap_or("-"))
        });
        assert_eq!(
            words.collect::<Vec<_>>(),
            [
                "kmod -",
                "linux-base -",
                "a -",
                "linux-modules-6.1 6.1.1-1",
                "d 2"
            ]
        );
        let text = "Package: a\nVersion: 1\nSize: 1\nSHA256: ab\nInstalled-Size: 3\nDepends: b\n";
        let read = parse_all(text).remove(0);
        assert_eq!((read.installed, read.depends.len()), (3072, 1));
    }

    #[test]
    fn update_failures_are_told_apart() {
        for (output, failure) in [
            (
                "Err:1 http://a x Release\n  404  Not Found [IP: 1]\n",
                UpdateFailure::Absent,
            ),
            (
                "E: The repository 'x' does not have a Release file.",
                UpdateFailure::Absent,
            ),
            (
                "Err:1 x\n  Could not connect to a:80\nE: The repository 'x' does not have a Release file.",
                UpdateFailure::Unreachable,
            ),
            (
                "The following signatures couldn't be verified: NO_PUBKEY 1",
                UpdateFailure::Untrusted,
            ),
            ("E: x", UpdateFailure::Other),
        ] {
            assert_eq!(update_failure(output), failure, "{output}");
        }
    }
}
