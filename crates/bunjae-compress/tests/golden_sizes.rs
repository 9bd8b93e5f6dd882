//! The sizes that the peers reach, to the last digit.
//!
//! Expected numbers were measured with torch-pruning 1.6.1 and thop 0.1.1: local L2 magnitude in one
//! shot, the classifier kept.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bunjae_compress::{
    Criterion, GroupPlan, Importance, Pattern, PlanError, PruneError, Pruned, Scope, Settings,
    Target, prune,
};
use bunjae_ir::op::{Binary, Conv2d, Groups};
use bunjae_ir::{Bindings, Convention, Graph, Op, Source, TensorType};
use bunjae_tensor::{DType, Random, Tensor};
use bunjae_zoo::{Options, build};

fn one_picture() -> Bindings {
    Bindings::from([("N".to_string(), 1)])
}

fn settings(target: Target) -> Settings {
    Settings { bindings: one_picture(), ..Settings::new(target) }
}

fn network(name: &str) -> Graph {
    build(name, &Options::default()).unwrap()
}

fn cut(graph: &Graph, ratio: f64) -> Graph {
    if ratio == 0.0 {
        return graph.clone();
    }
    prune(graph, &settings(Target::Ratio(ratio))).unwrap().graph
}

/// Parameters, and MACs by the given conventions.
fn counts(graph: &Graph, conventions: [Convention; 2]) -> (u64, u64, u64) {
    let [first, second] =
        conventions.map(|convention| graph.cost(&one_picture(), convention).unwrap());
    (first.parameters.total, first.macs, second.macs)
}

/// MACs that the convention gives to the activations after a residual addition. In the peer's
/// `resnet_tiny.py` they are function calls, which its counter does not see.
fn after_additions(graph: &Graph, convention: Convention) -> u64 {
    let cost = graph.cost(&one_picture(), convention).unwrap();
    let follows_addition = |node: &bunjae_ir::Node| match &graph.value(node.inputs[0]).source {
        Source::Node { node, .. } => graph.node(*node).op == Op::Binary(Binary::Add),
        _ => false,
    };
    let relus = cost.nodes.iter().filter(|node| node.op == "relu");
    relus.filter(|own| follows_addition(graph.node(own.node))).map(|own| own.macs).sum()
}

#[test]
fn residual_networks_reach_the_peers_sizes() {
    let rows = [
        ("resnet20", 0.0, 41_321_098, 41_616_064, 272_474),
        ("resnet20", 0.3, 19_734_978, 19_937_764, 129_359),
        ("resnet20", 0.5, 10_568_010, 10_715_488, 68_786),
        ("resnet20", 0.7, 3_304_712, 3_383_185, 23_580),
        ("resnet56", 0.0, 127_115_914, 127_926_976, 855_770),
        ("resnet56", 0.3, 60_471_234, 61_028_836, 405_635),
        ("resnet56", 0.5, 32_231_754, 32_637_280, 215_282),
        ("resnet56", 0.7, 10_037_384, 10_252_945, 73_812),
    ];
    for (name, ratio, torch_pruning, thop, parameters) in rows {
        let graph = cut(&network(name), ratio);
        let mut found = counts(&graph, [Convention::TorchPruning, Convention::Thop]);
        found.1 -= after_additions(&graph, Convention::TorchPruning);
        assert_eq!(found, (parameters, torch_pruning, thop), "{name} at {ratio}");
    }
}

#[test]
fn the_face_mask_classifiers_have_their_sizes() {
    let rows = [
        ("mask-base", 0.0, 93_954, 165_150_976, 168_952_192),
        ("mask-medium", 0.0, 53_186, 95_551_680, 98_402_592),
        ("mask-small", 0.0, 6_210, 12_976_192, 13_926_496),
        ("mask-base", 0.3, 45_195, 81_506_482, 84_124_939),
        ("mask-base", 0.5, 23_938, 44_826_752, 46_727_360),
        ("mask-base", 0.7, 8_556, 16_939_084, 18_034_802),
    ];
    for (name, ratio, parameters, exact, thop) in rows {
        let graph = cut(&network(name), ratio);
        let found = counts(&graph, [Convention::Exact, Convention::Thop]);
        assert_eq!(found, (parameters, exact, thop), "{name} at {ratio}");
    }
}

