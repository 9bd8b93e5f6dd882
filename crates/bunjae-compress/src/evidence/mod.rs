//! What pictures say about a network: the gradients by which channels can be judged.
//!
//! The network is looked at in the form in which it is used, with batch normalisation by its running
//! statistics, so that the gradient of one picture does not depend on its neighbours in the batch. The
//! loss is the cross-entropy.
//!
//! The first-order effect of removing a channel is the sum over all positions of activation times
//! gradient, wherever a layer reads it. A layer is linear in its weight and in what it reads, so that
//! this is the sum of weight times gradient over the slices that read the channel: gradients of
//! weights are all that is needed, picture by picture.

mod feed;

use std::collections::BTreeMap;
use std::sync::Arc;

use bunjae_data::pictures::Pictures;
use bunjae_engine::{CompileOptions, Input, Output, Port, Segment, Session, TrainingSession};
use bunjae_ir::{Couplings, Graph, GraphError, TensorAxis};
use bunjae_passes::{differentiate, trainable_weights};
use bunjae_tensor::TensorError;
use bunjae_train::{LOSS, TARGETS, TrainError, WEIGHTS, with_batch, with_cross_entropy};
use thiserror::Error;

pub(crate) use feed::{Feed, Filled};

use crate::gates::GATE;
use crate::importance::Criterion;

/// Which pictures are looked at, and how.
#[derive(Clone, Copy, Debug)]
pub struct Looking {
    /// At most so many labelled pictures, drawn by the seed; all without.
    pub samples: Option<usize>,
    /// What the draw follows from.
    pub seed: u64,
    /// Pictures in a batch, where the gradient of each is not needed by itself.
    pub batch: usize,
    /// Threads that compute, and as many that decode.
    pub threads: usize,
}

/// Why pictures say nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The network cannot be run on the pictures, or has no gradient.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// None of the pictures has a label.
    #[error("none of the pictures is labelled, but gradients are those of the loss of a label")]
    NoLabels,
    /// The network tells apart another number of classes than the pictures have.
    #[error("the model tells {model} classes apart, the pictures are of {data}")]
    Classes {
        /// The model's.
        model: usize,
        /// The data's.
        data: usize,
    },
    /// The network's numbers have run over.
    #[error("the {what} is not finite in the first {pictures} pictures")]
    NotFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// The pictures looked at so far.
        pictures: usize,
    },
}

impl EvidenceError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            EvidenceError::Train(error) => error.hint(),
            EvidenceError::NoLabels => Some("labelled pictures lie in a folder for each class"),
            EvidenceError::Classes { .. } => {
                Some("`bunjae finetune --classes` gives the model a new last layer first")
            }
            EvidenceError::NotFinite { .. } => {
                Some("`bunjae evaluate` shows whether the model is sound")
            }
        }
    }
}

/// Errors of the rooms below come as those of training.
macro_rules! through_training {
    ($($error:ty),*) => {
        $(impl From<$error> for EvidenceError {
            fn from(error: $error) -> Self {
                EvidenceError::Train(error.into())
            }
        })*
    };
}
through_training!(
    GraphError,
    TensorError,
    bunjae_passes::DifferentiateError,
    bunjae_engine::CompileError,
    bunjae_engine::RunError,
    bunjae_data::DataError
);

/// What is looked for. Nothing is computed that no criterion needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The effect of removing each channel, picture by picture.
    pub(crate) effects: bool,
    /// The mean gradient of each weight.
    pub(crate) gradients: bool,
    /// The mean of its squares, picture by picture.
    pub(crate) squares: bool,
}

impl Needs {
    fn of(criteria: &[Criterion]) -> Needs {
        criteria.iter().map(|criterion| criterion.needs()).fold(Needs::default(), |a, b| Needs {
            effects: a.effects || b.effects,
            gradients: a.gradients || b.gradients,
            squares: a.squares || b.squares,
        })
    }
}

/// What pictures say about one network. It means nothing for any other, the same network after a cut
/// included.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pictures: usize,
    loss: f64,
    /// By class of the couplings: the mean over the pictures of the absolute first-order effect.
    pub(crate) effect: Vec<f64>,
    /// By class: half the mean over the pictures of the squared first-order effect.
    pub(crate) curvature: Vec<f64>,
    /// By class: whether some layer reads it through a weight.
    pub(crate) is_read: Vec<bool>,
    /// By the name of a weight: its mean gradient.
    pub(crate) gradients: BTreeMap<String, Vec<f64>>,
    /// By the name of a weight: the mean of its squared gradients, picture by picture.
    pub(crate) squares: BTreeMap<String, Vec<f64>>,
}

impl Evidence {
    /// The number of pictures that were looked at.
    pub fn pictures(&self) -> usize {
        self.pictures
    }

