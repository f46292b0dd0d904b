//! Packages made here, and what a hostile one may try.

use std::path::{Path, PathBuf};

use super::*;
use crate::archive::compression::tests::{gzip, xz};

/// A tar archive in the form that dpkg-deb writes: names begin with `./`.
pub(crate) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, contents) in entries {
        let mut header = tar::Header::new_gnu();
        // `link -> target` is a symbolic link, as ls(1) shows it; a directory ends in /.
        let (path, target) = path.split_once(" -> ").unwrap_or((path, ""));
        header.set_mode(0o644);
        header.set_size(contents.len() as u64);
        header.set_mtime(1_000_000_000);
        let name = header.as_gnu_mut().unwrap();
        name.name[..path.len()].copy_from_slice(path.as_bytes());
        name.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(match (target, path.ends_with('/')) {
            ("", false) => tar::EntryType::Regular,
            ("", true) => tar::EntryType::Directory,
            _ => tar::EntryType::Symlink,
        });
        header.set_cksum();
        builder.append(&header, *contents).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An ar archive.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (name, contents) in members {
        let size = contents.len();
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
            0, 0, 0, 100_644
        );
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(contents);
        if !size.is_multiple_of(2) {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// A package with that control file (without its end of line) and those files.
pub(crate) fn package(control: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let control = format!("{control}\n");
    let control = tar(&[("./", b""), ("./control", control.as_bytes())]);
    let data = zstd::encode_all(&tar(files)[..], 1).unwrap();
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control),
        ("data.tar.zst", &data),
    ])
}

const CONTROL: &str = "Package: linux-image-6.1.0-56-amd64\n\
    Source: linux\n\
    Version: 6.1.160-1\n\
    Architecture: amd64\n\
    Depends: kmod,\n linux-base (>= 4.3~),\n initramfs-tools (>= 0.120) | linux-initramfs-tool\n\
    Description: Linux\n for PCs: 64 bits\n";

fn open(bytes: &[u8]) -> Result<Deb> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    std::fs::write(&path, bytes).unwrap();
    Deb::open(File::open(path).unwrap())
}

/// The names of all files and links in a package.
fn unpack(bytes: &[u8]) -> Result<Vec<PathBuf>> {
    let mut deb = open(bytes)?;
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("in");
    std::fs::create_dir(&root).unwrap();
    let limits = UnpackLimits {
        bytes: 1 << 20,
        entries: 100,
    };
    let everything = |path: &Path| Some(path.to_owned());
    let result = deb.unpack(&mut Tree::new(&root), &limits, &everything);
    assert_eq!(outer.path().read_dir().unwrap().count(), 1);
    result?;
    let mut names = root
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path().file_name().unwrap().into())
        .collect::<Vec<PathBuf>>();
    names.sort();
    Ok(names)
}

fn error(bytes: &[u8]) -> String {
    format!("{:#}", unpack(bytes).unwrap_err())
}

#[test]
fn fields_are_read_with_their_continuations() {
    let control = parse_control(CONTROL).unwrap();
    assert_eq!(control.name, "linux-image-6.1.0-56-amd64");
    assert_eq!(control.version, "6.1.160-1");
    assert_eq!(control.architecture, "amd64");
    let names = ["kmod", "linux-base", "initramfs-tools"];
    assert_eq!(control.dependencies, names);
    assert_eq!(parse_control("Package: a\nVersion: 1\n"), None);
    assert_eq!(
        parse_control("Package:\nVersion: 1\nArchitecture: all\n"),
        None
    );
    assert_eq!(parse_control(""), None);
    let none = parse_control("package: a\nversion: 1\narchitecture: all\n").unwrap();
    assert_eq!(none.dependencies.len(), 0);
}

