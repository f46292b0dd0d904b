//! AArch64: QEMU's `virt`.

use super::{Arch, ELF64, LITTLE_ENDIAN, PCI, is_flat_image};
use crate::model::version::Series;

pub(super) const AARCH64: Arch = Arch {
    name: "aarch64",
    kernel: "arm64",
    source: "arm64",
    debian: "arm64",
    debian_flavor: "arm64",
    triplet: "aarch64-linux-gnu",
    loader: "lib/ld-linux-aarch64.so.1",
    elf: (ELF64, LITTLE_ENDIAN, 183),
    image: "arch/arm64/boot/Image.gz",
    is_image: |head| is_flat_image(head, b"ARM\x64", 0xaa64),
    console: "ttyAMA0",
    clock: Some("CONFIG_RTC_DRV_PL031"),
    qemu: "qemu-system-aarch64",
    // On KVM the interrupt controller has to be of a version that the host has.
    machine: &["-M", "virt,gic-version=max"],
    // The first with pages of 16 KiB (QEMU 7.1). `max` has addresses of 52 bits, with which
    // kernels before 5.10 do not start, and authenticates pointers, which is slow to emulate.
    processor: "cortex-a76",
    bus: &PCI,
    parameters: &[],
    emulated_parameters: &[],
    measured: None,
    spare_acpi: None,
    // include/uapi/asm-generic/unistd.h
    kexec_file_load: Some(294),
    kexec_elf: false,
    one_thread: None,
    wrong_clock: None,
    user_registers: &[],
    emulation_cost: 2,
    crash_from: Some(Series {
        major: 5,
        minor: 10,
    }),
    crash_memory: 256,
    large_crash_memory: 640,
};
