//! A compiled model: steps, memory plan, weights.

use bunjae_kernels::Isa;
use bunjae_tensor::{DType, Tensor};

use super::memory;
use super::step::Step;
use super::view::{Region, View};

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The dimensions.
    pub shape: Vec<usize>,
    pub(crate) view: View,
    /// The elements in row-major order, as the caller has them.
    pub(crate) dense: View,
}

impl Port {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A part of a step whose tasks may run at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    pub step: usize,
    /// Which stage of the step.
    pub stage: usize,
    pub tasks: usize,
}

/// A graph compiled for given sizes, an instruction set and this machine: a list of steps, and the
/// weights, which all its sessions share, and all models of one [`Network`](crate::Network).
pub struct Model {
    pub(crate) name: String,
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) steps: Vec<Step>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) regions: Vec<Region>,
    pub(crate) weights: Vec<Tensor>,
    /// Bytes of arena that a session needs.
    pub(crate) arena_len: usize,
    /// Elements of scratch memory that each thread needs.
    pub(crate) scratch_len: usize,
    /// Elements at the start of the arena that stay there between runs, and that no step uses for
    /// anything else.
    pub(crate) resident_len: usize,
}

/// The parts of a model that its makers decide on.
pub(crate) struct Parts {
    pub name: String,
    pub isa: Isa,
    pub threads: usize,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub steps: Vec<Step>,
    pub regions: Vec<Region>,
    pub weights: Vec<Tensor>,
    pub arena_len: usize,
    pub resident_len: usize,
}

impl Model {
    /// Checks that the parts fit together: that every operand lies inside its region, every region
    /// inside its memory, and that no step writes what it reads. The safety of running rests on
    /// this.
    ///
    /// # Errors
    /// A sentence that says what does not fit, and in which step.
    pub(crate) fn new(parts: Parts) -> Result<Model, String> {
        let Parts { name, isa, threads, inputs, outputs, steps, regions, weights, .. } = parts;
        let Parts { arena_len, resident_len, .. } = parts;
        if resident_len * size_of::<f32>() > arena_len {
            return Err(format!("{resident_len} elements stay in an arena of {arena_len} bytes"));
        }
        let mut stages = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            memory::check(step, &regions, arena_len, &weights)
                .map_err(|what| format!("step {index} ({}): {what}", step.name))?;
            let tasks = step.stages().into_iter().enumerate().filter(|(_, tasks)| *tasks > 0);
            stages.extend(tasks.map(|(stage, tasks)| Stage { step: index, stage, tasks }));
        }
        for (port, write) in
            inputs.iter().map(|port| (port, true)).chain(outputs.iter().map(|port| (port, false)))
        {
            let step = port_step(port, write);
            memory::check(&step, &regions, arena_len, &weights)
                .map_err(|what| format!("{}: {what}", port.name))?;
        }
        let scratch_len = steps.iter().map(Step::scratch_len).max().unwrap_or(0);
        Ok(Model {
            name,
            isa,
            threads,
            inputs,
            outputs,
            steps,
            stages,
            regions,
            weights,
            arena_len,
            scratch_len,
            resident_len,
        })
    }

    /// The name of the graph it was compiled from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The instruction set its kernels use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads its sessions use unless told otherwise.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The inputs, in the order they are given to a run.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs, in the order they are taken from a run.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Bytes of memory of each session, threads aside.
    pub fn arena_bytes(&self) -> usize {
        self.arena_len
    }

    /// Bytes of the weights that a run reads, as the kernels want them. Models of one network have
    /// them in common.
    pub fn weight_bytes(&self) -> usize {
        self.weights.iter().map(|weight| weight.bytes().len()).sum()
    }
}

/// The copy from or to the caller's memory, as a step.
pub(crate) fn port_step(port: &Port, write: bool) -> Step {
    let region = vec![port.view.region];
    let (reads, writes) = if write { (Vec::new(), region) } else { (region, Vec::new()) };
    let kernel = super::step::Kernel::Port(port.view.clone());
    Step { name: port.name.clone(), kernel, reads, writes, macs: 0 }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name)
            .field("isa", &self.isa)
            .field("steps", &self.steps.len())
            .field("arena_bytes", &self.arena_bytes())
            .field("weight_bytes", &self.weight_bytes())
            .finish_non_exhaustive()
    }
}
