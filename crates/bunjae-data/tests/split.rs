//! Splits keep duplicates together, meet their shares, and depend on content alone.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use bunjae_data::split::{Shares, split_by_hash};
use bunjae_data::{ContentHash, Dataset, Item, Source, Split};
use proptest::prelude::*;

const SHARES: Shares = Shares { train: 0.7, val: 0.2, test: 0.1 };

/// Pictures as (class, content, group).
fn dataset(pictures: &[(usize, u32, Option<u32>)]) -> (Dataset, Vec<ContentHash>) {
    let item = |&(label, content, group): &(usize, u32, Option<u32>)| Item {
        source: Source::File(PathBuf::from(format!("{content}.png"))),
        label: Some(label),
        split: None,
        group: group.map(|group| group.to_string()),
    };
    let classes = (0..4).map(|class| class.to_string()).collect();
    let dataset =
        Dataset { classes, items: pictures.iter().map(item).collect(), skipped: Vec::new() };
    let hash = |&(_, content, _): &(_, u32, _)| ContentHash::of(&content.to_le_bytes());
    (dataset, pictures.iter().map(hash).collect())
}

fn counts(dataset: &Dataset) -> Vec<[usize; 3]> {
    let mut counts = vec![[0; 3]; dataset.classes.len()];
    for item in &dataset.items {
        counts[item.label.unwrap()][item.split.unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn single_pictures_meet_the_shares_within_one() {
    let pictures: Vec<_> = (0..1037u32).map(|i| ((i % 9 % 4) as usize, i, None)).collect();
    let (mut dataset, hashes) = dataset(&pictures);
    split_by_hash(&mut dataset, &hashes, SHARES, 1).unwrap();
    for counts in counts(&dataset) {
        let all = counts.iter().sum::<usize>() as f64;
        for (count, share) in counts.into_iter().zip([0.7, 0.2, 0.1]) {
            assert!((count as f64 - share * all).abs() < 1.0, "{counts:?}");
        }
    }
}

#[test]
fn a_picture_keeps_its_split_wherever_it_lies() {
    let pictures: Vec<_> = (0..200u32).map(|i| ((i % 3) as usize, i, None)).collect();
    let (mut first, hashes) = dataset(&pictures);
    let reversed: Vec<_> = pictures.iter().rev().copied().collect();
    let (mut second, reversed_hashes) = dataset(&reversed);
    split_by_hash(&mut first, &hashes, SHARES, 5).unwrap();
    split_by_hash(&mut second, &reversed_hashes, SHARES, 5).unwrap();
    second.items.reverse();
    assert_eq!(first, second);
    let mut other = first.clone();
    split_by_hash(&mut other, &hashes, SHARES, 6).unwrap();
    assert_ne!(first, other);
}

#[test]
fn a_share_of_nothing_stays_empty() {
    let pictures: Vec<_> = (0..10u32).map(|i| (0, i, None)).collect();
    let (mut dataset, hashes) = dataset(&pictures);
    let shares = Shares { train: 3.0, val: 1.0, test: 0.0 };
    split_by_hash(&mut dataset, &hashes, shares, 1).unwrap();
    assert_eq!(counts(&dataset)[0], [8, 2, 0]);
    for (train, val) in [(0.0, 1.0), (-1.0, 2.0), (f64::NAN, 1.0)] {
        let shares = Shares { train, val, test: 0.0 };
        assert!(split_by_hash(&mut dataset, &hashes, shares, 1).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_belongs_together_is_never_parted(
        pictures in prop::collection::vec((0..4usize, 0..60u32, prop::option::of(0..20u32)), 0..120),
        seed in any::<u64>(),
    ) {
        let (mut dataset, hashes) = dataset(&pictures);
        split_by_hash(&mut dataset, &hashes, SHARES, seed).unwrap();
        let mut by_content: BTreeMap<u32, Split> = BTreeMap::new();
        let mut by_group: BTreeMap<u32, Split> = BTreeMap::new();
        for (item, (_, content, group)) in dataset.items.iter().zip(&pictures) {
            let split = item.split.unwrap();
            prop_assert_eq!(*by_content.entry(*content).or_insert(split), split);
            if let Some(group) = group {
                prop_assert_eq!(*by_group.entry(*group).or_insert(split), split);
            }
        }
    }
}