fn conv_widths(graph: &Graph) -> Vec<usize> {
    let convs = graph.nodes().iter().filter(|node| matches!(node.op, Op::Conv2d(_)));
    convs.filter_map(|node| graph.ty(node.inputs[1]).dims[0].fixed()).collect()
}

#[test]
fn the_face_mask_classifier_is_cut_to_the_peers_widths() {
    let base = network("mask-base");
    for (ratio, widths) in [(0.3, [22, 44, 89]), (0.5, [16, 32, 64]), (0.7, [9, 19, 38])] {
        assert_eq!(conv_widths(&cut(&base, ratio)), widths);
    }
}

/// A dense layer into a grouped one of 32 channels in 4 groups, into a dense one.
fn grouped() -> Graph {
    let mut graph = Graph::new("grouped");
    let mut random = Random::new(3);
    let mut weight = |graph: &mut Graph, name: &str, shape: [usize; 4]| {
        let mut tensor = Tensor::zeros(DType::F32, &shape).unwrap();
        for value in tensor.elements_mut::<f32>().unwrap() {
            *value = random.uniform(-1.0, 1.0) as f32;
        }
        graph.weight(name, tensor).unwrap()
    };
    let x = graph.input("x", TensorType::image(3, 8, 8)).unwrap();
    let w = weight(&mut graph, "w1", [16, 3, 1, 1]);
    let y = graph.push("first", Op::Conv2d(Conv2d::default()), &[x, w]).unwrap();
    let w = weight(&mut graph, "w2", [32, 4, 3, 3]);
    let conv = Conv2d { groups: Groups::Grouped(4), ..Conv2d::default() };
    let y = graph.push("grouped", Op::Conv2d(conv), &[y, w]).unwrap();
    let w = weight(&mut graph, "w3", [5, 32, 1, 1]);
    let y = graph.push("last", Op::Conv2d(Conv2d::default()), &[y, w]).unwrap();
    graph.output("y", y).unwrap();
    graph
}

#[test]
fn grouped_convolutions_keep_equal_groups() {
    for (ratio, width) in [(0.25, 24), (0.3, 20), (0.5, 16), (0.7, 8)] {
        assert_eq!(conv_widths(&cut(&grouped(), ratio))[1], width, "at {ratio}");
    }
}

/// The peer leaves such layers whole: it compares the count of one group with the width of all.
#[test]
fn grouped_convolutions_are_rounded_as_a_whole() {
    for (ratio, round_to, width) in [
        (0.25, 8, 24),
        (0.5, 8, 16),
        (0.7, 8, 8),
        (0.25, 16, 16),
        (0.5, 16, 16),
        (0.7, 16, 16),
        (0.25, 4, 24),
        (0.7, 4, 8),
    ] {
        let settings = Settings { round_to, ..settings(Target::Ratio(ratio)) };
        let graph = prune(&grouped(), &settings).unwrap().graph;
        assert_eq!(conv_widths(&graph)[1], width, "at {ratio} to multiples of {round_to}");
    }
}

fn group<'a>(pruned: &'a Pruned, layer: &str) -> &'a GroupPlan {
    let found = pruned.plan.groups.iter().find(|g| g.layers.iter().any(|l| l == layer));
    found.unwrap_or_else(|| panic!("no group has {layer}"))
}

#[test]
fn the_maximum_ratio_is_a_cap() {
    let base = network("resnet20");
    let settings =
        Settings { scope: Scope::Global, max_ratio: 0.5, ..settings(Target::Ratio(0.8)) };
    let pruned = prune(&base, &settings).unwrap();
    for group in pruned.plan.groups.iter().filter(|group| group.reason.is_none()) {
        assert!(2 * group.kept >= group.channels, "{group:?}");
    }
    let free = Settings { max_ratio: 1.0, ..settings };
    let pruned = prune(&base, &free).unwrap();
    assert!(pruned.plan.groups.iter().any(|group| 2 * group.kept < group.channels));
}

