//! One record of what several VMs gave that shared a suite.

use std::collections::BTreeSet;

use super::Part;
use crate::model::results::{Evidence, Phases, RunName, RunRecord};
use crate::model::test_event::{RunOutcome, Tally};

/// A record of the parts of a run, by their numbers.
pub fn merge(name: RunName, prepare: f64, mut parts: Vec<(u32, Part)>) -> RunRecord {
    parts.sort_by_key(|(shard, _)| *shard);
    let split = parts.len() > 1;
    let worst = parts
        .iter()
        .enumerate()
        .max_by_key(|(index, (_, part))| (severity(&part.outcome), usize::MAX - index))
        .map_or(0, |(index, _)| index);
    let longest = |of: fn(&Phases) -> Option<f64>| {
        let all = parts.iter().filter_map(|(_, part)| of(&part.seconds));
        all.max_by(f64::total_cmp)
    };
    let seconds = Phases {
        prepare: (prepare > 0.0).then_some(prepare),
        boot: longest(|seconds| seconds.boot),
        kernel: longest(|seconds| seconds.kernel),
        initramfs: longest(|seconds| seconds.initramfs),
        init: longest(|seconds| seconds.init),
        tests: longest(|seconds| seconds.tests),
        total: longest(|seconds| seconds.total),
    };
    let acceleration = parts.iter().find_map(|(_, part)| part.acceleration.clone());
    let (mut outcome, mut evidence) = (RunOutcome::NoTests, Evidence::default());
    if let Some((_, part)) = parts.get(worst) {
        outcome = part.outcome.clone();
        evidence = part.evidence.clone();
    }
    if let (true, Some(how)) = (severity(&outcome) <= 2, disagreement(&parts)) {
        outcome = RunOutcome::RunnerDied { how, running: None };
    }
    if split {
        // The last words are those of the worst part; the logs are all there.
        evidence.logs = parts
            .iter()
            .flat_map(|(shard, part)| {
                let logs = part.evidence.logs.iter();
                logs.map(move |(what, path)| (format!("{what} {shard}"), path.clone()))
            })
            .collect();
        let cores = parts.iter().flat_map(|(_, part)| &part.evidence.cores);
        // VMs of one kernel run at once: each sees the dumps of the other, too.
        evidence.cores = cores
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
    }
    RunRecord {
        name,
        outcome,
        tally: Tally::merge(parts.into_iter().map(|(_, part)| part.tally)),
        seconds,
        acceleration,
        retries: Vec::new(),
        evidence,
    }
}

/// What VMs that shared the tests of a suite do not agree about. A module that one of
/// them could not import would have its tests in none.
fn disagreement(parts: &[(u32, Part)]) -> Option<String> {
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
        RunOutcome::TestsFailed => 2,
        RunOutcome::RunnerDied { .. } => 3,
        RunOutcome::NotStarted { .. } => 4,
        RunOutcome::Stuck { .. } => 5,
        RunOutcome::Lost { .. } => 6,
        RunOutcome::Panicked { .. } => 7,
    }
}
