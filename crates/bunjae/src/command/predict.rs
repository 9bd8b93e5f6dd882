//! `bunjae predict`: pictures in, classes out.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunjae_classify::{Classifier, ClassifyError, Guess, top};
use bunjae_data::decode::DecodeError;
use bunjae_data::{Annotations, Source};
use bunjae_engine::Model;
use bunjae_tensor::DType;
use clap::{Args, Parser};
use serde::Serialize;

use crate::annotate::Annotating;
use crate::args::{Global, positive};
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::number::{percent, plural};
use crate::output::Output;
use crate::page::printable;
use crate::runnable::{Compiling, Runnable};

/// The most pictures that go through the model at a time, unless told otherwise.
const BATCH: usize = 8;

/// Say what is on pictures
///
/// Pictures are JPEG, PNG, WebP, BMP or GIF files, or folders of them, which are walked in the order
/// of names. How a picture becomes the input, what the classes are called and whether the output has
/// to go through a softmax stand in the model's metadata (`bunjae annotate` writes them) or are
/// given here. A model that says nothing about its output gives probabilities where it ends in a
/// softmax or a sigmoid, and logits otherwise.
///
/// One line for each picture; as JSON, one document for each line. A picture that cannot be decoded
/// is named on stderr and left out, and the exit code is then 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples: bunjae predict named.onnx holiday/ --top 1 --csv\n  \
    bunjae predict net.onnx cat.jpg --labels names.txt --preprocess imagenet")]
pub(crate) struct Predict {
    /// The model: an ONNX file, or one that `bunjae compile` wrote
    model: PathBuf,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    compiling: Compiling,
    #[command(flatten)]
    annotating: Annotating,
}

/// Which pictures, and how the answer looks.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// Pictures, and folders of pictures
    #[arg(required = true, value_name = "PICTURE|FOLDER")]
    pictures: Vec<PathBuf>,
    /// How many classes to name for each picture
    #[arg(long, short = 'k', value_name = "K", value_parser = positive, default_value = "3")]
    top: NonZeroUsize,
    /// Print comma-separated values: a line for each picture and class
    #[arg(long)]
    csv: bool,
    /// The threads that decode and compute [default: all of the machine]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Engine")]
    threads: Option<NonZeroUsize>,
    /// How many pictures go through the model at a time, where it leaves that open [default: 8, or
    /// as many as there are]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Engine")]
    batch: Option<NonZeroUsize>,
}

impl Predict {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let pictures = self.asked.pictures(output)?;
        let runnable = Runnable::open(&self.model, &self.compiling, output)?;
        let annotations = runnable.annotations(&self.annotating)?;
        self.asked.run(&runnable, &self.compiling, annotations, &pictures, output)
    }
}

/// What an executable with a model of its own is asked.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "Says what is on pictures, with the model that this executable brings along",
    long_about = "Says what is on pictures, with the model that this executable brings along.\n\n\
        The exit code is 0 when all pictures were decoded, 1 when some were not, and 2 for an error."
)]
pub(crate) struct Standalone {
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    global: Global,
}

impl Standalone {
    pub(crate) fn global(&self) -> &Global {
        &self.global
    }

    /// Answers with the model in a part of this executable.
    pub(crate) fn run(&self, own: &Path, part: Range<u64>, output: &Output) -> Fallible<Outcome> {
        let pictures = self.asked.pictures(output)?;
        let runnable = Runnable::open_within(own, part)?;
        let annotations = runnable.annotations(&Annotating::default())?;
        self.asked.run(&runnable, &Compiling::default(), annotations, &pictures, output)
    }
}

/// Makes sure that a model can be asked for what is on pictures.
pub(super) fn check(path: &Path, model: Arc<Model>, annotations: Annotations) -> Fallible<()> {
    let shown = path.display().to_string();
    if annotations.preprocess.is_none() {
        return Err(no_preprocessing(&shown));
    }
    Classifier::new(model, annotations, 1).map(|_| ()).map_err(|error| unfit(&shown, &error))
}

impl Asked {
    /// Answers with a model.
    fn run(
        &self,
        runnable: &Runnable,
        compiling: &Compiling,
        annotations: Annotations,
        pictures: &[Source],
        output: &Output,
    ) -> Fallible<Outcome> {
        let shown = runnable.path.display().to_string();
        let Some(preprocess) = &annotations.preprocess else {
            return Err(no_preprocessing(&shown));
        };
        let batch = match self.batch {
            Some(batch) => batch.get(),
            None => BATCH.min(pictures.len()).max(1),
        };
        let sizes = runnable.picture_sizes(Some(batch), preprocess);
        let threads = self.threads.map_or(0, NonZeroUsize::get);
        let model = runnable.compile(compiling, threads, sizes)?;
        let classifier =
            Classifier::new(model, annotations, threads).map_err(|error| unfit(&shown, &error))?;
        self.answer(classifier, pictures, output)
    }

    /// The pictures in the order given, those of a folder in the order of their names.
    fn pictures(&self, output: &Output) -> Fallible<Vec<Source>> {
        let mut pictures = Vec::new();
        for path in &self.pictures {
            if !path.is_dir() {
                pictures.push(Source::File(path.clone()));
                continue;
            }
            let found = bunjae_data::layout::unlabelled(path).map_err(Failure::new)?;
            for skipped in &found.skipped {
                output.note(&format!("note: {}: {}", skipped.path.display(), skipped.why));
            }
            pictures.extend(found.items.into_iter().map(|item| item.source));
        }
        Ok(pictures)
    }

