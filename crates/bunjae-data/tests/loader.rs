//! Batches are the same whatever the workers, come in order, and end cleanly.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::sync::Arc;

use bunjae_data::augment::{Augment, Mix, RandAugment, RandomCrop, Step};
use bunjae_data::loader::{Batch, Batches, Loading};
use bunjae_data::pictures::{Keep, Pictures, Reading};
use bunjae_data::sampler::Order;
use bunjae_data::{Channels, Colour, DataError, Dataset, Item, Preprocess, Records, Source};

/// Pictures of 12 x 10 pixels with made-up samples, of three classes in turn.
fn dataset(count: usize) -> Dataset {
    let samples = (0..count * 12 * 10 * 3).map(|i| (i * i / 7 + i) as u8).collect();
    let origin = "made up".to_owned();
    let records = Records { origin, width: 12, height: 10, channels: Channels::Rgb, samples };
    let records = Arc::new(records);
    let item = |index| Item {
        source: Source::Record { records: Arc::clone(&records), index },
        label: Some(index % 3),
        split: None,
        group: None,
    };
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    Dataset { classes, items: (0..count).map(item).collect(), skipped: Vec::new() }
}

fn pictures(count: usize, keep: Keep, cache_bytes: usize) -> Arc<Pictures> {
    let preprocess = Preprocess::plain(8, 8, Colour::Rgb);
    let reading = Reading { keep, cache_bytes, ..Reading::new(preprocess) };
    Arc::new(Pictures::new(dataset(count), reading).unwrap())
}

fn everything() -> Loading {
    Loading {
        order: Order::Shuffled,
        augment: Some(Augment {
            crop: Some(RandomCrop::default()),
            steps: vec![
                Step::Flip { p: 0.5 },
                Step::Shift { x: 0.2, y: 0.2 },
                Step::ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
                Step::RandAugment(RandAugment::default()),
                Step::Erase { p: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3] },
                Step::Cutout { side: 0.25 },
            ],
        }),
        mix: Some(Mix { p: 0.7, mixup: 0.2, cutmix: 1.0 }),
        seed: 11,
        ..Loading::plain(7)
    }
}

fn collect(pictures: &Arc<Pictures>, loading: Loading, skip: usize) -> Vec<Batch> {
    let batches = Batches::new(Arc::clone(pictures), loading, 3..6, skip).unwrap();
    batches.collect::<Result<_, _>>().unwrap()
}

#[test]
fn batches_do_not_depend_on_workers_or_cache() {
    let keep = Keep::Whole { shorter: 9 };
    let expected = collect(&pictures(40, keep, 0), everything(), 0);
    assert_eq!(expected.len(), 3 * 6);
    for (workers, ahead, cache) in [(2, 0, 1 << 20), (5, 3, 20 * 9 * 9 * 3), (0, 1, 0)] {
        let loading = Loading { workers, ahead, ..everything() };
        assert_eq!(collect(&pictures(40, keep, cache), loading, 0), expected, "{workers} workers");
    }
    let other_seed = collect(&pictures(40, keep, 0), Loading { seed: 12, ..everything() }, 0);
    assert_ne!(other_seed, expected);
}

#[test]
fn a_run_that_goes_on_sees_what_it_would_have_seen() {
    let pictures = pictures(40, Keep::Whole { shorter: 9 }, 0);
    let whole = collect(&pictures, everything(), 0);
    let rest = collect(&pictures, Loading { workers: 2, ..everything() }, 8);
    assert_eq!(rest[..], whole[8..]);
    assert_eq!((rest[0].epoch, rest[0].index), (4, 2));
}

#[test]
fn plain_batches_are_the_preprocessed_pictures_in_order() {
    let pictures = pictures(10, Keep::Fitted, 1 << 20);
    let batches: Vec<Batch> = collect(&pictures, Loading { workers: 2, ..Loading::plain(4) }, 0);
    assert_eq!(batches.iter().map(|b| b.items.len()).collect::<Vec<_>>(), [4, 4, 2].repeat(3));
    assert_eq!(batches[1].items, [4, 5, 6, 7]);
    assert_eq!(batches[1].labels, [1, 2, 0, 1].map(Some));
    assert_eq!(batches[1].targets.elements::<f32>().unwrap()[..6], [0., 1., 0., 0., 0., 1.]);
    let source = &pictures.dataset().items[5].source;
    let picture = source.picture(Channels::Rgb, Default::default()).unwrap();
    let single = pictures.reading().preprocess.apply(picture).unwrap();
    assert_eq!(batches[1].inputs.select(0, &[1]), single);
    let full = Loading { drop_last: true, ..Loading::plain(4) };
    assert_eq!(collect(&pictures, full, 0).len(), 2 * 3);
}

