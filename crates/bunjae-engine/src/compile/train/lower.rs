//! Groups of a training graph to steps.

use std::sync::Arc;

use bunjae_ir::op::{Conv2d, Groups};
use bunjae_ir::{NodeId, Op, TensorId};
use bunjae_kernels::{
    Activation, BatchNormAgain, BatchNormGrad, BatchNormSpec, BatchNormTrain, ChannelSum, Conv,
    ConvInputGrad, ConvSpec, ConvWeightGrad, KernelError, MapGrad, MaxPoolGrad, Packing, Planar,
    PoolKind, PoolSpec, Tail, WeightLayout,
};
use bunjae_tensor::DType;

use super::super::lower::Lowering;
use super::super::places::{Places, padding};
use super::super::plain::group_count;
use super::super::store::Choice;
use super::groups::{Norm, NormGrad, TrainingGroup};
use crate::error::CompileError;
use crate::runtime::step::{FastKernel, Kernel, Prepared};
use crate::runtime::training_step::{TrainingKernel, TrainingPrepared};
use crate::runtime::view::View;

/// What a convolution is, whichever of its gradients is asked for.
#[derive(Clone, Copy)]
struct Geometry {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 2],
    groups: Groups,
}

impl Geometry {
    /// The convolution from `input` to `output`.
    fn spec(&self, input: Planar, output: Planar) -> ConvSpec {
        ConvSpec {
            size: [output.height, output.width],
            stride: self.stride,
            dilation: self.dilation,
            padding: self.padding,
            groups: group_count(self.groups, input.channels),
            ..ConvSpec::new(input, output, self.kernel)
        }
    }

    /// The convolution that a node is, or a gradient of; `None` for other operators. `weight` are the
    /// dimensions of its weight.
    fn of(op: &Op, weight: &[usize]) -> Option<Geometry> {
        let (stride, dilation, pad, groups) = match op {
            Op::Conv2d(op) => (op.stride, op.dilation, op.pad, op.groups),
            Op::ConvTranspose2d(op) => (op.stride, op.dilation, op.pad, op.groups),
            Op::Conv2dWeightGrad(op) => (op.stride, op.dilation, op.pad, op.groups),
            _ => return None,
        };
        let kernel = [*weight.get(2)?, *weight.get(3)?];
        Some(Geometry { kernel, stride, dilation, padding: [pad[0], pad[1]], groups })
    }
}

/// What the groups of a training graph would like of their operands' places.
pub(in crate::compile) fn wishes(group: &TrainingGroup, places: &mut Places<'_>) {
    match group {
        TrainingGroup::Conv { node } => {
            let node = places.graph().node(*node);
            if let Op::Conv2d(op) = &node.op {
                let [x, weight] = [0, 1].map(|at| places.dims(node.inputs[at]));
                let result = places.dims(node.outputs[0]);
                wish_padding(places, node.inputs[0], op, &x, &weight, &result);
            }
        }
        TrainingGroup::WeightGrad { node, .. } => {
            let node = places.graph().node(*node);
            if let Op::Conv2dWeightGrad(op) = &node.op {
                let [x, dy] = [0, 1].map(|at| places.dims(node.inputs[at]));
                let weight = [0, 0, op.kernel[0], op.kernel[1]];
                wish_padding(places, node.inputs[0], &op.forward(), &x, &weight, &dy);
            }
            for id in &node.inputs {
                places.wish_zeros_between_rows(*id);
            }
        }
        TrainingGroup::InputGrad { node, .. } => {
            let node = places.graph().node(*node);
            let [dy, weight] = [0, 1].map(|at| places.dims(node.inputs[at]));
            let result = places.dims(node.outputs[0]);
            let dense = |d: &[usize]| Planar::dense(d[0], d[1], d[2], d[3]);
            if let Some(geometry) = Geometry::of(&node.op, &weight) {
                let spec = geometry.spec(dense(&result), dense(&dy));
                let halo = ConvInputGrad::wanted_halo(&spec);
                let sane = halo.top.max(halo.bottom) <= dy[2] && halo.left.max(halo.right) <= dy[3];
                if sane {
                    places.wish_halo(node.inputs[0], halo);
                }
            }
        }
        TrainingGroup::Norm(_)
        | TrainingGroup::NormGrad(_)
        | TrainingGroup::MapGrad { .. }
        | TrainingGroup::MaxPoolGrad { .. }
        | TrainingGroup::ChannelSum { .. } => {}
    }
}

