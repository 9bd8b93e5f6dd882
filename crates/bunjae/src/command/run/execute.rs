//! The stages of a plan, each when its inputs are there, some beside each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bunjae_recipe::Stage;

use super::figures::figures;
use super::stage::Context;
use super::state::{Plan, State};
use super::work::{LOG, Record, Work};
use crate::failure::{Failure, Fallible};
use crate::number::duration;
use crate::output::Output;

/// How a run is done.
pub(super) struct How {
    /// How many stages run beside each other at most.
    pub(super) jobs: usize,
    /// For each stage whether it runs even if it is done.
    pub(super) forced: Vec<bool>,
}

/// What became of a stage.
#[derive(Debug)]
pub(super) enum End {
    /// It was done before.
    Cached(Box<Record>),
    /// It ran.
    Ran(Box<Record>),
    /// It failed.
    Failed(Failure),
    /// Stages that it needs failed or were not run.
    NotRun,
}

impl End {
    /// The record of a stage that is done.
    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            End::Cached(record) | End::Ran(record) => Some(record),
            End::Failed(_) | End::NotRun => None,
        }
    }
}

/// What all workers share.
struct Board {
    ends: Vec<Option<End>>,
    /// Stages in work.
    running: Vec<usize>,
    /// Stages that came out otherwise than before, so that what follows runs as well.
    changed: Vec<bool>,
    /// Stages that have run or failed, to count them.
    begun: usize,
}

struct Workers<'a> {
    plan: &'a Plan,
    how: &'a How,
    context: Context<'a>,
    board: Mutex<Board>,
    moved: Condvar,
    /// How many are expected to run.
    expected: usize,
    output: &'a Output,
}

/// Runs what has to run. A failure ends what depends on it, and nothing else.
pub(super) fn execute(plan: &Plan, work: &Work, how: &How, output: &Output) -> Vec<End> {
    let stages = &plan.recipe.stages;
    let board = Board {
        ends: stages.iter().map(|_| None).collect(),
        running: Vec::new(),
        changed: vec![false; stages.len()],
        begun: 0,
    };
    let runs = |at: &usize| how.forced[*at] || !matches!(plan.states[*at], State::Done(_));
    let workers = Workers {
        plan,
        how,
        context: Context { work, stages, keys: &plan.keys, jobs: how.jobs, output },
        board: Mutex::new(board),
        moved: Condvar::new(),
        expected: (0..stages.len()).filter(runs).count(),
        output,
    };
    std::thread::scope(|scope| {
        for _ in 0..how.jobs.min(stages.len()) {
            scope.spawn(|| workers.work());
        }
    });
    let board = workers.board.into_inner().unwrap_or_else(PoisonError::into_inner);
    board.ends.into_iter().map(|end| end.unwrap_or(End::NotRun)).collect()
}

/// What a worker does next.
enum Next {
    Run(usize),
    Wait,
    Stop,
}

