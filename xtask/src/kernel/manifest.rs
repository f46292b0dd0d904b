//! `manifest.json` at the root of a kernel package: what it was made from.
//!
//! Two keys stand in it. The *input key* covers what we decide: source, merged
//! configuration, patches and package layout. When it is the same, there is
//! nothing to build. The *build key* also covers what the host decides: compiler
//! and pahole. It says whether two packages of one name can be expected to be
//! the same bytes, and alone rebuilds nothing.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::archive::{self, compression::Compression};
use crate::base::{input, sha256::Sha256};

pub const FILE_NAME: &str = "manifest.json";

/// Bytes of a manifest; ours have about a thousand.
const SIZE_MAX: u64 = 1 << 20;

/// Where a kernel came from. No path and no address of a mirror is in it, so that
/// the same kernel has the same manifest wherever it was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOrigin {
    /// For people, e.g. `debian linux-source-6.1 6.1.192-2`.
    pub origin: String,
    /// SHA-256 of the source archive, a git commit, or what
    /// [`crate::kernel::source::directory`] makes of a directory.
    pub checksum: String,
}

/// A fragment beyond ours that a kernel was built with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionsRecord {
    pub name: String,
    /// SHA-256 of what it sets in this version, in the format of `KCONFIG_ALLCONFIG`.
    pub checksum: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What `uname -r` prints.
    pub release: String,
    /// Our name of the architecture.
    pub arch: String,
    pub flavor: String,
    /// `revision` of `kernels.toml`.
    pub revision: u32,
    pub source: SourceOrigin,
    /// Names of the patches applied to it, in order.
    pub patches: Vec<String>,
    /// The fragments beyond ours, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionsRecord>,
    /// See the module, as for the next one.
    pub input_key: String,
    pub build_key: String,
    /// First line of the compiler's `--version`.
    pub compiler: String,
    /// pahole's version, e.g. `v1.24`, if the host has it.
    pub pahole: Option<String>,
}

impl Manifest {
    /// The manifest of an unpacked package; `None` if it has none (drgn's).
    pub fn read(package: &Path) -> Result<Option<Self>> {
        let path = package.join(FILE_NAME);
        let text = input::text_if_any(&path, SIZE_MAX)?;
        let parse = |text: String| serde_json::from_str(&text);
        let manifest = text.map(parse).transpose();
        manifest.with_context(|| format!("{} is not a manifest", path.display()))
    }

    /// The manifest in a package file; `None` if it has none (drgn's).
    pub fn of_package(package: &Path) -> Result<Option<Self>> {
        let context = || format!("cannot read {}", package.display());
        let file = input::open(package).with_context(context)?;
        let bytes = archive::read_file(Compression::Zstd, file, FILE_NAME, SIZE_MAX)
            .with_context(context)?;
        let manifest = bytes
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose();
        manifest.with_context(|| format!("{FILE_NAME} in {} is not a manifest", package.display()))
    }

    /// The file's text: the same bytes for the same manifest.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// What the input key is made of.
pub struct KeyInput<'a> {
    pub arch: &'a str,
    /// What `uname -r` prints.
    pub release: &'a str,
    pub source: &'a str,
    pub fragments: &'a str,
    pub patches: &'a [(String, String)],
    /// [`crate::kernel::package::LAYOUT`].
    pub layout: u32,
}

impl KeyInput<'_> {
    pub fn key(&self) -> String {
        let layout = self.layout.to_string();
        let mut fields = vec![
            ("arch", self.arch),
            ("release", self.release),
            ("source", self.source),
            ("fragments", self.fragments),
            ("layout", &layout),
        ];
        for (name, text) in self.patches {
            fields.push(("patch", name));
            fields.push(("text", text));
        }
        digest("vmtest input key 1", &fields)
    }
}

pub fn build_key(input_key: &str, compiler: &str, pahole: Option<&str>) -> String {
    digest(
        "vmtest build key 1",
        &[
            ("input", input_key),
            ("compiler", compiler),
            ("pahole", pahole.unwrap_or("")),
        ],
    )
}

fn digest(kind: &str, fields: &[(&str, &str)]) -> String {
    let mut hash = Sha256::default();
    hash.part(kind);
    for (name, value) in fields {
        hash.part(name);
        hash.part(value);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> KeyInput<'static> {
        KeyInput {
            arch: "x86_64",
            release: "6.1.192-vmtest1.1default",
            source: "abc",
            fragments: "CONFIG_A=y\n",
            patches: &[],
            layout: 1,
        }
    }

    #[test]
    fn the_input_key_does_not_change_between_versions_of_this_program() {
        assert_eq!(
            input().key(),
            "ce958a7a40e8f0846d501a601ff18ca6c69c86f82cb6063d710ba244be87c191"
        );
    }

    #[test]
    fn every_input_changes_the_input_key() {
        let patches = [("a.patch".to_owned(), "text".to_owned())];
        let moved = [("a.patcht".to_owned(), "ext".to_owned())];
        let keys = [
            input(),
            KeyInput {
                arch: "arm",
                ..input()
            },
            KeyInput {
                release: "6.1.193-vmtest1.1default",
                ..input()
            },
            KeyInput {
                source: "abd",
                ..input()
            },
            KeyInput {
                fragments: "CONFIG_A=m\n",
                ..input()
            },
            KeyInput {
                patches: &patches,
                ..input()
            },
            KeyInput {
                patches: &moved,
                ..input()
            },
            KeyInput {
                layout: 2,
                ..input()
            },
        ]
        .map(|input| input.key());
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn the_build_key_covers_the_tools() {
        let key = build_key("k", "gcc 12", Some("v1.24"));
        assert_eq!(key, build_key("k", "gcc 12", Some("v1.24")));
        assert_ne!(key, build_key("k", "gcc 13", Some("v1.24")));
        assert_ne!(key, build_key("k", "gcc 12", None));
        assert_ne!(key, build_key("l", "gcc 12", Some("v1.24")));
    }

    #[test]
    fn a_manifest_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(directory.path()).unwrap(), None);
        let manifest = Manifest {
            release: "6.1.192-vmtest1.1default".into(),
            arch: "x86_64".into(),
            flavor: "default".into(),
            revision: 1,
            source: SourceOrigin {
                origin: "debian linux-source-6.1 6.1.192-2".into(),
                checksum: "abc".into(),
            },
            patches: vec![],
            options: vec![],
            input_key: "i".into(),
            build_key: "b".into(),
            compiler: "gcc".into(),
            pahole: None,
        };
        let path = directory.path().join(FILE_NAME);
        let plain = manifest.to_json().unwrap();
        assert!(!plain.contains("options"), "{plain}");
        let options = vec![OptionsRecord {
            name: "landlock".into(),
            checksum: "c".into(),
        }];
        for manifest in [
            manifest.clone(),
            Manifest {
                options,
                ..manifest
            },
        ] {
            std::fs::write(&path, manifest.to_json().unwrap()).unwrap();
            assert_eq!(Manifest::read(directory.path()).unwrap(), Some(manifest));
        }
        std::fs::write(&path, "{").unwrap();
        let error = Manifest::read(directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("is not a manifest"));
    }
}
