//! What pictures say about the channels of a small network, against PyTorch and torch-pruning: the
//! numbers in `golden_importance/torch.golden`, which the script beside it prints.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bunjae_compress::{
    Correlation, Criterion, Evidence, EvidenceError, Importance, Looking, Normalise, Penalty,
    PlanError, PruneError, Settings, Sparsity, Target, consult_oracle, prune,
};
use bunjae_data::pictures::{Pictures, Reading};
use bunjae_data::{Channels, Colour, Dataset, Item, Preprocess, Records, Source};
use bunjae_engine::Segment;
use bunjae_ir::{Bindings, Graph};
use bunjae_tensor::Tensor;

const GOLDEN: &str = include_str!("golden_importance/torch.golden");

/// The network of the script.
const NET: &str = "graph @net
in   %x: f32[N,3,8,8]
w    @c1.weight: f32[6,3,3,3] = zeros
w    @b1.weight: f32[6] = zeros
w    @b1.bias: f32[6] = zeros
w    @b1.running_mean: f32[6] frozen = zeros
w    @b1.running_var: f32[6] frozen = zeros
%1 = conv2d %x, @c1.weight {pad=[1,1,1,1]} : f32[N,6,8,8] ; \"c1\"
%2 = batch_norm %1, @b1.weight, @b1.bias, @b1.running_mean, @b1.running_var : f32[N,6,8,8] ; \"b1\"
%3 = relu %2 : f32[N,6,8,8] ; \"r1\"
w    @c2.weight: f32[6,6,3,3] = zeros
w    @c2.bias: f32[6] = zeros
w    @b2.weight: f32[6] = zeros
w    @b2.bias: f32[6] = zeros
w    @b2.running_mean: f32[6] frozen = zeros
w    @b2.running_var: f32[6] frozen = zeros
%4 = conv2d %3, @c2.weight, @c2.bias {pad=[1,1,1,1]} : f32[N,6,8,8] ; \"c2\"
%5 = batch_norm %4, @b2.weight, @b2.bias, @b2.running_mean, @b2.running_var : f32[N,6,8,8] ; \"b2\"
%6 = add %3, %5 : f32[N,6,8,8] ; \"sum\"
%7 = relu %6 : f32[N,6,8,8] ; \"r2\"
%8 = max_pool %7 {kernel=[2,2], stride=[2,2]} : f32[N,6,4,4] ; \"pool\"
w    @dw.weight: f32[6,1,3,3] = zeros
w    @b3.weight: f32[6] = zeros
w    @b3.bias: f32[6] = zeros
w    @b3.running_mean: f32[6] frozen = zeros
w    @b3.running_var: f32[6] frozen = zeros
%9 = conv2d %8, @dw.weight {groups=depthwise, pad=[1,1,1,1]} : f32[N,6,4,4] ; \"dw\"
%10 = batch_norm %9, @b3.weight, @b3.bias, @b3.running_mean, @b3.running_var : f32[N,6,4,4] ; \"b3\"
%11 = relu %10 : f32[N,6,4,4] ; \"r3\"
w    @p.weight: f32[5,6,1,1] = zeros
w    @p.bias: f32[5] = zeros
%12 = conv2d %11, @p.weight, @p.bias : f32[N,5,4,4] ; \"p\"
%13 = relu %12 : f32[N,5,4,4] ; \"r4\"
%14 = flatten %13 {axis=1} : f32[N,80] ; \"flat\"
w    @fc1.weight: f32[7,80] = zeros
w    @fc1.bias: f32[7] = zeros
%15 = linear %14, @fc1.weight, @fc1.bias : f32[N,7] ; \"fc1\"
%16 = relu %15 : f32[N,7] ; \"r5\"
w    @fc2.weight: f32[3,7] = zeros
w    @fc2.bias: f32[3] = zeros
%17 = linear %16, @fc2.weight, @fc2.bias : f32[N,3] ; \"fc2\"
out  %17 ; \"scores\"
";

const COUNT: usize = 5;

/// The formula of the script.
fn values(name: &str, shape: &[usize], low: f64, high: f64) -> Tensor {
    let seed: usize = name.bytes().zip(1..).map(|(byte, at)| usize::from(byte) * at).sum();
    let number = |index: usize| {
        let fraction = ((index * index * 7 + index * 37 + seed * 101) % 1009) as f64 / 1009.0 - 0.5;
        ((low + high) / 2.0 + (high - low) * fraction) as f32
    };
    let count: usize = shape.iter().product();
    Tensor::from_slice(shape, &(0..count).map(number).collect::<Vec<f32>>()).unwrap()
}

