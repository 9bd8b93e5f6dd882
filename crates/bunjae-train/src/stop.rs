//! When to stop, and which model is the best so far.

use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// A figure that a run is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of pictures whose class is predicted; higher is better.
    Accuracy,
    /// The mean of the classes' F1; higher is better.
    MacroF1,
    /// The cross-entropy; lower is better.
    Loss,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 3] = [Metric::Accuracy, Metric::MacroF1, Metric::Loss];

    /// Its name, as in the logs of a run.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::MacroF1 => "macro_f1",
            Metric::Loss => "loss",
        }
    }

    /// How much better `new` is than `old`; below 0 where it is worse.
    pub fn gain(self, old: f64, new: f64) -> f64 {
        match self {
            Metric::Accuracy | Metric::MacroF1 => new - old,
            Metric::Loss => old - new,
        }
    }
}

/// The best figure so far, and how long ago it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// What is watched.
    pub metric: Metric,
    /// Epochs without a better figure after which a run ends; `None` for never.
    pub patience: Option<u64>,
    /// By how much a figure has to be better to count as such for the patience. Equal figures never
    /// count, so that of equals the first is the best.
    pub least_gain: f64,
    /// The best figure and its epoch.
    pub best: Option<Best>,
    /// The epoch since which the patience runs, and its figure.
    pub since: Option<Best>,
}

/// A figure and when it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The figure.
    pub value: f64,
    /// The epoch, from 0.
    pub epoch: u64,
}

/// What an epoch's figure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It is the best so far.
    pub is_best: bool,
    /// The run has waited long enough for a better one.
    pub stop: bool,
}

impl Watch {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for a patience of 0 or a gain below 0.
    pub fn new(
        metric: Metric,
        patience: Option<u64>,
        least_gain: f64,
    ) -> Result<Watch, TrainError> {
        if patience == Some(0) {
            return Err(TrainError::setting("patience", "0 epochs would end any run at once"));
        }
        if !(least_gain.is_finite() && least_gain >= 0.0) {
            return Err(TrainError::setting("least gain", format!("{least_gain} is below 0")));
        }
        Ok(Watch { metric, patience, least_gain, best: None, since: None })
    }

    /// Takes note of an epoch's figure. What is no number is never better.
    pub fn see(&mut self, epoch: u64, value: f64) -> Verdict {
        let gain = |old: Option<Best>| match old {
            Some(old) => self.metric.gain(old.value, value),
            None if value.is_nan() => 0.0,
            None => f64::INFINITY,
        };
        let is_best = gain(self.best) > 0.0;
        let gained = gain(self.since) > self.least_gain;
        let now = Best { value, epoch };
        if is_best {
            self.best = Some(now);
        }
        if gained || self.since.is_none() {
            self.since = Some(now);
        }
        Verdict { is_best, stop: self.is_over(epoch.saturating_add(1)) }
    }

    /// Whether a run of which so many epochs are done has waited long enough for a better figure.
    pub fn is_over(&self, done: u64) -> bool {
        let waited =
            self.since.map_or(0, |since| done.saturating_sub(1).saturating_sub(since.epoch));
        self.patience.is_some_and(|patience| waited >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(mut watch: Watch, values: &[f64]) -> (Vec<bool>, Option<usize>) {
        let seen: Vec<Verdict> =
            values.iter().zip(0..).map(|(&value, epoch)| watch.see(epoch, value)).collect();
        let best = seen.iter().map(|verdict| verdict.is_best).collect();
        (best, seen.iter().position(|verdict| verdict.stop))
    }

    #[test]
    fn a_run_ends_when_nothing_better_came_for_long_enough() {
        let watch = Watch::new(Metric::Accuracy, Some(2), 0.0).unwrap();
        let (best, stop) = verdicts(watch, &[0.5, 0.7, 0.7, 0.6, 0.8]);
        assert_eq!(best, [true, true, false, false, true], "equal is not better");
        assert_eq!(stop, Some(3));
    }

    #[test]
    fn a_loss_is_better_when_it_is_lower() {
        let watch = Watch::new(Metric::Loss, None, 0.0).unwrap();
        let (best, stop) = verdicts(watch, &[f64::NAN, 0.5, 0.7, 0.4, f64::NAN]);
        assert_eq!(best[1..], [true, false, true, false]);
        assert_eq!((best[0], stop), (false, None));
    }

    #[test]
    fn small_gains_make_the_best_model_but_no_patience() {
        let watch = Watch::new(Metric::MacroF1, Some(3), 0.1).unwrap();
        let (best, stop) = verdicts(watch, &[0.5, 0.55, 0.59, 0.6, 0.9]);
        assert_eq!(best, [true; 5]);
        assert_eq!(stop, Some(3));
    }

    #[test]
    fn a_watch_survives_its_record() {
        let mut watch = Watch::new(Metric::MacroF1, Some(3), 0.1).unwrap();
        watch.see(0, 0.25);
        let text = serde_json::to_string(&watch).unwrap();
        assert_eq!(serde_json::from_str::<Watch>(&text).unwrap(), watch);
        assert!(Watch::new(Metric::Loss, Some(0), 0.0).is_err());
        assert!(Watch::new(Metric::Loss, None, -1.0).is_err());
    }
}
