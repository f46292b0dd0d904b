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

#[derive(Clone, Copy)]
pub struct SessionParts<'s> {
    pub suite: &'s Suite<'s>,
    /// Whether the host's own tests are the first run.
    pub local: bool,
    pub wanted: &'s [Wanted],
    /// In which order kernels are prepared: indices into `wanted`.
    pub order: &'s [usize],
    pub sources: &'s Sources,
    /// Which kernels are deleted when they have been tested.
    pub budget: &'s Budget,
    pub env: &'s Env,
    pub options: SessionOptions,
}

impl SessionParts<'_> {
    fn runs(&self) -> usize {
        self.wanted.len() + usize::from(self.local)
    }
}

/// Runs everything. The records in the order of the requests, those of the host's own
/// tests first, those of tests after a crash behind their kernel's; runs that were not
/// started (`fail_fast`) have none.
pub fn run(session: SessionParts<'_>, observer: &mut dyn Observer) -> Result<Vec<RunRecord>> {
    let of = session.runs();
    let mut records = vec![None; 2 * of];
    let pool = Pool::default();
    let (sender, events) = sync_channel(WAITING_EVENTS);
    let mut result = Ok(());
    std::thread::scope(|scope| {
        let worker = Worker {
            session,
            pool: &pool,
            sender,
        };
        for _ in 0..session.options.jobs.max(1) {
            let worker = worker.clone();
            scope.spawn(move || worker.work());
        }
        // The last of the senders: with the threads the events end.
        scope.spawn(move || worker.prepare());
        result = collect(&pool, &events, observer, &mut records);
    });
    interrupt::check()?;
    result?;
    if let Some(error) = pool.lock().fatal.take() {
        return Err(error);
    }
    let crashes = records.split_off(of);
    let pairs = records.into_iter().zip(crashes);
    Ok(pairs.flat_map(<[_; 2]>::from).flatten().collect())
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

struct ReadyKernel {
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
    started: AtomicBool,
    /// By number of the VM.
    parts: Mutex<Vec<(u32, RunRecord)>>,
}

enum WorkerTask {
    /// The host's own tests.
    Local,
    /// One of so many VMs of a kernel; the first number counts from 1.
    Vm(Arc<ReadyKernel>, u32, u32),
}

#[derive(Default)]
struct Pool {
    state: Mutex<PoolState>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct PoolState {
    tasks: VecDeque<WorkerTask>,
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
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        lock(&self.state)
    }

    /// Waits until `ready` gives something. `None` once the session is over.
    fn wait<T>(&self, mut ready: impl FnMut(&mut PoolState) -> Option<Option<T>>) -> Option<T> {
        let mut state = self.lock();
        loop {
            if self.stopped() {
                return None;
            }
            if let Some(answer) = ready(&mut state) {
                return answer;
            }
            // A signal wakes nobody, so that it is looked for.
            let waited = self.changed.wait_timeout(state, interrupt::POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
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

    /// Ends everything because of this.
    fn fail(&self, error: Error) {
        self.lock().fatal.get_or_insert(error);
        self.stop();
    }

    fn change(&self, change: impl FnOnce(&mut PoolState)) {
        change(&mut self.lock());
        self.changed.notify_all();
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

/// Takes a task. `Some(None)`: there will be none.
fn next_task(state: &mut PoolState) -> Option<Option<WorkerTask>> {
    if state.closed {
        // Kernels some of whose tests have run are finished.
        state.tasks.retain(|task| match task {
            WorkerTask::Local => true,
            WorkerTask::Vm(ready, ..) => ready.begun.load(Ordering::SeqCst),
        });
    }
    match state.tasks.pop_front() {
        Some(task) => {
            if let WorkerTask::Vm(ready, ..) = &task {
                ready.begun.store(true, Ordering::SeqCst);
            }
            Some(Some(task))
        }
        None if state.complete => Some(None),
        None => None,
    }
}

/// Why there is no kernel to run on.
struct Unprepared {
    name: RunName,
    stage: Stage,
    error: Error,
}

/// One of the threads.
#[derive(Clone)]
struct Worker<'s> {
    session: SessionParts<'s>,
    pool: &'s Pool,
    sender: SyncSender<RunEvent>,
}

impl Worker<'_> {
    fn send(&self, run: usize, shard: u32, kind: RunEventKind) {
        // The observer is told events until every sender is gone.
        let _ = self.sender.send(RunEvent { run, shard, kind });
    }

    /// Tells that a run has ended. What follows from it is decided here, because the
    /// collector may hear of it later than the next run is started.
    fn finished(&self, run: usize, record: RunRecord) {
        if self.session.options.fail_fast && record.outcome != RunOutcome::Passed {
            self.pool.change(|state| state.closed = true);
        }
        self.send(run, 0, RunEventKind::Finished(Box::new(record)));
    }

    /// The thread that prepares.
    fn prepare(&self) {
        let (session, pool) = (self.session, self.pool);
        let _guard = StopOnPanic(pool);
        if session.local {
            pool.change(|state| state.tasks.push_back(WorkerTask::Local));
        }
        let room = session.options.jobs.max(1) + session.options.prefetch;
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
            match self.prepare_one(run, wanted) {
                Ok(ready) => {
                    let ready = Arc::new(ready);
                    let shards = session.options.shards.max(1);
                    let task = |number| WorkerTask::Vm(Arc::clone(&ready), number, shards);
                    pool.change(|state| state.tasks.extend((1..=shards).map(task)));
                }
                Err(Unprepared { name, stage, error }) => {
                    pool.change(|state| state.kernels -= 1);
                    if error::is_final(&error) {
                        pool.fail(error);
                        break;
                    }
                    self.send(run, 0, RunEventKind::Started(name.clone()));
                    self.finished(run, RunRecord::not_started(name, stage, &error));
                }
            }
        }
        pool.change(|state| state.complete = true);
    }

    fn prepare_one(&self, run: usize, wanted: &Wanted) -> Result<ReadyKernel, Unprepared> {
        let begin = Instant::now();
        let SessionParts { suite, env, .. } = self.session;
        let failure = |name: &RunName, stage, error| Unprepared {
            name: name.clone(),
            stage,
            error,
        };
        let name = wanted.name().map_err(|error| {
            let kernel = "newest".to_owned();
            let name = RunName {
                kernel,
                ..RunName::default()
            };
            failure(&name, Stage::Setup, error)
        })?;
        // The error is the request's; it is told once.
        let choice = wanted.choice.as_ref();
        let choice = choice.map_err(|error| failure(&name, Stage::Fetch, error::copy(error)))?;
        // Nothing is fetched or built for tests that cannot run.
        let prepared = suite.prepared(&name.arch);
        prepared.map_err(|error| failure(&name, Stage::Setup, error))?;
        self.send(run, 0, RunEventKind::Preparing(name.clone()));
        let request = wanted.request.as_ref();
        let kernel = supply::obtain(env, request, choice, self.session.sources);
        let kernel = kernel.map_err(|error| failure(&name, wanted.stage(), error))?;
        let name = queue::name(&kernel);
        let module = suite.require_options(env, &kernel).and_then(|()| {
            let module = suite.module(env, &kernel);
            module.context("cannot build the test module")
        });
        let durations = (self.session.options.shards > 1).then(|| suite.durations(&name));
        let set_up = |error| failure(&name, Stage::Setup, error);
        Ok(ReadyKernel {
            run,
            remote: choice.evictable,
            module: module.map_err(set_up)?,
            durations: durations.transpose().map_err(set_up)?,
            kernel,
            prepare: begin.elapsed().as_secs_f64(),
            begun: AtomicBool::new(false),
            started: AtomicBool::new(false),
            parts: Mutex::default(),
            name,
        })
    }

    /// A thread that runs VMs.
    fn work(&self) {
        let _guard = StopOnPanic(self.pool);
        while let Some(task) = self.pool.wait(next_task) {
            let done = match task {
                WorkerTask::Local => {
                    let outlet = Outlet::new(&self.sender, 0, 0, &self.pool.stop);
                    let record = self.session.suite.run_local(outlet);
                    record.map(|record| self.finished(0, record))
                }
                WorkerTask::Vm(ready, shard, shards) => self.run_vm(&ready, shard, shards),
            };
            if let Err(error) = done {
                self.pool.fail(error);
            }
        }
    }

    /// One VM of a kernel; the last one of a kernel makes its record.
    fn run_vm(&self, ready: &ReadyKernel, shard: u32, shards: u32) -> Result<()> {
        let session = self.session;
        if !ready.started.swap(true, Ordering::SeqCst) {
            self.send(ready.run, 0, RunEventKind::Started(ready.name.clone()));
        }
        let mut guest = suite::Guest {
            name: &ready.name,
            kernel: &ready.kernel,
            module: ready.module.as_deref(),
            durations: ready.durations.as_deref(),
            split: (shards > 1).then_some((shard, shards)),
            attempt: 0,
            // One VM of several is enough for what is not split.
            phases: match session.suite.crashes(&ready.kernel, ready.module.is_some()) && shard == 1
            {
                true => Phase::Both,
                false => Phase::Main,
            },
        };
        let (part, crash) = self.attempts(ready, &mut guest)?;
        if let Some(record) = crash {
            self.finished(ready.run + session.runs(), record);
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
        self.pool.change(|state| state.kernels -= 1);
        self.finished(ready.run, record);
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

    /// One VM, and others in its place as long as it is lost. The second value is of the
    /// tests after the crash.
    fn attempts(
        &self,
        ready: &ReadyKernel,
        guest: &mut suite::Guest<'_>,
    ) -> Result<(RunRecord, Option<RunRecord>)> {
        let retry = self.session.options.retry;
        let crash_run = ready.run + self.session.runs();
        let number = guest.split.map_or(0, |(shard, _)| shard);
        let (part, mut crash) = loop {
            let (part, crash) = self.attempt(*guest, ready.run, number, crash_run)?;
            if !retry.again(&part.outcome, guest.attempt) {
                break (part, crash);
            }
            guest.attempt += 1;
            self.send(ready.run, number, RunEventKind::Retried(part.outcome));
        };
        // The main tests have their verdict, and do not run again for the others.
        guest.phases = Phase::Crash;
        guest.attempt = 0;
        while let Some(lost) = &crash
            && retry.again(&lost.outcome, guest.attempt)
        {
            guest.attempt += 1;
            self.send(crash_run, 0, RunEventKind::Retried(lost.outcome.clone()));
            let (before, after) = self.attempt(*guest, crash_run, 0, crash_run)?;
            crash = Some(after.unwrap_or(before));
        }
        Ok((part, crash))
    }

    fn attempt(
        &self,
        guest: suite::Guest<'_>,
        run: usize,
        number: u32,
        crash_run: usize,
    ) -> Result<(RunRecord, Option<RunRecord>)> {
        let outlet = Outlet::new(&self.sender, run, number, &self.pool.stop);
        let outlet = outlet.with_crash(crash_run);
        match self.session.suite.run_vm(self.session.env, guest, outlet) {
            Err(error) if error::is_final(&error) || self.pool.stopped() => Err(error),
            Err(error) => {
                let name = match guest.phases {
                    Phase::Main | Phase::Both => guest.name.clone(),
                    Phase::Crash => guest.name.crash(),
                };
                Ok((RunRecord::not_started(name, Stage::Setup, &error), None))
            }
            parts => parts,
        }
    }
}

/// A thread that panicked holds no lock while it changes what the lock is for.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
