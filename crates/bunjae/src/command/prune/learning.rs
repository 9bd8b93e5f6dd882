//! Pruning with pictures: channels are judged by them, and the model is trained on them before,
//! between and after the cuts.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunjae_compress::{
    Album, Criterion, Evidence, EvidenceError, Gradual, GradualError, Keeping, Lesson, Lessons,
    Looking, News, Part, Settings, Shrunk, Sparse, consult_oracle, shrink,
};
use bunjae_data::pictures::Pictures;
use bunjae_data::{Annotations, Preprocess};
use bunjae_ir::Graph;
use bunjae_passes::untie;
use bunjae_train::recipe::Recipe;
use clap::Args;
use serde_json::Value;

use super::choices::{CourseArg, SparsityArg, word};
use super::figures::{Learning, OracleReport};
use super::refusals::gradual_failure;
use crate::annotate::PictureOptions;
use crate::args::positive;
use crate::command::train::options::{Defaults, Extent, Teaching, threads};
use crate::command::train::pictures::{Parts, check_picture_size};
use crate::command::train::{Watcher, make_folder, work_folder};
use crate::failure::{Failure, Fallible};
use crate::interrupt::uninterrupted;
use crate::number::percent;
use crate::output::Output;

/// Options that say what pictures are for.
#[derive(Debug, Args)]
pub(super) struct WithData {
    /// The data set that the model is trained on and its channels are judged by: a folder or a CSV
    /// manifest, as `bunjae data` reads it
    #[arg(long, value_name = "DIR", help_heading = "With pictures")]
    pub(super) data: Option<PathBuf>,
    /// Judge channels by so many pictures, drawn by the seed [default: all that are learnt from]
    #[arg(long, value_name = "N", value_parser = positive, requires = "data", help_heading = "With pictures")]
    samples: Option<NonZeroUsize>,
    /// Close each channel in turn, measure the loss, and say how well every criterion foresees it; for
    /// small models. Writes nothing
    #[arg(
        long,
        requires = "data",
        conflicts_with_all = ["target", "explain", "unstructured", "output"],
        help_heading = "With pictures"
    )]
    pub(super) oracle: bool,
    /// How the cut is spread over steps
    #[arg(
        long,
        value_enum,
        default_value = "one-shot",
        requires = "data",
        help_heading = "With pictures"
    )]
    cut_schedule: CourseArg,
    /// Steps of linear and agp [default: 5]
    #[arg(long, value_name = "N", value_parser = positive, requires = "data", help_heading = "With pictures")]
    steps: Option<NonZeroUsize>,
    /// Train so often on all pictures after each step but the last
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "data",
        help_heading = "With pictures"
    )]
    epochs_per_step: u64,
    /// And so often after the last [default: as after the others; 0 for one-shot]
    #[arg(long, value_name = "N", requires = "data", help_heading = "With pictures")]
    final_epochs: Option<u64>,
    /// Pictures in a batch of the training
    #[arg(long, value_name = "N", value_parser = positive, default_value = "32", requires = "data", help_heading = "With pictures")]
    train_batch: NonZeroUsize,
    /// Train before the first cut with a penalty that draws channels towards zero
    #[arg(
        long,
        value_enum,
        value_name = "PENALTY",
        requires = "data",
        help_heading = "With pictures"
    )]
    sparsity: Option<SparsityArg>,
    /// The factor of the penalty
    #[arg(long, value_name = "FACTOR", value_parser = super::choices::amount, default_value = "1e-4", requires = "sparsity", help_heading = "With pictures")]
    sparsity_strength: f64,
    /// Epochs of the training with the penalty
    #[arg(long, value_name = "N", value_parser = positive, default_value = "4", requires = "sparsity", help_heading = "With pictures")]
    sparsity_epochs: NonZeroUsize,
    /// The folder for checkpoints and logs of the training [default: that of the output, its ending
    /// replaced by `.run`]
    #[arg(long, value_name = "DIR", requires = "data", help_heading = "With pictures")]
    work: Option<PathBuf>,
    /// Go on with the training in that folder, to the bit as if it had not been stopped
    #[arg(
        long,
        requires = "data",
        conflicts_with_all = ["explain", "oracle"],
        help_heading = "With pictures"
    )]
    resume: bool,
    /// The threads that compute, and as many that decode [default: all of the machine]
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    teaching: Teaching,
    #[command(flatten)]
    pictures: PictureOptions,
}

