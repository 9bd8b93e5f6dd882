//! Groups to steps: the walk over the graph that places tensors, prepares kernels, packs weights
//! and lays out the memory.

use bunjae_ir::op::Unary;
use bunjae_ir::{Bindings, Convention, Graph, NodeId, Op, Source, TensorId, resolve_range};
use bunjae_kernels::Isa;
use bunjae_tensor::{DType, Tensor};

use super::arena::{Lifetime, place};
use super::block::blocks;
use super::fuse::{Fused, Group, groups};
use super::places::{Buffer, Places, dims};
use super::store::Store;
use super::{Layout, Target};
use crate::error::CompileError;
use crate::runtime::generic;
use crate::runtime::memory::ALIGN;
use crate::runtime::model::{Parts, Port};
use crate::runtime::step::{FastKernel, Kernel, Prepared, Step};
use crate::runtime::view::{Region, Space, View};

/// Pictures with a border have memory of their own, cleared once, as long as all of it together is
/// no more than this many bytes; past it they share memory and are cleared at each run. A few times
/// a second-level cache: sharing keeps a network in the cache, clearing takes a tenth of the time of
/// one with many small pictures.
const OWN_BORDERS: usize = 8 << 20;

/// The largest arena that is planned.
const MAX_ARENA: usize = bunjae_tensor::MAX_BYTES;

/// Where the operand of a step lies while buffers are being made: weights have regions of their
/// own, numbered from this on.
const WEIGHTS: usize = 1 << 40;

/// The walk.
pub(super) struct Lowering<'g> {
    pub(super) graph: &'g Graph,
    pub(super) isa: Isa,
    pub(super) places: Places<'g>,
    steps: Vec<Step>,
    /// The weights that steps read; the region of the first is [`WEIGHTS`].
    weights: Vec<Tensor>,
    /// The region of each weight that is used as it is.
    plain_weights: Vec<Option<usize>>,
    /// Multiply-accumulates of each node.
    macs: Vec<u64>,
    /// What models of one network have in common.
    pub(super) store: &'g mut Store,
}

/// Compiles a graph whose sizes are known. What the store holds is used, and what it lacks is made
/// and kept there.
pub(super) fn lower(
    graph: &Graph,
    target: Target,
    store: &mut Store,
    layout: &Layout,
) -> Result<Parts, CompileError> {
    let groups = blocks(graph, target.isa, groups(graph));
    let cost = graph.cost(&Bindings::new(), Convention::Exact);
    let macs = match cost {
        Ok(cost) => cost.nodes.iter().map(|node| node.macs).collect(),
        // Too many to count; the figures are only shown to people.
        Err(_) => vec![0; graph.nodes().len()],
    };
    let mut lowering = Lowering {
        graph,
        isa: target.isa,
        places: Places::new(graph, &groups),
        steps: Vec::new(),
        weights: Vec::new(),
        plain_weights: vec![None; graph.value_count()],
        macs,
        store,
    };
    let (inputs, parameters) = inputs_of(graph, layout);
    for &input in inputs {
        lowering.places.allocate(input, &[]);
    }
    let mut pinned = Vec::new();
    let gradients = layout.gradients.iter().map(|&at| graph.outputs()[at].tensor);
    let gradients: Vec<TensorId> = gradients.collect();
    for (ids, block) in [(parameters, 0), (gradients.as_slice(), layout.len)] {
        for (&id, segment) in ids.iter().zip(&layout.segments) {
            let buffer = lowering.places.segment(segment.len);
            let ready =
                matches!(graph.value(id).source, Source::Weight { .. }) || inputs.contains(&id);
            if !ready {
                let view = View::dense(buffer, DType::F32, &segment.shape);
                lowering.places.alias(id, view);
            }
            pinned.push((buffer, (block + segment.start) * size_of::<f32>()));
        }
    }
    for group in &groups {
        lowering.group(group)?;
    }
    // A gradient that is a view of another tensor, a constant, or two at once, has to be brought to its place.
    let first_gradient = layout.segments.len();
    for (at, (&id, segment)) in gradients.iter().zip(&layout.segments).enumerate() {
        let view = lowering.operand(id)?;
        let own = View::dense(pinned[first_gradient + at].0, view.dtype, &segment.shape);
        if view.region != own.region {
            lowering.copy(&segment.name, &view, &own);
        }
    }
    lowering.finish(target, layout, &pinned)
}

