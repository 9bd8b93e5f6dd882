//! What a pipeline did, in figures.

use std::sync::Arc;

use serde::Serialize;

use crate::control::{Control, Dropped};
use crate::frame::ModelName;
use crate::stats::{OfModel, Stage, Timing, Timings};

/// What an output did.
#[derive(Debug, Default)]
pub(crate) struct OfOutput {
    pub(crate) name: String,
    pub(crate) age: Timings,
    pub(crate) work: Timings,
    pub(crate) failure: Option<String>,
    pub(crate) left: Option<String>,
}

/// What a stage took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageSummary {
    /// Which one.
    pub stage: Stage,
    /// Its times.
    #[serde(flatten)]
    pub timing: Timing,
}

/// What an output did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputSummary {
    /// Which one.
    pub output: String,
    /// From the capture of a frame to when it was shown.
    pub age: Option<Timing>,
    /// What showing it took.
    pub work: Option<Timing>,
    /// What it left behind, such as a file.
    pub left: Option<String>,
    /// Why it ended early.
    pub failure: Option<String>,
}

/// What a model did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSummary {
    /// Its name.
    pub model: String,
    /// Frames while it was asked.
    pub frames: u64,
    /// Faces on them.
    pub faces: u64,
    /// How many frames were labelled in a second, while it was asked.
    pub frames_per_second: Option<f64>,
    /// Runs of the model, each over all faces of a frame.
    pub infer: Option<Timing>,
    /// Making inputs of the faces.
    pub prepare: Option<Timing>,
}

/// What a pipeline did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The source, as it describes itself.
    pub source: String,
    /// From the start to the last labelled frame.
    pub seconds: f64,
    /// Frames that came from the source.
    pub frames_read: u64,
    /// Frames that could not be decoded.
    pub frames_corrupt: u64,
    /// Frames that went through all stages.
    pub frames_labelled: u64,
    /// Faces on them.
    pub faces: u64,
    /// Labelled frames per second.
    pub frames_per_second: f64,
    /// How often the source was lost.
    pub source_lost: u64,
    /// Frames that were replaced by newer ones, by the stage that did not get them.
    pub dropped: Vec<Dropped>,
    /// What the stages took.
    pub stages: Vec<StageSummary>,
    /// What the outputs did.
    pub outputs: Vec<OutputSummary>,
    /// What the models did.
    pub models: Vec<ModelSummary>,
}

pub(crate) fn summary(
    source: String,
    names: &[Arc<ModelName>],
    outputs: Vec<OfOutput>,
    control: &Control,
) -> Summary {
    let dropped = control.dropped();
    let counts = control.shared().lock();
    let span = counts.started.zip(counts.ended).map(|(start, end)| end - start);
    let seconds = span.unwrap_or_default().as_secs_f64();
    let stages = Stage::ALL.into_iter().zip(&counts.stages);
    let output = |of: OfOutput| OutputSummary {
        output: of.name,
        age: of.age.summary(),
        work: of.work.summary(),
        left: of.left,
        failure: of.failure,
    };
    let model = |(name, of): (&Arc<ModelName>, &OfModel)| ModelSummary {
        model: name.name.clone(),
        frames: of.frames,
        faces: of.faces,
        frames_per_second: (of.frames > 1 && !of.shown_in.is_zero())
            .then(|| (of.frames - 1) as f64 / of.shown_in.as_secs_f64()),
        infer: of.infer.summary(),
        prepare: of.prepare.summary(),
    };
    Summary {
        source,
        seconds,
        frames_read: counts.captured,
        frames_corrupt: counts.corrupt,
        frames_labelled: counts.labelled,
        faces: counts.faces,
        frames_per_second: if seconds > 0.0 { counts.labelled as f64 / seconds } else { 0.0 },
        source_lost: counts.lost,
        dropped,
        stages: stages
            .filter_map(|(stage, timings)| {
                timings.summary().map(|timing| StageSummary { stage, timing })
            })
            .collect(),
        outputs: outputs.into_iter().map(output).collect(),
        models: names.iter().zip(&counts.models).map(model).collect(),
    }
}
