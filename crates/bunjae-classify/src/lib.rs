//! From picture files to classes: decode, preprocess, run, softmax, rank.
//!
//! Owns the [`Classifier`]: a compiled model with the records that make it one that takes pictures
//! ([`Annotations`]), used alike by the program, by the executables that
//! it writes and by the C library.
//!
//! Never here: files of models, training, scores over a data set, printing.
#![forbid(unsafe_code)]

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bunjae_data::decode::{DecodeError, Limits};
use bunjae_data::{Annotations, Labels, Picture, Preprocess, Region, Scores, Source};
use bunjae_engine::{Input, Model, Output, Port, RunError, Session};
use bunjae_tensor::DType;
use thiserror::Error;

/// Why a model cannot classify pictures.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ClassifyError {
    /// Nobody said how a picture becomes the input.
    #[error("the model does not say how a picture becomes its input")]
    NoPreprocess,
    /// A record has no meaning.
    #[error("the model's record of {0}")]
    Record(String),
    /// Not one input and one output.
    #[error("the model has {} and {}; a classifier has one of each", plural(*inputs, "input"), plural(*outputs, "output"))]
    Ports {
        /// How many inputs.
        inputs: usize,
        /// How many outputs.
        outputs: usize,
    },
    /// An input or output of another kind.
    #[error("{what} `{name}` is {dtype}{shape:?}, where {expected}")]
    Port {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Its type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// What a classifier has there.
        expected: String,
    },
    /// Another number of names than of classes.
    #[error("the model tells {classes} classes apart, but there are {labels} labels")]
    Labels {
        /// Classes of the output.
        classes: usize,
        /// Names.
        labels: usize,
    },
    /// The model could not run.
    #[error(transparent)]
    Run(#[from] RunError),
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A class and how likely it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// The index of the class, from 0.
    pub class: usize,
    /// Between 0 and 1.
    pub probability: f32,
}

/// How long it took to classify pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Decoding, cutting out, resizing, and writing inputs.
    pub prepare: Duration,
    /// Running the model.
    pub run: Duration,
}

/// A compiled model that takes pictures.
pub struct Classifier {
    session: Session,
    preprocess: Preprocess,
    labels: Option<Labels>,
    scores: Scores,
    batch: usize,
    classes: usize,
    input: Vec<f32>,
    output: Vec<f32>,
    spent: Spent,
}

