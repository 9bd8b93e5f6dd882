//! The sizes of windows that are tried, and the picture in the size that goes with each.

use bunjae_data::Picture;

use super::CascadeSettings;

/// The nearest whole number, and of two the even one; 0 for what is negative.
pub(super) fn rounded(value: f32) -> usize {
    value.round_ties_even() as usize
}

/// How many times larger than the cascade's the windows are, from small to large.
///
/// Where the bounds leave no size, the one nearest to the smallest is tried, as OpenCV does it.
pub(super) fn scales(
    window: [usize; 2],
    picture: [usize; 2],
    settings: &CascadeSettings,
) -> Vec<f32> {
    let sides = |scale: f64| window.map(|side| (side as f64 * scale).round_ties_even());
    let mut all = Vec::new();
    let mut factor = 1.0f64;
    loop {
        let [width, height] = sides(factor);
        if width > picture[0] as f64 || height > picture[1] as f64 {
            break;
        }
        all.push(factor as f32);
        factor *= settings.scale_factor;
    }
    let largest = if settings.max_size.contains(&0) { picture } else { settings.max_size };
    let sides = |scale: f32| window.map(|side| rounded(side as f32 * scale));
    let fits = |scale: &&f32| {
        let [width, height] = sides(**scale);
        width <= largest[0] && height <= largest[1]
    };
    let large_enough = |scale: &&f32| {
        let [width, height] = sides(**scale);
        width >= settings.min_size[0] && height >= settings.min_size[1]
    };
    let chosen: Vec<f32> = all.iter().take_while(fits).filter(large_enough).copied().collect();
    if !chosen.is_empty() {
        return chosen;
    }
    let distance = |scale: f32| {
        let [width, height] = sides(scale).map(|side| side as f64);
        let [x, y] = settings.min_size.map(|side| side as f64);
        (x - width) * (x - width) + (y - height) * (y - height)
    };
    // The first of equals.
    let nearest = all.iter().copied().min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    nearest.into_iter().collect()
}

/// What new samples along one axis are made of: the first of two old ones, and the share of the
/// second in 256ths. The second lies beyond the edge only where its share is 0.
struct Taps {
    first: Vec<u32>,
    share: Vec<u16>,
}

impl Taps {
    /// The middle of each new sample is mapped to the old ones and split between its neighbours;
    /// beyond the outermost middles the outermost sample counts alone.
    fn new(old: usize, new: usize) -> Taps {
        let scale = old as f64 / new as f64;
        let tap = |at: usize| {
            let middle = scale * (at as f64 + 0.5) - 0.5;
            if middle < 0.0 {
                return (0, 0);
            }
            let first = middle.floor();
            if first as usize + 1 >= old {
                return (old as u32 - 1, 0);
            }
            (first as u32, ((middle - first) * 256.0).round_ties_even() as u16)
        };
        let (first, share) = (0..new).map(tap).unzip();
        Taps { first, share }
    }
}

/// Makes pictures smaller by linear interpolation in fixed point: weights of 8 bits, columns first,
/// rounded once at the end. The bits are those of OpenCV's `INTER_LINEAR_EXACT`.
#[derive(Default)]
pub(super) struct Shrinker {
    /// Two rows that were interpolated along the columns, and which rows of the old picture they
    /// are.
    rows: [Vec<u16>; 2],
    held: [Option<u32>; 2],
    samples: Vec<u8>,
}

