//! A gate on every channel, at every place where a layer reads it.
//!
//! A gate is a factor of 1, one for each picture of the batch. Closing the gates of a channel is what
//! [`mask`](bunjae_passes::mask) does to it, without another network for each channel.

use bunjae_ir::op::Groups;
use bunjae_ir::{ClassId, Couplings, Dim, Graph, GraphError, Op, TensorAxis, TensorType};

/// What the names of gates begin with.
pub(crate) const GATE: &str = "bunjae.gate.";

/// The gates of one layer's operand.
pub(crate) struct Gate {
    /// The name of the graph's input that holds the factors, `[N, 1.., channels, 1..]`.
    pub(crate) input: String,
    /// By index on the operand's axis of channels: the channel, where it may be removed.
    pub(crate) classes: Vec<Option<ClassId>>,
}

/// A graph with gates.
pub(crate) struct Gated {
    pub(crate) graph: Graph,
    pub(crate) gates: Vec<Gate>,
}

/// The operand of an operator that is read through a weight, that weight, its axis that is summed
/// over, and the axis of the operand, counted from the last for those of any rank.
fn reading(op: &Op, weights: [bool; 2], ranks: [usize; 2]) -> Option<Reading> {
    let [first, second] = ranks;
    let reading = |operand, axis, weight, summed| Some(Reading { operand, axis, weight, summed });
    match op {
        Op::Conv2d(op) if op.groups != Groups::Depthwise => reading(0, 1, 1, 1),
        Op::ConvTranspose2d(op) if op.groups != Groups::Depthwise => reading(0, 1, 1, 0),
        Op::Linear => reading(0, first - 1, 1, 1),
        Op::MatMul if weights[1] => reading(0, first - 1, 1, second - 2),
        Op::MatMul if weights[0] => reading(1, second - 2, 0, first - 1),
        _ => None,
    }
}

struct Reading {
    operand: usize,
    axis: usize,
    weight: usize,
    summed: usize,
}

/// Puts gates into `bound`, which is `graph` with its sizes fixed: both have the same nodes.
///
/// The couplings are those of `graph`, so that the channels are those that are cut.
pub(crate) fn gated(
    graph: &Graph,
    couplings: &Couplings,
    bound: &Graph,
) -> Result<Gated, GraphError> {
    let mut gates = Vec::new();
    let result = bound.map::<GraphError>(
        |_, tensor| tensor.clone(),
        |new, id, inputs| {
            let node = graph.node(id);
            let operand = |at: usize| node.inputs.get(at).copied();
            let is_weight =
                [0, 1].map(|at| operand(at).is_some_and(|id| graph.weight_tensor(id).is_some()));
            let ranks = [0, 1].map(|at| operand(at).map_or(0, |id| graph.ty(id).rank()));
            let read = reading(&node.op, is_weight, ranks).filter(|read| {
                let at = TensorAxis { tensor: node.inputs[read.weight], axis: read.summed };
                // The first axis holds the pictures.
                couplings.is_contracting(at) && read.axis > 0 && !is_weight[read.operand]
            });
            let mut inputs = inputs.to_vec();
            if let Some(Reading { operand, axis, .. }) = read {
                let ty = new.ty(inputs[operand]).clone();
                let count = ty.dims[axis].fixed().unwrap_or(0);
                let free = |index| {
                    let class = couplings.class(node.inputs[operand], axis, index)?;
                    couplings.pin(class).is_none().then_some(class)
                };
                let classes: Vec<Option<ClassId>> = (0..count).map(free).collect();
                if classes.iter().any(Option::is_some) {
                    let mut dims = vec![Dim::from(1); ty.rank()];
                    dims[0] = ty.dims[0].clone();
                    dims[axis] = ty.dims[axis].clone();
                    let input = format!("{GATE}{}", gates.len());
                    let factors = new.input(&input, TensorType { dtype: ty.dtype, dims })?;
                    let product = bunjae_ir::op::Binary::Mul;
                    inputs[operand] = new.push(&input, product, &[inputs[operand], factors])?;
                    gates.push(Gate { input, classes });
                }
            }
            new.push_multi(&node.name, node.op.clone(), &inputs)
        },
    )?;
    Ok(Gated { graph: result, gates })
}

