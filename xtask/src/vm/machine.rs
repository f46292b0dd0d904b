//! A running QEMU: serves its ports, keeps the limits, judges how it ended.

use std::fmt::Display;
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
use super::{PhaseRun, Stdin, Vm, VmOutcome, VmSink};
use crate::base::error::{Failure, FailureKind};
use crate::base::process::{LongChild, status_in_words};
use crate::base::{disk, interrupt, temporary::Scratch, terminal, ui::Ui};
use crate::vm::dump::{self, Note};
use crate::vm::protocol::{MarkScanner, Port, Status, StatusReader, clock_difference};
use crate::vm::watch::{self, End, Input, LONGEST_CONSOLE, Look, Quiet, Rules, Stage, Watch};
use crate::vm::{console::Console, console::symbolize::symbolize, qmp::Monitor};

/// How long QEMU may take to connect its ports: it does so before it loads the kernel.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// The clock source of a kernel that has measured the processor's counter wrong: slower to
/// read, and of a frequency that every kernel knows (`drivers/clocksource/acpi_pm.c`).
const PM_TIMER: &str = "acpi_pm";

/// How long the console may take to show tasks after a limit, and how long it may
/// be silent meanwhile.
const EVIDENCE_LIMIT: [Duration; 2] = [Duration::from_secs(6), Duration::from_secs(1)];

/// Asks the kernel by sysrq after a limit
/// (Documentation/admin-guide/sysrq.rst): where its processors are, the blocked tasks,
/// and, because they are many, last all of them.
const QUESTIONS: &str = "sysrq l\nsysrq w\nsysrq t\n";

/// Bytes of QEMU's own words that are looked at: the first ones say what went wrong.
const LONGEST_WORDS: usize = 16 << 10;

/// Lines of the console that go with an outcome.
const CONSOLE_TAIL: usize = 20;

/// How many chunks may wait between a port and the sink. When they are used up the
/// port is not read, QEMU stops taking from the guest, and the guest's writer waits.
const QUEUE: usize = 16;

/// A running QEMU and what is known about its guest.
pub(super) struct Machine {
    pub(super) child: LongChild,
    /// QEMU's start.
    start: Instant,
    pub(super) console: Console,
    /// QEMU's own words: open, because their file is removed with the run's directory.
    words: File,
    directory: Option<Scratch>,
    watch: Watch,
    pump: StdinPump,
    /// The console's last lines before we asked the kernel for more.
    tail: Option<String>,
    /// The connection to QEMU.
    monitor: Option<Monitor>,
    /// Where the kernel's description is.
    note: Option<Note>,
    /// Lines of the status port that are none of init's: how many, and the first one.
    pub(super) odd: Option<(u64, String)>,
}

