//! Kernels of a few bytes, for tests that move packages and boot nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use serde_json::json;

use crate::host;
use crate::package_files::tar;

/// The part of a configuration without which a kernel cannot be a guest.
pub const GUEST_CONFIG: &str = "\
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_TMPFS=y
CONFIG_DEVTMPFS=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_VIRTIO_PCI=y
CONFIG_NET_9P_VIRTIO=y
CONFIG_9P_FS=y
CONFIG_OVERLAY_FS=y
CONFIG_VIRTIO_CONSOLE=y
";

/// The name of a package's file.
pub fn file_name(release: &str) -> String {
    format!("kernel-{release}.x86_64.tar.zst")
}

/// The beginning of an ELF file for this machine (elf(5), `e_machine`; x86-64 is 62), as
/// far as an architecture is read from it.
pub fn elf(machine: u8) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(18, 0);
    elf.extend([machine, 0]);
    elf
}

/// The least that is a kernel of ours, with `noise` bytes that do not compress.
fn files(release: &str, input_key: &str, noise: usize) -> [(&'static str, Vec<u8>); 4] {
    let mut vmlinux = elf(62);
    let mut random = 1u32;
    vmlinux.resize_with(vmlinux.len() + noise, || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    });
    let manifest = json!({
        "release": release,
        "arch": "x86_64",
        "flavor": "default",
        "revision": 1,
        "source": {"origin": "test", "checksum": "abc"},
        "patches": [],
        "input_key": input_key,
        "build_key": "b",
        "compiler": "gcc",
        "pahole": null,
    });
    [
        (
            "build/include/config/kernel.release",
            format!("{release}\n").into(),
        ),
        ("build/vmlinux", vmlinux),
        ("manifest.json", manifest.to_string().into()),
        ("vmlinuz", b"image".to_vec()),
    ]
}

/// Writes such a kernel into a folder.
pub fn write(folder: &Path, release: &str, input_key: &str, noise: usize) {
    for (name, contents) in files(release, input_key, noise) {
        host::write(folder.join(name), contents);
    }
}

/// The same for s390x, which is big-endian.
pub fn write_s390x(folder: &Path, release: &str) {
    write(folder, release, "00ff00ff", 0);
    let mut vmlinux = b"\x7fELF\x02\x02\x01".to_vec();
    vmlinux.resize(18, 0);
    vmlinux.extend([0, 22]);
    host::write(folder.join("build/vmlinux"), vmlinux);
    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    host::write(manifest, text.replace("x86_64", "s390x"));
}

/// The package of such a kernel.
pub fn pack(release: &str, input_key: &str, noise: usize) -> Vec<u8> {
    let files = files(release, input_key, noise);
    let files = files.each_ref().map(|(name, bytes)| (*name, &bytes[..]));
    zstd::encode_all(&tar(&files)[..], 1).unwrap()
}

/// The package of one of some size; made once, because it takes a moment.
pub fn package(release: &str) -> Vec<u8> {
    static MADE: LazyLock<Mutex<HashMap<String, Vec<u8>>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap();
    let make = || pack(release, "00ff00ff", 400_000);
    made.entry(release.to_owned()).or_insert_with(make).clone()
}
