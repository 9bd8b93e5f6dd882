//! The proof that channel surgery is right: `remove` computes exactly what `mask` computes, on
//! random networks that contain every way in which channels hang together.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use bunjae_interp::run;
use bunjae_ir::{Bindings, Couplings, Graph, NodeId, Op, Relation};
use bunjae_passes::{mask, remove, sample_inputs};
use bunjae_tensor::{Random, Tolerance, compare};
use bunjae_testkit::random_graph::{HEADS, block_names, random_cut, random_graph};

const GRAPHS: u64 = 3000;
const SHARES: [f64; 3] = [0.2, 0.5, 0.9];

/// How a cut failed to be exact.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    Shapes(String),
    Outputs(String),
}

/// Removes and masks the same channels and compares every output bit for bit.
/// Returns how many channels were cut.
fn check(
    graph: &Graph,
    couplings: &Couplings,
    share: f64,
    random: &mut Random,
) -> Result<usize, Failure> {
    let classes = random_cut(graph, couplings, share, random);
    let cut = couplings.cut(graph, classes.iter().copied()).expect("a random cut is allowed");
    let slim = remove(graph, &cut).map_err(|error| Failure::Shapes(error.to_string()))?;
    let masked = mask(graph, &cut).expect("masking changes no shape");
    let bindings = Bindings::from([("N".to_string(), 2)]);
    let inputs = sample_inputs(graph, &bindings, random.bits()).expect("inputs are small");
    let found = run(&slim, &inputs).map_err(|error| Failure::Shapes(error.to_string()))?;
    let wanted = run(&masked, &inputs).expect("the masked network runs");
    for (output, (a, b)) in graph.outputs().iter().zip(found.iter().zip(&wanted)) {
        // Equality of tensors is equality of bits.
        if a != b {
            let difference = compare(a, b, Tolerance::EXACT).map_err(Failure::Shapes)?;
            return Err(Failure::Outputs(format!("{}: {difference:?}", output.name)));
        }
    }
    Ok(classes.len())
}

#[test]
fn removed_equals_masked_bit_for_bit() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut cut = 0;
    for seed in 0..GRAPHS {
        let network = random_graph(seed).expect("the generator builds valid networks");
        let couplings = network.graph.couplings();
        let mut random = Random::new(seed ^ 0x5eed);
        let mut own = 0;
        for share in SHARES {
            own += check(&network.graph, &couplings, share, &mut random)
                .unwrap_or_else(|failure| panic!("seed {seed}, {:?}: {failure:?}", network.kinds));
        }
        if own > 0 {
            network.kinds.iter().for_each(|kind| *seen.entry(kind).or_default() += 1);
        }
        cut += own;
    }
    for kind in block_names().chain(HEADS.iter().copied()) {
        let count = seen.get(kind).copied().unwrap_or(0);
        assert!(count >= 20, "only {count} networks with `{kind}` were cut");
    }
    assert!(cut > 10 * GRAPHS as usize, "only {cut} channels were cut in all");
}

/// A fault in how an operator states its relations.
type Fault = fn(&Op, Relation) -> Option<Relation>;

