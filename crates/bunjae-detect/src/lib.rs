//! From a picture to boxes: where the faces are, and which of them is which from frame to frame.
//!
//! Owns the [`Detector`]s with their settings, what they find ([`Detection`], in pixels of the
//! picture they were given), the suppression of boxes that mean the same thing ([`suppress`]), and
//! the [`Tracker`] that carries boxes over the pictures between two detections.
//!
//! Never here: files of models (a compiled network is given), decoding of pictures, what a face is
//! called or wears (`bunjae-classify`), cameras, drawing, printing.
#![forbid(unsafe_code)]

pub mod cascade;
mod detection;
mod network;
mod suppress;
mod track;
pub mod truth;
mod whole;
mod xml;

pub use cascade::{Cascade, CascadeDetector, CascadeError, CascadeSettings};
pub use detection::{DetectError, Detection, Detector, Point, Rect, crop};
pub use network::{NetworkDetector, NetworkError, NetworkSettings, Raw};
pub use suppress::{Among, suppress};
pub use track::{Motion, Track, TrackSettings, Tracker, TrackingDetector};
pub use whole::WholeFrame;
