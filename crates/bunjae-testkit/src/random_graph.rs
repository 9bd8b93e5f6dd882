//! Random networks that together contain every way in which channels hang together.

use std::collections::BTreeSet;

use bunjae_ir::op::{
    AveragePool, BatchNorm, Binary, Concat, Conv2d, ConvTranspose2d, DepthOrder, DepthToSpace,
    Dequantize, Flatten, GlobalPool, Groups, L2Norm, LayerNorm, MaxPool, Pad, Quantize, Range,
    Reduce, Reduction, Reshape, Resize, Slice, Softmax, Split, Transpose, Unary,
};
use bunjae_ir::{
    ClassId, Couplings, Factor, FactorGroup, Factors, Graph, GraphError, Op, TensorId, TensorType,
};
use bunjae_tensor::{DType, Random, Tensor, TensorError};
use thiserror::Error;

/// A random network and the kinds of blocks it is made of.
#[derive(Clone, Debug)]
pub struct RandomGraph {
    /// The network: one input `x` of `f32[N,C,S,S]`, one to three outputs.
    pub graph: Graph,
    /// The names of the blocks in it, a subset of [`block_names`] and [`HEADS`].
    pub kinds: BTreeSet<&'static str>,
}

/// Why a network could not be built; a fault of this generator.
#[derive(Debug, Error)]
pub enum BuildError {
    /// An operator did not accept its operands.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

type Block = fn(&mut Builder, Feature) -> Result<Feature, BuildError>;

const BLOCKS: &[(&str, Block)] = &[
    ("plain", Builder::plain),
    ("residual", Builder::residual),
    ("dense", Builder::dense),
    ("fire", Builder::fire),
    ("shuffle", Builder::shuffle),
    ("group shuffle", Builder::group_shuffle),
    ("depthwise", Builder::depthwise),
    ("grouped", Builder::grouped),
    ("squeeze-excite", Builder::squeeze_excite),
    ("inverted residual", Builder::inverted_residual),
    ("padded shortcut", Builder::padded_shortcut),
    ("depth to space", Builder::depth_to_space),
    ("transposed", Builder::transposed),
    ("grouped transposed", Builder::grouped_transposed),
    ("depthwise transposed", Builder::depthwise_transposed),
    ("element-wise", Builder::elementwise),
    ("pool", Builder::pool),
    ("resize", Builder::resize),
    ("channel slice", Builder::channel_slice),
    ("channels last", Builder::channels_last),
    ("quantised", Builder::quantised),
    ("normalised over channels", Builder::normalised),
    ("shared weight", Builder::shared_weight),
    ("spatial attention", Builder::spatial_attention),
];

/// The names of the blocks that a network's body is made of.
pub fn block_names() -> impl Iterator<Item = &'static str> {
    BLOCKS.iter().map(|(name, _)| *name)
}

/// The heads that end a network, by name.
pub const HEADS: &[&str] = &["flatten", "pool", "channels-last flatten", "mean", "map"];

#[derive(Clone, Copy)]
struct Feature {
    id: TensorId,
    channels: usize,
    side: usize,
}

struct Builder {
    graph: Graph,
    random: Random,
    integers: bool,
    counter: usize,
}

/// The network of the given seed. Every other seed has small whole numbers for weights, so that
/// sums are exact in any order as long as they stay small.
///
/// # Errors
/// [`BuildError`], which would be a fault of the generator.
pub fn random_graph(seed: u64) -> Result<RandomGraph, BuildError> {
    let mut random = Random::new(seed);
    let (channels, side) = (1 + random.below(3), 6 + random.below(3));
    let mut graph = Graph::new("random");
    let id = graph.input("x", TensorType::image(channels, side, side))?;
    let mut builder = Builder { graph, random, integers: seed.is_multiple_of(2), counter: 0 };
    let mut kinds = BTreeSet::new();
    let mut feature = builder.plain(Feature { id, channels, side })?;
    let mut taps = Vec::new();
    for _ in 0..1 + builder.random.below(4) {
        let (name, block) = BLOCKS[builder.random.below(BLOCKS.len())];
        kinds.insert(name);
        feature = block(&mut builder, feature)?;
        taps.push(feature);
    }
    for head in 0..1 + builder.random.below(3) {
        // Later heads branch off anywhere, the first stands at the end.
        let from = if head == 0 { feature } else { taps[builder.random.below(taps.len())] };
        let kind = HEADS[builder.random.below(HEADS.len())];
        kinds.insert(kind);
        let id = builder.head(kind, from)?;
        builder.graph.output(&format!("head{head}"), id)?;
    }
    Ok(RandomGraph { graph: builder.graph, kinds })
}

