//! x86-64: QEMU's `pc`.

use super::{Arch, ELF64, LITTLE_ENDIAN, PCI, WrongClock};
use crate::model::version::Series;

pub(super) const X86_64: Arch = Arch {
    name: "x86_64",
    kernel: "x86_64",
    source: "x86",
    debian: "amd64",
    debian_flavor: "amd64",
    triplet: "x86_64-linux-gnu",
    loader: "lib64/ld-linux-x86-64.so.2",
    elf: (ELF64, LITTLE_ENDIAN, 62),
    image: "arch/x86/boot/bzImage",
    is_image,
    console: "ttyS0",
    clock: Some("CONFIG_RTC_DRV_CMOS"),
    qemu: "qemu-system-x86_64",
    // QEMU's default, `pc`.
    machine: &[],
    // Every feature that QEMU can emulate, because the host's userspace may be compiled for a
    // newer processor than `qemu64`, the default, and because that one lacks RDRAND, without
    // which the kernel gathers entropy by jitter for a while. Without five-level page tables:
    // each level is one more look-up when the guest's kernel, or drgn in it, walks them (a test
    // of drgn's that reads all memory took 0.86 of its time without).
    processor: "max,la57=off",
    bus: &PCI,
    parameters: &[
        // The power management timer's port, as SeaBIOS sets it up on QEMU's `pc` machine: a
        // kernel without ACPI cannot find it, and without the timer it counts interrupts to
        // measure the other clocks, which fails on a busy host.
        "pmtmr=0x608",
        NO_TIMER_CHECK,
    ],
    // All processors read the host's counter. The kernel distrusts it (no constant TSC) and
    // would take a slower clock.
    emulated_parameters: &["tsc=reliable"],
    measured: Some(counter),
    // With all of these a kernel finds processors, interrupts and a clock in the MP table and by
    // `pmtmr=`.
    spare_acpi: Some(&["CONFIG_ACPI", "CONFIG_X86_MPPARSE", "CONFIG_X86_PM_TIMER"]),
    // arch/x86/entry/syscalls/syscall_64.tbl
    kexec_file_load: Some(320),
    kexec_elf: false,
    one_thread: Some(PATCHES_ITSELF),
    wrong_clock: Some(WrongClock {
        words: MISTIMED,
        // Slower to read (`drivers/clocksource/acpi_pm.c`).
        source: "acpi_pm",
    }),
    user_registers: USER_REGISTERS,
    emulation_cost: 1,
    crash_from: Some(Series { major: 4, minor: 9 }),
    crash_memory: 256,
    large_crash_memory: 640,
};

/// At boot a kernel waits for ten ticks by the processor's counter, and panics if fewer than
/// five have arrived ("IO-APIC + timer doesn't work!"; `arch/x86/kernel/apic/io_apic.c`,
/// `timer_irq_works`). On a busy host QEMU may not run for that long, and what the counter has
/// counted meanwhile were no ticks: 8 of 65 emulated boots ended so. All versions know this
/// parameter, and one with `CONFIG_KVM_GUEST` sets it for itself on KVM
/// (`arch/x86/kernel/kvm.c`, `paravirt_ops_setup`).
///
/// Other measurements that a busy host disturbs do not end the kernel:
///
/// - The counter's frequency (`tsc.c`, `pit_hpet_ptimer_calibrate_cpu`): if all readings were
///   disturbed, the kernel goes on with the PM timer (`pmtmr=`, or ACPI) as its clock. If only
///   the PM timer shows a disturbance, the clock is wrong, and the kernel says so: see
///   [`MISTIMED`].
/// - The local APIC's timer (`apic.c`, `calibrate_APIC_clock`): without the PM timer its check
///   fails and the timer is not used, with it the result is corrected.
/// - The counters of two processors (`tsc_sync.c`), and the clock by another one
///   (`kernel/time/clocksource.c`): neither is compared with `tsc=reliable`.
/// - The second processor (`smpboot.c`) has 10 s to come; without it the guest has one.
/// - Stalls of RCU (21 s), lockups (20 s) and hung tasks (120 s) are messages, unless a
///   parameter or sysctl makes them panics; ours have only the first. The benchmarks of raid6
///   and xor, and jitterentropy's test, are in modules that nothing of a guest's boot loads.
const NO_TIMER_CHECK: &str = "no_timer_check";

