//! Finds a kernel's complaints in its log, as `/proc/kmsg` gives it (proc_kmsg(5)): lines
//! `<4>[    1.234567] text`, whose number is 8 times the facility, plus the level. The kernel's
//! own facility is 0; what a process writes to `/dev/kmsg` has another one. Pure and bounded.

use crate::base::shown;
use crate::model::complaint::{Complaint, STALL};
use crate::vm::console::kernel_report::{Kind, sign, stamp};

/// The kinds by how their first lines begin; of several the first one counts.
const KINDS: &[(&str, &str)] = &[
    ("KASAN", "BUG: KASAN: "),
    ("KCSAN", "BUG: KCSAN: "),
    ("KFENCE", "BUG: KFENCE: "),
    ("KMSAN", "BUG: KMSAN: "),
    ("UBSAN", "UBSAN: "),
    // mm/page_alloc.c, mm/memory.c
    ("bad page", "BUG: Bad page"),
    // kernel/workqueue.c, wq_watchdog_timer_fn()
    (STALL, "BUG: workqueue lockup"),
    // kernel/sched/core.c
    ("BUG", "bad: scheduling from the idle thread"),
    ("BUG", "BUG: "),
    ("BUG", "kernel BUG at "),
    ("lockdep", "INFO: trying to register non-static key"),
    // kernel/locking/lockdep.c, print_lock_invalid_wait_context()
    ("lockdep", "[ BUG: Invalid wait context ]"),
    ("WARNING", "WARNING: "),
    // net/core/dev.c, netdev_wait_allrefs_any()
    ("refcount", "unregister_netdevice: waiting for "),
    // kernel/time/clocksource.c
    (STALL, "clocksource: timekeeping watchdog on CPU"),
    (STALL, "clocksource: Marking clocksource"),
];

/// `kernel/panic.c`: it stands before a warning, whose message comes in between.
const CUT: &str = "------------[ cut here ]------------";

/// Not every report shows its end: seconds without a word end it. What comes then is something else.
const GAP: f64 = 2.0;

const LONGEST_LINE: usize = 1024;
const MOST_LINES: usize = 200;

/// More are counted, not kept.
const MOST_COMPLAINTS: usize = 100;

/// The bits of `/proc/sys/kernel/tainted` that a fault sets
/// (Documentation/admin-guide/tainted-kernels.rst).
const FAULTS: &[(u32, char, &str)] = &[
    (4, 'M', "a machine check"),
    (5, 'B', "a bad page"),
    (7, 'D', "an oops"),
    (9, 'W', "a warning"),
    (14, 'L', "a soft lockup"),
];

#[derive(Debug, Default)]
pub struct ComplaintReader {
    line: Vec<u8>,
    /// What stands between [`CUT`] and the first line of a complaint.
    before: Option<Vec<String>>,
    /// The line before was a rule of `=`, as lockdep prints one above its reports.
    ruled: bool,
    open: Option<(Complaint, usize)>,
    /// Seconds of the kernel's clock at its last line.
    last: Option<f64>,
    found: usize,
}

