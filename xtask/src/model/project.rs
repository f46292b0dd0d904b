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
//! [crash]                      # tests of the dump, after a crash of the tested kernel
//! start = "tests/vmcore"       # these three as in [tests]
//! top = "."
//! pattern = "test*.py"
//! trigger = "echo 1 >/sys/…"   # shell command in the guest; otherwise sysrq c
//! module = true                # not without the project's module; otherwise always
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
//! [[expect]]                   # tests that fail, as often as needed: see crate::model::expectation
//! test = "tests.test_a.A.*"    # dotted name, with shell wildcards
//! kernels = ">=5.11, <5.19"    # see crate::model::version_range; any without
//! flavor = "default"           # any without
//! arch = "x86_64"              # any without
//! reason = "issue 12"          # required
//! until = "2030-12-31"         # the last day on which it counts
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

mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;
use toml::de::DeTable;

use crate::base::{error::Failure, input, paths::Files, suggest::nearest};
use crate::model::expectation::{Expectation, Mistake};
use table::{Source, Table, line_of};

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
    /// The tests after a crash.
    pub crash: Option<Crash>,
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
    /// Failures that are known.
    pub expectations: Vec<Expectation>,
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

/// Tests in the kernel that a crash of the tested one starts, of which `/proc/vmcore` is
/// the dump. The project's module is not loaded there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// What is discovered.
    pub tests: Discovery,
    /// What crashes the kernel, for the guest's shell.
    pub trigger: String,
    /// Whether they tell nothing without the project's module: a kernel that it cannot be
    /// built for is not crashed.
    pub module: bool,
}

/// What crashes a kernel if the project does not say (Documentation/admin-guide/sysrq.rst).
pub const SYSRQ_CRASH: &str = "echo c >/proc/sysrq-trigger";

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

        let memory = memory(&mut top)?;

        let mut tests = top.table("tests")?;
        let discovery = tests.discovery()?;
        tests.finish()?;

        let crash = top.optional("crash", crash)?;
        let environment = top.environment("env")?;
        let module = top.optional("module", module)?;
        let disk = top.optional("disk", disk)?;

        let mut needs = top.table("needs")?;
        let programs = needs.strings("programs")?;
        let requirements = needs.strings("python")?;
        let prepare_programs = needs.strings("prepare")?;
        let prepare_headers = needs.strings("headers")?;
        needs.finish()?;

        let tables = top.tables("expect")?;
        let expectations = tables.into_iter().map(expectation);
        let expectations = expectations.collect::<Result<_, _>>()?;

        let local = top.optional("local", local)?;
        let release = top.optional("release", release)?;
        top.finish()?;
        Ok(Self {
            name,
            python,
            detect,
            prepare,
            memory,
            tests: discovery,
            crash,
            environment,
            module,
            disk,
            programs,
            requirements,
            prepare_programs,
            prepare_headers,
            expectations,
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

const SIZE_HINT: &str = "a size is written like \"512 MiB\" or \"1 GiB\"";

/// In MiB.
fn memory(top: &mut Table<'_>) -> Result<Option<u32>, Failure> {
    let Some(size) = top.string("memory")? else {
        return Ok(None);
    };
    let memory = parse_size(&size).map(|bytes| bytes.div_ceil(1 << 20));
    let memory = memory.and_then(|memory| u32::try_from(memory).ok());
    let memory = memory.filter(|memory| *memory >= MEMORY_MIN);
    let wrong = format!("{size:?} is not a size of at least {MEMORY_MIN} MiB");
    let failure = || top.error("memory", &wrong).hint(SIZE_HINT);
    memory.map(Some).ok_or_else(failure)
}

fn crash(table: &mut Table<'_>) -> Result<Crash, Failure> {
    Ok(Crash {
        tests: table.discovery()?,
        trigger: table
            .string("trigger")?
            .unwrap_or_else(|| SYSRQ_CRASH.to_owned()),
        module: table.boolean("module")?.unwrap_or(false),
    })
}

fn module(table: &mut Table<'_>) -> Result<Module, Failure> {
    Ok(Module {
        source: table.required_path("source")?,
        load: table.boolean("load")?.unwrap_or(true),
        variable: table.variable("variable")?,
    })
}

fn disk(table: &mut Table<'_>) -> Result<Disk, Failure> {
    let size = table.required_string("size")?;
    let size = parse_size(&size).filter(|size| *size > 0).ok_or_else(|| {
        table
            .error("size", &format!("{size:?} is not the size of a disk"))
            .hint(SIZE_HINT)
    })?;
    let variable = table.variable("variable")?;
    let variable = variable.ok_or_else(|| table.missing("variable"))?;
    Ok(Disk { size, variable })
}

fn local(table: &mut Table<'_>) -> Result<Local, Failure> {
    Ok(Local {
        tests: table.discovery()?,
        exclude: table.strings("exclude")?,
        environment: table.environment("env")?,
    })
}

fn release(table: &mut Table<'_>) -> Result<Release, Failure> {
    Ok(Release {
        name: table.required_string("name")?,
        version: table.required_string("version")?,
        source: table.required_string("source")?,
        wheels: table.strings("wheels")?,
        extension: table.strings("extension")?,
    })
}

/// An entry of the list of expectations.
fn expectation(mut table: Table<'_>) -> Result<Expectation, Failure> {
    let expectation = Expectation {
        test: table.required_string("test")?,
        kernels: table.string("kernels")?,
        flavor: table.string("flavor")?,
        arch: table.string("arch")?,
        reason: table.required_string("reason")?,
        until: table.string("until")?,
    };
    if let Err(Mistake { key, failure }) = expectation.check() {
        let located = table.error(key, &failure.message);
        return Err(Failure {
            hint: failure.hint,
            ..located
        });
    }
    table.finish()?;
    Ok(expectation)
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

impl Chosen {
    pub fn project(&self) -> &Project {
        match self {
            Self::Tree { project, .. } | Self::Pinned { project } => project,
        }
    }
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
    let unreadable = |error| Failure::usage(format!("{error:#}"));
    if let Some(text) = input::text_if_any(&file, input::SMALL).map_err(unreadable)? {
        return Ok(Some(Project::parse(&file.display().to_string(), &text)?));
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

#[cfg(test)]
mod tests;
