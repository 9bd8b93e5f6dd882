//! Pruning without data: judge, cut, and keep what proves it.

use bunjae_ir::{Bindings, Convention, CostError, Graph, GraphError};
use bunjae_passes::{mask, remove, untie};
use serde::Serialize;
use thiserror::Error;

use crate::plan::{Plan, PlanError, Settings, plan};

/// The sizes that a report compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Parameters, as PyTorch counts them.
    pub parameters: u64,
    /// Those that are not zero.
    pub nonzero: u64,
    /// Multiply-accumulates of one run, by our exact rule.
    pub macs: u64,
    /// Bytes of all weights.
    pub weight_bytes: u64,
    /// The most memory that activations take at one time, in bytes.
    pub peak_bytes: u64,
}

impl Sizes {
    /// The sizes of a graph.
    ///
    /// # Errors
    /// A symbol without a size.
    pub fn of(graph: &Graph, bindings: &Bindings) -> Result<Sizes, CostError> {
        let cost = graph.cost(bindings, Convention::Exact)?;
        Ok(Sizes {
            parameters: cost.parameters.total,
            nonzero: cost.parameters.nonzero(),
            macs: cost.macs,
            weight_bytes: cost.weights.total(),
            peak_bytes: cost.peak.bytes,
        })
    }
}

/// A pruned network and what it came from.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// The smaller network.
    pub graph: Graph,
    /// The network at its old size with the same channels masked: it has to compute the same.
    pub masked: Graph,
    /// What was cut.
    pub plan: Plan,
    /// Vectors that layers shared by coincidence, by name: every layer has its own now.
    pub untied: Vec<String>,
    /// The sizes before.
    pub before: Sizes,
    /// The sizes after.
    pub after: Sizes,
}

/// Why a network cannot be pruned.
#[derive(Debug, Error)]
pub enum PruneError {
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No layer's weights are stored as they are used: the network is quantised, or has none.
    #[error(
        "no layer of the network has weights that could be cut: they are computed, as in a \
         quantised network, or there are none"
    )]
    NoGroups,
    /// No group may lose a channel.
    #[error("none of the {groups} groups of channels can be cut")]
    NothingToCut {
        /// The number of groups.
        groups: usize,
        /// Each group's layers and the reason.
        reasons: Vec<(String, String)>,
    },
}

impl From<GraphError> for PruneError {
    fn from(error: GraphError) -> Self {
        PruneError::Plan(error.into())
    }
}

impl From<CostError> for PruneError {
    fn from(error: CostError) -> Self {
        PruneError::Plan(error.into())
    }
}

/// What [`prune`] would do, without doing it.
///
/// # Errors
/// [`PlanError`]: settings out of range or a target out of reach.
pub fn explain(graph: &Graph, settings: &Settings) -> Result<Plan, PlanError> {
    let apart = untie(graph)?;
    let graph = apart.as_ref().map_or(graph, |(apart, _)| apart);
    plan(graph, &graph.couplings(), settings)
}

/// Prunes `graph` as the settings ask.
///
/// # Errors
/// [`PruneError`]: settings out of range, a target out of reach, or nothing that can be cut.
pub fn prune(graph: &Graph, settings: &Settings) -> Result<Pruned, PruneError> {
    let before = Sizes::of(graph, &settings.bindings)?;
    let (apart, untied) = untie(graph)?.unzip();
    let graph = apart.as_ref().unwrap_or(graph);
    let couplings = graph.couplings();
    if couplings.groups().is_empty() {
        return Err(PruneError::NoGroups);
    }
    let plan = plan(graph, &couplings, settings)?;
    if plan.classes.is_empty() && plan.ratio > 0.0 {
        let reason = |group: &crate::GroupPlan| {
            (group.layers.join(", "), group.reason.clone().unwrap_or_default())
        };
        let reasons: Vec<_> = plan.groups.iter().map(reason).collect();
        return Err(PruneError::NothingToCut { groups: reasons.len(), reasons });
    }
    let cut = couplings.cut(graph, plan.classes.iter().copied()).map_err(PlanError::from)?;
    let smaller = remove(graph, &cut)?;
    Ok(Pruned {
        masked: mask(graph, &cut)?,
        before,
        after: Sizes::of(&smaller, &settings.bindings)?,
        graph: smaller,
        plan,
        untied: untied.unwrap_or_default(),
    })
}
