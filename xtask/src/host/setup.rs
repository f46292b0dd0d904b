//! The programs and headers that this host must have: what is missing, which package of which
//! distribution has it, and how to install just that.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::base::error::kind;
use crate::base::process::{LongCommand, status_in_words, tail_of_log};
use crate::base::{disk, env::Env, error::Failure, input, interrupt, lock, programs, ui::Ui};
use crate::base::{embedded::HOST_PACKAGES, process::shell};
use crate::model::{arch, arch::Arch, project::Project};

/// Something that this host must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// A program of that name, in `PATH` or a directory for administrators.
    Program(String),
    /// A BusyBox that runs without shared libraries: see [`programs::static_busybox`].
    StaticBusybox,
    /// A C header, as `#include` names it.
    Header(String),
    /// A module of the host's `python3`.
    PythonModule(&'static str),
    /// The headers of the host's `python3`, for C extensions.
    PythonHeaders,
}

impl Tool {
    pub fn program(name: impl Into<String>) -> Self {
        Self::Program(name.into())
    }

    /// `Python.h` is that of the host's `python3`, which is in no folder of the compiler's.
    pub fn header(name: impl Into<String>) -> Self {
        match name.into() {
            name if name == "Python.h" => Self::PythonHeaders,
            name => Self::Header(name),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => f.write_str(name),
            Self::StaticBusybox => f.write_str("a static busybox"),
            Self::Header(name) => write!(f, "<{name}>"),
            Self::PythonModule(name) => write!(f, "python3's module {name}"),
            Self::PythonHeaders => f.write_str("python3's C headers"),
        }
    }
}

/// Keeps what a compiler made, for the next time.
const CCACHE: &str = "ccache";

fn programs(names: &str) -> Vec<Tool> {
    names.split(' ').map(Tool::program).collect()
}

/// What booting a VM needs.
pub fn for_vm(arch: &Arch) -> Vec<Tool> {
    vec![Tool::program(arch.qemu), Tool::StaticBusybox]
}

/// The compilers of programs for this host and of code for an architecture.
fn for_compiling(arch: &Arch) -> Vec<Tool> {
    let mut tools = programs("gcc ld make");
    let foreign = arch.cross_compile().map(|_| arch.program("gcc"));
    tools.extend(foreign.map(Tool::program));
    tools
}

/// What building a kernel with the usual `gcc` and packaging it needs. Kernel documentation,
/// `Documentation/process/changes.rst`, lists the programs; the headers are for the host programs
/// of a build (`tools/objtool` includes `gelf.h`, `scripts/sign-file.c` and
/// `certs/extract-cert.c` include OpenSSL's).
pub fn for_build(arch: &Arch) -> Vec<Tool> {
    let mut tools = for_compiling(arch);
    tools.extend(programs("flex bison bc perl tar xz pahole lz4 depmod"));
    let headers = "stdio.h linux/types.h libelf.h openssl/opensslv.h";
    tools.extend(headers.split(' ').map(Tool::header));
    tools
}

/// What compiling a module against a packaged kernel needs: its host programs are built already.
pub fn for_external_module(arch: &Arch) -> Vec<Tool> {
    for_compiling(arch)
}

/// What a Python project in a virtual environment needs. Without `ensurepip` `python3 -m venv`
/// makes an environment that lacks pip; Debian has it in a package of its own.
pub fn for_python() -> Vec<Tool> {
    vec![Tool::program("python3"), Tool::PythonModule("ensurepip")]
}

/// What the steps run that prepare a tree of the project.
pub fn for_prepare(project: &Project) -> Vec<Tool> {
    let programs = project.needs.prepare.iter().map(Tool::program);
    programs
        .chain(project.needs.headers.iter().map(Tool::header))
        .collect()
}

/// What `cargo xtask ci` runs itself, beside all of the above.
pub fn for_ci() -> Vec<Tool> {
    programs("cargo git go shellcheck python3 node npm xmllint strace")
}

/// A family of distributions with the same package manager and names: the columns of
/// [`HOST_PACKAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Debian,
    Fedora,
    Arch,
    Suse,
    Alpine,
}

const FAMILIES: [Family; 5] = [
    Family::Debian,
    Family::Fedora,
    Family::Arch,
    Family::Suse,
    Family::Alpine,
];

/// After an earlier run was stopped half-way, dpkg refuses all work until this has run.
const MEND: &str = "dpkg --configure -a";

