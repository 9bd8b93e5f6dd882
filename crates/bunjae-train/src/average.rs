//! The moving average of a model over the steps of a run, which often scores better than its last
//! step (Polyak and Juditsky, 1992).

use bunjae_engine::FlatMath;

use crate::error::TrainError;

/// An exponential moving average of a flat array.
///
/// In the first steps it forgets faster, `min(decay, (1 + n) / (10 + n))` after `n` updates, so that
/// the initial weights do not weigh on short runs.
pub struct Average {
    decay: f32,
    values: Vec<f32>,
    updates: u64,
}

impl Average {
    /// An average that starts from these values.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for a decay outside of 0 to 1.
    pub fn new(decay: f32, values: &[f32]) -> Result<Average, TrainError> {
        if !(0.0..1.0).contains(&decay) {
            let what = format!("{decay} is not from 0 to below 1");
            return Err(TrainError::setting("decay of the average", what));
        }
        Ok(Average { decay, values: values.to_vec(), updates: 0 })
    }

    /// The averages.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// How often it has been updated.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Moves the averages towards the values of a step.
    ///
    /// # Errors
    /// [`TrainError::Math`] where there are fewer values than averages.
    pub fn update(&mut self, values: &[f32], math: &FlatMath) -> Result<(), TrainError> {
        let count = self.updates as f64;
        let decay = f64::from(self.decay).min((1.0 + count) / (10.0 + count));
        self.updates += 1;
        math.lerp(&mut self.values, values, (1.0 - decay) as f32)
            .map_err(|error| TrainError::Math(error.to_string()))
    }

    /// Goes on from averages that [`Average::values`] and [`Average::updates`] returned.
    ///
    /// # Errors
    /// [`TrainError::Length`] where they are those of another model.
    pub fn restore(&mut self, values: Vec<f32>, updates: u64) -> Result<(), TrainError> {
        let (expected, found) = (self.values.len(), values.len());
        if expected != found {
            return Err(TrainError::Length { what: "the average", expected, found });
        }
        self.values = values;
        self.updates = updates;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bunjae_engine::Isa;

    use super::*;

    #[test]
    fn an_average_forgets_fast_at_first() {
        let math = FlatMath::new(Isa::Portable).unwrap();
        let mut average = Average::new(0.5, &[0.0]).unwrap();
        average.update(&[10.0], &math).unwrap();
        // min(0.5, 1 / 10) of the old value is kept.
        assert!((average.values()[0] - 9.0).abs() < 1e-6);
        average.restore(vec![9.0], 100).unwrap();
        average.update(&[1.0], &math).unwrap();
        assert_eq!(average.values(), [5.0]);
        assert_eq!(average.updates(), 101);
        assert!(average.restore(vec![1.0, 2.0], 1).is_err());
        assert!(Average::new(1.0, &[0.0]).is_err());
    }
}
