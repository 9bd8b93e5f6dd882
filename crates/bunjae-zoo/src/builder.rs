//! The layers that architectures are written in: nodes together with their initial weights.

use bunjae_ir::op::{self, Binary, Groups, Op, Unary};
use bunjae_ir::{Graph, GraphError, TensorId, TensorType};
use bunjae_tensor::{DType, Random, Tensor};

use crate::ZooError;
use crate::options::{Head, Spec};

/// A layer's result.
pub(crate) type Layer = Result<TensorId, ZooError>;

/// What a weight starts from.
#[derive(Clone, Copy)]
pub(crate) enum Fill {
    Constant(f32),
    /// Normal with the given standard deviation.
    Normal(f64),
    /// Normal with variance `2 / fan_in` (He et al., 2015).
    HeNormalIn,
    /// Normal with variance `2 / fan_out`.
    HeNormalOut,
    /// Uniform with variance `2 / fan_in`.
    HeUniform,
    /// Uniform in `±1/√fan_in`.
    FanIn,
}

impl Fill {
    fn draw(self, elements: &mut [f32], fans: Fans, random: &mut Random) {
        match self {
            Fill::Constant(value) => elements.fill(value),
            Fill::Normal(deviation) => normal(elements, deviation, random),
            Fill::HeNormalIn => normal(elements, (2.0 / fans.input).sqrt(), random),
            Fill::HeNormalOut => normal(elements, (2.0 / fans.output).sqrt(), random),
            Fill::HeUniform => uniform(elements, (6.0 / fans.input).sqrt(), random),
            Fill::FanIn => uniform(elements, fans.input.sqrt().recip(), random),
        }
    }
}

fn normal(elements: &mut [f32], deviation: f64, random: &mut Random) {
    elements.iter_mut().for_each(|element| *element = (deviation * random.normal()) as f32);
}

fn uniform(elements: &mut [f32], bound: f64, random: &mut Random) {
    elements.iter_mut().for_each(|element| *element = random.uniform(-bound, bound) as f32);
}

/// How many elements of a layer's weight an output channel and an input channel have, which its
/// bias is drawn by as well. As in PyTorch, groups make no difference to `output`.
#[derive(Clone, Copy)]
struct Fans {
    input: f64,
    output: f64,
}

impl Fans {
    /// Of a weight `[output, input, ..]`.
    fn of(weight: &[usize]) -> Fans {
        let without = |axis: usize| {
            let sizes = weight.iter().enumerate().filter(|(at, _)| *at != axis);
            sizes.map(|(_, &size)| size as f64).product()
        };
        Fans { input: without(0), output: without(1) }
    }
}

/// What the layers of an architecture have in common.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) conv: Fill,
    pub(crate) conv_bias: Fill,
    pub(crate) linear: Fill,
    pub(crate) linear_bias: Fill,
    /// Added to the variance by batch normalisations.
    pub(crate) eps: f32,
}

impl Style {
    /// PyTorch's defaults.
    pub(crate) const PYTORCH: Style = Style {
        conv: Fill::FanIn,
        conv_bias: Fill::FanIn,
        linear: Fill::FanIn,
        linear_bias: Fill::FanIn,
        eps: 1e-5,
    };
}

/// A convolution that keeps height and width (with an odd kernel) and has no bias, unless told.
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    out: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    groups: Groups,
    bias: bool,
    fill: Option<Fill>,
}

impl Conv {
    /// So many output channels, a square kernel of that side.
    pub(crate) fn new(out: usize, kernel: usize) -> Self {
        let (groups, pad) = (Groups::Dense, kernel / 2);
        Conv { out, kernel, stride: 1, pad, groups, bias: false, fill: None }
    }

    pub(crate) fn stride(self, stride: usize) -> Self {
        Conv { stride, ..self }
    }

    pub(crate) fn pad(self, pad: usize) -> Self {
        Conv { pad, ..self }
    }

    pub(crate) fn depthwise(self) -> Self {
        Conv { groups: Groups::Depthwise, ..self }
    }

    pub(crate) fn bias(self) -> Self {
        Conv { bias: true, ..self }
    }

