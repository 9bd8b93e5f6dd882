//! Making networks smaller: what to remove, how much, and the report of what was done.
//!
//! Owns the importance of channels ([`Importance`]) by their weights or by what pictures say of them
//! ([`Evidence`]), the plan that turns a wish ("half the
//! channels", "a third of the multiply-accumulates") into a cut ([`explain`], [`prune`]), masks on
//! single weights ([`mask_weights`]), and the records that say what was asked for and what came
//! out.
//!
//! Never here: the surgery and the gradients themselves (the passes), steps of training, files,
//! printing.
#![forbid(unsafe_code)]

mod evidence;
mod importance;
mod pattern;
mod plan;
mod prune;
mod unstructured;
mod width;

pub use evidence::{Evidence, EvidenceError, Looking};
pub use importance::{Across, Criterion, Importance, Normalise, Scores};
pub use pattern::Pattern;
pub use plan::{GroupPlan, Plan, PlanError, Scope, Settings, Target};
pub use prune::{PruneError, Pruned, Sizes, explain, prune};
pub use unstructured::{LayerZeros, Unstructured, mask_weights};
pub use width::kept_width;
