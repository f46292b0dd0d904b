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
    ("WARNING", "WARNING: "),
    // net/core/dev.c, netdev_wait_allrefs_any()
    ("refcount", "unregister_netdevice: waiting for "),
    // kernel/time/clocksource.c
    (STALL, "clocksource: timekeeping watchdog on CPU"),
    (STALL, "clocksource: Marking clocksource"),
];

/// `kernel/panic.c`: it stands before a warning, whose message comes in between.
const CUT: &str = "------------[ cut here ]------------";

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
        let ruled = std::mem::replace(&mut self.ruled, text.starts_with("====="));
        if text == CUT {
            let complete = self.finish();
            self.before = Some(Vec::new());
            return complete;
        }
        if let Some(kind) = kind(text) {
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
        ] {
            assert_eq!(kinds(line), [kind], "{line}");
        }
        for line in [
            "kmemleak: Kernel memory leak detector initialized",
            "Spectre V2 : WARNING: Unprivileged eBPF is enabled",
            "python3: page allocation failure: order:4",
            "Out of memory: Killed process 80 (python3)",
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
