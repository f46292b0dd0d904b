//! GCC of a Debian suite, for hosts that lack it: unpacked like a userspace, and run from there.
//!
//! Its programs may need another libc than the host's, so that wrappers start them through the
//! tree's own dynamic linker. gcc finds cc1, as and ld by `-B`, and its headers beside itself. The
//! headers and libraries of programs are the host's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::debian::{self, Contents};
use super::{folder, recipe};
use crate::archive::Tree;
use crate::base::process::shell_quote;
use crate::base::{env::Env, error, error::Failure, programs::find_program};
use crate::host::loader;
use crate::model::arch::{self, Arch};
use crate::net::apt::{formats::parse_show, suites::Suites};

/// The folder of the wrappers.
const WRAPPERS: &str = "usr/lib/vmtest";

/// What makes BTF, with which modules of the suite's kernels are built: theirs may use what an older
/// one does not know. Suites before bookworm have it by another name.
const PAHOLE: &str = "pahole";

/// The version in `debian:gcc-10`; `None` for a program of the host.
pub fn major(text: &str) -> Result<Option<u32>, Failure> {
    let Some(name) = text.strip_prefix("debian:") else {
        return Ok(None);
    };
    let number = name.strip_prefix("gcc-").unwrap_or_default();
    let major = number.parse().map_err(|_| {
        let message = format!("{name:?} is no compiler that can be had from Debian");
        Failure::usage(message).hint("debian:gcc-N with the first number of GCC's version")
    })?;
    Ok(Some(major))
}

/// The program of a GCC for an architecture, which is unpacked if it is not here.
pub fn obtain(env: &Env, arch: &'static Arch, major: u32) -> Result<String> {
    unpacked(env, arch, major, "")
}

