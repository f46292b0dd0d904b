//! When a run of a guest is over, and how it ended: decided from what init says and from what
//! is seen of the guest. Pure; the time, since QEMU's start, is an input.

use std::time::Duration;

use crate::base::interrupt;
use crate::vm::console::ConsoleWords;
use crate::vm::ending::{self, Ending};
use crate::vm::protocol::{Port, Status};
use crate::vm::{Accel, AccelChoice, BootSpans, Limits, Vm, VmOutcome, VmPhase, seconds};

/// How long a boot may take by default, with KVM and emulated.
const BOOT_LIMIT: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

/// Without a byte on the console or a port for so long after its start, a VM on
/// KVM shows no sign of life. A stock kernel says its first words within 0.5 s.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// After a verdict, how long the rest of the output may be silent.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// How long a panicked kernel may take to reset.
const PANIC_GRACE: Duration = Duration::from_secs(5);

/// The most that a console may have, in bytes: a guest that prints without end to it
/// must not fill the host's disk. A kernel's boot prints some 30 KiB.
pub(super) const LONGEST_CONSOLE: u64 = 64 << 20;

/// We look twenty times a second. After a gap of this length we were stopped, or waited for a
/// reader of our output.
const STOPPED: Duration = Duration::from_secs(2);

/// Init's names of its phases.
const MAIN: &str = "main";
const CRASH: &str = "crash";

/// The limits of a run, and who else may end it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    limits: Limits,
    debugged: bool,
    /// Whether somebody who is no debugger may pause QEMU.
    may_pause: bool,
    /// Whether QEMU keeps a guest that has ended.
    dump: bool,
    /// Whether another VM is started, emulated, if this one shows no sign of life.
    on_trial: bool,
}

impl Rules {
    pub(super) fn of(vm: &Vm, accel: Accel) -> Self {
        let debugged = vm.debugger().is_some();
        let boot = BOOT_LIMIT[usize::from(accel == Accel::Tcg)];
        Self {
            limits: Limits {
                boot: (vm.limits.boot).or(Some(boot * vm.kernel.arch.limit_factor())),
                ..vm.limits
            },
            debugged,
            may_pause: ending::may_be_paused(&vm.qemu_arguments),
            dump: vm.dump.is_some(),
            on_trial: accel == Accel::Kvm && vm.accel == AccelChoice::Auto && !debugged,
        }
    }
}

/// How far a VM is whose kernel is to be crashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CrashStage {
    /// It runs its command.
    #[default]
    Main,
    /// The command's verdict is here, and the guest knows that.
    Loading,
    /// The guest has said that the crash comes.
    Crashing,
    /// Init of the capture kernel runs.
    Back,
}

/// The state of a VM at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'i> {
    pub(super) words: &'i ConsoleWords,
    /// Bytes of the console.
    pub(super) console: u64,
    /// If nothing came since [`interrupt::POLL`].
    pub(super) quiet: Option<Quiet<'i>>,
    /// Whether every stream has come to its mark.
    pub(super) drained: bool,
    /// Whether QEMU has closed all ports.
    pub(super) closed: bool,
    /// Whether nothing can come any more: QEMU has ended or is about to.
    pub(super) disconnected: bool,
    /// Whether QEMU has ended.
    pub(super) ended: bool,
}

/// Looked at when no bytes wait: then all that the guest has sent is here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quiet<'i> {
    /// Why QEMU has stopped the guest for good, if it has.
    pub(super) shutdown: Option<&'i str>,
    /// Whether QEMU says that it is paused.
    pub(super) paused: bool,
    /// Whether a signal has stopped QEMU.
    pub(super) stopped: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum End {
    As(VmOutcome),
    /// QEMU is gone, or does not answer; its status and its words say more.
    Gone,
    /// Without a crash, because there was nothing to do after it.
    NothingElse,
    /// This limit has run out; the kernel can be asked why.
    Limit(String),
}

