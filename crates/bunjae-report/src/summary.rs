//! What several runs of a model come to: the mean, the spread, and the change against the base.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::Measure;
use crate::record::{Report, Run};

/// One measure of one model over all its runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Figure {
    /// The mean over the runs that have the measure.
    pub mean: f64,
    /// The sample standard deviation (n - 1) of several runs; null for one.
    pub spread: Option<f64>,
    /// How many runs have the measure.
    pub runs: u64,
    /// Against the base: for accuracy and F1 the difference of the shares, for everything else the
    /// difference as a share of the base. Null for the base itself and where a figure is missing.
    pub change: Option<f64>,
}

/// One row of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// The model's name.
    pub model: String,
    /// How many runs it has.
    pub runs: u64,
    /// What is known, by measure; what was not measured is not there.
    #[cfg_attr(test, schemars(extend("propertyNames" = serde_json::json!({ "enum": Measure::ALL }))))]
    pub figures: BTreeMap<Measure, Figure>,
}

impl Summary {
    /// The mean of a measure.
    pub fn mean(&self, measure: Measure) -> Option<f64> {
        self.figures.get(&measure).map(|figure| figure.mean)
    }
}

/// A row for each model of a report.
pub fn summaries(report: &Report) -> Vec<Summary> {
    let mut rows: Vec<Summary> = Vec::with_capacity(report.models.len());
    for model in &report.models {
        let figure = |&measure: &Measure| {
            let found = figure(&model.runs, measure)?;
            let base = rows.first().and_then(|base| base.mean(measure));
            let change = base.and_then(|base| measure.changed(base, found.mean));
            Some((measure, Figure { change, ..found }))
        };
        let figures = Measure::ALL.iter().filter_map(figure).collect();
        rows.push(Summary { model: model.name.clone(), runs: model.runs.len() as u64, figures });
    }
    rows
}

fn figure(runs: &[Run], measure: Measure) -> Option<Figure> {
    let values: Vec<f64> = runs.iter().filter_map(|run| measure.of(run)).collect();
    let first = *values.first()?;
    let count = values.len() as f64;
    // Around the first value, so that equal values have exactly their value as the mean.
    let mean = first + values.iter().map(|value| value - first).sum::<f64>() / count;
    let spread = (values.len() > 1).then(|| {
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (count - 1.0)).sqrt()
    });
    Some(Figure { mean, spread, runs: values.len() as u64, change: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Cost, Model, Quality};

    fn run(accuracy: Option<f64>, parameters: u64) -> Run {
        let quality = accuracy.map(|accuracy| Quality { accuracy, ..Quality::default() });
        Run { quality, cost: Some(Cost { parameters, ..Cost::default() }), ..Run::default() }
    }

    #[test]
    fn several_seeds_come_to_a_mean_and_a_sample_deviation() {
        let mut report = Report::new("t");
        report.models.push(Model::new("a", vec![run(Some(0.5), 100)]));
        let three = vec![run(Some(0.6), 10), run(Some(0.7), 10), run(Some(0.8), 10)];
        report.models.push(Model::new("b", three));
        let rows = summaries(&report);
        let accuracy = rows[1].figures[&Measure::Accuracy];
        // The deviations are -0.1, 0, 0.1: sqrt((0.01 + 0 + 0.01) / 2) = 0.1.
        assert!((accuracy.mean - 0.7).abs() < 1e-12);
        assert!((accuracy.spread.unwrap() - 0.1).abs() < 1e-12);
        assert!((accuracy.change.unwrap() - 0.2).abs() < 1e-12);
        let parameters = rows[1].figures[&Measure::Parameters];
        assert_eq!((parameters.mean, parameters.spread), (10.0, Some(0.0)));
        assert_eq!(parameters.change, Some(-0.9));
        assert_eq!(rows[0].figures[&Measure::Accuracy].spread, None);
        assert_eq!(rows[0].figures[&Measure::Accuracy].change, None, "it is the base");
    }

    #[test]
    fn what_is_missing_is_left_out_and_not_zero() {
        let mut report = Report::new("t");
        report.models.push(Model::new("a", vec![run(None, 100)]));
        report.models.push(Model::new("b", vec![run(None, 10), run(Some(0.9), 10)]));
        report.models.push(Model::new("c", vec![run(Some(f64::NAN), 10)]));
        let rows = summaries(&report);
        assert_eq!(rows[0].mean(Measure::Accuracy), None);
        let half = rows[1].figures[&Measure::Accuracy];
        assert_eq!((half.mean, half.runs, rows[1].runs), (0.9, 1, 2));
        assert_eq!(half.change, None, "the base has no accuracy");
        assert_eq!(rows[2].mean(Measure::Accuracy), None, "no number");
        assert_eq!(rows[2].mean(Measure::MedianMs), None);
    }
}
