//! Seeded random numbers whose sequence never changes.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// A seeded source of random numbers.
///
/// The bits come from xoshiro256++ seeded through SplitMix64. The distributions are defined here
/// rather than taken from a library, because a library may change how it turns bits into numbers
/// and one seed has to give one model in every version of this program.
#[derive(Clone, Debug)]
pub struct Random {
    bits: Xoshiro256PlusPlus,
}

impl Random {
    /// A source that is fully determined by `seed`.
    pub fn new(seed: u64) -> Self {
        Random { bits: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// A source for the part of a whole called `name`, so that adding or removing one part (a
    /// layer, a picture) leaves the random numbers of the others as they were.
    pub fn for_name(seed: u64, name: &str) -> Self {
        // FNV-1a, 64 bits.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Random::new(seed ^ hash)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.bits.next_u64()
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Standard normal, by the Box-Muller transform, with functions that round alike on every
    /// platform.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(2.0 * std::f64::consts::PI * self.unit())
    }

    /// Uniform over the integers `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a 64 x 64 bit product; the bias is under bound / 2^64.
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Uniform over the integers `low..=high`.
    pub fn integer(&mut self, low: i64, high: i64) -> i64 {
        let width = high.abs_diff(low).saturating_add(1);
        low.wrapping_add(((u128::from(self.bits()) * u128::from(width)) >> 64) as i64)
    }

    /// Puts `items` in a random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let mut random = Random::new(42);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(
            first,
            [0xd076_4d4f_4476_689f, 0x519e_4174_576f_3791, 0xfbe0_7cfb_0c24_ed8c],
            "these bits must never change: models are made from them"
        );
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut random = Random::new(7);
        let n = 20_000;
        let normal: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let mean = normal.iter().sum::<f64>() / n as f64;
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.03, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.04, "variance {variance}");
        let mut counts = [0usize; 5];
        (0..n).for_each(|_| counts[(random.integer(-2, 2) + 2) as usize] += 1);
        assert!(counts.iter().all(|&c| c > n / 5 - 300 && c < n / 5 + 300), "{counts:?}");
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
