//! A running QEMU: serves its ports, keeps the limits, judges how it ended.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::ports::{Message, StdinPump, deliver, read_port};
use super::{
    Accel, AccelChoice, BootSpans, PhaseRun, Stdin, Vm, VmOutcome, VmPhase, VmSink, seconds,
};
use crate::base::disk;
use crate::base::error::{Failure, FailureKind};
use crate::base::interrupt;
use crate::base::process::{LongChild, status_in_words};
use crate::base::temporary::Scratch;
use crate::base::terminal;
use crate::base::ui::Ui;
use crate::vm::console::Console;
use crate::vm::console::symbolize::symbolize;
use crate::vm::dump::{self, Note};
use crate::vm::ending::{self, Ending};
use crate::vm::protocol::{MarkScanner, Port, Status, StatusReader, clock_difference};
use crate::vm::qmp::Monitor;

/// How long a boot may take by default, with KVM and emulated.
const BOOT_LIMIT: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

/// Without a byte on the console or a port for so long after its start, a VM on
/// KVM shows no sign of life. A stock kernel says its first words within 0.5 s.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// How long QEMU may take to connect its ports: it does so before it loads the kernel.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// After a verdict, how long the rest of the output may be silent.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// What init calls its phases.
const MAIN: &str = "main";
const CRASH: &str = "crash";

/// The clock source of a kernel that has measured the processor's counter wrong: slower to
/// read, and of a frequency that every kernel knows (`drivers/clocksource/acpi_pm.c`).
const PM_TIMER: &str = "acpi_pm";

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

/// Bytes of QEMU's own words that are looked at: the first ones say what went wrong.
const LONGEST_WORDS: usize = 16 << 10;

/// Lines of the console that go with an outcome.
const CONSOLE_TAIL: usize = 20;

/// Who looks twenty times a second and has not for so long was stopped, or waited for a reader of
/// its output.
const STOPPED: Duration = Duration::from_secs(2);

/// How many chunks may wait between a port and the sink. When they are used up the
/// port is not read, QEMU stops taking from the guest, and the guest's writer waits.
const QUEUE: usize = 16;

/// A running QEMU and what is known about its guest.
pub(super) struct Machine {
    pub(super) child: LongChild,
    pub(super) start: Instant,
    /// The beginning of what is going on: of all, or of the planned crash.
    pub(super) begin: Instant,
    pub(super) console: Console,
    /// QEMU's own words: open, because their file is removed with the run's directory.
    pub(super) words: File,
    pub(super) directory: Option<Scratch>,
    pub(super) boot: Option<Duration>,
    /// The guest's own times: of init's beginning and of the initramfs'.
    pub(super) times: Option<(Duration, Option<Duration>)>,
    pub(super) spans: Option<BootSpans>,
    pub(super) phase: VmPhase,
    pub(super) last_byte: Instant,
    /// When the limits were looked at.
    pub(super) looked: Instant,
    pub(super) alive: bool,
    pub(super) accel: Accel,
    pub(super) pump: StdinPump,
    /// The console's last lines before we asked the kernel for more.
    pub(super) tail: Option<String>,
    /// The connection to QEMU, if a dump is wanted.
    pub(super) monitor: Option<Monitor>,
    /// Where the kernel's description is.
    pub(super) note: Option<Note>,
    pub(super) stage: Stage,
    /// Lines of the status port that are none of init's: how many, and the first one.
    pub(super) odd: Option<(u64, String)>,
}

/// How far a VM is whose kernel is to be crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It runs its command.
    Main,
    /// The command's verdict is here, and the guest knows that.
    Loading,
    /// The guest has said that the crash comes.
    Crashing,
    /// Init of the capture kernel runs.
    Back,
}

/// What a VM's life was.
pub(super) enum Served {
    /// No crash was planned, or it did not come to that.
    Once(VmOutcome),
    /// What was before the planned crash, and how it ended then.
    Crashed(PhaseRun, VmOutcome),
    /// There was nothing to do after a crash, and none.
    NothingElse(PhaseRun),
}

/// How watching a VM ended.
enum Watched {
    As(VmOutcome),
    /// Without a crash, because there was nothing to do after it.
    NothingElse,
}

/// A VM's connections.
struct Wires<'m> {
    receiver: Receiver<Message>,
    /// How many ports are open.
    open: usize,
    scanners: Vec<(Port, MarkScanner)>,
    control: Option<UnixStream>,
    mark: &'m str,
}

impl Machine {
    pub(super) fn new(
        child: LongChild,
        console: Console,
        words: File,
        directory: Scratch,
        accel: Accel,
    ) -> Self {
        let start = Instant::now();
        Self {
            child,
            start,
            begin: start,
            console,
            words,
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
        }
    }

