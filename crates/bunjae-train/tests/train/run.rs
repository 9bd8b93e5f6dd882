//! Whole runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bunjae_data::Split;
use bunjae_data::pictures::Pictures;
use bunjae_ir::Graph;
use bunjae_train::optimiser::Rule;
use bunjae_train::recipe::Recipe;
use bunjae_train::schedule::Course;
use bunjae_train::{Event, Materials, Run, TrainError, with_new_head};

use crate::support::{NET, bits, materials, net, pictures, recipe, rich, train};

#[test]
fn a_small_network_learns() {
    let trained = train(&recipe(), materials(net(), None, 1));
    assert_eq!(trained.epochs.len(), 6);
    let best = &trained.epochs[trained.best_epoch as usize];
    assert!(best.accuracy > Some(0.95), "{best:?}");
    assert!(trained.epochs[5].train_loss < 0.5 * trained.epochs[0].train_loss);
    // The validation of a run is that of anybody who has the model.
    let scores =
        bunjae_train::validate(&trained.graph, &pictures(40, Split::Val, 6), 7, 2).unwrap();
    assert_eq!(Some(scores.accuracy), best.accuracy);
    let moved = |name: &str| bits(&trained.graph)[name] != bits(&net())[name];
    assert!(["conv.w", "bn.g", "bn.m", "bn.v", "fc.b"].into_iter().all(moved));
}

#[test]
fn a_penalty_acts_in_every_step() {
    let scales = |strength: f32| {
        let mut run = Run::new(recipe(), materials(net(), None, 1), false).unwrap();
        let scale = run.segments().iter().find(|own| own.name == "bn.g").unwrap().clone();
        let steps = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = std::rc::Rc::clone(&steps);
        run.penalise(Box::new(move |parameters, gradients| {
            count.set(count.get() + 1);
            for at in scale.start..scale.start + scale.len {
                gradients[at] += strength * parameters[at];
            }
        }));
        let trained = run.train(&mut |_| {}).unwrap();
        // 68 pictures are 8 batches of 8.
        assert_eq!(steps.get(), 6 * 8);
        let scales = trained.graph.weight_tensor(trained.graph.find_weight("bn.g").unwrap());
        scales.unwrap().elements::<f32>().unwrap().iter().map(|scale| scale.abs()).sum::<f32>()
    };
    assert!(scales(10.0) < 0.7 * scales(0.0), "{} {}", scales(10.0), scales(0.0));
}

#[test]
fn one_seed_gives_one_model_on_any_number_of_threads() {
    for recipe in [recipe(), rich()] {
        let model = |threads| bits(&train(&recipe, materials(net(), None, threads)).graph);
        assert_eq!(model(1), model(2));
        assert_eq!(model(1), model(3));
        let other = Recipe { seed: 2, ..recipe.clone() };
        assert_ne!(model(1), bits(&train(&other, materials(net(), None, 1)).graph));
    }
}

