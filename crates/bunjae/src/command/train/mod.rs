//! `bunjae train`, `bunjae finetune` and `bunjae distill`: one run, three ways to ask for it.

mod distill;
pub(super) mod options;
pub(super) mod pictures;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bunjae_data::munge::Munge;
use bunjae_data::pictures::Pictures;
use bunjae_data::{Annotations, Dataset, Item, Labels, Preprocess, Source, Split};
use bunjae_ir::Graph;
use bunjae_train::recipe::{Distil, Method};
use bunjae_train::{Event, Materials, Run, TrainError, Trained};
use clap::Args;
use indicatif::ProgressBar;

use crate::annotate::scores_of;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::model;
use crate::number::percent;
use crate::output::Output;
use crate::provenance::{self, Step};
pub(crate) use distill::Distill;
use options::{Defaults, Options};
use pictures::{Parts, check_picture_size, with_picture_size};
use report::TrainReport;

/// Train a model on labelled pictures
///
/// The model is any ONNX file whose first output is a score for each class: one that `bunjae new`
/// made, one that was cut, or one from elsewhere. The best epoch by its figure on the validation
/// part becomes the output, with the names of the classes, the way to its input and where it comes
/// from in its metadata.
///
/// A folder beside the output holds the run: a checkpoint after every epoch, from which `--resume`
/// goes on to the bit, `metrics.jsonl`, and an event file for TensorBoard. One seed gives one model,
/// whatever the number of threads.
#[derive(Debug, Args)]
#[command(after_help = "Examples: bunjae new mask-small --classes 2 -o new.onnx\n  \
    bunjae train new.onnx --data pictures -o mask.onnx --epochs 24 --rate 6e-3")]
pub(crate) struct Train {
    #[command(flatten)]
    options: Options,
}

/// Train a model further, gently
///
/// As `bunjae train`, with a third of its learning rate: for models that were cut, and, with
/// `--classes`, for pretrained ones that are to tell other classes apart.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: bunjae finetune cut.onnx --data pictures -o small.onnx --recalibrate-bn\n  \
    bunjae finetune mobilenet.onnx --data pictures -o mine.onnx --classes 6 --preprocess imagenet"
)]
pub(crate) struct Finetune {
    #[command(flatten)]
    options: Options,
}

impl Train {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        run("train", &self.options, &Defaults { rate: 4e-3 }, None, output)
    }
}

impl Finetune {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        run("finetune", &self.options, &Defaults { rate: 1.3e-3 }, None, output)
    }
}

/// What a student learns beside the labels.
struct Lessons<'a> {
    distil: Distil,
    teachers: &'a [PathBuf],
    unlabelled: &'a [PathBuf],
    munge: Option<Munge>,
}

fn run(
    command: &str,
    options: &Options,
    defaults: &Defaults,
    lessons: Option<&Lessons<'_>>,
    output: &Output,
) -> Fallible<Outcome> {
    model::check_target(&options.output, Some(&options.model))?;
    let holds_run = |folder: &Path| folder.join(bunjae_train::LAST).exists();
    let folder = work_folder(options.work.as_deref(), &options.output, options.resume, holds_run)?;
    let recipe = options.recipe(defaults, lessons.map(|lessons| lessons.distil.clone()));
    recipe.check()?;
    let source = model::import(&options.model, output)?;
    let (teaching, seed) = (&options.teaching, options.seed);
    let (how, has_new_head) = ((teaching, &options.pictures), options.classes.is_some());
    let mut parts = Parts::open(&options.data, how, seed, &source, has_new_head)?;
    let source = with_picture_size(source, &parts.preprocess, output)?;
    let source = with_head(options, source, &parts.train)?;
    let parent = model::sha256(&options.model)?;
    let preprocess = parts.preprocess.clone();
    // What a checkpoint belongs to, beside the recipe.
    let mut inputs = format!("{parent} {}", serde_json::to_string(&preprocess).unwrap_or_default());
    let mut teachers = Vec::new();
    if let Some(lessons) = lessons {
        for path in lessons.teachers {
            teachers.push(teacher(path, &preprocess, &parts.train, output)?);
            inputs.push_str(&format!(" {}", model::sha256(path)?));
        }
        for folder in lessons.unlabelled {
            parts.add_unlabelled(folder)?;
        }
        warn_of_two_classes(&lessons.distil, parts.train.classes.len(), output);
    }
    let data = parts.fingerprint()?;
    let threads = options.threads();
    let is_cropped = recipe.augment.crop.is_some();
    let mut train = parts.train_pictures(teaching, threads, is_cropped, output)?;
    let val = parts.val_pictures(teaching, threads, output)?;
    let munge = lessons.and_then(|lessons| lessons.munge);
    if let Some(munge) = &munge {
        output.progress("growing pictures");
        inputs.push_str(&format!(" {munge:?}"));
        grow(&mut train, munge, seed, threads)?;
    }
    let classes = train.dataset().classes.clone();
    let materials = Materials {
        graph: source.clone(),
        teachers,
        val: (!val.dataset().items.is_empty()).then(|| Arc::new(val)),
        train: Arc::new(train),
        folder: Some(folder.clone()),
        fingerprint: format!("{inputs} {data}"),
        threads,
    };
    let mut run = Run::new(recipe.clone(), materials, options.resume)?;
    make_folder(&folder)?;
    if run.epoch() > 0 {
        output.note(&format!("note: goes on after epoch {}", run.epoch()));
    }
    if teaching.recalibrate_bn && run.epoch() == 0 {
        output.progress("estimating the statistics of batch normalisation anew");
        run.recalibrate()?;
    }
    let mut watcher = Watcher::new(&recipe, output);
    let trained = run.train(&mut |event| watcher.hear(event))?;
    watcher.finish();
    let command = options.command(command, &recipe, munge.as_ref());
    let graph =
        annotated(&trained, preprocess, classes, (command.clone(), recipe.seed), parent, &data)?;
    model::save(&options.output, &graph)?;
    let speed = watcher.pictures_per_second();
    output.report(&TrainReport::new(options, command, &trained, speed, &folder, data)?)?;
    Ok(Outcome::Done)
}

