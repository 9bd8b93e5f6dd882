//! Changes of place, to the nearest pixel, as Pillow's `Image.transform` computes them in 16-bit
//! fixed point; what comes from outside is black.

use crate::picture::{Channels, Picture};

/// The map from the new picture to the old one: `x = a x' + b y' + c`, `y = d x' + e y' + f`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// `a, b, c, d, e, f`.
    pub coefficients: [f64; 6],
}

impl Affine {
    /// Content moves to the right with the row: by `factor` of a pixel a row.
    pub fn shear_x(factor: f64) -> Affine {
        Affine { coefficients: [1.0, factor, 0.0, 0.0, 1.0, 0.0] }
    }

    /// Content moves down with the column.
    pub fn shear_y(factor: f64) -> Affine {
        Affine { coefficients: [1.0, 0.0, 0.0, factor, 1.0, 0.0] }
    }

    /// Content moves to the right and down by whole pixels.
    pub fn translation(right: i64, down: i64) -> Affine {
        Affine { coefficients: [1.0, 0.0, -right as f64, 0.0, 1.0, -down as f64] }
    }

    /// Content turns against the clock around the middle of a picture of the given sides.
    pub fn rotation(degrees: f64, width: usize, height: usize) -> Affine {
        let angle = -degrees * (std::f64::consts::PI / 180.0);
        let (sin, cos) = (libm::sin(angle), libm::cos(angle));
        let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
        let c = cos * -x + sin * -y + x;
        let f = -sin * -x + cos * -y + y;
        Affine { coefficients: [cos, sin, c, -sin, cos, f] }
    }

    /// The picture as the map shows it, in the same size.
    pub fn apply(&self, picture: &Picture) -> Picture {
        match picture.channels() {
            Channels::Grey => self.apply_to::<1>(picture),
            Channels::Rgb => self.apply_to::<3>(picture),
        }
    }

    /// `C` is the number of samples in a pixel.
    fn apply_to<const C: usize>(&self, picture: &Picture) -> Picture {
        let fixed = |value: f64| (value * 65_536.0 + 0.5).floor() as i64;
        let [a, b, c, d, e, f] = self.coefficients;
        // From the middle of each new pixel.
        let (mut row_x, mut row_y) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
        let (step_x, step_y) = ((fixed(a), fixed(d)), (fixed(b), fixed(e)));
        let (width, height) = (picture.width(), picture.height());
        let mut result = Picture::filled(width, height, picture.channels(), [0; 3]);
        let (source, _) = picture.samples().as_chunks::<C>();
        let (pixels, _) = result.samples_mut().as_chunks_mut::<C>();
        for row in pixels.chunks_exact_mut(width) {
            let (mut x, mut y) = (row_x, row_y);
            for pixel in row {
                // A negative place becomes a huge one, and is outside like all others.
                let (column, line) = ((x >> 16) as usize, (y >> 16) as usize);
                if column < width && line < height {
                    *pixel = source[line * width + column];
                }
                x += step_x.0;
                y += step_x.1;
            }
            row_x += step_y.0;
            row_y += step_y.1;
        }
        result
    }
}

/// The picture moved by whole pixels to the right and down, its edge repeated.
pub fn shift(picture: &Picture, right: isize, down: isize) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let mut result = picture.clone();
    let (stride, count) = (picture.stride(), picture.channels().count());
    // What is seen of a row, and how many pixels stand before and after it.
    let by = right.unsigned_abs().min(width - 1);
    let (before, after) = if right >= 0 { (by, 0) } else { (0, by) };
    let seen = after * count..(width - before) * count;
    for (y, row) in result.samples_mut().chunks_exact_mut(stride).enumerate() {
        let y = y.saturating_add_signed(down.saturating_neg()).min(height - 1);
        let source = &picture.samples()[y * stride..][..stride];
        row[before * count..(width - after) * count].copy_from_slice(&source[seen.clone()]);
        for pixel in row[..before * count].chunks_exact_mut(count) {
            pixel.copy_from_slice(&source[..count]);
        }
        for pixel in row[(width - after) * count..].chunks_exact_mut(count) {
            pixel.copy_from_slice(&source[stride - count..]);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_repeats_the_edge() {
        let picture = Picture::new(3, 2, Channels::Grey, vec![1, 2, 3, 4, 5, 6]);
        let picture = picture.unwrap();
        let shifted = |right, down| shift(&picture, right, down).samples().to_vec();
        assert_eq!(shifted(0, 0), [1, 2, 3, 4, 5, 6]);
        assert_eq!(shifted(1, 0), [1, 1, 2, 4, 4, 5]);
        assert_eq!(shifted(-2, 0), [3, 3, 3, 6, 6, 6]);
        assert_eq!(shifted(0, 1), [1, 2, 3, 1, 2, 3]);
        assert_eq!(shifted(-1, -1), [5, 6, 6, 5, 6, 6]);
        assert_eq!(shifted(isize::MAX, isize::MIN), [4, 4, 4, 4, 4, 4]);
        let colour = picture.into_channels(Channels::Rgb);
        let expected = shift(&colour.clone().into_channels(Channels::Grey), -1, 0);
        assert_eq!(shift(&colour, -1, 0), expected.into_channels(Channels::Rgb));
    }
}