/// As for any convolution, a border wider than the picture itself is left to the kernel's copy.
fn wish_padding(
    places: &mut Places<'_>,
    id: TensorId,
    op: &Conv2d,
    x: &[usize],
    weight: &[usize],
    result: &[usize],
) {
    let halo = padding(op, x, [weight[2], weight[3]], [result[2], result[3]]);
    if halo.top.max(halo.bottom) <= x[2] && halo.left.max(halo.right) <= x[3] {
        places.wish_halo(id, halo);
    }
}

impl<'g> Lowering<'g> {
    /// Adds the steps that compute a group; false where no kernel can.
    pub(in crate::compile) fn training(
        &mut self,
        group: &TrainingGroup,
    ) -> Result<bool, CompileError> {
        match group {
            TrainingGroup::Conv { node } => self.trained_conv(*node),
            TrainingGroup::Norm(norm) => self.norm(norm),
            TrainingGroup::NormGrad(grad) => self.norm_grad(grad),
            TrainingGroup::InputGrad { node, added, result } => {
                self.input_grad(*node, *added, *result)
            }
            TrainingGroup::WeightGrad { node, norm } => self.weight_grad(*node, norm.as_ref()),
            TrainingGroup::MapGrad { node, x, activation } => self.map_grad(*node, *x, *activation),
            TrainingGroup::MaxPoolGrad { node } => self.max_pool_grad(*node),
            TrainingGroup::ChannelSum { node } => self.channel_sum(*node),
        }
    }

    fn push_training(&mut self, nodes: &[NodeId], kernel: TrainingKernel) {
        self.push(nodes, Kernel::Training(Box::new(kernel)));
    }

    fn kernel_error(&self, node: NodeId) -> impl Fn(KernelError) -> CompileError + use<> {
        let node = self.graph.node_label(node);
        move |source| CompileError::Kernel { node: node.clone(), source }
    }

    /// An operand without gaps, copied where it has some.
    fn vector(&mut self, id: TensorId, name: &str) -> Result<View, CompileError> {
        let view = self.operand(id)?;
        if view.is_dense() {
            return Ok(view);
        }
        let dense = self.places.dense(view.dtype, &view.dims);
        self.copy(name, &view, &dense);
        Ok(dense)
    }

    /// A result as a picture, and what it has to be copied to afterwards, if it must be.
    fn picture_result(&mut self, id: TensorId, reads: &[usize]) -> (View, Planar, Option<View>) {
        let view = self.places.allocate(id, reads);
        if let Some(planar) = view.as_planar() {
            return (view, planar, None);
        }
        let [images, channels, height, width] =
            [0, 1, 2, 3].map(|axis| view.dims.get(axis).copied().unwrap_or(1));
        let planar = Planar::dense(images, channels, height, width);
        let own = View { dims: view.dims.clone(), ..self.places.picture(planar) };
        (own, planar, Some(view))
    }

    /// Whether a kernel that writes all of a picture should clear its border as well; then nobody
    /// else does.
    fn takes_over_border(&mut self, view: &View, planar: &Planar) -> bool {
        match self.places.buffers.get_mut(view.region) {
            Some(buffer) if buffer.border == Some(*planar) => {
                buffer.border = None;
                true
            }
            _ => false,
        }
    }

    /// A buffer for packed weights, as a view.
    fn packed_buffer(&mut self, len: usize) -> View {
        let region = self.places.segment(len);
        View::dense(region, DType::F32, &[len])
    }

