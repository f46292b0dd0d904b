//! IBM Z: QEMU's `s390-ccw-virtio`.

use super::{Arch, BIG_ENDIAN, CCW, ELF64, bytes};
use crate::model::version::Series;

pub(super) const S390X: Arch = Arch {
    name: "s390x",
    kernel: "s390",
    source: "s390",
    debian: "s390x",
    debian_flavor: "s390x",
    triplet: "s390x-linux-gnu",
    loader: "lib/ld64.so.1",
    elf: (ELF64, BIG_ENDIAN, 22),
    image: "arch/s390/boot/bzImage",
    // `EP_STRING` of arch/s390/boot/head.S.
    is_image: |head| bytes(head, 0x10008, 6) == b"S390EP",
    console: "ttysclp0",
    clock: None,
    qemu: "qemu-system-s390x",
    // A bus of PCI there is only with a device on it. Guests of other architectures have one, and
    // tests look for it (drgn's helpers/test_pci.py).
    machine: &["-M", "s390-ccw-virtio", "-device", "virtio-rng-pci"],
    processor: "max",
    bus: &CCW,
    parameters: &[],
    emulated_parameters: &[],
    measured: None,
    spare_acpi: None,
    // arch/s390/kernel/syscalls/syscall.tbl
    kexec_file_load: Some(381),
    kexec_elf: false,
    one_thread: None,
    wrong_clock: None,
    user_registers: &[],
    emulation_cost: 2,
    crash_from: Some(Series {
        major: 5,
        minor: 15,
    }),
    crash_memory: 256,
    large_crash_memory: 640,
};