#[test]
fn packages_are_read_however_they_are_compressed() {
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let control = tar(&[("./md5sums", b"x"), ("./control", CONTROL.as_bytes())]);
    let data = tar(&[("./", b""), ("./a", b"12345"), ("./b -> a", b"")]);
    type Pack<'p> = (&'p str, &'p dyn Fn(&[u8]) -> Vec<u8>);
    let ways: [Pack; 4] = [
        ("", &|bytes| bytes.to_vec()),
        (".gz", &gzip),
        (".xz", &xz),
        (".zst", &zstd),
    ];
    for (end, pack) in ways {
        let (control, data) = (pack(&control), pack(&data));
        let bytes = ar(&[
            ("debian-binary", b"2.0\n"),
            ("_ignored", b"odd"),
            (&format!("control.tar{end}/"), &control),
            (&format!("data.tar{end}"), &data),
            ("_more", b""),
        ]);
        let deb = open(&bytes).unwrap();
        assert_eq!(deb.info.version, "6.1.160-1", "{end}");
        assert_eq!(
            unpack(&bytes).unwrap(),
            ["a", "b"].map(PathBuf::from),
            "{end}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_package_is_said() {
    type Member<'m> = (&'m str, &'m [u8]);
    let binary: Member = ("debian-binary", b"2.0\n");
    let control = tar(&[("./control", CONTROL.as_bytes())]);
    let control: Member = ("control.tar", &control);
    let data: Member = ("data.tar", &[0; 1024]);
    let other = tar(&[("./control", b"Package: x\n")]);
    let zeros = zstd::encode_all(&vec![0; 70 << 20][..], 1).unwrap();
    for (members, expected) in [
        (&[control, data][..], "does not begin with debian-binary"),
        (
            &[("debian-binary", b"3.0\n"), control, data],
            "\"3.0\" is not 2.0",
        ),
        (&[binary, data], "it has no control.tar"),
        (&[binary, control], "ends too early"),
        (
            &[binary, control, ("data.tar.lzma", b"")],
            "data.tar.lzma is compressed",
        ),
        (
            &[binary, control, ("data.tar.bz2", b"")],
            "only gzip, xz and zstd",
        ),
        (
            &[binary, ("control.tar", &[0; 1024]), data],
            "holds no control",
        ),
        (&[binary, ("control.tar", &other), data], "names no package"),
        (
            &[binary, ("control.tar.gz", b"x"), data],
            "cannot read its control.tar.gz",
        ),
        (
            &[binary, ("control.tar.zst", &zeros), data],
            "holds no control",
        ),
        (&[binary; 20], "too many members"),
    ] {
        let error = error(&ar(members));
        assert!(error.contains(expected), "{error}");
    }
    let with = |files: &[(&str, &[u8])]| package(CONTROL, files);
    for (bytes, expected) in [
        (with(&[("../x", b"")]), "path with .."),
        (with(&[("/x", b"")]), "absolute path"),
        (
            with(&[("./x", &vec![0; 2 << 20])]),
            "more than 1048576 bytes",
        ),
        (
            with(&[("./a -> b", b""), ("./a/x", b"")]),
            "not a directory",
        ),
    ] {
        let error = error(&bytes);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn sizes_of_members_are_not_trusted() {
    let good = package(CONTROL, &[("./a", b"1")]);
    assert_eq!(unpack(&good).unwrap().len(), 1);
    // The size of the first member, at 48 to 57 of its header.
    let at = MAGIC.len() + 48;
    for size in [
        "-1        ",
        "+4        ",
        "9999999999",
        "1e3       ",
        "          ",
        "0x4       ",
        "\0\0\0\0\0\0\0\0\0\0",
    ] {
        let mut bad = good.clone();
        bad[at..at + 10].copy_from_slice(size.as_bytes());
        assert!(error(&bad).contains("damaged"), "{size:?}");
    }
}

#[test]
fn no_cut_gets_through_and_no_flipped_bit_panics() {
    let good = package(CONTROL, &[("./", b""), ("./a", &[7; 3000])]);
    let step = (good.len() / 50).max(1);
    for at in (0..good.len() - 1).step_by(step) {
        assert!(unpack(&good[..at]).is_err(), "cut at {at}");
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        // Without a checksum not every change can be seen.
        if let Ok(names) = unpack(&flipped) {
            assert!(names.len() <= 1, "{names:?}");
        }
    }
}