/// The state of a run. Each time is since QEMU's start.
#[derive(Debug, Default)]
pub(super) struct Watch {
    rules: Rules,
    /// QEMU's start, later by the time in which we were stopped.
    start: Duration,
    /// The beginning of what is going on: of all, or of the planned crash.
    pub(super) begin: Duration,
    last_byte: Duration,
    /// When the limits were looked at.
    looked: Duration,
    pub(super) phase: VmPhase,
    pub(super) stage: CrashStage,
    /// Whether the status port has sent anything.
    pub(super) alive: bool,
    pub(super) boot: Option<Duration>,
    pub(super) spans: Option<BootSpans>,
    /// The guest's own times: of init's beginning and of the initramfs'.
    times: Option<(Duration, Option<Duration>)>,
    verdict: Option<u8>,
    nothing_else: bool,
    init_failed: Option<String>,
    /// Since when these are seen.
    panicked: Option<Duration>,
    gone: Option<Duration>,
    ending: Option<Duration>,
    /// How often the guest stood still.
    still: u32,
}

impl Watch {
    /// Nothing is watched before `now`: QEMU had to connect its ports.
    pub(super) fn new(rules: Rules, now: Duration) -> Self {
        Self {
            rules,
            looked: now,
            ..Self::default()
        }
    }

    /// From now on the planned crash is watched.
    pub(super) fn crash(&mut self, now: Duration) {
        *self = Self {
            start: self.start,
            begin: now,
            last_byte: now,
            phase: VmPhase::Capture,
            stage: CrashStage::Loading,
            alive: self.alive,
            times: self.times,
            ..Self::new(self.rules, now)
        };
    }

    /// Bytes came on a port; `None`: on the console.
    pub(super) fn bytes(&mut self, now: Duration, port: Option<Port>) {
        self.alive |= port == Some(Port::Status);
        self.last_byte = now;
    }

    /// A line of the status port came.
    pub(super) fn status(&mut self, now: Duration, line: &Status) {
        match line {
            Status::Hello(phase, init, initramfs) => {
                self.times = init.map(|init| (init, *initramfs));
                if phase == CRASH && self.stage == CrashStage::Crashing {
                    self.stage = CrashStage::Back;
                }
            }
            Status::Started(time) => {
                let boot = now.saturating_sub(self.begin);
                self.boot = Some(boot);
                let times = time.zip(self.times);
                self.spans = times.map(|(time, times)| BootSpans::between(boot, time, times));
                self.phase = VmPhase::Command;
            }
            Status::Fail(text) => self.init_failed = Some(text.clone()),
            Status::Exit(phase, code) => {
                let expected = match self.stage {
                    CrashStage::Main => MAIN,
                    CrashStage::Loading | CrashStage::Crashing | CrashStage::Back => CRASH,
                };
                if phase == expected {
                    self.verdict = Some(*code);
                    self.phase = VmPhase::Shutdown;
                }
            }
            Status::Crashing if self.stage == CrashStage::Loading => {
                self.stage = CrashStage::Crashing
            }
            Status::Nothing(_) => self.nothing_else = self.stage == CrashStage::Loading,
            _ => {}
        }
    }

