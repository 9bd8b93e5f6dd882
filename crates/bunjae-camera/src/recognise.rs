//! The models: all faces of a frame as one batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use bunjae_classify::{Classifier, Guess, Spent, top};
use bunjae_data::{Picture, Region};

use crate::frame::ModelName;

/// More faces than this go through the model in several batches.
pub const LARGEST_BATCH: usize = 16;

/// Makes a classifier for a batch size, or says why there is none.
pub type Make = Box<dyn FnMut(usize) -> Result<Classifier, String> + Send>;

/// A model for any number of faces.
///
/// A classifier is planned for one batch size. One is made for each size that occurs (those up to 8,
/// and 12 and 16), and kept; larger groups are split.
pub struct Recogniser {
    name: Arc<ModelName>,
    /// The only size that there is, where the model has fixed it.
    fixed: Option<usize>,
    make: Make,
    ready: BTreeMap<usize, Classifier>,
}

/// What a model says about the faces of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// For each face the likeliest classes.
    pub guesses: Vec<Vec<Guess>>,
    /// How long it took.
    pub spent: Spent,
}

/// The batch size for so many faces.
fn rung(faces: usize) -> usize {
    if faces <= 8 { faces.max(1) } else { faces.next_multiple_of(4).min(LARGEST_BATCH) }
}

impl Recogniser {
    /// The model number `index`. Makes the classifier for one face, or for the batch that the model
    /// has fixed, right away, so that what does not fit is known at once.
    ///
    /// # Errors
    /// What `make` says.
    pub fn new(
        index: usize,
        name: String,
        fixed: Option<usize>,
        mut make: Make,
    ) -> Result<Recogniser, String> {
        let size = fixed.unwrap_or(1);
        let classifier = make(size)?;
        let name = Arc::new(ModelName { index, name, labels: classifier.labels().cloned() });
        let ready = BTreeMap::from([(size, classifier)]);
        Ok(Recogniser { name, fixed, make, ready })
    }

    /// What the model is called, and its classes.
    pub fn name(&self) -> &Arc<ModelName> {
        &self.name
    }

    /// Classifies parts of a picture, and names the `count` likeliest classes of each.
    ///
    /// # Errors
    /// Why the model cannot run.
    pub fn recognise(
        &mut self,
        picture: &Picture,
        regions: &[Region],
        count: usize,
    ) -> Result<Answer, String> {
        let mut answer = Answer { guesses: Vec::new(), spent: Spent::default() };
        for part in regions.chunks(self.fixed.unwrap_or(LARGEST_BATCH).max(1)) {
            let size = self.fixed.unwrap_or_else(|| rung(part.len()));
            if !self.ready.contains_key(&size) {
                let mut classifier = (self.make)(size)?;
                // Once for nothing: the first run brings the weights into the caches.
                let _ = classifier.classify_regions(picture, part);
                self.ready.insert(size, classifier);
            }
            let Some(classifier) = self.ready.get_mut(&size) else { continue };
            let rows = classifier.classify_regions(picture, part);
            let rows = rows.map_err(|error| error.to_string())?;
            answer.guesses.extend(rows.iter().map(|row| top(row, count)));
            let spent = classifier.spent();
            answer.spent.prepare += spent.prepare;
            answer.spent.run += spent.run;
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_exact_up_to_eight_and_never_smaller_than_the_group() {
        assert_eq!([1, 2, 3, 8, 9, 12, 13, 16].map(rung), [1, 2, 3, 8, 12, 12, 16, 16]);
        assert_eq!(rung(0), 1);
        assert!((1..=LARGEST_BATCH).all(|faces| rung(faces) >= faces));
    }
}