    /// Another initial weight than the style's.
    pub(crate) fn fill(self, fill: Fill) -> Self {
        Conv { fill: Some(fill), ..self }
    }
}

/// A graph in the making.
pub(crate) struct Net {
    graph: Graph,
    style: Style,
    seed: u64,
}

impl Net {
    /// An empty network and its input.
    pub(crate) fn new(spec: &Spec, style: Style) -> Result<(Net, TensorId), ZooError> {
        let mut graph = Graph::new(spec.name);
        let [channels, height, width] = spec.input;
        let input = graph.input("input", TensorType::image(channels, height, width))?;
        Ok((Net { graph, style, seed: spec.seed }, input))
    }

    /// The finished graph, whose output is the logits `x` or their probabilities by `activation`.
    pub(crate) fn finish(
        mut self,
        spec: &Spec,
        x: TensorId,
        activation: impl Into<Op>,
    ) -> Result<Graph, ZooError> {
        match spec.head {
            Head::Logits => self.graph.output("logits", x)?,
            Head::Probabilities => {
                let activation = activation.into();
                let x = self.graph.push(activation.name(), activation, &[x])?;
                self.graph.output("probabilities", x)?;
            }
        }
        Ok(self.graph)
    }

    /// The length of an axis; all but the batch are known while an architecture is built.
    pub(crate) fn size(&self, x: TensorId, axis: usize) -> usize {
        self.graph.ty(x).dims.get(axis).and_then(|dim| dim.fixed()).unwrap_or(0)
    }

    pub(crate) fn channels(&self, x: TensorId) -> usize {
        self.size(x, 1)
    }

    pub(crate) fn op(&mut self, path: &str, op: impl Into<Op>, inputs: &[TensorId]) -> Layer {
        Ok(self.graph.push(path, op, inputs)?)
    }

    /// An operator with two results.
    pub(crate) fn pair(
        &mut self,
        path: &str,
        op: Op,
        x: TensorId,
    ) -> Result<[TensorId; 2], ZooError> {
        let results = self.graph.push_multi(path, op, &[x])?;
        let count = results.len();
        results.try_into().map_err(|_| {
            let what = format!("has {count} results, not 2");
            ZooError::Graph(GraphError::Invalid { place: path.to_string(), what })
        })
    }

    pub(crate) fn conv(&mut self, path: &str, x: TensorId, conv: Conv) -> Layer {
        let Conv { out, kernel, stride, pad, groups, bias, fill } = conv;
        let seen = if groups == Groups::Depthwise { 1 } else { self.channels(x) };
        let op = op::Conv2d { stride: [stride; 2], pad: [pad; 4], groups, ..Default::default() };
        let fill = fill.unwrap_or(self.style.conv);
        let bias = bias.then_some(self.style.conv_bias);
        self.affine(path, Op::Conv2d(op), x, [out, seen, kernel, kernel], fill, bias)
    }

    pub(crate) fn linear(&mut self, path: &str, x: TensorId, out: usize) -> Layer {
        let Style { linear, linear_bias, .. } = self.style;
        let shape = [out, self.channels(x)];
        self.affine(path, Op::Linear, x, shape, linear, Some(linear_bias))
    }

    /// A layer with a weight, output channels first, and perhaps a bias.
    fn affine<const RANK: usize>(
        &mut self,
        path: &str,
        op: Op,
        x: TensorId,
        shape: [usize; RANK],
        weight: Fill,
        bias: Option<Fill>,
    ) -> Layer {
        let fans = Fans::of(&shape);
        let mut operands =
            vec![x, self.parameter(&format!("{path}.weight"), &shape, weight, fans)?];
        if let Some(bias) = bias {
            operands.push(self.parameter(&format!("{path}.bias"), &shape[..1], bias, fans)?);
        }
        self.op(path, op, &operands)
    }

    fn parameter(&mut self, name: &str, shape: &[usize], fill: Fill, fans: Fans) -> Layer {
        let named = |source| ZooError::Weight { name: name.to_string(), source };
        let mut tensor = Tensor::zeros(DType::F32, shape).map_err(named)?;
        let mut random = Random::for_name(self.seed, name);
        fill.draw(tensor.elements_mut().map_err(named)?, fans, &mut random);
        Ok(self.graph.weight(name, tensor)?)
    }

