//! Making networks smaller: what to remove, how much, and the report of what was done.
//!
//! Owns the importance of channels ([`Importance`]) by their weights or by what pictures say of them
//! ([`Evidence`]), the plan that turns a wish ("half the
//! channels", "a third of the multiply-accumulates") into a cut ([`explain`], [`prune`]), cuts in
//! several steps with training between ([`shrink`]), penalties that draw channels towards zero
//! before ([`Penalty`]), the oracle that says what each channel is worth ([`consult_oracle`]), masks
//! on single weights ([`mask_weights`]), and the records that say what was asked for and what came
//! out.
//!
//! Never here: the surgery and the gradients themselves (the passes), steps of training, files,
//! printing.
#![forbid(unsafe_code)]

mod check;
mod correlation;
mod course;
mod evidence;
mod gates;
mod gradual;
mod importance;
mod oracle;
mod pattern;
mod plan;
mod prune;
mod sparsity;
mod unstructured;
mod width;

pub use check::{Check, CheckedOutput};
pub use correlation::Correlation;
pub use course::Course;
pub use evidence::{Evidence, EvidenceError, Looking};
pub use gradual::{
    Album, Figures, Gradual, GradualError, Keeping, Lesson, Lessons, LookedAt, News, Part, Shrunk,
    Sparse, Step, shrink, smallest_ratio,
};
pub use importance::{Across, Criterion, Importance, Normalise, Scores};
pub use oracle::{Foresight, Oracle, Removal, consult_oracle};
pub use pattern::Pattern;
pub use plan::{GroupPlan, Plan, PlanError, Scope, Settings, Start, Target};
pub use prune::{PruneError, Pruned, Sizes, explain, prune};
pub use sparsity::{Penalty, Sparsity};
pub use unstructured::{LayerZeros, Unstructured, mask_weights};
pub use width::kept_width;