/// The folder of a run: `work`, or beside the output. Refused where a run is in it already that is not
/// to be gone on with.
pub(super) fn work_folder(
    work: Option<&Path>,
    output: &Path,
    resume: bool,
    holds_run: impl Fn(&Path) -> bool,
) -> Fallible<PathBuf> {
    let folder = work.map_or_else(|| output.with_extension("run"), Path::to_path_buf);
    if !resume && holds_run(&folder) {
        return Err(Failure::new(format!("{} holds a run already", folder.display()))
            .hint("`--resume` goes on with it; `--work` names another folder"));
    }
    Ok(folder)
}

/// Makes the folder of the run, once nothing but the training can fail.
pub(super) fn make_folder(folder: &Path) -> Fallible<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::new(format!("cannot make the folder {}: {error}", folder.display()))
    })
}

/// Adds synthetic pictures without labels to those that are learnt from.
fn grow(train: &mut Pictures, munge: &Munge, seed: u64, threads: usize) -> Fallible<()> {
    let records = Arc::new(munge.grow(train, seed, threads)?);
    let item = |index| Item {
        source: Source::Record { records: Arc::clone(&records), index },
        label: None,
        split: Some(Split::Train),
        group: None,
    };
    let items = (0..records.len()).map(item).collect();
    Ok(train.extend(items)?)
}

/// Says what two classes leave of methods that compare more.
fn warn_of_two_classes(distil: &Distil, classes: usize, output: &Output) {
    if classes != 2 {
        return;
    }
    for method in &distil.methods {
        match method {
            Method::Dkd { alpha, .. } => output.note(&format!(
                "note: with two classes dkd is kd with the weight {alpha} beside the labels, as \
                 there is one other class"
            )),
            Method::Dist { .. } => output.note(
                "note: with two classes dist's relations between classes teach nearly nothing; \
                 those between pictures do",
            ),
            _ => {}
        }
    }
}

fn with_head(options: &Options, graph: Graph, train: &Dataset) -> Fallible<Graph> {
    let Some(classes) = options.classes.map(std::num::NonZeroUsize::get) else { return Ok(graph) };
    if classes != train.classes.len() {
        let what = format!("`--classes {classes}`, but the data has {}", train.classes.len());
        return Err(Failure::new(what).hint("`bunjae data inspect` lists them"));
    }
    Ok(bunjae_train::with_new_head(&graph, classes, options.seed)?)
}

/// A teacher, which has to take the same pictures and, where it has labels, tell the same classes.
fn teacher(
    path: &Path,
    preprocess: &Preprocess,
    train: &Dataset,
    output: &Output,
) -> Fallible<Graph> {
    let graph = model::import(path, output)?;
    let found = Annotations::read(&graph.metadata).map_err(Failure::new)?;
    let shown = path.display();
    if found.preprocess.is_some_and(|own| own != *preprocess) {
        return Err(Failure::new(format!("{shown} takes its pictures otherwise than the student"))
            .hint("train both with the same `--preprocess`, `--picture`, `--mean` and `--std`"));
    }
    check_picture_size(&graph, &shown.to_string(), preprocess)?;
    if found.labels.is_some_and(|labels| labels.names() != train.classes) {
        let what = format!("the classes of {shown} are not those of the data, in the same order");
        return Err(Failure::new(what).hint("`bunjae inspect` shows its labels"));
    }
    let classes = bunjae_train::classes(&graph)
        .map_err(|error| Failure::new(format!("{shown}: {error}")).maybe_hint(error.hint()))?;
    if classes != train.classes.len() {
        let data = train.classes.len();
        let what = format!("{shown} tells {classes} classes apart, the pictures are of {data}");
        return Err(Failure::new(what).hint("`bunjae finetune --classes` makes a teacher of it"));
    }
    Ok(graph)
}

