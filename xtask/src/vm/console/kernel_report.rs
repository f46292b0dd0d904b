//! Cuts a kernel's reports of trouble out of the lines of its console.
//! Pure, and bounded whatever the lines are.

use crate::model::arch::ARCHITECTURES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel's end.
    Panic,
    /// A fault or a failed assertion of the kernel's; it goes on unless `oops=panic`.
    Oops,
    /// Something does not go on: a soft or hard lockup, an RCU stall, a hung task.
    Stall,
    /// The kernel has killed a process for its memory.
    OutOfMemory,
}

/// The first words of `die()`, `BUG()` and their like: `lib/bug.c`, and `mm/fault.c`,
/// `kernel/traps.c` and the like below `arch/`.
const OOPS: &[&str] = &[
    "BUG: ",
    "kernel BUG at ",
    "Oops: ",
    "Oops [#",
    "Oops - ",
    "illegal operation: ",
    "Internal error: ",
    "general protection fault",
    "Unable to handle kernel ",
];

/// `mm/oom_kill.c`: which process was killed; another line says which one asked for memory. "Kill
/// process" and a line of its own, "Killed process", before 5.0.
const OUT_OF_MEMORY: &[&str] = &[
    "Out of memory: Kill",
    "Memory cgroup out of memory: Kill",
    "Killed process ",
];

/// The meaning of a console line without its time stamp.
pub fn sign(text: &str) -> Option<Kind> {
    let begins = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    // `kernel/watchdog.c` and `kernel/watchdog_hld.c`; "NMI watchdog: " before 4.19.
    let watchdog = text.strip_prefix("NMI ").unwrap_or(text);
    // `kernel/rcu/tree_stall.h`, without "rcu: " before 4.20, and `kernel/hung_task.c`.
    let info = text.strip_prefix("rcu: ").unwrap_or(text);
    if begins(&["Kernel panic - not syncing"]) {
        Some(Kind::Panic)
    } else if watchdog.starts_with("watchdog: BUG: soft lockup")
        // "CPU0: " before it since 7.x.
        || (watchdog.starts_with("watchdog: ") && text.contains("Watchdog detected hard LOCKUP"))
    {
        Some(Kind::Stall)
    } else if let Some(info) = info.strip_prefix("INFO: ") {
        let stall = info.starts_with("rcu_") && info.contains(" stall");
        // "blocked in I/O wait for more than" since 6.19.
        let hung = info.starts_with("task ")
            && info.contains(" blocked")
            && info.contains(" for more than ");
        (stall || hung).then_some(Kind::Stall)
    } else if text.contains(" invoked oom-killer: ") || begins(OUT_OF_MEMORY) {
        Some(Kind::OutOfMemory)
    } else {
        begins(OOPS).then_some(Kind::Oops)
    }
}

/// A console line's time in seconds, and its text: `[    1.234567] text`, or with the
/// printing process `[    1.234567][    T1] text` (`CONFIG_PRINTK_CALLER`).
pub fn stamp(line: &str) -> (Option<f64>, &str) {
    fn bracketed(text: &str) -> Option<(&str, &str)> {
        text.strip_prefix('[')?.split_once(']')
    }
    let Some((time, text)) = bracketed(line) else {
        return (None, line);
    };
    let Ok(time) = time.trim().parse::<f64>() else {
        return (None, line);
    };
    let process = bracketed(text).and_then(|(_, text)| text.strip_prefix(' '));
    let text = process.or(text.strip_prefix(' ')).unwrap_or(text);
    (Some(time), text)
}

/// Lines of one report of the kernel's: a panic has a stack of at most 40 or so, and
/// registers twice.
const BLOCK: usize = 120;

/// Lines and bytes of all.
const LINES: usize = 400;
const BYTES: usize = 64 << 10;

/// A report is printed at once: what comes so many seconds later is something else.
const GAP: f64 = 2.0;

/// Whether a line is of the registers with which a process entered the kernel, which are at the end
/// of a stack; `inside`: the line before was.
fn of_user_registers(text: &str, inside: bool) -> bool {
    let begins = |start: &&str| text.starts_with(start);
    ARCHITECTURES.iter().any(|arch| {
        let (first, others) = (arch.user_registers.first(), arch.user_registers);
        first.is_some_and(begins) || (inside && others.iter().any(begins))
    })
}

/// Collects the kernel's reports while its lines come.
#[derive(Debug, Default)]
pub struct Excerpt {
    text: String,
    lines: usize,
    /// Lines that the open report has had; `None`: none is open.
    open: Option<usize>,
    /// The time of the last line of it.
    time: Option<f64>,
    /// The registers of a process come, which are nobody's trouble.
    registers: bool,
    /// Whether answers to our own questions, sysrq `l` and `w`, are taken as well.
    pub asked: bool,
    full: bool,
}

