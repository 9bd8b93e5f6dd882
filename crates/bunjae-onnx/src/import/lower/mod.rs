//! What each operator of the format becomes.

mod conv;
mod elementwise;
mod linear;
mod movement;
mod normalise;
mod pool;
mod quantise;
mod reshape;
mod resize;

use super::builder::Known;
use super::elements::{Elements, Scalar};
use super::node::{Lowering, Outcome};
use super::problem::ProblemKind;
use super::weights;
use crate::tensor_data::DataType;

pub(super) use movement::{permutation, slice_ranges, split_sizes};
pub(super) use reshape::{flatten_axis, inserted_axes, squeezed_axes};

type Rule = fn(&mut Lowering<'_>) -> Outcome<()>;

/// Every operator that can be imported, sorted by name.
///
/// Arithmetic on shapes is done before these rules are asked; see [`super::fold`].
const RULES: &[(&str, Rule)] = &[
    ("Abs", elementwise::unary),
    ("Add", elementwise::binary),
    ("And", only_constants),
    ("AveragePool", pool::average_pool),
    ("BatchNormalization", normalise::batch_norm),
    ("Cast", elementwise::cast),
    ("CastLike", elementwise::cast_like),
    ("Ceil", only_constants),
    ("Clip", elementwise::clip),
    ("Concat", movement::concat),
    ("Constant", constant),
    ("ConstantOfShape", only_constants),
    ("Conv", conv::conv),
    ("ConvTranspose", conv::conv_transpose),
    ("DepthToSpace", movement::depth_to_space),
    ("DequantizeLinear", quantise::dequantize),
    ("Div", elementwise::binary),
    ("Dropout", elementwise::dropout),
    ("Elu", elementwise::unary),
    ("Equal", only_constants),
    ("Erf", elementwise::unary),
    ("Exp", elementwise::unary),
    ("Expand", reshape::expand),
    ("Flatten", reshape::flatten),
    ("Floor", only_constants),
    ("Gather", movement::gather),
    ("Gelu", elementwise::unary),
    ("Gemm", linear::gemm),
    ("GlobalAveragePool", pool::global_pool),
    ("GlobalMaxPool", pool::global_pool),
    ("Greater", only_constants),
    ("GreaterOrEqual", only_constants),
    ("HardSigmoid", elementwise::unary),
    ("HardSwish", elementwise::unary),
    ("Identity", elementwise::identity),
    ("LayerNormalization", normalise::layer_norm),
    ("LeakyRelu", elementwise::unary),
    ("Less", only_constants),
    ("LessOrEqual", only_constants),
    ("Log", elementwise::unary),
    ("LogSoftmax", normalise::softmax),
    ("LpNormalization", normalise::lp_norm),
    ("MatMul", linear::matmul),
    ("Max", elementwise::variadic),
    ("MaxPool", pool::max_pool),
    ("Mean", elementwise::variadic),
    ("Min", elementwise::variadic),
    ("Mish", elementwise::unary),
    ("Mod", only_constants),
    ("Mul", elementwise::binary),
    ("Neg", elementwise::unary),
    ("Not", only_constants),
    ("Or", only_constants),
    ("PRelu", elementwise::prelu),
    ("Pad", movement::pad),
    ("Pow", elementwise::pow),
    ("QuantizeLinear", quantise::quantize),
    ("Range", only_constants),
    ("Reciprocal", elementwise::unary),
    ("ReduceL1", normalise::reduce),
    ("ReduceL2", normalise::reduce),
    ("ReduceMax", normalise::reduce),
    ("ReduceMean", normalise::reduce),
    ("ReduceMin", normalise::reduce),
    ("ReduceProd", only_constants),
    ("ReduceSum", normalise::reduce),
    ("ReduceSumSquare", normalise::reduce),
    ("Relu", elementwise::unary),
    ("Reshape", reshape::reshape),
    ("Resize", resize::resize),
    ("Shape", only_constants),
    ("Sigmoid", elementwise::unary),
    ("Size", only_constants),
    ("Slice", movement::slice),
    ("Softmax", normalise::softmax),
    ("Softplus", elementwise::unary),
    ("SpaceToDepth", movement::space_to_depth),
    ("Split", movement::split),
    ("Sqrt", elementwise::unary),
    ("Squeeze", reshape::squeeze),
    ("Sub", elementwise::binary),
    ("Sum", elementwise::variadic),
    ("Swish", elementwise::swish),
    ("Tanh", elementwise::unary),
    ("Tile", reshape::tile),
    ("Transpose", movement::transpose),
    ("Unsqueeze", reshape::unsqueeze),
    ("Upsample", resize::upsample),
    ("Where", only_constants),
];

/// Operators whose absence deserves more than "not supported".
const REASONS: &[(&str, &str)] = &[
    ("GroupNormalization", NORMALISATION),
    ("If", CONTROL_FLOW),
    ("InstanceNormalization", NORMALISATION),
    ("Loop", CONTROL_FLOW),
    ("Scan", CONTROL_FLOW),
    ("SequenceMap", CONTROL_FLOW),
];

const NORMALISATION: &str =
    "normalising by statistics of the picture itself is not supported; batch normalisation is";

const CONTROL_FLOW: &str =
    "control flow is not supported; export the model without branches and loops";

/// The rule for a standard operator.
pub(super) fn rule(op: &str) -> Outcome<Rule> {
    if let Ok(at) = RULES.binary_search_by_key(&op, |&(name, _)| name) {
        return RULES.get(at).map(|&(_, rule)| rule).ok_or(ProblemKind::UnknownOperator);
    }
    Err(match REASONS.iter().find(|(name, _)| *name == op) {
        Some((_, reason)) => ProblemKind::unsupported(reason),
        None => ProblemKind::UnknownOperator,
    })
}

/// Operators that make sense for shapes alone.
fn only_constants(_: &mut Lowering<'_>) -> Outcome<()> {
    Err(ProblemKind::unsupported(
        "the operator is supported only where its result is known before the model runs",
    ))
}

fn constant(node: &mut Lowering<'_>) -> Outcome<()> {
    let int = |&value: &i64| Scalar::Int(value);
    let float = |&value: &f32| Scalar::Float(value.into());
    node.at_most(0)?;
    let known = if let Some(tensor) = node.attributes.tensor("value")? {
        weights::inline(node.builder, tensor)?
    } else if let Some(value) = node.attributes.int("value_int")? {
        Known::Elements(Elements::scalar(DataType::Int64, int(&value)))
    } else if let Some(values) = node.attributes.ints("value_ints")? {
        weights::list(DataType::Int64, values.iter().map(int))?
    } else if let Some(value) = node.attributes.float("value_float")? {
        Known::Elements(Elements::scalar(DataType::Float, float(&value)))
    } else if let Some(values) = node.attributes.floats("value_floats")? {
        weights::list(DataType::Float, values.iter().map(float))?
    } else {
        return Err(ProblemKind::unsupported(
            "it holds neither a tensor nor numbers, and nothing else is supported",
        ));
    };
    let name = node.result_name(0);
    let constant = node.builder.literal(known, &name, None, true);
    node.set(0, constant);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_sorted_and_every_operator_has_a_revision() {
        assert!(RULES.is_sorted_by(|a, b| a.0 < b.0));
        for (op, _) in RULES {
            let revision = crate::opset::revision(op, crate::opset::NEWEST);
            assert_ne!(revision, crate::opset::Revision::Unknown, "{op}");
        }
        assert!(REASONS.iter().all(|(op, _)| RULES.iter().all(|(rule, _)| rule != op)));
    }
}
