//! Fragments of a project's own: merged after ours, and a part of the kernel's name.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{FinalConfig, Merged, Value, WantedOption, audit, parse_fragment};
use crate::base::{env::Env, error::Failure, input, sha256::Sha256};
use crate::kernel::manifest::Manifest;
use crate::model::kernel::LocalKernel;
use crate::model::kernel_request::DEFAULT_FLAVOR;
use crate::model::project::{FILE_NAME, Project};
use crate::model::version::{Version, is_options_name};

/// The file whose kernels are named after the project.
const UNNAMED: &str = "kernel.config";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFragment {
    /// What stands behind the `+` of a release.
    pub name: String,
    pub(super) options: Vec<WantedOption>,
}

impl OwnFragment {
    /// Reads fragments, each of another name.
    pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>> {
        let mut all = Vec::<Self>::new();
        for path in paths {
            let own = Self::read(path)?;
            if all.iter().any(|other| other.name == own.name) {
                let message = format!("two fragments are called {}", own.name);
                return Err(Failure::usage(message).into());
            }
            all.push(own);
        }
        Ok(all)
    }

    /// Reads a fragment. Its name is that of the file without its ending, or the project's
    /// for `kernel.config`.
    pub fn read(path: &Path) -> Result<Self> {
        let name = match path.ends_with(UNNAMED) {
            true => project_name(path)?,
            false => {
                let stem = path.file_stem().unwrap_or_default();
                stem.to_string_lossy().into_owned()
            }
        };
        let shown = path.display().to_string();
        if !is_options_name(&name) {
            let message = format!("{name:?}, from {shown}, cannot be a part of a kernel's release");
            let hint = "name the file with a-z, 0-9, _ and - alone, like landlock.config";
            return Err(Failure::usage(message).hint(hint).into());
        }
        let usage = |error: anyhow::Error| Failure::usage(format!("{error:#}"));
        let text = input::text(path, input::SMALL).map_err(usage)?;
        let options = parse_fragment(&shown, &text).map_err(usage)?;
        if options.is_empty() {
            return Err(Failure::usage(format!("{shown} sets no option")).into());
        }
        Ok(Self { name, options })
    }

    /// What stands behind a flavor for several, if there are any.
    pub fn names(all: &[Self]) -> Option<String> {
        let names = all.iter().map(|own| &*own.name).collect::<Vec<_>>();
        (!names.is_empty()).then(|| names.join("+"))
    }

    /// The options that a finished `.config` of a version lacks, with what it has instead. It
    /// does not matter what is built in and what is a module, nor what more is in a list.
    /// `None` if it is no `.config`.
    pub fn lacking(&self, version: &Version, final_config: &str) -> Option<Vec<String>> {
        if FinalConfig::parse(final_config).is_empty() {
            return None;
        }
        let merged = Merged {
            options: self.options.clone(),
        };
        let audit = audit(&merged, version, final_config, Some(&[]));
        let lost = audit.lost().map(|option| {
            let (name, wanted) = (option.name, &option.wanted.value);
            match &option.found {
                Value::No => format!("{name}={wanted} (it is not set)"),
                found => format!("{name}={wanted} (it is {found})"),
            }
        });
        Some(lost.collect())
    }

    /// Refuses a kernel that lacks options of these fragments, or that was built from others of
    /// the same name. `whose` options they are is said.
    pub fn require(all: &[Self], env: &Env, kernel: &LocalKernel, whose: &str) -> Result<()> {
        let release = &kernel.release;
        let flavor = release.vmtest().map(|suffix| suffix.flavor.clone());
        let flavor = flavor.unwrap_or_else(|| DEFAULT_FLAVOR.to_owned());
        for own in all {
            let text = kernel.config.as_deref();
            let text = text.and_then(|path| input::text(path, input::TEXT).ok());
            let lacking = text.and_then(|text| own.lacking(&release.version, &text));
            let Some(lacking) = lacking else {
                env.ui.warn(format!(
                    "{release}: its configuration is unknown; taken to have the options of {whose}"
                ));
                continue;
            };
            let message = if !lacking.is_empty() {
                let lacking = lacking.join(", ");
                format!("{release} lacks options that {whose} needs: {lacking}")
            } else if own.outdates(kernel) {
                format!("{release} was built from other options called {}", own.name)
            } else {
                continue;
            };
            let (series, name) = (release.version.series, &own.name);
            let hint = format!("--setup -k '{series}.*{flavor}+{name}' builds a kernel from them");
            return Err(Failure::setup(message).hint(hint).into());
        }
        Ok(())
    }

    /// Whether a kernel was made from another fragment of this name.
    pub fn outdates(&self, kernel: &LocalKernel) -> bool {
        let manifest = Manifest::read(&kernel.path).ok().flatten();
        let mut records = manifest.into_iter().flat_map(|manifest| manifest.options);
        let now = self.checksum(&kernel.release.version);
        records.any(|record| record.name == self.name && record.checksum != now)
    }

    /// SHA-256 of what it sets in a version, so that comments do not count.
    pub fn checksum(&self, version: &Version) -> String {
        let mut hash = Sha256::default();
        let merged = Merged {
            options: self.options.clone(),
        };
        hash.update(merged.allconfig(version));
        hash.finish()
    }
}

