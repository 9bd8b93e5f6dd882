//! Where each tensor lives: buffers, layouts, and which tensors are parts or other views of one
//! another.
//!
//! Decided in two passes before any step is made. Against the direction of the graph, the border
//! of zeros that each picture's consumers want is gathered; slices and splits of whole planes pass
//! it on. Along the graph, the operands of each concatenation are given their range of its result,
//! where nothing speaks against it, and the result takes over the borders they want.
//!
//! In the end pictures of the same size get rows the same distance apart: a kernel that finds its
//! operands and its result so runs over a whole plane as one long row, which on narrow pictures is
//! worth far more than the few pixels computed in the gaps.

use std::collections::BTreeMap;

use bunjae_ir::op::{Concat, Conv2d};
use bunjae_ir::{Graph, Op, Source, TensorId};
use bunjae_kernels::{Halo, Planar};
use bunjae_tensor::DType;

use super::fuse::{Fused, Group};
use super::train::wishes;
use crate::runtime::view::View;

/// What is known about a tensor before it has a place.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    /// The border that its consumers want.
    halo: Halo,
    /// Pixels between its rows, which need not be zero.
    gap: usize,
    /// Whether they do have to be.
    zero_gap: bool,
    /// Whether a consumer wants its elements without gaps.
    dense: bool,
    /// The concatenation that it is a part of, and where along the axis.
    part_of: Option<Part>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    whole: TensorId,
    axis: usize,
    start: usize,
}

/// Memory that tensors live in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Buffer {
    /// Bytes.
    pub len: usize,
    /// The layout whose border has to be zero.
    pub border: Option<Planar>,
}

/// The places of the tensors that have one so far.
pub(super) struct Places<'g> {
    graph: &'g Graph,
    wishes: Vec<Wish>,
    views: Vec<Option<View>>,
    pub buffers: Vec<Buffer>,
}

