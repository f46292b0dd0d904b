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

use crate::base::process::{LongCommand, status_in_words, tail_of_log};
use crate::base::{disk, env::Env, error::Failure, input, lock, paths::Paths, programs, ui::Ui};
use crate::model::{arch::Arch, project::Project};

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
    PythonModule(String),
    /// The headers of the host's `python3`, for C extensions.
    PythonHeaders,
}

impl Tool {
    pub fn program(name: impl Into<String>) -> Self {
        Self::Program(name.into())
    }

    /// A C header. `Python.h` is that of the host's `python3`, which is in no
    /// folder of the compiler's.
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

fn programs(names: &[&str]) -> Vec<Tool> {
    names.iter().map(|name| Tool::program(*name)).collect()
}

fn headers(names: &[&str]) -> impl Iterator<Item = Tool> {
    names.iter().map(|name| Tool::header(*name))
}

/// What booting a VM needs.
pub fn for_vm(arch: &Arch) -> Vec<Tool> {
    vec![Tool::program(arch.qemu), Tool::StaticBusybox]
}

/// What building a kernel with the host's `gcc` and packaging it needs. Kernel
/// documentation, `Documentation/process/changes.rst`, lists the programs; the
/// headers are for the host programs of a build (`tools/objtool` includes
/// `gelf.h`, `scripts/sign-file.c` and `certs/extract-cert.c` include OpenSSL's).
pub fn for_build() -> Vec<Tool> {
    let mut tools = programs(&[
        "gcc", "ld", "make", "flex", "bison", "bc", "perl", "tar", "xz", "pahole", "lz4", "depmod",
    ]);
    tools.extend(headers(&[
        "stdio.h",
        "linux/types.h",
        "libelf.h",
        "openssl/opensslv.h",
    ]));
    tools
}

/// What compiling a module against a packaged kernel needs: its host programs are
/// built already.
pub fn for_external_module() -> Vec<Tool> {
    programs(&["gcc", "ld", "make"])
}

/// What a Python project in a virtual environment needs.
pub fn for_python() -> Vec<Tool> {
    vec![
        Tool::program("python3"),
        // Without it `python3 -m venv` makes an environment that lacks pip; Debian
        // has the module in a package of its own.
        Tool::PythonModule("ensurepip".to_owned()),
    ]
}

/// What the steps run that prepare a tree of the project.
pub fn for_prepare(project: &Project) -> Vec<Tool> {
    let programs = project.prepare_programs.iter().map(Tool::program);
    programs
        .chain(project.prepare_headers.iter().map(Tool::header))
        .collect()
}

/// What `cargo xtask ci` runs itself, beside all of the above.
pub fn for_ci() -> Vec<Tool> {
    programs(&[
        "cargo",
        "git",
        "shellcheck",
        "python3",
        "node",
        "npm",
        "xmllint",
        "strace",
    ])
}

/// A family of distributions with the same package manager and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Debian,
    Fedora,
    Arch,
    Suse,
    Alpine,
}

impl Family {
    /// The package manager's program.
    pub fn manager(self) -> &'static str {
        MANAGERS[self as usize].program
    }
}

/// How a package manager is called.
struct Manager {
    program: &'static str,
    /// After an earlier run was stopped half-way.
    mend: &'static [&'static str],
    refresh: &'static [&'static str],
    /// Asks nothing.
    install: &'static [&'static str],
    /// What a person types.
    typed: &'static str,
}

/// In the order of [`Family`].
const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        mend: &["dpkg", "--configure", "-a"],
        // A fresh machine's own unattended upgrades hold the lock at first.
        refresh: &["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"],
        install: &[
            "apt-get",
            "-y",
            "-o",
            "DPkg::Lock::Timeout=300",
            "--no-install-recommends",
            "install",
        ],
        typed: "apt-get install --no-install-recommends",
    },
    Manager {
        program: "dnf",
        mend: &[],
        refresh: &["dnf", "makecache", "--refresh"],
        install: &["dnf", "-y", "--setopt=install_weak_deps=False", "install"],
        typed: "dnf install",
    },
    Manager {
        program: "pacman",
        mend: &[],
        refresh: &["pacman", "-Sy", "--noconfirm"],
        install: &["pacman", "-S", "--needed", "--noconfirm"],
        typed: "pacman -S --needed",
    },
    Manager {
        program: "zypper",
        mend: &[],
        refresh: &["zypper", "--non-interactive", "refresh"],
        install: &["zypper", "--non-interactive", "install", "--no-recommends"],
        typed: "zypper install --no-recommends",
    },
    Manager {
        program: "apk",
        mend: &[],
        refresh: &["apk", "update"],
        install: &["apk", "add"],
        typed: "apk add",
    },
];

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
    /// From the text of `/etc/os-release` (os-release(5)): `ID`, else the first
    /// of `ID_LIKE` that is known.
    pub fn parse(os_release: &str) -> Option<Self> {
        let value = |name: &str| {
            os_release
                .lines()
                .filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))
                .next_back()
                .map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        let id = value("ID")?;
        let like = value("ID_LIKE").unwrap_or_default();
        let family = std::iter::once(id.as_str())
            .chain(like.split_whitespace())
            .find_map(|word| match word {
                "debian" | "ubuntu" => Some(Family::Debian),
                "fedora" | "rhel" | "centos" => Some(Family::Fedora),
                "arch" | "archlinux" => Some(Family::Arch),
                "opensuse" | "suse" | "opensuse-tumbleweed" | "opensuse-leap" => Some(Family::Suse),
                "alpine" => Some(Family::Alpine),
                _ => None,
            })?;
        let version = value("VERSION_ID").and_then(|version| {
            let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        });
        Some(Self {
            family,
            id,
            version,
        })
    }
}