/// Every criterion, for the oracle.
const CRITERIA: [Criterion; 12] = [
    Criterion::Taylor,
    Criterion::Fisher,
    Criterion::WeightTaylor,
    Criterion::WeightTaylorSum,
    Criterion::Hessian,
    Criterion::ObdC,
    Criterion::L1,
    Criterion::L2,
    Criterion::Lamp,
    Criterion::Fpgm,
    Criterion::BnScale,
    Criterion::Random,
];

/// Decoded pictures, and what goes into the model's metadata.
pub(super) struct Ready {
    pub(super) album: Album,
    pub(super) preprocess: Preprocess,
    pub(super) classes: Vec<String>,
    pub(super) fingerprint: String,
}

/// A model that was cut step by step, for the report.
pub(super) struct Learned {
    pub(super) shrunk: Shrunk,
    pub(super) learning: Learning,
    pub(super) preprocess: Preprocess,
    pub(super) classes: Vec<String>,
}

impl WithData {
    fn folder(&self) -> Fallible<&Path> {
        self.data.as_deref().ok_or_else(|| {
            Failure::new("there are no pictures to judge channels by").hint("`--data` names them")
        })
    }

    /// Refuses what needs pictures where there are none.
    pub(super) fn check(&self, criterion: Criterion, word: &str) -> Fallible<()> {
        if self.data.is_none() && criterion.needs_data() {
            let what = format!("`--criterion {word}` judges channels by pictures, but has none");
            return Err(Failure::new(what)
                .hint("`--data DIR` names a folder of labelled pictures")
                .hint("l1, l2, lamp, fpgm and bn-scale judge by the weights alone"));
        }
        if self.data.is_none() && !self.pictures.is_empty() {
            let what = "how pictures become the input is said, but there are none";
            return Err(Failure::new(what)
                .hint("`--data DIR` names them; `bunjae annotate` only writes it into the model"));
        }
        if self.cut_schedule == CourseArg::OneShot && self.steps.is_some_and(|n| n.get() > 1) {
            return Err(Failure::new("`--cut-schedule one-shot` has one step")
                .hint("linear and agp have several"));
        }
        Ok(())
    }

    pub(super) fn threads(&self) -> usize {
        threads(self.threads)
    }

    fn steps(&self) -> usize {
        match self.cut_schedule {
            CourseArg::OneShot => 1,
            CourseArg::Linear | CourseArg::Agp => self.steps.map_or(5, NonZeroUsize::get),
        }
    }

    fn final_epochs(&self) -> u64 {
        let usual = if self.steps() > 1 { self.epochs_per_step } else { 0 };
        self.final_epochs.unwrap_or(usual)
    }

    /// Whether anything is trained.
    fn trains(&self) -> bool {
        let between = self.steps() > 1 && self.epochs_per_step > 0;
        between
            || self.final_epochs() > 0
            || self.sparsity.is_some()
            || self.teaching.recalibrate_bn
    }

    fn looking(&self, seed: u64) -> Looking {
        Looking {
            samples: self.samples.map(NonZeroUsize::get),
            seed,
            batch: self.train_batch.get(),
            threads: self.threads(),
        }
    }

    fn recipe(&self, seed: u64) -> Recipe {
        let extent = Extent { epochs: 1, batch: self.train_batch.get(), seed };
        // The rate of `bunjae finetune`.
        self.teaching.recipe(extent, &Defaults { rate: 1.3e-3 }, None)
    }

