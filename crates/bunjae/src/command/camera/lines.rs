//! One line of JSON for each frame.

use std::sync::Arc;

use bunjae_camera::{Control, Face, Seen, Sink};
use bunjae_data::Region;
use serde::Serialize;

use crate::output::{Output, SCHEMA_VERSION};

/// Prints frames.
pub(super) struct Lines {
    output: Output,
    control: Control,
    /// Nobody reads any more.
    over: bool,
}

impl Lines {
    pub(super) fn new(output: Output, control: Control) -> Lines {
        Lines { output, control, over: false }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    command: &'static str,
    event: &'static str,
    frame: u64,
    width: usize,
    height: usize,
    /// From the capture of the frame to this line.
    age_ms: f64,
    model: Option<&'a str>,
    faces: Vec<OfFace>,
    times_ms: Times,
}

#[derive(Serialize)]
struct OfFace {
    #[serde(rename = "box")]
    area: Area,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track: Option<u64>,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    label: Option<String>,
    probability: f32,
}

#[derive(Serialize)]
struct Times {
    read: f64,
    detect: f64,
    prepare: f64,
    infer: f64,
}

fn of_face(face: &Face, seen: &Seen) -> OfFace {
    let Region { left, top, width, height } = face.found.area;
    let labels = seen.model.as_ref().and_then(|model| model.labels.as_ref());
    let class = |guess: &bunjae_classify::Guess| Class {
        class: guess.class,
        label: labels.and_then(|labels| labels.names().get(guess.class).cloned()),
        probability: guess.probability,
    };
    OfFace {
        area: Area { left, top, width, height },
        score: face.found.score,
        track: face.found.track,
        classes: face.guesses.iter().map(class).collect(),
    }
}

impl Sink for Lines {
    fn name(&self) -> String {
        "lines".to_owned()
    }

    fn show(&mut self, seen: &Arc<Seen>) -> Result<(), String> {
        if self.over {
            return Ok(());
        }
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let times = &seen.times;
        let line = serde_json::to_string(&Line {
            schema_version: SCHEMA_VERSION,
            command: "camera",
            event: "frame",
            frame: seen.frame.number,
            width: seen.frame.picture.width(),
            height: seen.frame.picture.height(),
            age_ms: ms(seen.age()),
            model: seen.model.as_ref().map(|model| model.name.as_str()),
            faces: seen.faces.iter().map(|face| of_face(face, seen)).collect(),
            times_ms: Times {
                read: ms(times.read),
                detect: ms(times.detect),
                prepare: ms(times.prepare),
                infer: ms(times.infer),
            },
        });
        let line = line.map_err(|error| error.to_string())? + "\n";
        // Whoever reads has seen enough, as in `bunjae camera --format json | head`.
        if !self.output.stream(&line).map_err(|failure| failure.what)? {
            self.over = true;
            self.control.stop();
        }
        Ok(())
    }
}
