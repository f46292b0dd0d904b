//! A session: all runs of one `test`, several at a time.
//!
//! One thread prepares kernels one after the other (fetches or builds them, builds
//! the test module); `jobs` threads run one VM each; the thread that called collects
//! what they tell. It alone writes `results.jsonl` and speaks to the reporter, so
//! lines of several kernels are mixed but never torn.
//!
//! One bad kernel never stops the others: whatever happens to it is its outcome. Only
//! a signal, a mistake of the user, and results that cannot be written end a session.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Error, Result};

use crate::base::{env::Env, error, interrupt};
use crate::model::kernel::LocalKernel;
use crate::model::results::{RunName, RunRecord};
use crate::model::run_event::{Observer, RunEvent, RunEventKind};
use crate::model::test_event::{RunOutcome, Stage};
use crate::run::queue::{self, Budget, Wanted};
use crate::run::schedule::RetryPolicy;
use crate::run::suite::{self, Outlet, Phase, Suite};
use crate::supply::{self, Sources};

/// How many events may wait for the observer. A VM whose events are not taken waits;
/// nothing is lost.
const WAITING_EVENTS: usize = 1024;

/// How a session is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// VMs at a time, at least 1.
    pub jobs: usize,
    /// Kernels that are prepared beyond those that run.
    pub prefetch: usize,
    /// VMs that share one kernel's tests, at least 1.
    pub shards: u32,
    /// Which VMs are started again.
    pub retry: RetryPolicy,
    /// Start no further kernel when a run was not passed.
    pub fail_fast: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            jobs: 1,
            prefetch: 1,
            shards: 1,
            retry: RetryPolicy::default(),
            fail_fast: false,
        }
    }
}

/// What a session is made of.
#[derive(Clone, Copy)]
pub struct SessionParts<'s> {
    /// The tests.
    pub suite: &'s Suite<'s>,
    /// Whether the host's own tests are the first run.
    pub local: bool,
    /// The kernels.
    pub wanted: &'s [Wanted],
    /// In which order kernels are prepared: indices into `wanted`.
    pub order: &'s [usize],
    /// Where kernels come from.
    pub sources: &'s Sources,
    /// Which kernels are deleted when they have been tested.
    pub budget: &'s Budget,
    pub env: &'s Env,
    /// How it is run.
    pub options: SessionOptions,
}

impl SessionParts<'_> {
    /// How many runs were asked for.
    fn runs(&self) -> usize {
        self.wanted.len() + usize::from(self.local)
    }
}

/// Runs everything. The records in the order of the requests, those of the host's own
/// tests first, those of tests after a crash behind their kernel's; runs that were not
/// started (`fail_fast`) have none.
pub fn run(session: SessionParts<'_>, observer: &mut dyn Observer) -> Result<Vec<RunRecord>> {
    let of = session.runs();
    let mut records = (0..2 * of)
        .map(|_| None)
        .collect::<Vec<Option<RunRecord>>>();
    let pool = Pool::default();
    let (sender, events) = sync_channel(WAITING_EVENTS);
    let mut result = Ok(());
    std::thread::scope(|scope| {
        {
            let (pool, sender) = (&pool, sender.clone());
            scope.spawn(move || prepare(session, pool, &sender));
        }
        for _ in 0..session.options.jobs.max(1) {
            let (pool, sender) = (&pool, sender.clone());
            scope.spawn(move || work(session, pool, &sender));
        }
        drop(sender);
        result = collect(&pool, &events, observer, &mut records);
    });
    interrupt::check()?;
    result?;
    if let Some(error) = pool.lock().fatal.take() {
        return Err(error);
    }
    let crashes = records.split_off(of);
    let pairs = records.into_iter().zip(crashes);
    Ok(pairs
        .flat_map(|(run, crash)| [run, crash])
        .flatten()
        .collect())
}

