//! A step: one prepared kernel and the views it works on.

use std::ops::Range;

use bunjae_kernels::{
    Binary, Conv, ConvBlock, Copy, GlobalPool, Linear, Map, Planar, Pool, Resize, Softmax,
};
use bunjae_tensor::DType;

use super::generic;
use super::memory::StepMemory;
use super::training_step::TrainingKernel;
use super::view::View;

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepError {
    /// An operand is not what the plan says; a fault of the plan.
    Operand,
    /// A generic kernel has no form for this element type; a fault of the plan.
    DType(DType),
    /// An integer was divided by 0.
    DivisionByZero,
    /// A kernel refused memory that is too short; a fault of the plan.
    Kernel,
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StepError::Operand => f.write_str("an operand is not what the plan says"),
            StepError::DType(dtype) => write!(f, "no kernel for {dtype}"),
            StepError::DivisionByZero => f.write_str("an integer divided by 0"),
            StepError::Kernel => f.write_str("a kernel was given too little memory"),
        }
    }
}

/// A step of a plan.
pub(crate) struct Step {
    /// The paths of the nodes it computes.
    pub name: String,
    pub kernel: Kernel,
    /// The regions it reads.
    pub reads: Vec<usize>,
    /// The regions it writes, workspace included.
    pub writes: Vec<usize>,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// What a step computes.
pub(crate) enum Kernel {
    /// A kernel written for the instruction set.
    Fast(Box<FastKernel>),
    Generic(Box<generic::Generic>),
    /// A kernel that only training has.
    Training(Box<TrainingKernel>),
    /// Nothing: the caller's elements are copied to or from this view around a run.
    Port(View),
}

/// A prepared kernel of the kernels crate.
pub(crate) enum Prepared {
    Conv(Box<Conv>),
    Block(Box<ConvBlock>),
    Linear(Linear),
    Pool(Pool),
    GlobalPool(GlobalPool),
    Map(Map),
    Binary(Binary),
    Copy(Copy),
    Softmax(Softmax),
    Resize(Resize),
}

/// A prepared kernel and its operands.
pub(crate) struct FastKernel {
    pub prepared: Prepared,
    pub input: View,
    /// The residual of a convolution, the right operand of a binary operation.
    pub second: Option<View>,
    pub output: View,
    /// Regions of weights; those of a block hold its biases too.
    pub weights: Option<usize>,
    pub bias: Option<usize>,
    pub slopes: Option<usize>,
    /// A region of the arena.
    pub workspace: Option<usize>,
    /// What it does beyond its name, for people.
    pub extras: String,
}

impl FastKernel {
    /// A kernel with one operand and nothing else.
    pub(crate) fn new(prepared: Prepared, input: View, output: View) -> FastKernel {
        FastKernel {
            prepared,
            input,
            second: None,
            output,
            weights: None,
            bias: None,
            slopes: None,
            workspace: None,
            extras: String::new(),
        }
    }

    fn stages(&self) -> [usize; 3] {
        match &self.prepared {
            Prepared::Conv(kernel) => kernel.stages(),
            Prepared::Block(kernel) => kernel.stages(),
            Prepared::Linear(kernel) => [kernel.tasks(), 0, 0],
            Prepared::Pool(kernel) => [kernel.tasks(), 0, 0],
            Prepared::GlobalPool(kernel) => [kernel.tasks(), 0, 0],
            Prepared::Map(kernel) => [kernel.tasks(), 0, 0],
            Prepared::Binary(kernel) => [kernel.tasks(), 0, 0],
            Prepared::Copy(kernel) => [kernel.tasks(), 0, 0],
            Prepared::Softmax(kernel) => [kernel.tasks(), 0, 0],
            Prepared::Resize(kernel) => [kernel.tasks(), 0, 0],
        }
    }

    fn scratch_len(&self) -> usize {
        match &self.prepared {
            Prepared::Conv(kernel) => kernel.scratch_len(),
            Prepared::Block(kernel) => kernel.scratch_len(),
            Prepared::Linear(kernel) => kernel.scratch_len(),
            Prepared::Pool(kernel) => kernel.scratch_len(),
            Prepared::Resize(kernel) => kernel.scratch_len(),
            Prepared::GlobalPool(_)
            | Prepared::Map(_)
            | Prepared::Binary(_)
            | Prepared::Copy(_)
            | Prepared::Softmax(_) => 0,
        }
    }

