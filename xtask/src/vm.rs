//! Runs a command in a VM: starts QEMU, serves its ports, keeps the limits.
//!
//! What happens in a VM is a value, [`VmRun`]; an error is what prevented it
//! from being started.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use xshell::cmd;

use crate::accel::{self, Kvm};
use crate::console::Console;
use crate::dump::{self, Note};
use crate::failure::{Failure, FailureKind};
use crate::guest::{self, Guest};
use crate::host;
use crate::interrupt;
use crate::kconfig::FinalConfig;
use crate::kernel::LocalKernel;
use crate::layout::Layout;
use crate::process::{LongChild, LongCommand, status_in_words};
use crate::protocol::{MarkScanner, Port, Status, StatusReader};
use crate::qemu::{self, QemuVersion, VmSpec};
use crate::qmp::Monitor;
use crate::symbolize::symbolize;
use crate::terminal::Escape;
use crate::ui::Ui;

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
    /// What else must be visible in the guest even below `/tmp` or `/run`: the
    /// project, a virtual environment. The command's own words that are absolute
    /// paths, the working directory, the kernel and the modules always are.
    pub keep: Vec<PathBuf>,
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
    /// The text of the guest's init, [`guest::INIT`] of the assets.
    pub init_text: String,
}

/// Receives what the guest sends while it runs, in order per stream. An error
/// ends the VM and the run.
pub trait VmSink {
    /// The guest's init has started the command.
    fn started(&mut self) {}
    /// Bytes of the command's standard output (of a terminal, of both streams).
    fn stdout(&mut self, bytes: &[u8]) -> Result<()>;
    /// Bytes of the command's standard error.
    fn stderr(&mut self, bytes: &[u8]) -> Result<()>;
    /// Bytes of the events stream (`VMTEST_EVENTS` in the guest names its FIFO).
    fn events(&mut self, bytes: &[u8]) -> Result<()>;
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
                };
                write!(f, "the VM got stuck {phase}: {limit}")
            }
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
}

/// A VM's memory if nobody says otherwise, in MiB.
pub const MEMORY: u32 = 2048;

/// How long a boot may take by default, with KVM and emulated.
const BOOT_LIMIT: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

/// Without a byte on the console or a port for so long after its start, a VM on
/// KVM shows no sign of life. A stock kernel says its first words within 0.5 s.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// How long QEMU may take to connect its ports: it does so before it loads the kernel.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// After a verdict, how long the rest of the output may be silent.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// How long a panicked kernel may take to reset.
const PANIC_GRACE: Duration = Duration::from_secs(5);

/// How long the console may take to show tasks after a limit, and how long it may
/// be silent meanwhile.
const EVIDENCE_LIMIT: [Duration; 2] = [Duration::from_secs(6), Duration::from_secs(1)];

/// What the kernel is asked for after a limit, by sysrq
/// (Documentation/admin-guide/sysrq.rst): where its processors are, the blocked tasks,
/// and, because they are many, last all of them.
const QUESTIONS: &str = "sysrq l\nsysrq w\nsysrq t\n";

/// The most that a console may have, in bytes: a guest that prints without end to it
/// must not fill the host's disk. A kernel's boot prints some 30 KiB.
const LONGEST_CONSOLE: u64 = 64 << 20;

/// Bytes read from a port at once.
const CHUNK: usize = 64 << 10;

/// How many chunks may wait between a port and the sink. When they are used up the
/// port is not read, QEMU stops taking from the guest, and the guest's writer waits.
const QUEUE: usize = 16;

