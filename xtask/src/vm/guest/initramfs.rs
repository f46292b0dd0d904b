//! The initramfs that brings a kernel to its root when what it needs for that is modules
//! ([`crate::vm::guest::requirements`]): BusyBox, these modules, and `vmtest-assets/guest/bridge.sh` as
//! `/init`. It is made anew for each VM, beside the guest's own init.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive::{compression::decompress, cpio};
use crate::base::input;
use crate::vm::guest::Script;

/// The bridge's path among the assets.
pub const BRIDGE: &str = "guest/bridge.sh";

/// The BusyBox applets that the bridge uses.
pub const APPLETS: &[&str] = &["insmod", "mount", "sh", "switch_root"];

/// BusyBox in the initramfs.
const BUSYBOX: &str = "/busybox";

/// More than any module has, decompressed, in bytes: the largest of distributions, drivers
/// of graphics cards, have some 20 MiB.
const LONGEST_MODULE: u64 = 256 << 20;

#[derive(Clone, Debug)]
pub struct Bridge<'b> {
    /// How the root is mounted, as mount(8) has it.
    pub root_options: &'b str,
    /// The guest's init, a path in the root.
    pub init: &'b Path,
    /// Module files in the order in which they are loaded.
    pub modules: &'b [std::path::PathBuf],
    pub busybox: &'b Path,
    pub text: &'b str,
}

/// Writes the archive (Documentation/driver-api/early-userspace/buffer-format.rst in the
/// kernel's source). It is not compressed: the guest would have to decompress it, and that
/// takes longer than reading it from the host's memory.
pub fn write(bridge: &Bridge<'_>, goal: &Path) -> Result<()> {
    let names = bridge.modules.iter().enumerate().map(|(number, module)| {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default();
        // Numbered, because two of them could have one name.
        format!("modules/{number:02}-{name}.ko")
    });
    let names = names.collect::<Vec<_>>();
    let context = || format!("cannot write {}", goal.display());
    let file = File::create(goal).with_context(context)?;
    let mut archive = cpio::CpioWriter::new(BufWriter::new(file));
    let read = |path: &Path| input::bytes(path, input::LARGE);
    for directory in ["dev", "proc", "new_root", "modules"] {
        archive.directory(directory, 0o755).with_context(context)?;
    }
    // Without it the kernel has nowhere to show what the bridge says.
    archive
        .device("dev/console", cpio::CHARACTER | 0o600, 5, 1)
        .with_context(context)?;
    let busybox = read(bridge.busybox)?;
    archive
        .file(&BUSYBOX[1..], 0o755, &busybox)
        .with_context(context)?;
    archive
        .file("init", 0o755, &script(bridge, &names))
        .with_context(context)?;
    for (name, module) in names.iter().zip(bridge.modules) {
        let bytes = decompress(&read(module)?, LONGEST_MODULE)
            .with_context(|| format!("cannot decompress {}", module.display()))?;
        archive.file(name, 0o644, &bytes).with_context(context)?;
    }
    let mut file = archive.finish().with_context(context)?;
    file.flush().with_context(context)
}

/// `/init`: an interpreter line, the prelude and the text.
fn script(bridge: &Bridge<'_>, modules: &[String]) -> Vec<u8> {
    let mut script = Script::default();
    script.raw(format!("#!{BUSYBOX} sh\n").as_bytes());
    script.set("vmtest_busybox", BUSYBOX);
    script.set("vmtest_root_options", bridge.root_options);
    script.set("vmtest_init", bridge.init.as_os_str());
    script.function("vmtest_bridge_modules", |script| {
        for module in modules {
            script.line("load", &Path::new("/").join(module), "");
        }
    });
    script.raw(bridge.text.as_bytes());
    script.into_bytes()
}
