//! Compiler and pahole, and which of them do not go with which kernels.
//!
//! Probing is at the end; the rest is pure.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::{error::Failure, programs::find_program};
use crate::model::arch::Arch;
use crate::model::version::{Series, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Gcc,
    Clang,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    pub family: Family,
    pub version: (u32, u32, u32),
    /// The first line of `--version`, as the kernel has it in `CONFIG_CC_VERSION_TEXT`.
    pub text: String,
}

impl Compiler {
    /// From the first line of `--version`: the version stands behind the package's name
    /// in parentheses, or for Clang behind the word `version`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.lines().next()?.trim();
        let lower = text.to_lowercase();
        let (family, rest) = match lower.split_once("clang version ") {
            Some((_, rest)) => (Family::Clang, rest),
            // Only the program's own name says that it is GCC: `NAME (PACKAGE) VERSION`.
            None if lower.contains("gcc") || lower.starts_with("cc ") => (
                Family::Gcc,
                lower
                    .split_once(") ")
                    .map_or(lower.as_str(), |(_, rest)| rest),
            ),
            None => return None,
        };
        let version = rest.split_whitespace().find_map(|word| {
            let mut numbers = word
                .split(|c: char| !c.is_ascii_digit())
                .map_while(|number| number.parse().ok());
            Some((
                numbers.next()?,
                numbers.next()?,
                numbers.next().unwrap_or(0),
            ))
        })?;
        Some(Self {
            family,
            version,
            text: text.to_owned(),
        })
    }

    /// Whether it knows `-fmacro-prefix-map`: GCC 8, Clang 10.
    pub fn maps_macros(&self) -> bool {
        match self.family {
            Family::Gcc => self.version.0 >= 8,
            Family::Clang => self.version.0 >= 10,
        }
    }

    fn gcc(&self) -> Option<u32> {
        (self.family == Family::Gcc).then_some(self.version.0)
    }
}

/// pahole, which turns debugging information into BTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pahole {
    pub path: PathBuf,
    pub version: (u32, u32),
    /// What `pahole --version` prints, e.g. `v1.24`.
    pub text: String,
}

impl Pahole {
    /// From what `--version` prints.
    pub fn parse(path: &Path, text: &str) -> Option<Self> {
        let text = text.trim();
        let (major, minor) = text.strip_prefix('v')?.split_once('.')?;
        let end = minor
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(minor.len());
        Some(Self {
            path: path.to_owned(),
            version: (major.parse().ok()?, minor[..end].parse().ok()?),
            text: text.to_owned(),
        })
    }
}

/// What a kernel is built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler's program.
    pub program: String,
    /// The compiler of programs that run on this host during the build.
    pub host_program: String,
    /// Whether to put ccache before the compiler.
    pub ccache: bool,
    /// `CROSS_COMPILE`, when building for another architecture.
    pub cross: Option<String>,
    /// What the program is.
    pub compiler: Compiler,
    /// Only needed for BTF.
    pub pahole: Option<Pahole>,
}

impl Toolchain {
    pub fn cc(&self, quirks: &Quirks) -> String {
        let ccache = if self.ccache { "ccache " } else { "" };
        format!("{ccache}{}{}", self.program, quirks.dialect())
    }

    pub fn host_cc(&self, quirks: &Quirks) -> String {
        format!("{}{}", self.host_program, quirks.dialect())
    }

    /// What has to be done about this toolchain for that kernel.
    pub fn quirks(&self, version: &Version) -> Quirks {
        let pahole = self.pahole.as_ref().map(|pahole| pahole.version);
        quirks(version, &self.compiler, pahole)
    }
}

