//! What goes through the pipeline: frames in buffers that are used again, and what was found on them.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bunjae_classify::Guess;
use bunjae_data::{Channels, Labels, Picture, Region};

/// More spare buffers than stages that can hold one are of no use.
const SPARE: usize = 8;

/// Buffers for pictures. One that is dropped comes back and serves the next frame, so that a
/// pipeline that runs takes no memory.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Vec<Picture>>>);

/// A picture in a buffer of a [`Pool`].
#[derive(Debug)]
pub struct Pooled {
    picture: Picture,
    home: Weak<Mutex<Vec<Picture>>>,
}

impl Pool {
    /// A buffer that holds some older picture.
    pub fn take(&self) -> Pooled {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let picture = spare.unwrap_or_else(nothing);
        Pooled { picture, home: Arc::downgrade(&self.0) }
    }

    /// Buffers that wait to be used.
    pub fn spare(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn nothing() -> Picture {
    Picture::filled(1, 1, Channels::Grey, [0; 3])
}

impl Pooled {
    /// The picture, to be written.
    pub fn picture_mut(&mut self) -> &mut Picture {
        &mut self.picture
    }
}

impl Deref for Pooled {
    type Target = Picture;

    fn deref(&self) -> &Picture {
        &self.picture
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let picture = std::mem::replace(&mut self.picture, nothing());
        let mut spare = home.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(picture);
        }
    }
}

/// A frame as it came from the source.
#[derive(Debug)]
pub struct Frame {
    /// Its number, from 0; numbers of frames that could not be read are left out.
    pub number: u64,
    /// When the camera took it, or when it was due.
    pub captured: Instant,
    /// How long it is shown in the file it comes from, where it comes from one.
    pub lasts: Option<Duration>,
    /// How long it took to read, decode and convert.
    pub reading: Duration,
    /// RGB.
    pub picture: Pooled,
}

/// Where a face is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The box that is shown, within the picture.
    pub area: Region,
    /// What the model sees: the box, and as much around it as was asked for.
    pub crop: Region,
    /// How sure the detector is; `None` where the whole frame is meant.
    pub score: Option<f32>,
    /// The same for the same face on every frame, where faces are followed.
    pub track: Option<u64>,
}

impl Found {
    /// The whole frame.
    pub fn whole(picture: &Picture) -> Found {
        let area = picture.region();
        Found { area, crop: area, score: None, track: None }
    }
}

/// Finds faces; implemented by whoever brings a detector.
pub trait Finder: Send {
    /// Its name in a few words, for people.
    fn name(&self) -> String;

    /// The faces on the next frame.
    ///
    /// # Errors
    /// Why it cannot go on, for people.
    fn find(&mut self, picture: &Picture) -> Result<Vec<Found>, String>;
}

/// A frame with the faces on it.
#[derive(Debug)]
pub struct Detected {
    /// The frame.
    pub frame: Frame,
    /// The faces, in the order of the detector.
    pub found: Vec<Found>,
    /// How long the detector took.
    pub detecting: Duration,
}

/// A face, and what the model says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// Where it is.
    pub found: Found,
    /// The likeliest classes, the likeliest first; none without a model.
    pub guesses: Vec<Guess>,
}

/// What the pages and files say about a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelName {
    /// Its place among the models that were loaded.
    pub index: usize,
    /// What it is called.
    pub name: String,
    /// The names of its classes.
    pub labels: Option<Labels>,
}

impl ModelName {
    /// The name of a class.
    pub fn class(&self, class: usize) -> String {
        let label = self.labels.as_ref().and_then(|labels| labels.names().get(class));
        label.cloned().unwrap_or_else(|| format!("class {class}"))
    }
}

/// How long each stage took for one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Reading, decoding and converting.
    pub read: Duration,
    /// Finding faces.
    pub detect: Duration,
    /// Making inputs of the faces.
    pub prepare: Duration,
    /// Running the model.
    pub infer: Duration,
}

/// A frame on its way to whoever shows it.
#[derive(Debug)]
pub struct Seen {
    /// The frame.
    pub frame: Frame,
    /// The faces.
    pub faces: Vec<Face>,
    /// The model that was asked.
    pub model: Option<Arc<ModelName>>,
    /// What the stages took.
    pub times: Times,
}

impl Seen {
    /// How long ago the camera took it.
    pub fn age(&self) -> Duration {
        self.frame.captured.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_dropped_serves_the_next_frame() {
        let pool = Pool::default();
        let mut first = pool.take();
        first.picture_mut().reshape(64, 64, Channels::Rgb).unwrap();
        let place = first.samples().as_ptr();
        drop(first);
        assert_eq!(pool.spare(), 1);
        assert_eq!(pool.take().samples().as_ptr(), place);
    }

    #[test]
    fn spare_buffers_do_not_pile_up_and_outlive_the_pool() {
        let pool = Pool::default();
        let all: Vec<Pooled> = (0..50).map(|_| pool.take()).collect();
        drop(all);
        assert_eq!(pool.spare(), SPARE);
        let late = pool.take();
        drop(pool);
        drop(late);
    }
}
