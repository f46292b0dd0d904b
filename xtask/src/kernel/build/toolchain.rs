//! Compiler and pahole, and which of them do not go with which kernels.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::{error::Failure, programs::find_program};
use crate::model::{arch, arch::Arch, version::Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Gcc,
    Clang,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    pub family: Family,
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
            (Family::Clang, rest)
        } else if lower.contains("gcc") || lower.starts_with("cc ") {
            // Only the program's own name says that it is GCC: `NAME (PACKAGE) VERSION`.
            let rest = lower.split_once(") ").map_or(&*lower, |(_, rest)| rest);
            (Family::Gcc, rest)
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
            Family::Gcc => self.major >= 8,
            Family::Clang => self.major >= 10,
        }
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

/// What one kernel is built with.
#[derive(Clone, Debug)]
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
    /// What is known to go wrong with that kernel.
    pub bad_pairs: Vec<&'static BadPair>,
}

impl Toolchain {
    /// What make gets as `CC`.
    pub fn cc(&self) -> String {
        let ccache = if self.ccache { "ccache " } else { "" };
        format!("{ccache}{}", self.with_dialect(&self.program))
    }

    /// What make gets as `HOSTCC`.
    pub fn host_cc(&self) -> String {
        self.with_dialect(&self.host_program)
    }

    fn with_dialect(&self, program: &str) -> String {
        let mut words = vec![program];
        words.extend(self.remedies(Remedy::Dialect));
        words.join(" ")
    }

    /// The remedies of one kind that this kernel needs.
    pub fn remedies(&self, kind: Remedy) -> Vec<&'static str> {
        let pairs = self.bad_pairs.iter().filter(|pair| pair.remedy.0 == kind);
        pairs.map(|pair| pair.remedy.1).collect()
    }

    /// Why the kernel cannot be built with these tools.
    pub fn refusal(&self, version: &Version) -> Option<Failure> {
        let mut pairs = self.bad_pairs.iter();
        let pair = pairs.find(|pair| pair.remedy.0 == Remedy::Refuse)?;
        let (compiler, reason) = (&self.compiler.text, pair.reason);
        let message = format!("cannot build Linux {version} with {compiler}: {reason}");
        Some(Failure::setup(message).hint(pair.remedy.1))
    }
}

/// What is done about a bad pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It cannot be built; what to do instead.
    Refuse,
    /// An argument that is part of `CC` and `HOSTCC`, before all others.
    Dialect,
    /// An argument for kernel code, behind all others.
    CompilerFlag,
    /// An argument for the host's programs.
    HostFlag,
    /// A variable of make.
    Variable,
    PaholeFlag,
}

#[derive(Debug)]
enum BadTool {
    Gcc(Range<u32>),
    Pahole(Range<(u32, u32)>),
}

