//! `vmtest.toml`: the tree whose tests run in the guest, as a checked value.
//!
//! ```toml
//! name = "example"             # required
//! python = "python3"           # interpreter: a name, or a path in the project
//! detect = ["setup.py"]        # profiles only: files that tell such a tree
//! prepare = ["make"]           # shell commands on the host, in the tree, before the tests
//! memory = "1 GiB"             # of the guest, instead of 2 GiB
//!
//! [tests]                      # unittest discovery in the guest
//! start = "tests"
//! top = "."
//! pattern = "test*.py"
//!
//! [env]                        # environment of the tests in the guest
//! EXAMPLE_DEBUG = "1"
//!
//! [module]                     # a kernel module, built against the tested kernel
//! source = "tests/kmod"
//! load = true                  # before the tests; otherwise only built
//! variable = "EXAMPLE_MODULE"  # names the file to the tests
//!
//! [disk]                       # a scratch disk that the tests may overwrite
//! size = "1 GiB"
//! variable = "EXAMPLE_DISK"    # names the device to the tests
//!
//! [needs]
//! programs = ["mkfs.ext4"]     # host programs that the tests run
//! python = ["pyroute2==0.9.7"] # lines of a pip requirements file
//! prepare = ["make", "gcc"]    # host programs that the steps of `prepare` run
//! headers = ["zlib.h"]         # C headers that they include
//!
//! [local]                      # tests on the host, `test -l`
//! start = "tests"
//! top = "."
//! pattern = "test*.py"
//! exclude = ["tests/kernel/*"] # files, relative to `top`
//! env = { EXAMPLE_LOCAL = "1" }
//!
//! [release]                    # profiles only: what is tested without a checkout
//! name = "example"             # on PyPI
//! version = "1.0"
//! source = "sha256:…"          # of the source archive
//! wheels = ["sha256:…"]
//! extension = ["_example.*"]   # files of the wheel that the source tree gets
//! ```
//!
//! An unknown key is an error, with the line and the nearest known key: a
//! misspelt `programms` would otherwise be found by tests that skip.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::failure::Failure;
use crate::layout::Files;
use crate::nearest::nearest;

/// The name of a project file.
pub const FILE_NAME: &str = "vmtest.toml";

/// MiB; with less a guest does not boot with a gigabyte of debugging information at
/// hand.
pub const MEMORY_MIN: u32 = 128;

/// Profiles that come with us: `vmtest-assets/profiles/<name>/vmtest.toml`.
pub const PROFILES: &[&str] = &["drgn"];

/// A checked project file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The name for people.
    pub name: String,
    /// The interpreter: a program name, or a path relative to the tree.
    pub python: String,
    /// Files that tell a tree of this profile.
    pub detect: Vec<PathBuf>,
    /// Shell commands for the host.
    pub prepare: Vec<String>,
    /// Memory of the guest in MiB, if the tests want another amount than usual.
    pub memory: Option<u32>,
    /// What is discovered in the guest.
    pub tests: Discovery,
    /// Environment of the tests in the guest.
    pub environment: Vec<(String, String)>,
    /// The kernel module.
    pub module: Option<Module>,
    /// The scratch disk.
    pub disk: Option<Disk>,
    /// Host programs that the tests run.
    pub programs: Vec<String>,
    /// Lines of a pip requirements file.
    pub requirements: Vec<String>,
    /// Host programs that the steps of `prepare` run.
    pub prepare_programs: Vec<String>,
    /// C headers that they include.
    pub prepare_headers: Vec<String>,
    /// Tests on the host.
    pub local: Option<Local>,
    /// What is tested without a checkout.
    pub release: Option<Release>,
}

/// Arguments of unittest discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Where tests are looked for.
    pub start: PathBuf,
    /// Where their packages begin.
    pub top: PathBuf,
    /// Their file names.
    pub pattern: String,
}

/// A kernel module of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its source folder, relative to the tree.
    pub source: PathBuf,
    /// Whether it is loaded before the tests.
    pub load: bool,
    /// The variable that names the built file.
    pub variable: Option<String>,
}

/// A scratch disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes.
    pub size: u64,
    /// The variable that names the device.
    pub variable: String,
}

/// Tests on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// What is discovered.
    pub tests: Discovery,
    /// Files that are left out, relative to `top`, with wildcards.
    pub exclude: Vec<String>,
    /// Environment on top of the user's.
    pub environment: Vec<(String, String)>,
}

