//! What can be asked of a run.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use bunjae_data::augment::{Augment, Mix, RandAugment, RandomCrop, Step};
use bunjae_data::munge::Munge;
use bunjae_data::sampler::Order;
use bunjae_train::optimiser::{Betas, Rule};
use bunjae_train::recipe::{ClassWeights, Distil, Objective, Recipe};
use bunjae_train::schedule::Course;
use bunjae_train::stop::Metric;
use clap::{Args, ValueEnum};

use crate::annotate::PictureOptions;
use crate::args::{self, positive};

/// What differs between the commands.
pub(in crate::command) struct Defaults {
    pub(in crate::command) rate: f64,
}

/// What every command has under names of its own.
#[derive(Clone, Copy)]
pub(in crate::command) struct Extent {
    pub(in crate::command) epochs: u64,
    pub(in crate::command) batch: usize,
    pub(in crate::command) seed: u64,
}

/// Arguments of every way to train.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The model: an ONNX file
    pub(super) model: PathBuf,
    /// The data set: a folder or a CSV manifest, as `bunjae data` reads it
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The folder for checkpoints and logs [default: that of the output, its ending replaced by
    /// `.run`]
    #[arg(long, value_name = "DIR")]
    pub(super) work: Option<PathBuf>,
    /// Go on with the run in that folder, to the bit as if it had not been stopped
    #[arg(long)]
    pub(super) resume: bool,
    /// What everything random follows from
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// The threads that compute, and as many that decode [default: all of the machine]
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<NonZeroUsize>,

    /// Give the model a new last layer for so many classes
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Model")]
    pub(super) classes: Option<NonZeroUsize>,

    /// How often all pictures are seen
    #[arg(long, value_name = "N", default_value_t = 24, help_heading = "Steps")]
    pub(super) epochs: u64,
    /// Pictures in a batch
    #[arg(long, value_name = "N", value_parser = positive, default_value = "32", help_heading = "Steps")]
    batch: NonZeroUsize,

    #[command(flatten)]
    pub(super) teaching: Teaching,
    #[command(flatten)]
    pub(super) pictures: PictureOptions,
}

/// How a model is trained, whatever for; `bunjae prune` has these options as well, which mean nothing
/// there without `--data`. The group holds no others (clap leaves it empty where it is nested).
#[derive(Debug, Args)]
#[group(id = "teaching", multiple = true, requires = "data")]
pub(crate) struct Teaching {
    /// The share of the training pictures that becomes the validation part, where the data has none
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0.2")]
    pub(in crate::command) val_share: f64,
    /// The share of pictures that may be corrupt; they are left out
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0.01")]
    pub(in crate::command) max_corrupt: f64,

    /// Leave layers or weights of that name as they are; may be repeated. `*` stands for any text,
    /// `?` for one character, and a name for everything below it
    #[arg(long, value_name = "PATTERN", help_heading = "Model")]
    freeze: Vec<String>,
    /// Estimate the statistics of batch normalisation anew before the first epoch
    #[arg(long, help_heading = "Model")]
    pub(in crate::command) recalibrate_bn: bool,

