//! A run: epochs of steps, with a validation, a checkpoint and a line in the logs after each.

mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bunjae_data::augment::random_for;
use bunjae_data::loader::{Batch, Batches, Loading};
use bunjae_data::pictures::Pictures;
use bunjae_engine::{CompileOptions, FlatMath, Input, Output, Segment, TrainingSession};
use bunjae_ir::Graph;

use crate::average::Average;
use crate::distil::{HINT, TEACHER, WARM_UP};
use crate::error::TrainError;
use crate::infer::validate;
use crate::log::{EpochRecord, Log};
use crate::optimiser::{Optimiser, Pace, Part};
use crate::recipe::{Method, Recipe};
use crate::schedule::Schedule;
use crate::step::{LOSS, StepGraph, TARGETS, WEIGHTS, classes, step_graph, with_batch};
use crate::stop::{Metric, Watch};
use crate::targets::Targets;
use crate::teach::Teachers;

pub use state::LAST;
use state::{flat, with_weights};

/// The share of a batch's statistics in the running ones, PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// What a run works with, beside its recipe.
pub struct Materials {
    /// The model to be trained.
    pub graph: Graph,
    /// Models that are imitated; their logits are averaged.
    pub teachers: Vec<Graph>,
    /// Pictures to learn from.
    pub train: Arc<Pictures>,
    /// Pictures to choose the best epoch by; without any the last epoch is the best.
    pub val: Option<Arc<Pictures>>,
    /// Where checkpoints and logs go; none are written without one.
    pub folder: Option<PathBuf>,
    /// What the model and the pictures are, so that a checkpoint of others is refused.
    pub fingerprint: String,
    /// Threads that compute, and as many that decode.
    pub threads: usize,
}

/// What a run tells while it runs.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The teachers were asked about pictures, before the first epoch: where pictures do not change,
    /// once is enough.
    Teachers {
        /// Pictures done.
        done: u64,
        /// All pictures.
        of: u64,
    },
    /// A batch is done.
    Batch {
        /// The epoch, from 0.
        epoch: u64,
        /// Batches done in this epoch, and in all.
        done: u64,
        /// Batches of an epoch.
        of: u64,
        /// The mean loss of the epoch so far.
        loss: f64,
    },
    /// An epoch is done.
    Epoch {
        /// Its figures.
        record: &'a EpochRecord,
        /// Whether it is the best so far.
        is_best: bool,
    },
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model of the best epoch.
    pub graph: Graph,
    /// The figures of every epoch, also of those before a run was resumed.
    pub epochs: Vec<EpochRecord>,
    /// The epoch of the model.
    pub best_epoch: u64,
    /// Whether the run ended before its last epoch, for want of better figures.
    pub stopped_early: bool,
}

/// A run in progress.
pub struct Run {
    recipe: Recipe,
    materials: Materials,
    session: TrainingSession,
    step: StepGraph,
    optimiser: Optimiser,
    math: FlatMath,
    schedule: Schedule,
    targets: Targets,
    teachers: Teachers,
    /// The running statistics by the names of their weights.
    running: BTreeMap<String, Vec<f32>>,
    average: Option<[Average; 2]>,
    /// Gradients that are added up, where a step takes several batches.
    sums: Vec<f32>,
    outputs: Vec<Vec<f32>>,
    watch: Watch,
    epoch: u64,
    /// The figures of the epochs that are done.
    records: Vec<EpochRecord>,
    best: BTreeMap<String, Vec<f32>>,
    best_epoch: u64,
    per_epoch: u64,
    penalty: Option<Penalty>,
}

/// Adds the slope of a penalty at the parameters, the first array, to the gradients, the second; both
/// are laid out by [`Run::segments`].
pub type Penalty = Box<dyn FnMut(&[f32], &mut [f32])>;

