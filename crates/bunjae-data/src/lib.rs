//! Pictures for training and measuring: where they lie, how they are decoded, split, augmented and
//! brought into batches, and a generator of pictures for whoever has none.
//!
//! Owns the layouts of data sets, the decoders and encoders of picture files and GIF animations,
//! the one rule by which a picture
//! becomes a network's input ([`Preprocess`]), what a model's metadata say about its pictures and
//! classes ([`Annotations`]), splits, augmentation, samplers, synthetic pictures
//! ([`munge`]), the loader with its worker threads and cache, the report on a data set, and the generator of phase-resolved pulse
//! sequences.
//!
//! Everything random is drawn for (seed, epoch, picture), so that a batch is the same whatever the
//! number of threads; everything between the file and the batch is done in integers, or in single
//! operations of IEEE arithmetic in a stated order, so that it is the same on every processor.
//!
//! Never here: networks, losses, metrics; printing; the camera.
#![forbid(unsafe_code)]

pub mod animation;
pub mod augment;
mod dataset;
pub mod decode;
pub mod encode;
mod error;
pub mod generate;
pub mod inspect;
mod labels;
pub mod layout;
pub mod loader;
pub mod munge;
mod parallel;
mod picture;
pub mod pictures;
mod preprocess;
mod resize;
pub mod sampler;
pub mod split;

pub use dataset::{ContentHash, Dataset, Item, Records, Skipped, Source, Split};
pub use error::{DataError, LineProblem};
pub use labels::{Annotations, Labels, Scores};
pub use picture::{Channels, Picture, Region};
pub use preprocess::{Colour, Fit, Layout, Preprocess};
pub use resize::{Filter, resize};
