//! `bunjae evaluate`: how well a classifier does on labelled pictures.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use bunjae_classify::Classifier;
use bunjae_data::{DataError, Dataset, Item, Split, layout};
use bunjae_measure::metrics::{Classified, Scores};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::annotate::Annotating;
use crate::args::{self, positive};
use crate::command::Outcome;
use crate::command::predict::{no_preprocessing, quoted, unfit};
use crate::failure::{Failure, Fallible, closest};
use crate::interrupt::uninterrupted;
use crate::model;
use crate::number::{percent, thousands};
use crate::output::{Output, Report};
use crate::page::{Align, Page, Table, Tone};
use crate::runnable::{Compiling, Runnable};

/// Score a classifier on labelled pictures
///
/// Accuracy, precision, recall and F1 of each class and their means over the classes (macro), the
/// confusion matrix, the mean cross-entropy in nats, the area under the ROC curve where there are
/// two classes, and the expected calibration error over fifteen bins of equal width.
///
/// The data's classes are found among the model's labels by name; where the model has no labels, its
/// outputs are taken to be the classes in the order of their names.
#[derive(Debug, Args)]
#[command(after_help = "Examples: bunjae evaluate mask.onnx --data pictures\n  \
    bunjae evaluate mask.onnx --data pictures --split test --min-accuracy 95% --predictions scores.csv")]
pub(crate) struct Evaluate {
    /// The model: an ONNX file, or one that `bunjae compile` wrote
    model: PathBuf,
    /// The data set: a folder or a CSV manifest, as `bunjae data` reads it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which pictures; data without splits is scored as a whole
    #[arg(long, value_enum, default_value = "val")]
    split: SplitArg,
    /// Write what the model says about each picture as comma-separated values
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Fail with exit code 1 where the accuracy is lower
    #[arg(long, value_name = "SHARE", value_parser = args::share)]
    min_accuracy: Option<f64>,
    /// Fail with exit code 1 where the macro F1 is lower
    #[arg(long, value_name = "SHARE", value_parser = args::share)]
    min_f1: Option<f64>,
    /// The share of pictures that may be corrupt; they are left out
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0.01")]
    max_corrupt: f64,
    /// How many pictures go through the model at a time, where it leaves that open
    #[arg(long, value_name = "N", value_parser = positive, default_value = "32", help_heading = "Engine")]
    batch: NonZeroUsize,
    /// The threads that decode and compute [default: all of the machine]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Engine")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    compiling: Compiling,
    #[command(flatten)]
    annotating: Annotating,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitArg {
    Train,
    Val,
    Test,
    /// Every picture
    All,
}

#[derive(Serialize)]
struct Evaluation {
    model: String,
    data: String,
    /// `train`, `val`, `test` or `all`.
    split: &'static str,
    labels: Vec<String>,
    /// Pictures that could not be decoded.
    corrupt: usize,
    #[serde(flatten)]
    scores: Scores,
    /// The lowest figures that were asked for.
    min_accuracy: Option<f64>,
    min_f1: Option<f64>,
    passed: bool,
}

/// The labelled pictures and what the model says about them.
struct Answers {
    items: Vec<Item>,
    labels: Vec<usize>,
    probabilities: Vec<f32>,
    corrupt: usize,
}

impl Evaluate {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        if let Some(target) = &self.predictions {
            model::check_target(target, Some(&self.model))?;
        }
        let dataset = layout::open(&self.data)?;
        let (dataset, split) = self.chosen(dataset, output)?;
        let runnable = Runnable::open(&self.model, &self.compiling, output)?;
        let annotations = runnable.annotations(&self.annotating)?;
        let shown = self.model.display().to_string();
        let Some(preprocess) = &annotations.preprocess else {
            return Err(no_preprocessing(&shown));
        };
        let names = annotations.labels.as_ref().map(|labels| labels.names().to_vec());
        let sizes = runnable.picture_sizes(Some(self.batch.get()), preprocess);
        let threads = self.threads.map_or(0, NonZeroUsize::get);
        let compiled = runnable.compile(&self.compiling, threads, sizes)?;
        let mut classifier =
            Classifier::new(compiled, annotations, threads).map_err(|e| unfit(&shown, &e))?;
        let names = names.unwrap_or_else(|| dataset.classes.clone());
        let places = places(&dataset, &names, classifier.classes())?;
        let answers = self.answers(&mut classifier, dataset, &places, output)?;
        let classes = classifier.classes();
        let classified = Classified::new(&answers.labels, &answers.probabilities, classes)
            .map_err(|error| Failure::new(format!("{shown}: {error}")))?;
        let scores = Scores::of(&classified);
        if let Some(target) = &self.predictions {
            let table = table(&answers, &names, &classified);
            uninterrupted(|| bunjae_onnx::atomic::write(target, table.as_bytes()))
                .map_err(Failure::new)?;
        }
        let meets = |least: Option<f64>, found: f64| least.is_none_or(|least| found >= least);
        let passed =
            meets(self.min_accuracy, scores.accuracy) && meets(self.min_f1, scores.mean.f1);
        output.report(&Evaluation {
            model: shown,
            data: self.data.display().to_string(),
            split,
            labels: names,
            corrupt: answers.corrupt,
            scores,
            min_accuracy: self.min_accuracy,
            min_f1: self.min_f1,
            passed,
        })?;
        Ok(if passed { Outcome::Done } else { Outcome::CheckFailed })
    }