/// A release on PyPI, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its name on PyPI.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Hash of the source archive, as pip writes it: `sha256:…`.
    pub source: String,
    /// Hashes of the wheels; pip chooses among those that fit the interpreter.
    pub wheels: Vec<String>,
    /// Files and folders of the wheel that the source tree gets, with wildcards.
    pub extension: Vec<String>,
}

impl Project {
    /// Reads the text of a project file; `file` is its name in messages.
    ///
    /// # Errors
    ///
    /// [`Failure`] of kind usage, with file, line, and the remedy if there is one.
    pub fn parse(file: &str, text: &str) -> Result<Self, Failure> {
        let document = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            // The parser's message has lines of its own; its first says what is wrong.
            let message = error.message().lines().next().unwrap_or("syntax error");
            Failure::usage(format!("{file}:{line}: {message}"))
        })?;
        let source = Source { file, text };
        let mut top = Table::new(source, "", document.get_ref());
        let name = top.required_string("name")?;
        let python = top
            .string("python")?
            .unwrap_or_else(|| "python3".to_owned());
        let detect = top.paths("detect")?;
        let prepare = top.strings("prepare")?;

        let memory = match top.string("memory")? {
            None => None,
            Some(size) => {
                let memory = parse_size(&size).map(|bytes| bytes.div_ceil(1 << 20));
                let memory = memory.and_then(|memory| u32::try_from(memory).ok());
                let memory = memory.filter(|memory| *memory >= MEMORY_MIN);
                let wrong = format!("{size:?} is not a size of at least {MEMORY_MIN} MiB");
                let failure = || {
                    top.error("memory", &wrong)
                        .hint("a size is written like \"512 MiB\" or \"1 GiB\"")
                };
                Some(memory.ok_or_else(failure)?)
            }
        };

        let mut tests = top.table("tests")?;
        let discovery = tests.discovery()?;
        tests.finish()?;

        let environment = top.environment("env")?;

        let module = match top.optional_table("module")? {
            None => None,
            Some(mut table) => {
                let module = Module {
                    source: table.required_path("source")?,
                    load: table.boolean("load")?.unwrap_or(true),
                    variable: table.variable("variable")?,
                };
                table.finish()?;
                Some(module)
            }
        };

        let disk = match top.optional_table("disk")? {
            None => None,
            Some(mut table) => {
                let size = table.required_string("size")?;
                let size = parse_size(&size).ok_or_else(|| {
                    table
                        .error("size", &format!("{size:?} is not a size"))
                        .hint("a size is written like \"512 MiB\" or \"1 GiB\"")
                })?;
                let Some(variable) = table.variable("variable")? else {
                    return Err(table.missing("variable"));
                };
                table.finish()?;
                Some(Disk { size, variable })
            }
        };

        let mut needs = top.table("needs")?;
        let programs = needs.strings("programs")?;
        let requirements = needs.strings("python")?;
        let prepare_programs = needs.strings("prepare")?;
        let prepare_headers = needs.strings("headers")?;
        needs.finish()?;

        let local = match top.optional_table("local")? {
            None => None,
            Some(mut table) => {
                let local = Local {
                    tests: table.discovery()?,
                    exclude: table.strings("exclude")?,
                    environment: table.environment("env")?,
                };
                table.finish()?;
                Some(local)
            }
        };

        let release = match top.optional_table("release")? {
            None => None,
            Some(mut table) => {
                let release = Release {
                    name: table.required_string("name")?,
                    version: table.required_string("version")?,
                    source: table.required_string("source")?,
                    wheels: table.strings("wheels")?,
                    extension: table.strings("extension")?,
                };
                table.finish()?;
                Some(release)
            }
        };
        top.finish()?;
        Ok(Self {
            name,
            python,
            detect,
            prepare,
            memory,
            tests: discovery,
            environment,
            module,
            disk,
            programs,
            requirements,
            prepare_programs,
            prepare_headers,
            local,
            release,
        })
    }

    /// The profile of that name.
    pub fn profile(assets: &Files, name: &str) -> Result<Self> {
        if !PROFILES.contains(&name) {
            let mut failure = Failure::usage(format!("there is no profile {name:?}"));
            failure.hint = Some(match nearest(name, PROFILES.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("profiles: {}", PROFILES.join(", ")),
            });
            return Err(failure.into());
        }
        let path = format!("profiles/{name}/{FILE_NAME}");
        let text = assets.read(&path)?;
        Ok(Self::parse(&path, &text)?)
    }
}

