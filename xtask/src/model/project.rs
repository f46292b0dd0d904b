//! `vmtest.toml`: the tree whose tests run in the guest, as a checked value.
//!
//! ```toml
//! name = "example"             # required
//! python = "python3"           # interpreter: a name, or a path in the project
//! detect = ["setup.py"]        # profiles only: files that tell such a tree
//! prepare = ["make"]           # shell commands on the host, in the tree, before the tests
//! memory = "1 GiB"             # of the guest, instead of 2 GiB
//!
//! [tests]                      # in the guest
//! runner = "tap"               # the test framework, one of RUNNERS; otherwise unittest
//! command = ["./run.sh"]       # for those that have no runner of ours
//! emulated = "not slow"        # pytest: only these markers where the processors are emulated
//! fail_on_stalls = true        # also where the processors are emulated
//! long = true                  # idle VMs share them before it is known how long they take
//! start = "tests"              # discovery, for those that have one
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
//! [kernel]                     # what the tested kernels must have
//! options = "kernel.config"    # a fragment in the format of kernel-configs/README.md
//!
//! [needs]
//! programs = ["mkfs.ext4"]     # host programs that the tests run
//! python = ["pyroute2==0.9.7"] # lines of a pip requirements file
//! pytest = ["pytest==8.3.5"]   # more of them for the runner pytest
//! prepare = ["make", "gcc"]    # host programs that the steps of `prepare` run
//! headers = ["zlib.h"]         # C headers that they include
//!
//! [cross]                      # for a guest whose userspace is not the host's
//! packages = ["libgomp1"]      # Debian packages of that, beside those with what [needs] names
//! prepare = ["make"]           # shell commands on the host instead of the other `prepare`
//!
//! [[expect]]                   # tests that fail, as often as needed: see crate::model::expectation
//! test = "tests.test_a.A.*"    # dotted name, with shell wildcards
//! kernels = ">=5.11, <5.19"    # see crate::model::version_range; any without
//! flavor = "default"           # any without
//! arch = "x86_64"              # any without
//! reason = "issue 12"          # required
//! until = "2030-12-31"         # the last day on which it counts
//!
//! [[allow]]                    # complaints of the kernel that make no run fail
//! pattern = "WARNING: * at drivers/x.c:*" # of their titles, or a kind; the rest as above
//! kernels = "<6.1"
//! flavor = "default"
//! arch = "x86_64"
//! reason = "issue 13"
//! until = "2030-12-31"
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

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::environment::is_exportable;
use crate::base::{error::Failure, input, paths::Files, suggest};
use crate::model::expectation::{Expectation, Mistake};

pub const FILE_NAME: &str = "vmtest.toml";

/// MiB; with less a guest does not boot with a gigabyte of debugging information at
/// hand.
pub const MEMORY_MIN: u32 = 128;

/// Profiles that come with us: `vmtest-assets/profiles/<name>/vmtest.toml`.
pub const PROFILES: &[&str] = &["drgn"];

/// The test frameworks, and whether we have a runner that discovers their tests. Without one
/// the project's command runs them, and what it prints is read.
pub const RUNNERS: &[(&str, bool)] = &[
    ("unittest", true),
    ("pytest", true),
    ("tap", false),
    ("ktap", false),
    ("libtest", false),
    ("go", false),
    ("test_progs", false),
    ("command", false),
];

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    pub name: String,
    /// The interpreter: a program name, or a path relative to the tree.
    #[serde(default = "usual_python")]
    pub python: String,
    /// Files that tell a tree of this profile.
    #[serde(default)]
    pub detect: Vec<PathBuf>,
    /// Shell commands for the host.
    #[serde(default)]
    pub prepare: Vec<String>,
    /// Memory of the guest in MiB, if the tests want another amount than usual.
    #[serde(default, deserialize_with = "memory")]
    pub memory: Option<u32>,
    #[serde(default)]
    pub tests: Tests,
    pub crash: Option<Crash>,
    #[serde(default, deserialize_with = "environment", rename = "env")]
    pub environment: Vec<(String, String)>,
    pub module: Option<Module>,
    pub disk: Option<ProjectDisk>,
    #[serde(default)]
    pub kernel: KernelNeeds,
    #[serde(default)]
    pub needs: Needs,
    pub cross: Option<Cross>,
    #[serde(default, deserialize_with = "expected", rename = "expect")]
    pub expectations: Vec<Expectation>,
    /// Complaints of kernels that make no run fail.
    #[serde(default, deserialize_with = "allowed", rename = "allow")]
    pub allowances: Vec<Expectation>,
    pub local: Option<Local>,
    /// What is tested without a checkout.
    pub release: Option<PinnedRelease>,
}

