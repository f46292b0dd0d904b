//! 64-bit PowerPC, little-endian: QEMU's `pseries`.

use super::{Arch, ELF64, LITTLE_ENDIAN, PCI, bytes};
use crate::model::version::Series;

pub(super) const PPC64: Arch = Arch {
    name: "ppc64",
    kernel: "powerpc",
    source: "powerpc",
    debian: "ppc64el",
    debian_flavor: "powerpc64le",
    triplet: "powerpc64le-linux-gnu",
    loader: "lib64/ld64.so.2",
    elf: (ELF64, LITTLE_ENDIAN, 21),
    image: "vmlinux",
    // The kernel itself, an ELF file.
    is_image: |head| {
        head.starts_with(&[0x7f, b'E', b'L', b'F', ELF64, LITTLE_ENDIAN])
            && bytes(head, 18, 2) == 21_u16.to_le_bytes()
    },
    console: "hvc0",
    clock: Some("CONFIG_RTC_DRV_GENERIC"),
    qemu: "qemu-system-ppc64",
    machine: &["-M", "pseries"],
    // Newer ones are unknown to old kernels.
    processor: "power9",
    bus: &PCI,
    parameters: &[],
    emulated_parameters: &[],
    measured: None,
    spare_acpi: None,
    // arch/powerpc/kernel/syscalls/syscall.tbl
    kexec_file_load: Some(382),
    kexec_elf: false,
    one_thread: None,
    wrong_clock: None,
    user_registers: &[],
    emulation_cost: 3,
    // Before, a crash by sysrq hangs.
    crash_from: Some(Series { major: 6, minor: 1 }),
    crash_memory: 256,
    // The machine takes multiples of 256 MiB, and the guest has more by the difference.
    large_crash_memory: 768,
};
