//! The memory of a session, and the reason why `unsafe` stands in this crate.
//!
//! # Why it is needed
//!
//! A step reads some regions of the arena and writes others, and several threads share one step.
//! Rust's borrows cannot say that, so the plan says it: [`check`] makes sure, before a model
//! exists, that the regions a step writes overlap none that it reads. What is left to the caller is
//! the order of steps: that no two run at once. It is promised where [`StepMemory::new`] is called,
//! by the team of threads for steps and by the session for the copies around them.

use std::cell::Cell;
use std::ops::Range;

use bunjae_kernels::{AlignedVec, BlockInputs, ConvInputs, KernelError, Output};
use bunjae_tensor::{Element, Tensor};
use memmap2::MmapMut;

use super::step::{FastKernel, Prepared, Step, StepError};
use super::view::{Region, Space, View};

/// Every region starts at a multiple of this many bytes: a cache line.
pub(crate) const ALIGN: usize = 64;

/// From this size on an arena asks for huge pages: a step on a batch touches thousands of planes in
/// turn, more than a processor remembers the addresses of in pages of 4 KiB.
const HUGE: usize = 16 << 20;

/// Memory that the steps of a session write to.
pub(crate) struct Arena {
    ptr: *mut f32,
    /// Owns what `ptr` points to, and is never touched again.
    _memory: Owner,
}

enum Owner {
    Heap { _vec: AlignedVec },
    Pages { _map: MmapMut },
}

// SAFETY: the memory is owned, and reached only through `StepMemory`, whose creation promises that
// no two threads touch the same elements unless both read.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Zeroed memory of at least `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Arena {
        if bytes >= HUGE
            && let Some(mut map) = huge_pages(bytes)
        {
            return Arena { ptr: map.as_mut_ptr().cast(), _memory: Owner::Pages { _map: map } };
        }
        let mut vec = AlignedVec::zeroed(bytes.div_ceil(ALIGN) * (ALIGN / size_of::<f32>()));
        Arena { ptr: vec.as_mut_ptr(), _memory: Owner::Heap { _vec: vec } }
    }

    /// The first elements.
    ///
    /// # Safety
    /// The arena has as many, and nobody writes them while the slice lives.
    pub(crate) unsafe fn start(&self, len: usize) -> &[f32] {
        // SAFETY: the caller's promise; the memory is initialised.
        unsafe { std::slice::from_raw_parts(self.ptr, len) }
    }

    /// The first elements, to be changed.
    ///
    /// # Safety
    /// The arena has as many, and nobody else reads or writes them while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "the caller answers for being alone")]
    pub(crate) unsafe fn start_mut(&self, len: usize) -> &mut [f32] {
        // SAFETY: the caller's promise; the memory is initialised.
        unsafe { std::slice::from_raw_parts_mut(self.ptr, len) }
    }
}

/// Zeroed pages of at least `bytes` bytes, huge ones where the system has them to give; `None` where
/// it cannot be asked.
fn huge_pages(bytes: usize) -> Option<MmapMut> {
    if cfg!(miri) {
        return None;
    }
    let map = MmapMut::map_anon(bytes.next_multiple_of(ALIGN)).ok()?;
    // A hint: a system that does not follow it gives small pages.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map)
}

/// Everything that a step may reach.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub arena: &'a Arena,
    pub weights: &'a [Tensor],
    pub regions: &'a [Region],
}

/// What one step sees: regions it reads, and regions it writes, each handed out once.
pub(crate) struct StepMemory<'a> {
    memory: Memory<'a>,
    writes: &'a [usize],
    taken: Cell<u64>,
}

