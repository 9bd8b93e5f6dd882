//! Learning rates over the steps of a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The course of the learning rate after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Course {
    /// The same throughout.
    Constant,
    /// Multiplied by `factor` at each of these steps, `MultiStepLR`.
    Step {
        /// Steps of the run, from 0, warm-up included.
        at: Vec<u64>,
        /// Usually 0.1.
        factor: f64,
    },
    /// Half a cosine from the highest rate to `floor` times it, `CosineAnnealingLR`.
    Cosine {
        /// The share of the rate that is left at the end.
        floor: f64,
    },
    /// Half a cosine up from 1/25 of the rate, then one down to 1/10,000 of where it began, while
    /// the momentum goes from 0.95 to 0.85 and back (Smith, "Super-convergence", arXiv:1708.07120);
    /// `OneCycleLR` with its defaults.
    OneCycle {
        /// The share of the steps on the way up.
        rise: f64,
    },
}

/// A learning rate for every step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The highest learning rate.
    pub rate: f64,
    /// The course after the warm-up.
    pub course: Course,
    /// Steps in which the rate grows in proportion to their number. One-cycle has its own rise.
    pub warm_up: u64,
    /// Steps of the whole run.
    pub steps: u64,
}

/// The momenta between which one-cycle moves, PyTorch's defaults.
const MOMENTUM: [f64; 2] = [0.85, 0.95];

/// What one-cycle divides the rate by at its beginning, and that by at its end.
const DIVISORS: [f64; 2] = [25.0, 1e4];

impl Schedule {
    /// Checks that every number has a meaning.
    ///
    /// # Errors
    /// [`TrainError::Setting`].
    pub fn check(&self) -> Result<(), TrainError> {
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return Err(TrainError::setting(
                "learning rate",
                format!("{} is not over 0", self.rate),
            ));
        }
        let (setting, share) = match self.course {
            Course::Constant => return Ok(()),
            Course::Step { factor, .. } => ("factor", factor),
            Course::Cosine { floor } => ("floor", floor),
            Course::OneCycle { rise } => {
                if self.warm_up > 0 {
                    let what = "one-cycle rises by itself";
                    return Err(TrainError::setting("warm-up", what));
                }
                ("rise", rise)
            }
        };
        match (0.0..=1.0).contains(&share) {
            true => Ok(()),
            false => Err(TrainError::setting(setting, format!("{share} is not within 0 and 1"))),
        }
    }

    /// The learning rate of a step, from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.rate * (step + 1) as f64 / self.warm_up as f64;
        }
        match &self.course {
            Course::Constant => self.rate,
            Course::Step { at, factor } => {
                let passed = at.iter().filter(|&&drop| drop <= step).count();
                (0..passed).fold(self.rate, |rate, _| rate * factor)
            }
            Course::Cosine { floor } => {
                let length = self.steps.saturating_sub(self.warm_up).max(1);
                let place = (step - self.warm_up) as f64 / length as f64;
                anneal(self.rate, floor * self.rate, place.min(1.0))
            }
            Course::OneCycle { rise } => {
                let first = self.rate / DIVISORS[0];
                self.cycle(*rise, step, first, self.rate, first / DIVISORS[1])
            }
        }
    }

    /// The momentum, or Adam's first beta, of a step, where the course moves it.
    pub fn momentum(&self, step: u64) -> Option<f64> {
        let [low, high] = MOMENTUM;
        match self.course {
            Course::OneCycle { rise } => Some(self.cycle(rise, step, high, low, high)),
            _ => None,
        }
    }

    /// From `first` to `middle` in the rise, then to `last`.
    fn cycle(&self, rise: f64, step: u64, first: f64, middle: f64, last: f64) -> f64 {
        let top = rise * self.steps as f64 - 1.0;
        let end = (self.steps as f64 - 1.0).max(1.0);
        let step = (step as f64).min(end);
        if step <= top {
            anneal(first, middle, step / top.max(f64::MIN_POSITIVE))
        } else {
            anneal(middle, last, (step - top) / (end - top))
        }
    }
}