/// A random set of channels that may be removed together: each unpinned class with probability
/// `share`, but never the last index of an axis.
pub fn random_cut(
    graph: &Graph,
    couplings: &Couplings,
    share: f64,
    random: &mut Random,
) -> Vec<ClassId> {
    let strata = couplings.groups().iter().flat_map(|group| &group.strata);
    let mut classes: Vec<ClassId> = strata
        .filter(|stratum| stratum.pin.is_none())
        .flat_map(|stratum| stratum.classes.iter().copied())
        .collect();
    random.shuffle(&mut classes);
    let mut left: std::collections::BTreeMap<_, usize> = std::collections::BTreeMap::new();
    let mut chosen = Vec::new();
    for class in classes {
        if random.unit() >= share {
            continue;
        }
        let mut next = left.clone();
        let fits = couplings.members(class).iter().all(|member| {
            let size = graph.ty(member.at.tensor).dims[member.at.axis].fixed().unwrap_or(0);
            let remaining = next.entry(member.at).or_insert(size);
            *remaining = remaining.saturating_sub(1);
            *remaining > 0
        });
        if fits {
            left = next;
            chosen.push(class);
        }
    }
    chosen
}

impl Builder {
    fn name(&mut self, kind: &str) -> String {
        self.counter += 1;
        format!("{kind}{}", self.counter)
    }

    fn push(
        &mut self,
        kind: &str,
        op: impl Into<Op>,
        inputs: &[TensorId],
    ) -> Result<TensorId, BuildError> {
        let name = self.name(kind);
        Ok(self.graph.push(&name, op, inputs)?)
    }

    /// A weight whose values keep a sum over `fan_in` terms about as large as the terms.
    fn weight(&mut self, shape: &[usize], fan_in: usize) -> Result<TensorId, BuildError> {
        let mut tensor = Tensor::zeros(DType::F32, shape)?;
        let scale = 1.5 / (fan_in.max(1) as f64).sqrt();
        for value in tensor.elements_mut::<f32>()? {
            *value = if self.integers {
                self.random.integer(-2, 2) as f32
            } else {
                self.random.uniform(-scale, scale) as f32
            };
        }
        let name = self.name("w");
        Ok(self.graph.weight(&name, tensor)?)
    }

    fn constant(&mut self, shape: &[usize], values: &[f32]) -> Result<TensorId, BuildError> {
        let name = self.name("c");
        let count = shape.iter().product();
        let tensor: Vec<f32> =
            (0..count).map(|_| values[self.random.below(values.len())]).collect();
        Ok(self.graph.constant(&name, Tensor::from_slice(shape, &tensor)?)?)
    }

    fn width(&mut self) -> usize {
        2 + self.random.below(6)
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.unit() < share
    }

    fn conv(
        &mut self,
        x: Feature,
        channels: usize,
        kernel: usize,
        stride: usize,
        groups: Groups,
    ) -> Result<Feature, BuildError> {
        let seen = match groups {
            Groups::Dense => x.channels,
            Groups::Grouped(count) => x.channels / count,
            Groups::Depthwise => 1,
        };
        let weight = self.weight(&[channels, seen, kernel, kernel], seen * kernel * kernel)?;
        let mut operands = vec![x.id, weight];
        if self.chance(0.5) {
            operands.push(self.weight(&[channels], 4)?);
        }
        let conv =
            Conv2d { stride: [stride; 2], pad: [kernel / 2; 4], groups, ..Conv2d::default() };
        let id = self.push("conv", Op::Conv2d(conv), &operands)?;
        Ok(Feature { id, channels, side: x.side.div_ceil(stride) })
    }

