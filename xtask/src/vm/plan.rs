//! How a VM's kernel comes to its root and to what else it needs, from what this host and the
//! kernel have. The probes' answers are values here; what follows from them is pure.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::base::{error::Failure, input, process, programs, route};
use crate::model::arch::{self, Arch};
use crate::model::kernel::Origin;
use crate::vm::device::{self, Device, Parts};
use crate::vm::guest::requirements::{self, KernelFeatures};
use crate::vm::qemu::{self, QemuVersion};
use crate::vm::stage::{self, Stage};
use crate::vm::{Accel, Stdin, Vm, image, protocol::Port, share};

/// The host's programs that every VM needs.
#[derive(Clone, Debug)]
pub struct Tools {
    pub qemu: PathBuf,
    /// Its path and version, for people.
    pub qemu_text: String,
    pub version: QemuVersion,
}

impl Tools {
    pub fn find(arch: &Arch) -> Result<Self> {
        let qemu = programs::find_program(arch.qemu).ok_or_else(|| missing(arch.qemu))?;
        let shell = process::shell()?;
        let text = cmd!(shell, "{qemu} --version")
            .quiet()
            .ignore_stderr()
            .read()
            .with_context(|| format!("cannot ask {} for its version", qemu.display()))?;
        let first = text.lines().next().unwrap_or_default();
        Ok(Self {
            qemu_text: format!("{} {first}", qemu.display()),
            version: text.parse()?,
            qemu,
        })
    }
}

fn missing(what: &str) -> Failure {
    Failure::setup(format!("{what} is not installed"))
        .hint("run the same command with --setup to install what is missing")
}

/// Answers of the host and of the kernel, from which a VM's start follows.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tools: Tools,
    pub features: KernelFeatures,
    /// The static BusyBox that runs init, in the guest.
    pub busybox: PathBuf,
    /// What the guest has of the host if its root is another one.
    pub stage: Option<Stage>,
    /// The root's `date`, which sets the guest's clock: see [`programs::fine_date`].
    pub date: Option<PathBuf>,
    /// Modules for the network, for init.
    pub network: Vec<PathBuf>,
    /// Modules for the file system of disks, for init.
    pub file_system: Vec<PathBuf>,
    /// Modules for an initramfs; none if there is to be none.
    pub bridge: Vec<PathBuf>,
    /// Whether messages of the root's file system are small: see [`qemu::clears_messages`].
    pub small_messages: bool,
    /// Whether the kernel, emulated, is told to do without ACPI. Interpreting the firmware's
    /// byte code takes about a quarter of the time of `vm -- true` on a kernel that has it
    /// (seen on drgn's own 6.1); ours have none for that reason (`kernel-configs/arch/x86_64`).
    /// `acpi=force` behind it, from `--kernel-cmdline`, wins
    /// (Documentation/admin-guide/kernel-parameters.txt).
    pub no_acpi: bool,
    /// Parameters that spare the kernel measurements, where it is emulated.
    pub measured: Option<String>,
    /// Whether the image is unwrapped before QEMU gets it: see [`image`].
    pub wrapped: bool,
    /// Whether one thread emulates all processors: see [`Arch::one_thread`].
    pub one_thread: bool,
    /// Whether the kernel can have more than one processor.
    pub smp: bool,
}

impl Plan {
    /// A set-up failure says what the kernel cannot do.
    pub fn new(vm: &Vm, tools: Tools) -> Result<Self> {
        let kernel = &vm.kernel;
        let features = KernelFeatures::read(kernel)?;
        let loads = requirements::plan(&features, vm)?;
        // Only for our own it was seen to work; a distribution's kernel is to find what it
        // finds on other machines.
        let ours = kernel.origin == Origin::Package;
        let files = |names: &[String]| requirements::module_files(kernel, names);
        let (network, file_system) = (files(&loads.network)?, files(&loads.file_system)?);
        let stage = Stage::look(vm, network.iter().chain(&file_system))?;
        let host = || programs::static_busybox().ok_or_else(|| missing("a static BusyBox"));
        let (busybox, date) = match &stage {
            Some(stage) => (stage::BUSYBOX.into(), stage.date.clone()),
            None => (host()?, programs::fine_date()?),
        };
        Ok(Self {
            tools,
            busybox,
            date,
            bridge: files(&loads.bridge)?,
            network,
            file_system,
            stage,
            small_messages: qemu::clears_messages(&kernel.release.version)
                && features.has(qemu::CLEARS_MEMORY) != Some(false),
            measured: ours.then(|| measured(kernel.arch, &features)).flatten(),
            no_acpi: ours
                && (kernel.arch.spare_acpi).is_some_and(|options| features.has_all(options)),
            smp: features.has("CONFIG_SMP") != Some(false),
            wrapped: image::is_wrapped(&kernel.image)?,
            one_thread: !ours
                && (kernel.arch.one_thread)
                    .is_some_and(|option| features.has(option) != Some(false)),
            features,
        })
    }

    /// Why an emulated guest has one processor although the kernel could use more.
    pub fn one_processor(&self) -> Option<&'static str> {
        (self.one_thread && self.smp && programs::processors() > 1).then_some(
            "one processor, because emulated ones take turns where a kernel changes its own \
             code (CONFIG_JUMP_LABEL); --cpus gives it more",
        )
    }
}

fn measured(arch: &Arch, features: &KernelFeatures) -> Option<String> {
    let parameters = arch.measured.filter(|_| arch::host() == Some(arch))?;
    // Without it the guest measures for itself.
    let text = input::text(Path::new("/proc/cpuinfo"), input::TEXT).ok()?;
    parameters(&text, features.number("CONFIG_HZ")?)
}

