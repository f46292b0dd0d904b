//! A running QEMU: serves its ports, keeps the limits, judges how it ended.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::ports::{Message, StdinPump, deliver, read_port};
use super::{Accel, AccelChoice, PhaseRun, Stdin, Vm, VmOutcome, VmPhase, VmRun, VmSink};
use crate::base::error::Failure;
use crate::base::process::{self, LongChild, LongCommand, status_in_words};
use crate::base::{disk, interrupt, temporary::Scratch, ui::Ui};
use crate::model::complaint::Complaint;
use crate::vm::console::complaint::ComplaintReader;
use crate::vm::console::{Console, symbolize::symbolize};
use crate::vm::dump;
use crate::vm::protocol::{MarkScanner, Port, Status, StatusReader, clock_difference};
use crate::vm::watch::{self, CrashStage, End, LONGEST_CONSOLE, Look, Quiet, Rules, Watch};
use crate::vm::{enclosure::Enclosure, plan::Boot, qemu, qmp::Monitor};

/// How long QEMU may take to connect its ports: it does so before it loads the kernel.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// How long the console may take to show tasks after a limit, and how long it may be silent
/// meanwhile.
const EVIDENCE_LIMIT: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(2)];

/// Asks the kernel by sysrq after a limit (Documentation/admin-guide/sysrq.rst): where its
/// processors are, the blocked tasks, and, because they are many, last all of them.
const QUESTIONS: &str = "sysrq l\nsysrq w\nsysrq t\n";

/// Bytes of QEMU's own words that are looked at: the first ones say what went wrong.
const LONGEST_WORDS: usize = 16 << 10;

/// Lines of the console that go with an outcome.
const CONSOLE_TAIL: usize = 20;

/// Of a kernel that came to no console. One for other processors says so before
/// (`arch/x86/boot/cpu.c`, `validate_cpu`).
const SILENT: &str = ", and the kernel printed nothing; with --kernel-cmdline earlyprintk=serial (x86) \
    or earlycon it may say more";

/// How long the kernel's log is waited for when all else has come: the mark passes through the
/// guest's kernel, where others may read it, or overwrite it.
const KERNEL_LIMIT: Duration = Duration::from_secs(10);

/// How many chunks may wait between a port and the sink. When they are used up the port is not
/// read, QEMU stops taking from the guest, and the guest's writer waits.
const QUEUE: usize = 16;

/// A running QEMU and what is known about its guest.
pub(super) struct Machine<'m> {
    vm: &'m Vm,
    accel: Accel,
    ui: &'m Ui,
    sink: &'m mut dyn VmSink,
    child: LongChild,
    /// QEMU's start.
    start: Instant,
    console: Console,
    /// QEMU's own words: open, because their file is removed with the run's directory.
    words: File,
    directory: Option<Scratch>,
    watch: Watch,
    pump: StdinPump,
    /// The console's last lines before we asked the kernel for more.
    tail: Option<String>,
    monitor: Option<Monitor>,
    /// Where the kernel's description is: address and size.
    note: Option<(u64, u64)>,
    /// Lines of the status port that are none of init's: how many, and the first one.
    odd: Option<(u64, String)>,
    /// The phase before a planned crash, once it is over.
    main: Option<PhaseRun>,
    kernel_log: ComplaintReader,
    /// When the last mark came but that of the kernel's log.
    marked: Option<Instant>,
    complaints: Vec<Complaint>,
    /// The bits of `/proc/sys/kernel/tainted`.
    tainted: u64,
}

/// A VM's connections.
struct Wires<'m> {
    receiver: Receiver<Message>,
    /// How many ports are open.
    open: usize,
    scanners: Vec<(Port, MarkScanner)>,
    control: Option<UnixStream>,
    mark: &'m str,
    status: StatusReader,
}

