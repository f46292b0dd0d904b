//! ARMv7: QEMU's `virt`.

use super::{Arch, ELF32, LITTLE_ENDIAN, PCI, bytes};

pub(super) const ARM: Arch = Arch {
    name: "arm",
    kernel: "arm",
    source: "arm",
    debian: "armhf",
    debian_flavor: "armmp",
    triplet: "arm-linux-gnueabihf",
    loader: "lib/ld-linux-armhf.so.3",
    elf: (ELF32, LITTLE_ENDIAN, 40),
    image: "arch/arm/boot/zImage",
    // Documentation/arch/arm/booting.rst of the kernel; the number is `_magic_sig` of
    // arch/arm/boot/compressed/head.S.
    is_image: |head| bytes(head, 36, 4) == 0x016f_2818_u32.to_le_bytes(),
    console: "ttyAMA0",
    clock: Some("CONFIG_RTC_DRV_PL031"),
    qemu: "qemu-system-arm",
    // Kernels without LPAE reach nothing above 4 GiB, where the PCI host would be.
    machine: &["-M", "virt,highmem=off"],
    processor: "cortex-a15",
    bus: &PCI,
    parameters: &[],
    emulated_parameters: &[],
    measured: None,
    spare_acpi: None,
    // It has a number (401), and no architecture code behind it.
    kexec_file_load: None,
    kexec_elf: false,
    one_thread: None,
    wrong_clock: None,
    user_registers: &[],
    emulation_cost: 3,
    // /proc/vmcore of this architecture cannot be read by drgn.
    crash_from: None,
    crash_memory: 256,
    large_crash_memory: 640,
};
