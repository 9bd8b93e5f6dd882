//! A function over many indices on several threads, with the results in order.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The number of threads to use where the caller leaves it open with 0.
pub(crate) fn threads_or_all(threads: usize) -> usize {
    if threads > 0 {
        return threads;
    }
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// `function(0), function(1), ...` up to `count`, on `threads` threads. `done` hears, from any
/// thread, how many are finished.
pub(crate) fn map<T: Send>(
    count: usize,
    threads: usize,
    done: &(dyn Fn(usize) + Sync),
    function: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    /// Indices that a thread takes at a time, so that the lock is not felt.
    const STEP: usize = 8;
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Vec<T>)>> = Mutex::new(Vec::new());
    let work = || loop {
        let start = next.fetch_add(STEP, Ordering::Relaxed);
        if start >= count {
            return;
        }
        let end = (start + STEP).min(count);
        let part: Vec<T> = (start..end).map(&function).collect();
        done(finished.fetch_add(end - start, Ordering::Relaxed) + end - start);
        results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((start, part));
    };
    thread::scope(|scope| {
        for _ in 1..threads_or_all(threads).min(count.div_ceil(STEP)).max(1) {
            scope.spawn(work);
        }
        work();
    });
    let mut parts = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    parts.sort_unstable_by_key(|(start, _)| *start);
    parts.into_iter().flat_map(|(_, part)| part).collect()
}
