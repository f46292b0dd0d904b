//! Packages made here, and what a hostile one may try.

use super::*;
use crate::archive::compression::tests::{gzip, xz};

/// A value of a header.
#[derive(Clone)]
pub(crate) enum TagValue {
    Text(String),
    Texts(Vec<String>),
    /// With two, four or eight bytes.
    Numbers(usize, Vec<u64>),
}

/// A header with those tags.
fn header(values: &[(u32, TagValue)]) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for (tag, value) in values {
        let (kind, count) = match value {
            TagValue::Text(_) => (6, 1),
            TagValue::Texts(texts) => (8, texts.len()),
            TagValue::Numbers(width, numbers) => (width.trailing_zeros() + 2, numbers.len()),
        };
        for number in [*tag, kind, store.len() as u32, count as u32] {
            index.extend(number.to_be_bytes());
        }
        match value {
            TagValue::Text(text) => store.extend(format!("{text}\0").into_bytes()),
            TagValue::Texts(texts) => {
                store.extend(
                    texts
                        .iter()
                        .flat_map(|text| format!("{text}\0").into_bytes()),
                );
            }
            TagValue::Numbers(width, numbers) => {
                for number in numbers {
                    store.extend(&number.to_be_bytes()[8 - width..]);
                }
            }
        }
    }
    let mut bytes = HEADER_MAGIC.to_vec();
    bytes.extend([0; 4]);
    bytes.extend((values.len() as u32).to_be_bytes());
    bytes.extend((store.len() as u32).to_be_bytes());
    [bytes, index, store].concat()
}

/// Lead, signatures and header in front of a payload.
fn frame(values: &[(u32, TagValue)], payload: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.resize(96, 0);
    // 16 + 16 + 5 bytes, so that there is padding.
    bytes.extend(header(&[(1000, TagValue::Text("sign".to_owned()))]));
    bytes.resize(96 + 40, 0);
    bytes.extend(header(values));
    bytes.extend(payload);
    bytes
}

fn identity(name: &str, architecture: &str) -> Vec<(u32, TagValue)> {
    let text = |text: &str| TagValue::Text(text.to_owned());
    vec![
        (1000, text(name)),
        (1001, text("6.15.3")),
        (1002, text("200.fc42")),
        (1022, text(architecture)),
        (
            1049,
            TagValue::Texts(vec!["kernel-core-uname-r".to_owned(), "/bin/sh".to_owned()]),
        ),
        (1124, text("cpio")),
        (1125, text("zstd")),
    ]
}

/// A cpio archive of those files, `link -> target` being a link.
fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, (name, contents)) in files.iter().enumerate() {
        let (name, target) = name.split_once(" -> ").unwrap_or((name, ""));
        let (mode, contents) = match (target, name.ends_with('/')) {
            ("", false) => (0o100_644, *contents),
            ("", true) => (0o040_755, &b""[..]),
            _ => (0o120_777, target.as_bytes()),
        };
        bytes.extend(entry(index as u32, mode, 1, name, contents));
    }
    bytes.extend(entry(0, 0, 1, cpio::TRAILER, b""));
    bytes
}

fn entry(inode: u32, mode: u32, links: u32, name: &str, contents: &[u8]) -> Vec<u8> {
    let mut bytes = b"070701".to_vec();
    let (size, length) = (contents.len() as u32, name.len() as u32 + 1);
    for number in [inode, mode, 0, 0, links, 1, size, 0, 0, 0, 0, length, 0] {
        bytes.extend(format!("{number:08x}").into_bytes());
    }
    bytes.extend(format!("{name}\0").into_bytes());
    padded(&mut bytes);
    bytes.extend(contents);
    padded(&mut bytes);
    bytes
}

fn padded(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A package of that name and architecture with those files.
pub(crate) fn package(name: &str, architecture: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let payload = zstd::encode_all(&cpio(files)[..], 1).unwrap();
    frame(&identity(name, architecture), &payload)
}

fn open(bytes: &[u8]) -> Result<Rpm> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    std::fs::write(&path, bytes).unwrap();
    Rpm::open(File::open(path).unwrap())
}

/// The names and contents of all files and links in a package's top directory.
fn unpack(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let mut rpm = open(bytes)?;
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("in");
    std::fs::create_dir(&root).unwrap();
    let limits = UnpackLimits {
        bytes: 1 << 20,
        entries: 100,
    };
    let wanted = |path: &Path| Some(path.strip_prefix("top").ok()?.to_owned());
    let result = rpm.unpack(&mut Tree::new(&root), &limits, &wanted);
    assert_eq!(outer.path().read_dir().unwrap().count(), 1);
    result?;
    let mut found = Vec::new();
    for entry in root.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = lossy(path.file_name().unwrap().as_bytes());
        let contents = std::fs::read(&path).unwrap_or_default();
        found.push((name, lossy(&contents)));
    }
    found.sort();
    Ok(found)
}

