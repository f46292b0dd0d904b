//! QEMU's command line and the kernel's, for what every VM has; [`crate::vm::device`] adds to
//! them what some have. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::str::FromStr;

use crate::base::error::Failure;
use crate::model::arch::Arch;
use crate::model::version::{Series, Version};
use crate::vm::device::Slot;
use crate::vm::plan::{self, Boot};
use crate::vm::{Accel, protocol::Port};

/// QEMU's version: major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QemuVersion(pub u32, pub u32);

impl FromStr for QemuVersion {
    type Err = Failure;

    /// Reads the first line of `qemu-system-x86_64 --version`, e.g.
    /// `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let numbers = text.split("version ").nth(1).and_then(|rest| {
            let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
            Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
        });
        let text = text.trim();
        let message = format!("cannot read a version from QEMU's answer {text:?}");
        numbers.ok_or_else(|| Failure::setup(message))
    }
}

/// virtio's cap on a 9p message with QEMU: 128 descriptors of a page each, less
/// one for each direction; Linux answers a larger value with this one
/// (`net/9p/trans_virtio.c`, `maxsize`).
const NINEP_MESSAGE_SIZE: u32 = 512_000;

/// For kernels that clear the whole buffer for each message: see [`clears_messages`].
const SMALL_NINEP_MESSAGE_SIZE: u32 = 65_536;

/// Whether a kernel clears two buffers of the largest size for every message, if it has
/// this option or may have it. Newer ones take buffers of the size that the message has
/// ("net/9p: allocate appropriate reduced message buffers", in 6.1). Of a stock 5.10
/// of Debian's, emulated, init takes 0.8 s with the large size and 0.45 s with the small one.
pub fn clears_messages(version: &Version) -> bool {
    version.series < Series { major: 6, minor: 1 }
}

/// Makes the kernel clear memory on allocation.
pub const CLEARS_MEMORY: &str = "CONFIG_INIT_ON_ALLOC_DEFAULT_ON";

/// The whole command line, the program first; an error if a path cannot be written on a kernel
/// command line.
pub fn command_line(boot: &Boot<'_>) -> Result<Vec<OsString>, Failure> {
    let (vm, plan) = (boot.vm, boot.plan);
    let devices = boot.devices();
    let of = |slot: Slot| {
        let parts = devices.iter().filter(move |parts| parts.slot == slot);
        parts.flat_map(|parts| parts.qemu.iter().cloned())
    };
    let mut line: Vec<OsString> = vec![plan.tools.qemu.clone().into()];
    line.extend(of(Slot::First));
    let arch = vm.kernel.arch;
    line.extend(arch.machine.iter().map(OsString::from));
    line.extend(processors(boot));
    line.extend(["-m".into(), format!("{}M", vm.memory).into()]);
    line.extend(file_system(
        "root",
        &boot.kernel_root(),
        false,
        "/dev/root",
        boot,
    ));
    line.extend(plan.stage.iter().flat_map(|stage| stage.qemu(boot)));
    line.extend(of(Slot::FileSystems));
    // The console: kernel messages go to a file and nowhere else.
    let console = with_path("file,id=console,path=", &vm.console_log, "");
    line.extend(["-chardev".into(), console]);
    line.extend(["-serial", "chardev:console"].map(OsString::from));
    line.extend(ports(boot));
    line.extend(of(Slot::Last));
    // Without entropy of the host's, an emulated guest waits for its random numbers.
    line.extend(["-device".into(), virtio("rng", arch).into()]);
    line.extend(["-kernel".into(), boot.image_on_host().into()]);
    if let Some(initramfs) = boot.initramfs() {
        line.extend(["-initrd".into(), boot.on_host(&initramfs).into()]);
    }
    line.extend(["-append".into(), kernel_command_line(boot)?.into()]);
    let none = ["-nodefaults", "-no-user-config", "-display", "none"];
    line.extend(none.map(OsString::from));
    line.push("-no-reboot".into());
    if vm.dump.is_some() {
        // With -no-reboot, a guest that resets itself after a panic is stopped and not
        // reset: its memory can be read.
        line.push("-no-shutdown".into());
    }
    line.extend(vm.qemu_arguments.iter().cloned());
    Ok(line)
}