#[test]
fn mixed_targets_still_sum_to_one() {
    let pictures = pictures(40, Keep::Fitted, 1 << 20);
    for mix in [Mix { p: 1.0, mixup: 1.0, cutmix: 0.0 }, Mix { p: 1.0, mixup: 0.0, cutmix: 0.3 }] {
        let loading = Loading { mix: Some(mix), ..Loading::plain(8) };
        let batches = collect(&pictures, loading, 0);
        let mut mixed = 0;
        for batch in &batches {
            for row in batch.targets.elements::<f32>().unwrap().chunks(3) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{row:?}");
                mixed += usize::from(row.iter().all(|&share| share < 0.999));
            }
        }
        assert!(mixed > 20, "{mix:?}: only {mixed} of 120 rows are mixed");
    }
}

#[test]
fn the_cache_keeps_to_its_limit() {
    let limit = 10 * 8 * 8 * 3;
    let pictures = pictures(40, Keep::Fitted, limit);
    collect(&pictures, Loading { workers: 3, ..Loading::plain(4) }, 0);
    assert_eq!(pictures.cached_bytes(), limit);
}

#[test]
fn an_error_arrives_in_its_place_and_ends_the_batches() {
    let mut dataset = dataset(20);
    dataset.items[9].source = Source::File("no/such/picture.png".into());
    let preprocess = Preprocess::plain(8, 8, Colour::Rgb);
    let pictures = Arc::new(Pictures::new(dataset, Reading::new(preprocess)).unwrap());
    let loading = Loading { workers: 3, ..Loading::plain(4) };
    let mut batches = Batches::new(pictures, loading, 0..1, 0).unwrap();
    assert!(batches.next().unwrap().is_ok());
    assert!(batches.next().unwrap().is_ok());
    let error = batches.next().unwrap().unwrap_err();
    assert!(matches!(&error, DataError::Decode { item, .. } if item == "no/such/picture.png"));
    assert!(batches.next().is_none());
}

#[test]
fn batches_may_be_dropped_at_any_time() {
    let pictures = pictures(40, Keep::Fitted, 0);
    for taken in 0..4 {
        let loading = Loading { workers: 3, ahead: 1, ..Loading::plain(2) };
        let mut batches = Batches::new(Arc::clone(&pictures), loading, 0..1_000_000, 0).unwrap();
        assert_eq!(batches.by_ref().take(taken).filter(Result::is_ok).count(), taken);
    }
}

#[test]
fn an_empty_data_set_has_no_batches() {
    let pictures = pictures(0, Keep::Fitted, 0);
    assert!(collect(&pictures, Loading::plain(4), 0).is_empty());
}

#[test]
fn settings_without_meaning_are_refused() {
    let fitted = pictures(4, Keep::Fitted, 0);
    let whole = pictures(4, Keep::Whole { shorter: 9 }, 0);
    let refused = |pictures: &Arc<Pictures>, loading: Loading| {
        Batches::new(Arc::clone(pictures), loading, 0..1, 0).err().unwrap().to_string()
    };
    assert_eq!(refused(&fitted, Loading::plain(0)), "batch: no pictures in a batch");
    let full = Loading { drop_last: true, ..Loading::plain(5) };
    assert_eq!(refused(&fitted, full), "batch: 4 pictures fill no batch of 5");
    assert!(refused(&whole, Loading::plain(2)).contains("for random crops alone"));
    let augment = Augment { crop: None, steps: vec![Step::Flip { p: 1.5 }] };
    let loading = Loading { augment: Some(augment), ..Loading::plain(2) };
    assert_eq!(refused(&fitted, loading), "flip: 1.5 is not within 0 and 1");
}