impl Shrinker {
    /// The samples of a grey picture in another size, row after row.
    pub(super) fn shrunk(&mut self, grey: &Picture, width: usize, height: usize) -> &[u8] {
        self.samples.resize(width * height, 0);
        if (width, height) == (grey.width(), grey.height()) {
            self.samples.copy_from_slice(grey.samples());
            return &self.samples;
        }
        let columns = Taps::new(grey.width(), width);
        let lines = Taps::new(grey.height(), height);
        self.held = [None; 2];
        for row in &mut self.rows {
            row.resize(width, 0);
        }
        for (y, sample_row) in self.samples.chunks_exact_mut(width.max(1)).enumerate() {
            let (first, share) = (lines.first[y], lines.share[y]);
            let upper = Self::hold(&mut self.rows, &mut self.held, grey, &columns, first, None);
            let next = first + u32::from(share > 0);
            let lower =
                Self::hold(&mut self.rows, &mut self.held, grey, &columns, next, Some(upper));
            let (upper, lower) = (&self.rows[upper][..width], &self.rows[lower][..width]);
            let (near, far) = (256 - u32::from(share), u32::from(share));
            for ((sample, &upper), &lower) in sample_row.iter_mut().zip(upper).zip(lower) {
                let sum = u32::from(upper) * near + u32::from(lower) * far;
                *sample = ((sum + (1 << 15)) >> 16) as u8;
            }
        }
        &self.samples
    }

    /// The place of an interpolated row, which is made unless it is there; not in the place that is
    /// to be kept.
    fn hold(
        rows: &mut [Vec<u16>; 2],
        held: &mut [Option<u32>; 2],
        grey: &Picture,
        columns: &Taps,
        line: u32,
        keep: Option<usize>,
    ) -> usize {
        if let Some(at) = held.iter().position(|&other| other == Some(line)) {
            return at;
        }
        // The older of the two goes.
        let at = match keep {
            Some(keep) => 1 - keep,
            None => usize::from(held[0] > held[1]),
        };
        held[at] = Some(line);
        let stride = grey.stride();
        let source = &grey.samples()[line as usize * stride..][..stride];
        interpolate(&mut rows[at], source, columns);
        at
    }
}

fn interpolate(row: &mut [u16], source: &[u8], columns: &Taps) {
    let last = source.len() - 1;
    let taps = columns.first.iter().zip(&columns.share);
    for (sum, (&first, &share)) in row.iter_mut().zip(taps) {
        let first = (first as usize).min(last);
        let near = u16::from(source[first]);
        let far = u16::from(source[(first + 1).min(last)]);
        // At most 255 * 256.
        *sum = near * (256 - share) + far * share;
    }
}

#[cfg(test)]
mod tests {
    use bunjae_data::Channels;

    use super::*;

    #[test]
    fn sizes_grow_by_the_factor_up_to_the_picture() {
        let settings = CascadeSettings { scale_factor: 1.5, ..CascadeSettings::default() };
        assert_eq!(scales([20, 20], [100, 50], &settings), [1.0, 1.5, 2.25]);
        let bounded = CascadeSettings { min_size: [25, 25], max_size: [40, 40], ..settings };
        assert_eq!(scales([20, 20], [100, 50], &bounded), [1.5]);
        // No size fits: the nearest to the smallest.
        let between = CascadeSettings { min_size: [41, 41], max_size: [42, 42], ..settings };
        assert_eq!(scales([20, 20], [100, 50], &between), [2.25]);
        assert!(scales([20, 20], [100, 19], &settings).is_empty());
    }

    #[test]
    fn a_picture_shrinks_by_fixed_point_interpolation() {
        let picture = Picture::new(4, 1, Channels::Grey, vec![0, 100, 200, 40]).unwrap();
        let mut shrinker = Shrinker::default();
        // Middles at 1/6, 1.5 and 17/6: shares of 43, 128 and 213 in 256.
        let expected = [(100 * 43 + 128) / 256, 150, (200 * 43 + 40 * 213 + 128) / 256];
        assert_eq!(shrinker.shrunk(&picture, 3, 1), expected.map(|sample: i32| sample as u8));
        assert_eq!(shrinker.shrunk(&picture, 4, 1), [0, 100, 200, 40]);
        // Enlarged, the outermost samples go on.
        assert_eq!(shrinker.shrunk(&picture, 8, 1), [0, 25, 75, 125, 175, 160, 80, 40]);
        let column = Picture::new(1, 4, Channels::Grey, vec![0, 100, 200, 40]).unwrap();
        assert_eq!(shrinker.shrunk(&column, 1, 2), [50, 120]);
    }
}
