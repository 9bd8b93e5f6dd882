//! Metrics of classification, as functions of labels and probabilities.
//!
//! The definitions are those of scikit-learn where it has one. A share that would be 0 / 0 (the
//! precision of a class that is never predicted) counts as 0, as there.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why no metric can be computed.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum MetricError {
    /// There is nothing to measure.
    #[error("no labelled pictures")]
    Empty,
    /// There are no classes.
    #[error("no classes")]
    NoClasses,
    /// The labels and the rows of probabilities do not belong together.
    #[error("{labels} labels of {classes} classes need {expected} probabilities, not {found}")]
    Length {
        /// The number of labels.
        labels: usize,
        /// The number of classes.
        classes: usize,
        /// Their product.
        expected: usize,
        /// The number of probabilities given.
        found: usize,
    },
    /// A label is no class.
    #[error("label {label} of picture {place} is none of {classes} classes")]
    Label {
        /// The picture's place, from 0.
        place: usize,
        /// Its label.
        label: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A probability is no number between 0 and 1.
    #[error("picture {place} has the probability {value} for class {class}")]
    Probability {
        /// The picture's place, from 0.
        place: usize,
        /// The class.
        class: usize,
        /// The value.
        value: f32,
    },
}

/// Labels and probabilities that belong together: the input of every metric.
#[derive(Clone, Copy, Debug)]
pub struct Classified<'a> {
    labels: &'a [usize],
    probabilities: &'a [f32],
    classes: usize,
}

impl<'a> Classified<'a> {
    /// One label for each row of `classes` probabilities.
    ///
    /// Rows need not sum to 1, since the sum of rounded numbers does not.
    ///
    /// # Errors
    /// [`MetricError`] where the lengths do not agree, a label is no class, or a probability lies
    /// outside of 0 to 1.
    pub fn new(
        labels: &'a [usize],
        probabilities: &'a [f32],
        classes: usize,
    ) -> Result<Classified<'a>, MetricError> {
        if classes == 0 {
            return Err(MetricError::NoClasses);
        }
        if labels.is_empty() {
            return Err(MetricError::Empty);
        }
        let expected = labels.len().saturating_mul(classes);
        if expected != probabilities.len() {
            let found = probabilities.len();
            return Err(MetricError::Length { labels: labels.len(), classes, expected, found });
        }
        let strange = labels.iter().enumerate().find(|&(_, &label)| label >= classes);
        if let Some((place, &label)) = strange {
            return Err(MetricError::Label { place, label, classes });
        }
        let strange = probabilities.iter().position(|value| !(0.0..=1.0).contains(value));
        if let Some(at) = strange {
            let value = probabilities[at];
            return Err(MetricError::Probability {
                place: at / classes,
                class: at % classes,
                value,
            });
        }
        Ok(Classified { labels, probabilities, classes })
    }

    fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.probabilities.chunks_exact(self.classes)
    }

    /// The class with the highest probability of each picture; of equals the first.
    pub fn predicted(&self) -> impl Iterator<Item = usize> + 'a {
        self.rows().map(most_probable)
    }

    /// How often each class is predicted for each label.
    pub fn confusion(&self) -> Confusion {
        let mut counts = vec![vec![0; self.classes]; self.classes];
        for (&label, predicted) in self.labels.iter().zip(self.predicted()) {
            counts[label][predicted] += 1;
        }
        Confusion { counts }
    }

    /// The mean of -ln p of the right class, in nats: the cross-entropy. A probability under the
    /// smallest positive f32 counts as that, so that one mistake does not make it infinite.
    pub fn log_loss(&self) -> f64 {
        let rows = self.labels.iter().zip(self.rows());
        let sum: f64 =
            rows.map(|(&label, row)| -f64::from(row[label].max(f32::MIN_POSITIVE)).ln()).sum();
        sum / self.labels.len() as f64
    }

    /// The area under the ROC curve of class 1 against class 0; `None` unless there are two classes
    /// and pictures of both.
    ///
    /// Computed as the probability that a picture of class 1 gets a higher probability of class 1
    /// than one of class 0, equals counting half (Mann and Whitney's U).
    pub fn roc_auc(&self) -> Option<f64> {
        if self.classes != 2 {
            return None;
        }
        let mut scored: Vec<(f32, usize)> =
            self.rows().zip(self.labels).map(|(row, &label)| (row[1], label)).collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        let positives = self.labels.iter().filter(|&&label| label == 1).count() as u64;
        let negatives = self.labels.len() as u64 - positives;
        if positives == 0 || negatives == 0 {
            return None;
        }
        // Twice the wins, so that a draw is a whole number.
        let mut wins = 0u64;
        let mut below = 0u64;
        for equal in scored.chunk_by(|a, b| a.0 == b.0) {
            let ones = equal.iter().filter(|(_, label)| *label == 1).count() as u64;
            let zeros = equal.len() as u64 - ones;
            wins += ones * (2 * below + zeros);
            below += zeros;
        }
        Some(wins as f64 / (2 * positives * negatives) as f64)
    }

    /// How far confidence and accuracy lie apart.
    pub fn calibration(&self) -> Calibration {
        let mut sums = [(0usize, 0.0f64, 0usize); Calibration::BINS];
        for (&label, row) in self.labels.iter().zip(self.rows()) {
            let predicted = most_probable(row);
            let confidence = f64::from(row[predicted]);
            // Bin i holds i / BINS < confidence <= (i + 1) / BINS.
            let bin = (confidence * Calibration::BINS as f64).ceil() as usize;
            let (count, total, right) = &mut sums[bin.clamp(1, Calibration::BINS) - 1];
            *count += 1;
            *total += confidence;
            *right += usize::from(predicted == label);
        }
        let bins: Vec<Bin> = sums
            .into_iter()
            .map(|(count, total, right)| Bin {
                count,
                confidence: share(total, count),
                accuracy: share(right as f64, count),
            })
            .collect();
        let error = bins
            .iter()
            .map(|bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs())
            .sum::<f64>()
            / self.labels.len() as f64;
        Calibration { error, bins }
    }
}

