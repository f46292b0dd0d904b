//! The environment of a command in the guest: an allow-list, because the guest
//! sees what is in it, tests print it, and logs of tests are published.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Variables that reach the guest.
const NAMES: &[&str] = &[
    "PATH", "HOME", "USER", "LOGNAME", "TERM", "TZ", "LANG", "NO_COLOR",
];

/// Parts of names that never reach the guest unless they are asked for by name.
/// `CARGO_REGISTRY_TOKEN` is why this is not left to the allow-list.
const SECRETS: &[&str] = &["TOKEN", "SECRET", "PASSWORD"];

/// Variables with a token for GitHub, the first one first. No program that we start
/// needs it.
pub const TOKENS: [&str; 2] = ["GITHUB_TOKEN", "GH_TOKEN"];

/// The allowed ones of `vars`, and `extra` above them; by name. `extra` is what the user or the
/// project asked for, so it is not filtered. As cargo's runner we let through what cargo sets for
/// a test as well.
pub fn guest_environment(
    vars: impl IntoIterator<Item = (OsString, OsString)>,
    extra: &[(OsString, OsString)],
    cargo: bool,
) -> Vec<(OsString, OsString)> {
    let usual =
        |name: &OsStr| NAMES.iter().any(|allowed| name == *allowed) || begins(name, &["LC_"]);
    let allowed = |name: &OsStr| (usual(name) || cargo && is_cargos(name)) && !is_secret(name);
    let mut chosen = std::collections::BTreeMap::new();
    chosen.extend(vars.into_iter().filter(|(name, _)| allowed(name)));
    chosen.extend(extra.iter().cloned());
    // Neither can be passed to a program: execve(2) takes NAME=VALUE strings.
    chosen.retain(|name, value| {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        !name.is_empty() && !name.contains(&b'=') && !name.contains(&0) && !value.contains(&0)
    });
    chosen.into_iter().collect()
}