impl Run {
    /// Makes a run ready. With `resume`, it goes on from the last checkpoint in its folder, if there
    /// is one.
    ///
    /// # Errors
    /// [`TrainError`]: settings without meaning, a model that does not suit the pictures, a
    /// checkpoint of another run.
    pub fn new(recipe: Recipe, materials: Materials, resume: bool) -> Result<Run, TrainError> {
        recipe.check()?;
        let dataset = materials.train.dataset();
        dataset.check_trainable()?;
        let outputs = classes(&materials.graph)?;
        if outputs != dataset.classes.len() {
            return Err(TrainError::Classes { model: outputs, data: dataset.classes.len() });
        }
        if recipe.distil.is_some() == materials.teachers.is_empty() {
            return Err(TrainError::setting("teacher", "a method and a teacher go together"));
        }
        let takes_hints =
            recipe.distil.as_ref().is_some_and(|d| d.methods.iter().any(Method::takes_hints));
        if takes_hints && materials.teachers.len() > 1 {
            let what = format!("hints come from one teacher, not {}", materials.teachers.len());
            return Err(TrainError::setting("teacher", what));
        }
        let bound = with_batch(&materials.graph, recipe.batch)?;
        let mut guides = Vec::with_capacity(materials.teachers.len());
        for teacher in &materials.teachers {
            guides.push(with_batch(teacher, recipe.batch)?);
        }
        let step = step_graph(&bound, &recipe, guides.first())?;
        let options = CompileOptions { threads: materials.threads, ..CompileOptions::default() };
        let session = TrainingSession::new(&step.graph, &options)?;
        let math =
            || FlatMath::new(session.model().isa()).map_err(|e| TrainError::Math(e.to_string()));
        let parts = session.segments().iter().map(|s| Part::of(s.start, &s.shape)).collect();
        let len = session.parameters().len();
        let optimiser = Optimiser::new(recipe.rule, recipe.decay, parts, len, math()?)?;
        let math = math()?;
        let threads = materials.threads;
        let teachers = Teachers::new(&guides, &step.features, &recipe, outputs, threads)?;
        let running = running_statistics(&materials.graph, &step)?;
        let flat = flat(&running);
        let average = match recipe.average {
            Some(decay) => {
                Some([Average::new(decay, session.parameters())?, Average::new(decay, &flat)?])
            }
            None => None,
        };
        let per_epoch = (dataset.items.len() / recipe.batch) as u64;
        if per_epoch == 0 {
            let what = format!("{} for {} pictures", recipe.batch, dataset.items.len());
            return Err(TrainError::setting("batch", what));
        }
        let schedule = recipe.schedule(per_epoch.div_ceil(recipe.accumulate));
        let ports = session.outputs().iter().map(|port| vec![0.0; port.elements()]).collect();
        let targets = Targets::new(&recipe.objective, dataset);
        let watch = Watch::new(recipe.metric, recipe.patience, recipe.least_gain)?;
        let mut run = Run {
            recipe,
            materials,
            step,
            optimiser,
            math,
            schedule,
            targets,
            teachers,
            running,
            average,
            sums: vec![0.0; len],
            outputs: ports,
            watch,
            epoch: 0,
            records: Vec::new(),
            best: BTreeMap::new(),
            best_epoch: 0,
            per_epoch,
            penalty: None,
            session,
        };
        if resume {
            run.resume()?;
        }
        Ok(run)
    }

    /// The first epoch that is not done: 0 unless the run was resumed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The parts of the flat arrays of parameters and gradients, one per weight that is trained.
    pub fn segments(&self) -> &[Segment] {
        self.session.segments()
    }

