//! A small network and pictures that are made up here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunjae_data::augment::{Augment, Mix};
use bunjae_data::pictures::{Pictures, Reading};
use bunjae_data::sampler::Order;
use bunjae_data::{Channels, Colour, Dataset, Item, Preprocess, Records, Source, Split};
use bunjae_ir::Graph;
use bunjae_tensor::Random;
use bunjae_train::optimiser::{Betas, Rule};
use bunjae_train::recipe::{ClassWeights, Objective, Recipe};
use bunjae_train::schedule::Course;
use bunjae_train::stop::Metric;
use bunjae_train::{Materials, Run, Trained};

/// Convolution, normalisation, dropout, a pool and a linear layer.
pub(crate) const NET: &str = "graph @net
in   %x: f32[N,1,6,6]
w    @conv.w: f32[4,1,3,3] = rand(seed=1)
w    @bn.g: f32[4] = [1, 1, 1, 1]
w    @bn.b: f32[4] = [0, 0, 0, 0]
w    @bn.m: f32[4] frozen = [0, 0, 0, 0]
w    @bn.v: f32[4] frozen = [1, 1, 1, 1]
%1 = conv2d %x, @conv.w {pad=[1,1,1,1]} : f32[N,4,6,6] ; \"conv\"
%2 = batch_norm %1, @bn.g, @bn.b, @bn.m, @bn.v : f32[N,4,6,6] ; \"bn\"
%3 = relu %2 : f32[N,4,6,6] ; \"relu\"
%4 = global_pool %3 {kind=mean} : f32[N,4,1,1] ; \"pool\"
%5 = flatten %4 {axis=1} : f32[N,4] ; \"flatten\"
%6 = dropout %5 {ratio=0.25} : f32[N,4] ; \"dropout\"
w    @fc.w: f32[2,4] = rand(seed=2)
w    @fc.b: f32[2] = [0, 0]
%7 = linear %6, @fc.w, @fc.b : f32[N,2] ; \"fc\"
out  %7 ; \"scores\"
";

pub(crate) fn net() -> Graph {
    Graph::parse(NET).unwrap()
}

/// Noise, with lines across in class 0 and lines down in class 1.
pub(crate) fn pictures(count: usize, split: Split, seed: u64) -> Arc<Pictures> {
    let mut random = Random::new(seed);
    let mut samples = Vec::new();
    for index in 0..count {
        for place in 0..36 {
            let line = if index % 2 == 0 { place / 6 } else { place % 6 };
            samples.push((100 * (line % 2) + random.below(120)) as u8);
        }
    }
    let records = Arc::new(Records {
        origin: "made up".to_owned(),
        width: 6,
        height: 6,
        channels: Channels::Grey,
        samples,
    });
    let items = (0..count).map(|index| Item {
        source: Source::Record { records: Arc::clone(&records), index },
        label: Some(index % 2),
        split: Some(split),
        group: None,
    });
    let dataset = Dataset {
        classes: vec!["across".to_owned(), "down".to_owned()],
        items: items.collect(),
        skipped: Vec::new(),
    };
    let preprocess =
        Preprocess { mean: vec![0.4], std: vec![0.25], ..Preprocess::plain(6, 6, Colour::Grey) };
    Arc::new(Pictures::new(dataset, Reading::new(preprocess)).unwrap())
}

pub(crate) fn recipe() -> Recipe {
    Recipe {
        epochs: 6,
        batch: 8,
        accumulate: 1,
        rule: Rule::AdamW(Betas::default()),
        decay: 1e-3,
        rate: 0.05,
        course: Course::OneCycle { rise: 0.3 },
        warm_up: 0.0,
        clip: None,
        average: None,
        objective: Objective { smoothing: 0.0, focal: 0.0, weights: ClassWeights::Equal },
        distil: None,
        order: Order::Shuffled,
        augment: Augment::default(),
        mix: None,
        freeze: Vec::new(),
        metric: Metric::Accuracy,
        patience: None,
        least_gain: 0.0,
        seed: 1,
    }
}

pub(crate) fn materials(graph: Graph, folder: Option<&Path>, threads: usize) -> Materials {
    Materials {
        graph,
        teachers: Vec::new(),
        train: pictures(68, Split::Train, 5),
        val: Some(pictures(40, Split::Val, 6)),
        folder: folder.map(PathBuf::from),
        fingerprint: "the one".to_owned(),
        threads,
    }
}

pub(crate) fn train(recipe: &Recipe, materials: Materials) -> Trained {
    Run::new(recipe.clone(), materials, false).unwrap().train(&mut |_| {}).unwrap()
}

/// The bits of every weight.
pub(crate) fn bits(graph: &Graph) -> BTreeMap<String, Vec<u32>> {
    let weight = |&id| {
        let values = graph.weight_tensor(id).unwrap().elements::<f32>().unwrap();
        (graph.label(id), values.iter().map(|value| value.to_bits()).collect())
    };
    graph.weights().iter().map(weight).collect()
}

/// What exercises most of a run at once.
pub(crate) fn rich() -> Recipe {
    Recipe {
        accumulate: 2,
        clip: Some(1.0),
        average: Some(0.9),
        objective: Objective { smoothing: 0.1, focal: 1.0, weights: ClassWeights::Root },
        order: Order::Balanced,
        augment: Augment::flip(),
        mix: Some(Mix { p: 0.5, mixup: 0.2, cutmix: 0.0 }),
        ..recipe()
    }
}
