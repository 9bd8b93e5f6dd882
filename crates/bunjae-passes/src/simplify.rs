//! All simplifications that an executor wants, together.

use bunjae_ir::Graph;

use crate::error::PassError;
use crate::{drop_identities, fold_batch_norm, fold_constants, fold_padding, prune_dead};

type Pass<'a> = &'a dyn Fn(&Graph) -> Result<Option<Graph>, PassError>;

/// The graph without dead nodes and identities, with constants computed, and with paddings and
/// batch normalisations folded into the layers beside them; `None` where there is nothing to do.
///
/// Contract: inputs and outputs are kept, with names and shapes; numbers are kept up to the
/// tolerance of [`fold_batch_norm`]. Not for a graph that is to be trained.
///
/// # Errors
/// As the passes it is made of.
pub fn simplify(graph: &Graph) -> Result<Option<Graph>, PassError> {
    let dead = |graph: &Graph| prune_dead(graph).map_err(PassError::from);
    let passes: [Pass<'_>; 5] =
        [&dead, &drop_identities, &fold_constants, &fold_padding, &fold_batch_norm];
    let mut current: Option<Graph> = None;
    for pass in passes {
        if let Some(changed) = pass(current.as_ref().unwrap_or(graph))? {
            current = Some(changed);
        }
    }
    Ok(current)
}
