//! What changed between versions of the operators.
//!
//! A model states one version of the standard operator set. Import looks up, with [`revision`],
//! the version since when an operator has had the meaning it has in that set, and handles each
//! meaning once. Versions that only admit further element types are not listed. The facts were
//! taken from the schema registry of the onnx package 1.23 (operator sets up to 28) and put into
//! our own words.
//!
//! # Changes from set 9 on
//!
//! | operator | since | change |
//! |---|---|---|
//! | AveragePool | 10 | `ceil_mode` |
//! | | 19 | `dilations` |
//! | BatchNormalization | 14 | training is announced by `training_mode`; before, by the presence of further outputs. Inference is unchanged |
//! | Cast | 9 | further attributes (`saturate` 19, `round_mode` 24) concern 8-bit floats alone |
//! | CastLike | 15 | new |
//! | Clip | 11 | `min` and `max` move from attributes to optional scalar inputs. A minimum above the maximum yields the maximum (said at 13) |
//! | Concat, Gather, Flatten, LogSoftmax, Softmax | 11 | negative axes |
//! | Constant | 11 | `sparse_value` |
//! | | 12 | `value_float`, `value_floats`, `value_int`, `value_ints`, `value_string`, `value_strings` |
//! | ConvTranspose | 11 | `auto_pad` SAME means output = input x stride (before: output = input), and SAME_UPPER now puts the odd element of the padding at the end |
//! | DepthToSpace | 11 | `mode` DCR or CRD; before, always DCR |
//! | DequantizeLinear, QuantizeLinear | 10 | new, one scale for the whole tensor |
//! | | 13 | one scale for each index of `axis` (default 1) |
//! | | 21 | `block_size`; Q: `output_dtype` |
//! | | 23 | DQ: `output_dtype`; Q: `precision` of the division |
//! | Dropout | 12 | `ratio` and `training_mode` are inputs, and only the latter starts dropping. The mask is bool from 10 on |
//! | Gelu | 20 | new; `approximate` is `none` (erf) or `tanh` |
//! | Gemm | 11 | `C` is optional |
//! | GreaterOrEqual, LessOrEqual | 12 | new |
//! | HardSwish | 14 | new |
//! | LayerNormalization | 17 | new |
//! | MaxPool | 10 | `ceil_mode`, `dilations` |
//! | Mish | 18 | new |
//! | Mod | 10 | new |
//! | Pad | 11 | `pads` and the value are inputs |
//! | | 18 | optional input `axes` |
//! | | 19 | `mode` wrap |
//! | Pow | 12 | the exponent may have another type than the base |
//! | Range | 11 | new |
//! | ReduceL1, ReduceL2, ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSumSquare | 11 | negative axes |
//! | | 18 | `axes` is an optional input; `noop_with_empty_axes` makes an absent or empty one reduce nothing |
//! | ReduceSum | 11 | negative axes |
//! | | 13 | `axes` is an input, as above |
//! | Reshape | 14 | `allowzero`: a 0 is an extent, not "as in the input" |
//! | Resize | 10 | new: `scales`, asymmetric coordinates; rounding for `nearest` is not specified |
//! | | 11 | inputs `roi`, `scales`, `sizes`; `coordinate_transformation_mode` (default half_pixel), `nearest_mode` (default round_prefer_floor), `cubic` |
//! | | 13 | `roi` and `scales` may be left out; `tf_half_pixel_for_nn` is gone |
//! | | 18 | `axes`, `antialias`, `keep_aspect_ratio_policy` |
//! | | 19 | `half_pixel_symmetric` |
//! | Shape | 15 | `start` and `end` |
//! | Slice | 10 | `starts`, `ends`, `axes` and the new `steps` are inputs |
//! | | 11 | negative axes |
//! | LogSoftmax, Softmax | 13 | over `axis` alone, default -1. Before: over all axes from `axis` on together, default 1 |
//! | Split | 11 | negative axes |
//! | | 13 | the lengths are an optional input |
//! | | 18 | `num_outputs`: equal parts, the last one shorter |
//! | Squeeze, Unsqueeze | 11 | negative axes |
//! | | 13 | `axes` is an input |
//! | Swish | 24 | new: x * sigmoid(alpha * x) |
//! | Upsample | 9 | `scales` is an input; gone at 10, when Resize replaces it |
//!
//! Set 22 adds to the pools that a window which would begin in the padding at the end is left out
//! when `ceil_mode` is on. Runtimes have always done so, and import does for every version.

/// Oldest version of the standard operator set that can be imported.
pub const OLDEST: i64 = 9;

/// Newest version of the standard operator set that can be imported: the newest that a runtime
/// exists for, which the results can be compared with.
pub const NEWEST: i64 = 26;

/// Oldest version of the file format that can be read; operator sets begin there.
pub const OLDEST_IR: i64 = 3;

/// Newest version of the file format that can be read.
pub const NEWEST_IR: i64 = 13;

