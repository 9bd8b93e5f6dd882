//! Training graphs: weights that change from run to run, and their gradients.
//!
//! A weight whose gradient is an output is a parameter. Parameters become inputs of the graph, so
//! that no pass takes their numbers for constants, and lie one after the other in a block of memory
//! that no step's result ever shares; the gradients lie in a second block in the same order, which
//! other results may share until the gradients are written.

use bunjae_ir::{Graph, GraphError, Source, TensorId};
use bunjae_tensor::DType;

use crate::error::CompileError;
use crate::runtime::memory::ALIGN;

/// Segments of the flat arrays start at multiples of so many elements.
pub(crate) const LINE: usize = ALIGN / size_of::<f32>();

/// What `differentiate` puts before the name of a weight to name its gradient.
const PREFIX: &str = "grad.";

/// The part of the flat arrays that belongs to one weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The name of the weight.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it starts in the flat arrays, in elements: a multiple of a cache line. What lies
    /// between two segments is zero.
    pub start: usize,
    /// Number of elements.
    pub len: usize,
}

/// A training graph whose parameters are inputs, after all other inputs.
pub(crate) struct Trained {
    pub graph: Graph,
    pub layout: Layout,
}

/// The flat arrays: which inputs and outputs of a graph lie where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    pub segments: Vec<Segment>,
    /// The number of inputs that are no parameters.
    pub inputs: usize,
    /// For each segment the output that is its gradient.
    pub gradients: Vec<usize>,
    /// Elements of a flat array.
    pub len: usize,
}

impl Layout {
    /// Bytes of both arrays.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.len * size_of::<f32>()
    }
}

/// Makes the parameters of a training graph inputs.
///
/// # Errors
/// [`CompileError::Parameter`] where a parameter is not f32, [`CompileError::NoGradients`] where
/// there is none.
pub(crate) fn trained(graph: &Graph) -> Result<Trained, CompileError> {
    let gradient = |id: TensorId| {
        let name = format!("{PREFIX}{}", graph.label(id));
        graph.outputs().iter().position(|output| output.name == name)
    };
    let mut layout = Layout { inputs: graph.inputs().len(), ..Layout::default() };
    let mut result = Graph::new(&graph.name);
    result.metadata = graph.metadata.clone();
    let mut ids: Vec<Option<TensorId>> = vec![None; graph.value_count()];
    for &input in graph.inputs() {
        ids[input.index()] = Some(result.input(&graph.label(input), graph.ty(input).clone())?);
    }
    for &id in graph.weights() {
        let Source::Weight { name, tensor, trainable } = &graph.value(id).source else { continue };
        let new = match gradient(id) {
            Some(output) => {
                if tensor.dtype() != DType::F32 {
                    let (name, dtype) = (name.clone(), tensor.dtype());
                    return Err(CompileError::Parameter { name, dtype });
                }
                layout.gradients.push(output);
                layout.segments.push(Segment {
                    name: name.clone(),
                    shape: tensor.shape().to_vec(),
                    start: layout.len,
                    len: tensor.len(),
                });
                layout.len = (layout.len + tensor.len()).next_multiple_of(LINE);
                result.input(name, graph.ty(id).clone())?
            }
            None => result.add_weight(name, tensor.clone(), *trainable)?,
        };
        ids[id.index()] = Some(new);
    }
    if layout.segments.is_empty() {
        return Err(CompileError::NoGradients);
    }
    let lost = |id: TensorId| GraphError::Invalid {
        place: graph.label(id),
        what: "has no producer".into(),
    };
    for node in graph.nodes() {
        let inputs = node.inputs.iter().map(|id| ids[id.index()].ok_or_else(|| lost(*id)));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let outputs = result.push_multi(&node.name, node.op.clone(), &inputs)?;
        for (old, new) in node.outputs.iter().zip(outputs) {
            ids[old.index()] = Some(new);
        }
    }
    for output in graph.outputs() {
        let id = ids[output.tensor.index()].ok_or_else(|| lost(output.tensor))?;
        result.output(&output.name, id)?;
    }
    Ok(Trained { graph: result, layout })
}
