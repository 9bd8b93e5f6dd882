//! Steps from gradients to parameters, with PyTorch's formulas.
//!
//! Parameters and gradients lie in flat arrays, one part for each weight; an optimiser keeps arrays
//! of the same length as its state.

use bunjae_engine::{Adam, FlatMath, Sgd};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// Which optimiser, with what does not change during a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Rule {
    /// Stochastic gradient descent with momentum, `torch.optim.SGD`.
    Sgd {
        /// Share of the velocity that is kept.
        momentum: f32,
        /// Whether the step looks ahead.
        nesterov: bool,
    },
    /// `torch.optim.Adam`: weight decay is part of the gradient.
    Adam(Betas),
    /// `torch.optim.AdamW`: weight decay is taken from the parameters themselves.
    AdamW(Betas),
}

/// How fast Adam forgets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Betas {
    /// Share of the mean gradient that is kept.
    pub first: f32,
    /// Share of the mean squared gradient that is kept.
    pub second: f32,
    /// Added to the root of the mean square.
    pub eps: f32,
}

impl Default for Betas {
    /// PyTorch's: 0.9, 0.999, 1e-8.
    fn default() -> Self {
        Betas { first: 0.9, second: 0.999, eps: 1e-8 }
    }
}

impl Rule {
    /// How many arrays of state the rule keeps.
    const fn arrays(self) -> usize {
        match self {
            Rule::Sgd { .. } => 1,
            Rule::Adam(_) | Rule::AdamW(_) => 2,
        }
    }

    fn check(self) -> Result<(), TrainError> {
        let share = |setting, value: f32| match value {
            0.0..1.0 => Ok(()),
            _ => Err(TrainError::setting(setting, format!("{value} is not from 0 to below 1"))),
        };
        match self {
            Rule::Sgd { momentum, nesterov } => {
                share("momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(TrainError::setting("nesterov", "needs a momentum over 0"));
                }
                Ok(())
            }
            Rule::Adam(betas) | Rule::AdamW(betas) => {
                share("beta1", betas.first)?;
                share("beta2", betas.second)?;
                match betas.eps > 0.0 && betas.eps.is_finite() {
                    true => Ok(()),
                    false => {
                        Err(TrainError::setting("eps", format!("{} is not over 0", betas.eps)))
                    }
                }
            }
        }
    }
}

/// The part of the flat arrays that belongs to one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first element.
    pub start: usize,
    /// The number of elements.
    pub len: usize,
    /// Whether weight decay applies: to the weights of convolutions and linear layers, not to biases
    /// and the scales and shifts of normalisations.
    pub decays: bool,
}

impl Part {
    /// The part of a weight of the given shape: weights of two axes or more decay.
    pub fn of(start: usize, shape: &[usize]) -> Part {
        Part { start, len: shape.iter().product(), decays: shape.len() > 1 }
    }
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The learning rate.
    pub rate: f64,
    /// In place of the rule's momentum or first beta, where a schedule moves it.
    pub momentum: Option<f64>,
    /// What the gradients are multiplied by first.
    pub scale: f32,
}

/// An optimiser with its state.
pub struct Optimiser {
    rule: Rule,
    decay: f32,
    parts: Vec<Part>,
    math: FlatMath,
    state: Vec<Vec<f32>>,
    steps: u64,
}

impl Optimiser {
    /// An optimiser of `len` parameters that has not made a step. Elements outside of all parts
    /// stay as they are.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for numbers without meaning, [`TrainError::Length`] for a part that
    /// lies outside.
    pub fn new(
        rule: Rule,
        decay: f32,
        parts: Vec<Part>,
        len: usize,
        math: FlatMath,
    ) -> Result<Optimiser, TrainError> {
        rule.check()?;
        if !(decay.is_finite() && decay >= 0.0) {
            return Err(TrainError::setting("weight decay", format!("{decay} is not 0 or more")));
        }
        let end = |part: &Part| part.start.saturating_add(part.len);
        if let Some(part) = parts.iter().find(|part| end(part) > len) {
            let (what, found) = ("a part of the parameters", end(part));
            return Err(TrainError::Length { what, expected: len, found });
        }
        let state = vec![vec![0.0; len]; rule.arrays()];
        Ok(Optimiser { rule, decay, parts, math, state, steps: 0 })
    }

    /// The number of steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The arrays of state: the velocity of SGD, the first and second moments of Adam.
    pub fn state(&self) -> &[Vec<f32>] {
        &self.state
    }

