//! Sums over rectangles in four look-ups.

use super::plan::LANES;

/// How the columns of an integral image lie in a row.
///
/// Where windows are two pixels apart, even columns come first and odd ones after, so that one corner
/// of neighbouring windows is a run of neighbouring numbers there as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Numbers in a row; even.
    pub stride: usize,
    /// Pixels from window to window: 1 or 2.
    pub step: usize,
}

impl Layout {
    /// The place of a corner, seen from the place of a window that lies at a multiple of the step:
    /// `x` columns to the right and `y` rows below it.
    pub(super) fn place(&self, x: usize, y: usize) -> usize {
        let column = match self.step {
            1 => x,
            _ => x % 2 * (self.stride / 2) + x / 2,
        };
        y * self.stride + column
    }
}

/// What a window can see: offsets from its place have 16 bits.
pub(super) const REACH: usize = 1 << 16;

/// Integral images of a strip of a picture. Sums wrap around, which differences of them undo.
#[derive(Default)]
pub(super) struct Integral {
    pub sums: Vec<i32>,
    /// Of the squares.
    pub squares: Vec<i32>,
    /// Over triangles: of the pixel above and to the left of a corner, the three above that one, and
    /// so on.
    pub tilted: Vec<i32>,
    line: Vec<i32>,
    square_line: Vec<i32>,
    /// The tilted sums of this row, the one before and the one before that, by column.
    tilted_lines: [Vec<i32>; 3],
}

/// A part of a grey picture, all rows of it.
#[derive(Clone, Copy)]
pub(super) struct Strip<'a> {
    pub samples: &'a [u8],
    /// Samples in a row of the picture.
    pub width: usize,
    pub left: usize,
    pub columns: usize,
}

/// Which sums are wanted beside the plain ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub squares: bool,
    pub tilted: bool,
}

impl Integral {
    /// Sums a strip. The rows of the layout have room for one more column than the strip has.
    pub(super) fn fill(&mut self, strip: Strip<'_>, layout: Layout, wanted: Wanted) {
        let Layout { stride, .. } = layout;
        let corners = strip.columns + 1;
        let rows = strip.samples.len() / strip.width.max(1) + 1;
        // Windows look this far on from the last row.
        let length = rows * stride + REACH + LANES;
        self.line.resize(corners.next_multiple_of(2), 0);
        let lines = [(&mut self.sums, true), (&mut self.squares, wanted.squares)];
        let lines = lines.into_iter().chain([(&mut self.tilted, wanted.tilted)]);
        for (sums, _) in lines.filter(|(_, wanted)| *wanted) {
            if sums.len() < length {
                sums.resize(length, 0);
            }
            sums[..stride].fill(0);
        }
        self.square_line.resize(self.line.len(), 0);
        for line in &mut self.tilted_lines {
            line.clear();
            line.resize(self.line.len(), 0);
        }
        let mut before: &[u8] = &[];
        for (y, row) in strip.samples.chunks_exact(strip.width.max(1)).enumerate() {
            let row = &row[strip.left..strip.left + strip.columns];
            let split = (y + 1) * stride;
            match wanted.squares {
                true => scan_with_squares(&mut self.line, &mut self.square_line, row),
                false => scan(&mut self.line, row),
            }
            add(&mut self.sums, split, layout, &self.line);
            if wanted.squares {
                add(&mut self.squares, split, layout, &self.square_line);
            }
            if wanted.tilted {
                self.tilted_lines.rotate_right(1);
                let [now, last, earlier] = &mut self.tilted_lines;
                tilt(&mut now[..corners], &last[..corners], &earlier[..corners], row, before);
                place(&mut self.tilted[split..][..stride], layout, now);
            }
            before = row;
        }
    }
}

fn scan(line: &mut [i32], row: &[u8]) {
    let mut sum = 0;
    for (total, &sample) in line[1..].iter_mut().zip(row) {
        sum += i32::from(sample);
        *total = sum;
    }
}

fn scan_with_squares(line: &mut [i32], squares: &mut [i32], row: &[u8]) {
    let (mut sum, mut square) = (0i32, 0i32);
    let totals = line[1..].iter_mut().zip(&mut squares[1..]);
    for ((total, total_square), &sample) in totals.zip(row) {
        let sample = i32::from(sample);
        sum += sample;
        square = square.wrapping_add(sample * sample);
        (*total, *total_square) = (sum, square);
    }
}