/// The devices in the order in which the guest mounts them, and memory for what is asked for.
pub fn arranged(vm: &Vm) -> Result<Vm> {
    let mut shares = Vec::new();
    let mut others = Vec::new();
    for device in vm.devices.iter().cloned() {
        match device {
            Device::Share(share) => shares.push(share),
            other => others.push(other),
        }
    }
    let shares = share::arrange(shares)?.into_iter().map(Device::Share);
    let more = crash_memory(vm).map_or(0, |memory| memory - vm.kernel.arch.crash_memory);
    Ok(Vm {
        devices: shares.chain(others).collect(),
        // The main tests are to have what they have on other kernels.
        memory: vm.memory.saturating_add(more),
        ..vm.clone()
    })
}

/// How much memory is set aside for the kernel after a crash, in MiB, if one is to come.
pub fn crash_memory(vm: &Vm) -> Option<u32> {
    let arch = vm.kernel.arch;
    vm.crash.as_ref().map(|_| match vm.kernel.debuginfo {
        Some(_) => arch.large_crash_memory,
        None => arch.crash_memory,
    })
}

/// One start of a VM.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'b> {
    pub vm: &'b Vm,
    pub plan: &'b Plan,
    pub accel: Accel,
    /// For init, the ports' sockets and the scratch disks.
    pub directory: &'b Path,
}

impl Boot<'_> {
    /// Ports besides the status port and QEMU's monitor.
    pub fn ports(&self) -> Vec<Port> {
        let mut ports = vec![Port::Events, Port::Kernel];
        ports.extend(match (self.vm.terminal, self.vm.stdin) {
            (Some(_), _) => &[Port::Terminal][..],
            (None, Stdin::Null) => &[Port::Stdout, Port::Stderr],
            (None, Stdin::Inherit) => &[Port::Stdout, Port::Stderr, Port::Stdin],
        });
        ports
    }

    /// The socket of a port, on which we listen.
    pub fn socket(&self, port: Port) -> PathBuf {
        self.directory.join(port.name())
    }

    /// What the kernel mounts as its root.
    pub fn kernel_root(&self) -> PathBuf {
        match &self.plan.stage {
            Some(_) => self.directory.join("stage"),
            None => self.vm.root.clone(),
        }
    }

    /// Files of the run's directory, as the guest names them: this is the host's path of one.
    pub fn on_host(&self, path: &Path) -> PathBuf {
        route::below(&self.kernel_root(), path)
    }

    fn own(&self, name: &str) -> PathBuf {
        match &self.plan.stage {
            Some(_) => Path::new(stage::OWN).join(name),
            None => self.directory.join(name),
        }
    }

    pub fn init(&self) -> PathBuf {
        self.own("init")
    }

    /// Mounts the root for a kernel that has the drivers for that as modules.
    pub fn initramfs(&self) -> Option<PathBuf> {
        (!self.plan.bridge.is_empty()).then(|| self.own("initramfs"))
    }

    /// The boot image.
    pub fn image(&self) -> PathBuf {
        match self.plan.wrapped {
            true => self.own("image"),
            false => self.vm.kernel.image.clone(),
        }
    }

    /// The same for QEMU.
    pub fn image_on_host(&self) -> PathBuf {
        match self.plan.wrapped {
            true => self.on_host(&self.image()),
            false => self.image(),
        }
    }

    /// The archive of the guest's own files: see [`crate::vm::guest::files`].
    pub fn files(&self) -> PathBuf {
        self.own("files")
    }

    /// BusyBox, on the host.
    pub fn busybox(&self) -> &Path {
        let stage = self.plan.stage.as_ref();
        stage.map_or(&self.plan.busybox, |stage| &stage.busybox)
    }

    pub fn devices(&self) -> Vec<Parts> {
        device::parts(self)
    }

    pub fn processors(&self) -> u32 {
        // Emulated by one thread, a second one makes nothing quicker: what the two have to
        // tell each other waits until the other has its turn.
        let plan = self.plan;
        let alone = plan.one_thread && self.accel == Accel::Tcg || !plan.smp;
        let most = if alone { 1 } else { 2 };
        self.vm.cpus.unwrap_or(programs::processors().min(most))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{arch, kernel::LocalKernel};

    /// A VM that asks for little.
    pub fn vm() -> Vm {
        let arch = arch::find("x86_64").unwrap();
        let kernel = LocalKernel::package(arch, "6.1".parse().unwrap(), Path::new("/w/kernel-6.1"));
        Vm {
            cpus: Some(2),
            ..Vm::new(kernel, "/w/log/console.log")
        }
    }

    pub fn plan() -> Plan {
        Plan {
            tools: Tools {
                qemu: "qemu-system-x86_64".into(),
                qemu_text: String::new(),
                version: QemuVersion(7, 2),
            },
            busybox: "/bin/busybox".into(),
            stage: None,
            features: KernelFeatures::default(),
            date: None,
            network: Vec::new(),
            file_system: Vec::new(),
            bridge: Vec::new(),
            small_messages: false,
            measured: None,
            no_acpi: false,
            wrapped: false,
            one_thread: false,
            smp: true,
        }
    }

    pub fn boot<'b>(vm: &'b Vm, plan: &'b Plan) -> Boot<'b> {
        Boot {
            vm,
            plan,
            accel: Accel::Tcg,
            directory: Path::new("/tmp/vmtest-1"),
        }
    }
}