    /// Adds a penalty to the gradients of every step from now on, before they are clipped. A
    /// checkpoint does not know of it: its fingerprint should.
    pub fn penalise(&mut self, penalty: Penalty) {
        self.penalty = Some(penalty);
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`TrainError`]; what was done up to the last checkpoint is not lost.
    pub fn train(&mut self, progress: &mut dyn FnMut(&Event<'_>)) -> Result<Trained, TrainError> {
        let folder = self.materials.folder.clone();
        if let Some(folder) = &folder {
            bunjae_files::remove_unfinished(folder).map_err(TrainError::write(folder))?;
        }
        let Materials { train, fingerprint, .. } = &self.materials;
        let mut asked = |done, of| progress(&Event::Teachers { done, of });
        self.teachers.prepare(&self.recipe, train, folder.as_deref(), fingerprint, &mut asked)?;
        let mut log =
            folder.as_deref().map(|folder| Log::open(folder, &self.records)).transpose()?;
        // A run may have been killed after its last epoch.
        while self.epoch < self.recipe.epochs && !self.watch.is_over(self.epoch) {
            let train_loss = self.one_epoch(progress)?;
            let record = self.record(train_loss)?;
            let figure = match self.recipe.metric {
                Metric::Accuracy => record.accuracy,
                Metric::MacroF1 => record.macro_f1,
                Metric::Loss => record.loss,
            };
            let verdict = figure.map(|figure| self.watch.see(self.epoch, figure));
            let is_best = verdict.is_none_or(|verdict| verdict.is_best) || self.best.is_empty();
            if is_best {
                self.best = self.weights();
                self.best_epoch = self.epoch;
            }
            self.epoch += 1;
            self.records.push(record.clone());
            if let Some(folder) = &folder {
                self.save(folder, is_best)?;
            }
            if let Some(log) = &mut log {
                log.add(&record)?;
            }
            progress(&Event::Epoch { record: &record, is_best });
        }
        let stopped_early = self.epoch < self.recipe.epochs;
        if self.best.is_empty() {
            self.best = self.weights();
        }
        let graph = with_weights(&self.materials.graph, &self.best)?;
        let epochs = self.records.clone();
        Ok(Trained { graph, epochs, best_epoch: self.best_epoch, stopped_early })
    }

    fn loading(&self) -> Loading {
        Loading {
            batch: self.recipe.batch,
            drop_last: true,
            order: self.recipe.order,
            augment: Some(self.recipe.augment.clone()),
            mix: self.recipe.mix,
            seed: self.recipe.seed,
            workers: self.materials.threads,
            ahead: 2,
        }
    }

    /// Returns the mean loss.
    fn one_epoch(&mut self, progress: &mut dyn FnMut(&Event<'_>)) -> Result<f64, TrainError> {
        let epochs = self.epoch..self.epoch + 1;
        let batches = Batches::new(Arc::clone(&self.materials.train), self.loading(), epochs, 0)?;
        let (mut sum, mut done) = (0.0, 0u64);
        let mut pending = 0;
        for batch in batches {
            sum += self.forward_and_backward(batch?, MOMENTUM)?;
            done += 1;
            pending += 1;
            if self.recipe.accumulate > 1 {
                let sums = self.sums.iter_mut().zip(self.session.gradients());
                sums.for_each(|(sum, gradient)| *sum += gradient);
            }
            if pending == self.recipe.accumulate || done == self.per_epoch {
                self.update(pending)?;
                pending = 0;
            }
            let loss = sum / done as f64;
            progress(&Event::Batch { epoch: self.epoch, done, of: self.per_epoch, loss });
        }
        Ok(sum / done.max(1) as f64)
    }

    /// Runs one batch, leaves its gradients in the session, moves the running statistics by
    /// `momentum`, and returns the loss.
    fn forward_and_backward(&mut self, mut batch: Batch, momentum: f64) -> Result<f64, TrainError> {
        let weights = self.targets.prepare(batch.targets.elements_mut::<f32>()?);
        let pictures = batch.inputs.elements::<f32>()?;
        let lesson = self.teachers.teach(&batch)?;
        let warm_up = [self.warm_up()];
        let masks = self.masks(batch.epoch, batch.index);
        let targets = batch.targets.elements::<f32>()?;
        let inputs: Vec<Input<'_>> = self
            .session
            .inputs()
            .iter()
            .map(|port| match port.name.as_str() {
                TARGETS => Input::from(targets),
                WEIGHTS => Input::from(weights.as_slice()),
                TEACHER => Input::from(lesson.logits.as_slice()),
                WARM_UP => Input::from(&warm_up[..]),
                name => {
                    let number = name.strip_prefix(HINT).and_then(|number| number.parse().ok());
                    let features = number.and_then(|number: usize| lesson.features.get(number));
                    let other = features.or_else(|| masks.get(name));
                    Input::from(other.map_or(pictures, Vec::as_slice))
                }
            })
            .collect();
        let mut outputs: Vec<Output<'_>> =
            self.outputs.iter_mut().map(|values| Output::from(values.as_mut_slice())).collect();
        self.session.run(&inputs, &mut outputs)?;
        let loss = self.output(LOSS).first().copied().map_or(f64::NAN, f64::from);
        if !loss.is_finite() {
            let step = self.optimiser.steps();
            return Err(TrainError::NotFinite { what: "loss", value: loss, step });
        }
        self.follow_statistics(momentum);
        Ok(loss)
    }

    /// The weight of a term that grows in the first epochs.
    fn warm_up(&self) -> f32 {
        let methods = self.recipe.distil.iter().flat_map(|distil| &distil.methods);
        let epochs = methods.into_iter().find_map(|method| match method {
            Method::Dkd { warm_up, .. } => Some((*warm_up).max(1)),
            _ => None,
        });
        epochs.map_or(1.0, |epochs| ((self.epoch + 1) as f64 / epochs as f64).min(1.0) as f32)
    }

    fn output(&self, name: &str) -> &[f32] {
        let ports = self.session.outputs().iter().zip(&self.outputs);
        ports.into_iter().find(|(port, _)| port.name == name).map_or(&[], |(_, values)| values)
    }

    /// Moves the running statistics towards those of the batch, whose variance is made unbiased.
    fn follow_statistics(&mut self, momentum: f64) {
        let mut running = std::mem::take(&mut self.running);
        for statistics in &self.step.statistics {
            let names = &statistics.names;
            let count = statistics.count as f64;
            let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
            for (name, output, factor) in [
                (&names.running_mean, &names.mean, 1.0),
                (&names.running_variance, &names.variance, unbiased),
            ] {
                let batch = self.output(output);
                for (running, &batch) in running.get_mut(name).into_iter().flatten().zip(batch) {
                    let new = f64::from(batch) * factor;
                    *running = ((1.0 - momentum) * f64::from(*running) + momentum * new) as f32;
                }
            }
        }
        self.running = running;
    }

    /// Fresh masks of dropout.
    fn masks(&self, epoch: u64, index: usize) -> BTreeMap<String, Vec<f32>> {
        let mut masks = BTreeMap::new();
        let mut random = random_for(self.recipe.seed ^ DROPOUT, epoch, index as u64);
        for mask in &self.step.masks {
            let port = self.session.inputs().iter().find(|port| port.name == mask.input);
            let ratio = f64::from(mask.ratio);
            let kept = (1.0 / (1.0 - ratio)) as f32;
            let values = (0..port.map_or(0, |port| port.elements()))
                .map(|_| if random.unit() < ratio { 0.0 } else { kept })
                .collect();
            masks.insert(mask.input.clone(), values);
        }
        masks
    }

    /// A step of the optimiser, with the mean gradient of the last `batches` batches.
    fn update(&mut self, batches: u64) -> Result<(), TrainError> {
        let step = self.optimiser.steps();
        let (parameters, gradients) = self.session.arrays_mut();
        if self.recipe.accumulate > 1 {
            for (gradient, sum) in gradients.iter_mut().zip(&mut self.sums) {
                *gradient = *sum / batches as f32;
                *sum = 0.0;
            }
        }
        if let Some(penalty) = &mut self.penalty {
            penalty(parameters, gradients);
        }
        let clip = self.optimiser.clip(gradients, self.recipe.clip);
        if !clip.norm.is_finite() {
            let what = "norm of the gradient";
            return Err(TrainError::NotFinite { what, value: clip.norm, step });
        }
        let pace = Pace {
            rate: self.schedule.rate(step),
            momentum: self.schedule.momentum(step),
            scale: clip.factor,
        };
        self.optimiser.step(parameters, gradients, pace)?;
        if let Some([parameters, running]) = &mut self.average {
            parameters.update(self.session.parameters(), &self.math)?;
            running.update(&flat(&self.running), &self.math)?;
        }
        Ok(())
    }

    /// The model as it is now.
    ///
    /// # Errors
    /// [`TrainError::Graph`].
    pub fn graph(&self) -> Result<Graph, TrainError> {
        with_weights(&self.materials.graph, &self.weights())
    }

    /// Estimates the running statistics of batch normalisation anew, as the mean over one epoch's
    /// batches, and leaves everything else as it is: what a network needs after its channels were
    /// cut.
    ///
    /// # Errors
    /// [`TrainError`].
    pub fn recalibrate(&mut self) -> Result<(), TrainError> {
        let epochs = self.epoch..self.epoch + 1;
        let batches = Batches::new(Arc::clone(&self.materials.train), self.loading(), epochs, 0)?;
        for (count, batch) in (1u64..).zip(batches) {
            self.forward_and_backward(batch?, 1.0 / count as f64)?;
        }
        Ok(())
    }

    /// Validates, and sums the epoch up.
    fn record(&self, train_loss: f64) -> Result<EpochRecord, TrainError> {
        let scores = match &self.materials.val {
            Some(val) => {
                let threads = self.materials.threads;
                Some(validate(&self.graph()?, val, self.recipe.batch, threads)?)
            }
            None => None,
        };
        let step = self.optimiser.steps();
        Ok(EpochRecord {
            epoch: self.epoch,
            step,
            rate: self.schedule.rate(step.saturating_sub(1)),
            train_loss,
            loss: scores.as_ref().map(|scores| scores.log_loss),
            accuracy: scores.as_ref().map(|scores| scores.accuracy),
            macro_f1: scores.as_ref().map(|scores| scores.mean.f1),
        })
    }
}

/// What keeps the numbers of dropout apart from those of the pictures.
const DROPOUT: u64 = 0x6472_6f70;

/// The running statistics of the batch normalisations that are trained.
fn running_statistics(
    graph: &Graph,
    step: &StepGraph,
) -> Result<BTreeMap<String, Vec<f32>>, TrainError> {
    let names = step.statistics.iter().map(|statistics| &statistics.names);
    let names = names.flat_map(|names| [&names.running_mean, &names.running_variance]);
    let mut running = BTreeMap::new();
    for name in names {
        let tensor = graph.find_weight(name).and_then(|id| graph.weight_tensor(id));
        if let Some(tensor) = tensor {
            running.insert(name.clone(), tensor.elements::<f32>()?.to_vec());
        }
    }
    Ok(running)
}
