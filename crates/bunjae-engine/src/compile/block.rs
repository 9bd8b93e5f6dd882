//! Three convolutions that are computed in one go: see [`ConvBlock`].

use bunjae_ir::op::Groups;
use bunjae_ir::{Graph, NodeId, Op, TensorId};
use bunjae_kernels::{
    BlockNumbers, BlockSpec, ConvBlock, ConvSpec, Halo, Isa, Planar, ResidualAt, Tail,
};

use super::fast::{conv_spec, extras, numbers};
use super::fuse::{Fused, Group};
use super::lower::Lowering;
use super::places::dims;
use crate::error::CompileError;
use crate::runtime::step::{FastKernel, Kernel, Prepared};
use crate::runtime::view::View;

/// A convolution, a depthwise one and a pointwise one. Nobody else wants what lies between them.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub expand: Fused,
    pub depthwise: Fused,
    pub project: Fused,
}

impl Block {
    /// The convolutions, in order.
    pub(super) fn parts(&self) -> [&Fused; 3] {
        [&self.expand, &self.depthwise, &self.project]
    }

    /// What the kernel is asked for, given the layouts of what it reads and writes; `None` where a
    /// tensor is no picture.
    fn spec(
        &self,
        graph: &Graph,
        input: Planar,
        output: Planar,
        residual: Option<(Planar, ResidualAt)>,
    ) -> Option<BlockSpec> {
        let wide = picture(graph, self.expand.result, Halo::default())?;
        let narrow = picture(graph, self.depthwise.result, Halo::default())?;
        let spec =
            |fused: &Fused, input, output| conv_spec(&numbers(graph, fused), fused, input, output);
        Some(BlockSpec {
            expand: spec(&self.expand, input, wide),
            depthwise: spec(&self.depthwise, wide, narrow),
            project: ConvSpec { residual, ..spec(&self.project, narrow, output) },
        })
    }

    /// Whether the kernels can compute it, given a border around the input, and gain by it.
    fn is_worth(&self, graph: &Graph, isa: Isa) -> bool {
        let halo = numbers(graph, &self.expand).halo;
        let output = picture(graph, self.project.result, Halo::default());
        let residual = output.zip(self.project.residual);
        let residual = residual.map(|(planar, (_, at))| (planar, at));
        let input = picture(graph, graph.node(self.expand.node).inputs[0], halo);
        let spec = input.zip(output).and_then(|(x, y)| self.spec(graph, x, y, residual));
        spec.is_some_and(|spec| spec.is_worth(isa) && ConvBlock::new(spec, isa).is_ok())
    }
}

/// A tensor as a picture with a border.
fn picture(graph: &Graph, id: TensorId, halo: Halo) -> Option<Planar> {
    match dims(graph, id)[..] {
        [images, channels, height, width] => {
            Some(Planar::new(images, channels, height, width, halo))
        }
        _ => None,
    }
}

/// Joins groups to blocks, each in the place of its last convolution.
pub(super) fn blocks(graph: &Graph, isa: Isa, groups: Vec<Group>) -> Vec<Group> {
    let users = graph.users();
    let mut makers = vec![None; graph.value_count()];
    for (slot, group) in groups.iter().enumerate() {
        if let Group::Fused(fused) = group {
            makers[fused.result.index()] = Some(slot);
        }
    }
    let is_output = |id: TensorId| graph.outputs().iter().any(|output| output.tensor == id);
    let mut slots: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    // The group that makes the first operand of a convolution, for it alone.
    let before = |slots: &[Option<Group>], fused: &Fused| -> Option<(usize, Fused)> {
        let operand = graph.node(fused.node).inputs[0];
        let slot = makers[operand.index()]?;
        let alone = users[operand.index()].len() == 1 && !is_output(operand);
        match slots.get(slot) {
            Some(Some(Group::Fused(maker))) if alone && is_plain(maker) => {
                Some((slot, maker.clone()))
            }
            _ => None,
        }
    };
    for slot in 0..slots.len() {
        let Some(Group::Fused(project)) = &slots[slot] else { continue };
        let Some((second, depthwise)) = before(&slots, project) else { continue };
        if !convolves(graph, &depthwise, true) || !convolves(graph, project, false) {
            continue;
        }
        let Some((first, expand)) = before(&slots, &depthwise) else { continue };
        let block = Block { expand, depthwise, project: project.clone() };
        if convolves(graph, &block.expand, false) && block.is_worth(graph, isa) {
            slots[first] = None;
            slots[second] = None;
            slots[slot] = Some(Group::Block(Box::new(block)));
        }
    }
    slots.into_iter().flatten().collect()
}

