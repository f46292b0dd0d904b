//! Round trips, and what a hostile archive may try.

use std::fs::Permissions;
use std::io::{self, Cursor};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use tar::{EntryType, Header};
use zstd::zstd_safe::CParameter;

use super::compression::Compression;
use super::pack::{PARAMETERS, WINDOW_LOG, create_with};
use super::unpack::unpack_tar;
use super::*;

use crate::base::sha256::Sha256;

// `zstd -d` must not need options.
const LIMITS: UnpackLimits = UnpackLimits {
    bytes: 4 << 30,
    entries: 100_000,
};

const _: () = assert!(WINDOW_LOG <= 26);

/// A tar archive written header by header, because a builder refuses most of this.
#[derive(Default)]
struct RawTar(Vec<u8>);

impl RawTar {
    fn entry(self, kind: EntryType, path: &str, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o7777);
        header.set_mtime(1_000_000_000);
        header.set_uid(12_345);
        header.set_gid(12_345);
        header.set_size(data.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        self.header(header, data)
    }

    fn header(mut self, mut header: Header, data: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, "", data)
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        zstd::encode_all(&self.0[..], 1).unwrap()
    }
}

fn unpack(bytes: &[u8]) -> (tempfile::TempDir, Result<()>) {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("in");
    std::fs::create_dir(&inner).unwrap();
    let result = unpack_into(Cursor::new(bytes), &inner, &LIMITS);
    // Nothing may ever appear beside the directory.
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    (directory, result)
}

fn error(archive: Vec<u8>) -> String {
    format!("{:#}", unpack(&archive).1.unwrap_err())
}

fn sample() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir_all(root.join("b/empty")).unwrap();
    std::fs::write(root.join("b.c"), "sorted behind b/").unwrap();
    std::fs::write(root.join("b/script"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(root.join("b/script"), Permissions::from_mode(0o700)).unwrap();
    std::fs::write(root.join("a"), "secret").unwrap();
    std::fs::set_permissions(root.join("a"), Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("../a", root.join("b/link")).unwrap();
    let long = root.join("long".repeat(20)).join("name".repeat(50));
    std::fs::create_dir(long.parent().unwrap()).unwrap();
    std::fs::write(&long, "long").unwrap();
    directory
}

fn packed(directory: &Path, workers: u32) -> (Vec<u8>, String) {
    let mut bytes = Vec::new();
    let sha256 = create(directory, &mut bytes, workers).unwrap();
    (bytes, sha256)
}

#[test]
fn a_tree_survives_and_is_normalised() {
    let sample = sample();
    let (bytes, sha256) = packed(sample.path(), 1);
    assert_eq!(sha256, Sha256::of(&bytes));
    let (out, result) = unpack(&bytes);
    result.unwrap();
    let root = out.path().join("in");
    assert_eq!(std::fs::read(root.join("a")).unwrap(), b"secret");
    let long = root.join("long".repeat(20)).join("name".repeat(50));
    assert_eq!(std::fs::read(long).unwrap(), b"long");
    assert!(root.join("b/empty").is_dir());
    assert_eq!(root.join("b/link").read_link().unwrap(), Path::new("../a"));
    for (path, mode) in [
        ("a", 0o100_644),
        ("b", 0o40_755),
        ("b/script", 0o100_755),
        ("b.c", 0o100_644),
    ] {
        let metadata = root.join(path).metadata().unwrap();
        assert_eq!(metadata.mode(), mode, "{path}");
    }
    let time = root.join("a").metadata().unwrap().mtime();
    assert_eq!(time, i64::try_from(PACKAGE_TIME).unwrap());
    // What was unpacked packs to the same bytes.
    assert_eq!(packed(&root, 2).1, sha256);
}

#[test]
fn entries_are_sorted_and_anonymous() {
    let sample = sample();
    let bytes = zstd::decode_all(&packed(sample.path(), 1).0[..]).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut paths = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.username().unwrap(), Some("root"));
        assert_eq!(header.mtime().unwrap(), PACKAGE_TIME);
        paths.push(entry.path().unwrap().into_owned());
    }
    let expected = ["a", "b", "b/empty", "b/link", "b/script", "b.c"].map(PathBuf::from);
    assert_eq!(paths[..6], expected);
    assert_eq!(paths.len(), 8);
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_workers() {
    let directory = tempfile::tempdir().unwrap();
    // As for packages, but with several jobs in little data.
    let smaller = [
        CParameter::ChainLog(18),
        CParameter::HashLog(18),
        CParameter::LdmHashLog(18),
        CParameter::JobSize(1 << 20),
    ];
    let parameters = [PARAMETERS, &smaller].concat();
    // Matches within jobs and between them, and what matches nothing.
    let mut state = 1_u32;
    let mut data = Vec::new();
    while data.len() < (4 << 20) + 12_345 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        data.extend_from_slice(&(state >> 16).to_le_bytes());
        data.extend_from_slice(b"the same words between the others ");
        if state >> 24 == 0 && data.len() > 2 << 20 {
            data.extend_from_within(1000..60_000);
        }
    }
    std::fs::write(directory.path().join("data"), &data).unwrap();
    let packed = |workers| {
        let mut bytes = Vec::new();
        create_with(&parameters, directory.path(), &mut bytes, workers).unwrap();
        bytes
    };
    let one = packed(1);
    for workers in [0, 2, 3] {
        assert!(packed(workers) == one, "{workers} workers");
    }
    let (_out, result) = unpack(&one);
    result.unwrap();
}