/// Lines of the console that go with an outcome.
const CONSOLE_TAIL: usize = 20;

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
    pub fn find(arch: &crate::arch::Arch) -> Result<Self> {
        let missing = |what: &str| {
            Failure::setup(format!("{what} is not installed"))
                .hint("run the same command with --setup to install what is missing")
        };
        let qemu = host::find_program(arch.qemu).ok_or_else(|| missing(arch.qemu))?;
        let busybox = host::static_busybox().ok_or_else(|| missing("a static BusyBox"))?;
        let shell = crate::process::shell()?;
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
pub fn run(request: &VmRequest, layout: &Layout, ui: &Ui, sink: &mut dyn VmSink) -> Result<VmRun> {
    let tools = Tools::find(request.kernel.arch)?;
    let kvm = match request.accel {
        AccelChoice::Tcg => Kvm::Unproved,
        _ => accel::known(layout, &tools.qemu_text),
    };
    let decision = accel::decide(request.accel, &kvm)?;
    if let Some(warning) = &decision.warning {
        // Once for all VMs of a session.
        ui.warn_once(warning);
    }
    if decision.accel == Accel::Tcg {
        return boot(request, &tools, Accel::Tcg, ui, sink).map(|(run, _)| run);
    }
    let (run, alive) = boot(request, &tools, Accel::Kvm, ui, sink)?;
    if alive {
        if kvm == Kvm::Unproved {
            accel::remember(layout, &tools.qemu_text, None)?;
        }
        return Ok(run);
    }
    let reason = match &run.outcome {
        VmOutcome::Lost(how) => how.clone(),
        _ => "a kernel started on it shows no sign of life".to_owned(),
    };
    if kvm == Kvm::Unproved {
        accel::remember(layout, &tools.qemu_text, Some(&reason))?;
    }
    let retry = accel::decide(request.accel, &Kvm::Fails(reason))?;
    if let Some(warning) = &retry.warning {
        ui.warn_once(warning);
    }
    boot(request, &tools, retry.accel, ui, sink).map(|(run, _)| run)
}

/// Whether VMs will be emulated, as far as that is known before one was started.
pub fn emulates(arch: &crate::arch::Arch, choice: AccelChoice, layout: &Layout) -> bool {
    let Ok(tools) = Tools::find(arch) else {
        return true;
    };
    let kvm = accel::known(layout, &tools.qemu_text);
    accel::decide(choice, &kvm).is_ok_and(|decision| decision.accel == Accel::Tcg)
}

/// QEMU's command line as [`run`] would use it, for `--dry-run`.
pub fn dry_run(request: &VmRequest, layout: &Layout) -> Result<Vec<OsString>> {
    let tools = Tools::find(request.kernel.arch)?;
    let kvm = accel::known(layout, &tools.qemu_text);
    let decision = accel::decide(request.accel, &kvm)?;
    let directory = std::env::temp_dir().join("vmtest-XXXXXX");
    Ok(qemu::command_line(&spec(
        request,
        &tools,
        decision.accel,
        &directory,
    ))?)
}

fn spec(request: &VmRequest, tools: &Tools, accel: Accel, directory: &Path) -> VmSpec {
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
        cpus: request.cpus.unwrap_or_else(|| host::processors().min(2)),
        root: request.root.clone(),
        cache: request.cache,
        image: request.kernel.image(),
        init: directory.join("init"),
        sockets: directory.to_owned(),
        ports,
        console_log: request.console_log.clone(),
        monitor: request.dump.is_some(),
        no_acpi: accel == Accel::Tcg && can_spare_acpi(&request.kernel),
        disk: request.disk.as_ref().map(|_| directory.join("disk")),
        kernel_arguments: request.kernel_arguments.clone(),
        qemu_arguments: request.qemu_arguments.clone(),
    }
}

/// A kernel without a configuration beside it gets what every kernel can boot with.
fn can_spare_acpi(kernel: &LocalKernel) -> bool {
    fs::read_to_string(kernel.config())
        .is_ok_and(|text| qemu::can_spare_acpi(&FinalConfig::parse(&text)))
}

/// Init's view of the request.
fn guest(request: &VmRequest, tools: &Tools, mark: &str) -> Guest {
    let mut environment = request.environment.clone();
    environment.push(("VMTEST_EVENTS".into(), guest::EVENTS.into()));
    environment.push((
        "VMTEST_KERNEL".into(),
        request.kernel.release.to_string().into(),
    ));
    if let Some(disk) = &request.disk {
        environment.push((disk.variable.clone().into(), guest::DISK.into()));
    }
    let words = request.command.iter().map(PathBuf::from);
    let needed = [&request.directory, &request.kernel.path, &tools.busybox]
        .into_iter()
        .chain(&request.keep)
        .chain(&request.modules)
        .cloned()
        .chain(words)
        .filter(|path| path.is_absolute() && path.exists());
    let links = guest::LINKS
        .iter()
        .map(PathBuf::from)
        .filter(|link| link.is_symlink());
    Guest {
        busybox: tools.busybox.clone(),
        mark: mark.to_owned(),
        kernel: request.kernel.path.clone(),
        directory: request.directory.clone(),
        modules: request.modules.clone(),
        command: request.command.clone(),
        environment,
        terminal: request.terminal,
        stdin: request.stdin == Stdin::Inherit,
        keep: guest::hidden(needed),
        keep_links: links.collect(),
    }
}

