//! Which instruction-set paths exist: built into this binary, present in this processor, and
//! chosen by the user.
//!
//! A path is usable if it was *built* (the target architecture has it) and is *detected* at run
//! time. The choice is made once, when a kernel is prepared; a prepared kernel holds function
//! pointers and never asks again.

use std::fmt;
use std::sync::OnceLock;

use crate::error::KernelError;

/// The environment variable that overrides the choice of [`Isa::preferred`].
pub const ISA_VARIABLE: &str = "BUNJAE_ISA";

/// An instruction-set path of the kernels, in ascending order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust on arrays of four lanes; the compiler vectorises it for the baseline target.
    Portable,
    /// aarch64 NEON: 4 lanes, 32 registers.
    Neon,
    /// x86-64 AVX2 with FMA: 8 lanes, 16 registers.
    Avx2,
    /// x86-64 AVX-512 (F, VL, DQ, BW): 16 lanes, 32 registers.
    Avx512,
}

impl Isa {
    /// Every path there is, whether or not this machine has it.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The name used by [`ISA_VARIABLE`] and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// The path with this name.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Number of f32 values in one vector register of this path.
    pub fn lanes(self) -> usize {
        match self {
            Isa::Portable | Isa::Neon => 4,
            Isa::Avx2 => 8,
            Isa::Avx512 => 16,
        }
    }

    /// The path for kernels that take rows of `width` one by one: that of half the lanes where these hold
    /// a row, as what a vector stores in part costs more than it saves. Depthwise convolutions with rows
    /// of 7 and 8 take 1.25 to 1.4 times as long otherwise (AMD EPYC of the Zen 5 generation).
    pub(crate) fn for_rows_of(self, width: usize) -> Isa {
        if self == Isa::Avx512 && width <= Isa::Avx2.lanes() { Isa::Avx2 } else { self }
    }

    /// The path to use: the one named by [`ISA_VARIABLE`] if that is set, else the best available.
    ///
    /// # Errors
    /// [`KernelError::UnknownIsa`] if the variable names no path, [`KernelError::IsaUnavailable`]
    /// if it names one that this binary or this processor lacks. A wrong override is an error
    /// rather than a silent fall back, so that a measurement is of what it says it is.
    pub fn preferred() -> Result<Isa, KernelError> {
        match std::env::var(ISA_VARIABLE) {
            Ok(name) => {
                let isa = Isa::from_name(&name).ok_or(KernelError::UnknownIsa { name })?;
                isa.require()?;
                Ok(isa)
            }
            Err(_) => Ok(IsaSet::available().best()),
        }
    }

    /// Checks that this path may be executed here.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`] if it is not built or not detected.
    pub fn require(self) -> Result<(), KernelError> {
        if IsaSet::available().contains(self) {
            Ok(())
        } else {
            Err(KernelError::IsaUnavailable { isa: self, available: IsaSet::available() })
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaSet(u8);

impl IsaSet {
    /// The paths compiled into this binary.
    pub fn built() -> IsaSet {
        let mut set = Isa::Portable.bit();
        if cfg!(target_arch = "x86_64") {
            set |= Isa::Avx2.bit() | Isa::Avx512.bit();
        }
        if cfg!(target_arch = "aarch64") {
            set |= Isa::Neon.bit();
        }
        IsaSet(set)
    }

    /// The paths this processor (and its operating system) can execute.
    pub fn detected() -> IsaSet {
        static DETECTED: OnceLock<IsaSet> = OnceLock::new();
        *DETECTED.get_or_init(detect)
    }

    /// Built and detected: the paths that may run.
    pub fn available() -> IsaSet {
        IsaSet(IsaSet::built().0 & IsaSet::detected().0)
    }

    /// Whether `isa` is in the set.
    pub fn contains(self, isa: Isa) -> bool {
        self.0 & isa.bit() != 0
    }

    /// The members, in ascending order of preference.
    pub fn iter(self) -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(move |isa| self.contains(*isa))
    }

    fn best(self) -> Isa {
        self.iter().last().unwrap_or(Isa::Portable)
    }
}

impl fmt::Display for IsaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, isa) in self.iter().enumerate() {
            write!(f, "{}{isa}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> IsaSet {
    use std::arch::is_x86_feature_detected as has;
    let mut set = Isa::Portable.bit();
    let avx2 = has!("avx2") && has!("fma");
    if avx2 {
        set |= Isa::Avx2.bit();
    }
    if avx2 && has!("avx512f") && has!("avx512vl") && has!("avx512dq") && has!("avx512bw") {
        set |= Isa::Avx512.bit();
    }
    IsaSet(set)
}

#[cfg(target_arch = "aarch64")]
fn detect() -> IsaSet {
    let mut set = Isa::Portable.bit();
    if std::arch::is_aarch64_feature_detected!("neon") {
        set |= Isa::Neon.bit();
    }
    IsaSet(set)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> IsaSet {
    IsaSet(Isa::Portable.bit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_names_are_refused() {
        for isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("avx"), None);
    }

    #[test]
    fn rows_that_half_a_vector_holds_take_the_path_of_half_the_lanes() {
        assert_eq!(
            [7, 8, 9].map(|width| Isa::Avx512.for_rows_of(width)),
            [Isa::Avx2, Isa::Avx2, Isa::Avx512]
        );
        for isa in IsaSet::available().iter() {
            assert!(IsaSet::available().contains(isa.for_rows_of(1)), "{isa}");
        }
    }

    #[test]
    fn available_is_built_and_detected() {
        let available = IsaSet::available();
        assert!(available.contains(Isa::Portable));
        for isa in Isa::ALL {
            let both = IsaSet::built().contains(isa) && IsaSet::detected().contains(isa);
            assert_eq!(available.contains(isa), both, "{isa}");
            assert_eq!(isa.require().is_ok(), both, "{isa}");
        }
    }

    #[test]
    fn foreign_paths_are_not_built() {
        let foreign = if cfg!(target_arch = "aarch64") { Isa::Avx2 } else { Isa::Neon };
        assert!(matches!(foreign.require(), Err(KernelError::IsaUnavailable { .. })));
    }
}