/// Of two measurements of the counter the kernel believes the one that suffers when a busy
/// host interrupts QEMU, and says so (`arch/x86/kernel/tsc.c`,
/// `pit_hpet_ptimer_calibrate_cpu`). Clocks at 18 times the speed were seen. What the other one
/// is, PMTIMER or HPET, follows.
const MISTIMED: &str = "PIT calibration deviates from ";

/// The frequency of the counter, which is the host's, and the length of delay loops, which follows
/// from it. The guest would measure them, wrong if the host is busy: loops of the second processor
/// were seen that were almost five times too short.
///
/// 5.10 knows `tsc_early_khz=`, 4.14 measures nevertheless. A host with a constant counter has no
/// other delay loops either, and shows their length as BogoMIPS: two for each MHz
/// (`arch/x86/kernel/tsc.c`, `get_loops_per_jiffy`; `cpu/proc.c`, `show_cpuinfo`).
fn counter(cpuinfo: &str, ticks: f64) -> Option<String> {
    let field = |name: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(key, value)| (key.trim() == name).then_some(value.trim()))
    };
    let mut flags = field("flags")?.split(' ');
    flags.find(|flag| *flag == "constant_tsc")?;
    let kilohertz = field("bogomips")?.parse::<f64>().ok()? * 500.0;
    let plausible = (100e3..100e6).contains(&kilohertz) && ticks > 0.0;
    let loops = kilohertz * 1000.0 / ticks;
    plausible.then(|| format!("tsc_early_khz={kilohertz:.0} lpj={loops:.0}"))
}

/// With this option a kernel changes its own instructions while it runs, on one processor
/// while another may be about to run them (Documentation/staging/static-keys.rst). A stock
/// 6.12 of Debian's, emulated with a thread for each processor, panicked in 2 of 13 boots
/// right after such a change, and in none of 20 with one thread for all. That QEMU is
/// to blame is a guess; our own kernels do without the option.
const PATCHES_ITSELF: &str = "CONFIG_JUMP_LABEL";

/// A process' code segment (`arch/x86/include/asm/segment.h`, `__USER_CS`), and the other lines
/// (`arch/x86/kernel/process_64.c`, `__show_regs`). They stand at the end of a stack.
const USER_REGISTERS: &[&str] = &[
    "RIP: 0033:",
    "Code: ",
    "RSP: ",
    "RAX: ",
    "RDX: ",
    "RBP: ",
    "R10: ",
    "R13: ",
];

/// Documentation/arch/x86/boot.rst of the kernel, "The Real-Mode Kernel Header": an image for
/// i386 lacks bit 0 of `xloadflags`, XLF_KERNEL_64, which came with version 2.12 of the protocol.
fn is_image(head: &[u8]) -> bool {
    let number = |at: usize| Some(u16::from_le_bytes([*head.get(at)?, *head.get(at + 1)?]));
    let is_narrow =
        number(0x206) >= Some(0x020c) && number(0x236).is_some_and(|flags| flags & 1 == 0);
    head.get(0x202..0x206) == Some(b"HdrS") && !is_narrow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_would_measure_is_taken_from_a_host_with_a_constant_counter() {
        let text = "processor\t: 0\nflags\t\t: fpu tsc constant_tsc\nbogomips\t: 5192.26\n";
        let words = counter(text, 250.0).unwrap();
        assert_eq!(words, "tsc_early_khz=2596130 lpj=10384520");
        assert_eq!(counter(text, 0.0), None);
        for (word, other) in [("constant_tsc", "x"), ("5192.26", "0.5"), ("bogomips", "x")] {
            assert_eq!(counter(&text.replace(word, other), 250.0), None, "{other}");
        }
    }

    #[test]
    fn images_say_for_what_they_are() {
        let mut image = [0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x236] = 1;
        assert!(is_image(&image));
        for length in 0..image.len() {
            assert_eq!(is_image(&image[..length]), length >= 0x206, "{length}");
        }
        image[0x236] = 0x3e;
        assert!(!is_image(&image), "for i386");
        // A version without that field.
        image[0x206] = 0x0a;
        assert!(is_image(&image));
        image[0x202] = 0;
        assert!(!is_image(&image));
    }
}