fn usual_python() -> String {
    "python3".to_owned()
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Needs {
    /// Host programs that the tests run.
    pub programs: Vec<String>,
    /// Lines of a pip requirements file.
    pub python: Vec<String>,
    /// More of them for the runner `pytest`, and only for it.
    pub pytest: Vec<String>,
    /// Host programs that the steps of `prepare` run.
    pub prepare: Vec<String>,
    /// C headers that they include.
    pub headers: Vec<String>,
}

/// What makes it ready for a guest whose userspace is not the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cross {
    /// Debian packages of that userspace, beside those with what [`Needs`] names.
    pub packages: Vec<String>,
    /// Shell commands for the host, instead of [`Project::prepare`].
    pub prepare: Vec<String>,
}

/// What the tested kernels must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KernelNeeds {
    /// A fragment with options beyond ours, relative to the tree.
    #[serde(deserialize_with = "some_inside")]
    pub options: Option<PathBuf>,
}

/// The tests in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tests {
    /// The test framework, one of [`RUNNERS`].
    #[serde(deserialize_with = "runner")]
    pub runner: String,
    /// What runs the tests, if the framework has no runner of ours.
    pub command: Vec<String>,
    /// An expression of pytest's markers: where the processors are emulated, only such tests run.
    pub emulated: Option<String>,
    /// Whether stalls count where the processors are emulated.
    pub fail_on_stalls: bool,
    /// Whether idle VMs share the tests before it is known how long they take.
    pub long: bool,
    #[serde(deserialize_with = "inside")]
    start: PathBuf,
    #[serde(deserialize_with = "inside")]
    top: PathBuf,
    pattern: String,
}

impl Default for Tests {
    fn default() -> Self {
        Self {
            runner: RUNNERS[0].0.to_owned(),
            command: Vec::new(),
            emulated: None,
            fail_on_stalls: false,
            long: false,
            start: top(),
            top: top(),
            pattern: usual_pattern(),
        }
    }
}

impl Tests {
    pub fn discovery(&self) -> Discovery {
        Discovery {
            start: self.start.clone(),
            top: self.top.clone(),
            pattern: self.pattern.clone(),
        }
    }

    /// What is wrong with the command.
    fn fault(&self) -> Option<String> {
        let ours = RUNNERS
            .iter()
            .any(|(name, ours)| *name == self.runner && *ours);
        let Self {
            runner, command, ..
        } = self;
        match (ours, &command[..]) {
            (true, [_, ..]) => Some(format!("tests.command: {runner} has a runner of its own")),
            (false, []) => Some(format!(
                "tests.command is missing: it runs the {runner} tests"
            )),
            _ => None,
        }
    }
}

/// Arguments of discovery.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discovery {
    /// Where tests are looked for.
    #[serde(default = "top", deserialize_with = "inside")]
    pub start: PathBuf,
    /// Where their packages begin.
    #[serde(default = "top", deserialize_with = "inside")]
    pub top: PathBuf,
    #[serde(default = "usual_pattern")]
    pub pattern: String,
}

fn top() -> PathBuf {
    ".".into()
}

fn usual_pattern() -> String {
    "test*.py".to_owned()
}

/// Tests in the kernel that a crash of the tested one starts, of which `/proc/vmcore` is
/// the dump. The project's module is not loaded there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    #[serde(default = "top", deserialize_with = "inside")]
    start: PathBuf,
    #[serde(default = "top", deserialize_with = "inside")]
    top: PathBuf,
    #[serde(default = "usual_pattern")]
    pattern: String,
    /// What crashes the kernel, for the guest's shell.
    #[serde(default = "sysrq")]
    pub trigger: String,
    /// Whether they tell nothing without the project's module: a kernel that it cannot be
    /// built for is not crashed.
    #[serde(default)]
    pub module: bool,
}

/// Documentation/admin-guide/sysrq.rst
fn sysrq() -> String {
    "echo c >/proc/sysrq-trigger".to_owned()
}