    fn batch_norm(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let gamma = self.weight(&[x.channels], 1)?;
        let beta = self.weight(&[x.channels], 1)?;
        let mean = self.constant(&[x.channels], &[-1.0, 0.0, 1.0])?;
        let variance = self.constant(&[x.channels], &[1.0, 4.0])?;
        let op = Op::BatchNorm(BatchNorm { eps: 0.0 });
        let id = self.push("bn", op, &[x.id, gamma, beta, mean, variance])?;
        Ok(Feature { id, ..x })
    }

    fn activation(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let choices = [
            Unary::Relu,
            Unary::LeakyRelu { alpha: 0.25 },
            Unary::Clip { min: 0.0, max: 6.0 },
            Unary::Sigmoid,
            Unary::HardSwish,
            Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
            Unary::Silu,
            Unary::Tanh,
            Unary::Gelu { tanh: false },
        ];
        let choice = choices[self.random.below(choices.len())].clone();
        let id = self.push("act", choice, &[x.id])?;
        Ok(Feature { id, ..x })
    }

    /// Convolution, perhaps batch normalisation, perhaps an activation.
    fn layer(&mut self, x: Feature, channels: usize, kernel: usize) -> Result<Feature, BuildError> {
        let mut y = self.conv(x, channels, kernel, 1, Groups::Dense)?;
        if self.chance(0.5) {
            y = self.batch_norm(y)?;
        }
        if self.chance(0.7) { self.activation(y) } else { Ok(y) }
    }

    fn plain(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let (channels, kernel) = (self.width(), 1 + 2 * self.random.below(2));
        self.layer(x, channels, kernel)
    }

    fn join(&mut self, a: Feature, b: Feature) -> Result<Feature, BuildError> {
        let ops = [Binary::Add, Binary::Add, Binary::Sub, Binary::Max, Binary::Min, Binary::Mul];
        let op = ops[self.random.below(ops.len())].clone();
        let id = self.push("join", op, &[a.id, b.id])?;
        Ok(Feature { id, ..a })
    }

    fn residual(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let width = self.width();
        let inner = self.layer(x, width, 3)?;
        let branch = self.layer(inner, x.channels, 3)?;
        let sum = self.join(branch, x)?;
        self.activation(sum)
    }

    fn concat(&mut self, parts: &[Feature]) -> Result<Feature, BuildError> {
        let ids: Vec<TensorId> = parts.iter().map(|part| part.id).collect();
        let id = self.push("concat", Op::Concat(Concat { axis: 1 }), &ids)?;
        let channels = parts.iter().map(|part| part.channels).sum();
        Ok(Feature { id, channels, side: parts[0].side })
    }

    fn dense(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let growth = self.width();
        let first = self.layer(x, growth, 3)?;
        let joined = self.concat(&[x, first])?;
        let joined = self.batch_norm(joined)?;
        let second = self.layer(joined, growth, 1)?;
        self.concat(&[joined, second])
    }

    fn fire(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let (squeeze, a, b) = (self.width(), self.width(), self.width());
        let squeezed = self.layer(x, squeeze, 1)?;
        let (left, right) = (self.layer(squeezed, a, 1)?, self.layer(squeezed, b, 3)?);
        self.concat(&[left, right])
    }

    /// Axes of a picture seen as `[N, C, H, W]` with the channels as given factors.
    fn channel_map(axes: usize, out: Vec<Factor>) -> Factors {
        let one = || FactorGroup { axes: 1, out: vec![Factor::Rest] };
        Factors(vec![one(), FactorGroup { axes, out }, one(), one()])
    }

    fn shuffle_channels(&mut self, x: Feature, groups: usize) -> Result<Feature, BuildError> {
        let split = Self::channel_map(1, vec![Factor::Fixed(groups), Factor::Rest]);
        let id = self.push("shuffle", Op::Reshape(Reshape { map: split }), &[x.id])?;
        let swap = Op::Transpose(Transpose { perm: vec![0, 2, 1, 3, 4] });
        let id = self.push("shuffle", swap, &[id])?;
        let merge = Self::channel_map(2, vec![Factor::Rest]);
        let id = self.push("shuffle", Op::Reshape(Reshape { map: merge }), &[id])?;
        Ok(Feature { id, ..x })
    }