impl Family {
    /// What a row of [`HOST_PACKAGES`] has for it.
    fn cell(self, row: &str) -> Option<&'static str> {
        let mut rows = HOST_PACKAGES
            .lines()
            .map(|line| line.split('|').map(str::trim));
        let mut cells = rows.find_map(|mut cells| (cells.next()? == row).then_some(cells))?;
        let cell = cells.clone().nth(self as usize).or(cells.next());
        // An empty one: no package is known.
        cell.filter(|cell| !cell.is_empty())
    }

    /// What a row that all families have says about its package manager.
    fn manager(self, row: &str) -> &'static str {
        self.cell(row).unwrap_or_default()
    }

    /// The package manager's program.
    pub fn program(self) -> &'static str {
        let typed = self.manager("@typed");
        typed.split_once(' ').map_or(typed, |(program, _)| program)
    }
}

/// A distribution, as far as package names depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    pub family: Family,
    /// `ID` of `/etc/os-release`.
    pub id: String,
    /// The number at the start of `VERSION_ID`; testing and rolling ones have none.
    pub version: Option<u32>,
}

impl Distribution {
    /// From the text of `/etc/os-release` (os-release(5)): `ID`, else the first of `ID_LIKE` that
    /// is known.
    pub fn parse(os_release: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = os_release.lines().rev();
            let value = lines.find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        let id = value("ID")?;
        let words = format!("{id} {}", value("ID_LIKE").unwrap_or_default());
        let family = words.split_whitespace().find_map(|word| {
            let known = |family: &Family| family.manager("@ids").split(' ').any(|id| id == word);
            FAMILIES.into_iter().find(known)
        })?;
        let version = value("VERSION_ID").unwrap_or_default();
        let version = version.split(|c: char| !c.is_ascii_digit()).next();
        Some(Self {
            family,
            id,
            version: version.and_then(|number| number.parse().ok()),
        })
    }
}

/// The package that has a tool, if the table knows it.
fn package(tool: &Tool, distribution: &Distribution) -> Option<&'static str> {
    if *tool == Tool::program("pahole")
        && distribution.family == Family::Debian
        && let Some(version) = distribution.version
        && version < if distribution.id == "ubuntu" { 23 } else { 12 }
    {
        // Debian 12 (and Ubuntu 23.04) renamed the package.
        return Some("dwarves");
    }
    distribution.family.cell(&tool.to_string())
}

/// The packages with `tools`, each once and sorted, and the tools for which none is known.
fn packages(tools: &[Tool], distribution: &Distribution) -> (Vec<&'static str>, Vec<Tool>) {
    let known = |tool: &&Tool| package(tool, distribution).is_some();
    let (known, unknown): (Vec<_>, Vec<_>) = tools.iter().partition(known);
    let packages = known
        .into_iter()
        .filter_map(|tool| package(tool, distribution));
    let packages = packages.collect::<BTreeSet<_>>().into_iter().collect();
    (packages, unknown.into_iter().cloned().collect())
}

/// Debian's packages with those of the tools that the table knows.
pub fn debian_packages(tools: &[Tool]) -> Vec<String> {
    let debian = Distribution {
        family: Family::Debian,
        id: "debian".to_owned(),
        version: None,
    };
    let (packages, _) = packages(tools, &debian);
    packages.into_iter().map(str::to_owned).collect()
}

/// The commands, in order, that install packages and ask nothing.
fn install_steps(family: Family, packages: &[&str], refresh: bool, mend: bool) -> Vec<String> {
    let mut steps = Vec::from_iter(mend.then(|| MEND.to_owned()));
    steps.extend(refresh.then(|| family.manager("@refresh").to_owned()));
    let install = family.manager("@install");
    steps.push(format!("{install} {}", packages.join(" ")));
    steps
}

/// The line that a person types to install packages.
fn install_line(family: Family, packages: &[&str], superuser: bool) -> String {
    let sudo = if superuser { "" } else { "sudo " };
    format!("{sudo}{} {}", family.manager("@typed"), packages.join(" "))
}

/// Where tools are looked for and who we are: [`HostMachine::probe`] for this host,
/// other values in tests.
#[derive(Clone, Debug)]
pub struct HostMachine {
    /// The distribution, if it is a known one.
    pub distribution: Option<Distribution>,
    /// Directories of programs, in order.
    pub path: Vec<PathBuf>,
    /// Directories of C headers, in order.
    pub include: Vec<PathBuf>,
    /// The root directory, below which package managers keep their lists.
    pub root: PathBuf,
    /// Whether we may install as we are.
    pub superuser: bool,
    /// The binary that supervises the package manager: see [`LongCommand::below`].
    pub supervisor: Option<PathBuf>,
}