    pub(crate) fn batch_norm(&mut self, path: &str, x: TensorId) -> Layer {
        self.scaled_batch_norm(path, x, 1.0)
    }

    /// A batch normalisation whose gamma starts at `scale`.
    pub(crate) fn scaled_batch_norm(&mut self, path: &str, x: TensorId, scale: f32) -> Layer {
        let mut operands = vec![x];
        let length = self.channels(x);
        for (part, value, trainable) in [
            ("weight", scale, true),
            ("bias", 0.0, true),
            ("running_mean", 0.0, false),
            ("running_var", 1.0, false),
        ] {
            let name = format!("{path}.{part}");
            let tensor = Tensor::from_slice(&[length], &vec![value; length])
                .map_err(|source| ZooError::Weight { name: name.clone(), source })?;
            operands.push(self.graph.add_weight(&name, tensor, trainable)?);
        }
        self.op(path, Op::BatchNorm(op::BatchNorm { eps: self.style.eps }), &operands)
    }

    /// Convolution, batch normalisation and activation as a `Sequential` of three.
    pub(crate) fn conv_norm_act(
        &mut self,
        path: &str,
        x: TensorId,
        conv: Conv,
        activation: Unary,
    ) -> Layer {
        let x = self.conv_norm(path, x, conv)?;
        self.op(&format!("{path}.2"), activation, &[x])
    }

    /// Convolution and batch normalisation as a `Sequential` of two.
    pub(crate) fn conv_norm(&mut self, path: &str, x: TensorId, conv: Conv) -> Layer {
        let x = self.conv(&format!("{path}.0"), x, conv)?;
        self.batch_norm(&format!("{path}.1"), x)
    }

    pub(crate) fn relu(&mut self, path: &str, x: TensorId) -> Layer {
        self.op(path, Unary::Relu, &[x])
    }

    pub(crate) fn add(&mut self, path: &str, a: TensorId, b: TensorId) -> Layer {
        self.op(path, Binary::Add, &[a, b])
    }

    pub(crate) fn dropout(&mut self, path: &str, x: TensorId, ratio: f32) -> Layer {
        self.op(path, Op::Dropout(op::Dropout { ratio }), &[x])
    }

    /// A maximum over a square window; `pad` on all sides.
    pub(crate) fn max_pool(
        &mut self,
        path: &str,
        x: TensorId,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> Layer {
        let (kernel, stride, pad) = ([kernel; 2], [stride; 2], [pad; 4]);
        let op = op::MaxPool { kernel, stride, pad, ..Default::default() };
        self.op(path, Op::MaxPool(op), &[x])
    }

    /// A mean over a window, without padding.
    pub(crate) fn average_pool(
        &mut self,
        path: &str,
        x: TensorId,
        kernel: [usize; 2],
        stride: [usize; 2],
    ) -> Layer {
        let op = op::AveragePool { kernel, stride, ..Default::default() };
        self.op(path, Op::AveragePool(op), &[x])
    }

    /// The mean over height and width, which stay as axes of length 1.
    pub(crate) fn global_pool(&mut self, path: &str, x: TensorId) -> Layer {
        self.op(path, Op::GlobalPool(Default::default()), &[x])
    }

    /// The mean over height and width, which are gone.
    pub(crate) fn mean(&mut self, path: &str, x: TensorId) -> Layer {
        let op = op::Reduce { axes: vec![2, 3], keep: false, ..Default::default() };
        self.op(path, Op::Reduce(op), &[x])
    }

    pub(crate) fn flatten(&mut self, x: TensorId) -> Layer {
        self.op("flatten", Op::Flatten(Default::default()), &[x])
    }

    /// Joins channels.
    pub(crate) fn concat(&mut self, path: &str, parts: &[TensorId]) -> Layer {
        self.op(path, Op::Concat(Default::default()), parts)
    }
}

/// The softmax over classes.
pub(crate) fn softmax() -> Op {
    Op::Softmax(op::Softmax { axis: 1 })
}
