//! The pipeline: threads that are joined by slots.
//!
//! ```text
//! read -> [slot] -> detect -> [slot] -> classify -+-> [slot] -> show, save, ...
//!                                                 +-> [slot] -> ...
//! ```
//!
//! Each stage takes the newest frame there is. How old a frame is when it is shown is bounded by what
//! the stages take for one frame each, however slow one of them is: nothing ever queues.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::capture::{BackOff, Capture, Open};
use crate::control::Control;
use crate::frame::{Detected, Face, Finder, Found, Frame, Seen, Times};
use crate::recognise::Recogniser;
use crate::sink::Sink;
use crate::slot::{Keep, Slot};
use crate::source::SourceError;
use crate::stats::{OfModel, Stage, Timings};
use crate::summary::{OfOutput, Summary, summary};

/// How long a thread that reads may take to notice the end before it is left behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happens on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The source was opened, the first time or again.
    Opened {
        /// What it is.
        source: String,
    },
    /// The source is gone; it is opened again as soon as it can be.
    Lost {
        /// What happened.
        reason: String,
    },
    /// A frame that was left out.
    Corrupt {
        /// What is wrong with it.
        reason: String,
        /// Whether later ones are only counted.
        last_told: bool,
    },
    /// An output that takes no more; the others go on.
    OutputFailed {
        /// Which one.
        output: String,
        /// Why.
        reason: String,
    },
}

/// Hears of events, from any thread.
pub type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// When the pipeline ends by itself, beside the end of its source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Until {
    /// After so many labelled frames.
    pub frames: Option<u64>,
    /// After so long.
    pub time: Option<Duration>,
    /// After so many frames with faces for each model, one model after the other.
    pub runs_per_model: Option<u64>,
}

/// A stage that is made slower, to see that nothing else suffers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// Which one; [`Stage::Prepare`] counts as [`Stage::Infer`], whose thread it shares.
    pub stage: Stage,
    /// For how long it sleeps after each frame.
    pub time: Duration,
}

/// Everything that a pipeline is made of.
pub struct Setup {
    /// Opens the source.
    pub open: Open,
    /// Whether a source that is lost is opened again.
    pub reopen: Option<BackOff>,
    /// Plays files as fast as they can be worked through, and drops no frame.
    pub fast: bool,
    /// Finds faces; without one, the whole frame counts as a face.
    pub finder: Option<Box<dyn Finder>>,
    /// The models.
    pub models: Vec<Recogniser>,
    /// How many classes are named for each face.
    pub top: usize,
    /// Where labelled frames go. When all that there were have failed, the pipeline ends.
    pub sinks: Vec<Box<dyn Sink>>,
    /// When it ends.
    pub until: Until,
    /// A stage that is made slower.
    pub slow: Option<Slow>,
    /// Hears what happens.
    pub tell: Tell,
}

