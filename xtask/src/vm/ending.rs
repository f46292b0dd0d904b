//! The ways in which a guest ends itself or stands still without a verdict of init's, and
//! what shows each of them. Pure. The tests of the same are in `tests/vm/endings.rs`.
//!
//! | what happens | what shows it | the run |
//! |---|---|---|
//! | reboot(2) RESTART, RESTART2; sysrq `b` | the console; QEMU ends (`-no-reboot`) | is lost |
//! | a triple fault, a reset by a device | QEMU ends: `guest-reset` | is lost |
//! | reboot(2) POWER_OFF, sysrq `o`, with ACPI | the console; QEMU ends | is lost |
//! | the same without ACPI; HALT | the console | is lost |
//! | reboot(2) KEXEC | the console | is lost |
//! | reboot(2) SW_SUSPEND, `/sys/power/state` | the console, until it wakes | is lost after [`SLEEP_LIMIT`] |
//! | reboot(2) CAD_ON, CAD_OFF; KEXEC and SW_SUSPEND that fail | | goes on |
//! | a panic with `panic=` below 0 (ours); PID 1 dies; sysrq `c` | the console; QEMU ends | panicked |
//! | a panic with `panic=` of 0 or more, by parameter or sysctl | its last words on the console | panicked |
//! | QEMU is paused (QMP), or stopped (SIGSTOP) | its monitor; its state | is lost after [`PAUSE_LIMIT`] |
//! | QEMU is killed, or ends | its status | is lost |
//! | a loop with interrupts off, a deadlock, a command that stops or waits for ever | nothing | `--idle-timeout`, `--timeout` |

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The kernel has said all that it says when it panics, and waits or loops.
    PanicOver,
    /// The guest has ended itself; how, behind "the guest".
    Gone(&'static str),
    /// It sleeps.
    Asleep,
    /// It sleeps no longer.
    Awake,
}

/// How long a guest that says that it ends itself may take to do so.
pub const GONE_LIMIT: Duration = Duration::from_secs(2);

/// How long a guest may sleep: tests of suspend wake it by its clock after some seconds.
pub const SLEEP_LIMIT: Duration = Duration::from_secs(30);

/// How long QEMU may be paused, or stopped by a signal.
pub const PAUSE_LIMIT: Duration = Duration::from_secs(5);

const RESTARTED: Ending = Ending::Gone("restarted itself");
const HALTED: Ending = Ending::Gone("halted itself");
const KEXEC: Ending = Ending::Gone("started another kernel");

/// First words of lines without their stamps, of all versions.
const LINES: &[(&str, Ending)] = &[
    // `kernel/panic.c`, `panic`: without a restart, and before one.
    ("---[ end Kernel panic", Ending::PanicOver),
    ("Rebooting in ", Ending::PanicOver),
    // `kernel/reboot.c`. A kernel that cannot turn the machine off halts it: since 6.2 or
    // so it says so, and before it says what it does.
    ("reboot: Restarting system", RESTARTED),
    ("reboot: System halted", HALTED),
    ("reboot: Power off not available", HALTED),
    ("reboot: Power down", Ending::Gone("turned itself off")),
    // `drivers/tty/sysrq.c`: the second one before 5.0.
    ("sysrq: Resetting", RESTARTED),
    ("sysrq: SysRq : Resetting", RESTARTED),
    // `kernel/kexec_core.c`: "kexec: " before 4.19 or so.
    ("kexec_core: Starting new kernel", KEXEC),
    ("kexec: Starting new kernel", KEXEC),
    // `kernel/power/suspend.c` and `hibernate.c`; the words of 4.9 are other ones.
    ("PM: suspend entry", Ending::Asleep),
    ("PM: Preparing system for sleep", Ending::Asleep),
    ("PM: hibernation: hibernation entry", Ending::Asleep),
    ("PM: hibernation entry", Ending::Asleep),
    ("PM: suspend exit", Ending::Awake),
    ("PM: Finishing wakeup", Ending::Awake),
    ("PM: hibernation: hibernation exit", Ending::Awake),
    ("PM: hibernation exit", Ending::Awake),
];

/// The meaning of a console's line without its stamp.
pub fn of_line(text: &str) -> Option<Ending> {
    let (_, ending) = (LINES.iter()).find(|(start, _)| text.starts_with(start))?;
    Some(*ending)
}

/// The meaning of the reason in QEMU's event SHUTDOWN (`qapi/run-state.json`, `ShutdownCause`),
/// behind "the guest"; `None` if it was not the guest's doing.
pub fn of_shutdown(reason: &str) -> Option<&'static str> {
    match reason {
        "guest-reset" => Some("reset its machine"),
        "guest-shutdown" => Some("turned its machine off"),
        "guest-panic" => Some("told QEMU that it panicked"),
        _ => None,
    }
}

/// Whether these arguments of the user's let somebody else pause QEMU: a debugger.
pub fn may_be_paused(arguments: &[std::ffi::OsString]) -> bool {
    (arguments.iter()).any(|word| word == "-s" || word == "-S" || word == "-gdb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_all_versions_are_known() {
        for (line, ending) in [
            (
                "---[ end Kernel panic - not syncing: sysrq triggered crash ]---",
                Ending::PanicOver,
            ),
            ("Rebooting in 30 seconds..", Ending::PanicOver),
            (
                "reboot: Restarting system with command 'x'",
                Ending::Gone("restarted itself"),
            ),
            (
                "reboot: Power off not available: System halted instead",
                Ending::Gone("halted itself"),
            ),
            ("PM: suspend entry (s2idle)", Ending::Asleep),
            ("PM: suspend exit", Ending::Awake),
        ] {
            assert_eq!(of_line(line), Some(ending), "{line}");
        }
        for line in ["", "reboot: ", "x reboot: System halted", "PM: suspend"] {
            assert_eq!(of_line(line), None, "{line}");
        }
    }

    #[test]
    fn what_was_not_the_guests_doing_is_not_said_to_be() {
        assert_eq!(of_shutdown("guest-reset"), Some("reset its machine"));
        assert_eq!(of_shutdown("host-signal"), None);
    }

    #[test]
    fn a_debugger_may_pause() {
        assert!(may_be_paused(&["-m".into(), "-s".into()]));
        assert!(!may_be_paused(&["-serial".into()]));
    }
}