#[test]
fn a_global_ranking_takes_the_share_asked_for() {
    let base = network("mask-base");
    let settings = Settings { scope: Scope::Global, ..settings(Target::Ratio(0.5)) };
    let pruned = prune(&base, &settings).unwrap();
    let widths = conv_widths(&pruned.graph);
    assert_eq!(widths.iter().sum::<usize>(), (32 + 64 + 128) / 2, "{widths:?}");
}

#[test]
fn layers_can_be_ignored_or_given_a_ratio_of_their_own() {
    let base = network("resnet20");
    let settings = Settings {
        ignore: vec![Pattern::new("layer2.0.conv1")],
        layer_ratios: vec![(Pattern::new("layer3.*.conv1"), 0.75)],
        ..settings(Target::Ratio(0.5))
    };
    let pruned = prune(&base, &settings).unwrap();
    let ignored = group(&pruned, "layer2.0.conv1");
    assert_eq!((ignored.kept, ignored.channels), (32, 32));
    assert_eq!(ignored.reason.as_deref(), Some("ignored by `layer2.0.conv1`"));
    assert_eq!(group(&pruned, "layer3.1.conv1").kept, 16);
    assert_eq!(group(&pruned, "layer1.1.conv1").kept, 8);
    let classifier = group(&pruned, "fc");
    assert_eq!((classifier.kept, classifier.channels), (10, 10));
    assert!(classifier.reason.as_deref().unwrap().contains("output `logits`"), "{classifier:?}");

    let typo = Settings { ignore: vec![Pattern::new("layer9")], ..settings };
    match prune(&base, &typo) {
        Err(PruneError::Plan(PlanError::NoMatch { pattern, known })) => {
            assert_eq!(pattern, "layer9");
            assert!(known.starts_with("conv1, "), "{known}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn targets_are_met_and_not_overshot_by_much() {
    let base = network("resnet20");
    let whole = base.cost(&one_picture(), Convention::Exact).unwrap();
    for scope in [Scope::Local, Scope::Global] {
        for share in [0.3, 0.6] {
            let by_macs = Settings { scope, ..settings(Target::Macs(share)) };
            let macs = prune(&base, &by_macs).unwrap().after.macs as f64 / whole.macs as f64;
            assert!(macs <= share && macs > share - 0.08, "{scope:?} {share}: {macs}");
            let by_size = Settings { scope, ..settings(Target::Parameters(share)) };
            let left = prune(&base, &by_size).unwrap().after.parameters as f64;
            let left = left / whole.parameters.total as f64;
            assert!(left <= share && left > share - 0.08, "{scope:?} {share}: {left}");
        }
    }
    let far = prune(&base, &settings(Target::Macs(1e-6)));
    assert!(matches!(far, Err(PruneError::Plan(PlanError::OutOfReach { .. }))), "{far:?}");
}

#[test]
fn senseless_shares_are_refused() {
    let base = network("mask-small");
    for target in [
        Target::Ratio(1.0),
        Target::Ratio(-0.1),
        Target::Ratio(f64::NAN),
        Target::Macs(0.0),
        Target::Parameters(1.5),
    ] {
        let refused = prune(&base, &settings(target));
        let share = matches!(refused, Err(PruneError::Plan(PlanError::Share { .. })));
        assert!(share, "{target:?}: {refused:?}");
    }
}

#[test]
fn every_criterion_and_scope_cuts_every_architecture() {
    for architecture in bunjae_zoo::ARCHITECTURES.iter().filter(|a| a.name != "vgg16") {
        let graph = network(architecture.name);
        for criterion in [
            Criterion::L1,
            Criterion::L2,
            Criterion::Lamp,
            Criterion::Fpgm,
            Criterion::BnScale,
            Criterion::Random,
        ] {
            let has_norm = graph.nodes().iter().any(|n| matches!(n.op, Op::BatchNorm(_)));
            let slow = criterion == Criterion::Fpgm && architecture.input[1] > 128;
            if (criterion == Criterion::BnScale && !has_norm) || slow {
                continue;
            }
            let scope = if has_norm { Scope::Global } else { Scope::Local };
            let importance = Importance::new(criterion);
            let settings = Settings { importance, scope, ..settings(Target::Ratio(0.4)) };
            let pruned = prune(&graph, &settings).unwrap();
            let name = architecture.name;
            assert!(
                pruned.after.parameters < pruned.before.parameters,
                "{name} by {criterion:?} {scope:?}"
            );
        }
    }
}

#[test]
fn a_network_without_normalisation_cannot_be_judged_by_it() {
    let importance = Importance::new(Criterion::BnScale);
    let refused =
        prune(&network("squeezenet1.1"), &Settings { importance, ..settings(Target::Ratio(0.5)) });
    match refused {
        Err(PruneError::NothingToCut { reasons, .. }) => {
            assert!(reasons.iter().any(|(_, why)| why.contains("no batch normalisation")));
        }
        other => panic!("{other:?}"),
    }
}

/// In a ShuffleNet stage every channel takes a path of its own through the shuffles, so that some
/// exist nowhere as any other does; the stage as a whole still loses its share.
#[test]
fn shuffled_stages_lose_their_share_as_a_whole() {
    let base = network("shufflenet-v2");
    let pruned = prune(&base, &settings(Target::Ratio(0.5))).unwrap();
    for (layer, channels, kept) in
        [("stage2.0.branch1.2", 58, 29..=31), ("stage4.0.branch2.5", 232, 116..=118)]
    {
        let group = group(&pruned, layer);
        assert_eq!(group.channels, channels, "{group:?}");
        assert!(kept.contains(&group.kept), "{group:?}");
    }
    let rounded = Settings { round_to: 8, ..settings(Target::Ratio(0.4)) };
    let rounded = prune(&base, &rounded).unwrap();
    // Where the stages' paths cross, a channel is given back rather than losing a whole branch.
    let single = |group: &&GroupPlan| group.reason.is_none() && group.layers.len() == 1;
    for group in rounded.plan.groups.iter().filter(single) {
        assert_eq!(group.kept % 8, 0, "{group:?}");
    }
}

/// PyTorch's newer exporter numbers its nodes; the layers' paths live on in their weights' names.
#[test]
fn patterns_match_the_path_of_the_weight_as_well() {
    let mut graph = Graph::new("numbered");
    let x = graph.input("x", TensorType::image(3, 8, 8)).unwrap();
    let mut y = x;
    for (at, name) in ["layer1.conv.weight", "layer2.conv.weight"].into_iter().enumerate() {
        let channels = if at == 0 { 3 } else { 8 };
        let ones: Vec<f32> = (0..8 * channels).map(|at| at as f32).collect();
        let weight = Tensor::from_slice(&[8, channels, 1, 1], &ones).unwrap();
        let weight = graph.weight(name, weight).unwrap();
        let node = format!("node_conv_{at}");
        y = graph.push(&node, Op::Conv2d(Conv2d::default()), &[y, weight]).unwrap();
    }
    let last = graph.weight("head.weight", Tensor::zeros(DType::F32, &[2, 8, 1, 1]).unwrap());
    y = graph.push("node_conv_2", Op::Conv2d(Conv2d::default()), &[y, last.unwrap()]).unwrap();
    graph.output("y", y).unwrap();
    let ignore = vec![Pattern::new("layer1")];
    let pruned = prune(&graph, &Settings { ignore, ..settings(Target::Ratio(0.5)) }).unwrap();
    assert_eq!(group(&pruned, "node_conv_0").kept, 8);
    assert_eq!(group(&pruned, "node_conv_1").kept, 4);
}