    fn name(&self) -> String {
        let name = match &self.prepared {
            Prepared::Conv(kernel) => {
                let [height, width] = kernel.spec().kernel;
                format!("conv/{} {height}x{width}", kernel.form().name())
            }
            Prepared::Block(kernel) => {
                let [expand, depthwise] =
                    [kernel.spec().expand.kernel, kernel.spec().depthwise.kernel];
                format!("conv/block {}x{} {}x{}", expand[0], expand[1], depthwise[0], depthwise[1])
            }
            Prepared::Linear(_) => "linear".to_string(),
            Prepared::Pool(_) => "pool".to_string(),
            Prepared::GlobalPool(_) => "pool/global".to_string(),
            Prepared::Map(_) => "map".to_string(),
            Prepared::Binary(_) => "binary".to_string(),
            Prepared::Copy(_) => "copy".to_string(),
            Prepared::Softmax(_) => "softmax".to_string(),
            Prepared::Resize(_) => "resize".to_string(),
        };
        name + &self.extras
    }
}

impl Step {
    /// Number of tasks of each stage.
    pub(crate) fn stages(&self) -> [usize; 3] {
        match &self.kernel {
            Kernel::Fast(kernel) => kernel.stages(),
            Kernel::Generic(_) => [1, 0, 0],
            Kernel::Training(kernel) => kernel.stages(),
            Kernel::Port(_) => [0; 3],
        }
    }

    /// Elements of scratch memory that each thread needs.
    pub(crate) fn scratch_len(&self) -> usize {
        match &self.kernel {
            Kernel::Fast(kernel) => kernel.scratch_len(),
            Kernel::Training(kernel) => kernel.scratch_len(),
            Kernel::Generic(_) | Kernel::Port(_) => 0,
        }
    }

    /// Every mention of a region, to be numbered anew.
    pub(crate) fn regions_mut(&mut self) -> impl Iterator<Item = &mut usize> {
        let mut own: Vec<&mut usize> = match &mut self.kernel {
            Kernel::Fast(kernel) => {
                let kernel = &mut **kernel;
                let views = [&mut kernel.input, &mut kernel.output];
                let regions = views.into_iter().chain(&mut kernel.second).map(|v| &mut v.region);
                let optional = [
                    &mut kernel.weights,
                    &mut kernel.bias,
                    &mut kernel.slopes,
                    &mut kernel.workspace,
                ];
                regions.chain(optional.into_iter().flatten()).collect()
            }
            Kernel::Generic(kernel) => {
                kernel.views_mut().into_iter().map(|view| &mut view.region).collect()
            }
            Kernel::Training(kernel) => kernel.regions_mut().collect(),
            Kernel::Port(view) => vec![&mut view.region],
        };
        own.extend(self.reads.iter_mut().chain(&mut self.writes));
        own.into_iter()
    }

    /// Runs some tasks of a stage.
    ///
    /// # Errors
    /// [`StepError`].
    pub(crate) fn run_tasks(
        &self,
        stage: usize,
        tasks: Range<usize>,
        memory: &StepMemory<'_>,
        scratch: &mut [f32],
    ) -> Result<(), StepError> {
        match &self.kernel {
            Kernel::Fast(kernel) => memory.fast_tasks(kernel, stage, tasks, scratch),
            Kernel::Generic(kernel) => kernel.run(memory),
            Kernel::Training(kernel) => kernel.run(stage, tasks, memory, scratch),
            Kernel::Port(_) => Ok(()),
        }
    }

    /// All operands and results that are views.
    pub(crate) fn views(&self) -> Vec<&View> {
        match &self.kernel {
            Kernel::Fast(kernel) => {
                [&kernel.input].into_iter().chain(&kernel.second).chain([&kernel.output]).collect()
            }
            Kernel::Generic(kernel) => kernel.views(),
            Kernel::Training(kernel) => kernel.reads.iter().chain(&kernel.writes).collect(),
            Kernel::Port(view) => vec![view],
        }
    }

    /// What people call the kernel.
    pub(crate) fn kernel_name(&self) -> String {
        match &self.kernel {
            Kernel::Fast(kernel) => kernel.name(),
            Kernel::Generic(kernel) => kernel.name().to_string(),
            Kernel::Training(kernel) => kernel.name(),
            Kernel::Port(_) => "port".to_string(),
        }
    }
}

/// Clears the borders of a picture's planes and the gaps between its rows.
pub(crate) fn clear_halo(planar: &Planar, elements: &mut [f32]) -> Result<(), StepError> {
    planar.clear_halo(elements).map_err(|_| StepError::Kernel)
}
