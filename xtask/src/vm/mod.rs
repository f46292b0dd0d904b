//! Runs a command in a VM: starts QEMU, serves its ports, keeps the limits.
//!
//! What happens in a VM is a value, [`VmRun`]; an error is what prevented it
//! from being started.

pub mod accel;
pub mod console;
pub mod debugger;
pub mod dump;
pub mod enclosure;
pub mod ending;
pub mod guest;
mod machine;
pub mod network;
mod ports;
pub mod preflight;
pub mod protocol;
pub mod qemu;
pub mod qmp;
pub mod scratch_disk;
pub mod share;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xshell::cmd;

use self::machine::{Machine, Served, Stage};
use self::ports::StdinPump;
use crate::base::env::Env;
use crate::base::error::Failure;
use crate::base::paths::Paths;
use crate::base::process::LongCommand;
use crate::base::programs;
use crate::base::route::{self, Route};
use crate::base::temporary::{self, Scratch};
use crate::base::ui::Ui;
use crate::model::kernel::{LocalKernel, Origin};
use crate::vm::accel::Kvm;
use crate::vm::console::Console;
use crate::vm::debugger::Endpoint;
use crate::vm::enclosure::Enclosure;
use crate::vm::guest::Guest;
use crate::vm::guest::cores;
use crate::vm::guest::files::{self, GuestFiles};
use crate::vm::guest::initramfs::{self, Bridge};
use crate::vm::guest::requirements::{self, Offer, Wishes};
use crate::vm::network::Network;
use crate::vm::protocol::Port;
use crate::vm::qemu::{QemuVersion, VmSpec};
use crate::vm::scratch_disk::{Disk, Purpose};
use crate::vm::share::Share;

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
    /// What is done after the command: the kernel is crashed, and another command run.
    pub crash: Option<CrashRequest>,
    /// What else must be visible in the guest even below `/tmp` or `/run`: the
    /// project, a virtual environment. The command's own words that are absolute
    /// paths, the working directory, the kernel and the modules always are.
    pub keep: Vec<PathBuf>,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors; `None`: min(2, host), and one if more would be of no use.
    pub cpus: Option<u32>,
    /// Scratch disks.
    pub disks: Vec<Disk>,
    /// Directories of the host that the guest gets besides its root.
    pub shares: Vec<Share>,
    /// Whether the guest has a network.
    pub network: bool,
    /// Where QEMU waits for a debugger before the guest's first instruction. No VM with
    /// one is started again, and none is killed because it does not go on.
    pub debugger: Option<Endpoint>,
    /// Whether the sink gets the kernel's messages too.
    pub kernel_log: bool,
    /// More kernel parameters, behind ours.
    pub kernel_arguments: Vec<String>,
    /// More QEMU arguments, behind ours.
    pub qemu_arguments: Vec<OsString>,
    /// Whether the guest may cache the host's files.
    pub cache: bool,
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
    /// Where the guest's memory goes if it panics, gets stuck or ends by itself.
    pub dump: Option<PathBuf>,
    /// The directory that gets core dumps of the guest's programs.
    pub cores: Option<PathBuf>,
    /// The text of the guest's init, [`guest::INIT`] of the assets.
    pub init_text: String,
    /// The text of [`initramfs::BRIDGE`] of the assets.
    pub bridge_text: String,
}