    /// The folder in which the training is kept, refused where another is kept there already; `None`
    /// where nothing is trained.
    pub(super) fn work_folder(&self, output: &Path) -> Fallible<Option<PathBuf>> {
        if self.data.is_none() || !self.trains() {
            return match self.resume {
                false => Ok(None),
                true => Err(Failure::new("there is no training to go on with")
                    .hint("`--final-epochs N` trains after the cut")),
            };
        }
        work_folder(self.work.as_deref(), output, self.resume, Keeping::is_in).map(Some)
    }

    /// How the training is kept in a folder. `inputs` is what it depends on beside the pictures.
    pub(super) fn keeping(
        &self,
        folder: PathBuf,
        inputs: &str,
        ready: &Ready,
    ) -> Fallible<Keeping> {
        let preprocess = serde_json::to_string(&ready.preprocess).map_err(Failure::new)?;
        let fingerprint = format!("{inputs} {preprocess} {}", ready.fingerprint);
        Ok(Keeping { folder, fingerprint, resume: self.resume })
    }

    /// The words of the command that concern pictures.
    pub(super) fn words(&self, seed: u64) -> Vec<String> {
        if self.data.is_none() {
            return Vec::new();
        }
        let mut words = Vec::new();
        let mut setting = |name: &str, value: String| words.push(format!("--{name} {value}"));
        if let Some(samples) = self.samples {
            setting("samples", samples.to_string());
        }
        setting("cut-schedule", word(self.cut_schedule));
        if self.steps() > 1 {
            setting("steps", self.steps().to_string());
            setting("epochs-per-step", self.epochs_per_step.to_string());
        }
        setting("final-epochs", self.final_epochs().to_string());
        if let Some(sparsity) = self.sparsity {
            setting("sparsity", word(sparsity));
            setting("sparsity-strength", self.sparsity_strength.to_string());
            setting("sparsity-epochs", self.sparsity_epochs.to_string());
        }
        if self.teaching.recalibrate_bn {
            words.push("--recalibrate-bn".to_owned());
        }
        if self.trains()
            && let Ok(Value::Object(mut recipe)) = serde_json::to_value(self.recipe(seed))
        {
            // Said above, for each part of the training.
            recipe.remove("epochs");
            words.push(Value::Object(recipe).to_string());
        }
        words
    }

    /// Opens and decodes the pictures.
    pub(super) fn ready(&self, graph: &Graph, seed: u64, output: &Output) -> Fallible<Ready> {
        let parts =
            Parts::open(self.folder()?, (&self.teaching, &self.pictures), seed, graph, false)?;
        check_picture_size(graph, "the model", &parts.preprocess)?;
        let (model, data) = (bunjae_train::classes(graph)?, parts.train.classes.len());
        if model != data {
            return Err(EvidenceError::Classes { model, data }.into());
        }
        let found = Annotations::read(&graph.metadata).map_err(Failure::new)?;
        if let Some(labels) = found.labels.filter(|labels| labels.names() != parts.train.classes) {
            let what = format!(
                "the model's classes are {}, those of the data {}",
                labels.names().join(", "),
                parts.train.classes.join(", ")
            );
            return Err(Failure::new(what)
                .hint("`bunjae annotate --labels` gives a model other names of its classes"));
        }
        let (batch, count) = (self.train_batch.get(), parts.train.items.len());
        if self.trains() && batch > count {
            let what = format!("{count} pictures to learn from fill no batch of {batch}");
            return Err(Failure::new(what).hint("`--train-batch` makes it smaller"));
        }
        let fingerprint = parts.fingerprint()?;
        let (preprocess, classes) = (parts.preprocess.clone(), parts.train.classes.clone());
        let threads = self.threads();
        let learnt = |cropped| -> Fallible<Arc<Pictures>> {
            Ok(Arc::new(parts.train_pictures(&self.teaching, threads, cropped, output)?))
        };
        let fitted = learnt(false)?;
        let train = match self.recipe(seed).augment.crop {
            Some(_) if self.trains() => learnt(true)?,
            _ => Arc::clone(&fitted),
        };
        let val = match parts.val.items.is_empty() {
            true => None,
            false => Some(Arc::new(parts.val_pictures(&self.teaching, threads, output)?)),
        };
        if val.is_none() {
            output.note("note: there is no validation part, so that no accuracy is measured");
        }
        Ok(Ready { album: Album { train, fitted, val }, preprocess, classes, fingerprint })
    }

