//! Runs a command in a VM: starts QEMU, serves its ports, keeps the limits.
//!
//! What happens in a VM is a value, [`VmRun`]; an error is what prevented it
//! from being started.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::kernel::LocalKernel;

/// What `--accel` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccelChoice {
    /// KVM where it was proved to work, else emulation.
    #[default]
    Auto,
    /// KVM or an error.
    Kvm,
    /// Emulation.
    Tcg,
}

/// How a VM's processors run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// Hardware virtualisation.
    Kvm,
    /// QEMU's emulation (TCG).
    Tcg,
}

impl Accel {
    /// The name for people.
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
    /// From QEMU's start to the command's; `None`: 60 s with KVM, 300 s emulated.
    pub boot: Option<Duration>,
    /// Without a byte on any port or the console while the command runs.
    pub idle: Option<Duration>,
    /// From QEMU's start to the verdict.
    pub total: Option<Duration>,
}

/// A scratch disk: sparse, gone after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes.
    pub size: u64,
    /// The environment variable that names the device in the guest.
    pub variable: String,
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
pub struct VmRequest {
    /// The kernel to boot.
    pub kernel: LocalKernel,
    /// The host directory that becomes the guest's root, read-only.
    pub root: PathBuf,
    /// Program and arguments; the program is looked up in `PATH` in the guest.
    pub command: Vec<OsString>,
    /// The command's working directory.
    pub directory: PathBuf,
    /// The command's whole environment apart from what the guest itself sets.
    pub environment: Vec<(OsString, OsString)>,
    /// Kernel modules (files) loaded before the command starts.
    pub modules: Vec<PathBuf>,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors; `None`: min(2, host).
    pub cpus: Option<u32>,
    /// The scratch disk.
    pub disk: Option<Disk>,
    /// More kernel parameters, behind ours.
    pub kernel_arguments: Vec<String>,
    /// More QEMU arguments, behind ours.
    pub qemu_arguments: Vec<OsString>,
    /// KVM or emulation.
    pub accel: AccelChoice,
    /// Time limits.
    pub limits: Limits,
    /// Standard input.
    pub stdin: Stdin,
    /// A terminal of this size (columns, rows) for the command instead of pipes.
    pub terminal: Option<(u16, u16)>,
    /// The kernel's messages go here.
    pub console_log: PathBuf,
}

/// Receives what the guest sends while it runs, in order per stream.
pub trait VmSink: Send {
    /// The guest's init has started the command.
    fn started(&mut self) {}
    /// Bytes of the command's standard output.
    fn stdout(&mut self, bytes: &[u8]);
    /// Bytes of the command's standard error.
    fn stderr(&mut self, bytes: &[u8]);
    /// Bytes of the events port (`VMTEST_EVENTS` in the guest names its device).
    fn events(&mut self, bytes: &[u8]);
}

/// How far a VM had got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmPhase {
    /// Before init's first word.
    Boot,
    /// While the command ran.
    Command,
    /// After the command: output on its way, power off.
    Shutdown,
}

/// How one VM run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmOutcome {
    /// The command ended; 128+N for signal N.
    Exited(u8),
    /// Init could not start the command; its words.
    InitFailed(String),
    /// The kernel panicked or oopsed; the first line that says so.
    Panicked(String),
    /// QEMU ended without a verdict; how, with its last words.
    Lost(String),
    /// A limit ran out; which.
    Stuck(VmPhase, String),
}

/// What happened in a VM.
#[derive(Clone, Debug)]
pub struct VmRun {
    /// How it ended.
    pub outcome: VmOutcome,
    /// How its processors ran.
    pub accel: Accel,
    /// From QEMU's start to the command's start, if it came that far.
    pub boot: Option<Duration>,
    /// From QEMU's start to its end.
    pub total: Duration,
    /// The console's last lines.
    pub console_tail: String,
    /// The whole console log.
    pub console_log: PathBuf,
}