fn error(bytes: &[u8]) -> String {
    format!("{:#}", unpack(bytes).unwrap_err())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    owned.collect()
}

#[test]
fn packages_are_read_however_they_are_compressed() {
    let files: &[(&str, &[u8])] = &[
        ("./top/", b""),
        ("./top/a", b"12345"),
        ("./top/b -> a", b""),
        ("./top/out -> /usr/src", b""),
        ("./other/x -> /etc", b""),
    ];
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let payload = cpio(files);
    for payload in [
        payload.clone(),
        gzip(&payload),
        xz(&payload),
        zstd(&payload),
    ] {
        let bytes = frame(&identity("kernel-core", "x86_64"), &payload);
        let rpm = open(&bytes).unwrap();
        assert_eq!(
            (
                rpm.info.name.as_str(),
                rpm.info.version.as_str(),
                rpm.info.architecture.as_str()
            ),
            ("kernel-core", "6.15.3-200.fc42", "x86_64")
        );
        assert_eq!(rpm.info.dependencies, ["kernel-core-uname-r"]);
        let expected = pairs(&[("a", "12345"), ("b", "12345")]);
        assert_eq!(unpack(&bytes).unwrap(), expected);
    }
    // As rpm writes it without compression: no such tag.
    let mut tags = identity("kernel-core", "x86_64");
    tags.pop();
    assert_eq!(unpack(&frame(&tags, &payload)).unwrap().len(), 2);
}

#[test]
fn a_file_with_several_names_is_one_file() {
    let mut payload = Vec::new();
    payload.extend(entry(7, 0o100_644, 2, "./top/first", b""));
    payload.extend(entry(8, 0o100_644, 1, "./top/empty", b""));
    payload.extend(entry(7, 0o100_644, 2, "./top/second", b"same"));
    let end = entry(0, 0, 1, cpio::TRAILER, b"");
    let tags = identity("x", "x86_64");
    let whole = frame(&tags, &[&payload[..], &end].concat());
    let expected = pairs(&[("empty", ""), ("first", "same"), ("second", "same")]);
    assert_eq!(unpack(&whole).unwrap(), expected);

    let first = entry(7, 0o100_644, 2, "./top/first", b"");
    let cut = frame(&tags, &[&first[..], &end].concat());
    assert!(error(&cut).contains("no contents for \"first\""));
}

/// A package whose payload numbers its files: a directory, two names of a file, a link
/// and a file.
fn numbered(change: impl Fn(&mut Vec<(u32, TagValue)>)) -> Vec<u8> {
    let mut tags = identity("kernel-core", "x86_64");
    let texts = |texts: &[&str]| TagValue::Texts(texts.iter().map(|t| (*t).to_owned()).collect());
    let numbers = |width, numbers: &[u64]| TagValue::Numbers(width, numbers.to_vec());
    let modes = [0o040_755, 0o100_644, 0o100_755, 0o120_777, 0o100_755];
    tags.extend([
        (5008, numbers(8, &[4096, 4, 4, 1, 5])),
        (1030, numbers(2, &modes)),
        (1034, numbers(4, &[1; 5])),
        (1037, numbers(4, &[0; 5])),
        (1095, numbers(4, &[1; 5])),
        (1096, numbers(4, &[1, 2, 2, 3, 4])),
        (1116, numbers(4, &[0, 1, 1, 1, 1])),
        (1117, texts(&["top", "a", "b", "l", "x"])),
        (1118, texts(&["/", "/top/"])),
    ]);
    change(&mut tags);
    let mut payload = Vec::new();
    for (number, contents) in [(0, ""), (1, ""), (2, "same"), (3, "a"), (4, "large")] {
        payload.extend(format!("07070X{number:08x}\0\0{contents}").into_bytes());
        padded(&mut payload);
    }
    payload.extend(entry(0, 0, 1, cpio::TRAILER, b""));
    frame(&tags, &zstd::encode_all(&payload[..], 1).unwrap())
}