/// What a [`Tool`] is called, and its packages, in the order of [`Family`]. Debian's were tried
/// on Debian 12. The others are the names under which those distributions are known to have
/// them; the places to look are packages.fedoraproject.org, archlinux.org/packages,
/// software.opensuse.org and pkgs.alpinelinux.org.
#[rustfmt::skip]
const PACKAGES: &[(&str, [&str; 5])] = &[
    ("qemu-system-x86_64", ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86", "qemu-x86", "qemu-system-x86_64"]),
    ("a static busybox", ["busybox-static", "busybox", "busybox", "busybox-static", "busybox-static"]),
    ("gcc", ["gcc"; 5]),
    ("ld", ["binutils"; 5]),
    ("make", ["make"; 5]),
    ("flex", ["flex"; 5]),
    ("bison", ["bison"; 5]),
    ("bc", ["bc"; 5]),
    ("perl", ["perl", "perl-interpreter", "perl", "perl", "perl"]),
    ("tar", ["tar"; 5]),
    ("xz", ["xz-utils", "xz", "xz", "xz", "xz"]),
    // Debian's: see `package`, it had another name before Debian 12.
    ("pahole", ["pahole", "dwarves", "pahole", "dwarves", "pahole"]),
    ("lz4", ["lz4"; 5]),
    ("depmod", ["kmod"; 5]),
    ("modprobe", ["kmod"; 5]),
    // A compiler alone is not enough: distributions that recommend the C
    // library's headers instead of depending on them leave them out.
    ("<stdio.h>", ["libc6-dev", "glibc-devel", "glibc", "glibc-devel", "musl-dev"]),
    ("<linux/types.h>", ["linux-libc-dev", "kernel-headers", "linux-api-headers", "linux-glibc-devel", "linux-headers"]),
    ("<libelf.h>", ["libelf-dev", "elfutils-libelf-devel", "libelf", "libelf-devel", "elfutils-dev"]),
    ("<openssl/opensslv.h>", ["libssl-dev", "openssl-devel", "openssl", "libopenssl-devel", "openssl-dev"]),
    ("python3", ["python3", "python3", "python", "python3", "python3"]),
    ("python3's module ensurepip", ["python3-venv", "python3-libs", "python", "python3-base", "python3"]),
    ("python3's C headers", ["python3-dev", "python3-devel", "python", "python3-devel", "python3-dev"]),
    ("autoconf", ["autoconf"; 5]),
    ("automake", ["automake"; 5]),
    ("libtoolize", ["libtool"; 5]),
    // On Debian the name of the older program still installs pkgconf.
    ("pkg-config", ["pkg-config", "pkgconf-pkg-config", "pkgconf", "pkgconf-pkg-config", "pkgconf"]),
    ("<elfutils/libdw.h>", ["libdw-dev", "elfutils-devel", "libelf", "libdw-devel", "elfutils-dev"]),
    ("<zlib.h>", ["zlib1g-dev", "zlib-devel", "zlib", "zlib-devel", "zlib-dev"]),
    ("mkfs.ext4", ["e2fsprogs"; 5]),
    ("mke2fs", ["e2fsprogs"; 5]),
    ("mkfs.btrfs", ["btrfs-progs", "btrfs-progs", "btrfs-progs", "btrfsprogs", "btrfs-progs"]),
    ("btrfs", ["btrfs-progs", "btrfs-progs", "btrfs-progs", "btrfsprogs", "btrfs-progs"]),
    ("strace", ["strace"; 5]),
    ("git", ["git"; 5]),
    ("cargo", ["cargo", "cargo", "rust", "cargo", "cargo"]),
    ("node", ["nodejs"; 5]),
    ("npm", ["npm", "nodejs-npm", "npm", "npm", "npm"]),
    ("xmllint", ["libxml2-utils", "libxml2", "libxml2", "libxml2-tools", "libxml2-utils"]),
    ("shellcheck", ["shellcheck", "ShellCheck", "shellcheck", "ShellCheck", "shellcheck"]),
];

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
    let name = tool.to_string();
    let (_, packages) = PACKAGES.iter().find(|(row, _)| *row == name)?;
    Some(packages[distribution.family as usize])
}