fn network() -> Graph {
    let graph = Graph::parse(NET).unwrap();
    graph
        .map(
            |id, tensor| {
                let (name, shape) = (graph.label(id), tensor.shape());
                let fan_in: usize = shape.iter().skip(1).product();
                let bound = if shape.len() > 1 { (6.0 / fan_in as f64).sqrt() } else { 0.5 };
                let is_scale = name.starts_with('b') && name.ends_with("weight");
                if is_scale || name.ends_with("var") {
                    values(&name, shape, 0.5, 1.5)
                } else {
                    values(&name, shape, -bound, bound)
                }
            },
            |new, id, inputs| {
                let node = graph.node(id);
                new.push_multi(&node.name, node.op.clone(), inputs)
            },
        )
        .unwrap()
}

/// The pictures of the script, and behind them, where asked for, some without a label.
fn pictures(unlabelled: usize) -> Arc<Pictures> {
    // Records hold the channels of a pixel side by side.
    let sample = |at: usize| {
        let (picture, rest) = (at / 192, at % 192);
        let index = picture * 192 + rest % 3 * 64 + rest / 3;
        ((index * index * 31 + index * 17) % 251) as u8
    };
    let records = Arc::new(Records {
        origin: "made up".to_owned(),
        width: 8,
        height: 8,
        channels: Channels::Rgb,
        samples: (0..(COUNT + unlabelled) * 192).map(sample).collect(),
    });
    let items = (0..COUNT + unlabelled).map(|index| Item {
        source: Source::Record { records: Arc::clone(&records), index },
        label: (index < COUNT).then_some(index % 3),
        split: None,
        group: None,
    });
    let dataset = Dataset {
        classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        items: items.collect(),
        skipped: Vec::new(),
    };
    let plain = Preprocess::plain(8, 8, Colour::Rgb);
    let preprocess = Preprocess { mean: vec![0.4; 3], std: vec![0.25; 3], ..plain };
    Arc::new(Pictures::new(dataset, Reading::new(preprocess)).unwrap())
}

fn looking(batch: usize, threads: usize) -> Looking {
    Looking { samples: None, seed: 0, batch, threads }
}

const CRITERIA: [Criterion; 6] = [
    Criterion::Taylor,
    Criterion::Fisher,
    Criterion::WeightTaylor,
    Criterion::WeightTaylorSum,
    Criterion::Hessian,
    Criterion::ObdC,
];

fn evidence(graph: &Graph, pictures: &Arc<Pictures>, looking: &Looking) -> Evidence {
    Evidence::gather(graph, &graph.couplings(), pictures, &CRITERIA, looking).unwrap()
}

/// By kind and group.
fn golden() -> BTreeMap<(&'static str, &'static str), Vec<f64>> {
    let lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
    let golden = lines.map(|line| {
        let mut words = line.split(' ');
        let key = (words.next().unwrap(), words.next().unwrap());
        (key, words.map(|word| word.parse().unwrap()).collect())
    });
    golden.collect()
}

/// How far a sum of some hundred products in f32 may be from that in f64, as a share of the largest
/// of its kind.
const ALLOWED: f64 = 4e-6;

#[track_caller]
fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off <= ALLOWED * largest, "{what}: {found:?} for {expected:?}, off by {off:e}");
}

const GROUPS: [&str; 3] = ["c1", "p", "fc1"];