    fn trained_conv(&mut self, id: NodeId) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let name = self.graph.node_label(id);
        let (x, input) = self.picture(node.inputs[0], &name)?;
        let weights = self.vector(node.inputs[1], &name)?;
        let Some(geometry) = Geometry::of(&node.op, &weights.dims) else { return Ok(false) };
        let bias = match node.inputs.get(2) {
            Some(&bias) => Some(self.vector(bias, &name)?),
            None => None,
        };
        if bias.as_ref().is_some_and(|bias| bias.first != 0) {
            return Ok(false);
        }
        let (y, output, copy) = self.picture_result(node.outputs[0], &[x.region]);
        let spec = geometry.spec(input, output);
        let choice = Choice { node: id.index(), size: spec.size };
        let form = self.store.form(choice, &spec, self.isa);
        let conv = Conv::new(ConvSpec { form, ..spec }, self.isa).map_err(self.kernel_error(id))?;
        self.store.choose(choice, conv.form());
        let layout = WeightLayout::forward(conv.spec());
        let weights = self.packed_at_run(id, weights, conv.packing(), layout);
        let workspace = self.places.workspace(conv.workspace_len());
        let kernel = FastKernel {
            weights: Some(weights),
            bias: bias.map(|bias| bias.region),
            workspace,
            ..FastKernel::new(Prepared::Conv(Box::new(conv)), x, y.clone())
        };
        self.push(&[id], Kernel::Fast(Box::new(kernel)));
        self.copy_result(&name, &y, copy);
        Ok(true)
    }

    /// The region of weights packed at every run: their own, where they are read as they are.
    pub(in crate::compile) fn packed_at_run(
        &mut self,
        node: NodeId,
        weights: View,
        packing: &Packing,
        layout: WeightLayout,
    ) -> usize {
        if packing.is_plain() && layout.is_dense() && weights.first == 0 {
            return weights.region;
        }
        let packed = self.packed_buffer(packing.packed_len());
        let prepared = TrainingPrepared::Pack(packing.clone(), layout);
        let region = packed.region;
        self.push_packing(node, TrainingKernel::new(prepared, vec![weights], vec![packed]));
        region
    }

    /// A step that counts no products.
    fn push_packing(&mut self, node: NodeId, kernel: TrainingKernel) {
        let name = self.graph.node_label(node);
        self.push_named(name, Kernel::Training(Box::new(kernel)), 0);
    }

    fn norm(&mut self, norm: &Norm) -> Result<bool, CompileError> {
        let node = self.graph.node(norm.node);
        let name = self.graph.node_label(norm.node);
        let eps = match &node.op {
            Op::BatchNormTrain(op) => op.eps,
            Op::BatchNorm(op) => op.eps,
            _ => return Ok(false),
        };
        let (x, input) = self.picture(node.inputs[0], &name)?;
        let mut reads = vec![x];
        // Gamma and beta; with given statistics those too.
        for &id in &node.inputs[1..] {
            reads.push(self.vector(id, &name)?);
        }
        let residual = match norm.residual {
            Some(residual) => {
                let (view, planar) = self.picture(residual, &name)?;
                reads.push(view);
                Some(planar)
            }
            None => None,
        };
        let regions: Vec<usize> = reads.iter().map(|view| view.region).collect();
        let (y, output, copy) = self.picture_result(norm.result, &regions);
        let mut writes = vec![y.clone()];
        for &id in &node.outputs[1..] {
            writes.push(self.places.allocate(id, &regions));
        }
        let spec = BatchNormSpec {
            input,
            output,
            eps,
            activation: norm.activation,
            residual,
            tail: norm.tail,
        };
        let clears = self.takes_over_border(&y, &output);
        let error = self.kernel_error(norm.node);
        let prepared = match &node.op {
            Op::BatchNorm(_) => {
                let kernel = BatchNormAgain::new(spec, self.isa).map_err(error)?;
                let kernel = if clears { kernel.clearing() } else { kernel };
                TrainingPrepared::BatchNormAgain(Box::new(kernel))
            }
            _ => {
                let kernel = BatchNormTrain::new(spec, self.isa).map_err(error)?;
                let kernel = if clears { kernel.clearing() } else { kernel };
                TrainingPrepared::BatchNorm(Box::new(kernel))
            }
        };
        let nodes: Vec<NodeId> =
            [norm.node].into_iter().chain(norm.taken.iter().copied()).collect();
        let extras = extras(norm.residual.is_some(), norm.activation, norm.tail);
        let kernel = TrainingKernel { extras, ..TrainingKernel::new(prepared, reads, writes) };
        self.push_training(&nodes, kernel);
        self.copy_result(&name, &y, copy);
        Ok(true)
    }

    fn norm_grad(&mut self, grad: &NormGrad) -> Result<bool, CompileError> {
        let node = self.graph.node(grad.node);
        let name = self.graph.node_label(grad.node);
        let Op::BatchNormGrad(op) = &node.op else { return Ok(false) };
        let (x, input) = self.picture(node.inputs[0], &name)?;
        let (dy, gradient) = self.picture_of_any_rank(grad.gradient, &name)?;
        let mut reads = vec![x, dy];
        for id in [node.inputs[2], grad.beta, node.inputs[3], node.inputs[4]] {
            reads.push(self.vector(id, &name)?);
        }
        let regions: Vec<usize> = reads.iter().map(|view| view.region).collect();
        let (dx, output, copy) = self.picture_result(node.outputs[0], &regions);
        let mut writes = vec![dx.clone()];
        let mut copies = Vec::new();
        for id in [node.outputs[1], node.outputs[2]].into_iter().chain(grad.bias) {
            let (view, copy) = self.dense_result(id, &regions);
            copies.push((view.clone(), copy));
            writes.push(view);
        }
        let spec = BatchNormSpec {
            input,
            output: gradient,
            eps: op.eps,
            activation: grad.activation,
            residual: None,
            tail: grad.tail,
        };
        let kernel = BatchNormGrad::new(spec, gradient, output, self.isa);
        let kernel = kernel.map_err(self.kernel_error(grad.node))?;
        let kernel = if self.takes_over_border(&dx, &output) { kernel.clearing() } else { kernel };
        let nodes: Vec<NodeId> =
            [grad.node].into_iter().chain(grad.taken.iter().copied()).collect();
        let prepared = TrainingPrepared::BatchNormGrad(Box::new(kernel));
        let mut extras = extras(false, grad.activation, grad.tail);
        if grad.bias.is_some() {
            extras += " +bias";
        }
        let kernel = TrainingKernel { extras, ..TrainingKernel::new(prepared, reads, writes) };
        self.push_training(&nodes, kernel);
        self.copy_result(&name, &dx, copy);
        for (from, to) in copies {
            self.copy_result(&name, &from, to);
        }
        Ok(true)
    }

    /// A picture, or a matrix taken for pictures of one pixel.
    fn picture_of_any_rank(
        &mut self,
        id: TensorId,
        name: &str,
    ) -> Result<(View, Planar), CompileError> {
        let view = self.operand(id)?;
        if let Some(planar) = view.as_planar() {
            return Ok((view, planar));
        }
        if view.dims.len() == 4 {
            return self.picture(id, name);
        }
        let dense = self.places.dense(view.dtype, &view.dims);
        self.copy(name, &view, &dense);
        let planar = dense.as_planar();
        let planar = planar.ok_or_else(|| CompileError::Plan(format!("{name}: no picture")))?;
        Ok((dense, planar))
    }

    fn input_grad(
        &mut self,
        id: NodeId,
        added: Option<(NodeId, TensorId)>,
        result: TensorId,
    ) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        if node.inputs.len() > 2 {
            return Ok(false);
        }
        let name = self.graph.node_label(id);
        let (dy, gradient) = self.picture(node.inputs[0], &name)?;
        let weights = self.vector(node.inputs[1], &name)?;
        let Some(geometry) = Geometry::of(&node.op, &weights.dims) else { return Ok(false) };
        let other = match added {
            Some((_, other)) => Some(self.picture(other, &name)?),
            None => None,
        };
        let mut regions = vec![dy.region, weights.region];
        regions.extend(other.as_ref().map(|(view, _)| view.region));
        let (dx, output, copy) = self.picture_result(result, &regions);
        // The groups go by the gradient's channels.
        let groups = group_count(geometry.groups, gradient.channels);
        let spec = ConvSpec { groups, ..geometry.spec(output, gradient) };
        let layout = other.as_ref().map(|(_, planar)| *planar);
        let form = ConvInputGrad::direct(&spec, layout).and_then(|direct| {
            let choice = Choice { node: id.index(), size: direct.size };
            self.store.form(choice, &direct, self.isa)
        });
        let grad = ConvInputGrad::new(ConvSpec { form, ..spec }, layout, self.isa);
        let grad = Arc::new(grad.map_err(self.kernel_error(id))?);
        let packed = self.packed_buffer(grad.packed_len());
        let prepared = TrainingPrepared::PackInputGrad(grad.clone());
        let writes = vec![packed.clone()];
        self.push_packing(id, TrainingKernel::new(prepared, vec![weights], writes));
        let workspace = self.places.workspace(grad.workspace_len());
        let mut reads = vec![dy, packed];
        reads.extend(other.map(|(view, _)| view));
        let extras = if added.is_some() { " +add" } else { "" };
        let kernel = TrainingKernel {
            workspace,
            extras: extras.to_string(),
            ..TrainingKernel::new(TrainingPrepared::InputGrad(grad), reads, vec![dx.clone()])
        };
        let nodes: Vec<NodeId> = [id].into_iter().chain(added.map(|(sum, _)| sum)).collect();
        self.push_training(&nodes, kernel);
        self.copy_result(&name, &dx, copy);
        Ok(true)
    }

    fn weight_grad(&mut self, id: NodeId, norm: Option<&Norm>) -> Result<bool, CompileError> {
        if let Some(norm) = norm {
            if self.normalising_weight_grad(id, norm)? {
                return Ok(true);
            }
            if !self.norm(norm)? {
                return Ok(false);
            }
        }
        let node = self.graph.node(id);
        let name = self.graph.node_label(id);
        let result = self.places.dims(node.outputs[0]);
        let Some(geometry) = Geometry::of(&node.op, &result) else { return Ok(false) };
        let (x, input) = self.picture(node.inputs[0], &name)?;
        let (dy, gradient) = self.picture(node.inputs[1], &name)?;
        let grad = ConvWeightGrad::new(geometry.spec(input, gradient), self.isa);
        let grad = grad.map_err(self.kernel_error(id))?;
        self.push_weight_grad(&[id], grad, vec![x, dy], String::new());
        Ok(true)
    }

    /// The gradient of a convolution's weight with an input that is made on the way from what a
    /// normalisation read; false where no kernel does that.
    fn normalising_weight_grad(&mut self, id: NodeId, norm: &Norm) -> Result<bool, CompileError> {
        let (node, normalised) = (self.graph.node(id), self.graph.node(norm.node));
        let (name, result) = (self.graph.node_label(id), self.places.dims(node.outputs[0]));
        let Op::BatchNorm(op) = &normalised.op else { return Ok(false) };
        let Some(geometry) = Geometry::of(&node.op, &result) else { return Ok(false) };
        let x = self.operand(normalised.inputs[0])?;
        let Some(input) = x.as_planar() else { return Ok(false) };
        let (dy, gradient) = self.picture(node.inputs[1], &name)?;
        let spec = geometry.spec(input, gradient);
        let grad = ConvWeightGrad::normalising(spec, op.eps, norm.activation, self.isa);
        let Some(grad) = grad.map_err(self.kernel_error(id))? else { return Ok(false) };
        let mut reads = vec![x, dy];
        for &id in &normalised.inputs[1..] {
            reads.push(self.vector(id, &name)?);
        }
        let nodes = [&[norm.node], &norm.taken[..], &[id]].concat();
        let extras = format!(" +norm{}", extras(false, norm.activation, norm.tail));
        self.push_weight_grad(&nodes, grad, reads, extras);
        Ok(true)
    }

    /// The step of the last of `nodes`, whose operands come first in `reads`.
    fn push_weight_grad(
        &mut self,
        nodes: &[NodeId],
        grad: ConvWeightGrad,
        reads: Vec<View>,
        extras: String,
    ) {
        let Some(&id) = nodes.last() else { return };
        let regions: Vec<usize> = reads.iter().map(|view| view.region).collect();
        let (dw, copy) = self.dense_result(self.graph.node(id).outputs[0], &regions);
        let workspace = self.places.workspace(grad.workspace_len());
        let prepared = TrainingPrepared::WeightGrad(Box::new(grad));
        let kernel = TrainingKernel {
            workspace,
            extras,
            ..TrainingKernel::new(prepared, reads, vec![dw.clone()])
        };
        self.push_training(nodes, kernel);
        self.copy_result(&self.graph.node_label(id), &dw, copy);
    }

    fn map_grad(
        &mut self,
        id: NodeId,
        x: TensorId,
        activation: Activation,
    ) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let name = self.graph.node_label(id);
        let (x, input) = self.picture(x, &name)?;
        let (dy, gradient) = self.picture(node.inputs[1], &name)?;
        let (dx, output, copy) = self.picture_result(node.outputs[0], &[x.region, dy.region]);
        let grad = MapGrad::new(input, gradient, output, activation, self.isa);
        let grad = grad.map_err(self.kernel_error(id))?;
        let prepared = TrainingPrepared::MapGrad(Box::new(grad));
        let kernel = TrainingKernel {
            extras: extras(false, activation, Tail::Store),
            ..TrainingKernel::new(prepared, vec![x, dy], vec![dx.clone()])
        };
        self.push_training(&[id], kernel);
        self.copy_result(&name, &dx, copy);
        Ok(true)
    }

    fn max_pool_grad(&mut self, id: NodeId) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let name = self.graph.node_label(id);
        let Op::MaxPoolGrad(pool) = &node.op else { return Ok(false) };
        let (x, input) = self.picture(node.inputs[0], &name)?;
        let (dy, gradient) = self.picture(node.inputs[1], &name)?;
        let (dx, output, copy) = self.picture_result(node.outputs[0], &[x.region, dy.region]);
        let spec = PoolSpec {
            input,
            output: gradient,
            kind: PoolKind::Max,
            kernel: pool.kernel,
            stride: pool.stride,
            dilation: pool.dilation,
            padding_begin: [pool.pad[0], pool.pad[1]],
            padding_end: [pool.pad[2], pool.pad[3]],
        };
        let grad = MaxPoolGrad::new(spec, output, self.isa).map_err(self.kernel_error(id))?;
        let prepared = TrainingPrepared::MaxPoolGrad(Box::new(grad));
        let kernel = TrainingKernel::new(prepared, vec![x, dy], vec![dx.clone()]);
        self.push_training(&[id], kernel);
        self.copy_result(&name, &dx, copy);
        Ok(true)
    }

    fn channel_sum(&mut self, id: NodeId) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let name = self.graph.node_label(id);
        let (x, input) = self.picture(node.inputs[0], &name)?;
        let (sums, copy) = self.dense_result(node.outputs[0], &[x.region]);
        let sum = ChannelSum::new(input, self.isa).map_err(self.kernel_error(id))?;
        let prepared = TrainingPrepared::ChannelSum(Box::new(sum));
        let kernel = TrainingKernel::new(prepared, vec![x], vec![sums.clone()]);
        self.push_training(&[id], kernel);
        self.copy_result(&name, &sums, copy);
        Ok(true)
    }
}

/// What a step does beyond its name, for people.
fn extras(residual: bool, activation: Activation, tail: Tail) -> String {
    let mut text = String::new();
    if residual {
        text += " +residual";
    }
    if activation != Activation::Identity {
        let name = format!("{activation:?}").to_lowercase();
        text += " +";
        text += name.split(' ').next().unwrap_or_default();
    }
    match tail {
        Tail::Store => {}
        Tail::MaxPool2 => text += " +pool",
        Tail::GlobalAverage => text += " +average",
    }
    text
}
