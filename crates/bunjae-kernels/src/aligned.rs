//! A vector of f32 that starts on a cache line.

use std::ops::{Deref, DerefMut};

/// One cache line of values; a `Vec` of these is aligned to it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Zero-initialised f32 storage aligned to 64 bytes. Kernels accept any alignment; this one is the
/// fastest, because no vector load straddles two cache lines.
#[derive(Clone)]
pub struct AlignedVec {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedVec {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> AlignedVec {
        AlignedVec { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }
}

impl From<&[f32]> for AlignedVec {
    fn from(values: &[f32]) -> AlignedVec {
        let mut v = AlignedVec::zeroed(values.len());
        v.copy_from_slice(values);
        v
    }
}

impl Deref for AlignedVec {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `lines` holds at least `len` initialised f32 without padding (`Line` is 16 f32
        // in 64 bytes), and f32 is less aligned than `Line`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl std::fmt::Debug for AlignedVec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_keeps_values() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let v = AlignedVec::from(values.as_slice());
            assert_eq!(&*v, values.as_slice());
            assert_eq!(v.as_ptr() as usize % 64, 0);
        }
    }
}
