//! The arithmetic limit of one core, measured: what the throughput of kernels is compared to.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::error::KernelError;
use crate::isa::Isa;
use crate::simd::{Body, Simd, entry};

/// Independent chains: more than the latency of a multiply-add times the number issued per cycle
/// on any processor of these families, and few enough for 16 registers.
const CHAINS: usize = 12;

/// Steps per timed run, about 10 microseconds.
const STEPS: usize = 4000;

struct Chains;

impl Body<f32> for Chains {
    #[inline(always)]
    unsafe fn run<S: Simd>(seed: &f32) {
        // SAFETY: pure arithmetic; the caller has the instruction set.
        unsafe {
            let (a, b) = (S::splat(*seed), S::splat(0.25));
            let mut acc = [b; CHAINS];
            for _ in 0..STEPS {
                for v in &mut acc {
                    *v = S::fma(*v, a, b);
                }
            }
            let mut sum = acc[0];
            for v in &acc[1..] {
                sum = S::add(sum, *v);
            }
            black_box(S::sum(sum));
        }
    }
}

/// Multiply-accumulates per second that one core of this machine reaches on `isa` with all
/// operands in registers: the best of many short runs within about `budget`.
///
/// # Errors
/// [`KernelError::IsaUnavailable`].
pub fn multiply_add_peak(isa: Isa, budget: Duration) -> Result<f64, KernelError> {
    isa.require()?;
    let run = entry::<Chains, f32>(isa);
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed() < budget {
        let start = Instant::now();
        // SAFETY: the path is available and the body takes no pointers.
        unsafe { run(black_box(&0.75)) };
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok((STEPS * CHAINS * isa.lanes()) as f64 / best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::IsaSet;

    #[test]
    fn every_path_present_has_a_finite_positive_peak() {
        for isa in IsaSet::available().iter() {
            let peak = multiply_add_peak(isa, Duration::from_millis(5)).unwrap();
            assert!(peak.is_finite() && peak > 1e6, "{isa}: {peak}");
        }
    }
}