/// Runs in the calling thread until the others have ended.
fn collect(
    pool: &Pool,
    events: &Receiver<RunEvent>,
    observer: &mut dyn Observer,
    records: &mut [Option<RunRecord>],
) -> Result<()> {
    let mut result = Ok(());
    for event in events {
        // What comes after an error is taken all the same: a thread that waits for
        // room would wait for ever.
        if result.is_ok() {
            result = observer.event(&event);
            if result.is_err() {
                pool.stop();
            }
        }
        if let RunEventKind::Finished(record) = event.kind
            && let Some(slot) = records.get_mut(event.run)
        {
            *slot = Some(*record);
        }
    }
    result
}

/// A kernel that is ready, and what its VMs have given so far.
struct Ready {
    run: usize,
    name: RunName,
    kernel: LocalKernel,
    remote: bool,
    module: Option<PathBuf>,
    /// How long classes took, for VMs that share them out.
    durations: Option<PathBuf>,
    prepare: f64,
    /// A worker has taken one of its tasks.
    begun: AtomicBool,
    /// The collector knows.
    started: Mutex<bool>,
    /// By number of the VM.
    parts: Mutex<Vec<(u32, RunRecord)>>,
}

/// Something for a worker.
enum Task {
    /// The host's own tests.
    Local,
    /// One of so many VMs of a kernel; the first number counts from 1.
    Vm(Arc<Ready>, u32, u32),
}

/// What the threads share.
#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    /// Kernels that are being prepared, wait, or run.
    kernels: usize,
    /// Nothing more will be prepared.
    complete: bool,
    /// No further kernel is to be started.
    closed: bool,
    /// Why the session ends.
    fatal: Option<Error>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits until `ready` gives something. `None` once the session is over.
    fn wait<T>(&self, mut ready: impl FnMut(&mut State) -> Option<Option<T>>) -> Option<T> {
        let mut state = self.lock();
        loop {
            if self.stopped() {
                return None;
            }
            if let Some(answer) = ready(&mut state) {
                return answer;
            }
            // A signal wakes nobody, so that it is looked for.
            let (next, _) = self
                .changed
                .wait_timeout(state, interrupt::POLL)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || interrupt::pending().is_some()
    }

    /// Ends everything, running VMs too.
    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Tells that a run has ended. What follows from it is decided here, because the
    /// collector may hear of it later than the next run is started.
    fn finished(
        &self,
        session: SessionParts<'_>,
        sender: &SyncSender<RunEvent>,
        run: usize,
        record: RunRecord,
    ) {
        if session.options.fail_fast && record.outcome != RunOutcome::Passed {
            self.change(|state| state.closed = true);
        }
        send(sender, run, 0, RunEventKind::Finished(Box::new(record)));
    }

    /// Ends everything because of this.
    fn fail(&self, error: Error) {
        self.lock().fatal.get_or_insert(error);
        self.stop();
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_all();
        value
    }
}

/// Ends the session when a thread panics: the others would wait for it for ever.
struct StopOnPanic<'p>(&'p Pool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// The thread that prepares.
fn prepare(session: SessionParts<'_>, pool: &Pool, sender: &SyncSender<RunEvent>) {
    let _guard = StopOnPanic(pool);
    if session.local {
        pool.change(|state| state.tasks.push_back(Task::Local));
    }
    let options = session.options;
    let room = options.jobs.max(1) + options.prefetch;
    for index in session.order {
        let Some(wanted) = session.wanted.get(*index) else {
            continue;
        };
        let run = index + usize::from(session.local);
        let free = pool.wait(|state| {
            if state.closed {
                return Some(None);
            }
            (state.kernels < room).then(|| {
                state.kernels += 1;
                Some(())
            })
        });
        if free.is_none() {
            break;
        }
        let tell = |kind| send(sender, run, 0, kind);
        match prepare_one(session, run, wanted, &tell) {
            Ok(ready) => {
                let ready = Arc::new(ready);
                let shards = options.shards.max(1);
                pool.change(|state| {
                    let tasks = (1..=shards).map(|n| Task::Vm(Arc::clone(&ready), n, shards));
                    state.tasks.extend(tasks);
                });
            }
            Err(Unprepared { name, stage, error }) => {
                pool.change(|state| state.kernels -= 1);
                if error::is_final(&error) {
                    pool.fail(error);
                    break;
                }
                tell(RunEventKind::Started(name.clone()));
                let record = RunRecord::not_started(name, stage, &error);
                pool.finished(session, sender, run, record);
            }
        }
    }
    pool.change(|state| state.complete = true);
}