    pub(super) fn serve(
        &mut self,
        vm: &Vm,
        listeners: Vec<(Port, UnixListener)>,
        mark: &str,
        connected: &dyn Fn(),
        sink: &mut dyn VmSink,
    ) -> Result<Served> {
        let (sender, receiver) = sync_channel(QUEUE);
        let Some(streams) = self.connect(listeners)? else {
            return Ok(Served::Once(self.lost()));
        };
        connected();
        let mut open = 0;
        let mut control = None;
        let mut scanners = Vec::new();
        for (port, stream) in streams {
            match port {
                Port::Status => {
                    control = Some(stream.try_clone().context("cannot share a socket")?)
                }
                Port::Terminal if vm.stdin == Stdin::Inherit => {
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
        let mut wires = Wires {
            receiver,
            open,
            scanners,
            control,
            mark,
        };
        let served = self.phases(vm, &mut wires, sink);
        self.pump = StdinPump::default();
        // What was held back as a possible beginning of the mark was none.
        for (port, scanner) in &mut wires.scanners {
            deliver(*port, &scanner.finish(), sink)?;
        }
        served
    }

    fn phases(&mut self, vm: &Vm, wires: &mut Wires<'_>, sink: &mut dyn VmSink) -> Result<Served> {
        let outcome = match self.watch(vm, wires, sink)? {
            Watched::As(outcome @ VmOutcome::Exited(_)) if vm.crash.is_some() => outcome,
            Watched::As(outcome) => return Ok(Served::Once(outcome)),
            // Said only when a crash is asked for, which comes now.
            Watched::NothingElse => anyhow::bail!("the guest ends a phase that was not begun"),
        };
        self.console.follow();
        let main = self.phase_run(vm, outcome);
        self.console.plan_crash();
        self.begin = Instant::now();
        self.last_byte = self.begin;
        self.phase = VmPhase::Capture;
        self.stage = Stage::Loading;
        // What comes until the next mark is the first kernel's, after its verdict.
        for (_, scanner) in &mut wires.scanners {
            *scanner = MarkScanner::between(wires.mark);
        }
        if let Some(control) = &mut wires.control {
            // A guest that is gone is noticed by its ports.
            let _ = writeln!(control, "crash");
        }
        Ok(match self.watch(vm, wires, sink)? {
            Watched::As(outcome) => Served::Crashed(main, outcome),
            Watched::NothingElse => Served::NothingElse(main),
        })
    }

    /// What has happened since `begin`.
    pub(super) fn phase_run(&mut self, vm: &Vm, outcome: VmOutcome) -> PhaseRun {
        let outcome = with_full_disk(outcome, &vm.console_log);
        let mut trouble = self.console.trouble().to_owned();
        if !matches!(outcome, VmOutcome::Exited(_) | VmOutcome::InitFailed(_))
            && let Some(vmlinux) = &vm.kernel.vmlinux
        {
            trouble = symbolize(&trouble, vmlinux);
        }
        let tail = self.tail.take();
        PhaseRun {
            outcome,
            boot: self.boot.take(),
            spans: self.spans.take(),
            total: self.begin.elapsed(),
            console_tail: tail.unwrap_or_else(|| self.console.tail(CONSOLE_TAIL)),
            trouble,
        }
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

    /// Nothing is asked of a guest for the time in which we were stopped: its output waited
    /// for us, and our limits must not end it at once when we go on.
    fn forget_stops(&mut self) {
        let gap = self.looked.elapsed();
        self.looked = Instant::now();
        if gap >= STOPPED {
            for instant in [&mut self.start, &mut self.begin, &mut self.last_byte] {
                *instant += gap;
            }
        }
    }

    fn watch(&mut self, vm: &Vm, wires: &mut Wires<'_>, sink: &mut dyn VmSink) -> Result<Watched> {
        let mut nothing_else = false;
        let mut status = StatusReader::default();
        let mut verdict: Option<u8> = None;
        let mut init_failed = None;
        let mut panicked: Option<Instant> = None;
        let mut gone: Option<Instant> = None;
        self.looked = Instant::now();
        let mut ending: Option<Instant> = None;
        let mut silent_polls = 0;
        loop {
            interrupt::check()?;
            if self.pump.quit.load(Ordering::SeqCst) {
                let kind = FailureKind::Interrupted(signal_hook::consts::SIGINT);
                return Err(Failure::new(kind, "ended from the terminal by Ctrl-A X").into());
            }
            if self.pump.gone.load(Ordering::SeqCst) {
                return Err(terminal::gone().into());
            }
            if let (Some((columns, rows)), Some(control)) = (sink.tick()?, &mut wires.control) {
                // A guest that is gone is noticed below.
                let _ = writeln!(control, "size {columns} {rows}");
            }
            match wires.receiver.recv_timeout(interrupt::POLL) {
                Ok(Message::Data(Port::Status, bytes)) => {
                    self.alive = true;
                    self.last_byte = Instant::now();
                    for line in status.feed(&bytes) {
                        match line {
                            Status::Hello(phase, init, initramfs) => {
                                self.times = init.map(|init| (init, initramfs));
                                self.hello(&phase, vm);
                            }
                            Status::Clock(guest) => {
                                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                                let answer = clock_difference(now.unwrap_or_default(), guest);
                                self.console.follow();
                                let source = self.console.mistimed().then_some(PM_TIMER);
                                if let Some(control) = &mut wires.control {
                                    let source = source.unwrap_or_default();
                                    // A guest that is gone is noticed below.
                                    let _ = writeln!(control, "clock {answer} {source}");
                                }
                            }
                            Status::Vmcoreinfo(address, size) => {
                                self.note = Some(Note { address, size });
                            }
                            Status::Started(time) => {
                                let boot = self.begin.elapsed();
                                self.boot = Some(boot);
                                self.spans = time
                                    .zip(self.times)
                                    .map(|(time, times)| BootSpans::between(boot, time, times));
                                self.phase = VmPhase::Command;
                                sink.started()?;
                                self.pump.start()?;
                            }
                            Status::Fail(text) => init_failed = Some(text),
                            Status::Exit(phase, code) => {
                                let expected = match self.stage {
                                    Stage::Main => MAIN,
                                    Stage::Loading | Stage::Crashing | Stage::Back => CRASH,
                                };
                                if phase == expected {
                                    verdict = Some(code);
                                    self.phase = VmPhase::Shutdown;
                                }
                            }
                            Status::Crashing => {
                                if self.stage == Stage::Loading {
                                    self.stage = Stage::Crashing;
                                    sink.crashing()?;
                                }
                            }
                            Status::Nothing(_) => nothing_else = self.stage == Stage::Loading,
                            // Whatever it is, it is no verdict.
                            Status::Odd(line) => {
                                let (count, _) = self.odd.get_or_insert((0, line));
                                *count += 1;
                            }
                        }
                    }
                }
                Ok(Message::Data(port, bytes)) => {
                    self.last_byte = Instant::now();
                    let mut scanners = wires.scanners.iter_mut();
                    if let Some((_, scanner)) = scanners.find(|(p, _)| *p == port) {
                        deliver(port, &scanner.feed(&bytes), sink)?;
                    }
                    self.last_byte = Instant::now();
                }
                Ok(Message::Closed) => wires.open -= 1,
                // All that the guest has sent is here.
                Err(RecvTimeoutError::Timeout) => {
                    let monitor = self.monitor.as_mut();
                    let stopped = monitor.and_then(|monitor| monitor.stopped().map(str::to_owned));
                    if let (Some(reason), Some(_)) = (stopped, &vm.dump) {
                        self.console.follow();
                        return Ok(Watched::As(match (self.died(), self.ended_itself()) {
                            (Some(line), _) => VmOutcome::Panicked(line),
                            (None, Some(how)) => self.lost_as(how),
                            (None, None) => self.lost_as(format!("QEMU was ended: {reason}")),
                        }));
                    }
                    match self.stands_still(vm) {
                        Some(how) => {
                            silent_polls += 1;
                            // Of our own looks, not of the time: we may have been stopped
                            // ourselves, with QEMU.
                            if interrupt::POLL * silent_polls >= ending::PAUSE_LIMIT {
                                let limit = seconds(ending::PAUSE_LIMIT);
                                let how = format!("{how} and did not go on within {limit}");
                                return Ok(Watched::As(self.lost_as(how)));
                            }
                        }
                        None => silent_polls = 0,
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
                sink.console(&self.console.take())?;
            }
            if self.phase == VmPhase::Boot && init_failed.is_none() {
                init_failed = self.console.init_failed().map(str::to_owned);
            }
            if let Some(text) = init_failed {
                return Ok(Watched::As(match self.stage {
                    Stage::Main | Stage::Back => VmOutcome::InitFailed(text),
                    Stage::Loading | Stage::Crashing => VmOutcome::NotCrashed(text),
                }));
            }
            if nothing_else {
                return Ok(Watched::NothingElse);
            }
            let drained = wires.scanners.iter().all(|(_, scanner)| scanner.ended());
            if let (Some(code), true) = (verdict, drained) {
                return Ok(Watched::As(VmOutcome::Exited(code)));
            }
            if self.child.try_wait()?.is_some() && (wires.open == 0 || gone.is_some()) {
                self.console.follow();
                return Ok(Watched::As(match self.died() {
                    Some(line) => VmOutcome::Panicked(line),
                    None => self.lost(),
                }));
            }
            if let Some(since) = gone
                && since.elapsed() > PANIC_GRACE
            {
                return Ok(Watched::As(self.lost()));
            }
            if vm.debugger().is_none()
                && let Some(outcome) = self.ending(&mut ending)
            {
                return Ok(Watched::As(outcome));
            }
            if let Some(line) = self.console.panicked()
                && vm.debugger().is_none()
                && panicked.get_or_insert_with(Instant::now).elapsed() > PANIC_GRACE
            {
                return Ok(Watched::As(VmOutcome::Panicked(line)));
            }
            self.forget_stops();
            if let Some(mut limit) = self.limit(vm, verdict.is_some()) {
                self.collect_evidence(&mut wires.control);
                if let Some(stalled) = self.console.stalled() {
                    limit = format!("{limit}; {stalled}");
                }
                return Ok(Watched::As(match self.console.panicked() {
                    Some(line) => VmOutcome::Panicked(line),
                    None => VmOutcome::Stuck(self.phase, limit),
                }));
            }
        }
    }

    /// Init runs, in the first kernel or in the one after its crash.
    fn hello(&mut self, phase: &str, vm: &Vm) {
        if phase == CRASH && self.stage == Stage::Crashing {
            self.stage = Stage::Back;
            self.console.back();
        }
        let last = vm.crash.is_none() || self.stage == Stage::Back;
        if last && vm.dump.is_none() && vm.debugger().is_none() {
            // Init is in memory and QEMU has its disk. A dump needs the directory
            // once more, and debuggers may come and go until the end.
            self.directory = None;
        }
    }

    /// What the console says about the guest's end, once that is certain; `since` is when it
    /// was seen first.
    fn ending(&self, since: &mut Option<Instant>) -> Option<VmOutcome> {
        let Some((ending, line)) = self.console.ending() else {
            *since = None;
            return None;
        };
        let lasts = since.get_or_insert_with(Instant::now).elapsed();
        match ending {
            Ending::PanicOver => Some(match self.died() {
                Some(line) => VmOutcome::Panicked(line),
                None => self.lost_as(self.console.planned().unwrap_or_else(|| line.to_owned())),
            }),
            Ending::Gone(how) if lasts >= ending::GONE_LIMIT => {
                Some(self.lost_as(format!("the guest {how}: {line}")))
            }
            Ending::Asleep if lasts >= ending::SLEEP_LIMIT => {
                let limit = seconds(ending::SLEEP_LIMIT);
                let how = format!("the guest went to sleep for more than {limit}: {line}");
                Some(self.lost_as(how))
            }
            Ending::Gone(_) | Ending::Asleep | Ending::Awake => None,
        }
    }

    /// What keeps QEMU from running the guest, if somebody does who is no debugger.
    fn stands_still(&self, vm: &Vm) -> Option<&'static str> {
        if vm.debugger().is_some() || ending::may_be_paused(&vm.qemu_arguments) {
            return None;
        }
        if self.monitor.as_ref().is_some_and(Monitor::paused) {
            return Some("QEMU was paused");
        }
        self.child
            .stopped()
            .then_some("QEMU was stopped by a signal")
    }

    /// How the guest ended itself, if it did.
    fn ended_itself(&mut self) -> Option<String> {
        if let Some((Ending::Gone(how), line)) = self.console.ending() {
            return Some(format!("the guest {how}: {line}"));
        }
        let reason = self.monitor.as_mut()?.stopped()?;
        Some(format!("the guest {}", ending::of_shutdown(reason)?))
    }

    /// What the kernel said when it died. Before the planned crash was due, what looks
    /// like it is another one.
    fn died(&self) -> Option<String> {
        let early = (self.stage == Stage::Loading).then(|| self.console.planned());
        self.console.died().or_else(|| early.flatten())
    }

    /// The limit that has run out, in words.
    fn limit(&self, vm: &Vm, verdict: bool) -> Option<String> {
        let silent = self.last_byte.elapsed();
        let elapsed = self.start.elapsed();
        let since = self.begin.elapsed();
        let over = |limit: Option<Duration>, spent: Duration| limit.filter(|limit| spent >= *limit);
        let debugged = vm.debugger().is_some();
        if self.accel == Accel::Kvm
            && vm.accel == AccelChoice::Auto
            && !debugged
            && !self.alive
            && !self.console.any()
            && elapsed >= SIGN_OF_LIFE
        {
            return Some(format!("no sign of life for {}", seconds(SIGN_OF_LIFE)));
        }
        if let Some(limit) = over(vm.limits.total, elapsed) {
            return Some(format!("total limit of {} (--timeout)", seconds(limit)));
        }
        let boot = vm
            .limits
            .boot
            .unwrap_or(BOOT_LIMIT[usize::from(self.accel == Accel::Tcg)]);
        if matches!(self.phase, VmPhase::Boot | VmPhase::Capture) && since >= boot {
            return Some(format!("boot limit of {} (--boot-timeout)", seconds(boot)));
        }
        if self.phase == VmPhase::Command
            && let Some(limit) = over(vm.limits.idle, silent)
        {
            return Some(format!("no output for {} (--idle-timeout)", seconds(limit)));
        }
        if self.console.bytes() > LONGEST_CONSOLE {
            return Some(format!(
                "the console has more than {} MiB",
                LONGEST_CONSOLE >> 20
            ));
        }
        if verdict && !debugged && silent >= DRAIN_LIMIT {
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
        let booting = matches!(self.phase, VmPhase::Boot | VmPhase::Capture);
        if booting || control.write_all(QUESTIONS.as_bytes()).is_err() {
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
    pub(super) fn dump(
        &mut self,
        vm: &Vm,
        outcome: &VmOutcome,
        ui: &Ui,
    ) -> Result<Option<PathBuf>> {
        let trouble = matches!(
            outcome,
            VmOutcome::Panicked(_) | VmOutcome::Stuck(..) | VmOutcome::Lost(_)
        );
        let (Some(goal), Some(monitor), Some(directory)) =
            (&vm.dump, &mut self.monitor, &self.directory)
        else {
            return Ok(None);
        };
        // QEMU that is stopped writes nothing.
        let trouble = trouble && !self.child.stopped();
        // Without a sign of life there is nothing to look at, and a second start to come.
        if !trouble || !(self.alive || self.console.any()) || self.child.try_wait()?.is_some() {
            return Ok(None);
        }
        let memory = u64::from(vm.memory) << 20;
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

    /// Whether QEMU itself ended before there was a guest: then it says why. No other attempt
    /// with the same command line does better.
    pub(super) fn refusal(&mut self) -> Option<Failure> {
        let ended = self.child.try_wait().ok().flatten()?;
        if ended.code() != Some(1) || self.alive || self.console.any() {
            return None;
        }
        let words = self.word()?;
        Some(Failure::setup(format!(
            "QEMU refused its command line: {words}"
        )))
    }

    /// QEMU ended, or never came up: how, and its own words.
    fn lost(&mut self) -> VmOutcome {
        let how = match self.child.try_wait() {
            Ok(Some(status))
                if status.success()
                    && let Some(how) = self.ended_itself() =>
            {
                return self.lost_as(how);
            }
            Ok(Some(status)) => format!("QEMU ended with {}", status_in_words(status)),
            _ => "QEMU does not answer".to_owned(),
        };
        self.lost_as(match self.word() {
            None => how,
            Some(word) => format!("{how}: {word}"),
        })
    }

    /// What QEMU said went wrong.
    fn word(&self) -> Option<String> {
        let mut words = [0; LONGEST_WORDS];
        let length = self.words.read_at(&mut words, 0).unwrap_or(0);
        let words = String::from_utf8_lossy(&words[..length]);
        let lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
        // Each begins with the program's name. The first says it, unless QEMU only warns.
        let texts = lines.map(|line| line.split_once(": ").map_or(line, |(_, text)| text));
        let texts = texts.collect::<Vec<_>>();
        let error = texts.iter().find(|text| !text.starts_with("warning: "));
        error.or(texts.first()).map(|text| (*text).to_owned())
    }

    fn lost_as(&self, how: String) -> VmOutcome {
        VmOutcome::Lost(match self.stage {
            Stage::Crashing => format!("the kernel did not come back from its crash: {how}"),
            Stage::Main | Stage::Loading | Stage::Back => how,
        })
    }
}

/// On a full disk the console's log lacks what the kernel said of its end.
fn with_full_disk(outcome: VmOutcome, console_log: &Path) -> VmOutcome {
    let with = |how: String| match disk::full(console_log) {
        Some(full) => format!("{how}; {full}"),
        None => how,
    };
    match outcome {
        VmOutcome::Lost(how) => VmOutcome::Lost(with(how)),
        VmOutcome::Stuck(phase, limit) => VmOutcome::Stuck(phase, with(limit)),
        other => other,
    }
}
