//! Cuts in several steps with training between, on small networks and pictures that are made up here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bunjae_compress::{
    Across, Album, Course, Criterion, Gradual, GradualError, Importance, Keeping, Lessons, Looking,
    News, Normalise, Part, Pattern, PruneError, Scope, Settings, Shrunk, Sizes, Sparse, Sparsity,
    Target, shrink, smallest_ratio,
};
use bunjae_data::augment::Augment;
use bunjae_data::pictures::{Pictures, Reading};
use bunjae_data::sampler::Order;
use bunjae_data::{Channels, Colour, Dataset, Item, Preprocess, Records, Source};
use bunjae_ir::{Bindings, Graph};
use bunjae_tensor::Random;
use bunjae_train::optimiser::{Betas, Rule};
use bunjae_train::recipe::{ClassWeights, Objective, Recipe};
use bunjae_train::schedule::Course as Rates;
use bunjae_train::stop::Metric;
use bunjae_train::{Event, Materials, Run};

const NET: &str = "graph @net
in   %x: f32[N,1,6,6]
w    @c1.w: f32[16,1,3,3] = rand(seed=1)
w    @bn.g: f32[16] = ones
w    @bn.b: f32[16] = zeros
w    @bn.m: f32[16] frozen = zeros
w    @bn.v: f32[16] frozen = ones
%1 = conv2d %x, @c1.w {pad=[1,1,1,1]} : f32[N,16,6,6] ; \"c1\"
%2 = batch_norm %1, @bn.g, @bn.b, @bn.m, @bn.v : f32[N,16,6,6] ; \"bn\"
%3 = relu %2 : f32[N,16,6,6] ; \"r1\"
w    @c2.w: f32[24,16,3,3] = rand(seed=2)
w    @c2.b: f32[24] = zeros
%4 = conv2d %3, @c2.w, @c2.b : f32[N,24,4,4] ; \"c2\"
%5 = relu %4 : f32[N,24,4,4] ; \"r2\"
%6 = global_pool %5 {kind=mean} : f32[N,24,1,1] ; \"pool\"
%7 = flatten %6 {axis=1} : f32[N,24] ; \"flat\"
w    @fc.w: f32[2,24] = rand(seed=3)
w    @fc.b: f32[2] = zeros
%8 = linear %7, @fc.w, @fc.b : f32[N,2] ; \"fc\"
out  %8 ; \"scores\"
";

fn net() -> Graph {
    Graph::parse(NET).unwrap()
}

