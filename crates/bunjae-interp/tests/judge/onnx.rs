//! Operators as nodes of ONNX (opset 21), written down apart from the exporter so that the two cannot
//! be wrong in the same way.

use bunjae_ir::op::{Binary, DepthOrder, Groups, Reduction, ResizeTo, Unary};
use bunjae_ir::{AttrValue, Op};
use bunjae_tensor::{DType, Tensor};
use serde_json::{Map, Value, json};

/// What a node reads.
pub(crate) enum Operand {
    /// An operand of the operator.
    Input(usize),
    /// A constant of the model.
    Constant(Tensor),
    /// The first result of an earlier node.
    Result(usize),
    /// Nothing.
    Missing,
}

use Operand::{Constant, Input, Missing, Result};

/// The nodes of a model that computes what the operator means.
struct Nodes(Vec<Value>);

impl Nodes {
    /// Adds a node; `attributes` is a JSON object.
    fn push(&mut self, op: &str, operands: Vec<Operand>, attributes: Value, results: usize) {
        let operands: Vec<Value> = operands
            .iter()
            .map(|operand| match operand {
                Input(at) => json!({ "input": at }),
                Constant(tensor) => json!({ "constant": encode(tensor) }),
                Result(at) => json!({ "result": at }),
                Missing => Value::Null,
            })
            .collect();
        let attributes = match attributes {
            Value::Object(attributes) => attributes,
            _ => Map::new(),
        };
        self.0.push(
            json!({ "op": op, "operands": operands, "attributes": attributes, "results": results }),
        );
    }
}

/// A tensor as the script reads it.
pub(crate) fn encode(tensor: &Tensor) -> Value {
    let data: String = tensor.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "dtype": tensor.dtype().name(), "shape": tensor.shape(), "data": data })
}

/// A tensor as the script writes it.
pub(crate) fn decode(value: &Value) -> Option<Tensor> {
    let dtype: DType = value["dtype"].as_str()?.parse().ok()?;
    let shape = value["shape"].as_array()?.iter().map(|dim| Some(dim.as_u64()? as usize));
    let data = value["data"].as_str()?;
    let bytes = (0..data.len()).step_by(2).map(|at| u8::from_str_radix(&data[at..at + 2], 16));
    let bytes = bytes.collect::<std::result::Result<Vec<u8>, _>>().ok()?;
    Tensor::from_bytes(dtype, &shape.collect::<Option<Vec<_>>>()?, &bytes).ok()
}

fn integers(values: impl IntoIterator<Item = usize>) -> Operand {
    let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
    Constant(Tensor::from_slice(&[values.len()], &values).unwrap())
}

/// A scalar of the type of `x`.
fn number(x: &Tensor, value: f32) -> Operand {
    Constant(match x.dtype() {
        DType::F32 => Tensor::scalar(value),
        DType::F64 => Tensor::scalar(f64::from(value)),
        DType::I8 => Tensor::scalar(value as i8),
        DType::U8 => Tensor::scalar(value as u8),
        DType::I32 => Tensor::scalar(value as i32),
        DType::I64 => Tensor::scalar(value as i64),
    })
}

/// The number of an element type in `TensorProto`.
fn onnx_dtype(dtype: DType) -> i64 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::F64 => 11,
    }
}

fn group_count(groups: Groups, channels: usize) -> usize {
    match groups {
        Groups::Dense => 1,
        Groups::Grouped(count) => count,
        Groups::Depthwise => channels,
    }
}