/// Why a pipeline ended before it should.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FlowError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The detector.
    #[error("the detector `{name}`: {reason}")]
    Detector {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A model.
    #[error("the model `{name}`: {reason}")]
    Model {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The last output that there was.
    #[error("{output}: {reason}")]
    Output {
        /// Its name.
        output: String,
        /// Why.
        reason: String,
    },
    /// Not a single frame could be used.
    #[error("{name}: none of {corrupt} frames can be decoded")]
    NothingGood {
        /// The source, as it describes itself.
        name: String,
        /// Frames that could not be decoded.
        corrupt: u64,
    },
    /// A defect in the pipeline itself.
    #[error("the thread `{0}` panicked")]
    Panicked(&'static str),
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

/// The first error there was.
#[derive(Clone, Default)]
struct First(Arc<Mutex<Option<FlowError>>>);

impl First {
    fn set(&self, error: FlowError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn get(&self) -> Option<FlowError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Closes a slot when its thread ends, however it ends.
struct Writes<T>(Arc<Slot<T>>);

impl<T> Drop for Writes<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Leaves a slot when its thread ends, however it ends.
struct Reads<T>(Arc<Slot<T>>);

impl<T> Drop for Reads<T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

type Output = (Arc<Slot<Arc<Seen>>>, JoinHandle<OfOutput>);

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, FlowError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| FlowError::Thread(error.to_string()))
}

/// Runs a pipeline to its end. It can be stopped through `control`, from any thread.
///
/// Outputs are finished in any case. The summary is there in any case as well, with the error that
/// ended it, if one did.
pub fn run(setup: Setup, control: &Control) -> (Summary, Option<FlowError>) {
    let first = First::default();
    let mut outputs = Vec::new();
    let described = Arc::new(Mutex::new(String::new()));
    let models: Vec<_> = setup.models.iter().map(|model| model.name().clone()).collect();
    if let Err(error) = drive(setup, control, &first, &described, &mut outputs) {
        first.set(error);
        control.stop();
    }
    let outputs: Vec<OfOutput> = outputs
        .into_iter()
        .map(|(slot, thread): Output| {
            slot.close();
            thread.join().unwrap_or_else(|_| {
                first.set(FlowError::Panicked("output"));
                OfOutput::default()
            })
        })
        .collect();
    let source = described.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let summary = summary(source, &models, outputs, control);
    let failures = summary.outputs.iter().filter_map(|output| {
        let reason = output.failure.clone()?;
        Some(FlowError::Output { output: output.output.clone(), reason })
    });
    let failures: Vec<FlowError> = failures.collect();
    if !failures.is_empty() && failures.len() == summary.outputs.len() {
        failures.into_iter().for_each(|failure| first.set(failure));
    }
    let error = first.get().or_else(|| {
        let (good, corrupt) = (summary.frames_read, summary.frames_corrupt);
        let name = summary.source.clone();
        (good == 0 && corrupt > 0).then_some(FlowError::NothingGood { name, corrupt })
    });
    (summary, error)
}

/// Starts all threads, and waits for all but the outputs.
fn drive(
    setup: Setup,
    control: &Control,
    first: &First,
    described: &Arc<Mutex<String>>,
    outputs: &mut Vec<Output>,
) -> Result<(), FlowError> {
    let Setup { open, reopen, fast, finder, models, top, sinks, until, slow, tell } = setup;
    let keep = if fast { Keep::Every } else { Keep::Newest };
    let delay = |stages: &[Stage]| match slow {
        Some(slow) if stages.contains(&slow.stage) => slow.time,
        _ => Duration::ZERO,
    };
    control.set_models(models.len());
    {
        let mut counts = control.shared().lock();
        counts.models = models.iter().map(|_| OfModel::default()).collect();
        counts.started = Some(Instant::now());
    }
    let frames: Arc<Slot<Frame>> = Arc::new(Slot::new(keep));
    let detected: Arc<Slot<Detected>> = Arc::new(Slot::new(keep));
    control.watch("detect".to_owned(), &frames);
    control.watch("classify".to_owned(), &detected);
    for sink in sinks {
        let slot = Arc::new(Slot::new(keep));
        control.watch(sink.name(), &slot);
        let (tell, reads) = (tell.clone(), Reads(slot.clone()));
        outputs.push((slot, spawn("output", move || show(sink, &reads, &tell))?));
    }
    let classify = Classify {
        models,
        top,
        until,
        slow: delay(&[Stage::Prepare, Stage::Infer]),
        control: control.clone(),
        first: first.clone(),
        input: Reads(detected.clone()),
        outputs: outputs.iter().map(|(slot, _)| Some(slot.clone())).collect(),
    };
    let classify = spawn("classify", move || classify.run())?;
    let detect = Detect {
        finder,
        slow: delay(&[Stage::Detect]),
        control: control.clone(),
        first: first.clone(),
        input: Reads(frames.clone()),
        output: Writes(detected),
    };
    let detect = spawn("detect", move || detect.run())?;
    let described = described.clone();
    let told = tell.clone();
    let tell: Tell = Arc::new(move |event| {
        if let Event::Opened { source } = &event {
            described.lock().unwrap_or_else(PoisonError::into_inner).clone_from(source);
        }
        told(event);
    });
    let capture = Capture {
        open,
        reopen,
        fast,
        slow: delay(&[Stage::Read]),
        control: control.clone(),
        tell,
        output: frames.clone(),
    };
    let (writes, failed) = (Writes(frames.clone()), first.clone());
    let capture = spawn("capture", move || {
        let _writes = writes;
        if let Err(error) = capture.run() {
            failed.set(error.into());
        }
    })?;
    // The stages end one after the other once there are no more frames.
    let deadline = until.time.map(|time| Instant::now() + time);
    while !classify.is_finished() {
        let left = deadline.map_or(PATIENCE, |at| at.saturating_duration_since(Instant::now()));
        if left.is_zero() || control.wait(left.min(Duration::from_millis(20))) {
            break;
        }
    }
    control.stop();
    frames.close();
    for (name, thread) in [("detect", detect), ("classify", classify)] {
        if thread.join().is_err() {
            first.set(FlowError::Panicked(name));
        }
    }
    // A thread that waits for a device or a pipe notices only when something comes.
    let left_behind = Instant::now() + PATIENCE;
    while !capture.is_finished() && Instant::now() < left_behind {
        thread::sleep(Duration::from_millis(2));
    }
    if capture.is_finished() && capture.join().is_err() {
        first.set(FlowError::Panicked("capture"));
    }
    Ok(())
}

struct Detect {
    finder: Option<Box<dyn Finder>>,
    slow: Duration,
    control: Control,
    first: First,
    input: Reads<Frame>,
    output: Writes<Detected>,
}

impl Detect {
    fn run(mut self) {
        while let Some(frame) = self.input.0.take() {
            let begun = Instant::now();
            let found = match &mut self.finder {
                None => Ok(vec![Found::whole(&frame.picture)]),
                Some(finder) => finder.find(&frame.picture),
            };
            let found = match (found, &self.finder) {
                (Ok(found), _) => found,
                (Err(reason), finder) => {
                    let name = finder.as_ref().map(|finder| finder.name()).unwrap_or_default();
                    self.first.set(FlowError::Detector { name, reason });
                    return;
                }
            };
            pause(&self.control, self.slow);
            let detecting = begun.elapsed();
            self.control.shared().lock().stages[Stage::Detect as usize].add(detecting);
            if !self.output.0.put(Detected { frame, found, detecting }) {
                return;
            }
        }
    }
}

/// Sleeps on purpose.
fn pause(control: &Control, time: Duration) {
    if !time.is_zero() {
        control.wait(time);
    }
}

struct Classify {
    models: Vec<Recogniser>,
    top: usize,
    until: Until,
    slow: Duration,
    control: Control,
    first: First,
    input: Reads<Detected>,
    outputs: Vec<Option<Arc<Slot<Arc<Seen>>>>>,
}

impl Classify {
    fn run(mut self) {
        let (mut frames, mut runs) = (0, 0);
        let had_outputs = !self.outputs.is_empty();
        let mut before = Instant::now();
        while let Some(detected) = self.input.0.take() {
            let index = self.control.model();
            let Some(seen) = self.label(detected, index) else { return };
            let with_faces = !seen.faces.is_empty();
            self.count(&seen, index, before.elapsed());
            before = Instant::now();
            let seen = Arc::new(seen);
            for output in &mut self.outputs {
                if output.as_ref().is_some_and(|slot| !slot.put(seen.clone())) {
                    *output = None;
                }
            }
            if had_outputs && self.outputs.iter().all(Option::is_none) {
                return;
            }
            frames += 1;
            if self.until.frames.is_some_and(|most| frames >= most) {
                return;
            }
            if let Some(wanted) = self.until.runs_per_model {
                runs += u64::from(with_faces);
                if runs >= wanted {
                    runs = 0;
                    if !self.control.select(index + 1) {
                        return;
                    }
                }
            }
        }
    }

    /// Asks the model; `None` where it fails.
    fn label(&mut self, detected: Detected, index: usize) -> Option<Seen> {
        let Detected { frame, found, detecting } = detected;
        let mut times = Times { read: frame.reading, detect: detecting, ..Times::default() };
        let mut model = None;
        let mut guesses = Vec::new();
        if let Some(recogniser) = self.models.get_mut(index) {
            model = Some(recogniser.name().clone());
            let regions: Vec<_> = found.iter().map(|found| found.crop).collect();
            match recogniser.recognise(&frame.picture, &regions, self.top) {
                Ok(answer) => {
                    guesses = answer.guesses;
                    (times.prepare, times.infer) = (answer.spent.prepare, answer.spent.run);
                }
                Err(reason) => {
                    let name = recogniser.name().name.clone();
                    self.first.set(FlowError::Model { name, reason });
                    return None;
                }
            }
        }
        pause(&self.control, self.slow);
        let mut guesses = guesses.into_iter();
        let face = |found| Face { found, guesses: guesses.next().unwrap_or_default() };
        let faces = found.into_iter().map(face).collect();
        Some(Seen { frame, faces, model, times })
    }

    fn count(&self, seen: &Seen, index: usize, since_last: Duration) {
        let (now, faces) = (Instant::now(), seen.faces.len() as u64);
        let mut counts = self.control.shared().lock();
        counts.labelled += 1;
        counts.faces += faces;
        counts.rate.tick(now);
        counts.ended = Some(now);
        let times = [(Stage::Prepare, seen.times.prepare), (Stage::Infer, seen.times.infer)];
        if seen.model.is_some() && faces > 0 {
            for (stage, time) in times {
                counts.stages[stage as usize].add(time);
            }
        }
        if let Some(model) = counts.models.get_mut(index) {
            model.frames += 1;
            model.faces += faces;
            // The first frame waited for everything to start.
            if model.frames > 1 {
                model.shown_in += since_last;
            }
            if faces > 0 {
                model.prepare.add(seen.times.prepare);
                model.infer.add(seen.times.infer);
            }
        }
    }
}

/// The thread of an output.
fn show(mut sink: Box<dyn Sink>, input: &Reads<Arc<Seen>>, tell: &Tell) -> OfOutput {
    let (mut age, mut work) = (Timings::default(), Timings::default());
    let mut failure = None;
    while let Some(seen) = input.0.take() {
        let begun = Instant::now();
        if let Err(reason) = sink.show(&seen) {
            failure = Some(reason);
            break;
        }
        work.add(begun.elapsed());
        age.add(seen.age());
    }
    // Who writes must not wait for what nobody takes.
    input.0.abandon();
    let left = match sink.finish() {
        Ok(left) => left,
        Err(reason) => {
            failure.get_or_insert(reason);
            None
        }
    };
    if let Some(reason) = &failure {
        tell(Event::OutputFailed { output: sink.name(), reason: reason.clone() });
    }
    OfOutput { name: sink.name(), age, work, failure, left }
}