/// Noise, with lines across in class 0 and lines down in class 1.
fn pictures(count: usize, seed: u64) -> Arc<Pictures> {
    let mut random = Random::new(seed);
    let mut samples = Vec::new();
    for index in 0..count {
        for place in 0..36 {
            let line = if index % 2 == 0 { place / 6 } else { place % 6 };
            samples.push((90 * (line % 2) + random.below(160)) as u8);
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
        split: None,
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

fn album() -> Album {
    let train = pictures(64, 5);
    Album { fitted: Arc::clone(&train), train, val: Some(pictures(40, 6)) }
}

fn recipe() -> Recipe {
    Recipe {
        epochs: 6,
        batch: 8,
        accumulate: 1,
        rule: Rule::AdamW(Betas::default()),
        decay: 1e-3,
        rate: 0.02,
        course: Rates::OneCycle { rise: 0.3 },
        warm_up: 0.0,
        clip: None,
        average: None,
        objective: Objective { smoothing: 0.0, focal: 0.0, weights: ClassWeights::Equal },
        distil: None,
        order: Order::Shuffled,
        augment: Augment::default(),
        mix: None,
        freeze: Vec::new(),
        metric: Metric::Loss,
        patience: None,
        least_gain: 0.0,
        seed: 1,
    }
}

fn lessons(epochs_per_step: u64, final_epochs: u64) -> Lessons {
    Lessons {
        recipe: recipe(),
        epochs_per_step,
        final_epochs,
        sparse: None,
        recalibrate: false,
        threads: 1,
        keeping: None,
    }
}

fn gradual(criterion: Criterion, target: Target, course: Course, steps: usize) -> Gradual {
    Gradual {
        settings: Settings {
            importance: Importance::new(criterion),
            bindings: Bindings::from([("N".to_owned(), 1)]),
            ..Settings::new(target)
        },
        course,
        steps,
        looking: Looking { samples: None, seed: 0, batch: 8, threads: 1 },
        check: Some(3),
    }
}

fn run(gradual: &Gradual, lessons: &Lessons) -> Shrunk {
    shrink(&net(), gradual, lessons, &album(), &mut |_| {}).unwrap()
}

/// The widths of both convolutions after each step.
fn widths(gradual: &Gradual) -> Vec<[usize; 2]> {
    let mut seen = Vec::new();
    let macs = |sizes: &Sizes| sizes.macs;
    let mut tell = |news: News<'_>| {
        if let News::Cut(_, step) = news {
            seen.push(macs(&step.sizes));
        }
    };
    let shrunk = shrink(&net(), gradual, &lessons(0, 0), &album(), &mut tell).unwrap();
    // A picture costs 36 * 9 a, 16 * 9 a b, and 2 b for the head; nothing else multiplies.
    let found = seen.iter().map(|&macs| {
        let fits = |&[a, b]: &[usize; 2]| 324 * a + 144 * a * b + 2 * b == macs as usize;
        let all = (1..=16).flat_map(|a| (1..=24).map(move |b| [a, b]));
        let fitting: Vec<[usize; 2]> = all.filter(fits).collect();
        assert_eq!(fitting.len(), 1, "{macs}");
        fitting[0]
    });
    let found: Vec<[usize; 2]> = found.collect();
    let kept: Vec<usize> = shrunk.groups.iter().map(|group| group.kept).collect();
    assert_eq!(kept[..2], found.last().unwrap()[..]);
    assert_eq!([shrunk.groups[0].channels, shrunk.groups[1].channels], [16, 24]);
    found
}

/// The widths of torch-pruning 1.6.1 for 0.7 in five steps (semantics of the peers, "Widths").
#[test]
fn shares_are_those_of_the_channels_before_the_first_step() {
    let target = Target::Ratio(0.7);
    let linear = gradual(Criterion::L2, target, Course::Linear, 5);
    assert_eq!(widths(&linear), [[13, 20], [11, 17], [9, 13], [7, 10], [4, 7]]);
    let once = gradual(Criterion::L2, target, Course::OneShot, 1);
    assert_eq!(widths(&once), [[4, 7]]);
    // int(16 (1 - 0.7 s)) and int(24 (1 - 0.7 s)) at s = 1 - 8/27, 1 - 1/27, 1.
    let agp = gradual(Criterion::L2, target, Course::Agp, 3);
    assert_eq!(widths(&agp), [[8, 12], [5, 7], [4, 7]]);
}

#[test]
fn limits_and_ratios_of_layers_are_shares_of_the_first_network_too() {
    let mut linear = gradual(Criterion::L2, Target::Ratio(0.7), Course::Linear, 5);
    linear.settings.max_ratio = 0.5;
    assert_eq!(widths(&linear).last(), Some(&[8, 12]));
    linear.settings.max_ratio = 1.0;
    linear.settings.layer_ratios = vec![(Pattern::new("c1"), 0.25)];
    assert_eq!(widths(&linear).last(), Some(&[12, 7]));
    linear.settings.ignore = vec![Pattern::new("c2")];
    assert_eq!(widths(&linear).last(), Some(&[12, 24]));
    linear.settings =
        Settings { scope: Scope::Global, layer_ratios: Vec::new(), ..linear.settings };
    linear.settings.ignore = Vec::new();
    let [a, b] = *widths(&linear).last().unwrap();
    assert_eq!(a + b, 12, "int(40 (1 - 0.7)) of all channels");
}

#[test]
fn counts_are_shares_of_the_first_network() {
    for (target, part) in [(Target::Macs(0.3), 0), (Target::Parameters(0.3), 1)] {
        let shrunk = run(&gradual(Criterion::L1, target, Course::Agp, 4), &lessons(0, 0));
        let of = |sizes: &Sizes| [sizes.macs, sizes.parameters][part] as f64;
        let shares: Vec<f64> =
            shrunk.steps.iter().map(|step| of(&step.sizes) / of(&shrunk.before)).collect();
        for (step, share) in shrunk.steps.iter().zip(shares) {
            let wanted = 1.0 - step.share * 0.7;
            assert!(share <= wanted && share > wanted - 0.08, "{share} for {wanted}");
        }
    }
}

#[test]
fn a_network_is_cut_looked_at_and_trained_in_turn() {
    let lessons = Lessons { recalibrate: true, ..lessons(2, 4) };
    let gradual = gradual(Criterion::Taylor, Target::Ratio(0.6), Course::Agp, 3);
    let mut told = Vec::new();
    let mut tell = |news: News<'_>| {
        let word = match news {
            News::Looking(at) => format!("look {at}"),
            News::Checking(at) => format!("check {at}"),
            News::Cut(at, _) => format!("cut {at}"),
            News::Training(at, bunjae_train::Event::Epoch { .. }) => format!("train {at}"),
            _ => return,
        };
        told.push(word);
    };
    let shrunk = shrink(&net(), &gradual, &lessons, &album(), &mut tell).unwrap();
    let step = |at: usize, epochs: usize| {
        let mut all: Vec<String> =
            ["look", "check", "cut"].map(|word| format!("{word} {at}")).into();
        all.extend(vec![format!("train {at}"); epochs]);
        all
    };
    assert_eq!(told, [step(1, 2), step(2, 2), step(3, 4)].concat());
    assert!(shrunk.steps.iter().all(|step| step.check.as_ref().unwrap().passed));
    let last = shrunk.steps.last().unwrap();
    let (cut, lesson) = (last.cut.unwrap(), last.lesson.as_ref().unwrap());
    let figures = lesson.figures.unwrap();
    assert!(figures.loss < cut.loss, "{figures:?} after {cut:?}");
    assert!(figures.accuracy > 0.9, "{figures:?}");
    assert_eq!(lesson.epochs.len(), 4);
    // What is said of the model is what it does.
    let scores = bunjae_train::validate(&shrunk.graph, &pictures(40, 6), 16, 1).unwrap();
    assert_eq!(scores.accuracy, figures.accuracy);
    assert_eq!(Sizes::of(&shrunk.graph, &gradual.settings.bindings).unwrap(), shrunk.after);
    assert_eq!(last.looked_at.unwrap().pictures, 64);
}

fn bits(graph: &Graph) -> BTreeMap<String, Vec<u32>> {
    let weight = |&id| {
        let values = graph.weight_tensor(id).unwrap().elements::<f32>().unwrap();
        (graph.label(id), values.iter().map(|value| value.to_bits()).collect())
    };
    graph.weights().iter().map(weight).collect()
}

#[test]
fn one_seed_gives_one_model_on_any_number_of_threads() {
    for criterion in [Criterion::Fisher, Criterion::WeightTaylor, Criterion::Hessian] {
        let model = |threads| {
            let sparse = Sparse { penalty: Sparsity::GroupNorm, strength: 1e-3, epochs: 1 };
            let lessons = Lessons { threads, sparse: Some(sparse), ..lessons(1, 1) };
            let mut gradual = gradual(criterion, Target::Ratio(0.5), Course::Linear, 2);
            gradual.looking = Looking { samples: Some(20), threads, ..gradual.looking };
            bits(&run(&gradual, &lessons).graph)
        };
        assert_eq!(model(1), model(2), "{criterion:?}");
    }
}

/// What the weaker half of the first layer's channels has of all their scores.
fn weaker_half(graph: &Graph, criterion: Criterion) -> f64 {
    let importance =
        Importance { across: Across::Sum, normalise: Normalise::Sum, ..Importance::new(criterion) };
    let couplings = graph.couplings();
    let scores = importance.scores(graph, &couplings, &couplings.groups()[0], None);
    let mut scores = scores.strata.concat();
    scores.sort_by(f64::total_cmp);
    scores[..8].iter().sum()
}

#[test]
fn a_penalty_draws_weak_channels_to_zero_before_the_cut() {
    let trained = |penalty, strength, criterion| {
        let mut lessons = lessons(0, 0);
        lessons.sparse = Some(Sparse { penalty, strength, epochs: 12 });
        lessons.recipe.rule = Rule::Sgd { momentum: 0.9, nesterov: true };
        // The last epoch is the model, whatever its loss: the penalty works against that.
        let album = Album { val: None, ..album() };
        let none = gradual(Criterion::L2, Target::Ratio(0.0), Course::OneShot, 1);
        let shrunk = shrink(&net(), &none, &lessons, &album, &mut |_| {}).unwrap();
        assert_eq!(shrunk.sparse.unwrap().epochs.len(), 12);
        weaker_half(&shrunk.graph, criterion)
    };
    for (penalty, strength, criterion) in [
        (Sparsity::BnScale, 0.3, Criterion::BnScale),
        (Sparsity::GroupLasso, 0.9, Criterion::L2),
        (Sparsity::GroupNorm, 0.1, Criterion::L2),
    ] {
        let [plain, found] = [0.0, strength].map(|by| trained(penalty, by, criterion));
        assert!(found < 0.8 * plain, "{penalty:?}: {found} for {plain}");
    }
}

#[test]
fn a_penalty_without_anything_to_act_on_is_refused() {
    let text: String = NET
        .lines()
        .filter(|line| !line.contains("@bn") || line.starts_with("%2"))
        .map(|line| match line.starts_with("%2") {
            true => "%2 = sigmoid %1 : f32[N,16,6,6] ; \"bn\"\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    let plain = Graph::parse(&text).unwrap();
    let sparse = Sparse { penalty: Sparsity::BnScale, strength: 0.1, epochs: 1 };
    let lessons = Lessons { sparse: Some(sparse), ..lessons(0, 0) };
    let settings = gradual(Criterion::L2, Target::Ratio(0.5), Course::OneShot, 1);
    let refused = shrink(&plain, &settings, &lessons, &album(), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, GradualError::NoPenalty { .. }), "{refused}");
}

#[test]
fn what_is_too_small_for_one_step_is_left_to_the_next_but_not_for_ever() {
    let small = gradual(Criterion::L2, Target::Ratio(0.01), Course::Linear, 4);
    // int(16 * 0.9975) is 15: a channel of each goes at once.
    assert_eq!(widths(&small), [[15, 23]; 4]);
    let mut none = small;
    none.settings.ignore = vec![Pattern::new("c*")];
    let refused = shrink(&net(), &none, &lessons(0, 0), &album(), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, GradualError::Prune(PruneError::NothingToCut { .. })), "{refused}");
}

#[test]
fn the_smallest_ratio_that_suits_is_found() {
    let settings = gradual(Criterion::L2, Target::Ratio(0.0), Course::OneShot, 1).settings;
    let whole = net();
    let widest = |width: usize| {
        let suits = |cut: Option<&Graph>| {
            let graph = cut.unwrap_or(&whole);
            let id = graph.find_weight("c1.w").unwrap();
            Ok::<_, PruneError>(graph.weight_tensor(id).unwrap().shape()[0] <= width)
        };
        smallest_ratio(&whole, &settings, suits).unwrap()
    };
    assert_eq!(widest(16), Some(0.0));
    // int(16 (1 - r)) is 8 from r = 7/16 on (just over it).
    let found = widest(8).unwrap();
    assert!(found > 7.0 / 16.0 && found < 7.0 / 16.0 + 1.0 / 64.0, "{found}");
    assert_eq!(widest(0), None);
    // A network that is asked about has lost something.
    let mut asked = Vec::new();
    let suits = |cut: Option<&Graph>| {
        asked.push(cut.is_some());
        Ok::<_, PruneError>(cut.is_some())
    };
    assert!(smallest_ratio(&whole, &settings, suits).unwrap() > Some(0.0));
    assert_eq!(asked[..2], [false, true]);
}

/// The network that a training comes from is what the run is given; a mistake here would train
/// another.
#[test]
fn training_alone_is_what_the_trainer_does() {
    let settings = gradual(Criterion::L2, Target::Ratio(0.5), Course::OneShot, 1);
    let shrunk = run(&settings, &lessons(0, 3));
    let cut = run(&settings, &lessons(0, 0)).graph;
    let materials = Materials {
        graph: cut,
        teachers: Vec::new(),
        train: pictures(64, 5),
        val: Some(pictures(40, 6)),
        folder: None,
        fingerprint: String::new(),
        threads: 1,
    };
    let recipe = Recipe { epochs: 3, ..recipe() };
    let trained = Run::new(recipe, materials, false).unwrap().train(&mut |_| {}).unwrap();
    assert_eq!(bits(&trained.graph), bits(&shrunk.graph));
}

/// A copy of a folder of folders of files.
fn copy(from: &Path, to: &Path) {
    for part in std::fs::read_dir(from).unwrap() {
        let part = part.unwrap().path();
        let to = to.join(part.file_name().unwrap());
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(part).unwrap() {
            let file = file.unwrap().path();
            std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn what_was_stopped_in_any_training_is_gone_on_with_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let keeping = |name: &str, resume| {
        let (folder, fingerprint) = (folder.path().join(name), "these".to_owned());
        Some(Keeping { folder, fingerprint, resume })
    };
    let sparse = Some(Sparse { penalty: Sparsity::GroupNorm, strength: 1e-3, epochs: 3 });
    let lessons = Lessons { sparse, recalibrate: true, ..lessons(2, 3) };
    let settings = gradual(Criterion::Taylor, Target::Ratio(0.5), Course::Linear, 2);
    let whole = run(&settings, &lessons);
    assert!(!Keeping::is_in(folder.path()));
    // What a kill would leave behind after the second epoch of each training.
    let kept = Lessons { keeping: keeping("whole", false), ..lessons.clone() };
    let mut epochs = Vec::new();
    let shrunk = shrink(&net(), &settings, &kept, &album(), &mut |news| {
        let (part, event) = match news {
            News::Sparse(event) => (Part::Sparse, event),
            News::Training(step, event) => (Part::After(step), event),
            _ => return,
        };
        let Event::Epoch { record, .. } = event else { return };
        epochs.push(part);
        if record.epoch == 1 {
            copy(&folder.path().join("whole"), &folder.path().join(part.folder()));
        }
    });
    assert_eq!(bits(&shrunk.unwrap().graph), bits(&whole.graph));
    let parts = [Part::Sparse, Part::After(1), Part::After(2)];
    assert_eq!(epochs.len(), 3 + 2 + 3);
    for (at, part) in parts.into_iter().enumerate() {
        let keeping = keeping(&part.folder(), true);
        assert!(Keeping::is_in(&folder.path().join(part.folder())));
        let (mut resumed, mut done) = (Vec::new(), 0);
        let lessons = Lessons { keeping, ..lessons.clone() };
        let shrunk = shrink(&net(), &settings, &lessons, &album(), &mut |news| match news {
            News::Resumed(part, epoch) => resumed.push((part, epoch)),
            News::Sparse(Event::Epoch { .. }) | News::Training(_, Event::Epoch { .. }) => done += 1,
            _ => {}
        });
        let shrunk = shrunk.unwrap();
        assert_eq!(bits(&shrunk.graph), bits(&whole.graph), "{part:?}");
        assert_eq!(shrunk.steps, whole.steps, "{part:?}");
        assert_eq!(shrunk.sparse, whole.sparse, "{part:?}");
        assert_eq!(resumed.len(), at + 1);
        assert_eq!(resumed.last(), Some(&(part, 2)));
        assert_eq!(done, [6, 3, 1][at], "{part:?}");
    }
    let mut others = keeping("sparse", true).unwrap();
    others.fingerprint = "others".to_owned();
    let lessons = Lessons { keeping: Some(others), ..lessons };
    let error = shrink(&net(), &settings, &lessons, &album(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("another model or other pictures"), "{error}");
}