    /// Goes on from a state that [`Optimiser::state`] and [`Optimiser::steps`] returned.
    ///
    /// # Errors
    /// [`TrainError::Length`] where the state is that of other parameters or another rule.
    pub fn restore(&mut self, state: Vec<Vec<f32>>, steps: u64) -> Result<(), TrainError> {
        let lengths = |state: &[Vec<f32>]| state.iter().map(Vec::len).collect::<Vec<_>>();
        let (expected, found) = (lengths(&self.state), lengths(&state));
        if expected != found {
            return Err(TrainError::Length {
                what: "the optimiser's state",
                expected: expected.iter().sum(),
                found: found.iter().sum(),
            });
        }
        self.state = state;
        self.steps = steps;
        Ok(())
    }

    /// Changes the parameters by one step against their gradients.
    ///
    /// # Errors
    /// [`TrainError::Length`] where an array is not as long as the optimiser was made for.
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradients: &[f32],
        pace: Pace,
    ) -> Result<(), TrainError> {
        let expected = self.state.first().map_or(0, Vec::len);
        for (what, found) in
            [("the parameters", parameters.len()), ("the gradient", gradients.len())]
        {
            if found != expected {
                return Err(TrainError::Length { what, expected, found });
            }
        }
        self.steps += 1;
        let momentum = |own: f32| pace.momentum.map_or(own, |momentum| momentum as f32);
        let (rate, scale) = (pace.rate as f32, pace.scale);
        for part in &self.parts {
            let range = part.start..part.start + part.len;
            let decay = if part.decays { self.decay } else { 0.0 };
            let (parameters, gradients) =
                (&mut parameters[range.clone()], &gradients[range.clone()]);
            let result = match (self.rule, self.state.as_mut_slice()) {
                (Rule::Sgd { momentum: own, nesterov }, [velocity]) => {
                    let sgd = Sgd { rate, momentum: momentum(own), nesterov, decay, scale };
                    self.math.sgd(&sgd, parameters, gradients, &mut velocity[range])
                }
                (Rule::Adam(betas) | Rule::AdamW(betas), [first, second]) => {
                    let adam = Adam {
                        rate,
                        beta1: momentum(betas.first),
                        beta2: betas.second,
                        eps: betas.eps,
                        decay,
                        decoupled: matches!(self.rule, Rule::AdamW(_)),
                        scale,
                        step: self.steps,
                    };
                    let (first, second) = (&mut first[range.clone()], &mut second[range]);
                    self.math.adam(&adam, parameters, gradients, first, second)
                }
                _ => return Err(TrainError::Math("the state is that of another rule".to_owned())),
            };
            result.map_err(|error| TrainError::Math(error.to_string()))?;
        }
        Ok(())
    }

    /// What to multiply the gradients by so that their norm over all parameters is at most `most`:
    /// `min(1, most / (norm + 1e-6))` as in PyTorch's `clip_grad_norm_`; and the norm itself.
    /// Without a limit the factor is 1.
    pub fn clip(&self, gradients: &[f32], most: Option<f32>) -> Clip {
        let norm = self.math.sum_of_squares(gradients).sqrt();
        let factor = most.map_or(1.0, |most| (f64::from(most) / (norm + 1e-6)).min(1.0));
        Clip { factor: factor as f32, norm }
    }
}

/// How gradients are clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// What to multiply the gradients by, at most 1.
    pub factor: f32,
    /// Their Euclidean norm before.
    pub norm: f64,
}

#[cfg(test)]
mod tests {
    use bunjae_engine::IsaSet;

    use super::*;

    /// Three weights that decay and a bias that does not, after three steps, on every instruction set.
    fn after_three_steps(rule: Rule) -> Vec<[f32; 4]> {
        let gradients = [[0.5, -1.0, 0.25, 2.0], [-0.125, 0.5, 1.0, -0.75], [0.3, 0.2, -0.6, 0.1]];
        let mut results = Vec::new();
        for isa in IsaSet::available().iter() {
            let mut parameters = [1.0, -2.0, 0.5, 0.25];
            let parts = vec![Part::of(0, &[1, 3]), Part::of(3, &[1])];
            let math = FlatMath::new(isa).unwrap();
            let mut optimiser = Optimiser::new(rule, 0.01, parts, 4, math).unwrap();
            for gradient in gradients {
                let pace = Pace { rate: 0.1, momentum: None, scale: 1.0 };
                optimiser.step(&mut parameters, &gradient, pace).unwrap();
            }
            assert_eq!(optimiser.steps(), 3);
            results.push(parameters);
        }
        results
    }

