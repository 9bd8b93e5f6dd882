//! The first thread: reads the source at its beat, and opens it again when it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::flow::{Event, Tell};
use crate::frame::{Frame, Pool};
use crate::slot::Slot;
use crate::source::{Fault, Read, Source, SourceError};
use crate::stats::Stage;

/// Opens the source, the first time and again.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Source>, SourceError> + Send>;

/// How long to wait before a source is opened again: longer each time it fails, as a device that was
/// plugged out comes back soon or late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// Before the first try.
    pub first: Duration,
    /// At most.
    pub most: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        BackOff { first: Duration::from_millis(250), most: Duration::from_secs(8) }
    }
}

/// Corrupt frames in a row that make a live source a lost one.
const CORRUPT_IN_A_ROW: u32 = 100;

/// Corrupt frames that are told of one by one; the rest is only counted.
const CORRUPT_TOLD: u64 = 5;

/// How often frames fail at most, so that a source with nothing but errors does not take a
/// processor for itself.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct Capture {
    pub(crate) open: Open,
    /// Whether a source that was lost is opened again; those that end do not come back.
    pub(crate) reopen: Option<BackOff>,
    /// Plays files as fast as the frames are taken.
    pub(crate) fast: bool,
    pub(crate) slow: Duration,
    pub(crate) control: Control,
    pub(crate) tell: Tell,
    pub(crate) output: Arc<Slot<Frame>>,
}

impl Capture {
    /// Runs until the source ends, the pipeline is stopped, or nothing more can be read.
    pub(crate) fn run(mut self) -> Result<(), SourceError> {
        let pool = Pool::default();
        let mut source = (self.open)()?;
        (self.tell)(Event::Opened { source: source.describe() });
        let (mut number, mut in_a_row, mut due) = (0, 0, None);
        while !self.control.is_stopped() {
            let mut picture = pool.take();
            let begun = Instant::now();
            let read = source.read(picture.picture_mut());
            let mut reading = begun.elapsed();
            let error = match read {
                Ok(Read::End) => return Ok(()),
                Ok(read) => {
                    in_a_row = 0;
                    let (captured, lasts) = match read {
                        // Waiting for the camera is no work.
                        Read::Live { captured } => {
                            reading = reading.min(captured.elapsed());
                            (captured, None)
                        }
                        Read::Paced { lasts } => {
                            if !self.fast && self.wait_for(&mut due, lasts) {
                                return Ok(());
                            }
                            (Instant::now(), Some(lasts))
                        }
                        Read::End => return Ok(()),
                    };
                    let mut counts = self.control.shared().lock();
                    counts.captured += 1;
                    counts.stages[Stage::Read as usize].add(reading);
                    drop(counts);
                    if !self.slow.is_zero() && self.control.wait(self.slow) {
                        return Ok(());
                    }
                    if !self.output.put(Frame { number, captured, lasts, reading, picture }) {
                        return Ok(());
                    }
                    number += 1;
                    continue;
                }
                Err(error) => error,
            };
            let lost = match error.fault() {
                Fault::Fatal => return Err(error),
                Fault::Lost => true,
                Fault::Frame => {
                    in_a_row += 1;
                    self.count_corrupt(&error);
                    if self.control.wait(PAUSE) {
                        return Ok(());
                    }
                    self.reopen.is_some() && in_a_row >= CORRUPT_IN_A_ROW
                }
            };
            if lost {
                let Some(back_off) = self.reopen else { return Err(error) };
                // What is left of the old one may hold the device.
                drop(source);
                match self.again(&error, back_off) {
                    Some(opened) => source = opened,
                    None => return Ok(()),
                }
                in_a_row = 0;
            }
        }
        Ok(())
    }

    /// Waits until the frame after the last one is due; true where the pipeline is stopped. Who is
    /// late does not hurry to catch up.
    fn wait_for(&self, due: &mut Option<Instant>, lasts: Duration) -> bool {
        let now = Instant::now();
        let when = due.unwrap_or(now).max(now);
        *due = Some(when + lasts);
        self.control.wait(when - now)
    }

    fn count_corrupt(&self, error: &SourceError) {
        let mut counts = self.control.shared().lock();
        counts.corrupt += 1;
        let corrupt = counts.corrupt;
        drop(counts);
        if corrupt <= CORRUPT_TOLD {
            let last = corrupt == CORRUPT_TOLD;
            (self.tell)(Event::Corrupt { reason: error.to_string(), last_told: last });
        }
    }

    /// Opens the source again, however long it takes; `None` where the pipeline is stopped.
    fn again(&mut self, error: &SourceError, back_off: BackOff) -> Option<Box<dyn Source>> {
        self.control.shared().lock().lost += 1;
        (self.tell)(Event::Lost { reason: error.to_string() });
        let mut pause = back_off.first;
        loop {
            if self.control.wait(pause) {
                return None;
            }
            match (self.open)() {
                Ok(source) => {
                    (self.tell)(Event::Opened { source: source.describe() });
                    return Some(source);
                }
                Err(_) => pause = (pause * 2).min(back_off.most),
            }
        }
    }
}