/// A pair of tool and kernel that does not work by itself.
#[derive(Debug)]
pub struct BadPair {
    /// What goes wrong, and since when it does not.
    pub reason: &'static str,
    /// A release candidate counts as its series: what is new comes in with the first of them.
    kernels: Range<(u32, u32)>,
    tool: BadTool,
    remedy: (Remedy, &'static str),
}

const FIRST: (u32, u32) = (0, 0);
const LAST: (u32, u32) = (u32::MAX, 0);

/// Every pair that we know of.
const BAD_PAIRS: &[BadPair] = &[
    BadPair {
        // On x86, the only architecture here, one release before all others:
        // a3e8fe814ad1 ("x86/build: Raise the minimum GCC version to 8.1", 6.15),
        // 118c40b7b503 ("kbuild: require gcc-8 and binutils-2.30", 6.16).
        reason: "Linux 6.15 and newer need GCC 8 (a3e8fe814ad1, \"x86/build: Raise the minimum \
                 GCC version to 8.1\")",
        kernels: (6, 15)..LAST,
        tool: BadTool::Gcc(0..8),
        remedy: (Remedy::Refuse, "name a newer compiler with --cc"),
    },
    BadPair {
        reason: "Linux 5.15 and newer need GCC 5.1 (76ae847497bc, \"Documentation: raise \
                 minimum supported version of GCC to 5.1\")",
        kernels: (5, 15)..LAST,
        tool: BadTool::Gcc(0..5),
        remedy: (Remedy::Refuse, "name a newer compiler with --cc"),
    },
    BadPair {
        // The main part of the kernel names a dialect; boot code, which resets the
        // flags, did not before "x86/boot: Compile boot code with -std=gnu11 too" (in
        // 6.15 at the latest), nor do tools for the host. Being first, it is no more
        // than a default.
        reason: "GCC 15 takes C for C23, where `bool` and `false` are keywords that older \
                 kernels define themselves",
        kernels: FIRST..(6, 15),
        tool: BadTool::Gcc(15..u32::MAX),
        remedy: (Remedy::Dialect, "-std=gnu11"),
    },
    BadPair {
        // 52a9dab6d892 ("libsubcmd: Fix use-after-free for realloc(..., 0)", 5.17). The
        // makefile of that library adds -Werror unless this variable is 0.
        reason: "GCC 12 warns of realloc(..., 0) in tools/lib/subcmd before 5.17, and warnings \
                 are errors there",
        kernels: FIRST..(5, 17),
        tool: BadTool::Gcc(12..u32::MAX),
        remedy: (Remedy::Variable, "WERROR=0"),
    },
    BadPair {
        // e33a814e772c ("scripts/dtc: Remove redundant YYLOC global declaration", 5.6).
        reason: "GCC 10 no longer merges variables defined twice, as scripts/dtc does before 5.6",
        kernels: FIRST..(5, 6),
        tool: BadTool::Gcc(10..u32::MAX),
        remedy: (Remedy::HostFlag, "-fcommon"),
    },
    BadPair {
        // 121c5d08d53c ("kbuild: Only add -fno-var-tracking-assignments for old GCC
        // versions", 5.10). Not a failure, but a debugger's tests need the variables.
        reason: "before 5.10 the locations of variables are switched off for all compilers because \
                 of a bug of GCC 4",
        kernels: FIRST..(5, 10),
        tool: BadTool::Gcc(5..u32::MAX),
        remedy: (Remedy::CompilerFlag, "-fvar-tracking-assignments"),
    },
    BadPair {
        // Kernels know the kind since "bpf: Add btf enum64 support" (6.0); older ones
        // pass this option only in some point releases of the stable branches
        // ("kbuild: Add skip_encoding_btf_enum64 option to pahole").
        reason: "pahole 1.24 encodes 64-bit enumerations in a way that kernels before 6.0 refuse",
        kernels: FIRST..(6, 0),
        tool: BadTool::Pahole((1, 24)..LAST),
        remedy: (Remedy::PaholeFlag, "--skip_encoding_btf_enum64"),
    },
    BadPair {
        // a0b8200d06ad ("kbuild: skip per-CPU BTF generation for pahole v1.18-v1.21", 5.13).
        reason: "pahole 1.18 to 1.21 fails on per-CPU variables without a size",
        kernels: FIRST..(5, 13),
        tool: BadTool::Pahole((1, 18)..(1, 22)),
        remedy: (Remedy::PaholeFlag, "--skip_encoding_btf_vars"),
    },
];

/// The pairs that one kernel and these tools are.
pub fn bad_pairs(
    version: &Version,
    compiler: &Compiler,
    pahole: Option<(u32, u32)>,
) -> Vec<&'static BadPair> {
    let series = (version.series.major, version.series.minor);
    let is_bad = |tool: &BadTool| match tool {
        BadTool::Gcc(bad) => compiler.family == Family::Gcc && bad.contains(&compiler.major),
        BadTool::Pahole(bad) => pahole.is_some_and(|version| bad.contains(&version)),
    };
    let pairs = BAD_PAIRS.iter();
    pairs
        .filter(|pair| pair.kernels.contains(&series) && is_bad(&pair.tool))
        .collect()
}

