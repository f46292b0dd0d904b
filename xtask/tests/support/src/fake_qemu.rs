//! A QEMU that is played by a script, `files/fake_qemu.py`: it connects the ports, and then
//! does what the part says, on this host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::binary::Xtask;
use crate::fake_kernel::{self, GUEST_CONFIG};
use crate::host;

/// The interpreter itself: `python3` may be a shim that needs more of `PATH`.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let code = "import sys; print(sys.executable)";
    #[allow(clippy::disallowed_methods, reason = "a short command of a test")]
    let output = Command::new("python3").args(["-c", code]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
});

/// Puts a QEMU that plays this part, and a BusyBox, into a home directory; the `PATH`
/// that finds them first.
pub fn install(home: &Path, part: &str) -> String {
    host::write(home.join("part"), part);
    let script = include_str!("../files/fake_qemu.py");
    let script = format!("#!{}\n{script}", PYTHON.display());
    for arch in ["x86_64", "s390x"] {
        add_program(home, &format!("qemu-system-{arch}"), &script);
    }
    // What is a static program to us, and is never run.
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    host::write_program(home.join("programs/busybox"), file);
    // Projects run on the interpreter that plays QEMU.
    let interpreter = PYTHON.parent().unwrap().display();
    let programs = home.join("programs");
    format!("{}:{interpreter}:/usr/bin:/bin", programs.display())
}

/// Puts another program, a script, into a home directory where [`install`] was.
pub fn add_program(home: &Path, name: &str, text: &str) {
    host::write_program(home.join("programs").join(name), text);
}

/// `vm` in a home directory, with a QEMU that plays this part and a kernel of this
/// configuration; nothing is known about it if that is empty.
pub fn vm(xtask: Xtask, home: &Path, part: &str, config: &str) -> Xtask {
    let kernel = home.join("kernel");
    fake_kernel::write(&kernel, "6.1.0-vmtest1.1default", "k", 0);
    host::write(kernel.join("modules.dep"), "");
    if !config.is_empty() {
        let config = format!("{GUEST_CONFIG}{config}");
        host::write(kernel.join("build/.config"), config);
    }
    let temporary = home.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    xtask
        .env("PATH", install(home, part))
        .env("TMPDIR", &temporary)
        .args("vm --accel tcg -k")
        .arg(&kernel)
}