/// The packages with `tools`, and the tools for which none is known.
fn packages(tools: &[Tool], distribution: &Distribution) -> (BTreeSet<&'static str>, Vec<Tool>) {
    let mut packages = BTreeSet::new();
    let mut unknown = Vec::new();
    for tool in tools {
        match package(tool, distribution) {
            Some(name) => {
                packages.insert(name);
            }
            None => unknown.push(tool.clone()),
        }
    }
    (packages, unknown)
}

/// What a package manager must do before it can install.
#[derive(Clone, Copy, Debug, Default)]
struct ManagerState {
    /// There are no package lists, or they have proved to be too old.
    refresh: bool,
    /// An earlier run was stopped half-way (dpkg refuses all work until mended).
    mend: bool,
}

/// The commands, in order, that install packages and ask nothing.
fn install_steps(
    family: Family,
    packages: &BTreeSet<&'static str>,
    state: ManagerState,
) -> Vec<Vec<&'static str>> {
    let manager = &MANAGERS[family as usize];
    let mut steps = Vec::new();
    if state.mend && !manager.mend.is_empty() {
        steps.push(manager.mend.to_vec());
    }
    if state.refresh {
        steps.push(manager.refresh.to_vec());
    }
    steps.push(manager.install.iter().chain(packages).copied().collect());
    steps
}

/// The line that a person types to install packages.
fn install_line(family: Family, packages: &BTreeSet<&str>, superuser: bool) -> String {
    let names = packages.iter().copied().collect::<Vec<_>>().join(" ");
    let sudo = if superuser { "" } else { "sudo " };
    format!("{sudo}{} {names}", MANAGERS[family as usize].typed)
}

/// Where tools are looked for and who we are: [`Machine::probe`] for this host,
/// other values in tests.
#[derive(Clone, Debug)]
pub struct Machine {
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
    /// The binary that supervises the package manager: see [`LongCommand::supervisor`].
    pub supervisor: Option<PathBuf>,
}

impl Machine {
    pub fn probe() -> Self {
        // os-release(5): the second is the place for distributions without /etc.
        let os_release = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| input::text(Path::new(path), input::SMALL).ok())
            .unwrap_or_default();
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        // What GCC itself searches, and how other systems (Nix, Guix) extend it.
        let mut include = ["CPATH", "C_INCLUDE_PATH"]
            .iter()
            .flat_map(|name| std::env::split_paths(&variable(name)).collect::<Vec<_>>())
            .filter(|path| !path.as_os_str().is_empty())
            .collect::<Vec<_>>();
        include.extend(["/usr/local/include", "/usr/include"].map(PathBuf::from));
        if let Some(arch) = crate::model::arch::host() {
            include.push(Path::new("/usr/include").join(arch.triplet));
        }
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
            (false, false) => format!(
                "install the package with {}, then run {line}",
                list(&unknown)
            ),
        }
    }

    /// What `python3` prints for a line of code, if it runs without an error.
    fn python(&self, code: &str) -> Option<String> {
        let python = self.find("python3")?;
        let shell = crate::base::process::shell().ok()?;
        // Not from the current directory: a file there could shadow the module.
        cmd!(shell, "{python} -I -c {code}")
            .quiet()
            .ignore_stderr()
            .read()
            .ok()
    }

    fn manager_state(&self, family: Family) -> ManagerState {
        let any = |folder: &str, matches: &dyn Fn(&str) -> bool| {
            std::fs::read_dir(self.root.join(folder)).is_ok_and(|entries| {
                entries
                    .flatten()
                    .any(|entry| matches(&entry.file_name().to_string_lossy()))
            })
        };
        match family {
            Family::Debian => ManagerState {
                refresh: !any("var/lib/apt/lists", &|name| name.contains("_Packages")),
                // As APT itself decides (apt-pkg/deb/debsystem.cc, CheckUpdates).
                mend: any("var/lib/dpkg/updates", &|name| {
                    name.bytes().all(|byte| byte.is_ascii_digit())
                }),
            },
            Family::Arch => ManagerState {
                refresh: !any("var/lib/pacman/sync", &|name| name.ends_with(".db")),
                mend: false,
            },
            Family::Alpine => ManagerState {
                refresh: !any("var/cache/apk", &|name| name.starts_with("APKINDEX.")),
                mend: false,
            },
            // They refresh by themselves.
            Family::Fedora | Family::Suse => ManagerState::default(),
        }
    }
}