impl<'g> Lowering<'g> {
    fn group(&mut self, group: &Group) -> Result<(), CompileError> {
        match group {
            Group::Fused(fused) => self.fused_or_single(fused),
            Group::Block(block) => {
                if !self.block(block)? {
                    for part in block.parts() {
                        self.fused_or_single(part)?;
                    }
                }
                Ok(())
            }
            Group::Training(group) => {
                if !self.training(group)? {
                    for id in group.nodes() {
                        self.single(id)?;
                    }
                }
                Ok(())
            }
            Group::Single(id) => self.single(*id),
        }
    }

    fn fused_or_single(&mut self, fused: &Fused) -> Result<(), CompileError> {
        if !self.fused(fused)? {
            // The base by itself, then what it took in: a fused group that no kernel computes is a
            // chain of single nodes.
            for id in fused.nodes() {
                self.single(id)?;
            }
        }
        Ok(())
    }

    fn single(&mut self, id: NodeId) -> Result<(), CompileError> {
        let node = self.graph.node(id);
        if let Op::Concat(op) = &node.op {
            return self.concat(id, op.axis);
        }
        if self.view_of(id)? || self.fast(id)? {
            return Ok(());
        }
        self.plain(id)
    }

    /// The view of an operand, which has a place as nodes come in topological order.
    pub(super) fn operand(&mut self, id: TensorId) -> Result<View, CompileError> {
        if let Some(view) = self.places.get(id) {
            return Ok(view.clone());
        }
        let Some(tensor) = self.graph.weight_tensor(id) else {
            return Err(CompileError::Plan(format!("{} has no place", self.graph.label(id))));
        };
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        let region = match self.plain_weights[id.index()] {
            Some(region) => region,
            None => {
                let region = self.add_weight(tensor.clone());
                self.plain_weights[id.index()] = Some(region);
                region
            }
        };
        Ok(View::dense(region, dtype, shape))
    }

    /// Adds a weight as a kernel wants it, and returns its region.
    pub(super) fn add_weight(&mut self, tensor: Tensor) -> usize {
        self.weights.push(tensor);
        WEIGHTS + self.weights.len() - 1
    }