/// For each operator, the versions at which its meaning changed, oldest first. The first entry is
/// the version at or before [`OLDEST`] that was in force then, or the one that introduced the
/// operator.
static REVISIONS: &[(&str, &[i64])] = &[
    ("Abs", &[6]),
    ("Add", &[7]),
    ("And", &[7]),
    ("AveragePool", &[7, 10, 19]),
    ("BatchNormalization", &[9, 14]),
    ("Cast", &[9]),
    ("CastLike", &[15]),
    ("Ceil", &[6]),
    ("Clip", &[6, 11]),
    ("Concat", &[4, 11]),
    ("Constant", &[1, 11, 12]),
    ("ConstantOfShape", &[9]),
    ("Conv", &[1]),
    ("ConvTranspose", &[1, 11]),
    ("DepthToSpace", &[1, 11]),
    ("DequantizeLinear", &[10, 13, 21, 23]),
    ("Div", &[7]),
    ("Dropout", &[7, 12]),
    ("Elu", &[6]),
    ("Equal", &[7]),
    ("Erf", &[9]),
    ("Exp", &[6]),
    ("Expand", &[8]),
    ("Flatten", &[9, 11]),
    ("Floor", &[6]),
    ("Gather", &[1, 11]),
    ("Gelu", &[20]),
    ("Gemm", &[7, 11]),
    ("GlobalAveragePool", &[1]),
    ("GlobalMaxPool", &[1]),
    ("Greater", &[7]),
    ("GreaterOrEqual", &[12]),
    ("HardSigmoid", &[6]),
    ("HardSwish", &[14]),
    ("Identity", &[1]),
    ("LayerNormalization", &[17]),
    ("LeakyRelu", &[6]),
    ("Less", &[7]),
    ("LessOrEqual", &[12]),
    ("Log", &[6]),
    ("LogSoftmax", &[1, 11, 13]),
    ("LpNormalization", &[1]),
    ("MatMul", &[1]),
    ("Max", &[8]),
    ("MaxPool", &[8, 10]),
    ("Mean", &[8]),
    ("Min", &[8]),
    ("Mish", &[18]),
    ("Mod", &[10]),
    ("Mul", &[7]),
    ("Neg", &[6]),
    ("Not", &[1]),
    ("Or", &[7]),
    ("PRelu", &[7]),
    ("Pad", &[2, 11, 18, 19]),
    ("Pow", &[7, 12]),
    ("QuantizeLinear", &[10, 13, 21, 23]),
    ("Range", &[11]),
    ("Reciprocal", &[6]),
    ("ReduceL1", &[1, 11, 18]),
    ("ReduceL2", &[1, 11, 18]),
    ("ReduceMax", &[1, 11, 18]),
    ("ReduceMean", &[1, 11, 18]),
    ("ReduceMin", &[1, 11, 18]),
    ("ReduceProd", &[1, 11, 18]),
    ("ReduceSum", &[1, 11, 13]),
    ("ReduceSumSquare", &[1, 11, 18]),
    ("Relu", &[6]),
    ("Reshape", &[5, 14]),
    ("Resize", &[10, 11, 13, 18, 19]),
    ("Shape", &[1, 15]),
    ("Sigmoid", &[6]),
    ("Size", &[1]),
    ("Slice", &[1, 10, 11]),
    ("Softmax", &[1, 11, 13]),
    ("Softplus", &[1]),
    ("SpaceToDepth", &[1]),
    ("Split", &[2, 11, 13, 18]),
    ("Sqrt", &[6]),
    ("Squeeze", &[1, 11, 13]),
    ("Sub", &[7]),
    ("Sum", &[8]),
    ("Swish", &[24]),
    ("Tanh", &[6]),
    ("Tile", &[6]),
    ("Transpose", &[1]),
    ("Unsqueeze", &[1, 11, 13]),
    ("Upsample", &[9]),
    ("Where", &[9]),
];

/// The operators that later sets no longer have, with the first version without them.
static REMOVED: &[(&str, i64)] = &[("Upsample", 10)];

/// What an operator set has to say about an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// The operator has had its meaning since this version.
    Since(i64),
    /// The operator comes with this later version.
    NotYet(i64),
    /// The operator went with this version.
    Removed(i64),
    /// The table does not list the operator.
    Unknown,
}

/// The meaning of the standard operator `op` in operator set `opset`.
pub fn revision(op: &str, opset: i64) -> Revision {
    let Ok(index) = REVISIONS.binary_search_by_key(&op, |&(name, _)| name) else {
        return Revision::Unknown;
    };
    if let Some(&(_, version)) = REMOVED.iter().find(|&&(name, gone)| name == op && opset >= gone) {
        return Revision::Removed(version);
    }
    let versions = REVISIONS.get(index).map_or(&[][..], |&(_, versions)| versions);
    match versions.iter().rev().find(|&&version| version <= opset) {
        Some(&version) => Revision::Since(version),
        None => versions.first().map_or(Revision::Unknown, |&first| Revision::NotYet(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_versions_ascend_within_the_range() {
        assert!(REVISIONS.is_sorted_by(|a, b| a.0 < b.0));
        for (op, versions) in REVISIONS {
            assert!(versions.is_sorted_by(|a, b| a < b), "{op}");
            assert!(versions.iter().all(|v| (1..=NEWEST).contains(v)), "{op}");
            // Of the versions before the oldest set only the last can ever be in force.
            assert!(versions.iter().filter(|&&v| v <= OLDEST).count() <= 1, "{op}");
        }
        for (op, version) in REMOVED {
            assert_eq!(revision(op, *version), Revision::Removed(*version));
            assert!(matches!(revision(op, version - 1), Revision::Since(_)));
        }
    }

    #[test]
    fn the_meaning_in_force_is_the_last_one_not_after_the_set() {
        assert_eq!(revision("Clip", 9), Revision::Since(6));
        assert_eq!(revision("Clip", 11), Revision::Since(11));
        assert_eq!(revision("Clip", 26), Revision::Since(11));
        assert_eq!(revision("Resize", 9), Revision::NotYet(10));
        assert_eq!(revision("Resize", 12), Revision::Since(11));
        assert_eq!(revision("Gelu", 17), Revision::NotYet(20));
        assert_eq!(revision("Upsample", 9), Revision::Since(9));
        assert_eq!(revision("NonMaxSuppression", 11), Revision::Unknown);
    }
}
