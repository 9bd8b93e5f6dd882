//! The generated pulse sequences: one seed, one data set; harder where asked.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use bunjae_data::decode::Limits;
use bunjae_data::generate::prps::{CYCLES, Defect, Prps, WINDOWS};
use bunjae_data::{Channels, ContentHash, layout};

const SETTINGS: Prps = Prps { per_class: 4, difficulty: 0.5, seed: 7 };

#[test]
fn a_seed_gives_the_same_sequences_on_any_number_of_threads() {
    let one = SETTINGS.dataset(1).unwrap();
    assert_eq!(one, SETTINGS.dataset(3).unwrap());
    assert_ne!(one, Prps { seed: 8, ..SETTINGS }.dataset(1).unwrap());
    // More of them leave the first as they were.
    let more = Prps { per_class: 6, ..SETTINGS };
    assert_eq!(SETTINGS.picture(Defect::Void, 3), more.picture(Defect::Void, 3));
}

/// The hashes were printed by this test, with Rust 1.95 on x86-64: what is reported about models was
/// measured on these pictures.
#[test]
fn the_sequences_never_change() {
    let hash = |defect| ContentHash::of_picture(&SETTINGS.picture(defect, 0)).to_string();
    let hashes = Defect::ALL.map(|defect| hash(defect)[..16].to_owned());
    assert_eq!(
        hashes,
        [
            "28407ea556a8a98a",
            "d24a2858ca433d64",
            "3dd8dfeaddcfe78e",
            "de8599336a084412",
            "97664b33c2681887",
            "912a7262454f8a0f",
        ]
    );
}

#[test]
fn written_files_are_the_sequences() {
    let folder = tempfile::tempdir().unwrap();
    SETTINGS.write(folder.path(), 2, &|_| {}).unwrap();
    let dataset = layout::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, Defect::ALL.map(Defect::name));
    assert_eq!(dataset.counts(), [4; 6]);
    assert!(dataset.skipped.is_empty());
    let picture = dataset.items[13].source.native(Limits::default()).unwrap();
    assert_eq!(picture, SETTINGS.picture(Defect::Particle, 1));
    let sides = (picture.width(), picture.height(), picture.channels());
    assert_eq!(sides, (WINDOWS, CYCLES, Channels::Grey));
}

#[test]
fn settings_outside_their_range_are_refused() {
    let refused = |settings: Prps| settings.dataset(1).unwrap_err().to_string();
    let message = refused(Prps { difficulty: 1.5, ..SETTINGS });
    assert_eq!(message, "difficulty: 1.5 is not within 0 and 1");
    assert!(refused(Prps { difficulty: f64::NAN, ..SETTINGS }).starts_with("difficulty"));
    assert!(refused(Prps { per_class: 0, ..SETTINGS }).starts_with("per_class"));
    assert!(refused(Prps { per_class: usize::MAX, ..SETTINGS }).starts_with("per_class"));
}

/// How many of every second sequence lie nearest to the mean of their class, taken over the others.
fn separable(difficulty: f64) -> f64 {
    const BINS: usize = 24;
    let settings = Prps { per_class: 60, difficulty, seed: 3 };
    let dataset = settings.dataset(2).unwrap();
    let histogram = |index: usize| {
        let picture = dataset.items[index].source.native(Limits::default()).unwrap();
        let mut bins = [0f64; BINS];
        for (place, &sample) in picture.samples().iter().enumerate() {
            bins[place % WINDOWS * BINS / WINDOWS] += f64::from(sample);
        }
        let norm = bins.iter().map(|bin| bin * bin).sum::<f64>().sqrt();
        bins.map(|bin| bin / norm)
    };
    let mut means = [[0f64; BINS]; 6];
    for index in (0..dataset.items.len()).step_by(2) {
        let mean = &mut means[dataset.items[index].label.unwrap()];
        mean.iter_mut().zip(histogram(index)).for_each(|(mean, bin)| *mean += bin);
    }
    let mut right = 0;
    for index in (1..dataset.items.len()).step_by(2) {
        let bins = histogram(index);
        let alike = |mean: &[f64; BINS]| {
            let dot = mean.iter().zip(bins).map(|(a, b)| a * b).sum::<f64>();
            dot / mean.iter().map(|a| a * a).sum::<f64>().sqrt()
        };
        let best = (0..6).max_by(|&a, &b| alike(&means[a]).total_cmp(&alike(&means[b])));
        right += usize::from(best == dataset.items[index].label);
    }
    right as f64 / (dataset.items.len() / 2) as f64
}

#[test]
fn difficulty_makes_the_classes_harder_to_tell_apart() {
    let [easy, medium, hard] = [0.0, 0.5, 1.0].map(separable);
    // Chance is 1/6. Such a simple rule is right most of the time where it is easy.
    assert!(easy > 0.8 && hard > 0.3, "{easy} {hard}");
    assert!(easy > medium + 0.05 && medium > hard + 0.05, "{easy} {medium} {hard}");
}