    /// A weight.
    pub(super) fn weight(&self, id: TensorId) -> Result<&'g Tensor, CompileError> {
        let missing = || CompileError::Plan(format!("{} is no weight", self.graph.label(id)));
        self.graph.weight_tensor(id).ok_or_else(missing)
    }

    /// The elements of an f32 weight.
    pub(super) fn weight_elements(&self, id: TensorId) -> Result<&'g [f32], CompileError> {
        self.weight(id)?
            .elements::<f32>()
            .map_err(|source| CompileError::Weight { weight: self.graph.label(id), source })
    }

    /// Adds a step that computes the given nodes.
    pub(super) fn push(&mut self, nodes: &[NodeId], kernel: Kernel) {
        let names: Vec<String> = nodes.iter().map(|id| self.graph.node_label(*id)).collect();
        let macs = nodes.iter().map(|id| self.macs[id.index()]).sum();
        self.push_named(names.join(" + "), kernel, macs);
    }

    pub(super) fn push_named(&mut self, name: String, kernel: Kernel, macs: u64) {
        let mut step = Step { name, kernel, reads: Vec::new(), writes: Vec::new(), macs };
        let (reads, writes) = match &step.kernel {
            Kernel::Fast(kernel) => {
                let reads = [Some(kernel.input.region), kernel.second.as_ref().map(|v| v.region)]
                    .into_iter()
                    .chain([kernel.weights, kernel.bias, kernel.slopes])
                    .flatten()
                    .collect();
                let writes = [Some(kernel.output.region), kernel.workspace];
                (reads, writes.into_iter().flatten().collect())
            }
            Kernel::Generic(kernel) => {
                // Every view is an operand or a result.
                let results: Vec<usize> =
                    kernel.results().into_iter().map(|view| view.region).collect();
                let regions = kernel.views().into_iter().map(|view| view.region);
                (regions.filter(|region| !results.contains(region)).collect(), results)
            }
            Kernel::Training(kernel) => {
                (kernel.reads.iter().map(|view| view.region).collect(), kernel.written())
            }
            Kernel::Port(_) => (Vec::new(), Vec::new()),
        };
        (step.reads, step.writes) = (reads, writes);
        step.reads.sort_unstable();
        step.reads.dedup();
        self.steps.push(step);
    }

    /// Copies a view to another.
    pub(super) fn copy(&mut self, name: &str, x: &View, y: &View) {
        let planar = (x.as_planar(), y.as_planar());
        let same_rank = x.dims.len() == y.dims.len();
        let kernel = match planar {
            (Some(from), Some(to)) if same_rank => bunjae_kernels::Copy::new(from, to).ok(),
            _ => None,
        };
        let kernel = match kernel {
            Some(copy) => {
                let fast = FastKernel::new(Prepared::Copy(copy), x.clone(), y.clone());
                Kernel::Fast(Box::new(fast))
            }
            None => Kernel::Generic(Box::new(generic::Copy::new(x, y).into())),
        };
        self.push_named(name.to_string(), kernel, 0);
    }

    /// A result without gaps, and what it has to be copied to afterwards, if it must be.
    pub(super) fn dense_result(&mut self, id: TensorId, reads: &[usize]) -> (View, Option<View>) {
        let view = self.places.allocate(id, reads);
        if view.is_dense() {
            return (view, None);
        }
        (self.places.dense(view.dtype, &view.dims), Some(view))
    }

    /// Brings a result to where it has to be, if that is elsewhere.
    pub(super) fn copy_result(&mut self, name: &str, from: &View, to: Option<View>) {
        if let Some(to) = to {
            self.copy(name, from, &to);
        }
    }

    /// Makes the results of an operator that moves nothing views of its operand.
    fn view_of(&mut self, id: NodeId) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let x_id = node.inputs[0];
        if !super::places::is_view(&node.op) {
            return Ok(false);
        }
        let x = self.operand(x_id)?;
        let result = self.places.dims(node.outputs[0]);
        let view = match &node.op {
            Op::Unary(Unary::Identity) | Op::Dropout(_) => Some(x.clone()),
            Op::Transpose(op) => Some(x.permuted(&op.perm)),
            Op::Split(op) => {
                let mut start = 0;
                for (&output, &len) in node.outputs.iter().zip(&op.sizes) {
                    self.places.alias(output, x.range(op.axis, start, len, 1));
                    start += len;
                }
                return Ok(true);
            }
            Op::Slice(op) => {
                let mut view = x.clone();
                for range in &op.ranges {
                    let (start, len, step) =
                        resolve_range(range, x.dims[range.axis]).map_err(|source| {
                            bunjae_ir::GraphError::Node {
                                node: self.graph.node_label(id),
                                op: node.op.name(),
                                source,
                            }
                        })?;
                    view = view.range(range.axis, start, len, step as isize);
                }
                Some(view)
            }
            _ => x.reshaped(&result),
        };
        match view {
            Some(view) => self.places.alias(node.outputs[0], view),
            // The elements have to be brought into order first.
            None => {
                let y = self.places.allocate(node.outputs[0], &[x.region]);
                match y.reshaped(&x.dims) {
                    Some(y) => self.copy(&self.graph.node_label(id), &x, &y),
                    None => {
                        let dense = self.places.dense(x.dtype, &x.dims);
                        self.copy(&self.graph.node_label(id), &x, &dense);
                        let regrouped = View::dense(dense.region, x.dtype, &result);
                        self.copy(&self.graph.node_label(id), &regrouped, &y);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Copies those operands that were not written in their places.
    fn concat(&mut self, id: NodeId, axis: usize) -> Result<(), CompileError> {
        let node = self.graph.node(id);
        let inputs = node.inputs.iter().map(|&input| self.operand(input));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let reads: Vec<usize> = match self.places.get(node.outputs[0]) {
            // Some operands have been written into it, which is why it may be among the reads.
            Some(_) => Vec::new(),
            None => inputs.iter().map(|view| view.region).collect(),
        };
        let y = self.places.allocate(node.outputs[0], &reads);
        let mut start = 0;
        for x in &inputs {
            let part = y.range(axis, start, x.dims[axis], 1);
            start += x.dims[axis];
            let in_place =
                part.region == x.region && part.first == x.first && part.strides == x.strides;
            if in_place {
                continue;
            }
            if x.region == y.region {
                // Another part of the same memory: by way of a copy.
                let aside = self.places.dense(x.dtype, &x.dims);
                self.copy(&self.graph.node_label(id), x, &aside);
                self.copy(&self.graph.node_label(id), &aside, &part);
            } else {
                self.copy(&self.graph.node_label(id), x, &part);
            }
        }
        Ok(())
    }

    /// The first and last step that uses each buffer. Inputs are loaded before the first step, and
    /// outputs fetched after the last.
    fn lifetimes(&self) -> Vec<Lifetime> {
        let new = |buffer: &Buffer| Lifetime { first: usize::MAX, last: 0, len: buffer.len };
        let mut lifetimes: Vec<Lifetime> = self.places.buffers.iter().map(new).collect();
        for (index, step) in self.steps.iter().enumerate() {
            for &region in step.reads.iter().chain(&step.writes).filter(|region| **region < WEIGHTS)
            {
                let lifetime = &mut lifetimes[region];
                lifetime.first = lifetime.first.min(index);
                lifetime.last = lifetime.last.max(index);
            }
        }
        for &id in self.graph.inputs() {
            if let Some(view) = self.places.get(id) {
                lifetimes[view.region].first = 0;
            }
        }
        for output in self.graph.outputs() {
            if let Some(view) = self.places.get(output.tensor) {
                lifetimes[view.region].last = usize::MAX;
            }
        }
        lifetimes
    }

    /// Lays out the memory and hands over the parts of the model.
    fn finish(
        mut self,
        target: Target,
        layout: &Layout,
        pinned: &[(usize, usize)],
    ) -> Result<Parts, CompileError> {
        let outputs_of = outputs_of(self.graph, layout);
        // An output that is a weight is read from where the weights are.
        for output in self.graph.outputs() {
            if self.places.get(output.tensor).is_none() {
                self.operand(output.tensor)?;
            }
        }
        let loaded: Vec<usize> = inputs_of(self.graph, layout)
            .0
            .iter()
            .filter_map(|&id| self.places.get(id).map(|view| view.region))
            .collect();
        check_sum(self.places.buffers.iter().map(|buffer| buffer.len), layout.bytes())?;
        let budget = if target.compact { 0 } else { OWN_BORDERS };
        let cleared = self.let_convolutions_clear();
        let shelves = shelves(&self.places.buffers, &self.lifetimes(), &cleared, &loaded, budget);
        self.clear_borders(&shelves, cleared);
        let buffers = self.places.buffers.clone();
        let mut lifetimes = self.lifetimes();
        let port = |id: TensorId, name: String, view: View| Port {
            name,
            dtype: view.dtype,
            shape: dims(self.graph, id),
            dense: View::dense(0, view.dtype, &view.dims),
            view,
        };
        let mut inputs = Vec::new();
        for &id in inputs_of(self.graph, layout).0 {
            let view = self.places.get(id).cloned();
            let view = view.ok_or_else(|| CompileError::Plan("an input has no place".into()))?;
            inputs.push(port(id, self.graph.label(id), view));
        }
        let mut outputs = Vec::new();
        for output in outputs_of {
            let view = match self.places.get(output.tensor) {
                Some(view) => view.clone(),
                None => self.operand(output.tensor)?,
            };
            outputs.push(port(output.tensor, output.name.clone(), view));
        }
        // A shelf is one piece of memory that nobody else uses; its first buffer stands for all.
        for shelf in &shelves {
            for &buffer in &shelf.buffers {
                lifetimes[buffer] = Lifetime { first: usize::MAX, last: 0, len: 0 };
            }
            if let Some(&first) = shelf.buffers.first() {
                lifetimes[first] = Lifetime { first: 0, last: usize::MAX, len: shelf.len };
            }
        }
        // Parameters stay from one run to the next. Gradients stay after a run: until the first step
        // that writes them, their places serve other buffers.
        for &(buffer, start) in pinned {
            if start < layout.bytes() / 2 {
                lifetimes[buffer].first = 0;
            }
            lifetimes[buffer].last = usize::MAX;
        }
        let (mut starts, arena_len) = place(&lifetimes, pinned, ALIGN);
        for shelf in &shelves {
            for &buffer in &shelf.buffers {
                starts[buffer] = starts[shelf.buffers[0]];
            }
        }
        let arena_len = arena_len.max(layout.bytes());
        if arena_len > MAX_ARENA {
            return Err(CompileError::Memory { bytes: arena_len, limit: MAX_ARENA });
        }
        let mut regions: Vec<Region> = starts
            .iter()
            .zip(&buffers)
            .map(|(&start, buffer)| Region { space: Space::Arena, start, len: buffer.len })
            .collect();
        let first_weight = regions.len();
        let of = |(at, weight): (usize, &Tensor)| Region {
            space: Space::Weight(at),
            start: 0,
            len: weight.bytes().len(),
        };
        regions.extend(self.weights.iter().enumerate().map(of));
        let renumber = |region: &mut usize| {
            if *region >= WEIGHTS {
                *region = *region - WEIGHTS + first_weight;
            }
        };
        for step in &mut self.steps {
            step.regions_mut().for_each(renumber);
        }
        for port in &mut outputs {
            renumber(&mut port.view.region);
        }
        Ok(Parts {
            name: self.graph.name.clone(),
            isa: self.isa,
            threads: target.threads.max(1),
            inputs,
            outputs,
            steps: self.steps,
            regions,
            weights: self.weights,
            arena_len,
            resident_len: layout.bytes() / size_of::<f32>(),
        })
    }

    /// Has every convolution that can clear the border of its result, and is the only step that writes
    /// it. Returns which buffers need nothing else: these can share memory like those without a border.
    fn let_convolutions_clear(&mut self) -> Vec<bool> {
        let mut writers = vec![0; self.places.buffers.len()];
        for &region in self.steps.iter().flat_map(|step| &step.writes) {
            writers[region] += 1;
        }
        let mut cleared = vec![false; self.places.buffers.len()];
        for step in &mut self.steps {
            if let Kernel::Fast(kernel) = &mut step.kernel
                && let Prepared::Conv(conv) = &mut kernel.prepared
                && let region = kernel.output.region
                && let Some(border) = self.places.buffers[region].border
                && kernel.output == View::planar(region, &border)
                && writers[region] == 1
            {
                cleared[region] = conv.clear_halo(border.halo);
            }
        }
        cleared
    }

    /// Before the first step that writes a picture with a border, a step that clears the border,
    /// unless the picture lies on a shelf.
    fn clear_borders(&mut self, shelves: &[Shelf], mut cleared: Vec<bool>) {
        for &buffer in shelves.iter().flat_map(|shelf| &shelf.buffers) {
            cleared[buffer] = true;
        }
        for step in std::mem::take(&mut self.steps) {
            for &region in &step.writes {
                if let Some(planar) = self.places.buffers[region].border
                    && !std::mem::replace(&mut cleared[region], true)
                {
                    let kernel = generic::Clear::new(region, planar).into();
                    self.push_named(step.name.clone(), Kernel::Generic(Box::new(kernel)), 0);
                }
            }
            self.steps.push(step);
        }
    }
}

/// Refuses buffers that even side by side have no number of bytes. Every place and every end that
/// is computed for them lies within their sum. That of each one has a number, as the graph's checks
/// bound its elements, and its border is at most as wide as the picture.
fn check_sum(mut lens: impl Iterator<Item = usize>, besides: usize) -> Result<(), CompileError> {
    let sum =
        lens.try_fold(besides, |sum, len| sum.checked_add(len.checked_next_multiple_of(ALIGN)?));
    let too_large = CompileError::Memory { bytes: usize::MAX, limit: MAX_ARENA };
    sum.map(|_| ()).ok_or(too_large)
}

/// The inputs of a graph that a run is given, and those that are parameters.
fn inputs_of<'g>(graph: &'g Graph, layout: &Layout) -> (&'g [TensorId], &'g [TensorId]) {
    let count = if layout.segments.is_empty() { graph.inputs().len() } else { layout.inputs };
    graph.inputs().split_at(count)
}

/// The outputs of a graph that a run is asked for.
fn outputs_of<'g>(graph: &'g Graph, layout: &Layout) -> Vec<&'g bunjae_ir::Output> {
    let outputs = graph.outputs().iter().enumerate();
    let own = outputs.filter(|(at, _)| !layout.gradients.contains(at));
    own.map(|(_, output)| output).collect()
}

