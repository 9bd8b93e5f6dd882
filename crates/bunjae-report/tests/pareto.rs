//! The front holds exactly the points that no other one beats.

use bunjae_report::pareto::{Point, front};
use proptest::prelude::*;

/// Few values, so that equal costs, equal gains and equal points are common.
fn points() -> impl Strategy<Value = Vec<Point>> {
    let value = || prop_oneof![(0i32..6).prop_map(f64::from), -1e3..1e3f64, Just(-0.0)];
    let point = (value(), value()).prop_map(|(cost, gain)| Point { cost, gain });
    prop::collection::vec(point, 0..24)
}

proptest! {
    #[test]
    fn a_point_is_on_the_front_where_no_point_beats_it(points in points()) {
        let found = front(&points);
        let expected: Vec<bool> = points
            .iter()
            .map(|&point| !points.iter().any(|&other| other.beats(point)))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn every_beaten_point_is_beaten_by_one_of_the_front(points in points()) {
        let on = front(&points);
        prop_assert!(points.is_empty() || on.contains(&true));
        for (point, _) in points.iter().zip(&on).filter(|(_, on)| !**on) {
            let beaten = points.iter().zip(&on).any(|(other, on)| *on && other.beats(*point));
            prop_assert!(beaten, "{:?}", point);
        }
    }
}

#[test]
fn what_is_no_number_is_on_no_front_and_beats_nobody() {
    let points = [(f64::NAN, 1.0), (1.0, f64::NAN), (1.0, 0.5), (2.0, 0.5)];
    let points = points.map(|(cost, gain)| Point { cost, gain });
    assert_eq!(front(&points), [false, false, true, false]);
}
