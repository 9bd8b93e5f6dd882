//! Steps that only training has: weights packed at every run, gradients, and normalisation by the
//! batch.

use std::ops::Range;
use std::sync::Arc;

use bunjae_kernels::{
    BatchNormAgain, BatchNormAgainInputs, BatchNormGrad, BatchNormGradInputs, BatchNormGradOutputs,
    BatchNormInputs, BatchNormNumbers, BatchNormOutputs, BatchNormTrain, ChannelSum, ConvInputGrad,
    ConvWeightGrad, InputGradInputs, KernelError, MapGrad, MaxPoolGrad, Output, Packing,
    WeightGradInputs, WeightLayout,
};

use super::memory::StepMemory;
use super::step::StepError;
use super::view::View;

/// A prepared kernel and its operands and results, in the order that the kernel's variant names.
pub(crate) struct TrainingKernel {
    pub prepared: TrainingPrepared,
    pub reads: Vec<View>,
    pub writes: Vec<View>,
    /// A region of the arena.
    pub workspace: Option<usize>,
    /// What it does beyond its name, for people.
    pub extras: String,
}

/// A prepared kernel of the kernels crate.
pub(crate) enum TrainingPrepared {
    /// Weights to packed weights.
    Pack(Packing, WeightLayout),
    /// Weights to packed weights for the gradient of a convolution's input.
    PackInputGrad(Arc<ConvInputGrad>),
    /// Gradient, packed weights and what is added (if anything) to the gradient of the input.
    InputGrad(Arc<ConvInputGrad>),
    /// Input and gradient to the gradient of the weights; with gamma, beta, mean and variance the
    /// input is what a normalisation read.
    WeightGrad(Box<ConvWeightGrad>),
    /// Input, gamma, beta and residual (if any) to output, mean and variance.
    BatchNorm(Box<BatchNormTrain>),
    /// Input, gamma, beta, mean, variance and residual (if any) to output.
    BatchNormAgain(Box<BatchNormAgain>),
    /// Input, gradient, gamma, beta, mean and variance to the gradients of input, gamma, beta and of
    /// a bias (if wanted).
    BatchNormGrad(Box<BatchNormGrad>),
    /// Input (or result) and gradient to the gradient of the input.
    MapGrad(Box<MapGrad>),
    /// Input and gradient to the gradient of the input.
    MaxPoolGrad(Box<MaxPoolGrad>),
    /// A tensor to the sums of its channels.
    ChannelSum(Box<ChannelSum>),
}

impl TrainingKernel {
    /// A kernel without workspace.
    pub(crate) fn new(
        prepared: TrainingPrepared,
        reads: Vec<View>,
        writes: Vec<View>,
    ) -> TrainingKernel {
        TrainingKernel { prepared, reads, writes, workspace: None, extras: String::new() }
    }

    /// Number of tasks of each stage.
    pub(crate) fn stages(&self) -> [usize; 3] {
        match &self.prepared {
            TrainingPrepared::Pack(packing, _) => [packing.tasks(), 0, 0],
            TrainingPrepared::PackInputGrad(kernel) => [kernel.packing_tasks(), 0, 0],
            TrainingPrepared::InputGrad(kernel) => kernel.stages(),
            TrainingPrepared::WeightGrad(kernel) => kernel.stages(),
            TrainingPrepared::BatchNorm(kernel) => [kernel.tasks(), 0, 0],
            TrainingPrepared::BatchNormAgain(kernel) => [kernel.tasks(), 0, 0],
            TrainingPrepared::BatchNormGrad(kernel) => [kernel.tasks(), 0, 0],
            TrainingPrepared::MapGrad(kernel) => [kernel.tasks(), 0, 0],
            TrainingPrepared::MaxPoolGrad(kernel) => [kernel.tasks(), 0, 0],
            TrainingPrepared::ChannelSum(kernel) => [kernel.tasks(), 0, 0],
        }
    }

    /// Elements of scratch memory that each thread needs.
    pub(crate) fn scratch_len(&self) -> usize {
        match &self.prepared {
            TrainingPrepared::InputGrad(kernel) => kernel.scratch_len(),
            TrainingPrepared::WeightGrad(kernel) => kernel.scratch_len(),
            TrainingPrepared::MaxPoolGrad(kernel) => kernel.scratch_len(),
            TrainingPrepared::BatchNorm(kernel) => kernel.scratch_len(),
            TrainingPrepared::BatchNormAgain(kernel) => kernel.scratch_len(),
            TrainingPrepared::BatchNormGrad(kernel) => kernel.scratch_len(),
            TrainingPrepared::Pack(..)
            | TrainingPrepared::PackInputGrad(_)
            | TrainingPrepared::MapGrad(_)
            | TrainingPrepared::ChannelSum(_) => 0,
        }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        let name = match &self.prepared {
            TrainingPrepared::Pack(..) | TrainingPrepared::PackInputGrad(_) => "pack".to_string(),
            TrainingPrepared::InputGrad(kernel) => {
                let [height, width] = kernel.spec().kernel;
                format!("conv grad/{} {height}x{width}", kernel.form())
            }
            TrainingPrepared::WeightGrad(kernel) => {
                let [height, width] = kernel.spec().kernel;
                format!("conv weight grad {height}x{width}")
            }
            TrainingPrepared::BatchNorm(_) => "batch norm train".to_string(),
            TrainingPrepared::BatchNormAgain(_) => "batch norm again".to_string(),
            TrainingPrepared::BatchNormGrad(_) => "batch norm grad".to_string(),
            TrainingPrepared::MapGrad(_) => "map grad".to_string(),
            TrainingPrepared::MaxPoolGrad(_) => "pool grad".to_string(),
            TrainingPrepared::ChannelSum(_) => "channel sum".to_string(),
        };
        name + &self.extras
    }

