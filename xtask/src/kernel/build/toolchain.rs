//! Compiler and pahole, and which of them do not go with which kernels.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::base::embedded::{BAD_PAIRS, PAHOLE_WRAPPER};
use crate::base::{
    disk, env::Env, error::Failure, input, process::shell_quote, programs::find_program,
};
use crate::kernel::module::version_of;
use crate::model::{arch::Arch, version::Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompilerFamily {
    Gcc,
    Clang,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    pub family: CompilerFamily,
    /// The first number of its version.
    pub major: u32,
    /// The first line of `--version`, as the kernel has it in `CONFIG_CC_VERSION_TEXT`.
    pub text: String,
}

impl Compiler {
    /// From the first line of `--version`: the version stands behind the package's name
    /// in parentheses, or for Clang behind the word `version`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.lines().next()?.trim();
        let lower = text.to_lowercase();
        let (family, rest) = if let Some((_, rest)) = lower.split_once("clang version ") {
            (CompilerFamily::Clang, rest)
        } else if lower.contains("gcc") || lower.starts_with("cc ") {
            // Only the program's own name says that it is GCC: `NAME (PACKAGE) VERSION`.
            let rest = lower.split_once(") ").map_or(&*lower, |(_, rest)| rest);
            (CompilerFamily::Gcc, rest)
        } else {
            return None;
        };
        let major = rest.split_whitespace().find_map(|word| {
            let (major, minor) = word.split_once('.')?;
            minor.chars().next().filter(char::is_ascii_digit)?;
            major.parse().ok()
        })?;
        Some(Self {
            family,
            major,
            text: text.to_owned(),
        })
    }

    /// Whether it knows `-fmacro-prefix-map`.
    pub fn maps_macros(&self) -> bool {
        match self.family {
            CompilerFamily::Gcc => self.major >= 8,
            CompilerFamily::Clang => self.major >= 10,
        }
    }

    /// Whether it writes location views (since GCC 8), which number the statements at one address.
    pub fn has_location_views(&self) -> bool {
        self.family == CompilerFamily::Gcc && self.major >= 8
    }
}

/// pahole, which turns debugging information into BTF.
#[derive(Clone, Debug)]
pub struct Pahole {
    pub path: PathBuf,
    pub version: (u32, u32),
    /// What `pahole --version` prints, e.g. `v1.24`.
    pub text: String,
}

impl Pahole {
    /// That program, if it is one that says its version.
    pub fn at(path: PathBuf) -> Option<Self> {
        let text = version_of(&path.to_string_lossy()).ok().flatten()?;
        Self::parse(&path, &text)
    }

    /// From what `--version` prints.
    pub fn parse(path: &Path, text: &str) -> Option<Self> {
        let text = text.trim();
        let (major, minor) = text.strip_prefix('v')?.split_once('.')?;
        let minor = minor.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self {
            path: path.to_owned(),
            version: (major.parse().ok()?, minor.parse().ok()?),
            text: text.to_owned(),
        })
    }
}

/// The compiler that `--cc` names.
#[derive(Clone, Debug)]
pub enum NamedCompiler {
    /// A program, with arguments perhaps.
    Program(String),
    /// GCC of this major version, from Debian's packages.
    Debian(u32, FetchGcc),
}