/// A project and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// A tree on this machine.
    Tree {
        /// What it is.
        project: Project,
        /// Its absolute path, links unresolved.
        path: PathBuf,
    },
    /// The pinned release of a profile, yet to be fetched.
    Pinned {
        /// What it is.
        project: Project,
    },
}

/// What says which project it is.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `-C`.
    pub directory: Option<PathBuf>,
    /// `VMTEST_PROJECT`.
    pub variable: Option<PathBuf>,
    /// The current directory.
    pub current: PathBuf,
    /// `--profile`.
    pub profile: Option<String>,
}

/// Which project: `-C`, else `VMTEST_PROJECT`, else the current directory if it
/// is one, else the pinned release of the profile (drgn's if none is named).
///
/// # Errors
///
/// A directory that was named and is no project, or whose file is wrong.
pub fn choose(choice: &Choice, assets: &Files) -> Result<Chosen> {
    let named = choice.directory.as_ref().or(choice
        .variable
        .as_ref()
        .filter(|p| !p.as_os_str().is_empty()));
    if let Some(directory) = named {
        let path = choice.current.join(directory);
        if !path.is_dir() {
            return Err(
                Failure::usage(format!("the project {} is no directory", path.display())).into(),
            );
        }
        return match open(&path, choice.profile.as_deref(), assets)? {
            Some(project) => Ok(Chosen::Tree { project, path }),
            None => Err(Failure::usage(format!("{} is no project", path.display()))
                .hint(format!(
                    "give it a {FILE_NAME}, or say what it is with --profile {}",
                    PROFILES.join("|")
                ))
                .into()),
        };
    }
    // A profile alone means its release: the current directory is a project only
    // when it says so itself.
    if let Some(project) = open(&choice.current, None, assets)?
        && choice.profile.is_none()
    {
        return Ok(Chosen::Tree {
            project,
            path: choice.current.clone(),
        });
    }
    let name = choice.profile.as_deref().unwrap_or(PROFILES[0]);
    let project = Project::profile(assets, name)?;
    if project.release.is_none() {
        return Err(Failure::usage(format!("the profile {name} has no release"))
            .hint("name a checkout with -C")
            .into());
    }
    Ok(Chosen::Pinned { project })
}