fn begins(name: &OsStr, prefixes: &[&str]) -> bool {
    let name = name.as_bytes();
    (prefixes.iter()).any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// What cargo tells a test.
fn is_cargos(name: &OsStr) -> bool {
    name == "LD_LIBRARY_PATH" || begins(name, &["CARGO_", "RUST_"])
}

/// Whether cargo started us to run something of another package than this one (our own
/// `CARGO_MANIFEST_DIR`): as `target.<triple>.runner`. Cargo tells whatever it runs where
/// its package is (The Cargo Book, "Environment variables Cargo sets for crates").
pub fn is_cargo_runner(package: Option<&OsStr>, own: &OsStr) -> bool {
    package.is_some_and(|package| !package.is_empty() && package != own)
}

/// What a program that cargo runs finds through its environment, and what was built with
/// it, itself included: the target directory may be below `/tmp`, where a guest sees only what it
/// is given.
pub fn cargo_paths(program: &Path, environment: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let values = environment.iter().filter(|(name, _)| is_cargos(name));
    let mut paths = values
        .flat_map(|(_, value)| std::env::split_paths(value))
        .collect::<Vec<_>>();
    paths.push(program.to_owned());
    // `<target>/debug/deps/name-0123456789abcdef`: other programs are beside `deps`.
    let parent = program.parent().filter(|parent| {
        let name = parent.file_name();
        name.is_some_and(|name| name == "deps" || name == "examples")
    });
    paths.extend(parent.and_then(Path::parent).map(Path::to_owned));
    paths.retain(|path| path.is_absolute());
    paths
}

/// Whether a shell can hand a variable of that name on (POSIX.1-2024, 3.216 "Name"); the
/// guest's drops others without a word.
pub fn is_exportable(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    bytes.first().is_some_and(|first| !first.is_ascii_digit()) && bytes.iter().all(plain)
}

/// Whether a variable of that name is to be kept from whoever need not know it.
pub fn is_secret(name: &OsStr) -> bool {
    let upper = name.to_string_lossy().to_ascii_uppercase();
    SECRETS.iter().any(|part| upper.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    const HOST: &[(&str, &str)] = &[
        ("PATH", "/bin"),
        ("HOME", "/home/u"),
        ("LC_ALL", "C"),
        ("LC_TOKEN", "x"),
        ("GITHUB_TOKEN", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("EDITOR", "vi"),
        ("CARGO_PKG_NAME", "x"),
        ("CARGO_REGISTRY_TOKEN", "x"),
        ("cargo_registries_a_token", "x"),
        ("RUST_BACKTRACE", "1"),
        ("LD_LIBRARY_PATH", "/lib"),
        ("LD_PRELOAD", "/evil"),
        ("PATHS", "x"),
        ("PYTHONPATH", "/x"),
    ];

    #[test]
    fn only_the_listed_ones_reach_the_guest() {
        assert_eq!(
            guest_environment(pairs(HOST), &[], false),
            pairs(&[("HOME", "/home/u"), ("LC_ALL", "C"), ("PATH", "/bin")])
        );
    }

    #[test]
    fn cargo_adds_its_own_but_no_token() {
        assert_eq!(
            guest_environment(pairs(HOST), &[], true),
            pairs(&[
                ("CARGO_PKG_NAME", "x"),
                ("HOME", "/home/u"),
                ("LC_ALL", "C"),
                ("LD_LIBRARY_PATH", "/lib"),
                ("PATH", "/bin"),
                ("RUST_BACKTRACE", "1"),
            ])
        );
    }

    #[test]
    fn a_runner_is_told_of_another_package() {
        let own = OsStr::new("/vmtest/xtask");
        assert!(is_cargo_runner(Some(OsStr::new("/home/me/crate")), own));
        for package in [None, Some(own), Some(OsStr::new(""))] {
            assert!(!is_cargo_runner(package, own), "{package:?}");
        }
    }

    #[test]
    fn what_cargo_names_is_needed() {
        let environment = pairs(&[
            ("CARGO_MANIFEST_DIR", "/tmp/crate"),
            ("CARGO_PKG_NAME", "crate"),
            ("LD_LIBRARY_PATH", "/tmp/target/debug/deps:/rust/lib"),
            ("HOME", "/home/me"),
        ]);
        let program = |path: &str| cargo_paths(Path::new(path), &environment);
        let named = ["/tmp/crate", "/tmp/target/debug/deps", "/rust/lib"].map(PathBuf::from);
        let bare = program("/bin/true");
        assert_eq!(bare[..3], named);
        assert_eq!(bare[3..], [PathBuf::from("/bin/true")]);
        assert_eq!(program("true"), named);
        let built = program("/tmp/target/debug/deps/crate-01");
        assert_eq!(built[..3], named);
        let paths = ["/tmp/target/debug/deps/crate-01", "/tmp/target/debug"];
        assert_eq!(built[3..], paths.map(PathBuf::from));
    }

    #[test]
    fn what_is_asked_for_wins() {
        assert_eq!(
            guest_environment(
                pairs(HOST),
                &pairs(&[("HOME", "/tmp"), ("GITHUB_TOKEN", "asked")]),
                false
            ),
            pairs(&[
                ("GITHUB_TOKEN", "asked"),
                ("HOME", "/tmp"),
                ("LC_ALL", "C"),
                ("PATH", "/bin")
            ])
        );
    }

    #[test]
    fn names_are_those_of_shells() {
        for (name, fits) in [
            ("PATH", true),
            ("_1", true),
            ("a-b", false),
            ("1A", false),
            ("A B", false),
            ("", false),
            ("\u{e4}", false),
        ] {
            assert_eq!(is_exportable(OsStr::new(name)), fits, "{name}");
        }
    }

    #[test]
    fn what_no_program_can_be_given_is_left_out() {
        let odd = pairs(&[("", "x"), ("a=b", "x"), ("nul", "\0"), ("fine", "")]);
        assert_eq!(guest_environment([], &odd, false), pairs(&[("fine", "")]));
    }
}