impl Crash {
    pub fn tests(&self) -> Discovery {
        Discovery {
            start: self.start.clone(),
            top: self.top.clone(),
            pattern: self.pattern.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its source folder, relative to the tree.
    #[serde(deserialize_with = "inside")]
    pub source: PathBuf,
    #[serde(default = "yes")]
    pub load: bool,
    /// The variable that names the built file.
    #[serde(default, deserialize_with = "some_variable")]
    pub variable: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectDisk {
    /// Bytes.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// The variable that names the device.
    #[serde(deserialize_with = "variable")]
    pub variable: String,
}

/// Tests on the host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    #[serde(default = "top", deserialize_with = "inside")]
    start: PathBuf,
    #[serde(default = "top", deserialize_with = "inside")]
    top: PathBuf,
    #[serde(default = "usual_pattern")]
    pattern: String,
    /// Files that are left out, relative to `top`, with wildcards.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Environment on top of the user's.
    #[serde(default, deserialize_with = "environment", rename = "env")]
    pub environment: Vec<(String, String)>,
}

impl Local {
    pub fn tests(&self) -> Discovery {
        Discovery {
            start: self.start.clone(),
            top: self.top.clone(),
            pattern: self.pattern.clone(),
        }
    }
}

/// A release on PyPI, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedRelease {
    pub name: String,
    pub version: String,
    /// Hash of the source archive, as pip writes it: `sha256:…`.
    pub source: String,
    /// Hashes of the wheels; pip chooses among those that fit the interpreter.
    #[serde(default)]
    pub wheels: Vec<String>,
    /// Files and folders of the wheel that the source tree gets, with wildcards.
    #[serde(default)]
    pub extension: Vec<String>,
}

impl Project {
    /// Reads the text of a project file; `file` is its name in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, Failure> {
        let top = DeTable::parse(text);
        let failure = |span: Option<Range<usize>>, message: &str| {
            let span = span.unwrap_or(0..text.len());
            let line = 1 + text[..span.start].matches('\n').count();
            let path = top.as_ref().ok();
            let path = path.and_then(|top| path_at(top.get_ref(), &span));
            let path = path.map_or(String::new(), |path| format!("{path}: "));
            Failure::usage(format!("{file}:{line}: {path}{message}"))
        };
        let explained = |error: &toml::de::Error| {
            // The parser's message has lines of its own; its first says what is wrong.
            let message = error.message().lines().next().unwrap_or("syntax error");
            // "unknown field `a`, expected one of `b`, `c`"
            let mut names = message.split('`').skip(1).step_by(2);
            match names.next() {
                Some(name) if message.starts_with("unknown field") => {
                    let known = names.collect::<Vec<_>>();
                    failure(error.span(), "unknown key").hint(suggest::hint(name, &known))
                }
                _ if message.ends_with("expected a sequence") => failure(error.span(), message)
                    .hint("a list is written [\"a\", \"b\"], and one of tables [[expect]]"),
                _ => failure(error.span(), message),
            }
        };
        let table = top.as_ref().map_err(explained)?;
        if let Some((span, wrong)) = wrong_text(table.get_ref(), false) {
            return Err(failure(Some(span), wrong));
        }
        let deserializer = toml::Deserializer::from(table.clone());
        let project = Self::deserialize(deserializer).map_err(|error| explained(&error))?;
        if let Some(fault) = project.tests.fault() {
            let span = table.get_ref().get("tests").map(Spanned::span);
            return Err(failure(span, &fault));
        }
        let tables = |key: &str| {
            let tables = table.get_ref().get(key).map(Spanned::get_ref);
            tables.and_then(DeValue::as_array).into_iter().flatten()
        };
        let expected = project.expectations.iter().zip(tables("expect"));
        let allowed = project.allowances.iter().zip(tables("allow"));
        for (expectation, table) in expected.chain(allowed) {
            if let Err(Mistake { key, failure: why }) = expectation.check() {
                let span = table.get_ref().get(key).map(Spanned::span);
                let located = failure(span, &why.message);
                return Err(Failure {
                    hint: why.hint,
                    ..located
                });
            }
        }
        Ok(project)
    }

