//! The inner loop of the pixel form for depthwise kernels at stride 2, whose input is neither copied nor
//! split by phases: pairs of vectors are separated into even and odd columns as they are loaded.
//!
//! A vector of the gradient meets two columns of the kernel per pair of loads, in as many rows of the
//! kernel as there are registers for. Lanes may be in any order, as they are added up in the end.

use crate::isa::Isa;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

use super::super::ConvSpec;
use super::pixel_tile::{GradArgs, lane_sums};

/// Kernels of side `K`, `ROWS` of their rows at once: one channel and all its products. Neighbouring
/// pixels of the gradient see columns of the input that are two apart.
struct StridedTile<const K: usize, const ROWS: usize>;

/// The products of one vector of pixels with some rows of the kernel. `columns` gives the columns of the
/// input that two neighbouring taps see from an address on, or that one does, if told so by `false`.
///
/// # Safety
/// `columns` reads memory that the caller vouches for; the instruction set is present.
#[inline(always)]
unsafe fn multiply<S: Simd, const K: usize, const ROWS: usize>(
    acc: &mut [[S::V; K]; ROWS],
    gradient: S::V,
    rows: [*const f32; ROWS],
    columns: impl Fn(*const f32, bool) -> (S::V, S::V),
) {
    // SAFETY: addresses are formed within what the caller vouches for.
    unsafe {
        for r in 0..ROWS {
            for kx in (0..K).step_by(2) {
                let (even, odd) = columns(rows[r].add(kx), kx + 1 < K);
                acc[r][kx] = S::fma(gradient, even, acc[r][kx]);
                if kx + 1 < K {
                    acc[r][kx + 1] = S::fma(gradient, odd, acc[r][kx + 1]);
                }
            }
        }
    }
}

/// Asks for what the next tile will read where this one reads a vector of the gradient and its `rows`.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
unsafe fn ask_for_next<S: Simd, const ROWS: usize>(
    a: &GradArgs,
    gradient: *const f32,
    rows: [*const f32; ROWS],
) {
    let [gradient_ahead, input_ahead] = a.ahead;
    // SAFETY: any address will do.
    unsafe {
        S::prefetch_read(gradient.wrapping_add(gradient_ahead));
        if input_ahead > 0 {
            // Rows of the kernel beyond the second are first ones of the next row of the gradient.
            for row in &rows[..ROWS.min(2)] {
                let next = row.wrapping_add(input_ahead);
                S::prefetch_read(next);
                S::prefetch_read(next.wrapping_add(S::LANES));
            }
        }
    }
}

impl<const K: usize, const ROWS: usize> Body<GradArgs> for StridedTile<K, ROWS> {
    /// Reads the pixels named and no others.
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &GradArgs) {
        let l = S::LANES;
        for ky in (0..K).step_by(ROWS) {
            // SAFETY: the caller vouches for every pixel of every run, seen through every tap, and for
            // the sums.
            unsafe {
                let mut acc = [[S::zero(); K]; ROWS];
                for image in 0..a.images {
                    for row in 0..a.rows {
                        let gradient =
                            a.gradient.add(image * a.gradient_image + row * a.gradient_row);
                        let input = a.input.add(image * a.input_image + row * a.input_row);
                        let mut rows = [input; ROWS];
                        for r in 0..ROWS {
                            rows[r] = input.offset(*a.offsets.add((ky + r) * K));
                        }
                        let mut x = 0;
                        // Beyond a vector that is not the last there are pixels that are seen.
                        while x + l < a.pixels {
                            ask_for_next::<S, ROWS>(a, gradient.add(x), rows);
                            let g = S::out_of_order(S::load(gradient.add(x)));
                            let columns =
                                |at: *const f32, _| S::split(S::load(at), S::load(at.add(l)));
                            multiply::<S, K, ROWS>(&mut acc, g, rows, columns);
                            rows = rows.map(|row| row.wrapping_add(2 * l));
                            x += l;
                        }
                        ask_for_next::<S, ROWS>(a, gradient.add(x), rows);
                        let rest = a.pixels - x;
                        let g = S::load_n(gradient.add(x), rest);
                        let columns = |at: *const f32, both: bool| {
                            let [lo, hi] = S::load_pair(at, 2 * rest - usize::from(!both));
                            S::deinterleave(lo, hi)
                        };
                        multiply::<S, K, ROWS>(&mut acc, g, rows, columns);
                    }
                }
                let mut sums = [0.0f32; 2 * MAX_LANES + 8];
                lane_sums::<S, ROWS, K>(&acc, &mut sums);
                for (i, sum) in sums[..ROWS * K].iter().enumerate() {
                    *a.out.add(ky * K + i) += sum;
                }
            }
        }
    }
}

/// The instance of [`StridedTile`] for a convolution, if there is one.
pub(super) fn strided_tile(spec: &ConvSpec, isa: Isa) -> Option<Entry<GradArgs>> {
    if spec.group_inputs() > 1 || spec.stride != [2, 2] || spec.dilation != [1, 1] {
        return None;
    }
    let isa = isa.for_rows_of(spec.size[1]);
    match spec.kernel {
        [3, 3] => Some(entry::<StridedTile<3, 3>, GradArgs>(isa)),
        [5, 5] => Some(entry::<StridedTile<5, 1>, GradArgs>(isa)),
        _ => None,
    }
}
