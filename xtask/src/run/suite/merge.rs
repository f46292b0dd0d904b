//! One record of what several VMs gave that shared a suite.

use std::collections::BTreeSet;

use crate::model::results::{Phases, RunRecord};
use crate::model::test_event::{RunOutcome, Tally};

/// A record of the parts of a run, by their numbers; none without parts.
pub fn merge(prepare: f64, mut parts: Vec<(u32, RunRecord)>) -> Option<RunRecord> {
    parts.sort_by_key(|(shard, _)| *shard);
    // Of equals the first: the last words are its own.
    let worst = parts.iter().rev();
    let (_, worst) = worst.max_by_key(|(_, part)| severity(&part.outcome))?;
    let mut record = worst.clone();
    let longest = |of: fn(&Phases) -> Option<f64>| {
        let all = parts.iter().filter_map(|(_, part)| of(&part.seconds));
        all.max_by(f64::total_cmp)
    };
    record.seconds = Phases {
        prepare: Some(prepare),
        boot: longest(|seconds| seconds.boot),
        kernel: longest(|seconds| seconds.kernel),
        initramfs: longest(|seconds| seconds.initramfs),
        init: longest(|seconds| seconds.init),
        tests: longest(|seconds| seconds.tests),
        total: longest(|seconds| seconds.total),
    };
    if let (true, Some(how)) = (severity(&record.outcome) <= 3, disagreement(&parts)) {
        record.outcome = RunOutcome::RunnerDied { how, running: None };
    }
    if parts.len() > 1 {
        let logs = |(shard, part): &(u32, RunRecord)| {
            let logs = part.evidence.logs.iter();
            let logs = logs.map(|(what, path)| (format!("{what} {shard}"), path.clone()));
            logs.collect::<Vec<_>>()
        };
        record.evidence.logs = parts.iter().flat_map(logs).collect();
        // VMs of one kernel run at once: each sees the dumps of the others, too.
        let cores = parts.iter().flat_map(|(_, part)| &part.evidence.cores);
        let cores = cores.cloned().collect::<BTreeSet<_>>();
        record.evidence.cores = cores.into_iter().collect();
    }
    record.acceleration = parts.iter().find_map(|(_, part)| part.acceleration.clone());
    record.tally = Tally::merge(parts.into_iter().map(|(_, part)| part.tally));
    Some(record)
}

/// What VMs that shared the tests of a suite do not agree about. A module that one of
/// them could not import would have its tests in none.
fn disagreement(parts: &[(u32, RunRecord)]) -> Option<String> {
    let found = parts.iter().map(|(_, part)| part.tally.all);
    let found = found.collect::<BTreeSet<_>>();
    let shared = parts.iter().filter_map(|(_, part)| part.tally.tests);
    let shared = shared.fold(0_u64, u64::saturating_add);
    match found.iter().collect::<Vec<_>>()[..] {
        _ if parts.len() < 2 => None,
        [Some(all)] if *all == shared => None,
        [Some(all)] => Some(format!("the VMs shared out {shared} of {all} tests")),
        _ => Some("the VMs did not find the same number of tests".to_owned()),
    }
}

/// Which outcome of a part is that of the whole: the greatest. A VM without tests is
/// no matter beside one that has some.
fn severity(outcome: &RunOutcome) -> u8 {
    match outcome {
        RunOutcome::NoTests => 0,
        RunOutcome::Passed => 1,
        RunOutcome::Complained { .. } => 2,
        RunOutcome::TestsFailed => 3,
        RunOutcome::RunnerDied { .. } => 4,
        RunOutcome::NotStarted { .. } => 5,
        RunOutcome::Stuck { .. } => 6,
        RunOutcome::Lost { .. } => 7,
        RunOutcome::Panicked { .. } => 8,
    }
}
