//! A VM's description to QEMU's command line and the kernel's. Pure: what must be
//! probed (QEMU's version, KVM) is part of the description.
//!
//! Each device is described once and gives its QEMU arguments and its kernel
//! parameters together, so that the console's name or a port's cannot disagree.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::base::error::Failure;
use crate::model::arch::Arch;
use crate::model::version::{Series, Version};
use crate::vm::Accel;
use crate::vm::debugger::{self, Endpoint};
use crate::vm::network;
use crate::vm::protocol::Port;
use crate::vm::share::{self, Share};

/// QEMU's version: major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QemuVersion(pub u32, pub u32);

impl FromStr for QemuVersion {
    type Err = Failure;

    /// Reads the first line of `qemu-system-x86_64 --version`, e.g.
    /// `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let numbers = text.split("version ").nth(1).and_then(|rest| {
            let mut parts = rest.split(|c: char| !c.is_ascii_digit());
            Some(Self(
                parts.next()?.parse().ok()?,
                parts.next()?.parse().ok()?,
            ))
        });
        numbers.ok_or_else(|| {
            Failure::setup(format!(
                "cannot read a version from QEMU's answer {:?}",
                text.trim()
            ))
        })
    }
}

/// virtio's cap on a 9p message with QEMU: 128 descriptors of a page each, less
/// one for each direction; Linux answers a larger value with this one
/// (`net/9p/trans_virtio.c`, `maxsize`).
const NINEP_MESSAGE_SIZE: u32 = 512_000;

/// The same where each message costs its whole size: see [`clears_messages`].
const SMALL_NINEP_MESSAGE_SIZE: u32 = 65_536;

/// Whether a kernel clears two buffers of the largest size for every message, if it has
/// this option or may have it. Newer ones take buffers of the size that the message has
/// ("net/9p: allocate appropriate reduced message buffers", in 6.1). Of a stock 5.10
/// of Debian's, emulated, init takes 0.8 s with the large size and 0.45 s with the small one.
pub fn clears_messages(version: &Version) -> bool {
    version.series < Series { major: 6, minor: 1 }
}

/// With it, memory is cleared when it is handed out.
pub const CLEARS_MEMORY: &str = "CONFIG_INIT_ON_ALLOC_DEFAULT_ON";

/// A VM, complete.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// The architecture.
    pub arch: &'static Arch,
    /// The emulator.
    pub qemu: PathBuf,
    /// Its version.
    pub version: QemuVersion,
    /// How processors run.
    pub accel: Accel,
    /// MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// The host directory that is the guest's root.
    pub root: PathBuf,
    /// Whether the guest may cache the host's files (`cache=loose`); off, it sees
    /// changes that the host makes meanwhile, and is slower.
    pub cache: bool,
    /// The kernel image.
    pub image: PathBuf,
    /// What leads to the root, if the kernel needs more for that than it has built in.
    pub initramfs: Option<PathBuf>,
    /// The guest's init, a file below `root`.
    pub init: PathBuf,
    /// The directory of the ports' sockets, on which we listen.
    pub sockets: PathBuf,
    /// Ports besides the status port.
    pub ports: Vec<Port>,
    /// The serial console's log.
    pub console_log: PathBuf,
    /// Whether QEMU is to keep a guest that has ended.
    pub keep: bool,
    /// Whether messages of the root's file system are small: see [`clears_messages`].
    pub small_messages: bool,
    /// Whether the kernel is told to do without ACPI: see [`SPARE_ACPI`].
    pub no_acpi: bool,
    /// Whether one thread emulates all processors: see [`PATCHES_ITSELF`].
    pub one_thread: bool,
    /// How much memory the kernel sets aside for one that comes after its crash, in MiB, if
    /// one is to come.
    pub crash: Option<u32>,
    /// The scratch disks' images.
    pub disks: Vec<PathBuf>,
    /// Directories besides the root.
    pub shares: Vec<Share>,
    /// Whether there is a network.
    pub network: bool,
    /// Where QEMU waits for a debugger.
    pub debugger: Option<Endpoint>,
    /// More kernel parameters.
    pub kernel_arguments: Vec<String>,
    /// More QEMU arguments.
    pub qemu_arguments: Vec<OsString>,
}