/// One start of QEMU. The second value: whether there was a sign of life.
fn boot(
    request: &VmRequest,
    tools: &Tools,
    accel: Accel,
    ui: &Ui,
    sink: &mut dyn VmSink,
) -> Result<(VmRun, bool)> {
    let directory = run_directory()?;
    let mark = random_word()?;
    let init = directory.path().join("init");
    fs::write(
        &init,
        guest::init_script(&guest(request, tools, &mark), &request.init_text),
    )
    .and_then(|()| fs::set_permissions(&init, fs::Permissions::from_mode(0o755)))
    .with_context(|| format!("cannot write {}", init.display()))?;
    if let Some(disk) = &request.disk {
        let path = directory.path().join("disk");
        File::create(&path)
            .and_then(|file| file.set_len(disk.size))
            .with_context(|| format!("cannot create {}", path.display()))?;
    }
    let spec = spec(request, tools, accel, directory.path());
    let mut listeners = Vec::new();
    let monitor = spec.monitor.then_some(Port::Monitor);
    let ports = [Port::Status].into_iter().chain(monitor);
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
    let log = File::create(&words).with_context(|| format!("cannot write {}", words.display()))?;
    let command = LongCommand::new(program).args(line).log(&log)?;
    ui.verbose(command.display());
    let start = Instant::now();
    let child = command.spawn()?;
    let mut machine = Machine {
        child,
        start,
        console: Console::open(&request.console_log)?,
        words,
        directory: Some(directory),
        boot: None,
        phase: VmPhase::Boot,
        last_byte: start,
        alive: false,
        accel,
        pump: StdinPump::default(),
        tail: None,
        monitor: None,
        note: None,
    };
    let outcome = machine.serve(request, listeners, &mark, sink)?;
    let dump = machine.dump(request, &outcome, ui)?;
    machine.child.kill()?;
    machine.console.follow();
    let mut trouble = machine.console.trouble().to_owned();
    if !matches!(outcome, VmOutcome::Exited(_) | VmOutcome::InitFailed(_)) {
        trouble = symbolize(&trouble, &request.kernel.path.join("build/vmlinux"));
    }
    let run = VmRun {
        outcome,
        trouble,
        accel,
        boot: machine.boot,
        total: start.elapsed(),
        console_tail: machine
            .tail
            .unwrap_or_else(|| machine.console.tail(CONSOLE_TAIL)),
        dump,
        console_log: request.console_log.clone(),
    };
    Ok((run, machine.alive || machine.console.any()))
}