/// The trained model with everything that is known of it.
fn annotated(
    trained: &Trained,
    preprocess: Preprocess,
    classes: Vec<String>,
    (command, seed): (String, u64),
    parent: String,
    data: &str,
) -> Fallible<Graph> {
    let mut graph = trained.graph.clone();
    let scores = scores_of(&graph);
    let annotations = Annotations {
        preprocess: Some(preprocess),
        labels: Some(Labels::new(classes).map_err(Failure::new)?),
        scores: Some(scores),
    };
    annotations.record(&mut graph.metadata).map_err(Failure::new)?;
    let figures = trained.epochs.iter().find(|record| record.epoch == trained.best_epoch);
    let figures = figures.map(serde_json::to_value).transpose().map_err(Failure::new)?;
    let step = Step {
        command,
        seed,
        parent: Some(parent),
        before: None,
        after: None,
        check: None,
        data: Some(data.to_owned()),
        metrics: figures,
    };
    provenance::record(&mut graph, step);
    Ok(graph)
}

/// Shows how far a run is.
pub(super) struct Watcher<'o> {
    asking: Option<ProgressBar>,
    bar: Option<ProgressBar>,
    batch: usize,
    epochs: u64,
    began: Instant,
    seen: u64,
    output: &'o Output,
    latest: String,
    /// When the last epoch, its validation and checkpoint included, was done.
    rested: Option<Instant>,
    /// Seconds and pictures of training in epochs after the first, which decodes the pictures.
    trained: (f64, u64),
}

impl<'o> Watcher<'o> {
    pub(super) fn new(recipe: &bunjae_train::recipe::Recipe, output: &'o Output) -> Self {
        let (batch, epochs) = (recipe.batch, recipe.epochs);
        let (began, latest) = (Instant::now(), String::new());
        let (asking, bar, rested) = (None, None, None);
        Watcher {
            asking,
            bar,
            batch,
            epochs,
            began,
            seen: 0,
            output,
            latest,
            rested,
            trained: (0.0, 0),
        }
    }

    /// Pictures per second of epochs after the first, with decoding and augmentation and without
    /// validation.
    pub(super) fn pictures_per_second(&self) -> Option<f64> {
        let (seconds, pictures) = self.trained;
        (seconds > 0.0).then(|| pictures as f64 / seconds)
    }

    pub(super) fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::Teachers { done, of } => {
                let bar = self.asking.get_or_insert_with(|| {
                    self.output.bar(*of as usize, "pictures shown to teachers")
                });
                bar.set_position(*done);
                if done == of {
                    bar.finish_and_clear();
                }
            }
            Event::Batch { epoch, done, of, loss } => {
                // What came before was no training.
                if self.seen == 0 {
                    self.began = Instant::now();
                }
                let total = self.epochs * of;
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = self.output.bar(total as usize, "batches");
                    bar.set_position(epoch * of);
                    bar.reset_eta();
                    bar
                });
                self.seen += self.batch as u64;
                let rate = self.seen as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
                bar.set_position(epoch * of + done);
                if let Some(rested) = self.rested.filter(|_| done == of) {
                    self.trained.0 += rested.elapsed().as_secs_f64();
                    self.trained.1 += of * self.batch as u64;
                }
                let place = format!("epoch {}/{}", epoch + 1, self.epochs);
                bar.set_message(format!(
                    "{place}, loss {loss:.4}{}, {rate:.0} pictures/s",
                    self.latest
                ));
            }
            Event::Epoch { record, is_best } => {
                let figures = [("accuracy", record.accuracy), ("macro F1", record.macro_f1)];
                let figures = figures.into_iter().filter_map(|(name, v)| Some((name, v?)));
                self.latest =
                    figures.map(|(name, value)| format!(", {name} {}", percent(value))).collect();
                let best = if *is_best { ", best so far" } else { "" };
                let line = format!(
                    "epoch {}/{}: loss {:.4}{}{best}",
                    record.epoch + 1,
                    self.epochs,
                    record.train_loss,
                    self.latest,
                );
                match &self.bar {
                    Some(bar) => bar.suspend(|| self.output.note(&line)),
                    None => self.output.note(&line),
                }
                self.rested = Some(Instant::now());
            }
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What is wrong with a run, and the way out.
impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Failure {
        Failure::new(&error).maybe_hint(error.hint())
    }
}