impl HostMachine {
    pub fn probe() -> Self {
        // os-release(5): the second is the place for distributions without /etc.
        let os_release = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| input::text(Path::new(path), input::SMALL).ok())
            .unwrap_or_default();
        // What GCC itself searches, and how other systems (Nix, Guix) extend it.
        let mut include = ["CPATH", "C_INCLUDE_PATH"]
            .iter()
            .filter_map(std::env::var_os)
            .flat_map(|value| std::env::split_paths(&value).collect::<Vec<_>>())
            .filter(|path| !path.as_os_str().is_empty())
            .collect::<Vec<_>>();
        include.extend(["/usr/local/include", "/usr/include"].map(PathBuf::from));
        include.extend(arch::host().map(|arch| Path::new("/usr/include").join(arch.triplet)));
        Self {
            distribution: Distribution::parse(&os_release),
            path: programs::program_directories(),
            include,
            root: PathBuf::from("/"),
            superuser: rustix::process::geteuid().is_root(),
            supervisor: None,
        }
    }

    pub fn find(&self, name: &str) -> Option<PathBuf> {
        programs::find_program_in(name, &self.path)
    }

    fn has(&self, tool: &Tool) -> bool {
        match tool {
            Tool::Program(name) => self.find(name).is_some(),
            Tool::StaticBusybox => programs::static_busybox_in(&self.path).is_some(),
            Tool::Header(name) => {
                let mut folders = self.include.iter();
                folders.any(|folder| folder.join(name).is_file())
            }
            Tool::PythonModule(name) => self.python(&format!("import {name}")).is_some(),
            Tool::PythonHeaders => self
                .python("import sysconfig; print(sysconfig.get_path('include'))")
                .is_some_and(|folder| Path::new(&folder).join("Python.h").is_file()),
        }
    }

    /// Those of `tools` that the host lacks, each once.
    pub fn missing(&self, tools: &[Tool]) -> Vec<Tool> {
        let tools = tools.iter().collect::<BTreeSet<_>>();
        let missing = tools.into_iter().filter(|tool| !self.has(tool));
        missing.cloned().collect()
    }

    /// What to do about missing tools, in words: the line that installs them.
    pub fn how_to_install(&self, missing: &[Tool]) -> String {
        let Some(distribution) = &self.distribution else {
            return "the names of this distribution's packages are not known; install them yourself"
                .to_owned();
        };
        let (packages, unknown) = packages(missing, distribution);
        let line = install_line(distribution.family, &packages, self.superuser);
        match (unknown.is_empty(), packages.is_empty()) {
            (true, _) => format!("run {line}"),
            (false, true) => "no package with it is known; install it yourself".to_owned(),
            (false, false) => {
                format!(
                    "install the package with {}, then run {line}",
                    list(&unknown)
                )
            }
        }
    }

    /// What `python3` prints for a line of code, if it runs without an error.
    fn python(&self, code: &str) -> Option<String> {
        let python = self.find("python3")?;
        let shell = shell().ok()?;
        // Not from the current directory: a file there could shadow the module.
        let command = cmd!(shell, "{python} -I -c {code}").quiet();
        command.ignore_stderr().read().ok()
    }

    /// Whether a folder below the root has an entry with such a name.
    fn has_entry(&self, folder: &str, matches: impl Fn(&str) -> bool) -> bool {
        let entries = disk::entries(&self.root.join(folder)).unwrap_or_default();
        let mut names = entries.iter().filter_map(|path| path.file_name()?.to_str());
        names.any(matches)
    }
}

/// Requires that the host has `tools`. With `setup`, installs what is missing, and says the
/// command first; without, one error lists all of it with the line that installs it.
pub fn require(env: &Env, tools: &[Tool], setup: bool) -> Result<()> {
    require_on(env, &HostMachine::probe(), tools, setup)
}

/// [`require`] for a build. With `setup`, installs ccache too; builds only take longer without it.
pub fn require_for_build(env: &Env, tools: &[Tool], setup: bool) -> Result<()> {
    require(env, tools, setup)?;
    if setup && let Err(error) = require(env, &[Tool::program(CCACHE)], true) {
        interrupt::check()?;
        env.ui
            .warn(format!("builds go on without ccache: {error:#}"));
    }
    Ok(())
}