/// A directory for init, the ports' sockets and the scratch disk. Sockets have
/// short names (unix(7): 108 bytes), so it is not in the work directory. It is
/// removed as soon as the guest's init runs; what a run that was killed before has
/// left is removed here.
fn run_directory() -> Result<tempfile::TempDir> {
    let parent = std::env::temp_dir();
    let failure = || format!("cannot create a directory in {}", parent.display());
    for entry in fs::read_dir(&parent)
        .with_context(failure)?
        .filter_map(Result::ok)
    {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(RUN_PREFIX)?.split_once('-'));
        if let Some((owner, _)) = owner
            && owner.parse::<u32>().is_ok()
            && !Path::new("/proc").join(owner).exists()
        {
            // Somebody else's cannot be removed, and need not be.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{RUN_PREFIX}{}-", std::process::id()))
        .tempdir_in(&parent)
        .with_context(failure)
}

/// Run directories are called `vmtest-<process>-<random>`.
const RUN_PREFIX: &str = "vmtest-";

fn random_word() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A message from a port's thread.
enum Message {
    Data(Port, Vec<u8>),
    Closed,
}

/// A running QEMU and what is known about its guest.
struct Machine {
    child: LongChild,
    start: Instant,
    console: Console,
    /// QEMU's own words.
    words: PathBuf,
    directory: Option<tempfile::TempDir>,
    boot: Option<Duration>,
    phase: VmPhase,
    last_byte: Instant,
    alive: bool,
    accel: Accel,
    pump: StdinPump,
    /// The console's last lines before we asked the kernel for more.
    tail: Option<String>,
    /// The connection to QEMU, if a dump is wanted.
    monitor: Option<Monitor>,
    /// Where the kernel's description is.
    note: Option<Note>,
}

impl Machine {
    fn serve(
        &mut self,
        request: &VmRequest,
        listeners: Vec<(Port, UnixListener)>,
        mark: &str,
        sink: &mut dyn VmSink,
    ) -> Result<VmOutcome> {
        let (sender, receiver) = sync_channel(QUEUE);
        let Some(streams) = self.connect(listeners)? else {
            return Ok(self.lost());
        };
        let mut open = 0;
        let mut control = None;
        let mut scanners = Vec::new();
        for (port, stream) in streams {
            match port {
                Port::Status => {
                    control = Some(stream.try_clone().context("cannot share a socket")?)
                }
                Port::Terminal if request.stdin == Stdin::Inherit => {
                    self.pump.stream = Some(stream.try_clone().context("cannot share a socket")?);
                    self.pump.terminal = true;
                }
                Port::Stdin => {
                    self.pump.stream = Some(stream);
                    continue;
                }
                Port::Monitor => {
                    self.monitor = Some(Monitor::new(stream)?);
                    continue;
                }
                _ => {}
            }
            if port != Port::Status {
                scanners.push((port, MarkScanner::new(mark)));
            }
            open += 1;
            read_port(port, stream, sender.clone());
        }
        drop(sender);
        let outcome = self.watch(request, &receiver, open, &mut scanners, control, sink);
        self.pump = StdinPump::default();
        // What was held back as a possible beginning of the mark was none.
        for (port, scanner) in &mut scanners {
            deliver(*port, &scanner.finish(), sink)?;
        }
        outcome
    }

    /// Accepts every port's connection; `None` if QEMU ended instead.
    fn connect(
        &mut self,
        mut listeners: Vec<(Port, UnixListener)>,
    ) -> Result<Option<Vec<(Port, UnixStream)>>> {
        let mut streams = Vec::new();
        while !listeners.is_empty() {
            interrupt::check()?;
            let mut waiting = Vec::new();
            for (port, listener) in listeners {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream
                            .set_nonblocking(false)
                            .context("cannot set up a socket")?;
                        streams.push((port, stream));
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        waiting.push((port, listener));
                    }
                    Err(error) => return Err(error).context("cannot accept QEMU's connection"),
                }
            }
            listeners = waiting;
            if self.child.try_wait()?.is_some() || self.start.elapsed() > CONNECT_LIMIT {
                return Ok(None);
            }
            if !listeners.is_empty() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(Some(streams))
    }

    fn watch(
        &mut self,
        request: &VmRequest,
        receiver: &Receiver<Message>,
        mut open: usize,
        scanners: &mut [(Port, MarkScanner)],
        mut control: Option<UnixStream>,
        sink: &mut dyn VmSink,
    ) -> Result<VmOutcome> {
        let mut status = StatusReader::default();
        let mut verdict: Option<u8> = None;
        let mut init_failed = None;
        let mut panicked: Option<Instant> = None;
        let mut gone: Option<Instant> = None;
        loop {
            interrupt::check()?;
            if self.pump.quit.load(Ordering::SeqCst) {
                let kind = FailureKind::Interrupted(signal_hook::consts::SIGINT);
                return Err(Failure::new(kind, "ended from the terminal by Ctrl-A X").into());
            }
            if let (Some((columns, rows)), Some(control)) = (sink.tick()?, &mut control) {
                // A guest that is gone is noticed below.
                let _ = writeln!(control, "size {columns} {rows}");
            }
            match receiver.recv_timeout(interrupt::POLL) {
                Ok(Message::Data(Port::Status, bytes)) => {
                    self.alive = true;
                    self.last_byte = Instant::now();
                    for line in status.feed(&bytes) {
                        match line {
                            // Init is in memory and QEMU has its disk. A dump needs
                            // the directory once more.
                            Status::Hello(_) if self.monitor.is_none() => self.directory = None,
                            Status::Hello(_) => {}
                            Status::Vmcoreinfo(address, size) => {
                                self.note = Some(Note { address, size });
                            }
                            Status::Started => {
                                self.boot = Some(self.start.elapsed());
                                self.phase = VmPhase::Command;
                                self.pump.start()?;
                                sink.started();
                            }
                            Status::Fail(text) => init_failed = Some(text),
                            Status::Exit(_, code) => {
                                verdict = Some(code);
                                self.phase = VmPhase::Shutdown;
                            }
                            // Whatever it is, it is no verdict.
                            Status::Odd(_) => {}
                        }
                    }
                }
                Ok(Message::Data(port, bytes)) => {
                    self.last_byte = Instant::now();
                    if let Some((_, scanner)) = scanners.iter_mut().find(|(p, _)| *p == port) {
                        deliver(port, &scanner.feed(&bytes), sink)?;
                    }
                    self.last_byte = Instant::now();
                }
                Ok(Message::Closed) => open -= 1,
                // All that the guest has sent is here.
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(monitor) = &mut self.monitor
                        && let Some(reason) = monitor.stopped()
                    {
                        self.console.follow();
                        return Ok(match self.console.died() {
                            Some(line) => VmOutcome::Panicked(line),
                            None => VmOutcome::Lost(format!("the guest ended itself: {reason}")),
                        });
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // Every port is closed: QEMU has ended or is about to.
                    gone.get_or_insert_with(Instant::now);
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            if self.console.follow() {
                self.last_byte = Instant::now();
            }
            if let Some(text) = init_failed {
                return Ok(VmOutcome::InitFailed(text));
            }
            let drained = scanners.iter().all(|(_, scanner)| scanner.ended());
            if let (Some(code), true) = (verdict, drained) {
                return Ok(VmOutcome::Exited(code));
            }
            if self.child.try_wait()?.is_some() && (open == 0 || gone.is_some()) {
                self.console.follow();
                return Ok(match self.console.died() {
                    Some(line) => VmOutcome::Panicked(line),
                    None => self.lost(),
                });
            }
            if let Some(since) = gone
                && since.elapsed() > PANIC_GRACE
            {
                return Ok(self.lost());
            }
            if let Some(line) = self.console.panicked()
                && panicked.get_or_insert_with(Instant::now).elapsed() > PANIC_GRACE
            {
                return Ok(VmOutcome::Panicked(line));
            }
            if let Some(mut limit) = self.limit(request, verdict.is_some()) {
                self.collect_evidence(&mut control);
                if let Some(stalled) = self.console.stalled() {
                    limit = format!("{limit}; {stalled}");
                }
                return Ok(match self.console.panicked() {
                    Some(line) => VmOutcome::Panicked(line),
                    None => VmOutcome::Stuck(self.phase, limit),
                });
            }
        }
    }

    /// The limit that has run out, in words.
    fn limit(&self, request: &VmRequest, verdict: bool) -> Option<String> {
        let silent = self.last_byte.elapsed();
        let elapsed = self.start.elapsed();
        let over = |limit: Option<Duration>, spent: Duration| limit.filter(|limit| spent >= *limit);
        if self.accel == Accel::Kvm
            && request.accel == AccelChoice::Auto
            && !self.alive
            && !self.console.any()
            && elapsed >= SIGN_OF_LIFE
        {
            return Some(format!("no sign of life for {}", seconds(SIGN_OF_LIFE)));
        }
        if let Some(limit) = over(request.limits.total, elapsed) {
            return Some(format!("total limit of {} (--timeout)", seconds(limit)));
        }
        let boot = request
            .limits
            .boot
            .unwrap_or(BOOT_LIMIT[usize::from(self.accel == Accel::Tcg)]);
        if self.phase == VmPhase::Boot && elapsed >= boot {
            return Some(format!("boot limit of {} (--boot-timeout)", seconds(boot)));
        }
        if self.phase == VmPhase::Command
            && let Some(limit) = over(request.limits.idle, silent)
        {
            return Some(format!("no output for {} (--idle-timeout)", seconds(limit)));
        }
        if self.console.bytes() > LONGEST_CONSOLE {
            return Some(format!(
                "the console has more than {} MiB",
                LONGEST_CONSOLE >> 20
            ));
        }
        if verdict && silent >= DRAIN_LIMIT {
            return Some(format!(
                "the rest of the output did not come within {}",
                seconds(DRAIN_LIMIT)
            ));
        }
        None
    }

    /// Asks the guest's kernel for its tasks and waits for the console to show them.
    /// A guest that is too broken for that has nothing to add.
    fn collect_evidence(&mut self, control: &mut Option<UnixStream>) {
        let Some(control) = control else { return };
        let [limit, silence] = EVIDENCE_LIMIT;
        let _ = control.set_write_timeout(Some(silence));
        self.tail = Some(self.console.tail(CONSOLE_TAIL));
        self.console.ask();
        if self.phase == VmPhase::Boot || control.write_all(QUESTIONS.as_bytes()).is_err() {
            return;
        }
        let end = Instant::now() + limit;
        let most = LONGEST_CONSOLE + (1 << 20);
        let mut quiet = Instant::now();
        while Instant::now() < end && quiet.elapsed() < silence && self.console.bytes() < most {
            std::thread::sleep(Duration::from_millis(20));
            if self.console.follow() {
                quiet = Instant::now();
            }
        }
    }

    /// Writes the guest's memory if that is wanted and there is a guest; where to.
    /// That it cannot be written changes nothing about the outcome.
    fn dump(
        &mut self,
        request: &VmRequest,
        outcome: &VmOutcome,
        ui: &Ui,
    ) -> Result<Option<PathBuf>> {
        let trouble = matches!(
            outcome,
            VmOutcome::Panicked(_) | VmOutcome::Stuck(..) | VmOutcome::Lost(_)
        );
        let (Some(goal), Some(monitor), Some(directory)) =
            (&request.dump, &mut self.monitor, &self.directory)
        else {
            return Ok(None);
        };
        // Without a sign of life there is nothing to look at, and a second start to come.
        if !trouble || !(self.alive || self.console.any()) || self.child.try_wait()?.is_some() {
            return Ok(None);
        }
        let memory = u64::from(request.memory) << 20;
        match dump::write(monitor, self.note, memory, directory.path(), goal, ui) {
            Ok(described) => {
                if !described {
                    ui.warn("the dump has no VMCOREINFO, without which drgn cannot open it: the guest had not told where it is");
                }
                Ok(Some(goal.clone()))
            }
            Err(error) => {
                interrupt::check()?;
                ui.warn(format!("no dump: {error:#}"));
                Ok(None)
            }
        }
    }

    /// QEMU ended, or never came up: how, and its own words.
    fn lost(&mut self) -> VmOutcome {
        let how = match self.child.try_wait() {
            Ok(Some(status)) => format!("QEMU ended with {}", status_in_words(status)),
            _ => "QEMU does not answer".to_owned(),
        };
        let words = fs::read(&self.words).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        // Each line begins with the program's name; the first says what went wrong.
        let word = words.lines().map(str::trim).find(|line| !line.is_empty());
        VmOutcome::Lost(match word {
            None => how,
            Some(word) => {
                let word = word.split_once(": ").map_or(word, |(_, text)| text);
                format!("{how}: {word}")
            }
        })
    }
}

fn deliver(port: Port, bytes: &[u8], sink: &mut dyn VmSink) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    match port {
        Port::Stdout | Port::Terminal => sink.stdout(bytes),
        Port::Stderr => sink.stderr(bytes),
        Port::Events => sink.events(bytes),
        Port::Status | Port::Stdin | Port::Monitor => Ok(()),
    }
}

fn read_port(port: Port, mut stream: UnixStream, sender: SyncSender<Message>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    if sender
                        .send(Message::Data(port, buffer[..n].to_vec()))
                        .is_err()
                    {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A QEMU that was killed resets its connections.
                Err(_) => break,
            }
        }
        let _ = sender.send(Message::Closed);
    });
}