impl ComplaintReader {
    /// Takes bytes as they come; gives the complaints that are complete now.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Complaint> {
        let mut complete = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                complete.extend(self.end_line(&shown::line(&String::from_utf8_lossy(&line))));
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            }
        }
        complete
    }

    /// The log has ended.
    pub fn finish(&mut self) -> Option<Complaint> {
        self.before = None;
        let (complaint, _) = self.open.take()?;
        self.found += 1;
        (self.found <= MOST_COMPLAINTS).then_some(complaint)
    }

    /// A complaint about the bits of `/proc/sys/kernel/tainted`, if nothing else explains them.
    pub fn tainted(&mut self, bits: u64) -> Option<Complaint> {
        let set = FAULTS.iter().filter(|(bit, ..)| bits >> bit & 1 == 1);
        let set = set.map(|(_, letter, what)| format!("{letter} ({what})"));
        let set = set.collect::<Vec<_>>();
        if self.found > 0 || self.open.is_some() || set.is_empty() {
            return None;
        }
        let title = format!(
            "the kernel is tainted, and its log does not say why: {}",
            set.join(", ")
        );
        Some(Complaint {
            kind: "taint".to_owned(),
            report: title.clone(),
            title,
            test: None,
            allowed: None,
            time: None,
        })
    }

    fn end_line(&mut self, line: &str) -> Option<Complaint> {
        let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
        if number.parse::<u32>().ok()? >= 8 {
            return None;
        }
        let (time, text) = stamp(rest);
        let before = std::mem::replace(&mut self.last, time);
        let late = time.zip(before).is_some_and(|(now, last)| now - last > GAP);
        let ended = if late { self.finish() } else { None };
        ended.or(self.end_text(time, text))
    }

    fn end_text(&mut self, time: Option<f64>, text: &str) -> Option<Complaint> {
        let ruled = std::mem::replace(&mut self.ruled, text.starts_with("====="));
        if text == CUT {
            let complete = self.finish();
            self.before = Some(Vec::new());
            return complete;
        }
        // mm/slub.c, slab_bug()
        let slab = (ruled && text.starts_with("BUG ")).then_some("BUG");
        if let Some(kind) = kind(text).or(slab) {
            let before = self.before.take();
            let complete = self.finish();
            let kind = match kind {
                // kernel/locking/lockdep.c
                "WARNING" if ruled && before.is_none() => "lockdep",
                kind => kind,
            };
            let before = before.unwrap_or_default();
            let message = before.join(" ");
            let title = match message.as_str() {
                "" => text.to_owned(),
                message => format!("{text}: {message}"),
            };
            let lines = before.into_iter().chain([text.to_owned()]);
            let complaint = Complaint {
                kind: kind.to_owned(),
                title,
                report: lines.collect::<Vec<_>>().join("\n"),
                test: None,
                allowed: None,
                // Microseconds have six digits in a stamp.
                time: time.map(|seconds| (seconds * 1e6).round() as u64),
            };
            self.open = Some((complaint, 1));
            return complete;
        }
        if let Some(before) = &mut self.before {
            match before.len() {
                0..=3 => before.push(text.to_owned()),
                _ => self.before = None,
            }
            return None;
        }
        let (complaint, lines) = self.open.as_mut()?;
        complaint.report.push('\n');
        complaint.report.push_str(text);
        *lines += 1;
        let closes = text.starts_with("---[ end trace") || self.ruled;
        // The sanitizers go on behind their first trace.
        let ends = text.trim() == "</TASK>" && !complaint.kind.ends_with("SAN");
        match closes || ends || *lines >= MOST_LINES {
            true => self.finish(),
            false => None,
        }
    }
}

