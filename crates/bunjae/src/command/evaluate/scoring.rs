//! The scores of one model on labelled pictures.

use std::fmt::Write;
use std::path::Path;

use bunjae_classify::Classifier;
use bunjae_data::{DataError, Dataset, Item, Split, layout};
use bunjae_measure::metrics::{Classified, Scores};
use clap::ValueEnum;

use crate::annotate::Annotating;
use crate::command::predict::{no_preprocessing, quoted, unfit};
use crate::failure::{Failure, Fallible, closest};
use crate::output::Output;
use crate::runnable::{Compiling, Runnable};

/// Which pictures of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitArg {
    Train,
    Val,
    Test,
    /// Every picture
    All,
}

/// The labelled pictures of a part of a data set.
pub(crate) struct Labelled {
    pub(crate) dataset: Dataset,
    /// `train`, `val`, `test` or `all`.
    pub(crate) split: &'static str,
}

impl Labelled {
    /// The part asked for; all pictures where the data has no parts.
    ///
    /// # Errors
    /// There are no labelled pictures in it.
    pub(crate) fn open(data: &Path, split: SplitArg, output: &Output) -> Fallible<Labelled> {
        let mut dataset = layout::open(data)?;
        let split = match split {
            SplitArg::Train => Some(Split::Train),
            SplitArg::Val => Some(Split::Val),
            SplitArg::Test => Some(Split::Test),
            SplitArg::All => None,
        };
        let shown = data.display();
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
        Ok(Labelled { dataset, split: name })
    }
}

/// How a model is scored.
pub(crate) struct Scoring<'a> {
    pub(crate) compiling: &'a Compiling,
    pub(crate) annotating: &'a Annotating,
    /// Pictures that go through the model at a time, where it leaves that open.
    pub(crate) batch: usize,
    /// Threads; 0 for all of the machine.
    pub(crate) threads: usize,
    /// The share of pictures that may be corrupt.
    pub(crate) max_corrupt: f64,
}

/// What a model says about each picture, and the scores that come of it.
pub(crate) struct Scored {
    /// The classes in the order of the model's outputs.
    pub(crate) names: Vec<String>,
    pub(crate) scores: Scores,
    /// Pictures that could not be decoded.
    pub(crate) corrupt: usize,
    items: Vec<Item>,
    labels: Vec<usize>,
    predicted: Vec<usize>,
    probabilities: Vec<f32>,
}

/// The labelled pictures and what the model says about them.
struct Answers {
    items: Vec<Item>,
    labels: Vec<usize>,
    probabilities: Vec<f32>,
    corrupt: usize,
}

impl Scoring<'_> {
    /// Runs the model on every picture.
    ///
    /// # Errors
    /// The model takes no pictures or has other classes, or too many pictures are corrupt.
    pub(crate) fn score(
        &self,
        runnable: &Runnable,
        dataset: &Dataset,
        output: &Output,
    ) -> Fallible<Scored> {
        let annotations = runnable.annotations(self.annotating)?;
        let shown = runnable.path.display().to_string();
        let Some(preprocess) = &annotations.preprocess else {
            return Err(no_preprocessing(&shown));
        };
        let names = annotations.labels.as_ref().map(|labels| labels.names().to_vec());
        let sizes = runnable.picture_sizes(Some(self.batch), preprocess);
        let compiled = runnable.compile(self.compiling, self.threads, sizes)?;
        let mut classifier =
            Classifier::new(compiled, annotations, self.threads).map_err(|e| unfit(&shown, &e))?;
        let names = names.unwrap_or_else(|| dataset.classes.clone());
        let places = places(dataset, &names, classifier.classes())?;
        let answers = self.answers(&mut classifier, dataset, &places, output)?;
        let classes = classifier.classes();
        let classified = Classified::new(&answers.labels, &answers.probabilities, classes)
            .map_err(|error| Failure::new(format!("{shown}: {error}")))?;
        let (scores, predicted) = (Scores::of(&classified), classified.predicted().collect());
        let Answers { items, labels, probabilities, corrupt } = answers;
        Ok(Scored { names, scores, corrupt, items, labels, predicted, probabilities })
    }

    /// Runs the model on every picture; `places` says which output stands for which class.
    fn answers(
        &self,
        classifier: &mut Classifier,
        dataset: &Dataset,
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

/// What a model says about one picture.
pub(crate) struct Prediction<'a> {
    pub(crate) picture: String,
    pub(crate) label: &'a str,
    pub(crate) predicted: &'a str,
    /// Those of all classes.
    pub(crate) probabilities: &'a [f32],
    /// That of the predicted class.
    pub(crate) probability: f32,
}

impl Scored {
    /// What is said about each picture, in their order.
    pub(crate) fn predictions(&self) -> impl Iterator<Item = Prediction<'_>> {
        let name = |class: usize| self.names.get(class).map_or("", |name| name);
        let rows = self.probabilities.chunks_exact(self.names.len().max(1));
        let pictures = self.items.iter().zip(&self.labels).zip(&self.predicted).zip(rows);
        pictures.map(move |(((item, &label), &predicted), probabilities)| Prediction {
            picture: item.source.to_string(),
            label: name(label),
            predicted: name(predicted),
            probabilities,
            probability: probabilities.get(predicted).copied().unwrap_or_default(),
        })
    }

    /// One line for each picture: where it is, its label, what is predicted, and every probability.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("picture,label,predicted");
        self.names.iter().for_each(|name| {
            let _ = write!(text, ",{}", quoted(name));
        });
        text.push('\n');
        for Prediction { picture, label, predicted, probabilities, .. } in self.predictions() {
            let _ = write!(text, "{},{},{}", quoted(&picture), quoted(label), quoted(predicted));
            probabilities.iter().for_each(|probability| {
                let _ = write!(text, ",{probability}");
            });
            text.push('\n');
        }
        text
    }
}