/// A planned crash of the kernel, and what runs in the capture kernel that comes then: the
/// same one, in the memory that the first has set aside for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashRequest {
    /// Program and arguments, run in the capture kernel; directory and environment are
    /// those of the VM's command.
    pub command: Vec<OsString>,
    /// Ends with status 5, in the first kernel, if the command has nothing to do, so that
    /// there is no crash; `None`: it always has.
    pub select: Option<Vec<OsString>>,
    /// The interpreter for [`guest::LOADER`].
    pub python: PathBuf,
    /// [`guest::LOADER`] of the assets, a file.
    pub loader: PathBuf,
    /// What crashes the kernel, for the guest's shell.
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
    fn events(&mut self, bytes: &[u8]) -> Result<()>;
    /// The command has ended, and all that it sent is here. From now on what comes is of
    /// the kernel that a planned crash starts.
    fn crashing(&mut self) -> Result<()> {
        Ok(())
    }
    /// Bytes of the console, if [`VmRequest::kernel_log`] asks for them.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmPhase {
    /// Before init's first word.
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
            Self::Stuck(phase, limit) => {
                let phase = match phase {
                    VmPhase::Boot => "while booting",
                    VmPhase::Command => "while the command ran",
                    VmPhase::Shutdown => "after the command had ended",
                    VmPhase::Capture => "while booting its capture kernel",
                };
                write!(f, "the VM got stuck {phase}: {limit}")
            }
            Self::NotCrashed(why) => write!(f, "the kernel was not crashed: {why}"),
        }
    }
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
    /// What of that was spent where, if the guest said.
    pub spans: Option<BootSpans>,
    /// From QEMU's start to its end.
    pub total: Duration,
    /// The console's last lines.
    pub console_tail: String,
    /// What the kernel said about trouble, cut out of the console and with source
    /// lines where they are known; empty if all was well with it.
    pub trouble: String,
    /// The whole console log.
    pub console_log: PathBuf,
    /// The guest's memory, if it was asked for and written.
    pub dump: Option<PathBuf>,
    /// Core dumps of its programs, if they were to be kept.
    pub cores: Vec<PathBuf>,
    /// What came after the command, if that had a verdict and there was to be a crash.
    /// The log and the dump are of both.
    pub crash: Option<PhaseRun>,
}

/// What happened in a part of a VM's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseRun {
    /// How it ended.
    pub outcome: VmOutcome,
    /// From its beginning to the command's start, if it came that far.
    pub boot: Option<Duration>,
    /// What of that was spent where, if the guest said.
    pub spans: Option<BootSpans>,
    /// From its beginning to its end.
    pub total: Duration,
    /// The console's last lines.
    pub console_tail: String,
    /// What the kernel said about trouble.
    pub trouble: String,
}

/// Where the time of a boot went. Together they are the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSpans {
    /// QEMU, the firmware and the kernel until it counts time: decompression, too.
    pub firmware: Duration,
    /// The kernel, until it starts its first program.
    pub kernel: Duration,
    /// The initramfs, if there is one.
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
        let mut spans = vec![("firmware", self.firmware), ("kernel", self.kernel)];
        spans.extend(self.initramfs.map(|span| ("initramfs", span)));
        spans.push(("init", self.init));
        let spans = spans
            .iter()
            .map(|(name, span)| format!("{name} {:.2} s", span.as_secs_f64()));
        f.write_str(&spans.collect::<Vec<_>>().join(", "))
    }
}

/// A VM's memory if nobody says otherwise, in MiB.
pub const MEMORY: u32 = 2048;

/// What every VM needs on the host.
#[derive(Clone, Debug)]
pub struct Tools {
    /// QEMU's system emulator.
    pub qemu: PathBuf,
    /// What it says about itself.
    pub qemu_text: String,
    /// Its version.
    pub version: QemuVersion,
    /// The static BusyBox.
    pub busybox: PathBuf,
}

impl Tools {
    /// Finds them.
    ///
    /// # Errors
    ///
    /// Names what is missing.
    pub fn find(arch: &crate::model::arch::Arch) -> Result<Self> {
        let missing = |what: &str| {
            Failure::setup(format!("{what} is not installed"))
                .hint("run the same command with --setup to install what is missing")
        };
        let qemu = programs::find_program(arch.qemu).ok_or_else(|| missing(arch.qemu))?;
        let busybox = programs::static_busybox().ok_or_else(|| missing("a static BusyBox"))?;
        let shell = crate::base::process::shell()?;
        let text = cmd!(shell, "{qemu} --version")
            .quiet()
            .ignore_stderr()
            .read();
        let text =
            text.with_context(|| format!("cannot ask {} for its version", qemu.display()))?;
        let version = text.parse()?;
        let first = text.lines().next().unwrap_or_default();
        let qemu_text = format!("{} {first}", qemu.display());
        Ok(Self {
            qemu,
            qemu_text,
            version,
            busybox,
        })
    }
}

