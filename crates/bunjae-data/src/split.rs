//! Splitting a data set by content.
//!
//! Pictures with the same bytes, and pictures of one group, go to one split together. Equal means
//! the same stored bytes, not the same decoded pixels: that needs no decoding, and does not change
//! when a decoder does; [`inspect`](crate::inspect) finds what is equal only to the eye.
//!
//! The order in which pictures are given out depends on the seed and on what is in them, never on
//! their names or places, so that renaming a file moves nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::{ContentHash, Dataset, Split};
use crate::decode::Limits;
use crate::error::DataError;
use crate::parallel;

/// What part of each class goes where. Parts are in proportion to their sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// To learn from.
    pub train: f64,
    /// To choose settings by.
    pub val: f64,
    /// To be scored on at the end.
    pub test: f64,
}

impl Shares {
    fn fractions(self) -> Result<[f64; 3], DataError> {
        let parts = [self.train, self.val, self.test];
        let sum: f64 = parts.iter().sum();
        if parts.iter().any(|part| !part.is_finite() || *part < 0.0)
            || sum <= 0.0
            || parts[0] <= 0.0
        {
            return Err(DataError::setting(
                "split",
                format!("train {}, val {}, test {} are no shares", parts[0], parts[1], parts[2]),
            ));
        }
        Ok(parts.map(|part| part / sum))
    }
}

/// Reads the pictures' bytes and gives every picture a split, in place of the one it had.
///
/// Each class meets its shares within one picture, unless duplicates or groups of several pictures
/// stand in the way; those are placed first and the rest fills up. Unlabelled pictures count as a
/// class of their own.
///
/// # Errors
/// [`DataError::Setting`] for impossible shares, [`DataError::Decode`] where a file cannot be read.
pub fn split(
    dataset: &mut Dataset,
    shares: Shares,
    seed: u64,
    limits: Limits,
    threads: usize,
) -> Result<(), DataError> {
    let items = &dataset.items;
    let hashes = parallel::map(items.len(), threads, &|_| {}, |index| {
        let source = &items[index].source;
        source
            .content_hash(limits)
            .map_err(|error| DataError::Decode { item: source.to_string(), source: error })
    });
    let hashes = hashes.into_iter().collect::<Result<Vec<_>, _>>()?;
    split_by_hash(dataset, &hashes, shares, seed)
}

/// [`split`] with the hashes known; `hashes` has one for each picture.
///
/// # Errors
/// [`DataError::Setting`] for impossible shares or a wrong number of hashes.
pub fn split_by_hash(
    dataset: &mut Dataset,
    hashes: &[ContentHash],
    shares: Shares,
    seed: u64,
) -> Result<(), DataError> {
    let fractions = shares.fractions()?;
    if hashes.len() != dataset.items.len() {
        return Err(DataError::setting(
            "hashes",
            format!("{} for {} pictures", hashes.len(), dataset.items.len()),
        ));
    }
    let mut units = units(dataset, hashes, seed);
    // Large units first, as they are hard to place; equal ones in an order that the seed decides.
    units.sort_by(|a, b| b.members.len().cmp(&a.members.len()).then(a.order.cmp(&b.order)));

    let classes = dataset.classes.len();
    let class_of = |index: &usize| dataset.items[*index].label.unwrap_or(classes).min(classes);
    let mut sizes = vec![0; classes + 1];
    units.iter().flat_map(|unit| &unit.members).for_each(|index| sizes[class_of(index)] += 1);
    let mut room: Vec<[i64; 3]> = sizes.iter().map(|&size| quotas(size, fractions)).collect();

    let mut places = vec![Split::Train; dataset.items.len()];
    for unit in &units {
        let wanted: Vec<usize> = unit.members.iter().map(class_of).collect();
        // Where most of the unit's classes have most room; ties go to the first split.
        let room_in = |place: usize| wanted.iter().map(|&class| room[class][place]).sum::<i64>();
        let open = (0..3).filter(|&place| fractions[place] > 0.0);
        let place = open.rev().max_by_key(|&place| room_in(place)).unwrap_or(0);
        for (&member, &class) in unit.members.iter().zip(&wanted) {
            room[class][place] -= 1;
            places[member] = Split::ALL[place];
        }
    }
    for (item, place) in dataset.items.iter_mut().zip(places) {
        item.split = Some(place);
    }
    Ok(())
}

/// Pictures that must stay together.
struct Unit {
    order: [u8; 32],
    members: Vec<usize>,
}

fn units(dataset: &Dataset, hashes: &[ContentHash], seed: u64) -> Vec<Unit> {
    // Union-find over the pictures, joined by equal content and by equal group.
    let mut parents: Vec<usize> = (0..hashes.len()).collect();
    fn root(parents: &mut [usize], mut index: usize) -> usize {
        while parents[index] != index {
            parents[index] = parents[parents[index]];
            index = parents[index];
        }
        index
    }
    let mut by_content: BTreeMap<&ContentHash, usize> = BTreeMap::new();
    let mut by_group: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, (item, hash)) in dataset.items.iter().zip(hashes).enumerate() {
        let same_content = *by_content.entry(hash).or_insert(index);
        let same_group = item.group.as_deref().map(|group| *by_group.entry(group).or_insert(index));
        for other in [Some(same_content), same_group].into_iter().flatten() {
            let (a, b) = (root(&mut parents, index), root(&mut parents, other));
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..hashes.len() {
        members.entry(root(&mut parents, index)).or_default().push(index);
    }
    members
        .into_values()
        .map(|members| {
            let least = members.iter().map(|&index| hashes[index]).min();
            let mut order = Sha256::new();
            order.update(seed.to_le_bytes());
            order.update(least.map(|hash| hash.0).unwrap_or_default());
            Unit { order: order.finalize().into(), members }
        })
        .collect()
}

/// Whole numbers in proportion to `fractions` whose sum is `size`: each is cut off, and those that
/// lose most get one more.
fn quotas(size: usize, fractions: [f64; 3]) -> [i64; 3] {
    let exact = fractions.map(|fraction| fraction * size as f64);
    let mut whole = exact.map(|exact| exact.floor() as i64);
    let mut left = size as i64 - whole.iter().sum::<i64>();
    let mut order = [0, 1, 2];
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    for place in order.into_iter().cycle() {
        if left <= 0 {
            break;
        }
        if fractions[place] > 0.0 {
            whole[place] += 1;
            left -= 1;
        }
    }
    whole
}