/// [`require`] on a host that is described by a value.
pub fn require_on(env: &Env, machine: &HostMachine, tools: &[Tool], setup: bool) -> Result<()> {
    let mut missing = machine.missing(tools);
    // Another run may just be installing the same.
    let mut _lock = None;
    if setup && !missing.is_empty() {
        _lock = Some(lock::take(env, "setup")?);
        missing = machine.missing(tools);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let lacks = |why: &str, hint: String| {
        Failure::setup(format!("this host lacks {}{why}", list(&missing))).hint(hint)
    };
    let how = machine.how_to_install(&missing);
    let known = machine.distribution.as_ref();
    let known = known.map(|known| (known.family, packages(&missing, known)));
    let Some((family, (packages, _))) = known.filter(|(_, (_, unknown))| unknown.is_empty()) else {
        return Err(lacks("", how).into());
    };
    if !setup {
        return Err(lacks("", format!("{how}, or add --setup")).into());
    }
    if machine.find(family.program()).is_none() {
        let why = format!(
            ", and the package manager {} was not found",
            family.program()
        );
        return Err(lacks(&why, how).into());
    }
    let sudo = sudo(machine);
    if !machine.superuser && sudo.is_none() {
        let why = ", and only root may install: sudo is not there or asks for a password";
        return Err(lacks(why, how).into());
    }
    env.ui.info(format!("missing: {}", list(&missing)));
    disk::create_directory(&env.paths.logs())?;
    let installer = Installer {
        machine,
        sudo,
        log: env.paths.logs().join("setup.log"),
        ui: &env.ui,
    };
    installer.install(family, &packages)?;
    let still = machine.missing(&missing);
    if still.is_empty() {
        return Ok(());
    }
    let (packages, still) = (packages.join(", "), list(&still));
    let message = format!("installed {packages}, but this host still lacks {still}");
    let hint = format!("log: {}", installer.log.display());
    Err(Failure::setup(message).hint(hint).into())
}

pub fn list(tools: &[Tool]) -> String {
    let names = tools.iter().map(Tool::to_string);
    names.collect::<Vec<_>>().join(", ")
}

/// `sudo`, if we need it and it answers without a password.
fn sudo(machine: &HostMachine) -> Option<PathBuf> {
    if machine.superuser {
        return None;
    }
    let sudo = machine.find("sudo")?;
    let shell = shell().ok()?;
    let command = cmd!(shell, "{sudo} -n true").quiet();
    let result = command.ignore_stdout().ignore_stderr().run();
    result.is_ok().then_some(sudo)
}

/// The second is about Ubuntu's question which services to restart.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("NEEDRESTART_SUSPEND", "1"),
    ("LC_ALL", "C.UTF-8"),
];

struct Installer<'a> {
    machine: &'a HostMachine,
    sudo: Option<PathBuf>,
    log: PathBuf,
    ui: &'a Ui,
}

