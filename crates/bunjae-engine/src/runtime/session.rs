//! Running a model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bunjae_kernels::AlignedVec;
use bunjae_tensor::{DType, Element, Tensor};

use super::explain::Profile;
use super::generic::{copy_from, copy_to};
use super::memory::StepMemory;
use super::model::{Model, Port, port_step};
use super::step::Step;
use super::team::Team;
use crate::error::RunError;

/// Elements given to a run, in row-major order.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    dtype: DType,
    bytes: &'a [u8],
}

impl<'a, T: Element> From<&'a [T]> for Input<'a> {
    fn from(elements: &'a [T]) -> Input<'a> {
        Input { dtype: T::DTYPE, bytes: bytemuck::cast_slice(elements) }
    }
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(tensor: &'a Tensor) -> Input<'a> {
        Input { dtype: tensor.dtype(), bytes: tensor.bytes() }
    }
}

/// Memory for elements taken from a run, in row-major order.
#[derive(Debug)]
pub struct Output<'a> {
    dtype: DType,
    bytes: &'a mut [u8],
}

impl<'a, T: Element> From<&'a mut [T]> for Output<'a> {
    fn from(elements: &'a mut [T]) -> Output<'a> {
        Output { dtype: T::DTYPE, bytes: bytemuck::cast_slice_mut(elements) }
    }
}

impl<'a> From<&'a mut Tensor> for Output<'a> {
    /// Copies the tensor's storage first where it is shared.
    fn from(tensor: &'a mut Tensor) -> Output<'a> {
        Output { dtype: tensor.dtype(), bytes: tensor.bytes_mut() }
    }
}

/// The memory and the threads to run a model with. Several sessions may share one model, each on a
/// thread of its own.
pub struct Session {
    team: Team,
    scratch: AlignedVec,
    /// For the copies from and to the caller's memory.
    loads: Vec<Step>,
    stores: Vec<Step>,
}

impl Session {
    /// A session with the model's number of threads.
    ///
    /// # Errors
    /// [`RunError::Thread`].
    pub fn new(model: Arc<Model>) -> Result<Session, RunError> {
        let threads = model.threads;
        Session::with_threads(model, threads)
    }

    /// A session with so many threads, the caller's included.
    ///
    /// # Errors
    /// [`RunError::Thread`].
    pub fn with_threads(model: Arc<Model>, threads: usize) -> Result<Session, RunError> {
        let steps = |ports: &[Port], write| -> Vec<Step> {
            ports.iter().map(|port| port_step(port, write)).collect()
        };
        Ok(Session {
            scratch: AlignedVec::zeroed(model.scratch_len),
            loads: steps(&model.inputs, true),
            stores: steps(&model.outputs, false),
            team: Team::new(model, threads)?,
        })
    }

    /// The model it runs.
    pub fn model(&self) -> &Model {
        &self.team.shared.model
    }

    /// The memory that stays as it is between runs.
    pub(crate) fn resident(&self) -> &[f32] {
        let shared = &*self.team.shared;
        // SAFETY: the model made sure that the arena is as large; steps only run while `self` is
        // borrowed exclusively.
        unsafe { shared.arena.start(shared.model.resident_len) }
    }

    /// The memory that stays as it is between runs, to be changed.
    pub(crate) fn resident_mut(&mut self) -> &mut [f32] {
        let shared = &*self.team.shared;
        // SAFETY: as in `resident`; the session is borrowed exclusively for as long as the slice.
        unsafe { shared.arena.start_mut(shared.model.resident_len) }
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Computes the outputs from the inputs. Allocates nothing, unless it fails.
    ///
    /// # Errors
    /// [`RunError`] where an input or output is not what the model has, and where a step fails.
    pub fn run(
        &mut self,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RunError> {
        self.load(inputs)?;
        {
            let model = &*self.team.shared.model;
            count("output", model.outputs.len(), outputs.len())?;
            for (port, output) in model.outputs.iter().zip(&*outputs) {
                check("output", port, output.dtype, output.bytes.len())?;
            }
        }
        self.team.run(&mut self.scratch, |_| {})?;
        let shared = &*self.team.shared;
        for ((port, step), output) in shared.model.outputs.iter().zip(&self.stores).zip(outputs) {
            // SAFETY: no step runs, as `self` is borrowed exclusively; the copies were checked with
            // the model.
            let memory = unsafe { StepMemory::new(shared.memory(), step) };
            copy_to(&port.view, &memory, &port.dense, output.bytes).map_err(|reason| {
                RunError::Step { step: port.name.clone(), reason: reason.to_string() }
            })?;
        }
        Ok(())
    }

    /// As [`Session::run`], for tensors, and with new tensors for the outputs.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_tensors(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
        let outputs = self.model().outputs.iter();
        let mut outputs = outputs
            .map(|port| {
                Tensor::zeros(port.dtype, &port.shape).map_err(|error| RunError::Step {
                    step: port.name.clone(),
                    reason: error.to_string(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.run(&inputs, &mut outputs.iter_mut().map(Output::from).collect::<Vec<_>>())?;
        Ok(outputs)
    }

    fn load(&mut self, inputs: &[Input<'_>]) -> Result<(), RunError> {
        let shared = &*self.team.shared;
        count("input", shared.model.inputs.len(), inputs.len())?;
        for (port, input) in shared.model.inputs.iter().zip(inputs) {
            check("input", port, input.dtype, input.bytes.len())?;
        }
        for ((port, step), input) in shared.model.inputs.iter().zip(&self.loads).zip(inputs) {
            // SAFETY: as in `run`.
            let memory = unsafe { StepMemory::new(shared.memory(), step) };
            copy_from(input.bytes, &port.dense, &port.view, &memory).map_err(|reason| {
                RunError::Step { step: port.name.clone(), reason: reason.to_string() }
            })?;
        }
        Ok(())
    }

    /// Runs `runs` times on these inputs and measures each step.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile(&mut self, inputs: &[Input<'_>], runs: usize) -> Result<Profile, RunError> {
        let steps = self.model().steps.len();
        let mut times: Vec<Vec<Duration>> = vec![Vec::with_capacity(runs); steps];
        for _ in 0..runs.max(1) {
            self.load(inputs)?;
            let mut last = Instant::now();
            self.team.run(&mut self.scratch, |step| {
                let now = Instant::now();
                times[step].push(now - last);
                last = now;
            })?;
        }
        Ok(Profile::new(self.model(), self.threads(), times))
    }
}

fn count(what: &'static str, expected: usize, found: usize) -> Result<(), RunError> {
    if expected == found { Ok(()) } else { Err(RunError::Count { what, expected, found }) }
}

fn check(what: &'static str, port: &Port, dtype: DType, bytes: usize) -> Result<(), RunError> {
    if dtype != port.dtype {
        let (name, expected) = (port.name.clone(), port.dtype);
        return Err(RunError::DType { what, name, expected, found: dtype });
    }
    let (expected, found) = (port.elements(), bytes / dtype.size());
    if expected != found {
        let (name, shape) = (port.name.clone(), port.shape.clone());
        return Err(RunError::Length { what, name, shape, expected, found });
    }
    Ok(())
}
