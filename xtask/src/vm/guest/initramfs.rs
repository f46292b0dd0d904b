//! The initramfs that brings a kernel to its root when what it needs for that is modules
//! ([`super::requirements`]): BusyBox, these modules, and `vmtest-assets/guest/bridge.sh` as
//! `/init`. It is made anew for each VM, beside the guest's own init.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive::{compression::decompress, cpio};
use crate::base::input;
use crate::vm::{guest::Script, plan::Boot, qemu};

/// The bridge's path among the assets.
pub const BRIDGE: &str = "guest/bridge.sh";

/// The BusyBox applets that the bridge uses.
pub const APPLETS: &str = "insmod mount sh switch_root";

/// BusyBox in the initramfs.
const BUSYBOX: &str = "/busybox";

/// More than any module has, decompressed, in bytes: the largest of distributions, drivers
/// of graphics cards, have some 20 MiB.
const LONGEST_MODULE: u64 = 256 << 20;

/// Writes the archive (Documentation/driver-api/early-userspace/buffer-format.rst in the
/// kernel's source); `text` is the bridge's. It is not compressed: the guest would have to
/// decompress it, and that takes longer than reading it from the host's memory.
pub fn write(boot: &Boot<'_>, text: &str, goal: &Path) -> Result<()> {
    let read = |path: &Path| input::bytes(path, input::LARGE);
    let mut modules = Vec::new();
    for (number, module) in boot.plan.bridge.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default();
        let bytes = decompress(&read(module)?, LONGEST_MODULE)
            .with_context(|| format!("cannot decompress {}", module.display()))?;
        // Numbered, because two of them could have one name.
        modules.push((format!("modules/{number:02}-{name}.ko"), bytes));
    }
    let mut init = Script::default();
    init.raw(format!("#!{BUSYBOX} sh\n").as_bytes());
    init.set("vmtest_busybox", BUSYBOX);
    init.set("vmtest_root_options", qemu::root_options(boot));
    init.set("vmtest_init", boot.init());
    init.function("vmtest_bridge_modules", |script| {
        let paths = modules.iter().map(|(name, _)| Path::new("/").join(name));
        script.lines("load", paths, "");
    });
    init.raw(text.as_bytes());
    let busybox = read(boot.busybox())?;
    let write = || {
        let mut archive = cpio::CpioWriter::new(BufWriter::new(File::create(goal)?));
        for directory in ["dev", "proc", "new_root", "modules"] {
            archive.directory(directory, 0o755)?;
        }
        // Without it the kernel has nowhere to show what the bridge says.
        archive.device("dev/console", cpio::CHARACTER | 0o600, 5, 1)?;
        archive.file(&BUSYBOX[1..], 0o755, &busybox)?;
        archive.file("init", 0o755, &init.0)?;
        for (name, bytes) in &modules {
            archive.file(name, 0o644, bytes)?;
        }
        anyhow::Ok(archive.finish()?.flush()?)
    };
    write().with_context(|| format!("cannot write {}", goal.display()))
}
