//! Penalties that draw whole channels towards zero while a network is trained, so that less is lost
//! when they are cut.
//!
//! A penalty is no part of the training graph: its slope is added to the flat gradients before each
//! step of the optimiser.

use bunjae_engine::Segment;
use bunjae_ir::op::Groups;
use bunjae_ir::{ClassId, Graph, Op, TensorId};
use serde::Serialize;

/// What is penalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sparsity {
    /// The absolute scales of batch normalisation (Network Slimming, Liu et al. 2017): the slope is
    /// the sign of the scale.
    BnScale,
    /// The Euclidean norm of all weights that make, scale or read a channel, over all layers that
    /// are coupled (group lasso; Wen et al. 2016): the slope is `w / |channel|`, and 0 for a channel
    /// that is 0.
    GroupLasso,
    /// Half the squares of these weights, those of weak channels up to 16 times as much as those of
    /// strong ones (DepGraph, Fang et al. 2023; torch-pruning's `GroupNormPruner`): the slope is
    /// `16^((max - s) / (max - min)) w`, s being the root of the mean over the layers of the sum of
    /// `w^2`.
    GroupNorm,
}

/// The places of one channel in the flat arrays, layer by layer.
struct Channel(Vec<Vec<usize>>);

/// A penalty, ready to be added to gradients.
pub struct Penalty {
    kind: Sparsity,
    strength: f32,
    /// By group.
    groups: Vec<Vec<Channel>>,
    /// The places of all scales of batch normalisation.
    scales: Vec<usize>,
}

impl Penalty {
    /// The penalty of `strength` times what `kind` says, for the channels of `graph` that may be cut
    /// and the parameters of a session that trains it.
    pub fn new(graph: &Graph, segments: &[Segment], kind: Sparsity, strength: f32) -> Penalty {
        let couplings = graph.couplings();
        let start = |id: TensorId| {
            let name = graph.label(id);
            segments.iter().find(|own| own.name == name).map(|own| own.start)
        };
        let axes = channel_axes(graph);
        let uses = |class: ClassId| {
            let places = axes.iter().filter_map(|&(tensor, axis)| {
                let indices: Vec<usize> = couplings
                    .members(class)
                    .iter()
                    .filter(|own| own.at.tensor == tensor && own.at.axis == axis)
                    .map(|own| own.index)
                    .collect();
                let shape = graph.weight_tensor(tensor)?.shape();
                let start = start(tensor).filter(|_| !indices.is_empty())?;
                Some(slice(shape, axis, &indices).map(|at| start + at).collect())
            });
            Channel(places.collect())
        };
        let groups = couplings.groups().iter().map(|group| {
            let free = group.strata.iter().filter(|stratum| stratum.pin.is_none());
            free.flat_map(|stratum| &stratum.classes).map(|&class| uses(class)).collect()
        });
        let scales = graph.nodes().iter().filter(|node| matches!(node.op, Op::BatchNorm(_)));
        let scales = scales.flat_map(|node| {
            let gamma = node.inputs[1];
            let len = graph.weight_tensor(gamma).map_or(0, bunjae_tensor::Tensor::len);
            start(gamma).into_iter().flat_map(move |start| start..start + len)
        });
        // A scale that several layers share is one parameter.
        let scales: std::collections::BTreeSet<usize> = scales.collect();
        let (groups, scales) = (groups.collect(), scales.into_iter().collect());
        Penalty { kind, strength, groups, scales }
    }

    /// Whether there is nothing to penalise: no batch normalisation, or no channel that may be cut.
    pub fn is_empty(&self) -> bool {
        match self.kind {
            Sparsity::BnScale => self.scales.is_empty(),
            Sparsity::GroupLasso | Sparsity::GroupNorm => self.groups.iter().all(Vec::is_empty),
        }
    }

    /// Adds the penalty's slope at the parameters to the gradients.
    pub fn add(&self, parameters: &[f32], gradients: &mut [f32]) {
        match self.kind {
            Sparsity::BnScale => {
                for &at in &self.scales {
                    let scale = parameters[at];
                    if scale != 0.0 {
                        gradients[at] += self.strength * scale.signum();
                    }
                }
            }
            Sparsity::GroupLasso => {
                for channel in self.groups.iter().flatten() {
                    let norm = channel.squares(parameters).iter().sum::<f64>().sqrt();
                    if norm > 0.0 {
                        channel.shrink(parameters, gradients, f64::from(self.strength) / norm);
                    }
                }
            }
            Sparsity::GroupNorm => {
                for group in &self.groups {
                    let strong: Vec<f64> = group
                        .iter()
                        .map(|channel| {
                            let squares = channel.squares(parameters);
                            (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt()
                        })
                        .collect();
                    let most = strong.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let least = strong.iter().copied().fold(f64::INFINITY, f64::min);
                    for (channel, own) in group.iter().zip(strong) {
                        let weak = if most > least { (most - own) / (most - least) } else { 0.0 };
                        let factor = f64::from(self.strength) * 16f64.powf(weak);
                        channel.shrink(parameters, gradients, factor);
                    }
                }
            }
        }
    }
}

impl Channel {
    /// The sum of squares of each layer's weights.
    fn squares(&self, parameters: &[f32]) -> Vec<f64> {
        let square = |&at: &usize| f64::from(parameters[at]) * f64::from(parameters[at]);
        self.0.iter().map(|layer| layer.iter().map(square).sum()).collect()
    }

    /// Adds `factor` times each weight to its gradient.
    fn shrink(&self, parameters: &[f32], gradients: &mut [f32], factor: f64) {
        for &at in self.0.iter().flatten() {
            gradients[at] += (factor * f64::from(parameters[at])) as f32;
        }
    }
}

/// The axes of weights that make, scale or read channels, in the order of the graph. As with
/// magnitudes, depthwise weights and biases are not among them.
fn channel_axes(graph: &Graph) -> Vec<(TensorId, usize)> {
    let mut axes = Vec::new();
    for node in graph.nodes() {
        let found: &[(usize, usize)] = match &node.op {
            Op::Conv2d(op) if op.groups != Groups::Depthwise => &[(1, 0), (1, 1)],
            Op::ConvTranspose2d(op) if op.groups != Groups::Depthwise => &[(1, 1), (1, 0)],
            Op::Linear => &[(1, 0), (1, 1)],
            Op::BatchNorm(_) | Op::LayerNorm(_) => &[(1, 0)],
            _ => &[],
        };
        for &(operand, axis) in found {
            let own = (node.inputs[operand], axis);
            if graph.weight_tensor(own.0).is_some() && !axes.contains(&own) {
                axes.push(own);
            }
        }
    }
    axes
}

/// The places of the elements of a dense tensor that have one of some indices on an axis.
fn slice(shape: &[usize], axis: usize, indices: &[usize]) -> impl Iterator<Item = usize> {
    let inner: usize = shape.iter().skip(axis + 1).product();
    let outer: usize = shape.iter().take(axis).product();
    let size = shape.get(axis).copied().unwrap_or(1);
    let indices = indices.to_vec();
    (0..outer).flat_map(move |row| {
        let run = |index: usize| {
            let start = (row * size + index) * inner;
            start..start + inner
        };
        indices.iter().map(|&index| run(index)).collect::<Vec<_>>().into_iter().flatten()
    })
}
