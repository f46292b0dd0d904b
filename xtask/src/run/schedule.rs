//! What runs when, where, and again: the rules of testing many kernels, as functions of
//! what is known beforehand.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::error::Failure;
use crate::model::arch::Arch;
use crate::model::test_event::RunOutcome;

/// What a host has for VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Memory that programs can have without swapping, in MiB: `MemAvailable` of
    /// `/proc/meminfo` (proc_meminfo(5)).
    pub memory: u64,
    /// Processors that this process may use.
    pub processors: u32,
}

impl Capacity {
    /// From the text of `/proc/meminfo`; `None` if it does not say what is available
    /// (Linux does since 3.14).
    pub fn parse(meminfo: &str, processors: u32) -> Option<Self> {
        let line = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kibibytes = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
        Some(Self {
            memory: kibibytes >> 10,
            processors,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmSize {
    /// Memory of the guest, in MiB.
    pub memory: u32,
    pub cpus: u32,
    pub emulated: bool,
}

/// What QEMU takes beside the guest's memory, in MiB: its own, and what it keeps of the
/// host's files that the guest reads. A generous guess.
const OVERHEAD: u64 = 256;

/// The same with the buffer of translated code. QEMU reserves up to 1 GiB for it, but a
/// guest that boots and runs tests fills only a part. A guess as well.
const OVERHEAD_EMULATED: u64 = 512;

/// How many VMs run at the same time if nobody says: so many as both memory and
/// processors allow, at least one.
///
/// *Memory.* A guest touches all of its memory sooner or later, because the cache of files
/// fills what programs leave. Without room for it the host swaps or kills, which
/// looks like a VM that is stuck or lost: an outcome that is not the kernel's. So the whole
/// size of each VM is counted, and an eighth of what is available, 512 MiB at least, is
/// left: the host's own cache has the files that all guests read.
///
/// *Processors.* A suite is one Python, which keeps one processor busy; a second one of
/// the guest serves the kernel's own threads. So there is a VM for each processor of the
/// host, whether it is emulated or not: time limits and durations are then nearly those of a
/// VM alone. Who gives guests more processors than two has tests that use them, so each
/// of these counts.
pub fn default_jobs(capacity: Capacity, vm: VmSize) -> usize {
    let overhead = if vm.emulated {
        OVERHEAD_EMULATED
    } else {
        OVERHEAD
    };
    let reserve = (capacity.memory / 8).max(512);
    let by_memory = capacity.memory.saturating_sub(reserve) / (u64::from(vm.memory) + overhead);
    let busy = vm.cpus.saturating_sub(1).max(1);
    let by_processors = u64::from(capacity.processors / busy);
    usize::try_from(by_memory.min(by_processors).max(1)).unwrap_or(usize::MAX)
}

/// The shortest part of a kernel's tests for which a VM is started if nobody says how many:
/// its boot and its imports take some seconds of an emulated processor.
const WORTH_A_VM: Duration = Duration::from_secs(30);

/// How many VMs share each kernel's tests if nobody says: those that would have nothing to do
/// (`jobs` VMs for `runs` kernels), if all kernels' tests are long. Where nothing is known of
/// them, `long` is the project's word.
pub fn default_shards(jobs: usize, runs: usize, estimates: &[Option<Duration>], long: bool) -> u32 {
    let most = match estimates.iter().flatten().min() {
        Some(shortest) => shortest.as_secs() / WORTH_A_VM.as_secs(),
        None if long => u64::MAX,
        None => 1,
    };
    let idle = u64::try_from(jobs / runs.max(1)).unwrap_or(1);
    u32::try_from(idle.min(most).clamp(1, MOST_SHARDS)).unwrap_or(1)
}

/// So many at most: the slowest class is then the longest part of every suite.
const MOST_SHARDS: u64 = 8;

/// The order in which runs start, as indices into their estimated durations: the slowest
/// first, so that the last ones to end are short and all machines' processors stay busy to
/// the end (the rule of the longest processing time: at most a third longer than the best
/// order). Those of which nothing is known come before all others: any of them may be
/// the slowest, and its duration is known the next time. Equal ones stay in their order.
pub fn slowest_first(estimates: &[Option<Duration>]) -> Vec<usize> {
    let mut order = (0..estimates.len()).collect::<Vec<_>>();
    order.sort_by_key(|index| Reverse(estimates[*index].unwrap_or(Duration::MAX)));
    order
}

/// Part `number` of `of`, written `K/N`: what one of several machines does.
///
/// Which part a kernel belongs to depends on the list of requests alone. What a machine
/// remembers of earlier runs must not count, because another machine remembers otherwise,
/// and then some kernels would be tested twice and others not at all. Kernels are dealt out
/// one by one: lists are in the order of versions, and neighbours take about as long, so
/// that the parts do too.
///
/// If there are parts enough, each has kernels of one architecture, and an architecture has
/// parts by the number of its kernels and what their emulation costs, whatever the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    number: u32,
    of: u32,
}

impl Partition {
    /// A part; `None` unless `number` is from 1 to `of`.
    pub fn new(number: u32, of: u32) -> Option<Self> {
        (1..=of).contains(&number).then_some(Self { number, of })
    }

    /// All parts of so many.
    pub fn all(of: u32) -> impl Iterator<Item = Self> {
        (1..=of).map(move |number| Self { number, of })
    }

    pub fn numbers(self) -> (u32, u32) {
        (self.number, self.of)
    }

    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// Those of the requests that belong to it.
    pub fn select<T: Clone>(
        self,
        requests: &[T],
        arch: impl Fn(&T) -> Option<&'static Arch>,
    ) -> Vec<T> {
        let mut classes = Vec::<(_, u64)>::new();
        for class in requests.iter().map(&arch) {
            let cost = u64::from(class.map_or(1, |arch| arch.emulation_cost));
            match classes.iter_mut().find(|(known, _)| *known == class) {
                Some((_, sum)) => *sum += cost,
                None => classes.push((class, cost)),
            }
        }
        let costs = classes.iter().map(|(_, cost)| *cost).collect::<Vec<_>>();
        let (mut number, mut of) = (self.number, self.of);
        let mut mine = None;
        for ((class, _), parts) in classes.into_iter().zip(shares(&costs, of)) {
            if number <= parts {
                (mine, of) = (Some(class), parts);
                break;
            }
            number -= parts;
        }
        let own = requests.iter();
        let own = own.filter(|request| mine.is_none_or(|class| arch(request) == class));
        // A usize has at least 32 bits here.
        let own = own.skip(number as usize - 1).step_by(of as usize);
        own.cloned().collect()
    }
}

/// How many of so many parts each class gets; none if there are fewer parts than classes.
fn shares(costs: &[u64], of: u32) -> Vec<u32> {
    let classes = u32::try_from(costs.len()).unwrap_or(u32::MAX);
    if of < classes {
        return Vec::new();
    }
    let mut shares = vec![1_u32; costs.len()];
    for _ in classes..of {
        let rest = |class: &usize| costs[*class] * 1000 / u64::from(shares[*class]);
        // Of equal ones the first.
        let most = (0..costs.len()).rev().max_by_key(rest);
        let Some(most) = most else { break };
        shares[most] += 1;
    }
    shares
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Partition {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let hint = "a partition is written like 1/3: the first of three";
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok())?
        };
        let numbers = text
            .split_once('/')
            .and_then(|(k, n)| Some((number(k)?, number(n)?)));
        let Some((number, of)) = numbers else {
            return Err(Failure::usage(format!("{text:?} is no partition")).hint(hint));
        };
        Self::new(number, of).ok_or_else(|| {
            let message = format!("{text:?} is no partition: {number} is not from 1 to {of}");
            Failure::usage(message).hint(hint)
        })
    }
}

/// When a run is done once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// So many times at most, for each run (each shard of one).
    pub retries: u32,
}