/// Requires that the host has `tools`. With `setup`, installs what is missing, and says the
/// command first; without, one error lists all of it with the line that installs it.
pub fn require(env: &Env, tools: &[Tool], setup: bool) -> Result<()> {
    require_on(env, &Machine::probe(), tools, setup)
}

/// [`require`] on a host that is described by a value.
pub fn require_on(env: &Env, machine: &Machine, tools: &[Tool], setup: bool) -> Result<()> {
    let mut missing = machine.missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    // Another run may just be installing the same.
    let _lock = if setup {
        let lock = lock::take(env, "setup")?;
        missing = machine.missing(tools);
        if missing.is_empty() {
            return Ok(());
        }
        Some(lock)
    } else {
        None
    };
    let list = list(&missing);
    let lacks = || Failure::setup(format!("this host lacks {list}"));
    let how = machine.how_to_install(&missing);
    let Some(distribution) = &machine.distribution else {
        return Err(lacks().hint(how).into());
    };
    let (packages, unknown) = packages(&missing, distribution);
    if !unknown.is_empty() {
        return Err(lacks().hint(how).into());
    }
    if !setup {
        return Err(lacks().hint(format!("{how}, or add --setup")).into());
    }
    let family = distribution.family;
    let line = install_line(family, &packages, machine.superuser);
    let Some(manager) = machine.find(family.manager()) else {
        return Err(Failure::setup(format!(
            "this host lacks {list}, and the package manager {} was not found",
            family.manager()
        ))
        .hint(format!("to be run: {line}"))
        .into());
    };
    let sudo = sudo(machine);
    if !machine.superuser && sudo.is_none() {
        return Err(Failure::setup(format!(
            "this host lacks {list}, and only root may install: sudo is not there or asks for a password"
        ))
        .hint(format!("run {line}"))
        .into());
    }
    env.ui.info(format!("missing: {list}"));
    let installer = Installer {
        machine,
        manager,
        sudo,
        log: log_file(&env.paths)?,
    };
    installer.install(&env.ui, family, &packages)?;
    let still = machine.missing(&missing);
    if still.is_empty() {
        return Ok(());
    }
    Err(Failure::setup(format!(
        "installed {}, but this host still lacks {}",
        packages.iter().copied().collect::<Vec<_>>().join(", "),
        self::list(&still)
    ))
    .hint(format!("log: {}", installer.log.display()))
    .into())
}

pub fn list(tools: &[Tool]) -> String {
    let names = tools.iter().map(Tool::to_string);
    names.collect::<Vec<_>>().join(", ")
}

/// `sudo`, if we need it and it answers without a password.
fn sudo(machine: &Machine) -> Option<PathBuf> {
    if machine.superuser {
        return None;
    }
    let sudo = machine.find("sudo")?;
    let shell = crate::base::process::shell().ok()?;
    cmd!(shell, "{sudo} -n true")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_ok()
        .then_some(sudo)
}

fn log_file(paths: &Paths) -> Result<PathBuf> {
    disk::create_directory(&paths.logs())?;
    Ok(paths.logs().join("setup.log"))
}

struct Installer<'a> {
    machine: &'a Machine,
    manager: PathBuf,
    sudo: Option<PathBuf>,
    log: PathBuf,
}