/// Half a cosine from `from` at 0 to `to` at 1.
fn anneal(from: f64, to: f64, place: f64) -> f64 {
    to + (from - to) / 2.0 * (1.0 + (PI * place).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: impl Iterator<Item = f64>, expected: &[f64]) {
        let found: Vec<f64> = found.collect();
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-10;
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(near), "{found:?}, expected {expected:?}");
    }

    fn schedule(course: Course, steps: u64) -> Schedule {
        Schedule { rate: 0.5, course, warm_up: 0, steps }
    }

    /// PyTorch 2.15: `OneCycleLR(o, 0.5, total_steps=10, pct_start=0.3)` over AdamW.
    #[test]
    fn one_cycle_is_that_of_pytorch() {
        let schedule = schedule(Course::OneCycle { rise: 0.3 }, 10);
        close(
            (0..10).map(|step| schedule.rate(step)),
            &[
                0.02,
                0.26,
                0.5,
                0.475242316007,
                0.405872826975,
                0.305631010968,
                0.194370989032,
                0.0941291730251,
                0.0247596839933,
                2e-6,
            ],
        );
        close(
            (0..10).filter_map(|step| schedule.momentum(step)),
            &[
                0.95,
                0.9,
                0.85,
                0.854951556605,
                0.868825509907,
                0.888873953302,
                0.911126046698,
                0.931174490093,
                0.945048443395,
                0.95,
            ],
        );
    }

    /// PyTorch 2.15: `CosineAnnealingLR(o, 10, eta_min=0.05)` and `MultiStepLR(o, [3, 6])`.
    #[test]
    fn cosine_and_steps_are_those_of_pytorch() {
        let cosine = schedule(Course::Cosine { floor: 0.1 }, 10);
        close(
            (0..10).map(|step| cosine.rate(step)),
            &[
                0.5,
                0.488987716166,
                0.457028823734,
                0.407251681766,
                0.344528823734,
                0.275,
                0.205471176266,
                0.142748318234,
                0.0929711762656,
                0.0610122838336,
            ],
        );
        assert_eq!(cosine.momentum(3), None);
        let steps = schedule(Course::Step { at: vec![3, 6], factor: 0.1 }, 8);
        close((0..8).map(|s| steps.rate(s)), &[0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005]);
    }

    #[test]
    fn a_warm_up_comes_before_the_course() {
        let schedule = Schedule { warm_up: 4, ..schedule(Course::Cosine { floor: 0.0 }, 6) };
        close((0..6).map(|step| schedule.rate(step)), &[0.125, 0.25, 0.375, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn a_rate_is_a_number_at_every_step_of_short_runs() {
        for steps in 0..4 {
            for course in [
                Course::Constant,
                Course::Cosine { floor: 0.0 },
                Course::OneCycle { rise: 0.0 },
                Course::OneCycle { rise: 0.3 },
                Course::OneCycle { rise: 1.0 },
            ] {
                let schedule = schedule(course, steps);
                schedule.check().unwrap();
                let fits = |step| (0.0..=0.5).contains(&schedule.rate(step));
                assert!((0..6).all(fits), "{schedule:?}");
            }
        }
    }

    #[test]
    fn numbers_without_meaning_are_refused() {
        let wrong = |schedule: Schedule| schedule.check().unwrap_err().to_string();
        let constant = schedule(Course::Constant, 5);
        assert_eq!(wrong(Schedule { rate: 0.0, ..constant }), "learning rate: 0 is not over 0");
        assert!(wrong(schedule(Course::Cosine { floor: 2.0 }, 5)).starts_with("floor: 2"));
        let cycle = schedule(Course::OneCycle { rise: 0.3 }, 5);
        assert!(wrong(Schedule { warm_up: 2, ..cycle }).starts_with("warm-up"));
    }
}