impl RetryPolicy {
    /// Whether a run that ended so, and was done again `retried` times already, is done
    /// once more.
    pub fn again(self, outcome: &RunOutcome, retried: u32) -> bool {
        retried < self.retries && is_infrastructure(outcome)
    }
}

/// Whether an outcome says something about the host rather than about the kernel or the
/// tests: QEMU died, or the guest did not get as far as its tests. Everything else is a
/// result, also what occurs only now and then: doing that again until it is gone would hide
/// what tests are for. What failed before the VM has retries of its own, where it is a
/// download, and else fails again.
pub fn is_infrastructure(outcome: &RunOutcome) -> bool {
    match outcome {
        RunOutcome::Lost { .. } => true,
        RunOutcome::Stuck { phase, .. } => phase == "boot" || phase == "capture boot",
        RunOutcome::Passed
        | RunOutcome::Complained { .. }
        | RunOutcome::TestsFailed
        | RunOutcome::RunnerDied { .. }
        | RunOutcome::NoTests
        | RunOutcome::Panicked { .. }
        | RunOutcome::NotStarted { .. } => false,
    }
}

/// The file that tells the guest's runner how long each class took, for `--shard` to deal
/// them out evenly: one JSON object, `module.Class` to seconds. The empty name is what the
/// first VM does besides: its tests after a crash.
pub fn shards_file(classes: &BTreeMap<String, f64>, crash: Option<Duration>) -> String {
    let finite = classes.iter().filter(|(_, seconds)| seconds.is_finite());
    let fields = finite.map(|(class, seconds)| (class.clone(), Value::from(*seconds)));
    let crash = crash.map(|time| (String::new(), Value::from(time.as_secs_f64())));
    let fields = crash.into_iter().chain(fields);
    Value::Object(fields.collect::<Map<_, _>>()).to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_event::Stage;

    #[test]
    fn memory_and_processors_bound_the_number_of_vms() {
        let jobs = |memory, processors, guest, cpus, emulated| {
            let capacity = Capacity { memory, processors };
            let vm = VmSize {
                memory: guest,
                cpus,
                emulated,
            };
            default_jobs(capacity, vm)
        };
        for (memory, processors, guest, cpus, emulated, expected) in [
            (16_000, 2, 2048, 2, true, 2),
            (16_000, 8, 2048, 2, true, 5),
            (16_000, 8, 2048, 2, false, 6),
            (64_000, 16, 2048, 2, false, 16),
            (64_000, 16, 2048, 1, false, 16),
            (64_000, 16, 2048, 5, false, 4),
            (8_000, 8, 1024, 2, true, 4),
            // One at least, whatever there is.
            (0, 0, 2048, 2, true, 1),
            (1_000, 64, 2048, 2, true, 1),
            (64_000, 1, 2048, 64, false, 1),
            (u64::MAX, u32::MAX, 1, 1, false, 4_294_967_295),
            (u64::MAX, 1, u32::MAX, u32::MAX, true, 1),
        ] {
            let found = jobs(memory, processors, guest, cpus, emulated);
            assert_eq!(found, expected, "{memory} MiB, {processors} processors");
        }
    }

    #[test]
    fn idle_processors_share_long_suites() {
        let shards = |jobs, runs, seconds: &[u64], long| {
            let seconds = seconds.iter().copied();
            let estimates = seconds.map(|seconds| (seconds > 0).then_some(seconds));
            let estimates = estimates.map(|seconds| seconds.map(Duration::from_secs));
            default_shards(jobs, runs, &estimates.collect::<Vec<_>>(), long)
        };
        for (jobs, runs, seconds, long, expected) in [
            (2, 1, &[200][..], false, 2),
            (4, 1, &[100], true, 3),
            (64, 1, &[2000], false, 8),
            // Short ones are not worth a VM.
            (2, 1, &[59], true, 1),
            (4, 2, &[200, 40], true, 1),
            // Each kernel keeps a VM busy.
            (2, 2, &[200, 200], true, 1),
            (3, 2, &[200, 200], true, 1),
            (4, 2, &[200, 200], true, 2),
            // Nothing is known.
            (2, 1, &[0], false, 1),
            (2, 1, &[0], true, 2),
            (4, 2, &[0, 200], false, 2),
            (2, 0, &[], true, 2),
        ] {
            let found = shards(jobs, runs, seconds, long);
            assert_eq!(
                found, expected,
                "{jobs} VMs, {runs} runs of {seconds:?}, {long}"
            );
        }
    }

    #[test]
    fn the_vms_never_take_more_than_there_is() {
        for memory in (0..70_000).step_by(251) {
            for guest in [128, 1024, 2048, 8192] {
                for emulated in [false, true] {
                    let capacity = Capacity {
                        memory,
                        processors: 64,
                    };
                    let vm = VmSize {
                        memory: guest,
                        cpus: 2,
                        emulated,
                    };
                    let jobs = default_jobs(capacity, vm) as u64;
                    assert!((1..=64).contains(&jobs));
                    assert!(jobs == 1 || jobs * u64::from(guest) + 512 <= memory);
                }
            }
        }
    }

    #[test]
    fn the_available_memory_is_read() {
        let text = "MemTotal:       16384000 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n";
        let capacity = Capacity::parse(text, 4);
        let expected = Capacity {
            memory: 8192,
            processors: 4,
        };
        assert_eq!(capacity, Some(expected));
        for text in [
            "",
            "MemAvailable: x kB",
            "MemAvailable: 1 MB",
            "MemTotal: 1 kB",
        ] {
            assert_eq!(Capacity::parse(text, 4), None, "{text}");
        }
    }

    #[test]
    fn unknown_ones_go_first_then_the_slowest() {
        let order = |seconds: &[i64]| {
            let estimates = seconds.iter().map(|seconds| {
                let seconds = u64::try_from(*seconds).ok();
                seconds.map(Duration::from_secs)
            });
            slowest_first(&estimates.collect::<Vec<_>>())
        };
        assert_eq!(order(&[]), Vec::<usize>::new());
        assert_eq!(order(&[1, 3, 2]), [1, 2, 0]);
        assert_eq!(order(&[5, -1, 9, -1]), [1, 3, 2, 0]);
        // Equal ones as they were asked for.
        assert_eq!(order(&[7, 7, 7]), [0, 1, 2]);
        assert_eq!(order(&[-1, -1]), [0, 1]);
    }

    #[test]
    fn partitions_are_disjoint_complete_and_balanced() {
        for length in 0..50_usize {
            for of in 1..=12 {
                let all = (0..length).collect::<Vec<_>>();
                let parts = Partition::all(of).map(|part| part.select(&all, |_| None));
                let parts = parts.collect::<Vec<_>>();
                let sizes = parts.iter().map(Vec::len);
                let spread = sizes.clone().max().unwrap() - sizes.min().unwrap();
                assert!(spread <= 1, "{length} over {of}");
                for part in &parts {
                    assert!(part.is_sorted());
                }
                let mut all = parts.concat();
                all.sort_unstable();
                assert_eq!(all, (0..length).collect::<Vec<_>>(), "{length} over {of}");
            }
        }
        let part = "2/3".parse::<Partition>().unwrap();
        assert_eq!(
            part.select(&["a", "b", "c", "d", "e"], |_| None),
            ["b", "e"]
        );
        assert_eq!(part.numbers(), (2, 3));
    }

    #[test]
    fn partitions_are_read_as_they_are_written() {
        for text in ["1/1", "1/3", "3/3", "4294967295/4294967295"] {
            assert_eq!(text.parse::<Partition>().unwrap().to_string(), text);
        }
        let message = |text: &str| text.parse::<Partition>().unwrap_err().to_string() + "\n";
        expect_test::expect![[r#"
            "" is no partition (a partition is written like 1/3: the first of three)
            "1" is no partition (a partition is written like 1/3: the first of three)
            "/" is no partition (a partition is written like 1/3: the first of three)
            "1/" is no partition (a partition is written like 1/3: the first of three)
            "a/b" is no partition (a partition is written like 1/3: the first of three)
            "+1/2" is no partition (a partition is written like 1/3: the first of three)
            "1/2/3" is no partition (a partition is written like 1/3: the first of three)
            "1 / 2" is no partition (a partition is written like 1/3: the first of three)
            "4294967296/1" is no partition (a partition is written like 1/3: the first of three)
            "0/3" is no partition: 0 is not from 1 to 3 (a partition is written like 1/3: the first of three)
            "4/3" is no partition: 4 is not from 1 to 3 (a partition is written like 1/3: the first of three)
            "0/0" is no partition: 0 is not from 1 to 0 (a partition is written like 1/3: the first of three)
        "#]]
        .assert_eq(
            &[
                "",
                "1",
                "/",
                "1/",
                "a/b",
                "+1/2",
                "1/2/3",
                "1 / 2",
                "4294967296/1",
                "0/3",
                "4/3",
                "0/0",
            ]
            .map(message)
            .concat(),
        );
    }

    #[test]
    fn only_the_hosts_failures_are_tried_again() {
        let (how, running) = (String::new(), None);
        let stuck = |phase: &str| RunOutcome::Stuck {
            phase: phase.to_owned(),
            how: how.clone(),
            running: running.clone(),
        };
        let lost = RunOutcome::Lost {
            how: how.clone(),
            running: running.clone(),
        };
        let results = [
            RunOutcome::Passed,
            RunOutcome::TestsFailed,
            RunOutcome::NoTests,
            RunOutcome::RunnerDied {
                how: how.clone(),
                running: running.clone(),
            },
            RunOutcome::Panicked {
                how: how.clone(),
                running: running.clone(),
            },
            stuck("command"),
            stuck("shutdown"),
            RunOutcome::NotStarted {
                stage: Stage::Fetch,
                how: how.clone(),
            },
        ];
        let policy = RetryPolicy { retries: 2 };
        for outcome in &results {
            assert!(!policy.again(outcome, 0), "{outcome:?}");
        }
        for outcome in [&lost, &stuck("boot")] {
            let again = (0..4).map(|retried| policy.again(outcome, retried));
            assert_eq!(again.collect::<Vec<_>>(), [true, true, false, false]);
            assert!(!RetryPolicy::default().again(outcome, 0));
        }
    }

    #[test]
    fn the_file_for_the_runner_is_an_object_of_seconds() {
        let classes = [("t.A", 1.5), ("t.\"B\"", 0.0), ("t.C", f64::NAN)];
        let classes = classes.map(|(class, seconds)| (class.to_owned(), seconds));
        let classes = BTreeMap::from(classes);
        let text = shards_file(&classes, None);
        assert_eq!(text, "{\"t.\\\"B\\\"\":0.0,\"t.A\":1.5}\n");
        let text = shards_file(&classes, Some(Duration::from_secs(9)));
        assert!(text.starts_with("{\"\":9.0,"), "{text}");
        assert_eq!(shards_file(&BTreeMap::new(), None), "{}\n");
    }
}
