//! What a userspace of Debian's packages is made of besides them, as
//! `vmtest-assets/roots/debian.txt` says: packages that all have, what is not unpacked, and what
//! their maintainer scripts, which are not run, would make.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::Tree;
use crate::base::{embedded::DEBIAN_ROOT, input};

/// Links to folders of the same name below `usr`: deb packages may have files below either name,
/// and programs expect both (<https://wiki.debian.org/UsrMerge>).
const MERGED: [&str; 7] = ["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];

/// The words of the lines that begin with one.
fn rows(kind: &str) -> impl Iterator<Item = std::str::SplitWhitespace<'static>> {
    DEBIAN_ROOT.lines().filter_map(move |line| {
        let mut words = line.split_whitespace();
        (words.next()? == kind).then_some(words)
    })
}

/// The packages that every userspace has; those whose names end in `?` if its architecture has
/// them.
pub fn packages() -> impl Iterator<Item = &'static str> {
    let lines = DEBIAN_ROOT.lines();
    lines
        .filter_map(|line| Some(line.split_once(" | ")?.0.trim_end()))
        .filter(|name| !name.starts_with('#'))
}

/// Where a file of a package goes; `None` for one that is left out.
pub fn place(path: &Path) -> Option<PathBuf> {
    let first = path.iter().next()?;
    let merged = MERGED.iter().any(|name| first == *name);
    let place = match merged {
        // The folder itself becomes a link.
        true if path == Path::new(first) => return None,
        true => Path::new("usr").join(path),
        false => path.to_owned(),
    };
    let skipped = rows("@skip")
        .flatten()
        .any(|folder| place.starts_with(folder));
    (!skipped).then_some(place)
}

/// Makes the links from `/` to what is below `usr`.
pub fn merge(tree: &mut Tree) -> Result<()> {
    for name in MERGED {
        let goal = Path::new("usr").join(name);
        if tree.has(&goal) {
            tree.symlink(Path::new(name), &goal)?;
        }
    }
    Ok(())
}

/// Makes what is missing in an unpacked userspace.
pub fn finish(tree: &mut Tree) -> Result<()> {
    merge(tree)?;
    for mut words in rows("@copy") {
        let (from, to) = (
            words.next().context("no file")?,
            words.next().context("no copy")?,
        );
        if let Some(bytes) = tree.read(Path::new(from), input::SMALL)? {
            add_file(tree, to, &bytes)?;
        }
    }
    for mut words in rows("@link") {
        let path = Path::new(words.next().context("no link")?);
        let above = path.parent().unwrap_or(Path::new(""));
        // What a kernel makes is not there yet.
        let is_there = |goal: &&str| goal.starts_with("..") || tree.has(&above.join(goal));
        if let Some(goal) = words.find(is_there)
            && !tree.has(path)
        {
            tree.symlink(path, Path::new(goal))?;
        }
    }
    for folder in rows("@folder").flatten().map(Path::new) {
        if !tree.has(folder) {
            tree.directory(folder)?;
        }
    }
    for mut words in rows("@line") {
        let path = words.next().context("no file")?;
        let line = words.collect::<Vec<_>>().join(" ") + "\n";
        add_file(tree, path, line.as_bytes())?;
    }
    Ok(())
}

fn add_file(tree: &mut Tree, path: &str, mut bytes: &[u8]) -> Result<()> {
    let path = Path::new(path);
    if tree.has(path) {
        return Ok(());
    }
    let size = bytes.len() as u64;
    tree.file(path, 0o644, 0, size, &mut bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{UnpackLimits, deb, deb::Deb};

    #[test]
    fn the_recipe_is_whole() {
        let packages = packages().collect::<Vec<_>>();
        assert!(packages.is_sorted(), "{packages:?}");
        assert!(packages.len() > 20, "{packages:?}");
        for name in &packages {
            let known = |byte: u8| byte.is_ascii_lowercase() || b"0123456789+-.?".contains(&byte);
            assert!(name.bytes().all(known), "{name}");
        }
        let lines = DEBIAN_ROOT.lines();
        for line in lines.filter(|line| line.starts_with('@')) {
            let (kind, rest) = line.split_once(' ').unwrap();
            let least = match kind {
                "@skip" | "@folder" => 1,
                "@copy" | "@link" | "@line" => 2,
                _ => panic!("{line}"),
            };
            assert!(rest.split(' ').count() >= least, "{line}");
            assert!(!rest.starts_with('/'), "{line}");
        }
    }

    #[test]
    fn files_have_their_place() {
        for (path, expected) in [
            ("bin/sh", Some("usr/bin/sh")),
            ("usr/bin/env", Some("usr/bin/env")),
            ("lib64/ld64.so.2", Some("usr/lib64/ld64.so.2")),
            ("lib", None),
            ("library/x", Some("library/x")),
            ("usr/share/doc/bash/README", None),
            ("usr/share/docs", Some("usr/share/docs")),
            ("etc/passwd", Some("etc/passwd")),
        ] {
            assert_eq!(place(Path::new(path)).as_deref(), expected.map(Path::new));
        }
    }

    #[test]
    fn what_maintainer_scripts_would_make_is_there() {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().join("tree");
        std::fs::create_dir(&root).unwrap();
        let mut tree = Tree::user_space(&root);
        let control = "Package: base-passwd\nVersion: 1\nArchitecture: all";
        let files: [(&str, &[u8]); 6] = [
            ("./bin/mawk", b"m"),
            ("./lib -> usr/lib", b""),
            ("./lib/x", b"x"),
            ("./etc/hosts", b"own"),
            ("./usr/share/base-passwd/passwd.master", b"root"),
            ("./usr/share/man/man1/mawk.1", b"x"),
        ];
        let package = work.path().join("x.deb");
        std::fs::write(&package, deb::tests::package(control, &files)).unwrap();
        let mut deb = Deb::open(std::fs::File::open(&package).unwrap()).unwrap();
        deb.unpack(&mut tree, &UnpackLimits::of(1 << 20), &place)
            .unwrap();
        finish(&mut tree).unwrap();
        let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(text("usr/bin/awk"), "m");
        assert_eq!(text("bin/awk"), "m");
        assert_eq!(text("lib/x"), "x");
        assert_eq!(text("etc/passwd"), "root");
        assert_eq!(text("etc/hosts"), "own");
        assert_eq!(text("etc/hostname"), "vmtest\n");
        assert_eq!(
            root.join("etc/mtab").read_link().unwrap(),
            Path::new("../proc/self/mounts")
        );
        for folder in ["dev", "proc", "run", "sys", "tmp"] {
            assert!(root.join(folder).is_dir(), "{folder}");
        }
        for absent in ["sbin", "usr/share/man", "usr/bin/sh", "etc/group"] {
            assert!(root.join(absent).symlink_metadata().is_err(), "{absent}");
        }
    }
}
