//! Package files of kernels, as distributions make them, for tests.

use std::io::Write;

/// The beginning of a boot image for x86, as the kernel's Documentation/arch/x86/boot.rst
/// has it.
pub fn boot_image(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x200_u16.to_le_bytes());
    image[0x236] = 1;
    image.extend(format!("{release} (test) #1\0").into_bytes());
    image
}

/// A tar archive of these files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        let is_program = path.contains("/bin/") || contents.starts_with(b"#!");
        header.set_mode(if is_program { 0o755 } else { 0o644 });
        header.set_mtime(1);
        builder.append_data(&mut header, path, *contents).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A `.deb`, whose control file has those lines.
pub fn deb(control: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let control = tar(&[("./control", format!("{control}\n").as_bytes())]);
    let data = zstd::encode_all(&tar(files)[..], 1).unwrap();
    let mut bytes = b"!<arch>\n".to_vec();
    let members: [(&str, &[u8]); 3] = [
        ("debian-binary", b"2.0\n"),
        ("control.tar", &control),
        ("data.tar.zst", &data),
    ];
    for (name, contents) in members {
        let size = contents.len();
        bytes.extend(
            format!("{name:<16}0           0     0     644     {size:<10}`\n").into_bytes(),
        );
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

/// A cpio archive of the format "newc" (the kernel's
/// `Documentation/driver-api/early-userspace/buffer-format.rst`).
fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut entry = |inode: usize, mode: u32, path: &str, contents: &[u8]| {
        let (size, name) = (contents.len(), path.len() + 1);
        write!(bytes, "070701{inode:08x}{mode:08x}{:08x}{:08x}", 0, 0).unwrap();
        write!(bytes, "{:08x}{:08x}{size:08x}", 1, 0).unwrap();
        write!(bytes, "{:032x}{name:08x}{:08x}{path}\0", 0, 0).unwrap();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    for (inode, (path, contents)) in (1..).zip(files) {
        entry(inode, 0o100_644, path, contents);
    }
    entry(0, 0, "TRAILER!!!", b"");
    bytes
}

/// An `.rpm`, whose payload is not compressed.
pub fn rpm(name: &str, architecture: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let texts = [
        (1000, name),
        (1001, "6.15.3"),
        (1002, "200.fc42"),
        (1022, architecture),
    ];
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for (tag, text) in texts {
        for number in [tag, 6, store.len() as u32, 1] {
            index.extend(number.to_be_bytes());
        }
        store.extend(format!("{text}\0").into_bytes());
    }
    let header = |entries: u32, bytes: usize| {
        let mut start = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        start.extend(entries.to_be_bytes());
        start.extend((bytes as u32).to_be_bytes());
        start
    };
    let mut bytes = vec![0xed, 0xab, 0xee, 0xdb];
    bytes.resize(96, 0);
    bytes.extend(header(0, 0));
    bytes.extend(header(4, store.len()));
    [bytes, index, store, cpio(files)].concat()
}