pub(super) enum Served {
    /// No crash was planned, or it did not come to that.
    Once(VmOutcome),
    /// The command's part, and how the part after the planned crash ended.
    Crashed(PhaseRun, VmOutcome),
    /// There was nothing to do after a crash, and none.
    NothingElse(PhaseRun),
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

impl Machine {
    pub(super) fn new(
        (child, start): (LongChild, Instant),
        console: Console,
        words: File,
        directory: Scratch,
        rules: Rules,
    ) -> Self {
        Self {
            child,
            start,
            console,
            words,
            directory: Some(directory),
            watch: Watch::new(rules),
            pump: StdinPump::default(),
            tail: None,
            monitor: None,
            note: None,
            odd: None,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether the guest has shown a sign of life.
    pub(super) fn is_alive(&self) -> bool {
        self.watch.alive || self.console.any()
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
            status: StatusReader::default(),
        };
        let served = self.phases(vm, &mut wires, sink);
        self.pump = StdinPump::default();
        // A held-back beginning of the mark was none: pass it on.
        for (port, scanner) in &mut wires.scanners {
            deliver(*port, &scanner.finish(), sink)?;
        }
        served
    }

    fn phases(&mut self, vm: &Vm, wires: &mut Wires<'_>, sink: &mut dyn VmSink) -> Result<Served> {
        self.watch.begin(self.now());
        let outcome = match self.watch(vm, wires, sink)? {
            Some(outcome @ VmOutcome::Exited(_)) if vm.crash.is_some() => outcome,
            Some(outcome) => return Ok(Served::Once(outcome)),
            // Said only when a crash is asked for, which comes now.
            None => anyhow::bail!("the guest ends a phase that was not begun"),
        };
        self.console.follow();
        let main = self.phase_run(vm, outcome);
        self.console.words.plan_crash();
        self.watch.crash(self.now());
        // Bytes until the next mark are the first kernel's, after its verdict.
        for (_, scanner) in &mut wires.scanners {
            *scanner = MarkScanner::between(wires.mark);
        }
        wires.status = StatusReader::default();
        wires.tell("crash");
        Ok(match self.watch(vm, wires, sink)? {
            Some(outcome) => Served::Crashed(main, outcome),
            None => Served::NothingElse(main),
        })
    }

    /// The record of the time since the beginning, or since the crash was planned.
    pub(super) fn phase_run(&mut self, vm: &Vm, outcome: VmOutcome) -> PhaseRun {
        let outcome = with_full_disk(outcome, &vm.console_log);
        let mut trouble = self.console.words.trouble().to_owned();
        if !matches!(outcome, VmOutcome::Exited(_) | VmOutcome::InitFailed(_))
            && let Some(vmlinux) = &vm.kernel.vmlinux
        {
            trouble = symbolize(&trouble, vmlinux);
        }
        let tail = self.tail.take();
        PhaseRun {
            outcome,
            boot: self.watch.boot.take(),
            spans: self.watch.spans.take(),
            total: self.now().saturating_sub(self.watch.begin),
            console_tail: tail.unwrap_or_else(|| self.console.words.tail(CONSOLE_TAIL)),
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
            // Before the look at the ports: what a QEMU that has ended sent is still in them.
            let ended = self.child.try_wait()?.is_some();
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
            if !listeners.is_empty() {
                if ended || self.start.elapsed() > CONNECT_LIMIT {
                    return Ok(None);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(Some(streams))
    }

    /// Serves the ports until the run is over; `None`: there was nothing to do after a crash.
    fn watch(
        &mut self,
        vm: &Vm,
        wires: &mut Wires<'_>,
        sink: &mut dyn VmSink,
    ) -> Result<Option<VmOutcome>> {
        loop {
            let end = match self.interruption() {
                Some(failure) => self.watch.step(self.now(), Input::Interrupted(failure)),
                None => {
                    let heard = self.hear(vm, wires, sink)?;
                    self.look(wires, heard, sink)?
                }
            };
            return Ok(Some(match end {
                None => continue,
                Some(End::Interrupted(failure)) => return Err(failure.into()),
                Some(End::NothingElse) => return Ok(None),
                Some(End::As(outcome)) => outcome,
                Some(End::Gone) => self.lost(),
                Some(End::Limit(mut limit)) => {
                    self.collect_evidence(&mut wires.control);
                    let words = &self.console.words;
                    if let Some(stalled) = words.stalled() {
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

    /// A signal, or a terminal that asks for the run's end or is gone.
    fn interruption(&self) -> Option<Failure> {
        if let Err(failure) = interrupt::check() {
            return Some(failure);
        }
        if self.pump.quit.load(Ordering::SeqCst) {
            let kind = FailureKind::Interrupted(signal_hook::consts::SIGINT);
            return Some(Failure::new(kind, "ended from the terminal by Ctrl-A X"));
        }
        let gone = self.pump.gone.load(Ordering::SeqCst);
        gone.then(terminal::gone)
    }

    /// Waits for bytes, for a moment, and passes them on.
    fn hear(&mut self, vm: &Vm, wires: &mut Wires<'_>, sink: &mut dyn VmSink) -> Result<Heard> {
        if let Some((columns, rows)) = sink.tick()? {
            wires.tell(format_args!("size {columns} {rows}"));
        }
        match wires.receiver.recv_timeout(interrupt::POLL) {
            Ok(Message::Data(port, bytes)) => {
                self.came(Some(port));
                if port == Port::Status {
                    for line in wires.status.feed(&bytes) {
                        self.obey(line, vm, wires, sink)?;
                    }
                }
                let mut scanners = wires.scanners.iter_mut();
                if let Some((_, scanner)) = scanners.find(|(other, _)| *other == port) {
                    deliver(port, &scanner.feed(&bytes), sink)?;
                    // The sink may have taken its time.
                    self.came(Some(port));
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

    fn came(&mut self, port: Option<Port>) {
        self.watch.step(self.now(), Input::Bytes(port));
    }

    /// Does what a line of init's asks for.
    fn obey(
        &mut self,
        line: Status,
        vm: &Vm,
        wires: &mut Wires<'_>,
        sink: &mut dyn VmSink,
    ) -> Result<()> {
        let before = self.watch.stage;
        self.watch.step(self.now(), Input::Status(&line));
        match self.watch.stage {
            stage if stage == before => {}
            Stage::Crashing => sink.crashing()?,
            Stage::Back => self.console.words.back(),
            Stage::Main | Stage::Loading => {}
        }
        match line {
            Status::Hello(..) => {
                let last = vm.crash.is_none() || self.watch.stage == Stage::Back;
                if last && vm.dump.is_none() && vm.debugger().is_none() {
                    // Init is in memory and QEMU has its disk. A dump needs the directory
                    // once more, and debuggers may come and go until the end.
                    self.directory = None;
                }
            }
            Status::Clock(guest) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let answer = clock_difference(now.unwrap_or_default(), guest);
                self.console.follow();
                let source = if self.console.words.mistimed() {
                    PM_TIMER
                } else {
                    ""
                };
                wires.tell(format_args!("clock {answer} {source}"));
            }
            Status::Vmcoreinfo(address, size) => self.note = Some(Note { address, size }),
            Status::Started(_) => {
                sink.started()?;
                self.pump.start()?;
            }
            // A process of the guest can write here: never a verdict.
            Status::Odd(line) => {
                let (count, _) = self.odd.get_or_insert((0, line));
                *count += 1;
            }
            Status::Fail(_) | Status::Exit(..) | Status::Crashing | Status::Nothing(_) => {}
        }
        Ok(())
    }

    /// Looks whether the run is over.
    fn look(
        &mut self,
        wires: &Wires<'_>,
        heard: Heard,
        sink: &mut dyn VmSink,
    ) -> Result<Option<End>> {
        // Before the console, which has then all that the guest said before its end.
        let ended = self.child.try_wait()?.is_some();
        let is_quiet = heard == Heard::Nothing;
        let monitor = self.monitor.as_mut().filter(|_| is_quiet);
        let (shutdown, paused) = match monitor {
            Some(monitor) => (monitor.stopped().map(str::to_owned), monitor.paused()),
            None => (None, false),
        };
        let quiet = is_quiet.then(|| Quiet {
            shutdown: shutdown.as_deref(),
            paused,
            stopped: self.child.stopped(),
        });
        if self.console.follow() {
            self.came(None);
            sink.console(&self.console.take())?;
        }
        let look = Look {
            words: &self.console.words,
            console: self.console.bytes(),
            quiet,
            drained: wires.scanners.iter().all(|(_, scanner)| scanner.ended()),
            closed: wires.open == 0,
            disconnected: heard == Heard::Disconnected,
            ended,
        };
        Ok(self.watch.step(self.start.elapsed(), Input::Look(look)))
    }

    /// Asks the guest's kernel for its tasks and waits for the console to show them.
    /// Skipped if the guest no longer answers.
    fn collect_evidence(&mut self, control: &mut Option<UnixStream>) {
        let Some(control) = control else { return };
        let [limit, silence] = EVIDENCE_LIMIT;
        let _ = control.set_write_timeout(Some(silence));
        self.tail = Some(self.console.words.tail(CONSOLE_TAIL));
        self.console.ask();
        if self.watch.is_booting() || control.write_all(QUESTIONS.as_bytes()).is_err() {
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
    /// A failure to write it is a warning and does not change the outcome.
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
        let is_alive = self.is_alive();
        let (Some(goal), Some(monitor), Some(directory)) =
            (&vm.dump, &mut self.monitor, &self.directory)
        else {
            return Ok(None);
        };
        // QEMU that is stopped writes nothing.
        let trouble = trouble && !self.child.stopped();
        // Without a sign of life there is nothing to look at, and a second start to come.
        if !trouble || !is_alive || self.child.try_wait()?.is_some() {
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
        if ended.code() != Some(1) || self.is_alive() {
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
            Ok(Some(status)) => {
                let shutdown = self.monitor.as_mut().and_then(Monitor::stopped);
                if status.success()
                    && let Some(how) = watch::ended_itself(&self.console.words, shutdown)
                {
                    return self.watch.lost(how);
                }
                format!("QEMU ended with {}", status_in_words(status))
            }
            _ => "QEMU does not answer".to_owned(),
        };
        self.watch.lost(match self.word() {
            None => how,
            Some(word) => format!("{how}: {word}"),
        })
    }

    /// QEMU's own error message.
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