/// Runs a VM to its end. Where KVM was to be tried and shows no sign of life, the
/// VM is started once more, emulated, and a line says so.
///
/// # Errors
///
/// If the VM cannot be started at all, the sink fails, or a signal arrives.
pub fn run(env: &Env, request: &VmRequest, sink: &mut dyn VmSink) -> Result<VmRun> {
    let tools = Tools::find(request.kernel.arch)?;
    let request = &arranged(request)?;
    let means = means(request, tools)?;
    let boot = |accel, sink: &mut dyn VmSink| boot(request, &means, accel, &env.ui, sink);
    let kvm = match request.accel {
        AccelChoice::Tcg => Kvm::Unproved,
        _ => accel::known(&env.paths, &means.tools.qemu_text),
    };
    // The first VM on KVM is the proof that it works, and one that waits for a debugger
    // proves nothing.
    let choice = match (request.accel, request.debugger) {
        (AccelChoice::Auto, Some(_)) if kvm == Kvm::Unproved => AccelChoice::Tcg,
        (choice, _) => choice,
    };
    let decision = accel::decide(choice, &kvm)?;
    if let Some(warning) = &decision.warning {
        // Once for all VMs of a session.
        env.ui.warn_once(warning);
    }
    if decision.accel == Accel::Tcg {
        if request.cpus.is_none()
            && let Some(words) = means.one_processor()
        {
            env.ui
                .info_once(format!("{}: {words}", request.kernel.release));
        }
        return boot(Accel::Tcg, sink).map(|(run, _)| run);
    }
    let (run, alive) = boot(Accel::Kvm, sink)?;
    if request.debugger.is_some() {
        // How far it came was the debugger's doing.
        return Ok(run);
    }
    // What cannot be kept is found out again by the next run.
    let remember = |failure: Option<&str>| {
        if kvm == Kvm::Unproved
            && let Err(error) = accel::remember(&env.paths, &means.tools.qemu_text, failure)
        {
            env.ui.verbose(format!("{error:#}"));
        }
    };
    if alive {
        remember(None);
        return Ok(run);
    }
    let reason = match &run.outcome {
        VmOutcome::Lost(how) => how.clone(),
        _ => "a kernel started on it shows no sign of life".to_owned(),
    };
    let retry = accel::decide(request.accel, &Kvm::Fails(reason.clone())).inspect_err(|_| {
        remember(Some(&reason));
    })?;
    if let Some(warning) = &retry.warning {
        env.ui.warn_once(warning);
    }
    let (run, _) = boot(retry.accel, sink)?;
    // A command line that QEMU refuses emulated as well says nothing about KVM.
    remember(Some(&reason));
    Ok(run)
}

/// The request with its shares in order, and with memory for what it asks for.
fn arranged(request: &VmRequest) -> Result<VmRequest> {
    let mut shares = share::arrange(request.shares.clone())?;
    // No other share is below it or hides it: the guest's own places are not for sharing.
    shares.extend(request.cores.as_ref().map(|directory| Share {
        host: directory.clone(),
        guest: cores::PLACE.into(),
        writable: true,
    }));
    let arch = request.kernel.arch;
    let more = crash_memory(request).map_or(0, |memory| memory - arch.crash_memory);
    Ok(VmRequest {
        shares,
        // The main tests are to have what they have on other kernels.
        memory: request.memory.saturating_add(more),
        ..request.clone()
    })
}

/// How much memory is set aside for the kernel after a crash, in MiB, if one is to come.
fn crash_memory(request: &VmRequest) -> Option<u32> {
    let arch = request.kernel.arch;
    request.crash.as_ref()?;
    Some(match request.kernel.debuginfo {
        Some(_) => arch.large_crash_memory,
        None => arch.crash_memory,
    })
}

/// What a request is carried out with.
struct Means {
    tools: Tools,
    /// What the kernel has.
    offer: Offer,
    /// What sets the guest's clock.
    date: Option<PathBuf>,
    network: Option<Network>,
    /// Modules for the file system of disks, for init.
    file_system: Vec<PathBuf>,
    /// Modules for an initramfs; none if there is to be none.
    bridge: Vec<PathBuf>,
    /// Whether messages of the root's file system are small.
    small_messages: bool,
    /// Whether the kernel is told to do without ACPI.
    no_acpi: bool,
    /// Whether all its processors are emulated by one thread of QEMU's.
    one_thread: bool,
    /// Whether it can have more than one processor.
    smp: bool,
}