/// Copies our standard input to a port until its end, or until it is dropped. It
/// begins when the guest's command does: what is read before that would be gone if
/// the VM has to be started again, emulated.
#[derive(Default)]
struct StdinPump {
    stop: Arc<AtomicBool>,
    /// Somebody at the terminal wants the VM's end.
    quit: Arc<AtomicBool>,
    /// Only one direction may be shut down at the end: when the socket is closed
    /// QEMU sees a hang-up and throws away what the guest has not yet taken.
    stream: Option<UnixStream>,
    terminal: bool,
}

impl StdinPump {
    fn start(&self) -> Result<()> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        let mut stream = stream.try_clone().context("cannot share a socket")?;
        let (stop, quit) = (Arc::clone(&self.stop), Arc::clone(&self.quit));
        let terminal = self.terminal;
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut buffer = vec![0; CHUNK];
            let mut escape = Escape::default();
            while !stop.load(Ordering::SeqCst) {
                let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
                let timeout = rustix::event::Timespec {
                    tv_sec: 0,
                    tv_nsec: 50_000_000,
                };
                match poll(&mut ready, Some(&timeout)) {
                    Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                    Ok(_) => {}
                    Err(_) => break,
                }
                let bytes = match stdin.read(&mut buffer) {
                    Ok(n) if n > 0 => &buffer[..n],
                    _ => break,
                };
                let sent = if terminal {
                    let (bytes, wanted) = escape.feed(bytes);
                    quit.fetch_or(wanted, Ordering::SeqCst);
                    stream.write_all(&bytes)
                } else {
                    stream.write_all(bytes)
                };
                if sent.is_err() {
                    return;
                }
            }
            if !terminal {
                // The guest reads what is on its way, and then an end-of-file.
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
        });
        Ok(())
    }
}

impl Drop for StdinPump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
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
