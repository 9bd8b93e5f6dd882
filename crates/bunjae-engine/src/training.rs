//! Running training graphs.

use std::ops::Range;
use std::sync::Arc;

use bunjae_ir::{Graph, Source};
use bunjae_tensor::{Tensor, TensorError};

use crate::compile::{CompileOptions, LINE, Segment, Target, training_model};
use crate::error::{CompileError, RunError};
use crate::runtime::{Input, Model, Output, Port, Profile, Session};

/// A training graph, compiled, with its memory: forward and backward pass in one run.
///
/// The weights whose gradients are outputs of the graph (`grad.` and the weight's name, as
/// `differentiate` calls them) are its *parameters*. They live in one flat array, their gradients in
/// a second one with the same [`Segment`]s, so that a step of an optimiser, clipping, averaging and
/// a checkpoint are loops over arrays. Both stay where they are between runs; a run reads the first
/// and writes the second, whose memory it uses for other things before. All other weights are
/// constants.
///
/// A run allocates nothing, and computes the same bits on any number of threads.
///
/// ```
/// use bunjae_engine::{CompileOptions, Input, Output, TrainingSession};
/// use bunjae_ir::Graph;
///
/// // The loss sum(x w^T), and its gradient by w, written by hand.
/// let text = "graph @tiny
/// in   %x: f32[N,2]
/// w    @w: f32[1,2] = [3, 4]
/// w    @one: f32[1,1] = [1]
/// %1 = linear %x, @w : f32[N,1]
/// %2 = reduce %1 {axes=[0], keep=true, kind=sum} : f32[1,1]
/// %3 = reduce %x {axes=[0], keep=true, kind=sum} : f32[1,2]
/// out  %2 ; \"loss\"
/// out  %3 ; \"grad.w\"
/// ";
/// let graph = Graph::parse(text)?;
/// let mut session = TrainingSession::new(&graph, &CompileOptions::batch(2))?;
/// let (x, mut loss) = ([1f32, 2.0, 3.0, 4.0], [0f32]);
/// session.run(&[Input::from(&x[..])], &mut [Output::from(&mut loss[..])])?;
/// assert_eq!(loss, [36.0]);
/// let (parameters, gradients) = session.arrays_mut();
/// assert_eq!(gradients[..2], [4.0, 6.0]);
/// parameters[0] -= 0.5 * gradients[0];
/// session.run(&[Input::from(&x[..])], &mut [Output::from(&mut loss[..])])?;
/// assert_eq!(loss, [28.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TrainingSession {
    session: Session,
    segments: Vec<Segment>,
    /// Elements of a flat array.
    len: usize,
}

impl TrainingSession {
    /// Compiles a training graph, all of whose sizes are fixed or given in the options, and makes
    /// the memory to run it with [`CompileOptions::threads`] threads. Parameters start with the
    /// graph's numbers.
    ///
    /// # Errors
    /// [`CompileError::NoGradients`] where no output is the gradient of a weight,
    /// [`CompileError::Parameter`] where such a weight is not f32, and otherwise as
    /// [`Model::compile`]; [`CompileError::Session`] where a thread cannot be started.
    pub fn new(graph: &Graph, options: &CompileOptions) -> Result<TrainingSession, CompileError> {
        let target = Target::new(options)?;
        let (model, layout) = training_model(graph, target, options)?;
        let session = Session::new(Arc::new(model)).map_err(CompileError::Session)?;
        let mut own = TrainingSession { session, segments: layout.segments, len: layout.len };
        own.load(graph)?;
        Ok(own)
    }

    /// The parts of the flat arrays, one per parameter, in the order of the graph's weights.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The parameters.
    pub fn parameters(&self) -> &[f32] {
        &self.session.resident()[self.halves().0]
    }

