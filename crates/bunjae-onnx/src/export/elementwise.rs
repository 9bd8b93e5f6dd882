//! Functions of single elements.

use bunjae_ir::op::{Binary, Cast, Dropout, Unary};

use super::node::{NodeWriter, float, int, word};
use crate::tensor_data::data_type;

pub(super) fn unary(node: &mut NodeWriter<'_, '_>, op: &Unary) {
    let x = node.x();
    let opset = node.opset();
    match *op {
        Unary::Identity => node.main("Identity", vec![]),
        Unary::Relu => node.main("Relu", vec![]),
        Unary::LeakyRelu { alpha } => node.main("LeakyRelu", vec![float("alpha", alpha)]),
        Unary::Clip { min, max } => clip(node, min, max),
        Unary::Sigmoid => node.main("Sigmoid", vec![]),
        Unary::HardSigmoid { alpha, beta } => {
            node.main("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)]);
        }
        Unary::HardSwish if opset >= 14 => node.main("HardSwish", vec![]),
        Unary::HardSwish => {
            let slope = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
            let gate = node.part("gate", "HardSigmoid", &[&x], slope);
            node.main_on("Mul", vec![x, gate], vec![]);
        }
        // Set 24 has Swish, for which few runtimes have a kernel.
        Unary::Silu => {
            let gate = node.part("gate", "Sigmoid", &[&x], vec![]);
            node.main_on("Mul", vec![x, gate], vec![]);
        }
        Unary::Tanh => node.main("Tanh", vec![]),
        Unary::Gelu { tanh } if opset >= 20 => {
            let approximate = if tanh { "tanh" } else { "none" };
            node.main("Gelu", vec![word("approximate", approximate)]);
        }
        Unary::Gelu { tanh } => {
            let curve = if tanh { gelu_tanh(node, &x) } else { gelu_erf(node, &x) };
            // x / 2 (1 + curve)
            let one = node.number("one", 1.0);
            let share = node.part("share", "Add", &[&curve, &one], vec![]);
            let half = node.number("half", 0.5);
            let part = node.part("part", "Mul", &[&x, &half], vec![]);
            node.main_on("Mul", vec![part, share], vec![]);
        }
        Unary::Elu { alpha } => node.main("Elu", vec![float("alpha", alpha)]),
        Unary::Softplus => node.main("Softplus", vec![]),
        Unary::Mish if opset >= 18 => node.main("Mish", vec![]),
        Unary::Mish => {
            let softplus = node.part("softplus", "Softplus", &[&x], vec![]);
            let gate = node.part("gate", "Tanh", &[&softplus], vec![]);
            node.main_on("Mul", vec![x, gate], vec![]);
        }
        Unary::Exp => node.main("Exp", vec![]),
        Unary::Log => node.main("Log", vec![]),
        Unary::Sqrt => node.main("Sqrt", vec![]),
        Unary::Neg => node.main("Neg", vec![]),
        Unary::Abs => node.main("Abs", vec![]),
        Unary::Reciprocal => node.main("Reciprocal", vec![]),
        Unary::Erf => node.main("Erf", vec![]),
    }
}

/// `erf(x / sqrt(2))`
fn gelu_erf(node: &mut NodeWriter<'_, '_>, x: &str) -> String {
    let root = node.number("root", std::f64::consts::SQRT_2);
    let scaled = node.part("scaled", "Div", &[x, &root], vec![]);
    node.part("curve", "Erf", &[&scaled], vec![])
}

/// `tanh(sqrt(2 / pi) (x + 0.044715 x^3))`
fn gelu_tanh(node: &mut NodeWriter<'_, '_>, x: &str) -> String {
    let square = node.part("square", "Mul", &[x, x], vec![]);
    let cube = node.part("cube", "Mul", &[&square, x], vec![]);
    let weight = node.number("weight", 0.044_715);
    let weighted = node.part("weighted", "Mul", &[&cube, &weight], vec![]);
    let sum = node.part("sum", "Add", &[x, &weighted], vec![]);
    let root = node.number("root", std::f64::consts::FRAC_2_PI.sqrt());
    let scaled = node.part("scaled", "Mul", &[&sum, &root], vec![]);
    node.part("curve", "Tanh", &[&scaled], vec![])
}

fn clip(node: &mut NodeWriter<'_, '_>, min: f32, max: f32) {
    if node.opset() < 11 {
        return node.main("Clip", vec![float("min", min), float("max", max)]);
    }
    let mut inputs = vec![node.x()];
    if min != f32::NEG_INFINITY || max != f32::INFINITY {
        // A bound that bounds nothing is left out.
        inputs.push(match min {
            f32::NEG_INFINITY => String::new(),
            min => node.number("min", min.into()),
        });
    }
    if max != f32::INFINITY {
        inputs.push(node.number("max", max.into()));
    }
    node.main_on("Clip", inputs, vec![]);
}

pub(super) fn binary(node: &mut NodeWriter<'_, '_>, op: &Binary) {
    let op = match op {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Max => "Max",
        Binary::Min => "Min",
        Binary::Pow => "Pow",
    };
    node.main(op, vec![]);
}

pub(super) fn dropout(node: &mut NodeWriter<'_, '_>, op: &Dropout) {
    if node.opset() < 12 {
        return node.main("Dropout", vec![float("ratio", op.ratio)]);
    }
    let ratio = node.scalar_f32("ratio", op.ratio);
    let inputs = vec![node.x(), ratio];
    node.main_on("Dropout", inputs, vec![]);
}

pub(super) fn cast(node: &mut NodeWriter<'_, '_>, op: &Cast) {
    node.main("Cast", vec![int("to", data_type(op.to).code().into())]);
}