    /// How the run ended, if it has. Only this decides it.
    pub(super) fn look(&mut self, now: Duration, look: Look<'_>) -> Option<End> {
        if let Some(quiet) = look.quiet
            && let Some(outcome) = self.quiet(look.words, quiet)
        {
            return Some(End::As(outcome));
        }
        if self.phase == VmPhase::Boot && self.init_failed.is_none() {
            self.init_failed = look.words.init.clone();
        }
        if let Some(text) = self.init_failed.take() {
            return Some(End::As(match self.stage {
                CrashStage::Main | CrashStage::Back => VmOutcome::InitFailed(text),
                CrashStage::Loading | CrashStage::Crashing => VmOutcome::NotCrashed(text),
            }));
        }
        if self.nothing_else {
            return Some(End::NothingElse);
        }
        if let (Some(code), true) = (self.verdict, look.drained) {
            return Some(End::As(VmOutcome::Exited(code)));
        }
        if look.disconnected {
            self.gone.get_or_insert(now);
        }
        if look.ended && (look.closed || self.gone.is_some()) {
            let died = self.died(look.words).map(VmOutcome::Panicked);
            return Some(died.map_or(End::Gone, End::As));
        }
        if self.gone.is_some_and(|since| now - since > PANIC_GRACE) {
            return Some(End::Gone);
        }
        if !self.rules.debugged
            && let Some(outcome) = self.dying(now, look.words)
        {
            return Some(End::As(outcome));
        }
        self.forget_stops(now);
        self.limit(now, look.console).map(End::Limit)
    }

    /// QEMU has stopped the guest, or somebody has.
    fn quiet(&mut self, words: &ConsoleWords, quiet: Quiet<'_>) -> Option<VmOutcome> {
        if let (Some(reason), true) = (quiet.shutdown, self.rules.dump) {
            let how = || ended_itself(words, Some(reason));
            return Some(match self.died(words) {
                Some(line) => VmOutcome::Panicked(line),
                None => self.lost(how().unwrap_or_else(|| format!("QEMU was ended: {reason}"))),
            });
        }
        let how = match quiet {
            _ if self.rules.debugged || self.rules.may_pause => None,
            Quiet { paused: true, .. } => Some("QEMU was paused"),
            Quiet { stopped: true, .. } => Some("QEMU was stopped by a signal"),
            _ => None,
        };
        // Counts our looks, not time: we may have been stopped together with QEMU.
        self.still = how.map_or(0, |_| self.still + 1);
        let limit = seconds(ending::PAUSE_LIMIT);
        how.filter(|_| interrupt::POLL * self.still >= ending::PAUSE_LIMIT)
            .map(|how| self.lost(format!("{how} and did not go on within {limit}")))
    }

    /// The guest's end by the words of its console, once that is certain.
    fn dying(&mut self, now: Duration, words: &ConsoleWords) -> Option<VmOutcome> {
        if let Some((ending, line)) = words.ending() {
            let lasts = now - *self.ending.get_or_insert(now);
            match ending {
                Ending::PanicOver => {
                    return Some(match self.died(words) {
                        Some(line) => VmOutcome::Panicked(line),
                        None => self.lost(words.planned().unwrap_or_else(|| line.to_owned())),
                    });
                }
                Ending::Gone(how) if lasts >= ending::GONE_LIMIT => {
                    return Some(self.lost(format!("the guest {how}: {line}")));
                }
                Ending::Asleep if lasts >= ending::SLEEP_LIMIT => {
                    let limit = seconds(ending::SLEEP_LIMIT);
                    let how = format!("the guest went to sleep for more than {limit}: {line}");
                    return Some(self.lost(how));
                }
                Ending::Gone(_) | Ending::Asleep | Ending::Awake => {}
            }
        } else {
            self.ending = None;
        }
        let line = words.panicked()?;
        let lasts = now - *self.panicked.get_or_insert(now);
        (lasts > PANIC_GRACE).then_some(VmOutcome::Panicked(line))
    }

    /// The kernel's last words. Before the planned crash was due, a panic is another one.
    fn died(&self, words: &ConsoleWords) -> Option<String> {
        let early = (self.stage == CrashStage::Loading).then(|| words.planned());
        words.died().or_else(|| early.flatten())
    }

    pub(super) fn lost(&self, how: String) -> VmOutcome {
        VmOutcome::Lost(match self.stage {
            CrashStage::Crashing => format!("the kernel did not come back from its crash: {how}"),
            CrashStage::Main | CrashStage::Loading | CrashStage::Back => how,
        })
    }

