//! How much a channel matters, judged by the weights, or by what pictures say of it.
//!
//! Scores by weights follow torch-pruning 1.6 to the digit: each layer that makes or reads a channel
//! contributes a sum over its slice, of `|w|^p` (no p-th root), or of a product of weight and gradient;
//! the layers' contributions are combined, then the scores of a group are normalised. Depthwise
//! weights do not count, as there.
//!
//! Scores by activations are those of the channel as a whole, wherever it is read, and are not
//! combined over layers.

use std::collections::BTreeMap;

use bunjae_ir::op::Groups;
use bunjae_ir::{ClassId, Couplings, Graph, Group, NodeId, Op, Stratum, TensorId};
use bunjae_tensor::Random;
use serde::Serialize;

use crate::evidence::{Evidence, Needs};

/// What makes a channel important.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Sum of absolute values.
    L1,
    /// Sum of squares.
    L2,
    /// L2, then each score over the sum of the scores that are not smaller (LAMP, Lee et al. 2021).
    Lamp,
    /// Sum of the distances to the other filters of the layer (FPGM, He et al. 2019).
    Fpgm,
    /// The absolute scale of batch normalisation (Network Slimming, Liu et al. 2017).
    BnScale,
    /// Chance.
    Random,
    /// Taylor expansion on activations (Molchanov et al. 2017, arXiv:1611.06440): the mean over the
    /// pictures of the absolute first-order change of the loss when the channel is closed,
    /// `|sum over positions of a dL/da|`. The paper's mean over the positions is a factor that all
    /// channels of a layer share, and that the normalisation by layer takes out.
    Taylor,
    /// Half the mean over the pictures of the square of that change: the diagonal of the empirical
    /// Fisher information by a factor of the channel (Theis et al. 2018, arXiv:1801.05787; over coupled
    /// layers together as Liu et al. 2021, arXiv:2108.00708).
    Fisher,
    /// Sum of `|w g|` with the mean gradient g (torch-pruning's `GroupTaylorImportance`, after
    /// Molchanov et al. 2019). Batch normalisation does not count, as there.
    WeightTaylor,
    /// `|sum of w g|`, the same with `multivariable=True`.
    WeightTaylorSum,
    /// Sum of `w^2 h`, h being the mean over the pictures of their squared gradients (optimal brain
    /// damage, LeCun et al. 1989; torch-pruning's `GroupHessianImportance` for one picture: of
    /// several, only the last counts there).
    Hessian,
    /// Sum of `w^2 (h + 1e-10)` over the layers that make the channel alone (OBD-C of Wang et al.
    /// 2019, arXiv:1905.05934; torch-pruning's `OBDCImportance`).
    ObdC,
}

impl Criterion {
    /// Whether the criterion judges by pictures.
    pub fn needs_data(self) -> bool {
        self.needs() != Needs::default()
    }

    pub(crate) fn needs(self) -> Needs {
        let none = Needs::default();
        match self {
            Criterion::Taylor | Criterion::Fisher => Needs { effects: true, ..none },
            Criterion::WeightTaylor | Criterion::WeightTaylorSum => {
                Needs { gradients: true, ..none }
            }
            Criterion::Hessian | Criterion::ObdC => Needs { squares: true, ..none },
            Criterion::L1
            | Criterion::L2
            | Criterion::Lamp
            | Criterion::Fpgm
            | Criterion::BnScale
            | Criterion::Random => none,
        }
    }

    /// Whether scales of normalisation count under the criterion.
    fn counts_norms(self, is_batch_norm: bool) -> bool {
        match self {
            Criterion::Fpgm | Criterion::ObdC => false,
            Criterion::WeightTaylor | Criterion::WeightTaylorSum => !is_batch_norm,
            _ => true,
        }
    }
}

/// How the contributions of several layers to one channel become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Across {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// Their product.
    Product,
    /// That of the first layer.
    First,
    /// That of the last layer (torch-pruning's `gate`).
    Last,
}

/// How the scores of one group are made comparable with those of others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Not at all.
    None,
    /// Over their sum.
    Sum,
    /// `(x - min) / (max - min + 1e-8)`.
    Standardise,
    /// Over their mean.
    Mean,
    /// Over the largest.
    Max,
    /// Over the root of the sum of their squares.
    L2,
    /// `(x - mean) / standard deviation`, the latter unbiased.
    Gaussian,
    /// Over the score at this share of the sorted scores (torch-pruning's `sentinel`).
    Sentinel(f64),
    /// Over the sum of the scores that are not smaller.
    Lamp,
}