#[test]
fn scores_are_those_of_pytorch_and_torch_pruning() {
    let (graph, golden) = (network(), golden());
    let couplings = graph.couplings();
    let means = [Criterion::WeightTaylor, Criterion::WeightTaylorSum];
    // Mean gradients are those of batches: of five pictures full ones, or one that is not full. For all
    // else each picture is by itself.
    for (criteria, batch, threads) in
        [(&means[..], 5, 1), (&means[..], 2, 2), (&CRITERIA[..], 5, 2)]
    {
        let looking = looking(batch, threads);
        let evidence =
            Evidence::gather(&graph, &couplings, &pictures(2), criteria, &looking).unwrap();
        assert_eq!(evidence.pictures(), COUNT);
        close("loss", &[evidence.loss()], &golden[&("loss", "all")]);
        let unnormalised =
            Importance { normalise: Normalise::None, ..Importance::new(Criterion::Taylor) };
        let rows = [
            ("taylor", Importance::new(Criterion::Taylor)),
            ("effect", unnormalised),
            ("fisher", Importance::new(Criterion::Fisher)),
            ("weight-taylor", Importance::new(Criterion::WeightTaylor)),
            ("weight-taylor-sum", Importance::new(Criterion::WeightTaylorSum)),
            ("hessian", Importance::new(Criterion::Hessian)),
            ("obd-c", Importance::new(Criterion::ObdC)),
        ];
        let rows = rows.into_iter().filter(|(_, own)| criteria.contains(&own.criterion));
        for (kind, importance) in rows {
            for (group, name) in couplings.groups().iter().zip(GROUPS) {
                let scores = importance.scores(&graph, &couplings, group, Some(&evidence));
                assert!(scores.judged);
                close(&format!("{kind} {name}"), &scores.strata.concat(), &golden[&(kind, name)]);
            }
        }
    }
}

#[test]
fn the_oracle_is_that_of_pytorch_and_is_foreseen_by_some() {
    let (graph, golden) = (network(), golden());
    let mut told = Vec::new();
    let mut progress = |done, of| told.push((done, of));
    let criteria = [Criterion::Taylor, Criterion::L2, Criterion::BnScale];
    let oracle =
        consult_oracle(&graph, &pictures(1), &criteria, &looking(2, 2), &mut progress).unwrap();
    assert_eq!((oracle.pictures, oracle.removals.len()), (COUNT, 6 + 5 + 7));
    assert_eq!(told.last(), Some(&(3 * 18, 3 * 18)));
    let mut rest = oracle.removals.as_slice();
    let mut changes = Vec::new();
    for (name, layers) in [("c1", vec!["c1", "c2"]), ("p", vec!["p"]), ("fc1", vec!["fc1"])] {
        let expected = &golden[&("oracle", name)];
        let (own, others) = rest.split_at(expected.len());
        rest = others;
        let found: Vec<f64> = own.iter().map(|removal| removal.change).collect();
        close(&format!("oracle {name}"), &found, expected);
        assert!(own.iter().enumerate().all(|(at, r)| r.channel == at && r.layers == layers));
        changes.extend(found.iter().map(|change| change.abs()));
    }
    // The correlation over all channels, from the golden numbers themselves.
    let taylor = ["c1", "p", "fc1"].map(|name| golden[&("taylor", name)].clone()).concat();
    assert_eq!(oracle.criteria[0].all, Correlation::of(&taylor, &changes));
    assert_eq!(oracle.criteria.iter().map(|own| own.channels).collect::<Vec<_>>(), [18, 18, 6]);
    let found = |at: usize| oracle.criteria[at].within.spearman.unwrap();
    assert!(found(0) > 0.7 && found(0) > found(1), "{:?}", oracle.criteria);
}

/// The gradients that are added to zeros, by weight.
fn slopes(graph: &Graph, kind: Sparsity, strength: f32) -> BTreeMap<String, Vec<f64>> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut parameters = Vec::new();
    for &id in graph.weights() {
        let tensor = graph.weight_tensor(id).unwrap();
        let (name, shape) = (graph.label(id), tensor.shape().to_vec());
        if !name.contains("running") {
            segments.push(Segment { name, shape, start: parameters.len(), len: tensor.len() });
            parameters.extend_from_slice(tensor.elements::<f32>().unwrap());
        }
    }
    let mut gradients = vec![0.0; parameters.len()];
    let penalty = Penalty::new(graph, &segments, kind, strength);
    assert!(!penalty.is_empty());
    penalty.add(&parameters, &mut gradients);
    let of = |own: &Segment| {
        let slopes =
            gradients[own.start..own.start + own.len].iter().map(|&slope| f64::from(slope));
        (own.name.clone(), slopes.collect())
    };
    segments.iter().map(of).collect()
}

