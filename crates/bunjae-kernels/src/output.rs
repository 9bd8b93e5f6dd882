//! Output memory that several tasks of one kernel write to.

use std::marker::PhantomData;

/// A mutable slice that can be handed to several threads, each of which runs other tasks of the
/// same kernel. Tasks write to disjoint elements.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    ptr: *mut f32,
    len: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: an `Output` is only dereferenced by the kernels' `run_tasks`, whose contract is that
// tasks running at the same time are different ones, and different tasks write to different
// elements.
unsafe impl Send for Output<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Shares a slice among tasks for as long as it is borrowed.
    pub fn new(slice: &'a mut [f32]) -> Output<'a> {
        Output { ptr: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// Shares memory that no reference stands for, as threads that each made a mutable slice of the
    /// same elements would contradict each other.
    ///
    /// # Safety
    /// `ptr` is aligned, and `len` elements from it on are initialised memory that stays where it is
    /// for `'a`; meanwhile it is read and written only through copies of this.
    pub unsafe fn from_raw(ptr: *mut f32, len: usize) -> Output<'a> {
        Output { ptr, len, owner: PhantomData }
    }

    /// No memory, for kernels that need no workspace.
    pub fn empty() -> Output<'static> {
        Output { ptr: std::ptr::NonNull::dangling().as_ptr(), len: 0, owner: PhantomData }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements from `start` on, `len` of them; none where there are not as many.
    pub(crate) fn range(&self, start: usize, len: usize) -> Output<'a> {
        match start.checked_add(len) {
            Some(end) if end <= self.len => {
                Output { ptr: self.ptr.wrapping_add(start), len, owner: PhantomData }
            }
            _ => Output::empty(),
        }
    }

    pub(crate) fn ptr(&self) -> *mut f32 {
        self.ptr
    }

    /// The elements that earlier stages wrote.
    ///
    /// # Safety
    /// No task writes to this memory while the slice lives.
    pub(crate) unsafe fn as_slice(&self) -> &'a [f32] {
        // SAFETY: pointer and length stand for memory that is borrowed for `'a`.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// Splits `count` things into `parts` ranges whose lengths differ by at most one.
pub(crate) fn part(count: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    let (each, extra) = (count / parts, count % parts);
    let start = index * each + index.min(extra);
    start..start + each + usize::from(index < extra)
}
