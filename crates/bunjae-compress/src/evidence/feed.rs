//! Labelled pictures in full batches, whatever their number.

use std::sync::Arc;

use bunjae_data::loader::{Batch, Batches, Loading};
use bunjae_data::pictures::Pictures;
use bunjae_data::sampler::Order;

use super::{EvidenceError, Looking};

/// A full batch. Where pictures are missing at the end, or have no label, their weight is 0.
pub(crate) struct Filled {
    pub(crate) inputs: Vec<f32>,
    /// `[batch, classes]`.
    pub(crate) targets: Vec<f32>,
    /// 1 or 0.
    pub(crate) weights: Vec<f32>,
}

impl Filled {
    /// The number of pictures that count.
    pub(crate) fn labelled(&self) -> usize {
        self.weights.iter().filter(|weight| **weight > 0.0).count()
    }
}

/// The batches.
pub(crate) struct Feed {
    batches: Batches,
    batch: usize,
    /// How many labelled pictures are still wanted.
    wanted: usize,
}

impl Feed {
    pub(crate) fn new(pictures: &Arc<Pictures>, looking: &Looking) -> Result<Feed, EvidenceError> {
        let items = &pictures.dataset().items;
        let labelled = items.iter().filter(|item| item.label.is_some()).count();
        let wanted = looking.samples.unwrap_or(labelled).min(labelled);
        let loading = Loading {
            // A draw is the beginning of a shuffled epoch.
            order: if wanted < labelled { Order::Shuffled } else { Order::Sequential },
            seed: looking.seed,
            workers: looking.threads,
            ..Loading::plain(looking.batch)
        };
        let batches = Batches::new(Arc::clone(pictures), loading, 0..1, 0)?;
        Ok(Feed { batches, batch: looking.batch, wanted })
    }

    /// The number of batches, but for those that pictures without a label make more.
    pub(crate) fn batches(&self) -> usize {
        self.wanted.div_ceil(self.batch)
    }

    fn fill(&mut self, batch: &Batch) -> Result<Filled, EvidenceError> {
        let count = batch.labels.len().max(1);
        let filled = |values: &[f32]| {
            let mut values = values.to_vec();
            values.resize(values.len() / count * self.batch, 0.0);
            values
        };
        let inputs = filled(batch.inputs.elements::<f32>()?);
        let targets = filled(batch.targets.elements::<f32>()?);
        let mut weights = vec![0.0; self.batch];
        for (weight, _) in
            weights.iter_mut().zip(&batch.labels).filter(|(_, label)| label.is_some())
        {
            if self.wanted > 0 {
                *weight = 1.0;
                self.wanted -= 1;
            }
        }
        Ok(Filled { inputs, targets, weights })
    }
}

impl Iterator for Feed {
    type Item = Result<Filled, EvidenceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.wanted == 0 {
            return None;
        }
        let batch = self.batches.next()?.map_err(EvidenceError::from);
        Some(batch.and_then(|batch| self.fill(&batch)))
    }
}