#[test]
fn penalties_are_those_of_torch_pruning() {
    let (graph, golden) = (network(), golden());
    for (kind, name) in [(Sparsity::BnScale, "bn-scale"), (Sparsity::GroupNorm, "group-norm")] {
        for (weight, slopes) in slopes(&graph, kind, 0.01) {
            let (sum, squares) = (slopes.iter().sum(), slopes.iter().map(|s| s * s).sum());
            let [first, middle, last] =
                [0, slopes.len() / 2, slopes.len() - 1].map(|at| slopes[at]);
            let found = [sum, squares, first, middle, last];
            close(&format!("{name} {weight}"), &found, &golden[&(name, weight.as_str())]);
        }
    }
}

/// The slope of the sum of norms by finite differences in f64: the norm of each channel's weights
/// is written out here once more, for the channels of fc1.
#[test]
fn the_group_lasso_is_the_slope_of_the_norms() {
    let graph = network();
    let of = |name: &str| -> Vec<f64> {
        graph.weight_tensor(graph.find_weight(name).unwrap()).unwrap().to_f64_vec()
    };
    let (made, read) = (of("fc1.weight"), of("fc2.weight"));
    let norm = |made: &[f64], channel: usize| {
        let row = made[channel * 80..(channel + 1) * 80].iter();
        let column = read.iter().skip(channel).step_by(7);
        row.chain(column).map(|w| w * w).sum::<f64>().sqrt()
    };
    let slopes = slopes(&graph, Sparsity::GroupLasso, 0.5);
    for channel in [0, 3, 6] {
        for input in [0, 41, 79] {
            let at = channel * 80 + input;
            let moved = |by: f64| {
                let mut made = made.clone();
                made[at] += by;
                norm(&made, channel)
            };
            let difference = 0.5 * (moved(1e-5) - moved(-1e-5)) / 2e-5;
            // fc1's inputs are channels of p, whose norms depend on the weight as well.
            let p = input / 16;
            let of_p = |by: f64| {
                let mut made = made.clone();
                made[at] += by;
                let row = of("p.weight")[p * 6..(p + 1) * 6].to_vec();
                let columns = (0..7 * 16).map(|k| made[k / 16 * 80 + p * 16 + k % 16]);
                row.into_iter().chain(columns).map(|w| w * w).sum::<f64>().sqrt()
            };
            let expected = difference + 0.5 * (of_p(1e-5) - of_p(-1e-5)) / 2e-5;
            let found = slopes["fc1.weight"][at];
            assert!((found - expected).abs() < 1e-7, "{channel} {input}: {found} for {expected}");
        }
    }
    assert_eq!(slopes["fc1.bias"], [0.0; 7]);
    assert_eq!(slopes["dw.weight"], [0.0; 54]);
}

#[test]
fn scores_have_the_same_bits_on_any_number_of_threads() {
    let graph = network();
    let couplings = graph.couplings();
    let scores = |threads| -> Vec<u64> {
        let evidence = evidence(&graph, &pictures(0), &looking(2, threads));
        let of = |criterion| {
            let importance = Importance::new(criterion);
            let groups = couplings.groups().iter();
            groups
                .flat_map(|own| importance.scores(&graph, &couplings, own, Some(&evidence)).strata)
                .flatten()
                .collect::<Vec<f64>>()
        };
        CRITERIA.into_iter().flat_map(of).map(f64::to_bits).collect()
    };
    assert_eq!(scores(1), scores(2));
    assert_eq!(scores(1), scores(3));
}

#[test]
fn so_many_samples_are_drawn_by_the_seed_whatever_the_batch() {
    let (graph, pictures) = (network(), pictures(0));
    let loss = |samples, seed, batch| {
        let looking = Looking { samples: Some(samples), seed, batch, threads: 1 };
        let found = evidence(&graph, &pictures, &looking);
        assert_eq!(found.pictures(), samples.min(COUNT));
        found.loss()
    };
    assert_eq!(loss(3, 1, 1), loss(3, 1, 1));
    assert!((loss(3, 1, 1) - loss(3, 1, 2)).abs() < 1e-6);
    assert!((loss(9, 1, 1) - loss(9, 2, 1)).abs() < 1e-12);
    let drawn: Vec<f64> = (0..6).map(|seed| loss(2, seed, 1)).collect();
    assert!(drawn.iter().any(|other| *other != drawn[0]), "{drawn:?}");
}

