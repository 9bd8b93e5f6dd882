//! Maxima and means over windows.

use bunjae_ir::op::{AveragePool, GlobalPool, MaxPool};
use bunjae_tensor::Tensor;

use crate::error::EvalError;
use crate::eval::{fill, sizes};
use crate::number::{Number, Real};
use crate::reduce::reduce;
use crate::window::Window;

/// A window that slides over planes.
pub(crate) struct Pool {
    pub(crate) vertical: Window,
    pub(crate) horizontal: Window,
    kernel: [usize; 2],
}

impl Pool {
    pub(crate) fn new(
        [height, width]: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        [top, left, ..]: [usize; 4],
    ) -> Self {
        let [down, right] = stride;
        let vertical = Window { size: height, stride: down, dilation: dilation[0], before: top };
        let horizontal = Window { size: width, stride: right, dilation: dilation[1], before: left };
        Pool { vertical, horizontal, kernel }
    }

    /// The places in the plane under the window at `(y, x)`, without the padding.
    pub(crate) fn places(&self, y: usize, x: usize) -> impl Iterator<Item = usize> {
        let [kernel_height, kernel_width] = self.kernel;
        let rows = self.vertical.taps(y, kernel_height);
        let columns = self.horizontal.taps(x, kernel_width);
        rows.filter_map(move |tap| self.vertical.index(y, tap)).flat_map(move |row| {
            let columns = columns.clone().filter_map(move |tap| self.horizontal.index(x, tap));
            columns.map(move |column| row * self.horizontal.size + column)
        })
    }

    /// Sets each element of `result`, whose shape is `shape`, to what `summary` makes of the plane
    /// and a position of the window.
    fn slide<T: Number>(
        &self,
        elements: &[T],
        shape: &[usize],
        result: &mut [T],
        summary: impl Fn(&[T], usize, usize) -> T,
    ) {
        let (area, width) = (self.vertical.size * self.horizontal.size, shape[3]);
        for (place, result) in result.chunks_exact_mut(shape[2] * width).enumerate() {
            let plane = &elements[place * area..(place + 1) * area];
            for (y, row) in result.chunks_exact_mut(width).enumerate() {
                for (x, result) in row.iter_mut().enumerate() {
                    *result = summary(plane, y, x);
                }
            }
        }
    }
}

/// The maximum over a window. Under a window that misses the picture altogether, as one with
/// dilation can, it is the lowest value of the type: minus infinity for floats.
pub(crate) fn max_pool<T: Number>(
    op: &MaxPool,
    x: &Tensor,
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let [_, _, height, width] = sizes(x)?;
    let pool = Pool::new([height, width], op.kernel, op.stride, op.dilation, op.pad);
    let elements = x.elements::<T>()?;
    fill::<T>(shape, |result| {
        pool.slide(elements, shape, result, |plane, y, x| {
            pool.places(y, x).fold(T::LOWEST, |largest, place| largest.larger(plane[place]))
        });
    })
}

/// The mean over a window. The divisor is the number of taps inside the picture or, with
/// `count_pad`, inside the padded picture: the part of a window that rounding up lets reach over
/// the padding does not count, as in PyTorch. A window over nothing has the mean 0, as in ONNX
/// Runtime.
pub(crate) fn average_pool<T: Real>(
    op: &AveragePool,
    x: &Tensor,
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let [_, _, height, width] = sizes(x)?;
    let pool = Pool::new([height, width], op.kernel, op.stride, op.dilation, op.pad);
    let elements = x.elements::<T>()?;
    fill::<T>(shape, |result| {
        pool.slide(elements, shape, result, |plane, y, x| {
            let sum = pool.places(y, x).fold(0.0, |sum, place| sum + plane[place].to_f64());
            T::from_f64(sum / divisor(op, &pool, y, x))
        });
    })
}

/// What the sum under a window of an average pool is divided by.
pub(crate) fn divisor(op: &AveragePool, pool: &Pool, y: usize, x: usize) -> f64 {
    let ([kernel_height, kernel_width], [.., bottom, right]) = (op.kernel, op.pad);
    let taps = |window: &Window, position, kernel, after| match op.count_pad {
        true => window.padded_taps(position, kernel, after),
        false => window.taps(position, kernel).len(),
    };
    let rows = taps(&pool.vertical, y, kernel_height, bottom);
    let columns = taps(&pool.horizontal, x, kernel_width, right);
    // As floats, because the padding of an absurd window can be beyond counting.
    (rows as f64 * columns as f64).max(1.0)
}

/// The mean or maximum over all axes after the channels.
pub(crate) fn global_pool<T: Real>(
    op: &GlobalPool,
    x: &Tensor,
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let axes: Vec<usize> = (2..x.shape().len()).collect();
    reduce::<T>(op.kind, &axes, x, shape)
}