/// An operator on its operands as a case of the script. `results` are what was computed; of them,
/// only the shape of a reshape is used, which ONNX wants to know.
pub(crate) fn case(op: &Op, inputs: &[Tensor], results: &[Tensor]) -> Value {
    let mut nodes = Nodes(Vec::new());
    let x = &inputs[0];
    let rank = x.shape().len();
    let all = || (0..inputs.len()).map(Input).collect::<Vec<_>>();
    let one = || vec![Input(0)];
    match op {
        Op::Unary(op) => unary(op, x, &mut nodes),
        Op::Binary(op) => {
            let name = match op {
                Binary::Add => "Add",
                Binary::Sub => "Sub",
                Binary::Mul => "Mul",
                Binary::Div => "Div",
                Binary::Max => "Max",
                Binary::Min => "Min",
                Binary::Pow => "Pow",
            };
            nodes.push(name, all(), Value::Null, 1);
        }
        Op::Conv2d(op) => {
            let group = group_count(op.groups, x.shape()[1]);
            let attributes = json!({
                "strides": op.stride, "dilations": op.dilation, "pads": op.pad, "group": group,
            });
            nodes.push("Conv", all(), attributes, 1);
        }
        Op::ConvTranspose2d(op) => {
            let group = group_count(op.groups, x.shape()[1]);
            let attributes = json!({
                "strides": op.stride, "dilations": op.dilation, "pads": op.pad, "group": group,
                "output_padding": op.output_pad,
            });
            nodes.push("ConvTranspose", all(), attributes, 1);
        }
        Op::Linear if rank == 2 => nodes.push("Gemm", all(), json!({ "transB": 1 }), 1),
        Op::Linear => {
            nodes.push("Transpose", vec![Input(1)], Value::Null, 1);
            nodes.push("MatMul", vec![Input(0), Result(0)], Value::Null, 1);
            if inputs.len() == 3 {
                nodes.push("Add", vec![Result(1), Input(2)], Value::Null, 1);
            }
        }
        Op::MatMul => nodes.push("MatMul", all(), Value::Null, 1),
        Op::BatchNorm(op) => {
            nodes.push("BatchNormalization", all(), json!({ "epsilon": op.eps }), 1);
        }
        Op::LayerNorm(op) => {
            let attributes = json!({ "axis": op.axis, "epsilon": op.eps });
            nodes.push("LayerNormalization", all(), attributes, 1);
        }
        Op::L2Norm(op) => {
            nodes.push("LpNormalization", one(), json!({ "axis": op.axis, "p": 2 }), 1);
        }
        Op::Softmax(op) => nodes.push("Softmax", one(), json!({ "axis": op.axis }), 1),
        Op::LogSoftmax(op) => nodes.push("LogSoftmax", one(), json!({ "axis": op.axis }), 1),
        Op::UnaryGrad(_)
        | Op::BatchNormTrain(_)
        | Op::BatchNormGrad(_)
        | Op::Conv2dWeightGrad(_)
        | Op::MaxPoolGrad(_)
        | Op::AveragePoolGrad(_)
        | Op::ReduceGrad(_)
        | Op::ResizeGrad(_)
        | Op::PadGrad(_)
        | Op::SliceGrad(_) => panic!("ONNX has no {}", op.name()),
        Op::PRelu => nodes.push("PRelu", all(), Value::Null, 1),
        Op::Concat(op) => nodes.push("Concat", all(), json!({ "axis": op.axis }), 1),
        Op::Split(op) => {
            let operands = vec![Input(0), integers(op.sizes.clone())];
            nodes.push("Split", operands, json!({ "axis": op.axis }), op.sizes.len());
        }
        Op::Slice(op) => {
            let part = |of: fn(&bunjae_ir::op::Range) -> i64| {
                let values: Vec<i64> = op.ranges.iter().map(of).collect();
                Constant(Tensor::from_slice(&[values.len()], &values).unwrap())
            };
            // ONNX has no word for an open end; backwards it is as far to the left as there is.
            let end = |range: &bunjae_ir::op::Range| match range.end {
                i64::MAX if range.step < 0 => i64::MIN,
                end => end,
            };
            let (start, axis) = (part(|range| range.start), part(|range| range.axis as i64));
            let operands = vec![Input(0), start, part(end), axis, part(|range| range.step)];
            nodes.push("Slice", operands, Value::Null, 1);
        }
        Op::Pad(op) => {
            let mut pads = vec![0; 2 * rank];
            for &[axis, before, after] in &op.pads {
                (pads[axis], pads[rank + axis]) = (before, after);
            }
            let operands = vec![Input(0), integers(pads), number(x, op.value)];
            nodes.push("Pad", operands, json!({ "mode": op.mode.to_attr().to_string() }), 1);
        }
        Op::MaxPool(op) => {
            let attributes = json!({
                "kernel_shape": op.kernel, "strides": op.stride, "dilations": op.dilation,
                "pads": op.pad, "ceil_mode": i64::from(op.ceil),
            });
            nodes.push("MaxPool", one(), attributes, 1);
        }
        Op::AveragePool(op) => {
            let attributes = json!({
                "kernel_shape": op.kernel, "strides": op.stride, "dilations": op.dilation,
                "pads": op.pad, "ceil_mode": i64::from(op.ceil),
                "count_include_pad": i64::from(op.count_pad),
            });
            nodes.push("AveragePool", one(), attributes, 1);
        }
        Op::GlobalPool(op) => {
            let max = op.kind == Reduction::Max;
            let name = if max { "GlobalMaxPool" } else { "GlobalAveragePool" };
            nodes.push(name, one(), Value::Null, 1);
        }
        Op::Reduce(op) => {
            let name = match op.kind {
                Reduction::Mean => "ReduceMean",
                Reduction::Sum => "ReduceSum",
                Reduction::Max => "ReduceMax",
                Reduction::Min => "ReduceMin",
                Reduction::L2 => "ReduceL2",
            };
            let operands = vec![Input(0), integers(op.axes.clone())];
            nodes.push(name, operands, json!({ "keepdims": i64::from(op.keep) }), 1);
        }
        Op::Reshape(_) => {
            let shape = integers(results[0].shape().to_vec());
            nodes.push("Reshape", vec![Input(0), shape], Value::Null, 1);
        }
        Op::Flatten(op) => nodes.push("Flatten", one(), json!({ "axis": op.axis }), 1),
        Op::Transpose(op) => nodes.push("Transpose", one(), json!({ "perm": op.perm }), 1),
        Op::Squeeze(op) => {
            nodes.push("Squeeze", vec![Input(0), integers(op.axes.clone())], Value::Null, 1);
        }
        Op::Unsqueeze(op) => {
            nodes.push("Unsqueeze", vec![Input(0), integers(op.axes.clone())], Value::Null, 1);
        }
        Op::Resize(op) => {
            let [n, c] = [x.shape()[0], x.shape()[1]];
            let mut operands = vec![Input(0), Missing];
            match op.to {
                ResizeTo::Scale([h, w]) => {
                    let scales = Tensor::from_slice(&[4], &[1.0, 1.0, h, w]).unwrap();
                    operands.push(Constant(scales));
                }
                ResizeTo::Size([h, w]) => operands.extend([Missing, integers([n, c, h, w])]),
            }
            let attributes = json!({
                "mode": op.mode.to_attr().to_string(),
                "coordinate_transformation_mode": op.coordinates.to_attr().to_string(),
                "nearest_mode": op.rounding.to_attr().to_string(),
            });
            nodes.push("Resize", operands, attributes, 1);
        }
        Op::DepthToSpace(op) => {
            let mode = match op.order {
                DepthOrder::DepthColumnRow => "DCR",
                DepthOrder::ColumnRowDepth => "CRD",
            };
            nodes.push("DepthToSpace", one(), json!({ "blocksize": op.block, "mode": mode }), 1);
        }
        Op::Dropout(op) => {
            nodes.push("Dropout", vec![Input(0), number(x, op.ratio)], Value::Null, 1);
        }
        Op::Cast(op) => nodes.push("Cast", one(), json!({ "to": onnx_dtype(op.to) }), 1),
        Op::Quantize(op) => {
            nodes.push("QuantizeLinear", all(), json!({ "axis": op.axis }), 1);
        }
        Op::Dequantize(op) => {
            nodes.push("DequantizeLinear", all(), json!({ "axis": op.axis }), 1);
        }
    }
    let inputs: Vec<Value> = inputs.iter().map(encode).collect();
    json!({ "inputs": inputs, "nodes": nodes.0 })
}