    /// The labelled pictures asked for, and what they are called.
    fn chosen(&self, mut dataset: Dataset, output: &Output) -> Fallible<(Dataset, &'static str)> {
        let split = match self.split {
            SplitArg::Train => Some(Split::Train),
            SplitArg::Val => Some(Split::Val),
            SplitArg::Test => Some(Split::Test),
            SplitArg::All => None,
        };
        let shown = self.data.display();
        let unsplit = dataset.items.iter().all(|item| item.split.is_none());
        if unsplit && split.is_some() {
            output.note(&format!("note: {shown} has no splits, so all pictures are scored"));
        }
        let name = match split {
            Some(split) if !unsplit => {
                dataset = dataset.part(split);
                split.name()
            }
            _ => "all",
        };
        dataset.items.retain(|item| item.label.is_some());
        if dataset.items.is_empty() {
            let what = format!("{shown} has no labelled pictures in `{name}`");
            return Err(Failure::new(what).hint("`bunjae data inspect` counts them"));
        }
        Ok((dataset, name))
    }

    /// Runs the model on every picture; `places` says which output stands for which class.
    fn answers(
        &self,
        classifier: &mut Classifier,
        dataset: Dataset,
        places: &[usize],
        output: &Output,
    ) -> Fallible<Answers> {
        let total = dataset.items.len();
        let mut answers = Answers {
            items: Vec::with_capacity(total),
            labels: Vec::with_capacity(total),
            probabilities: Vec::new(),
            corrupt: 0,
        };
        let mut first = None;
        let bar = output.bar(total, "pictures");
        for part in dataset.items.chunks(classifier.batch().max(1)) {
            let sources: Vec<_> = part.iter().map(|item| item.source.clone()).collect();
            let results = classifier.classify(&sources).map_err(Failure::new)?;
            for (item, result) in part.iter().zip(results) {
                let place = item.label.and_then(|label| places.get(label));
                match (result, place) {
                    (Ok(probabilities), Some(&label)) => {
                        answers.items.push(item.clone());
                        answers.labels.push(label);
                        answers.probabilities.extend(probabilities);
                    }
                    (Err(error), _) => {
                        let what = format!("{}: {error}", item.source);
                        output.note(&format!("note: {what}"));
                        answers.corrupt += 1;
                        first.get_or_insert(what);
                    }
                    (Ok(_), None) => {
                        return Err(Failure::new(format!(
                            "{}: its label is no class",
                            item.source
                        )));
                    }
                }
            }
            bar.inc(part.len() as u64);
        }
        bar.finish_and_clear();
        let corrupt = answers.corrupt;
        match first {
            Some(first) if corrupt == total || corrupt as f64 > self.max_corrupt * total as f64 => {
                let share = self.max_corrupt;
                Err(DataError::TooManyCorrupt { corrupt, total, share, first }.into())
            }
            _ => Ok(answers),
        }
    }
}