/// Gives the program of a GCC for an architecture.
pub type FetchGcc = fn(&Env, &'static Arch, u32) -> Result<String>;

impl NamedCompiler {
    /// Fetches it if it is not here.
    pub fn program(&self, env: &Env, arch: &'static Arch) -> Result<String> {
        match self {
            Self::Program(program) => Ok(program.clone()),
            Self::Debian(major, fetch) => fetch(env, arch, *major),
        }
    }

    /// Whether it also compiles the programs that run on this host during the build. One that
    /// comes unpacked may be too old for the host's libraries.
    pub fn is_for_host(&self, arch: &Arch) -> bool {
        matches!(self, Self::Program(_)) && arch.cross_compile().is_none()
    }
}

/// In a directory that make works in: our wrappers of tools.
const WRAPPERS: &str = ".vmtest-tools";

/// What one kernel is built with.
#[derive(Clone, Debug)]
pub struct Toolchain {
    pub program: String,
    /// The compiler of programs that run on this host during the build.
    pub host_program: String,
    /// Whether to put ccache before the compiler.
    pub ccache: bool,
    /// `CROSS_COMPILE`, when building for another architecture.
    pub cross: Option<String>,
    pub compiler: Compiler,
    /// Only needed for BTF.
    pub pahole: Option<Pahole>,
    /// What is known to go wrong with that kernel.
    pub bad_pairs: Vec<BadPair>,
}

impl Toolchain {
    pub fn cc(&self) -> String {
        self.with_dialect(&self.program)
    }

    pub fn host_cc(&self) -> String {
        self.with_dialect(&self.host_program)
    }

    fn with_dialect(&self, program: &str) -> String {
        let mut words = if self.ccache { vec!["ccache"] } else { vec![] };
        words.push(program);
        words.extend(self.remedies(Remedy::Dialect));
        words.join(" ")
    }

    /// The remedies of one kind that this kernel needs.
    pub fn remedies(&self, kind: Remedy) -> Vec<&str> {
        let pairs = self.bad_pairs.iter().filter(|pair| pair.remedy == kind);
        pairs.map(|pair| &*pair.value).collect()
    }

    /// The variable of make that names our wrapper of pahole in a directory.
    pub fn pahole_variable(&self, directory: &Path) -> Option<String> {
        let wrapper = directory.join(WRAPPERS).join("pahole");
        (self.pahole.as_ref()).map(|_| format!("PAHOLE={}", wrapper.display()))
    }

    pub fn write_wrappers(&self, directory: &Path) -> Result<()> {
        let directory = directory.join(WRAPPERS);
        disk::create_directory(&directory)?;
        let Some(pahole) = &self.pahole else {
            return Ok(());
        };
        let program = shell_quote(&pahole.path.to_string_lossy());
        let flags = shell_quote(&self.remedies(Remedy::PaholeFlag).join(" "));
        let told = format!("#!/bin/sh\nvmtest_pahole={program}\nvmtest_flags={flags}\n");
        let (path, text) = (directory.join("pahole"), told + PAHOLE_WRAPPER);
        // Written only if it differs: objects may depend on it.
        if input::text(&path, input::SMALL).is_ok_and(|old| old == text) {
            return Ok(());
        }
        disk::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", path.display()))
    }

    /// Why the kernel cannot be built with these tools.
    pub fn refusal(&self, version: &Version) -> Option<Failure> {
        let mut pairs = self.bad_pairs.iter();
        let pair = pairs.find(|pair| pair.remedy == Remedy::Refuse)?;
        let (compiler, reason) = (&self.compiler.text, &pair.reason);
        let message = format!("cannot build Linux {version} with {compiler}: {reason}");
        Some(Failure::setup(message).hint(&pair.value))
    }
}

/// What is done about a bad pair, see `toolchain.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    Refuse,
    Dialect,
    CompilerFlag,
    HostFlag,
    Variable,
    PaholeFlag,
}

/// A pair of tool and kernel that does not work by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadPair {
    /// What goes wrong, and since when it does not.
    pub reason: String,
    kernels: Bounds<(u32, u32)>,
    gcc: Option<Bounds<u32>>,
    pahole: Option<Bounds<(u32, u32)>>,
    remedy: Remedy,
    value: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds<T> {
    since: Option<T>,
    before: Option<T>,
}

impl<T: PartialOrd> Bounds<T> {
    fn contain(&self, value: &T) -> bool {
        self.since.as_ref().is_none_or(|since| since <= value)
            && self.before.as_ref().is_none_or(|before| value < before)
    }
}