impl Installer<'_> {
    fn install(&self, family: Family, packages: &[&str]) -> Result<()> {
        let lists = family.manager("@lists").split_once(' ');
        let refresh = lists.is_some_and(|(folder, part)| {
            !self.machine.has_entry(folder, |name| name.contains(part))
        });
        let Err(error) = self.run(family, packages, refresh) else {
            return Ok(());
        };
        if refresh || kind(&error).is_some() {
            return Err(error);
        }
        // Lists that are there may be from a time whose packages the mirror no longer has.
        self.ui
            .info("the package manager failed; once more with fresh package lists");
        self.run(family, packages, true)
    }

    fn run(&self, family: Family, packages: &[&str], refresh: bool) -> Result<()> {
        // As APT itself decides (apt-pkg/deb/debsystem.cc, CheckUpdates).
        let is_update = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let mend =
            family == Family::Debian && self.machine.has_entry("var/lib/dpkg/updates", is_update);
        let steps = install_steps(family, packages, refresh, mend);
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&self, step: &str) -> Result<()> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(sudo) = &self.sudo {
            // It resets the environment.
            words.extend([sudo.into(), "-n".into(), "env".into()]);
            words.extend(ENVIRONMENT.map(|(name, value)| format!("{name}={value}").into()));
        }
        let mut step = step.split(' ');
        let program = step.next().unwrap_or_default();
        let program = self.machine.find(program).unwrap_or_else(|| program.into());
        words.push(program.into());
        words.extend(step.map(OsString::from));
        let mut command = match &self.machine.supervisor {
            Some(supervisor) => LongCommand::below(supervisor, &words[0]),
            None => LongCommand::new(&words[0]),
        };
        command = command.args(&words[1..]).credentials();
        for (name, value) in ENVIRONMENT {
            command = command.env(name, value);
        }
        let display = command.display();
        self.ui.info(format!("running: {display}"));
        let shown = self.log.display();
        let context = || format!("cannot write the log {shown}");
        let log = File::options().create(true).append(true).open(&self.log);
        let mut log = log.with_context(context)?;
        writeln!(log, "$ {display}").with_context(context)?;
        let start = log.metadata().map_or(0, |metadata| metadata.len());
        let mut task = self.ui.task(format!("installing (log: {shown})"));
        let mut child = command.log(&log)?.spawn()?;
        let ended = child.wait_with(|| {
            if let Some(line) = tail_of_log(&self.log, start, 1).lines().next() {
                task.update(line.trim());
            }
            Ok(())
        });
        if ended.is_err() {
            // A package manager gets the chance to leave its database whole.
            child.terminate()?;
            self.ui.info(format!(
                "stopped {display}; the next run with --setup goes on from there"
            ));
        }
        let status = ended?;
        drop(task);
        anyhow::ensure!(
            status.success(),
            "{display} ended with {}; log: {shown}\n{}",
            status_in_words(status),
            tail_of_log(&self.log, start, 20),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::base::paths::Files;
    use crate::model::project::PROFILES;

    fn distribution(family: Family, id: &str, version: Option<u32>) -> Distribution {
        Distribution {
            family,
            id: id.to_owned(),
            version,
        }
    }

    #[test]
    fn distributions_are_known_by_id_and_by_likeness() {
        for (text, expected) in [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
                Some((Family::Debian, "debian", Some(12))),
            ),
            ("ID=debian\n", Some((Family::Debian, "debian", None))),
            (
                "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n",
                Some((Family::Debian, "ubuntu", Some(22))),
            ),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"21\"\n",
                Some((Family::Debian, "linuxmint", Some(21))),
            ),
            (
                "ID=fedora\nVERSION_ID=43\n",
                Some((Family::Fedora, "fedora", Some(43))),
            ),
            (
                "ID='rocky'\nID_LIKE='rhel centos fedora'\nVERSION_ID='9.4'\n",
                Some((Family::Fedora, "rocky", Some(9))),
            ),
            ("ID=arch\n", Some((Family::Arch, "arch", None))),
            (
                "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\nVERSION_ID=\"20260101\"\n",
                Some((Family::Suse, "opensuse-tumbleweed", Some(20_260_101))),
            ),
            (
                "ID=alpine\nVERSION_ID=3.22.1\n",
                Some((Family::Alpine, "alpine", Some(3))),
            ),
            ("ID=nixos\n", None),
            ("# ID=debian\n", None),
            ("", None),
        ] {
            let found = Distribution::parse(text);
            let found = found.as_ref().map(|d| (d.family, d.id.as_str(), d.version));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn pahole_has_the_name_of_its_time() {
        let pahole = Tool::program("pahole");
        for (family, id, version, expected) in [
            (Family::Debian, "debian", Some(11), "dwarves"),
            (Family::Debian, "debian", Some(12), "pahole"),
            (Family::Debian, "debian", None, "pahole"),
            (Family::Debian, "ubuntu", Some(22), "dwarves"),
            (Family::Debian, "ubuntu", Some(24), "pahole"),
            (Family::Fedora, "fedora", Some(11), "dwarves"),
            (Family::Arch, "arch", None, "pahole"),
        ] {
            let distribution = distribution(family, id, version);
            assert_eq!(package(&pahole, &distribution), Some(expected), "{id}");
        }
    }

    fn tools_of_ours() -> Vec<Tool> {
        let mut tools = for_python();
        tools.extend(for_ci());
        tools.push(Tool::program(CCACHE));
        for arch in arch::ARCHITECTURES {
            tools.extend(for_build(arch));
            tools.extend(for_vm(arch));
            // That of this host's architecture is for the others.
            tools.push(Tool::program(format!("{}-gcc", arch.triplet)));
        }
        tools
    }

    #[test]
    fn every_tool_of_ours_has_a_package_on_every_distribution() {
        let tools = tools_of_ours();
        for family in FAMILIES {
            let distribution = distribution(family, "any", None);
            for tool in &tools {
                let name = package(tool, &distribution);
                // Cross compilers have other names there, or there are none.
                if family != Family::Debian && name.is_none() && is_cross_compiler(tool) {
                    continue;
                }
                assert!(
                    name.is_some_and(|name| !name.is_empty() && !name.contains(' ')),
                    "{tool} on {family:?}: {name:?}"
                );
            }
        }
    }

    #[test]
    fn foreign_kernels_take_a_cross_compiler_beside_the_hosts() {
        let host = arch::host().unwrap();
        let foreign = ["aarch64", "x86_64"].map(|name| arch::find(name).unwrap());
        let foreign = foreign.into_iter().find(|arch| *arch != host).unwrap();
        let cross = Tool::program(format!("{}-gcc", foreign.triplet));
        for tools in [for_build(foreign), for_external_module(foreign)] {
            assert!(tools.contains(&cross) && tools.contains(&Tool::program("gcc")));
        }
        assert!(!for_build(host).iter().any(is_cross_compiler));
        let arm = Tool::program("arm-linux-gnueabihf-gcc");
        for (family, expected) in [
            (Family::Debian, Some("gcc-arm-linux-gnueabihf")),
            (Family::Alpine, None),
        ] {
            assert_eq!(package(&arm, &distribution(family, "any", None)), expected);
        }
    }

    fn is_cross_compiler(tool: &Tool) -> bool {
        arch::ARCHITECTURES
            .iter()
            .any(|arch| *tool == Tool::program(format!("{}-gcc", arch.triplet)))
    }

    #[test]
    fn packages_are_listed_once_and_all_are_named() {
        let assets = Files::Embedded(crate::base::embedded::ASSETS);
        let mut tools = tools_of_ours();
        for name in PROFILES {
            let profile = Project::profile(&assets, name).unwrap();
            tools.extend(for_prepare(&profile));
            tools.extend(profile.needs.programs.iter().map(Tool::program));
        }
        // An example in the documentation of vmtest.toml.
        tools.push(Tool::program("mkfs.ext4"));
        let named = tools.iter().map(Tool::to_string).collect::<BTreeSet<_>>();
        let rows = HOST_PACKAGES.lines().filter(|line| line.contains('|'));
        let rows = rows.filter(|line| !line.starts_with(['#', '@']));
        let rows = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let rows = rows.collect::<Vec<_>>();
        let names = rows.iter().map(|row| row[0].to_owned());
        assert_eq!(names.collect::<BTreeSet<_>>(), named);
        assert_eq!(rows.len(), named.len());
        assert!(rows.iter().all(|row| [2, 6].contains(&row.len())));
    }

    #[test]
    fn commands_to_install() {
        let packages = ["bison", "flex"];
        let mut text = String::new();
        for family in FAMILIES {
            text += &format!("{family:?}: {}\n", install_line(family, &packages, false));
            for flag in [false, true] {
                let mend = flag && family == Family::Debian;
                for step in install_steps(family, &packages, flag, mend) {
                    text += &format!("  {flag}: {step}\n");
                }
            }
        }
        expect![[r#"
            Debian: sudo apt-get install --no-install-recommends bison flex
              false: apt-get -y -o DPkg::Lock::Timeout=300 --no-install-recommends install bison flex
              true: dpkg --configure -a
              true: apt-get -o DPkg::Lock::Timeout=300 update
              true: apt-get -y -o DPkg::Lock::Timeout=300 --no-install-recommends install bison flex
            Fedora: sudo dnf install bison flex
              false: dnf -y --setopt=install_weak_deps=False install bison flex
              true: dnf makecache --refresh
              true: dnf -y --setopt=install_weak_deps=False install bison flex
            Arch: sudo pacman -S --needed bison flex
              false: pacman -S --needed --noconfirm bison flex
              true: pacman -Sy --noconfirm
              true: pacman -S --needed --noconfirm bison flex
            Suse: sudo zypper install --no-recommends bison flex
              false: zypper --non-interactive install --no-recommends bison flex
              true: zypper --non-interactive refresh
              true: zypper --non-interactive install --no-recommends bison flex
            Alpine: sudo apk add bison flex
              false: apk add bison flex
              true: apk update
              true: apk add bison flex
        "#]].assert_eq(&text);
        assert_eq!(
            install_line(Family::Alpine, &packages, true),
            "apk add bison flex"
        );
    }
}
