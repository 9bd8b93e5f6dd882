//! Dropping nodes that change nothing, and paddings that a convolution can do itself.

use bunjae_ir::op::{Conv2d, Pad, PadMode, Unary};
use bunjae_ir::{Graph, Node, Op, Source};

use crate::error::PassError;

/// The graph without nodes whose result is their operand: identities, dropouts (which drop nothing
/// in inference), casts to the type that is there, permutations and paddings that do nothing, joins
/// of one operand; `None` where there are none.
///
/// Contract: shapes and numbers are kept exactly. Not for a graph that is to be trained, because of
/// the dropouts.
///
/// # Errors
/// As [`Graph::map`]; does not happen for a graph that verifies.
pub fn drop_identities(graph: &Graph) -> Result<Option<Graph>, PassError> {
    if !graph.nodes().iter().any(|node| changes_nothing(graph, node)) {
        return Ok(None);
    }
    let result = graph.map(
        |_, tensor| tensor.clone(),
        |result, id, inputs| {
            let node = graph.node(id);
            if changes_nothing(graph, node) {
                return Ok(vec![inputs[0]]);
            }
            result.push_multi(&node.name, node.op.clone(), inputs)
        },
    );
    Ok(Some(result?))
}

fn changes_nothing(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Unary(Unary::Identity) | Op::Dropout(_) => true,
        Op::Cast(cast) => cast.to == graph.ty(node.inputs[0]).dtype,
        Op::Transpose(transpose) => transpose.perm.is_sorted(),
        Op::Pad(pad) => pad.pads.iter().all(|[_, before, after]| before + after == 0),
        Op::Concat(_) => node.inputs.len() == 1,
        Op::Split(split) => split.sizes.len() == 1,
        Op::Reshape(_) | Op::Flatten(_) => {
            // Equal sizes in the same order hold the same elements, whatever the grouping.
            graph.ty(node.inputs[0]).dims == graph.ty(node.outputs[0]).dims
        }
        _ => false,
    }
}

/// The graph with paddings by zeros around pictures made part of the convolutions that read them;
/// `None` where there are none.
///
/// Contract: shapes and numbers are kept exactly.
///
/// # Errors
/// As [`Graph::map`]; does not happen for a graph that verifies.
pub fn fold_padding(graph: &Graph) -> Result<Option<Graph>, PassError> {
    // The operand's node, and the padding, of each convolution that can take one in.
    let padded = |node: &Node| -> Option<(Node, [usize; 4])> {
        let Op::Conv2d(_) = &node.op else { return None };
        let Source::Node { node: from, .. } = graph.value(node.inputs[0]).source else {
            return None;
        };
        let from = graph.node(from);
        let Op::Pad(pad) = &from.op else { return None };
        zero_border(pad).map(|border| (from.clone(), border))
    };
    if !graph.nodes().iter().any(|node| padded(node).is_some()) {
        return Ok(None);
    }
    let mut ids = vec![None; graph.value_count()];
    let result = graph.map(
        |_, tensor| tensor.clone(),
        |result, id, inputs| {
            let node = graph.node(id);
            for (&old, &new) in node.inputs.iter().zip(inputs) {
                ids[old.index()] = Some(new);
            }
            let plain = |result: &mut Graph| result.push_multi(&node.name, node.op.clone(), inputs);
            let (Some((pad, border)), Op::Conv2d(conv)) = (padded(node), &node.op) else {
                return plain(result);
            };
            let Some(x) = ids[pad.inputs[0].index()] else { return plain(result) };
            let mut operands = inputs.to_vec();
            operands[0] = x;
            let sums = [0, 1, 2, 3].map(|side| conv.pad[side].checked_add(border[side]));
            let [Some(top), Some(left), Some(bottom), Some(right)] = sums else {
                return plain(result);
            };
            let op = Conv2d { pad: [top, left, bottom, right], ..conv.clone() };
            result.push_multi(&node.name, Op::Conv2d(op), &operands)
        },
    )?;
    Ok(Some(crate::prune_dead(&result)?.unwrap_or(result)))
}

/// Top, left, bottom and right of a padding of rows and columns by zeros.
fn zero_border(pad: &Pad) -> Option<[usize; 4]> {
    if pad.mode != PadMode::Constant || pad.value != 0.0 {
        return None;
    }
    let mut border = [0; 4];
    for &[axis, before, after] in &pad.pads {
        match axis {
            2 | 3 => (border[axis - 2], border[axis]) = (before, after),
            _ if before + after == 0 => {}
            _ => return None,
        }
    }
    Some(border)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_nothing_goes() {
        let graph = Graph::parse(
            "graph @g
in   %x: f32[N,2,3,3]
%1 = identity %x : f32[N,2,3,3]
%2 = dropout %1 : f32[N,2,3,3]
%3 = cast %2 : f32[N,2,3,3]
%4 = transpose %3 {perm=[0,1,2,3]} : f32[N,2,3,3]
%5 = concat %4 : f32[N,2,3,3]
%6 = transpose %5 {perm=[0,1,3,2]} : f32[N,2,3,3]
out  %6
out  %1 ; \"c\"
",
        )
        .unwrap();
        let slim = drop_identities(&graph).unwrap().unwrap();
        let ops: Vec<&str> = slim.nodes().iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["transpose"]);
        assert_eq!(slim.outputs()[1].tensor, slim.inputs()[0]);
        assert!(drop_identities(&slim).unwrap().is_none());
    }

    #[test]
    fn a_border_of_zeros_becomes_padding() {
        let text = |settings: &str| {
            format!(
                "graph @g
in   %x: f32[N,2,3,3]
w    @w: f32[4,2,3,3] = rand(seed=1)
%1 = pad %x {{pads=[[2,1,0],[3,2,1]]{settings}}} : f32[N,2,4,6]
%2 = conv2d %1, @w {{pad=[0,1,1,0]}} : f32[N,4,3,5]
out  %2
"
            )
        };
        let graph = Graph::parse(&text("")).unwrap();
        let folded = fold_padding(&graph).unwrap().unwrap();
        assert_eq!(folded.nodes().len(), 1);
        let Op::Conv2d(conv) = &folded.nodes()[0].op else { panic!("{folded}") };
        assert_eq!(conv.pad, [1, 3, 1, 1]);
        for settings in [", value=1.0", ", mode=edge"] {
            let graph = Graph::parse(&text(settings)).unwrap();
            assert!(fold_padding(&graph).unwrap().is_none(), "{settings}");
        }
    }
}