    #[track_caller]
    fn close(found: Vec<[f32; 4]>, expected: [f32; 4]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 2e-6;
        let all_near = |found: &[f32; 4]| found.iter().zip(&expected).all(near);
        assert!(found.iter().all(all_near), "{found:?}, expected {expected:?}");
    }

    /// The figures are PyTorch 2.15's on the same numbers, with the bias in a group without decay.
    #[test]
    fn steps_are_those_of_pytorch() {
        let sgd = |nesterov| after_three_steps(Rule::Sgd { momentum: 0.9, nesterov });
        close(sgd(false), [0.852_822_24, -1.833_119_5, 0.299_642_38, -0.159_5]);
        close(sgd(true), [0.797_359_35, -1.814_378_4, 0.253_625_72, -0.253_549_96]);
        let adam = after_three_steps(Rule::Adam(Betas::default()));
        close(adam, [0.786_198_56, -1.859_284_4, 0.283_950_96, 0.082_156_345]);
        let adamw = after_three_steps(Rule::AdamW(Betas::default()));
        close(adamw, [0.786_787_33, -1.858_591_9, 0.283_427_2, 0.082_156_345]);
    }

    #[test]
    fn a_restored_optimiser_goes_on_to_the_bit() {
        let make = || {
            let math = FlatMath::new(bunjae_engine::Isa::Portable).unwrap();
            let parts = vec![Part::of(0, &[2, 1])];
            Optimiser::new(Rule::AdamW(Betas::default()), 0.1, parts, 2, math).unwrap()
        };
        let pace = Pace { rate: 0.01, momentum: Some(0.87), scale: 0.5 };
        let (mut whole, mut a) = (make(), [1.0, 2.0]);
        whole.step(&mut a, &[0.1, 0.2], pace).unwrap();
        let (state, steps) = (whole.state().to_vec(), whole.steps());
        let (mut resumed, mut b) = (make(), a);
        resumed.restore(state, steps).unwrap();
        whole.step(&mut a, &[0.3, -0.2], pace).unwrap();
        resumed.step(&mut b, &[0.3, -0.2], pace).unwrap();
        assert_eq!(a, b);
        assert!(resumed.restore(vec![vec![0.0; 2]], 1).is_err(), "one array is missing");
        assert!(resumed.step(&mut b, &[0.0; 3], pace).is_err());
    }

    /// `torch.nn.utils.clip_grad_norm_` of (3, 4, 12) to 1 gives (0.2308, 0.3077, 0.9231).
    #[test]
    fn gradients_are_clipped_by_their_norm() {
        let math = FlatMath::new(bunjae_engine::Isa::Portable).unwrap();
        let rule = Rule::Sgd { momentum: 0.0, nesterov: false };
        let optimiser = Optimiser::new(rule, 0.0, Vec::new(), 3, math).unwrap();
        let clip = optimiser.clip(&[3.0, 4.0, 12.0], Some(1.0));
        assert_eq!(clip.norm, 13.0);
        assert!((clip.factor * 3.0 - 0.230_769).abs() < 1e-6);
        assert_eq!(optimiser.clip(&[3.0, 4.0, 12.0], Some(20.0)).factor, 1.0);
        assert_eq!(optimiser.clip(&[3.0, 4.0, 12.0], None).factor, 1.0);
    }

    #[test]
    fn numbers_without_meaning_are_refused() {
        let refused = |rule, decay, parts| {
            let math = FlatMath::new(bunjae_engine::Isa::Portable).unwrap();
            Optimiser::new(rule, decay, parts, 4, math).err().unwrap().to_string()
        };
        let sgd = |momentum, nesterov| Rule::Sgd { momentum, nesterov };
        assert_eq!(refused(sgd(1.0, false), 0.0, vec![]), "momentum: 1 is not from 0 to below 1");
        assert_eq!(refused(sgd(0.0, true), 0.0, vec![]), "nesterov: needs a momentum over 0");
        assert!(refused(sgd(0.9, true), f32::NAN, vec![]).starts_with("weight decay"));
        let betas = Betas { eps: 0.0, ..Betas::default() };
        assert_eq!(refused(Rule::Adam(betas), 0.0, vec![]), "eps: 0 is not over 0");
        let outside = vec![Part { start: 2, len: 3, decays: true }];
        assert!(refused(sgd(0.9, false), 0.0, outside).contains("has 5 elements"));
    }
}