    /// Nothing is asked of a guest for the time in which we were stopped: its output waited
    /// for us, and our limits must not end it at once when we go on.
    fn forget_stops(&mut self, now: Duration) {
        let gap = now - std::mem::replace(&mut self.looked, now);
        if gap >= STOPPED {
            for time in [&mut self.start, &mut self.begin, &mut self.last_byte] {
                *time += gap;
            }
        }
    }

    /// The limit that has run out, in words.
    fn limit(&self, now: Duration, console: u64) -> Option<String> {
        let Limits { boot, idle, total } = self.rules.limits;
        let over = |limit: Option<Duration>, begin: Duration, when: bool| {
            let spent = now.saturating_sub(begin);
            limit.filter(|limit| when && spent >= *limit).map(seconds)
        };
        let silent = self.rules.on_trial && !self.alive && console == 0;
        let undrained = self.verdict.is_some() && !self.rules.debugged;
        if let Some(limit) = over(Some(SIGN_OF_LIFE), self.start, silent) {
            Some(format!("no sign of life for {limit}"))
        } else if let Some(limit) = over(total, self.start, true) {
            Some(format!("total limit of {limit} (--timeout)"))
        } else if let Some(limit) = over(boot, self.begin, self.is_booting()) {
            Some(format!("boot limit of {limit} (--boot-timeout)"))
        } else if let Some(limit) = over(idle, self.last_byte, self.phase == VmPhase::Command) {
            Some(format!("no output for {limit} (--idle-timeout)"))
        } else if console > LONGEST_CONSOLE {
            let most = LONGEST_CONSOLE >> 20;
            Some(format!("the console has more than {most} MiB"))
        } else {
            over(Some(DRAIN_LIMIT), self.last_byte, undrained)
                .map(|limit| format!("the rest of the output did not come within {limit}"))
        }
    }

    pub(super) fn is_booting(&self) -> bool {
        matches!(self.phase, VmPhase::Boot | VmPhase::Capture)
    }
}