/// The devices of the disks with a file system, and where they are mounted.
fn mounted(disks: &[Disk]) -> impl Iterator<Item = (String, PathBuf)> {
    disks
        .iter()
        .enumerate()
        .filter_map(|(index, disk)| match &disk.purpose {
            Purpose::Mounted(place) => Some((scratch_disk::device(index), place.clone())),
            Purpose::Device(_) => None,
        })
}

impl Means {
    /// Why an emulated guest has one processor although the kernel could use more.
    fn one_processor(&self) -> Option<&'static str> {
        (self.one_thread && self.smp && programs::processors() > 1).then_some(
            "one processor, because emulated ones take turns where a kernel changes its own \
             code (CONFIG_JUMP_LABEL); --cpus gives it more",
        )
    }
}

/// Plans how the kernel comes to its root and to what else it needs.
///
/// # Errors
///
/// A set-up failure: the kernel cannot do it.
fn means(request: &VmRequest, tools: Tools) -> Result<Means> {
    let kernel = &request.kernel;
    let offer = Offer::read(kernel)?;
    let wishes = Wishes {
        disk: !request.disks.is_empty(),
        file_system: mounted(&request.disks).next().is_some(),
        network: request.network,
        cores: request.cores.is_some(),
    };
    let loads = requirements::plan(&offer, wishes, &kernel.release.to_string())?;
    // Only for our own it was seen to work; a distribution's kernel is to find what it
    // finds on other machines.
    let ours = kernel.origin == Origin::Package;
    Ok(Means {
        tools,
        date: programs::fine_date()?,
        network: match request.network {
            true => Some(Network {
                modules: requirements::module_files(kernel, &loads.network)?,
            }),
            false => None,
        },
        bridge: requirements::module_files(kernel, &loads.bridge)?,
        file_system: requirements::module_files(kernel, &loads.file_system)?,
        small_messages: qemu::clears_messages(&kernel.release.version)
            && offer.has(qemu::CLEARS_MEMORY) != Some(false),
        no_acpi: ours && offer.has_all(qemu::SPARE_ACPI),
        smp: offer.has("CONFIG_SMP") != Some(false),
        one_thread: !ours && offer.has(qemu::PATCHES_ITSELF) != Some(false),
        offer,
    })
}

/// Whether VMs will be emulated, as far as that is known before one was started.
pub fn emulates(arch: &crate::model::arch::Arch, choice: AccelChoice, paths: &Paths) -> bool {
    let Ok(tools) = Tools::find(arch) else {
        return true;
    };
    let kvm = accel::known(paths, &tools.qemu_text);
    accel::decide(choice, &kvm).is_ok_and(|decision| decision.accel == Accel::Tcg)
}

/// QEMU's command line as [`run`] would use it, for `--dry-run`.
pub fn dry_run(request: &VmRequest, paths: &Paths) -> Result<Vec<OsString>> {
    let tools = Tools::find(request.kernel.arch)?;
    let request = &arranged(request)?;
    let kvm = accel::known(paths, &tools.qemu_text);
    let decision = accel::decide(request.accel, &kvm)?;
    let directory = temporary::host_folder()?.join("vmtest-XXXXXX");
    let means = means(request, tools)?;
    Ok(qemu::command_line(&spec(
        request,
        &means,
        decision.accel,
        &directory,
    ))?)
}

