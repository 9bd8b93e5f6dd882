//! `bunjae evaluate`: how well a classifier does on labelled pictures.

mod scoring;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use bunjae_measure::metrics::Scores;
use clap::Args;
use serde::Serialize;

pub(crate) use self::scoring::{Labelled, Scored, Scoring, SplitArg};
use crate::annotate::Annotating;
use crate::args::{self, positive};
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
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

impl Evaluate {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        if let Some(target) = &self.predictions {
            model::check_target(target, Some(&self.model))?;
        }
        let Labelled { dataset, split } = Labelled::open(&self.data, self.split, output)?;
        let runnable = Runnable::open(&self.model, &self.compiling, output)?;
        let scoring = Scoring {
            compiling: &self.compiling,
            annotating: &self.annotating,
            batch: self.batch.get(),
            threads: self.threads.map_or(0, NonZeroUsize::get),
            max_corrupt: self.max_corrupt,
        };
        let scored = scoring.score(&runnable, &dataset, output)?;
        if let Some(target) = &self.predictions {
            uninterrupted(|| bunjae_files::write(target, scored.table().as_bytes()))
                .map_err(Failure::new)?;
        }
        let Scored { names, scores, corrupt, .. } = scored;
        let meets = |least: Option<f64>, found: f64| least.is_none_or(|least| found >= least);
        let passed =
            meets(self.min_accuracy, scores.accuracy) && meets(self.min_f1, scores.mean.f1);
        output.report(&Evaluation {
            model: self.model.display().to_string(),
            data: self.data.display().to_string(),
            split,
            labels: names,
            corrupt,
            scores,
            min_accuracy: self.min_accuracy,
            min_f1: self.min_f1,
            passed,
        })?;
        Ok(if passed { Outcome::Done } else { Outcome::CheckFailed })
    }
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