impl Workers<'_> {
    fn work(&self) {
        let mut board = self.board();
        loop {
            match self.next(&mut board) {
                Next::Stop => {
                    self.moved.notify_all();
                    return;
                }
                Next::Wait => {
                    board = self.moved.wait(board).unwrap_or_else(PoisonError::into_inner);
                }
                Next::Run(at) => {
                    board.running.push(at);
                    board.begun += 1;
                    let number = board.begun;
                    drop(board);
                    let end = self.run(at, number);
                    board = self.board();
                    board.running.retain(|&running| running != at);
                    board.changed[at] = self.is_changed(at, &end);
                    board.ends[at] = Some(end);
                    self.moved.notify_all();
                }
            }
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first stage that can run now. What is done, or cannot run, is settled on the way.
    fn next(&self, board: &mut Board) -> Next {
        let stages = &self.plan.recipe.stages;
        let mut waits = false;
        for (at, stage) in stages.iter().enumerate() {
            if board.ends[at].is_some() || board.running.contains(&at) {
                continue;
            }
            let needs = stage.needs();
            let is_lost =
                |need: &usize| matches!(board.ends[*need], Some(End::Failed(_) | End::NotRun));
            if needs.iter().any(is_lost) {
                board.ends[at] = Some(End::NotRun);
                continue;
            }
            if needs.iter().any(|&need| board.ends[need].is_none()) {
                waits = true;
                continue;
            }
            let follows = needs.iter().any(|&need| board.changed[need]);
            if let State::Done(record) = &self.plan.states[at]
                && !self.how.forced[at]
                && !follows
            {
                board.ends[at] = Some(End::Cached(record.clone()));
                continue;
            }
            // What is measured is measured alone.
            let alone = |at: &usize| stages[*at].is_alone();
            let is_free = match stage.is_alone() {
                true => board.running.is_empty(),
                false => !board.running.iter().any(alone),
            };
            if is_free {
                return Next::Run(at);
            }
            waits = true;
            if stage.is_alone() {
                // Otherwise what is started meanwhile keeps it waiting.
                break;
            }
        }
        match waits || !board.running.is_empty() {
            // With nobody at work nobody would wake this one; a plan in order has no such case.
            true if !board.running.is_empty() => Next::Wait,
            _ => Next::Stop,
        }
    }

    fn run(&self, at: usize, number: usize) -> End {
        let stage = &self.plan.recipe.stages[at];
        let of = self.expected.max(number);
        let why = match self.how.forced[at] {
            true => "forced".to_owned(),
            false => self.plan.reason(at),
        };
        let name = &stage.name;
        self.output.note(&format!("[{number}/{of}] {name}: {}, {why}", stage.kind.name));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.context.run(at, self.how.forced[at])
        }));
        match done.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(record) => {
                let figures = figures(&record);
                let figures = figures.into_iter().map(|(what, value)| format!(", {what} {value}"));
                let time = duration(record.seconds);
                let figures: String = figures.collect();
                self.output.note(&format!("[{number}/{of}] {name}: done in {time}{figures}"));
                End::Ran(Box::new(record))
            }
            Err(failure) => {
                self.output.note(&format!("[{number}/{of}] {name}: failed: {}", failure.what));
                End::Failed(failure)
            }
        }
    }

    /// Whether a stage that was done before came out otherwise.
    fn is_changed(&self, at: usize, end: &End) -> bool {
        match (&self.plan.states[at], end) {
            (State::Done(before), End::Ran(after)) => before.outputs != after.outputs,
            _ => false,
        }
    }
}

/// A fault of the program in one stage is no reason to lose the others.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Failure::new(format!("the program has a fault: {}", text.unwrap_or_default()))
}

/// What is said where stages failed: each with its log, and what was not run for it.
pub(super) fn failure(plan: &Plan, work: &Work, ends: &[End]) -> Fallible<()> {
    let with = |test: &dyn Fn(&End) -> bool| -> Vec<(usize, &Stage)> {
        let stages = plan.recipe.stages.iter().enumerate();
        stages.filter(|(at, _)| ends.get(*at).is_some_and(test)).collect()
    };
    let failed = with(&|end| matches!(end, End::Failed(_)));
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = failed.iter().map(|(_, stage)| format!("`{}`", stage.name)).collect();
    let what = match failed.len() {
        1 => format!("the stage {} failed", names.join("")),
        count => format!("{count} stages failed: {}", names.join(", ")),
    };
    let mut failure = Failure::new(what);
    for (at, stage) in failed {
        let (Some(key), Some(End::Failed(reason))) = (plan.keys.get(at), ends.get(at)) else {
            continue;
        };
        let log = work.partial(stage, key).join(LOG);
        let lines: Vec<&str> = reason.what.lines().collect();
        failure.what.push_str(&format!("\n  {}", lines.join("\n  ")));
        failure.what.push_str(&format!("\n  its log: {}", log.display()));
        reason.hints.iter().for_each(|hint| failure.hints.push(hint.clone()));
    }
    let left = with(&|end| matches!(end, End::NotRun));
    if !left.is_empty() {
        let names: Vec<String> =
            left.iter().map(|(_, stage)| format!("`{}`", stage.name)).collect();
        failure
            .what
            .push_str(&format!("\n  not run, as they follow from it: {}", names.join(", ")));
    }
    Err(failure.hint("mend it and run the same command again: what is done stays done"))
}