    /// What the pictures say of a model as it is, where the criterion needs it.
    pub(super) fn evidence(
        &self,
        graph: &Graph,
        criterion: Criterion,
        ready: &Ready,
        seed: u64,
    ) -> Fallible<Option<Arc<Evidence>>> {
        if !criterion.needs_data() {
            return Ok(None);
        }
        let apart = untie(graph).map_err(Failure::new)?;
        let graph = apart.as_ref().map_or(graph, |(apart, _)| apart);
        let (pictures, looking) = (&ready.album.fitted, self.looking(seed));
        let evidence =
            Evidence::gather(graph, &graph.couplings(), pictures, &[criterion], &looking)?;
        Ok(Some(Arc::new(evidence)))
    }

    /// Cuts and trains.
    pub(super) fn shrink(
        &self,
        graph: &Graph,
        settings: &Settings,
        (seed, checked): (u64, bool),
        (ready, keeping): (Ready, Option<Keeping>),
        output: &Output,
    ) -> Fallible<Result<Learned, bunjae_compress::Check>> {
        let recipe = self.recipe(seed);
        if self.trains() {
            recipe.check()?;
        }
        let gradual = Gradual {
            settings: settings.clone(),
            course: self.cut_schedule.course(),
            steps: self.steps(),
            looking: self.looking(seed),
            check: checked.then_some(seed),
        };
        let lessons = Lessons {
            recipe,
            epochs_per_step: self.epochs_per_step,
            final_epochs: self.final_epochs(),
            sparse: self.sparsity.map(|penalty| Sparse {
                penalty: penalty.sparsity(),
                strength: self.sparsity_strength as f32,
                epochs: self.sparsity_epochs.get() as u64,
            }),
            recalibrate: self.teaching.recalibrate_bn,
            threads: self.threads(),
            keeping,
        };
        let mut teller = Teller::new(&gradual, &lessons, output);
        let mut tell = |news: News<'_>| teller.hear(news);
        let shrunk = match shrink(graph, &gradual, &lessons, &ready.album, &mut tell) {
            Ok(shrunk) => shrunk,
            Err(GradualError::Check { check, .. }) => return Ok(Err(check)),
            Err(error) => return Err(gradual_failure(graph, settings, error)),
        };
        teller.finish();
        let learning = Learning {
            data: self.folder()?.display().to_string(),
            data_sha256: ready.fingerprint,
            train_pictures: ready.album.train.dataset().items.len(),
            val_pictures: ready.album.val.as_ref().map_or(0, |val| val.dataset().items.len()),
            start: shrunk.start,
            sparse: shrunk.sparse.clone(),
            steps: shrunk.steps.clone(),
        };
        let (preprocess, classes) = (ready.preprocess, ready.classes);
        Ok(Ok(Learned { shrunk, learning, preprocess, classes }))
    }

    /// Consults the oracle.
    pub(super) fn consult(
        &self,
        model: &super::Model,
        seed: u64,
        output: &Output,
    ) -> Fallible<OracleReport> {
        let ready = self.ready(&model.graph, seed, output)?;
        let (pictures, looking) = (&ready.album.fitted, self.looking(seed));
        let mut bar = None;
        let mut progress = |done: usize, of: usize| {
            bar.get_or_insert_with(|| output.bar(of, "channels closed")).set_position(done as u64);
        };
        let oracle = consult_oracle(&model.graph, pictures, &CRITERIA, &looking, &mut progress)?;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(OracleReport {
            model: model.path.display().to_string(),
            data: self.folder()?.display().to_string(),
            data_sha256: ready.fingerprint,
            oracle,
        })
    }
}

/// Tells how far it is.
struct Teller<'o> {
    output: &'o Output,
    steps: usize,
    recipe: Recipe,
    epochs: [u64; 3],
    /// The training that is shown, by its step; 0 before the first.
    watcher: Option<(usize, Watcher<'o>)>,
}