impl<'g> Places<'g> {
    /// Decides what every tensor would like.
    pub(super) fn new(graph: &'g Graph, groups: &[Group]) -> Places<'g> {
        let empty = vec![Wish::default(); graph.value_count()];
        let views = vec![None; graph.value_count()];
        let mut places = Places { graph, wishes: empty, views, buffers: Vec::new() };
        for group in groups.iter().rev() {
            match group {
                Group::Fused(fused) => wish_of_conv(graph, fused, &mut places.wishes),
                Group::Block(block) => wish_of_conv(graph, &block.expand, &mut places.wishes),
                Group::Training(group) => wishes(group, &mut places),
                Group::Single(id) => {
                    let node = graph.node(*id);
                    let wishes = &mut places.wishes;
                    let x = node.inputs[0];
                    if passes_planes(&node.op) {
                        for output in &node.outputs {
                            let halo = wishes[output.index()].halo;
                            wishes[x.index()].halo = wishes[x.index()].halo.union(halo);
                        }
                    }
                    let regroups = matches!(node.op, Op::Reshape(_) | Op::Flatten(_));
                    let product = matches!(node.op, Op::Linear | Op::MatMul | Op::Softmax(_));
                    if regroups || product {
                        node.inputs.iter().for_each(|id| wishes[id.index()].dense = true);
                    }
                }
            }
        }
        for group in groups {
            if let Group::Single(id) = group
                && let Op::Concat(op) = &graph.node(*id).op
            {
                let node = graph.node(*id);
                claim_parts(graph, op, &node.inputs, node.outputs[0], &mut places.wishes);
            }
        }
        align_rows(graph, &mut places.wishes);
        places
    }

    /// The graph whose tensors have places here.
    pub(super) fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Asks for a border of zeros.
    pub(super) fn wish_halo(&mut self, id: TensorId, halo: Halo) {
        let wish = &mut self.wishes[id.index()];
        wish.halo = wish.halo.union(halo);
    }

    /// Asks for zeros wherever there is something between the rows.
    pub(super) fn wish_zeros_between_rows(&mut self, id: TensorId) {
        self.wishes[id.index()].zero_gap = true;
    }

    /// The place of a tensor.
    pub(super) fn get(&self, id: TensorId) -> Option<&View> {
        self.views[id.index()].as_ref()
    }

    /// Makes a tensor another view of memory that is there.
    pub(super) fn alias(&mut self, id: TensorId, view: View) {
        self.views[id.index()] = Some(view);
    }

    /// The place of a tensor that a step which reads the regions `reads` is about to write; a new
    /// one, unless it has been decided already.
    pub(super) fn allocate(&mut self, id: TensorId, reads: &[usize]) -> View {
        if let Some(view) = self.get(id) {
            return view.clone();
        }
        let part = self.wishes[id.index()].part_of;
        let inside = part.map(|part| {
            let whole = self.allocate(part.whole, reads);
            let len = self.dims(id)[part.axis];
            whole.range(part.axis, part.start, len, 1)
        });
        // A step must not write memory that it reads, even where other parts of it are meant.
        let view = match inside.filter(|view| !reads.contains(&view.region)) {
            Some(view) => view,
            None => self.own(id),
        };
        self.views[id.index()] = Some(view.clone());
        view
    }

    /// A new buffer for a tensor, laid out as its consumers want.
    fn own(&mut self, id: TensorId) -> View {
        let dims = self.dims(id);
        let Wish { mut halo, gap, dense, zero_gap, .. } = self.wishes[id.index()];
        if zero_gap && !dense {
            halo.right = halo.right.max(gap);
        }
        let dtype = self.graph.ty(id).dtype;
        match dims[..] {
            [images, channels, height, width] if dtype == DType::F32 => {
                let bare = halo == Halo::default();
                if bare && (dense || height * width == 1) {
                    self.picture(Planar::dense(images, channels, height, width))
                } else {
                    let gapped = Halo { right: halo.right.max(gap), ..halo };
                    let planar = Planar::new(images, channels, height, width, gapped);
                    self.picture(Planar { halo, ..planar })
                }
            }
            _ => self.dense(dtype, &dims),
        }
    }

    /// A new buffer for a picture.
    pub(super) fn picture(&mut self, planar: Planar) -> View {
        let border = (planar.halo != Halo::default()).then_some(planar);
        self.buffers.push(Buffer { len: planar.len() * size_of::<f32>(), border });
        View::planar(self.buffers.len() - 1, &planar)
    }

    /// A new buffer without gaps.
    pub(super) fn dense(&mut self, dtype: DType, dims: &[usize]) -> View {
        let elements: usize = dims.iter().product();
        // Room for the whole vectors that kernels read past the end.
        let len = (elements + bunjae_kernels::TAIL) * dtype.size();
        self.buffers.push(Buffer { len, border: None });
        View::dense(self.buffers.len() - 1, dtype, dims)
    }

    /// A buffer of exactly so many elements, without room for whole vectors past the end.
    pub(super) fn segment(&mut self, elements: usize) -> usize {
        self.buffers.push(Buffer { len: elements * size_of::<f32>(), border: None });
        self.buffers.len() - 1
    }

    /// A new buffer of so many elements, for a step's own use; `None` where it needs none.
    pub(super) fn workspace(&mut self, elements: usize) -> Option<usize> {
        (elements > 0).then(|| self.segment(elements))
    }

    /// The border that a tensor's consumers want.
    pub(super) fn wanted_halo(&self, id: TensorId) -> Halo {
        self.wishes[id.index()].halo
    }

    /// The dimensions of a tensor, all of which are known.
    pub(super) fn dims(&self, id: TensorId) -> Vec<usize> {
        dims(self.graph, id)
    }
}

/// The dimensions of a tensor of a graph whose sizes are bound.
pub(super) fn dims(graph: &Graph, id: TensorId) -> Vec<usize> {
    graph.ty(id).dims.iter().map(|dim| dim.fixed().unwrap_or(0)).collect()
}

/// Gives pictures of the same height and width the widest gap between rows that one of them wants.
fn align_rows(graph: &Graph, wishes: &mut [Wish]) {
    let mut gaps: BTreeMap<[usize; 2], usize> = BTreeMap::new();
    let pictures = graph.values().filter_map(|(id, value)| {
        let shape = value.ty.fixed_shape()?;
        let &[_, _, height, width] = shape.as_slice() else { return None };
        let picture = value.ty.dtype == DType::F32 && height * width > 1;
        picture.then_some((id.index(), [height, width]))
    });
    let pictures: Vec<(usize, [usize; 2])> = pictures.collect();
    for &(index, size) in &pictures {
        let Halo { left, right, .. } = wishes[index].halo;
        let gap = gaps.entry(size).or_default();
        *gap = left.max(right).max(*gap);
    }
    for (index, size) in pictures {
        wishes[index].gap = gaps.get(&size).copied().unwrap_or(0);
    }
}

/// Whether an operator's results hold the same planes as its operand, so that a border of the one
/// is a border of the other.
fn passes_planes(op: &Op) -> bool {
    match op {
        Op::Split(split) => split.axis < 2,
        Op::Slice(slice) => slice.ranges.iter().all(|range| range.axis < 2),
        _ => false,
    }
}

/// The zeros that a convolution reads around its operand.
pub(super) fn padding(conv: &Conv2d, x: &[usize], kernel: [usize; 2], result: [usize; 2]) -> Halo {
    let after = |at: usize| {
        let last = (result[at] - 1) * conv.stride[at] + (kernel[at] - 1) * conv.dilation[at];
        (last + 1).saturating_sub(conv.pad[at] + x[2 + at])
    };
    Halo { top: conv.pad[0], left: conv.pad[1], bottom: after(0), right: after(1) }
}

fn wish_of_conv(graph: &Graph, fused: &Fused, wishes: &mut [Wish]) {
    let node = graph.node(fused.node);
    match &node.op {
        Op::Conv2d(conv) => {
            let (x, weight) = (dims(graph, node.inputs[0]), dims(graph, node.inputs[1]));
            let result = dims(graph, node.outputs[0]);
            let halo = padding(conv, &x, [weight[2], weight[3]], [result[2], result[3]]);
            // A border wider than the picture itself is left to the kernel's padded copy.
            let sane = halo.top.max(halo.bottom) <= x[2] && halo.left.max(halo.right) <= x[3];
            if sane {
                let wish = &mut wishes[node.inputs[0].index()];
                wish.halo = wish.halo.union(halo);
            }
        }
        Op::Linear => wishes[node.inputs[0].index()].dense = true,
        _ => {}
    }
}

/// Gives the operands of a concatenation their places in its result.
fn claim_parts(
    graph: &Graph,
    op: &Concat,
    inputs: &[TensorId],
    whole: TensorId,
    wishes: &mut [Wish],
) {
    // The rows of a picture are kept together with the zeros between them, so pictures are only
    // joined plane by plane.
    if graph.ty(whole).rank() == 4 && op.axis > 1 {
        return;
    }
    let mut start = 0;
    for (at, &input) in inputs.iter().enumerate() {
        let len = dims(graph, input)[op.axis];
        let made = match &graph.value(input).source {
            Source::Input { .. } => true,
            Source::Weight { .. } => false,
            Source::Node { node, .. } => !is_view(&graph.node(*node).op),
        };
        let once = !inputs[..at].contains(&input);
        if made && once && wishes[input.index()].part_of.is_none() {
            wishes[input.index()].part_of = Some(Part { whole, axis: op.axis, start });
            let halo = wishes[input.index()].halo;
            wishes[whole.index()].halo = wishes[whole.index()].halo.union(halo);
        }
        start += len;
    }
}

/// Whether an operator's result may be only another view of its operand.
pub(super) fn is_view(op: &Op) -> bool {
    op.is_view() || matches!(op, Op::Transpose(_) | Op::Slice(_) | Op::Split(_))
}