/// Memory of its own for pictures of exactly the same layout that are never alive at once. Its
/// borders are cleared once, when a session is made: kernels leave a border of zeros as it is, and
/// nobody else writes here.
struct Shelf {
    buffers: Vec<usize>,
    /// Bytes.
    len: usize,
}

/// Shelves for pictures with borders that no convolution clears, the smallest first, as long as all of
/// them together take no more than `budget` bytes; pictures that are loaded before the first step
/// always get one, as no step could clear them.
fn shelves(
    buffers: &[Buffer],
    lifetimes: &[Lifetime],
    cleared: &[bool],
    loaded: &[usize],
    budget: usize,
) -> Vec<Shelf> {
    let mut order: Vec<usize> = (0..buffers.len())
        .filter(|&buffer| buffers[buffer].border.is_some() && !cleared[buffer])
        .collect();
    order.sort_by_key(|&buffer| (lifetimes[buffer].first, buffer));
    let mut shelves: Vec<Shelf> = Vec::new();
    for buffer in order {
        let fits = |shelf: &&mut Shelf| {
            let last = shelf.buffers.last().copied();
            last.is_some_and(|last| {
                buffers[last] == buffers[buffer] && lifetimes[last].last < lifetimes[buffer].first
            })
        };
        match shelves.iter_mut().find(fits) {
            Some(shelf) => shelf.buffers.push(buffer),
            None => shelves.push(Shelf { buffers: vec![buffer], len: buffers[buffer].len }),
        }
    }
    shelves.sort_by_key(|shelf| shelf.len);
    let mut total = 0;
    shelves.retain(|shelf| {
        total += shelf.len;
        total <= budget || shelf.buffers.iter().any(|buffer| loaded.contains(buffer))
    });
    shelves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_whose_sum_has_no_number_are_refused() {
        assert!(check_sum([usize::MAX / 4; 3].into_iter(), 1 << 30).is_ok());
        for lens in [vec![usize::MAX / 2; 3], vec![1, usize::MAX], vec![usize::MAX - 64, 1, 64]] {
            let refused = check_sum(lens.iter().copied(), 0);
            assert!(matches!(refused, Err(CompileError::Memory { .. })), "{lens:?}");
        }
        assert!(check_sum([64].into_iter(), usize::MAX - 63).is_err());
    }
}