    fn shuffle(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let half = self.width();
        let x = self.layer(x, 2 * half, 1)?;
        let name = self.name("split");
        let split = Op::Split(Split { axis: 1, sizes: vec![half, half] });
        let parts = self.graph.push_multi(&name, split, &[x.id])?;
        let [left, right] =
            [0, 1].map(|at| Feature { id: parts[at], channels: half, side: x.side });
        let inner = self.width();
        let right = self.layer(right, inner, 1)?;
        let right = self.conv(right, inner, 3, 1, Groups::Depthwise)?;
        let right = self.layer(right, half, 1)?;
        let joined = self.concat(&[left, right])?;
        self.shuffle_channels(joined, 2)
    }

    fn group_shuffle(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let groups = 2 + self.random.below(2);
        let (inner, outer) = (groups * self.width(), groups * self.width());
        let x = self.layer(x, inner, 1)?;
        let y = self.conv(x, outer, 1, 1, Groups::Grouped(groups))?;
        let y = self.shuffle_channels(y, groups)?;
        self.conv(y, inner, 3, 1, Groups::Grouped(groups))
    }

    fn depthwise(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let multiplier = 1 + self.random.below(3);
        let y = self.conv(x, x.channels * multiplier, 3, 1, Groups::Depthwise)?;
        let y = self.batch_norm(y)?;
        let (y, width) = (self.activation(y)?, self.width());
        self.layer(y, width, 1)
    }

    fn grouped(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let groups = 2 + self.random.below(2);
        let (inner, outer) = (groups * self.width(), groups * self.width());
        let x = self.layer(x, inner, 1)?;
        let y = self.conv(x, outer, 3, 1, Groups::Grouped(groups))?;
        self.batch_norm(y)
    }

    fn squeeze_excite(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let pooled = self.push("pool", Op::GlobalPool(GlobalPool::default()), &[x.id])?;
        let pooled = Feature { id: pooled, side: 1, ..x };
        let width = self.width();
        let squeezed = self.conv(pooled, width, 1, 1, Groups::Dense)?;
        let squeezed = self.activation(squeezed)?;
        let gate = self.conv(squeezed, x.channels, 1, 1, Groups::Dense)?;
        let gate = self.push("gate", Unary::Sigmoid, &[gate.id])?;
        let id = self.push("scale", Binary::Mul, &[x.id, gate])?;
        Ok(Feature { id, ..x })
    }

    fn inverted_residual(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let wide = self.layer(x, x.channels * 2, 1)?;
        let deep = self.conv(wide, wide.channels, 3, 1, Groups::Depthwise)?;
        let deep = self.batch_norm(deep)?;
        let narrow = self.conv(deep, x.channels, 1, 1, Groups::Dense)?;
        let id = self.push("add", Binary::Add, &[x.id, narrow.id])?;
        Ok(Feature { id, ..x })
    }

    /// The CIFAR ResNet's shortcut without weights: every second pixel, channels padded with zeros.
    fn padded_shortcut(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let [before, after] = [self.random.below(3), self.random.below(3)];
        let channels = x.channels + before + after;
        let main = self.conv(x, channels, 3, 2, Groups::Dense)?;
        let ranges =
            [2, 3].map(|axis| Range { axis, start: 0, end: Range::OPEN, step: 2 }).to_vec();
        let id = self.push("slice", Op::Slice(Slice { ranges }), &[x.id])?;
        let pad = Pad { pads: vec![[1, before, after]], ..Pad::default() };
        let id = self.push("pad", Op::Pad(pad), &[id])?;
        let id = self.push("add", Binary::Add, &[main.id, id])?;
        self.activation(Feature { id, ..main })
    }

