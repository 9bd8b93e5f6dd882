//! What a run keeps on disk, and how it goes on from there.

use std::collections::BTreeMap;
use std::path::Path;

use bunjae_engine::Segment;
use bunjae_ir::{Graph, Source};
use bunjae_tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Run;
use crate::checkpoint::Checkpoint;
use crate::distil::REGRESSOR;
use crate::error::TrainError;
use crate::log::EpochRecord;
use crate::recipe::Recipe;
use crate::stop::Watch;

/// The file of the last epoch's state in a run's folder.
pub const LAST: &str = "last.safetensors";

/// The file of the best epoch's weights.
const BEST: &str = "best.safetensors";

/// The names of arrays in a checkpoint.
const PARAMETERS: &str = "parameters";
const STATE: &str = "optimiser.";
const AVERAGES: [&str; 2] = ["average.parameters", "average.running"];
const RUNNING: &str = "running.";
const BEST_WEIGHTS: &str = "best.";

/// What a checkpoint says beside its arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    recipe: Recipe,
    fingerprint: String,
    /// The first epoch that is not done.
    epoch: u64,
    optimiser_steps: u64,
    average_updates: u64,
    watch: Watch,
    best_epoch: u64,
    /// The figures of the epochs that are done.
    epochs: Vec<EpochRecord>,
}

impl Run {
    /// The trained weights and running statistics by name: the averages, where they are kept.
    pub(super) fn weights(&self) -> BTreeMap<String, Vec<f32>> {
        let parameters = match &self.average {
            Some([parameters, _]) => parameters.values(),
            None => self.session.parameters(),
        };
        let segment = |segment: &Segment| {
            let values = parameters[segment.start..segment.start + segment.len].to_vec();
            (segment.name.clone(), values)
        };
        let own = |segment: &&Segment| !segment.name.starts_with(REGRESSOR);
        let mut weights: BTreeMap<String, Vec<f32>> =
            self.session.segments().iter().filter(own).map(segment).collect();
        let running = match &self.average {
            Some([_, running]) => unflat(running.values(), &self.running),
            None => self.running.clone(),
        };
        weights.extend(running);
        weights
    }

    /// Writes the state after an epoch.
    pub(super) fn save(&self, folder: &Path, is_best: bool) -> Result<(), TrainError> {
        let record = Record {
            recipe: self.recipe.clone(),
            fingerprint: self.materials.fingerprint.clone(),
            epoch: self.epoch,
            optimiser_steps: self.optimiser.steps(),
            average_updates: self.average.as_ref().map_or(0, |[average, _]| average.updates()),
            watch: self.watch.clone(),
            best_epoch: self.best_epoch,
            epochs: self.records.clone(),
        };
        let mut arrays = BTreeMap::new();
        arrays.insert(PARAMETERS.to_owned(), self.session.parameters().to_vec());
        for (index, state) in self.optimiser.state().iter().enumerate() {
            arrays.insert(format!("{STATE}{index}"), state.clone());
        }
        if let Some([parameters, running]) = &self.average {
            arrays.insert(AVERAGES[0].to_owned(), parameters.values().to_vec());
            arrays.insert(AVERAGES[1].to_owned(), running.values().to_vec());
        }
        for (prefix, values) in [(RUNNING, &self.running), (BEST_WEIGHTS, &self.best)] {
            let named = values.iter().map(|(name, values)| (format!("{prefix}{name}"), values));
            arrays.extend(named.map(|(name, values)| (name, values.clone())));
        }
        // The best weights are part of the last checkpoint, so that one renaming brings both up to
        // date; the file of its own is for people.
        Checkpoint { record: record.clone(), arrays }.write(&folder.join(LAST))?;
        if is_best {
            Checkpoint { record, arrays: self.best.clone() }.write(&folder.join(BEST))?;
        }
        Ok(())
    }

    /// Goes on from the last state in the folder of the run, if there is one.
    pub(super) fn resume(&mut self) -> Result<(), TrainError> {
        let Some(path) = self.materials.folder.as_ref().map(|folder| folder.join(LAST)) else {
            return Ok(());
        };
        if !path.exists() {
            return Ok(());
        }
        let Checkpoint { record, mut arrays } = Checkpoint::<Record>::read(&path)?;
        let other = |what: &str| TrainError::Checkpoint {
            path: path.clone(),
            what: format!("it is of a run with {what}"),
        };
        if record.recipe != self.recipe {
            return Err(other("other settings"));
        }
        if record.fingerprint != self.materials.fingerprint {
            return Err(other("another model or other pictures"));
        }
        let mut take = |name: &str| arrays.remove(name).ok_or_else(|| other("fewer arrays"));
        let parameters = take(PARAMETERS)?;
        let own = self.session.parameters_mut();
        if parameters.len() != own.len() {
            return Err(other("other parameters"));
        }
        own.copy_from_slice(&parameters);
        let state = (0..self.optimiser.state().len()).map(|index| take(&format!("{STATE}{index}")));
        let state = state.collect::<Result<Vec<_>, _>>()?;
        self.optimiser.restore(state, record.optimiser_steps)?;
        if let Some(averages) = &mut self.average {
            for (average, name) in averages.iter_mut().zip(AVERAGES) {
                average.restore(take(name)?, record.average_updates)?;
            }
        }
        for (name, running) in &mut self.running {
            let values = take(&format!("{RUNNING}{name}"))?;
            if values.len() != running.len() {
                return Err(other("other running statistics"));
            }
            *running = values;
        }
        let best = arrays.iter().filter_map(|(name, values)| {
            Some((name.strip_prefix(BEST_WEIGHTS)?.to_owned(), values.clone()))
        });
        self.best = best.collect();
        self.best_epoch = record.best_epoch;
        self.records = record.epochs;
        self.watch = record.watch;
        self.epoch = record.epoch;
        Ok(())
    }
}

/// All values in the order of their names.
pub(super) fn flat(values: &BTreeMap<String, Vec<f32>>) -> Vec<f32> {
    values.values().flatten().copied().collect()
}

/// The inverse of [`flat`], for names and lengths as in `like`.
fn unflat(values: &[f32], like: &BTreeMap<String, Vec<f32>>) -> BTreeMap<String, Vec<f32>> {
    let mut rest = values;
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at(count.min(rest.len()));
        rest = after;
        taken.to_vec()
    };
    like.iter().map(|(name, old)| (name.clone(), take(old.len()))).collect()
}

/// The graph with other numbers in the weights of these names.
pub(super) fn with_weights(
    graph: &Graph,
    weights: &BTreeMap<String, Vec<f32>>,
) -> Result<Graph, TrainError> {
    let mut problem = None;
    let changed = graph.map::<TrainError>(
        |id, tensor| {
            let values = match &graph.value(id).source {
                Source::Weight { name, .. } => weights.get(name),
                _ => None,
            };
            let Some(values) = values else { return tensor.clone() };
            Tensor::from_slice(tensor.shape(), values).unwrap_or_else(|error| {
                problem = Some(error);
                tensor.clone()
            })
        },
        |new, id, inputs| {
            let node = graph.node(id);
            Ok(new.push_multi(&node.name, node.op.clone(), inputs)?)
        },
    )?;
    problem.map_or(Ok(changed), |error| Err(error.into()))
}
