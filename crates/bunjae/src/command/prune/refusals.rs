//! Why a model is not pruned, and the way out.

use bunjae_compress::{EvidenceError, GradualError, PlanError, PruneError, Settings};
use bunjae_ir::Graph;

use crate::failure::{Failure, closest};

pub(super) fn failure(graph: &Graph, settings: &Settings, error: PruneError) -> Failure {
    match error {
        PruneError::Plan(error) => plan_failure(graph, settings, error),
        PruneError::NoGroups => Failure::new(error),
        PruneError::NothingToCut { ref reasons, .. } => {
            const SHOWN: usize = 5;
            let reason = |(layers, reason): &(String, String)| format!("  {layers}: {reason}");
            let shown: Vec<String> = reasons.iter().take(SHOWN).map(reason).collect();
            let failure = Failure::new(format!("{error}\n{}", shown.join("\n")));
            let more = reasons.len() > SHOWN;
            failure.maybe_hint(more.then_some("`bunjae prune MODEL --explain` gives all reasons"))
        }
    }
}

pub(super) fn plan_failure(graph: &Graph, settings: &Settings, error: PlanError) -> Failure {
    let failure = Failure::new(&error);
    match error {
        PlanError::NoMatch { pattern, .. } => {
            let couplings = graph.couplings();
            let producers = couplings.groups().iter().flat_map(|group| &group.producers);
            let names: Vec<String> = producers.map(|made| graph.node_label(made.node)).collect();
            let similar = closest(&pattern, names.iter().map(String::as_str));
            failure.maybe_hint(similar.map(|similar| format!("did you mean `{similar}`?")))
        }
        PlanError::OutOfReach { wanted, share, least, .. } => {
            // The target is this share of the whole, rounded down to a whole number.
            let whole = wanted as f64 / (share / 100.0);
            let reached = (least as f64 / whole * 1000.0).ceil() / 10.0;
            let limited = settings.max_ratio < 1.0 || !settings.ignore.is_empty();
            failure
                .maybe_hint((reached < 100.0).then(|| format!("{reached} % can be reached")))
                .maybe_hint(
                    limited.then_some("a larger `--max-ratio` or fewer `--ignore` allow more"),
                )
        }
        PlanError::NoEvidence
        | PlanError::Share { .. }
        | PlanError::Cost(_)
        | PlanError::Cut(_)
        | PlanError::Graph(_) => failure,
    }
}

pub(super) fn gradual_failure(graph: &Graph, settings: &Settings, error: GradualError) -> Failure {
    match error {
        GradualError::Prune(error) => failure(graph, settings, error),
        GradualError::Evidence(error) => error.into(),
        GradualError::Train(error) => error.into(),
        error @ GradualError::NoPenalty { .. } => {
            Failure::new(error).hint("leave out `--sparsity`, or choose another")
        }
        error => Failure::new(error),
    }
}

impl From<EvidenceError> for Failure {
    fn from(error: EvidenceError) -> Failure {
        Failure::new(&error).maybe_hint(error.hint())
    }
}
