//! The threads that share a run.
//!
//! # How
//!
//! The thread that calls [`Session::run`](crate::Session::run) leads. It walks the steps; a stage
//! with one task it runs itself, without a word to anybody. A stage with several it publishes, and
//! every thread that is awake, the leader included, claims tasks of it until none is left. The
//! leader goes on when all claimed tasks are done.
//!
//! Tasks are claimed rather than dealt out because a thread may be late (it sleeps between runs, and
//! on a shared machine it may not be running at all): then the others do its share, and nobody waits
//! for it. Since a task computes the same whoever runs it, results do not depend on this. A claim is
//! for a share of the tasks that are left (guided self-scheduling; Polychronopoulos and Kuck, 1987):
//! each costs the time in which a cache line goes from one core to another, which small tasks would
//! notice, and towards the end there are small ones enough for threads to finish together.
//!
//! The leader claims from the front and helpers from the back. The tasks of most stages are in the
//! order of the planes or rows that they compute, so that a thread mostly finds in its own cache what
//! it needs of the step before; what another core has written costs several times as much.
//!
//! Helpers spin for [`SPIN`] when there is nothing to claim, which is longer than most single-task
//! steps take. For [`YIELD`] they then offer their core to whoever needs it, but stay awake: waking a
//! thread takes as long as a tenth of a small network, and another run often follows at once. Then they
//! sleep until the next run begins.
//!
//! # Why not a crate
//!
//! A work-stealing pool such as rayon's wakes and steals per job, allocates for some of them, and
//! costs several microseconds for each of the dozens of stages of a small network whose whole run
//! takes a hundred. Here a stage costs its claims: one compare-and-swap each.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::memory::{Arena, Memory, StepMemory};
use super::model::Model;
use super::step::StepError;
use crate::error::RunError;

/// How long a helper that finds nothing to do keeps its core.
const SPIN: Duration = Duration::from_micros(50);

/// How long a helper that finds nothing to do stays awake.
const YIELD: Duration = Duration::from_micros(300);

/// Nothing to claim: no run is under way.
const IDLE: u64 = u64::MAX;

/// Bits of a number of tasks in the state.
const TASK_BITS: u32 = 21;

/// Most tasks of a stage that is shared.
const MOST_TASKS: usize = (1 << TASK_BITS) - 1;

/// A stage at work, as one word: its index in [`Model::stages`], and how many of its tasks have been
/// claimed from the front and from the back.
#[derive(Clone, Copy)]
struct Claims {
    stage: usize,
    front: usize,
    back: usize,
}

impl Claims {
    fn unpack(state: u64) -> Claims {
        let tasks = |state: u64| state as usize & MOST_TASKS;
        Claims {
            stage: (state >> (2 * TASK_BITS)) as usize,
            front: tasks(state >> TASK_BITS),
            back: tasks(state),
        }
    }

    fn pack(self) -> u64 {
        (self.stage as u64) << (2 * TASK_BITS) | (self.front as u64) << TASK_BITS | self.back as u64
    }

    /// How many of so many tasks are open.
    fn open(self, tasks: usize) -> usize {
        tasks.saturating_sub(self.front + self.back)
    }
}

/// Which end of the tasks a thread claims from.
#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

/// Alone on its cache line, and on the one that some processors fetch along with it.
#[repr(align(128))]
struct Alone<T>(T);

/// What the threads of a session share.
pub(super) struct Shared {
    pub(super) model: Arc<Model>,
    pub(super) arena: Arena,
    threads: usize,
    /// The stage at work and its next task, or [`IDLE`].
    state: Alone<AtomicU64>,
    /// Tasks done of the stage at work.
    done: Alone<AtomicUsize>,
    /// The first failure of the run: the step's index plus one; 0 for none.
    failed: AtomicUsize,
    /// Helpers that sleep or are about to.
    sleepers: AtomicUsize,
    stop: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock guards nothing that a panic could leave half done.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims tasks of the published stage: the stage and the tasks, if some are open.
    fn claim(&self, end: End) -> Option<(usize, Range<usize>)> {
        let mut state = self.state.0.load(Ordering::Acquire);
        loop {
            let mut claims = Claims::unpack(state);
            let tasks = self.model.stages.get(claims.stage)?.tasks;
            let open = claims.open(tasks);
            if open == 0 {
                return None;
            }
            // A thread's share of what is left, as if there were one thread more.
            let count = open.div_ceil(self.threads + 1);
            let claimed = match end {
                End::Front => {
                    claims.front += count;
                    claims.front - count..claims.front
                }
                End::Back => {
                    claims.back += count;
                    tasks - claims.back..tasks - claims.back + count
                }
            };
            // A helper that read the state long ago succeeds only if it is the same again; then
            // these tasks of this stage are open again, in another run.
            let next = claims.pack();
            match self.state.0.compare_exchange_weak(
                state,
                next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some((claims.stage, claimed)),
                Err(found) => state = found,
            }
        }
    }