/// The place of the largest value; of equals the first.
fn most_probable(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = class;
        }
    }
    best
}

fn share(part: f64, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part / whole as f64 }
}

/// How often each class is predicted for each label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// `counts[label][predicted]`.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// All pictures.
    pub fn total(&self) -> usize {
        self.counts.iter().flatten().sum()
    }

    /// The share of pictures whose class is predicted.
    pub fn accuracy(&self) -> f64 {
        let right: usize = self.counts.iter().enumerate().map(|(class, row)| row[class]).sum();
        share(right as f64, self.total())
    }

    /// The scores of each class.
    pub fn classes(&self) -> Vec<ClassScores> {
        let class = |class: usize| {
            let pictures: usize = self.counts[class].iter().sum();
            let predicted: usize = self.counts.iter().map(|row| row[class]).sum();
            let right = self.counts[class][class];
            ClassScores {
                pictures,
                predicted,
                precision: share(right as f64, predicted),
                recall: share(right as f64, pictures),
                f1: share(2.0 * right as f64, pictures + predicted),
            }
        };
        (0..self.counts.len()).map(class).collect()
    }

    /// The means of precision, recall and F1 over the classes that occur as a label or a
    /// prediction, each class counting alike.
    pub fn macro_mean(&self) -> MacroMean {
        let mut classes = self.classes();
        classes.retain(|class| class.pictures + class.predicted > 0);
        let mean =
            |value: fn(&ClassScores) -> f64| share(classes.iter().map(value).sum(), classes.len());
        MacroMean {
            precision: mean(|class| class.precision),
            recall: mean(|class| class.recall),
            f1: mean(|class| class.f1),
        }
    }
}

/// What a model makes of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Pictures with this label.
    pub pictures: usize,
    /// Pictures for which it is predicted.
    pub predicted: usize,
    /// The share of the predictions that are right.
    pub precision: f64,
    /// The share of the pictures that are found.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
}

/// Means over classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MacroMean {
    /// Of the precision.
    pub precision: f64,
    /// Of the recall; also called balanced accuracy.
    pub recall: f64,
    /// Of the F1.
    pub f1: f64,
}

/// Confidence against accuracy.
///
/// The confidence is the probability of the predicted class. Pictures are put into
/// [`Calibration::BINS`] bins of equal width by their confidence; the expected calibration error is
/// the mean over the pictures of |accuracy - mean confidence| of their bin (Guo, Pleiss, Sun,
/// Weinberger, "On Calibration of Modern Neural Networks", arXiv:1706.04599).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The expected calibration error, 0 to 1.
    pub error: f64,
    /// The bins, from low confidence to high.
    pub bins: Vec<Bin>,
}

impl Calibration {
    /// The number of bins, that of the paper.
    pub const BINS: usize = 15;
}

/// The pictures whose confidence lies in one range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many.
    pub count: usize,
    /// Their mean confidence; 0 where there are none.
    pub confidence: f64,
    /// The share of them that is right; 0 where there are none.
    pub accuracy: f64,
}

/// All metrics together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Labelled pictures.
    pub pictures: usize,
    /// The share of pictures whose class is predicted.
    pub accuracy: f64,
    /// Means over the classes.
    #[serde(rename = "macro")]
    pub mean: MacroMean,
    /// Mean cross-entropy in nats.
    pub log_loss: f64,
    /// The area under the ROC curve of class 1, of two.
    pub roc_auc: Option<f64>,
    /// Confidence against accuracy.
    pub calibration: Calibration,
    /// Each class.
    pub classes: Vec<ClassScores>,
    /// `confusion[label][predicted]`.
    pub confusion: Vec<Vec<usize>>,
}

impl Scores {
    /// Everything that can be said about these pictures.
    pub fn of(classified: &Classified<'_>) -> Scores {
        let confusion = classified.confusion();
        Scores {
            pictures: confusion.total(),
            accuracy: confusion.accuracy(),
            mean: confusion.macro_mean(),
            log_loss: classified.log_loss(),
            roc_auc: classified.roc_auc(),
            calibration: classified.calibration(),
            classes: confusion.classes(),
            confusion: confusion.counts,
        }
    }
}