impl<'o> Teller<'o> {
    fn new(gradual: &Gradual, lessons: &Lessons, output: &'o Output) -> Self {
        let sparse = lessons.sparse.map_or(0, |sparse| sparse.epochs);
        let epochs = [sparse, lessons.epochs_per_step, lessons.final_epochs];
        let recipe = lessons.recipe.clone();
        Teller { output, steps: gradual.steps, recipe, epochs, watcher: None }
    }

    fn hear(&mut self, news: News<'_>) {
        let steps = self.steps;
        match news {
            News::Validating => self.output.progress("measuring on the validation part"),
            News::Looking(at) => {
                self.finish();
                self.output.progress(&format!("step {at}/{steps}: looking at pictures"));
            }
            News::Checking(at) => {
                self.finish();
                let what = "running the model with its channels removed, and with them masked";
                self.output.progress(&format!("step {at}/{steps}: {what}"));
            }
            News::Cut(at, step) => {
                self.finish();
                let accuracy = step.cut.map_or(String::new(), |cut| {
                    format!(", accuracy {} after the cut", percent(cut.accuracy))
                });
                let line =
                    format!("step {at}/{steps}: {} of the cut{accuracy}", percent(step.share));
                self.output.note(&line);
            }
            News::Resumed(part, epoch) => {
                self.finish();
                let (step, which) = match part {
                    Part::Sparse => (0, "the training before the first cut".to_owned()),
                    Part::After(at) => (at, format!("the training after step {at}/{steps}")),
                };
                let line = match epoch < self.epochs_of(step) {
                    true => format!("note: {which} goes on after epoch {epoch}"),
                    false => format!("note: {which} was done before"),
                };
                self.output.note(&line);
            }
            News::Sparse(event) => self.watch(0, event),
            News::Training(at, event) => self.watch(at, event),
        }
    }

    /// The epochs after a step; 0 is what comes before the first.
    fn epochs_of(&self, at: usize) -> u64 {
        let [sparse, between, last] = self.epochs;
        match at {
            0 => sparse,
            at if at == self.steps => last,
            _ => between,
        }
    }

    fn watch(&mut self, at: usize, event: &bunjae_train::Event<'_>) {
        if self.watcher.as_ref().is_none_or(|(own, _)| *own != at) {
            self.finish();
            let epochs = self.epochs_of(at);
            let recipe = Recipe { epochs, ..self.recipe.clone() };
            self.watcher = Some((at, Watcher::new(&recipe, self.output)));
        }
        if let Some((_, watcher)) = &mut self.watcher {
            watcher.hear(event);
        }
    }

    fn finish(&mut self) {
        if let Some((_, watcher)) = self.watcher.take() {
            watcher.finish();
        }
    }
}

/// The ratio that was found for a latency when the training began that is gone on with, or what `search`
/// finds, which is kept beside the training.
pub(super) fn kept_ratio(
    keeping: &Keeping,
    search: impl FnOnce() -> Fallible<f64>,
) -> Fallible<f64> {
    let path = keeping.folder.join("ratio.json");
    if keeping.resume && path.exists() {
        let broken = |error: &dyn std::fmt::Display| {
            Failure::new(format!("cannot read {}: {error}", path.display()))
                .hint("without `--resume`, and with another `--work`, it is measured anew")
        };
        let text = std::fs::read_to_string(&path).map_err(|error| broken(&error))?;
        return serde_json::from_str(&text).map_err(|error| broken(&error));
    }
    let ratio = search()?;
    make_folder(&keeping.folder)?;
    let text = serde_json::to_string(&ratio).map_err(Failure::new)?;
    uninterrupted(|| bunjae_files::write(&path, text.as_bytes())).map_err(Failure::new)?;
    Ok(ratio)
}

/// The figures that a model ends with, where there is a validation part.
pub(super) fn figures(learning: &Learning) -> Option<bunjae_compress::Figures> {
    let step = learning.steps.last()?;
    let trained = |lesson: &Lesson| lesson.figures;
    step.lesson.as_ref().and_then(trained).or(step.cut)
}