/// A way of judging channels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Importance {
    /// What counts.
    pub criterion: Criterion,
    /// How layers are combined.
    pub across: Across,
    /// How groups are made comparable.
    pub normalise: Normalise,
    /// The seed of [`Criterion::Random`].
    pub seed: u64,
    /// What is taken off a score for each million multiply-accumulates that the channel costs (the
    /// regulariser of Molchanov et al. 2017). It counts where groups are ranked together.
    pub macs_penalty: f64,
}

impl Importance {
    /// A criterion with torch-pruning's defaults for it: mean over the layers, over the mean of
    /// the group; for LAMP and Taylor their papers' normalisation, for Fisher none, as it estimates
    /// the change of the loss itself.
    pub fn new(criterion: Criterion) -> Self {
        let normalise = match criterion {
            Criterion::Lamp => Normalise::Lamp,
            Criterion::Random | Criterion::Fisher => Normalise::None,
            Criterion::Taylor => Normalise::L2,
            _ => Normalise::Mean,
        };
        Importance { criterion, across: Across::Mean, normalise, seed: 0, macs_penalty: 0.0 }
    }

    /// The power that absolute weights are raised to.
    fn power(&self) -> i32 {
        match self.criterion {
            Criterion::L1
            | Criterion::BnScale
            | Criterion::WeightTaylor
            | Criterion::WeightTaylorSum => 1,
            _ => 2,
        }
    }
}

/// The scores of a group's channels, stratum by stratum.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// By stratum: one score for each of its classes, in their order.
    pub strata: Vec<Vec<f64>>,
    /// False where no layer of the group counts under the criterion (a group without batch
    /// normalisation under [`Criterion::BnScale`]), so that the scores mean nothing.
    pub judged: bool,
}

impl Importance {
    /// The scores of a group's channels. Larger is more important.
    ///
    /// A criterion that needs pictures judges nothing without the evidence for it.
    pub fn scores(
        &self,
        graph: &Graph,
        couplings: &Couplings,
        group: &Group,
        evidence: Option<&Evidence>,
    ) -> Scores {
        if self.criterion == Criterion::Random {
            let first = group.producers.first().map(|p| graph.label(p.at.tensor));
            let mut random = Random::for_name(self.seed, &first.unwrap_or_default());
            let draw = |stratum: &Stratum| stratum.classes.iter().map(|_| random.unit()).collect();
            return Scores { strata: group.strata.iter().map(draw).collect(), judged: true };
        }
        if self.criterion.needs().effects {
            return self.by_activations(group, evidence.unwrap_or(&Evidence::default()));
        }
        let layers = self.layers(graph, couplings, group, evidence);
        let root = group.producers.first();
        let mut judged = false;
        let mut flat = Vec::new();
        for &class in group.strata.iter().flat_map(|stratum| &stratum.classes) {
            // On the first layer's axis a channel of a grouped convolution stands once in every
            // group; its score is the mean over them.
            let on_root = |at: &&bunjae_ir::Member| root.is_some_and(|root| root.at == at.at);
            let copies = couplings.members(class).iter().filter(on_root).count().max(1);
            let parts: Vec<f64> = layers
                .iter()
                .filter_map(|layer| layer.score(couplings, class))
                .map(|sum| sum / copies as f64)
                .collect();
            judged |= !parts.is_empty();
            flat.push(self.across.combine(&parts));
        }
        self.normalised(group, flat, judged)
    }

    /// Scores in the order of the group's channels, normalised and split by strata.
    fn normalised(&self, group: &Group, mut flat: Vec<f64>, judged: bool) -> Scores {
        self.normalise.apply(&mut flat);
        let mut rest = flat.as_slice();
        let strata = group.strata.iter().map(|stratum| {
            let (own, others) = rest.split_at(stratum.classes.len());
            rest = others;
            own.to_vec()
        });
        Scores { strata: strata.collect(), judged }
    }

    fn by_activations(&self, group: &Group, evidence: &Evidence) -> Scores {
        let scores = match self.criterion {
            Criterion::Fisher => &evidence.curvature,
            _ => &evidence.effect,
        };
        let classes = || group.strata.iter().flat_map(|stratum| &stratum.classes);
        let score = |class: &ClassId| scores.get(class.index()).copied().unwrap_or(0.0);
        let is_read = |class: &ClassId| evidence.is_read.get(class.index()) == Some(&true);
        self.normalised(group, classes().map(score).collect(), classes().any(is_read))
    }

