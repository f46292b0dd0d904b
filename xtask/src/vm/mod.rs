//! Runs a command in a VM: starts QEMU, serves its ports, keeps the limits.
//!
//! How a VM ended is a value, [`VmRun`]; an error means that it could not be started.

pub mod accel;
mod boot;
pub mod console;
pub mod debugger;
pub mod device;
pub mod dump;
pub mod enclosure;
pub mod ending;
pub mod guest;
mod image;
mod machine;
pub mod network;
pub mod plan;
mod ports;
pub mod preflight;
pub mod protocol;
pub mod qemu;
pub mod qmp;
pub mod scratch_disk;
pub mod share;
pub mod stage;
mod watch;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::{env::Env, error::Failure, paths::Paths, temporary};
use crate::model::complaint::Complaint;
use crate::model::{arch::Arch, kernel::LocalKernel};
use crate::vm::plan::{Boot, Plan};
use crate::vm::{accel::Kvm, debugger::Endpoint, device::Device, scratch_disk::Disk};

pub use crate::vm::plan::Tools;

/// What `--accel` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AccelChoice {
    /// KVM where a kernel was proved to run on it, else emulation
    #[default]
    Auto,
    /// KVM or an error
    Kvm,
    /// Emulation
    Tcg,
}

/// How a VM's processors run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "emulation (TCG)",
        }
    }
}

/// Time limits; `None` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From QEMU's start to the command's; `None`: 60 s with KVM, 300 s emulated, and more where
    /// the guest's architecture is not the host's ([`Arch::limit_factor`]).
    pub boot: Option<Duration>,
    /// Without a byte on any port or the console while the command runs.
    pub idle: Option<Duration>,
    /// From QEMU's start to the verdict.
    pub total: Option<Duration>,
}

/// Where the command's standard input comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Empty.
    #[default]
    Null,
    /// Our own, end-of-file included.
    Inherit,
}

/// One VM to run.
#[derive(Clone, Debug)]
pub struct Vm {
    pub kernel: LocalKernel,
    /// The host directory that becomes the guest's root, read-only.
    pub root: PathBuf,
    /// Program and arguments; the program is looked up in `PATH` in the guest.
    pub command: Vec<OsString>,
    pub directory: PathBuf,
    /// The command's whole environment apart from what the guest itself sets.
    pub environment: Vec<(OsString, OsString)>,
    /// Kernel modules (files) loaded before the command starts.
    pub modules: Vec<PathBuf>,
    /// After the command: crash the kernel and run another command.
    pub crash: Option<CrashRequest>,
    /// What else must be visible in the guest even below `/tmp` or `/run`: the
    /// project, a virtual environment. The working directory, the kernel and the modules
    /// always are, and with the host's root the command's own words that are absolute paths.
    pub keep: Vec<PathBuf>,
    pub memory: u32,
    /// Processors; `None`: min(2, host), and one if more would be of no use.
    pub cpus: Option<u32>,
    pub devices: Vec<Device>,
    /// Whether the sink gets the kernel's messages too.
    pub kernel_log: bool,
    /// More kernel parameters, behind ours.
    pub kernel_arguments: Vec<String>,
    /// More QEMU arguments, behind ours.
    pub qemu_arguments: Vec<OsString>,
    /// Whether the guest may cache the host's files (`cache=loose`); off, it sees
    /// changes that the host makes meanwhile, and is slower.
    pub cache: bool,
    pub accel: AccelChoice,
    pub limits: Limits,
    pub stdin: Stdin,
    /// A terminal of this size (columns, rows) for the command instead of pipes.
    pub terminal: Option<(u16, u16)>,
    /// The kernel's messages go here.
    pub console_log: PathBuf,
    /// Where the guest's memory goes if it panics, gets stuck or ends by itself.
    pub dump: Option<PathBuf>,
}

impl Vm {
    /// Without a command and without anything that can be left out.
    pub fn new(kernel: LocalKernel, console_log: impl Into<PathBuf>) -> Self {
        Self {
            kernel,
            console_log: console_log.into(),
            root: "/".into(),
            memory: MEMORY,
            cache: true,
            command: Vec::new(),
            directory: PathBuf::new(),
            environment: Vec::new(),
            modules: Vec::new(),
            crash: None,
            keep: Vec::new(),
            cpus: None,
            devices: Vec::new(),
            kernel_log: false,
            kernel_arguments: Vec::new(),
            qemu_arguments: Vec::new(),
            accel: AccelChoice::default(),
            limits: Limits::default(),
            stdin: Stdin::default(),
            terminal: None,
            dump: None,
        }
    }

    /// Whether the guest's root is the host's; else the guest has of the host only what the other
    /// fields name: see [`stage`].
    pub fn has_host_root(&self) -> bool {
        self.root == Path::new("/")
    }

    fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.devices.iter().filter_map(|device| match device {
            Device::Disk(disk) => Some(disk),
            _ => None,
        })
    }

    fn cores(&self) -> Option<&Path> {
        self.devices.iter().find_map(|device| match device {
            Device::Cores(directory) => Some(directory.as_path()),
            _ => None,
        })
    }

    fn debugger(&self) -> Option<Endpoint> {
        self.devices.iter().find_map(|device| match device {
            Device::Debugger(endpoint) => Some(*endpoint),
            _ => None,
        })
    }
}

/// A planned crash of the kernel, and what runs in the capture kernel that comes then: the
/// same one, in the memory that the first has set aside for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashRequest {
    /// Program and arguments, run in the capture kernel; directory and environment are
    /// those of the VM's command.
    pub command: Vec<OsString>,
    /// Ends with status 5, in the first kernel, if the command has nothing to do, so that
    /// there is no crash; `None`: it always has.
    pub select: Option<Vec<OsString>>,
    /// The interpreter for the loader.
    pub python: PathBuf,
    /// The file of [`guest::LOADER`].
    pub loader: PathBuf,
    /// A shell command of the guest's that crashes the kernel.
    pub trigger: String,
}

/// Receives what the guest sends while it runs, in order per stream. An error
/// ends the VM and the run.
pub trait VmSink {
    /// The guest's init has started the command.
    fn started(&mut self) -> Result<()> {
        Ok(())
    }
    /// Bytes of the command's standard output (of a terminal, of both streams).
    fn stdout(&mut self, bytes: &[u8]) -> Result<()>;
    /// Bytes of the command's standard error.
    fn stderr(&mut self, bytes: &[u8]) -> Result<()>;
    /// Bytes of the events stream (`VMTEST_EVENTS` in the guest names its FIFO).
    fn events(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
    /// The command has ended, and all that it sent is here. From now on what comes is of
    /// the kernel that a planned crash starts.
    fn crashing(&mut self) -> Result<()> {
        Ok(())
    }
    /// The kernel has complained; what it said is in [`PhaseRun::complaints`], in the same order.
    fn complained(&mut self) -> Result<()> {
        Ok(())
    }
    /// Bytes of the console, if [`Vm::kernel_log`] asks for them.
    fn console(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Called at least ten times a second, and may ask for the terminal's new
    /// size (columns, rows) to be passed on.
    fn tick(&mut self) -> Result<Option<(u16, u16)>> {
        Ok(None)
    }
}

/// How far a VM had got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VmPhase {
    /// Before init's first word.
    #[default]
    Boot,
    /// While the command ran.
    Command,
    /// After the command: output on its way, power off.
    Shutdown,
    /// From the command's verdict to the next command, by way of a planned crash.
    Capture,
}

/// How one VM run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmOutcome {
    /// The command ended; 128+N for signal N.
    Exited(u8),
    /// Init could not start the command; its words.
    InitFailed(String),
    /// The kernel panicked or oopsed; the console's first line that says so.
    Panicked(String),
    /// QEMU ended without a verdict; how, with its last words.
    Lost(String),
    /// A limit ran out; which.
    Stuck(VmPhase, String),
    /// The kernel was to be crashed and was not: it refused a capture kernel; its words.
    NotCrashed(String),
}

impl fmt::Display for VmOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "the command ended with status {status}"),
            Self::InitFailed(why) => write!(f, "the guest's init failed: {why}"),
            Self::Panicked(line) => write!(f, "the kernel panicked: {line}"),
            Self::Lost(how) => write!(f, "the VM was lost: {how}"),
            Self::Stuck(phase, limit) => write!(
                f,
                "the VM got stuck {}: {limit}",
                match phase {
                    VmPhase::Boot => "while booting",
                    VmPhase::Command => "while the command ran",
                    VmPhase::Shutdown => "after the command had ended",
                    VmPhase::Capture => "while booting its capture kernel",
                }
            ),
            Self::NotCrashed(why) => write!(f, "the kernel was not crashed: {why}"),
        }
    }
}

/// A VM's run.
#[derive(Clone, Debug)]
pub struct VmRun {
    /// From QEMU's start to the command's verdict, or to its end without one.
    pub main: PhaseRun,
    /// From that verdict on, if a crash was planned and there was something to do after it.
    pub crash: Option<PhaseRun>,
    pub accel: Accel,
    pub console_log: PathBuf,
    /// The guest's memory, if it was asked for and written.
    pub dump: Option<PathBuf>,
    /// Core dumps of its programs, if they were to be kept.
    pub cores: Vec<PathBuf>,
}

/// How a phase of a VM's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseRun {
    pub outcome: VmOutcome,
    /// From its beginning to the command's start, if it came that far.
    pub boot: Option<Duration>,
    pub spans: Option<BootSpans>,
    /// From its beginning to its end.
    pub total: Duration,
    pub console_tail: String,
    /// The kernel's own reports of trouble, cut out of the console and with source
    /// lines where they are known; empty if all was well with it.
    pub trouble: String,
    /// What the kernel complained of while it went on.
    pub complaints: Vec<Complaint>,
}

