//! What is sent to browsers.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use bunjae_data::Picture;
use bunjae_data::encode::jpeg;
use serde::Serialize;

use crate::control::{Control, Live};
use crate::frame::{ModelName, Seen};
use crate::overlay::COLOURS;
use crate::stats::Stage;

/// A packet that nobody has asked for so long is not shown to who comes later.
const FRESH: Duration = Duration::from_secs(2);

/// A frame for browsers: the length of a JSON text as four bytes, the smallest first, the text, and
/// a JPEG picture.
pub(super) struct Packet {
    pub(super) number: i64,
    pub(super) bytes: Bytes,
    captured: Instant,
    made: Instant,
}

#[derive(Serialize)]
struct Text<'a> {
    frame: u64,
    width: usize,
    height: usize,
    model: Option<usize>,
    faces: Vec<OfFace>,
    /// Milliseconds, in the order of the stages.
    times_ms: [f64; 4],
    live: &'a Live,
}

#[derive(Serialize)]
struct OfFace {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    score: Option<f32>,
    track: Option<u64>,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    name: String,
    probability: f32,
}

impl Packet {
    pub(super) fn new(seen: &Seen, live: &Live, quality: u8) -> io::Result<Packet> {
        let class = |guess: &bunjae_classify::Guess| Class {
            class: guess.class,
            name: seen.model.as_ref().map(|model| model.class(guess.class)).unwrap_or_default(),
            probability: guess.probability,
        };
        let faces = seen.faces.iter().map(|face| OfFace {
            left: face.found.area.left,
            top: face.found.area.top,
            width: face.found.area.width,
            height: face.found.area.height,
            score: face.found.score,
            track: face.found.track,
            classes: face.guesses.iter().map(class).collect(),
        });
        let times = &seen.times;
        let times = [times.read, times.detect, times.prepare, times.infer];
        let text = Text {
            frame: seen.frame.number,
            width: seen.frame.picture.width(),
            height: seen.frame.picture.height(),
            model: seen.model.as_ref().map(|model| model.index),
            faces: faces.collect(),
            times_ms: times.map(|time| time.as_secs_f64() * 1e3),
            live,
        };
        let text = serde_json::to_vec(&text)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(text);
        jpeg(&seen.frame.picture, quality, &mut bytes)?;
        Ok(Packet {
            number: i64::try_from(seen.frame.number).unwrap_or(i64::MAX),
            bytes: Bytes::from(bytes),
            captured: seen.frame.captured,
            made: Instant::now(),
        })
    }

    /// How long ago the camera took the frame.
    pub(super) fn age(&self) -> Duration {
        self.captured.elapsed()
    }

    /// Whether it is still worth being shown.
    pub(super) fn is_fresh(&self) -> bool {
        self.made.elapsed() < FRESH
    }
}

/// A part of a motion JPEG stream.
pub(super) fn part(picture: &Picture, quality: u8, boundary: &str) -> io::Result<Bytes> {
    let mut image = Vec::new();
    jpeg(picture, quality, &mut image)?;
    let length = image.len();
    let head =
        format!("--{boundary}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend(image);
    bytes.extend(b"\r\n");
    Ok(Bytes::from(bytes))
}

/// What does not change from frame to frame.
pub(super) struct Described {
    models: Vec<Arc<ModelName>>,
}

#[derive(Serialize)]
struct About<'a> {
    models: Vec<Model<'a>>,
    model: usize,
    stages: [&'static str; 4],
    colours: [String; COLOURS.len()],
}

#[derive(Serialize)]
struct Model<'a> {
    index: usize,
    name: &'a str,
}

impl Described {
    pub(super) fn new(models: &[Arc<ModelName>]) -> Described {
        Described { models: models.to_vec() }
    }

    pub(super) fn json(&self, control: &Control) -> String {
        let models = self.models.iter();
        let about = About {
            models: models.map(|model| Model { index: model.index, name: &model.name }).collect(),
            model: control.model(),
            stages: Stage::ALL.map(Stage::name),
            colours: COLOURS.map(|[red, green, blue]| format!("#{red:02x}{green:02x}{blue:02x}")),
        };
        // Strings and numbers always have a text.
        serde_json::to_string(&about).unwrap_or_default()
    }
}