/// The pairs that one kernel and these tools are. For what the compiler of the host's programs
/// does not go with, there is help.
fn bad_pairs(
    version: &Version,
    compiler: &Compiler,
    host: Option<&Compiler>,
    pahole: Option<(u32, u32)>,
) -> Result<Vec<BadPair>> {
    let mut file: BTreeMap<String, Vec<BadPair>> = toml::from_str(BAD_PAIRS)?;
    let mut pairs = file.remove("bad-pair").unwrap_or_default();
    let gcc =
        |compiler: &Compiler| (compiler.family == CompilerFamily::Gcc).then_some(compiler.major);
    let (gcc, host) = (gcc(compiler), host.and_then(gcc));
    pairs.retain(|pair| {
        let host = host.filter(|_| pair.remedy != Remedy::Refuse);
        let is_bad = |bad: &Bounds<u32>| [gcc, host].iter().flatten().any(|gcc| bad.contain(gcc));
        let is_pahole = pair.pahole.as_ref().zip(pahole);
        pair.kernels
            .contain(&(version.series.major, version.series.minor))
            && (pair.gcc.as_ref().is_some_and(is_bad)
                || is_pahole.is_some_and(|(bad, version)| bad.contain(&version)))
    });
    Ok(pairs)
}

/// Finds the tools on this host. `cc` is what `--cc` says; without it the
/// architecture's usual GCC, through ccache if there is one. Without `env` nothing is fetched.
pub fn probe(
    env: Option<&Env>,
    arch: &'static Arch,
    cc: Option<&NamedCompiler>,
    version: &Version,
) -> Result<Toolchain> {
    let cross = arch.cross_compile();
    let program = match (cc, env) {
        (None, _) => arch.program("gcc"),
        (Some(NamedCompiler::Debian(major, _)), None) => format!("debian:gcc-{major}"),
        (Some(NamedCompiler::Program(program)), None) => program.clone(),
        (Some(cc), Some(env)) => cc.program(env, arch)?,
    };
    let hint = match cc {
        Some(_) => "give --cc the name or path of a C compiler",
        None => "let --setup install it, or name another one with --cc",
    };
    let text = match (cc, env) {
        (Some(NamedCompiler::Debian(major, _)), None) => Some(format!("gcc (Debian) {major}.0")),
        _ => version_of(&program)?,
    };
    let text = text.ok_or_else(|| {
        let what = format!("cannot find {program}, the compiler for {}", arch.name);
        Failure::setup(what).hint(hint)
    })?;
    let compiler = Compiler::parse(&text).ok_or_else(|| neither(&program).hint(hint))?;
    let host_program = match cc.is_some_and(|cc| cc.is_for_host(arch)) {
        true => program.clone(),
        false => "gcc".to_owned(),
    };
    let host = version_of(&host_program)?.and_then(|text| Compiler::parse(&text));
    let pahole = find_program("pahole").and_then(Pahole::at);
    let pahole_version = pahole.as_ref().map(|pahole| pahole.version);
    Ok(Toolchain {
        bad_pairs: bad_pairs(version, &compiler, host.as_ref(), pahole_version)?,
        ccache: cc.is_none() && find_program("ccache").is_some(),
        host_program,
        program,
        cross,
        compiler,
        pahole,
    })
}

/// The tools for a module of a kernel that is there; `text` is the compiler's `--version` line.
pub fn for_module(
    program: &str,
    text: &str,
    pahole: Option<Pahole>,
    kernel: &Version,
) -> Result<Toolchain> {
    let compiler = Compiler::parse(text).ok_or_else(|| neither(program))?;
    let version = pahole.as_ref().map(|pahole| pahole.version);
    Ok(Toolchain {
        bad_pairs: bad_pairs(kernel, &compiler, None, version)?,
        program: program.to_owned(),
        host_program: "gcc".to_owned(),
        ccache: false,
        cross: None,
        compiler,
        pahole,
    })
}

fn neither(program: &str) -> Failure {
    Failure::setup(format!("{program} --version is not that of GCC or Clang"))
}

