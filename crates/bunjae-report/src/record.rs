//! The records: plain data with names that a reader of the JSON understands.
//!
//! The comments here are the descriptions of `docs/reference/report.schema.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the form. It is raised whenever a field changes its name or meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// What was run, with which data, seeds and commands, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// The version of this form, raised whenever a field changes its name or meaning.
    pub schema_version: u32,
    /// What the report is about, in a line.
    pub title: String,
    /// Where it was measured.
    pub environment: Environment,
    /// The data that was learnt from or scored on.
    pub data: Vec<DataSet>,
    /// What was run, in the order in which it ran.
    pub steps: Vec<Step>,
    /// How runs were timed; null where none was.
    pub protocol: Option<Protocol>,
    /// The models; the first is the base that the others are held against.
    pub models: Vec<Model>,
}

impl Report {
    /// A report in this form about nothing yet.
    pub fn new(title: impl Into<String>) -> Report {
        Report {
            schema_version: SCHEMA_VERSION,
            title: title.into(),
            environment: Environment::default(),
            data: Vec::new(),
            steps: Vec::new(),
            protocol: None,
            models: Vec::new(),
        }
    }
}

/// The machine and the programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Environment {
    /// The processor's name; null where the system does not tell.
    pub processor: Option<String>,
    /// How many threads the machine runs at a time.
    pub cores: Option<u64>,
    /// The memory of the machine in bytes.
    pub memory_bytes: Option<u64>,
    /// The system and the kind of processor, such as `linux x86_64`.
    pub system: Option<String>,
    /// The instruction sets that the engine can use here.
    pub features: Vec<String>,
    /// The one that it used.
    pub isa: Option<String>,
    /// The numbers of threads that runs were timed with.
    pub threads: Vec<u64>,
    /// The versions of the programs by their names.
    pub versions: BTreeMap<String, String>,
}

/// A set of labelled pictures, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DataSet {
    /// What it was for, such as `training` or `evaluation`.
    pub role: String,
    /// Where it lies.
    pub path: String,
    /// Which part: `train`, `val`, `test`, or `all`.
    pub split: Option<String>,
    /// The classes, in the order of their numbers.
    pub classes: Vec<String>,
    /// The number of pictures.
    pub pictures: Option<u64>,
    /// The SHA-256 of what is in it, in hexadecimal.
    pub sha256: Option<String>,
}

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Step {
    /// The name of the step.
    pub name: String,
    /// The command, as one could type it.
    pub command: String,
    /// The seed of everything random in it.
    pub seed: Option<u64>,
    /// Whether its result was there from before, and it did not run again.
    pub cached: bool,
    /// How long it took, where it ran.
    pub seconds: Option<f64>,
}

/// How runs were timed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Protocol {
    /// Runs that do not count, before the first that does.
    pub warmup: u64,
    /// At least so many runs of each model.
    pub runs: u64,
    /// And at least so many seconds of each.
    pub seconds: f64,
    /// The seed of the input.
    pub seed: u64,
}

/// One row of the comparison: a model, made and measured once or with several seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Model {
    /// What it is called in the report.
    pub name: String,
    /// How it was made, in a line.
    pub description: Option<String>,
    /// One for each seed.
    pub runs: Vec<Run>,
}

impl Model {
    /// A model without a description.
    pub fn new(name: impl Into<String>, runs: Vec<Run>) -> Model {
        Model { name: name.into(), description: None, runs }
    }
}

/// One model file, and everything that was found out about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Run {
    /// The seed that it was made with.
    pub seed: Option<u64>,
    /// The file.
    pub file: Option<ModelFile>,
    /// The commands that made it, the first one first, as the file itself tells.
    pub history: Vec<String>,
    /// How well it does on pictures.
    pub quality: Option<Quality>,
    /// What it takes to run.
    pub cost: Option<Cost>,
    /// How long it takes, one for each engine and number of threads; the first is compared.
    pub timings: Vec<Timing>,
    /// How it was trained, one for each time.
    pub training: Vec<Training>,
}

