//! Why a kernel could not be prepared or run.

use std::fmt;

use crate::isa::{Isa, IsaSet};

/// An error of preparing or running a kernel. Nothing is written to the output when one is
/// returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelError {
    /// The environment names an instruction set that does not exist.
    UnknownIsa {
        /// The name found.
        name: String,
    },
    /// The instruction set is not built into this binary or not present in this processor.
    IsaUnavailable {
        /// The path asked for.
        isa: Isa,
        /// The paths that could be used instead.
        available: IsaSet,
    },
    /// The geometry contradicts itself or exceeds what the kernel can address.
    Geometry {
        /// The kernel that refused.
        kernel: &'static str,
        /// What is wrong, with the values.
        reason: String,
    },
    /// A slice is shorter (or, for weights, of another length) than the geometry asks for.
    Length {
        /// The kernel that refused.
        kernel: &'static str,
        /// Which slice.
        what: &'static str,
        /// Required number of elements.
        expected: usize,
        /// Given number of elements.
        found: usize,
    },
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::UnknownIsa { name } => {
                write!(f, "unknown instruction set `{name}` (known:")?;
                for isa in Isa::ALL {
                    write!(f, " {isa}")?;
                }
                f.write_str(")")
            }
            KernelError::IsaUnavailable { isa, available } => {
                write!(f, "instruction set {isa} is not available here (available: {available})")
            }
            KernelError::Geometry { kernel, reason } => write!(f, "{kernel}: {reason}"),
            KernelError::Length { kernel, what, expected, found } => {
                write!(f, "{kernel}: {what} has {found} elements, {expected} are needed")
            }
        }
    }
}

impl std::error::Error for KernelError {}

/// Fails with [`KernelError::Length`] unless `found >= expected`.
pub(crate) fn require_len(
    kernel: &'static str,
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), KernelError> {
    if found < expected {
        return Err(KernelError::Length { kernel, what, expected, found });
    }
    Ok(())
}

/// Fails with [`KernelError::Geometry`] unless `condition` holds.
pub(crate) fn require(
    kernel: &'static str,
    condition: bool,
    reason: impl FnOnce() -> String,
) -> Result<(), KernelError> {
    if condition { Ok(()) } else { Err(KernelError::Geometry { kernel, reason: reason() }) }
}