/// Makes sure that a step's regions lie inside their memory, that no region it writes is a weight
/// or overlaps another region of the step, and that every operand lies inside its region.
pub(crate) fn check(
    step: &Step,
    regions: &[Region],
    arena: usize,
    weights: &[Tensor],
) -> Result<(), String> {
    let region = |index: &usize| regions.get(*index).ok_or(format!("no region {index}"));
    if step.writes.len() > 64 {
        return Err("more than 64 results".into());
    }
    for index in step.reads.iter().chain(&step.writes) {
        let region = region(index)?;
        let space = match region.space {
            Space::Arena => arena,
            Space::Weight(at) => weights.get(at).map_or(0, |weight| weight.bytes().len()),
        };
        let end = region.start.checked_add(region.len);
        if region.start % ALIGN != 0 || end.is_none_or(|end| end > space) {
            return Err(format!("region {index} is {region:?} of {space} bytes"));
        }
    }
    for (at, index) in step.writes.iter().enumerate() {
        let own = region(index)?;
        if own.space != Space::Arena {
            return Err(format!("region {index} holds weights, and is written"));
        }
        for other in step.reads.iter().chain(&step.writes[..at]) {
            let other = region(other)?;
            let apart = own.start + own.len <= other.start || other.start + other.len <= own.start;
            if other.space == Space::Arena && !apart {
                return Err(format!("{own:?} is written and overlaps {other:?}"));
            }
        }
    }
    for view in step.views() {
        if !step.reads.contains(&view.region) && !step.writes.contains(&view.region) {
            return Err(format!("{view:?} is no operand"));
        }
        let elements = region(&view.region)?.len / view.dtype.size();
        let bounds = view.bounds().ok_or(format!("{view:?} has no elements"))?;
        if bounds.0 < 0 || usize::try_from(bounds.1).is_ok_and(|high| high >= elements) {
            return Err(format!("{view:?} reaches over its {elements} elements"));
        }
    }
    Ok(())
}