/// The row of `sums` that begins at `split`: the one above and `line`.
fn add(sums: &mut [i32], split: usize, layout: Layout, line: &[i32]) {
    let Layout { stride, step } = layout;
    let (above, below) = sums.split_at_mut(split);
    let (above, below) = (&above[split - stride..], &mut below[..stride]);
    match step {
        1 => {
            for ((sum, &above), &line) in below.iter_mut().zip(above).zip(line) {
                *sum = above.wrapping_add(line);
            }
        }
        _ => {
            let (pairs, _) = line.as_chunks::<2>();
            let (even, odd) = below.split_at_mut(stride / 2);
            let (even_above, odd_above) = above.split_at(stride / 2);
            let rows = even.iter_mut().zip(odd).zip(even_above.iter().zip(odd_above));
            for (((even, odd), (&even_above, &odd_above)), &[first, second]) in rows.zip(pairs) {
                *even = even_above.wrapping_add(first);
                *odd = odd_above.wrapping_add(second);
            }
        }
    }
}

/// Writes a row by columns in the order of the layout.
fn place(row: &mut [i32], layout: Layout, line: &[i32]) {
    match layout.step {
        1 => row.iter_mut().zip(line).for_each(|(sum, &line)| *sum = line),
        _ => {
            let (pairs, _) = line.as_chunks::<2>();
            let (even, odd) = row.split_at_mut(layout.stride / 2);
            for ((even, odd), &[first, second]) in even.iter_mut().zip(odd).zip(pairs) {
                (*even, *odd) = (first, second);
            }
        }
    }
}

/// The sums over triangles of one row, from those of the two rows above. A triangle is the two that
/// begin one row higher on either side, less what they share, and the two pixels between them.
/// Beyond the edges there are no pixels: there the outer one of the two is all of what they share.
fn tilt(now: &mut [i32], last: &[i32], earlier: &[i32], row: &[u8], before: &[u8]) {
    let end = now.len() - 1;
    let pixels =
        |x: usize| i32::from(row[x - 1]) + before.get(x - 1).map_or(0, |&sample| i32::from(sample));
    now[0] = last[1.min(end)];
    for x in 1..end {
        now[x] =
            last[x - 1].wrapping_add(last[x + 1]).wrapping_sub(earlier[x]).wrapping_add(pixels(x));
    }
    now[end] = last[end - 1].wrapping_add(pixels(end));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [usize; 2] = [7, 6];

    fn samples() -> Vec<u8> {
        (0..42u32).map(|at| (at * 37 % 251) as u8).collect()
    }

    fn filled(layout: Layout, left: usize, columns: usize) -> Integral {
        let mut integral = Integral::default();
        let samples = samples();
        let strip = Strip { samples: &samples, width: SIDES[0], left, columns };
        integral.fill(strip, layout, Wanted { squares: true, tilted: true });
        integral
    }

    /// The sum over the pixels of the strip that are wanted.
    fn plain(left: usize, columns: usize, wanted: impl Fn(i32, i32) -> bool, power: u32) -> i32 {
        let samples = samples();
        let mut sum = 0;
        for y in 0..SIDES[1] {
            for x in 0..columns {
                if wanted(x as i32, y as i32) {
                    sum += i32::from(samples[y * SIDES[0] + left + x]).pow(power);
                }
            }
        }
        sum
    }

    #[test]
    fn sums_are_those_of_the_pixels_in_either_layout_and_any_strip() {
        for step in [1, 2] {
            for (left, columns) in [(0, 7), (1, 5), (2, 4), (6, 1)] {
                let layout = Layout { stride: 10, step };
                let integral = filled(layout, left, columns);
                for y in 0..=SIDES[1] {
                    for x in 0..=columns {
                        let at = layout.place(x, y);
                        let inside = |px, py| px < x as i32 && py < y as i32;
                        assert_eq!(integral.sums[at], plain(left, columns, inside, 1));
                        assert_eq!(integral.squares[at], plain(left, columns, inside, 2));
                        // A triangle with its tip at the pixel above and left of the corner.
                        let (tip_x, tip_y) = (x as i32 - 1, y as i32 - 1);
                        let under = |px: i32, py| py <= tip_y && (px - tip_x).abs() <= tip_y - py;
                        let expected = plain(left, columns, under, 1);
                        assert_eq!(integral.tilted[at], expected, "step {step}, {left}, {x}, {y}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_smaller_picture_does_not_see_the_one_before() {
        let layout = Layout { stride: 10, step: 1 };
        let mut integral = filled(layout, 0, 7);
        let samples = [5u8; 6];
        let strip = Strip { samples: &samples, width: 3, left: 0, columns: 3 };
        integral.fill(strip, layout, Wanted { squares: true, tilted: true });
        assert_eq!(integral.sums[layout.place(3, 2)], 30);
        assert_eq!(integral.sums[layout.place(0, 2)], 0);
        assert_eq!(integral.tilted[layout.place(2, 2)], 4 * 5);
    }
}