impl Classifier {
    /// A classifier that runs and decodes on so many threads; 0 stands for all of the machine.
    ///
    /// The model takes f32 `[batch, ...]` in the shape of the preprocessing and gives f32
    /// `[batch, classes]`, axes of length 1 aside. Where the annotations do not say what the output
    /// holds, it is taken for logits.
    ///
    /// # Errors
    /// [`ClassifyError`] where the model is none of that kind, or its annotations do not suit it.
    pub fn new(
        model: Arc<Model>,
        annotations: Annotations,
        threads: usize,
    ) -> Result<Classifier, ClassifyError> {
        let Annotations { preprocess, labels, scores } = annotations;
        let preprocess = preprocess.ok_or(ClassifyError::NoPreprocess)?;
        preprocess.check().map_err(|error| ClassifyError::Record(error.to_string()))?;
        let ([input], [output]) = (model.inputs(), model.outputs()) else {
            let (inputs, outputs) = (model.inputs().len(), model.outputs().len());
            return Err(ClassifyError::Ports { inputs, outputs });
        };
        let wrong = |what, port: &Port, expected: String| ClassifyError::Port {
            what,
            name: port.name.clone(),
            dtype: port.dtype,
            shape: port.shape.clone(),
            expected,
        };
        let shape = preprocess.shape();
        let batch = match input.shape.split_first() {
            Some((&batch, rest)) if rest == shape && input.dtype == DType::F32 => batch,
            _ => {
                let [a, b, c] = shape;
                let expected = format!("the preprocessing makes f32[N, {a}, {b}, {c}]");
                return Err(wrong("input", input, expected));
            }
        };
        let classes = match output.shape.split_first() {
            Some((&first, [classes, rest @ ..]))
                if first == batch && rest.iter().all(|&length| length == 1) =>
            {
                *classes
            }
            _ => 0,
        };
        if classes == 0 || output.dtype != DType::F32 {
            return Err(wrong("output", output, "a classifier gives f32[N, classes]".to_owned()));
        }
        if let Some(labels) = labels.as_ref().map(|labels| labels.names().len())
            && labels != classes
        {
            return Err(ClassifyError::Labels { classes, labels });
        }
        let (inputs, outputs) = (input.elements(), output.elements());
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        };
        Ok(Classifier {
            session: Session::with_threads(model, threads)?,
            preprocess,
            labels,
            scores: scores.unwrap_or(Scores::Logits),
            batch,
            classes,
            input: vec![0.0; inputs],
            output: vec![0.0; outputs],
            spent: Spent::default(),
        })
    }

    /// How many pictures go through the model at a time.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The name of a class, where there are labels.
    pub fn label(&self, class: usize) -> Option<&str> {
        self.labels.as_ref()?.names().get(class).map(String::as_str)
    }

    /// The probability of each class, for each picture, or why a picture cannot be decoded.
    /// Pictures are decoded and run batch after batch; the last is filled up with nothing.
    ///
    /// # Errors
    /// [`ClassifyError::Run`].
    pub fn classify(
        &mut self,
        pictures: &[Source],
    ) -> Result<Vec<Result<Vec<f32>, DecodeError>>, ClassifyError> {
        let channels = self.preprocess.colour.channels();
        self.run(pictures, |source| source.picture(channels, Limits::default()))
    }

    /// The probability of each class, for each part of a picture.
    ///
    /// # Errors
    /// [`ClassifyError::Run`].
    pub fn classify_regions(
        &mut self,
        picture: &Picture,
        regions: &[Region],
    ) -> Result<Vec<Vec<f32>>, ClassifyError> {
        let results = self.run(regions, |&region| Ok(picture.cropped(region)))?;
        // Nothing is decoded, so that nothing fails.
        Ok(results.into_iter().flatten().collect())
    }

    /// How long the last pictures took.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// The names of the classes, where there are any.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// Runs the pictures that `get` makes of items, batch after batch.
    fn run<T: Sync>(
        &mut self,
        items: &[T],
        get: impl Fn(&T) -> Result<Picture, DecodeError> + Sync,
    ) -> Result<Vec<Result<Vec<f32>, DecodeError>>, ClassifyError> {
        let mut results = Vec::with_capacity(items.len());
        self.spent = Spent::default();
        for part in items.chunks(self.batch.max(1)) {
            let started = Instant::now();
            let prepared = self.prepare(part, &get);
            let ready = Instant::now();
            let inputs = [Input::from(self.input.as_slice())];
            self.session.run(&inputs, &mut [Output::from(self.output.as_mut_slice())])?;
            self.spent.prepare += ready - started;
            self.spent.run += ready.elapsed();
            let rows = self.output.chunks_exact(self.classes);
            results.extend(prepared.into_iter().zip(rows).map(|(prepared, row)| {
                prepared.map(|()| match self.scores {
                    Scores::Logits => softmax(row),
                    Scores::Probabilities => row.to_vec(),
                })
            }));
        }
        Ok(results)
    }

    /// Writes up to a batch of pictures into the input, on the threads of the session. The place of
    /// a picture that cannot be had, and what is left of the batch, becomes 0.
    fn prepare<T: Sync>(
        &mut self,
        items: &[T],
        get: impl Fn(&T) -> Result<Picture, DecodeError> + Sync,
    ) -> Vec<Result<(), DecodeError>> {
        let size = (self.input.len() / self.batch.max(1)).max(1);
        let mut results: Vec<Result<(), DecodeError>> = vec![Ok(()); items.len()];
        let (used, rest) = self.input.split_at_mut(items.len() * size);
        rest.fill(0.0);
        let jobs = items.iter().zip(used.chunks_exact_mut(size)).zip(&mut results);
        let jobs = Mutex::new(jobs);
        let preprocess = &self.preprocess;
        let work = || loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(((item, place), result)) = job else { return };
            *result = get(item).map(|picture| preprocess.write(&preprocess.fitted(picture), place));
            if result.is_err() {
                place.fill(0.0);
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.session.threads().min(items.len()) {
                scope.spawn(work);
            }
            work();
        });
        results
    }
}

/// The likeliest classes, the likeliest first; of equals the one with the smaller index.
pub fn top(probabilities: &[f32], count: usize) -> Vec<Guess> {
    let guess = |(class, &probability)| Guess { class, probability };
    let mut guesses: Vec<Guess> = probabilities.iter().enumerate().map(guess).collect();
    guesses.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    guesses.truncate(count);
    guesses
}

/// `exp(x) / sum(exp(x))` in f64, shifted by the largest so that nothing overflows.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_softmax_sums_to_one_however_large_the_logits() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        let three = softmax(&[0.0, 2f32.ln(), 5f32.ln()]);
        for (found, expected) in three.iter().zip([0.125, 0.25, 0.625]) {
            assert!((found - expected).abs() < 1e-6, "{three:?}");
        }
    }

    #[test]
    fn the_likeliest_come_first_and_ties_by_index() {
        let classes = |count| -> Vec<usize> {
            top(&[0.1, 0.4, 0.1, 0.4], count).iter().map(|guess| guess.class).collect()
        };
        assert_eq!(classes(3), [1, 3, 0]);
        assert_eq!(classes(9), [1, 3, 0, 2]);
    }
}
