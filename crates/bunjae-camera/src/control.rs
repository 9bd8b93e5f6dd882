//! What everybody may ask of a pipeline that runs: to stop, to take another model, how it is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::slot::Slot;
use crate::stats::{Shared, Stage};

/// What counts the things that it drops.
trait Drops: Send + Sync {
    fn dropped(&self) -> u64;
}

impl<T: Send> Drops for Slot<T> {
    fn dropped(&self) -> u64 {
        Slot::dropped(self)
    }
}

/// Frames that were replaced by newer ones in front of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The stage that did not get them.
    pub before: String,
    /// How many.
    pub frames: u64,
}

/// A pipeline's reins. Clones are of the same pipeline.
#[derive(Clone, Default)]
pub struct Control(Arc<Inner>);

#[derive(Default)]
struct Inner {
    stopped: AtomicBool,
    bell: Mutex<()>,
    rung: Condvar,
    model: AtomicUsize,
    models: AtomicUsize,
    slots: Mutex<Vec<(String, Arc<dyn Drops>)>>,
    shared: Shared,
}

/// How a pipeline that runs is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Live {
    /// Labelled frames per second, over the last two.
    pub frames_per_second: f64,
    /// Frames that came from the source.
    pub captured: u64,
    /// Frames that were replaced by newer ones, wherever.
    pub dropped: u64,
    /// Frames that could not be decoded.
    pub corrupt: u64,
    /// How often the source was lost.
    pub lost: u64,
    /// Mean milliseconds of each stage, in the order of [`Stage::ALL`].
    pub stages_ms: [f64; 4],
}

impl Control {
    /// Ends the pipeline: what is on its way is still shown, and files are closed.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        let _bell = self.bell();
        self.0.rung.notify_all();
    }

    /// Whether the pipeline is to end.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    fn bell(&self) -> MutexGuard<'_, ()> {
        self.0.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, or until the pipeline is stopped; true where it is.
    pub fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut bell = self.bell();
        loop {
            if self.is_stopped() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.rung.wait_timeout(bell, left);
            bell = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The model that is asked.
    pub fn model(&self) -> usize {
        self.0.model.load(Ordering::Relaxed)
    }

    /// From the next frame on, asks another model; false where there is no such one.
    pub fn select(&self, model: usize) -> bool {
        let known = model < self.0.models.load(Ordering::Relaxed);
        if known {
            self.0.model.store(model, Ordering::Relaxed);
        }
        known
    }

    /// How it is doing.
    pub fn live(&self) -> Live {
        let dropped = self.dropped().iter().map(|dropped| dropped.frames).sum();
        let counts = self.shared().lock();
        let mean = |stage: Stage| counts.stages[stage as usize].mean().as_secs_f64() * 1e3;
        Live {
            frames_per_second: counts.rate.per_second(Instant::now()),
            captured: counts.captured,
            dropped,
            corrupt: counts.corrupt,
            lost: counts.lost,
            stages_ms: Stage::ALL.map(mean),
        }
    }

    /// Frames that were dropped, in front of each stage.
    pub fn dropped(&self) -> Vec<Dropped> {
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = |(before, slot): &(String, Arc<dyn Drops>)| Dropped {
            before: before.clone(),
            frames: slot.dropped(),
        };
        slots.iter().map(dropped).collect()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) fn set_models(&self, count: usize) {
        self.0.models.store(count, Ordering::Relaxed);
    }

    /// From now on counts what a slot drops.
    pub(crate) fn watch<T: Send + 'static>(&self, before: String, slot: &Arc<Slot<T>>) {
        let slot: Arc<dyn Drops> = slot.clone();
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).push((before, slot));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::slot::Keep;

    #[test]
    fn who_waits_hears_that_it_is_over() {
        let control = Control::default();
        assert!(!control.wait(Duration::from_millis(1)));
        let waiting = thread::spawn({
            let control = control.clone();
            move || control.wait(Duration::from_secs(600))
        });
        control.stop();
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn only_models_that_are_loaded_can_be_chosen() {
        let control = Control::default();
        assert!(!control.select(0));
        control.set_models(2);
        assert!(control.select(1) && !control.select(2));
        assert_eq!(control.model(), 1);
    }

    #[test]
    fn what_every_slot_drops_is_summed_up() {
        let (control, slot) = (Control::default(), Arc::new(Slot::new(Keep::Newest)));
        control.watch("detect".to_owned(), &slot);
        for thing in 0..3 {
            slot.put(thing);
        }
        let expected = Dropped { before: "detect".to_owned(), frames: 2 };
        assert_eq!(control.dropped(), [expected]);
        assert_eq!(control.live().dropped, 2);
    }
}