/// The name of the project that a file is in.
fn project_name(path: &Path) -> Result<String> {
    let path = std::path::absolute(path)?;
    for directory in path.ancestors().skip(1) {
        let file = directory.join(FILE_NAME);
        if let Some(text) = input::text_if_any(&file, input::SMALL)? {
            return Ok(Project::parse(&file.display().to_string(), &text)?.name);
        }
    }
    let message = format!(
        "{} is in no project that it could be named after",
        path.display()
    );
    let hint = "name the file after what it is for, like landlock.config";
    Err(Failure::usage(message).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{embedded::CONFIGS, paths::Files};
    use crate::kernel::config::merge;
    use crate::model::arch;

    const LANDLOCK: &str = "# Rules of unprivileged programs.\nCONFIG_SECURITY=y\n\
        #: since 5.13\nCONFIG_SECURITY_LANDLOCK=y\nCONFIG_KALLSYMS=n\n";

    fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn message(paths: &[PathBuf]) -> String {
        let error = OwnFragment::read_all(paths).unwrap_err();
        assert_eq!(crate::base::error::exit_status(&error), 2, "{error:#}");
        format!("{error:#}")
    }

    #[test]
    fn the_options_come_last_and_follow_the_version() {
        let work = tempfile::tempdir().unwrap();
        let path = write(work.path(), "landlock.config", LANDLOCK);
        let own = OwnFragment::read_all(&[path]).unwrap();
        let arch = arch::find("x86_64").unwrap();
        let merged = merge(&Files::Embedded(CONFIGS), arch, "default", &own).unwrap();
        let text = |version: &str| merged.allconfig(&version.parse().unwrap());
        let end = "CONFIG_SECURITY=y\nCONFIG_SECURITY_LANDLOCK=y\nCONFIG_KALLSYMS=n\n";
        assert!(text("6.1").ends_with(end), "{}", text("6.1"));
        assert!(!text("6.1").contains("CONFIG_KALLSYMS=y"));
        assert!(!text("5.10").contains("LANDLOCK"));
    }

    #[test]
    fn a_fragment_is_named_after_its_file_or_its_project() {
        let work = tempfile::tempdir().unwrap();
        let at = |name: &str| write(work.path(), name, LANDLOCK);
        let name = |path: PathBuf| OwnFragment::read(&path).unwrap().name;
        assert_eq!(name(at("land_lock-2.config")), "land_lock-2");
        let (unnamed, capitals) = (at("p/ci/kernel.config"), at("Landlock.config"));
        let words = message(std::slice::from_ref(&unnamed));
        assert!(words.contains("is in no project"), "{words}");
        write(work.path(), "p/vmtest.toml", "name = \"fuse\"");
        assert_eq!(name(unnamed.clone()), "fuse");
        let words = message(&[capitals]);
        assert!(words.contains("\"Landlock\""), "{words}");
        let words = message(&[unnamed, at("fuse.config")]);
        assert_eq!(words, "two fragments are called fuse");
    }

    #[test]
    fn what_is_no_fragment_is_the_users_mistake() {
        let work = tempfile::tempdir().unwrap();
        let lonely = write(work.path(), "a.config", "CONFIG_A=y\n");
        assert!(message(&[lonely]).contains("has no comment above it"));
        let empty = write(work.path(), "b.config", "\n");
        assert!(message(&[empty]).ends_with("sets no option"));
        assert!(message(&[work.path().join("c.config")]).contains("c.config"));
    }

    #[test]
    fn a_finished_configuration_may_have_modules_for_what_is_built_in() {
        let work = tempfile::tempdir().unwrap();
        let text = format!("{LANDLOCK}CONFIG_FUSE_FS=y\nCONFIG_LSM=\"landlock\"\n");
        let own = OwnFragment::read(&write(work.path(), "a.config", &text)).unwrap();
        let lacking = |version: &str, text: &str| own.lacking(&version.parse().unwrap(), text);
        let has = "CONFIG_SECURITY=y\nCONFIG_FUSE_FS=m\nCONFIG_LSM=\"landlock\"\n";
        assert_eq!(lacking("5.10.1", has).unwrap(), [""; 0]);
        let missing = ["CONFIG_SECURITY_LANDLOCK=y (it is not set)"];
        assert_eq!(lacking("6.1.1", has).unwrap(), missing);
        let other =
            has.replace("landlock", "bpf") + "CONFIG_SECURITY_LANDLOCK=y\nCONFIG_KALLSYMS=y\n";
        let wrong = [
            "CONFIG_KALLSYMS=n (it is y)",
            "CONFIG_LSM=\"landlock\" (it is \"bpf\")",
        ];
        assert_eq!(lacking("6.1.1", &other).unwrap(), wrong);
        assert_eq!(lacking("6.1.1", ""), None);
        // As Debian has it.
        let list = |list: &str| has.replace("landlock", list) + "CONFIG_SECURITY_LANDLOCK=y\n";
        for (found, missing) in [
            (
                "landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor,bpf",
                0,
            ),
            ("yama,landlock", 0),
            ("yama,landlocked", 1),
            ("", 1),
        ] {
            let lost = lacking("6.1.1", &list(found)).unwrap();
            assert_eq!(lost.len(), missing, "{found}: {lost:?}");
        }
    }

    #[test]
    fn the_checksum_covers_what_is_set_and_no_comment() {
        let work = tempfile::tempdir().unwrap();
        let checksum = |text: &str, version: &str| {
            let own = OwnFragment::read(&write(work.path(), "a.config", text)).unwrap();
            own.checksum(&version.parse().unwrap())
        };
        let before = checksum(LANDLOCK, "6.1");
        assert_eq!(checksum(&LANDLOCK.replace("Rules", "Laws"), "6.12"), before);
        assert_ne!(checksum(&LANDLOCK.replace("=n", "=y"), "6.1"), before);
        assert_ne!(checksum(LANDLOCK, "5.10"), before);
    }
}
