//! From a camera to labelled pictures, the newest frame first.
//!
//! Owns the sources of frames ([`source`]), the threads that read, detect, classify and show, with
//! the slots between them ([`flow`]), the drawing of boxes, the files and the page in the browser
//! where frames go, and what is measured on the way ([`Summary`]).
//!
//! A frame goes from thread to thread through a [`Slot`] that holds one: a newer frame replaces one
//! that nobody has taken yet. So the picture that is shown is never older than what each stage takes
//! for one frame, however slow a stage is, and memory does not grow. Files can be worked through
//! frame by frame instead.
//!
//! Never here: how faces are found (a [`Finder`] is given), models and their files (a
//! [`Recogniser`] is given what makes classifiers), how a picture becomes an input, printing.
#![forbid(unsafe_code)]

mod capture;
mod control;
pub mod flow;
mod frame;
mod overlay;
mod page;
mod recognise;
mod save;
mod sink;
mod slot;
pub mod source;
mod stats;
mod summary;

pub use capture::{BackOff, Open};
pub use control::{Control, Dropped, Live};
pub use flow::{Event, FlowError, Setup, Slow, Tell, Until, run};
pub use frame::{Detected, Face, Finder, Found, Frame, ModelName, Pool, Pooled, Seen, Times};
pub use overlay::{COLOURS, draw};
pub use page::{Page, PageError};
pub use recognise::{Answer, LARGEST_BATCH, Make, Recogniser};
pub use save::{SaveAs, SaveError, Saver, Saving};
pub use sink::Sink;
pub use slot::{Keep, Slot};
pub use stats::{Stage, Timing, Timings};
pub use summary::{ModelSummary, OutputSummary, StageSummary, Summary};