/// What is done about a bad pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// It cannot be built; what to do instead.
    Refuse(&'static str),
    /// An argument that is part of `CC` and `HOSTCC`, before all others.
    Dialect(&'static str),
    /// An argument for kernel code, behind all others.
    CompilerFlag(&'static str),
    /// An argument for the host's programs.
    HostFlag(&'static str),
    /// A variable of make.
    Variable(&'static str, &'static str),
    PaholeFlag(&'static str),
}

/// A pair of tool and kernel that does not work by itself.
#[derive(Debug)]
struct BadPair {
    /// What goes wrong, and since when it does not.
    reason: &'static str,
    applies: fn(&Version, &Compiler, Option<(u32, u32)>) -> bool,
    action: Action,
}

/// Every pair that we know of. Versions are compared whole.
const BAD_PAIRS: &[BadPair] = &[
    BadPair {
        // On x86, the only architecture here, one release before all others:
        // a3e8fe814ad1 ("x86/build: Raise the minimum GCC version to 8.1", 6.15),
        // 118c40b7b503 ("kbuild: require gcc-8 and binutils-2.30", 6.16).
        reason: "Linux 6.15 and newer need GCC 8 (a3e8fe814ad1, \"x86/build: Raise the minimum \
                 GCC version to 8.1\")",
        applies: |version, compiler, _| {
            since(version, 6, 15) && compiler.gcc().is_some_and(|gcc| gcc < 8)
        },
        action: Action::Refuse("name a newer compiler with --cc"),
    },
    BadPair {
        reason: "Linux 5.15 and newer need GCC 5.1 (76ae847497bc, \"Documentation: raise \
                 minimum supported version of GCC to 5.1\")",
        applies: |version, compiler, _| {
            since(version, 5, 15) && compiler.gcc().is_some_and(|gcc| gcc < 5)
        },
        action: Action::Refuse("name a newer compiler with --cc"),
    },
    BadPair {
        // The main part of the kernel names a dialect; boot code, which resets the
        // flags, did not before "x86/boot: Compile boot code with -std=gnu11 too" (in
        // 6.15 at the latest), nor do tools for the host. Being first, it is no more
        // than a default.
        reason: "GCC 15 takes C for C23, where `bool` and `false` are keywords that older \
                 kernels define themselves",
        applies: |version, compiler, _| {
            !since(version, 6, 15) && compiler.gcc().is_some_and(|gcc| gcc >= 15)
        },
        action: Action::Dialect("-std=gnu11"),
    },
    BadPair {
        // 52a9dab6d892 ("libsubcmd: Fix use-after-free for realloc(..., 0)", 5.17). The
        // makefile of that library adds -Werror unless this variable is 0.
        reason: "GCC 12 warns of realloc(..., 0) in tools/lib/subcmd before 5.17, and warnings \
                 are errors there",
        applies: |version, compiler, _| {
            !since(version, 5, 17) && compiler.gcc().is_some_and(|gcc| gcc >= 12)
        },
        action: Action::Variable("WERROR", "0"),
    },
    BadPair {
        // e33a814e772c ("scripts/dtc: Remove redundant YYLOC global declaration", 5.6).
        reason: "GCC 10 no longer merges variables defined twice, as scripts/dtc does before 5.6",
        applies: |version, compiler, _| {
            !since(version, 5, 6) && compiler.gcc().is_some_and(|gcc| gcc >= 10)
        },
        action: Action::HostFlag("-fcommon"),
    },
    BadPair {
        // 121c5d08d53c ("kbuild: Only add -fno-var-tracking-assignments for old GCC
        // versions", 5.10). Not a failure, but a debugger's tests need the variables.
        reason: "before 5.10 the locations of variables are switched off for all compilers because \
                 of a bug of GCC 4",
        applies: |version, compiler, _| {
            !since(version, 5, 10) && compiler.gcc().is_some_and(|gcc| gcc >= 5)
        },
        action: Action::CompilerFlag("-fvar-tracking-assignments"),
    },
    BadPair {
        // Kernels know the kind since "bpf: Add btf enum64 support" (6.0); older ones
        // pass this option only in some point releases of the stable branches
        // ("kbuild: Add skip_encoding_btf_enum64 option to pahole").
        reason: "pahole 1.24 encodes 64-bit enumerations in a way that kernels before 6.0 refuse",
        applies: |version, _, pahole| !since(version, 6, 0) && pahole >= Some((1, 24)),
        action: Action::PaholeFlag("--skip_encoding_btf_enum64"),
    },
    BadPair {
        // a0b8200d06ad ("kbuild: skip per-CPU BTF generation for pahole v1.18-v1.21", 5.13).
        reason: "pahole 1.18 to 1.21 fails on per-CPU variables without a size",
        applies: |version, _, pahole| {
            !since(version, 5, 13)
                && pahole.is_some_and(|pahole| ((1, 18)..=(1, 21)).contains(&pahole))
        },
        action: Action::PaholeFlag("--skip_encoding_btf_vars"),
    },
];

/// Whether `version` is `major.minor` or newer. A release candidate counts as its
/// series: what is new comes in with the first of them.
fn since(version: &Version, major: u32, minor: u32) -> bool {
    version.series >= Series { major, minor }
}

/// The pairs that apply to one kernel.
#[derive(Debug)]
pub struct Quirks(Vec<&'static BadPair>);

/// What has to be done about these tools for that kernel.
pub fn quirks(version: &Version, compiler: &Compiler, pahole: Option<(u32, u32)>) -> Quirks {
    Quirks(
        BAD_PAIRS
            .iter()
            .filter(|pair| (pair.applies)(version, compiler, pahole))
            .collect(),
    )
}

impl Quirks {
    fn actions<T>(&self, select: impl Fn(Action) -> Option<T>) -> Vec<T> {
        self.0
            .iter()
            .filter_map(|pair| select(pair.action))
            .collect()
    }

    /// An error if the kernel cannot be built with these tools.
    pub fn check(&self, version: &Version, compiler: &Compiler) -> Result<()> {
        for pair in &self.0 {
            if let Action::Refuse(hint) = pair.action {
                let message = format!(
                    "cannot build Linux {version} with {}: {}",
                    compiler.text, pair.reason
                );
                return Err(Failure::setup(message).hint(hint).into());
            }
        }
        Ok(())
    }

    /// Why something is done, for `-v` and the log.
    pub fn reasons(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|pair| pair.reason)
    }

    pub fn compiler_flags(&self) -> Vec<&'static str> {
        self.actions(|action| match action {
            Action::CompilerFlag(flag) => Some(flag),
            _ => None,
        })
    }

    pub fn host_flags(&self) -> Vec<&'static str> {
        self.actions(|action| match action {
            Action::HostFlag(flag) => Some(flag),
            _ => None,
        })
    }

    pub fn pahole_flags(&self) -> Vec<&'static str> {
        self.actions(|action| match action {
            Action::PaholeFlag(flag) => Some(flag),
            _ => None,
        })
    }

    pub fn make_variables(&self) -> Vec<(&'static str, String)> {
        self.actions(|action| match action {
            Action::Variable(name, value) => Some((name, value.to_owned())),
            _ => None,
        })
    }

    fn dialect(&self) -> String {
        self.actions(|action| match action {
            Action::Dialect(flag) => Some(format!(" {flag}")),
            _ => None,
        })
        .concat()
    }
}

/// Finds the tools on this host. `cc` is what `--cc` says; without it the
/// architecture's usual GCC, through ccache if there is one.
pub fn probe(arch: &Arch, cc: Option<&str>) -> Result<Toolchain> {
    let native = crate::model::arch::host() == Some(arch);
    let cross = (!native).then(|| format!("{}-", arch.triplet));
    let default = cross
        .as_ref()
        .map_or("gcc".to_owned(), |prefix| format!("{prefix}gcc"));
    let program = cc.map_or(default, str::to_owned);
    let hint = match cc {
        Some(_) => "give --cc the name or path of a C compiler",
        None => "install it, or name another one with --cc",
    };
    if find_program(&program).is_none() {
        return Err(
            Failure::setup(format!("cannot find the compiler {program}"))
                .hint(hint)
                .into(),
        );
    }
    let compiler = first_line(&program)
        .as_deref()
        .and_then(Compiler::parse)
        .ok_or_else(|| {
            Failure::setup(format!("{program} --version is not that of GCC or Clang")).hint(hint)
        })?;
    // A compiler that was named also builds the host's programs, if it is for this host.
    let host_program = match (native, cc) {
        (true, Some(cc)) => cc.to_owned(),
        _ => "gcc".to_owned(),
    };
    let pahole = find_program("pahole").and_then(|path| {
        let text = first_line(path.to_str()?)?;
        Pahole::parse(&path, &text)
    });
    Ok(Toolchain {
        ccache: cc.is_none() && find_program("ccache").is_some(),
        program,
        host_program,
        cross,
        compiler,
        pahole,
    })
}

fn first_line(program: &str) -> Option<String> {
    let shell = crate::base::process::shell().ok()?;
    let output = shell
        .cmd(program)
        .arg("--version")
        .env("LC_ALL", "C")
        .quiet()
        .ignore_stderr()
        .read()
        .ok()?;
    output.lines().next().map(str::to_owned)
}

/// A toolchain for tests, with this version of GCC.
#[cfg(test)]
pub(super) fn example(gcc: (u32, u32, u32)) -> Toolchain {
    let (major, minor, patch) = gcc;
    Toolchain {
        program: "gcc".into(),
        host_program: "gcc".into(),
        ccache: true,
        cross: None,
        compiler: Compiler {
            family: Family::Gcc,
            version: gcc,
            text: format!("gcc (Debian {major}.{minor}.{patch}-14) {major}.{minor}.{patch}"),
        },
        pahole: Some(Pahole {
            path: "/usr/bin/pahole".into(),
            version: (1, 24),
            text: "v1.24".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn compilers_are_read() {
        for (text, family, version) in [
            (
                "gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
                Family::Gcc,
                (12, 2, 0),
            ),
            (
                "cc (GCC) 15.1.1 20250425 (Red Hat 15.1.1-1)",
                Family::Gcc,
                (15, 1, 1),
            ),
            ("gcc-4.9 (Debian 4.9.2-10) 4.9.2", Family::Gcc, (4, 9, 2)),
            (
                "aarch64-linux-gnu-gcc (Ubuntu 13.2.0-4ubuntu3) 13.2.0",
                Family::Gcc,
                (13, 2, 0),
            ),
            ("Debian clang version 14.0.6", Family::Clang, (14, 0, 6)),
            (
                "clang version 19.1.7 (Fedora 19.1.7-3.fc41)",
                Family::Clang,
                (19, 1, 7),
            ),
        ] {
            let compiler = Compiler::parse(text).unwrap();
            assert_eq!(
                (compiler.family, compiler.version),
                (family, version),
                "{text}"
            );
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
    fn bad_pairs() {
        let mut text = String::new();
        for version in [
            "4.9.337", "5.4.1", "5.10.223", "5.13.1", "5.15.1", "5.18.1", "6.0", "6.1.192", "6.15",
            "6.16-rc1", "7.3",
        ] {
            for (gcc, pahole) in [(4, None), (12, Some((1, 20))), (15, Some((1, 24)))] {
                let compiler = Compiler::parse(&format!("gcc (x) {gcc}.1.0")).unwrap();
                let version = version.parse::<Version>().unwrap();
                let quirks = quirks(&version, &compiler, pahole);
                let actions = quirks.actions(Some);
                text += &format!("{version} gcc {gcc} pahole {pahole:?}:");
                for action in actions {
                    text += &format!(" {action:?}");
                }
                text += "\n";
            }
        }
        expect![[r#"
            4.9.337 gcc 4 pahole None:
            4.9.337 gcc 12 pahole Some((1, 20)): Variable("WERROR", "0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_vars")
            4.9.337 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR", "0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_enum64")
            5.4.1 gcc 4 pahole None:
            5.4.1 gcc 12 pahole Some((1, 20)): Variable("WERROR", "0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_vars")
            5.4.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR", "0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_enum64")
            5.10.223 gcc 4 pahole None:
            5.10.223 gcc 12 pahole Some((1, 20)): Variable("WERROR", "0") PaholeFlag("--skip_encoding_btf_vars")
            5.10.223 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR", "0") PaholeFlag("--skip_encoding_btf_enum64")
            5.13.1 gcc 4 pahole None:
            5.13.1 gcc 12 pahole Some((1, 20)): Variable("WERROR", "0")
            5.13.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR", "0") PaholeFlag("--skip_encoding_btf_enum64")
            5.15.1 gcc 4 pahole None: Refuse("name a newer compiler with --cc")
            5.15.1 gcc 12 pahole Some((1, 20)): Variable("WERROR", "0")
            5.15.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR", "0") PaholeFlag("--skip_encoding_btf_enum64")
            5.18.1 gcc 4 pahole None: Refuse("name a newer compiler with --cc")
            5.18.1 gcc 12 pahole Some((1, 20)):
            5.18.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") PaholeFlag("--skip_encoding_btf_enum64")
            6.0 gcc 4 pahole None: Refuse("name a newer compiler with --cc")
            6.0 gcc 12 pahole Some((1, 20)):
            6.0 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11")
            6.1.192 gcc 4 pahole None: Refuse("name a newer compiler with --cc")
            6.1.192 gcc 12 pahole Some((1, 20)):
            6.1.192 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11")
            6.15 gcc 4 pahole None: Refuse("name a newer compiler with --cc") Refuse("name a newer compiler with --cc")
            6.15 gcc 12 pahole Some((1, 20)):
            6.15 gcc 15 pahole Some((1, 24)):
            6.16-rc1 gcc 4 pahole None: Refuse("name a newer compiler with --cc") Refuse("name a newer compiler with --cc")
            6.16-rc1 gcc 12 pahole Some((1, 20)):
            6.16-rc1 gcc 15 pahole Some((1, 24)):
            7.3 gcc 4 pahole None: Refuse("name a newer compiler with --cc") Refuse("name a newer compiler with --cc")
            7.3 gcc 12 pahole Some((1, 20)):
            7.3 gcc 15 pahole Some((1, 24)):
        "#]].assert_eq(&text);
    }

    #[test]
    fn a_refused_compiler_is_named() {
        let version = "6.16".parse().unwrap();
        let compiler = Compiler::parse("gcc (Debian 4.9.2-10) 4.9.2").unwrap();
        let error = quirks(&version, &compiler, None)
            .check(&version, &compiler)
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("cannot build Linux 6.16 with gcc (Debian 4.9.2-10) 4.9.2"),
            "{text}"
        );
        assert!(text.contains("--cc"), "{text}");
    }
}
