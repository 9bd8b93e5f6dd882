//! From the labels of a batch to the numbers that its loss takes.

use bunjae_data::Dataset;
use bunjae_data::sampler::class_weights;

use crate::recipe::{ClassWeights, Objective};

/// Makes targets and weights of examples.
pub(crate) struct Targets {
    smoothing: f32,
    weights: Vec<f32>,
}

impl Targets {
    pub(crate) fn new(objective: &Objective, dataset: &Dataset) -> Targets {
        let weights = match objective.weights {
            ClassWeights::Equal => vec![1.0; dataset.classes.len()],
            ClassWeights::Inverse => class_weights(dataset),
            ClassWeights::Root => class_weights(dataset).iter().map(|w| w.sqrt()).collect(),
        };
        Targets { smoothing: objective.smoothing, weights }
    }

    /// Smooths the shares of a batch in place and returns the weight of each example: that of its
    /// classes over the mean of those of the batch, so that the loss is PyTorch's weighted mean. A
    /// row without a label weighs nothing.
    pub(crate) fn prepare(&self, shares: &mut [f32]) -> Vec<f32> {
        let classes = self.weights.len().max(1);
        let mut weights: Vec<f32> = shares
            .chunks_exact(classes)
            .map(|row| row.iter().zip(&self.weights).map(|(share, weight)| share * weight).sum())
            .collect();
        let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let mean = sum / weights.len().max(1) as f64;
        if mean > 0.0 {
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) / mean) as f32);
        }
        if self.smoothing > 0.0 {
            let spread = self.smoothing / classes as f32;
            for row in shares.chunks_exact_mut(classes) {
                if row.iter().any(|&share| share > 0.0) {
                    row.iter_mut().for_each(|s| *s = *s * (1.0 - self.smoothing) + spread);
                }
            }
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_weigh_as_their_classes_and_one_on_average() {
        let targets = Targets { smoothing: 0.0, weights: vec![1.0, 3.0] };
        let mut shares = [1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0, 0.0];
        // 1, 3, 2 and, without a label, 0; the mean is 1.5.
        assert_eq!(targets.prepare(&mut shares), [1.0 / 1.5, 2.0, 2.0 / 1.5, 0.0]);
        assert_eq!(shares, [1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn smoothing_spreads_a_share_over_all_classes_of_labelled_rows() {
        let targets = Targets { smoothing: 0.5, weights: vec![1.0; 2] };
        let mut shares = [1.0, 0.0, 0.0, 0.0];
        assert_eq!(targets.prepare(&mut shares), [2.0, 0.0]);
        assert_eq!(shares, [0.75, 0.25, 0.0, 0.0]);
    }
}