/// Faults that a coupling analysis could plausibly have, one per kind of relation.
const FAULTS: &[(&str, Fault)] = &[
    ("a residual addition forgets its second operand", |op, relation| match (op, &relation) {
        (Op::Binary(_), Relation::Same(a, _)) if a.of == bunjae_ir::Operand::In(1) => None,
        _ => Some(relation),
    }),
    ("a convolution forgets its bias", |op, relation| match (op, &relation) {
        (Op::Conv2d(_), Relation::Same(a, _)) if a.of == bunjae_ir::Operand::In(2) => None,
        _ => Some(relation),
    }),
    ("a concatenation is off by one", |op, relation| match (op, relation) {
        (Op::Concat(_), Relation::Span { part, whole, offset, repeat }) if offset > 0 => {
            Some(Relation::Span { part, whole, offset: offset - 1, repeat })
        }
        (_, relation) => Some(relation),
    }),
    ("a split starts every part at the front", |op, relation| match (op, relation) {
        (Op::Split(_), Relation::Span { part, whole, repeat, .. }) => {
            Some(Relation::Span { part, whole, offset: 0, repeat })
        }
        (_, relation) => Some(relation),
    }),
    ("a depthwise layer ignores its multiplier", |op, relation| match (op, relation) {
        (Op::Conv2d(_), Relation::Span { part, whole, offset, repeat }) if repeat > 1 => {
            Some(Relation::Span { part, whole, offset, repeat: 1 })
        }
        (_, relation) => Some(relation),
    }),
    ("a grouped convolution forgets that its groups stay equal", |_, relation| match relation {
        Relation::Block { .. } => None,
        relation => Some(relation),
    }),
    ("batch normalisation forgets its mean", |op, relation| match (op, &relation) {
        (Op::BatchNorm(_), Relation::Same(_, b)) if b.of == bunjae_ir::Operand::In(3) => None,
        _ => Some(relation),
    }),
    ("a flatten forgets its channels", |op, relation| match (op, &relation) {
        (Op::Flatten(_), Relation::Merge { .. }) => None,
        _ => Some(relation),
    }),
    ("a reshape forgets the order of its factors", |op, relation| match (op, relation) {
        (Op::Reshape(_), Relation::Merge { mut parts, whole }) => {
            parts.reverse();
            Some(Relation::Merge { parts, whole })
        }
        (_, relation) => Some(relation),
    }),
    ("a softmax does not pin its axis", |op, relation| match (op, &relation) {
        (Op::Softmax(_), Relation::Pinned { .. }) => None,
        _ => Some(relation),
    }),
    ("an L2 normalisation does not pin its axis", |op, relation| match (op, &relation) {
        (Op::L2Norm(_), Relation::Pinned { .. }) => None,
        _ => Some(relation),
    }),
    ("a transpose forgets to permute", |op, relation| match (op, relation) {
        (Op::Transpose(_), Relation::Same(a, mut b)) => {
            b.axis = a.axis;
            Some(Relation::Same(a, b))
        }
        (_, relation) => Some(relation),
    }),
    ("pixel shuffle takes one order for the other", |op, relation| match (op, relation) {
        (Op::DepthToSpace(_), Relation::Span { part, whole, repeat: 1, offset }) => {
            (offset == 0).then_some(Relation::Span { part, whole, offset, repeat: 4 })
        }
        (_, relation) => Some(relation),
    }),
    ("padding shifts nothing", |op, relation| match (op, relation) {
        (Op::Pad(_), Relation::Span { part, whole, repeat, .. }) => {
            Some(Relation::Span { part, whole, offset: 0, repeat })
        }
        (_, relation) => Some(relation),
    }),
    ("a linear layer does not say that it sums over its input", |op, relation| {
        match (op, &relation) {
            (Op::Linear, Relation::Contracts(_)) => None,
            _ => Some(relation),
        }
    }),
];

/// If the property could not fail, it would prove nothing.
#[test]
fn every_broken_coupling_is_found_out() {
    let mut unseen: BTreeSet<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
    for seed in 0..600 {
        let network = random_graph(seed).expect("the generator builds valid networks");
        let graph = &network.graph;
        for (name, fault) in FAULTS {
            if !unseen.contains(name) {
                continue;
            }
            let broken = |id: NodeId| -> Vec<Relation> {
                let op = &graph.node(id).op;
                graph.relations(id).into_iter().filter_map(|r| fault(op, r)).collect()
            };
            let couplings = Couplings::with_relations(graph, broken);
            let mut random = Random::new(seed);
            if SHARES.iter().any(|&share| check(graph, &couplings, share, &mut random).is_err()) {
                unseen.remove(name);
            }
        }
    }
    assert!(unseen.is_empty(), "not found out in 600 networks: {unseen:?}");
}
