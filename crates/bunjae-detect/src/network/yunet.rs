//! YuNet: one guess for every cell of three grids, as offsets from the cell.
//!
//! The input is BGR, 0 to 255, with sides that are multiples of 32. For a cell in column c and row r
//! of the grid of stride s, the score is the geometric mean of `cls` and `obj`, the middle of the box
//! is ((c + b0) s, (r + b1) s), its sides exp(b2) s and exp(b3) s, and a landmark
//! ((c + k0) s, (r + k1) s).

use bunjae_data::{Colour, Preprocess};

use crate::detection::{Detection, Point, Rect};

const STRIDES: [usize; 3] = [8, 16, 32];

/// Outputs for each stride, and the numbers they have for each cell.
const PARTS: [(&str, usize); 4] = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)];

/// Sides are multiples of the largest stride.
pub(super) const MULTIPLE: usize = 32;

/// The outputs' names, part after part.
pub(super) fn outputs() -> Vec<String> {
    let all = PARTS.iter().flat_map(|(part, _)| STRIDES.map(|stride| format!("{part}_{stride}")));
    all.collect()
}

/// How many numbers each output has.
pub(super) fn lengths(width: usize, height: usize) -> Vec<usize> {
    let all = PARTS.iter().flat_map(|(_, numbers)| {
        STRIDES.map(|stride| (width / stride) * (height / stride) * numbers)
    });
    all.collect()
}

pub(super) fn preprocess(width: usize, height: usize) -> Preprocess {
    Preprocess { range: [0.0, 255.0], ..Preprocess::plain(width, height, Colour::Bgr) }
}

/// Boxes of at least this score, in pixels of the input.
pub(super) fn decode(outputs: &[Vec<f32>], sides: [usize; 2], least: f32) -> Vec<Detection> {
    let mut found = Vec::new();
    for (at, &stride) in STRIDES.iter().enumerate() {
        let part = |part: usize| outputs.get(part * STRIDES.len() + at).map_or(&[][..], |all| all);
        let (classes, objects) = (part(0), part(1));
        let (boxes, _) = part(2).as_chunks::<4>();
        let (marks, _) = part(3).as_chunks::<10>();
        let columns = (sides[0] / stride).max(1);
        let cells = classes.iter().zip(objects).zip(boxes.iter().zip(marks)).enumerate();
        for (cell, ((&class, &object), (offsets, marks))) in cells {
            let score = (class.clamp(0.0, 1.0) * object.clamp(0.0, 1.0)).sqrt();
            if score.is_nan() || score < least {
                continue;
            }
            let (column, row) = ((cell % columns) as f32, (cell / columns) as f32);
            let stride = stride as f32;
            let [x, y, width, height] = *offsets;
            let (width, height) = (width.exp() * stride, height.exp() * stride);
            let area = Rect {
                left: (column + x) * stride - width / 2.0,
                top: (row + y) * stride - height / 2.0,
                width,
                height,
            };
            let landmarks = std::array::from_fn(|mark| Point {
                x: (column + marks[2 * mark]) * stride,
                y: (row + marks[2 * mark + 1]) * stride,
            });
            found.push(Detection { area, score, class: 0, landmarks: Some(landmarks) });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_becomes_a_box_and_landmarks() {
        let sides = [64, 32];
        let mut outputs: Vec<Vec<f32>> =
            lengths(64, 32).into_iter().map(|length| vec![0.0; length]).collect();
        assert_eq!(outputs.iter().map(Vec::len).sum::<usize>(), (32 + 8 + 2) * 16);
        // Stride 16: 4 x 2 cells; the one in column 2, row 1.
        let cell = 4 + 2;
        outputs[1][cell] = 0.9;
        outputs[4][cell] = 1.6;
        outputs[7][4 * cell..][..4].copy_from_slice(&[0.5, 0.25, 0.0, 2f32.ln()]);
        outputs[10][10 * cell..][..2].copy_from_slice(&[-1.0, 1.0]);
        let found = decode(&outputs, sides, 0.5);
        assert_eq!(found.len(), 1);
        // The second score is cut off at 1.
        assert_eq!(found[0].score, 0.9f32.sqrt());
        let Rect { left, top, width, height } = found[0].area;
        let expected = [40.0 - 8.0, 20.0 - 16.0, 16.0, 32.0];
        for (found, expected) in [left, top, width, height].into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
        }
        let marks = found[0].landmarks.unwrap();
        assert_eq!((marks[0], marks[1]), (Point { x: 16.0, y: 32.0 }, Point { x: 32.0, y: 16.0 }));
        outputs[1][cell] = f32::NAN;
        assert_eq!(
            decode(&outputs, sides, 0.0).iter().filter(|found| found.score > 0.0).count(),
            0
        );
    }
}
