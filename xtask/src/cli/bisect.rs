//! `cargo xtask bisect`: the kernel from which on a test behaves differently.

use std::{ffi::OsString, path::PathBuf};

use crate::base::error::{Failure, FailureKind};
use crate::base::{env::Env, stdout, ui::Verbosity};
use crate::cli::{kernels::KernelFlags, kernels::distinct, report::job, test, test::Subject};
use crate::model::arch::{self, Arch};
use crate::model::kernel_request::{KernelRequest, Selector};
use crate::model::results::{RunName, RunRecord};
use crate::model::test_event::{RunOutcome, exit_status};
use crate::report::{files, formats::ReportLook, terminal::Reporter};
use crate::run::bisect::{self, Bisection, Question, Step, Verdict};
use crate::run::{queue, run_folder, test_run::TestOptions, test_run::TestRun};
use crate::supply;
use anyhow::{Context, Result};
use clap::Args;

/// Find the kernel from which on a test behaves differently
///
/// Searches the list in the order of versions (in the given order, if a request does not begin with
/// a version). Tests the newest kernel, then the middle of the rest, and so on: three of five
/// kernels. Assumes that the test changed somewhere; if the answer rests on this assumption alone,
/// it says so, and --verify also tests the kernel before. Skips kernels that cannot be had or do
/// not boot. A test that ends its process, panics the kernel or hangs fails.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask bisect tests.linux_kernel.helpers.test_mm.TestMm.test_pfn -K
  cargo xtask bisect tests.test_a.A.test_b -C ~/project -k 5.10,5.15,6.1,6.6,6.12
  cargo xtask bisect tests.linux_kernel.helpers.test_mm.TestMm.test_pfn -K -a aarch64
  cargo xtask bisect --complaint 'WARNING: * at mm/*' -K
  cargo xtask bisect tests.test_a.A.test_b -K --results build/vmtest/log/20261125-162120-123-0a1b2c3d

Exit status: 0 a change was found; 1 there is none; 2 usage, also a test that cannot be found; 3 or 4
kernels that could not be had or did not boot keep it from being found; 5 a kernel ran no such test.")]
pub struct BisectFlags {
    /// Search with this test, by its dotted name; a class, module or file counts as its worst test
    #[arg(required_unless_present = "complaint")]
    pub test: Option<String>,
    /// Search for a complaint of the kernel whose first line, or kind, matches this pattern of
    /// shell wildcards; with TEST, only that test runs
    #[arg(long, value_name = "PATTERN")]
    pub complaint: Option<glob::Pattern>,
    #[command(flatten)]
    pub kernels: KernelFlags,
    /// Make sure that the test changed at all, with one more run if necessary
    #[arg(long)]
    pub verify: bool,
    /// Use the results of the same tests in this session's folder, without new runs; repeatable
    #[arg(long, value_name = "DIR")]
    pub results: Vec<PathBuf>,
    #[command(flatten)]
    pub subject: Subject,
    /// With --runner of a framework that has no runner of ours, the command
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

pub fn run(env: &Env, flags: &BisectFlags, setup: bool) -> Result<u8> {
    let requests = bisect::ordered(flags.kernels.requests(&env.paths)?);
    if requests.len() < 2 {
        let failure = Failure::usage("a search needs at least two kernels");
        return Err(failure.hint("-K, or -k 5.10,6.1,6.12").into());
    }
    let arch = one_arch(env, &requests)?;
    let foreign = arch::host() != Some(arch);
    let mut names = requests.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut bisection = Bisection::new(requests.len()).verify(flags.verify);
    let mut options = flags.subject.options(env, &flags.command, setup)?;
    let picked = flags
        .test
        .iter()
        .flat_map(|test| options.framework.pick(test));
    options.arguments.extend(picked.collect::<Vec<_>>());
    let question = match (&flags.complaint, &flags.test) {
        (Some(pattern), _) => Question::Complaint(pattern.clone()),
        (None, test) => Question::Test {
            name: test.clone().unwrap_or_default(),
            alone: !options.arguments.is_empty(),
        },
    };
    let places = match flags.results.is_empty() {
        true => Vec::new(),
        false => places(env, &requests, &options)?,
    };
    for path in &flags.results {
        let known = bisect::known(&requests, arch, &places, &question, &files::read(path)?);
        for (kernel, verdict) in known.into_iter().enumerate() {
            let Some(verdict) = verdict else { continue };
            bisection.answer(kernel, verdict);
            let name = &names[kernel];
            env.ui.info(format!("{verdict} on {name}, as recorded"));
        }
    }
    let mut missing = Vec::new();
    let logs = run_folder::unique(&env.paths.logs())?;
    let last = bisect::search(&mut bisection, |kernel| {
        let task = env.ui.task(format!("testing {}", names[kernel]));
        options.requests = vec![Some(requests[kernel].clone())];
        options.folder = Some(logs.join(kernel.to_string()));
        let (verdict, record) = run_one(env, &options, &question, &names[kernel])?;
        drop(task);
        if record.outcome == RunOutcome::NoTests {
            // It would be the same on every other kernel.
            let message = format!("there is no test {question} on {}", record.name.kernel);
            return Err(Failure::new(FailureKind::NoTests, message).into());
        }
        // Without a kernel it is the request's name, which stands there already.
        names[kernel] = match record.outcome {
            RunOutcome::NotStarted { .. } => record.name.kernel,
            _ => record.name.among(foreign),
        };
        let mut why = String::new();
        if verdict == Verdict::Untestable {
            why = format!(": {}", record.outcome.name());
            why.extend(record.outcome.detail().map(|detail| format!(": {detail}")));
            missing.push(record.outcome);
        }
        env.ui.info(format!("{verdict} on {}{why}", names[kernel]));
        anyhow::Ok(verdict)
    })?;
    stdout::print(&(bisection.describe(&question.to_string(), &names) + "\n"))?;
    Ok(match last {
        Step::Found { .. } => 0,
        Step::Same | Step::Run(_) => 1,
        // Without any of our own to blame, they were recorded as such.
        Step::Unclear { .. } => exit_status(&missing).max(3),
    })
}

/// The architecture of all kernels: along the versions of two, nothing can be said of either.
fn one_arch(env: &Env, requests: &[KernelRequest]) -> Result<&'static Arch> {
    let arches = requests
        .iter()
        .map(|request| supply::arch_of(env, Some(request)));
    let arches = distinct(&arches.collect::<Result<Vec<_>>>()?);
    match arches[..] {
        [arch] => Ok(arch),
        _ => {
            let names = arches.iter().map(|arch| arch.name).collect::<Vec<_>>();
            let message = format!(
                "a search is along one architecture, not {}",
                names.join(", ")
            );
            Err(Failure::usage(message)
                .hint(format!("-a {}", names[0]))
                .into())
        }
    }
}