/// A toolchain for tests, with this version of GCC, for this kernel.
#[cfg(test)]
pub(super) fn example(major: u32, kernel: &str) -> Toolchain {
    let text = format!("gcc (Debian {major}.2.0-14) {major}.2.0");
    let compiler = Compiler::parse(&text).unwrap();
    Toolchain {
        bad_pairs: bad_pairs(&kernel.parse().unwrap(), &compiler, None, Some((1, 24))).unwrap(),
        program: "gcc".into(),
        host_program: "gcc".into(),
        ccache: true,
        cross: None,
        compiler,
        pahole: Pahole::parse(Path::new("/usr/bin/pahole"), "v1.24"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn compilers_are_read() {
        for (text, family, major) in [
            (
                "gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
                CompilerFamily::Gcc,
                12,
            ),
            (
                "cc (GCC) 15.1.1 20250425 (Red Hat 15.1.1-1)",
                CompilerFamily::Gcc,
                15,
            ),
            ("gcc-4.9 (Debian 4.9.2-10) 4.9.2", CompilerFamily::Gcc, 4),
            (
                "aarch64-linux-gnu-gcc (Ubuntu 13.2.0-4ubuntu3) 13.2.0",
                CompilerFamily::Gcc,
                13,
            ),
            ("Debian clang version 14.0.6", CompilerFamily::Clang, 14),
            (
                "clang version 19.1.7 (Fedora 19.1.7-3.fc41)",
                CompilerFamily::Clang,
                19,
            ),
        ] {
            let compiler = Compiler::parse(text).unwrap();
            assert_eq!((compiler.family, compiler.major), (family, major), "{text}");
            assert_eq!(compiler.text, text);
        }
        for text in ["", "true (GNU coreutils) 9.1", "gcc", "tcc version 0.9.27"] {
            assert_eq!(Compiler::parse(text), None, "{text}");
        }
    }

    #[test]
    fn pahole_is_read() {
        let parse = |text| Pahole::parse(Path::new("/p"), text).map(|pahole| pahole.version);
        assert_eq!(parse("v1.24\n"), Some((1, 24)));
        assert_eq!(parse("v1.30-dirty"), Some((1, 30)));
        assert_eq!(parse("1.24"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_modules_tools_know_its_kernel() {
        let text = "gcc (Debian 12.2.0-14+deb12u1) 12.2.0";
        let wrapped = |kernel: &str| {
            let pahole = Pahole::parse(Path::new("/usr/bin/pahole"), "v1.24");
            let tools = for_module("gcc", text, pahole, &kernel.parse().unwrap()).unwrap();
            let directory = tempfile::tempdir().unwrap();
            tools.write_wrappers(directory.path()).unwrap();
            let variable = tools.pahole_variable(directory.path()).unwrap();
            let wrapper = std::fs::read_to_string(variable.strip_prefix("PAHOLE=").unwrap());
            (
                wrapper.unwrap(),
                tools.remedies(Remedy::CompilerFlag).join(" "),
            )
        };
        let flags = "vmtest_flags=--skip_encoding_btf_enum64\n";
        let (wrapper, compiler) = wrapped("5.11.14");
        assert!(wrapper.contains(flags), "{wrapper}");
        assert_eq!(compiler, "");
        let (wrapper, compiler) = wrapped("4.19.222");
        assert!(wrapper.contains(flags), "{wrapper}");
        assert_eq!(compiler, "-fvar-tracking-assignments");
        assert!(!wrapped("6.1.192").0.contains(flags));
        let version = "6.1".parse().unwrap();
        let refused = for_module("tcc", "tcc version 0.9.27", None, &version);
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .starts_with("tcc --version is not that")
        );
    }

    #[test]
    fn known_pairs() {
        let mut text = String::new();
        for version in [
            "4.9.337", "5.4.1", "5.10.223", "5.13.1", "5.15.1", "5.18.1", "6.0", "6.1.192", "6.15",
            "6.16-rc1", "7.3",
        ] {
            for (gcc, pahole) in [(4, None), (12, Some((1, 20))), (15, Some((1, 24)))] {
                let compiler = Compiler::parse(&format!("gcc (x) {gcc}.1.0")).unwrap();
                let version = version.parse::<Version>().unwrap();
                text += &format!("{version} gcc {gcc} pahole {pahole:?}:");
                for pair in bad_pairs(&version, &compiler, None, pahole).unwrap() {
                    text += &format!(" {:?}({:?})", pair.remedy, pair.value);
                }
                text += "\n";
            }
        }
        expect![[r#"
            4.9.337 gcc 4 pahole None:
            4.9.337 gcc 12 pahole Some((1, 20)): Variable("WERROR=0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_vars")
            4.9.337 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_enum64")
            5.4.1 gcc 4 pahole None:
            5.4.1 gcc 12 pahole Some((1, 20)): Variable("WERROR=0") Variable("OBJECT_FILES_NON_STANDARD_thunk_64.o=y") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_vars")
            5.4.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") Variable("OBJECT_FILES_NON_STANDARD_thunk_64.o=y") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_enum64")
            5.10.223 gcc 4 pahole None:
            5.10.223 gcc 12 pahole Some((1, 20)): Variable("WERROR=0") Variable("OBJECT_FILES_NON_STANDARD_thunk_64.o=y") PaholeFlag("--skip_encoding_btf_vars")
            5.10.223 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") Variable("OBJECT_FILES_NON_STANDARD_thunk_64.o=y") PaholeFlag("--skip_encoding_btf_enum64")
            5.13.1 gcc 4 pahole None:
            5.13.1 gcc 12 pahole Some((1, 20)): Variable("WERROR=0")
            5.13.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") PaholeFlag("--skip_encoding_btf_enum64")
            5.15.1 gcc 4 pahole None: Refuse("take a newer one, such as --cc debian:gcc-12")
            5.15.1 gcc 12 pahole Some((1, 20)): Variable("WERROR=0")
            5.15.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") PaholeFlag("--skip_encoding_btf_enum64")
            5.18.1 gcc 4 pahole None: Refuse("take a newer one, such as --cc debian:gcc-12")
            5.18.1 gcc 12 pahole Some((1, 20)):
            5.18.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") PaholeFlag("--skip_encoding_btf_enum64")
            6.0 gcc 4 pahole None: Refuse("take a newer one, such as --cc debian:gcc-12")
            6.0 gcc 12 pahole Some((1, 20)):
            6.0 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11")
            6.1.192 gcc 4 pahole None: Refuse("take a newer one, such as --cc debian:gcc-12")
            6.1.192 gcc 12 pahole Some((1, 20)):
            6.1.192 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11")
            6.15 gcc 4 pahole None: Refuse("take a newer one, such as --cc debian:gcc-12") Refuse("take a newer one, such as --cc debian:gcc-12")
            6.15 gcc 12 pahole Some((1, 20)):
            6.15 gcc 15 pahole Some((1, 24)):
            6.16-rc1 gcc 4 pahole None: Refuse("take a newer one, such as --cc debian:gcc-12") Refuse("take a newer one, such as --cc debian:gcc-12")
            6.16-rc1 gcc 12 pahole Some((1, 20)):
            6.16-rc1 gcc 15 pahole Some((1, 24)):
            7.3 gcc 4 pahole None: Refuse("take a newer one, such as --cc debian:gcc-12") Refuse("take a newer one, such as --cc debian:gcc-12")
            7.3 gcc 12 pahole Some((1, 20)):
            7.3 gcc 15 pahole Some((1, 24)):
        "#]].assert_eq(&text);
    }

    #[test]
    fn the_compiler_of_the_hosts_programs_counts_but_refuses_nothing() {
        let gcc = |major| Compiler::parse(&format!("gcc (x) {major}.1.0")).unwrap();
        let values = |version: &str, host: u32| {
            let version = version.parse().unwrap();
            let pairs = bad_pairs(&version, &gcc(9), Some(&gcc(host)), None).unwrap();
            let values = pairs.into_iter().map(|pair| pair.value);
            values.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(values("5.4.1", 9), "-fvar-tracking-assignments");
        let expected =
            "WERROR=0 OBJECT_FILES_NON_STANDARD_thunk_64.o=y -fcommon -fvar-tracking-assignments";
        assert_eq!(values("5.4.1", 12), expected);
        assert_eq!(values("6.16", 4), "");
    }

    #[test]
    fn a_refused_compiler_is_named() {
        let error = example(4, "6.16").refusal(&"6.16".parse().unwrap());
        let text = error.unwrap().to_string();
        assert!(
            text.starts_with("cannot build Linux 6.16 with gcc (Debian 4.2.0-14) 4.2.0"),
            "{text}"
        );
        assert!(text.contains("--cc"), "{text}");
    }
}