fn kind(text: &str) -> Option<&'static str> {
    if sign(text) == Some(Kind::Stall) {
        return Some(STALL);
    }
    // mm/kmemleak.c
    if text.starts_with("kmemleak: ") && text.contains("suspected memory leaks") {
        return Some("kmemleak");
    }
    let mut kinds = KINDS.iter().filter(|(_, start)| text.starts_with(start));
    kinds.next().map(|(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &str) -> Vec<Complaint> {
        let mut reader = ComplaintReader::default();
        let mut found = reader.feed(log.as_bytes());
        found.extend(reader.finish());
        found
    }

    const WARNING: &str = "\
<6>[    1.000000] module: loading
<4>[    1.500000] ------------[ cut here ]------------
<4>[    1.500001] refcount_t: underflow; use-after-free.
<4>[    1.500002] WARNING: CPU: 1 PID: 80 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
<4>[    1.500003] Modules linked in: complain(O+)
<4>[    1.500004] Call Trace:
<4>[    1.500005]  <TASK>
<4>[    1.500006]  init_module+0x10/0x20 [complain]
<4>[    1.500007]  </TASK>
<4>[    1.500008] ---[ end trace 0000000000000000 ]---
<6>[    1.600000] module: loaded
";

    #[test]
    fn a_warning_is_found_with_its_message_and_its_stack() {
        let [complaint] = &read(WARNING)[..] else {
            panic!("{:?}", read(WARNING));
        };
        assert_eq!(complaint.kind, "WARNING");
        assert_eq!(
            complaint.title,
            "WARNING: CPU: 1 PID: 80 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110: \
             refcount_t: underflow; use-after-free."
        );
        assert!(
            complaint
                .report
                .contains("init_module+0x10/0x20 [complain]")
        );
        assert!(!complaint.report.contains("module: loaded"));
        assert_eq!(complaint.time, Some(1_500_002));
    }

    #[test]
    fn a_complaint_is_the_same_in_whatever_pieces_it_comes() {
        let whole = read(WARNING);
        for cut in 0..WARNING.len() {
            let mut reader = ComplaintReader::default();
            let mut found = reader.feed(&WARNING.as_bytes()[..cut]);
            found.extend(reader.feed(&WARNING.as_bytes()[cut..]));
            found.extend(reader.finish());
            assert_eq!(found, whole, "{cut}");
        }
    }

    #[test]
    fn each_kind_is_known_by_its_first_line() {
        let kinds = |line: &str| {
            let found = read(&format!("<4>[    1.000000] {line}\n"));
            found
                .into_iter()
                .map(|complaint| complaint.kind)
                .collect::<Vec<_>>()
        };
        for (line, kind) in [
            ("BUG: KASAN: slab-out-of-bounds in f+0x1/0x2 [m]", "KASAN"),
            ("UBSAN: shift-out-of-bounds in /src/m.c:3:9", "UBSAN"),
            (
                "BUG: Bad page state in process python3  pfn:04711",
                "bad page",
            ),
            (
                "BUG: sleeping function called from invalid context at m.c:1",
                "BUG",
            ),
            ("BUG: workqueue lockup - pool cpus=0 node=0", STALL),
            (
                "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [python3:80]",
                STALL,
            ),
            ("rcu: INFO: rcu_sched self-detected stall on CPU", STALL),
            (
                "INFO: task python3:81 blocked for more than 120 seconds.",
                STALL,
            ),
            (
                "clocksource: Marking clocksource 'tsc' as unstable because",
                STALL,
            ),
            (
                "kmemleak: 3 new suspected memory leaks (see /sys)",
                "kmemleak",
            ),
            (
                "unregister_netdevice: waiting for lo to become free.",
                "refcount",
            ),
            ("WARNING: CPU: 0 PID: 1 at m.c:1 f+0x1/0x2", "WARNING"),
            (
                "WARNING: m.c:1 at f+0x1/0x2 [m], CPU#1: insmod/80",
                "WARNING",
            ),
            ("WARNING: at f+0x1/0x2 [m], CPU#1: insmod/80", "WARNING"),
            (
                "INFO: task a b:8 blocked in I/O wait for more than 245 seconds.",
                STALL,
            ),
            ("INFO: rcu_tasks detected stalls on tasks:", STALL),
            (
                "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: {",
                STALL,
            ),
            (
                "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1",
                STALL,
            ),
            (
                "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1",
                STALL,
            ),
            (
                "clocksource: Marking clocksource tsc unstable due to frequency skew",
                STALL,
            ),
            ("BUG: KFENCE: use-after-free read in f+0x1/0x2", "KFENCE"),
            ("BUG: KCSAN: data-race in f / g", "KCSAN"),
            ("BUG: Bad page map in process a  pte:0 pmd:0", "bad page"),
            ("BUG: scheduling while atomic: insmod/80/0x00000002", "BUG"),
            ("[ BUG: Invalid wait context ]", "lockdep"),
        ] {
            assert_eq!(kinds(line), [kind], "{line}");
        }
        for line in [
            "kmemleak: Kernel memory leak detector initialized",
            "Spectre V2 : WARNING: Unprivileged eBPF is enabled",
            "python3: page allocation failure: order:4",
            "Out of memory: Killed process 80 (python3)",
            "module: WARNING: x",
            "module says BUG: KASAN: x",
            "INFO: task a:8 is blocked on a mutex likely owned by task b:9.",
            "INFO: lockdep is turned off.",
            "BUG at the end of a line is no report",
        ] {
            assert_eq!(kinds(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn lockdep_is_told_from_other_warnings_by_its_rule() {
        let report = "<4>[    1.0] ============================================\n\
            <4>[    1.0] WARNING: possible recursive locking detected\n\
            <4>[    1.0] 6.1.192 Not tainted\n<4>[    1.0] --------------------\n\
            <4>[    1.0]  <TASK>\n<4>[    1.0]  f+0x1/0x2\n<4>[    1.0]  </TASK>\n";
        let found = read(&report.repeat(2));
        let kinds = found.iter().map(|complaint| complaint.kind.as_str());
        assert_eq!(kinds.collect::<Vec<_>>(), ["lockdep", "lockdep"]);
        assert_eq!(found[0].report.lines().count(), 6);
    }

    /// Kinds and numbers of lines of the reports in a log, whose lines have their levels and
    /// times only here.
    fn reports(log: &str) -> Vec<(String, usize)> {
        let lines = log
            .lines()
            .map(|line| format!("<4>[    1.000000] {line}\n"));
        let found = read(&lines.collect::<String>());
        let counted = |complaint: Complaint| (complaint.kind, complaint.report.lines().count());
        found.into_iter().map(counted).collect()
    }

    // Shortened from what mm/kasan/report.c and mm/kfence/report.c print.
    const KASAN: &str = "\
==================================================================
BUG: KASAN: slab-use-after-free in f+0x1/0x2 [m]
Write of size 8 at addr ffff888 by task insmod/80

Call Trace:
 <TASK>
 kasan_report+0xda/0x110
 f+0x1/0x2 [m]
 </TASK>

Allocated by task 80:
 kmalloc+0x1/0x2

Freed by task 80:
 kfree+0x1/0x2
==================================================================
";
    const KFENCE: &str = "\
==================================================================
BUG: KFENCE: use-after-free read in f+0x1/0x2 [m]

Use-after-free read at 0x00000000 (in kfence-#24):
 f+0x1/0x2 [m]

freed by task 80 on cpu 1 at 1.0s:
 kfree+0x1/0x2

CPU: 1 PID: 80 Comm: insmod Not tainted 6.1.192
==================================================================
";
    // lib/ubsan.c before 6.8 and since.
    const UBSAN: &str = "\
================================================================================
UBSAN: shift-out-of-bounds in m.c:3:9
shift exponent 64 is too large for 32-bit type 'int'
Call Trace:
 dump_stack+0x1/0x2
================================================================================
------------[ cut here ]------------
UBSAN: array-index-out-of-bounds in m.c:4:9
index 9 is out of range for type 'int [4]'
Call Trace:
 <TASK>
 dump_stack+0x1/0x2
 </TASK>
---[ end trace ]---
";
    // mm/slub.c
    const SLUB: &str = "\
=============================================================================
BUG kmalloc-64 (Tainted: G           O      ): Right Redzone overwritten
-----------------------------------------------------------------------------

0xffff888-0xffff889 @offset=64. First byte 0x0 instead of 0xcc
Call Trace:
 <TASK>
 check_bytes_and_report+0x1/0x2
 </TASK>
";
    // kernel/locking/lockdep.c, print_lock_invalid_wait_context()
    const WAIT: &str = "\
=============================
[ BUG: Invalid wait context ]
6.1.192 Not tainted
-----------------------------
stack backtrace:
 <TASK>
 lock_acquire+0x1/0x2
 </TASK>
";

    #[test]
    fn reports_are_found_one_by_one_and_whole() {
        let report = |kind: &str, lines| (kind.to_owned(), lines);
        for (log, found) in [
            (KASAN, vec![report("KASAN", 15)]),
            (KFENCE, vec![report("KFENCE", 10)]),
            (UBSAN, vec![report("UBSAN", 5), report("UBSAN", 7)]),
            (SLUB, vec![report("BUG", 8)]),
            (WAIT, vec![report("lockdep", 7)]),
        ] {
            let words = "m: a line of a module\n";
            let between = format!("{words}{log}{words}{log}{words}");
            assert_eq!(reports(&between), [found.clone(), found].concat(), "{log}");
        }
    }

    /// 6.1.192 with KASAN, UBSAN, lockdep and the other checkers, and a module that makes each
    /// of them complain. Without the frames that the kernel marks as guesses.
    const CHECKERS: &str = include_str!("recorded/checkers-6.1.txt");

    #[test]
    fn what_a_kernel_with_checkers_prints() {
        let lines = CHECKERS
            .lines()
            .map(|line| format!("<4>[    1.000000] {line}\n"));
        let found = read(&lines.collect::<String>());
        let titles = found.iter().map(|found| {
            assert!(
                found.report.contains("complain_init+0x"),
                "{}",
                found.report
            );
            (&*found.kind, &*found.title, found.report.lines().count())
        });
        let expected = [
            (
                "KASAN",
                "BUG: KASAN: use-after-free in kasan+0x44/0x64 [complain]",
                75,
            ),
            (
                "UBSAN",
                "UBSAN: shift-out-of-bounds in /complain.c:52:12",
                25,
            ),
            (
                "lockdep",
                "WARNING: possible circular locking dependency detected",
                79,
            ),
            (
                "BUG",
                "BUG: sleeping function called from invalid context at /complain.c:59",
                25,
            ),
            (
                "WARNING",
                "WARNING: CPU: 0 PID: 64 at lib/list_debug.c:33 __list_add_valid+0xb6/0xc1: \
                 list_add double add: new=ffff8880095cfa28, prev=ffff8880095cfa08, \
                 next=ffff8880095cfa28.",
                33,
            ),
            (
                STALL,
                "INFO: task insmod:66 blocked for more than 10 seconds.",
                24,
            ),
        ];
        assert_eq!(titles.collect::<Vec<_>>(), expected);
    }

    /// `__warn()` of 7.3: the message can stand behind the first line too.
    #[test]
    fn a_warning_of_newer_kernels_is_whole() {
        let newer = WARNING.replace(
            "WARNING: CPU: 1 PID: 80 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110",
            "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0xba/0x110, CPU#1: insmod/80",
        );
        let found = read(&newer);
        assert_eq!((found.len(), found[0].kind.as_str()), (1, "WARNING"));
        assert!(
            found[0]
                .title
                .ends_with("insmod/80: refcount_t: underflow; use-after-free.")
        );
    }

    /// A stack of a kernel before 5.16 has no end: arch/x86/kernel/dumpstack.c.
    #[test]
    fn a_report_without_an_end_ends_when_the_kernel_pauses() {
        let log = "<3>[    1.0] BUG: sleeping function called from invalid context at m.c:1\n\
            <4>[    1.5] Call Trace:\n<4>[    1.9]  f+0x1/0x2\n<6>[    9.0] m: later\n\
            <3>[   20.0] BUG: scheduling while atomic: a/1/0x2\n<6>[   23.0] BUG: x\n";
        let found = read(log).into_iter().map(|complaint| complaint.report);
        let lines = found.map(|report| report.lines().count());
        assert_eq!(lines.collect::<Vec<_>>(), [3, 1, 1]);
    }

    #[test]
    fn what_a_process_says_is_no_complaint() {
        for line in [
            "<12>[    1.0] WARNING: x",
            "WARNING: x",
            "[    1.0] WARNING: x",
            "<x>WARNING: ",
        ] {
            assert_eq!(read(&format!("{line}\n")), [], "{line}");
        }
        // Nor does it end one.
        let split = WARNING.replace("<4>[    1.500005]", "<14>[    1.5] ====\n<4>[    1.500005]");
        assert_eq!(read(&split), read(WARNING));
    }

    #[test]
    fn a_kernel_that_complains_without_end_takes_no_memory() {
        let mut reader = ComplaintReader::default();
        let mut kept = 0;
        for _ in 0..1000 {
            kept += reader.feed(WARNING.as_bytes()).len();
            reader.feed(&[b'x'; 4096]);
        }
        assert_eq!(kept, MOST_COMPLAINTS);
        assert_eq!(reader.line.len(), LONGEST_LINE);
        let endless = "<4>[    1.0] BUG: x\n".to_owned() + &"<4>[    1.0] y\n".repeat(10_000);
        assert_eq!(read(&endless)[0].report.lines().count(), MOST_LINES);
    }

    #[test]
    fn a_taint_that_nothing_explains_is_one() {
        let title = |log: &str, bits| {
            let mut reader = ComplaintReader::default();
            reader.feed(log.as_bytes());
            reader.tainted(bits).map(|complaint| complaint.title)
        };
        // P, F, C, O, E, K and N are no faults.
        for bits in [0, 1, 2, 1 << 10, 1 << 12, 1 << 13, 1 << 15, 1 << 18] {
            assert_eq!(title("", bits), None);
        }
        assert!(
            title("", 1 << 9 | 1 << 5)
                .unwrap()
                .ends_with("B (a bad page), W (a warning)")
        );
        assert_eq!(title(WARNING, 1 << 9), None);
    }
}
