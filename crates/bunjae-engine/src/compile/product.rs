//! Products of two matrices that both are known only at run time: a fully connected layer whose
//! weights are trained, and its gradients.

use bunjae_ir::{NodeId, Op};
use bunjae_kernels::{Linear, LinearSpec, WeightLayout};

use super::lower::Lowering;
use crate::error::CompileError;
use crate::runtime::step::{FastKernel, Kernel, Prepared};
use crate::runtime::view::View;

impl Lowering<'_> {
    /// Adds the steps of a product, the right matrix packed as the weights of a layer are; false
    /// where an operand is no matrix.
    pub(super) fn product(&mut self, id: NodeId) -> Result<bool, CompileError> {
        let node = self.graph.node(id);
        let (left, right) = (self.operand(node.inputs[0])?, self.operand(node.inputs[1])?);
        // The right matrix, an output's factors in a row.
        let right = match node.op {
            Op::Linear => right,
            _ if right.dims.len() == 2 => right.permuted(&[1, 0]),
            _ => return Ok(false),
        };
        let (Some((rows, strides)), Some((columns, right_strides))) =
            (matrix(&left), matrix(&right))
        else {
            return Ok(false);
        };
        let ([batch, inputs], [outputs, _]) = (rows, columns);
        let spec = LinearSpec { strides, ..LinearSpec::dense(batch, inputs, outputs) };
        let Ok(linear) = Linear::new(spec, self.isa) else { return Ok(false) };
        let bias = match node.inputs.get(2) {
            Some(&bias) => Some(self.operand(bias)?),
            None => None,
        };
        if bias.as_ref().is_some_and(|bias| bias.first != 0 || !bias.is_dense()) {
            return Ok(false);
        }
        let mut reads = vec![left.region, right.region];
        reads.extend(bias.as_ref().map(|bias| bias.region));
        let (y, copy) = self.dense_result(node.outputs[0], &reads);
        let layout = WeightLayout::matrix(columns, right_strides);
        let weights = self.packed_at_run(id, right, linear.packing(), layout);
        let kernel = FastKernel {
            weights: Some(weights),
            bias: bias.map(|bias| bias.region),
            ..FastKernel::new(Prepared::Linear(linear), left, y.clone())
        };
        self.push(&[id], Kernel::Fast(Box::new(kernel)));
        self.copy_result(&self.graph.node_label(id), &y, copy);
        Ok(true)
    }
}

/// The extents and strides of a matrix; `None` of anything else.
fn matrix(view: &View) -> Option<([usize; 2], [usize; 2])> {
    let [rows, columns] = view.dims[..] else { return None };
    let stride = |axis: usize| usize::try_from(view.strides[axis]).ok();
    Some(([rows, columns], [stride(0)?, stride(1)?]))
}