impl Excerpt {
    /// The reports, without time stamps; an empty line between them.
    pub fn text(&self) -> &str {
        self.text.trim_end()
    }

    /// Takes a console line; what it is a sign of.
    pub fn line(&mut self, line: &str) -> Option<Kind> {
        let (time, text) = stamp(line);
        let kind = sign(text);
        if let (Some(time), Some(last)) = (time, self.time)
            && !(-GAP..GAP).contains(&(time - last))
        {
            self.open = None;
        }
        if text.starts_with("sysrq: ") {
            self.open = None;
            // `drivers/tty/sysrq.c`; "sysrq: SysRq : Show…" before 5.0.
            let answers = ["Show Blocked State", "Show backtrace of all active CPUs"];
            if self.asked && answers.iter().any(|end| text.ends_with(end)) {
                self.begin();
            }
        }
        match (kind, self.open) {
            // A list of all memory and all processes stands between the two lines.
            (Some(Kind::OutOfMemory), None) => self.push(text),
            (Some(_), None) => self.begin(),
            // An oops becomes a panic.
            (Some(_), Some(_)) => self.open = Some(0),
            (None, _) => {}
        }
        self.registers = of_user_registers(text, self.registers);
        if let Some(lines) = &mut self.open {
            if self.registers {
                return kind;
            }
            *lines += 1;
            let last = *lines >= BLOCK || text.starts_with("---[ end ");
            self.time = time.or(self.time);
            self.push(text);
            if last {
                self.open = None;
            }
        }
        kind
    }

    fn begin(&mut self) {
        self.open = Some(0);
        self.time = None;
        if !self.text.is_empty() {
            self.push("");
        }
    }

    fn push(&mut self, line: &str) {
        if self.full {
            return;
        }
        if self.lines >= LINES || self.text.len() + line.len() > BYTES {
            self.full = true;
            self.text.push_str("[more is in the console's log]\n");
            return;
        }
        self.lines += 1;
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str) -> String {
        let mut excerpt = Excerpt::default();
        for line in text.lines() {
            excerpt.line(line);
        }
        excerpt.text().to_owned()
    }

    #[test]
    fn signs_of_all_versions() {
        for (kind, lines) in [
            (
                Kind::Panic,
                &["Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009"][..],
            ),
            (
                Kind::Oops,
                &[
                    "BUG: kernel NULL pointer dereference, address: 0000000000000000",
                    "BUG: KASAN: use-after-free in x+0x1/0x2",
                    "kernel BUG at mm/slub.c:300!",
                    "Oops: 0002 [#1] SMP",
                    "Oops [#1]",
                    "Oops - illegal instruction [#1]",
                    "illegal operation: 0001 ilc:1 [#1] SMP",
                    "Oops: general protection fault, probably for non-canonical address",
                    "general protection fault: 0000 [#1] SMP",
                    "Unable to handle kernel paging request at virtual address 0",
                    "Internal error: Oops: 96000004 [#1] SMP",
                ],
            ),
            (
                Kind::Stall,
                &[
                    "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [python3:81]",
                    "NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [python3:81]",
                    "watchdog: Watchdog detected hard LOCKUP on cpu 1",
                    "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1",
                    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                    "rcu: INFO: rcu_sched self-detected stall on CPU",
                    "INFO: rcu_sched self-detected stall on CPU",
                    "rcu: INFO: rcu_tasks detected stalls on tasks:",
                    "INFO: task python3:81 blocked for more than 120 seconds.",
                ],
            ),
            (
                Kind::OutOfMemory,
                &[
                    "python3 invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER), order=0",
                    "Out of memory: Killed process 81 (python3) total-vm:462064kB",
                    "Out of memory: Kill process 81 (python3) score 900 or sacrifice child",
                    "Killed process 81 (python3) total-vm:462064kB",
                ],
            ),
        ] {
            for line in lines {
                assert_eq!(sign(line), Some(kind), "{line}");
            }
        }
        for line in [
            "",
            "INFO: lockdep is turned off.",
            "rcu: Hierarchical RCU implementation.",
            "INFO: task list",
            "test: Kernel panic - not syncing",
            "a BUG: in a sentence",
        ] {
            assert_eq!(sign(line), None, "{line}");
        }
    }

    #[test]
    fn stamps() {
        assert_eq!(stamp("[    1.500000] text"), (Some(1.5), "text"));
        assert_eq!(stamp("[    1.500000][   T81] [a] b"), (Some(1.5), "[a] b"));
        assert_eq!(stamp("[    1.500000]  <TASK>"), (Some(1.5), " <TASK>"));
        for line in ["text", "[x] text", "[1.0", "", "["] {
            assert_eq!(stamp(line), (None, line));
        }
    }

