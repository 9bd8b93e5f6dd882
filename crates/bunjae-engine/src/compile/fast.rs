//! Groups and nodes to the kernels written for the instruction set, where one fits.

use bunjae_ir::op::{self, Reduction};
use bunjae_ir::{Graph, NodeId, Op, TensorId};
use bunjae_kernels::{
    Activation, Binary, BinaryOp, Conv, ConvSpec, Coordinates, GlobalPool, Halo, Linear,
    LinearSpec, Map, Planar, Pool, PoolKind, PoolSpec, Resize, Rounding, Sampling, Softmax, Tail,
};
use bunjae_tensor::DType;

use super::fuse::{Fused, activation};
use super::lower::Lowering;
use super::places::{dims, padding};
use super::plain::group_count;
use super::store::Choice;
use super::weights::Content;
use crate::error::CompileError;
use crate::runtime::step::{FastKernel, Kernel, Prepared};
use crate::runtime::view::{View, coalesce};

/// What a convolution computes with, whatever the node was.
pub(super) struct Numbers {
    pub weights: Content,
    pub bias: Option<Content>,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// The zeros that it reads around its operand.
    pub halo: Halo,
    groups: usize,
    /// The result's rows and columns.
    size: [usize; 2],
}

/// The numbers of a convolution, or of a batch normalisation as a depthwise one of one pixel.
pub(super) fn numbers(graph: &Graph, fused: &Fused) -> Numbers {
    let node = graph.node(fused.node);
    let x = dims(graph, node.inputs[0]);
    if let Op::Conv2d(conv) = &node.op {
        let weight = dims(graph, node.inputs[1]);
        let result = dims(graph, node.outputs[0]);
        let (kernel, size) = ([weight[2], weight[3]], [result[2], result[3]]);
        return Numbers {
            weights: Content::Weight(node.inputs[1]),
            bias: node.inputs.get(2).copied().map(Content::Weight),
            kernel,
            stride: conv.stride,
            dilation: conv.dilation,
            halo: padding(conv, &x, kernel, size),
            groups: group_count(conv.groups, x[1]),
            size,
        };
    }
    Numbers {
        weights: Content::Scale(fused.node),
        bias: Some(Content::Shift(fused.node)),
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        halo: Halo::default(),
        groups: x[1],
        size: [x[2], x[3]],
    }
}

/// What the kernels are asked for, apart from a residual.
pub(super) fn conv_spec(
    numbers: &Numbers,
    fused: &Fused,
    input: Planar,
    output: Planar,
) -> ConvSpec {
    ConvSpec {
        input,
        output,
        size: numbers.size,
        kernel: numbers.kernel,
        stride: numbers.stride,
        dilation: numbers.dilation,
        padding: [numbers.halo.top, numbers.halo.left],
        groups: numbers.groups,
        activation: fused.activation,
        residual: None,
        tail: fused.tail,
        form: None,
    }
}

impl<'g> Lowering<'g> {
    /// Adds the step that computes a group; false where no kernel can.
    pub(super) fn fused(&mut self, fused: &Fused) -> Result<bool, CompileError> {
        match &self.graph.node(fused.node).op {
            Op::Conv2d(_) | Op::BatchNorm(_) => self.convolution(fused),
            Op::Linear => self.linear(fused),
            Op::Binary(op) => self.binary(fused, op),
            _ => Ok(false),
        }
    }