/// Why there is no kernel to run on.
struct Unprepared {
    name: RunName,
    stage: Stage,
    error: Error,
}

fn prepare_one(
    session: SessionParts<'_>,
    run: usize,
    wanted: &Wanted,
    tell: &dyn Fn(RunEventKind),
) -> Result<Ready, Unprepared> {
    let begin = Instant::now();
    let name = wanted.name().map_err(|error| Unprepared {
        name: RunName {
            kernel: "newest".to_owned(),
            arch: String::new(),
            flavor: None,
            phase: None,
        },
        stage: Stage::Setup,
        error,
    })?;
    let failure = |name: &RunName, stage, error| Unprepared {
        name: name.clone(),
        stage,
        error,
    };
    let choice = match &wanted.choice {
        Ok(choice) => choice,
        // The error is the request's; it is told once.
        Err(error) => {
            let error = copy(error);
            return Err(failure(&name, Stage::Fetch, error));
        }
    };
    tell(RunEventKind::Preparing(name.clone()));
    let remote = choice.evictable;
    let kernel = supply::obtain(
        session.env,
        wanted.request.as_ref(),
        choice,
        session.sources,
    );
    let kernel = kernel.map_err(|error| failure(&name, wanted.stage(), error))?;
    let name = queue::name(&kernel);
    let module = session
        .suite
        .module(session.env, &kernel)
        .context("cannot build the test module")
        .map_err(|error| failure(&name, Stage::Setup, error))?;
    let durations = match session.options.shards {
        0 | 1 => Ok(None),
        _ => session.suite.durations(&name).map(Some),
    };
    let durations = durations.map_err(|error| failure(&name, Stage::Setup, error))?;
    Ok(Ready {
        run,
        name,
        kernel,
        remote,
        module,
        durations,
        prepare: begin.elapsed().as_secs_f64(),
        begun: AtomicBool::new(false),
        started: Mutex::default(),
        parts: Mutex::default(),
    })
}

/// An error as a new one: [`Error`] cannot be cloned, but its kind must be kept.
fn copy(error: &Error) -> Error {
    let message = format!("{error:#}");
    let lines = error::lines(error).to_owned();
    match error::kind(error) {
        Some(kind) => error::Failure::new(kind, message).lines(lines).into(),
        None => error::Quoting { message, lines }.into(),
    }
}

fn send(sender: &SyncSender<RunEvent>, run: usize, shard: u32, kind: RunEventKind) {
    // The observer is told events until every sender is gone.
    let _ = sender.send(RunEvent { run, shard, kind });
}

/// A thread that runs VMs.
fn work(session: SessionParts<'_>, pool: &Pool, sender: &SyncSender<RunEvent>) {
    let _guard = StopOnPanic(pool);
    while let Some(task) = pool.wait(next_task) {
        match task {
            Task::Local => {
                let outlet = Outlet::new(sender, 0, 0, &pool.stop);
                match session.suite.run_local(outlet) {
                    Ok(record) => pool.finished(session, sender, 0, record),
                    Err(error) => pool.fail(error),
                }
            }
            Task::Vm(ready, shard, shards) => {
                if let Err(error) = run_vm(session, pool, sender, &ready, shard, shards) {
                    pool.fail(error);
                }
            }
        }
    }
}

/// Takes a task. `Some(None)`: there will be none.
fn next_task(state: &mut State) -> Option<Option<Task>> {
    if state.closed {
        // Kernels some of whose tests have run are finished.
        state.tasks.retain(|task| match task {
            Task::Local => true,
            Task::Vm(ready, ..) => ready.begun.load(Ordering::SeqCst),
        });
    }
    match state.tasks.pop_front() {
        Some(task) => {
            if let Task::Vm(ready, ..) = &task {
                ready.begun.store(true, Ordering::SeqCst);
            }
            Some(Some(task))
        }
        None if state.complete => Some(None),
        None => None,
    }
}