fn spec(request: &VmRequest, means: &Means, accel: Accel, directory: &Path) -> VmSpec {
    let tools = &means.tools;
    let mut ports = match request.terminal {
        Some(_) => vec![Port::Events, Port::Terminal],
        None => vec![Port::Events, Port::Stdout, Port::Stderr],
    };
    if request.terminal.is_none() && request.stdin == Stdin::Inherit {
        ports.push(Port::Stdin);
    }
    VmSpec {
        arch: request.kernel.arch,
        qemu: tools.qemu.clone(),
        version: tools.version,
        accel,
        memory: request.memory,
        cpus: request.cpus.unwrap_or_else(|| processors(means, accel)),
        root: request.root.clone(),
        cache: request.cache,
        image: request.kernel.image.clone(),
        initramfs: (!means.bridge.is_empty()).then(|| directory.join(INITRAMFS)),
        init: directory.join("init"),
        sockets: directory.to_owned(),
        ports,
        console_log: request.console_log.clone(),
        keep: request.dump.is_some(),
        small_messages: means.small_messages,
        no_acpi: accel == Accel::Tcg && means.no_acpi,
        one_thread: means.one_thread,
        crash: crash_memory(request),
        disks: (0..request.disks.len())
            .map(|index| scratch_disk::image(directory, index))
            .collect(),
        shares: request.shares.clone(),
        network: request.network,
        debugger: request.debugger,
        kernel_arguments: request.kernel_arguments.clone(),
        qemu_arguments: request.qemu_arguments.clone(),
    }
}

/// How many processors a guest has if nobody says.
fn processors(means: &Means, accel: Accel) -> u32 {
    // Emulated by one thread, a second one makes nothing quicker: what the two have to
    // tell each other waits until the other has its turn.
    let alone = means.one_thread && accel == Accel::Tcg || !means.smp;
    if alone {
        1
    } else {
        programs::processors().min(2)
    }
}

/// The initramfs in the run's directory.
const INITRAMFS: &str = "initramfs";

/// The archive of the guest's own files there.
const FILES: &str = "files";

/// What pam_systemd tells a session of root's, unless the command is told otherwise.
const RUNTIME_DIRECTORY: (&str, &str) = ("XDG_RUNTIME_DIR", "/run/user/0");

/// Init's view of the request.
fn guest(request: &VmRequest, means: &Means, accel: Accel, directory: &Path, mark: &str) -> Guest {
    let (tools, network) = (&means.tools, &means.network);
    let mut environment = request.environment.clone();
    if !environment
        .iter()
        .any(|(name, _)| name == RUNTIME_DIRECTORY.0)
    {
        let (name, value) = RUNTIME_DIRECTORY;
        environment.push((name.into(), value.into()));
    }
    environment.push(("VMTEST_EVENTS".into(), guest::EVENTS.into()));
    environment.push((
        "VMTEST_KERNEL".into(),
        request.kernel.release.to_string().into(),
    ));
    for (index, disk) in request.disks.iter().enumerate() {
        if let Purpose::Device(variable) = &disk.purpose {
            environment.push((variable.into(), scratch_disk::device(index).into()));
        }
    }
    let initramfs = (!means.bridge.is_empty()).then(|| directory.join(INITRAMFS));
    let crash = request.crash.as_ref().map(|crash| guest::Crash {
        select: crash.select.clone(),
        load: load_command(crash, &request.kernel, initramfs.as_deref(), accel),
        trigger: crash.trigger.clone(),
        command: crash.command.clone(),
    });
    let mut commands = vec![&request.command];
    commands.extend(crash.iter().flat_map(|crash| [&crash.load, &crash.command]));
    // A word with a slash may be a file's name.
    let words = commands.into_iter().flatten();
    let words = words.filter(|word| word.as_bytes().contains(&b'/'));
    let words = words.map(|word| request.directory.join(word));
    let home = request
        .environment
        .iter()
        .filter(|(name, _)| name == "HOME");
    let kernel = &request.kernel;
    let needed = [
        &request.directory,
        &kernel.path,
        &kernel.modules,
        &tools.busybox,
    ]
    .into_iter()
    .chain(&request.keep)
    .chain(&request.modules)
    .chain(network.iter().flat_map(|network| &network.modules))
    .chain(&means.file_system)
    .chain(&kernel.debuginfo)
    .cloned()
    .chain(words)
    .chain(home.map(|(_, value)| PathBuf::from(value)))
    .filter(|path| path.is_absolute() && path.exists());
    let links = guest::LINKS.iter().map(PathBuf::from);
    let links = links.filter(|link| link.is_symlink()).map(|link| Route {
        end: "/".into(),
        links: vec![link],
    });
    let hidden = guest::hidden(needed.filter_map(|path| route::route(&path)).chain(links));
    // Init shows these by their real names: before the guest's root is its root, an absolute
    // link leads elsewhere.
    let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
    Guest {
        busybox: tools.busybox.clone(),
        console: kernel.arch.console,
        mark: mark.to_owned(),
        kernel: real(kernel.modules.clone()),
        directory: request.directory.clone(),
        modules: request.modules.clone(),
        command: request.command.clone(),
        environment,
        terminal: request.terminal,
        stdin: request.stdin == Stdin::Inherit,
        hidden,
        crash,
        shares: request.shares.clone(),
        disks: mounted(&request.disks).collect(),
        disk_modules: means.file_system.clone(),
        network: network.clone(),
        files: real(directory.join(FILES)),
        version: kernel.release.version,
        date: means.date.clone(),
        cores: request.cores.is_some(),
        debuginfo: kernel.debuginfo.clone().map(real),
    }
}