/// The socket of a port.
pub fn socket(sockets: &Path, port: Port) -> PathBuf {
    sockets.join(port.name())
}

/// The whole command line, the program first.
///
/// # Errors
///
/// If a path cannot be written on a kernel command line.
pub fn command_line(spec: &VmSpec) -> Result<Vec<OsString>, Failure> {
    let mut line: Vec<OsString> = vec![spec.qemu.clone().into()];
    // Before the ports: once these are connected, a debugger can be.
    if let Some(debugger) = spec.debugger {
        line.extend(debugger.qemu(&spec.sockets));
    }
    let mut option = |name: &str, value: OsString| line.extend([name.into(), value]);

    match spec.accel {
        Accel::Kvm => {
            option("-accel", "kvm".into());
            option("-cpu", "host".into());
        }
        Accel::Tcg => {
            let threads = if spec.one_thread { "single" } else { "multi" };
            option("-accel", format!("tcg,thread={threads}").into());
            option("-cpu", TCG_CPU.into());
        }
    }
    // A socket for each processor: our kernels have no ACPI and take the processors
    // from the MP table, in which the firmware lists one per socket (SeaBIOS,
    // `src/fw/mptable.c`). QEMU alone would put all of them into one socket (since 6.2).
    let cpus = spec.cpus;
    option(
        "-smp",
        format!("{cpus},sockets={cpus},cores=1,threads=1").into(),
    );
    option("-m", format!("{}M", spec.memory).into());

    let mut directory = |id: &str, path: &Path, writable: bool, tag: &str| {
        option("-fsdev", file_system(id, path, writable, spec.version));
        option(
            "-device",
            format!("virtio-9p-pci,fsdev={id},mount_tag={tag}").into(),
        );
    };
    directory("root", &spec.root, false, "/dev/root");
    for (index, share) in spec.shares.iter().enumerate() {
        let id = format!("share{index}");
        directory(&id, &share.host, share.writable, &share::tag(index));
    }

    // The console: kernel messages go to a file and nowhere else.
    option(
        "-chardev",
        joined(&[b"file,id=console,path=", &comma(&spec.console_log)]),
    );
    option("-serial", "chardev:console".into());

    // The ports. QEMU connects to sockets on which we listen, so that it ends at
    // once when we are gone.
    option("-device", "virtio-serial-pci".into());
    for (id, port) in [Port::Status].iter().chain(&spec.ports).enumerate() {
        option(
            "-chardev",
            joined(&[
                format!("socket,id=port{id},path=").as_bytes(),
                &comma(&socket(&spec.sockets, *port)),
            ]),
        );
        let device = match port {
            Port::Terminal => format!("virtconsole,chardev=port{id}"),
            _ => format!("virtserialport,chardev=port{id},name={}", port.name()),
        };
        option("-device", device.into());
    }

    // By it we hear that the guest was reset or paused.
    option(
        "-chardev",
        joined(&[
            b"socket,id=monitor,path=",
            &comma(&socket(&spec.sockets, Port::Monitor)),
        ]),
    );
    option("-mon", "chardev=monitor,mode=control".into());

    for (index, disk) in spec.disks.iter().enumerate() {
        // Nothing on it is worth waiting for the host's disk. When that is full, the guest's
        // program is told; by default QEMU would stop the guest (qemu(1), `-drive`).
        let drive = format!("if=none,id=disk{index},format=raw,cache=unsafe,werror=report,file=");
        option("-drive", joined(&[drive.as_bytes(), &comma(disk)]));
        option(
            "-device",
            format!("virtio-blk-pci,drive=disk{index}").into(),
        );
    }
    if spec.network {
        for (name, value) in network::QEMU {
            option(name, value.into());
        }
    }
    // Without entropy of the host's, an emulated guest waits for its random numbers.
    option("-device", "virtio-rng-pci".into());

    option("-kernel", spec.image.clone().into());
    if let Some(initramfs) = &spec.initramfs {
        option("-initrd", initramfs.clone().into());
    }
    option("-append", kernel_command_line(spec)?.into());
    line.extend(
        [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]
        .map(OsString::from),
    );
    if spec.keep {
        // With -no-reboot, a guest that resets itself after a panic is stopped and not
        // reset: its memory can be read.
        line.push("-no-shutdown".into());
    }
    line.extend(spec.qemu_arguments.iter().cloned());
    Ok(line)
}