/// One VM of a kernel; the last one of a kernel makes its record.
fn run_vm(
    session: SessionParts<'_>,
    pool: &Pool,
    sender: &SyncSender<RunEvent>,
    ready: &Ready,
    shard: u32,
    shards: u32,
) -> Result<()> {
    {
        let mut started = lock(&ready.started);
        if !std::mem::replace(&mut *started, true) {
            send(
                sender,
                ready.run,
                0,
                RunEventKind::Started(ready.name.clone()),
            );
        }
    }
    let split = (shards > 1).then_some((shard, shards));
    let mut guest = suite::Guest {
        name: &ready.name,
        kernel: &ready.kernel,
        module: ready.module.as_deref(),
        durations: ready.durations.as_deref(),
        split,
        attempt: 0,
        // One VM of several is enough for what is not split.
        phases: match session.suite.crashes(ready.module.is_some()) && shard == 1 {
            true => Phase::Both,
            false => Phase::Main,
        },
    };
    let (part, crash) = attempts(session, pool, sender, ready, &mut guest)?;
    if let Some(record) = crash {
        pool.finished(session, sender, ready.run + session.runs(), record);
    }
    let parts = {
        let mut parts = lock(&ready.parts);
        parts.push((shard, part));
        if parts.len() < usize::try_from(shards)? {
            return Ok(());
        }
        std::mem::take(&mut *parts)
    };
    let record = suite::merge(ready.prepare, parts).context("a kernel had no VM")?;
    pool.change(|state| state.kernels -= 1);
    pool.finished(session, sender, ready.run, record);
    if ready.remote {
        let kernel = ready.kernel.clone();
        if let Err(error) = session.budget.tested(session.env, kernel) {
            interrupt::check()?;
            // The results of the other kernels are worth more than the space.
            session.env.ui.warn(format!("{error:#}"));
        }
    }
    Ok(())
}

/// One VM, and others in its place as long as it is lost. The second value is of the tests
/// after the crash.
fn attempts(
    session: SessionParts<'_>,
    pool: &Pool,
    sender: &SyncSender<RunEvent>,
    ready: &Ready,
    guest: &mut suite::Guest<'_>,
) -> Result<(RunRecord, Option<RunRecord>)> {
    let crash_run = ready.run + session.runs();
    let number = guest.split.map_or(0, |(shard, _)| shard);
    let again = |part: &RunRecord, attempt: u32| {
        let tried = usize::try_from(attempt)?;
        anyhow::Ok(session.options.retry.again(&part.outcome, tried))
    };
    let run = |guest: suite::Guest<'_>, run, number| {
        let outlet = Outlet::new(sender, run, number, &pool.stop).with_crash(crash_run);
        match session.suite.run_vm(session.env, guest, outlet) {
            Err(error) if error::is_final(&error) || pool.stopped() => Err(error),
            Err(error) => {
                let name = match guest.phases {
                    Phase::Main | Phase::Both => ready.name.clone(),
                    Phase::Crash => ready.name.crash(),
                };
                Ok((RunRecord::not_started(name, Stage::Setup, &error), None))
            }
            parts => parts,
        }
    };
    let (part, mut crash) = loop {
        let (part, crash) = run(*guest, ready.run, number)?;
        if !again(&part, guest.attempt)? {
            break (part, crash);
        }
        guest.attempt += 1;
        send(
            sender,
            ready.run,
            number,
            RunEventKind::Retried(part.outcome),
        );
    };
    // The main tests have their verdict, and do not run again for the others.
    guest.phases = Phase::Crash;
    guest.attempt = 0;
    while let Some(lost) = &crash
        && again(lost, guest.attempt)?
    {
        guest.attempt += 1;
        send(
            sender,
            crash_run,
            0,
            RunEventKind::Retried(lost.outcome.clone()),
        );
        let (before, after) = run(*guest, crash_run, 0)?;
        crash = Some(after.unwrap_or(before));
    }
    Ok((part, crash))
}

/// A thread that panicked holds no lock while it changes what the lock is for.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