/// A model on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModelFile {
    /// Where it lies.
    pub path: String,
    /// Its size, with the files beside it that hold its weights.
    pub bytes: u64,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: Option<String>,
}

/// How well a classifier does on labelled pictures. Shares lie between 0 and 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Quality {
    /// The data.
    pub data: String,
    /// Which part of it: `train`, `val`, `test`, or `all`.
    pub split: String,
    /// The pictures that were scored.
    pub pictures: u64,
    /// Those that could not be decoded and are left out.
    pub corrupt: u64,
    /// The share of pictures whose class is predicted.
    pub accuracy: f64,
    /// The mean of the classes' F1.
    pub macro_f1: f64,
    /// The mean of the classes' precision.
    pub macro_precision: f64,
    /// The mean of the classes' recall.
    pub macro_recall: f64,
    /// The mean cross-entropy in nats.
    pub log_loss: f64,
    /// The area under the ROC curve, of two classes.
    pub roc_auc: Option<f64>,
    /// The expected calibration error.
    pub calibration_error: f64,
    /// The classes, in the order of the model's outputs.
    pub labels: Vec<String>,
    /// Each class.
    pub classes: Vec<ClassQuality>,
    /// `confusion[label][predicted]`, in pictures.
    pub confusion: Vec<Vec<u64>>,
}

/// What a model makes of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClassQuality {
    /// Pictures with this label.
    pub pictures: u64,
    /// Pictures for which it is predicted.
    pub predicted: u64,
    /// The share of the predictions that are right.
    pub precision: f64,
    /// The share of the pictures that are found.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
}

/// What one run of a network takes, counted from its graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// What training may change.
    pub parameters: u64,
    /// Those of them that are 0.
    pub zero_parameters: u64,
    /// Multiply-accumulates of convolutions, linear layers and matrix products. FLOPs are twice that.
    pub macs: u64,
    /// Multiply-accumulates as thop counts them.
    pub macs_thop: Option<u64>,
    /// The bytes of all weights as they are stored.
    pub weight_bytes: u64,
    /// The bytes of inputs and results that are alive at the same time, at most.
    pub peak_activation_bytes: u64,
    /// The layers in the order in which they run.
    pub layers: Vec<Layer>,
}

/// One layer of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Layer {
    /// Its name in the model.
    pub name: String,
    /// What it computes.
    pub operator: String,
    /// The shape of its first result.
    pub shape: Vec<u64>,
    /// The channels that it makes; null for what only passes them on.
    pub channels: Option<u64>,
    /// Its parameters.
    pub parameters: u64,
    /// Its multiply-accumulates.
    pub macs: u64,
    /// The bytes of its results.
    pub activation_bytes: u64,
}

/// How long runs took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Timing {
    /// What ran the model.
    pub engine: String,
    /// With so many threads.
    pub threads: u64,
    /// Pictures in a run.
    pub batch: u64,
    /// Runs that were timed.
    pub runs: u64,
    /// The median of their times in milliseconds.
    pub median_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// What at least 90 % of the runs do not exceed.
    pub p90_ms: f64,
    /// What at least 99 % of the runs do not exceed.
    pub p99_ms: f64,
    /// The shortest.
    pub minimum_ms: f64,
    /// Pictures per second at the mean time, by the network alone.
    pub frames_per_second: Option<f64>,
    /// Bytes for what is computed on the way.
    pub arena_bytes: Option<u64>,
    /// The most memory that a process had which did nothing but run this model.
    pub peak_resident_bytes: Option<u64>,
}

/// One training of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Training {
    /// What trained it: `train`, `finetune`, `distill`, or a step's name.
    pub name: String,
    /// The epochs in their order.
    pub epochs: Vec<Epoch>,
}

/// What one epoch came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u64,
    /// The learning rate of its last step.
    pub rate: f64,
    /// The mean of the loss over the training pictures.
    pub train_loss: f64,
    /// The mean cross-entropy on the validation pictures.
    pub loss: Option<f64>,
    /// The accuracy on the validation pictures.
    pub accuracy: Option<f64>,
    /// The mean of the classes' F1 on the validation pictures.
    pub macro_f1: Option<f64>,
}