fn settings(criterion: Criterion) -> Settings {
    Settings {
        importance: Importance::new(criterion),
        bindings: Bindings::from([("N".to_string(), 1)]),
        ..Settings::new(Target::Ratio(0.5))
    }
}

#[test]
fn the_channels_that_matter_least_go() {
    let graph = network();
    let evidence = Arc::new(evidence(&graph, &pictures(0), &looking(5, 1)));
    for criterion in CRITERIA {
        let told = Settings { evidence: Some(Arc::clone(&evidence)), ..settings(criterion) };
        let pruned = prune(&graph, &told).unwrap();
        let widths: Vec<usize> = pruned.plan.groups.iter().map(|group| group.kept).collect();
        assert_eq!(widths, [3, 2, 3, 3], "{criterion:?}");
    }
    // Of fc1's channels 3 and 6 have no effect at all, and 1 hardly any.
    let told = Settings {
        evidence: Some(evidence),
        ignore: ["c1", "p"].map(bunjae_compress::Pattern::new).to_vec(),
        ..settings(Criterion::Taylor)
    };
    let pruned = prune(&graph, &Settings { target: Target::Ratio(0.4), ..told }).unwrap();
    let kept = pruned.graph.find_weight("fc1.bias").unwrap();
    let kept = pruned.graph.weight_tensor(kept).unwrap().elements::<f32>().unwrap().to_vec();
    let before = graph.weight_tensor(graph.find_weight("fc1.bias").unwrap()).unwrap();
    let before = before.elements::<f32>().unwrap();
    assert_eq!(kept, [0, 2, 4, 5].map(|at| before[at]));
}

#[test]
fn a_penalty_on_macs_moves_the_cut_to_where_they_are() {
    let graph = network();
    let evidence = Arc::new(evidence(&graph, &pictures(0), &looking(5, 1)));
    let macs = |macs_penalty| {
        let importance = Importance { macs_penalty, ..Importance::new(Criterion::Taylor) };
        let settings = Settings {
            importance,
            scope: bunjae_compress::Scope::Global,
            evidence: Some(Arc::clone(&evidence)),
            ..settings(Criterion::Taylor)
        };
        prune(&graph, &settings).unwrap().after.macs
    };
    assert!(macs(100.0) < macs(0.0), "{} {}", macs(100.0), macs(0.0));
}

#[test]
fn without_pictures_or_with_those_of_another_network_there_is_no_plan() {
    let graph = network();
    for criterion in CRITERIA {
        let refused = prune(&graph, &settings(criterion));
        assert!(
            matches!(refused, Err(PruneError::Plan(PlanError::NoEvidence))),
            "{criterion:?}: {refused:?}"
        );
    }
    let evidence = Arc::new(evidence(&graph, &pictures(0), &looking(5, 1)));
    let told = Settings { evidence: Some(evidence), ..settings(Criterion::Hessian) };
    let smaller = prune(&graph, &told).unwrap().graph;
    let refused = prune(&smaller, &told);
    assert!(matches!(refused, Err(PruneError::Plan(PlanError::NoEvidence))), "{refused:?}");
}

#[test]
fn pictures_that_say_nothing_are_refused() {
    let graph = network();
    let gather = |graph: &Graph, pictures: &Arc<Pictures>| {
        Evidence::gather(graph, &graph.couplings(), pictures, &CRITERIA, &looking(2, 1))
    };
    let only = |keep: fn(&Item) -> bool, classes: usize| {
        let all = pictures(3);
        let mut dataset = all.dataset().clone();
        dataset.items.retain(keep);
        dataset.classes.resize(classes, "more".to_owned());
        Arc::new(Pictures::new(dataset, all.reading().clone()).unwrap())
    };
    let refused = gather(&graph, &only(|item| item.label.is_none(), 3)).unwrap_err();
    assert!(matches!(refused, EvidenceError::NoLabels), "{refused}");
    let refused = gather(&graph, &only(|_| true, 4)).unwrap_err();
    assert!(matches!(refused, EvidenceError::Classes { model: 3, data: 4 }), "{refused}");
    let text = NET.replace("@fc2.bias: f32[3] = zeros", "@fc2.bias: f32[3] = [inf, 0, 0]");
    let refused = gather(&Graph::parse(&text).unwrap(), &pictures(0)).unwrap_err();
    assert!(matches!(refused, EvidenceError::NotFinite { .. }), "{refused}");
}
