//! Sources that do as they are told, outputs that remember, and a small model.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bunjae_camera::source::{Read, Source, SourceError};
use bunjae_camera::{Face, Recogniser, Seen, Setup, Sink, Until};
use bunjae_classify::Classifier;
use bunjae_data::{Annotations, Channels, Colour, Labels, Picture, Preprocess, Scores};
use bunjae_engine::{CompileOptions, Network};
use bunjae_ir::Graph;

/// What a source does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// So many frames of a file.
    Frames(usize),
    /// So many frames of a camera, at this beat.
    Live { count: usize, every: Duration },
    /// So many corrupt frames.
    Corrupt(usize),
    /// The device is gone.
    Lost,
    /// From now on frames have this size.
    Size(usize, usize),
}

/// A source that follows its script, and then ends.
pub(crate) struct Script {
    steps: VecDeque<Step>,
    sides: (usize, usize),
    due: Option<Instant>,
    count: u64,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Script {
        Script { steps: steps.into_iter().collect(), sides: (32, 24), due: None, count: 0 }
    }

    /// What is left of a step comes first again.
    fn rest(&mut self, left: usize, rest: Step) {
        if left > 0 {
            self.steps.push_front(rest);
        }
    }
}

impl Source for Script {
    fn describe(&self) -> String {
        "script".to_owned()
    }

    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
        let Some(step) = self.steps.pop_front() else { return Ok(Read::End) };
        let (width, height) = self.sides;
        let samples = picture.reshape(width, height, Channels::Rgb).unwrap();
        samples.fill(self.count as u8);
        self.count += 1;
        match step {
            Step::Frames(count) => {
                self.rest(count - 1, Step::Frames(count - 1));
                Ok(Read::Paced { lasts: Duration::from_millis(1) })
            }
            Step::Live { count, every } => {
                self.rest(count - 1, Step::Live { count: count - 1, every });
                let due = self.due.unwrap_or_else(Instant::now);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                self.due = Some(due + every);
                Ok(Read::Live { captured: Instant::now() })
            }
            Step::Corrupt(count) => {
                self.rest(count - 1, Step::Corrupt(count - 1));
                Err(SourceError::Corrupt("torn".to_owned()))
            }
            Step::Lost => Err(SourceError::Lost {
                source_name: "script".to_owned(),
                reason: "unplugged".to_owned(),
            }),
            Step::Size(width, height) => {
                self.sides = (width, height);
                self.read(picture)
            }
        }
    }
}

/// What an output saw: the frame's number, its age, its faces, the model's name.
pub(crate) type Shown = (u64, Duration, Vec<Face>, String);

struct Collect {
    name: String,
    frames: Arc<Mutex<Vec<Shown>>>,
}

impl Sink for Collect {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn show(&mut self, seen: &Arc<Seen>) -> Result<(), String> {
        let model = seen.model.as_ref().map(|model| model.name.clone()).unwrap_or_default();
        let shown = (seen.frame.number, seen.age(), seen.faces.clone(), model);
        self.frames.lock().unwrap().push(shown);
        Ok(())
    }
}

/// An output that remembers what it saw.
pub(crate) fn collect(name: &str) -> (Box<dyn Sink>, Arc<Mutex<Vec<Shown>>>) {
    let frames = Arc::new(Mutex::new(Vec::new()));
    (Box::new(Collect { name: name.to_owned(), frames: frames.clone() }), frames)
}

/// A pipeline without detector and models.
pub(crate) fn setup(source: Script, sinks: Vec<Box<dyn Sink>>) -> Setup {
    let mut source = Some(source);
    Setup {
        open: Box::new(move || {
            let source = source.take().ok_or_else(|| SourceError::Lost {
                source_name: "script".to_owned(),
                reason: "opened twice".to_owned(),
            })?;
            Ok(Box::new(source))
        }),
        reopen: None,
        fast: false,
        finder: None,
        models: Vec::new(),
        top: 1,
        sinks,
        until: Until::default(),
        slow: None,
        tell: Arc::new(|_| {}),
    }
}

/// A small classifier of three classes.
pub(crate) fn model(index: usize, name: &str) -> Recogniser {
    let text = format!(
        "graph @net
in   %x: f32[N,3,8,8]
w    @c.w: f32[4,3,3,3] = rand(seed={index})
%1 = conv2d %x, @c.w {{pad=[1,1,1,1]}} : f32[N,4,8,8] ; \"c\"
%2 = relu %1 : f32[N,4,8,8] ; \"relu\"
%3 = global_pool %2 {{kind=mean}} : f32[N,4,1,1] ; \"pool\"
%4 = flatten %3 {{axis=1}} : f32[N,4] ; \"flatten\"
w    @f.w: f32[3,4] = rand(seed=7)
%5 = linear %4, @f.w : f32[N,3] ; \"fc\"
out  %5 ; \"scores\"
"
    );
    let graph = Graph::parse(&text).unwrap();
    let options = CompileOptions { threads: 1, ..CompileOptions::default() };
    let network = Network::compile(&graph, &options).unwrap();
    let labels = ["mask", "none", "wrong"].map(str::to_owned).to_vec();
    let annotations = Annotations {
        preprocess: Some(Preprocess::plain(8, 8, Colour::Rgb)),
        labels: Some(Labels::new(labels).unwrap()),
        scores: Some(Scores::Logits),
    };
    let make = move |batch| {
        let model = network.model(batch).map_err(|error| error.to_string())?;
        Classifier::new(model, annotations.clone(), 1).map_err(|error| error.to_string())
    };
    Recogniser::new(index, name.to_owned(), None, Box::new(make)).unwrap()
}

/// A picture without structure.
pub(crate) fn noise(width: usize, height: usize) -> Picture {
    let samples = (0..width * height * 3).map(|i| (i * i * 31 / 7) as u8).collect();
    Picture::new(width, height, Channels::Rgb, samples).unwrap()
}
