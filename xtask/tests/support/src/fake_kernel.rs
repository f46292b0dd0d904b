//! Kernels of a few bytes, for tests that move packages and boot nothing.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use xtask::archive;
use xtask::kernel::manifest::{Manifest, Origin};

/// The name of a package's file.
pub fn file_name(release: &str) -> String {
    format!("kernel-{release}.x86_64.tar.zst")
}

/// Writes the least that is a kernel of ours, with `noise` bytes that do not compress.
pub fn write(directory: &Path, release: &str, input_key: &str, noise: usize) {
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("vmlinuz", b"image");
    // An ELF header for 64 bits, little-endian, machine 62.
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(18, 0);
    elf.extend([62, 0]);
    let mut random = 1u32;
    elf.resize_with(elf.len() + noise, || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    });
    write("build/vmlinux", &elf);
    let file = "build/include/config/kernel.release";
    write(file, format!("{release}\n").as_bytes());
    let manifest = Manifest {
        release: release.into(),
        arch: "x86_64".into(),
        flavor: "default".into(),
        revision: 1,
        source: Origin {
            origin: "test".into(),
            checksum: "abc".into(),
        },
        patches: vec![],
        input_key: input_key.into(),
        build_key: "b".into(),
        compiler: "gcc".into(),
        pahole: None,
    };
    write("manifest.json", manifest.to_json().unwrap().as_bytes());
}

/// The package of such a kernel; made once, because it takes a moment.
pub fn package(release: &str) -> Vec<u8> {
    static MADE: LazyLock<Mutex<HashMap<String, Vec<u8>>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap();
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), release, "00ff00ff", 400_000);
        let mut bytes = Vec::new();
        archive::create(directory.path(), &mut bytes, 1).unwrap();
        bytes
    };
    made.entry(release.to_owned()).or_insert_with(make).clone()
}