    pub fn profile(assets: &Files, name: &str) -> Result<Self> {
        if !PROFILES.contains(&name) {
            let failure = Failure::usage(format!("there is no profile {name:?}"));
            return Err(failure.hint(suggest::hint(name, PROFILES)).into());
        }
        let path = format!("profiles/{name}/{FILE_NAME}");
        let text = assets.read(&path)?;
        Ok(Self::parse(&path, &text)?)
    }
}

/// The dotted name of the key that is at a place, or whose value is.
fn path_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let mut tables = values(value).filter_map(|value| value.get_ref().as_table());
        let below = tables.find_map(|table| path_at(table, span));
        let mut spans = values(value)
            .map(Spanned::span)
            .chain([key.span(), value.span()]);
        let here = spans.any(|here| here == *span);
        match below {
            Some(below) => Some(format!("{}.{below}", key.get_ref())),
            None => here.then(|| key.get_ref().to_string()),
        }
    })
}

/// Texts become paths, arguments and names, of which none is empty or has a NUL in it. Variables
/// may be empty.
fn wrong_text(table: &DeTable<'_>, is_environment: bool) -> Option<(Range<usize>, &'static str)> {
    table.iter().find_map(|(key, value)| {
        values(value).find_map(|value| match value.get_ref() {
            DeValue::Table(table) => wrong_text(table, key.get_ref() == "env"),
            DeValue::String(text) if text.contains('\0') => {
                Some((value.span(), "must not contain a NUL"))
            }
            DeValue::String(text) if text.trim().is_empty() && !is_environment => {
                Some((value.span(), "must not be empty"))
            }
            _ => None,
        })
    })
}

/// A value, or those of a list.
fn values<'v, 't>(
    value: &'v Spanned<DeValue<'t>>,
) -> impl Iterator<Item = &'v Spanned<DeValue<'t>>> {
    let list = value.get_ref().as_array().map(|list| &list[..]);
    list.unwrap_or(std::slice::from_ref(value)).iter()
}

/// A path that stays in the tree.
fn inside<'d, D: Deserializer<'d>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    match path.components().all(stays) {
        true => Ok(path),
        false => Err(D::Error::custom(format!(
            "{path:?} must be a path inside the project"
        ))),
    }
}

fn some_inside<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    inside(deserializer).map(Some)
}

fn runner<'d, D: Deserializer<'d>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = RUNNERS.iter().map(|(known, _)| *known).collect::<Vec<_>>();
    match known.contains(&&*name) {
        true => Ok(name),
        false => Err(D::Error::custom(format!(
            "there is no runner {name:?} ({})",
            suggest::hint(&name, &known)
        ))),
    }
}

/// The name of an environment variable.
fn variable<'d, D: Deserializer<'d>>(deserializer: D) -> Result<String, D::Error> {
    check_variable(String::deserialize(deserializer)?)
}

fn some_variable<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<String>, D::Error> {
    variable(deserializer).map(Some)
}

fn check_variable<E: serde::de::Error>(name: String) -> Result<String, E> {
    match is_exportable(name.as_ref()) {
        true => Ok(name),
        false => Err(E::custom(format!("{name:?} is no name for a variable"))),
    }
}

fn environment<'d, D: Deserializer<'d>>(
    deserializer: D,
) -> Result<Vec<(String, String)>, D::Error> {
    let variables = BTreeMap::<String, String>::deserialize(deserializer)?.into_iter();
    let variables = variables.map(|(name, value)| Ok((check_variable(name)?, value)));
    variables.collect()
}

const SIZE_HINT: &str = "a size is written like \"512 MiB\" or \"1 GiB\"";

fn size<'d, D: Deserializer<'d>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let size = parse_size(&text).filter(|size| *size > 0);
    let message = || format!("{text:?} is not the size of a disk ({SIZE_HINT})");
    size.ok_or_else(|| D::Error::custom(message()))
}

/// In MiB.
fn memory<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let memory = parse_size(&text).and_then(|bytes| u32::try_from(bytes.div_ceil(1 << 20)).ok());
    let memory = memory.filter(|memory| *memory >= MEMORY_MIN);
    let wrong = || format!("{text:?} is not a size of at least {MEMORY_MIN} MiB ({SIZE_HINT})");
    memory.map(Some).ok_or_else(|| D::Error::custom(wrong()))
}