impl Installer<'_> {
    fn install(&self, ui: &Ui, family: Family, packages: &BTreeSet<&'static str>) -> Result<()> {
        let state = self.machine.manager_state(family);
        let Err(error) = self.run(ui, &install_steps(family, packages, state)) else {
            return Ok(());
        };
        if state.refresh || crate::base::error::kind(&error).is_some() {
            return Err(error);
        }
        // Lists that are there may be from a time whose packages the mirror no
        // longer has.
        ui.info("the package manager failed; once more with fresh package lists");
        let state = ManagerState {
            refresh: true,
            ..self.machine.manager_state(family)
        };
        self.run(ui, &install_steps(family, packages, state))
    }

    fn run(&self, ui: &Ui, steps: &[Vec<&str>]) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(ui, step))
    }

    fn step(&self, ui: &Ui, words: &[&str]) -> Result<()> {
        let words = self.words(words);
        let command = LongCommand::new(words[0].clone())
            .args(words[1..].iter().cloned())
            .credentials()
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Ubuntu's question which services to restart.
            .env("NEEDRESTART_SUSPEND", "1")
            .env("LC_ALL", "C.UTF-8");
        let command = match &self.machine.supervisor {
            Some(supervisor) => command.supervisor(supervisor),
            None => command,
        };
        let display = command.display();
        ui.info(format!("running: {display}"));
        let context = || format!("cannot write the log {}", self.log.display());
        let log = File::options().create(true).append(true).open(&self.log);
        let mut log = log.with_context(context)?;
        writeln!(log, "$ {display}").with_context(context)?;
        let start = log.metadata().map_or(0, |metadata| metadata.len());
        let mut task = ui.task(format!("installing (log: {})", self.log.display()));
        let mut child = command.log(&log)?.spawn()?;
        let status = match child.wait_with(|| {
            if let Some(line) = tail_of_log(&self.log, start, 1).lines().next() {
                task.update(line.trim());
            }
            Ok(())
        }) {
            Ok(status) => status,
            Err(error) => {
                // A package manager gets the chance to leave its database whole.
                child.terminate()?;
                ui.info(format!(
                    "stopped {display}; the next run with --setup goes on from there"
                ));
                return Err(error);
            }
        };
        drop(task);
        anyhow::ensure!(
            status.success(),
            "{display} ended with {}; log: {}\n{}",
            status_in_words(status),
            self.log.display(),
            tail_of_log(&self.log, start, 20),
        );
        Ok(())
    }

    /// The words as they are run: the manager by its whole path, below sudo if
    /// need be (which resets the environment, hence `env`).
    fn words(&self, words: &[&str]) -> Vec<OsString> {
        let mut all = Vec::<OsString>::new();
        if let Some(sudo) = &self.sudo {
            all.extend([
                sudo.into(),
                "-n".into(),
                "env".into(),
                "DEBIAN_FRONTEND=noninteractive".into(),
                "NEEDRESTART_SUSPEND=1".into(),
                "LC_ALL=C.UTF-8".into(),
            ]);
        }
        let program = match self.machine.find(words[0]) {
            Some(path) => path,
            None => self.manager.with_file_name(words[0]),
        };
        all.push(program.into());
        all.extend(words[1..].iter().map(OsString::from));
        all
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
        let mut tools = for_build();
        tools.extend(for_external_module());
        tools.extend(for_python());
        tools.extend(for_ci());
        for arch in crate::model::arch::ARCHITECTURES {
            tools.extend(for_vm(arch));
        }
        tools
    }

    #[test]
    fn every_tool_of_ours_has_a_package_on_every_distribution() {
        let tools = tools_of_ours();
        for family in [
            Family::Debian,
            Family::Fedora,
            Family::Arch,
            Family::Suse,
            Family::Alpine,
        ] {
            let distribution = distribution(family, "any", None);
            for tool in &tools {
                let name = package(tool, &distribution);
                assert!(
                    name.is_some_and(|name| !name.is_empty() && !name.contains(' ')),
                    "{tool} on {family:?}: {name:?}"
                );
            }
        }
    }

    #[test]
    fn packages_are_listed_once_and_all_are_named() {
        let assets = Files::Embedded(crate::base::embedded::ASSETS);
        let mut tools = tools_of_ours();
        for name in PROFILES {
            let profile = Project::profile(&assets, name).unwrap();
            tools.extend(for_prepare(&profile));
            tools.extend(profile.programs.iter().map(Tool::program));
        }
        // An example in the documentation of vmtest.toml.
        tools.push(Tool::program("mkfs.ext4"));
        let named = tools.iter().map(Tool::to_string).collect::<BTreeSet<_>>();
        let rows = PACKAGES.iter().map(|(row, _)| (*row).to_owned());
        assert_eq!(rows.clone().collect::<BTreeSet<_>>(), named);
        assert_eq!(rows.count(), named.len());
    }

    #[test]
    fn commands_to_install() {
        let packages = BTreeSet::from(["flex", "bison"]);
        let mut text = String::new();
        for family in [
            Family::Debian,
            Family::Fedora,
            Family::Arch,
            Family::Suse,
            Family::Alpine,
        ] {
            text += &format!("{family:?}: {}\n", install_line(family, &packages, false));
            for flag in [false, true] {
                let state = ManagerState {
                    refresh: flag,
                    mend: flag,
                };
                for step in install_steps(family, &packages, state) {
                    text += &format!("  {flag}: {}\n", step.join(" "));
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