    /// Their mean cross-entropy.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// Whether this is the evidence of a network with these couplings and weights.
    pub(crate) fn suits(&self, graph: &Graph, couplings: &Couplings) -> bool {
        let told = self.gradients.iter().chain(&self.squares);
        let mut lengths = told.map(|(name, values)| {
            let weight = graph.find_weight(name).and_then(|id| graph.weight_tensor(id));
            weight.is_some_and(|weight| weight.len() == values.len())
        });
        (self.effect.is_empty() || self.effect.len() == couplings.class_count())
            && lengths.all(|same| same)
    }

    /// Looks at the pictures, for what the criteria need. `graph` and `couplings` are those that are
    /// then judged; vectors that layers share by coincidence should have been untied.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn gather(
        graph: &Graph,
        couplings: &Couplings,
        pictures: &Arc<Pictures>,
        criteria: &[Criterion],
        looking: &Looking,
    ) -> Result<Evidence, EvidenceError> {
        check_classes(graph, pictures)?;
        let needs = Needs::of(criteria);
        let mut evidence = Evidence::default();
        if needs != Needs::default() {
            evidence.look(graph, couplings, pictures, needs, looking)?;
        }
        Ok(evidence)
    }

    fn look(
        &mut self,
        graph: &Graph,
        couplings: &Couplings,
        pictures: &Arc<Pictures>,
        needs: Needs,
        looking: &Looking,
    ) -> Result<(), EvidenceError> {
        // A mean over the batch says nothing of the mean of squares or absolute values.
        let one_by_one = needs.effects || needs.squares;
        let looking = Looking { batch: if one_by_one { 1 } else { looking.batch }, ..*looking };
        let (step, loss) = with_cross_entropy(&with_batch(graph, looking.batch)?)?;
        let weights = trainable_weights(&step, loss);
        if weights.is_empty() {
            return Err(TrainError::NothingToTrain.into());
        }
        let step = differentiate(&step, loss, &weights)?;
        let options = CompileOptions { threads: looking.threads, ..CompileOptions::default() };
        let mut runner = Runner::new(TrainingSession::new(&step, &options)?);
        let readers = readers(graph, couplings, runner.session.segments());
        let classes = if needs.effects { couplings.class_count() } else { 0 };
        (self.effect, self.curvature) = (vec![0.0; classes], vec![0.0; classes]);
        self.is_read = vec![false; classes];
        if needs.effects {
            let read = readers.iter().flat_map(|reader| reader.classes.iter().flatten());
            read.for_each(|&class| self.is_read[class] = true);
        }
        let (mut loss, mut seen) = (0.0, 0);
        let mut effects = vec![0.0; classes];
        let mut sums = vec![0.0; runner.session.gradients().len()];
        let mut squares = vec![0.0; if needs.squares { sums.len() } else { 0 }];
        let scale = looking.batch as f64;
        for filled in Feed::new(pictures, &looking)? {
            let filled = filled?;
            if filled.labelled() == 0 {
                continue;
            }
            runner.run(&filled)?;
            loss += runner.loss() * scale;
            seen += filled.labelled();
            let gradients = || runner.session.gradients().iter().map(|&g| f64::from(g) * scale);
            sums.iter_mut().zip(gradients()).for_each(|(sum, g)| *sum += g);
            squares.iter_mut().zip(gradients()).for_each(|(sum, g)| *sum += g * g);
            if needs.effects {
                effects.fill(0.0);
                let (parameters, gradients) =
                    (runner.session.parameters(), runner.session.gradients());
                readers.iter().for_each(|reader| reader.add(parameters, gradients, &mut effects));
                for (class, effect) in effects.iter().enumerate() {
                    self.effect[class] += effect.abs();
                    self.curvature[class] += effect * effect / 2.0;
                }
            }
            finite("gradient", sums.iter().sum(), seen)?;
            finite("loss", loss, seen)?;
        }
        self.sum_up(loss, seen)?;
        let means = self.effect.iter_mut().chain(&mut self.curvature);
        means.for_each(|sum| *sum /= seen as f64);
        let named = |sums: &[f64]| -> BTreeMap<String, Vec<f64>> {
            let means = |range: std::ops::Range<usize>| {
                sums.get(range).unwrap_or_default().iter().map(|sum| sum / seen as f64).collect()
            };
            let segments = runner.session.segments().iter();
            segments.map(|own| (own.name.clone(), means(own.start..own.start + own.len))).collect()
        };
        if needs.gradients {
            self.gradients = named(&sums);
        }
        if needs.squares {
            self.squares = named(&squares);
        }
        Ok(())
    }

    fn sum_up(&mut self, loss: f64, seen: usize) -> Result<(), EvidenceError> {
        if seen == 0 {
            return Err(EvidenceError::NoLabels);
        }
        (self.pictures, self.loss) = (seen, loss / seen as f64);
        Ok(())
    }
}

/// A weight that reads channels.
struct Reader {
    /// Where it starts in the flat arrays.
    start: usize,
    /// The elements of a slice that lie side by side.
    inner: usize,
    /// By index on the axis that is summed over: the channel that is read there, if it may go.
    classes: Vec<Option<usize>>,
    len: usize,
}

