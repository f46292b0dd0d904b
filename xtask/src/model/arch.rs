//! The architectures: every fact that differs between them, in one table.

/// What we know about an architecture.
#[derive(Debug, PartialEq, Eq)]
pub struct Arch {
    /// Our name, as `uname -m` and `qemu-system-*` have it.
    pub name: &'static str,
    /// The kernel's `ARCH=` value.
    pub kernel: &'static str,
    /// The directory below the kernel's `arch/`.
    pub source: &'static str,
    /// Debian's name.
    pub debian: &'static str,
    /// The boot image below the build tree.
    pub image: &'static str,
    /// The first serial console's device name below `/dev`.
    pub console: &'static str,
    /// QEMU's system emulator.
    pub qemu: &'static str,
    /// GNU triplet of a cross compiler, without the trailing dash.
    pub triplet: &'static str,
    /// The number of kexec_file_load(2).
    pub kexec_file_load: u32,
    /// How much memory a kernel sets aside for the one that comes after its crash, in MiB:
    /// what drgn's own vmtest gives it too.
    pub crash_memory: u32,
    /// The same where debuggers will read a distribution's debugging information there, and
    /// how much the guest has more then. With the first, drgn did not survive Debian's 6.1.
    pub large_crash_memory: u32,
}

/// All architectures, by name.
pub const ARCHITECTURES: &[Arch] = &[Arch {
    name: "x86_64",
    kernel: "x86_64",
    source: "x86",
    debian: "amd64",
    image: "arch/x86/boot/bzImage",
    console: "ttyS0",
    qemu: "qemu-system-x86_64",
    triplet: "x86_64-linux-gnu",
    // arch/x86/entry/syscalls/syscall_64.tbl
    kexec_file_load: 320,
    crash_memory: 256,
    large_crash_memory: 640,
}];

/// The architecture of that name.
pub fn find(name: &str) -> Option<&'static Arch> {
    ARCHITECTURES.iter().find(|arch| arch.name == name)
}

/// The architecture that this binary was built for, if it is in the table.
pub fn host() -> Option<&'static Arch> {
    find(std::env::consts::ARCH)
}