    /// What each layer that makes, normalises or reads the group's channels contributes, in the
    /// order of the graph.
    fn layers(
        &self,
        graph: &Graph,
        couplings: &Couplings,
        group: &Group,
        evidence: Option<&Evidence>,
    ) -> Vec<Layer> {
        let mut nodes: Vec<NodeId> = Vec::new();
        let uses = graph.users();
        for &class in group.strata.iter().flat_map(|stratum| &stratum.classes) {
            for member in couplings.members(class) {
                if graph.weight_tensor(member.at.tensor).is_some() {
                    nodes.extend(&uses[member.at.tensor.index()]);
                }
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        nodes.into_iter().flat_map(|id| self.node_layers(graph, id, evidence)).collect()
    }

    fn node_layers(&self, graph: &Graph, id: NodeId, evidence: Option<&Evidence>) -> Vec<Layer> {
        let node = graph.node(id);
        let norm = self.criterion == Criterion::BnScale;
        // Operand, the axis that makes channels, the axis that reads them, and how many groups
        // read through one index of the latter.
        let weighed = match &node.op {
            Op::Conv2d(op) => match op.groups {
                Groups::Dense => Some((1, 0, 1, 1)),
                Groups::Grouped(count) => Some((1, 0, 1, count)),
                Groups::Depthwise => None,
            },
            Op::ConvTranspose2d(op) if op.groups != Groups::Depthwise => Some((1, 1, 0, 1)),
            Op::Linear => Some((1, 0, 1, 1)),
            Op::MatMul => {
                let is_weight = |at: usize| graph.weight_tensor(node.inputs[at]).is_some();
                let rank = |at: usize| graph.ty(node.inputs[at]).rank();
                if is_weight(1) {
                    Some((1, rank(1) - 1, rank(1) - 2, 1))
                } else if is_weight(0) {
                    Some((0, rank(0) - 2, rank(0) - 1, 1))
                } else {
                    None
                }
            }
            Op::BatchNorm(_) | Op::LayerNorm(_)
                if self.criterion.counts_norms(matches!(node.op, Op::BatchNorm(_))) =>
            {
                let gamma = node.inputs[1];
                let is_vector = graph.ty(gamma).rank() == 1;
                let Some(parts) = self.parts(graph, gamma, evidence).filter(|_| is_vector) else {
                    return Vec::new();
                };
                let scores = parts.into_iter().map(f64::abs).collect();
                return vec![Layer { tensor: gamma, axis: 0, scores, weight: 1.0 }];
            }
            _ => None,
        };
        let Some((operand, makes, reads, groups)) = weighed.filter(|_| !norm) else {
            return Vec::new();
        };
        let tensor = node.inputs[operand];
        let Some(weight) = graph.weight_tensor(tensor) else { return Vec::new() };
        let Some(parts) = self.parts(graph, tensor, evidence) else { return Vec::new() };
        let layer = |axis: usize, groups: usize| Layer {
            tensor,
            axis,
            scores: self.slices(&parts, weight.shape(), axis),
            weight: groups as f64,
        };
        let mut layers = vec![layer(makes, 1)];
        if self.criterion != Criterion::ObdC {
            layers.push(layer(reads, groups));
        }
        layers
    }

    /// What each element of a weight contributes to the sum over its slice; `None` where pictures
    /// say nothing of it, or it is computed.
    fn parts(&self, graph: &Graph, id: TensorId, evidence: Option<&Evidence>) -> Option<Vec<f64>> {
        let values = graph.weight_tensor(id)?.to_f64_vec();
        let powers = values.iter().map(|value| value.abs().powi(self.power()));
        let told = |by: fn(&Evidence) -> &BTreeMap<String, Vec<f64>>| {
            let told = by(evidence?).get(&graph.label(id))?;
            (told.len() == values.len()).then_some(told)
        };
        Some(match self.criterion {
            Criterion::WeightTaylor => {
                let gradients = told(|evidence| &evidence.gradients)?;
                powers.zip(gradients).map(|(w, g)| w * g.abs()).collect()
            }
            Criterion::WeightTaylorSum => {
                let gradients = told(|evidence| &evidence.gradients)?;
                values.iter().zip(gradients).map(|(w, g)| w * g).collect()
            }
            Criterion::Hessian => {
                let squares = told(|evidence| &evidence.squares)?;
                powers.zip(squares).map(|(w, h)| w * h).collect()
            }
            Criterion::ObdC => {
                let squares = told(|evidence| &evidence.squares)?;
                powers.zip(squares).map(|(w, h)| w * (h + 1e-10)).collect()
            }
            _ => powers.collect(),
        })
    }

    /// The score of each index of one axis of a weight.
    fn slices(&self, parts: &[f64], shape: &[usize], axis: usize) -> Vec<f64> {
        let count = shape[axis];
        let inner: usize = shape[axis + 1..].iter().product();
        let slice_of = |at: usize| at / inner.max(1) % count.max(1);
        if self.criterion != Criterion::Fpgm {
            let mut sums = vec![0.0; count];
            for (at, part) in parts.iter().enumerate() {
                sums[slice_of(at)] += part;
            }
            // Only the parts of `WeightTaylorSum` have a sign.
            return sums.into_iter().map(f64::abs).collect();
        }
        let mut slices: Vec<Vec<f64>> = vec![Vec::new(); count];
        for (at, power) in parts.iter().enumerate() {
            slices[slice_of(at)].push(*power);
        }
        let distance = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
        };
        slices.iter().map(|a| slices.iter().map(|b| distance(a, b)).sum()).collect()
    }
}

/// What one layer contributes through one axis of its weight.
struct Layer {
    tensor: TensorId,
    axis: usize,
    scores: Vec<f64>,
    /// How many groups of channels read through one index.
    weight: f64,
}

impl Layer {
    /// The layer's score of a channel, `None` where the channel does not exist on the axis.
    fn score(&self, couplings: &Couplings, class: ClassId) -> Option<f64> {
        let own = couplings
            .members(class)
            .iter()
            .filter(|member| member.at.tensor == self.tensor && member.at.axis == self.axis);
        let mut sum = None;
        for member in own {
            *sum.get_or_insert(0.0) += self.scores[member.index] * self.weight;
        }
        sum
    }
}

impl Across {
    fn combine(self, parts: &[f64]) -> f64 {
        let sum: f64 = parts.iter().sum();
        match self {
            Across::Mean => sum / parts.len().max(1) as f64,
            Across::Sum => sum,
            Across::Max => parts.iter().copied().fold(0.0, f64::max),
            Across::Product if parts.is_empty() => 0.0,
            Across::Product => parts.iter().product(),
            Across::First => parts.first().copied().unwrap_or(0.0),
            Across::Last => parts.last().copied().unwrap_or(0.0),
        }
    }
}

impl Normalise {
    fn apply(self, scores: &mut [f64]) {
        let count = scores.len() as f64;
        if scores.is_empty() {
            return;
        }
        let sum: f64 = scores.iter().sum();
        let mean = sum / count;
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let over = |scores: &mut [f64], divisor: f64| {
            if divisor != 0.0 {
                scores.iter_mut().for_each(|score| *score /= divisor);
            }
        };
        match self {
            Normalise::None => {}
            Normalise::Sum => over(scores, sum),
            Normalise::Mean => over(scores, mean),
            Normalise::Max => over(scores, largest),
            Normalise::L2 => {
                let norm = scores.iter().map(|score| score * score).sum::<f64>().sqrt();
                over(scores, norm);
            }
            Normalise::Standardise => {
                scores.iter_mut().for_each(|score| *score -= smallest);
                over(scores, largest - smallest + 1e-8);
            }
            Normalise::Gaussian => {
                let square = |score: &f64| (score - mean) * (score - mean);
                let variance = scores.iter().map(square).sum::<f64>() / (count - 1.0).max(1.0);
                scores.iter_mut().for_each(|score| *score -= mean);
                over(scores, variance.sqrt());
            }
            Normalise::Sentinel(share) => {
                let mut sorted = scores.to_vec();
                sorted.sort_by(f64::total_cmp);
                let at = ((count * share) as usize).min(sorted.len() - 1);
                over(scores, sorted[at]);
            }
            Normalise::Lamp => {
                let mut order: Vec<usize> = (0..scores.len()).collect();
                order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
                let mut rest = sum;
                for at in order {
                    let score = scores[at];
                    scores[at] = if rest > 0.0 { score / rest } else { 0.0 };
                    rest -= score;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunjae_ir::TensorType;
    use bunjae_ir::op::{BatchNorm, Conv2d, Unary};
    use bunjae_tensor::Tensor;

    /// The network of the golden values: 1x1 convolutions 3 to 4 to 2 channels with batch
    /// normalisation between.
    fn network() -> Graph {
        let mut graph = Graph::new("golden");
        let x = graph.input("x", TensorType::image(3, 4, 4)).unwrap();
        let rows = [1f32, 2., 2., 0., 1., 0., 3., 0., 4., 1., 1., 1.];
        let w1 = graph.weight("c1", Tensor::from_slice(&[4, 3, 1, 1], &rows).unwrap()).unwrap();
        let y = graph.push("c1", Op::Conv2d(Conv2d::default()), &[x, w1]).unwrap();
        let vector = |values: [f32; 4]| Tensor::from_slice(&[4], &values).unwrap();
        let gamma = graph.weight("gamma", vector([1., 2., 0.5, 1.])).unwrap();
        let beta = graph.weight("beta", vector([0.; 4])).unwrap();
        let mean = graph.constant("mean", vector([0.; 4])).unwrap();
        let variance = graph.constant("var", vector([1.; 4])).unwrap();
        let norm = Op::BatchNorm(BatchNorm::default());
        let y = graph.push("bn", norm, &[y, gamma, beta, mean, variance]).unwrap();
        let y = graph.push("relu", Unary::Relu, &[y]).unwrap();
        let columns = [1f32, 0., 2., 1., 1., 1., 0., 1.];
        let w2 = graph.weight("c2", Tensor::from_slice(&[2, 4, 1, 1], &columns).unwrap()).unwrap();
        let y = graph.push("c2", Op::Conv2d(Conv2d::default()), &[y, w2]).unwrap();
        graph.output("y", y).unwrap();
        graph
    }

    #[track_caller]
    fn check(importance: Importance, expected: [f64; 4]) {
        let graph = network();
        let couplings = graph.couplings();
        let scores = importance.scores(&graph, &couplings, &couplings.groups()[0], None);
        assert_eq!(scores.strata.len(), 1);
        for (found, expected) in scores.strata[0].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{:?} for {expected}", scores.strata[0]);
        }
    }

    fn l2(across: Across, normalise: Normalise) -> Importance {
        Importance { across, normalise, ..Importance::new(Criterion::L2) }
    }

    /// Measured with torch-pruning 1.6.1 (semantics of the peers, "Golden").
    #[test]
    fn scores_are_those_of_torch_pruning() {
        check(l2(Across::Mean, Normalise::None), [4.0, 2.0, 9.75, 2.0]);
        check(Importance::new(Criterion::L2), [0.901408, 0.450704, 2.197183, 0.450704]);
        let l1 = Importance { normalise: Normalise::None, ..Importance::new(Criterion::L1) };
        check(l1, [2.666667, 1.333333, 3.166667, 2.0]);
        check(l2(Across::First, Normalise::None), [9.0, 1.0, 25.0, 3.0]);
        check(l2(Across::Max, Normalise::None), [9.0, 4.0, 25.0, 3.0]);
        check(l2(Across::Product, Normalise::None), [18.0, 4.0, 25.0, 6.0]);
        check(l2(Across::Last, Normalise::None), [2.0, 1.0, 4.0, 2.0]);
        check(l2(Across::Mean, Normalise::Standardise), [0.258065, 0.0, 1.0, 0.0]);
        check(l2(Across::Mean, Normalise::Gaussian), [-0.119372, -0.665073, 1.449519, -0.665073]);
        check(l2(Across::Mean, Normalise::Sentinel(0.5)), [1.0, 0.5, 2.4375, 0.5]);
        check(Importance::new(Criterion::Lamp), [0.290909, 0.112676, 1.0, 0.126984]);
        check(Importance::new(Criterion::BnScale), [0.888889, 1.777778, 0.444444, 0.888889]);
        check(Importance::new(Criterion::Fpgm), [0.773821, 0.843145, 1.653299, 0.729735]);
    }

    #[test]
    fn the_sum_and_the_largest_normalise_too() {
        check(l2(Across::Sum, Normalise::None), [12.0, 6.0, 29.25, 6.0]);
        check(l2(Across::Mean, Normalise::Sum), [0.225352, 0.112676, 0.549296, 0.112676]);
        check(l2(Across::Mean, Normalise::Max), [0.410256, 0.205128, 1.0, 0.205128]);
    }

    #[test]
    fn chance_is_seeded_and_differs_between_seeds() {
        let graph = network();
        let couplings = graph.couplings();
        let draw = |seed| {
            let importance = Importance { seed, ..Importance::new(Criterion::Random) };
            importance.scores(&graph, &couplings, &couplings.groups()[0], None)
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
