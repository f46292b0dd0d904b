//! A VM's description to QEMU's command line and the kernel's. Pure: what must be
//! probed (QEMU's version, KVM) is part of the description.
//!
//! Each device is described once and gives its QEMU arguments and its kernel
//! parameters together, so that the console's name or a port's cannot disagree.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::arch::Arch;
use crate::failure::Failure;
use crate::protocol::Port;
use crate::vm::Accel;

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
    /// The guest's init, a file below `root`.
    pub init: PathBuf,
    /// The directory of the ports' sockets, on which we listen.
    pub sockets: PathBuf,
    /// Ports besides the status port.
    pub ports: Vec<Port>,
    /// The serial console's log.
    pub console_log: PathBuf,
    /// The scratch disk's image.
    pub disk: Option<PathBuf>,
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
    let mut option = |name: &str, value: OsString| line.extend([name.into(), value]);

    match spec.accel {
        Accel::Kvm => {
            option("-accel", "kvm".into());
            option("-cpu", "host".into());
        }
        Accel::Tcg => {
            option("-accel", "tcg,thread=multi".into());
            option("-cpu", TCG_CPU.into());
        }
    }
    option("-smp", spec.cpus.to_string().into());
    option("-m", format!("{}M", spec.memory).into());

    // The root. `multidevs=remap`: the host's root has mounts below it, and two
    // files of two file systems must not share an inode number (QEMU 4.2).
    let remap = if spec.version >= QemuVersion(4, 2) {
        ",multidevs=remap"
    } else {
        ""
    };
    option(
        "-fsdev",
        joined(&[
            b"local,id=root,path=",
            &comma(&spec.root),
            b",security_model=none,readonly=on",
            remap.as_bytes(),
        ]),
    );
    option(
        "-device",
        "virtio-9p-pci,fsdev=root,mount_tag=/dev/root".into(),
    );

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

    if let Some(disk) = &spec.disk {
        // Nothing on it is worth waiting for the host's disk.
        option(
            "-drive",
            joined(&[
                b"if=none,id=disk,format=raw,cache=unsafe,file=",
                &comma(disk),
            ]),
        );
        option("-device", "virtio-blk-pci,drive=disk".into());
    }
    // Without entropy of the host's, an emulated guest waits for its random numbers.
    option("-device", "virtio-rng-pci".into());

    option("-kernel", spec.image.clone().into());
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
    line.extend(spec.qemu_arguments.iter().cloned());
    Ok(line)
}

/// The emulated processor: with more features than `qemu64`, the default, which
/// lacks RDRAND (the kernel would gather entropy by jitter for a while), but
/// without those whose emulation is slower than doing without them.
const TCG_CPU: &str = "max";

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
    let cache = if spec.cache { "loose" } else { "none" };
    let mut words = vec![
        // The mount tag is /dev/root, which is what the kernel asks for when
        // there is no root= (`init/do_mounts.c`), on all versions.
        "rootfstype=9p".to_owned(),
        format!("rootflags=trans=virtio,version=9p2000.L,cache={cache},msize={NINEP_MESSAGE_SIZE}"),
        "ro".to_owned(),
        format!("console={}", spec.arch.console),
        // An oops is a panic, and a panic a reset, which -no-reboot turns into
        // QEMU's end; without these a broken kernel would sit there.
        "oops=panic".to_owned(),
        "panic=-1".to_owned(),
    ];
    words.extend(spec.kernel_arguments.iter().cloned());
    let quoted = init.contains(' ');
    words.push(if quoted {
        format!("\"init={init}\"")
    } else {
        format!("init={init}")
    });
    Ok(words.join(" "))
}

/// In an option's value QEMU takes a doubled comma for one (qemu(1), `-drive`).
fn comma(path: &Path) -> Vec<u8> {
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
