//! Resizing in integers.
//!
//! The weights of a filter are computed in f64 with correctly rounded operations (and `libm` for
//! the sine), rounded to 22 bits behind the point, and applied in 32-bit integers: rows first, then
//! columns, each rounded to 8 bits. Integer sums have one result whatever the instruction set, the
//! compiler or the order, which a library that dispatches to hand-written vector code can only
//! promise (`fast_image_resize` uses narrower weights, chosen per picture, and other code on AVX2,
//! NEON and WebAssembly). The scheme is that of Pillow's `Image.resize`, with which torchvision
//! prepares pictures, and gives its bits: a network that was trained there sees here the same
//! numbers. When a picture is made smaller the filters widen, so that nothing aliases.

use serde::{Deserialize, Serialize};

use crate::picture::{Channels, Picture};

/// How neighbouring pixels are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The pixel whose area holds the centre of the new one.
    Nearest,
    /// The mean over the area of the new pixel.
    Box,
    /// A triangle.
    Bilinear,
    /// Keys' cubic with a = -1/2.
    Bicubic,
    /// A windowed sine over three lobes.
    Lanczos,
}

impl Filter {
    /// Every filter.
    pub const ALL: [Filter; 5] =
        [Filter::Nearest, Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];

    /// How far the filter reaches, in pixels of the larger scale.
    fn support(self) -> f64 {
        match self {
            Filter::Nearest | Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Filter::Nearest | Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - x.abs()).max(0.0),
            Filter::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    libm::sin(x) / x
}

/// Bits behind the point of a weight: 32 less 8 for the sample and 2 for sums above 1.
const PRECISION: u32 = 22;

/// What the new pixels along one axis are made of.
struct Taps {
    /// The first old pixel of each new one, and how many there are: `stride` of them, as no span is
    /// longer than the old axis.
    spans: Vec<(usize, usize)>,
    /// The weights, `stride` for each new pixel.
    weights: Vec<i32>,
    stride: usize,
}

impl Taps {
    fn new(old: usize, new: usize, filter: Filter) -> Taps {
        let scale = old as f64 / new as f64;
        let widening = scale.max(1.0);
        let support = filter.support() * widening;
        let mut spans: Vec<(usize, usize)> = (0..new)
            .map(|index| {
                let centre = (index as f64 + 0.5) * scale;
                // Conversion to an integer cuts off, and stops at 0 for what is negative.
                let first = (centre - support + 0.5) as usize;
                let last = ((centre + support + 0.5) as usize).min(old);
                (first, last.saturating_sub(first))
            })
            .collect();
        let stride = spans.iter().map(|&(_, count)| count).max().unwrap_or(0).max(1);
        let mut weights = vec![0; new * stride];
        let mut exact = vec![0f64; stride];
        let places = spans.iter_mut().zip(weights.chunks_exact_mut(stride));
        for (index, ((start, count), weights)) in places.enumerate() {
            let centre = (index as f64 + 0.5) * scale;
            let (first, taps) = (*start, *count);
            // Weights of 0 fill each span up, so that all have one length.
            *start = first.min(old.saturating_sub(stride));
            *count = stride.min(old);
            let mut sum = 0.0;
            for (tap, weight) in exact[..taps].iter_mut().enumerate() {
                let distance = (tap + first) as f64 - centre + 0.5;
                *weight = filter.weight(distance * (1.0 / widening));
                sum += *weight;
            }
            for (weight, &exact) in weights[first - *start..].iter_mut().zip(&exact[..taps]) {
                let share = if sum == 0.0 { exact } else { exact / sum };
                let scaled = share * f64::from(1 << PRECISION);
                *weight = (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i32;
            }
        }
        Taps { spans, weights, stride }
    }

    /// For each new pixel the first old one and the weights.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.stride);
        self.spans.iter().zip(weights).map(|(&(first, count), weights)| (first, &weights[..count]))
    }
}

fn to_sample(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Half, so that cutting off rounds.
const HALF: i32 = 1 << (PRECISION - 1);

/// The picture with other sides; sides of 0 become 1.
pub fn resize(picture: &Picture, width: usize, height: usize, filter: Filter) -> Picture {
    let (width, height) = (width.max(1), height.max(1));
    if filter == Filter::Nearest {
        return nearest(picture, width, height);
    }
    let wide = if width == picture.width() { None } else { Some(across(picture, width, filter)) };
    let source = wide.as_ref().unwrap_or(picture);
    let result = if height == source.height() { None } else { Some(down(source, height, filter)) };
    result.or(wide).unwrap_or_else(|| picture.clone())
}

fn nearest(picture: &Picture, width: usize, height: usize) -> Picture {
    let mut result = Picture::filled(width, height, picture.channels(), [0; 3]);
    let place = |index: usize, old: usize, new: usize| (2 * index + 1) * old / (2 * new);
    let columns: Vec<usize> = (0..width).map(|x| place(x, picture.width(), width)).collect();
    let (stride, count) = (result.stride(), picture.channels().count());
    for (y, row) in result.samples_mut().chunks_exact_mut(stride).enumerate() {
        let y = place(y, picture.height(), height);
        for (pixel, &x) in row.chunks_exact_mut(count).zip(&columns) {
            pixel.copy_from_slice(picture.pixel(x, y));
        }
    }
    result
}

/// Calls a function with the length of the spans as its last constant, where that is small.
macro_rules! with_constant_spans {
    ($stride:expr, $of:ident [$($c:literal)?], $any:expr) => {
        match $stride {
            2 => $of::<$($c,)? 2>,
            3 => $of::<$($c,)? 3>,
            4 => $of::<$($c,)? 4>,
            5 => $of::<$($c,)? 5>,
            6 => $of::<$($c,)? 6>,
            7 => $of::<$($c,)? 7>,
            _ => $any,
        }
    };
}

fn across(picture: &Picture, width: usize, filter: Filter) -> Picture {
    let taps = Taps::new(picture.width(), width, filter);
    let mut result = Picture::filled(width, picture.height(), picture.channels(), [0; 3]);
    let stride = result.stride();
    let across_row = match picture.channels() {
        Channels::Grey => with_constant_spans!(taps.stride, across_row_of[1], across_row::<1>),
        Channels::Rgb => with_constant_spans!(taps.stride, across_row_of[3], across_row::<3>),
    };
    for (row, source) in result.samples_mut().chunks_exact_mut(stride).zip(picture.rows()) {
        across_row(row, source, &taps);
    }
    result
}

/// One row, of pixels of `C` samples.
fn across_row<const C: usize>(row: &mut [u8], source: &[u8], taps: &Taps) {
    let (pixels, _) = row.as_chunks_mut::<C>();
    let (source, _) = source.as_chunks::<C>();
    for (pixel, (first, weights)) in pixels.iter_mut().zip(taps.iter()) {
        *pixel = weighted(&source[first..], weights);
    }
}

/// [`across_row`] for spans of `T` pixels, which the compiler unrolls.
fn across_row_of<const C: usize, const T: usize>(row: &mut [u8], source: &[u8], taps: &Taps) {
    let (pixels, _) = row.as_chunks_mut::<C>();
    let (source, _) = source.as_chunks::<C>();
    let (weights, _) = taps.weights.as_chunks::<T>();
    for ((pixel, (first, _)), weights) in pixels.iter_mut().zip(&taps.spans).zip(weights) {
        *pixel = weighted(&source[*first..][..T], weights);
    }
}

#[inline(always)]
fn weighted<const C: usize>(source: &[[u8; C]], weights: &[i32]) -> [u8; C] {
    let mut sums = [HALF; C];
    for (sample, &weight) in source.iter().zip(weights) {
        for channel in 0..C {
            sums[channel] += i32::from(sample[channel]) * weight;
        }
    }
    sums.map(to_sample)
}

fn down(picture: &Picture, height: usize, filter: Filter) -> Picture {
    let taps = Taps::new(picture.height(), height, filter);
    let mut result = Picture::filled(picture.width(), height, picture.channels(), [0; 3]);
    let stride = picture.stride();
    let down_row = with_constant_spans!(taps.stride, down_row_of [], down_row);
    let rows = result.samples_mut().chunks_exact_mut(stride);
    for (row, (first, weights)) in rows.zip(taps.iter()) {
        down_row(row, &picture.samples()[first * stride..], weights);
    }
    result
}

/// One row out of as many rows of `source` as there are weights.
fn down_row(row: &mut [u8], source: &[u8], weights: &[i32]) {
    let mut sums = vec![HALF; row.len()];
    for (source, &weight) in source.chunks_exact(row.len()).zip(weights) {
        for (sum, &sample) in sums.iter_mut().zip(source) {
            *sum += i32::from(sample) * weight;
        }
    }
    for (sample, &sum) in row.iter_mut().zip(&sums) {
        *sample = to_sample(sum);
    }
}

/// [`down_row`] for `T` rows, whose sums stay in registers.
fn down_row_of<const T: usize>(row: &mut [u8], source: &[u8], weights: &[i32]) {
    let stride = row.len();
    let rows: [&[u8]; T] = std::array::from_fn(|tap| &source[tap * stride..][..stride]);
    let weights: [i32; T] = std::array::from_fn(|tap| weights[tap]);
    for (x, sample) in row.iter_mut().enumerate() {
        let mut sum = HALF;
        for tap in 0..T {
            sum += i32::from(rows[tap][x]) * weights[tap];
        }
        *sample = to_sample(sum);
    }
}