/// The project in a directory, if it is one.
fn open(path: &Path, profile: Option<&str>, assets: &Files) -> Result<Option<Project>> {
    if let Some(name) = profile {
        return Project::profile(assets, name).map(Some);
    }
    let file = path.join(FILE_NAME);
    match std::fs::read_to_string(&file) {
        Ok(text) => return Ok(Some(Project::parse(&file.display().to_string(), &text)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", file.display()));
        }
    }
    for name in PROFILES {
        let project = Project::profile(assets, name)?;
        if !project.detect.is_empty() && project.detect.iter().all(|file| path.join(file).exists())
        {
            return Ok(Some(project));
        }
    }
    Ok(None)
}

/// Bytes of a size like `512 MiB`, `1GiB`, `4096`. Decimal units are powers of
/// 1,000.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..end].parse::<u64>().ok()?;
    let unit: u64 = match text[end..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

#[derive(Clone, Copy)]
struct Source<'t> {
    file: &'t str,
    text: &'t str,
}

/// A table whose keys are taken one by one. What was asked for is what is known.
struct Table<'t> {
    source: Source<'t>,
    path: String,
    entries: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

type Entry<'t> = (&'t Spanned<DeString<'t>>, &'t Spanned<DeValue<'t>>);

impl<'t> Table<'t> {
    fn new(source: Source<'t>, path: &str, entries: &'t DeTable<'t>) -> Self {
        Self {
            source,
            path: path.to_owned(),
            entries: Some(entries),
            known: Vec::new(),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Entry<'t>> {
        self.known.push(key);
        self.find(key)
    }

    fn find(&self, key: &str) -> Option<Entry<'t>> {
        self.entries?
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// An error at a key.
    fn error(&self, key: &str, message: &str) -> Failure {
        let Source { file, text } = self.source;
        let line = self
            .find(key)
            .map_or(1, |(name, _)| line_of(text, name.span().start));
        Failure::usage(format!("{file}:{line}: {}: {message}", self.full(key)))
    }

    fn missing(&self, key: &str) -> Failure {
        Failure::usage(format!(
            "{}: {} is missing",
            self.source.file,
            self.full(key)
        ))
    }

    fn string(&mut self, key: &'static str) -> Result<Option<String>, Failure> {
        match self.take(key).map(|(_, value)| value.get_ref()) {
            None => Ok(None),
            Some(DeValue::String(text)) if text.contains('\0') => {
                Err(self.error(key, "must not contain a NUL"))
            }
            Some(DeValue::String(text)) if text.trim().is_empty() => {
                Err(self.error(key, "must not be empty"))
            }
            Some(DeValue::String(text)) => Ok(Some(text.to_string())),
            Some(_) => Err(self.error(key, "must be a string")),
        }
    }

    fn required_string(&mut self, key: &'static str) -> Result<String, Failure> {
        self.string(key)?.ok_or_else(|| self.missing(key))
    }

    fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, Failure> {
        match self.take(key).map(|(_, value)| value.get_ref()) {
            None => Ok(None),
            Some(DeValue::Boolean(value)) => Ok(Some(*value)),
            Some(_) => Err(self.error(key, "must be true or false")),
        }
    }

    fn strings(&mut self, key: &'static str) -> Result<Vec<String>, Failure> {
        match self.take(key).map(|(_, value)| value.get_ref()) {
            None => Ok(Vec::new()),
            Some(DeValue::Array(array)) => array
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.is_empty() && !text.contains('\0') => {
                        Ok(text.to_string())
                    }
                    _ => Err(self.error(key, "must be a list of strings that are not empty")),
                })
                .collect(),
            Some(_) => Err(self.error(key, "must be a list of strings")),
        }
    }

    /// A path that stays in the tree.
    fn inside(&self, key: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = PathBuf::from(text);
        let stays = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if stays {
            Ok(path)
        } else {
            Err(self.error(key, &format!("{text:?} must be a path inside the project")))
        }
    }

    fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, Failure> {
        match self.string(key)? {
            None => Ok(None),
            Some(text) => self.inside(key, &text).map(Some),
        }
    }

    fn required_path(&mut self, key: &'static str) -> Result<PathBuf, Failure> {
        self.path(key)?.ok_or_else(|| self.missing(key))
    }

    fn paths(&mut self, key: &'static str) -> Result<Vec<PathBuf>, Failure> {
        self.strings(key)?
            .iter()
            .map(|text| self.inside(key, text))
            .collect()
    }

    /// The name of an environment variable.
    fn variable(&mut self, key: &'static str) -> Result<Option<String>, Failure> {
        match self.string(key)? {
            Some(name) if !is_variable(&name) => {
                Err(self.error(key, &format!("{name:?} is no name for a variable")))
            }
            other => Ok(other),
        }
    }

    fn environment(&mut self, key: &'static str) -> Result<Vec<(String, String)>, Failure> {
        let Some(mut table) = self.optional_table(key)? else {
            return Ok(Vec::new());
        };
        let mut variables = Vec::new();
        for (name, value) in table.entries.take().into_iter().flatten() {
            let name = name.get_ref().as_ref();
            if !is_variable(name) {
                return Err(self.error(key, &format!("{name:?} is no name for a variable")));
            }
            match value.get_ref() {
                DeValue::String(text) if !text.contains('\0') => {
                    variables.push((name.to_owned(), text.to_string()));
                }
                _ => return Err(self.error(key, &format!("{name} must be a string"))),
            }
        }
        Ok(variables)
    }

    fn discovery(&mut self) -> Result<Discovery, Failure> {
        Ok(Discovery {
            start: self.path("start")?.unwrap_or_else(|| ".".into()),
            top: self.path("top")?.unwrap_or_else(|| ".".into()),
            pattern: self
                .string("pattern")?
                .unwrap_or_else(|| "test*.py".to_owned()),
        })
    }

    fn optional_table(&mut self, key: &'static str) -> Result<Option<Self>, Failure> {
        match self.take(key).map(|(_, value)| value.get_ref()) {
            None => Ok(None),
            Some(DeValue::Table(entries)) => {
                Ok(Some(Table::new(self.source, &self.full(key), entries)))
            }
            Some(_) => Err(self.error(key, "must be a table")),
        }
    }

    /// A table that may be left out because nothing in it is required.
    fn table(&mut self, key: &'static str) -> Result<Self, Failure> {
        let found = self.optional_table(key)?;
        Ok(found.unwrap_or_else(|| Table {
            source: self.source,
            path: self.full(key),
            entries: None,
            known: Vec::new(),
        }))
    }

    /// Nothing else may be in it.
    fn finish(self) -> Result<(), Failure> {
        let unknown = self
            .entries
            .into_iter()
            .flatten()
            .map(|(name, _)| name.get_ref().as_ref())
            .find(|name| !self.known.contains(name));
        let Some(key) = unknown else {
            return Ok(());
        };
        let mut hint = String::new();
        if let Some(near) = nearest(key, self.known.iter().copied()) {
            let _ = write!(hint, "did you mean {near:?}?");
        } else {
            let _ = write!(hint, "known here: {}", self.known.join(", "));
        }
        Err(self.error(key, "unknown key").hint(hint))
    }
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expect: Expect) {
        let message = match Project::parse("vmtest.toml", text) {
            Ok(_) => "fine".to_owned(),
            Err(failure) => {
                assert_eq!(failure.kind.exit_status(), 2);
                failure.to_string()
            }
        };
        expect.assert_eq(&message);
    }

    #[test]
    fn the_smallest_project() {
        let project = Project::parse("vmtest.toml", "name = \"x\"\n").unwrap();
        assert_eq!(
            project,
            Project {
                name: "x".to_owned(),
                python: "python3".to_owned(),
                detect: vec![],
                memory: None,
                prepare: vec![],
                tests: Discovery {
                    start: ".".into(),
                    top: ".".into(),
                    pattern: "test*.py".to_owned()
                },
                environment: vec![],
                module: None,
                disk: None,
                programs: vec![],
                requirements: vec![],
                prepare_programs: vec![],
                prepare_headers: vec![],
                local: None,
                release: None,
            }
        );
    }

    #[test]
    fn everything_in_the_documentation_is_taken() {
        let module = include_str!("project.rs");
        let example = module
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//!"))
            .collect::<Vec<_>>()
            .join("\n");
        let project = Project::parse("vmtest.toml", &example).unwrap();
        assert_eq!(project.disk.unwrap().size, 1 << 30);
        assert_eq!(project.module.unwrap().variable.unwrap(), "EXAMPLE_MODULE");
        assert_eq!(project.local.unwrap().exclude, ["tests/kernel/*"]);
        assert_eq!(
            project.environment,
            [("EXAMPLE_DEBUG".to_owned(), "1".to_owned())]
        );
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        check("", expect!["vmtest.toml: name is missing"]);
        check(
            "name = \"x\"\npyhton = \"python3\"\n",
            expect![[r#"vmtest.toml:2: pyhton: unknown key (did you mean "python"?)"#]],
        );
        check(
            "name = \"x\"\n\n[needs]\nprograms = []\nprogramms = [\"gdb\"]\n",
            expect![[r#"vmtest.toml:5: needs.programms: unknown key (did you mean "programs"?)"#]],
        );
        check(
            "name = \"x\"\n[disk]\nsize = \"1 GiB\"\nvariable = \"D\"\ncolour = 1\n",
            expect!["vmtest.toml:5: disk.colour: unknown key (known here: size, variable)"],
        );
        check(
            "name = \"x\"\n[[phase]]\nname = \"kdump\"\n",
            expect![
                "vmtest.toml:2: phase: unknown key (known here: name, python, detect, prepare, memory, tests, env, module, disk, needs, local, release)"
            ],
        );
        check(
            "name = \"x\"\n[disk]\nsize = \"1 giga\"\nvariable = \"D\"\n",
            expect![[
                r#"vmtest.toml:3: disk.size: "1 giga" is not a size (a size is written like "512 MiB" or "1 GiB")"#
            ]],
        );
        check(
            "name = \"x\"\n[disk]\nsize = \"1 GiB\"\n",
            expect!["vmtest.toml: disk.variable is missing"],
        );
        check(
            "name = \"x\"\n[module]\nsource = \"../kmod\"\n",
            expect![[
                r#"vmtest.toml:3: module.source: "../kmod" must be a path inside the project"#
            ]],
        );
        check(
            "name = \"x\"\n[module]\nsource = \"kmod\"\nvariable = \"A B\"\n",
            expect![[r#"vmtest.toml:4: module.variable: "A B" is no name for a variable"#]],
        );
        check(
            "name = \"x\"\n[module]\nload = 1\nsource = \"kmod\"\n",
            expect!["vmtest.toml:3: module.load: must be true or false"],
        );
        check(
            "name = [\"x\"]\n",
            expect!["vmtest.toml:1: name: must be a string"],
        );
        check(
            "name = \"x\"\nprepare = \"make\"\n",
            expect!["vmtest.toml:2: prepare: must be a list of strings"],
        );
        check(
            "name = \"x\"\n[env]\nA = 1\n",
            expect!["vmtest.toml:2: env: A must be a string"],
        );
        check(
            "name = \"x\"\nname = \"y\"\n",
            expect!["vmtest.toml:2: duplicate key"],
        );
        check(
            "name = \"x\n",
            expect!["vmtest.toml:1: invalid basic string, expected `\"`"],
        );
    }

    #[test]
    fn the_memory_of_the_guest() {
        let memory = |line: &str| {
            Project::parse("vmtest.toml", &format!("name = \"x\"\n{line}\n"))
                .map(|project| project.memory)
                .map_err(|failure| failure.to_string())
        };
        assert_eq!(memory(""), Ok(None));
        assert_eq!(memory("memory = \"1 GiB\""), Ok(Some(1024)));
        assert_eq!(memory("memory = \"300MB\""), Ok(Some(287)));
        for wrong in ["64 MiB", "much", "9999999 TiB"] {
            let message = memory(&format!("memory = {wrong:?}")).unwrap_err();
            assert!(message.starts_with("vmtest.toml:2: memory: "), "{message}");
            assert!(
                message.contains("is not a size of at least 128 MiB"),
                "{message}"
            );
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1 GiB", Some(1 << 30)),
            ("512MiB", Some(512 << 20)),
            ("4096", Some(4096)),
            ("2 GB", Some(2_000_000_000)),
            ("1g", Some(1 << 30)),
            ("", None),
            ("GiB", None),
            ("1.5 GiB", None),
            ("-1", None),
            ("99999999999 TiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    fn assets() -> Files {
        Files::Directory(Path::new(env!("CARGO_MANIFEST_DIR")).join("../vmtest-assets"))
    }

    #[test]
    fn every_profile_and_the_selftest_are_right() {
        for name in PROFILES {
            let project = Project::profile(&assets(), name).unwrap();
            assert!(!project.detect.is_empty(), "{name}");
            for hash in project.release.iter().flat_map(|r| &r.wheels) {
                assert!(
                    hash.strip_prefix("sha256:").is_some_and(|h| h.len() == 64),
                    "{hash}"
                );
            }
        }
        let text = assets().read("selftest/vmtest.toml").unwrap();
        Project::parse("selftest/vmtest.toml", &text).unwrap();
    }

    #[test]
    fn which_project() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["own/sub", "drgn/libdrgn", "none"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        std::fs::write(path("own/vmtest.toml"), "name = \"own\"\n").unwrap();
        std::fs::write(path("drgn/libdrgn/configure.ac"), "").unwrap();
        let choice = |c: Option<&str>, variable: Option<&str>, current, profile: Option<&str>| {
            let choice = Choice {
                directory: c.map(PathBuf::from),
                variable: variable.map(PathBuf::from),
                current: path(current),
                profile: profile.map(ToOwned::to_owned),
            };
            match choose(&choice, &assets()) {
                Ok(Chosen::Tree { project, path }) => {
                    let path = path.strip_prefix(directory.path()).unwrap().display();
                    format!("{} in {path}", project.name)
                }
                Ok(Chosen::Pinned { project }) => format!("release of {}", project.name),
                Err(error) => {
                    let error = format!("{error:#}");
                    error.replace(&directory.path().display().to_string(), "DIR")
                }
            }
        };
        for (c, variable, current, profile, expected) in [
            (None, None, "none", None, "release of drgn"),
            (None, None, "own", None, "own in own"),
            (None, None, "own/sub", None, "release of drgn"),
            (None, None, "drgn", None, "drgn in drgn"),
            (None, None, "drgn", Some("drgn"), "release of drgn"),
            (None, Some("../drgn"), "own", None, "drgn in own/../drgn"),
            (None, Some(""), "own", None, "own in own"),
            (Some("own"), Some("drgn"), "", None, "own in own"),
            (Some("none"), None, "", Some("drgn"), "drgn in none"),
            (
                Some("none"),
                None,
                "",
                None,
                "DIR/none is no project (give it a vmtest.toml, or say what it is with --profile drgn)",
            ),
            (
                Some("absent"),
                None,
                "",
                None,
                "the project DIR/absent is no directory",
            ),
            (
                None,
                None,
                "none",
                Some("drng"),
                "there is no profile \"drng\" (did you mean \"drgn\"?)",
            ),
        ] {
            assert_eq!(choice(c, variable, current, profile), expected);
        }
    }
}