#[cfg(test)]
mod tests {
    use bunjae_ir::Bindings;
    use bunjae_passes::{mask, output_difference, sample_inputs};
    use bunjae_tensor::{DType, Tensor, Tolerance};

    use super::*;

    /// A residual block, a grouped and a depthwise layer, a matrix product, and a linear layer that
    /// reads channels and positions.
    const NET: &str = "graph @net
in   %x: f32[N,2,4,4]
w    @c1.w: f32[4,2,3,3] = rand(seed=1)
w    @c1.b: f32[4] = rand(seed=2)
%1 = conv2d %x, @c1.w, @c1.b {pad=[1,1,1,1]} : f32[N,4,4,4] ; \"c1\"
%2 = sigmoid %1 : f32[N,4,4,4] ; \"a1\"
w    @c2.w: f32[4,2,1,1] = rand(seed=3)
%3 = conv2d %2, @c2.w {groups=2} : f32[N,4,4,4] ; \"c2\"
%4 = add %2, %3 : f32[N,4,4,4] ; \"sum\"
w    @up.w: f32[4,3,2,2] = rand(seed=4)
%5 = conv_transpose2d %4, @up.w {stride=[2,2]} : f32[N,3,8,8] ; \"up\"
w    @dw.w: f32[3,1,3,3] = rand(seed=5)
%6 = conv2d %5, @dw.w {groups=depthwise, stride=[4,4]} : f32[N,3,2,2] ; \"dw\"
%7 = flatten %6 {axis=1} : f32[N,12] ; \"flat\"
w    @fc.w: f32[5,12] = rand(seed=6)
%8 = linear %7, @fc.w : f32[N,5] ; \"fc\"
w    @mm.w: f32[5,2] = rand(seed=7)
%9 = matmul %8, @mm.w : f32[N,2] ; \"mm\"
out  %9 ; \"y\"
";

    /// Runs the gated network with the gates of some channels closed beside the masked one.
    fn closed_is_masked(groups: &[usize]) {
        let graph = Graph::parse(NET).unwrap();
        let couplings = graph.couplings();
        let bindings = Bindings::from([("N".to_owned(), 2)]);
        let bound = graph.bind(&bindings).unwrap();
        let Gated { graph: gated, gates } = gated(&graph, &couplings, &bound).unwrap();
        assert_eq!(gates.len(), 4, "c2, up, fc and mm read channels that may go");
        let classes: Vec<ClassId> =
            groups.iter().map(|&group| couplings.groups()[group].strata[0].classes[1]).collect();
        let cut = couplings.cut(&graph, classes.iter().copied()).unwrap();
        let masked = mask(&graph, &cut).unwrap();
        let mut inputs = sample_inputs(&masked, &bindings, 3).unwrap();
        let gate_of =
            |id: &bunjae_ir::TensorId| gates.iter().find(|gate| gate.input == gated.label(*id));
        for (&id, gate) in gated.inputs().iter().filter_map(|id| Some((id, gate_of(id)?))) {
            let shape: Vec<usize> =
                gated.ty(id).dims.iter().map(|dim| dim.fixed().unwrap()).collect();
            let mut factors = Tensor::zeros(DType::F32, &shape).unwrap();
            let width = gate.classes.len();
            for (at, factor) in factors.elements_mut::<f32>().unwrap().iter_mut().enumerate() {
                let class = gate.classes[at % width];
                *factor = f32::from(!class.is_some_and(|class| classes.contains(&class)));
            }
            inputs.push(factors);
        }
        let found = bunjae_interp::run(&gated, &inputs).unwrap();
        let expected = bunjae_interp::run(&masked, &inputs[..1]).unwrap();
        let difference = bunjae_tensor::compare(&found[0], &expected[0], Tolerance::EXACT);
        assert_eq!(difference.map(|found| found.outside), Ok(0));
        let whole = output_difference(&graph, &masked, &inputs[..1], Tolerance::EXACT).unwrap();
        assert_eq!(whole[0].1.largest > 0.0, !groups.is_empty(), "the cut does something");
    }

    #[test]
    fn a_closed_gate_is_a_masked_channel() {
        closed_is_masked(&[]);
        for group in 0..3 {
            closed_is_masked(&[group]);
        }
        closed_is_masked(&[0, 1, 2]);
    }
}
