//! Sampling a picture at another size, by the formulas of ONNX's Resize.

use bunjae_ir::op::{Coordinates, Resize, ResizeMode, ResizeTo, Rounding};
use bunjae_tensor::Tensor;

use crate::error::EvalError;
use crate::eval::{fill, sizes, type_of};
use crate::number::Real;

/// Samples each plane; every result is between at most two rows and two columns.
pub(crate) fn resize<T: Real>(
    op: &Resize,
    x: &Tensor,
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let [_, _, height, width] = sizes(x)?;
    let elements = x.elements::<T>()?;
    if elements.is_empty() && !shape.contains(&0) {
        return Err(EvalError::NoElements(type_of(x)));
    }
    fill::<T>(shape, |result| {
        let (out_height, out_width) = (shape[2], shape[3]);
        let rows: Vec<Sample> =
            (0..out_height).map(|y| sample(op, 0, y, height, out_height)).collect();
        let columns: Vec<Sample> =
            (0..out_width).map(|x| sample(op, 1, x, width, out_width)).collect();
        for (place, result) in result.chunks_exact_mut(out_height * out_width).enumerate() {
            let plane = &elements[place * height * width..][..height * width];
            for (row, result) in rows.iter().zip(result.chunks_exact_mut(out_width)) {
                let [upper, lower] = [row.low, row.high].map(|y| &plane[y * width..][..width]);
                for (column, result) in columns.iter().zip(result) {
                    let [upper, lower] = [upper, lower].map(|line| {
                        column.mix(line[column.low].to_f64(), line[column.high].to_f64())
                    });
                    *result = T::from_f64(row.mix(upper, lower));
                }
            }
        }
    })
}

/// The one or two elements of an axis that a result is made of.
pub(crate) struct Sample {
    pub(crate) low: usize,
    pub(crate) high: usize,
    /// The share of `high`.
    pub(crate) fraction: f64,
}

impl Sample {
    fn mix(&self, low: f64, high: f64) -> f64 {
        // An infinite neighbour that has no share must not turn the other into NaN.
        if self.fraction == 0.0 { low } else { low * (1.0 - self.fraction) + high * self.fraction }
    }
}

/// What the element `index` of a result's axis of length `target` is made of, the operand's axis
/// (0 for height, 1 for width) being `source` long.
pub(crate) fn sample(
    op: &Resize,
    axis: usize,
    index: usize,
    source: usize,
    target: usize,
) -> Sample {
    let scale = match op.to {
        ResizeTo::Scale(scale) => scale[axis],
        ResizeTo::Size(_) => target as f32 / source as f32,
    };
    let coordinate = f64::from(source_coordinate(op.coordinates, index, scale, source, target));
    let last = source - 1;
    let clamped = |coordinate: f64| (coordinate.max(0.0) as usize).min(last);
    match op.mode {
        ResizeMode::Nearest => {
            let nearest = clamped(match op.rounding {
                Rounding::Floor => coordinate.floor(),
                Rounding::Ceil => coordinate.ceil(),
                Rounding::RoundPreferFloor => (coordinate - 0.5).ceil(),
                Rounding::RoundPreferCeil => (coordinate + 0.5).floor(),
            });
            Sample { low: nearest, high: nearest, fraction: 0.0 }
        }
        ResizeMode::Linear => {
            let low = clamped(coordinate);
            let fraction = (coordinate - low as f64).clamp(0.0, 1.0);
            Sample { low, high: (low + 1).min(last), fraction }
        }
    }
}

/// The source coordinate that a target coordinate stands for.
///
/// It is computed in f32, operation by operation as ONNX and its runtime write it: where the exact
/// coordinate is whole, as 11 / 1.1, the f32 quotient is whole too while the f64 quotient by the f32
/// nearest to 1.1 lies just below, and which element is nearest hangs on that.
fn source_coordinate(
    coordinates: Coordinates,
    index: usize,
    scale: f32,
    source: usize,
    target: usize,
) -> f32 {
    let x = index as f32;
    match coordinates {
        Coordinates::HalfPixel => (x + 0.5) / scale - 0.5,
        Coordinates::PytorchHalfPixel if target > 1 => (x + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if target > 1 => x * (source - 1) as f32 / (target - 1) as f32,
        Coordinates::PytorchHalfPixel | Coordinates::AlignCorners => 0.0,
        Coordinates::Asymmetric => x / scale,
    }
}