fn unary(op: &Unary, x: &Tensor, nodes: &mut Nodes) {
    let one = || vec![Input(0)];
    let mut push = |name: &str, attributes: Value| nodes.push(name, one(), attributes, 1);
    match *op {
        Unary::Identity => push("Identity", Value::Null),
        Unary::Relu => push("Relu", Value::Null),
        Unary::LeakyRelu { alpha } => push("LeakyRelu", json!({ "alpha": alpha })),
        Unary::Clip { min, max } => {
            let operands = vec![Input(0), number(x, min), number(x, max)];
            nodes.push("Clip", operands, Value::Null, 1);
        }
        Unary::Sigmoid => push("Sigmoid", Value::Null),
        Unary::HardSigmoid { alpha, beta } => {
            push("HardSigmoid", json!({ "alpha": alpha, "beta": beta }));
        }
        Unary::HardSwish => push("HardSwish", Value::Null),
        Unary::Silu => {
            push("Sigmoid", Value::Null);
            nodes.push("Mul", vec![Input(0), Result(0)], Value::Null, 1);
        }
        Unary::Tanh => push("Tanh", Value::Null),
        Unary::Gelu { tanh } => {
            push("Gelu", json!({ "approximate": if tanh { "tanh" } else { "none" } }));
        }
        Unary::Elu { alpha } => push("Elu", json!({ "alpha": alpha })),
        Unary::Softplus => push("Softplus", Value::Null),
        Unary::Mish => push("Mish", Value::Null),
        Unary::Exp => push("Exp", Value::Null),
        Unary::Log => push("Log", Value::Null),
        Unary::Sqrt => push("Sqrt", Value::Null),
        Unary::Neg => push("Neg", Value::Null),
        Unary::Abs => push("Abs", Value::Null),
        Unary::Reciprocal => push("Reciprocal", Value::Null),
        Unary::Erf => push("Erf", Value::Null),
    }
}