    /// The regions that it writes.
    pub(crate) fn written(&self) -> Vec<usize> {
        self.writes.iter().map(|view| view.region).chain(self.workspace).collect()
    }

    /// Every mention of a region, to be numbered anew.
    pub(crate) fn regions_mut(&mut self) -> impl Iterator<Item = &mut usize> {
        let views = self.reads.iter_mut().chain(&mut self.writes);
        views.map(|view| &mut view.region).chain(&mut self.workspace)
    }

    /// Runs some tasks of a stage.
    ///
    /// # Errors
    /// [`StepError`].
    pub(crate) fn run(
        &self,
        stage: usize,
        tasks: Range<usize>,
        memory: &StepMemory<'_>,
        scratch: &mut [f32],
    ) -> Result<(), StepError> {
        // A tensor in its layout, from the region's start; and a vector from its first element on.
        let read = |at: usize| memory.read::<f32>(self.reads.get(at).ok_or(StepError::Operand)?);
        let vector = |at: usize| memory.slice_at(self.reads.get(at).ok_or(StepError::Operand)?);
        // Gamma, beta, mean and variance.
        let numbers = |at: usize| {
            let (gamma, beta) = (vector(at)?, vector(at + 1)?);
            let (mean, variance) = (vector(at + 2)?, vector(at + 3)?);
            Ok::<_, StepError>(BatchNormNumbers { gamma, beta, mean, variance })
        };
        let optional = |at: usize| match self.reads.get(at) {
            Some(view) => memory.read::<f32>(view).map(Some),
            None => Ok(None),
        };
        let region = |at: usize| match self.writes.get(at) {
            Some(view) => memory.output(view.region, 0),
            None => Err(StepError::Operand),
        };
        let result = |at: usize| {
            let view = self.writes.get(at).ok_or(StepError::Operand)?;
            let first = usize::try_from(view.first).map_err(|_| StepError::Operand)?;
            memory.output(view.region, first)
        };
        let workspace = match self.workspace {
            Some(region) => memory.output(region, 0)?,
            None => Output::empty(),
        };
        // SAFETY (all calls below): other threads run other tasks of the same stage with their own
        // scratch memory, and stages follow one another (`StepMemory::new`); results and workspace
        // overlap nothing else (`memory::check`).
        let done: Result<(), KernelError> = match &self.prepared {
            // SAFETY: see above.
            TrainingPrepared::Pack(packing, layout) => unsafe {
                packing.pack_tasks(tasks, vector(0)?, layout, result(0)?)
            },
            // SAFETY: see above.
            TrainingPrepared::PackInputGrad(kernel) => unsafe {
                kernel.pack_tasks(tasks, vector(0)?, result(0)?)
            },
            TrainingPrepared::InputGrad(kernel) => {
                let inputs = InputGradInputs {
                    gradient: read(0)?,
                    weights: vector(1)?,
                    bias: None,
                    added: optional(2)?,
                };
                // SAFETY: see above.
                unsafe { kernel.run_tasks(stage, tasks, &inputs, region(0)?, workspace, scratch) }
            }
            TrainingPrepared::WeightGrad(kernel) => {
                let numbers = if self.reads.len() > 2 { Some(numbers(2)?) } else { None };
                let inputs = WeightGradInputs { input: read(0)?, gradient: read(1)?, numbers };
                // SAFETY: see above.
                unsafe { kernel.run_tasks(stage, tasks, &inputs, result(0)?, workspace, scratch) }
            }
            TrainingPrepared::BatchNorm(kernel) => {
                let inputs = BatchNormInputs {
                    input: read(0)?,
                    gamma: vector(1)?,
                    beta: vector(2)?,
                    residual: optional(3)?,
                };
                let outputs =
                    BatchNormOutputs { output: region(0)?, mean: result(1)?, variance: result(2)? };
                // SAFETY: see above.
                unsafe { kernel.run_tasks(tasks, &inputs, &outputs, scratch) }
            }
            TrainingPrepared::BatchNormAgain(kernel) => {
                let (input, numbers) = (read(0)?, numbers(1)?);
                let inputs = BatchNormAgainInputs { input, numbers, residual: optional(5)? };
                // SAFETY: see above.
                unsafe { kernel.run_tasks(tasks, &inputs, region(0)?, scratch) }
            }
            TrainingPrepared::BatchNormGrad(kernel) => {
                let inputs = BatchNormGradInputs {
                    input: read(0)?,
                    gradient: read(1)?,
                    gamma: vector(2)?,
                    beta: vector(3)?,
                    mean: vector(4)?,
                    variance: vector(5)?,
                };
                let outputs = BatchNormGradOutputs {
                    input: region(0)?,
                    gamma: result(1)?,
                    beta: result(2)?,
                    bias: if self.writes.len() > 3 { Some(result(3)?) } else { None },
                };
                // SAFETY: see above.
                unsafe { kernel.run_tasks(tasks, &inputs, &outputs, scratch) }
            }
            // SAFETY: see above.
            TrainingPrepared::MapGrad(kernel) => unsafe {
                kernel.run_tasks(tasks, read(0)?, read(1)?, region(0)?)
            },
            // SAFETY: see above.
            TrainingPrepared::MaxPoolGrad(kernel) => unsafe {
                kernel.run_tasks(tasks, read(0)?, read(1)?, region(0)?, scratch)
            },
            // SAFETY: see above.
            TrainingPrepared::ChannelSum(kernel) => unsafe {
                kernel.run_tasks(tasks, read(0)?, result(0)?)
            },
        };
        done.map_err(|_| StepError::Kernel)
    }
}