    /// The parameters, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        self.arrays_mut().0
    }

    /// The gradients that the last run computed; zeros before the first, and without meaning after
    /// one that failed.
    pub fn gradients(&self) -> &[f32] {
        &self.session.resident()[self.halves().1]
    }

    /// Parameters and gradients at once, both to be changed: what an optimiser works on. The next
    /// run writes all gradients anew.
    pub fn arrays_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        let len = self.len;
        let (parameters, gradients) = self.session.resident_mut().split_at_mut(len);
        (parameters, &mut gradients[..len])
    }

    fn halves(&self) -> (Range<usize>, Range<usize>) {
        (0..self.len, self.len..2 * self.len)
    }

    /// Sets the parameters to the numbers of a graph's weights of the same names. Those that the
    /// graph does not have stay as they are.
    ///
    /// # Errors
    /// [`CompileError::Weight`] where a weight is of another type or size.
    pub fn load(&mut self, graph: &Graph) -> Result<(), CompileError> {
        for at in 0..self.segments.len() {
            let Segment { name, shape, start, len } = self.segments[at].clone();
            let Some(tensor) = graph.find_weight(&name).and_then(|id| graph.weight_tensor(id))
            else {
                continue;
            };
            let error = |source: TensorError| CompileError::Weight { weight: name.clone(), source };
            let elements = tensor.elements::<f32>().map_err(error)?;
            if tensor.shape() != shape {
                let found = tensor.shape().to_vec();
                return Err(CompileError::ParameterShape { name, expected: shape, found });
            }
            self.parameters_mut()[start..start + len].copy_from_slice(elements);
        }
        Ok(())
    }

    /// The graph with the weights that are parameters here replaced by their present numbers, in
    /// whichever graph they occur: the training graph, or the network that it was made from.
    ///
    /// # Errors
    /// [`CompileError::Weight`] where a weight of the same name has another size.
    pub fn store(&self, graph: &Graph) -> Result<Graph, CompileError> {
        let mut problem = None;
        let segment = |name: &str| self.segments.iter().find(|segment| segment.name == name);
        let result = graph.map(
            |id, tensor| {
                let Source::Weight { name, .. } = &graph.value(id).source else {
                    return tensor.clone();
                };
                let Some(segment) = segment(name) else { return tensor.clone() };
                let own = &self.parameters()[segment.start..segment.start + segment.len];
                match Tensor::from_slice(tensor.shape(), own) {
                    Ok(tensor) => tensor,
                    Err(source) => {
                        problem = Some(CompileError::Weight { weight: name.clone(), source });
                        tensor.clone()
                    }
                }
            },
            |result, id, inputs| {
                let node = graph.node(id);
                result.push_multi(&node.name, node.op.clone(), inputs)
            },
        )?;
        problem.map_or(Ok(result), Err)
    }

    /// The inputs of a run, in order: those of the graph.
    pub fn inputs(&self) -> &[Port] {
        self.session.model().inputs()
    }

    /// The outputs of a run, in order: those of the graph but for the gradients of parameters.
    pub fn outputs(&self) -> &[Port] {
        self.session.model().outputs()
    }

    /// Forward and backward pass: computes the outputs and the gradients from the inputs and the
    /// parameters. Allocates nothing, unless it fails.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run(
        &mut self,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RunError> {
        self.session.run(inputs, outputs)?;
        self.clear_between_gradients();
        Ok(())
    }

    /// Sets to zero what lies between the segments of the gradients, where a run leaves what it
    /// needed before.
    fn clear_between_gradients(&mut self) {
        let (len, resident) = (self.len, self.session.resident_mut());
        for Segment { start, len: own, .. } in &self.segments {
            let end = start + own;
            let next = end.next_multiple_of(LINE).min(len);
            resident[len + end..len + next].fill(0.0);
        }
    }

    /// Runs `runs` times on these inputs and measures each step.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile(&mut self, inputs: &[Input<'_>], runs: usize) -> Result<Profile, RunError> {
        let profile = self.session.profile(inputs, runs)?;
        self.clear_between_gradients();
        Ok(profile)
    }

    /// The plan that it runs.
    pub fn model(&self) -> &Model {
        self.session.model()
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.session.threads()
    }
}

impl std::fmt::Debug for TrainingSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainingSession")
            .field("model", self.model())
            .field("segments", &self.segments.len())
            .field("parameters", &self.len)
            .field("threads", &self.threads())
            .finish()
    }
}
