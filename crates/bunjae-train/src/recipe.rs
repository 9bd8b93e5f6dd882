//! What a run does, as plain data: everything that decides about the model it ends with, but for
//! the pictures and the model it begins with.

use bunjae_data::augment::{Augment, Mix};
use bunjae_data::sampler::Order;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::optimiser::Rule;
use crate::schedule::{Course, Schedule};
use crate::stop::Metric;

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// How often all pictures are seen.
    pub epochs: u64,
    /// Pictures in a batch.
    pub batch: usize,
    /// Batches whose gradients are added up for one step of the optimiser.
    pub accumulate: u64,
    /// The optimiser.
    pub rule: Rule,
    /// Weight decay, of weights alone.
    pub decay: f32,
    /// The highest learning rate.
    pub rate: f64,
    /// Its course. The steps at which it drops are counted in epochs here.
    pub course: Course,
    /// Epochs in which it rises.
    pub warm_up: f64,
    /// The largest norm of all gradients together.
    pub clip: Option<f32>,
    /// The decay of a moving average that is kept of the weights; the average is then the model.
    pub average: Option<f32>,
    /// What is made smaller.
    pub objective: Objective,
    /// What is learnt from a teacher.
    pub distil: Option<Distil>,
    /// Which pictures an epoch shows.
    pub order: Order,
    /// What is done to each training picture.
    pub augment: Augment,
    /// What is done to each batch.
    pub mix: Option<Mix>,
    /// Names of layers or weights that stay as they are; `*` and `?` stand for any text and any
    /// character, and a name for everything below it.
    pub freeze: Vec<String>,
    /// By which figure the best epoch is chosen.
    pub metric: Metric,
    /// Epochs without a better figure after which the run ends.
    pub patience: Option<u64>,
    /// By how much a figure has to be better to count for the patience.
    pub least_gain: f64,
    /// What everything random follows from.
    pub seed: u64,
}

/// The loss of labelled pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// The share of a target that is spread over all classes (label smoothing).
    pub smoothing: f32,
    /// Focal loss's gamma; 0 for cross-entropy.
    pub focal: f64,
    /// How much a class weighs.
    pub weights: ClassWeights,
}

/// How much a picture of a class weighs in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All alike.
    Equal,
    /// Inverse to the number of its pictures.
    Inverse,
    /// Inverse to the square root of that number.
    Root,
}

/// How a student learns from a teacher: `labels * loss + (1 - labels) * (kd + logits + noisy)`, to
/// which dkd, dist, fitnet and at are added with their own weights, each where it is asked for. Where
/// none of the first three is, the loss of the labels counts in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distil {
    /// What is compared: one method or several.
    pub methods: Vec<Method>,
    /// The share of the labels, 0 to 1.
    pub labels: f64,
}

/// What of a teacher a student imitates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Method {
    /// Softened probabilities (Hinton, Vinyals, Dean, arXiv:1503.02531).
    Kd {
        /// Divides the logits.
        temperature: f64,
    },
    /// The logits themselves, by their mean squared error (Ba and Caruana, arXiv:1312.6184).
    Logits,
    /// Logits that are multiplied by 1 plus normal noise (Sau and Balasubramanian,
    /// arXiv:1610.09650), for every method of the run.
    Noisy {
        /// The noise's deviation.
        deviation: f64,
    },
    /// Decoupled: target and other classes apart (Zhao et al., arXiv:2203.08679).
    Dkd {
        /// Divides the logits.
        temperature: f64,
        /// The weight of the target class.
        alpha: f64,
        /// The weight of the other classes.
        beta: f64,
        /// Epochs in which the term's weight grows, from 1 / `warm_up` in the first to 1, as in the
        /// authors' code, where it is 20 of 240; 0 or 1 for none.
        warm_up: u64,
    },
    /// Correlations of rows and columns (Huang et al., arXiv:2205.10536).
    Dist {
        /// Divides the logits.
        temperature: f64,
        /// The weight of relations between classes.
        beta: f64,
        /// The weight of relations between pictures.
        gamma: f64,
    },
    /// The features of a layer in the middle, which a convolution of 1 x 1 on the student's foretells
    /// (Romero et al., arXiv:1412.6550). It is trained along, and is no part of the model. Hint and
    /// labels are learnt together, as in later comparisons, not one after the other.
    FitNet {
        /// The layers; those in the middle of [`Method::At`]'s where none are given.
        hint: Option<Hint>,
        /// The weight of the term, usually 100.
        weight: f64,
    },
    /// Where the features of layers are large (attention transfer; Zagoruyko and Komodakis,
    /// arXiv:1612.03928).
    At {
        /// The layers; where none are given, the last of each picture size that both models have.
        hints: Vec<Hint>,
        /// The weight of the term, usually 1000; the mean over the hints counts.
        weight: f64,
    },
}

