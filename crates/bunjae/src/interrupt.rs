//! Ctrl-C, and the other polite ways to end a program, leave no half files.
//!
//! A file is written under a temporary name first. Ended in the middle of that, the program would
//! leave the temporary file behind, so a signal waits until the file has its name or is gone. That
//! takes as long as the disk does, and nothing else is waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::failure::{Failure, Fallible};

/// Held while files are written.
static WRITING: Mutex<()> = Mutex::new(());

/// What is said before the program ends.
static FAREWELL: Mutex<Option<String>> = Mutex::new(None);

/// What the first signal does instead of ending the program.
static STOP: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Whether a signal was answered by [`STOP`].
static GENTLE: AtomicBool = AtomicBool::new(false);

/// What shells report for a program that Ctrl-C ended: 128 and the signal's number.
pub(crate) const INTERRUPTED: u8 = 130;

/// From now on a signal waits for the file that is being written.
pub(crate) fn install() -> Fallible<()> {
    ctrlc::set_handler(|| {
        let stop = STOP.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stop) = stop {
            GENTLE.store(true, Ordering::Release);
            return stop();
        }
        let _written = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(farewell) = &*FAREWELL.lock().unwrap_or_else(PoisonError::into_inner) {
            crate::output::say(farewell);
        }
        std::process::exit(i32::from(INTERRUPTED));
    })
    .map_err(|error| Failure::new(format!("cannot handle signals: {error}")))
}

/// From now on a signal has this said; nothing with `None`.
pub(crate) fn farewell(text: Option<String>) {
    *FAREWELL.lock().unwrap_or_else(PoisonError::into_inner) = text;
}

/// From now on the first signal calls `stop`, for what has an end of its own; a second one ends the
/// program.
pub(crate) fn gently(stop: impl FnOnce() + Send + 'static) {
    *STOP.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
}

/// Whether a signal arrived since [`gently`].
pub(crate) fn was_gentle() -> bool {
    GENTLE.load(Ordering::Acquire)
}

/// Runs `write` to its end, whatever signal arrives.
pub(crate) fn uninterrupted<T>(write: impl FnOnce() -> T) -> T {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write()
}