/// How the guest ended itself, if it did, by the console and by QEMU's reason for stopping it.
pub(super) fn ended_itself(words: &ConsoleWords, shutdown: Option<&str>) -> Option<String> {
    if let Some((Ending::Gone(how), line)) = words.ending() {
        return Some(format!("the guest {how}: {line}"));
    }
    Some(format!("the guest {}", ending::of_shutdown(shutdown?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const RULES: Rules = Rules {
        limits: Limits {
            boot: Some(s(60)),
            idle: Some(s(100)),
            total: Some(s(1000)),
        },
        debugged: false,
        may_pause: false,
        dump: false,
        on_trial: false,
    };

    /// A guest that is played, a second at a time.
    struct Play {
        watch: Watch,
        words: ConsoleWords,
        now: Duration,
        drained: bool,
        quiet: Quiet<'static>,
        disconnected: bool,
        ended: bool,
        bytes: u64,
    }

    impl Play {
        fn new(rules: Rules) -> Self {
            Self {
                watch: Watch::new(rules, Duration::ZERO),
                words: ConsoleWords::default(),
                now: Duration::ZERO,
                drained: false,
                quiet: Quiet::default(),
                disconnected: false,
                ended: false,
                bytes: 1,
            }
        }

        /// One whose command runs, since its 5th second.
        fn running(rules: Rules) -> Self {
            let mut play = Self::new(rules);
            assert_eq!(play.wait(5), None);
            play.say(Status::Hello("main".into(), None, None));
            play.say(Status::Started(None));
            play
        }

        fn say(&mut self, line: Status) {
            self.watch.bytes(self.now, Some(Port::Status));
            self.watch.status(self.now, &line);
        }

        fn print(&mut self, line: &str) {
            self.words.feed(line.as_bytes());
            self.words.feed(b"\n");
        }

        fn look(&mut self) -> Option<String> {
            let look = Look {
                words: &self.words,
                console: self.bytes,
                quiet: Some(self.quiet),
                drained: self.drained,
                closed: self.disconnected,
                disconnected: self.disconnected,
                ended: self.ended,
            };
            let end = self.watch.look(self.now, look)?;
            Some(match end {
                End::As(outcome) => outcome.to_string(),
                End::Gone => "gone".to_owned(),
                End::NothingElse => "nothing else".to_owned(),
                End::Limit(limit) => VmOutcome::Stuck(self.watch.phase, limit).to_string(),
            })
        }

        /// The end within so many seconds.
        fn wait(&mut self, seconds: u64) -> Option<String> {
            (0..seconds).find_map(|_| {
                self.now += s(1);
                self.look()
            })
        }

        #[track_caller]
        fn ends(&mut self, after: u64, how: &str) {
            assert_eq!(self.wait(after - 1), None, "before {after} s");
            assert_eq!(self.wait(1).as_deref(), Some(how));
        }
    }

    #[test]
    fn a_verdict_counts_once_all_output_is_there() {
        let mut play = Play::running(RULES);
        play.say(Status::Exit("crash".into(), 1));
        play.drained = true;
        assert_eq!(play.look(), None, "not of this phase");
        play.drained = false;
        play.say(Status::Exit("main".into(), 7));
        assert_eq!(play.wait(29), None);
        play.drained = true;
        assert_eq!(
            play.look().as_deref(),
            Some("the command ended with status 7")
        );
        let mut play = Play::running(RULES);
        play.say(Status::Exit("main".into(), 0));
        play.ends(
            30,
            "the VM got stuck after the command had ended: the rest of the output did not come \
             within 30 s",
        );
    }

    #[test]
    fn limits_run_out() {
        let boot = "the VM got stuck while booting: boot limit of 60 s (--boot-timeout)";
        Play::new(RULES).ends(60, boot);
        let mut play = Play::running(RULES);
        let idle = "the VM got stuck while the command ran: no output for 100 s (--idle-timeout)";
        assert_eq!(play.wait(50), None);
        play.watch.bytes(play.now, None);
        play.ends(100, idle);
        let mut rules = RULES;
        rules.limits.idle = None;
        let total = "the VM got stuck while the command ran: total limit of 1000 s (--timeout)";
        Play::running(rules).ends(995, total);
        let mut play = Play::running(RULES);
        play.bytes = LONGEST_CONSOLE + 1;
        let console = "the VM got stuck while the command ran: the console has more than 64 MiB";
        play.ends(1, console);
        let mut play = Play::new(Rules {
            on_trial: true,
            ..RULES
        });
        play.bytes = 0;
        let silent = "the VM got stuck while booting: no sign of life for 10 s";
        play.ends(10, silent);
    }

    #[test]
    fn the_time_in_which_we_were_stopped_is_not_the_guests() {
        let mut play = Play::running(RULES);
        assert_eq!(play.wait(50), None);
        play.now += s(5000);
        assert_eq!(play.look(), None);
        assert_eq!(play.wait(49), None);
        assert!(play.wait(1).unwrap().contains("--idle-timeout"));
    }

    #[test]
    fn a_kernel_panics() {
        let panic = "Kernel panic - not syncing: sysrq triggered crash";
        let how = format!("the kernel panicked: {panic}");
        let mut play = Play::running(RULES);
        play.print(panic);
        play.ends(7, &how);
        play = Play::running(RULES);
        play.print(panic);
        play.print(&format!("---[ end {panic} ]---"));
        play.ends(1, &how);
        play = Play::running(RULES);
        play.print(panic);
        (play.ended, play.disconnected) = (true, true);
        play.ends(1, &how);
        let mut play = Play::running(Rules {
            debugged: true,
            ..RULES
        });
        play.print(panic);
        assert_eq!(play.wait(99), None, "a debugger looks at it");
    }

    #[test]
    fn guests_that_end_themselves_are_lost() {
        for (line, after, how) in [
            ("reboot: Power down", 3, "turned itself off"),
            ("reboot: Restarting system", 3, "restarted itself"),
            (
                "PM: suspend entry (s2idle)",
                31,
                "went to sleep for more than 30 s",
            ),
        ] {
            let mut play = Play::running(RULES);
            play.print(line);
            play.ends(after, &format!("the VM was lost: the guest {how}: {line}"));
        }
        let mut play = Play::running(RULES);
        play.print("PM: suspend entry (s2idle)");
        assert_eq!(play.wait(30), None);
        play.print("PM: suspend exit");
        assert_eq!(play.wait(60), None);
        for (reason, how) in [
            ("guest-reset", "the guest reset its machine"),
            ("host-signal", "QEMU was ended: host-signal"),
        ] {
            let mut play = Play::running(Rules {
                dump: true,
                ..RULES
            });
            play.quiet.shutdown = Some(reason);
            play.ends(1, &format!("the VM was lost: {how}"));
        }
    }

    #[test]
    fn qemu_stands_still_or_is_gone() {
        let paused = Quiet {
            paused: true,
            ..Quiet::default()
        };
        let stopped = Quiet {
            stopped: true,
            ..Quiet::default()
        };
        for (quiet, how) in [
            (paused, "QEMU was paused"),
            (stopped, "QEMU was stopped by a signal"),
        ] {
            let mut play = Play::running(RULES);
            play.quiet = quiet;
            assert_eq!(play.wait(99), None, "less than 5 s of looks");
            let words = format!("the VM was lost: {how} and did not go on within 5 s");
            assert_eq!(play.look(), Some(words));
            let mut play = Play::running(Rules {
                may_pause: true,
                ..RULES
            });
            play.quiet = quiet;
            assert!(play.wait(100).unwrap().contains("--idle-timeout"));
        }
        let mut play = Play::running(RULES);
        play.disconnected = true;
        play.ends(7, "gone");
        let mut play = Play::running(RULES);
        (play.ended, play.disconnected) = (true, true);
        play.ends(1, "gone");
    }

    #[test]
    fn init_says_that_it_cannot_go_on() {
        let how = "the guest's init failed: no root";
        let mut play = Play::new(RULES);
        play.say(Status::Fail("no root".into()));
        play.ends(1, how);
        let mut play = Play::new(RULES);
        play.print("vmtest: no root");
        play.ends(1, how);
        let mut play = Play::running(RULES);
        play.print("vmtest: no root");
        assert_eq!(play.wait(9), None, "a command writes what it likes");
    }

    #[test]
    fn a_planned_crash_is_no_end() {
        let mut play = Play::running(RULES);
        play.watch.crash(play.now);
        play.words.plan_crash();
        play.say(Status::Crashing);
        assert_eq!(play.watch.stage, CrashStage::Crashing);
        play.say(Status::Hello("crash".into(), None, None));
        assert_eq!(play.watch.stage, CrashStage::Back);
        play.say(Status::Started(None));
        play.say(Status::Exit("crash".into(), 3));
        play.drained = true;
        play.ends(1, "the command ended with status 3");
        let crash = || {
            let mut play = Play::running(RULES);
            play.watch.crash(play.now);
            play
        };
        let mut play = crash();
        play.say(Status::Nothing("crash".into()));
        play.ends(1, "nothing else");
        let mut play = crash();
        play.say(Status::Fail("no memory".into()));
        play.ends(1, "the kernel was not crashed: no memory");
        let mut play = crash();
        play.say(Status::Crashing);
        play.print("reboot: Power down");
        play.ends(
            3,
            "the VM was lost: the kernel did not come back from its crash: the guest turned \
             itself off: reboot: Power down",
        );
        let capture = "the VM got stuck while booting its capture kernel: boot limit of 60 s \
                       (--boot-timeout)";
        crash().ends(60, capture);
    }
}