/// For each class of the data, which of the model's outputs stands for it.
fn places(dataset: &Dataset, names: &[String], outputs: usize) -> Fallible<Vec<usize>> {
    let found = |class: &String| names.iter().position(|name| name == class);
    if names.len() != outputs {
        let what = format!("the model tells {outputs} classes apart, the data has {}", names.len());
        return Err(Failure::new(what)
            .hint("`--labels` says which class each output of the model stands for"));
    }
    let place = |class: &String| {
        found(class).ok_or_else(|| {
            let what = format!("the data has the class `{class}`, which is none of the model's");
            let similar = closest(class, names.iter().map(String::as_str));
            Failure::new(what)
                .maybe_hint(similar.map(|similar| format!("the model has `{similar}`")))
                .hint("`--labels` gives the model's outputs the names that the data uses")
        })
    };
    dataset.classes.iter().map(place).collect()
}

/// One line for each picture: where it is, its label, what is predicted, and every probability.
fn table(answers: &Answers, names: &[String], classified: &Classified<'_>) -> String {
    let mut text = String::from("picture,label,predicted");
    names.iter().for_each(|name| {
        let _ = write!(text, ",{}", quoted(name));
    });
    text.push('\n');
    let name = |class: usize| names.get(class).map(|name| quoted(name)).unwrap_or_default();
    let rows = answers.probabilities.chunks_exact(names.len().max(1));
    let pictures = answers.items.iter().zip(&answers.labels).zip(classified.predicted()).zip(rows);
    for (((item, &label), predicted), row) in pictures {
        let picture = quoted(&item.source.to_string());
        let _ = write!(text, "{picture},{},{}", name(label), name(predicted));
        row.iter().for_each(|probability| {
            let _ = write!(text, ",{probability}");
        });
        text.push('\n');
    }
    text
}

impl Report for Evaluation {
    const COMMAND: &'static str = "evaluate";

    fn write(&self, page: &mut Page) {
        let Evaluation { scores, .. } = self;
        let pictures = thousands(scores.pictures as u64);
        let mut fields = vec![
            ("model", self.model.clone()),
            ("data", format!("{}, {}", self.data, self.split)),
            ("pictures", pictures),
        ];
        if self.corrupt > 0 {
            fields.push(("corrupt, left out", thousands(self.corrupt as u64)));
        }
        fields.extend([
            ("accuracy", percent(scores.accuracy)),
            ("macro F1", percent(scores.mean.f1)),
            ("macro precision", percent(scores.mean.precision)),
            ("macro recall", percent(scores.mean.recall)),
            ("cross-entropy", format!("{:.4}", scores.log_loss)),
        ]);
        fields.extend(scores.roc_auc.map(|area| ("ROC AUC", format!("{area:.4}"))));
        fields.push(("calibration error", format!("{:.4}", scores.calibration.error)));
        page.fields(fields);
        page.gap();
        let mut table = Table::new([
            ("class", Align::Left),
            ("pictures", Align::Right),
            ("predicted", Align::Right),
            ("precision", Align::Right),
            ("recall", Align::Right),
            ("F1", Align::Right),
        ]);
        let named = || self.labels.iter().zip(&scores.classes).enumerate();
        // A model of a thousand classes has few lines to show for a data set of ten.
        let occurs =
            |class: &bunjae_measure::metrics::ClassScores| class.pictures + class.predicted > 0;
        for (_, (label, class)) in named().filter(|(_, (_, class))| occurs(class)) {
            table.row([
                label.clone(),
                thousands(class.pictures as u64),
                thousands(class.predicted as u64),
                percent(class.precision),
                percent(class.recall),
                percent(class.f1),
            ]);
        }
        page.table(&table);
        page.heading("confused");
        let mut confused = Table::new([
            ("class", Align::Left),
            ("taken for", Align::Left),
            ("pictures", Align::Right),
        ]);
        for (label, row) in self.labels.iter().zip(&scores.confusion) {
            for (predicted, &count) in self.labels.iter().zip(row) {
                if count > 0 && label != predicted {
                    confused.row([label.clone(), predicted.clone(), thousands(count as u64)]);
                }
            }
        }
        match confused.is_empty() {
            true => page.line("none"),
            false => page.table(&confused),
        }
        let least = [
            ("accuracy", self.min_accuracy, scores.accuracy),
            ("macro F1", self.min_f1, scores.mean.f1),
        ];
        for (name, least, found) in least {
            let Some(least) = least else { continue };
            page.gap();
            let (tone, relation) = match found >= least {
                true => (Tone::Good, "reaches"),
                false => (Tone::Bad, "does not reach"),
            };
            page.toned(tone, &format!("{name} {} {relation} {}", percent(found), percent(least)));
        }
    }
}