impl Reader {
    /// Adds weight times gradient to the effects of the channels.
    fn add(&self, parameters: &[f32], gradients: &[f32], effects: &mut [f64]) {
        let end = self.start + self.len;
        let pairs = parameters[self.start..end]
            .chunks_exact(self.inner)
            .zip(gradients[self.start..end].chunks_exact(self.inner));
        for ((weights, slopes), class) in pairs.zip(self.classes.iter().cycle()) {
            if let Some(class) = class {
                let products = weights.iter().zip(slopes);
                effects[*class] +=
                    products.map(|(w, g)| f64::from(*w) * f64::from(*g)).sum::<f64>();
            }
        }
    }
}

/// The parameters that read channels.
fn readers(graph: &Graph, couplings: &Couplings, segments: &[Segment]) -> Vec<Reader> {
    let mut readers = Vec::new();
    for &tensor in graph.weights() {
        let name = graph.label(tensor);
        let Some(segment) = segments.iter().find(|segment| segment.name == name) else { continue };
        let summed = |&axis: &usize| couplings.is_contracting(TensorAxis { tensor, axis });
        let Some(axis) = (0..segment.shape.len()).find(summed) else { continue };
        let free = |index| {
            let class = couplings.class(tensor, axis, index)?;
            couplings.pin(class).is_none().then_some(class.index())
        };
        let classes: Vec<Option<usize>> = (0..segment.shape[axis]).map(free).collect();
        if classes.iter().any(Option::is_some) {
            let inner: usize = segment.shape[axis + 1..].iter().product();
            let (start, len) = (segment.start, segment.len);
            readers.push(Reader { start, inner: inner.max(1), classes, len });
        }
    }
    readers
}

/// Refuses a network that tells other classes apart than the pictures have.
pub(crate) fn check_classes(graph: &Graph, pictures: &Pictures) -> Result<(), EvidenceError> {
    let (model, data) = (bunjae_train::classes(graph)?, pictures.dataset().classes.len());
    if model == data { Ok(()) } else { Err(EvidenceError::Classes { model, data }) }
}

pub(crate) fn finite(what: &'static str, value: f64, pictures: usize) -> Result<(), EvidenceError> {
    if value.is_finite() { Ok(()) } else { Err(EvidenceError::NotFinite { what, pictures }) }
}

/// What runs a graph with the loss.
pub(crate) trait Runs {
    fn ports(&self) -> (&[Port], &[Port]);
    fn run(
        &mut self,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), bunjae_engine::RunError>;
}

impl Runs for Session {
    fn ports(&self) -> (&[Port], &[Port]) {
        (self.model().inputs(), self.model().outputs())
    }

    fn run(
        &mut self,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), bunjae_engine::RunError> {
        Session::run(self, inputs, outputs)
    }
}

impl Runs for TrainingSession {
    fn ports(&self) -> (&[Port], &[Port]) {
        (self.inputs(), self.outputs())
    }

    fn run(
        &mut self,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), bunjae_engine::RunError> {
        TrainingSession::run(self, inputs, outputs)
    }
}

/// A session with memory for its gates, which are open, and its outputs.
pub(crate) struct Runner<S> {
    pub(crate) session: S,
    /// By input: its factors, where it is a gate.
    pub(crate) factors: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

impl<S: Runs> Runner<S> {
    pub(crate) fn new(session: S) -> Self {
        let (inputs, outputs) = session.ports();
        let factors = inputs.iter().map(|port| match port.name.starts_with(GATE) {
            true => vec![1.0; port.elements()],
            false => Vec::new(),
        });
        let factors = factors.collect();
        let outputs = outputs.iter().map(|port| vec![0.0; port.elements()]).collect();
        Runner { session, factors, outputs }
    }

    pub(crate) fn run(&mut self, filled: &Filled) -> Result<(), EvidenceError> {
        let (ports, _) = self.session.ports();
        let inputs: Vec<Input<'_>> = ports
            .iter()
            .zip(&self.factors)
            .map(|(port, factors)| match port.name.as_str() {
                TARGETS => Input::from(filled.targets.as_slice()),
                WEIGHTS => Input::from(filled.weights.as_slice()),
                _ if !factors.is_empty() => Input::from(factors.as_slice()),
                _ => Input::from(filled.inputs.as_slice()),
            })
            .collect();
        let mut outputs: Vec<Output<'_>> =
            self.outputs.iter_mut().map(|values| Output::from(values.as_mut_slice())).collect();
        self.session.run(&inputs, &mut outputs)?;
        Ok(())
    }

    pub(crate) fn output(&self, name: &str) -> &[f32] {
        let (_, ports) = self.session.ports();
        let found = ports.iter().position(|port| port.name == name);
        found.and_then(|at| self.outputs.get(at)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn loss(&self) -> f64 {
        self.output(LOSS).first().copied().map_or(f64::NAN, f64::from)
    }
}