/// How the runs are called on kernels that were asked for by their place, which a
/// pattern says nothing about; `None` for the others.
fn places(
    env: &Env,
    requests: &[KernelRequest],
    options: &TestOptions,
) -> Result<Vec<Option<RunName>>> {
    let place = |request: &KernelRequest| {
        if let Selector::Pattern(_) = request.selector {
            return Ok(None);
        }
        let wanted = queue::choose(env, &[Some(request.clone())], &options.sources);
        wanted.first().map(queue::Wanted::name).transpose()
    };
    requests.iter().map(place).collect()
}

/// The test on one kernel. The words of its run are only wanted with `-v`.
fn run_one(
    env: &Env,
    options: &TestOptions,
    question: &Question,
    kernel: &str,
) -> Result<(Verdict, RunRecord)> {
    let mut inner = env.clone();
    if env.ui.verbosity() != Verbosity::Verbose {
        inner.ui = env.ui.quiet();
    }
    let mut run = TestRun::plan(&inner, options)?;
    let (plan, ui) = (run.plan.clone(), inner.ui.clone());
    // Its verdict is what is shown here; of the reporter only the live view is wanted.
    let mut reporter = Reporter::new(
        std::io::sink(),
        ui.verbosity(),
        Some(ui),
        plan,
        ReportLook::default(),
    );
    let end = test::finish(&inner, &mut run, &mut reporter)?;
    if let Some(job) = job() {
        job.summarize(&end.results)?;
    }
    let reports = run.plan.folder.display();
    inner.ui.info(format!("reports: {reports}"));
    // Its main tests, and those after its crash.
    let mut runs = end.results.runs.into_iter();
    let verdicts = runs.clone().map(|run| question.verdict(&run));
    let verdicts = verdicts.collect::<Vec<_>>();
    let told = bisect::telling(verdicts.iter().copied()).and_then(|told| {
        Some((
            told,
            runs.nth(verdicts.iter().position(|one| *one == told)?)?,
        ))
    });
    told.with_context(|| format!("the test on {kernel} left no result"))
}