/// Finds the tools on this host. `cc` is what `--cc` says; without it the
/// architecture's usual GCC, through ccache if there is one.
pub fn probe(arch: &Arch, cc: Option<&str>, version: &Version) -> Result<Toolchain> {
    let native = arch::host() == Some(arch);
    let cross = (!native).then(|| format!("{}-", arch.triplet));
    let gcc = || format!("{}gcc", cross.as_deref().unwrap_or_default());
    let program = cc.map_or_else(gcc, str::to_owned);
    let hint = match cc {
        Some(_) => "give --cc the name or path of a C compiler",
        None => "install it, or name another one with --cc",
    };
    if find_program(&program).is_none() {
        let message = format!("cannot find the compiler {program}");
        return Err(Failure::setup(message).hint(hint).into());
    }
    let text = first_line(&program);
    let compiler = text.as_deref().and_then(Compiler::parse).ok_or_else(|| {
        Failure::setup(format!("{program} --version is not that of GCC or Clang")).hint(hint)
    })?;
    let pahole = find_program("pahole").and_then(|path| {
        let text = first_line(path.to_str()?)?;
        Pahole::parse(&path, &text)
    });
    let pahole_version = pahole.as_ref().map(|pahole| pahole.version);
    Ok(Toolchain {
        bad_pairs: bad_pairs(version, &compiler, pahole_version),
        ccache: cc.is_none() && find_program("ccache").is_some(),
        // A compiler that was named also builds the host's programs, if it is for this host.
        host_program: cc.filter(|_| native).unwrap_or("gcc").to_owned(),
        program,
        cross,
        compiler,
        pahole,
    })
}

fn first_line(program: &str) -> Option<String> {
    let shell = crate::base::process::shell().ok()?;
    let command = shell.cmd(program).arg("--version").env("LC_ALL", "C");
    let output = command.quiet().ignore_stderr().read().ok()?;
    output.lines().next().map(str::to_owned)
}

/// A toolchain for tests, with this version of GCC, for this kernel.
#[cfg(test)]
pub(super) fn example(major: u32, kernel: &str) -> Toolchain {
    let text = format!("gcc (Debian {major}.2.0-14) {major}.2.0");
    let compiler = Compiler::parse(&text).unwrap();
    Toolchain {
        bad_pairs: bad_pairs(&kernel.parse().unwrap(), &compiler, Some((1, 24))),
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
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", Family::Gcc, 12),
            (
                "cc (GCC) 15.1.1 20250425 (Red Hat 15.1.1-1)",
                Family::Gcc,
                15,
            ),
            ("gcc-4.9 (Debian 4.9.2-10) 4.9.2", Family::Gcc, 4),
            (
                "aarch64-linux-gnu-gcc (Ubuntu 13.2.0-4ubuntu3) 13.2.0",
                Family::Gcc,
                13,
            ),
            ("Debian clang version 14.0.6", Family::Clang, 14),
            (
                "clang version 19.1.7 (Fedora 19.1.7-3.fc41)",
                Family::Clang,
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
                for pair in bad_pairs(&version, &compiler, pahole) {
                    let (kind, value) = pair.remedy;
                    text += &format!(" {kind:?}({value:?})");
                }
                text += "\n";
            }
        }
        expect![[r#"
            4.9.337 gcc 4 pahole None:
            4.9.337 gcc 12 pahole Some((1, 20)): Variable("WERROR=0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_vars")
            4.9.337 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_enum64")
            5.4.1 gcc 4 pahole None:
            5.4.1 gcc 12 pahole Some((1, 20)): Variable("WERROR=0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_vars")
            5.4.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") HostFlag("-fcommon") CompilerFlag("-fvar-tracking-assignments") PaholeFlag("--skip_encoding_btf_enum64")
            5.10.223 gcc 4 pahole None:
            5.10.223 gcc 12 pahole Some((1, 20)): Variable("WERROR=0") PaholeFlag("--skip_encoding_btf_vars")
            5.10.223 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") PaholeFlag("--skip_encoding_btf_enum64")
            5.13.1 gcc 4 pahole None:
            5.13.1 gcc 12 pahole Some((1, 20)): Variable("WERROR=0")
            5.13.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") PaholeFlag("--skip_encoding_btf_enum64")
            5.15.1 gcc 4 pahole None: Refuse("name a newer compiler with --cc")
            5.15.1 gcc 12 pahole Some((1, 20)): Variable("WERROR=0")
            5.15.1 gcc 15 pahole Some((1, 24)): Dialect("-std=gnu11") Variable("WERROR=0") PaholeFlag("--skip_encoding_btf_enum64")
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
        let error = example(4, "6.16").refusal(&"6.16".parse().unwrap());
        let text = error.unwrap().to_string();
        assert!(
            text.starts_with("cannot build Linux 6.16 with gcc (Debian 4.2.0-14) 4.2.0"),
            "{text}"
        );
        assert!(text.contains("--cc"), "{text}");
    }
}