#[test]
fn files_are_found_by_their_numbers() {
    let expected = pairs(&[("a", "same"), ("b", "same"), ("l", "same"), ("x", "large")]);
    assert_eq!(unpack(&numbered(|_| {})).unwrap(), expected);
    let with = |tag: u32, value: TagValue| {
        numbered(|tags| {
            tags.retain(|(other, _)| *other != tag);
            tags.push((tag, value.clone()));
        })
    };
    let numbers = |width, numbers: &[u64]| TagValue::Numbers(width, numbers.to_vec());
    for (bytes, expected) in [
        // Fewer values than files, and values of another type.
        (with(1030, numbers(2, &[0o100_644])), "lists no files"),
        (with(1096, numbers(4, &[])), "lists no files"),
        (
            with(1117, TagValue::Text("top".to_owned())),
            "lists no files",
        ),
        (with(5008, TagValue::Text("1".to_owned())), "lists no files"),
        // Directories that there are not.
        (
            with(1116, numbers(4, &[0, 9, 9, 9, 9])),
            "no file 1 in its header",
        ),
        (
            with(1118, TagValue::Texts(vec!["/".to_owned()])),
            "no file 1 in its header",
        ),
        // Sizes of another archive.
        (
            with(5008, numbers(8, &[0, 4, 4, 1, u64::MAX])),
            "damaged archive",
        ),
        (
            with(5008, numbers(8, &[0, 4, 4, 100, 5])),
            "entry \"top/l\"",
        ),
        (
            with(
                1118,
                TagValue::Texts(vec!["/".to_owned(), "/../".to_owned()]),
            ),
            "path with ..",
        ),
        (
            with(
                1118,
                TagValue::Texts(vec!["/".to_owned(), "x".repeat(5000)]),
            ),
            "no file 1 in its header",
        ),
    ] {
        let error = error(&bytes);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_is_wrong_with_a_package_is_said() {
    let replaced = |tag: u32, value: Option<&str>| {
        let mut tags = identity("kernel-core", "x86_64");
        tags.retain(|(other, _)| *other != tag);
        tags.extend(value.map(|value| (tag, TagValue::Text(value.to_owned()))));
        frame(&tags, &cpio(&[]))
    };
    let with = |files: &[(&str, &[u8])]| package("x", "x86_64", files);
    let device = [
        entry(1, 0o020_666, 1, "top/null", b""),
        entry(0, 0, 1, cpio::TRAILER, b""),
    ];
    for (bytes, expected) in [
        (replaced(1000, None), "its header has no Name"),
        (replaced(1022, Some("")), "its header has no Arch"),
        (replaced(1124, Some("drpm")), "\"drpm\" is not supported"),
        (replaced(1125, Some("lzma")), "compressed with lzma"),
        (replaced(1125, Some("bzip2")), "compressed with bzip2"),
        (with(&[("./top/../x", b"")]), "path with .."),
        (with(&[("/top/x", b"")]), "absolute path"),
        (with(&[("top/x", b"1"), ("top/x", b"2")]), "there twice"),
        (
            with(&[("top/x -> y", b""), ("top/x/y", b"")]),
            "not a directory",
        ),
        (
            with(&[("top/x", &vec![0; 2 << 20])]),
            "more than 1048576 bytes",
        ),
        (with(&[("top/d/", b""), ("top/d/", b"")]), "there twice"),
        (with(&vec![("x", &b""[..]); 101]), "more than 100 entries"),
        (
            frame(&identity("x", "x86_64"), &device.concat()),
            "a device or a pipe",
        ),
        (frame(&identity("x", "x86_64"), b"odd"), "ends too early"),
        (
            frame(&identity("x", "x86_64"), b"nothing"),
            "no header of cpio",
        ),
    ] {
        let error = error(&bytes);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn counts_offsets_and_sizes_are_not_trusted() {
    let good = package("kernel-core", "x86_64", &[("top/a", b"1")]);
    assert_eq!(unpack(&good).unwrap().len(), 1);
    let start = 96 + 40;
    // The number of entries and of bytes of both headers, and in the first entry of the
    // second, which is the name: its type, where it is, and how many there are.
    for (at, number) in [
        (96 + 8, 0x1_0000_u32),
        (96 + 8, u32::MAX),
        (96 + 12, u32::MAX),
        (96 + 12, 200 << 20),
        (start + 8, 0xffff),
        (start + 12, 255 << 20),
        (start + 12, 1),
        (start + 16, 77),
        (start + 20, 4),
        (start + 24, u32::MAX),
        (start + 24, 1 << 20),
    ] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&number.to_be_bytes());
        assert!(error(&bad).contains("damaged"), "{number} at {at}");
    }
    // More strings than there are is no list of strings.
    let mut bad = good.clone();
    let count = start + 16 + 4 * 16 + 12;
    bad[count..count + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(open(&bad).unwrap().info.dependencies.is_empty());
}

#[test]
fn no_cut_gets_through_and_no_flipped_bit_panics() {
    for good in [
        package("kernel-core", "x86_64", &[("top/a", &[7; 3000])]),
        numbered(|_| {}),
    ] {
        let step = (good.len() / 50).max(1);
        for at in (0..good.len()).step_by(step) {
            assert!(unpack(&good[..at]).is_err(), "cut at {at}");
        }
        for at in (0..good.len()).step_by(5) {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << (at % 8);
            // Without a checksum not every change can be seen.
            if let Ok(found) = unpack(&flipped) {
                assert!(found.len() <= 4, "{found:?}");
            }
        }
    }
}