/// The value of `-fsdev` for a directory of the host.
///
/// `security_model=none`: what a guest creates belongs to the user who runs QEMU, with
/// the mode that the guest gave it, and a change of the owner that the host refuses is no
/// error (qemu(1), `-fsdev`). With `mapped-xattr` owners, modes, links and devices would
/// be the guest's, in attributes that nobody but QEMU reads: a script would not be
/// executable on the host, and a link an ordinary file.
///
/// `multidevs=remap`: the host's directory may have mounts below it, and two files of two
/// file systems must not share an inode number (QEMU 4.2).
fn file_system(id: &str, path: &Path, writable: bool, version: QemuVersion) -> OsString {
    let readonly = if writable { "" } else { ",readonly=on" };
    let remap = if version >= QemuVersion(4, 2) {
        ",multidevs=remap"
    } else {
        ""
    };
    joined(&[
        format!("local,id={id},path=").as_bytes(),
        &comma(path),
        b",security_model=none",
        readonly.as_bytes(),
        remap.as_bytes(),
    ])
}

/// How the guest mounts its root, but for that it is read-only.
pub fn root_options(spec: &VmSpec) -> String {
    let cache = if spec.cache { "loose" } else { "none" };
    let size = match spec.small_messages {
        true => SMALL_NINEP_MESSAGE_SIZE,
        false => NINEP_MESSAGE_SIZE,
    };
    format!("trans=virtio,version=9p2000.L,cache={cache},msize={size}")
}

/// How the guest mounts a share. Nothing that is read or written is cached, so that each side
/// sees at once what the other has written, also when the guest panics a moment later.
///
/// `cache=mmap` lets programs map a file for writing (`MAP_SHARED`; SQLite's WAL needs it). Since
/// 6.4 it caches ordinary reads and writes as well, which `directio`, new there, undoes
/// (Documentation/filesystems/9p.rst). Nobody writes to a read-only share, which needs neither.
pub fn share_options(writable: bool, series: Series) -> String {
    let access = match writable {
        false => "cache=none,ro",
        true if series < Series { major: 6, minor: 4 } => "cache=mmap,rw",
        true => "cache=mmap,directio,rw",
    };
    format!("trans=virtio,version=9p2000.L,msize={NINEP_MESSAGE_SIZE},{access}")
}

/// The emulated processor: every feature that QEMU can emulate, because the host's
/// userspace may be compiled for a newer processor than `qemu64`, the default, and
/// because that one lacks RDRAND, without which the kernel gathers entropy by jitter
/// for a while. Without five-level page tables: each level is one more look-up when
/// the guest's kernel, or drgn in it, walks them (a test of drgn's that reads all
/// memory took 0.86 of its time without).
const TCG_CPU: &str = "max,la57=off";

/// The kernel's command line.
///
/// # Errors
///
/// If init's path has a double quote or a control character: the kernel has no
/// escape for it (`lib/cmdline.c`, `next_arg`).
pub fn kernel_command_line(spec: &VmSpec) -> Result<String, Failure> {
    let init = spec
        .init
        .to_str()
        .filter(|path| !path.contains(|c: char| c == '"' || c.is_control()));
    let Some(init) = init else {
        return Err(Failure::setup(format!(
            "cannot pass {:?} on a kernel command line",
            spec.init.display()
        ))
        .hint("set TMPDIR to a directory without quotes and control characters in its name"));
    };
    let mut words = vec![
        // The mount tag is /dev/root, which is what the kernel asks for when
        // there is no root= (`init/do_mounts.c`), on all versions.
        "rootfstype=9p".to_owned(),
        format!("rootflags={}", root_options(spec)),
        "ro".to_owned(),
        format!("console={}", spec.arch.console),
        // An oops is a panic, and a panic a reset, which -no-reboot turns into
        // QEMU's end; without these a broken kernel would sit there.
        "oops=panic".to_owned(),
        "panic=-1".to_owned(),
        // Every mount waits for RCU's grace periods, which this makes short
        // (Documentation/admin-guide/kernel-parameters.txt). Init takes it back before
        // the command starts.
        "rcupdate.rcu_expedited=1".to_owned(),
    ];
    if spec.arch.name == "x86_64" {
        // The power management timer's port, as SeaBIOS sets it up on QEMU's `pc`
        // machine: a kernel without ACPI cannot find it, and without the timer it
        // counts interrupts to measure the other clocks, which fails on a busy host.
        words.push("pmtmr=0x608".to_owned());
        words.push(NO_TIMER_CHECK.to_owned());
        if spec.accel == Accel::Tcg {
            // Emulated, all processors read the host's counter. The kernel distrusts
            // it (no constant TSC) and would take a slower clock.
            words.push("tsc=reliable".to_owned());
        }
        if spec.no_acpi {
            words.push("acpi=off".to_owned());
        }
    }
    if let Some(memory) = spec.crash {
        words.push(format!("crashkernel={memory}M"));
    }
    let quoted = init.contains(' ');
    words.push(if quoted {
        format!("\"init={init}\"")
    } else {
        format!("init={init}")
    });
    if spec.debugger.is_some() {
        words.push(debugger::KERNEL_PARAMETER.to_owned());
    }
    // Behind ours, because the last one of a name wins.
    words.extend(spec.kernel_arguments.iter().cloned());
    Ok(words.join(" "))
}

