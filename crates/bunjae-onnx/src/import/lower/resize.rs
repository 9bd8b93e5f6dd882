//! Resizing of pictures.

use bunjae_ir::op::{Coordinates, Resize, ResizeMode, ResizeTo, Rounding};
use bunjae_ir::{Dim, DimExpr, Op};

use super::super::builder::Operand;
use super::super::elements::Scalar;
use super::super::node::{Lowering, Outcome, axis, size};
use super::super::problem::ProblemKind;

const MODES: [(&str, ResizeMode); 2] =
    [("nearest", ResizeMode::Nearest), ("linear", ResizeMode::Linear)];

fn picture(node: &Lowering<'_>) -> Outcome<(Operand, Vec<Dim>)> {
    let x = node.x()?;
    let dims = node.dims(x);
    match dims.len() {
        4 => Ok((x, dims)),
        rank => {
            let words =
                format!("its input has {rank} dimensions; only pictures, with 4, are supported");
            Err(ProblemKind::Unsupported(words))
        }
    }
}

/// Upsample (the operator of set 9) and Resize as it was in set 10.
pub(super) fn upsample(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let (x, _) = picture(node)?;
    let mode = node.attributes.word("mode", &MODES)?;
    let scales = node.known_floats(1, "scales")?.ok_or(ProblemKind::MissingOperand("scales"))?;
    let scale = picture_scales(&scales, &[0, 1, 2, 3])?;
    // These versions do not say how to round. ONNX Runtime rounds down where the picture grows and
    // up where it shrinks.
    let rounding = match scale.map(|scale| scale < 1.0) {
        [false, false] => Rounding::Floor,
        [true, true] => Rounding::Ceil,
        _ if mode == ResizeMode::Linear => Rounding::Floor,
        _ => {
            return Err(ProblemKind::value("scales", scales, "of which one grows and one shrinks"));
        }
    };
    let to = ResizeTo::Scale(scale);
    let op = Resize { to, mode, coordinates: Coordinates::Asymmetric, rounding };
    node.finish_with(Op::Resize(op), &[x])
}

pub(super) fn resize(node: &mut Lowering<'_>) -> Outcome<()> {
    if node.since < 11 {
        return upsample(node);
    }
    node.at_most(4)?;
    let (x, dims) = picture(node)?;
    let mode = node.attributes.word("mode", &MODES)?;
    let coordinates = node.attributes.word(
        "coordinate_transformation_mode",
        &[
            ("half_pixel", Coordinates::HalfPixel),
            ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
            ("align_corners", Coordinates::AlignCorners),
            ("asymmetric", Coordinates::Asymmetric),
        ],
    )?;
    let rounding = node.attributes.word(
        "nearest_mode",
        &[
            ("round_prefer_floor", Rounding::RoundPreferFloor),
            ("round_prefer_ceil", Rounding::RoundPreferCeil),
            ("floor", Rounding::Floor),
            ("ceil", Rounding::Ceil),
        ],
    )?;
    // Of the modes that are not supported.
    node.attributes.ignore(&["cubic_coeff_a", "extrapolation_value"]);
    for flag in ["exclude_outside", "antialias"] {
        if node.flag(flag, false)? {
            return Err(ProblemKind::value(flag, 1, "which is not supported"));
        }
    }
    let axes = match node.attributes.ints("axes")? {
        None => vec![0, 1, 2, 3],
        Some(axes) => axes.iter().map(|&at| axis(at, 4)).collect::<Outcome<Vec<_>>>()?,
    };
    node.attributes.word("keep_aspect_ratio_policy", &[("stretch", ())])?;
    let scales = node.known_floats(2, "scales")?.filter(|scales| !scales.is_empty());
    let sizes = match node.optional(3)? {
        None => None,
        Some(sizes) => {
            Some(node.elements(sizes, "sizes")?).filter(|sizes| !sizes.values.is_empty())
        }
    };
    let to = match (scales, sizes) {
        (Some(scales), None) => ResizeTo::Scale(picture_scales(&scales, &axes)?),
        (None, Some(sizes)) => picture_sizes(&sizes.values, &axes, &dims)?,
        _ => return Err(ProblemKind::unsupported("needs either scales or sizes")),
    };
    node.finish_with(Op::Resize(Resize { to, mode, coordinates, rounding }), &[x])
}

/// The factors for height and width.
fn picture_scales(scales: &[f64], axes: &[usize]) -> Outcome<[f32; 2]> {
    let mut all = [1.0; 4];
    if scales.len() != axes.len() {
        return Err(ProblemKind::value("scales", scales, "which is not one for each axis"));
    }
    for (&at, &scale) in axes.iter().zip(scales) {
        all.get_mut(at).into_iter().for_each(|own| *own = scale as f32);
    }
    match all {
        [1.0, 1.0, height, width] => Ok([height, width]),
        _ => Err(ProblemKind::value("scales", scales, "and only height and width can be resized")),
    }
}

/// The new height and width; where the old ones are not known, as multiples of them.
fn picture_sizes(sizes: &[Scalar], axes: &[usize], dims: &[Dim]) -> Outcome<ResizeTo> {
    let mut all = dims.to_vec();
    if sizes.len() != axes.len() {
        return Err(ProblemKind::value("sizes", sizes, "which is not one for each axis"));
    }
    for (&at, scalar) in axes.iter().zip(sizes) {
        let dim = match scalar {
            Scalar::Int(value) => Dim::Fixed(size(*value)?),
            Scalar::Size(dim) => dim.clone(),
            Scalar::Float(_) => {
                return Err(ProblemKind::value("sizes", scalar, "and should be integers"));
            }
        };
        all.get_mut(at).into_iter().for_each(|own| *own = dim.clone());
    }
    if !all.iter().zip(dims).take(2).all(|(new, old)| new.may_equal(old)) {
        return Err(ProblemKind::value("sizes", sizes, "and only height and width can be resized"));
    }
    if let [_, _, Dim::Fixed(height), Dim::Fixed(width)] = all.as_slice() {
        return Ok(ResizeTo::Size([*height, *width]));
    }
    let factor = |at: usize| multiple(all.get(at)?, dims.get(at)?);
    match (factor(2), factor(3)) {
        (Some(height), Some(width)) => Ok(ResizeTo::Scale([height, width])),
        _ => Err(ProblemKind::Dynamic("sizes")),
    }
}

/// `new` over `old`, where that is a whole number.
fn multiple(new: &Dim, old: &Dim) -> Option<f32> {
    if new == old {
        return Some(1.0);
    }
    match (new, old) {
        (Dim::Fixed(new), Dim::Fixed(old)) => {
            (new.checked_rem(*old) == Some(0)).then(|| (new / old) as f32)
        }
        (Dim::Dynamic(expr), old) => match expr.as_ref() {
            DimExpr::Product(inner, Dim::Fixed(factor)) => {
                // `old` may itself be a multiple.
                let own = match old {
                    Dim::Dynamic(expr) => match expr.as_ref() {
                        DimExpr::Product(base, Dim::Fixed(own)) if base == inner => *own,
                        _ if old == inner => 1,
                        _ => return None,
                    },
                    Dim::Fixed(_) => return None,
                };
                (factor.checked_rem(own) == Some(0)).then(|| (factor / own) as f32)
            }
            _ => None,
        },
        _ => None,
    }
}