/// Where the time of a boot went. Together they are the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSpans {
    /// QEMU, the firmware and the kernel until it counts time: decompression, too.
    pub firmware: Duration,
    /// The kernel, until it starts its first program.
    pub kernel: Duration,
    pub initramfs: Option<Duration>,
    /// Init, from its first line to the command's start.
    pub init: Duration,
}

impl BootSpans {
    /// From the whole `boot` and the guest's own times, which count from its kernel's
    /// beginning: of the command's start, of init's, and of the initramfs'.
    pub fn between(
        boot: Duration,
        command: Duration,
        (init, initramfs): (Duration, Option<Duration>),
    ) -> Self {
        let kernel = initramfs.unwrap_or(init);
        Self {
            firmware: boot.saturating_sub(command),
            kernel,
            initramfs: initramfs.map(|start| init.saturating_sub(start)),
            init: command.saturating_sub(init),
        }
    }
}

impl fmt::Display for BootSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut span = |name, span: Duration| write!(f, "{name} {:.2} s, ", span.as_secs_f64());
        span("firmware", self.firmware)?;
        span("kernel", self.kernel)?;
        self.initramfs
            .map_or(Ok(()), |time| span("initramfs", time))?;
        write!(f, "init {:.2} s", self.init.as_secs_f64())
    }
}

/// A VM's memory if nobody says otherwise, in MiB.
pub const MEMORY: u32 = 2048;

/// Runs a VM to its end. Where KVM was to be tried and shows no sign of life, the
/// VM is started once more, emulated, and a line says so.
pub fn run(env: &Env, vm: &Vm, sink: &mut dyn VmSink) -> Result<VmRun> {
    let tools = Tools::find(vm.kernel.arch)?;
    let vm = &plan::arranged(vm)?;
    let plan = Plan::new(vm, tools)?;
    let qemu = &plan.tools.qemu_text;
    let kvm = accel::known(&env.paths, vm.kernel.arch, qemu);
    // The first VM on KVM is the proof that it works, and one that waits for a debugger
    // proves nothing.
    let choice = match vm.accel {
        AccelChoice::Auto if vm.debugger().is_some() && kvm == Kvm::Unproved => AccelChoice::Tcg,
        choice => choice,
    };
    let decide = |choice, kvm: &Kvm| {
        let (accel, warning) = accel::decide(choice, kvm)?;
        // Once for all VMs of a session.
        if let Some(warning) = warning {
            env.ui.warn_once(warning);
        }
        Ok::<_, Failure>(accel)
    };
    let accel = decide(choice, &kvm)?;
    if accel == Accel::Tcg
        && vm.cpus.is_none()
        && let Some(words) = plan.one_processor()
    {
        env.ui.info_once(format!("{}: {words}", vm.kernel.release));
    }
    let (run, alive) = boot::boot(env, vm, &plan, accel, sink)?;
    if accel == Accel::Tcg || vm.debugger().is_some() {
        // With a debugger, how far it came was the debugger's doing.
        return Ok(run);
    }
    // If the answer cannot be kept, the next run finds it out again.
    let remember = |failure: Option<&str>| {
        if kvm == Kvm::Unproved
            && let Err(error) = accel::remember(&env.paths, qemu, failure)
        {
            env.ui.verbose(format!("{error:#}"));
        }
    };
    if alive {
        remember(None);
        return Ok(run);
    }
    let reason = match run.main.outcome {
        VmOutcome::Lost(how) => how,
        _ => "a kernel started on it shows no sign of life".to_owned(),
    };
    let retry = decide(vm.accel, &Kvm::Fails(reason.clone()));
    let accel = retry.inspect_err(|_| remember(Some(&reason)))?;
    let (run, _) = boot::boot(env, vm, &plan, accel, sink)?;
    // A command line that QEMU refuses emulated as well says nothing about KVM.
    remember(Some(&reason));
    Ok(run)
}

/// Whether VMs will be emulated, as far as that is known before one was started.
pub fn emulates(arch: &Arch, choice: AccelChoice, paths: &Paths) -> bool {
    Tools::find(arch).map_or(true, |tools| {
        let decision = accel::decide(choice, &accel::known(paths, arch, &tools.qemu_text));
        decision.is_ok_and(|(accel, _)| accel == Accel::Tcg)
    })
}

/// QEMU's command line as [`run`] would use it, for `--dry-run`.
pub fn dry_run(vm: &Vm, paths: &Paths) -> Result<Vec<OsString>> {
    let tools = Tools::find(vm.kernel.arch)?;
    let vm = &plan::arranged(vm)?;
    let kvm = accel::known(paths, vm.kernel.arch, &tools.qemu_text);
    let (accel, _) = accel::decide(vm.accel, &kvm)?;
    Ok(qemu::command_line(&Boot {
        vm,
        plan: &Plan::new(vm, tools)?,
        accel,
        directory: &temporary::host_folder()?.join("vmtest-XXXXXX"),
    })?)
}

/// A duration as people write it: `20 s`, `1.5 s`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let digits = usize::from(seconds.fract() != 0.0);
    format!("{seconds:.digits$} s")
}