/// The command that loads the capture kernel: the one that runs, once more.
fn load_command(
    crash: &CrashRequest,
    kernel: &LocalKernel,
    initramfs: Option<&Path>,
    accel: Accel,
) -> Vec<OsString> {
    // Nothing of the project's or the environment's is to be imported.
    let options = ["-B", "-I", "-S"].map(OsString::from);
    let number = kernel.arch.kexec_file_load.to_string();
    let parameters = qemu::capture_parameters(accel);
    let mut words: Vec<OsString> = vec![crash.python.clone().into()];
    words.extend(options);
    words.extend([crash.loader.clone().into(), number.into()]);
    words.push(kernel.image.clone().into());
    // Empty for none.
    words.push(initramfs.unwrap_or(Path::new("")).into());
    words.extend(parameters.into_iter().map(OsString::from));
    words
}

/// One start of QEMU. The second value: whether there was a sign of life.
fn boot(
    request: &VmRequest,
    means: &Means,
    accel: Accel,
    ui: &Ui,
    sink: &mut dyn VmSink,
) -> Result<(VmRun, bool)> {
    // For init, the ports' sockets and the scratch disk, not in the work directory because
    // sockets have short names. It is removed as soon as the guest's init runs, for the last
    // time if the kernel is to be crashed.
    let directory = Scratch::new()?;
    let mark = temporary::random_digits(32).context("there are no random bytes")?;
    let spec = spec(request, means, accel, directory.path());
    let path = request.environment.iter().find(|(name, _)| name == "PATH");
    let files = GuestFiles {
        path: path.map_or(OsStr::new(""), |(_, value)| value),
        root: &request.root,
        release: &request.kernel.release.to_string(),
        modules: &request.kernel.modules,
        offer: &means.offer,
        busybox: &means.tools.busybox,
        machine_id: &temporary::random_digits(32).context("there are no random bytes")?,
    };
    files::write(&files, &directory.path().join(FILES))?;
    if let Some(goal) = &spec.initramfs {
        let bridge = Bridge {
            root_options: &qemu::root_options(&spec),
            init: &spec.init,
            modules: &means.bridge,
            busybox: &means.tools.busybox,
            text: &request.bridge_text,
        };
        initramfs::write(&bridge, goal)?;
    }
    // Behind the initramfs: what init shows of the host must be there.
    let guest = guest(request, means, accel, directory.path(), &mark);
    let init = directory.path().join("init");
    fs::write(&init, guest::init_script(&guest, &request.init_text))
        .and_then(|()| fs::set_permissions(&init, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", init.display()))?;
    scratch_disk::make(&request.disks, directory.path())?;
    let mut listeners = Vec::new();
    let ports = [Port::Status, Port::Monitor].into_iter();
    for port in ports.chain(spec.ports.iter().copied()) {
        let path = qemu::socket(directory.path(), port);
        let listener = UnixListener::bind(&path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
        listeners.push((port, listener));
    }
    if let Some(parent) = request.console_log.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    File::create(&request.console_log)
        .with_context(|| format!("cannot write {}", request.console_log.display()))?;

    let mut line = qemu::command_line(&spec)?.into_iter();
    let program = line.next().unwrap_or_default();
    let words = directory.path().join("qemu.log");
    let log = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&words)
        .with_context(|| format!("cannot write {}", words.display()))?;
    let qemu = LongCommand::new(program).args(line);
    ui.verbose(qemu.display());
    let enclosure = Enclosure::wanted(
        directory.path(),
        seen_by_qemu(request, &guest, directory.path()),
    );
    let command = match &enclosure {
        Some(enclosure) => qemu.behind(enclosure.words()),
        None => qemu,
    };
    let command = command.log(&log)?;
    let start = Instant::now();
    let child = command.spawn()?;
    let mut console = Console::open(&request.console_log)?;
    if request.kernel_log {
        console.keep();
    }
    let debugger = request.debugger.map(|debugger| {
        let vmlinux = request.kernel.vmlinux.as_deref();
        debugger.command(directory.path(), vmlinux.filter(|path| path.is_file()))
    });
    let connected = || {
        if let Some(why) = enclosure.as_ref().and_then(Enclosure::failure) {
            ui.warn_once(format!(
                "guests can read the host's /proc, /sys and /dev, which cannot be hidden: {why}"
            ));
        }
        if let Some(command) = &debugger {
            ui.request(format!("the guest waits for a debugger: {command}"));
        }
    };
    let mut machine = Machine {
        child,
        start,
        begin: start,
        console,
        words: log,
        directory: Some(directory),
        boot: None,
        times: None,
        spans: None,
        phase: VmPhase::Boot,
        last_byte: start,
        looked: start,
        alive: false,
        accel,
        pump: StdinPump::default(),
        tail: None,
        monitor: None,
        note: None,
        stage: Stage::Main,
        odd: None,
    };
    let cores = || {
        let directory = request.cores.iter();
        directory
            .flat_map(|directory| cores::listed(directory, &request.kernel.release.to_string()))
    };
    let there = cores().collect::<BTreeSet<_>>();
    let served = machine.serve(request, listeners, &mark, &connected, sink)?;
    if let Some((count, line)) = &machine.odd {
        ui.warn(format!(
            "a process of the guest wrote to its status port, {count} line(s) that are none of \
             init's; the first: {line}"
        ));
    }
    // With KVM it may be that which is refused: there is another attempt without it.
    if !(accel == Accel::Kvm && request.accel == AccelChoice::Auto)
        && let Some(refusal) = machine.refusal()
    {
        // There was no guest whose words could be in it.
        let _ = fs::remove_file(&request.console_log);
        return Err(refusal.into());
    }
    let dump = match &served {
        Served::Once(outcome) | Served::Crashed(_, outcome) => {
            machine.dump(request, outcome, ui)?
        }
        Served::NothingElse(_) => None,
    };
    machine.child.kill()?;
    machine.console.follow();
    sink.console(&machine.console.take())?;
    let (first, crash) = match served {
        Served::Once(outcome) => (machine.phase_run(request, outcome), None),
        Served::Crashed(first, outcome) => (first, Some(machine.phase_run(request, outcome))),
        Served::NothingElse(first) => (first, None),
    };
    let run = VmRun {
        outcome: first.outcome,
        trouble: first.trouble,
        accel,
        boot: first.boot,
        spans: first.spans,
        total: first.total,
        console_tail: first.console_tail,
        dump,
        cores: cores().filter(|core| !there.contains(core)).collect(),
        console_log: request.console_log.clone(),
        crash,
    };
    for core in &run.cores {
        ui.info(format!("core dump: {}", core.display()));
    }
    Ok((run, machine.alive || machine.console.any()))
}

/// What QEMU opens, for itself or for the guest, wherever it is.
fn seen_by_qemu(request: &VmRequest, guest: &Guest, directory: &Path) -> Vec<PathBuf> {
    let mut paths = vec![
        directory.to_owned(),
        request.console_log.clone(),
        request.kernel.image.clone(),
    ];
    paths.extend(guest.hidden.keep.iter().cloned());
    paths.extend(request.shares.iter().map(|share| share.host.clone()));
    paths.extend(enclosure::named(&request.qemu_arguments));
    paths
}

/// A duration as people write it: `20 s`, `1.5 s`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds.fract() == 0.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{seconds:.1} s")
    }
}