#[test]
fn links_and_special_files_are_not_packed() {
    for target in ["/etc/passwd", "../outside"] {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(target, directory.path().join("x")).unwrap();
        let error = create(directory.path(), io::sink(), 1).unwrap_err();
        assert!(format!("{error:#}").contains("link out of the tree"));
    }
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let error = create(directory.path(), io::sink(), 1).unwrap_err();
    assert!(format!("{error:#}").contains("neither a file"));
}

#[test]
fn hostile_entries_are_refused() {
    let file = |path: &str| RawTar::default().file(path, b"x").end();
    let long = "x".repeat(300);
    let pax = |record: &[u8]| {
        RawTar::default()
            .entry(EntryType::XHeader, "pax", "", record)
            .file("x", b"x")
            .end()
    };
    let special = |kind| RawTar::default().entry(kind, "x", "", b"").end();
    for (what, archive, expected) in [
        ("absolute", file("/etc/x"), "absolute path"),
        ("above", file("../x"), "path with .."),
        ("above, hidden", file("a/../../x"), "path with .."),
        ("control", file("a\nb"), "control characters"),
        ("root as file", file("./"), "no name"),
        ("empty name", file(""), "no name"),
        (
            "twice",
            RawTar::default().file("x", b"1").file("./x", b"2").end(),
            "there twice",
        ),
        (
            "twice, a link first",
            RawTar::default().link("x", "y").file("x", b"2").end(),
            "there twice",
        ),
        (
            "below a file",
            RawTar::default().file("x", b"1").file("x/y", b"2").end(),
            "not a directory",
        ),
        (
            "below a link",
            RawTar::default()
                .entry(EntryType::Directory, "d", "", b"")
                .link("x", "d")
                .file("x/y", b"2")
                .end(),
            "not a directory",
        ),
        (
            "absolute link",
            RawTar::default().link("x", "/etc").end(),
            "link out of the tree",
        ),
        (
            "link above",
            RawTar::default().link("a/x", "../../etc").end(),
            "link out of the tree",
        ),
        (
            "link above by another link",
            RawTar::default()
                .link("a/b/l", "../..")
                .link("x", "a/b/l/../../etc")
                .end(),
            "link out of the tree",
        ),
        (
            "link to nothing",
            RawTar::default().link("x", "").end(),
            "a link",
        ),
        (
            "hard link out",
            RawTar::default()
                .entry(EntryType::Link, "x", "/etc/passwd", b"")
                .end(),
            "absolute path",
        ),
        (
            "hard link to a link",
            RawTar::default()
                .link("l", "y")
                .entry(EntryType::Link, "x", "l", b"")
                .end(),
            "no file of the archive",
        ),
        ("character device", special(EntryType::Char), "a device"),
        ("block device", special(EntryType::Block), "a device"),
        ("pipe", special(EntryType::Fifo), "a named pipe"),
        ("sparse", special(EntryType::GNUSparse), "a sparse file"),
        ("odd type", special(EntryType::new(b'Z')), "unknown type"),
        (
            "long component",
            RawTar::default()
                .entry(EntryType::GNULongName, "l", "", long.as_bytes())
                .file("x", b"")
                .end(),
            "a name of 300 bytes",
        ),
        (
            "long name that goes up",
            RawTar::default()
                .entry(EntryType::GNULongName, "l", "", b"../../x\0")
                .file("x", b"")
                .end(),
            "path with ..",
        ),
        (
            "huge name",
            RawTar::default()
                .entry(EntryType::GNULongName, "l", "", &vec![b'a'; 1 << 20])
                .file("x", b"")
                .end(),
            "a name of 1048576 bytes",
        ),
        ("pax path", pax(b"16 path=../../x\n"), "path with .."),
        ("pax size", pax(b"11 size=99\n"), "a file of 8 GiB"),
        (
            "pax sparse",
            pax(b"22 GNU.sparse.major=1\n"),
            "a sparse file",
        ),
    ] {
        let error = error(archive);
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn damage_is_an_error() {
    let good = RawTar::default().file("x", &[7; 3000]).end();
    unpack(&good).1.unwrap();
    for cut in [0, 1, good.len() / 2, good.len() - 1] {
        assert!(unpack(&good[..cut]).1.is_err(), "cut at {cut}");
    }
    let mut wrong = good.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 0x55;
    assert!(unpack(&wrong).1.is_err());
    // Cut between entries, but the compressed stream is whole.
    let unfinished = RawTar::default().file("x", b"x").0;
    let unfinished = zstd::encode_all(&unfinished[..], 1).unwrap();
    assert!(error(unfinished).contains("ends too early"));
    let inside = &RawTar::default().file("x", &[7; 3000]).0[..1024];
    let inside = zstd::encode_all(inside, 1).unwrap();
    assert!(error(inside).contains("ends too early"));
    assert!(!error(b"this is not zstd".to_vec()).is_empty());
    // A header whose checksum is wrong.
    let mut header = RawTar::default().file("x", b"x");
    header.0[0] = b'y';
    assert!(error(header.end()).contains("checksum"));
}

#[test]
fn no_flipped_bit_changes_anything_and_no_cut_gets_through() {
    // With zstd's checksum, as `create` and zstd(1) write it.
    let sample = sample();
    let (good, _) = packed(sample.path(), 1);
    unpack(&good).1.unwrap();
    let step = (good.len() / 50).max(1);
    for at in (0..good.len()).step_by(step) {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        let (directory, result) = unpack(&flipped);
        // A few bits of a frame mean nothing; then it is the same tree.
        if result.is_ok() {
            let (again, _) = packed(&directory.path().join("in"), 1);
            assert!(again == good, "byte {at} of {}", good.len());
        }
        assert!(unpack(&good[..at]).1.is_err(), "cut at {at}");
    }
}

#[test]
fn bombs_go_off_outside() {
    let zeros = RawTar::default().file("x", &vec![0; 2 << 20]).end();
    assert!(zeros.len() < 10_000);
    let limited = |archive: &[u8], limits: UnpackLimits| {
        let directory = tempfile::tempdir().unwrap();
        let error = unpack_into(Cursor::new(archive), directory.path(), &limits).unwrap_err();
        format!("{error:#}")
    };
    let bytes = UnpackLimits {
        bytes: 1 << 20,
        ..LIMITS
    };
    // Nothing is damaged.
    let text = limited(&zeros, bytes.clone());
    assert!(
        text.ends_with("more than 1048576 bytes after decompression"),
        "{text}"
    );
    assert!(!text.contains("damaged"), "{text}");
    let mut many = RawTar::default();
    for index in 0..20 {
        many = many.file(&index.to_string(), b"");
    }
    let entries = UnpackLimits {
        entries: 10,
        ..LIMITS
    };
    assert!(limited(&many.end(), entries).contains("more than 10 entries"));
    // After the end of the archive, too.
    let mut trailing = RawTar::default().file("x", b"x").0;
    trailing.resize(4 << 20, 0);
    let trailing = zstd::encode_all(&trailing[..], 1).unwrap();
    assert!(limited(&trailing, bytes).contains("more than 1048576 bytes"));
    // A header that promises more than there is makes nothing of that size.
    let mut header = Header::new_gnu();
    header.set_size(1 << 40);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_path("x").unwrap();
    let promise = RawTar::default().header(header, b"x").end();
    assert!(error(promise).contains("ends too early"));
}

#[test]
fn permissions_and_owners_of_an_archive_do_not_count() {
    let archive = RawTar::default()
        .entry(EntryType::Directory, "./", "", b"")
        .file("d/f", b"x")
        .entry(EntryType::Directory, "d", "", b"")
        .entry(EntryType::Link, "h", "d/f", b"")
        .link("d/l", "../h")
        .end();
    let (out, result) = unpack(&archive);
    result.unwrap();
    let root = out.path().join("in");
    let file = root.join("d/f").metadata().unwrap();
    assert_eq!(file.mode(), 0o100_755);
    assert_eq!(file.mtime(), 1_000_000_000);
    assert_eq!(file.uid(), out.path().metadata().unwrap().uid());
    assert_eq!(root.join("d").metadata().unwrap().mode(), 0o40_755);
    assert_eq!(root.join("h").metadata().unwrap().ino(), file.ino());
    assert_eq!(std::fs::read(root.join("d/l")).unwrap(), b"x");
}

#[test]
fn one_file_is_read_without_unpacking() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("build/manifest.json", "another");
    write("manifest.json", "this");
    write("vmlinuz", "image");
    let mut bytes = Vec::new();
    create(directory.path(), &mut bytes, 1).unwrap();
    let read = |bytes: &[u8], path| read_file(Compression::Zstd, bytes, path, 10);
    assert_eq!(read(&bytes, "manifest.json").unwrap().unwrap(), b"this");
    assert_eq!(read(&bytes, "absent").unwrap(), None);
    assert!(read_file(Compression::Zstd, &bytes[..], "vmlinuz", 4).is_err());
    assert!(read(&bytes[..bytes.len() / 2], "vmlinuz").is_err());
    assert!(read(b"no archive", "vmlinuz").is_err());
}

/// Unpacks what is below `wanted/` from a tar stream, to `at/`.
fn unpack_wanted(tree: &mut Tree, tar: &[u8]) -> Result<()> {
    let choose = |path: &Path| {
        let below = path.strip_prefix("wanted").ok()?;
        Some(Path::new("at").join(below))
    };
    unpack_tar(tar, Compression::None, tree, &LIMITS, Some(&choose))
}

fn plain(raw: RawTar) -> Vec<u8> {
    zstd::decode_all(&raw.end()[..]).unwrap()
}

#[test]
fn what_is_not_wanted_does_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("in");
    std::fs::create_dir(&root).unwrap();
    let mut tree = Tree::new(&root);
    let archive = RawTar::default()
        .entry(EntryType::Directory, "./", "", b"")
        .entry(EntryType::Char, "./dev", "", b"")
        .link("./etc", "/etc")
        .link("./etc", "/twice")
        .file("./etc/passwd", &[1; 3000])
        .entry(EntryType::Directory, "./wanted", "", b"")
        .file("./wanted/file", b"1")
        .entry(EntryType::Link, "./wanted/again", "./wanted/file", b"")
        .link("./wanted/out", "/usr/src/linux")
        .link("./wanted/inside", "file");
    unpack_wanted(&mut tree, &plain(archive)).unwrap();
    // Another archive with the same directory.
    let archive = RawTar::default()
        .entry(EntryType::Directory, "wanted", "", b"")
        .file("wanted/other", b"2");
    unpack_wanted(&mut tree, &plain(archive)).unwrap();
    let names = |path: &Path| {
        let entries = path.read_dir().unwrap().map(|entry| entry.unwrap());
        let mut names = entries.map(|entry| entry.file_name()).collect::<Vec<_>>();
        names.sort();
        names
    };
    assert_eq!(names(&root), ["at"]);
    assert_eq!(
        names(&root.join("at")),
        ["again", "file", "inside", "other"]
    );
    assert_eq!(std::fs::read(root.join("at/other")).unwrap(), b"2");

    for (archive, expected) in [
        (RawTar::default().file("wanted/file", b"3"), "there twice"),
        (RawTar::default().link("wanted/file", "x"), "there twice"),
        (
            RawTar::default().file("wanted/inside/x", b""),
            "not a directory",
        ),
        (
            RawTar::default().entry(EntryType::Link, "wanted/h", "etc/x", b""),
            "a hard link to what is not unpacked",
        ),
        (
            RawTar::default().entry(EntryType::Char, "wanted/c", "", b""),
            "a device",
        ),
        (RawTar::default().file("../x", b""), "path with .."),
        (RawTar::default().file("/x", b""), "absolute path"),
    ] {
        let error = unpack_wanted(&mut tree, &plain(archive)).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(names(directory.path()), ["in"]);
}

#[test]
fn links_of_a_user_space_lead_to_what_a_guest_finds_there() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("in");
    std::fs::create_dir(&root).unwrap();
    let mut tree = Tree::user_space(&root);
    let links = [
        (
            "usr/bin/awk",
            "/etc/alternatives/awk",
            "../../etc/alternatives/awk",
        ),
        ("usr/lib/a/libz.so", "../../../../lib/x", "../../../lib/x"),
        ("usr/lib/a/b", "../a/../../share/b", "../../../usr/share/b"),
        ("usr/lib/a/c", "../c", "../c"),
        ("top", "/", "."),
        ("var/run", "/", ".."),
        ("out", "../../etc/passwd", "etc/passwd"),
    ];
    let everything = |path: &Path| Some(path.to_owned());
    let unpack = |tree: &mut Tree, archive: RawTar| {
        let tar = plain(archive);
        unpack_tar(
            &tar[..],
            Compression::None,
            tree,
            &LIMITS,
            Some(&everything),
        )
    };
    let archive = links
        .iter()
        .fold(RawTar::default(), |archive, (path, target, _)| {
            archive.link(path, target)
        });
    // Of two folders that are one in the userspace.
    let archive = archive
        .entry(EntryType::Directory, "usr/lib/", "", b"")
        .entry(EntryType::Directory, "usr/lib/", "", b"")
        .link("usr/bin/which", "/usr/bin/which")
        .file("usr/bin/which", b"1");
    unpack(&mut tree, archive).unwrap();
    for (path, _, expected) in links {
        let target = root.join(path).read_link().unwrap();
        assert_eq!(target, Path::new(expected), "{path}");
        assert!(link_stays_inside(Path::new(path), &target), "{path}");
    }
    assert!(root.join("usr/bin/which").is_file());
    assert!(tree.has(Path::new("usr/lib")) && !tree.has(Path::new("etc")));
    let read = |tree: &Tree, path: &str| tree.read(Path::new(path), 10).unwrap();
    assert_eq!(read(&tree, "usr/bin/which").as_deref(), Some(&b"1"[..]));
    assert_eq!(read(&tree, "out"), None);
    // Nothing is written through a link, wherever it leads.
    for path in ["top/x", "out", "var/run/x"] {
        unpack(&mut tree, RawTar::default().file(path, b"2")).unwrap_err();
    }
    assert!(!root.join("x").exists());
}