impl<'a> StepMemory<'a> {
    /// The memory of a step of a model.
    ///
    /// # Safety
    /// The step passed [`check`] with these regions, this arena and these weights. While the result
    /// and what is borrowed from it is in use, no other step runs on the arena, and of this step
    /// only tasks of the same stage do (so that a step without tasks is run by one thread alone).
    pub(crate) unsafe fn new(memory: Memory<'a>, step: &'a Step) -> StepMemory<'a> {
        StepMemory { memory, writes: &step.writes, taken: Cell::new(0) }
    }

    fn region(&self, index: usize) -> Result<&'a Region, StepError> {
        self.memory.regions.get(index).ok_or(StepError::Operand)
    }

    fn elements<T: Element>(&self, index: usize) -> Result<&'a [T], StepError> {
        let region = self.region(index)?;
        let bytes: &[u8] = match region.space {
            Space::Weight(at) => self.memory.weights.get(at).ok_or(StepError::Operand)?.bytes(),
            // SAFETY: the region lies inside the arena and is not written by this step (`check`,
            // and `read` and `Task` refuse regions that are), and no other step runs (`new`).
            Space::Arena => unsafe {
                let start = self.memory.arena.ptr.cast::<u8>().add(region.start);
                let slice = std::slice::from_raw_parts(start, region.len);
                return bytemuck::try_cast_slice(slice).map_err(|_| StepError::Operand);
            },
        };
        let slice = bytes.get(region.start..region.start + region.len);
        slice.and_then(|slice| bytemuck::try_cast_slice(slice).ok()).ok_or(StepError::Operand)
    }

    /// All elements of the region that an operand lies in.
    ///
    /// # Errors
    /// [`StepError::Operand`] where the step writes this region.
    pub(crate) fn read<T: Element>(&self, view: &View) -> Result<&'a [T], StepError> {
        if self.writes.contains(&view.region) || view.dtype != T::DTYPE {
            return Err(StepError::Operand);
        }
        self.elements(view.region)
    }

    /// All elements of the region that a result lies in.
    ///
    /// # Errors
    /// [`StepError::Operand`] where the step does not write this region, or it was handed out
    /// before.
    pub(crate) fn write<T: Element>(&self, view: &View) -> Result<&'a mut [T], StepError> {
        let at = self.writes.iter().position(|index| *index == view.region);
        let bit = 1u64 << at.ok_or(StepError::Operand)?;
        let region = self.region(view.region)?;
        if self.taken.get() & bit != 0 || region.space != Space::Arena || view.dtype != T::DTYPE {
            return Err(StepError::Operand);
        }
        self.taken.set(self.taken.get() | bit);
        // SAFETY: the region lies inside the arena and overlaps no other of the step (`check`); it
        // is handed out once, to the only thread that runs this step (`new`).
        let bytes = unsafe {
            let start = self.memory.arena.ptr.cast::<u8>().add(region.start);
            std::slice::from_raw_parts_mut(start, region.len)
        };
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| StepError::Operand)
    }

    /// A region that several tasks write to, from an element on.
    pub(super) fn output(&self, index: usize, first: usize) -> Result<Output<'a>, StepError> {
        let region = self.region(index)?;
        if !self.writes.contains(&index) || region.space != Space::Arena {
            return Err(StepError::Operand);
        }
        let len = region.len / size_of::<f32>();
        let rest = len.checked_sub(first).ok_or(StepError::Operand)?;
        // SAFETY: the region lies inside the arena, which is initialised and outlives the session's
        // threads, and starts on a cache line; it overlaps none that the step reads (`check`). The
        // kernel makes sure that its tasks write different elements. No reference is made, as each
        // thread has an output of its own over the same elements.
        unsafe {
            let start = self.memory.arena.ptr.cast::<u8>().add(region.start).cast::<f32>();
            Ok(Output::from_raw(start.add(first), rest))
        }
    }

    /// The elements from that of index 0 on, for kernels that know no origin.
    pub(super) fn slice_at(&self, view: &View) -> Result<&'a [f32], StepError> {
        let first = usize::try_from(view.first).map_err(|_| StepError::Operand)?;
        self.read::<f32>(view)?.get(first..).ok_or(StepError::Operand)
    }

    /// Runs some tasks of a stage of a kernel.
    ///
    /// # Errors
    /// Whatever the kernel reports.
    pub(crate) fn fast_tasks(
        &self,
        kernel: &FastKernel,
        stage: usize,
        tasks: Range<usize>,
        scratch: &mut [f32],
    ) -> Result<(), StepError> {
        let optional = |region: Option<usize>| region.map(|r| self.elements::<f32>(r)).transpose();
        let input = self.read::<f32>(&kernel.input)?;
        let second = kernel.second.as_ref().map(|view| self.read::<f32>(view)).transpose()?;
        let weights = optional(kernel.weights)?.unwrap_or_default();
        let (bias, slopes) = (optional(kernel.bias)?, optional(kernel.slopes)?);
        let output = self.output(kernel.output.region, 0)?;
        let workspace = match kernel.workspace {
            Some(region) => self.output(region, 0)?,
            None => Output::empty(),
        };
        let first = usize::try_from(kernel.output.first).map_err(|_| StepError::Operand)?;
        // SAFETY (all calls below): other threads run other tasks of the same stage with their own
        // scratch memory, and stages follow one another (`new`); output and workspace overlap
        // nothing else (`check`).
        let done: Result<(), KernelError> = match &kernel.prepared {
            Prepared::Block(block) => {
                let inputs = BlockInputs { input, packed: weights, residual: second };
                // SAFETY: see above.
                unsafe { block.run_tasks(stage, tasks, &inputs, output, workspace, scratch) }
            }
            Prepared::Conv(conv) => {
                let inputs = ConvInputs { input, weights, bias, slopes, residual: second };
                // SAFETY: see above.
                unsafe { conv.run_tasks(stage, tasks, &inputs, output, workspace, scratch) }
            }
            Prepared::Linear(linear) => {
                let (input, output) =
                    (self.slice_at(&kernel.input)?, self.output(kernel.output.region, first)?);
                // SAFETY: see above.
                unsafe { linear.run_tasks(tasks, input, weights, bias, output, scratch) }
            }
            // SAFETY: see above.
            Prepared::Pool(pool) => unsafe { pool.run_tasks(tasks, input, output, scratch) },
            Prepared::GlobalPool(pool) => {
                let output = self.output(kernel.output.region, first)?;
                // SAFETY: see above.
                unsafe { pool.run_tasks(tasks, input, output) }
            }
            // SAFETY: see above; the operand is readable, as `check` found it inside its region.
            Prepared::Map(map) => unsafe { map.run_tasks(tasks, input.as_ptr(), slopes, output) },
            Prepared::Binary(binary) => {
                let second = second.ok_or(StepError::Operand)?;
                // SAFETY: see above.
                unsafe { binary.run_tasks(tasks, input, second, output) }
            }
            // SAFETY: see above.
            Prepared::Copy(copy) => unsafe { copy.run_tasks(tasks, input, output) },
            Prepared::Softmax(softmax) => {
                let (input, output) =
                    (self.slice_at(&kernel.input)?, self.output(kernel.output.region, first)?);
                // SAFETY: see above.
                unsafe { softmax.run_tasks(tasks, input, output) }
            }
            // SAFETY: see above.
            Prepared::Resize(resize) => unsafe { resize.run_tasks(tasks, input, output, scratch) },
        };
        done.map_err(|_| StepError::Kernel)
    }
}