    /// Classifies the pictures and prints the answers as they come.
    fn answer(
        &self,
        mut classifier: Classifier,
        pictures: &[Source],
        output: &Output,
    ) -> Fallible<Outcome> {
        if classifier.label(0).is_none() {
            output.note(
                "note: the model has no labels, so classes are shown by number; \
                 `--labels` or `bunjae annotate` names them",
            );
        }
        let mut broken = 0;
        if self.csv && !output.stream("picture,rank,class,label,probability\n")? {
            return Ok(Outcome::Done);
        }
        for part in pictures.chunks(classifier.batch().max(1)) {
            let results = classifier.classify(part).map_err(Failure::new)?;
            let mut text = String::new();
            for (picture, result) in part.iter().zip(results) {
                let picture = picture.to_string();
                match &result {
                    Ok(probabilities) => {
                        let guesses = top(probabilities, self.top.get());
                        self.write(&mut text, &picture, &guesses, &classifier, output)?;
                    }
                    Err(error) => {
                        broken += 1;
                        output.failure(&Failure::new(format!("{picture}: {error}")));
                        if !self.csv && output.is_json() {
                            text.push_str(&Line::broken(&picture, error).json()?);
                        }
                    }
                }
            }
            if !output.stream(&text)? {
                return Ok(Outcome::Done);
            }
        }
        Ok(outcome(broken, pictures.len(), output))
    }

    fn write(
        &self,
        text: &mut String,
        picture: &str,
        guesses: &[Guess],
        classifier: &Classifier,
        output: &Output,
    ) -> Fallible<()> {
        if self.csv {
            for (rank, guess) in guesses.iter().enumerate() {
                let label = classifier.label(guess.class).unwrap_or_default();
                let Guess { class, probability } = guess;
                let (picture, label) = (quoted(picture), quoted(label));
                let _ = writeln!(text, "{picture},{},{class},{label},{probability}", rank + 1);
            }
        } else if output.is_json() {
            text.push_str(&Line::classified(picture, guesses, classifier).json()?);
        } else {
            let class = |guess: &Guess| {
                let name = match classifier.label(guess.class) {
                    Some(label) => label.to_string(),
                    None => format!("class {}", guess.class),
                };
                format!("{name} {}", percent(f64::from(guess.probability)))
            };
            let classes = guesses.iter().map(class).collect::<Vec<_>>().join("; ");
            let _ = writeln!(text, "{}: {}", printable(picture), printable(&classes));
        }
        Ok(())
    }
}

/// What is said about one picture, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    command: &'static str,
    picture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Class<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Class<'a> {
    class: usize,
    label: Option<&'a str>,
    probability: f32,
}

impl<'a> Line<'a> {
    fn new(picture: &'a str) -> Line<'a> {
        let schema_version = crate::output::SCHEMA_VERSION;
        Line { schema_version, command: "predict", picture, classes: None, error: None }
    }

    fn classified(picture: &'a str, guesses: &[Guess], classifier: &'a Classifier) -> Line<'a> {
        let class = |&Guess { class, probability }: &Guess| Class {
            class,
            label: classifier.label(class),
            probability,
        };
        Line { classes: Some(guesses.iter().map(class).collect()), ..Line::new(picture) }
    }

    fn broken(picture: &'a str, error: &DecodeError) -> Line<'a> {
        Line { error: Some(error.to_string()), ..Line::new(picture) }
    }

    fn json(&self) -> Fallible<String> {
        serde_json::to_string(self).map(|text| text + "\n").map_err(Failure::new)
    }
}

/// How a command over pictures came out: what could not be decoded is counted, and fails a check.
pub(super) fn outcome(broken: usize, pictures: usize, output: &Output) -> Outcome {
    if broken == 0 {
        return Outcome::Done;
    }
    let all = plural(pictures, "picture");
    output.note(&format!("note: {broken} of {all} could not be decoded"));
    Outcome::CheckFailed
}

/// A field of comma-separated values, as RFC 4180 has it.
pub(super) fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_string(),
    }
}

pub(super) fn no_preprocessing(model: &str) -> Failure {
    Failure::new(format!("{model} does not say how a picture becomes its input")).hint(
        "say it here, as in `--preprocess imagenet`, or once and for all with `bunjae annotate`",
    )
}

pub(super) fn unfit(model: &str, error: &ClassifyError) -> Failure {
    let failure = Failure::new(format!("{model}: {error}"));
    match error {
        ClassifyError::Labels { classes, labels } if *classes > 100 && labels + 1 == *classes => {
            failure.hint(
                "some models have a class for the background first; the list needs a line for it",
            )
        }
        ClassifyError::Port { what: "input", dtype: DType::F32, shape, .. } if shape.len() == 4 => {
            failure.hint("`--picture`, `--colour` and `--layout` change what is made of a picture")
        }
        ClassifyError::Port { .. } | ClassifyError::Ports { .. } => failure.hint(
            "only classifiers of pictures can be asked; `bunjae bench` and `bunjae compile` take \
             every model",
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn fields_with_commas_are_quoted() {
        assert_eq!(quoted("tench"), "tench");
        assert_eq!(quoted("tench, Tinca tinca"), "\"tench, Tinca tinca\"");
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
    }
}