/// What the command line of a capture kernel has that ours has not.
pub fn capture_parameters(accel: Accel) -> Vec<String> {
    // Without `nokaslr` the new kernel may look for a place outside of the memory that
    // was reserved for it, and find none.
    let mut words = vec!["nokaslr".to_owned()];
    if accel == Accel::Tcg {
        // The crash may be on any processor. When the new kernel starts the others, QEMU
        // sometimes fails an assertion of its own, emulating them.
        words.push("nosmp".to_owned());
    }
    // The guest's init has it as a variable.
    words.push("vmtest_phase=crash".to_owned());
    words
}

/// At boot a kernel waits for ten ticks by the processor's counter, and panics if fewer than
/// five have arrived ("IO-APIC + timer doesn't work!"; `arch/x86/kernel/apic/io_apic.c`,
/// `timer_irq_works`). On a busy host QEMU may not run for that long, and what the counter has
/// counted meanwhile were no ticks: 8 of 65 emulated boots ended so. All versions know this
/// parameter, and one with `CONFIG_KVM_GUEST` sets it for itself on KVM
/// (`arch/x86/kernel/kvm.c`, `paravirt_ops_setup`).
///
/// What else a kernel measures against the time of a busy host does not end it:
///
/// - The counter's frequency (`tsc.c`, `pit_hpet_ptimer_calibrate_cpu`): if all readings were
///   disturbed, the kernel goes on with the PM timer (`pmtmr=`, or ACPI) as its clock. If only
///   the PM timer shows a disturbance, the clock is wrong, and the kernel says so: see
///   [`crate::vm::console::Console::mistimed`].
/// - The local APIC's timer (`apic.c`, `calibrate_APIC_clock`): without the PM timer its check
///   fails and the timer is not used, with it the result is corrected.
/// - The counters of two processors (`tsc_sync.c`), and the clock by another one
///   (`kernel/time/clocksource.c`): neither is compared with `tsc=reliable`.
/// - The second processor (`smpboot.c`) has 10 s to come; without it the guest has one.
/// - Stalls of RCU (21 s), lockups (20 s) and hung tasks (120 s) are messages, unless a
///   parameter or sysctl makes them panics; ours have only the first. The benchmarks of raid6
///   and xor, and jitterentropy's test, are in modules that nothing of a guest's boot loads.
const NO_TIMER_CHECK: &str = "no_timer_check";

/// With all of these a kernel finds processors, interrupts and a clock without ACPI on
/// our machine: in the MP table and by `pmtmr=`. Emulated, interpreting the firmware's
/// byte code takes about a quarter of the time of `vm -- true` on a kernel that has ACPI
/// (seen on drgn's own 6.1); ours have none for that reason
/// (`kernel-configs/arch/x86_64`). `acpi=force` behind it, from `--kernel-cmdline`, wins
/// (Documentation/admin-guide/kernel-parameters.txt).
pub const SPARE_ACPI: &[&str] = &["CONFIG_ACPI", "CONFIG_X86_MPPARSE", "CONFIG_X86_PM_TIMER"];