    /// Adds the step that computes a node by itself; false where no kernel can.
    pub(super) fn fast(&mut self, id: NodeId) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        if self.graph.ty(node.inputs[0]).dtype != DType::F32 {
            return Ok(false);
        }
        match &node.op {
            Op::Unary(op) => match activation(op) {
                Some(activation) => self.map(id, activation, None),
                None => Ok(false),
            },
            Op::PRelu => match super::fuse::slopes(self.graph, node.inputs[1], node.inputs[0]) {
                Some(slopes) => self.map(id, Activation::Prelu, Some(slopes)),
                None => Ok(false),
            },
            Op::MaxPool(pool) => {
                let spec = |input, output| PoolSpec {
                    input,
                    output,
                    kind: PoolKind::Max,
                    kernel: pool.kernel,
                    stride: pool.stride,
                    dilation: pool.dilation,
                    padding_begin: [pool.pad[0], pool.pad[1]],
                    padding_end: [pool.pad[2], pool.pad[3]],
                };
                self.pool(id, spec)
            }
            Op::AveragePool(pool) => {
                let spec = |input, output| PoolSpec {
                    input,
                    output,
                    kind: if pool.count_pad { PoolKind::AveragePadded } else { PoolKind::Average },
                    kernel: pool.kernel,
                    stride: pool.stride,
                    dilation: pool.dilation,
                    padding_begin: [pool.pad[0], pool.pad[1]],
                    padding_end: [pool.pad[2], pool.pad[3]],
                };
                self.pool(id, spec)
            }
            Op::GlobalPool(pool) => self.global_pool(id, pool.kind),
            Op::Reduce(reduce) if reduce.axes == [2, 3] => self.global_pool(id, reduce.kind),
            Op::Softmax(softmax) => {
                let dims = self.places.dims(node.inputs[0]);
                if softmax.axis + 1 == dims.len() { self.softmax(id, &dims) } else { Ok(false) }
            }
            Op::Resize(resize) => self.resize(id, resize),
            Op::Linear | Op::MatMul => self.product(id),
            _ => Ok(false),
        }
    }

    /// The picture of an operand; brought into the kernels' layout first where it is not in it.
    pub(super) fn picture(
        &mut self,
        id: TensorId,
        name: &str,
    ) -> Result<(View, Planar), CompileError> {
        let view = self.operand(id)?;
        if let Some(planar) = view.as_planar() {
            return Ok((view, planar));
        }
        let [images, channels, height, width] = view.dims[..] else {
            return Err(CompileError::Plan(format!("{name}: {view:?} is no picture")));
        };
        let halo = self.places.wanted_halo(id);
        let planar = Planar::new(images, channels, height, width, halo);
        let own = self.places.picture(planar);
        self.copy(name, &view, &own);
        Ok((own, planar))
    }

    /// The result's place, and that place as a picture; `None` where a kernel cannot write it.
    fn result(&mut self, id: TensorId, reads: &[usize]) -> (View, Option<Planar>) {
        let view = self.places.allocate(id, reads);
        let planar = view.as_planar();
        (view, planar)
    }

    fn convolution(&mut self, fused: &Fused) -> Result<bool, CompileError> {
        let node = self.graph.node(fused.node);
        let name = self.graph.node_label(fused.node);
        let (x, input) = self.picture(node.inputs[0], &name)?;
        let residual = match fused.residual {
            Some((id, at)) => Some((self.picture(id, &name)?, at)),
            None => None,
        };
        let numbers = numbers(self.graph, fused);
        let mut reads = vec![x.region];
        reads.extend(residual.as_ref().map(|((view, _), _)| view.region));
        let (y, output) = self.result(fused.result, &reads);
        let Some(output) = output else { return Ok(false) };
        let residual_layout = residual.as_ref().map(|((_, planar), at)| (*planar, *at));
        let spec =
            ConvSpec { residual: residual_layout, ..conv_spec(&numbers, fused, input, output) };
        let choice = Choice { node: fused.node.index(), size: numbers.size };
        let form = self.store.form(choice, &spec, self.isa);
        let conv = Conv::new(ConvSpec { form, ..spec }, self.isa);
        let Ok(conv) = conv.or_else(|_| Conv::new(spec, self.isa)) else { return Ok(false) };
        self.store.choose(choice, conv.form());
        let weights = self.packed(&numbers.weights, conv.packing(), &name)?;
        let bias = match &numbers.bias {
            Some(bias) => Some(self.content(bias)?),
            None => None,
        };
        let slopes = match fused.slopes {
            Some(id) => Some(self.slopes(id, output.channels)?),
            None => None,
        };
        let workspace = self.places.workspace(conv.workspace_len());
        let kernel = FastKernel {
            second: residual.map(|((view, _), _)| view),
            weights: Some(weights),
            bias,
            slopes,
            workspace,
            extras: extras(fused),
            ..FastKernel::new(Prepared::Conv(Box::new(conv)), x, y)
        };
        self.push(&fused.nodes().collect::<Vec<_>>(), Kernel::Fast(Box::new(kernel)));
        Ok(true)
    }

    fn linear(&mut self, fused: &Fused) -> Result<bool, CompileError> {
        let node = self.graph.node(fused.node);
        let name = self.graph.node_label(fused.node);
        let weight = self.places.dims(node.inputs[1]);
        let mut x = self.operand(node.inputs[0])?;
        if !x.is_dense() {
            let dense = self.places.dense(DType::F32, &x.dims);
            self.copy(&name, &x, &dense);
            x = dense;
        }
        let spec = LinearSpec {
            activation: fused.activation,
            ..LinearSpec::dense(x.dims[0], weight[1], weight[0])
        };
        let Ok(linear) = Linear::new(spec, self.isa) else { return Ok(false) };
        let weights = self.packed(&Content::Weight(node.inputs[1]), linear.packing(), &name)?;
        let bias = match node.inputs.get(2) {
            Some(&id) => Some(self.content(&Content::Weight(id))?),
            None => None,
        };
        let (y, copy) = self.dense_result(fused.result, &[x.region]);
        let kernel = FastKernel {
            weights: Some(weights),
            bias,
            extras: extras(fused),
            ..FastKernel::new(Prepared::Linear(linear), x, y.clone())
        };
        self.push(&fused.nodes().collect::<Vec<_>>(), Kernel::Fast(Box::new(kernel)));
        self.copy_result(&name, &y, copy);
        Ok(true)
    }

    fn binary(&mut self, fused: &Fused, op: &op::Binary) -> Result<bool, CompileError> {
        let op = match op {
            op::Binary::Add => BinaryOp::Add,
            op::Binary::Sub => BinaryOp::Sub,
            op::Binary::Mul => BinaryOp::Mul,
            op::Binary::Div => BinaryOp::Div,
            op::Binary::Max => BinaryOp::Max,
            op::Binary::Min => BinaryOp::Min,
            op::Binary::Pow => return Ok(false),
        };
        let node = self.graph.node(fused.node);
        let a = self.operand(node.inputs[0])?;
        let b = self.operand(node.inputs[1])?;
        let y = self.places.allocate(fused.result, &[a.region, b.region]);
        let spread = [&a, &b].map(|view| view.broadcast(&y.dims));
        let [left, right, result] = if y.dims.len() <= 4 {
            [&spread[0], &spread[1], &y].map(View::as_repeated_planar)
        } else {
            coalesce([&spread[0], &spread[1], &y]).map(|view| view.as_repeated_planar())
        };
        let (Some(left), Some(right), Some(result)) = (left, right, result) else {
            return Ok(false);
        };
        let binary = Binary::new(left, right, result, op, fused.activation, self.isa);
        let Ok(binary) = binary else { return Ok(false) };
        let kernel = FastKernel {
            second: Some(b),
            extras: extras(fused),
            ..FastKernel::new(Prepared::Binary(binary), a, y)
        };
        self.push(&fused.nodes().collect::<Vec<_>>(), Kernel::Fast(Box::new(kernel)));
        Ok(true)
    }

    fn map(
        &mut self,
        id: NodeId,
        activation: Activation,
        slopes: Option<TensorId>,
    ) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let x = self.operand(node.inputs[0])?;
        let y = self.places.allocate(node.outputs[0], &[x.region]);
        let [input, output] = match slopes {
            // Slopes go by the channels of a picture.
            Some(_) => [&x, &y].map(View::as_planar),
            None if y.dims.len() <= 4 => [&x, &y].map(View::as_repeated_planar),
            None => coalesce([&x, &y]).map(|view| view.as_repeated_planar()),
        };
        let (Some(input), Some(output)) = (input, output) else { return Ok(false) };
        let Ok(map) = Map::new(input, output, activation, self.isa) else { return Ok(false) };
        let slopes = match slopes {
            Some(id) => Some(self.slopes(id, output.channels)?),
            None => None,
        };
        let extras = format!(" {}", self.graph.node(id).op.name());
        let kernel = FastKernel { slopes, extras, ..FastKernel::new(Prepared::Map(map), x, y) };
        self.push(&[id], Kernel::Fast(Box::new(kernel)));
        Ok(true)
    }

    fn pool(
        &mut self,
        id: NodeId,
        spec: impl Fn(Planar, Planar) -> PoolSpec,
    ) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let (x, input) = self.picture(node.inputs[0], &self.graph.node_label(id))?;
        let (y, Some(output)) = self.result(node.outputs[0], &[x.region]) else {
            return Ok(false);
        };
        let Ok(pool) = Pool::new(spec(input, output), self.isa) else { return Ok(false) };
        self.push(&[id], Kernel::Fast(Box::new(FastKernel::new(Prepared::Pool(pool), x, y))));
        Ok(true)
    }

    fn global_pool(&mut self, id: NodeId, kind: Reduction) -> Result<bool, CompileError> {
        let kind = match kind {
            Reduction::Mean => PoolKind::Average,
            Reduction::Max => PoolKind::Max,
            Reduction::Sum | Reduction::Min | Reduction::L2 => return Ok(false),
        };
        let node = self.graph.node(id);
        if self.graph.ty(node.inputs[0]).rank() != 4 {
            return Ok(false);
        }
        let (x, input) = self.picture(node.inputs[0], &self.graph.node_label(id))?;
        let pool = GlobalPool::new(input, kind, self.isa);
        let Ok(pool) = pool else { return Ok(false) };
        let (y, copy) = self.dense_result(node.outputs[0], &[x.region]);
        let kernel = FastKernel::new(Prepared::GlobalPool(pool), x, y.clone());
        self.push(&[id], Kernel::Fast(Box::new(kernel)));
        self.copy_result(&self.graph.node_label(id), &y, copy);
        Ok(true)
    }

    fn softmax(&mut self, id: NodeId, dims: &[usize]) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let x = self.operand(node.inputs[0])?;
        let y = self.places.allocate(node.outputs[0], &[x.region]);
        if !x.is_dense() || !y.is_dense() {
            return Ok(false);
        }
        let width = dims.last().copied().unwrap_or(1);
        let rows = dims.iter().product::<usize>() / width;
        let Ok(softmax) = Softmax::new(rows, width, false, self.isa) else { return Ok(false) };
        let kernel = FastKernel::new(Prepared::Softmax(softmax), x, y);
        self.push(&[id], Kernel::Fast(Box::new(kernel)));
        Ok(true)
    }

    fn resize(&mut self, id: NodeId, op: &op::Resize) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        // The kernel goes by the ratio of the sizes; a scale that is not that ratio, or is rounded
        // in f32 on the way, is left to the tables of the generic kernel.
        let exact = match op.to {
            op::ResizeTo::Scale(scale) => scale.iter().all(|scale| scale.fract() == 0.0),
            op::ResizeTo::Size(_) => op.mode == op::ResizeMode::Linear,
        };
        if !exact {
            return Ok(false);
        }
        let sampling = match (op.mode, op.rounding) {
            (op::ResizeMode::Linear, _) => Sampling::Bilinear,
            (_, op::Rounding::RoundPreferFloor) => Sampling::Nearest(Rounding::PreferFloor),
            (_, op::Rounding::RoundPreferCeil) => Sampling::Nearest(Rounding::PreferCeil),
            (_, op::Rounding::Floor) => Sampling::Nearest(Rounding::Floor),
            (_, op::Rounding::Ceil) => Sampling::Nearest(Rounding::Ceil),
        };
        let coordinates = match op.coordinates {
            op::Coordinates::HalfPixel => Coordinates::HalfPixel,
            op::Coordinates::PytorchHalfPixel => Coordinates::PytorchHalfPixel,
            op::Coordinates::AlignCorners => Coordinates::AlignCorners,
            op::Coordinates::Asymmetric => Coordinates::Asymmetric,
        };
        let (x, input) = self.picture(node.inputs[0], &self.graph.node_label(id))?;
        let (y, Some(output)) = self.result(node.outputs[0], &[x.region]) else {
            return Ok(false);
        };
        let resize = Resize::new(input, output, sampling, coordinates, self.isa);
        let Ok(resize) = resize else { return Ok(false) };
        self.push(&[id], Kernel::Fast(Box::new(FastKernel::new(Prepared::Resize(resize), x, y))));
        Ok(true)
    }
}

/// What a group does beyond its base, for people.
pub(super) fn extras(fused: &Fused) -> String {
    let mut text = String::new();
    if fused.residual.is_some() {
        text += " +residual";
    }
    if fused.activation != Activation::Identity {
        let name = format!("{:?}", fused.activation).to_lowercase();
        text += " +";
        text += name.split(' ').next().unwrap_or_default();
    }
    match fused.tail {
        Tail::Store => {}
        Tail::MaxPool2 => text += " +pool",
        Tail::GlobalAverage => text += " +average",
    }
    text
}
