//! UltraFace ("ultra light fast generic face detector", RFB and slim): boxes around fixed places.
//!
//! The input is RGB, (sample - 127) / 128, the whole picture stretched. `scores` has for each box the
//! background first, then what is told apart; `boxes` are left, top, right and bottom as shares of
//! the picture, or, from a graph that leaves out the end, offsets from [`priors`].

use bunjae_data::{Colour, Preprocess};

use crate::detection::{Detection, Rect};

pub(super) const OUTPUTS: [&str; 2] = ["scores", "boxes"];

/// Where the input's sides are open, those that the networks were trained with.
pub(super) const SIDES: [usize; 2] = [320, 240];

/// For each grid its stride, and the sides of its boxes in pixels.
const GRIDS: [(usize, &[f32]); 4] = [
    (8, &[10.0, 16.0, 24.0]),
    (16, &[32.0, 48.0]),
    (32, &[64.0, 96.0]),
    (64, &[128.0, 192.0, 256.0]),
];

/// What offsets of the middle and of the sides are multiplied with.
const VARIANCES: [f32; 2] = [0.1, 0.2];

pub(super) fn preprocess(width: usize, height: usize) -> Preprocess {
    Preprocess {
        range: [0.0, 255.0],
        mean: vec![127.0; 3],
        std: vec![128.0; 3],
        ..Preprocess::plain(width, height, Colour::Rgb)
    }
}

/// The places that boxes are offsets from, as shares of the input. `left` and `top` are the middle.
pub(super) fn priors(width: usize, height: usize) -> Vec<Rect> {
    let mut priors = Vec::new();
    let share = |value: f32| value.clamp(0.0, 1.0);
    for (stride, sides) in GRIDS {
        // The cells share the input evenly, also where the stride does not divide it.
        let (columns, rows) = (width.div_ceil(stride), height.div_ceil(stride));
        for row in 0..rows {
            for column in 0..columns {
                priors.extend(sides.iter().map(|side| Rect {
                    left: (column as f32 + 0.5) / columns as f32,
                    top: (row as f32 + 0.5) / rows as f32,
                    width: share(side / width as f32),
                    height: share(side / height as f32),
                }));
            }
        }
    }
    priors
}

/// What is told apart.
pub(super) fn classes(outputs: &[Vec<f32>]) -> &'static [&'static str] {
    match outputs {
        [scores, boxes] if scores.len() / (boxes.len() / 4).max(1) > 2 => &["face", "masked face"],
        _ => &["face"],
    }
}

/// Boxes of at least this score, in pixels of the input.
pub(super) fn decode(
    outputs: &[Vec<f32>],
    priors: &[Rect],
    [width, height]: [usize; 2],
    least: f32,
) -> Vec<Detection> {
    let [scores, boxes] = outputs else { return Vec::new() };
    let (boxes, _) = boxes.as_chunks::<4>();
    let classes = (scores.len() / boxes.len().max(1)).max(1);
    let mut found = Vec::new();
    for (at, (scores, sides)) in scores.chunks_exact(classes).zip(boxes).enumerate() {
        // The first of equals.
        let best = scores.iter().skip(1).enumerate().fold(
            (0, f32::NEG_INFINITY),
            |best, (class, &score)| {
                if score > best.1 { (class, score) } else { best }
            },
        );
        let (class, score) = best;
        if score < least {
            continue;
        }
        let area = match priors.get(at) {
            Some(prior) => from_prior(sides, prior),
            None => {
                let [left, top, right, bottom] = *sides;
                Rect { left, top, width: right - left, height: bottom - top }
            }
        };
        let (width, height) = (width as f32, height as f32);
        let area = Rect {
            left: area.left * width,
            top: area.top * height,
            width: area.width * width,
            height: area.height * height,
        };
        found.push(Detection { area, score, class, landmarks: None });
    }
    found
}

fn from_prior(&[x, y, width, height]: &[f32; 4], prior: &Rect) -> Rect {
    let [middle, side] = VARIANCES;
    let (x, y) = (prior.left + x * middle * prior.width, prior.top + y * middle * prior.height);
    let (width, height) =
        (prior.width * (width * side).exp(), prior.height * (height * side).exp());
    Rect { left: x - width / 2.0, top: y - height / 2.0, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_the_networks_have_boxes() {
        // Of the published networks for these two sizes.
        assert_eq!(priors(320, 240).len(), 4420);
        assert_eq!(priors(640, 480).len(), 17_640);
        let first =
            Rect { left: 4.0 / 320.0, top: 4.0 / 240.0, width: 10.0 / 320.0, height: 10.0 / 240.0 };
        assert_eq!(priors(320, 240)[0], first);
    }

    #[test]
    fn boxes_are_shares_or_offsets() {
        let scores = vec![0.9, 0.1, 0.2, 0.8];
        let shares = vec![0.0, 0.0, 1.0, 1.0, 0.25, 0.5, 0.5, 1.0];
        let found = decode(&[scores.clone(), shares], &[], [320, 240], 0.5);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].area, Rect { left: 80.0, top: 120.0, width: 80.0, height: 120.0 });
        assert_eq!((found[0].score, found[0].class), (0.8, 0));
        let prior = Rect { left: 0.5, top: 0.5, width: 0.1, height: 0.2 };
        let offsets = vec![0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 5.0 * 2f32.ln()];
        let found = decode(&[scores, offsets], &[prior, prior], [100, 100], 0.5);
        let Rect { left, top, width, height } = found[0].area;
        for (found, expected) in
            [left, top, width, height].into_iter().zip([51.0 - 5.0, 48.0 - 20.0, 10.0, 40.0])
        {
            assert!((found - expected).abs() < 1e-3, "{found} instead of {expected}");
        }
    }

    #[test]
    fn the_likelier_of_two_classes_counts() {
        let scores = vec![0.1, 0.3, 0.6];
        let outputs = [scores, vec![0.0, 0.0, 0.5, 0.5]];
        let found = decode(&outputs, &[], [10, 10], 0.5);
        assert_eq!((found[0].class, found[0].score), (1, 0.6));
        assert_eq!(classes(&outputs), ["face", "masked face"]);
    }
}