/// A reader of tables that are an [`Expectation`] each; results may have more keys than these.
macro_rules! expectations {
    ($reader:ident, $key:literal, $is_complaint:expr) => {
        fn $reader<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<Expectation>, D::Error> {
            #[derive(Deserialize)]
            #[serde(remote = "Expectation", deny_unknown_fields)]
            struct ExpectationTable {
                #[serde(rename = $key)]
                test: String,
                #[serde(skip, default = "is_complaint")]
                complaint: bool,
                kernels: Option<String>,
                flavor: Option<String>,
                arch: Option<String>,
                reason: String,
                until: Option<String>,
            }
            fn is_complaint() -> bool {
                $is_complaint
            }
            #[derive(Deserialize)]
            struct Row(#[serde(with = "ExpectationTable")] Expectation);
            let rows = Vec::<Row>::deserialize(deserializer)?;
            Ok(rows.into_iter().map(|row| row.0).collect())
        }
    };
}

expectations!(expected, "test", false);
expectations!(allowed, "pattern", true);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub project: Project,
    /// A tree on this machine, its absolute path with links unresolved; `None`: the pinned
    /// release of a profile, yet to be fetched.
    pub tree: Option<PathBuf>,
}

impl Chosen {
    /// The fragment with options beyond ours. A release that is yet to be fetched has none.
    pub fn kernel_options(&self) -> Option<PathBuf> {
        Some(
            self.tree
                .as_ref()?
                .join(self.project.kernel.options.as_ref()?),
        )
    }
}

/// What says which project it is.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `-C`.
    pub directory: Option<PathBuf>,
    /// `VMTEST_PROJECT`.
    pub variable: Option<PathBuf>,
    pub current: PathBuf,
    /// `--profile`.
    pub profile: Option<String>,
    /// Whether a directory that is no project is taken for one without tests: a command was
    /// given with what to run.
    pub anonymous: bool,
}

/// Which project: `-C`, else `VMTEST_PROJECT`, else the current directory if it
/// is one, else the pinned release of the profile (drgn's if none is named).
pub fn choose(choice: &Choice, assets: &Files) -> Result<Chosen> {
    let variable = choice.variable.as_ref();
    let variable = variable.filter(|path| !path.as_os_str().is_empty());
    if let Some(directory) = choice.directory.as_ref().or(variable) {
        let path = choice.current.join(directory);
        let shown = path.display();
        if !path.is_dir() {
            return Err(Failure::usage(format!("the project {shown} is no directory")).into());
        }
        let opened = open(&path, choice.profile.as_deref(), assets)?;
        if opened.is_none() && choice.anonymous {
            return Ok(anonymous(path)?);
        }
        let project = opened.ok_or_else(|| {
            let profiles = PROFILES.join("|");
            Failure::usage(format!("{shown} is no project")).hint(format!(
                "give it a {FILE_NAME}, or say what it is with --profile {profiles}"
            ))
        })?;
        return Ok(Chosen {
            project,
            tree: Some(path),
        });
    }
    // A profile alone means its release: the current directory is a project only
    // when it says so itself.
    if let Some(project) = open(&choice.current, None, assets)?
        && choice.profile.is_none()
    {
        return Ok(Chosen {
            project,
            tree: Some(choice.current.clone()),
        });
    }
    if choice.anonymous && choice.profile.is_none() {
        return Ok(anonymous(choice.current.clone())?);
    }
    let name = choice.profile.as_deref().unwrap_or(PROFILES[0]);
    let project = Project::profile(assets, name)?;
    if project.release.is_none() {
        return Err(Failure::usage(format!("the profile {name} has no release"))
            .hint("name a checkout with -C")
            .into());
    }
    Ok(Chosen {
        project,
        tree: None,
    })
}

fn anonymous(path: PathBuf) -> Result<Chosen, Failure> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name = name.to_string_lossy().into_owned();
    let project = Project {
        name,
        ..Project::parse(FILE_NAME, "name = \"anonymous\"")?
    };
    Ok(Chosen {
        project,
        tree: Some(path),
    })
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
        let detect = &project.detect;
        if !detect.is_empty() && detect.iter().all(|file| path.join(file).exists()) {
            return Ok(Some(project));
        }
    }
    Ok(None)
}

/// Bytes of a size like `512 MiB`, `1GiB`, `4096`. Decimal units are powers of
/// 1,000.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text[..text.len() - unit.len()].parse::<u64>().ok()?;
    let unit: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
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
