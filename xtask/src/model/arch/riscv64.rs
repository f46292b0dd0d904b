//! 64-bit RISC-V: QEMU's `virt`, with OpenSBI as its firmware.

use super::{Arch, ELF64, LITTLE_ENDIAN, PCI, is_flat_image};
use crate::model::version::Series;

pub(super) const RISCV64: Arch = Arch {
    name: "riscv64",
    kernel: "riscv",
    source: "riscv",
    debian: "riscv64",
    debian_flavor: "riscv64",
    triplet: "riscv64-linux-gnu",
    loader: "lib/ld-linux-riscv64-lp64d.so.1",
    elf: (ELF64, LITTLE_ENDIAN, 243),
    image: "arch/riscv/boot/Image",
    is_image: |head| is_flat_image(head, b"RSC\x05", 0x5064),
    console: "ttyS0",
    clock: Some("CONFIG_RTC_DRV_GOLDFISH"),
    qemu: "qemu-system-riscv64",
    machine: &["-M", "virt"],
    processor: "rv64",
    bus: &PCI,
    // The device tree of QEMU 7.2 describes processors in the old way (`riscv,isa`) only. A
    // kernel without CONFIG_RISCV_ISA_FALLBACK finds none then, and panics silently.
    parameters: &["riscv_isa_fallback"],
    emulated_parameters: &[],
    measured: None,
    spare_acpi: None,
    // include/uapi/asm-generic/unistd.h
    kexec_file_load: Some(294),
    // arch/riscv/kernel/kexec_image.c came with 6.16.
    kexec_elf: true,
    one_thread: None,
    wrong_clock: None,
    user_registers: &[],
    emulation_cost: 2,
    crash_from: Some(Series {
        major: 6,
        minor: 12,
    }),
    crash_memory: 256,
    large_crash_memory: 640,
};
