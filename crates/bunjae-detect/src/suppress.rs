//! Non-maximum suppression: of boxes that mean the same thing the best one stays.

use crate::detection::{Detection, Rect, sort};

/// Which boxes may drive each other out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// All of them: one thing is of one class.
    All,
    /// Those of the same class.
    Classes,
}

/// Keeps a detection where no better one overlaps it by more than `overlap` (a share of what either
/// covers, 0 to 1), the highest score first, and no more than `limit` in all.
///
/// Of equal scores the upper, then the left box counts as the better. Boxes without area are left
/// out, and so are those whose place or score is no number.
pub fn suppress(
    mut detections: Vec<Detection>,
    overlap: f32,
    limit: usize,
    among: Among,
) -> Vec<Detection> {
    let is_box = |area: &Rect| area.is_finite() && area.area() > 0.0;
    detections.retain(|found| is_box(&found.area) && found.score.is_finite());
    sort(&mut detections);
    let mut kept: Vec<Detection> = Vec::new();
    for found in detections {
        if kept.len() >= limit {
            break;
        }
        let same = |best: &Detection| {
            let rivals = among == Among::All || best.class == found.class;
            rivals && best.area.overlap(&found.area) > overlap
        };
        if !kept.iter().any(same) {
            kept.push(found);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(left: f32, width: f32, score: f32, class: usize) -> Detection {
        let area = Rect { left, top: 0.0, width, height: 10.0 };
        Detection { area, score, class, landmarks: None }
    }

    fn lefts(found: &[Detection]) -> Vec<f32> {
        found.iter().map(|found| found.area.left).collect()
    }

    #[test]
    fn the_best_of_overlapping_boxes_stays() {
        let all =
            vec![found(0.0, 10.0, 0.5, 0), found(1.0, 10.0, 0.9, 0), found(30.0, 10.0, 0.1, 0)];
        assert_eq!(lefts(&suppress(all.clone(), 0.5, 10, Among::All)), [1.0, 30.0]);
        // 9 of 11 columns are common: no more than the limit.
        assert_eq!(lefts(&suppress(all.clone(), 0.82, 10, Among::All)), [1.0, 0.0, 30.0]);
        assert_eq!(lefts(&suppress(all, 0.5, 1, Among::All)), [1.0]);
    }

    #[test]
    fn classes_do_not_suppress_each_other() {
        let all = vec![found(0.0, 10.0, 0.5, 0), found(0.0, 10.0, 0.9, 1)];
        assert_eq!(suppress(all.clone(), 0.5, 10, Among::Classes).len(), 2);
        assert_eq!(suppress(all, 0.5, 10, Among::All).len(), 1);
    }

    #[test]
    fn what_is_no_box_is_left_out() {
        let all = vec![
            found(f32::NAN, 10.0, 0.5, 0),
            found(0.0, 0.0, 0.5, 0),
            found(0.0, -4.0, 0.5, 0),
            found(0.0, f32::INFINITY, 0.5, 0),
            found(0.0, 10.0, f32::NAN, 0),
        ];
        assert_eq!(suppress(all, 0.5, 10, Among::All), []);
    }

    proptest! {
        /// What stays does not overlap, and what goes is overlapped by something better that stays.
        #[test]
        fn everything_that_goes_has_something_better_in_its_place(
            boxes in prop::collection::vec((0u8..40, 1u8..20, 0u8..10, 0usize..2), 0..40),
            overlap in 0f32..1.0,
        ) {
            let all: Vec<Detection> = boxes
                .iter()
                .map(|&(left, width, score, class)| {
                    found(f32::from(left), f32::from(width), f32::from(score), class)
                })
                .collect();
            let kept = suppress(all.clone(), overlap, usize::MAX, Among::Classes);
            let hides = |a: &Detection, b: &Detection| {
                a.class == b.class && a.area.overlap(&b.area) > overlap
            };
            for (at, one) in kept.iter().enumerate() {
                prop_assert!(all.contains(one));
                prop_assert!(kept[..at].iter().all(|other| other.score >= one.score));
                prop_assert!(!kept[..at].iter().any(|other| hides(other, one)));
            }
            for one in &all {
                prop_assert!(
                    kept.contains(one)
                        || kept.iter().any(|best| best.score >= one.score && hides(best, one))
                );
            }
        }
    }
}