    fn depth_to_space(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let width = self.width();
        let x = self.layer(x, 4 * width, 1)?;
        let orders = [DepthOrder::DepthColumnRow, DepthOrder::ColumnRowDepth];
        let op = DepthToSpace { block: 2, order: orders[self.random.below(2)] };
        let id = self.push("d2s", Op::DepthToSpace(op), &[x.id])?;
        let pool = Op::AveragePool(AveragePool::default());
        let id = self.push("pool", pool, &[id])?;
        Ok(Feature { id, channels: width, side: x.side })
    }

    fn transpose_conv(
        &mut self,
        x: Feature,
        made: usize,
        groups: Groups,
    ) -> Result<Feature, BuildError> {
        let count = match groups {
            Groups::Dense => 1,
            Groups::Grouped(count) => count,
            Groups::Depthwise => x.channels,
        };
        let weight = self.weight(&[x.channels, made, 3, 3], 9 * x.channels / count)?;
        let bias = self.weight(&[made * count], 4)?;
        let op = ConvTranspose2d { pad: [1; 4], groups, ..ConvTranspose2d::default() };
        let id = self.push("deconv", Op::ConvTranspose2d(op), &[x.id, weight, bias])?;
        Ok(Feature { id, channels: made * count, ..x })
    }

    fn transposed(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let width = self.width();
        self.transpose_conv(x, width, Groups::Dense)
    }

    fn grouped_transposed(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let (inner, made) = (2 * self.width(), self.width());
        let x = self.layer(x, inner, 1)?;
        self.transpose_conv(x, made, Groups::Grouped(2))
    }

    fn depthwise_transposed(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let made = 1 + self.random.below(2);
        self.transpose_conv(x, made, Groups::Depthwise)
    }

    fn elementwise(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let scale = self.weight(&[x.channels, 1, 1], 1)?;
        let id = self.push("scale", Binary::Mul, &[x.id, scale])?;
        let slope = self.weight(&[x.channels, 1, 1], 4)?;
        let id = self.push("prelu", Op::PRelu, &[id, slope])?;
        let offset = self.weight(&[], 1)?;
        let id = self.push("offset", Binary::Add, &[id, offset])?;
        Ok(Feature { id, ..x })
    }

    fn pool(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let (kernel, stride, pad) = ([3, 3], [1, 1], [1; 4]);
        let op = if self.chance(0.5) {
            Op::MaxPool(MaxPool { kernel, stride, pad, ..MaxPool::default() })
        } else {
            let count_pad = self.chance(0.5);
            Op::AveragePool(AveragePool {
                kernel,
                stride,
                pad,
                count_pad,
                ..AveragePool::default()
            })
        };
        let id = self.push("pool", op, &[x.id])?;
        Ok(Feature { id, ..x })
    }

    fn resize(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let down = self.push("pool", Op::MaxPool(MaxPool::default()), &[x.id])?;
        let id = self.push("up", Op::Resize(Resize::default()), &[down])?;
        let side = x.side / 2 * 2;
        let ranges =
            [2, 3].map(|axis| Range { axis, start: 0, end: side as i64, step: 1 }).to_vec();
        let skip = self.push("crop", Op::Slice(Slice { ranges }), &[x.id])?;
        let id = self.push("add", Binary::Add, &[id, skip])?;
        Ok(Feature { id, side, ..x })
    }

    fn channel_slice(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let width = 3 + self.width();
        let x = self.layer(x, width, 1)?;
        let start = self.random.below(2);
        let end = start + 2 + self.random.below(width - start - 2);
        let ranges = vec![Range { axis: 1, start: start as i64, end: end as i64, step: 1 }];
        let id = self.push("slice", Op::Slice(Slice { ranges }), &[x.id])?;
        Ok(Feature { id, channels: end - start, ..x })
    }