impl Wires<'_> {
    /// Writes a line to init. A guest that is gone is noticed by its ports.
    fn tell(&mut self, line: impl Display) {
        if let Some(control) = &mut self.control {
            let _ = writeln!(control, "{line}");
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Something,
    Nothing,
    /// Every port is closed: QEMU has ended or is about to.
    Disconnected,
}

impl<'m> Machine<'m> {
    /// Starts QEMU.
    pub(super) fn start(
        boot: &Boot<'m>,
        enclosure: Option<&Enclosure>,
        directory: Scratch,
        ui: &'m Ui,
        sink: &'m mut dyn VmSink,
    ) -> Result<Self> {
        let vm = boot.vm;
        let words = directory.path().join("qemu.log");
        let mut options = File::options();
        let words = (options.read(true).write(true).create_new(true).open(&words))
            .with_context(|| format!("cannot write {}", words.display()))?;
        let line = qemu::command_line(boot)?;
        ui.verbose(process::as_typed(&line));
        let before = enclosure.map_or(Vec::new(), Enclosure::words);
        let mut line = before.into_iter().chain(line);
        let qemu = LongCommand::new(line.next().unwrap_or_default()).args(line);
        let command = qemu.log(&words)?;
        let start = Instant::now();
        Ok(Self {
            vm,
            accel: boot.accel,
            ui,
            sink,
            child: command.spawn()?,
            start,
            console: Console::open(&vm.console_log, vm.kernel_log)?,
            words,
            directory: Some(directory),
            watch: Watch::default(),
            pump: StdinPump::default(),
            tail: None,
            monitor: None,
            note: None,
            odd: None,
            main: None,
            kernel_log: ComplaintReader::default(),
            marked: None,
            complaints: Vec::new(),
            tainted: 0,
        })
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether the guest has shown a sign of life.
    fn is_alive(&self) -> bool {
        self.watch.alive || self.console.bytes > 0
    }

    /// Accepts every port's connection; `None` if QEMU ended instead.
    pub(super) fn connect(
        &mut self,
        mut listeners: Vec<(Port, UnixListener)>,
    ) -> Result<Option<Vec<(Port, UnixStream)>>> {
        let mut streams = Vec::new();
        loop {
            interrupt::check()?;
            // Before the look at the ports: what a QEMU that has ended sent is still in them.
            let ended = self.child.try_wait()?.is_some();
            let mut waiting = Vec::new();
            for (port, listener) in listeners {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let context = "cannot set up a socket";
                        stream.set_nonblocking(false).context(context)?;
                        streams.push((port, stream));
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        waiting.push((port, listener));
                    }
                    Err(error) => return Err(error).context("cannot accept QEMU's connection"),
                }
            }
            if waiting.is_empty() {
                return Ok(Some(streams));
            }
            if ended || self.now() > CONNECT_LIMIT {
                return Ok(None);
            }
            listeners = waiting;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Serves the ports to the end. The outcome of the last phase; `None` if there was nothing to
    /// do after a crash, and none.
    pub(super) fn serve(
        &mut self,
        streams: Vec<(Port, UnixStream)>,
        mark: &str,
    ) -> Result<Option<VmOutcome>> {
        let (sender, receiver) = sync_channel(QUEUE);
        let mut wires = Wires {
            receiver,
            open: 0,
            scanners: Vec::new(),
            control: None,
            mark,
            status: StatusReader::default(),
        };
        for (port, stream) in streams {
            let share = || stream.try_clone().context("cannot share a socket");
            match port {
                Port::Monitor => {
                    self.monitor = Some(Monitor::new(stream)?);
                    continue;
                }
                Port::Stdin => {
                    self.pump.stream = Some(stream);
                    continue;
                }
                Port::Terminal if self.vm.stdin == Stdin::Inherit => {
                    self.pump.stream = Some(share()?);
                    self.pump.terminal = true;
                }
                Port::Status => wires.control = Some(share()?),
                _ => {}
            }
            if port != Port::Status {
                wires.scanners.push((port, MarkScanner::new(mark)));
            }
            wires.open += 1;
            read_port(port, stream, sender.clone());
        }
        drop(sender);
        self.watch = Watch::new(Rules::of(self.vm, self.accel), self.now());
        let last = self.phases(&mut wires);
        self.pump = StdinPump::default();
        // A held-back beginning of the mark was none: pass it on.
        for (port, scanner) in &mut wires.scanners {
            deliver(*port, &scanner.finish(), self.sink)?;
        }
        last
    }

    fn phases(&mut self, wires: &mut Wires<'_>) -> Result<Option<VmOutcome>> {
        let outcome = match self.watch(wires)? {
            Some(outcome @ VmOutcome::Exited(_)) if self.vm.crash.is_some() => outcome,
            last => return Ok(last),
        };
        self.console.follow();
        self.main = Some(self.phase_run(outcome));
        self.console.words.plan_crash();
        self.watch.crash(self.now());
        // Bytes until the next mark are the first kernel's, after its verdict.
        for (_, scanner) in &mut wires.scanners {
            *scanner = MarkScanner::between(wires.mark);
        }
        wires.status = StatusReader::default();
        self.marked = None;
        wires.tell("crash");
        self.watch(wires)
    }

    /// The record of the time since the beginning, or since the crash was planned.
    fn phase_run(&mut self, mut outcome: VmOutcome) -> PhaseRun {
        let mut trouble = self.console.words.excerpt.text().to_owned();
        if !matches!(outcome, VmOutcome::Exited(_) | VmOutcome::InitFailed(_))
            && let Some(vmlinux) = &self.vm.kernel.vmlinux
        {
            trouble = symbolize(&trouble, vmlinux);
        }
        if let VmOutcome::Lost(how) | VmOutcome::Stuck(_, how) = &mut outcome
            && let Some(full) = disk::full(&self.vm.console_log)
        {
            // The console's log lacks what the kernel said of its end.
            *how = format!("{how}; {full}");
        }
        let tail = (self.tail.take()).unwrap_or_else(|| self.console.words.tail(CONSOLE_TAIL));
        if let VmOutcome::Stuck(VmPhase::Boot, limit) = &mut outcome
            && tail.is_empty()
        {
            *limit += SILENT;
        }
        let mut kernel_log = std::mem::take(&mut self.kernel_log);
        let mut complaints = std::mem::take(&mut self.complaints);
        complaints.extend(kernel_log.finish());
        complaints.extend(kernel_log.tainted(std::mem::take(&mut self.tainted)));
        if let Some(vmlinux) = &self.vm.kernel.vmlinux {
            for complaint in &mut complaints {
                complaint.report = symbolize(&complaint.report, vmlinux);
            }
        }
        PhaseRun {
            complaints,
            outcome,
            boot: self.watch.boot.take(),
            spans: self.watch.spans.take(),
            total: self.now().saturating_sub(self.watch.begin),
            console_tail: tail,
            trouble,
        }
    }

    /// Serves the ports until a phase is over; `None`: there was nothing to do after a crash.
    fn watch(&mut self, wires: &mut Wires<'_>) -> Result<Option<VmOutcome>> {
        loop {
            interrupt::check()?;
            self.pump.check()?;
            let heard = self.hear(wires)?;
            return Ok(Some(match self.look(wires, heard)? {
                None => continue,
                Some(End::NothingElse) => return Ok(None),
                Some(End::As(outcome)) => outcome,
                Some(End::Gone) => self.lost(),
                Some(End::Limit(mut limit)) => {
                    self.collect_evidence(&mut wires.control);
                    let words = &self.console.words;
                    if let Some(stalled) = &words.stall {
                        limit = format!("{limit}; {stalled}");
                    }
                    match words.panicked() {
                        Some(line) => VmOutcome::Panicked(line),
                        None => VmOutcome::Stuck(self.watch.phase, limit),
                    }
                }
            }));
        }
    }

    /// Waits for bytes, for a moment, and passes them on.
    fn hear(&mut self, wires: &mut Wires<'_>) -> Result<Heard> {
        if let Some((columns, rows)) = self.sink.tick()? {
            wires.tell(format_args!("size {columns} {rows}"));
        }
        match wires.receiver.recv_timeout(interrupt::POLL) {
            Ok(Message::Data(port, bytes)) => {
                self.watch.bytes(self.now(), Some(port));
                if port == Port::Status {
                    for line in wires.status.feed(&bytes) {
                        self.obey(line, wires)?;
                    }
                }
                let mut scanners = wires.scanners.iter_mut();
                if let Some((_, scanner)) = scanners.find(|(other, _)| *other == port) {
                    let bytes = scanner.feed(&bytes);
                    if port == Port::Kernel {
                        for complaint in self.kernel_log.feed(&bytes) {
                            self.complaints.push(complaint);
                            self.sink.complained()?;
                        }
                    }
                    deliver(port, &bytes, self.sink)?;
                    // The sink may have taken its time.
                    self.watch.bytes(self.now(), Some(port));
                }
            }
            Ok(Message::Closed) => wires.open -= 1,
            Err(RecvTimeoutError::Timeout) => return Ok(Heard::Nothing),
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(Duration::from_millis(5));
                return Ok(Heard::Disconnected);
            }
        }
        Ok(Heard::Something)
    }

    /// Does what a line of init's asks for.
    fn obey(&mut self, line: Status, wires: &mut Wires<'_>) -> Result<()> {
        let before = self.watch.stage;
        self.watch.status(self.now(), &line);
        match self.watch.stage {
            stage if stage == before => {}
            CrashStage::Crashing => self.sink.crashing()?,
            CrashStage::Back => self.console.words.back(),
            CrashStage::Main | CrashStage::Loading => {}
        }
        match line {
            Status::Hello(..) => {
                let last = self.vm.crash.is_none() || self.watch.stage == CrashStage::Back;
                if last
                    && self.vm.dump.is_none()
                    && self.vm.debugger().is_none()
                    && self.vm.has_host_root()
                {
                    // Init is in memory and QEMU has its disk. A dump needs the directory
                    // once more, debuggers may come and go until the end, and a guest with
                    // another root has its BusyBox there.
                    self.directory = None;
                }
            }
            Status::Clock(guest) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let answer = clock_difference(now.unwrap_or_default(), guest);
                self.console.follow();
                let source = self.console.words.other_clock.unwrap_or_default();
                wires.tell(format_args!("clock {answer} {source}"));
            }
            Status::Vmcoreinfo(address, size) => self.note = Some((address, size)),
            Status::Started(_) => {
                self.sink.started()?;
                self.pump.start()?;
            }
            Status::Tainted(bits) => self.tainted = bits,
            // A process of the guest can write here: never a verdict.
            Status::Odd(line) => self.odd.get_or_insert((0, line)).0 += 1,
            Status::Fail(_) | Status::Exit(..) | Status::Crashing | Status::Nothing(_) => {}
        }
        Ok(())
    }

    /// Looks whether the run is over.
    fn look(&mut self, wires: &Wires<'_>, heard: Heard) -> Result<Option<End>> {
        // Before the console, which has then all that the guest said before its end.
        let ended = self.child.try_wait()?.is_some();
        let mut quiet = None;
        let shutdown;
        if heard == Heard::Nothing {
            let monitor = self.monitor.as_mut();
            shutdown = monitor.and_then(|monitor| monitor.stopped().map(str::to_owned));
            quiet = Some(Quiet {
                shutdown: shutdown.as_deref(),
                paused: self.monitor.as_ref().is_some_and(Monitor::paused),
                stopped: self.child.stopped(),
            });
        }
        if self.console.follow() {
            self.watch.bytes(self.now(), None);
            self.sink.console(&self.console.take())?;
        }
        let ended_on = |kernel| {
            let mut scanners = wires.scanners.iter();
            scanners.all(|(port, scanner)| (*port == Port::Kernel) != kernel || scanner.ended())
        };
        let rest = ended_on(false);
        self.marked = self.marked.or_else(|| rest.then(Instant::now));
        let late = self
            .marked
            .is_some_and(|marked| marked.elapsed() > KERNEL_LIMIT);
        let look = Look {
            words: &self.console.words,
            console: self.console.bytes,
            quiet,
            drained: rest && (ended_on(true) || late),
            closed: wires.open == 0,
            disconnected: heard == Heard::Disconnected,
            ended,
        };
        Ok(self.watch.look(self.start.elapsed(), look))
    }

    /// Asks the guest's kernel for its tasks and waits for the console to show them.
    /// Skipped if the guest no longer answers.
    fn collect_evidence(&mut self, control: &mut Option<UnixStream>) {
        let Some(control) = control else { return };
        let [limit, silence] = EVIDENCE_LIMIT;
        let _ = control.set_write_timeout(Some(silence));
        self.tail = Some(self.console.words.tail(CONSOLE_TAIL));
        self.console.words.excerpt.asked = true;
        if self.watch.is_booting() || control.write_all(QUESTIONS.as_bytes()).is_err() {
            return;
        }
        let end = Instant::now() + limit;
        let most = LONGEST_CONSOLE + (1 << 20);
        let mut quiet = Instant::now();
        while Instant::now() < end && quiet.elapsed() < silence && self.console.bytes < most {
            std::thread::sleep(Duration::from_millis(20));
            if self.console.follow() {
                quiet = Instant::now();
            }
        }
    }

    /// Writes the dump, ends QEMU and says what has happened; the second value: whether there was
    /// a sign of life.
    pub(super) fn conclude(mut self, last: Option<VmOutcome>) -> Result<(VmRun, bool)> {
        let vm = self.vm;
        if let Some((count, line)) = &self.odd {
            self.ui.warn(format!(
                "a process of the guest wrote to its status port, {count} line(s) that are none of \
                 init's; the first: {line}"
            ));
        }
        // With KVM it may be that which is refused: there is another attempt without it.
        if !(self.accel == Accel::Kvm && vm.accel == AccelChoice::Auto)
            && let Some(refusal) = self.refusal()
        {
            // There was no guest whose words could be in it.
            let _ = fs::remove_file(&vm.console_log);
            return Err(refusal.into());
        }
        let dump = last.as_ref().map(|outcome| self.dump(outcome));
        let dump = dump.transpose()?.flatten();
        self.child.kill()?;
        self.console.follow();
        self.sink.console(&self.console.take())?;
        let last = last.map(|outcome| self.phase_run(outcome));
        let mut phases = self.main.take().into_iter().chain(last);
        let none = "the guest ends a phase that was not begun";
        let run = VmRun {
            main: phases.next().context(none)?,
            crash: phases.next(),
            accel: self.accel,
            console_log: vm.console_log.clone(),
            dump,
            cores: Vec::new(),
        };
        Ok((run, self.is_alive()))
    }

    /// Writes the guest's memory if that is wanted and there is a guest; where to.
    /// A failure to write it is a warning and does not change the outcome.
    fn dump(&mut self, outcome: &VmOutcome) -> Result<Option<PathBuf>> {
        let trouble = matches!(
            outcome,
            VmOutcome::Panicked(_) | VmOutcome::Stuck(..) | VmOutcome::Lost(_)
        );
        // QEMU that is stopped writes nothing. Without a sign of life there is nothing to look
        // at, and a second start to come.
        let able = trouble && self.is_alive() && !self.child.stopped();
        let (Some(goal), Some(monitor), Some(directory), true) =
            (&self.vm.dump, &mut self.monitor, &self.directory, able)
        else {
            return Ok(None);
        };
        if self.child.try_wait()?.is_some() {
            return Ok(None);
        }
        let memory = u64::from(self.vm.memory) << 20;
        match dump::write(monitor, self.note, memory, directory.path(), goal, self.ui) {
            Ok(true) => {}
            Ok(false) => self.ui.warn(
                "the dump has no VMCOREINFO, without which drgn cannot open it: the guest had not \
                 told where it is",
            ),
            Err(error) => {
                interrupt::check()?;
                self.ui.warn(format!("no dump: {error:#}"));
                return Ok(None);
            }
        }
        Ok(Some(goal.clone()))
    }

    /// Whether QEMU itself ended before there was a guest: then it says why. No other attempt
    /// with the same command line does better.
    fn refusal(&mut self) -> Option<Failure> {
        let ended = self.child.try_wait().ok().flatten()?;
        if ended.code() != Some(1) || self.is_alive() {
            return None;
        }
        let word = self.word()?;
        Some(Failure::setup(format!(
            "QEMU refused its command line: {word}"
        )))
    }

    /// QEMU ended, or never came up: how, and its own words.
    pub(super) fn lost(&mut self) -> VmOutcome {
        let mut how = "QEMU does not answer".to_owned();
        if let Ok(Some(status)) = self.child.try_wait() {
            let shutdown = self.monitor.as_mut().and_then(Monitor::stopped);
            if status.success()
                && let Some(how) = watch::ended_itself(&self.console.words, shutdown)
            {
                return self.watch.lost(how);
            }
            how = format!("QEMU ended with {}", status_in_words(status));
        }
        if let Some(word) = self.word() {
            how = format!("{how}: {word}");
        }
        self.watch.lost(how)
    }

    /// QEMU's own error message.
    fn word(&self) -> Option<String> {
        let mut words = [0; LONGEST_WORDS];
        let length = self.words.read_at(&mut words, 0).unwrap_or(0);
        let words = String::from_utf8_lossy(&words[..length]);
        let lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
        // Each begins with the program's name. The first says it, unless QEMU only warns.
        let texts = lines.map(|line| line.split_once(": ").map_or(line, |(_, text)| text));
        let text = texts.min_by_key(|text| text.starts_with("warning: "));
        text.map(str::to_owned)
    }
}