/// With this option a kernel changes its own instructions while it runs, on one processor
/// while another may be about to run them (Documentation/staging/static-keys.rst). A stock
/// 6.12 of Debian's, emulated with a thread for each processor, panicked in 2 of 13 boots
/// right after such a change, and in none of 20 with one thread for all. That QEMU is
/// to blame is a guess; our own kernels do without the option.
pub const PATCHES_ITSELF: &str = "CONFIG_JUMP_LABEL";

/// In an option's value QEMU takes a doubled comma for one (qemu(1), `-drive`).
pub(crate) fn comma(path: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        out.push(byte);
        if byte == b',' {
            out.push(byte);
        }
    }
    out
}

fn joined(parts: &[&[u8]]) -> OsString {
    OsString::from_vec(parts.concat())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::vm::guest::requirements::Offer;

    fn spec() -> VmSpec {
        VmSpec {
            arch: crate::model::arch::find("x86_64").unwrap(),
            qemu: "qemu-system-x86_64".into(),
            version: QemuVersion(7, 2),
            accel: Accel::Tcg,
            memory: 2048,
            cpus: 2,
            root: "/".into(),
            cache: true,
            image: "/w/kernel-6.1/vmlinuz".into(),
            initramfs: None,
            init: "/tmp/vmtest-1/init".into(),
            sockets: "/tmp/vmtest-1".into(),
            ports: vec![Port::Events, Port::Stdout, Port::Stderr, Port::Stdin],
            console_log: "/w/log/console.log".into(),
            keep: false,
            small_messages: false,
            no_acpi: false,
            one_thread: false,
            crash: None,
            disks: Vec::new(),
            shares: Vec::new(),
            network: false,
            debugger: None,
            kernel_arguments: Vec::new(),
            qemu_arguments: Vec::new(),
        }
    }

    fn check(spec: &VmSpec, expected: &Expect) {
        // One option a line.
        let mut text = String::new();
        for word in &command_line(spec).unwrap() {
            let word = word.to_string_lossy();
            text += if word.starts_with('-') { "\n" } else { " " };
            text += &word;
        }
        expected.assert_eq(text.trim_start());
    }

    #[test]
    fn messages_are_small_where_each_is_cleared() {
        let clears = |version: &str| clears_messages(&version.parse().unwrap());
        assert!(clears("5.10.262") && clears("6.0"));
        assert!(!clears("6.1") && !clears("6.12.118"));
        let mut spec = spec();
        assert!(root_options(&spec).ends_with(",cache=loose,msize=512000"));
        spec.small_messages = true;
        spec.cache = false;
        assert!(root_options(&spec).ends_with(",cache=none,msize=65536"));
    }

    #[test]
    fn acpi_is_spared_where_something_takes_its_place() {
        let all = "CONFIG_ACPI=y\nCONFIG_X86_MPPARSE=y\nCONFIG_X86_PM_TIMER=y\n";
        let can = |text: &str| Offer::new(Some(text), None, "").has_all(SPARE_ACPI);
        assert!(can(all));
        for missing in all.lines() {
            assert!(!can(&all.replace(missing, "")), "without {missing}");
        }
        assert!(!can(&all.replace("PARSE=y", "PARSE=n")));
        assert!(!Offer::default().has_all(SPARE_ACPI));
        let words = |no_acpi| {
            let mut spec = spec();
            spec.no_acpi = no_acpi;
            spec.kernel_arguments = vec!["acpi=force".to_owned()];
            kernel_command_line(&spec).unwrap()
        };
        assert!(!words(false).contains("acpi=off"));
        let line = words(true);
        assert!(line.find("acpi=off") < line.find("acpi=force"), "{line}");
    }

    #[test]
    fn memory_for_a_capture_kernel_is_set_aside_only_when_there_will_be_one() {
        assert!(!kernel_command_line(&spec()).unwrap().contains("crash"));
        let crash = VmSpec {
            crash: Some(256),
            kernel_arguments: vec!["crashkernel=512M".to_owned()],
            ..spec()
        };
        let line = kernel_command_line(&crash).unwrap();
        // Of several the last one counts (`kernel/crash_core.c`, `get_last_crashkernel`).
        assert!(line.contains(" crashkernel=256M init="), "{line}");
        assert!(line.ends_with(" crashkernel=512M"), "{line}");
        let words = |accel| capture_parameters(accel).join(" ");
        assert_eq!(words(Accel::Kvm), "nokaslr vmtest_phase=crash");
        assert_eq!(words(Accel::Tcg), "nokaslr nosmp vmtest_phase=crash");
    }

    #[test]
    fn the_usual_machine() {
        check(
            &spec(),
            &expect![[r#"
                qemu-system-x86_64
                -accel tcg,thread=multi
                -cpu max,la57=off
                -smp 2,sockets=2,cores=1,threads=1
                -m 2048M
                -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap
                -device virtio-9p-pci,fsdev=root,mount_tag=/dev/root
                -chardev file,id=console,path=/w/log/console.log
                -serial chardev:console
                -device virtio-serial-pci
                -chardev socket,id=port0,path=/tmp/vmtest-1/vmtest.status
                -device virtserialport,chardev=port0,name=vmtest.status
                -chardev socket,id=port1,path=/tmp/vmtest-1/vmtest.events
                -device virtserialport,chardev=port1,name=vmtest.events
                -chardev socket,id=port2,path=/tmp/vmtest-1/vmtest.stdout
                -device virtserialport,chardev=port2,name=vmtest.stdout
                -chardev socket,id=port3,path=/tmp/vmtest-1/vmtest.stderr
                -device virtserialport,chardev=port3,name=vmtest.stderr
                -chardev socket,id=port4,path=/tmp/vmtest-1/vmtest.stdin
                -device virtserialport,chardev=port4,name=vmtest.stdin
                -chardev socket,id=monitor,path=/tmp/vmtest-1/vmtest.monitor
                -mon chardev=monitor,mode=control
                -device virtio-rng-pci
                -kernel /w/kernel-6.1/vmlinuz
                -append rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=512000 ro console=ttyS0 oops=panic panic=-1 rcupdate.rcu_expedited=1 pmtmr=0x608 no_timer_check tsc=reliable init=/tmp/vmtest-1/init
                -nodefaults
                -no-user-config
                -display none
                -no-reboot"#]],
        );
    }

    #[test]
    fn kvm_a_terminal_a_disk_and_more_arguments() {
        let spec = VmSpec {
            accel: Accel::Kvm,
            ports: vec![Port::Events, Port::Terminal],
            keep: true,
            disks: vec!["/tmp/vmtest-1/disk0".into(), "/tmp/vmtest-1/disk1".into()],
            cache: false,
            kernel_arguments: vec!["crashkernel=256M".into()],
            qemu_arguments: vec!["-s".into()],
            ..spec()
        };
        check(
            &spec,
            &expect![[r#"
                qemu-system-x86_64
                -accel kvm
                -cpu host
                -smp 2,sockets=2,cores=1,threads=1
                -m 2048M
                -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap
                -device virtio-9p-pci,fsdev=root,mount_tag=/dev/root
                -chardev file,id=console,path=/w/log/console.log
                -serial chardev:console
                -device virtio-serial-pci
                -chardev socket,id=port0,path=/tmp/vmtest-1/vmtest.status
                -device virtserialport,chardev=port0,name=vmtest.status
                -chardev socket,id=port1,path=/tmp/vmtest-1/vmtest.events
                -device virtserialport,chardev=port1,name=vmtest.events
                -chardev socket,id=port2,path=/tmp/vmtest-1/vmtest.terminal
                -device virtconsole,chardev=port2
                -chardev socket,id=monitor,path=/tmp/vmtest-1/vmtest.monitor
                -mon chardev=monitor,mode=control
                -drive if=none,id=disk0,format=raw,cache=unsafe,werror=report,file=/tmp/vmtest-1/disk0
                -device virtio-blk-pci,drive=disk0
                -drive if=none,id=disk1,format=raw,cache=unsafe,werror=report,file=/tmp/vmtest-1/disk1
                -device virtio-blk-pci,drive=disk1
                -device virtio-rng-pci
                -kernel /w/kernel-6.1/vmlinuz
                -append rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=none,msize=512000 ro console=ttyS0 oops=panic panic=-1 rcupdate.rcu_expedited=1 pmtmr=0x608 no_timer_check init=/tmp/vmtest-1/init crashkernel=256M
                -nodefaults
                -no-user-config
                -display none
                -no-reboot
                -no-shutdown
                -s"#]],
        );
    }

    #[test]
    fn odd_paths_are_quoted_as_their_reader_wants_it() {
        let spec = VmSpec {
            init: "/tmp/a b/init".into(),
            console_log: "/w,x/console.log".into(),
            ports: Vec::new(),
            version: QemuVersion(4, 1),
            ..spec()
        };
        check(
            &spec,
            &expect![[r#"
                qemu-system-x86_64
                -accel tcg,thread=multi
                -cpu max,la57=off
                -smp 2,sockets=2,cores=1,threads=1
                -m 2048M
                -fsdev local,id=root,path=/,security_model=none,readonly=on
                -device virtio-9p-pci,fsdev=root,mount_tag=/dev/root
                -chardev file,id=console,path=/w,,x/console.log
                -serial chardev:console
                -device virtio-serial-pci
                -chardev socket,id=port0,path=/tmp/vmtest-1/vmtest.status
                -device virtserialport,chardev=port0,name=vmtest.status
                -chardev socket,id=monitor,path=/tmp/vmtest-1/vmtest.monitor
                -mon chardev=monitor,mode=control
                -device virtio-rng-pci
                -kernel /w/kernel-6.1/vmlinuz
                -append rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=512000 ro console=ttyS0 oops=panic panic=-1 rcupdate.rcu_expedited=1 pmtmr=0x608 no_timer_check tsc=reliable "init=/tmp/a b/init"
                -nodefaults
                -no-user-config
                -display none
                -no-reboot"#]],
        );
        let hostile = VmSpec {
            init: "/tmp/\"/init".into(),
            ..spec
        };
        assert!(command_line(&hostile).is_err());
    }

    #[test]
    fn what_is_shared_the_network_and_a_debugger() {
        let plain = command_line(&spec()).unwrap();
        let share = |host: &str, writable| Share {
            host: host.into(),
            guest: "/mnt".into(),
            writable,
        };
        let more = VmSpec {
            shares: vec![share("/a, b'c", true), share("/d", false)],
            network: true,
            debugger: Some(Endpoint::Socket),
            qemu_arguments: vec!["-last".into()],
            ..spec()
        };
        let added = command_line(&more).unwrap();
        let added = added.iter().filter(|word| !plain.contains(word));
        let added = added.map(|word| word.to_string_lossy());
        expect![[r#"
            socket,id=gdb,path=/tmp/vmtest-1/gdb,server=on,wait=off
            -gdb
            chardev:gdb
            -S
            local,id=share0,path=/a,, b'c,security_model=none,multidevs=remap
            virtio-9p-pci,fsdev=share0,mount_tag=vmtest.share0
            local,id=share1,path=/d,security_model=none,readonly=on,multidevs=remap
            virtio-9p-pci,fsdev=share1,mount_tag=vmtest.share1
            -netdev
            user,id=net,ipv6=off
            virtio-net-pci,netdev=net,romfile=
            rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=512000 ro console=ttyS0 oops=panic panic=-1 rcupdate.rcu_expedited=1 pmtmr=0x608 no_timer_check tsc=reliable init=/tmp/vmtest-1/init nokaslr
            -last"#]]
        .assert_eq(&added.collect::<Vec<_>>().join("\n"));
        // Every other file system of the host is safe from the guest.
        let root = plain
            .iter()
            .filter(|word| word.to_string_lossy().contains("readonly=on"));
        assert_eq!(root.count(), 1);
    }

    #[test]
    fn versions_are_read_and_compared_whole() {
        let read = |text: &str| text.parse::<QemuVersion>().ok();
        assert_eq!(
            read("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"),
            Some(QemuVersion(7, 2))
        );
        assert_eq!(
            read("QEMU emulator version 10.0.2"),
            Some(QemuVersion(10, 0))
        );
        assert_eq!(read("something else"), None);
        assert_eq!(read("QEMU emulator version x"), None);
        assert!(QemuVersion(9, 0) > QemuVersion(8, 1));
        assert!(QemuVersion(10, 0) > QemuVersion(9, 2));
    }
}