    /// Runs tasks that were claimed, and counts them as done even if one panics, so that the leader
    /// does not wait for them for ever.
    fn run_claimed(&self, stage: usize, tasks: Range<usize>, scratch: &mut [f32]) {
        struct Count<'a>(&'a AtomicUsize, usize);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(self.1, Ordering::Release);
            }
        }
        let _count = Count(&self.done.0, tasks.len());
        let Some(found) = self.model.stages.get(stage) else { return };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.run_tasks(found.step, found.stage, tasks, scratch)
        }));
        if !matches!(outcome, Ok(Ok(()))) {
            let _ = self.failed.compare_exchange(
                0,
                found.step + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    fn run_tasks(
        &self,
        step: usize,
        stage: usize,
        tasks: Range<usize>,
        scratch: &mut [f32],
    ) -> Result<(), StepError> {
        let step = self.model.steps.get(step).ok_or(StepError::Operand)?;
        // SAFETY: the model's steps were checked against its regions and arena when it was made,
        // and this arena is as large. Steps and stages follow one another: only the leader goes on,
        // after all claimed tasks are done, and what is not shared is run by the leader alone.
        let memory = unsafe { StepMemory::new(self.memory(), step) };
        step.run_tasks(stage, tasks, &memory, scratch)
    }

    pub(super) fn memory(&self) -> Memory<'_> {
        Memory { arena: &self.arena, weights: &self.model.weights, regions: &self.model.regions }
    }

    /// Publishes a stage and wakes helpers that sleep.
    fn publish(&self, stage: usize) {
        // In one order with `sleepers`: either the helper sees the stage, or it is seen here.
        self.state.0.store(Claims { stage, front: 0, back: 0 }.pack(), Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.wake.notify_all();
        }
    }
}

/// The threads of a session.
pub(super) struct Team {
    pub(super) shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl Team {
    /// Starts `threads - 1` helpers.
    ///
    /// # Errors
    /// [`RunError::Thread`].
    pub(super) fn new(model: Arc<Model>, threads: usize) -> Result<Team, RunError> {
        let shared = Arc::new(Shared {
            arena: Arena::new(model.arena_len),
            model,
            threads,
            state: Alone(AtomicU64::new(IDLE)),
            done: Alone(AtomicUsize::new(0)),
            failed: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut team = Team { shared, helpers: Vec::new() };
        for number in 1..threads {
            let shared = team.shared.clone();
            let helper = std::thread::Builder::new()
                .name(format!("bunjae-{number}"))
                .spawn(move || help(&shared))
                .map_err(|error| RunError::Thread(error.to_string()))?;
            team.helpers.push(helper);
        }
        Ok(team)
    }

    /// The number of threads, the leader included.
    pub(super) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs all steps; `after` is called with the index of each when it is done.
    ///
    /// # Errors
    /// [`RunError::Step`].
    pub(super) fn run(
        &mut self,
        scratch: &mut [f32],
        mut after: impl FnMut(usize),
    ) -> Result<(), RunError> {
        let shared = &*self.shared;
        let model = &*shared.model;
        let alone = self.helpers.is_empty();
        let mut result = Ok(());
        for (index, stage) in model.stages.iter().enumerate() {
            let outcome = if stage.tasks == 1 || alone || stage.tasks > MOST_TASKS {
                shared.run_tasks(stage.step, stage.stage, 0..stage.tasks, scratch)
            } else {
                self.share(index, stage.tasks, scratch)
            };
            if let Err(reason) = outcome {
                let step = model.steps.get(stage.step).map_or("", |step| &step.name);
                let (step, reason) = (step.to_string(), reason.to_string());
                result = Err(RunError::Step { step, reason });
                break;
            }
            if model.stages.get(index + 1).is_none_or(|next| next.step != stage.step) {
                after(stage.step);
            }
        }
        shared.state.0.store(IDLE, Ordering::Release);
        result
    }

    /// Runs a stage together with the helpers.
    fn share(&self, stage: usize, tasks: usize, scratch: &mut [f32]) -> Result<(), StepError> {
        let shared = &*self.shared;
        shared.failed.store(0, Ordering::Relaxed);
        shared.done.0.store(0, Ordering::Relaxed);
        shared.publish(stage);
        while let Some((stage, tasks)) = shared.claim(End::Front) {
            shared.run_claimed(stage, tasks, scratch);
        }
        let mut turns = 0u32;
        while shared.done.0.load(Ordering::Acquire) < tasks {
            turns += 1;
            // A helper that is not running cannot finish; let it.
            if turns.is_multiple_of(4096) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        if shared.failed.load(Ordering::Relaxed) == 0 { Ok(()) } else { Err(StepError::Kernel) }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.shared.lock());
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper that panicked has nothing more to say.
            let _ = helper.join();
        }
    }
}

/// The life of a helper.
fn help(shared: &Shared) {
    let mut scratch = bunjae_kernels::AlignedVec::zeroed(shared.model.scratch_len);
    let mut idle_since: Option<Instant> = None;
    let mut turns = 0u32;
    loop {
        if let Some((stage, tasks)) = shared.claim(End::Back) {
            shared.run_claimed(stage, tasks, &mut scratch);
            idle_since = None;
            continue;
        }
        std::hint::spin_loop();
        turns = turns.wrapping_add(1);
        // The clock is slower than a turn.
        if !turns.is_multiple_of(64) {
            continue;
        }
        let idle = idle_since.get_or_insert_with(Instant::now).elapsed();
        if idle < SPIN {
            continue;
        }
        if idle < YIELD {
            std::thread::yield_now();
            continue;
        }
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        idle_since = None;
        sleep(shared);
    }
}

/// Sleeps until there is a task to claim or the team ends.
fn sleep(shared: &Shared) {
    let mut guard = shared.lock();
    shared.sleepers.fetch_add(1, Ordering::SeqCst);
    let changed = || {
        let claims = Claims::unpack(shared.state.0.load(Ordering::SeqCst));
        let stage = shared.model.stages.get(claims.stage);
        let open = stage.is_some_and(|stage| claims.open(stage.tasks) > 0);
        open || shared.stop.load(Ordering::SeqCst)
    };
    while !changed() {
        guard = shared.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    shared.sleepers.fetch_sub(1, Ordering::SeqCst);
}