    fn channels_last(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let to_last = Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] });
        let id = self.push("last", to_last, &[x.id])?;
        let width = self.width();
        let id = if self.chance(0.5) {
            let weight = self.weight(&[width, x.channels], x.channels)?;
            self.push("linear", Op::Linear, &[id, weight])?
        } else {
            let weight = self.weight(&[x.channels, width], x.channels)?;
            self.push("matmul", Op::MatMul, &[id, weight])?
        };
        let id = self.push("act", Unary::Relu, &[id])?;
        let to_first = Op::Transpose(Transpose { perm: vec![0, 3, 1, 2] });
        let id = self.push("first", to_first, &[id])?;
        Ok(Feature { id, channels: width, ..x })
    }

    fn quantised(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let shape = if self.chance(0.5) { vec![x.channels] } else { vec![] };
        let scale = self.constant(&shape, &[0.25, 0.5])?;
        let name = self.name("zero");
        let zero = self.graph.constant(&name, Tensor::zeros(DType::I8, &shape)?)?;
        let q = self.push("q", Op::Quantize(Quantize::default()), &[x.id, scale, zero])?;
        let id = self.push("dq", Op::Dequantize(Dequantize::default()), &[q, scale, zero])?;
        self.layer(Feature { id, ..x }, x.channels, 1)
    }

    fn normalised(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let id = match self.random.below(3) {
            0 => self.push("norm", Op::L2Norm(L2Norm::default()), &[x.id])?,
            1 => self.push("softmax", Op::Softmax(Softmax::default()), &[x.id])?,
            _ => {
                let gamma = self.weight(&[x.channels, x.side, x.side], 1)?;
                self.push("norm", Op::LayerNorm(LayerNorm::default()), &[x.id, gamma])?
            }
        };
        let width = self.width();
        self.layer(Feature { id, ..x }, width, 1)
    }

    fn shared_weight(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let (width, conv) = (x.channels, Conv2d { pad: [1; 4], ..Conv2d::default() });
        let weight = self.weight(&[width, width, 3, 3], 9 * width)?;
        let once = self.push("shared", Op::Conv2d(conv.clone()), &[x.id, weight])?;
        let once = self.activation(Feature { id: once, ..x })?;
        let id = self.push("shared", Op::Conv2d(conv), &[once.id, weight])?;
        Ok(Feature { id, ..x })
    }

    fn spatial_attention(&mut self, x: Feature) -> Result<Feature, BuildError> {
        let map = self.conv(x, 1, 3, 1, Groups::Dense)?;
        let map = self.push("attention", Unary::Sigmoid, &[map.id])?;
        let id = self.push("attend", Binary::Mul, &[x.id, map])?;
        Ok(Feature { id, ..x })
    }

    fn linear(&mut self, x: TensorId, features: usize) -> Result<TensorId, BuildError> {
        let classes = 2 + self.random.below(3);
        let weight = self.weight(&[classes, features], features)?;
        let bias = self.weight(&[classes], 1)?;
        self.push("fc", Op::Linear, &[x, weight, bias])
    }

    fn head(&mut self, kind: &str, x: Feature) -> Result<TensorId, BuildError> {
        let flatten = || Op::Flatten(Flatten::default());
        match kind {
            "flatten" => {
                let id = self.push("flatten", flatten(), &[x.id])?;
                self.linear(id, x.channels * x.side * x.side)
            }
            "channels-last flatten" => {
                let to_last = Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] });
                let id = self.push("last", to_last, &[x.id])?;
                let id = self.push("flatten", flatten(), &[id])?;
                self.linear(id, x.channels * x.side * x.side)
            }
            "pool" => {
                let kinds = [Reduction::Mean, Reduction::Max];
                let pool = GlobalPool { kind: kinds[self.random.below(2)] };
                let id = self.push("pool", Op::GlobalPool(pool), &[x.id])?;
                let id = self.push("flatten", flatten(), &[id])?;
                let hidden = self.weight(&[6, x.channels], x.channels)?;
                let id = self.push("fc", Op::Linear, &[id, hidden])?;
                let id = self.push("act", Unary::Relu, &[id])?;
                self.linear(id, 6)
            }
            "mean" => {
                let mean = Reduce { kind: Reduction::Mean, axes: vec![2, 3], keep: false };
                let id = self.push("mean", Op::Reduce(mean), &[x.id])?;
                self.linear(id, x.channels)
            }
            _ => Ok(self.conv(x, 2, 1, 1, Groups::Dense)?.id),
        }
    }
}