#[test]
fn a_killed_run_goes_on_as_if_it_had_not_been() {
    for recipe in [recipe(), rich()] {
        let whole = train(&recipe, materials(net(), None, 1));
        for (killed_at, batch) in [(0, 3), (3, 1), (5, 8)] {
            let folder = tempfile::tempdir().unwrap();
            let begin = || materials(net(), Some(folder.path()), 2);
            let mut run = Run::new(recipe.clone(), begin(), false).unwrap();
            let killed = catch_unwind(AssertUnwindSafe(|| {
                run.train(&mut |event| {
                    if let Event::Batch { epoch, done, .. } = event {
                        assert!((*epoch, *done) != (killed_at, batch), "killed");
                    }
                })
            }));
            assert!(killed.is_err());
            let mut run = Run::new(recipe.clone(), begin(), true).unwrap();
            assert_eq!(run.epoch(), killed_at);
            let resumed = run.train(&mut |_| {}).unwrap();
            assert_eq!(bits(&resumed.graph), bits(&whole.graph), "killed in epoch {killed_at}");
            assert_eq!(resumed.best_epoch, whole.best_epoch);
            assert_eq!(resumed.epochs, whole.epochs);
            let lines = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
            assert_eq!(lines.lines().count(), 6);
        }
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || materials(net(), Some(folder.path()), 1);
    train(&recipe(), begin());
    let refused = |recipe: Recipe, materials| match Run::new(recipe, materials, true) {
        Err(error @ TrainError::Checkpoint { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("was not refused"),
    };
    assert!(refused(Recipe { rate: 0.1, ..recipe() }, begin()).contains("other settings"));
    let other = Materials { fingerprint: "another".to_owned(), ..begin() };
    assert!(refused(recipe(), other).contains("another model or other pictures"));
    std::fs::write(folder.path().join("last.safetensors"), "half a file").unwrap();
    assert!(refused(recipe(), begin()).contains("is no checkpoint"));
}

#[test]
fn frozen_layers_stay_as_they_are() {
    let frozen = Recipe { freeze: vec!["conv".to_owned(), "bn".to_owned()], ..recipe() };
    let (before, after) = (net(), train(&frozen, materials(net(), None, 1)).graph);
    let (before, after) = (bits(&before), bits(&after));
    for name in ["conv.w", "bn.g", "bn.b", "bn.m", "bn.v"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    assert_ne!(before["fc.w"], after["fc.w"]);
    let refused = |freeze: &[&str]| {
        let freeze = freeze.iter().map(|&pattern| pattern.to_owned()).collect();
        let run = Run::new(Recipe { freeze, ..recipe() }, materials(net(), None, 1), false);
        run.err().unwrap().to_string()
    };
    assert_eq!(refused(&["convv"]), "freeze: no layer and no weight is called `convv`");
    assert!(refused(&["*"]).starts_with("nothing is left to train"));
}

#[test]
fn a_new_head_tells_other_classes_apart() {
    let old = net();
    let new = with_new_head(&old, 5, 3).unwrap();
    let shape = |graph: &Graph, name: &str| {
        graph.weight_tensor(graph.find_weight(name).unwrap()).unwrap().shape().to_vec()
    };
    assert_eq!((shape(&new, "fc.w"), shape(&new, "fc.b")), (vec![5, 4], vec![5]));
    assert_eq!(bits(&new)["conv.w"], bits(&old)["conv.w"]);
    // Uniform within 1 / sqrt(4).
    let head = new.weight_tensor(new.find_weight("fc.w").unwrap()).unwrap();
    assert!(head.elements::<f32>().unwrap().iter().all(|value| value.abs() <= 0.5));
    let run = Run::new(recipe(), materials(new, None, 1), false);
    assert!(matches!(run.err().unwrap(), TrainError::Classes { model: 5, data: 2 }));
    let trained = train(&recipe(), materials(with_new_head(&old, 2, 3).unwrap(), None, 1));
    assert!(trained.epochs[5].accuracy > Some(0.9));
}

#[test]
fn a_run_stops_when_nothing_gets_better() {
    // A rate this low changes no prediction.
    let patient = Recipe { rate: 1e-12, patience: Some(2), course: Course::Constant, ..recipe() };
    let patient = Recipe { freeze: vec!["bn".to_owned()], ..patient };
    let trained = train(&patient, materials(net(), None, 1));
    assert_eq!((trained.epochs.len(), trained.best_epoch), (3, 0));
    assert!(trained.stopped_early);

    // Killed after its last epoch, it has nothing left to do.
    let folder = tempfile::tempdir().unwrap();
    let begin = || materials(net(), Some(folder.path()), 1);
    let mut run = Run::new(patient.clone(), begin(), false).unwrap();
    let killed = catch_unwind(AssertUnwindSafe(|| {
        run.train(&mut |event| {
            if let Event::Epoch { record, .. } = event {
                assert!(record.epoch < 2, "killed");
            }
        })
    }));
    assert!(killed.is_err());
    let resumed = Run::new(patient, begin(), true).unwrap().train(&mut |_| {}).unwrap();
    assert!(resumed.stopped_early);
    assert_eq!(resumed.epochs, trained.epochs);
    assert_eq!(bits(&resumed.graph), bits(&trained.graph));
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let rule = Rule::Sgd { momentum: 0.9, nesterov: true };
    let wild = Recipe { rate: 1e30, rule, course: Course::Constant, ..recipe() };
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::new(wild, materials(net(), Some(folder.path()), 1), false).unwrap();
    let error = run.train(&mut |_| {}).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { .. }), "{error}");
    assert!(error.hint().unwrap().contains("lower learning rate"));
}

#[test]
fn a_run_that_fails_leaves_its_last_good_checkpoint() {
    let whole = train(&recipe(), materials(net(), None, 1));
    let folder = tempfile::tempdir().unwrap();
    let begin = || materials(net(), Some(folder.path()), 1);
    let mut run = Run::new(recipe(), begin(), false).unwrap();
    let mut steps = 0;
    run.penalise(Box::new(move |_, gradients| {
        steps += 1;
        if steps == 20 {
            gradients[0] = f32::NAN;
        }
    }));
    let error = run.train(&mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "the norm of the gradient is NaN at step 19");
    // An epoch has 8 steps.
    let mut run = Run::new(recipe(), begin(), true).unwrap();
    assert_eq!(run.epoch(), 2);
    assert_eq!(bits(&run.train(&mut |_| {}).unwrap().graph), bits(&whole.graph));
}

#[test]
fn recalibration_changes_the_running_statistics_alone() {
    let mut run = Run::new(recipe(), materials(net(), None, 1), false).unwrap();
    let before = bits(&run.graph().unwrap());
    run.recalibrate().unwrap();
    let once = run.graph().unwrap();
    let after = bits(&once);
    for (name, old) in &before {
        let is_running = ["bn.m", "bn.v"].contains(&name.as_str());
        assert_eq!(old != &after[name], is_running, "{name}");
    }
    // The mean over the epoch, whatever stood there before.
    run.recalibrate().unwrap();
    assert_eq!(bits(&run.graph().unwrap()), after);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let refused =
        |recipe: Recipe, materials| Run::new(recipe, materials, false).err().unwrap().to_string();
    let begin = || materials(net(), None, 1);
    let large = Recipe { batch: 100, ..recipe() };
    assert_eq!(refused(large, begin()), "batch: 100 for 68 pictures");
    assert_eq!(refused(Recipe { epochs: 0, ..recipe() }, begin()), "epochs: 0 is not over 0");
    let fixed = Graph::parse(&NET.replace("[N,", "[2,")).unwrap();
    let error = refused(recipe(), materials(fixed, None, 1));
    assert_eq!(error, "the model fixes its batch to 2, not 8");
    let one_class = {
        let train = pictures(68, Split::Train, 5);
        let mut dataset = train.dataset().clone();
        dataset.items.retain(|item| item.label == Some(1));
        Arc::new(Pictures::new(dataset, train.reading().clone()).unwrap())
    };
    let error = refused(recipe(), Materials { train: one_class, ..begin() });
    assert_eq!(error, "pictures of 1 class only (`down`)");
    let mut dataset = pictures(8, Split::Train, 5).dataset().clone();
    dataset.items[3].label = Some(7);
    let reading = pictures(8, Split::Train, 5).reading().clone();
    let error = Pictures::new(dataset, reading).err().unwrap().to_string();
    assert_eq!(error, "label: 7 of 2 classes");
}