/// Layers that are compared, by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// The student's.
    pub student: String,
    /// The teacher's.
    pub teacher: String,
}

impl Method {
    /// Whether it shares the loss with the labels, rather than being added.
    pub(crate) fn shares(&self) -> bool {
        matches!(self, Method::Kd { .. } | Method::Logits | Method::Noisy { .. })
    }

    /// Whether it compares features inside the networks.
    pub(crate) fn takes_hints(&self) -> bool {
        matches!(self, Method::FitNet { .. } | Method::At { .. })
    }

    fn check(&self) -> Result<(), TrainError> {
        let not_negative = |setting, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(TrainError::setting(setting, format!("{value} is below 0"))),
        };
        match self {
            Method::Noisy { deviation } => not_negative("noise", *deviation),
            Method::Dkd { alpha, beta, .. } => {
                not_negative("alpha", *alpha)?;
                not_negative("beta", *beta)
            }
            Method::Dist { beta, gamma, .. } => {
                not_negative("beta", *beta)?;
                not_negative("gamma", *gamma)
            }
            Method::FitNet { weight, .. } => not_negative("weight of fitnet", *weight),
            Method::At { weight, .. } => not_negative("weight of at", *weight),
            // Temperatures are checked where the loss is written.
            Method::Kd { .. } | Method::Logits => Ok(()),
        }
    }
}

impl Recipe {
    /// Checks that every number has a meaning.
    ///
    /// # Errors
    /// [`TrainError::Setting`]. What concerns the optimiser is checked when it is made.
    pub fn check(&self) -> Result<(), TrainError> {
        let at_least_one = |setting, value: u64| match value {
            0 => Err(TrainError::setting(setting, "0 is not over 0")),
            _ => Ok(()),
        };
        let share = |setting, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(TrainError::setting(setting, format!("{value} is not within 0 and 1"))),
        };
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch", self.batch as u64)?;
        at_least_one("accumulate", self.accumulate)?;
        if self.epochs > MAX_EPOCHS {
            let what = format!("{} is over {MAX_EPOCHS}", self.epochs);
            return Err(TrainError::setting("epochs", what));
        }
        if !(self.warm_up.is_finite() && (0.0..=self.epochs as f64).contains(&self.warm_up)) {
            let what = format!("{} epochs of {}", self.warm_up, self.epochs);
            return Err(TrainError::setting("warm-up", what));
        }
        if let Some(clip) = self.clip
            && !(clip.is_finite() && clip > 0.0)
        {
            return Err(TrainError::setting("clip", format!("{clip} is not over 0")));
        }
        share("label smoothing", f64::from(self.objective.smoothing))?;
        if !(self.objective.focal.is_finite() && self.objective.focal >= 0.0) {
            let what = format!("{} is below 0", self.objective.focal);
            return Err(TrainError::setting("focal", what));
        }
        if let Some(distil) = &self.distil {
            share("share of the labels", distil.labels)?;
            if distil.methods.is_empty() {
                return Err(TrainError::setting("method", "none is given"));
            }
            distil.methods.iter().try_for_each(Method::check)?;
        }
        self.augment.check()?;
        if let Some(mix) = &self.mix {
            mix.check()?;
        }
        self.schedule(1).check()
    }

    /// The learning rates of a run with so many steps of the optimiser in an epoch.
    pub fn schedule(&self, steps: u64) -> Schedule {
        let course = match &self.course {
            Course::Step { at, factor } => {
                let at = at.iter().map(|epoch| epoch.saturating_mul(steps)).collect();
                Course::Step { at, factor: *factor }
            }
            course => course.clone(),
        };
        Schedule {
            rate: self.rate,
            course,
            warm_up: (self.warm_up * steps as f64).round() as u64,
            steps: steps.saturating_mul(self.epochs),
        }
    }
}

/// More epochs than anybody trains, so that counts of steps stay far from their limits.
const MAX_EPOCHS: u64 = 1_000_000;
