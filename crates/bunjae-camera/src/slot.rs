//! The place between two threads where a thing waits for the next: there is only one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What happens when a thing comes while another one still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newer one replaces it: nobody ever waits for a slow reader, and nothing piles up.
    Newest,
    /// The writer waits, so that nothing is lost; for files that are worked through.
    Every,
}

/// Joins a thread that writes to one that reads.
#[derive(Debug)]
pub struct Slot<T> {
    keep: Keep,
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: Option<T>,
    closed: bool,
    dropped: u64,
}

impl<T> Slot<T> {
    /// An empty slot.
    pub fn new(keep: Keep) -> Slot<T> {
        let state = State { waiting: None, closed: false, dropped: 0 };
        Slot { keep, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Nothing is left half done while the lock is held, so a panic elsewhere spoils nothing.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a thing where the reader finds it; false where the slot is closed, and nobody will.
    pub fn put(&self, thing: T) -> bool {
        let mut state = self.state();
        while self.keep == Keep::Every && state.waiting.is_some() && !state.closed {
            state = self.wait(state);
        }
        if state.closed {
            return false;
        }
        let replaced = state.waiting.replace(thing);
        state.dropped += u64::from(replaced.is_some());
        drop(state);
        self.changed.notify_all();
        // Freed outside of the lock.
        drop(replaced);
        true
    }

    /// Waits for a thing and takes it; `None` once the slot is closed and empty.
    pub fn take(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if let Some(thing) = state.waiting.take() {
                drop(state);
                self.changed.notify_all();
                return Some(thing);
            }
            if state.closed {
                return None;
            }
            state = self.wait(state);
        }
    }

    /// No more comes. What waits can still be taken.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Nobody takes any more: what waits is dropped as well.
    pub fn abandon(&self) {
        let mut state = self.state();
        state.closed = true;
        let waiting = state.waiting.take();
        state.dropped += u64::from(waiting.is_some());
        drop(state);
        self.changed.notify_all();
    }

    /// How many things were replaced before anybody took them.
    pub fn dropped(&self) -> u64 {
        self.state().dropped
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn a_newer_thing_replaces_the_one_that_waits_and_is_counted() {
        let slot = Slot::new(Keep::Newest);
        for thing in 0..5 {
            assert!(slot.put(thing));
        }
        assert_eq!(slot.take(), Some(4));
        assert_eq!(slot.dropped(), 4);
    }

    #[test]
    fn what_waits_can_be_taken_after_closing_and_nothing_comes_after() {
        let slot = Slot::new(Keep::Newest);
        slot.put(1);
        slot.close();
        assert!(!slot.put(2));
        assert_eq!((slot.take(), slot.take()), (Some(1), None));
    }

    #[test]
    fn a_reader_that_waits_hears_of_the_end() {
        let slot: Arc<Slot<u8>> = Arc::new(Slot::new(Keep::Newest));
        let reader = thread::spawn({
            let slot = slot.clone();
            move || slot.take()
        });
        slot.close();
        assert_eq!(reader.join().unwrap(), None);
    }

    #[test]
    fn where_every_thing_counts_none_is_lost_and_the_order_stays() {
        let slot = Arc::new(Slot::new(Keep::Every));
        let writer = thread::spawn({
            let slot = slot.clone();
            move || {
                let all = (0..1000).all(|thing| slot.put(thing));
                slot.close();
                all
            }
        });
        let taken: Vec<i32> = std::iter::from_fn(|| slot.take()).collect();
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
        assert!(writer.join().unwrap());
        assert_eq!(slot.dropped(), 0);
    }

    #[test]
    fn a_writer_that_waits_is_let_go_when_the_reader_leaves() {
        let slot = Arc::new(Slot::new(Keep::Every));
        slot.put(1);
        let writer = thread::spawn({
            let slot = slot.clone();
            move || slot.put(2)
        });
        slot.abandon();
        assert!(!writer.join().unwrap());
        assert_eq!(slot.take(), None);
    }

    #[test]
    fn a_reader_of_the_newest_sees_numbers_grow_and_taken_and_dropped_add_up() {
        let slot = Arc::new(Slot::new(Keep::Newest));
        let writer = thread::spawn({
            let slot = slot.clone();
            move || {
                for thing in 1..=10_000_u64 {
                    slot.put(thing);
                }
                slot.close();
            }
        });
        let taken: Vec<u64> = std::iter::from_fn(|| slot.take()).collect();
        writer.join().unwrap();
        assert!(taken.is_sorted_by(|a, b| a < b));
        assert_eq!(taken.last(), Some(&10_000));
        assert_eq!(taken.len() as u64 + slot.dropped(), 10_000);
    }
}
