//! What teachers say about batches of pictures.

use std::path::Path;
use std::sync::Arc;

use bunjae_data::augment::random_for;
use bunjae_data::loader::{Batch, Batches, Loading};
use bunjae_data::pictures::{Keep, Pictures};
use bunjae_ir::Graph;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::error::TrainError;
use crate::infer::Predictor;
use crate::recipe::{Method, Recipe};

/// The file in a run's folder that holds the teachers' logits for all pictures.
const FILE: &str = "teacher.safetensors";
const LOGITS: &str = "logits";

/// What keeps the numbers of noise apart from those of the pictures.
const NOISE: u64 = 0x006e_6f69_7365;

/// Models that are imitated.
pub(crate) struct Teachers {
    predictors: Vec<Predictor>,
    classes: usize,
    /// The deviation of noise on the logits, and its seed.
    noise: Option<(f64, u64)>,
    /// The logits of every picture, where they are the same in every epoch.
    known: Option<Vec<f32>>,
}

/// What a student is to imitate for one batch.
#[derive(Default)]
pub(crate) struct Lesson {
    /// `[batch, classes]`.
    pub(crate) logits: Vec<f32>,
    /// The features of the first teacher, in the order in which the step takes them.
    pub(crate) features: Vec<Vec<f32>>,
}

/// What a file of logits belongs to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    fingerprint: String,
    pictures: usize,
    classes: usize,
}

impl Teachers {
    /// Teachers whose batch is fixed, the first with the features that it has to give.
    ///
    /// # Errors
    /// [`TrainError::Classes`] where one tells another number of classes apart.
    pub(crate) fn new(
        graphs: &[Graph],
        features: &[bunjae_ir::TensorId],
        recipe: &Recipe,
        classes: usize,
        threads: usize,
    ) -> Result<Teachers, TrainError> {
        let predictor = |(number, graph)| {
            let features = if number == 0 { features } else { &[] };
            Predictor::new(graph, features, threads)
        };
        let predictors: Vec<Predictor> =
            graphs.iter().enumerate().map(predictor).collect::<Result<_, _>>()?;
        if let Some(other) = predictors.iter().map(Predictor::classes).find(|&n| n != classes) {
            return Err(TrainError::Classes { model: other, data: classes });
        }
        let methods = recipe.distil.iter().flat_map(|distil| &distil.methods);
        let noise = methods.into_iter().find_map(|method| match method {
            Method::Noisy { deviation } => Some((*deviation, recipe.seed)),
            _ => None,
        });
        Ok(Teachers { predictors, classes, noise, known: None })
    }

    /// Whether the teachers see every picture as it is, so that what they say of it never changes.
    fn are_steady(&self, recipe: &Recipe, pictures: &Pictures) -> bool {
        let as_it_is = recipe.augment.crop.is_none() && recipe.augment.steps.is_empty();
        let takes_features = self.predictors.iter().any(|teacher| !teacher.features().is_empty());
        let fitted = pictures.reading().keep == Keep::Fitted;
        as_it_is && recipe.mix.is_none() && fitted && !takes_features && !self.predictors.is_empty()
    }

    /// Asks the teachers about all pictures at once, where their answers never change, or reads from
    /// `folder` what they said before. `progress` hears how many pictures are done, and of how many.
    pub(crate) fn prepare(
        &mut self,
        recipe: &Recipe,
        pictures: &Arc<Pictures>,
        folder: Option<&Path>,
        fingerprint: &str,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), TrainError> {
        if self.known.is_some() || !self.are_steady(recipe, pictures) {
            return Ok(());
        }
        let count = pictures.dataset().items.len();
        let fingerprint = fingerprint.to_owned();
        let record = Record { fingerprint, pictures: count, classes: self.classes };
        let path = folder.map(|folder| folder.join(FILE));
        if let Some(path) = path.as_deref().filter(|path| path.exists())
            && let Ok(Checkpoint { record: found, mut arrays }) = Checkpoint::<Record>::read(path)
            && found == record
            && let Some(logits) = arrays.remove(LOGITS)
            && logits.len() == count * self.classes
        {
            self.known = Some(logits);
            return Ok(());
        }
        let batch = self.predictors.first().map_or(1, Predictor::batch);
        let mut logits = Vec::with_capacity(count * self.classes);
        for batch in Batches::new(Arc::clone(pictures), Loading::plain(batch), 0..1, 0)? {
            let batch = batch?;
            logits.extend(self.mean(batch.inputs.elements::<f32>()?, batch.items.len())?);
            progress((logits.len() / self.classes.max(1)) as u64, count as u64);
        }
        if let Some(path) = path {
            let arrays = [(LOGITS.to_owned(), logits.clone())].into();
            Checkpoint { record, arrays }.write(&path)?;
        }
        self.known = Some(logits);
        Ok(())
    }

    /// What the teachers say about a batch as the student sees it.
    pub(crate) fn teach(&mut self, batch: &Batch) -> Result<Lesson, TrainError> {
        if self.predictors.is_empty() {
            return Ok(Lesson::default());
        }
        let classes = self.classes;
        let mut logits = match &self.known {
            Some(known) => {
                let row = |&item: &usize| known.get(item * classes..(item + 1) * classes);
                batch.items.iter().filter_map(row).flatten().copied().collect()
            }
            None => self.mean(batch.inputs.elements::<f32>()?, batch.items.len())?,
        };
        if let Some((deviation, seed)) = self.noise {
            let mut random = random_for(seed ^ NOISE, batch.epoch, batch.index as u64);
            for logit in &mut logits {
                *logit = (f64::from(*logit) * (1.0 + deviation * random.normal())) as f32;
            }
        }
        let features = self.predictors.first().map_or(&[][..], Predictor::features).to_vec();
        Ok(Lesson { logits, features })
    }

    /// The mean of the teachers' logits for `count` pictures.
    fn mean(&mut self, pictures: &[f32], count: usize) -> Result<Vec<f32>, TrainError> {
        let mut mean = vec![0.0; count * self.classes];
        let teachers = self.predictors.len() as f32;
        for teacher in &mut self.predictors {
            teacher.run(pictures)?;
            let logits = teacher.logits().iter();
            mean.iter_mut().zip(logits).for_each(|(mean, logit)| *mean += logit / teachers);
        }
        Ok(mean)
    }
}