fn is_plain(fused: &Fused) -> bool {
    fused.residual.is_none() && fused.tail == Tail::Store && fused.slopes.is_none()
}

fn convolves(graph: &Graph, fused: &Fused, depthwise: bool) -> bool {
    let Op::Conv2d(conv) = &graph.node(fused.node).op else { return false };
    (conv.groups == Groups::Depthwise) == depthwise && fused.tail == Tail::Store
}

impl Lowering<'_> {
    /// Adds the step that computes a block; false where no kernel can.
    pub(super) fn block(&mut self, block: &Block) -> Result<bool, CompileError> {
        let name = self.graph.node_label(block.expand.node);
        let operand = self.graph.node(block.expand.node).inputs[0];
        let (x, input) = self.bordered(operand, numbers(self.graph, &block.expand).halo, &name)?;
        let residual = match block.project.residual {
            Some((id, at)) => Some((self.picture(id, &name)?, at)),
            None => None,
        };
        let mut reads = vec![x.region];
        reads.extend(residual.as_ref().map(|((view, _), _)| view.region));
        let y = self.places.allocate(block.project.result, &reads);
        let Some(output) = y.as_planar() else { return Ok(false) };
        let layout = residual.as_ref().map(|((_, planar), at)| (*planar, *at));
        let spec = block.spec(self.graph, input, output, layout);
        let Some(Ok(kernel)) = spec.map(|spec| ConvBlock::new(spec, self.isa)) else {
            return Ok(false);
        };
        let packed = self.packed_block(block, &kernel, &name)?;
        let workspace = self.places.workspace(kernel.workspace_len());
        let kernel = FastKernel {
            second: residual.map(|((view, _), _)| view),
            weights: Some(packed),
            workspace,
            extras: extras(&block.project),
            ..FastKernel::new(Prepared::Block(Box::new(kernel)), x, y)
        };
        let nodes = block.parts().into_iter().flat_map(Fused::nodes);
        let nodes: Vec<NodeId> = nodes.collect();
        self.push(&nodes, Kernel::Fast(Box::new(kernel)));
        Ok(true)
    }

    /// An operand with at least this border, as a copy where it has none.
    fn bordered(
        &mut self,
        id: TensorId,
        halo: Halo,
        name: &str,
    ) -> Result<(View, Planar), CompileError> {
        let (view, planar) = self.picture(id, name)?;
        if planar.halo.union(halo) == planar.halo {
            return Ok((view, planar));
        }
        let Planar { images, channels, height, width, .. } = planar;
        let planar = Planar::new(images, channels, height, width, halo);
        let own = self.places.picture(planar);
        self.copy(name, &view, &own);
        Ok((own, planar))
    }

    /// The numbers of a block, as its kernel wants them; returns their region.
    fn packed_block(
        &mut self,
        block: &Block,
        kernel: &ConvBlock,
        name: &str,
    ) -> Result<usize, CompileError> {
        let parts = block.parts().map(|fused| numbers(self.graph, fused));
        let keys: Vec<String> = parts
            .iter()
            .flat_map(|part| [Some(&part.weights), part.bias.as_ref()])
            .map(|content| content.map_or("none".to_string(), |content| self.key(content)))
            .collect();
        let key = format!("{} as {}", keys.join(", "), kernel.packing_name());
        self.stored(key, kernel.packed_len(), |own| {
            let mut weights = Vec::new();
            let mut bias = Vec::new();
            for part in &parts {
                weights.push(own.elements(&part.weights)?);
                bias.push(part.bias.as_ref().map(|bias| own.elements(bias)).transpose()?);
            }
            let numbers = BlockNumbers {
                weights: [0, 1, 2].map(|at| &*weights[at]),
                bias: [0, 1, 2].map(|at| bias[at].as_deref()),
            };
            let packed = kernel.pack(&numbers);
            packed.map_err(|source| CompileError::Kernel { node: name.to_string(), source })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::fuse::groups;

    /// How many blocks, and how many groups of other kinds.
    fn counts(body: &str) -> Option<[usize; 2]> {
        let isa = Isa::preferred().unwrap();
        if isa == Isa::Portable {
            println!("skipped: no vectors here");
            return None;
        }
        let text = format!(
            "graph @g
in   %x: f32[1,3,8,8]
w    @first: f32[16,3,3,3] = rand(seed=1)
w    @dense: f32[16,16,3,3] = rand(seed=2)
w    @wide: f32[16,3,1,1] = rand(seed=3)
w    @depth: f32[16,1,3,3] = rand(seed=4)
w    @narrow: f32[3,16,1,1] = rand(seed=5)
w    @same: f32[16,16,1,1] = rand(seed=6)
{body}"
        );
        let graph = Graph::parse(&text).unwrap();
        let groups = blocks(&graph, isa, groups(&graph));
        let found = groups.iter().filter(|group| matches!(group, Group::Block(_))).count();
        Some([found, groups.len() - found])
    }

    const DEPTHWISE: &str = "conv2d %2, @depth {pad=[1,1,1,1], groups=depthwise} : f32[1,16,8,8]";

    #[test]
    fn a_wide_part_of_a_network_is_a_block() {
        let wide = "%1 = conv2d %x, @wide : f32[1,16,8,8]\n%2 = relu %1 : f32[1,16,8,8]";
        let cases = [
            (
                format!(
                    "{wide}
%3 = {DEPTHWISE}
%4 = relu %3 : f32[1,16,8,8]
%5 = conv2d %4, @narrow : f32[1,3,8,8]
%6 = add %x, %5 : f32[1,3,8,8]
out %6"
                ),
                [1, 0],
            ),
            // A first layer.
            (
                format!(
                    "%2 = conv2d %x, @first {{pad=[1,1,1,1]}} : f32[1,16,8,8]
%3 = {DEPTHWISE}
%4 = conv2d %3, @narrow : f32[1,3,8,8]
out %4"
                ),
                [1, 0],
            ),
            // Somebody else wants what lies between.
            (
                format!(
                    "{wide}
%3 = {DEPTHWISE}
%4 = conv2d %3, @narrow : f32[1,3,8,8]
out %3 ; \"y\"
out %4"
                ),
                [0, 3],
            ),
            // A function that takes many operations.
            (
                format!(
                    "{wide}
%3 = {DEPTHWISE}
%4 = hard_swish %3 : f32[1,16,8,8]
%5 = conv2d %4, @narrow : f32[1,3,8,8]
out %5"
                ),
                [0, 3],
            ),
            // No wider inside.
            (
                format!(
                    "{wide}
%3 = {DEPTHWISE}
%4 = conv2d %3, @same : f32[1,16,8,8]
out %4"
                ),
                [0, 3],
            ),
            // Many products.
            (
                format!(
                    "%1 = conv2d %x, @wide : f32[1,16,8,8]
%2 = conv2d %1, @dense {{pad=[1,1,1,1]}} : f32[1,16,8,8]
%3 = {DEPTHWISE}
%4 = conv2d %3, @narrow : f32[1,3,8,8]
out %4"
                ),
                [0, 4],
            ),
        ];
        for (body, expected) in cases {
            let Some(found) = counts(&format!("{body}\n")) else { return };
            assert_eq!(found, expected, "{body}");
        }
    }
}