    /// Batches that are taken together for one step
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Steps")]
    accumulate: u64,
    /// The optimiser; sgd has a momentum of 0.9 and looks ahead (Nesterov)
    #[arg(long, value_enum, default_value = "adamw", help_heading = "Steps")]
    optimizer: OptimizerArg,
    /// The highest learning rate [default: 4e-3; finetune: 1.3e-3]
    #[arg(long, value_name = "RATE", help_heading = "Steps")]
    rate: Option<f64>,
    /// The course of the learning rate
    #[arg(long, value_enum, default_value = "one-cycle", help_heading = "Steps")]
    schedule: ScheduleArg,
    /// Epochs after which the rate drops to a tenth, for the schedule `step`
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',', help_heading = "Steps")]
    drops: Vec<u64>,
    /// Epochs in which the rate rises; one-cycle rises in a fifth of the run by itself
    #[arg(long, value_name = "EPOCHS", default_value_t = 0.0, help_heading = "Steps")]
    warm_up: f64,
    /// Weight decay; biases and normalisations are left alone
    #[arg(long, value_name = "DECAY", default_value_t = 1e-3, help_heading = "Steps")]
    weight_decay: f32,
    /// Scale gradients down to this norm
    #[arg(long, value_name = "NORM", help_heading = "Steps")]
    clip: Option<f32>,
    /// Keep a moving average of the weights with this decay, such as 0.999, and take it as the model
    #[arg(long, value_name = "DECAY", help_heading = "Steps")]
    ema: Option<f32>,

    /// Spread this share of every target over all classes
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0", help_heading = "Loss")]
    label_smoothing: f64,
    /// Focal loss with this gamma, such as 2, in place of cross-entropy
    #[arg(long, value_name = "GAMMA", default_value_t = 0.0, help_heading = "Loss")]
    focal: f64,
    /// How much a class weighs: all alike, or more where there are few pictures of it
    #[arg(long, value_enum, default_value = "equal", help_heading = "Loss")]
    class_weights: WeightsArg,
    /// Show pictures of every class equally often
    #[arg(long, help_heading = "Loss")]
    balance: bool,

    /// Mirror pictures this often
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0.5", help_heading = "Augmentation")]
    flip: f64,
    /// Move pictures by up to this share of their sides
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0.1", help_heading = "Augmentation")]
    shift: f64,
    /// Cut out a random part of at least this share of the picture
    #[arg(long, value_name = "SHARE", value_parser = args::share, help_heading = "Augmentation")]
    crop: Option<f64>,
    /// Change brightness, contrast and saturation by up to this share
    #[arg(long, value_name = "SHARE", value_parser = args::share, help_heading = "Augmentation")]
    jitter: Option<f64>,
    /// RandAugment: so many operations of this magnitude, such as 2,9
    #[arg(long, value_name = "N,M", value_parser = pair, help_heading = "Augmentation")]
    rand_augment: Option<[usize; 2]>,
    /// Erase a random rectangle this often
    #[arg(long, value_name = "SHARE", value_parser = args::share, help_heading = "Augmentation")]
    erase: Option<f64>,
    /// Erase a square of this share of the side
    #[arg(long, value_name = "SHARE", value_parser = args::share, help_heading = "Augmentation")]
    cutout: Option<f64>,
    /// Lay pictures over each other; the share is drawn from Beta(A, A)
    #[arg(long, value_name = "A", default_value_t = 0.0, help_heading = "Augmentation")]
    mixup: f64,
    /// Put a rectangle of one picture into another; its area is drawn from Beta(A, A)
    #[arg(long, value_name = "A", default_value_t = 0.0, help_heading = "Augmentation")]
    cutmix: f64,

    /// By which figure on the validation part the best epoch is chosen
    #[arg(long, value_enum, default_value = "accuracy", help_heading = "Choice")]
    metric: MetricArg,
    /// End the run after so many epochs without a better figure
    #[arg(long, value_name = "EPOCHS", help_heading = "Choice")]
    patience: Option<u64>,
    /// By how much a figure has to be better to count
    #[arg(long, value_name = "GAIN", default_value_t = 0.0, help_heading = "Choice")]
    least_gain: f64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerArg {
    Sgd,
    Adam,
    Adamw,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleArg {
    /// The same throughout
    Constant,
    /// A tenth after each of --drops
    Step,
    /// Half a cosine down to 0
    Cosine,
    /// Up in a fifth of the run, then down to nearly 0
    OneCycle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WeightsArg {
    Equal,
    /// Inverse to the number of its pictures
    Inverse,
    /// Inverse to the square root of that number
    Root,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MetricArg {
    Accuracy,
    MacroF1,
    Loss,
}

fn pair(text: &str) -> Result<[usize; 2], String> {
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or_else(|| "expected two numbers, such as 2,9".to_string())
}

impl Teaching {
    /// Everything that decides about the model, but for the pictures.
    pub(in crate::command) fn recipe(
        &self,
        Extent { epochs, batch, seed }: Extent,
        defaults: &Defaults,
        distil: Option<Distil>,
    ) -> Recipe {
        Recipe {
            epochs,
            batch,
            accumulate: self.accumulate,
            rule: match self.optimizer {
                OptimizerArg::Sgd => Rule::Sgd { momentum: 0.9, nesterov: true },
                OptimizerArg::Adam => Rule::Adam(Betas::default()),
                OptimizerArg::Adamw => Rule::AdamW(Betas::default()),
            },
            decay: self.weight_decay,
            rate: self.rate.unwrap_or(defaults.rate),
            course: match self.schedule {
                ScheduleArg::Constant => Course::Constant,
                ScheduleArg::Step => Course::Step { at: self.drops.clone(), factor: 0.1 },
                ScheduleArg::Cosine => Course::Cosine { floor: 0.0 },
                ScheduleArg::OneCycle => Course::OneCycle { rise: 0.2 },
            },
            warm_up: self.warm_up,
            clip: self.clip,
            average: self.ema,
            objective: Objective {
                smoothing: self.label_smoothing as f32,
                focal: self.focal,
                weights: match self.class_weights {
                    WeightsArg::Equal => ClassWeights::Equal,
                    WeightsArg::Inverse => ClassWeights::Inverse,
                    WeightsArg::Root => ClassWeights::Root,
                },
            },
            distil,
            order: if self.balance { Order::Balanced } else { Order::Shuffled },
            augment: self.augment(),
            mix: (self.mixup > 0.0 || self.cutmix > 0.0).then_some(Mix {
                p: 1.0,
                mixup: self.mixup,
                cutmix: self.cutmix,
            }),
            freeze: self.freeze.clone(),
            metric: match self.metric {
                MetricArg::Accuracy => Metric::Accuracy,
                MetricArg::MacroF1 => Metric::MacroF1,
                MetricArg::Loss => Metric::Loss,
            },
            patience: self.patience,
            least_gain: self.least_gain,
            seed,
        }
    }

    fn augment(&self) -> Augment {
        let mut steps = Vec::new();
        if self.flip > 0.0 {
            steps.push(Step::Flip { p: self.flip });
        }
        if self.shift > 0.0 {
            steps.push(Step::Shift { x: self.shift, y: self.shift });
        }
        if let Some(jitter) = self.jitter {
            let (brightness, contrast, saturation) = (jitter, jitter, jitter);
            steps.push(Step::ColourJitter { brightness, contrast, saturation, hue: 0.0 });
        }
        if let Some([ops, magnitude]) = self.rand_augment {
            steps.push(Step::RandAugment(RandAugment { ops, magnitude, ..RandAugment::default() }));
        }
        if let Some(p) = self.erase {
            // torchvision's defaults.
            steps.push(Step::Erase { p, scale: [0.02, 0.33], ratio: [0.3, 3.3] });
        }
        if let Some(side) = self.cutout {
            steps.push(Step::Cutout { side });
        }
        let crop = |least| RandomCrop { scale: [least, 1.0], ..RandomCrop::default() };
        Augment { crop: self.crop.map(crop), steps }
    }
}

/// The threads asked for, or all of the machine.
pub(in crate::command) fn threads(asked: Option<NonZeroUsize>) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    asked.map_or_else(all, NonZeroUsize::get)
}

impl Options {
    pub(super) fn threads(&self) -> usize {
        threads(self.threads)
    }

    pub(super) fn recipe(&self, defaults: &Defaults, distil: Option<Distil>) -> Recipe {
        let extent = Extent { epochs: self.epochs, batch: self.batch.get(), seed: self.seed };
        self.teaching.recipe(extent, defaults, distil)
    }

    /// The command with every setting that counts, as the JSON of the recipe, and what is grown.
    pub(super) fn command(&self, command: &str, recipe: &Recipe, munge: Option<&Munge>) -> String {
        let settings = serde_json::to_string(recipe).unwrap_or_default();
        let recalibrate = if self.teaching.recalibrate_bn { " --recalibrate-bn" } else { "" };
        let classes = self.classes.map(|classes| format!(" --classes {classes}"));
        let munge = munge.and_then(|munge| serde_json::to_string(munge).ok());
        let munge = munge.map(|munge| format!(" --munge {munge}")).unwrap_or_default();
        format!("{command}{}{recalibrate}{munge} {settings}", classes.unwrap_or_default())
    }
}