/// The program of Debian's GCC with the major version of a `--version` line: the host's, or one
/// that is unpacked, of the same version if there is one; `None` if it cannot be had.
pub fn like(env: &Env, arch: &'static Arch, line: &str) -> Result<Option<String>> {
    let Some(major) = debian_gcc(line) else {
        return Ok(None);
    };
    let program = arch.program(&format!("gcc-{major}"));
    if find_program(&program).is_some() {
        return Ok(Some(program));
    }
    match unpacked(env, arch, major, line) {
        Err(error) if !error::is_final(&error) => {
            env.ui.info(format!("cannot fetch {line}: {error:#}"));
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// The major version in a `--version` line, if it is that of a GCC of Debian's.
fn debian_gcc(line: &str) -> Option<u32> {
    let (name, rest) = line.split_once(" (Debian ")?;
    let (_, number) = rest.split_once(") ")?;
    let major = number.split('.').next()?.parse().ok();
    major.filter(|_| name.contains("gcc"))
}

fn unpacked(env: &Env, arch: &'static Arch, major: u32, line: &str) -> Result<String> {
    let host = arch::host()
        .ok_or_else(|| Failure::setup("Debian's compilers do not run on this architecture"))?;
    let gcc = format!("gcc-{major}");
    let suffix = match arch.cross_compile() {
        Some(_) => format!("-{}", arch.triplet.replace('_', "-")),
        None => String::new(),
    };
    let package = format!("{gcc}{suffix}");
    let program = Path::new(WRAPPERS).join(arch.program(&gcc));
    let contents = Contents {
        wanted: &[package.clone(), format!("{PAHOLE}?")],
        what: &format!("{package} of "),
        layout: "compiler 1",
        finish: &|tree, goal| wrap(tree, goal, host, arch, &gcc),
    };
    let asked = suite_with(env, host, &package, &suffix, line)
        .and_then(|suite| debian::ask(env, &suite, host, &contents, false));
    let folder = match asked {
        Err(error) if !error::is_final(&error) => {
            let here = folder::survey(&env.paths, host)?.into_iter().rev();
            let mut here = here.map(|folder| folder.path);
            let has = |path: &PathBuf| path.join(folder::TREE).join(&program).is_file();
            let Some(here) = here.find(has) else {
                return Err(error);
            };
            let name = here.display();
            env.ui
                .info(format!("{error:#}; using {name}, which is here"));
            here
        }
        asked => asked?,
    };
    let program = debian::used(folder)?.join(program);
    let program = program.into_os_string().into_string();
    program.map_err(|path| Failure::setup(format!("make cannot use {path:?}")).into())
}

/// The oldest suite that has a package, but rather one whose compiler prints this line.
fn suite_with(env: &Env, host: &Arch, package: &str, suffix: &str, line: &str) -> Result<String> {
    let suites = super::suites();
    let opened = Suites::open(env, host, |suite| suites.contains(&suite.name))?;
    if let Some(failure) = opened.unusable() {
        return Err(failure.into());
    }
    let mut having = Vec::new();
    for lists in opened.usable() {
        let shown = lists.show(&[package.to_owned()])?;
        let candidates = parse_show(&shown, package).into_iter();
        having.extend(candidates.map(|candidate| (lists.suite(), candidate.version)));
    }
    let same = having.iter().find(|(_, version)| is_of(version, line));
    if let Some((suite, _)) = same.or(having.first()) {
        return Ok(suite.clone());
    }
    let mut others = BTreeSet::new();
    for lists in opened.usable() {
        let names = lists.names("gcc-")?.into_iter();
        others.extend(names.filter_map(|name| {
            let number = name.strip_prefix("gcc-")?.strip_suffix(suffix)?;
            number.parse::<u32>().ok()
        }));
    }
    let others = others.iter().map(|major| format!("debian:gcc-{major}"));
    let others = others.collect::<Vec<_>>().join(", ");
    let message = format!("no suite of Debian that this host can reach has {package}");
    Err(match others.as_str() {
        "" => Failure::setup(message),
        _ => Failure::setup(message).hint(format!("there is {others}")),
    }
    .into())
}

/// Whether a package of this version has the compiler with this `--version` line. Cross compilers
/// are packaged apart: `14.2.0-19cross1`.
fn is_of(version: &str, line: &str) -> bool {
    let version = version.split("cross").next().unwrap_or_default();
    line.contains(&format!(" (Debian {version}) "))
}

/// Adds the wrappers to an unpacked compiler; `goal` is the path that the tree will have.
fn wrap(tree: &mut Tree, goal: &Path, host: &Arch, arch: &Arch, gcc: &str) -> Result<()> {
    recipe::merge(tree)?;
    let number = gcc.trim_start_matches("gcc-");
    let kind = match arch.cross_compile() {
        Some(_) => "gcc-cross",
        None => "gcc",
    };
    let driver = arch.program(gcc);
    // As if it were installed, for the names of its headers in debugging information.
    let map = shell_quote(&format!("-ffile-prefix-map={}=", goal.display()));
    let arguments = format!(" -B\"${{0%/*}}/\" {map}");
    for (name, program, arguments) in [
        (&*driver, &*driver, &*arguments),
        ("as", &arch.program("as"), ""),
        ("ld", &arch.program("ld"), ""),
        ("cc1", "cc1", ""),
        ("collect2", "collect2", ""),
        (PAHOLE, PAHOLE, ""),
    ] {
        let own = format!("{kind}/{}/{number}/{program}", arch.triplet);
        let places = [
            format!("usr/bin/{program}"),
            format!("usr/libexec/{own}"),
            format!("usr/lib/{own}"),
        ];
        let place = places.iter().find(|place| tree.has(Path::new(place)));
        if place.is_none() && name == PAHOLE {
            continue;
        }
        let place = place.with_context(|| format!("{gcc} comes without {name}"))?;
        let depth = Path::new(WRAPPERS).iter().count();
        let text = loader::script(host, depth, place, arguments);
        let (size, file) = (text.len() as u64, Path::new(WRAPPERS).join(name));
        tree.file(&file, 0o755, 0, size, &mut text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_read() {
        assert_eq!(major("debian:gcc-10").unwrap(), Some(10));
        for text in ["gcc-10", "/opt/gcc/bin/gcc", "ccache gcc"] {
            assert_eq!(major(text).unwrap(), None, "{text}");
        }
        for text in ["debian:", "debian:gcc", "debian:gcc-", "debian:clang-16"] {
            assert!(major(text).unwrap_err().hint.is_some(), "{text}");
        }
        for (line, expected) in [
            (
                "x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0",
                Some(14),
            ),
            ("gcc-10 (Debian 10.2.1-6) 10.2.1 20210110", Some(10)),
            ("gcc (GCC) 12.2.0", None),
            ("x (Debian 1) 1.0", None),
            ("Debian clang version 16.0.6 (15~deb12u1)", None),
            ("unknown", None),
        ] {
            assert_eq!(debian_gcc(line), expected, "{line}");
        }
    }

    #[test]
    fn packages_are_compared_with_what_compilers_print() {
        let line = "aarch64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0";
        for (version, expected) in [
            ("14.2.0-19", true),
            ("14.2.0-19cross1", true),
            ("14.2.0-1", false),
            ("14.2.0-19+deb13u1", false),
        ] {
            assert_eq!(is_of(version, line), expected, "{version}");
        }
        assert!(!is_of("14.2.0-19", ""));
    }

    #[test]
    fn compilers_are_wrapped_wherever_a_suite_has_their_parts() {
        let host = arch::host().unwrap();
        let foreign = arch::ARCHITECTURES.iter().find(|arch| *arch != host);
        for (arch, gcc, place) in [
            (host, "gcc-10", "lib/gcc"),
            (foreign.unwrap(), "gcc-14", "libexec/gcc-cross"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut tree = Tree::user_space(folder.path());
            let place = format!("usr/{place}/{}/{}", arch.triplet, &gcc[4..]);
            let own = [gcc, "as", "ld"].map(|name| format!("usr/bin/{}", arch.program(name)));
            for path in own.into_iter().chain([format!("{place}/cc1")]) {
                tree.file(Path::new(&path), 0o755, 0, 0, &mut &[][..])
                    .unwrap();
            }
            let goal = Path::new("/w/it's/tree");
            let error = wrap(&mut tree, goal, host, arch, gcc).unwrap_err();
            assert_eq!(error.to_string(), format!("{gcc} comes without collect2"));
            let script = |name: &str| {
                let path = folder.path().join(WRAPPERS).join(name);
                std::fs::read_to_string(path).unwrap()
            };
            let driver = script(&arch.program(gcc));
            let end = format!(
                "\"$root/usr/bin/{}\" -B\"${{0%/*}}/\" \
                '-ffile-prefix-map=/w/it'\\''s/tree=' \"$@\"\n",
                arch.program(gcc)
            );
            assert!(driver.ends_with(&end), "{driver}");
            assert!(script("cc1").ends_with(&format!("\"$root/{place}/cc1\" \"$@\"\n")));
            let assembler = format!("/bin/{}\" \"$@\"\n", arch.program("as"));
            assert!(script("as").ends_with(&assembler));
        }
    }
}