fn processors(boot: &Boot<'_>) -> [OsString; 6] {
    let processor = boot.vm.kernel.arch.processor;
    let (accel, cpu) = match (boot.accel, boot.plan.one_thread) {
        (Accel::Kvm, _) => ("kvm", "host"),
        (Accel::Tcg, true) => ("tcg,thread=single", processor),
        (Accel::Tcg, false) => ("tcg,thread=multi", processor),
    };
    // A socket for each processor: our kernels have no ACPI and take the processors
    // from the MP table, in which the firmware lists one per socket (SeaBIOS,
    // `src/fw/mptable.c`). QEMU alone would put all of them into one socket (since 6.2).
    let cpus = boot.processors();
    let smp = format!("{cpus},sockets={cpus},cores=1,threads=1");
    ["-accel", accel, "-cpu", cpu, "-smp", &smp].map(OsString::from)
}

/// The ports and QEMU's monitor. QEMU connects to sockets on which we listen, so that it ends at
/// once when we are gone.
fn ports(boot: &Boot<'_>) -> Vec<OsString> {
    let serial = virtio("serial", boot.vm.kernel.arch);
    let mut line = vec!["-device".into(), serial.into()];
    let socket =
        |id: &str, port| with_path(&format!("socket,id={id},path="), &boot.socket(port), "");
    for (id, port) in [Port::Status].into_iter().chain(boot.ports()).enumerate() {
        let id = format!("port{id}");
        line.extend(["-chardev".into(), socket(&id, port)]);
        let device = match port {
            Port::Terminal => format!("virtconsole,chardev={id}"),
            _ => format!("virtserialport,chardev={id},name={}", port.name()),
        };
        line.extend(["-device".into(), device.into()]);
    }
    // The monitor tells us that the guest was reset or paused.
    line.extend(["-chardev".into(), socket("monitor", Port::Monitor)]);
    line.extend(["-mon", "chardev=monitor,mode=control"].map(OsString::from));
    line
}

/// A directory of the host for the guest, which knows it by `tag`.
///
/// `security_model=none`: what a guest creates belongs to the user who runs QEMU, with
/// the mode that the guest gave it, and a change of the owner that the host refuses is no
/// error (qemu(1), `-fsdev`). With `mapped-xattr` owners, modes, links and devices would
/// be the guest's, in attributes that nobody but QEMU reads: a script would not be
/// executable on the host, and a link an ordinary file.
///
/// `multidevs=remap`: the host's directory may have mounts below it, and two files of two
/// file systems must not share an inode number (QEMU 4.2).
pub(super) fn file_system(
    id: &str,
    path: &Path,
    writable: bool,
    tag: &str,
    boot: &Boot<'_>,
) -> [OsString; 4] {
    let readonly = if writable { "" } else { ",readonly=on" };
    let remap = match boot.plan.tools.version >= QemuVersion(4, 2) {
        true => ",multidevs=remap",
        false => "",
    };
    let before = format!("local,id={id},path=");
    let after = format!(",security_model=none{readonly}{remap}");
    let directory = with_path(&before, path, &after);
    let device = virtio("9p", boot.vm.kernel.arch);
    let device = format!("{device},fsdev={id},mount_tag={tag}");
    ["-fsdev".into(), directory, "-device".into(), device.into()]
}

/// QEMU's name of a virtio device.
pub(super) fn virtio(kind: &str, arch: &Arch) -> String {
    format!("virtio-{kind}-{}", arch.bus.name)
}

