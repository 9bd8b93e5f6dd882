//! The metrics on cases small enough to count, and on one computed by scikit-learn.
#![allow(clippy::unwrap_used, reason = "tests")]

use bunjae_measure::metrics::{Calibration, Classified, MetricError, Scores};

/// Agrees to all but the last digits of f64.
#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
}

/// Six pictures of three classes: of class 0 two of three are found, of class 1 one of two, and the
/// one of class 2 is taken for class 0.
const LABELS: [usize; 6] = [0, 0, 0, 1, 1, 2];
const PROBABILITIES: [f32; 18] = [
    0.75, 0.25, 0.0, // right
    0.5, 0.5, 0.0, // right: of equals the first
    0.25, 0.75, 0.0, // taken for 1
    0.0, 1.0, 0.0, // right
    0.5, 0.25, 0.25, // taken for 0
    0.625, 0.125, 0.25, // taken for 0
];

#[test]
fn shares_are_counted_per_class_and_averaged_over_classes() {
    let scores = Scores::of(&Classified::new(&LABELS, &PROBABILITIES, 3).unwrap());
    assert_eq!(scores.confusion, [[2, 1, 0], [1, 1, 0], [1, 0, 0]]);
    assert_eq!(scores.pictures, 6);
    close(scores.accuracy, 3.0 / 6.0);
    let [first, second, third] = &scores.classes[..] else { panic!() };
    assert_eq!((first.pictures, first.predicted), (3, 4));
    close(first.precision, 2.0 / 4.0);
    close(first.recall, 2.0 / 3.0);
    close(first.f1, 4.0 / 7.0);
    close(second.f1, 2.0 / 4.0);
    // Never predicted: no precision, and no division by zero.
    assert_eq!((third.precision, third.recall, third.f1), (0.0, 0.0, 0.0));
    close(scores.mean.precision, (0.5 + 0.5 + 0.0) / 3.0);
    close(scores.mean.recall, (2.0 / 3.0 + 0.5 + 0.0) / 3.0);
    close(scores.mean.f1, (4.0 / 7.0 + 0.5 + 0.0) / 3.0);
    assert_eq!(scores.roc_auc, None, "there are three classes");
}

#[test]
fn a_class_that_does_not_occur_is_left_out_of_the_mean() {
    let classified = Classified::new(&[0, 1], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 3).unwrap();
    let scores = Scores::of(&classified);
    assert_eq!(scores.classes.len(), 3);
    assert_eq!((scores.mean.f1, scores.mean.recall), (1.0, 1.0));
}

#[test]
fn the_loss_is_the_mean_of_minus_log_p() {
    let classified = Classified::new(&[0, 1], &[0.5, 0.5, 0.75, 0.25], 2).unwrap();
    close(classified.log_loss(), (2f64.ln() + 4f64.ln()) / 2.0);
    // Certain and wrong: large, but a number.
    let classified = Classified::new(&[0], &[0.0, 1.0], 2).unwrap();
    close(classified.log_loss(), -f64::from(f32::MIN_POSITIVE).ln());
}

#[test]
fn the_area_under_the_curve_counts_pairs_and_halves_draws() {
    let auc = |labels: &[usize], ones: &[f32]| {
        let rows: Vec<f32> = ones.iter().flat_map(|one| [1.0 - one, *one]).collect();
        Classified::new(labels, &rows, 2).unwrap().roc_auc()
    };
    assert_eq!(auc(&[0, 0, 1, 1], &[0.1, 0.2, 0.3, 0.4]), Some(1.0));
    assert_eq!(auc(&[1, 1, 0, 0], &[0.1, 0.2, 0.3, 0.4]), Some(0.0));
    // Pairs (class 0, class 1): .5 against .5 is a draw and against .75 a win, .25 wins twice.
    assert_eq!(auc(&[0, 0, 1, 1], &[0.5, 0.25, 0.5, 0.75]), Some(3.5 / 4.0));
    assert_eq!(auc(&[0, 1, 0, 1], &[0.5; 4]), Some(0.5));
    assert_eq!(auc(&[1, 1], &[0.5, 0.6]), None, "only one class has pictures");
}

#[test]
fn the_calibration_error_weighs_bins_by_their_pictures() {
    // Confidence 0.75 and 0.8 lie in one bin of fifteen, 0.7333 to 0.8; one of the two is right.
    // Confidence 1 lies in the last and is right.
    let rows = [0.75, 0.25, 0.25, 0.75, 0.0, 1.0];
    let classified = Classified::new(&[0, 0, 1], &rows, 2).unwrap();
    let calibration = classified.calibration();
    let bin = &calibration.bins[11];
    assert_eq!((bin.count, bin.confidence, bin.accuracy), (2, 0.75, 0.5));
    assert_eq!(calibration.bins[Calibration::BINS - 1].count, 1);
    assert_eq!(calibration.bins.iter().map(|bin| bin.count).sum::<usize>(), 3);
    close(calibration.error, 2.0 / 3.0 * 0.25);
}

/// Computed by scikit-learn 1.9.1 (`accuracy_score`, `precision_recall_fscore_support` with
/// `average="macro"`, `log_loss`, `roc_auc_score`) on the same fifty pictures.
#[test]
fn the_figures_are_those_of_scikit_learn() {
    let place = |i: usize| (i * 37 + 11) % 64;
    let rows: Vec<f32> =
        (0..50).map(|i| (place(i) as f32 + 0.5) / 64.0).flat_map(|one| [1.0 - one, one]).collect();
    let labels: Vec<usize> =
        (0..50).map(|i| usize::from((i * 29) % 50 + place(i) / 2 > 40)).collect();
    let scores = Scores::of(&Classified::new(&labels, &rows, 2).unwrap());
    close(scores.accuracy, 0.8);
    close(scores.mean.precision, 0.8);
    close(scores.mean.recall, 0.8019323671497585);
    close(scores.mean.f1, 0.7996794871794872);
    close(scores.log_loss, 0.6751919718668353);
    close(scores.roc_auc.unwrap(), 0.7761674718196458);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let refused = |labels: &[usize], values: &[f32], classes| {
        Classified::new(labels, values, classes).unwrap_err()
    };
    assert_eq!(refused(&[], &[], 2), MetricError::Empty);
    assert_eq!(refused(&[0], &[], 0), MetricError::NoClasses);
    assert_eq!(
        refused(&[0, 1], &[0.5; 3], 2),
        MetricError::Length { labels: 2, classes: 2, expected: 4, found: 3 }
    );
    assert_eq!(
        refused(&[0, 2], &[0.5; 4], 2),
        MetricError::Label { place: 1, label: 2, classes: 2 }
    );
    let error = refused(&[0, 1], &[0.5, 0.5, f32::NAN, 0.5], 2);
    assert!(matches!(error, MetricError::Probability { place: 1, class: 0, .. }), "{error}");
    let error = refused(&[0], &[0.5, 1.5], 2);
    assert_eq!(error.to_string(), "picture 0 has the probability 1.5 for class 1");
}