    const OOPS: &str = "\
[   12.10] oops: loading out-of-tree module taints kernel.
[   12.17] BUG: kernel NULL pointer dereference, address: 0000000000000000
[   12.17] Oops: 0002 [#1] SMP
[   12.17] RIP: 0010:oops_init+0x2/0x1000 [oops]
[   12.18]  do_one_initcall+0x72/0x158
[   12.18] ---[ end trace 0000000000000000 ]---
[   12.18] RIP: 0010:oops_init+0x2/0x1000 [oops]
[   12.19] Kernel panic - not syncing: Fatal exception
[   12.19] Kernel Offset: 0xd800000 from 0xffffffff81000000
[    0.00] Linux version 6.1.192 (the kernel that kexec started)
";

    #[test]
    fn an_oops_and_its_panic_are_cut_out() {
        let expected = "\
BUG: kernel NULL pointer dereference, address: 0000000000000000
Oops: 0002 [#1] SMP
RIP: 0010:oops_init+0x2/0x1000 [oops]
 do_one_initcall+0x72/0x158
---[ end trace 0000000000000000 ]---

Kernel panic - not syncing: Fatal exception
Kernel Offset: 0xd800000 from 0xffffffff81000000";
        assert_eq!(excerpt(OOPS), expected);
    }

    #[test]
    fn registers_of_a_process_are_left_out() {
        let text = "\
[   12.17] Oops: 0002 [#1] SMP
[   12.17] RIP: 0010:oops_init+0x2/0x1000 [oops]
[   12.17] RAX: 0000000000000000 RBX: ffffffffc0155000
[   12.18]  do_syscall_64+0x39/0x46
[   12.18] RIP: 0033:0x7f68ca797829
[   12.18] Code: 08 89 e8
[   12.18] RAX: 0000000000000000 RBX: ffffffffc0155000
[   12.18]  </TASK>
[   12.18] RAX: 1
";
        let expected = "\
Oops: 0002 [#1] SMP
RIP: 0010:oops_init+0x2/0x1000 [oops]
RAX: 0000000000000000 RBX: ffffffffc0155000
 do_syscall_64+0x39/0x46
 </TASK>
RAX: 1";
        assert_eq!(excerpt(text), expected);
    }

    #[test]
    fn a_stall_ends_with_its_time() {
        let text = "\
[   30.0] before
[   31.0] rcu: INFO: rcu_sched self-detected stall on CPU
[   31.0] rcu: \t0-....: (20999 ticks this GP)
[   31.1]  spin+0x1/0x2
[   40.0] loop0: detected capacity change
[   94.0] rcu: INFO: rcu_sched self-detected stall on CPU
";
        let expected = "\
rcu: INFO: rcu_sched self-detected stall on CPU
rcu: \t0-....: (20999 ticks this GP)
 spin+0x1/0x2

rcu: INFO: rcu_sched self-detected stall on CPU";
        assert_eq!(excerpt(text), expected);
    }

    #[test]
    fn of_a_killed_process_two_lines() {
        let text = "\
[   30.0] python3 invoked oom-killer: gfp_mask=0x140dca
[   30.0] CPU: 0 PID: 81 Comm: python3
[   30.1] Mem-Info:
[   30.1] Out of memory: Killed process 81 (python3) total-vm:462064kB
";
        let expected = "\
python3 invoked oom-killer: gfp_mask=0x140dca
Out of memory: Killed process 81 (python3) total-vm:462064kB";
        assert_eq!(excerpt(text), expected);
    }

    #[test]
    fn answers_are_taken_when_we_asked() {
        let text = "\
[   30.0] sysrq: Show Blocked State
[   30.0] task:python3 state:D
[   30.0] sysrq: Show State
[   30.0] task:init state:S
";
        assert_eq!(excerpt(text), "");
        let mut asked = Excerpt {
            asked: true,
            ..Excerpt::default()
        };
        for line in text.lines() {
            asked.line(line);
        }
        let expected = "sysrq: Show Blocked State\ntask:python3 state:D";
        assert_eq!(asked.text(), expected);
    }

    #[test]
    fn an_endless_report_is_bounded() {
        let mut excerpt = Excerpt::default();
        for _ in 0..1000 {
            excerpt.line("Oops: again");
            for _ in 0..1000 {
                excerpt.line(&"x".repeat(100));
            }
        }
        assert!(excerpt.text.len() <= BYTES + 100, "{}", excerpt.text.len());
        assert!(excerpt.text().ends_with("[more is in the console's log]"));
    }
}