/// How the guest mounts its root, but for that it is read-only.
pub fn root_options(boot: &Boot<'_>) -> String {
    let cache = if boot.vm.cache { "loose" } else { "none" };
    let size = match boot.plan.small_messages {
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

/// The kernel's command line. It cannot have a path with a double quote or a control
/// character: the kernel has no escape for them (`lib/cmdline.c`, `next_arg`).
pub fn kernel_command_line(boot: &Boot<'_>) -> Result<String, Failure> {
    let arch = boot.vm.kernel.arch;
    let path = boot.init();
    let odd = |c: char| c == '"' || c.is_control();
    let Some(init) = path.to_str().filter(|path| !path.contains(odd)) else {
        let path = path.display();
        let message = format!("cannot pass {path:?} on a kernel command line");
        return Err(Failure::setup(message)
            .hint("set TMPDIR to a directory without quotes and control characters in its name"));
    };
    let mut words = vec![
        // The mount tag is /dev/root, which is what the kernel asks for when
        // there is no root= (`init/do_mounts.c`), on all versions.
        "rootfstype=9p".to_owned(),
        format!("rootflags={}", root_options(boot)),
        "ro".to_owned(),
        format!("console={}", arch.console),
        // An oops is a panic, and a panic a reset, which -no-reboot turns into
        // QEMU's end; without these a broken kernel would sit there.
        "oops=panic".to_owned(),
        "panic=-1".to_owned(),
        // Every mount waits for RCU's grace periods, which this makes short
        // (Documentation/admin-guide/kernel-parameters.txt). Init takes it back before
        // the command starts.
        "rcupdate.rcu_expedited=1".to_owned(),
    ];
    words.extend(arch.parameters.iter().map(ToString::to_string));
    if boot.accel == Accel::Tcg {
        words.extend(arch.emulated_parameters.iter().map(ToString::to_string));
        words.extend(boot.plan.measured.clone());
        if boot.plan.no_acpi {
            words.push("acpi=off".to_owned());
        }
    }
    if let Some(memory) = plan::crash_memory(boot.vm) {
        words.push(format!("crashkernel={memory}M"));
    }
    let quote = if init.contains(' ') { "\"" } else { "" };
    words.push(format!("{quote}init={init}{quote}"));
    let devices = boot.devices().into_iter();
    words.extend(devices.flat_map(|parts| parts.kernel_parameters));
    // Behind ours, because the last one of a name wins.
    words.extend(boot.vm.kernel_arguments.iter().cloned());
    Ok(words.join(" "))
}

/// Additional parameters for a capture kernel.
pub fn capture_parameters(accel: Accel) -> Vec<&'static str> {
    // Without `nokaslr` the new kernel may look for a place outside of the memory that
    // was reserved for it, and find none.
    let mut words = vec!["nokaslr"];
    if accel == Accel::Tcg {
        // The crash may be on any processor. When the new kernel starts the others, QEMU
        // sometimes fails an assertion of its own, emulating them.
        words.push("nosmp");
    }
    // The guest's init has it as a variable.
    words.push("vmtest_phase=crash");
    words
}

/// An option's value with a path in it, in which QEMU takes a doubled comma for one
/// (qemu(1), `-drive`).
pub(super) fn with_path(before: &str, path: &Path, after: &str) -> OsString {
    let parts = path.as_os_str().as_bytes().split(|byte| *byte == b',');
    let path = parts.collect::<Vec<_>>().join(&b",,"[..]);
    OsString::from_vec([before.as_bytes(), &path, after.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::arch::ARCHITECTURES;
    use crate::vm::plan::tests::{boot, plan, vm};
    use crate::vm::scratch_disk::{Disk, Purpose};
    use crate::vm::{CrashRequest, Stdin, Vm};
    use crate::vm::{
        debugger::Endpoint, device::Device, guest::requirements::KernelFeatures, plan::Plan,
        share::Share,
    };

    fn check(boot: &Boot<'_>, expected: &Expect) {
        // One option a line.
        let mut text = String::new();
        for word in &command_line(boot).unwrap() {
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
        let (mut vm, mut plan) = (vm(), plan());
        assert!(root_options(&boot(&vm, &plan)).ends_with(",cache=loose,msize=512000"));
        plan.small_messages = true;
        vm.cache = false;
        assert!(root_options(&boot(&vm, &plan)).ends_with(",cache=none,msize=65536"));
    }

    #[test]
    fn acpi_is_spared_where_something_takes_its_place() {
        let all = "CONFIG_ACPI=y\nCONFIG_X86_MPPARSE=y\nCONFIG_X86_PM_TIMER=y\n";
        let options = vm().kernel.arch.spare_acpi.unwrap();
        let can = |text: &str| KernelFeatures::new(Some(text), None, "").has_all(options);
        assert!(can(all));
        for missing in all.lines() {
            assert!(!can(&all.replace(missing, "")), "without {missing}");
        }
        assert!(!can(&all.replace("PARSE=y", "PARSE=n")));
        assert!(!KernelFeatures::default().has_all(options));
        let words = |no_acpi| {
            let vm = Vm {
                kernel_arguments: vec!["acpi=force".to_owned()],
                ..vm()
            };
            let plan = Plan { no_acpi, ..plan() };
            kernel_command_line(&boot(&vm, &plan)).unwrap()
        };
        assert!(!words(false).contains("acpi=off"));
        let line = words(true);
        assert!(line.find("acpi=off") < line.find("acpi=force"), "{line}");
    }

    #[test]
    fn memory_for_a_capture_kernel_is_set_aside_only_when_there_will_be_one() {
        let plan = plan();
        let line = kernel_command_line(&boot(&vm(), &plan)).unwrap();
        assert!(!line.contains("crash"));
        let crash = Vm {
            crash: Some(CrashRequest::default()),
            kernel_arguments: vec!["crashkernel=512M".to_owned()],
            ..vm()
        };
        let line = kernel_command_line(&boot(&crash, &plan)).unwrap();
        // Of several the last one counts (`kernel/crash_core.c`, `get_last_crashkernel`).
        assert!(line.contains(" crashkernel=256M init="), "{line}");
        assert!(line.ends_with(" crashkernel=512M"), "{line}");
        let words = |accel| capture_parameters(accel).join(" ");
        assert_eq!(words(Accel::Kvm), "nokaslr vmtest_phase=crash");
        assert_eq!(words(Accel::Tcg), "nokaslr nosmp vmtest_phase=crash");
    }

    #[test]
    fn the_usual_machine() {
        let vm = Vm {
            stdin: Stdin::Inherit,
            ..vm()
        };
        check(
            &boot(&vm, &plan()),
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
                -chardev socket,id=port2,path=/tmp/vmtest-1/vmtest.kernel
                -device virtserialport,chardev=port2,name=vmtest.kernel
                -chardev socket,id=port3,path=/tmp/vmtest-1/vmtest.stdout
                -device virtserialport,chardev=port3,name=vmtest.stdout
                -chardev socket,id=port4,path=/tmp/vmtest-1/vmtest.stderr
                -device virtserialport,chardev=port4,name=vmtest.stderr
                -chardev socket,id=port5,path=/tmp/vmtest-1/vmtest.stdin
                -device virtserialport,chardev=port5,name=vmtest.stdin
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
    fn each_architecture_has_its_machine() {
        let disk = Device::Disk(Disk {
            size: 0,
            purpose: Purpose::Device(String::new()),
        });
        let mut text = String::new();
        for arch in ARCHITECTURES {
            let mut vm = vm();
            vm.kernel.arch = arch;
            vm.devices = vec![disk.clone(), Device::Network];
            let plan = Plan {
                // It is unwrapped there.
                wrapped: true,
                ..plan()
            };
            let line = command_line(&boot(&vm, &plan)).unwrap();
            let words = line.iter().map(|word| word.to_string_lossy());
            let words = words.collect::<Vec<_>>().join(" ");
            let differs = |word: &&str| {
                ["M ", "cpu ", "device virtio-", "kernel ", "append "]
                    .iter()
                    .any(|start| word.starts_with(start))
            };
            text += &format!("{}\n", arch.name);
            for word in words.split(" -").filter(differs) {
                text += &format!(
                    "  {}\n",
                    word.replace("rootflags=trans=virtio,version=9p2000.L,", "")
                );
            }
        }
        expect![[r#"
            x86_64
              cpu max,la57=off
              device virtio-9p-pci,fsdev=root,mount_tag=/dev/root
              device virtio-serial-pci
              device virtio-blk-pci,drive=disk0
              device virtio-net-pci,netdev=net,romfile=
              device virtio-rng-pci
              kernel /tmp/vmtest-1/image
              append rootfstype=9p cache=loose,msize=512000 ro console=ttyS0 oops=panic panic=-1 rcupdate.rcu_expedited=1 pmtmr=0x608 no_timer_check tsc=reliable init=/tmp/vmtest-1/init
            aarch64
              M virt,gic-version=max
              cpu cortex-a76
              device virtio-9p-pci,fsdev=root,mount_tag=/dev/root
              device virtio-serial-pci
              device virtio-blk-pci,drive=disk0
              device virtio-net-pci,netdev=net,romfile=
              device virtio-rng-pci
              kernel /tmp/vmtest-1/image
              append rootfstype=9p cache=loose,msize=512000 ro console=ttyAMA0 oops=panic panic=-1 rcupdate.rcu_expedited=1 init=/tmp/vmtest-1/init
            arm
              M virt,highmem=off
              cpu cortex-a15
              device virtio-9p-pci,fsdev=root,mount_tag=/dev/root
              device virtio-serial-pci
              device virtio-blk-pci,drive=disk0
              device virtio-net-pci,netdev=net,romfile=
              device virtio-rng-pci
              kernel /tmp/vmtest-1/image
              append rootfstype=9p cache=loose,msize=512000 ro console=ttyAMA0 oops=panic panic=-1 rcupdate.rcu_expedited=1 init=/tmp/vmtest-1/init
            ppc64
              M pseries
              cpu power9
              device virtio-9p-pci,fsdev=root,mount_tag=/dev/root
              device virtio-serial-pci
              device virtio-blk-pci,drive=disk0
              device virtio-net-pci,netdev=net,romfile=
              device virtio-rng-pci
              kernel /tmp/vmtest-1/image
              append rootfstype=9p cache=loose,msize=512000 ro console=hvc0 oops=panic panic=-1 rcupdate.rcu_expedited=1 init=/tmp/vmtest-1/init
            s390x
              M s390-ccw-virtio
              device virtio-rng-pci
              cpu max
              device virtio-9p-ccw,fsdev=root,mount_tag=/dev/root
              device virtio-serial-ccw
              device virtio-blk-ccw,drive=disk0
              device virtio-net-ccw,netdev=net
              device virtio-rng-ccw
              kernel /tmp/vmtest-1/image
              append rootfstype=9p cache=loose,msize=512000 ro console=ttysclp0 oops=panic panic=-1 rcupdate.rcu_expedited=1 init=/tmp/vmtest-1/init
            riscv64
              M virt
              cpu rv64
              device virtio-9p-pci,fsdev=root,mount_tag=/dev/root
              device virtio-serial-pci
              device virtio-blk-pci,drive=disk0
              device virtio-net-pci,netdev=net,romfile=
              device virtio-rng-pci
              kernel /tmp/vmtest-1/image
              append rootfstype=9p cache=loose,msize=512000 ro console=ttyS0 oops=panic panic=-1 rcupdate.rcu_expedited=1 riscv_isa_fallback init=/tmp/vmtest-1/init
        "#]].assert_eq(&text);
    }

    #[test]
    fn kvm_a_terminal_a_disk_and_more_arguments() {
        let disk = Device::Disk(Disk {
            size: 0,
            purpose: Purpose::Device(String::new()),
        });
        let vm = Vm {
            terminal: Some((80, 24)),
            dump: Some("/dump".into()),
            devices: vec![disk.clone(), disk],
            cache: false,
            kernel_arguments: vec!["crashkernel=256M".into()],
            qemu_arguments: vec!["-s".into()],
            ..vm()
        };
        check(
            &Boot {
                accel: Accel::Kvm,
                ..boot(&vm, &plan())
            },
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
                -chardev socket,id=port2,path=/tmp/vmtest-1/vmtest.kernel
                -device virtserialport,chardev=port2,name=vmtest.kernel
                -chardev socket,id=port3,path=/tmp/vmtest-1/vmtest.terminal
                -device virtconsole,chardev=port3
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
        let vm = Vm {
            console_log: "/w,x/console.log".into(),
            terminal: Some((80, 24)),
            ..vm()
        };
        let mut plan = plan();
        plan.tools.version = QemuVersion(4, 1);
        let at = |directory| Boot {
            directory: Path::new(directory),
            ..boot(&vm, &plan)
        };
        check(
            &at("/tmp/a b"),
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
                -chardev socket,id=port0,path=/tmp/a b/vmtest.status
                -device virtserialport,chardev=port0,name=vmtest.status
                -chardev socket,id=port1,path=/tmp/a b/vmtest.events
                -device virtserialport,chardev=port1,name=vmtest.events
                -chardev socket,id=port2,path=/tmp/a b/vmtest.kernel
                -device virtserialport,chardev=port2,name=vmtest.kernel
                -chardev socket,id=port3,path=/tmp/a b/vmtest.terminal
                -device virtconsole,chardev=port3
                -chardev socket,id=monitor,path=/tmp/a b/vmtest.monitor
                -mon chardev=monitor,mode=control
                -device virtio-rng-pci
                -kernel /w/kernel-6.1/vmlinuz
                -append rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=512000 ro console=ttyS0 oops=panic panic=-1 rcupdate.rcu_expedited=1 pmtmr=0x608 no_timer_check tsc=reliable "init=/tmp/a b/init"
                -nodefaults
                -no-user-config
                -display none
                -no-reboot"#]],
        );
        assert!(command_line(&at("/tmp/\"")).is_err());
    }

    #[test]
    fn what_is_shared_the_network_and_a_debugger() {
        let plan = plan();
        let plain = command_line(&boot(&vm(), &plan)).unwrap();
        let share = |host: &str, writable| {
            Device::Share(Share {
                host: host.into(),
                guest: "/mnt".into(),
                writable,
            })
        };
        let more = Vm {
            devices: vec![
                share("/a, b'c", true),
                share("/d", false),
                Device::Network,
                Device::Debugger(Endpoint::Socket),
            ],
            qemu_arguments: vec!["-last".into()],
            ..vm()
        };
        let added = command_line(&boot(&more, &plan)).unwrap();
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
